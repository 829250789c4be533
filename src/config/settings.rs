//! The keys of an account: what they mean, one declaration for each.
//!
//! `[defaults]`, an account and the options of the command line are read one over the other into a [`Draft`]. A value
//! is checked where it is read, so that an error can point at it. A new key is a row of [`KEYS`], a field of
//! [`Account`] and its lines in [`Draft::new`] and in `shown`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Uid;

use super::error::{Fault, Problem};
use super::forms::{self, Expected};
use super::keys::{self, CONNECTION, FETCH, Literal, Row, Said, Secrecy, Takes};
use super::oauth2;
use super::paths::{self, Paths};
use super::proxy;
use super::rules;
use super::target::{self, Targets, Written};
use super::url::{self, Url};
use super::value::{Item, Value};
use crate::account::{
    Account, Auth, ClientIdentity, Keep, MaxOctets, Order, Password, Pin, Route, Secret, Start, Tls, TlsMode,
};
use crate::os::user::User;

/// Every key of an account, in the order of the manual.
pub(super) static KEYS: &[Row<Draft>] = &[
    Row::<Draft>::new("url", |draft, said| {
        draft.set_url(url(said)?);
        Ok(())
    })
    .of_account()
    .is(Secrecy::Hidden)
    .excludes(&["server", "port", "tls", "user"])
    .elsewhere(&["uri", "address"]),
    Row::<Draft>::new("server", |draft, said| said.set(&mut draft.account.host, |value| url::host(value.text())))
        .of_account()
        .elsewhere(&["host", "hostname", "via", "pop3", "pop3_server", "pop_server", "servername", "retriever"]),
    Row::<Draft>::new("port", |draft, said| said.some(&mut draft.port, port))
        .of_account()
        .mostly(Literal::Integer(995))
        .elsewhere(&["service"]),
    Row::<Draft>::new("user", |draft, said| said.set(&mut draft.account.user, |value| url::user(value.text())))
        .of_account()
        .elsewhere(&["username", "login", "user_name", "email", "mail", "account", "remote_user"]),
    Row::<Draft>::new("password", |draft, said| {
        said.set(&mut draft.account.secret, |value| password(value).map(Secret::Literal))
    })
    .of_account()
    .one_of(SECRET)
    .is(Secrecy::Secret)
    .elsewhere(&["pass", "passwd", "pwd", "passphrase", "secret"]),
    Row::<Draft>::new("password_command", |draft, said| {
        said.set(&mut draft.account.secret, |value| Ok(Secret::Command(program(value, said.paths)?)))
    })
    .of_account()
    .one_of(SECRET)
    .is(Secrecy::Hidden)
    .elsewhere(&[
        "passwordeval",
        "password_eval",
        "passwordcommand",
        "passcmd",
        "pass_command",
        "passcommand",
        "passwordcmd",
        "password_cmd",
        "eval",
    ]),
    Row::<Draft>::new("password_file", |draft, said| {
        said.set(&mut draft.account.secret, |value| credential_or_path(value, said.paths).map(Secret::File))
    })
    .of_account()
    .one_of(SECRET)
    .is(Secrecy::Hidden)
    .elsewhere(&["passwordfile", "pass_file", "passfile", "secret_file", "credential"]),
    Row::<Draft>::new("token_command", |draft, said| {
        said.set(&mut draft.account.secret, |value| Ok(Secret::TokenCommand(program(value, said.paths)?)))
    })
    .of_account()
    .one_of(SECRET)
    .is(Secrecy::Hidden)
    .elsewhere(&["tokencommand", "token_cmd", "access_token_command", "token"]),
    Row::<Draft>::new("oauth2", |draft, said| {
        draft.account.secret = Secret::OAuth2(Box::new(oauth2::read(said)?));
        Ok(())
    })
    .of_account()
    .one_of(SECRET)
    .is(Secrecy::Hidden)
    .elsewhere(&["oauth", "xoauth2"]),
    Row::<Draft>::new("deliver", |draft, said| {
        draft.deliver = target::read(said, &draft.named)?;
        Ok(())
    })
    .flag(
        FETCH,
        "deliver",
        Takes::Value("TARGET"),
        "Deliver to `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server such as `lmtp://HOST` or `https://HOST/PATH`",
    )
    .elsewhere(&[
        "folder",
        "maildir",
        "mailbox",
        "mbox",
        "path",
        "mda",
        "delivery",
        "destination",
        "dest",
        "target",
        "to",
        "inbox",
        "output",
        "maildrop",
    ]),
    Row::<Draft>::new("owner", |draft, said| said.set(&mut draft.account.owner, owner)).elsewhere(&[
        "run_as",
        "local_user",
        "uid",
    ]),
    Row::<Draft>::new("keep", |draft, said| said.set(&mut draft.account.keep, keep))
        .or(Literal::Boolean(true))
        .flag(
            FETCH,
            "keep",
            Takes::Perhaps("DURATION"),
            "Leave messages on the server, or delete them that long after they were first seen (`--keep=14d`)",
        )
        .negation("no-keep", "Delete messages from the server once they are safe at home")
        .elsewhere(&[
            "leave",
            "leave_on_server",
            "keep_on_server",
            "leave_messages",
            "keep_messages",
            "retain",
            "delete_after",
        ])
        .instead_of(&[
            ("delete", "false"),
            ("nokeep", "false"),
            ("no_keep", "false"),
            ("delete_after_download", "false"),
        ]),
    Row::<Draft>::new("keep_newest", |draft, said| said.some(&mut draft.account.keep_newest, count))
        .flag(
            FETCH,
            "keep-newest",
            Takes::Value("N"),
            "Delete what is safe at home, but for this many of the newest messages on the server",
        )
        .elsewhere(&["keep_last", "keep_count", "leave_newest", "keep_latest"]),
    Row::<Draft>::new("delete_over", |draft, said| said.some(&mut draft.account.delete_over, size))
        .flag(
            FETCH,
            "delete-over",
            Takes::Value("SIZE"),
            "Delete what is safe at home, oldest first, while the maildrop is larger",
        )
        .elsewhere(&["quota", "max_maildrop", "delete_bigger_than", "maildrop_size"]),
    Row::<Draft>::new("all", |draft, said| said.set(&mut draft.account.all, boolean))
        .or(Literal::Boolean(false))
        .flag(FETCH, "all", Takes::Nothing, "Fetch messages that have been fetched before, too")
        .elsewhere(&["fetchall", "fetch_all", "read_all"])
        .instead_of(&[("only_new", "false"), ("new_only", "false")]),
    Row::<Draft>::new("start", |draft, said| said.set(&mut draft.account.start, |value| forms::start(value.text())))
        .or(Literal::Text("all"))
        .elsewhere(&["since", "first_run"]),
    Row::<Draft>::new("pipelining", |draft, said| said.some(&mut draft.account.pipelining, boolean)),
    Row::<Draft>::new("max_size", |draft, said| said.some(&mut draft.account.max_size, size))
        .flag(
            FETCH,
            "max-size",
            Takes::Value("SIZE"),
            "Leave larger messages on the server; octets, or `20M` (k, M, G)",
        )
        .elsewhere(&["limit", "skipsize", "maxsize", "max_message_size", "size_limit", "maximum_size"]),
    Row::<Draft>::new("max_messages", |draft, said| said.some(&mut draft.account.max_messages, count))
        .flag(FETCH, "max-messages", Takes::Value("N"), "Fetch at most this many messages per account")
        .elsewhere(&["fetchlimit", "max_messages_per_session", "maxmessages", "max_count", "max"]),
    Row::<Draft>::new("max_octets", |draft, said| said.set(&mut draft.account.max_octets, max_octets))
        .flag(
            FETCH,
            "max-octets",
            Takes::Value("SIZE[/day]"),
            "Fetch at most this much per account, in this run or with `/day` in one day; octets, or `500M`",
        )
        .elsewhere(&["max_bytes", "max_bytes_per_session", "max_octets_per_day", "daily_limit", "bandwidth_limit"]),
    Row::<Draft>::new("min_free", |draft, said| said.some(&mut draft.account.min_free, size)).elsewhere(&[
        "minfree",
        "min_free_space",
        "free_space",
        "disk_free",
        "reserve",
        "minimum_free",
    ]),
    Row::<Draft>::new("order", |draft, said| said.set(&mut draft.account.order, |value| forms::order(value.text())))
        .or(Literal::Text("oldest"))
        .words(&forms::ORDERS)
        .flag(FETCH, "order", Takes::Value("ORDER"), "Fetch these messages first")
        .elsewhere(&["sort", "fetch_order", "retrieval_order"])
        .instead_of(&[("newest_first", "\"newest\""), ("reverse", "\"newest\"")]),
    Row::<Draft>::new("rules", |draft, said| {
        // The account's are asked before those of the defaults.
        let mut rules = rules::read(said, &draft.named)?;
        rules.append(&mut draft.rules);
        draft.rules = rules;
        Ok(())
    })
    .elsewhere(&["rule", "match", "sort", "filters"]),
    Row::<Draft>::new("filter", |draft, said| said.some(&mut draft.account.filter, |value| program(value, said.paths)))
        .elsewhere(&["filter_command", "preprocess"]),
    Row::<Draft>::new("allow_delete_unread", |draft, said| said.set(&mut draft.account.allow_delete_unread, boolean))
        .or(Literal::Boolean(false)),
    Row::<Draft>::new("tls", |draft, said| said.some(&mut draft.tls, |value| forms::tls_mode(value.text())))
        .mostly(Literal::Text("implicit"))
        .words(&forms::TLS_MODES)
        .flag(
            CONNECTION,
            "tls",
            Takes::Value("MODE"),
            "Begin TLS at once, begin it by STARTTLS, or send everything in clear, the password too",
        )
        .elsewhere(&[
            "ssl",
            "tls_mode",
            "ssl_mode",
            "sslproto",
            "ssl_version",
            "use_ssl",
            "use_tls",
            "encryption",
            "security",
            "secure",
        ])
        .instead_of(&[("starttls", "\"starttls\""), ("tls_starttls", "\"starttls\""), ("stls", "\"starttls\"")]),
    Row::<Draft>::new("tls_ca_file", |draft, said| {
        said.some(&mut draft.account.tls.ca_file, |value| path(value, said.paths))
    })
    .flag(
        CONNECTION,
        "ca-file",
        Takes::Value("FILE"),
        "Trust the certificate authorities in this PEM file, and no others",
    )
    .elsewhere(&[
        "tls_ca",
        "ca_file",
        "cafile",
        "ca",
        "cacert",
        "ca_certs",
        "sslcertfile",
        "sslcertpath",
        "tls_trust_file",
    ]),
    Row::<Draft>::new("tls_pin", |draft, said| said.set(&mut draft.account.tls.pins, pins))
        .flag(
            CONNECTION,
            "tls-pin",
            Takes::Value("FINGERPRINT"),
            "Trust the server with this certificate or public key, and no authority: `sha256:…`",
        )
        .elsewhere(&["pin", "fingerprint", "tls_fingerprint", "sslfingerprint", "ssl_fingerprints"]),
    Row::<Draft>::new("tls_name", |draft, said| {
        said.some(&mut draft.account.tls.name, |value| url::host(value.text()))
    })
    .elsewhere(&["sni", "tls_host", "sslcommonname", "tls_host_override", "ssl_cert_hostname"]),
    Row::<Draft>::new("tls_verify", |draft, said| said.set(&mut draft.account.tls.verify, boolean))
        .or(Literal::Boolean(true))
        .excludes(&["tls_pin"])
        .elsewhere(&["verify", "sslcertck", "tls_certcheck", "certcheck", "ssl_verify", "verify_ssl", "verify_tls"])
        .instead_of(&[("insecure", "false"), ("no_verify", "false"), ("tls_insecure", "false")]),
    Row::<Draft>::new("tls_client_identity", |draft, said| {
        said.some(&mut draft.identity, |value| path(value, said.paths))
    })
    .elsewhere(&[
        "sslcert",
        "sslkey",
        "tls_cert_file",
        "tls_key_file",
        "certfile",
        "keyfile",
        "cert",
        "certificate",
        "client_cert",
    ]),
    Row::<Draft>::new("tls_client_identity_password", |draft, said| said.some(&mut draft.identity_password, password))
        .is(Secrecy::Secret),
    Row::<Draft>::new("auth", |draft, said| said.set(&mut draft.account.auth, |value| forms::auth(value.text())))
        .or(Literal::Text("auto"))
        .words(&forms::AUTHS)
        .flag(
            CONNECTION,
            "auth",
            Takes::Value("MODE"),
            "Log in this way; `auto` takes the best that the server announces",
        )
        .elsewhere(&["authenticate", "authentication", "preauth", "auth_method", "mechanism", "sasl"])
        .instead_of(&[("apop", "\"apop\""), ("use_apop", "\"apop\""), ("use_xoauth2", "\"xoauth2\"")]),
    Row::<Draft>::new("source_address", |draft, said| {
        let address = said.value(|value| value.text().parse().map_err(|_| ADDRESS))?;
        // Only what goes over TCP has an address to come from.
        if let Route::Tcp { source, .. } = &mut draft.account.route {
            source.replace(address);
        }
        Ok(())
    })
    .elsewhere(&["source", "source_ip", "bind", "local_address", "interface"]),
    Row::<Draft>::new("proxy", |draft, said| {
        let proxy = Some(said.value(|value| proxy::parse(value.text()))?);
        let source = if let Route::Tcp { source, .. } = draft.account.route { source } else { None };
        draft.account.route = Route::Tcp { source, proxy };
        Ok(())
    })
    .one_of(ROUTE)
    .is(Secrecy::Login)
    .elsewhere(&["proxy_host", "proxy_port", "socks", "http_proxy"]),
    Row::<Draft>::new("tunnel", |draft, said| {
        said.set(&mut draft.account.route, |value| Ok(Route::Tunnel(program(value, said.paths)?)))
    })
    .one_of(ROUTE)
    .excludes(&["source_address"])
    .elsewhere(&["plugin", "plugout", "ssh", "pipe"]),
    Row::<Draft>::new("socket", |draft, said| {
        said.set(&mut draft.account.route, |value| Ok(Route::Socket(path(value, said.paths)?)))
    })
    .one_of(ROUTE)
    .excludes(&["source_address"]),
    Row::<Draft>::new("timeout", |draft, said| said.set(&mut draft.account.timeout, timeout))
        .or(Literal::Integer(60))
        .flag(CONNECTION, "timeout", Takes::Value("SECONDS"), "Wait this long for a server that says nothing")
        .elsewhere(&["connect_timeout", "time_out"]),
    Row::<Draft>::new("retries", |draft, said| said.set(&mut draft.account.retries, retries))
        .or(Literal::Integer(2))
        .flag(CONNECTION, "retries", Takes::Value("N"), "Dial a line that breaks again, at most this often in one run")
        .elsewhere(&["retry", "max_retries", "attempts", "reconnect", "reconnects"]),
    Row::<Draft>::new("mda_timeout", |draft, said| said.set(&mut draft.account.mda_timeout, timeout))
        .or(Literal::Integer(300)),
    Row::<Draft>::new("after", |draft, said| said.some(&mut draft.account.after, |value| program(value, said.paths)))
        .elsewhere(&["postconnect", "after_command", "hook", "post_fetch"]),
    Row::<Draft>::new("password_timeout", |draft, said| said.some(&mut draft.account.password_timeout, timeout)),
    Row::<Draft>::new("notify_every", |draft, said| said.set(&mut draft.account.notify_every, notify_every))
        .or(Literal::Text("6h"))
        .elsewhere(&["remind_every", "warnings", "notify_interval", "reminder"]),
    Row::<Draft>::new("enabled", |draft, said| said.set(&mut draft.account.enabled, boolean))
        .or(Literal::Boolean(true))
        .elsewhere(&["enable", "active"])
        .instead_of(&[("disabled", "false"), ("disable", "false"), ("skip", "false")]),
];

/// More would be another way to run for ever.
const MOST_RETRIES: u32 = 100;

/// The ways to give a password.
const SECRET: &str = "secret";

/// The ways to a server.
const ROUTE: &str = "route";

const BOOLEAN: Expected = Expected::new("`true` or `false`");
const COUNT: Expected = Expected::new("an integer from 1");
const KEEP: Expected =
    Expected::new("`true`, `false`, or a duration such as \"14d\" or \"1d12h\" (units s, m, h, d, w), not zero");
const NOTIFY_EVERY: Expected =
    Expected::new("a duration such as \"6h\" or \"1d12h\" (units s, m, h, d, w), or \"0\" for each time");
const MAX_OCTETS: Expected = Expected::new(
    "octets such as `500000`, or `500M` (k, M, G: powers of 1024), not zero; for a day `1G/day`; or an array of both",
);
const RETRIES: Expected = Expected::new("an integer from 0 to 100");
const ADDRESS: Expected = Expected::new("an address of this machine such as \"192.0.2.1\" or \"2001:db8::1\"");
const PASSWORD: Expected = Expected::new("a string that is not empty and has no line break");
const USER: Expected = Expected::new("the name or the number of a user in `/etc/passwd`");
const ONESELF: Expected = Expected::new("your own name, for only root can deliver as another user");
const ON_LINUX: Expected = Expected::new("your own name, for only on Linux root can deliver as another user");
const PINS: Expected = Expected::new(
    "a string such as \"sha256:…\" or an array of them: the SHA-256 of a certificate or of its public key",
);
const PORT: Expected = Expected::new("an integer from 1 to 65535");
const URL: Expected = Expected::new("a string such as \"pop3s://USER@HOST\"");
const WORDS: Expected =
    Expected::new("an array of strings: the program and its arguments, such as [\"pass\", \"show\", \"mail\"]");

/// Why a draft is no account.
#[derive(Debug)]
pub(super) enum Incomplete {
    /// Keys that it lacks.
    Missing(Vec<&'static str>),
    /// What is wrong with its targets, though not with any of them alone.
    Targets(Problem),
}

/// An account of which not everything may have been said.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    /// The host and the user are empty until they are said.
    account: Account,
    /// Each of these two can decide the other.
    port: Option<u16>,
    tls: Option<TlsMode>,
    /// Only the owner says whose home folder `~` is.
    deliver: Vec<Written>,
    /// The targets that have a name.
    named: Arc<Targets>,
    /// In the order in which they are asked.
    rules: Vec<rules::Written>,
    identity: Option<PathBuf>,
    identity_password: Option<Password>,
}

impl Draft {
    /// Nothing has been said.
    pub fn new() -> Self {
        let account = Account {
            name: String::new(),
            host: String::new(),
            port: 0,
            route: Route::default(),
            tls: Tls::new(TlsMode::Implicit),
            user: String::new(),
            secret: Secret::Ambient,
            auth: Auth::Auto,
            targets: vec![],
            own_targets: 0,
            rules: vec![],
            filter: None,
            allow_delete_unread: false,
            owner: None,
            keep: Keep::Forever,
            keep_newest: None,
            delete_over: None,
            all: false,
            start: Start::All,
            order: Order::Oldest,
            max_size: None,
            max_messages: None,
            max_octets: MaxOctets::default(),
            min_free: None,
            pipelining: None,
            retries: 0,
            timeout: Duration::ZERO,
            mda_timeout: Duration::ZERO,
            after: None,
            password_timeout: None,
            notify_every: Duration::ZERO,
            enabled: true,
            one_off: false,
        };
        let draft = Draft {
            account,
            port: None,
            tls: None,
            deliver: Vec::new(),
            named: Arc::default(),
            rules: Vec::new(),
            identity: None,
            identity_password: None,
        };
        keys::defaults(KEYS, draft)
    }

    /// The targets that have a name.
    pub fn with_targets(self, targets: Targets) -> Self {
        Draft { named: Arc::new(targets), ..self }
    }

    /// Says which maildrop it is, and how it is protected.
    pub fn set_url(&mut self, url: Url) {
        (self.account.host, self.account.user) = (url.host, url.user);
        (self.port, self.tls) = (url.port, Some(url.tls));
    }

    /// The account of this name, or that of a URL.
    pub fn account(self, name: Option<String>) -> Result<Account, Incomplete> {
        let Draft { mut account, port, tls, deliver, rules, identity, identity_password, .. } = self;
        let needed =
            [("server", account.host.is_empty()), ("user", account.user.is_empty()), ("deliver", deliver.is_empty())];
        let missing: Vec<_> = needed.into_iter().filter(|(_, is_missing)| *is_missing).map(|(key, _)| key).collect();
        if !missing.is_empty() {
            return Err(Incomplete::Missing(missing));
        }
        account.tls.mode = tls.unwrap_or_else(|| usual_mode(port));
        account.tls.by_options = name.is_none();
        account.tls.client_identity = identity.map(|path| ClientIdentity { path, password: identity_password });
        account.port = port.unwrap_or_else(|| usual_port(account.tls.mode));
        account.one_off = name.is_none();
        account.name = name.unwrap_or_else(|| account.address());
        for written in deliver {
            let target = written.for_account(&account).map_err(Incomplete::Targets)?;
            if let Some(other) = account.targets.iter().find(|other| paths::is_same(other, &target)) {
                return Err(Incomplete::Targets(Problem::same_target(&target, other)));
            }
            account.targets.push(target);
        }
        account.own_targets = account.targets.len();
        if account.one_off {
            // What a URL says is all that it wants, and what it does settles nothing.
            (account.filter, account.allow_delete_unread) = (None, false);
            return Ok(account);
        }
        for written in rules {
            let rule = written.for_account(&mut account).map_err(Incomplete::Targets)?;
            account.rules.push(rule);
        }
        Ok(account)
    }
}

/// RFC 8314 §3: TLS from the first octet is what to prefer. But a server that is spoken to on port 110 waits for STLS.
fn usual_mode(port: Option<u16>) -> TlsMode {
    if port == Some(110) { TlsMode::Starttls } else { TlsMode::Implicit }
}

fn usual_port(mode: TlsMode) -> u16 {
    if mode == TlsMode::Implicit { 995 } else { 110 }
}

fn url(said: &Said<'_>) -> Result<Url, Vec<Fault>> {
    let text = said.value(|value| match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(URL),
    })?;
    Url::parse(&text).map_err(|error| said.fault(Problem::Url(error)))
}

pub(super) fn boolean(value: &Value) -> Result<bool, Expected> {
    match value {
        Value::Boolean(value) => Ok(*value),
        _ => Err(BOOLEAN),
    }
}

fn count(value: &Value) -> Result<u64, Expected> {
    let count = match value {
        Value::Integer(count) => u64::try_from(*count).ok(),
        Value::Word(_) => value.text().parse().ok(),
        _ => None,
    };
    count.filter(|count| *count > 0).ok_or(COUNT)
}

fn retries(value: &Value) -> Result<u32, Expected> {
    let retries = match value {
        Value::Integer(retries) => u32::try_from(*retries).ok(),
        Value::Word(_) => value.text().parse().ok(),
        _ => None,
    };
    retries.filter(|retries| *retries <= MOST_RETRIES).ok_or(RETRIES)
}

fn port(value: &Value) -> Result<u16, Expected> {
    match value {
        Value::Integer(port) => u16::try_from(*port).ok().filter(|port| *port != 0).ok_or(PORT),
        _ => Err(PORT),
    }
}

fn size(value: &Value) -> Result<u64, Expected> {
    match value {
        Value::Integer(octets) => forms::size_octets(*octets),
        value => forms::size(value.text()),
    }
}

/// A limit for a run, one for a day, or both.
fn max_octets(value: &Value) -> Result<MaxOctets, Expected> {
    let mut limits = MaxOctets::default();
    let written = match value {
        Value::Array(values) if !values.is_empty() => values.iter().map(|item| &item.value).collect(),
        value => vec![value],
    };
    for value in written {
        let (slot, octets) = match value.text().strip_suffix("/day") {
            Some(text) => (&mut limits.per_day, forms::size(text)),
            None => (&mut limits.per_run, size(value)),
        };
        if slot.replace(octets.map_err(|_| MAX_OCTETS)?).is_some() {
            return Err(MAX_OCTETS);
        }
    }
    Ok(limits)
}

fn timeout(value: &Value) -> Result<Duration, Expected> {
    match value {
        Value::Integer(seconds) => forms::timeout_seconds(*seconds),
        value => forms::timeout(value.text()),
    }
}

/// How often; zero is each time.
fn notify_every(value: &Value) -> Result<Duration, Expected> {
    match value {
        Value::Integer(0) => Ok(Duration::ZERO),
        value if value.text() == "0" => Ok(Duration::ZERO),
        value => forms::duration(value.text()).map_err(|_| NOTIFY_EVERY),
    }
}

pub(super) fn keep(value: &Value) -> Result<Keep, Expected> {
    match value {
        Value::Boolean(true) => Ok(Keep::Forever),
        Value::Boolean(false) => Ok(Keep::Never),
        Value::Word(_) => forms::duration(value.text()).map(Keep::For),
        value => forms::duration(value.text()).map(Keep::For).map_err(|_| KEEP),
    }
}

pub(super) fn pins(value: &Value) -> Result<Vec<Pin>, Expected> {
    match value {
        Value::String(_) | Value::Word(_) => Ok(vec![forms::pin(value.text())?]),
        Value::Array(values) if !values.is_empty() => values.iter().map(|item| forms::pin(item.value.text())).collect(),
        _ => Err(PINS),
    }
}

pub(super) fn path(value: &Value, paths: Paths<'_>) -> Result<PathBuf, Expected> {
    paths.resolve(value.os_text().as_ref())
}

/// A program and its arguments.
pub(super) fn words(value: &Value) -> Result<Vec<String>, Expected> {
    let Value::Array(values) = value else { return Err(WORDS) };
    let word = |item: &Item| match &item.value {
        Value::String(word) if !word.contains('\0') => Ok(word.clone()),
        _ => Err(WORDS),
    };
    let words = values.iter().map(word).collect::<Result<Vec<_>, _>>()?;
    if words.first().is_none_or(String::is_empty) { Err(WORDS) } else { Ok(words) }
}

pub(super) fn program(value: &Value, paths: Paths<'_>) -> Result<Vec<String>, Expected> {
    paths.resolve_program(words(value)?)
}

pub(super) fn password(value: &Value) -> Result<Password, Expected> {
    let text = value.text();
    // A line break would begin a command of its own.
    if text.is_empty() || text.contains(['\r', '\n', '\0']) {
        return Err(PASSWORD);
    }
    Ok(Password::new(text))
}

/// A file, or the name of a credential of the service.
pub(super) fn credential_or_path(value: &Value, paths: Paths<'_>) -> Result<PathBuf, Expected> {
    match paths.environment.credentials.find(value.text()) {
        Some(credential) => Ok(credential),
        None => path(value, paths),
    }
}

/// The user, or `None` for oneself.
fn owner(value: &Value) -> Result<Option<Arc<User>>, Expected> {
    owner_for(rustix::process::geteuid(), User::find(value.text()).ok_or(USER)?)
}

fn owner_for(oneself: Uid, user: User) -> Result<Option<Arc<User>>, Expected> {
    match user.id {
        id if id == oneself.as_raw() => Ok(None),
        _ if !oneself.is_root() => Err(ONESELF),
        _ if !cfg!(target_os = "linux") => Err(ON_LINUX),
        _ => Ok(Some(Arc::new(user))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_delivers_as_another_user() {
        let marta = User { name: "marta".into(), id: 1000, group: 100, groups: vec![100], home: "/srv/marta".into() };
        assert_eq!(owner_for(Uid::from_raw(1000), marta.clone()), Ok(None));
        assert_eq!(owner_for(Uid::from_raw(1001), marta.clone()), Err(ONESELF));
        let of_root = if cfg!(target_os = "linux") { Ok(Some(Arc::new(marta.clone()))) } else { Err(ON_LINUX) };
        assert_eq!(owner_for(Uid::ROOT, marta), of_root);
    }
}
