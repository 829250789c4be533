//! Sessions as the RFCs tell them: login, STLS, capabilities, refusals, limits, deadlines.
//!
//! Through the binary, from the server's point of view: what was said, and what was never said.

use std::net::TcpListener;
use std::time::Duration;

use crate::sandbox::{Account, Destination, Run, Sandbox, USER, all_at_home, mails, message, server, wait_until};
use crate::server::{Authority, Fault, Identity, Mail, Maildrop, Misdeed, Moment, ScriptServer};

/// Fetches once from an account.
fn fetch(account: Account) -> Run {
    Sandbox::with(account).popfetch(["-q"])
}

/// Fetches once over TLS, trusting this authority.
fn fetch_trusting(authority: &Authority, account: Account) -> Run {
    let sandbox = Sandbox::with(account.set("tls_ca_file", "\"~/ca.pem\""));
    sandbox.file("ca.pem", &authority.pem);
    sandbox.popfetch(["-q"])
}

fn starttls(port: u16) -> Account {
    Account::on(port).set("tls", "\"starttls\"")
}

fn implicit_tls(port: u16) -> Account {
    Account::on(port).set("tls", "\"implicit\"")
}

#[track_caller]
fn assert_no_login(server: &Maildrop) {
    let logins = ["USER", "PASS", "APOP", "AUTH"].map(|keyword| server.count(keyword));
    assert_eq!(logins, [0; 4], "{:#?}", server.heard());
}

// Login

#[test]
fn user_and_pass_log_in() {
    let server = server(mails(1)).start();
    fetch(Account::on(server.port).set("auth", "\"user\"")).exits(0).silently();
    assert_eq!((server.count("USER"), server.count("PASS"), server.count("AUTH")), (1, 1, 0));
}

#[test]
fn auth_plain_is_preferred_where_it_is_announced_and_takes_one_round_trip() {
    let server = server(mails(1)).start();
    fetch(Account::on(server.port)).exits(0).silently();
    assert!(server.commands(1).iter().any(|line| line.starts_with("AUTH PLAIN ")), "{:#?}", server.heard());
    assert_eq!(server.count("PASS"), 0);
}

#[test]
fn a_server_without_capa_gets_user_and_pass() {
    let server = server(mails(1)).answer("CAPA", "-ERR unknown command").without_pipelining().start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.count("PASS"), sandbox.maildir().messages().len()), (1, 1));
}

#[test]
fn apop_sends_a_digest_instead_of_the_password() {
    let server = server(mails(1)).greeting("ready <1896.697170952@dbc.mtview.ca.us>").start();
    fetch(Account::on(server.port).set("auth", "\"apop\"")).exits(0).silently();
    assert_eq!((server.count("APOP"), server.count("PASS"), server.count("AUTH")), (1, 0, 0));
}

#[test]
fn apop_without_a_timestamp_sends_nothing_secret() {
    let server = server(mails(1)).start();
    let run = fetch(Account::on(server.port).set("auth", "\"apop\""));
    assert_ne!(run.code(), 0);
    run.says(&["APOP", "timestamp"]);
    assert_no_login(&server);
}

#[test]
fn an_apop_challenge_that_is_no_message_id_or_too_long_is_not_answered() {
    for challenge in ["<1896.697170952>", "<18 96@b>", "<\u{7f}@b>", "<a@b@c>", &format!("<{}@b>", "a".repeat(600))] {
        let server = server(mails(1)).greeting(&format!("ready {challenge}")).capabilities(&["USER"]).start();
        let run = fetch(Account::on(server.port).set("auth", "\"apop\"")).exits(69);
        run.says(&["APOP", "msg-id", "nothing secret was sent", "`auth = \"user\"`"]);
        assert_no_login(&server);
        // Left to itself popfetch takes another way.
        fetch(Account::on(server.port)).exits(0).silently();
        assert_eq!((server.count("APOP"), server.count("PASS")), (0, 1), "{challenge:?}");
    }
}

#[test]
fn a_timestamp_in_clear_is_used_only_where_capa_offers_nothing_better() {
    let timestamp = "ready <1896.697170952@dbc.mtview.ca.us>";
    let apop = server(mails(1)).greeting(timestamp).capabilities(&["USER", "SASL PLAIN"]).start();
    fetch(Account::on(apop.port)).exits(0).silently();
    assert_eq!((apop.count("APOP"), apop.count("PASS"), apop.count("AUTH")), (1, 0, 0));
    let cram = server(mails(1)).greeting(timestamp).capabilities(&["USER", "SASL CRAM-MD5"]).start();
    fetch(Account::on(cram.port)).exits(77).says(&["by CRAM-MD5"]);
    assert_eq!((cram.count("APOP"), cram.count("PASS"), cram.count("AUTH")), (0, 0, 1));
}

#[test]
fn a_refused_login_names_what_was_tried_and_what_to_write() {
    let server = server(mails(1)).greeting("ready <1@b>").answer("APOP", "-ERR no").start();
    let run = fetch(Account::on(server.port)).exits(77);
    run.says(&["refused the login of", "by APOP: `no`", "`auth = \"user\"`"]);
    assert_eq!((server.count("PASS"), server.count("AUTH"), server.connections()), (0, 0, 1));
}

#[test]
fn response_codes_tell_a_wrong_password_from_a_busy_server() {
    let cases = [
        ("-ERR no", 77),
        ("-ERR [AUTH] no", 77),
        ("-ERR [IN-USE] no", 75),
        ("-ERR [LOGIN-DELAY] no", 75),
        ("-ERR [SYS/TEMP] no", 75),
        ("-ERR [SYS/PERM] no", 77),
        ("-ERR Temporary authentication failure", 75),
        ("-ERR Too many simultaneous connections", 75),
        ("-ERR [AUTH] too many wrong passwords", 77),
    ];
    for (answer, code) in cases {
        for auth in ["user", "plain"] {
            let server = server(mails(1)).answer("PASS", answer).answer("AUTH", answer).start();
            fetch(Account::on(server.port).set("auth", format!("{auth:?}"))).exits(code).says(&["work", &answer[5..]]);
            assert_eq!(server.unique_ids(USER).len(), 1);
        }
    }
}

#[test]
fn a_refused_login_is_not_tried_in_another_way() {
    let server = server(mails(1)).answer("AUTH", "-ERR [AUTH] no").start();
    fetch(Account::on(server.port)).exits(77);
    assert_eq!((server.count("AUTH"), server.count("USER"), server.connections()), (1, 0, 1));
}

#[test]
fn a_maildrop_that_another_session_holds_is_for_later() {
    let server = server(mails(1)).start();
    server.lock(USER);
    fetch(Account::on(server.port)).exits(75).says(&["[IN-USE]"]);
}

#[test]
fn a_server_that_is_too_busy_to_greet_is_for_later() {
    let server = ScriptServer::tcp("S: -ERR [SYS/TEMP] come back at night");
    fetch(Account::on(server.port)).exits(75).says(&["come back at night"]);
    server.finish();
}

#[test]
fn what_a_server_says_cannot_drive_the_terminal() {
    let server = server(mails(1))
        .answer("PASS", "-ERR \x1b[2J\x07 gone")
        .answer("AUTH", "-ERR \x1b[2J\x07\u{fffb} gone")
        .start();
    let run = fetch(Account::on(server.port)).exits(77).says(&["\\x1b[2J", "\\u{fffb}"]);
    assert!(!run.stderr.contains(['\x1b', '\x07', '\u{fffb}']), "{run:#?}");
}

// STLS and TLS

#[test]
fn stls_comes_before_the_login_and_capabilities_are_asked_again() {
    let authority = Authority::new("ours");
    let server = server(mails(2))
        .capabilities(&["UIDL", "PIPELINING"])
        .capabilities_under_tls(&["SASL PLAIN"])
        .starttls(authority.good().server_config())
        .start();
    fetch_trusting(&authority, starttls(server.port)).exits(0).silently();
    let commands = server.commands(1);
    assert_eq!(commands[..3], ["CAPA", "STLS", "CAPA"]);
    assert!(commands[3].starts_with("AUTH PLAIN "), "announced only under TLS: {commands:#?}");
}

#[test]
fn what_was_announced_in_clear_is_forgotten_after_stls() {
    let authority = Authority::new("ours");
    let server = ScriptServer::starttls(
        "
        S: +OK ready
        C: CAPA
        S: +OK
        S: SASL PLAIN
        S: STLS
        S: .
        C: STLS
        S: +OK begin
        !tls
        C: CAPA
        S: +OK
        S: UIDL
        S: .
        C: USER alice
        S: -ERR [AUTH] enough
    ",
        authority.good().server_config(),
    );
    fetch_trusting(&authority, starttls(server.port)).exits(77);
    server.finish();
}

#[test]
fn octets_before_the_handshake_are_refused() {
    let authority = Authority::new("ours");
    let server = ScriptServer::starttls(
        "
        S: +OK ready
        C: CAPA
        S: +OK
        S: STLS
        S: .
        C: STLS
        !raw \"+OK begin TLS\\r\\n+OK injected in clear\\r\\n\"
    ",
        authority.good().server_config(),
    );
    let run = fetch_trusting(&authority, starttls(server.port)).says(&["before the TLS handshake"]);
    assert_ne!(run.code(), 0);
    server.finish();
}

#[test]
fn a_server_without_stls_is_an_error_that_names_the_option() {
    let server = server(mails(1)).start();
    fetch(starttls(server.port)).exits(69).says(&["STLS", "tls"]);
    assert_no_login(&server);
}

#[test]
fn a_server_that_refuses_stls_gets_no_password() {
    let authority = Authority::new("ours");
    let server = server(mails(1)).starttls(authority.good().server_config()).answer("STLS", "-ERR not today").start();
    let run = fetch_trusting(&authority, starttls(server.port)).says(&["STLS", "not today"]);
    assert_ne!(run.code(), 0);
    assert_no_login(&server);
}

#[test]
fn implicit_tls_begins_with_the_first_octet() {
    let authority = Authority::new("ours");
    for name in ["localhost", "127.0.0.1"] {
        let server = server(mails(2)).implicit_tls(authority.good().server_config()).start();
        let account = implicit_tls(server.port).set("server", format!("{name:?}"));
        fetch_trusting(&authority, account).exits(0).silently();
        assert_eq!((server.count("RETR"), server.count("STLS")), (2, 0));
    }
}

#[test]
fn a_certificate_that_proves_nothing_ends_the_session_before_the_login() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("ours"));
    let cases: [(Identity, &[&str]); 4] = [
        (Identity::self_signed(), &["self-signed"]),
        (stranger.good(), &[]),
        (authority.expired(), &["expired"]),
        (authority.wrong_name(), &["127.0.0.1"]),
    ];
    for (identity, words) in cases {
        let implicit = server(mails(1)).implicit_tls(identity.server_config()).start();
        fetch_trusting(&authority, implicit_tls(implicit.port)).exits(69).says(&["certificate"]).says(words);
        assert_no_login(&implicit);
        let upgraded = server(mails(1)).starttls(identity.server_config()).start();
        fetch_trusting(&authority, starttls(upgraded.port)).exits(69).says(&["certificate"]).says(words);
        assert_no_login(&upgraded);
    }
}

#[test]
fn the_systems_authorities_do_not_vouch_for_a_test() {
    let authority = Authority::new("ours");
    let server = server(mails(1)).implicit_tls(authority.good().server_config()).start();
    fetch(implicit_tls(server.port)).exits(69).says(&["certificate"]);
    assert_no_login(&server);
}

#[test]
fn implicit_tls_with_a_server_that_speaks_in_clear_is_told_so() {
    let server = server(mails(1)).start();
    fetch(implicit_tls(server.port)).exits(69).says(&["TLS", "starttls"]);
    assert_no_login(&server);
}

// Listings, and what servers do to them

#[test]
fn blanks_behind_the_numbers_of_a_listing_are_passed_over() {
    let server = server(mails(2))
        .answer("UIDL", "+OK\r\n1  m1\r\n2   m2\r\n.")
        .answer("LIST", "+OK\r\n1   100\r\n2  200\r\n.")
        .start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((sandbox.maildir().messages(), server.count("RETR")), (all_at_home(&mails(2)), 2));
}

#[test]
fn a_unique_id_may_hold_any_octet() {
    let ids = ["<a@b>", "..", "{\"x\":1}", "\u{17e}\\\"'$(x)/../", "a b c"];
    let mails: Vec<_> = ids.iter().enumerate().map(|(n, id)| Mail::new(*id, message(n))).collect();
    let server = server(mails.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((sandbox.maildir().messages(), server.count("RETR")), (all_at_home(&mails), ids.len()));
}

#[test]
fn two_messages_under_one_unique_id_are_both_fetched_once() {
    let mails = [Mail::new("same", message(1)), Mail::new("same", message(22)), Mail::new("other", message(3))];
    let server = server(mails.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((sandbox.maildir().messages(), server.count("RETR")), (all_at_home(&mails), 3));
}

#[test]
fn an_id_that_is_listed_twice_is_deleted_only_in_the_session_that_delivered_it() {
    let mails = [Mail::new("same", message(1)), Mail::new("same", message(22))];
    let kept = server(mails.clone()).start();
    let sandbox = Sandbox::with(Account::on(kept.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).says(&["2 messages", "not deleted", "the same unique-id"]);
    assert_eq!((kept.count("DELE"), kept.count("RETR")), (0, 2));
    let emptied = server(mails).start();
    Sandbox::with(Account::on(emptied.port).set("keep", false)).popfetch(["-q"]).exits(0).silently();
    assert!(emptied.unique_ids(USER).is_empty());
}

#[test]
fn what_was_deleted_and_is_still_listed_is_said_and_deleted_once_more() {
    let server = server(mails(2)).answer("DELE 1", "+OK deleted, or so it says").start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let run = sandbox.popfetch(["--dry-run"]).exits(0).says(&["1 message still listed", "to be deleted once more"]);
    assert_eq!(server.count("DELE"), 2, "{run:#?}");
    sandbox.popfetch(["-q"]).exits(0).says(&["1 message still listed", "to be deleted once more"]);
    assert_eq!((server.count("RETR"), server.count("DELE"), server.unique_ids(USER).len()), (2, 3, 1));
    sandbox.popfetch(["-q", "--keep"]).exits(0).silently();
    assert_eq!((server.count("RETR"), server.count("DELE")), (2, 3), "what is kept is not deleted");
}

#[test]
fn an_announced_size_is_only_a_promise() {
    let mut mails = mails(3);
    mails[0].announced = Some(1);
    mails[1].announced = Some(10_000_000_000);
    mails[2].announced = Some(0);
    let server = server(mails.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.popfetch(["-q"]).exits(0).says(&["less than half of the announced size (message 2: 79 B of 9.3 GiB)"]);
    assert_eq!(sandbox.maildir().messages(), all_at_home(&mails));
    assert!(server.unique_ids(USER).is_empty());
}

#[test]
fn keeping_without_unique_ids_is_refused_with_a_way_out() {
    let server = server(mails(2)).capabilities(&["USER"]).answer("UIDL", "-ERR unknown command").start();
    let run = fetch(Account::on(server.port)).says(&["UIDL", "--all"]);
    assert_ne!(run.code(), 0);
    assert_eq!(server.count("RETR"), 0);
}

#[test]
fn a_server_that_announces_uidl_and_refuses_it_is_fetched_with_all() {
    for keep in [true, false] {
        let server = server(mails(3)).answer("UIDL", "-ERR not today").start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", keep));
        sandbox.popfetch(["-q"]).exits(76).says(&["UIDL", "--all"]);
        assert_eq!(server.count("RETR"), 0);
        sandbox.popfetch(["-q", "state", "known", "--yes"]).exits(76);
        sandbox.popfetch(["-q", "--all"]).exits(0).silently();
        assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(3)));
        assert_eq!(server.unique_ids(USER).len(), if keep { 3 } else { 0 });
        // What will pass is no reason to do without.
        server.answer("UIDL", Some("-ERR [SYS/TEMP] not now"));
        server.restore(USER, mails(3));
        sandbox.popfetch(["-q", "--all"]).exits(75);
    }
}

#[test]
fn deleting_works_without_unique_ids() {
    let server = server(mails(2)).capabilities(&["USER"]).answer("UIDL", "-ERR unknown command").start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!((sandbox.maildir().messages(), server.unique_ids(USER).len()), (all_at_home(&mails(2)), 0));
}

// RETR and DELE

#[test]
fn a_refused_message_costs_only_itself() {
    for pipelining in [true, false] {
        let builder = server(mails(4)).answer("RETR 2", "-ERR [SYS/TEMP] that one is damaged");
        let server = if pipelining { builder } else { builder.without_pipelining() }.start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
        let run = sandbox.popfetch(["-q"]).says(&["2", "that one is damaged"]);
        assert_ne!(run.code(), 0);
        assert_eq!((sandbox.maildir().messages().len(), server.unique_ids(USER)), (3, vec!["m2".to_string()]));
    }
}

#[test]
fn lock_step_without_pipelining() {
    // The server complains when a command comes before the reply to the one before.
    let server = server(mails(30)).without_pipelining().start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((sandbox.maildir().messages().len(), server.unique_ids(USER).len()), (30, 0));
}

#[test]
fn pipelining_keeps_the_line_full() {
    let server = server(mails(100)).start();
    fetch(Account::on(server.port).set("keep", false)).exits(0).silently();
    let flights = server.traffic(1).flights;
    assert!(flights < 100, "200 commands for 100 messages took {flights} flights");
}

#[test]
fn pipelining_that_is_announced_only_after_the_login_counts() {
    let server =
        server(mails(100)).capabilities(&["UIDL", "SASL PLAIN"]).capabilities_after_login(&["PIPELINING"]).start();
    fetch(Account::on(server.port)).exits(0).silently();
    let flights = server.traffic(1).flights;
    assert!(flights < 60, "100 messages took {flights} flights");
}

#[test]
fn the_session_ends_with_quit_and_dele_follows_its_retr() {
    let server = server(mails(3)).start();
    fetch(Account::on(server.port).set("keep", false)).exits(0).silently();
    let commands = server.commands(1);
    assert_eq!(commands.last().map(String::as_str), Some("QUIT"));
    for number in 1..=3 {
        let at = |line: String| commands.iter().position(|heard| *heard == line).expect("both were sent");
        assert!(at(format!("RETR {number}")) < at(format!("DELE {number}")), "{commands:#?}");
    }
}

#[test]
fn a_last_message_that_the_server_refuses_is_only_refused() {
    for (keep, count) in [(true, 1), (true, 3), (false, 1), (false, 3)] {
        let server = server(mails(count)).answer(&format!("RETR {count}"), "-ERR no").start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", keep));
        let run = sandbox.popfetch(["-q"]).exits(75).says(&["the server refused RETR: `no`"]);
        assert_eq!((run.stderr.lines().count(), sandbox.maildir().files().len()), (1, count - 1), "{run:#?}");
        assert_eq!(server.unique_ids(USER).len(), if keep { count } else { 1 });
    }
}

#[test]
fn kept_mail_is_never_marked() {
    let server = server(mails(3)).start();
    fetch(Account::on(server.port)).exits(0).silently();
    assert_eq!((server.count("DELE"), server.unique_ids(USER).len()), (0, 3));
}

#[test]
fn mail_is_deleted_so_long_after_it_was_first_seen() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", "\"2s\""));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.unique_ids(USER).len(), 2);
    std::thread::sleep(Duration::from_millis(3100));
    server.arrive(USER, Mail::new("late", message(7)));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.unique_ids(USER), server.count("RETR")), (vec!["late".to_string()], 3));
}

#[test]
fn a_message_that_is_too_large_stays_on_the_server() {
    let mut mails = mails(2);
    mails[1].octets.extend("x".repeat(3000).bytes().chain(*b"\r\n"));
    let server = server(mails.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false).set("max_size", "\"2k\""));
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!((sandbox.maildir().messages(), server.unique_ids(USER)), (all_at_home(&mails[..1]), vec!["m2".into()]));
}

/// `m1` is small, `m2` is not.
fn small_and_large(octets: usize, announced: Option<u64>) -> Vec<Mail> {
    let mut mails = mails(2);
    mails[1].octets.extend("x".repeat(octets).bytes().chain(*b"\r\n"));
    mails[1].announced = announced;
    mails
}

#[test]
fn what_max_size_leaves_is_said_once_without_a_terminal() {
    let server = server(small_and_large(3000, None)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_size", "\"2k\""));
    let said = "larger than `max_size` left on the server";
    sandbox.popfetch([] as [&str; 0]).exits(0).says(&["1 message", said]);
    sandbox.popfetch([] as [&str; 0]).exits(0).silently();
    let run = sandbox.popfetch(["-v", "--json"]).exits(0).says(&["1 message", said]);
    assert!(run.stdout.contains("\"too_large\":1"), "{run:#?}");
    server.arrive(USER, Mail::new("m3", "x".repeat(2500) + "\r\n"));
    sandbox.popfetch([] as [&str; 0]).exits(0).says(&["1 message", said, "2.4 KiB"]);
    sandbox.popfetch([] as [&str; 0]).exits(0).silently();
    assert_eq!(server.count("RETR"), 1);
}

#[test]
fn a_message_that_is_larger_than_announced_is_left_on_the_server_as_well() {
    for destination in Destination::ALL {
        for pipelining in [true, false] {
            let mails = small_and_large(300_000, Some(100));
            let builder = server(mails.clone());
            let server = if pipelining { builder } else { builder.without_pipelining() }.start();
            let sandbox = Sandbox::new();
            let deliver = destination.deliver(&sandbox);
            let account = Account::on(server.port).set("keep", false).set("deliver", deliver);
            sandbox.config(&account.clone().set("max_size", "\"2k\"").to_string());
            sandbox
                .popfetch([] as [&str; 0])
                .exits(0)
                .says(&["1 message larger than `max_size` left on the server", "293"]);
            let run = sandbox.popfetch(["--json"]).exits(0);
            assert!(run.stderr.is_empty() && run.stdout.contains("\"too_large\":1"), "{run:#?}");
            assert_eq!(destination.messages(&sandbox), all_at_home(&mails[..1]), "{destination:?}");
            assert_eq!((server.unique_ids(USER), sandbox.maildir().litter()), (vec!["m2".into()], vec![]));
            sandbox.config(&account.to_string());
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(destination.messages(&sandbox), all_at_home(&mails), "{destination:?}");
            assert!(server.unique_ids(USER).is_empty());
        }
    }
}

#[test]
fn a_message_that_goes_on_and_on_ends_the_session_and_keeps_no_other_back() {
    let mut mails = small_and_large(20 << 20, Some(100));
    mails.rotate_right(1);
    let server = server(mails.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_size", "\"2k\""));
    sandbox.popfetch(["-q"]).exits(76).says(&["message 1 is larger than `max_size`", "hint: raise `max_size`"]);
    wait_until(|| server.is_idle());
    sandbox.popfetch(["-q"]).exits(76).says(&["message 1 is larger than `max_size`"]);
    assert_eq!((sandbox.maildir().messages(), sandbox.maildir().litter()), (all_at_home(&mails[1..]), vec![]));
}

#[test]
fn no_more_messages_than_wanted_are_fetched_in_one_run() {
    let server = server(mails(5)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_messages", 2));
    for fetched in [2, 4, 5, 5] {
        sandbox.popfetch(["-q"]).exits(0);
        assert_eq!(sandbox.maildir().messages().len(), fetched);
    }
}

#[test]
fn a_dry_run_changes_nothing_anywhere() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.popfetch(["--dry-run"]).exits(0);
    assert_eq!((server.count("RETR"), server.count("DELE"), sandbox.maildir().files().len()), (0, 0, 0));
}

#[test]
fn everything_is_fetched_again_when_asked_for() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0);
    sandbox.popfetch(["-q", "--all"]).exits(0);
    assert_eq!((sandbox.maildir().messages().len(), server.count("RETR")), (4, 4));
}

// Limits

#[test]
fn a_line_without_an_end_is_an_error() {
    let server = ScriptServer::tcp(&format!("S: +OK {}", "x".repeat(2_000_000)));
    fetch(Account::on(server.port)).exits(76);
    server.finish();
}

#[test]
fn a_greeting_of_another_protocol_is_an_error() {
    let server = ScriptServer::tcp("S: 220 mail.example.org ESMTP");
    fetch(Account::on(server.port)).exits(76).says(&["220 mail.example.org ESMTP"]);
    server.finish();
}

#[test]
fn a_listing_that_does_not_parse_is_an_error() {
    let server = server(mails(1)).answer("UIDL", "+OK\r\none m1\r\n.").start();
    fetch(Account::on(server.port)).exits(76).says(&["UIDL"]);
    assert_eq!(server.count("RETR"), 0);
}

// Deadlines

/// Fetches with a deadline of a second, which must have ended the run.
#[track_caller]
fn impatient(account: Account) -> Run {
    let run = fetch(account.set("timeout", 1)).exits(75);
    assert!(run.elapsed < Duration::from_secs(5), "{run:#?}");
    run
}

#[test]
fn a_server_that_does_not_greet_runs_into_the_deadline() {
    let server = ScriptServer::tcp("!stall");
    impatient(Account::on(server.port)).says(&["greeting"]);
}

#[test]
fn a_server_that_stops_answering_runs_into_the_deadline() {
    let server = server(mails(1)).faults([Fault { moment: Moment::BeforeCommand(2), misdeed: Misdeed::Stall }]).start();
    impatient(Account::on(server.port)).says(&["reply"]);
}

#[test]
fn a_server_that_drips_its_greeting_runs_into_the_deadline() {
    let server = ScriptServer::tcp(&format!("!drip 50\nS: +OK {}", "x".repeat(200)));
    impatient(Account::on(server.port)).says(&["greeting"]);
}

#[test]
fn a_message_that_stops_in_the_middle_runs_into_the_deadline() {
    let mail = Mail::new("big", format!("{}{}", message(1), "x".repeat(70).repeat(10)));
    let fault = Fault { moment: Moment::LinesSent(10_000), misdeed: Misdeed::Stall };
    let whole = server([mail.clone()]).start();
    fetch(Account::on(whole.port)).exits(0);
    // Two lines before the end: within the body, whatever came before it.
    let lines = whole.traffic(1).lines_sent - 3;
    let server = server([mail]).faults([Fault { moment: Moment::LinesSent(lines), ..fault }]).start();
    impatient(Account::on(server.port)).says(&["body"]);
}

#[test]
fn a_server_that_drips_its_replies_runs_into_the_deadline() {
    let server = ScriptServer::tcp(
        "
        S: +OK ready
        C: CAPA
        S: -ERR
        C: USER alice
        S: +OK
        C: *
        S: +OK
        !drip 30
        C: *
        S: +OK one octet every thirty milliseconds is more than a hundred octets in more than three seconds, too slow
    ",
    );
    impatient(Account::on(server.port));
}

#[test]
fn a_handshake_that_never_comes_runs_into_the_deadline() {
    // The kernel takes the connection, and nobody ever answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    impatient(implicit_tls(listener.local_addr().unwrap().port())).says(&["handshake"]);
}

#[test]
fn a_port_where_nobody_listens_is_for_later() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fetch(Account::on(port)).exits(75).says(&["127.0.0.1", "refused"]);
}

#[test]
fn a_server_that_hangs_up_is_named_with_what_was_awaited() {
    let server = ScriptServer::tcp("!close");
    fetch(Account::on(server.port)).exits(75).says(&["closed", "greeting"]);
    server.finish();
}

#[test]
fn a_tls_connection_that_is_cut_is_like_any_other() {
    let authority = Authority::new("ours");
    let script = "!drip 1\nS: +OK one octet in each record\nC: CAPA\nS: +OK\n!close";
    let server = ScriptServer::tls(script, authority.good().server_config());
    fetch_trusting(&authority, implicit_tls(server.port)).exits(75).says(&["closed", "CAPA"]);
    server.finish();
}

// Several accounts

#[test]
fn one_accounts_failure_never_stops_another() {
    let (good, bad) = (server(mails(2)).start(), server(mails(2)).answer("AUTH", "-ERR [AUTH] no").start());
    let sandbox = Sandbox::new();
    let accounts = [Account::on(bad.port).named("bad"), Account::on(good.port).named("good")];
    sandbox.config(&accounts.map(|account| account.to_string()).concat());
    sandbox.popfetch(["-q"]).exits(77).says(&["bad"]);
    assert_eq!(sandbox.maildir().messages().len(), 2);
}

#[test]
fn only_the_accounts_that_are_named_are_fetched() {
    let (one, two) = (server(mails(1)).start(), server(mails(1)).start());
    let sandbox = Sandbox::new();
    let accounts = [Account::on(one.port).named("one"), Account::on(two.port).named("two").set("enabled", false)];
    sandbox.config(&accounts.map(|account| account.to_string()).concat());
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!((one.connections(), two.connections()), (1, 0));
    sandbox.popfetch(["-q", "two"]).exits(0);
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[test]
fn of_many_refusals_three_are_shown_and_all_are_in_json() {
    for (command, key) in [("DELE", "undeleted"), ("RETR", "refused")] {
        let server = server(mails(500)).answer(command, "-ERR [SYS/TEMP] not 12 now").start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
        let run = sandbox.popfetch(["-q"]).exits(75);
        assert_eq!(run.stderr.matches("[SYS/TEMP] not 12 now").count(), 3, "{command}: {run:#?}");
        assert_eq!(run.stderr.matches("… and 497 more like these\n").count(), 1, "{command}: {run:#?}");
        let again = server.count(command);
        let report = sandbox.popfetch(["-q", "--json"]).exits(75);
        assert_eq!(server.count(command), 2 * again);
        let account = report.account();
        let refused = account[key].as_array().unwrap();
        assert_eq!((refused.len(), refused[0]["number"].as_u64()), (500, Some(1)), "{command}");
        assert!(refused[0]["reason"].as_str().unwrap().contains("not 12 now"), "{command}: {}", refused[0]);
    }
}
