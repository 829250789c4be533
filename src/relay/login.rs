//! AUTH (RFC 4954): the mechanisms of POP3, carried over the dialogue in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::dialogue::{Dialogue, said};
use super::error::Cause;
use super::hello::Offer;
use crate::account::{At, Auth, Password, SecretKind, Server};
use crate::deliver::{Context, Network};
use crate::net::Wait;
use crate::pop3::{Credentials, Mechanism};
use crate::secret::{self, Login};

/// A command line has at most 512 octets (RFC 5321 §4.5.3.1.4), so that a longer response waits for its challenge.
const LINE: usize = 512;

/// Strongest first, where nobody can read the line.
const UNDER_TLS: [Mechanism; 5] =
    [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5];

/// The same where somebody may.
const IN_CLEAR: [Mechanism; 5] =
    [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::CramMd5, Mechanism::Plain, Mechanism::Login];

const FOR_TOKENS: [Mechanism; 2] = [Mechanism::OAuthBearer, Mechanism::XOAuth2];

/// The login at a server of this protocol; `None` where nobody logs in.
pub(super) fn of<'l>(server: &'l Server, word: &str, network: &'l Network) -> Option<Login<'l>> {
    let user = server.user.as_deref()?;
    let host = match &server.at {
        At::Socket(_) => "localhost",
        At::Host { host, .. } => host,
    };
    Some(Login {
        name: server.name.as_deref().unwrap_or(host),
        user,
        host,
        store: format!("{user}@{host} {word}"),
        secret: &server.secret,
        command_timeout: network.password_timeout,
        timeout: network.timeout,
    })
}

/// Gets what a target logs in with, from wherever the configuration says. Nobody is asked.
pub(super) fn credentials(server: &Server, word: &str, context: &Context) -> Result<Option<Credentials>, Cause> {
    let Some(login) = of(server, word, &context.network) else { return Ok(None) };
    let user = login.user;
    let credentials =
        |password| Credentials { user: user.to_owned(), password, kind: server.secret.kind(), auth: server.auth };
    if !server.auth.needs_secret() {
        return Ok(Some(credentials(Password::new(""))));
    }
    let password = secret::find_unasked(&login, &context.spool_dir, &context.stop).map_err(Cause::Secret)?;
    let password = password.ok_or(Cause::Unasked)?;
    if [user, password.reveal()].iter().any(|text| text.contains(['\r', '\n', '\0'])) {
        return Err(Cause::Unwritable("user"));
    }
    Ok(Some(credentials(password)))
}

/// Drops a token of OAuth 2.0 that the server has refused, so that the next run gets another one.
pub(super) fn dropped(server: &Server, word: &str, context: &Context, used: &Credentials, cause: Cause) -> Cause {
    let is_refused = matches!(cause, Cause::Login { is_temporary: false, .. } | Cause::Answered { status: 401, .. });
    match of(server, word, &context.network).filter(|_| is_refused) {
        Some(login) if secret::forget(&login, &used.password, &context.spool_dir, &context.stop) => {
            Cause::Token { name: login.name.to_owned(), login: Box::new(cause) }
        }
        _ => cause,
    }
}

/// Logs in, in one way; a refusal is final.
pub(super) fn log_in(dialogue: &mut Dialogue, offer: &Offer, credentials: &Credentials) -> Result<(), Cause> {
    let mechanism = choose(&offer.auth, credentials, dialogue.is_encrypted())?;
    dialogue.hide(credentials.password.clone());
    let binding = dialogue.server_end_point();
    let mut exchange = mechanism.begin(credentials, binding).map_err(Cause::Exchange)?;
    let mut initial = exchange.initial().map(|octets| Zeroizing::new(STANDARD.encode(octets)));
    let command = format!("AUTH {}", mechanism.name());
    let is_short = |response: &mut Zeroizing<String>| {
        mechanism != Mechanism::XOAuth2 && command.len() + response.len() + " \r\n".len() <= LINE
    };
    match initial.take_if(is_short) {
        Some(response) => {
            let line = Zeroizing::new(format!("{command} {}", response.as_str()));
            dialogue.hide(Password::new(response.as_str()));
            dialogue.secret_command(&line, command.len() + 1);
        }
        None => dialogue.command(&command),
    }
    loop {
        let reply = dialogue.reply(Wait::Reply)?;
        match reply.code {
            235 => return exchange.accepted().map_err(Cause::Exchange),
            334 => {}
            _ => {
                let said = match exchange.explanation() {
                    Some(explanation) => format!("{}; {explanation}", said(&reply)),
                    None => said(&reply),
                };
                let is_temporary = reply.is_temporary();
                return Err(Cause::Login { user: credentials.user.clone(), said, is_temporary });
            }
        }
        let response = match initial.take() {
            Some(initial) => initial,
            None => {
                let challenge = reply.lines.first().map_or(&b""[..], |line| line);
                let challenge = STANDARD.decode(challenge).unwrap_or_default();
                match exchange.respond(&challenge) {
                    Ok(response) => Zeroizing::new(STANDARD.encode(response)),
                    Err(problem) => {
                        dialogue.command("*");
                        let _ = dialogue.reply(Wait::Reply);
                        return Err(Cause::Exchange(problem));
                    }
                }
            }
        };
        dialogue.hide(Password::new(response.as_str()));
        dialogue.secret_command(&response, 0);
    }
}

/// The mechanism for these credentials among those that are offered.
pub(super) fn choose(offered: &[String], credentials: &Credentials, is_encrypted: bool) -> Result<Mechanism, Cause> {
    let has = |mechanism: &Mechanism| offered.iter().any(|offered| offered == mechanism.name());
    let ways: &[Mechanism] = match (named(credentials.auth), credentials.kind) {
        (Some(mechanism), _) => &[mechanism],
        (None, SecretKind::Token) => &FOR_TOKENS,
        (None, SecretKind::Password) if is_encrypted => &UNDER_TLS,
        (None, SecretKind::Password) => &IN_CLEAR,
    };
    ways.iter().copied().find(has).ok_or_else(|| {
        Cause::NotOffered(match ways {
            [one] => format!("AUTH {}", one.name()),
            _ => format!("a way to log in with a {}", credentials.kind.word()),
        })
    })
}

/// The mechanism that the configuration names; USER and APOP are not SASL.
fn named(auth: Auth) -> Option<Mechanism> {
    Some(match auth {
        Auth::Auto | Auth::User | Auth::Apop => return None,
        Auth::Plain => Mechanism::Plain,
        Auth::Login => Mechanism::Login,
        Auth::CramMd5 => Mechanism::CramMd5,
        Auth::ScramSha1 => Mechanism::ScramSha1,
        Auth::ScramSha1Plus => Mechanism::ScramSha1Plus,
        Auth::ScramSha256 => Mechanism::ScramSha256,
        Auth::ScramSha256Plus => Mechanism::ScramSha256Plus,
        Auth::External => Mechanism::External,
        Auth::XOAuth2 => Mechanism::XOAuth2,
        Auth::OAuthBearer => Mechanism::OAuthBearer,
    })
}
