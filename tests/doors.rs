//! One ledger for a maildrop, whoever fetches it: accounts, runs by URL, targets that change, ledgers of earlier builds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use popfetch::text;

use crate::faults::{Call, can_trace, kill_before};
use crate::sandbox::{Account, CANARY, Destination, Run, Sandbox, USER, all_at_home, mails, names, read, server};
use crate::server::{Mail, Maildrop};

/// A home without a configuration, for runs by URL.
fn home() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password {CANARY}\n"));
    sandbox
}

fn by_url(sandbox: &Sandbox, server: &Maildrop, target: &str, more: &[&str]) -> Run {
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    let words = ["-q", "--tls", "none", "--deliver", target, &url];
    sandbox.popfetch(words.iter().chain(more))
}

fn account(server: &Maildrop, target: &str) -> Account {
    Account::on(server.port).set("deliver", format!("{target:?}")).set("keep", true)
}

/// Messages in a Maildir.
fn messages(sandbox: &Sandbox, maildir: &str) -> Vec<Vec<u8>> {
    let folders = ["new", "cur"].map(|folder| sandbox.path(maildir).join(folder));
    let files = folders.iter().flat_map(|folder| names(folder).into_iter().map(|name| folder.join(name)));
    let mut messages: Vec<_> = files.map(|file| read(&file)).collect();
    messages.sort();
    messages
}

fn more_mail(server: &Maildrop, from: usize, count: usize) -> Vec<Mail> {
    let all = mails(from + count);
    all[from..].iter().for_each(|mail| server.arrive(USER, mail.clone()));
    all
}

#[test]
fn a_percent_sign_in_a_path_is_written_twice_and_its_target_stays_the_same() {
    let server = server(mails(3)).start();
    let sandbox = home();
    // The ledger of an earlier build, for which `%` was a character like others.
    sandbox.config(&account(&server, "maildir:~/a%%20b").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    let ledger = sandbox.ledger(USER, server.port);
    let text = fs::read_to_string(&ledger).unwrap();
    let maildir = sandbox.path("a%20b");
    assert!(text.contains(&format!("\"maildir\":\"{}\"", maildir.display())), "{text}");
    assert_eq!(messages(&sandbox, "a%20b"), all_at_home(&mails(3)));
    sandbox.config(&account(&server, "maildir:~/a%20b").to_string());
    sandbox.popfetch(["-q"]).exits(78).says(&["write `%%` for each `%` that is part of the path"]);
    by_url(&sandbox, &server, "maildir:~/a%20b", &[]).exits(64).says(&["write `%%`"]);
    sandbox.config(&account(&server, "maildir:~/a%%20b").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    by_url(&sandbox, &server, "maildir:~/a%%20b", &[]).exits(0).silently();
    assert_eq!((server.count("RETR"), fs::read_to_string(&ledger).unwrap()), (3, text));
}

#[test]
fn accounts_whose_paths_come_out_alike_share_a_target_as_others_do() {
    let server = server(mails(2)).user("alice@example.com", CANARY, mails(3)).start();
    let accounts = |target: &str| {
        let other = account(&server, target).named("other").set("user", "\"alice@example.com\"");
        format!("{}\n{other}", account(&server, target))
    };
    for target in ["maildir:~/Mail/alice", "maildir:~/Mail/%l"] {
        let sandbox = home();
        let before = server.count("RETR");
        sandbox.config(&accounts(target));
        sandbox.popfetch(["-q"]).exits(0).silently();
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!((messages(&sandbox, "Mail/alice").len(), server.count("RETR") - before), (5, 5), "{target}");
    }
}

/// What a first run says about a target that is not empty.
fn first_run_says(held: &str) -> String {
    format!("held {held} before: what came from the same maildrop by other ways comes once more")
}

#[test]
fn a_first_run_says_once_what_its_targets_hold() {
    let targets = ["maildir:~/Mail", "mbox:~/mbox", "maildir:~/empty"];
    let server = server(mails(2)).start();
    let sandbox = home();
    for name in ["new/1.a", "new/2.b", "cur/3.c:2,S", "new/.hidden", "tmp/4.d"] {
        sandbox.file(&format!("Mail/{name}"), "Subject: old\n\n");
    }
    sandbox.file("mbox", format!("From x Thu Jan  1 00:00:00 1970\nSubject: old\n\n{}\n\n", "x".repeat(2000)));
    let account = Account::on(server.port).set("auth", "\"user\"");
    sandbox.config(&account.set("deliver", format!("{targets:?}")).to_string());
    let (maildir, mbox) = (first_run_says("3 messages"), first_run_says("2.0 KiB"));
    server.answer("PASS", Some("-ERR not now"));
    assert!(!sandbox.popfetch::<&str>([]).stderr.contains("first run"), "nothing has come");
    server.answer("PASS", None);
    sandbox.popfetch(["--dry-run"]).exits(0).says(&[&maildir, &mbox]);
    let run = sandbox.popfetch(["--json"]).exits(0).says(&[&maildir, &mbox]);
    let path = |name: &str| sandbox.path(name).display().to_string();
    assert_eq!(
        run.account()["first_run"],
        serde_json::json!([
            { "target": format!("maildir:{}", path("Mail")), "messages": 3, "octets": null },
            { "target": format!("mbox:{}", path("mbox")), "messages": null, "octets": 2048 },
        ])
    );
    more_mail(&server, 2, 1);
    let run = sandbox.popfetch(["--json"]).exits(0);
    assert_eq!((run.stderr.as_str(), run.account()["first_run"].as_array().unwrap().len()), ("", 0));
    // Nobody knows more where the ledger and its lock are gone.
    fs::remove_dir_all(sandbox.state()).unwrap();
    sandbox.popfetch::<&str>([]).exits(0).says(&[&first_run_says("6 messages")]);
    fs::remove_dir_all(sandbox.state()).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
}

#[test]
fn what_another_account_delivers_in_the_same_run_is_not_held_before() {
    for target in ["maildir:~/Mail", "mbox:~/mbox"] {
        let servers = [1, 2, 3, 4].map(|count| server(mails(count)).start());
        let sandbox = home();
        let accounts = servers.iter().zip(["a", "b", "c", "d"]);
        let accounts: Vec<_> = accounts.map(|(server, name)| account(server, target).named(name).to_string()).collect();
        sandbox.config(&accounts.concat());
        sandbox.popfetch(["--jobs", "1"]).exits(0).silently();
    }
}

#[test]
fn the_messages_of_a_large_maildir_are_not_all_counted() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::in_memory();
    sandbox.config(&account(&server, "maildir:~/Mail").to_string());
    for number in 0..10_001 {
        sandbox.file(&format!("Mail/cur/{number}.x"), "");
    }
    ["new", "tmp"].iter().for_each(|name| fs::create_dir(sandbox.path("Mail").join(name)).unwrap());
    sandbox.popfetch::<&str>([]).exits(0).says(&[&first_run_says("at least 10000 messages")]);
}

#[test]
fn a_run_by_url_and_then_an_account_with_the_same_target_deliver_once() {
    for target in ["maildir:~/Mail", "mbox:~/mbox"] {
        let server = server(mails(4)).start();
        let sandbox = home();
        by_url(&sandbox, &server, target, &[]).exits(0).silently();
        sandbox.config(&account(&server, target).to_string());
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), 4, "{target}");
        let settled = fs::read(sandbox.ledger(USER, server.port)).unwrap();
        assert_eq!(String::from_utf8_lossy(&settled).matches("{\"settled\"").count(), 4);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(fs::read(sandbox.ledger(USER, server.port)).unwrap(), settled, "the next run writes nothing");
        // What is settled is not wanted by another target.
        sandbox.config(&account(&server, "maildir:~/Other").to_string());
        sandbox.popfetch(["-q"]).exits(0);
        assert_eq!(server.count("RETR"), 4, "{target}");
        assert_eq!(names(&sandbox.state()).iter().filter(|name| name.ends_with(".jsonl")).count(), 1);
    }
}

#[test]
fn a_run_by_url_and_then_an_account_with_an_mda_deliver_once() {
    let server = server(mails(3)).start();
    let sandbox = home();
    let deliver = sandbox.mda();
    let command = format!("mda:/bin/sh {} %F", sandbox.path("mda.sh").display());
    by_url(&sandbox, &server, &command, &[]).exits(0).silently();
    sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.count("RETR"), sandbox.mda_messages().len()), (3, 3));
}

#[test]
fn a_run_by_url_settles_nothing_for_another_target() {
    let server = server(mails(3)).start();
    let sandbox = home();
    by_url(&sandbox, &server, "maildir:~/Url", &[]).exits(0).silently();
    by_url(&sandbox, &server, "maildir:~/Url", &[]).exits(0).silently();
    by_url(&sandbox, &server, "maildir:~/Second", &[]).exits(0).silently();
    sandbox.config(&account(&server, "maildir:~/Mail").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    for maildir in ["Url", "Second", "Mail"] {
        assert_eq!(messages(&sandbox, maildir), all_at_home(&mails(3)), "{maildir}");
    }
    // And after an account a URL's own target starts afresh, and has all.
    by_url(&sandbox, &server, "maildir:~/Third", &[]).exits(0).silently();
    assert_eq!(messages(&sandbox, "Third"), all_at_home(&mails(3)));
    assert_eq!(server.count("RETR"), 12);
}

#[test]
fn spellings_of_one_maildir_are_one_lane() {
    let server = server(mails(2)).start();
    let sandbox = home();
    fs::create_dir(sandbox.path("x")).unwrap();
    std::os::unix::fs::symlink("Mail", sandbox.path("link")).unwrap();
    for target in ["~/Mail", "~/Mail/", "~/./Mail", "~//Mail", "~/x/../Mail", "~/link"] {
        by_url(&sandbox, &server, &format!("maildir:{target}"), &[]).exits(0).silently();
        sandbox.config(&account(&server, &format!("maildir:{target}")).to_string());
        sandbox.popfetch(["-q"]).exits(0).silently();
    }
    assert_eq!((server.count("RETR"), messages(&sandbox, "Mail").len()), (2, 2));
}

#[test]
fn a_run_by_url_deletes_nothing_that_the_account_still_wants() {
    let server = server(mails(2)).start();
    let sandbox = home();
    sandbox.config(&account(&server, "maildir:~/Mail").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    let all = more_mail(&server, 2, 2);
    by_url(&sandbox, &server, "maildir:~/Url", &["--no-keep"])
        .exits(0)
        .says(&["2 messages left on the server", "the account"]);
    assert_eq!(server.unique_ids(USER).len(), 2, "what the account has is deleted");
    sandbox.popfetch(["-q"]).exits(0).silently();
    by_url(&sandbox, &server, "maildir:~/Url", &["--no-keep"]).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
    assert_eq!((messages(&sandbox, "Mail"), messages(&sandbox, "Url")), (all_at_home(&all), all_at_home(&all)));
}

#[test]
fn what_a_run_by_url_holds_back_for_an_account_that_is_no_more_can_be_let_go() {
    let server = server(mails(1)).start();
    let sandbox = home();
    sandbox.config(&account(&server, "maildir:~/Mail").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    fs::remove_file(sandbox.path(".config/popfetch/config.toml")).unwrap();
    let all = more_mail(&server, 1, 2);
    let ledger = sandbox.ledger(USER, server.port);
    let way_out = format!("take the line with `\"note\":\"account\"` out of `{}`", ledger.display());
    for _ in 0..2 {
        by_url(&sandbox, &server, "maildir:~/Url", &["--no-keep"]).exits(0).says(&["2 messages left on", &way_out]);
        assert_eq!(server.unique_ids(USER).len(), 2);
    }
    let text = fs::read_to_string(&ledger).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("\"note\":\"account\"")).collect();
    assert_eq!(lines.len() + 1, text.lines().count());
    fs::write(&ledger, lines.join("\n") + "\n").unwrap();
    by_url(&sandbox, &server, "maildir:~/Url", &["--no-keep"]).exits(0).silently();
    assert!(server.unique_ids(USER).is_empty());
    assert_eq!(messages(&sandbox, "Url"), all_at_home(&all), "each once");
}

#[test]
fn a_run_by_url_that_compares_a_text_deletes_nothing_that_the_account_still_wants() {
    let server = server([]).capabilities(&["UIDL", "PIPELINING", "USER"]).answer("TOP", "-ERR what?").start();
    let sandbox = home();
    sandbox.config(&account(&server, "maildir:~/Mail").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    let mut all = more_mail(&server, 0, 2);
    by_url(&sandbox, &server, "maildir:~/Url", &["--auth", "user"]).exits(0).silently();
    // The server has written into them, and has no TOP that would tell.
    all.iter_mut().for_each(|mail| mail.octets = [b"Status: O\r\n", &mail.octets[..]].concat());
    server.replace(USER, all.clone());
    let words = ["--auth", "user", "--no-keep"];
    by_url(&sandbox, &server, "maildir:~/Url", &words).exits(0).says(&["2 messages left on the server", "the account"]);
    assert_eq!((server.unique_ids(USER).len(), messages(&sandbox, "Url").len()), (2, 2));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(messages(&sandbox, "Mail"), all_at_home(&all));
}

#[test]
fn without_an_account_a_run_by_url_deletes_what_its_target_has() {
    let server = server(mails(2)).start();
    let sandbox = home();
    by_url(&sandbox, &server, "maildir:~/Url", &[]).exits(0).silently();
    more_mail(&server, 2, 1);
    by_url(&sandbox, &server, "maildir:~/Url", &["--no-keep"]).exits(0).silently();
    assert_eq!((server.unique_ids(USER).len(), server.count("RETR")), (0, 3));
}

// Ledgers of earlier builds

/// Turns the ledger of a maildrop into what an earlier build would have left: of an account, or of a run by URL to this
/// target, which had a ledger of its own.
pub fn as_of_format(sandbox: &Sandbox, server: &Maildrop, format: u32, target: Option<&str>) -> PathBuf {
    let ledger = sandbox.ledger(USER, server.port);
    let text = fs::read_to_string(&ledger).unwrap();
    let mut old = String::new();
    for line in text.lines() {
        let is_new =
            ["{\"maildir\"", "{\"mbox\"", "{\"note\"", "{\"settled\""].iter().any(|start| line.starts_with(start));
        if is_new {
            continue;
        }
        let line = line.replace("{\"popfetch\":3", &format!("{{\"popfetch\":{format}")).replace(",\"owed\":true", "");
        let cut = |line: String, key: &str| match line.split_once(key) {
            Some((before, after)) => before.to_owned() + &after[17..],
            None => line,
        };
        let line = cut(line, ",\"lane\":\"");
        old += &if format == 1 { cut(line, ",\"head\":\"") } else { line };
        old.push('\n');
    }
    let path = match target {
        None => ledger.clone(),
        Some(target) => {
            let name = format!("{USER}@127.0.0.1:{},{}", server.port, text::fingerprint(target));
            fs::remove_file(ledger.with_extension("lock")).unwrap();
            fs::remove_file(&ledger).unwrap();
            fs::write(sandbox.state().join(format!("{name}.lock")), "popfetch\n").unwrap();
            sandbox.state().join(format!("{name}.jsonl"))
        }
    };
    fs::write(&path, old).unwrap();
    path
}

/// A home in which an earlier build has fetched by URL.
fn of_an_earlier_build(server: &Maildrop, format: u32, destination: Destination) -> (Sandbox, PathBuf) {
    let sandbox = home();
    let target = match destination {
        Destination::Maildir => format!("maildir:{}", sandbox.path("Mail").display()),
        Destination::Mbox => format!("mbox:{}", sandbox.path("mbox").display()),
        Destination::Mda => {
            sandbox.mda();
            format!("mda:/bin/sh {} '%F'", sandbox.path("mda.sh").display())
        }
    };
    by_url(&sandbox, server, &target, &[]).exits(0).silently();
    let ledger = as_of_format(&sandbox, server, format, Some(&target));
    (sandbox, ledger)
}

#[test]
fn a_ledger_of_a_run_by_url_is_taken_over() {
    for format in [1, 2] {
        for destination in Destination::ALL {
            let server = server(mails(3)).start();
            let (sandbox, old) = of_an_earlier_build(&server, format, destination);
            let deliver = destination.deliver(&sandbox);
            sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
            let dry = sandbox.popfetch(["--dry-run"]).exits(0);
            assert!(dry.stdout.contains("would deliver 0"), "format {format}, {destination:?}: {dry:#?}");
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(server.count("RETR"), 3, "format {format}, {destination:?}");
            let header = fs::read_to_string(&old).unwrap();
            assert!(header.lines().count() == 1 && header.starts_with("{\"popfetch\":3,"), "{header}");
            sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
            assert_eq!(
                (server.count("RETR"), server.unique_ids(USER).len()),
                (3, 0),
                "format {format}, {destination:?}"
            );
        }
    }
}

#[test]
fn a_ledger_of_a_run_by_url_that_is_lost_or_damaged_is_an_alarm() {
    type Change = fn(&std::path::Path);
    let changes: [(Change, &str); 4] = [
        (|ledger| fs::remove_file(ledger).unwrap(), "is gone or empty"),
        (|ledger| fs::write(ledger, "").unwrap(), "is gone or empty"),
        (|ledger| fs::write(ledger, "garbage\n").unwrap(), "is not a ledger"),
        (
            |ledger| {
                let text = fs::read_to_string(ledger).unwrap();
                fs::write(ledger, text.replace("{\"intend\"", "~{\"intend\"")).unwrap();
            },
            "cannot be read",
        ),
    ];
    for (change, words) in changes {
        let server = server(mails(5)).start();
        let (sandbox, old) = of_an_earlier_build(&server, 2, Destination::Maildir);
        change(&old);
        sandbox.config(&account(&server, "maildir:~/Mail").to_string());
        for _ in 0..2 {
            sandbox.popfetch(["-q"]).exits(65).says(&[words, "popfetch state known"]);
            sandbox.popfetch(["-q", "--dry-run"]).exits(65).says(&[words]);
        }
        // A decision that could not be carried out decides nothing. Damage is told by the run that leaves it behind.
        let status = if words == "cannot be read" { 65 } else { 75 };
        server.answer("CAPA", Some("-ERR not now"));
        server.answer("USER", Some("-ERR [SYS/TEMP] not now"));
        sandbox.popfetch(["-q", "state", "known", "--yes"]).exits(status);
        server.answer("CAPA", None);
        server.answer("USER", None);
        sandbox.popfetch(["-q"]).exits(65).says(&["popfetch state known"]);
        sandbox.popfetch(["-q", "state", "known", "--yes"]).exits(0);
        sandbox.popfetch(["-q"]).exits(0);
        assert_eq!(server.count("RETR"), 5, "{words}: nothing came again");
    }
}

#[test]
fn what_an_account_of_format_1_brought_to_two_targets_is_known_at_both() {
    let all = mails(3);
    let server = server(all.clone()).start();
    let sandbox = home();
    sandbox.config(&account(&server, "maildir:~/Mail").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    // Then it was given another one, and fetched everything again; one unique-id had another message by then.
    let other = Mail::new("m2", "Message-ID: <other@x>\r\n\r\nlonger than it was, and not at the first target\r\n");
    server.replace(USER, [all[0].clone(), other.clone(), all[2].clone()]);
    sandbox.config(&account(&server, "mbox:~/mbox").to_string());
    sandbox.popfetch(["-q", "--all"]).exits(0);
    as_of_format(&sandbox, &server, 1, None);
    let account = Account::on(server.port).set("deliver", "[\"maildir:~/Mail\", \"mbox:~/mbox\"]");
    sandbox.config(&account.to_string());
    let dry = sandbox.popfetch(["-q", "--fill", "--dry-run", "--json"]).exits(0).account();
    assert_eq!(dry["would_deliver"], 1, "{dry:#}");
    sandbox.popfetch(["-q", "--fill"]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages(), all_at_home(&[&all[..], &[other]].concat()));
    assert_eq!(sandbox.mbox().len(), 3);
    by_url(&sandbox, &server, "maildir:~/Mail", &[]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages().len(), 4, "nothing came again");
}

#[test]
fn a_damaged_line_of_an_earlier_format_is_told_and_kept() {
    for format in [1, 2] {
        let server = server(mails(3)).start();
        let sandbox = home();
        sandbox.config(&account(&server, "maildir:~/Mail").to_string());
        sandbox.popfetch(["-q"]).exits(0).silently();
        let ledger = as_of_format(&sandbox, &server, format, None);
        let text = fs::read_to_string(&ledger).unwrap();
        fs::write(&ledger, text.replacen("{\"intend\"", "~{\"intend\"", 1)).unwrap();
        sandbox.popfetch(["-q"]).says(&["cannot be read", "damaged-1"]);
        assert!(ledger.with_extension("damaged-1").exists(), "format {format}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), 4, "format {format}");
    }
}

#[test]
fn ledgers_of_an_account_and_of_a_run_by_url_become_one() {
    for format in [1, 2] {
        let all = mails(6);
        let server = server(all[..4].to_vec()).start();
        let (sandbox, old) = of_an_earlier_build(&server, format, Destination::Maildir);
        let (kept, lock) = (read(&old), old.with_extension("lock"));
        fs::remove_file(&old).unwrap();
        let kept_lock = read(&lock);
        fs::remove_file(&lock).unwrap();
        // The account has two of them, and one more, at a target of its own.
        server.replace(USER, [all[2].clone(), all[3].clone(), all[4].clone()]);
        sandbox.config(&account(&server, "maildir:~/Own").to_string());
        sandbox.popfetch(["-q"]).exits(0).silently();
        as_of_format(&sandbox, &server, format, None);
        fs::write(&old, kept).unwrap();
        fs::write(&lock, kept_lock).unwrap();
        server.replace(USER, all.clone());
        let before = server.count("RETR");
        // While an earlier build holds the one or the other, nothing is done.
        let held = fs::File::options().write(true).open(&lock).unwrap();
        held.lock().unwrap();
        sandbox.popfetch(["-q"]).exits(75).says(&["another run"]);
        drop(held);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR") - before, 3, "format {format}: what the account lacks");
        assert_eq!(messages(&sandbox, "Own"), all_at_home(&all), "format {format}");
        by_url(&sandbox, &server, "maildir:~/Mail", &[]).exits(0).silently();
        assert_eq!(messages(&sandbox, "Mail"), all_at_home(&all), "format {format}");
        assert_eq!(server.count("RETR") - before, 5, "format {format}: what the URL lacks");
    }
}

#[test]
fn what_was_deleted_or_noted_in_either_ledger_is_so_in_the_one() {
    let server = server(mails(3)).start();
    let (sandbox, old) = of_an_earlier_build(&server, 2, Destination::Maildir);
    let mut text = fs::read_to_string(&old).unwrap();
    text += "{\"deleted\":\"m1\",\"at\":1795423690}\n{\"x-mine\":1}\n";
    let id = server.unique_ids(USER)[0].clone();
    text = text.replace("\"deleted\":\"m1\"", &format!("\"deleted\":\"{id}\""));
    fs::write(&old, text).unwrap();
    sandbox.config(&account(&server, "maildir:~/Mail").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    let text = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
    assert!(text.contains(&format!("{{\"deleted\":\"{id}\"")) && text.contains("{\"x-mine\":1}"), "{text}");
    assert_eq!(server.count("RETR"), 3);
}

#[test]
fn a_take_over_survives_a_kill_before_every_call() {
    if !can_trace() {
        return;
    }
    let mut killed = 0;
    let calls = ["write", "pwrite64", "fsync", "fdatasync", "rename", "renameat2", "openat", "flock", "unlink"];
    for call in calls.iter().flat_map(|name| (1..=14).map(|turn| Call::new(name, turn))) {
        if call.name == "openat" && call.nth % 3 != 0 {
            continue;
        }
        let server = server(mails(3)).start();
        let (sandbox, old) = of_an_earlier_build(&server, 2, Destination::Maildir);
        sandbox.config(&account(&server, "maildir:~/Mail").to_string());
        let code = kill_before(&sandbox, &call).code();
        killed += usize::from(code == 137);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!((server.count("RETR"), messages(&sandbox, "Mail").len()), (3, 3), "killed before {call}");
        assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 1, "killed before {call}");
        let text = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
        assert!(text.contains("\"note\":\"taking-over\",\"id\":\"\",\"over\":true"), "killed before {call}: {text}");
    }
    assert!(killed > 15, "only {killed} kills happened");
}

// Looking

/// Every file and folder below a path: its inode, its time of change, its octets.
fn everything(path: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for name in names(path) {
        let path = path.join(name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        let octets = if metadata.is_file() { read(&path) } else { vec![] };
        if metadata.is_dir() {
            all.extend(everything(&path));
        }
        all.insert(path, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), octets));
    }
    all
}

/// A run that changes nothing below the sandbox.
#[track_caller]
pub fn looks_only(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Run {
    let before = everything(&sandbox.path(""));
    let run = sandbox.popfetch(arguments).exits(code);
    assert!(everything(&sandbox.path("")) == before, "{arguments:?} has changed something");
    run
}

#[test]
fn a_dry_run_writes_nothing_at_all() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let run = looks_only(&sandbox, &["--dry-run"], 0);
    assert!(run.stdout.contains("would deliver 3"), "{run:#?}");
    sandbox.popfetch(["-q"]).exits(0).silently();
    looks_only(&sandbox, &["--dry-run", "--no-keep"], 0);
    // Neither a format of earlier days, nor half a line, nor a damaged one, is mended.
    let ledger = as_of_format(&sandbox, &server, 1, None);
    looks_only(&sandbox, &["--dry-run"], 0);
    fs::write(&ledger, [read(&ledger), b"garbage\n{\"intend\":".to_vec()].concat()).unwrap();
    for _ in 0..2 {
        looks_only(&sandbox, &["--dry-run"], 65).says(&["1 line of the ledger"]);
    }
    // An alarm is not used up.
    fs::remove_file(&ledger).unwrap();
    for _ in 0..2 {
        looks_only(&sandbox, &["--dry-run"], 65).says(&["is gone or empty"]);
    }
    sandbox.popfetch(["-q"]).exits(65).says(&["is gone or empty"]);
}

#[test]
fn a_dry_run_looks_while_a_run_holds_the_account() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let lock = sandbox.ledger(USER, server.port).with_extension("lock");
    let held = fs::File::options().write(true).open(lock).unwrap();
    held.lock().unwrap();
    sandbox.popfetch(["-q"]).exits(75);
    let run = looks_only(&sandbox, &["--dry-run"], 0);
    assert!(run.stdout.contains("would deliver 0"), "{run:#?}");
}

#[test]
fn a_dry_run_takes_over_an_interrupted_run_only_in_its_words() {
    if !can_trace() {
        return;
    }
    for destination in [Destination::Maildir, Destination::Mbox] {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::new();
        let deliver = destination.deliver(&sandbox);
        sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
        // Behind the intents, before anything is published.
        let turn = if destination == Destination::Mbox { 3 } else { 1 };
        let call = if destination == Destination::Mbox { "fdatasync" } else { "renameat2" };
        assert_eq!(kill_before(&sandbox, &Call::new(call, turn)).code(), 137);
        let run = looks_only(&sandbox, &["--dry-run"], 0);
        let is_told = run.stderr.contains("3 messages of an interrupted run in doubt");
        assert!(is_told || destination == Destination::Mbox, "{run:#?}");
        assert!(run.stdout.contains("would deliver 0"), "{run:#?}");
        let in_doubt = looks_only(&sandbox, &["--dry-run", "--json"], 0).account()["in_doubt"].clone();
        assert_eq!(in_doubt, if is_told { 3 } else { 0 }, "{run:#?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), 3);
    }
}

// What a person decides

#[test]
fn what_is_known_by_a_persons_word_is_neither_fetched_nor_deleted() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(account(&server, "maildir:~/Mail"));
    sandbox.popfetch(["state", "known", "work"]).exits(64).says(&["--yes"]);
    let run = sandbox.popfetch(["state", "known", "--dry-run"]).exits(0);
    assert_eq!(run.stdout, "work: 3 on the server; 3 of them would count as fetched\n");
    let run = sandbox.popfetch(["state", "known", "--dry-run", "--json"]).exits(0);
    assert!(run.stdout.contains("\"marked\":3,"), "{run:#?}");
    let run = sandbox.popfetch(["state", "known", "work", "--yes"]).exits(0);
    assert_eq!(run.stdout, "work: 3 on the server; 3 count as fetched that did not before\n");
    let run = sandbox.popfetch(["state", "known", "--yes"]).exits(0);
    assert!(run.stdout.contains("0 count as fetched that did not before"), "{run:#?}");
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
    assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (0, 3), "never delivered, never deleted");
    let all = more_mail(&server, 3, 1);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(messages(&sandbox, "Mail"), all_at_home(&all[3..]));
    sandbox.popfetch(["-q", "--fill"]).exits(0).silently();
    assert_eq!(messages(&sandbox, "Mail"), all_at_home(&all));
    sandbox.popfetch(["-q", "--fill"]).exits(0).silently();
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
    assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (4, 0));
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    sandbox.popfetch(["state", "known", "--yes", &url]).exits(64).says(&["a URL settles nothing"]);
}

#[test]
fn a_persons_word_ends_an_alarm_once_it_is_done() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(account(&server, "maildir:~/Mail"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let ledger = sandbox.ledger(USER, server.port);
    for damage in [None, Some("garbage\n")] {
        match damage {
            None => fs::remove_file(&ledger).unwrap(),
            Some(text) => fs::write(&ledger, text).unwrap(),
        }
        sandbox.popfetch(["-q"]).exits(65).says(&["popfetch state known"]);
        server.answer("CAPA", Some("-ERR not now"));
        server.answer("USER", Some("-ERR [SYS/TEMP] not now"));
        assert_ne!(sandbox.popfetch(["state", "known", "--yes"]).code(), 0);
        server.answer("CAPA", None);
        server.answer("USER", None);
        sandbox.popfetch(["-q"]).exits(65);
        sandbox.popfetch(["state", "known", "--yes"]).exits(0);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), 3);
    }
}

#[test]
fn a_target_that_changes_gets_new_mail_and_with_fill_all_of_it() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(account(&server, "maildir:~/Mail"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.config(&account(&server, "maildir:~/Other").to_string());
    sandbox.popfetch(["-q"]).exits(0).says(&["3 messages came before `deliver` was changed", "--fill"]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let all = more_mail(&server, 3, 1);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(messages(&sandbox, "Other"), all_at_home(&all[3..]));
    sandbox.popfetch(["-q", "--fill"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(messages(&sandbox, "Other"), all_at_home(&all));
    assert_eq!((messages(&sandbox, "Mail").len(), server.count("RETR")), (3, 7));
    sandbox.popfetch(["-q", "--fill", "--all"]).exits(64);
}
