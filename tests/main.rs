//! One test binary: what is shared comes first, then a module for each thing that is promised.

/// The servers that the tests talk to, in memory, over TCP and over TLS.
mod server;

/// A home directory for each test, and runs of the binary in it.
mod sandbox;

/// The arrows between the rooms of `src/`.
mod floors;

/// Login, STLS, capabilities, listings, refusals, deadlines: the server's point of view.
mod session;

/// What arrives in a Maildir, an mbox or an MDA: octets, names, modes, locks.
mod delivery;

/// Interrupted at every line, killed at any moment, and carried on.
mod resume;

/// Where a password may come from, and where it may not be seen.
mod secrets;

/// Account definitions and their mistakes.
mod config;

/// A test for each exit status.
mod exit_status;

/// One run an account.
mod locks;

/// SIGINT, SIGTERM and SIGHUP in the middle of things.
mod signals;

/// Round trips, system calls and flushes: counted, never timed.
mod counts;

/// A real Dovecot as the last word.
mod interop;

/// The documents say what the program does, and the other way round.
mod docs;
