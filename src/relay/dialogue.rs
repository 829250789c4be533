//! The dialogue with a server: commands out, replies in, both shown with `-vv`, secrets never.
//!
//! Knows lines and replies, and no protocol. Commands are queued and go out in one write before the next reply is awaited.

use std::io::{Read as _, Write as _};

use super::error::Cause;
use super::reply::{self, Problem, Reply};
use crate::account::Password;
use crate::deliver::Wire;
use crate::net::{self, Stream, Wait};
use crate::stop::Stopped;
use crate::text::{printable, printable_within};

/// How much of a reply errors show.
const SHOWN: usize = 200;

/// What is queued goes out when it is more than this.
const FULL: usize = 128 * 1024;

/// A connection, and what is on its way over it.
pub(super) struct Dialogue {
    stream: Stream,
    /// What came, and was not read.
    came: Vec<u8>,
    queue: Vec<u8>,
    /// Commands without a reply so far.
    unanswered: usize,
    /// Something had come that nobody asked for, when something new was to be sent.
    is_surplus: bool,
    wire: Option<Wire>,
    /// What begins the lines that are shown.
    label: String,
    /// What nobody may see, whatever the server says.
    secrets: Vec<Password>,
    /// The run is to stop: nothing more is sent, and only answers to messages are still read.
    stopped: Option<Stopped>,
}

impl std::fmt::Debug for Dialogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dialogue({})", self.label)
    }
}

impl Dialogue {
    pub(super) fn new(mut stream: Stream, wire: Option<Wire>, label: String) -> Self {
        // Servers answer each of the commands that were sent together in a packet of its own.
        stream.acknowledge_at_once();
        Dialogue {
            stream,
            came: vec![],
            queue: vec![],
            unanswered: 0,
            is_surplus: false,
            wire,
            label,
            secrets: vec![],
            stopped: None,
        }
    }

    /// The line below, for TLS to begin on it; nothing may have come over it by then.
    pub(super) fn into_stream(self) -> Result<Stream, Cause> {
        if self.came.is_empty() { Ok(self.stream) } else { Err(Cause::Injected) }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    pub(super) fn server_end_point(&self) -> Option<Vec<u8>> {
        self.stream.server_end_point()
    }

    /// From now on this is masked wherever the server repeats it.
    pub(super) fn hide(&mut self, secret: Password) {
        self.secrets.push(secret);
    }

    /// Queues a command.
    pub(super) fn command(&mut self, command: &str) {
        self.show(|| format!("C: {}", printable(command.as_bytes())));
        self.queue_command(command);
    }

    /// Queues a command that is a secret from octet `shown` on.
    pub(super) fn secret_command(&mut self, command: &str, shown: usize) {
        self.show(|| format!("C: {}****", printable(&command.as_bytes()[..shown])));
        self.queue_command(command);
    }

    fn queue_command(&mut self, command: &str) {
        self.look_for_surplus();
        self.unanswered += 1;
        self.queue.extend_from_slice(command.as_bytes());
        self.queue.extend_from_slice(b"\r\n");
    }

    /// A reply that came before its command would be taken for that of the next one.
    fn look_for_surplus(&mut self) {
        self.is_surplus |= self.unanswered == 0 && !self.came.is_empty();
    }

    /// Sends octets of a message behind what is queued.
    pub(super) fn send(&mut self, octets: &[u8]) -> Result<(), Cause> {
        if let Some(stopped) = self.stopped {
            return Err(Cause::stopped(stopped));
        }
        self.look_for_surplus();
        self.queue.extend_from_slice(octets);
        if self.queue.len() >= FULL { self.flush() } else { Ok(()) }
    }

    /// Shows that a message was sent.
    pub(super) fn sent(&self, octets: u64) {
        self.show(|| format!("C: ({octets} octets of message text)"));
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) -> Result<(), Cause> {
        if self.is_surplus {
            return Err(Cause::Nonsense("it answers more than it was asked"));
        }
        let queue = std::mem::take(&mut self.queue);
        for piece in queue.chunks(FULL) {
            // Each piece has its own time: a message may be large and the line slow.
            self.stream.expect(Wait::Reply);
            if let Err(error) = self.stream.write_all(piece) {
                return Err(self.last_words(error.into()));
            }
        }
        Ok(())
    }

    /// A server that says why it ends the connection may end it before we have sent everything.
    fn last_words(&mut self, cause: Cause) -> Cause {
        self.stream.expect(Wait::End);
        match self.next() {
            Ok(reply) if !reply.is_positive() => self.refused("what was sent", &reply),
            _ => cause,
        }
    }

    /// Sends what is queued, and waits for a reply.
    ///
    /// When the run is to stop, the answer to a message is waited for a moment longer: without it the message would come
    /// twice.
    pub(super) fn reply(&mut self, wait: Wait) -> Result<Reply, Cause> {
        match (self.stopped, wait) {
            (Some(stopped), Wait::Taken) => return self.next().map_err(|_| Cause::stopped(stopped)),
            (Some(stopped), _) => return Err(Cause::stopped(stopped)),
            (None, _) => {}
        }
        self.flush()?;
        self.stream.expect(wait);
        match self.next() {
            Err(Cause::Line(net::Error::Stopped(stopped))) if wait == Wait::Taken => {
                self.stopped = Some(stopped);
                self.stream.outlast_stop()?;
                self.next().map_err(|_| Cause::stopped(stopped))
            }
            reply => reply,
        }
    }

    fn next(&mut self) -> Result<Reply, Cause> {
        let mut chunk = [0; 4096];
        loop {
            match reply::read(&self.came) {
                Err(problem) => return Err(Cause::Nonsense(nonsense(problem))),
                Ok(Some((reply, length))) => {
                    self.came.drain(..length);
                    self.unanswered = self.unanswered.saturating_sub(1);
                    return Ok(self.shown(reply));
                }
                Ok(None) => {}
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err(Cause::Closed),
                octets => self.came.extend_from_slice(&chunk[..octets]),
            }
        }
    }

    /// Masks and shows a reply.
    fn shown(&self, mut reply: Reply) -> Reply {
        for secret in &self.secrets {
            reply.lines.iter_mut().for_each(|line| *line = secret.masked_in_answer(line));
        }
        // A challenge: with the salt and the signature of SCRAM anybody could try passwords at home.
        let is_challenge = reply.code == 334;
        for line in &reply.lines {
            let text = if is_challenge { "****".to_owned() } else { printable(line) };
            self.show(|| format!("S: {} {text}", reply.code));
        }
        reply
    }

    /// True when nothing has come that nobody asked for.
    pub(super) fn is_in_step(&self) -> bool {
        self.came.is_empty()
    }

    /// The refusal of a command for everything that would follow.
    pub(super) fn refused(&self, what: &str, reply: &Reply) -> Cause {
        Cause::Refused { what: what.to_owned(), said: said(reply), code: reply.code }
    }

    fn show(&self, line: impl FnOnce() -> String) {
        if let Some(wire) = &self.wire {
            let line = self.secrets.iter().fold(line(), |line, secret| secret.masked_in(&line));
            wire(&format!("{} {line}", self.label));
        }
    }
}

/// Code and text of a reply, fit to be shown.
pub(super) fn said(reply: &Reply) -> String {
    printable_within(&reply.said(), SHOWN)
}

fn nonsense(problem: Problem) -> &'static str {
    match problem {
        Problem::LongLine => "a line of a reply is too long",
        Problem::ManyLines => "a reply has too many lines",
        Problem::NoCode => "a reply does not begin with a code",
        Problem::OtherCode => "the lines of a reply have different codes",
    }
}
