//! TOP (RFC 1939 §7): header sections without the messages below them.

use super::command::{Awaited, Command};
use super::connection::{Connection, Expected, Trace, Transport};
use super::error::Error;
use super::transaction::Transaction;
use super::unstuff::Unstuffer;
use super::window::Window;
use crate::maildrop::MessageNumber;
use crate::text;

/// Header sections seldom pass 64 KiB. A server that ignores how many lines are wanted sends the whole message: up to
/// this much of it is read and thrown away.
const LONGEST: u64 = 1 << 20;

/// What comes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head<'a> {
    /// Octets of its header section, dot-stuffing undone and with LF line ends. A piece may end anywhere.
    Octets(&'a [u8]),
    /// It has no more.
    End,
    /// The server refused TOP for it, or has none.
    Refused,
}

impl<T: Transport> Transaction<T> {
    /// Asks for the header sections of messages, without a pause where the server takes it. `take` gets the position of a
    /// message in `numbers` with each piece. Returns true when the server has TOP. What came is another message's where
    /// this ends with an error: the reply to a NOOP behind them shows whether there was one reply too many.
    pub fn heads(&mut self, numbers: &[MessageNumber], mut take: impl FnMut(usize, Head<'_>)) -> Result<bool, Error> {
        let mut has_top = self.capabilities().top;
        if self.capabilities().are_announced && !has_top {
            (0..numbers.len()).for_each(|position| take(position, Head::Refused));
            return Ok(false);
        }
        let pipelining = self.capabilities().pipelining;
        let (connection, mut sent, mut noop_is_sent) = (&mut self.connection, 0, false);
        for (position, number) in numbers.iter().enumerate() {
            // A server that does not know CAPA may have it. One answer tells.
            let window = if has_top && pipelining { Window::default().messages } else { 1 };
            if sent - position <= window / 2 {
                let end = numbers.len().min(position + window);
                numbers[sent..end].iter().for_each(|number| connection.queue(Command::Top(*number)));
                sent = end;
                if pipelining && has_top && sent == numbers.len() && !noop_is_sent {
                    connection.queue(Command::Noop);
                    noop_is_sent = true;
                }
            }
            let verb = Command::Top(*number).verb();
            connection.flush(Awaited::Reply(verb))?;
            if connection.reply(verb)?.is_err() {
                if !has_top {
                    (position..numbers.len()).for_each(|position| take(position, Head::Refused));
                    return Ok(false);
                }
                take(position, Head::Refused);
                continue;
            }
            has_top = true;
            head(connection, Awaited::Lines(verb), |octets| take(position, Head::Octets(octets)))?;
            take(position, Head::End);
        }
        if has_top && !numbers.is_empty() {
            let verb = Command::Noop.verb();
            if !noop_is_sent {
                connection.queue(Command::Noop);
            }
            connection.flush(Awaited::Reply(verb))?;
            // It may be refused. What counts is that nothing else comes.
            let _ = connection.reply(verb)?;
            connection.expect_silence(Awaited::Reply(verb))?;
        }
        Ok(has_top)
    }
}

fn head<T: Transport>(
    connection: &mut Connection<T>,
    awaited: Awaited,
    mut take: impl FnMut(&[u8]),
) -> Result<(), Error> {
    connection.io().expect(Expected::Body);
    let mut unstuffer = Unstuffer::default();
    let mut octets = 0;
    let mut decoded = vec![];
    while !unstuffer.is_ended() {
        let used = unstuffer.feed(connection.received(awaited)?, &mut decoded);
        connection.consume(used);
        take(&decoded);
        octets += decoded.len() as u64;
        decoded.clear();
        if octets > LONGEST {
            let what = format!("more than {} of a header section", text::octets(LONGEST));
            return Err(Error::TooMuch { awaited, what });
        }
    }
    connection.io().trace(Trace::Message(octets));
    Ok(())
}
