//! One test binary: what is shared comes first, then a module for each thing that is promised.

/// The servers that the tests talk to, in memory, over TCP and over TLS.
mod server;

/// A home directory for each test, and runs of the binary in it.
mod sandbox;

/// The arrows between the rooms of `src/`.
mod floors;

/// A real Dovecot as the last word.
mod interop;
