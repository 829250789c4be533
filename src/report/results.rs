//! Results on standard output: lines for people, or JSON Lines for programs, as things happen.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::failure::{self, Kind};
use crate::os::clock;
use crate::text::{self, reason};

use super::Summary;

/// The version of the events. Names that are added later do not change it.
const VERSION: u32 = 1;

/// Standard output, for results. It may fail without anything else stopping for it.
#[derive(Debug)]
pub struct Results {
    is_json: bool,
    output: Mutex<Output>,
    told: Mutex<Told>,
}

/// Accounts that have been told of, as events.
#[derive(Debug, Default)]
struct Told {
    accounts: usize,
    failed: usize,
}

#[derive(Debug)]
enum Output {
    Open,
    /// The reader has enough.
    Closed,
    Failed(io::Error),
}

impl Results {
    /// For programs (`--json`) or for people.
    pub fn new(is_json: bool) -> Self {
        Results { is_json, output: Mutex::new(Output::Open), told: Mutex::default() }
    }

    /// A line for people; nothing for programs.
    pub fn line(&self, line: &str) {
        if !self.is_json {
            self.write(&format!("{line}\n"));
        }
    }

    /// The first event: a run begins.
    pub fn run(&self, command: &str, accounts: usize, dry_run: bool) {
        let version = env!("CARGO_PKG_VERSION");
        self.event("run", || {
            json!({ "command": command, "version": version, "time": now(), "accounts": accounts, "dry_run": dry_run })
        });
    }

    /// A message, for programs or as a line for people.
    pub fn message(&self, fields: impl FnOnce() -> Value, line: impl FnOnce() -> String) {
        match self.is_json {
            true => self.event("message", fields),
            false => self.line(&line()),
        }
    }

    /// An account has ended.
    pub fn account(&self, fields: impl FnOnce() -> Value) {
        self.event("account", || {
            let fields = fields();
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.accounts += 1;
            told.failed += usize::from(fields["status"] != 0);
            fields
        });
    }

    /// A point of an account was looked at.
    pub fn check(&self, fields: impl FnOnce() -> Value) {
        self.event("check", fields);
    }

    /// The run cannot begin, or not go on. A mistake in a configuration has a place: file, line and column.
    pub fn error(&self, kind: Kind, words: &str, hint: Option<&str>, place: Option<(&str, usize, usize)>) {
        self.event("error", || {
            let (file, line, column) =
                place.map_or((None, None, None), |(file, line, column)| (Some(file), Some(line), Some(column)));
            json!({
                "status": kind.code(), "error": words, "hint": hint, "file": file, "line": line, "column": column,
            })
        });
    }

    /// The last event, with what all accounts make together. Returns what decides about the exit status: a result that
    /// could not be written counts, too. `say` hears about that.
    pub fn end(&self, summaries: &[Summary], worst: Option<Kind>, say: impl FnOnce(&str)) -> Option<Kind> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        self.event("end", || totals(&told, summaries, worst));
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let Output::Failed(error) = &*output else { return worst };
        say(&format!(
            "cannot write to standard output: {}; what is reported there is incomplete, mail is not concerned",
            reason(error)
        ));
        failure::worst(worst.into_iter().chain([Kind::Io]))
    }

    /// Something that has happened, for programs.
    pub fn event(&self, name: &str, fields: impl FnOnce() -> Value) {
        if self.is_json {
            // What an event is stands in front, for people who read it, too.
            let fields = fields().to_string();
            self.write(&format!("{{\"v\":{VERSION},\"event\":\"{name}\",{}\n", &fields[1..]));
        }
    }

    fn write(&self, line: &str) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*output, Output::Open) {
            return;
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => *output = Output::Closed,
            Err(error) => *output = Output::Failed(error),
        }
    }
}

/// What all accounts make together.
fn totals(told: &Told, summaries: &[Summary], worst: Option<Kind>) -> Value {
    // Servers say how large messages are, and of very many accounts the sum may be absurd.
    let sum = |count: fn(&Summary) -> u64| summaries.iter().map(count).fold(0, u64::saturating_add);
    json!({
        "status": failure::exit_status(worst),
        "time": now(),
        "accounts": told.accounts,
        "failed": told.failed,
        "listed": sum(|summary| summary.listed as u64),
        "known": sum(|summary| summary.known as u64),
        "delivered": sum(|summary| summary.delivered as u64),
        "octets": sum(|summary| summary.octets),
        "deleted": sum(|summary| summary.deleted as u64),
        "would_deliver": sum(|summary| summary.would_retrieve as u64),
        "would_deliver_octets": sum(|summary| summary.would_octets),
        "would_delete": sum(|summary| summary.would_delete as u64),
    })
}

/// The time, as RFC 3339 writes it.
fn now() -> String {
    text::time(clock::now())
}

/// The words of a wrong command line, without the usage that follows them.
pub fn usage(error: &str) -> String {
    let words = error.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = words.split_whitespace().collect();
    text::printable_within(words.join(" ").as_bytes(), 1000)
}
