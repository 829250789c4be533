//! The table `oauth2` of an account: a provider whose endpoints are known, or endpoints as they are written.
//!
//! What is written wins over what is known of the provider, so that a tenant's own endpoints need no more than their
//! lines. Client identifiers are nobody's to ship: each is registered by who uses it.

use std::path::PathBuf;

use super::error::{Fault, Place, Problem};
use super::forms::{self, Expected};
use super::keys::{self, Row, Said, Secrecy};
use super::paths::Paths;
use super::settings;
use super::value::Value;
use crate::account::{ClientProof, Flow, OAuth2, Password};

/// Every key of the table.
pub(super) static KEYS: &[Row<Draft>] = &[
    Row::<Draft>::new("provider", |draft, said| said.some(&mut draft.provider, provider)),
    Row::<Draft>::new("client_id", |draft, said| said.some(&mut draft.client_id, word)).elsewhere(&["client", "id"]),
    Row::<Draft>::new("tenant", |draft, said| said.some(&mut draft.tenant, tenant)).elsewhere(&[
        "tenant_id",
        "directory_id",
        "directory",
    ]),
    Row::<Draft>::new("client_secret", |draft, said| {
        said.some(&mut draft.secret, |value| word(value).map(Password::new).map(ClientProof::Secret))
    })
    .one_of(SECRET)
    .is(Secrecy::Secret)
    .elsewhere(&["secret"]),
    Row::<Draft>::new("client_secret_command", |draft, said| {
        said.some(&mut draft.secret, |value| settings::program(value, said.paths).map(ClientProof::SecretCommand))
    })
    .one_of(SECRET)
    .is(Secrecy::Hidden)
    .elsewhere(&["secret_command", "client_secret_cmd"]),
    Row::<Draft>::new("client_secret_file", |draft, said| {
        said.some(&mut draft.secret, |value| {
            settings::credential_or_path(value, said.paths).map(ClientProof::SecretFile)
        })
    })
    .one_of(SECRET)
    .is(Secrecy::Hidden)
    .elsewhere(&["secret_file"]),
    Row::<Draft>::new("client_certificate", |draft, said| {
        said.some(&mut draft.certificate, |value| path(value, said.paths))
    })
    .excludes(SECRETS)
    .elsewhere(&["certificate", "cert", "certfile", "client_cert"]),
    Row::<Draft>::new("client_key", |draft, said| said.some(&mut draft.key, |value| path(value, said.paths)))
        .excludes(SECRETS)
        .elsewhere(&["private_key", "key", "keyfile", "client_private_key"]),
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
    Row::<Draft>::new("revocation_endpoint", |draft, said| said.some(&mut draft.revocation_endpoint, endpoint))
        .elsewhere(&["revoke_endpoint", "revocation_uri", "revoke_url"]),
];

/// Of the ways to a client's secret, one.
const SECRET: &str = "client secret";
const SECRETS: &[&str] = &["client_secret", "client_secret_command", "client_secret_file"];

const TABLE: Expected = Expected::new("a table such as `{ provider = \"google\", client_id = \"…\" }`");
const PROVIDER: Expected = Expected::new("\"google\" or \"microsoft\"; for another one, write its endpoints");
const FLOW: Expected = Expected::new("\"device\", \"redirect\" or \"client_credentials\"");
const NO_DEVICE_FLOW: Expected =
    Expected::new("\"redirect\": Google does not give access to mail through its device flow");
const NO_CLIENT_CREDENTIALS: Expected =
    Expected::new("\"redirect\": Google does not open mailboxes to a client by `client_credentials`");
const NO_TENANTS: Expected = Expected::new("nothing: only Microsoft has tenants");
const TENANT: Expected =
    Expected::new("the ID or a domain of a tenant of Microsoft's, such as \"example.onmicrosoft.com\"");
const FOR_SERVICES: Expected = Expected::new("nothing: a key is for `flow = \"client_credentials\"`");
const WORD: Expected = Expected::new("a string that is not empty");

/// In the endpoints of Microsoft, where a tenant stands.
const COMMON: &str = "/common/";

/// What is known of a provider.
#[derive(Debug, Clone, Copy)]
struct Provider {
    device_endpoint: Option<&'static str>,
    authorization_endpoint: &'static str,
    token_endpoint: &'static str,
    revocation_endpoint: Option<&'static str>,
    scope: &'static str,
    /// The scope of a service; `None` where a service cannot read mail.
    scope_of_service: Option<&'static str>,
    flow: Kind,
}

/// <https://developers.google.com/identity/protocols/oauth2/native-app>. The device flow has a short list of scopes,
/// and mail is not on it. Without the two parameters a second sign-in is answered without a refresh token.
const GOOGLE: Provider = Provider {
    device_endpoint: None,
    authorization_endpoint: "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&prompt=consent",
    token_endpoint: "https://oauth2.googleapis.com/token",
    revocation_endpoint: Some("https://oauth2.googleapis.com/revoke"),
    scope: "https://mail.google.com/",
    scope_of_service: None,
    flow: Kind::Redirect,
};

/// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code>, `common` for accounts of any tenant.
/// It revokes no tokens.
const MICROSOFT: Provider = Provider {
    device_endpoint: Some("https://login.microsoftonline.com/common/oauth2/v2.0/devicecode"),
    authorization_endpoint: "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
    token_endpoint: "https://login.microsoftonline.com/common/oauth2/v2.0/token",
    revocation_endpoint: None,
    scope: "https://outlook.office.com/POP.AccessAsUser.All offline_access",
    scope_of_service: Some("https://outlook.office365.com/.default"),
    flow: Kind::Device,
};

/// What has been written; a provider gives the rest.
#[derive(Debug, Default)]
pub(super) struct Draft {
    provider: Option<Provider>,
    tenant: Option<String>,
    client_id: Option<String>,
    secret: Option<ClientProof>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    scope: Option<String>,
    flow: Option<Kind>,
    device_endpoint: Option<String>,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Device,
    Redirect,
    ClientCredentials,
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
    let wrong = |key: &str, expected: Expected| {
        let entry = table.get(key).map(|entry| Said::of(entry, said.paths));
        entry.map(|entry| entry.wrong(expected)).unwrap_or_default()
    };
    if draft.tenant.is_some() && draft.provider.is_some_and(|provider| provider.tenant().is_none()) {
        return Err(wrong("tenant", NO_TENANTS));
    }
    // Only Microsoft has tenants.
    let provider = draft.provider.take().or(draft.tenant.is_some().then_some(MICROSOFT));
    let device = draft.device_endpoint.take().or_else(|| Some(provider?.device_endpoint?.to_owned()));
    match (draft.flow, provider) {
        (Some(Kind::Device), Some(_)) if device.is_none() => return Err(wrong("flow", NO_DEVICE_FLOW)),
        (Some(Kind::ClientCredentials), Some(Provider { scope_of_service: None, .. })) => {
            return Err(wrong("flow", NO_CLIENT_CREDENTIALS));
        }
        (Some(Kind::ClientCredentials), _) => {}
        _ if draft.certificate.is_some() => return Err(wrong("client_certificate", FOR_SERVICES)),
        _ if draft.key.is_some() => return Err(wrong("client_key", FOR_SERVICES)),
        _ => {}
    }
    draft
        .with_provider(provider, device)
        .map_err(|keys| vec![said.entry.at_key(Problem::Missing { place, keys }, true)])
}

/// A token of Microsoft's is for one protocol: that of accounts, unless a target of this kind wants it.
/// <https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>
pub(super) fn for_protocol(oauth2: &mut OAuth2, kind: &str) {
    let permission = match kind {
        "imap" | "imaps" => "/IMAP.AccessAsUser.All",
        "smtp" | "smtps" => "/SMTP.Send",
        _ => return,
    };
    if oauth2.scope.as_deref() == Some(MICROSOFT.scope) {
        oauth2.scope = Some(MICROSOFT.scope.replace("/POP.AccessAsUser.All", permission));
    }
}

impl Provider {
    /// The part of its endpoints in whose place a tenant stands.
    fn tenant(&self) -> Option<&'static str> {
        self.token_endpoint.contains(COMMON).then_some(COMMON)
    }
}

impl Draft {
    /// The whole of it, or the keys that are missing.
    fn with_provider(self, provider: Option<Provider>, device: Option<String>) -> Result<OAuth2, Vec<&'static str>> {
        let of_tenant = |endpoint: &str| match &self.tenant {
            Some(tenant) => endpoint.replacen(COMMON, &format!("/{tenant}/"), 1),
            None => endpoint.to_owned(),
        };
        let known = |of: fn(Provider) -> &'static str| provider.map(|provider| of_tenant(of(provider)));
        let usual = if device.is_some() { Kind::Device } else { Kind::Redirect };
        let kind = self.flow.unwrap_or(provider.map_or(usual, |provider| provider.flow));
        let is_service = kind == Kind::ClientCredentials;
        let flow = match kind {
            Kind::Device => device
                .map(|endpoint| Flow::Device { device_endpoint: of_tenant(&endpoint) })
                .ok_or("`device_endpoint` (or `flow = \"redirect\"`)"),
            Kind::Redirect => self
                .authorization_endpoint
                .or_else(|| known(|provider| provider.authorization_endpoint))
                .map(|authorization_endpoint| Flow::Redirect { authorization_endpoint })
                .ok_or("`authorization_endpoint` (or `device_endpoint`, or `provider`)"),
            // Nobody signs in who would say which tenant it is.
            Kind::ClientCredentials if self.token_endpoint.is_none() && self.tenant.is_none() => {
                Err("`tenant` (or `token_endpoint`)")
            }
            Kind::ClientCredentials => Ok(Flow::ClientCredentials),
        };
        let scope = self.scope.or_else(|| {
            let provider = provider?;
            if is_service { provider.scope_of_service } else { Some(provider.scope) }.map(str::to_owned)
        });
        let revocation_endpoint = self.revocation_endpoint.or_else(|| provider?.revocation_endpoint.map(str::to_owned));
        let proof = match (self.secret, self.certificate, self.key) {
            (Some(secret), ..) => Ok(secret),
            (None, Some(certificate), Some(key)) => Ok(ClientProof::Key { certificate, key }),
            (None, Some(_), None) => Err("`client_key`"),
            (None, None, Some(_)) => Err("`client_certificate`"),
            (None, None, None) if is_service => Err("`client_secret_file` (or another proof of the client)"),
            (None, None, None) => Ok(ClientProof::Nothing),
        };
        let token_endpoint = match self.token_endpoint.or_else(|| known(|provider| provider.token_endpoint)) {
            // The tenant is missing, and stands for it.
            None if is_service => Ok(String::new()),
            endpoint => endpoint.ok_or("`token_endpoint` (or `provider`)"),
        };
        let client_id = self.client_id.ok_or("`client_id`");
        match (token_endpoint, flow, client_id, proof) {
            (Ok(token_endpoint), Ok(flow), Ok(client_id), Ok(proof)) => {
                Ok(OAuth2 { token_endpoint, revocation_endpoint, flow, client_id, proof, scope })
            }
            (token_endpoint, flow, client_id, proof) => {
                let missing = [token_endpoint.err(), flow.err(), client_id.err(), proof.err()];
                Err(missing.into_iter().flatten().collect())
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
        "client_credentials" => Ok(Kind::ClientCredentials),
        _ => Err(FLOW),
    }
}

/// An ID or a domain name: it becomes a part of a path.
fn tenant(value: &Value) -> Result<String, Expected> {
    let is_part = |octet: u8| octet.is_ascii_alphanumeric() || b"-.".contains(&octet);
    let tenant = Some(value.text()).filter(|text| text.bytes().all(is_part) && text.contains(['-', '.']));
    tenant.filter(|text| !text.starts_with('.')).map(str::to_owned).ok_or(TENANT)
}

fn path(value: &Value, paths: Paths<'_>) -> Result<PathBuf, Expected> {
    settings::credential_or_path(value, paths)
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
        assert_eq!(google.proof, ClientProof::Secret(Password::new("s")));
        assert_eq!(google.revocation_endpoint.as_deref(), Some("https://oauth2.googleapis.com/revoke"));
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
    fn a_service_of_microsoft_needs_its_tenant_and_a_proof() {
        let service = "flow = \"client_credentials\", tenant = \"example.onmicrosoft.com\", client_id = \"c\"";
        let oauth2 = read_table(&format!("{service}, client_secret_file = \"/s\"")).unwrap();
        assert_eq!(
            oauth2.token_endpoint,
            "https://login.microsoftonline.com/example.onmicrosoft.com/oauth2/v2.0/token"
        );
        assert_eq!(oauth2.scope.as_deref(), Some("https://outlook.office365.com/.default"));
        assert_eq!((oauth2.flow, oauth2.proof), (Flow::ClientCredentials, ClientProof::SecretFile("/s".into())));
        let key = read_table(&format!("{service}, client_certificate = \"/c\", client_key = \"/k\"")).unwrap();
        assert_eq!(key.proof, ClientProof::Key { certificate: "/c".into(), key: "/k".into() });
        let command = read_table(&format!("{service}, client_secret_command = [\"pass\", \"x\"]")).unwrap();
        assert_eq!(command.proof, ClientProof::SecretCommand(vec!["pass".into(), "x".into()]));
        let elsewhere = "flow = \"client_credentials\", token_endpoint = \"https://a/t\", client_id = \"c\"";
        assert_eq!(read_table(&format!("{elsewhere}, client_secret = \"s\"")).unwrap().scope, None);
    }

    #[test]
    fn a_tenant_stands_in_the_endpoints_of_every_flow() {
        let device = read_table("provider = \"microsoft\", tenant = \"a-b\", client_id = \"c\"").unwrap();
        let device_endpoint = "https://login.microsoftonline.com/a-b/oauth2/v2.0/devicecode".to_owned();
        assert_eq!(device.flow, Flow::Device { device_endpoint });
        let browser = read_table("tenant = \"a-b\", client_id = \"c\", flow = \"redirect\"").unwrap();
        let authorization_endpoint = "https://login.microsoftonline.com/a-b/oauth2/v2.0/authorize".to_owned();
        assert_eq!(browser.flow, Flow::Redirect { authorization_endpoint });
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
            ("provider = \"google\", client_id = \"c\", flow = \"x\"", "`flow` cannot be \"x\"; expected \"device\", "),
            (
                "client_id = \"c\", token_endpoint = \"http://a/t\"",
                "`token_endpoint` cannot be \"http://a/t\"; expected",
            ),
            ("client_id = \"c\", client_secret = 7777, provider = \"google\"", "`client_secret` cannot be an integer;"),
            (
                "provider = \"microsoft\", client_id = \"c\", flow = \"client_credentials\"",
                "`tenant` (or `token_endpoint`) and `client_secret_file` (or another proof of the client) are missing",
            ),
            (
                "tenant = \"a-b\", client_id = \"c\", flow = \"client_credentials\", client_key = \"/k\"",
                "`client_certificate` is missing",
            ),
            (
                "tenant = \"a-b\", client_id = \"c\", flow = \"client_credentials\", client_certificate = \"/c\"",
                "`client_key` is missing",
            ),
            (
                "provider = \"google\", client_id = \"c\", flow = \"client_credentials\"",
                "expected \"redirect\": Google does not open mailboxes",
            ),
            ("provider = \"google\", client_id = \"c\", tenant = \"a-b\"", "only Microsoft has tenants"),
            ("client_id = \"c\", tenant = \"a/b.c\"", "`tenant` cannot be \"a/b.c\"; expected the ID or a domain"),
            ("client_id = \"c\", tenant = \"common\"", "expected the ID or a domain"),
            (
                "tenant = \"a-b\", client_id = \"c\", client_certificate = \"/c\", client_key = \"/k\"",
                "a key is for `flow = \"client_credentials\"`",
            ),
            (
                "tenant = \"a-b\", client_id = \"c\", client_secret = \"s\", client_secret_file = \"/s\"",
                "`client_secret` and `client_secret_file` exclude each other",
            ),
            (
                "tenant = \"a-b\", client_id = \"c\", client_key = \"/k\", client_secret_file = \"/s\"",
                "`client_key` and `client_secret_file` exclude each other",
            ),
        ] {
            let message = read_table(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn a_token_of_microsofts_is_for_the_protocol_of_the_target() {
        let scope = |kind: &str, text: &str| {
            let mut oauth2 = read_table(text).unwrap();
            for_protocol(&mut oauth2, kind);
            oauth2.scope.unwrap()
        };
        let microsoft = "provider = \"microsoft\", client_id = \"c\"";
        for (kind, expected) in
            [("imaps", "IMAP.AccessAsUser.All"), ("smtp", "SMTP.Send"), ("pop3", "POP.AccessAsUser.All")]
        {
            let expected = format!("https://outlook.office.com/{expected} offline_access");
            assert_eq!(scope(kind, microsoft), expected, "{kind}");
        }
        assert_eq!(scope("imap", &format!("{microsoft}, scope = \"mine\"")), "mine");
        assert_eq!(scope("imap", "provider = \"google\", client_id = \"c\""), "https://mail.google.com/");
    }
}
