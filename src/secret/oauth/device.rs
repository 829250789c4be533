//! The device authorization grant (RFC 8628): a code that is typed in on any device, and asking until it was.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Prompt;
use super::endpoint::{self, Form, Proof, Tokens, seconds, text};
use super::error::Error;
use super::http::Client;
use crate::account::OAuth2;
use crate::failure::Kind;
use crate::stop::{Stop, Woken};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// RFC 8628 §3.2: where the server says nothing.
const INTERVAL: Duration = Duration::from_secs(5);

/// RFC 8628 §3.5: what each `slow_down` adds.
const SLOWER: Duration = Duration::from_secs(5);

/// How long a code is waited for at most, whatever the server says.
const LONGEST: Duration = Duration::from_secs(3600);

/// What the device endpoint gives.
struct Device {
    code: String,
    interval: Duration,
    expires_in: Duration,
}

/// Shows the user a code and waits until it was typed in.
pub(super) fn consent(
    client: &Client<'_>,
    oauth2: &OAuth2,
    proof: &Proof,
    device_endpoint: &str,
    stop: &Stop,
    say: impl FnOnce(Prompt),
) -> Result<Tokens, Error> {
    let members = endpoint::ask(client, device_endpoint, &Form::of(oauth2, proof).with_scope(oauth2))?;
    let incomplete = Error::Malformed { endpoint: device_endpoint.into(), why: "has no code to type in" };
    let (device, prompt) = understand(&members).ok_or(incomplete)?;
    say(prompt);
    let form = Form::grant(GRANT, oauth2, proof).with("device_code", &device.code);
    let end = Instant::now() + device.expires_in;
    let ask = || Tokens::ask(client, &oauth2.token_endpoint, &form);
    poll(device.interval, ask, |interval| {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::TooLate(device.expires_in));
        }
        match stop.pause(interval.min(left)) {
            Ok(Woken::Stopped(stopped)) => Err(Error::Stopped(stopped)),
            // A wait that is cut short by a signal of no concern only asks a little early.
            _ => Ok(()),
        }
    })
    .map_err(|error| match error {
        Error::Refused { error, .. } if error == "expired_token" => Error::TooLate(device.expires_in),
        error => error,
    })
}

fn understand(members: &Map<String, Value>) -> Option<(Device, Prompt)> {
    // Google says URL for URI.
    let verification_uri = text(members, "verification_uri").or_else(|| text(members, "verification_url"))?;
    let expires_in = seconds(members, "expires_in")?.min(LONGEST);
    let interval = seconds(members, "interval").unwrap_or(INTERVAL).max(Duration::from_secs(1));
    let device = Device { code: text(members, "device_code")?.to_owned(), interval, expires_in };
    let prompt = Prompt::Device {
        verification_uri: verification_uri.to_owned(),
        user_code: text(members, "user_code")?.to_owned(),
        verification_uri_complete: text(members, "verification_uri_complete").map(str::to_owned),
        expires_in,
    };
    Some((device, prompt))
}

/// Asks again and again (RFC 8628 §3.5): slower when the server wants that, and slower when it does not answer.
fn poll<T>(
    mut interval: Duration,
    mut ask: impl FnMut() -> Result<T, Error>,
    mut pause: impl FnMut(Duration) -> Result<(), Error>,
) -> Result<T, Error> {
    loop {
        pause(interval)?;
        match ask() {
            Err(Error::Refused { error, .. }) if error == "authorization_pending" => {}
            Err(Error::Refused { error, .. }) if error == "slow_down" => interval += SLOWER,
            Err(error) if error.kind() == Kind::Temporary => interval *= 2,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::Stopped;

    fn refused(error: &str) -> Result<&'static str, Error> {
        Err(Error::Refused { endpoint: "e".into(), error: error.into(), description: None })
    }

    fn unreachable() -> Result<&'static str, Error> {
        Err(Error::Unreachable { endpoint: "e".into(), why: "w".into() })
    }

    /// The pauses between these answers, and the last of them.
    fn polled(answers: Vec<Result<&'static str, Error>>) -> (Vec<u64>, Result<&'static str, String>) {
        let (mut pauses, mut answers) = (vec![], answers.into_iter());
        let result = poll(
            INTERVAL,
            || answers.next().unwrap(),
            |pause| {
                pauses.push(pause.as_secs());
                Ok(())
            },
        );
        assert_eq!(answers.len(), 0, "it stopped too early");
        (pauses, result.map_err(|error| error.to_string()))
    }

    #[test]
    fn pending_keeps_the_pace_and_slow_down_lessens_it_for_good() {
        let answers =
            vec![refused("authorization_pending"), refused("slow_down"), refused("authorization_pending"), Ok("token")];
        assert_eq!(polled(answers), (vec![5, 5, 10, 10], Ok("token")));
    }

    #[test]
    fn a_server_that_is_not_there_is_asked_ever_more_slowly() {
        assert_eq!(polled(vec![unreachable(), unreachable(), Ok("token")]), (vec![5, 10, 20], Ok("token")));
    }

    #[test]
    fn every_other_refusal_ends_it() {
        let (pauses, result) = polled(vec![refused("access_denied")]);
        assert_eq!((pauses, result), (vec![5], Err("`e` refused: `access_denied`".to_owned())));
    }

    #[test]
    fn a_pause_that_fails_ends_it() {
        let result =
            poll(INTERVAL, || refused("authorization_pending"), |_| Err(Error::Stopped(Stopped { signal: 15 })));
        assert!(matches!(result, Err(Error::Stopped(Stopped { signal: 15 }))));
    }

    #[test]
    fn what_the_server_leaves_out_has_defaults_or_is_missed() {
        let reply = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let whole = r#"{"device_code":"d","user_code":"U","verification_url":"https://v","expires_in":"900"}"#;
        let (device, prompt) = understand(&reply(whole)).unwrap();
        assert_eq!((device.interval, device.expires_in), (INTERVAL, Duration::from_secs(900)));
        assert!(matches!(prompt, Prompt::Device { verification_uri_complete: None, .. }));
        assert!(understand(&reply(&whole.replace("user_code", "usercode"))).is_none());
    }
}
