//! Many accounts, some of them at a time, and of one server as many as it is to serve at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, mpsc};
use std::thread;

use super::{Run, fetch};
use crate::account::Account;
use crate::os::limits;
use crate::report::Summary;

/// How many accounts are fetched at a time.
#[derive(Debug, Clone, Copy)]
pub struct Jobs {
    /// Of all.
    pub all: u16,
    /// On one server; as many as there are, where nobody says.
    pub per_host: Option<u16>,
}

/// Fetches every account, some of them at a time, and returns their summaries in the accounts' order. `finished` hears
/// of each one as soon as it is done.
pub fn side_by_side(accounts: &[Account], run: &Run<'_>, jobs: Jobs, finished: impl Fn(&Summary)) -> Vec<Summary> {
    if let [account] = accounts {
        let summary = fetch(account, run);
        finished(&summary);
        return vec![summary];
    }
    let targets = accounts.iter().map(|account| account.targets.len()).max().unwrap_or(0);
    let threads = limits::room_for(accounts.len().min(usize::from(jobs.all)), targets);
    let queue = Queue::new(accounts, jobs);
    let (sender, done) = mpsc::channel();
    thread::scope(|scope| {
        let queue = &queue;
        let job = |sender: mpsc::Sender<_>| {
            while let Some(turn) = queue.next() {
                let mut summary = fetch(&accounts[turn.position], run);
                if let Some(hint) = queue.hint(turn.position).filter(|_| threads > 1) {
                    summary.propose_where_throttled(hint);
                }
                // The receiver lives until every sender is gone.
                let _ = sender.send((turn.position, summary));
            }
        };
        let started = (0..threads).map_while(|_| {
            let sender = sender.clone();
            thread::Builder::new().spawn_scoped(scope, move || job(sender)).ok()
        });
        // When no more threads are to be had, those that are there do the work; in the worst case this one.
        if started.count() == 0 {
            job(sender);
        } else {
            drop(sender);
        }
        let mut summaries: Vec<(usize, Summary)> = done.iter().inspect(|(_, summary)| finished(summary)).collect();
        summaries.sort_by_key(|(position, _)| *position);
        summaries.into_iter().map(|(_, summary)| summary).collect()
    })
}

/// Accounts that wait for their turn.
struct Queue {
    /// The server of each account.
    hosts: Vec<String>,
    per_host: Option<u16>,
    turns: Mutex<Turns>,
    ended: Condvar,
}

struct Turns {
    waiting: VecDeque<usize>,
    /// How many accounts are at work on each server.
    at_work: HashMap<String, u16>,
}

/// An account that is at work until this is dropped.
struct Turn<'q> {
    queue: &'q Queue,
    position: usize,
}

impl Queue {
    fn new(accounts: &[Account], Jobs { per_host, .. }: Jobs) -> Self {
        let host = |account: &Account| account.host.trim_end_matches('.').to_ascii_lowercase();
        let hosts: Vec<String> = accounts.iter().map(host).collect();
        let turns = Turns { waiting: (0..hosts.len()).collect(), at_work: HashMap::new() };
        Queue { hosts, per_host, turns: Mutex::new(turns), ended: Condvar::new() }
    }

    /// The first account that waits and whose server serves one more. Where all have to wait for others, so does this.
    fn next(&self) -> Option<Turn<'_>> {
        let mut turns = self.turns();
        while !turns.waiting.is_empty() {
            let has_room = |host| {
                let at_work = turns.at_work.get(host).copied().unwrap_or(0);
                self.per_host.is_none_or(|most| at_work < most)
            };
            let first = turns.waiting.iter().position(|position| has_room(&self.hosts[*position]));
            if let Some(position) = first.and_then(|at| turns.waiting.remove(at)) {
                *turns.at_work.entry(self.hosts[position].clone()).or_default() += 1;
                return Some(Turn { queue: self, position });
            }
            turns = self.ended.wait(turns).expect("nothing panics while it is locked");
        }
        None
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().expect("nothing panics while it is locked")
    }

    /// What helps where the server of an account serves no more at a time, and others of the run are on it as well.
    fn hint(&self, position: usize) -> Option<String> {
        let host = &self.hosts[position];
        let accounts = self.hosts.iter().filter(|other| *other == host).count();
        let fewer = self.per_host.map_or(2, |most| most.saturating_sub(1)).min(2);
        (accounts > 1 && fewer > 0).then(|| {
            format!("`--jobs-per-host {fewer}` fetches fewer of the {accounts} accounts on `{host}` at a time")
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let host = &self.queue.hosts[self.position];
        self.queue.turns().at_work.entry(host.clone()).and_modify(|at_work| *at_work -= 1);
        self.queue.ended.notify_all();
    }
}
