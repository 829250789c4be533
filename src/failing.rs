//! Failures in a row: since when an account or a target fails, when that is reported once more, and how long the next try
//! waits.
//!
//! Values and decisions only: the ledger keeps them, a run asks them. Times are seconds since 1970.

use std::fmt;
use std::time::Duration;

use crate::text;

/// So many failures in a row are nothing to wait for.
const FREE: u32 = 2;

/// The wait after the first failure beyond these; each further one doubles it.
const FIRST_WAIT: u64 = 5 * 60;

/// The longest wait, unless the server announces a longer one.
const LONGEST_WAIT: u64 = 2 * 3600;

/// The longest that a server may announce.
const LONGEST_DELAY: u64 = 86400;

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

    /// True when trying less often may help, or does no harm at least. What is wrong with a target does not concern the
    /// server.
    fn makes_account_wait(self) -> bool {
        matches!(self, Cause::Network | Cause::LoginDelay | Cause::InUse | Cause::Throttled)
    }

    /// In a sentence.
    fn phrase(self) -> &'static str {
        match self {
            Cause::Network => "the server cannot be reached, or the line breaks",
            Cause::LoginDelay => "the server wants more time between two logins",
            Cause::InUse => "another session holds the maildrop",
            Cause::Throttled => "the server takes no more sessions",
            Cause::Server => "the server is in trouble",
            Cause::Secret => "the password cannot be had",
            Cause::Target => "the target takes no mail",
            Cause::Other => "other trouble",
        }
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

    /// The same failure of these messages: that of another one is another failure.
    pub fn of_messages<'m>(self, unique_ids: impl Iterator<Item = &'m [u8]>) -> Self {
        let mut ids: Vec<_> = unique_ids.map(text::printable).collect();
        ids.sort_unstable();
        let with_ids =
            |words: String| if ids.is_empty() { words } else { text::fingerprint(&(words + &ids.join("\n"))) };
        Trouble { words: self.words.map(with_ids), ..self }
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
    /// When it is to be tried again; 0 for at once.
    pub not_before: u64,
}

impl Failing {
    /// One more failure of an account. A run that brought mail before it failed (`has_progress`) begins the row anew, and so
    /// does the first failure that makes the account wait. `login_delay` is what the server announces, in seconds.
    pub fn of_account(
        before: Option<&Failing>,
        trouble: Trouble,
        has_progress: bool,
        login_delay: Option<u32>,
        now: u64,
    ) -> Self {
        let waits = trouble.cause.makes_account_wait();
        let is_alike = |before: &&Failing| before.trouble.cause.makes_account_wait() == waits;
        let mut failing = Failing::next(before, before.filter(is_alike).filter(|_| !has_progress), trouble, now);
        if waits && failing.times > FREE {
            let delay = u64::from(login_delay.unwrap_or(0)).min(LONGEST_DELAY);
            failing.not_before = now + failing.wait().max(delay);
        }
        failing
    }

    /// One more failure of a target. `retry_after` is what a server announces, in seconds: it counts from the first
    /// failure on.
    pub fn of_target(
        before: Option<&Failing>,
        trouble: Trouble,
        has_progress: bool,
        retry_after: Option<u64>,
        now: u64,
    ) -> Self {
        let mut failing = Failing::next(before, before.filter(|_| !has_progress), trouble, now);
        let wait = if failing.times > FREE { failing.wait() } else { 0 };
        let wait = wait.max(retry_after.unwrap_or(0).min(LONGEST_DELAY));
        if wait > 0 {
            failing.not_before = now + wait;
        }
        failing
    }

    fn next(before: Option<&Failing>, row: Option<&Failing>, trouble: Trouble, now: u64) -> Self {
        let (since, times) = row.map_or((now, 1), |row| (row.since.min(now), row.times.saturating_add(1)));
        let said = before.filter(|before| before.trouble == trouble).map_or(0, |before| before.said);
        Failing { trouble, since, at: now, times, said, not_before: 0 }
    }

    /// How long to wait after so many failures.
    fn wait(&self) -> u64 {
        let doublings = self.times.saturating_sub(FREE + 1).min(10);
        (FIRST_WAIT << doublings).min(LONGEST_WAIT)
    }

    /// True while it is too early for another try. A clock that went back, or a line that was damaged, makes nobody wait.
    pub fn is_waiting(&self, now: u64) -> bool {
        let is_sane = self.not_before.saturating_sub(self.at) <= LONGEST_DELAY;
        is_sane && (self.at..self.not_before).contains(&now)
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

/// Why there is a wait, and until when.
impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (times, phrase) = (text::counted(self.times as usize, "failure"), self.trouble.cause.phrase());
        let [since, until] = [self.since, self.not_before].map(text::time);
        write!(f, "not tried before {until}, after {times} in a row since {since}: {phrase}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Trouble {
        Trouble::new(Cause::Network, "cannot connect to `x`: connection refused")
    }

    fn failing(since: u64, at: u64, times: u32, said: u64) -> Failing {
        Failing { trouble: network(), since, at, times, said, not_before: 0 }
    }

    fn next(before: Option<&Failing>, trouble: Trouble, has_progress: bool, now: u64) -> Failing {
        Failing { not_before: 0, ..Failing::of_account(before, trouble, has_progress, None, now) }
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
            assert_eq!(next(before.as_ref(), network(), has_progress, now), expected);
        }
    }

    #[test]
    fn from_the_third_failure_on_the_wait_grows_up_to_a_limit() {
        const MINUTE: u64 = 60;
        for (cause, delay, waits) in [
            (Cause::Network, None, [0, 0, 5, 10, 20, 40, 80, 120, 120]),
            (Cause::InUse, None, [0, 0, 5, 10, 20, 40, 80, 120, 120]),
            (Cause::Throttled, None, [0, 0, 5, 10, 20, 40, 80, 120, 120]),
            (Cause::LoginDelay, Some(900), [0, 0, 15, 15, 20, 40, 80, 120, 120]),
            (Cause::LoginDelay, Some(3 * 3600), [0, 0, 180, 180, 180, 180, 180, 180, 180]),
            (Cause::LoginDelay, Some(u32::MAX), [0, 0, 1440, 1440, 1440, 1440, 1440, 1440, 1440]),
            (Cause::Server, None, [0; 9]),
            (Cause::Secret, None, [0; 9]),
            (Cause::Target, None, [0; 9]),
            (Cause::Other, Some(900), [0; 9]),
        ] {
            let (mut failing, mut target) = (None, None);
            for (nth, minutes) in waits.into_iter().enumerate() {
                let (now, trouble) = (100_000 + nth as u64, Trouble::new(cause, "x"));
                let next = Failing::of_account(failing.as_ref(), trouble.clone(), false, delay, now);
                let wait = next.not_before.saturating_sub(now);
                assert_eq!(wait, minutes * MINUTE, "{cause:?} {delay:?} {nth}");
                let of_target = Failing::of_target(target.as_ref(), trouble, false, None, now);
                assert_eq!(of_target.not_before.saturating_sub(now), [0, 0, 5, 10, 20, 40, 80, 120, 120][nth] * MINUTE);
                (failing, target) = (Some(next), Some(of_target));
            }
            let (failing, trouble) = (failing.unwrap(), Trouble::new(cause, "x"));
            let progress = Failing::of_account(Some(&failing), trouble.clone(), true, delay, 200_000);
            assert_eq!((progress.times, progress.not_before), (1, 0), "mail came");
            let huge = Failing { times: u32::MAX, ..failing };
            assert!(
                Failing::of_target(Some(&huge), trouble, false, None, 200_000).not_before <= 200_000 + 120 * MINUTE
            );
        }
    }

    #[test]
    fn what_a_server_of_a_target_announces_counts_at_once_and_has_a_limit() {
        let busy = || Trouble::new(Cause::Target, "answered `503`");
        let waits = |before: Option<&Failing>, seconds| {
            Failing::of_target(before, busy(), false, Some(seconds), 1000).not_before.saturating_sub(1000)
        };
        assert_eq!([0, 1, 3600, u64::MAX].map(|seconds| waits(None, seconds)), [0, 1, 3600, LONGEST_DELAY]);
        let third = Failing { trouble: busy(), ..failing(1, 1, 2, 0) };
        assert_eq!([1, 3600].map(|seconds| waits(Some(&third), seconds)), [FIRST_WAIT, 3600], "the longer one");
    }

    #[test]
    fn what_makes_nobody_wait_does_not_lengthen_the_wait() {
        let mut failing = None;
        for nth in 0..9 {
            let trouble = Trouble::new(Cause::Target, "locked");
            failing = Some(Failing::of_account(failing.as_ref(), trouble, false, None, 1000 + nth));
        }
        let failing = Failing::of_account(failing.as_ref(), network(), false, None, 2000);
        assert_eq!((failing.times, failing.not_before, failing.since), (1, 0, 2000));
    }

    #[test]
    fn a_wait_ends_and_no_clock_makes_it_endless() {
        let waiting = |at, not_before| Failing { not_before, ..failing(1, at, 3, 0) };
        for (failing, now, is_waiting) in [
            (waiting(1000, 0), 1000, false),
            (waiting(1000, 1300), 1000, true),
            (waiting(1000, 1300), 1299, true),
            (waiting(1000, 1300), 1300, false),
            // The clock went back.
            (waiting(1000, 1300), 999, false),
            (waiting(1000, 1300), 0, false),
            // A line that nobody wrote.
            (waiting(0, u64::MAX), 1000, false),
            (waiting(u64::MAX, u64::MAX), 1000, false),
            (waiting(1000, 1000 + 86400), 2000, true),
            (waiting(1000, 1001 + 86400), 2000, false),
        ] {
            assert_eq!(failing.is_waiting(now), is_waiting, "{failing:?} {now}");
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
            let after = next(Some(&before), Trouble::new(cause, words), false, 700);
            let row = if cause == Cause::Target { (700, 1) } else { (100, 4) };
            assert_eq!((after.said, (after.since, after.times)), (said, row), "{words}");
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
