//! The AUTHORIZATION state (RFC 1939 §4): greeting, capabilities, STLS, login.

use std::fmt;

use super::capabilities::Capabilities;
use super::command::Command;
use super::connection::{Awaited, Connection, Expected, Limits, Refused, Transport};
use super::error::{Error, Missing};
use super::reply::Status;
use super::sasl;
use super::transaction::Transaction;
use crate::account::{Auth, Password};

/// Who logs in, with what, and how.
#[derive(Clone)]
pub struct Credentials {
    /// The mailbox name.
    pub user: String,
    /// The secret.
    pub password: Password,
    /// The way to prove it.
    pub auth: Auth,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?}, {:?}, ****)", self.user, self.auth)
    }
}

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
                let refused = Refused::new(text);
                return Err(Error::Unwelcome { code: refused.code, text: refused.text });
            }
        };
        Ok(Authorization { connection, timestamp, capabilities: None })
    }

    /// Asks for the capabilities. A server that does not know CAPA has none.
    pub fn capa(&mut self) -> Result<&Capabilities, Error> {
        let asked = capa(&mut self.connection)?;
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
        match self.method(credentials.auth) {
            Auth::Apop => self.apop(credentials)?,
            Auth::Plain => self.auth_plain(credentials)?,
            Auth::User | Auth::Auto => self.user_pass(credentials)?,
        }
        Transaction::begin(self.connection, self.capabilities)
    }

    /// AUTH PLAIN before USER and PASS: one round trip instead of two, and passwords that are not ASCII have a
    /// defined form.
    fn method(&self, configured: Auth) -> Auth {
        let announced = |mechanism| self.capabilities.as_ref().is_some_and(|known| known.has_sasl(mechanism));
        match configured {
            Auth::Auto if announced("PLAIN") => Auth::Plain,
            other => other,
        }
    }

    fn user_pass(&mut self, credentials: &Credentials) -> Result<(), Error> {
        self.connection.command(Command::User(&credentials.user))?.map_err(login_refused)?;
        self.connection.command(Command::Pass(&credentials.password))?.map_err(login_refused)?;
        Ok(())
    }

    fn apop(&mut self, credentials: &Credentials) -> Result<(), Error> {
        let timestamp = self.timestamp.as_deref().ok_or(Error::NotOffered(Missing::ApopTimestamp))?;
        let digest = sasl::apop(timestamp, credentials);
        self.connection.command(Command::Apop(&credentials.user, &digest))?.map_err(login_refused)?;
        Ok(())
    }

    fn auth_plain(&mut self, credentials: &Credentials) -> Result<(), Error> {
        let message = sasl::plain(credentials);
        // A command line is at most 255 octets long, CRLF included (RFC 5034 §4).
        if "AUTH PLAIN ".len() + message.len() + 2 <= 255 {
            self.connection.command(Command::Auth("PLAIN", Some(&message)))?.map_err(login_refused)?;
            return Ok(());
        }
        let awaited = Awaited::Reply(Command::Auth("PLAIN", None).verb());
        self.connection.queue(Command::Auth("PLAIN", None));
        self.connection.flush(awaited)?;
        match self.connection.status(awaited, Expected::Reply)? {
            Status::Challenge(_) => {}
            Status::Err(text) => return Err(login_refused(Refused::new(text))),
            Status::Ok(text) => {
                return Err(Error::Malformed { awaited, line: text.to_vec(), expected: "a challenge, `+ `" });
            }
        }
        self.connection.command(Command::Continuation(&message))?.map_err(login_refused)?;
        Ok(())
    }
}

/// What is kept of a greeting over STLS.
pub struct Greeting {
    timestamp: Option<Vec<u8>>,
}

/// CAPA, in either state.
pub fn capa<T: Transport>(connection: &mut Connection<T>) -> Result<Capabilities, Error> {
    let verb = Command::Capa.verb();
    let mut capabilities = Capabilities::default();
    if connection.command(Command::Capa)?.is_err() {
        return Ok(capabilities);
    }
    let (mut lines, limit) = (0, connection.limits.capabilities);
    connection.lines(verb, |line| {
        lines += 1;
        if lines > limit {
            return Err(Error::TooMuch { awaited: Awaited::Lines(verb), what: format!("more than {limit} lines") });
        }
        capabilities.note(line);
        Ok(())
    })?;
    Ok(capabilities)
}

fn login_refused(refused: Refused) -> Error {
    Error::LoginRefused { code: refused.code, text: refused.text }
}
