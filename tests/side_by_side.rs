//! `--jobs-per-host`: how many accounts of one server are fetched at a time.

use std::collections::BTreeSet;

use crate::sandbox::{Account, CANARY, Sandbox, mails};
use crate::server::{Builder, Maildrop};

/// A server with users `u1`, `u2`, …
fn server(users: usize) -> Builder {
    (1..=users).fold(Maildrop::builder(), |server, user| server.user(&format!("u{user}"), CANARY, mails(2)))
}

fn account(server: &Maildrop, user: usize) -> Account {
    let name = format!("u{user}");
    Account::on(server.port)
        .named(&name)
        .set("user", format!("{name:?}"))
        .set("deliver", format!("\"maildir:~/{name}\""))
        .set("keep", false)
}

/// The most sessions that there were at a time, from the first command of each to its QUIT.
fn most_at_a_time(server: &Maildrop) -> usize {
    let (mut open, mut most) = (BTreeSet::new(), 0);
    for heard in server.heard() {
        match &*heard.line {
            "QUIT" => drop(open.remove(&heard.connection)),
            _ => drop(open.insert(heard.connection)),
        }
        most = most.max(open.len());
    }
    most
}

#[test]
fn a_server_serves_no_more_accounts_at_a_time_than_it_is_to() {
    for most in 1..=3 {
        let server = server(8).start();
        let sandbox = Sandbox::new();
        let accounts: Vec<String> = (1..=8).map(|user| account(&server, user).to_string()).collect();
        sandbox.config(&accounts.concat());
        sandbox.popfetch(["-q", "--jobs-per-host", &most.to_string()]).exits(0).silently();
        assert_eq!(server.connections(), 8);
        assert!(most_at_a_time(&server) <= most, "{} at a time", most_at_a_time(&server));
    }
}

#[test]
fn an_account_that_waits_for_its_server_keeps_no_other_one_waiting() {
    let server = server(4).start();
    let sandbox = Sandbox::new();
    let done = sandbox.path("done");
    // The first account ends only when that of the other host has mail; between them are two that have to wait.
    let script = format!("for n in $(seq 1200); do test -e {} && exit 0; sleep 0.05; done; exit 75", done.display());
    let waits = account(&server, 1).set("deliver", sandbox.mda_script(&script)).set("mda_timeout", 100);
    let touch = format!("{{ mda = [\"/bin/touch\", \"{}\"] }}", done.display());
    let other = account(&server, 4).set("server", "\"localhost\"").set("deliver", touch);
    let accounts = [waits, account(&server, 2), account(&server, 3), other].map(|account| account.to_string());
    sandbox.config(&accounts.concat());
    sandbox.popfetch(["-q", "--jobs", "2", "--jobs-per-host", "1"]).exits(0).silently();
    assert_eq!(server.count("RETR"), 8);
}

#[test]
fn a_server_that_takes_no_more_sessions_makes_popfetch_propose_it() {
    for (users, is_proposed) in [(3, true), (1, false)] {
        let server = server(users).answer("PASS", "-ERR [SYS/TEMP] Too many connections").start();
        let sandbox = Sandbox::new();
        let accounts: Vec<String> =
            (1..=users).map(|user| account(&server, user).set("auth", "\"user\"").to_string()).collect();
        sandbox.config(&accounts.concat());
        let run = sandbox.popfetch(["-q"]).exits(75);
        let hint = "`--jobs-per-host 2` fetches fewer of the 3 accounts on `127.0.0.1` at a time";
        assert_eq!(run.stderr.contains(hint), is_proposed, "{run:#?}");
    }
}
