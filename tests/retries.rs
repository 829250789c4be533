//! A line that breaks is dialled again within the run: what came stays, what did not come does, and nothing is counted
//! twice.

use rustix::process::Signal;

use crate::sandbox::{
    Account, Destination, Run, Sandbox, USER, all_at_home, at_home, mails, message, server, wait_until,
};
use crate::server::{Fault, HANG_UP, Mail, Misdeed, Moment};

const fn hang_up(octets: u64) -> Fault {
    Fault { moment: Moment::OctetsSent(octets), misdeed: Misdeed::HangUp }
}

fn large(unique_id: &str) -> Mail {
    Mail::new(unique_id, format!("Message-ID: <{unique_id}@x>\r\n\r\n{}\r\n", "x".repeat(20_000)))
}

#[test]
fn a_line_that_breaks_is_dialled_again_and_the_run_is_one() {
    for destination in Destination::ALL {
        for (keep, left) in [(true, 4), (false, 0)] {
            let all: Vec<Mail> = ["a", "b", "c", "d"].map(large).into();
            let server = server(all.clone()).faults([hang_up(50_000), hang_up(30_000)]).start();
            let sandbox = Sandbox::new();
            let account = Account::on(server.port).without("retries").set("keep", keep);
            sandbox.config(&account.set("deliver", destination.deliver(&sandbox)).to_string());
            let run = sandbox.popfetch(["--json"]).exits(0);
            let account = run.account();
            assert_eq!(
                (&account["delivered"], &account["known"], &account["later"]),
                (&4.into(), &0.into(), &0.into())
            );
            assert_eq!(account["deleted"], 4 - left, "{destination:?}: {account:#}");
            assert_eq!(run.stderr, "", "what helped itself is no news");
            assert!(account["notices"][0].as_str().unwrap().contains("dialled again"), "{account:#}");
            // What cut the line twice is retrieved when nothing is left to delete.
            assert_eq!((server.connections(), server.unique_ids(USER).len()), (if keep { 3 } else { 4 }, left));
            assert_eq!(destination.messages(&sandbox), all_at_home(&all), "{destination:?}");
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(destination.messages(&sandbox).len(), 4);
        }
    }
}

#[test]
fn it_is_dialled_as_often_as_the_account_says() {
    for (retries, connections, code) in [("0", 1, 75), ("1", 2, 75), ("2", 3, 0)] {
        let server = server([large("a"), large("b")]).faults([hang_up(9000), hang_up(9000)]).start();
        let sandbox = Sandbox::with(Account::on(server.port));
        sandbox.popfetch(["-q", "--retries", retries]).exits(code);
        assert_eq!((server.connections(), sandbox.maildir().files().is_empty()), (connections, code == 75));
    }
    let sandbox = Sandbox::with(Account::on(1).set("retries", -1));
    sandbox.popfetch(["-q"]).exits(78).says(&["retries", "from 0 to 100"]);
}

#[test]
fn what_the_server_says_is_not_asked_again() {
    for (command, answer, code) in [
        ("AUTH", "-ERR wrong password", 77),
        ("STAT", "+OK 0 0\r\n* nonsense", 76),
        ("UIDL", "-ERR [SYS/TEMP] later", 75),
    ] {
        let server = server(mails(2)).answer(command, answer).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("retries", 2));
        sandbox.popfetch(["-q"]).exits(code);
        assert_eq!(server.connections(), 1, "{command}");
    }
    let sandbox = Sandbox::with(Account::on(1).set("retries", 100));
    let run = sandbox.popfetch(["-q"]).exits(75);
    assert!(run.elapsed.as_secs() < 30, "a server that cannot be reached is the next run's");
}

#[test]
fn a_maildrop_that_the_broken_session_still_holds_does_not_hide_why_it_broke() {
    let stall = Fault { moment: Moment::OctetsSent(9000), misdeed: Misdeed::Stall };
    let server = server([large("a")]).faults([stall]).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("retries", 2).set("timeout", 3));
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| server.count("RETR") == 1);
    server.answer("AUTH", Some("-ERR [IN-USE] another session has the maildrop"));
    running.finish().exits(75).says(&["RETR 1", "within 3 s"]);
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_signal_ends_the_wait_before_another_call() {
    let server = server([large("a")]).faults([hang_up(9000), hang_up(9000), hang_up(9000)]).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("retries", 9));
    let running = sandbox.start(&mut sandbox.listening(["-q"]));
    // Before the fourth one it waits for four seconds.
    wait_until(|| server.connections() == 3 && server.is_idle());
    running.signal(Signal::TERM);
    running.finish().exits(143);
    assert!(server.connections() <= 4);
}

#[test]
fn what_cuts_the_line_twice_holds_nothing_up_and_the_hint_names_max_size() {
    for pipelining in [true, false] {
        let mut all = mails(4);
        all[1] = Mail::new("heavy", format!("Subject: heavy\r\n\r\n{}", "line\r\n".repeat(600_000)));
        let builder = server(all.clone()).answer("RETR 2", HANG_UP);
        let server = if pipelining { builder } else { builder.without_pipelining() }.start();
        let sandbox = Sandbox::with(Account::on(server.port).set("retries", 2).set("notify_every", "\"0\""));
        let run = sandbox.popfetch(["-q"]).exits(75);
        let run = run.says(&["message 2 (3.4 MiB) has cut the line twice", "--max-size 3M", "max_size = \"3M\""]);
        assert!(run.stderr.contains("3 messages delivered and recorded"), "{}", run.stderr);
        all.remove(1);
        assert_eq!(sandbox.maildir().messages(), all_at_home(&all));
        // It stays the last one, and what is new comes.
        server.arrive(USER, Mail::new("late", message(9)));
        sandbox.popfetch(["-q", "--retries=0"]).exits(75).says(&["message 2", "has cut the line twice"]);
        assert!(sandbox.maildir().messages().contains(&at_home(message(9).as_bytes())));
        sandbox.popfetch(["-q", "--max-size=3M"]).exits(0);
        server.answer("RETR 2", Some("-ERR not now"));
    }
}

#[test]
fn what_cuts_the_line_whenever_it_is_retrieved_does_not_hold_deletions_up() {
    for destination in Destination::ALL {
        let server = server(mails(4)).start();
        server.answer("RETR 1", Some(HANG_UP));
        let sandbox = Sandbox::new();
        let account = Account::on(server.port).set("keep", false).set("notify_every", "\"0\"");
        sandbox.config(&account.set("deliver", destination.deliver(&sandbox)).to_string());
        let left = |run: Run| {
            run.exits(75).says(&["message 1", "has cut the line twice", "max_size"]);
            server.unique_ids(USER)
        };
        left(sandbox.popfetch(["-q", "--retries=2"]));
        server.arrive(USER, Mail::new("late", message(9)));
        for _ in 0..2 {
            assert_eq!(left(sandbox.popfetch(["-q", "--retries=0"])), ["m1"], "{destination:?}");
            assert_eq!(destination.messages(&sandbox).len(), 4, "{destination:?}");
        }
        server.answer("RETR 1", None);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(server.unique_ids(USER).is_empty() && destination.messages(&sandbox).len() == 5);
    }
}

#[test]
fn what_is_left_for_a_second_session_is_told_when_there_is_none() {
    let capabilities = ["UIDL", "TOP", "USER", "PIPELINING", "RESP-CODES", "LOGIN-DELAY 3"];
    let server = server(mails(3)).capabilities(&capabilities).start();
    server.answer("RETR 1", Some(HANG_UP));
    let account = Account::on(server.port).set("keep", false).set("auth", "\"user\"").set("notify_every", "\"0\"");
    let sandbox = Sandbox::with(account);
    sandbox.popfetch(["-q", "--retries=2"]).exits(75).says(&["has cut the line twice"]);
    server.arrive(USER, Mail::new("late", message(9)));
    // The maildrop is not free at once.
    let farewells = server.count("QUIT");
    let running = sandbox.start(&mut sandbox.command(["-q", "--retries=0"]));
    wait_until(|| server.count("QUIT") > farewells);
    server.answer("PASS", Some("-ERR [IN-USE] another session has the maildrop"));
    running.finish().exits(75).says(&["[IN-USE]"]);
    assert_eq!(server.unique_ids(USER), ["m1"]);
    server.answer("PASS", None);
    server.answer("RETR 1", None);
    sandbox.popfetch(["-q", "--now"]).exits(0);
    assert!(server.unique_ids(USER).is_empty() && sandbox.maildir().messages().len() == 4);
}

#[test]
fn a_line_that_broke_once_is_blamed_on_no_message() {
    let server = server([large("a"), large("b")]).faults([hang_up(9000)]).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let run = sandbox.popfetch(["-q"]).exits(75);
    assert!(!run.stderr.contains("max-size") && !run.stderr.contains("twice"), "{}", run.stderr);
    sandbox.popfetch(["-q"]).exits(0).silently();
}

#[test]
fn what_the_first_session_told_about_new_targets_holds_for_the_whole_run() {
    let server = server([large("a"), large("b")]).faults([hang_up(u64::MAX), hang_up(9000)]).start();
    let account = Account::on(server.port).set("retries", 2);
    let sandbox = Sandbox::with(account.clone());
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.arrive(USER, large("new"));
    sandbox.config(&account.set("deliver", "\"maildir:~/Other\"").set("keep", false).to_string());
    sandbox.popfetch(["-q"]).exits(0).says(&["came before `deliver` was changed"]);
    assert_eq!((server.connections(), server.unique_ids(USER)), (3, vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_line_that_breaks_once_at_top_says_nothing_about_top() {
    // CAPA, AUTH, STAT, UIDL, LIST, and then TOP.
    let before = |command| Fault { moment: Moment::BeforeCommand(command), misdeed: Misdeed::HangUp };
    let server = server(mails(3)).faults([before(u64::MAX), before(6)]).start();
    let sandbox = Sandbox::with(Account::on(server.port).without("retries").set("keep", true));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
    assert_eq!((server.connections(), server.commands(3)[5].as_str()), (3, "TOP 1 0"));
    let ledger = std::fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
    assert!(!ledger.contains("no-top"), "{ledger}");
}

#[test]
fn top_is_given_up_for_a_day_when_each_dial_breaks_at_it() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port).without("retries").set("keep", true));
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.answer("TOP", Some(HANG_UP));
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).says(&["does not answer TOP", "3 messages due"]);
    assert_eq!(server.unique_ids(USER).len(), 3);
    let connections = server.connections();
    sandbox.popfetch(["-q", "--no-keep"]).exits(0);
    assert_eq!(server.connections(), connections + 1, "for a day it is known");
}

#[test]
fn without_unique_ids_what_has_come_does_not_come_again_in_the_same_run() {
    let server = server([large("a"), large("b"), large("c")]).answer("UIDL", "-ERR what?");
    let server = server.capabilities(&["PIPELINING", "TOP", "USER"]).faults([hang_up(50_000)]).start();
    let sandbox = Sandbox::with(Account::on(server.port).without("retries").set("keep", false).set("auth", "\"user\""));
    sandbox.popfetch(["-q"]).exits(75);
    assert_eq!((server.connections(), sandbox.maildir().messages().len()), (1, 2));
}
