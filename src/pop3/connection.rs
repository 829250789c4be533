//! The line under a session: buffered octets both ways, bounded lines, and what is awaited at the moment.
//!
//! Commands are queued and leave in one write; replies are read in large pieces. Never more command octets are
//! outstanding than any socket buffer holds (see `Window`), so a blocking write cannot deadlock with a server
//! that blocks on its own.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroize as _;

use super::command::{Awaited, Command, Verb};
use super::error::Error;
use super::reply::{ResponseCode, Status, status};
use crate::account::Password;
use crate::listings::{Budget, Share};

/// What a session runs over. The notices do nothing unless an implementation wants them, and a line is in clear unless
/// it says otherwise.
pub trait Transport: Read + Write {
    /// Called whenever the session begins to wait for something, so that a deadline can begin.
    fn expect(&mut self, _expected: Expected) {}

    /// Called once when from here on each command waits for the reply before it.
    fn lock_step(&mut self) {}

    /// Called for each command and each line of a reply, message text aside.
    fn trace(&mut self, _trace: Trace<'_>) {}

    /// True when nobody on the way can read what is sent.
    fn is_encrypted(&self) -> bool {
        false
    }

    /// The `tls-server-end-point` channel binding (RFC 5929 §4), where the line has one.
    fn server_end_point(&self) -> Option<Vec<u8>> {
        None
    }
}

/// What the session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The server's greeting.
    Greeting,
    /// The status line of a reply.
    Reply,
    /// The end of the connection, or something in its place.
    End,
    /// The lines behind a status line, which may go on for long.
    Body,
}

/// A line on the wire; secrets are masked in [`Command`]'s text.
pub enum Trace<'a> {
    /// A command was queued.
    Sent(Command<'a>),
    /// A line came.
    Received(&'a [u8]),
    /// The text of a message came: how many octets.
    Message(u64),
}

/// What is taken from a server at most. Each bound is far beyond any real server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Octets of a status line or of a line in a listing, CRLF included. RFC 2449 §4 says 512.
    pub line: usize,
    /// Lines of a capability list.
    pub capabilities: usize,
    /// Memory for the listing.
    pub listings: Arc<Share>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { line: 16 << 10, capabilities: 200, listings: Budget::default().share() }
    }
}

/// One read of this size holds thirty small messages; larger ones save nothing more.
const BUFFER: usize = 128 << 10;

/// The buffer's size until a read has filled it: most sessions need no more.
const FIRST_BUFFER: usize = 8 << 10;

/// Room for what is around a secret in a command: keyword, mechanism, user.
const ROOM: usize = 512;

/// A server's own words are kept this far for an error.
const KEPT: usize = 512;

pub struct Connection<T> {
    io: T,
    buffer: Vec<u8>,
    /// The last read could have given more.
    is_filled: bool,
    start: usize,
    end: usize,
    queued: Vec<u8>,
    queued_commands: usize,
    /// Commands sent whose status line has not come.
    in_flight: usize,
    /// Commands sent since the line was idle.
    flight: usize,
    pub limits: Limits,
    /// What was sent, and the password in it: a server that repeats it is not repeated.
    pub secrets: Vec<Password>,
    /// The last command had a secret in it.
    is_login: bool,
}

impl<T: Transport> Connection<T> {
    pub fn new(io: T, limits: Limits) -> Self {
        Connection {
            io,
            buffer: vec![0; FIRST_BUFFER],
            is_filled: false,
            start: 0,
            end: 0,
            queued: vec![],
            queued_commands: 0,
            in_flight: 0,
            flight: 0,
            limits,
            secrets: vec![],
            is_login: false,
        }
    }

    /// Gives the line back; `None` when octets were received that nobody has read.
    pub fn into_io(self) -> Option<T> {
        (self.start == self.end).then_some(self.io)
    }

    pub fn queue(&mut self, command: Command<'_>) {
        // What has to grow leaves what it was behind.
        self.queued.reserve(command.secret().map_or(0, |secret| secret.len() + ROOM));
        command.encode(&mut self.queued);
        self.queued_commands += 1;
        self.is_login = command.secret().is_some();
        self.secrets.extend(command.secret().map(Password::new));
        self.io.trace(Trace::Sent(command));
    }

    /// Sends what is queued, in one write where the line takes it.
    ///
    /// # Errors
    /// [`Error::Unasked`] when no reply is outstanding and yet octets are there: they would be taken for the replies
    /// to commands that the server has not seen, and each message for the one before it.
    pub fn flush(&mut self, awaited: Awaited) -> Result<(), Error> {
        if self.queued.is_empty() {
            return Ok(());
        }
        self.expect_silence(awaited)?;
        if self.in_flight == 0 {
            self.flight = 0;
        }
        self.flight += self.queued_commands;
        self.in_flight += std::mem::take(&mut self.queued_commands);
        self.io.expect(Expected::Reply);
        let written = self.io.write_all(&self.queued).and_then(|()| self.io.flush());
        if self.is_login {
            self.queued.zeroize();
        }
        self.queued.clear();
        written.map_err(|source| self.broken(awaited, source))
    }

    /// Sends one command and returns the text behind its `+OK`, or the refusal.
    pub fn command(&mut self, command: Command<'_>) -> Result<Result<&[u8], Refused>, Error> {
        let verb = command.verb();
        self.queue(command);
        self.flush(Awaited::Reply(verb))?;
        self.reply(verb)
    }

    /// Reads the status line of the reply to `verb`.
    pub fn reply(&mut self, verb: Verb) -> Result<Result<&[u8], Refused>, Error> {
        let awaited = Awaited::Reply(verb);
        let line = self.status_line(awaited, Expected::Reply)?;
        let line = &self.buffer[line];
        match status(line) {
            Some(Status::Ok(text)) => Ok(Ok(text)),
            Some(Status::Err(text)) => Ok(Err(self.refused(text))),
            Some(Status::Challenge(_)) | None => Err(self.malformed(awaited, line)),
        }
    }

    /// Reads a status line of any kind.
    pub fn status(&mut self, awaited: Awaited, expected: Expected) -> Result<Status<'_>, Error> {
        let line = self.status_line(awaited, expected)?;
        let line = &self.buffer[line];
        status(line).ok_or_else(|| self.malformed(awaited, line))
    }

    fn status_line(&mut self, awaited: Awaited, expected: Expected) -> Result<Range<usize>, Error> {
        self.io.expect(expected);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.line(awaited)
    }

    fn malformed(&self, awaited: Awaited, line: &[u8]) -> Error {
        Error::Malformed { awaited, line: self.words(line), expected: "`+OK` or `-ERR`" }
    }

    /// A refusal with this text.
    pub fn refused(&self, text: &[u8]) -> Refused {
        Refused { code: ResponseCode::of(text), text: self.words(text) }
    }

    /// An error about a whole line, with as much of it as an error keeps.
    pub fn in_words(&self, error: Error) -> Error {
        match error {
            Error::Malformed { awaited, line, expected } => {
                Error::Malformed { awaited, line: self.words(&line), expected }
            }
            error => error,
        }
    }

    /// A server's words as far as an error keeps them, masked before they are cut: half a secret is not found any more.
    fn words(&self, text: &[u8]) -> Vec<u8> {
        let mask = if self.is_login { Password::masked_in_answer } else { Password::masked_in_octets };
        kept(&self.secrets.iter().fold(text.to_vec(), |text, secret| mask(secret, &text)))
    }

    /// Reads the lines of a multi-line reply, dot-stuffing undone, up to its end.
    pub fn lines(&mut self, verb: Verb, mut each: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let awaited = Awaited::Lines(verb);
        self.io.expect(Expected::Body);
        loop {
            let line = self.line(awaited)?;
            match &self.buffer[line] {
                b"." => return Ok(()),
                line => each(line.strip_prefix(b".").unwrap_or(line))?,
            }
        }
    }

    /// True when nobody on the way can read what is sent.
    pub fn is_encrypted(&self) -> bool {
        self.io.is_encrypted()
    }

    /// The line under the session, for notices.
    pub fn io(&mut self) -> &mut T {
        &mut self.io
    }

    /// What has been received and not yet used; never empty.
    pub fn received(&mut self, awaited: Awaited) -> Result<&[u8], Error> {
        if self.start == self.end {
            self.fill(awaited)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Marks octets as used.
    pub fn consume(&mut self, octets: usize) {
        self.start += octets;
        debug_assert!(self.start <= self.end);
    }

    /// Fails when octets are there though every command has its reply.
    pub fn expect_silence(&self, awaited: Awaited) -> Result<(), Error> {
        if self.in_flight > 0 || self.start == self.end {
            return Ok(());
        }
        Err(Error::Unasked { awaited, line: self.unread_line() })
    }

    /// True when replies are outstanding.
    pub fn has_in_flight(&self) -> bool {
        self.in_flight > 0
    }

    /// Waits for the end of the connection, and fails when something comes in its place.
    pub fn expect_end(&mut self, awaited: Awaited) -> Result<(), Error> {
        self.io.expect(Expected::End);
        match self.start == self.end && self.fill(awaited).is_err() {
            true => Ok(()),
            false => Err(Error::Unasked { awaited, line: self.unread_line() }),
        }
    }

    /// True when octets have come that cannot become a status line.
    pub fn has_nonsense(&self) -> bool {
        let unread = &self.buffer[self.start..self.end];
        let begins = |indicator: &[u8]| unread.iter().zip(indicator).all(|(octet, expected)| octet == expected);
        !begins(b"+OK") && !begins(b"-ERR")
    }

    /// For an error: the line that comes next, as far as it is there.
    fn unread_line(&self) -> Vec<u8> {
        let unread = &self.buffer[self.start..self.end];
        let end = memchr::memchr(b'\n', unread).unwrap_or(unread.len());
        self.words(unread[..end].trim_ascii_end())
    }

    /// One line without its end. Outside of message text a bare LF ends a line, too: it can mean nothing else.
    fn line(&mut self, awaited: Awaited) -> Result<Range<usize>, Error> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.start + searched..self.end]) {
                return self.take_line(self.start + searched + at, awaited);
            }
            searched = self.end - self.start;
            if searched >= self.limits.line {
                return Err(self.too_long(awaited));
            }
            self.fill(awaited)?;
        }
    }

    fn take_line(&mut self, lf: usize, awaited: Awaited) -> Result<Range<usize>, Error> {
        if lf - self.start >= self.limits.line {
            return Err(self.too_long(awaited));
        }
        let line = &self.buffer[self.start..lf];
        let line = self.start..lf - usize::from(line.ends_with(b"\r"));
        self.start = lf + 1;
        self.io.trace(Trace::Received(&self.buffer[line.clone()]));
        Ok(line)
    }

    fn too_long(&self, awaited: Awaited) -> Error {
        Error::TooMuch { awaited, what: format!("a line of more than {} octets", self.limits.line) }
    }

    /// Reads at least one more octet.
    fn fill(&mut self, awaited: Awaited) -> Result<(), Error> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            // Only the beginning of a line is ever left, and a line is short.
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.is_filled {
            self.buffer.resize(BUFFER, 0);
        }
        loop {
            match self.io.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(Error::Closed { awaited, is_ahead: false }),
                Ok(octets) => {
                    self.end += octets;
                    self.is_filled = self.end == self.buffer.len() && self.end < BUFFER;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted && error.get_ref().is_none() => {}
                Err(source) => return Err(self.broken(awaited, source)),
            }
        }
    }

    /// A reset is how some systems say that the other side is gone.
    fn broken(&self, awaited: Awaited, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Error::Closed { awaited, is_ahead: false }
            }
            _ => {
                let is_ahead = matches!(awaited, Awaited::Reply(_)) && self.in_flight + 1 < self.flight;
                Error::Io { awaited, source, is_ahead }
            }
        }
    }
}

/// A command answered with `-ERR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub code: Option<ResponseCode>,
    pub text: Vec<u8>,
}

impl Refused {
    /// As the error of a command that the session cannot do without.
    pub fn fatal(self, verb: Verb) -> Error {
        Error::Refused { verb, code: self.code, text: self.text }
    }
}

pub fn kept(text: &[u8]) -> Vec<u8> {
    text[..text.len().min(KEPT)].to_vec()
}
