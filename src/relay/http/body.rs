//! The body of a request: the message as it is, or a field of a form.
//!
//! Functions of octets, so that a message goes by piece by piece. A form is multipart/form-data (RFC 7578): what it holds
//! needs no encoding. In the other form (application/x-www-form-urlencoded) octets beyond ASCII are three times as long,
//! and Rack (Rails, Redmine, Discourse) takes no more than 4 MiB of it; of a field in several parts it takes 16 MiB.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::account::{Body, Password};

/// How messages stand in the body: what comes before and after each.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) content_type: String,
    before: Vec<u8>,
    after: Vec<u8>,
    is_base64: bool,
}

impl Form {
    /// `boundary` is a text that no message has, because nobody can guess it. Fields have no line ends in them.
    pub(super) fn new(body: &Body, fields: &[(String, Password)], boundary: &str) -> Self {
        let (name, is_base64) = match body {
            Body::Raw => {
                let (content_type, before, after) = ("message/rfc822".to_owned(), vec![], vec![]);
                return Form { content_type, before, after, is_base64: false };
            }
            Body::Form(name) => (name, false),
            Body::FormBase64(name) => (name, true),
        };
        let part = |name: &str| format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        let fields = fields.iter().map(|(name, value)| format!("{}{}\r\n", part(name), value.reveal()));
        let before = fields.collect::<String>() + &part(name);
        Form {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            before: before.into_bytes(),
            after: format!("\r\n--{boundary}--\r\n").into_bytes(),
            is_base64,
        }
    }

    /// The length of the body for a message of so many octets.
    pub(super) fn octets(&self, message: u64) -> u64 {
        let message = if self.is_base64 { message.div_ceil(3) * 4 } else { message };
        self.before.len() as u64 + message + self.after.len() as u64
    }

    /// The body of one message.
    pub(super) fn begin(&self, wire: &mut Vec<u8>) -> Encoder<'_> {
        wire.extend_from_slice(&self.before);
        Encoder { form: self, rest: vec![] }
    }
}

/// Encodes a message.
#[derive(Debug)]
pub(super) struct Encoder<'f> {
    form: &'f Form,
    /// Octets that wait until there are three of them.
    rest: Vec<u8>,
}

impl Encoder<'_> {
    /// Takes the next octets, and adds to `wire` what is to be sent for them.
    pub(super) fn push(&mut self, octets: &[u8], wire: &mut Vec<u8>) {
        if !self.form.is_base64 {
            return wire.extend_from_slice(octets);
        }
        self.rest.extend_from_slice(octets);
        let whole = self.rest.len() / 3 * 3;
        wire.extend_from_slice(STANDARD.encode(&self.rest[..whole]).as_bytes());
        self.rest.drain(..whole);
    }

    /// Ends the body.
    pub(super) fn finish(self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(STANDARD.encode(&self.rest).as_bytes());
        wire.extend_from_slice(&self.form.after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(form: &Form, pieces: &[&[u8]]) -> Vec<u8> {
        let mut wire = vec![];
        let mut encoder = form.begin(&mut wire);
        pieces.iter().for_each(|piece| encoder.push(piece, &mut wire));
        encoder.finish(&mut wire);
        wire
    }

    #[test]
    fn a_body_is_as_long_as_it_was_announced_and_the_same_in_every_split() {
        let fields = [("key".to_owned(), Password::new("k"))];
        let before = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n\
             --b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n";
        for (body, expected) in [
            (Body::Raw, "Subject: x\r\n\r\n\u{e9}\r\n".to_owned()),
            (Body::Form("email".into()), format!("{before}Subject: x\r\n\r\n\u{e9}\r\n\r\n--b--\r\n")),
            (Body::FormBase64("email".into()), format!("{before}U3ViamVjdDogeA0KDQrDqQ0K\r\n--b--\r\n")),
        ] {
            let form = Form::new(&body, &fields, "b");
            let message = "Subject: x\r\n\r\n\u{e9}\r\n".as_bytes();
            for cut in 0..=message.len() {
                let wire = encoded(&form, &[&message[..cut], &message[cut..]]);
                assert_eq!(String::from_utf8(wire).unwrap(), expected, "{cut}");
            }
            for length in 0..message.len() {
                let wire = encoded(&form, &[&message[..length]]);
                assert_eq!(wire.len() as u64, form.octets(length as u64), "{length}");
            }
        }
    }
}
