//! Keys and options together: every value of one beside every value of another, at least once.
//!
//! Whatever is combined, a dry run says what the run then does, nothing comes twice, and nothing is lost.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::sandbox::{Account, CANARY, Destination, Sandbox, USER, all_at_home, at_home, server};
use crate::server::{Builder, Mail, Maildrop};

/// What can be combined, and its values. A combination has one value of each.
const DIMENSIONS: [(&str, &[&str]); 11] = [
    ("deliver", &["maildir", "mbox", "mda"]),
    ("keep", &["true", "false", "\"1s\""]),
    ("pipelining", &["", "true", "false"]),
    ("max_messages", &["", "1", "3"]),
    ("max_size", &["", "1000"]),
    ("server", &["usual", "no PIPELINING", "no TOP", "no CAPA"]),
    ("before", &["nothing", "all known", "some known", "gone for a while", "another name"]),
    ("meanwhile", &["nothing", "a used id", "another size", "new ids"]),
    ("form", &["account", "URL"]),
    ("verbose", &["", "-v", "-vv"]),
    ("all", &["", "--all"]),
];

type Combination = BTreeMap<&'static str, &'static str>;

/// Few combinations with every pair of values in them: each one is made of as many pairs as possible that are missing.
fn combinations() -> Vec<Combination> {
    let mut missing = vec![];
    for (position, (one, values)) in DIMENSIONS.iter().enumerate() {
        for (other, others) in &DIMENSIONS[position + 1..] {
            for value in *values {
                missing.extend(others.iter().map(|second| ((*one, *value), (*other, *second))));
            }
        }
    }
    let mut all = vec![];
    while let Some(&(first, second)) = missing.first() {
        let mut combination = Combination::from([first, second]);
        for (name, values) in DIMENSIONS {
            if !combination.contains_key(name) {
                let gain = |value: &&&str| {
                    let is_met = |(n, v): &(&str, &str)| combination.get(n) == Some(v) || (*n == name && *v == **value);
                    missing.iter().filter(|(one, other)| is_met(one) && is_met(other)).count()
                };
                let best = values.iter().max_by_key(gain).expect("a dimension has values");
                combination.insert(name, best);
            }
        }
        missing.retain(|((n, v), (m, w))| combination[n] != *v || combination[m] != *w);
        all.push(combination);
    }
    all
}

#[test]
fn every_pair_of_values_is_in_some_combination() {
    let all = combinations();
    assert!((15..=60).contains(&all.len()), "{} combinations", all.len());
    for (one, values) in DIMENSIONS {
        for (other, others) in DIMENSIONS {
            let pairs = values.iter().flat_map(|value| others.iter().map(move |second| (*value, *second)));
            for (value, second) in pairs.filter(|(value, second)| one != other || value == second) {
                let is_met = |combination: &Combination| combination[one] == value && combination[other] == second;
                assert!(all.iter().any(is_met), "{one} = {value} with {other} = {second}");
            }
        }
    }
}

fn mail(unique_id: &str, subject: &str, octets: usize) -> Mail {
    let head = format!("Message-ID: <{subject}@x>\r\nDate: Mon, 5 Jan 2026 10:00:00 +0000\r\nFrom: a@x\r\n\r\n");
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

/// One combination at work.
struct Trial {
    combination: Combination,
    destination: Destination,
    server: Maildrop,
    sandbox: Sandbox,
}

impl Trial {
    fn new(combination: Combination) -> Self {
        let mails = (0..5).map(|n| mail(&format!("{n}"), &format!("m{n}"), if n == 2 { 3000 } else { 300 + n }));
        let server = of_server(server(mails), combination["server"]).start();
        let sandbox = Sandbox::new();
        sandbox.file(".netrc", format!("default login {USER} password {CANARY}\n"));
        let destination = match combination["deliver"] {
            "maildir" => Destination::Maildir,
            "mbox" => Destination::Mbox,
            _ => Destination::Mda,
        };
        Trial { combination, destination, server, sandbox }
    }

    fn set(&self, host: &str, keys: &[&str]) {
        let account = Account::on(self.server.port).set("deliver", self.destination.deliver(&self.sandbox));
        let values = keys.iter().map(|key| (*key, self.combination[key])).filter(|(_, value)| !value.is_empty());
        let account = values.fold(account, |account, (key, value)| account.set(key, value));
        let account = account.set("server", format!("\"{host}\"")).set("auth", "\"plain\"");
        // A server that announces nothing has no other way to log in.
        let account = if self.combination["server"] == "no CAPA" { account.set("auth", "\"user\"") } else { account };
        self.sandbox.config(&account.to_string());
    }

    /// What is typed for a run with the keys of the combination, or, before it, for one without.
    fn arguments(&self, more: &[&str], has_keys: bool) -> Vec<String> {
        let value = |key: &str| self.combination[key];
        let mut arguments: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        arguments.push("--json".into());
        if !value("verbose").is_empty() {
            arguments.push(value("verbose").into());
        }
        if value("form") != "URL" {
            return arguments;
        }
        let deliver = match self.destination {
            Destination::Maildir => "maildir:~/Mail".to_owned(),
            Destination::Mbox => "mbox:~/mbox".to_owned(),
            Destination::Mda => {
                self.sandbox.mda();
                format!("mda:/bin/sh {}", self.sandbox.path("mda.sh").display())
            }
        };
        let auth = if value("server") == "no CAPA" { "user" } else { "plain" };
        arguments.extend(["--tls", "none", "--auth", auth, "--deliver", &deliver].map(str::to_owned));
        if has_keys {
            arguments.push(match value("keep").trim_matches('"') {
                "true" => "--keep".to_owned(),
                "false" => "--no-keep".to_owned(),
                time => format!("--keep={time}"),
            });
            for (key, option) in [("max_messages", "--max-messages"), ("max_size", "--max-size")] {
                if !value(key).is_empty() {
                    arguments.extend([option.to_owned(), value(key).to_owned()]);
                }
            }
        }
        arguments.push(format!("pop3://{USER}@127.0.0.1:{}", self.server.port));
        arguments
    }

    /// A run of the account; its report and its exit status.
    #[track_caller]
    fn run(&self, more: &[&str]) -> (Value, i32) {
        let run = self.sandbox.popfetch(self.arguments(more, true));
        (run.account(), run.code())
    }

    /// What an earlier run, with everything kept, has delivered.
    fn prepare(&self) {
        let before = self.combination["before"];
        self.set(if before == "another name" { "localhost" } else { "127.0.0.1" }, &[]);
        if before != "nothing" {
            let some: &[&str] = if before == "some known" { &["--max-messages=3"] } else { &[] };
            let words = [&["--keep"], some].concat();
            let run = match before {
                "another name" => self.sandbox.popfetch(words),
                _ => self.sandbox.popfetch(self.arguments(&words, false)),
            };
            run.exits(0);
        }
        if before == "gone for a while" {
            let there = self.mails();
            self.server.replace(USER, []);
            self.run(&[]);
            self.server.replace(USER, there);
        }
        thread::sleep(Duration::from_millis(1100));
        self.set("127.0.0.1", &["keep", "pipelining", "max_messages", "max_size"]);
    }

    fn mails(&self) -> Vec<Mail> {
        self.server.mails(USER)
    }

    /// What happens on the server after that. Returns every message that ever was there.
    fn meanwhile(&self) -> Vec<Mail> {
        let mut all = self.mails();
        let mut there = all.clone();
        match self.combination["meanwhile"] {
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
        if self.combination["before"] == "nothing" { there } else { all }
    }

    /// Messages at home, but for a header line that only the server added.
    fn home(&self) -> Vec<Vec<u8>> {
        self.destination.messages(&self.sandbox).into_iter().map(without_status).collect()
    }

    /// True when this run fetches again what came before: nothing can tell that it is the same.
    fn may_come_twice(&self) -> bool {
        let value = |key: &str| self.combination[key];
        let is_untold = value("server") == "no TOP" && value("meanwhile") == "new ids";
        let is_lost = value("before") == "another name"
            && (self.destination == Destination::Mda || value("meanwhile") == "new ids" || is_untold);
        value("all") == "--all" || is_lost
    }

    fn carry_out(&self) {
        self.prepare();
        let all = self.meanwhile();
        let more: Vec<&str> = [self.combination["all"]].into_iter().filter(|word| !word.is_empty()).collect();
        let (dry, dry_status) = self.run(&[&more[..], &["--dry-run"]].concat());
        assert_eq!(self.server.count("DELE"), 0, "{:#?}", self.combination);
        let (run, status) = self.run(&more);
        let said = (&dry["would_deliver"], &dry["would_delete"], &dry["too_large"], &dry["later"], dry_status);
        let done = (&run["delivered"], &run["deleted"], &run["too_large"], &run["later"], status);
        // Where only the text tells whether a message is known, nobody can say before it was retrieved.
        let is_compared = self.combination["server"] == "no TOP"
            && ["another size", "a used id"].contains(&self.combination["meanwhile"]);
        if !is_compared {
            assert_eq!(said, done, "{:#?}\n{dry:#}\n{run:#}", self.combination);
        }
        self.assert_whole(&all);
        // To the end: everything that is wanted comes, and then nothing more does.
        for _ in 0..6 {
            thread::sleep(Duration::from_millis(if self.combination["keep"] == "\"1s\"" { 1100 } else { 0 }));
            self.run(&[]);
            self.assert_whole(&all);
        }
        let (last, _) = self.run(&[]);
        assert_eq!(last["delivered"], 0, "{:#?}\n{last:#}", self.combination);
        if status == 65 {
            return;
        }
        let limit = self.combination["max_size"].parse().unwrap_or(usize::MAX);
        let wanted = all.iter().filter(|mail| mail.octets.len() <= limit || self.combination["before"] != "nothing");
        for mail in wanted.filter(|mail| mail.octets.len() <= limit) {
            assert!(
                self.home().contains(&without_status(at_home(&mail.octets))),
                "{:#?}: {}",
                self.combination,
                mail.unique_id
            );
        }
        let left = self.server.mails(USER).len();
        let expected = if self.combination["keep"] == "true" { 5 } else { usize::from(limit < 3000 && left > 0) };
        assert_eq!(left, expected, "{:#?}\n{last:#}", self.combination);
    }

    /// Nothing that is gone from the server is missing at home, and nothing is there twice.
    fn assert_whole(&self, all: &[Mail]) {
        let (home, combination) = (self.home(), &self.combination);
        let there: Vec<Vec<u8>> = all_at_home(&self.mails()).into_iter().map(without_status).collect();
        for mail in all {
            let octets = without_status(at_home(&mail.octets));
            let copies = home.iter().filter(|message| **message == octets).count();
            let is_gone = !there.contains(&octets) && !is_replaced(mail, self);
            assert!(copies > 0 || !is_gone, "{combination:#?}: {} is lost", mail.unique_id);
            assert!(copies <= 1 || self.may_come_twice(), "{combination:#?}: {} came twice", mail.unique_id);
        }
    }
}

/// The message whose id was used again may have gone before it was fetched.
fn is_replaced(mail: &Mail, trial: &Trial) -> bool {
    trial.combination["meanwhile"] == "a used id" && mail.unique_id == "1" && mail.octets.len() == 301
}

fn without_status(octets: Vec<u8>) -> Vec<u8> {
    String::from_utf8(octets).unwrap().replacen("Status: O\n", "", 1).into_bytes()
}

#[test]
fn whatever_is_combined_nothing_is_lost_and_the_dry_run_tells_what_is_done() {
    let combinations = combinations();
    thread::scope(|scope| {
        let running: Vec<_> = combinations
            .chunks(combinations.len().div_ceil(4))
            .map(|part| scope.spawn(move || part.iter().cloned().map(Trial::new).for_each(|trial| trial.carry_out())))
            .collect();
        for part in running {
            part.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        }
    });
}
