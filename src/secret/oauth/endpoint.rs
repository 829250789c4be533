//! What is asked of an endpoint and what it answers (RFC 6749 §5): forms out, JSON objects in.

use std::time::Duration;

use form_urlencoded::Serializer;
use serde_json::{Map, Value};

use super::error::{Error, is_transient_status};
use super::http::{Client, Reply};
use crate::account::{OAuth2, Password};
use crate::text::{printable, printable_within};

/// Parameters that must not come back in the words of an error.
const SECRETS: [&str; 7] =
    ["client_secret", "client_assertion", "refresh_token", "device_code", "code", "code_verifier", "token"];

/// RFC 7523 §2.2.
const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request says to prove that it is the client's.
pub(super) enum Proof {
    Nothing,
    Secret(Password),
    /// Good for one request.
    Assertion(Password),
}

/// The parameters of a request.
pub(super) struct Form(Vec<(&'static str, String)>);

impl Form {
    /// A request as the registered client. The secret goes into the body: that is what providers document, though
    /// RFC 6749 §2.3.1 would rather see it in a header.
    pub fn of(oauth2: &OAuth2, proof: &Proof) -> Self {
        let form = Form(vec![]).with("client_id", &oauth2.client_id);
        match proof {
            Proof::Nothing => form,
            Proof::Secret(secret) => form.with("client_secret", secret.reveal()),
            Proof::Assertion(token) => form.with("client_assertion_type", JWT).with("client_assertion", token.reveal()),
        }
    }

    /// A request for tokens (RFC 6749 §4, §6).
    pub fn grant(grant_type: &str, oauth2: &OAuth2, proof: &Proof) -> Self {
        Form::of(oauth2, proof).with("grant_type", grant_type)
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, value.to_owned()));
        self
    }

    pub fn with_scope(self, oauth2: &OAuth2) -> Self {
        match &oauth2.scope {
            Some(scope) => self.with("scope", scope),
            None => self,
        }
    }

    pub fn encoded(&self) -> String {
        Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    /// Words of the server as they may be shown: printable, not long, and without our secrets.
    fn shown(&self, words: &str) -> String {
        let whole = printable_within(words.as_bytes(), usize::MAX);
        let secrets = self.0.iter().filter(|(name, _)| SECRETS.contains(name));
        let masked = secrets.fold(whole, |text, (_, secret)| Password::new(secret.as_str()).masked_in(&text));
        printable(masked.as_bytes())
    }
}

/// Sends the form; gives the members of the reply when it is a success.
pub(super) fn ask(client: &Client<'_>, endpoint: &str, form: &Form) -> Result<Map<String, Value>, Error> {
    let reply = client.post(endpoint, form.encoded())?;
    members(endpoint, form, &reply)
}

/// Sends a form that is answered by its status alone (RFC 7009 §2.2).
pub(super) fn tell(client: &Client<'_>, endpoint: &str, form: &Form) -> Result<(), Error> {
    match client.post(endpoint, form.encoded())? {
        Reply { status: 200, .. } => Ok(()),
        reply => members(endpoint, form, &reply).map(drop),
    }
}

fn members(endpoint: &str, form: &Form, reply: &Reply) -> Result<Map<String, Value>, Error> {
    let (endpoint, status) = (endpoint.to_owned(), reply.status);
    let members = match serde_json::from_slice(&reply.body) {
        Ok(Value::Object(members)) => members,
        _ if status == 200 => return Err(Error::Malformed { endpoint, why: "is not a JSON object" }),
        _ => return Err(Error::Status { endpoint, status }),
    };
    match text(&members, "error") {
        Some(_) if is_transient_status(status) => Err(Error::Status { endpoint, status }),
        Some(error) => {
            let description = text(&members, "error_description").map(|words| form.shown(words));
            Err(Error::Refused { endpoint, error: form.shown(error), description })
        }
        None if status == 200 => Ok(members),
        None => Err(Error::Status { endpoint, status }),
    }
}

/// A member that is a string with something in it.
pub(super) fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// A member that is a number of seconds. Old endpoints of Microsoft write it as a string.
pub(super) fn seconds(members: &Map<String, Value>, name: &str) -> Option<Duration> {
    let value = members.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).map(Duration::from_secs)
}

/// What a token endpoint gives (RFC 6749 §5.1).
#[derive(Debug)]
pub(super) struct Tokens {
    pub access_token: Password,
    pub refresh_token: Option<Password>,
    pub expires_in: Option<Duration>,
}

impl Tokens {
    /// Asks a token endpoint.
    pub fn ask(client: &Client<'_>, endpoint: &str, form: &Form) -> Result<Self, Error> {
        let members = ask(client, endpoint, form)?;
        let malformed = |why| Error::Malformed { endpoint: endpoint.to_owned(), why };
        let access_token = text(&members, "access_token").ok_or_else(|| malformed("has no access token"))?;
        // RFC 6749 A.12: anything else could begin a field or a command of its own where it is sent.
        if !access_token.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(malformed("has an access token with characters that no token may have"));
        }
        Ok(Tokens {
            access_token: Password::new(access_token),
            refresh_token: text(&members, "refresh_token").map(Password::new),
            expires_in: seconds(&members, "expires_in"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{ClientProof, Flow};

    fn oauth2() -> OAuth2 {
        OAuth2 {
            token_endpoint: "https://a.example/token".into(),
            flow: Flow::Device { device_endpoint: "https://a.example/device".into() },
            client_id: "popfetch & co".into(),
            revocation_endpoint: None,
            proof: ClientProof::Nothing,
            scope: Some("mail offline_access".into()),
        }
    }

    fn proof() -> Proof {
        Proof::Secret(Password::new("kanarinac"))
    }

    #[test]
    fn a_form_is_encoded_with_the_client_in_it() {
        let form =
            Form::grant("refresh_token", &oauth2(), &proof()).with("refresh_token", "a+b/c=").with_scope(&oauth2());
        assert_eq!(
            form.encoded(),
            "client_id=popfetch+%26+co&client_secret=kanarinac&grant_type=refresh_token\
             &refresh_token=a%2Bb%2Fc%3D&scope=mail+offline_access"
        );
    }

    #[test]
    fn words_of_the_server_are_shown_without_secrets_and_controls() {
        let form = Form::grant("refresh_token", &oauth2(), &proof()).with("refresh_token", "r\u{1b}efresh");
        assert_eq!(form.shown("\u{1b}[2J kanarinac r\u{1b}efresh"), "\\x1b[2J **** ****");
        let padded = format!("{} kanarinac", "x".repeat(195));
        assert!(!form.shown(&padded).contains("kan"), "not even a part that the cut would leave");
    }

    #[test]
    fn seconds_are_numbers_or_strings_of_digits() {
        let members = serde_json::json!({ "a": 3600, "b": "3600", "c": -1, "d": "soon" });
        let members = members.as_object().unwrap();
        assert_eq!(seconds(members, "a"), Some(Duration::from_secs(3600)));
        assert_eq!(seconds(members, "b"), Some(Duration::from_secs(3600)));
        assert_eq!((seconds(members, "c"), seconds(members, "d"), seconds(members, "e")), (None, None, None));
    }
}
