//! Servers that take mail: LMTP and SMTP. What arrives there, whose failure a refusal is, and how often a message comes
//! when something breaks.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::faults::{Call, Scenario, calls_of, can_trace, fail_at, kill_before};
use crate::sandbox::{Account, CANARY, Sandbox, USER, mails, message, server, wait_until};
use crate::server::mta::{Asked, MtaBuilder};
use crate::server::{Act, Answer, Authority, Endpoint, Mail, Maildrop, Mta};

/// An account that delivers to a named target.
fn config(server: &Maildrop, deliver: &str, keys: &str, keep: impl ToString) -> String {
    let account = Account::on(server.port).set("deliver", "\"there\"").set("keep", keep);
    format!("[targets.there]\ndeliver = \"{deliver}\"\n{keys}\n{account}")
}

fn sandbox(server: &Maildrop, mta: &Mta, kind: &str, keys: &str, keep: bool) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.config(&config(server, &format!("{kind}://127.0.0.1:{}", mta.port), keys, keep));
    sandbox
}

/// The octets of messages of the server, sorted.
fn octets(mails: &[Mail]) -> Vec<Vec<u8>> {
    let mut octets: Vec<_> = mails.iter().map(|mail| mail.octets.clone()).collect();
    octets.sort();
    octets
}

fn say(words: &str) -> Option<Act> {
    Some(Act::Say(words.to_owned()))
}

/// Does this to the n-th command of a verb.
fn at(verb: &'static str, nth: usize, act: Act) -> impl Fn(&Asked<'_>) -> Option<Act> {
    let is_it = move |command: &str| if verb.is_empty() { command.is_empty() } else { command.starts_with(verb) };
    move |asked| (is_it(asked.command) && asked.of_verb == nth).then(|| act.clone())
}

const CHUNKING: [&str; 4] = ["PIPELINING", "CHUNKING", "8BITMIME", "ENHANCEDSTATUSCODES"];

#[test]
fn lmtp_over_a_socket_gets_each_message_once_with_its_own_sender() {
    let server = server(mails(3)).start();
    let sandbox = Sandbox::new();
    let mta = Mta::lmtp().socket(sandbox.path("lmtp")).start();
    sandbox.config(&Account::on(server.port).set("deliver", "\"lmtp:~/lmtp\"").set("keep", false).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(mta.messages(), octets(&mails(3)));
    let first = &mta.taken()[0];
    assert_eq!(first.mail, "MAIL FROM:<sender1@example.org> BODY=8BITMIME");
    assert_eq!(first.rcpt, format!("RCPT TO:<{USER}>"));
    assert_eq!((mta.connections(), mta.count("QUIT"), server.unique_ids(USER).len()), (1, 1, 0));
    // Nothing new: nobody is called.
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(mta.connections(), 1);
}

#[test]
fn smtp_has_no_sender_unless_one_is_wanted() {
    for (sender, expected) in [("", "<>"), ("return-path", "<sender1@example.org>"), ("me@x", "<me@x>"), ("<>", "<>")] {
        let server = server(mails(1)).start();
        let mta = Mta::smtp().start();
        let sender = if sender.is_empty() { String::new() } else { format!("sender = \"{sender}\"\n") };
        let keys = format!("{sender}recipient = \"%l+%u%%@example.org\"");
        let sandbox = sandbox(&server, &mta, "smtp", &keys, true);
        sandbox.popfetch(["-q"]).exits(0).silently();
        let taken = &mta.taken()[0];
        assert_eq!(taken.mail, format!("MAIL FROM:{expected} BODY=8BITMIME"));
        assert_eq!(taken.rcpt, format!("RCPT TO:<{USER}+{USER}%@example.org>"));
        assert_eq!(mta.heard()[1].split(' ').next(), Some("EHLO"));
    }
}

/// A kind of target, a server for it, and keys of the target.
type Way = (&'static str, fn() -> MtaBuilder, &'static str);

/// Every way that a message can go.
fn ways() -> Vec<Way> {
    fn chunking() -> MtaBuilder {
        Mta::lmtp().extensions(&CHUNKING)
    }
    fn plain() -> MtaBuilder {
        Mta::smtp().extensions(&[])
    }
    vec![
        ("lmtp", Mta::lmtp, ""),
        ("lmtp", Mta::lmtp, "in_flight = 3"),
        ("lmtp", chunking, ""),
        ("lmtp", chunking, "in_flight = 3"),
        ("smtp", Mta::smtp, ""),
        ("smtp", plain, "in_flight = 2"),
        ("smtp", || Mta::smtp().extensions(&CHUNKING), "in_flight = 3"),
    ]
}

fn odd_mails() -> Vec<Mail> {
    let long = "x".repeat(5000);
    let big = format!("Subject: big\r\n\r\n{}", ".0123456789 0123456789\r\n".repeat(20_000));
    let texts = [
        "Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n\r\n".to_owned(),
        "Subject: one line\r\n".to_owned(),
        "\r\n".to_owned(),
        format!("Subject: long\r\n\r\n{long}\r\n"),
        "Subject: žuto\r\n\r\nžuto\r\n".to_owned(),
        big,
    ];
    texts.into_iter().enumerate().map(|(number, text)| Mail::new(format!("o{number}"), text)).collect()
}

#[test]
fn octets_arrive_as_they_were_on_the_server_whichever_way_they_go() {
    for (kind, build, keys) in ways() {
        let server = server(odd_mails()).start();
        let mta = build().start();
        let sandbox = sandbox(&server, &mta, kind, keys, false);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(mta.messages() == octets(&odd_mails()), "{kind}, {keys}, {:?}", mta.heard());
        assert_eq!((mta.connections(), server.unique_ids(USER).len()), (1, 0), "{kind}, {keys}");
    }
}

#[test]
fn bare_line_ends_become_crlf_before_dots_are_doubled() {
    let smuggled = "Subject: x\r\n\r\nbefore\n.\nMAIL FROM:<evil@x>\n.\r\n\r.\r\nRCPT\r.\rend\r\n";
    let expected = b"Subject: x\r\n\r\nbefore\r\n.\r\nMAIL FROM:<evil@x>\r\n.\r\n\r\n.\r\nRCPT\r\n.\r\nend\r\n";
    for (kind, build, keys) in ways() {
        let server = server([Mail::new("a", smuggled), Mail::new("b", message(2))]).start();
        let mta = build().start();
        let sandbox = sandbox(&server, &mta, kind, keys, false);
        let run = sandbox.popfetch(["-v"]).exits(0);
        assert!(run.stderr.contains(" bare CR"), "{run:#?}");
        let messages: BTreeSet<Vec<u8>> = mta.messages().into_iter().collect();
        assert_eq!(messages, BTreeSet::from([expected.to_vec(), message(2).into_bytes()]), "{kind}, {keys}");
    }
}

/// A refusal, and whose it is.
#[derive(Debug)]
enum Whose {
    /// The others go on.
    Message,
    /// The target ends for this run.
    Target,
}

#[test]
fn a_refusal_is_the_messages_or_the_targets() {
    use Whose::{Message, Target};
    let cases: &[(&'static str, &'static str, Whose, i32, &str)] = &[
        ("", "554 5.3.2 not today", Target, 69, "refused the connection: `554"),
        ("", "421 4.3.2 later", Target, 75, "refused the connection: `421"),
        ("LHLO", "502 5.5.1 what", Target, 69, "refused LHLO: `502"),
        ("MAIL", "451 4.3.0 later", Target, 75, "refused MAIL: `451"),
        ("MAIL", "550 5.1.8 bad sender", Message, 74, "the server answered 550: 5.1.8 bad sender"),
        ("MAIL", "552 5.3.4 too big", Message, 74, "the server answered 552: 5.3.4 too big"),
        ("RCPT", "550 5.1.1 no such user", Target, 69, "refused the recipient `alice`: `550 5.1.1 no such user`"),
        ("RCPT", "452 4.2.2 over quota", Target, 75, "refused the recipient `alice`: `452 4.2.2 over quota`"),
        (".", "554 5.6.0 virus", Message, 74, "the server answered 554: 5.6.0 virus"),
        (".", "451 4.3.0 try again", Message, 75, "the server answered 451: 4.3.0 try again"),
        (".", "421 4.3.2 shutting down", Target, 75, "refused a message: `421"),
        ("MAIL", "421 4.3.2 shutting down", Target, 75, "`421"),
        (".", "354 more?", Target, 76, "broke the protocol"),
        ("MAIL", "hello", Target, 76, "broke the protocol"),
        ("RCPT", "250-a\r\n550 b", Target, 76, "broke the protocol"),
    ];
    for chunks in [false, true] {
        for (verb, words, whose, status, said) in cases {
            let verb = if chunks && *verb == "." { "BDAT" } else { *verb };
            // The second message, or what comes before all of them.
            let nth = usize::from(!["", "LHLO"].contains(&verb));
            let server = server(mails(4)).start();
            let extensions: &[&str] = if chunks { &CHUNKING } else { &["PIPELINING"] };
            let mta = Mta::lmtp().extensions(extensions).acts(at(verb, nth, Act::Say((*words).into()))).start();
            let sandbox = sandbox(&server, &mta, "lmtp", if chunks { "in_flight = 2" } else { "" }, false);
            let run = sandbox.popfetch(["-q"]).exits(*status).says(&[said]);
            // What was under way beside the one that ended it may have been taken, too.
            let (taken, left, beside) = match whose {
                Message => (3, 1, 0),
                Target => (nth, 4 - nth, usize::from(chunks)),
            };
            let when = format!("{verb} {words}, chunks {chunks}: {run:#?}, {:?}", mta.heard());
            let (came, stay) = (mta.taken().len(), server.unique_ids(USER).len());
            assert!((taken..=taken + beside).contains(&came), "{when}");
            // What a target has taken before it ended is deleted now or by the next run.
            assert!(stay == left || matches!(whose, Target) && (left - beside..=4).contains(&stay), "{when}");
            // The next run brings what is missing.
            sandbox.popfetch(["-q", "--now"]).exits(0);
            // What cannot be read leaves in doubt what was sent ahead of it.
            let in_doubt = if *status == 76 { 1 + beside } else { 0 };
            assert!(repeated(&mta, &mails(4), &when) <= in_doubt, "{when}");
        }
    }
}

#[test]
fn a_refused_data_command_is_the_messages_and_the_envelope_is_taken_back() {
    for (pipelining, keys) in [(&["PIPELINING"][..], "in_flight = 4"), (&["PIPELINING"], ""), (&[], "")] {
        let server = server(mails(3)).start();
        let mta = Mta::smtp().extensions(pipelining).acts(at("DATA", 1, Act::Say("550 5.7.1 no".into()))).start();
        let sandbox = sandbox(&server, &mta, "smtp", keys, false);
        sandbox.popfetch(["-q"]).exits(74).says(&["the server answered 550: 5.7.1 no"]);
        assert_eq!((mta.taken().len(), mta.count("RSET"), server.unique_ids(USER).len()), (2, 1, 1));
    }
}

#[test]
fn three_temporary_refusals_in_a_row_end_the_target_and_one_between_others_does_not() {
    for keys in ["", "in_flight = 10"] {
        let later = |asked: &Asked<'_>| {
            let is_refused = (2..5).contains(&asked.of_verb) || asked.of_verb == 0;
            (asked.command == "." && is_refused).then(|| Act::Say("450 4.2.1 busy".into()))
        };
        let server = server(mails(10)).start();
        let mta = Mta::lmtp().acts(later).start();
        let sandbox = sandbox(&server, &mta, "lmtp", keys, false);
        let run = sandbox.popfetch(["-q"]).exits(75);
        run.says(&["refused message after message for the time being, the last one with `450 4.2.1 busy`"]);
        assert_eq!((mta.taken().len(), mta.count(".")), (1, 5), "{keys}");
        sandbox.popfetch(["-q", "--now"]).exits(0);
        assert!(mta.messages() == octets(&mails(10)) && server.unique_ids(USER).is_empty(), "{keys}");
    }
}

#[test]
fn what_the_server_cannot_take_is_not_sent() {
    let big = Mail::new("big", format!("Subject: big\r\n\r\n{}", "x\r\n".repeat(400)));
    let nul = Mail::new("nul", "Subject: nul\r\n\r\na\0b\r\n");
    let all = [mails(1).remove(0), big, nul.clone(), mails(2).remove(1)];
    for (extensions, takes_nul) in [
        (&["PIPELINING", "SIZE 1000", "CHUNKING"][..], false),
        (&["SIZE 1000"], false),
        (&["SIZE 1000", "CHUNKING", "BINARYMIME"], false),
        (&["SIZE 1000", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES"], false),
        (&["PIPELINING", "SIZE 1000", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES"], true),
    ] {
        let server = server(all.clone()).start();
        let mta = Mta::lmtp().extensions(extensions).start();
        let sandbox = sandbox(&server, &mta, "lmtp", "in_flight = 4", false);
        let run = sandbox.popfetch(["-q"]).exits(74).says(&["the server takes up to 1000 B"]);
        assert_eq!(run.stderr.contains("NUL"), !takes_nul, "{run:#?}");
        let taken = mta.taken();
        assert_eq!(taken.len(), 2 + usize::from(takes_nul), "{extensions:?}");
        if takes_nul {
            assert!(taken[1].mail.ends_with(" BODY=BINARYMIME") && taken[1].octets == nul.octets, "{taken:?}");
        }
        assert!(taken[0].mail.contains(&format!(" SIZE={}", message(1).len())), "{taken:?}");
    }
}

/// How often each message came beyond the first time; all of them came, whole.
#[track_caller]
fn repeated(mta: &Mta, mails: &[Mail], when: &str) -> usize {
    let messages = mta.messages();
    let distinct: BTreeSet<&Vec<u8>> = messages.iter().collect();
    let expected = octets(mails);
    assert!(distinct.into_iter().eq(&expected), "{when}: each message at least once, whole; {:?}", mta.heard());
    messages.len() - expected.len()
}

#[test]
fn each_message_comes_at_least_once_however_the_line_breaks() {
    for (kind, build, keys) in ways() {
        let in_flight = keys.strip_prefix("in_flight = ").map_or(1, |count| count.parse().unwrap());
        let whole = {
            let server = server(mails(4)).start();
            let mta = build().start();
            sandbox(&server, &mta, kind, keys, false).popfetch(["-q"]).exits(0);
            mta.heard().len()
        };
        for act in [Act::Close, Act::TakeAndClose] {
            for line in 0..whole {
                let server = server(mails(4)).start();
                let act = act.clone();
                let mta = build().acts(move |asked| (asked.nth == line).then(|| act.clone())).start();
                let sandbox = sandbox(&server, &mta, kind, keys, false);
                let when = format!("{kind}, {keys}, cut at line {line} of {whole}");
                let run = sandbox.popfetch(["-q"]);
                // Nothing depends on the answer to QUIT.
                assert!(matches!(run.code(), 0 | 75), "{when}: {run:#?}");
                let is_lost = |mail: &&Mail| {
                    !server.unique_ids(USER).contains(&mail.unique_id) && !mta.messages().contains(&mail.octets)
                };
                assert_eq!(mails(4).iter().filter(is_lost).count(), 0, "{when}");
                sandbox.popfetch(["-q", "--now"]).exits(0);
                assert!(repeated(&mta, &mails(4), &when) <= in_flight, "{when}: {:?}", mta.heard());
                assert!(server.unique_ids(USER).is_empty(), "{when}");
            }
        }
    }
}

#[test]
fn the_next_envelope_travels_behind_the_end_of_a_message() {
    for in_flight in [1, 3] {
        let server = server(mails(9)).start();
        // The first answer takes its time, so that the other messages wait by then.
        let mta = Mta::smtp().acts(|asked| (asked.command == "." && asked.of_verb < 8).then_some(Act::Dawdle)).start();
        let keys = format!("in_flight = {in_flight}");
        sandbox(&server, &mta, "smtp", &keys, false).popfetch(["-q"]).exits(0);
        assert_eq!((mta.messages(), mta.connections()), (octets(&mails(9)), 1));
        // No message was sent before the answer to the one before it: one at a time is on its way.
        assert!(mta.envelopes_ahead() >= 4, "{in_flight} in flight: {}", mta.envelopes_ahead());
        println!("{in_flight} in flight: {} of 8 envelopes went ahead", mta.envelopes_ahead());
    }
}

/// The next message is refused, has another size, or the run ends: an envelope that went ahead is no message.
#[test]
fn an_envelope_that_went_ahead_of_nothing_is_dropped() {
    for act in ["550 5.1.0 not from there", "452 4.3.1 later", "421 4.3.2 bye"] {
        let server = server(mails(5)).start();
        let mta = Mta::smtp()
            .acts(move |asked| match asked.command {
                "." if asked.of_verb < 2 => Some(Act::Dawdle),
                command if command.starts_with("MAIL") && asked.of_verb == 2 => say(act),
                _ => None,
            })
            .start();
        let sandbox = sandbox(&server, &mta, "smtp", "", false);
        sandbox.popfetch(["-q"]).exits(if act.starts_with('4') { 75 } else { 69 });
        sandbox.popfetch(["-q", "--now"]).exits(0);
        assert_eq!((mta.messages(), server.unique_ids(USER).len()), (octets(&mails(5)), 0), "{act}");
    }
}

#[test]
fn a_server_that_answers_more_than_it_was_asked_is_not_trusted() {
    for (kind, build, keys) in ways() {
        for (verb, words) in [(".", "250 2.0.0 taken\r\n250 2.0.0 taken"), ("RCPT", "250 2.1.5 ok\r\n250 2.1.5 ok")] {
            let takes_chunks = build().start().shared_extensions().contains("CHUNKING");
            let verb = if verb == "." && takes_chunks && !keys.is_empty() { "BDAT" } else { verb };
            let server = server(mails(6)).start();
            let mta = build().acts(at(verb, 1, Act::Say(words.into()))).start();
            let sandbox = sandbox(&server, &mta, kind, keys, false);
            let when = format!("{kind}, {keys}, {verb}");
            sandbox.popfetch(["-q"]).exits(76).says(&["broke the protocol"]);
            sandbox.popfetch(["-q", "--now"]).exits(0);
            assert!(repeated(&mta, &mails(6), &when) <= 3, "{when}");
        }
    }
}

#[test]
fn an_answer_before_its_message_is_none() {
    for (kind, build, keys) in ways() {
        for (verb, words) in [("RCPT", "250 2.1.5 ok"), ("DATA", "354 go ahead")] {
            let early = move |asked: &Asked<'_>| match asked.command {
                "." => say("554 5.6.0 never"),
                command if command.starts_with("BDAT") => say("554 5.6.0 never"),
                command if command.starts_with(verb) => say(&format!("{words}\r\n250 2.0.0 taken")),
                _ => None,
            };
            let server = server(mails(3)).start();
            let mta = build().acts(early).start();
            let sandbox = sandbox(&server, &mta, kind, keys, false);
            let run = sandbox.popfetch(["-q"]);
            let when = format!("{kind}, {keys}, {verb}: {run:#?}");
            // With BDAT there is no DATA, and nothing comes too early.
            let expected = if mta.count(verb) > 0 { "broke the protocol" } else { "the server answered 554" };
            assert!(run.code() != 0 && run.stderr.contains(expected), "{when}");
            assert_eq!((mta.taken().len(), server.unique_ids(USER).len()), (0, 3), "{when}");
        }
    }
}

#[test]
fn a_server_that_says_nothing_or_too_much_ends_alone() {
    for act in [Act::Hang, Act::Flood] {
        for verb in ["", "LHLO", "MAIL", "DATA"] {
            let server = server(mails(2)).start();
            let mta = Mta::lmtp().acts(at(verb, 0, act.clone())).start();
            let account = Account::on(server.port).set("deliver", "[\"there\", \"maildir:~/Mail\"]").set("timeout", 1);
            let sandbox = Sandbox::new();
            sandbox.config(&format!("[targets.there]\ndeliver = \"lmtp://127.0.0.1:{}\"\n{account}", mta.port));
            let status = if matches!(act, Act::Hang) { 75 } else { 76 };
            let run = sandbox.popfetch(["-q"]).exits(status);
            run.says(&[&format!("`lmtp://127.0.0.1:{}` gets no more messages in this run", mta.port)]);
            assert_eq!(sandbox.maildir().messages().len(), 2, "{verb}");
        }
    }
}

#[test]
fn the_answer_to_a_message_is_waited_for_longer_than_other_replies() {
    let slow = |asked: &Asked<'_>| {
        if asked.command == "." {
            std::thread::sleep(Duration::from_millis(2500));
        }
        None
    };
    let server = server(mails(1)).start();
    let mta = Mta::lmtp().acts(slow).start();
    let sandbox = Sandbox::new();
    let account = Account::on(server.port).set("deliver", "\"there\"").set("timeout", 1);
    sandbox.config(&format!("[targets.there]\ndeliver = \"lmtp://127.0.0.1:{}\"\n{account}", mta.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(mta.taken().len(), 1);
}

/// What a kill before each call of a run leaves: nothing is lost, and at most `in_flight` messages come twice.
fn kill_everywhere(build: fn() -> MtaBuilder, kind: &str, in_flight: usize) {
    if !can_trace() {
        return;
    }
    // Calls are counted by thread: more batches than the session's own writes, so that each kind of call is met.
    let mails = || mails(4 * in_flight);
    let begin = || {
        let (server, mta) = (server(mails()).start(), build().start());
        let sandbox = sandbox(&server, &mta, kind, &format!("in_flight = {in_flight}"), false);
        (server, mta, sandbox)
    };
    let calls = {
        let (_server, _mta, sandbox) = begin();
        calls_of(&sandbox)
    };
    let (mut killed, mut most) = (0, 0);
    for call in &calls {
        let (server, mta, sandbox) = begin();
        let when = format!("{kind}, {in_flight} in flight, killed before {call}");
        let code = kill_before(&sandbox, call).code();
        assert!(matches!(code, 0 | 137), "{when}: {code}");
        killed += usize::from(code == 137);
        let left = server.unique_ids(USER);
        let taken = mta.messages();
        let is_lost = |mail: &&Mail| !left.contains(&mail.unique_id) && !taken.contains(&mail.octets);
        assert_eq!(mails().iter().filter(is_lost).count(), 0, "{when}");
        let run = sandbox.popfetch(["-q"]);
        assert_eq!((run.code(), run.stderr.as_str()), (0, ""), "{when}");
        let repeated = repeated(&mta, &mails(), &when);
        assert!(repeated <= in_flight, "{when}: {repeated} came twice");
        most = most.max(repeated);
        assert!(server.unique_ids(USER).is_empty(), "{when}");
        let spools = crate::sandbox::names(&sandbox.state()).into_iter().filter(|name| name.ends_with(".spool"));
        assert_eq!(spools.count(), 0, "{when}: litter");
    }
    println!("{kind}, {in_flight} in flight: {} calls, {killed} kills, at most {most} twice", calls.len());
    // Which thread comes to its n-th call first is chance, and so is whether a kill falls between a message and its record.
    assert!(killed > 20, "only {killed} of {} kills happened", calls.len());
}

#[test]
fn a_server_survives_a_kill_before_every_call() {
    kill_everywhere(Mta::lmtp, "lmtp", 1);
    kill_everywhere(Mta::smtp, "smtp", 1);
}

#[test]
fn several_messages_in_flight_survive_a_kill_before_every_call() {
    kill_everywhere(|| Mta::lmtp().extensions(&CHUNKING), "lmtp", 3);
    kill_everywhere(|| Mta::smtp().extensions(&CHUNKING), "smtp", 2);
}

#[test]
fn two_targets_of_which_one_is_down_for_days() {
    let server = server(mails(3)).start();
    let mta = Mta::lmtp().acts(|asked| (asked.nth < 4).then(|| Act::Say("421 4.3.2 down".into()))).start();
    let sandbox = Sandbox::new();
    let account = Account::on(server.port).set("deliver", "[\"there\", \"maildir:~/Mail\"]").set("keep", false);
    sandbox.config(&format!("[targets.there]\ndeliver = \"lmtp://127.0.0.1:{}\"\n{account}", mta.port));
    for number in 0..4 {
        let run = sandbox.popfetch(["-q", "--now"]).exits(75);
        if number == 0 {
            run.says(&["gets no more messages in this run", "refused the connection: `421 4.3.2 down`"]);
        }
        assert_eq!((sandbox.maildir().messages().len(), server.unique_ids(USER).len()), (3 + number, 3 + number));
        server.arrive(USER, mails(4 + number).pop().unwrap());
    }
    sandbox.popfetch(["-q", "--now"]).exits(0);
    assert_eq!((mta.messages(), sandbox.maildir().messages().len()), (octets(&mails(7)), 7), "each once");
    assert!(server.unique_ids(USER).is_empty());
    // The same server for somebody else is another target, and gets what comes from now on.
    let account = Account::on(server.port).set("deliver", "\"there\"").set("keep", true);
    let other = format!("deliver = \"lmtp://127.0.0.1:{}\"\nrecipient = \"bob\"", mta.port);
    sandbox.config(&format!("[targets.there]\n{other}\n{account}"));
    server.arrive(USER, mails(8).pop().unwrap());
    sandbox.popfetch(["-q", "--now"]).exits(0);
    assert_eq!(mta.taken().last().unwrap().rcpt, "RCPT TO:<bob>");
    assert_eq!(mta.taken().len(), 8);
}

#[test]
fn headers_stand_before_a_message_and_the_id_is_the_same_each_time() {
    let twins = [Mail::new("same", message(1)), Mail::new("same", message(1)), Mail::new("other", message(1))];
    let server = server(twins).start();
    let mta = Mta::lmtp().start();
    let keys = "headers = [\"received\", \"delivered-to\", \"id\"]\nrecipient = \"bob\"";
    let sandbox = sandbox(&server, &mta, "lmtp", keys, true);
    sandbox.popfetch(["-q"]).exits(0);
    sandbox.popfetch(["-q", "--all"]).exits(0);
    let taken = mta.taken();
    let ids: Vec<String> = taken.iter().map(|taken| id_of(&taken.octets)).collect();
    assert_eq!((ids.len(), &ids[..3]), (6, &ids[3..]));
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3, "twins are told apart: {ids:?}");
    let text = String::from_utf8(taken[0].octets.clone()).unwrap();
    let body = text.strip_suffix(&message(1)).expect("the message follows as it was");
    assert!(body.starts_with("Delivered-To: bob\r\nReceived: from 127.0.0.1\r\n\tby "), "{body}");
    assert!(body.contains(" with POP3\r\n\tfor <bob>; ") && body.contains("\r\nX-Popfetch-Id: "), "{body}");
}

fn id_of(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    text.lines().find_map(|line| line.strip_prefix("X-Popfetch-Id: ")).expect("it has an id").to_owned()
}

#[test]
fn a_login_under_tls_works_and_its_secret_is_never_shown() {
    let authority = Authority::new("relay");
    let server = server(mails(2)).start();
    let mta = Mta::smtp().implicit_tls(authority.good().server_config()).login("petar", CANARY).start();
    let sandbox = Sandbox::new();
    let ca = sandbox.file("ca.pem", &authority.pem);
    let account = Account::on(server.port).set("deliver", "\"there\"").set("keep", true);
    let target = |extra: &str| {
        let (port, ca) = (mta.port, ca.display());
        format!(
            "[targets.there]\ndeliver = \"smtps://petar@localhost:{port}\"\ntls_ca_file = \"{ca}\"\n{extra}\n{account}"
        )
    };
    sandbox.config(&target(&format!("password_command = [\"echo\", \"{CANARY}\"]")));
    let run = sandbox.popfetch(["-vv"]).exits(0);
    for line in ["work: smtp S: 220 mta.example.org ready", "work: smtp C: AUTH PLAIN ****", "work: smtp C: DATA"] {
        assert!(run.stderr.contains(line), "{line}: {run:#?}");
    }
    assert!(run.stderr.contains("octets of message text"), "{run:#?}");
    assert_eq!(mta.taken().len(), 2);
    server.arrive(USER, mails(3).pop().unwrap());
    sandbox.config(&target("password = \"not-the-one\""));
    sandbox.popfetch(["-q"]).exits(77).says(&["refused the login of `petar`: `535 5.7.8 no`"]);
    sandbox.config(&target(""));
    sandbox.popfetch(["-q"]).exits(78).says(&["needs a password, and none is configured", "password_command"]);
    sandbox.config(&target(&format!("auth = \"scram-sha-256\"\npassword = \"{CANARY}\"")));
    sandbox.popfetch(["-q"]).exits(69).says(&["does not offer AUTH SCRAM-SHA-256"]);
    assert_eq!(mta.taken().len(), 2);
}

#[test]
fn starttls_is_verified_and_nothing_said_before_it_counts() {
    let authority = Authority::new("relay");
    let tls = || authority.good().server_config();
    let cases: [(MtaBuilder, &str, i32, &str); 4] = [
        (Mta::smtp().starttls(tls()), "", 0, ""),
        (Mta::smtp(), "", 69, "does not offer STARTTLS"),
        (Mta::smtp().starttls(tls()).says_behind_starttls("\r\n250 injected"), "", 76, "sent data before the TLS"),
        (Mta::smtp().starttls(authority.wrong_name().server_config()), "", 69, "certificate"),
    ];
    for (mta, keys, status, said) in cases {
        let (server, mta, sandbox) = (server(mails(1)).start(), mta.start(), Sandbox::new());
        let ca = sandbox.file("ca.pem", &authority.pem);
        let account = Account::on(server.port).set("deliver", "\"there\"");
        let target = format!("deliver = \"smtp://localhost:{}\"\ntls = \"starttls\"\n{keys}", mta.port);
        sandbox.config(&format!("[targets.there]\n{target}\ntls_ca_file = \"{}\"\n{account}", ca.display()));
        sandbox.popfetch(["-q"]).exits(status).says(&[said]);
        assert_eq!(mta.taken().len(), usize::from(status == 0), "{said}");
        let ehlos = mta.heard().iter().filter(|command| command.starts_with("EHLO")).count();
        assert_eq!(ehlos, if status == 0 { 2 } else { 1 }, "{said}");
    }
}

#[test]
fn mistakes_about_servers_are_told() {
    for (target, expected) in [
        ("deliver = \"lmtp://\"", "`lmtp:PATH` with the absolute path"),
        ("deliver = \"smtp://u:p@h\"", "without a password"),
        ("deliver = \"maildir:/m\"\nrecipient = \"x\"", "`recipient` is for targets that are servers"),
        ("deliver = \"lmtp:/x\"\nrecipient = \"a b\"", "an address or a user name without blanks"),
        ("deliver = \"lmtp:/x\"\nrecipient = \"%n\"", "`%u` is the user"),
        ("deliver = \"lmtp:/x\"\nsender = \"x\"", "return-path"),
        ("deliver = \"lmtp:/x\"\nin_flight = 0", "from 1 to 256"),
        ("deliver = \"lmtp:/x\"\nheaders = [\"x\"]", "`received`, `delivered-to` and `id`"),
        ("deliver = \"smtps://u@h\"\ntls = \"none\"", "begin TLS at once"),
        ("deliver = \"lmtp:/x\"\npassword = \"a\"\npassword_file = \"b\"", "`password`"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.config(&format!("[targets.there]\n{target}\n{}", Account::on(1).set("deliver", "\"there\"")));
        sandbox.popfetch(["-q"]).exits(78).says(&[expected]);
    }
}

#[test]
fn a_check_greets_and_sends_nothing_and_a_look_calls_nobody() {
    let server = server(mails(2)).start();
    let mta = Mta::lmtp().extensions(&["PIPELINING", "SIZE 2048"]).start();
    let sandbox = sandbox(&server, &mta, "lmtp", "", true);
    for look in [&["list"][..], &["--dry-run"], &["check", "--offline"]] {
        sandbox.popfetch(look.iter()).exits(0);
        assert_eq!(mta.connections(), 0, "{look:?}");
    }
    let run = sandbox.popfetch(["check", "--offline"]).exits(0);
    let keys = "recipient = \"alice\", sender = \"return-path\", in_flight = 1, headers = [], tls = \"none\"";
    assert!(run.stdout.contains(keys), "{}", run.stdout);
    let run = sandbox.popfetch(["check"]).exits(0);
    assert!(run.stdout.contains("takes mail: PIPELINING; messages of up to 2.0 KiB"), "{}", run.stdout);
    let heard: Vec<String> = mta.heard().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(heard, ["", "LHLO", "QUIT"]);
    drop(mta);
    let run = sandbox.popfetch(["check"]);
    assert!(run.code() != 0 && run.stdout.contains("cannot connect"), "{run:#?}");
}

#[test]
fn a_wish_to_stop_leaves_the_server_a_moment_to_answer() {
    for (kind, build, keys) in ways() {
        let slow = |asked: &Asked<'_>| {
            if asked.command == "." || asked.command.starts_with("BDAT") {
                std::thread::sleep(Duration::from_millis(300));
            }
            None
        };
        let server = server(mails(6)).start();
        let mta = build().acts(slow).start();
        let sandbox = sandbox(&server, &mta, kind, keys, false);
        let when = format!("{kind}, {keys}");
        let running = sandbox.start(&mut sandbox.listening(["-q"]));
        // The server has the message, and has not answered.
        wait_until(|| mta.count(".") + mta.count("BDAT") > 0);
        running.signal(rustix::process::Signal::TERM);
        let run = running.finish();
        assert_eq!(run.code(), 143, "{when}: {run:#?}");
        assert!(mta.taken().len() < 6, "{when}");
        sandbox.popfetch(["-q", "--now"]).exits(0);
        assert_eq!(repeated(&mta, &mails(6), &when), 0, "{when}");
    }
}

#[test]
fn what_was_sent_and_not_answered_is_told() {
    for (extensions, end, keys, words) in [
        (&["PIPELINING"][..], ".", "", "ended the connection; 1 message that it did not answer may come twice"),
        (&CHUNKING, "BDAT", "in_flight = 3", "ended the connection; 2 messages that it did not answer may come twice"),
        (&["PIPELINING"], "DATA", "", "ended the connection; 1 message delivered"),
    ] {
        let server = server(mails(3)).start();
        let mta = Mta::lmtp().extensions(extensions).acts(at(end, 1, Act::TakeAndClose)).start();
        let sandbox = sandbox(&server, &mta, "lmtp", keys, false);
        sandbox.popfetch(["-q"]).exits(75).says(&[words]);
    }
}

#[test]
fn a_connection_that_was_idle_for_long_is_tried_and_dialled_again() {
    let server = server(mails(2)).pace(Duration::from_secs(6)).start();
    let mta = Mta::lmtp().acts(at("NOOP", 0, Act::Close)).start();
    let sandbox = sandbox(&server, &mta, "lmtp", "", false);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((mta.messages(), mta.connections(), mta.count("NOOP")), (octets(&mails(2)), 2, 1));
}

#[test]
fn a_run_by_url_may_deliver_to_a_server() {
    let server = server(mails(2)).start();
    let mta = Mta::smtp().start();
    let sandbox = Sandbox::new();
    sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password {CANARY}\n"));
    let (url, deliver) = (format!("pop3://{USER}@127.0.0.1:{}", server.port), format!("smtp://127.0.0.1:{}", mta.port));
    for _ in 0..2 {
        sandbox.popfetch(["-q", "--tls", "none", "--deliver", &deliver, &url]).exits(0);
    }
    assert_eq!(mta.messages(), octets(&mails(2)));
    assert_eq!(mta.taken()[0].rcpt, format!("RCPT TO:<{USER}>"));
}

/// The disk is where messages wait, and where the ledger is.
#[test]
fn a_full_disk_at_every_call_loses_nothing() {
    if !can_trace() {
        return;
    }
    let mails = || Scenario::mails();
    let calls = {
        let (server, mta) = (server(mails()).start(), Mta::lmtp().start());
        calls_of(&sandbox(&server, &mta, "lmtp", "", false))
    };
    let needs_room = |call: &&Call| call.is_of_the_disk() && !call.name.starts_with("unlink");
    let mut failed = 0;
    for (call, stays_full) in calls.iter().filter(needs_room).flat_map(|call| [(call, false), (call, true)]) {
        // Those would be every library, and the line to the server, too.
        if stays_full && (call.name.starts_with("open") || call.name == "write") {
            continue;
        }
        let (server, mta) = (server(mails()).start(), Mta::lmtp().start());
        let sandbox = sandbox(&server, &mta, "lmtp", "", false);
        let when = format!("ENOSPC at {call}{}", if stays_full { " and later" } else { "" });
        let run = fail_at(&sandbox, call, "ENOSPC", stays_full);
        assert!(matches!(run.code(), 0 | 73 | 74 | 75), "{when}: {run:#?}");
        failed += usize::from(run.code() != 0);
        let is_lost =
            |mail: &&Mail| !server.unique_ids(USER).contains(&mail.unique_id) && !mta.messages().contains(&mail.octets);
        assert_eq!(mails().iter().filter(is_lost).count(), 0, "{when}");
        sandbox.popfetch(["-q", "--now"]).exits(0);
        assert!(repeated(&mta, &mails(), &when) <= 1, "{when}");
        assert!(server.unique_ids(USER).is_empty(), "{when}");
    }
    println!("{} calls, {failed} failed and recovered", calls.len());
    assert!(failed > 5);
}

/// A target that gets its tokens as a service, and the server that takes them.
fn with_oauth2(endpoint: &Endpoint, mta: &Mta, server: &Maildrop) -> String {
    let oauth2 = format!(
        "{{ flow = \"client_credentials\", client_id = \"app\", client_secret = {CANARY:?}, token_endpoint = \"{}/token\" }}",
        endpoint.url()
    );
    config(server, &format!("smtp://petar@127.0.0.1:{}", mta.port), &format!("oauth2 = {oauth2}"), true)
}

fn token() -> Answer {
    Answer::Says(200, format!("{{\"access_token\":{TOKEN:?},\"token_type\":\"Bearer\",\"expires_in\":3600}}"))
}

const TOKEN: &str = "kanarinac-pristup";

#[test]
fn a_target_has_oauth2_of_its_own_and_is_signed_in_to_by_its_name() {
    let server = server(mails(2)).start();
    let takes_token = |asked: &Asked<'_>| match asked.command {
        "AUTH XOAUTH2" => say("334 "),
        command if command.starts_with("dXNlcj1") => say("235 2.7.0 welcome"),
        _ => None,
    };
    let extensions = ["PIPELINING", "AUTH XOAUTH2"];
    let mta = Mta::smtp().extensions(&extensions).acts(takes_token).start();
    let endpoint = Endpoint::start([token(), token()]);
    let sandbox = Sandbox::new();
    sandbox.config(&with_oauth2(&endpoint, &mta, &server));
    for words in [&["login", "there", "-vv"][..], &["login", "-vv"], &["check", "-vv"], &["-vv"]] {
        let run = sandbox.popfetch(words).exits(0);
        let shown = format!("{}{}", run.stdout, run.stderr);
        assert!(shown.contains("smtp C: AUTH XOAUTH2") && shown.contains("smtp S: 235"), "{run:#?}");
        assert!(![CANARY, TOKEN, "dXNlcj1"].iter().any(|secret| shown.contains(secret)), "{run:#?}");
        if words[0] == "login" {
            let address = format!("smtp://127.0.0.1:{}", mta.port);
            run.says(&[&format!("popfetch: there: signed in, and `{address}` takes it; `popfetch work` works")]);
        }
    }
    assert_eq!((mta.messages(), endpoint.heard().len()), (octets(&mails(2)), 2), "one for each sign-in");
    sandbox.popfetch(["logout", "there"]).exits(0).says(&["popfetch: there: the token is removed"]);
    sandbox.popfetch(["logout"]).exits(0).says(&["popfetch: there: nobody is signed in"]);
    sandbox.popfetch(["login", "ther"]).exits(78);
}

#[test]
fn a_refused_token_of_a_target_is_dropped_for_the_next_run() {
    let server = server(mails(1)).start();
    let refuses = |asked: &Asked<'_>| match asked.command {
        "AUTH XOAUTH2" => say("334 "),
        command if command.starts_with("dXNlcj1") => say("535 5.7.8 no"),
        _ => None,
    };
    let mta = Mta::smtp().extensions(&["AUTH XOAUTH2"]).acts(refuses).start();
    let endpoint = Endpoint::start([token(), token()]);
    let sandbox = Sandbox::new();
    sandbox.config(&with_oauth2(&endpoint, &mta, &server));
    for _ in 0..2 {
        let run = sandbox.popfetch(["-q", "--now"]).exits(77);
        run.says(&["refused the login of `petar`", "the next run gets a new access token", "`popfetch login there`"]);
    }
    assert_eq!(endpoint.heard().len(), 2);
}
