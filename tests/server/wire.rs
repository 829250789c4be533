//! Scripts over TCP and TLS: the same conversations as in memory, for the binary.
//!
//! One script, one connection; then the server ends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::script::{Script, Step, Transcript};

/// The longest that a script waits for the client: longer than any time-out that a test configures.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays a script on 127.0.0.1. Dropping it waits for the end and fails the test when the client left the script.
pub struct ScriptServer {
    pub port: u16,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl ScriptServer {
    /// In clear.
    pub fn tcp(script: &str) -> Self {
        Self::start(Script::parse(script), None, false)
    }

    /// In clear until `!tls`.
    pub fn starttls(script: &str, tls: Arc<ServerConfig>) -> Self {
        Self::start(Script::parse(script), Some(tls), false)
    }

    /// TLS from the first octet.
    pub fn tls(script: &str, tls: Arc<ServerConfig>) -> Self {
        Self::start(Script::parse(script), Some(tls), true)
    }

    fn start(script: Script, tls: Option<Arc<ServerConfig>>, is_implicit: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let thread = thread::spawn(move || {
            let socket = accept_within(&listener, PATIENCE)?;
            Player::new(socket, tls).run(script, is_implicit)
        });
        ScriptServer { port, thread: Some(thread) }
    }

    /// Waits for the end of the script; panics with the conversation when the client left it.
    pub fn finish(mut self) {
        self.join();
    }

    fn join(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let Ok(outcome) = thread.join() else { panic!("the script's thread panicked") };
        if let Err(surprise) = outcome {
            panic!("{surprise}");
        }
    }
}

impl Drop for ScriptServer {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.join();
        }
    }
}

fn accept_within(listener: &TcpListener, patience: Duration) -> Result<TcpStream, String> {
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    for _ in 0..patience.as_millis() / 5 {
        match listener.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(false).map_err(|error| error.to_string())?;
                return Ok(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("nobody connected".into())
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => &stream.sock,
        }
    }

    fn stream(&mut self) -> &mut dyn ReadWrite {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => stream.as_mut(),
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

struct Player {
    wire: Wire,
    tls: Option<Arc<ServerConfig>>,
    drip: Option<Duration>,
    transcript: Transcript,
}

impl Player {
    fn new(socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> Self {
        socket.set_nodelay(true).expect("a connected socket takes options");
        socket.set_read_timeout(Some(PATIENCE)).expect("a connected socket takes options");
        Player { wire: Wire::Plain(socket), tls, drip: None, transcript: Transcript::default() }
    }

    fn run(mut self, script: Script, is_implicit: bool) -> Result<(), String> {
        // A client that refuses the certificate is the test's subject, not a surprise.
        if is_implicit && self.handshake().is_err() {
            return Ok(());
        }
        for step in script.steps {
            match step {
                Step::Send(octets) => {
                    self.transcript.server(&octets);
                    if self.send(&octets).is_err() {
                        return Ok(());
                    }
                }
                Step::Expect(expected) => self.expect(expected.as_deref())?,
                Step::Drip(pause) => self.drip = Some(pause),
                Step::Tls if self.handshake().is_err() => return Ok(()),
                Step::Tls => {}
                Step::Stall => return self.silence(),
                Step::Close => break,
            }
        }
        self.close()
    }

    fn handshake(&mut self) -> io::Result<()> {
        let config = self.tls.clone().expect("a script with !tls was given an identity");
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut socket = self.wire.socket().try_clone()?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        self.wire = Wire::Tls(Box::new(StreamOwned::new(connection, socket)));
        Ok(())
    }

    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let Some(pause) = self.drip else { return self.wire.stream().write_all(octets) };
        for octet in octets {
            self.wire.stream().write_all(&[*octet])?;
            thread::sleep(pause);
        }
        Ok(())
    }

    fn expect(&mut self, expected: Option<&[u8]>) -> Result<(), String> {
        let line = self.line();
        if expected.is_some_and(|expected| expected != line) {
            return Err(self.transcript.surprise(expected.unwrap_or_default(), &line));
        }
        self.transcript.client(&line);
        Ok(())
    }

    /// The client's next line, or what there is of it when the client closes or falls silent.
    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        let mut octet = [0];
        while !line.ends_with(b"\r\n") {
            match self.wire.stream().read(&mut octet) {
                Ok(1) => line.push(octet[0]),
                _ => break,
            }
        }
        line
    }

    /// Stays, and says nothing, until the client has gone; all that it may still say is goodbye.
    fn silence(&mut self) -> Result<(), String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.wire.stream().read(&mut buffer) {
            heard.extend_from_slice(&buffer[..count]);
        }
        if !matches!(heard.as_slice(), b"" | b"QUIT\r\n") {
            return Err(self.transcript.surprise(b"(nothing more)", &heard));
        }
        Ok(())
    }

    /// Says that no more comes and lets the client finish reading: closing with unread input would reset the
    /// connection and take away what the client has not read yet.
    fn close(&mut self) -> Result<(), String> {
        let _ = self.wire.socket().shutdown(Shutdown::Write);
        self.silence()
    }
}
