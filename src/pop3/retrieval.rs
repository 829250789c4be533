//! RETR in a sliding window, and the text of each message as it arrives.
//!
//! With PIPELINING, commands are refilled in one write whenever half of the window is used up; without, the same
//! code runs with a window of one.
//!
//! A message is whole only when the reply behind it is in step: a server that forgets to stuff a dot ends a message
//! early (Twisted where it is octet 16,384 of the message, pop3-n3 every one), and its rest then stands in the
//! place of a status line. Behind the last message that reply is the one to NOOP or QUIT, sent in the same flight.

use std::io::{self, Write};

use super::command::{Awaited, Command, Verb};
use super::connection::{Expected, Trace, Transport};
use super::error::Error;
use super::listing;
use super::transaction::{Refusal, Transaction};
use super::unstuff::Unstuffer;
use super::window::Window;
use crate::maildrop::MessageNumber;

/// A message to retrieve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its number.
    pub number: MessageNumber,
    /// Its announced size, 0 when unknown: for the window only.
    pub octets: u64,
}

/// Messages on their way, in the order asked for.
pub struct Retrieval<'s, T> {
    transaction: &'s mut Transaction<T>,
    wanted: &'s [Wanted],
    window: Window,
    asked: usize,
    answered: usize,
    octets_in_flight: u64,
    quit_follows: bool,
    /// A message has come, and the reply behind it not yet.
    is_unconfirmed: bool,
    noop_is_sent: bool,
    is_out_of_step: bool,
    /// The last message that came.
    last: Option<MessageNumber>,
    decoded: Vec<u8>,
}

/// What the server answers to one RETR.
pub enum Incoming<'r, T> {
    /// The message comes now.
    Message(Body<'r, T>),
    /// The server refused this one; the others still come.
    Refused(Refusal),
}

impl<T: Transport> Transaction<T> {
    /// Retrieves messages in the order given, with as many RETR in flight as `window` and the server allow.
    pub fn retrieve<'s>(&'s mut self, wanted: &'s [Wanted], window: Window) -> Retrieval<'s, T> {
        let window = if self.capabilities().pipelining { window } else { Window::LOCK_STEP };
        Retrieval::new(self, wanted, window)
    }
}

impl<'s, T: Transport> Retrieval<'s, T> {
    fn new(transaction: &'s mut Transaction<T>, wanted: &'s [Wanted], window: Window) -> Self {
        Retrieval {
            transaction,
            wanted,
            window,
            asked: 0,
            answered: 0,
            octets_in_flight: 0,
            quit_follows: false,
            is_unconfirmed: false,
            noop_is_sent: false,
            is_out_of_step: false,
            last: None,
            decoded: vec![],
        }
    }

    /// Sends QUIT, in place of NOOP, behind the last RETR. For sessions that delete nothing only.
    pub fn then_quit(mut self) -> Self {
        self.quit_follows = true;
        self
    }

    /// The next message, or `None` after the last. Whatever is returned but an error proves that the message before is
    /// whole. The [`Body`] before must have been copied to its end; otherwise the session is out of step and must be
    /// dropped.
    pub fn receive(&mut self) -> Result<Option<Incoming<'_, T>>, Error> {
        let Some(&Wanted { number, octets }) = self.wanted.get(self.answered) else {
            return self.confirm().map(|()| None);
        };
        let verb = Command::Retr(number).verb();
        self.refill();
        self.answered += 1;
        // Announced sizes may be absurd, and their sum was capped when it was taken.
        self.octets_in_flight = self.octets_in_flight.saturating_sub(octets);
        let refused = self.reply(verb)?;
        self.is_unconfirmed = refused.is_none();
        if let Some(text) = refused {
            return Ok(Some(Incoming::Refused(Refusal { number, text })));
        }
        self.last = Some(number);
        Ok(Some(Incoming::Message(Body { number, transaction: self.transaction, decoded: &mut self.decoded })))
    }

    /// Asks for no more than was asked for by now: what is on its way still comes.
    pub fn ask_no_more(&mut self) {
        self.wanted = &self.wanted[..self.asked];
    }

    /// True when every message that was asked for has come or was refused.
    pub fn is_answered(&self) -> bool {
        self.answered >= self.wanted.len()
    }

    /// How many of the messages that are wanted have been asked for.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// True when a command does not wait for the reply before it.
    pub fn sends_ahead(&self) -> bool {
        self.window != Window::LOCK_STEP
    }

    /// Fails when replies are left over, though there is one for each message: for sessions in which the sizes of the last
    /// messages do not tell. To be called when [`Retrieval::receive`] has returned `None`.
    ///
    /// After QUIT only the end of the connection may come. Otherwise LIST tells: its reply has the message-number.
    pub fn prove(&mut self) -> Result<(), Error> {
        let proved = self.prove_end();
        self.is_out_of_step = proved.as_ref().is_err_and(Error::is_out_of_step);
        proved
    }

    fn prove_end(&mut self) -> Result<(), Error> {
        let Some(last) = self.last else { return Ok(()) };
        let connection = &mut self.transaction.connection;
        if self.transaction.quit_is_answered {
            return connection.expect_end(Awaited::Reply(Command::Quit.verb()));
        }
        let command = Command::List(Some(last));
        let awaited = Awaited::Reply(command.verb());
        let number = match connection.command(command)? {
            Ok(text) => listing::list(text).map(|(number, _)| number),
            // Some servers have no LIST of one message.
            Err(_) => Some(last),
        };
        if number != Some(last) {
            let line = b"another reply".to_vec();
            return Err(Error::Unasked { awaited, line });
        }
        connection.expect_silence(awaited)
    }

    /// After an error: true when octets came where a status line was due. Then the message before may have been cut
    /// short. False when nothing came.
    pub fn is_out_of_step(&self) -> bool {
        self.is_out_of_step
    }

    /// Waits for the reply behind the last message, if there was one.
    fn confirm(&mut self) -> Result<(), Error> {
        let Transaction { quit_is_sent, quit_is_answered, .. } = *self.transaction;
        // QUIT may be on its way behind a message that was refused.
        if self.quit_follows && (self.is_unconfirmed || (quit_is_sent && !quit_is_answered)) {
            if !quit_is_sent {
                self.transaction.queue_quit();
            }
            self.transaction.quit_is_answered = true;
            self.is_unconfirmed = false;
            let verb = Command::Quit.verb();
            self.reply(verb)?;
            return self.expect_silence(verb);
        }
        if self.noop_is_sent || self.is_unconfirmed {
            self.queue_noop();
            self.reply(Command::Noop.verb())?;
            self.noop_is_sent = false;
            self.is_unconfirmed = false;
            return self.expect_silence(Command::Noop.verb());
        }
        Ok(())
    }

    fn expect_silence(&mut self, verb: Verb) -> Result<(), Error> {
        let silence = self.transaction.connection.expect_silence(Awaited::Reply(verb));
        self.is_out_of_step = silence.is_err();
        silence
    }

    fn queue_noop(&mut self) {
        if !self.noop_is_sent {
            self.transaction.connection.queue(Command::Noop);
            self.noop_is_sent = true;
        }
    }

    /// Waits for a status line; the server's words when it refuses.
    fn reply(&mut self, verb: Verb) -> Result<Option<Vec<u8>>, Error> {
        let connection = &mut self.transaction.connection;
        let replied = match connection.flush(Awaited::Reply(verb)) {
            Ok(()) => connection.reply(verb).map(|reply| reply.err().map(|refused| refused.text)),
            Err(error) => Err(error),
        };
        if let Err(error) = &replied {
            self.is_out_of_step = error.is_out_of_step() || connection.has_nonsense();
        }
        replied
    }

    /// Queues RETRs up to the window once half of it is used: few writes, and the server never runs dry.
    fn refill(&mut self) {
        let in_flight = self.asked - self.answered;
        let is_half_used =
            in_flight * 2 <= self.window.messages && (in_flight < 2 || self.octets_in_flight <= self.window.octets / 2);
        if !is_half_used {
            return;
        }
        while let Some(next) = self.wanted.get(self.asked) {
            let in_flight = self.asked - self.answered;
            let is_full = in_flight >= self.window.messages
                || (in_flight >= 2 && self.octets_in_flight.saturating_add(next.octets) > self.window.octets);
            if is_full {
                return;
            }
            self.transaction.connection.queue(Command::Retr(next.number));
            self.octets_in_flight = self.octets_in_flight.saturating_add(next.octets);
            self.asked += 1;
        }
        if self.window == Window::LOCK_STEP {
            return;
        }
        if !self.quit_follows {
            self.queue_noop();
        } else if !self.transaction.quit_is_sent {
            self.transaction.queue_quit();
        }
    }
}

/// The text of one message, while it arrives.
pub struct Body<'r, T> {
    number: MessageNumber,
    transaction: &'r mut Transaction<T>,
    decoded: &'r mut Vec<u8>,
}

/// How large a message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// As LIST should announce it: a line end counts as two octets, and a dot that was added does not (RFC 1939 §11).
    pub octets: u64,
    /// With line ends of one octet.
    pub at_home: u64,
}

/// Why a message did not arrive whole.
#[derive(Debug)]
pub enum CopyError {
    /// The session failed.
    Session(Error),
    /// The sink did; the rest of the message is still on the line, so the session is out of step.
    Sink(io::Error),
}

/// Decoded octets are handed on in pieces of at least this, or the whole message where it is smaller.
const PIECE: usize = 128 << 10;

impl<T: Transport> Body<'_, T> {
    /// Which message this is.
    pub fn number(&self) -> MessageNumber {
        self.number
    }

    /// Copies the message to `sink`, dot-stuffing undone and CRLF made LF. A small message is one write.
    pub fn copy_to(self, sink: &mut impl Write) -> Result<Size, CopyError> {
        let awaited = Awaited::Lines(Command::Retr(self.number).verb());
        let connection = &mut self.transaction.connection;
        connection.io().expect(Expected::Body);
        let mut unstuffer = Unstuffer::default();
        let (mut octets, mut on_the_line) = (0, 0);
        self.decoded.clear();
        while !unstuffer.is_ended() {
            // The status line may have been the reply to a later command, of which nothing else is due.
            let is_ahead = on_the_line == 0 && connection.has_in_flight();
            let failed = |error: Error| CopyError::Session(if is_ahead { error.ahead() } else { error });
            let wire = connection.received(awaited).map_err(failed)?;
            let used = unstuffer.feed(wire, self.decoded);
            connection.consume(used);
            on_the_line += used as u64;
            if self.decoded.len() >= PIECE {
                sink.write_all(self.decoded).map_err(CopyError::Sink)?;
                octets += self.decoded.len() as u64;
                self.decoded.clear();
            }
        }
        if !self.decoded.is_empty() || octets == 0 {
            sink.write_all(self.decoded).map_err(CopyError::Sink)?;
        }
        octets += self.decoded.len() as u64;
        connection.io().trace(Trace::Message(octets));
        // The final dot and its CRLF are no part of the message.
        Ok(Size { octets: on_the_line.saturating_sub(3 + unstuffer.dropped()), at_home: octets })
    }
}
