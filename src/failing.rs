//! Failures in a row: since when an account fails, and when that is reported once more.
//!
//! Values and decisions only: the ledger keeps them, a run asks them. Times are seconds since 1970.

use std::time::Duration;

use crate::text;

/// What kind of failure will pass by itself. While it stays the same, it is the same trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The server cannot be reached, or the line to it broke.
    Network,
    /// The last login was too short a time ago.
    LoginDelay,
    /// Another session holds the maildrop.
    InUse,
    /// The server takes no more sessions or logins at this moment.
    Throttled,
    /// The server has trouble of its own.
    Server,
    /// The password cannot be had at this moment.
    Secret,
    /// A target takes no mail at this moment.
    Target,
    /// Anything else.
    Other,
}

impl Cause {
    const ALL: [Cause; 8] = [
        Cause::Network,
        Cause::LoginDelay,
        Cause::InUse,
        Cause::Throttled,
        Cause::Server,
        Cause::Secret,
        Cause::Target,
        Cause::Other,
    ];

    /// Its word in the ledger and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Network => "network",
            Cause::LoginDelay => "login-delay",
            Cause::InUse => "in-use",
            Cause::Throttled => "throttled",
            Cause::Server => "server",
            Cause::Secret => "secret",
            Cause::Target => "target",
            Cause::Other => "other",
        }
    }

    /// The cause of this word; a word of a later release is some other cause.
    pub fn of_word(word: &str) -> Self {
        Cause::ALL.into_iter().find(|cause| cause.word() == word).unwrap_or(Cause::Other)
    }

    /// True where the words of an error say more than what it is called: two such failures may be different ones.
    fn is_told_by_words(self) -> bool {
        matches!(self, Cause::Server | Cause::Secret | Cause::Target | Cause::Other)
    }
}

/// A failure that will pass by itself, as far as it tells whether another one is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What kind it is.
    pub cause: Cause,
    /// Of its words, where they matter.
    pub words: Option<String>,
}

impl Trouble {
    /// A failure with these words. Numbers in them change from run to run.
    pub fn new(cause: Cause, words: &str) -> Self {
        let is_kept = |character: &char| !character.is_ascii_digit();
        let kept = || text::fingerprint(&words.chars().filter(is_kept).collect::<String>());
        Trouble { cause, words: cause.is_told_by_words().then(kept) }
    }
}

/// Failures in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The last one.
    pub trouble: Trouble,
    /// When the first one happened.
    pub since: u64,
    /// When the last one happened.
    pub at: u64,
    /// How many there were.
    pub times: u32,
    /// When the trouble was last reported; 0 when it was not.
    pub said: u64,
}

impl Failing {
    /// One more failure. A run that brought mail before it failed (`has_progress`) begins the row anew.
    pub fn next(before: Option<&Failing>, trouble: Trouble, has_progress: bool, now: u64) -> Self {
        let row = before.filter(|_| !has_progress);
        let (since, times) = row.map_or((now, 1), |row| (row.since.min(now), row.times.saturating_add(1)));
        let said = before.filter(|before| before.trouble == trouble).map_or(0, |before| before.said);
        Failing { trouble, since, at: now, times, said }
    }

    /// True when the trouble is to be reported: it begins, or the last report is that long ago. A report that a clock
    /// dated later than now counts as none.
    pub fn is_due(&self, every: Duration, now: u64) -> bool {
        self.said == 0 || self.said > now || now - self.said >= every.as_secs()
    }

    /// True when there were failures that nobody heard of, after others that were reported: somebody may think that the
    /// trouble goes on.
    pub fn ends_in_silence(&self) -> bool {
        self.said > 0 && (self.times > 1 || self.said != self.at)
    }

    /// How long it has lasted, as people say it.
    pub fn length(&self, now: u64) -> String {
        text::length(now.saturating_sub(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Trouble {
        Trouble::new(Cause::Network, "cannot connect to `x`: connection refused")
    }

    fn failing(since: u64, at: u64, times: u32, said: u64) -> Failing {
        Failing { trouble: network(), since, at, times, said }
    }

    #[test]
    fn a_row_is_counted_from_its_first_failure_until_mail_comes() {
        for (before, has_progress, now, expected) in [
            (None, false, 100, failing(100, 100, 1, 0)),
            (None, true, 100, failing(100, 100, 1, 0)),
            (Some(failing(100, 100, 1, 100)), false, 400, failing(100, 400, 2, 100)),
            (Some(failing(100, 400, 7, 100)), false, 700, failing(100, 700, 8, 100)),
            (Some(failing(100, 400, 7, 100)), true, 700, failing(700, 700, 1, 100)),
            // The clock went back.
            (Some(failing(500, 600, 2, 500)), false, 50, failing(50, 50, 3, 500)),
            (Some(failing(1, 2, u32::MAX, 1)), false, 3, failing(1, 3, u32::MAX, 1)),
        ] {
            assert_eq!(Failing::next(before.as_ref(), network(), has_progress, now), expected);
        }
    }

    #[test]
    fn another_trouble_is_reported_at_once_and_the_same_one_is_not() {
        let before = failing(100, 400, 3, 100);
        for (cause, words, said) in [
            (Cause::Network, "nothing came within 60 s", 100),
            (Cause::InUse, "cannot connect to `x`: connection refused", 0),
            (Cause::Target, "`a` is locked by process 17", 0),
        ] {
            let after = Failing::next(Some(&before), Trouble::new(cause, words), false, 700);
            assert_eq!((after.said, after.since, after.times), (said, 100, 4), "{words}");
        }
        let locked = |words| Trouble::new(Cause::Target, words);
        assert_eq!(locked("`a` is locked by process 17"), locked("`a` is locked by process 4"));
        assert_ne!(locked("`a` is locked by process 17"), locked("`b` is locked by process 17"));
    }

    #[test]
    fn what_was_reported_is_reported_again_after_a_while() {
        const SIX_HOURS: Duration = Duration::from_secs(6 * 3600);
        for (said, now, is_due, always) in [
            (0, 1000, true, true),
            (1000, 1000, false, true),
            (1000, 1000 + 6 * 3600 - 1, false, true),
            (1000, 1000 + 6 * 3600, true, true),
            (1001, 1000, true, true),
            (u64::MAX, 1000, true, true),
        ] {
            let failing = failing(1, 1, 9, said);
            assert_eq!(failing.is_due(SIX_HOURS, now), is_due, "{said} {now}");
            assert_eq!(failing.is_due(Duration::ZERO, now), always, "{said} {now}");
        }
    }

    #[test]
    fn an_end_is_worth_a_line_where_nobody_could_know_whether_it_had_come() {
        for (failing, is_worth) in [
            (failing(100, 100, 1, 0), false),
            (failing(100, 400, 2, 0), false),
            (failing(100, 100, 1, 100), false),
            (failing(100, 400, 2, 100), true),
            (failing(100, 400, 2, 400), true),
            // Mail came before the last one, of which nobody heard.
            (failing(400, 400, 1, 100), true),
        ] {
            assert_eq!(failing.ends_in_silence(), is_worth, "{failing:?}");
        }
    }

    #[test]
    fn every_cause_has_a_word() {
        assert!(Cause::ALL.iter().all(|cause| Cause::of_word(cause.word()) == *cause));
        assert_eq!(Cause::of_word("of a later release"), Cause::Other);
    }
}
