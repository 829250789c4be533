//! One test binary: what is shared comes first, then a module for each thing that is promised.

/// The servers that the tests talk to, in memory, over TCP and over TLS.
mod server;
