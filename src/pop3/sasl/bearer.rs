//! Bearer tokens: XOAUTH2, as Google and Microsoft define it, and OAUTHBEARER (RFC 7628).
//!
//! Both say the token at once. A server that does not take it explains so in a challenge, JSON in base64, and says
//! `-ERR` when that was answered.

use std::fmt;

use serde_json::Value;

use super::scram::escaped;
use super::{Exchange, Explanation, Message, Problem};
use crate::account::Password;
use crate::pop3::credentials::Credentials;
use crate::text::printable;

/// An exchange.
pub struct Bearer {
    initial: Option<Message>,
    /// What is answered to the explanation of a refusal.
    dummy: &'static [u8],
    /// Not to be shown where a server repeats it.
    token: Password,
    error: Option<TokenError>,
}

impl Bearer {
    /// The explanation is answered with an empty line, as Google documents it.
    pub fn xoauth2(Credentials { user, password, .. }: &Credentials) -> Self {
        let initial = format!("user={user}\x01auth=Bearer {}\x01\x01", password.reveal());
        Bearer { initial: Some(Message::new(initial.into())), dummy: b"", token: password.clone(), error: None }
    }

    /// The explanation is answered with a single control-A (RFC 7628 §3.2.3).
    pub fn oauthbearer(Credentials { user, password, .. }: &Credentials) -> Self {
        let initial = format!("n,a={},\x01auth=Bearer {}\x01\x01", escaped(user), password.reveal());
        Bearer { initial: Some(Message::new(initial.into())), dummy: b"\x01", token: password.clone(), error: None }
    }
}

impl Exchange for Bearer {
    fn initial(&mut self) -> Option<Message> {
        self.initial.take()
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Message, Problem> {
        if self.error.is_some() {
            return Err(Problem::Unexpected);
        }
        self.error = Some(TokenError::parse(&self.token.masked_in_answer(challenge)));
        Ok(Message::new(self.dummy.to_vec()))
    }

    fn explanation(&self) -> Option<Explanation> {
        self.error.clone().map(Explanation::Token)
    }
}

/// Why a server does not take a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenError {
    /// A word of RFC 6750 §3.1, or an HTTP status; what was sent as a whole when it has no status.
    pub status: String,
    /// The scope that a token would need.
    pub scope: Option<String>,
}

impl TokenError {
    fn parse(challenge: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(challenge).unwrap_or_default();
        let text = |key: &str| match &json[key] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let status = text("status").unwrap_or_else(|| String::from_utf8_lossy(challenge).into_owned());
        TokenError { status, scope: text("scope").filter(|scope| !scope.is_empty()) }
    }
}

/// Google says 400 or 401 where RFC 7628 §3.2.2 has `invalid_token`.
impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = printable(self.status.as_bytes());
        match status.as_str() {
            "invalid_token" | "400" | "401" => {
                write!(f, "the token has expired, was revoked, or is another user's (`{status}`)")?;
            }
            "insufficient_scope" | "403" => write!(f, "the token does not allow POP3 (`{status}`)")?,
            "invalid_request" => write!(f, "the server cannot read the token (`{status}`)")?,
            _ => write!(f, "the server does not take the token: `{status}`")?,
        }
        let Some(scope) = &self.scope else { return Ok(()) };
        write!(f, "; it has to be for the scope `{}`", printable(scope.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials;
    use super::*;

    #[test]
    fn the_messages_are_those_of_google_and_of_rfc_7628() {
        let someone = credentials("someuser@example.com", "vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==");
        let xoauth2 = Bearer::xoauth2(&someone).initial().unwrap();
        assert_eq!(
            *xoauth2,
            b"user=someuser@example.com\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==\x01\x01"
        );
        let comma = credentials("a,b", "t");
        assert_eq!(*Bearer::oauthbearer(&comma).initial().unwrap(), b"n,a=a=2Cb,\x01auth=Bearer t\x01\x01");
    }

    #[test]
    fn an_explanation_is_answered_once() {
        let mut bearer = Bearer::xoauth2(&credentials("u", "t"));
        assert_eq!(
            bearer.respond(br#"{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}"#),
            Ok(Message::default())
        );
        assert_eq!(
            bearer.explanation().unwrap().to_string(),
            "the token has expired, was revoked, or is another user's (`401`); \
             it has to be for the scope `https://mail.google.com/`"
        );
        assert_eq!(bearer.respond(b"{}"), Err(Problem::Unexpected));
        assert_eq!(Bearer::oauthbearer(&credentials("u", "t")).respond(b"{}"), Ok(vec![1].into()));
    }

    #[test]
    fn every_explanation_has_words_even_one_that_is_no_json() {
        let words = |challenge: &[u8]| TokenError::parse(challenge).to_string();
        assert_eq!(
            words(br#"{"status":"insufficient_scope"}"#),
            "the token does not allow POP3 (`insufficient_scope`)"
        );
        assert_eq!(words(br#"{"status":400}"#), "the token has expired, was revoked, or is another user's (`400`)");
        assert_eq!(words(b"\x1b[2J"), "the server does not take the token: `\\x1b[2J`");
        assert_eq!(words(b"[]"), "the server does not take the token: `[]`");
    }
}
