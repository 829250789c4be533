//! What a fetch needs of the server, in the order of a session: addresses, line, TLS, capabilities, login, UIDL, TOP.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::row::{Point, Row};
use super::{Checking, now};
use crate::account::{Account, Auth, Keep, Password, Route, TlsMode};
use crate::failure::{Failure as _, Kind};
use crate::ledger::{Committed, Lanes, Ledger};
use crate::listings::{Budget, Share};
use crate::maildrop::Listing;
use crate::net::{self, Agreed, Certificate};
use crate::notice::Notice;
use crate::plan::{Allowance, Policy};
use crate::pop3::{Authorization, Capabilities, Credentials, Expire, Head, Method, Transaction};
use crate::session::{self, Error, Line, Manner, Terms, crosses_a_network};
use crate::text::{counted, host_port, printable};

/// A certificate that ends sooner is worth a warning.
const FEW_DAYS: i64 = 14;

const DAY: i64 = 86400;

/// The end of a session without a word about it: what went wrong has been said.
type Said<T> = Option<T>;

type Session<'s> = Authorization<Line<'s>>;

impl<'c> Checking<'c> {
    /// Without credentials up to the login.
    pub(super) fn server(&mut self, credentials: Option<Credentials>, ledger: Option<&mut Ledger>) -> Said<()> {
        let share = Budget::default().share();
        let is_known = credentials.is_some();
        let credentials = credentials.unwrap_or_else(|| self.opener.credentials_with(Password::new("")));
        self.resolve()?;
        let session = self.open(&credentials, &share)?;
        let before = session.capabilities().cloned().unwrap_or_default();
        self.capabilities(&before, &session, &credentials)?;
        if !is_known {
            return None;
        }
        let mut transaction = self.log_in(session, &credentials)?;
        if *transaction.capabilities() != before {
            let words = format!("after the login: {}", announced(transaction.capabilities()));
            self.row(Row::good(Point::Capabilities, words));
        }
        let manner = ledger.as_deref().map(|ledger| Manner::known(self.account, ledger, now()));
        if manner.is_some_and(|manner| manner.in_lock_step) || self.account.pipelining == Some(false) {
            transaction.keep_in_step();
        }
        let listing = self.uidl(&mut transaction, ledger, manner)?;
        self.top(&mut transaction, &listing);
        // Nothing depends on the server's farewell.
        let _ = transaction.update(&[] as &[Committed]);
        if self.check.twice {
            self.again(&credentials, &share, &listing);
        }
        Some(())
    }

    fn resolve(&mut self) -> Said<()> {
        let Account { route, host, port, timeout, .. } = self.account;
        let (name, port, whose) = match route {
            Route::Tcp { proxy: None, .. } => (host, *port, "`"),
            Route::Tcp { proxy: Some(proxy), .. } => (&proxy.host, proxy.port, "the proxy `"),
            // The line leads there by itself.
            Route::Tunnel(_) | Route::Socket(_) => return Some(()),
        };
        let found = net::addresses(name, port, *timeout, self.check.stop);
        let addresses = self.tried(Point::Resolve, found.map_err(Error::from))?;
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let name = printable(name.as_bytes());
        self.row(Row::good(Point::Resolve, format!("{whose}{name}` is at {}", addresses.join(", "))));
        Some(())
    }

    /// Up to the capabilities that count for the login.
    fn open(&mut self, credentials: &Credentials, share: &Arc<Share>) -> Said<Session<'c>> {
        let opener = self.opener;
        let Account { host, port, route, tls, .. } = self.account;
        // What is wrong with it is told of the permissions.
        let identity = opener.identity().ok()?;
        let began = Instant::now();
        let mut stream = self.tried(Point::Connect, opener.connect())?;
        let way = match route {
            Route::Tcp { proxy: None, .. } => String::new(),
            Route::Tcp { proxy: Some(proxy), .. } => format!(" through `{proxy}`"),
            Route::Tunnel(words) => format!(" by the tunnel `{}`", printable(words[0].as_bytes())),
            Route::Socket(path) => format!(" by the socket `{}`", path.display()),
        };
        let server = printable(host_port(host, *port).as_bytes());
        let words = format!("`{server}`{way} answers after {} ms", began.elapsed().as_millis());
        self.row(Row::good(Point::Connect, words));
        if tls.mode == TlsMode::Implicit {
            stream = self.tried(Point::Tls, opener.handshake(stream, identity.as_ref()))?;
            self.agreed(stream.agreed());
        }
        let session = self.tried(Point::Capabilities, opener.greet(stream, credentials, share))?;
        match tls.mode {
            TlsMode::Implicit => Some(session),
            TlsMode::Starttls => {
                let begun = opener.starttls(session, identity.as_ref(), credentials, share);
                let mut session = self.tried(Point::Tls, begun)?;
                self.agreed(session.line().agreed());
                Some(session)
            }
            TlsMode::None => {
                self.row(match crosses_a_network(self.account) {
                    true => Row::doubtful(
                        Point::Tls,
                        "none: anybody on the way can read the mail, and perhaps the password",
                        "leave `tls` out, or write `tls = \"starttls\"`, if the server offers it",
                    ),
                    false => Row::good(Point::Tls, "none, on a line that leaves this machine by no network"),
                });
                Some(session)
            }
        }
    }

    fn agreed(&mut self, agreed: Option<Agreed>) {
        let Some(Agreed { version_and_cipher, chain }) = agreed else { return };
        let tls = &self.account.tls;
        let words = match version_and_cipher {
            Some((version, cipher)) => format!("{version}, {cipher}"),
            None => "on; the library of this system does not tell its version".to_owned(),
        };
        self.row(match tls.is_unverified() {
            true => Row { hint: None, ..Row::doubtful(Point::Tls, format!("{words}; {}", Notice::Unverified), "") },
            false => Row::good(Point::Tls, words),
        });
        let Some(certificate) = chain.first() else { return };
        let counts_dates = tls.verify && (tls.pins.is_empty() || tls.ca_file.is_some());
        let mut row = certificate_row(certificate, counts_dates, now());
        row.details = certificate.lines().into_iter().skip(1).collect();
        let others: Vec<String> = chain.iter().skip(1).map(subject).collect();
        if !others.is_empty() {
            row.details.push(format!("signed by `{}`", others.join("`, that by `")));
        }
        self.row(row);
    }

    fn capabilities(
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
        self.row(match capabilities.expire {
            Some(Expire::Days(0)) if account.keep != Keep::Never => Row::doubtful(
                Point::Capabilities,
                words,
                "EXPIRE 0: the server may delete what was retrieved, whatever `keep` says",
            ),
            _ if is_read => Row::doubtful(
                Point::Capabilities,
                words,
                "the password goes in clear, and anybody on the way can read it: use TLS",
            ),
            _ => Row::good(Point::Capabilities, words),
        });
        self.tried(Point::Login, method.map(drop).map_err(Error::from))
    }

    fn log_in(&mut self, session: Session<'c>, credentials: &Credentials) -> Said<Transaction<Line<'c>>> {
        let began = Instant::now();
        let logged_in = self.opener.authenticate(session, credentials, &mut vec![]);
        let transaction = self.tried(Point::Login, logged_in)?;
        let words = format!("`{}`, after {} ms", printable(credentials.user.as_bytes()), began.elapsed().as_millis());
        self.row(Row::good(Point::Login, words));
        Some(transaction)
    }

    /// Lists the maildrop, and compares it with the ledger as a fetch does.
    fn uidl(
        &mut self,
        transaction: &mut Transaction<Line<'_>>,
        ledger: Option<&mut Ledger>,
        manner: Option<Manner>,
    ) -> Said<Listing> {
        let (Some(ledger), Some(manner)) = (ledger, manner) else {
            // What a fetch would make of it is not known.
            let survey = self.tried(Point::Uidl, transaction.survey(false).map_err(Error::from))?;
            self.listed(&survey.listing, transaction.capabilities(), None);
            return Some(survey.listing);
        };
        let survey = self.tried(Point::Uidl, session::list(transaction, ledger, !self.account.all))?;
        let terms = Terms { policy: self.policy(ledger), now: now(), without_top: manner.without_top };
        let kin = |own: &std::path::Path| self.check.ledgers.kin(self.account, own);
        let compared = session::compare(survey, transaction, ledger, terms, kin, &mut vec![]);
        match compared {
            // A fetch begins again without TOP then.
            Err(error @ Error::Top(_)) => {
                self.row(Row::bad(Point::Top, &error).pardoned());
                None
            }
            compared => {
                let surveyed = self.tried(Point::Uidl, compared)?;
                let listing = surveyed.survey.listing;
                self.listed(&listing, transaction.capabilities(), Some(surveyed.plan.retrieve.len()));
                Some(listing)
            }
        }
    }

    /// What the account wants of a first session, with each of its targets.
    fn policy(&self, ledger: &Ledger) -> Policy {
        let Account { keep, keep_newest, delete_over, all, order, max_size, max_messages, max_octets, .. } =
            *self.account;
        let per_run = max_octets.per_run.map(|limit| Allowance { limit, used: 0 });
        let per_day = max_octets.per_day.map(|limit| Allowance { limit, used: ledger.received(now()) });
        let (max_octets, open) = ([per_run, per_day], Lanes::first(self.account.targets.len()));
        Policy { keep, keep_newest, delete_over, all, order, max_size, max_messages, max_octets, open }
    }

    fn listed(&mut self, listing: &Listing, capabilities: &Capabilities, news: Option<usize>) {
        let messages = counted(listing.len(), "message");
        let news = news.map_or_else(String::new, |news| format!("; a fetch would retrieve {news}"));
        let mut ids = HashSet::new();
        let repeated = listing.iter().filter(|message| !ids.insert(message.unique_id)).count();
        self.row(match listing.has_unique_ids {
            true if repeated == 0 => Row::good(Point::Uidl, format!("{messages}, each with an id of its own{news}")),
            true => Row::doubtful(
                Point::Uidl,
                format!("{messages}, of which {repeated} have the id of another{news}"),
                "such messages are fetched, and deleted only by the run that has fetched them",
            ),
            false if listing.is_empty() && !(capabilities.are_announced && !capabilities.uidl) => {
                Row::good(Point::Uidl, "the maildrop is empty")
            }
            false => Row::doubtful(
                Point::Uidl,
                format!("the server has none: {messages}{news}"),
                "without UIDL messages can only be fetched and deleted, and none can be kept",
            ),
        });
    }

    fn top(&mut self, transaction: &mut Transaction<Line<'_>>, listing: &Listing) {
        let Some(first) = listing.iter().next().map(|message| message.number) else { return };
        let mut is_refused = false;
        let asked = transaction.heads(&[first], |_, head| is_refused |= head == Head::Refused);
        self.row(match asked {
            Ok(true) if !is_refused => Row::good(Point::Top, format!("answered for message {first}")),
            Ok(_) => Row::doubtful(
                Point::Top,
                "the server has none, or refuses it",
                "a message whose id or size has changed cannot be recognized: it stays, or comes once more",
            ),
            Err(error) => Row::bad(Point::Top, &Error::from(error)).pardoned(),
        });
    }

    /// A second session, whose unique-ids have to be the same (RFC 1939 §7).
    fn again(&mut self, credentials: &Credentials, share: &Arc<Share>, listing: &Listing) {
        let second = self.opener.log_in(credentials, share, &mut vec![]);
        let survey = second.and_then(|mut transaction| {
            let survey = transaction.survey(false).map_err(Error::from);
            let _ = transaction.update(&[] as &[Committed]);
            survey
        });
        let row = match survey {
            // LOGIN-DELAY, or the first session has not quite ended.
            Err(error) if error.is_transient() => Row::bad(Point::Uidl, &error).pardoned(),
            Err(error) => Row::bad(Point::Uidl, &error),
            Ok(survey) => compared(listing, &survey.listing),
        };
        self.row(row);
    }
}

/// What two listings of one maildrop say of its unique-ids.
fn compared(first: &Listing, second: &Listing) -> Row {
    let ids = |listing: &'_ Listing| -> HashSet<Vec<u8>> {
        listing.iter().map(|message| message.unique_id.to_vec()).filter(|id| !id.is_empty()).collect()
    };
    let (first, second) = (ids(first), ids(second));
    let gone = first.difference(&second).count();
    let changed = gone.min(second.difference(&first).count());
    match gone {
        0 => Row::good(Point::Uidl, "the same in a second session"),
        gone if changed * 2 >= first.len() => Row {
            finding: super::Finding::Bad(Kind::Protocol),
            ..Row::doubtful(
                Point::Uidl,
                format!("{gone} of {} ids are others in a second session", first.len()),
                "every run would fetch everything again: tell the owner of the server, or fetch with `keep = false`",
            )
        },
        gone => Row::doubtful(
            Point::Uidl,
            format!("{gone} of {} ids are missing in a second session", first.len()),
            "another program may have deleted the messages meanwhile; check again",
        ),
    }
}

fn certificate_row(certificate: &Certificate, counts_dates: bool, now: u64) -> Row {
    let left = certificate.not_after.map(|end| (end - i64::try_from(now).unwrap_or(i64::MAX)).div_euclid(DAY));
    let words = match left {
        Some(left) if left >= 0 => format!("{certificate}, {left} days left"),
        _ => certificate.to_string(),
    };
    match left {
        Some(left) if left < FEW_DAYS && counts_dates => Row::doubtful(
            Point::Certificate,
            words,
            "the owner of the server has to renew it; after its end nothing is fetched",
        ),
        _ => Row::good(Point::Certificate, words),
    }
}

fn subject(certificate: &Certificate) -> String {
    certificate.subject.clone().unwrap_or_else(|| "somebody without a name".to_owned())
}

/// What the server announces, in its own words.
fn announced(capabilities: &Capabilities) -> String {
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
    use crate::account::Pin;
    use crate::maildrop::MessageNumber;

    fn listing(ids: &[&str]) -> Listing {
        let mut listing = Listing::default();
        for (number, id) in (1..).zip(ids) {
            assert!(listing.push(MessageNumber(number), id.as_bytes()));
        }
        listing
    }

    #[test]
    fn ids_that_change_are_a_failure_and_messages_that_go_are_none() {
        let result = |second: &[&str]| compared(&listing(&["a", "b", "c", "d"]), &listing(second)).finding.name();
        assert_eq!(result(&["a", "b", "c", "d"]), "ok");
        assert_eq!(result(&["a", "b", "c", "d", "e"]), "ok");
        assert_eq!(result(&["a", "b"]), "warning");
        assert_eq!(result(&[]), "warning");
        assert_eq!(result(&["a", "b", "c", "x"]), "warning");
        assert_eq!(result(&["a", "b", "x", "y"]), "failed");
        assert_eq!(result(&["w", "x", "y", "z"]), "failed");
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told_where_its_dates_count() {
        let certificate = Certificate {
            pin: Pin([0; 32]),
            key: None,
            names: vec!["h".into()],
            more_names: 0,
            subject: None,
            issuer: None,
            is_own_issuer: true,
            not_before: Some(0),
            not_after: Some(100 * DAY),
        };
        let row = |day: u64, counts| certificate_row(&certificate, counts, day * 86400);
        assert_eq!(row(86, true).finding.name(), "ok");
        assert!(row(86, true).words.ends_with(", 14 days left"), "{}", row(86, true).words);
        assert_eq!((row(87, true).finding.name(), row(87, false).finding.name()), ("warning", "ok"));
        assert!(!row(101, false).words.contains("left"));
    }

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
