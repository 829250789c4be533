//! MDA: another program delivers, one process a message, with the message as its standard input.
//!
//! Owns starting it (no shell), waiting for it, and what its end means. The message is complete before the
//! program starts, in a file without a name. Its words on standard error go to a pipe that is read while it is waited
//! for, and of which only the beginning is kept: a talkative program fills no disk.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Seek, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::slice;
use std::time::{Duration, Instant};

use rustix::fs::Access;
use rustix::io::Errno;
use rustix::process::{Gid, Pid, Signal, Uid};

use super::destination::{BatchLimit, Destination, Ends, FORMS, GROUP, Guarantee, Kind, Tried};
use super::mboxrd::NOBODY;
use super::owner;
use super::spool::Spools;
use super::{Context, Error, Intents, Outcome, Place, Receipt, Staged, Synced};
use crate::account::{Address, Target};
use crate::failure;
use crate::os::poll::{self, PollFd, PollFlags};
use crate::os::{child, user::User};
use crate::stop::{Stop, Stopped, Woken};
use crate::text;

/// How much later than its MDA popfetch itself may get a signal that is for both.
const SIGNAL_DELAY: Duration = Duration::from_millis(200);

/// The envelope sender is looked for in this much of a message.
const HEAD: usize = 64 * 1024;

/// How much longer an MDA may take when the run is to stop: most need less to end well.
const KILL_DELAY: Duration = Duration::from_secs(1);

/// Between two looks at an MDA whose end nothing tells; short ones first, for most take moments.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// sysexits.h: try again later.
const EX_TEMPFAIL: i32 = 75;

/// How much of what an MDA writes to standard error is repeated.
const SAID_LINES: usize = 3;
const SAID_CHARACTERS: usize = 400;
pub(super) const SAID_OCTETS: usize = 4 * SAID_CHARACTERS;

/// How many of the first words of two complaints must be the same, when the cause is.
const ALIKE_WORDS: usize = 3;

/// How much is read before anything else is looked at: four times what a pipe holds.
const DRAINED_CHUNKS: usize = 64;

/// `mda:COMMAND`.
pub(super) const KIND: Kind = Kind { word: "mda", read, destination: |target| Box::new(Mda::of(target)) };

/// Splits a command into words as a shell would.
fn read(command: &str) -> Result<Address, &'static str> {
    let words = shell_words::split(command).map_err(|_| "a command whose quotes are closed, after `mda:`")?;
    if words.first().is_none_or(String::is_empty) {
        return Err(FORMS);
    }
    Ok(Address::Command(words))
}

#[derive(Debug)]
struct Mda {
    words: Vec<String>,
}

impl Mda {
    fn of(target: &Target) -> Self {
        let Address::Command(words) = target.address() else { unreachable!("an MDA is a command") };
        Mda { words: words.clone() }
    }
}

impl Destination for Mda {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    /// A crash repeats what an MDA took without a record, so that is never more than one message. Each one that waits is
    /// an open file, of which an account may have some thirty (`os/limits.rs`).
    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { messages: 1, ahead: 24, ..GROUP }
    }

    /// What it does with a message only a message can show.
    fn try_out(&self, _context: &Context) -> Result<Tried, Error> {
        let program = &self.words[0];
        find(program).map_err(|source| Error::Mda { program: program.clone(), source })?;
        Ok(Tried::Ready)
    }

    fn open(&self, context: &Context) -> Result<Ends, Error> {
        let (stager, publisher) = open(&self.words, context)?;
        Ok((Box::new(stager), Box::new(publisher)))
    }
}

fn open(words: &[String], context: &Context) -> Result<(Stager, Publisher), Error> {
    let program = words.first().map_or("", String::as_str);
    let _acting = owner::act_as(&context.owner)?;
    let found = find(program).map_err(|source| Error::Mda { program: program.to_owned(), source })?;
    let stager = Stager { spools: Spools::new("mda", context) };
    let publisher = Publisher { words: words.to_vec(), program: found, complaints: None, context: context.clone() };
    Ok((stager, publisher))
}

/// The file that a program's name means, looked for as execvp(3) does.
fn find(program: &str) -> io::Result<PathBuf> {
    if program.contains('/') {
        return check_program(program.into());
    }
    if program.is_empty() {
        return Err(Errno::NOENT.into());
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut error = Errno::NOENT.into();
    for folder in std::env::split_paths(&folders) {
        match check_program(folder.join(program)) {
            Ok(path) => return Ok(path),
            Err(other) if other.kind() == io::ErrorKind::PermissionDenied => error = other,
            Err(_) => {}
        }
    }
    Err(error)
}

fn check_program(path: PathBuf) -> io::Result<PathBuf> {
    if !path.metadata()?.is_file() {
        return Err(Errno::ACCESS.into());
    }
    rustix::fs::access(&path, Access::EXEC_OK)?;
    Ok(path)
}

/// Writes messages to files without names.
#[derive(Debug)]
struct Stager {
    spools: Spools,
}

impl super::Stager for Stager {
    fn stage(&mut self, unique_id: &[u8], _nth: u32) -> Result<Box<dyn super::Stage>, Error> {
        let (file, folder) = (self.spools.anonymous()?, self.spools.folder().to_owned());
        // A variable cannot hold a NUL, and a unique-id may hold any octet.
        let unique_id = unique_id.iter().copied().filter(|octet| *octet != 0).collect();
        Ok(Box::new(Stage { file, folder, octets: 0, unique_id: OsString::from_vec(unique_id) }))
    }
}

/// A message that is being written.
#[derive(Debug)]
struct Stage {
    file: File,
    folder: PathBuf,
    octets: u64,
    unique_id: OsString,
}

impl super::Stage for Stage {
    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(octets);
        written.map_err(|error| Error::io("write a spool file in", &self.folder, error))?;
        self.octets += octets.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Staged, Error> {
        let Stage { file, octets, unique_id, .. } = *self;
        Ok(Staged::new(octets, Waiting { file, unique_id }))
    }
}

/// A message that waits for its MDA. Its file has no name, so it needs no removing.
#[derive(Debug)]
struct Waiting {
    file: File,
    unique_id: OsString,
}

/// Runs the MDA.
#[derive(Debug)]
struct Publisher {
    words: Vec<String>,
    program: PathBuf,
    /// Made for the first message.
    complaints: Option<Complaints>,
    context: Context,
}

impl super::Publisher for Publisher {
    /// Nothing is synced: there is no name by which anybody could look for the message after a crash. It is
    /// fetched again then, which is why an MDA may see it twice.
    fn sync(&mut self, batch: Vec<Staged>) -> Result<Vec<Synced>, Error> {
        let synced = |(waiting, octets): (Box<Waiting>, u64)| Synced::new(Place::Mda, octets, waiting);
        Ok(batch.into_iter().map(Staged::into_held).map(synced).collect())
    }

    fn publish(&mut self, intended: Box<dyn Intents>) -> Result<Vec<Outcome>, Error> {
        intended.into_synced().into_iter().map(Synced::into_held).map(|message| self.deliver(message)).collect()
    }
}

impl Publisher {
    fn deliver(&mut self, (waiting, receipt): (Box<Waiting>, Receipt)) -> Result<Outcome, Error> {
        let failed = |source| Error::Mda { program: self.words[0].clone(), source };
        let mut complaints = self.complaints.take().map_or_else(Complaints::new, Ok).map_err(failed)?;
        let mut child = self.start(*waiting, &complaints).map_err(failed)?;
        let said = slice::from_mut(&mut complaints);
        let ended = wait(&mut child, said, self.context.mda_timeout, &self.context.stop);
        let ended = ended.map_err(|error| {
            kill(&mut child);
            failed(error)
        })?;
        let said = complaints.take();
        self.complaints = Some(complaints);
        Ok(match ended {
            Ended::Alone(status) if status.success() => Outcome::Delivered(receipt),
            Ended::Alone(status) => Outcome::Refused(Refusal::new(reason(status, &self.context.stop), &said)),
            Ended::Killed(reason) => Outcome::Refused(Refusal::new(reason, &said)),
            Ended::Left(reason) => Outcome::Refused(Refusal { is_left: true, ..Refusal::new(reason, &said) }),
        })
    }

    fn start(&self, waiting: Waiting, complaints: &Complaints) -> io::Result<Child> {
        let Waiting { mut file, unique_id } = waiting;
        let sender = sender(&file, self.context.envelope_sender);
        file.rewind()?;
        let safe = in_safe_characters(&sender);
        let mut command = Command::new(&self.program);
        if let Some(owner) = &self.context.owner {
            become_user(&mut command, owner);
            // So that it can open /dev/stdin and /dev/stderr; the message is the user's anyway.
            give_to(&file, owner)?;
            give_to(&complaints.writer, owner)?;
        }
        command
            .args(self.words[1..].iter().map(|word| expanded(word, &safe)))
            .env("SENDER", &sender)
            .env("RECIPIENT", &self.context.recipient)
            .env("POPFETCH_ACCOUNT", &self.context.account)
            .env("POPFETCH_UIDL", unique_id)
            .stdin(file)
            .stdout(Stdio::null())
            .stderr(complaints.writer.try_clone()?)
            // Its own group: Ctrl-C on the terminal is for us, and killing it reaches its children, too.
            .process_group(0);
        child::spawn(&mut command)
    }
}

/// The program gets the rights of the user (the standard library drops root's supplementary groups), and of root's
/// environment, in which there may be secrets, only what says how to find programs and how to write words and times.
pub(super) fn become_user(command: &mut Command, user: &User) {
    let is_common = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(b"LC_") || [&b"PATH"[..], b"LANG", b"TZ"].contains(&name)
    };
    command
        .uid(user.id)
        .gid(user.group)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_common(name)))
        .envs([("USER", &user.name), ("LOGNAME", &user.name)])
        .env("HOME", &user.home)
        // A home that is not there is no reason to lose the MDA.
        .current_dir("/");
}

pub(super) fn give_to(file: impl AsFd, user: &User) -> io::Result<()> {
    Ok(rustix::fs::fchown(file, Some(Uid::from_raw(user.id)), Some(Gid::from_raw(user.group)))?)
}

/// What MDAs write to standard error: one pipe for all of them, as long as the run lasts, because making one for each
/// message costs more than to reuse it. A child that an MDA leaves behind may go on writing, and is not killed for it
/// before the run is over; its words are shown with a later refusal.
#[derive(Debug)]
pub(super) struct Complaints {
    reader: PipeReader,
    pub(super) writer: PipeWriter,
    said: Vec<u8>,
}

impl Complaints {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok(Complaints { reader, writer, said: Vec::new() })
    }

    /// Reads what is there, but not for ever, and keeps the beginning.
    fn drain(&mut self) {
        let mut chunk = [0; 4096];
        for _ in 0..DRAINED_CHUNKS {
            let Ok(octets @ 1..) = self.reader.read(&mut chunk) else { return };
            let room = SAID_OCTETS.saturating_sub(self.said.len());
            self.said.extend_from_slice(&chunk[..octets.min(room)]);
        }
    }

    /// What was said since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.drain();
        std::mem::take(&mut self.said)
    }
}

fn sender(file: &File, envelope_sender: fn(&[u8]) -> Option<String>) -> String {
    sender_of(&beginning_of(file, HEAD), envelope_sender)
}

/// The sender of a message that begins so.
pub(super) fn sender_of(head: &[u8], envelope_sender: fn(&[u8]) -> Option<String>) -> String {
    shown(&envelope_sender(head).unwrap_or_default())
}

/// The sender as programs may show it and hand it on: nothing that is invisible, and no option.
fn shown(sender: &str) -> String {
    let visible: String = sender.chars().filter(|character| !text::is_unsafe(*character)).collect();
    match visible.trim_start_matches('-') {
        "" => NOBODY.to_owned(),
        sender => sender.to_owned(),
    }
}

/// What no shell, option parser or file system takes for anything but letters.
fn in_safe_characters(sender: &str) -> String {
    let is_safe = |c: &char| c.is_ascii_alphanumeric() || "._+=@-".contains(*c);
    let safe: String = sender.chars().filter(is_safe).collect();
    match safe.trim_start_matches('-') {
        "" => NOBODY.to_owned(),
        safe => safe.to_owned(),
    }
}

/// `%F` is the sender and `%%` a percent sign; any other percent sign stands for itself.
fn expanded(word: &str, sender: &str) -> String {
    let mut expanded = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(percent) = rest.find('%') {
        expanded.push_str(&rest[..percent]);
        let (meaning, length) = match rest.as_bytes().get(percent + 1) {
            Some(b'F') => (sender, 2),
            Some(b'%') => ("%", 2),
            _ => ("%", 1),
        };
        expanded.push_str(meaning);
        rest = &rest[percent + length..];
    }
    expanded + rest
}

/// How the wait for an MDA ended.
#[derive(Debug)]
pub(super) enum Ended {
    Alone(ExitStatus),
    Killed(Reason),
    /// It could not be killed, and goes on.
    Left(Reason),
}

pub(super) fn wait(
    child: &mut Child,
    complaints: &mut [Complaints],
    timeout: Duration,
    stop: &Stop,
) -> io::Result<Ended> {
    let event = exit_event(child)?;
    let begin = Instant::now();
    if has_ended_within(child, event.as_ref(), complaints, Some(stop), timeout)? {
        return Ok(Ended::Alone(child.wait()?));
    }
    let (reason, grace) = match stop.requested() {
        Some(stopped) => (Reason::Stopped(stopped), KILL_DELAY.min(timeout.saturating_sub(begin.elapsed()))),
        None => (Reason::TimedOut(timeout), Duration::ZERO),
    };
    if has_ended_within(child, event.as_ref(), complaints, None, grace)? {
        return Ok(Ended::Alone(child.wait()?));
    }
    // It may have ended just now: what it did then counts.
    match kill(child) {
        Some(status) if status.code().is_some() => Ok(Ended::Alone(status)),
        Some(_) => Ok(Ended::Killed(reason)),
        None => Ok(Ended::Left(reason)),
    }
}

/// Waits for the process and hears its complaints; false when the time is over or the run is to stop before that.
/// Without an event the process is looked at now and then.
fn has_ended_within(
    child: &mut Child,
    event: Option<&OwnedFd>,
    complaints: &mut [Complaints],
    stop: Option<&Stop>,
    timeout: Duration,
) -> io::Result<bool> {
    let wakes = stop.map(Stop::wakes);
    let begin = Instant::now();
    let mut pause = SHORTEST_PAUSE;
    loop {
        if event.is_none() && child.try_wait()?.is_some() {
            return Ok(true);
        }
        let left = timeout.saturating_sub(begin.elapsed());
        let pause_now = if event.is_none() { left.min(pause) } else { left };
        pause = LONGEST_PAUSE.min(pause * 2);
        let mut watched: Vec<PollFd<'_>> =
            complaints.iter().map(|complaints| PollFd::new(&complaints.reader, PollFlags::IN)).collect();
        watched.extend(event.iter().map(|event| PollFd::new(*event, PollFlags::IN)));
        watched.extend(wakes.iter().map(|wakes| PollFd::new(wakes, PollFlags::IN)));
        poll::wait(&mut watched, Some(pause_now))?;
        let happened: Vec<bool> = watched.iter().map(|watched| !watched.revents().is_empty()).collect();
        let (said, happened) = happened.split_at(complaints.len());
        complaints.iter_mut().zip(said).filter(|(_, said)| **said).for_each(|(complaints, _)| complaints.drain());
        match (event, happened) {
            (Some(_), [true, ..]) => return Ok(true),
            (Some(_), [false, true]) | (None, [true]) => return Ok(false),
            _ if left.is_zero() => return Ok(false),
            _ => {}
        }
    }
}

/// A descriptor that becomes readable when the process has ended, where there is such a thing: on Linux since 5.3,
/// unless a sandbox does not know it.
fn exit_event(child: &Child) -> io::Result<Option<OwnedFd>> {
    #[cfg(target_os = "linux")]
    match rustix::process::pidfd_open(Pid::from_child(child), rustix::process::PidfdFlags::empty()) {
        Err(Errno::NOSYS | Errno::PERM) => {}
        result => return Ok(Some(result?)),
    }
    let _ = child;
    Ok(None)
}

/// Kills the MDA and the children that stayed in its group, and collects it; `None` when it goes on.
pub(super) fn kill(child: &mut Child) -> Option<ExitStatus> {
    // Some of the group may be ours to kill when the MDA is not; and the MDA may have left the group.
    let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
    child::kill(child)
}

/// The first octets of a file, as far as they can be read.
fn beginning_of(file: &File, length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    let mut filled = 0;
    while let Ok(read @ 1..) = file.read_at(&mut octets[filled..], filled as u64) {
        filled += read;
    }
    octets.truncate(filled);
    octets
}

pub(super) fn reason(status: ExitStatus, stop: &Stop) -> Reason {
    let Some(signal) = status.signal() else { return Reason::Status(status.code().unwrap_or_default()) };
    // A service manager sends the signal to every program of the service, in any order.
    match stop.pause(SIGNAL_DELAY) {
        Ok(Woken::Stopped(stopped)) => Reason::Stopped(stopped),
        _ => Reason::Signal(signal),
    }
}

/// Why one message was not delivered, though the delivery as a whole works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    said: String,
    /// The MDA could not be killed.
    is_left: bool,
}

/// The reason of a [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The MDA ended with this exit status.
    Status(i32),
    /// The MDA was ended by this signal, which was not ours.
    Signal(i32),
    /// The MDA took longer than this, and was killed.
    TimedOut(Duration),
    /// The run was to stop, and the MDA did not end in time.
    Stopped(Stopped),
    /// The message's file was removed by somebody before it could be renamed.
    Vanished,
    /// A server answered with this code (RFC 5321 §4.2).
    Replied(u16),
    /// A server answered with this status (RFC 9110 §15).
    Answered(u16),
    /// A server did not take it, and has words for that instead of codes.
    Declined {
        /// It may take it later.
        is_temporary: bool,
    },
    /// It cannot be sent to a server.
    Unfit,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, said: &[u8]) -> Self {
        let lines = said.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let said = lines.take(SAID_LINES).collect::<Vec<_>>().join(&b"; "[..]);
        Refusal { reason, said: text::printable_within(&said, SAID_CHARACTERS), is_left: false }
    }

    /// True when both have the same reason and begin with the same words; numbers, as of processes, do not count.
    pub fn is_like(&self, other: &Refusal) -> bool {
        let words = |refusal: &Refusal| {
            let words = refusal.said.split_whitespace().take(ALIKE_WORDS);
            words.map(|word| word.replace(|c: char| c.is_ascii_digit(), "")).collect::<Vec<_>>()
        };
        self.reason == other.reason && words(self) == words(other)
    }

    /// The exit status that it deserves: whether the same message may well be taken next time.
    pub fn kind(&self) -> failure::Kind {
        use failure::Kind;
        match self.reason {
            Reason::Status(EX_TEMPFAIL) => Kind::Temporary,
            // Somebody ended it (the administrator, a shutdown, a lack of memory), or it crashed.
            Reason::Signal(signal) => {
                let by_others = [Signal::HUP, Signal::INT, Signal::KILL, Signal::TERM, Signal::XCPU];
                let is_by_others = by_others.iter().any(|by_others| by_others.as_raw() == signal);
                if is_by_others { Kind::Temporary } else { Kind::Io }
            }
            // Another request with the same key is on its way.
            Reason::Replied(400..500) | Reason::Answered(409) | Reason::Declined { is_temporary: true } => {
                Kind::Temporary
            }
            Reason::Status(_) | Reason::Replied(_) | Reason::Answered(_) | Reason::Declined { .. } | Reason::Unfit => {
                Kind::Io
            }
            Reason::TimedOut(_) | Reason::Vanished => Kind::Temporary,
            Reason::Stopped(stopped) => Kind::Stopped(stopped),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Status(status) => match sysexit(status) {
                Some(name) => write!(f, "the MDA ended with status {status} ({name})")?,
                None => write!(f, "the MDA ended with status {status}")?,
            },
            Reason::Signal(signal) => write!(f, "the MDA was ended by signal {signal}")?,
            Reason::TimedOut(timeout) => write!(f, "the MDA did not end within {} s", timeout.as_secs_f64())?,
            Reason::Stopped(stopped) => write!(f, "{stopped} before the MDA ended")?,
            Reason::Vanished => write!(f, "another program removed the message from `tmp`")?,
            Reason::Replied(code) | Reason::Answered(code) => write!(f, "the server answered {code}")?,
            Reason::Declined { .. } => f.write_str("the server did not take it")?,
            Reason::Unfit => f.write_str("it cannot be sent there")?,
        }
        if self.is_left {
            f.write_str("; it could not be killed, goes on, and may still deliver the message")?;
        }
        if self.said.is_empty() { Ok(()) } else { write!(f, ": {}", self.said) }
    }
}

/// The names of sysexits(3).
fn sysexit(status: i32) -> Option<&'static str> {
    Some(match status {
        64 => "EX_USAGE",
        65 => "EX_DATAERR",
        66 => "EX_NOINPUT",
        67 => "EX_NOUSER",
        68 => "EX_NOHOST",
        69 => "EX_UNAVAILABLE",
        70 => "EX_SOFTWARE",
        71 => "EX_OSERR",
        72 => "EX_OSFILE",
        73 => "EX_CANTCREAT",
        74 => "EX_IOERR",
        EX_TEMPFAIL => "EX_TEMPFAIL",
        76 => "EX_PROTOCOL",
        77 => "EX_NOPERM",
        78 => "EX_CONFIG",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Target;
    use crate::deliver::tests::{context, deliver, names};
    use crate::deliver::{self};
    use crate::failure::Failure as _;
    use std::fs;
    use tempfile::TempDir;

    struct Home {
        folder: TempDir,
        context: Context,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("state")).unwrap();
            let context = context(&folder.path().join("state"));
            Home { folder, context }
        }

        /// Runs a shell script as the MDA for one message; `$OUT` is a file to write to.
        fn run(&self, script: &str, message: &[u8]) -> Outcome {
            let script = format!("OUT={}\n{script}", self.out().display());
            let words = ["/bin/sh", "-c", &script.replace('%', "%%"), "sh", "-f", "%F"].map(str::to_owned);
            let (mut stager, mut publisher) = deliver::open(&Target::mda(words.to_vec()), &self.context).unwrap();
            let outcome = deliver(&mut stager, &mut publisher, &[message]).remove(0);
            assert_eq!(names(&self.context.spool_dir), [""; 0]);
            outcome
        }

        fn refusal(&self, script: &str) -> Refusal {
            match self.run(script, b"x\n") {
                Outcome::Refused(refusal) => refusal,
                outcome => panic!("{outcome:?}"),
            }
        }

        fn out(&self) -> PathBuf {
            self.folder.path().join("out")
        }
    }

    #[test]
    fn the_mda_reads_the_message_exactly_and_knows_whose_it_is() {
        let home = Home::new();
        let message = b"Return-Path: <o'brien@x.example>\r\n\nFrom x\n\xff\0 no end";
        let script = r#"cat > $OUT; echo "$1 $2 $SENDER $RECIPIENT $POPFETCH_ACCOUNT $POPFETCH_UIDL" > $OUT.env"#;
        let outcome = home.run(script, message);
        assert!(matches!(outcome, Outcome::Delivered(receipt) if receipt.octets() == message.len() as u64));
        assert_eq!(fs::read(home.out()).unwrap(), message);
        let environment = fs::read_to_string(home.folder.path().join("out.env")).unwrap();
        assert_eq!(environment, "-f obrien@x.example o'brien@x.example petar work id\n1\n");
    }

    #[test]
    fn an_mda_that_reads_nothing_has_delivered_if_it_says_so() {
        let home = Home::new();
        assert!(matches!(home.run("exit 0", &vec![b'x'; 300_000]), Outcome::Delivered(_)));
    }

    #[test]
    fn an_exit_status_is_named() {
        let home = Home::new();
        let refusal = home.refusal("echo no such user >&2; exit 67");
        assert_eq!(refusal.to_string(), "the MDA ended with status 67 (EX_NOUSER): no such user");
        assert_eq!(refusal.kind(), failure::Kind::Io);
        assert_eq!(home.refusal("exit 75").kind(), failure::Kind::Temporary);
        assert_eq!(home.refusal("exit 3").to_string(), "the MDA ended with status 3");
    }

    #[test]
    fn only_the_first_words_of_a_talkative_mda_are_repeated() {
        let home = Home::new();
        let refusal = home.refusal("i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done >&2; exit 1");
        assert_eq!(refusal.said, "line 0; line 1; line 2");
        let refusal = home.refusal("printf '\\033[2J'; head -c 9999 /dev/zero | tr '\\0' x; exit 1");
        assert_eq!(refusal.said, "", "standard output is not repeated");
        let refusal = home.refusal("{ printf '\\033[2J'; head -c 9999 /dev/zero | tr '\\0' x; } >&2; exit 1");
        assert!(refusal.said.starts_with("\\x1b[2Jxxx") && refusal.said.chars().count() == SAID_CHARACTERS);
    }

    #[test]
    fn what_one_mda_said_is_not_told_of_the_next() {
        let home = Home::new();
        let script = "read line; [ $line = quiet ] || echo $line >&2; [ $line = heard ]";
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        let (mut stager, mut publisher) = deliver::open(&Target::mda(words.to_vec()), &home.context).unwrap();
        let said = ["quiet\n", "heard\n", "loud\n", "quiet\n", "angry\n"].map(|message| {
            match deliver(&mut stager, &mut publisher, &[message.as_bytes()]).remove(0) {
                Outcome::Delivered(_) => "delivered".to_owned(),
                Outcome::Refused(refusal) => refusal.said.clone(),
                Outcome::Left => unreachable!("an MDA takes message after message"),
            }
        });
        assert_eq!(said, ["", "delivered", "loud", "", "angry"]);
    }

    #[test]
    fn a_child_that_stays_behind_holds_nothing_up() {
        let home = Home::new();
        let begin = Instant::now();
        assert!(matches!(home.run("sleep 3 & exit 0", b""), Outcome::Delivered(_)));
        assert!(begin.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_signal_is_told_from_a_status() {
        let home = Home::new();
        let refusal = home.refusal("kill -SEGV $$");
        assert_eq!(refusal.to_string(), "the MDA was ended by signal 11");
        assert_eq!(refusal.kind(), failure::Kind::Io);
        assert_eq!(home.refusal("kill -TERM $$").kind(), failure::Kind::Temporary);
    }

    #[test]
    fn an_mda_that_takes_too_long_is_killed_with_its_children() {
        let mut home = Home::new();
        home.context.mda_timeout = Duration::from_millis(200);
        let begin = Instant::now();
        let refusal = home.refusal("(sleep 1; echo late > $OUT) & wait");
        assert_eq!(refusal.to_string(), "the MDA did not end within 0.2 s");
        assert_eq!(refusal.kind(), failure::Kind::Temporary);
        assert!(begin.elapsed() < Duration::from_millis(900));
        std::thread::sleep(Duration::from_millis(1100));
        assert!(!home.out().exists());
    }

    #[test]
    fn a_wish_to_stop_leaves_the_mda_a_moment() {
        let home = Home::new();
        home.context.stop.request(15);
        assert!(matches!(home.run("sleep 0.1", b""), Outcome::Delivered(_)));
        let begin = Instant::now();
        let refusal = home.refusal("sleep 9");
        assert_eq!(refusal.to_string(), "stopped by signal 15 before the MDA ended");
        assert_eq!(refusal.kind(), failure::Kind::Stopped(Stopped { signal: 15 }));
        assert!(begin.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn the_end_is_noticed_without_a_process_descriptor_too() {
        let mut child = Command::new("sleep").arg("0.05").spawn().unwrap();
        let mut complaints = Complaints::new().unwrap();
        assert!(!has_ended_within(&mut child, None, slice::from_mut(&mut complaints), None, Duration::ZERO).unwrap());
        assert!(
            has_ended_within(&mut child, None, slice::from_mut(&mut complaints), None, Duration::from_secs(60))
                .unwrap()
        );
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn a_program_that_cannot_be_started_is_named_before_anything_is_fetched() {
        let home = Home::new();
        let open = |program: &str| deliver::open(&Target::mda(vec![program.to_owned()]), &home.context).unwrap_err();
        let error = open("no-such-mda");
        assert_eq!(error.to_string(), "cannot start the MDA `no-such-mda`: no such file or directory");
        assert_eq!(error.hint().unwrap(), "write the whole path of `no-such-mda` in `deliver`");
        assert_eq!(open("/no/such").to_string(), "cannot start the MDA `/no/such`: no such file or directory");
        assert_eq!(open("/etc/passwd").to_string(), "cannot start the MDA `/etc/passwd`: permission denied");
        assert_eq!(open("/etc").kind(), failure::Kind::CannotCreate);
    }

    #[test]
    fn the_sender_cannot_be_an_option_or_a_command() {
        assert_eq!(in_safe_characters("a.b+c=d_e-f@x"), "a.b+c=d_e-f@x");
        assert_eq!(in_safe_characters("--exec=`rm -rf`;é@x"), "exec=rm-rf@x");
        assert_eq!(in_safe_characters("-- $()"), NOBODY);
        assert_eq!(shown("a.b+c=d_e-f@x"), "a.b+c=d_e-f@x");
        assert_eq!(shown("\u{202e}-\u{ad}-oQ@\u{61c}žuto"), "oQ@žuto");
        assert_eq!(shown("--\u{2060}"), NOBODY);
    }

    #[test]
    fn only_the_known_percent_signs_mean_something() {
        assert_eq!(expanded("-f%F", "a@x"), "-fa@x");
        assert_eq!(expanded("100%% %F%F %f %", "a"), "100% aa %f %");
        assert_eq!(expanded("%%F", "a"), "%F");
    }
}
