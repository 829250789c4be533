//! Delivery: from octets to a message that is durable and visible at its target, or not there at all.
//!
//! Each step's result is the next step's only input, and a wrong order does not compile:
//!
//! | step | by whom | what it does | when the machine stops just after it |
//! | --- | --- | --- | --- |
//! | stage | [`Stager::stage`] | octets go where nobody looks: `tmp` of a Maildir, a spool file | nothing is visible; the next run removes the file |
//! | sync | [`Publisher::sync`] | makes a batch durable, in one group, and fixes its places | the same |
//! | intend | `ledger` | one durable line per message: its id and its place | the next run asks the place |
//! | publish | [`Publisher::publish`] | rename and directory sync; append and sync; the program | found by the intent, where the target can be asked |
//! | record | `ledger` | writes down what was delivered, durably before any DELE | not fetched again |
//!
//! After a crash [`look`] asks the intended places and changes nothing; [`recover`] also finishes what can be finished.
//! What a destination is, [`Destination`] says; there is a file for each, and a line in [`KINDS`]. This room knows
//! nothing of networks or unique-ids.

mod after;
mod barrier;
mod destination;
mod dotlockfile;
mod error;
mod filter;
mod kept;
mod lock;
mod maildir;
mod mbox;
mod mboxrd;
mod mda;
mod owner;
mod room;
mod spool;

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::account::Target;
use crate::maildrop::sealed::OfTheLedger;
use crate::stop::Stop;

pub use after::run_after;
pub use destination::{
    BatchLimit, Destination, FORMS, Found, Guarantee, KINDS, Kind, Tried, batch_limit, check_owner, check_present,
    guarantee, held, look, open, parse, recover, sweep, sweep_spool, tidy, try_out,
};
pub use error::Error;
pub use filter::{Answer, ask_filter};
pub use kept::{make_durable, messages, open_message};
pub use mda::{Reason, Refusal};
pub use owner::Owner;
pub use room::{Disks, Room};

pub(crate) use destination::{Ends, GROUP};
pub(crate) use spool::Spools;

/// What a delivery has to know besides its target.
#[derive(Debug, Clone)]
pub struct Context {
    /// The account's name, for an MDA's environment.
    pub account: String,
    /// Whom the mail is for, for an MDA's environment.
    pub recipient: String,
    /// The folder of the account's state, where mbox and MDA messages wait. It exists, and is nobody else's.
    pub spool_dir: PathBuf,
    /// `[0-9a-z]+`: identifies the account's ledger on this host. Whoever holds the account's lock owns every
    /// file whose name bears this tag.
    pub tag: String,
    /// Finds the envelope sender in the beginning of a message.
    pub envelope_sender: fn(&[u8]) -> Option<String>,
    /// The longest that one run of the MDA may take.
    pub mda_timeout: Duration,
    /// Whose rights count at the target.
    pub owner: Owner,
    /// Ends every wait.
    pub stop: Stop,
    /// What servers need besides.
    pub network: Network,
}

/// What a destination that is a server has to know besides.
#[derive(Clone, Default)]
pub struct Network {
    /// The destination that a server is. This room knows no network.
    pub destination: Option<ForTarget>,
    /// The maildrop that messages come from, as ledgers name it.
    pub maildrop: String,
    /// The host that they come from.
    pub host: String,
    /// The longest that a server is waited for.
    pub timeout: Duration,
    /// The longest that a command may take that prints a password.
    pub password_timeout: Option<Duration>,
    /// What the mailbox keeps of messages, where that is known.
    pub keeps: Option<Keeps>,
    /// Shows what was done to messages, where somebody wants to see it.
    pub talk: Option<Wire>,
    /// Shows the dialogue, where somebody wants to see it.
    pub wire: Option<Wire>,
}

/// Gives the destination that a target is.
pub type ForTarget = fn(&Target) -> Box<dyn Destination>;

/// Shows a line of a dialogue, without secrets.
pub type Wire = Arc<dyn Fn(&str) + Send + Sync>;

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({:?}, {:?})", self.maildrop, self.timeout)
    }
}

/// Where a message goes; written to the ledger before it is published there, so it must say enough for
/// recovery, whatever the configuration says by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The Maildir folder and the file's unique name below `new`. Below `tmp` it has the same name without
    /// `,S=` and what follows.
    Maildir {
        /// The Maildir (the folder that holds `tmp`, `new` and `cur`).
        maildir: PathBuf,
        /// The file's name, without folder.
        name: String,
    },
    /// A range of an mbox file.
    Mbox {
        /// The mbox.
        path: PathBuf,
        /// Where the message's From_ line begins.
        offset: u64,
        /// Octets up to the end of the blank line after the message.
        length: u64,
        /// The spool file that holds the same octets.
        spool: PathBuf,
        /// Where they begin in it.
        spool_offset: u64,
    },
    /// A mailbox of an IMAP server.
    Imap(Box<Appended>),
    /// An MDA or a server took it; nothing can be looked up later.
    Mda,
}

/// A message on its way into a mailbox of an IMAP server, and all by which it can be found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The mailbox: [`Target::identity`].
    pub target: String,
    /// Its UIDVALIDITY; 0 where that is not known.
    pub validity: u32,
    /// The message has no smaller UID.
    pub next: u32,
    /// The INTERNALDATE that is sent with it: seconds since 1970.
    pub date: u64,
    /// The `X-Popfetch-Id` that it is sent with.
    pub stamp: Option<String>,
    /// Its Message-ID, where it has one that is not too long.
    pub message_id: Option<String>,
    /// A hash of From, Date and Subject.
    pub heading: u64,
    /// Octets as they are sent.
    pub octets: u64,
    /// How many of them are fields that were put in front of the message.
    pub prefix: u64,
    /// The SHA-256 of the others.
    pub digest: [u8; 32],
}

/// What a mailbox keeps of messages, as one has shown that was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeps {
    /// Every octet.
    pub octets: bool,
    /// The size that it tells is the number of octets.
    pub size: bool,
    /// INTERNALDATE.
    pub date: bool,
}

impl Place {
    /// The Maildir or the mbox that it is in, or which of these targets; `None` for what leaves no place.
    pub fn target(&self, targets: &[Target]) -> Option<Target> {
        match self {
            Place::Maildir { maildir, .. } => Some(Target::maildir(maildir)),
            Place::Mbox { path, .. } => Some(Target::mbox(path)),
            Place::Imap(_) => targets.iter().find(|target| self.is_in(target)).cloned(),
            Place::Mda => None,
        }
    }

    /// True for a place that only a server can tell of.
    pub fn is_on_a_server(&self) -> bool {
        matches!(self, Place::Imap(_))
    }

    /// True when it is in the Maildir, the mbox or the mailbox that this target is, whichever MDA an MDA was.
    pub fn is_in(&self, target: &Target) -> bool {
        if let Place::Imap(appended) = self {
            return target.server().is_some() && target.identity() == appended.target;
        }
        let (Some(path), Some(own)) = (target.path(), self.path()) else {
            return target.path().is_none() && self.path().is_none();
        };
        let is_of_this_kind = self.target(&[]).is_some_and(|own| own.kind() == target.kind());
        let is_linked =
            || matches!(self, Place::Mbox { .. }) && lock::resolve(path).is_ok_and(|path| is_same(own, &path));
        is_of_this_kind && (is_same(own, path) || is_linked())
    }

    /// The Maildir or the mbox.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Place::Maildir { maildir: path, .. } | Place::Mbox { path, .. } => Some(path),
            Place::Imap(_) | Place::Mda => None,
        }
    }
}

/// True also for the same file by another path. Equal paths may differ in a slash at the end.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// The end of a target where messages are written before anybody sees them.
pub trait Stager: fmt::Debug + Send {
    /// Begins a message, whose unique-id is empty where the server has none. `nth` is its position among those of the
    /// listing that have the same one.
    fn stage(&mut self, unique_id: &[u8], nth: u32) -> Result<Box<dyn Stage>, Error>;
}

/// A message that is being written, header first, with LF line ends. Dropped before [`Stage::finish`], it
/// leaves nothing behind.
pub trait Stage: fmt::Debug + Send {
    /// Takes the octets, all of them.
    fn write(&mut self, octets: &[u8]) -> Result<(), Error>;

    /// Ends the message.
    fn finish(self: Box<Self>) -> Result<Staged, Error>;
}

/// What a message that is not published yet holds on to; dropping it discards the message. Only its own target knows
/// what it is.
type Held = Box<dyn Any + Send>;

/// A complete message, neither durable nor visible. Dropped, it is discarded.
#[derive(Debug)]
pub struct Staged {
    octets: u64,
    held: Held,
}

impl Staged {
    pub(crate) fn new(octets: u64, held: impl Any + Send) -> Self {
        Staged { octets, held: Box::new(held) }
    }

    /// Its size as it was written to the [`Stage`].
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// What its target holds of it.
    pub(crate) fn held<T: Any>(&self) -> &T {
        self.held.downcast_ref().expect(FAMILY)
    }

    /// What its target holds of it, and its size.
    pub(crate) fn into_held<T: Any>(self) -> (Box<T>, u64) {
        (own(self.held), self.octets)
    }
}

const FAMILY: &str = "a batch belongs to the publisher that was opened with its stager";

fn own<T: Any>(held: Held) -> Box<T> {
    held.downcast().expect(FAMILY)
}

/// A durable message whose place is fixed. Dropped, it is discarded, and the place stays empty.
#[derive(Debug)]
pub struct Synced {
    place: Place,
    octets: u64,
    held: Held,
}

impl Synced {
    pub(crate) fn new(place: Place, octets: u64, held: Held) -> Self {
        Synced { place, octets, held }
    }

    /// Where it will be once it is published.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its size as it was written to the [`Stage`].
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// What its target holds of it, and the receipt for when it is published.
    pub(crate) fn into_held<T: Any>(self) -> (Box<T>, Receipt) {
        (own(self.held), Receipt { place: self.place, octets: self.octets })
    }
}

/// Durable intents to publish exactly these messages. Only the ledger implements it, for batches that it has
/// written down and synced; whatever it recorded before them is durable then, too.
///
/// ```compile_fail,E0277
/// struct Hope(Vec<popfetch::deliver::Synced>);
///
/// impl popfetch::deliver::Intents for Hope {
///     fn into_synced(self: Box<Self>) -> Vec<popfetch::deliver::Synced> {
///         self.0
///     }
/// }
/// ```
pub trait Intents: OfTheLedger {
    /// The batch, in the order in which [`Publisher::sync`] gave it.
    fn into_synced(self: Box<Self>) -> Vec<Synced>;
}

/// The end of a target where whole batches become durable and visible.
///
/// After an error nothing more can be done with it but to drop it: what a failed sync left behind is unknown,
/// and asking the kernel again would only hide that.
pub trait Publisher: fmt::Debug + Send {
    /// Makes a batch durable and fixes its places, in the same order. An mbox is locked from here until
    /// [`Publisher::publish`] returns or the publisher is dropped.
    fn sync(&mut self, batch: Vec<Staged>) -> Result<Vec<Synced>, Error>;

    /// Tells which message the batch after this one begins with, where it waits already: what the target has to hear of
    /// it first may travel with this batch.
    fn foresee(&mut self, _next: &Staged) {}

    /// Makes a batch visible and that durable; the outcomes are in the batch's order. After an error some of
    /// the messages may be there: leave the intents without outcome, and [`recover`] will tell.
    fn publish(&mut self, intended: Box<dyn Intents>) -> Result<Vec<Outcome>, Error>;

    /// Why nothing more can be published, though the last outcomes stand: to be asked for after each batch.
    fn ended(&mut self) -> Option<Error> {
        None
    }

    /// What it has found out about its target, once.
    fn learned(&mut self) -> Option<Keeps> {
        None
    }

    /// Says that every outcome is recorded and durable, so that nothing needs to be kept for recovery. A
    /// publisher that is only dropped leaves its last spool file for [`recover`] and [`sweep`].
    fn finish(self: Box<Self>) {}
}

/// What became of one message of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// It is at home, durably.
    Delivered(Receipt),
    /// It is not, and this is its own fault: the others go on.
    Refused(Refusal),
    /// It is not, or nobody knows, because the target takes nothing more: [`Publisher::ended`] says why.
    Left,
}

/// Proof that a message is durable at its place.
#[derive(Debug)]
pub struct Receipt {
    place: Place,
    octets: u64,
}

impl Receipt {
    /// For a message that a server has shown to be there.
    pub(crate) fn new(place: Place, octets: u64) -> Self {
        Receipt { place, octets }
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its size as it was written to the [`Stage`]; after recovery from an mbox, as it stands in there.
    pub fn octets(&self) -> u64 {
        self.octets
    }
}

/// What recovery found at an intended place.
#[derive(Debug)]
pub enum Recovered {
    /// The message is there, durably.
    Delivered(Receipt),
    /// It is not; it must be fetched again.
    Absent,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the ledger would be: everything it is given is as good as written down.
    struct Promised(Vec<Synced>);

    impl OfTheLedger for Promised {}

    impl Intents for Promised {
        fn into_synced(self: Box<Self>) -> Vec<Synced> {
            self.0
        }
    }

    /// See [`Promised`].
    pub(super) fn promised(batch: Vec<Synced>) -> Box<dyn Intents> {
        Box::new(Promised(batch))
    }

    pub(super) fn context(folder: &std::path::Path) -> Context {
        Context {
            account: "work".into(),
            recipient: "petar".into(),
            spool_dir: folder.to_owned(),
            tag: "t4g".into(),
            envelope_sender: return_path,
            mda_timeout: Duration::from_secs(20),
            owner: None,
            stop: Stop::new().unwrap(),
            network: Network::default(),
        }
    }

    fn return_path(head: &[u8]) -> Option<String> {
        let head = String::from_utf8_lossy(head);
        let path = head.lines().find_map(|line| line.strip_prefix("Return-Path: <"))?;
        Some(path.trim_end_matches('>').to_owned())
    }

    pub(super) fn stage(stager: &mut Box<dyn Stager>, message: &[u8]) -> Staged {
        let mut stage = stager.stage(b"id\n1", 1).unwrap();
        stage.write(message).unwrap();
        stage.finish().unwrap()
    }

    pub(super) fn deliver(
        stager: &mut Box<dyn Stager>,
        publisher: &mut Box<dyn Publisher>,
        messages: &[&[u8]],
    ) -> Vec<Outcome> {
        let batch = messages.iter().map(|message| stage(stager, message)).collect();
        let synced = publisher.sync(batch).unwrap();
        publisher.publish(promised(synced)).unwrap()
    }

    pub(super) fn sweep(target: &Target, context: &Context) -> usize {
        super::sweep_spool(context, || Ok::<(), Error>(())).unwrap() + super::sweep(target, context).unwrap()
    }

    pub(super) fn places(synced: &[Synced]) -> Vec<Place> {
        synced.iter().map(|synced| synced.place().clone()).collect()
    }

    pub(super) fn is_there(recovered: &[Recovered]) -> Vec<bool> {
        recovered.iter().map(|recovered| matches!(recovered, Recovered::Delivered(_))).collect()
    }

    /// Mends what is below a folder, and checks that looking foretells what comes of it and changes nothing.
    pub(super) fn recover(places: &[Place], context: &Context, home: &Path) -> Vec<bool> {
        let before = tree(home);
        let looked = look(places, context).unwrap();
        assert_eq!(tree(home), before);
        let is_there: Vec<bool> = is_there(&super::recover(places, &[], context).unwrap());
        assert_eq!(looked.iter().map(|found| *found != Found::Absent).collect::<Vec<_>>(), is_there, "{looked:?}");
        // What is there is not in doubt any more.
        let again = look(places, context).unwrap();
        assert_eq!(again.iter().map(|found| *found == Found::Delivered).collect::<Vec<_>>(), is_there, "{again:?}");
        is_there
    }

    /// Everything below a folder: names, octets and times of change.
    fn tree(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>, std::time::SystemTime)> {
        let mut all = vec![];
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            all.push((path.clone(), std::fs::read(&path).ok(), metadata.modified().unwrap()));
            if metadata.is_dir() {
                all.extend(tree(&path));
            }
        }
        all.sort();
        all
    }

    /// The process dies: nothing is cleaned up.
    pub(super) fn die<T>(value: T) {
        std::mem::forget(value);
    }

    pub(super) fn names(folder: impl AsRef<std::path::Path>) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn both_ends_may_live_in_threads_of_their_own() {
        fn is_send<T: Send + ?Sized>() {}
        is_send::<dyn Stager>();
        is_send::<dyn Stage>();
        is_send::<Staged>();
        is_send::<Synced>();
        is_send::<dyn Publisher>();
    }

    #[test]
    fn what_an_mda_took_is_never_taken_for_delivered() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(recover(&[Place::Mda, Place::Mda], &context(folder.path()), folder.path()), [false, false]);
    }
}
