//! One POST over HTTPS, as the endpoints of OAuth 2.0 want it; ureq's words end here.
//!
//! The request runs on a thread of its own, because nothing else lets a stop end the wait for it.
//!
//! ureq verifies the server through native-tls: the library and the authorities are those of `net::tls`, and so is the
//! oldest version of TLS. Two things differ: the common name counts in a certificate without subjectAltName, and the
//! whole bundle of authorities is read, for each token that is fetched. A connector of our own could mend that, but ureq
//! takes one only through its `unversioned` module, which changes without notice; and `net::tls` works on the sockets of
//! `net`, which rooms of this floor may not use.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::error::Error;
use crate::stop::Stop;
use crate::text::{printable, reason};

/// Replies are a few hundred octets, with tokens as long as a provider likes them.
const LONGEST: u64 = 64 << 10;

/// How often a stop is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How long a stop waits for the reply: it may bring a rotated refresh token, and the old one may be spent.
const GRACE: Duration = Duration::from_secs(1);

/// A client of one provider.
pub(super) struct Client<'s> {
    agent: ureq::Agent,
    timeout: Duration,
    stop: &'s Stop,
}

/// What the endpoint answered.
pub(super) struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

impl<'s> Client<'s> {
    /// A client whose requests take no longer than `timeout`, each.
    pub fn new(timeout: Duration, stop: &'s Stop) -> Self {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier);
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // A token endpoint that points elsewhere with our secrets in hand is not to be followed.
            .max_redirects(0)
            .max_idle_connections(0)
            .proxy(None)
            .user_agent(concat!("popfetch/", env!("CARGO_PKG_VERSION")))
            .accept("application/json");
        Client { agent: config.build().into(), timeout, stop }
    }

    /// Sends a form, which is already encoded.
    pub fn post(&self, endpoint: &str, form: String) -> Result<Reply, Error> {
        let (agent, url) = (self.agent.clone(), endpoint.to_owned());
        let (sender, receiver) = mpsc::channel();
        let request = move || {
            // Nobody listens any more after a stop.
            let _ = sender.send(exchange(&agent, &url, &form));
        };
        let started = thread::Builder::new().name("oauth".into()).spawn(request);
        started.map_err(|error| Error::Unreachable { endpoint: endpoint.into(), why: reason(&error) })?;
        self.wait(endpoint, &receiver)?.map_err(|error| self.failure(endpoint, &error))
    }

    fn wait<T>(&self, endpoint: &str, receiver: &mpsc::Receiver<T>) -> Result<T, Error> {
        let mut give_up = None;
        loop {
            match (receiver.recv_timeout(LOOK), self.stop.requested()) {
                (Ok(reply), _) => return Ok(reply),
                (Err(RecvTimeoutError::Disconnected), _) => {
                    let why = "the request ended without an answer".to_owned();
                    return Err(Error::Unreachable { endpoint: endpoint.to_owned(), why });
                }
                (Err(RecvTimeoutError::Timeout), None) => {}
                (Err(RecvTimeoutError::Timeout), Some(stopped)) => {
                    if Instant::now() > *give_up.get_or_insert_with(|| Instant::now() + GRACE) {
                        return Err(Error::Stopped(stopped));
                    }
                }
            }
        }
    }

    fn failure(&self, endpoint: &str, error: &ureq::Error) -> Error {
        let endpoint = endpoint.to_owned();
        let why = match error {
            ureq::Error::NativeTls(error) => {
                return Error::Tls { endpoint, why: printable(error.to_string().as_bytes()) };
            }
            ureq::Error::Tls(why) => return Error::Tls { endpoint, why: (*why).to_owned() },
            ureq::Error::BodyExceedsLimit(_) => return Error::Malformed { endpoint, why: "is longer than 64 KiB" },
            ureq::Error::Protocol(_) => return Error::Malformed { endpoint, why: "is not HTTP" },
            ureq::Error::Timeout(_) => format!("no answer within {} s", self.timeout.as_secs()),
            ureq::Error::HostNotFound => "the host is not known".to_owned(),
            ureq::Error::Io(error) => reason(error),
            error => printable(error.to_string().as_bytes()),
        };
        Error::Unreachable { endpoint, why }
    }
}

fn exchange(agent: &ureq::Agent, url: &str, form: &str) -> Result<Reply, ureq::Error> {
    let request = agent.post(url).content_type("application/x-www-form-urlencoded");
    let mut reply = request.send(form)?;
    let body = reply.body_mut().with_config().limit(LONGEST).read_to_vec()?;
    Ok(Reply { status: reply.status().as_u16(), body })
}
