//! The key `deliver`: where messages go. A target is a string, a table of one key, or the name of a target that
//! `[targets.NAME]` defines; several stand in an array. Only the table of a name says more of a server than its address.

use std::collections::HashMap;
use std::path::PathBuf;

use super::error::{Fault, Place, Problem, names};
use super::forms::{self, Expected};
use super::keys::{self, Literal, Row, Said, Secrecy};
use super::oauth2;
use super::paths;
use super::placeholder::{self, Unfit};
use super::settings::{boolean, credential_or_path, password, path as path_of, pins, program, words};
use super::url;
use super::value::{Entry, Table, Value};
use crate::account::{
    Account, Address, At, Auth, Body, Headers, Password, Post, Secret, Sender, Server, Target, Tls, TlsMode,
};
use crate::deliver::FORMS;
use crate::text;

/// The keys of a target as a table; at most one may be given.
pub(super) static KEYS: &[Row<Option<Target>>] = &[
    Row::new("maildir", |target, said| said.some(target, |value| path(value).map(Target::maildir))),
    Row::new("mbox", |target, said| said.some(target, |value| path(value).map(Target::mbox))),
    Row::new("mda", |target, said| said.some(target, |value| words(value).map(Target::mda))),
];

/// The keys of `[targets.NAME]`; all but the first are about servers.
pub(super) static KEYS_OF_NAMED: &[Row<Named>] = &[
    Row::<Named>::new("deliver", |named, said| {
        named.deliver = Some(read_one(said, None)?);
        Ok(())
    }),
    Row::<Named>::new("recipient", |named, said| said.set(&mut named.server.recipient, recipient))
        .mostly(Literal::Text("%u"))
        .elsewhere(&["to", "rcpt", "mailbox", "smtpname"]),
    Row::<Named>::new("sender", |named, said| said.some(&mut named.sender, sender)).elsewhere(&[
        "from",
        "envelope_sender",
        "mail_from",
    ]),
    Row::<Named>::new("in_flight", |named, said| said.set(&mut named.server.in_flight, in_flight))
        .or(Literal::Integer(1)),
    Row::<Named>::new("headers", |named, said| said.set(&mut named.server.headers, headers)),
    Row::<Named>::new("body", |named, said| said.set(&mut named.post.body, body)).or(Literal::Text("raw")),
    Row::<Named>::new("request_headers", |named, said| {
        named.post.headers = fields(said, is_request_header, REQUEST_HEADERS)?;
        Ok(())
    })
    .is(Secrecy::Secret)
    .elsewhere(&["http_headers", "header"]),
    Row::<Named>::new("form", |named, said| {
        named.post.form = fields(said, is_field, FORM)?;
        Ok(())
    })
    .is(Secrecy::Secret)
    .elsewhere(&["form_data", "params"]),
    Row::<Named>::new("create", |named, said| said.set(&mut named.server.create, boolean)).or(Literal::Boolean(true)),
    Row::<Named>::new("password", |named, said| {
        said.set(&mut named.server.secret, |value| password(value).map(Secret::Literal))
    })
    .one_of(SECRET)
    .is(Secrecy::Secret)
    .elsewhere(&["pass", "passwd", "pwd", "secret"]),
    Row::<Named>::new("password_command", |named, said| {
        said.set(&mut named.server.secret, |value| Ok(Secret::Command(program(value, said.paths)?)))
    })
    .one_of(SECRET)
    .is(Secrecy::Hidden)
    .elsewhere(&["passwordeval", "pass_command", "passcmd"]),
    Row::<Named>::new("password_file", |named, said| {
        said.set(&mut named.server.secret, |value| credential_or_path(value, said.paths).map(Secret::File))
    })
    .one_of(SECRET)
    .is(Secrecy::Hidden)
    .elsewhere(&["pass_file", "secret_file"]),
    Row::<Named>::new("token_command", |named, said| {
        said.set(&mut named.server.secret, |value| Ok(Secret::TokenCommand(program(value, said.paths)?)))
    })
    .one_of(SECRET)
    .is(Secrecy::Hidden),
    Row::<Named>::new("oauth2", |named, said| {
        named.server.secret = Secret::OAuth2(Box::new(oauth2::read(said)?));
        Ok(())
    })
    .one_of(SECRET)
    .is(Secrecy::Hidden)
    .elsewhere(&["oauth", "xoauth2"]),
    Row::<Named>::new("auth", |named, said| said.set(&mut named.server.auth, |value| forms::auth(value.text())))
        .or(Literal::Text("auto"))
        .words(&forms::AUTHS),
    Row::<Named>::new("tls", |named, said| said.some(&mut named.tls, |value| forms::tls_mode(value.text())))
        .words(&forms::TLS_MODES),
    Row::<Named>::new("tls_ca_file", |named, said| {
        said.some(&mut named.server.tls.ca_file, |value| path_of(value, said.paths))
    }),
    Row::<Named>::new("tls_pin", |named, said| said.set(&mut named.server.tls.pins, pins)),
    Row::<Named>::new("tls_name", |named, said| said.some(&mut named.server.tls.name, |value| url::host(value.text()))),
    Row::<Named>::new("tls_verify", |named, said| said.set(&mut named.server.tls.verify, boolean))
        .or(Literal::Boolean(true))
        .excludes(&["tls_pin"]),
];

/// The ways to give a password.
const SECRET: &str = "secret";

/// What stands in front of a message, in the order of the manual.
const HEADERS: [&str; 3] = ["received", "delivered-to", "id"];

/// More messages would have to be sent again after an interruption than anybody wants to see twice.
const MOST_IN_FLIGHT: i64 = 256;

const RECIPIENT: Expected = Expected::new(
    "an address or a user name without blanks and angle brackets; `%u` is the user of the account, `%l` its user up to the \
     `@`, `%%` a percent sign",
);
const SENDER: Expected = Expected::new("\"return-path\", \"<>\" or an address without blanks and angle brackets");
const IN_FLIGHT: Expected = Expected::new("an integer from 1 to 256");
const HEADERS_EXPECTED: Expected = Expected::new("an array of `received`, `delivered-to` and `id`");
const ENCRYPTED: Expected = Expected::new("\"implicit\", because `smtps:`, `imaps:` and `https:` begin TLS at once");
const IN_CLEAR: Expected = Expected::new("\"none\", because `http:` is in clear; `https:` is not");
const BODY: Expected = Expected::new(
    "\"raw\", \"form:FIELD\" or \"form-base64:FIELD\", with the name of the field in visible ASCII without quotes",
);
const REQUEST_HEADERS: &str = "a table of header fields that popfetch does not make itself";
const FORM: &str = "a table of fields of the form";
const NO_FORM: Expected = Expected::new("nothing: with `body = \"raw\"` there is no form");
const NO_USER: Expected = Expected::new("a user in the address, as in `https://USER@HOST/PATH`");
const NO_AUTH: Expected = Expected::new("\"auto\": Basic with a password, Bearer with a token");

/// A target that has a name, as its table says it.
#[derive(Debug)]
pub(super) struct Named {
    deliver: Option<Written>,
    /// What is said of a server; where it is, `deliver` says.
    server: Server,
    /// What is said of the requests to a web server.
    post: Post,
    sender: Option<Sender>,
    tls: Option<TlsMode>,
}

impl Named {
    /// Nothing has been said.
    pub fn new() -> Self {
        let server = Server::at(At::Socket(PathBuf::new()));
        Named { deliver: None, server, post: Post::default(), sender: None, tls: None }
    }

    /// The target of this name, and what its table says in vain.
    pub fn finish(self, name: &str, table: &Table) -> (Option<Written>, Vec<Fault>) {
        let Named { deliver: Some(written), server: said, post, sender, tls } = self else { return (None, vec![]) };
        let kind = written.target.kind();
        let faults: Vec<Fault> = table.iter().filter_map(|entry| in_vain(entry, &written.target)).collect();
        let Some(server) = written.target.server() else { return (Some(written.clone()), faults) };
        let mode = tls.unwrap_or(server.tls.mode);
        let wrong = |key: &str, expected: Expected| {
            let entry = table.get(key)?;
            let is_public = keys::is_public(KEYS_OF_NAMED, entry);
            let found = if is_public { entry.value.shown() } else { entry.value.kind().to_owned() };
            Some(entry.at_value(Problem::Value { key: key.to_owned(), found, expected }, is_public))
        };
        let is_raw = post.body == Body::Raw;
        let secret = ["password", "password_command", "password_file", "oauth2"]
            .into_iter()
            .find(|key| table.get(key).is_some());
        let fault = match (kind, &server.post) {
            ("smtps" | "imaps" | "https", _) if mode != TlsMode::Implicit => wrong("tls", ENCRYPTED),
            ("http", _) if mode != TlsMode::None => wrong("tls", IN_CLEAR),
            (_, Some(_)) if said.auth != Auth::Auto => wrong("auth", NO_AUTH),
            (_, Some(_)) if is_raw && !post.form.is_empty() => wrong("form", NO_FORM),
            (_, Some(_)) if server.user.is_none() => secret.and_then(|key| wrong(key, NO_USER)),
            _ => None,
        };
        if let Some(fault) = fault {
            return (None, [faults, vec![fault]].concat());
        }
        let mut said = said;
        if let Secret::OAuth2(oauth2) = &mut said.secret {
            oauth2::for_protocol(oauth2, written.target.kind());
        }
        let post = server.post.as_ref().map(|address| {
            let Post { path, query, .. } = (**address).clone();
            Box::new(Post { path, query, ..post })
        });
        let of_table = Server {
            name: Some(name.to_owned()),
            at: server.at.clone(),
            user: server.user.clone(),
            mailbox: server.mailbox.clone(),
            sender: sender.unwrap_or_else(|| server.sender.clone()),
            tls: Tls { mode, ..said.tls.clone() },
            post,
            ..said
        };
        (Some(written.with_server(&of_table)), faults)
    }
}

/// The key says something that is of no use for this target.
fn in_vain(entry: &Entry, target: &Target) -> Option<Fault> {
    let key = entry.key.as_str();
    let is_known = keys::row(KEYS_OF_NAMED, key).is_some();
    let servers = match (key, target.server()) {
        ("deliver", _) => return None,
        (_, None) => "servers, such as `lmtp://HOST`",
        ("sender", Some(server)) if server.post.is_some() || !server.mailbox.is_empty() => {
            "mail servers, such as `lmtp://HOST`"
        }
        // An envelope has a recipient, and what a mailbox has taken can be asked for.
        ("recipient" | "in_flight", Some(server)) if !server.mailbox.is_empty() => {
            "servers without mailboxes, such as `lmtp://HOST`"
        }
        ("create", Some(server)) if server.mailbox.is_empty() => "mailboxes, such as `imaps://USER@HOST/MAILBOX`",
        ("body" | "request_headers" | "form", Some(server)) if server.post.is_none() => {
            "web servers, such as `https://HOST/PATH`"
        }
        _ => return None,
    };
    is_known.then(|| entry.at_key(Problem::OnlyForServers { key: key.to_owned(), servers }, false))
}

const TABLE: Expected = Expected::new("a table with one of `maildir`, `mbox` and `mda`");
const PATH: Expected = Expected::new("a path");
const SOME: Expected = Expected::new("an array of 1 to 32 targets");

/// The targets that have a name; `None` for one whose definition is wrong.
pub(super) type Targets = HashMap<String, Option<Written>>;

/// A target, and how it was written where that began with `~`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    target: Target,
    at_home: Option<Target>,
}

impl Written {
    /// The same place, with what is known of the server.
    fn with_server(&self, server: &Server) -> Self {
        let with = |target: &Target| {
            let at = target.server().expect("a server was written").at.clone();
            Target::new(target.kind(), Address::Server(Box::new(Server { at, ..server.clone() })))
        };
        Written { target: with(&self.target), at_home: self.at_home.as_ref().map(with) }
    }

    /// The target of this account, at the home of its owner if that is another user.
    pub fn for_account(self, account: &Account) -> Result<Target, Problem> {
        let mut target = match (&account.owner, self.at_home) {
            (Some(owner), Some(target)) => paths::at_home_of(owner, target),
            _ => self.target,
        };
        if let Some(server) = target.server() {
            let mut server = server.clone();
            server.recipient = recipient_of(&server.recipient, &account.user);
            target = Target::new(target.kind(), Address::Server(Box::new(server)));
        }
        let Some(path) = target.path() else { return Ok(target) };
        match placeholder::expanded(path, &account.name, &account.user) {
            Ok(path) => Ok(Target::new(target.kind(), Address::Path(path))),
            Err(Unfit { placeholder, value }) => {
                Err(Problem::Placeholder { target: target.to_string(), placeholder, value })
            }
        }
    }
}

/// Who gets the messages of an account of this user.
fn recipient_of(written: &str, user: &str) -> String {
    let mut recipient = String::new();
    let mut rest = if written.is_empty() { "%u" } else { written };
    while let Some((before, after)) = rest.split_once('%') {
        recipient += before;
        recipient += match after.bytes().next() {
            Some(b'u') => user,
            Some(b'l') => user.rsplit_once('@').map_or(user, |(local, _)| local),
            _ => "%",
        };
        rest = after.get(1..).unwrap_or_default();
    }
    recipient + rest
}

fn is_address(text: &str) -> bool {
    let is_safe = |c: char| !c.is_whitespace() && !c.is_control() && !"<>".contains(c);
    !text.is_empty() && text.len() <= 254 && text.chars().all(is_safe)
}

fn recipient(value: &Value) -> Result<String, Expected> {
    let Value::String(text) = value else { return Err(RECIPIENT) };
    let plain = text.replace("%%", "").replace("%u", "").replace("%l", "");
    if is_address(text) && !plain.contains('%') { Ok(text.clone()) } else { Err(RECIPIENT) }
}

fn sender(value: &Value) -> Result<Sender, Expected> {
    let Value::String(text) = value else { return Err(SENDER) };
    match text.as_str() {
        "return-path" => Ok(Sender::ReturnPath),
        "<>" => Ok(Sender::Nobody),
        text if is_address(text) && text.contains('@') => Ok(Sender::Address(text.to_owned())),
        _ => Err(SENDER),
    }
}

fn in_flight(value: &Value) -> Result<usize, Expected> {
    match value {
        Value::Integer(number @ 1..=MOST_IN_FLIGHT) => Ok(*number as usize),
        _ => Err(IN_FLIGHT),
    }
}

fn headers(value: &Value) -> Result<Headers, Expected> {
    let Value::Array(items) = value else { return Err(HEADERS_EXPECTED) };
    let mut headers = Headers::default();
    for item in items {
        match HEADERS.iter().position(|word| *word == item.value.text()) {
            Some(0) => headers.received = true,
            Some(1) => headers.delivered_to = true,
            Some(_) => headers.id = true,
            None => return Err(HEADERS_EXPECTED),
        }
    }
    Ok(headers)
}

fn body(value: &Value) -> Result<Body, Expected> {
    let Value::String(text) = value else { return Err(BODY) };
    let field = |name: &str| if is_field(name) { Ok(name.to_owned()) } else { Err(BODY) };
    match text.split_once(':') {
        None if text == "raw" => Ok(Body::Raw),
        Some(("form", name)) => field(name).map(Body::Form),
        Some(("form-base64", name)) => field(name).map(Body::FormBase64),
        _ => Err(BODY),
    }
}

/// A name that may stand between quotes.
fn is_field(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'"' && octet != b'\\')
}

/// Fields of a request that are made here, or would change where it ends.
const OWN: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-encoding",
];

/// A name of a field (RFC 9110 §5.1) that is not ours.
fn is_request_header(name: &str) -> bool {
    let is_token = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    let is_own =
        OWN.iter().any(|own| own.eq_ignore_ascii_case(name)) || name.to_ascii_lowercase().starts_with("proxy-");
    !name.is_empty() && name.bytes().all(is_token) && !is_own
}

/// Reads names, each with a text, or with a table that says where the text comes from.
fn fields(
    said: &Said<'_>,
    is_name: fn(&str) -> bool,
    expected: &'static str,
) -> Result<Vec<(String, Secret)>, Vec<Fault>> {
    let expected = || {
        Expected::with(format!(
            "{expected}, each with a text, `{{ command = [\"PROGRAM\", …] }}` or `{{ file = \"PATH\" }}`"
        ))
    };
    let table = said.table(expected())?;
    let field = |entry: &Entry| {
        let value = match &entry.value {
            Value::String(_) => password(&entry.value).ok().filter(is_text).map(Secret::Literal),
            Value::Table(source) => source_of(source, said),
            _ => None,
        };
        Some((entry.key.clone(), value?)).filter(|(name, _)| is_name(name))
    };
    table.iter().map(field).collect::<Option<_>>().ok_or_else(|| said.wrong(expected()))
}

fn is_text(text: &Password) -> bool {
    !text.reveal().chars().any(char::is_control)
}

fn source_of(table: &Table, said: &Said<'_>) -> Option<Secret> {
    let mut entries = table.iter();
    let entry = entries.next().filter(|_| entries.next().is_none())?;
    match entry.key.as_str() {
        "command" => program(&entry.value, said.paths).ok().map(Secret::Command),
        "file" => credential_or_path(&entry.value, said.paths).ok().map(Secret::File),
        _ => None,
    }
}

/// True for what can be told from a target wherever it stands.
pub(super) fn is_name(text: &str) -> bool {
    let is_kind = KEYS.iter().any(|row| row.key.name == text);
    !text.is_empty() && !is_kind && !text.contains([':', '/', '~']) && !text.contains(char::is_control)
}

/// Understands the value of an account's or of the defaults' key.
pub(super) fn read(said: &Said<'_>, targets: &Targets) -> Result<Vec<Written>, Vec<Fault>> {
    let Value::Array(items) = &said.entry.value else { return Ok(vec![read_one(said, Some(targets))?]) };
    if !(1..=Target::MOST).contains(&items.len()) {
        return Err(said.wrong(SOME));
    }
    let mut written: Vec<Written> = Vec::new();
    let mut faults = Vec::new();
    for item in items {
        let entry = item.entry(&said.entry.key);
        let said = Said::of(&entry, said.paths);
        match read_one(&said, Some(targets)) {
            Ok(target) => match written.iter().find(|other| paths::is_same(&other.target, &target.target)) {
                Some(other) => faults.extend(said.fault(Problem::same_target(&target.target, &other.target))),
                None => written.push(target),
            },
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() { Ok(written) } else { Err(faults) }
}

/// Understands one target, which may be a name where there are `targets`.
fn read_one(said: &Said<'_>, targets: Option<&Targets>) -> Result<Written, Vec<Fault>> {
    let name = said.entry.value.text();
    if let Some(targets) = targets
        && is_name(name)
    {
        let target = said.value(|_| targets.get(name).ok_or_else(|| unknown(name, targets)))?;
        return target.clone().ok_or_else(Vec::new);
    }
    let target = match &said.entry.value {
        Value::Table(_) => read_table(said)?,
        _ => said.value(|value| forms::target(value.text()))?,
    };
    // An option is about whoever types it.
    let is_at_home = paths::is_at_home(&target) && !matches!(said.entry.value, Value::Word(_));
    let at_home = Some(target.clone()).filter(|_| is_at_home);
    let target = said.paths.resolve_target(target).map_err(|expected| said.wrong(expected))?;
    Ok(Written { target, at_home })
}

fn unknown(name: &str, targets: &Targets) -> Expected {
    let mut known: Vec<_> = targets.keys().map(String::as_str).collect();
    known.sort_unstable();
    let near = text::nearest(name, known.iter().copied());
    let known = match (near, &known[..]) {
        (Some(near), _) => format!("did you mean {}?", names(&[near])),
        (None, []) => "there is no `[targets.NAME]`".to_owned(),
        (None, known) => format!("there are {}", names(known)),
    };
    Expected::with(format!("{FORMS}, or the name of a target; {known}"))
}

fn read_table(said: &Said<'_>) -> Result<Target, Vec<Fault>> {
    let table = said.table(TABLE)?;
    let mut target = None;
    let faults = keys::read(KEYS, table, &Place::Key("deliver"), said.paths, &mut target);
    match target {
        _ if table.iter().count() != 1 => Err(said.wrong(TABLE)),
        Some(target) if faults.is_empty() => Ok(target),
        _ => Err(faults),
    }
}

fn path(value: &Value) -> Result<PathBuf, Expected> {
    match value {
        Value::String(path) => placeholder::objection(path).map_or(Ok(path.into()), Err),
        _ => Err(PATH),
    }
}
