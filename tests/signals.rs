//! SIGINT, SIGTERM and SIGHUP in the middle of a transfer: gone soon, what is complete is kept, nothing is lost.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::sandbox::{Account, Destination, Sandbox, USER, all_at_home, mails, server, wait_until};
use crate::server::{Fault, Misdeed, Moment};

const MESSAGES: usize = 10;

/// The lines of a whole session of an account like the one that is going to be disturbed.
fn lines_of_a_session() -> u64 {
    let server = server(mails(MESSAGES)).start();
    Sandbox::with(Account::on(server.port)).popfetch(["-q"]).exits(0);
    server.traffic(1).lines_sent
}

/// The line at which the body of the sixth message has begun and not ended.
fn within_the_sixth_message() -> u64 {
    // Ten messages of eight lines each, status line and final dot included; behind them `+OK bye`.
    lines_of_a_session() - 1 - 5 * 8 + 3
}

fn disturb(signal: Signal, code: i32, destination: Destination) {
    let silence = within_the_sixth_message();
    let fault = Fault { moment: Moment::LinesSent(silence), misdeed: Misdeed::Stall };
    let server = server(mails(MESSAGES)).faults([fault]).start();
    let sandbox = Sandbox::new();
    let deliver = destination.deliver(&sandbox);
    sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| server.lines_sent() >= silence);
    thread::sleep(Duration::from_millis(300));
    let signalled = Instant::now();
    running.signal(signal);
    running.finish().exits(code);
    assert!(signalled.elapsed() < Duration::from_secs(2), "it took {:?}", signalled.elapsed());
    assert_eq!(destination.messages(&sandbox).len(), 5, "what was complete is kept");
    assert_eq!(sandbox.maildir().litter(), [""; 0], "what was not complete is gone");
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
    assert!(destination.messages(&sandbox) == all_at_home(&mails(MESSAGES)), "each message once");
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn sigterm_in_a_transfer_keeps_what_is_complete() {
    disturb(Signal::TERM, 143, Destination::Maildir);
}

#[test]
fn sigint_in_a_transfer_keeps_what_is_complete() {
    disturb(Signal::INT, 130, Destination::Mbox);
}

#[test]
fn sighup_in_a_transfer_keeps_what_is_complete() {
    disturb(Signal::HUP, 129, Destination::Mda);
}

#[test]
fn a_signal_ends_every_kind_of_wait() {
    // Before the greeting, in the login, in the listing.
    for moment in [Moment::LinesSent(0), Moment::BeforeCommand(2), Moment::BeforeCommand(3), Moment::BeforeCommand(4)] {
        let server = server(mails(1)).faults([Fault { moment, misdeed: Misdeed::Stall }]).start();
        let sandbox = Sandbox::with(Account::on(server.port));
        let running = sandbox.start(&mut sandbox.command(["-q"]));
        wait_until(|| server.connections() > 0);
        thread::sleep(Duration::from_millis(150));
        let signalled = Instant::now();
        running.signal(Signal::TERM);
        running.finish().exits(143);
        assert!(signalled.elapsed() < Duration::from_secs(2), "{moment:?} took {:?}", signalled.elapsed());
    }
}

#[test]
fn a_signal_ends_a_password_command_as_well() {
    let server = server(mails(1)).start();
    let command = "[\"/bin/sh\", \"-c\", \"echo >~/asked; exec sleep 60\"]";
    let sandbox = Sandbox::with(Account::on(server.port).without("password").set("password_command", command));
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| sandbox.path("asked").exists());
    let signalled = Instant::now();
    running.signal(Signal::TERM);
    running.finish().exits(143);
    assert!(signalled.elapsed() < Duration::from_secs(3), "it took {:?}", signalled.elapsed());
}
