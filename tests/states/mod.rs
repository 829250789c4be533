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
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::crash::{Random, number_in};
use crate::faults::{Call as Fault, can_trace};
use crate::sandbox::{Account, Destination, Sandbox, USER, mails, server};
use crate::server::{Mail, Maildrop};
use checks::Wanted;
use generator::State;
use model::Model;
use tree::{Tree, capture, differences, put};

/// How many states of a scenario are tried unless `POPFETCH_STATES` says otherwise.
const STATES: u64 = 250;

/// A small session, and what was there before it.
struct Scenario {
    name: &'static str,
    destination: Destination,
    keep: bool,
    /// What others have at home before the first run.
    has_others: bool,
    mails: Vec<Mail>,
    /// So many messages were fetched by an earlier run.
    known: usize,
}

impl Scenario {
    fn of(name: &'static str, destination: Destination, keep: bool) -> Self {
        Scenario { name, destination, keep, has_others: true, mails: mails(3), known: 1 }
    }
}

/// A home and a server in which everything happens, and everything is put back between two states: the ledger knows the
/// paths and the port.
struct Stage {
    scenario: Scenario,
    sandbox: Sandbox,
    server: Maildrop,
    /// At home before the runs that are recorded.
    before: Tree,
    /// What the server has before the runs, and after each QUIT.
    maildrops: Vec<Vec<Mail>>,
    model: Model,
    /// Only states from this moment on are tried.
    from: usize,
    interruptions: usize,
}

impl Stage {
    fn new(scenario: Scenario) -> Self {
        Self::prepared(scenario, |_, _| ())
    }

    fn prepared(scenario: Scenario, prepare: impl FnOnce(&Sandbox, &Maildrop)) -> Self {
        let server = server(scenario.mails.iter().take(scenario.known).cloned()).start();
        let sandbox = Sandbox::in_memory();
        let deliver = match scenario.destination {
            // `cat` would leave the copying to the kernel, where strace does not see the octets.
            Destination::Mda => {
                let kept = sandbox.path("mda");
                std::fs::create_dir(&kept).unwrap();
                let file = format!("{}/$POPFETCH_UIDL.$$", kept.display());
                sandbox.mda_script(&format!("tee {file} >/dev/null && mv {file} {file}.done"))
            }
            other => other.deliver(&sandbox),
        };
        sandbox.config(&Account::on(server.port).set("keep", scenario.keep).set("deliver", deliver).to_string());
        if scenario.has_others {
            others(&sandbox);
        }
        let before = capture(&sandbox.path(""));
        if scenario.known > 0 {
            sandbox.popfetch(["-q"]).exits(0).silently();
        }
        prepare(&sandbox, &server);
        let maildrop = if scenario.keep { scenario.mails.clone() } else { scenario.mails[scenario.known..].to_vec() };
        server.restore(USER, maildrop.clone());
        let tree = capture(&sandbox.path(""));
        let model = Model::new(&sandbox.path(""), &tree, &["mda"]);
        let maildrops = vec![maildrop];
        Stage { scenario, sandbox, server, before, maildrops, model, from: 0, interruptions: 1 }
    }

    /// Records one more run. What the model makes of it must be what is there.
    fn record(&mut self, killed_before: Option<&Fault>) {
        let calls = trace::record(&self.sandbox, killed_before);
        self.model.add(calls);
        let listed = self.server.unique_ids(USER);
        let left = self.scenario.mails.iter().filter(|mail| listed.contains(&mail.unique_id)).cloned();
        self.maildrops.push(left.collect());
        self.maildrops.dedup_by_key(|maildrop| maildrop.len());
        let (modelled, real) = (self.model.whole(), capture(&self.sandbox.path("")));
        assert!(modelled == real, "the model is wrong: {:#?}", differences(&modelled, &real));
    }

    /// Puts a state where popfetch will find it.
    fn restore(&self, state: &State) {
        put(&self.sandbox.path(""), &state.tree(&self.model));
        // A dotlock without all of its content counts for a quarter of an hour, whoever made it: the machine was off longer.
        if let Ok(dotlock) = std::fs::File::options().write(true).open(self.sandbox.path("mbox.lock")) {
            dotlock.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        }
        let maildrop = &self.maildrops[state.has_quit.min(self.maildrops.len() - 1)];
        self.server.restore(USER, maildrop.iter().cloned());
    }

    fn try_one(&self, state: &State) -> Result<(), String> {
        self.restore(state);
        let wanted = Wanted {
            sandbox: &self.sandbox,
            server: &self.server,
            destination: self.scenario.destination,
            keep: self.scenario.keep,
            mails: &self.scenario.mails,
            interruptions: self.interruptions,
            before: &self.before,
        };
        wanted.check().map_err(|why| {
            let tree = state.tree(&self.model);
            format!("{why}\n  {}  then at home: {:#?}", state.story(&self.model), differences(&self.before, &tree))
        })
    }

    /// Tries the states, and tells of those that did not hold.
    fn explore(&self, limit: u64) -> Vec<String> {
        let (seed, mut random) = random();
        let found = generator::states(&self.model, self.from, &mut random);
        let mut chosen: Vec<&State> = found.states.iter().collect();
        if limit > 0 && chosen.len() as u64 > limit {
            shuffle(&mut chosen, &mut random);
            chosen.truncate(limit as usize);
        }
        let failures: Vec<String> = chosen.iter().filter_map(|state| self.try_one(state).err()).collect();
        say(&format!(
            "states: {}: {} changes and {} syncs recorded, {} states generated, {} distinct, {} explored, {} held; \
             POPFETCH_SEED={seed}",
            self.scenario.name,
            self.model.changes.len(),
            self.model.syncs.len(),
            found.generated,
            found.states.len(),
            chosen.len(),
            chosen.len() - failures.len(),
        ));
        failures
    }

    #[track_caller]
    fn assert_all_hold(&self) {
        let failures = self.explore(limit());
        let mut kinds: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for failure in &failures {
            kinds.entry(failure.lines().next().unwrap_or_default()).or_default().push(failure);
        }
        let examples = kinds.values().map(|all| format!("{} times, for example: {}", all.len(), all[0]));
        let examples = examples.collect::<Vec<_>>().join("\n\n");
        assert!(failures.is_empty(), "{}: states that do not hold:\n{examples}", self.scenario.name);
    }
}

fn limit() -> u64 {
    number_in("POPFETCH_STATES").unwrap_or(STATES)
}

fn random() -> (u64, Random) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_nanos() as u64;
    let seed = number_in("POPFETCH_SEED").unwrap_or(now).max(1);
    (seed, Random(seed))
}

fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for last in (1..all.len()).rev() {
        all.swap(last, random.below(last + 1));
    }
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
    sandbox.file(".local/state/popfetch/bob@127.0.0.1.jsonl", "{\"popfetch\":2,\"maildrop\":\"bob@127.0.0.1\"}\n");
    sandbox.file(".local/state/popfetch/mbox.other.1.2.spool", "From bob");
}

fn later_run(name: &'static str, destination: Destination, keep: bool) {
    if !can_trace() {
        return;
    }
    let mut stage = Stage::new(Scenario::of(name, destination, keep));
    stage.record(None);
    stage.assert_all_hold();
}

#[test]
fn a_maildir_survives_a_power_cut() {
    later_run("a Maildir, keep", Destination::Maildir, true);
}

#[test]
fn a_deleting_maildir_survives_a_power_cut() {
    later_run("a Maildir, delete", Destination::Maildir, false);
}

#[test]
fn an_mbox_survives_a_power_cut() {
    later_run("an mbox, keep", Destination::Mbox, true);
}

#[test]
fn a_deleting_mbox_survives_a_power_cut() {
    later_run("an mbox, delete", Destination::Mbox, false);
}

#[test]
fn an_mda_survives_a_power_cut() {
    later_run("an MDA, keep", Destination::Mda, true);
}

#[test]
fn a_deleting_mda_survives_a_power_cut() {
    later_run("an MDA, delete", Destination::Mda, false);
}

/// Without this sync the states must show it, or they show nothing.
#[track_caller]
fn broken(name: &'static str, destination: Destination, keep: bool, sync: &str, consequence: &str) {
    if !can_trace() {
        return;
    }
    let mut stage = Stage::new(Scenario::of(name, destination, keep));
    stage.record(None);
    stage.model.without_syncs_of(|path| path.to_string_lossy().contains(sync));
    let failures = stage.explore(60);
    let is_it = |failure: &String| failure.lines().next().is_some_and(|what| what.contains(consequence));
    assert!(failures.iter().any(is_it), "no `{consequence}` in {failures:#?}");
}

#[test]
fn a_maildir_whose_new_is_not_synced_loses_mail() {
    broken("a Maildir whose new is not synced (must not hold)", Destination::Maildir, false, "Mail/new", "is lost");
}

#[test]
fn a_maildir_whose_messages_are_not_synced_loses_mail() {
    broken(
        "a Maildir whose messages are not synced (must not hold)",
        Destination::Maildir,
        false,
        "Mail/tmp",
        "is lost",
    );
}

#[test]
fn an_mbox_that_is_not_synced_loses_mail() {
    broken("an mbox that is not synced (must not hold)", Destination::Mbox, false, "mbox", "is lost");
}

#[test]
fn a_ledger_that_is_not_synced_doubles_mail() {
    broken("a ledger that is not synced (must not hold)", Destination::Maildir, true, ".jsonl", "come twice");
}
