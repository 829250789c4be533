//! The table `oauth2` of an account: a provider whose endpoints are known, or endpoints as they are written.
//!
//! What is written wins over what is known of the provider, so that a tenant's own endpoints need no more than their
//! lines. Client identifiers are nobody's to ship: each is registered by who uses it.

use super::error::{Fault, Place, Problem};
use super::forms::{self, Expected};
use super::keys::{self, Row, Said, Secrecy};
use super::value::Value;
use crate::account::{Flow, OAuth2, Password};

/// Every key of the table.
pub(super) static KEYS: &[Row<Draft>] = &[
    Row::<Draft>::new("provider", |draft, said| said.some(&mut draft.provider, provider)),
    Row::<Draft>::new("client_id", |draft, said| said.some(&mut draft.client_id, word)).elsewhere(&["client", "id"]),
    Row::<Draft>::new("client_secret", |draft, said| {
        said.some(&mut draft.client_secret, |value| word(value).map(Password::new))
    })
    .is(Secrecy::Secret)
    .elsewhere(&["secret"]),
    Row::<Draft>::new("scope", |draft, said| said.some(&mut draft.scope, word)).elsewhere(&["scopes"]),
    Row::<Draft>::new("flow", |draft, said| said.some(&mut draft.flow, flow)),
    Row::<Draft>::new("device_endpoint", |draft, said| said.some(&mut draft.device_endpoint, endpoint)).elsewhere(&[
        "device_authorization_endpoint",
        "device_uri",
        "device_url",
    ]),
    Row::<Draft>::new("authorization_endpoint", |draft, said| said.some(&mut draft.authorization_endpoint, endpoint))
        .elsewhere(&["auth_uri", "auth_url", "authorize_endpoint", "authorization_url"]),
    Row::<Draft>::new("token_endpoint", |draft, said| said.some(&mut draft.token_endpoint, endpoint))
        .elsewhere(&["token_uri", "token_url"]),
];

const TABLE: Expected = Expected::new("a table such as `{ provider = \"google\", client_id = \"…\" }`");
const PROVIDER: Expected = Expected::new("\"google\" or \"microsoft\"; for another one, write its endpoints");
const FLOW: Expected = Expected::new("\"device\" or \"redirect\"");
const NO_DEVICE_FLOW: Expected =
    Expected::new("\"redirect\": Google does not give access to mail through its device flow");
const WORD: Expected = Expected::new("a string that is not empty");

/// What is known of a provider.
#[derive(Debug, Clone, Copy)]
struct Provider {
    device_endpoint: Option<&'static str>,
    authorization_endpoint: &'static str,
    token_endpoint: &'static str,
    scope: &'static str,
    flow: Kind,
}

/// <https://developers.google.com/identity/protocols/oauth2/native-app>. The device flow has a short list of scopes,
/// and mail is not on it. Without the two parameters a second sign-in is answered without a refresh token.
const GOOGLE: Provider = Provider {
    device_endpoint: None,
    authorization_endpoint: "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&prompt=consent",
    token_endpoint: "https://oauth2.googleapis.com/token",
    scope: "https://mail.google.com/",
    flow: Kind::Redirect,
};

/// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code>, `common` for accounts of any tenant.
const MICROSOFT: Provider = Provider {
    device_endpoint: Some("https://login.microsoftonline.com/common/oauth2/v2.0/devicecode"),
    authorization_endpoint: "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
    token_endpoint: "https://login.microsoftonline.com/common/oauth2/v2.0/token",
    scope: "https://outlook.office.com/POP.AccessAsUser.All offline_access",
    flow: Kind::Device,
};

/// What has been written; a provider gives the rest.
#[derive(Debug, Default)]
pub(super) struct Draft {
    provider: Option<Provider>,
    client_id: Option<String>,
    client_secret: Option<Password>,
    scope: Option<String>,
    flow: Option<Kind>,
    device_endpoint: Option<String>,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Device,
    Redirect,
}

/// Understands the table.
pub(super) fn read(said: &Said<'_>) -> Result<OAuth2, Vec<Fault>> {
    let table = said.table(TABLE)?;
    let place = Place::Key("oauth2");
    let mut draft = Draft::default();
    let faults = keys::read(KEYS, table, &place, said.paths, &mut draft);
    if !faults.is_empty() {
        return Err(faults);
    }
    let provider = draft.provider.take();
    let device = draft.device_endpoint.take().or_else(|| Some(provider?.device_endpoint?.to_owned()));
    if draft.flow == Some(Kind::Device) && device.is_none() && provider.is_some() {
        let flow = table.get("flow").map(|entry| Said::of(entry, said.paths));
        return Err(flow.map(|flow| flow.wrong(NO_DEVICE_FLOW)).unwrap_or_default());
    }
    draft
        .with_provider(provider, device)
        .map_err(|keys| vec![said.entry.at_key(Problem::Missing { place, keys }, true)])
}

impl Draft {
    /// The whole of it, or the keys that are missing.
    fn with_provider(self, provider: Option<Provider>, device: Option<String>) -> Result<OAuth2, Vec<&'static str>> {
        let known = |of: fn(Provider) -> &'static str| provider.map(|provider| of(provider).to_owned());
        let usual = if device.is_some() { Kind::Device } else { Kind::Redirect };
        let flow = match self.flow.unwrap_or(provider.map_or(usual, |provider| provider.flow)) {
            Kind::Device => device
                .map(|device_endpoint| Flow::Device { device_endpoint })
                .ok_or("`device_endpoint` (or `flow = \"redirect\"`)"),
            Kind::Redirect => self
                .authorization_endpoint
                .or_else(|| known(|provider| provider.authorization_endpoint))
                .map(|authorization_endpoint| Flow::Redirect { authorization_endpoint })
                .ok_or("`authorization_endpoint` (or `device_endpoint`, or `provider`)"),
        };
        let token_endpoint = self.token_endpoint.or_else(|| known(|provider| provider.token_endpoint));
        let token_endpoint = token_endpoint.ok_or("`token_endpoint` (or `provider`)");
        let client_id = self.client_id.ok_or("`client_id`");
        let scope = self.scope.or_else(|| known(|provider| provider.scope));
        match (token_endpoint, flow, client_id) {
            (Ok(token_endpoint), Ok(flow), Ok(client_id)) => {
                Ok(OAuth2 { token_endpoint, flow, client_id, client_secret: self.client_secret, scope })
            }
            (token_endpoint, flow, client_id) => {
                Err([token_endpoint.err(), flow.err(), client_id.err()].into_iter().flatten().collect())
            }
        }
    }
}

fn provider(value: &Value) -> Result<Provider, Expected> {
    match value.text() {
        "google" => Ok(GOOGLE),
        "microsoft" => Ok(MICROSOFT),
        _ => Err(PROVIDER),
    }
}

fn flow(value: &Value) -> Result<Kind, Expected> {
    match value.text() {
        "device" => Ok(Kind::Device),
        "redirect" => Ok(Kind::Redirect),
        _ => Err(FLOW),
    }
}

fn endpoint(value: &Value) -> Result<String, Expected> {
    forms::endpoint(value.text())
}

fn word(value: &Value) -> Result<String, Expected> {
    Some(value.text()).filter(|text| !text.is_empty()).map(str::to_owned).ok_or(WORD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::paths::{Environment, Paths};
    use crate::config::value;

    fn read_table(text: &str) -> Result<OAuth2, String> {
        let table = value::from_toml(&format!("oauth2 = {{ {text} }}")).table;
        let environment = Environment::default();
        let said = Said::of(table.get("oauth2").unwrap(), Paths { environment: &environment, folder: "/".as_ref() });
        read(&said).map_err(|faults| faults[0].problem.to_string())
    }

    #[test]
    fn a_provider_needs_no_more_than_a_client() {
        let google = read_table("provider = \"google\", client_id = \"c\", client_secret = \"s\"").unwrap();
        assert_eq!(google.token_endpoint, "https://oauth2.googleapis.com/token");
        assert_eq!(google.scope.as_deref(), Some("https://mail.google.com/"));
        assert_eq!(google.client_secret, Some(Password::new("s")));
        assert!(matches!(google.flow, Flow::Redirect { .. }));
        let microsoft = read_table("provider = \"microsoft\", client_id = \"c\"").unwrap();
        assert!(matches!(microsoft.flow, Flow::Device { .. }));
        assert!(microsoft.scope.unwrap().ends_with(" offline_access"));
    }

    #[test]
    fn what_is_written_wins_over_the_provider() {
        let tenant = "https://login.microsoftonline.com/tenant/token";
        let text =
            format!("provider = \"microsoft\", client_id = \"c\", flow = \"redirect\", token_endpoint = {tenant:?}");
        let oauth2 = read_table(&text).unwrap();
        assert_eq!(oauth2.token_endpoint, tenant);
        assert!(matches!(oauth2.flow, Flow::Redirect { .. }));
    }

    #[test]
    fn endpoints_alone_are_enough_and_say_which_flow() {
        let oauth2 = read_table(
            "client_id = \"c\", token_endpoint = \"https://a/t\", device_endpoint = \"http://127.0.0.1:1/d\"",
        );
        assert_eq!(oauth2.unwrap().flow, Flow::Device { device_endpoint: "http://127.0.0.1:1/d".into() });
    }

    #[test]
    fn every_mistake_says_what_is_expected() {
        for (text, expected) in [
            ("provider = \"gogle\", client_id = \"c\"", "`provider` cannot be \"gogle\"; expected \"google\" or"),
            ("provider = \"google\"", "`client_id` is missing in `oauth2`"),
            ("client_id = \"c\"", "`token_endpoint` (or `provider`) and `authorization_endpoint` (or"),
            ("client_id = \"c\", token_endpoint = \"https://a/t\"", "`authorization_endpoint` (or `device_endpoint`"),
            ("clientid = \"c\"", "unknown key `clientid` in `oauth2`; did you mean `client_id`?"),
            ("provider = \"google\", client_id = \"c\", flow = \"device\"", "expected \"redirect\": Google does not"),
            (
                "provider = \"google\", client_id = \"c\", flow = \"x\"",
                "`flow` cannot be \"x\"; expected \"device\" or",
            ),
            (
                "client_id = \"c\", token_endpoint = \"http://a/t\"",
                "`token_endpoint` cannot be \"http://a/t\"; expected",
            ),
            ("client_id = \"c\", client_secret = 7777, provider = \"google\"", "`client_secret` cannot be an integer;"),
        ] {
            let message = read_table(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
