//! A little server for LMTP and SMTP: it takes messages, keeps them, and does to each command what a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it does in the place of its ordinary answer.
#[derive(Debug, Clone)]
pub enum Act {
    /// Says this; CRLF is added. A message that it answers with 2xx is taken.
    Say(String),
    /// Hangs up.
    Close,
    /// Takes the message that was sent, and hangs up before it says so.
    TakeAndClose,
    /// Says nothing more, and does not hang up.
    Hang,
    /// Answers the end of a message only when more has come behind it, or after a while.
    Dawdle,
    /// Sends a line without an end.
    Flood,
}

/// A command that is to be answered; the end of a message by DATA is `.`, the greeting is empty.
#[derive(Debug)]
pub struct Asked<'a> {
    pub command: &'a str,
    /// How many came before it, over all connections.
    pub nth: usize,
    /// How many of the same verb came before it.
    pub of_verb: usize,
}

/// How long more is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

type Acts = dyn Fn(&Asked<'_>) -> Option<Act> + Send + Sync;

/// A message that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    pub mail: String,
    pub rcpt: String,
    /// Without doubled dots.
    pub octets: Vec<u8>,
}

/// A server to be.
pub struct MtaBuilder {
    is_lmtp: bool,
    extensions: Vec<String>,
    acts: Box<Acts>,
    tls: Option<Arc<ServerConfig>>,
    is_implicit: bool,
    socket: Option<PathBuf>,
    login: Option<(String, String)>,
    says_behind_starttls: &'static str,
}

/// Serves until it is dropped.
pub struct Mta {
    pub port: u16,
    shared: Arc<Shared>,
    accepter: Option<JoinHandle<()>>,
}

struct Shared {
    plan: MtaBuilder,
    heard: Mutex<Vec<String>>,
    taken: Mutex<Vec<Taken>>,
    connections: Mutex<usize>,
    envelopes_ahead: Mutex<usize>,
    is_stopping: AtomicBool,
}

impl Mta {
    pub fn lmtp() -> MtaBuilder {
        MtaBuilder {
            is_lmtp: true,
            extensions: ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"].map(str::to_owned).to_vec(),
            acts: Box::new(|_| None),
            tls: None,
            is_implicit: false,
            socket: None,
            login: None,
            says_behind_starttls: "",
        }
    }

    pub fn smtp() -> MtaBuilder {
        MtaBuilder { is_lmtp: false, ..Mta::lmtp() }
    }

    /// Every command so far.
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

    /// How many messages it answered only when it had heard of the next one.
    pub fn envelopes_ahead(&self) -> usize {
        *self.shared.envelopes_ahead.lock().unwrap()
    }

    /// What it offers.
    pub fn shared_extensions(&self) -> String {
        self.shared.plan.extensions.join(" ")
    }

    /// Every message that was taken, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// Has not taken these messages: the first that are equal to them are thrown away.
    pub fn forget(&self, messages: &[Taken]) {
        let mut taken = self.shared.taken.lock().unwrap();
        for message in messages {
            let position = taken.iter().position(|taken| taken == message).expect("it was taken");
            taken.remove(position);
        }
    }

    /// Has taken these messages.
    pub fn remember(&self, messages: &[Taken]) {
        self.shared.taken.lock().unwrap().extend_from_slice(messages);
    }

    /// Their octets, sorted.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let mut octets: Vec<_> = self.taken().into_iter().map(|taken| taken.octets).collect();
        octets.sort();
        octets
    }
}

impl MtaBuilder {
    pub fn extensions(mut self, words: &[&str]) -> Self {
        self.extensions = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub fn acts(mut self, acts: impl Fn(&Asked<'_>) -> Option<Act> + Send + Sync + 'static) -> Self {
        self.acts = Box::new(acts);
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

    pub fn socket(mut self, path: impl AsRef<Path>) -> Self {
        self.socket = Some(path.as_ref().to_owned());
        self
    }

    /// Only this user may send.
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    pub fn start(self) -> Mta {
        let socket = self.socket.clone();
        let shared = Arc::new(Shared {
            plan: self,
            heard: Mutex::default(),
            taken: Mutex::default(),
            connections: Mutex::default(),
            envelopes_ahead: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        });
        let serving = shared.clone();
        let (port, accepter) = match socket {
            Some(path) => {
                let listener = UnixListener::bind(&path).expect("a socket can be made");
                (0, thread::spawn(move || serve(&serving, || Line::Unix(listener.accept().expect("accepts").0))))
            }
            None => {
                let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
                let port = listener.local_addr().expect("a listener has an address").port();
                (port, thread::spawn(move || serve(&serving, || Line::Tcp(listener.accept().expect("accepts").0))))
            }
        };
        Mta { port, shared, accepter: Some(accepter) }
    }
}

impl Drop for Mta {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        // Wakes the accepter out of its wait.
        match &self.shared.plan.socket {
            Some(path) => drop(UnixStream::connect(path)),
            None => drop(TcpStream::connect(("127.0.0.1", self.port))),
        }
        let _ = self.accepter.take().map(JoinHandle::join);
    }
}

pub(super) enum Line {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
    Gone,
}

impl Line {
    /// Ends what is said, and not what is heard.
    pub(super) fn hang_up(&mut self) {
        match self {
            Line::Tcp(line) => drop(line.shutdown(Shutdown::Write)),
            Line::Tls(line) => {
                line.conn.send_close_notify();
                let _ = line.flush();
            }
            Line::Unix(_) | Line::Gone => {}
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Tcp(line) => line.read(buffer),
            Line::Unix(line) => line.read(buffer),
            Line::Tls(line) => line.read(buffer),
            Line::Gone => Ok(0),
        }
    }
}

impl Write for Line {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Line::Tcp(line) => line.write(octets),
            Line::Unix(line) => line.write(octets),
            Line::Tls(line) => line.write(octets),
            Line::Gone => Ok(0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Tcp(line) => line.flush(),
            Line::Unix(line) => line.flush(),
            Line::Tls(line) => line.flush(),
            Line::Gone => Ok(()),
        }
    }
}

fn serve(shared: &Arc<Shared>, accept: impl Fn() -> Line) {
    loop {
        let line = accept();
        if shared.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        *shared.connections.lock().unwrap() += 1;
        let shared = shared.clone();
        // A client that goes in the middle of it is the test's subject, not a surprise.
        thread::spawn(move || drop(Session { shared: &shared, line: BufReader::new(line) }.run()));
    }
}

pub(super) fn under_tls(line: Line, tls: Arc<ServerConfig>) -> Line {
    let Line::Tcp(tcp) = line else { panic!("TLS is for TCP") };
    tcp.set_nodelay(true).unwrap();
    Line::Tls(Box::new(StreamOwned::new(ServerConnection::new(tls).expect("a configuration works"), tcp)))
}

struct Session<'s> {
    shared: &'s Shared,
    line: BufReader<Line>,
}

/// The envelope so far.
#[derive(Default)]
struct Envelope {
    mail: Option<String>,
    rcpt: Option<String>,
}

impl Session<'_> {
    fn run(mut self) -> io::Result<()> {
        let plan = &self.shared.plan;
        if let (Line::Tcp(tcp), true) = (self.line.get_ref(), true) {
            tcp.set_nodelay(true)?;
        }
        if plan.is_implicit {
            self.encrypt();
        }
        if !self.answer("", "220 mta.example.org ready")? {
            return Ok(());
        }
        let (mut envelope, mut is_encrypted, mut is_known) = (Envelope::default(), plan.is_implicit, false);
        let mut line = vec![];
        loop {
            line.clear();
            if self.line.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            assert!(line.ends_with(b"\r\n"), "a command ends in CRLF: {:?}", line.escape_ascii().to_string());
            let command = String::from_utf8(line[..line.len() - 2].to_vec()).expect("commands are UTF-8");
            assert!(!command.contains(['\r', '\0']), "{command:?}");
            let verb = command.split([' ', ':']).next().unwrap_or_default().to_owned();
            let goes_on = match verb.as_str() {
                "LHLO" | "EHLO" => {
                    assert_eq!(verb == "LHLO", plan.is_lmtp, "LMTP and SMTP greet differently");
                    let mut words = plan.extensions.clone();
                    if plan.tls.is_some() && !is_encrypted {
                        words.push("STARTTLS".into());
                    }
                    if plan.login.is_some() {
                        words.push("AUTH PLAIN LOGIN".into());
                    }
                    let lines = ["mta.example.org".to_owned()].into_iter().chain(words).collect::<Vec<_>>();
                    self.answer(&command, &format!("250-{}", lines.join("\r\n250-")).replacen_last("250-", "250 "))?
                }
                "STARTTLS" => {
                    let behind = plan.says_behind_starttls;
                    if !self.answer(&command, &format!("220 go ahead{behind}"))? {
                        return Ok(());
                    }
                    self.encrypt();
                    is_encrypted = true;
                    true
                }
                "AUTH" => {
                    is_known = self.is_known(&command);
                    let words = if is_known { "235 2.7.0 welcome" } else { "535 5.7.8 no" };
                    self.answer(&command, words)?
                }
                "MAIL" if plan.login.is_some() && !is_known => self.answer(&command, "530 5.7.0 who are you")?,
                "MAIL" if envelope.mail.is_some() => self.answer(&command, "503 5.5.1 nested")?,
                "MAIL" => {
                    let is_taken = self.answers_well(&command, "250 2.1.0 sender ok")?;
                    envelope.mail = is_taken.unwrap_or(false).then_some(command);
                    is_taken.is_some()
                }
                "RCPT" if envelope.mail.is_none() => self.answer(&command, "503 5.5.1 MAIL first")?,
                "RCPT" => {
                    let is_taken = self.answers_well(&command, "250 2.1.5 recipient ok")?;
                    envelope.rcpt = is_taken.unwrap_or(false).then_some(command);
                    is_taken.is_some()
                }
                "DATA" if envelope.rcpt.is_none() => self.answer(&command, "503 5.5.1 RCPT first")?,
                "DATA" => match self.says(&command, "354 go ahead")? {
                    Some(words) if words.starts_with("354") => {
                        let octets = self.read_message()?;
                        let Envelope { mail, rcpt } = std::mem::take(&mut envelope);
                        self.take(".", mail, rcpt, octets)?
                    }
                    words => words.is_some(),
                },
                "BDAT" => {
                    let length = command.split(' ').nth(1).and_then(|length| length.parse().ok()).expect("a length");
                    let mut octets = vec![0; length];
                    self.line.read_exact(&mut octets)?;
                    let Envelope { mail, rcpt } = std::mem::take(&mut envelope);
                    match rcpt.is_some() {
                        true => self.take(&command, mail, rcpt, octets)?,
                        false => self.answer(&command, "503 5.5.1 RCPT first")?,
                    }
                }
                "RSET" => {
                    envelope = Envelope::default();
                    self.answer(&command, "250 2.0.0 flushed")?
                }
                "NOOP" => self.answer(&command, "250 2.0.0 ok")?,
                "QUIT" => {
                    self.answer(&command, "221 2.0.0 bye")?;
                    return Ok(());
                }
                _ => self.answer(&command, "500 5.5.2 what?")?,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn encrypt(&mut self) {
        let tls = self.shared.plan.tls.clone().expect("there is a configuration");
        let line = std::mem::replace(&mut self.line, BufReader::new(Line::Gone)).into_inner();
        self.line = BufReader::new(under_tls(line, tls));
    }

    fn is_known(&self, command: &str) -> bool {
        let Some((user, password)) = &self.shared.plan.login else { return false };
        let expected = format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}")));
        command == expected
    }

    fn act(&self, command: &str) -> Option<Act> {
        let verb = command.split([' ', ':']).next().unwrap_or_default();
        let (nth, of_verb) = {
            let mut heard = self.shared.heard.lock().unwrap();
            let is_of_verb = |heard: &&String| heard.split([' ', ':']).next().unwrap_or_default() == verb;
            let before = (heard.len(), heard.iter().filter(is_of_verb).count());
            heard.push(command.to_owned());
            before
        };
        (self.shared.plan.acts)(&Asked { command, nth, of_verb })
    }

    /// Says what is to be said; `None` when the connection is over.
    fn says(&mut self, command: &str, usual: &str) -> io::Result<Option<String>> {
        let words = match self.act(command) {
            None => usual.to_owned(),
            Some(Act::Say(words)) => words,
            Some(Act::Close | Act::TakeAndClose) => return Ok(None),
            Some(act) => return self.misbehave(&act),
        };
        self.say(&words)?;
        Ok(Some(words))
    }

    fn say(&mut self, words: &str) -> io::Result<()> {
        if words.is_empty() {
            return Ok(());
        }
        let line = self.line.get_mut();
        line.write_all(format!("{words}\r\n").as_bytes())?;
        line.flush()
    }

    fn misbehave(&mut self, act: &Act) -> io::Result<Option<String>> {
        if let Act::Flood = act {
            while self.line.get_mut().write_all(&[b'2'; 4096]).is_ok() {}
        }
        // Until the client hangs up.
        let _ = io::copy(&mut self.line, &mut io::sink());
        Ok(None)
    }

    /// False when the connection is over.
    fn answer(&mut self, command: &str, usual: &str) -> io::Result<bool> {
        Ok(self.says(command, usual)?.is_some())
    }

    /// Whether it was said well; `None` when the connection is over.
    fn answers_well(&mut self, command: &str, usual: &str) -> io::Result<Option<bool>> {
        Ok(self.says(command, usual)?.map(|words| words.starts_with('2')))
    }

    fn take(&mut self, end: &str, mail: Option<String>, rcpt: Option<String>, octets: Vec<u8>) -> io::Result<bool> {
        let act = self.act(end);
        let (words, goes_on) = match act {
            None => ("250 2.0.0 taken".to_owned(), true),
            Some(Act::Say(words)) => (words, true),
            Some(Act::Dawdle) => {
                if self.hears_more()? {
                    *self.shared.envelopes_ahead.lock().unwrap() += 1;
                }
                ("250 2.0.0 taken".to_owned(), true)
            }
            Some(Act::TakeAndClose) => ("250".to_owned(), false),
            Some(Act::Close) => return Ok(false),
            Some(act) => return Ok(self.misbehave(&act)?.is_some()),
        };
        if words.starts_with('2') {
            let [mail, rcpt] = [mail, rcpt].map(Option::unwrap_or_default);
            self.shared.taken.lock().unwrap().push(Taken { mail, rcpt, octets });
        }
        if goes_on {
            self.say(&words)?;
        }
        Ok(goes_on)
    }

    fn hears_more(&mut self) -> io::Result<bool> {
        let Line::Tcp(tcp) = self.line.get_ref() else { panic!("only TCP has a timeout here") };
        let tcp = tcp.try_clone()?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let has_more = matches!(self.line.fill_buf(), Ok([_, ..]));
        tcp.set_read_timeout(None)?;
        Ok(has_more)
    }

    /// Reads as a careless server does: a line ends in LF.
    fn read_message(&mut self) -> io::Result<Vec<u8>> {
        let mut octets = vec![];
        loop {
            let mut line = vec![];
            if self.line.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            assert!(line.ends_with(b"\r\n"), "no bare LF: {:?}", line.escape_ascii().to_string());
            let text = &line[..line.len() - 2];
            assert!(!text.contains(&b'\r'), "no bare CR: {:?}", line.escape_ascii().to_string());
            if text == b"." {
                return Ok(octets);
            }
            octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }
}

trait ReplacenLast {
    fn replacen_last(&self, from: &str, to: &str) -> String;
}

impl ReplacenLast for str {
    fn replacen_last(&self, from: &str, to: &str) -> String {
        match self.rsplit_once(from) {
            Some((before, behind)) => format!("{before}{to}{behind}"),
            None => self.to_owned(),
        }
    }
}
