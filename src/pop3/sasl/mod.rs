//! SASL mechanisms as a client plays them (RFC 4422): what is said first, and what is said to each challenge.
//!
//! Octets only. `auth` carries them over the line, in base64; nothing here reads or writes. Hashes come from the
//! `digest` family of crates and SASLprep from `stringprep`. No SASL framework is used: SCRAM aside the mechanisms are
//! a line or two of format each, and what matters here lies inside of the exchanges: bounds on what a server may ask
//! for, and the words for a token that it does not take.

mod bearer;
mod digest;
mod hash;
mod scram;
mod simple;

use std::fmt;

use zeroize::Zeroizing;

use super::credentials::Credentials;
use crate::text::printable;
use bearer::Bearer;
pub use bearer::TokenError;
pub use digest::{apop, timestamp};
use hash::Hash;
use scram::Scram;
use simple::{CramMd5, Login, Once};

/// A mechanism of AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN.
    Login,
    /// CRAM-MD5 (RFC 2195).
    CramMd5,
    /// SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// SCRAM-SHA-1-PLUS.
    ScramSha1Plus,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-256-PLUS.
    ScramSha256Plus,
    /// EXTERNAL (RFC 4422 appendix A).
    External,
    /// XOAUTH2.
    XOAuth2,
    /// OAUTHBEARER (RFC 7628).
    OAuthBearer,
}

impl Mechanism {
    /// As it is registered, and announced.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::External => "EXTERNAL",
            Mechanism::XOAuth2 => "XOAUTH2",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// Begins an exchange; `binding` is what the line has for the -PLUS mechanisms.
    pub fn begin(self, credentials: &Credentials, binding: Option<Vec<u8>>) -> Result<Box<dyn Exchange>, Problem> {
        Ok(match self {
            Mechanism::Plain => Box::new(Once::plain(credentials)),
            Mechanism::External => Box::new(Once::external(credentials)),
            Mechanism::Login => Box::new(Login::new(credentials)),
            Mechanism::CramMd5 => Box::new(CramMd5::new(credentials)),
            Mechanism::ScramSha1 => Box::new(Scram::new(Hash::Sha1, credentials, None)?),
            Mechanism::ScramSha256 => Box::new(Scram::new(Hash::Sha256, credentials, None)?),
            Mechanism::ScramSha1Plus => Box::new(Scram::new(Hash::Sha1, credentials, Some(bound(binding)?))?),
            Mechanism::ScramSha256Plus => Box::new(Scram::new(Hash::Sha256, credentials, Some(bound(binding)?))?),
            Mechanism::XOAuth2 => Box::new(Bearer::xoauth2(credentials)),
            Mechanism::OAuthBearer => Box::new(Bearer::oauthbearer(credentials)),
        })
    }
}

fn bound(binding: Option<Vec<u8>>) -> Result<Vec<u8>, Problem> {
    binding.ok_or(Problem::NoBinding)
}

/// What the client says: overwritten when it is dropped, because a secret is in it, or what was made of one.
pub type Message = Zeroizing<Vec<u8>>;

/// The client's side of one exchange.
pub trait Exchange {
    /// What the client says first, in mechanisms where it does; to be asked for once.
    fn initial(&mut self) -> Option<Message>;

    /// The response to a challenge. After a problem the exchange is to be cancelled.
    fn respond(&mut self, challenge: &[u8]) -> Result<Message, Problem>;

    /// The server has said `+OK`: may it?
    fn accepted(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// The server has said `-ERR`: what its challenges told about it.
    fn explanation(&self) -> Option<Explanation> {
        None
    }
}

/// Why the client gives an exchange up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A challenge where none is due.
    Unexpected,
    /// A challenge that does not have its form.
    Malformed(&'static str),
    /// A nonce that does not continue ours: an answer to somebody else's exchange (RFC 5802 §5).
    ForeignNonce,
    /// An iteration count out of bounds.
    Iterations {
        /// What the server wants.
        wanted: u64,
        /// The least and the most that it gets.
        bounds: (u64, u64),
    },
    /// The server does not know the password, though it says that it does.
    WrongProof,
    /// The server accepted without proving that it knows the password.
    NoProof,
    /// The user name or the password has characters that SASLprep forbids (RFC 4013).
    Unpreparable,
    /// A -PLUS mechanism on a line without channel binding.
    NoBinding,
    /// The operating system has no random octets.
    NoRandomness,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Unexpected => f.write_str("the server goes on asking where nothing more is due"),
            Problem::Malformed(expected) => write!(f, "the server's challenge is not {expected}"),
            Problem::ForeignNonce => f.write_str("the server's nonce does not continue ours"),
            Problem::Iterations { wanted, bounds: (least, most) } => {
                write!(f, "the server wants {wanted} iterations; from {least} to {most} are taken")
            }
            Problem::WrongProof => f.write_str("the server's proof is wrong: it does not know the password"),
            Problem::NoProof => f.write_str("the server did not prove that it knows the password"),
            Problem::Unpreparable => {
                f.write_str("the user name or the password has characters that the mechanism does not allow")
            }
            Problem::NoBinding => f.write_str("the connection has no channel binding; it takes TLS"),
            Problem::NoRandomness => f.write_str("the system has no random octets"),
        }
    }
}

/// What a server told of a refusal before it refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// Why it does not take the token.
    Token(TokenError),
    /// The `e=` of SCRAM (RFC 5802 §7).
    Scram(Vec<u8>),
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Explanation::Token(error) => error.fmt(f),
            Explanation::Scram(error) => write!(f, "its reason: `{}`", printable(error)),
        }
    }
}

#[cfg(test)]
pub fn credentials(user: &str, secret: &str) -> Credentials {
    use crate::account::{Auth, Password, SecretKind};
    Credentials { user: user.into(), password: Password::new(secret), kind: SecretKind::Password, auth: Auth::Auto }
}
