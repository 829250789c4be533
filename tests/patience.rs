//! Failures in a row: what is reported of them where nobody watches, and what the ledger remembers.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::faults::{Call, can_trace, kill_before};
use crate::prompts::OnTerminal;
use crate::sandbox::{Account, Run, Sandbox, USER, mails, read, server};
use crate::server::{HANG_UP, Maildrop};

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
            for key in ["at", "since", "said"] {
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
    fails(&sandbox, &["closed the connection", "work: this was failure 4 in a row, within 6 hours"]);
    fails(&sandbox, &[]);
    // Whoever asks is told.
    fails_with(&sandbox, &["-v"]).says(&["closed the connection", "failure 6 in a row"]);
    fails_with(&sandbox, &["--dry-run"]).says(&["closed the connection"]);
    let run = fails_with(&sandbox, &["--json"]);
    assert_eq!(run.stderr, "");
    let report = run.account();
    assert!(report["error"].as_str().unwrap().contains("closed the connection"), "{report:#}");
    assert_eq!((&report["failing"]["cause"], &report["failing"]["times"]), (&json!("network"), &json!(7)));
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
    fails(&sandbox, &[]);
    server.answer("PASS", Some("-ERR [AUTH] no"));
    for _ in 0..3 {
        sandbox.popfetch([""; 0]).exits(77).says(&["[AUTH] no"]);
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
    assert!(run.stdout.contains("Z      3  account") && run.stdout.contains("Z      2\n"), "{run:#?}");
    let show = |account| {
        let run = sandbox.popfetch(["state", "show", account, "--json"]).exits(0);
        let failing = run.account()["state"]["failing"].clone();
        (failing["times"].clone(), failing["cause"].clone(), failing["since"].is_string(), failing["last"].is_string())
    };
    assert_eq!(show("other"), (json!(2), json!("network"), true, true));
    server.answer("UIDL", None);
    sandbox.popfetch(["-q", "work"]).exits(0).silently();
    assert_eq!(show("work").0, Value::Null);
}

#[test]
fn whoever_watches_is_told_each_time() {
    let (server, sandbox) = fetched();
    server.answer("UIDL", Some(HANG_UP));
    for _ in 0..2 {
        let Some(run) = OnTerminal::of_width(100, &sandbox, &[]) else { return };
        assert!(run.exits(75).contains("closed the connection"));
    }
    // Nobody else has heard of it.
    fails(&sandbox, &["closed the connection", "failure 3 in a row"]);
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
            let killed = kill_before(&sandbox, &Call::new(call, nth)).code() == 137;
            fails_with(&sandbox, &["-v"]).says(&["closed the connection"]);
            server.answer("UIDL", None);
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(server.count("RETR"), 1);
            if !killed || nth >= 60 {
                break;
            }
        }
    }
}
