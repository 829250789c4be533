//! A small POP3 server with its maildrops in memory (RFC 1939, 2449, 2595, 5034): enough of one for a fetcher to
//! be tried against, and for a demonstration without the internet.
//!
//! It can misbehave at an exact line, octet or command, answers any command as it is told to, and keeps a log of
//! what it heard. Knows nothing of the tests; it needs std, base64 and md-5 only. TLS comes from
//! outside, by whichever library ([`Tls`]).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};

/// A message as the server stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mail {
    pub unique_id: String,
    /// With CRLF line ends, and not stuffed.
    pub octets: Vec<u8>,
    /// What LIST says, when it is not the truth.
    pub announced: Option<u64>,
}

impl Mail {
    pub fn new(unique_id: impl Into<String>, octets: impl Into<Vec<u8>>) -> Self {
        Mail { unique_id: unique_id.into(), octets: octets.into(), announced: None }
    }

    fn announced(&self) -> u64 {
        self.announced.unwrap_or(self.octets.len() as u64)
    }
}

/// An answer that never comes.
pub const STALL: &str = "!stall";
/// An answer that is the end of the connection.
pub const HANG_UP: &str = "!hang up";
/// An answer without an end.
pub const ENDLESS: &str = "!endless";

/// What goes wrong in a connection, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    pub moment: Moment,
    pub misdeed: Misdeed,
}

/// An exact place in a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    /// As soon as so many lines were sent; 0 is before the greeting.
    LinesSent(u64),
    /// As soon as so many octets were sent.
    OctetsSent(u64),
    /// Before the command of this number is read; the first one is 1.
    BeforeCommand(u64),
    /// Before the RETR of this number is answered; the first one is 1.
    BeforeRetr(u64),
}

/// What a server should not do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Misdeed {
    HangUp,
    /// Hangs up with TLS's own farewell first.
    CloseNotify,
    Stall,
    /// From then on one octet at a time, with a pause behind each.
    Drip(Duration),
}

/// A command that the server heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The first connection is 1.
    pub connection: usize,
    /// Without CRLF.
    pub line: String,
}

/// What a connection amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    pub lines_sent: u64,
    pub octets_sent: u64,
    /// Reads that returned something: how often the client let the line run empty.
    pub flights: u64,
}

/// A server that is not yet running.
pub struct Builder {
    settings: Settings,
    state: State,
}

/// The server's side of TLS.
pub trait Tls: Send + Sync {
    /// Begins a session on this socket. After a pause of the client it asks whether the handshake is to go on.
    fn accept(&self, socket: TcpStream, goes_on: &dyn Fn(&io::Error) -> bool) -> io::Result<Box<dyn Encrypted>>;
}

/// A session under TLS.
pub trait Encrypted: Read + Write + Send {
    /// What lies below.
    fn socket(&self) -> &TcpStream;

    /// Says that nothing more comes.
    fn close_notify(&mut self);
}

#[derive(Default)]
struct Settings {
    capabilities: Vec<String>,
    capabilities_under_tls: Vec<String>,
    capabilities_after_login: Vec<String>,
    greeting: String,
    answers: HashMap<String, String>,
    tls: Option<Arc<dyn Tls>>,
    implicit_tls: bool,
    any_password: bool,
    changes_unique_ids: bool,
    /// How many more messages each session lists than the one before; 0: all.
    more_each_time: usize,
    batch: Option<usize>,
    pace: Duration,
}

#[derive(Default)]
struct State {
    users: BTreeMap<String, User>,
    faults: VecDeque<Fault>,
    heard: Vec<Heard>,
    traffic: Vec<Traffic>,
    complaints: Vec<String>,
    forgets_dots: bool,
    forgets_what_is_ahead: bool,
    /// RETR that are lost when something was sent ahead of them.
    lost_ahead: HashSet<String>,
    /// Answers that were given while the server ran.
    answers: HashMap<String, String>,
}

struct User {
    password: String,
    maildrop: Vec<Arc<Mail>>,
    is_locked: bool,
    /// Unique-ids of messages that were retrieved, where that hides them.
    hidden: HashSet<String>,
}

impl Builder {
    /// Adds a user with a maildrop.
    pub fn user(mut self, name: &str, password: &str, mails: impl IntoIterator<Item = Mail>) -> Self {
        let maildrop = mails.into_iter().map(Arc::new).collect();
        self.state.users.insert(
            name.into(),
            User { password: password.into(), maildrop, is_locked: false, hidden: HashSet::new() },
        );
        self
    }

    /// Takes whatever is given for a password: for tokens, which only their issuer can judge.
    pub fn any_password(mut self) -> Self {
        self.settings.any_password = true;
        self
    }

    /// Gives each message another unique-id in each session.
    pub fn changes_unique_ids(mut self) -> Self {
        self.settings.changes_unique_ids = true;
        self
    }

    /// Lists so many messages in the first session, and as many more in each later one, though all of them are there.
    pub fn more_each_time(mut self, messages: usize) -> Self {
        self.settings.more_each_time = messages;
        self
    }

    /// Lists so many messages in a session, the oldest of those that no session before it has retrieved and ended with QUIT,
    /// as Gmail does.
    pub fn hands_out(mut self, messages: usize) -> Self {
        self.settings.batch = Some(messages);
        self
    }

    /// Announces exactly these, in every state.
    pub fn capabilities(mut self, names: &[&str]) -> Self {
        self.settings.capabilities = owned(names);
        self
    }

    /// Announces these as well once the connection is encrypted.
    pub fn capabilities_under_tls(mut self, names: &[&str]) -> Self {
        self.settings.capabilities_under_tls = owned(names);
        self
    }

    /// Announces these as well after the login.
    pub fn capabilities_after_login(mut self, names: &[&str]) -> Self {
        self.settings.capabilities_after_login = owned(names);
        self
    }

    /// Says nothing of PIPELINING and holds the client to it: a command that comes before the reply to the one
    /// before is a complaint.
    pub fn without_pipelining(mut self) -> Self {
        self.settings.capabilities.retain(|name| name != "PIPELINING");
        self
    }

    /// Announces PIPELINING, and throws away what came together with a command, as some scanners do.
    pub fn forgets_what_is_ahead(mut self) -> Self {
        self.state.forgets_what_is_ahead = true;
        self
    }

    /// Announces PIPELINING, and loses these commands when they are sent ahead, as a small buffer does.
    pub fn loses_ahead(mut self, commands: &[&str]) -> Self {
        self.state.lost_ahead = owned(commands).into_iter().collect();
        self
    }

    /// The words after the `+OK` of the greeting; a `<…@…>` in them makes APOP possible.
    pub fn greeting(mut self, words: &str) -> Self {
        self.settings.greeting = words.into();
        self
    }

    /// Answers one command (`RETR 2`), or every command of a keyword (`PASS`), with this line and does nothing. With
    /// [`STALL`], [`HANG_UP`] and [`ENDLESS`] it does that.
    pub fn answer(mut self, command: &str, line: &str) -> Self {
        self.settings.answers.insert(command.into(), line.into());
        self
    }

    /// TLS from the first octet.
    pub fn implicit_tls(mut self, tls: impl Tls + 'static) -> Self {
        self.settings.tls = Some(Arc::new(tls));
        self.settings.implicit_tls = true;
        self
    }

    /// TLS after STLS.
    pub fn starttls(mut self, tls: impl Tls + 'static) -> Self {
        self.settings.tls = Some(Arc::new(tls));
        self
    }

    /// A fault for the first connection, for the second, and so on; later connections are sound.
    pub fn faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.state.faults.extend(faults);
        self
    }

    /// Waits so long before each message that is retrieved.
    pub fn pace(mut self, pause: Duration) -> Self {
        self.settings.pace = pause;
        self
    }

    /// Listens on a free port of 127.0.0.1.
    pub fn start(self) -> Maildrop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            settings: self.settings,
            state: Mutex::new(self.state),
            is_stopping: AtomicBool::new(false),
        });
        let for_accepter = shared.clone();
        let accepter = thread::spawn(move || accept(&listener, &for_accepter));
        Maildrop { port, shared, accepter: Some(accepter) }
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// The running server. Dropping it ends it, and panics when it has a complaint about a client.
pub struct Maildrop {
    pub port: u16,
    shared: Arc<Shared>,
    accepter: Option<JoinHandle<()>>,
}

struct Shared {
    settings: Settings,
    state: Mutex<State>,
    is_stopping: AtomicBool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Maildrop {
    /// A server that announces what a current one does.
    pub fn builder() -> Builder {
        let settings = Settings {
            capabilities: owned(&["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "USER", "SASL PLAIN"]),
            greeting: "ready".into(),
            ..Settings::default()
        };
        Builder { settings, state: State::default() }
    }

    /// Every command of every connection, in the order in which they were heard.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.state().heard.clone()
    }

    /// The commands of one connection; the first one is 1.
    pub fn commands(&self, connection: usize) -> Vec<String> {
        let heard = self.heard().into_iter().filter(|heard| heard.connection == connection);
        heard.map(|heard| heard.line).collect()
    }

    /// How many commands began with this keyword.
    pub fn count(&self, keyword: &str) -> usize {
        self.heard().iter().filter(|heard| keyword_of(&heard.line) == keyword).count()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.state().traffic.len()
    }

    /// What went over one connection; the first one is 1.
    pub fn traffic(&self, connection: usize) -> Traffic {
        self.shared.state().traffic[connection - 1]
    }

    /// How many lines were sent in all connections so far.
    pub fn lines_sent(&self) -> u64 {
        self.shared.state().traffic.iter().map(|traffic| traffic.lines_sent).sum()
    }

    /// The unique-ids of a user's maildrop, in its order.
    pub fn unique_ids(&self, user: &str) -> Vec<String> {
        self.shared.state().users[user].maildrop.iter().map(|mail| mail.unique_id.clone()).collect()
    }

    /// A user's maildrop, in its order.
    pub fn mails(&self, user: &str) -> Vec<Mail> {
        self.shared.state().users[user].maildrop.iter().map(|mail| (**mail).clone()).collect()
    }

    /// The maildrop as it is from the next session on.
    pub fn replace(&self, user: &str, mails: impl IntoIterator<Item = Mail>) {
        self.with_user(user, |user| user.maildrop = mails.into_iter().map(Arc::new).collect());
    }

    /// Answers a command as [`Builder::answer`] does from now on; as usual again without a line.
    pub fn answer(&self, command: &str, line: Option<&str>) {
        let answers = &mut self.shared.state().answers;
        match line {
            Some(line) => answers.insert(command.into(), line.into()),
            None => answers.remove(command),
        };
    }

    /// New mail.
    pub fn arrive(&self, user: &str, mail: Mail) {
        self.with_user(user, |user| user.maildrop.push(Arc::new(mail)));
    }

    /// A fault for the next connection; none for any later one without it.
    pub fn fault(&self, fault: Option<Fault>) {
        self.shared.state().faults = fault.into_iter().collect();
    }

    /// From now on a line of a dot in a message is not stuffed (RFC 1939 §3), and so ends it early.
    pub fn forget_dots(&self, forgets: bool) {
        self.shared.state().forgets_dots = forgets;
    }

    /// From now on what is sent ahead is answered, or forgotten again.
    pub fn forget_what_is_ahead(&self, forgets: bool) {
        self.shared.state().forgets_what_is_ahead = forgets;
    }

    /// Makes a user's maildrop what it once was.
    pub fn restore(&self, user: &str, mails: impl IntoIterator<Item = Mail>) {
        self.with_user(user, |user| user.maildrop = mails.into_iter().map(Arc::new).collect());
    }

    /// Another client holds the maildrop until the server ends.
    pub fn lock(&self, user: &str) {
        self.with_user(user, |user| user.is_locked = true);
    }

    /// The unique-ids of a user's messages that are still to be handed out.
    pub fn unseen(&self, user: &str) -> usize {
        let state = self.shared.state();
        let user = &state.users[user];
        user.maildrop.iter().filter(|mail| !user.hidden.contains(&mail.unique_id)).count()
    }

    /// True when no session holds a maildrop: a slow one notices late that its client has gone.
    pub fn is_idle(&self) -> bool {
        self.shared.state().users.values().all(|user| !user.is_locked)
    }

    fn with_user(&self, name: &str, change: impl FnOnce(&mut User)) {
        change(self.shared.state().users.get_mut(name).expect("the user is known"));
    }
}

impl Drop for Maildrop {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        // Wakes the accepter out of its wait.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let ended = self.accepter.take().map(JoinHandle::join);
        if thread::panicking() {
            return;
        }
        assert!(matches!(ended, Some(Ok(()))), "a thread of the server panicked");
        let complaints = &self.shared.state().complaints;
        assert!(complaints.is_empty(), "the server complains: {complaints:#?}");
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut sessions = Vec::new();
    for socket in listener.incoming() {
        if shared.is_stopping.load(Ordering::Relaxed) {
            break;
        }
        let Ok(socket) = socket else { continue };
        let session = Session::new(socket, shared.clone());
        sessions.push(thread::spawn(move || session.run()));
    }
    for session in sessions {
        session.join().expect("a session does not panic");
    }
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<dyn Encrypted>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => stream.socket(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Wire::Plain(socket) => socket.write_all(octets),
            Wire::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()),
        }
    }

    fn is_encrypted(&self) -> bool {
        matches!(self, Wire::Tls(_))
    }

    fn close_notify(&mut self) {
        if let Wire::Tls(stream) = self {
            stream.close_notify();
        }
    }

    /// True when something has arrived that was not read yet; in TLS that could also be a record of its own.
    fn has_unread(&self) -> bool {
        let Wire::Plain(socket) = self else { return false };
        let _ = socket.set_nonblocking(true);
        let has_unread = matches!(socket.peek(&mut [0]), Ok(1));
        let _ = socket.set_nonblocking(false);
        has_unread
    }
}

/// Why a session is over; the log has the details.
struct Over;

type Step = Result<(), Over>;

/// Octets that are kept back to go out together, as servers do.
const FLIGHT: usize = 64 * 1024;

/// How long a login waits for a session that is just ending, before it says `[IN-USE]`.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

struct Session {
    shared: Arc<Shared>,
    /// The first connection is 1.
    connection: usize,
    wire: Wire,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    fault: Option<Fault>,
    drip: Option<Duration>,
    commands: u64,
    retrievals: u64,
    traffic: Traffic,
    named: String,
    user: Option<String>,
    maildrop: Vec<Arc<Mail>>,
    deleted: HashSet<usize>,
    retrieved: HashSet<usize>,
}

impl Session {
    fn new(socket: TcpStream, shared: Arc<Shared>) -> Self {
        let (connection, fault) = {
            let mut state = shared.state();
            state.traffic.push(Traffic::default());
            (state.traffic.len(), state.faults.pop_front())
        };
        Session {
            shared,
            connection,
            wire: Wire::Plain(socket),
            inbox: Vec::new(),
            outbox: Vec::new(),
            fault,
            drip: None,
            commands: 0,
            retrievals: 0,
            traffic: Traffic::default(),
            named: String::new(),
            user: None,
            maildrop: Vec::new(),
            deleted: HashSet::new(),
            retrieved: HashSet::new(),
        }
    }

    fn run(mut self) {
        let _ = self.wire.socket().set_nodelay(true);
        // So that a waiting session notices the end of the server.
        let _ = self.wire.socket().set_read_timeout(Some(Duration::from_millis(50)));
        let Err(Over) = self.converse() else { unreachable!("a conversation ends with `Over`") };
        self.unlock();
    }

    fn converse(&mut self) -> Step {
        if self.shared.settings.implicit_tls {
            self.handshake()?;
        }
        self.look_out(Moment::LinesSent(0))?;
        let greeting = format!("+OK {}", self.shared.settings.greeting);
        let greeting = self.shared.settings.answers.get("").cloned().unwrap_or(greeting);
        self.say(&greeting)?;
        loop {
            let line = self.command()?;
            self.obey(&line)?;
        }
    }

    fn obey(&mut self, line: &str) -> Step {
        let keyword = keyword_of(line);
        if keyword == "RETR" {
            self.retrievals += 1;
            self.look_out(Moment::BeforeRetr(self.retrievals))?;
        }
        let of = |answers: &HashMap<String, String>| answers.get(line).or_else(|| answers.get(&keyword)).cloned();
        let answer = of(&self.shared.state().answers).or_else(|| of(&self.shared.settings.answers));
        match answer.as_deref() {
            Some(STALL) => return self.flush().and_then(|()| self.drain()),
            Some(HANG_UP) => return self.flush().and_then(|()| self.hang_up()),
            Some(ENDLESS) => return self.babble(),
            Some(answer) => return self.say(answer),
            None => {}
        }
        let argument = line.split_once(' ').map_or("", |(_, argument)| argument);
        match keyword.as_str() {
            "CAPA" => self.capa(),
            "NOOP" => self.say("+OK"),
            "QUIT" => self.quit(),
            _ if self.user.is_some() => self.transact(&keyword, argument),
            _ => self.authorize(&keyword, argument),
        }
    }

    // AUTHORIZATION (RFC 1939 §4, §7; RFC 5034)

    fn authorize(&mut self, keyword: &str, argument: &str) -> Step {
        match keyword {
            "STLS" => self.stls(),
            "USER" => {
                self.named = argument.into();
                self.say("+OK")
            }
            "PASS" => {
                let name = std::mem::take(&mut self.named);
                self.log_in(&name, |password| password == argument)
            }
            "APOP" => self.apop(argument),
            "AUTH" => self.auth(argument),
            _ => self.say("-ERR not now"),
        }
    }

    fn babble(&mut self) -> Step {
        self.say("+OK")?;
        loop {
            self.say("X-Filler: there is no end to it")?;
        }
    }

    fn stls(&mut self) -> Step {
        if self.shared.settings.tls.is_none() || self.wire.is_encrypted() {
            return self.say("-ERR no TLS here");
        }
        self.say("+OK begin")?;
        self.flush()?;
        self.handshake()
    }

    fn apop(&mut self, argument: &str) -> Step {
        let greeting = &self.shared.settings.greeting;
        let Some(timestamp) = greeting.find('<').and_then(|start| Some(&greeting[start..=greeting.find('>')?])) else {
            return self.say("-ERR no APOP here");
        };
        let timestamp = timestamp.to_string();
        let (name, digest) = argument.split_once(' ').unwrap_or((argument, ""));
        self.log_in(name, |password| {
            let expected = Md5::digest([timestamp.as_bytes(), password.as_bytes()].concat());
            expected.iter().map(|octet| format!("{octet:02x}")).collect::<String>() == digest
        })
    }

    fn auth(&mut self, argument: &str) -> Step {
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        if mechanism != "PLAIN" {
            return self.say("-ERR mechanism unknown");
        }
        if !initial.is_empty() {
            return self.plain(initial);
        }
        self.say("+ ")?;
        let response = self.line()?;
        self.plain(&response)
    }

    fn plain(&mut self, response: &str) -> Step {
        let message = BASE64.decode(response).unwrap_or_default();
        let mut fields = message.split(|octet| *octet == 0).map(String::from_utf8_lossy);
        let (Some(_), Some(name), Some(given)) = (fields.next(), fields.next(), fields.next()) else {
            return self.say("-ERR that is not PLAIN");
        };
        self.log_in(&name, |password| password == given)
    }

    fn log_in(&mut self, name: &str, is_right: impl FnOnce(&str) -> bool) -> Step {
        let any = self.shared.settings.any_password;
        let is_right = self.shared.state().users.get(name).is_some_and(|user| any || is_right(&user.password));
        if !is_right {
            return self.say("-ERR [AUTH] name or password is wrong");
        }
        if !self.lock(name) {
            return self.say("-ERR [IN-USE] another session holds the maildrop");
        }
        self.user = Some(name.into());
        self.maildrop = self.shared.state().users[name].maildrop.clone();
        if self.shared.settings.more_each_time > 0 {
            self.maildrop.truncate(self.connection * self.shared.settings.more_each_time);
        }
        if let Some(batch) = self.shared.settings.batch {
            let state = self.shared.state();
            self.maildrop.retain(|mail| !state.users[name].hidden.contains(&mail.unique_id));
            self.maildrop.truncate(batch);
        }
        if self.shared.settings.changes_unique_ids {
            for mail in &mut self.maildrop {
                let unique_id = format!("{}-{}", mail.unique_id, self.connection);
                *mail = Arc::new(Mail { unique_id, ..Mail::clone(mail) });
            }
        }
        self.say("+OK logged in")
    }

    fn lock(&self, name: &str) -> bool {
        let started = Instant::now();
        while started.elapsed() < LOCK_PATIENCE {
            if let Some(user) = self.shared.state().users.get_mut(name).filter(|user| !user.is_locked) {
                user.is_locked = true;
                return true;
            }
            thread::sleep(Duration::from_millis(2));
        }
        false
    }

    fn unlock(&mut self) {
        let Some(name) = self.user.take() else { return };
        if let Some(user) = self.shared.state().users.get_mut(&name) {
            user.is_locked = false;
        }
    }

    // TRANSACTION (RFC 1939 §5, §7)

    fn transact(&mut self, keyword: &str, argument: &str) -> Step {
        match (keyword, argument) {
            ("STAT", "") => {
                let (count, octets) =
                    self.present().fold((0, 0), |(n, sum), (_, mail)| (n + 1, mail.announced().saturating_add(sum)));
                self.say(&format!("+OK {count} {octets}"))
            }
            ("LIST", "") => self.listing(|mail| mail.announced().to_string()),
            ("UIDL", "") => self.listing(|mail| mail.unique_id.clone()),
            ("LIST", _) => self.with_message(argument, |mail| format!("+OK {argument} {}", mail.announced())),
            ("UIDL", _) => self.with_message(argument, |mail| format!("+OK {argument} {}", mail.unique_id)),
            ("RETR", _) => self.retr(argument, None),
            ("TOP", _) => match argument.split_once(' ') {
                Some((number, lines)) => self.retr(number, lines.parse().ok()),
                None => self.say("-ERR TOP wants two numbers"),
            },
            ("DELE", _) => match self.find(argument) {
                Some(position) => {
                    self.deleted.insert(position);
                    self.say("+OK")
                }
                None => self.say("-ERR no such message"),
            },
            ("RSET", "") => {
                self.deleted.clear();
                self.say("+OK")
            }
            _ => self.say("-ERR what?"),
        }
    }

    fn present(&self) -> impl Iterator<Item = (usize, &Arc<Mail>)> {
        self.maildrop.iter().enumerate().filter(|(position, _)| !self.deleted.contains(position))
    }

    fn find(&self, number: &str) -> Option<usize> {
        let position = number.parse::<usize>().ok()?.checked_sub(1)?;
        (position < self.maildrop.len() && !self.deleted.contains(&position)).then_some(position)
    }

    fn with_message(&mut self, number: &str, describe: impl Fn(&Mail) -> String) -> Step {
        match self.find(number) {
            Some(position) => self.say(&describe(&self.maildrop[position])),
            None => self.say("-ERR no such message"),
        }
    }

    fn listing(&mut self, describe: impl Fn(&Mail) -> String) -> Step {
        let lines: Vec<_> = self.present().map(|(at, mail)| format!("{} {}", at + 1, describe(mail))).collect();
        self.say_many(lines)
    }

    fn retr(&mut self, number: &str, body_lines: Option<usize>) -> Step {
        let Some(position) = self.find(number) else { return self.say("-ERR no such message") };
        if !self.shared.settings.pace.is_zero() {
            self.flush()?;
            thread::sleep(self.shared.settings.pace);
        }
        let mail = self.maildrop[position].clone();
        self.say(&format!("+OK {} octets", mail.announced()))?;
        let forgets_dots = self.shared.state().forgets_dots;
        let mut body_lines_left = None;
        for line in lines(&mail.octets) {
            if body_lines_left == Some(0) {
                break;
            }
            if forgets_dots && line == b"." {
                self.send(&[line, b"\r\n"].concat())?;
            } else {
                self.send_stuffed(line)?;
            }
            body_lines_left = match body_lines_left {
                None if line.is_empty() => body_lines,
                left => left.map(|left| left - 1),
            };
        }
        if body_lines.is_none() {
            self.retrieved.insert(position);
        }
        self.say(".")
    }

    // Every state

    fn capa(&mut self) -> Step {
        let settings = &self.shared.settings;
        let mut names = settings.capabilities.clone();
        if self.wire.is_encrypted() {
            names.extend(settings.capabilities_under_tls.iter().cloned());
        } else if settings.tls.is_some() {
            names.push("STLS".into());
        }
        if self.user.is_some() {
            names.extend(settings.capabilities_after_login.iter().cloned());
        }
        self.say_many(names)
    }

    /// UPDATE (RFC 1939 §6): the only place where a message disappears.
    fn quit(&mut self) -> Step {
        if let Some(name) = &self.user {
            let gone: HashSet<_> = self.deleted.iter().map(|at| Arc::as_ptr(&self.maildrop[*at])).collect();
            let mut state = self.shared.state();
            let user = state.users.get_mut(name).expect("who is logged in is known");
            user.maildrop.retain(|mail| !gone.contains(&Arc::as_ptr(mail)));
            if self.shared.settings.batch.is_some() {
                user.hidden.extend(self.retrieved.iter().map(|at| self.maildrop[*at].unique_id.clone()));
            }
        }
        self.unlock();
        self.say("+OK bye")?;
        self.flush()?;
        self.hang_up()
    }

    // Lines out

    fn say(&mut self, line: &str) -> Step {
        self.send(&[line.as_bytes(), b"\r\n"].concat())
    }

    fn say_many(&mut self, lines: Vec<String>) -> Step {
        self.say("+OK")?;
        for line in lines {
            self.send_stuffed(line.as_bytes())?;
        }
        self.say(".")
    }

    fn send_stuffed(&mut self, line: &[u8]) -> Step {
        let stuffing: &[u8] = if line.starts_with(b".") { b"." } else { b"" };
        self.send(&[stuffing, line, b"\r\n"].concat())
    }

    /// One line, with its CRLF.
    fn send(&mut self, line: &[u8]) -> Step {
        let sent = self.traffic.octets_sent;
        if let Some(Fault { moment: Moment::OctetsSent(limit), .. }) = self.fault
            && sent + line.len() as u64 >= limit
        {
            self.outbox.extend_from_slice(&line[..limit.saturating_sub(sent) as usize]);
            return self.misbehave();
        }
        self.outbox.extend_from_slice(line);
        self.traffic.octets_sent += line.len() as u64;
        self.traffic.lines_sent += 1;
        self.look_out(Moment::LinesSent(self.traffic.lines_sent))?;
        if self.outbox.len() < FLIGHT { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Step {
        self.shared.state().traffic[self.connection - 1] = self.traffic;
        let outbox = std::mem::take(&mut self.outbox);
        let Some(pause) = self.drip else { return self.wire.write_all(&outbox).map_err(|_| Over) };
        for octet in outbox {
            self.wire.write_all(&[octet]).map_err(|_| Over)?;
            thread::sleep(pause);
        }
        Ok(())
    }

    // Lines in

    fn command(&mut self) -> Result<String, Over> {
        self.commands += 1;
        self.look_out(Moment::BeforeCommand(self.commands))?;
        let mut is_ahead = !self.inbox.is_empty();
        let mut line = self.line()?;
        // In lock-step a command stands alone.
        while (is_ahead || !self.inbox.is_empty()) && self.shared.state().lost_ahead.contains(&line) {
            is_ahead = !self.inbox.is_empty();
            line = self.line()?;
        }
        if self.shared.state().forgets_what_is_ahead {
            self.inbox.clear();
        }
        self.shared.state().heard.push(Heard { connection: self.connection, line: line.clone() });
        if !self.has_pipelining() && (!self.inbox.is_empty() || self.wire.has_unread()) {
            self.complain(format!("more came before the reply to {:?}", keyword_of(&line)));
        }
        Ok(line)
    }

    fn line(&mut self) -> Result<String, Over> {
        loop {
            if let Some(end) = self.inbox.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.inbox.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.flush()?;
            let octets = self.receive()?;
            self.traffic.flights += 1;
            self.inbox.extend(octets);
        }
    }

    fn receive(&mut self) -> Result<Vec<u8>, Over> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.wire.read(&mut buffer) {
                Ok(0) => return Err(Over),
                Ok(count) => return Ok(buffer[..count].to_vec()),
                Err(error) if is_pause(&error) && !self.shared.is_stopping.load(Ordering::Relaxed) => {}
                Err(_) => return Err(Over),
            }
        }
    }

    fn has_pipelining(&self) -> bool {
        let settings = &self.shared.settings;
        let later = settings.capabilities_after_login.iter().filter(|_| self.user.is_some());
        let encrypted = settings.capabilities_under_tls.iter().filter(|_| self.wire.is_encrypted());
        settings.capabilities.iter().chain(later).chain(encrypted).any(|name| name == "PIPELINING")
    }

    fn complain(&self, complaint: String) {
        self.shared.state().complaints.push(format!("connection {}: {complaint}", self.connection));
    }

    // TLS and misdeeds

    fn handshake(&mut self) -> Step {
        if !self.inbox.is_empty() {
            self.complain("octets came in clear after STLS".into());
        }
        let tls = self.shared.settings.tls.clone().expect("TLS was configured");
        let socket = self.wire.socket().try_clone().map_err(|_| Over)?;
        let goes_on = |error: &io::Error| is_pause(error) && !self.shared.is_stopping.load(Ordering::Relaxed);
        self.wire = Wire::Tls(tls.accept(socket, &goes_on).map_err(|_| Over)?);
        Ok(())
    }

    fn look_out(&mut self, now: Moment) -> Step {
        if self.fault.is_some_and(|fault| fault.moment == now) { self.misbehave() } else { Ok(()) }
    }

    fn misbehave(&mut self) -> Step {
        self.flush()?;
        match self.fault.take().map(|fault| fault.misdeed) {
            Some(Misdeed::Stall) => self.drain(),
            Some(Misdeed::Drip(pause)) => {
                self.drip = Some(pause);
                Ok(())
            }
            Some(Misdeed::CloseNotify) => {
                self.wire.close_notify();
                self.hang_up()
            }
            Some(Misdeed::HangUp) | None => self.hang_up(),
        }
    }

    /// Ends the connection so that the client can read all that was sent: closing at once, with input unread,
    /// would reset it, and the client would lose an unforeseeable part.
    fn hang_up(&mut self) -> Step {
        self.unlock();
        let _ = self.wire.socket().shutdown(Shutdown::Write);
        self.drain()
    }

    fn drain(&mut self) -> Step {
        loop {
            self.receive()?;
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn keyword_of(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_ascii_uppercase()
}

/// The lines of a message without their CRLF; a bare LF or CR is an octet like any other.
fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = &rest[end.map_or(rest.len(), |end| end + 2)..];
        Some(line)
    })
}
