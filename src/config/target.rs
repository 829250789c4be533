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
use crate::account::{Account, Address, At, Headers, Secret, Sender, Server, Target, Tls, TlsMode};
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
const ENCRYPTED: Expected = Expected::new("\"implicit\", because `smtps:` begins TLS at once");

/// A target that has a name, as its table says it.
#[derive(Debug)]
pub(super) struct Named {
    deliver: Option<Written>,
    /// What is said of a server; where it is, `deliver` says.
    server: Server,
    sender: Option<Sender>,
    tls: Option<TlsMode>,
}

impl Named {
    /// Nothing has been said.
    pub fn new() -> Self {
        let server = Server::at(At::Socket(PathBuf::new()));
        Named { deliver: None, server, sender: None, tls: None }
    }

    /// The target of this name, and what its table says in vain.
    pub fn finish(self, name: &str, table: &Table) -> (Option<Written>, Vec<Fault>) {
        let Named { deliver: Some(written), server: said, sender, tls } = self else { return (None, vec![]) };
        let Some(server) = written.target.server() else {
            let in_vain =
                table.iter().filter(|entry| entry.key != "deliver" && keys::row(KEYS_OF_NAMED, &entry.key).is_some());
            let fault = |entry: &Entry| entry.at_key(Problem::OnlyForServers(entry.key.clone()), false);
            return (Some(written.clone()), in_vain.map(fault).collect());
        };
        let mode = tls.unwrap_or(server.tls.mode);
        if written.target.kind() == "smtps" && mode != TlsMode::Implicit {
            let found = table.get("tls").map(|entry| (entry, entry.value.shown()));
            let fault = |(entry, found): (&Entry, String)| {
                entry.at_value(Problem::Value { key: "tls".into(), found, expected: ENCRYPTED }, true)
            };
            return (None, found.map(fault).into_iter().collect());
        }
        let mut said = said;
        if let Secret::OAuth2(oauth2) = &mut said.secret {
            oauth2::for_protocol(oauth2, written.target.kind());
        }
        let of_table = Server {
            name: Some(name.to_owned()),
            at: server.at.clone(),
            user: server.user.clone(),
            sender: sender.unwrap_or_else(|| server.sender.clone()),
            tls: Tls { mode, ..said.tls.clone() },
            ..said
        };
        (Some(written.with_server(&of_table)), vec![])
    }
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
            Ok(target) if written.iter().any(|other| paths::is_same(&other.target, &target.target)) => {
                faults.extend(said.fault(Problem::SameTarget(target.target.to_string())));
            }
            Ok(target) => written.push(target),
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
