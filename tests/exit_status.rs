//! The exit status, a test for each code of sysexits that popfetch uses.

use std::net::ToSocketAddrs;

use crate::sandbox::{Account, Sandbox, USER, all_at_home, mails, message, names, read, server};
use crate::server::{Mail, ScriptServer};

fn fetch(account: Account) -> crate::sandbox::Run {
    Sandbox::with(account).popfetch(["-q"])
}

#[test]
fn exit_0_when_done_also_without_mail() {
    for count in [0, 2] {
        let server = server(mails(count)).start();
        fetch(Account::on(server.port)).exits(0).silently();
    }
    for question in ["--help", "-h", "--version"] {
        let run = Sandbox::new().popfetch([question]).exits(0);
        assert!(run.stdout.contains("popfetch") && run.stderr.is_empty(), "{run:#?}");
    }
}

#[test]
fn exit_1_when_no_mail_came_and_that_is_asked() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q", "--fail-if-none", "--dry-run"]).exits(0);
    sandbox.popfetch(["-q", "--fail-if-none"]).exits(0).silently();
    sandbox.popfetch(["-q", "--fail-if-none", "--dry-run"]).exits(1);
    let run = sandbox.popfetch(["-q", "--fail-if-none", "--json"]).exits(1);
    assert_eq!(run.events().last().unwrap()["status"], 1);
    sandbox.popfetch(["-q"]).exits(0).silently();
    // A failure is more than no mail.
    server.answer("UIDL", Some("-ERR [SYS/TEMP] not now"));
    sandbox.popfetch(["-q", "--fail-if-none"]).exits(75);
}

#[test]
fn the_long_version_names_the_tls_library() {
    let version = |question| Sandbox::new().popfetch([question]).exits(0).stdout;
    assert_eq!(version("-V"), concat!("popfetch ", env!("CARGO_PKG_VERSION"), "\n"));
    let library = openssl::version::version();
    assert_eq!(version("--version"), format!("popfetch {} ({library})\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn exit_64_for_usage() {
    Sandbox::new().popfetch(["--no-such-option"]).exits(64).says(&["--no-such-option"]);
    Sandbox::new().popfetch(["--keep", "--no-keep"]).exits(64);
    Sandbox::new().popfetch(["--timeout", "soon"]).exits(64);
}

/// A sandbox whose ledger was written by somebody else.
fn with_ledger(port: u16, ledger: &str) -> Sandbox {
    let sandbox = Sandbox::with(Account::on(port).set("keep", false));
    sandbox.file(&format!(".local/state/popfetch/{USER}@127.0.0.1:{port}.jsonl"), ledger);
    sandbox
}

#[test]
fn exit_65_for_bad_data_in_the_state() {
    let server = server(mails(2)).start();
    let sandbox = with_ledger(server.port, "Dear diary\nnothing of interest today\n");
    sandbox.popfetch(["-q"]).exits(65).says(&[".jsonl"]);
    assert_eq!((server.unique_ids(USER).len(), sandbox.maildir().files().len()), (2, 0), "nothing is touched");
}

#[test]
fn exit_65_for_damaged_lines_of_a_ledger_which_is_kept_and_told_once() {
    let server = server(mails(2)).start();
    let head = format!("{{\"popfetch\":3,\"maildrop\":\"{USER}@127.0.0.1:{}\"}}\n", server.port);
    let sandbox = with_ledger(server.port, &format!("{head}Dear diary\n"));
    sandbox.popfetch(["-q"]).exits(65).says(&[".jsonl", "2"]);
    let mut kept = names(&sandbox.state()).into_iter().map(|name| read(&sandbox.state().join(name)));
    assert!(kept.any(|octets| octets.ends_with(b"Dear diary\n")), "the damaged ledger is kept");
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((sandbox.maildir().messages(), server.unique_ids(USER).len()), (all_at_home(&mails(2)), 0));
}

#[test]
fn exit_65_for_a_ledger_that_only_a_newer_popfetch_can_read() {
    let server = server(mails(2)).start();
    let maildrop = format!("{USER}@127.0.0.1:{}", server.port);
    let sandbox = with_ledger(server.port, &format!("{{\"popfetch\":999,\"maildrop\":\"{maildrop}\"}}\n"));
    sandbox.popfetch(["-q"]).exits(65).says(&[".jsonl", "999"]);
    assert_eq!((server.unique_ids(USER).len(), sandbox.maildir().files().len()), (2, 0), "nothing is touched");
}

#[test]
fn exit_68_for_an_unknown_host() {
    let host = "no-such-host.invalid";
    // Without a name server nobody can tell that the host is unknown, and later somebody might.
    let error = (host, 110).to_socket_addrs().expect_err("RFC 6761 reserves the name").to_string();
    let code = if error.contains("emporary failure") { 75 } else { 68 };
    fetch(Account::on(110).set("server", format!("{host:?}"))).exits(code).says(&[host]);
}

#[test]
fn exit_69_when_tls_is_not_to_be_had() {
    let server = server(mails(1)).start();
    fetch(Account::on(server.port).set("tls", "\"starttls\"")).exits(69);
    fetch(Account::on(server.port).set("tls", "\"implicit\"")).exits(69);
}

#[test]
fn exit_73_when_the_destination_cannot_be_created() {
    let server = server(mails(1)).start();
    fetch(Account::on(server.port).set("deliver", "\"maildir:/dev/null/Mail\"")).exits(73).says(&["/dev/null"]);
    fetch(Account::on(server.port).set("deliver", "\"mbox:/dev/null/mbox\"")).exits(73).says(&["/dev/null"]);
}

#[test]
fn exit_74_when_writing_fails_and_nothing_is_lost() {
    let big = Mail::new("big", format!("{}{}", message(1), "0123456789abcdef\r\n".repeat(10_000)));
    for deliver in ["maildir:~/Mail", "mbox:~/mbox"] {
        let server = server([big.clone()]).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", false).set("deliver", format!("{deliver:?}")));
        // No file may grow beyond some 64 blocks; without the trap the signal would end the run.
        sandbox.shell("trap '' XFSZ; ulimit -f 64; exec popfetch -q").exits(74);
        assert_eq!(server.unique_ids(USER).len(), 1, "{deliver}");
        assert!(sandbox.maildir().files().is_empty() && sandbox.mbox().is_empty(), "{deliver}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.unique_ids(USER).len(), 0, "{deliver}");
    }
}

#[test]
fn exit_75_when_it_may_work_later() {
    let server = server(mails(1)).answer("AUTH", "-ERR [SYS/TEMP] later").start();
    fetch(Account::on(server.port)).exits(75);
}

#[test]
fn exit_76_when_the_server_speaks_something_else() {
    let server = ScriptServer::tcp("S: * OK IMAP4rev1 ready");
    fetch(Account::on(server.port)).exits(76).says(&["IMAP4rev1"]);
    server.finish();
}

#[test]
fn exit_77_when_the_login_is_refused() {
    let server = server(mails(1)).start();
    fetch(Account::on(server.port).set("password", "\"wrong\"")).exits(77).says(&["work", USER]);
}

#[test]
fn exit_78_for_a_wrong_configuration() {
    let sandbox = Sandbox::new();
    sandbox.config("[accounts.work]\nserver = 7\n");
    sandbox.popfetch(["-q"]).exits(78).says(&["config.toml:2:10"]);
}

/// Two accounts whose logins are answered like this, in this order.
fn exit_of(answers: [&str; 2]) -> i32 {
    let servers = answers.map(|answer| server(mails(1)).answer("AUTH", answer).start());
    let sandbox = Sandbox::new();
    let accounts = [("one", &servers[0]), ("two", &servers[1])];
    sandbox.config(&accounts.map(|(name, server)| Account::on(server.port).named(name).to_string()).concat());
    sandbox.popfetch(["-q"]).code()
}

#[test]
fn of_several_accounts_the_first_failure_that_is_not_temporary_decides() {
    let (refused, later) = ("-ERR [AUTH] no", "-ERR [SYS/TEMP] later");
    assert_eq!(exit_of([later, refused]), 77);
    assert_eq!(exit_of([refused, later]), 77);
    assert_eq!(exit_of([later, later]), 75);
}
