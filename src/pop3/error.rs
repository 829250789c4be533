//! What can go wrong in a session, and how it is said.

use std::fmt;
use std::io;

use super::command::{Awaited, Verb};
use super::method::Method;
use super::reply::ResponseCode;
use super::sasl::{Explanation, Mechanism, Problem};
use crate::failing::Cause;
use crate::failure::{Failure, Kind};
use crate::text::printable;

/// A session that could not go on. Nothing is deleted on the server, unless it was QUIT that failed: then the
/// server alone knows.
#[derive(Debug)]
pub enum Error {
    /// The line itself failed, or a deadline passed, or a stop was requested.
    Io {
        /// What was awaited.
        awaited: Awaited,
        /// What happened.
        source: io::Error,
        /// The command was sent ahead, and others of its flight were answered; or as for [`Error::Closed`].
        is_ahead: bool,
    },
    /// The server closed the connection.
    Closed {
        /// What was awaited.
        awaited: Awaited,
        /// A status line had come, nothing behind it, and others of its flight were due: it may have been the reply to a
        /// later command.
        is_ahead: bool,
    },
    /// The server greeted with `-ERR`.
    Unwelcome {
        /// The response code, where one was sent.
        code: Option<ResponseCode>,
        /// The server's words.
        text: Vec<u8>,
    },
    /// The login was answered with `-ERR`.
    LoginRefused {
        /// How it was tried.
        method: Method,
        /// The response code, where one was sent.
        code: Option<ResponseCode>,
        /// The server's words.
        text: Vec<u8>,
        /// What the mechanism's own messages told about it.
        explanation: Option<Box<Explanation>>,
    },
    /// popfetch gave an exchange of AUTH up.
    Exchange {
        /// The mechanism.
        mechanism: Mechanism,
        /// Why.
        problem: Problem,
    },
    /// No mechanism that the account could use is announced; nothing secret was sent.
    NoMechanism {
        /// What was looked for.
        wanted: &'static str,
        /// What the server announces.
        offered: Vec<String>,
    },
    /// A command that the session cannot do without was answered with `-ERR`.
    Refused {
        /// The command.
        verb: Verb,
        /// The response code, where one was sent.
        code: Option<ResponseCode>,
        /// The server's words.
        text: Vec<u8>,
    },
    /// The server does not offer what the account asks for.
    NotOffered(Missing),
    /// A line that does not have the form that the RFC gives it.
    Malformed {
        /// Where the line came.
        awaited: Awaited,
        /// The line, as far as it was kept.
        line: Vec<u8>,
        /// What would have been right.
        expected: &'static str,
    },
    /// A line, or a number of lines, beyond what popfetch takes from any server.
    TooMuch {
        /// Where it came.
        awaited: Awaited,
        /// What there was too much of, with the limit.
        what: String,
    },
    /// The server sent more than it was asked for, so that its replies can no longer be told apart.
    Unasked {
        /// What was to be awaited next.
        awaited: Awaited,
        /// The line that was one too many.
        line: Vec<u8>,
    },
    /// The unique-ids are sizes, and the sizes are none.
    Exchanged,
    /// Octets were waiting behind the reply to STLS: they came in clear and could be anybody's.
    InjectedBeforeTls,
    /// An octet that would end the command early stands in the user name or the password.
    Unsendable,
}

/// What a server would have to announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// STLS in its capabilities.
    Stls,
    /// A timestamp in its greeting, for APOP.
    ApopTimestamp,
}

impl Error {
    /// The same, of a command that was sent ahead.
    pub(super) fn ahead(mut self) -> Self {
        if let Error::Io { is_ahead, .. } | Error::Closed { is_ahead, .. } = &mut self {
            *is_ahead = true;
        }
        self
    }

    /// True when something came that cannot be the reply that was due.
    pub fn is_out_of_step(&self) -> bool {
        match self {
            Error::Malformed { .. } | Error::TooMuch { .. } => true,
            // A farewell to a client that was idle is a status line, too.
            Error::Unasked { line, .. } => !line.starts_with(b"-ERR"),
            _ => false,
        }
    }

    /// The way to log in that was refused.
    pub fn refused_method(&self) -> Option<Method> {
        match self {
            Error::LoginRefused { method, .. } => Some(*method),
            _ => None,
        }
    }

    /// True when the credentials are what was refused.
    pub fn is_login(&self) -> bool {
        matches!(self, Error::LoginRefused { .. })
    }

    /// True when STLS is what the server does not offer, or refused.
    pub fn is_stls(&self) -> bool {
        match self {
            Error::NotOffered(missing) => *missing == Missing::Stls,
            Error::Refused { verb, .. } => verb.word() == "STLS",
            _ => false,
        }
    }

    /// What kind of trouble a failure is that will pass by itself.
    pub fn cause(&self) -> Cause {
        match self {
            Error::Io { .. } | Error::Closed { .. } => Cause::Network,
            // A farewell to a client that was idle, or a shutdown.
            Error::Unasked { .. } => Cause::Network,
            Error::Unwelcome { code, text } | Error::Refused { code, text, .. } => of_refusal(*code, text),
            Error::LoginRefused { code, text, .. } => of_refusal(*code, text),
            _ => Cause::Other,
        }
    }

    /// The server's own words, in quotes and safe to print; empty for an error that it did not word.
    pub fn words(&self) -> String {
        match self {
            Error::LoginRefused { text, explanation: Some(explanation), .. } => {
                format!("{}: {explanation}", words(text))
            }
            Error::Unwelcome { text, .. } | Error::LoginRefused { text, .. } | Error::Refused { text, .. } => {
                words(text)
            }
            _ => String::new(),
        }
    }
}

impl Failure for Error {
    /// What an error of the line is, its owner knows better.
    fn kind(&self) -> Kind {
        match self {
            Error::Io { .. } | Error::Closed { .. } => Kind::Temporary,
            Error::Unwelcome { code, .. } if code.is_none_or(ResponseCode::is_transient) => Kind::Temporary,
            Error::LoginRefused { code: None, text, .. } if says_later(text) => Kind::Temporary,
            Error::LoginRefused { code: Some(code), .. } if code.is_transient() => Kind::Temporary,
            Error::LoginRefused { .. } => Kind::LoginRefused,
            Error::Refused { code: Some(code), .. } if code.is_transient() => Kind::Temporary,
            // Servers say goodbye like this, to a client that was idle or when they shut down.
            Error::Unasked { line, .. } if line.starts_with(b"-ERR") => Kind::Temporary,
            _ if self.is_stls() => Kind::Unavailable,
            Error::NotOffered(_) | Error::NoMechanism { .. } => Kind::Unavailable,
            Error::InjectedBeforeTls | Error::Unwelcome { .. } => Kind::Unavailable,
            Error::Exchange { problem: Problem::NoBinding, .. } => Kind::Unavailable,
            Error::Unsendable | Error::Exchange { problem: Problem::Unpreparable, .. } => Kind::Configuration,
            _ => Kind::Protocol,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            _ if self.is_stls() => {
                "use `tls = \"implicit\"` (port 995) if the server has it; `tls = \"none\"` sends everything in clear"
            }
            Error::NotOffered(Missing::ApopTimestamp) => "leave `auth` out, or use `auth = \"user\"`",
            Error::NoMechanism { offered, .. } if takes_only_tokens(offered) => {
                "the server takes only OAuth 2.0 tokens: write `oauth2` in place of the password and run `popfetch \
                 login ACCOUNT`, or let a `token_command` print one"
            }
            Error::NoMechanism { .. } => "set `auth` to a mechanism that the server offers, and give what it takes",
            Error::Refused { verb, .. } if verb.word() == "UIDL" && self.kind() == Kind::Protocol => {
                "the next run tries again; `--all` does without, and fetches everything, also what came before"
            }
            Error::Exchanged => "the next run tries again; if that does not help, set `pipelining = false`",
            Error::Exchange { problem: Problem::WrongProof | Problem::NoProof, .. } => {
                "this may not be your provider's server: the password was not sent, and is not to be sent in another way"
            }
            Error::Exchange { problem: Problem::Unpreparable, .. } => {
                "set `auth` to another mechanism, such as `auth = \"plain\"` under TLS"
            }
            Error::Exchange { problem: Problem::NoBinding, .. } => "leave `-plus` out, or use TLS",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn takes_only_tokens(mechanisms: &[String]) -> bool {
    !mechanisms.is_empty() && mechanisms.iter().all(|name| name == "XOAUTH2" || name == "OAUTHBEARER")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { awaited, source, .. } => write!(f, "waiting for {awaited}: {source}"),
            Error::Closed { awaited, .. } => write!(f, "the server closed the connection instead of sending {awaited}"),
            Error::Unwelcome { text, .. } => write!(f, "the server turned us away: {}", words(text)),
            Error::LoginRefused { .. } => write!(f, "the server refused the login: {}", self.words()),
            Error::Exchange { mechanism, problem } => {
                write!(f, "the login with {} failed: {problem}", mechanism.name())
            }
            Error::NoMechanism { wanted, offered } if offered.is_empty() => {
                write!(f, "the server does not offer {wanted}; no secret was sent")
            }
            Error::NoMechanism { wanted, offered } => {
                let offered = printable(offered.join(", ").as_bytes());
                write!(f, "the server does not offer {wanted}, but {offered}; no secret was sent")
            }
            Error::Refused { verb, text, .. } => write!(f, "the server refused {verb}: {}", words(text)),
            Error::NotOffered(Missing::Stls) => f.write_str("the server does not offer STLS; no password was sent"),
            Error::NotOffered(Missing::ApopTimestamp) => {
                f.write_str("the server's greeting has no timestamp that is a msg-id (RFC 1939 §7), which APOP needs; nothing secret was sent")
            }
            Error::Malformed { awaited, line, expected } => {
                write!(f, "{awaited} should have been {expected}, but the server sent {}", words(line))
            }
            Error::Exchanged => {
                f.write_str("the server gave sizes as unique-ids, and no size that is one: its replies to UIDL and LIST are exchanged; nothing was fetched")
            }
            Error::TooMuch { awaited, what } => write!(f, "{awaited} has {what}"),
            Error::Unasked { awaited, line } => {
                write!(f, "the server sent {} ahead of {awaited}, and nobody asked for it", words(line))
            }
            Error::InjectedBeforeTls => {
                f.write_str("server sent data before the TLS handshake; somebody may be tampering with the connection")
            }
            Error::Unsendable => f.write_str("the user name or the password contains a line end or a NUL"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Who is turned away without a reason that a code names is most often one too many.
fn of_refusal(code: Option<ResponseCode>, text: &[u8]) -> Cause {
    match code {
        Some(ResponseCode::LoginDelay) => Cause::LoginDelay,
        Some(ResponseCode::InUse) => Cause::InUse,
        Some(_) if !says_too_much(text) => Cause::Server,
        None if says_trouble(text) => Cause::Server,
        _ => Cause::Throttled,
    }
}

fn says_too_much(text: &[u8]) -> bool {
    says(text, &["too many", "too often", "too frequent", "throttl", "rate", "limit", "exceed"])
}

fn says_trouble(text: &[u8]) -> bool {
    says(text, &["temporar"]) && !says_too_much(text)
}

fn says(text: &[u8], words: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    words.iter().any(|words| memchr::memmem::find(&text, words.as_bytes()).is_some())
}

/// Servers without response codes say in words that a refusal will pass: "Temporary authentication failure" (Dovecot
/// without RESP-CODES), "temporarily unavailable", "too many connections".
fn says_later(text: &[u8]) -> bool {
    says(text, &["temporar", "too many", "try again later"])
}

fn words(text: &[u8]) -> String {
    if text.is_empty() { "(no reason given)".into() } else { format!("`{}`", printable(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_what_kind_of_trouble_it_is() {
        for (text, cause) in [
            ("[IN-USE] busy", Cause::InUse),
            ("[LOGIN-DELAY] wait", Cause::LoginDelay),
            ("[SYS/TEMP] disk trouble", Cause::Server),
            ("[SYS/TEMP] Too many connections", Cause::Throttled),
            ("[SYS/TEMP] Account exceeded command or bandwidth limits", Cause::Throttled),
            ("Temporary authentication failure", Cause::Server),
            ("temporarily unavailable: too many connections", Cause::Throttled),
            ("Too many login failures, try again later", Cause::Throttled),
            ("come back at night", Cause::Throttled),
        ] {
            let text = text.as_bytes();
            let code = ResponseCode::of(text);
            for error in [
                Error::Unwelcome { code, text: text.to_vec() },
                Error::Refused { verb: super::super::command::Command::Uidl.verb(), code, text: text.to_vec() },
            ] {
                assert_eq!(error.cause(), cause, "{}", String::from_utf8_lossy(text));
            }
        }
    }
}
