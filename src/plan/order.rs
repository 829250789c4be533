//! The order in which messages are retrieved.

use crate::account::Order;
use crate::maildrop::Listing;

/// Puts positions of a listing, which ascend, into the order of retrieval. Of equal ones the server's order decides.
pub(super) fn sort(positions: &mut [usize], order: Order, listing: &Listing) {
    match order {
        Order::Oldest => {}
        Order::Newest => positions.reverse(),
        // A size that is not known may be any.
        Order::Smallest => positions.sort_by_key(|position| listing.get(*position).octets.unwrap_or(u64::MAX)),
    }
}
