//! What changes on the server between two runs: unique-ids that are used again, sizes that wander, listings that lack
//! something for a while, maildrops that move. What the ledger knows is a belief, and is checked before it deletes.

use std::fs;

use crate::faults::{Call, can_trace, kill_before};
use crate::sandbox::{Account, Sandbox, USER, all_at_home, at_home, mails, read, server};
use crate::server::{Builder, Fault, Mail, Maildrop, Misdeed, Moment};

/// The ways to keep or not to keep what is known. The last but one makes everything due in the run after the first.
const KEEPS: [&str; 3] = ["false", "\"1s\"", "true"];

/// A message of a certain size with an identity of its own.
fn sized(unique_id: &str, subject: &str, octets: usize) -> Mail {
    let head = format!("Message-ID: <{subject}@x>\r\nDate: Mon, 5 Jan 2026 10:00:00 +0000\r\nFrom: a@x\r\n\r\n");
    let body = "x".repeat(octets - head.len() - 2);
    Mail::new(unique_id, head + &body + "\r\n")
}

fn delivered(server: &Maildrop, keep: &str) -> Sandbox {
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", true));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.config(&Account::on(server.port).set("keep", keep).to_string());
    std::thread::sleep(std::time::Duration::from_millis(1100));
    sandbox
}

fn without_top(builder: Builder) -> Builder {
    builder.capabilities(&["UIDL", "PIPELINING", "USER", "SASL PLAIN"]).answer("TOP", "-ERR what?")
}

/// Every message that ever was on the server is at home once, and nothing else is.
#[track_caller]
fn assert_at_home(sandbox: &Sandbox, mails: &[Mail], when: &str) {
    assert_eq!(sandbox.maildir().messages(), all_at_home(mails), "{when}");
}

#[test]
fn another_message_under_a_used_id_is_fetched_and_not_deleted_unseen() {
    for keep in KEEPS {
        for (size, has_top) in [(400, true), (300, true), (400, false)] {
            let when = format!("keep {keep}, {size} octets, TOP {has_top}");
            let [old, other] = [sized("7", "old", 300), sized("8", "other", 300)];
            let builder = server([old.clone(), other.clone()]);
            let server = if has_top { builder } else { without_top(builder) }.start();
            let sandbox = delivered(&server, keep);
            let new = sized("7", "new", size);
            server.replace(USER, [new.clone(), other.clone()]);
            sandbox.popfetch(["-q"]).exits(0).silently();
            // Of the very size of the old one, it is noticed when it is to be deleted.
            if size == 300 && keep == "true" {
                sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
            }
            assert_at_home(&sandbox, &[old, other, new], &when);
            sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
            assert!(server.unique_ids(USER).is_empty(), "{when}");
            assert_eq!(server.count("RETR"), 3, "{when}");
        }
    }
}

#[test]
fn another_message_under_a_used_id_is_noticed_among_a_thousand_known_ones() {
    for keep in ["true", "false"] {
        let mut all: Vec<Mail> = (0..1200).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200)).collect();
        let server = server(all.clone()).start();
        let sandbox = delivered(&server, keep);
        let new = sized("600", "new", 300);
        let old = std::mem::replace(&mut all[600], new);
        server.replace(USER, all.clone());
        sandbox.popfetch(["-q"]).exits(0).silently();
        all.push(old);
        assert_at_home(&sandbox, &all, keep);
        assert_eq!(server.count("RETR"), 1201);
    }
}

#[test]
fn a_quiet_run_over_a_thousand_known_messages_asks_for_no_size() {
    let server = server((0..1200).map(|n| sized(&format!("{n}"), "m", 200))).start();
    let sandbox = delivered(&server, "true");
    let before = server.heard().len();
    sandbox.popfetch(["-q"]).exits(0).silently();
    let heard: Vec<_> = server.heard()[before..].iter().map(|heard| heard.line.clone()).collect();
    assert!(!heard.iter().any(|line| line.starts_with("LIST") || line.starts_with("TOP")), "{heard:?}");
}

#[test]
fn a_maildrop_whose_stat_is_no_sum_is_measured_once() {
    let server = server((0..1200).map(|n| sized(&format!("{n}"), "m", 200))).answer("STAT", "+OK 1200 99").start();
    let sandbox = delivered(&server, "true");
    let lists = server.count("LIST");
    for _ in 0..3 {
        sandbox.popfetch(["-q"]).exits(0).silently();
    }
    assert!(server.count("LIST") <= lists + 1);
}

/// GNU mailutils writes `Status: O` into what was listed once.
fn with_status(mail: &Mail) -> Mail {
    let text = String::from_utf8(mail.octets.clone()).unwrap();
    Mail::new(&mail.unique_id, text.replacen("\r\n\r\n", "\r\nStatus: O\r\nX-UID: 17\r\n\r\n", 1))
}

#[test]
fn a_size_that_wanders_makes_no_other_message() {
    for keep in KEEPS {
        for has_top in [true, false] {
            for has_message_id in [true, false] {
                let when = format!("keep {keep}, TOP {has_top}, Message-ID {has_message_id}");
                let all: Vec<Mail> = match has_message_id {
                    true => vec![sized("1", "a", 200), sized("2", "b", 200)],
                    false => mails(2),
                };
                let builder = server(all.clone());
                let server = if has_top { builder } else { without_top(builder) }.start();
                let sandbox = delivered(&server, keep);
                server.replace(USER, all.iter().map(with_status));
                sandbox.popfetch(["-q"]).exits(0).silently();
                assert_at_home(&sandbox, &all, &when);
                let retrieved = server.count("RETR");
                assert_eq!(retrieved, if has_top { 2 } else { 4 }, "{when}: without TOP the text is compared");
                sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
                assert_eq!(server.count("RETR"), retrieved, "{when}: the new size is known");
                assert_at_home(&sandbox, &all, &when);
                assert!(server.unique_ids(USER).is_empty(), "{when}");
            }
        }
    }
}

#[test]
fn top_is_asked_for_where_it_is_announced_or_nothing_is() {
    for (builder, is_asked) in [
        (server(mails(3)), true),
        (server(mails(3)).capabilities(&["UIDL", "USER", "SASL PLAIN"]), false),
        (server(mails(3)).without_pipelining().answer("CAPA", "-ERR what?"), true),
    ] {
        let server = builder.start();
        let sandbox = delivered(&server, "false");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!((server.count("TOP") > 0, server.unique_ids(USER).len()), (is_asked, 0));
    }
}

#[test]
fn a_server_that_refuses_top_for_one_message_keeps_it() {
    let server = server(mails(3)).answer("TOP 2 0", "-ERR not this one").start();
    let sandbox = delivered(&server, "false");
    sandbox.popfetch(["-q"]).exits(0).says(&["1 message due to be deleted left on the server"]);
    assert_eq!(server.unique_ids(USER).len(), 1);
}

/// What an earlier release wrote had no fingerprints.
fn forget_fingerprints(sandbox: &Sandbox, server: &Maildrop) {
    let ledger = sandbox.ledger(USER, server.port);
    let text = String::from_utf8(read(&ledger)).unwrap();
    let lines = text.lines().map(|line| match line.split_once(",\"head\":") {
        Some((line, _)) => format!("{line}}}\n"),
        None => format!("{line}\n"),
    });
    fs::write(&ledger, lines.collect::<String>().replacen("\"popfetch\":3", "\"popfetch\":1", 1)).unwrap();
}

#[test]
fn without_a_fingerprint_an_equal_size_is_proof_enough() {
    let server = server(mails(5)).start();
    let sandbox = delivered(&server, "false");
    forget_fingerprints(&sandbox, &server);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.count("TOP"), server.count("RETR"), server.unique_ids(USER).len()), (0, 5, 0));
}

#[test]
fn without_fingerprints_many_other_sizes_make_popfetch_ask() {
    for keep in KEEPS {
        let all = mails(5);
        let server = server(all.clone()).start();
        let sandbox = delivered(&server, keep);
        forget_fingerprints(&sandbox, &server);
        server.replace(USER, all.iter().map(with_status));
        sandbox.popfetch(["-q"]).exits(65).says(&["5 known messages have other sizes", "--all"]);
        assert_eq!((server.count("RETR"), server.count("DELE")), (5, 0), "{keep}");
        sandbox.popfetch(["-q", "--all"]).exits(0);
    }
}

/// The same messages under other unique-ids.
fn renumbered(mails: &[Mail]) -> Vec<Mail> {
    mails.iter().enumerate().map(|(n, mail)| Mail::new(format!("new-{n}"), mail.octets.clone())).collect()
}

#[test]
fn a_maildrop_whose_ids_are_all_new_is_recognized() {
    for keep in KEEPS {
        let all: Vec<Mail> = (0..20).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200 + n)).collect();
        let server = server(all.clone()).start();
        let sandbox = delivered(&server, keep);
        let mut moved = renumbered(&all);
        moved.remove(3);
        let fresh = sized("fresh", "fresh", 210);
        moved.insert(7, fresh.clone());
        server.replace(USER, moved);
        sandbox.popfetch(["-q"]).exits(0).says(&["all unique-ids are new", "19 messages were recognized"]);
        let home = [all, vec![fresh]].concat();
        assert_at_home(&sandbox, &home, keep);
        sandbox.popfetch(["-q"]).exits(0).silently();
        sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
        assert_at_home(&sandbox, &home, keep);
        assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (21, 0), "{keep}");
    }
}

#[test]
fn where_nothing_tells_a_renumbered_maildrop_makes_popfetch_ask() {
    for forget in [true, false] {
        let all: Vec<Mail> = (0..8).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200 + n)).collect();
        let server = if forget { server(all.clone()) } else { without_top(server(all.clone())) }.start();
        let sandbox = delivered(&server, "false");
        if forget {
            forget_fingerprints(&sandbox, &server);
        }
        server.replace(USER, renumbered(&all));
        for _ in 0..2 {
            sandbox.popfetch(["-q"]).exits(65).says(&["none of 8 known messages is listed", "--all"]);
        }
        assert_eq!((server.count("RETR"), server.count("DELE"), server.unique_ids(USER).len()), (8, 0, 8));
        sandbox.popfetch(["-q", "--all"]).exits(0);
        assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (16, 0));
    }
}

#[test]
fn another_batch_and_an_emptied_maildrop_are_no_suspicion() {
    let all: Vec<Mail> = (0..10).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200 + n)).collect();
    let server = server(all[..5].to_vec()).start();
    let sandbox = delivered(&server, "true");
    server.replace(USER, []);
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.replace(USER, all[5..].to_vec());
    sandbox.popfetch(["-q"]).exits(0).silently();
    // Of the same sizes, but other messages.
    let others: Vec<Mail> = (0..5).map(|n| sized(&format!("o{n}"), &format!("o{n}"), 205 + n)).collect();
    server.replace(USER, others.clone());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_at_home(&sandbox, &[all, others].concat(), "three batches");
    assert_eq!(server.count("RETR"), 15);
}

#[test]
fn a_listing_that_lacks_ids_for_once_doubles_nothing() {
    for keep in KEEPS {
        let all = mails(5);
        let server = server(all.clone()).start();
        let sandbox = delivered(&server, keep);
        server.answer("CAPA", Some("-ERR what?"));
        server.answer("UIDL", Some("-ERR what?"));
        sandbox.popfetch(["-q"]).exits(75).says(&["no unique-ids", "though it did before"]);
        server.answer("UIDL", Some("+OK\r\n1 \r\n2 m2\r\n."));
        sandbox.popfetch(["-q"]).exits(75).says(&["without unique-id left on the server"]);
        assert_eq!(server.count("RETR"), 5, "{keep}");
        server.answer("CAPA", None);
        server.answer("UIDL", None);
        sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
        assert_at_home(&sandbox, &all, keep);
        assert!(server.unique_ids(USER).is_empty());
    }
}

#[test]
fn a_message_that_comes_back_is_asked_who_it_is() {
    let [old, other] = [sized("7", "old", 300), sized("8", "other", 300)];
    let server = server([old.clone(), other.clone()]).start();
    let sandbox = delivered(&server, "true");
    server.replace(USER, [other.clone()]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let new = sized("7", "new", 300);
    server.replace(USER, [new.clone(), other.clone()]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_at_home(&sandbox, &[old, other, new], "of the very size of the one that is gone");
}

#[test]
fn another_message_under_a_used_id_counts_its_days_from_its_own_delivery() {
    let server = server([sized("7", "old", 300)]).start();
    let sandbox = delivered(&server, "true");
    let ledger = sandbox.ledger(USER, server.port);
    let text = String::from_utf8(read(&ledger)).unwrap();
    let intent = text.lines().find(|line| line.starts_with("{\"intend\"")).unwrap();
    let at = intent.split("\"at\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let earlier = at.parse::<u64>().unwrap() - 20 * 86400;
    fs::write(&ledger, text.replace(&at, &earlier.to_string())).unwrap();
    server.replace(USER, [sized("7", "new", 400)]);
    sandbox.popfetch(["-q", "--keep=14d"]).exits(0).silently();
    sandbox.popfetch(["-q", "--keep=14d"]).exits(0).silently();
    assert_eq!((server.count("RETR"), server.count("DELE")), (2, 0));
    assert!(sandbox.maildir().messages().contains(&at_home(&sized("7", "new", 400).octets)));
}

#[test]
fn another_name_of_the_server_makes_nothing_new() {
    for keep in KEEPS {
        for destination in ["maildir:~/Mail", "mbox:~/mbox"] {
            let all = mails(4);
            let server = server(all.clone()).start();
            let account = |keep: &str| {
                let deliver = format!("\"{destination}\"");
                Account::on(server.port).set("keep", keep).set("deliver", deliver)
            };
            let sandbox = Sandbox::with(account("true"));
            sandbox.popfetch(["-q"]).exits(0).silently();
            let new = sized("new", "new", 300);
            server.arrive(USER, new.clone());
            sandbox.config(&account(keep).set("server", "\"localhost\"").to_string());
            let said = ["4 messages came to the same target from `alice@127.0.0.1:", "are known"];
            sandbox.popfetch(["-q"]).exits(0).says(&said);
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(server.count("RETR"), 5, "{destination}, keep {keep}");
            sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
            assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (5, 0), "{destination}, keep {keep}");
        }
    }
}

#[test]
fn a_run_by_url_and_an_account_with_the_same_target_share_what_they_know() {
    let all = mails(4);
    let server = server(all.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", true));
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    sandbox.file("password", crate::sandbox::CANARY);
    sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password {}\n", crate::sandbox::CANARY));
    let by_url = ["-q", "--tls", "none", "--deliver", "maildir:~/Mail/", &url];
    sandbox.popfetch(by_url).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_at_home(&sandbox, &all, "once by URL, once by name");
    assert_eq!(server.count("RETR"), 4);
}

#[test]
fn other_messages_of_a_ledger_beside_it_are_not_taken_over() {
    let all: Vec<Mail> = (0..4).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200)).collect();
    let server = server(all.clone()).start();
    let sandbox = delivered(&server, "true");
    // The same ids and sizes, but other messages.
    let others: Vec<Mail> = (0..4).map(|n| sized(&format!("{n}"), &format!("o{n}"), 200)).collect();
    server.replace(USER, others.clone());
    sandbox.config(&Account::on(server.port).set("server", "\"localhost\"").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_at_home(&sandbox, &[all.clone(), others].concat(), "another server");
    // And a second target starts afresh.
    server.replace(USER, all.clone());
    let elsewhere = Account::on(server.port)
        .set("server", "\"127.1\"")
        .set("auth", "\"plain\"")
        .set("deliver", "\"maildir:~/Other\"");
    sandbox.config(&elsewhere.to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 12);
}

#[test]
fn without_top_the_texts_tell_what_another_ledger_knows() {
    for (keep, left) in [("true", 6), ("false", 0)] {
        let all: Vec<Mail> = (0..5).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200 + n)).collect();
        let server = without_top(server(all.clone())).start();
        let sandbox = delivered(&server, "true");
        // One has another message under its unique-id, of the same size, and one is new.
        let (other, new) = (sized("1", "o1", 201), sized("5", "m5", 205));
        let mut there = all.clone();
        there[1] = other.clone();
        there.push(new.clone());
        server.replace(USER, there);
        sandbox.config(&Account::on(server.port).set("server", "\"localhost\"").set("keep", keep).to_string());
        let dry = sandbox.popfetch(["--dry-run", "--json"]).exits(0).account();
        assert_eq!((&dry["would_deliver"], &dry["listed"]), (&1.into(), &6.into()), "{dry:#}");
        assert!(
            dry["notices"][0].as_str().unwrap().starts_with("5 messages would be retrieved to see whether"),
            "{dry:#}"
        );
        // What is compared stays in doubt until it was.
        let cut = Fault { moment: Moment::BeforeRetr(4), misdeed: Misdeed::HangUp };
        server.fault(Some(cut));
        sandbox.popfetch(["-q"]).exits(75);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_at_home(&sandbox, &[all, vec![other, new]].concat(), keep);
        let before = server.count("RETR");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!((server.count("RETR"), server.unique_ids(USER).len()), (before, left), "keep {keep}");
    }
}

#[test]
fn another_size_under_another_name_of_the_server_makes_nothing_new() {
    let all = mails(4);
    let server = server(all.clone()).start();
    let sandbox = delivered(&server, "true");
    server.replace(USER, all.iter().map(with_status));
    sandbox.config(&Account::on(server.port).set("server", "\"localhost\"").to_string());
    sandbox.popfetch(["-q"]).exits(0).says(&["4 messages came to the same target from `alice@127.0.0.1:"]);
    assert_eq!(server.count("RETR"), 4);
}

#[test]
fn without_top_another_ledger_proves_nothing() {
    let all: Vec<Mail> = (0..5).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200)).collect();
    let server = without_top(server(all.clone())).start();
    let sandbox = delivered(&server, "true");
    // Another server with the same counters for ids, and messages of the same size.
    let others: Vec<Mail> = (0..3).map(|n| sized(&format!("{n}"), &format!("o{n}"), 200)).collect();
    server.replace(USER, others.clone());
    sandbox.config(&Account::on(server.port).set("server", "\"localhost\"").set("keep", false).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_at_home(&sandbox, &[all, others].concat(), "nothing was taken for known");
}

#[test]
fn a_maildrop_that_moved_to_another_host_with_new_ids_is_recognized() {
    let all: Vec<Mail> = (0..6).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200 + n)).collect();
    let server = server(all.clone()).start();
    let sandbox = delivered(&server, "true");
    server.replace(USER, renumbered(&all));
    sandbox.config(&Account::on(server.port).set("server", "\"localhost\"").to_string());
    // A dry run takes over nothing for good.
    let dry = sandbox.popfetch(["-q", "--dry-run"]).exits(0);
    assert!(dry.stdout.contains("would deliver 0"), "{dry:?}");
    sandbox.popfetch(["-q"]).exits(0).says(&["6 messages came to the same target"]);
    assert_eq!(server.count("RETR"), 6);
}

#[test]
fn the_copy_of_a_mailing_list_is_told_from_the_original_when_all_ids_are_new() {
    let all: Vec<Mail> = (0..4).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200 + n)).collect();
    let server = server(all.clone()).start();
    let sandbox = delivered(&server, "true");
    let mut moved = renumbered(&all);
    let copy = sized("copy", "m1", 300);
    moved.insert(1, copy.clone());
    server.replace(USER, moved);
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).says(&["4 messages were recognized"]);
    assert_at_home(&sandbox, &[all, vec![copy]].concat(), "the copy is another message");
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn without_top_an_id_used_again_after_its_deletion_is_fetched() {
    let server = without_top(server([sized("1", "old", 300)])).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let new = sized("1", "new", 300);
    server.replace(USER, [new.clone()]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_at_home(&sandbox, &[sized("1", "old", 300), new], "of the very size of the old one");
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn max_messages_is_not_used_up_by_those_that_are_refused() {
    let server = server(mails(4)).answer("RETR 1", "-ERR not this one").start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_messages", 1));
    for _ in 0..4 {
        sandbox.popfetch(["-q"]);
    }
    assert_eq!(sandbox.maildir().messages().len(), 3);
}

#[test]
fn what_a_wrong_clock_has_delivered_is_dated_by_a_right_one() {
    let server = server(mails(2)).start();
    let sandbox = delivered(&server, "\"14d\"");
    let ledger = sandbox.ledger(USER, server.port);
    let text = String::from_utf8(read(&ledger)).unwrap();
    // The clock was ahead once: what comes now has no date that could be trusted, and the run says so.
    let ahead = text.replace("\"at\":1", "\"at\":2");
    fs::write(&ledger, &ahead).unwrap();
    server.arrive(USER, sized("new", "new", 300));
    sandbox.popfetch(["-q"]).exits(0).says(&["the clock stands before the newest date"]);
    let text = String::from_utf8(read(&ledger)).unwrap();
    assert!(text.lines().any(|line| line.contains("\"intend\":\"new\"") && line.contains("\"at\":0,")), "{text}");
    assert_eq!(server.count("DELE"), 0);
}

#[test]
fn a_date_of_a_clock_that_was_ahead_once_is_named_and_can_be_forgotten() {
    let server = server(mails(3)).start();
    let sandbox = delivered(&server, "\"1s\"");
    let ledger = sandbox.ledger(USER, server.port);
    let text = String::from_utf8(read(&ledger)).unwrap();
    let at = text.lines().find_map(|line| line.split_once("\"at\":1").filter(|_| line.contains("\"m2\""))).unwrap().1;
    let at = format!("\"at\":1{}", &at[..9]);
    let dated = |line: &str| match line.contains("\"m2\"") {
        true => line.replace(&at, "\"at\":2700000000") + "\n",
        false => line.to_owned() + "\n",
    };
    fs::write(&ledger, text.lines().map(dated).collect::<String>()).unwrap();
    let words = ["2055-07-24T00:00:00Z", "`m2`", "`popfetch state forget ACCOUNT --id ID`"];
    for command in [&["-q"][..], &["--dry-run"], &["list"], &["check"]] {
        let run = sandbox.popfetch(command).exits(0);
        for word in words {
            assert!(format!("{}{}", run.stdout, run.stderr).contains(word), "{word}: {run:#?}");
        }
    }
    assert_eq!(server.count("DELE"), 0);
    sandbox.popfetch(["state", "forget", "--id", "m2", "--yes"]).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.count("RETR"), server.count("DELE")), (4, 2));
}

#[test]
fn a_server_whose_top_shows_another_header_doubles_nothing() {
    for keep in ["false", "\"1s\""] {
        let all = mails(2);
        let server = server(all.clone()).start();
        let sandbox = delivered(&server, keep);
        server.answer("TOP", Some("+OK\r\nSubject: scanned\r\n\r\n."));
        for _ in 0..2 {
            sandbox.popfetch(["-q"]).exits(0).silently();
        }
        assert_at_home(&sandbox, &all, keep);
        assert!(server.unique_ids(USER).is_empty(), "the text proves what TOP does not");
    }
}

#[test]
fn a_message_that_breaks_the_line_holds_up_no_other() {
    let server = server(mails(4)).without_pipelining().answer("RETR 2", "+OK\r\nhalf of it").start();
    let sandbox = Sandbox::with(Account::on(server.port).set("timeout", 1));
    for _ in 0..2 {
        assert_eq!(sandbox.popfetch(["-q"]).code(), 75);
    }
    assert_eq!(sandbox.maildir().messages().len(), 3);
}

#[test]
fn a_link_in_the_place_of_another_ledger_is_not_followed() {
    let all = mails(4);
    let server = server(all.clone()).start();
    let sandbox = delivered(&server, "true");
    let [own, moved] =
        ["127.0.0.1", "elsewhere"].map(|host| sandbox.state().join(format!("{USER}@{host}:{}.jsonl", server.port)));
    fs::rename(&own, &moved).unwrap();
    fs::rename(&moved, sandbox.path("planted")).unwrap();
    std::os::unix::fs::symlink(sandbox.path("planted"), &moved).unwrap();
    sandbox.config(&Account::on(server.port).set("server", "\"localhost\"").to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 8, "what it points to proves nothing");
}

/// A home that knows four messages, which the server lists under other ids now, or under another name.
fn moved(is_renamed: bool) -> (Maildrop, Sandbox) {
    let all: Vec<Mail> = (0..4).map(|n| sized(&format!("{n}"), &format!("m{n}"), 200 + n)).collect();
    let server = server(all.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    server.replace(USER, renumbered(&all));
    if is_renamed {
        sandbox.config(&Account::on(server.port).set("server", "\"localhost\"").to_string());
    }
    (server, sandbox)
}

#[test]
fn a_kill_while_a_maildrop_is_recognized_leaves_all_of_it_known_or_none() {
    if !can_trace() {
        return;
    }
    for is_renamed in [false, true] {
        let mut killed = 0;
        let names = ["write", "fsync", "rename", "renameat2", "openat"];
        for call in names.iter().flat_map(|name| (1..=6).map(|turn| Call::new(name, turn))) {
            let (server, sandbox) = moved(is_renamed);
            killed += usize::from(kill_before(&sandbox, &call).code() == 137);
            sandbox.popfetch(["-q"]).exits(0);
            sandbox.popfetch(["-q", "--no-keep"]).exits(0);
            assert_eq!((server.count("RETR"), sandbox.maildir().messages().len()), (4, 4), "killed before {call}");
            assert!(server.unique_ids(USER).is_empty(), "killed before {call}");
        }
        assert!(killed > 8, "only {killed} kills happened");
    }
}
