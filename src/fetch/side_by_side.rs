//! Many accounts, some of them at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::{Run, fetch};
use crate::account::Account;
use crate::os::limits;
use crate::report::Summary;

/// Fetches every account, some of them at a time, and returns their summaries in the accounts' order. `finished` hears
/// of each one as soon as it is done.
pub fn side_by_side(accounts: &[Account], run: &Run<'_>, jobs: u16, finished: impl Fn(&Summary)) -> Vec<Summary> {
    if let [account] = accounts {
        let summary = fetch(account, run);
        finished(&summary);
        return vec![summary];
    }
    let targets = accounts.iter().map(|account| account.targets.len()).max().unwrap_or(0);
    let jobs = limits::room_for(accounts.len().min(usize::from(jobs)), targets);
    let next = AtomicUsize::new(0);
    let (sender, done) = mpsc::channel();
    thread::scope(|scope| {
        let job = |sender: mpsc::Sender<_>| {
            while let Some((position, account)) = take(accounts, &next) {
                // The receiver lives until every sender is gone.
                let _ = sender.send((position, fetch(account, run)));
            }
        };
        let jobs = (0..jobs).map_while(|_| {
            let sender = sender.clone();
            thread::Builder::new().spawn_scoped(scope, move || job(sender)).ok()
        });
        // When no more threads are to be had, those that are there do the work; in the worst case this one.
        if jobs.count() == 0 {
            job(sender);
        } else {
            drop(sender);
        }
        let mut summaries: Vec<(usize, Summary)> = done.iter().inspect(|(_, summary)| finished(summary)).collect();
        summaries.sort_by_key(|(position, _)| *position);
        summaries.into_iter().map(|(_, summary)| summary).collect()
    })
}

fn take<'a>(accounts: &'a [Account], next: &AtomicUsize) -> Option<(usize, &'a Account)> {
    let position = next.fetch_add(1, Ordering::Relaxed);
    accounts.get(position).map(|account| (position, account))
}
