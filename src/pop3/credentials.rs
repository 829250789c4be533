//! Who logs in.

use std::fmt;

use crate::account::{Auth, Password, SecretKind};

/// Who logs in, with what, and how.
#[derive(Clone)]
pub struct Credentials {
    /// The mailbox name.
    pub user: String,
    /// The secret; empty for EXTERNAL, which needs none.
    pub password: Password,
    /// What the secret is: a token is never sent where a password is due.
    pub kind: SecretKind,
    /// The way to prove it.
    pub auth: Auth,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?}, {:?}, ****)", self.user, self.auth)
    }
}
