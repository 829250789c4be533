//! Servers that lie, stutter, fall silent and cut the line, by malice or by mistake.
//!
//! Whatever they do: the run ends in time and says at which stage, nothing that is not at home was deleted, the other
//! accounts are fetched, and no octet of theirs reaches the terminal raw.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::sandbox::{
    Account, CANARY, Maildir, Run, Sandbox, USER, all_at_home, mails, message, names, server, status, wait_until,
};
use crate::server::{Authority, Builder, Fault, Identity, Mail, Maildrop, Misdeed, Moment, Responder, ScriptServer};

/// What people see must be free of controls, but for line ends.
#[track_caller]
fn assert_printable(run: &Run) {
    let is_raw = |c: char| c.is_control() && c != '\n';
    assert!(!run.stderr.contains(is_raw) && !run.stdout.contains(is_raw), "{run:#?}");
}

// Nonsense in one reply

/// Fetches two messages, to be deleted, from a server that gives one strange reply, and checks what must always hold.
#[track_caller]
fn fetch_despite(command: &str, reply: &str, code: i32, words: &[&str]) -> (Sandbox, Maildrop) {
    // The answer to LIST is one to LIST of everything.
    let builder = server(mails(2)).answer("LIST 1", "+OK 1 5").answer("LIST 2", "+OK 2 5");
    let server = builder.answer(command, reply).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false).set("timeout", 2));
    let run = sandbox.popfetch(["--json"]);
    let case = format!("{command:?} answered with {:?}: {run:#?}", reply.get(..80).unwrap_or(reply));
    assert_eq!(run.code(), code, "{case}");
    assert!(words.iter().all(|word| run.stderr.contains(word)), "{words:?}, {case}");
    assert_printable(&run);
    let (left, home) = (server.unique_ids(USER).len(), sandbox.maildir().messages().len());
    assert!(left + home >= 2, "{left} left and {home} at home, {case}");
    assert!(code == 0 || !run.stderr.is_empty(), "{case}");
    (sandbox, server)
}

/// The same, and both messages must have come home as they were.
#[track_caller]
fn fetch_all_despite(command: &str, reply: &str) {
    let (sandbox, server) = fetch_despite(command, reply, 0, &[]);
    assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(2)), "{command:?}: {reply:?}");
    assert!(server.unique_ids(USER).is_empty(), "{command:?}: {reply:?}");
}

#[test]
fn greetings_and_capabilities_may_be_odd_but_not_senseless() {
    fetch_all_despite("", "+OK\0\x1b[2J ready \u{9b}");
    fetch_all_despite("", "+OKready");
    fetch_despite("", "ready", 76, &["greeting", "`ready`"]);
    fetch_despite("", "+ok ready", 76, &["greeting"]);
    fetch_despite("", "", 76, &["greeting"]);
    fetch_despite("", "-ERR\0\x1b]0;owned\x07", 75, &["\\x1b]0;owned\\x07"]);
    fetch_all_despite("CAPA", "-ERR");
    fetch_all_despite("CAPA", "+OK\nUIDL\nPIPELINING\n.");
    fetch_all_despite("CAPA", "+OK\r\n\r\n\0\r\nSASL\r\nSASL \u{17e} PLAIN\r\nUIDL x y\r\n.");
    fetch_despite("CAPA", &format!("+OK{}\r\n.", "\r\nX".repeat(201)), 76, &["CAPA", "200 lines"]);
    fetch_despite("CAPA", &format!("+OK\r\n{}\r\n.", "X".repeat(20_000)), 76, &["CAPA", "octets"]);
    fetch_despite("CAPA", "OK", 76, &["CAPA", "`OK`"]);
}

#[test]
fn a_login_is_accepted_with_a_status_only() {
    for (reply, code) in [("OK", 76), ("+ PDE+", 76), ("+", 76), ("", 76), ("-ERR \x1b[2J", 77)] {
        let (_, server) = fetch_despite("AUTH", reply, code, &[]);
        assert_eq!(server.count("STAT"), 0, "{reply:?}");
    }
}

#[test]
fn stat_may_say_what_it_likes() {
    let replies =
        ["+OK", "+OK 0 0", "+OK 99999999999999999999999 1", "+OK 2", "+OK -1 -1", "+OK two", "-ERR", "+OK 2 -5"];
    replies.iter().for_each(|reply| fetch_all_despite("STAT", reply));
    fetch_despite("STAT", "2 320", 76, &["STAT", "`2 320`"]);
}

#[test]
fn a_message_number_that_is_none_is_an_error_that_names_the_listing() {
    let numbers = ["0", "-1", "+1", "x", "1.5", "4294967296", "18446744073709551616", "\0", "\x1b[2J"];
    for number in numbers {
        for command in ["UIDL", "LIST"] {
            let reply = format!("+OK\r\n{number} 70\r\n2 70\r\n.");
            let (_, server) = fetch_despite(command, &reply, 76, &[command]);
            assert_eq!((server.count("RETR"), server.count("DELE")), (0, 0), "{command}: {number:?}");
        }
    }
}

#[test]
fn a_message_number_that_stands_twice_deletes_nothing() {
    for reply in ["+OK\r\n1 a\r\n1 b\r\n.", "+OK\r\n2 a\r\n1 b\r\n2 c\r\n."] {
        let (_, server) = fetch_despite("UIDL", reply, 76, &["UIDL", "twice"]);
        assert_eq!((server.count("RETR"), server.count("DELE")), (0, 0));
    }
    fetch_despite("LIST", "+OK\r\n3 1\r\n3 1\r\n.", 76, &["LIST", "twice"]);
}

#[test]
fn unique_ids_may_be_any_octets_of_any_length() {
    let long = "x".repeat(10_000);
    for id in ["\x1b[2J\x07", "../../../etc/passwd", "a\0b", "\u{9b}31m", "{\"gone\":1}", &"y".repeat(1000), &long, ""]
    {
        fetch_all_despite("UIDL", &format!("+OK\r\n1 {id}\r\n2 other\r\n."));
    }
    fetch_all_despite("UIDL", "+OK\r\n1 same\r\n2 same\r\n.");
}

#[test]
fn a_strange_unique_id_is_remembered_as_well() {
    let ids = ["\x1b[2J\x07", "a\0b", "\u{9b}31m/../..", "same", "same"];
    let mails: Vec<_> = (1..).zip(ids).map(|(n, id)| Mail::new(id, message(n * 11))).collect();
    let server = server(mails.clone()).start();
    let sandbox = Sandbox::with(Account::on(server.port));
    for _ in 0..2 {
        let run = sandbox.popfetch(["-vv", "--json"]).exits(0);
        assert_printable(&run);
        assert_eq!((sandbox.maildir().messages(), server.count("RETR")), (all_at_home(&mails), ids.len()));
    }
}

#[test]
fn listings_that_disagree_lose_nothing() {
    fetch_all_despite("UIDL", "+OK\r\n2 b\r\n1 a\r\n.");
    fetch_all_despite("UIDL", "+OK\r\n1 a\r\n.");
    fetch_all_despite("UIDL", "+OK\r\n.");
    fetch_all_despite("LIST", "+OK\r\n.");
    fetch_all_despite("LIST", "+OK\r\n2 5\r\n.");
    fetch_all_despite("LIST", "+OK\r\n2 5\r\n1 5\r\n2 6\r\n.");
    // The third message exists only in a listing.
    fetch_despite("UIDL", "+OK\r\n1 a\r\n2 b\r\n3 c\r\n.", 75, &["message 3", "no such message"]);
    fetch_despite("LIST", "+OK\r\n1 5\r\n2 5\r\n3 5\r\n.", 75, &["message 3", "no such message"]);
    fetch_despite("LIST", "-ERR \x07", 76, &["LIST", "\\x07"]);
    for command in ["UIDL", "LIST"] {
        fetch_despite(command, "+OK\r\n\r\n.", 76, &[command]);
        fetch_despite(command, "what?", 76, &[command, "`what?`"]);
        fetch_despite(command, &format!("+OK\r\n1 {}\r\n.", "9".repeat(20_000)), 76, &[command, "octets"]);
    }
}

#[test]
fn sizes_that_overflow_are_only_sizes() {
    for size in [u64::MAX, u64::MAX - 1, u64::MAX / 2 + 1, 1 << 32, 0] {
        fetch_all_despite("LIST", &format!("+OK\r\n1 {size}\r\n2 {size}\r\n."));
    }
}

#[test]
fn sizes_that_overflow_stop_no_command() {
    let huge = |size| mails(3).into_iter().map(move |mail| Mail { announced: Some(size), ..mail });
    for size in [1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX] {
        let (one, two) = (server(huge(size)).start(), server(huge(size)).start());
        let sandbox = Sandbox::new();
        let accounts = |more: &dyn Fn(Account) -> Account| {
            let two = Account::on(two.port).named("home").set("deliver", "\"maildir:~/Mail2\"");
            sandbox.config(&format!("{}{}", more(Account::on(one.port)), more(two)));
        };
        accounts(&|account| account);
        let look = |words: &[&str]| {
            let run = sandbox.popfetch(words).exits(0);
            let is_json = words.contains(&"--json");
            assert!(!is_json || run.events().last().unwrap()["event"] == "end", "{words:?}: {run:#?}");
        };
        let looks = || {
            for words in [&["list"][..], &["list", "--sort", "size"], &["--dry-run"]] {
                look(words);
                look(&[words, &["--json"]].concat());
                look(&[words, &["--delete-over", "1k"]].concat());
                look(&[words, &["--keep-newest", "1"]].concat());
            }
        };
        looks();
        for _ in 0..3 {
            sandbox.popfetch(["--keep"]).exits(0);
            looks();
        }
        let three = all_at_home(&mails(3));
        let homes = ["Mail", "Mail2"].map(|home| names(&sandbox.path(home).join("new")).len());
        assert_eq!((homes, sandbox.maildir().messages()), ([3, 3], three), "{size}");
        for key in ["keep_newest", "delete_over"] {
            accounts(&|account| account.set(key, 1));
            sandbox.popfetch(["-q"]).exits(0);
        }
    }
}

#[test]
fn a_size_that_is_none_is_unknown_and_its_message_is_fetched() {
    for size in ["18446744073709551616", "-5", "x", "1.5", "\0", "\x1b[2J", ""] {
        let words = &["no readable size for 1 message"];
        for reply in [format!("+OK\r\n1 {size}\r\n2 5\r\n."), format!("+OK\r\n2 5\r\n1 {size}\r\n.")] {
            let (sandbox, server) = fetch_despite("LIST", &reply, 0, words);
            assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(2)), "{size:?}");
            assert!(server.unique_ids(USER).is_empty(), "{size:?}");
        }
    }
}

#[test]
fn exchanged_listings_are_refused_before_everything_comes_under_false_ids() {
    let all = mails(3);
    let uidl = |ids: &[&str]| {
        let lines = (1..).zip(ids).map(|(number, id)| format!("{number} {id}\r\n"));
        format!("+OK\r\n{}.", lines.collect::<String>())
    };
    let sizes: Vec<String> = all.iter().map(|mail| mail.octets.len().to_string()).collect();
    let sizes = uidl(&sizes.iter().map(String::as_str).collect::<Vec<_>>());
    // Ids that are no sizes; and numbers, of which only STAT tells.
    for (ids, stat) in [(["a", "b", "c"], Some("+OK 3")), (["a", "b", "c"], None), (["7", "8", "9"], None)] {
        let right: Vec<Mail> =
            all.iter().zip(ids).map(|(mail, id)| Mail { unique_id: id.into(), ..mail.clone() }).collect();
        for is_known in [false, true] {
            let server = server(right.clone()).start();
            let sandbox = Sandbox::with(Account::on(server.port).set("keep", true));
            if is_known {
                sandbox.popfetch(["-q"]).exits(0).silently();
            }
            server.answer("UIDL", Some(&sizes));
            server.answer("LIST", Some(&uidl(&ids)));
            server.answer("STAT", stat);
            for words in [&["-q"][..], &["--dry-run"], &["list"], &["-q"]] {
                let run =
                    sandbox.popfetch(words).exits(76).says(&["UIDL and LIST are exchanged", "pipelining = false"]);
                assert_printable(&run);
            }
            assert_eq!(server.count("RETR"), if is_known { 3 } else { 0 });
            ["UIDL", "LIST", "STAT"].into_iter().for_each(|command| server.answer(command, None));
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!((sandbox.maildir().messages(), server.count("RETR")), (all_at_home(&all), 3));
        }
    }
}

#[test]
fn numbers_as_unique_ids_are_no_exchange() {
    for (uidl, list) in [
        ("1 7\r\n2 8", "1 5\r\n2 5"),
        ("1 7\r\n2 8", "1 5\r\n2 x"),
        ("1 5\r\n2 5", "1 5\r\n2 5"),
        ("1 a\r\n2 8", "1 x\r\n2 x"),
        ("1 a\r\n2 b", ""),
    ] {
        let answer = |lines: &str| format!("+OK\r\n{lines}\r\n.").replace("\r\n\r\n", "\r\n");
        let server = server(mails(2)).answer("UIDL", &answer(uidl)).answer("LIST", &answer(list));
        let server = server.answer("STAT", "+OK 2 10").start();
        let sandbox = Sandbox::with(Account::on(server.port));
        sandbox.popfetch(["-q"]).exits(0);
        assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(2)), "{uidl:?} {list:?}");
    }
    // A single message that is too large for the server's counter.
    let server = server(mails(1)).answer("UIDL", "+OK\r\n1 17\r\n.").answer("LIST", "+OK\r\n1 -5\r\n.").start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0);
    assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(1)));
}

#[test]
fn a_size_that_is_none_in_the_reply_to_one_list_is_unknown_too() {
    let server = server(mails(1200)).answer("LIST 1201", "+OK 1201 -5").answer("LIST 1202", "+OK 1202").start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    (1201..=1202).for_each(|number| server.arrive(USER, Mail::new(format!("m{number}"), message(number))));
    sandbox.popfetch(["-q"]).exits(0).says(&["no readable size for 2 messages"]);
    assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(1202)));
    sandbox.popfetch(["-q"]).exits(0).silently();
}

// The text of a message

#[test]
fn only_crlf_dot_crlf_ends_a_message() {
    let texts = [
        ("a\n.\nb", "a\n.\nb\n"),
        ("a\r.\r\nb", "a\r.\nb\n"),
        ("a\n.\r\nb", "a\n.\nb\n"),
        ("a\r\n.\nb", "a\n\nb\n"),
        ("a\r\n.\r\r\nb", "a\n\r\nb\n"),
        ("a\r\n..\r\nb", "a\n.\nb\n"),
        ("a\r\n.+OK\r\nb", "a\n+OK\nb\n"),
        ("\0\u{1b}[2J", "\0\u{1b}[2J\n"),
        ("-ERR no such message", "-ERR no such message\n"),
    ];
    for (wire, plain) in texts {
        let server = server(mails(2)).answer("RETR 1", &format!("+OK\r\n{wire}\r\n.")).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
        sandbox.popfetch(["-q"]).exits(0).silently();
        let mut expected = vec![plain.as_bytes().to_vec(), all_at_home(&mails(2)[1..]).remove(0)];
        expected.sort();
        assert_eq!(sandbox.maildir().messages(), expected, "{wire:?}");
    }
}

#[test]
fn a_message_without_status_is_an_error_that_names_it() {
    for reply in ["Subject: x\r\n\r\n.", "+ok\r\n.", "", "+", "+ x"] {
        let (_, server) = fetch_despite("RETR 1", reply, 76, &["RETR 1", "nothing was delivered"]);
        assert_eq!(server.count("DELE"), 0);
    }
    let (sandbox, server) = fetch_despite("RETR 2", "Subject: x\r\n\r\n.", 76, &["RETR 2", "message 1"]);
    // The line may as well be the rest of message 1.
    assert_eq!((sandbox.maildir().messages().len(), server.count("DELE")), (0, 0));
}

#[test]
fn a_reply_that_never_comes_deletes_nothing() {
    // The server takes the command and says nothing to it; the next reply is taken for the missing one.
    let silent = Responder::start(|command, out| {
        match command {
            "STAT" => out.write_all(b"+OK 1 9\r\n")?,
            "UIDL" => out.write_all(b"+OK\r\n1 a\r\n.\r\n")?,
            "LIST" => out.write_all(b"+OK\r\n1 9\r\n.\r\n")?,
            "RETR 1" => {}
            _ => return Ok(false),
        }
        Ok(true)
    });
    let sandbox = Sandbox::with(Account::on(silent.port).set("keep", false).set("timeout", 1));
    sandbox.popfetch(["-q"]).exits(75).says(&["RETR 1", "nothing was delivered"]);
    assert!(!silent.heard().iter().any(|command| command.starts_with("DELE")), "{:?}", silent.heard());
}

#[test]
fn a_reply_that_nobody_asked_for_ends_the_session_before_anything_is_deleted() {
    let (sandbox, server) =
        fetch_despite("RETR 2", "+OK\r\nx\r\n.\r\n+OK\r\nSubject: another\r\n\r\n.", 76, &["nobody asked"]);
    assert_eq!((sandbox.maildir().messages().len(), server.count("DELE")), (1, 0));
    fetch_despite("AUTH", "+OK\r\n+OK", 76, &["nobody asked"]);
    fetch_despite("CAPA", "+OK\r\nUIDL\r\nPIPELINING\r\n.\r\n+OK logged in", 76, &["nobody asked"]);
    fetch_despite("", "+OK ready\r\n+OK logged in", 76, &["nobody asked"]);
    let lock_step = server_in_lock_step("STAT", "+OK 2 10\r\n+OK");
    Sandbox::with(Account::on(lock_step.port)).popfetch(["-q"]).exits(76).says(&["UIDL", "nobody asked"]);
    let farewell = server_in_lock_step("STAT", "+OK 2 10\r\n-ERR idle for too long");
    Sandbox::with(Account::on(farewell.port)).popfetch(["-q"]).exits(75).says(&["`-ERR idle for too long`"]);
    // In the middle of a flight the replies get out of step, and that shows.
    fetch_despite("STAT", "+OK 2 10\r\n+OK 2 10", 76, &["UIDL"]);
}

fn server_in_lock_step(command: &str, reply: &str) -> Maildrop {
    server(mails(2)).without_pipelining().answer(command, reply).start()
}

#[test]
fn unique_ids_that_are_refused_for_once_do_not_make_everything_new() {
    for reply in ["-ERR [SYS/TEMP] index is being rebuilt", "-ERR index is being rebuilt"] {
        let (_, server) =
            fetch_despite("UIDL", reply, if reply.contains("TEMP") { 75 } else { 76 }, &["UIDL", &reply[5..]]);
        assert_eq!(server.count("RETR"), 0, "it is announced, so there are ids");
    }
    let empty = server([]).answer("UIDL", "-ERR no messages").start();
    Sandbox::with(Account::on(empty.port)).popfetch(["-q"]).exits(0).silently();
}

#[test]
fn what_is_said_to_dele_and_quit_is_believed_only_when_it_is_ok() {
    fetch_despite("DELE", "-ERR \x1b[2J no", 75, &["message 1", "message 2", "\\x1b[2J no"]);
    fetch_despite("DELE", "deleted", 76, &["DELE", "not known"]);
    fetch_despite("QUIT", "-ERR \x07 some were not deleted", 76, &["QUIT", "not known", "\\x07"]);
    fetch_despite("QUIT", "bye", 76, &["QUIT", "not known"]);
}

// Floods

/// A server with a listing that is made up line by line; no line: no end.
fn flood(command: &'static str, line: impl Fn(u64) -> Option<String> + Send + Sync + 'static) -> Responder {
    Responder::start(move |heard, out| {
        if heard != command {
            return Ok(false);
        }
        out.write_all(b"+OK\r\n")?;
        (1..).map_while(&line).try_for_each(|line| out.write_all(line.as_bytes()))?;
        out.write_all(b".\r\n").map(|()| true)
    })
}

/// Runs and returns the most memory that it took, in MiB.
fn peak(sandbox: &Sandbox) -> (Run, u64) {
    let mut running = sandbox.start(&mut sandbox.command(["-q"]));
    let mut peak = 0;
    running.watch(|pid| peak = peak.max(status(pid, "VmHWM").unwrap_or(0)));
    (running.finish(), peak >> 10)
}

#[test]
fn a_listing_without_end_is_given_up() {
    type Line = fn(u64) -> Option<String>;
    let cases: [(&str, Line); 4] = [
        ("CAPA", |_| Some("X\r\n".into())),
        ("UIDL", |n| Some(format!("{n}\r\n"))),
        ("UIDL", |n| Some(format!("{n} {}\r\n", "x".repeat(900)))),
        ("UIDL", |n| Some("x".repeat(n.min(1000) as usize))),
    ];
    for (command, line) in cases {
        let server = flood(command, line);
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
        let (run, peak) = peak(&sandbox);
        run.exits(76).says(&[command]);
        assert!(peak <= 320, "{command}: {peak} MiB");
    }
}

#[test]
fn a_million_messages_are_listed_in_a_bounded_memory() {
    const MANY: u64 = 1_000_000;
    let server = Responder::start(|command, out| {
        match command {
            "STAT" => write!(out, "+OK {MANY} {MANY}\r\n")?,
            "LIST" => listing(out, |n| n % 5000)?,
            "UIDL" => listing(out, |n| n + 1_000_000_000_000)?,
            _ => return Ok(false),
        }
        Ok(true)
    });
    let sandbox = Sandbox::with(Account::on(server.port));
    let mut running = sandbox.start(&mut sandbox.command(["--dry-run"]));
    let mut peak = 0;
    running.watch(|pid| peak = peak.max(status(pid, "VmHWM").unwrap_or(0)));
    let run = running.finish().exits(0);
    assert!(run.stdout.contains("would deliver 1000000"), "{run:#?}");
    assert!(peak >> 10 <= 184, "{} MiB", peak >> 10);
}

/// What half a million messages, and their long ids, need is more than half of the budget.
const CROWD: u64 = 550_000;

fn crowd(out: &mut impl Write, id_octets: usize) -> std::io::Result<()> {
    out.write_all(b"+OK\r\n")?;
    (1..=CROWD).try_for_each(|n| write!(out, "{n} {n:0id_octets$}\r\n"))?;
    out.write_all(b".\r\n")?;
    out.flush()
}

#[test]
fn a_listing_that_does_not_fit_beside_others_waits_for_them() {
    // An account that has its ids holds them until the other one has given up its session.
    let gave_up = Arc::new(AtomicBool::new(false));
    let server = || {
        let gave_up = gave_up.clone();
        Responder::start(move |command, out| {
            match command {
                "STAT" => write!(out, "+OK {CROWD} 1\r\n")?,
                "UIDL" => {
                    let listed = crowd(out, 60);
                    gave_up.fetch_or(listed.is_err(), Ordering::Relaxed);
                    listed?;
                }
                "LIST" => {
                    wait_until(|| gave_up.load(Ordering::Relaxed));
                    crowd(out, 1)?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })
    };
    let (first, second) = (server(), server());
    let sandbox = Sandbox::new();
    let accounts = [Account::on(first.port).named("first"), Account::on(second.port).named("second")];
    sandbox.config(&accounts.map(|account| account.set("timeout", 100).to_string()).concat());
    let mut running = sandbox.start(&mut sandbox.command(["--dry-run"]));
    let mut peak = 0;
    running.watch(|pid| peak = peak.max(status(pid, "VmHWM").unwrap_or(0)));
    let run = running.finish().exits(0);
    assert_eq!(run.stdout.matches("would deliver 550000").count(), 2, "{run:#?}");
    let asked = |server: &Responder| server.heard().iter().filter(|command| *command == "UIDL").count();
    assert!(asked(&first) + asked(&second) > 2, "one of them had to come again");
    assert!(peak >> 10 <= 300, "{} MiB", peak >> 10);
}

#[test]
fn a_listing_that_does_not_fit_alone_is_refused_with_the_numbers() {
    let server = flood("UIDL", |n| (n <= 4_000_000).then(|| format!("{n} {n:060}\r\n")));
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    let run = sandbox.popfetch(["-q"]).exits(76);
    run.says(&["UIDL", "messages with", "of unique-ids", "256.0 MiB", "nothing was delivered or deleted"]);
    assert_eq!(server.heard().iter().filter(|command| *command == "UIDL").count(), 1, "it is not tried again");
}

fn listing(out: &mut impl Write, value: impl Fn(u64) -> u64) -> std::io::Result<()> {
    out.write_all(b"+OK\r\n")?;
    (1..=1_000_000).try_for_each(|n| write!(out, "{n} {}\r\n", value(n)))?;
    out.write_all(b".\r\n")
}

// Silence, dripping and cuts, at every stage

/// How a server is set up, and what is done to it at one moment.
#[derive(Clone, Copy)]
struct Setting<'a> {
    authority: Option<&'a Authority>,
    pipelining: bool,
}

impl Setting<'_> {
    fn server(self, faults: &[Fault]) -> Maildrop {
        let mut builder: Builder = server(mails(2)).faults(faults.iter().copied());
        if !self.pipelining {
            builder = builder.without_pipelining();
        }
        match self.authority {
            Some(authority) => builder.implicit_tls(authority.good().server_config()).start(),
            None => builder.start(),
        }
    }

    fn account(self, name: &str, port: u16) -> Account {
        let account = Account::on(port).named(name).set("keep", false);
        // Written, so that nothing is tried again in lock-step.
        let account = account.set("deliver", format!("\"maildir:~/{name}\"")).set("pipelining", self.pipelining);
        match self.authority {
            Some(_) => account.set("tls", "\"implicit\"").set("tls_ca_file", "\"~/ca.pem\""),
            None => account,
        }
    }

    /// What goes over the line when nothing goes wrong.
    fn sound(self) -> (Vec<String>, u64) {
        let server = self.server(&[]);
        let sandbox = self.sandbox(&[self.account("sound", server.port)]);
        sandbox.popfetch(["-q"]).exits(0).silently();
        (server.commands(1), server.traffic(1).lines_sent)
    }

    fn sandbox(self, accounts: &[Account]) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.config(&accounts.iter().map(Account::to_string).collect::<String>());
        if let Some(authority) = self.authority {
            sandbox.file("ca.pem", &authority.pem);
        }
        sandbox
    }

    /// One run over an account for each fault, and a sound one. All of the bad ones must fail with their words in
    /// time; all of them are fetched to the end by the next run.
    fn misbehave_everywhere(self, faults: &[(Fault, Vec<String>)]) {
        let servers: Vec<_> =
            faults.iter().map(|(fault, _)| self.server(&[*fault])).chain([self.server(&[])]).collect();
        let names: Vec<_> = (0..servers.len()).map(|at| format!("a{at}")).collect();
        // A second of silence is enough; a slow machine may need longer for a server that does answer.
        let accounts: Vec<_> = names
            .iter()
            .zip(&servers)
            .zip(faults.iter().map(|(fault, _)| is_slow(fault.misdeed)).chain([false]))
            .map(|((name, server), slow)| self.account(name, server.port).set("timeout", if slow { 2 } else { 20 }))
            .collect();
        let sandbox = self.sandbox(&accounts);
        let run = sandbox.popfetch(["-q", "--jobs", "100"]).exits(75);
        assert_printable(&run);
        for ((fault, words), name) in faults.iter().zip(&names) {
            let line = run.stderr.lines().find(|line| line.starts_with(&format!("popfetch: {name}: ")));
            let line = line.unwrap_or_else(|| panic!("{fault:?} was not complained of: {run:#?}"));
            assert!(words.iter().all(|word| line.contains(word.as_str())), "{fault:?}: {words:?} in {line:?}");
        }
        let sound = names.last().expect("the last one is sound");
        assert!(!run.stderr.contains(&format!(" {sound}: ")), "{run:#?}");
        assert_eq!(
            Maildir { path: sandbox.path(sound) }.messages(),
            all_at_home(&mails(2)),
            "the sound one is fetched"
        );
        wait_until(|| servers.iter().all(Maildrop::is_idle));
        sandbox.popfetch(["-q"]).exits(0).silently();
        for (name, server) in names.iter().zip(&servers) {
            let maildir = Maildir { path: sandbox.path(name) };
            assert_eq!(maildir.messages(), all_at_home(&mails(2)), "{name}: each message once");
            assert!(server.unique_ids(USER).is_empty() && maildir.litter().is_empty(), "{name}");
        }
    }

    fn at_every_command(self, misdeed: Misdeed, says: &str) {
        let (commands, _) = self.sound();
        let fault = |at| Fault { moment: Moment::BeforeCommand(at), misdeed };
        let stage = |command: &String| format!("the reply to {}", verb(command));
        let faults: Vec<_> =
            (1..).zip(&commands).map(|(at, line)| (fault(at), vec![says.into(), stage(line)])).collect();
        self.misbehave_everywhere(&faults);
    }

    /// Behind every line of every reply but the last, which ends the session anyway.
    fn behind_every_line(self, misdeed: Misdeed, says: &str) {
        let (_, lines) = self.sound();
        let fault = |at| Fault { moment: Moment::LinesSent(at), misdeed };
        let faults: Vec<_> = (0..lines).map(|at| (fault(at), vec![says.into()])).collect();
        self.misbehave_everywhere(&faults);
    }
}

fn is_slow(misdeed: Misdeed) -> bool {
    !matches!(misdeed, Misdeed::HangUp | Misdeed::CloseNotify)
}

/// A command as errors name it: with a message-number, but without an argument that may be secret.
fn verb(command: &str) -> &str {
    if command.starts_with("RETR") || command.starts_with("DELE") {
        command
    } else {
        command.split(' ').next().unwrap()
    }
}

const CLEAR: Setting<'static> = Setting { authority: None, pipelining: true };
const LOCK_STEP: Setting<'static> = Setting { authority: None, pipelining: false };

#[test]
fn silence_at_every_stage_ends_in_time_and_is_named() {
    CLEAR.at_every_command(Misdeed::Stall, "nothing came within 2 s");
    LOCK_STEP.at_every_command(Misdeed::Stall, "nothing came within 2 s");
}

#[test]
fn silence_within_every_reply_ends_in_time() {
    CLEAR.behind_every_line(Misdeed::Stall, "came within 2 s");
}

#[test]
fn dripping_at_every_stage_ends_in_time() {
    let pause = Duration::from_millis(900);
    CLEAR.behind_every_line(Misdeed::Drip(pause), "came within 2 s");
}

#[test]
fn a_cut_at_every_stage_is_named() {
    CLEAR.at_every_command(Misdeed::HangUp, "closed the connection");
    LOCK_STEP.at_every_command(Misdeed::HangUp, "closed the connection");
}

#[test]
fn a_cut_of_tls_at_every_stage_is_named_with_and_without_its_farewell() {
    let authority = Authority::new("ours");
    for misdeed in [Misdeed::HangUp, Misdeed::CloseNotify] {
        for pipelining in [true, false] {
            let setting = Setting { authority: Some(&authority), pipelining };
            setting.at_every_command(misdeed, "closed the connection");
        }
        Setting { authority: Some(&authority), pipelining: true }.behind_every_line(misdeed, "closed the connection");
    }
}

#[test]
fn silence_and_dripping_under_tls_end_in_time() {
    let authority = Authority::new("ours");
    let setting = Setting { authority: Some(&authority), pipelining: true };
    setting.at_every_command(Misdeed::Stall, "nothing came within 2 s");
    setting.behind_every_line(Misdeed::Drip(Duration::from_millis(900)), "came within 2 s");
}

// TLS: what must never make a client say its password

#[test]
fn a_greeting_that_pretends_a_login_changes_nothing() {
    let server = server(mails(1)).greeting("[PREAUTH] alice is logged in").start();
    let sandbox = Sandbox::with(Account::on(server.port));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.count("AUTH"), 1, "the login is not skipped");
    let script = ScriptServer::tcp("S: +OK [PREAUTH] alice is logged in\nC: CAPA\nS: +OK\nS: UIDL\nS: .");
    Sandbox::with(Account::on(script.port).set("tls", "\"starttls\"")).popfetch(["-q"]).exits(69).says(&["STLS"]);
    script.finish();
}

#[test]
fn a_server_of_old_tls_is_refused_by_version() {
    // What a server of TLS 1.1 alone answers: an alert, or a ServerHello of its own version.
    let alert: &[u8] = &[0x15, 3, 2, 0, 2, 2, 70];
    let mut hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    for reply in [alert.to_vec(), hello] {
        let port = answer_client_hello(reply);
        let run = Sandbox::with(Account::on(port).set("tls", "\"implicit\"")).popfetch(["-q"]).exits(69);
        run.says(&["TLS 1.2 or newer", "nothing was delivered"]);
    }
}

/// A port where the first thing that a client says is answered with these octets.
fn answer_client_hello(reply: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut heard = [0; 4096];
        let _ = socket.read(&mut heard);
        let _ = socket.write_all(&reply);
        // Whatever follows is not read before the client has read the reply.
        while matches!(socket.read(&mut heard), Ok(1..)) {}
    });
    port
}

#[test]
fn a_handshake_that_is_cut_or_garbled_is_named() {
    let cases: [(&[u8], &str); 3] = [
        (b"", "during the TLS handshake"),
        (&[0x16, 3, 3, 0, 4, 2], "during the TLS handshake"),
        (b"\x16garbage\x1b[2J that is no record of TLS at all", "`127.0.0.1`"),
    ];
    for (reply, words) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 4096]);
            let _ = socket.write_all(reply);
        });
        let run = Sandbox::with(Account::on(port).set("tls", "\"implicit\"")).popfetch(["-q"]).exits(69);
        assert_printable(&run.says(&[words, "nothing was delivered"]));
        server.join().unwrap();
    }
}

#[test]
fn each_check_that_fails_is_told_with_the_option_that_is_about_it() {
    let authority = Authority::new("ours");
    let cases = [
        (Identity::self_signed(), false, "self-signed", "`tls_pin = "),
        (authority.good(), false, "not signed by an authority", "`tls_ca_file`"),
        (authority.wrong_name(), true, "not for `127.0.0.1`", "`server`"),
        (authority.expired(), true, "expired", ""),
    ];
    for (identity, is_trusted, check, option) in cases {
        let server = server(mails(1)).implicit_tls(identity.server_config()).start();
        let account = Account::on(server.port).set("tls", "\"implicit\"");
        let account = if is_trusted { account.set("tls_ca_file", "\"~/ca.pem\"") } else { account };
        let sandbox = Sandbox::with(account);
        sandbox.file("ca.pem", &authority.pem);
        sandbox.popfetch(["-q"]).exits(69).says(&[check, option, "nothing was delivered"]);
        assert!(server.heard().is_empty(), "{:#?}", server.heard());
    }
}

#[test]
fn a_refused_stls_is_tls_that_cannot_be_had() {
    let authority = Authority::new("ours");
    for (answer, code) in [("-ERR no", 69), ("-ERR [SYS/TEMP] no", 75)] {
        let server = server(mails(1)).starttls(authority.good().server_config()).answer("STLS", answer).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("tls", "\"starttls\""));
        sandbox.popfetch(["-q"]).exits(code).says(&["STLS", &answer[5..], "hint", "`tls = \"implicit\"`"]);
        assert_eq!(server.commands(1), ["CAPA", "STLS"], "no password, nothing in clear");
    }
}

#[test]
fn neither_run_nor_children_show_the_password_in_proc() {
    let server = server(mails(1)).start();
    let sandbox = Sandbox::new();
    sandbox.file("secret", CANARY);
    let look = "cat /proc/$$/cmdline /proc/$$/environ /proc/$PPID/cmdline /proc/$PPID/environ";
    let mda = sandbox.mda_script(&format!("cat >/dev/null; {look} >~/seen-by-mda"));
    let ask = sandbox.file("ask.sh", format!("{look} >~/seen-by-command; cat ~/secret"));
    let account = Account::on(server.port).without("password").set("deliver", mda);
    let command = format!("[\"/bin/sh\", \"{}\"]", ask.display());
    sandbox.config(&account.set("password_command", command).to_string());
    sandbox.popfetch(["-q"]).exits(0).silently();
    for file in ["seen-by-mda", "seen-by-command"] {
        let seen = std::fs::read(sandbox.path(file)).unwrap();
        assert!(!String::from_utf8_lossy(&seen).contains(CANARY), "{file}");
    }
}

// Many accounts

#[test]
fn two_hundred_accounts_on_one_server_take_few_threads_and_descriptors() {
    const ACCOUNTS: usize = 200;
    let users: Vec<_> = (0..ACCOUNTS).map(|n| format!("user{n}")).collect();
    let builder = users.iter().fold(Maildrop::builder(), |builder, user| builder.user(user, CANARY, mails(2)));
    let server = Arc::new(builder.pace(Duration::from_millis(5)).start());
    let sandbox = Sandbox::new();
    let accounts = users.iter().map(|user| {
        let account = Account::on(server.port).named(user).set("user", format!("{user:?}")).set("keep", false);
        account.set("deliver", format!("\"maildir:~/{user}\"")).set("timeout", 60).to_string()
    });
    sandbox.config(&accounts.collect::<String>());
    let mut running = sandbox.start(&mut sandbox.command(["-q"]));
    let (mut threads, mut descriptors) = (0, 0);
    running.watch(|pid| {
        threads = threads.max(status(pid, "Threads").unwrap_or(0));
        descriptors = descriptors.max(names(format!("/proc/{pid}/fd").as_ref()).len());
    });
    running.finish().exits(0).silently();
    // By default 32 accounts at a time.
    assert!(threads <= 32 * 4 + 8, "{threads} threads");
    assert!(descriptors <= 32 * 12 + 16, "{descriptors} descriptors");
    for user in &users {
        let maildir = Maildir { path: sandbox.path(user) };
        assert_eq!((maildir.messages(), server.unique_ids(user).len()), (all_at_home(&mails(2)), 0), "{user}");
    }
}

#[test]
fn notes_about_too_many_messages_end() {
    let long = |n: usize| Mail::new(format!("{n:05}{}", "x".repeat(845)), message(n));
    let server = server((1..=3000).map(long)).start();
    let sandbox = Sandbox::with(Account::on(server.port).set("max_size", 10));
    for _ in 0..2 {
        sandbox.popfetch(["-q"]).exits(0);
        let octets = fs::metadata(sandbox.ledger(USER, server.port)).unwrap().len();
        assert!(octets < 3 << 19, "{octets} octets of notes");
    }
    // What could not be noted is said in every run.
    sandbox.popfetch([""; 0]).exits(0).says(&["messages larger than `max_size` left on the server"]);
    // Where the old ones are gone, new ones are noted.
    server.replace(USER, (5001..=5010).map(long));
    sandbox.popfetch(["-q"]).exits(0);
    let octets = fs::metadata(sandbox.ledger(USER, server.port)).unwrap().len();
    assert!(octets < 1 << 16, "{octets}");
    sandbox.popfetch([""; 0]).exits(0).says(&["10 messages larger"]);
    sandbox.popfetch([""; 0]).exits(0).silently();
}
