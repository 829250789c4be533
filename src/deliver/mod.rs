//! Delivery: from octets to a message that is durable and visible at home, or not there at all.
//!
//! Three steps, each of whose results is the only input of the next (DESIGN §5): [`Stager::stage`] writes where
//! nobody looks, [`Publisher::sync`] makes a batch durable and fixes its places, [`Publisher::publish`] makes it
//! visible. Between the last two the ledger writes its intents; after a crash [`recover`] answers, for one
//! intended place, whether the message got there. Knows nothing of networks or unique-ids.

use std::path::PathBuf;

/// Where a message goes; written to the ledger before it is published there, so it must say enough for
/// recovery, whatever the configuration says by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The Maildir folder and the file's unique name, below `tmp` until published and below `new` from then on.
    Maildir {
        /// The Maildir (the folder that holds `tmp`, `new` and `cur`).
        maildir: PathBuf,
        /// The file's name, without folder.
        name: String,
    },
    /// A range of an mbox file.
    Mbox {
        /// The mbox.
        path: PathBuf,
        /// Where the message's From_ line begins (or the blank line that had to be put before it).
        offset: u64,
        /// Octets up to the end of the blank line after the message.
        length: u64,
        /// The spool file that holds the same octets, and where they begin in it.
        spool: PathBuf,
        /// See `spool`.
        spool_offset: u64,
    },
    /// An MDA took it; nothing can be looked up later.
    Mda,
}
