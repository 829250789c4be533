//! The servers that the tests talk to.
//!
//! `script`: a conversation word by word, in memory ([`script::Dialogue`]). `wire`: the same over TCP and TLS.
//! `maildrop`: a real little POP3 server with messages, faults and a log. `responder`: replies made up on the fly.
//! `mta`: takes messages by LMTP and SMTP. `imap`: takes them by IMAP, and can be asked. `web`: takes them by HTTP.
//! `certificates`: whom TLS may trust. `endpoint`: what OAuth 2.0 asks for tokens.

pub mod certificates;
pub mod endpoint;
pub mod imap;
pub mod maildrop;
pub mod mta;
pub mod responder;
pub mod script;
pub mod web;
pub mod wire;

#[cfg(test)]
mod maildrop_tests;

pub use certificates::{Authority, Identity};
pub use endpoint::{Answer, Endpoint, Form};
pub use imap::{Family, Imap};
pub use maildrop::{Builder, ENDLESS, Fault, HANG_UP, Mail, Maildrop, Misdeed, Moment, STALL};
pub use mta::{Act, Mta};
pub use responder::Responder;
pub use web::{Deed, Web};
pub use wire::ScriptServer;
