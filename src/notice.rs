//! What a person should hear about an account, though the run goes on.

use std::fmt;
use std::path::PathBuf;

use crate::failure::Kind;
use crate::maildrop::MessageNumber;
use crate::text::{counted, octets, printable, time};

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
    /// What an interrupted run has put into a Maildir, an mbox or a mailbox is not there any more.
    NotFound {
        /// How many messages.
        messages: usize,
        /// The Maildir, the mbox or the mailbox.
        place: String,
        /// They may have been there: others of that run are, or the account delivers elsewhere now.
        may_be_deleted: bool,
    },
    /// Whether messages of an interrupted run are in a mailbox that is no target of the account any more is not known.
    Unasked {
        /// How many messages.
        messages: usize,
        /// The mailbox.
        target: String,
    },
    /// Nobody can tell whether an interrupted run has put messages there.
    Unreachable {
        /// How many messages.
        messages: usize,
        /// Why.
        reason: String,
    },
    /// Another target of several takes no more messages in this run.
    LeftOut {
        /// Which one, and why.
        failure: String,
        /// The exit status that it deserves.
        kind: Kind,
    },
    /// Messages that wait, because less than `min_free` would be free on a disk.
    NoRoom {
        /// How many.
        messages: usize,
        /// A folder on the disk.
        path: PathBuf,
        /// Octets that are free.
        free: u64,
        /// Octets that have to stay free.
        least: u64,
    },
    /// It is too early for a fetch, or for one target; until when, and why.
    Waiting(String),
    /// Messages that a target has refused too often: it is not given them any more.
    Quarantined {
        /// The target.
        target: String,
        /// Their unique-ids.
        ids: Vec<Vec<u8>>,
    },
    /// The account works again.
    Mended {
        /// How long it has failed, for people.
        length: String,
        /// How many runs in a row.
        times: u32,
    },
    /// The command that is run when mail has come failed; how.
    After(String),
    /// Nothing tells the server from an impostor.
    Unverified,
    /// The server does not answer what is sent ahead, though it announces PIPELINING.
    LockStep,
    /// The server does not answer TOP, so that a list shows less.
    Headless {
        /// How.
        error: String,
        /// Some are listed with what came for them, which may be another message's.
        may_be_of_others: bool,
    },
    /// The line broke, in this way, and was dialled again.
    Redialled(String),
    /// The server has more batches of messages, and they are left to the next run.
    Batches {
        /// Why.
        why: String,
        /// A person watches, and may run it again.
        is_shown: bool,
    },
    /// A run would open one more session, which may find other messages.
    MayBeMore {
        /// The server is known to hand out batches.
        is_known: bool,
    },
    /// The server may delete messages that the account keeps.
    Expires {
        /// After so many days; 0: as soon as they were retrieved.
        days: u32,
    },
    /// The server has no TOP, so that a list cannot be sorted by what the messages say.
    Unsorted,
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
    /// The clock cannot be trusted, so that nothing is deleted because of its age.
    Clock(Clock),
    /// A maildrop without a ledger was fetched to a target that held mail already.
    FirstRun {
        /// The target.
        target: String,
        /// What it held.
        held: Held,
    },
    /// Messages of an interrupted run of which a dry run cannot tell what became of them.
    InDoubt(usize),
    /// Messages that a run will retrieve, to find out whether they are the known ones.
    Compared(usize),
    /// Messages that a run by URL would delete, and that the account of the configuration still wants.
    Owed {
        /// How many.
        messages: usize,
        /// The ledger that says that there is such an account.
        ledger: PathBuf,
    },
    /// So many messages are settled, and no lane of the account has ever had one.
    NewTarget(usize),
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

/// Why the clock cannot be trusted.
#[derive(Debug)]
pub struct Clock {
    /// The newest date of the ledger, and the unique-id of its message, where the clock stands before it.
    pub later: Option<(u64, String)>,
}

impl Clock {
    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self.later {
            None => "set the clock right",
            Some(_) => {
                "set the clock right if it is behind; if it is right, it was ahead once: wait until that date, or let \
                 `popfetch state forget ACCOUNT --id ID` forget the message, which is then fetched once more"
            }
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.later {
            None => f.write_str("before this release, or absurd"),
            Some((at, id)) => write!(f, "before the newest date of the ledger ({}, of the message `{id}`)", time(*at)),
        }
    }
}

/// What a target held before the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A Maildir: so many messages, counted up to [`Held::COUNTED`].
    Messages(usize),
    /// An mbox: so many octets.
    Octets(u64),
}

impl Held {
    /// The most messages that are counted.
    pub const COUNTED: usize = 10_000;
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Messages(count) if *count >= Held::COUNTED => write!(f, "at least {}", counted(*count, "message")),
            Held::Messages(count) => f.write_str(&counted(*count, "message")),
            Held::Octets(size) => f.write_str(&octets(*size)),
        }
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

    /// False for what is worth a line only with `-v`, or only without `-q`.
    pub fn needs_attention(&self, is_quiet: bool) -> bool {
        match self {
            Notice::NotFound { may_be_deleted, .. } => *may_be_deleted,
            Notice::FirstRun { .. } | Notice::Mended { .. } | Notice::Unasked { .. } => !is_quiet,
            Notice::Redialled(_) | Notice::MayBeMore { is_known: false } => false,
            Notice::Batches { is_shown, .. } => *is_shown && !is_quiet,
            _ => true,
        }
    }

    /// True for what each session of a run says anew; the others say what one of them has done.
    pub fn is_of_each_session(&self) -> bool {
        use Notice::{
            Clock, Compared, Nameless, NoRoom, Owed, Relisted, Repeated, SecretInClear, Sizeless, Unproved, Unsure,
        };
        matches!(
            self,
            Clock(_)
                | Compared(_)
                | Nameless { .. }
                | NoRoom { .. }
                | Owed { .. }
                | Relisted(_)
                | Repeated(_)
                | SecretInClear { .. }
                | Sizeless(_)
                | Unproved(_)
                | Unsure(_)
        )
    }

    /// The kind of failure that it is, where it is one.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Notice::LedgerDamaged { .. } => Some(Kind::BadState),
            Notice::LeftOut { kind, .. } => Some(*kind),
            Notice::Headless { .. } | Notice::NoRoom { .. } => Some(Kind::Temporary),
            Notice::Nameless { had_ids: true, .. } => Some(Kind::Temporary),
            _ => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::LedgerMissing(path) => write!(
                f,
                "the ledger `{}` was gone or empty though this account was fetched before; nothing of what it knew is used",
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
            Notice::NotFound { messages, place, .. } => write!(
                f,
                "{} of an interrupted run not found in `{}`; what is still on the server is fetched again, also if a \
                 reader has deleted or moved it meanwhile",
                counted(*messages, "message"),
                printable(place.as_bytes())
            ),
            Notice::Unasked { messages, target } => write!(
                f,
                "{} of an interrupted run may be in `{}`, which is no target of this account any more; they are looked for \
                 when it is one again",
                counted(*messages, "message"),
                printable(target.as_bytes())
            ),
            Notice::Unreachable { messages, reason } => write!(
                f,
                "{} of an interrupted run may have been delivered to a place that cannot be used any more ({reason}); \
                 what is still on the server is fetched again, and may come twice",
                counted(*messages, "message")
            ),
            Notice::LeftOut { failure, .. } => f.write_str(failure),
            Notice::NoRoom { messages, path, free, least } => write!(
                f,
                "{} left on the server: {} are free on the disk of `{}`, and `min_free` is {}; make room there, or lower \
                 `min_free`",
                counted(*messages, "message"),
                octets(*free),
                path.display(),
                octets(*least)
            ),
            Notice::Waiting(words) => write!(f, "{words}; `--now` does not wait"),
            Notice::Quarantined { target, ids } => {
                let shown: Vec<String> = ids.iter().take(3).map(|id| format!("`{}`", printable(id))).collect();
                let more = if ids.len() > shown.len() { ", …" } else { "" };
                write!(
                    f,
                    "{} ({}{more}) refused by `{}` in five runs that brought it others: quarantined there, not tried again, \
                     and left on the server; `popfetch state retry` tries again",
                    counted(ids.len(), "message"),
                    shown.join(", "),
                    printable(target.as_bytes())
                )
            }
            Notice::Mended { length, times } => {
                write!(f, "works again, after {} in a row within {length}", counted(*times as usize, "failure"))
            }
            Notice::After(failure) => write!(f, "the command of `after`: {failure}; the mail is at home all the same"),
            Notice::Unverified => f.write_str(
                "the certificate of the server is not verified (`tls_verify = false`): anyone on the path can read the password and the mail; set `tls_pin` to detect it",
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
            Notice::Headless { error, may_be_of_others } => write!(
                f,
                "the server does not answer TOP ({error}); messages are listed without date, sender and subject{}",
                if *may_be_of_others { ", or with those of others" } else { "" }
            ),
            Notice::Redialled(failure) => write!(f, "{failure}; the server was dialled again"),
            Notice::Batches { why, .. } => {
                write!(f, "the server hands its messages out in batches, and the next run goes on: {why}")
            }
            Notice::MayBeMore { is_known: true } => {
                f.write_str("the server hands its messages out in batches: more of them may follow in the same run")
            }
            Notice::MayBeMore { is_known: false } => f.write_str(
                "a run asks once more for messages behind these, in case that the server hands them out in batches",
            ),
            Notice::Expires { days: 0 } => f.write_str(
                "the server announces EXPIRE 0: whatever `keep` says, it may delete messages as soon as they were \
                 retrieved",
            ),
            Notice::Expires { days } => write!(
                f,
                "the server announces EXPIRE {days}: it may delete messages after {}, which is sooner than `keep` says",
                counted(*days as usize, "day")
            ),
            Notice::Unsorted => f.write_str(
                "the server has no TOP, which tells dates and senders; the list is in the server's order (`--sort size` \
                 works)",
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
            Notice::Clock(clock) => write!(
                f,
                "the clock stands {clock}: nothing is deleted because of its age; {}",
                clock.advice()
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
            Notice::FirstRun { target, held } => write!(
                f,
                "this is the first run for this maildrop, and `{0}` held {held} before: what came from the same maildrop \
                 by other ways comes once more ({1}, before the first run, prevents it)",
                printable(target.as_bytes()),
                match target.starts_with("maildir:") {
                    true => "`popfetch state rebuild --from` with the Maildir's path",
                    false => "`popfetch state known`",
                }
            ),
            Notice::InDoubt(messages) => write!(
                f,
                "{} of an interrupted run in doubt: the next run finds out whether they are at home",
                counted(*messages, "message")
            ),
            Notice::Compared(messages) => write!(
                f,
                "{} would be retrieved to see whether they are known; those that are not would be delivered as well",
                counted(*messages, "message")
            ),
            Notice::Owed { messages, ledger } => write!(
                f,
                "{} left on the server: the account of the configuration has not fetched them yet; if there is no such \
                 account any more, take the line with `\"note\":\"account\"` out of `{}`",
                counted(*messages, "message"),
                ledger.display()
            ),
            Notice::NewTarget(messages) => write!(
                f,
                "{} came before `deliver` was changed, and only new mail goes there; `--fill` delivers the others as well, but \
                 what was moved there with its Maildir would be there twice: for that run `popfetch state rebuild --from` \
                 with the Maildir's path first (this run deletes none of them)",
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
                "{} still listed although the server confirmed the deletion; to be deleted once more",
                counted(*messages, "message")
            ),
        }
    }
}
