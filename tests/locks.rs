//! One run an account: a second one leaves at once and says who is at work.

use std::time::Duration;

use rustix::process::Signal;

use crate::sandbox::{Account, Running, Sandbox, mails, server, wait_until};
use crate::server::{Fault, Maildrop, Misdeed, Moment};

/// A server whose first connection stalls after the login.
fn stalling() -> Maildrop {
    server(mails(2)).faults([Fault { moment: Moment::BeforeCommand(3), misdeed: Misdeed::Stall }]).start()
}

/// Starts a run and waits until it is logged in, and so holds the account.
fn hold<'a>(sandbox: &'a Sandbox, server: &Maildrop) -> Running<'a> {
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| server.count("AUTH") > 0);
    running
}

#[test]
fn a_second_run_names_the_process_that_holds_the_account() {
    let server = stalling();
    let sandbox = Sandbox::with(Account::on(server.port));
    let first = hold(&sandbox, &server);
    let second = sandbox.popfetch(["-q"]).exits(75).says(&["work", &first.pid().to_string()]);
    assert!(second.elapsed < Duration::from_secs(2), "{second:#?}");
    assert_eq!(server.connections(), 1, "the second run does not connect");
    first.signal(Signal::KILL);
    first.finish();
}

#[test]
fn the_lock_ends_with_the_process_however_it_ended() {
    let server = stalling();
    let sandbox = Sandbox::with(Account::on(server.port));
    let first = hold(&sandbox, &server);
    first.signal(Signal::KILL);
    first.finish().exits(137);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 2);
}

#[test]
fn another_account_is_not_held() {
    let (busy, free) = (stalling(), server(mails(2)).start());
    let sandbox = Sandbox::with(Account::on(busy.port));
    let first = hold(&sandbox, &busy);
    sandbox.config(&Account::on(free.port).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    first.signal(Signal::KILL);
    first.finish();
}
