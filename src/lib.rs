//! popfetch brings mail home from POP3 servers (RFC 1939).
//!
//! The rooms, from the top floor down; imports only go down, and rooms of one floor are strangers to one
//! another (`tests/floors.rs` holds them to it):
//!
//! * [`cli`]: what the user may type. `lib.rs` itself: one run, from arguments to exit status.
//! * [`fetch`], [`report`], [`progress`]: one account from connect to QUIT; what is said about it.
//! * [`config`], [`net`], [`pop3`], [`deliver`], [`ledger`], [`plan`], [`header`]: one skill each.
//! * [`account`], [`maildrop`], [`stop`], [`text`]: plain values that everyone may know.

pub mod account;
pub mod maildrop;
pub mod stop;
pub mod text;

pub mod cli;
pub mod config;
pub mod deliver;
pub mod header;
pub mod ledger;
pub mod net;
pub mod plan;
pub mod pop3;

use std::process::ExitCode;

/// Runs the program on the process's own arguments and returns its exit status.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
