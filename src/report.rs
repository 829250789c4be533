//! What is said about a run: notices, failures with their hints, the summary line, JSON; and the exit status, which is
//! made here and nowhere else.

mod abridged;
mod refusals;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use abridged::abridged;

use crate::account::{Account, Password};
use crate::ledger::Key;
use crate::maildrop::MessageNumber;
use crate::text::{counted, octets, printable};
use crate::{config, deliver, ledger, net, oauth, pop3};

/// How a run ended, as sysexits(3) numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Everything is done, also when there was no mail.
    Done,
    /// The command line was wrong (`EX_USAGE`).
    Usage,
    /// The ledger has bad data (`EX_DATAERR`).
    BadState,
    /// The host is not known (`EX_NOHOST`).
    UnknownHost,
    /// TLS failed, or the server offers no service (`EX_UNAVAILABLE`).
    Unavailable,
    /// The target cannot be created, or the MDA cannot be started (`EX_CANTCREAT`).
    CannotCreate,
    /// Input or output failed (`EX_IOERR`).
    Io,
    /// Something that later may be well again (`EX_TEMPFAIL`).
    Temporary,
    /// The server broke the protocol (`EX_PROTOCOL`).
    Protocol,
    /// The login was refused (`EX_NOPERM`).
    LoginRefused,
    /// The configuration is wrong (`EX_CONFIG`).
    Configuration,
    /// A signal asked to stop: 128 and its number.
    Stopped(i32),
}

impl Status {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Status::Done => 0,
            Status::Usage => 64,
            Status::BadState => 65,
            Status::UnknownHost => 68,
            Status::Unavailable => 69,
            Status::CannotCreate => 73,
            Status::Io => 74,
            Status::Temporary => 75,
            Status::Protocol => 76,
            Status::LoginRefused => 77,
            Status::Configuration => 78,
            Status::Stopped(signal) => 128 + u8::try_from(signal).unwrap_or(0),
        }
    }

    /// The status of a run over several accounts: a signal, else the first failure that waiting does not mend, else
    /// the first that it may.
    pub fn of(accounts: impl IntoIterator<Item = Status>) -> Status {
        let mut worst = Status::Done;
        for status in accounts {
            if status.weight() > worst.weight() {
                worst = status;
            }
        }
        worst
    }

    fn weight(self) -> u8 {
        match self {
            Status::Done => 0,
            Status::Temporary => 1,
            Status::Stopped(_) => 3,
            _ => 2,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status.code())
    }
}

/// Why an account was not fetched to its end. What was complete before stays delivered and recorded.
#[derive(Debug)]
pub enum Failure {
    /// The password cannot be had.
    Secret(config::SecretError),
    /// A token cannot be had.
    OAuth {
        /// The account's name.
        account: String,
        /// Why.
        error: oauth::Error,
    },
    /// There is nothing to sign in to.
    NoOAuth2,
    /// The server cannot be reached, or not safely.
    Net(net::Error),
    /// The session failed.
    Session(pop3::Error),
    /// The server does not answer TOP.
    Top(pop3::Error),
    /// A server on the port for implicit TLS was spoken to in clear.
    Ungreeted(pop3::Error),
    /// The login was refused.
    Login {
        /// The server, `HOST:PORT`.
        server: String,
        /// The mailbox name.
        user: String,
        /// How it was refused.
        error: pop3::Error,
    },
    /// An access token of the state was refused, and is dropped now.
    Token {
        /// The account's name.
        account: String,
        /// The refusal.
        login: Box<Failure>,
    },
    /// QUIT was not answered well, so that the server alone knows what it deleted.
    Update {
        /// What happened.
        error: pop3::Error,
        /// How many messages were to be deleted.
        messages: usize,
    },
    /// A message goes on and on beyond `max_size`, whatever LIST said.
    Endless {
        /// Its number.
        number: MessageNumber,
        /// How much of it was thrown away.
        octets: u64,
    },
    /// The target failed.
    Deliver(deliver::Error),
    /// The MDA has refused message after message in the same way, and taken none.
    MdaTakesNone {
        /// How many were not given to it.
        left: usize,
        /// The status of the refusals.
        status: Status,
    },
    /// The ledger failed.
    Ledger(ledger::Error),
    /// The server has no UIDL, and messages are to be kept.
    NoUniqueIds,
    /// The system has no thread left for it.
    NoThread(io::Error),
    /// popfetch itself made a mistake.
    Panic(String),
    /// The server had UIDL in an earlier run, and not now.
    UniqueIdsGone,
    /// So many known messages seem to be listed under other unique-ids, and nothing tells for certain.
    Renumbered(usize),
    /// So many known messages have other sizes, and nothing tells whether they are the same.
    Resized(usize),
    /// The run was asked to stop.
    Stopped(i32),
}

impl From<net::Error> for Failure {
    fn from(error: net::Error) -> Self {
        match error {
            net::Error::Stopped { signal } => Failure::Stopped(signal),
            error => Failure::Net(error),
        }
    }
}

impl From<pop3::Error> for Failure {
    fn from(error: pop3::Error) -> Self {
        match stopped_in(&error) {
            Some(signal) => Failure::Stopped(signal),
            None => Failure::Session(error),
        }
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

/// A session carries the line's own errors.
fn stopped_in(error: &pop3::Error) -> Option<i32> {
    match line_error(error)? {
        net::Error::Stopped { signal } => Some(*signal),
        _ => None,
    }
}

fn line_error(error: &pop3::Error) -> Option<&net::Error> {
    match error {
        pop3::Error::Io { source, .. } => net::Error::of(source),
        _ => None,
    }
}

impl Failure {
    /// Why an account has no token.
    pub fn oauth(account: &Account, error: oauth::Error) -> Self {
        match error {
            oauth::Error::Stopped(signal) => Failure::Stopped(signal),
            error => Failure::OAuth { account: account.name.clone(), error },
        }
    }

    /// How asking for header sections failed.
    pub fn top(error: pop3::Error) -> Self {
        match Failure::from(error) {
            Failure::Session(error) => Failure::Top(error),
            failure => failure,
        }
    }

    /// True when a command that was sent ahead got no reply in time, though others of its flight did.
    pub fn is_unanswered_ahead(&self) -> bool {
        let (Failure::Session(error) | Failure::Top(error) | Failure::Update { error, .. }) = self else {
            return false;
        };
        matches!(error, pop3::Error::Io { is_ahead: true, .. })
            && matches!(line_error(error), Some(net::Error::TimedOut { .. }))
    }

    /// True when there is no room at home. What came before that is safe there.
    pub fn is_full(&self) -> bool {
        matches!(self, Failure::Deliver(error) if error.is_disk_full())
    }

    /// True when the connection failed, and not what went over it.
    pub fn is_of_the_line(&self) -> bool {
        match self {
            Failure::Net(_) | Failure::Stopped(_) => true,
            Failure::Session(error)
            | Failure::Top(error)
            | Failure::Update { error, .. }
            | Failure::Ungreeted(error) => {
                matches!(error, pop3::Error::Io { .. } | pop3::Error::Closed { .. })
            }
            _ => false,
        }
    }

    /// The exit status that it deserves.
    pub fn status(&self) -> Status {
        match self {
            Failure::Stopped(signal) => Status::Stopped(*signal),
            Failure::Secret(error) if error.is_transient() => Status::Temporary,
            Failure::Secret(_) | Failure::NoOAuth2 => Status::Configuration,
            Failure::OAuth { error, .. } => oauth_status(error.kind()),
            Failure::Token { login, .. } => login.status(),
            Failure::Net(error) => net_status(error.kind()),
            Failure::Session(error)
            | Failure::Top(error)
            | Failure::Ungreeted(error)
            | Failure::Login { error, .. }
            | Failure::Update { error, .. } => session_status(error),
            Failure::Deliver(error) => match error.kind() {
                deliver::ErrorKind::CannotCreate => Status::CannotCreate,
                deliver::ErrorKind::Io => Status::Io,
                deliver::ErrorKind::Busy => Status::Temporary,
            },
            Failure::Ledger(error) if error.is_transient() => Status::Temporary,
            Failure::Ledger(error) if error.is_bad_data() => Status::BadState,
            Failure::Ledger(_) => Status::Io,
            Failure::NoUniqueIds => Status::Unavailable,
            Failure::Endless { .. } => Status::Protocol,
            Failure::NoThread(_) => Status::Temporary,
            Failure::MdaTakesNone { status, .. } => *status,
            Failure::Panic(_) => Status::Io,
            Failure::UniqueIdsGone => Status::Temporary,
            Failure::Renumbered(_) | Failure::Resized(_) => Status::BadState,
        }
    }

    /// What to do about it, where that is sure.
    pub fn hint(&self) -> Option<String> {
        match self {
            Failure::Secret(error) => error.hint(),
            Failure::OAuth { account, error } => error.hint(account),
            Failure::NoOAuth2 => Some("write `oauth2 = { provider = \"…\", client_id = \"…\" }` into it".into()),
            Failure::Net(error) => error.hint(),
            Failure::Session(error) | Failure::Top(error) => line_error(error).and_then(net::Error::hint).or_else(|| session_hint(error)),
            Failure::Ungreeted(_) => Some("port 995 usually wants `tls = \"implicit\"`".into()),
            Failure::Deliver(error) => error.hint(),
            Failure::NoUniqueIds => {
                Some("write `keep = false` to fetch and delete everything, or run once with `--all`".into())
            }
            Failure::UniqueIdsGone => Some(
                "the next run tries again; should the server have given UIDL up for good, `--all` fetches everything, also what came before".into(),
            ),
            Failure::Renumbered(_) => Some(
                "when it is the old maildrop on another server or software, move what came before away and run once with `--all`; when it is another maildrop, use another account".into(),
            ),
            Failure::Resized(_) => {
                Some("run once with `--all`: every message comes again, and is remembered by more than its size".into())
            }
            Failure::Update { .. } => Some("the next run deletes what is still there; nothing is fetched twice".into()),
            Failure::Token { account, .. } => Some(format!(
                "the next run gets a new access token; when that is refused too, run `popfetch login {}`",
                shell_words::quote(account)
            )),
            Failure::Login { server, error, .. } => login_hint(server, error),
            Failure::Ledger(error) => error.hint(),
            Failure::Endless { .. } => Some("raise `max_size`, or leave it out, to have the message".into()),
            Failure::Panic(_) => Some("please report it; the next run carries on where this one ended".into()),
            Failure::MdaTakesNone { .. } => {
                Some("try the command of `deliver` by hand, with a message as its input".into())
            }
            Failure::NoThread(_) | Failure::Stopped(_) => None,
        }
    }
}

fn oauth_status(kind: oauth::Kind) -> Status {
    match kind {
        oauth::Kind::Temporary => Status::Temporary,
        oauth::Kind::Tls => Status::Unavailable,
        oauth::Kind::Protocol => Status::Protocol,
        oauth::Kind::Consent => Status::LoginRefused,
        oauth::Kind::Configuration => Status::Configuration,
        oauth::Kind::BadState => Status::BadState,
        oauth::Kind::Io => Status::Io,
        oauth::Kind::Stopped(signal) => Status::Stopped(signal),
    }
}

fn net_status(kind: net::Kind) -> Status {
    match kind {
        net::Kind::UnknownHost => Status::UnknownHost,
        net::Kind::Tls | net::Kind::Unavailable => Status::Unavailable,
        net::Kind::Configuration => Status::Configuration,
        net::Kind::Temporary | net::Kind::Stopped => Status::Temporary,
        net::Kind::Io => Status::Io,
    }
}

fn session_status(error: &pop3::Error) -> Status {
    if let Some(line) = line_error(error) {
        return net_status(line.kind());
    }
    match error {
        _ if error.is_transient() => Status::Temporary,
        pop3::Error::LoginRefused { .. } => Status::LoginRefused,
        _ if error.is_stls() => Status::Unavailable,
        pop3::Error::NotOffered(_)
        | pop3::Error::NoMechanism { .. }
        | pop3::Error::InjectedBeforeTls
        | pop3::Error::Unwelcome { .. } => Status::Unavailable,
        pop3::Error::Exchange { problem: pop3::Problem::NoBinding, .. } => Status::Unavailable,
        pop3::Error::Unsendable | pop3::Error::Exchange { problem: pop3::Problem::Unpreparable, .. } => {
            Status::Configuration
        }
        _ => Status::Protocol,
    }
}

fn session_hint(error: &pop3::Error) -> Option<String> {
    match error {
        _ if error.is_stls() => Some(
            "use `tls = \"implicit\"` (port 995) if the server has it; `tls = \"none\"` sends everything in clear"
                .into(),
        ),
        pop3::Error::NotOffered(pop3::Missing::ApopTimestamp) => {
            Some("leave `auth` out, or use `auth = \"user\"`".into())
        }
        pop3::Error::NoMechanism { offered, .. } if takes_only_tokens(offered) => Some(
            "the server takes only OAuth 2.0 tokens: write `oauth2` in place of the password and run `popfetch \
             login ACCOUNT`, or let a `token_command` print one"
                .into(),
        ),
        pop3::Error::NoMechanism { .. } => {
            Some("name a way with `auth` that the server offers, and give what it takes".into())
        }
        pop3::Error::Exchange { problem, .. } => exchange_hint(problem).map(str::to_owned),
        _ => None,
    }
}

fn takes_only_tokens(mechanisms: &[String]) -> bool {
    !mechanisms.is_empty() && mechanisms.iter().all(|name| name == "XOAUTH2" || name == "OAUTHBEARER")
}

fn exchange_hint(problem: &pop3::Problem) -> Option<&'static str> {
    match problem {
        pop3::Problem::WrongProof | pop3::Problem::NoProof => Some(
            "this may not be your provider's server: the password was not sent, and is not to be sent in another way",
        ),
        pop3::Problem::Unpreparable => Some("name another way to log in, such as `auth = \"plain\"` under TLS"),
        pop3::Problem::NoBinding => Some("leave `-plus` out, or use TLS"),
        _ => None,
    }
}

/// Waiting is all that helps against what will pass.
fn login_hint(server: &str, error: &pop3::Error) -> Option<String> {
    match error {
        pop3::Error::LoginRefused { method, .. } if !error.is_transient() => {
            let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
            Some(refusals::hint(host, *method, &error.words()))
        }
        _ => None,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Secret(error) => error.fmt(f),
            Failure::OAuth { error, .. } => error.fmt(f),
            Failure::Token { login, .. } => login.fmt(f),
            Failure::NoOAuth2 => f.write_str("the account has no `oauth2`, so there is nothing to sign in to"),
            Failure::Net(error) => error.fmt(f),
            Failure::Session(error) | Failure::Top(error) | Failure::Ungreeted(error) => error.fmt(f),
            Failure::Login { server, user, error } => {
                write!(f, "`{server}` refused the login of `{}`", printable(user.as_bytes()))?;
                error.refused_method().map_or(Ok(()), |method| write!(f, " by {}", method.name()))?;
                write!(f, ": {}", error.words())
            }
            Failure::Update { error, messages } => {
                write!(f, "{error}; whether the server deleted {} is not known", counted(*messages, "message"))
            }
            Failure::Deliver(error) => error.fmt(f),
            Failure::Ledger(error) => error.fmt(f),
            Failure::NoUniqueIds => {
                f.write_str("the server has no UIDL, so messages that are kept cannot be remembered")
            }
            Failure::MdaTakesNone { left, .. } => write!(
                f,
                "the MDA refuses message after message in the same way, so {} not given to it",
                if *left == 1 { "1 other message was".into() } else { format!("{left} other messages were") }
            ),
            Failure::NoThread(error) => write!(f, "cannot start a thread: {error}"),
            Failure::Panic(words) => write!(f, "popfetch made a mistake: {}", printable(words.as_bytes())),
            Failure::UniqueIdsGone => f.write_str(
                "the server gives no unique-ids (UIDL), though it did before: messages cannot be told from known ones",
            ),
            Failure::Renumbered(messages) => write!(
                f,
                "none of {} is listed, but new ones of the same sizes are: they may be the same under new unique-ids, and nothing tells for certain",
                counted(*messages, "known message")
            ),
            Failure::Resized(messages) => write!(
                f,
                "{} have other sizes than recorded, and an earlier release recorded nothing else by which to know them",
                counted(*messages, "known message")
            ),
            Failure::Endless { number, octets: came } => write!(
                f,
                "message {number} is larger than `max_size` and than announced, and did not end after {}; it is \
                 retrieved last from now on",
                octets(*came)
            ),
            Failure::Stopped(signal) => write!(f, "stopped by signal {signal}"),
        }
    }
}

/// A message that stays on the server because it was refused; the others went on.
#[derive(Debug)]
pub struct Refused {
    number: MessageNumber,
    unique_id: Vec<u8>,
    status: Status,
    reason: String,
}

impl Refused {
    /// The server answered RETR with `-ERR`.
    pub fn by_server(key: &Key, text: &[u8]) -> Self {
        let reason = format!("the server refused RETR: `{}`", printable(text));
        Refused { number: key.number, unique_id: key.unique_id.clone(), status: Status::Temporary, reason }
    }

    /// Behind it the session got out of step.
    pub fn out_of_step(key: &Key) -> Self {
        let reason = "it is not delivered, because the server sent more behind its end: it may be cut short there";
        Refused::distrusted_because(key, reason)
    }

    /// The session got out of step behind it in an earlier run.
    pub fn distrusted(key: &Key) -> Self {
        let reason = "an earlier session broke off behind it; it is retrieved by a run that has nothing to delete";
        Refused::distrusted_because(key, reason)
    }

    fn distrusted_because(key: &Key, reason: &str) -> Self {
        let (number, unique_id) = (key.number, key.unique_id.clone());
        Refused { number, unique_id, status: Status::Protocol, reason: reason.into() }
    }

    /// The unique-id, or nothing where the server has none.
    pub fn unique_id(&self) -> &[u8] {
        &self.unique_id
    }

    /// The exit status that it deserves.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The target did not take it.
    pub fn by_target(number: MessageNumber, unique_id: &[u8], refusal: &deliver::Refusal) -> Self {
        let status = if refusal.is_temporary() { Status::Temporary } else { Status::Io };
        Refused { number, unique_id: unique_id.to_vec(), status, reason: refusal.to_string() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { number, unique_id, reason, .. } = self;
        write!(f, "message {number} (`{}`) stays on the server: {reason}", printable(unique_id))
    }
}

/// Something that a person should hear, though the run goes on.
#[derive(Debug)]
pub enum Notice {
    /// The account was fetched before, but its ledger is not there.
    LedgerMissing(PathBuf),
    /// Lines of the ledger make no sense.
    LedgerDamaged {
        /// The ledger.
        path: PathBuf,
        /// Which lines.
        lines: Vec<u32>,
        /// Where the damaged file was put.
        kept: Option<PathBuf>,
    },
    /// What an interrupted run has put into a Maildir or an mbox is not there any more.
    NotFound {
        /// How many messages.
        messages: usize,
        /// The Maildir or the mbox.
        path: PathBuf,
        /// They may have been there: others of that run are, or the account delivers elsewhere now.
        may_be_deleted: bool,
    },
    /// Nobody can tell whether an interrupted run has put messages there.
    Unreachable {
        /// How many messages.
        messages: usize,
        /// Why.
        reason: String,
    },
    /// Nothing tells the server from an impostor.
    Unverified,
    /// The server does not answer what is sent ahead, though it announces PIPELINING.
    LockStep,
    /// The server does not answer TOP; how.
    NoTop(String),
    /// Messages without unique-id, which cannot be remembered.
    Nameless {
        /// How many.
        messages: usize,
        /// They stay because messages had unique-ids before, and these may have been delivered under them.
        had_ids: bool,
    },
    /// Messages that are due to be deleted, while nothing proves that they are the delivered ones.
    Unproved(usize),
    /// Known messages that are listed under new unique-ids.
    Renamed(usize),
    /// The clock is wrong, so that nothing is deleted because of its age.
    Clock,
    /// Messages that another ledger has delivered to the same target.
    Adopted {
        /// How many.
        messages: usize,
        /// The name of the maildrop there.
        maildrop: String,
    },
    /// Messages that the server had confirmed as deleted, or others under their unique-ids.
    Unsure(usize),
    /// Messages to be fetched whose size the server does not tell.
    Sizeless(usize),
    /// Messages were delivered that are much shorter than announced.
    Short {
        /// The first one.
        first: Short,
        /// How many there are.
        messages: usize,
    },
    /// Messages that are due to be deleted, but share their unique-id.
    Repeated(usize),
    /// Messages that the server had confirmed as deleted.
    Relisted(usize),
    /// The secret goes over a line that others may read.
    SecretInClear {
        /// The server.
        host: String,
    },
}

/// A message that `max_size` leaves on the server.
#[derive(Debug, Clone, Copy)]
pub struct TooLarge {
    /// Its number.
    pub number: MessageNumber,
    /// Its size by LIST, or what came of it.
    pub octets: u64,
    /// It was not said before.
    pub is_news: bool,
}

impl TooLarge {
    /// One that was said before.
    pub fn new(number: MessageNumber, octets: u64) -> Self {
        TooLarge { number, octets, is_news: false }
    }
}

/// A message that is much shorter than LIST announced.
#[derive(Debug, Clone, Copy)]
pub struct Short {
    /// Its number.
    pub number: MessageNumber,
    /// Its size by LIST.
    pub announced: u64,
    /// What came.
    pub octets: u64,
}

impl Notice {
    /// The notice about short messages, if there are any.
    pub fn short(short: Vec<Short>) -> Option<Self> {
        Some(Notice::Short { first: *short.first()?, messages: short.len() })
    }

    /// False for what is worth a line only with `-v`.
    fn needs_attention(&self) -> bool {
        !matches!(self, Notice::NotFound { may_be_deleted: false, .. })
    }

    fn status(&self) -> Status {
        match self {
            Notice::LedgerDamaged { .. } => Status::BadState,
            Notice::Nameless { had_ids: true, .. } => Status::Temporary,
            _ => Status::Done,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::LedgerMissing(path) => write!(
                f,
                "the ledger `{}` is gone or empty though this account was fetched before; every message on the server counts as new",
                path.display()
            ),
            Notice::LedgerDamaged { path, lines, kept } => {
                let shown: Vec<String> = lines.iter().take(10).map(u32::to_string).collect();
                let more = if lines.len() > shown.len() { ", …" } else { "" };
                write!(
                    f,
                    "{} of the ledger `{}` cannot be read (line {}{more}); the rest is used, and a message that only they knew is fetched again",
                    counted(lines.len(), "line"),
                    path.display(),
                    shown.join(", ")
                )?;
                kept.as_ref().map_or(Ok(()), |kept| write!(f, "; the file as it was is `{}`", kept.display()))
            }
            Notice::NotFound { messages, path, .. } => write!(
                f,
                "{} of an interrupted run not found in `{}`; what is still on the server is fetched again, also if a \
                 reader has deleted or moved it meanwhile",
                counted(*messages, "message"),
                path.display()
            ),
            Notice::Unreachable { messages, reason } => write!(
                f,
                "{} of an interrupted run may have been delivered to a place that cannot be used any more ({reason}); \
                 what is still on the server is fetched again, and may come twice",
                counted(*messages, "message")
            ),
            Notice::Unverified => f.write_str(
                "the certificate of the server is not verified (`tls_verify = false`): whoever is in between can read the password and the mail; a `tls_pin` would tell",
            ),
            Notice::Nameless { messages, had_ids: false } => write!(
                f,
                "{} without unique-id left on the server: kept messages are remembered by it",
                counted(*messages, "message")
            ),
            Notice::LockStep => f.write_str(
                "the server announces PIPELINING, and does not answer what is sent ahead; one command at a time from now \
                 on (`pipelining = true` tries again)",
            ),
            Notice::NoTop(error) => write!(
                f,
                "the server does not answer TOP ({error}); for a day nothing is deleted that TOP would have to prove"
            ),
            Notice::Nameless { messages, had_ids: true } => write!(
                f,
                "{} without unique-id left on the server: the others have one, and these may have been delivered under theirs before; `--all` fetches them",
                counted(*messages, "message")
            ),
            Notice::Clock => f.write_str(
                "the clock stands before the newest date of the ledger, or is absurd: nothing is deleted because of its age; set the clock right",
            ),
            Notice::Unproved(messages) => write!(
                f,
                "{} due to be deleted left on the server: it does not tell whether they are those that were delivered",
                counted(*messages, "message")
            ),
            Notice::Renamed(messages) => write!(
                f,
                "all unique-ids are new, but {} were recognized as delivered before, and are known under the new ones now",
                counted(*messages, "message")
            ),
            Notice::Adopted { messages, maildrop } => write!(
                f,
                "{} came to the same target from `{}` before, and are known",
                counted(*messages, "message"),
                printable(maildrop.as_bytes())
            ),
            Notice::Unsure(messages) => write!(
                f,
                "{} listed under the unique-id of one whose deletion the server had confirmed; nothing tells them apart, so they are left alone",
                counted(*messages, "message")
            ),
            Notice::Sizeless(messages) => write!(
                f,
                "the server announces no readable size for {}; the size counts as unknown",
                counted(*messages, "message")
            ),
            Notice::Short { first: Short { number, announced, octets: came }, messages } => write!(
                f,
                "{} delivered with less than half of the announced size (message {number}: {} of {}); the server may \
                 have cut what it sent",
                counted(*messages, "message"),
                octets(*came),
                octets(*announced)
            ),
            Notice::Repeated(messages) => write!(
                f,
                "{} delivered but not deleted: the server lists the same unique-id for several messages",
                counted(*messages, "message")
            ),
            Notice::SecretInClear { host } => write!(
                f,
                "the password goes to `{}` in clear, and anybody on the way can read it; use TLS, or name the way to log \
                 in (`auth = \"plain\"`, `\"user\"`) if that is meant",
                printable(host.as_bytes())
            ),
            Notice::Relisted(messages) => write!(
                f,
                "{} still listed although the server confirmed the deletion; deleted once more",
                counted(*messages, "message")
            ),
        }
    }
}

/// What became of one account.
#[derive(Debug)]
pub struct Summary {
    account: String,
    /// Never printed: a server that repeats it is not repeated.
    pub secret: Option<Password>,
    target: String,
    /// Messages in the maildrop.
    pub listed: usize,
    /// Known from earlier runs.
    pub known: usize,
    /// Delivered now.
    pub delivered: usize,
    /// Octets of them, as stored.
    pub octets: u64,
    /// Deleted on the server now.
    pub deleted: usize,
    /// DELE that the server refused.
    pub undeleted: Vec<pop3::Refusal>,
    /// Left for the next run by `max_messages`.
    pub later: usize,
    /// Left on the server by `max_size`.
    pub too_large: Vec<TooLarge>,
    /// Left on the server because somebody refused them.
    pub refused: Vec<Refused>,
    /// With `--dry-run`: what would be retrieved.
    pub would_retrieve: usize,
    /// With `--dry-run`: what would be deleted, apart from what is retrieved.
    pub would_delete: usize,
    /// What a person should hear.
    pub notices: Vec<Notice>,
    /// Why the account was not fetched to its end.
    pub failure: Option<Failure>,
    /// How long it took.
    pub elapsed: Duration,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// A person watches: every account gets a summary line.
    pub is_terminal: bool,
    /// Only failures.
    pub quiet: bool,
    /// `-v`.
    pub verbose: bool,
    /// `--dry-run`: what would be done is the result.
    pub dry_run: bool,
}

impl Summary {
    /// Nothing has happened yet.
    pub fn new(account: &Account) -> Self {
        Summary {
            account: printable(account.name.as_bytes()),
            secret: None,
            target: printable(account.deliver.to_string().as_bytes()),
            listed: 0,
            known: 0,
            delivered: 0,
            octets: 0,
            deleted: 0,
            undeleted: vec![],
            later: 0,
            too_large: vec![],
            refused: vec![],
            would_retrieve: 0,
            would_delete: 0,
            notices: vec![],
            failure: None,
            elapsed: Duration::ZERO,
        }
    }

    /// The exit status that the account deserves.
    pub fn status(&self) -> Status {
        let refused = Status::of(self.refused.iter().map(|refused| refused.status));
        let undeleted = if self.undeleted.is_empty() { Status::Done } else { Status::Temporary };
        let notices = Status::of(self.notices.iter().map(Notice::status));
        let failure = self.failure.as_ref().map_or(Status::Done, Failure::status);
        Status::of([failure, refused, undeleted, notices])
    }

    /// The lines for people, each with the account's name in front.
    pub fn lines(&self, style: Style) -> Vec<String> {
        let account = &self.account;
        let mut lines = vec![];
        for notice in &self.notices {
            if notice.needs_attention() || style.verbose {
                lines.push(format!("popfetch: {account}: {notice}"));
            }
        }
        if !style.quiet {
            lines.extend(self.too_large_line(style));
        }
        let refused = self.refused.iter().map(|refused| (refused.reason.clone(), refused.to_string()));
        let undeleted = self.undeleted.iter().map(|refusal| {
            let (number, text) = (refusal.number, printable(&refusal.text));
            (text.clone(), format!("the server refused to delete message {number}: `{text}`"))
        });
        let refusals = abridged(refused).into_iter().chain(abridged(undeleted));
        lines.extend(refusals.map(|line| format!("popfetch: {account}: {line}")));
        if let Some(failure) = &self.failure {
            lines.push(format!("popfetch: {account}: {failure}{}", self.standing(failure)));
            lines.extend(failure.hint().map(|hint| format!("  hint: {hint}")));
        }
        if self.failure.is_none() && !style.quiet && (style.is_terminal || style.verbose) && !style.dry_run {
            lines.push(self.line());
        }
        lines.into_iter().map(|line| self.without_secret(line)).collect()
    }

    fn without_secret(&self, text: String) -> String {
        self.secret.as_ref().map_or_else(|| text.clone(), |secret| secret.masked_in(&text))
    }

    /// With `--dry-run`: the result, for standard output.
    pub fn dry_line(&self) -> Option<String> {
        self.failure.is_none().then(|| {
            format!(
                "{}: {} on the server; would deliver {} to {} and delete {}",
                self.account, self.listed, self.would_retrieve, self.target, self.would_delete
            )
        })
    }

    /// Whether mail was delivered or waits, when an account fails.
    fn standing(&self, failure: &Failure) -> String {
        let delivered = format!("{} delivered and recorded", counted(self.delivered, "message"));
        match (self.delivered, self.deleted) {
            (0, _) if matches!(failure, Failure::Update { .. }) => String::new(),
            (_, _) if matches!(failure, Failure::Update { .. }) => format!("; {delivered}"),
            (0, 0) => "; nothing was delivered or deleted".into(),
            (0, deleted) => {
                format!("; nothing was delivered, {} deleted that came before", counted(deleted, "message"))
            }
            (_, 0) => format!("; {delivered}, the rest waits on the server"),
            (_, deleted) => format!("; {delivered}, {deleted} deleted on the server, where the rest waits"),
        }
    }

    fn too_large_line(&self, style: Style) -> Option<String> {
        let is_shown = |large: &&TooLarge| large.is_news || style.is_terminal || style.verbose;
        let shown: Vec<_> = self.too_large.iter().filter(is_shown).collect();
        let largest = shown.iter().map(|large| large.octets).max()?;
        Some(format!(
            "popfetch: {}: {} larger than `max_size` left on the server (the largest has {})",
            self.account,
            counted(shown.len(), "message"),
            octets(largest)
        ))
    }

    fn line(&self) -> String {
        let mut line = match self.delivered {
            0 => format!("{}: no new mail", self.account),
            n => format!("{}: {} ({}) to {}", self.account, counted(n, "message"), octets(self.octets), self.target),
        };
        let mut also = |count: usize, what: &str| {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        };
        also(self.deleted, "deleted on the server");
        also(self.later, "left for the next run");
        also(self.known, "known");
        line.push_str(&format!(" in {:.1} s", self.elapsed.as_secs_f64()));
        line
    }

    /// The account's part of the `--json` report.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "account": self.account,
            "status": self.status().code(),
            "error": self.failure.as_ref().map(|failure| self.without_secret(failure.to_string())),
            "listed": self.listed,
            "known": self.known,
            "delivered": self.delivered,
            "octets": self.octets,
            "deleted": self.deleted,
            "later": self.later,
            "too_large": self.too_large.len(),
            "refused": self.refused.iter().map(|refused| json!({
                "number": refused.number.0,
                "unique_id": printable(&refused.unique_id),
                "status": refused.status.code(),
                "reason": self.without_secret(refused.reason.clone()),
            })).collect::<Vec<_>>(),
            "undeleted": self.undeleted.iter().map(|refusal| json!({
                "number": refusal.number.0,
                "reason": self.without_secret(printable(&refusal.text)),
            })).collect::<Vec<_>>(),
            "notices": self.notices.iter().map(Notice::to_string).collect::<Vec<_>>(),
            "would_deliver": self.would_retrieve,
            "would_delete": self.would_delete,
            "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_that_waiting_does_not_mend_decides() {
        use Status::*;
        assert_eq!(Status::of([]), Done);
        assert_eq!(Status::of([Done, Temporary, Done]), Temporary);
        assert_eq!(Status::of([Temporary, LoginRefused, Io]), LoginRefused);
        assert_eq!(Status::of([Io, Stopped(15), Configuration]), Stopped(15));
    }
}
