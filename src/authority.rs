//! The parts of what stands behind `//` in an address: user, host and port (RFC 3986 §3.2).

use std::net::Ipv6Addr;

/// `HOST` and `PORT` of `HOST[:PORT]`, neither checked; `None` where a bracket is not closed or something else than a port
/// follows it.
pub fn split_port(server: &str) -> Option<(&str, Option<&str>)> {
    if !server.starts_with('[') {
        return Some(server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))));
    }
    let end = server.find(']')? + 1;
    match (&server[..end], &server[end..]) {
        (host, "") => Some((host, None)),
        (host, rest) => Some((host, Some(rest.strip_prefix(':')?))),
    }
}

/// A port: 1 to 65535.
pub fn port(text: &str) -> Option<u16> {
    // `parse` alone would also take `+110`.
    let digits = Some(text).filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).filter(|port| *port != 0)
}

/// A host name or an address, in lower case and without the brackets of an IPv6 literal.
pub fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => is_ipv6(address),
        None => is_name(text) || is_ipv6(text),
    };
    // Names are the same in any case (RFC 4343), and the maildrop's state goes by this one.
    is_host.then(|| bare.unwrap_or(text).to_ascii_lowercase())
}

fn is_name(text: &str) -> bool {
    let plausible = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
    (1..=255).contains(&text.len()) && text.bytes().all(plausible) && !text.starts_with(['.', '-'])
}

/// Also with a zone, as in `fe80::1%eth0` (RFC 4007 §11).
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(is_name)
}

/// True for a user that can be sent: not empty, nothing that would end a command line (RFC 1939 §3), and within 255 octets
/// (RFC 2449 §4).
pub fn is_user(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.contains(char::is_control)
}

/// The octets that a text stands for in which `%` begins two hexadecimal digits (RFC 3986 §2.1); `None` where it does not.
pub fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => hexadecimal(rest.next())? << 4 | hexadecimal(rest.next())?,
            octet => octet,
        });
    }
    Some(octets)
}

fn hexadecimal(digit: Option<u8>) -> Option<u8> {
    char::from(digit?).to_digit(16).map(|value| value as u8)
}
