//! An account opened, for whatever command: secret, route, TLS, greeting, CAPA, STLS and login; then what the maildrop
//! holds, compared with the ledger (`survey`).
//!
//! Draws no bar and sums nothing up: an [`Observer`] hears what the session is busy with, notices and errors are values.

mod error;
mod judge;
mod ledgers;
mod line;
mod manner;
mod refusals;
mod room;
mod survey;

use std::path::Path;
use std::sync::Arc;

pub use error::Error;
pub use judge::Judge;
pub use ledgers::{Ledgers, context, damage, doubt_of, doubtful_age, suppose, waits};
pub use line::Line;
pub use manner::{LOCK_STEP, Manner, NO_TOP};
pub use room::{AtHome, no_room};
pub use survey::{Surveyed, Terms, Wishes, compare, list, start, tops};

use crate::account::{Account, Auth, Flow, Identity, Keep, Password, Route, Secret, TlsMode, is_loopback};
use crate::listings::Share;
use crate::net::{self, Stream};
use crate::notice::Notice;
use crate::pop3::{self, Authorization, Capabilities, Credentials, Expire, Limits, Transaction};
use crate::secret::{self, Login};
use crate::stop::Stop;
use line::Tracer;

/// Hears what a session does.
pub trait Observer {
    /// The session is busy with this: `connecting`, `logging in`.
    fn phase(&self, what: &str);

    /// Calls `ask`, which asks a question on the terminal, and keeps everything else off it meanwhile.
    fn aside(&self, question: &str, ask: &mut dyn FnMut());

    /// A line of the dialogue with the server, without secrets.
    fn wire(&self, line: &str);

    /// False when nobody wants to see the dialogue.
    fn wants_wire(&self) -> bool;
}

/// An account, and what opening it needs.
#[derive(Clone, Copy)]
pub struct Opener<'o> {
    /// The account.
    pub account: &'o Account,
    /// The folder of the state, where tokens are.
    pub state_dir: &'o Path,
    /// The wish to stop.
    pub stop: &'o Stop,
    /// Hears about it.
    pub observer: &'o dyn Observer,
}

impl<'o> Opener<'o> {
    /// Gets what the account logs in with. May run a program or ask a person.
    pub fn credentials(&self) -> Result<Credentials, Error> {
        let password = match self.account.auth.needs_secret() {
            true => secret::find(&Login::from(self.account), self.state_dir, self.stop, &|question, ask| {
                self.observer.aside(question, ask);
            })?,
            false => Password::new(""),
        };
        Ok(self.credentials_with(password))
    }

    /// The same without asking a person; `None` where only a person could tell.
    pub fn credentials_unasked(&self) -> Result<Option<Credentials>, Error> {
        let password = match self.account.auth.needs_secret() {
            true => secret::find_unasked(&Login::from(self.account), self.state_dir, self.stop)?,
            false => Some(Password::new("")),
        };
        Ok(password.map(|password| self.credentials_with(password)))
    }

    /// Credentials with this password, or with none for a session that does not log in.
    pub fn credentials_with(&self, password: Password) -> Credentials {
        let Account { user, secret, auth, .. } = self.account;
        Credentials { user: user.clone(), password, kind: secret.kind(), auth: *auth }
    }

    /// Connects and logs in. `listings` is the memory that the listing may take.
    pub fn log_in(
        &self,
        credentials: &Credentials,
        listings: &Arc<Share>,
        notices: &mut Vec<Notice>,
    ) -> Result<Transaction<Line<'o>>, Error> {
        let mode = self.account.tls.mode;
        let identity = self.identity()?;
        let stream = self.connect()?;
        let stream = match mode {
            TlsMode::Implicit => self.handshake(stream, identity.as_ref())?,
            TlsMode::Starttls | TlsMode::None => stream,
        };
        let mut session = self.greet(stream, credentials, listings)?;
        if mode == TlsMode::Starttls {
            session = self.starttls(session, identity.as_ref(), credentials, listings)?;
        }
        self.authenticate(session, credentials, notices)
    }

    /// What is shown to a server that asks for a client certificate.
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        Ok(self.account.tls.client_identity.as_ref().map(secret::client_identity).transpose()?)
    }

    /// The first step of [`Opener::log_in`]: the line.
    pub fn connect(&self) -> Result<Stream, Error> {
        self.observer.phase("connecting");
        let Account { route, host, port, tls, timeout, .. } = self.account;
        Ok(net::connect(route, host, *port, tls, *timeout, self.stop)?)
    }

    /// TLS, when its turn has come.
    pub fn handshake(&self, stream: Stream, identity: Option<&Identity>) -> Result<Stream, Error> {
        Ok(stream.handshake(&self.account.host, &self.account.tls, identity)?)
    }

    /// The greeting, and what the server announces.
    pub fn greet(
        &self,
        stream: Stream,
        credentials: &Credentials,
        listings: &Arc<Share>,
    ) -> Result<Authorization<Line<'o>>, Error> {
        let mut session = Authorization::greet(self.line(stream, credentials), limits(listings))
            .map_err(|error| self.greeting_error(error))?;
        session.capa()?;
        Ok(session)
    }

    /// STLS, its handshake, and what the server announces then.
    pub fn starttls(
        &self,
        session: Authorization<Line<'o>>,
        identity: Option<&Identity>,
        credentials: &Credentials,
        listings: &Arc<Share>,
    ) -> Result<Authorization<Line<'o>>, Error> {
        let (line, greeting) = session.stls()?;
        let stream = self.handshake(line.into_stream(), identity)?;
        let mut session = Authorization::resume(self.line(stream, credentials), greeting, limits(listings));
        session.capa()?;
        Ok(session)
    }

    /// The login.
    pub fn authenticate(
        &self,
        session: Authorization<Line<'o>>,
        credentials: &Credentials,
        notices: &mut Vec<Notice>,
    ) -> Result<Transaction<Line<'o>>, Error> {
        let account = self.account;
        self.observer.phase("logging in");
        if account.auth == Auth::Auto && crosses_a_network(account) && session.exposes_secret(credentials) {
            notices.push(Notice::SecretInClear { host: account.host.clone() });
        }
        let delay = session.capabilities().and_then(|capabilities| capabilities.login_delay);
        session.authenticate(credentials).map_err(|error| self.login_error(error, delay, credentials))
    }

    fn line(&self, stream: Stream, credentials: &Credentials) -> Line<'o> {
        let tracer = || Tracer::new(self.observer, &self.account.name, credentials.password.clone());
        Line::new(stream, self.observer.wants_wire().then(tracer))
    }

    /// RFC 8314 §3: on port 995 the server waits for TLS, and says nothing before.
    fn greeting_error(&self, error: pop3::Error) -> Error {
        let is_in_clear = self.account.tls.mode != TlsMode::Implicit;
        match Error::from(error) {
            Error::Pop3(error) if is_in_clear && self.account.port == 995 => {
                Error::Ungreeted { error, by_options: self.account.tls.by_options }
            }
            error => error,
        }
    }

    fn login_error(&self, error: pop3::Error, delay: Option<u32>, credentials: &Credentials) -> Error {
        if !error.is_login() {
            return error.into();
        }
        let Account { name, host, port, user, secret, .. } = self.account;
        let (host, user) = (host.clone(), user.clone());
        let login = Error::Login { host, port: *port, user, error: Box::new(error), delay, worked: None };
        // A second login with a fresh token has to wait for the next run: servers count refusals.
        match secret {
            Secret::OAuth2(oauth2) if self.forget(&login, &credentials.password) => {
                let is_service = oauth2.flow == Flow::ClientCredentials;
                Error::Token { account: name.clone(), is_service, login: Box::new(login) }
            }
            _ => login,
        }
    }

    fn forget(&self, refusal: &Error, token: &Password) -> bool {
        use crate::failure::Failure as _;
        !refusal.is_transient() && secret::forget(&Login::from(self.account), token, self.state_dir, self.stop)
    }
}

fn limits(listings: &Arc<Share>) -> Limits {
    Limits { listings: listings.clone(), ..Limits::default() }
}

/// After how many days the server may delete a message (RFC 2449 §6.7), if that is sooner than `keep` says.
pub fn expires_early(capabilities: &Capabilities, keep: Keep) -> Option<u32> {
    let Some(Expire::Days(days)) = capabilities.expire else { return None };
    let is_early = match keep {
        Keep::Never => false,
        Keep::For(time) => time.as_secs() > u64::from(days) * 86400,
        // Who names no time relies on none, but expects the next run to find what this one has retrieved.
        Keep::Forever => days == 0,
    };
    is_early.then_some(days)
}

/// True when strangers may listen on the way, as far as we can tell: what a tunnel does is its user's choice.
pub fn crosses_a_network(account: &Account) -> bool {
    matches!(account.route, Route::Tcp { .. }) && !is_loopback(&account.host)
}
