//! What the server announces, and which way to log in follows from it.

use super::Checking;
use super::row::{Point, Row};
use super::server::{Said, Session};
use crate::account::{Auth, TlsMode};
use crate::pop3::{Capabilities, Credentials, Expire, Method};
use crate::session::{Error, crosses_a_network, expires_early};
use crate::text::{counted, printable};

impl Checking<'_> {
    pub(super) fn capabilities(
        &mut self,
        capabilities: &Capabilities,
        session: &Session<'_>,
        credentials: &Credentials,
    ) -> Said<()> {
        let account = self.account;
        let announced = announced(capabilities);
        let method = session.method(credentials);
        let way = method.as_ref().map_or_else(|_| String::new(), |method| way(account.auth, *method, account.tls.mode));
        let words = format!("{announced}{way}");
        let is_read = session.exposes_secret(credentials) && crosses_a_network(account);
        self.row(match expires_early(capabilities, account.keep) {
            Some(days) => {
                let when = if days == 0 { "as soon as they were retrieved".into() } else { format!("after {}", counted(days as usize, "day")) };
                Row::doubtful(
                    Point::Capabilities,
                    words,
                    format!("do not rely on the server's copies: EXPIRE {days} lets it delete messages {when}, whatever `keep` says"),
                )
            }
            _ if is_read => Row::doubtful(
                Point::Capabilities,
                words,
                "the password goes in clear, and anybody on the way can read it: use TLS",
            ),
            _ => Row::good(Point::Capabilities, words),
        });
        self.tried(Point::Login, method.map(drop).map_err(Error::from))
    }
}

/// What the server announces, in its own words.
pub(super) fn announced(capabilities: &Capabilities) -> String {
    let Capabilities { are_announced, pipelining, uidl, top, stls: _, user, sasl, login_delay, expire } = capabilities;
    if !are_announced {
        return "the server does not know CAPA".to_owned();
    }
    let mut words: Vec<String> = [("PIPELINING", pipelining), ("UIDL", uidl), ("TOP", top), ("USER", user)]
        .into_iter()
        .filter(|(_, is_there)| **is_there)
        .map(|(word, _)| word.to_owned())
        .collect();
    if !sasl.is_empty() {
        words.push(format!("SASL {}", printable(sasl.join(" ").as_bytes())));
    }
    words.extend(login_delay.map(|seconds| format!("LOGIN-DELAY {seconds}")));
    words.extend(expire.map(|expire| match expire {
        Expire::Never => "EXPIRE NEVER".to_owned(),
        Expire::Days(days) => format!("EXPIRE {days}"),
    }));
    if !pipelining {
        words.push("no PIPELINING (a round trip for each message)".to_owned());
    }
    words.join(", ")
}

/// How to log in, and why.
fn way(auth: Auth, method: Method, mode: TlsMode) -> String {
    if auth != Auth::Auto {
        return format!("; `auth` wants {}", method.name());
    }
    let why = match (method.reveals_secret(), mode) {
        _ if method.is_for_tokens() => "it is for tokens",
        (true, TlsMode::None) => "nothing that keeps the password to itself is announced",
        (true, _) => "under TLS nothing stronger is announced",
        (false, TlsMode::None) => "it does not send the password",
        (false, _) => "it is the strongest that is announced",
    };
    format!("; `auto` takes {}: {why}", method.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_told_with_the_way_to_log_in() {
        let mut capabilities = Capabilities { are_announced: true, ..Capabilities::default() };
        for line in ["TOP", "SASL PLAIN LOGIN", "UIDL", "PIPELINING", "EXPIRE 0", "LOGIN-DELAY 900"] {
            capabilities.note(line.as_bytes());
        }
        assert_eq!(announced(&capabilities), "PIPELINING, UIDL, TOP, SASL PLAIN LOGIN, LOGIN-DELAY 900, EXPIRE 0");
        assert_eq!(announced(&Capabilities::default()), "the server does not know CAPA");
        assert_eq!(way(Auth::User, Method::User, TlsMode::None), "; `auth` wants USER");
        assert!(way(Auth::Auto, Method::User, TlsMode::Implicit).starts_with("; `auto` takes USER: under TLS"));
        assert!(way(Auth::Auto, Method::Apop, TlsMode::None).ends_with("does not send the password"));
    }
}
