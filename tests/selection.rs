//! What a run takes, in which order, and what is deleted afterwards: `order`, `max_octets`, `keep_newest`, `delete_over`.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::sandbox::{Account, Sandbox, USER, all_at_home, at_home, server, wait_until};
use crate::server::{Fault, Mail, Maildrop, Misdeed, Moment};

/// A message of exactly so many octets.
fn mail(unique_id: &str, octets: usize) -> Mail {
    let head = format!("Message-ID: <{unique_id}@x>\r\nFrom: a@x\r\n\r\n");
    let body = "x".repeat(octets - head.len() - 2);
    Mail::new(unique_id, head + &body + "\r\n")
}

fn mails(sizes: &[usize]) -> Vec<Mail> {
    sizes.iter().zip(1..).map(|(octets, number)| mail(&format!("m{number}"), *octets)).collect()
}

/// The message-numbers that were retrieved in a connection.
fn retrieved(server: &Maildrop, connection: usize) -> Vec<u32> {
    let commands = server.commands(connection);
    commands.iter().filter_map(|line| line.strip_prefix("RETR ")?.parse().ok()).collect()
}

#[test]
fn messages_come_in_the_order_that_is_asked_for() {
    for (order, expected) in [("oldest", [1, 2, 3]), ("newest", [3, 2, 1]), ("smallest", [2, 3, 1])] {
        let server = server(mails(&[300, 100, 200])).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("order", format!("{order:?}")));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(retrieved(&server, 1), expected, "{order}");
        assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(&[300, 100, 200])));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(retrieved(&server, 2), [0; 0], "all are known");
    }
}

#[test]
fn limits_take_the_first_ones_in_the_order() {
    let server = server(mails(&[300, 100, 200])).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_messages", 1));
    let run = sandbox.popfetch(["--json", "--order", "newest"]).exits(0).account();
    assert_eq!((&run["delivered"], &run["later"]), (&1.into(), &2.into()));
    let run = sandbox.popfetch(["--json", "--order=smallest", "--max-octets=250", "--max-messages=9"]);
    assert_eq!(run.account()["later"], 1);
    assert_eq!((retrieved(&server, 1), retrieved(&server, 2)), (vec![3], vec![2]));
    sandbox.popfetch(["--order", "biggest"]).exits(64).says(&["oldest", "newest", "smallest"]);
}

#[test]
fn a_run_takes_no_more_octets_than_it_may_and_the_next_one_goes_on() {
    let all = mails(&[400, 700, 500, 100]);
    let server = server(all.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_octets", 1000));
    let dry = sandbox.popfetch(["--json", "--dry-run"]).exits(0).account();
    assert_eq!((&dry["would_deliver"], &dry["later"]), (&3.into(), &1.into()));
    let run = sandbox.popfetch(["--json"]).exits(0).account();
    assert_eq!((&run["delivered"], &run["later"], &run["octets"]), (&3.into(), &1.into(), &988.into()));
    assert_eq!(retrieved(&server, 2), [1, 3, 4]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages(), all_at_home(&all));
}

#[test]
fn what_is_larger_than_the_limit_comes_alone() {
    let all = mails(&[100, 900, 200, 300]);
    let server = server(all.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_octets", 500));
    for (connection, expected) in [(1, vec![1, 3]), (2, vec![2]), (3, vec![4])] {
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(retrieved(&server, connection), expected);
    }
    assert_eq!(sandbox.maildir().messages(), all_at_home(&all));
}

#[test]
fn a_day_has_one_limit_for_all_its_runs() {
    let server = server(mails(&[400, 400, 400, 150])).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_octets", "[\"1000/day\", 500]"));
    for expected in [vec![1], vec![2], vec![4], vec![]] {
        let connection = server.connections() + 1;
        let run = sandbox.popfetch(["--json"]).exits(0).account();
        assert_eq!(retrieved(&server, connection), expected, "{run:#}");
        assert_eq!(run["later"].as_u64().unwrap(), 3 - (connection as u64 - 1).min(2), "{run:#}");
    }
    // The next day.
    let ledger = sandbox.ledger(USER, server.port);
    let text = fs::read_to_string(&ledger).unwrap();
    let today = chrono::Utc::now().format("%F").to_string();
    assert!(text.contains(&format!("{{\"note\":\"received\",\"id\":\"{today}\"")), "{text}");
    fs::write(&ledger, text.replace(&format!("\"id\":\"{today}\""), "\"id\":\"2026-01-01\"")).unwrap();
    let run = sandbox.popfetch(["--json"]).exits(0).account();
    assert_eq!((&run["delivered"], &run["later"]), (&1.into(), &0.into()));
}

#[test]
fn a_day_counts_what_came_though_the_run_was_killed_or_the_line_broke() {
    let server = server(mails(&[300; 40])).pace(Duration::from_millis(20)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_octets", "\"100k/day\"").set("keep", false));
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    let counted = || {
        let text = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap_or_default();
        let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.iter().rev().find(|line| line["note"] == "received").map_or(0, |line| line["octets"].as_u64().unwrap())
    };
    wait_until(|| !sandbox.maildir().files().is_empty());
    running.signal(Signal::KILL);
    running.finish().exits(137);
    let (recorded, before) = (sandbox.maildir().files().len() as u64, counted());
    assert!(before >= 300 * recorded && before <= 300 * 40, "{recorded} messages, {before} octets");
    wait_until(|| server.is_idle());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(counted() >= 300 * 40 && counted() <= 300 * 80, "{} octets", counted());
}

#[test]
fn a_message_that_did_not_come_to_its_end_counts_as_far_as_it_came() {
    let fault = Fault { moment: Moment::OctetsSent(6_000_000), misdeed: Misdeed::HangUp };
    let server = server(mails(&[10_000_000, 10_000_000])).faults([fault]).without_pipelining().start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_octets", "\"15000000/day\""));
    sandbox.popfetch(["-q"]).exits(75);
    wait_until(|| server.is_idle());
    // Nothing was delivered, and half a message has come: there is room for less than one.
    let run = sandbox.popfetch(["--json"]).exits(0).account();
    assert_eq!((&run["delivered"], &run["later"]), (&0.into(), &2.into()));
}

#[test]
fn the_newest_stay_and_the_next_run_deletes_the_others() {
    let all = mails(&[100, 100, 100, 100]);
    let server = server(all.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep_newest", 3));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER).len(), 4, "only what an earlier run has delivered is deleted");
    server.arrive(USER, mail("m5", 100));
    let dry = sandbox.popfetch(["--json", "--dry-run"]).exits(0).account();
    let run = sandbox.popfetch(["--json"]).exits(0).account();
    assert_eq!((&dry["would_deliver"], &dry["would_delete"]), (&run["delivered"], &run["deleted"]));
    assert_eq!((&run["delivered"], &run["deleted"]), (&1.into(), &2.into()));
    assert_eq!(server.unique_ids(USER), ["m3", "m4", "m5"]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER), ["m3", "m4", "m5"]);
    assert_eq!(sandbox.maildir().messages().len(), 5);
    sandbox.popfetch(["-q", "--keep-newest=1"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER), ["m5"]);
}

#[test]
fn a_maildrop_that_is_too_large_loses_its_oldest() {
    let server = server(mails(&[100, 200, 300, 400])).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("delete_over", 700).set("keep", "\"30d\""));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let dry = sandbox.popfetch(["--json", "--dry-run"]).exits(0).account();
    assert_eq!(dry["would_delete"], 2);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER), ["m3", "m4"]);
    sandbox.popfetch(["-q", "--delete-over", "400"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER), ["m4"]);
    assert_eq!(sandbox.maildir().messages().len(), 4);
}

#[test]
fn what_one_of_the_targets_lacks_is_not_the_oldest_that_is_deleted() {
    let server = server(mails(&[100, 100, 100])).start();
    let account = Account::on(server.port).set("keep_newest", 1);
    let both = account.clone().set("deliver", "[\"maildir:~/Mail\", \"maildir:~/file/Mail\"]");
    let sandbox = Sandbox::with(both.clone());
    sandbox.file("file", "");
    for _ in 0..2 {
        sandbox.popfetch(["-q"]).exits(73);
        assert_eq!(server.unique_ids(USER).len(), 3);
    }
    fs::remove_file(sandbox.path("file")).unwrap();
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER), ["m3"]);
}

#[test]
fn another_message_under_a_used_id_is_not_deleted_for_the_old_one() {
    let server = server(mails(&[100, 100, 100])).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep_newest", 2));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let mut there = server.mails(USER);
    there[0].octets = mail("other", 100).octets;
    server.replace(USER, there.clone());
    sandbox.popfetch(["-q"]).exits(0);
    assert!(sandbox.maildir().messages().contains(&at_home(&there[0].octets)), "it came before it was deleted");
    assert_eq!(sandbox.maildir().messages().len(), 4);
}
