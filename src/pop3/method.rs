//! The ways to log in.

use super::sasl::Mechanism;

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// USER and PASS (RFC 1939 §7).
    User,
    /// APOP (RFC 1939 §7).
    Apop,
    /// AUTH (RFC 5034).
    Sasl(Mechanism),
}

/// The ways for a token; the one with an RFC first.
pub(super) const FOR_TOKENS: [Method; 2] = [Method::Sasl(Mechanism::OAuthBearer), Method::Sasl(Mechanism::XOAuth2)];

impl Method {
    /// What the protocol calls it.
    pub fn name(self) -> &'static str {
        match self {
            Method::User => "USER",
            Method::Apop => "APOP",
            Method::Sasl(mechanism) => mechanism.name(),
        }
    }

    /// True when whoever reads the line reads the secret.
    pub fn reveals_secret(self) -> bool {
        use Mechanism::{Login, OAuthBearer, Plain, XOAuth2};
        matches!(self, Method::User | Method::Sasl(Plain | Login | XOAuth2 | OAuthBearer))
    }

    /// True when the secret is a token.
    pub fn is_for_tokens(self) -> bool {
        FOR_TOKENS.contains(&self)
    }
}
