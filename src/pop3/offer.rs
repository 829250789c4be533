//! Which way to log in: what the account wants, what the server announces, and whether the line is encrypted.
//!
//! Decided once, before anything is sent. A refusal is final: to try a weaker way then would let anybody who can
//! make the server refuse choose the way.

use super::capabilities::Capabilities;
use super::credentials::Credentials;
use super::error::Error;
use super::method::{FOR_TOKENS, Method};
use super::sasl::Mechanism;
use crate::account::{Auth, SecretKind};

/// The ways for a password, strongest first, over a line that anybody may read. Whatever keeps the password to itself
/// comes before what sends it. CRAM-MD5 comes before APOP because it is announced: a timestamp in the greeting does
/// not prove that the server has APOP passwords (many servers show one always).
const IN_CLEAR: [Method; 7] = [
    Method::Sasl(Mechanism::ScramSha256),
    Method::Sasl(Mechanism::ScramSha1),
    Method::Sasl(Mechanism::CramMd5),
    Method::Apop,
    Method::Sasl(Mechanism::Plain),
    Method::User,
    Method::Sasl(Mechanism::Login),
];

/// The same under TLS, with the server's certificate verified. SCRAM is the strongest still: it alone proves the
/// server, and keeps the password from whoever has taken it over. CRAM-MD5 and APOP only make the server store the
/// password itself, so that PLAIN, in one round trip, is better than either.
///
/// The -PLUS forms are for those who name them. Servers do not announce which channel bindings they know, most know
/// `tls-exporter` (RFC 9266) and `tls-unique` and not the one that there is here, and a refusal would be final.
const UNDER_TLS: [Method; 7] = [
    Method::Sasl(Mechanism::ScramSha256),
    Method::Sasl(Mechanism::ScramSha1),
    Method::Sasl(Mechanism::Plain),
    Method::User,
    Method::Sasl(Mechanism::Login),
    Method::Sasl(Mechanism::CramMd5),
    Method::Apop,
];

/// What a server has to offer.
pub struct Offer<'o> {
    /// What it announces, where it was asked.
    pub capabilities: Option<&'o Capabilities>,
    /// Its greeting has a timestamp for APOP.
    pub has_timestamp: bool,
    /// Nobody on the way can read what is sent.
    pub is_encrypted: bool,
}

impl Offer<'_> {
    /// The way to log in. What the account names is used also where the server announces no mechanisms at all, but
    /// not where it announces others.
    pub fn choose(&self, credentials: &Credentials) -> Result<Method, Error> {
        match named(credentials.auth) {
            Some(Method::Sasl(mechanism)) if !self.sasl().is_empty() => {
                self.first_of(&[Method::Sasl(mechanism)], mechanism.name())
            }
            Some(method) => Ok(method),
            None if credentials.kind == SecretKind::Token => self.first_of(&FOR_TOKENS, "OAUTHBEARER or XOAUTH2"),
            None if self.is_encrypted => self.first_of(&UNDER_TLS, "any way to log in with a password"),
            None => self.first_of(&IN_CLEAR, "any way to log in with a password"),
        }
    }

    fn first_of(&self, methods: &[Method], wanted: &'static str) -> Result<Method, Error> {
        let found = methods.iter().copied().find(|method| self.has(*method));
        found.ok_or_else(|| Error::NoMechanism { wanted, offered: self.sasl().to_vec() })
    }

    /// A server that announces neither mechanisms nor USER is from before CAPA, or as good as that.
    fn has(&self, method: Method) -> bool {
        match method {
            Method::Apop => self.has_timestamp,
            Method::User => self.sasl().is_empty() || self.capabilities.is_some_and(|known| known.user),
            Method::Sasl(mechanism) => self.capabilities.is_some_and(|known| known.has_sasl(mechanism.name())),
        }
    }

    fn sasl(&self) -> &[String] {
        self.capabilities.map_or(&[], |known| &known.sasl)
    }
}

fn named(auth: Auth) -> Option<Method> {
    Some(match auth {
        Auth::Auto => return None,
        Auth::User => Method::User,
        Auth::Apop => Method::Apop,
        Auth::Plain => Method::Sasl(Mechanism::Plain),
        Auth::Login => Method::Sasl(Mechanism::Login),
        Auth::CramMd5 => Method::Sasl(Mechanism::CramMd5),
        Auth::ScramSha1 => Method::Sasl(Mechanism::ScramSha1),
        Auth::ScramSha1Plus => Method::Sasl(Mechanism::ScramSha1Plus),
        Auth::ScramSha256 => Method::Sasl(Mechanism::ScramSha256),
        Auth::ScramSha256Plus => Method::Sasl(Mechanism::ScramSha256Plus),
        Auth::External => Method::Sasl(Mechanism::External),
        Auth::XOAuth2 => Method::Sasl(Mechanism::XOAuth2),
        Auth::OAuthBearer => Method::Sasl(Mechanism::OAuthBearer),
    })
}

#[cfg(test)]
mod tests {
    use super::super::sasl;
    use super::*;

    /// The names of what is chosen in clear and under TLS, when the server announces this.
    fn chosen(credentials: &Credentials, lines: &[&str], has_timestamp: bool) -> [String; 2] {
        let mut capabilities = Capabilities::default();
        lines.iter().for_each(|line| capabilities.note(line.as_bytes()));
        [false, true].map(|is_encrypted| {
            let offer = Offer { capabilities: Some(&capabilities), has_timestamp, is_encrypted };
            offer.choose(credentials).map_or_else(|error| error.to_string(), |method| method.name().to_owned())
        })
    }

    #[test]
    fn the_strongest_way_that_the_server_announces_is_chosen() {
        let password = sasl::credentials("u", "p");
        let all = "SASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-256-PLUS XOAUTH2";
        for (lines, in_clear, under_tls) in [
            (&[all, "USER"][..], "SCRAM-SHA-256", "SCRAM-SHA-256"),
            (&["SASL PLAIN SCRAM-SHA-1"], "SCRAM-SHA-1", "SCRAM-SHA-1"),
            (&["SASL PLAIN LOGIN CRAM-MD5", "USER"], "CRAM-MD5", "PLAIN"),
            (&["SASL PLAIN", "USER"], "APOP", "PLAIN"),
            (&["SASL LOGIN", "USER"], "APOP", "USER"),
            (&["SASL LOGIN"], "APOP", "LOGIN"),
            (&["SASL CRAM-MD5"], "CRAM-MD5", "CRAM-MD5"),
            (&["SASL XOAUTH2"], "APOP", "APOP"),
            (&[], "APOP", "USER"),
        ] {
            assert_eq!(chosen(&password, lines, true), [in_clear, under_tls], "{lines:?}");
        }
        assert_eq!(chosen(&password, &["SASL PLAIN CRAM-MD5"], false), ["CRAM-MD5", "PLAIN"]);
        assert_eq!(chosen(&password, &["SASL PLAIN"], false), ["PLAIN"; 2]);
        assert_eq!(chosen(&password, &[], false), ["USER"; 2]);
    }

    #[test]
    fn a_password_is_not_sent_where_only_tokens_are_taken() {
        let error = "the server does not offer any way to log in with a password, but XOAUTH2; no secret was sent";
        assert_eq!(chosen(&sasl::credentials("u", "p"), &["SASL XOAUTH2"], false), [error; 2]);
    }

    #[test]
    fn a_token_is_never_sent_as_a_password() {
        let token = Credentials { kind: SecretKind::Token, ..sasl::credentials("u", "t") };
        assert_eq!(chosen(&token, &["SASL PLAIN XOAUTH2", "USER"], true), ["XOAUTH2"; 2]);
        assert_eq!(chosen(&token, &["SASL XOAUTH2 OAUTHBEARER"], true), ["OAUTHBEARER"; 2]);
        let error = "the server does not offer OAUTHBEARER or XOAUTH2, but PLAIN; no secret was sent";
        assert_eq!(chosen(&token, &["SASL PLAIN", "USER"], true), [error; 2]);
        let error = "the server does not offer OAUTHBEARER or XOAUTH2; no secret was sent";
        assert_eq!(chosen(&token, &["USER"], true), [error; 2]);
    }

    #[test]
    fn what_is_named_is_used_or_nothing() {
        let named = Credentials { auth: Auth::CramMd5, ..sasl::credentials("u", "p") };
        assert_eq!(chosen(&named, &["SASL SCRAM-SHA-256 CRAM-MD5"], true), ["CRAM-MD5"; 2]);
        assert_eq!(chosen(&named, &["USER"], true), ["CRAM-MD5"; 2]);
        let error = "the server does not offer CRAM-MD5, but PLAIN, LOGIN; no secret was sent";
        assert_eq!(chosen(&named, &["SASL PLAIN LOGIN"], true), [error; 2]);
    }
}
