//! Through a proxy: SOCKS5 (RFC 1928, RFC 1929) and HTTP's CONNECT (RFC 9110 §9.3.6).
//!
//! The proxy gets the name of the server, not its address, and resolves it. No more is read than the proxy's own
//! answer, because the greeting of the server may stand right behind it. Our own code, because each is two small
//! messages and needs this room's deadlines, which no crate for sockets keeps.

use super::error::{Error, ProxyFailure};
use super::{Deadline, Socket};
use crate::account::{Password, Proxy, ProxyKind};
use crate::text;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::io::{Read, Write};
use std::net::IpAddr;
use zeroize::Zeroizing;

/// More than any proxy says before the tunnel is there; what is longer is no answer to CONNECT.
const LONGEST_HEAD: usize = 16 << 10;

/// Asks the proxy behind the socket for a connection to the server.
pub(super) fn connect(mut socket: Socket, proxy: &Proxy, host: &str, port: u16) -> Result<Socket, Error> {
    socket.expect(Deadline::Proxy);
    let outcome = match proxy.kind {
        ProxyKind::Socks5 => socks5(&mut socket, proxy, host, port),
        ProxyKind::Http => http(&mut socket, proxy, host, port),
    };
    match outcome {
        Ok(()) => Ok(socket),
        Err(Failure::Line(error @ Error::Stopped(_))) => Err(error),
        Err(Failure::Line(error)) => Err(failed(proxy, ProxyFailure::Line(Box::new(error)))),
        Err(Failure::Proxy(failure)) => Err(failed(proxy, failure)),
    }
}

/// The proxy's failure, under its name.
pub(super) fn failed(proxy: &Proxy, failure: ProxyFailure) -> Error {
    Error::Proxy { proxy: proxy.to_string(), failure }
}

/// The line broke, or the proxy said no.
enum Failure {
    Line(Error),
    Proxy(ProxyFailure),
}

impl From<ProxyFailure> for Failure {
    fn from(failure: ProxyFailure) -> Self {
        Failure::Proxy(failure)
    }
}

const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;

fn socks5(socket: &mut Socket, proxy: &Proxy, host: &str, port: u16) -> Result<(), Failure> {
    match proxy.login {
        Some(_) => send(socket, &[5, 2, NO_AUTHENTICATION, USER_AND_PASSWORD])?,
        None => send(socket, &[5, 1, NO_AUTHENTICATION])?,
    }
    match (receive(socket)?, &proxy.login) {
        ([5, NO_AUTHENTICATION], _) => {}
        ([5, USER_AND_PASSWORD], Some((user, password))) => {
            let [user, password] = [user.as_bytes(), password.reveal().as_bytes()];
            // The configuration allows no more than 255 octets.
            let login = [&[1, user.len() as u8], user, &[password.len() as u8], password].concat();
            send(socket, &login)?;
            let [_, status] = receive(socket)?;
            if status != 0 {
                return Err(ProxyFailure::Credentials { given: true }.into());
            }
        }
        ([5, _], login) => return Err(ProxyFailure::Credentials { given: login.is_some() }.into()),
        (other, _) => return Err(ProxyFailure::Garbage(text::printable(&other)).into()),
    }
    send(socket, &[&[5, 1, 0], &address(host)[..], &port.to_be_bytes()].concat())?;
    let [version, reply, _, kind] = receive(socket)?;
    if version != 5 {
        return Err(ProxyFailure::Garbage(text::printable(&[version, reply, 0, kind])).into());
    }
    if reply != 0 {
        return Err(refusal(reply).into());
    }
    skip_bound_address(socket, kind)
}

/// Type and address of the server (RFC 1928 §5).
fn address(host: &str) -> Vec<u8> {
    match host.parse() {
        Ok(IpAddr::V4(address)) => [&[1][..], &address.octets()].concat(),
        Ok(IpAddr::V6(address)) => [&[4][..], &address.octets()].concat(),
        // The configuration allows no more than 255 octets.
        Err(_) => [&[3, host.len() as u8][..], host.as_bytes()].concat(),
    }
}

/// Where the proxy connects from, and a port: of no interest, but in the way.
fn skip_bound_address(socket: &mut Socket, kind: u8) -> Result<(), Failure> {
    match kind {
        1 => receive::<6>(socket).map(drop),
        4 => receive::<18>(socket).map(drop),
        3 => {
            let [length] = receive(socket)?;
            (0..usize::from(length) + 2).try_for_each(|_| receive::<1>(socket).map(drop))
        }
        _ => Err(ProxyFailure::Garbage(format!("an address of type {kind}")).into()),
    }
}

/// RFC 1928 §6.
fn refusal(reply: u8) -> ProxyFailure {
    let (reason, may_pass) = match reply {
        1 => ("general failure", true),
        2 => ("not allowed by its rules", false),
        3 => ("network unreachable", true),
        4 => ("host unreachable", true),
        5 => ("connection refused", true),
        6 => ("time to live expired", true),
        7 => ("command not supported", false),
        8 => ("type of address not supported", false),
        _ => return ProxyFailure::Garbage(format!("reply {reply}")),
    };
    ProxyFailure::Refused { reason: reason.to_owned(), may_pass }
}

fn http(socket: &mut Socket, proxy: &Proxy, host: &str, port: u16) -> Result<(), Failure> {
    let server = text::host_port(host, port);
    let mut request = Zeroizing::new(format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n"));
    // A proxy that repeats these is not repeated.
    let mut secrets = Vec::new();
    if let Some((user, password)) = &proxy.login {
        let login = Password::new(BASE64.encode(format!("{user}:{}", password.reveal())));
        *request += &format!("Proxy-Authorization: Basic {}\r\n", login.reveal());
        secrets = vec![password.clone(), login];
    }
    *request += "\r\n";
    send(socket, request.as_bytes())?;
    let masked = |words: &[u8]| secrets.iter().fold(words.to_vec(), |words, secret| secret.masked_in_answer(&words));
    let head = head(socket, masked)?;
    let line = head.split(|octet| *octet == b'\r').next().unwrap_or_default();
    let said = text::printable(&masked(line.get(9..).unwrap_or_default()));
    match status(line) {
        Some(200..=299) => Ok(()),
        Some(407) => Err(ProxyFailure::Credentials { given: proxy.login.is_some() }.into()),
        Some(status) => Err(ProxyFailure::Refused { reason: said, may_pass: status >= 500 }.into()),
        None => Err(ProxyFailure::Garbage(text::printable(&masked(line))).into()),
    }
}

/// The three digits behind `HTTP/1.1 `.
fn status(line: &[u8]) -> Option<u16> {
    let digits = line.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Status line and header, up to the empty line; or up to what shows that it is neither.
fn head(socket: &mut Socket, masked: impl Fn(&[u8]) -> Vec<u8>) -> Result<Vec<u8>, Failure> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let [octet] = receive(socket)?;
        head.push(octet);
        let is_foreign = !head.starts_with(&b"HTTP/"[..head.len().min(5)]);
        if head.len() > LONGEST_HEAD || is_foreign && (octet == b'\n' || head.len() > 80) {
            return Err(ProxyFailure::Garbage(text::printable_within(&masked(&head), 80)).into());
        }
    }
    Ok(head)
}

fn send(socket: &mut Socket, octets: &[u8]) -> Result<(), Failure> {
    socket.write_all(octets).map_err(|failure| Failure::Line(Error::within(&failure)))
}

/// So many octets, and no more.
fn receive<const N: usize>(socket: &mut Socket) -> Result<[u8; N], Failure> {
    let mut octets = [0; N];
    let mut filled = 0;
    while filled < N {
        let received = socket.read(&mut octets[filled..]).map_err(|failure| Failure::Line(Error::within(&failure)))?;
        if received == 0 {
            return Err(ProxyFailure::Closed.into());
        }
        filled += received;
    }
    Ok(octets)
}
