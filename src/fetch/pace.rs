//! How long a large first run takes, for the person who waits for it.
//!
//! Nothing but the transfer itself tells how fast it goes, so this is said once its first seconds have passed.

use std::time::{Duration, Instant};

use crate::progress::Progress;
use crate::text::{counted, length, octets};

/// A run that brings more than this is large.
const MESSAGES: usize = 5000;
const OCTETS: u64 = 1_000_000_000;

/// The pace of so short a time says little.
const FIRST: Duration = Duration::from_secs(3);

/// What a large run is to bring, and what has come.
pub struct Pace<'p> {
    progress: &'p Progress,
    /// The account's name, as it is shown.
    account: String,
    /// Then nothing counts as fetched by a word.
    is_of_url: bool,
    began: Instant,
    messages: (usize, usize),
    /// Octets in all, where the server has announced them.
    octets: (u64, Option<u64>),
}

impl<'p> Pace<'p> {
    /// Of a transfer that begins now; `None` for one that is not large.
    pub fn begin(
        progress: &'p Progress,
        account: String,
        is_of_url: bool,
        messages: usize,
        octets: Option<u64>,
    ) -> Option<Self> {
        let is_large = messages > MESSAGES || octets.is_some_and(|octets| octets > OCTETS);
        let (messages, octets) = ((0, messages), (0, octets));
        is_large.then(|| Pace { progress, account, is_of_url, began: Instant::now(), messages, octets })
    }

    /// Notes a message of so many octets. True when it has been said how long the rest takes.
    pub fn came(&mut self, octets: u64) -> bool {
        self.messages.0 += 1;
        self.octets.0 = self.octets.0.saturating_add(octets);
        let elapsed = self.began.elapsed();
        let is_told = elapsed >= FIRST;
        if is_told {
            self.progress.println(&self.line(elapsed));
        }
        is_told
    }

    fn line(&self, elapsed: Duration) -> String {
        let Pace { account, messages: (_, messages), octets: (_, all), .. } = self;
        let size = all.map_or_else(String::new, |all| format!(" ({})", octets(all)));
        let less = if self.is_of_url { "" } else { ", and `popfetch state known` lets the rest count as fetched" };
        format!(
            "popfetch: {account}: this first run brings {}{size}, and at its pace so far takes {} more; when it is \
             interrupted, the next one goes on{less}",
            counted(*messages, "message"),
            length(self.left(elapsed).as_secs())
        )
    }

    /// How long the rest takes at the pace so far: by octets, where they are known, else by messages.
    fn left(&self, elapsed: Duration) -> Duration {
        let share =
            |(came, all): (u64, u64)| if came == 0 { 0.0 } else { all.saturating_sub(came) as f64 / came as f64 };
        let messages = (self.messages.0 as u64, self.messages.1 as u64);
        let rest = share(self.octets.1.map_or(messages, |all| (self.octets.0, all)));
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * rest).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(progress: &Progress, came: (usize, u64), all: (usize, Option<u64>)) -> Pace<'_> {
        let mut pace = Pace::begin(progress, "work".into(), false, all.0, all.1).unwrap();
        (pace.messages.0, pace.octets.0) = came;
        pace
    }

    #[test]
    fn only_many_messages_or_octets_are_worth_a_line() {
        let progress = Progress::new(false);
        let is_large = |messages, octets| Pace::begin(&progress, "work".into(), false, messages, octets).is_some();
        assert!(!is_large(5000, Some(OCTETS)) && !is_large(5000, None));
        assert!(is_large(5001, Some(1)) && is_large(1, Some(OCTETS + 1)) && is_large(5001, None));
    }

    #[test]
    fn the_rest_goes_on_at_the_pace_so_far() {
        let progress = Progress::new(false);
        let left = |came, all| pace(&progress, came, all).left(Duration::from_secs(4)).as_secs();
        assert_eq!(left((10, 1000), (6000, Some(11_000))), 40, "octets tell more than messages");
        assert_eq!(left((100, 1000), (6100, None)), 240);
        assert_eq!(left((1, 2000), (6000, Some(1000))), 0, "more than announced");
        assert_eq!(left((1, 0), (6000, Some(u64::MAX))), 0, "no pace at all");
        let line = pace(&progress, (100, 1 << 20), (6100, Some(61 << 20))).line(Duration::from_secs(4));
        assert_eq!(
            line,
            "popfetch: work: this first run brings 6100 messages (61.0 MiB), and at its pace so far takes 4 minutes \
             more; when it is interrupted, the next one goes on, and `popfetch state known` lets the rest count as fetched"
        );
    }
}
