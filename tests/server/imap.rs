//! A little IMAP server with mailboxes in memory: it takes messages by APPEND, tells what it has, and is as odd as a
//! [`Family`] of servers is. It keeps its mailboxes while connections come and go, as a server does whose clients are
//! killed; other clients change them by [`Imap::store`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use rustls::ServerConfig;

use super::mta::{Line, under_tls};

/// Which literals go without a wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Literals {
    /// All (LITERAL+).
    Plus,
    /// Short ones (LITERAL-).
    Minus,
    /// None.
    Synchronizing,
}

/// What stands behind APPENDUID.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AppendUids {
    Right,
    /// Nothing does, though UIDPLUS is offered.
    Missing,
    /// That of the first message of the mailbox.
    OfAnother,
    /// A validity that was never in use.
    OtherValidity,
    Zero,
}

/// What becomes of INTERNALDATE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Dates {
    Kept,
    /// To the minute.
    Rounded,
    /// The time of arrival counts.
    Lost,
}

/// How a server is.
#[derive(Debug, Clone)]
pub struct Family {
    pub name: &'static str,
    pub literals: Literals,
    pub has_uidplus: bool,
    pub append_uids: AppendUids,
    pub has_multiappend: bool,
    /// Each message becomes another one with the same fields: other names, folds and encodings.
    pub rewrites: bool,
    /// RFC822.SIZE is so much larger than what is there.
    pub size_error: u64,
    pub dates: Dates,
    /// A known message is brought back instead of stored again; X-GM-RAW looks for one.
    pub is_gmail: bool,
    /// The largest message taken, and told by STATUS.
    pub append_limit: Option<u64>,
    /// Things that nobody asked for stand between the answers.
    pub is_talkative: bool,
    /// A literal that is whole is a message, whether the end of its command comes or not.
    pub is_eager: bool,
    /// Offered beside all that.
    pub words: &'static [&'static str],
}

impl Family {
    /// As Dovecot is.
    pub fn plain() -> Self {
        Family {
            name: "plain",
            literals: Literals::Plus,
            has_uidplus: true,
            append_uids: AppendUids::Right,
            has_multiappend: true,
            rewrites: false,
            size_error: 0,
            dates: Dates::Kept,
            is_gmail: false,
            append_limit: None,
            is_talkative: false,
            is_eager: false,
            words: &["SASL-IR", "UNSELECT"],
        }
    }

    /// Only LITERAL-, and neither UIDPLUS nor MULTIAPPEND.
    pub fn short_literals() -> Self {
        let (literals, has_uidplus, has_multiappend) = (Literals::Minus, false, false);
        Family { name: "LITERAL-", literals, has_uidplus, has_multiappend, ..Family::plain() }
    }

    /// RFC 3501 and nothing more.
    pub fn bare() -> Self {
        let literals = Literals::Synchronizing;
        Family { name: "bare", literals, words: &[], is_talkative: true, ..Family::short_literals() }
    }

    /// As Exchange is: messages are rebuilt, and sizes are those of something else.
    pub fn rewriting() -> Self {
        Family {
            name: "rewriting",
            rewrites: true,
            size_error: 1234,
            literals: Literals::Minus,
            has_multiappend: false,
            ..Family::plain()
        }
    }

    /// As Gmail is.
    pub fn gmail() -> Self {
        let words = &["SASL-IR", "UNSELECT", "X-GM-EXT-1"];
        Family { name: "gmail", is_gmail: true, has_multiappend: false, words, ..Family::plain() }
    }

    /// It says APPENDUID, and this behind it.
    pub fn with_uids(append_uids: AppendUids) -> Self {
        Family { name: "odd APPENDUID", append_uids, ..Family::plain() }
    }

    /// It does this to INTERNALDATE.
    pub fn with_dates(dates: Dates) -> Self {
        Family { name: "odd dates", dates, ..Family::plain() }
    }

    fn capability(&self) -> String {
        let mut words = vec!["IMAP4rev1", "AUTH=PLAIN"];
        match self.literals {
            Literals::Plus => words.push("LITERAL+"),
            Literals::Minus => words.push("LITERAL-"),
            Literals::Synchronizing => {}
        }
        words.extend(self.has_uidplus.then_some("UIDPLUS"));
        words.extend(self.has_multiappend.then_some("MULTIAPPEND"));
        words.extend(self.append_limit.map(|_| "APPENDLIMIT"));
        words.extend(self.words);
        words.join(" ")
    }
}

/// A message of a mailbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub uid: u32,
    /// As it is given out.
    pub octets: Vec<u8>,
    /// As it came.
    pub sent: Vec<u8>,
    pub flags: Vec<String>,
    /// INTERNALDATE, in seconds since the epoch.
    pub date: i64,
    /// Gmail: it is in the archive, and in this mailbox no more.
    pub is_archived: bool,
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Mailbox {
    pub uid_validity: u32,
    pub uid_next: u32,
    pub messages: Vec<Stored>,
}

impl Mailbox {
    fn new(uid_validity: u32) -> Self {
        Mailbox { uid_validity, uid_next: 1, messages: vec![] }
    }

    /// What somebody else brings.
    pub fn deliver(&mut self, octets: &[u8]) -> u32 {
        self.add(octets, octets, vec![], 1_500_000_000)
    }

    fn add(&mut self, octets: &[u8], sent: &[u8], flags: Vec<String>, date: i64) -> u32 {
        let uid = self.uid_next;
        self.uid_next += 1;
        let (octets, sent) = (octets.to_vec(), sent.to_vec());
        self.messages.push(Stored { uid, octets, sent, flags, date, is_archived: false });
        uid
    }

    /// Made anew with the same messages: every UID is another one.
    pub fn renew(&mut self) {
        self.uid_validity += 1;
        self.uid_next += 100;
        for message in &mut self.messages {
            message.uid = self.uid_next;
            self.uid_next += 1;
        }
    }

    fn visible(&self) -> impl Iterator<Item = &Stored> {
        self.messages.iter().filter(|message| !message.is_archived)
    }
}

/// By their names.
pub type Store = BTreeMap<String, Mailbox>;

/// What it does in the place of its ordinary answer.
#[derive(Debug, Clone)]
pub enum Act {
    /// Says this, and does nothing; `TAG` stands for the command's tag, CRLF is added.
    Say(String),
    /// Hangs up.
    Close,
    /// Does what it is asked for, and hangs up before it says so.
    DoAndClose,
    /// Does what it is asked for, and says nothing.
    DoSilently,
    /// Hangs up, and does it this long after that.
    CloseAndDo(Duration),
    /// Says nothing more, and does not hang up.
    Hang,
    /// Sends a line without an end.
    Flood,
}

/// A command; its literals stand in it as `{5}`. The greeting is empty.
#[derive(Debug)]
pub struct Asked<'a> {
    pub command: &'a str,
    /// How many of the same verb came before it, over all connections.
    pub of_verb: usize,
}

type Acts = dyn Fn(&Asked<'_>) -> Option<Act> + Send + Sync;
type Refusals = dyn Fn(&[u8]) -> Option<String> + Send + Sync;

/// A server to be.
pub struct ImapBuilder {
    family: Family,
    acts: Box<Acts>,
    refuses: Box<Refusals>,
    tls: Option<Arc<ServerConfig>>,
    is_implicit: bool,
    user: String,
    password: String,
    says_behind_starttls: &'static str,
    mailboxes: Store,
}

/// Serves until it is dropped.
pub struct Imap {
    pub port: u16,
    shared: Arc<Shared>,
    accepter: Option<JoinHandle<()>>,
}

/// Where the line ends by itself, over all connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// Behind so many octets of all that came.
    Heard(u64),
    /// Behind so many octets of all that was said.
    Said(u64),
}

/// What follows a cut.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Then {
    /// The next connection is served.
    #[default]
    GoesOn,
    /// Nobody is served before [`Imap::revive`].
    IsDown,
    /// The line does not end, and nothing happens on it before [`Imap::revive`]: then all goes on that was under way.
    Stops,
}

impl Then {
    pub const ALL: [Then; 3] = [Then::GoesOn, Then::IsDown, Then::Stops];
}

#[derive(Default)]
struct Counts {
    heard: u64,
    said: u64,
    cut: Option<Cut>,
    then: Then,
    is_down: bool,
    has_stopped: bool,
}

struct Shared {
    plan: ImapBuilder,
    heard: Mutex<Vec<String>>,
    store: Mutex<Store>,
    counts: Mutex<Counts>,
    connections: Mutex<usize>,
    /// Of them, those that are served.
    at_work: Mutex<usize>,
    /// Octets of each literal: where it began on the line, and its length.
    literals: Mutex<Vec<(u64, u64)>>,
    /// Where lines ended of what came, and of what was said.
    line_ends: Mutex<(Vec<u64>, Vec<u64>)>,
    round_trips: Mutex<usize>,
    is_stopping: AtomicBool,
    /// A client did what no client does.
    is_surprised: AtomicBool,
}

/// The end of a connection. A panic in a thread of the server is a failure of the test.
struct Surprise<'s>(&'s Shared);

impl Drop for Surprise<'_> {
    fn drop(&mut self) {
        self.0.is_surprised.fetch_or(thread::panicking(), Ordering::Relaxed);
        *self.0.at_work.lock().unwrap() -= 1;
    }
}

impl Imap {
    /// A server of this family with an empty INBOX, for this user.
    pub fn builder(family: Family, user: &str, password: &str) -> ImapBuilder {
        ImapBuilder {
            family,
            acts: Box::new(|_| None),
            refuses: Box::new(|_| None),
            tls: None,
            is_implicit: false,
            user: user.to_owned(),
            password: password.to_owned(),
            says_behind_starttls: "",
            mailboxes: Store::from([("INBOX".to_owned(), Mailbox::new(1000))]),
        }
    }

    /// Every command so far, without its tag.
    pub fn heard(&self) -> Vec<String> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// How many commands began so.
    pub fn count(&self, verb: &str) -> usize {
        self.heard().iter().filter(|command| command.starts_with(verb)).count()
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// How often the server had to wait for the client after it had said something.
    pub fn round_trips(&self) -> usize {
        *self.shared.round_trips.lock().unwrap()
    }

    /// Where lines ended, of all that came and of all that was said.
    pub fn line_ends(&self) -> (Vec<u64>, Vec<u64>) {
        self.shared.line_ends.lock().unwrap().clone()
    }

    /// Where on the line each literal began, and its length.
    pub fn literals(&self) -> Vec<(u64, u64)> {
        self.shared.literals.lock().unwrap().clone()
    }

    /// The mailboxes, for other clients.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.store.lock().unwrap()
    }

    /// The messages that a mailbox shows; none when it is not there.
    pub fn messages(&self, mailbox: &str) -> Vec<Stored> {
        self.store()
            .get(mailbox)
            .into_iter()
            .flat_map(|mailbox| mailbox.visible().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// What came into a mailbox, sorted.
    pub fn sent(&self, mailbox: &str) -> Vec<Vec<u8>> {
        let mut sent: Vec<_> = self.messages(mailbox).into_iter().map(|message| message.sent).collect();
        sent.sort();
        sent
    }

    /// Ends the line once at this octet, counted from the very first one.
    pub fn cut(&self, cut: Cut, then: Then) {
        let mut counts = self.shared.counts.lock().unwrap();
        (counts.cut, counts.then) = (Some(cut), then);
    }

    /// True while nothing happens at the cut.
    pub fn has_stopped(&self) -> bool {
        self.shared.counts.lock().unwrap().has_stopped
    }

    /// Serves again, and cuts no more. True when a line was cut.
    pub fn revive(&self) -> bool {
        let mut counts = self.shared.counts.lock().unwrap();
        (counts.is_down, counts.has_stopped) = (false, false);
        counts.cut.take().is_none()
    }

    /// Waits until nobody is served any more, so that all that came is stored.
    pub fn settle(&self) {
        let began = Instant::now();
        while *self.shared.at_work.lock().unwrap() > 0 {
            assert!(began.elapsed() < Duration::from_secs(120), "somebody is served for ever");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl ImapBuilder {
    pub fn acts(mut self, acts: impl Fn(&Asked<'_>) -> Option<Act> + Send + Sync + 'static) -> Self {
        self.acts = Box::new(acts);
        self
    }

    /// Says why it does not take a message with these octets.
    pub fn refuses(mut self, refuses: impl Fn(&[u8]) -> Option<String> + Send + Sync + 'static) -> Self {
        self.refuses = Box::new(refuses);
        self
    }

    pub fn starttls(mut self, tls: Arc<ServerConfig>) -> Self {
        self.tls = Some(tls);
        self
    }

    pub fn says_behind_starttls(mut self, words: &'static str) -> Self {
        self.says_behind_starttls = words;
        self
    }

    pub fn implicit_tls(mut self, tls: Arc<ServerConfig>) -> Self {
        (self.tls, self.is_implicit) = (Some(tls), true);
        self
    }

    pub fn mailbox(mut self, name: &str) -> Self {
        self.mailboxes.insert(name.to_owned(), Mailbox::new(2000));
        self
    }

    pub fn start(mut self) -> Imap {
        let store = Mutex::new(std::mem::take(&mut self.mailboxes));
        let shared = Arc::new(Shared {
            plan: self,
            heard: Mutex::default(),
            store,
            counts: Mutex::default(),
            connections: Mutex::default(),
            at_work: Mutex::default(),
            literals: Mutex::default(),
            line_ends: Mutex::default(),
            round_trips: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            is_surprised: AtomicBool::new(false),
        });
        let serving = shared.clone();
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let accepter = thread::spawn(move || serve(&serving, &listener));
        Imap { port, shared, accepter: Some(accepter) }
    }
}

impl Drop for Imap {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        // Wakes the accepter out of its wait.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        let _ = self.accepter.take().map(JoinHandle::join);
        let is_surprised = self.shared.is_surprised.load(Ordering::Relaxed);
        assert!(!is_surprised || thread::panicking(), "a client did what no client does; see above");
    }
}

fn serve(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        let (tcp, _) = listener.accept().expect("accepts");
        if shared.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        *shared.connections.lock().unwrap() += 1;
        if shared.counts.lock().unwrap().is_down {
            continue;
        }
        *shared.at_work.lock().unwrap() += 1;
        let shared = shared.clone();
        // A client that goes in the middle of it is the test's subject, not a surprise.
        thread::spawn(move || {
            let _surprise = Surprise(&shared);
            tcp.set_nodelay(true).expect("a connected socket takes options");
            let line = Counted { line: Line::Tcp(tcp), shared: shared.clone(), has_said: false };
            let session = Session {
                shared: &shared,
                line: BufReader::new(line),
                is_encrypted: false,
                opened: None,
                is_known: false,
            };
            drop(session.run());
        });
    }
}

/// A line that is counted, and cut where a test wants it.
struct Counted {
    line: Line,
    shared: Arc<Shared>,
    has_said: bool,
}

fn is_cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl Counted {
    /// How many of these octets go through before the cut.
    fn allowed(&self, wanted: usize, counter: impl Fn(&mut Counts) -> (&mut u64, Option<u64>)) -> io::Result<usize> {
        let mut counts = self.shared.counts.lock().unwrap();
        if counts.is_down {
            return Err(is_cut());
        }
        let (count, end) = counter(&mut counts);
        let left = end.map_or(u64::MAX, |end| end.saturating_sub(*count));
        if left == 0 {
            counts.cut = None;
            counts.is_down = counts.then == Then::IsDown;
            counts.has_stopped = counts.then == Then::Stops;
            if counts.then != Then::Stops {
                return Err(is_cut());
            }
            drop(counts);
            while self.shared.counts.lock().unwrap().has_stopped {
                thread::sleep(Duration::from_millis(1));
            }
            return Ok(wanted);
        }
        Ok(usize::try_from(left).unwrap_or(usize::MAX).min(wanted))
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.has_said) {
            *self.shared.round_trips.lock().unwrap() += 1;
        }
        let most = self.allowed(buffer.len(), |counts| {
            let end = if let Some(Cut::Heard(end)) = counts.cut { Some(end) } else { None };
            (&mut counts.heard, end)
        })?;
        let octets = self.line.read(&mut buffer[..most])?;
        self.shared.counts.lock().unwrap().heard += octets as u64;
        Ok(octets)
    }
}

impl Write for Counted {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.has_said = true;
        let most = self.allowed(octets.len(), |counts| {
            let end = if let Some(Cut::Said(end)) = counts.cut { Some(end) } else { None };
            (&mut counts.said, end)
        })?;
        let octets = self.line.write(&octets[..most])?;
        self.shared.counts.lock().unwrap().said += octets as u64;
        Ok(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.line.flush()
    }
}

struct Session<'s> {
    shared: &'s Shared,
    line: BufReader<Counted>,
    is_encrypted: bool,
    is_known: bool,
    /// The open mailbox.
    opened: Option<String>,
}

/// A whole command.
#[derive(Debug)]
struct Command {
    tag: String,
    verb: String,
    /// With `{5}` for literals, without tag.
    text: String,
    words: Vec<Word>,
    /// The end of the line came.
    is_whole: bool,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
enum Word {
    /// An atom, a quoted string, or a short literal.
    Text(String),
    /// A literal of octets.
    Octets(Vec<u8>),
    /// `(…)`, as it was written.
    List(String),
}

impl Word {
    fn text(&self) -> String {
        match self {
            Word::Text(text) | Word::List(text) => text.clone(),
            Word::Octets(octets) => String::from_utf8_lossy(octets).into_owned(),
        }
    }
}

/// What becomes of a command.
enum Outcome {
    /// These lines, the last one tagged.
    Says(String),
    End(String),
}

impl Session<'_> {
    fn run(mut self) -> io::Result<()> {
        let plan = &self.shared.plan;
        if plan.is_implicit {
            self.encrypt();
        }
        let greeting = format!("* OK [CAPABILITY {}] ready", self.offer());
        if !self.says_in_its_own_way("", "", &greeting)? {
            return Ok(());
        }
        loop {
            let Some(command) = self.command()? else { return Ok(()) };
            if command.text.is_empty() {
                continue;
            }
            let act = if command.is_whole { self.act(&command.text) } else { None };
            match &act {
                None => {}
                Some(Act::Say(words)) => {
                    self.say(&words.replace("TAG", &command.tag))?;
                    continue;
                }
                Some(Act::Close) => return Ok(()),
                Some(Act::DoAndClose) => {
                    self.outcome(&command);
                    return Ok(());
                }
                Some(Act::DoSilently) => {
                    self.outcome(&command);
                    continue;
                }
                Some(Act::CloseAndDo(later)) => {
                    let shared = self.shared;
                    let line = std::mem::replace(&mut self.line.get_mut().line, Line::Gone);
                    drop(line);
                    thread::sleep(*later);
                    assert!(!shared.is_stopping.load(Ordering::Relaxed), "the test waits for what comes late");
                    self.outcome(&command);
                    return Ok(());
                }
                Some(act) => return self.misbehave(act),
            }
            match self.outcome(&command) {
                Outcome::Says(lines) if !command.is_whole => drop(lines),
                Outcome::Says(lines) => {
                    if plan.family.is_talkative && self.is_known {
                        self.say(
                            "* OK [ALERT] it is late\r\n* 77 EXISTS\r\n* 1 FETCH (FLAGS (\\Seen) X-N {3}\r\n)\r\n)",
                        )?;
                    }
                    self.say(&lines)?;
                    if command.verb == "STARTTLS" && lines.contains(" OK ") {
                        self.encrypt();
                    }
                }
                Outcome::End(lines) => return self.say(&lines),
            }
            if !command.is_whole {
                return Ok(());
            }
        }
    }

    fn offer(&self) -> String {
        let plan = &self.shared.plan;
        let starttls = if plan.tls.is_some() && !self.is_encrypted { " STARTTLS" } else { "" };
        plan.family.capability() + starttls
    }

    fn encrypt(&mut self) {
        let tls = self.shared.plan.tls.clone().expect("there is a configuration");
        let counted = self.line.get_mut();
        let line = std::mem::replace(&mut counted.line, Line::Gone);
        counted.line = under_tls(line, tls);
        self.is_encrypted = true;
    }

    /// True when it said what is usual, or something else in its place.
    fn says_in_its_own_way(&mut self, command: &str, tag: &str, usual: &str) -> io::Result<bool> {
        match self.act(command) {
            None => self.say(usual).map(|()| true),
            Some(Act::Say(words)) => self.say(&words.replace("TAG", tag)).map(|()| true),
            Some(Act::Close | Act::DoAndClose | Act::DoSilently | Act::CloseAndDo(_)) => Ok(false),
            Some(act) => self.misbehave(&act).map(|()| false),
        }
    }

    fn act(&self, command: &str) -> Option<Act> {
        let verb = |command: &str| command.split(' ').next().unwrap_or_default().to_owned();
        let of_verb = {
            let mut heard = self.shared.heard.lock().unwrap();
            let of_verb = heard.iter().filter(|heard| verb(heard) == verb(command)).count();
            heard.push(command.to_owned());
            of_verb
        };
        (self.shared.plan.acts)(&Asked { command, of_verb })
    }

    fn say(&mut self, lines: &str) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let line = self.line.get_mut();
        // Octets above 127 stand for themselves.
        let octets: Vec<u8> = lines.chars().map(|character| character as u8).chain(*b"\r\n").collect();
        let start = self.shared.counts.lock().unwrap().said;
        let ends = octets.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(at, _)| start + at as u64 + 1);
        self.shared.line_ends.lock().unwrap().1.extend(ends);
        line.write_all(&octets)?;
        line.flush()
    }

    fn misbehave(&mut self, act: &Act) -> io::Result<()> {
        if let Act::Flood = act {
            while self.line.get_mut().write_all(&[b'*'; 4096]).is_ok() {}
        }
        // Until the client hangs up.
        io::copy(&mut self.line, &mut io::sink()).map(drop)
    }

    /// How many octets have come and were looked at.
    fn heard(&self) -> u64 {
        self.shared.counts.lock().unwrap().heard - self.line.buffer().len() as u64
    }

    fn read_line(&mut self) -> io::Result<Option<String>> {
        let mut line = vec![];
        self.line.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(None);
        }
        if line.starts_with(b"\x16") {
            // TLS, which is not spoken here.
            return Ok(None);
        }
        assert!(line.ends_with(b"\r\n"), "a line ends in CRLF: {:?}", line.escape_ascii().to_string());
        line.truncate(line.len() - 2);
        assert!(
            line.is_ascii() && !line.contains(&b'\r') && !line.contains(&0),
            "{:?}",
            line.escape_ascii().to_string()
        );
        Ok(Some(String::from_utf8(line).expect("it is ASCII")))
    }

    /// Reads a command with its literals; `None` at the end of the line.
    fn command(&mut self) -> io::Result<Option<Command>> {
        let Some(first) = self.read_line()? else { return Ok(None) };
        // Whoever gives a login up says `*`.
        let (tag, rest) = first.split_once(' ').unwrap_or((&first, "?"));
        let (tag, mut rest) = (tag.to_owned(), rest.to_owned());
        let verb = rest.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let mut command = Command { tag, verb, text: String::new(), words: vec![], is_whole: true };
        loop {
            let literal = rest.strip_suffix('}').and_then(|rest| rest.rsplit_once('{')).map(|(before, length)| {
                let is_waiting = !length.ends_with('+');
                let before = match before.strip_suffix('~') {
                    Some(before) => {
                        let is_binary = self.shared.plan.family.words.contains(&"BINARY");
                        assert!(is_binary, "a literal8 for a server without BINARY");
                        before
                    }
                    None => before,
                };
                (before.to_owned(), length.trim_end_matches('+').parse::<usize>().expect("a length"), is_waiting)
            });
            command.text += &rest;
            let Some((before, length, is_waiting)) = literal else {
                command.words.extend(words(&rest));
                return Ok(Some(command));
            };
            command.words.extend(words(&before));
            self.assert_literal(length, is_waiting);
            if is_waiting {
                // Refused before the client sends it, where that is possible.
                if let Some(refusal) = self.refusal_of_literal(&command, length) {
                    let (tag, text) = (command.tag, command.text);
                    if !self.says_in_its_own_way(&text, &tag, &format!("{tag} {refusal}"))? {
                        return Ok(None);
                    }
                    return self.command();
                }
                if self.shared.plan.family.is_talkative {
                    self.say("* OK still here")?;
                }
                self.say("+ go ahead")?;
            }
            let start = self.heard();
            self.shared.literals.lock().unwrap().push((start, length as u64));
            let mut octets = vec![0; length];
            self.line.read_exact(&mut octets)?;
            command.words.push(Word::Octets(octets));
            match self.read_line() {
                Ok(Some(line)) => rest = line,
                _ if self.shared.plan.family.is_eager => {
                    command.is_whole = false;
                    return Ok(Some(command));
                }
                _ => return Ok(None),
            }
        }
    }

    fn assert_literal(&self, length: usize, is_waiting: bool) {
        let is_allowed = match self.shared.plan.family.literals {
            Literals::Plus => true,
            Literals::Minus => length <= 4096,
            Literals::Synchronizing => false,
        };
        assert!(is_waiting || is_allowed, "a literal of {length} octets was sent without a wait");
    }

    fn refusal_of_literal(&self, command: &Command, length: usize) -> Option<String> {
        if command.verb != "APPEND" {
            return None;
        }
        let name = command.words.get(1).map(Word::text).unwrap_or_default();
        self.refusal_of_append(&mailbox_name(&name), length)
    }

    fn refusal_of_append(&self, mailbox: &str, length: usize) -> Option<String> {
        if !self.is_known {
            return Some("NO who are you".into());
        }
        if !self.shared.store.lock().unwrap().contains_key(mailbox) {
            return Some("NO [TRYCREATE] no such mailbox".into());
        }
        let most = self.shared.plan.family.append_limit;
        (most.is_some_and(|most| length as u64 > most)).then(|| "NO [TOOBIG] too large".into())
    }

    /// Does what it is asked for.
    fn outcome(&mut self, command: &Command) -> Outcome {
        let tag = &command.tag;
        let argument = |at: usize| command.words.get(at).map(Word::text).unwrap_or_default();
        let plan = &self.shared.plan;
        let done = match command.verb.as_str() {
            "CAPABILITY" => format!("* CAPABILITY {}\r\n{tag} OK done", self.offer()),
            "NOOP" | "ENABLE" | "ID" => format!("{tag} OK done"),
            "LOGOUT" => return Outcome::End(format!("* BYE bye\r\n{tag} OK done")),
            "STARTTLS" => format!("{tag} OK go ahead{}", plan.says_behind_starttls),
            "LOGIN" => {
                self.is_known = (argument(1), argument(2)) == (plan.user.clone(), plan.password.clone());
                self.login(tag)
            }
            "AUTHENTICATE" => self.authenticate(command),
            _ if !self.is_known => format!("{tag} BAD log in first"),
            "LIST" | "STATUS" | "CREATE" | "SUBSCRIBE" | "EXAMINE" | "SELECT" => {
                self.mailbox_command(command, &mailbox_name(&argument(1)))
            }
            "CLOSE" | "UNSELECT" => {
                self.opened = None;
                format!("{tag} OK done")
            }
            "APPEND" => self.append(command),
            "UID" if self.opened.is_some() => self.uid_command(command),
            _ => format!("{tag} BAD what?"),
        };
        Outcome::Says(done)
    }

    fn login(&self, tag: &str) -> String {
        match self.is_known {
            true => format!("{tag} OK [CAPABILITY {}] welcome", self.offer()),
            false => format!("{tag} NO [AUTHENTICATIONFAILED] no"),
        }
    }

    fn authenticate(&mut self, command: &Command) -> String {
        let plan = &self.shared.plan;
        let response = match command.words.get(2) {
            Some(initial) => initial.text(),
            None => {
                let line = self.say("+ ").and_then(|()| self.read_line());
                line.ok().flatten().unwrap_or_default()
            }
        };
        self.is_known = response == STANDARD.encode(format!("\0{}\0{}", plan.user, plan.password));
        self.login(&command.tag)
    }

    fn mailbox_command(&mut self, command: &Command, name: &str) -> String {
        let (tag, plan) = (&command.tag, &self.shared.plan);
        let mut store = self.shared.store.lock().unwrap();
        if command.verb == "CREATE" {
            if store.contains_key(name) {
                return format!("{tag} NO [ALREADYEXISTS] it is there");
            }
            let validity = 3000 + store.len() as u32;
            store.insert(name.to_owned(), Mailbox::new(validity));
            return format!("{tag} OK done");
        }
        let quoted = format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        if command.verb == "LIST" {
            let name = command.words.get(2).map(|word| mailbox_name(&word.text())).unwrap_or_default();
            let is_there = store.contains_key(&name);
            let line = if is_there { format!("* LIST () \"/\" {quoted}\r\n") } else { String::new() };
            return format!("{line}{tag} OK done");
        }
        let Some(mailbox) = store.get(name) else { return format!("{tag} NO [NONEXISTENT] no such mailbox") };
        let (count, next, validity) = (mailbox.visible().count(), mailbox.uid_next, mailbox.uid_validity);
        match command.verb.as_str() {
            "STATUS" => {
                let mut items = vec![];
                for item in command.words.get(2).map(Word::text).unwrap_or_default().split(' ') {
                    items.push(match item.to_ascii_uppercase().as_str() {
                        "MESSAGES" => format!("MESSAGES {count}"),
                        "UIDNEXT" => format!("UIDNEXT {next}"),
                        "UIDVALIDITY" => format!("UIDVALIDITY {validity}"),
                        "APPENDLIMIT" => {
                            assert!(plan.family.append_limit.is_some(), "nobody offered APPENDLIMIT");
                            format!("APPENDLIMIT {}", plan.family.append_limit.unwrap_or_default())
                        }
                        item => panic!("STATUS of {item}"),
                    });
                }
                format!("* STATUS {quoted} ({})\r\n{tag} OK done", items.join(" "))
            }
            "SUBSCRIBE" => format!("{tag} OK done"),
            _ => {
                self.opened = Some(name.to_owned());
                format!(
                    "* FLAGS (\\Seen \\Deleted)\r\n* {count} EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY {validity}] it is\r\n\
                     * OK [UIDNEXT {next}] it is\r\n{tag} OK [READ-ONLY] done"
                )
            }
        }
    }

    /// One message or several, all or none of them.
    fn append(&mut self, command: &Command) -> String {
        let (tag, plan) = (&command.tag, &self.shared.plan);
        let family = &plan.family;
        let name = mailbox_name(&command.words.get(1).map(Word::text).unwrap_or_default());
        let (mut messages, mut flags, mut date) = (vec![], vec![], None);
        for word in &command.words[2..] {
            match word {
                Word::List(list) => flags = list.split_whitespace().map(str::to_owned).collect(),
                Word::Text(text) => {
                    let given = DateTime::parse_from_str(text.trim(), "%e-%b-%Y %H:%M:%S %z").expect("a date");
                    assert!(text.len() == 26, "a date has 26 octets: {text:?}");
                    date = Some(given.timestamp());
                }
                Word::Octets(octets) => messages.push((octets, std::mem::take(&mut flags), date.take())),
            }
        }
        if messages.is_empty() || (messages.len() > 1 && !family.has_multiappend) {
            return format!("{tag} BAD one message, please");
        }
        for (octets, ..) in &messages {
            let refusal = self.refusal_of_append(&name, octets.len()).or_else(|| (plan.refuses)(octets));
            if let Some(refusal) = refusal {
                return format!("{tag} {refusal}");
            }
        }
        let mut store = self.shared.store.lock().unwrap();
        let mut uids = vec![];
        for (octets, flags, date) in messages {
            if family.is_gmail
                && let Some(uid) = revive(&mut store, &name, octets)
            {
                uids.push(uid);
                continue;
            }
            let arrival = chrono::Utc::now().timestamp();
            let date = date.unwrap_or(arrival);
            let date = match family.dates {
                Dates::Kept => date,
                Dates::Rounded => date - date.rem_euclid(60),
                Dates::Lost => arrival,
            };
            let kept = if family.rewrites { rewritten(octets) } else { octets.clone() };
            let mailbox = store.get_mut(&name).expect("it was looked for");
            uids.push(mailbox.add(&kept, octets, flags, date));
        }
        let mailbox = &store[&name];
        let uids: Vec<_> = uids.iter().map(u32::to_string).collect();
        let (validity, uids) = (mailbox.uid_validity, uids.join(","));
        let code = match family.append_uids {
            _ if !family.has_uidplus => String::new(),
            AppendUids::Right => format!("[APPENDUID {validity} {uids}] "),
            AppendUids::Missing => String::new(),
            AppendUids::OfAnother => format!("[APPENDUID {validity} {}] ", mailbox.messages[0].uid),
            AppendUids::OtherValidity => format!("[APPENDUID {} {uids}] ", validity + 7),
            AppendUids::Zero => "[APPENDUID 0 0] ".to_owned(),
        };
        format!("{tag} OK {code}done")
    }

    fn uid_command(&self, command: &Command) -> String {
        let tag = &command.tag;
        let store = self.shared.store.lock().unwrap();
        let name = self.opened.as_ref().expect("a mailbox is open");
        let Some(mailbox) = store.get(name) else { return format!("{tag} NO it is gone") };
        let visible: Vec<&Stored> = mailbox.visible().collect();
        match command.words.get(1).map(|word| word.text().to_ascii_uppercase()).as_deref() {
            Some("FETCH") => {
                let set = command.words.get(2).map(Word::text).unwrap_or_default();
                let items = command.text.splitn(4, ' ').nth(3).unwrap_or_default();
                let last = visible.last().map_or(0, |message| message.uid);
                let lines: String = visible
                    .iter()
                    .enumerate()
                    .filter(|(_, message)| is_in(&set, message.uid, last))
                    .map(|(at, message)| fetched(&self.shared.plan.family, at + 1, message, items))
                    .collect();
                format!("{lines}{tag} OK done")
            }
            Some("SEARCH") => {
                // Gmail looks everywhere that its words say.
                let found = visible.iter().filter(|message| Search { words: &command.words[2..], at: 0 }.all(message));
                let uids: String = found.fold(String::new(), |mut text, message| {
                    let _ = write!(text, " {}", message.uid);
                    text
                });
                format!("* SEARCH{uids}\r\n{tag} OK done")
            }
            _ => format!("{tag} BAD what?"),
        }
    }
}

/// INBOX is the same in any case.
fn mailbox_name(name: &str) -> String {
    if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name.to_owned() }
}

/// The words of a part of a command that has no literal in it.
fn words(text: &str) -> Vec<Word> {
    let mut words = vec![];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let (mut quoted, mut escaped, mut end) = (String::new(), false, 0);
                for (at, character) in rest.char_indices().skip(1) {
                    match character {
                        '\\' if !escaped => escaped = true,
                        '"' if !escaped => {
                            end = at + 1;
                            break;
                        }
                        character => {
                            quoted.push(character);
                            escaped = false;
                        }
                    }
                }
                assert!(end > 0, "a quoted string ends: {text:?}");
                words.push(Word::Text(quoted));
                end
            }
            '(' => {
                let (mut depth, mut end) = (0, 0);
                for (at, character) in rest.char_indices() {
                    depth += match character {
                        '(' => 1,
                        ')' => -1,
                        _ => 0,
                    };
                    if depth == 0 {
                        end = at + 1;
                        break;
                    }
                }
                assert!(end > 0, "a list ends: {text:?}");
                words.push(Word::List(rest[1..end - 1].to_owned()));
                end
            }
            _ => {
                let end = rest.find(' ').unwrap_or(rest.len());
                words.push(Word::Text(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    words
}

/// `4:*,7`: the star is the last message, whichever end it is.
fn is_in(set: &str, uid: u32, last: u32) -> bool {
    let end = |text: &str| if text == "*" { last } else { text.parse().expect("a UID") };
    set.split(',').any(|range| {
        let (first, second) = range.split_once(':').unwrap_or((range, range));
        let (first, second) = (end(first), end(second));
        (first.min(second)..=first.max(second)).contains(&uid)
    })
}

/// Octets as characters of the same number.
fn as_text(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

fn fetched(family: &Family, seq: usize, message: &Stored, items: &str) -> String {
    let mut answer = vec![format!("UID {}", message.uid)];
    if items.contains("RFC822.SIZE") {
        answer.push(format!("RFC822.SIZE {}", message.octets.len() as u64 + family.size_error));
    }
    if items.contains("INTERNALDATE") {
        let date = DateTime::from_timestamp(message.date, 0).expect("a date").format("%e-%b-%Y %H:%M:%S +0000");
        answer.push(format!("INTERNALDATE \"{date:>26}\""));
    }
    if items.contains("FLAGS") {
        answer.push(format!("FLAGS ({})", message.flags.join(" ")));
    }
    for part in items.split("BODY.PEEK[").skip(1) {
        let (section, behind) = part.split_once(']').expect("a section ends");
        let mut octets = match section.split_once(" (") {
            Some(("HEADER.FIELDS", names)) => {
                let names: Vec<_> = names.trim_end_matches(')').split(' ').collect();
                fields(&message.octets, |name| names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)))
            }
            _ if section == "HEADER" => fields(&message.octets, |_| true),
            _ => {
                assert_eq!(section, "", "a section that nobody needs");
                message.octets.clone()
            }
        };
        let mut origin = "";
        if let Some(partial) = behind.strip_prefix('<') {
            let (first, most) = partial.split('>').next().unwrap().split_once('.').expect("a partial fetch");
            assert_eq!(first, "0", "from the beginning");
            octets.truncate(most.parse().expect("a number"));
            origin = "<0>";
        }
        answer.push(format!("BODY[{section}]{origin} {{{}}}\r\n{}", octets.len(), as_text(&octets)));
    }
    // The UID stands first or last, as it comes.
    if family.is_talkative {
        answer.rotate_left(1);
    }
    format!("* {seq} FETCH ({})\r\n", answer.join(" "))
}

/// The header fields with their line ends, and where the body begins.
fn head(octets: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut fields, mut at): (Vec<Vec<u8>>, usize) = (vec![], 0);
    while at < octets.len() {
        let end = octets[at..].iter().position(|octet| *octet == b'\n').map_or(octets.len(), |end| at + end + 1);
        let line = &octets[at..end];
        at = end;
        if line == b"\r\n" {
            break;
        }
        match fields.last_mut() {
            Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => last.extend_from_slice(line),
            _ => fields.push(line.to_vec()),
        }
    }
    (fields, at)
}

fn name_of(field: &[u8]) -> String {
    as_text(field.split(|octet| *octet == b':').next().unwrap_or_default()).trim().to_owned()
}

fn fields(octets: &[u8], is_wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    let fields = head(octets).0.into_iter().filter(|field| is_wanted(&name_of(field)));
    fields.flatten().chain(*b"\r\n").collect()
}

/// The value of a field in one line.
fn value(octets: &[u8], name: &str) -> Option<String> {
    let field = head(octets).0.into_iter().find(|field| name_of(field).eq_ignore_ascii_case(name))?;
    let text = as_text(&field);
    let value = text.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(value)
}

/// The same message for people, and other octets: a field on top, other cases and folds, and a body in base64.
fn rewritten(octets: &[u8]) -> Vec<u8> {
    let (fields, body) = head(octets);
    let mut message = b"X-Rebuilt: yes\r\n".to_vec();
    for field in fields.iter().rev() {
        let text = as_text(field);
        let (name, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.split_whitespace().collect::<Vec<_>>().join("\r\n ");
        let field = format!("{}: {value}\r\n", name.trim().to_ascii_uppercase());
        message.extend(field.chars().map(|character| character as u8));
    }
    message.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n\r\n");
    for line in STANDARD.encode(&octets[body..]).as_bytes().chunks(76) {
        message.extend_from_slice(line);
        message.extend_from_slice(b"\r\n");
    }
    message
}

/// Gmail: a message with a known Message-ID comes back, where it was and as it was.
fn revive(store: &mut Store, name: &str, octets: &[u8]) -> Option<u32> {
    let id = value(octets, "Message-ID").filter(|id| !id.is_empty())?;
    let is_it = |message: &&mut Stored| value(&message.octets, "Message-ID").as_ref() == Some(&id);
    let mailbox = store.get_mut(name)?;
    if let Some(message) = mailbox.messages.iter_mut().find(is_it) {
        message.is_archived = false;
        return Some(message.uid);
    }
    let elsewhere = store.values_mut().flat_map(|mailbox| mailbox.messages.iter_mut()).find(is_it)?.clone();
    Some(store.get_mut(name)?.add(&elsewhere.octets, octets, elsewhere.flags, elsewhere.date))
}

/// Criteria of SEARCH, all of which must hold.
struct Search<'w> {
    words: &'w [Word],
    at: usize,
}

impl Search<'_> {
    fn all(mut self, message: &Stored) -> bool {
        let mut is_all = true;
        while self.at < self.words.len() {
            is_all &= self.one(message);
        }
        is_all
    }

    fn next(&mut self) -> String {
        let word = self.words.get(self.at).map(Word::text).expect("a criterion is complete");
        self.at += 1;
        word
    }

    fn one(&mut self, message: &Stored) -> bool {
        if let Some(Word::List(list)) = self.words.get(self.at) {
            self.at += 1;
            return Search { words: &words(list), at: 0 }.all(message);
        }
        let day = |text: &str| chrono::NaiveDate::parse_from_str(text, "%e-%b-%Y").expect("a day");
        let arrived = DateTime::from_timestamp(message.date, 0).expect("a date").date_naive();
        match self.next().to_ascii_uppercase().as_str() {
            "ALL" | "UNDELETED" => true,
            "CHARSET" => {
                self.next();
                true
            }
            "HEADER" => {
                let (name, wanted) = (self.next(), self.next());
                let wanted = wanted.to_ascii_lowercase();
                value(&message.octets, &name).is_some_and(|value| value.to_ascii_lowercase().contains(&wanted))
            }
            "ON" => arrived == day(&self.next()),
            "SINCE" => arrived >= day(&self.next()),
            "BEFORE" => arrived < day(&self.next()),
            "UID" => is_in(&self.next(), message.uid, u32::MAX),
            "OR" => {
                let first = self.one(message);
                self.one(message) | first
            }
            "NOT" => !self.one(message),
            "X-GM-RAW" => {
                let words = self.next();
                let wanted = words.split(' ').find_map(|word| word.strip_prefix("rfc822msgid:")).expect("an id");
                let id = value(&message.octets, "Message-ID").unwrap_or_default();
                id.trim_matches(['<', '>']) == wanted.trim_matches(['<', '>'])
            }
            other => panic!("SEARCH {other}"),
        }
    }
}
