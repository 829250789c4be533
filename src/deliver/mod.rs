//! Delivery: from octets to a message that is durable and visible at home, or not there at all.
//!
//! Three steps, each of whose results is the only input of the next (DESIGN §5): [`Stager::stage`] writes where
//! nobody looks, [`Publisher::sync`] makes a batch durable and fixes its places, [`Publisher::publish`] makes it
//! visible. Between the last two the ledger writes its intents; after a crash [`recover`] answers, for the
//! intended places, whether the messages got there. Knows nothing of networks or unique-ids.

mod barrier;
mod error;
mod lock;
mod maildir;
mod mbox;
mod mboxrd;
mod mda;
mod owner;
mod spool;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account::Target;
use crate::maildrop::sealed::OfTheLedger;
use crate::os::exposure::{self, Exposure};
use crate::stop::Stop;

pub use error::{Error, ErrorKind};
pub use mda::{Reason, Refusal};
pub use owner::Owner;

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
    /// An MDA took it; nothing can be looked up later.
    Mda,
}

impl Place {
    /// True when it is in the Maildir or the mbox that this target is, whichever MDA an MDA was.
    pub fn is_in(&self, target: &Target) -> bool {
        match (self, target) {
            (Place::Maildir { maildir, .. }, Target::Maildir(path)) => is_same(maildir, path),
            (Place::Mbox { path: mbox, .. }, Target::Mbox(path)) => {
                is_same(mbox, path) || lock::resolve(path).is_ok_and(|path| is_same(mbox, &path))
            }
            (Place::Mda, Target::Mda(_)) => true,
            _ => false,
        }
    }

    /// The Maildir or the mbox.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Place::Maildir { maildir: path, .. } | Place::Mbox { path, .. } => Some(path),
            Place::Mda => None,
        }
    }
}

/// True also for the same file by another path. Equal paths may differ in a slash at the end.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// How much is worth committing at once: a batch should be closed as soon as it reaches one of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimit {
    /// Messages.
    pub messages: usize,
    /// Octets of all of them together.
    pub octets: u64,
    /// How many times the limits a batch may grow to while an earlier one is being committed.
    pub growth: usize,
    /// Closed batches that may wait for that.
    pub ahead: usize,
}

/// A barrier costs about as much as writing some hundred small messages; beyond 256 little more is gained on a fast
/// disk, and this much is what a crash may cost in transfer time.
const GROUP: BatchLimit = BatchLimit { messages: 256, octets: 16 << 20, growth: 1, ahead: 4 };

/// Makes the target ready and opens both ends of it. The target is checked as far as can be without mail: what
/// is missing is created, what is not fit is refused.
pub fn open(target: &Target, context: &Context) -> Result<(Stager, Publisher), Error> {
    Ok(match target {
        Target::Maildir(path) => {
            let (stager, publisher) = maildir::open(path, context)?;
            (Stager(StagerOf::Maildir(stager)), Publisher(PublisherOf::Maildir(publisher)))
        }
        Target::Mbox(path) => {
            let (stager, publisher) = mbox::open(path, context)?;
            (Stager(StagerOf::Mbox(stager)), Publisher(PublisherOf::Mbox(publisher)))
        }
        Target::Mda(words) => {
            let (stager, publisher) = mda::open(words, context)?;
            (Stager(StagerOf::Mda(stager)), Publisher(PublisherOf::Mda(publisher)))
        }
    })
}

/// Fails when root would deliver to what another user owns, or can put another file in the place of: the user could not
/// read it, or could make root write, rename and remove where the user may not.
pub fn check_owner(target: &Target, context: &Context) -> Result<(), Error> {
    if context.owner.is_some() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let exposure = match target {
        // A message's name is looked up in each of its folders.
        Target::Maildir(path) => ["tmp/_", "new/_", "cur/_"]
            .iter()
            .find_map(|name| exposure::of_path_of_root(&path.join(name), false).map(|exposure| (path, exposure))),
        Target::Mbox(path) => exposure::of_path_of_root(path, true).map(|exposure| (path, exposure)),
        Target::Mda(_) => None,
    };
    match exposure {
        None => Ok(()),
        Some((_, Exposure::FolderOwner(path, user))) => Err(Error::Others { path, user }),
        Some((path, exposure)) => Err(Error::Exposed { path: path.clone(), exposure }),
    }
}

/// Fails when the Maildir, or the folder of the mbox, is not there: the disk it is on may not be mounted, and what is
/// created in its place would be hidden later.
pub fn check_present(target: &Target, context: &Context) -> Result<(), Error> {
    let _acting = owner::act_as(&context.owner)?;
    let gone = match target {
        Target::Maildir(path) => maildir::is_gone(path)?.then(|| path.clone()),
        Target::Mbox(path) => mbox::missing_folder(path)?,
        Target::Mda(_) => None,
    };
    gone.map_or(Ok(()), |path| Err(Error::Gone { path }))
}

/// The end of a target where messages are written before anybody sees them.
#[derive(Debug)]
pub struct Stager(StagerOf);

#[derive(Debug)]
enum StagerOf {
    Maildir(maildir::Stager),
    Mbox(mbox::Stager),
    Mda(mda::Stager),
}

impl Stager {
    /// Begins a message. `environment` is for the MDA that will take it; other targets have no use for it.
    pub fn stage(&mut self, environment: Vec<(OsString, OsString)>) -> Result<Stage, Error> {
        Ok(Stage(match &mut self.0 {
            StagerOf::Maildir(stager) => StageOf::Maildir(stager.stage()?),
            StagerOf::Mbox(stager) => StageOf::Mbox(stager.stage()?),
            StagerOf::Mda(stager) => StageOf::Mda(stager.stage(environment)?),
        }))
    }
}

/// A message that is being written, header first, with LF line ends. Dropped before [`Stage::finish`], it
/// leaves nothing behind.
///
/// Its [`Write`] fails with an [`io::Error`] that holds an [`Error`] (see [`Error::from_stage`]).
#[derive(Debug)]
pub struct Stage(StageOf);

#[derive(Debug)]
enum StageOf {
    Maildir(maildir::Stage),
    Mbox(mbox::Stage),
    Mda(mda::Stage),
}

impl Stage {
    /// Ends the message.
    pub fn finish(self) -> Result<Staged, Error> {
        match self.0 {
            StageOf::Maildir(stage) => Ok(stage.finish()),
            StageOf::Mbox(stage) => stage.finish(),
            StageOf::Mda(stage) => Ok(stage.finish()),
        }
    }
}

impl Write for Stage {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            StageOf::Maildir(stage) => stage.write(octets),
            StageOf::Mbox(stage) => stage.write(octets),
            StageOf::Mda(stage) => stage.write(octets),
        }
        .map_err(|error| match error {
            Error::Io { ref source, .. } => io::Error::new(source.kind(), error),
            error => io::Error::other(error),
        })
    }

    /// Does nothing: only [`Publisher::sync`] promises anything.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes some of the octets, at least one. A write that takes none (FUSE file systems do that) is an error here, where
/// the file is known, and not one of [`Write::write_all`] that knows nothing.
fn write_some(mut file: &File, octets: &[u8]) -> io::Result<usize> {
    match file.write(octets)? {
        0 if !octets.is_empty() => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

/// A complete message, neither durable nor visible. Dropped, it is discarded.
#[derive(Debug)]
pub struct Staged {
    octets: u64,
    held: Held,
}

impl Staged {
    /// Its size as it was written to the [`Stage`].
    pub fn octets(&self) -> u64 {
        self.octets
    }
}

/// What a message that is not published yet holds on to; dropping it discards the message.
#[derive(Debug)]
enum Held {
    Maildir(maildir::Unseen),
    Mbox(mbox::Spooled),
    Mda(mda::Waiting),
}

/// Batches are handed from a stager to the publisher that [`open`] gave with it.
const OF_ONE_TARGET: &str = "a batch belongs to the publisher that was opened with its stager";

/// A durable message whose place is fixed. Dropped, it is discarded, and the place stays empty.
#[derive(Debug)]
pub struct Synced {
    place: Place,
    octets: u64,
    held: Held,
}

impl Synced {
    /// Where it will be once it is published.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its size as it was written to the [`Stage`].
    pub fn octets(&self) -> u64 {
        self.octets
    }
}

/// Durable intents to publish exactly these messages. Only the ledger implements it, for batches that it has
/// written down and synced; whatever it recorded before them is durable then, too.
///
/// ```compile_fail,E0277
/// struct Hope(Vec<popfetch::deliver::Synced>);
///
/// impl popfetch::deliver::Intents for Hope {
///     fn into_synced(self) -> Vec<popfetch::deliver::Synced> {
///         self.0
///     }
/// }
/// ```
pub trait Intents: OfTheLedger {
    /// The batch, in the order in which [`Publisher::sync`] gave it.
    fn into_synced(self) -> Vec<Synced>;
}

/// The end of a target where whole batches become durable and visible.
///
/// After an error nothing more can be done with it but to drop it: what a failed sync left behind is unknown,
/// and asking the kernel again would only hide that.
#[derive(Debug)]
pub struct Publisher(PublisherOf);

#[derive(Debug)]
enum PublisherOf {
    Maildir(maildir::Publisher),
    Mbox(mbox::Publisher),
    Mda(mda::Publisher),
}

impl Publisher {
    /// How large a batch should become.
    pub fn batch_limit(&self) -> BatchLimit {
        match self.0 {
            // Its barriers cost the same for many files as for few: a slow disk gets large groups, and a fast one is
            // never waited for.
            PublisherOf::Maildir(_) => BatchLimit { growth: 8, ahead: 1, ..GROUP },
            // Its barriers cost what there is to write, which is better done while more arrives.
            PublisherOf::Mbox(_) => GROUP,
            // A crash repeats what an MDA took without a record, so that is never more than one message. Each one that
            // waits is an open file, of which an account may have some thirty (`limits.rs`).
            PublisherOf::Mda(_) => BatchLimit { messages: 1, ahead: 24, ..GROUP },
        }
    }

    /// Makes a batch durable and fixes its places, in the same order. An mbox is locked from here until
    /// [`Publisher::publish`] returns or the publisher is dropped.
    pub fn sync(&mut self, batch: Vec<Staged>) -> Result<Vec<Synced>, Error> {
        match &mut self.0 {
            PublisherOf::Maildir(publisher) => publisher.sync(batch),
            PublisherOf::Mbox(publisher) => publisher.sync(batch),
            PublisherOf::Mda(publisher) => Ok(publisher.sync(batch)),
        }
    }

    /// Makes a batch visible and that durable; the outcomes are in the batch's order. After an error some of
    /// the messages may be there: leave the intents without outcome, and [`recover`] will tell.
    pub fn publish(&mut self, intended: impl Intents) -> Result<Vec<Outcome>, Error> {
        let batch = intended.into_synced();
        match &mut self.0 {
            PublisherOf::Maildir(publisher) => publisher.publish(batch),
            PublisherOf::Mbox(publisher) => publisher.publish(batch),
            PublisherOf::Mda(publisher) => publisher.publish(batch),
        }
    }

    /// Says that every outcome is recorded and durable, so that nothing needs to be kept for recovery. A
    /// publisher that is only dropped leaves its last spool file for [`recover`] and [`sweep`].
    pub fn finish(self) {
        if let PublisherOf::Mbox(publisher) = self.0 {
            publisher.finish();
        }
    }
}

/// What became of one message of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// It is at home, durably.
    Delivered(Receipt),
    /// It is not, and this is its own fault: the others go on.
    Refused(Refusal),
}

/// Proof that a message is durable at its place.
#[derive(Debug)]
pub struct Receipt {
    place: Place,
    octets: u64,
}

impl Receipt {
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

/// Removes what a run left below `tmp` of a Maildir to which the account no longer delivers, as far as that is possible.
pub fn tidy(places: &[Place], context: &Context) {
    if let Some(Place::Maildir { maildir, .. }) = places.first()
        && check_owner(&Target::Maildir(maildir.clone()), context).is_ok()
    {
        let _ = maildir::sweep(maildir, context);
    }
}

/// Looks at the intended places of one batch, in the journal's order, and finishes what can be finished. The
/// answers have the same order.
pub fn recover(places: &[Place], context: &Context) -> Result<Vec<Recovered>, Error> {
    let mut recovered = Vec::with_capacity(places.len());
    for group in places.chunk_by(are_neighbours) {
        match &group[0] {
            Place::Maildir { maildir, .. } => {
                check_owner(&Target::Maildir(maildir.clone()), context)?;
                recovered.extend(maildir::recover(maildir, group, context)?);
            }
            Place::Mbox { path, .. } => {
                check_owner(&Target::Mbox(path.clone()), context)?;
                recovered.extend(mbox::recover(path, group, context)?);
            }
            // An MDA keeps its own books, so the message may come twice, but never gets lost.
            Place::Mda => recovered.extend(group.iter().map(|_| Recovered::Absent)),
        }
    }
    Ok(recovered)
}

fn are_neighbours(one: &Place, other: &Place) -> bool {
    match (one, other) {
        (Place::Maildir { maildir: one, .. }, Place::Maildir { maildir: other, .. }) => one == other,
        (Place::Mbox { path: one, .. }, Place::Mbox { path: other, .. }) => one == other,
        (Place::Mda, Place::Mda) => true,
        _ => false,
    }
}

/// Removes what runs of this account left when they were killed; nothing that is not marked as theirs. Only
/// after [`recover`], which may need it, and only under the account's lock. Returns how many files it were.
///
/// A spool file may be all that proves what is in an mbox, until the record of that is on the disk. The run that wrote
/// the record may have been killed before it was, so `make_durable` is called before the first one goes.
pub fn sweep<E: From<Error>>(
    target: &Target,
    context: &Context,
    make_durable: impl FnOnce() -> Result<(), E>,
) -> Result<usize, E> {
    let spooled = spool::sweep(context, make_durable)?;
    Ok(spooled
        + match target {
            Target::Maildir(path) => maildir::sweep(path, context)?,
            Target::Mbox(path) => mbox::sweep(path, context)?,
            Target::Mda(_) => 0,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the ledger would be: everything it is given is as good as written down.
    pub(super) struct Promised(pub(super) Vec<Synced>);

    impl OfTheLedger for Promised {}

    impl Intents for Promised {
        fn into_synced(self) -> Vec<Synced> {
            self.0
        }
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
        }
    }

    fn return_path(head: &[u8]) -> Option<String> {
        let head = String::from_utf8_lossy(head);
        let path = head.lines().find_map(|line| line.strip_prefix("Return-Path: <"))?;
        Some(path.trim_end_matches('>').to_owned())
    }

    pub(super) fn stage(stager: &mut Stager, message: &[u8]) -> Staged {
        let mut stage = stager.stage(vec![("POPFETCH_UIDL".into(), "id\n1".into())]).unwrap();
        stage.write_all(message).unwrap();
        stage.finish().unwrap()
    }

    pub(super) fn deliver(stager: &mut Stager, publisher: &mut Publisher, messages: &[&[u8]]) -> Vec<Outcome> {
        let batch = messages.iter().map(|message| stage(stager, message)).collect();
        let synced = publisher.sync(batch).unwrap();
        publisher.publish(Promised(synced)).unwrap()
    }

    pub(super) fn sweep(target: &Target, context: &Context) -> usize {
        super::sweep(target, context, || Ok::<(), Error>(())).unwrap()
    }

    pub(super) fn places(synced: &[Synced]) -> Vec<Place> {
        synced.iter().map(|synced| synced.place().clone()).collect()
    }

    pub(super) fn is_there(recovered: &[Recovered]) -> Vec<bool> {
        recovered.iter().map(|recovered| matches!(recovered, Recovered::Delivered(_))).collect()
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
        fn is_send<T: Send>() {}
        is_send::<Stager>();
        is_send::<Stage>();
        is_send::<Staged>();
        is_send::<Synced>();
        is_send::<Publisher>();
    }

    #[test]
    fn what_an_mda_took_is_never_taken_for_delivered() {
        let folder = tempfile::tempdir().unwrap();
        let recovered = recover(&[Place::Mda, Place::Mda], &context(folder.path())).unwrap();
        assert_eq!(is_there(&recovered), [false, false]);
    }
}
