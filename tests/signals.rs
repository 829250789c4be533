//! SIGINT, SIGTERM and SIGHUP in the middle of a transfer: gone soon, what is complete is kept, nothing is lost.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::sandbox::{Account, Destination, Sandbox, USER, all_at_home, mails, names, server, wait_until};
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
    let running = sandbox.start(&mut sandbox.listening(["-q"]));
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
        let running = sandbox.start(&mut sandbox.listening(["-q"]));
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
    let running = sandbox.start(&mut sandbox.listening(["-q"]));
    wait_until(|| sandbox.path("asked").exists());
    let signalled = Instant::now();
    running.signal(Signal::TERM);
    running.finish().exits(143);
    assert!(signalled.elapsed() < Duration::from_secs(3), "it took {:?}", signalled.elapsed());
}

#[test]
fn a_signal_ends_the_wait_for_the_lock_of_an_mbox() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("deliver", "\"mbox:~/mbox\""));
    let lock = sandbox.file("mbox.lock", format!("{}\n", std::process::id()));
    let running = sandbox.start(&mut sandbox.listening(["-q"]));
    wait_until(|| server.count("STAT") > 0);
    thread::sleep(Duration::from_millis(300));
    running.signal(Signal::TERM);
    running.finish().exits(143);
    std::fs::remove_file(lock).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.mbox().len(), 2);
}

#[test]
fn a_signal_ends_an_mda_and_what_it_has_not_seen_stays() {
    for keep in [true, false] {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::new();
        let deliver = sandbox.mda_script("echo >>~/asked; [ -e ~/quick ] || exec sleep 60");
        sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", keep).to_string());
        let running = sandbox.start(&mut sandbox.listening(["-q"]));
        wait_until(|| sandbox.path("asked").exists() && server.count("RETR") == 3);
        thread::sleep(Duration::from_millis(100));
        running.signal(Signal::INT);
        running.finish().exits(130);
        assert_eq!((server.unique_ids(USER).len(), server.count("DELE")), (3, 0));
        sandbox.file("quick", "");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(std::fs::read(sandbox.path("asked")).unwrap().len(), 4, "one was interrupted, three went through");
    }
}

#[test]
fn a_signal_to_every_program_of_a_service_ends_the_run() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let deliver = sandbox.mda_script("echo $$ >~/new; mv ~/new ~/asked; exec sleep 60");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
    let running = sandbox.start(&mut sandbox.listening(["-q"]));
    wait_until(|| sandbox.path("asked").exists());
    running.signal(Signal::TERM);
    let mda = std::fs::read_to_string(sandbox.path("asked")).unwrap().trim().parse().unwrap();
    // It may have been ended by popfetch already.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(mda).unwrap(), Signal::TERM);
    running.finish().exits(143).says(&["stopped by signal 15 before the MDA ended"]);
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let stall = Fault { moment: Moment::LinesSent(within_the_sixth_message()), misdeed: Misdeed::Stall };
    for signal in [Signal::HUP, Signal::INT] {
        let server = server(mails(MESSAGES)).faults([stall]).start();
        let sandbox = Sandbox::with(Account::on(server.port));
        let mut command = Command::new("env");
        sandbox.adopt(&mut command);
        command.args(["--default-signal=TERM", "--ignore-signal=HUP,INT", env!("CARGO_BIN_EXE_popfetch"), "-q"]);
        let mut running = sandbox.start(&mut command);
        wait_until(|| server.count("RETR") > 0);
        running.signal(signal);
        thread::sleep(Duration::from_millis(300));
        assert!(running.child.try_wait().unwrap().is_none(), "{signal:?} was to be ignored");
        running.signal(Signal::TERM);
        running.finish().exits(143);
    }
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::new();
    // This one does not mind the end of popfetch, nor the second within which a stopped MDA has to end.
    let deliver = sandbox.mda_script("trap '' TERM; echo >~/asked; [ -e ~/quick ] || exec sleep 3");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", false).to_string());
    let running = sandbox.start(&mut sandbox.listening(["-q"]));
    wait_until(|| sandbox.path("asked").exists());
    running.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(100));
    running.signal(Signal::INT);
    // 143 when the machine was so slow that the first signal was heeded by then.
    assert!(matches!(running.finish().code(), 130 | 143));
    assert_eq!(server.unique_ids(USER).len(), 3);
    sandbox.file("quick", "");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
}

/// `POPFETCH_SIGNALS=N` for more of them.
#[test]
fn signals_at_any_moment_keep_what_is_committed_and_leave_no_litter() {
    let count = std::env::var("POPFETCH_SIGNALS").ok().and_then(|count| count.parse().ok()).unwrap_or(48);
    let mut slowest = Duration::ZERO;
    let (mut stopped, mut done) = (0, 0);
    for number in 0..count {
        let server = server(mails(40)).pace(Duration::from_millis(1)).start();
        let sandbox = Sandbox::new();
        let destination = Destination::ALL[number % 3];
        let deliver = destination.deliver(&sandbox);
        sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", false).to_string());
        let (signal, code) = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)][number / 3 % 3];
        let running = sandbox.start(&mut sandbox.listening(["-q"]));
        // From before the first line of code to after the last one.
        wait_until(|| server.connections() > 0);
        thread::sleep(Duration::from_micros(number as u64 * 7919 % 120_000));
        let signalled = Instant::now();
        running.signal(signal);
        let run = running.finish();
        slowest = slowest.max(signalled.elapsed());
        let when = format!("signal {number}, {destination:?}");
        assert!(run.code() == code || run.code() == 0, "{when}: {run:#?}");
        if run.code() == 0 {
            done += 1
        } else {
            stopped += 1
        };
        assert_eq!(names(&sandbox.state()).len(), 2, "{when}: litter in {:?}", names(&sandbox.state()));
        assert_eq!(sandbox.maildir().litter(), [""; 0], "{when}");
        assert!(!sandbox.path("mbox.lock").exists(), "{when}");
        let (home, left) = (destination.messages(&sandbox).len(), server.unique_ids(USER).len());
        assert!(home + left >= 40, "{when}: {home} at home, {left} on the server");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(server.unique_ids(USER).is_empty(), "{when}");
        let mut all = destination.messages(&sandbox);
        // An MDA that is stopped in the middle of its work may have delivered.
        if destination == Destination::Mda {
            all.dedup();
        }
        assert!(all == all_at_home(&mails(40)), "{when}: each message once");
    }
    println!("{stopped} stopped, {done} done before; the slowest took {slowest:?}");
    // Far below the deadline of ten seconds that ends a wait which no signal does, and no matter how busy the machine is.
    assert!(slowest < Duration::from_secs(6), "{slowest:?}");
}
