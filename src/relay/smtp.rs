//! SMTP (RFC 5321): a relay, or the mail server of a domain, takes each message.
//!
//! The sender is `<>`, unless somebody wants another one: so no later server sends a bounce to a stranger, and popfetch
//! makes none either.

use super::submission::{Protocol, Submission};
use super::{read_host, server_of, usual_tls};
use crate::account::{Address, Server, Target, Tls, TlsMode};
use crate::deliver::{Destination, Kind};

/// `smtp://[USER@]HOST[:PORT]`: STARTTLS, but on this machine.
pub(super) const KIND: Kind = Kind { word: "smtp", read, destination };

/// `smtps://[USER@]HOST[:PORT]`: TLS from the first octet.
pub(super) const SECURE: Kind = Kind { word: "smtps", read: read_secure, destination };

const PROTOCOL: Protocol = Protocol { word: "smtp", hello: "EHLO" };

const FORM: &str = "`smtp://[USER@]HOST[:PORT]` or `smtps://[USER@]HOST[:PORT]`, without a password";

fn destination(target: &Target) -> Box<dyn Destination> {
    Box::new(Submission { target: target.clone(), server: server_of(target), protocol: PROTOCOL })
}

fn read(address: &str) -> Result<Address, &'static str> {
    let authority = address.strip_prefix("//").ok_or(FORM)?;
    let server = read_host(authority, Target::usual_port("smtp"), FORM)?;
    let tls = Tls::new(usual_tls(&server));
    Ok(Address::Server(Box::new(Server { tls, ..server })))
}

fn read_secure(address: &str) -> Result<Address, &'static str> {
    let authority = address.strip_prefix("//").ok_or(FORM)?;
    let server = read_host(authority, Target::usual_port("smtps"), FORM)?;
    Ok(Address::Server(Box::new(Server { tls: Tls::new(TlsMode::Implicit), ..server })))
}
