//! Rules and the filter: what becomes of new messages by their header sections, sizes and ages. A dry run says what the run
//! then does, and nothing is lost, doubled or deleted without the user's word.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::faults::{calls_of, can_trace, kill_before};
use crate::sandbox::{Account, CANARY, Maildir, Run, Sandbox, USER, all_at_home, mails, server};
use crate::server::{Mail, Maildrop};

fn mail(id: &str, head: &str) -> Mail {
    Mail::new(id, format!("{}\r\n\r\nbody of {id}\r\n", head.replace('\n', "\r\n")))
}

/// A mailing list, a person, an advertisement, a large message.
fn some() -> Vec<Mail> {
    vec![
        mail("list", "From: ana@example.org\nList-Id: Rust users <rust.example.org>\nSubject: a thread"),
        mail("person", "From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\nSubject: Lunch?"),
        mail("ad", "From: shop@spam.example\nSubject: =?utf-8?b?xb11dG8=?= and cheap"),
        Mail::new("large", format!("From: ana@example.org\r\n\r\n{}\r\n", "x".repeat(20_000))),
    ]
}

fn account(server: &Maildrop, rules: &str) -> Account {
    Account::on(server.port).set("rules", rules)
}

fn sandbox(server: &Maildrop, rules: &str) -> Sandbox {
    Sandbox::with(account(server, rules))
}

/// The unique-ids of messages in a Maildir of the home, as [`mail`] makes them.
fn ids(sandbox: &Sandbox, maildir: &str) -> Vec<String> {
    let messages = Maildir { path: sandbox.path(maildir) }.messages().into_iter();
    let mut ids: Vec<String> = messages
        .map(|octets| {
            let text = String::from_utf8(octets).unwrap();
            text.trim_end().rsplit_once("body of ").map_or("large".into(), |(_, id)| id.to_owned())
        })
        .collect();
    ids.sort();
    ids
}

/// `verdict:reason:rule` of each message that is not simply known.
fn verdicts(run: &Run) -> BTreeMap<String, String> {
    let rows = run.events().into_iter().filter(|event| event["event"] == "message");
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.map(|row| (word(&row["unique_id"]), ["verdict", "reason", "rule"].map(|key| word(&row[key])).join(":")))
        .collect()
}

/// Asks a dry run, a list, and then fetches; and once more, which does nothing. Returns the rows and the report.
#[track_caller]
fn fetched(sandbox: &Sandbox, server: &Maildrop, status: i32) -> (BTreeMap<String, String>, Value) {
    let state = sandbox.ledger(USER, server.port);
    let before = fs::read(&state).ok();
    let dry = sandbox.popfetch(["--dry-run", "-v", "--json"]).exits(status);
    let list = sandbox.popfetch(["list", "--json"]);
    assert_eq!(fs::read(&state).ok(), before, "who looks writes nothing");
    let (said, listed) = (verdicts(&dry), verdicts(&list));
    assert!(said.iter().all(|(id, verdict)| listed[id] == *verdict), "{said:?}\n{listed:?}");
    let there = server.unique_ids(USER).len();
    let run = sandbox.popfetch(["--json"]).exits(status);
    let (would, did) = (dry.account(), run.account());
    assert_eq!(
        (&would["would_deliver"], &would["would_delete"], &would["skipped"]),
        (&did["delivered"], &did["deleted"], &did["skipped"]),
        "{would:#}\n{did:#}"
    );
    assert_eq!(Some((there - server.unique_ids(USER).len()) as u64), did["deleted"].as_u64());
    if status == 0 {
        let commands = ["RETR", "TOP", "DELE"].map(|verb| server.count(verb));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(["RETR", "TOP", "DELE"].map(|verb| server.count(verb)), commands, "the next run does nothing");
    }
    (said, did)
}

/// How many messages the dry run promises to the targets.
fn promised(sandbox: &Sandbox) -> Vec<u64> {
    let dry = sandbox.popfetch(["--dry-run", "--json"]).account();
    dry["would_deliver_to"].as_array().unwrap().iter().map(|target| target["messages"].as_u64().unwrap()).collect()
}

#[test]
fn the_first_rule_that_fits_says_where_a_message_goes() {
    let server = server(some()).start();
    let sandbox = sandbox(
        &server,
        "[{ list-id = 'rust\\.example', deliver = \"maildir:~/lists\" },
          { subject = '^žuto', from = \"@spam\\\\.\", deliver = [\"maildir:~/ads\", \"maildir:~/Mail\"] },
          { list-id = \".\", skip = true }]",
    );
    assert_eq!(promised(&sandbox), [3, 1, 1]);
    let (rows, did) = fetched(&sandbox, &server, 0);
    assert_eq!(rows["list"], "retrieve:new:1");
    assert_eq!(rows["ad"], "retrieve:new:2");
    assert_eq!(rows["person"], "retrieve:new:null");
    assert_eq!(ids(&sandbox, "lists"), ["list"]);
    assert_eq!(ids(&sandbox, "ads"), ["ad"]);
    assert_eq!(ids(&sandbox, "Mail"), ["ad", "large", "person"]);
    assert_eq!((&did["delivered"], server.count("RETR")), (&json!(4), 4));
}

#[test]
fn what_a_rule_skips_stays_on_the_server_though_a_url_has_brought_it() {
    let server = server(some()).start();
    let sandbox = Sandbox::new();
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    sandbox.file(".netrc", format!("default login {USER} password {CANARY}\n"));
    sandbox.popfetch(["-q", "--tls=none", "--keep", "--deliver=maildir:~/Tried", &url]).exits(0);
    let account = |rules: &str| account(&server, rules).set("keep", false).to_string();
    // Neither `keep` makes it due, nor that the rule goes.
    for rules in ["[{ from = \"shop\", skip = true }]", "[]"] {
        sandbox.config(&account(rules));
        fetched(&sandbox, &server, 0);
        assert_eq!(server.unique_ids(USER), ["ad"]);
        assert_eq!(ids(&sandbox, "Mail"), ["large", "list", "person"]);
    }
}

#[test]
fn what_a_rule_skips_is_settled_without_being_retrieved() {
    let server = server(some()).start();
    let sandbox = sandbox(&server, "[{ size = \">10k\", skip = true }]");
    let (rows, did) = fetched(&sandbox, &server, 0);
    assert_eq!(rows["large"], "leave:rule:1");
    // A list shows senders and subjects.
    assert_eq!((&did["delivered"], &did["skipped"], server.count("TOP")), (&json!(3), &json!(1), 4));
    // Without the rule, and with any `keep`, it stays what it is.
    sandbox.config(&Account::on(server.port).set("keep", false).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((ids(&sandbox, "Mail").len(), server.unique_ids(USER)), (3, vec!["large".to_owned()]));
    sandbox.popfetch(["-q", "--fill"]).exits(0);
    assert_eq!(ids(&sandbox, "Mail").len(), 4, "what is wanted after all comes");
}

#[test]
fn head_lines_are_asked_for_once_and_only_of_what_is_new() {
    let server = server(some()).start();
    let sandbox =
        sandbox(&server, "[{ size = \">10k\", deliver = \"maildir:~/large\" }, { from = \"shop\", skip = true }]");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.count("TOP"), ids(&sandbox, "large")), (3, vec!["large".to_owned()]));
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.arrive(USER, mail("new", "Subject: x"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.count("TOP"), server.count("RETR")), (4, 4));
}

#[test]
fn the_keep_of_a_rule_stands_in_the_ledger_and_outlives_the_rule() {
    let rules =
        "[{ from = \"shop\", keep = false }, { list-id = \".\", keep = \"14d\", deliver = \"maildir:~/lists\" }]";
    let server = server(some()).start();
    let sandbox = sandbox(&server, rules);
    let (rows, did) = fetched(&sandbox, &server, 0);
    assert_eq!((rows["ad"].as_str(), &did["deleted"]), ("retrieve:new:1", &json!(1)));
    assert_eq!(server.unique_ids(USER), ["list", "person", "large"]);
    let ledger = sandbox.ledger(USER, server.port);
    let text = fs::read_to_string(&ledger).unwrap();
    assert!(text.contains("{\"settled\":\"list\",\"keep\":1209600}\n"), "{text}");
    // Fifteen days later, and without the rule, it is due; the others are not.
    let date = |line: &str| line.split("\"at\":").nth(1).map(|rest| rest[..10].parse::<u64>().unwrap());
    let old = text.lines().map(|line| match date(line) {
        Some(at) => line.replacen(&at.to_string(), &(at - 15 * 86400).to_string(), 1) + "\n",
        None => line.to_owned() + "\n",
    });
    fs::write(&ledger, old.collect::<String>()).unwrap();
    sandbox.config(&Account::on(server.port).to_string());
    let dry = sandbox.popfetch(["--dry-run", "--json", "-v"]);
    assert_eq!(verdicts(&dry)["list"], "delete:due:null");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER), ["person", "large"]);
    // `keep = true` holds against that of the account.
    server.replace(USER, some());
    let (all, other) = (some(), "[{ from = \"j@\", keep = true }]");
    server.replace(USER, all.into_iter().map(|mail| Mail { unique_id: format!("2{}", mail.unique_id), ..mail }));
    sandbox.config(&account(&server, other).set("keep", false).to_string());
    fetched(&sandbox, &server, 0);
    assert_eq!(server.unique_ids(USER), ["2person"]);
    sandbox.config(&Account::on(server.port).set("keep", false).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER), ["2person"]);
}

#[test]
fn a_compacted_ledger_says_what_rules_have_decided() {
    let server = server(some()).start();
    let sandbox = sandbox(&server, "[{ from = \"j@\", keep = true }, { from = \"shop\", skip = true }]");
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["state", "forget", "work", "--id", "list", "--yes"]).exits(0);
    let text = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
    assert!(!text.contains("published") && text.contains("\"keep\":true"), "{text}");
    sandbox.config(&Account::on(server.port).set("keep", false).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER), ["person", "ad"]);
}

#[test]
fn delete_needs_permission_and_deletes_unread() {
    let rules = "[{ from = \"@spam\", delete = true }]";
    let server = server(some()).start();
    let sandbox = sandbox(&server, rules);
    let run = sandbox.popfetch(["-q"]).exits(78);
    run.says(&["rule 1 deletes messages that no target has, which needs `allow_delete_unread = true`"]);
    assert_eq!(server.connections(), 0);
    sandbox.config(&account(&server, rules).set("allow_delete_unread", true).to_string());
    let (rows, did) = fetched(&sandbox, &server, 0);
    assert_eq!((rows["ad"].as_str(), &did["deleted"]), ("delete:rule:1", &json!(1)));
    assert_eq!(server.unique_ids(USER), ["list", "person", "large"]);
    assert_eq!(ids(&sandbox, "Mail"), ["large", "list", "person"]);
    let text = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
    let (line, deleted) = (text.find("\"discarded\":true").unwrap(), text.find("{\"deleted\":\"ad\"").unwrap());
    assert!(line < deleted, "{text}");
}

#[test]
fn a_refused_deletion_is_tried_again_as_long_as_it_is_allowed() {
    let rules = "[{ from = \"@spam\", delete = true }]";
    let server = server(some()).start();
    server.answer("DELE", Some("-ERR not now"));
    let sandbox = Sandbox::with(account(&server, rules).set("allow_delete_unread", true));
    sandbox.popfetch(["-q"]).exits(75);
    server.answer("DELE", None);
    // What was decided needs no rule any more, but a permission.
    sandbox.config(&Account::on(server.port).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER).len(), 4);
    // Another message under its unique-id is not deleted for it.
    let allowed = Account::on(server.port).set("allow_delete_unread", true).to_string();
    sandbox.config(&allowed);
    let mut all = some();
    all[2] = mail("ad", "From: friend@example.org\nSubject: another one");
    server.replace(USER, all);
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!((server.unique_ids(USER).len(), ids(&sandbox, "Mail").len()), (4, 4));
}

#[test]
fn the_deletion_that_a_rule_has_decided_is_carried_on_by_the_next_run() {
    let rules = "[{ from = \"@spam\", delete = true }]";
    let server = server(some()).start();
    server.answer("DELE", Some("-ERR not now"));
    let sandbox = Sandbox::with(account(&server, rules).set("allow_delete_unread", true));
    sandbox.popfetch(["-q"]).exits(75);
    server.answer("DELE", None);
    sandbox.config(&Account::on(server.port).set("allow_delete_unread", true).to_string());
    let (rows, did) = fetched(&sandbox, &server, 0);
    assert_eq!((rows["ad"].as_str(), &did["deleted"]), ("delete:due:null", &json!(1)));
    assert_eq!(server.unique_ids(USER).len(), 3);
}

#[test]
fn any_and_not_and_age() {
    let old = "Date: Mon, 5 Jan 2026 10:00:00 +0000";
    let hop = |date: &str| format!("Received: from a; b\n by c; {date}");
    let (past, now) = ("Thu, 1 Jan 2026 10:00:00 +0000", chrono::Utc::now().to_rfc2822());
    let all = [
        mail("old", old),
        mail("kept", &format!("{old}\nFrom: boss@example.org")),
        mail("came-now", &format!("{}\n{}\n{old}", hop(&now), hop(past))),
        mail("undated", "Subject: x"),
        mail("spam", &format!("X-Spam: yes\nDate: {now}")),
    ];
    let server = server(all).start();
    let sandbox = sandbox(
        &server,
        "[{ age = \">30d\", not = { from = \"boss@\" }, skip = true },
          { any = [{ x-spam = \"^yes$\" }, { subject = \"^x$\", size = \">1M\" }], deliver = \"maildir:~/spam\" }]",
    );
    let (rows, _) = fetched(&sandbox, &server, 0);
    assert_eq!(rows["old"], "leave:rule:1");
    assert_eq!(ids(&sandbox, "Mail"), ["came-now", "kept", "undated"]);
    assert_eq!(ids(&sandbox, "spam"), ["spam"]);
}

#[test]
fn a_target_of_a_rule_that_is_dead_holds_up_only_what_is_for_it() {
    for rule in ["\"maildir:~/file/lists\"", "[\"maildir:~/file/lists\", \"maildir:~/Mail\"]"] {
        let server = server(some()).start();
        let rules = format!("[{{ list-id = \".\", deliver = {rule} }}]");
        let sandbox = Sandbox::with(account(&server, &rules).set("keep", false));
        sandbox.file("file", "in the way");
        sandbox.popfetch(["-q"]).exits(73);
        assert_eq!(server.unique_ids(USER), ["list"], "{rule}");
        let is_for_both = rule.contains("Mail");
        assert_eq!(ids(&sandbox, "Mail").contains(&"list".to_owned()), is_for_both);
        fs::remove_file(sandbox.path("file")).unwrap();
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!((ids(&sandbox, "file/lists"), server.unique_ids(USER).len()), (vec!["list".to_owned()], 0));
        assert_eq!(ids(&sandbox, "Mail").len(), if is_for_both { 4 } else { 3 });
    }
}

#[test]
fn the_own_target_that_is_dead_holds_nothing_of_a_rule_up() {
    let server = server(some()).start();
    let rules = "[{ list-id = \".\", deliver = \"maildir:~/lists\" }]";
    let sandbox = Sandbox::with(account(&server, rules).set("keep", false).set("deliver", "\"maildir:~/file/Mail\""));
    sandbox.file("file", "in the way");
    sandbox.popfetch(["-q"]).exits(73);
    assert_eq!(ids(&sandbox, "lists"), ["list"]);
    assert_eq!(server.unique_ids(USER), ["person", "ad", "large"]);
    fs::remove_file(sandbox.path("file")).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((ids(&sandbox, "file/Mail").len(), server.unique_ids(USER).len()), (3, 0));
}

#[test]
fn rules_that_change_concern_what_is_not_settled() {
    let server = server(some()).start();
    let to = |target: &str| format!("[{{ list-id = \".\", deliver = [\"maildir:~/file/a\", {target:?}] }}]");
    let sandbox = sandbox(&server, &to("maildir:~/b"));
    sandbox.file("file", "in the way");
    sandbox.popfetch(["-q"]).exits(73);
    assert_eq!(ids(&sandbox, "b"), ["list"]);
    // What was delivered stays so, and the rest goes where it goes now.
    sandbox.config(&account(&server, "[{ list-id = \".\", deliver = \"maildir:~/c\" }]").to_string());
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!((ids(&sandbox, "b"), ids(&sandbox, "c")), (vec!["list".to_owned()], vec!["list".to_owned()]));
    assert!(!ids(&sandbox, "Mail").contains(&"list".to_owned()));
    // What is settled is not looked at again.
    sandbox.config(&account(&server, "[{ from = \".\", deliver = \"maildir:~/d\" }]").to_string());
    let top = server.count("TOP");
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!((ids(&sandbox, "d").len(), server.count("TOP")), (0, top));
}

#[test]
fn the_accounts_rules_are_asked_before_those_of_the_defaults() {
    let server = server(some()).start();
    let sandbox = Sandbox::new();
    let account = account(&server, "[{ subject = \"lunch\", deliver = \"friends\" }]");
    sandbox.config(&format!(
        "[targets.friends]\ndeliver = \"maildir:~/friends\"\n{account}\n[[defaults.rules]]\nfrom = \"j@\"\nskip = true\n\
         [[defaults.rules]]\nlist-id = \".\"\nskip = true\n"
    ));
    let (rows, _) = fetched(&sandbox, &server, 0);
    assert_eq!((rows["person"].as_str(), rows["list"].as_str()), ("retrieve:new:1", "leave:rule:3"));
    assert_eq!(ids(&sandbox, "friends"), ["person"]);
    // A URL takes none of them.
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    sandbox.file(".netrc", format!("default login {USER} password {}\n", crate::sandbox::CANARY));
    sandbox.mode(".netrc", 0o600);
    sandbox.popfetch(["-q", "--tls", "none", "--deliver", "maildir:~/url", &url]).exits(0);
    assert_eq!(ids(&sandbox, "url").len(), 4);
}

#[test]
fn without_top_rules_that_need_it_cannot_decide() {
    let (server, rules) = (|| server(some()), "[{ list-id = \".\", skip = true }]");
    let without = server().capabilities(&["UIDL", "USER"]).answer("TOP", "-ERR what?").start();
    let sandbox = sandbox(&without, rules);
    let run = sandbox.popfetch(["-q"]).exits(69);
    run.says(&["the server answers no TOP, without which the rules cannot decide about 4 messages", "hint: "]);
    assert_eq!(without.count("RETR"), 0);
    let check = sandbox.popfetch(["check"]).exits(69);
    assert!(check.stdout.contains("without which the rules cannot decide about 4 messages"), "{check:#?}");
    // Nothing new, or a rule that needs none: nothing to complain of.
    sandbox.config(&account(&without, "[{ size = \">10k\", skip = true }]").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.config(&account(&without, rules).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
}

#[test]
fn a_head_that_the_server_refuses_decides_nothing_and_the_others_come() {
    let server = server(some()).start();
    server.answer("TOP 2 0", Some("-ERR not this one"));
    let sandbox = Sandbox::with(account(&server, "[{ list-id = \".\", skip = true }]").set("keep", false));
    let (rows, did) = fetched(&sandbox, &server, 75);
    assert_eq!(rows["person"], "leave:undecided:null");
    assert_eq!((&did["delivered"], ids(&sandbox, "Mail")), (&json!(2), vec!["ad".to_owned(), "large".into()]));
    assert_eq!(did["refused"][0]["unique_id"], "person");
    server.answer("TOP 2 0", None);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(ids(&sandbox, "Mail"), ["ad", "large", "person"]);
}

#[test]
fn a_kill_before_any_call_loses_and_doubles_nothing_and_deletes_only_what_a_rule_discards() {
    if !can_trace() {
        return;
    }
    let rules = "[{ from = \"@spam\", delete = true }, { size = \">10k\", skip = true },
                  { list-id = \".\", keep = \"14d\", deliver = [\"maildir:~/lists\", \"maildir:~/Mail\"] }]";
    let begin = || {
        let server = server(some()).start();
        let account = account(&server, rules).set("allow_delete_unread", true).set("keep", false);
        let sandbox = Sandbox::with(account);
        (server, sandbox)
    };
    let (_server, sandbox) = begin();
    let calls = calls_of(&sandbox);
    let mut killed = 0;
    for call in calls {
        let (server, sandbox) = begin();
        killed += usize::from(kill_before(&sandbox, &call).code() == 137);
        let there = server.unique_ids(USER);
        for id in ["list", "large"] {
            assert!(there.contains(&id.to_owned()), "{call}: {id}");
        }
        let is_home = ids(&sandbox, "Mail").contains(&"person".to_owned());
        assert!(is_home || there.contains(&"person".to_owned()), "{call}");
        if !there.contains(&"ad".to_owned()) {
            let text = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
            assert!(text.contains("\"discarded\":true"), "{call}: deleted before the line was there");
        }
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(ids(&sandbox, "Mail"), ["list", "person"], "{call}");
        assert_eq!(ids(&sandbox, "lists"), ["list"], "{call}");
        assert_eq!(server.unique_ids(USER), ["list", "large"], "{call}");
        let retrieved = server.count("RETR");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), retrieved, "{call}");
    }
    assert!(killed > 20, "only {killed} kills happened");
}

#[test]
fn without_unique_ids_a_rule_can_send_but_not_skip_for_good_nor_delete() {
    let rules = "[{ from = \"shop\", delete = true }, { size = \">10k\", skip = true },
                  { list-id = \".\", deliver = \"maildir:~/lists\" }, { from = \"j@\", keep = true }]";
    let server = server(some()).capabilities(&["TOP", "USER"]).answer("UIDL", "-ERR what?").start();
    let account = account(&server, rules).set("keep", false).set("allow_delete_unread", true);
    let sandbox = Sandbox::with(account);
    sandbox.popfetch(["-q"]).code();
    assert_eq!((ids(&sandbox, "lists"), ids(&sandbox, "Mail").len()), (vec!["list".to_owned()], 0));
    assert_eq!(server.unique_ids(USER), ["person", "ad", "large"]);
}

#[test]
fn rules_go_before_limits_and_all_asks_them_again() {
    let server = server(some()).start();
    let account =
        account(&server, "[{ size = \">10k\", deliver = \"maildir:~/large\" }, { from = \"shop\", skip = true }]");
    let sandbox = Sandbox::with(account.clone().set("max_messages", 2));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((ids(&sandbox, "Mail"), ids(&sandbox, "large").len()), (vec!["list".to_owned(), "person".into()], 0));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(ids(&sandbox, "large"), ["large"]);
    sandbox.config(&account.to_string());
    sandbox.popfetch(["-q", "--all"]).exits(0).silently();
    assert_eq!((ids(&sandbox, "Mail").len(), ids(&sandbox, "large").len(), server.count("RETR")), (4, 2, 6));
}

#[test]
fn everything_that_is_wrong_with_a_rule_is_told_with_its_place() {
    for (rule, line, words) in [
        (
            "from = \"a(b\"\nskip = true",
            8,
            "`from` cannot be \"a(b\"; expected a regular expression, and this is none: unclosed group",
        ),
        ("size = \"1M\"\nskip = true", 8, "`size` cannot be \"1M\"; expected `>` or `<` and octets"),
        ("age = \">30\"\nskip = true", 8, "`age` cannot be \">30\"; expected `>` or `<` and a duration"),
        ("from = \"x\"", 7, "`deliver`, `skip`, `delete` or `keep` is missing in `rules`"),
        ("delivr = \"maildir:~/x\"", 8, "unknown key `delivr` in `rules`; did you mean `deliver`?"),
        ("discard = true", 8, "unknown key `discard` in `rules`; did you mean `delete`?"),
        ("list_id = \".\"\nskip = true", 8, "unknown key `list_id` in `rules`; did you mean `list-id`?"),
        ("subjct = \".\"\nskip = true", 8, "unknown key `subjct` in `rules`; did you mean `subject`?"),
        ("from = 7\nskip = true", 8, "`from` cannot be 7; expected a regular expression in quotes"),
        ("x-odd = 7\nskip = true", 8, "unknown key `x-odd` in `rules`; expected"),
        ("skip = false", 8, "`skip` cannot be false; expected `true`; leave the key out otherwise"),
        ("skip = true\nkeep = true", 9, "`skip` and `keep` exclude each other in `rules`"),
        ("deliver = \"maildir:~/x\"\nskip = true", 9, "`deliver` and `skip` exclude each other in `rules`"),
        ("keep = \"soon\"", 8, "`keep` cannot be \"soon\""),
        ("deliver = \"nowhere\"", 8, "or the name of a target"),
        ("any = []\nskip = true", 8, "`any` cannot be an empty array; expected an array of tables"),
        ("any = [{ frm = \"x\" }]\nskip = true", 8, "unknown key `frm` in `any`; did you mean `from`?"),
        (
            "not = { skip = true }\nskip = true",
            8,
            "unknown key `skip` in `not`; what becomes of a message stands in the rule",
        ),
        ("not = {}\nskip = true", 8, "`not` cannot be a table; expected a table with conditions"),
    ] {
        let sandbox = Sandbox::new();
        let account = Account::on(1).without("timeout");
        sandbox.config(&format!("{account}[[accounts.work.rules]]\n{rule}\n"));
        // The account has a line for its name and five keys.
        let run = sandbox.popfetch(["check", "--offline"]);
        let lines = account.to_string().lines().count();
        let expected = format!("config.toml:{}:", line - 7 + lines + 1);
        assert_eq!(run.code(), 78, "{rule}\n{run:#?}");
        let told = run.stderr.lines().find(|told| told.contains(words));
        assert!(told.is_some_and(|told| told.contains(&expected)), "{rule}: {expected} {words}\n{}", run.stderr);
    }
    let sandbox = Sandbox::new();
    sandbox.config(&format!("{}[accounts.work.rules]\nskip = true\n", Account::on(1)));
    sandbox.popfetch(["check", "--offline"]).exits(78).says(&["tables such as `[[accounts.work.rules]]`"]);
}

#[test]
fn rules_are_shown_as_they_could_be_written() {
    let server = server([]).start();
    let rules = "[{ List-Id = 'a\"b', age = \">14d\", any = [{ size = \"<1k\" }, { from = \"x\" }], deliver = \"maildir:/l\", keep = false }, \
                  { not = { to = \"y\" }, skip = true }]";
    let sandbox = Sandbox::with(account(&server, rules).set("filter", "[\"/bin/judge\", \"-x\"]"));
    let run = sandbox.popfetch(["check", "--offline"]).exits(0);
    let shown = "rules = [{ age = \">14d\", any = [{ size = \"<1024\" }, { from = \"x\" }], list-id = \"a\\\"b\", \
                 deliver = \"maildir:/l\", keep = false }, { not = { to = \"y\" }, skip = true }]";
    assert!(run.stdout.contains(shown), "{}", run.stdout);
    assert!(run.stdout.contains("filter = [\"/bin/judge\""), "{}", run.stdout);
}

#[test]
fn a_quiet_run_with_rules_costs_no_more() {
    let server = server(mails(50)).start();
    let sandbox = sandbox(&server, "[{ list-id = \".\", skip = true }]");
    sandbox.popfetch(["-q"]).exits(0).silently();
    let verbs = ["TOP", "RETR"].map(|verb| server.count(verb));
    assert_eq!(verbs, [50, 50]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(["TOP", "RETR"].map(|verb| server.count(verb)), verbs);
    assert!(sandbox.maildir().messages() == all_at_home(&mails(50)));
}

/// An account whose filter is this script, and what it has said.
fn with_filter(server: &Maildrop, script: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let path = sandbox.file("judge.sh", script);
    let filter = format!("[\"/bin/sh\", {path:?}, \"an argument\"]");
    let account = account(server, "[{ size = \">10k\", skip = true }]").set("filter", filter);
    sandbox.config(&account.set("allow_delete_unread", true).to_string());
    sandbox
}

#[test]
fn a_filter_decides_about_what_no_rule_fits_by_one_word() {
    let server = server(some()).start();
    let script = "echo \"$POPFETCH_ACCOUNT $POPFETCH_UIDL $SENDER $RECIPIENT $1\" >>~/asked; \
                  case $(cat | tee ~/head | grep -i ^from) in *@spam*) echo delete;; *j@*) echo ' skip ';; *) echo fetch;; esac";
    let sandbox = with_filter(&server, script);
    let (rows, did) = fetched(&sandbox, &server, 0);
    let expected = [
        ("ad", "delete:filter:null"),
        ("large", "leave:rule:1"),
        ("list", "retrieve:new:null"),
        ("person", "leave:filter:null"),
    ];
    assert_eq!(rows, expected.map(|(id, row)| (id.to_owned(), row.to_owned())).into());
    assert_eq!((&did["delivered"], &did["deleted"], &did["skipped"]), (&json!(1), &json!(1), &json!(2)));
    assert_eq!(
        (ids(&sandbox, "Mail"), server.unique_ids(USER)),
        (vec!["list".to_owned()], vec!["list".to_owned(), "person".into(), "large".into()])
    );
    let asked = fs::read_to_string(sandbox.path("asked")).unwrap();
    assert!(asked.contains(&format!("work list ana@example.org {USER} an argument\n")), "{asked}");
    // A dry run, a list, and the run ask about three messages each; the last run asks about none.
    assert_eq!(asked.lines().count(), 9, "{asked}");
    let head = fs::read_to_string(sandbox.path("head")).unwrap();
    assert!(head.starts_with("From: shop@spam.example\n") && !head.contains("body of"), "{head}");
}

#[test]
fn a_filter_that_gives_no_answer_decides_nothing() {
    for (script, words) in [
        ("echo delete; exit 1", "the filter `/bin/sh` ended with status 1"),
        ("echo delete; kill -9 $$", "the filter `/bin/sh` was ended by signal 9"),
        ("echo delete me", "has said `delete me`; expected `fetch`, `skip` or `delete`"),
        ("echo DELETE", "has said `DELETE`; expected"),
        ("echo skip; echo delete", "expected `fetch`, `skip` or `delete`"),
        ("exec >&-; echo delete >&2", "has said nothing; expected"),
        ("cat >/dev/null; exit 75", "ended with status 75 (EX_TEMPFAIL)"),
        ("printf 'delete\\0'", "expected `fetch`, `skip` or `delete`"),
        ("yes delete | head -c 300000", "expected `fetch`, `skip` or `delete`"),
        ("yes no | head -c 300000 >&2; exit 3", "ended with status 3"),
    ] {
        let server = server(some()).start();
        let sandbox = with_filter(&server, script);
        let run = sandbox.popfetch(["-q"]).exits(75);
        assert!(run.stderr.contains(words), "{script}: {words}\n{}", run.stderr);
        assert_eq!((server.count("RETR"), server.count("DELE"), server.unique_ids(USER).len()), (0, 0, 4), "{script}");
        // They are asked about again.
        fs::write(sandbox.path("judge.sh"), "echo fetch").unwrap();
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(sandbox.maildir().messages().len(), 3, "{script}");
    }
}

#[test]
fn a_filter_that_does_not_end_is_ended_with_what_it_has_started() {
    let server = server(some().into_iter().take(1)).start();
    let sandbox = with_filter(&server, "echo delete; sleep 300 & sleep 300");
    let config = fs::read_to_string(sandbox.path(".config/popfetch/config.toml")).unwrap();
    sandbox.config(&(config + "mda_timeout = 1\n"));
    sandbox.popfetch(["-q"]).exits(75).says(&["the filter `/bin/sh` did not end within 1 s"]);
    assert_eq!(server.unique_ids(USER).len(), 1);
}

#[test]
fn a_filter_that_reads_nothing_or_cannot_be_run_keeps_nobody_waiting() {
    let long = format!("From: a@x\nX: {}", "y".repeat(60_000));
    let server = server([mail("long", &long)]).start();
    let sandbox = with_filter(&server, "exec <&-; echo fetch");
    let config = fs::read_to_string(sandbox.path(".config/popfetch/config.toml")).unwrap();
    sandbox.config(&config.replace(">10k", ">10M"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(ids(&sandbox, "Mail"), ["long"]);
    server.arrive(USER, mail("new", "From: a@x"));
    sandbox.config(&Account::on(server.port).set("filter", "[\"/not/there\"]").to_string());
    sandbox.popfetch(["-q"]).exits(75).says(&["the filter `/not/there` cannot be run: no such file or directory"]);
}

#[test]
fn a_filter_deletes_nothing_without_permission() {
    let server = server(some()).start();
    let sandbox = with_filter(&server, "echo delete");
    let config = fs::read_to_string(sandbox.path(".config/popfetch/config.toml")).unwrap();
    sandbox.config(&config.replace("allow_delete_unread = true\n", ""));
    sandbox
        .popfetch(["-q"])
        .exits(75)
        .says(&["has said `delete`, and the account has no `allow_delete_unread = true`"]);
    assert_eq!((server.count("DELE"), server.unique_ids(USER).len()), (0, 4));
}

#[test]
fn a_filter_that_says_more_than_a_word_decides_nothing() {
    for script in ["printf 'delete%9000sx'", "printf 'delete\\n%9000s\\nfetch'", "printf '%9000s'; echo skip"] {
        let server = server(some()).start();
        let account = account(&server, "[]").set("allow_delete_unread", true).set("keep", true);
        let sandbox = Sandbox::with(account.set("filter", format!("[\"sh\", \"-c\", {script:?}]")));
        let run = sandbox.popfetch(["-q"]).exits(75).says(&["has said too much"]);
        assert_eq!((server.unique_ids(USER).len(), server.count("RETR")), (4, 0), "{run:#?}");
    }
}

#[test]
fn a_filter_deletes_nothing_behind_a_rule_of_which_nobody_can_tell_whether_it_fits() {
    let server = server(some()).start();
    let account = account(&server, "[{ age = \">300d\", keep = true }]").set("allow_delete_unread", true);
    let sandbox = Sandbox::with(account.set("filter", "[\"echo\", \"delete\"]").set("keep", true));
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!((server.unique_ids(USER).len(), server.count("RETR"), server.count("DELE")), (4, 4, 0));
}

#[test]
fn what_an_account_leaves_on_the_server_is_not_its_own_because_a_run_by_url_has_it() {
    for (rules, known) in [("[{ subject = \".\", skip = true }]", false), ("[]", true)] {
        let server = server(some()).start();
        let account = account(&server, rules).set("keep", true);
        let sandbox = Sandbox::with(account.clone());
        match known {
            true => drop(sandbox.popfetch(["state", "known", "--yes"]).exits(0)),
            false => drop(sandbox.popfetch(["-q"]).exits(0)),
        }
        let left: Vec<String> =
            if known { server.unique_ids(USER) } else { ["person", "ad", "list"].map(str::to_owned).into() };
        let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
        sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password {CANARY}\n"));
        sandbox.mode(".netrc", 0o600);
        let by_url = ["-q", "--tls", "none", "--deliver", "maildir:~/Other", &url];
        sandbox.popfetch(by_url).exits(0);
        assert_eq!(ids(&sandbox, "Other").len(), 4);
        for options in [&["--no-keep"][..], &["--keep-newest", "1"], &["--delete-over", "1"], &["--no-keep"]] {
            sandbox.popfetch([&["-q"], options].concat());
            let there = server.unique_ids(USER);
            assert!(left.iter().all(|id| there.contains(id)), "{options:?} {left:?} {there:?}");
        }
        // Also when the ledger was written anew.
        (0..3).for_each(|_| drop(sandbox.popfetch(["-q", "--no-keep"])));
        assert!(left.iter().all(|id| server.unique_ids(USER).contains(id)));
    }
}
