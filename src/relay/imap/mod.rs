//! IMAP (RFC 3501, RFC 9051): a mailbox of a server takes each message by APPEND, and can be asked what it has.
//!
//! Each message goes there once, also when the line breaks, the machine stops or popfetch is killed: the intent of a message
//! says by what it will be known (`deliver::Appended`), and the next run asks before it sends anything.

mod dialogue;
mod mailbox;
mod publish;
mod recover;
pub mod response;
mod session;

use publish::Appending;

use super::{read_host, server_of, usual_tls};
use crate::account::{Address, Server, Target, Tls, TlsMode};
use crate::deliver::{Destination, Kind};

/// `imap://[USER@]HOST[:PORT]/MAILBOX`: STARTTLS, but on this machine.
pub(super) const KIND: Kind = Kind { word: "imap", read, destination };

/// `imaps://USER@HOST[:PORT]/MAILBOX`: TLS from the first octet.
pub(super) const SECURE: Kind = Kind { word: "imaps", read: read_secure, destination };

const FORM: &str = "`imaps://USER@HOST[:PORT]/MAILBOX` or `imap://[USER@]HOST[:PORT]/MAILBOX`, without a password";

fn destination(target: &Target) -> Box<dyn Destination> {
    Box::new(Appending { target: target.clone(), server: server_of(target) })
}

fn read(address: &str) -> Result<Address, &'static str> {
    let server = read_server(address, "imap")?;
    let tls = Tls::new(usual_tls(&server));
    Ok(Address::Server(Box::new(Server { tls, ..server })))
}

fn read_secure(address: &str) -> Result<Address, &'static str> {
    let server = read_server(address, "imaps")?;
    if server.user.is_none() {
        return Err(FORM);
    }
    Ok(Address::Server(Box::new(Server { tls: Tls::new(TlsMode::Implicit), ..server })))
}

fn read_server(address: &str, word: &str) -> Result<Server, &'static str> {
    let text = address.strip_prefix("//").ok_or(FORM)?;
    let (authority, mailbox) = text.split_once('/').unwrap_or((text, ""));
    let mailbox = mailbox::read(mailbox).ok_or(FORM)?;
    Ok(Server { mailbox, ..read_host(authority, Target::usual_port(word), FORM)? })
}

/// A quoted string (RFC 3501 §4.3) of printable ASCII.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
