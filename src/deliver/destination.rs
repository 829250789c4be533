//! What a destination is: the words of its targets, its steps, its guarantee, and the questions that it answers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

use super::owner::{self, Owner};
use super::{Context, Error, ForTarget, Place, Publisher, Recovered, Stager, maildir, mbox, mda, spool};
use crate::account::{Address, Target};
use crate::notice::Held;
use crate::os::exposure::Exposure;

/// The kinds of destination that there are. A new one is a file of its own, and a line here.
pub const KINDS: [&Kind; 3] = [&maildir::KIND, &mbox::KIND, &mda::KIND];

/// A kind of destination, in the configuration.
#[derive(Debug)]
pub struct Kind {
    /// What its targets begin with, before the colon.
    pub word: &'static str,
    /// Reads what follows the colon; it is not empty. A refusal says what is expected.
    pub read: fn(&str) -> Result<Address, &'static str>,
    /// The destination that a target of this kind is.
    pub destination: ForTarget,
}

/// The written form of a target, for errors.
pub const FORMS: &str = "`maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, `lmtp:PATH`, `lmtp://HOST`, `smtp://HOST`, `smtps://USER@HOST`, \
     `imaps://USER@HOST/MAILBOX` or `https://HOST/PATH`";

/// Reads a target, as in `maildir:PATH`. Paths are taken as they stand. A refusal says what is expected.
pub fn parse(text: &str) -> Result<Target, &'static str> {
    let (word, address) = text.split_once(':').filter(|(_, address)| !address.is_empty()).ok_or(FORMS)?;
    let kind = KINDS.iter().find(|kind| kind.word == word).ok_or(FORMS)?;
    Ok(Target::new(kind.word, (kind.read)(address)?))
}

/// Reads a path. The configuration makes it absolute.
pub(super) fn read_path(text: &str) -> Result<Address, &'static str> {
    Ok(Address::Path(text.into()))
}

/// How often a message may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// The place can be asked after a crash, and so each message arrives once.
    ExactlyOnce,
    /// Nothing tells what it took before a crash: that may arrive once more.
    AtLeastOnce,
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
pub(crate) const GROUP: BatchLimit = BatchLimit { messages: 256, octets: 16 << 20, growth: 1, ahead: 4 };

/// Both ends of an open target: where messages are written, and where they become visible.
pub type Ends = (Box<dyn Stager>, Box<dyn Publisher>);

/// A place that messages are brought to.
pub trait Destination: fmt::Debug + Send + Sync {
    /// How often a message may arrive.
    fn guarantee(&self) -> Guarantee;

    /// How large a batch should become.
    fn batch_limit(&self) -> BatchLimit;

    /// Makes the target ready and opens both ends of it. The target is checked as far as can be without mail: what
    /// is missing is created, what is not fit is refused.
    fn open(&self, context: &Context) -> Result<Ends, Error>;

    /// How another user than root can decide what lies there.
    fn exposure(&self) -> Option<Exposure> {
        None
    }

    /// The folders in which messages become files, here or on their way.
    fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Error> {
        Ok(vec![context.spool_dir.clone()])
    }

    /// The folder that must be there before the first message, if it is not: the disk it is on may not be mounted.
    fn missing(&self) -> Result<Option<PathBuf>, Error> {
        Ok(None)
    }

    /// Tries the target out as far as can be without mail, and changes nothing.
    fn try_out(&self, context: &Context) -> Result<Tried, Error>;

    /// The mail that it held before this moment, as far as that can be told; this process has delivered since.
    fn held(&self, _before: SystemTime) -> Option<Held> {
        None
    }

    /// Looks at the intended places of one batch and changes nothing. The answers have the same order. A destination
    /// that cannot be asked finds nothing.
    fn look(&self, places: &[Place], _context: &Context) -> Result<Vec<Found>, Error> {
        Ok(vec![Found::Absent; places.len()])
    }

    /// Looks at the intended places of one batch, in the journal's order, and finishes what can be finished.
    fn mend(&self, places: &[Place], _context: &Context) -> Result<Vec<Recovered>, Error> {
        Ok(places.iter().map(|_| Recovered::Absent).collect())
    }

    /// Removes what runs of this account left at the target when they were killed, and returns how many files it were.
    fn sweep(&self, _context: &Context) -> Result<usize, Error> {
        Ok(0)
    }
}

/// What [`try_out`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// Messages can be delivered.
    Ready,
    /// It is not there, and can be made.
    Creatable,
    /// It is there, and locked by this program.
    Locked(String),
    /// A server that takes mail, and what it says of itself.
    Answers(String),
    /// A server of which that cannot be told, and what it says.
    Doubtful(String),
}

/// What [`look`] finds at an intended place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The message is there.
    Delivered,
    /// It is there in part, or not yet visible: only mending tells whether it can be finished.
    InDoubt,
    /// It is not there; it must be fetched again.
    Absent,
}

fn of(target: &Target, context: &Context) -> Box<dyn Destination> {
    let kind = KINDS.iter().find(|kind| kind.word == target.kind());
    let local = kind.map(|kind| kind.destination);
    local.or(context.network.destination).expect("a target's kind stands in a table")(target)
}

/// Makes a target ready and opens both ends of it.
pub fn open(target: &Target, context: &Context) -> Result<Ends, Error> {
    of(target, context).open(context)
}

/// The folders in which messages for a target become files, here or on their way.
pub(super) fn folders(target: &Target, context: &Context) -> Result<Vec<PathBuf>, Error> {
    of(target, context).folders(context)
}

/// Tries a target out as far as can be without mail, and changes nothing: what is missing is not made.
pub fn try_out(target: &Target, context: &Context) -> Result<Tried, Error> {
    let _acting = owner::act_as(&context.owner)?;
    of(target, context).try_out(context)
}

/// Fails when a folder can surely not be made.
pub(super) fn check_creatable(folder: &Path, owner: &Owner) -> Result<(), Error> {
    for above in folder.ancestors() {
        match above.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                return check_access(above, owner).map_err(|error| Error::cannot_create(folder, error));
            }
            Ok(_) => return Err(Error::cannot_create(above, io::Error::from(io::ErrorKind::NotADirectory))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(Error::cannot_create(above, error)),
        }
    }
    Ok(())
}

/// Fails when nothing can be written into a folder. access(2) asks about the real user, who is root where there is an
/// owner.
pub(super) fn check_access(folder: &Path, owner: &Owner) -> rustix::io::Result<()> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    if owner.is_none() {
        return rustix::fs::access(folder, access);
    }
    match rustix::fs::accessat(CWD, folder, access, AtFlags::EACCESS) {
        // Unknown before Linux 5.8, and to some sandboxes: then the first message tells.
        Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        result => result,
    }
}

/// How often a message may arrive at a target.
pub fn guarantee(target: &Target, context: &Context) -> Guarantee {
    of(target, context).guarantee()
}

/// How large a batch for a target should become.
pub fn batch_limit(target: &Target, context: &Context) -> BatchLimit {
    of(target, context).batch_limit()
}

/// Fails when root would deliver to what another user owns, or can put another file in the place of: the user could not
/// read it, or could make root write, rename and remove where the user may not.
pub fn check_owner(target: &Target, context: &Context) -> Result<(), Error> {
    if context.owner.is_some() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match of(target, context).exposure() {
        None => Ok(()),
        Some(Exposure::FolderOwner(path, user)) => Err(Error::Others { path, user }),
        Some(exposure) => Err(Error::Exposed { path: target.path().map(Path::to_owned).unwrap_or_default(), exposure }),
    }
}

/// Fails when the Maildir, or the folder of the mbox, is not there: the disk it is on may not be mounted, and what is
/// created in its place would be hidden later.
pub fn check_present(target: &Target, context: &Context) -> Result<(), Error> {
    let _acting = owner::act_as(&context.owner)?;
    of(target, context).missing()?.map_or(Ok(()), |path| Err(Error::Gone { path }))
}

/// The mail that a target held before this moment, when this process began; `None` for an empty one, and for what cannot
/// be asked.
pub fn held(target: &Target, before: SystemTime, context: &Context) -> Option<Held> {
    let _acting = owner::act_as(&context.owner).ok()?;
    of(target, context).held(before)
}

/// Removes what a run left at a target to which the account no longer delivers, as far as that is possible.
pub fn tidy(places: &[Place], context: &Context) {
    if let Some(target) = places.first().and_then(|place| place.target(&[]))
        && check_owner(&target, context).is_ok()
    {
        let _ = of(&target, context).sweep(context);
    }
}

/// Looks at the intended places of one batch and changes nothing. The answers have the places' order. No server is called
/// for it: what is on one is in doubt.
pub fn look(places: &[Place], context: &Context) -> Result<Vec<Found>, Error> {
    if places.iter().any(Place::is_on_a_server) {
        return Ok(vec![Found::InDoubt; places.len()]);
    }
    ask(places, &[], context, |destination, group| destination.look(group, context), || Found::Absent)
}

/// Looks at the intended places of one batch, in the journal's order, and finishes what can be finished. The
/// answers have the same order. `targets` say how to log in to a server; a place that is at none of them cannot be asked
/// ([`Place::is_in`]).
pub fn recover(places: &[Place], targets: &[Target], context: &Context) -> Result<Vec<Recovered>, Error> {
    ask(places, targets, context, |destination, group| destination.mend(group, context), || Recovered::Absent)
}

/// Asks each target for its own places. One that leaves no place cannot be asked, so its messages may come twice,
/// but never get lost.
fn ask<T>(
    places: &[Place],
    targets: &[Target],
    context: &Context,
    answers: impl Fn(&dyn Destination, &[Place]) -> Result<Vec<T>, Error>,
    absent: impl Fn() -> T,
) -> Result<Vec<T>, Error> {
    let mut all = Vec::with_capacity(places.len());
    for group in places.chunk_by(|one, other| one.target(targets) == other.target(targets)) {
        match group[0].target(targets) {
            None => all.extend(group.iter().map(|_| absent())),
            Some(target) => {
                check_owner(&target, context)?;
                all.extend(answers(&*of(&target, context), group)?);
            }
        }
    }
    Ok(all)
}

/// Removes what runs of this account left at a target when they were killed; nothing that is not marked as theirs. Only
/// after [`recover`], which may need it, and only under the account's lock. Returns how many files it were.
pub fn sweep(target: &Target, context: &Context) -> Result<usize, Error> {
    of(target, context).sweep(context)
}

/// Removes, in the same way, what they left in the folder of the state.
///
/// A spool file may be all that proves what is in an mbox, until the record of that is on the disk. The run that wrote
/// the record may have been killed before it was, so `make_durable` is called before the first one goes.
pub fn sweep_spool<E: From<Error>>(
    context: &Context,
    make_durable: impl FnOnce() -> Result<(), E>,
) -> Result<usize, E> {
    spool::sweep(context, make_durable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_into_words_like_a_shell_would() {
        let words = ["dovecot-lda", "-d", "a b", "%F"];
        assert_eq!(parse("mda:dovecot-lda -d 'a b' %F"), Ok(Target::mda(words)));
        assert_eq!(parse("mda:procmail 'unclosed"), Err("a command whose quotes are closed, after `mda:`"));
    }

    #[test]
    fn a_target_names_its_kind_and_is_not_empty() {
        assert_eq!(parse("maildir:a:b"), Ok(Target::maildir("a:b")));
        assert_eq!(parse("mbox:/var/mail/petar"), Ok(Target::mbox("/var/mail/petar")));
        for wrong in ["", "~/Mail", "maildir:", "mbox:", "mda:", "mda: ", "mda:''", "imap:x"] {
            assert_eq!(parse(wrong), Err(FORMS), "{wrong}");
        }
    }

    #[test]
    fn every_kind_is_offered_and_leads_to_its_destination() {
        for kind in KINDS {
            let target = parse(&format!("{}:/x", kind.word)).unwrap();
            assert!(FORMS.contains(&format!("`{}:", kind.word)) && format!("{target}") == format!("{}:/x", kind.word));
            let is_asked = (kind.destination)(&target).guarantee() == Guarantee::ExactlyOnce;
            assert_eq!(is_asked, target.path().is_some(), "{target}");
        }
    }

    #[test]
    fn spellings_of_one_path_are_one_target() {
        for spelling in ["/m/x/", "/m//x", "/m/./x", "/m/x/."] {
            assert_eq!(parse(&format!("maildir:{spelling}")).unwrap(), Target::maildir("/m/x"), "{spelling}");
        }
        assert_ne!(Target::maildir("/m/x"), Target::mbox("/m/x"));
        assert_ne!(Target::mda(["a b"]), Target::mda(["a", "b"]));
    }
}
