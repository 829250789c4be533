//! Keys and options together: every value of one beside every value of another, at least once.
//!
//! Whatever is combined, a dry run says of each message what the run then does with it, and writes nothing; one more run
//! does nothing more; nothing comes twice, and nothing is lost.
//!
//! `POPFETCH_PAIRS=N` adds N combinations at random; `POPFETCH_SEED` repeats them, and chooses the others as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use chrono::Utc;
use popfetch::text;
use serde_json::{Value, json};

use crate::crash::{Random, number_in};
use crate::doors::as_of_format;
use crate::owner::{NOBODY, user};
use crate::sandbox::{Account, CANARY, Maildir, Sandbox, USER, all_at_home, at_home, mboxrd, names, read, server};
use crate::server::imap::{Family, Imap};
use crate::server::{Builder, Fault, Mail, Maildrop, Misdeed, Moment, Mta, Web};

/// What can be combined, and its values. A combination has one value of each. The first one is as it is without.
const DIMENSIONS: [(&str, &[&str]); 29] = [
    (
        "deliver",
        &["maildir", "mbox", "mda", "maildir, mbox", "maildir, mda", "lmtp", "imap", "maildir, http", "http, imap"],
    ),
    // Of a target that is a server.
    ("in_flight", &["", "3"]),
    ("keep", &["true", "false", "\"1d\""]),
    ("keep_newest", &["", "2"]),
    ("delete_over", &["", "\"1500\""]),
    ("pipelining", &["", "true", "false"]),
    ("order", &["", "\"newest\"", "\"smallest\""]),
    ("max_messages", &["", "1", "3"]),
    ("max_size", &["", "\"1000\""]),
    ("max_octets", &["", "\"700\"", "\"700/day\""]),
    // More than any disk has, until the third run.
    ("min_free", &["", "\"8000000G\""]),
    ("jobs", &["", "--jobs-per-host=1"]),
    ("rules", &["", "of no message", "the same targets", "the same keep"]),
    // What it says of one message; all others are to be fetched.
    ("filter", &["", "fetch", "skip", "delete"]),
    ("start", &["", "\"now\"", "\"30d\""]),
    ("server", &["usual", "no PIPELINING", "no TOP", "no CAPA"]),
    ("line", &["whole", "breaks", "is dialled again"]),
    (
        "before",
        &[
            "nothing",
            "all known",
            "some known",
            "gone for a while",
            "another name",
            "URL",
            "URL elsewhere",
            "URL of another name",
            "old URL",
            "format 1",
            "interrupted",
            "damaged",
            "lost",
        ],
    ),
    ("meanwhile", &["nothing", "a used id", "another size", "new ids"]),
    // At the last target, which has refused it five times.
    ("refused", &["", "quarantined"]),
    ("waits", &["", "not before", "--now"]),
    ("form", &["account", "URL"]),
    ("verbose", &["", "-v", "-vv"]),
    ("all", &["", "--all", "--fill"]),
    ("create", &["", "--create"]),
    ("owner", &["", "owner"]),
    ("progress", &["", "--progress=always"]),
    ("json", &["--json", ""]),
    ("notify_every", &["", "\"0\"", "\"1h\""]),
];

/// Keys of an account, and the options of a run by URL, where there are some.
const KEYS: [(&str, Option<&str>); 13] = [
    ("keep", Some("--keep")),
    ("keep_newest", Some("--keep-newest")),
    ("delete_over", Some("--delete-over")),
    ("pipelining", None),
    ("order", Some("--order")),
    ("max_messages", Some("--max-messages")),
    ("max_size", Some("--max-size")),
    ("max_octets", Some("--max-octets")),
    ("min_free", None),
    ("rules", None),
    ("filter", None),
    ("start", None),
    ("notify_every", None),
];

/// What cannot be combined: with one value of the first dimension, these values of another.
const IMPOSSIBLE: [(&str, &str, &str, &[&str]); 19] = [
    // A URL has one target, has the keys that are options, and delivers for who runs it.
    ("form", "URL", "deliver", &["maildir, mbox", "maildir, mda", "maildir, http", "http, imap"]),
    ("form", "URL", "pipelining", &["true", "false"]),
    ("form", "URL", "min_free", &["\"8000000G\""]),
    ("form", "URL", "rules", &["of no message", "the same targets", "the same keep"]),
    ("form", "URL", "filter", &["fetch", "skip", "delete"]),
    ("form", "URL", "start", &["\"now\"", "\"30d\""]),
    ("form", "URL", "notify_every", &["\"0\"", "\"1h\""]),
    ("form", "URL", "owner", &["owner"]),
    ("owner", "owner", "before", &["URL", "URL elsewhere", "URL of another name", "old URL"]),
    ("in_flight", "3", "deliver", &["imap", "maildir", "mbox", "mda", "maildir, mbox", "maildir, mda"]),
    // Earlier builds knew no servers.
    ("before", "old URL", "deliver", &["lmtp", "imap", "maildir, http", "http, imap"]),
    ("in_flight", "3", "before", &["old URL", "format 1"]),
    ("before", "format 1", "deliver", &["lmtp", "imap", "maildir, http", "http, imap"]),
    // What an interrupted run leaves of an mbox is more than its ledger tells.
    ("before", "interrupted", "deliver", &["mbox", "maildir, mbox"]),
    // What asks for header sections ends a run of an account.
    ("server", "no TOP", "rules", &["of no message", "the same targets"]),
    ("server", "no TOP", "filter", &["fetch", "skip", "delete"]),
    ("server", "no TOP", "start", &["\"30d\""]),
    // The ledger remembers it, where there is one.
    ("refused", "quarantined", "before", &["another name", "URL of another name", "old URL", "lost"]),
    ("waits", "not before", "before", &["another name", "URL of another name", "old URL", "lost"]),
];

type Combination = BTreeMap<&'static str, &'static str>;
type Choice = (&'static str, &'static str);

fn is_possible((one, value): Choice, (other, second): Choice) -> bool {
    !IMPOSSIBLE.iter().any(|(name, first, with, others)| {
        let is_it = |a: &str, x: &str, b: &str, y: &str| a == *name && x == *first && b == *with && others.contains(&y);
        is_it(one, value, other, second) || is_it(other, second, one, value)
    })
}

/// Every possible pair of values.
fn pairs() -> Vec<(Choice, Choice)> {
    let mut pairs = vec![];
    for (position, (one, values)) in DIMENSIONS.iter().enumerate() {
        for (other, others) in &DIMENSIONS[position + 1..] {
            for value in *values {
                pairs.extend(others.iter().map(|second| ((*one, *value), (*other, *second))));
            }
        }
    }
    pairs.retain(|(one, other)| is_possible(*one, *other));
    pairs
}

/// Few combinations with every possible pair of values in them: each one is made of as many pairs as possible that are
/// missing.
fn combinations(random: &mut Random) -> Vec<Combination> {
    let mut missing = pairs();
    let mut all = vec![];
    while !missing.is_empty() {
        let (first, second) = missing[random.below(missing.len())];
        let combination = completed(Combination::from([first, second]), |combination, (name, value)| {
            let is_met = |(n, v): &Choice| (*n == name && *v == value) || combination.get(n) == Some(v);
            missing.iter().filter(|(one, other)| is_met(one) && is_met(other)).count()
        });
        missing.retain(|((n, v), (m, w))| combination[n] != *v || combination[m] != *w);
        all.push(combination);
    }
    all
}

/// Gives each dimension that has no value the one with the highest gain.
fn completed(mut combination: Combination, mut gain: impl FnMut(&Combination, Choice) -> usize) -> Combination {
    for (name, values) in DIMENSIONS {
        if !combination.contains_key(name) {
            let is_possible =
                |value: &&&'static str| combination.iter().all(|(n, v)| is_possible((*n, *v), (name, **value)));
            let best = values.iter().filter(is_possible).max_by_key(|value| gain(&combination, (name, **value)));
            combination.insert(name, best.expect("a value is always possible"));
        }
    }
    combination
}

#[test]
fn every_possible_pair_of_values_is_in_some_combination() {
    let all = combinations(&mut Random(1));
    assert!((60..=150).contains(&all.len()), "{} combinations", all.len());
    for ((one, value), (other, second)) in pairs() {
        let is_met = |combination: &Combination| combination[one] == value && combination[other] == second;
        assert!(all.iter().any(is_met), "{one} = {value} with {other} = {second}");
    }
    let is_sound = |combination: &Combination| {
        let mut others = combination.iter();
        combination.iter().all(|(n, v)| others.all(|(m, w)| is_possible((*n, *v), (*m, *w))))
    };
    assert!(all.iter().all(is_sound));
}

fn mail(unique_id: &str, subject: &str, octets: usize) -> Mail {
    // One of them is younger than 30 days.
    let date = if subject == "m3" { Utc::now().to_rfc2822() } else { "Mon, 5 Jan 2026 10:00:00 +0000".to_owned() };
    let head = format!("Message-ID: <{subject}@x>\r\nDate: {date}\r\nFrom: a@x\r\n\r\n");
    let body = "x".repeat(octets - head.len() - 2);
    Mail::new(unique_id, head + &body + "\r\n")
}

fn of_server(builder: Builder, kind: &str) -> Builder {
    match kind {
        "no PIPELINING" => builder.without_pipelining(),
        "no TOP" => builder.capabilities(&["UIDL", "PIPELINING", "USER", "SASL PLAIN"]).answer("TOP", "-ERR what?"),
        "no CAPA" => builder.without_pipelining().answer("CAPA", "-ERR what?"),
        _ => builder,
    }
}

/// One kind of target.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Maildir,
    Mbox,
    Mda,
    Lmtp,
    Imap,
    Http,
}

impl Kind {
    /// That of the word that a target begins with.
    fn of(word: &str) -> Self {
        match word {
            "maildir" => Kind::Maildir,
            "mbox" => Kind::Mbox,
            "mda" => Kind::Mda,
            "lmtp" => Kind::Lmtp,
            "imap" => Kind::Imap,
            "http" => Kind::Http,
            _ => panic!("no kind of target is {word}"),
        }
    }

    /// Nothing tells what it took.
    fn cannot_be_asked(self) -> bool {
        !matches!(self, Kind::Maildir | Kind::Mbox | Kind::Imap)
    }
}

/// What a dry run says of a message.
#[derive(Debug)]
struct Row {
    number: usize,
    unique_id: String,
    reason: String,
    is_retrieved: bool,
    is_deleted: bool,
    targets: Vec<Kind>,
}

impl Row {
    fn of(event: &Value) -> Self {
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        let target = |target: &Value| Kind::of(target.as_str().unwrap().split(':').next().unwrap());
        Row {
            number: event["number"].as_u64().unwrap() as usize,
            unique_id: text("unique_id"),
            reason: text("reason"),
            is_retrieved: event["verdict"] == "retrieve",
            is_deleted: event["deleted"] == true,
            targets: event["targets"].as_array().unwrap().iter().map(target).collect(),
        }
    }

    /// Only its text tells whether it is known, or only the run finds out.
    fn is_open(&self) -> bool {
        ["compare", "in-doubt"].contains(&&*self.reason)
    }

    /// A later run takes it.
    fn is_for_later(&self) -> bool {
        ["later", "over-octets", "distrusted", "no-room", "target-closed"].contains(&&*self.reason)
    }
}

/// A dry run, and the run after it.
#[derive(Debug)]
struct Round {
    rows: Vec<Row>,
    status: i32,
    /// The line has broken.
    is_cut: bool,
    /// Unique-ids of what has come to some target, and of what was deleted.
    arrived: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

impl Round {
    fn has_done_nothing(&self) -> bool {
        self.arrived.is_empty() && self.deleted.is_empty()
    }
}

/// One combination at work.
struct Trial {
    combination: Combination,
    targets: Vec<Kind>,
    server: Maildrop,
    mta: Mta,
    imap: Imap,
    web: Web,
    sandbox: Sandbox,
}

impl Trial {
    fn new(mut combination: Combination) -> Self {
        let mails = (0..5).map(|n| mail(&format!("{n}"), &format!("m{n}"), if n == 2 { 3000 } else { 300 + n }));
        let server = of_server(server(mails), combination["server"]).start();
        let sandbox = Sandbox::in_memory();
        sandbox.file(".netrc", format!("default login {USER} password {CANARY}\n"));
        let targets = combination["deliver"].split(", ").map(Kind::of).collect();
        let home = sandbox.path("home");
        let kept = home.join("mda");
        fs::create_dir_all(&kept).unwrap();
        let script = format!("f=$(mktemp {0}/tmp.XXXXXX) && cat >$f && mv $f $f.done", kept.display());
        fs::write(home.join("mda.sh"), script).unwrap();
        let script = format!("if grep -q m4@x; then echo {}; else echo fetch; fi", combination["filter"]);
        fs::write(home.join("filter.sh"), script).unwrap();
        if combination["owner"] == "owner" {
            match user(NOBODY) {
                Some(_) => {
                    sandbox.mode("", 0o755);
                    [&home, &kept].iter().for_each(|path| chown(path, Some(NOBODY), None).unwrap());
                }
                None => drop(combination.insert("owner", "")),
            }
        }
        let (mta, web) = (Mta::lmtp().start(), Web::builder().start());
        let imap = Imap::builder(Family::plain(), USER, CANARY).start();
        Trial { combination, targets, server, mta, imap, web, sandbox }
    }

    fn value(&self, key: &str) -> &'static str {
        self.combination[key]
    }

    /// Writes the configuration, with these keys of the combination.
    fn set(&self, host: &str, has: impl Fn(&str) -> bool) {
        let deliver: Vec<String> = self.targets.iter().map(|target| format!("{:?}", self.deliver(*target))).collect();
        let account = Account::on(self.server.port).set("deliver", format!("[{}]", deliver.join(", ")));
        let value = |key: &str| match (key, self.value(key)) {
            // One that needs no header section, and one that asks for all of them.
            ("rules", "of no message") => {
                "[{ size = \">10M\", skip = true }, { from = \"nobody\", skip = true }]".to_owned()
            }
            // About some messages; a filter is asked about the others.
            ("rules", "the same targets") => {
                format!("[{{ size = \"<304\", from = \"^a@x$\", deliver = [{}] }}]", deliver.join(", "))
            }
            ("rules", "the same keep") => format!("[{{ size = \"<304\", keep = {} }}]", self.value("keep")),
            ("filter", word) if !word.is_empty() => {
                format!("[\"/bin/sh\", {:?}]", self.sandbox.path("home/filter.sh").display().to_string())
            }
            (_, value) => value.to_owned(),
        };
        let keys = KEYS.iter().filter(|(key, _)| has(key)).map(|(key, _)| (*key, value(key)));
        let account =
            keys.filter(|(_, value)| !value.is_empty()).fold(account, |account, (key, value)| account.set(key, value));
        let account = account.set("server", format!("\"{host}\"")).set("retries", self.retries());
        // A server that announces nothing has no other way to log in.
        let auth = if self.value("server") == "no CAPA" { "\"user\"" } else { "\"plain\"" };
        let account =
            account.set("auth", auth).set("allow_delete_unread", has("filter") && self.value("filter") == "delete");
        let is_owned = self.value("owner") == "owner";
        let account = if is_owned { account.set("owner", format!("\"{NOBODY}\"")) } else { account };
        let in_flight = Some(self.value("in_flight")).filter(|value| !value.is_empty()).unwrap_or("1");
        let tables: String = [Kind::Lmtp, Kind::Imap, Kind::Http]
            .map(|kind| {
                let (name, url) = (self.deliver(kind), self.url(kind));
                // A mailbox can be asked, and has batches of its own.
                let keys = match kind {
                    Kind::Imap => format!("password = \"{CANARY}\""),
                    _ => format!("in_flight = {in_flight}"),
                };
                format!("[targets.{name}]\ndeliver = \"{url}\"\n{keys}\n\n")
            })
            .concat();
        self.sandbox.config(&(tables + &account.to_string()));
    }

    /// The address of a server.
    fn url(&self, kind: Kind) -> String {
        match kind {
            Kind::Lmtp => format!("lmtp://127.0.0.1:{}", self.mta.port),
            Kind::Imap => format!("imap://{USER}@127.0.0.1:{}/Box", self.imap.port),
            _ => self.web.url(),
        }
    }

    /// What a ledger makes the name of a lane of.
    fn identity(&self, target: Kind) -> String {
        match target {
            Kind::Lmtp | Kind::Http => format!("{} {USER}", self.url(target)),
            Kind::Imap => self.url(target),
            _ => self.deliver(target),
        }
    }

    fn retries(&self) -> &'static str {
        if self.value("line") == "is dialled again" { "1" } else { "0" }
    }

    /// The target in words, as an earlier build wrote them as well.
    fn deliver(&self, target: Kind) -> String {
        let path = |name: &str| self.sandbox.path("home").join(name).display().to_string();
        match target {
            Kind::Maildir => format!("maildir:{}", path("Mail")),
            Kind::Mbox => format!("mbox:{}", path("mbox")),
            Kind::Mda => format!("mda:/bin/sh {} '%F'", path("mda.sh")),
            Kind::Lmtp => "box".to_owned(),
            Kind::Imap => "mailbox".to_owned(),
            Kind::Http => "web".to_owned(),
        }
    }

    /// The last target, which is that of a URL.
    fn last(&self) -> Kind {
        *self.targets.last().expect("there is one")
    }

    /// What is typed for a run by URL, with the keys of the combination or, before it, without.
    fn by_url(&self, deliver: &str, has_keys: bool) -> Vec<String> {
        let auth = if self.value("server") == "no CAPA" { "user" } else { "plain" };
        let words = ["--tls", "none", "--auth", auth, "--retries", self.retries(), "--deliver", deliver];
        let mut arguments: Vec<String> = words.map(str::to_owned).into();
        for (key, option) in KEYS.iter().filter(|_| has_keys) {
            match (option, self.value(key).trim_matches('"')) {
                (_, "") | (None, _) => {}
                (Some(_), "false") => arguments.push("--no-keep".to_owned()),
                (Some(option), "true") => arguments.push((*option).to_owned()),
                (Some(option), value) => arguments.push(format!("{option}={value}")),
            }
        }
        arguments.push(format!("pop3://{USER}@127.0.0.1:{}", self.server.port));
        arguments
    }

    /// What is typed.
    fn arguments(&self, more: &[&str], has_keys: bool) -> Vec<String> {
        let words = ["create", "progress", "jobs"].map(|key| self.value(key));
        let words = words.iter().chain(more).filter(|word| !word.is_empty());
        let mut arguments: Vec<String> = words.map(|word| (*word).to_owned()).collect();
        if self.value("form") == "URL" {
            arguments.extend(self.by_url(&self.deliver(self.last()), has_keys));
        }
        arguments
    }

    /// What an earlier run, with everything kept, has delivered.
    fn prepare(&self) {
        let before = self.value("before");
        self.set(if before == "another name" { "localhost" } else { "127.0.0.1" }, |_| false);
        let some = if before == "some known" { "--max-messages=3" } else { "" };
        let words: Vec<&str> = ["--keep", some].into_iter().filter(|word| !word.is_empty()).collect();
        let by_url =
            |deliver: &str| words.iter().map(|word| (*word).to_owned()).chain(self.by_url(deliver, false)).collect();
        if before != "nothing" {
            let arguments: Vec<String> = match before {
                "another name" => words.iter().map(|word| (*word).to_owned()).collect(),
                "URL" | "old URL" => by_url(&self.deliver(self.last())),
                "URL of another name" => {
                    let words: Vec<String> = by_url(&self.deliver(self.last()));
                    words.into_iter().map(|word| word.replace("@127.0.0.1:", "@localhost:")).collect()
                }
                "URL elsewhere" => by_url(&format!("maildir:{}", self.sandbox.path("home/Other").display())),
                _ => self.arguments(&words, false),
            };
            self.sandbox.popfetch(arguments).exits(0);
            self.days_pass();
        }
        let ledger = self.sandbox.ledger(USER, self.server.port);
        match before {
            "gone for a while" => {
                let there = self.mails();
                self.server.replace(USER, []);
                self.sandbox.popfetch(self.arguments(&["--keep"], false)).exits(0);
                self.server.replace(USER, there);
            }
            "old URL" => drop(as_of_format(&self.sandbox, &self.server, 2, Some(&self.deliver(self.last())))),
            "format 1" => drop(as_of_format(&self.sandbox, &self.server, 1, None)),
            _ => {}
        }
        let now = Utc::now().timestamp();
        let mut notes = vec![];
        if self.value("refused") == "quarantined" {
            let lane = text::fingerprint(&self.identity(self.last()));
            notes.push(json!({ "note": "refusals", "id": "4", "at": now, "times": 5, "lane": lane }));
        }
        if !self.value("waits").is_empty() {
            let (since, not_before) = (now - 7200, now + 86400);
            notes.push(json!({
                "note": "failing", "id": "", "at": now, "since": since, "times": 3, "said": since,
                "why": "network the line broke", "not_before": not_before
            }));
        }
        let has_ledger = !["another name", "URL of another name", "old URL", "lost"].contains(&before);
        if has_ledger && !notes.is_empty() {
            let header = format!("{{\"popfetch\":3,\"maildrop\":\"{USER}@127.0.0.1:{}\"}}\n", self.server.port);
            let mut text = fs::read_to_string(&ledger).unwrap_or(header);
            notes.iter().for_each(|note| text += &with_first_key("note", note));
            fs::create_dir_all(self.sandbox.state()).unwrap();
            fs::write(&ledger, text).unwrap();
        }
        match before {
            "interrupted" => {
                let text = fs::read_to_string(&ledger).unwrap();
                // Before the last batch was recorded. What was noted here comes after that.
                let (whole, _) = text.rsplit_once("{\"published\"").unwrap();
                let notes = text.lines().filter(|line| line.contains("refusals") || line.contains("failing"));
                fs::write(&ledger, whole.to_owned() + &notes.map(|note| note.to_owned() + "\n").collect::<String>())
                    .unwrap();
            }
            "damaged" => {
                let text = fs::read_to_string(&ledger).unwrap();
                fs::write(&ledger, text.replacen("{\"intend\"", "~{\"intend\"", 1)).unwrap();
            }
            "lost" => fs::remove_file(&ledger).unwrap(),
            _ => {}
        }
        self.set("127.0.0.1", |_| true);
    }

    /// Lets all that the ledgers know have happened two days earlier, and what came today as well.
    fn days_pass(&self) {
        for name in names(&self.sandbox.state()).into_iter().filter(|name| name.ends_with(".jsonl")) {
            let path = self.sandbox.state().join(name);
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.split_inclusive('\n').filter(|line| !line.contains("\"note\":\"received\""));
            let lines = lines.map(|line| match line.split_once("\"at\":") {
                Some((before, after)) if !line.contains("\"note\":\"failing\"") => {
                    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap();
                    let at: u64 = after[..end].parse().unwrap();
                    format!("{before}\"at\":{}{}", at.saturating_sub(2 * 86400), &after[end..])
                }
                _ => line.to_owned(),
            });
            fs::write(&path, lines.collect::<String>()).unwrap();
        }
    }

    fn mails(&self) -> Vec<Mail> {
        self.server.mails(USER)
    }

    /// What happens on the server after that. Returns every message that ever was there.
    fn meanwhile(&self) -> Vec<Mail> {
        let mut all = self.mails();
        let mut there = all.clone();
        match self.value("meanwhile") {
            "a used id" => {
                there[1] = mail("1", "other", 500);
                all.push(there[1].clone());
            }
            "another size" => {
                let text = String::from_utf8(there[0].octets.clone()).unwrap();
                there[0].octets = text.replacen("\r\n\r\n", "\r\nStatus: O\r\n\r\n", 1).into_bytes();
            }
            "new ids" => there.iter_mut().for_each(|mail| mail.unique_id = format!("new-{}", mail.unique_id)),
            _ => {}
        }
        self.server.replace(USER, there.clone());
        // What went before anybody fetched it cannot be at home.
        if self.value("before") == "nothing" { there } else { all }
    }

    /// Messages at a target, but for a header line that only the server added.
    fn home(&self, target: Kind) -> Vec<Vec<u8>> {
        let home = self.sandbox.path("home");
        let messages = match target {
            Kind::Maildir => Maildir { path: home.join("Mail") }.messages(),
            Kind::Mbox => {
                mboxrd(&fs::read(home.join("mbox")).unwrap_or_default()).into_iter().map(|m| m.octets).collect()
            }
            Kind::Mda => {
                let mda = home.join("mda");
                let kept = names(&mda).into_iter().filter(|name| name.ends_with(".done"));
                kept.map(|name| read(&mda.join(name))).collect()
            }
            Kind::Lmtp => self.mta.messages().iter().map(|octets| at_home(octets)).collect(),
            Kind::Imap => self.imap.sent("Box").iter().map(|octets| at_home(octets)).collect(),
            Kind::Http => self.web.messages().iter().map(|octets| at_home(octets)).collect(),
        };
        messages.into_iter().map(without_status).collect()
    }

    /// How often a target has a message.
    fn copies(&self, target: Kind, mail: &Mail) -> usize {
        let octets = without_status(at_home(&mail.octets));
        self.home(target).iter().filter(|message| **message == octets).count()
    }

    /// A dry run, and the run after it: what was said is done, and the first one writes nothing.
    fn round(&self, more: &[&str], fault: Option<Fault>) -> Round {
        let (before, mails, heard) = (contents(&self.sandbox.path("")), self.mails(), self.server.heard().len());
        let called = [self.mta.connections(), self.imap.connections(), self.web.connections()];
        let verbose = if self.value("verbose").is_empty() { "-v" } else { self.value("verbose") };
        let dry = self.sandbox.popfetch(self.arguments(&[more, &[verbose, "--dry-run", "--json"]].concat(), true));
        let rows = dry.events().into_iter().filter(|event| event["event"] == "message").map(|event| Row::of(&event));
        let rows: Vec<Row> = rows.collect();
        assert_eq!(
            [self.mta.connections(), self.imap.connections(), self.web.connections()],
            called,
            "{:#?}: a dry run calls",
            self.combination
        );
        let (said, dry_status) = (dry.account(), dry.code());
        let after = contents(&self.sandbox.path(""));
        assert!(before == after, "{:#?}: a dry run wrote: {:#?}", self.combination, differences(&before, &after));
        let commands = self.server.heard().split_off(heard);
        let is_dry = |line: &str| !line.starts_with("RETR") && !line.starts_with("DELE");
        assert!(commands.iter().all(|heard| is_dry(&heard.line)), "{:#?}: {commands:#?}", self.combination);

        let copies = || -> Vec<Vec<usize>> {
            self.targets.iter().map(|target| mails.iter().map(|mail| self.copies(*target, mail)).collect()).collect()
        };
        let (heard, had) = (self.server.heard().len(), copies());
        self.server.fault(fault);
        let has_json = self.value("json") == "--json";
        let run = self.arguments(&[more, &[self.value("verbose"), self.value("json")]].concat(), true);
        let run = self.sandbox.popfetch(run);
        self.server.fault(None);
        let (report, status) = (if has_json { run.account() } else { json!({}) }, run.code());
        let commands = self.server.heard().split_off(heard);
        let retrieved = commands.iter().filter_map(|heard| heard.line.strip_prefix("RETR ")?.parse().ok());
        let retrieved: Vec<usize> = retrieved.collect();
        let is_cut = fault.is_some() && retrieved.len() > 1;
        let (has, left) = (copies(), self.server.unique_ids(USER));
        let told = || {
            let ledger =
                before.iter().find(|(name, _)| name.ends_with(".jsonl")).map(|(_, (.., text))| text.as_slice());
            let ledger = String::from_utf8_lossy(ledger.unwrap_or_default());
            let (combination, stderr) = (&self.combination, &run.stderr);
            format!(
                "{combination:#?}\n{rows:#?}\n{said:#}\n{report:#}\n{stderr}\nstatus {dry_status}, {status}\n{ledger}"
            )
        };
        // What was cut off counts, and comes last.
        let limits = ["max_messages", "max_octets", "keep_newest", "delete_over"].map(|key| self.value(key));
        let is_whole_again = self.retries() == "1" && limits == [""; 4] && !more.contains(&"--all");
        let is_exact = !is_cut || is_whole_again;
        let (mut arrived, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for (position, mail) in mails.iter().enumerate() {
            let row = rows.iter().find(|row| row.number == position + 1);
            let came = |nth: usize| has[nth][position] - had[nth][position];
            let is_gone = !left.contains(&mail.unique_id);
            let told = || format!("message {}: {}", position + 1, told());
            if (0..self.targets.len()).any(|nth| came(nth) > 0) {
                arrived.insert(mail.unique_id.clone());
            }
            if is_gone {
                deleted.insert(mail.unique_id.clone());
            }
            let is_for_later = row.is_some_and(Row::is_for_later);
            for (nth, target) in self.targets.iter().enumerate() {
                let is_due = row.is_some_and(|row| row.is_retrieved && row.targets.contains(target));
                let is_open = row.is_some_and(Row::is_open);
                let asks = self.combination["deliver"].contains("imap") && more.contains(&"--all");
                let is_in_doubt = row.is_some_and(|row| row.reason == "in-doubt");
                let is_as_said = match came(nth) {
                    0 => !is_due || is_open || !is_exact,
                    // A mailbox is asked by the run alone, and with `--all` all comes again, whatever it answers.
                    1 => is_due || (is_for_later && !is_exact) || (asks && is_in_doubt),
                    _ => false,
                };
                assert!(is_as_said, "{} at {target:?}, {}", came(nth), told());
            }
            if row.is_some_and(Row::is_open) {
                continue;
            }
            let is_due = row.is_some_and(|row| row.is_deleted);
            let may_be_gone = is_due || (is_for_later && !is_exact) || (is_cut && limits[2..] != ["", ""]);
            assert!(if is_gone { may_be_gone } else { !is_due || !is_exact }, "gone: {is_gone}, {}", told());
            let is_due = row.is_some_and(|row| row.is_retrieved);
            assert!(is_cut || is_due == retrieved.contains(&(position + 1)), "{}", told());
        }
        let open = rows.iter().filter(|row| row.is_open()).count() as u64;
        let is_ended_by_cut = is_cut && !is_whole_again;
        assert!(is_ended_by_cut || status == dry_status, "{}", told());
        assert!(!is_cut || self.retries() == "1" || [75, dry_status].contains(&status), "{}", told());
        let of_lanes =
            said["would_deliver_to"].as_array().unwrap().iter().map(|lane| lane["messages"].as_u64().unwrap());
        for (target, would) in self.targets.iter().zip(of_lanes) {
            let of_rows = rows.iter().filter(|row| row.is_retrieved && row.targets.contains(target));
            let certain = of_rows.clone().filter(|row| !row.is_open()).count() as u64;
            assert!((certain..=of_rows.count() as u64).contains(&would), "{target:?}: {}", told());
        }
        if has_json && !is_cut {
            let number = |report: &Value, key: &str| report[key].as_u64().unwrap();
            let (would, does) = (number(&said, "would_deliver"), number(&report, "delivered"));
            assert!((would..=would + open).contains(&does), "{}", told());
            for (would, does) in [("would_delete", "deleted"), ("too_large", "too_large"), ("later", "later")] {
                let does = if report[does].is_array() { report[does].clone() } else { json!(number(&report, does)) };
                assert!(said[would] == does || open > 0, "{would}: {}", told());
            }
            assert_eq!(said["before_start"], report["before_start"], "{}", told());
            let of_rows = rows.iter().filter(|row| row.is_retrieved && !row.is_open()).count() as u64;
            assert!((of_rows..=of_rows + open).contains(&would), "{}", told());
        }
        Round { rows, status, is_cut, arrived, deleted }
    }

    /// True when this run fetches again what came before: nothing can tell that it is the same.
    fn may_come_twice(&self) -> bool {
        let value = |key: &str| self.value(key);
        let has_unasked = self.targets.iter().any(|target| target.cannot_be_asked());
        let is_untold = value("server") == "no TOP" && value("meanwhile") == "new ids";
        let is_lost = value("before").ends_with("another name") && (has_unasked || is_untold);
        // Format 1 has no fingerprints, and does not name an MDA.
        let is_of_old = value("before") == "format 1"
            && (value("meanwhile") == "another size" || (value("form") == "URL" && self.last() == Kind::Mda));
        // Nobody can ask an MDA or a server.
        let is_in_doubt = value("before") == "interrupted" && has_unasked;
        value("all") == "--all" || is_lost || is_of_old || is_in_doubt || value("before") == "damaged"
    }

    /// True when this may be the first run of the account, so that its `start` counts.
    fn may_begin(&self) -> bool {
        let value = |key: &str| self.value(key);
        let is_first = ["nothing", "URL", "URL elsewhere", "URL of another name", "old URL", "another name"]
            .contains(&value("before"));
        is_first && value("form") == "account" && value("all").is_empty() && !value("start").is_empty()
    }

    fn is_before_start(&self, mail: &Mail) -> bool {
        self.value("start") == "\"now\"" || mail.unique_id.trim_start_matches("new-") != "3"
    }

    /// True for what need not come to a target.
    fn may_be_missing(&self, mail: &Mail, target: Kind) -> bool {
        let limit = self.value("max_size").trim_matches('"').parse().unwrap_or(usize::MAX);
        let is_ruled = ["skip", "delete"].contains(&self.value("filter")) && is_about_m4(mail);
        let is_quarantined = self.value("refused") == "quarantined" && mail.unique_id == "4" && target == self.last();
        // A run before may have brought it to another target alone.
        let is_elsewhere = self.value("before") == "URL elsewhere";
        let is_replaced = is_replaced(mail, self) && (target != self.last() || is_elsewhere);
        let is_before_start = self.may_begin() && self.is_before_start(mail);
        mail.octets.len() > limit || is_ruled || is_quarantined || is_replaced || is_before_start
    }

    fn carry_out(&self) {
        self.prepare();
        let all = self.meanwhile();
        let now = if self.value("waits") == "--now" { "--now" } else { "" };
        let more: Vec<&str> = [self.value("all"), now].into_iter().filter(|word| !word.is_empty()).collect();
        let fault = Fault { moment: Moment::BeforeRetr(2), misdeed: Misdeed::HangUp };
        let fault = Some(fault).filter(|_| self.value("line") != "whole");
        let mut first = self.round(&more, fault);
        self.assert_whole(&all);
        if self.value("waits") == "not before" {
            // Damage is reported whatever waits.
            let expected = if self.value("before") == "damaged" { 65 } else { 75 };
            let has_waited = first.rows.is_empty() && first.has_done_nothing() && first.status == expected;
            assert!(has_waited, "{:#?}: {first:#?}", self.combination);
            first = self.round(&[&more[..], &["--now"]].concat(), fault);
            self.assert_whole(&all);
        }
        let second = self.round(&[], None);
        self.assert_whole(&all);
        self.assert_nothing_more(&first, &second);
        // What only a person can do.
        if !self.value("min_free").is_empty() {
            self.set("127.0.0.1", |key| key != "min_free");
        }
        // To the end: everything that is wanted comes, and then nothing more does.
        let (mut last, mut quiet) = (second, 0);
        for _ in 0..16 {
            self.days_pass();
            last = self.round(&[], None);
            self.assert_whole(&all);
            let is_quiet = last.has_done_nothing() && !last.rows.iter().any(|row| row.is_retrieved);
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == 2 {
                break;
            }
        }
        assert_eq!(quiet, 2, "{:#?}: it never ends: {last:#?}", self.combination);
        self.assert_all_came(&all, &last);
        self.assert_left(&all, &last);
    }

    /// What the second run does was left for it by the first.
    fn assert_nothing_more(&self, first: &Round, second: &Round) {
        if first.is_cut || first.rows.is_empty() {
            return;
        }
        let row = |id: &String| first.rows.iter().find(|row| row.unique_id == *id);
        let told = || format!("{:#?}\n{first:#?}\n{second:#?}", self.combination);
        for id in &second.arrived {
            assert!(row(id).is_some_and(Row::is_for_later), "{id} came: {}", told());
        }
        // Of what has just come, this one finds out whether it is among the newest. With `--all` nothing known was due.
        let is_by_order_of_age = !self.value("keep_newest").is_empty() || !self.value("delete_over").is_empty();
        let may_go = is_by_order_of_age || self.value("all") == "--all";
        for id in &second.deleted {
            let is_left = row(id).is_some_and(|row| row.is_for_later() || row.is_open() || row.reason == "new-target");
            assert!(is_left || may_go, "{id} went: {}", told());
        }
    }

    fn assert_all_came(&self, all: &[Mail], last: &Round) {
        // A person has to decide.
        if [65, 69].contains(&last.status) {
            return;
        }
        for (mail, target) in all.iter().flat_map(|mail| self.targets.iter().map(move |target| (mail, *target))) {
            let is_home = self.copies(target, mail) > 0;
            let is_told = || format!("{:#?}: {} at {target:?}: {last:#?}", self.combination, mail.unique_id);
            assert!(is_home || self.may_be_missing(mail, target), "{}", is_told());
            let is_left = self.may_begin() && self.is_before_start(mail);
            assert!(!(is_home && is_left && self.value("before") == "nothing"), "{}", is_told());
        }
    }

    /// What is left on the server has a reason.
    fn assert_left(&self, all: &[Mail], last: &Round) {
        if [65, 69].contains(&last.status) {
            return;
        }
        let left = self.mails();
        let told = || format!("{:#?}: {:?} left, {last:#?}", self.combination, self.server.unique_ids(USER));
        let is_kept = self.value("keep") == "true";
        for mail in &left {
            let reason = last.rows.iter().find(|row| row.unique_id == mail.unique_id).map(|row| &*row.reason);
            let may_be_missing = self.targets.iter().any(|target| self.may_be_missing(mail, *target));
            let is_right = match reason {
                None => is_kept || may_be_missing,
                Some("too-large" | "quarantined" | "rule" | "before-start") => may_be_missing,
                // Nothing but its text would tell, and it is too large for that.
                Some("unproved") => may_be_missing && self.value("server") == "no TOP",
                Some("owed") => self.value("form") == "URL",
                _ => false,
            };
            assert!(is_right, "{}: {}", mail.unique_id, told());
        }
        let is_by_order_of_age = !self.value("keep_newest").is_empty() || !self.value("delete_over").is_empty();
        if is_kept && !is_by_order_of_age {
            let is_deleted = |mail: &&Mail| self.value("filter") == "delete" && is_about_m4(mail);
            let there = all.iter().filter(|mail| !is_replaced(mail, self) && !is_deleted(mail));
            let ids = self.server.unique_ids(USER);
            let is_there = |mail: &Mail| {
                ids.iter().any(|id| id.trim_start_matches("new-") == mail.unique_id.trim_start_matches("new-"))
            };
            assert!(there.clone().all(is_there), "{}", told());
        }
    }

    /// Nothing that is gone from the server is missing at home, and nothing is there twice.
    fn assert_whole(&self, all: &[Mail]) {
        let combination = &self.combination;
        let there: Vec<Vec<u8>> = all_at_home(&self.mails()).into_iter().map(without_status).collect();
        for target in &self.targets {
            for mail in all {
                let copies = self.copies(*target, mail);
                let is_gone = !there.contains(&without_status(at_home(&mail.octets))) && !is_replaced(mail, self);
                let is_discarded = self.value("filter") == "delete" && is_about_m4(mail);
                let is_told = || format!("{combination:#?}: {} at {target:?}", mail.unique_id);
                assert!(copies > 0 || !is_gone || is_discarded, "{} is lost", is_told());
                assert!(copies <= 1 || self.may_come_twice(), "{} came twice", is_told());
            }
        }
    }
}

/// A line of a ledger, which begins with the key that says what it is.
fn with_first_key(key: &str, line: &Value) -> String {
    let Value::Object(mut keys) = line.clone() else { unreachable!("a line is an object") };
    let first = keys.remove(key).expect("it is there");
    format!("{{\"{key}\":{first},{}\n", &Value::Object(keys).to_string()[1..])
}

/// Every file below a folder: its mode, when it was written, and what is in it.
fn contents(folder: &Path) -> BTreeMap<String, (u32, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for name in names(folder) {
        let path = folder.join(&name);
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            all.extend(contents(&path).into_iter().map(|(below, file)| (format!("{name}/{below}"), file)));
            all.insert(name, (metadata.mode(), 0, vec![]));
        } else {
            let written = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
            all.insert(name, (metadata.mode(), written, read(&path)));
        }
    }
    all
}

fn differences<F: PartialEq>(before: &BTreeMap<String, F>, after: &BTreeMap<String, F>) -> BTreeSet<String> {
    let names = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
    names.cloned().collect()
}

/// The message whose id was used again may have gone before it was fetched.
fn is_replaced(mail: &Mail, trial: &Trial) -> bool {
    trial.value("meanwhile") == "a used id" && mail.unique_id == "1" && mail.octets.len() == 301
}

fn is_about_m4(mail: &Mail) -> bool {
    mail.unique_id.trim_start_matches("new-") == "4"
}

fn without_status(octets: Vec<u8>) -> Vec<u8> {
    String::from_utf8(octets).unwrap().replacen("Status: O\n", "", 1).into_bytes()
}

/// Tries combinations, some at a time, and returns those that failed.
fn try_all(combinations: Vec<Combination>) -> Vec<Combination> {
    let (waiting, failed) = (Mutex::new(combinations), Mutex::new(vec![]));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(combination) = waiting.lock().unwrap().pop() else { break };
                    let trial = AssertUnwindSafe(|| Trial::new(combination.clone()).carry_out());
                    if catch_unwind(trial).is_err() {
                        failed.lock().unwrap().push(combination);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn whatever_is_combined_nothing_is_lost_and_the_dry_run_tells_what_is_done() {
    let seed = number_in("POPFETCH_SEED").unwrap_or(1).max(1);
    let mut random = Random(seed);
    let mut combinations = combinations(&mut random);
    for _ in 0..number_in("POPFETCH_PAIRS").unwrap_or(0) {
        let (name, values) = DIMENSIONS[random.below(DIMENSIONS.len())];
        let first = Combination::from([(name, values[random.below(values.len())])]);
        combinations.push(completed(first, |_, _| random.below(1000)));
    }
    println!("{} combinations, {} pairs, POPFETCH_SEED={seed}", combinations.len(), pairs().len());
    let failed = try_all(combinations);
    assert!(failed.is_empty(), "POPFETCH_SEED={seed}: {} failed: {failed:#?}", failed.len());
}

/// A combination that has failed before: what is not named has its first value.
fn forced(values: &[Choice]) -> Combination {
    let mut combination: Combination = DIMENSIONS.iter().map(|(name, values)| (*name, values[0])).collect();
    for (name, value) in values {
        let known = DIMENSIONS.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no dimension {name}"));
        assert!(known.1.contains(value), "{name} is never {value}");
        combination.insert(name, value);
    }
    combination
}

#[test]
fn what_has_failed_before_does_not_fail_again() {
    const FAILED: [&[Choice]; 14] = [
        &[("deliver", "maildir, mbox"), ("before", "format 1"), ("all", "--fill")],
        &[("deliver", "maildir, mbox"), ("before", "URL"), ("all", "--fill"), ("server", "no TOP")],
        &[("deliver", "maildir, mbox"), ("before", "another name"), ("all", "--fill"), ("server", "no TOP")],
        &[
            ("deliver", "maildir, mbox"),
            ("before", "URL"),
            ("all", "--fill"),
            ("server", "no TOP"),
            ("meanwhile", "a used id"),
        ],
        &[("before", "nothing"), ("start", "\"30d\""), ("delete_over", "\"1500\"")],
        &[("before", "URL"), ("filter", "skip"), ("deliver", "maildir, mbox"), ("keep", "false")],
        &[
            ("before", "URL"),
            ("deliver", "maildir, mbox"),
            ("meanwhile", "a used id"),
            ("min_free", "\"8000000G\""),
            ("max_messages", "1"),
        ],
        &[
            ("before", "URL"),
            ("deliver", "maildir, mbox"),
            ("meanwhile", "a used id"),
            ("keep", "\"1d\""),
            ("max_messages", "1"),
            ("start", "\"30d\""),
        ],
        &[
            ("before", "URL"),
            ("deliver", "maildir, mbox"),
            ("meanwhile", "a used id"),
            ("keep", "\"1d\""),
            ("max_octets", "\"700\""),
            ("min_free", "\"8000000G\""),
        ],
        &[
            ("before", "damaged"),
            ("deliver", "maildir, mda"),
            ("meanwhile", "another size"),
            ("keep", "false"),
            ("max_octets", "\"700\""),
            ("max_messages", "1"),
            ("all", "--all"),
            ("order", "\"smallest\""),
            ("refused", "quarantined"),
            ("server", "no TOP"),
        ],
        &[
            ("before", "URL of another name"),
            ("deliver", "maildir, mbox"),
            ("all", "--fill"),
            ("server", "no TOP"),
            ("max_messages", "1"),
        ],
        &[("before", "interrupted"), ("deliver", "mda")],
        &[("before", "interrupted"), ("deliver", "maildir, mda"), ("keep", "false")],
        &[
            ("before", "URL elsewhere"),
            ("deliver", "maildir"),
            ("meanwhile", "a used id"),
            ("keep", "\"1d\""),
            ("max_messages", "1"),
        ],
    ];
    let failed = try_all(FAILED.into_iter().map(forced).collect());
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}
