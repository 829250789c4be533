//! Why an account was not fetched to its end.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::failing::{Cause, Failing};
use crate::failure::{self, Kind};
use crate::maildrop::MessageNumber;
use crate::stop::Stopped;
use crate::text::{counted, octets, printable, reason};
use crate::{deliver, ledger, net, pop3, session};

/// Why an account was not fetched to its end. What was complete before stays delivered and recorded.
#[derive(Debug)]
pub enum Failure {
    /// There is no session, or no longer.
    Session(session::Error),
    /// QUIT was not answered well, so that the server alone knows what it deleted.
    Update {
        /// What happened.
        error: session::Error,
        /// How many messages were to be deleted.
        messages: usize,
    },
    /// The line broke while this message came, and not for the first time.
    Cut {
        /// Its number.
        number: MessageNumber,
        /// Its size by LIST.
        octets: Option<u64>,
        /// What happened.
        failure: Box<Failure>,
    },
    /// A message goes on and on beyond `max_size`, whatever LIST said.
    Endless {
        /// Its number.
        number: MessageNumber,
        /// How much of it was thrown away.
        octets: u64,
    },
    /// Messages come in the places of others.
    OutOfOrder {
        /// The first one that does.
        number: MessageNumber,
        /// They come too early: the server has lost a command. Otherwise it has sent a reply too many.
        is_early: bool,
    },
    /// The target failed.
    Deliver(deliver::Error),
    /// One target of several takes no more messages in this run.
    Lane {
        /// The target.
        target: String,
        /// Why.
        failure: Box<Failure>,
    },
    /// The MDA or the server has refused message after message in the same way, and taken none.
    TakesNone {
        /// How many were not given to it.
        left: usize,
        /// The kind of the refusals.
        kind: Kind,
        /// It is an MDA.
        is_mda: bool,
    },
    /// It is too early for another try.
    Waiting(Failing),
    /// The ledger failed.
    Ledger(ledger::Error),
    /// The system has no thread left for it.
    NoThread(io::Error),
    /// popfetch itself made a mistake.
    Panic(String),
    /// A target is the place of this other one, by another name: each message would come there twice.
    SamePlace(String),
    /// A message that a person speaks of is not known, or not on the server.
    NoSuchMessage {
        /// Its unique-id, as it is shown.
        id: String,
        /// The ledger does not know it.
        is_of_the_ledger: bool,
    },
    /// No target has refused the message that a person speaks of, as often as that is counted; its unique-id, as it is
    /// shown.
    NotRefused(String),
    /// What is at home cannot be compared with what is on the server.
    NoTop,
    /// A Maildir has none of the messages of a maildrop whose ledger is lost.
    NoneAtHome {
        /// Where it is.
        path: PathBuf,
        /// How many messages are on the server that nobody knows.
        messages: usize,
    },
    /// What an interrupted run has sent to a mailbox was not asked for so far.
    Unasked {
        /// How many messages.
        messages: usize,
    },
    /// A Maildir is none of the several targets of the account.
    NoTarget(PathBuf),
    /// A Maildir cannot be read.
    Maildir {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The run was asked to stop.
    Stopped(Stopped),
}

impl Failure {
    /// True when a command that was sent ahead got no reply, though others of its flight did.
    pub fn is_unanswered_ahead(&self) -> bool {
        match self {
            Failure::Session(error) | Failure::Update { error, .. } => error.is_unanswered_ahead(),
            Failure::Cut { failure, .. } => failure.is_unanswered_ahead(),
            Failure::OutOfOrder { is_early, .. } => *is_early,
            _ => false,
        }
    }

    /// True when there is no room at home. What came before that is safe there.
    pub fn is_full(&self) -> bool {
        matches!(self, Failure::Deliver(error) if error.is_disk_full())
    }

    /// True when it ends one lane, and the others can go on.
    pub fn is_of_a_lane(&self) -> bool {
        matches!(self, Failure::Deliver(_) | Failure::TakesNone { .. } | Failure::NoThread(_))
    }

    /// What kind of trouble a failure is that will pass by itself.
    pub fn cause(&self) -> Cause {
        match self {
            Failure::Session(error) | Failure::Update { error, .. } => error.cause(),
            Failure::Cut { failure, .. } => failure.cause(),
            Failure::Deliver(_) | Failure::Lane { .. } | Failure::TakesNone { .. } => Cause::Target,
            Failure::Waiting(failing) => failing.trouble.cause,
            _ => Cause::Other,
        }
    }

    /// Seconds that have to pass between two logins, as the server announced with a refusal.
    pub fn login_delay(&self) -> Option<u32> {
        if let Failure::Session(error) = self { error.login_delay() } else { None }
    }

    /// True when nothing was tried, because it is too early.
    pub fn is_waiting(&self) -> bool {
        match self {
            Failure::Waiting(_) => true,
            Failure::Lane { failure, .. } => failure.is_waiting(),
            _ => false,
        }
    }

    /// True when a target may take mail later, and only another try can tell. Room on a disk is seen without one.
    pub fn is_setback_of_a_lane(&self) -> bool {
        let may_pass = matches!(self, Failure::Deliver(_) | Failure::TakesNone { .. }) && !self.is_full();
        may_pass && failure::Failure::kind(self) == Kind::Temporary
    }

    /// True when the connection failed, and not what went over it.
    pub fn is_of_the_line(&self) -> bool {
        match self {
            Failure::Session(error) | Failure::Update { error, .. } => error.is_of_the_line(),
            Failure::Cut { failure, .. } => failure.is_of_the_line(),
            Failure::Stopped(_) => true,
            _ => false,
        }
    }
}

impl From<session::Error> for Failure {
    fn from(error: session::Error) -> Self {
        match error {
            session::Error::Stopped(stopped) => Failure::Stopped(stopped),
            error => Failure::Session(error),
        }
    }
}

impl From<net::Error> for Failure {
    fn from(error: net::Error) -> Self {
        session::Error::from(error).into()
    }
}

impl From<pop3::Error> for Failure {
    fn from(error: pop3::Error) -> Self {
        session::Error::from(error).into()
    }
}

impl From<deliver::Error> for Failure {
    fn from(error: deliver::Error) -> Self {
        Failure::Deliver(error)
    }
}

impl From<ledger::Error> for Failure {
    fn from(error: ledger::Error) -> Self {
        Failure::Ledger(error)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        Failure::Stopped(stopped)
    }
}

impl failure::Failure for Failure {
    fn kind(&self) -> Kind {
        match self {
            Failure::Session(error) | Failure::Update { error, .. } => error.kind(),
            Failure::Endless { .. } | Failure::OutOfOrder { .. } => Kind::Protocol,
            Failure::Deliver(error) => error.kind(),
            Failure::Lane { failure, .. } | Failure::Cut { failure, .. } => failure.kind(),
            Failure::TakesNone { kind, .. } => *kind,
            Failure::SamePlace(_) => Kind::Configuration,
            Failure::NoSuchMessage { .. } | Failure::NoneAtHome { .. } | Failure::NotRefused(_) => Kind::BadState,
            Failure::NoTop => Kind::Unavailable,
            Failure::NoTarget(_) => Kind::Configuration,
            Failure::Maildir { .. } => Kind::Io,
            Failure::Ledger(error) => error.kind(),
            Failure::NoThread(_) | Failure::Waiting(_) | Failure::Unasked { .. } => Kind::Temporary,
            Failure::Panic(_) => Kind::Io,
            Failure::Stopped(stopped) => stopped.kind(),
        }
    }

    fn details(&self) -> Vec<String> {
        if let Failure::Session(error) = self { error.details() } else { vec![] }
    }

    fn retry_after(&self) -> Option<u64> {
        if let Failure::Deliver(error) = self { error.retry_after() } else { None }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Failure::Session(error) => error.hint(),
            Failure::Update { .. } => Some("the next run deletes what is still there; nothing is fetched twice".into()),
            Failure::Cut { octets: Some(octets), .. } => {
                let size = below(*octets);
                Some(format!("`--max-size {size}` leaves it on the server, in the file `max_size = \"{size}\"`"))
            }
            Failure::Cut { failure, .. } => failure.hint(),
            Failure::Endless { .. } => Some("raise `max_size`, or leave it out, to have the message".into()),
            Failure::OutOfOrder { is_early, .. } => {
                is_early.then(|| "leave `pipelining` out, or set it to `false`".to_owned())
            }
            Failure::Deliver(error) => error.hint(),
            Failure::Lane { failure, .. } => failure.hint(),
            Failure::SamePlace(_) => Some("leave one of the two out of `deliver`".into()),
            Failure::TakesNone { is_mda: true, .. } => {
                Some("try the command of `deliver` by hand, with a message as its input".into())
            }
            Failure::Waiting(_) => Some("`--now` does not wait".into()),
            Failure::Ledger(error) => error.hint(),
            Failure::Panic(_) => Some("please report it; the next run carries on where this one ended".into()),
            Failure::NoSuchMessage { is_of_the_ledger: false, .. } => {
                Some("`popfetch list --ids` shows those that are there".into())
            }
            Failure::NotRefused(_) => Some("`popfetch state show --json` names those that are quarantined".into()),
            Failure::NoTop => Some("`popfetch state known` lets all that is on the server count as fetched".into()),
            Failure::NoneAtHome { .. } => Some(
                "name the Maildir that has them with `--from`, or let what is on the server count as fetched with \
                 `popfetch state known`; a run with `--all` fetches everything"
                    .into(),
            ),
            Failure::Unasked { .. } => {
                Some("run `popfetch`, which asks for them; `deliver` must name the mailbox".into())
            }
            Failure::NoTarget(_) => Some("name one of them with `--from`, as `deliver` does".into()),
            Failure::Maildir { .. } => Some("name the folder that has `new` and `cur`".into()),
            Failure::TakesNone { .. } | Failure::NoSuchMessage { .. } | Failure::NoThread(_) | Failure::Stopped(_) => {
                None
            }
        }
    }
}

/// The largest size that people would write below this one.
fn below(octets: u64) -> String {
    match octets.saturating_sub(1) {
        octets if octets >= 1 << 20 => format!("{}M", octets >> 20),
        octets if octets >= 1 << 10 => format!("{}k", octets >> 10),
        octets => octets.max(1).to_string(),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Session(error) => error.fmt(f),
            Failure::Update { error, messages } => {
                write!(f, "{error}; whether the server deleted {} is not known", counted(*messages, "message"))
            }
            Failure::Cut { number, octets: size, failure } => {
                let size = size.map_or_else(String::new, |size| format!(" ({})", octets(size)));
                write!(f, "{failure}; message {number}{size} has cut the line twice, and is retrieved last from now on")
            }
            Failure::Endless { number, octets: came } => write!(
                f,
                "message {number} is larger than `max_size` and than announced, and did not end after {}; it is \
                 retrieved last from now on",
                octets(*came)
            ),
            Failure::OutOfOrder { number, is_early: true } => write!(
                f,
                "the server answers RETR {number} with a later message: it loses commands that are sent ahead, though it \
                 announces PIPELINING"
            ),
            Failure::OutOfOrder { number, is_early: false } => write!(
                f,
                "the server sends earlier messages in the places of later ones: one reply too many came before or behind \
                 message {number}"
            ),
            Failure::Deliver(error) => error.fmt(f),
            Failure::Lane { target, failure } => {
                let target = printable(target.as_bytes());
                match **failure {
                    Failure::Waiting(_) => write!(f, "`{target}` gets no messages in this run: {failure}"),
                    _ => write!(f, "`{target}` gets no more messages in this run: {failure}"),
                }
            }
            Failure::SamePlace(other) => {
                write!(f, "it is the same place as `{}`, by another name", printable(other.as_bytes()))
            }
            Failure::NoSuchMessage { id, is_of_the_ledger: true } => {
                write!(f, "no message with the unique-id `{id}` is known")
            }
            Failure::NoSuchMessage { id, is_of_the_ledger: false } => {
                write!(f, "no message with the unique-id `{id}` is on the server")
            }
            Failure::NotRefused(id) => {
                write!(f, "no target has refused a message with the unique-id `{id}` while it took others")
            }
            Failure::NoTop => {
                f.write_str("the server answers no TOP, without which messages cannot be compared with those at home")
            }
            Failure::NoneAtHome { path, messages } => write!(
                f,
                "the ledger was lost, and none of {} on the server is in `{}`: nothing is decided so far",
                counted(*messages, "message"),
                path.display()
            ),
            Failure::Unasked { messages } => write!(
                f,
                "whether {} of an interrupted run came to a mailbox of an IMAP server is not known yet",
                counted(*messages, "message")
            ),
            Failure::NoTarget(path) => {
                write!(f, "the account has several targets, and `{}` is none of them", path.display())
            }
            Failure::Maildir { path, source } => {
                write!(f, "the Maildir `{}` cannot be read, or not be made durable: {}", path.display(), reason(source))
            }
            Failure::TakesNone { left, is_mda, .. } => write!(
                f,
                "the {} refuses message after message in the same way, so {} not given to it",
                if *is_mda { "MDA" } else { "server" },
                if *left == 1 { "1 other message was".into() } else { format!("{left} other messages were") }
            ),
            Failure::Waiting(failing) => failing.fmt(f),
            Failure::Ledger(error) => error.fmt(f),
            Failure::NoThread(error) => write!(f, "cannot start a thread: {error}"),
            Failure::Panic(words) => write!(f, "popfetch made a mistake: {}", printable(words.as_bytes())),
            Failure::Stopped(stopped) => stopped.fmt(f),
        }
    }
}
