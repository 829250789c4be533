//! Memory for the listings of a run: one budget, of which each account has a share for as long as its session lasts.
//!
//! A share grows as the listing comes. One that finds nothing left must give back what it has, and waits for more with
//! empty hands: so accounts never wait for one another in a circle.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::stop::{Stop, Stopped};

/// What all listings of a run may take together.
pub const BUDGET: usize = 256 << 20;

/// How often a waiting account looks for a wish to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The memory of a run. Clones are the same budget.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    octets: usize,
    taken: Mutex<usize>,
    given_back: Condvar,
}

impl Default for Budget {
    fn default() -> Self {
        Budget::new(BUDGET)
    }
}

impl Budget {
    /// A budget of so many octets.
    pub fn new(octets: usize) -> Self {
        Budget(Arc::new(Shared { octets, taken: Mutex::default(), given_back: Condvar::new() }))
    }

    /// A share that has nothing yet.
    pub fn share(&self) -> Arc<Share> {
        self.share_of(0)
    }

    fn share_of(&self, reserved: usize) -> Arc<Share> {
        Arc::new(Share { budget: self.clone(), state: Mutex::new(State { reserved, ..State::default() }) })
    }

    /// Waits until there are twice as many octets as `share` asked for in vain, or until everything is there. `None`: all
    /// of it would not be enough.
    ///
    /// # Errors
    /// The signal that asked to stop.
    pub fn wait_for_more(&self, share: Arc<Share>, stop: &Stop) -> Result<Option<Arc<Share>>, Stopped> {
        let Shared { octets, given_back, .. } = &*self.0;
        let wanted = share.state().wanted;
        if wanted > *octets {
            return Ok(None);
        }
        drop(share);
        let wanted = wanted.saturating_mul(2).min(*octets);
        let mut taken = self.taken();
        while octets - *taken < wanted {
            stop.check()?;
            taken = given_back.wait_timeout(taken, POLL_INTERVAL).expect("no panic holds it").0;
        }
        *taken += wanted;
        drop(taken);
        Ok(Some(self.share_of(wanted)))
    }

    fn taken(&self) -> MutexGuard<'_, usize> {
        self.0.taken.lock().expect("no panic holds it")
    }

    fn give_back(&self, octets: usize) {
        *self.taken() -= octets;
        self.0.given_back.notify_all();
    }
}

/// An account's part of the budget. Dropped, it is given back.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reserved: usize,
    used: usize,
    /// What was asked for and not to be had; 0: nothing.
    wanted: usize,
}

impl Share {
    /// Takes more; false when there is not so much left.
    pub fn take(&self, octets: usize) -> bool {
        let mut state = self.state();
        let used = state.used.saturating_add(octets);
        let missing = used.saturating_sub(state.reserved);
        let mut taken = self.budget.taken();
        if missing > self.budget.0.octets - *taken {
            state.wanted = used;
            return false;
        }
        *taken += missing;
        (state.used, state.reserved) = (used, state.reserved + missing);
        true
    }

    /// True when something was asked for in vain.
    pub fn is_exhausted(&self) -> bool {
        self.state().wanted > 0
    }

    /// The listing is complete: what was reserved for it and is not used goes to others.
    pub fn settle(&self) {
        let mut state = self.state();
        self.budget.give_back(state.reserved - state.used);
        state.reserved = state.used;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic holds it")
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let reserved = self.state().reserved;
        self.budget.give_back(reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn shares_take_what_is_there_and_give_it_back() {
        let budget = Budget::new(100);
        let (one, other) = (budget.share(), budget.share());
        assert!(one.take(60) && other.take(40) && !other.take(1));
        assert_eq!((one.is_exhausted(), other.is_exhausted()), (false, true));
        drop(one);
        assert!(other.take(60) && !other.take(1));
    }

    #[test]
    fn who_does_not_fit_waits_with_empty_hands() {
        let budget = Budget::new(100);
        let stop = Stop::new().unwrap();
        let (one, other) = (budget.share(), budget.share());
        assert!(one.take(60) && other.take(30) && !other.take(20));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.wait_for_more(other, &stop).unwrap().unwrap());
            // Together they would wait for each other, if it kept what it had.
            while !one.take(40) {
                thread::yield_now();
            }
            drop(one);
            let other = waiting.join().unwrap();
            assert!(other.take(100) && !other.take(1));
            assert!(budget.wait_for_more(other, &stop).unwrap().is_none(), "it does not fit alone");
        });
    }

    #[test]
    fn what_was_reserved_for_a_listing_and_not_used_goes_to_others() {
        let budget = Budget::new(100);
        let stop = Stop::new().unwrap();
        let (before, share) = (budget.share(), budget.share());
        assert!(before.take(50) && !share.take(60));
        drop(before);
        let share = budget.wait_for_more(share, &stop).unwrap().unwrap();
        assert!(share.take(10));
        let other = budget.share();
        assert!(!other.take(1));
        share.settle();
        assert!(other.take(90) && !other.take(1));
    }

    #[test]
    fn a_wish_to_stop_ends_the_wait() {
        let budget = Budget::new(100);
        let stop = Stop::new().unwrap();
        let (one, other) = (budget.share(), budget.share());
        assert!(one.take(100) && !other.take(1));
        stop.request(15);
        assert_eq!(budget.wait_for_more(other, &stop).unwrap_err(), Stopped { signal: 15 });
    }
}
