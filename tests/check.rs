//! `popfetch check`: what it says of each point, that it asks nobody and writes nothing, and that its exit status is that
//! of a fetch.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use popfetch::config;
use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Account, CANARY, Run, Sandbox, USER, mails, server, wait_until};
use crate::server::{Authority, Builder, Fault, Identity, Mail, Maildrop, Misdeed, Moment};

/// The rows of a check, in order.
fn rows(run: &Run) -> Vec<Value> {
    run.events().into_iter().filter(|event| event["event"] == "check").collect()
}

/// The result and the words of one point; of several rows the last one.
#[track_caller]
fn point(run: &Run, point: &str) -> (String, String) {
    let rows = rows(run);
    let row = rows.iter().rfind(|row| row["point"] == point).unwrap_or_else(|| panic!("no {point}: {run:#?}"));
    let text = |key: &str| row[key].as_str().unwrap().to_owned();
    (text("result"), text("words"))
}

#[track_caller]
fn assert_point(run: &Run, of: &str, result: &str, words: &str) {
    let found = point(run, of);
    assert!(found.0 == result && found.1.contains(words), "{of}: {found:?}: {run:#?}");
}

/// Checks the only account.
fn check(sandbox: &Sandbox, more: &[&str]) -> Run {
    let before = tree(&sandbox.path(""));
    let run = sandbox.popfetch([&["check", "--json"], more].concat());
    assert_eq!(tree(&sandbox.path("")), before, "a check writes nothing: {run:#?}");
    run
}

/// Everything below a folder: names, numbers, octets, and where files without names are known, when it was changed.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>, i64, i64)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        let (seconds, nanoseconds) =
            if cfg!(target_os = "linux") { (metadata.mtime(), metadata.mtime_nsec()) } else { (0, 0) };
        let octets = if metadata.is_file() { fs::read(&path).unwrap() } else { vec![] };
        if metadata.is_dir() {
            all.extend(tree(&path));
        }
        all.insert(path, (metadata.ino(), octets, seconds, nanoseconds));
    }
    all
}

/// An account over TLS with a server whose certificate its authority vouches for.
fn trusted(server: Builder) -> (Maildrop, Sandbox, Account) {
    let authority = Authority::new("ours");
    let server = server.implicit_tls(authority.good().server_config()).start();
    let sandbox = Sandbox::in_memory();
    let account = Account::on(server.port).set("tls", "\"implicit\"").set("tls_ca_file", "\"~/ca.pem\"");
    sandbox.config(&account.to_string());
    sandbox.file("ca.pem", &authority.pem);
    (server, sandbox, account)
}

#[test]
fn a_sound_account_is_ok_in_every_point_and_nothing_is_written() {
    let (server, sandbox, _) = trusted(server(mails(3)));
    let first = check(&sandbox, &[]).exits(0);
    assert_point(&first, "target", "ok", "is not there, and would be created");
    assert_point(&first, "ledger", "ok", "there is none yet");
    assert_point(&first, "uidl", "ok", "3 messages, each with an id of its own; a fetch would retrieve 3");
    assert!(!sandbox.state().exists() && !sandbox.maildir().path.exists());
    sandbox.popfetch(["-q", "--max-messages", "2"]).exits(0).silently();
    let retrieved = server.count("RETR");
    let run = check(&sandbox, &["--twice"]).exits(0);
    let found: Vec<_> = rows(&run).iter().map(|row| (row["point"].to_string(), row["result"].to_string())).collect();
    let points = [
        "resolve",
        "connect",
        "tls",
        "certificate",
        "capabilities",
        "login",
        "uidl",
        "top",
        "uidl",
        "target",
        "ledger",
        "permissions",
        "clock",
    ];
    assert_eq!(found, points.map(|point| (format!("{point:?}"), "\"ok\"".to_owned())), "{run:#?}");
    for (of, words) in [
        ("resolve", "`127.0.0.1` is at 127.0.0.1"),
        ("connect", "accepts connections"),
        ("tls", "TLSv1.3, TLS_"),
        ("certificate", "for `localhost`, `127.0.0.1`, by `ours`, from 1975-01-01 to 4096-01-01, "),
        ("capabilities", "PIPELINING, UIDL, TOP, USER, SASL PLAIN; `auto` takes PLAIN: under TLS nothing stronger"),
        ("login", "as `alice`"),
        ("uidl", "the same in a second session"),
        ("top", "answered for message 1"),
        ("target", "can be written to, and what is written there can be made durable"),
        ("ledger", "2 known messages"),
    ] {
        assert_point(&run, of, "ok", words);
    }
    let uidl = rows(&run).into_iter().find(|row| row["point"] == "uidl").unwrap();
    assert!(uidl["words"].as_str().unwrap().ends_with("; a fetch would retrieve 1"), "{uidl}");
    let account = run.account();
    assert_eq!((&account["status"], &account["error"]), (&0.into(), &Value::Null));
    assert_eq!((server.count("RETR"), server.count("DELE")), (retrieved, 0));
    assert_eq!(
        (run.events()[0]["command"].as_str(), run.events().last().unwrap()["accounts"].as_u64()),
        (Some("check"), Some(1))
    );
}

#[test]
fn people_get_a_line_for_each_point() {
    let (_server, sandbox, _) = trusted(server(mails(1)));
    let run = sandbox.popfetch(["check"]).exits(0);
    assert!(run.stderr.is_empty(), "{run:#?}");
    assert!(run.stdout.starts_with("work: ok      resolve      `127.0.0.1` is at 127.0.0.1\n"), "{run:#?}");
    assert!(run.stdout.contains("\nwork: ok      certificate  for `localhost`") && run.stdout.contains("\n  sha256:"));
    let run = sandbox.popfetch(["check", "--login", "nobody"]).exits(78);
    assert!(run.stderr.contains("no account `nobody`"), "{run:#?}");
}

#[test]
fn an_account_may_be_called_check_and_several_are_checked_one_after_the_other() {
    let (one, two) = (server(mails(1)).start(), server(mails(2)).answer("AUTH", "-ERR [AUTH] no").start());
    let sandbox = Sandbox::in_memory();
    sandbox.config(&format!("{}{}", Account::on(one.port).named("check"), Account::on(two.port)));
    let run = check(&sandbox, &[]).exits(77);
    let accounts: Vec<_> = run.events().into_iter().filter(|event| event["event"] == "account").collect();
    let statuses: Vec<_> =
        accounts.iter().map(|account| (account["account"].as_str(), account["status"].as_u64())).collect();
    assert_eq!(statuses, [(Some("check"), Some(0)), (Some("work"), Some(77))]);
    let end = run.events().pop().unwrap();
    assert_eq!((&end["accounts"], &end["failed"], &end["status"]), (&2.into(), &1.into(), &77.into()));
    let run = check(&sandbox, &["check"]).exits(0);
    assert_eq!(run.account()["account"], "check");
    let url = format!("pop3://alice@127.0.0.1:{}", one.port);
    sandbox.file(".netrc", format!("machine 127.0.0.1 login alice password {CANARY}\n"));
    let run = check(&sandbox, &[&url, "--tls", "none", "--deliver", "maildir:Other"]).exits(0);
    assert_point(&run, "login", "ok", "alice");
    assert!(!sandbox.path("Other").exists());
}

#[test]
fn each_bad_certificate_is_shown_with_the_line_that_lets_it_pass() {
    let authority = Authority::new("ours");
    for (identity, words) in [
        (Identity::self_signed(), "is self-signed"),
        (authority.expired(), "has expired"),
        (authority.wrong_name(), "is not for `127.0.0.1`"),
        (Authority::new("theirs").good(), "is not signed by an authority in"),
        (Identity::hostile(), "is self-signed"),
    ] {
        let server = server(mails(1)).implicit_tls(identity.server_config()).start();
        let account = Account::on(server.port).set("tls", "\"implicit\"");
        let sandbox = Sandbox::in_memory();
        sandbox.config(&account.clone().set("tls_ca_file", "\"~/ca.pem\"").to_string());
        sandbox.file("ca.pem", &authority.pem);
        let run = check(&sandbox, &[]).exits(69);
        assert_point(&run, "tls", "failed", words);
        let row = rows(&run).into_iter().find(|row| row["point"] == "tls").unwrap();
        let details: Vec<_> = row["details"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let [says, certificate, key] = details[..] else { panic!("{row:#}") };
        assert!(says.starts_with("it is for `") && key.starts_with("sha256:"), "{row:#}");
        assert!(says.len() < 1000 && !says.contains(char::is_control), "{row:#}");
        let line =
            row["hint"].as_str().unwrap().split('`').find(|piece| piece.starts_with("tls_pin")).unwrap().to_owned();
        assert!(line.contains(&certificate[..71]), "{row:#}");
        assert_eq!((server.count("AUTH"), server.count("USER")), (0, 0));
        sandbox.config(&format!("{account}{line}\n"));
        let run = check(&sandbox, &[]).exits(0);
        assert_point(&run, "certificate", "ok", ", from ");
    }
}

#[test]
fn tls_that_proves_nothing_and_none_at_all_are_told() {
    let server = server(mails(1)).starttls(Identity::self_signed().server_config()).start();
    let account = Account::on(server.port).set("tls", "\"starttls\"").set("tls_verify", false);
    let sandbox = Sandbox::in_memory();
    sandbox.config(&account.to_string());
    let run = check(&sandbox, &[]).exits(0);
    assert_point(&run, "tls", "warning", "is not verified");
    assert_point(&run, "capabilities", "ok", "UIDL");
    sandbox.config(&Account::on(server.port).to_string());
    assert_point(&check(&sandbox, &[]).exits(0), "tls", "ok", "none");
}

#[test]
fn what_the_server_announces_is_told_with_the_way_to_log_in() {
    let announced = |names: &[&str]| {
        let server = server(mails(1)).capabilities(names).start();
        let run = check(&Sandbox::with(Account::on(server.port)), &[]);
        let told = point(&run, "capabilities");
        (told.0, told.1, run.code())
    };
    let (result, words, code) = announced(&["UIDL", "SASL PLAIN", "LOGIN-DELAY 900", "EXPIRE 60"]);
    assert_eq!((&*result, code), ("ok", 0));
    assert!(words.contains("SASL PLAIN, LOGIN-DELAY 900, EXPIRE 60, no PIPELINING"), "{words}");
    assert!(words.ends_with("`auto` takes PLAIN: nothing that keeps the password to itself is announced"), "{words}");
    assert_eq!(announced(&["UIDL", "SASL PLAIN", "EXPIRE 0"]).0, "warning");
    let (result, _, code) = announced(&["UIDL", "SASL XOAUTH2"]);
    assert_eq!((&*result, code), ("ok", 69));
    let server =
        server(mails(1)).capabilities(&["SASL PLAIN"]).capabilities_after_login(&["UIDL", "PIPELINING"]).start();
    let run = check(&Sandbox::with(Account::on(server.port)), &[]).exits(0);
    assert_point(&run, "capabilities", "ok", "after the login: PIPELINING, UIDL, SASL PLAIN");
}

#[test]
fn nobody_is_asked_for_a_password_and_what_is_known_is_used() {
    let server = server(mails(1)).start();
    let account = Account::on(server.port).without("password");
    let sandbox = Sandbox::in_memory();
    sandbox.config(&account.to_string());
    let run = check(&sandbox, &[]).exits(0);
    assert_point(&run, "password", "warning", "nobody is asked");
    assert_point(&run, "capabilities", "ok", "`auto` takes PLAIN");
    assert!(rows(&run).iter().all(|row| row["point"] != "login" && row["point"] != "uidl"), "{run:#?}");
    assert_eq!((server.count("AUTH"), server.count("USER")), (0, 0));
    // There is no terminal.
    let run = check(&sandbox, &["--login"]).exits(78);
    assert_point(&run, "password", "failed", "no terminal to ask on");
    sandbox.file("secret", format!("{CANARY}\n"));
    for key in ["password_file = \"~/secret\"\n", "password_command = [\"cat\", \"~/secret\"]\n"] {
        let key = key.replace("\"~/secret\"]", &format!("{:?}]", sandbox.path("secret")));
        sandbox.config(&format!("{account}{key}"));
        assert_point(&check(&sandbox, &[]).exits(0), "login", "ok", "`alice`");
    }
    sandbox.config(&account.to_string());
    sandbox.file(".netrc", format!("machine 127.0.0.1 login alice password {CANARY}\n"));
    assert_point(&check(&sandbox, &[]).exits(0), "login", "ok", "`alice`");
    sandbox.mode(".netrc", 0o644);
    assert_point(&check(&sandbox, &[]).exits(78), "password", "failed", "open to others");
}

#[test]
fn a_server_that_repeats_the_password_is_not_repeated() {
    let server = server(mails(1)).answer("AUTH", &format!("-ERR [AUTH] {CANARY} is wrong")).start();
    let run = check(&Sandbox::with(Account::on(server.port)), &[]).exits(77);
    assert_point(&run, "login", "failed", "**** is wrong");
}

#[test]
fn unique_ids_are_looked_at() {
    let twice = |server: Builder, keep: bool| {
        let server = server.start();
        check(&Sandbox::with(Account::on(server.port).set("keep", keep)), &["--twice"])
    };
    let run = twice(server(mails(4)).changes_unique_ids(), true).exits(76);
    assert_point(&run, "uidl", "failed", "4 of 4 ids are others in a second session");
    let without = || server(mails(2)).answer("UIDL", "-ERR what?").capabilities(&["SASL PLAIN", "TOP"]);
    assert_point(&twice(without(), true).exits(69), "uidl", "failed", "no UIDL");
    let run = twice(without(), false).exits(0);
    assert!(rows(&run).iter().any(|row| row["result"] == "warning" && row["point"] == "uidl"), "{run:#?}");
    let alike = mails(3).into_iter().map(|mail| Mail { unique_id: "same".into(), ..mail });
    let run = twice(server(alike), true).exits(0);
    let uidl = rows(&run).into_iter().find(|row| row["point"] == "uidl").unwrap();
    assert!(uidl["words"].as_str().unwrap().contains("2 of them with the id of another"), "{uidl}");
    let long = "x".repeat(1500);
    for (reply, said) in [
        ("1 a\r\n2 b", "4 messages, 2 of them without an id"),
        ("1 a\r\n2 b\r\n3 \r\n4 ", "4 messages, 2 of them without an id"),
        (&format!("1 a\r\n2 b\r\n3 {long}\r\n4 {long}"), "4 messages, 2 of them without an id"),
        ("1 a\r\n2 b\r\n3 c", "4 messages, 1 of them without an id"),
        ("1 a\r\n2 b\r\n3 a", "4 messages, 1 of them with the id of another, 1 of them without an id"),
    ] {
        let run = twice(server(mails(4)).answer("UIDL", &format!("+OK\r\n{reply}\r\n.")), true).exits(0);
        let uidl = rows(&run).into_iter().find(|row| row["point"] == "uidl").unwrap();
        assert!(uidl["words"].as_str().unwrap().starts_with(&format!("{said}; a fetch")), "{uidl}");
        assert_eq!(uidl["result"], "warning", "{uidl}");
    }
    assert_point(&twice(server(vec![]), true).exits(0), "uidl", "ok", "");
}

#[test]
fn a_server_without_top_is_a_warning() {
    for server in [server(mails(1)).answer("TOP", "-ERR no"), server(mails(1)).capabilities(&["UIDL", "SASL PLAIN"])] {
        let server = server.start();
        let run = check(&Sandbox::with(Account::on(server.port)), &[]).exits(0);
        assert_point(&run, "top", "warning", "has none, or refuses it");
    }
}

#[test]
fn a_target_is_tried_out_without_a_trace() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::in_memory();
    let tried = |deliver: &str, code: i32| {
        sandbox.config(&Account::on(server.port).set("deliver", deliver).to_string());
        point(&check(&sandbox, &[]).exits(code), "target")
    };
    sandbox.file("text", "no mbox\n");
    sandbox.file("mbox", "From a@b Thu Jan  1 00:00:00 1970\n\nx\n\n");
    sandbox.file("locked", "");
    sandbox.file("locked.lock", format!("{}\n", std::process::id()));
    for (deliver, code, result, words) in [
        ("\"maildir:~/Mail\"", 0, "ok", "is not there, and would be created"),
        ("\"maildir:~/text/Mail\"", 73, "failed", "not a directory"),
        ("\"mbox:~/new/mbox\"", 0, "ok", "would be created"),
        ("\"mbox:~/none\"", 0, "ok", "would be created"),
        ("\"mbox:~/mbox\"", 0, "ok", "can be made durable"),
        ("\"mbox:~/text\"", 73, "failed", "is not an mbox"),
        ("\"mbox:~/locked\"", 0, "warning", "is locked by process"),
        ("\"mda:cat\"", 0, "ok", "the program of `mda:cat` can be started"),
        ("\"mda:/nonexistent %F\"", 73, "failed", "nonexistent"),
    ] {
        let found = tried(deliver, code);
        assert!(found.0 == result && found.1.contains(words), "{deliver}: {found:?}");
    }
    fs::create_dir_all(sandbox.path("Half/new")).unwrap();
    assert!(tried("\"maildir:~/Half\"", 0).1.contains("would be created"));
    // What is delivered to and gone is not made anew.
    sandbox.config(&Account::on(server.port).to_string());
    sandbox.popfetch(["-q"]).exits(0);
    fs::rename(sandbox.path("Mail"), sandbox.path("Moved")).unwrap();
    let run = check(&sandbox, &[]).exits(73);
    assert_point(&run, "target", "failed", "though mail was delivered to it before");
    assert!(!sandbox.path("Mail").exists());
}

#[test]
fn each_of_several_targets_has_a_row() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::in_memory();
    sandbox.config(&Account::on(server.port).set("deliver", "[\"maildir:~/Mail\", \"mda:/nonexistent\"]").to_string());
    let run = check(&sandbox, &[]).exits(73);
    let results: Vec<_> =
        rows(&run).into_iter().filter(|row| row["point"] == "target").map(|row| row["result"].clone()).collect();
    assert_eq!(results, ["ok", "failed"]);
}

/// A sandbox that has fetched once.
fn fetched() -> (Maildrop, Sandbox) {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::in_memory();
    sandbox.config(&Account::on(server.port).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    (server, sandbox)
}

#[test]
fn a_ledger_that_others_can_read_is_a_warning_and_so_is_a_clock_before_its_newest_date() {
    let (server, sandbox) = fetched();
    let ledger = format!(".local/state/popfetch/{USER}@127.0.0.1:{}.jsonl", server.port);
    sandbox.mode(&ledger, 0o644);
    assert_point(&check(&sandbox, &[]).exits(0), "permissions", "warning", "is open to others (mode 0644)");
    sandbox.mode(&ledger, 0o600);
    let text = fs::read_to_string(sandbox.path(&ledger)).unwrap();
    let line = "{\"delivered\":\"old\",\"octets\":1,\"at\":2700000000}\n";
    sandbox.file(&ledger, format!("{text}{line}"));
    assert_point(&check(&sandbox, &[]).exits(0), "clock", "warning", "before the newest date of the ledger");
}

#[test]
fn a_run_that_holds_the_account_is_named_and_not_disturbed() {
    let server = server(mails(2)).faults([Fault { moment: Moment::BeforeCommand(3), misdeed: Misdeed::Stall }]).start();
    let sandbox = Sandbox::in_memory();
    sandbox.config(&Account::on(server.port).to_string());
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| server.count("AUTH") > 0);
    if cfg!(target_os = "linux") {
        let run = sandbox.popfetch(["check", "--json"]).exits(75);
        assert_point_among(&run, "ledger", "failed", &format!("process {}", running.pid()));
    }
    running.signal(Signal::KILL);
    running.finish();
}

#[track_caller]
fn assert_point_among(run: &Run, of: &str, result: &str, words: &str) {
    let fits =
        |row: &Value| row["point"] == of && row["result"] == result && row["words"].as_str().unwrap().contains(words);
    assert!(rows(run).iter().any(fits), "{run:#?}");
}

#[test]
fn a_stop_ends_a_check() {
    let server = server(mails(2)).faults([Fault { moment: Moment::BeforeCommand(1), misdeed: Misdeed::Stall }]).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    let running = sandbox.start(&mut sandbox.listening(["check", "--json"]));
    wait_until(|| server.connections() > 0);
    running.signal(Signal::TERM);
    let run = running.finish().exits(143);
    assert_eq!(run.events().last().unwrap()["status"], 143, "{run:#?}");
}

/// A port where nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_exit_status_is_that_of_a_fetch() {
    let host = "no-such-host.invalid";
    let resolver = (host, 110).to_socket_addrs().expect_err("RFC 6761 reserves the name").to_string();
    let unknown = if resolver.contains("emporary failure") { 75 } else { 68 };
    let good = || server(mails(2));
    let quoted = |text: &str| format!("{text:?}");
    type Change = Box<dyn Fn(Account, &Sandbox) -> Account>;
    let unchanged = || -> Change { Box::new(|account, _| account) };
    let set = |key: &'static str, value: String| -> Change { Box::new(move |account, _| account.set(key, &value)) };
    let cases: Vec<(&str, Builder, i32, Change)> = vec![
        ("all is well", good(), 0, unchanged()),
        ("unknown host", good(), unknown, set("server", quoted(host))),
        ("refused connection", good(), 75, set("port", closed_port().to_string())),
        ("no TLS", good(), 69, set("tls", quoted("implicit"))),
        ("no STLS", good(), 69, set("tls", quoted("starttls"))),
        (
            "bad certificate",
            good().implicit_tls(Identity::self_signed().server_config()),
            69,
            set("tls", quoted("implicit")),
        ),
        ("refused greeting", good().greeting("").answer("CAPA", crate::server::HANG_UP), 75, unchanged()),
        ("refused login", good(), 77, set("password", quoted("wrong"))),
        ("refused for now", good().answer("AUTH", "-ERR [SYS/TEMP] later"), 75, unchanged()),
        ("no mechanism", good(), 69, set("auth", quoted("scram-sha-256"))),
        ("no UIDL, kept", good().answer("UIDL", "-ERR what?").capabilities(&["SASL PLAIN"]), 69, unchanged()),
        (
            "no UIDL, not kept",
            good().answer("UIDL", "-ERR what?").capabilities(&["SASL PLAIN"]),
            0,
            set("keep", "false".into()),
        ),
        (
            "target below a file",
            good(),
            73,
            Box::new(|account, sandbox| {
                sandbox.file("text", "x");
                account.set("deliver", "\"maildir:~/text/Mail\"")
            }),
        ),
        (
            "no mbox",
            good(),
            73,
            Box::new(|account, sandbox| {
                sandbox.file("text", "x");
                account.set("deliver", "\"mbox:~/text\"")
            }),
        ),
        ("no MDA", good(), 73, set("deliver", quoted("mda:/nonexistent"))),
        (
            "password file open to others",
            good(),
            78,
            Box::new(|account, sandbox| {
                sandbox.file("secret", CANARY);
                sandbox.mode("secret", 0o644);
                account.without("password").set("password_file", "\"~/secret\"")
            }),
        ),
        (
            "failing password command",
            good(),
            75,
            Box::new(|account, _| account.without("password").set("password_command", "[\"false\"]")),
        ),
        ("client identity absent", good(), 78, set("tls_client_identity", quoted("~/none"))),
    ];
    for (name, server, code, change) in cases {
        let server = server.start();
        let sandbox = Sandbox::in_memory();
        let account = change(Account::on(server.port), &sandbox);
        sandbox.config(&account.to_string());
        let checked = check(&sandbox, &[]);
        let run = sandbox.popfetch(["-q"]);
        assert_eq!((checked.code(), run.code()), (code, code), "{name}: {checked:#?}, {run:#?}");
    }
}

#[test]
fn the_exit_status_is_that_of_a_fetch_for_every_ledger() {
    let head = |server: &Maildrop, version: u32| {
        format!("{{\"popfetch\":{version},\"maildrop\":\"{USER}@127.0.0.1:{}\"}}\n", server.port)
    };
    type Change = fn(&Sandbox, &str, String);
    let cases: [(&str, i32, Change); 5] = [
        ("gone", 65, |sandbox, ledger, _| fs::remove_file(sandbox.path(ledger)).unwrap()),
        ("no ledger", 65, |sandbox, ledger, _| drop(sandbox.file(ledger, "Dear diary\n"))),
        ("damaged", 65, |sandbox, ledger, head| drop(sandbox.file(ledger, head + "Dear diary\n"))),
        ("much damaged", 65, |sandbox, ledger, head| drop(sandbox.file(ledger, head + &"Dear diary\n".repeat(5)))),
        ("sound", 0, |_, _, _| ()),
    ];
    for (name, code, change) in cases {
        let (server, sandbox) = fetched();
        let ledger = format!(".local/state/popfetch/{USER}@127.0.0.1:{}.jsonl", server.port);
        change(&sandbox, &ledger, head(&server, 3));
        let checked = check(&sandbox, &[]);
        let run = sandbox.popfetch(["-q"]);
        assert_eq!((checked.code(), run.code()), (code, code), "{name}: {checked:#?}, {run:#?}");
        if code != 0 {
            assert_point_among(&checked, "ledger", "failed", ".jsonl");
            assert_eq!(checked.account()["status"], code);
        }
    }
}

#[test]
fn a_configuration_with_a_password_that_others_can_read_ends_a_check_as_it_ends_a_fetch() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.mode(".config/popfetch/config.toml", 0o644);
    for arguments in [&["-q"][..], &["check"], &["check", "--offline"]] {
        sandbox.popfetch(arguments).exits(78).says(&["holds a password but is open to others"]);
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_target_that_is_gone_would_be_made_with_create() {
    let (_server, sandbox) = fetched();
    fs::rename(sandbox.path("Mail"), sandbox.path("Moved")).unwrap();
    assert_point(&check(&sandbox, &[]).exits(73), "target", "failed", "though mail was delivered to it before");
    assert_point(&check(&sandbox, &["--create"]).exits(0), "target", "ok", "would be created");
}

// What each account amounts to

/// Accounts in which every key is set by one or the other.
fn rich(sandbox: &Sandbox) -> String {
    sandbox.file("ca.pem", "x");
    let base = |name: &str, more: &str| {
        format!("[accounts.{name}]\nserver = \"pop.example.org\"\nuser = \"{name}\"\ndeliver = \"mbox:~/m\"\n{more}\n")
    };
    let pin = format!("tls_pin = \"sha256:{}\"", "ab".repeat(32));
    [
        base("one", &format!("password = {CANARY:?}\nkeep = \"14d\"\nall = true\nkeep_newest = 3\ndelete_over = \"1G\"\nmax_octets = [\"1M\", \"2M/day\"]\norder = \"newest\"\nmin_free = \"1M\"\nafter = [\"notmuch\", \"new\"]\nrules = [{{ size = \">1M\", skip = true }}]\nfilter = [\"judge\"]\npipelining = false\nmax_size = \"20M\"\nmax_messages = 7\n\
              tls = \"starttls\"\ntls_ca_file = \"~/ca.pem\"\n{pin}\ntls_name = \"h\"\nsource_address = \"192.0.2.1\"\n\
              timeout = \"5m\"\nmda_timeout = 9\npassword_timeout = 8\nauth = \"plain\"")),
        base("two", &format!("password_command = [\"pass\", {CANARY:?}]\ntls_client_identity = \"~/me\"\n\
              tls_client_identity_password = {CANARY:?}\nproxy = \"socks5://me:{CANARY}@proxy.example.org:1080\"\nowner = \"root\"")),
        base("three", &format!("password_file = {CANARY:?}\ntunnel = [\"ssh\", \"h\"]\nport = 1110\ntls = \"none\"")),
        base("four", &format!("token_command = [\"token\", {CANARY:?}]\nsocket = \"/run/pop\"\ntls_verify = false")),
        base("five", &format!("oauth2 = {{ provider = \"google\", client_id = \"id\", client_secret = {CANARY:?} }}")),
        base("six", "").replace("\"mbox:~/m\"", "[\"mbox:~/m\", \"mda:cat -n\"]"),
    ]
    .concat()
}

#[test]
fn offline_every_key_of_every_account_is_shown_and_no_secret() {
    let sandbox = Sandbox::new();
    sandbox.config(&rich(&sandbox));
    let run = sandbox.popfetch(["check", "--offline", "--timeout", "7"]).exits(0);
    assert!(run.stderr.is_empty(), "{run:#?}");
    for key in config::account_keys().map(|key| key.name).filter(|key| !["url", "owner"].contains(key)) {
        assert!(run.stdout.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}: {}", run.stdout);
    }
    let home = sandbox.path("").display().to_string();
    for line in [
        "[accounts.one]",
        "port = 110",
        "port = 995 # default",
        "password = \"****\"",
        "password_command = [\"pass\", \"****\"]",
        "password_file = \"****\"",
        "token_command = [\"token\", \"****\"]",
        "# password is not set: a credential of the service, ~/.netrc, or a question on the terminal",
        "keep = \"14d\"",
        "keep = true # default",
        "max_size = 20971520",
        "# max_size is not set",
        "tls_client_identity_password = \"****\"",
        "proxy = \"socks5://****:****@proxy.example.org:1080\"",
        "tunnel = [\"ssh\", \"h\"]",
        "timeout = 7",
        "enabled = true # default",
        &format!("deliver = [\"mbox:{home}m\", \"mda:cat -n\"]"),
    ] {
        assert!(run.stdout.lines().any(|told| told == line), "{line}: {}", run.stdout);
    }
    assert!(
        run.stdout.contains("oauth2 = { client_id = \"id\", flow = \"redirect\", ")
            && run.stdout.contains("client_secret = \"****\" }")
    );
    // What is shown can be read, and amounts to the same.
    let again = run.stdout.replace("\"****\"", "\"x\"").replace("****:****@", "me:x@");
    sandbox.config(&again);
    let second = sandbox.popfetch(["check", "--offline"]).exits(0);
    let without_secrets = |text: &str| {
        let keys = ["password", "token_command", "oauth2"];
        let lines = text.lines().filter(|line| !keys.iter().any(|key| line.starts_with(key)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without_secrets(&second.stdout), without_secrets(&run.stdout));
}

#[test]
fn offline_nobody_is_spoken_to_and_every_mistake_is_told() {
    let server = server(mails(1)).start();
    let sandbox =
        Sandbox::with(Account::on(server.port).set("password_command", "[\"touch\", \"asked\"]").without("password"));
    let run = check(&sandbox, &["--offline", "work"]).exits(0);
    assert_eq!(server.connections(), 0);
    assert!(rows(&run).iter().all(|row| row["point"] == "configuration" && row["result"] == "ok"), "{run:#?}");
    assert!(rows(&run).iter().any(|row| row["words"] == format!("port = {}", server.port)), "{run:#?}");
    assert!(!sandbox.state().exists() && !sandbox.path("asked").exists());
    sandbox.config("[accounts.work]\nserver = \"127.0.0.1\"\nuzer = \"x\"\nkeep = 7\n");
    let run = sandbox.popfetch(["check", "--offline"]).exits(78);
    assert!(run.says(&["config.toml:3:1", "`uzer`", "config.toml:4:8"]).stdout.is_empty());
}
