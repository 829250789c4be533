//! A request and its answer over one connection, shown with `-vv` without secrets.
//!
//! One request at a time: the answers to requests that are sent ahead could not be told apart (RFC 9112 §9.3.2 advises
//! against that for POST, too). `Expect: 100-continue` is not asked for: it costs each message a round trip, and a server
//! that refuses early is heard between two pieces of a message all the same.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{self, End, Head, Problem};
use super::body::Form;
use crate::account::Password;
use crate::deliver::Wire;
use crate::net::{self, Stream, Wait};
use crate::pop3::Credentials;
use crate::relay::error::Cause;
use crate::relay::stage::Waiting;
use crate::text::printable;

/// What is queued goes out when it is more than this.
const FULL: usize = 128 << 10;

/// Servers end an idle connection after this long or longer (Gunicorn: 2 s; Apache, Node: 5 s); a request that meets the
/// end on its way has to be sent again, and may come twice.
const IDLE: Duration = Duration::from_secs(1);

/// A final answer comes after at most so many others.
const INTERIM: usize = 16;

/// How much of a body is shown.
const SHOWN: usize = 500;

/// What is shown of the dialogue, and what is not.
pub(super) struct Sight {
    pub(super) wire: Option<Wire>,
    /// What begins the lines.
    pub(super) label: String,
    /// What nobody may see, whatever the server says.
    pub(super) secrets: Vec<Password>,
}

impl Sight {
    fn show(&self, line: impl FnOnce() -> String) {
        if let Some(wire) = &self.wire {
            wire(&format!("{} {}", self.label, line()));
        }
    }

    /// Octets of the server without secrets.
    pub(super) fn masked(&self, octets: &[u8]) -> Vec<u8> {
        self.secrets.iter().fold(octets.to_vec(), |octets, secret| secret.masked_in_octets(&octets))
    }

    fn show_answer(&self, head: &Head) {
        let version_and_status = format!("HTTP {} {}", head.status, head.reason);
        self.show(|| format!("S: {}", printable(&self.masked(version_and_status.as_bytes()))));
        for (name, value) in &head.fields {
            self.show(|| format!("S: {name}: {}", printable(&self.masked(value))));
        }
    }
}

/// What the requests of a run have in common.
pub(super) struct Request {
    /// Request line and fields, each with its CRLF.
    pub(super) head: Password,
    /// The same as it is shown.
    pub(super) shown: Vec<String>,
    pub(super) form: Form,
    pub(super) sight: Sight,
    /// What it logs in with.
    pub(super) credentials: Option<Credentials>,
}

/// How far a request came.
pub(super) enum Sent {
    /// The server has all of it.
    Whole,
    /// The server has answered, or ended the connection, before that.
    Cut(Option<Cause>),
}

/// A final answer.
pub(super) struct Answer {
    pub(super) head: Head,
    /// The beginning of the body, where it is text for people.
    pub(super) words: Vec<u8>,
}

/// A connection, and what came over it and was not read.
pub(super) struct Connection {
    stream: Stream,
    came: Vec<u8>,
    used: Instant,
    request: Arc<Request>,
    is_reusable: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.request.sight.label)
    }
}

impl Connection {
    pub(super) fn new(mut stream: Stream, request: Arc<Request>) -> Self {
        stream.acknowledge_at_once();
        Connection { stream, came: vec![], used: Instant::now(), request, is_reusable: true }
    }

    /// True when a request may be sent over it. What nobody asked for is none's answer.
    pub(super) fn is_ready(&mut self) -> Result<bool, Cause> {
        if !self.is_reusable || self.used.elapsed() > IDLE {
            return Ok(false);
        }
        if self.came.is_empty() && !self.has_more()? {
            return Ok(true);
        }
        // RFC 9110 §15.5.9: the server ends an idle connection, and says so.
        let is_farewell =
            self.came.is_empty() || matches!(answer::head(&self.came), Ok(Some((head, _))) if head.status == 408);
        if is_farewell { Ok(false) } else { Err(Cause::Nonsense("it answers more than it was asked")) }
    }

    /// True when something came, or the connection has ended.
    fn has_more(&mut self) -> Result<bool, Cause> {
        let mut chunk = [0; 4096];
        match self.stream.read_ready(&mut chunk) {
            Ok(None) => Ok(false),
            Ok(Some(octets)) => {
                self.came.extend_from_slice(&chunk[..octets]);
                Ok(true)
            }
            Err(error) => match Cause::from(error) {
                cause @ Cause::Line(net::Error::Stopped(_)) => Err(cause),
                _ => Ok(true),
            },
        }
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &Waiting) -> Result<Sent, Cause> {
        let request = self.request.clone();
        let (form, sight) = (&request.form, &request.sight);
        request.shown.iter().for_each(|line| sight.show(|| format!("C: {line}")));
        let own = [
            format!("Content-Type: {}", form.content_type),
            format!("Content-Length: {}", form.octets(message.octets())),
            format!("Idempotency-Key: \"{}\"", message.id.as_deref().unwrap_or_default()),
        ];
        own.iter().for_each(|line| sight.show(|| format!("C: {line}")));
        let mut queue = [request.head.reveal(), &own.join("\r\n"), "\r\n\r\n"].concat().into_bytes();
        let mut encoder = form.begin(&mut queue);
        let (mut stopped, mut is_first) = (None, true);
        message.read(|piece| {
            if stopped.is_none() {
                encoder.push(piece, &mut queue);
                if queue.len() >= FULL {
                    stopped = self.flush(&mut queue, std::mem::take(&mut is_first))?;
                }
            }
            Ok(())
        })?;
        if stopped.is_none() {
            encoder.finish(&mut queue);
            stopped = self.flush(&mut queue, is_first)?;
        }
        sight.show(|| format!("C: ({} octets of message text)", message.octets()));
        // To the server, what would follow is the rest of the message.
        self.is_reusable &= stopped.is_none();
        Ok(stopped.unwrap_or(Sent::Whole))
    }

    /// Sends what is queued. An answer that comes before the last piece tells that the rest is in vain.
    fn flush(&mut self, queue: &mut Vec<u8>, is_first: bool) -> Result<Option<Sent>, Cause> {
        if !is_first && self.has_more()? {
            return Ok(Some(Sent::Cut(None)));
        }
        for piece in queue.chunks(FULL) {
            // Each piece has its own time: a message may be large and the line slow.
            self.stream.expect(Wait::Reply);
            if let Err(error) = self.stream.write_all(piece) {
                return match Cause::from(error) {
                    cause @ Cause::Line(net::Error::Stopped(_)) => Err(cause),
                    cause => Ok(Some(Sent::Cut(Some(cause)))),
                };
            }
        }
        queue.clear();
        Ok(None)
    }

    /// Sends a request without a body.
    pub(super) fn ask(&mut self) -> Result<Answer, Cause> {
        let request = self.request.clone();
        request.shown.iter().for_each(|line| request.sight.show(|| format!("C: {line}")));
        self.stream.expect(Wait::Reply);
        self.stream.write_all(request.head.reveal().as_bytes())?;
        self.stream.write_all(b"\r\n")?;
        self.answer(Wait::Reply)
    }

    /// Waits for the answer. When the run is to stop, a moment longer: without it the message would come twice.
    pub(super) fn answer(&mut self, wait: Wait) -> Result<Answer, Cause> {
        self.stream.expect(wait);
        let head = match self.head(true) {
            Err(Cause::Line(net::Error::Stopped(stopped))) => {
                self.stream.outlast_stop()?;
                self.head(true).map_err(|_| Cause::stopped(stopped))?
            }
            head => head?,
        };
        Ok(self.answer_with(head))
    }

    /// The answer that has come already, after a wish to stop.
    pub(super) fn answer_there(&mut self) -> Option<Answer> {
        self.stream.outlast_stop().ok()?;
        let head = self.head(false).ok()?;
        Some(self.answer_with(head))
    }

    fn head(&mut self, waits: bool) -> Result<Head, Cause> {
        for _ in 0..INTERIM {
            let head = loop {
                if let Some((head, length)) =
                    answer::head(&self.came).map_err(|problem| Cause::Nonsense(nonsense(problem)))?
                {
                    self.came.drain(..length);
                    break head;
                }
                self.read(waits)?;
            };
            self.request.sight.show_answer(&head);
            match head.status {
                101 => return Err(Cause::Nonsense("it speaks another protocol from now on")),
                100..200 => {}
                _ => return Ok(head),
            }
        }
        Err(Cause::Nonsense("it answers and answers, and never at last"))
    }

    fn read(&mut self, waits: bool) -> Result<(), Cause> {
        let mut chunk = [0; 4096];
        let octets =
            if waits { self.stream.read(&mut chunk)? } else { self.stream.read_ready(&mut chunk)?.unwrap_or(0) };
        self.came.extend_from_slice(&chunk[..octets]);
        if octets == 0 { Err(Cause::Closed) } else { Ok(()) }
    }

    /// The head has told what became of the message; what is wrong with the body costs the connection alone.
    fn answer_with(&mut self, head: Head) -> Answer {
        self.stream.expect(Wait::Reply);
        let end = head.end();
        self.is_reusable &= head.keeps_connection();
        let body = loop {
            match answer::body(&self.came, end) {
                Ok(Some((body, length))) => {
                    self.came.drain(..length);
                    break body;
                }
                Ok(None) if self.read(true).is_ok() => {}
                _ => {
                    self.is_reusable = false;
                    let body = std::mem::take(&mut self.came);
                    break if end == End::Chunked { vec![] } else { body };
                }
            }
        };
        self.used = Instant::now();
        let sight = &self.request.sight;
        let body = sight.masked(&body);
        if !body.is_empty() {
            sight.show(|| format!("S: {}", printable(&body[..body.len().min(SHOWN)])));
        }
        Answer { words: if is_text(&head) { body } else { vec![] }, head }
    }
}

/// A page of HTML tells nobody anything in a line.
fn is_text(head: &Head) -> bool {
    let kind = head.field("content-type").unwrap_or_default();
    [&b"text/plain"[..], b"application/json", b"application/problem+json"]
        .iter()
        .any(|text| kind.get(..text.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(text)))
}

fn nonsense(problem: Problem) -> &'static str {
    match problem {
        Problem::NoHttp => "what it says is not HTTP/1.1",
        Problem::LongHead => "the head of an answer is too long",
        Problem::Status => "an answer has a status that is none",
        Problem::LongBody | Problem::NoChunk => "an answer does not end",
    }
}
