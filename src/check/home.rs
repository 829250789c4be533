//! The checks of this machine: ledger, targets, permissions, clock.

use std::fs;

use chrono::{DateTime, SecondsFormat};

use super::Checking;
use super::row::{Finding, Point, Row};
use crate::account::Target;
use crate::deliver::{self, Tried};
use crate::failure::Kind;
use crate::ledger::{self, Ledger};
use crate::notice::Notice;
use crate::os::clock::now;
use crate::os::exposure;
use crate::session;
use crate::text::{counted, printable};

/// The ledger, or why it cannot be read.
pub(super) struct Look(Result<(Ledger, Vec<Notice>), ledger::Error>);

impl Look {
    pub fn new(read: Result<(Ledger, Vec<Notice>), ledger::Error>) -> Self {
        Look(read)
    }

    /// The ledger, where it could be read.
    pub fn ledger(&mut self) -> Option<&mut Ledger> {
        self.0.as_mut().ok().map(|(ledger, _)| ledger)
    }
}

impl Checking<'_> {
    fn ledger_name(&self) -> String {
        ledger::file_name(&self.account.maildrop())
    }

    pub(super) fn ledger(&mut self, look: &Look) {
        let folder = self.check.state_dir;
        if let Err(error) = Ledger::check_folder(folder) {
            return self.row(Row::bad(Point::Ledger, &error));
        }
        if let Some(process) = Ledger::holder(folder, &self.ledger_name()) {
            let path = folder.join(self.ledger_name());
            self.row(Row::bad(Point::Ledger, &ledger::Error::Held { path, process: Some(process) }));
        }
        let (ledger, notices) = match &look.0 {
            Ok((ledger, notices)) => (ledger, notices),
            Err(error) => return self.row(Row::bad(Point::Ledger, error)),
        };
        let waits = if self.check.now { vec![] } else { session::waits(self.account, ledger) };
        for notice in notices.iter().chain(&waits) {
            let finding = notice.kind().map_or(Finding::Doubtful, Finding::Bad);
            self.row(Row { finding, ..Row::good(Point::Ledger, notice.to_string()) });
        }
        let path = printable(ledger.path().as_os_str().as_encoded_bytes());
        self.row(match fs::metadata(ledger.path()) {
            Ok(_) => {
                let known = counted(ledger.facts().len(), "known message");
                Row::good(Point::Ledger, format!("`{path}` can be read: {known}"))
            }
            Err(_) => Row::good(Point::Ledger, format!("there is none yet; the first fetch makes `{path}`")),
        });
    }

    pub(super) fn targets(&mut self, ledger: Option<&mut Ledger>) {
        let mut context = session::context(self.account, self.check.state_dir, &self.ledger_name(), self.check.stop);
        context.network.wire = self.check.observer.of_targets();
        let account = self.account;
        for (number, target) in account.targets.iter().enumerate() {
            let other = ledger.as_ref().and_then(|ledger| ledger.has_place_of_another(number));
            let has_history = ledger.as_ref().is_some_and(|ledger| ledger.has_delivered_to(target));
            context.network.keeps = ledger.as_ref().and_then(|ledger| ledger.keeps(target));
            let row = match other {
                Some(other) => self.same_place(target, &account.targets[other]),
                None => self.target(target, has_history, &context),
            };
            self.row(row);
        }
    }

    fn same_place(&self, target: &Target, other: &Target) -> Row {
        let [target, other] = [target, other].map(|target| printable(target.to_string().as_bytes()));
        let words = format!("`{target}` is the same place as `{other}`, by another name");
        let hint = Some("leave one of the two out of `deliver`".to_owned());
        Row { finding: Finding::Bad(Kind::Configuration), hint, ..Row::good(Point::Target, words) }
    }

    fn target(&self, target: &Target, has_history: bool, context: &deliver::Context) -> Row {
        let present = deliver::check_present(target, context);
        let is_gone = has_history && !self.check.create && matches!(present, Err(deliver::Error::Gone { .. }));
        let tried = deliver::check_owner(target, context)
            .and(if is_gone { present } else { Ok(()) })
            .and_then(|()| deliver::try_out(target, context));
        let shown = printable(target.to_string().as_bytes());
        let owner = self.account.owner.as_ref().map_or_else(String::new, |owner| format!(" as `{}`", owner.name));
        match (tried, target.path()) {
            (Err(error), _) => Row::bad(Point::Target, &error),
            (Ok(Tried::Creatable), _) => {
                Row::good(Point::Target, format!("`{shown}` is not there, and would be created{owner}"))
            }
            (Ok(Tried::Locked(holder)), _) => Row::doubtful(
                Point::Target,
                format!("`{shown}` is locked by {holder} now"),
                "a fetch waits half a minute for it, and then fails for the time being",
            ),
            (Ok(Tried::Answers(words)), _) => Row::good(Point::Target, format!("`{shown}` takes mail: {words}")),
            (Ok(Tried::Doubtful(words)), _) => Row::doubtful(
                Point::Target,
                format!("`{shown}` answers {words}"),
                "a fetch that gets such an answer to a message ends there for this run",
            ),
            (Ok(Tried::Ready), None) => Row::good(Point::Target, format!("the program of `{shown}` can be started")),
            (Ok(Tried::Ready), Some(_)) => Row::good(
                Point::Target,
                format!("`{shown}` can be written to{owner}, and what is written there can be made durable"),
            ),
        }
    }

    /// What is worse than this has ended the check before it began, or is told of the password.
    pub(super) fn permissions(&mut self) {
        if self.tried(Point::Permissions, self.opener.identity()).is_none() {
            return;
        }
        let path = self.check.state_dir.join(format!("{}.jsonl", self.ledger_name()));
        let exposed = fs::metadata(&path).ok().and_then(|metadata| exposure::of(&path, &metadata));
        self.row(match exposed {
            Some(exposure) => Row::doubtful(
                Point::Permissions,
                format!("the ledger `{}` {exposure}", printable(path.as_os_str().as_encoded_bytes())),
                exposure.advice(&path, true),
            ),
            None => Row::good(Point::Permissions, "nobody else can change the configuration or read what is secret"),
        });
    }

    pub(super) fn clock(&mut self, ledger: Option<&mut Ledger>) {
        let seconds = now();
        let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let time = time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true);
        self.row(match ledger.and_then(|ledger| session::doubt_of(ledger, seconds)) {
            None => Row::good(Point::Clock, time),
            Some(doubt) => Row::doubtful(
                Point::Clock,
                format!("{time} is {doubt}: nothing is deleted because of its age"),
                doubt.advice(),
            ),
        });
    }
}
