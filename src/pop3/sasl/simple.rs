//! The mechanisms of one or two messages: PLAIN, EXTERNAL, LOGIN and CRAM-MD5.

use super::digest::hexadecimal;
use super::hash::hmac_md5;
use super::{Exchange, Message, Problem};
use crate::account::Password;
use crate::pop3::credentials::Credentials;

/// The client says one thing, and the server decides.
pub struct Once(Option<Message>);

impl Once {
    /// No authorization identity, the user, the password (RFC 4616 §2).
    pub fn plain(credentials: &Credentials) -> Self {
        Once(Some(Message::new(format!("\0{}\0{}", credentials.user, credentials.password.reveal()).into())))
    }

    /// The identity to act as (RFC 4422 appendix A). It is said, not left to the certificate: a certificate of
    /// somebody else is refused then, instead of opening another maildrop.
    pub fn external(credentials: &Credentials) -> Self {
        Once(Some(Message::new(credentials.user.clone().into())))
    }
}

impl Exchange for Once {
    fn initial(&mut self) -> Option<Message> {
        self.0.take()
    }

    fn respond(&mut self, _challenge: &[u8]) -> Result<Message, Problem> {
        Err(Problem::Unexpected)
    }
}

/// LOGIN: the user to the first challenge, the password to the second. What the challenges say differs from server
/// to server and means nothing (draft-murchison-sasl-login-00).
pub struct Login {
    /// Last first.
    responses: Vec<Message>,
}

impl Login {
    pub fn new(Credentials { user, password, .. }: &Credentials) -> Self {
        Login { responses: vec![password.reveal().into(), user.clone().into()].into_iter().map(Message::new).collect() }
    }
}

impl Exchange for Login {
    fn initial(&mut self) -> Option<Message> {
        None
    }

    fn respond(&mut self, _challenge: &[u8]) -> Result<Message, Problem> {
        self.responses.pop().ok_or(Problem::Unexpected)
    }
}

/// CRAM-MD5: a keyed digest of the challenge (RFC 2195 §2).
pub struct CramMd5 {
    user: String,
    password: Password,
    has_answered: bool,
}

impl CramMd5 {
    pub fn new(Credentials { user, password, .. }: &Credentials) -> Self {
        CramMd5 { user: user.clone(), password: password.clone(), has_answered: false }
    }
}

impl Exchange for CramMd5 {
    fn initial(&mut self) -> Option<Message> {
        None
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Message, Problem> {
        // A second digest of a challenge of the server's choice is none of its business.
        if std::mem::replace(&mut self.has_answered, true) {
            return Err(Problem::Unexpected);
        }
        let digest = hmac_md5(self.password.reveal().as_bytes(), challenge);
        Ok(Message::new(format!("{} {}", self.user, hexadecimal(&digest)).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::credentials;
    use super::*;

    #[test]
    fn the_plain_message_is_the_one_in_rfc_4616() {
        let mut plain = Once::plain(&credentials("tim", "tanstaaftanstaaf"));
        assert_eq!(*plain.initial().unwrap(), b"\0tim\0tanstaaftanstaaf");
        assert_eq!(plain.respond(b""), Err(Problem::Unexpected));
    }

    #[test]
    fn external_names_the_user_and_nothing_else() {
        assert_eq!(*Once::external(&credentials("fred@example.com", "secret")).initial().unwrap(), b"fred@example.com");
    }

    #[test]
    fn login_answers_two_challenges_whatever_they_say() {
        let mut login = Login::new(&credentials("tim", "secret"));
        assert_eq!(login.initial(), None);
        assert_eq!(login.respond(b"User Name\0"), Ok(Message::new(b"tim".to_vec())));
        assert_eq!(login.respond(b"Username:"), Ok(Message::new(b"secret".to_vec())));
        assert_eq!(login.respond(b"Password:"), Err(Problem::Unexpected));
    }

    #[test]
    fn the_cram_digest_is_the_one_in_rfc_2195() {
        let mut cram = CramMd5::new(&credentials("tim", "tanstaaftanstaaf"));
        let response = cram.respond(b"<1896.697170952@postoffice.reston.mci.net>").unwrap();
        assert_eq!(*response, b"tim b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(cram.respond(b"once more"), Err(Problem::Unexpected));
    }
}
