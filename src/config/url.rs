//! `pop3s://USER@HOST[:PORT]` and `pop3://USER@HOST[:PORT]`, and what a user and a host may look like.
//!
//! An [`Error`] never repeats any part of the URL: what was meant as a password can stand anywhere in it.
//! [`redacted`] is the form that may be shown.

use std::fmt;

use super::forms::Expected;
use crate::account::TlsMode;
use crate::authority;
use crate::text;

/// A maildrop's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub tls: TlsMode,
    pub user: String,
    pub host: String,
    pub port: Option<u16>,
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// It begins with neither `pop3s://` nor `pop3://`.
    Scheme,
    /// There is no `USER@`.
    NoUser,
    /// There is a password in it.
    Password,
    /// Something follows the host.
    Path,
    /// The user's percent-encoding is broken.
    Percent,
    /// The user cannot be one.
    User,
    /// The host cannot be one.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Scheme => "a URL begins with `pop3s://` or `pop3://`",
            Error::NoUser => "the user is missing; expected `pop3s://USER@HOST`",
            Error::Password => "a password does not belong in a URL, where others can see it",
            Error::Path => "nothing may follow the host and the port in a URL",
            Error::Percent => "in the user of a URL, `%` begins two hexadecimal digits (`%25` is the sign itself)",
            Error::User => return write!(f, "the user of the URL is not one; {USER}"),
            Error::Host => return write!(f, "the host of the URL is not one; {HOST}"),
            Error::Port => "the port of a URL is a number from 1 to 65535",
        })
    }
}

impl std::error::Error for Error {}

const HOST: Expected = Expected::new("a host name in ASCII or an address, without port, blanks and slashes");
const USER: Expected = Expected::new("a user name of 1 to 255 octets, without control characters");

impl Url {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (scheme, rest) = text.split_once("://").ok_or(Error::Scheme)?;
        let tls = tls_mode(scheme)?;
        // At the last `@`, because user names are often addresses.
        let (user, server) = rest.rsplit_once('@').ok_or(Error::NoUser)?;
        if user.contains(':') {
            return Err(Error::Password);
        }
        if server.contains(['/', '?', '#']) {
            return Err(Error::Path);
        }
        let (written_host, written_port) = split_port(server)?;
        Ok(Url {
            tls,
            user: self::user(&percent_decoded(user)?).map_err(|_| Error::User)?,
            host: host(written_host).map_err(|_| Error::Host)?,
            port: written_port.map(port).transpose()?,
        })
    }
}

fn tls_mode(scheme: &str) -> Result<TlsMode, Error> {
    match scheme.to_ascii_lowercase().as_str() {
        "pop3s" => Ok(TlsMode::Implicit),
        "pop3" => Ok(TlsMode::Starttls),
        _ => Err(Error::Scheme),
    }
}

pub(super) fn split_port(server: &str) -> Result<(&str, Option<&str>), Error> {
    authority::split_port(server).ok_or(Error::Host)
}

pub(super) fn port(text: &str) -> Result<u16, Error> {
    authority::port(text).ok_or(Error::Port)
}

pub(super) fn percent_decoded(text: &str) -> Result<String, Error> {
    String::from_utf8(authority::percent_decoded(text).ok_or(Error::Percent)?).map_err(|_| Error::User)
}

/// A user that can be sent.
pub(super) fn user(text: &str) -> Result<String, Expected> {
    if authority::is_user(text) { Ok(text.to_owned()) } else { Err(USER) }
}

/// A host name or an address, in lower case and without the brackets of an IPv6 literal.
pub(super) fn host(text: &str) -> Result<String, Expected> {
    authority::host(text).ok_or(HOST)
}

/// True for what is meant as a URL rather than as the name of an account.
pub(super) fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// What was typed as a URL or a name, for messages: with asterisks where a password would be.
pub(super) fn redacted(typed: &str) -> String {
    let scheme = typed.find("://").filter(|end| typed[..*end].bytes().all(|octet| octet.is_ascii_alphanumeric()));
    let (scheme, rest) = typed.split_at(scheme.map_or(0, |end| end + 3));
    let (user, server) = rest.split_at(rest.rfind('@').unwrap_or(rest.len()));
    let shown = match user.split_once(':') {
        _ if !scheme.is_empty() && server.is_empty() && is_server(user) => typed.to_owned(),
        Some((user, _)) => format!("{scheme}{user}:****{server}"),
        None => typed.to_owned(),
    };
    text::printable(shown.as_bytes())
}

/// True for `HOST:PORT` that nobody can mean as `USER:PASSWORD`.
fn is_server(text: &str) -> bool {
    let Ok((written_host, Some(number))) = split_port(text) else { return false };
    let is_name = |host: &str| host == "localhost" || host.contains(['.', ':']);
    port(number).is_ok() && host(written_host).is_ok_and(|host| is_name(&host))
}

/// The URL with the user who runs this, for one that lacks its user.
pub(super) fn with_user(shown: &str) -> Option<String> {
    let name = std::env::var("USER").ok().filter(|name| user(name).is_ok() && !name.contains([':', '/', '%']))?;
    let (scheme, server) = shown.split_once("://")?;
    let suggested = format!("{scheme}://{name}@{server}");
    Url::parse(&suggested).is_ok().then_some(suggested)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (TlsMode, String, String, Option<u16>) {
        let Url { tls, user, host, port } = Url::parse(text).unwrap();
        (tls, user, host, port)
    }

    #[test]
    fn the_scheme_says_when_tls_begins() {
        let petar = |tls, port| (tls, "petar".to_owned(), "pop.example.com".to_owned(), port);
        assert_eq!(parsed("pop3s://petar@pop.example.com"), petar(TlsMode::Implicit, None));
        assert_eq!(parsed("pop3://petar@pop.example.com:1110"), petar(TlsMode::Starttls, Some(1110)));
        assert_eq!(parsed("POP3S://petar@Pop.Example.COM"), petar(TlsMode::Implicit, None));
    }

    #[test]
    fn a_user_may_be_an_address_encoded_or_not() {
        assert_eq!(parsed("pop3s://petar@example.com@pop.example.com").1, "petar@example.com");
        assert_eq!(parsed("pop3s://petar%40example.com@pop.example.com").1, "petar@example.com");
        assert_eq!(parsed("pop3s://a%3Ab%25@h").1, "a:b%");
        assert_eq!(parsed("pop3s://j%C3%B6rg@h").1, "jörg");
    }

    #[test]
    fn an_ipv6_literal_stands_in_brackets() {
        assert_eq!(parsed("pop3s://p@[2001:DB8::1]:1995").2, "2001:db8::1");
        assert_eq!(parsed("pop3s://p@[2001:DB8::1]:1995").3, Some(1995));
        assert_eq!(parsed("pop3s://p@[fe80::1%eth0]").2, "fe80::1%eth0");
        assert_eq!(Url::parse("pop3s://p@[::1"), Err(Error::Host));
        assert_eq!(Url::parse("pop3s://p@[::1]995"), Err(Error::Host));
        assert_eq!(Url::parse("pop3s://p@[pop.example.com]"), Err(Error::Host));
    }

    #[test]
    fn what_is_not_such_a_url_is_told_apart() {
        for (wrong, error) in [
            ("petar@host", Error::Scheme),
            ("imaps://petar@host", Error::Scheme),
            ("pop3s://host", Error::NoUser),
            ("pop3s://petar:secret@host", Error::Password),
            ("pop3s://petar:sec@ret/@host", Error::Password),
            ("pop3s://petar@host/", Error::Path),
            ("pop3s://petar@host?x", Error::Path),
            ("pop3s://petar@host#x", Error::Path),
            ("pop3s://pe%tar@host", Error::Percent),
            ("pop3s://petar%4@host", Error::Percent),
            ("pop3s://@host", Error::User),
            ("pop3s://a%0d%0aDELE%201@host", Error::User),
            ("pop3s://%ff@host", Error::User),
            ("pop3s://petar@", Error::Host),
            ("pop3s://petar@ho st", Error::Host),
            ("pop3s://petar@-host", Error::Host),
            ("pop3s://petar@host:", Error::Port),
            ("pop3s://petar@host:0", Error::Port),
            ("pop3s://petar@host:+110", Error::Port),
            ("pop3s://petar@host:65536", Error::Port),
        ] {
            assert_eq!(Url::parse(wrong), Err(error), "{wrong}");
        }
    }

    #[test]
    fn a_user_has_at_most_255_octets() {
        assert!(user(&"x".repeat(255)).is_ok());
        assert_eq!(user(&"x".repeat(256)), Err(USER));
    }

    #[test]
    fn a_server_may_be_an_address() {
        assert_eq!(host("::1"), Ok("::1".to_owned()));
        assert_eq!(host("[::1]"), Ok("::1".to_owned()));
        assert_eq!(host("192.0.2.1"), Ok("192.0.2.1".to_owned()));
        assert_eq!(host("pop.example.com:995"), Err(HOST));
    }

    #[test]
    fn what_could_be_a_password_is_not_shown() {
        for typed in [
            "pop3s://petar:canary@host",
            "pop3s://petar:can@nary@host",
            "pop3s://petar:canary",
            "petar:canary@host",
            "petar:canary://x@host",
            "imap://petar:canary/x@host",
        ] {
            let shown = redacted(typed);
            assert!(!shown.contains("nary") && shown.contains("petar:****"), "{shown}");
        }
        assert_eq!(redacted("pop3s://petar@host:995"), "pop3s://petar@host:995");
        assert_eq!(redacted("work"), "work");
        for server in
            ["pop3s://127.0.0.1:995", "pop3s://[::1]:995", "pop3://localhost:1", "pop3s://pop.example.com:995"]
        {
            assert_eq!(redacted(server), server);
        }
        for unsure in ["pop3s://petar:1234", "pop.example.com:1234", "pop3s://pop.example.com:123456"] {
            assert!(redacted(unsure).ends_with(":****"), "{unsure}");
        }
    }
}
