//! A very large message in a small memory, whatever the destination.
//!
//! The server makes the message up as it goes, so that the test itself does not need the memory either.
//! `POPFETCH_TEST_MIB` makes it as large as the disk allows.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::sandbox::{Account, Destination, Sandbox, status};
use crate::server::{Mta, Responder, Web};

/// What a run may need at most, in KiB: program, buffers and stacks.
const BOUND: u64 = 20 << 10;

/// A megabyte of text, one line of it in need of stuffing.
fn megabyte() -> Vec<u8> {
    let mut text = b"..stuffed\r\n".to_vec();
    while text.len() + 64 <= 1 << 20 {
        text.extend_from_slice(&[b'x'; 62]);
        text.extend_from_slice(b"\r\n");
    }
    text
}

fn server(megabytes: usize) -> Responder {
    let megabyte = megabyte();
    Responder::start(move |command, out| {
        match command {
            "STAT" => out.write_all(b"+OK 1 1\r\n")?,
            "UIDL" => out.write_all(b"+OK\r\n1 large\r\n.\r\n")?,
            "LIST" => write!(out, "+OK\r\n1 {}\r\n.\r\n", megabytes * megabyte.len())?,
            "RETR 1" => large(megabytes, &megabyte, out)?,
            _ => return Ok(false),
        }
        Ok(true)
    })
}

fn large(megabytes: usize, megabyte: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"+OK\r\nSubject: large\r\n\r\n")?;
    (0..megabytes).try_for_each(|_| out.write_all(megabyte))?;
    out.write_all(b".\r\n")
}

fn megabytes() -> usize {
    std::env::var("POPFETCH_TEST_MIB").map_or(64, |mib| mib.parse().expect("a number of megabytes"))
}

fn fetch_in_a_small_memory(destination: Destination) {
    let megabytes = megabytes();
    let server = server(megabytes);
    let sandbox = Sandbox::new();
    let deliver = match destination {
        Destination::Mda => sandbox.mda_script("wc -c >~/counted"),
        other => other.deliver(&sandbox),
    };
    let peak = peak_of(&sandbox, &Account::on(server.port).set("deliver", deliver).set("timeout", 60));
    assert!(peak <= BOUND, "{destination:?}: {peak} KiB for a message of {megabytes} MiB");
    assert_eq!(octets(destination, &sandbox), octets_at_home(megabytes), "{destination:?}");
}

/// The most memory that a run of this account needs, in KiB.
fn peak_of(sandbox: &Sandbox, account: &Account) -> u64 {
    peak_with(sandbox, &account.to_string())
}

fn peak_with(sandbox: &Sandbox, config: &str) -> u64 {
    sandbox.config(config);
    let mut running = sandbox.start(&mut sandbox.command(["-q"]));
    let mut peak = 0;
    running.watch(|pid| peak = peak.max(status(pid, "VmHWM").unwrap_or(0)));
    running.finish().exits(0).silently();
    peak
}

/// Each CRLF became LF, and each stuffed dot is gone.
fn octets_at_home(megabytes: usize) -> u64 {
    let megabyte = megabyte();
    let lines = megabyte.iter().filter(|octet| **octet == b'\n').count();
    (b"Subject: large\n\n".len() + megabytes * (megabyte.len() - lines - 1)) as u64
}

fn octets(destination: Destination, sandbox: &Sandbox) -> u64 {
    let length = |path: &Path| fs::metadata(path).expect("it was delivered").len();
    match destination {
        Destination::Maildir => length(&sandbox.maildir().files()[0]),
        Destination::Mda => {
            fs::read_to_string(sandbox.path("counted")).expect("it was counted").trim().parse().expect("a number")
        }
        Destination::Mbox => {
            let from_line = "From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n\n".len() as u64;
            length(&sandbox.path("mbox")) - from_line
        }
    }
}

#[test]
fn a_large_message_goes_to_a_maildir_in_a_small_memory() {
    fetch_in_a_small_memory(Destination::Maildir);
}

#[test]
fn a_large_message_goes_to_an_mbox_in_a_small_memory() {
    fetch_in_a_small_memory(Destination::Mbox);
}

#[test]
fn a_large_message_goes_to_an_mda_in_a_small_memory() {
    fetch_in_a_small_memory(Destination::Mda);
}

#[test]
fn a_large_message_goes_to_a_server_in_a_small_memory() {
    let megabytes = megabytes();
    for extensions in [&["PIPELINING"][..], &["PIPELINING", "CHUNKING", "ENHANCEDSTATUSCODES"]] {
        let server = server(megabytes);
        let mta = Mta::lmtp().extensions(extensions).start();
        let deliver = format!("\"lmtp://127.0.0.1:{}\"", mta.port);
        let account = Account::on(server.port).set("deliver", deliver).set("timeout", 60);
        let peak = peak_of(&Sandbox::new(), &account);
        assert!(peak <= BOUND, "{extensions:?}: {peak} KiB for a message of {megabytes} MiB");
        let sent = b"Subject: large\r\n\r\n".len() + megabytes * (megabyte().len() - 1);
        assert_eq!(mta.taken()[0].octets.len(), sent, "{extensions:?}");
    }
}

#[test]
fn a_large_message_goes_to_a_web_server_in_a_small_memory() {
    let megabytes = megabytes();
    for body in ["raw", "form-base64:email_encoded"] {
        let (server, web) = (server(megabytes), Web::builder().start());
        let account = Account::on(server.port).set("deliver", "\"there\"").set("timeout", 60);
        let sandbox = Sandbox::new();
        let target = format!("[targets.there]\ndeliver = \"{}\"\nbody = \"{body}\"\n", web.url());
        let peak = peak_with(&sandbox, &format!("{target}{account}"));
        assert!(peak <= BOUND, "{body}: {peak} KiB for a message of {megabytes} MiB");
        let sent = b"Subject: large\r\n\r\n".len() + megabytes * (megabyte().len() - 1);
        assert_eq!(web.taken()[0].message().len(), sent, "{body}");
    }
}
