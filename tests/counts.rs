//! What a run costs, counted and not timed: flights, which on a long line are round trips, system calls and flushes.
//!
//! Through the binary, from the server's and the kernel's point of view. Counts are the same on a slow machine, so
//! they hold the window, the batches and the reading of the ledger to what they were built for.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use crate::faults::{Scenario, can_trace, kill_before};
use crate::sandbox::{Account, Destination, Sandbox, USER, left_out, mails, message, names, server};
use crate::server::{Builder, Mail, Maildrop, ScriptServer};

// Flights: CAPA, AUTH and the survey (STAT, UIDL and LIST) in front of all, QUIT behind

/// Fetches once and tells in how many flights.
fn flights(server: &Maildrop, sandbox: &Sandbox) -> u64 {
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.traffic(server.connections()).flights
}

fn first_flights(builder: Builder, keep: bool) -> u64 {
    let server = builder.start();
    flights(&server, &Sandbox::with(Account::on(server.port).set("keep", keep)))
}

#[test]
fn a_run_that_finds_nothing_new_takes_four_flights() {
    let server = server(mails(20)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    flights(&server, &sandbox);
    assert_eq!(flights(&server, &sandbox), 4);
    assert_eq!(server.commands(2).len(), 6, "{:#?}", server.commands(2));
}

#[test]
fn five_hundred_new_messages_are_one_window_and_one_refill() {
    // QUIT rides with the last RETR.
    assert_eq!(first_flights(server(mails(500)), true), 3 + 2);
}

#[test]
fn five_hundred_deletions_are_two_flights_and_quit_rides_with_the_last() {
    assert_eq!(first_flights(server(mails(500)), false), 3 + 2 + 2);
}

#[test]
fn a_few_messages_are_retrieved_in_one_flight_and_deleted_in_another() {
    assert_eq!(first_flights(server(mails(20)), true), 3 + 1);
    assert_eq!(first_flights(server(mails(20)), false), 3 + 1 + 1);
}

#[test]
fn lock_step_is_a_flight_for_each_command() {
    // CAPA once more behind the login, and STAT, UIDL and LIST one by one.
    assert_eq!(first_flights(server(mails(30)).without_pipelining(), true), 6 + 30 + 1);
    // NOOP, whose reply shows that the last message is whole.
    assert_eq!(first_flights(server(mails(30)).without_pipelining(), false), 6 + 30 + 1 + 30 + 1);
}

#[test]
fn the_sizes_of_a_large_maildrop_are_asked_for_in_one_flight() {
    let server = server(mails(1200)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    flights(&server, &sandbox);
    (0..10).for_each(|number| server.arrive(USER, Mail::new(format!("new{number}"), message(number))));
    assert_eq!(flights(&server, &sandbox), 3 + 2);
    let lists: Vec<_> = server.commands(2).into_iter().filter(|line| line.starts_with("LIST")).collect();
    assert_eq!((lists.len(), lists[0].as_str()), (10, "LIST 1201"));
}

#[test]
fn the_window_is_refilled_before_it_runs_dry() {
    // The script answers the second half of the window only after the refill has come; a client that waits for all
    // of it would wait for ever.
    let mut script = String::from("S: +OK ready\nC: CAPA\nS: +OK\nS: UIDL\nS: PIPELINING\nS: SASL PLAIN\nS: .\nC: *\n");
    let say = |script: &mut String, words: &str| writeln!(script, "{words}").expect("memory takes it");
    say(&mut script, "S: +OK in\nC: STAT\nC: UIDL\nC: LIST\nS: +OK 500 10500\nS: +OK");
    (1..=500).for_each(|number| say(&mut script, &format!("S: {number} m{number}")));
    say(&mut script, "S: .\nS: +OK");
    (1..=500).for_each(|number| say(&mut script, &format!("S: {number} 21")));
    say(&mut script, "S: .");
    let ask = |script: &mut String, number| say(script, &format!("C: RETR {number}"));
    let answer = |script: &mut String| say(script, "S: +OK\nS: Subject: counted\nS: .");
    (1..=400).for_each(|number| ask(&mut script, number));
    (1..=200).for_each(|_| answer(&mut script));
    (401..=500).for_each(|number| ask(&mut script, number));
    (201..=500).for_each(|_| answer(&mut script));
    say(&mut script, "C: QUIT\nS: +OK bye");
    let server = ScriptServer::tcp(&script);
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.finish();
    assert_eq!(sandbox.maildir().messages().len(), 500);
}

// System calls

/// A system call, as strace prints it.
struct Call {
    name: String,
    /// Arguments and result, descriptors with their paths.
    text: String,
}

const FLUSHES: [&str; 3] = ["fsync", "fdatasync", "syncfs"];

/// Whatever changes a file or a folder.
const CHANGES: [&str; 24] = [
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "ftruncate",
    "truncate",
    "fallocate",
    "copy_file_range",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "chmod",
    "fchmod",
    "fsync",
    "fdatasync",
    "syncfs",
    "sync_file_range",
];

/// Runs popfetch under strace; `None`, and said so, where that cannot be done.
fn traced(sandbox: &Sandbox) -> Option<Vec<Call>> {
    let file = sandbox.path("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "0", "-o"]).arg(&file);
    let can_trace = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !can_trace.is_ok_and(|status| status.success()) {
        left_out("the count of system calls", "strace is not there, or may not trace");
        return None;
    }
    sandbox.adopt(&mut strace);
    strace.arg(env!("CARGO_BIN_EXE_popfetch")).arg("-q");
    sandbox.run(strace).exits(0).silently();
    let text = String::from_utf8_lossy(&std::fs::read(&file).expect("strace wrote its file")).into_owned();
    Some(text.lines().filter_map(call).collect())
}

/// `PROCESS NAME(ARGUMENTS) = RESULT`; the second half of a call that was interrupted in print is none.
fn call(line: &str) -> Option<Call> {
    let (_, rest) = line.split_once(' ')?;
    let (name, text) = rest.trim_start().split_once('(')?;
    let is_name = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
    is_name.then(|| Call { name: name.into(), text: text.into() })
}

fn count(calls: &[Call], names: &[&str]) -> usize {
    calls.iter().filter(|call| names.contains(&call.name.as_str())).count()
}

/// System calls and flushes of a first run that finds a thousand small messages.
fn costs_of_a_thousand(deliver: &str) -> Option<(usize, usize)> {
    let server = server(mails(1000)).start();
    let calls = traced(&Sandbox::with(Account::on(server.port).set("deliver", deliver)))?;
    Some((calls.len(), count(&calls, &FLUSHES)))
}

#[track_caller]
fn assert_at_most(what: &str, most: usize, counted: usize) {
    assert!(counted <= most, "a thousand messages cost {counted} {what}, and {most} should do");
}

#[test]
fn a_message_into_a_maildir_costs_few_system_calls_and_shares_its_flushes() {
    // In memory: there syncfs(2) is always trusted, and quick. When it takes a quarter of a second it is given up, and
    // each file is flushed alone; on a busy machine that may happen even there, though not three times.
    let Ok(memory) = tempfile::Builder::new().prefix("popfetch-test-").tempdir_in("/dev/shm") else {
        return left_out("the count of flushes", "there is no file system in memory");
    };
    for attempt in 1..=3 {
        let deliver = format!("\"maildir:{}/{attempt}\"", memory.path().display());
        let Some((calls, flushes)) = costs_of_a_thousand(&deliver) else { return };
        assert_at_most("system calls", 9 * 1000, calls);
        if flushes <= 50 || attempt == 3 {
            return assert_at_most("flushes", 50, flushes);
        }
    }
}

#[test]
fn a_message_into_an_mbox_costs_few_system_calls_and_shares_its_flushes() {
    let Some((calls, flushes)) = costs_of_a_thousand("\"mbox:~/mbox\"") else { return };
    assert_at_most("system calls", 9 * 1000, calls);
    assert_at_most("flushes", 50, flushes);
}

#[test]
fn a_message_for_an_mda_makes_one_file_and_waits_for_one_flush() {
    let server = server(mails(100)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("deliver", "\"mda:/bin/cat\""));
    let Some(calls) = traced(&sandbox) else { return };
    let files = calls.iter().filter(|call| call.text.contains(".spool") && call.text.contains("O_CREAT")).count();
    assert_eq!(files, 100);
    // Its record is durable before the next one is handed over, so that a machine that stops repeats one at most.
    let flushes = count(&calls, &FLUSHES);
    assert!((100..=110).contains(&flushes), "{flushes} flushes");
}

/// How often a run for five messages asks for quick acknowledgements. The server lets it wait for each of them so long.
fn quick_acknowledgements(server: Builder, pace: u64) -> Option<usize> {
    let server = server.pace(Duration::from_millis(pace)).start();
    let calls = traced(&Sandbox::with(Account::on(server.port)))?;
    Some(calls.iter().filter(|call| call.name == "setsockopt" && call.text.contains("TCP_QUICKACK, [1]")).count())
}

#[test]
#[cfg(target_os = "linux")]
fn lock_step_acknowledges_before_each_wait_and_a_pipelined_session_never_does() {
    // On a busy machine a reply may be there before it is waited for; then nothing is asked for, and the server is slower
    // the next time. The greeting, CAPA and the login come before it is known that the session is in lock-step.
    let mut in_lock_step = 0;
    for pace in [200, 500, 1500] {
        let Some(times) = quick_acknowledgements(server(mails(5)).without_pipelining(), pace) else { return };
        in_lock_step = times;
        if times > 0 {
            break;
        }
    }
    assert!((1..=30).contains(&in_lock_step), "{in_lock_step} times");
    assert_eq!(quick_acknowledgements(server(mails(5)), 200), Some(0));
}

#[test]
fn a_run_that_finds_nothing_new_writes_nothing() {
    let server = server(mails(20)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let Some(calls) = traced(&sandbox) else { return };
    let home = sandbox.path("").display().to_string();
    let changes = calls.iter().filter(|call| CHANGES.contains(&call.name.as_str()) && call.text.contains(&home));
    // What fails changes nothing: a folder that is there, a leftover that is not.
    let changes = changes.filter(|call| !call.text.contains("EEXIST") && !call.text.contains("ENOENT"));
    let changes: Vec<String> = changes.map(|call| format!("{}({}", call.name, call.text)).collect();
    assert!(changes.is_empty(), "{changes:#?}");
}

/// What a killed run has recorded may be in memory only: until it is on the disk, the spool alone tells what is in the
/// mbox.
#[test]
fn a_record_is_flushed_before_the_spool_goes_that_it_makes_needless() {
    if !can_trace() {
        return;
    }
    let scenario = Scenario { destination: Destination::Mbox, keep: true };
    let mut seen = 0;
    for call in scenario.calls().iter().filter(|call| call.is_sync() || call.name.starts_with("unlink")) {
        let server = scenario.server();
        let sandbox = scenario.sandbox(server.port);
        kill_before(&sandbox, call);
        let ledger = std::fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap_or_default();
        let has_spool = names(&sandbox.state()).iter().any(|name| name.ends_with(".spool"));
        if !has_spool || !ledger.lines().last().is_some_and(|line| line.contains("published")) {
            continue;
        }
        let Some(calls) = traced(&sandbox) else { return };
        let is_flush = |call: &Call| FLUSHES.contains(&call.name.as_str()) && call.text.contains(".jsonl");
        let is_end = |call: &Call| call.name.starts_with("unlink") && call.text.contains(".spool");
        let (flush, end) = (calls.iter().position(is_flush), calls.iter().position(is_end));
        assert!(flush.is_some() && flush < end, "killed before {call}: flushed at {flush:?}, removed at {end:?}");
        seen += 1;
    }
    assert!(seen > 0, "no kill left a record and its spool");
}
