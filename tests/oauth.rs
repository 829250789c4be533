//! OAuth 2.0: what `popfetch login` does, what fetch does with the tokens, and what is said when there are none.
//!
//! First an endpoint with a script, for everything that goes wrong; then a real authorization server
//! (`authorization_server.py`).
//! The mail server takes tokens as passwords here: how a token is sent is the sessions' matter.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use popfetch::config::{self, Flags, Source};
use popfetch::secret;
use popfetch::stop::Stop;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::prompts::OnTerminal;
use crate::sandbox::{Account, PYTHON, Run, Sandbox, USER, left_out, mails, python_has, server, wait_until};
use crate::server::{Answer, Endpoint, Form, Maildrop};

/// Secrets of these tests; none may be seen in what a run prints.
const REFRESH: &str = "kanarinac-refresh-1";
const ROTATED: &str = "kanarinac-refresh-2";
const ACCESS: &str = "kanarinac-access-1";
const FRESH: &str = "kanarinac-access-2";
const CLIENT: &str = "kanarinac-klijenta";

const LONG_AGO: u64 = 1;
const NEVER: u64 = 1 << 40;

/// An account of the mail server whose tokens come from that endpoint.
fn account(port: u16, endpoint: &str, rest: &str) -> Account {
    let oauth2 = format!(
        "{{ client_id = \"popfetch\", client_secret = {CLIENT:?}, device_endpoint = \"{endpoint}/device\", \
         token_endpoint = \"{endpoint}/token\"{rest} }}"
    );
    Account::on(port).without("password").set("oauth2", oauth2).set("auth", "\"user\"")
}

/// Somebody has signed in, and there is an access token that is good until `expires_at`.
fn signed_in(sandbox: &Sandbox, port: u16, endpoint: &str, expires_at: u64) {
    let record = json!({
        "client_id": "popfetch", "token_endpoint": format!("{endpoint}/token"),
        "refresh_token": REFRESH, "access_token": ACCESS, "expires_at": expires_at,
    });
    sandbox.file(&tokens(port), record.to_string());
}

fn tokens(port: u16) -> String {
    format!(".local/state/popfetch/{USER}@127.0.0.1:{port}.oauth2.json")
}

fn stored(sandbox: &Sandbox, port: u16) -> Value {
    serde_json::from_slice(&fs::read(sandbox.path(tokens(port))).unwrap()).unwrap()
}

fn says(status: u16, body: Value) -> Answer {
    Answer::Says(status, body.to_string())
}

fn fresh() -> Answer {
    says(200, json!({ "access_token": FRESH, "refresh_token": ROTATED, "expires_in": 3600, "token_type": "Bearer" }))
}

fn refused(error: &str) -> Answer {
    // A server that repeats what it was told.
    let description = format!("{error}: {REFRESH} of {CLIENT} is \u{1b}[2J no good");
    says(400, json!({ "error": error, "error_description": description }))
}

/// The same during a sign-in, which knows no refresh token.
fn denied(error: &str) -> Answer {
    says(400, json!({ "error": error, "error_description": format!("kanarinac-uredaja of {CLIENT}") }))
}

#[track_caller]
fn assert_no_token(run: Run) -> Run {
    for secret in [REFRESH, ROTATED, ACCESS, FRESH, CLIENT] {
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{secret} is in {run:#?}");
    }
    run
}

/// Runs popfetch, with the wire shown, for an account whose access token has expired, against an endpoint.
#[track_caller]
fn refresh_against(script: impl IntoIterator<Item = Answer>) -> (Run, usize, Endpoint) {
    let mail = server(mails(1)).any_password().start();
    let endpoint = Endpoint::start(script);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), "").set("timeout", 2));
    signed_in(&sandbox, mail.port, &endpoint.url(), LONG_AGO);
    let run = assert_no_token(sandbox.popfetch(["-vv", "--json"]));
    (run, mail.connections(), endpoint)
}

#[test]
fn a_token_command_prints_the_token_in_its_first_line() {
    let mail = Maildrop::builder().user(USER, ACCESS, mails(1)).start();
    let command = format!("[\"/bin/sh\", \"-c\", \"echo {ACCESS}; echo more\"]");
    let account = Account::on(mail.port).without("password").set("token_command", command).set("auth", "\"user\"");
    assert_no_token(Sandbox::with(account).popfetch(["-q"])).exits(0).silently();
    let failing = Account::on(mail.port).without("password").set("token_command", "[\"/bin/sh\", \"-c\", \"exit 3\"]");
    Sandbox::with(failing).popfetch(["-q"]).exits(75).says(&["the token command `/bin/sh` ended with exit status 3"]);
}

#[test]
fn without_a_sign_in_nothing_is_connected_to() {
    let mail = server(mails(1)).start();
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    sandbox.popfetch(["-q"]).exits(77).says(&["nobody has signed in", "hint: run `popfetch login work`"]);
    assert_eq!((mail.connections(), endpoint.heard().len()), (0, 0));
}

#[test]
fn a_token_that_is_still_good_is_used_again() {
    let mail = Maildrop::builder().user(USER, ACCESS, mails(1)).start();
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    signed_in(&sandbox, mail.port, &endpoint.url(), NEVER);
    assert_no_token(sandbox.popfetch(["-q"])).exits(0).silently();
    assert_eq!((mail.count("RETR"), endpoint.heard().len()), (1, 0));
}

#[test]
fn an_expired_token_is_refreshed_once_and_the_rotated_token_kept() {
    let mail = Maildrop::builder().user(USER, FRESH, mails(1)).start();
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    signed_in(&sandbox, mail.port, &endpoint.url(), LONG_AGO);
    assert_no_token(sandbox.popfetch(["-vv"])).exits(0);
    sandbox.popfetch(["-q"]).exits(0);
    let [form] = &endpoint.heard()[..] else { panic!("one refresh: {:?}", endpoint.heard()) };
    let expected = [
        ("client_id", "popfetch"),
        ("client_secret", CLIENT),
        ("grant_type", "refresh_token"),
        ("refresh_token", REFRESH),
    ];
    assert_eq!(fields(form), expected);
    assert_eq!(stored(&sandbox, mail.port)["refresh_token"], ROTATED);
}

#[test]
fn a_refresh_without_rotation_keeps_the_old_refresh_token() {
    let mail = Maildrop::builder().user(USER, FRESH, mails(1)).start();
    let endpoint = Endpoint::start([says(200, json!({ "access_token": FRESH }))]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    signed_in(&sandbox, mail.port, &endpoint.url(), LONG_AGO);
    sandbox.popfetch(["-q"]).exits(0).silently();
    // Of unknown age, it is good for this run only.
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(endpoint.heard().len(), 2);
    assert_eq!(stored(&sandbox, mail.port)["refresh_token"], REFRESH);
}

#[test]
fn the_rotated_token_is_kept_before_the_new_access_token_is_used() {
    let endpoint = Endpoint::start([fresh()]);
    // Nobody listens there.
    let port = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let sandbox = Sandbox::with(account(port, &endpoint.url(), ""));
    signed_in(&sandbox, port, &endpoint.url(), LONG_AGO);
    assert_no_token(sandbox.popfetch(["-q"])).exits(75);
    let stored = stored(&sandbox, port);
    assert_eq!((&stored["refresh_token"], &stored["access_token"]), (&json!(ROTATED), &json!(FRESH)));
}

#[test]
fn a_refresh_that_cannot_be_stored_does_not_spend_the_old_token() {
    let mail = server(mails(1)).any_password().start();
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    signed_in(&sandbox, mail.port, &endpoint.url(), LONG_AGO);
    fs::create_dir(sandbox.path(tokens(mail.port) + ".new")).unwrap();
    sandbox.popfetch(["-q"]).exits(74).says(&["oauth2.json.new"]);
    assert_eq!((mail.connections(), endpoint.heard().len()), (0, 0));
}

#[test]
fn consent_that_is_gone_is_said_with_the_command_that_renews_it() {
    let (run, connections, endpoint) = refresh_against([refused("invalid_grant")]);
    run.exits(77).says(&[
        "work: the consent to fetch this mail has expired or was withdrawn",
        "invalid_grant: **** of **** is \\x1b[2J no good",
        "nothing was delivered or deleted",
        "hint: run `popfetch login work`",
    ]);
    assert_eq!((connections, endpoint.heard().len()), (0, 1));
}

#[test]
fn a_client_that_is_not_known_is_the_configurations_fault() {
    let (run, ..) = refresh_against([refused("invalid_client")]);
    run.exits(78).says(&["refused: `invalid_client`", "hint: check `client_id` and `client_secret`"]);
}

#[test]
fn a_server_in_trouble_is_tried_again_later() {
    for answer in [
        Answer::Says(500, "<html>oops</html>".into()),
        Answer::Says(503, json!({ "error": "temporarily_unavailable" }).to_string()),
        Answer::Says(429, String::new()),
        refused("temporarily_unavailable"),
        Answer::Hangs,
    ] {
        let (run, connections, _) = refresh_against([answer]);
        run.exits(75).says(&["/token`"]);
        assert_eq!(connections, 0);
    }
}

#[test]
fn an_endpoint_that_is_not_there_is_tried_again_later() {
    let mail = server(mails(1)).start();
    let sandbox = Sandbox::with(account(mail.port, "http://127.0.0.1:1", ""));
    signed_in(&sandbox, mail.port, "http://127.0.0.1:1", LONG_AGO);
    let run = assert_no_token(sandbox.popfetch(["-q"])).exits(75);
    run.says(&["cannot reach `http://127.0.0.1:1/token`: connection refused"]);
}

#[test]
fn an_answer_that_makes_no_sense_is_a_protocol_error() {
    for answer in [
        Answer::Says(200, "<html>log in to the hotel's network</html>".into()),
        Answer::Says(200, "{\"access_token\": ".into()),
        Answer::Says(200, "{}".into()),
        Answer::Says(200, json!({ "access_token": "a\r\nDELE 1" }).to_string()),
        Answer::Says(200, " ".repeat(100 << 10)),
        Answer::Says(404, "not here".into()),
    ] {
        let (run, connections, _) = refresh_against([answer]);
        run.exits(76).says(&["/token`"]);
        assert_eq!(connections, 0);
    }
}

#[test]
fn secrets_do_not_follow_a_redirect() {
    for status in [301, 302, 307, 308] {
        let (run, _, endpoint) = refresh_against([Answer::Says(status, String::new()), fresh()]);
        run.exits(76).says(&[&format!("HTTP status {status}")]);
        assert_eq!(endpoint.heard().len(), 1);
    }
}

#[test]
fn a_stop_ends_the_wait_for_a_token() {
    let mail = server(mails(1)).start();
    let endpoint = Endpoint::start([Answer::Hangs]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), "").set("timeout", "\"1h\""));
    signed_in(&sandbox, mail.port, &endpoint.url(), LONG_AGO);
    let running = sandbox.start(&mut sandbox.command(["-q"]));
    wait_until(|| endpoint.heard().len() == 1);
    running.signal(Signal::TERM);
    running.finish().exits(143);
    assert_eq!(stored(&sandbox, mail.port)["refresh_token"], REFRESH);
}

#[test]
fn a_token_that_the_mail_server_refuses_is_dropped_for_the_next_run() {
    let mail = Maildrop::builder().user(USER, FRESH, mails(1)).start();
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    signed_in(&sandbox, mail.port, &endpoint.url(), NEVER);
    let run = assert_no_token(sandbox.popfetch(["-q"])).exits(77);
    run.says(&["refused the login", "hint: the next run gets a new access token", "run `popfetch login work`"]);
    assert_eq!((mail.count("PASS"), endpoint.heard().len()), (1, 0), "one try a session");
    assert_eq!(stored(&sandbox, mail.port)["access_token"], Value::Null);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(mail.count("RETR"), 1);
}

#[test]
fn a_login_that_waits_for_another_session_does_not_drop_the_token() {
    let mail = server(mails(1)).any_password().start();
    mail.lock(USER);
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    signed_in(&sandbox, mail.port, &endpoint.url(), NEVER);
    sandbox.popfetch(["-q"]).exits(75);
    assert_eq!(stored(&sandbox, mail.port)["access_token"], ACCESS);
}

#[test]
fn many_who_need_a_token_at_once_refresh_it_once() {
    let endpoint = Endpoint::start([fresh(), refused("invalid_grant")]);
    let sandbox = Sandbox::new();
    let file = sandbox.config(&account(110, &endpoint.url(), "").to_string());
    sandbox.file(
        &format!(".local/state/popfetch/{USER}@127.0.0.1.oauth2.json"),
        json!({
            "client_id": "popfetch", "token_endpoint": format!("{}/token", endpoint.url()), "refresh_token": REFRESH
        })
        .to_string(),
    );
    let accounts = config::accounts(&[Source::Path(file)], &Flags::default(), &[]).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let stop = Stop::new().unwrap();
                let token =
                    secret::find(&secret::Login::from(&accounts[0]), &sandbox.state(), &stop, &|_, ask| ask()).unwrap();
                assert_eq!(token.reveal(), FRESH);
            });
        }
    });
    assert_eq!(endpoint.heard().len(), 1);
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    let mail = server(mails(1)).any_password().start();
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    signed_in(&sandbox, mail.port, &endpoint.url(), NEVER);
    sandbox.mode(&tokens(mail.port), 0o644);
    sandbox.popfetch(["-q"]).exits(78).says(&["holds tokens but is open to others (mode 0644)", "chmod 600"]);
    sandbox.mode(".config/popfetch/config.toml", 0o644);
    sandbox.popfetch(["-q"]).exits(78).says(&["config.toml", "chmod 600"]);
    assert_eq!((mail.connections(), endpoint.heard().len()), (0, 0));
}

#[test]
fn tokens_of_another_client_or_provider_are_not_shown_to_this_one() {
    let mail = server(mails(1)).any_password().start();
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    signed_in(&sandbox, mail.port, "https://elsewhere.example", LONG_AGO);
    sandbox.popfetch(["-q"]).exits(77).says(&["another `client_id` or `token_endpoint`", "popfetch login work"]);
    assert_eq!(endpoint.heard().len(), 0);
}

#[test]
fn a_damaged_file_of_tokens_is_said_and_a_new_sign_in_mends_it() {
    let mail = Maildrop::builder().user(USER, FRESH, mails(1)).start();
    let endpoint = Endpoint::start([device(1), fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    sandbox.file(&tokens(mail.port), "{ half");
    sandbox.popfetch(["-q"]).exits(65).says(&["makes no sense", "popfetch login work"]);
    assert_no_token(sandbox.popfetch(["login", "work"])).exits(0);
    sandbox.popfetch(["-q"]).exits(0).silently();
}

// Signing in, against the script.

fn device(interval: u64) -> Answer {
    says(
        200,
        json!({
            "device_code": "kanarinac-uredaja", "user_code": "WDJB-MJHT", "verification_uri": "https://a.example/device",
            "verification_uri_complete": "https://a.example/device?user_code=WDJB-MJHT", "expires_in": 600,
            "interval": interval,
        }),
    )
}

fn sign_in(script: impl IntoIterator<Item = Answer>) -> (Run, Endpoint) {
    let endpoint = Endpoint::start(script);
    let mail = server(mails(2)).any_password().start();
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ", scope = \"mail offline_access\""));
    let run = assert_no_token(sandbox.popfetch(["login", "work"]));
    assert!(!run.stderr.contains("kanarinac-uredaja"), "{run:#?}");
    assert!(run.stdout.is_empty(), "{run:#?}");
    (run, endpoint)
}

#[test]
fn a_sign_in_with_a_code_shows_it_and_waits_until_it_was_typed_in() {
    let (run, endpoint) = sign_in([device(1), denied("authorization_pending"), fresh()]);
    run.exits(0).says(&[
        "popfetch: work: open https://a.example/device\n",
        "popfetch: work: and type in the code WDJB-MJHT\n",
        "popfetch: work: or open https://a.example/device?user_code=WDJB-MJHT\n",
        "popfetch: work: signed in, and `127.0.0.1:",
        "takes it (2 messages); `popfetch work` works now without asking\n",
    ]);
    let heard = endpoint.heard();
    assert_eq!(heard.len(), 3);
    let client = [("client_id", "popfetch"), ("client_secret", CLIENT)];
    assert_eq!(fields(&heard[0]), [&client[..], &[("scope", "mail offline_access")]].concat());
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
    assert_eq!(fields(&heard[2]), [&client[..], &[("device_code", "kanarinac-uredaja"), grant]].concat());
}

fn fields(form: &Form) -> Vec<(&str, &str)> {
    form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn a_sign_in_by_a_browser_exchanges_its_code_with_proof_that_it_asked_for_it() {
    let mail = server(mails(2)).any_password().start();
    let endpoint = Endpoint::start([fresh()]);
    let flow =
        format!(", scope = \"mail\", flow = \"redirect\", authorization_endpoint = \"{}/auth?x=1\"", endpoint.url());
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), &flow));
    let login = Login::start(&sandbox);
    let address = login.address();
    let (_, query) = address.split_once("/auth?").unwrap();
    let asked: Form = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let names: Vec<_> = asked.keys().map(String::as_str).collect();
    let expected = "client_id code_challenge code_challenge_method login_hint redirect_uri response_type scope state x";
    assert_eq!(names.join(" "), expected);
    assert_eq!((asked["code_challenge_method"].as_str(), asked["response_type"].as_str()), ("S256", "code"));
    assert_eq!((asked["login_hint"].as_str(), asked["scope"].as_str()), (USER, "mail"));
    let redirect_uri = &asked["redirect_uri"];
    let back = format!("{redirect_uri}/?code=kanarinac-kod&state={}", asked["state"]);
    assert!(ureq::get(back).call().unwrap().body_mut().read_to_string().unwrap().contains("You can close this page"));
    let (status, said) = login.finish();
    assert_eq!(status, Some(0), "{said}");
    let heard = endpoint.heard();
    let [form] = &heard[..] else { panic!("one exchange: {heard:?}") };
    let verifier = &form["code_verifier"];
    assert_eq!(BASE64URL.encode(sha2::Sha256::digest(verifier)), asked["code_challenge"]);
    let expected = [
        ("client_id", "popfetch"),
        ("client_secret", CLIENT),
        ("code", "kanarinac-kod"),
        ("code_verifier", verifier),
        ("grant_type", "authorization_code"),
        ("redirect_uri", redirect_uri),
    ];
    assert_eq!(fields(form), expected);
    for secret in [CLIENT, verifier, "kanarinac-kod", ROTATED, FRESH] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[test]
fn a_sign_in_that_is_refused_or_too_late_says_so() {
    sign_in([device(1), denied("access_denied")]).0.exits(77).says(&[
        "access_denied",
        "hint: the sign-in was declined, by you or by a rule of your administrator",
        "popfetch login work",
    ]);
    let (run, _) = sign_in([device(1), denied("expired_token")]);
    run.exits(75).says(&["not finished within 10 min", "hint: run `popfetch login work` again"]);
    sign_in([says(400, json!({ "error": "invalid_scope" }))])
        .0
        .exits(78)
        .says(&["invalid_scope", "hint: check `scope`"]);
    sign_in([Answer::Says(200, "{}".into())]).0.exits(76).says(&["has no code to type in"]);
    let no_refresh_token = says(200, json!({ "access_token": FRESH, "expires_in": 3600 }));
    sign_in([device(1), no_refresh_token]).0.exits(78).says(&["no refresh token", "offline_access"]);
}

#[test]
fn a_sign_in_wants_an_account_with_oauth2() {
    let sandbox = Sandbox::with(Account::on(1));
    sandbox.popfetch(["login", "work"]).exits(78).says(&["work: it has no `oauth2`", "hint: write `oauth2 ="]);
    sandbox.popfetch(["login", "wrk"]).exits(78).says(&["did you mean `work`?"]);
    for command in ["login", "logout"] {
        sandbox.popfetch([command]).exits(64).says(&["no account has `oauth2`"]);
    }
}

#[test]
fn the_only_account_with_oauth2_needs_no_name() {
    let mail = server(mails(2)).any_password().start();
    let endpoint = Endpoint::start([device(1), fresh()]);
    let with = |name: &str| account(mail.port, &endpoint.url(), "").named(name).set("user", format!("{name:?}"));
    let sandbox = Sandbox::new();
    sandbox.config(&format!("{}{}", Account::on(mail.port).named("other").set("user", "\"otto\""), with("alice")));
    sandbox.popfetch(["login"]).exits(0).says(&["popfetch: alice: signed in, and"]);
    sandbox.popfetch(["logout"]).exits(0).says(&["popfetch: alice: signed out here"]);
    sandbox.config(&format!("{}{}", with("bob"), with("alice")));
    for command in ["login", "logout"] {
        let run = sandbox.popfetch([command, "--json"]).exits(64);
        run.says(&["several accounts have `oauth2`; name one of them: bob, alice"]);
    }
    assert_eq!(endpoint.heard().len(), 2);
}

#[test]
fn a_login_at_the_mail_server_is_tried_after_a_sign_in_and_its_failure_told() {
    for (code, said) in [(77, "refused the login of `alice`"), (75, "connection refused")] {
        let mail = Maildrop::builder().user(USER, "another", mails(1)).start();
        let port = if code == 77 { mail.port } else { 1 };
        let endpoint = Endpoint::start([device(1), fresh()]);
        let sandbox = Sandbox::with(account(port, &endpoint.url(), ""));
        let run = assert_no_token(sandbox.popfetch(["login", "work", "--json"])).exits(code);
        assert_eq!(run.account()["status"], code);
        run.says(&["signed in, and the tokens are kept, but a login at the mail server failed:\n", said]);
        assert_eq!(stored(&sandbox, port)["refresh_token"], ROTATED);
        assert_eq!(mail.count("RETR"), 0);
    }
}

// Signing out

/// An account that somebody has signed in to, whose provider revokes tokens by this endpoint.
fn signed_in_with(endpoint: &Endpoint) -> Sandbox {
    let url = endpoint.url();
    let sandbox = Sandbox::with(account(1, &url, &format!(", revocation_endpoint = \"{url}/revoke\"")));
    signed_in(&sandbox, 1, &url, NEVER);
    sandbox
}

#[track_caller]
fn sign_out(sandbox: &Sandbox) -> Run {
    let run = assert_no_token(sandbox.popfetch(["logout", "work", "-vv"]));
    assert!(!sandbox.path(tokens(1)).exists(), "the tokens are still there: {run:#?}");
    run
}

#[test]
fn a_sign_out_revokes_the_refresh_token_and_removes_it() {
    // RFC 7009 §2.2: only the status counts.
    for body in ["", "{}"] {
        let endpoint = Endpoint::start([Answer::Says(200, body.into())]);
        let sandbox = signed_in_with(&endpoint);
        sign_out(&sandbox)
            .exits(0)
            .says(&["work: signed out: the tokens are removed, and the provider takes them no longer"]);
        let [form] = &endpoint.heard()[..] else { panic!("one revocation: {:?}", endpoint.heard()) };
        let expected = [
            ("client_id", "popfetch"),
            ("client_secret", CLIENT),
            ("token", REFRESH),
            ("token_type_hint", "refresh_token"),
        ];
        assert_eq!(fields(form), expected);
        sandbox.popfetch(["-q"]).exits(77).says(&["nobody has signed in"]);
        sign_out(&sandbox).exits(0).says(&["nobody is signed in: there is no token to remove"]);
        assert_eq!(endpoint.heard().len(), 1);
    }
}

#[test]
fn a_sign_out_of_a_state_that_is_not_there_makes_none() {
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(1, &endpoint.url(), ""));
    sandbox.popfetch(["logout"]).exits(0).says(&["nobody is signed in"]);
    assert!(!sandbox.state().exists());
    Sandbox::with(Account::on(1)).popfetch(["logout", "work"]).exits(78).says(&["it has no `oauth2`"]);
}

#[test]
fn tokens_that_cannot_be_revoked_are_removed_all_the_same_and_that_is_said() {
    let error =
        |error: &str| says(400, json!({ "error": error, "error_description": format!("{REFRESH} of {CLIENT}") }));
    for (answer, code, said) in [
        (error("invalid_client"), 78, "refused: `invalid_client` (**** of ****)"),
        (error("unsupported_token_type"), 78, "refused: `unsupported_token_type`"),
        (Answer::Says(503, String::new()), 75, "answered with HTTP status 503"),
        (Answer::Says(404, "<html>".into()), 76, "answered with HTTP status 404"),
    ] {
        let endpoint = Endpoint::start([answer]);
        let sandbox = signed_in_with(&endpoint);
        let run = sign_out(&sandbox).exits(code);
        let removed = "work: signed out here: the tokens are removed, but could not be revoked: ";
        run.says(&[removed, said, "hint: withdraw the consent in the settings of the provider"]);
    }
    // What is good for nothing any more has been revoked.
    let endpoint = Endpoint::start([error("invalid_token")]);
    sign_out(&signed_in_with(&endpoint)).exits(0).says(&["the provider takes them no longer"]);
}

#[test]
fn an_endpoint_that_is_down_does_not_keep_the_tokens_here() {
    let nobody = "http://127.0.0.1:1";
    let sandbox = Sandbox::with(account(1, nobody, ", revocation_endpoint = \"http://127.0.0.1:1/revoke\""));
    signed_in(&sandbox, 1, nobody, NEVER);
    sign_out(&sandbox).exits(75).says(&["the tokens are removed", "cannot reach `http://127.0.0.1:1/revoke`"]);
}

#[test]
fn without_an_endpoint_that_revokes_it_is_said_how_the_consent_is_withdrawn() {
    let endpoint = Endpoint::start([fresh()]);
    let sandbox = Sandbox::with(account(1, &endpoint.url(), ""));
    signed_in(&sandbox, 1, &endpoint.url(), NEVER);
    let run = sign_out(&sandbox).exits(0);
    run.says(&["the tokens are removed, but the provider still takes them: withdraw the consent in the settings"]);
    assert_eq!(endpoint.heard().len(), 0);
}

#[test]
fn tokens_that_are_damaged_exposed_or_of_another_client_are_removed_and_shown_to_nobody() {
    let endpoint = Endpoint::start([fresh()]);
    for (prepare, said) in [
        ((|sandbox| drop(sandbox.file(&tokens(1), "{ half"))) as fn(&Sandbox), "makes no sense"),
        (|sandbox| sandbox.mode(&tokens(1), 0o644), "holds tokens but is open to others"),
        (|sandbox| signed_in(sandbox, 1, "https://elsewhere.example", NEVER), "another `client_id`"),
    ] {
        let sandbox = signed_in_with(&endpoint);
        prepare(&sandbox);
        let run = sign_out(&sandbox).says(&["the tokens are removed, but could not be revoked", said]);
        assert!(run.code() != 0 && !run.stderr.contains("popfetch login"), "{run:#?}");
    }
    assert_eq!(endpoint.heard().len(), 0);
}

#[test]
fn tokens_that_cannot_be_removed_are_a_failure() {
    let endpoint = Endpoint::start([Answer::Says(200, String::new())]);
    let sandbox = signed_in_with(&endpoint);
    fs::remove_file(sandbox.path(tokens(1))).unwrap();
    fs::create_dir(sandbox.path(tokens(1))).unwrap();
    sandbox.popfetch(["logout"]).exits(74).says(&["cannot remove `"]);
}

// The browser

/// Signs in on a terminal with a display, where `xdg-open` is this script; what it was called with is in `~/opened`.
fn on_terminal(sandbox: &Sandbox, script: &str, display: &str) -> Option<OnTerminal> {
    let opener = sandbox.file("bin/xdg-open", format!("#!/bin/sh\n{script}\n"));
    sandbox.mode("bin/xdg-open", 0o755);
    let path = format!("{}:{}", opener.parent().unwrap().display(), std::env::var("PATH").unwrap());
    OnTerminal::within(300, &[("PATH", path), ("DISPLAY", display.into())], sandbox, &["login", "work"])
}

#[test]
#[cfg(not(target_vendor = "apple"))]
fn a_browser_is_opened_for_who_presses_enter() {
    let mail = server(mails(2)).any_password().start();
    let endpoint =
        Endpoint::start([device(1), denied("authorization_pending"), denied("authorization_pending"), fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    let opened = sandbox.path("opened");
    let Some(mut run) = on_terminal(&sandbox, &format!("echo \"$@\" >{}", opened.display()), ":0") else { return };
    run.wait_for(|shown| shown.contains("press Enter to open it in a browser"));
    assert!(!opened.exists());
    run.type_in("\n");
    let shown = run.exits(0);
    assert!(shown.contains("signed in, and"), "{shown}");
    wait_until(|| opened.exists());
    assert_eq!(fs::read_to_string(opened).unwrap(), "https://a.example/device?user_code=WDJB-MJHT\n");
}

#[test]
#[cfg(not(target_vendor = "apple"))]
fn a_browser_that_does_not_open_is_told_and_the_sign_in_goes_on() {
    let mail = server(mails(2)).any_password().start();
    let endpoint = Endpoint::start([device(5), fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    let Some(mut run) = on_terminal(&sandbox, "exit 3", ":0") else { return };
    run.wait_for(|shown| shown.contains("press Enter"));
    run.type_in("\n");
    run.wait_for(|shown| shown.contains("cannot open a browser: `xdg-open` ended with exit status: 3"));
    assert!(run.exits(0).contains("signed in, and"));
}

#[test]
fn a_browser_is_offered_only_where_there_is_a_display_and_an_address_of_the_web() {
    let mail = server(mails(2)).any_password().start();
    let odd =
        json!({ "device_code": "d", "user_code": "c", "verification_uri": "--help", "expires_in": 600, "interval": 1 });
    for (script, display) in [([device(1), fresh()], ""), ([says(200, odd), fresh()], ":0")] {
        let endpoint = Endpoint::start(script);
        let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
        let Some(run) = on_terminal(&sandbox, "exit 0", display) else { return };
        let shown = run.exits(0);
        assert!(shown.contains("signed in, and") && !shown.contains("press Enter"), "{shown}");
    }
    // Without a terminal neither.
    let endpoint = Endpoint::start([device(1), fresh()]);
    let sandbox = Sandbox::with(account(mail.port, &endpoint.url(), ""));
    let mut command = sandbox.command(["login"]);
    command.env("DISPLAY", ":0");
    assert!(!sandbox.run(command).exits(0).stderr.contains("press Enter"));
}

#[test]
fn a_stop_ends_a_sign_in() {
    let endpoint = Endpoint::start([device(600)]);
    let flows = ["".to_owned(), format!(", flow = \"redirect\", authorization_endpoint = \"{}/auth\"", endpoint.url())];
    for flow in flows {
        let sandbox = Sandbox::with(account(1, &endpoint.url(), &flow));
        let login = Login::start(&sandbox);
        login.address();
        kill_process(Pid::from_child(&login.child), Signal::INT).unwrap();
        assert_eq!(login.finish().0, Some(130));
    }
}

/// A sign-in that goes on, whose words are read while it does.
struct Login {
    child: Child,
    stderr: PathBuf,
}

impl Login {
    fn start(sandbox: &Sandbox) -> Self {
        let stderr = sandbox.path("login.stderr");
        let file = fs::File::create(&stderr).unwrap();
        let child = sandbox.listening(["login", "work"]).stderr(file).spawn().unwrap();
        Login { child, stderr }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// What the user is to open: the address with everything in it.
    fn address(&self) -> String {
        wait_until(|| self.said().contains("waiting for it"));
        let said = self.said();
        let mut words = said.split_whitespace().filter(|word| word.starts_with("http"));
        words.next_back().expect("there is something to open").to_owned()
    }

    /// The exit status, and what was said.
    fn finish(mut self) -> (Option<i32>, String) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.said());
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the sign-in did not end: {}", self.said());
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// A real authorization server.

/// Authlib's, in Debian's Python, where `tests/run` installs it.
struct Provider {
    child: Child,
    /// Held open: a server that cannot print any more ends.
    _stdout: BufReader<ChildStdout>,
    port: u16,
}

impl Provider {
    fn start() -> Option<Self> {
        if let Err(why) = python_has("authlib.integrations.flask_oauth2") {
            left_out("the real OAuth 2.0 server", &why);
            return None;
        }
        let program = include_str!("authorization_server.py");
        let mut command = Command::new(PYTHON);
        command.args(["-c", program]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the server prints its port");
        Some(Provider { child, _stdout: stdout, port })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn account(&self, port: u16, client: &str, flow: &str) -> Account {
        let url = self.url();
        let oauth2 = format!(
            "{{ {client}, flow = {flow:?}, scope = \"mail offline_access\", token_endpoint = \"{url}/token\", \
             device_endpoint = \"{url}/device_authorization\", \
             authorization_endpoint = \"{url}/authorize?prompt=consent\" }}"
        );
        Account::on(port).without("password").set("oauth2", oauth2).set("auth", "\"user\"")
    }

    /// What a user does in a browser: opens the address, and presses one of the two buttons of the page. The last page.
    fn browse(&self, address: &str, refuse: bool) -> String {
        let page = ureq::get(address).call().unwrap().body_mut().read_to_string().unwrap();
        assert!(page.contains("name=\"decision\""), "{page}");
        let decision = if refuse { "no" } else { "yes" };
        let mut reply = ureq::post(address).send_form([("decision", decision)]).unwrap();
        reply.body_mut().read_to_string().unwrap()
    }

    /// Signs in with a user who agrees, or not.
    fn sign_in(&self, sandbox: &Sandbox, refuse: bool) -> (Option<i32>, String) {
        let login = Login::start(sandbox);
        self.browse(&login.address(), refuse);
        login.finish()
    }

    /// What the server says about a token of the client `short`.
    fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let client = [("client_id", "short"), ("client_secret", CLIENT)];
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let form = client.into_iter().chain(form.iter().copied());
        let mut reply = config.new_agent().post(format!("{}{path}", self.url())).send_form(form).unwrap();
        serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SHORT: &str = "client_id = \"short\", client_secret = \"kanarinac-klijenta\"";
const PUBLIC: &str = "client_id = \"popfetch\"";

/// The tokens that the mail server was given, in order.
fn passwords(mail: &Maildrop) -> Vec<String> {
    let commands = (1..=mail.connections()).flat_map(|connection| mail.commands(connection));
    commands.filter_map(|command| command.strip_prefix("PASS ").map(str::to_owned)).collect()
}

#[test]
fn a_real_server_signs_in_refreshes_rotates_and_withdraws() {
    let Some(provider) = Provider::start() else { return };
    let mail = server(mails(2)).any_password().start();
    let sandbox = Sandbox::with(provider.account(mail.port, SHORT, "device"));
    let (status, said) = provider.sign_in(&sandbox, false);
    assert_eq!(status, Some(0), "{said}");
    let first = stored(&sandbox, mail.port);
    assert!(!said.contains(first["refresh_token"].as_str().unwrap()), "{said}");

    // Its access tokens are too short-lived to be used twice: each run refreshes, and each refresh rotates.
    sandbox.popfetch(["-q"]).exits(0).silently();
    let second = stored(&sandbox, mail.port);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let third = stored(&sandbox, mail.port);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_ne!(second["refresh_token"], third["refresh_token"]);
    // One for the login that was tried after the sign-in.
    let tokens = passwords(&mail);
    assert_eq!(tokens.len(), 3);
    for token in &tokens {
        assert_eq!(provider.post("/introspect", &[("token", token)])["active"], true);
    }

    // A refresh token that is used again is a stolen one: the server ends the grant.
    let stolen = second["refresh_token"].as_str().unwrap();
    let reply = provider.post("/token", &[("grant_type", "refresh_token"), ("refresh_token", stolen)]);
    assert_eq!(reply["error"], "invalid_grant");
    let run = sandbox.popfetch(["-vv"]).exits(77).says(&["consent", "hint: run `popfetch login work`"]);
    assert!(!run.stderr.contains(third["refresh_token"].as_str().unwrap()), "{run:#?}");
    assert_eq!(passwords(&mail).len(), 3, "nothing was tried with an old token");

    // And back.
    assert_eq!(provider.sign_in(&sandbox, false).0, Some(0));
    sandbox.popfetch(["-q"]).exits(0).silently();
}

#[test]
fn a_real_server_sends_the_browser_back_to_a_public_client() {
    let Some(provider) = Provider::start() else { return };
    let mail = server(mails(1)).any_password().start();
    let sandbox = Sandbox::with(provider.account(mail.port, PUBLIC, "redirect"));
    let login = Login::start(&sandbox);
    let page = provider.browse(&login.address(), false);
    assert!(page.contains("You can close this page"), "{page}");
    let (status, said) = login.finish();
    assert_eq!(status, Some(0), "{said}");
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    let tokens = passwords(&mail);
    assert!(tokens.len() == 3 && tokens[0] == tokens[1] && tokens[1] == tokens[2], "one token for its hour");
    let active = provider.post("/introspect", &[("token", &tokens[0])]);
    assert_eq!((&active["active"], &active["sub"]), (&json!(true), &json!("alice")));
}

#[test]
fn a_real_server_brings_the_users_no() {
    let Some(provider) = Provider::start() else { return };
    let device = Sandbox::with(provider.account(1, PUBLIC, "device"));
    let (status, said) = provider.sign_in(&device, true);
    assert!(status == Some(77) && said.contains("access_denied"), "{said}");
    let redirect = Sandbox::with(provider.account(1, PUBLIC, "redirect"));
    let (status, said) = provider.sign_in(&redirect, true);
    let words = "The resource owner or authorization server denied the request";
    assert!(status == Some(77) && said.contains("access_denied") && said.contains(words), "{said}");
}

#[test]
fn a_real_server_refuses_a_client_whose_secret_is_wrong() {
    let Some(provider) = Provider::start() else { return };
    let sandbox = Sandbox::with(provider.account(1, "client_id = \"short\", client_secret = \"wrong\"", "device"));
    sandbox.popfetch(["login", "work"]).exits(78).says(&["invalid_client", "check `client_id` and `client_secret`"]);
}
