//! Web applications that take mail: what arrives there, whose failure an answer is, and how often a message comes when
//! something breaks.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::faults::{Call, calls_of, can_trace, fail_at, kill_before};
use crate::sandbox::{Account, CANARY, Run, Sandbox, USER, left_out, mails, message, names, server, wait_until};
use crate::server::web::{Now, When, answer, status};
use crate::server::{Authority, Deed, Mail, Maildrop, Web};

/// An account that delivers to a named target.
fn config(server: &Maildrop, url: &str, keys: &str, keep: impl ToString) -> String {
    let account = Account::on(server.port).set("deliver", "\"there\"").set("keep", keep);
    format!("[targets.there]\ndeliver = \"{url}\"\n{keys}\n{account}")
}

fn sandbox(server: &Maildrop, web: &Web, keys: &str, keep: bool) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.config(&config(server, &web.url(), keys, keep));
    sandbox
}

/// The octets of messages of the server, sorted.
fn octets(mails: &[Mail]) -> Vec<Vec<u8>> {
    let mut octets: Vec<_> = mails.iter().map(|mail| mail.octets.clone()).collect();
    octets.sort();
    octets
}

/// Does this at the n-th moment of a kind.
fn at(when: When, nth: usize, deed: Deed) -> impl Fn(&Now) -> Option<Deed> {
    move |now| (now.when == when && now.of_kind == nth).then(|| deed.clone())
}

fn odd_mails() -> Vec<Mail> {
    let long = "x".repeat(5000);
    let big = format!("Subject: big\r\n\r\n{}", ".0123456789 0123456789\r\n".repeat(20_000));
    let texts = [
        "Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n\r\n".to_owned(),
        "Subject: one line\r\n".to_owned(),
        "\r\n".to_owned(),
        format!("Subject: long\r\n\r\n{long}\r\n"),
        "Subject: žuto\r\n\r\nžu\0to --popfetch-\r\n--popfetch\r\n".to_owned(),
        big,
    ];
    let mut mails: Vec<Mail> =
        texts.into_iter().enumerate().map(|(number, text)| Mail::new(format!("o{number}"), text)).collect();
    mails.push(Mail::new("latin", b"Subject: latin\r\n\r\n\xe9\xff\r\n".to_vec()));
    mails
}

/// Every way that a message can go.
const WAYS: [&str; 4] = [
    "",
    "in_flight = 3",
    "body = \"form:email\"\nform = { key = \"a&b\" }",
    "body = \"form-base64:email_encoded\"\nin_flight = 3",
];

#[test]
fn octets_arrive_as_they_were_on_the_server_whichever_way_they_go() {
    for keys in WAYS {
        let server = server(odd_mails()).start();
        let web = Web::builder().start();
        let sandbox = sandbox(&server, &web, keys, false);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(web.messages() == octets(&odd_mails()), "{keys}, {:?}", web.taken());
        assert_eq!(server.unique_ids(USER).len(), 0, "{keys}");
        let most = if keys.contains("in_flight") { 3 } else { 1 };
        assert!((1..=most).contains(&web.connections()), "{keys}: {}", web.connections());
        // Nothing new: nobody is called.
        let connections = web.connections();
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(web.connections(), connections);
    }
}

#[test]
fn a_form_has_its_fields_and_the_message_in_one_of_its_own() {
    let server = server(mails(1)).start();
    let web = Web::builder().start();
    let keys = "body = \"form:email\"\nform = { key = { file = \"~/key\" }, project = \"help desk\" }\nrequest_headers = \
                { X-Redmine-API-Key = { command = [\"echo\", \"abc\"] }, User-Agent = \"mine\" }";
    let sandbox = sandbox(&server, &web, keys, false);
    sandbox.file("key", "s3cret&=\n");
    sandbox.popfetch(["-q"]).exits(0).silently();
    let posted = &web.taken()[0];
    assert_eq!(posted.line, "POST /in HTTP/1.1");
    let expected = [("key", "s3cret&="), ("project", "help desk"), ("email", &message(1))];
    assert_eq!(posted.form(), expected.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())));
    assert_eq!((posted.field("x-redmine-api-key"), posted.field("user-agent")), ("abc", "mine"));
    assert_eq!(posted.field("host"), format!("127.0.0.1:{}", web.port));
}

#[test]
fn bare_line_ends_become_crlf() {
    let server = server([Mail::new("a", "Subject: x\r\n\r\na\nb\rc\r\r\n")]).start();
    let web = Web::builder().start();
    let run = sandbox(&server, &web, "", false).popfetch(["-v"]).exits(0);
    assert!(run.stderr.contains("2 bare CRs became CRLF on the way to `http://127.0.0.1:"), "{run:#?}");
    assert_eq!(web.messages(), [b"Subject: x\r\n\r\na\r\nb\r\nc\r\n".to_vec()]);
}

#[test]
fn a_key_is_the_same_each_time_and_no_two_messages_have_the_same() {
    let twins = [Mail::new("same", message(1)), Mail::new("same", message(1)), Mail::new("other", message(1))];
    let server = server(twins).start();
    let web = Web::builder().start();
    let sandbox = sandbox(&server, &web, "headers = [\"id\", \"delivered-to\"]\nrecipient = \"bob\"", true);
    sandbox.popfetch(["-q"]).exits(0);
    sandbox.popfetch(["-q", "--all"]).exits(0);
    let keys: Vec<String> = web.taken().iter().map(|posted| posted.field("idempotency-key").to_owned()).collect();
    assert_eq!((keys.len(), &keys[..3]), (6, &keys[3..]));
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 3, "twins are told apart: {keys:?}");
    for (posted, key) in web.taken().iter().zip(&keys) {
        let hex = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).expect("a string of RFC 8941");
        assert!(hex.len() == 64 && hex.bytes().all(|octet| octet.is_ascii_hexdigit()), "{key}");
        let text = String::from_utf8(posted.body.clone()).unwrap();
        assert_eq!(text, format!("Delivered-To: bob\r\nX-Popfetch-Id: {hex}\r\n{}", message(1)));
    }
}

/// An answer, and whose it is.
#[derive(Debug, PartialEq)]
enum Whose {
    /// The others go on.
    Message,
    /// The target ends for this run.
    Target,
    /// It is none's: the message was taken.
    Nobody,
}

#[test]
fn an_answer_is_the_messages_or_the_targets() {
    use Whose::{Message, Nobody, Target};
    let cases: &[(u16, Whose, i32)] = &[
        (200, Nobody, 0),
        (201, Nobody, 0),
        (202, Nobody, 0),
        (204, Nobody, 0),
        (208, Nobody, 0),
        (400, Message, 74),
        (409, Message, 75),
        (413, Message, 74),
        (422, Message, 74),
        (301, Target, 69),
        (304, Target, 69),
        (401, Target, 77),
        (402, Target, 69),
        (403, Target, 77),
        (404, Target, 69),
        (405, Target, 69),
        (406, Target, 69),
        (408, Target, 75),
        (410, Target, 69),
        (411, Target, 69),
        (415, Target, 69),
        (421, Target, 69),
        (425, Target, 75),
        (429, Target, 75),
        (451, Target, 69),
        (500, Target, 75),
        (502, Target, 75),
        (503, Target, 75),
        (599, Target, 75),
    ];
    for (code, whose, exit) in cases {
        let server = server(mails(4)).start();
        let web = Web::builder().deeds(at(When::Whole, 1, Deed::Say(status(*code)))).start();
        let sandbox = sandbox(&server, &web, "", false);
        let run = sandbox.popfetch(["-q"]).exits(*exit);
        let (taken, said) = match whose {
            Nobody => (4, String::new()),
            Message => (3, format!("the server answered {code}: So")),
            Target => (1, format!("/in` answered `{code} So`")),
        };
        assert!(run.stderr.contains(&said) && web.taken().len() == taken, "{code}: {run:#?}");
        // What a target has taken before it ended is deleted now or by the next run.
        assert!(server.unique_ids(USER).len() >= 4 - taken, "{code}: {run:#?}");
        sandbox.popfetch(["-q", "--now"]).exits(0);
        assert_eq!(web.messages(), octets(&mails(4)), "{code}: each once");
        assert!(server.unique_ids(USER).is_empty());
    }
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_server_but_not_as_a_page() {
    for (fields, body, expected) in [
        (
            "Content-Type: application/json; charset=utf-8\r\n",
            "{\"error\":\"no \u{1b}[2Jbox\"}",
            "So; {\"error\":\"no \\x1b[2Jbox\"}",
        ),
        ("Content-Type: text/plain\r\n", "no such box\n", "So; no such box"),
        ("Content-Type: text/html\r\n", "<html>oops</html>", "the server answered 422: So\n"),
        ("", "who knows", "the server answered 422: So\n"),
    ] {
        let server = server(mails(1)).start();
        let web = Web::builder().usual(answer(422, fields, body)).start();
        let run = sandbox(&server, &web, "", true).popfetch(["-q"]).exits(74);
        assert!(run.stderr.contains(expected) && !run.stderr.contains("oops"), "{run:#?}");
    }
}

#[test]
fn a_message_that_is_refused_again_and_again_holds_nothing_up() {
    let server = server(mails(3)).start();
    let web = Web::builder()
        .deeds(|now| (now.when == When::Whole && now.of_kind % 3 == 1).then(|| Deed::Say(status(422))))
        .start();
    let sandbox = sandbox(&server, &web, "", true);
    sandbox.popfetch(["-q"]).exits(74);
    assert_eq!(web.taken().len(), 2);
    for _ in 0..4 {
        // Every request is the second of three.
        sandbox.popfetch(["-q"]);
    }
    assert!(web.taken().len() <= 3);
}

#[test]
fn what_a_server_announces_is_kept_as_not_before() {
    let in_an_hour = (chrono::Utc::now() + Duration::from_secs(3600)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    for (code, value, least, most) in [
        (503, "3600", 3600, 3600),
        (429, "3600", 3600, 3600),
        (429, "99999999", 86400, 86400),
        (503, &in_an_hour, 3500, 3600),
        (503, "soon", 0, 0),
        (503, "-5", 0, 0),
        (503, "0", 0, 0),
        // Waiting mends nothing here.
        (404, "3600", 0, 0),
    ] {
        let server = server(mails(2)).start();
        let refusal = answer(code, &format!("Retry-After: {value}\r\n"), "");
        let web = Web::builder().deeds(at(When::Whole, 1, Deed::Say(refusal))).start();
        let sandbox = sandbox(&server, &web, "", true);
        sandbox.popfetch(["-q"]);
        let ledger = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
        let lines = ledger.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let waits: Vec<u64> = lines
            .filter(|line| line["note"] == "failing" && line["id"] != "")
            .map(|line| line["not_before"].as_u64().unwrap_or(0).saturating_sub(line["at"].as_u64().unwrap()))
            .collect();
        let is_kept = waits.last().is_some_and(|wait| (least..=most).contains(wait));
        assert!(is_kept || (most == 0 && waits.iter().all(|wait| *wait == 0)), "{code} {value}: {waits:?}\n{ledger}");
        let connections = web.connections();
        let run = sandbox.popfetch(["-q"]);
        match most {
            0 => assert_eq!((run.code(), web.messages()), (0, octets(&mails(2))), "{code} {value}: {run:#?}"),
            _ => {
                assert_eq!((run.code(), web.connections()), (75, connections), "{code} {value}: {run:#?}");
                sandbox.popfetch(["-q", "--now"]).exits(0);
                assert_eq!(web.messages(), octets(&mails(2)));
            }
        }
    }
}

#[test]
fn no_redirect_is_followed() {
    let server = server(mails(1)).start();
    let elsewhere = Web::builder().start();
    let location = format!("Location: {}?token=abc\r\n", elsewhere.url());
    let web = Web::builder().usual(answer(307, &location, "")).start();
    let run = sandbox(&server, &web, "", true).popfetch(["-q"]).exits(69);
    let run = run.says(&["answered `307 So`", &format!("write `{}` in `deliver`", elsewhere.url())]);
    assert!(!run.stderr.contains("token"), "{run:#?}");
    assert_eq!((elsewhere.connections(), web.posted().len()), (0, 1));
}

/// How often each message came beyond the first time; all of them came, whole.
#[track_caller]
fn repeated(web: &Web, mails: &[Mail], when: &str) -> usize {
    let messages = web.messages();
    let distinct: BTreeSet<&Vec<u8>> = messages.iter().collect();
    let expected = octets(mails);
    assert!(distinct.into_iter().eq(&expected), "{when}: each message at least once, whole; {:?}", web.moments());
    messages.len() - expected.len()
}

#[track_caller]
fn assert_nothing_lost(server: &Maildrop, web: &Web, mails: &[Mail], when: &str) {
    let (left, taken) = (server.unique_ids(USER), web.messages());
    let is_lost = |mail: &&Mail| !left.contains(&mail.unique_id) && !taken.contains(&mail.octets);
    assert_eq!(mails.iter().filter(is_lost).count(), 0, "{when}");
}

#[test]
fn each_message_comes_at_least_once_however_the_line_breaks() {
    for (keys, in_flight) in [("", 1), ("in_flight = 3", 3), ("body = \"form-base64:encoded\"\nin_flight = 2", 2)] {
        let whole = {
            let (server, web) = (server(mails(4)).start(), Web::builder().start());
            sandbox(&server, &web, keys, false).popfetch(["-q"]).exits(0);
            web.moments().len()
        };
        for deed in [Deed::Close, Deed::TakeAndClose] {
            for nth in 0..whole {
                let server = server(mails(4)).start();
                let deed = deed.clone();
                let web = Web::builder().deeds(move |now| (now.nth == nth).then(|| deed.clone())).start();
                let sandbox = sandbox(&server, &web, keys, false);
                let when = format!("{keys}, cut at moment {nth} of {whole}");
                let run = sandbox.popfetch(["-q"]);
                assert!(matches!(run.code(), 0 | 75), "{when}: {run:#?}");
                assert_nothing_lost(&server, &web, &mails(4), &when);
                sandbox.popfetch(["-q", "--now"]).exits(0);
                assert!(repeated(&web, &mails(4), &when) <= in_flight, "{when}: {:?}", web.moments());
                assert!(server.unique_ids(USER).is_empty(), "{when}");
            }
        }
    }
}

#[test]
fn what_was_sent_and_not_answered_is_told() {
    for (keys, deed, words) in [
        ("", Deed::TakeAndClose, "ended the connection; 1 message that it did not answer may come twice"),
        (
            "",
            Deed::SayAndClose("HTTP/1.1 20".into()),
            "ended the connection; 1 message that it did not answer may come",
        ),
        ("in_flight = 3", Deed::TakeAndClose, "ended the connection; 1 message that it did not answer may come twice"),
    ] {
        let server = server(mails(4)).start();
        let web = Web::builder().deeds(at(When::Whole, 1, deed)).start();
        sandbox(&server, &web, keys, false).popfetch(["-q"]).exits(75).says(&[words]);
    }
}

#[test]
fn a_connection_that_ends_after_each_answer_is_dialled_again() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (usual, closes) in [
        (format!("{ok}Connection: close\r\nContent-Length: 2\r\n\r\nok"), true),
        (format!("{ok}Connection: close\r\nContent-Length: 2\r\n\r\nok"), false),
        ("HTTP/1.0 200 OK\r\n\r\nok until the end".to_owned(), true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), true),
        (format!("{ok}\r\nok until the end"), true),
        (format!("{ok}Transfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"), true),
    ] {
        for keys in ["", "in_flight = 2"] {
            let server = server(mails(4)).start();
            let builder = Web::builder().usual(&*usual);
            let web = if closes { builder.closes() } else { builder }.start();
            let sandbox = sandbox(&server, &web, keys, false);
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!((web.messages(), web.connections()), (octets(&mails(4)), 4), "{usual:?}, {keys}");
        }
    }
}

#[test]
fn an_answer_may_have_a_body_in_any_form() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for usual in [
        format!("{ok}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n"),
        format!("{ok}Content-Length: 60000\r\n\r\n{}", "x".repeat(60_000)),
        format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{ok}Content-Length: 0\r\n\r\n"
        ),
        "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok".to_owned(),
    ] {
        let server = server(mails(4)).start();
        let web = Web::builder().usual(&*usual).start();
        sandbox(&server, &web, "", false).popfetch(["-q"]).exits(0).silently();
        assert_eq!((web.messages(), web.connections()), (octets(&mails(4)), 1), "{usual:.60}");
    }
}

#[test]
fn a_body_that_does_not_end_costs_its_connection_and_no_message() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let length: &str = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
    let chunked: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (head, then) in
        [(length, "x"), (chunked, "1\r\nx\r\n"), (chunked, "0123456789"), ("HTTP/1.0 200 OK\r\n\r\n", "x")]
    {
        let server = server(mails(3)).start();
        let web = Web::builder().deeds(at(When::Whole, 0, Deed::Flood(head, then))).start();
        sandbox(&server, &web, "", false).popfetch(["-q"]).exits(0).silently();
        // The server has flooded, and so did not note what it took.
        assert_eq!((web.posted().len(), web.connections()), (3, 2), "{head:?} {then:?}");
    }
    let server = server(mails(3)).start();
    let broken = format!("{OK}Content-Length: 10\r\n\r\nxx");
    let web = Web::builder().deeds(at(When::Whole, 0, Deed::SayAndClose(broken))).start();
    sandbox(&server, &web, "", false).popfetch(["-q"]).exits(0).silently();
    assert_eq!((web.messages(), web.connections()), (octets(&mails(3)), 2));
}

/// Runs with a second target, which gets its mail whatever the first one does.
fn beside_a_maildir(server: &Maildrop, web: &Web, timeout: u64) -> (Sandbox, Run) {
    let sandbox = Sandbox::new();
    let account = Account::on(server.port).set("deliver", "[\"there\", \"maildir:~/Mail\"]").set("timeout", timeout);
    sandbox.config(&format!("[targets.there]\ndeliver = \"{}\"\n{account}", web.url()));
    let run = sandbox.popfetch(["-q"]);
    (sandbox, run)
}

#[test]
fn a_server_that_says_nothing_or_nonsense_ends_alone() {
    let say = |words: &str| Deed::SayAndClose(words.to_owned());
    let cases = [
        (When::Whole, Deed::Flood("", "x"), 76, "not HTTP/1.1"),
        (When::Whole, Deed::Flood("HTTP/1.1 200 OK\r\n", "A: b\r\n"), 76, "too long"),
        (When::Whole, Deed::Flood("HTTP/1.1 200 OK\r\nA: ", "b"), 76, "too long"),
        (When::Whole, Deed::Flood("", "HTTP/1.1 100 Continue\r\n\r\n"), 76, "never at last"),
        (When::Whole, say("220 mx ESMTP\r\n"), 76, "not HTTP/1.1"),
        (When::Whole, say("HTTP/1.1 999 what\r\n\r\n"), 76, "a status that is none"),
        (When::Whole, say("HTTP/2 200\r\n\r\n"), 76, "not HTTP/1.1"),
        (When::Whole, say("HTTP/1.1 101 Switching Protocols\r\n\r\n"), 76, "another protocol"),
        (When::Connected, say(&status(204)), 76, "answers more than it was asked"),
        (When::Connected, say("+OK POP3 ready\r\n"), 76, "answers more than it was asked"),
        (When::Connected, Deed::Close, 75, "ended the connection"),
    ];
    for (when, deed, exit, said) in cases {
        let server = server(mails(2)).pace(Duration::from_millis(50)).start();
        let case = format!("{when:?}, {deed:?}");
        let is_close = matches!(deed, Deed::Close);
        let deeds = move |now: &Now| (now.when == when).then(|| deed.clone());
        let web = Web::builder().deeds(deeds).start();
        let (sandbox, run) = beside_a_maildir(&server, &web, 10);
        assert_eq!((run.code(), sandbox.maildir().messages().len()), (exit, 2), "{case}: {run:#?}");
        let is_said = run.stderr.contains(said) || is_close;
        assert!(is_said && run.stderr.contains("/in` gets no more messages in this run"), "{case}: {run:#?}");
    }
}

#[test]
fn silence_has_an_end_before_a_message_and_patience_behind_it() {
    let slow = |now: &Now| {
        if now.when == When::Whole {
            std::thread::sleep(Duration::from_millis(2500));
        }
        None
    };
    let server = server(mails(1)).start();
    let web = Web::builder().deeds(slow).start();
    let (_, run) = beside_a_maildir(&server, &web, 1);
    assert_eq!((run.code(), web.messages()), (0, octets(&mails(1))), "{run:#?}");
    // A server that takes no octets.
    let big = Mail::new("big", format!("Subject: big\r\n\r\n{}", "0123456789\r\n".repeat(1 << 20)));
    let server = crate::sandbox::server([big]).start();
    let hang = |now: &Now| {
        if now.when == When::Head {
            std::thread::sleep(Duration::from_secs(20));
        }
        None
    };
    let web = Web::builder().deeds(hang).start();
    let (sandbox, run) = beside_a_maildir(&server, &web, 1);
    assert_eq!((run.code(), sandbox.maildir().messages().len()), (75, 1), "{run:#?}");
    run.says(&["within 1 s"]);
}

#[test]
fn an_early_refusal_ends_a_large_message_and_an_early_yes_is_none() {
    let body = "0123456789\r\n".repeat(1 << 20);
    for (code, close, exit) in
        [(401, true, 77), (401, false, 77), (413, true, 74), (413, false, 74), (200, true, 76), (200, false, 76)]
    {
        let big = Mail::new("big", format!("Subject: big\r\n\r\n{body}"));
        let server = server([big.clone(), Mail::new("small", message(1))]).start();
        let words = status(code);
        let deed = if close { Deed::SayAndClose(words) } else { Deed::Say(words) };
        let web = Web::builder().deeds(at(When::Head, 0, deed)).start();
        let sandbox = sandbox(&server, &web, "", false);
        let case = format!("{code}, closes: {close}");
        let run = sandbox.popfetch(["-q"]);
        assert_eq!(run.code(), exit, "{case}: {run:#?}");
        assert!(web.octets() < big.octets.len(), "{case}: the rest was not sent: {}", web.octets());
        assert_eq!(web.taken().len(), usize::from(code == 413), "{case}");
        assert_eq!(server.unique_ids(USER).len(), 2 - usize::from(code == 413), "{case}");
        sandbox.popfetch(["-q", "--now"]).exits(0);
        assert_eq!(repeated(&web, &[big, Mail::new("small", message(1))], &case), 0);
    }
}

#[test]
fn a_server_that_answers_more_than_it_was_asked_is_not_trusted() {
    for keys in ["", "in_flight = 3"] {
        for second in [status(204), "HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n".to_owned(), "x".to_owned()] {
            let server = server(mails(8)).start();
            let two = format!("{}{second}", status(204));
            let web = Web::builder().deeds(at(When::Whole, 1, Deed::Say(two))).start();
            let sandbox = sandbox(&server, &web, keys, false);
            sandbox.popfetch(["-q"]).exits(76).says(&["answers more than it was asked"]);
            sandbox.popfetch(["-q", "--now"]).exits(0);
            assert!(repeated(&web, &mails(8), keys) <= 3, "{keys}");
        }
    }
    // A farewell to an idle connection is none of it.
    let server = server(mails(3)).start();
    let two = format!("{}{}", status(204), status(408));
    let web = Web::builder().deeds(at(When::Whole, 1, Deed::SayAndClose(two))).start();
    let sandbox = sandbox(&server, &web, "", false);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((web.messages(), web.connections()), (octets(&mails(3)), 2));
}

#[test]
fn a_connection_that_was_idle_is_not_used_again() {
    let server = server(mails(2)).pace(Duration::from_secs(2)).start();
    let web = Web::builder().start();
    let sandbox = sandbox(&server, &web, "", false);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(web.messages(), octets(&mails(2)));
    assert!(web.connections() > 1);
}

#[test]
fn several_in_flight_are_as_many_connections_or_as_many_as_the_server_allows() {
    for (most, expected) in [(usize::MAX, 8), (3, 3)] {
        let limit = move |now: &Now| (now.when == When::Connected && now.of_kind >= most).then_some(Deed::Close);
        let server = server(mails(40)).start();
        let web = Web::builder().deeds(limit).start();
        let sandbox = sandbox(&server, &web, "in_flight = 8", false);
        let run = sandbox.popfetch(["-q"]);
        if most == usize::MAX {
            assert_eq!((run.code(), web.messages()), (0, octets(&mails(40))), "{run:#?}");
            assert!(web.connections() <= expected, "{}", web.connections());
        } else {
            // One that ends before its answer is a failure like any other; nothing is lost or sent again by itself.
            assert_nothing_lost(&server, &web, &mails(40), "a limit");
            assert!(matches!(run.code(), 0 | 75), "{run:#?}");
        }
    }
}

#[test]
fn a_wish_to_stop_leaves_the_server_a_moment_to_answer() {
    for keys in WAYS {
        let slow = |now: &Now| {
            if now.when == When::Whole {
                std::thread::sleep(Duration::from_millis(300));
            }
            None
        };
        let server = server(mails(6)).start();
        let web = Web::builder().deeds(slow).start();
        let sandbox = sandbox(&server, &web, keys, false);
        let running = sandbox.start(&mut sandbox.listening(["-q"]));
        // The server has the message, and has not answered.
        wait_until(|| web.moments().contains(&When::Whole));
        running.signal(rustix::process::Signal::TERM);
        let run = running.finish();
        assert_eq!(run.code(), 143, "{keys}: {run:#?}");
        assert!(web.taken().len() < 6, "{keys}");
        sandbox.popfetch(["-q", "--now"]).exits(0);
        assert_eq!(repeated(&web, &mails(6), keys), 0, "{keys}");
    }
}

#[test]
fn two_targets_of_which_one_is_down_for_days() {
    let server = server(mails(3)).start();
    let web = Web::builder()
        .deeds(|now| (now.when == When::Whole && now.of_kind < 4).then(|| Deed::Say(status(503))))
        .start();
    let sandbox = Sandbox::new();
    let account = Account::on(server.port).set("deliver", "[\"there\", \"maildir:~/Mail\"]").set("keep", false);
    sandbox.config(&format!("[targets.there]\ndeliver = \"{}\"\n{account}", web.url()));
    for number in 0..4 {
        let run = sandbox.popfetch(["-q", "--now"]).exits(75);
        if number == 0 {
            run.says(&["gets no more messages in this run", "answered `503 So`"]);
        }
        assert_eq!((sandbox.maildir().messages().len(), server.unique_ids(USER).len()), (3 + number, 3 + number));
        server.arrive(USER, mails(4 + number).pop().unwrap());
    }
    sandbox.popfetch(["-q", "--now"]).exits(0);
    assert_eq!((web.messages(), sandbox.maildir().messages().len()), (octets(&mails(7)), 7), "each once");
    assert!(server.unique_ids(USER).is_empty());
}

/// What a kill before each call of a run leaves: nothing is lost, and at most `in_flight` messages come twice.
fn kill_everywhere(keys: &str, in_flight: usize) {
    if !can_trace() {
        return;
    }
    // Calls are counted by thread: more batches than the session's own writes, so that each kind of call is met.
    let mails = || mails(4 * in_flight);
    let begin = || {
        let (server, web) = (server(mails()).start(), Web::builder().start());
        let sandbox = sandbox(&server, &web, keys, false);
        (server, web, sandbox)
    };
    let calls = {
        let (_server, _web, sandbox) = begin();
        calls_of(&sandbox)
    };
    let (mut killed, mut most) = (0, 0);
    for call in &calls {
        let (server, web, sandbox) = begin();
        let when = format!("{keys}, killed before {call}");
        let code = kill_before(&sandbox, call).code();
        assert!(matches!(code, 0 | 137), "{when}: {code}");
        killed += usize::from(code == 137);
        assert_nothing_lost(&server, &web, &mails(), &when);
        let run = sandbox.popfetch(["-q"]);
        assert_eq!((run.code(), run.stderr.as_str()), (0, ""), "{when}");
        let repeated = repeated(&web, &mails(), &when);
        assert!(repeated <= in_flight, "{when}: {repeated} came twice");
        most = most.max(repeated);
        assert!(server.unique_ids(USER).is_empty(), "{when}");
        let spools = crate::sandbox::names(&sandbox.state()).into_iter().filter(|name| name.ends_with(".spool"));
        assert_eq!(spools.count(), 0, "{when}: litter");
    }
    println!("{keys}: {} calls, {killed} kills, at most {most} twice", calls.len());
    // Which thread comes to its n-th call first is chance, and so is whether a kill falls between a message and its record.
    assert!(killed > 20, "only {killed} of {} kills happened", calls.len());
}

#[test]
fn a_kill_before_every_call_loses_nothing_and_doubles_one() {
    kill_everywhere("", 1);
}

#[test]
fn several_in_flight_survive_a_kill_before_every_call() {
    kill_everywhere("in_flight = 3", 3);
}

#[test]
fn a_full_disk_where_messages_wait_loses_nothing() {
    if !can_trace() {
        return;
    }
    let begin = || {
        let (server, web) = (server(mails(3)).start(), Web::builder().start());
        let sandbox = sandbox(&server, &web, "", false);
        (server, web, sandbox)
    };
    let is_of_the_disk = |call: &Call| call.is_of_the_disk() && !call.name.starts_with("unlink");
    let calls: Vec<Call> = {
        let (_server, _web, sandbox) = begin();
        calls_of(&sandbox).into_iter().filter(is_of_the_disk).collect()
    };
    let mut failed = 0;
    for call in &calls {
        let (server, web, sandbox) = begin();
        let when = format!("ENOSPC at {call}");
        let run = fail_at(&sandbox, call, "ENOSPC", false);
        assert!(matches!(run.code(), 0 | 73 | 74 | 75), "{when}: {run:#?}");
        failed += usize::from(run.code() != 0);
        assert_nothing_lost(&server, &web, &mails(3), &when);
        sandbox.popfetch(["-q", "--now"]).exits(0);
        assert!(repeated(&web, &mails(3), &when) <= 1 && server.unique_ids(USER).is_empty(), "{when}");
    }
    assert!(failed > 3, "{failed} of {} failed", calls.len());
}

#[test]
fn secrets_are_sent_and_never_shown_whatever_the_server_repeats() {
    let authority = Authority::new("web");
    let server = server(mails(1)).start();
    let basic = "YWN0aW9ubWFpbGJveDprYW5hcmluYWMtN2YzYTlj";
    let parrot = answer(
        422,
        &format!("X-Parrot: {basic} {CANARY}\r\nContent-Type: text/plain\r\n"),
        &format!("{CANARY} hdr-s3cret frm-s3cret qry-s3cret {basic}"),
    );
    let web = Web::builder().tls(authority.good().server_config()).usual(parrot).start();
    let sandbox = Sandbox::new();
    let ca = sandbox.file("ca.pem", &authority.pem);
    sandbox.file("header", "hdr-s3cret");
    let keys = format!(
        "password_command = [\"echo\", \"{CANARY}\"]\ntls_ca_file = \"{}\"\nbody = \"form:email\"\n\
         request_headers = {{ X-Key = {{ file = \"~/header\" }} }}\nform = {{ key = \"frm-s3cret\" }}",
        ca.display()
    );
    let url = format!("https://actionmailbox@localhost:{}/in?token=qry-s3cret", web.port);
    sandbox.config(&config(&server, &url, &keys, true));
    let run = sandbox.popfetch(["-vv"]).exits(74);
    for line in [
        "work: https C: POST /in?**** HTTP/1.1",
        "work: https C: Authorization: Basic ****",
        "work: https C: X-Key: ****",
        "octets of message text)",
        "work: https S: HTTP 422 So",
        "work: https S: X-Parrot: **** ****",
        "the server answered 422: So; **** **** **** **** ****",
    ] {
        assert!(run.stderr.contains(line), "{line}: {run:#?}");
    }
    let check = sandbox.popfetch(["check"]);
    let offline = sandbox.popfetch(["check", "--offline"]).exits(0);
    let state = sandbox.popfetch(["state", "show"]);
    let ledger = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap();
    for shown in [&run.stderr, &check.stdout, &check.stderr, &offline.stdout, &state.stdout, &ledger] {
        assert!(!shown.contains("s3cret") && !shown.contains(basic) && !shown.contains(CANARY), "{shown}");
    }
    let posted = &web.posted()[0];
    assert_eq!(posted.line, "POST /in?token=qry-s3cret HTTP/1.1");
    assert_eq!(posted.field("authorization"), format!("Basic {basic}"));
    assert_eq!((posted.field("x-key"), posted.form()[0].1.as_slice()), ("hdr-s3cret", &b"frm-s3cret"[..]));
}

#[test]
fn a_token_is_sent_as_bearer_with_or_without_a_user() {
    for user in ["", "me@"] {
        let (server, web, sandbox) = (server(mails(1)).start(), Web::builder().start(), Sandbox::new());
        let url = format!("http://{user}127.0.0.1:{}/in", web.port);
        sandbox.config(&config(&server, &url, "token_command = [\"echo\", \"t0ken\"]", true));
        let run = sandbox.popfetch(["-vv"]).exits(0);
        assert!(run.stderr.contains("C: Authorization: Bearer ****") && !run.stderr.contains("t0ken"), "{run:#?}");
        assert_eq!(web.taken()[0].field("authorization"), "Bearer t0ken");
    }
}

#[test]
fn tls_is_verified_and_the_secret_comes_from_where_others_come_from() {
    let authority = Authority::new("web");
    let pin = |sandbox: &Sandbox| format!("tls_ca_file = \"{}\"", sandbox.file("ca.pem", &authority.pem).display());
    for (identity, exit, said) in [
        (authority.good(), 0, ""),
        (authority.wrong_name(), 69, "certificate"),
        (authority.good(), 78, "needs a password"),
    ] {
        let (server, web) = (server(mails(1)).start(), Web::builder().tls(identity.server_config()).start());
        let sandbox = Sandbox::new();
        if exit != 78 {
            sandbox.file(".netrc", "machine localhost login me password from-netrc\n");
        }
        let url = format!("https://me@localhost:{}/in", web.port);
        sandbox.config(&config(&server, &url, &pin(&sandbox), true));
        sandbox.popfetch(["-q"]).exits(exit).says(&[said]);
        assert_eq!(web.messages().len(), usize::from(exit == 0));
        if exit == 0 {
            assert_eq!(web.taken()[0].field("authorization"), "Basic bWU6ZnJvbS1uZXRyYw==");
        }
    }
    // A server in clear, where TLS is due.
    let (server, web, sandbox) = (server(mails(1)).start(), Web::builder().start(), Sandbox::new());
    sandbox.config(&config(&server, &format!("https://127.0.0.1:{}/in", web.port), "", true));
    assert!(sandbox.popfetch(["-q"]).code() != 0 && web.taken().is_empty());
}

#[test]
fn mistakes_about_web_servers_are_told() {
    for (target, expected) in [
        (
            "deliver = \"http://mail.example.org/in\"",
            "sends everything in clear, and is only for servers of this machine",
        ),
        ("deliver = \"https://mail.example.org\"", "HOST[:PORT]/PATH"),
        ("deliver = \"https://u:kanarinac-7f3a9c@h/in\"", "without a password"),
        ("deliver = \"https://h/in#x?kanarinac-7f3a9c\"", "without `#`"),
        ("deliver = \"lmtp:/x\"\nbody = \"raw\"", "`body` is for targets that are web servers"),
        ("deliver = \"maildir:/x\"\nform = { a = \"b\" }", "`form` is for targets that are servers"),
        ("deliver = \"https://h/in\"\nsender = \"<>\"", "`sender` is for targets that are mail servers"),
        ("deliver = \"https://h/in\"\nbody = \"json\"", "form-base64:FIELD"),
        ("deliver = \"https://h/in\"\nbody = \"form:\"", "form-base64:FIELD"),
        ("deliver = \"https://h/in\"\nbody = \"form:a\\\"b\"", "form-base64:FIELD"),
        ("deliver = \"https://h/in\"\nform = { a = \"b\" }", "there is no form"),
        ("deliver = \"https://h/in\"\nrequest_headers = { Host = \"x\" }", "that popfetch does not make itself"),
        (
            "deliver = \"https://h/in\"\nrequest_headers = { Transfer-Encoding = \"x\" }",
            "that popfetch does not make itself",
        ),
        (
            "deliver = \"https://h/in\"\nrequest_headers = { \"a b\" = \"kanarinac-7f3a9c\" }",
            "that popfetch does not make itself",
        ),
        ("deliver = \"https://h/in\"\nrequest_headers = { a = \"kanarinac-7f3a9c\\r\\nX: y\" }", "each with a text"),
        ("deliver = \"https://h/in\"\nrequest_headers = { a = 1 }", "each with a text"),
        (
            "deliver = \"https://h/in\"\nrequest_headers = { a = { command = [\"a\"], file = \"b\" } }",
            "each with a text",
        ),
        ("deliver = \"https://h/in\"\nrequest_headers = \"kanarinac-7f3a9c\"", "each with a text"),
        ("deliver = \"https://h/in\"\ntls = \"none\"", "begin TLS at once"),
        ("deliver = \"http://localhost/in\"\ntls = \"starttls\"", "`https:` is not"),
        ("deliver = \"https://h/in\"\npassword = \"kanarinac-7f3a9c\"", "a user in the address"),
        ("deliver = \"https://u@h/in\"\nauth = \"plain\"", "Basic with a password"),
        ("deliver = \"https://u@h/in\"\nhttp_headers = {}", "did you mean `request_headers`?"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.config(&format!("[targets.there]\n{target}\n{}", Account::on(1).set("deliver", "\"there\"")));
        sandbox.popfetch(["-q"]).exits(78).says(&[expected]);
    }
}

#[test]
fn a_check_asks_for_options_and_a_look_calls_nobody() {
    let server = server(mails(2)).start();
    let web = Web::builder().usual(answer(404, "Content-Type: text/html\r\n", "<html>")).start();
    let keys = "body = \"form:email\"\nform = { key = \"secret\" }";
    let sandbox = sandbox(&server, &web, keys, true);
    for look in [&["list"][..], &["--dry-run"], &["check", "--offline"]] {
        sandbox.popfetch(look.iter()).exits(0);
        assert_eq!(web.connections(), 0, "{look:?}");
    }
    let run = sandbox.popfetch(["check", "--offline"]).exits(0);
    let keys =
        "recipient = \"alice\", body = \"form:email\", request_headers = {}, form = { key = \"****\" }, in_flight = 1";
    assert!(run.stdout.contains(keys), "{}", run.stdout);
    let run = sandbox.popfetch(["check"]).exits(0);
    assert!(
        run.stdout.contains("`404 So` to OPTIONS; whether it takes a message, only a message tells"),
        "{}",
        run.stdout
    );
    let posted = web.posted();
    assert_eq!((posted.len(), posted[0].line.as_str(), posted[0].body.len()), (1, "OPTIONS /in HTTP/1.1", 0));
    let refusing = Web::builder().usual(status(401)).start();
    sandbox.config(&config(&server, &refusing.url(), "", true));
    assert!(sandbox.popfetch(["check"]).exits(77).stdout.contains("answered `401 So`"));
    drop(refusing);
    let run = sandbox.popfetch(["check"]);
    assert!(run.code() != 0 && run.stdout.contains("cannot connect"), "{run:#?}");
}

#[test]
fn a_run_by_url_may_deliver_to_a_web_server() {
    let (server, web, sandbox) = (server(mails(2)).start(), Web::builder().start(), Sandbox::new());
    sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password {CANARY}\n"));
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    for deliver in [web.url(), format!("{}?box=1", web.url())] {
        sandbox.popfetch(["-q", "--tls", "none", "--deliver", &deliver, &url]).exits(0);
    }
    // A query may be a secret that changes: it makes no other target.
    assert_eq!(web.messages(), octets(&mails(2)));
}

/// Rails, with an application that keeps mail. Dropping it ends it.
struct ActionMailbox {
    folder: tempfile::TempDir,
    process: Child,
    port: u16,
}

impl ActionMailbox {
    /// Starts it, or says why it cannot.
    fn start() -> Option<Self> {
        let mut ruby = Command::new("/usr/bin/ruby");
        let ruby = ruby.args([
            "-e",
            "require 'rails'; require 'active_record/railtie'; require 'action_mailbox/engine'; require 'sqlite3'",
        ]);
        let has_all = ruby.stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !(has_all && Path::new("/usr/bin/puma").exists()) {
            left_out(
                "HTTP to a real Action Mailbox",
                "Debian's ruby-actionmailbox, ruby-sqlite3 or puma is not installed",
            );
            return None;
        }
        let folder = tempfile::Builder::new().prefix("popfetch-rails-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let application = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/action_mailbox.ru");
        let told = fs::File::create(folder.path().join("told")).unwrap();
        let process = Command::new("/usr/bin/puma")
            .args(["-b", &format!("tcp://127.0.0.1:{port}"), "-t", "1:1", application])
            .env("RAILS_ENV", "production")
            .env("RAILS_INBOUND_EMAIL_PASSWORD", CANARY)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(told.try_clone().unwrap())
            .stderr(told)
            .spawn()
            .unwrap();
        let rails = ActionMailbox { folder, process, port };
        for _ in 0..1200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(rails);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("Rails did not start: {}", fs::read_to_string(rails.folder.path().join("told")).unwrap());
    }

    /// What it has taken, sorted.
    fn messages(&self) -> Vec<Vec<u8>> {
        let kept = self.folder.path().join("kept");
        let mut messages: Vec<_> = names(&kept).iter().map(|name| fs::read(kept.join(name)).unwrap()).collect();
        messages.sort();
        messages
    }
}

impl Drop for ActionMailbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_real_action_mailbox_takes_each_message_once_even_when_it_comes_again() {
    let Some(rails) = ActionMailbox::start() else { return };
    let mut all = odd_mails();
    all.extend(mails(6));
    all.push(Mail::new("id", "Message-ID: <a@example.org>\r\nSubject: id\r\n\r\nhi\r\n"));
    let (server, sandbox) = (server(all.clone()).start(), Sandbox::new());
    let url = format!("http://actionmailbox@127.0.0.1:{}/rails/action_mailbox/relay/inbound_emails", rails.port);
    let set = |url: &str, keys: &str| sandbox.config(&config(&server, url, keys, true));
    set(&url, "password = \"wrong\"");
    sandbox.popfetch(["-q"]).exits(77).says(&["answered `401 Unauthorized"]);
    let password = format!("password = \"{CANARY}\"");
    set(&url, &format!("{password}\nbody = \"form:email\""));
    sandbox.popfetch(["-q"]).exits(69).says(&["answered `415 Unsupported Media Type", "`\"raw\"`"]);
    set(&format!("{url}/x"), &password);
    sandbox.popfetch(["-q"]).exits(69).says(&["answered `404 Not Found"]);
    set(&url, &format!("{password}\nin_flight = 4"));
    let run = sandbox.popfetch(["check"]).exits(0);
    assert!(run.stdout.contains("`404 Not Found` to OPTIONS"), "{}", run.stdout);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let whole = octets(&all);
    assert!(rails.messages() == whole, "{} of {}", rails.messages().len(), whole.len());
    // As after an interruption.
    sandbox.popfetch(["-q", "--all"]).exits(0).silently();
    assert!(rails.messages() == whole, "{} of {}", rails.messages().len(), whole.len());
}

/// What one of them has would count for both, and the message be deleted before the other has it.
#[test]
fn two_targets_at_one_address_have_recipients_of_their_own() {
    let server = server(mails(1)).start();
    let web = Web::builder().start();
    let config = |deliver: &str, rules: &str, tables: [&str; 2]| {
        let account = Account::on(server.port).set("deliver", deliver).set("keep", false);
        let [a, b] = tables.map(|keys| format!("{keys}\n"));
        format!("[targets.a]\ndeliver = \"{0}\"\n{a}[targets.b]\ndeliver = \"{0}\"\n{b}{account}{rules}", web.url())
    };
    let rule = "[[accounts.work.rules]]\nsubject = \"x\"\ndeliver = \"b\"\n";
    let form = |project: &str| format!("body = \"form:email\"\nform.project = \"{project}\"");
    let [one, other] = [form("one"), form("two")];
    let sandbox = Sandbox::new();
    for tables in [[one.as_str(), &other], ["", "request_headers.X-P = \"2\""], ["recipient = \"%u\"", "in_flight = 2"]]
    {
        for (deliver, rules) in [("[\"a\", \"b\"]", ""), ("\"a\"", rule)] {
            sandbox.config(&config(deliver, rules, tables));
            sandbox
                .popfetch(["-q"])
                .exits(78)
                .says(&["is the address of another target of this account", "`recipient`"]);
        }
    }
    assert_eq!((web.connections(), server.unique_ids(USER).len()), (0, 1));
    // The same by two names is one in a rule, and twice among the targets of a message.
    sandbox.config(&config("[\"a\", \"b\"]", "", [&one, &one]));
    sandbox.popfetch(["-q"]).exits(78).says(&["is among the targets already"]);
    sandbox.config(&config("[\"a\", \"b\"]", "", [&one, &format!("{other}\nrecipient = \"two\"")]));
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!(server.unique_ids(USER).len(), 0);
}

#[test]
fn a_check_warns_of_an_application_that_answers_everything_alike() {
    let server = server(mails(1)).start();
    for code in [302, 503] {
        let web = Web::builder().usual(status(code)).start();
        let sandbox = Sandbox::new();
        let account = Account::on(server.port).set("deliver", format!("\"{}\"", web.url()));
        sandbox.config(&account.to_string());
        let run = sandbox.popfetch(["check"]).exits(0);
        assert!(run.stdout.contains("warning target"), "{}", run.stdout);
        assert!(
            run.stdout.contains(&format!("` answers `{code}")) && !run.stdout.contains("takes mail"),
            "{}",
            run.stdout
        );
    }
}
