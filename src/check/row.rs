//! What is said of one point: a line for people, an event for programs.

use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::text::printable;

/// What is looked at, in the order in which a fetch meets it: of several failures its first one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// What the account logs in with, as far as it is known without asking.
    Password,
    /// What is known of the messages.
    Ledger,
    /// Who else can read or change what is the account's own.
    Permissions,
    /// The addresses of the server.
    Resolve,
    /// The line to it.
    Connect,
    /// What protects that.
    Tls,
    /// What the server shows to prove who it is.
    Certificate,
    /// The greeting, what the server announces, and how to log in.
    Capabilities,
    /// The login.
    Login,
    /// Unique-ids.
    Uidl,
    /// Header sections.
    Top,
    /// Where messages go.
    Target,
    /// The time of this machine.
    Clock,
}

impl Point {
    /// Its word in lines and events.
    pub fn name(self) -> &'static str {
        match self {
            Point::Password => "password",
            Point::Ledger => "ledger",
            Point::Permissions => "permissions",
            Point::Resolve => "resolve",
            Point::Connect => "connect",
            Point::Tls => "tls",
            Point::Certificate => "certificate",
            Point::Capabilities => "capabilities",
            Point::Login => "login",
            Point::Uidl => "uidl",
            Point::Top => "top",
            Point::Target => "target",
            Point::Clock => "clock",
        }
    }
}

/// How a point was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// A fetch can do with it.
    Good,
    /// It can, but somebody should know.
    Doubtful,
    /// It cannot.
    Bad(Kind),
}

impl Finding {
    /// Its word in lines and events.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Good => "ok",
            Finding::Doubtful => "warning",
            Finding::Bad(_) => "failed",
        }
    }
}

/// What is said of one point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Of what.
    pub point: Point,
    /// How it was found.
    pub finding: Finding,
    /// What was found.
    pub words: String,
    /// Lines that are too long for it.
    pub details: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Row {
    pub(super) fn good(point: Point, words: impl Into<String>) -> Self {
        Row { point, finding: Finding::Good, words: words.into(), details: vec![], hint: None }
    }

    pub(super) fn doubtful(point: Point, words: impl Into<String>, hint: impl Into<String>) -> Self {
        Row { finding: Finding::Doubtful, hint: Some(hint.into()), ..Row::good(point, words) }
    }

    pub(super) fn bad(point: Point, failure: &dyn Failure) -> Self {
        let (details, hint) = (failure.details(), failure.hint());
        Row { finding: Finding::Bad(failure.kind()), details, hint, ..Row::good(point, failure.to_string()) }
    }

    /// The same as a warning: a fetch knows a way round it.
    pub(super) fn pardoned(self) -> Self {
        Row { finding: Finding::Doubtful, ..self }
    }

    /// The kind of the failure, if it is one.
    pub fn kind(&self) -> Option<Kind> {
        if let Finding::Bad(kind) = self.finding { Some(kind) } else { None }
    }

    /// Each text in it, as `change` makes it.
    pub(super) fn with(self, change: impl Fn(String) -> String) -> Self {
        let Row { words, details, hint, .. } = self;
        Row {
            words: change(words),
            details: details.into_iter().map(&change).collect(),
            hint: hint.map(change),
            ..self
        }
    }

    /// Its lines for people.
    pub fn lines(&self, account: &str) -> Vec<String> {
        let Row { point, finding, words, .. } = self;
        let first = format!("{}: {:<7} {:<12} {words}", printable(account.as_bytes()), finding.name(), point.name());
        let details = self.details.iter().map(|detail| format!("  {detail}"));
        [first].into_iter().chain(details).chain(self.hint.iter().map(|hint| format!("  hint: {hint}"))).collect()
    }

    /// Its event.
    pub fn json(&self, account: &str) -> Value {
        json!({
            "account": printable(account.as_bytes()),
            "point": self.point.name(),
            "result": self.finding.name(),
            "words": self.words,
            "details": self.details,
            "hint": self.hint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line_and_what_belongs_to_it() {
        let row = Row { details: vec!["it is for `h`".into()], ..Row::doubtful(Point::Top, "not answered", "wait") };
        assert_eq!(
            row.lines("a\u{1b}"),
            ["a\\x1b: warning top          not answered", "  it is for `h`", "  hint: wait"]
        );
        let expected = json!({
            "account": "a", "point": "top", "result": "warning", "words": "not answered", "details": ["it is for `h`"],
            "hint": "wait",
        });
        assert_eq!(row.json("a"), expected);
    }
}
