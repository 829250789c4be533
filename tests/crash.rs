//! `kill -9` before every system call that changes something, and files cut off at every octet: the next run carries on,
//! with each message exactly once in a Maildir or an mbox, at least once for an MDA, and no litter.
//!
//! `POPFETCH_CRASHES=N` adds N random runs of up to three kills each; `POPFETCH_SEED` repeats a series.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::faults::{Call, Scenario, calls_of, can_trace, kill_before};
use crate::sandbox::{Account, Destination, Sandbox, USER, all_at_home, mails, names, read, server};
use crate::server::{Maildrop, Mta, Web};

/// Runs once more, to the end, and once to see that nothing is fetched again.
#[track_caller]
fn carry_on(scenario: Scenario, sandbox: &Sandbox, server: &Maildrop, when: &str) {
    let run = sandbox.popfetch(["-q"]);
    assert_eq!((run.code(), run.stderr.as_str()), (0, ""), "{scenario:?}, {when}");
    scenario.assert_done(sandbox, server, when);
    let before = server.count("RETR");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), before, "{scenario:?}, {when}: nothing was new");
}

fn assert_killed_or_done(code: i32, when: &str) {
    // A call that this run did not reach, because threads share the work differently each time, kills nobody.
    assert!(matches!(code, 0 | 137), "{when}: {code}");
}

fn kill_everywhere(destination: Destination, keep: bool) {
    if !can_trace() {
        return;
    }
    let scenario = Scenario { destination, keep };
    let calls = scenario.calls();
    let mut killed = 0;
    for call in &calls {
        let server = scenario.server();
        let sandbox = scenario.sandbox(server.port);
        let when = format!("killed before {call}");
        let code = kill_before(&sandbox, call).code();
        assert_killed_or_done(code, &when);
        killed += usize::from(code == 137);
        scenario.assert_nothing_lost(&sandbox, &server, &when);
        carry_on(scenario, &sandbox, &server, &when);
        let repeated = scenario.destination.messages(&sandbox).len() - Scenario::mails().len();
        assert!(repeated <= 1, "{scenario:?}, {when}: {repeated} messages more than once");
    }
    println!("{scenario:?}: {} calls, {killed} kills", calls.len());
    assert!(killed > 20, "only {killed} of {} kills happened", calls.len());
}

macro_rules! kill_everywhere {
    ($($name:ident: $destination:ident, keep $keep:literal;)*) => {$(
        #[test]
        fn $name() {
            kill_everywhere(Destination::$destination, $keep);
        }
    )*};
}

kill_everywhere! {
    a_maildir_survives_a_kill_before_every_call: Maildir, keep true;
    a_deleting_maildir_survives_a_kill_before_every_call: Maildir, keep false;
    an_mbox_survives_a_kill_before_every_call: Mbox, keep true;
    a_deleting_mbox_survives_a_kill_before_every_call: Mbox, keep false;
    an_mda_survives_a_kill_before_every_call: Mda, keep true;
    a_deleting_mda_survives_a_kill_before_every_call: Mda, keep false;
}

/// True when a run died between intent and record.
fn has_pending_intents(sandbox: &Sandbox, server: &Maildrop) -> bool {
    let ledger = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap_or_default();
    ledger.lines().last().is_some_and(|line| line.starts_with("{\"intend\""))
}

/// The first and the last call of a run before which a kill leaves intents without outcome.
fn calls_that_leave_intents(scenario: Scenario) -> Vec<Call> {
    let leaves_intents = |call: &Call| {
        let server = scenario.server();
        let sandbox = scenario.sandbox(server.port);
        kill_before(&sandbox, call);
        has_pending_intents(&sandbox, &server)
    };
    let found: Vec<Call> = scenario.calls().into_iter().filter(leaves_intents).collect();
    assert!(found.len() >= 2, "{scenario:?}: {found:?}");
    vec![found[0].clone(), found[found.len() - 1].clone()]
}

fn kill_in_recovery(destination: Destination) {
    if !can_trace() {
        return;
    }
    let scenario = Scenario { destination, keep: false };
    for first in calls_that_leave_intents(scenario) {
        let killed = || {
            let server = scenario.server();
            let sandbox = scenario.sandbox(server.port);
            kill_before(&sandbox, &first);
            (server, sandbox)
        };
        let (_server, sandbox) = killed();
        for second in calls_of(&sandbox) {
            let (server, sandbox) = killed();
            let when = format!("killed before {first}, and again before {second}");
            assert_killed_or_done(kill_before(&sandbox, &second).code(), &when);
            scenario.assert_nothing_lost(&sandbox, &server, &when);
            carry_on(scenario, &sandbox, &server, &when);
        }
    }
}

#[test]
fn the_recovery_of_a_maildir_survives_a_kill_before_every_call() {
    kill_in_recovery(Destination::Maildir);
}

#[test]
fn the_recovery_of_an_mbox_survives_a_kill_before_every_call() {
    kill_in_recovery(Destination::Mbox);
}

/// A ledger of messages that are long gone, of which a run gets rid.
pub fn fill_ledger(sandbox: &Sandbox, port: u16) {
    let mut text = format!("{{\"popfetch\":3,\"maildrop\":\"{USER}@127.0.0.1:{port}\"}}\n");
    for number in 0..2000 {
        text += &format!("{{\"delivered\":\"old{number}\",\"at\":1}}\n{{\"gone\":\"old{number}\",\"at\":1}}\n");
    }
    sandbox.file(&format!(".local/state/popfetch/{USER}@127.0.0.1:{port}.jsonl"), text);
}

#[test]
fn a_compaction_survives_a_kill_before_every_call() {
    if !can_trace() {
        return;
    }
    let scenario = Scenario { destination: Destination::Maildir, keep: true };
    let filled = || {
        let server = scenario.server();
        let sandbox = scenario.sandbox(server.port);
        fill_ledger(&sandbox, server.port);
        (server, sandbox)
    };
    let (_server, sandbox) = filled();
    for call in calls_of(&sandbox) {
        let (server, sandbox) = filled();
        let when = format!("killed before {call}");
        assert_killed_or_done(kill_before(&sandbox, &call).code(), &when);
        carry_on(scenario, &sandbox, &server, &when);
        let size = read(&sandbox.ledger(USER, server.port)).len();
        assert!(size < 10_000, "{when}: {size} octets are left");
    }
}

// Files cut off: what a power loss leaves of a file that was not synced.

/// A folder's files with their octets.
fn files_of(folder: PathBuf) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = names(&folder).into_iter().map(|name| folder.join(name)).filter(|path| path.is_file());
    paths.map(|path| (path.clone(), read(&path))).collect()
}

fn put_back(folder: PathBuf, files: &[(PathBuf, Vec<u8>)]) {
    for name in names(&folder) {
        fs::remove_file(folder.join(name)).unwrap();
    }
    files.iter().for_each(|(path, octets)| fs::write(path, octets).unwrap());
}

#[track_caller]
fn assert_once(destination: Destination, sandbox: &Sandbox, when: &str) {
    let run = sandbox.popfetch(["-q"]);
    assert_eq!((run.code(), run.stderr.as_str()), (0, ""), "{when}");
    assert!(destination.messages(sandbox) == all_at_home(&mails(3)), "{when}: each message once");
}

#[test]
fn a_ledger_cut_off_at_any_octet_knows_what_was_durable_before() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0);
    let path = sandbox.ledger(USER, server.port);
    let (whole, new) = (read(&path), files_of(sandbox.path("Mail/new")));
    let intents = whole.windows(11).position(|octets| octets == b"{\"published").unwrap();
    let header = whole.iter().position(|octet| *octet == b'\n').unwrap() + 1;
    for cut in (header..intents).step_by(5).chain(intents - 2..whole.len()) {
        fs::write(&path, &whole[..cut]).unwrap();
        // Until the last intent is durable nothing is published.
        put_back(sandbox.path("Mail/new"), if cut < intents { &[] } else { &new });
        assert_once(Destination::Maildir, &sandbox, &format!("the ledger cut off at {cut}"));
    }
}

/// A home in which a run died when everything was in the mbox, but nothing of that recorded.
fn unrecorded_mbox(server: &Maildrop) -> Option<Sandbox> {
    let scenario = Scenario { destination: Destination::Mbox, keep: true };
    let calls = calls_of(&scenario.sandbox(server.port));
    calls.iter().find_map(|call| {
        let sandbox = scenario.sandbox(server.port);
        kill_before(&sandbox, call);
        let is_written = sandbox.path("mbox").exists() && !read(&sandbox.path("mbox")).is_empty();
        (is_written && has_pending_intents(&sandbox, server)).then_some(sandbox)
    })
}

#[test]
fn an_mbox_or_a_spool_cut_off_at_any_octet_gets_each_message_once() {
    if !can_trace() {
        return;
    }
    let server = server(mails(3)).start();
    let sandbox = unrecorded_mbox(&server).expect("there is such a moment");
    fs::remove_file(sandbox.path("mbox.lock")).unwrap();
    let (whole, state) = (read(&sandbox.path("mbox")), files_of(sandbox.state()));
    let (spool, spooled) = state.iter().find(|(path, _)| path.extension().unwrap() == "spool").unwrap();
    assert_eq!(*spooled, whole);
    for cut in 0..=whole.len() {
        put_back(sandbox.state(), &state);
        fs::write(sandbox.path("mbox"), &whole[..cut]).unwrap();
        assert_once(Destination::Mbox, &sandbox, &format!("the mbox cut off at {cut}"));
    }
    for cut in (0..spooled.len()).step_by(5) {
        put_back(sandbox.state(), &state);
        fs::write(spool, &spooled[..cut]).unwrap();
        fs::write(sandbox.path("mbox"), "").unwrap();
        assert_once(Destination::Mbox, &sandbox, &format!("the spool cut off at {cut}"));
    }
}

// An MDA or a server, and a machine that stops: what its page cache held is lost, and what the target has is not.

/// How much of the ledger was durable each time that a target got a message, as strace(1) has seen it.
pub fn durable_at_each(log: &str, is_given: impl Fn(&str) -> bool) -> Vec<usize> {
    let (mut written, mut durable, mut starts) = (0, 0, vec![]);
    for line in log.lines() {
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        let is_of_the_ledger = call.contains(".jsonl>");
        if call.starts_with("write(") && is_of_the_ledger {
            let octets = call.rsplit_once(", ").map(|(_, end)| end.split([')', ' ']).next().unwrap_or_default());
            written += octets.and_then(|octets| octets.parse::<usize>().ok()).expect("strace prints the length");
        } else if call.starts_with("fdatasync(") && is_of_the_ledger && call.contains(") = 0")
            || call.contains("fdatasync resumed") && call.ends_with(" = 0")
        {
            durable = written;
        } else if is_given(call) {
            starts.push(durable);
        }
    }
    starts
}

/// Keeps each message in a file that is named by its turn.
const IN_ORDER: &str = "n=$(ls ~/mda | wc -l); cat >~/mda/$(printf %03d $n).done";

#[test]
fn an_mda_gets_at_most_one_message_twice_when_the_machine_stops() {
    if !can_trace() {
        return;
    }
    const MESSAGES: usize = 12;
    let server = server(mails(MESSAGES)).start();
    let sandbox = Sandbox::new();
    let (_, deliver) = (sandbox.mda(), sandbox.mda_script(IN_ORDER));
    sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
    let log = sandbox.path("strace.log");
    let mut strace = Command::new("strace");
    sandbox.adopt(&mut strace);
    strace.args(["-f", "-y", "-s", "0", "-b", "execve", "-e", "trace=write,fdatasync,execve", "-o"]);
    strace.arg(&log).args([env!("CARGO_BIN_EXE_popfetch"), "-q"]);
    sandbox.run(strace).exits(0).silently();
    let is_given = |call: &str| call.starts_with("execve(\"/bin/sh\"");
    let durable = durable_at_each(&fs::read_to_string(log).expect("strace writes its log"), is_given);
    let ledger = sandbox.ledger(USER, server.port);
    let (whole, taken) = (read(&ledger), files_of(sandbox.path("mda")));
    assert_eq!((durable.len(), taken.len()), (MESSAGES, MESSAGES), "{durable:?}");
    for (turn, durable) in durable.into_iter().enumerate() {
        // The last one to start may have taken its message or not.
        for had in [turn, turn + 1] {
            fs::write(&ledger, &whole[..durable]).unwrap();
            put_back(sandbox.path("mda"), &taken[..had]);
            sandbox.popfetch(["-q"]).exits(0).silently();
            let mut messages = Destination::Mda.messages(&sandbox);
            let when = format!("the machine stopped while MDA {turn} ran: {} came", messages.len());
            assert!(messages.len() <= MESSAGES + usize::from(had > turn), "{when}");
            messages.dedup();
            assert!(messages == all_at_home(&mails(MESSAGES)), "{when}: each message at least once");
        }
    }
}

/// Runs to the end, and tells how much of the ledger is durable as each message is given to a server.
fn given(sandbox: &Sandbox, server: &Maildrop, url: &str, in_flight: usize) -> Vec<usize> {
    let account = Account::on(server.port).set("deliver", "\"there\"");
    let target = format!("deliver = \"{url}\"\nin_flight = {in_flight}");
    sandbox.config(&format!("[targets.there]\n{target}\n{account}"));
    let log = sandbox.path("strace.log");
    let mut strace = Command::new("strace");
    sandbox.adopt(&mut strace);
    strace.args(["-f", "-y", "-s", "100000", "-e", "trace=write,fdatasync", "-o"]);
    strace.arg(&log).args([env!("CARGO_BIN_EXE_popfetch"), "-q"]);
    sandbox.run(strace).exits(0).silently();
    // Each text is the only one in its octets that has this header.
    let is_given =
        |call: &str| call.starts_with("write(") && call.contains("<socket:") && call.contains("\\r\\nSubject: ");
    durable_at_each(&fs::read_to_string(log).expect("strace writes its log"), is_given)
}

#[test]
fn a_web_server_gets_at_most_what_is_in_flight_twice_when_the_machine_stops() {
    if !can_trace() {
        return;
    }
    const MESSAGES: usize = 9;
    for in_flight in [1, 3] {
        let (server, web, sandbox) = (server(mails(MESSAGES)).start(), Web::builder().start(), Sandbox::new());
        let durable = given(&sandbox, &server, &web.url(), in_flight);
        let ledger = sandbox.ledger(USER, server.port);
        let (whole, mut taken) = (read(&ledger), web.taken());
        // As they were given, whichever connection was the faster.
        taken.sort_by_key(|posted| posted.message());
        assert_eq!((durable.len(), taken.len()), (MESSAGES, MESSAGES), "{durable:?}");
        for (turn, durable) in durable.into_iter().enumerate() {
            // The one that was given then may have been taken or not.
            for had in [turn, turn + 1] {
                fs::write(&ledger, &whole[..durable]).unwrap();
                web.has_taken(&taken[..had]);
                sandbox.popfetch(["-q"]).exits(0).silently();
                let (mut messages, many) = (web.messages(), web.messages().len());
                let when = format!("{in_flight} in flight, stopped at message {turn}, {had} there: {many} came");
                assert!(many <= MESSAGES + in_flight, "{when}");
                messages.dedup();
                let mut all: Vec<_> = mails(MESSAGES).into_iter().map(|mail| mail.octets).collect();
                all.sort();
                assert!(messages == all, "{when}: each message at least once");
            }
        }
    }
}

#[test]
fn a_server_gets_at_most_what_is_in_flight_twice_when_the_machine_stops() {
    if !can_trace() {
        return;
    }
    const MESSAGES: usize = 9;
    let chunking = ["PIPELINING", "CHUNKING", "ENHANCEDSTATUSCODES"];
    for (build, in_flight) in [(Mta::lmtp(), 1), (Mta::lmtp().extensions(&chunking), 1), (Mta::lmtp(), 3)] {
        let server = server(mails(MESSAGES)).start();
        let mta = build.start();
        let sandbox = Sandbox::new();
        let durable = given(&sandbox, &server, &format!("lmtp://127.0.0.1:{}", mta.port), in_flight);
        let ledger = sandbox.ledger(USER, server.port);
        let (whole, taken) = (read(&ledger), mta.taken());
        assert_eq!((durable.len(), taken.len()), (MESSAGES, MESSAGES), "{durable:?}");
        for (turn, durable) in durable.into_iter().enumerate() {
            // The one that was given then may have been taken or not.
            for had in [turn, turn + 1] {
                fs::write(&ledger, &whole[..durable]).unwrap();
                mta.forget(&taken[had..]);
                sandbox.popfetch(["-q"]).exits(0).silently();
                let (mut messages, many) = (mta.messages(), mta.messages().len());
                let when = format!("{in_flight} in flight, stopped at message {turn}, {had} there: {many} came");
                assert!(many <= MESSAGES + in_flight, "{when}");
                messages.dedup();
                let mut all: Vec<_> = mails(MESSAGES).into_iter().map(|mail| mail.octets).collect();
                all.sort();
                assert!(messages == all, "{when}: each message at least once");
                mta.forget(&mta.taken());
                mta.remember(&taken);
            }
        }
    }
}

// At random.

/// xorshift64: the same series for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

pub fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn kills_at_random_are_survived() {
    if !can_trace() {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number_in("POPFETCH_SEED").unwrap_or(now).max(1);
    let runs = number_in("POPFETCH_CRASHES").unwrap_or(20);
    println!("{runs} random runs, POPFETCH_SEED={seed}");
    let mut random = Random(seed);
    let scenarios = Destination::ALL.map(|destination| [true, false].map(|keep| Scenario { destination, keep }));
    let scenarios: Vec<_> = scenarios.into_iter().flatten().map(|scenario| (scenario, scenario.calls())).collect();
    for run in 0..runs {
        let (scenario, calls) = &scenarios[random.below(scenarios.len())];
        let kills: Vec<_> = (0..=random.below(3)).map(|_| &calls[random.below(calls.len())]).collect();
        let server = scenario.server();
        let sandbox = scenario.sandbox(server.port);
        let when = format!("POPFETCH_SEED={seed}, run {run}, kills before {kills:?}");
        for call in &kills {
            assert_killed_or_done(kill_before(&sandbox, call).code(), &when);
            scenario.assert_nothing_lost(&sandbox, &server, &when);
        }
        carry_on(*scenario, &sandbox, &server, &when);
    }
}
