//! Failures in a row: what is reported of them where nobody watches, and what the ledger remembers.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::faults::{Call, can_trace, kill_before};
use crate::prompts::OnTerminal;
use crate::sandbox::{Account, CANARY, Run, Sandbox, USER, mails, message, read, server};
use crate::server::{HANG_UP, Mail, Maildrop};

const IN_USE: &str = "-ERR [IN-USE] another session has the maildrop";

fn account(server: &Maildrop) -> Account {
    Account::on(server.port).set("auth", "\"user\"")
}

/// An account that fetches one message, and would.
fn fetched() -> (Maildrop, Sandbox) {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(account(&server));
    sandbox.popfetch([""; 0]).exits(0).silently();
    (server, sandbox)
}

/// Lets all that the ledger remembers of failures have happened so much earlier.
fn later(sandbox: &Sandbox, server: &Maildrop, seconds: u64) {
    let path = sandbox.ledger(USER, server.port);
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| match serde_json::from_str::<Value>(line).unwrap() {
        Value::Object(mut keys) if keys.get("note") == Some(&json!("failing")) => {
            for key in ["at", "since", "said", "not_before"] {
                if let Some(at) = keys.get(key).and_then(Value::as_u64) {
                    keys.insert(key.to_owned(), json!(at - seconds));
                }
            }
            // The key that tells what the line is stands first.
            let note = keys.remove("note").unwrap();
            format!("{{\"note\":{note},{}\n", &Value::Object(keys).to_string()[1..])
        }
        _ => format!("{line}\n"),
    });
    let text: String = lines.collect();
    fs::write(path, text).unwrap();
}

#[track_caller]
fn fails(sandbox: &Sandbox, words: &[&str]) -> Run {
    let run = sandbox.popfetch([""; 0]).exits(75);
    match words {
        [] => run.silently(),
        words => run.says(words),
    }
}

#[test]
fn a_failure_that_goes_on_is_reported_once_and_then_now_and_again() {
    let (server, sandbox) = fetched();
    server.answer("UIDL", Some(HANG_UP));
    let run = fails(&sandbox, &["work: the server closed the connection"]);
    assert!(!run.stderr.contains("in a row"), "{run:#?}");
    fails(&sandbox, &[]);
    later(&sandbox, &server, 6 * 3600 - 60);
    fails(&sandbox, &[]);
    later(&sandbox, &server, 60);
    wait_no_more(&sandbox, &server);
    fails(&sandbox, &["closed the connection", "work: this was failure 4 in a row, within 6 hours"]);
    fails(&sandbox, &[]);
    // Whoever asks is told.
    fails_with(&sandbox, &["-v", "--now"]).says(&["closed the connection", "failure 5 in a row"]);
    fails_with(&sandbox, &["--dry-run", "--now"]).says(&["closed the connection"]);
    let run = fails_with(&sandbox, &["--json", "--now"]);
    assert_eq!(run.stderr, "");
    let report = run.account();
    assert!(report["error"].as_str().unwrap().contains("closed the connection"), "{report:#}");
    assert_eq!((&report["failing"]["cause"], &report["failing"]["times"]), (&json!("network"), &json!(6)));
}

/// Lets the next try be due, though as much time as ever has passed.
fn wait_no_more(sandbox: &Sandbox, server: &Maildrop) {
    let path = sandbox.ledger(USER, server.port);
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| match line.split_once(",\"not_before\":") {
        Some((line, rest)) => format!("{line}{}\n", rest.trim_start_matches(|digit: char| digit.is_ascii_digit())),
        None => format!("{line}\n"),
    });
    let text: String = lines.collect();
    fs::write(path, text).unwrap();
}

#[track_caller]
fn fails_with(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    sandbox.popfetch(arguments).exits(75)
}

#[test]
fn notify_every_says_how_often() {
    for (every, seconds, is_reported) in [
        ("\"0\"", 0, true),
        ("0", 0, true),
        ("\"5m\"", 240, false),
        ("\"5m\"", 301, true),
        ("\"2d\"", 86400, false),
        ("\"2d\"", 2 * 86400, true),
    ] {
        let (server, sandbox) = fetched();
        sandbox.config(&account(&server).set("notify_every", every).to_string());
        server.answer("UIDL", Some(HANG_UP));
        fails(&sandbox, &["closed the connection"]);
        later(&sandbox, &server, seconds);
        fails(&sandbox, if is_reported { &["closed the connection", "failure 2 in a row"] } else { &[] });
    }
    let (server, sandbox) = fetched();
    for wrong in ["\"6\"", "-1", "6", "true", "\"soon\""] {
        sandbox.config(&account(&server).set("notify_every", wrong).to_string());
        sandbox.popfetch(["-q"]).exits(78).says(&["notify_every", "\"6h\"", "\"0\""]);
    }
}

#[test]
fn another_failure_is_reported_at_once() {
    let (server, sandbox) = fetched();
    server.answer("UIDL", Some(HANG_UP));
    fails(&sandbox, &["closed the connection"]);
    fails(&sandbox, &[]);
    server.answer("PASS", Some(IN_USE));
    fails(&sandbox, &["[IN-USE]", "failure 3 in a row"]);
    fails_with(&sandbox, &["--now"]).silently();
    server.answer("PASS", Some("-ERR [AUTH] no"));
    for _ in 0..3 {
        sandbox.popfetch(["--now"]).exits(77).says(&["[AUTH] no"]);
    }
    // It was another failure in between.
    server.answer("PASS", Some(IN_USE));
    let run = fails(&sandbox, &["[IN-USE]"]);
    assert!(!run.stderr.contains("in a row"), "{run:#?}");
}

#[test]
fn the_end_is_reported_where_some_failure_was_not() {
    let (server, sandbox) = fetched();
    let ledger = || read(&sandbox.ledger(USER, server.port));
    // Once, and everybody knows.
    server.answer("UIDL", Some(HANG_UP));
    fails(&sandbox, &["closed the connection"]);
    server.answer("UIDL", None);
    sandbox.popfetch([""; 0]).exits(0).silently();
    let quiet = ledger();
    sandbox.popfetch([""; 0]).exits(0).silently();
    assert_eq!(ledger(), quiet, "a good run writes nothing");
    for options in [&[][..], &["-q"]] {
        server.answer("UIDL", Some(HANG_UP));
        fails(&sandbox, &["closed the connection"]);
        fails(&sandbox, &[]);
        later(&sandbox, &server, 2 * 3600);
        server.answer("UIDL", None);
        let run = sandbox.popfetch(options).exits(0);
        let expected = "popfetch: work: works again, after 2 failures in a row within 2 hours\n";
        assert_eq!(run.stderr, if options.is_empty() { expected } else { "" });
        sandbox.popfetch([""; 0]).exits(0).silently();
    }
}

#[test]
fn mail_that_came_before_a_failure_begins_the_row_anew() {
    let (server, sandbox) = fetched();
    server.answer("UIDL", Some(HANG_UP));
    fails(&sandbox, &["closed the connection"]);
    fails(&sandbox, &[]);
    server.answer("UIDL", None);
    server.arrive(USER, mails(3).pop().unwrap());
    server.answer("QUIT", Some(HANG_UP));
    sandbox.config(&account(&server).set("keep", false).to_string());
    let run = fails_with(&sandbox, &["--json"]);
    assert_eq!((run.account()["delivered"].clone(), run.account()["failing"]["times"].clone()), (json!(1), json!(1)));
}

#[test]
fn what_fails_in_part_goes_on_like_what_fails_altogether() {
    // A message that is refused, by the MDA or by the server.
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let refuse = "grep -q 'Subject: message 1' && { echo \"busy $$\" >&2; exit 75; }; true";
    sandbox.config(&account(&server).set("deliver", sandbox.mda_script(refuse)).to_string());
    fails(&sandbox, &["message 1 (`m1`) stays on the server", "busy"]);
    fails(&sandbox, &[]);
    later(&sandbox, &server, 6 * 3600);
    fails(&sandbox, &["message 1 (`m1`) stays on the server", "failure 3 in a row"]);
    server.answer("RETR 1", Some("-ERR I would rather not"));
    fails(&sandbox, &["rather not"]);
    fails(&sandbox, &[]);
}

#[test]
fn another_message_that_fails_in_the_same_way_is_another_failure() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let refuse = "cat >/dev/null; echo busy >&2; exit 75";
    sandbox.config(&account(&server).set("deliver", sandbox.mda_script("exit 0")).to_string());
    sandbox.popfetch([""; 0]).exits(0);
    sandbox.config(&account(&server).set("deliver", sandbox.mda_script(refuse)).to_string());
    server.arrive(USER, Mail::new("one", message(1)));
    server.answer("RETR 2", Some("-ERR later"));
    fails(&sandbox, &["(`one`) stays on the server"]);
    fails(&sandbox, &[]);
    server.arrive(USER, Mail::new("two", message(2)));
    server.answer("RETR 3", Some("-ERR later"));
    fails(&sandbox, &["(`one`) stays", "(`two`) stays"]);
    fails(&sandbox, &[]);
}

#[test]
fn what_is_no_failure_is_said_all_the_same() {
    let (server, sandbox) = fetched();
    server.answer("UIDL", Some(HANG_UP));
    fails(&sandbox, &["closed the connection"]);
    let path = sandbox.ledger(USER, server.port);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("{\"note\":\"account\"", "~{\"note\":\"account\"", 1)).unwrap();
    let run = sandbox.popfetch([""; 0]).says(&["cannot be read"]);
    assert_eq!(run.code(), 65);
    fails(&sandbox, &["closed the connection"]);
}

#[test]
fn a_password_that_cannot_be_had_is_a_failure_like_others() {
    let server = server(mails(1)).start();
    let command = |status: u8| format!("[\"sh\", \"-c\", \"exit {status}\"]");
    let account = account(&server).without("password");
    let sandbox = Sandbox::with(account.clone().set("password_command", command(75)));
    fails(&sandbox, &["ended with exit status 75"]);
    fails(&sandbox, &[]);
    let run = fails_with(&sandbox, &["--json"]);
    assert_eq!(run.account()["failing"]["cause"], "secret");
}

#[test]
fn a_run_that_comes_to_no_ledger_reports_each_time() {
    let (server, sandbox) = fetched();
    let lock =
        fs::OpenOptions::new().write(true).open(sandbox.ledger(USER, server.port).with_extension("lock")).unwrap();
    lock.lock().unwrap();
    for _ in 0..3 {
        fails(&sandbox, &["another run"]);
    }
}

#[test]
fn each_account_has_a_row_of_its_own() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (server, sandbox) = fetched();
    server.answer("UIDL", Some(HANG_UP));
    fails(&sandbox, &["closed the connection"]);
    let other = Account::on(port).named("other");
    sandbox.config(&format!("{}{other}", account(&server)));
    let run = fails(&sandbox, &["other: cannot connect"]);
    assert!(!run.stderr.contains("work"), "{run:#?}");
    fails(&sandbox, &[]);
    let run = sandbox.popfetch(["state", "show"]).exits(0);
    let lines: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split("  ").collect()).collect();
    assert!(lines[0].concat().contains("FAILING SINCE"), "{run:#?}");
    assert!(run.stdout.contains("Z      3  20") && run.stdout.contains("Z      2\n"), "{run:#?}");
    let show = |account| {
        let run = sandbox.popfetch(["state", "show", account, "--json"]).exits(0);
        let failing = run.account()["state"]["failing"].clone();
        (failing["times"].clone(), failing["cause"].clone(), failing["since"].is_string(), failing["last"].is_string())
    };
    assert_eq!(show("other"), (json!(2), json!("network"), true, true));
    server.answer("UIDL", None);
    sandbox.popfetch(["-q", "--now", "work"]).exits(0).silently();
    assert_eq!(show("work").0, Value::Null);
}

#[test]
fn whoever_watches_is_told_each_time() {
    let (server, sandbox) = fetched();
    server.answer("UIDL", Some(HANG_UP));
    for _ in 0..3 {
        let Some(run) = OnTerminal::of_width(100, &sandbox, &[]) else { return };
        assert!(run.exits(75).contains("closed the connection"));
    }
    for _ in 0..2 {
        let Some(run) = OnTerminal::of_width(100, &sandbox, &[]) else { return };
        assert!(run.exits(75).contains("not tried before"));
    }
    // Nobody else has heard of it.
    fails(&sandbox, &["not tried before"]);
    fails(&sandbox, &[]);
}

#[test]
fn a_kill_anywhere_in_a_run_that_fails_leaves_a_ledger() {
    if !can_trace() {
        return;
    }
    for call in ["write", "openat"] {
        for nth in 1.. {
            let (server, sandbox) = fetched();
            server.answer("UIDL", Some(HANG_UP));
            // The third one writes down that the account waits.
            fails(&sandbox, &["closed the connection"]);
            fails(&sandbox, &[]);
            let killed = kill_before(&sandbox, &Call::new(call, nth)).code() == 137;
            fails_with(&sandbox, &["-v", "--now"]).says(&["closed the connection"]);
            server.answer("UIDL", None);
            sandbox.popfetch(["-q", "--now"]).exits(0).silently();
            assert_eq!(server.count("RETR"), 1);
            if !killed || nth >= 60 {
                break;
            }
        }
    }
}

/// An account that has failed three times in a row, because of this answer to UIDL.
fn waiting(answer: &str) -> (Maildrop, Sandbox) {
    let (server, sandbox) = fetched();
    server.answer("UIDL", Some(answer));
    for _ in 0..3 {
        fails_with(&sandbox, &["-q"]);
    }
    (server, sandbox)
}

#[test]
fn from_the_third_failure_on_an_account_waits_and_the_wait_grows() {
    let (server, sandbox) = waiting(HANG_UP);
    let mut connections = server.connections();
    assert_eq!(connections, 4);
    let minutes = || {
        let run = fails_with(&sandbox, &["--json"]);
        let failing = run.account()["failing"].clone();
        let seconds = |key: &str| failing[key].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        (seconds("not_before") - seconds("last")).num_minutes()
    };
    for wait in [5, 10, 20, 40, 80, 120, 120] {
        assert_eq!((minutes(), server.connections()), (wait, connections));
        fails(&sandbox, &[]);
        later(&sandbox, &server, wait as u64 * 60 - 50);
        fails_with(&sandbox, &["-v"]).says(&["work: not tried before 20", "in a row since 20", "hint: `--now`"]);
        assert_eq!(server.connections(), connections);
        later(&sandbox, &server, 50);
        fails_with(&sandbox, &["-q"]);
        connections += 1;
        assert_eq!(server.connections(), connections);
    }
    // What a person asks for is done, and a success ends it.
    server.answer("UIDL", None);
    fails(&sandbox, &[]);
    sandbox.popfetch(["-q", "--now"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.connections(), connections + 2);
    server.answer("UIDL", Some(HANG_UP));
    for _ in 0..3 {
        fails_with(&sandbox, &["-q"]);
    }
    assert_eq!((server.connections(), minutes()), (connections + 5, 5));
}

#[test]
fn a_wait_is_reported_like_the_failure_that_it_comes_from() {
    let (server, sandbox) = waiting(HANG_UP);
    fails(&sandbox, &[]);
    // The report is due while the account waits.
    let path = sandbox.ledger(USER, server.port);
    let text = fs::read_to_string(&path).unwrap();
    let last = text.lines().last().unwrap();
    let said = serde_json::from_str::<Value>(last).unwrap()["said"].as_u64().unwrap();
    let earlier = last.replace(&format!("\"said\":{said}"), &format!("\"said\":{}", said - 6 * 3600));
    fs::write(&path, text.replace(last, &earlier)).unwrap();
    let run =
        fails(&sandbox, &["work: not tried before", "3 failures in a row", "cannot be reached, or the line breaks"]);
    assert!(!run.stderr.contains("this was failure"), "{run:#?}");
    fails(&sandbox, &[]);
    assert_eq!(server.connections(), 4);
}

#[test]
fn a_dry_run_says_that_an_account_waits_and_who_only_looks_does_not_wait() {
    let (server, sandbox) = waiting(HANG_UP);
    let before = read(&sandbox.ledger(USER, server.port));
    fails_with(&sandbox, &["--dry-run"]).says(&["not tried before", "`--now`"]);
    assert_eq!(server.connections(), 4);
    server.answer("UIDL", None);
    assert!(sandbox.popfetch(["--dry-run", "--now"]).exits(0).stdout.starts_with("work: 1 on the server"));
    let list = sandbox.popfetch(["list"]).exits(0).says(&["a fetch waits: not tried before", "`--now`"]);
    assert!(list.stdout.starts_with("work: 1 message"), "{list:#?}");
    assert_eq!(sandbox.popfetch(["list", "--now"]).exits(0).stderr, "");
    let check = sandbox.popfetch(["check"]).exits(0);
    assert!(check.stdout.contains("warning") && check.stdout.contains("a fetch waits"), "{check:#?}");
    let check = sandbox.popfetch(["check", "--now"]).exits(0);
    assert!(!check.stdout.contains("a fetch waits"), "{check:#?}");
    assert_eq!(server.connections(), 9);
    assert_eq!(read(&sandbox.ledger(USER, server.port)), before);
    // A person says something of messages.
    sandbox.popfetch(["state", "known", "--yes"]).exits(0);
    fails(&sandbox, &[]);
}

#[test]
fn what_waiting_does_not_mend_is_not_waited_for() {
    for (command, answer, status) in [
        ("PASS", "-ERR [AUTH] wrong password", 77),
        ("PASS", "-ERR [SYS/TEMP] the disk of the server is full", 75),
        ("PASS", "-ERR Temporary authentication failure", 75),
        ("UIDL", "+OK\r\nwhat\r\n.", 76),
    ] {
        let (server, sandbox) = fetched();
        server.answer(command, Some(answer));
        for count in 2..=7 {
            sandbox.popfetch(["-q"]).exits(status);
            assert_eq!(server.connections(), count, "{answer}");
        }
    }
    for (answer, cause) in [
        ("-ERR [IN-USE] another session", "in-use"),
        ("-ERR [LOGIN-DELAY] not so often", "login-delay"),
        ("-ERR [SYS/TEMP] too many connections", "throttled"),
        ("-ERR Too many logins, try again later", "throttled"),
    ] {
        let (server, sandbox) = fetched();
        server.answer("PASS", Some(answer));
        for _ in 2..=7 {
            sandbox.popfetch(["-q"]).exits(75);
        }
        assert_eq!(server.connections(), 4, "{answer}");
        assert_eq!(fails_with(&sandbox, &["--json"]).account()["failing"]["cause"], cause);
    }
}

#[test]
fn what_the_server_announces_is_the_least_wait() {
    let server = server(mails(1)).capabilities(&["UIDL", "USER", "LOGIN-DELAY 1800"]).start();
    let sandbox = Sandbox::with(account(&server));
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.answer("PASS", Some("-ERR [LOGIN-DELAY] not so often"));
    for _ in 0..4 {
        fails_with(&sandbox, &["-q"]);
    }
    later(&sandbox, &server, 1790);
    fails_with(&sandbox, &["-v"]).says(&["not tried before", "more time between two logins"]);
    assert_eq!(server.connections(), 4);
    later(&sandbox, &server, 10);
    fails_with(&sandbox, &["-q"]);
    assert_eq!(server.connections(), 5);
}

#[test]
fn no_clock_and_no_line_of_the_ledger_makes_an_account_wait_for_ever() {
    let (server, sandbox) = waiting(HANG_UP);
    server.answer("UIDL", None);
    let path = sandbox.ledger(USER, server.port);
    let good = fs::read_to_string(&path).unwrap();
    let line = good.lines().last().unwrap();
    let number = |key: &str| serde_json::from_str::<Value>(line).unwrap()[key].as_u64().unwrap();
    let (at, not_before) = (number("at"), number("not_before"));
    let with = |at: u64, not_before: u64| {
        let line = line.replace(&format!("\"at\":{}", number("at")), &format!("\"at\":{at}"));
        line.replace(&format!("\"not_before\":{}", number("not_before")), &format!("\"not_before\":{not_before}"))
    };
    for (at, not_before) in [
        // The clock was ahead when it failed, by an hour or by many years.
        (at + 3600, not_before + 3600),
        (at + 3_000_000_000, not_before + 3_000_000_000),
        (at, u64::MAX),
        (0, u64::MAX),
        (0, not_before),
    ] {
        fs::write(&path, good.replace(line, &with(at, not_before))).unwrap();
        sandbox.popfetch(["-q"]).exits(0).silently();
    }
    fs::write(&path, good).unwrap();
    fails_with(&sandbox, &["-q"]);
}

#[test]
fn nobody_is_asked_for_a_password_while_the_account_waits() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    let command = format!("[\"sh\", \"-c\", \"echo >>{}; echo {CANARY}\"]", sandbox.path("asked").display());
    sandbox.config(&account(&server).without("password").set("password_command", command).to_string());
    let asked = || fs::read_to_string(sandbox.path("asked")).unwrap().len();
    server.answer("UIDL", Some(HANG_UP));
    for _ in 0..6 {
        fails_with(&sandbox, &["-q"]);
    }
    assert_eq!((asked(), server.connections()), (3, 3));
    later(&sandbox, &server, 300);
    fails_with(&sandbox, &["-q"]);
    fails_with(&sandbox, &["-q", "--now"]);
    server.answer("UIDL", None);
    sandbox.popfetch(["-q", "--now"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((asked(), server.connections()), (7, 7));
}

#[test]
fn a_target_that_fails_three_times_is_left_out_for_a_while_and_the_others_go_on() {
    let server = server(mails(8)).start();
    let sandbox = Sandbox::new();
    let turns = || fs::read_to_string(sandbox.path("turns")).unwrap_or_default().len();
    let script = format!(
        "echo >>{0}/turns; [ -e {0}/mended ] && exec cat >/dev/null; echo no >&2; exit 75",
        sandbox.path("").display()
    );
    let deliver = format!("[\"maildir:~/Mail\", {}]", sandbox.mda_script(&script));
    sandbox.config(&account(&server).set("deliver", &deliver).to_string());
    for _ in 0..3 {
        fails_with(&sandbox, &["-q"]);
    }
    let (retrieved, before) = (server.count("RETR"), turns());
    assert_eq!(before, 15);
    // It gets nothing, and nothing is retrieved for it; new mail goes to the other one.
    fails(&sandbox, &[]);
    server.arrive(USER, mails(9).pop().unwrap());
    fails_with(&sandbox, &["-v"]).says(&["gets no messages in this run: not tried before", "3 failures in a row"]);
    assert_eq!((server.count("RETR"), turns(), sandbox.maildir().messages().len()), (retrieved + 1, before, 9));
    let run = fails_with(&sandbox, &["--dry-run"]).says(&["gets no messages in this run"]);
    assert!(run.stdout.contains("would deliver 0"), "{run:#?}");
    sandbox.popfetch(["list"]).exits(0).says(&["a fetch leaves `mda:"]);
    let run = sandbox.popfetch(["state", "show"]).exits(0);
    assert!(
        run.stdout.lines().nth(2).is_some_and(|line| line.starts_with("  mda:") && line.contains("  3  20")),
        "{run:#?}"
    );
    let run = sandbox.popfetch(["state", "show", "--json"]).exits(0);
    let targets = run.account()["state"]["failing_targets"].clone();
    assert_eq!((&targets[0]["times"], targets.as_array().unwrap().len()), (&json!(3), 1));
    assert!(targets[0]["not_before"].is_string() && targets[0]["target"].as_str().unwrap().starts_with("mda:"));
    // It is tried again when its time has come, and works.
    later(&sandbox, &server, 300);
    fails_with(&sandbox, &["-q"]);
    assert_eq!(turns(), before + 5);
    fails_with(&sandbox, &["-q"]);
    assert_eq!(turns(), before + 5);
    sandbox.file("mended", "");
    sandbox.popfetch(["-q", "--now"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    let run = sandbox.popfetch(["state", "show", "--json"]).exits(0);
    let state = run.account()["state"].clone();
    assert_eq!((&state["failing"], &state["failing_targets"]), (&Value::Null, &json!([])));
    assert_eq!(turns(), before + 5 + 9);
}

#[test]
fn an_account_waits_for_its_only_target() {
    let server = server(mails(8)).start();
    let sandbox = Sandbox::new();
    let script = format!("[ -e {0}/mended ] && exec cat >/dev/null; echo no >&2; exit 75", sandbox.path("").display());
    sandbox.config(&account(&server).set("deliver", sandbox.mda_script(&script)).to_string());
    for _ in 0..3 {
        fails_with(&sandbox, &["-q"]);
    }
    assert_eq!(server.connections(), 3);
    fails_with(&sandbox, &["-v"]).says(&["work: not tried before", "the target takes no mail", "hint: `--now`"]);
    fails_with(&sandbox, &["--dry-run"]).says(&["work: not tried before"]);
    fails(&sandbox, &[]);
    assert_eq!(server.connections(), 3);
    sandbox.file("mended", "");
    later(&sandbox, &server, 300);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.connections(), server.count("RETR")), (4, 4 * 8));
}

#[test]
fn a_url_waits_like_an_account() {
    let (server, sandbox) = waiting(HANG_UP);
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    sandbox.file(".netrc", format!("default login {USER} password {CANARY}\n"));
    let by_url = ["--tls", "none", "--deliver", "maildir:~/Mail", &url];
    fails_with(&sandbox, &by_url).silently();
    fails_with(&sandbox, &[&["-v"], &by_url[..]].concat()).says(&["not tried before"]);
    assert_eq!(server.connections(), 4);
    server.answer("UIDL", None);
    sandbox.popfetch([&["-q", "--now"], &by_url[..]].concat()).exits(0).silently();
}

#[test]
fn a_password_that_worked_a_moment_ago_may_be_refused_because_of_too_many_logins() {
    let (server, sandbox) = fetched();
    server.answer("PASS", Some("-ERR [AUTH] Username and password not accepted"));
    let lock = sandbox.ledger(USER, server.port).with_extension("lock");
    let lock = fs::OpenOptions::new().write(true).open(lock).unwrap();
    let now = SystemTime::now();
    for (ago, is_told) in [(7 * 60, true), (3590, true), (3700, false)] {
        lock.set_modified(now - Duration::from_secs(ago)).unwrap();
        for command in ["fetch", "list"] {
            let run = sandbox.popfetch([command]).exits(77).says(&["hint: ", "check `user` and the password"]);
            assert_eq!(
                run.stderr.contains("minutes ago, so unless the password was changed"),
                is_told,
                "{ago} {run:#?}"
            );
        }
    }
    // The clock was ahead when it worked.
    lock.set_modified(now + Duration::from_secs(3600)).unwrap();
    assert!(!sandbox.popfetch([""; 0]).exits(77).stderr.contains("ago"));
    // It never worked.
    let sandbox = Sandbox::with(account(&server));
    assert!(!sandbox.popfetch([""; 0]).exits(77).stderr.contains("ago"));
}
