//! What a server announces in its reply to CAPA (RFC 2449 §5, §6).

use super::command::{Awaited, Command};
use super::connection::{Connection, Transport};
use super::error::Error;

/// The announced capabilities that popfetch acts upon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The server knows CAPA: what it does not announce, it does not have.
    pub are_announced: bool,
    /// Several commands may be in flight (RFC 2449 §6.6).
    pub pipelining: bool,
    /// UIDL is there (RFC 2449 §6.8).
    pub uidl: bool,
    /// TOP is there (RFC 2449 §6.1).
    pub top: bool,
    /// STLS is there (RFC 2595 §4).
    pub stls: bool,
    /// USER and PASS are there (RFC 2449 §6.2).
    pub user: bool,
    /// SASL mechanisms, in upper case (RFC 5034 §3).
    pub sasl: Vec<String>,
    /// Seconds that have to pass between two logins (RFC 2449 §6.5).
    pub login_delay: Option<u32>,
    /// How long messages stay on the server at least (RFC 2449 §6.7).
    pub expire: Option<Expire>,
}

/// How long messages stay on the server at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expire {
    /// As long as nobody deletes them.
    Never,
    /// So many days; none: they may be deleted as soon as they were retrieved.
    Days(u32),
}

impl Capabilities {
    /// Asks, in either state. A server that does not know CAPA has none.
    pub(super) fn ask<T: Transport>(connection: &mut Connection<T>) -> Result<Self, Error> {
        let verb = Command::Capa.verb();
        let mut capabilities = Capabilities::default();
        if connection.command(Command::Capa)?.is_err() {
            return Ok(capabilities);
        }
        let (mut lines, limit) = (0, connection.limits.capabilities);
        capabilities.are_announced = true;
        connection.lines(verb, |line| {
            lines += 1;
            if lines > limit {
                return Err(Error::TooMuch { awaited: Awaited::Lines(verb), what: format!("more than {limit} lines") });
            }
            capabilities.note(line);
            Ok(())
        })?;
        Ok(capabilities)
    }

    /// Notes one line of the reply. Keywords are case-insensitive; unknown ones are nobody's business.
    pub fn note(&mut self, line: &[u8]) {
        let mut words = line.split(|octet| octet.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        match keyword.as_slice() {
            b"PIPELINING" => self.pipelining = true,
            b"UIDL" => self.uidl = true,
            b"TOP" => self.top = true,
            b"STLS" => self.stls = true,
            b"USER" => self.user = true,
            b"LOGIN-DELAY" => self.login_delay = words.next().and_then(number),
            b"EXPIRE" => {
                self.expire = words.next().and_then(|word| match word.eq_ignore_ascii_case(b"NEVER") {
                    true => Some(Expire::Never),
                    false => number(word).map(Expire::Days),
                });
            }
            b"SASL" => self.sasl.extend(words.filter_map(mechanism)),
            _ => {}
        }
    }

    /// True when the mechanism is announced.
    pub fn has_sasl(&self, mechanism: &str) -> bool {
        self.sasl.iter().any(|announced| announced == mechanism)
    }
}

fn number(word: &[u8]) -> Option<u32> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Mechanism names are short ASCII words (RFC 4422 §3.1); anything else is not one.
fn mechanism(word: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(word).ok()?;
    (name.is_ascii() && name.len() <= 20).then(|| name.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keywords_are_noted_in_any_case() {
        let mut capabilities = Capabilities::default();
        for line in ["uidl", "SASL PLAIN login", "Pipelining", "EXPIRE 60", "", "STLS", "USER"] {
            capabilities.note(line.as_bytes());
        }
        assert!(capabilities.uidl && capabilities.pipelining && capabilities.stls && capabilities.user);
        assert_eq!((capabilities.expire, capabilities.login_delay), (Some(Expire::Days(60)), None));
        for (line, expire, delay) in [
            ("EXPIRE never", Some(Expire::Never), None),
            ("EXPIRE 0 USER", Some(Expire::Days(0)), None),
            ("EXPIRE soon", None, None),
            ("LOGIN-DELAY 900 USER", None, Some(900)),
            ("LOGIN-DELAY -1", None, None),
        ] {
            let mut capabilities = Capabilities::default();
            capabilities.note(line.as_bytes());
            assert_eq!((capabilities.expire, capabilities.login_delay), (expire, delay), "{line}");
        }
        assert!(capabilities.has_sasl("PLAIN") && capabilities.has_sasl("LOGIN") && !capabilities.has_sasl("CRAM-MD5"));
    }
}
