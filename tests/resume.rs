//! Interrupted at every single line, and carried on: each message exactly once in a Maildir or an mbox, at least
//! once and at most twice for an MDA, and nothing left behind on the server or at home.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::sandbox::{Account, Destination, Sandbox, USER, all_at_home, left_out, mails, server};
use crate::server::{Fault, HANG_UP, Maildrop, Misdeed, Moment};

/// One way to set up an account.
#[derive(Debug, Clone, Copy)]
struct Setting {
    destination: Destination,
    keep: bool,
    pipelining: bool,
}

const MESSAGES: usize = 3;

impl Setting {
    fn server(self, messages: usize, faults: &[Fault]) -> Maildrop {
        let names: &[&str] =
            if self.pipelining { &["UIDL", "SASL PLAIN", "PIPELINING"] } else { &["UIDL", "SASL PLAIN"] };
        server(mails(messages)).capabilities(names).faults(faults.iter().copied()).start()
    }

    fn sandbox(self, port: u16) -> Sandbox {
        let sandbox = Sandbox::new();
        let deliver = self.destination.deliver(&sandbox);
        sandbox.config(&Account::on(port).set("keep", self.keep).set("deliver", deliver).to_string());
        sandbox
    }

    /// How many lines the server says in a whole session.
    fn lines(self) -> u64 {
        let server = self.server(MESSAGES, &[]);
        self.sandbox(server.port).popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), MESSAGES);
        server.traffic(1).lines_sent
    }

    fn hang_up_after_every_line(self) {
        for line in 0..self.lines() {
            self.hang_up_at(Moment::LinesSent(line));
        }
    }

    fn hang_up_at(self, moment: Moment) {
        let server = self.server(MESSAGES, &[Fault { moment, misdeed: Misdeed::HangUp }]);
        let sandbox = self.sandbox(server.port);
        let interrupted = sandbox.popfetch(["-q"]);
        // Behind the last reply that matters, a run may call itself done.
        assert!(matches!(interrupted.code(), 0 | 75), "{self:?}, {moment:?}: {interrupted:#?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        self.assert_done(&sandbox, &server, MESSAGES, 1, &format!("{self:?}, {moment:?}"));
        let before = server.count("RETR");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), before, "{self:?}, {moment:?}: nothing was new");
    }

    #[track_caller]
    fn assert_done(self, sandbox: &Sandbox, server: &Maildrop, messages: usize, interruptions: usize, when: &str) {
        let delivered = self.destination.messages(sandbox);
        let expected = all_at_home(&mails(messages));
        if self.destination == Destination::Mda {
            let distinct: BTreeSet<_> = delivered.iter().collect();
            assert!(distinct.into_iter().eq(&expected), "{when}: not the messages of the server");
            let twice = delivered.len() - messages;
            assert!(twice <= interruptions, "{when}: {twice} came twice");
        } else {
            assert_eq!(delivered.len(), messages, "{when}: each message once");
            assert!(delivered == expected, "{when}: not the messages of the server");
        }
        let left = if self.keep { messages } else { 0 };
        assert_eq!(server.unique_ids(USER).len(), left, "{when}: left on the server");
        assert_eq!(sandbox.maildir().litter(), [""; 0], "{when}: left in tmp");
        assert!(!sandbox.path("mbox.lock").exists(), "{when}: the mbox is still locked");
    }

    /// `kill -9` at one moment after another, until a run gets through.
    fn kill_again_and_again(self) {
        const MANY: usize = 40;
        const KILLS: usize = 8;
        let server = server(mails(MANY)).pace(Duration::from_millis(2)).start();
        let sandbox = self.sandbox(server.port);
        for kill in 0..KILLS {
            let running = sandbox.start(&mut sandbox.command(["-q"]));
            thread::sleep(Duration::from_millis(5 + (kill as u64 * 37) % 90));
            running.signal(Signal::KILL);
            let code = running.finish().code();
            assert!(matches!(code, 0 | 137), "{self:?}, kill {kill}: {code}");
        }
        sandbox.popfetch(["-q"]).exits(0).silently();
        self.assert_done(&sandbox, &server, MANY, KILLS, &format!("{self:?}, after {KILLS} kills"));
    }
}

/// The system calls by which something at home becomes different, or durable; not every machine has all of them.
const CHANGES: [&str; 20] = [
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "copy_file_range",
    "sendfile",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
];

impl Setting {
    /// `kill -9` on the way into each system call that changes something: every state that a crash can leave.
    fn kill_at_every_change(self) {
        if !can_trace() {
            return left_out("kill -9 at every system call", "strace is not installed, or may not trace");
        }
        let kills: usize = CHANGES.iter().map(|call| self.kill_at_every(call)).sum();
        assert!(kills > 10, "{self:?}: only {kills} moments; which calls does it make now?");
    }

    fn kill_at_every(self, call: &str) -> usize {
        let kills = (1..1000).take_while(|nth| self.is_killed_at(call, *nth)).count();
        assert!(kills < 999, "{self:?}: a run does not end after {kills} times {call}");
        kills
    }

    /// Kills a run at its `nth` call and finishes the work; false when there are not so many.
    fn is_killed_at(self, call: &str, nth: u32) -> bool {
        let server = self.server(MESSAGES, &[]);
        let sandbox = self.sandbox(server.port);
        let code = sandbox.run(strace(&sandbox, call, nth)).code();
        // strace follows children as it follows threads, so the one that is killed may be the MDA.
        let is_mda = self.destination == Destination::Mda && matches!(code, 74 | 75);
        assert!(matches!(code, 0 | 137) || is_mda, "{self:?}, {call} {nth}: {code}");
        sandbox.popfetch(["-q"]).exits(0);
        self.assert_done(&sandbox, &server, MESSAGES, 1, &format!("{self:?}, killed at {call} {nth}"));
        code != 0
    }
}

/// A run that is killed on the way into the `nth` call of this name in any of its threads.
fn strace(sandbox: &Sandbox, call: &str, nth: u32) -> Command {
    let mut command = Command::new("strace");
    sandbox.adopt(&mut command);
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace=?{call}")]);
    command.args(["-e", &format!("inject=?{call}:signal=KILL:when={nth}")]);
    command.args([env!("CARGO_BIN_EXE_popfetch"), "-q"]);
    command
}

/// strace may be missing, and a container may forbid it.
fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

macro_rules! every_line {
    ($($name:ident: $destination:ident, keep $keep:literal, pipelining $pipelining:literal;)*) => {$(
        #[test]
        fn $name() {
            let destination = Destination::$destination;
            Setting { destination, keep: $keep, pipelining: $pipelining }.hang_up_after_every_line();
        }
    )*};
}

every_line! {
    a_maildir_survives_a_hang_up_after_every_line: Maildir, keep true, pipelining true;
    a_maildir_in_lock_step_survives_a_hang_up_after_every_line: Maildir, keep true, pipelining false;
    a_deleting_maildir_survives_a_hang_up_after_every_line: Maildir, keep false, pipelining true;
    a_deleting_maildir_in_lock_step_survives_a_hang_up_after_every_line: Maildir, keep false, pipelining false;
    an_mbox_survives_a_hang_up_after_every_line: Mbox, keep true, pipelining true;
    an_mbox_in_lock_step_survives_a_hang_up_after_every_line: Mbox, keep true, pipelining false;
    a_deleting_mbox_survives_a_hang_up_after_every_line: Mbox, keep false, pipelining true;
    a_deleting_mbox_in_lock_step_survives_a_hang_up_after_every_line: Mbox, keep false, pipelining false;
    an_mda_survives_a_hang_up_after_every_line: Mda, keep true, pipelining true;
    an_mda_in_lock_step_survives_a_hang_up_after_every_line: Mda, keep true, pipelining false;
    a_deleting_mda_survives_a_hang_up_after_every_line: Mda, keep false, pipelining true;
    a_deleting_mda_in_lock_step_survives_a_hang_up_after_every_line: Mda, keep false, pipelining false;
}

#[test]
fn a_hang_up_within_a_line_is_survived_as_well() {
    let setting = Setting { destination: Destination::Maildir, keep: false, pipelining: true };
    let server = setting.server(MESSAGES, &[]);
    setting.sandbox(server.port).popfetch(["-q"]).exits(0);
    let octets = server.traffic(1).octets_sent;
    for octet in (1..octets).step_by(17) {
        setting.hang_up_at(Moment::OctetsSent(octet));
    }
}

#[test]
fn a_maildir_survives_kill_9() {
    Setting { destination: Destination::Maildir, keep: false, pipelining: true }.kill_again_and_again();
}

#[test]
fn an_mbox_survives_kill_9() {
    Setting { destination: Destination::Mbox, keep: false, pipelining: true }.kill_again_and_again();
}

#[test]
fn an_mda_survives_kill_9() {
    Setting { destination: Destination::Mda, keep: false, pipelining: true }.kill_again_and_again();
}

#[test]
fn a_maildir_survives_kill_9_at_every_system_call() {
    Setting { destination: Destination::Maildir, keep: false, pipelining: true }.kill_at_every_change();
}

#[test]
fn an_mbox_survives_kill_9_at_every_system_call() {
    Setting { destination: Destination::Mbox, keep: false, pipelining: true }.kill_at_every_change();
}

#[test]
fn an_mda_survives_kill_9_at_every_system_call() {
    Setting { destination: Destination::Mda, keep: false, pipelining: true }.kill_at_every_change();
}

#[test]
fn what_was_delivered_but_not_deleted_is_deleted_without_being_fetched_again() {
    for destination in Destination::ALL {
        let setting = Setting { destination, keep: false, pipelining: false };
        let whole = setting.server(MESSAGES, &[]);
        setting.sandbox(whole.port).popfetch(["-q"]).exits(0);
        let quit = whole.commands(1).len() as u64;
        let fault = Fault { moment: Moment::BeforeCommand(quit), misdeed: Misdeed::HangUp };
        let server = setting.server(MESSAGES, &[fault]);
        let sandbox = setting.sandbox(server.port);
        sandbox.popfetch(["-q"]).exits(75);
        assert_eq!((server.unique_ids(USER).len(), server.count("RETR")), (MESSAGES, MESSAGES), "{destination:?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!((server.unique_ids(USER).len(), server.count("RETR")), (0, MESSAGES), "{destination:?}");
    }
}

#[test]
fn without_unique_ids_what_could_not_be_deleted_is_fetched_again() {
    let builder = || server(mails(2)).capabilities(&["USER"]).answer("UIDL", "-ERR unknown command");
    let whole = builder().start();
    let account = |port| Account::on(port).set("keep", false);
    Sandbox::with(account(whole.port)).popfetch(["-q"]).exits(0);
    let quit = whole.commands(1).len() as u64;
    let server = builder().faults([Fault { moment: Moment::BeforeCommand(quit), misdeed: Misdeed::HangUp }]).start();
    let sandbox = Sandbox::with(account(server.port));
    sandbox.popfetch(["-q"]).exits(75);
    assert_eq!((server.unique_ids(USER).len(), server.count("RETR")), (2, 2));
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!((server.unique_ids(USER).len(), server.count("RETR")), (0, 4));
    assert_eq!(sandbox.maildir().messages().len(), 4);
}

#[test]
fn without_unique_ids_a_broken_session_says_that_its_messages_come_once_more() {
    let builder = server(mails(4)).capabilities(&["USER"]).answer("UIDL", "-ERR unknown command");
    let server = builder.answer("RETR 3", HANG_UP).start();
    let account = Account::on(server.port).set("keep", false).set("retries", 0);
    let sandbox = Sandbox::with(account);
    let run = sandbox.popfetch(["-q"]).exits(75);
    let words = ["2 messages delivered, all are on the server still", "come once more", "`--max-messages`"];
    let run = run.says(&words);
    assert!(!run.stderr.contains("recorded"), "{run:#?}");
    // The way out that it names.
    sandbox.popfetch(["-q", "--max-messages", "2"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER).len(), 2);
}

#[test]
fn a_ledger_whose_last_line_was_cut_off_is_carried_on() {
    let setting = Setting { destination: Destination::Maildir, keep: true, pipelining: true };
    let server = setting.server(MESSAGES, &[]);
    let sandbox = setting.sandbox(server.port);
    sandbox.popfetch(["-q"]).exits(0);
    let path = sandbox.ledger(USER, server.port);
    let whole = std::fs::read(&path).unwrap();
    // The record. What stands before it, the intents, was durable before anything was published.
    let record = whole[..whole.len() - 1].iter().rposition(|octet| *octet == b'\n').unwrap() + 1;
    for cut in record..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        sandbox.popfetch(["-q"]).exits(0).silently();
        setting.assert_done(&sandbox, &server, MESSAGES, 0, &format!("cut at {cut}"));
    }
}
