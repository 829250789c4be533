//! The session's line: a network stream that hears what is awaited, and shows the wire with `-vv`.

use std::io::{self, Read, Write};

use super::Observer;
use crate::account::Password;
use crate::net::{Agreed, Stream, Wait};
use crate::pop3::{Expected, Trace, Transport};
use crate::text::printable;

/// A stream under a session.
pub struct Line<'l> {
    stream: Stream,
    trace: Option<Tracer<'l>>,
}

/// Where the wire is shown, under which account's name, and what is never shown.
pub struct Tracer<'l> {
    observer: &'l dyn Observer,
    account: &'l str,
    secret: Password,
    /// What was made of the secret and sent: a refusal may repeat the command.
    responses: Vec<Password>,
    /// The last command had a secret in it.
    is_login: bool,
}

impl<'l> Tracer<'l> {
    pub fn new(observer: &'l dyn Observer, account: &'l str, secret: Password) -> Self {
        Tracer { observer, account, secret, responses: vec![], is_login: false }
    }

    fn note(&mut self, trace: &Trace<'_>) {
        if let Trace::Sent(command) = trace {
            self.is_login = command.secret().is_some();
            self.responses.extend(command.secret().map(Password::new));
        }
    }
}

impl<'l> Line<'l> {
    pub(super) fn new(stream: Stream, trace: Option<Tracer<'l>>) -> Self {
        Line { stream, trace }
    }

    /// What client and server have agreed upon, under TLS.
    pub fn agreed(&self) -> Option<Agreed> {
        self.stream.agreed()
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }
}

impl Read for Line<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Line<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Transport for Line<'_> {
    fn expect(&mut self, expected: Expected) {
        self.stream.expect(match expected {
            Expected::Greeting => Wait::Greeting,
            Expected::Reply => Wait::Reply,
            Expected::Body => Wait::Body,
            Expected::End => Wait::End,
        });
    }

    fn lock_step(&mut self) {
        self.stream.acknowledge_at_once();
    }

    fn trace(&mut self, trace: Trace<'_>) {
        let Some(tracer) = &mut self.trace else { return };
        tracer.note(&trace);
        let Tracer { observer, account, secret, responses, is_login } = tracer;
        let mask = if *is_login { Password::masked_in_answer } else { Password::masked_in_octets };
        let line = match trace {
            Trace::Sent(command) => format!("{account}: C: {}", printable(command.to_string().as_bytes())),
            // A challenge: with the salt and the signature of SCRAM anybody could try passwords at home.
            Trace::Received([b'+', b' ', _, ..]) => format!("{account}: S: + ****"),
            Trace::Received(line) => {
                let secrets = responses.iter().chain([&*secret]);
                let line = secrets.fold(line.to_vec(), |line, secret| mask(secret, &line));
                format!("{account}: S: {}", printable(&line))
            }
            Trace::Message(octets) => format!("{account}: S: ({octets} octets of message text) ."),
        };
        observer.wire(&secret.masked_in(&line));
    }

    fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    fn server_end_point(&self) -> Option<Vec<u8>> {
        self.stream.server_end_point()
    }
}
