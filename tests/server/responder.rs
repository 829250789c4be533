//! A server that makes up its replies as it goes: for what is too large to be written down or stored.
//!
//! It greets, logs everybody in and knows no messages of its own; a function writes the replies that matter.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Where a reply goes.
pub type Out = BufWriter<TcpStream>;

/// Writes the reply to a command; `false`: the ordinary one will do.
pub type Answer = dyn Fn(&str, &mut Out) -> io::Result<bool> + Send + Sync;

/// Serves on 127.0.0.1 until it is dropped.
pub struct Responder {
    pub port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    is_stopping: Arc<AtomicBool>,
    accepter: Option<JoinHandle<()>>,
}

impl Responder {
    pub fn start(answer: impl Fn(&str, &mut Out) -> io::Result<bool> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (heard, is_stopping) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)));
        let (log, stop, answer) = (heard.clone(), is_stopping.clone(), Arc::new(answer));
        let accepter = thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (log, answer) = (log.clone(), answer.clone());
                // A client that goes in the middle of a reply is the test's subject, not a surprise.
                thread::spawn(move || drop(converse(&socket, &log, &*answer)));
            }
        });
        Responder { port, heard, is_stopping, accepter: Some(accepter) }
    }

    /// Every command so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panics while noting a command").clone()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        // Wakes the accepter out of its wait.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.accepter.take().map(JoinHandle::join);
    }
}

fn converse(socket: &TcpStream, heard: &Mutex<Vec<String>>, answer: &Answer) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut input = BufReader::new(socket.try_clone()?);
    let mut out = BufWriter::with_capacity(64 << 10, socket.try_clone()?);
    out.write_all(b"+OK ready\r\n")?;
    let mut line = String::new();
    loop {
        out.flush()?;
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let command = line.trim_end();
        heard.lock().expect("nobody panics while noting a command").push(command.into());
        if !answer(command, &mut out)? {
            ordinary(command, &mut out)?;
        }
        if command == "QUIT" {
            out.flush()?;
            return socket.shutdown(Shutdown::Write);
        }
    }
}

fn ordinary(command: &str, out: &mut Out) -> io::Result<()> {
    out.write_all(match command {
        "CAPA" => b"+OK\r\nUIDL\r\nPIPELINING\r\n.\r\n",
        _ => b"+OK\r\n",
    })
}
