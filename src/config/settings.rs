//! What the keys of an account mean.
//!
//! `[defaults]` and an account are tables of the same keys: an account's are read over a copy of the defaults, and
//! the flags go over both. A value is checked where it is read, so that an error can point at it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Uid;

use super::Overrides;
use super::error::{Fault, Place, Problem};
use super::forms::{self, Expected};
use super::oauth2;
use super::paths::{self, Paths};
use super::proxy;
use super::url::{self, Url};
use super::value::{Entry, Table, Value};
use crate::account::{Account, Auth, ClientIdentity, Keep, Password, Pin, Proxy, Route, Secret, Target, Tls, TlsMode};
use crate::os::user::User;

/// Keys that say which maildrop it is, and so cannot be defaults.
const IDENTITY: [&str; 9] =
    ["url", "server", "port", "user", "password", "password_command", "password_file", "token_command", "oauth2"];

/// Keys of accounts and of `[defaults]`.
const POLICY: [&str; 23] = [
    "tls",
    "auth",
    "deliver",
    "owner",
    "keep",
    "all",
    "max_size",
    "max_messages",
    "pipelining",
    "timeout",
    "mda_timeout",
    "password_timeout",
    "source_address",
    "proxy",
    "tunnel",
    "socket",
    "tls_ca_file",
    "tls_pin",
    "tls_name",
    "tls_verify",
    "tls_client_identity",
    "tls_client_identity_password",
    "enabled",
];

const SECRETS: [&str; 5] = ["password", "password_command", "password_file", "token_command", "oauth2"];

/// Keys whose values are not repeated.
const HIDDEN: [&str; 8] = [
    "password",
    "password_command",
    "password_file",
    "token_command",
    "client_secret",
    "url",
    "tls_client_identity_password",
    "proxy",
];

/// The ways to a server. `source_address` goes with `proxy` alone.
const ROUTES: [&str; 3] = ["proxy", "tunnel", "socket"];

/// What a URL says in one word.
const IN_URL: [&str; 4] = ["server", "port", "tls", "user"];

const BOOLEAN: Expected = Expected("`true` or `false`");
const COUNT: Expected = Expected("an integer from 1");
const KEEP: Expected =
    Expected("`true`, `false`, or a duration such as \"14d\" or \"1d12h\" (units s, m, h, d, w), not zero");
const ADDRESS: Expected = Expected("an address of this machine such as \"192.0.2.1\" or \"2001:db8::1\"");
const PASSWORD: Expected = Expected("a string that is not empty and has no line break");
const USER: Expected = Expected("the name or the number of a user in `/etc/passwd`");
const ONESELF: Expected = Expected("your own name, for only root can deliver as another user");
const ON_LINUX: Expected = Expected("your own name, for only on Linux root can deliver as another user");
const PATH: Expected = Expected("a path");
const PINS: Expected =
    Expected("a string such as \"sha256:…\" or an array of them: the SHA-256 of a certificate or of its public key");
const PORT: Expected = Expected("an integer from 1 to 65535");
const TARGET_TABLE: Expected = Expected("a table with one of `maildir`, `mbox` and `mda`");
const URL: Expected = Expected("a string such as \"pop3s://USER@HOST\"");
const WORDS: Expected = Expected("an array of strings: the program and its arguments");

/// True for a key of an account.
pub(super) fn is_key(key: &str) -> bool {
    IDENTITY.contains(&key) || POLICY.contains(&key)
}

/// What has been said about an account so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    server: Option<String>,
    port: Option<u16>,
    tls: Option<TlsMode>,
    user: Option<String>,
    secret: Option<Secret>,
    auth: Option<Auth>,
    deliver: Option<Target>,
    /// As it was written, if that was in a home folder.
    deliver_at_home: Option<Target>,
    owner: Option<Arc<User>>,
    keep: Option<Keep>,
    all: Option<bool>,
    max_size: Option<u64>,
    max_messages: Option<u64>,
    pipelining: Option<bool>,
    timeout: Option<Duration>,
    mda_timeout: Option<Duration>,
    password_timeout: Option<Duration>,
    source: Option<IpAddr>,
    proxy: Option<Proxy>,
    tunnel: Option<Vec<String>>,
    socket: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    pins: Option<Vec<Pin>>,
    tls_name: Option<String>,
    verify: Option<bool>,
    client_identity: Option<PathBuf>,
    client_identity_password: Option<Password>,
    enabled: Option<bool>,
}

/// Keys without which there is no account; in the words of an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Server,
    User,
    Deliver,
}

impl Missing {
    pub fn keys(&self) -> &'static str {
        match self {
            Missing::Server => "`server` (or `url`) is",
            Missing::User => "`user` is",
            Missing::Deliver => "`deliver` is",
        }
    }
}

impl Settings {
    /// Reads a table over what has been said.
    pub fn read(&mut self, table: &Table, place: &Place, paths: Paths<'_>) -> Result<(), Fault> {
        if table.iter().any(|entry| ROUTES.contains(&entry.key.as_str())) {
            // A way of its own leaves that of the defaults.
            (self.proxy, self.tunnel, self.socket) = (None, None, None);
        }
        for entry in table.iter() {
            self.set(entry, place, paths)?;
        }
        alternatives(table, place)
    }

    fn set(&mut self, entry: &Entry, place: &Place, paths: Paths<'_>) -> Result<(), Fault> {
        let key = entry.key.as_str();
        if *place == Place::Defaults && IDENTITY.contains(&key) {
            return Err(Fault { at: entry.key_at, problem: Problem::NotADefault(key.to_owned()) });
        }
        match key {
            "url" => self.set_url(url(entry)?),
            "server" => self.server = entry.read(|value| url::host(text(value)))?,
            "port" => self.port = entry.read(port)?,
            "tls" => self.tls = entry.read(|value| forms::tls_mode(text(value)))?,
            "user" => self.user = entry.read(|value| url::user(text(value)))?,
            "password" => self.secret = entry.read(password)?.map(Secret::Literal),
            "password_command" => self.secret = entry.read(|value| password_command(value, paths))?,
            "password_file" => self.secret = entry.read(|value| password_file(value, paths))?,
            "token_command" => self.secret = entry.read(|value| token_command(value, paths))?,
            "oauth2" => self.secret = Some(Secret::OAuth2(Box::new(oauth2::read(entry)?))),
            "auth" => self.auth = entry.read(|value| forms::auth(text(value)))?,
            "deliver" => {
                let target = target(entry)?;
                self.deliver_at_home = Some(target.clone()).filter(paths::is_at_home);
                self.deliver = paths.resolve_target(target).map(Some).map_err(|expected| entry.fault(expected))?;
            }
            "owner" => self.owner = owner(entry)?,
            "keep" => self.keep = entry.read(keep)?,
            "all" => self.all = entry.read(boolean)?,
            "max_size" => self.max_size = entry.read(size)?,
            "max_messages" => self.max_messages = entry.read(count)?,
            "pipelining" => self.pipelining = entry.read(boolean)?,
            "timeout" => self.timeout = entry.read(timeout)?,
            "mda_timeout" => self.mda_timeout = entry.read(timeout)?,
            "password_timeout" => self.password_timeout = entry.read(timeout)?,
            "tls_ca_file" => self.ca_file = entry.read(|value| path(value, paths))?,
            "source_address" => self.source = entry.read(|value| text(value).parse().map_err(|_| ADDRESS))?,
            "proxy" => self.proxy = entry.read(|value| proxy::parse(text(value)))?,
            "tunnel" => self.tunnel = entry.read(|value| paths.resolve_program(words(value)?))?,
            "socket" => self.socket = entry.read(|value| path(value, paths))?,
            "tls_pin" => self.pins = entry.read(pins)?,
            "tls_name" => self.tls_name = entry.read(|value| url::host(text(value)))?,
            "tls_verify" => self.verify = entry.read(boolean)?,
            "tls_client_identity" => self.client_identity = entry.read(|value| path(value, paths))?,
            "tls_client_identity_password" => self.client_identity_password = entry.read(password)?,
            "enabled" => self.enabled = entry.read(boolean)?,
            _ => return Err(unknown_key(entry, place)),
        }
        Ok(())
    }

    /// Says which maildrop it is, and how it is protected.
    pub fn set_url(&mut self, url: Url) {
        self.server = Some(url.host);
        self.port = url.port;
        self.tls = Some(url.tls);
        self.user = Some(url.user);
    }

    /// How the connection is protected. Flags win.
    fn tls(&mut self, overrides: &Overrides) -> Tls {
        let password = self.client_identity_password.take();
        Tls {
            mode: overrides.tls.or(self.tls).unwrap_or_else(|| usual_mode(self.port)),
            ca_file: overrides.ca_file.clone().or(self.ca_file.take()),
            pins: self.pins.take().unwrap_or_default(),
            name: self.tls_name.take(),
            verify: self.verify.unwrap_or(true),
            client_identity: self.client_identity.take().map(|path| ClientIdentity { path, password }),
        }
    }

    fn route(&mut self) -> Route {
        match (self.tunnel.take(), self.socket.take()) {
            (Some(words), _) => Route::Tunnel(words),
            (None, Some(path)) => Route::Socket(path),
            (None, None) => Route::Tcp { source: self.source, proxy: self.proxy.take() },
        }
    }

    /// Where messages go: `~` is the home of whose they are.
    fn target(&mut self) -> Option<Target> {
        match (&self.owner, self.deliver_at_home.take()) {
            (Some(owner), Some(target)) => Some(paths::at_home_of(owner, target)),
            _ => self.deliver.take(),
        }
    }

    /// The account, when everything it needs has been said. Flags win.
    pub fn account(mut self, name: String, one_off: bool, overrides: &Overrides) -> Result<Account, Missing> {
        let tls = self.tls(overrides);
        let route = self.route();
        let target = self.target();
        Ok(Account {
            name,
            host: self.server.ok_or(Missing::Server)?,
            port: self.port.unwrap_or_else(|| usual_port(tls.mode)),
            route,
            tls,
            user: self.user.ok_or(Missing::User)?,
            secret: self.secret.unwrap_or(Secret::Ambient),
            auth: overrides.auth.or(self.auth).unwrap_or(Auth::Auto),
            deliver: overrides.deliver.clone().or(target).ok_or(Missing::Deliver)?,
            owner: self.owner,
            keep: overrides.keep.or(self.keep).unwrap_or(Keep::Forever),
            all: overrides.all || self.all.unwrap_or(false),
            max_size: overrides.max_size.or(self.max_size),
            max_messages: overrides.max_messages.or(self.max_messages),
            pipelining: self.pipelining,
            timeout: overrides.timeout.or(self.timeout).unwrap_or(Duration::from_secs(60)),
            mda_timeout: self.mda_timeout.unwrap_or(Duration::from_secs(300)),
            password_timeout: self.password_timeout,
            enabled: self.enabled.unwrap_or(true),
            one_off,
        })
    }
}

/// RFC 8314 §3: TLS from the first octet is what to prefer. But a server that is spoken to on port 110 waits for STLS.
fn usual_mode(port: Option<u16>) -> TlsMode {
    if port == Some(110) { TlsMode::Starttls } else { TlsMode::Implicit }
}

fn usual_port(mode: TlsMode) -> u16 {
    if mode == TlsMode::Implicit { 995 } else { 110 }
}

fn unknown_key(entry: &Entry, place: &Place) -> Fault {
    let mut known = POLICY.to_vec();
    if *place != Place::Defaults {
        known.splice(0..0, IDENTITY);
    }
    let problem = Problem::UnknownKey { key: entry.key.clone(), place: place.clone(), known };
    Fault { at: entry.key_at, problem }
}

/// Refuses a second way to give the password, to name the server, or to reach it.
fn alternatives(table: &Table, place: &Place) -> Result<(), Fault> {
    let of = |keys: &[&str]| table.iter().filter(|entry| keys.contains(&entry.key.as_str())).collect::<Vec<_>>();
    for keys in [&SECRETS[..], &ROUTES, &["tunnel", "source_address"], &["socket", "source_address"]] {
        if let [first, second, ..] = of(keys)[..] {
            return Err(exclude(first, second, place));
        }
    }
    if let [first, second, ..] = of(&["tls_verify", "tls_pin"])[..]
        && table.get("tls_verify").is_some_and(|entry| entry.value == Value::Boolean(false))
    {
        return Err(exclude(first, second, place));
    }
    let (Some(url), [part, ..]) = (table.get("url"), &of(&IN_URL)[..]) else { return Ok(()) };
    Err(if url.key_at < part.key_at { exclude(url, part, place) } else { exclude(part, url, place) })
}

fn exclude(first: &Entry, second: &Entry, place: &Place) -> Fault {
    let problem = Problem::Alternatives { first: first.key.clone(), second: second.key.clone(), place: place.clone() };
    Fault { at: second.key_at, problem }
}

impl Entry {
    /// The value, as `parse` understands it; always `Some`, which is what a setting is.
    fn read<T>(&self, parse: impl FnOnce(&Value) -> Result<T, Expected>) -> Result<Option<T>, Fault> {
        parse(&self.value).map(Some).map_err(|expected| self.fault(expected))
    }

    /// Says that the value is none of this key's; a secret is not repeated, nor what may hold one.
    pub fn fault(&self, expected: Expected) -> Fault {
        let found = if HIDDEN.contains(&self.key.as_str()) { self.value.kind().to_owned() } else { self.value.shown() };
        Fault { at: self.value_at, problem: Problem::Value { key: self.key.clone(), found, expected } }
    }
}

/// The string, or the empty one: every form refuses that in its own words.
fn text(value: &Value) -> &str {
    match value {
        Value::String(text) => text,
        _ => "",
    }
}

fn url(entry: &Entry) -> Result<Url, Fault> {
    let Value::String(text) = &entry.value else { return Err(entry.fault(URL)) };
    Url::parse(text).map_err(|error| Fault { at: entry.value_at, problem: Problem::Url(error) })
}

fn boolean(value: &Value) -> Result<bool, Expected> {
    match value {
        Value::Boolean(value) => Ok(*value),
        _ => Err(BOOLEAN),
    }
}

fn count(value: &Value) -> Result<u64, Expected> {
    match value {
        Value::Integer(count @ 1..) => Ok(count.unsigned_abs()),
        _ => Err(COUNT),
    }
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
        value => forms::size(text(value)),
    }
}

fn timeout(value: &Value) -> Result<Duration, Expected> {
    match value {
        Value::Integer(seconds) => forms::timeout_seconds(*seconds),
        value => forms::timeout(text(value)),
    }
}

fn keep(value: &Value) -> Result<Keep, Expected> {
    match value {
        Value::Boolean(true) => Ok(Keep::Forever),
        Value::Boolean(false) => Ok(Keep::Never),
        value => forms::duration(text(value)).map(Keep::For).map_err(|_| KEEP),
    }
}

fn pins(value: &Value) -> Result<Vec<Pin>, Expected> {
    match value {
        Value::String(text) => Ok(vec![forms::pin(text)?]),
        Value::Array(values) if !values.is_empty() => values.iter().map(|value| forms::pin(text(value))).collect(),
        _ => Err(PINS),
    }
}

fn path(value: &Value, paths: Paths<'_>) -> Result<PathBuf, Expected> {
    paths.resolve(Path::new(text(value)))
}

fn words(value: &Value) -> Result<Vec<String>, Expected> {
    let Value::Array(values) = value else { return Err(WORDS) };
    let word = |value: &Value| match value {
        Value::String(word) if !word.contains('\0') => Ok(word.clone()),
        _ => Err(WORDS),
    };
    let words = values.iter().map(word).collect::<Result<Vec<_>, _>>()?;
    if words.first().is_none_or(String::is_empty) { Err(WORDS) } else { Ok(words) }
}

fn password(value: &Value) -> Result<Password, Expected> {
    let text = text(value);
    // A line break would begin a command of its own.
    if text.is_empty() || text.contains(['\r', '\n', '\0']) {
        return Err(PASSWORD);
    }
    Ok(Password::new(text))
}

fn password_command(value: &Value, paths: Paths<'_>) -> Result<Secret, Expected> {
    paths.resolve_program(words(value)?).map(Secret::Command)
}

fn token_command(value: &Value, paths: Paths<'_>) -> Result<Secret, Expected> {
    paths.resolve_program(words(value)?).map(Secret::TokenCommand)
}

fn password_file(value: &Value, paths: Paths<'_>) -> Result<Secret, Expected> {
    if let Some(credential) = paths.environment.credentials.find(text(value)) {
        return Ok(Secret::File(credential));
    }
    path(value, paths).map(Secret::File)
}

fn target(entry: &Entry) -> Result<Target, Fault> {
    match &entry.value {
        Value::Table(table) => target_table(entry, table),
        value => forms::target(text(value)).map_err(|expected| entry.fault(expected)),
    }
}

/// The user, or `None` for oneself.
fn owner(entry: &Entry) -> Result<Option<Arc<User>>, Fault> {
    let user = User::find(text(&entry.value)).ok_or_else(|| entry.fault(USER))?;
    owner_for(rustix::process::geteuid(), user).map_err(|expected| entry.fault(expected))
}

fn owner_for(oneself: Uid, user: User) -> Result<Option<Arc<User>>, Expected> {
    match user.id {
        id if id == oneself.as_raw() => Ok(None),
        _ if !oneself.is_root() => Err(ONESELF),
        _ if !cfg!(target_os = "linux") => Err(ON_LINUX),
        _ => Ok(Some(Arc::new(user))),
    }
}

fn target_table(entry: &Entry, table: &Table) -> Result<Target, Fault> {
    let mut entries = table.iter();
    let (Some(kind), None) = (entries.next(), entries.next()) else { return Err(entry.fault(TARGET_TABLE)) };
    match (kind.key.as_str(), &kind.value) {
        ("maildir", Value::String(path)) => Ok(Target::maildir(path)),
        ("mbox", Value::String(path)) => Ok(Target::mbox(path)),
        ("maildir" | "mbox", _) => Err(kind.fault(PATH)),
        ("mda", value) => words(value).map(Target::mda).map_err(|expected| kind.fault(expected)),
        _ => Err(Fault {
            at: kind.key_at,
            problem: Problem::UnknownKey {
                key: kind.key.clone(),
                place: Place::Key("deliver"),
                known: vec!["maildir", "mbox", "mda"],
            },
        }),
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
