//! HTTP (RFC 9110, 9112): a web application takes each message by POST, such as Rails' Action Mailbox, Discourse, Redmine.
//!
//! Whose failure it is: statuses that are about what was sent (400, 409, 413, 422) are the message's own. All others but
//! 2xx would be the same for every message, and end the target for this run; so does a connection that breaks. Nothing is
//! sent again by itself. With `in_flight = N` there are N connections with one request each: a server may take requests
//! that are sent ahead over one connection for one, or end it in their middle, and nobody could tell which ones it took.

mod body;
mod exchange;
mod verdict;

pub mod answer;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::{Cause, Error};
use super::stage::{Stager, Waiting, say_what_changes};
use super::{login, read_host, server_of, shown};
use crate::account::{Address, At, Password, Post, Route, Secret, SecretKind, Server, Target, Tls, TlsMode};
use crate::deliver::{
    self, BatchLimit, Context, Destination, Ends, GROUP, Guarantee, Intents, Kind, Outcome, Place, Receipt, Refusal,
    Staged, Synced, Tried,
};
use crate::net::{self, Wait};
use crate::pop3::Credentials;
use crate::{authority, os, secret, text};
use body::Form;
use exchange::{Connection, Request, Sent, Sight};
use verdict::{Verdict, refused, said, verdict};

/// `http://[USER@]HOST[:PORT]/PATH`, on this machine.
pub(super) const KIND: Kind = Kind { word: "http", read: read_local, destination };

/// `https://[USER@]HOST[:PORT]/PATH`.
pub(super) const SECURE: Kind = Kind { word: "https", read: read_secure, destination };

const FORM: &str = "`https://[USER@]HOST[:PORT]/PATH` in ASCII, without a password and without `#`";

const ONLY_LOCAL: &str = "`https://[USER@]HOST/PATH`: `http://` sends everything in clear, and is only for servers of this \
                          machine, as in `http://127.0.0.1/PATH`";

/// What stands for the protocol in the names of stored tokens.
const WORD: &str = "http";

/// How long a stop waits for all the answers that are due.
const GRACE: Duration = Duration::from_secs(1);

fn destination(target: &Target) -> Box<dyn Destination> {
    Box::new(Http { target: target.clone(), server: server_of(target) })
}

fn read_secure(address: &str) -> Result<Address, &'static str> {
    read(address, "https", TlsMode::Implicit)
}

fn read_local(address: &str) -> Result<Address, &'static str> {
    let read = read(address, "http", TlsMode::None)?;
    let is_local = matches!(&read, Address::Server(server) if server.is_local());
    if is_local { Ok(read) } else { Err(ONLY_LOCAL) }
}

fn read(address: &str, word: &str, mode: TlsMode) -> Result<Address, &'static str> {
    let rest = address.strip_prefix("//").ok_or(FORM)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).ok_or(FORM)?);
    if !path.starts_with('/') || path.contains('#') || !path.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(FORM);
    }
    let server = read_host(authority, Target::usual_port(word), FORM)?;
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let post = Post { path: path.to_owned(), query: query.map(Password::new), ..Post::default() };
    Ok(Address::Server(Box::new(Server { tls: Tls::new(mode), post: Some(Box::new(post)), ..server })))
}

/// A web server that takes mail.
#[derive(Debug)]
struct Http {
    target: Target,
    server: Server,
}

impl Http {
    fn failed(&self, cause: Cause, in_doubt: usize) -> deliver::Error {
        deliver::Error::Server(Box::new(Error { server: shown(&self.target), cause, in_doubt, is_asked: false }))
    }

    fn connect(&self, request: &Arc<Request>, context: &Context) -> Result<Connection, Cause> {
        let At::Host { host, port } = &self.server.at else { unreachable!("a URL names a host") };
        let tls = &self.server.tls;
        let mut stream = net::connect(&Route::default(), host, *port, tls, context.network.timeout, &context.stop)?;
        if tls.mode == TlsMode::Implicit {
            stream = stream.handshake(host, tls, None)?;
        }
        Ok(Connection::new(stream, request.clone()))
    }

    /// What every request has, with the secrets from wherever the configuration says.
    fn request(&self, method: &str, context: &Context) -> Result<Request, Cause> {
        let post = self.server.post.as_deref().expect("a URL has a path");
        let At::Host { host, port } = &self.server.at else { unreachable!("a URL names a host") };
        let (word, mut secrets) = (self.target.kind(), vec![]);
        let host = match *port == Target::usual_port(word) {
            true => text::bracketed(host).into_owned(),
            false => text::host_port(host, *port),
        };
        let (query, hidden) = match &post.query {
            Some(query) => (format!("?{}", query.reveal()), "?****"),
            None => (String::new(), ""),
        };
        secrets.extend(post.query.iter().flat_map(|query| parts(query.reveal())));
        let mut lines = vec![
            (format!("{method} {}{query} HTTP/1.1", post.path), format!("{method} {}{hidden} HTTP/1.1", post.path)),
            (format!("Host: {host}"), format!("Host: {host}")),
        ];
        let credentials = self.credentials(context)?;
        if let Some(credentials) = &credentials {
            let (scheme, login) = authorization(credentials)?;
            lines
                .push((format!("Authorization: {scheme} {}", login.reveal()), format!("Authorization: {scheme} ****")));
            secrets.extend([credentials.password.clone(), login]);
        }
        let headers = secrets_of(&post.headers, "request header", context)?;
        for (name, value) in &headers {
            if value.reveal().chars().any(|c| c.is_control() && c != '\t') {
                return Err(Cause::Unwritable("header field of the request"));
            }
            lines.push((format!("{name}: {}", value.reveal()), format!("{name}: ****")));
        }
        let is_said = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let usual = [("User-Agent", concat!("popfetch/", env!("CARGO_PKG_VERSION"))), ("Accept", "*/*")];
        for (name, value) in usual.iter().filter(|(name, _)| !is_said(name)) {
            lines.push((format!("{name}: {value}"), format!("{name}: {value}")));
        }
        let fields = secrets_of(&post.form, "form field", context)?;
        let octets: [u8; 16] = os::random::octets().map_err(Cause::Unreadable)?;
        let boundary = octets.iter().fold("popfetch-".to_owned(), |text, octet| format!("{text}{octet:02x}"));
        let form = Form::new(&post.body, &fields, &boundary);
        secrets.extend(headers.into_iter().chain(fields).map(|(_, value)| value));
        let head: String = lines.iter().map(|(line, _)| format!("{line}\r\n")).collect();
        let label = format!("{}: {word}", text::printable(context.account.as_bytes()));
        let sight = Sight { wire: context.network.wire.clone(), label, secrets };
        let shown = lines.into_iter().map(|(_, shown)| text::printable(shown.as_bytes())).collect();
        Ok(Request { head: Password::new(head), shown, form, sight, credentials })
    }

    /// A token needs no user beside it.
    fn credentials(&self, context: &Context) -> Result<Option<Credentials>, Cause> {
        let is_token = matches!(self.server.secret, Secret::TokenCommand(_));
        let user = self.server.user.clone().or(is_token.then(String::new));
        login::credentials(&Server { user, ..self.server.clone() }, WORD, context)
    }

    /// A token of OAuth 2.0 that was refused is dropped.
    fn cause(&self, cause: Cause, request: &Request, context: &Context) -> Cause {
        match &request.credentials {
            Some(used) => login::dropped(&self.server, WORD, context, used, cause),
            None => cause,
        }
    }
}

/// Basic (RFC 7617) with a user and a password, Bearer (RFC 6750) with a token.
fn authorization(credentials: &Credentials) -> Result<(&'static str, Password), Cause> {
    let Credentials { user, password, kind, .. } = credentials;
    match kind {
        SecretKind::Token if password.reveal().bytes().all(|octet| octet.is_ascii_graphic()) => {
            Ok(("Bearer", password.clone()))
        }
        SecretKind::Token => Err(Cause::Unwritable("token")),
        SecretKind::Password if user.contains(':') => Err(Cause::Unwritable("user")),
        SecretKind::Password => Ok(("Basic", Password::new(STANDARD.encode(format!("{user}:{}", password.reveal()))))),
    }
}

/// A query, and each value in it, as it is and decoded.
fn parts(query: &str) -> Vec<Password> {
    let values = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let decoded = |value: &str| Some(Password::new(String::from_utf8(authority::percent_decoded(value)?).ok()?));
    let values = values.flat_map(|value| [Some(Password::new(value)), decoded(value)]);
    [Password::new(query)].into_iter().chain(values.flatten()).collect()
}

fn secrets_of(
    fields: &[(String, Secret)],
    kind: &'static str,
    context: &Context,
) -> Result<Vec<(String, Password)>, Cause> {
    let value = |(name, value): &(String, Secret)| {
        let value = secret::value(value, kind, context.network.password_timeout, &context.stop);
        Ok((name.clone(), value.map_err(Cause::Secret)?))
    };
    fields.iter().map(value).collect()
}

impl Destination for Http {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    /// What a batch has can come twice, after an interruption. Small messages share the files in which they wait.
    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { messages: self.server.in_flight, ..GROUP }
    }

    /// OPTIONS changes nothing anywhere (RFC 9110 §9.3.7). What applications answer to it tells little: most know POST
    /// alone at this address.
    fn try_out(&self, context: &Context) -> Result<Tried, deliver::Error> {
        let asked = || {
            let request = Arc::new(self.request("OPTIONS", context)?);
            let answer = self.connect(&request, context)?.ask()?;
            match answer.head.status {
                401 => Err(self.cause(refused(&answer, &request.sight), &request, context)),
                status => Ok((status, said(&answer, &request.sight))),
            }
        };
        let (status, said) = asked().map_err(|cause| self.failed(cause, 0))?;
        // A login page, or an application that is down, answers everything so.
        if matches!(status, 300..400 | 429 | 500 | 502..600) {
            return Ok(Tried::Doubtful(format!("`{said}` to OPTIONS")));
        }
        let tail = "whether it takes a message, only a message tells; each would go there by POST, at least once";
        Ok(Tried::Answers(format!("`{said}` to OPTIONS; {tail}")))
    }

    fn open(&self, context: &Context) -> Result<Ends, deliver::Error> {
        let request = Arc::new(self.request("POST", context).map_err(|cause| self.failed(cause, 0))?);
        let connection = self.connect(&request, context).map_err(|cause| self.failed(cause, 0))?;
        let stager = Stager::new(self.server.clone(), context);
        let publisher = Publisher {
            http: Http { target: self.target.clone(), server: self.server.clone() },
            context: context.clone(),
            request,
            connections: vec![connection],
            unanswered: 0,
            ended: None,
        };
        Ok((Box::new(stager), Box::new(publisher)))
    }
}

/// Sends messages.
struct Publisher {
    http: Http,
    context: Context,
    request: Arc<Request>,
    connections: Vec<Connection>,
    /// Messages that were sent as a whole and not answered.
    unanswered: usize,
    ended: Option<Cause>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publisher({})", self.http.target)
    }
}

/// What became of a message.
#[derive(Debug)]
enum Fate {
    Taken,
    Refused(Refusal),
    Left,
}

impl deliver::Publisher for Publisher {
    /// Nothing is synced: there is no name by which anybody could look for the message after a crash. It is fetched again
    /// then, which is why a server may get it twice.
    fn sync(&mut self, batch: Vec<Staged>) -> Result<Vec<Synced>, deliver::Error> {
        let synced = |(waiting, octets): (Box<Waiting>, u64)| Synced::new(Place::Mda, octets, waiting);
        Ok(batch.into_iter().map(Staged::into_held).map(synced).collect())
    }

    fn publish(&mut self, intended: Box<dyn Intents>) -> Result<Vec<Outcome>, deliver::Error> {
        let (messages, receipts): (Vec<Box<Waiting>>, Vec<Receipt>) =
            intended.into_synced().into_iter().map(Synced::into_held).unzip();
        say_what_changes(messages.iter().map(|message| &**message), &self.http.target, &self.context);
        let mut fates = Vec::with_capacity(messages.len());
        if let Err(cause) = self.send(&messages, &mut fates) {
            self.connections.clear();
            self.ended = Some(self.http.cause(cause, &self.request, &self.context));
        }
        fates.resize_with(messages.len(), || Fate::Left);
        let outcome = |(receipt, fate)| match fate {
            Fate::Taken => Outcome::Delivered(receipt),
            Fate::Refused(refusal) => Outcome::Refused(refusal),
            Fate::Left => Outcome::Left,
        };
        Ok(receipts.into_iter().zip(fates).map(outcome).collect())
    }

    fn ended(&mut self) -> Option<deliver::Error> {
        self.ended.take().map(|cause| self.http.failed(cause, self.unanswered))
    }
}

impl Publisher {
    /// Sends the messages of a batch, one over each connection, and adds what became of each.
    fn send(&mut self, messages: &[Box<Waiting>], fates: &mut Vec<Fate>) -> Result<(), Cause> {
        while fates.len() < messages.len() {
            let rest = &messages[fates.len()..];
            self.connect(rest.len())?;
            self.exchange(rest, fates)?;
        }
        Ok(())
    }

    /// Has so many connections that work, or at least one: a server may allow no more.
    fn connect(&mut self, wanted: usize) -> Result<(), Cause> {
        self.context.stop.check().map_err(net::Error::Stopped)?;
        let mut ready = Vec::with_capacity(wanted);
        for mut connection in std::mem::take(&mut self.connections) {
            if connection.is_ready()? {
                ready.push(connection);
            }
        }
        let missing = wanted.saturating_sub(ready.len());
        let (http, request, context) = (&self.http, &self.request, &self.context);
        let dial = || http.connect(request, context);
        // At the same time: each one costs several round trips.
        let dialled: Vec<Result<Connection, Cause>> = thread::scope(|scope| {
            let dials: Vec<_> = (1..missing).map(|_| thread::Builder::new().spawn_scoped(scope, dial)).collect();
            let first = (missing > 0).then(dial);
            let others = dials.into_iter().flatten().map(|dial| dial.join().expect("dialling does not panic"));
            first.into_iter().chain(others).collect()
        });
        let mut failure = None;
        for connection in dialled {
            match connection {
                Ok(connection) => ready.push(connection),
                Err(cause) => failure = failure.or(Some(cause)),
            }
        }
        self.connections = ready;
        match failure {
            Some(cause) if self.connections.is_empty() => Err(cause),
            _ => Ok(()),
        }
    }

    /// Sends as many messages as there are connections. Those that were sent are heard, too, when one has failed.
    fn exchange(&mut self, messages: &[Box<Waiting>], fates: &mut Vec<Fate>) -> Result<(), Cause> {
        let mut failure = None;
        let mut sent = vec![];
        for (connection, message) in self.connections.iter_mut().zip(messages) {
            let result = connection.send(message);
            self.unanswered += usize::from(matches!(result, Ok(Sent::Whole)));
            let is_over = result.is_err();
            sent.push(result);
            if is_over {
                break;
            }
        }
        let mut stopped: Option<Instant> = None;
        for (connection, sent) in self.connections.iter_mut().zip(sent) {
            let heard = match sent {
                Err(cause) => Err(cause),
                Ok(Sent::Cut(cause)) => match (connection.answer(Wait::End), cause) {
                    (Ok(answer), cause) if answer.head.status / 100 == 2 => {
                        Err(cause.unwrap_or(Cause::Nonsense("it takes a message that it does not have")))
                    }
                    (Ok(answer), _) => verdict(&answer, &self.request.sight),
                    (Err(_), Some(cause)) => Err(cause),
                    (Err(cause), None) => Err(cause),
                },
                Ok(Sent::Whole) => {
                    let answer = match stopped {
                        Some(since) if since.elapsed() >= GRACE => connection.answer_there().ok_or(Cause::Closed),
                        _ => connection.answer(Wait::Taken),
                    };
                    if self.context.stop.requested().is_some() {
                        stopped = stopped.or(Some(Instant::now()));
                    }
                    self.unanswered -= usize::from(answer.is_ok());
                    answer.and_then(|answer| verdict(&answer, &self.request.sight))
                }
            };
            fates.push(match heard {
                Ok(Verdict::Taken) => Fate::Taken,
                Ok(Verdict::Refused(refusal)) => Fate::Refused(refusal),
                Err(cause) => {
                    failure = failure.or(Some(cause));
                    Fate::Left
                }
            });
        }
        failure.map_or(Ok(()), Err)
    }
}
