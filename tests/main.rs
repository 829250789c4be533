//! One test binary: what is shared comes first, then a module for each thing that is promised.

/// The servers that the tests talk to, in memory, over TCP and over TLS.
mod server;

/// A home directory for each test, and runs of the binary in it.
mod sandbox;

/// Proof that a message may be deleted, for a session without a run.
mod proof;

/// Faults at an exact system call.
mod faults;

/// The arrows between the rooms of `src/`.
mod floors;

/// Login, STLS, capabilities, listings, refusals, deadlines: the server's point of view.
mod session;

/// The ways to a server: proxies, tunnels, sockets, source addresses.
mod connection;

/// AUTH: every mechanism, its forms, refusals and traces.
mod sasl;
/// Whom TLS trusts: pins, client certificates, names, and nobody at all. OpenSSL makes its files.
#[cfg(not(target_vendor = "apple"))]
mod tls;

/// What arrives in a Maildir, an mbox or an MDA: octets, names, modes, locks.
mod delivery;

/// An mbox in `/var/mail`, where only a group may make locks.
mod spool_folder;

/// The programs that popfetch runs: an MDA, a tunnel, a password command; and what they may do to it.
mod programs;

/// Root fetches for users, with their rights.
mod owner;

/// Interrupted at every line, killed at any moment, and carried on.
mod resume;

/// Killed before every call, cut off at every octet.
mod crash;

/// The steps of a commit, each after the one before.
mod order;
/// Every state that a power cut can leave: recorded, modelled, generated and tried.
mod states;

/// Targets that are gone, moved or out of reach.
mod places;

/// Disks that are full, broken or forbidden.
mod disk;

/// Fewer threads and descriptors than a run would like.
mod limits;

/// What changes on the server between two runs: ids, sizes, whole maildrops.
mod between;
/// One ledger a maildrop: accounts, runs by URL, targets that change, ledgers of earlier builds; and who only looks.
mod doors;

/// What a server may do to us, and what it may not: nonsense, silence, cuts, floods.
mod hostile;
/// What a person says of known messages, and what is shown of them.
mod marks;
/// Keys and options together, pair by pair.
mod pairs;
/// Failures in a row: what is reported of them, and how long an account waits.
mod patience;
/// What is there before the first run of an account, and counts as known.
mod start;

/// Rules and the filter.
mod rules;

/// What is fetched first, how much, and what stays on the server for how long.
mod selection;

/// A line that breaks, and is dialled again.
mod retries;

/// A message that a target refuses again and again.
mod quarantine;
/// Room that is to stay free at home.
mod room;
/// Many accounts, and how many of them at a time.
mod side_by_side;

/// Servers that hand out their messages in batches, and those that do not keep them for long.
mod batches;

/// What may have happened to the ledger, traps in shared folders, several runs at once.
mod state;

/// Replies out of step: a message that ends early, and what must not be taken for one.
mod in_step;

/// A very large message in a small memory.
mod memory;

/// Random octets: what no example thought of.
mod random;

/// Where a password may come from, and where it may not be seen.
mod secrets;

/// Questions on the terminal, and bars beside them.
mod prompts;

/// OAuth 2.0: signing in, refreshing, and a real authorization server.
mod oauth;

/// OAuth 2.0 of a service, without a person.
mod oauth_service;

/// Account definitions and their mistakes.
mod config;

/// What `--json` tells, and a standard output that fails.
mod events;

/// A test for each exit status.
mod exit_status;

/// `popfetch check`: each point good and bad, and nothing written.
mod check;

/// Servers that take mail: LMTP and SMTP, what they may do to us, and what arrives there.
mod relay;

/// Web applications that take mail, what they may do to us, and what arrives there.
mod http;

/// Mailboxes of IMAP servers of every kind: what arrives there, and that it does so once.
mod imap;

/// Real Dovecot and Cyrus as targets: octet for octet, and once whatever becomes of the line.
mod mailboxes;

/// Several targets for one account.
mod lanes;

/// What is on the server, and what a fetch would do with it, before it does.
mod list;

/// One run an account.
mod locks;

/// SIGINT, SIGTERM and SIGHUP in the middle of things.
mod signals;

/// Round trips, system calls and flushes: counted, never timed.
mod counts;

/// A real Dovecot as the last word.
mod interop;

/// popa3d, Courier, GNU mailutils, Twisted.
mod servers;

/// The documents say what the program does, and the other way round.
mod docs;
