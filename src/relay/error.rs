//! Why a server takes nothing more in this run. What is about one message is a refusal, and not here.

use std::fmt;
use std::io;

use crate::failure::{Failure, Kind};
use crate::pop3::Problem;
use crate::stop::Stopped;
use crate::text::{self, counted};
use crate::{net, secret};

/// A failure, and the server that it is about.
#[derive(Debug)]
pub struct Error {
    /// As the configuration names it, made printable.
    pub server: String,
    /// What happened.
    pub cause: Cause,
    /// Messages that were sent as a whole and not answered.
    pub in_doubt: usize,
    /// The next run asks the server which of them it has.
    pub is_asked: bool,
}

/// What happened.
#[derive(Debug)]
pub enum Cause {
    /// The line, or TLS.
    Line(net::Error),
    /// The server ended the connection.
    Closed,
    /// A message that waits in the spool cannot be read.
    Unreadable(io::Error),
    /// The server refused a command for everything that would follow.
    Refused {
        /// The command, or the step.
        what: String,
        /// Code and text, made printable.
        said: String,
        /// The code.
        code: u16,
    },
    /// An HTTP server answered with a status that would be the same for every message.
    Answered {
        /// The status.
        status: u16,
        /// Status and words, made printable.
        said: String,
        /// Where it would rather be asked, without the query.
        location: Option<String>,
        /// Seconds that it wants to be left alone.
        retry_after: Option<u64>,
    },
    /// The server refused the login.
    Login {
        /// Who it was.
        user: String,
        /// Code and text, made printable.
        said: String,
        /// The same may work later.
        is_temporary: bool,
    },
    /// The server refused a token of OAuth 2.0, which is dropped.
    Token {
        /// What is to be signed in to.
        name: String,
        /// The refusal.
        login: Box<Cause>,
    },
    /// The exchange of a login was given up.
    Exchange(Problem),
    /// The server does not offer what is needed.
    NotOffered(String),
    /// The server refused messages in a row, each for the time being.
    InARow {
        /// Code and text of the last refusal, made printable.
        said: String,
    },
    /// What came is no reply, or not the one that was due.
    Nonsense(&'static str),
    /// Octets came in clear behind the reply to STARTTLS.
    Injected,
    /// The password is not to be had.
    Secret(secret::Error),
    /// Only a person could tell the password.
    Unasked,
    /// The recipient or the user cannot be written in a command.
    Unwritable(&'static str),
    /// The address names no user, and the server wants one.
    Userless,
}

/// A reply of 421 ends the connection (RFC 5321 §3.8).
const CLOSING: u16 = 421;

impl Cause {
    pub(super) fn stopped(stopped: Stopped) -> Self {
        Cause::Line(net::Error::Stopped(stopped))
    }

    pub(super) fn is_closing(code: u16) -> bool {
        code == CLOSING
    }
}

impl From<net::Error> for Cause {
    fn from(error: net::Error) -> Self {
        Cause::Line(error)
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        match net::Error::of(&error) {
            Some(error) => Cause::Line(error.clone()),
            None => Cause::Closed,
        }
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match &self.cause {
            Cause::Line(error) => error.kind(),
            Cause::Unreadable(_) => Kind::Io,
            Cause::Closed | Cause::InARow { .. } => Kind::Temporary,
            Cause::Refused { code: 400..500, .. } | Cause::Login { is_temporary: true, .. } => Kind::Temporary,
            Cause::Answered { status: 408 | 423..=425 | 429 | 500.., .. } => Kind::Temporary,
            Cause::Answered { status: 401 | 403 | 407, .. } => Kind::LoginRefused,
            Cause::Answered { .. } | Cause::Refused { .. } | Cause::NotOffered(_) => Kind::Unavailable,
            Cause::Login { .. } | Cause::Token { .. } | Cause::Exchange(_) => Kind::LoginRefused,
            Cause::Nonsense(_) | Cause::Injected => Kind::Protocol,
            Cause::Secret(error) => error.kind(),
            Cause::Unasked | Cause::Unwritable(_) | Cause::Userless => Kind::Configuration,
        }
    }

    fn details(&self) -> Vec<String> {
        if let Cause::Line(error) = &self.cause { error.details() } else { vec![] }
    }

    fn retry_after(&self) -> Option<u64> {
        if let Cause::Answered { retry_after, .. } = &self.cause { *retry_after } else { None }
    }

    fn hint(&self) -> Option<String> {
        match &self.cause {
            Cause::Answered { location: Some(location), .. } => {
                Some(format!("no redirect is followed; if it is the right one, write `{location}` in `deliver`"))
            }
            Cause::Answered { status, .. } => advice(*status).map(str::to_owned),
            Cause::Line(error) => error.hint(),
            Cause::Secret(error) => error.hint(),
            Cause::Token { name, .. } => Some(format!(
                "the next run gets a new access token; when that is refused too, run `popfetch login {}`",
                shell_words::quote(name)
            )),
            Cause::Unasked => Some("give the target `password_command`, `password_file` or `password`".into()),
            Cause::NotOffered(what) if what == "STARTTLS" => {
                Some("begin the address with `smtps:` or `imaps:`, or write `tls = \"none\"` for the target to send everything in clear".into())
            }
            Cause::Userless => Some("write `imaps://USER@HOST/MAILBOX`".into()),
            Cause::Unwritable("recipient") => Some("write `recipient = \"…\"` in the table of the target".into()),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = &self.server;
        self.cause.say(server, f)?;
        match self.in_doubt {
            0 => Ok(()),
            many if self.is_asked => {
                write!(
                    f,
                    "; the next run asks for {} that it may have, before anything is sent",
                    counted(many, "message")
                )
            }
            many => write!(f, "; {} that it did not answer may come twice", counted(many, "message")),
        }
    }
}

/// What helps against a status.
fn advice(status: u16) -> Option<&'static str> {
    Some(match status {
        401 | 403 => "check the user in the address, and the password, `request_headers` and `form` of the target",
        404 | 405 | 410 => "check the path of the address, and that the application takes mail there",
        415 => "the application wants another `body`: `\"raw\"`, `\"form:FIELD\"` or `\"form-base64:FIELD\"`",
        _ => return None,
    })
}

impl Cause {
    fn say(&self, server: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Line(error) => write!(f, "`{server}`: {error}"),
            Cause::Closed => write!(f, "`{server}` ended the connection"),
            Cause::Unreadable(error) => {
                write!(f, "a message that waits for `{server}` cannot be read from the spool: {}", text::reason(error))
            }
            Cause::Refused { what, said, .. } => write!(f, "`{server}` refused {what}: `{said}`"),
            Cause::Answered { said, .. } => write!(f, "`{server}` answered `{said}`"),
            Cause::Login { user, said, .. } => write!(f, "`{server}` refused the login of `{user}`: `{said}`"),
            Cause::Token { login, .. } => login.say(server, f),
            Cause::Exchange(problem) => write!(f, "`{server}`: the login failed: {problem}"),
            Cause::NotOffered(what) => write!(f, "`{server}` does not offer {what}"),
            Cause::InARow { said } => {
                write!(f, "`{server}` refused message after message for the time being, the last one with `{said}`")
            }
            Cause::Nonsense(what) => write!(f, "`{server}` broke the protocol: {what}"),
            Cause::Injected => write!(f, "`{server}` sent data before the TLS handshake"),
            Cause::Secret(error) => write!(f, "`{server}`: {error}"),
            Cause::Unasked => write!(f, "`{server}` needs a password, and none is configured"),
            Cause::Unwritable(what) => write!(f, "`{server}`: the {what} cannot be sent"),
            Cause::Userless => write!(f, "`{server}` wants a login, and the target names no user"),
        }
    }
}

impl std::error::Error for Error {}
