//! What can go wrong on the way to a token, and how it is said.
//!
//! Words of a server are shown in printable form only, and never a token that it may have repeated in them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Failure as _, Kind};
use crate::os::exposure::Exposure;
use crate::os::{self, limits};
use crate::stop::Stopped;
use crate::text::{printable, reason};

/// Why there is no token.
#[derive(Debug)]
pub enum Error {
    /// The endpoint did not answer, or not to the end.
    Unreachable {
        /// Its URL.
        endpoint: String,
        /// Why, in words.
        why: String,
    },
    /// TLS with the endpoint failed.
    Tls {
        /// Its URL.
        endpoint: String,
        /// Why, in words.
        why: String,
    },
    /// The endpoint answered with this status and no error of OAuth 2.0.
    Status {
        /// Its URL.
        endpoint: String,
        /// The status of HTTP.
        status: u16,
    },
    /// What the endpoint answered makes no sense.
    Malformed {
        /// Its URL.
        endpoint: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The endpoint refused (RFC 6749 §5.2, RFC 8628 §3.5).
    Refused {
        /// Its URL.
        endpoint: String,
        /// The `error` of the reply.
        error: String,
        /// Its `error_description`, ready to be shown.
        description: Option<String>,
    },
    /// The refresh token is no longer good: expired, revoked, or used by somebody else.
    ConsentGone {
        /// The URL of the endpoint.
        endpoint: String,
        /// The server's `error_description`, ready to be shown.
        description: Option<String>,
    },
    /// The client's own secret cannot be had.
    Client(Box<super::super::Error>),
    /// The client's certificate or key cannot be used.
    Key {
        /// The file.
        path: PathBuf,
        /// Why, in words.
        why: String,
    },
    /// Nobody has signed in yet.
    NotSignedIn,
    /// Somebody has, but as another client or at another provider.
    OtherClient,
    /// Signing in gave an access token only, which would be good for an hour or so.
    NoRefreshToken,
    /// The user did not finish in time.
    TooLate(Duration),
    /// The redirect cannot be listened for.
    Listen(io::Error),
    /// Another process refreshes, and does not come to an end.
    Busy(PathBuf),
    /// The file of the tokens is no secret.
    Exposed {
        /// Its path.
        path: PathBuf,
        /// Who else can read it, or write it.
        exposure: Exposure,
    },
    /// The file of the tokens makes no sense.
    Damaged(PathBuf),
    /// Something is in the way that is no file of ours.
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The tokens cannot be read or kept.
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A stop was requested meanwhile.
    Stopped(Stopped),
}

impl Error {
    /// Makes an I/O error for a file.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.into(), source }
    }

    pub(super) fn key(path: &Path, why: impl Into<String>) -> Error {
        Error::Key { path: path.into(), why: why.into() }
    }

    /// The kind that decides about the exit status.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Unreachable { .. } | Error::TooLate(_) | Error::Busy(_) => Kind::Temporary,
            Error::Status { status, .. } if is_transient_status(*status) => Kind::Temporary,
            Error::Status { .. } | Error::Malformed { .. } => Kind::Protocol,
            Error::Refused { error, .. } => refusal(error),
            Error::Tls { .. } => Kind::Unavailable,
            Error::ConsentGone { .. } | Error::NotSignedIn | Error::OtherClient => Kind::LoginRefused,
            Error::Client(error) => error.kind(),
            Error::Key { .. } => Kind::Configuration,
            Error::NoRefreshToken | Error::Exposed { .. } => Kind::Configuration,
            Error::Damaged(_) | Error::NotOurs { .. } => Kind::BadState,
            Error::Io { source, .. } if limits::is_exhausted(source) => Kind::Temporary,
            Error::Listen(_) | Error::Io { .. } => Kind::Io,
            Error::Stopped(stopped) => stopped.kind(),
        }
    }

    /// What to do about it, where that is sure.
    pub fn hint(&self, account: &str) -> Option<String> {
        let login = || format!("run `popfetch login {}`", shell_words::quote(account));
        match self {
            Error::ConsentGone { endpoint, .. } if endpoint.starts_with(GOOGLE) => Some(format!(
                "{}; Google ends a sign-in after seven days while the client's publishing status is `Testing`: publish \
                 the client",
                login()
            )),
            Error::ConsentGone { .. } | Error::NotSignedIn | Error::OtherClient | Error::Damaged(_) => Some(login()),
            Error::TooLate(_) => Some(format!("{} again", login())),
            Error::Refused { error, .. } => match error.as_str() {
                // Microsoft's word in its device flow is the second.
                "access_denied" | "authorization_declined" => Some(format!(
                    "the sign-in was declined, by you or by a rule of your administrator, who may have to allow the client; \
                     {} to try again",
                    login()
                )),
                error if refusal(error) == Kind::LoginRefused => Some(login()),
                error => advice(error).map(str::to_owned),
            },
            Error::Client(error) => error.hint(),
            Error::NoRefreshToken => Some("some providers want `offline_access` in the `scope` of `oauth2`".into()),
            Error::Exposed { path, exposure } => Some(exposure.advice(path, true)),
            _ => None,
        }
    }
}

const GOOGLE: &str = "https://oauth2.googleapis.com/";

/// What to do about a refusal of a token endpoint (RFC 6749 §5.2) for which no person has to sign in again.
fn advice(error: &str) -> Option<&'static str> {
    Some(match error {
        "invalid_request" => {
            "check the keys of `oauth2`: the provider misses something in the request, or does not take it"
        }
        "invalid_client" => {
            "check `client_id` and `client_secret` in `oauth2` (the value of the secret, not its ID; it may have expired), \
             or that the certificate is uploaded to the client's registration and has not expired"
        }
        "unauthorized_client" => {
            "the client's registration does not allow this `flow`, or is not in this `tenant`: check `client_id`, `flow` \
             and `tenant` in `oauth2`"
        }
        "unsupported_grant_type" => {
            "the endpoint does not know this `flow`: check `flow` and `token_endpoint` in `oauth2`"
        }
        "invalid_scope" => {
            "check `scope` in `oauth2`; with `flow = \"client_credentials\"`, Microsoft's end in `/.default`"
        }
        _ => return None,
    })
}

pub(super) fn is_transient_status(status: u16) -> bool {
    status >= 500 || status == 429 || status == 408
}

fn refusal(error: &str) -> Kind {
    match error {
        "temporarily_unavailable" | "server_error" | "slow_down" | "authorization_pending" => Kind::Temporary,
        "invalid_grant" | "access_denied" | "authorization_declined" => Kind::LoginRefused,
        // Beyond RFC 6749: of OpenID Connect, and Microsoft's for a sign-in that wants a second factor again.
        "interaction_required" | "login_required" | "consent_required" => Kind::LoginRefused,
        _ => Kind::Configuration,
    }
}

impl From<os::Failure> for Error {
    fn from(failure: os::Failure) -> Self {
        let os::Failure { doing: action, path, source } = failure;
        Error::Io { action, path, source }
    }
}

impl From<os::file::Error> for Error {
    fn from(error: os::file::Error) -> Self {
        match error {
            os::file::Error::Failed(failure) => failure.into(),
            os::file::Error::NotOurs { path, what } => Error::NotOurs { path, what },
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listen(source) | Error::Io { source, .. } => Some(source),
            Error::Client(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable { endpoint, why } => write!(f, "cannot reach `{endpoint}`: {why}"),
            Error::Tls { endpoint, why } => write!(f, "no TLS with `{endpoint}`: {why}"),
            Error::Status { endpoint, status } => write!(f, "`{endpoint}` answered with HTTP status {status}"),
            Error::Malformed { endpoint, why } => write!(f, "the answer of `{endpoint}` {why}"),
            Error::Refused { endpoint, error, description } => {
                write!(f, "`{endpoint}` refused: `{}`", printable(error.as_bytes()))?;
                words(f, description.as_deref())
            }
            Error::ConsentGone { description, .. } => {
                f.write_str("the consent to fetch this mail has expired or was withdrawn")?;
                words(f, description.as_deref())
            }
            Error::Client(error) => error.fmt(f),
            Error::Key { path, why } => write!(f, "cannot use `{}` to get a token: {why}", path.display()),
            Error::NotSignedIn => f.write_str("nobody has signed in to this account yet"),
            Error::OtherClient => f.write_str("the sign-in was for another `client_id` or `token_endpoint`"),
            Error::NoRefreshToken => f.write_str("the sign-in gave no refresh token, so it was not kept"),
            Error::TooLate(limit) => {
                write!(f, "the sign-in was not finished within {} min", limit.as_secs().div_ceil(60))
            }
            Error::Listen(source) => write!(f, "cannot listen on 127.0.0.1: {}", reason(source)),
            Error::Busy(path) => write!(f, "another process holds `{}` for too long", path.display()),
            Error::Exposed { path, exposure } => write!(f, "`{}` holds tokens but {exposure}", path.display()),
            Error::Damaged(path) => write!(f, "`{}` makes no sense", path.display()),
            Error::NotOurs { path, what } => write!(f, "`{}` is {what}", path.display()),
            Error::Io { action, path, source } => {
                write!(f, "cannot {action} `{}`: {}", path.display(), reason(source))
            }
            Error::Stopped(stopped) => stopped.fmt(f),
        }
    }
}

fn words(f: &mut fmt::Formatter<'_>, description: Option<&str>) -> fmt::Result {
    description.map_or(Ok(()), |description| write!(f, " ({description})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_the_rfc_has_its_advice() {
        for (error, told) in [
            ("invalid_request", "the keys of `oauth2`"),
            ("invalid_client", "not its ID"),
            ("invalid_grant", "popfetch login work"),
            ("unauthorized_client", "registration"),
            ("unsupported_grant_type", "`flow`"),
            ("invalid_scope", "/.default"),
            ("access_denied", "by you or by a rule of your administrator"),
            ("authorization_declined", "by you or by a rule of your administrator"),
            ("consent_required", "popfetch login work"),
        ] {
            let refused = Error::Refused { endpoint: "e".into(), error: error.into(), description: None };
            assert!(refused.hint("work").unwrap().contains(told), "{error}: {:?}", refused.hint("work"));
        }
    }

    #[test]
    fn a_google_client_in_testing_is_thought_of() {
        let gone = |endpoint: &str| Error::ConsentGone { endpoint: endpoint.into(), description: None };
        let hint = gone("https://oauth2.googleapis.com/token").hint("work").unwrap();
        assert!(hint.starts_with("run `popfetch login work`; Google") && hint.contains("seven days"), "{hint}");
        assert_eq!(gone("https://login.example/token").hint("work").unwrap(), "run `popfetch login work`");
    }
}
