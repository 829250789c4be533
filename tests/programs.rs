//! Programs that popfetch runs (an MDA, a tunnel, a password command) and that do not behave.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::sandbox::{
    Account, Run, Running, Sandbox, USER, copy_program, left_out, mails, message, read, server, wait_until,
};
use crate::server::{Mail, Maildrop};

/// Neither root nor the user of the tests.
const NOBODY: u32 = 65534;

/// A sandbox that is another user's, with a program that becomes root: that user cannot kill it.
struct Unkillable {
    sandbox: Sandbox,
}

impl Unkillable {
    /// `None`, and said so, where this cannot be arranged.
    fn new() -> Option<Self> {
        let why = "it takes root, setpriv(1), and set-user-id files in the folder for temporary files";
        let unkillable = Unkillable { sandbox: Sandbox::new() };
        let helper = unkillable.sandbox.path("setpriv");
        let is_root = rustix::process::geteuid().is_root();
        if let Some(setpriv) = program("setpriv").filter(|_| is_root) {
            copy_program(&setpriv, &helper);
            fs::set_permissions(&helper, fs::Permissions::from_mode(0o4755)).expect("a mode can be set");
            give_away(unkillable.sandbox.path("").as_path());
            let mut test = unkillable.as_nobody(&helper);
            let is_able = test.args(["--reuid", "0", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
            if is_able.is_ok_and(|status| status.success()) {
                return Some(unkillable);
            }
        }
        left_out("programs that cannot be killed", why);
        None
    }

    /// A command, as an array of TOML, that becomes root, says who it is in `~/pid`, and hangs.
    fn hanging(&self) -> String {
        let script = self.sandbox.file("hang.sh", "echo $$ >~/pid.new; mv ~/pid.new ~/pid; exec sleep 600 2>/dev/null");
        let helper = self.sandbox.path("setpriv");
        format!("[\"{}\", \"--reuid\", \"0\", \"/bin/sh\", \"{}\"]", helper.display(), script.display())
    }

    fn as_nobody(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        self.sandbox.adopt(&mut command);
        let who = NOBODY.to_string();
        command.args(["--reuid", &who, "--regid", &who, "--clear-groups", "env", "--default-signal=TERM"]).arg(program);
        command
    }

    fn start(&self, account: Account) -> Running<'_> {
        self.sandbox.config(&account.to_string());
        let popfetch = self.sandbox.path("popfetch");
        copy_program(Path::new(env!("CARGO_BIN_EXE_popfetch")), &popfetch);
        give_away(self.sandbox.path("").as_path());
        self.sandbox.start(self.as_nobody(&popfetch).arg("-q"))
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(fs::read_to_string(self.sandbox.path("pid")).ok()?.trim().parse().ok()?)
    }

    /// Asserts that the program still runs.
    #[track_caller]
    fn assert_left(&self) {
        let pid = self.pid().expect("the program has started");
        rustix::process::test_kill_process(pid).expect("the program was left running");
    }
}

impl Drop for Unkillable {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Makes everything below a folder, and the folder, `NOBODY`'s; the helper stays root's.
fn give_away(path: &Path) {
    if path.ends_with("setpriv") {
        return;
    }
    chown(path, Some(NOBODY), Some(NOBODY)).expect("root gives away");
    let entries = if path.is_dir() { fs::read_dir(path).ok() } else { None };
    entries.into_iter().flatten().flatten().for_each(|entry| give_away(&entry.path()));
}

// Whoever cannot be killed is given up: each of these would wait for ten minutes.

/// Runs the account with a time-out of this key that is over while the program hangs. On a busy machine it may not have
/// begun after a second; then it was killed, and gets longer.
fn run_into(unkillable: &Unkillable, account: &Account, timeout: &str) -> (Run, usize) {
    for seconds in [1, 5, 15] {
        let run = unkillable.start(account.clone().set(timeout, seconds)).finish().exits(75);
        if unkillable.pid().is_some() {
            unkillable.assert_left();
            return (run, seconds);
        }
    }
    panic!("the program never began");
}

#[test]
fn an_mda_that_cannot_be_killed_is_given_up_after_its_timeout() {
    let Some(unkillable) = Unkillable::new() else { return };
    let server = server(mails(1)).start();
    let deliver = format!("{{ mda = {} }}", unkillable.hanging());
    let account = Account::on(server.port).set("deliver", deliver).set("keep", false);
    let (run, seconds) = run_into(&unkillable, &account, "mda_timeout");
    let ending = "it could not be killed, goes on, and may still deliver the message";
    run.says(&[&format!("did not end within {seconds} s; {ending}")]);
    assert_eq!(server.unique_ids(USER).len(), 1);
}

#[test]
fn an_mda_that_cannot_be_killed_is_given_up_after_the_first_signal() {
    let Some(unkillable) = Unkillable::new() else { return };
    let server = server(mails(1)).start();
    let account = Account::on(server.port).set("deliver", format!("{{ mda = {} }}", unkillable.hanging()));
    stop_with_a_signal(&unkillable, account);
    assert_eq!(server.unique_ids(USER).len(), 1);
}

#[test]
fn a_password_command_that_cannot_be_killed_is_given_up_after_the_first_signal() {
    let Some(unkillable) = Unkillable::new() else { return };
    let server = server(mails(1)).start();
    let account = Account::on(server.port).without("password").set("password_command", unkillable.hanging());
    stop_with_a_signal(&unkillable, account);
}

#[test]
fn a_password_command_that_cannot_be_killed_is_given_up_after_its_timeout() {
    let Some(unkillable) = Unkillable::new() else { return };
    let server = server(mails(1)).start();
    let account = Account::on(server.port).without("password").set("password_command", unkillable.hanging());
    let (run, seconds) = run_into(&unkillable, &account, "password_timeout");
    run.says(&[&format!("within {seconds} s")]);
}

#[test]
fn a_tunnel_that_cannot_be_killed_is_given_up_after_the_first_signal() {
    let Some(unkillable) = Unkillable::new() else { return };
    let server = server(mails(1)).start();
    stop_with_a_signal(&unkillable, Account::on(server.port).set("tunnel", unkillable.hanging()));
}

#[test]
fn a_tunnel_that_cannot_be_killed_is_given_up_after_its_timeout() {
    let Some(unkillable) = Unkillable::new() else { return };
    let server = server(mails(1)).start();
    let account = Account::on(server.port).set("tunnel", unkillable.hanging());
    let (run, seconds) = run_into(&unkillable, &account, "timeout");
    run.says(&[&format!("within {seconds} s")]);
}

fn stop_with_a_signal(unkillable: &Unkillable, account: Account) {
    let running = unkillable.start(account.set("timeout", 600));
    wait_until(|| unkillable.pid().is_some());
    running.signal(Signal::TERM);
    running.finish().exits(143);
    unkillable.assert_left();
}

// Standard error of an MDA.

#[test]
fn an_mda_that_talks_without_end_fills_no_disk() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    // Into a file this would end at the limit on the size of files, by SIGXFSZ.
    let deliver = sandbox.mda_script("echo first >&2; head -c 50000000 /dev/zero >&2; exit 3");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
    let run = sandbox.shell("ulimit -f 2048 && exec popfetch -q").exits(74);
    assert_eq!(run.stderr.matches("the MDA ended with status 3: first").count(), 2, "{run:#?}");
}

#[test]
fn an_mda_that_talks_for_ever_ends_at_its_timeout() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let deliver = sandbox.mda_script("exec yes >&2");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).set("mda_timeout", 1).to_string());
    sandbox.popfetch(["-q"]).exits(75).says(&["did not end within 1 s: y; y; y"]);
}

#[test]
fn what_an_mda_leaves_behind_may_go_on_talking() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let behind = "(while [ ! -e ~/second ]; do sleep 0.1; done; head -c 200000 /dev/zero >&2; echo >~/alive)";
    let second = "echo >~/second; while [ ! -e ~/alive ]; do sleep 0.1; done";
    let script = format!("if [ -e ~/first ]; then {second}; else echo >~/first; {behind} & fi");
    let deliver = sandbox.mda_script(&script);
    sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", false).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(sandbox.path("alive").exists() && server.unique_ids(USER).is_empty());
}

// An MDA that refuses everything.

/// Fetches 20 messages to an MDA that keeps its turn in `~/turns` and does this; tells how often it ran.
fn turns_of(script: &str, code: i32) -> (Sandbox, Maildrop, Run, usize) {
    let server = server(mails(20)).start();
    let sandbox = Sandbox::new();
    let deliver = sandbox.mda_script(&format!("echo >>~/turns; n=$(wc -l <~/turns); {script}"));
    sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", false).to_string());
    let run = sandbox.popfetch(["-q"]).exits(code);
    let turns = turns(&sandbox);
    (sandbox, server, run, turns)
}

fn turns(sandbox: &Sandbox) -> usize {
    fs::read_to_string(sandbox.path("turns")).unwrap().lines().count()
}

#[test]
fn an_mda_that_refuses_everything_is_soon_left_alone() {
    let script = "[ -e ~/mended ] && exec cat >/dev/null; echo lda $$: no such service >&2; exit 75";
    let (sandbox, server, run, turns_before) = turns_of(script, 75);
    assert_eq!((turns_before, server.unique_ids(USER).len()), (5, 20));
    run.says(&["so 15 other messages were not given to it; nothing was delivered or deleted", "by hand"]);
    let report = sandbox.popfetch(["-q", "--json"]).exits(75);
    assert_eq!(report.stdout.matches("no such service").count(), 5, "{report:#?}");
    // Other messages are tried each time, last those that were.
    let ledger = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
    assert_eq!((turns(&sandbox), ledger.matches("\"note\":\"refused\"").count()), (10, 10));
    sandbox.file("mended", "");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn five_messages_that_an_mda_is_right_to_refuse_do_not_keep_the_others_back() {
    let script = "grep -q '^Subject: message [1-5]$' && { echo too large >&2; exit 69; }; exit 0";
    let (sandbox, server, _, turns) = turns_of(script, 74);
    assert_eq!((turns, server.unique_ids(USER).len()), (5, 20));
    sandbox.popfetch(["-q"]).exits(74);
    assert_eq!(server.unique_ids(USER), ["m1", "m2", "m3", "m4", "m5"]);
}

#[test]
fn each_refused_message_has_its_turn() {
    let server = server(mails(6)).start();
    let sandbox = Sandbox::new();
    let deliver = sandbox
        .mda_script("[ -e ~/mended ] || exit 75; grep -q '^Subject: message [1-3]$' && exit 67; exec cat >/dev/null");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", false).to_string());
    let run = || sandbox.popfetch(["-q", "--max-messages", "3"]).code();
    assert_eq!([run(), run()], [75; 2]);
    sandbox.file("mended", "");
    // New mail takes a place of each run, and the first three are refused for good.
    for number in 7..12 {
        server.arrive(USER, Mail::new(format!("m{number}"), message(number)));
        run();
    }
    assert_eq!(server.unique_ids(USER), ["m1", "m2", "m3"]);
}

#[test]
fn messages_that_an_mda_refuses_at_each_run_keep_no_other_back() {
    let server = server(mails(12)).start();
    let sandbox = Sandbox::new();
    let deliver = sandbox
        .mda_script("[ -e ~/mended ] || exit 75; grep -q '^Subject: message [1-5]$' && exit 67; exec cat >/dev/null");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", false).to_string());
    let run = || sandbox.popfetch(["-q"]).code();
    (0..4).for_each(|_| assert_eq!(run(), 75));
    sandbox.file("mended", "");
    // After so many failures the account would wait.
    (0..3).for_each(|_| drop(sandbox.popfetch(["-q", "--now"])));
    assert_eq!(server.unique_ids(USER), ["m1", "m2", "m3", "m4", "m5"]);
}

#[test]
fn an_mda_that_takes_none_holds_no_deletion_back() {
    let server = server(mails(5)).start();
    let sandbox = Sandbox::new();
    let deliver = sandbox.mda_script("[ -e ~/broken ] && exit 75; exec cat >/dev/null");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", true).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.file("broken", "");
    (6..=12).for_each(|number| server.arrive(USER, Mail::new(format!("m{number}"), message(number))));
    let foreseen = sandbox.popfetch(["--no-keep", "--dry-run", "--json"]).exits(0);
    let run = sandbox.popfetch(["-q", "--no-keep", "--json"]).exits(75);
    assert_eq!(run.account()["deleted"], 5, "{run:#?}");
    assert!(foreseen.account()["would_delete"].as_u64().unwrap() >= 5);
    assert_eq!(server.unique_ids(USER).len(), 7);
}

#[test]
fn five_messages_and_no_more_that_are_refused_are_refused_and_nothing_else() {
    let server = server(mails(5)).start();
    let sandbox = Sandbox::new();
    let deliver = sandbox.mda_script("exit 67");
    sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
    let run = sandbox.popfetch(["-q"]).exits(74);
    assert!(!run.stderr.contains("not given"), "{run:#?}");
}

#[test]
fn refusals_that_differ_and_an_mda_that_takes_some_end_nothing() {
    for script in ["echo message $n >&2; [ $n = 1 ] || exit 67", "w=$(echo $n | tr 0-9 a-j); echo $w >&2; exit 67"] {
        assert_eq!(turns_of(script, 74).3, 20, "{script}");
    }
}

// The command that runs when mail has come

/// An account with a command that writes what it is told into a file.
fn with_after(server: &Maildrop, script: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let program = sandbox.file("after.sh", format!("#!/bin/sh\n{script}\n"));
    sandbox.mode("after.sh", 0o700);
    let after = format!("[{:?}, \"a b\"]", program.display().to_string());
    sandbox.config(&Account::on(server.port).set("after", after).set("keep", true).to_string());
    sandbox
}

#[test]
fn a_command_runs_once_when_mail_has_come_and_is_recorded() {
    let server = server(mails(3)).start();
    let sandbox = with_after(
        &server,
        "echo \"$POPFETCH_ACCOUNT $POPFETCH_DELIVERED $1\" >>\"$HOME/told\"; echo heard; cat; \
         cat \"$HOME\"/.local/state/popfetch/*.jsonl >>\"$HOME/known\"",
    );
    sandbox.popfetch(["-q", "--dry-run"]).exits(0);
    assert!(!sandbox.path("told").exists());
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(read(&sandbox.path("told")), b"work 3 a b\n");
    assert!(String::from_utf8(read(&sandbox.path("known"))).unwrap().contains("published"));
    server.arrive(USER, mails(4).remove(3));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(read(&sandbox.path("told")), b"work 3 a b\nwork 1 a b\n");
}

#[test]
fn a_command_that_fails_is_a_notice_and_holds_nothing_up() {
    let server = server(mails(1)).start();
    let sandbox = with_after(&server, "echo no index >&2; exit 3");
    let run = sandbox.popfetch(["-q"]).exits(0).says(&["after", "status 3", "no index", "at home all the same"]);
    assert!(run.stdout.is_empty());
    let sandbox = with_after(&server, "");
    fs::remove_file(sandbox.path("after.sh")).unwrap();
    sandbox.popfetch(["-q"]).exits(0).says(&["after.sh", "cannot be run"]);
}

#[test]
fn a_command_runs_for_the_mail_that_came_before_a_failure_and_while_nobody_holds_the_account() {
    let server = server(mails(2)).answer("RETR 2", "-ERR no").start();
    let binary = env!("CARGO_BIN_EXE_popfetch");
    let sandbox = with_after(
        &server,
        &format!("echo $POPFETCH_DELIVERED >>\"$HOME/told\"; {binary} -q state show >>\"$HOME/told\""),
    );
    sandbox.popfetch(["-q"]).exits(75);
    let told = String::from_utf8(read(&sandbox.path("told"))).unwrap();
    assert!(told.starts_with("1\nACCOUNT"), "{told}");
}
