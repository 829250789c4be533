//! The commands that popfetch sends, as octets for the wire and as text for people.
//!
//! The two differ: what carries a secret is masked in every text.

use std::fmt;

use crate::account::Password;
use crate::maildrop::MessageNumber;

/// A command with its arguments.
#[derive(Clone, Copy)]
pub enum Command<'a> {
    /// CAPA (RFC 2449 §5).
    Capa,
    /// STLS (RFC 2595 §4).
    Stls,
    /// USER (RFC 1939 §7).
    User(&'a str),
    /// PASS (RFC 1939 §7).
    Pass(&'a Password),
    /// APOP with the user and the digest (RFC 1939 §7).
    Apop(&'a str, &'a str),
    /// AUTH with a mechanism and its initial response in base64, where one is sent (RFC 5034 §4).
    Auth(&'static str, Option<&'a str>),
    /// A line of a SASL exchange, in base64.
    Continuation(&'a str),
    /// `*`: the client gives a SASL exchange up (RFC 5034 §4).
    Cancel,
    /// STAT.
    Stat,
    /// LIST, of everything or of one message.
    List(Option<MessageNumber>),
    /// UIDL of everything (RFC 1939 §7).
    Uidl,
    /// TOP, of the header section only (RFC 1939 §7).
    Top(MessageNumber),
    /// RETR.
    Retr(MessageNumber),
    /// DELE.
    Dele(MessageNumber),
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
}

impl Command<'_> {
    /// Appends the command with its CRLF.
    pub fn encode(&self, wire: &mut Vec<u8>) {
        match self {
            Command::User(user) => push(wire, &["USER ", user]),
            Command::Pass(password) => push(wire, &["PASS ", password.reveal()]),
            Command::Apop(user, digest) => push(wire, &["APOP ", user, " ", digest]),
            Command::Auth(mechanism, None) => push(wire, &["AUTH ", mechanism]),
            Command::Auth(mechanism, Some(response)) => push(wire, &["AUTH ", mechanism, " ", response]),
            Command::Continuation(response) => push(wire, &[response]),
            Command::Cancel => push(wire, &["*"]),
            Command::Top(number) => push(wire, &["TOP ", &number.to_string(), " 0"]),
            plain => push_verb(wire, plain.verb()),
        }
        wire.extend_from_slice(b"\r\n");
    }

    /// What it carries that a server must not make us show.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Command::Pass(password) => Some(password.reveal()),
            Command::Apop(_, secret) | Command::Auth(_, Some(secret)) | Command::Continuation(secret) => Some(secret),
            _ => None,
        }
    }

    /// What the reply to this command is called in errors.
    pub fn verb(&self) -> Verb {
        let (word, number) = match *self {
            Command::Capa => ("CAPA", None),
            Command::Stls => ("STLS", None),
            Command::User(_) => ("USER", None),
            Command::Pass(_) => ("PASS", None),
            Command::Apop(..) => ("APOP", None),
            Command::Auth(..) | Command::Continuation(_) | Command::Cancel => ("AUTH", None),
            Command::Stat => ("STAT", None),
            Command::List(number) => ("LIST", number),
            Command::Uidl => ("UIDL", None),
            Command::Top(number) => ("TOP", Some(number)),
            Command::Retr(number) => ("RETR", Some(number)),
            Command::Dele(number) => ("DELE", Some(number)),
            Command::Noop => ("NOOP", None),
            Command::Quit => ("QUIT", None),
        };
        Verb { word, number }
    }
}

/// For traces: secrets are masked.
impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::User(user) => write!(f, "USER {user}"),
            Command::Pass(_) => f.write_str("PASS ****"),
            Command::Apop(user, _) => write!(f, "APOP {user} ****"),
            Command::Auth(mechanism, None) => write!(f, "AUTH {mechanism}"),
            Command::Auth(mechanism, Some(_)) => write!(f, "AUTH {mechanism} ****"),
            Command::Continuation(_) => f.write_str("****"),
            Command::Cancel => f.write_str("*"),
            plain => plain.verb().fmt(f),
        }
    }
}

impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A command without what it carries: `RETR 17`, `PASS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verb {
    word: &'static str,
    number: Option<MessageNumber>,
}

impl Verb {
    /// The command alone.
    pub fn word(&self) -> &'static str {
        self.word
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)?;
        self.number.map_or(Ok(()), |number| write!(f, " {number}"))
    }
}

fn push(wire: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        wire.extend_from_slice(part.as_bytes());
    }
}

/// Hot: one a message. Digits are written without the formatting machinery.
fn push_verb(wire: &mut Vec<u8>, verb: Verb) {
    wire.extend_from_slice(verb.word.as_bytes());
    let Some(MessageNumber(mut rest)) = verb.number else { return };
    let mut digits = [0; 10];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    wire.push(b' ');
    wire.extend_from_slice(&digits[first..]);
}

/// For errors: which part of which reply is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The greeting.
    Greeting,
    /// The status line of the reply to a command.
    Reply(Verb),
    /// A line, or the end, of a multi-line reply.
    Lines(Verb),
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Awaited::Greeting => f.write_str("the greeting"),
            Awaited::Reply(verb) => write!(f, "the reply to {verb}"),
            Awaited::Lines(verb) => write!(f, "the rest of the reply to {verb}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(command: Command<'_>) -> String {
        let mut wire = vec![];
        command.encode(&mut wire);
        String::from_utf8(wire).unwrap()
    }

    #[test]
    fn commands_end_in_crlf_and_carry_their_arguments() {
        assert_eq!(wire(Command::Retr(MessageNumber(4_294_967_295))), "RETR 4294967295\r\n");
        assert_eq!(wire(Command::Dele(MessageNumber(10))), "DELE 10\r\n");
        assert_eq!(wire(Command::List(None)), "LIST\r\n");
        assert_eq!(wire(Command::Pass(&Password::new("s e"))), "PASS s e\r\n");
        assert_eq!(wire(Command::Auth("PLAIN", Some("AGE="))), "AUTH PLAIN AGE=\r\n");
    }

    #[test]
    fn secrets_are_masked_in_text() {
        let secret = Password::new("canary");
        for command in [
            Command::Pass(&secret),
            Command::Auth("PLAIN", Some("canary")),
            Command::Continuation("canary"),
            Command::Apop("u", "canary"),
        ] {
            assert!(!format!("{command} {command:?} {}", command.verb()).contains("canary"));
        }
    }
}
