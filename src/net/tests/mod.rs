//! The line against small servers on loopback: `plain` for connections and deadlines, `encrypted` for TLS.

mod encrypted;
mod plain;

use super::{Error, Stream};
use crate::account::{Route, Tls, TlsMode};
use crate::stop::Stop;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// The deadlines of these tests.
const SHORT: Duration = Duration::from_millis(300);

/// Longer than any deadline here; what ends within it did not wait for the server.
const PATIENCE: Duration = Duration::from_secs(3);

/// Serves one connection on a thread; the port to connect to.
fn serve(script: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || script(listener.accept().unwrap().0));
    port
}

/// In clear, and by no detour.
fn connect(host: &str, port: u16, timeout: Duration, stop: &Stop) -> Result<Stream, Error> {
    super::connect(&Route::default(), host, port, &Tls::new(TlsMode::None), timeout, stop)
}

fn dialled(port: u16) -> Stream {
    connect("127.0.0.1", port, SHORT, &Stop::new().unwrap()).unwrap()
}

/// Does nothing for longer than any deadline.
fn stall() {
    thread::sleep(PATIENCE);
}

fn cause(error: &io::Error) -> String {
    Error::of(error).expect("an error of this room").to_string()
}

/// Requests a stop a little later.
fn stop_soon(stop: &Stop) {
    let stop = stop.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        stop.request(15);
    });
}

/// Runs `action` and demands that it did not sit out the server.
fn promptly<T>(action: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let outcome = action();
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
    outcome
}
