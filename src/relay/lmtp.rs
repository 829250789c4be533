//! LMTP (RFC 2033): a mailbox server takes each message, or says why it does not.
//!
//! As SMTP, but for its greeting word, its sender (the message's own, for Sieve) and one reply for each recipient that was
//! accepted, of which there is one here.

use std::path::Path;

use super::submission::{Protocol, Submission};
use super::{read_host, server_of, usual_tls};
use crate::account::{Address, At, Sender, Server, Target, Tls};
use crate::deliver::Kind;

/// `lmtp:PATH` and `lmtp://HOST[:PORT]`.
pub(super) const KIND: Kind = Kind {
    word: "lmtp",
    read,
    destination: |target| {
        Box::new(Submission { target: target.clone(), server: server_of(target), protocol: PROTOCOL })
    },
};

const PROTOCOL: Protocol = Protocol { word: "lmtp", hello: "LHLO" };

const FORM: &str = "`lmtp:PATH` with the absolute path of a socket, or `lmtp://HOST[:PORT]`";

fn read(address: &str) -> Result<Address, &'static str> {
    let server = match address.strip_prefix("//") {
        Some(authority) => read_host(authority, Target::usual_port("lmtp"), FORM)?,
        None if address.starts_with(['/', '~']) => Server::at(At::Socket(Path::new(address).components().collect())),
        None => return Err(FORM),
    };
    if server.user.is_some() {
        return Err(FORM);
    }
    let tls = Tls::new(usual_tls(&server));
    Ok(Address::Server(Box::new(Server { sender: Sender::ReturnPath, tls, ..server })))
}
