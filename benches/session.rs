//! The whole client over a line with a delay: `cargo bench --bench session`
//!
//! Prints wall times, commands, flights, and how many round trips the wall time is worth; then what an MDA costs beside
//! the same number of bare process starts. For people: what must not change is counted in `tests/counts.rs`.

// The tests' own server: they use more of it.
#[allow(dead_code)]
#[path = "../tests/server/maildrop.rs"]
mod maildrop;

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use maildrop::{Builder, Mail, Maildrop};

const USER: &str = "user";
const PASSWORD: &str = "password";

/// As between two continents.
const RTT: Duration = Duration::from_millis(100);

fn main() -> io::Result<()> {
    println!("{:<34} {:>9} {:>9} {:>8} {:>12}", "a line of 100 ms", "wall", "commands", "flights", "round trips");
    session("500 new, keep", server(500), "keep = true", 0)?;
    session("500 new, delete", server(500), "keep = false", 0)?;
    session("500 known, nothing new", server(500), "keep = true", 1)?;
    session("20 new, lock-step", server(20).without_pipelining(), "keep = true", 0)?;
    mda(2000)
}

fn server(messages: usize) -> Builder {
    Maildrop::builder().user(USER, PASSWORD, (0..messages).map(mail))
}

/// About 4 KB.
fn mail(number: usize) -> Mail {
    let line = format!("{:>70}\r\n", format!("line of message {number}"));
    Mail::new(format!("id{number}"), format!("Subject: message {number}\r\n\r\n{}", line.repeat(56)))
}

/// Fetches over the slow line, after some runs over a fast one, and prints what it took.
fn session(what: &str, server: Builder, policy: &str, runs_before: usize) -> io::Result<()> {
    let (home, server) = (tempfile::tempdir()?, server.start());
    let line = slow_line(server.port)?;
    let maildir = format!("maildir:{}", home.path().join("Mail").display());
    // The ledger's name has the port in it, so every run goes over the same line.
    (0..runs_before).try_for_each(|_| fetch(home.path(), line, policy, &maildir).map(drop))?;
    let wall = fetch(home.path(), line, policy, &maildir)?;
    let connection = server.connections();
    let (commands, flights) = (server.commands(connection).len(), server.traffic(connection).flights);
    let round_trips = wall.as_secs_f64() / RTT.as_secs_f64();
    println!("{what:<34} {:>7.0} ms {commands:>9} {flights:>8} {round_trips:>12.1}", milliseconds(wall));
    Ok(())
}

/// One run of popfetch; how long it took.
fn fetch(home: &Path, port: u16, policy: &str, deliver: &str) -> io::Result<Duration> {
    let config = home.join("config.toml");
    let account = format!(
        "[accounts.bench]\nserver = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nuser = {USER:?}\n\
         password = {PASSWORD:?}\ndeliver = {deliver:?}\n{policy}\n"
    );
    fs::write(&config, account)?;
    // A password that others can read is refused.
    fs::set_permissions(&config, Permissions::from_mode(0o600))?;
    let mut popfetch = Command::new(env!("CARGO_BIN_EXE_popfetch"));
    popfetch.arg("--config").arg(&config).arg("--state-dir").arg(home.join("state"));
    let begun = Instant::now();
    let status = popfetch.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    assert!(status.success(), "popfetch ended with {status}");
    Ok(begun.elapsed())
}

/// An MDA that does nothing, beside as many starts of the same program with the same input.
fn mda(messages: usize) -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let message = home.path().join("message");
    fs::write(&message, &mail(0).octets)?;
    println!("\n{messages} messages into /bin/cat");
    for _ in 0..3 {
        let home = tempfile::tempdir()?;
        let bare = starts(messages, &message)?;
        let server = server(messages).start();
        let whole = fetch(home.path(), server.port, "keep = true", "mda:/bin/cat")?;
        let ratio = whole.as_secs_f64() / bare.as_secs_f64();
        println!("bare {:>6.0} ms, popfetch {:>6.0} ms: {ratio:.2} x", milliseconds(bare), milliseconds(whole));
    }
    Ok(())
}

fn starts(count: usize, input: &Path) -> io::Result<Duration> {
    let begun = Instant::now();
    for _ in 0..count {
        let mut cat = Command::new("/bin/cat");
        cat.stdin(File::open(input)?).stdout(Stdio::null()).spawn()?.wait()?;
    }
    Ok(begun.elapsed())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A port of 127.0.0.1 behind which the server is a round trip away: what the client sends arrives that much later, and
/// all that is on its way at a time arrives in the same distance.
fn slow_line(server: u16) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || -> io::Result<()> {
        for client in listener.incoming() {
            let client = client?;
            thread::sleep(RTT);
            carry(client, TcpStream::connect(("127.0.0.1", server))?)?;
        }
        Ok(())
    });
    Ok(port)
}

fn carry(mut client: TcpStream, server: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || io::copy(&mut from_server, &mut to_client));
    let (sender, receiver) = channel();
    thread::spawn(move || deliver_late(server, &receiver));
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(octets @ 1..) = client.read(&mut buffer) {
            // A line that nobody reads from any more is over.
            let _ = sender.send((Instant::now() + RTT, buffer[..octets].to_vec()));
        }
    });
    Ok(())
}

fn deliver_late(mut server: TcpStream, octets: &Receiver<(Instant, Vec<u8>)>) {
    for (due, octets) in octets {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if server.write_all(&octets).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}
