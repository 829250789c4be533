//! An endpoint of OAuth 2.0 on loopback that gives the answers of a script, whatever it is asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the endpoint does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Answers with this status and body.
    Says(u16, String),
    /// Says nothing, and does not hang up.
    Hangs,
}

/// The parameters of a request.
pub type Form = BTreeMap<String, String>;

/// A running endpoint. The last answer of its script is repeated.
pub struct Endpoint {
    pub port: u16,
    heard: Arc<Mutex<Vec<Form>>>,
}

impl Endpoint {
    pub fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Vec<_>, _) = (script.into_iter().collect(), heard.clone());
        thread::spawn(move || {
            let mut hanging = Vec::new();
            for stream in listener.incoming().flatten() {
                let Some(form) = request(&stream) else { continue };
                let mut heard = log.lock().expect("nobody panics while holding it");
                let answer = &script[heard.len().min(script.len() - 1)];
                heard.push(form);
                drop(heard);
                match answer {
                    Answer::Says(status, body) => reply(&stream, *status, body),
                    Answer::Hangs => hanging.push(stream),
                }
            }
        });
        Endpoint { port, heard }
    }

    /// The URL, to which any path may be added.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was asked, in order.
    pub fn heard(&self) -> Vec<Form> {
        self.heard.lock().expect("nobody panics while holding it").clone()
    }
}

fn request(stream: &TcpStream) -> Option<Form> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length is a number");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(form_urlencoded::parse(&body).into_owned().collect())
}

fn reply(mut stream: &TcpStream, status: u16, body: &str) {
    let length = body.len();
    // A client that is gone is a matter of the test's.
    let _ = write!(
        stream,
        "HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nLocation: /elsewhere\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}
