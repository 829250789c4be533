//! The steps of a commit, in their order: strace(1) tells which call ended before which one began.

use std::fs;
use std::process::Command;

use crate::faults::can_trace;
use crate::sandbox::{Account, Destination, Sandbox, mails, server};

/// A system call, from the line of the log where it begins to the one where it ends.
#[derive(Debug)]
struct Call {
    text: String,
    begin: usize,
    end: usize,
}

impl Call {
    fn is(&self, names: &[&str], words: &[&str]) -> bool {
        let is_name = |name: &&str| self.text.strip_prefix(*name).is_some_and(|rest| rest.starts_with('('));
        names.iter().any(is_name) && words.iter().any(|word| self.text.contains(word))
    }
}

fn calls_in(log: &str) -> Vec<Call> {
    let lines: Vec<(&str, &str)> =
        log.lines().filter_map(|line| line.split_once(' ')).map(|(thread, text)| (thread, text.trim_start())).collect();
    let begun = lines.iter().enumerate().filter(|(_, (_, text))| !text.starts_with("<..."));
    let calls = begun.map(|(begin, (thread, text))| {
        let is_resumed = |(other, text): &(&str, &str)| other == thread && text.starts_with("<...");
        let resumed = || lines[begin..].iter().position(is_resumed).map_or(usize::MAX, |after| begin + after);
        let end = if text.ends_with("<unfinished ...>") { resumed() } else { begin };
        Call { text: (*text).to_owned(), begin, end }
    });
    calls.collect()
}

const WRITES: [&str; 4] = ["write", "writev", "pwrite64", "pwritev"];
const SYNCS: [&str; 3] = ["fsync", "fdatasync", "syncfs"];

/// The calls of a run that delivers a message and deletes it on the server.
fn calls_of_a_commit(destination: Destination) -> Option<Vec<Call>> {
    calls_of(|account, sandbox| account.set("keep", false).set("deliver", destination.deliver(sandbox)))
}

/// The calls of a run of an account with one new message.
fn calls_of(account: impl FnOnce(Account, &Sandbox) -> Account) -> Option<Vec<Call>> {
    if !can_trace() {
        return None;
    }
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    sandbox.config(&account(Account::on(server.port), &sandbox).to_string());
    let log = sandbox.path("strace.log");
    let mut strace = Command::new("strace");
    sandbox.adopt(&mut strace);
    strace.args(["-f", "-qq", "-y", "-s", "4096", "-o"]).arg(&log).args([env!("CARGO_BIN_EXE_popfetch"), "-q"]);
    sandbox.run(strace).exits(0).silently();
    Some(calls_in(&fs::read_to_string(log).expect("strace writes its log")))
}

/// What has to end, and what must not begin before that.
struct Order<'c> {
    calls: &'c [Call],
    done: usize,
}

impl Order<'_> {
    /// Nothing of this kind begins before the last step has ended; its own end is that of its first call.
    #[track_caller]
    fn then(&mut self, step: &str, is_step: impl Fn(&Call) -> bool) {
        let first = self.calls.iter().find(|call| is_step(call)).unwrap_or_else(|| panic!("{step}: never"));
        assert!(first.begin > self.done, "{step} before the step above it ended: {first:?}");
        self.done = first.end;
    }

    /// A call of this kind follows, whether or not there were others before.
    #[track_caller]
    fn then_again(&mut self, step: &str, is_step: impl Fn(&Call) -> bool) {
        let next = self.calls.iter().find(|call| call.begin > self.done && is_step(call));
        self.done = next.unwrap_or_else(|| panic!("{step}: not after line {}", self.done)).end;
    }
}

fn syncs(words: &'static [&'static str]) -> impl Fn(&Call) -> bool {
    move |call| call.is(&SYNCS, words)
}

fn notes(word: &'static str) -> impl Fn(&Call) -> bool {
    move |call| call.is(&WRITES, &[word]) && call.text.contains(".jsonl")
}

fn says(word: &'static str) -> impl Fn(&Call) -> bool {
    move |call| call.is(&["sendto", "write"], &[word]) && !call.text.contains(".jsonl")
}

#[test]
fn a_message_takes_every_step_to_a_maildir_and_waits_for_the_disk_between_them() {
    let Some(calls) = calls_of_a_commit(Destination::Maildir) else { return };
    let mut order = Order { calls: &calls, done: 0 };
    order.then("written below tmp", |call| call.is(&WRITES, &["/Mail/tmp"]));
    order.then("synced", syncs(&["/Mail/tmp"]));
    order.then("intended", notes("{\\\"intend\\\""));
    order.then_again("intended durably", syncs(&[".jsonl"]));
    order.then("published", |call| call.is(&["rename", "renameat", "renameat2", "link", "linkat"], &["/Mail/new"]));
    order.then_again("published durably", syncs(&["/Mail/new"]));
    order.then("recorded", notes("{\\\"published\\\""));
    order.then_again("recorded durably", syncs(&[".jsonl"]));
    order.then("deleted", says("DELE 1\\r\\n"));
    order.then("noted", notes("{\\\"deleted\\\""));
}

#[test]
fn a_message_takes_every_step_to_an_mbox_and_waits_for_the_disk_between_them() {
    let Some(calls) = calls_of_a_commit(Destination::Mbox) else { return };
    let mut order = Order { calls: &calls, done: 0 };
    order.then("written to a spool file", |call| call.is(&WRITES, &[".spool"]));
    order.then("synced", syncs(&[".spool"]));
    order.then("intended", notes("{\\\"intend\\\""));
    order.then_again("intended durably", syncs(&[".jsonl"]));
    order.then("published", |call| call.is(&[&WRITES[..], &["copy_file_range", "sendfile"]].concat(), &["/mbox>"]));
    order.then_again("published durably", syncs(&["/mbox>"]));
    order.then("recorded", notes("{\\\"published\\\""));
    order.then_again("recorded durably", syncs(&[".jsonl"]));
    order.then("deleted", says("DELE 1\\r\\n"));
    order.then("noted", notes("{\\\"deleted\\\""));
}

#[test]
fn a_message_takes_every_step_to_an_mda_and_is_recorded_before_it_is_deleted() {
    let Some(calls) = calls_of_a_commit(Destination::Mda) else { return };
    let mut order = Order { calls: &calls, done: 0 };
    order.then("written to a spool file", |call| call.is(&WRITES, &[".spool"]));
    order.then("intended", notes("{\\\"intend\\\""));
    order.then("published", |call| call.is(&["execve"], &["/mda.sh"]));
    order.then("recorded", notes("{\\\"published\\\""));
    order.then_again("recorded durably", syncs(&[".jsonl"]));
    order.then("deleted", says("DELE 1\\r\\n"));
    order.then("noted", notes("{\\\"deleted\\\""));
}

#[test]
fn what_a_rule_deletes_unread_is_noted_durably_before() {
    let rules = "[{ subject = \"message\", delete = true }]";
    let calls = calls_of(|account, _| account.set("rules", rules).set("allow_delete_unread", true));
    let Some(calls) = calls else { return };
    let mut order = Order { calls: &calls, done: 0 };
    order.then("looked at", says("TOP 1 0\\r\\n"));
    order.then("noted", notes("\\\"discarded\\\":true"));
    order.then_again("noted durably", syncs(&[".jsonl"]));
    order.then("deleted", says("DELE 1\\r\\n"));
    order.then("noted", notes("{\\\"deleted\\\""));
}

#[test]
fn a_step_that_begins_too_early_is_found() {
    let log = "1 write(3</m/tmp/x>, \"a\") = 1\n1 fsync(3</m/tmp/x> <unfinished ...>\n2 write(4</s/x.jsonl>, \"b\") = 1\n\
               1 <... fsync resumed>) = 0\n";
    let calls = calls_in(log);
    assert_eq!(calls.iter().map(|call| (call.begin, call.end)).collect::<Vec<_>>(), [(0, 0), (1, 3), (2, 2)]);
    let early = std::panic::catch_unwind(|| {
        let mut order = Order { calls: &calls_in(log), done: 0 };
        order.then("synced", syncs(&["/m/tmp"]));
        order.then("intended", notes("b"));
    });
    assert!(early.is_err());
}
