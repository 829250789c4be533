//! The authorization code grant of a program on the user's machine (RFC 8252 §7.3) with PKCE (RFC 7636): a browser goes
//! to the provider, and comes back to a port that we listen on.
//!
//! Whoever else on this machine finds the port learns nothing, ends nothing and keeps nobody out: without the `state` of
//! this very sign-in a request gets a 404 and the wait goes on.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use form_urlencoded::Serializer;
use sha2::{Digest as _, Sha256};

use super::Prompt;
use super::endpoint::{Form, Proof, Tokens};
use super::error::Error;
use super::http::Client;
use crate::account::OAuth2;
use crate::os;
use crate::stop::{Stop, Woken};
use crate::text::printable;

/// How long a browser is waited for: people look for passwords and telephones.
const LONGEST: Duration = Duration::from_secs(600);

/// How long a connection may take to say what it wants. Browsers open some that they never use.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many connections are served at once; when there are more, the oldest is closed.
const MOST_BROWSERS: usize = 64;

/// The request line and what browsers put behind it.
const LONGEST_REQUEST: usize = 64 << 10;

const DONE: &str = "popfetch has the answer. You can close this page; the rest is said where popfetch runs.";

/// Sends the user to the provider, waits for the browser to come back, and exchanges the code.
pub(super) fn consent(
    client: &Client<'_>,
    oauth2: &OAuth2,
    proof: &Proof,
    authorization_endpoint: &str,
    user: &str,
    stop: &Stop,
    say: impl FnOnce(Prompt),
) -> Result<Tokens, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::Listen)?;
    listener.set_nonblocking(true).map_err(Error::Listen)?;
    let port = listener.local_addr().map_err(Error::Listen)?.port();
    let redirect_uri = format!("http://127.0.0.1:{port}");
    let (state, verifier) = (random()?, random()?);
    let query = Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", &oauth2.client_id)
        .append_pair("redirect_uri", &redirect_uri)
        .extend_pairs(oauth2.scope.iter().map(|scope| ("scope", scope)))
        .append_pair("state", &state)
        .append_pair("code_challenge", &challenge(&verifier))
        .append_pair("code_challenge_method", "S256")
        .append_pair("login_hint", user)
        .finish();
    // RFC 6749 §3.1: a query that the endpoint already has is kept.
    let separator = if authorization_endpoint.contains('?') { '&' } else { '?' };
    let url = format!("{authorization_endpoint}{separator}{query}");
    say(Prompt::Redirect { url, port, expires_in: LONGEST });
    let code = wait(&listener, &state, stop, LONGEST)?.map_err(|answer| answer.refusal(authorization_endpoint))?;
    let form = Form::grant("authorization_code", oauth2, proof)
        .with("code", &code)
        .with("redirect_uri", &redirect_uri)
        .with("code_verifier", &verifier);
    Tokens::ask(client, &oauth2.token_endpoint, &form)
}

/// 256 bits that nobody can guess, in the characters that RFC 7636 §4.1 allows.
fn random() -> Result<String, Error> {
    os::random::octets::<32>().map(|octets| BASE64URL.encode(octets)).map_err(Error::Listen)
}

/// RFC 7636 §4.2, S256.
fn challenge(verifier: &str) -> String {
    BASE64URL.encode(Sha256::digest(verifier))
}

/// The provider's `error`, carried back by the browser (RFC 6749 §4.1.2.1).
#[derive(Debug, PartialEq)]
struct Denied {
    error: String,
    description: Option<String>,
}

impl Denied {
    fn refusal(self, endpoint: &str) -> Error {
        let description = self.description.map(|words| printable(words.as_bytes()));
        Error::Refused { endpoint: endpoint.to_owned(), error: printable(self.error.as_bytes()), description }
    }
}

/// Answers connections until one brings the code, or the provider's refusal. Several are served at once, so that
/// nobody who connects and says nothing keeps the browser out.
fn wait(listener: &TcpListener, state: &str, stop: &Stop, limit: Duration) -> Result<Result<String, Denied>, Error> {
    let end = Instant::now() + limit;
    let mut browsers: VecDeque<Browser> = VecDeque::new();
    loop {
        // In every turn: who keeps on connecting does not prolong it.
        if Instant::now() >= end {
            return Err(Error::TooLate(limit));
        }
        let next = browsers.front().map_or(end, |oldest| oldest.end.min(end));
        let sources: Vec<_> = iter::once(listener.as_fd()).chain(browsers.iter().map(Browser::as_fd)).collect();
        let left = next.saturating_duration_since(Instant::now());
        if let Woken::Stopped(stopped) = stop.any_readable(&sources, Some(left)).map_err(Error::Listen)? {
            return Err(Error::Stopped(stopped));
        }
        let mut answered = None;
        browsers.retain_mut(|browser| match browser.request_line() {
            Ok(None) => true,
            Ok(Some(line)) => {
                let answer = answer(&line, state);
                let _ = reply(&browser.connection, answer.is_some());
                answered = answered.take().or(answer);
                false
            }
            // A browser that went away again is none of our trouble.
            Err(_) => false,
        });
        if let Some(answer) = answered {
            return Ok(answer);
        }
        browsers.extend((0..MOST_BROWSERS).map_while(|_| listener.accept().ok()).filter_map(Browser::new));
        browsers.drain(..browsers.len().saturating_sub(MOST_BROWSERS));
    }
}

/// Somebody who has connected.
struct Browser {
    connection: TcpStream,
    request: Vec<u8>,
    /// When it has to have said what it wants.
    end: Instant,
}

impl Browser {
    fn new((connection, _): (TcpStream, SocketAddr)) -> Option<Self> {
        connection.set_nonblocking(true).ok()?;
        Some(Browser { connection, request: vec![], end: Instant::now() + PATIENCE })
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// The first line of the request, once all of it is there: a connection closed with octets unread would reset what
    /// was answered.
    fn request_line(&mut self) -> io::Result<Option<String>> {
        let mut chunk = [0; 4096];
        loop {
            match self.connection.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.request.extend(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if self.request.len() > LONGEST_REQUEST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        if !self.request.windows(4).any(|octets| octets == b"\r\n\r\n") {
            return if Instant::now() < self.end { Ok(None) } else { Err(io::ErrorKind::TimedOut.into()) };
        }
        let line = self.request.split(|octet| *octet == b'\r').next().unwrap_or_default();
        Ok(Some(String::from_utf8_lossy(line).into_owned()))
    }
}

/// What the request brings, when it is the one that is waited for.
fn answer(line: &str, state: &str) -> Option<Result<String, Denied>> {
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    let query = target.strip_prefix("/?")?;
    let parameter = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.into_owned())
    };
    if parameter("state")? != state {
        return None;
    }
    match parameter("error") {
        Some(error) => Some(Err(Denied { error, description: parameter("error_description") })),
        None => parameter("code").map(Ok),
    }
}

fn reply(mut browser: &TcpStream, is_awaited: bool) -> io::Result<()> {
    let (status, page) = if is_awaited { ("200 OK", DONE) } else { ("404 Not Found", "Nothing is here.") };
    let length = page.len();
    // The address that brought the code must not travel on (RFC 9700 §4.2.4).
    write!(
        browser,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{page}"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::stop::Stopped;

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        // RFC 7636 appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn what_is_random_is_long_enough_and_new_each_time() {
        assert_eq!(random().unwrap().len(), 43);
        assert_ne!(random().unwrap(), random().unwrap());
    }

    #[test]
    fn only_the_state_of_this_sign_in_is_an_answer() {
        assert_eq!(answer("GET /?code=a%2Fb&state=s HTTP/1.1", "s"), Some(Ok("a/b".into())));
        for line in [
            "GET /?code=a&state=t HTTP/1.1",
            "GET /?code=a HTTP/1.1",
            "GET /?state=s HTTP/1.1",
            "GET /favicon.ico HTTP/1.1",
            "GET / HTTP/1.1",
            "POST /?code=a&state=s HTTP/1.1",
            "",
        ] {
            assert_eq!(answer(line, "s"), None, "{line}");
        }
    }

    #[test]
    fn a_refusal_of_the_provider_is_an_answer_too() {
        let line = "GET /?error=access_denied&error_description=the+user+said+no&state=s HTTP/1.1";
        let denied = Denied { error: "access_denied".into(), description: Some("the user said no".into()) };
        assert_eq!(answer(line, "s"), Some(Err(denied)));
    }

    #[test]
    fn strangers_at_the_port_do_not_end_the_wait() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let browser = std::thread::spawn(move || {
            let get = |request: &str| {
                let mut connection = TcpStream::connect(address).unwrap();
                connection.write_all(request.as_bytes()).unwrap();
                let mut reply = String::new();
                connection.read_to_string(&mut reply).unwrap();
                reply
            };
            drop(TcpStream::connect(address));
            let forged = get("GET /?code=evil&state=guess HTTP/1.1\r\n\r\n");
            (forged, get("GET /?code=good&state=s HTTP/1.1\r\nHost: x\r\n\r\n"))
        });
        assert_eq!(wait(&listener, "s", &Stop::new().unwrap(), LONGEST).unwrap(), Ok("good".into()));
        let (forged, good) = browser.join().unwrap();
        assert!(forged.starts_with("HTTP/1.1 404 ") && good.starts_with("HTTP/1.1 200 "), "{forged}\n{good}");
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stop = Stop::new().unwrap();
        stop.request(2);
        assert!(matches!(wait(&listener, "s", &stop, LONGEST), Err(Error::Stopped(Stopped { signal: 2 }))));
    }

    #[test]
    fn those_who_hold_the_port_do_not_keep_the_browser_out() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let browser = std::thread::spawn(move || {
            let hold = |_| {
                let mut connection = TcpStream::connect(address).unwrap();
                // It may be closed again by the time it is written to.
                let _ = connection.write_all(b"GET ");
                connection
            };
            let held: Vec<_> = (0..3 * MOST_BROWSERS).map(hold).collect();
            let mut connection = TcpStream::connect(address).unwrap();
            connection.write_all(b"GET /?code=good&state=s HTTP/1.1\r\n\r\n").unwrap();
            (held, connection)
        });
        // One after the other, they would be waited for 16 minutes.
        let limit = Duration::from_secs(60);
        assert_eq!(wait(&listener, "s", &Stop::new().unwrap(), limit).unwrap(), Ok("good".into()));
        browser.join().unwrap();
    }

    #[test]
    fn those_who_keep_on_connecting_do_not_prolong_the_wait() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::new().unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let hung_up = Instant::now() + Duration::from_secs(60);
                while !is_over.load(Ordering::Relaxed) {
                    if let Ok(mut connection) = TcpStream::connect(address) {
                        let _ = connection.write_all(b"GET / HTTP/1.1\r\n\r\n");
                    }
                    if Instant::now() > hung_up {
                        stop.request(2);
                    }
                }
            });
            let outcome = wait(&listener, "s", &stop, Duration::from_millis(300));
            is_over.store(true, Ordering::Relaxed);
            assert!(matches!(outcome, Err(Error::TooLate(_))), "{outcome:?}");
        });
    }
}
