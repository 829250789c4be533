//! What the targets share: a server that has said everything already, and words to log in with.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use popfetch::account::{Auth, Password, SecretKind};
use popfetch::pop3::{Credentials, Transport};

#[path = "../../tests/proof.rs"]
mod proof;
pub use proof::committed;

/// Plays back octets in pieces of the given sizes, then ends; hears everything.
pub struct Scripted<'a> {
    rest: &'a [u8],
    piece: usize,
    /// No piece crosses the end of a line, as if the server had waited for the client: octets that are there before
    /// their command end the session.
    by_line: bool,
    /// What the client has sent.
    pub heard: Rc<RefCell<Vec<u8>>>,
}

impl<'a> Scripted<'a> {
    /// Every read gives at most `piece` octets, and at least one.
    pub fn new(octets: &'a [u8], piece: u8) -> Self {
        Scripted { rest: octets, piece: usize::from(piece).max(1), by_line: false, heard: Rc::default() }
    }

    /// Every read gives a line, or `piece` octets of it.
    pub fn by_line(octets: &'a [u8], piece: u8) -> Self {
        Scripted { by_line: true, ..Scripted::new(octets, piece) }
    }

    /// By line or not, as the piece's lowest bit says.
    pub fn either(octets: &'a [u8], piece: u8) -> Self {
        Scripted { by_line: piece % 2 == 1, ..Scripted::new(octets, piece) }
    }
}

impl Read for Scripted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.iter().position(|octet| *octet == b'\n').map_or(self.rest.len(), |end| end + 1);
        let most = if self.by_line { line } else { self.rest.len() };
        let octets = most.min(self.piece).min(buffer.len());
        let (now, later) = self.rest.split_at(octets);
        buffer[..octets].copy_from_slice(now);
        self.rest = later;
        Ok(octets)
    }
}

impl Write for Scripted<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.heard.borrow_mut().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Scripted<'_> {}

/// Somebody who logs in.
pub fn credentials(auth: Auth) -> Credentials {
    Credentials { user: "alice".into(), password: Password::new("secret"), kind: SecretKind::Password, auth }
}

/// Panics when a text could drive a terminal.
pub fn assert_printable(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// The first octet, for decisions, and the rest.
pub fn choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, rest)| (*first, rest))
}
