//! What a fetch needs of the server, in the order of a session: addresses, line, TLS, capabilities, login, UIDL, TOP.

use std::sync::Arc;

use super::Checking;
use super::offer::announced;
use super::row::{Point, Row};
use crate::account::{Account, Password, Route, TlsMode};
use crate::ledger::{Committed, Lanes, Ledger};
use crate::listings::{Budget, Share};
use crate::maildrop::Listing;
use crate::net;
use crate::os::clock::now;
use crate::plan::{Policy, SoFar};
use crate::pop3::{Authorization, Credentials, Head, Transaction};
use crate::rules;
use crate::session::{self, Error, Line, Manner, Terms, Wishes, crosses_a_network};
use crate::text::{host_port, printable};

/// The end of a session without a word about it: what went wrong has been said.
pub(super) type Said<T> = Option<T>;

pub(super) type Session<'s> = Authorization<Line<'s>>;

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
        let mut stream = self.tried(Point::Connect, opener.connect())?;
        let way = match route {
            Route::Tcp { proxy: None, .. } => String::new(),
            Route::Tcp { proxy: Some(proxy), .. } => format!(" through `{proxy}`"),
            Route::Tunnel(words) => format!(" by the tunnel `{}`", printable(words[0].as_bytes())),
            Route::Socket(path) => format!(" by the socket `{}`", path.display()),
        };
        let server = printable(host_port(host, *port).as_bytes());
        self.row(Row::good(Point::Connect, format!("`{server}`{way} accepts connections")));
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

    fn log_in(&mut self, session: Session<'c>, credentials: &Credentials) -> Said<Transaction<Line<'c>>> {
        let logged_in = self.opener.authenticate(session, credentials, &mut vec![]);
        let transaction = self.tried(Point::Login, logged_in)?;
        self.row(Row::good(Point::Login, format!("as `{}`", printable(credentials.user.as_bytes()))));
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
        let wishes = Wishes { needs_ids: !self.account.all, needs_sizes: false };
        let survey = self.tried(Point::Uidl, session::list(transaction, ledger, wishes))?;
        let start = session::start(self.account, self.check.fill);
        let (policy, without_top) = (self.policy(ledger), manner.without_top);
        let terms = Terms { policy, start, now: now(), without_top, judge: None, after: None };
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
        let so_far = SoFar { octets_today: ledger.received(now()), ..SoFar::default() };
        Policy::of(self.account, Lanes::first(self.account.targets.len()), so_far)
    }

    fn top(&mut self, transaction: &mut Transaction<Line<'_>>, listing: &Listing) {
        let Some(first) = listing.iter().next().map(|message| message.number) else { return };
        let mut is_refused = false;
        let asked = transaction.heads(&[first], |_, head| is_refused |= head == Head::Refused);
        self.row(match asked {
            Ok(true) if !is_refused => Row::good(Point::Top, format!("answered for message {first}")),
            Ok(_) if self.account.filter.is_some() || rules::need_heads(&self.account.rules) => {
                Row::bad(Point::Top, &Error::NoHeads(listing.len()))
            }
            Ok(_) => Row::doubtful(
                Point::Top,
                "the server has none, or refuses it",
                "a message whose id or size has changed cannot be recognized: it stays, or comes once more",
            ),
            Err(error) => Row::bad(Point::Top, &Error::from(error)).pardoned(),
        });
    }
}
