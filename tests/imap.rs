//! Mailboxes of IMAP servers: what arrives there, whose failure a refusal is, and that each message comes once, wherever
//! popfetch, the server or the line between them ends.
//!
//! `POPFETCH_CRASHES=N` and `POPFETCH_SEED` as in `crash`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::crash::{Random, durable_at_each, number_in};
use crate::faults::{Call, calls_of, can_trace, kill_before};
use crate::sandbox::{Account, CANARY, Run, Sandbox, USER, mails, read, server};
use crate::server::imap::{Act, AppendUids, Asked, Cut, Dates, ImapBuilder, Then};
use crate::server::{Authority, Family, Imap, Mail, Maildrop};

/// The identifier that popfetch puts on top, where it is wanted.
const STAMP: &str = "X-Popfetch-Id: ";

/// How long a recovery waits for a server, in seconds: no longer than its time-out.
const PATIENCE: u32 = 1;

/// A message with all that identifies one.
fn letter(number: usize, body: &str) -> String {
    format!(
        "Return-Path: <sender{number}@example.org>\r\n\
         Received: from a.example.org by b.example.org;\r\n\tMon, 5 Jan 2026 10:00:{:02} +0100\r\n\
         Message-ID: <{number}@example.org>\r\nFrom: Petar <petar@example.org>\r\n\
         Date: Mon, 5 Jan 2026 09:59:00 +0100\r\nSubject: letter {number}\r\n\r\n{body}\r\n",
        number % 60
    )
}

fn without_id(letter: &str) -> String {
    let fields = letter.split_inclusive("\r\n").filter(|line| !line.starts_with("Message-ID:"));
    fields.collect()
}

/// With and without Message-ID, large and small, two with equal octets, two with one Message-ID and other octets.
pub fn letters() -> Vec<Mail> {
    let long = ".0123456789 0123456789\r\n".repeat(300);
    let texts = [
        letter(1, "one"),
        without_id(&letter(2, "two")),
        letter(3, &long),
        letter(4, "twice"),
        letter(4, "twice"),
        letter(5, "the same Message-ID"),
        letter(5, "and not the same message"),
        without_id(&letter(6, "žuto")),
    ];
    texts.into_iter().enumerate().map(|(number, text)| Mail::new(format!("l{number}"), text)).collect()
}

fn config(server: &Maildrop, imap: &Imap, keys: &str, keep: bool, timeout: u32) -> String {
    let account = Account::on(server.port).set("deliver", "\"there\"").set("keep", keep).set("timeout", timeout);
    let deliver = format!("imap://{USER}@127.0.0.1:{}/INBOX", imap.port);
    format!("[targets.there]\ndeliver = \"{deliver}\"\npassword = \"{CANARY}\"\n{keys}\n{account}")
}

fn sandbox(server: &Maildrop, imap: &Imap, keys: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.config(&config(server, imap, keys, false, 10));
    sandbox
}

fn imap(family: Family) -> ImapBuilder {
    Imap::builder(family, USER, CANARY)
}

/// The octets of messages of the server, sorted.
pub fn octets(mails: &[Mail]) -> Vec<Vec<u8>> {
    let mut octets: Vec<_> = mails.iter().map(|mail| mail.octets.clone()).collect();
    octets.sort();
    octets
}

/// Without the identifier on top.
pub fn unstamped(octets: &[u8]) -> Vec<u8> {
    match octets.strip_prefix(STAMP.as_bytes()) {
        Some(rest) => rest[rest.iter().position(|octet| *octet == b'\n').expect("a field ends") + 1..].to_vec(),
        None => octets.to_vec(),
    }
}

/// What came, sorted, without the identifiers on top.
fn arrived(imap: &Imap) -> Vec<Vec<u8>> {
    let mut arrived: Vec<_> = imap.sent("INBOX").iter().map(|octets| unstamped(octets)).collect();
    arrived.sort();
    arrived
}

fn subjects(messages: &[Vec<u8>]) -> Vec<String> {
    let counts = messages.iter().fold(BTreeMap::new(), |mut counts: BTreeMap<String, usize>, octets| {
        let text = String::from_utf8_lossy(octets);
        let subject = text.lines().find(|line| line.to_ascii_lowercase().starts_with("subject:"));
        *counts.entry(subject.unwrap_or("?").to_owned()).or_default() += 1;
        counts
    });
    counts.into_iter().map(|(subject, count)| format!("{subject} × {count}")).collect()
}

#[track_caller]
fn assert_once(imap: &Imap, mails: &[Mail], when: &str) {
    let (arrived, expected) = (arrived(imap), octets(mails));
    assert!(arrived == expected, "{when}: each message once, but {:?}; {:#?}", subjects(&arrived), imap.heard());
}

/// Runs until a run ends well, and once more to see that it has nothing to do.
#[track_caller]
fn carry_on(server: &Maildrop, imap: &Imap, sandbox: &Sandbox, keys: &str, when: &str) {
    sandbox.config(&config(server, imap, keys, false, PATIENCE));
    imap.settle();
    // A machine that is slow needs another run.
    let run = (0..20).map(|_| sandbox.popfetch(["-q", "--now"])).find(|run| run.code() == 0);
    run.unwrap_or_else(|| panic!("{when}: {:#?}", sandbox.popfetch(["-q", "--now"])));
    imap.settle();
    assert_eq!(server.unique_ids(USER).len(), 0, "{when}: left on the server");
    let connections = imap.connections();
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(imap.connections(), connections, "{when}: nothing was new");
}

fn families() -> Vec<Family> {
    vec![Family::plain(), Family::short_literals(), Family::bare(), Family::rewriting(), Family::gmail()]
}

/// Gmail keeps one message of each Message-ID. Of two with one Message-ID that were built anew nobody knows which is which,
/// unless they have an identifier of ours; see [`of_two_messages_that_nobody_can_tell_apart_none_is_lost`].
fn letters_for(family: &Family, keys: &str) -> Vec<Mail> {
    let mut letters = letters();
    if family.is_gmail {
        letters[4] = Mail::new("l4", letter(7, "once"));
    }
    if family.is_gmail || (family.rewrites && keys.is_empty()) {
        letters[6] = Mail::new("l6", letter(8, "once"));
    }
    letters
}

// What arrives.

#[test]
fn every_kind_of_server_gets_each_message_once_with_its_octets_and_its_date() {
    for family in families() {
        for keys in ["", "headers = [\"id\"]"] {
            let mails = letters_for(&family, keys);
            let (server, imap) = (server(mails.clone()).start(), imap(family.clone()).start());
            let sandbox = sandbox(&server, &imap, keys);
            sandbox.popfetch(["-q"]).exits(0).silently();
            let when = format!("{}, {keys}", family.name);
            assert_once(&imap, &mails, &when);
            let messages = imap.messages("INBOX");
            let has_stamp = |octets: &[u8]| octets.starts_with(STAMP.as_bytes());
            assert!(messages.iter().all(|message| has_stamp(&message.sent) != keys.is_empty()), "{when}");
            // Mon, 5 Jan 2026 10:00:01 +0100, from Received.
            let first = messages.iter().find(|message| unstamped(&message.sent) == mails[0].octets).unwrap();
            assert_eq!((first.date, first.flags.clone()), (1_767_603_601, vec![]), "{when}");
            assert_eq!((imap.connections(), server.unique_ids(USER).len()), (1, 0), "{when}");
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(imap.connections(), 1, "{when}: nothing was new, and nobody was called");
        }
    }
}

#[test]
fn a_batch_costs_no_more_round_trips_than_its_literals_that_must_wait() {
    let trips = |family: Family, large: usize, small: usize| {
        let long = "0123456789\r\n".repeat(500);
        let large = (0..large).map(|number| Mail::new(format!("g{number}"), letter(number, &long)));
        let small = (0..small).map(|number| Mail::new(format!("s{number}"), letter(100 + number, "x")));
        let mails: Vec<_> = large.chain(small).collect();
        let (server, imap) = (server(mails.clone()).start(), imap(family).start());
        sandbox(&server, &imap, "").popfetch(["-q"]).exits(0).silently();
        assert_once(&imap, &mails, "counted");
        imap.round_trips()
    };
    // A server that has to read while it answers counts as one that waited, now and then.
    let some = 8;
    let least = trips(Family::short_literals(), 0, 1);
    assert!(least <= 6, "{least} for the greeting, the login, STATUS, a message, LOGOUT");
    let small = trips(Family::short_literals(), 0, 40);
    assert!(small <= least + some, "40 short literals without a wait: {small}");
    let large = trips(Family::short_literals(), 10, 30);
    assert!(large <= least + some + 10, "10 long literals that wait: {large}");
    let bare = trips(Family::bare(), 0, 10);
    assert!(bare <= least + some + 10, "10 literals that wait: {bare}");
    // What the mailbox keeps is asked once: EXAMINE, two FETCH, UNSELECT.
    let plain = trips(Family::plain(), 0, 1);
    assert!(plain <= least + 4, "{plain} with one message read back");
}

#[test]
fn a_mailbox_that_is_not_there_is_made_before_anything_is_sent() {
    let (server, imap) = (server(mails(2)).start(), imap(Family::plain()).start());
    let sandbox = Sandbox::new();
    let elsewhere =
        |keys: &str| config(&server, &imap, keys, false, 10).replace("/INBOX", "/Entw%C3%BCrfe%20%26%20%22x");
    sandbox.config(&elsewhere("create = false"));
    sandbox.popfetch(["-q"]).exits(69).says(&["STATUS", "no such mailbox"]);
    assert_eq!((imap.count("CREATE"), imap.count("APPEND"), server.unique_ids(USER).len()), (0, 0, 2));
    sandbox.config(&elsewhere(""));
    sandbox.popfetch(["-q", "--now"]).exits(0).silently();
    assert_eq!(imap.sent("Entw&APw-rfe &- \"x"), octets(&mails(2)), "{:#?}", imap.heard());
    assert_eq!((imap.count("CREATE"), imap.count("SUBSCRIBE")), (1, 1));
}

#[test]
fn a_message_that_is_too_large_is_not_offered_and_the_others_come() {
    let family = Family { append_limit: Some(2000), ..Family::plain() };
    let (server, imap) = (server(letters()).start(), imap(family).start());
    let sandbox = sandbox(&server, &imap, "");
    sandbox.popfetch(["-q"]).exits(74).says(&["takes up to"]);
    let fit: Vec<_> = letters().into_iter().filter(|mail| mail.octets.len() < 2000).collect();
    assert_once(&imap, &fit, "fit");
    assert_eq!((fit.len(), imap.count("APPEND"), server.unique_ids(USER).len()), (7, 7, 1));
}

#[test]
fn a_refusal_is_the_messages_or_the_targets() {
    // What the server says of the second message, and whether the others come.
    for (words, others_come, status) in [
        ("NO virus", true, 74),
        ("NO [TOOBIG] large", true, 74),
        ("BAD odd", true, 74),
        ("NO [UNAVAILABLE] later", true, 75),
        ("NO [OVERQUOTA] full", false, 75),
        ("NO [NOPERM] not you", false, 69),
        ("NO [TRYCREATE] gone", false, 75),
    ] {
        for family in [Family::plain(), Family::short_literals(), Family::bare()] {
            let (server, name) = (server(letters()).start(), family.name);
            let refuses = move |octets: &[u8]| (unstamped(octets) == letters()[1].octets).then(|| words.to_owned());
            let imap = imap(family).refuses(refuses).start();
            let sandbox = sandbox(&server, &imap, "");
            let run = sandbox.popfetch(["-q"]);
            let when = format!("{words}, {name}: {run:#?}, {:#?}", imap.heard());
            assert_eq!(run.code(), status, "{when}");
            let (came, left) = (arrived(&imap), server.unique_ids(USER).len());
            // What a target has taken before it ended is deleted now or by the next run.
            assert!(!came.contains(&letters()[1].octets) && (8 - came.len()..=8).contains(&left), "{when}");
            assert!(!others_come || came.len() == 7, "{when}");
            assert!(run.stderr.contains(words.split_once(' ').unwrap().1), "{when}");
        }
    }
}

#[test]
fn what_append_uid_says_proves_nothing_and_harms_nothing() {
    for uids in [AppendUids::Missing, AppendUids::OfAnother, AppendUids::OtherValidity, AppendUids::Zero] {
        let (server, imap) = (server(letters()).start(), imap(Family::with_uids(uids)).start());
        imap.store().get_mut("INBOX").unwrap().deliver(b"Subject: another\r\n\r\n");
        let sandbox = sandbox(&server, &imap, "");
        sandbox.popfetch(["-q"]).exits(0).silently();
        imap.store().get_mut("INBOX").unwrap().messages.remove(0);
        assert_once(&imap, &letters(), &format!("{uids:?}"));
        // And when nothing of that is heard.
        interrupted_and_carried_on(Family::with_uids(uids), "", |_| ());
    }
}

// Ends, everywhere.

/// What is there before anything comes: an answer with nothing in common but its subject.
fn before() -> String {
    letter(99, "of somebody else").replace("letter 99", "letter 1")
}

/// A server, a maildrop and a home for one interruption.
struct Case {
    family: Family,
    keys: &'static str,
    mails: Vec<Mail>,
}

impl Case {
    fn new(family: Family, keys: &'static str) -> Self {
        let mails = letters_for(&family, keys);
        Case { family, keys, mails }
    }

    fn name(&self) -> String {
        format!("{} {}", self.family.name, self.keys)
    }

    fn begin(&self) -> (Maildrop, Imap, Sandbox) {
        self.begin_with(|build| build)
    }

    fn begin_with(&self, build: impl Fn(ImapBuilder) -> ImapBuilder) -> (Maildrop, Imap, Sandbox) {
        let (server, imap) = (server(self.mails.clone()).start(), build(imap(self.family.clone())).start());
        // Something is there before.
        imap.store().get_mut("INBOX").unwrap().deliver(before().as_bytes());
        let sandbox = Sandbox::in_memory();
        sandbox.config(&config(&server, &imap, self.keys, false, 10));
        (server, imap, sandbox)
    }

    #[track_caller]
    fn end(&self, (server, imap, sandbox): (Maildrop, Imap, Sandbox), when: &str) {
        let when = format!("{}, {when}", self.name());
        carry_on(&server, &imap, &sandbox, self.keys, &when);
        let mut came = arrived(&imap);
        let before = came.iter().position(|octets| *octets == before().into_bytes());
        came.remove(before.unwrap_or_else(|| panic!("{when}: what was there is gone")));
        let heard = imap.heard();
        assert!(came == octets(&self.mails), "{when}: each message once, but {:?}; {heard:#?}", subjects(&came));
    }
}

/// Tries many interruptions side by side: most of the time they wait.
fn side_by_side<T: Sync>(all: &[T], attempt: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    attempt(one);
                }
            });
        }
    });
}

fn kill_everywhere(case: &Case) {
    if !can_trace() {
        return;
    }
    let (_server, _imap, sandbox) = case.begin();
    let calls = calls_of(&sandbox);
    let killed = AtomicUsize::new(0);
    side_by_side(&calls, |call| {
        let (server, imap, sandbox) = case.begin();
        let code = kill_before(&sandbox, call).code();
        assert!(matches!(code, 0 | 137), "{}, before {call}: {code}", case.name());
        killed.fetch_add(usize::from(code == 137), Ordering::Relaxed);
        case.end((server, imap, sandbox), &format!("killed before {call}"));
    });
    let killed = killed.into_inner();
    println!("{}: {} calls, {killed} kills", case.name(), calls.len());
    assert!(killed > 20, "only {killed} of {} kills happened", calls.len());
}

/// True when a run died between intent and record.
fn has_pending_intents(sandbox: &Sandbox, server: &Maildrop) -> bool {
    let ledger = fs::read_to_string(sandbox.ledger(USER, server.port)).unwrap_or_default();
    let is_fact = |line: &&str| ["{\"intend\"", "{\"published\""].iter().any(|start| line.starts_with(start));
    ledger.lines().rfind(is_fact).is_some_and(|line| line.starts_with("{\"intend\""))
}

macro_rules! kill_everywhere {
    ($($name:ident: $family:expr, $keys:expr;)*) => {$(
        #[test]
        fn $name() {
            kill_everywhere(&Case::new($family, $keys));
        }
    )*};
}

kill_everywhere! {
    a_plain_mailbox_survives_a_kill_before_every_call: Family::plain(), "";
    a_plain_mailbox_with_ids_survives_a_kill_before_every_call: Family::plain(), "headers = [\"id\"]";
    a_mailbox_without_uidplus_survives_a_kill_before_every_call: Family::bare(), "";
    a_mailbox_that_rewrites_survives_a_kill_before_every_call: Family::rewriting(), "";
    a_mailbox_that_rewrites_with_ids_survives_a_kill_before_every_call: Family::rewriting(), "headers = [\"id\"]";
    a_gmail_mailbox_survives_a_kill_before_every_call: Family::gmail(), "";
}

/// Every octet of the dialogue at which it is worth ending.
fn cuts(case: &Case) -> Vec<Cut> {
    let (_server, imap, sandbox) = case.begin();
    sandbox.popfetch(["-q"]).exits(0).silently();
    cuts_behind(&imap, 0, 0)
}

/// Those behind so many lines that came, and so many that were said.
fn cuts_behind(imap: &Imap, came: usize, spoken: usize) -> Vec<Cut> {
    let (heard, said) = imap.line_ends();
    let (heard, said) = (&heard[came..], &said[spoken..]);
    let first = heard.first().copied().unwrap_or(0);
    let literals: Vec<_> = imap.literals().into_iter().filter(|(start, _)| *start >= first).collect();
    let mut points: Vec<u64> = heard.iter().flat_map(|end| [end - 1, *end]).collect();
    points.extend(literals.iter().flat_map(|(start, length)| {
        [*start, start + 1, start + length / 2, start + length - 1, start + length, start + length + 1]
    }));
    points.sort_unstable();
    points.dedup();
    let mut spoken: Vec<u64> = said.iter().flat_map(|end| [end - 3, *end]).collect();
    spoken.dedup();
    points.into_iter().map(Cut::Heard).chain(spoken.into_iter().map(Cut::Said)).collect()
}

/// A run that a cut ends. Where the server stops, popfetch is killed; what it had sent by then still comes.
fn interrupt(imap: &Imap, sandbox: &Sandbox, then: Then) {
    if then != Then::Stops {
        sandbox.popfetch(["-q", "--now"]);
        return;
    }
    let mut command = sandbox.command(["-q", "--now"]);
    let mut running = sandbox.start(&mut command);
    let pid = rustix::process::Pid::from_raw(running.pid() as i32).expect("a process has a number");
    running.watch(|_| {
        if imap.has_stopped() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    running.finish();
}

fn cut_everywhere(case: &Case) {
    let cuts = cuts(case);
    cut_at(case, &cuts, |_| case.begin());
}

/// Cuts each of these dialogues that begin in the same way.
fn cut_at(case: &Case, cuts: &[Cut], begin: impl Fn(&Case) -> (Maildrop, Imap, Sandbox) + Sync) {
    // Each cut with one of the three ends, or, where time does not matter, with all of them.
    let is_thorough = number_in("POPFETCH_CRASHES").is_some();
    let all = cuts.iter().enumerate().flat_map(|(nth, cut)| Then::ALL.map(|then| (nth, *cut, then)));
    let all: Vec<_> = all.filter(|(nth, _, then)| is_thorough || Then::ALL[nth % 3] == *then).collect();
    let (happened, in_doubt) = (AtomicUsize::new(0), AtomicUsize::new(0));
    side_by_side(&all, |(_, cut, then)| {
        let (server, imap, sandbox) = begin(case);
        imap.cut(*cut, *then);
        interrupt(&imap, &sandbox, *then);
        happened.fetch_add(usize::from(imap.revive()), Ordering::Relaxed);
        in_doubt.fetch_add(usize::from(has_pending_intents(&sandbox, &server)), Ordering::Relaxed);
        case.end((server, imap, sandbox), &format!("cut at {cut:?}, and the server {then:?}"));
    });
    let (happened, in_doubt) = (happened.into_inner(), in_doubt.into_inner());
    println!("{}: {} cuts and kills, {happened} happened, {in_doubt} with messages in doubt", case.name(), all.len());
    assert!(happened * 10 > all.len() * 8 && in_doubt * 3 > all.len(), "{happened} happened, {in_doubt} in doubt");
}

macro_rules! cut_everywhere {
    ($($name:ident: $family:expr, $keys:expr;)*) => {$(
        #[test]
        fn $name() {
            cut_everywhere(&Case::new($family, $keys));
        }
    )*};
}

cut_everywhere! {
    a_plain_mailbox_survives_a_cut_at_every_line_and_in_every_literal: Family::plain(), "";
    a_mailbox_without_uidplus_survives_a_cut_at_every_line_and_in_every_literal: Family::bare(), "";
    a_mailbox_that_rewrites_survives_a_cut_at_every_line_and_in_every_literal: Family::rewriting(), "";
    a_gmail_mailbox_survives_a_cut_at_every_line_and_in_every_literal: Family::gmail(), "";
    an_eager_mailbox_with_ids_survives_a_cut_at_every_line_and_in_every_literal:
        Family { name: "eager", is_eager: true, ..Family::plain() }, "headers = [\"id\"]";
    a_mailbox_that_loses_dates_survives_a_cut_at_every_line_and_in_every_literal:
        Family::with_dates(Dates::Lost), "";
}

/// How a run ends early.
#[derive(Debug)]
enum End {
    Kill(Call),
    Cut(Cut, Then),
}

#[test]
fn kills_and_cuts_at_random_are_survived() {
    if !can_trace() {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number_in("POPFETCH_SEED").unwrap_or(now).max(1);
    let runs = number_in("POPFETCH_CRASHES").unwrap_or(20);
    println!("{runs} random runs, POPFETCH_SEED={seed}");
    let mut random = Random(seed);
    let ways: Vec<(Case, Vec<Call>, Vec<Cut>)> = families()
        .into_iter()
        .map(|family| {
            let case = Case::new(family, "");
            let (calls, cuts) = (calls_of(&case.begin().2), cuts(&case));
            (case, calls, cuts)
        })
        .collect();
    let series: Vec<(usize, Vec<End>)> = (0..runs)
        .map(|_| {
            let way = random.below(ways.len());
            let (_, calls, cuts) = &ways[way];
            let ends = (0..=random.below(3)).map(|_| match random.below(2) {
                0 => End::Kill(calls[random.below(calls.len())].clone()),
                _ => End::Cut(cuts[random.below(cuts.len())], Then::ALL[random.below(3)]),
            });
            (way, ends.collect())
        })
        .collect();
    side_by_side(&series, |(way, ends)| {
        let case = &ways[*way].0;
        let (server, imap, sandbox) = case.begin();
        sandbox.config(&config(&server, &imap, case.keys, false, PATIENCE));
        for end in ends {
            match end {
                End::Kill(call) => drop(kill_before(&sandbox, call)),
                End::Cut(cut, then) => {
                    imap.cut(*cut, *then);
                    interrupt(&imap, &sandbox, *then);
                    imap.revive();
                }
            }
        }
        case.end((server, imap, sandbox), &format!("POPFETCH_SEED={seed}, {ends:?}"));
    });
}

/// Half of the messages came, nothing was heard of it, and the next run asks and sends the rest.
fn half_done(case: &Case) -> (Maildrop, Imap, Sandbox) {
    let (server, imap, sandbox) = case.begin_with(|build| {
        build.acts(|asked| match asked.command.split(' ').next() {
            Some("APPEND") if asked.of_verb < 4 => Some(Act::DoSilently),
            Some("APPEND") if asked.of_verb == 4 => Some(Act::Close),
            _ => None,
        })
    });
    sandbox.popfetch(["-q"]);
    imap.settle();
    assert_eq!(imap.messages("INBOX").len(), 5, "half of them came");
    sandbox.config(&config(&server, &imap, case.keys, false, PATIENCE));
    (server, imap, sandbox)
}

fn cut_recovery_everywhere(case: &Case) {
    let (server, imap, sandbox) = half_done(case);
    let (heard, said) = imap.line_ends();
    carry_on(&server, &imap, &sandbox, case.keys, "half done");
    let mut cuts = cuts_behind(&imap, heard.len(), said.len());
    // Every second one, another half for another seed; all of them where time does not matter.
    if number_in("POPFETCH_CRASHES").is_none() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 / 1000;
        let half = number_in("POPFETCH_SEED").unwrap_or(now) % 2;
        println!("{}: POPFETCH_SEED={half}", case.name());
        let mut nth = half;
        cuts.retain(|_| {
            nth += 1;
            nth.is_multiple_of(2)
        });
    }
    cut_at(case, &cuts, half_done);
}

macro_rules! cut_recovery_everywhere {
    ($($name:ident: $family:expr, $keys:expr;)*) => {$(
        #[test]
        fn $name() {
            cut_recovery_everywhere(&Case::new($family, $keys));
        }
    )*};
}

cut_recovery_everywhere! {
    the_recovery_of_a_plain_mailbox_survives_a_cut_at_every_line: Family::plain(), "";
    the_recovery_of_a_mailbox_that_rewrites_survives_a_cut_at_every_line: Family::rewriting(), "";
    the_recovery_of_a_gmail_mailbox_survives_a_cut_at_every_line: Family::gmail(), "";
}

/// What is not durable when the machine stops is lost, and what the server has is not.
#[test]
fn a_machine_that_stops_has_every_intent_before_the_first_octet_of_its_message_goes() {
    if !can_trace() {
        return;
    }
    for family in [Family::plain(), Family::bare()] {
        let case = Case::new(family, "");
        let (server, imap, sandbox) = case.begin();
        let log = sandbox.path("strace.log");
        let mut strace = Command::new("strace");
        sandbox.adopt(&mut strace);
        strace.args(["-f", "-y", "-s", "100000", "-e", "trace=write,sendto,fdatasync", "-o"]);
        strace.arg(&log).args([env!("CARGO_BIN_EXE_popfetch"), "-q"]);
        sandbox.run(strace).exits(0).silently();
        let is_given = |call: &str| call.contains("<socket:") && call.contains("APPEND \\\"INBOX");
        let durable = durable_at_each(&fs::read_to_string(log).expect("strace writes its log"), is_given);
        let ledger = sandbox.ledger(USER, server.port);
        let (whole, taken) = (read(&ledger), imap.store().clone());
        assert!(!durable.is_empty(), "messages were given");
        for durable in durable {
            // Whatever of the batch came by then.
            for had in 0..=case.mails.len() {
                fs::write(&ledger, &whole[..durable]).unwrap();
                let mut store = taken.clone();
                store.get_mut("INBOX").unwrap().messages.truncate(had + 1);
                *imap.store() = store;
                server.restore(USER, case.mails.clone());
                carry_on(&server, &imap, &sandbox, "", "the machine stopped");
                let mut came = arrived(&imap);
                came.retain(|octets| *octets != before().into_bytes());
                assert!(came == octets(&case.mails), "{had} were there: {:?}", subjects(&came));
            }
        }
    }
}

// Between two runs.

/// A run whose messages all came, and that has heard nothing of it.
fn interrupted(case: &Case) -> (Maildrop, Imap, Sandbox) {
    let (server, imap, sandbox) = case.begin_with(|build| build.acts(takes_all_and_says_nothing));
    sandbox.popfetch(["-q"]);
    assert!(has_pending_intents(&sandbox, &server), "{} is interrupted", case.name());
    assert_eq!((imap.messages("INBOX").len(), imap.count("APPEND")), (9, 8), "everything came");
    (server, imap, sandbox)
}

/// It takes the first eight messages, and hangs up at the question behind them.
fn takes_all_and_says_nothing(asked: &Asked<'_>) -> Option<Act> {
    match asked.command.split(' ').next() {
        Some("APPEND") if asked.of_verb < 8 => Some(Act::DoSilently),
        Some("STATUS") if asked.of_verb == 1 => Some(Act::Close),
        _ => None,
    }
}

/// What happens between the two runs is the test's.
fn interrupted_and_carried_on(family: Family, keys: &'static str, between: impl Fn(&Imap)) {
    let case = Case::new(family, keys);
    let (server, imap, sandbox) = interrupted(&case);
    between(&imap);
    case.end((server, imap, sandbox), "all came, and nothing was heard");
}

#[test]
fn what_came_and_was_not_heard_of_does_not_come_again() {
    for family in families() {
        interrupted_and_carried_on(family.clone(), "headers = [\"id\"]", |_| ());
        interrupted_and_carried_on(family, "", |_| ());
    }
    for dates in [Dates::Lost, Dates::Rounded] {
        interrupted_and_carried_on(Family::with_dates(dates), "", |_| ());
    }
}

#[test]
fn a_mailbox_with_a_new_uid_validity_is_searched() {
    for family in [Family::plain(), Family::bare(), Family::rewriting()] {
        interrupted_and_carried_on(family, "", |imap| imap.store().get_mut("INBOX").unwrap().renew());
    }
}

#[test]
fn what_somebody_took_away_between_two_runs_comes_again_and_is_said() {
    let case = Case::new(Family::plain(), "");
    let (server, imap, sandbox) = interrupted(&case);
    imap.store().get_mut("INBOX").unwrap().messages.retain(|message| message.sent != case.mails[0].octets);
    sandbox.config(&config(&server, &imap, "", false, PATIENCE));
    let run = sandbox.popfetch(["--now"]).exits(0);
    assert!(run.stderr.contains("1 message"), "{run:#?}");
    case.end((server, imap, sandbox), "one was taken away");
}

#[test]
fn what_somebody_else_delivers_between_two_runs_proves_nothing() {
    for keys in ["", "headers = [\"id\"]"] {
        let case = Case::new(Family::plain(), keys);
        let (server, imap, sandbox) = interrupted(&case);
        {
            let mut store = imap.store();
            let mailbox = store.get_mut("INBOX").unwrap();
            mailbox.messages.retain(|message| unstamped(&message.sent) != case.mails[0].octets);
            // The same letter to another recipient: other octets, another date.
            mailbox.deliver(&letter(1, "to somebody else").into_bytes());
        }
        carry_on(&server, &imap, &sandbox, keys, keys);
        assert!(arrived(&imap).contains(&case.mails[0].octets), "{keys}: {:?}", subjects(&arrived(&imap)));
    }
}

#[test]
fn a_server_that_stores_late_is_waited_for() {
    let late = |asked: &Asked<'_>| {
        (asked.command.starts_with("APPEND") && asked.of_verb == 1).then(|| Act::CloseAndDo(Duration::from_secs(1)))
    };
    for family in [Family::plain(), Family::bare()] {
        let mails: Vec<_> = letters().into_iter().take(2).collect();
        let (server, imap) = (server(mails.clone()).start(), imap(family).acts(late).start());
        let sandbox = sandbox(&server, &imap, "");
        sandbox.popfetch(["-q"]);
        sandbox.config(&config(&server, &imap, "", false, 8));
        sandbox.popfetch(["-q", "--now"]).exits(0);
        assert_once(&imap, &mails, "it stored late");
    }
}

#[test]
fn of_two_messages_that_nobody_can_tell_apart_none_is_lost() {
    // One Message-ID, one date, and a server that builds messages anew. One is refused, the other is taken, and nobody
    // hears of it.
    for keys in ["", "headers = [\"id\"]"] {
        for refused in 0..2 {
            let mails: Vec<_> = letters().drain(5..7).collect();
            let unwanted = mails[refused].octets.clone();
            let refusals = AtomicUsize::new(0);
            let refuses = move |octets: &[u8]| {
                let is_it = unstamped(octets) == unwanted && refusals.fetch_add(1, Ordering::Relaxed) == 0;
                is_it.then(|| "NO not now".to_owned())
            };
            let dies = |asked: &Asked<'_>| {
                (asked.command.starts_with("APPEND") && asked.of_verb == 1).then_some(Act::DoAndClose)
            };
            let server = server(mails.clone()).start();
            let imap = imap(Family::rewriting()).refuses(refuses).acts(dies).start();
            let sandbox = sandbox(&server, &imap, keys);
            sandbox.popfetch(["-q"]);
            carry_on(&server, &imap, &sandbox, keys, "two alike");
            let mut came = arrived(&imap);
            came.dedup();
            assert_eq!(came, octets(&mails), "{keys}, {refused} was refused: {:#?}", imap.heard());
        }
    }
}

#[test]
fn gmail_brings_back_what_was_archived() {
    let case = Case::new(Family::gmail(), "");
    let (server, imap, sandbox) = interrupted(&case);
    for message in &mut imap.store().get_mut("INBOX").unwrap().messages {
        message.is_archived = message.sent == case.mails[0].octets;
    }
    case.end((server, imap, sandbox), "one was archived");
}

// Hostile servers.

#[test]
fn whatever_a_server_says_ends_in_an_error_and_the_next_run_brings_everything_once() {
    let verbs = ["", "AUTHENTICATE", "STATUS", "APPEND"];
    let acts = [
        Act::Say("* BYE go away".into()),
        Act::Say("TAG BAD what".into()),
        Act::Say("TAG NO no".into()),
        Act::Say("TAG OK".into()),
        Act::Say("+ more".into()),
        Act::Say("* NO [ALERT] x\r\n* BAD y".into()),
        Act::Say("Z9 OK done".into()),
        Act::Say("220 mta.example.org".into()),
        Act::Say("TAG OK done\r\nTAG OK done".into()),
        Act::Say("* STATUS INBOX (UIDNEXT 0 UIDVALIDITY 0)\r\nTAG OK done".into()),
        Act::Say("* 1 FETCH (BODY[] {99999999999}".into()),
        Act::Say(format!("TAG NO {CANARY}")),
        Act::Close,
        Act::DoAndClose,
        Act::Flood,
        Act::Hang,
    ];
    let all = verbs.iter().flat_map(|verb| acts.iter().map(move |act| (*verb, act)));
    // The answer to a message is waited for ten minutes.
    let all: Vec<_> = all.filter(|(verb, act)| *verb != "APPEND" || !matches!(act, Act::Hang)).collect();
    side_by_side(&all, |(verb, act)| {
        let (verb, act) = (*verb, (*act).clone());
        let when = format!("{verb} {act:?}");
        let nth = usize::from(verb == "APPEND");
        let acts = move |asked: &Asked<'_>| {
            let is_it = if verb.is_empty() { asked.command.is_empty() } else { asked.command.starts_with(verb) };
            (is_it && asked.of_verb == nth).then(|| act.clone())
        };
        let mails: Vec<_> = letters().into_iter().take(4).collect();
        let (server, imap) = (server(mails.clone()).start(), imap(Family::plain()).acts(acts).start());
        let sandbox = sandbox(&server, &imap, "");
        sandbox.config(&config(&server, &imap, "", false, PATIENCE));
        let run = sandbox.popfetch(["-vv"]);
        assert!(!run.stderr.contains(CANARY), "{when}: {run:#?}");
        let lies = when.contains("TAG OK") || when.contains("STATUS");
        assert!(run.code() != 0 || lies, "{when}: {run:#?}");
        // What the server says it has taken is the server's.
        if verb == "APPEND" && when.contains("TAG OK") {
            return;
        }
        carry_on(&server, &imap, &sandbox, "", &when);
        assert_once(&imap, &mails, &when);
    });
}

#[test]
fn tls_is_checked_and_nothing_goes_in_clear_where_it_is_demanded() {
    let authority = Authority::new("imap");
    let start = |build: &dyn Fn(ImapBuilder) -> ImapBuilder| build(imap(Family::plain())).start();
    let run = |imap: &Imap, word: &str, keys: &str| -> (Run, usize) {
        let server = server(mails(1)).start();
        let sandbox = Sandbox::new();
        sandbox.file("ca.pem", &authority.pem);
        let text = config(&server, imap, keys, false, 10).replace("imap://", word);
        sandbox
            .config(&text.replace("127.0.0.1:", "localhost:").replace("server = \"localhost", "server = \"127.0.0.1"));
        let run = sandbox.popfetch(["-q"]);
        (run, imap.messages("INBOX").len())
    };
    let known = "tls_ca_file = \"~/ca.pem\"";
    let implicit = start(&|build| build.implicit_tls(authority.good().server_config()));
    let (good, came) = run(&implicit, "imaps://", known);
    assert_eq!((good.code(), came), (0, 1), "{good:#?}");
    let (unknown, _) = run(&implicit, "imaps://", "");
    assert_eq!((unknown.code(), implicit.messages("INBOX").len()), (69, 1), "{unknown:#?}");
    let (plain, _) = run(&start(&|build| build), "imaps://", known);
    assert_ne!(plain.code(), 0, "{plain:#?}");
    let wrong = start(&|build| build.implicit_tls(authority.wrong_name().server_config()));
    run(&wrong, "imaps://", known).0.exits(69).says(&["certificate"]);
    let demanded = "tls_ca_file = \"~/ca.pem\"\ntls = \"starttls\"";
    let starttls = start(&|build| build.starttls(authority.good().server_config()));
    let (good, came) = run(&starttls, "imap://", demanded);
    assert_eq!((good.code(), came), (0, 1), "{good:#?}");
    let (refused, came) = run(&start(&|build| build), "imap://", demanded);
    refused.exits(69).says(&["does not offer STARTTLS"]);
    assert_eq!(came, 0);
    let injected = "\r\n* OK [CAPABILITY IMAP4rev1] injected";
    let injecting = start(&|build| build.starttls(authority.good().server_config()).says_behind_starttls(injected));
    let (refused, came) = run(&injecting, "imap://", demanded);
    refused.exits(76).says(&["before the TLS handshake"]);
    assert_eq!((came, injecting.count("AUTHENTICATE")), (0, 0));
    let preauth = |asked: &Asked<'_>| asked.command.is_empty().then(|| Act::Say("* PREAUTH hello".into()));
    let preauth = start(&|build| build.starttls(authority.good().server_config()).acts(preauth));
    let (refused, came) = run(&preauth, "imap://", demanded);
    assert!(refused.code() != 0 && came == 0 && preauth.count("APPEND") == 0, "{refused:#?}");
}

#[test]
fn a_password_is_sent_once_in_clear_only_where_that_is_meant_and_never_shown() {
    let wrong = |asked: &Asked<'_>| {
        asked
            .command
            .starts_with("AUTHENTICATE")
            .then(|| Act::Say(format!("TAG NO [AUTHENTICATIONFAILED] {CANARY} is wrong")))
    };
    let (server, imap) = (server(mails(1)).start(), imap(Family::plain()).acts(wrong).start());
    let run = sandbox(&server, &imap, "").popfetch(["-vv"]).exits(77).says(&["refused the login of `alice`"]);
    assert!(run.stderr.contains("C: ") && !run.stderr.contains(CANARY), "{run:#?}");
    assert_eq!((imap.count("AUTHENTICATE"), imap.count("APPEND"), server.unique_ids(USER).len()), (1, 0, 1));
}

#[test]
fn of_two_targets_one_may_fail_for_days() {
    let (server, imap) = (server(letters()).start(), imap(Family::plain()).start());
    let sandbox = Sandbox::new();
    let both = config(&server, &imap, "", false, PATIENCE).replace("\"there\"", "[\"there\", \"maildir:~/Mail\"]");
    sandbox.config(&both);
    imap.cut(Cut::Heard(0), Then::IsDown);
    for _ in 0..3 {
        assert_ne!(sandbox.popfetch(["-q", "--now"]).code(), 0);
        let home = sandbox.maildir().messages().len();
        assert_eq!((home, imap.messages("INBOX").len(), server.unique_ids(USER).len()), (8, 0, 8));
    }
    imap.revive();
    sandbox.popfetch(["-q", "--now"]).exits(0);
    assert_eq!((sandbox.maildir().messages().len(), server.unique_ids(USER).len()), (8, 0));
    assert_once(&imap, &letters(), "it came back");
}

#[test]
fn a_mailbox_that_goes_in_the_middle_is_made_anew_by_the_next_run() {
    let many = mails(150);
    let (server, imap) = (server(many.clone()).start(), imap(Family::plain()).mailbox("There").start());
    let sandbox = Sandbox::new();
    sandbox.config(&config(&server, &imap, "", false, 10).replace("/INBOX", "/There"));
    let gone = AtomicUsize::new(0);
    let mut command = sandbox.command(["-q"]);
    let mut running = sandbox.start(&mut command);
    running.watch(|_| {
        let came = imap.messages("There").len();
        if came > 0 && gone.load(Ordering::Relaxed) == 0 {
            gone.store(came, Ordering::Relaxed);
            imap.store().remove("There");
        }
    });
    drop(running.finish());
    sandbox.config(&config(&server, &imap, "", false, PATIENCE).replace("/INBOX", "/There"));
    (0..5).map(|_| sandbox.popfetch(["-q", "--now"])).find(|run| run.code() == 0).expect("it is made anew");
    // What was in it went with it, and nothing else did.
    assert_eq!(server.unique_ids(USER).len(), 0);
    let mut there = imap.sent("There");
    there.dedup();
    assert!(there.len() + gone.into_inner() >= many.len(), "{} are there", there.len());
}
