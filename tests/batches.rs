//! Servers that list only a batch of their messages in each session, and others only when these were retrieved: a run
//! goes on until nothing is new, everything comes once, and other servers are not asked twice.

use rustix::process::Signal;

use crate::connection::dial;
use crate::sandbox::{Account, Destination, Sandbox, USER, all_at_home, server, wait_until};
use crate::server::{Builder, Fault, HANG_UP, Mail, Maildrop, Misdeed, Moment};

/// What the server of these tests lists in a session.
const BATCH: usize = 250;

/// Messages of many sizes, from this one on.
fn mails_from(first: usize, count: usize) -> Vec<Mail> {
    let mail = |number: usize| {
        let filler = "x".repeat(number * 37 % 701);
        let text = format!("Message-ID: <{number}@x>\r\nSubject: message {number}\r\n\r\n{filler}\r\n");
        Mail::new(format!("id-{number}"), text)
    };
    (first..first + count).map(mail).collect()
}

fn mails(count: usize) -> Vec<Mail> {
    mails_from(1, count)
}

/// Each message is there once, and nothing else.
#[track_caller]
fn assert_home(messages: Vec<Vec<u8>>, all: &[Mail], when: &str) {
    let expected = all_at_home(all);
    let (came, wanted) = (messages.len(), expected.len());
    assert!(messages == expected, "{when}: {came} messages came, {wanted} were there");
}

fn with_capability(builder: Builder, capability: &str) -> Builder {
    builder.capabilities(&["TOP", "UIDL", "USER", "SASL PLAIN", "PIPELINING", "RESP-CODES", capability])
}

fn has_note(sandbox: &Sandbox, server: &Maildrop, word: &str) -> bool {
    let ledger = std::fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
    ledger.lines().rfind(|line| line.contains(&format!("\"note\":\"{word}\""))).is_some_and(|l| !l.contains("\"over\""))
}

#[test]
fn a_run_goes_on_until_nothing_is_new() {
    for destination in [Destination::Maildir, Destination::Mbox] {
        for keep in [true, false] {
            let all = mails(4 * BATCH + 140);
            let server = server(all.clone()).hands_out(BATCH).start();
            let sandbox = Sandbox::new();
            let account = Account::on(server.port).set("keep", keep).set("deliver", destination.deliver(&sandbox));
            sandbox.config(&account.to_string());
            let run = sandbox.popfetch(["--json"]).exits(0);
            assert_eq!(run.stderr, "");
            let account = run.account();
            let deleted = if keep { 0 } else { all.len() };
            for (key, expected) in [("delivered", all.len()), ("listed", all.len()), ("known", 0), ("deleted", deleted)]
            {
                assert_eq!(account[key], expected, "{destination:?}, keep {keep}: {key}");
            }
            assert_home(destination.messages(&sandbox), &all, &format!("{destination:?}"));
            assert_eq!((server.connections(), server.unique_ids(USER).len()), (5, all.len() - deleted));
            assert!(has_note(&sandbox, &server, "batches"));
            // A few messages are no batch, and what is over costs no second login.
            for late in 0..2 {
                server.arrive(USER, mails_from(5000 + late, 1).remove(0));
                sandbox.popfetch(["-q"]).exits(0).silently();
                sandbox.popfetch(["-q"]).exits(0).silently();
            }
            assert_eq!((server.connections(), destination.messages(&sandbox).len()), (9, all.len() + 2));
        }
    }
}

#[test]
fn a_server_that_lists_everything_is_asked_once() {
    for keep in [true, false] {
        let server = server(mails(BATCH - 1)).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", keep));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.connections(), 1, "so few are no batch");
        server.arrive(USER, mails_from(1000, 1).remove(0));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.connections(), 2);
    }
    let mut all = mails(BATCH);
    let server = server(all.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let account = sandbox.popfetch(["--json"]).exits(0).account();
    assert_eq!(
        (&account["listed"], &account["known"], &account["delivered"]),
        (&BATCH.into(), &0.into(), &BATCH.into())
    );
    assert!(server.connections() == 2 && has_note(&sandbox, &server, "whole"));
    for mail in mails_from(2000, 3 * BATCH) {
        all.push(mail.clone());
        server.arrive(USER, mail);
    }
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.connections(), 3);
    assert_home(sandbox.maildir().messages(), &all, "");
}

#[test]
fn a_kill_between_two_batches_or_within_one_loses_and_doubles_nothing() {
    for retrieved in [BATCH - 1, BATCH + 50, 2 * BATCH, 3 * BATCH - 1] {
        for destination in [Destination::Maildir, Destination::Mbox] {
            let all = mails(4 * BATCH + 140);
            let server = server(all.clone()).hands_out(BATCH).start();
            let sandbox = Sandbox::new();
            let account = Account::on(server.port).set("deliver", destination.deliver(&sandbox));
            sandbox.config(&account.to_string());
            // It learns what the server does.
            sandbox.popfetch(["-q", "--max-messages=251"]).exits(0).silently();
            let before = server.count("RETR");
            for more in [0, BATCH / 2] {
                let running = sandbox.start(&mut sandbox.command(["-q"]));
                wait_until(|| server.count("RETR") >= before + retrieved + more || server.unseen(USER) == 0);
                running.signal(Signal::KILL);
                assert!(matches!(running.finish().code(), 137 | 0));
                wait_until(|| server.is_idle());
            }
            let mut runs = 0;
            while sandbox.popfetch(["--json", "-q"]).exits(0).account()["delivered"] != 0 {
                runs += 1;
                assert!(runs < 40);
            }
            assert_home(destination.messages(&sandbox), &all, &format!("{destination:?}, killed after {retrieved}"));
        }
    }
}

#[test]
fn what_a_session_without_quit_has_brought_is_retrieved_once_more_and_not_delivered() {
    let all = mails(2 * BATCH + 20);
    let server = server(all.clone()).hands_out(BATCH).start();
    server.answer("QUIT", Some(HANG_UP));
    let account = Account::on(1).set("server", "\"pop.gmail.com\"").set("tunnel", dial(server.port));
    let sandbox = Sandbox::with(account);
    let counts = |run: crate::sandbox::Run| {
        let account = run.exits(0).account();
        ["delivered", "known", "listed"].map(|key| account[key].as_u64().unwrap())
    };
    assert_eq!(counts(sandbox.popfetch(["--json"])), [250, 0, 250]);
    // They are in the way of all others.
    assert_eq!((server.connections(), server.unseen(USER)), (1, all.len()));
    server.answer("QUIT", None);
    assert_eq!(counts(sandbox.popfetch(["--json"])), [270, 250, 520]);
    assert_eq!((server.count("RETR"), server.unseen(USER)), (3 * BATCH + 20, 0));
    assert_home(sandbox.maildir().messages(), &all, "");
}

#[test]
fn what_was_only_marked_as_known_does_not_stay_in_the_way() {
    let all = mails(BATCH + 20);
    let server = server(all.clone()).hands_out(BATCH).start();
    let account = Account::on(1).set("server", "\"pop.gmail.com\"").set("tunnel", dial(server.port));
    let sandbox = Sandbox::with(account);
    sandbox.popfetch(["state", "known", "work", "--yes"]).exits(0);
    let account = sandbox.popfetch(["--json"]).exits(0).account();
    assert_eq!((&account["delivered"], &account["known"]), (&20.into(), &250.into()));
    assert_home(sandbox.maildir().messages(), &all[BATCH..], "");
    assert_eq!(server.unseen(USER), 0);
}

/// A maildrop of three batches, all of them old, and an account that wants what comes from now on.
fn old_batches(gmail_by_name: bool) -> (Maildrop, Sandbox, Account) {
    let received = "Received: from a by b; Mon, 5 Jan 2026 10:00:00 +0000\r\n";
    let old = |mail: Mail| Mail::new(mail.unique_id, [received.as_bytes(), &mail.octets].concat());
    let builder = server(mails(2 * BATCH + 20).into_iter().map(old)).hands_out(BATCH);
    let server = if gmail_by_name { builder } else { with_capability(builder, "EXPIRE 0") }.start();
    let host = if gmail_by_name { "\"pop.gmail.com\"" } else { "\"mail.example\"" };
    let account = Account::on(1).set("server", host).set("tunnel", dial(server.port)).set("start", "\"now\"");
    (server, Sandbox::new(), account)
}

#[test]
fn what_counts_as_known_because_of_start_does_not_stay_in_the_way() {
    for (keep, gmail_by_name) in [(true, true), (false, true), (true, false), (false, false)] {
        let (server, sandbox, account) = old_batches(gmail_by_name);
        sandbox.config(&account.set("keep", keep).to_string());
        let account = sandbox.popfetch(["--json"]).exits(0).account();
        assert_eq!((&account["delivered"], &account["before_start"]), (&0.into(), &(2 * BATCH + 20).into()), "{keep}");
        let late = mails_from(9000, 3);
        late.iter().for_each(|mail| server.arrive(USER, mail.clone()));
        sandbox.popfetch(["-q"]).exits(0).silently();
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_home(sandbox.maildir().messages(), &late, "");
        let old = server.unique_ids(USER).len();
        assert_eq!(old, 2 * BATCH + 20 + if keep { 3 } else { 0 }, "what never came home is not deleted");
    }
}

#[test]
fn a_limit_does_not_end_a_start_before_all_batches_are_known() {
    for limit in [["max_octets", "\"9K\""], ["max_messages", "20"]] {
        let (server, sandbox, account) = old_batches(true);
        sandbox.config(&account.set(limit[0], limit[1]).to_string());
        let mut runs = 0;
        while server.unseen(USER) >= BATCH {
            sandbox.popfetch(["-q"]).exits(0).silently();
            runs += 1;
            assert!(runs < 90, "{limit:?}: {} are unseen", server.unseen(USER));
        }
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_home(sandbox.maildir().messages(), &[], &format!("{limit:?}"));
    }
}

#[test]
fn where_everything_is_listed_nothing_is_retrieved_again_and_again() {
    let all = mails(BATCH + 20);
    let server = server(all.clone()).start();
    let account = Account::on(1).set("server", "\"pop.gmail.com\"").set("tunnel", dial(server.port));
    let sandbox = Sandbox::with(account.clone().set("max_messages", BATCH));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.config(&account.to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    let retrieved = server.count("RETR");
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), retrieved);
    assert_home(sandbox.maildir().messages(), &all, "");
}

#[test]
fn limits_are_those_of_the_whole_run() {
    let all = mails(3 * BATCH);
    for (option, connections, delivered) in
        [("--max-messages=300", 2, 300), ("--max-messages=250", 1, 250), ("--max-octets=1k", 1, 0)]
    {
        let server = server(all.clone()).hands_out(BATCH).start();
        let sandbox = Sandbox::with(Account::on(server.port));
        let account = sandbox.popfetch(["--json", option]).exits(0).account();
        if delivered > 0 {
            assert_eq!(account["delivered"], delivered, "{option}");
        }
        assert_eq!(server.connections(), connections, "{option}");
        let mut runs = 0;
        while sandbox.popfetch(["--json", "-q"]).exits(0).account()["delivered"] != 0 {
            runs += 1;
            assert!(runs < 9, "{option}");
        }
        assert_home(sandbox.maildir().messages(), &all, option);
    }
}

#[test]
fn a_dry_run_opens_one_session_and_says_that_a_run_opens_more() {
    let server = server(mails(BATCH + 50)).hands_out(BATCH).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let run = sandbox.popfetch(["-v", "--dry-run"]).exits(0);
    run.says(&["a run asks once more for messages behind these"]);
    let run = sandbox.popfetch(["--dry-run"]).exits(0);
    assert_eq!((run.stderr.as_str(), server.connections()), ("", 2));
    sandbox.popfetch(["-q", "--all"]).exits(0);
    assert_eq!(server.connections(), 3, "what would come again is not asked for");
}

#[test]
fn login_delay_is_waited_for_or_left_to_the_next_run() {
    for (capability, connections) in [("LOGIN-DELAY 1", 3), ("LOGIN-DELAY 61", 1)] {
        let all = mails(2 * BATCH + 10);
        let server = with_capability(server(all.clone()), capability).hands_out(BATCH).start();
        let sandbox = Sandbox::with(Account::on(server.port));
        let run = sandbox.popfetch(["-v"]).exits(0);
        assert_eq!(server.connections(), connections, "{capability}");
        if connections > 1 {
            assert!(run.elapsed.as_secs() >= 2, "{capability}");
            assert_home(sandbox.maildir().messages(), &all, "");
        } else {
            run.says(&["hands its messages out in batches, and the next run goes on", "61 s between two logins"]);
            assert_eq!(sandbox.maildir().messages().len(), BATCH);
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(sandbox.maildir().messages().len(), 2 * BATCH);
        }
    }
}

#[test]
fn a_login_that_is_refused_before_the_next_batch_is_no_failure() {
    for words in ["-ERR [LOGIN-DELAY] too soon", "-ERR [IN-USE] wait", "-ERR [AUTH] no", "-ERR [SYS/TEMP] later"] {
        let all = mails(BATCH + 10);
        let server = with_capability(server(all.clone()), "LOGIN-DELAY 2").hands_out(BATCH).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("retries", 2));
        let running = sandbox.start(&mut sandbox.command(["-v"]));
        wait_until(|| server.count("QUIT") == 1);
        server.answer("AUTH", Some(words));
        running.finish().exits(0).says(&["and the next run goes on", words.trim_start_matches("-ERR ")]);
        assert_eq!((server.connections(), sandbox.maildir().messages().len()), (2, BATCH), "{words}");
        server.answer("AUTH", None);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_home(sandbox.maildir().messages(), &all, words);
    }
}

#[test]
fn a_signal_ends_the_wait_for_the_next_batch() {
    let all = mails(BATCH + 10);
    let server = with_capability(server(all.clone()), "LOGIN-DELAY 60").hands_out(BATCH).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let running = sandbox.start(&mut sandbox.listening(["-q"]));
    wait_until(|| server.count("QUIT") == 1 && server.is_idle());
    running.signal(Signal::TERM);
    running.finish().exits(143);
    assert_eq!((server.connections(), sandbox.maildir().messages().len()), (1, BATCH));
}

#[test]
fn a_batch_in_which_a_message_was_refused_is_the_last_one() {
    let server = server(mails(BATCH + 10)).hands_out(BATCH).answer("RETR 7", "-ERR not now").start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(75);
    assert_eq!((server.connections(), server.count("RETR")), (1, BATCH));
}

#[test]
fn quit_does_not_take_away_what_a_target_has_refused() {
    let script = "cat >$HOME/in; if grep -q 'message 2$' $HOME/in && test -e $HOME/no; then exit 75; fi; mktemp $HOME/kept.XXXXXX";
    for capability in ["EXPIRE 0", "X-OTHER"] {
        for keep in [true, false] {
            let server = with_capability(server(mails(3)), capability).hands_out(BATCH).start();
            let sandbox = Sandbox::new();
            sandbox.file("mda.sh", script);
            sandbox.file("no", "");
            let deliver = format!("\"mda:/bin/sh {}\"", sandbox.path("mda.sh").display());
            sandbox.config(&Account::on(server.port).set("deliver", deliver).set("keep", keep).to_string());
            let run = sandbox.popfetch(["--json"]).exits(75).account();
            assert_eq!(run["delivered"], 2, "{run:#}");
            if capability == "EXPIRE 0" {
                assert_eq!((server.unseen(USER), server.count("QUIT")), (3, 0), "{keep}");
                std::fs::remove_file(sandbox.path("no")).unwrap();
                assert_eq!(sandbox.popfetch(["--json"]).exits(0).account()["delivered"], 1);
                assert_eq!(server.count("QUIT"), 1);
            }
        }
    }
}

#[test]
fn unique_ids_that_change_with_the_session_bring_nothing_twice() {
    let all = mails(BATCH + 10);
    let server = server(all.clone()).changes_unique_ids().start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!(server.connections(), 2);
    assert_home(sandbox.maildir().messages(), &all, "");
    sandbox.popfetch(["-q"]).exits(0);
    assert_home(sandbox.maildir().messages(), &all, "");
}

#[test]
fn a_line_that_breaks_within_a_batch_is_dialled_again_and_the_batches_go_on() {
    let all = mails(3 * BATCH);
    let hang_up = |octets| Fault { moment: Moment::OctetsSent(octets), misdeed: Misdeed::HangUp };
    let faults = [hang_up(u64::MAX), hang_up(80_000)];
    let server = server(all.clone()).hands_out(BATCH).faults(faults).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("retries", 2));
    let account = sandbox.popfetch(["--json"]).exits(0).account();
    let counts = ["delivered", "known", "listed"].map(|key| account[key].as_u64().unwrap());
    assert_eq!(counts, [750, 0, 750]);
    assert_home(sandbox.maildir().messages(), &all, "");
    assert_eq!((server.connections(), server.unseen(USER)), (5, 0));
}

#[test]
fn an_expiry_that_is_sooner_than_keep_is_told_once() {
    for (capability, keep, words) in [
        ("EXPIRE 0", "true", Some("EXPIRE 0: whatever `keep` says")),
        ("EXPIRE 0 USER", "\"3d\"", Some("EXPIRE 0")),
        ("EXPIRE 7", "\"8d\"", Some("messages after 7 days")),
        ("EXPIRE 7", "true", None),
        ("EXPIRE 7", "\"7d\"", None),
        ("EXPIRE NEVER", "true", None),
        ("EXPIRE 0", "false", None),
    ] {
        let server = with_capability(server(mails(2)), capability).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", keep));
        for has_news in [true, false] {
            let dry = sandbox.popfetch(["--dry-run", "-q"]).exits(0);
            let run = sandbox.popfetch(["-q"]).exits(0);
            match words.filter(|_| has_news) {
                Some(words) => assert!(dry.stderr.contains(words) && run.stderr.contains(words), "{}", run.stderr),
                None => assert_eq!((dry.stderr.as_str(), run.stderr.as_str()), ("", ""), "{capability} {keep}"),
            }
        }
        let run = sandbox.popfetch(["check"]);
        assert_eq!(run.stdout.contains("lets it delete messages"), words.is_some(), "{capability}: {}", run.stdout);
    }
}
