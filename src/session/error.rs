//! Why there is no session, or no longer.

use std::fmt;

use super::refusals;
use crate::failing::Cause;
use crate::failure::{Failure, Kind};
use crate::plan::{NoStart, NoUniqueIds};
use crate::stop::Stopped;
use crate::text::{counted, host_port, printable};
use crate::{ledger, net, pop3, secret};

/// A password that worked so many seconds ago may be refused because of too many logins. Providers that do that count
/// them by the hour.
const LATELY: u64 = 3600;

/// Why an account cannot be opened or surveyed, or the session with it cannot go on.
#[derive(Debug)]
pub enum Error {
    /// The secret cannot be had.
    Secret(secret::Error),
    /// The server cannot be reached, or not safely.
    Net(net::Error),
    /// The session failed.
    Pop3(pop3::Error),
    /// The server does not answer TOP.
    Top(pop3::Error),
    /// A server on the port for implicit TLS was spoken to in clear.
    Ungreeted {
        /// What came of it.
        error: pop3::Error,
        /// True when the server was named by a URL.
        by_options: bool,
    },
    /// The login was refused.
    Login {
        /// The host name.
        host: String,
        /// The port.
        port: u16,
        /// The mailbox name.
        user: String,
        /// How it was refused.
        error: Box<pop3::Error>,
        /// Seconds between two logins, where the server announces them.
        delay: Option<u32>,
        /// How many seconds ago a run succeeded, where that is not long ago.
        worked: Option<u64>,
    },
    /// An access token of the state was refused, and is dropped now.
    Token {
        /// The account's name.
        account: String,
        /// True when the account gets its tokens without a person.
        is_service: bool,
        /// The refusal.
        login: Box<Error>,
    },
    /// The server has no unique-ids.
    NoUniqueIds(NoUniqueIds),
    /// It cannot be told what is from before `start`.
    NoStart(NoStart),
    /// The server gives no header sections, and rules ask for those of so many messages.
    NoHeads(usize),
    /// So many known messages seem to be listed under other unique-ids, and nothing tells for certain.
    Renumbered(usize),
    /// So many known messages have other sizes, and nothing tells whether they are the same.
    Resized(usize),
    /// The ledger failed.
    Ledger(ledger::Error),
    /// The run was asked to stop.
    Stopped(Stopped),
}

impl Error {
    /// How asking for header sections failed.
    pub(super) fn top(error: pop3::Error) -> Self {
        match Error::from(error) {
            Error::Pop3(error) => Error::Top(error),
            error => error,
        }
    }

    /// True when a command that was sent ahead got no reply in time, though others of its flight did.
    pub fn is_unanswered_ahead(&self) -> bool {
        let (Error::Pop3(error) | Error::Top(error)) = self else { return false };
        match error {
            pop3::Error::Io { is_ahead, .. } => {
                *is_ahead && matches!(line_error(error), Some(net::Error::TimedOut { .. }))
            }
            pop3::Error::Closed { is_ahead, .. } => *is_ahead,
            _ => false,
        }
    }

    /// True when the connection broke off while header sections were asked for.
    pub fn is_broken_off_at_top(&self) -> bool {
        let Error::Top(error) = self else { return false };
        self.is_of_the_line() && !matches!(line_error(error), Some(net::Error::TimedOut { .. }))
    }

    /// True when nothing can be done without the header sections of messages.
    pub fn is_for_want_of_top(&self) -> bool {
        matches!(self, Error::NoStart(NoStart::WithoutTop) | Error::NoHeads(_))
    }

    /// True when the connection failed, and not what went over it.
    pub fn is_of_the_line(&self) -> bool {
        match self {
            Error::Net(_) | Error::Stopped(_) => true,
            Error::Pop3(error) | Error::Top(error) | Error::Ungreeted { error, .. } => {
                matches!(error, pop3::Error::Io { .. } | pop3::Error::Closed { .. })
            }
            _ => false,
        }
    }

    /// The same, of an account that last succeeded at this time: what was refused may have been right a moment ago.
    pub fn after_success(mut self, last_success: Option<u64>, now: u64) -> Self {
        if let Error::Login { worked, .. } = &mut self {
            *worked = last_success.and_then(|at| now.checked_sub(at)).filter(|ago| *ago < LATELY);
        }
        self
    }

    /// Seconds that have to pass between two logins, as the server announced with a refusal.
    pub fn login_delay(&self) -> Option<u32> {
        match self {
            Error::Login { delay, .. } => *delay,
            Error::Token { login, .. } => login.login_delay(),
            _ => None,
        }
    }

    /// What kind of trouble a failure is that will pass by itself.
    pub fn cause(&self) -> Cause {
        match self {
            Error::Secret(_) => Cause::Secret,
            Error::Net(_) => Cause::Network,
            Error::Pop3(error) | Error::Top(error) | Error::Ungreeted { error, .. } => error.cause(),
            Error::Login { error, .. } => error.cause(),
            Error::Token { login, .. } => login.cause(),
            Error::NoUniqueIds(_) | Error::NoStart(_) | Error::NoHeads(_) => Cause::Other,
            Error::Renumbered(_) | Error::Resized(_) => Cause::Other,
            Error::Ledger(_) | Error::Stopped(_) => Cause::Other,
        }
    }
}

/// A session carries the line's own errors.
fn line_error(error: &pop3::Error) -> Option<&net::Error> {
    match error {
        pop3::Error::Io { source, .. } => net::Error::of(source),
        _ => None,
    }
}

impl From<pop3::Error> for Error {
    fn from(error: pop3::Error) -> Self {
        match line_error(&error) {
            Some(net::Error::Stopped(stopped)) => Error::Stopped(*stopped),
            _ => Error::Pop3(error),
        }
    }
}

impl From<net::Error> for Error {
    fn from(error: net::Error) -> Self {
        match error {
            net::Error::Stopped(stopped) => Error::Stopped(stopped),
            error => Error::Net(error),
        }
    }
}

impl From<secret::Error> for Error {
    fn from(error: secret::Error) -> Self {
        match error {
            secret::Error::Stopped(stopped) => Error::Stopped(stopped),
            error => Error::Secret(error),
        }
    }
}

impl From<ledger::Error> for Error {
    fn from(error: ledger::Error) -> Self {
        Error::Ledger(error)
    }
}

impl From<NoStart> for Error {
    fn from(error: NoStart) -> Self {
        Error::NoStart(error)
    }
}

impl From<NoUniqueIds> for Error {
    fn from(error: NoUniqueIds) -> Self {
        Error::NoUniqueIds(error)
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Secret(error) => error.kind(),
            Error::Net(error) => error.kind(),
            Error::Pop3(error) | Error::Top(error) | Error::Ungreeted { error, .. } => {
                line_error(error).map_or_else(|| error.kind(), Failure::kind)
            }
            Error::Login { error, .. } => error.kind(),
            Error::Token { login, .. } => login.kind(),
            Error::NoUniqueIds(error) => error.kind(),
            Error::NoStart(error) => error.kind(),
            Error::NoHeads(_) => Kind::Unavailable,
            Error::Renumbered(_) | Error::Resized(_) => Kind::BadState,
            Error::Ledger(error) => error.kind(),
            Error::Stopped(stopped) => stopped.kind(),
        }
    }

    fn details(&self) -> Vec<String> {
        if let Error::Net(error) = self { error.details() } else { vec![] }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Secret(error) => error.hint(),
            Error::Net(error) => error.hint(),
            Error::Pop3(error) | Error::Top(error) => line_error(error).map_or_else(|| error.hint(), Failure::hint),
            Error::Ungreeted { by_options: true, .. } => Some("port 995 is usually that of `pop3s://`".into()),
            Error::Ungreeted { .. } => Some("port 995 usually wants `tls = \"implicit\"`".into()),
            // Waiting is all that helps against what will pass.
            Error::Login { host, error, worked, .. } => {
                let method = error.refused_method().filter(|_| !error.is_transient())?;
                let hint = refusals::hint(host, method, &error.words());
                Some(worked.map_or_else(|| hint.clone(), |ago| refusals::hint_after_success(ago, &hint)))
            }
            Error::Token { is_service: true, .. } => Some(refusals::SERVICE.to_owned()),
            Error::Token { account, .. } => Some(format!(
                "the next run gets a new access token; when that is refused too, run `popfetch login {}`",
                shell_words::quote(account)
            )),
            Error::NoUniqueIds(error) => error.hint(),
            Error::NoStart(error) => error.hint(),
            Error::NoHeads(_) => {
                Some("write rules that ask for `size` alone, and no `filter`; or let the target sort the mail".into())
            }
            Error::Renumbered(_) => Some(
                "when it is the old maildrop on another server or software, move what came before away and run once \
                 with `--all`; when it is another maildrop, use another account"
                    .into(),
            ),
            Error::Resized(_) => {
                Some("run once with `--all`: every message comes again, and is remembered by more than its size".into())
            }
            Error::Ledger(error) => error.hint(),
            Error::Stopped(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Secret(error) => error.fmt(f),
            Error::Net(error) => error.fmt(f),
            Error::Pop3(error) | Error::Top(error) | Error::Ungreeted { error, .. } => error.fmt(f),
            Error::Login { host, port, user, error, .. } => {
                write!(f, "`{}` refused the login of `{}`", host_port(host, *port), printable(user.as_bytes()))?;
                error.refused_method().map_or(Ok(()), |method| write!(f, " by {}", method.name()))?;
                write!(f, ": {}", error.words())
            }
            Error::Token { login, .. } => login.fmt(f),
            Error::NoUniqueIds(error) => error.fmt(f),
            Error::NoStart(error) => error.fmt(f),
            Error::NoHeads(messages) => write!(
                f,
                "the server answers no TOP, without which the rules cannot decide about {}",
                counted(*messages, "message")
            ),
            Error::Renumbered(messages) => write!(
                f,
                "none of {} is listed, but new ones of the same sizes are: they may be the same under new unique-ids, \
                 and nothing tells for certain",
                counted(*messages, "known message")
            ),
            Error::Resized(messages) => write!(
                f,
                "{} have other sizes than recorded, and an earlier release recorded nothing else by which to know them",
                counted(*messages, "known message")
            ),
            Error::Ledger(error) => error.fmt(f),
            Error::Stopped(stopped) => stopped.fmt(f),
        }
    }
}
