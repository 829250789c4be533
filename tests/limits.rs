//! Threads and descriptors: a run with few of them fetches what it can, and no account ends another.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal};

use crate::faults::{Scenario, can_trace, fail_at, with_few_threads};
use crate::sandbox::{Account, Destination, Sandbox, USER, left_out, mails, server, wait_until};
use crate::server::{Fault, Maildrop, Misdeed, Moment};

/// So many accounts, each on a server of its own and with a Maildir of its own.
fn accounts(count: usize) -> (Vec<Maildrop>, Sandbox) {
    let servers: Vec<_> = (0..count).map(|_| server(mails(2)).start()).collect();
    let account = |(number, server): (usize, &Maildrop)| {
        let deliver = format!("\"maildir:~/Mail{number}\"");
        Account::on(server.port).named(&format!("a{number}")).set("deliver", deliver).set("keep", false).to_string()
    };
    let sandbox = Sandbox::new();
    sandbox.config(&servers.iter().enumerate().map(account).collect::<String>());
    (servers, sandbox)
}

fn left(servers: &[Maildrop]) -> usize {
    servers.iter().map(|server| server.unique_ids(USER).len()).sum()
}

#[test]
fn without_threads_each_account_is_left_for_the_next_run() {
    if !can_trace() {
        return;
    }
    for count in [1, 3] {
        let (servers, sandbox) = accounts(count);
        let run = with_few_threads(&sandbox, 0).exits(75);
        assert_eq!(run.stderr.matches("cannot start a thread").count(), count, "{run:#?}");
        assert_eq!(left(&servers), 2 * count);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(left(&servers), 0);
    }
}

#[test]
fn the_threads_that_there_are_do_the_work() {
    if !can_trace() {
        return;
    }
    // The one that the first thread may start fetches all, and may itself start one: the committer of one account.
    let (servers, sandbox) = accounts(3);
    let run = with_few_threads(&sandbox, 1).exits(75);
    assert_eq!(run.stderr.matches("cannot start a thread").count(), 2, "{run:#?}");
    assert_eq!(left(&servers), 4);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(left(&servers), 0);
}

// Descriptors

const MESSAGES: usize = 50;

/// So many accounts with more messages than wait for an MDA, which does this.
fn accounts_with_mda(count: usize, deliver: &str, sandbox: &Sandbox) -> Vec<Maildrop> {
    let servers: Vec<_> = (0..count).map(|_| server(mails(MESSAGES)).start()).collect();
    let account = |(number, server): (usize, &Maildrop)| {
        let account = Account::on(server.port).named(&format!("a{number}"));
        account.set("deliver", deliver).set("keep", false).to_string()
    };
    sandbox.config(&servers.iter().enumerate().map(account).collect::<String>());
    servers
}

#[test]
fn few_descriptors_are_shared_by_all_accounts() {
    for jobs in ["32", "10000"] {
        let sandbox = Sandbox::new();
        let servers = accounts_with_mda(12, "\"mda:/bin/true\"", &sandbox);
        let run = sandbox.shell(&format!("ulimit -n 256 && exec popfetch -q --jobs {jobs}"));
        run.exits(0).silently();
        assert_eq!(left(&servers), 0);
    }
}

#[test]
fn with_hardly_any_descriptors_one_account_after_the_other_is_fetched() {
    let (servers, sandbox) = accounts(3);
    sandbox.shell("ulimit -n 40 && exec popfetch -q").exits(0).silently();
    assert_eq!(left(&servers), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn the_limit_is_raised_for_us_and_not_for_the_programs_that_we_start() {
    let sandbox = Sandbox::new();
    // popfetch gives the limit back when the program runs already.
    let wait = "i=0; while [ $(ulimit -S -n) != 200 ] && [ $i -lt 200 ]; do sleep 0.1; i=$((i+1)); done";
    let look = "grep 'Max open files' /proc/$PPID/limits | tr -s ' ' | cut -d' ' -f4";
    let deliver = sandbox.mda_script(&format!("{wait}; echo $(ulimit -S -n) $(ulimit -H -n) $({look}) >>~/limits"));
    let servers: Vec<_> = (0..4).map(|_| server(mails(1)).start()).collect();
    let account = |(number, server): (usize, &Maildrop)| {
        Account::on(server.port).named(&format!("a{number}")).set("deliver", &deliver).to_string()
    };
    sandbox.config(&servers.iter().enumerate().map(account).collect::<String>());
    sandbox.shell("ulimit -S -n 200 && ulimit -H -n 1000 && exec popfetch -q").exits(0).silently();
    let limits = fs::read_to_string(sandbox.path("limits")).unwrap();
    // Four accounts need less than the hard limit.
    assert_eq!(limits.lines().collect::<Vec<_>>(), ["200 1000 288"; 4]);
}

/// Starts a script in the sandbox, where cores may be as large as they like.
fn start_with_cores(sandbox: &Sandbox, script: &str) -> std::process::Child {
    let mut command = Command::new("/bin/sh");
    sandbox.adopt(&mut command);
    command.args(["-c", &format!("ulimit -c unlimited && {script}")]).spawn().unwrap()
}

#[test]
fn a_crash_leaves_no_core() {
    let sandbox = Sandbox::new();
    if !start_with_cores(&sandbox, "kill -ABRT $$").wait().unwrap().core_dumped() {
        return left_out("the core of a crash", "this system makes none, not even of a shell");
    }
    let stall = Fault { moment: Moment::BeforeCommand(4), misdeed: Misdeed::Stall };
    let server = server(mails(1)).faults([stall]).start();
    sandbox.config(&Account::on(server.port).to_string());
    let mut popfetch = start_with_cores(&sandbox, &format!("exec {} -q", env!("CARGO_BIN_EXE_popfetch")));
    wait_until(|| server.count("AUTH") > 0);
    rustix::process::kill_process(Pid::from_child(&popfetch), Signal::ABORT).unwrap();
    let status = popfetch.wait().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[cfg(target_os = "linux")]
#[test]
fn programs_that_we_start_may_leave_their_cores() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    // popfetch gives the limit back when the program runs already.
    let wait = "i=0; while [ $(ulimit -S -c) != 100 ] && [ $i -lt 200 ]; do sleep 0.1; i=$((i+1)); done";
    let look = "grep 'Max core file size' /proc/$PPID/limits | tr -s ' ' | cut -d' ' -f5";
    let deliver = sandbox.mda_script(&format!("{wait}; echo $(ulimit -S -c) $(ulimit -H -c) $({look}) >~/limits"));
    sandbox.config(&Account::on(server.port).set("deliver", &deliver).to_string());
    sandbox.shell("ulimit -S -c 100 && ulimit -H -c 200 && exec popfetch -q").exits(0).silently();
    assert_eq!(fs::read_to_string(sandbox.path("limits")).unwrap(), "100 200 1\n");
}

#[test]
fn a_lack_of_descriptors_is_temporary() {
    if !can_trace() {
        return;
    }
    for (destination, error) in Destination::ALL.into_iter().zip(["EMFILE", "ENFILE", "EMFILE"]) {
        let scenario = Scenario { destination, keep: false };
        let mut failed = 0;
        for call in scenario.calls().iter().filter(|call| call.name.starts_with("open")) {
            let server = scenario.server();
            let sandbox = scenario.sandbox(server.port);
            let run = fail_at(&sandbox, call, error, false);
            assert!(matches!(run.code(), 0 | 75), "{scenario:?}, {error} at {call}: {run:#?}");
            failed += usize::from(run.code() == 75);
            sandbox.popfetch(["-q"]).exits(0).silently();
            scenario.assert_done(&sandbox, &server, &format!("{error} at {call}"));
        }
        assert!(failed > 1, "{scenario:?}: only {failed} failed");
    }
}
