//! OAuth 2.0 access tokens: the user's consent once (`login`), and from then on a token whenever one is needed
//! (`access_token`), refreshed when it has expired.
//!
//! Tokens live in the state, one file per maildrop (`store`). A refresh may rotate the refresh token (RFC 6749 §6),
//! and the old one may then be worth nothing: so refreshes of one maildrop happen one at a time, and what came is
//! durable before it is used. Mechanisms that send a token to a mail server are not known here.

mod device;
mod endpoint;
mod error;
mod http;
mod redirect;
mod store;

use std::path::Path;
use std::time::Duration;

pub use error::Error;

use super::Login;
use crate::account::{Flow, OAuth2, Password};
use crate::os::clock::now;
use crate::stop::Stop;
use endpoint::{Form, Tokens};
use http::Client;
use store::{Record, Store};

/// What a person has to do, for `login` to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Open the address anywhere, and type in the code (RFC 8628 §3.3).
    Device {
        /// Where to go. Untrusted.
        verification_uri: String,
        /// What to type in there. Untrusted.
        user_code: String,
        /// The same with the code already in it, where the server gives it. Untrusted.
        verification_uri_complete: Option<String>,
        /// How long the code is good for.
        expires_in: Duration,
    },
    /// Open the address in a browser on this machine.
    Redirect {
        /// Where to go.
        url: String,
        /// The port of 127.0.0.1 that the browser will come back to.
        port: u16,
        /// How long it is waited for.
        expires_in: Duration,
    },
}

/// Asks the user for consent and stores what the provider gives for it. `say` hears what the user has to do; the call
/// returns when that is done, failed, or has taken too long.
pub(super) fn login(
    login: &Login<'_>,
    oauth2: &OAuth2,
    folder: &Path,
    stop: &Stop,
    say: impl FnOnce(Prompt),
) -> Result<(), Error> {
    let store = Store::new(folder, &login.store);
    // Nobody should be sent to a browser for tokens that cannot be kept.
    drop(store.lock(patience(login), stop)?);
    let client = Client::new(login.timeout, stop);
    let tokens = match &oauth2.flow {
        Flow::Device { device_endpoint } => device::consent(&client, oauth2, device_endpoint, stop, say)?,
        Flow::Redirect { authorization_endpoint } => {
            redirect::consent(&client, oauth2, authorization_endpoint, login.user, stop, say)?
        }
    };
    let refresh_token = tokens.refresh_token.clone().ok_or(Error::NoRefreshToken)?;
    let guard = store.lock(patience(login), stop)?;
    guard.reserve()?.save(&Record::new(oauth2, tokens, refresh_token, now()))
}

/// An access token that is good for a minute at least: the one that is stored, or else a fresh one.
pub(super) fn access_token(login: &Login<'_>, oauth2: &OAuth2, folder: &Path, stop: &Stop) -> Result<Password, Error> {
    let store = Store::new(folder, &login.store);
    if let Some(token) = signed_in(&store, oauth2)?.access_token(now()) {
        return Ok(token);
    }
    let guard = store.lock(patience(login), stop)?;
    // Whoever had the lock until now may have refreshed it already.
    let record = signed_in(&store, oauth2)?;
    if let Some(token) = record.access_token(now()) {
        return Ok(token);
    }
    // Refreshing may spend the old token, so a full disk must be known of before.
    let reserved = guard.reserve()?;
    let tokens = refresh(&Client::new(login.timeout, stop), oauth2, &record)?;
    let access_token = tokens.access_token.clone();
    let refresh_token = tokens.refresh_token.clone().unwrap_or_else(|| record.refresh_token());
    reserved.save(&Record::new(oauth2, tokens, refresh_token, now()))?;
    Ok(access_token)
}

/// Drops an access token that the mail server has refused, so that the next run refreshes; any other one stays.
pub(super) fn forget(login: &Login<'_>, folder: &Path, stop: &Stop, refused: &Password) -> Result<(), Error> {
    let store = Store::new(folder, &login.store);
    let guard = store.lock(patience(login), stop)?;
    let Some(record) = store.load()? else { return Ok(()) };
    match record.without(refused) {
        Some(record) => guard.reserve()?.save(&record),
        None => Ok(()),
    }
}

/// What is stored for this client at this provider; the tokens of another one must not be shown to it.
fn signed_in(store: &Store, oauth2: &OAuth2) -> Result<Record, Error> {
    match store.load()? {
        Some(record) if record.belongs_to(oauth2) => Ok(record),
        Some(_) => Err(Error::OtherClient),
        None => Err(Error::NotSignedIn),
    }
}

fn refresh(client: &Client, oauth2: &OAuth2, record: &Record) -> Result<Tokens, Error> {
    let form = Form::grant("refresh_token", oauth2).with("refresh_token", record.refresh_token().reveal());
    Tokens::ask(client, &oauth2.token_endpoint, &form).map_err(|error| match error {
        Error::Refused { error, description, .. } if error == "invalid_grant" => Error::ConsentGone { description },
        error => error,
    })
}

/// Another process holds the lock for one request, which ends at the same time-out as ours.
fn patience(login: &Login<'_>) -> Duration {
    login.timeout + Duration::from_secs(5)
}
