//! The POP3 session (RFC 1939, with CAPA of RFC 2449, STLS of RFC 2595, AUTH of RFC 5034).
//!
//! Octets in, octets out: this room knows no disk, no socket, no TLS and no clock. The states of the RFC are
//! types: [`Authorization`] becomes [`Transaction`] by logging in, and [`Transaction::update`] ends it. Dropping
//! either one deletes nothing on the server (RFC 1939 §6). Everything that comes from the server is bounded by
//! [`Limits`] and stays `&[u8]` until it is shown.

mod auth;
mod authorization;
mod capabilities;
mod command;
mod connection;
mod credentials;
mod error;
mod heads;
mod listing;
mod method;
mod offer;
mod reply;
mod retrieval;
mod sasl;
mod transaction;
pub mod unstuff;
mod window;

pub use authorization::Authorization;
pub use capabilities::{Capabilities, Expire};
pub use command::{Command, Verb};
pub use connection::{Expected, Limits, Trace, Transport};
pub use credentials::Credentials;
pub use error::{Error, Missing};
pub use heads::Head;
pub use method::Method;
pub use reply::ResponseCode;
pub use retrieval::{Body, CopyError, Incoming, Retrieval, Size, Wanted};
pub use sasl::{Exchange, Explanation, Mechanism, Problem, TokenError};
pub use transaction::{Refusal, Survey, Transaction, Update};
pub use window::Window;
