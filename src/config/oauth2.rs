//! The table `oauth2` of an account: a provider whose endpoints are known, or endpoints as they are written.
//!
//! What is written wins over what is known of the provider, so that a tenant's own endpoints need no more than their
//! lines. Client identifiers are nobody's to ship: each is registered by who uses it.

use super::error::{Fault, Place, Problem};
use super::forms::{self, Expected};
use super::value::{Entry, Table, Value};
use crate::account::{Flow, OAuth2, Password};

const KEYS: [&str; 8] = [
    "provider",
    "client_id",
    "client_secret",
    "scope",
    "flow",
    "device_endpoint",
    "authorization_endpoint",
    "token_endpoint",
];

const TABLE: Expected = Expected("a table such as `{ provider = \"google\", client_id = \"…\" }`");
const PROVIDER: Expected = Expected("\"google\" or \"microsoft\"; for another one, write its endpoints");
const FLOW: Expected = Expected("\"device\" or \"redirect\"");
const NO_DEVICE_FLOW: Expected = Expected("\"redirect\": Google does not give access to mail through its device flow");
const WORD: Expected = Expected("a string that is not empty");

/// What is known of a provider.
#[derive(Debug, Clone, Copy)]
struct Provider {
    device_endpoint: Option<&'static str>,
    authorization_endpoint: &'static str,
    token_endpoint: &'static str,
    scope: &'static str,
    flow: &'static str,
}

/// <https://developers.google.com/identity/protocols/oauth2/native-app>. The device flow has a short list of scopes,
/// and mail is not on it. Without the two parameters a second sign-in is answered without a refresh token.
const GOOGLE: Provider = Provider {
    device_endpoint: None,
    authorization_endpoint: "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&prompt=consent",
    token_endpoint: "https://oauth2.googleapis.com/token",
    scope: "https://mail.google.com/",
    flow: "redirect",
};

/// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code>, `common` for accounts of any tenant.
const MICROSOFT: Provider = Provider {
    device_endpoint: Some("https://login.microsoftonline.com/common/oauth2/v2.0/devicecode"),
    authorization_endpoint: "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
    token_endpoint: "https://login.microsoftonline.com/common/oauth2/v2.0/token",
    scope: "https://outlook.office.com/POP.AccessAsUser.All offline_access",
    flow: "device",
};

/// Understands the table.
pub(super) fn read(entry: &Entry) -> Result<OAuth2, Fault> {
    let Value::Table(table) = &entry.value else { return Err(entry.fault(TABLE)) };
    if let Some(unknown) = table.iter().find(|entry| !KEYS.contains(&entry.key.as_str())) {
        let (key, place) = (unknown.key.clone(), Place::Key("oauth2"));
        return Err(Fault { at: unknown.key_at, problem: Problem::UnknownKey { key, place, known: KEYS.to_vec() } });
    }
    let missing = |keys| Fault { at: entry.key_at, problem: Problem::Missing { place: Place::Key("oauth2"), keys } };
    let provider = provider(table)?;
    let known = |endpoint: fn(&Provider) -> Option<&'static str>| provider.as_ref().and_then(endpoint);
    let token_endpoint = endpoint(table, "token_endpoint", known(|provider| Some(provider.token_endpoint)))?;
    Ok(OAuth2 {
        token_endpoint: token_endpoint.ok_or_else(|| missing("`token_endpoint` (or `provider`) is"))?,
        flow: flow(table, provider)?.map_err(missing)?,
        client_id: word(table, "client_id")?.ok_or_else(|| missing("`client_id` is"))?,
        client_secret: word(table, "client_secret")?.map(Password::new),
        scope: word(table, "scope")?.or_else(|| known(|provider| Some(provider.scope)).map(str::to_owned)),
    })
}

fn provider(table: &Table) -> Result<Option<Provider>, Fault> {
    let Some(entry) = table.get("provider") else { return Ok(None) };
    match &entry.value {
        Value::String(name) if name == "google" => Ok(Some(GOOGLE)),
        Value::String(name) if name == "microsoft" => Ok(Some(MICROSOFT)),
        _ => Err(entry.fault(PROVIDER)),
    }
}

/// The flow that is written, or the provider's, or the one that has an endpoint; else what is missing for it.
fn flow(table: &Table, provider: Option<Provider>) -> Result<Result<Flow, &'static str>, Fault> {
    let device = endpoint(table, "device_endpoint", provider.and_then(|provider| provider.device_endpoint))?;
    let known = provider.map(|provider| provider.authorization_endpoint);
    let authorization = endpoint(table, "authorization_endpoint", known)?;
    let usual = provider.map_or(if device.is_some() { "device" } else { "redirect" }, |provider| provider.flow);
    let name = match table.get("flow") {
        None => usual,
        Some(entry) => match &entry.value {
            Value::String(name) if name == "device" && device.is_none() && provider.is_some() => {
                return Err(entry.fault(NO_DEVICE_FLOW));
            }
            Value::String(name) if ["device", "redirect"].contains(&name.as_str()) => name,
            _ => return Err(entry.fault(FLOW)),
        },
    };
    Ok(match name {
        "device" => device
            .map(|device_endpoint| Flow::Device { device_endpoint })
            .ok_or("`device_endpoint` (or `flow = \"redirect\"`) is"),
        _ => authorization
            .map(|authorization_endpoint| Flow::Redirect { authorization_endpoint })
            .ok_or("`authorization_endpoint` (or `device_endpoint`, or `provider`) is"),
    })
}

fn endpoint(table: &Table, key: &str, known: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(entry) = table.get(key) else { return Ok(known.map(str::to_owned)) };
    let Value::String(text) = &entry.value else { return Err(entry.fault(forms::ENDPOINT)) };
    forms::endpoint(text).map(Some).map_err(|expected| entry.fault(expected))
}

fn word(table: &Table, key: &str) -> Result<Option<String>, Fault> {
    let Some(entry) = table.get(key) else { return Ok(None) };
    match &entry.value {
        Value::String(text) if !text.is_empty() => Ok(Some(text.clone())),
        _ => Err(entry.fault(WORD)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value;

    fn read_table(text: &str) -> Result<OAuth2, String> {
        let table = value::from_toml(&format!("oauth2 = {{ {text} }}")).unwrap();
        read(table.get("oauth2").unwrap()).map_err(|fault| fault.problem.to_string())
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
            ("client_id = \"c\"", "`token_endpoint` (or `provider`) is missing in `oauth2`"),
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
