//! `--json`: one event a line, as things happen; and a standard output that fails.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Account, Run, Sandbox, USER, all_at_home, mails, server, wait_until};
use crate::server::{Fault, Mail, Misdeed, Moment};

fn names(run: &Run) -> Vec<String> {
    run.events().iter().map(|event| event["event"].as_str().expect("an event has a name").to_owned()).collect()
}

#[test]
fn a_run_tells_its_beginning_each_account_and_its_end() {
    for more in [&[][..], &["--dry-run"]] {
        let (one, two) = (server(mails(3)).start(), server(mails(2)).start());
        let sandbox = Sandbox::new();
        sandbox.config(&format!("{}{}", Account::on(one.port), Account::on(two.port).named("home")));
        let run = sandbox.popfetch([&["--json"], more].concat()).exits(0);
        assert!(run.stderr.is_empty(), "{run:#?}");
        let events = run.events();
        assert_eq!(names(&run), ["run", "account", "account", "end"]);
        assert!(events.iter().all(|event| event["v"] == 1), "{run:#?}");
        assert!(run.stdout.lines().all(|line| line.starts_with("{\"v\":1,\"event\":\"")), "{run:#?}");
        let begin = &events[0];
        assert_eq!(
            (&begin["command"], &begin["version"], &begin["accounts"], &begin["dry_run"]),
            (&"fetch".into(), &env!("CARGO_PKG_VERSION").into(), &2.into(), &(!more.is_empty()).into())
        );
        let time = begin["time"].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
        let end = &events[3];
        let counts = if more.is_empty() { ["delivered", "would_deliver"] } else { ["would_deliver", "delivered"] };
        assert_eq!((&end["status"], &end["accounts"], &end["failed"]), (&0.into(), &2.into(), &0.into()));
        assert_eq!((&end["listed"], &end[counts[0]], &end[counts[1]]), (&5.into(), &5.into(), &0.into()));
    }
}

#[test]
fn an_account_is_told_as_soon_as_it_has_ended_and_a_stop_lets_the_end_come() {
    let (quick, slow) = (server(mails(1)).start(), server(mails(1)));
    let slow = slow.faults([Fault { moment: Moment::LinesSent(0), misdeed: Misdeed::Stall }]).start();
    let sandbox = Sandbox::new();
    sandbox.config(&format!("{}{}", Account::on(slow.port).named("slow"), Account::on(quick.port)));
    let script = format!("exec env --default-signal=TERM {} --json >out", env!("CARGO_BIN_EXE_popfetch"));
    let mut command = Command::new("/bin/sh");
    sandbox.adopt(&mut command);
    let running = sandbox.start(command.args(["-c", &script]));
    let told = || fs::read_to_string(sandbox.path("out")).unwrap_or_default();
    wait_until(|| told().contains("\"account\":\"work\""));
    assert!(!told().contains("\"account\":\"slow\""), "{}", told());
    running.signal(Signal::TERM);
    running.finish().exits(143);
    let events: Vec<Value> = told().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &Value| (event["event"].as_str().unwrap().to_owned(), event["status"].as_i64());
    let told: Vec<_> = events.iter().map(of).collect();
    let expected = [("run", None), ("account", Some(0)), ("account", Some(143)), ("end", Some(143))];
    assert_eq!(told, expected.map(|(name, status)| (name.to_owned(), status)));
    assert_eq!(events[2]["error"], "stopped by signal 15");
}

#[test]
fn every_refusal_has_a_row_and_a_status_has_an_error() {
    for (command, key, error) in [
        ("RETR 2", "refused", "1 message refused, and left on the server"),
        ("DELE 2", "undeleted", "1 message not deleted: the server refused DELE"),
    ] {
        let server = server(mails(3)).answer(command, "-ERR [SYS/TEMP] not now").start();
        let run = Sandbox::with(Account::on(server.port).set("keep", false)).popfetch(["-q", "--json"]).exits(75);
        let account = run.account();
        assert_eq!((&account["status"], &account["error"]), (&75.into(), &error.into()), "{command}");
        let [row] = &account[key].as_array().unwrap()[..] else { panic!("{account:#}") };
        assert_eq!(
            (&row["number"], &row["unique_id"], &row["status"]),
            (&2.into(), &server.unique_ids(USER)[0].as_str().into(), &75.into())
        );
        assert!(row["reason"].as_str().unwrap().contains("[SYS/TEMP] not now"), "{row}");
        assert_eq!(run.events().last().unwrap()["status"], 75);
    }
}

#[test]
fn an_account_that_fails_has_its_hint() {
    let server = server(mails(1)).answer("PASS", "-ERR [AUTH] no").start();
    let run = Sandbox::with(Account::on(server.port).set("auth", "\"user\"")).popfetch(["-q", "--json"]).exits(77);
    let account = run.account();
    assert!(account["error"].as_str().unwrap().contains("refused the login of"), "{account:#}");
    assert!(account["hint"].as_str().unwrap().contains("check `user` and the password"), "{account:#}");
    assert_eq!((&run.events().last().unwrap()["failed"], names(&run).len()), (&1.into(), 3));
}

#[test]
fn a_wrong_configuration_and_a_wrong_option_are_events() {
    let sandbox = Sandbox::new();
    sandbox.config("[accounts.work]\nserver = \"127.0.0.1\"\nuzer = \"x\"\nkeep = 7\n");
    let run = sandbox.popfetch(["--json"]).exits(78).says(&["config.toml:3:1", "`uzer`"]);
    assert_eq!(names(&run).last().map(String::as_str), Some("end"));
    let errors: Vec<Value> = run.events().into_iter().filter(|event| event["event"] == "error").collect();
    let place = |error: &Value| (error["line"].as_u64(), error["column"].as_u64());
    let places: Vec<_> = errors.iter().map(place).collect();
    assert_eq!(places, [(Some(1), Some(11)), (Some(3), Some(1)), (Some(4), Some(8))], "one for each: {run:#?}");
    for error in &errors {
        assert!(error["file"].as_str().unwrap().ends_with("config.toml") && error["status"] == 78, "{error}");
    }
    assert!(errors[1]["error"].as_str().unwrap().contains("unknown key `uzer`"), "{}", errors[1]);
    for arguments in [["--json", "--max-size", "much"], ["--max-messages=x", "--json", "work"]] {
        let run = sandbox.popfetch(arguments).exits(64).says(&["popfetch: invalid value"]);
        let events = run.events();
        assert_eq!((names(&run), &events[0]["status"]), (vec!["error".into(), "end".into()], &64.into()));
        assert!(events[0]["error"].as_str().unwrap().starts_with("invalid value '"), "{run:#?}");
    }
    let run = sandbox.popfetch(["--max-size", "much", "work"]).exits(64);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert!(lines[0].starts_with("popfetch: invalid value 'much' for '--max-size <SIZE>': expected "), "{run:#?}");
    assert_eq!(lines.last(), Some(&"For more information, try '--help'."));
    let run = sandbox.popfetch(["--jsn"]).exits(64);
    assert!(run.stderr.starts_with("popfetch: unexpected argument '--jsn' found\n\n  tip: "), "{run:#?}");
    assert!(run.stderr.contains("\n\nUsage: popfetch "), "{run:#?}");
    // Nobody has asked for events here.
    let run = sandbox.popfetch(["--nonsense", "--", "--json"]).exits(64);
    assert_eq!(run.stdout, "");
}

#[test]
fn signing_in_has_events_too() {
    let sandbox = Sandbox::with(Account::on(1));
    let run = sandbox.popfetch(["login", "work", "--json"]).exits(78);
    assert_eq!(names(&run), ["run", "account", "end"]);
    assert_eq!((&run.events()[0]["command"], &run.account()["status"]), (&"login".into(), &78.into()));
    assert!(run.account()["hint"].as_str().unwrap().contains("oauth2"), "{run:#?}");
}

#[test]
fn what_cannot_be_written_is_a_failure_and_mail_comes_all_the_same() {
    for (options, delivered) in [("--json", 3), ("--dry-run", 0), ("--json --dry-run", 0), ("--version", 0)] {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
        let run = sandbox.shell(&format!("popfetch {options} >/dev/full"));
        run.exits(74).says(&["cannot write to standard output: no space left"]);
        let expected = if delivered > 0 { all_at_home(&mails(3)) } else { vec![] };
        assert_eq!(sandbox.maildir().messages(), expected, "{options}");
        assert_eq!(server.unique_ids(USER).len(), 3 - delivered, "{options}");
    }
}

#[test]
fn another_failure_that_came_first_counts_more_than_standard_output() {
    let server = server(mails(1)).answer("PASS", "-ERR [AUTH] no").start();
    let sandbox = Sandbox::with(Account::on(server.port).set("auth", "\"user\""));
    sandbox.shell("popfetch --json >/dev/full").exits(77).says(&["cannot write to standard output"]);
}

#[test]
fn a_reader_that_has_enough_ends_nothing() {
    for options in ["--json", "--dry-run"] {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
        let run = sandbox.shell(&format!("{{ popfetch {options}; echo $? >status; }} | :")).exits(0);
        assert_eq!(fs::read_to_string(sandbox.path("status")).unwrap(), "0\n", "{run:#?}");
        let left = if options == "--json" { 0 } else { 3 };
        assert_eq!((run.stderr.as_str(), server.unique_ids(USER).len()), ("", left), "{options}");
    }
}

fn dotted() -> Mail {
    Mail::new("dotted", "Message-ID: <dotted@x>\r\n\r\nbefore\r\n.\r\nafter\r\n".to_owned())
}

/// What a dry run and the run after it say of messages and deletions, and their exit status.
#[track_caller]
fn said_and_done(sandbox: &Sandbox, more: &[&str]) -> [(Vec<(u64, u64)>, i32); 2] {
    let counts = |run: &Run, keys: [&str; 2]| {
        let mut accounts: Vec<Value> = run.events().into_iter().filter(|event| event["event"] == "account").collect();
        accounts.sort_by_key(|account| account["account"].to_string());
        let count = |account: &Value, key: &str| account[key].as_u64().unwrap();
        accounts.iter().map(|account| (count(account, keys[0]), count(account, keys[1]))).collect::<Vec<_>>()
    };
    let dry = sandbox.popfetch([&["-q", "--json", "--dry-run"], more].concat());
    let run = sandbox.popfetch([&["-q", "--json"], more].concat());
    [
        (counts(&dry, ["would_deliver", "would_delete"]), dry.code()),
        (counts(&run, ["delivered", "deleted"]), run.code()),
    ]
}

#[test]
fn a_dry_run_says_what_a_run_deletes() {
    let (one, two) = (server(mails(5)).start(), server(mails(2)).start());
    let sandbox = Sandbox::new();
    let key = |account: Account| account.set("max_messages", 2).set("max_size", 1_000_000);
    sandbox.config(&format!("{}{}", key(Account::on(one.port)), key(Account::on(two.port).named("also"))));
    sandbox.popfetch(["-q", "--max-messages=1", "--keep", "work"]).exits(0);
    let [said, done] = said_and_done(&sandbox, &["--no-keep"]);
    assert_eq!(said, (vec![(2, 2), (2, 3)], 0), "`also`, and `work` with the one that it has already");
    assert_eq!(said, done);
    let line = sandbox.popfetch(["--dry-run", "--no-keep", "work"]).exits(0).stdout;
    assert!(line.contains("would deliver 2 to") && line.contains("and delete 2"), "{line}");
}

#[test]
fn a_dry_run_leaves_alone_what_a_run_leaves_alone() {
    let server = server([vec![dotted()], mails(2)].concat()).start();
    server.forget_dots(true);
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.popfetch(["-q"]).exits(76);
    server.replace(
        USER,
        [vec![dotted()], mails(2)]
            .concat()
            .into_iter()
            .map(|mail| Mail {
                unique_id: if mail.unique_id == "dotted" { mail.unique_id } else { format!("new-{}", mail.unique_id) },
                ..mail
            })
            .collect::<Vec<_>>(),
    );
    let [said, done] = said_and_done(&sandbox, &[]);
    assert_eq!(said, (vec![(2, 2)], 76));
    assert_eq!(said, done);
}

/// The names in the manual's section about events.
fn names_in_the_manual() -> BTreeSet<String> {
    let page = include_str!("../man/popfetch.1");
    let section = page.split(".Sh OUTPUT\n").nth(1).and_then(|rest| rest.split(".Sh ").next()).unwrap();
    let events = section.split(".Fl -json\nwrites").nth(1).unwrap();
    let named = events.lines().filter_map(|line| line.strip_prefix(".It Ic ").or_else(|| line.strip_prefix(".Ic ")));
    named.flat_map(str::split_whitespace).filter(|word| word.len() > 1 || *word == "v").map(str::to_owned).collect()
}

#[test]
fn the_manual_has_every_name_of_every_event_and_no_other() {
    let refusing = server(mails(2)).answer("DELE 1", "-ERR no").answer("RETR 2", "-ERR no").start();
    let sandbox = Sandbox::with(Account::on(refusing.port).set("keep", false));
    sandbox.file("Mail/new/1.a", "Subject: old\n\n");
    let runs: [(&[&str], i32); 5] =
        [(&["list"], 0), (&[], 75), (&["--nonsense"], 64), (&["state", "show"], 0), (&["check"], 0)];
    let events = runs.map(|(words, code)| sandbox.popfetch(["--json"].iter().chain(words)).exits(code));
    let events: Vec<Value> = events.iter().flat_map(Run::events).collect();
    let mut names = BTreeSet::new();
    for event in &events {
        names.insert(event["event"].as_str().unwrap().to_owned());
        let rows =
            ["refused", "undeleted", "first_run"].iter().flat_map(|key| event[key].as_array().into_iter().flatten());
        let state = event.get("state").filter(|state| state.is_object());
        let failing = event.get("failing").filter(|failing| failing.is_object());
        for object in rows.chain(state).chain(failing).chain([event]) {
            names.extend(object.as_object().unwrap().keys().cloned());
        }
    }
    assert_eq!(names, names_in_the_manual());
}
