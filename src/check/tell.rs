//! All accounts of a run, and what is told of them.

use std::io::{self, Write as _};
use std::sync::Arc;

use serde_json::json;

use super::{Check, check};
use crate::account::Account;
use crate::config;
use crate::deliver::Wire;
use crate::failure::{self, Kind};
use crate::report::Results;
use crate::session::Observer;
use crate::text::printable;

/// Checks one account after the other, and returns what decides about the exit status.
pub fn all(accounts: &[Account], of_all: &Check<'_>, results: &Results) -> Option<Kind> {
    results.run("check", accounts.len(), false);
    let mut kinds = vec![];
    for account in accounts {
        let report = check(account, of_all, &|row| {
            row.lines(&account.name).iter().for_each(|line| results.line(line));
            results.check(|| row.json(&account.name));
        });
        results.account(|| {
            let worst = report.worst();
            json!({
                "account": printable(account.name.as_bytes()),
                "status": failure::exit_status(report.kind()),
                "error": worst.map(|row| &row.words),
                "details": worst.map_or(&[][..], |row| &row.details),
                "hint": worst.and_then(|row| row.hint.as_ref()),
            })
        });
        kinds.extend(report.kind());
        if of_all.stop.check().is_err() {
            break;
        }
    }
    failure::worst(kinds)
}

/// Says what each account amounts to, and tries nothing.
pub fn offline(accounts: &[Account], results: &Results) {
    results.run("check", accounts.len(), false);
    for (number, account) in accounts.iter().enumerate() {
        let name = printable(account.name.as_bytes());
        if number > 0 {
            results.line("");
        }
        for line in config::shown(account) {
            results.line(&line);
            results.check(|| {
                let (point, details, hint) = ("configuration", [""; 0], None::<&str>);
                json!({ "account": name, "point": point, "result": "ok", "words": line, "details": details, "hint": hint })
            });
        }
        results.account(|| json!({ "account": name, "status": 0, "error": null, "details": [], "hint": null }));
    }
}

/// Shows the dialogue with the server, if that is wished; the rest is told by rows.
#[derive(Debug)]
pub struct Onlooker {
    /// `-vv`.
    pub wants_wire: bool,
}

impl Onlooker {
    /// The same for the dialogues with targets.
    pub fn of_targets(&self) -> Option<Wire> {
        self.wants_wire.then(|| -> Wire { Arc::new(show) })
    }
}

fn show(line: &str) {
    // There is nowhere left to complain to when standard error is gone.
    let _ = writeln!(io::stderr(), "{line}");
}

impl Observer for Onlooker {
    fn phase(&self, _what: &str) {}

    fn aside(&self, _question: &str, ask: &mut dyn FnMut()) {
        ask();
    }

    fn wire(&self, line: &str) {
        show(line);
    }

    fn wants_wire(&self) -> bool {
        self.wants_wire
    }
}
