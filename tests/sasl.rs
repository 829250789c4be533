//! AUTH as the server sees it, for every mechanism: what is sent, in which form, what is refused, what is never seen.
//!
//! SCRAM needs a server that calculates; here it meets the ones that do it wrong, and in `interop` a real one.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::sandbox::{Account, CANARY, Run, Sandbox, USER, mails, server};
use crate::server::{Authority, ScriptServer};

/// Plays what comes behind the reply to CAPA, which announces these mechanisms, to a run of this account.
#[track_caller]
fn login(account: impl FnOnce(Account) -> Account, mechanisms: &str, script: &str) -> Run {
    let opening = format!("S: +OK ready\nC: CAPA\nS: +OK\nS: SASL {mechanisms}\nS: .\n");
    let server = ScriptServer::tcp(&(opening + script));
    let run = Sandbox::with(account(Account::on(server.port))).popfetch(["-q"]);
    server.finish();
    run
}

fn auth(name: &str) -> impl FnOnce(Account) -> Account {
    let value = format!("{name:?}");
    move |account| account.set("auth", value)
}

fn base64(octets: impl AsRef<[u8]>) -> String {
    BASE64.encode(octets)
}

// The forms

#[test]
fn what_the_client_says_first_goes_with_the_command() {
    let plain = base64(format!("\0{USER}\0{CANARY}"));
    let script = format!("C: AUTH PLAIN {plain}\nS: -ERR [AUTH] no");
    login(auth("plain"), "PLAIN", &script).exits(77);
    let bearer = base64(format!("n,a={USER},\x01auth=Bearer {CANARY}\x01\x01"));
    login(auth("oauthbearer"), "OAUTHBEARER", &format!("C: AUTH OAUTHBEARER {bearer}\nS: -ERR no")).exits(77);
}

#[test]
fn what_does_not_fit_in_a_line_goes_behind_it() {
    // 255 octets hold `AUTH PLAIN `, CRLF and 242 of base64, which is 180 of anything.
    for (octets, is_inline) in [(180, true), (181, false)] {
        let password = "x".repeat(octets - USER.len() - 2);
        let plain = base64(format!("\0{USER}\0{password}"));
        let script = match is_inline {
            true => format!("C: AUTH PLAIN {plain}\nS: -ERR no"),
            false => format!("C: AUTH PLAIN\nS: + \nC: {plain}\nS: -ERR no"),
        };
        login(|account| auth("plain")(account).set("password", format!("{password:?}")), "PLAIN", &script).exits(77);
    }
}

#[test]
fn login_answers_both_challenges() {
    let (user, password) = (base64(USER), base64(CANARY));
    let script =
        format!("C: AUTH LOGIN\nS: + VXNlcm5hbWU6\nC: {user}\nS: + UGFzc3dvcmQ6\nC: {password}\nS: -ERR [AUTH] no");
    login(auth("login"), "LOGIN", &script).exits(77);
}

#[test]
fn cram_md5_sends_a_digest() {
    // RFC 2195 §2.
    let challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
    let response = "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw";
    let tim =
        |account: Account| auth("cram-md5")(account).set("user", "\"tim\"").set("password", "\"tanstaaftanstaaf\"");
    let script = format!("C: AUTH CRAM-MD5\nS: + {challenge}\nC: {response}\nS: -ERR [AUTH] no");
    login(tim, "CRAM-MD5", &script).exits(77).says(&["refused the login of `tim`"]);
}

#[test]
fn external_asks_nobody_for_a_password() {
    let script = format!("C: AUTH EXTERNAL {}\nS: -ERR [AUTH] no", base64(USER));
    let account = |account: Account| auth("external")(account).without("password");
    login(account, "EXTERNAL", &script).exits(77).says(&["certificate"]);
}

#[test]
fn xoauth2_takes_two_lines_and_its_error_is_shown_in_words() {
    let token = base64(format!("user={USER}\x01auth=Bearer {CANARY}\x01\x01"));
    let error = base64(r#"{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}"#);
    let script = format!("C: AUTH XOAUTH2\nS: + \nC: {token}\nS: + {error}\nC: \nS: -ERR [AUTH] Invalid credentials");
    login(auth("xoauth2"), "PLAIN XOAUTH2", &script).exits(77).says(&[
        "[AUTH] Invalid credentials",
        "the token has expired, was revoked",
        "https://mail.google.com/",
        "hint: get a fresh token",
    ]);
}

#[test]
fn oauthbearer_ends_a_failed_exchange_with_a_control_a() {
    let bearer = base64(format!("n,a={USER},\x01auth=Bearer {CANARY}\x01\x01"));
    let error = base64(r#"{"status":"insufficient_scope","scope":"pop"}"#);
    let script = format!("C: AUTH OAUTHBEARER {bearer}\nS: + {error}\nC: AQ==\nS: -ERR no");
    let words = ["does not allow POP3", "for the scope `pop`"];
    login(auth("oauthbearer"), "OAUTHBEARER", &script).exits(77).says(&words);
}

#[test]
fn a_challenge_that_is_none_or_one_too_many_is_cancelled() {
    let plain = base64(format!("\0{USER}\0{CANARY}"));
    let script = format!("C: AUTH PLAIN {plain}\nS: + bW9yZQ==\nC: *\nS: -ERR cancelled");
    login(auth("plain"), "PLAIN", &script).exits(76).says(&["PLAIN", "nothing more is due"]);
    let script = "C: AUTH CRAM-MD5\nS: + <not base64>\nC: *\nS: -ERR cancelled";
    login(auth("cram-md5"), "CRAM-MD5", script).exits(76).says(&["CRAM-MD5", "base64"]);
}

#[test]
fn a_server_that_hangs_up_on_a_cancelled_exchange_changes_nothing() {
    let script = "C: AUTH CRAM-MD5\nS: + ?\nC: *\n!close";
    login(auth("cram-md5"), "CRAM-MD5", script).exits(76).says(&["base64"]);
}

// Which one

#[test]
fn a_mechanism_that_is_not_announced_is_not_tried() {
    let run = login(auth("scram-sha-256"), "PLAIN LOGIN", "");
    run.exits(69).says(&["SCRAM-SHA-256", "PLAIN, LOGIN", "no secret was sent"]);
}

#[test]
fn a_password_is_not_sent_to_a_server_that_takes_only_tokens() {
    let run = login(|account| account, "XOAUTH2", "").exits(69);
    run.says(&["XOAUTH2", "no secret was sent", "`oauth2`", "`popfetch login ACCOUNT`", "`token_command`"]);
}

#[test]
fn in_clear_a_digest_is_preferred_and_nothing_weaker_tried_after_a_refusal() {
    // RFC 2195's challenge, and any response.
    let script = "C: AUTH CRAM-MD5\nS: + PGFAYj4=\nC: *\nS: -ERR [AUTH] no\n!close";
    login(|account| account, "PLAIN LOGIN CRAM-MD5", script).exits(77).says(&["by CRAM-MD5", "`auth = "]);
}

#[test]
fn under_tls_plain_in_one_round_trip_is_preferred_to_a_digest() {
    let authority = Authority::new("ours");
    let server = server(mails(1))
        .capabilities(&["UIDL", "PIPELINING", "USER", "SASL PLAIN LOGIN CRAM-MD5"])
        .greeting("ready <1896.697170952@dbc.mtview.ca.us>")
        .implicit_tls(authority.good().server_config())
        .start();
    let account = Account::on(server.port).set("tls", "\"implicit\"").set("tls_ca_file", "\"~/ca.pem\"");
    let sandbox = Sandbox::with(account);
    sandbox.file("ca.pem", &authority.pem);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let commands = server.commands(1);
    assert!(commands[0] == "CAPA" && commands[1].starts_with("AUTH PLAIN ") && commands[2] == "STAT", "{commands:#?}");
}

#[test]
fn a_password_in_clear_is_warned_of_unless_it_is_asked_for_or_stays_here() {
    let warns = |host: &str, auth: &str| {
        let server = server(mails(1)).start();
        let account = Account::on(server.port).set("server", format!("{host:?}")).set("auth", format!("{auth:?}"));
        let run = Sandbox::with(account).popfetch(["-q"]).exits(0);
        run.stderr.contains("in clear")
    };
    // Every address of this machine is reached, and none is named.
    assert!(warns("0.0.0.0", "auto"));
    assert!(!warns("0.0.0.0", "plain"));
    assert!(!warns("127.0.0.1", "auto") && !warns("localhost", "auto"));
}

// SCRAM

/// A server that answers each line as it is told to; the conversation ends with the function's `None`.
struct Clerk {
    port: u16,
    thread: JoinHandle<Vec<String>>,
}

impl Clerk {
    fn start(mechanism: &str, mut answer: impl FnMut(&str) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let capabilities = format!("+OK\r\nSASL {mechanism}\r\n.");
        let thread = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
            let mut heard = vec![];
            let mut next = Some("+OK ready".to_owned());
            while let Some(reply) = next {
                socket.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
                let Some(Ok(line)) = lines.next() else { break };
                next = if line == "CAPA" { Some(capabilities.clone()) } else { answer(&line) };
                heard.push(line);
            }
            heard
        });
        Clerk { port, thread }
    }

    /// Every line that the client sent.
    fn heard(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

/// The nonce in `AUTH SCRAM-… <client-first>`.
fn nonce(line: &str) -> String {
    let first = String::from_utf8(BASE64.decode(line.rsplit(' ').next().unwrap()).unwrap()).unwrap();
    first.split_once(",r=").unwrap().1.to_owned()
}

/// A SCRAM server whose challenge is made of the client's nonce, and whose last word is this one.
fn scram(mechanism: &'static str, challenge: fn(&str) -> String, verdict: &'static str) -> Clerk {
    Clerk::start(mechanism, move |line| match line {
        "*" => Some("-ERR cancelled".into()),
        "" => Some("-ERR [AUTH] refused".into()),
        line if line.starts_with("AUTH ") => Some(format!("+ {}", base64(challenge(&nonce(line))))),
        _ => Some(verdict.into()),
    })
}

fn good(nonce: &str) -> String {
    format!("r={nonce}server,s=c2FsdA==,i=4096")
}

/// Runs against a server of this kind, which must be given up with `*` or at once, and told so.
#[track_caller]
fn gives_up(server: Clerk, mechanism: &str, words: &[&str]) -> Vec<String> {
    let account = auth(mechanism)(Account::on(server.port));
    Sandbox::with(account).popfetch(["-q"]).exits(76).says(words).says(&["nothing was delivered"]);
    server.heard()
}

#[test]
fn a_server_that_cannot_prove_that_it_knows_the_password_is_left() {
    for (name, mechanism) in [("SCRAM-SHA-1", "scram-sha-1"), ("SCRAM-SHA-256", "scram-sha-256")] {
        let verdict = "+ dj1BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE9";
        let heard = gives_up(scram(name, good, verdict), mechanism, &["proof is wrong", "may not be your provider"]);
        assert_eq!(heard.last().map(String::as_str), Some("*"));
        let heard = gives_up(scram(name, good, "+OK welcome"), mechanism, &["did not prove"]);
        assert_eq!(heard.len(), 3, "CAPA, AUTH, the proof, and nothing more: {heard:#?}");
    }
}

#[test]
fn a_nonce_that_is_not_ours_gets_no_proof() {
    let foreign: [fn(&str) -> String; 2] =
        [|_| "r=mine,s=c2FsdA==,i=4096".into(), |nonce| format!("r={nonce},s=c2FsdA==,i=4096")];
    for challenge in foreign {
        let heard = gives_up(scram("SCRAM-SHA-256", challenge, "+OK"), "scram-sha-256", &["nonce"]);
        assert_eq!(heard[2..], ["*"]);
    }
}

#[test]
fn an_absurd_count_of_iterations_is_neither_calculated_nor_answered() {
    let absurd: [fn(&str) -> String; 2] =
        [|nonce| format!("r={nonce}x,s=c2FsdA==,i=4294967295"), |nonce| format!("r={nonce}x,s=c2FsdA==,i=1")];
    for challenge in absurd {
        let heard = gives_up(scram("SCRAM-SHA-1", challenge, "+OK"), "scram-sha-1", &["iterations"]);
        assert_eq!(heard[2..], ["*"]);
    }
}

#[test]
fn a_servers_reason_is_told_with_its_refusal() {
    let server = scram("SCRAM-SHA-256", good, "+ ZT1pbnZhbGlkLXByb29m");
    let run = Sandbox::with(Account::on(server.port)).popfetch(["-q"]);
    run.exits(77).says(&["[AUTH] refused", "by SCRAM-SHA-256", "`invalid-proof`", "`auth = \"user\"`"]);
    server.heard();
}

#[test]
fn scram_plus_is_not_begun_without_tls() {
    let server = scram("SCRAM-SHA-256-PLUS", good, "+OK");
    let run = Sandbox::with(auth("scram-sha-256-plus")(Account::on(server.port))).popfetch(["-q"]);
    run.exits(69).says(&["channel binding", "TLS"]);
    assert_eq!(server.heard(), ["CAPA"]);
}

// What is never seen

#[test]
fn a_digest_that_a_refusal_repeats_is_not_shown() {
    // RFC 1939 §7.
    let digest = "c4c9334bac560ecc979e58001b3e22fb";
    let script = format!(
        "S: +OK ready <1896.697170952@dbc.mtview.ca.us>\nC: CAPA\nS: -ERR\nC: APOP mrose {digest}\nS: -ERR not {digest}"
    );
    let server = ScriptServer::tcp(&script);
    let account = Account::on(server.port).set("user", "\"mrose\"").set("password", "\"tanstaaf\"");
    let run = Sandbox::with(account).popfetch(["-vv"]).exits(77).says(&["not ****"]);
    assert!(!run.stderr.contains(digest), "{run:#?}");
    server.finish();
}

#[test]
fn a_long_token_that_a_refusal_repeats_is_not_shown_in_part() {
    let token = "x".repeat(700);
    let error = base64(format!(r#"{{"status":"token {token}"}}"#));
    let opening = "S: +OK ready\nC: CAPA\nS: -ERR\nC: AUTH XOAUTH2\nS: +\nC: *\n";
    let server = ScriptServer::tcp(&format!("{opening}S: + {error}\nC: \nS: -ERR wrong: {token}"));
    let account = auth("xoauth2")(Account::on(server.port)).set("password", format!("{token:?}"));
    let run = Sandbox::with(account).popfetch(["-vv"]).exits(77).says(&["wrong: ****", "token ****"]);
    assert!(!run.stderr.contains("xxxx"), "{run:#?}");
    server.finish();
}

#[test]
fn no_line_of_an_exchange_is_in_a_trace_even_when_the_server_repeats_it() {
    let mechanisms =
        ["plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "external", "xoauth2", "oauthbearer"];
    for mechanism in mechanisms {
        let server = Clerk::start(&mechanism.to_uppercase(), |line| {
            let last = line.rsplit(' ').next().unwrap();
            match line {
                "*" => None,
                "AUTH CRAM-MD5" | "AUTH LOGIN" => Some("+ PGFAYj4=".into()),
                "AUTH XOAUTH2" => Some("+ ".into()),
                _ if line.starts_with("AUTH SCRAM") => Some(format!("+ {}", base64(good(&nonce(line))))),
                _ if line == base64(USER) => Some("+ PGFAYj4=".into()),
                _ => Some(format!("-ERR [AUTH] you said {last}")),
            }
        });
        let run = Sandbox::with(auth(mechanism)(Account::on(server.port))).popfetch(["-vv"]).exits(77);
        let run = run.says(&[&format!("C: AUTH {}", mechanism.to_uppercase()), "you said ****"]);
        let heard = server.heard();
        let said = heard.iter().skip(1).filter_map(|line| line.rsplit(' ').next());
        for secret in said.filter(|word| word.len() > 16) {
            assert!(!run.stderr.contains(secret), "{mechanism}: {secret} is in\n{}", run.stderr);
        }
        assert!(!run.stderr.contains("PGFAYj4="), "{mechanism}: a challenge is shown");
    }
}
