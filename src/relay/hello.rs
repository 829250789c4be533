//! The beginning of a session: connection, greeting, EHLO or LHLO, STARTTLS, login; and what the server offers.

use super::dialogue::Dialogue;
use super::error::Cause;
use super::login;
use super::reply::Reply;
use super::submission::Protocol;
use crate::account::{At, Route, Server, TlsMode};
use crate::deliver::Context;
use crate::net::{self, Wait};
use crate::os;

/// What a server offers (RFC 5321 §4.1.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Offer {
    pub(super) pipelining: bool,
    pub(super) chunking: bool,
    pub(super) binary: bool,
    pub(super) eight_bit: bool,
    pub(super) utf8: bool,
    pub(super) starttls: bool,
    pub(super) enhanced: bool,
    /// SIZE is understood.
    pub(super) size: bool,
    /// The largest message, where it is told.
    pub(super) most: Option<u64>,
    /// Mechanisms of AUTH.
    pub(super) auth: Vec<String>,
}

impl Offer {
    /// True when messages may follow one another without waiting (RFC 3030, RFC 2920). Without the codes of RFC 3463 nothing
    /// would tell the answer to a message from that to an address.
    pub(super) fn takes_chunks(&self) -> bool {
        self.chunking && self.pipelining && self.enhanced
    }

    /// Reads the reply to EHLO; its first line is a greeting.
    pub(super) fn of(reply: &Reply) -> Self {
        let mut offer = Offer::default();
        for line in reply.lines.iter().skip(1) {
            let line = String::from_utf8_lossy(line).to_ascii_uppercase();
            // `AUTH=LOGIN`: servers for Outlook Express, from before RFC 2554.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next().unwrap_or_default() {
                "PIPELINING" => offer.pipelining = true,
                "CHUNKING" => offer.chunking = true,
                "BINARYMIME" => offer.binary = true,
                "8BITMIME" => offer.eight_bit = true,
                "SMTPUTF8" => offer.utf8 = true,
                "STARTTLS" => offer.starttls = true,
                "ENHANCEDSTATUSCODES" => offer.enhanced = true,
                "AUTH" => offer.auth.extend(words.map(str::to_owned)),
                "SIZE" => {
                    offer.size = true;
                    offer.most = words.next().and_then(|most| most.parse().ok()).filter(|most| *most > 0);
                }
                _ => {}
            }
        }
        offer
    }
}

/// Connects, and does all that comes before the first message.
pub(super) fn open(server: &Server, protocol: Protocol, context: &Context) -> Result<(Dialogue, Offer), Cause> {
    // What cannot be had ends it before anybody is called.
    let credentials = login::credentials(server, protocol.word, context)?;
    let (route, host, port) = match &server.at {
        At::Socket(path) => (Route::Socket(path.clone()), "localhost", 0),
        At::Host { host, port } => (Route::default(), host.as_str(), *port),
    };
    let mut stream = net::connect(&route, host, port, &server.tls, context.network.timeout, &context.stop)?;
    if server.tls.mode == TlsMode::Implicit {
        stream = stream.handshake(host, &server.tls, None)?;
    }
    let label = format!("{}: {}", crate::text::printable(context.account.as_bytes()), protocol.word);
    let wire = context.network.wire.clone();
    let mut dialogue = Dialogue::new(stream, wire.clone(), label.clone());
    let greeting = dialogue.reply(Wait::Greeting)?;
    if greeting.code != 220 {
        return Err(dialogue.refused("the connection", &greeting));
    }
    let mut offer = hello(&mut dialogue, protocol)?;
    if server.tls.mode == TlsMode::Starttls {
        if !offer.starttls {
            return Err(Cause::NotOffered("STARTTLS".to_owned()));
        }
        dialogue.command("STARTTLS");
        let reply = dialogue.reply(Wait::Reply)?;
        if reply.code != 220 {
            return Err(dialogue.refused("STARTTLS", &reply));
        }
        let stream = dialogue.into_stream()?.handshake(host, &server.tls, None)?;
        dialogue = Dialogue::new(stream, wire, label);
        // What was said in clear does not count (RFC 3207 §4.2).
        offer = hello(&mut dialogue, protocol)?;
    }
    if let Some(credentials) = credentials {
        login::log_in(&mut dialogue, &offer, &credentials)
            .map_err(|cause| login::dropped(server, protocol.word, context, &credentials, cause))?;
    }
    Ok((dialogue, offer))
}

fn hello(dialogue: &mut Dialogue, protocol: Protocol) -> Result<Offer, Cause> {
    dialogue.command(&format!("{} {}", protocol.hello, own_name(&os::host_name())));
    let reply = dialogue.reply(Wait::Reply)?;
    if !reply.is_positive() {
        return Err(dialogue.refused(protocol.hello, &reply));
    }
    Ok(Offer::of(&reply))
}

/// This machine in EHLO: its name, or a literal where that is no name (RFC 5321 §4.1.3).
fn own_name(name: &str) -> String {
    let is_part = |part: &str| {
        let is_inner = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        !part.is_empty() && part.bytes().all(is_inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    if name.len() <= 255 && name.split('.').all(is_part) { name.to_owned() } else { "[127.0.0.1]".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::reply;

    fn offer(lines: &str) -> Offer {
        let wire = lines.lines().map(|line| format!("250-{line}\r\n")).collect::<String>() + "250 OK\r\n";
        Offer::of(&reply::read(wire.as_bytes()).unwrap().unwrap().0)
    }

    #[test]
    fn an_offer_is_read_in_any_case_and_what_is_unknown_is_skipped() {
        let read = offer("PIPELINING\npipelining\nSize 1000\nAUTH PLAIN login\nauth=CRAM-MD5\nX-Y\n8BITMIME");
        let auth = ["PLAIN", "LOGIN", "CRAM-MD5"].map(str::to_owned).to_vec();
        let expected =
            Offer { pipelining: true, size: true, most: Some(1000), auth, eight_bit: true, ..Offer::default() };
        assert_eq!(read, expected);
        assert_eq!(offer("PIPELINING"), Offer::default(), "the first line is a greeting");
        assert_eq!(offer("hi\nSIZE 0").most, None);
        assert!(offer("hi\nSIZE").size && offer("hi\nCHUNKING\nBINARYMIME\nSMTPUTF8\nSTARTTLS").binary);
    }

    #[test]
    fn this_machine_has_a_name_or_a_literal() {
        for name in ["host", "a-1.example.org"] {
            assert_eq!(own_name(name), name);
        }
        for odd in ["", "a_b", "a b", "a..b", "-a", "ö", "a\r\nQUIT"] {
            assert_eq!(own_name(odd), "[127.0.0.1]");
        }
    }
}
