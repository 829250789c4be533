//! `popfetch list`: a row for each message with its verdict and its reason, and nothing changed anywhere; and the rows of
//! a dry run, which are what the run then does.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::doors::looks_only;
use crate::faults::{Call, can_trace, kill_before};
use crate::prompts::OnTerminal;
use crate::sandbox::{Account, CANARY, Run, Sandbox, USER, mails, names, server};
use crate::server::{HANG_UP, Mail, Maildrop, STALL};

const DAY: u64 = 86400;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The day so many days ago, in UTC, which is where the sandbox is.
fn day(days_ago: u64) -> String {
    chrono::DateTime::from_timestamp((now() - days_ago * DAY) as i64, 0).unwrap().format("%Y-%m-%d").to_string()
}

fn mail(id: &str, from: &str, subject: &str, octets: usize) -> Mail {
    let head = format!("Date: Tue, 24 Nov 2026 18:33:41 +0000\r\nFrom: {from}\r\nSubject: {subject}\r\n\r\n");
    let body = "x".repeat(octets.saturating_sub(head.len()));
    Mail::new(id, head + &body)
}

/// Three messages of real-looking mail.
fn some() -> Vec<Mail> {
    vec![
        mail("a", "Ana <ana@example.org>", "Lunch?", 4200),
        mail("b", "=?utf-8?q?J=C3=B6rg?= <j@example.org>", "=?utf-8?b?xb11dG8=?=", 300),
        mail("c", "list@example.org", "Re: a subject that goes on\r\n and on", 2 << 20),
    ]
}

/// Rows of `message` events.
fn rows(run: &Run) -> Vec<Value> {
    run.events().into_iter().filter(|event| event["event"] == "message").collect()
}

/// Verdict and reason of each row.
fn verdicts(run: &Run) -> Vec<String> {
    rows(run)
        .iter()
        .map(|row| format!("{}:{}", row["verdict"].as_str().unwrap(), row["reason"].as_str().unwrap()))
        .collect()
}

/// Writes a ledger of the account `work`, with these lines below its header.
fn ledger(sandbox: &Sandbox, server: &Maildrop, lines: &[String]) {
    let header = json!({ "popfetch": 3, "maildrop": format!("{USER}@127.0.0.1:{}", server.port) }).to_string();
    let text = [&[header], lines].concat().join("\n") + "\n";
    fs::create_dir_all(sandbox.state()).unwrap();
    fs::write(sandbox.ledger(USER, server.port), text).unwrap();
}

#[test]
fn each_message_is_a_line_below_a_line_of_totals() {
    let server = server(some()).start();
    let sandbox = Sandbox::with(Account::on(server.port).without("deliver").set("deliver", "\"maildir:~/not/there\""));
    let run = looks_only(&sandbox, &["list"], 0);
    assert_eq!(
        run.stdout,
        "work: 3 messages, 2.0 MiB; 3 new, 2.0 MiB\n\
         1  2026-11-24  4.1 KiB  new  Ana <ana@example.org>     Lunch?\n\
         2  2026-11-24    300 B  new  Jörg <j@example.org>      Žuto\n\
         3  2026-11-24  2.0 MiB  new  list@example.org          Re: a subject that goes on and on\n"
    );
    assert_eq!((server.count("RETR"), server.count("DELE"), run.stderr.as_str()), (0, 0, ""));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let run = looks_only(&sandbox, &["list", "work"], 0);
    let known = format!("known since {}", day(0));
    assert!(run.stdout.starts_with("work: 3 messages, 2.0 MiB; 0 new, 0 B\n"), "{run:#?}");
    assert_eq!(run.stdout.matches(&known).count(), 3, "{run:#?}");
    assert_eq!(looks_only(&sandbox, &["list", "--new"], 0).stdout.lines().count(), 1);
}

#[test]
fn programs_get_an_event_for_each_message() {
    let server = server(some()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_size", 1 << 20));
    let run = looks_only(&sandbox, &["list", "--json"], 0);
    let all = rows(&run);
    let expected = json!({
        "v": 1, "event": "message", "account": "work", "number": 2, "unique_id": "b", "octets": 300,
        "date": "2026-11-24T18:33:41Z", "from": "Jörg <j@example.org>", "subject": "Žuto",
        "verdict": "retrieve", "reason": "new", "rule": null, "known_since": null, "due": null,
        "targets": [format!("maildir:{}", sandbox.path("Mail").display())], "deleted": false,
    });
    assert_eq!(all[1], expected);
    assert_eq!(
        (&all[2]["verdict"], &all[2]["reason"], &all[2]["targets"]),
        (&json!("leave"), &json!("too-large"), &json!([]))
    );
    let account = run.account();
    let counts =
        ["listed", "listed_octets", "would_deliver", "would_deliver_octets", "status"].map(|key| account[key].as_u64());
    assert_eq!(counts, [3, 4200 + 300 + (2 << 20), 2, 4500, 0].map(Some));
    let events = run.events();
    assert_eq!((&events[0]["command"], &events.last().unwrap()["would_deliver"]), (&json!("list"), &json!(2)));
}

#[test]
fn every_verdict_has_its_reason() {
    let octets = |id: &str| if id == "large" { 5000 } else { 500 };
    let ids = ["new", "large", "known", "due", "twice", "twice", "reused", "counted", "later"];
    let all: Vec<Mail> = ids.iter().map(|id| mail(id, "a@x", id, octets(id))).collect();
    let server = server(all).start();
    let sandbox =
        Sandbox::with(Account::on(server.port).set("keep", "\"14d\"").set("max_size", 1000).set("max_messages", 3));
    let fact = |id: &str, octets: u64, days_ago: u64| {
        json!({ "delivered": id, "octets": octets, "at": now() - days_ago * DAY,
                "maildir": sandbox.path("Mail"), "name": "1.x" })
        .to_string()
    };
    let counted = json!({ "settled": "counted", "octets": 500, "at": now() - 20 * DAY }).to_string();
    let lines = [fact("known", 500, 3), fact("due", 500, 20), fact("twice", 500, 20), fact("reused", 400, 3), counted];
    ledger(&sandbox, &server, &lines);
    let run = looks_only(&sandbox, &["list", "--json"], 0);
    let expected = [
        "retrieve:new",
        "leave:too-large",
        "leave:known",
        "delete:due",
        "leave:repeated-unique-id",
        "retrieve:new",
        "retrieve:unique-id-reused",
        "leave:counted-as-known",
        "leave:later",
    ];
    assert_eq!(verdicts(&run), expected, "{run:#?}");
    let all = rows(&run);
    let due = |row: usize| all[row]["due"].as_str().map(|due| due[..10].to_owned());
    let in_11_days =
        chrono::DateTime::from_timestamp((now() + 11 * DAY) as i64, 0).unwrap().format("%Y-%m-%d").to_string();
    assert_eq!((due(2), due(3), due(0)), (Some(in_11_days.clone()), Some(day(6)), None));
    let run = looks_only(&sandbox, &["list"], 0);
    for words in [
        "  new  ",
        "  too large  ",
        &format!("  due on {in_11_days}  "),
        &format!("  due since {}  ", day(6)),
        "; its unique-id is listed twice",
        "  new: another message had its unique-id",
        "  counts as known since ",
        "  later  ",
    ] {
        assert!(run.stdout.contains(words) || run.stdout.contains(words.trim_end()), "{words:?}: {run:#?}");
    }
    assert_eq!(rows(&looks_only(&sandbox, &["list", "--new", "--json"], 0)).len(), 3);
    let again = looks_only(&sandbox, &["list", "--all", "--max-messages=9", "--json"], 0);
    assert_eq!(verdicts(&again)[2], "retrieve:all");
    let never = looks_only(&sandbox, &["list", "--no-keep", "--json"], 0);
    assert_eq!((&verdicts(&never)[2], &rows(&never)[0]["deleted"]), (&"delete:due".into(), &json!(true)));
}

#[test]
fn what_cannot_be_proved_or_must_wait_is_said() {
    let kept = |id: &str| mail(id, "a@x", id, 500);
    let server = server(["deleted", "distrusted", "new"].map(kept)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    let lines = [
        json!({ "delivered": "deleted", "octets": 500, "at": now() - DAY }).to_string(),
        json!({ "deleted": "deleted", "at": now() - DAY }).to_string(),
        json!({ "note": "out-of-step", "id": "distrusted", "at": now() }).to_string(),
    ];
    ledger(&sandbox, &server, &lines);
    let run = looks_only(&sandbox, &["list", "--json"], 0);
    assert_eq!(verdicts(&run), ["leave:unsure", "leave:distrusted", "retrieve:new"], "{run:#?}");
    // By a URL, what the account has not fetched is not deleted.
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    let config = sandbox.path(".netrc");
    fs::write(&config, format!("machine 127.0.0.1 login {USER} password {CANARY}\n")).unwrap();
    sandbox.mode(".netrc", 0o600);
    sandbox.popfetch(["-q", "--keep", "work"]);
    let run =
        looks_only(&sandbox, &["list", &url, "--tls=none", "--no-keep", "--deliver=maildir:~/Other", "--json"], 0);
    assert!(rows(&run).iter().any(|row| row["verdict"] == "retrieve" && row["reason"] == "lacking"), "{run:#?}");
    let accounts = looks_only(&sandbox, &["list", "work", &url, "--tls=none", "--deliver=maildir:~/Mail"], 0).stdout;
    let heads = accounts.lines().filter(|line| line.contains(": 3 messages, ")).count();
    assert_eq!(heads, 2, "{accounts}");
}

#[test]
fn without_unique_ids_nothing_is_new_and_everything_is_shown() {
    let server = server(some()).capabilities(&["TOP", "USER", "SASL PLAIN"]).answer("UIDL", "-ERR what?").start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let run = looks_only(&sandbox, &["list", "--json"], 69);
    assert_eq!(verdicts(&run), ["leave:no-unique-id"; 3]);
    assert_eq!(rows(&run)[0]["subject"], "Lunch?");
    looks_only(&sandbox, &["list"], 69).says(&["has no UIDL"]);
    assert_eq!(verdicts(&looks_only(&sandbox, &["list", "--json", "--no-keep"], 0)), ["retrieve:new"; 3]);
}

#[test]
fn without_top_sizes_and_unique_ids_are_shown() {
    for announced in [&["UIDL", "USER", "PIPELINING", "SASL PLAIN"][..], &[]] {
        let server = server(some()).capabilities(announced).answer("TOP", "-ERR what?");
        let server = if announced.is_empty() { server.answer("CAPA", "-ERR what?") } else { server }.start();
        let sandbox = Sandbox::with(Account::on(server.port).set("auth", "\"user\""));
        let run = looks_only(&sandbox, &["list"], 0);
        let expected =
            "work: 3 messages, 2.0 MiB; 3 new, 2.0 MiB\n1  4.1 KiB  new  a\n2    300 B  new  b\n3  2.0 MiB  new  c\n";
        assert_eq!(run.stdout, expected, "{announced:?}");
    }
}

#[test]
fn a_top_that_is_refused_leaves_its_columns_empty() {
    let server = server(some()).answer("TOP 2 0", "-ERR not this one").start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let run = looks_only(&sandbox, &["list", "--json"], 0);
    let subjects: Vec<_> = rows(&run).iter().map(|row| row["subject"].as_str().map(str::len)).collect();
    assert_eq!(subjects, [Some(6), None, Some(33)]);
    let line = format!("\n2{}300 B  new\n", " ".repeat(16));
    assert!(looks_only(&sandbox, &["list"], 0).stdout.contains(&line));
}

#[test]
fn a_top_without_an_answer_is_said_and_the_rest_is_listed() {
    for answer in [STALL, HANG_UP] {
        let server = server(some()).answer("TOP 2 0", answer).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("timeout", 1));
        let run =
            looks_only(&sandbox, &["list"], 75).says(&["does not answer TOP", "without date, sender and subject"]);
        let lines: Vec<_> = run.stdout.lines().collect();
        assert!(
            lines.len() == 4 && lines[1].ends_with("Lunch?") && lines[3].ends_with("2.0 MiB  new"),
            "{answer}: {run:#?}"
        );
    }
}

#[test]
fn a_list_that_cannot_be_sorted_without_top_says_so() {
    let server = server(mails(2)).capabilities(&["UIDL", "USER"]).answer("TOP", "-ERR what?").start();
    let sandbox = Sandbox::with(Account::on(server.port));
    for sort in ["age", "from"] {
        sandbox.popfetch(["list", "--sort", sort]).exits(0).says(&["no TOP", "in the server's order"]);
    }
    for command in [&["list", "--sort", "size"][..], &["list"]] {
        assert_eq!(sandbox.popfetch(command).exits(0).stderr, "");
    }
}

#[test]
fn rows_are_sorted_as_wanted() {
    let dated = |id: &str, from: &str, date: &str, octets: usize| {
        Mail::new(id, format!("Date: {date}\r\nFrom: {from}\r\n\r\n{}", "x".repeat(octets)))
    };
    let all = [
        dated("a", "Zoe", "Tue, 24 Nov 2026 10:00:00 +0000", 10),
        dated("b", "ana", "nonsense", 1000),
        dated("c", "Bob", "Mon, 23 Nov 2026 10:00:00 +0000", 100),
        Mail::new("d", "Subject: none\r\n\r\n"),
    ];
    let server = server(all).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    for (sort, expected) in [("age", "cabd"), ("size", "bcad"), ("from", "bcad")] {
        let run = looks_only(&sandbox, &["list", "--sort", sort, "--json"], 0);
        let ids: String = rows(&run).iter().map(|row| row["unique_id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected, "{sort}");
    }
}

#[test]
fn unique_ids_are_shown_escaped() {
    let server = server([mail("a\u{1b}[2Jb", "x@y", "z", 100)]).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let run = looks_only(&sandbox, &["list", "--ids"], 0);
    assert!(run.stdout.ends_with("  new  a\\x1b[2Jb  x@y                       z\n"), "{run:#?}");
}

/// Headers of enemies, and of people with broken software.
fn hostile() -> Vec<Mail> {
    let subjects: [&[u8]; 9] = [
        b"\x1b]0;owned\x07\x1b[2J\x9b31m",
        "=?utf-8?q?=1B[2J=0D=0A=00?= \u{202e}fdp.exe \u{2066}".as_bytes(),
        b"=?utf-8?b?////?= =?no-such?q?x?= =?utf-8?q?",
        b"caf\xe9 \xff\xfe",
        "東京から\u{1f600}\u{fe0f}こんにちは、世界のみなさん、お元気ですか".as_bytes(),
        "Z\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}\u{308}algo".as_bytes(),
        b"",
        b"nul \x00 and tab \t and more",
        "\u{fff9}a\u{fffa}b\u{fffb} \u{13430}\u{70f}\u{600}\u{2800}\u{fdd0}\u{ffff}".as_bytes(),
    ];
    let mut mails: Vec<Mail> = (1..)
        .zip(subjects)
        .map(|(nth, subject)| {
            Mail::new(format!("h{nth}"), [b"From: x\x1b[1m@y\r\nSubject: ", subject, b"\r\n\r\n"].concat())
        })
        .collect();
    mails.push(Mail::new("long", format!("Subject: {}\r\n\r\n", "l".repeat(1_000_000))));
    mails.push(Mail::new("canary", format!("Subject: your password is {CANARY}\r\n\r\n")));
    mails
}

#[test]
fn a_hostile_header_drives_no_terminal() {
    let server = server(hostile()).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    for more in [&[][..], &["--json"]] {
        let run = looks_only(&sandbox, &[&["list"], more].concat(), 0);
        let is_bad =
            |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c) || *c == '\u{2066}';
        assert_eq!(run.stdout.chars().find(is_bad), None, "{more:?}");
        let is_strange =
            |c: &char| "\u{fff9}\u{fffa}\u{fffb}\u{13430}\u{70f}\u{600}\u{2800}\u{fdd0}\u{ffff}".contains(*c);
        assert_eq!(run.stdout.chars().find(is_strange), None, "{more:?}");
        assert!(run.stdout.contains("u{fff9}a") && run.stdout.contains("u{2800}"), "{more:?}: {}", run.stdout);
        assert!(run.stdout.contains("café ÿþ") && run.stdout.contains("your password is ****"), "{more:?}");
        // As much of it as is looked at.
        assert!(run.stdout.contains(&"l".repeat(60_000)), "{more:?}");
    }
}

#[test]
fn a_line_fits_the_terminal() {
    use unicode_width::UnicodeWidthStr as _;
    let server = server([hostile(), some()].concat()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_messages", 12).set("max_size", 1 << 20));
    for columns in [20, 40, 80, 200] {
        for more in [&[][..], &["--ids"], &["--sort=from"]] {
            let arguments = [&["list", "--progress=never"], more].concat();
            let Some(run) = OnTerminal::of_width(columns, &sandbox, &arguments) else { return };
            run.wait_for(|shown| shown.matches('\n').count() >= 15);
            let shown = run.exits(0);
            let lines: Vec<&str> = shown.lines().collect();
            assert_eq!(lines.len(), 15, "{columns} {more:?}: {shown}");
            for line in &lines[1..] {
                assert!(line.width() <= usize::from(columns), "{columns} {more:?}: {line}");
                assert!(!line.contains('\x1b'), "{columns} {more:?}: {line:?}");
            }
            let has = |words: &str| shown.contains(words);
            assert_eq!(has("2026-11-24"), columns >= 80, "{columns} {more:?}: {shown}");
            assert!(columns < 40 || has("Lunch?"), "{columns} {more:?}: {shown}");
            assert!(
                columns < 200 || (has("Ana <ana@example.org>") && has("Re: a subject that goes on and on")),
                "{shown}"
            );
        }
    }
}

#[test]
fn ten_thousand_messages_take_a_few_round_trips() {
    let server = server(mails(10_000)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let run = looks_only(&sandbox, &["list"], 0);
    assert_eq!(run.stdout.lines().count(), 10_001);
    assert!(run.stdout.contains("  message 10000\n"), "the last one");
    // CAPA, AUTH, the survey; then each flight of 200 TOP leaves while 200 others are being answered.
    let flights = server.traffic(1).flights;
    assert!(flights <= 3 + 1 + 10_000 / 200, "{flights}");
    // Known, nothing of it is asked for twice, and without --new everything is shown.
    assert_eq!((server.count("TOP"), server.count("RETR")), (10_000, 0));
}

#[test]
fn the_next_header_sections_are_asked_for_before_the_others_have_come() {
    use std::fmt::Write as _;
    let mut script =
        String::from("S: +OK ready\nC: CAPA\nS: +OK\nS: UIDL\nS: TOP\nS: PIPELINING\nS: SASL PLAIN\nS: .\nC: *\n");
    let say = |script: &mut String, words: &str| writeln!(script, "{words}").unwrap();
    say(&mut script, "S: +OK in\nC: STAT\nC: UIDL\nC: LIST\nS: +OK 500 10500\nS: +OK");
    (1..=500).for_each(|number| say(&mut script, &format!("S: {number} m{number}")));
    say(&mut script, "S: .\nS: +OK");
    (1..=500).for_each(|number| say(&mut script, &format!("S: {number} 21")));
    say(&mut script, "S: .");
    let ask = |script: &mut String, number| say(script, &format!("C: TOP {number} 0"));
    let answer = |script: &mut String| say(script, "S: +OK\nS: Subject: counted\nS: \nS: .");
    (1..=400).for_each(|number| ask(&mut script, number));
    (1..=200).for_each(|_| answer(&mut script));
    (401..=500).for_each(|number| ask(&mut script, number));
    say(&mut script, "C: NOOP");
    (201..=500).for_each(|_| answer(&mut script));
    say(&mut script, "S: +OK\nC: QUIT\nS: +OK bye");
    let server = crate::server::ScriptServer::tcp(&script);
    let sandbox = Sandbox::with(Account::on(server.port));
    let run = sandbox.popfetch(["list"]).exits(0);
    server.finish();
    assert_eq!(run.stdout.matches("counted").count(), 500);
}

#[test]
fn a_list_changes_nothing_while_a_run_holds_the_account() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let lock = sandbox.ledger(USER, server.port).with_extension("lock");
    let held = fs::File::options().write(true).open(lock).unwrap();
    held.lock().unwrap();
    assert_eq!(verdicts(&looks_only(&sandbox, &["list", "--json"], 0)), ["leave:known"; 3]);
}

#[test]
fn what_an_interrupted_run_left_is_in_doubt() {
    if !can_trace() {
        return;
    }
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    // Behind the intents, before anything is published.
    assert_eq!(kill_before(&sandbox, &Call::new("renameat2", 1)).code(), 137);
    let run = looks_only(&sandbox, &["list", "--json"], 0);
    assert_eq!(verdicts(&run), ["leave:in-doubt"; 3], "{run:#?}");
    looks_only(&sandbox, &["list"], 0).says(&["3 messages of an interrupted run in doubt"]);
    let dry = looks_only(&sandbox, &["--dry-run", "-v"], 0);
    assert_eq!(dry.stdout.matches("): leave (in doubt)\n").count(), 3, "{dry:#?}");
}

#[test]
fn an_alarm_is_said_and_everything_is_listed() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    fs::remove_file(sandbox.ledger(USER, server.port)).unwrap();
    for _ in 0..2 {
        let run = looks_only(&sandbox, &["list"], 65).says(&["is gone or empty", "state known"]);
        assert!(run.stdout.starts_with("work: 3 messages, ") && run.stdout.contains("; 3 new, "), "{run:#?}");
        assert_eq!(run.stdout.lines().count(), 4);
    }
    assert_eq!(names(&sandbox.path("Mail/new")).len(), 3);
}

#[test]
fn a_password_is_asked_for_as_for_a_fetch() {
    let server = server(some()).start();
    let sandbox = Sandbox::with(Account::on(server.port).without("password"));
    sandbox.popfetch(["list"]).exits(78).says(&["no password"]);
    let Some(mut run) = OnTerminal::of_width(80, &sandbox, &["list", "--progress=always"]) else { return };
    run.wait_for(|shown| shown.ends_with("`127.0.0.1`: "));
    run.type_in(&format!("{CANARY}\n"));
    run.wait_for(|shown| shown.contains("goes on"));
    let shown = run.exits(0);
    assert!(shown.contains("3 messages, ") && shown.contains("Lunch?"), "{shown:?}");
}

#[test]
fn an_account_may_be_called_list() {
    let server = server(some()).start();
    let sandbox = Sandbox::with(Account::on(server.port).named("list"));
    assert!(sandbox.popfetch(["list", "list"]).exits(0).stdout.starts_with("list: 3 messages"));
    sandbox.popfetch(["-q", "fetch", "list"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 3);
}

#[test]
fn several_accounts_come_one_after_the_other() {
    let (one, two) = (server(some()).start(), server([]).start());
    let sandbox = Sandbox::new();
    let dead = Account::on(1).named("dead");
    sandbox.config(&format!("{}{}{}", Account::on(one.port), Account::on(two.port).named("none"), dead));
    let run = looks_only(&sandbox, &["list"], 75).says(&["dead: ", "connection refused"]);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(lines.len() == 5 && lines[4] == "none: 0 messages, 0 B; 0 new, 0 B", "{run:#?}");
}

// What a dry run says of each message

/// What a run has delivered and deleted, by unique-id: the retrieved ones, and those that are gone from the server.
fn done(server: &Maildrop, before: &[Mail], connection: usize) -> (Vec<String>, Vec<String>) {
    let id = |number: &str| before[number.parse::<usize>().unwrap() - 1].unique_id.clone();
    let commands = server.commands(connection);
    let of = |verb: &str| commands.iter().filter_map(|line| line.strip_prefix(verb).map(id)).collect();
    (of("RETR "), of("DELE "))
}

/// A dry run, and the run after it, which does what the rows say. Returns the rows.
#[track_caller]
fn as_said(sandbox: &Sandbox, server: &Maildrop, more: &[&str]) -> Vec<Value> {
    let before = server.mails(USER);
    let dry = looks_only(sandbox, &[&["-v", "--json", "--dry-run"], more].concat(), 0);
    let all = rows(&dry);
    let with = |is_meant: &dyn Fn(&Value) -> bool| -> Vec<String> {
        all.iter().filter(|row| is_meant(row)).map(|row| row["unique_id"].as_str().unwrap().to_owned()).collect()
    };
    sandbox.popfetch([&["-q"], more].concat()).exits(0);
    let (retrieved, mut deleted) = done(server, &before, server.connections());
    assert_eq!(with(&|row| row["verdict"] == "retrieve"), retrieved, "{dry:#?}");
    let mut said = with(&|row| row["deleted"] == true);
    said.sort();
    deleted.sort();
    assert_eq!(said, deleted, "{dry:#?}");
    all
}

#[test]
fn the_rows_of_a_dry_run_are_what_the_run_does() {
    let server = server(mails(6)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_messages", 2));
    let all = as_said(&sandbox, &server, &[]);
    let reasons: Vec<_> = all.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["new", "new", "later", "later", "later", "later"]);
    let all = as_said(&sandbox, &server, &["--no-keep", "--max-size=100"]);
    assert_eq!(all.iter().filter(|row| row["reason"] == "due").count(), 2);
    as_said(&sandbox, &server, &["--all", "--no-keep", "--max-messages=1"]);
    as_said(&sandbox, &server, &["--no-keep", "--max-messages=9"]);
    assert_eq!(server.unique_ids(USER), [""; 0]);
}

#[test]
fn a_dry_run_says_a_line_for_each_message_with_verbose() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_messages", 1));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let octets = mails(3)[1].octets.len();
    let mail = sandbox.path("Mail").display().to_string();
    let run = looks_only(&sandbox, &["--dry-run", "-v", "--no-keep"], 0);
    let since = day(0);
    let expected = format!(
        "work: 3 on the server; would deliver 1 to maildir:{mail} and delete 2\n\
         work: message 1 (`m1`, {octets} B): delete (to be deleted, known since {since})\n\
         work: message 2 (`m2`, {octets} B): deliver to `maildir:{mail}`, then delete it\n\
         work: message 3 (`m3`, {octets} B): leave (later)\n"
    );
    assert_eq!(run.stdout, expected);
    assert_eq!(looks_only(&sandbox, &["--dry-run"], 0).stdout.lines().count(), 1);
}

#[test]
fn a_dry_run_says_which_target_a_message_goes_to_and_what_a_closed_one_keeps() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::new();
    let account = Account::on(server.port).set("keep", false).set("deliver", "[\"maildir:~/one\", \"maildir:~/two\"]");
    sandbox.config(&account.clone().set("keep", true).to_string());
    as_said(&sandbox, &server, &["--max-messages=1"]);
    // One of two targets is gone: the other one gets what is new, and nothing is deleted.
    sandbox.config(&account.to_string());
    fs::rename(sandbox.path("two"), sandbox.path("elsewhere")).unwrap();
    let dry = sandbox.popfetch(["-v", "--json", "--dry-run"]).exits(73);
    let all = rows(&dry);
    let (one, two) = (sandbox.path("one").display().to_string(), sandbox.path("two").display().to_string());
    let new = all.iter().find(|row| row["verdict"] == "retrieve").unwrap_or_else(|| panic!("{dry:#?}"));
    assert_eq!((&new["targets"], &new["deleted"]), (&json!([format!("maildir:{one}")]), &json!(false)), "{dry:#?}");
    let would_delete = dry.account()["would_delete"].as_u64();
    sandbox.popfetch(["-q"]).exits(73);
    assert_eq!(would_delete, Some(2 - server.unique_ids(USER).len() as u64));
    // It is back: the message goes where it is lacking, and both are deleted.
    fs::rename(sandbox.path("elsewhere"), sandbox.path("two")).unwrap();
    let all = as_said(&sandbox, &server, &[]);
    let lacking = all.iter().find(|row| row["reason"] == "lacking").unwrap_or_else(|| panic!("{all:#?}"));
    assert_eq!((&lacking["targets"], &lacking["deleted"]), (&json!([format!("maildir:{two}")]), &json!(true)));
    assert_eq!(server.unique_ids(USER), [""; 0]);
}
