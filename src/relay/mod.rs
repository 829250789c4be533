//! Destinations over `net`: servers that take mail, one file each.
//!
//! What they share: messages wait in a spool file in the form in which they are sent ([`wire`]), one connection serves a
//! run (`dialogue`; [`http`] may have several), replies are bounded and shown escaped ([`reply`]), and a refusal is the
//! message's fault or the target's (`submission`). A server that was not heard to answer may have taken a message: it
//! gets it again, with the next run, and never more messages at once than `in_flight`.

mod dialogue;
mod error;
mod headers;
mod hello;
pub mod http;
pub mod imap;
mod lmtp;
mod login;
pub mod reply;
mod smtp;
mod stage;
mod submission;
pub mod wire;

pub use error::{Cause, Error};

use crate::account::{Address, At, Server, Target, TlsMode};
use crate::authority;
use crate::deliver::{Destination, FORMS, Kind, Network};
use crate::secret::Login;
use crate::text;

/// The kinds of server that there are. A new one is a file of its own, and a line here.
pub const KINDS: [&Kind; 7] =
    [&lmtp::KIND, &smtp::KIND, &smtp::SECURE, &imap::KIND, &imap::SECURE, &http::KIND, &http::SECURE];

/// Reads a target that is a server, as in `lmtp://mail.example.org`; `None` for all others. A refusal says what is
/// expected.
pub fn parse(text: &str) -> Option<Result<Target, &'static str>> {
    let (word, address) = text.split_once(':')?;
    let kind = KINDS.iter().find(|kind| kind.word == word)?;
    Some(if address.is_empty() {
        Err(FORMS)
    } else {
        (kind.read)(address).map(|address| Target::new(kind.word, address))
    })
}

/// The destination that a target is.
///
/// # Panics
/// When it is no server.
pub fn destination(target: &Target) -> Box<dyn Destination> {
    let kind = KINDS.iter().find(|kind| kind.word == target.kind()).expect("a server's kind stands in the table");
    (kind.destination)(target)
}

/// Reads what follows `//`: user, host and port.
fn read_host(text: &str, usual_port: u16, expected: &'static str) -> Result<Server, &'static str> {
    // At the last `@`, because user names are often addresses.
    let (user, server) = match text.rsplit_once('@') {
        Some((user, server)) => (Some(read_user(user).ok_or(expected)?), server),
        None => (None, text),
    };
    let (host, port) = authority::split_port(server).ok_or(expected)?;
    let host = authority::host(host).ok_or(expected)?;
    let port = port.map_or(Some(usual_port), authority::port).ok_or(expected)?;
    Ok(Server { user, ..Server::at(At::Host { host, port }) })
}

/// A user as accounts have it in their URLs: no password, and `%` begins two hexadecimal digits.
fn read_user(text: &str) -> Option<String> {
    let octets = authority::percent_decoded(text).filter(|_| !text.contains([':', '/']))?;
    String::from_utf8(octets).ok().filter(|user| authority::is_user(user))
}

/// STARTTLS is demanded of every server but those of this machine.
fn usual_tls(server: &Server) -> TlsMode {
    if server.is_local() { TlsMode::None } else { TlsMode::Starttls }
}

fn server_of(target: &Target) -> Server {
    let Address::Server(server) = target.address() else { unreachable!("a server has an address of its own") };
    (**server).clone()
}

/// The login at a server; `None` where nobody logs in.
pub fn login<'l>(target: &'l Target, network: &'l Network) -> Option<Login<'l>> {
    let kind = target.kind();
    login::of(target.server()?, kind.strip_suffix('s').unwrap_or(kind), network)
}

/// The server as errors name it.
fn shown(target: &Target) -> String {
    text::printable(target.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::Guarantee;

    #[test]
    fn a_server_is_read_as_it_is_shown() {
        for text in [
            "lmtp:/run/dovecot/lmtp",
            "lmtp://mail.example.org",
            "lmtp://[::1]:2424",
            "smtp://127.0.0.1:2525",
            "smtps://mail.example.org",
            "https://mail.example.org/",
            "https://mail.example.org:8443/a%20b/c@d",
            "http://localhost/in",
            "http://[::1]:3000/in",
        ] {
            let target = parse(text).unwrap().unwrap();
            assert_eq!(target.to_string(), text);
            assert_eq!(destination(&target).guarantee(), Guarantee::AtLeastOnce);
        }
        for (written, shown) in [
            ("imaps://petar@example.org@imap.example.org/Archive/2026", ""),
            ("imaps://petar@imap.example.org:9993/Sent Items", ""),
            ("imaps://petar@imap.example.org", "imaps://petar@imap.example.org/INBOX"),
            ("imaps://a%2Fb@imap.example.org/inbox", "imaps://a%2Fb@imap.example.org/INBOX"),
            ("imap://127.0.0.1:143/Entw%C3%BCrfe%3f", "imap://127.0.0.1/Entwürfe%3F"),
        ] {
            let target = parse(written).unwrap().unwrap();
            let shown = if shown.is_empty() { written } else { shown };
            assert_eq!((target.to_string().as_str(), target.identity().as_str()), (shown, shown));
            assert_eq!(parse(shown), parse(written), "{written}");
            assert_eq!(destination(&target).guarantee(), Guarantee::ExactlyOnce);
        }
        for user in ["petar@example.org", "petar%40example.org"] {
            let target = parse(&format!("smtps://{user}@mail.example.org")).unwrap().unwrap();
            assert_eq!(
                target.server().unwrap().user.as_deref(),
                Some("petar@example.org"),
                "as in the URL of an account"
            );
        }
        let target = parse("https://petar@Mail.example.org:443/In?key=s%3Fcret").unwrap().unwrap();
        assert_eq!(target.to_string(), "https://mail.example.org/In", "a query may be a secret");
        let post = target.server().unwrap().post.as_deref().unwrap();
        assert_eq!(post.query.as_ref().map(|query| query.reveal()), Some("key=s%3Fcret"));
        let target = parse("smtps://petar@MAIL.example.org:465").unwrap().unwrap();
        assert_eq!(target.to_string(), "smtps://mail.example.org");
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for wrong in [
            "lmtp:",
            "lmtp:x",
            "lmtp://",
            "lmtp://u@h",
            "smtp:/run/x",
            "smtp://",
            "smtp://h:0",
            "smtp://h:x",
            "smtp://h/p",
            "smtp://u:p@h",
            "smtp://[::1",
            "smtp://[x]",
            "smtp://a b",
            "smtp://-a",
            "smtp://pe%tar@h",
            "smtp://a%0d%0aQUIT@h",
            "smtps://@h",
            "https:",
            "https://",
            "https://h",
            "https://h?x",
            "https:///p",
            "https://u:p@h/p",
            "https://h:x/p",
            "https://h/p#x",
            "https://h/a b",
            "https://h/\u{e4}",
            "https://h/a\r\nX: y",
            "http://mail.example.org/p",
            "http://192.0.2.1/p",
            "http://localhost.example.org/p",
            "imap:/run/x",
            "imaps://h/INBOX",
            "imaps://u:p@h/x",
            "imaps://u@h/a%00b",
            "imaps://u@h/%ff",
        ] {
            assert!(parse(wrong).is_some_and(|parsed| parsed.is_err()), "{wrong}");
        }
        assert!(parse("maildir:/x").is_none() && parse("x").is_none());
    }
}
