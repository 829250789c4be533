//! Room at home for what a plan wants.

use crate::account::Account;
use crate::deliver::{Context, Disks, Error, Room};
use crate::ledger::Lanes;
use crate::notice::Notice;
use crate::plan::Plan;

/// What there is room for.
#[derive(Debug, Default)]
pub struct AtHome {
    /// Targets for which there is none, by their position, and why.
    pub full: Vec<(usize, Error)>,
    /// Of the others, where there is least; `None` where nobody wants to know.
    pub room: Option<Room>,
}

impl AtHome {
    /// Looks at the disks of those of these lanes that some message of the plan is to go to. Where the account has no
    /// `min_free`, or nothing is to come, nothing is asked.
    pub fn of(plan: &Plan, account: &Account, open: Lanes, context: &Context) -> Self {
        let mut at_home = AtHome::default();
        let Some(least) = account.min_free else { return at_home };
        for (number, target) in account.targets.iter().enumerate().filter(|(number, _)| open.has(*number)) {
            if !plan.retrieve.iter().any(|key| key.bound_for().has(number)) {
                continue;
            }
            match Disks::of(target, least, context).and_then(|disks| disks.room()) {
                Ok(room) if at_home.octets().is_some_and(|octets| octets <= room.octets) => {}
                Ok(room) => at_home.room = Some(room),
                Err(error) => at_home.full.push((number, error)),
            }
        }
        at_home
    }

    /// Octets for which there is room at each of them.
    pub fn octets(&self) -> Option<u64> {
        self.room.as_ref().map(|room| room.octets)
    }
}

/// The notice about so many messages that there is no room for, if there are any.
pub fn no_room(messages: usize, Room { folder: path, free, least, .. }: Room) -> Option<Notice> {
    (messages > 0).then_some(Notice::NoRoom { messages, path, free, least })
}
