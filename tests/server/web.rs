//! A little web application that takes mail by POST, keeps it, and does at each moment what a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;

use super::mta::{Line, under_tls};

/// What it does in the place of its ordinary answer.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Answers these octets. A whole request that is answered with 2xx is taken.
    Say(String),
    /// The same, and then hangs up.
    SayAndClose(String),
    /// Hangs up.
    Close,
    /// Takes the message that was sent, and hangs up before it says so.
    TakeAndClose,
    /// Says the first octets, and then the second ones for ever.
    Flood(&'static str, &'static str),
}

/// An answer with this status and nothing else.
pub fn status(status: u16) -> String {
    answer(status, "", "")
}

/// An answer with fields, each with its CRLF, and a body.
pub fn answer(status: u16, fields: &str, body: &str) -> String {
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status} So\r\n{fields}{length}\r\n{body}")
}

/// When something can be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// A client has connected.
    Connected,
    /// The head of a request has come.
    Head,
    /// A whole request has come.
    Whole,
}

/// A moment.
#[derive(Debug)]
pub struct Now {
    pub when: When,
    /// How many moments came before it, over all connections.
    pub nth: usize,
    /// How many of this kind came before it.
    pub of_kind: usize,
}

type Deeds = dyn Fn(&Now) -> Option<Deed> + Send + Sync;

/// A request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Posted {
    pub line: String,
    /// With names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Posted {
    /// The only field of this name.
    pub fn field(&self, name: &str) -> &str {
        let values: Vec<&str> =
            self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect();
        assert!(values.len() <= 1, "{name} twice: {:?}", self.fields);
        values.first().copied().unwrap_or_default()
    }

    /// Names and values of a form.
    pub fn form(&self) -> Vec<(String, Vec<u8>)> {
        let kind = self.field("content-type");
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").expect("it is a form");
        let body = [b"\r\n", &self.body[..]].concat();
        let separator = format!("\r\n--{boundary}");
        let mut parts = split(&body, separator.as_bytes());
        assert_eq!((parts.remove(0), parts.pop()), (&b""[..], Some(&b"--\r\n"[..])), "a form begins and ends");
        let part = |part: &&[u8]| {
            let end = memchr::memmem::find(part, b"\r\n\r\n").expect("a part has a head");
            let head = String::from_utf8(part[..end].to_vec()).unwrap();
            let name =
                head.strip_prefix("\r\nContent-Disposition: form-data; name=\"").and_then(|n| n.strip_suffix('"'));
            (name.unwrap_or_else(|| panic!("{head:?}")).to_owned(), part[end + 4..].to_vec())
        };
        parts.iter().map(part).collect()
    }

    /// The message, wherever it stands.
    pub fn message(&self) -> Vec<u8> {
        if self.field("content-type") == "message/rfc822" {
            return self.body.clone();
        }
        let (name, value) = self.form().pop().expect("a form has a field");
        if name.ends_with("encoded") { STANDARD.decode(value).expect("it is base64") } else { value }
    }
}

fn split<'o>(mut octets: &'o [u8], separator: &[u8]) -> Vec<&'o [u8]> {
    let mut parts = vec![];
    while let Some(at) = memchr::memmem::find(octets, separator) {
        parts.push(&octets[..at]);
        octets = &octets[at + separator.len()..];
    }
    parts.push(octets);
    parts
}

/// An application to be.
pub struct WebBuilder {
    deeds: Box<Deeds>,
    tls: Option<Arc<ServerConfig>>,
    usual: String,
    closes: bool,
}

/// Serves until it is dropped.
pub struct Web {
    pub port: u16,
    shared: Arc<Shared>,
    accepter: Option<JoinHandle<()>>,
}

struct Shared {
    plan: WebBuilder,
    moments: Mutex<Vec<When>>,
    posted: Mutex<Vec<Posted>>,
    taken: Mutex<Vec<Posted>>,
    octets: AtomicUsize,
    is_stopping: AtomicBool,
}

impl Web {
    pub fn builder() -> WebBuilder {
        WebBuilder { deeds: Box::new(|_| None), tls: None, usual: status(204), closes: false }
    }

    /// Where mail is posted to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in", self.port)
    }

    /// Every moment so far.
    pub fn moments(&self) -> Vec<When> {
        self.shared.moments.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.moments().iter().filter(|when| **when == When::Connected).count()
    }

    /// Every whole request, in order.
    pub fn posted(&self) -> Vec<Posted> {
        self.shared.posted.lock().unwrap().clone()
    }

    /// Those that were taken.
    pub fn taken(&self) -> Vec<Posted> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// From now on it has taken these, and nothing else.
    pub fn has_taken(&self, posted: &[Posted]) {
        *self.shared.taken.lock().unwrap() = posted.to_vec();
    }

    /// Their messages, sorted.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let mut messages: Vec<_> = self.taken().iter().map(Posted::message).collect();
        messages.sort();
        messages
    }

    /// How many octets of bodies have come, whole ones or not.
    pub fn octets(&self) -> usize {
        self.shared.octets.load(Ordering::Relaxed)
    }
}

impl WebBuilder {
    pub fn deeds(mut self, deeds: impl Fn(&Now) -> Option<Deed> + Send + Sync + 'static) -> Self {
        self.deeds = Box::new(deeds);
        self
    }

    pub fn tls(mut self, tls: Arc<ServerConfig>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The ordinary answer.
    pub fn usual(mut self, answer: impl Into<String>) -> Self {
        self.usual = answer.into();
        self
    }

    /// Hangs up after each answer.
    pub fn closes(mut self) -> Self {
        self.closes = true;
        self
    }

    pub fn start(self) -> Web {
        let shared = Arc::new(Shared {
            plan: self,
            moments: Mutex::default(),
            posted: Mutex::default(),
            taken: Mutex::default(),
            octets: AtomicUsize::default(),
            is_stopping: AtomicBool::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let serving = shared.clone();
        let accepter = thread::spawn(move || {
            for line in listener.incoming().map_while(Result::ok) {
                if serving.is_stopping.load(Ordering::Relaxed) {
                    return;
                }
                let shared = serving.clone();
                // A client that goes in the middle of it is the test's subject, not a surprise.
                thread::spawn(move || drop(Session::begin(&shared, line).and_then(Session::run)));
            }
        });
        Web { port, shared, accepter: Some(accepter) }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        // Wakes the accepter out of its wait.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.accepter.take().map(JoinHandle::join);
    }
}

struct Session<'s> {
    shared: &'s Shared,
    line: BufReader<Line>,
}

impl<'s> Session<'s> {
    fn begin(shared: &'s Shared, line: TcpStream) -> io::Result<Self> {
        line.set_nodelay(true)?;
        let line = match &shared.plan.tls {
            Some(tls) => under_tls(Line::Tcp(line), tls.clone()),
            None => Line::Tcp(line),
        };
        Ok(Session { shared, line: BufReader::new(line) })
    }

    fn run(mut self) -> io::Result<()> {
        if let Some(deed) = self.deed(When::Connected)
            && !self.does(deed, None)?
        {
            return Ok(());
        }
        while let Some(mut posted) = self.head()? {
            if let Some(deed) = self.deed(When::Head)
                && !self.does(deed, None)?
            {
                return Ok(());
            }
            self.body(&mut posted)?;
            self.shared.posted.lock().unwrap().push(posted.clone());
            let usual = Deed::Say(self.shared.plan.usual.clone());
            let deed = self.deed(When::Whole).unwrap_or(usual);
            if !self.does(deed, Some(posted))? || self.shared.plan.closes {
                return Ok(());
            }
        }
        Ok(())
    }

    fn deed(&self, when: When) -> Option<Deed> {
        let now = {
            let mut moments = self.shared.moments.lock().unwrap();
            let of_kind = moments.iter().filter(|before| **before == when).count();
            moments.push(when);
            Now { when, nth: moments.len() - 1, of_kind }
        };
        (self.shared.plan.deeds)(&now)
    }

    /// False when the connection is over.
    fn does(&mut self, deed: Deed, posted: Option<Posted>) -> io::Result<bool> {
        let take = |posted| self.shared.taken.lock().unwrap().push(posted);
        match deed {
            Deed::Say(words) | Deed::SayAndClose(words) if words.is_empty() => return Ok(false),
            Deed::Say(ref words) | Deed::SayAndClose(ref words) => {
                let mut statuses = words.split("HTTP/1.").filter_map(|answer| answer.split(' ').nth(1));
                let is_final = |status: &&str| !status.starts_with('1');
                let status = statuses.find(is_final).unwrap_or_default();
                if let Some(posted) = posted.filter(|_| status.starts_with('2')) {
                    take(posted);
                }
                self.line.get_mut().write_all(words.as_bytes())?;
                self.line.get_mut().flush()?;
                if matches!(deed, Deed::Say(_)) {
                    return Ok(true);
                }
                self.line.get_mut().hang_up();
                // What is on its way is read, or the answer could be lost with it.
                let mut chunk = [0; 8192];
                while let Ok(octets @ 1..) = self.line.read(&mut chunk) {
                    self.shared.octets.fetch_add(octets, Ordering::Relaxed);
                }
            }
            Deed::Close => {}
            Deed::TakeAndClose => posted.into_iter().for_each(take),
            Deed::Flood(first, then) => {
                let line = self.line.get_mut();
                let _ = line.write_all(first.as_bytes());
                while line.write_all(then.repeat(4096 / then.len()).as_bytes()).is_ok() {}
            }
        }
        Ok(false)
    }

    /// Reads as strictly as the RFC allows.
    fn head(&mut self) -> io::Result<Option<Posted>> {
        let mut posted = Posted::default();
        loop {
            let mut line = vec![];
            if self.line.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8(line).expect("a head is text");
            let line = line.strip_suffix("\r\n").expect("a line ends in CRLF");
            assert!(!line.contains(['\r', '\0']), "{line:?}");
            if line.is_empty() {
                break;
            }
            if posted.line.is_empty() {
                assert!(line.ends_with(" HTTP/1.1"), "{line}");
                posted.line = line.to_owned();
            } else {
                let (name, value) = line.split_once(": ").expect("a field has a name");
                posted.fields.push((name.to_ascii_lowercase(), value.to_owned()));
            }
        }
        assert!(!posted.field("host").is_empty() && posted.field("transfer-encoding").is_empty(), "{posted:?}");
        Ok(Some(posted))
    }

    fn body(&mut self, posted: &mut Posted) -> io::Result<()> {
        if posted.line.starts_with("OPTIONS ") {
            return Ok(());
        }
        let mut left: usize = posted.field("content-length").parse().expect("a length");
        let mut chunk = [0; 8192];
        while left > 0 {
            let most = left.min(chunk.len());
            let octets = self.line.read(&mut chunk[..most])?;
            if octets == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.shared.octets.fetch_add(octets, Ordering::Relaxed);
            posted.body.extend_from_slice(&chunk[..octets]);
            left -= octets;
        }
        Ok(())
    }
}
