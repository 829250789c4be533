//! Every state that a power cut can leave (the idea of ALICE, OSDI 2014, and CrashMonkey, OSDI 2018): a session of the real
//! binary is recorded, what POSIX promises of its calls is modelled, and each state that is possible then is put into a
//! folder, in which popfetch must go on as if nothing had happened.
//!
//! `POPFETCH_STATES=N` tries N states of each scenario instead of a few hundred (0: all of them), `POPFETCH_SEED` repeats
//! a choice.

mod checks;
mod generator;
mod model;
mod trace;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::crash::{Random, fill_ledger, number_in};
use crate::doors::as_of_format;
use crate::faults::{Call as Fault, calls_of, can_trace};
use crate::sandbox::{Account, CANARY, Destination, Sandbox, USER, mails, names, server, wait_until};
use crate::server::{Mail, Maildrop};
use checks::Wanted;
use generator::{State, shuffle};
use model::Model;
use tree::{Node, Tree, capture, differences, put};

/// How many states of a scenario are tried unless `POPFETCH_STATES` says otherwise.
const STATES: u64 = 250;

/// A small session, and what was there before it.
struct Scenario {
    name: &'static str,
    targets: Vec<Destination>,
    keep: bool,
    mails: Vec<Mail>,
    /// So many messages were fetched by an earlier run.
    known: usize,
    /// Makes what others have at home before the first run.
    others: fn(&Sandbox),
    /// Changes what the earlier run has left.
    prepare: fn(&Sandbox, &Maildrop),
    /// The words of the run that is recorded.
    words: &'static [&'static str],
    /// The words of the run after a power cut.
    next: &'static [&'static str],
    /// What a person says when that run finds an alarm that stands.
    decision: Option<&'static [&'static str]>,
    /// How often each message is at home in the end.
    copies: RangeInclusive<usize>,
}

impl Scenario {
    fn of(name: &'static str, destination: Destination, keep: bool) -> Self {
        Scenario {
            name,
            targets: vec![destination],
            keep,
            mails: mails(3),
            known: 1,
            others,
            prepare: |_, _| (),
            words: &[],
            next: &[],
            decision: None,
            copies: 1..=1,
        }
    }

    /// Nobody has anything at home, and there is no state.
    fn first_run(name: &'static str, destination: Destination, keep: bool) -> Self {
        Scenario { mails: mails(2), known: 0, others: |_| (), ..Scenario::of(name, destination, keep) }
    }

    /// The server and a home, before the runs that are recorded; and the home as others left it.
    fn set_up(&self) -> (Maildrop, Sandbox, Tree) {
        let server = server(self.mails.iter().take(self.known).cloned()).start();
        let sandbox = Sandbox::in_memory();
        let deliver = |target: &Destination| match *target {
            // `cat` would leave the copying to the kernel, where strace does not see the octets.
            Destination::Mda => {
                let kept = sandbox.path("mda");
                std::fs::create_dir(&kept).unwrap();
                let file = format!("{}/$POPFETCH_UIDL.$$", kept.display());
                sandbox.mda_script(&format!("tee {file} >/dev/null && mv {file} {file}.done"))
            }
            other => other.deliver(&sandbox),
        };
        let deliver = format!("[{}]", self.targets.iter().map(deliver).collect::<Vec<_>>().join(", "));
        sandbox.config(&Account::on(server.port).set("keep", self.keep).set("deliver", deliver).to_string());
        (self.others)(&sandbox);
        let before = capture(&sandbox.path(""));
        if self.known > 0 {
            sandbox.popfetch(["-q"]).exits(0).silently();
        }
        (self.prepare)(&sandbox, &server);
        let is_left = |(position, _): &(usize, &Mail)| self.keep || *position >= self.known;
        let left = self.mails.iter().enumerate().filter(is_left).map(|(_, mail)| mail.clone());
        server.restore(USER, left);
        (server, sandbox, before)
    }
}

/// What was recorded and tried.
#[derive(Default)]
struct Explored {
    runs: usize,
    changes: usize,
    syncs: usize,
    generated: usize,
    distinct: usize,
    tried: usize,
    failures: Vec<String>,
}

impl Explored {
    fn say(&self, name: &str) {
        let Explored { runs, changes, syncs, generated, distinct, tried, failures } = self;
        let held = tried - failures.len();
        say(&format!(
            "states: {name}: {runs} runs recorded ({changes} changes, {syncs} syncs), {generated} states generated, \
             {distinct} distinct, {tried} explored, {held} held; POPFETCH_SEED={}",
            seed()
        ));
    }

    #[track_caller]
    fn assert_all_hold(self, name: &str) {
        self.say(name);
        let mut kinds: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for failure in &self.failures {
            kinds.entry(failure.lines().next().unwrap_or_default()).or_default().push(failure);
        }
        let examples = kinds.values().map(|all| format!("{} times, for example: {}", all.len(), all[0]));
        let examples = examples.collect::<Vec<_>>().join("\n\n");
        assert!(kinds.is_empty(), "{name}: states that do not hold:\n{examples}");
    }
}

/// A home and a server in which everything happens, and everything is put back between two states: the ledger knows the
/// paths and the port.
struct Stage<'s> {
    scenario: &'s Scenario,
    sandbox: Sandbox,
    server: Maildrop,
    /// At home before the first run of all.
    before: Tree,
    model: Model,
    /// What the server has before the runs that are recorded, and after each QUIT that changed it.
    maildrops: Vec<Vec<Mail>>,
    /// How often the machine or a run stops.
    interruptions: usize,
    explored: Explored,
}

impl<'s> Stage<'s> {
    fn new(scenario: &'s Scenario) -> Self {
        let (server, sandbox, before) = scenario.set_up();
        let model = Model::new(&sandbox.path(""), &Tree::new(), &[]);
        let (maildrops, explored) = (vec![], Explored::default());
        let mut stage = Stage { scenario, sandbox, server, before, model, maildrops, interruptions: 1, explored };
        stage.begin();
        stage
    }

    /// What is there now is on the disk.
    fn begin(&mut self) {
        // What the MDA does lasts: it sees to that before it ends.
        self.model = Model::new(&self.sandbox.path(""), &capture(&self.sandbox.path("")), &["mda"]);
        self.maildrops = vec![self.maildrop()];
    }

    fn maildrop(&self) -> Vec<Mail> {
        wait_until(|| self.server.is_idle());
        let listed = self.server.unique_ids(USER);
        self.scenario.mails.iter().filter(|mail| listed.contains(&mail.unique_id)).cloned().collect()
    }

    /// Records one more run; false when it was killed in the middle of a call, of which nobody knows what it did.
    fn record(&mut self, killed_before: Option<&Fault>) -> bool {
        let calls = trace::record(&self.sandbox, self.scenario.words, killed_before);
        self.model.add(calls);
        let maildrop = self.maildrop();
        if self.maildrops.last() != Some(&maildrop) {
            self.maildrops.push(maildrop);
        }
        // Of those of one run the first deletes; a second session only finds that nothing more is there.
        self.model.quits.truncate(self.maildrops.len() - 1);
        self.explored.runs += 1;
        let (modelled, real) = (self.model.whole(), capture(&self.sandbox.path("")));
        let is_known = modelled == real;
        assert!(is_known || killed_before.is_some(), "the model is wrong: {:#?}", differences(&modelled, &real));
        is_known
    }

    /// Puts a state where popfetch will find it.
    fn restore(&self, state: &State) {
        put(&self.sandbox.path(""), &state.tree(&self.model));
        // A dotlock that lost its content counts for a quarter of an hour, whoever made it: the machine was off longer.
        if let Ok(dotlock) = std::fs::File::options().write(true).open(self.sandbox.path("mbox.lock")) {
            dotlock.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        }
        self.server.restore(USER, self.maildrops[state.has_quit].iter().cloned());
    }

    fn try_one(&self, state: &State) -> Result<(), String> {
        self.restore(state);
        let wanted = Wanted {
            sandbox: &self.sandbox,
            server: &self.server,
            scenario: self.scenario,
            interruptions: self.interruptions,
            before: &self.before,
        };
        let tree = state.tree(&self.model);
        self.ledgers_last(&tree).and_then(|()| wanted.check()).map_err(|why| {
            format!("{why}\n  {}  then at home: {:#?}", state.story(&self.model), differences(&self.before, &tree))
        })
    }

    /// A ledger that was there is never gone, empty or without its header: an earlier build, too, reads it whole, or
    /// refuses it.
    fn ledgers_last(&self, tree: &Tree) -> Result<(), String> {
        let is_ledger = |path: &std::path::Path| path.extension().is_some_and(|ending| ending == "jsonl");
        for (path, old) in self.model.before().iter().filter(|(path, _)| is_ledger(path)) {
            let (Node::File(old), Some(Node::File(now))) = (old, tree.get(path)) else {
                return Err(format!("the ledger `{}` is gone", path.display()));
            };
            let is_whole = now.starts_with(old) || now.starts_with(b"{\"popfetch\":3,");
            if !is_whole {
                return Err(format!("the ledger `{}` is neither the old one nor a new one", path.display()));
            }
        }
        Ok(())
    }

    /// States of moments from `from` on, so many of them.
    fn states(&mut self, from: usize, limit: usize, random: &mut Random) -> Vec<State> {
        let mut found = generator::states(&self.model, from, limit, random);
        self.explored.changes += self.model.changes.len();
        self.explored.syncs += self.model.syncs.len();
        self.explored.generated += found.generated;
        self.explored.distinct += found.states.len();
        if found.states.len() > limit {
            shuffle(&mut found.states, random);
            found.states.truncate(limit);
        }
        found.states
    }

    fn explore(&mut self, from: usize, limit: usize, random: &mut Random) {
        let states = self.states(from, limit, random);
        self.explored.tried += states.len();
        let failures: Vec<String> = states.iter().filter_map(|state| self.try_one(state).err()).collect();
        self.explored.failures.extend(failures);
    }
}

/// How many states of a scenario are tried, when that is to be this part of what is usual.
fn limit(part: f64) -> usize {
    let limit = number_in("POPFETCH_STATES").unwrap_or(STATES);
    if limit == 0 { usize::MAX } else { (limit as f64 * part).ceil() as usize }
}

fn seed() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_nanos() as u64;
        number_in("POPFETCH_SEED").unwrap_or(now).max(1)
    });
    *SEED
}

/// Past the test harness, which shows nothing of what a passing test prints.
fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Mail, drafts, spools and ledgers that are nobody's business here.
fn others(sandbox: &Sandbox) {
    for folder in ["Mail", "Mail/new", "Mail/cur", "Mail/tmp"] {
        std::fs::create_dir(sandbox.path(folder)).unwrap();
    }
    sandbox.file("Mail/new/1.M2P3.host", "Subject: unread\n\n");
    sandbox.file("Mail/cur/2.M2P3.host:2,S", "Subject: read\n\n");
    sandbox.file("Mail/tmp/3.M2P3Q4R5_other.host", "Subject: dra");
    sandbox.file("mbox", "From a@b Thu Jan  1 00:00:00 1970\nSubject: old\n\nbody\n\n");
    sandbox.file(".local/state/popfetch/bob@127.0.0.1.jsonl", "{\"popfetch\":3,\"maildrop\":\"bob@127.0.0.1\"}\n");
    sandbox.file(".local/state/popfetch/mbox.other.1.2.spool", "From bob");
}

// A run and its power cut.

fn power_cut(scenario: Scenario, part: f64) {
    if !can_trace() {
        return;
    }
    let mut stage = Stage::new(&scenario);
    stage.record(None);
    stage.explore(0, limit(part), &mut Random(seed()));
    stage.explored.assert_all_hold(scenario.name);
}

#[test]
fn a_maildir_survives_a_power_cut() {
    power_cut(Scenario::of("a Maildir, keep", Destination::Maildir, true), 1.0);
}

#[test]
fn a_deleting_maildir_survives_a_power_cut() {
    power_cut(Scenario::of("a Maildir, delete", Destination::Maildir, false), 1.0);
}

#[test]
fn an_mbox_survives_a_power_cut() {
    power_cut(Scenario::of("an mbox, keep", Destination::Mbox, true), 1.0);
}

#[test]
fn a_deleting_mbox_survives_a_power_cut() {
    power_cut(Scenario::of("an mbox, delete", Destination::Mbox, false), 1.0);
}

#[test]
fn an_mbox_without_a_blank_line_at_its_end_survives_a_power_cut() {
    let others = |sandbox: &Sandbox| {
        sandbox.file("mbox", "From a@b Thu Jan  1 00:00:00 1970\nSubject: old\n\nbody\n");
    };
    let name = "an mbox without a blank line at its end, delete";
    power_cut(Scenario { others, known: 0, ..Scenario::of(name, Destination::Mbox, false) }, 0.5);
}

#[test]
fn an_mda_survives_a_power_cut() {
    power_cut(Scenario::of("an MDA, keep", Destination::Mda, true), 1.0);
}

#[test]
fn a_deleting_mda_survives_a_power_cut() {
    power_cut(Scenario::of("an MDA, delete", Destination::Mda, false), 1.0);
}

#[test]
fn the_first_run_to_a_maildir_survives_a_power_cut() {
    power_cut(Scenario::first_run("the first run to a Maildir, delete", Destination::Maildir, false), 0.5);
}

#[test]
fn the_first_run_to_an_mbox_survives_a_power_cut() {
    power_cut(Scenario::first_run("the first run to an mbox, keep", Destination::Mbox, true), 0.5);
}

#[test]
fn the_first_run_to_an_mda_survives_a_power_cut() {
    power_cut(Scenario::first_run("the first run to an MDA, delete", Destination::Mda, false), 0.5);
}

/// The first run of an account for which all that is there counts as known.
fn from_now_on(name: &'static str) -> Scenario {
    let others = |sandbox: &Sandbox| {
        let config = fs::OpenOptions::new().append(true).open(sandbox.path(".config/popfetch/config.toml"));
        config.unwrap().write_all(b"start = \"now\"\n").unwrap();
    };
    Scenario { others, copies: 0..=0, ..Scenario::first_run(name, Destination::Maildir, false) }
}

#[test]
fn a_start_survives_a_power_cut() {
    power_cut(from_now_on("start = \"now\""), 0.5);
}

#[test]
fn a_compaction_survives_a_power_cut() {
    let scenario = Scenario::of("a compaction", Destination::Maildir, true);
    power_cut(Scenario { known: 0, prepare: |sandbox, server| fill_ledger(sandbox, server.port), ..scenario }, 0.5);
}

#[test]
fn a_ledger_of_format_1_survives_a_power_cut() {
    let prepare = |sandbox: &Sandbox, server: &Maildrop| {
        let path = sandbox.ledger(USER, server.port);
        let text = std::fs::read_to_string(&path).unwrap().replace("{\"popfetch\":3", "{\"popfetch\":1");
        std::fs::write(path, text).unwrap();
    };
    power_cut(Scenario { prepare, ..Scenario::of("a ledger of format 1", Destination::Maildir, true) }, 0.5);
}

/// What earlier builds have left of one maildrop: the account knows `m1` in the Maildir, a run by URL `m1` and `m2` in the
/// mbox, both with format 1, and another one `m2` and `m3` in a third place, with format 2.
fn leave_old_ledgers(sandbox: &Sandbox, server: &Maildrop) {
    sandbox.file(".netrc", format!("machine 127.0.0.1 login {USER} password {CANARY}\n"));
    let url = format!("pop3://{USER}@127.0.0.1:{}", server.port);
    let all = mails(3);
    let mut left = vec![];
    let places =
        [("maildir", "Mail", 1, &all[..1]), ("mbox", "mbox", 1, &all[..2]), ("maildir", "third", 2, &all[1..])];
    for (kind, path, format, had) in places {
        let target = format!("{kind}:{}", sandbox.path(path).display());
        server.replace(USER, had.to_vec());
        let is_url = path != "Mail";
        let whence = if is_url { vec!["--tls", "none", &url] } else { vec![] };
        sandbox.popfetch(["-q", "--keep", "--deliver", &target].iter().chain(&whence)).exits(0).silently();
        as_of_format(sandbox, server, format, Some(target.as_str()).filter(|_| is_url));
        for name in names(&sandbox.state()).into_iter().filter(|name| name.starts_with(USER)) {
            let path = sandbox.state().join(name);
            left.push((path.clone(), fs::read(&path).unwrap()));
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(left.len(), 6, "each has a ledger and a lock file");
    left.into_iter().for_each(|(path, octets)| fs::write(path, octets).unwrap());
    fs::remove_file(sandbox.path(".netrc")).unwrap();
}

#[test]
fn a_take_over_of_three_old_ledgers_survives_a_power_cut() {
    for keep in [true, false] {
        let name = format!("a take-over of three old ledgers, two targets, {}", if keep { "keep" } else { "delete" });
        let scenario = Scenario::of(name.leak(), Destination::Maildir, keep);
        let targets = vec![Destination::Maildir, Destination::Mbox];
        power_cut(Scenario { targets, mails: mails(4), known: 0, prepare: leave_old_ledgers, ..scenario }, 0.4);
    }
}

#[test]
fn a_take_over_of_three_old_ledgers_survives_a_kill_and_a_power_cut() {
    let scenario = Scenario::of("a kill at a take-over of three old ledgers", Destination::Maildir, false);
    let targets = vec![Destination::Maildir, Destination::Mbox];
    kill_and_power_cut(Scenario { targets, mails: mails(4), known: 0, prepare: leave_old_ledgers, ..scenario });
}

const KNOWN: &[&str] = &["state", "known", "--yes"];

#[test]
fn state_known_survives_a_power_cut() {
    let scenario = Scenario::of("state known", Destination::Maildir, false);
    power_cut(Scenario { known: 0, words: KNOWN, next: KNOWN, copies: 0..=0, ..scenario }, 0.3);
}

/// Makes the ledger that of a run by URL, as an earlier build left it, and loses it.
fn lose_old_ledger(sandbox: &Sandbox, server: &Maildrop) -> PathBuf {
    let target = format!("maildir:{}", sandbox.path("Mail").display());
    let ledger = as_of_format(sandbox, server, 2, Some(&target));
    fs::remove_file(&ledger).unwrap();
    ledger
}

/// What is done to a ledger.
type Damage = fn(&Sandbox, &Maildrop);

/// What an alarm is about: a ledger that is lost, whose header is damaged, or much of it.
const ALARMS: [(&str, Damage); 5] = [
    ("a lost ledger of a run by URL", |sandbox, server| drop(lose_old_ledger(sandbox, server))),
    ("a ledger of a run by URL without header", |sandbox, server| {
        fs::write(lose_old_ledger(sandbox, server), "garbage\n").unwrap();
    }),
    ("a lost ledger", |sandbox, server| fs::remove_file(sandbox.ledger(USER, server.port)).unwrap()),
    ("a ledger without header", |sandbox, server| {
        fs::write(sandbox.ledger(USER, server.port), "garbage\n").unwrap();
    }),
    ("a damaged ledger", |sandbox, server| {
        let ledger = sandbox.ledger(USER, server.port);
        let text = fs::read_to_string(&ledger).unwrap();
        assert_eq!(text.matches("{\"intend\"").count(), 5);
        fs::write(ledger, text.replacen("{\"intend\"", "~{\"intend\"", 4)).unwrap();
    }),
];

#[test]
fn all_that_ends_an_alarm_survives_a_power_cut() {
    for (alarm, prepare) in ALARMS {
        let name = format!("--all after {alarm}");
        let scenario = Scenario::of(name.leak(), Destination::Maildir, true);
        let words: &[&str] = &["--all"];
        // What the ledger still knew need not come again when the next run is one without `--all`.
        let copies = if alarm == "a damaged ledger" { 1..=2 } else { 2..=2 };
        let (mails, known, decision) = (mails(5), 5, Some(words));
        power_cut(Scenario { mails, known, prepare, words, decision, copies, ..scenario }, 0.3);
    }
}

#[test]
fn state_known_that_ends_an_alarm_survives_a_power_cut() {
    for (alarm, prepare) in ALARMS {
        let name = format!("state known after {alarm}");
        let scenario = Scenario::of(name.leak(), Destination::Maildir, true);
        let (mails, known, decision) = (mails(5), 5, Some(KNOWN));
        power_cut(Scenario { mails, known, prepare, words: KNOWN, decision, ..scenario }, 0.3);
    }
}

/// More than one batch.
fn many(name: &'static str, destination: Destination) -> Scenario {
    let mail = |number: usize| Mail::new(format!("m{number}"), format!("Subject: {number}\r\n\r\n"));
    Scenario { mails: (0..270).map(mail).collect(), known: 0, ..Scenario::of(name, destination, false) }
}

#[test]
fn several_batches_to_a_maildir_survive_a_power_cut() {
    power_cut(many("several batches to a Maildir, delete", Destination::Maildir), 0.1);
}

#[test]
fn several_batches_to_an_mbox_survive_a_power_cut() {
    power_cut(many("several batches to an mbox, delete", Destination::Mbox), 0.1);
}

// Recovery: a power cut, and another one while the next run makes the best of the first.

fn second_power_cut(scenario: Scenario) {
    if !can_trace() {
        return;
    }
    let mut random = Random(seed());
    let mut stage = Stage::new(&scenario);
    stage.record(None);
    let is_any = |tree: &Tree, is_so: fn(&[u8]) -> bool| {
        tree.values().any(|node| matches!(node, Node::File(octets) if is_so(octets)))
    };
    let states = stage.states(0, usize::MAX, &mut random);
    let mut first: Vec<(Tree, Vec<Mail>)> =
        states.iter().map(|state| (state.tree(&stage.model), stage.maildrops[state.has_quit].clone())).collect();
    first.retain(|(tree, _)| is_any(tree, is_in_doubt) && !is_any(tree, has_empty_blocks));
    shuffle(&mut first, &mut random);
    stage.explored = Explored::default();
    stage.interruptions = 2;
    for (tree, maildrop) in first.into_iter().take(limit(0.04)) {
        put(&stage.sandbox.path(""), &tree);
        stage.server.restore(USER, maildrop);
        if stage.sandbox.path("mbox.lock").exists() {
            std::fs::remove_file(stage.sandbox.path("mbox.lock")).unwrap();
        }
        stage.begin();
        stage.record(None);
        stage.explore(0, limit(0.06), &mut random);
    }
    stage.explored.assert_all_hold(scenario.name);
}

/// True for a ledger whose last words are intents.
fn is_in_doubt(octets: &[u8]) -> bool {
    let last = octets.split(|octet| *octet == b'\n').rev().find(|line| line.ends_with(b"}"));
    last.is_some_and(|line| line.starts_with(b"{\"intend\""))
}

/// True for a ledger, or a file like it, of which a power cut has left zeros.
fn has_empty_blocks(octets: &[u8]) -> bool {
    octets.starts_with(b"{") && octets.contains(&0)
}

#[test]
fn the_recovery_of_a_maildir_survives_a_power_cut() {
    second_power_cut(Scenario::of("the recovery of a Maildir, delete", Destination::Maildir, false));
}

#[test]
fn the_recovery_of_an_mbox_survives_a_power_cut() {
    second_power_cut(Scenario::of("the recovery of an mbox, delete", Destination::Mbox, false));
}

#[test]
fn the_recovery_of_an_mda_survives_a_power_cut() {
    second_power_cut(Scenario::of("the recovery of an MDA, delete", Destination::Mda, false));
}

// A kill, and then a power cut: what the killed run wrote is there for the next one, and yet may not last.

fn kill_and_power_cut(scenario: Scenario) {
    if !can_trace() {
        return;
    }
    let mut random = Random(seed());
    let (_server, sandbox, _) = scenario.set_up();
    let mut kills: Vec<Fault> = calls_of(&sandbox).into_iter().filter(Fault::is_of_the_disk).collect();
    shuffle(&mut kills, &mut random);
    kills.truncate(limit(0.1));
    let mut explored = Explored::default();
    for kill in kills {
        let mut stage = Stage::new(&scenario);
        stage.explored = explored;
        stage.interruptions = 2;
        if stage.record(Some(&kill)) {
            let from = stage.model.moment;
            stage.record(None);
            let before = stage.explored.failures.len();
            stage.explore(from, limit(0.03), &mut random);
            let whence = format!("  the first run was killed before {kill}\n");
            stage.explored.failures[before..].iter_mut().for_each(|failure| *failure += &whence);
        }
        explored = stage.explored;
    }
    explored.assert_all_hold(scenario.name);
}

#[test]
fn a_maildir_survives_a_kill_and_a_power_cut() {
    kill_and_power_cut(Scenario::of("a kill at a Maildir, delete", Destination::Maildir, false));
}

#[test]
fn an_mbox_survives_a_kill_and_a_power_cut() {
    kill_and_power_cut(Scenario::of("a kill at an mbox, keep", Destination::Mbox, true));
}

#[test]
fn the_first_run_to_a_maildir_survives_a_kill_and_a_power_cut() {
    kill_and_power_cut(Scenario::first_run(
        "a kill in the first run to a Maildir, delete",
        Destination::Maildir,
        false,
    ));
}

#[test]
fn the_first_run_to_an_mbox_survives_a_kill_and_a_power_cut() {
    kill_and_power_cut(Scenario::first_run("a kill in the first run to an mbox, keep", Destination::Mbox, true));
}

#[test]
fn a_start_survives_a_kill_and_a_power_cut() {
    kill_and_power_cut(from_now_on("a kill at start = \"now\""));
}

#[test]
fn an_mda_survives_a_kill_and_a_power_cut() {
    kill_and_power_cut(Scenario::first_run("a kill in the first run to an MDA, keep", Destination::Mda, true));
}

// A broken protocol is found.

/// Without this sync the states must show it, or they show nothing.
#[track_caller]
fn broken(name: &'static str, destination: Destination, keep: bool, sync: &str, consequence: &str) {
    if !can_trace() {
        return;
    }
    let scenario = Scenario::of(name, destination, keep);
    let mut stage = Stage::new(&scenario);
    stage.record(None);
    stage.model.without_syncs_of(|path| path.to_string_lossy().contains(sync));
    stage.explore(0, 60, &mut Random(seed()));
    stage.explored.say(&format!("{name} (must not hold)"));
    let is_it = |failure: &String| failure.lines().next().is_some_and(|what| what.contains(consequence));
    assert!(stage.explored.failures.iter().any(is_it), "no `{consequence}` in {:#?}", stage.explored.failures);
}

#[test]
fn a_maildir_whose_new_is_not_synced_loses_mail() {
    broken("a Maildir whose `new` is not synced", Destination::Maildir, false, "Mail/new", "is lost");
}

#[test]
fn a_maildir_whose_messages_are_not_synced_loses_mail() {
    broken("a Maildir whose messages are not synced", Destination::Maildir, false, "Mail/tmp", "is lost");
}

#[test]
fn an_mbox_that_is_not_synced_loses_mail() {
    broken("an mbox that is not synced", Destination::Mbox, false, "mbox", "is lost");
}

#[test]
fn a_ledger_that_is_not_synced_doubles_mail() {
    broken("a ledger that is not synced", Destination::Maildir, true, ".jsonl", "come twice");
}
