//! OAuth 2.0 access tokens: the user's consent once (`login`), and from then on a token whenever one is needed
//! (`access_token`), refreshed when it has expired. A service needs no consent: it proves itself each time.
//!
//! Tokens live in the state, one file per maildrop (`store`). A refresh may rotate the refresh token (RFC 6749 §6),
//! and the old one may then be worth nothing: so refreshes of one maildrop happen one at a time, and what came is
//! durable before it is used. Mechanisms that send a token to a mail server are not known here.

mod assertion;
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
use crate::account::{ClientIdentity, ClientProof, Flow, Identity, OAuth2, Password};
use crate::os::clock::now;
use crate::os::exposure;
use crate::stop::Stop;
use endpoint::{Form, Proof, Tokens};
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

impl Prompt {
    /// What a browser should open. Untrusted.
    pub fn address(&self) -> &str {
        match self {
            Prompt::Device { verification_uri, verification_uri_complete, .. } => {
                verification_uri_complete.as_deref().unwrap_or(verification_uri)
            }
            Prompt::Redirect { url, .. } => url,
        }
    }
}

/// Asks the user for consent, where one is needed, and stores what the provider gives for it. `say` hears what the user
/// has to do; the call returns when that is done, failed, or has taken too long.
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
    let proof = proof(login, oauth2, stop)?;
    let tokens = match &oauth2.flow {
        Flow::Device { device_endpoint } => device::consent(&client, oauth2, &proof, device_endpoint, stop, say)?,
        Flow::Redirect { authorization_endpoint } => {
            redirect::consent(&client, oauth2, &proof, authorization_endpoint, login.user, stop, say)?
        }
        Flow::ClientCredentials => of_service(&client, oauth2, &proof)?,
    };
    let refresh_token = match oauth2.flow {
        Flow::ClientCredentials => None,
        _ => Some(tokens.refresh_token.clone().ok_or(Error::NoRefreshToken)?),
    };
    let guard = store.lock(patience(login), stop)?;
    guard.reserve()?.save(&Record::new(oauth2, &tokens, refresh_token, now()))
}

/// An access token that is good for a minute at least: the one that is stored, or else a fresh one.
pub(super) fn access_token(login: &Login<'_>, oauth2: &OAuth2, folder: &Path, stop: &Stop) -> Result<Password, Error> {
    let store = Store::new(folder, &login.store);
    if let Some(token) = stored(&store, oauth2)?.and_then(|record| record.access_token(now())) {
        return Ok(token);
    }
    // Its command may ask a person, for longer than others wait for the lock.
    let proof = proof(login, oauth2, stop)?;
    let guard = store.lock(patience(login), stop)?;
    // Whoever had the lock until now may have refreshed it already.
    let record = stored(&store, oauth2)?;
    if let Some(token) = record.as_ref().and_then(|record| record.access_token(now())) {
        return Ok(token);
    }
    // Refreshing may spend the old token, so a full disk must be known of before.
    let reserved = guard.reserve()?;
    let client = Client::new(login.timeout, stop);
    let (tokens, refresh_token) = match record.and_then(|record| record.refresh_token()) {
        Some(old) => {
            let tokens = refresh(&client, oauth2, &proof, &old)?;
            let new = tokens.refresh_token.clone().unwrap_or(old);
            (tokens, Some(new))
        }
        None => (of_service(&client, oauth2, &proof)?, None),
    };
    reserved.save(&Record::new(oauth2, &tokens, refresh_token, now()))?;
    Ok(tokens.access_token)
}

/// What became of the tokens of a sign-in that ended.
#[derive(Debug)]
pub enum SignedOut {
    /// There were none.
    NothingStored,
    /// The provider takes them no longer.
    Revoked,
    /// They are removed here alone: no endpoint is known that would revoke them.
    NoEndpoint,
    /// They are removed here alone.
    NotRevoked(Error),
}

/// Revokes the tokens with the provider, where it can, and removes them in any case.
pub(super) fn logout(login: &Login<'_>, oauth2: &OAuth2, folder: &Path, stop: &Stop) -> Result<SignedOut, Error> {
    let store = Store::new(folder, &login.store);
    if matches!(store.load(), Ok(None)) {
        return Ok(SignedOut::NothingStored);
    }
    let guard = store.lock(patience(login), stop)?;
    let revoked = match store.load() {
        Ok(Some(record)) if !record.belongs_to(oauth2) => Err(Error::OtherClient),
        Ok(Some(record)) => revoke(login, oauth2, record, stop),
        Ok(None) => Ok(SignedOut::NothingStored),
        Err(error) => Err(error),
    };
    guard.remove()?;
    Ok(revoked.unwrap_or_else(SignedOut::NotRevoked))
}

/// RFC 7009 §2.
fn revoke(login: &Login<'_>, oauth2: &OAuth2, record: Record, stop: &Stop) -> Result<SignedOut, Error> {
    let Some((token, kind)) = record.into_revocable() else { return Ok(SignedOut::NothingStored) };
    let Some(endpoint) = &oauth2.revocation_endpoint else { return Ok(SignedOut::NoEndpoint) };
    let form = Form::of(oauth2, &proof(login, oauth2, stop)?).with("token", token.reveal());
    match endpoint::tell(&Client::new(login.timeout, stop), endpoint, &form.with("token_type_hint", kind)) {
        Ok(()) => Ok(SignedOut::Revoked),
        // What is good for nothing any more needs no revocation. Google says it for what has expired.
        Err(Error::Refused { error, .. }) if error == "invalid_token" => Ok(SignedOut::Revoked),
        Err(error) => Err(error),
    }
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

/// What is stored for this client at this provider; the tokens of another one must not be shown to it. A service needs
/// nothing, so that nobody has to mend what it cannot use.
fn stored(store: &Store, oauth2: &OAuth2) -> Result<Option<Record>, Error> {
    let is_service = oauth2.flow == Flow::ClientCredentials;
    match store.load() {
        Ok(Some(record)) if record.belongs_to(oauth2) && record.refresh_token().is_none() == is_service => {
            Ok(Some(record))
        }
        Ok(_) | Err(Error::Damaged(_)) if is_service => Ok(None),
        Ok(Some(record)) if !record.belongs_to(oauth2) => Err(Error::OtherClient),
        Ok(_) => Err(Error::NotSignedIn),
        Err(error) => Err(error),
    }
}

/// What proves the client in the next request.
fn proof(login: &Login<'_>, oauth2: &OAuth2, stop: &Stop) -> Result<Proof, Error> {
    let of_client = |error| match error {
        super::Error::Stopped(stopped) => Error::Stopped(stopped),
        error => Error::Client(Box::new(error)),
    };
    if let ClientProof::Key { certificate, key } = &oauth2.proof {
        let identity = ClientIdentity { path: key.clone(), password: None };
        let private = super::client_identity(&identity).map_err(of_client)?;
        let public = exposure::read(certificate, super::LIMIT).map_err(Error::io("read", certificate))?;
        let public = Identity { path: certificate.clone(), octets: public.octets, password: None };
        return assertion::sign(oauth2, &public, &private, now()).map(Proof::Assertion);
    }
    let secret = super::client_secret(login, &oauth2.proof, stop).map_err(of_client)?;
    Ok(secret.map_or(Proof::Nothing, Proof::Secret))
}

fn refresh(client: &Client, oauth2: &OAuth2, proof: &Proof, refresh_token: &Password) -> Result<Tokens, Error> {
    let form = Form::grant("refresh_token", oauth2, proof).with("refresh_token", refresh_token.reveal());
    Tokens::ask(client, &oauth2.token_endpoint, &form).map_err(|error| match error {
        Error::Refused { endpoint, error, description } if error == "invalid_grant" => {
            Error::ConsentGone { endpoint, description }
        }
        error => error,
    })
}

/// The client credentials grant (RFC 6749 §4.4): the client is its own proof, and no refresh token is needed.
fn of_service(client: &Client, oauth2: &OAuth2, proof: &Proof) -> Result<Tokens, Error> {
    let form = Form::grant("client_credentials", oauth2, proof).with_scope(oauth2);
    Tokens::ask(client, &oauth2.token_endpoint, &form)
}

/// Another process holds the lock for one request, which ends at the same time-out as ours.
fn patience(login: &Login<'_>) -> Duration {
    login.timeout + Duration::from_secs(5)
}
