//! What an account amounts to: every key with its value, as it could be written.
//!
//! What the table of keys calls a secret is masked, and so is what may hold one by mistake.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use chrono::DateTime;

use super::account_keys;
use super::keys::{Key, Secrecy};
use crate::account::{
    Account, Auth, Body, ClientProof, Flow, Keep, MaxOctets, OAuth2, Order, Post, Proxy, Route, Secret, Sender, Server,
    Start, Target, TlsMode,
};
use crate::rules::{Action, Bound, Condition, Rule};
use crate::text;

/// In the place of a secret.
const MASK: &str = "\"****\"";

/// The lines of a table, the first one its name.
pub fn shown(account: &Account) -> Vec<String> {
    let name = key(&account.name);
    let keys = account_keys().filter(|key| key.name != "url").filter_map(|key| line(key, account));
    let servers = account.targets.iter().filter_map(|target| Some(of_server(target, target.server()?)));
    [format!("[accounts.{name}]")].into_iter().chain(keys).chain(servers).collect()
}

/// What the table of a target says of a server, as a comment: an account has no such keys.
fn of_server(target: &Target, server: &Server) -> String {
    let sender = match &server.sender {
        Sender::ReturnPath => "return-path",
        Sender::Nobody => "<>",
        Sender::Address(address) => address,
    };
    let Server { recipient, in_flight, headers, tls, user, post, create, .. } = server;
    let words = [(headers.received, "received"), (headers.delivered_to, "delivered-to"), (headers.id, "id")];
    let words = words.iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, word)| string(word)).collect();
    let user = user.as_ref().map_or_else(String::new, |user| format!(", user = {}", string(user)));
    let (target, recipient, words) = (string(&target.to_string()), string(recipient), array(words));
    let tls = string(mode(tls.mode));
    let how = match post {
        _ if !server.mailbox.is_empty() => format!("create = {create}"),
        Some(post) => format!("recipient = {recipient}, {}, in_flight = {in_flight}", of_post(post)),
        None => format!("recipient = {recipient}, sender = {}, in_flight = {in_flight}", string(sender)),
    };
    format!("# {target}: {how}, headers = {words}, tls = {tls}{user}")
}

fn of_post(post: &Post) -> String {
    let body = match &post.body {
        Body::Raw => "raw".to_owned(),
        Body::Form(field) => format!("form:{field}"),
        Body::FormBase64(field) => format!("form-base64:{field}"),
    };
    let fields = |fields: &[(String, Secret)]| {
        let masked: Vec<String> = fields.iter().map(|(name, _)| format!("{} = {MASK}", key(name))).collect();
        if masked.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", masked.join(", ")) }
    };
    format!("body = {}, request_headers = {}, form = {}", string(&body), fields(&post.headers), fields(&post.form))
}

fn line(key: &Key, account: &Account) -> Option<String> {
    let Some(value) = value(key, account) else {
        let is_secret_ambient = key.name == "password" && account.secret == Secret::Ambient;
        return match key.group {
            _ if is_secret_ambient => Some(
                "# password is not set: a credential of the service, ~/.netrc, or a question on the terminal"
                    .to_owned(),
            ),
            Some(_) => None,
            None => Some(format!("# {} is not set", key.name)),
        };
    };
    let is_default = key.default.is_some_and(|default| default.to_string() == value);
    Some(format!("{} = {value}{}", key.name, if is_default { " # default" } else { "" }))
}

/// The value as TOML; `None` where there is none.
fn value(key: &Key, account: &Account) -> Option<String> {
    let Account { tls, secret, route, .. } = account;
    let value = match (key.name, secret, route) {
        ("server", ..) => string(&account.host),
        ("port", ..) => account.port.to_string(),
        ("user", ..) => string(&account.user),
        ("password", Secret::Literal(_), _) => MASK.to_owned(),
        ("password_command", Secret::Command(words), _) | ("token_command", Secret::TokenCommand(words), _) => {
            program(words)
        }
        ("password_file", Secret::File(path), _) => file(path),
        ("oauth2", Secret::OAuth2(oauth2), _) => of_oauth2(oauth2),
        ("deliver", ..) => targets(account, 0..account.own_targets),
        ("owner", ..) => string(&account.owner.as_ref()?.name),
        ("keep", ..) => keep(account.keep),
        ("keep_newest", ..) => account.keep_newest?.to_string(),
        ("delete_over", ..) => account.delete_over?.to_string(),
        ("max_octets", ..) => octets(account.max_octets),
        ("min_free", ..) => account.min_free?.to_string(),
        ("order", ..) => string(order(account.order)),
        ("rules", ..) => {
            let rules = account.rules.iter().map(|rule| self::rule(rule, account)).collect::<Vec<_>>();
            Some(array(rules)).filter(|_| !account.rules.is_empty())?
        }
        ("filter", ..) => command(account.filter.as_ref()?),
        ("allow_delete_unread", ..) => account.allow_delete_unread.to_string(),
        ("all", ..) => account.all.to_string(),
        ("start", ..) => start(account.start),
        ("pipelining", ..) => account.pipelining?.to_string(),
        ("max_size", ..) => account.max_size?.to_string(),
        ("max_messages", ..) => account.max_messages?.to_string(),
        ("tls", ..) => string(mode(tls.mode)),
        ("tls_ca_file", ..) => path(tls.ca_file.as_ref()?),
        ("tls_pin", ..) => one_or_all(tls.pins.iter().map(|pin| string(&pin.to_string())).collect()),
        ("tls_name", ..) => string(tls.name.as_ref()?),
        ("tls_verify", ..) => tls.verify.to_string(),
        ("tls_client_identity", ..) => path(&tls.client_identity.as_ref()?.path),
        ("tls_client_identity_password", ..) => {
            tls.client_identity.as_ref()?.password.as_ref().map(|_| MASK.to_owned())?
        }
        ("auth", ..) => string(auth(account.auth)),
        ("source_address", _, Route::Tcp { source: Some(source), .. }) => string(&IpAddr::to_string(source)),
        ("proxy", _, Route::Tcp { proxy: Some(proxy), .. }) => string(&of_proxy(proxy)),
        ("tunnel", _, Route::Tunnel(words)) => command(words),
        ("after", ..) => command(account.after.as_ref()?),
        ("socket", _, Route::Socket(socket)) => path(socket),
        ("retries", ..) => account.retries.to_string(),
        ("timeout", ..) => seconds(account.timeout),
        ("mda_timeout", ..) => seconds(account.mda_timeout),
        ("password_timeout", ..) => seconds(account.password_timeout?),
        ("notify_every", ..) => string(&duration(account.notify_every.as_secs())),
        ("enabled", ..) => account.enabled.to_string(),
        _ => return None,
    };
    (!value.is_empty()).then(|| if key.secrecy == Secrecy::Secret { MASK.to_owned() } else { value })
}

fn targets(account: &Account, positions: impl IntoIterator<Item = usize>) -> String {
    one_or_all(positions.into_iter().map(|position| string(&account.targets[position].to_string())).collect())
}

/// A rule as an inline table.
fn rule(rule: &Rule, account: &Account) -> String {
    let mut pairs = conditions(&rule.conditions);
    match &rule.action {
        Action::Skip => pairs.push("skip = true".to_owned()),
        Action::Delete => pairs.push("delete = true".to_owned()),
        Action::Take { targets: chosen, keep: kept } => {
            let chosen = chosen.as_ref().map(|chosen| targets(account, chosen.iter().copied()));
            pairs.extend(chosen.map(|chosen| format!("deliver = {chosen}")));
            pairs.extend(kept.map(|kept| format!("keep = {}", keep(kept))));
        }
    }
    format!("{{ {} }}", pairs.join(", "))
}

fn conditions(conditions: &[Condition]) -> Vec<String> {
    let group = |group: &[Condition]| format!("{{ {} }}", self::conditions(group).join(", "));
    let shown = conditions.iter().map(|condition| match condition {
        Condition::Field(name, pattern) => format!("{} = {}", key(name), string(pattern.text())),
        Condition::Size(bound) => format!("size = {}", string(&self::bound(*bound, |octets| octets.to_string()))),
        Condition::Age(bound) => format!("age = {}", string(&self::bound(*bound, duration))),
        Condition::Any(groups) => {
            format!("any = {}", array(groups.iter().map(|conditions| group(conditions)).collect()))
        }
        Condition::Not(conditions) => format!("not = {}", group(conditions)),
    });
    shown.collect()
}

fn bound(bound: Bound, shown: impl Fn(u64) -> String) -> String {
    match bound {
        Bound::Above(value) => format!(">{}", shown(value)),
        Bound::Below(value) => format!("<{}", shown(value)),
    }
}

/// A key, in quotes where it needs some.
fn key(name: &str) -> String {
    let is_bare = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-".contains(&octet));
    if is_bare { name.to_owned() } else { string(name) }
}

/// A string of TOML that drives no terminal.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        let number = u32::from(character);
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if text::is_unsafe(character) && number <= 0xffff => {
                write!(quoted, "\\u{number:04x}").expect("a String takes all");
            }
            _ if text::is_unsafe(character) => write!(quoted, "\\U{number:08x}").expect("a String takes all"),
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

fn path(path: impl AsRef<Path>) -> String {
    string(&path.as_ref().to_string_lossy())
}

fn array(values: Vec<String>) -> String {
    format!("[{}]", values.join(", "))
}

fn command(words: &[String]) -> String {
    array(words.iter().map(|word| string(word)).collect())
}

fn one_or_all(mut values: Vec<String>) -> String {
    match values.len() {
        0 => String::new(),
        1 => values.remove(0),
        _ => array(values),
    }
}

/// Its arguments could be the secret.
fn program(words: &[String]) -> String {
    let program = words.first().map(|program| string(program));
    array(program.into_iter().chain((words.len() > 1).then(|| string("****"))).collect())
}

/// Where there is no such file, the password itself may have been written there.
fn file(name: &Path) -> String {
    if name.exists() { path(name) } else { MASK.to_owned() }
}

fn of_oauth2(oauth2: &OAuth2) -> String {
    let OAuth2 { token_endpoint, revocation_endpoint, flow, client_id, proof, scope } = oauth2;
    let (kind, endpoint) = match flow {
        Flow::Device { device_endpoint } => ("device", Some(("device_endpoint", device_endpoint))),
        Flow::Redirect { authorization_endpoint } => {
            ("redirect", Some(("authorization_endpoint", authorization_endpoint)))
        }
        Flow::ClientCredentials => ("client_credentials", None),
    };
    let mut said = vec![("client_id", string(client_id)), ("flow", string(kind))];
    said.extend(endpoint.map(|(name, url)| (name, string(url))));
    said.push(("token_endpoint", string(token_endpoint)));
    said.extend(revocation_endpoint.as_ref().map(|url| ("revocation_endpoint", string(url))));
    said.extend(scope.as_ref().map(|scope| ("scope", string(scope))));
    match proof {
        ClientProof::Nothing => {}
        ClientProof::Secret(_) => said.push(("client_secret", MASK.to_owned())),
        ClientProof::SecretCommand(words) => said.push(("client_secret_command", program(words))),
        ClientProof::SecretFile(name) => said.push(("client_secret_file", file(name))),
        ClientProof::Key { certificate, key } => {
            said.extend([("client_certificate", path(certificate)), ("client_key", path(key))]);
        }
    }
    let pairs: Vec<_> = said.into_iter().map(|(name, value)| format!("{name} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn of_proxy(proxy: &Proxy) -> String {
    let login = if proxy.login.is_some() { "://****:****@" } else { "://" };
    proxy.to_string().replacen("://", login, 1)
}

fn keep(keep: Keep) -> String {
    match keep {
        Keep::Forever => "true".to_owned(),
        Keep::Never => "false".to_owned(),
        Keep::For(time) => string(&duration(time.as_secs())),
    }
}

fn duration(seconds: u64) -> String {
    const UNITS: [(u64, char); 4] = [(86400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let unit = UNITS.iter().find(|(length, _)| seconds.is_multiple_of(*length));
    let (length, unit) = unit.expect("a second divides all");
    if seconds == 0 { "0".to_owned() } else { format!("{}{unit}", seconds / length) }
}

fn start(start: Start) -> String {
    match start {
        Start::All => string("all"),
        Start::Now => string("now"),
        Start::Within(time) => string(&duration(time.as_secs())),
        Start::From(day) => {
            let day = i64::try_from(day).ok().and_then(|day| DateTime::from_timestamp(day, 0));
            string(&day.expect("it was written as a day").format("%F").to_string())
        }
    }
}

fn octets(most: MaxOctets) -> String {
    let per_run = most.per_run.map(|octets| octets.to_string());
    let per_day = most.per_day.map(|octets| string(&format!("{octets}/day")));
    one_or_all(per_run.into_iter().chain(per_day).collect())
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Oldest => "oldest",
        Order::Newest => "newest",
        Order::Smallest => "smallest",
    }
}

fn seconds(time: Duration) -> String {
    time.as_secs().to_string()
}

fn mode(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Implicit => "implicit",
        TlsMode::Starttls => "starttls",
        TlsMode::None => "none",
    }
}

fn auth(auth: Auth) -> &'static str {
    match auth {
        Auth::Auto => "auto",
        Auth::User => "user",
        Auth::Plain => "plain",
        Auth::Apop => "apop",
        Auth::Login => "login",
        Auth::CramMd5 => "cram-md5",
        Auth::ScramSha1 => "scram-sha-1",
        Auth::ScramSha1Plus => "scram-sha-1-plus",
        Auth::ScramSha256 => "scram-sha-256",
        Auth::ScramSha256Plus => "scram-sha-256-plus",
        Auth::External => "external",
        Auth::XOAuth2 => "xoauth2",
        Auth::OAuthBearer => "oauthbearer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_toml_and_drive_no_terminal() {
        assert_eq!(string("a \"b\" \\c"), "\"a \\\"b\\\" \\\\c\"");
        assert_eq!(string("\u{1b}[2J\u{202e}\u{e0001}ž"), "\"\\u001b[2J\\u202e\\U000e0001ž\"");
    }

    #[test]
    fn durations_have_the_largest_unit_that_fits() {
        let kept = |seconds| keep(Keep::For(Duration::from_secs(seconds)));
        assert_eq!([86400 * 14, 3600 * 36, 90 * 60, 61].map(kept), ["\"14d\"", "\"36h\"", "\"90m\"", "\"61s\""]);
    }

    #[test]
    fn the_arguments_of_a_program_and_a_file_that_is_not_there_are_masked() {
        assert_eq!(program(&["pass".into(), "canary".into()]), "[\"pass\", \"****\"]");
        assert_eq!(program(&["/bin/secret".into()]), "[\"/bin/secret\"]");
        assert_eq!(
            (file(Path::new("/etc/passwd")), file(Path::new("/canary"))),
            ("\"/etc/passwd\"".into(), MASK.into())
        );
    }
}
