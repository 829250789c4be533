//! Why there is no secret. No error repeats what was read.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::oauth;
use crate::failure::{Failure, Kind};
use crate::os::exposure::Exposure;
use crate::stop::Stopped;
use crate::text::{self, reason};

/// Why there is no secret.
#[derive(Debug)]
pub enum Error {
    /// The command cannot be run.
    Start {
        /// What it was to print.
        kind: &'static str,
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The command failed.
    Failed {
        /// What it was to print.
        kind: &'static str,
        /// The program.
        program: String,
        /// How it ended.
        ending: String,
    },
    /// The command took too long, and was ended.
    TimedOut {
        /// What it was to print.
        kind: &'static str,
        /// The program.
        program: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The file cannot be read.
    Unreadable {
        /// What it was to hold.
        kind: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no secret.
    Exposed {
        /// What it holds.
        kind: &'static str,
        /// Its path.
        path: PathBuf,
        /// Who else could know.
        exposure: Exposure,
    },
    /// The file of the client's certificate and key cannot be read.
    UnreadableIdentity {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of the client's certificate and key is no secret.
    ExposedIdentity {
        /// Its path.
        path: PathBuf,
        /// Who else could know.
        exposure: Exposure,
    },
    /// What was read cannot be a password.
    Unusable {
        /// What it was to be.
        kind: &'static str,
        /// Where it was read.
        origin: String,
        /// Why it cannot be one.
        why: &'static str,
    },
    /// The terminal could not be used.
    Terminal(io::Error),
    /// There is none anywhere, and nobody to ask.
    Nowhere {
        /// The name of the account.
        name: String,
    },
    /// No token of OAuth 2.0 can be had.
    Token {
        /// The name of the account.
        name: String,
        /// Why.
        error: oauth::Error,
    },
    /// The account has no `oauth2`, so that nobody can sign in to it.
    NoOAuth2,
    /// A stop was requested meanwhile.
    Stopped(Stopped),
}

impl Failure for Error {
    /// A command fails when its agent is locked, for one: a later run may find a password. Otherwise the configuration has
    /// to change.
    fn kind(&self) -> Kind {
        match self {
            Error::Failed { .. } | Error::TimedOut { .. } | Error::Terminal(_) => Kind::Temporary,
            Error::Start { source, .. }
            | Error::Unreadable { source, .. }
            | Error::UnreadableIdentity { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Kind::Configuration,
                io::ErrorKind::IsADirectory | io::ErrorKind::FileTooLarge => Kind::Configuration,
                _ => Kind::Temporary,
            },
            Error::Exposed { .. } | Error::ExposedIdentity { .. } | Error::Unusable { .. } => Kind::Configuration,
            Error::Nowhere { .. } | Error::NoOAuth2 => Kind::Configuration,
            Error::Token { error, .. } => error.kind(),
            Error::Stopped(stopped) => stopped.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Nowhere { name } => Some(format!(
                "give `password_command`, `password_file` or `password` in its configuration, a line in `~/.netrc`, \
                 or the credential `{name}` of the service; or run it on a terminal"
            )),
            Error::TimedOut { .. } => Some(
                "it may have asked for something that nobody could answer; `password_timeout` gives it more time"
                    .into(),
            ),
            Error::Token { name, error } => error.hint(name),
            Error::NoOAuth2 => Some("write `oauth2 = { provider = \"…\", client_id = \"…\" }` into it".into()),
            _ => None,
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Start { source, .. }
            | Error::Unreadable { source, .. }
            | Error::UnreadableIdentity { source, .. } => Some(source),
            Error::Terminal(source) => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Start { kind, program, source } => {
                write!(f, "cannot run the {kind} command `{}`: {}", shown(program), reason(source))
            }
            Error::Failed { kind, program, ending } => {
                write!(f, "the {kind} command `{}` {ending}", shown(program))
            }
            Error::TimedOut { kind, program, limit } => {
                write!(f, "the {kind} command `{}` did not end within {} s", shown(program), limit.as_secs_f64())
            }
            Error::Unreadable { kind, path, source } => {
                write!(f, "cannot read the {kind} from `{}`: {}", path.display(), reason(source))
            }
            Error::Exposed { kind, path, exposure } => f.write_str(&exposure.of_secret(path, &format!("a {kind}"))),
            Error::UnreadableIdentity { path, source } => {
                write!(f, "cannot read the client identity `{}`: {}", path.display(), reason(source))
            }
            Error::ExposedIdentity { path, exposure } => f.write_str(&exposure.of_secret(path, "a key")),
            Error::Unusable { kind, origin, why } => write!(f, "the {kind} from {origin} {why}"),
            Error::Terminal(source) => write!(f, "cannot ask for the password: {}", reason(source)),
            Error::Nowhere { .. } => f.write_str("no password, and no terminal to ask on"),
            Error::Token { error, .. } => error.fmt(f),
            Error::NoOAuth2 => f.write_str("it has no `oauth2`, so there is nothing to sign in to"),
            Error::Stopped(stopped) => stopped.fmt(f),
        }
    }
}

pub(super) fn shown(program: &str) -> String {
    text::printable(program.as_bytes())
}
