//! A message is committed when the reply behind it is in step.
//!
//! A server that forgets to stuff a dot ends its message early; the rest stands where a status line is due. Such a
//! message is never delivered and never deleted, whatever is set, and it keeps no other one back.

use crate::sandbox::{
    Account, Destination, Sandbox, USER, all_at_home, at_home, mails, message, names, read, server, wait_until,
};
use crate::server::{ENDLESS, Fault, HANG_UP, Mail, Maildrop, Misdeed, Moment, STALL, ScriptServer};

/// Text behind a line that is only a dot, each of which could follow.
const RESTS: [&str; 7] = ["rest\r\n", "", "\r\n", "+\r\n", "+ok\r\n", ".\r\n", "- ERR\r\n"];

fn dotted(rest: &str) -> Mail {
    Mail::new("dotted", format!("Subject: dotted\r\n\r\nbefore\r\n.\r\n{rest}"))
}

/// Four messages, the one at `position` with a line of a dot.
fn with_dotted(position: usize, rest: &str) -> Vec<Mail> {
    let mut mails = mails(4);
    mails[position] = dotted(rest);
    mails
}

#[derive(Debug, Clone, Copy)]
struct Case {
    position: usize,
    rest: &'static str,
    keep: bool,
    pipelining: bool,
    destination: Destination,
}

impl Case {
    fn start(self) -> (Maildrop, Sandbox) {
        let builder = server(with_dotted(self.position, self.rest));
        let server = if self.pipelining { builder } else { builder.without_pipelining() }.start();
        server.forget_dots(true);
        let sandbox = Sandbox::new();
        let deliver = self.destination.deliver(&sandbox);
        sandbox.config(&Account::on(server.port).set("keep", self.keep).set("deliver", deliver).to_string());
        (server, sandbox)
    }

    /// Runs until only the dotted one is left, then mends the server.
    fn holds(self) {
        let (server, sandbox) = self.start();
        let all = with_dotted(self.position, self.rest);
        let others: Vec<_> = all.iter().filter(|mail| mail.unique_id != "dotted").cloned().collect();
        for nth in 1..=4 {
            let run = sandbox.popfetch(["-q", "--json"]).exits(76).says(&["(`dotted`) stays on the server"]);
            assert!(run.stdout.contains("\"unique_id\":\"dotted\""), "{self:?}: {run:#?}");
            let arrived = self.destination.messages(&sandbox);
            assert!(
                !arrived.iter().any(|octets| octets.windows(6).any(|part| part == b"dotted")),
                "{self:?}, run {nth}"
            );
            assert!(server.unique_ids(USER).contains(&"dotted".to_string()), "{self:?}, run {nth}");
            wait_until(|| server.is_idle());
        }
        assert_eq!(self.destination.messages(&sandbox), all_at_home(&others), "{self:?}: the others come home");
        assert_eq!(server.unique_ids(USER).len(), if self.keep { 4 } else { 1 }, "{self:?}");
        server.forget_dots(false);
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(self.destination.messages(&sandbox), all_at_home(&all), "{self:?}: whole, and once");
        assert_eq!(server.unique_ids(USER).len(), if self.keep { 4 } else { 0 }, "{self:?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(self.destination.messages(&sandbox), all_at_home(&all), "{self:?}: once");
        assert_eq!(
            (sandbox.maildir().litter(), names(&sandbox.state()).iter().filter(|name| name.contains("spool")).count()),
            (vec![], 0),
            "{self:?}"
        );
    }
}

fn everywhere(destination: Destination, rests: &[&'static str]) {
    for position in [0, 2, 3] {
        for (keep, pipelining) in [(true, true), (true, false), (false, true), (false, false)] {
            for rest in rests {
                Case { position, rest, keep, pipelining, destination }.holds();
            }
        }
    }
}

#[test]
fn a_message_that_ends_early_is_not_delivered_nor_deleted_and_keeps_no_other_back() {
    everywhere(Destination::Maildir, &RESTS[..1]);
}

#[test]
fn whatever_follows_a_message_that_ends_early_shows() {
    for rest in &RESTS[1..] {
        for (keep, pipelining) in [(true, true), (false, false)] {
            Case { position: 3, rest, keep, pipelining, destination: Destination::Maildir }.holds();
        }
    }
    let long: &'static str = Box::leak(("x".repeat(20_000) + "\r\n").into_boxed_str());
    Case { position: 1, rest: long, keep: false, pipelining: true, destination: Destination::Maildir }.holds();
}

#[test]
fn a_message_that_ends_early_is_not_given_to_an_mbox_or_an_mda() {
    for destination in [Destination::Mbox, Destination::Mda] {
        for (keep, pipelining) in [(true, false), (false, true)] {
            Case { position: 2, rest: "rest\r\n", keep, pipelining, destination }.holds();
        }
    }
}

#[test]
fn two_messages_that_end_early_keep_no_other_back() {
    let mut all = mails(5);
    all[1] = Mail::new("first", "a\r\n.\r\nb\r\n");
    all[3] = Mail::new("second", "c\r\n.\r\nd\r\n");
    let server = server(all.clone()).start();
    server.forget_dots(true);
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    for _ in 0..6 {
        sandbox.popfetch(["-q"]).exits(76);
        wait_until(|| server.is_idle());
    }
    assert_eq!(server.unique_ids(USER), ["first", "second"]);
    assert_eq!(sandbox.maildir().messages().len(), 3);
    server.forget_dots(false);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(sandbox.maildir().messages(), all_at_home(&all));
}

#[test]
fn max_messages_counts_one_that_ended_early_last() {
    let server = server(with_dotted(0, "rest\r\n")).start();
    server.forget_dots(true);
    let sandbox = Sandbox::with(Account::on(server.port).set("max_messages", 1));
    sandbox.popfetch(["-q"]).exits(76);
    wait_until(|| server.is_idle());
    for _ in 2..=4 {
        sandbox.popfetch(["-q"]).exits(0);
    }
    assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(4)[1..]));
    sandbox.popfetch(["-q"]).exits(76);
}

#[test]
fn without_unique_ids_a_message_that_ends_early_stays_as_well() {
    let server =
        server(with_dotted(3, "rest\r\n")).capabilities(&["PIPELINING", "USER"]).answer("UIDL", "-ERR what?").start();
    server.forget_dots(true);
    let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
    sandbox.popfetch(["-q"]).exits(76).says(&["message 4"]);
    assert_eq!((sandbox.maildir().messages(), server.unique_ids(USER).len()), (all_at_home(&mails(3)), 4));
}

#[test]
fn a_rest_without_a_line_end_shows_as_well() {
    for end in ["!close", "!stall"] {
        let script = format!(
            "S: +OK\nC: CAPA\nS: -ERR\nC: *\nS: +OK\nC: *\nS: +OK\nC: CAPA\nS: -ERR\nC: STAT\nS: +OK 1 9\nC: UIDL\nS: +OK\n\
             S: 1 a\nS: .\nC: LIST\nS: +OK\nS: 1 9\nS: .\nC: RETR 1\nS: +OK\nS: a message\nS: .\n!raw \"rest\"\n{end}"
        );
        let server = ScriptServer::tcp(&script);
        let sandbox = Sandbox::with(Account::on(server.port).set("timeout", 1));
        sandbox.popfetch(["-q"]).says(&["message 1 (`a`) stays on the server"]);
        assert_eq!(sandbox.maildir().messages().len(), 0, "{end}");
    }
}

// What is not out of step

#[test]
fn a_line_that_closes_behind_a_whole_message_has_delivered_it() {
    // CAPA, login, STAT, UIDL, LIST, then the message: the line closes in place of the reply to QUIT.
    let mails = mails(1);
    for (announced, delivered) in [(None, 1), (Some(10), 1), (Some(10_000), 0)] {
        let mut mail = mails[0].clone();
        mail.announced = announced;
        let sound = server([mail.clone()]).start();
        Sandbox::with(Account::on(sound.port)).popfetch(["-q"]);
        let lines = sound.traffic(1).lines_sent;
        let fault = Fault { moment: Moment::LinesSent(lines - 1), misdeed: Misdeed::HangUp };
        let server = server([mail]).faults([fault]).start();
        let sandbox = Sandbox::with(Account::on(server.port));
        sandbox.popfetch(["-q"]).exits(if delivered == 1 { 0 } else { 75 });
        assert_eq!(sandbox.maildir().messages().len(), delivered, "{announced:?}");
        wait_until(|| server.is_idle());
        sandbox.popfetch(["-q"]).exits(0);
        assert_eq!(sandbox.maildir().messages(), all_at_home(&mails), "{announced:?}");
    }
}

#[test]
fn a_message_much_shorter_than_announced_is_delivered_with_a_notice() {
    let octets = message(1).len() as u64;
    for (announced, is_told) in [(octets * 2, false), (octets + 1500, true), (1 << 40, true), (octets - 1, false)] {
        let mut mail = mails(1).remove(0);
        mail.announced = Some(announced);
        let expected = at_home(&mail.octets);
        let server = server([mail]).start();
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", false));
        let run = sandbox.popfetch(["-q", "--json"]).exits(0);
        assert_eq!(run.stderr.contains("less than half of the announced size (message 1: "), is_told, "{run:#?}");
        assert_eq!(run.stdout.contains("less than half"), is_told, "{run:#?}");
        assert_eq!((sandbox.maildir().messages(), server.unique_ids(USER).len()), (vec![expected], 0));
    }
}

// Servers that forget what is sent ahead

/// Ten messages on such a server.
fn forgetful() -> Maildrop {
    server(mails(10)).forgets_what_is_ahead().start()
}

fn patient(server: &Maildrop) -> Account {
    Account::on(server.port).set("timeout", 2)
}

#[test]
fn a_server_that_forgets_what_is_sent_ahead_is_fetched_in_lock_step() {
    for keep in [true, false] {
        let server = forgetful();
        let sandbox = Sandbox::with(patient(&server).set("keep", keep));
        let run =
            sandbox.popfetch(["--json"]).exits(0).says(&["PIPELINING", "one command at a time", "`pipelining = true`"]);
        assert!(run.stdout.contains("one command at a time") && run.stdout.contains("\"delivered\":10"), "{run:#?}");
        assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(10)));
        assert_eq!((server.connections(), server.count("RETR")), (2, 10));
        assert_eq!(server.unique_ids(USER).len(), if keep { 10 } else { 0 });
        // It is remembered.
        server.arrive(USER, Mail::new("m11", message(11)));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!((server.connections(), server.count("RETR")), (3, 11));
        assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(11)));
    }
}

/// Makes the ledger's notes of a word so many days older.
fn age_notes(sandbox: &Sandbox, server: &Maildrop, word: &str, days: u64) {
    let path = sandbox.ledger(USER, server.port);
    let text = String::from_utf8(read(&path)).unwrap();
    let start = format!("{{\"note\":\"{word}\",\"id\":\"\",");
    let older = |line: &str| match line.strip_prefix(&start) {
        Some(rest) => {
            let at: u64 = rest.trim_start_matches("\"at\":").trim_end_matches('}').parse().unwrap();
            format!("{start}\"at\":{}}}", at - days * 86400)
        }
        None => line.to_owned(),
    };
    let lines: Vec<String> = text.lines().map(older).collect();
    assert!(text.contains(&start), "{text}");
    sandbox.file(path.strip_prefix(sandbox.path("")).unwrap().to_str().unwrap(), lines.join("\n") + "\n");
}

#[test]
fn after_a_month_what_is_sent_ahead_is_tried_again() {
    let server = forgetful();
    let sandbox = Sandbox::with(patient(&server));
    sandbox.popfetch(["-q"]).exits(0).says(&["one command at a time"]);
    let arrive = |from: usize| {
        (from..from + 5).for_each(|n| server.arrive(USER, Mail::new(format!("m{n}"), message(n))));
    };
    arrive(11);
    age_notes(&sandbox, &server, "lock-step", 29);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.connections(), 3);
    // The server is still the same: it is noted anew.
    arrive(16);
    age_notes(&sandbox, &server, "lock-step", 2);
    sandbox.popfetch(["-q"]).exits(0).says(&["one command at a time"]);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(server.connections(), 6);
    // It has been mended.
    server.forget_what_is_ahead(false);
    arrive(21);
    age_notes(&sandbox, &server, "lock-step", 31);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let flights = |nth: usize| server.traffic(nth).flights;
    assert!(flights(7) + 5 < flights(3), "{} flights, and {} in lock-step", flights(7), flights(3));
    arrive(26);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert!(flights(8) + 5 < flights(3));
    assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(30)));
}

// Servers that lose some of what is sent ahead, and answer the rest

/// How a server counts what it announces.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Counting {
    Exact,
    /// A line end is one octet.
    LineFeeds,
    /// A header that it adds only to what it counts.
    WithHeader,
    /// Nothing fits.
    Estimates,
    /// All messages have one size.
    Equal,
}

use Counting::{Equal, Estimates, Exact, LineFeeds, WithHeader};

impl Counting {
    /// Messages of different sizes, but for [`Equal`].
    fn mails(self, count: usize) -> Vec<Mail> {
        (1..=count).map(|number| self.mail(number)).collect()
    }

    fn mail(self, number: usize) -> Mail {
        let lines = if self == Equal { 5 } else { number.pow(3) % 103 + 3 };
        let head = format!("Message-ID: <{number:03}@x>\r\nSubject: message {number:03}\r\n\r\n");
        let mut mail = Mail::new(format!("m{number}"), head + &"..and a line\r\nanother one\r\n".repeat(lines));
        let octets = mail.octets.len();
        let feeds = mail.octets.iter().filter(|octet| **octet == b'\n').count();
        let announced = match self {
            Exact | Equal => octets,
            LineFeeds => octets - feeds,
            WithHeader => octets + 41,
            Estimates => octets + (number * number) % 91 + 3,
        };
        mail.announced = Some(announced as u64);
        mail
    }
}

/// How often each message is at home.
fn copies(sandbox: &Sandbox, destination: Destination, mails: &[Mail]) -> Vec<usize> {
    let home = destination.messages(sandbox);
    let copies: Vec<usize> =
        mails.iter().map(|mail| home.iter().filter(|octets| **octets == at_home(&mail.octets)).count()).collect();
    assert_eq!(copies.iter().sum::<usize>(), home.len(), "nothing else has arrived");
    copies
}

#[derive(Debug, Clone, Copy)]
struct Loss {
    lost: &'static [&'static str],
    counting: Counting,
    keep: bool,
    top: bool,
    destination: Destination,
}

impl Loss {
    const USUAL: Loss =
        Loss { lost: &["RETR 3"], counting: Exact, keep: true, top: true, destination: Destination::Maildir };

    /// Fetches eight messages, and returns how often each came.
    fn copies(self) -> Vec<usize> {
        let mails = self.counting.mails(8);
        let mut builder = server(mails.clone()).loses_ahead(self.lost);
        if !self.top {
            builder = builder.capabilities(&["UIDL", "PIPELINING", "USER"]).answer("TOP", "-ERR what?");
        }
        let server = builder.start();
        let sandbox = Sandbox::new();
        let deliver = self.destination.deliver(&sandbox);
        sandbox.config(&patient(&server).set("keep", self.keep).set("deliver", deliver).to_string());
        sandbox.popfetch(["-q"]).exits(0).says(&["one command at a time"]);
        let came = copies(&sandbox, self.destination, &mails);
        assert!(came.iter().all(|copies| *copies > 0), "{self:?}: {came:?}");
        assert_eq!(server.unique_ids(USER).len(), if self.keep { 8 } else { 0 }, "{self:?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        let fetched = server.count("RETR") + server.count("TOP");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR") + server.count("TOP"), fetched, "{self:?}: nothing is doubted for ever");
        assert_eq!(copies(&sandbox, self.destination, &mails), came, "{self:?}");
        assert_eq!(sandbox.maildir().litter(), [""; 0], "{self:?}");
        came
    }
}

#[test]
fn a_command_that_is_lost_ahead_shifts_no_message() {
    for lost in [&["RETR 1"][..], &["RETR 3"], &["RETR 7"], &["RETR 8"], &["RETR 2", "RETR 3", "RETR 6"]] {
        for keep in [true, false] {
            assert_eq!(Loss { lost, keep, ..Loss::USUAL }.copies(), [1; 8], "{lost:?} {keep}");
        }
    }
    assert_eq!(Loss { counting: WithHeader, ..Loss::USUAL }.copies(), [1; 8]);
    for lost in [&["RETR 1"][..], &["RETR 3"]] {
        assert_eq!(Loss { counting: LineFeeds, lost, ..Loss::USUAL }.copies(), [1; 8], "{lost:?}");
    }
}

#[test]
fn a_message_that_was_cut_is_not_deleted_for_its_header() {
    for keep in [true, false] {
        let mut all = Equal.mails(9);
        let head = "Message-ID: <cut@x>\r\nSubject: cut\r\n\r\n".to_owned();
        let long = "long text\r\n".repeat(300);
        all[2] = Mail::new("m3", head + &"a line\r\n".repeat(60) + ".\r\n+OK\r\n" + &long);
        let server = server(all.clone()).start();
        server.forget_dots(true);
        let sandbox = Sandbox::with(Account::on(server.port).set("keep", keep));
        for _ in 0..6 {
            sandbox.popfetch(["-q"]);
            wait_until(|| server.is_idle());
        }
        assert!(server.unique_ids(USER).contains(&"m3".to_owned()), "{keep}");
        let home = sandbox.maildir().messages();
        let others = all.iter().filter(|mail| mail.unique_id != "m3");
        others.for_each(|mail| assert!(home.contains(&at_home(&mail.octets)), "{keep}: {}", mail.unique_id));
    }
}

#[test]
fn a_reply_too_many_becomes_no_part_of_a_message() {
    for keep in [true, false] {
        for pipelining in [true, false] {
            let all = mails(6);
            let third = String::from_utf8(all[2].octets.clone()).unwrap();
            let server = server(all.clone()).start();
            server.answer("RETR 3", Some(&format!("+OK extra\r\n+OK here it is\r\n{third}.")));
            let sandbox = Sandbox::with(Account::on(server.port).set("keep", keep).set("pipelining", pipelining));
            assert_ne!(sandbox.popfetch(["-q"]).code(), 0, "{keep} {pipelining}");
            server.answer("RETR 3", None);
            (0..3).for_each(|_| drop(sandbox.popfetch(["-q"])));
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(sandbox.maildir().messages(), all_at_home(&all), "{keep} {pipelining}");
        }
    }
}

#[test]
fn what_is_too_large_is_said_though_a_second_session_follows() {
    let large = Mail::new("large", message(9) + &"x".repeat(30_000) + "\r\n");
    let server = server(Exact.mails(8).into_iter().chain([large])).loses_ahead(&["RETR 3"]).start();
    let sandbox = Sandbox::with(patient(&server).set("max_size", "\"20k\""));
    sandbox.popfetch([] as [&str; 0]).exits(0).says(&["one command at a time", "1 message larger than `max_size`"]);
    assert_eq!(server.connections(), 2);
    sandbox.popfetch([] as [&str; 0]).exits(0).silently();
}

#[test]
fn a_command_that_is_lost_ahead_shifts_nothing_into_an_mbox_or_an_mda() {
    for destination in [Destination::Mbox, Destination::Mda] {
        for top in [true, false] {
            for keep in [true, false] {
                assert_eq!(Loss { destination, keep, top, ..Loss::USUAL }.copies(), [1; 8], "{destination:?}");
            }
        }
    }
}

#[test]
fn where_sizes_do_not_tell_what_may_have_been_shifted_is_proved_in_the_next_session() {
    for counting in [Estimates, Equal, WithHeader] {
        for lost in [&["RETR 1"][..], &["RETR 2", "RETR 3"]] {
            for (keep, top) in [(true, true), (true, false), (false, true), (false, false)] {
                let came = Loss { lost, counting, keep, top, ..Loss::USUAL }.copies();
                // What came in the place of another one may come again in its own.
                assert!(came.iter().all(|copies| *copies <= 2), "{counting:?} {lost:?} {keep} {top}: {came:?}");
            }
        }
    }
}

#[test]
fn what_pipelining_true_shifts_is_doubted_and_nothing_is_deleted_for_it() {
    for counting in [Exact, Estimates] {
        let mails = counting.mails(8);
        let server = server(mails.clone()).loses_ahead(&["RETR 3"]).start();
        let account = patient(&server).set("keep", false);
        let sandbox = Sandbox::with(account.clone().set("pipelining", true));
        sandbox.popfetch(["-q"]).exits(if counting == Exact { 76 } else { 75 });
        assert_eq!(server.unique_ids(USER).len(), 8);
        wait_until(|| server.is_idle());
        sandbox.config(&account.set("pipelining", false).to_string());
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert!(copies(&sandbox, Destination::Maildir, &mails).iter().all(|copies| *copies > 0));
        assert_eq!(server.unique_ids(USER), [""; 0]);
    }
}

#[test]
fn servers_that_count_otherwise_are_neither_slowed_down_nor_doubted() {
    let mut flights = vec![];
    for counting in [Exact, LineFeeds, WithHeader, Estimates, Equal] {
        for keep in [true, false] {
            let mut all = counting.mails(30);
            let server = server(all.clone()).start();
            let sandbox = Sandbox::with(patient(&server).set("keep", keep));
            sandbox.popfetch(["-q"]).exits(0).silently();
            flights.push((counting, keep, server.traffic(1).flights));
            all.push(counting.mail(31));
            server.arrive(USER, counting.mail(31));
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!((server.connections(), server.count("RETR")), (2, 31), "{counting:?}");
            assert_eq!(copies(&sandbox, Destination::Maildir, &all), [1; 31], "{counting:?}");
            let ledger = String::from_utf8(read(&sandbox.ledger(USER, server.port))).unwrap();
            assert!(!ledger.contains("doubtful") && !ledger.contains("lock-step"), "{ledger}");
        }
    }
    for (counting, keep, count) in &flights {
        // Where no size fits, the last reply before a deletion is proved.
        let expected = flights[usize::from(!keep)].2 + u64::from(*counting == Estimates && !keep);
        assert_eq!(*count, expected, "{counting:?} {keep}");
    }
}

#[test]
fn a_size_here_and_there_that_does_not_fit_holds_nothing_up() {
    let mut all = Exact.mails(40);
    for position in [0, 3, 4, 11, 20, 21, 22, 23, 24, 25, 39] {
        *all[position].announced.as_mut().unwrap() += 5 + position as u64;
    }
    for keep in [true, false] {
        let server = server(all.clone()).start();
        let sandbox = Sandbox::with(patient(&server).set("keep", keep));
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(copies(&sandbox, Destination::Maildir, &all), [1; 40]);
        assert_eq!((server.connections(), server.count("RETR")), (1, 40));
    }
}

#[test]
fn a_line_that_drops_in_a_flight_makes_nothing_come_twice() {
    for counting in [Exact, LineFeeds, WithHeader, Estimates, Equal] {
        for (octets, misdeed) in [(2_000, Misdeed::HangUp), (3_500, Misdeed::HangUp), (3_500, Misdeed::Stall)] {
            let mails = counting.mails(20);
            let fault = Fault { moment: Moment::OctetsSent(octets), misdeed };
            let server = server(mails.clone()).faults([fault]).start();
            let sandbox = Sandbox::with(patient(&server));
            sandbox.popfetch(["-q"]);
            wait_until(|| server.is_idle());
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert!(server.connections() > 1, "{counting:?}: the line has dropped");
            assert_eq!(copies(&sandbox, Destination::Maildir, &mails), [1; 20], "{counting:?}");
            // What was in doubt is proved by then.
            let asked = server.count("TOP");
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(server.count("TOP"), asked, "{counting:?}");
        }
    }
}

// Replies that a message forges, where no dots are stuffed

/// A message with replies in it, from a server that does not stuff dots.
fn forged(replies: &str) -> Mail {
    Mail::new("dotted", format!("Subject: dotted\r\n\r\nbefore\r\n.\r\n{replies}rest of it\r\n"))
}

/// Runs until only the forged one is left, then mends the server.
fn holds_a_forgery(replies: &str, position: usize, keep: bool, pipelining: bool) {
    let mut all = Exact.mails(6);
    all[position] = forged(replies);
    let others: Vec<_> = all.iter().filter(|mail| mail.unique_id != "dotted").cloned().collect();
    let builder = server(all.clone());
    let server = if pipelining { builder } else { builder.without_pipelining() }.start();
    server.forget_dots(true);
    let sandbox = Sandbox::with(patient(&server).set("keep", keep));
    let case = format!("{replies:?} in {position}, keep {keep}, pipelining {pipelining}");
    for _ in 0..4 {
        let run = sandbox.popfetch(["-q"]);
        assert!(run.code() != 0, "{case}: {run:#?}");
        wait_until(|| server.is_idle());
        assert!(server.unique_ids(USER).contains(&"dotted".to_string()), "{case}");
    }
    assert_eq!(copies(&sandbox, Destination::Maildir, &others), [1; 5], "{case}");
    server.forget_dots(false);
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!(copies(&sandbox, Destination::Maildir, &all), [1; 6], "{case}");
    assert_eq!(server.unique_ids(USER).len(), if keep { 6 } else { 0 }, "{case}");
}

#[test]
fn a_forged_reply_is_not_believed() {
    for position in [0, 3, 5] {
        for (keep, pipelining) in [(true, true), (true, false), (false, true), (false, false)] {
            holds_a_forgery("+OK\r\n", position, keep, pipelining);
        }
        for replies in ["-ERR no such message\r\n", "+OK\r\n.\r\n+OK\r\n"] {
            holds_a_forgery(replies, position, true, true);
            holds_a_forgery(replies, position, false, false);
        }
    }
}

// Servers that do not answer TOP

#[test]
fn a_top_that_is_not_answered_holds_no_new_mail_up() {
    for answer in [STALL, HANG_UP, ENDLESS] {
        for builder in [server(mails(3)), server(mails(3)).without_pipelining()] {
            let server = builder.start();
            let account = patient(&server);
            let sandbox = Sandbox::with(account.clone());
            sandbox.popfetch(["-q"]).exits(0).silently();
            server.answer("TOP", Some(answer));
            server.arrive(USER, Mail::new("m4", message(4)));
            sandbox.config(&account.set("keep", false).to_string());
            let said = ["does not answer TOP", "3 messages due to be deleted left on the server"];
            sandbox.popfetch(["-q"]).exits(0).says(&said);
            assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(4)), "{answer}");
            assert_eq!(server.unique_ids(USER), ["m1", "m2", "m3"], "{answer}");
            // For a day it is not asked again.
            let asked = server.count("TOP");
            server.arrive(USER, Mail::new("m5", message(5)));
            let run = sandbox.popfetch(["-q"]).exits(0).says(&said[1..]);
            assert!(!run.stderr.contains(said[0]), "{run:#?}");
            assert_eq!((server.count("TOP"), sandbox.maildir().messages().len()), (asked, 5));
            server.answer("TOP", None);
            age_notes(&sandbox, &server, "no-top", 1);
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert_eq!(server.unique_ids(USER), [""; 0], "{answer}");
            assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(5)));
        }
    }
}

#[test]
fn a_line_that_fails_altogether_says_nothing_about_top() {
    let server = server(mails(2)).start();
    let account = patient(&server);
    let sandbox = Sandbox::with(account.clone());
    sandbox.popfetch(["-q"]).exits(0);
    server.answer("TOP", Some(HANG_UP));
    server.answer("STAT", Some("+OK 2 9"));
    server.arrive(USER, Mail::new("m3", message(3)));
    server.answer("RETR", Some(HANG_UP));
    sandbox.config(&account.set("keep", false).to_string());
    sandbox.popfetch(["-q"]).exits(75);
    for command in ["TOP", "STAT", "RETR"] {
        server.answer(command, None);
    }
    wait_until(|| server.is_idle());
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.unique_ids(USER).len(), sandbox.maildir().messages().len()), (0, 3));
}

#[test]
fn pipelining_false_never_sends_ahead_and_true_always() {
    let server = forgetful();
    let sandbox = Sandbox::with(patient(&server).set("pipelining", false));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((server.connections(), server.count("RETR")), (1, 10));
    server.arrive(USER, Mail::new("m11", message(11)));
    sandbox.config(&patient(&server).to_string());
    sandbox.popfetch(["-q"]).exits(0).says(&["one command at a time"]);
    assert_eq!(server.connections(), 3);
    // Who writes it has the last word, also over what is remembered.
    sandbox.config(&patient(&server).set("pipelining", true).to_string());
    sandbox.popfetch(["-q"]).exits(75).says(&["UIDL"]);
    assert_eq!((server.connections(), sandbox.maildir().messages().len()), (4, 11));
}

#[test]
fn what_came_before_a_reply_that_is_missing_is_not_fetched_twice() {
    // The line falls silent in the middle of a flight, once.
    let sound = server(mails(10)).start();
    Sandbox::with(Account::on(sound.port)).popfetch(["-q"]).exits(0);
    let lines = sound.traffic(1).lines_sent;
    for keep in [true, false] {
        let fault = Fault { moment: Moment::LinesSent(lines - 1 - 3 * 8), misdeed: Misdeed::Stall };
        let server = server(mails(10)).faults([fault]).start();
        let sandbox = Sandbox::with(patient(&server).set("keep", keep));
        sandbox.popfetch(["-q"]).exits(0);
        assert_eq!(sandbox.maildir().messages(), all_at_home(&mails(10)), "each once");
        let retrieved: Vec<_> = server.commands(2).into_iter().filter(|line| line.starts_with("RETR")).collect();
        assert_eq!((server.connections(), retrieved.len()), (2, 3), "{retrieved:?}");
        assert_eq!(server.unique_ids(USER).len(), if keep { 10 } else { 0 });
    }
}

#[test]
fn silence_in_lock_step_is_not_tried_again() {
    let fault = Fault { moment: Moment::BeforeCommand(8), misdeed: Misdeed::Stall };
    let server = server(mails(10)).without_pipelining().faults([fault]).start();
    let sandbox = Sandbox::with(patient(&server));
    sandbox.popfetch(["-q"]).exits(75);
    assert_eq!(server.connections(), 1);
}

// Second sessions with two targets

/// Why there is a second session.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// The server forgets all that is sent ahead.
    Forgets,
    /// It loses one RETR, and answers the others.
    Loses,
    /// It falls silent in the middle of a flight.
    Stalls,
    /// It does not answer TOP.
    HasNoTop,
}

impl Trouble {
    fn mails(self) -> Vec<Mail> {
        if self == Trouble::Loses { Exact.mails(10) } else { mails(10) }
    }

    /// The connection of the second session: with `hold` it gets no greeting.
    fn second(self) -> usize {
        if self == Trouble::HasNoTop { 3 } else { 2 }
    }

    fn start(self, hold: bool) -> Maildrop {
        let fault = |lines| Fault { moment: Moment::LinesSent(lines), misdeed: Misdeed::Stall };
        let builder = server(self.mails());
        let (builder, first) = match self {
            Trouble::Forgets => (builder.forgets_what_is_ahead(), fault(u64::MAX)),
            Trouble::Loses => (builder.loses_ahead(&["RETR 4"]), fault(u64::MAX)),
            Trouble::HasNoTop => (builder, fault(u64::MAX)),
            Trouble::Stalls => {
                let sound = server(self.mails()).start();
                Sandbox::with(Account::on(sound.port)).popfetch(["-q"]).exits(0);
                let lines = sound.traffic(1).lines_sent - 1 - 3 * 8;
                (builder, fault(lines))
            }
        };
        let mut faults = vec![first; self.second() - 1];
        faults.extend(hold.then(|| fault(0)));
        builder.faults(faults).start()
    }

    fn holds(self, second: Destination, is_killed: bool) {
        let when = format!("{self:?}, {second:?}, killed: {is_killed}");
        let server = self.start(is_killed);
        let sandbox = Sandbox::new();
        let deliver = format!("[\"maildir:~/Mail\", {}]", second.deliver(&sandbox));
        let account = patient(&server).set("deliver", deliver);
        let (mut all, mut unproved) = (self.mails(), 0);
        if self == Trouble::HasNoTop {
            sandbox.config(&account.to_string());
            sandbox.popfetch(["-q"]).exits(0).silently();
            server.answer("TOP", Some(STALL));
            unproved = all.len();
            all.push(Mail::new("m11", message(11)));
            server.arrive(USER, all[10].clone());
        }
        sandbox.config(&account.set("keep", false).to_string());
        if is_killed {
            let running = sandbox.start(&mut sandbox.command(["-q"]));
            wait_until(|| server.connections() == self.second());
            running.signal(rustix::process::Signal::KILL);
            assert_eq!(running.finish().code(), 137, "{when}");
            wait_until(|| server.is_idle());
        }
        sandbox.popfetch(["-q"]).exits(0);
        let check = |left: usize| {
            assert!(sandbox.maildir().messages() == all_at_home(&all), "{when}: each once in the Maildir");
            let mut there = second.messages(&sandbox);
            let repeated = there.len() - all.len();
            assert!(repeated <= usize::from(is_killed && second == Destination::Mda), "{when}: {repeated} repeated");
            there.dedup();
            assert!(there == all_at_home(&all), "{when}: each at the second target");
            assert_eq!(server.unique_ids(USER).len(), left, "{when}");
        };
        check(unproved);
        if self == Trouble::HasNoTop {
            server.answer("TOP", None);
            age_notes(&sandbox, &server, "no-top", 1);
        }
        sandbox.popfetch(["-q"]).exits(0).silently();
        check(0);
    }
}

#[test]
fn a_second_session_brings_each_message_once_to_each_of_two_targets_also_after_a_kill() {
    std::thread::scope(|scope| {
        for trouble in [Trouble::Forgets, Trouble::Loses, Trouble::Stalls, Trouble::HasNoTop] {
            scope.spawn(move || {
                for (second, is_killed) in
                    [(Destination::Mbox, false), (Destination::Mda, true), (Destination::Mbox, true)]
                {
                    trouble.holds(second, is_killed);
                }
            });
        }
    });
}
