//! Which messages the first run of an account leaves alone for good, because they are from before its `start`.
//!
//! What has arrived since the first session must never be among them. That session may take whatever is listed for what
//! was there. A later one, for a provider that hands out a maildrop in parts or after a run that was interrupted, can
//! only go by what the last server has written into the message, and leaves a margin: clocks differ.

use std::fmt;
use std::time::Duration;

use super::View;
use crate::account::Start;
use crate::failure::{Failure, Kind};
use crate::ledger::{Begun, LaneSet, Standing};

/// What has arrived so short a time before the first session may as well have arrived after it.
const MARGIN: Duration = Duration::from_secs(86400);

/// What is from before `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// Whatever is listed.
    Listing,
    /// What came before this time: by its topmost `Received`, else by its `Date`.
    Dated(u64),
    /// The same by `Received` alone, since its author may have written any date.
    Received(u64),
}

/// Why it cannot be told what is from before `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoStart {
    /// The server has no UIDL.
    WithoutIds,
    /// The server does not answer TOP.
    WithoutTop,
    /// The clock is wrong.
    WithoutClock,
}

impl Border {
    /// For an account that has begun so far; `None` where everything is new. `clock` is now, where that can be trusted.
    pub fn of(start: Start, begun: Begun, clock: Option<u64>) -> Result<Option<Self>, NoStart> {
        let before = |time: u64, length: Duration| time.saturating_sub(length.as_secs());
        Ok(match (start, begun) {
            (Start::All, _) | (_, Begun::Wholly) => None,
            (Start::Now, Begun::Never) => Some(Border::Listing),
            (Start::From(time), Begun::Never) => Some(Border::Dated(time)),
            (Start::Within(length), Begun::Never) => {
                Some(Border::Dated(before(clock.ok_or(NoStart::WithoutClock)?, length)))
            }
            (Start::Now, Begun::Since(began)) => Some(Border::Received(before(began, MARGIN))),
            (Start::From(time), Begun::Since(began)) => Some(Border::Received(time.min(before(began, MARGIN)))),
            (Start::Within(length), Begun::Since(began)) => Some(Border::Received(before(began, length.max(MARGIN)))),
        })
    }

    /// True for a message with these dates. One without any is none.
    pub fn is_behind(self, received: Option<i64>, written: Option<i64>) -> bool {
        let is_before = |date: Option<i64>, time: u64| date.is_some_and(|date| date < i64::try_from(time).unwrap_or(0));
        match self {
            Border::Listing => true,
            Border::Dated(time) => is_before(received.or(written), time),
            Border::Received(time) => is_before(received, time),
        }
    }
}

impl View<'_> {
    /// Positions of messages that a first run would bring home, and that can be remembered; in ascending order. Of those
    /// that share their unique-id nobody can say which one is old.
    pub fn startable(&self, border: Border) -> Vec<usize> {
        let is_wanted = |position: usize| match self.standings.get(position) {
            Standing::New { .. } => true,
            // What has come to another target is owed to the account's own.
            Standing::Known(fact) => {
                let fact = self.ledger.facts().get(fact);
                fact.lanes == LaneSet::EMPTY && !self.ledger.lacks(&fact).is_empty()
            }
        };
        let is_told = |position: usize| border == Border::Listing || !self.standings.is_repeated(position);
        let has_id = |position: usize| !self.listing.get(position).unique_id.is_empty();
        (0..self.listing.len())
            .filter(|position| has_id(*position) && is_told(*position) && is_wanted(*position))
            .collect()
    }
}

impl Failure for NoStart {
    fn kind(&self) -> Kind {
        match self {
            NoStart::WithoutIds | NoStart::WithoutTop => Kind::Unavailable,
            NoStart::WithoutClock => Kind::Temporary,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            NoStart::WithoutIds => "leave `start` out",
            NoStart::WithoutTop => "write `start = \"now\"`, or leave `start` out",
            NoStart::WithoutClock => "set the clock right; nothing counts as known so far",
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for NoStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoStart::WithoutIds => "the server has no UIDL, so what is from before `start` cannot be remembered",
            NoStart::WithoutTop => "the server does not answer TOP, so `start` cannot tell how old messages are",
            NoStart::WithoutClock => "the clock of this machine is wrong, so `start` cannot tell how old messages are",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86400;
    const NOW: u64 = 1_795_423_680;
    const MONTH: Start = Start::Within(Duration::from_secs(30 * DAY));

    #[test]
    fn only_a_first_session_takes_the_listing_or_a_date_of_the_author_for_it() {
        let of = |start, begun| Border::of(start, begun, Some(NOW));
        for start in [Start::All, Start::Now, MONTH, Start::From(5)] {
            assert_eq!(of(start, Begun::Wholly), Ok(None), "{start:?}");
        }
        assert_eq!([Begun::Never, Begun::Since(NOW)].map(|begun| of(Start::All, begun)), [Ok(None); 2]);
        assert_eq!(of(Start::Now, Begun::Never), Ok(Some(Border::Listing)));
        assert_eq!(of(MONTH, Begun::Never), Ok(Some(Border::Dated(NOW - 30 * DAY))));
        assert_eq!(of(Start::From(5), Begun::Never), Ok(Some(Border::Dated(5))));
        let began = Begun::Since(NOW - 2 * DAY);
        assert_eq!(of(Start::Now, began), Ok(Some(Border::Received(NOW - 3 * DAY))));
        assert_eq!(of(MONTH, began), Ok(Some(Border::Received(NOW - 32 * DAY))));
        assert_eq!(of(Start::Within(Duration::from_secs(1)), began), Ok(Some(Border::Received(NOW - 3 * DAY))));
        assert_eq!(of(Start::From(5), began), Ok(Some(Border::Received(5))));
        assert_eq!(of(Start::From(NOW), began), Ok(Some(Border::Received(NOW - 3 * DAY))));
    }

    #[test]
    fn a_wrong_clock_ends_only_what_counts_from_it() {
        assert_eq!(Border::of(MONTH, Begun::Never, None), Err(NoStart::WithoutClock));
        assert_eq!(Border::of(Start::Now, Begun::Never, None), Ok(Some(Border::Listing)));
        assert_eq!(Border::of(Start::From(5), Begun::Never, None), Ok(Some(Border::Dated(5))));
        let border = Border::of(MONTH, Begun::Since(0), None).unwrap().unwrap();
        assert!(!border.is_behind(Some(1), Some(1)), "nobody knows when it began");
    }

    #[test]
    fn what_has_no_date_or_lies_at_the_border_is_not_behind_it() {
        for (border, received, written, expected) in [
            (Border::Dated(9), Some(8), None, true),
            (Border::Dated(9), Some(9), Some(1), false),
            (Border::Dated(9), None, Some(8), true),
            (Border::Dated(9), None, Some(9), false),
            (Border::Dated(9), None, None, false),
            (Border::Dated(9), Some(-8), None, true),
            (Border::Dated(u64::MAX), Some(8), None, false),
            (Border::Received(9), Some(8), None, true),
            (Border::Received(9), Some(9), None, false),
            (Border::Received(9), None, Some(8), false),
            (Border::Listing, None, None, true),
        ] {
            assert_eq!(border.is_behind(received, written), expected, "{border:?} {received:?} {written:?}");
        }
    }
}
