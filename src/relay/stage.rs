//! Messages that wait for a server, in files of the spool without names, in the form in which they are sent.
//!
//! Small ones share a file: each file is a descriptor. What one message needs later (its size, the sender, whether it has
//! octets that not every server takes) is noted while it goes by.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::error::Cause;
use super::headers::Origin;
use super::shown;
use super::wire::Lines;
use crate::account::{Sender, Server, Target};
use crate::deliver::{self, Context, Error, Spools, Staged};
use crate::header::{Arrival, Marks};
use crate::os::clock::now;
use crate::text;

/// A file that has so many octets takes no further message.
const FILE: u64 = 4 << 20;

/// What is written or read at a time.
const CHUNK: usize = 64 * 1024;

/// A Return-Path is on top of a header; it is looked for in so much of it.
const HEAD: usize = 16 * 1024;

/// So much of a header is looked at for what a message is known by.
const MARKS: usize = 64 * 1024;

/// The longest address (RFC 5321 §4.5.3.1.3).
const ADDRESS: usize = 254;

/// Writes messages to spool files.
#[derive(Debug)]
pub(super) struct Stager {
    spools: Spools,
    terms: Arc<Terms>,
    open: Slot,
}

/// What is the same for all messages.
#[derive(Debug)]
struct Terms {
    server: Server,
    origin: Origin,
    folder: PathBuf,
}

/// The file that the next message goes to. A message takes it away, and puts it back when it is complete.
type Slot = Arc<Mutex<Option<Shared>>>;

#[derive(Debug)]
struct Shared {
    file: Arc<File>,
    end: u64,
}

impl Stager {
    pub(super) fn new(server: Server, context: &Context) -> Self {
        let spools = Spools::new("relay", context);
        let origin = Origin { maildrop: context.network.maildrop.clone(), host: context.network.host.clone() };
        let terms = Terms { server, origin, folder: spools.folder().to_owned() };
        Stager { spools, terms: Arc::new(terms), open: Slot::default() }
    }
}

impl deliver::Stager for Stager {
    fn stage(&mut self, unique_id: &[u8], nth: u32) -> Result<Box<dyn deliver::Stage>, Error> {
        let shared = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Shared { file, end } = match shared {
            Some(shared) => shared,
            None => Shared { file: Arc::new(self.spools.anonymous()?), end: 0 },
        };
        let server = &self.terms.server;
        let is_found_again = !server.mailbox.is_empty();
        let has_id = server.headers.id || server.post.is_some();
        Ok(Box::new(Stage {
            slot: self.open.clone(),
            id: has_id.then(|| (unique_id.to_owned(), nth)),
            content: (has_id || is_found_again).then(Sha256::new),
            head: (server.sender == Sender::ReturnPath || is_found_again).then(Vec::new),
            terms: self.terms.clone(),
            waiting: Waiting::at(file, end),
            lines: Lines::default(),
            wire: vec![],
            octets: 0,
        }))
    }
}

/// A message that is being written.
#[derive(Debug)]
struct Stage {
    slot: Slot,
    terms: Arc<Terms>,
    /// What the id is made of, where it is wanted.
    id: Option<(Vec<u8>, u32)>,
    /// The digest of the octets as they are sent, without the fields in front of them, where it is wanted.
    content: Option<Sha256>,
    /// The beginning, where the sender is looked for in it.
    head: Option<Vec<u8>>,
    waiting: Waiting,
    lines: Lines,
    wire: Vec<u8>,
    octets: u64,
}

impl Stage {
    fn store(&mut self) -> Result<(), Error> {
        let Stage { wire, waiting, terms, .. } = self;
        if let Some(content) = &mut self.content {
            content.update(&*wire);
        }
        waiting.is_8bit |= !wire.is_ascii();
        waiting.has_nul |= memchr::memchr(0, wire).is_some();
        let written = waiting.file.write_all_at(wire, waiting.at + waiting.length);
        written.map_err(|error| Error::io("write a spool file in", &terms.folder, error))?;
        waiting.length += wire.len() as u64;
        wire.clear();
        Ok(())
    }
}

impl deliver::Stage for Stage {
    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        if let Some(head) = &mut self.head {
            let most = if self.terms.server.mailbox.is_empty() { HEAD } else { MARKS };
            let room = most.saturating_sub(head.len());
            head.extend_from_slice(&octets[..octets.len().min(room)]);
        }
        self.octets += octets.len() as u64;
        self.lines.push(octets, &mut self.wire);
        if self.wire.len() >= CHUNK { self.store() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<Staged, Error> {
        self.lines.finish(&mut self.wire);
        self.store()?;
        let Stage { slot, terms, id, content, head, mut waiting, lines, octets, .. } = *self;
        let Server { recipient, sender, headers, mailbox, .. } = &terms.server;
        let id = id.zip(content.clone()).map(|((unique_id, nth), content)| terms.origin.id(&unique_id, nth, content));
        if let (false, Some(content), Some(head)) = (mailbox.is_empty(), content, &head) {
            waiting.known_by = Some(Box::new(KnownBy::of(head, id.clone(), content)));
        }
        waiting.prefix = terms.origin.fields(*headers, recipient, id.as_deref());
        waiting.id = id;
        waiting.bare = lines.bare();
        waiting.sender = match (sender, head) {
            (Sender::Address(address), _) => address.clone(),
            (Sender::ReturnPath, Some(head)) => return_path(&head).unwrap_or_default(),
            _ => String::new(),
        };
        let end = waiting.at + waiting.length;
        if end < FILE {
            let file = waiting.file.clone();
            slot.lock().unwrap_or_else(PoisonError::into_inner).replace(Shared { file, end });
        }
        Ok(Staged::new(octets, waiting))
    }
}

/// A message that waits for its server.
#[derive(Debug)]
pub(super) struct Waiting {
    file: Arc<File>,
    at: u64,
    length: u64,
    prefix: Vec<u8>,
    /// Empty for nobody.
    pub(super) sender: String,
    pub(super) is_8bit: bool,
    pub(super) has_nul: bool,
    /// How many bare CR became line ends.
    pub(super) bare: u64,
    /// The same each time that this very message is sent, where the server is told.
    pub(super) id: Option<String>,
    /// By what it is found again in a mailbox, where it goes to one.
    pub(super) known_by: Option<Box<KnownBy>>,
}

/// By what a message is found again in a mailbox.
#[derive(Debug)]
pub(super) struct KnownBy {
    /// When it came to its maildrop, as its first `Received` says, else when it was written, else now: seconds since 1970.
    pub(super) date: u64,
    pub(super) marks: Marks,
    /// Of its octets as they are sent, without the fields in front of them.
    pub(super) digest: [u8; 32],
}

impl KnownBy {
    fn of(head: &[u8], id: Option<String>, content: Sha256) -> Self {
        let Arrival { received, written } = Arrival::read(head);
        let now = now();
        // Nothing has come before it was sent: a date to come is a wrong one.
        let past = |date: i64| u64::try_from(date).ok().filter(|date| *date <= now);
        let date = received.and_then(past).or(written.and_then(past)).unwrap_or(now);
        let marks = Marks { stamp: id, ..Marks::read(head) };
        KnownBy { date, marks, digest: content.finalize().into() }
    }
}

impl Waiting {
    fn at(file: Arc<File>, at: u64) -> Self {
        let (prefix, sender) = (vec![], String::new());
        let (id, known_by) = (None, None);
        Waiting { file, at, length: 0, prefix, sender, is_8bit: false, has_nul: false, bare: 0, id, known_by }
    }

    /// Octets as they are sent, before dots are doubled.
    pub(super) fn octets(&self) -> u64 {
        self.prefix.len() as u64 + self.length
    }

    /// How many of these are fields in front of the message.
    pub(super) fn prefix(&self) -> u64 {
        self.prefix.len() as u64
    }

    /// Gives the octets, piece by piece.
    pub(super) fn read(&self, mut take: impl FnMut(&[u8]) -> Result<(), Cause>) -> Result<(), Cause> {
        take(&self.prefix)?;
        let mut buffer = vec![0; self.length.min(CHUNK as u64) as usize];
        let mut done = 0;
        while done < self.length {
            let piece = &mut buffer[..(self.length - done).min(CHUNK as u64) as usize];
            self.file.read_exact_at(piece, self.at + done).map_err(Cause::Unreadable)?;
            done += piece.len() as u64;
            take(piece)?;
        }
        Ok(())
    }
}

/// The line that `-v` shows of messages whose line ends were not those of mail.
pub(super) fn say_what_changes<'w>(messages: impl Iterator<Item = &'w Waiting>, target: &Target, context: &Context) {
    let bare: u64 = messages.map(|message| message.bare).sum();
    if let (Some(talk), true) = (&context.network.talk, bare > 0) {
        let account = text::printable(context.account.as_bytes());
        let many = text::counted(usize::try_from(bare).unwrap_or(usize::MAX), "bare CR");
        talk(&format!("{account}: {many} became CRLF on the way to `{}`", shown(target)));
    }
}

/// The address of the first Return-Path of a header, if it can be written in a command.
fn return_path(head: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"return-path:";
    let mut lines = head.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii_end);
    let is_it = |line: &&[u8]| line.len() >= NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME);
    let line = lines.by_ref().take_while(|line| !line.is_empty()).find(is_it)?;
    let value = std::str::from_utf8(&line[NAME.len()..]).ok()?.trim();
    let address = value.strip_prefix('<')?.strip_suffix('>')?;
    is_writable(address).then(|| address.to_owned())
}

/// True for an address that can be written in a command, and be nothing else there.
pub(super) fn is_writable(address: &str) -> bool {
    let is_safe = |c: char| !c.is_whitespace() && !c.is_control() && !"<>".contains(c);
    !address.is_empty() && address.len() <= ADDRESS && address.chars().all(is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_that_of_the_first_return_path_of_the_header() {
        let sender = |head: &str| return_path(head.as_bytes());
        assert_eq!(sender("Received: x\nRETURN-path:  <a@x>\nReturn-Path: <b@x>\n\n").as_deref(), Some("a@x"));
        for nobody in [
            "From: a@x\n\n",
            "Return-Path: <>\n\n",
            "Return-Path: a@x\n\n",
            "Subject: x\n\nReturn-Path: <a@x>\n",
            "Return-Path: <a@x> SIZE=1>\n\n",
            "Return-Path: <a@x>BODY=8BITMIME>\n\n",
            "Return-Path: <a\rQUIT>\n\n",
        ] {
            assert_eq!(sender(nobody), None, "{nobody:?}");
        }
    }
}
