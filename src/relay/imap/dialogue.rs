//! The dialogue with an IMAP server: tagged commands out, responses in, both shown with `-vv`, secrets never.
//!
//! Commands are queued and go out in one write before a response is awaited. A response belongs to the command whose tag it
//! has, so that many commands may be under way; one with a tag that no command has is an error.

use std::io::{Read as _, Write as _};

use super::response::{self, Condition, Part, Problem, Response, Status};
use crate::account::Password;
use crate::deliver::Wire;
use crate::net::{self, Stream, Wait};
use crate::relay::error::Cause;
use crate::stop::Stopped;
use crate::text::{printable, printable_within};

/// How much of a response is shown.
const SHOWN: usize = 400;

/// How much of it errors show.
const SAID: usize = 200;

/// What is queued goes out when it is more than this.
const FULL: usize = 128 * 1024;

/// Takes the octets of a message that is fetched, and how many there are in all.
pub(super) type Sink<'s> = &'s mut dyn FnMut(&[u8], u64);

/// A connection, and what is on its way over it.
pub(super) struct Dialogue {
    stream: Stream,
    /// What came, and was not read.
    came: Vec<u8>,
    queue: Vec<u8>,
    /// The number of the last command.
    last: u32,
    /// Commands without an end so far.
    open: Vec<String>,
    wire: Option<Wire>,
    /// What begins the lines that are shown.
    label: String,
    /// What nobody may see, whatever the server says.
    secrets: Vec<Password>,
    /// A challenge comes: with the salt and the signature of SCRAM anybody could try passwords at home.
    hides_challenges: bool,
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
        stream.acknowledge_at_once();
        let (came, queue, open, secrets) = Default::default();
        Dialogue { stream, came, queue, last: 0, open, wire, label, secrets, hides_challenges: false, stopped: None }
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

    pub(super) fn hide_challenges(&mut self, hides: bool) {
        self.hides_challenges = hides;
    }

    /// Queues a command, and gives its tag.
    pub(super) fn command(&mut self, command: &str) -> String {
        self.secret_command(command, command.len())
    }

    /// Queues a command that is a secret from octet `shown` on.
    pub(super) fn secret_command(&mut self, command: &str, shown: usize) -> String {
        self.last += 1;
        let tag = format!("P{}", self.last);
        self.show(|| {
            let hidden = if shown < command.len() { "****" } else { "" };
            format!("C: {tag} {}{hidden}", printable(&command.as_bytes()[..shown]))
        });
        self.queue.extend_from_slice(format!("{tag} {command}\r\n").as_bytes());
        self.open.push(tag.clone());
        tag
    }

    /// Queues a line that continues a command, and is a secret.
    pub(super) fn secret_line(&mut self, line: &[u8]) {
        self.show(|| "C: ****".to_owned());
        self.queue.extend_from_slice(line);
        self.queue.extend_from_slice(b"\r\n");
    }

    /// Sends octets of a message behind what is queued.
    pub(super) fn send(&mut self, octets: &[u8]) -> Result<(), Cause> {
        if let Some(stopped) = self.stopped {
            return Err(Cause::stopped(stopped));
        }
        self.queue.extend_from_slice(octets);
        if self.queue.len() >= FULL { self.flush() } else { Ok(()) }
    }

    /// Shows that a message was sent.
    pub(super) fn sent(&self, octets: u64) {
        self.show(|| format!("C: ({octets} octets of message text)"));
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) -> Result<(), Cause> {
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
        loop {
            match self.next(&mut |_, _| {}) {
                Err(farewell @ Cause::Refused { .. }) => return farewell,
                Err(_) => return cause,
                Ok(_) => {}
            }
        }
    }

    /// Sends what is queued, and waits for a response. A farewell is an error.
    pub(super) fn response(&mut self, wait: Wait) -> Result<Response, Cause> {
        self.response_into(wait, &mut |_, _| {})
    }

    /// The same, and hands over the octets of a message in it.
    ///
    /// When the run is to stop, the answer to a message is waited for a moment longer: without it the next run has to ask.
    pub(super) fn response_into(&mut self, wait: Wait, sink: Sink<'_>) -> Result<Response, Cause> {
        match (self.stopped, wait) {
            (Some(stopped), Wait::Taken) => return self.next(sink).map_err(|_| Cause::stopped(stopped)),
            (Some(stopped), _) => return Err(Cause::stopped(stopped)),
            (None, _) => {}
        }
        self.flush()?;
        self.stream.expect(wait);
        match self.next(sink) {
            Err(Cause::Line(net::Error::Stopped(stopped))) if wait == Wait::Taken => {
                self.stopped = Some(stopped);
                self.stream.outlast_stop()?;
                self.next(sink).map_err(|_| Cause::stopped(stopped))
            }
            response => response,
        }
    }

    /// Reads responses to the end of this command, and hands over what comes before it.
    pub(super) fn end_of(&mut self, tag: &str, wait: Wait, mut take: impl FnMut(Response)) -> Result<Condition, Cause> {
        loop {
            match self.response(wait)? {
                Response::Tagged { tag: of, condition } if of == tag => return Ok(condition),
                Response::Tagged { .. } => {
                    return Err(Cause::Nonsense("it ends another command than the one that is due"));
                }
                Response::Continuation(_) => return Err(unasked()),
                other => take(other),
            }
        }
    }

    fn next(&mut self, sink: Sink<'_>) -> Result<Response, Cause> {
        let mut response = self.read(response::read)?;
        while let Response::Literal { fetch, part, octets } = response {
            let is_body = part == Part::Body;
            self.take_literal(octets, |piece| {
                if is_body {
                    sink(piece, octets);
                }
            })?;
            response = self.read(|came| response::read_rest(came, &fetch))?;
        }
        match &response {
            Response::Tagged { tag, .. } => {
                let at = self.open.iter().position(|open| open == tag);
                self.open.remove(at.ok_or(Cause::Nonsense("it ends a command that it was not given"))?);
            }
            Response::Fetch(fetch) => {
                if let Some(body) = &fetch.body {
                    sink(body, body.len() as u64);
                }
            }
            Response::Condition(condition) if condition.status == Status::Bye => {
                return Err(self.refused("to go on", condition, true));
            }
            _ => {}
        }
        Ok(response)
    }

    fn read(&mut self, read: impl Fn(&[u8]) -> Result<Option<(Response, usize)>, Problem>) -> Result<Response, Cause> {
        loop {
            if let Some((response, length)) = read(&self.came).map_err(|problem| Cause::Nonsense(nonsense(problem)))? {
                let line: Vec<u8> = self.came.drain(..length).collect();
                let is_challenge = self.hides_challenges && matches!(response, Response::Continuation(_));
                self.show(|| match is_challenge {
                    true => "S: + ****".to_owned(),
                    false => format!("S: {}", self.shown(line.trim_ascii_end(), SHOWN)),
                });
                return Ok(response);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Cause> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk)? {
            0 => Err(Cause::Closed),
            octets => {
                self.came.extend_from_slice(&chunk[..octets]);
                Ok(())
            }
        }
    }

    fn take_literal(&mut self, octets: u64, mut take: impl FnMut(&[u8])) -> Result<(), Cause> {
        let mut left = octets;
        self.stream.expect(Wait::Body);
        loop {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.came.len());
            take(&self.came[..length]);
            self.came.drain(..length);
            left -= length as u64;
            if left == 0 {
                self.stream.expect(Wait::Reply);
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// The refusal of a command for everything that would follow.
    pub(super) fn refused(&self, what: &str, condition: &Condition, is_temporary: bool) -> Cause {
        // The codes of SMTP for the same.
        let code = if is_temporary { 450 } else { 550 };
        Cause::Refused { what: what.to_owned(), said: self.said(condition), code }
    }

    /// What a condition says, fit to be shown.
    pub(super) fn said(&self, condition: &Condition) -> String {
        let word = match condition.status {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
            Status::Bye => "BYE",
            Status::Preauth => "PREAUTH",
        };
        self.shown(&[word.as_bytes(), b" ", &condition.text].concat(), SAID)
    }

    fn shown(&self, octets: &[u8], limit: usize) -> String {
        let mut octets = octets.to_vec();
        for secret in &self.secrets {
            octets = secret.masked_in_answer(&octets);
        }
        printable_within(&octets, limit)
    }

    fn show(&self, line: impl FnOnce() -> String) {
        if let Some(wire) = &self.wire {
            let line = self.secrets.iter().fold(line(), |line, secret| secret.masked_in(&line));
            wire(&format!("{} {line}", self.label));
        }
    }
}

/// A server that asks for what it is not to get.
pub(super) fn unasked() -> Cause {
    Cause::Nonsense("it asks for more of a command that is complete")
}

fn nonsense(problem: Problem) -> &'static str {
    match problem {
        Problem::LongLine => "a line of a response is too long",
        Problem::LongLiteral => "a literal is too long",
        Problem::LongResponse => "a response is too long",
        Problem::LargeSet => "a set of UIDs is too large",
        Problem::NoResponse => "a line is no response",
        Problem::Malformed => "a response makes no sense",
    }
}
