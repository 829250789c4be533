//! `start`: what is there before the first run of an account counts as known, once, and nothing that comes later does.

use std::fs;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::faults::{Call, can_trace, kill_before};
use crate::sandbox::{Account, Run, Sandbox, USER, at_home, mails, names, read, server};
use crate::server::{Builder, HANG_UP, Mail, Maildrop};

fn account(server: &Maildrop, start: &str) -> Account {
    Account::on(server.port).set("keep", true).set("start", format!("{start:?}"))
}

/// A maildrop of three old messages, and an account that is to begin with it.
fn begun(start: &str) -> (Maildrop, Sandbox) {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(account(&server, start));
    sandbox.popfetch(["-q"]).exits(0).silently();
    (server, sandbox)
}

fn new(server: &Maildrop, id: &str) {
    server.arrive(USER, Mail::new(id, format!("Subject: {id}\r\n\r\n{id}\r\n")));
}

/// The unique-ids that were retrieved, as the server counts them: each message of the tests has one of its own.
fn at_home_are(sandbox: &Sandbox, server: &Maildrop, ids: &[&str]) -> bool {
    let is_meant = |mail: &Mail| ids.contains(&mail.unique_id.as_str());
    let mut expected: Vec<_> =
        server.mails(USER).into_iter().filter(is_meant).map(|mail| at_home(&mail.octets)).collect();
    expected.sort();
    sandbox.maildir().messages() == expected
}

#[test]
fn what_a_first_run_brings_is_the_next_ones_to_delete_for_its_age() {
    for key in ["keep_newest", "delete_over"] {
        let server = server([received("new", 1), received("old", 40), received("older", 50)]).start();
        let sandbox = Sandbox::with(account(&server, "30d").set(key, 1));
        let dry = sandbox.popfetch(["--dry-run", "--json"]).exits(0).account();
        assert_eq!((&dry["would_deliver"], &dry["would_delete"]), (&json!(1), &json!(0)), "{key}: {dry:#}");
        // It lists once more, in case that the first listing was not all of it.
        let run = sandbox.popfetch(["--json"]).exits(0).account();
        assert_eq!((&run["delivered"], &run["deleted"]), (&json!(1), &json!(0)), "{key}: {run:#}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.unique_ids(USER), ["old", "older"], "{key}: what never came is not deleted");
    }
}

fn ledger(sandbox: &Sandbox, server: &Maildrop) -> String {
    String::from_utf8(read(&sandbox.ledger(USER, server.port))).unwrap()
}

fn is_starting(ledger: &str) -> bool {
    let notes: Vec<&str> = ledger.lines().filter(|line| line.contains("\"starting\"")).collect();
    notes.last().is_some_and(|line| !line.contains("\"over\""))
}

/// When something was, so many days ago, as a header writes it.
fn days_ago(days: u64) -> String {
    DateTime::<Utc>::from(SystemTime::now() - Duration::from_secs(days * 86400)).to_rfc2822()
}

/// A message that the last server has received that long ago.
fn received(id: &str, days: u64) -> Mail {
    let day = days_ago(days);
    Mail::new(id, format!("Received: from a by b; {day}\r\nDate: {}\r\nSubject: {id}\r\n\r\n{id}\r\n", days_ago(0)))
}

fn written(id: &str, days: u64) -> Mail {
    Mail::new(id, format!("Date: {}\r\nSubject: {id}\r\n\r\n{id}\r\n", days_ago(days)))
}

fn by_url(sandbox: &Sandbox, server: &Maildrop, more: &[&str]) -> Run {
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    sandbox.file(".netrc", format!("default login {USER} password {}\n", crate::sandbox::CANARY));
    sandbox.popfetch([&["-q", "--tls", "none", "--deliver", "maildir:~/Mail", &url], more].concat())
}

#[test]
fn what_is_there_counts_as_known_and_what_comes_later_is_fetched() {
    let (server, sandbox) = begun("now");
    assert_eq!((server.count("RETR"), server.count("TOP")), (0, 0));
    new(&server, "new");
    for _ in 0..2 {
        sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
        assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (1, 3), "what never came is never deleted");
    }
    for more in ["--keep-newest=1", "--delete-over=1", "--keep=1s"] {
        sandbox.popfetch(["-q", more]).exits(0).silently();
    }
    assert_eq!((server.count("DELE"), sandbox.maildir().files().len()), (1, 1));
}

#[test]
fn it_is_written_down_with_the_ids_and_ends_when_there_is_no_more() {
    let (server, sandbox) = begun("now");
    let ledger = ledger(&sandbox, &server);
    let keys = |line: &str| line.split(',').next().unwrap().to_owned();
    let lines: Vec<String> = ledger.lines().skip(1).map(keys).collect();
    let settled = ["m1", "m2", "m3"].map(|id| format!("{{\"settled\":\"{id}\""));
    let notes = ["account", "starting", "starting"].map(|word| format!("{{\"note\":\"{word}\""));
    assert_eq!(lines, [&settled[..], &notes].concat());
    assert!(!is_starting(&ledger) && server.connections() == 2, "{ledger}");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((self::ledger(&sandbox, &server), server.connections()), (ledger, 3));
}

#[test]
fn a_dry_run_and_a_list_say_what_would_count_as_known() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(account(&server, "now"));
    let run = sandbox.popfetch(["--dry-run", "-v", "--json"]).exits(0);
    let reasons = |run: &Run| {
        let events = run.events().into_iter().filter(|event| event["event"] == "message");
        events.map(|event| json!([event["verdict"], event["reason"], event["deleted"]])).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&run), vec![json!(["leave", "before-start", false]); 3]);
    let counts = |run: &Run| {
        let account = run.account();
        ["listed", "known", "before_start", "would_deliver", "would_delete"].map(|key| account[key].clone())
    };
    assert_eq!(counts(&run), [3, 0, 3, 0, 0].map(|count| json!(count)));
    let run = sandbox.popfetch(["--dry-run", "--no-keep"]).exits(0);
    assert!(run.stdout.ends_with(" and delete 0; 3 from before `start` would count as known\n"), "{run:#?}");
    let run = sandbox.popfetch(["list", "--json"]).exits(0);
    assert_eq!((reasons(&run), counts(&run)[2].clone()), (vec![json!(["leave", "before-start", false]); 3], json!(3)));
    let run = sandbox.popfetch(["list"]).exits(0);
    assert!(run.stdout.contains("; 0 new, 0 B; 3 from before `start` would count as known"), "{run:#?}");
    assert!(run.stdout.contains("before `start`: counts as known"), "{run:#?}");
    assert_eq!(names(&sandbox.state()), [""; 0], "nothing is written");
    let run = sandbox.popfetch(["-v", "--json"]).exits(0);
    assert_eq!(
        ["known", "before_start", "delivered"].map(|key| run.account()[key].clone()),
        [0, 3, 0].map(|n| json!(n))
    );
    assert!(run.stderr.contains("no new mail, 3 from before `start`"), "{run:#?}");
    let run = sandbox.popfetch(["list", "--json"]).exits(0);
    assert_eq!(reasons(&run), vec![json!(["leave", "counted-as-known", false]); 3]);
    assert_eq!(sandbox.popfetch(["--json"]).exits(0).account()["before_start"], 0);
}

#[test]
fn it_is_done_once() {
    // An account that has begun with everything, whether or not there was something.
    for there in [0, 2] {
        let server = server(mails(there)).start();
        let sandbox = Sandbox::with(account(&server, "all"));
        sandbox.popfetch(["-q"]).exits(0).silently();
        new(&server, "new");
        for start in ["now", "1s", "2059-01-01"] {
            sandbox.config(&account(&server, start).to_string());
            sandbox.popfetch(["-q"]).exits(0).silently();
        }
        assert_eq!((server.count("RETR"), server.count("TOP")), (there + 1, 0));
    }
    // And one that has begun with nothing.
    for (start, there) in [("now", 0), ("now", 2), ("30d", 0)] {
        let server = server(mails(there)).start();
        let sandbox = Sandbox::with(account(&server, start));
        sandbox.popfetch(["-q"]).exits(0).silently();
        new(&server, "new");
        for start in ["all", "1s", "now"] {
            sandbox.config(&account(&server, start).to_string());
            sandbox.popfetch(["-q"]).exits(0).silently();
        }
        assert_eq!(server.count("RETR"), 1, "{start} {there}");
    }
}

#[test]
fn a_run_that_lists_nothing_is_no_first_run() {
    let server = server(mails(3)).start();
    server.answer("UIDL", Some("-ERR [SYS/TEMP] not now"));
    let sandbox = Sandbox::with(account(&server, "now").set("password", "\"wrong\""));
    assert_ne!(sandbox.popfetch(["-q"]).code(), 0);
    sandbox.config(&account(&server, "now").to_string());
    assert_ne!(sandbox.popfetch(["-q"]).code(), 0);
    server.answer("UIDL", None);
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!(server.count("RETR"), 0);
}

#[test]
fn a_target_that_fails_does_not_put_it_off() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(account(&server, "now"));
    sandbox.file("Mail", "no folder");
    assert_eq!(sandbox.popfetch(["-q"]).code(), 0, "nothing is to be delivered");
    new(&server, "new");
    assert_ne!(sandbox.popfetch(["-q"]).code(), 0);
    fs::remove_file(sandbox.path("Mail")).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(at_home_are(&sandbox, &server, &["new"]));
}

#[test]
fn what_a_url_has_fetched_is_known_and_the_rest_counts_as_known() {
    for keep in [true, false] {
        let server = server(mails(4)).start();
        let sandbox = Sandbox::new();
        by_url(&sandbox, &server, &["--max-messages", "2"]).exits(0);
        sandbox.config(&account(&server, "now").set("keep", keep).to_string());
        let run = sandbox.popfetch(["--dry-run", "--json"]).exits(0).account();
        assert_eq!((&run["known"], &run["before_start"]), (&json!(2), &json!(2)), "{run:#}");
        let deleted = if keep { 0 } else { 2 };
        assert_eq!(run["would_delete"], deleted);
        for _ in 0..2 {
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!((server.count("RETR"), server.count("DELE")), (2, deleted));
        }
        new(&server, "new");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), 3);
    }
}

#[test]
fn what_a_url_has_fetched_to_another_target_is_owed_and_not_deleted_before() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::new();
    by_url(&sandbox, &server, &["--max-messages", "1"]).exits(0);
    sandbox.config(&account(&server, "now").set("keep", false).set("deliver", "\"maildir:~/Other\"").to_string());
    for _ in 0..2 {
        sandbox.popfetch(["-q"]).exits(0);
    }
    assert_eq!((server.count("RETR"), server.unique_ids(USER)), (2, vec!["m2".to_owned(), "m3".to_owned()]));
}

#[test]
fn a_line_that_breaks_in_the_first_run_is_no_end_of_it() {
    let mails = [received("old", 9), received("a", 0), received("b", 0)];
    let server = server(mails).answer("RETR 3", HANG_UP).start();
    let sandbox = Sandbox::with(account(&server, "3d").set("retries", 1));
    let mut running = sandbox.start(&mut sandbox.command(["-q"]));
    running.watch(|_| {
        if server.count("RETR") > 1 {
            server.answer("AUTH", Some("-ERR [IN-USE] another session holds the maildrop"));
        }
    });
    running.finish().exits(75);
    assert!(is_starting(&ledger(&sandbox, &server)) && at_home_are(&sandbox, &server, &["a"]));
}

#[test]
fn a_server_that_wants_long_between_logins_is_asked_by_the_next_run() {
    let names = ["TOP", "UIDL", "PIPELINING", "USER", "SASL PLAIN", "LOGIN-DELAY 900"];
    let server = in_parts().capabilities(&names).start();
    let sandbox = Sandbox::with(account(&server, "now"));
    for connections in 1..=5 {
        sandbox.popfetch(["-q"]).exits(0).silently();
        let text = ledger(&sandbox, &server);
        assert_eq!((server.connections(), is_starting(&text)), (connections, connections < 5), "{text}");
    }
    assert_eq!(server.count("RETR"), 0);
}

#[test]
fn a_url_has_no_start() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    sandbox.config("[defaults]\nstart = \"now\"\n");
    by_url(&sandbox, &server, &[]).exits(0);
    assert_eq!(server.count("RETR"), 2);
    let run = sandbox.popfetch(["--start", "now"]).exits(64);
    assert!(run.stderr.contains("--start"), "{run:#?}");
}

#[test]
fn who_asks_for_everything_gets_it() {
    for option in ["--all", "--fill"] {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::with(account(&server, "now"));
        sandbox.popfetch(["-q", option, "--max-messages=1"]).exits(0).silently();
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), 3, "{option}");
    }
}

#[test]
fn what_a_person_says_of_messages_goes_before() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(account(&server, "now"));
    // Who names a message says nothing of the others.
    sandbox.popfetch(["state", "known", "--id", "m2", "--yes"]).exits(0);
    assert_eq!(sandbox.popfetch(["--dry-run", "--json"]).account()["before_start"], 2);
    sandbox.popfetch(["state", "known", "--yes"]).exits(0);
    new(&server, "new");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 1);
    // What is forgotten comes again.
    sandbox.popfetch(["state", "forget", "--id", "m2", "--yes"]).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 2);
    sandbox.popfetch(["state", "forget", "--all", "--yes"]).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 6);
}

#[test]
fn a_lost_ledger_is_no_first_run() {
    let (server, sandbox) = begun("now");
    new(&server, "new");
    fs::remove_file(sandbox.ledger(USER, server.port)).unwrap();
    sandbox.popfetch(["-q"]).exits(65);
    let run = sandbox.popfetch(["list", "--json"]).exits(65);
    assert_eq!(run.account()["before_start"], 0);
    sandbox.popfetch(["state", "forget", "--all", "--yes"]).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 4);
}

#[test]
fn without_the_note_of_the_account_what_was_delivered_tells() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::with(account(&server, "all"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let text = ledger(&sandbox, &server);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("\"note\":\"account\"")).collect();
    fs::write(sandbox.ledger(USER, server.port), lines.join("\n") + "\n").unwrap();
    sandbox.config(&account(&server, "now").to_string());
    new(&server, "new");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 3);
}

#[test]
fn another_name_of_the_server_is_no_first_run_where_mail_is_known_by_the_old_one() {
    let server = server([received("a", 3), received("b", 2), received("c", 1)]).start();
    let sandbox = Sandbox::with(account(&server, "all"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    new(&server, "new");
    sandbox.config(&account(&server, "now").set("server", "\"localhost\"").to_string());
    let run = sandbox.popfetch(["--json", "--dry-run"]).exits(0).account();
    assert_eq!((&run["before_start"], &run["would_deliver"]), (&json!(0), &json!(1)), "{run:#}");
    sandbox.popfetch(["-q"]).exits(0);
    assert!(at_home_are(&sandbox, &server, &["a", "b", "c", "new"]));
}

#[test]
fn a_server_without_unique_ids_is_refused() {
    for keep in ["true", "false"] {
        let server = server(mails(2)).capabilities(&["TOP", "USER"]).answer("UIDL", "-ERR what?").start();
        let sandbox = Sandbox::with(account(&server, "now").set("keep", keep));
        for words in [&["-q"][..], &["--dry-run"], &["list"]] {
            sandbox.popfetch(words).exits(69).says(&["has no UIDL", "`start`", "leave `start` out"]);
        }
        assert_eq!((server.count("RETR"), server.count("DELE")), (0, 0));
        server.replace(USER, []);
        sandbox.popfetch(["-q"]).exits(0).silently();
    }
}

/// Runs an account that begins now, kills it before each call in turn, and lets a message come then.
#[test]
fn a_kill_at_any_moment_loses_nothing_that_comes_later() {
    if !can_trace() {
        return;
    }
    let mut recorded = 0;
    for call in ["write", "fsync", "fdatasync", "rename", "openat", "unlink", "sendto", "mkdir"] {
        for nth in 1.. {
            let server = server(mails(3)).start();
            let sandbox = Sandbox::in_memory();
            sandbox.config(&account(&server, "now").to_string());
            let killed = kill_before(&sandbox, &Call::new(call, nth)).code() == 137;
            let path = sandbox.ledger(USER, server.port);
            let is_recorded = fs::read_to_string(&path).is_ok_and(|text| text.contains("\"settled\":\"m3\""));
            recorded += usize::from(is_recorded && killed);
            new(&server, "new");
            for _ in 0..2 {
                let run = sandbox.popfetch(["-q"]).exits(0);
                assert_eq!(server.count("RETR"), usize::from(is_recorded), "{call} {nth}: {run:#?}");
            }
            assert!(!is_starting(&ledger(&sandbox, &server)), "{call} {nth}");
            new(&server, "newer");
            sandbox.popfetch(["-q"]).exits(0);
            assert_eq!(server.count("RETR"), usize::from(is_recorded) + 1, "{call} {nth}");
            if !killed {
                break;
            }
        }
    }
    assert!(recorded > 5, "{recorded} of the kills came when the ids were written");
}

/// Seven old messages, of which each session lists two more.
fn in_parts() -> Builder {
    let old = ["o1", "o2", "o3", "o4", "o5", "o6", "o7"].map(|id| received(id, 9));
    server(old).more_each_time(2)
}

#[test]
fn a_maildrop_that_comes_in_parts_counts_as_known_part_by_part() {
    for start in ["now", "3d"] {
        let server = in_parts().start();
        let sandbox = Sandbox::with(account(&server, start));
        let run = sandbox.popfetch(["--json"]).exits(0).account();
        assert_eq!(["known", "before_start", "delivered"].map(|key| run[key].clone()), [0, 7, 0].map(|n| json!(n)));
        assert_eq!((server.count("RETR"), server.connections()), (0, 5));
        server.arrive(USER, received("new", 9));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(at_home_are(&sandbox, &server, &["new"]), "whatever its date is");
    }
}

#[test]
fn of_a_later_part_only_what_is_certainly_old_counts_as_known() {
    for top in [true, false] {
        let mails = [received("a", 9), received("b", 9), written("c", 9), received("d", 9), received("e", 0)];
        let mut builder = server(mails).more_each_time(2);
        if !top {
            builder = builder.capabilities(&["UIDL", "PIPELINING", "USER"]).answer("TOP", "-ERR what?");
        }
        let server = builder.start();
        let sandbox = Sandbox::with(account(&server, "now"));
        for _ in 0..3 {
            sandbox.popfetch(["-q"]).exits(0).silently();
        }
        let expected: &[&str] = if top { &["c", "e"] } else { &["c", "d", "e"] };
        assert!(at_home_are(&sandbox, &server, expected), "{top}");
    }
}

#[test]
fn a_server_that_refuses_another_login_ends_it() {
    let server = in_parts().start();
    let sandbox = Sandbox::with(account(&server, "now"));
    let mut running = sandbox.start(&mut sandbox.command(["-q"]));
    let is_refused = std::cell::Cell::new(false);
    running.watch(|_| {
        if !is_refused.get() && server.count("QUIT") == 1 {
            server.answer("AUTH", Some("-ERR [LOGIN-DELAY] minimum time between mail checks violation"));
            is_refused.set(true);
        }
    });
    let run = running.finish().exits(0);
    server.answer("AUTH", None);
    let text = ledger(&sandbox, &server);
    assert!(!is_starting(&text), "{run:#?} {text}");
    sandbox.popfetch(["-q"]).exits(0);
}

#[test]
fn a_duration_or_a_day_leaves_out_what_came_before() {
    let day = (Utc::now() - Duration::from_secs(30 * 86400)).format("%Y-%m-%d").to_string();
    let midnight = DateTime::parse_from_rfc3339(&format!("{day}T00:00:00Z")).unwrap();
    let at = |seconds: i64| (midnight + chrono::Duration::seconds(seconds)).to_rfc2822();
    let stamped = |id: &str, at: &str| Mail::new(id, format!("Received: from a by b; {at}\r\n\r\n{id}\r\n"));
    for (start, needs_clock) in [(day.as_str(), false), ("30d", true)] {
        let mails = [
            received("old", 40),
            written("old-too", 40),
            Mail::new("dateless", "Subject: x\r\n\r\nx\r\n"),
            Mail::new("nonsense", "Received: by x; soon\r\nDate: yesterday\r\n\r\nx\r\n"),
            stamped("before", &at(-1)),
            stamped("border", &at(0)),
            received("recent", 3),
            written("recent-too", 3),
            received("refused", 40),
        ];
        let server = server(mails).answer("TOP 9 0", "-ERR no").start();
        let sandbox = Sandbox::with(account(&server, start));
        let wanted = ["dateless", "nonsense", "recent", "recent-too", "refused"];
        let wanted: &[&str] = if needs_clock { &wanted } else { &[&wanted[..], &["border"]].concat() };
        let dry = sandbox.popfetch(["--dry-run", "--json"]).exits(0).account();
        let old = 9 - wanted.len();
        assert_eq!((&dry["before_start"], &dry["would_deliver"]), (&json!(old), &json!(wanted.len())), "{start}");
        let run = sandbox.popfetch(["-q", "--json"]).exits(0).account();
        assert_eq!((&run["before_start"], &run["delivered"]), (&json!(old), &json!(wanted.len())), "{start}");
        assert!(at_home_are(&sandbox, &server, wanted), "{start}");
        server.arrive(USER, received("late", 99));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), wanted.len() + 1);
    }
}

#[test]
fn without_top_nobody_can_tell_how_old_messages_are() {
    for start in ["30d", "2026-11-01"] {
        let builder = server(mails(2)).capabilities(&["UIDL", "PIPELINING", "USER"]).answer("TOP", "-ERR what?");
        let server = builder.start();
        let sandbox = Sandbox::with(account(&server, start));
        for words in [&["-q"][..], &["--dry-run"], &["list"]] {
            sandbox.popfetch(words).exits(69).says(&["does not answer TOP", "`start`", "write `start = \"now\"`"]);
        }
        sandbox.config(&account(&server, "now").to_string());
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), 0);
    }
}

#[test]
fn a_line_that_breaks_at_top_says_nothing_about_top() {
    let by_rule = "[[accounts.work.rules]]\nfrom = \"boss\"\nskip = true\n";
    for (start, rules) in [("30d", ""), ("all", by_rule)] {
        let server = server(mails(2)).answer("TOP", HANG_UP).start();
        let sandbox = Sandbox::new();
        sandbox.config(&format!("{}{rules}", account(&server, start)));
        for retries in ["--retries=0", "--retries=1"] {
            let run = sandbox.popfetch(["-q", "--now", retries]).exits(75);
            if retries == "--retries=0" {
                run.says(&["closed the connection", "TOP"]);
            }
        }
        server.answer("TOP", Some("+OK\r\nReceived: by x; Mon, 5 Jan 2026 10:00:00 +0000\r\n\r\n."));
        sandbox.popfetch(["-q", "--now"]).exits(0);
    }
}

#[test]
fn what_never_came_home_is_not_looked_at_where_all_that_did_is_deleted() {
    let server = server(mails(9)).start();
    let sandbox = Sandbox::with(account(&server, "now").set("keep", false));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let asked = |server: &Maildrop| server.count("TOP") + server.count("RETR");
    let before = asked(&server);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((asked(&server), server.unique_ids(USER).len()), (before, 9));
}

#[test]
fn a_wrong_clock_tells_no_age() {
    let server = server([received("a", 9), received("b", 0)]).start();
    let sandbox = Sandbox::new();
    by_url(&sandbox, &server, &["--max-messages", "1"]).exits(0);
    let path = sandbox.ledger(USER, server.port);
    let text = ledger(&sandbox, &server);
    let at = text.split("\"at\":").nth(1).unwrap().split([',', '}']).next().unwrap().to_owned();
    fs::write(&path, text.replace(&at, "2800000000")).unwrap();
    sandbox.config(&account(&server, "3d").to_string());
    sandbox.popfetch(["-q"]).exits(75).says(&["clock", "`start`"]);
    sandbox.config(&account(&server, "2026-11-01").to_string());
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!(server.count("RETR"), 2);
}

#[test]
fn a_wrong_start_is_told_with_what_is_accepted() {
    let server = server([]).start();
    let sandbox = Sandbox::new();
    for wrong in ["\"never\"", "\"30\"", "\"2026-13-01\"", "30", "true"] {
        sandbox.config(&Account::on(server.port).set("start", wrong).to_string());
        sandbox.popfetch(["check", "--offline"]).exits(78).says(&["`start`", "`now`", "`2026-11-01`"]);
    }
    sandbox.config(&Account::on(server.port).set("start", "2026-11-01").to_string());
    sandbox.popfetch(["check", "--offline"]).exits(78).says(&["in quotes", "2026-11-01"]);
    for (start, shown) in
        [("all", "all\" # default"), ("now", "now\""), ("4w", "28d\""), ("2026-11-01", "2026-11-01\"")]
    {
        sandbox.config(&account(&server, start).to_string());
        let run = sandbox.popfetch(["check", "--offline"]).exits(0);
        assert!(run.stdout.contains(&format!("start = \"{shown}\n")), "{run:#?}");
    }
}
