//! What a person says of the messages that are known, and what is shown of them: `state show`, `known`, `forget` and
//! `rebuild`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::faults::{Call, can_trace, fail_command_at, kill_command_before};
use crate::sandbox::{Account, Sandbox, USER, all_at_home, mails, names, read, server};
use crate::server::{Mail, Maildrop};

fn account(server: &Maildrop) -> Account {
    Account::on(server.port).set("deliver", "\"maildir:~/Mail\"").set("keep", true)
}

/// An account that has fetched so many messages.
fn fetched(count: usize) -> (Maildrop, Sandbox) {
    let server = server(mails(count)).start();
    let sandbox = Sandbox::with(account(&server));
    sandbox.popfetch(["-q"]).exits(0).silently();
    (server, sandbox)
}

fn lose_the_ledger(sandbox: &Sandbox, server: &Maildrop) {
    fs::remove_file(sandbox.ledger(USER, server.port)).unwrap();
    sandbox.popfetch(["-q"]).exits(65);
}

fn with_identity(number: usize, body: &str) -> Mail {
    let text = format!(
        "Message-ID: <{number}@example.org>\r\nDate: Fri, 30 Oct 2026 12:00:0{number} +0000\r\nFrom: a@example.org\r\n\r\n{body}\r\n"
    );
    Mail::new(format!("i{number}"), text)
}

fn messages(maildir: &Path) -> Vec<Vec<u8>> {
    let folders = ["new", "cur"].map(|folder| maildir.join(folder));
    let files = folders.iter().flat_map(|folder| names(folder).into_iter().map(|name| folder.join(name)));
    let mut messages: Vec<_> = files.filter(|file| file.is_file()).map(|file| read(&file)).collect();
    messages.sort();
    messages
}

#[test]
fn what_is_forgotten_comes_again_and_nothing_else_does() {
    let (server, sandbox) = fetched(4);
    let run = sandbox.popfetch(["state", "forget", "work", "--id", "m2", "--yes"]).exits(0);
    assert_eq!(run.stdout, "work: 1 forgotten; 3 known still\n");
    assert_eq!(server.connections(), 1, "the server is not asked");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.count("RETR"), messages(&sandbox.path("Mail")).len()), (5, 5));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 5);
}

#[test]
fn what_was_first_seen_before_a_day_is_forgotten() {
    let (server, sandbox) = fetched(3);
    let run = sandbox.popfetch(["state", "forget", "--before", "2020-01-31", "--yes"]).exits(0);
    assert_eq!(run.stdout, "work: 0 forgotten; 3 known still\n");
    let ledger = read(&sandbox.ledger(USER, server.port));
    let run = sandbox.popfetch(["state", "forget", "--before", "2059-01-31", "--yes", "--dry-run"]).exits(0);
    assert_eq!(run.stdout, "work: 3 would be forgotten; 0 known still\n");
    assert_eq!(read(&sandbox.ledger(USER, server.port)), ledger);
    let run = sandbox.popfetch(["state", "forget", "--before", "2059-01-31", "--yes", "--json"]).exits(0);
    assert_eq!(run.account()["marked"], 3);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 6);
}

#[test]
fn a_forgotten_ledger_is_empty_and_not_lost() {
    let (server, sandbox) = fetched(3);
    sandbox.popfetch(["state", "forget", "--all", "--yes"]).exits(0);
    // A target that is gone is no hindrance to forgetting, and still none to be made in silence.
    fs::remove_dir_all(sandbox.path("Mail")).unwrap();
    sandbox.popfetch(["state", "forget", "--all", "--yes"]).exits(0);
    sandbox.popfetch(["-q"]).exits(73);
    sandbox.popfetch(["-q", "--create"]).exits(0).silently();
    assert_eq!((server.count("RETR"), messages(&sandbox.path("Mail")).len()), (6, 3));
    // It is an answer to an alarm, and a part of it is none.
    lose_the_ledger(&sandbox, &server);
    sandbox.popfetch(["state", "forget", "--id", "m1", "--yes"]).exits(65);
    sandbox.popfetch(["-q"]).exits(65);
    sandbox.popfetch(["state", "forget", "--all", "--yes"]).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 9);
}

#[test]
fn who_changes_what_is_known_says_of_what() {
    let (server, sandbox) = fetched(2);
    let ledger = read(&sandbox.ledger(USER, server.port));
    sandbox.popfetch(["state", "forget", "work", "--yes"]).exits(64).says(&["--id", "--before", "--all"]);
    sandbox.popfetch(["state", "forget", "--all", "--id", "m1", "--yes"]).exits(64);
    sandbox.popfetch(["state", "forget", "--before", "yesterday", "--yes"]).exits(64).says(&["2026-01-31"]);
    sandbox.popfetch(["state", "forget", "--all"]).exits(64).says(&["--yes"]);
    sandbox.popfetch(["state", "rebuild"]).exits(64).says(&["--from"]);
    sandbox.popfetch(["state", "rebuild", "--from", "mbox:x"]).exits(64);
    sandbox.popfetch(["state", "forget", "--id", "m3", "--id", "m1", "--yes"]).exits(65).says(&["`m3` is known"]);
    sandbox.popfetch(["state", "known", "--id", "m9", "--yes"]).exits(65).says(&["`m9` is on the server"]);
    for command in ["show", "known", "forget", "rebuild"] {
        let more: &[&str] = match command {
            "forget" => &["--all", "--yes"],
            "rebuild" => &["--from", "maildir:~/Mail"],
            "known" => &["--yes"],
            _ => &[],
        };
        let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
        let words = ["state", command, &url];
        sandbox.popfetch(words.iter().chain(more)).exits(64).says(&["a URL settles nothing"]);
    }
    let two = [account(&server).to_string(), account(&server).named("other").set("user", "\"x\"").to_string()].concat();
    sandbox.config(&two);
    sandbox.popfetch(["state", "known", "--yes"]).exits(64).says(&["several accounts"]);
    sandbox.popfetch(["state", "forget", "--all", "--yes", "--json"]).exits(64);
    assert_eq!(read(&sandbox.ledger(USER, server.port)), ledger);
}

#[test]
fn one_message_may_count_as_fetched() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::with(account(&server));
    let run = sandbox.popfetch(["state", "known", "work", "--id", "m2", "--yes"]).exits(0);
    assert_eq!(run.stdout, "work: 3 on the server; 1 counts as fetched that did not before\n");
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
    assert_eq!((server.count("RETR"), server.unique_ids(USER)), (2, vec!["m2".to_owned()]));
}

#[test]
fn a_ledger_is_rebuilt_from_what_is_at_home() {
    let mut mails: Vec<Mail> = mails(2);
    mails.extend((1..=4).map(|number| with_identity(number, "body")));
    let server = server(mails.clone()).start();
    let sandbox = Sandbox::with(account(&server));
    sandbox.popfetch(["-q"]).exits(0).silently();
    // A reader has moved one and flagged it, deleted another, and left what is no message.
    let maildir = sandbox.path("Mail");
    let new = names(&maildir.join("new"));
    fs::rename(maildir.join("new").join(&new[0]), maildir.join("cur").join(format!("{}:2,S", new[0]))).unwrap();
    fs::create_dir(maildir.join("cur").join("a-folder")).unwrap();
    lose_the_ledger(&sandbox, &server);
    // Another one came meanwhile, and one that has the header section of a known one.
    server.arrive(USER, with_identity(5, "new"));
    server.arrive(USER, Mail::new("other", with_identity(1, "another body").octets));
    let run = sandbox.popfetch(["state", "rebuild", "work", "--from", "maildir:~/Mail", "--dry-run"]).exits(0);
    let rest = "2 are not known, and come with the next run";
    let found = "work: 8 on the server; 6 were found that";
    assert_eq!(run.stdout, format!("{found} would count as delivered there from now on; {rest}\n"));
    sandbox.popfetch(["-q"]).exits(65);
    let run = sandbox.popfetch(["state", "rebuild", "work", "--from", "maildir:~/Mail"]).exits(0);
    assert_eq!(run.stdout, format!("{found} count as delivered there from now on; {rest}\n"));
    assert_eq!(server.count("RETR"), 6);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 8);
    assert_eq!(messages(&maildir), all_at_home(&server.mails(USER)));
    // What is at home may be deleted.
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
    assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (8, 0));
}

#[test]
fn what_is_found_in_one_of_two_targets_is_owed_to_the_other() {
    for rebuilt in [&["one"][..], &["one", "two"]] {
        let server = server((1..=3).map(|number| with_identity(number, "body"))).start();
        let deliver = "[\"maildir:~/one\", \"maildir:~/two\"]";
        let sandbox = Sandbox::with(account(&server).set("deliver", deliver));
        sandbox.popfetch(["-q"]).exits(0).silently();
        lose_the_ledger(&sandbox, &server);
        sandbox.popfetch(["state", "rebuild", "--from", "maildir:~/three"]).exits(78).says(&["none of them", "--from"]);
        for (nth, target) in rebuilt.iter().enumerate() {
            if nth == 0 && rebuilt.len() == 1 {
                fs::remove_dir_all(sandbox.path("two")).unwrap();
            }
            let run = sandbox.popfetch(["state", "rebuild", "--from", &format!("maildir:~/{target}")]).exits(0);
            assert!(run.stdout.contains("3 were found"), "{run:#?}");
        }
        sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
        assert_eq!(server.count("RETR"), if rebuilt.len() == 1 { 6 } else { 3 });
        for target in ["one", "two"] {
            assert_eq!(messages(&sandbox.path(target)).len(), 3, "{rebuilt:?} {target}");
        }
        sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
        assert_eq!(server.unique_ids(USER).len(), 0);
    }
}

#[test]
fn a_maildir_that_was_moved_has_what_was_delivered_to_it_before() {
    for is_kept_for_days in [false, true] {
        let server = server((1..=3).map(|number| with_identity(number, "body"))).start();
        let account = account(&server);
        let account = if is_kept_for_days { account.set("keep", "\"3d\"") } else { account };
        let sandbox = Sandbox::with(account.clone());
        sandbox.popfetch(["-q"]).exits(0).silently();
        fs::rename(sandbox.path("Mail"), sandbox.path("Moved")).unwrap();
        sandbox.config(&account.set("deliver", "\"maildir:~/Moved\"").to_string());
        sandbox.popfetch(["--dry-run"]).exits(0).says(&["state rebuild --from"]);
        let rebuild = ["state", "rebuild", "--from", "maildir:~/Moved"];
        let run = sandbox.popfetch(rebuild).exits(0);
        assert_eq!(run.stdout, "work: 3 on the server; 3 were found that count as delivered there from now on\n");
        // Once more there is nothing to be found.
        let run = sandbox.popfetch(rebuild).exits(0);
        assert_eq!(run.stdout, "work: 3 on the server; 0 were found that count as delivered there from now on\n");
        for options in [&["-q"][..], &["-q", "--fill"], &["-q", "--no-keep"]] {
            sandbox.popfetch(options).exits(0).silently();
        }
        assert_eq!((server.count("RETR"), messages(&sandbox.path("Moved")).len()), (3, 3));
        assert_eq!(server.unique_ids(USER).len(), 0, "it is known where they are");
    }
}

#[test]
fn a_maildir_that_has_nothing_of_the_maildrop_ends_no_alarm() {
    let (server, sandbox) = fetched(3);
    lose_the_ledger(&sandbox, &server);
    fs::create_dir_all(sandbox.path("Other/new")).unwrap();
    fs::create_dir_all(sandbox.path("Other/cur")).unwrap();
    let rebuild = ["state", "rebuild", "--from", "maildir:~/Other"];
    for options in [&["--dry-run"][..], &[]] {
        sandbox.popfetch([&rebuild[..], options].concat()).exits(65).says(&[
            "none of 3 messages",
            "/Other`",
            "--from",
            "state known",
        ]);
        sandbox.popfetch(["-q"]).exits(65);
    }
    assert_eq!(server.count("RETR"), 3);
    sandbox.popfetch(["state", "rebuild", "--from", "maildir:~/Mail"]).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.count("RETR"), messages(&sandbox.path("Mail")).len()), (3, 3));
}

#[test]
fn what_is_found_at_home_is_durable_before_it_counts() {
    if !can_trace() {
        return;
    }
    let mut of_the_maildir = 0;
    for nth in 1.. {
        let (server, sandbox) = fetched(3);
        lose_the_ledger(&sandbox, &server);
        let rebuild = ["state", "rebuild", "--from", "maildir:~/Mail"];
        let run = fail_command_at(&sandbox, &rebuild, &Call::new("fsync", nth), "EIO");
        if run.code() == 0 {
            break;
        }
        of_the_maildir += usize::from(run.exits(74).stderr.contains("the Maildir `"));
        sandbox.popfetch(["-q", "--no-keep"]).exits(65);
        assert_eq!(server.unique_ids(USER).len(), 3, "nothing is deleted for it");
    }
    assert_eq!(of_the_maildir, 5, "three messages, `new` and `cur`");
}

#[test]
fn a_fifo_or_a_link_in_a_maildir_holds_nothing_up() {
    let (server, sandbox) = fetched(2);
    lose_the_ledger(&sandbox, &server);
    let new = sandbox.path("Mail").join("new");
    rustix::fs::mknodat(rustix::fs::CWD, new.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    std::os::unix::fs::symlink("/dev/zero", new.join("link")).unwrap();
    let run = sandbox.popfetch(["state", "rebuild", "--from", "maildir:~/Mail"]).exits(0);
    assert_eq!(run.stdout, "work: 2 on the server; 2 were found that count as delivered there from now on\n");
    fs::remove_file(new.join("fifo")).unwrap();
}

#[test]
fn of_messages_that_look_alike_none_counts_unless_all_are_at_home() {
    let bodies = ["ABC", "CAB", "BCA"];
    let twins = || {
        ["one", "two", "three"].into_iter().zip(bodies).map(|(id, body)| Mail::new(id, with_identity(1, body).octets))
    };
    for is_one_missing in [false, true] {
        let server = server(twins()).start();
        let sandbox = Sandbox::with(account(&server));
        sandbox.popfetch(["-q"]).exits(0).silently();
        let new = sandbox.path("Mail").join("new");
        if is_one_missing {
            fs::remove_file(new.join(&names(&new)[0])).unwrap();
        }
        lose_the_ledger(&sandbox, &server);
        let expected = if is_one_missing { "none of 3 messages" } else { "3 were found" };
        let run = sandbox.popfetch(["state", "rebuild", "--from", "maildir:~/Mail"]);
        assert!([&run.stdout, &run.stderr].iter().any(|text| text.contains(expected)), "{run:#?}");
        sandbox.popfetch(["-q", "--all"]).exits(0);
        let all: BTreeSet<Vec<u8>> = messages(&sandbox.path("Mail")).into_iter().collect();
        assert_eq!(all.len(), 3);
    }
}

#[test]
fn a_file_is_one_messages_only() {
    let twins = ["ABC", "CAB"].map(|body| Mail::new(body, with_identity(1, body).octets));
    let server = server([twins[0].clone()]).start();
    let sandbox = Sandbox::with(account(&server));
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.arrive(USER, twins[1].clone());
    let run = sandbox.popfetch(["state", "rebuild", "--from", "maildir:~/Mail"]).exits(0);
    assert!(run.stdout.contains("; 0 were found that"), "{run:#?}");
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
    assert_eq!(messages(&sandbox.path("Mail")).len(), 2, "the known one is not the new one");
}

#[test]
fn one_reply_too_many_makes_no_message_known_by_the_header_of_another() {
    for is_pipelined in [false, true] {
        let server = server((1..=4).map(|number| with_identity(number, "body")));
        let server = if is_pipelined { server.start() } else { server.without_pipelining().start() };
        let sandbox = Sandbox::with(account(&server));
        sandbox.popfetch(["-q"]).exits(0).silently();
        lose_the_ledger(&sandbox, &server);
        server.answer("TOP 1 0", Some("+OK\r\n\r\n.\r\n+OK\r\nMessage-ID: <1@example.org>\r\n\r\n."));
        sandbox.popfetch(["state", "rebuild", "--from", "maildir:~/Mail"]).exits(76);
        sandbox.popfetch(["-q"]).exits(65);
        let run = sandbox.popfetch(["list", "--all"]);
        assert!(run.code() != 0, "{run:#?}");
        run.says(&["or with those of others"]);
        server.answer("TOP 1 0", None);
        sandbox.popfetch(["state", "rebuild", "--from", "maildir:~/Mail"]).exits(0);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(messages(&sandbox.path("Mail")).len(), 4);
    }
}

#[test]
fn what_cannot_be_compared_is_not_taken_for_known() {
    let (server, sandbox) = fetched(2);
    lose_the_ledger(&sandbox, &server);
    let rebuild = ["state", "rebuild", "--from", "maildir:~/Mail"];
    sandbox.popfetch(["state", "rebuild", "--from", "maildir:~/None"]).exits(74).says(&["/None`"]);
    sandbox.popfetch(["-q"]).exits(65);
    server.answer("TOP", Some("-ERR unknown command"));
    sandbox.popfetch(rebuild).exits(69).says(&["answers no TOP", "state known"]);
    sandbox.popfetch(["-q"]).exits(65);
    server.answer("TOP", None);
    sandbox.popfetch(rebuild).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 2);
}

#[test]
fn what_is_known_is_shown_and_nothing_is_changed() {
    let (server, sandbox) = fetched(3);
    sandbox.config(
        &[account(&server).to_string(), account(&server).named("new").set("user", "\"x\"").to_string()].concat(),
    );
    let before = names(&sandbox.state());
    let run = sandbox.popfetch(["state", "show"]).exits(0);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("ACCOUNT  LAST SUCCESS"), "{run:#?}");
    assert!(lines[2].starts_with("new      never"), "{run:#?}");
    assert!(lines[1].starts_with("work     20") && lines[1].contains("Z      3         0  account"), "{run:#?}");
    let run = sandbox.popfetch(["state", "show", "work", "--json"]).exits(0);
    let state = run.account()["state"].clone();
    assert_eq!((&state["known"], &state["in_doubt"], &state["notes"]["account"]), (&3.into(), &0.into(), &1.into()));
    assert_eq!((server.connections(), names(&sandbox.state())), (1, before));
    lose_the_ledger(&sandbox, &server);
    let run = sandbox.popfetch(["state", "show"]).exits(65).says(&["is gone or empty"]);
    assert!(run.stdout.contains("new      never"), "{run:#?}");
}

#[test]
fn the_last_success_is_that_of_a_run_that_succeeded() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(account(&server));
    server.answer("UIDL", Some("-ERR [SYS/TEMP] not now"));
    assert_ne!(sandbox.popfetch(["-q"]).code(), 0);
    let last = || sandbox.popfetch(["state", "show", "--json"]).exits(0).account()["state"]["last_success"].clone();
    assert!(last().is_null());
    server.answer("UIDL", None);
    // The session came to its end, and the message did not.
    server.answer("RETR", Some("-ERR no"));
    sandbox.popfetch(["-q"]).exits(75);
    assert!(last().is_null());
    server.answer("RETR", None);
    for (failing, code) in [("/bin/false", 74), ("/bin/sh -c 'exit 75'", 75)] {
        sandbox.config(&account(&server).set("deliver", format!("\"mda:{failing}\"")).to_string());
        sandbox.popfetch(["-q"]).exits(code);
        assert!(last().is_null(), "{failing}");
    }
    sandbox.config(&account(&server).to_string());
    sandbox.popfetch(["-q", "--dry-run"]).exits(0);
    assert!(last().is_null());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(last().is_string());
}

#[test]
fn a_kill_while_messages_are_forgotten_or_found_leaves_all_or_nothing() {
    if !can_trace() {
        return;
    }
    for words in [&["state", "forget", "--all", "--yes"][..], &["state", "rebuild", "--from", "maildir:~/Mail"]] {
        for call in ["write", "fsync", "fdatasync", "rename", "openat", "unlink"] {
            for nth in 1.. {
                let (server, sandbox) = fetched(3);
                if words[1] == "rebuild" {
                    lose_the_ledger(&sandbox, &server);
                }
                let killed = kill_command_before(&sandbox, words, &Call::new(call, nth)).code() == 137;
                let run = sandbox.popfetch(["-q"]);
                if words[1] == "rebuild" && run.code() == 65 {
                    sandbox.popfetch(words).exits(0);
                    sandbox.popfetch(["-q"]).exits(0);
                }
                let wanted: &[usize] = if words[1] == "rebuild" { &[3] } else { &[3, 6] };
                let count = server.count("RETR");
                assert!(wanted.contains(&count), "{words:?} {call} {nth}: {count} {run:#?}");
                if !killed || nth >= 40 {
                    break;
                }
            }
        }
    }
}
