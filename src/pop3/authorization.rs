//! The AUTHORIZATION state (RFC 1939 §4): greeting, capabilities, STLS, login.

use super::auth::auth;
use super::capabilities::Capabilities;
use super::command::{Awaited, Command};
use super::connection::{Connection, Expected, Limits, Refused, Transport};
use super::credentials::Credentials;
use super::error::{Error, Missing};
use super::method::Method;
use super::offer::Offer;
use super::reply::Status;
use super::sasl;
use super::transaction::Transaction;

/// A session that is not logged in.
pub struct Authorization<T> {
    connection: Connection<T>,
    timestamp: Option<Vec<u8>>,
    /// `None` until asked, and again after STLS: what was said in clear does not count (RFC 2595 §4).
    capabilities: Option<Capabilities>,
}

impl<T: Transport> Authorization<T> {
    /// Waits for the greeting.
    ///
    /// # Errors
    /// [`Error::Unwelcome`] for `-ERR`, often a server that is busy.
    pub fn greet(io: T, limits: Limits) -> Result<Self, Error> {
        let mut connection = Connection::new(io, limits);
        let timestamp = match connection.status(Awaited::Greeting, Expected::Greeting)? {
            Status::Ok(text) => sasl::timestamp(text),
            Status::Err(text) | Status::Challenge(text) => {
                let text = text.to_vec();
                let refused = connection.refused(&text);
                return Err(Error::Unwelcome { code: refused.code, text: refused.text });
            }
        };
        Ok(Authorization { connection, timestamp, capabilities: None })
    }

    /// Asks for the capabilities. A server that does not know CAPA has none.
    pub fn capa(&mut self) -> Result<&Capabilities, Error> {
        let asked = Capabilities::ask(&mut self.connection)?;
        Ok(self.capabilities.insert(asked))
    }

    /// Begins TLS: once this returns, the handshake runs over the line that is handed back, and then
    /// [`Authorization::resume`] goes on.
    ///
    /// # Errors
    /// When the server does not offer STLS or refuses it, and when octets came behind its reply, which were sent in
    /// clear (CVE-2011-0411 is what trusting them leads to).
    pub fn stls(mut self) -> Result<(T, Greeting), Error> {
        let offered = self.capabilities.as_ref().is_some_and(|capabilities| capabilities.stls);
        if !offered {
            return Err(Error::NotOffered(Missing::Stls));
        }
        let verb = Command::Stls.verb();
        self.connection.command(Command::Stls)?.map_err(|refused| refused.fatal(verb))?;
        let io = self.connection.into_io().ok_or(Error::InjectedBeforeTls)?;
        Ok((io, Greeting { timestamp: self.timestamp }))
    }

    /// Goes on behind STLS and its handshake, with the greeting from before; capabilities are forgotten.
    pub fn resume(io: T, greeting: Greeting, limits: Limits) -> Self {
        let connection = Connection::new(io, limits);
        Authorization { connection, timestamp: greeting.timestamp, capabilities: None }
    }

    /// Logs in.
    ///
    /// # Errors
    /// [`Error::LoginRefused`] when the server says no. No other way of logging in is tried then.
    pub fn authenticate(mut self, credentials: &Credentials) -> Result<Transaction<T>, Error> {
        // One of these would end the command and begin another.
        if [credentials.user.as_str(), credentials.password.reveal()]
            .iter()
            .any(|text| text.contains(['\r', '\n', '\0']))
        {
            return Err(Error::Unsendable);
        }
        self.connection.secrets.push(credentials.password.clone());
        match self.method(credentials)? {
            Method::User => self.user_pass(credentials)?,
            Method::Apop => self.apop(credentials)?,
            Method::Sasl(mechanism) => {
                let binding = self.connection.io().server_end_point();
                let exchange =
                    mechanism.begin(credentials, binding).map_err(|problem| Error::Exchange { mechanism, problem })?;
                auth(&mut self.connection, mechanism, exchange)?;
            }
        }
        Transaction::begin(self.connection, self.capabilities)
    }

    /// True when [`Authorization::authenticate`] will send the secret itself over a line that is not encrypted.
    pub fn exposes_secret(&self, credentials: &Credentials) -> bool {
        !self.connection.is_encrypted() && self.method(credentials).is_ok_and(Method::reveals_secret)
    }

    /// What the server announced last, if it was asked.
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref()
    }

    /// The line below.
    pub fn line(&mut self) -> &mut T {
        self.connection.io()
    }

    /// The way in which [`Authorization::authenticate`] will log in; the secret does not matter.
    pub fn method(&self, credentials: &Credentials) -> Result<Method, Error> {
        let offer = Offer {
            capabilities: self.capabilities.as_ref(),
            has_timestamp: self.timestamp.is_some(),
            is_encrypted: self.connection.is_encrypted(),
        };
        offer.choose(credentials)
    }

    fn user_pass(&mut self, credentials: &Credentials) -> Result<(), Error> {
        let refused = |refused| login_refused(Method::User, refused);
        self.connection.command(Command::User(&credentials.user))?.map_err(refused)?;
        self.connection.command(Command::Pass(&credentials.password))?.map_err(refused)?;
        Ok(())
    }

    fn apop(&mut self, credentials: &Credentials) -> Result<(), Error> {
        let timestamp = self.timestamp.as_deref().ok_or(Error::NotOffered(Missing::ApopTimestamp))?;
        let digest = sasl::apop(timestamp, credentials);
        let refused = |refused| login_refused(Method::Apop, refused);
        self.connection.command(Command::Apop(&credentials.user, &digest))?.map_err(refused)?;
        Ok(())
    }
}

/// What is kept of a greeting over STLS.
pub struct Greeting {
    timestamp: Option<Vec<u8>>,
}

fn login_refused(method: Method, refused: Refused) -> Error {
    Error::LoginRefused { method, code: refused.code, text: refused.text, explanation: None }
}
