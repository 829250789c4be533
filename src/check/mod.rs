//! Tries everything that a fetch of an account needs, and says of each point what works and what is to be mended.
//!
//! Nothing is retrieved, delivered, deleted or written: the ledger is read through its door for readers, a target is tried
//! out by a file without a name, and no lock is held. Only a token of OAuth 2.0 that has expired is refreshed, as a dry
//! run does it. Nobody is asked for a password unless that is wished.

mod home;
mod ids;
mod offer;
mod row;
mod server;
mod tell;
mod tls;

use std::path::Path;

pub use row::{Finding, Point, Row};
pub use tell::{Onlooker, all, offline};

use crate::account::{Account, Password};
use crate::failure::{self, Kind};
use crate::ledger::Wanted;
use crate::pop3::Credentials;
use crate::session::{Error, Ledgers, Opener};
use crate::stop::Stop;
use home::Look;

/// What is wished of a check, and what all accounts of it share.
pub struct Check<'c> {
    /// The folder of the state.
    pub state_dir: &'c Path,
    /// The ledgers in it.
    pub ledgers: &'c Ledgers,
    /// The wish to stop.
    pub stop: &'c Stop,
    /// Hears what the sessions do.
    pub observer: &'c Onlooker,
    /// What is gone may be made anew.
    pub create: bool,
    /// Every target is to get what it lacks, settled or not.
    pub fill: bool,
    /// Do not wait after failures in a row.
    pub now: bool,
    /// Ask for a password where only a person can tell it.
    pub login: bool,
    /// Look whether the unique-ids are the same in a second session.
    pub twice: bool,
}

/// What a check found.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// The failure that decides about the exit status, as a fetch would: the first one that is not temporary, else the
    /// first.
    pub fn worst(&self) -> Option<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.point);
        let kind = failure::worst(rows.iter().filter_map(|row| row.kind()))?;
        rows.into_iter().find(|row| row.kind() == Some(kind))
    }

    /// Its kind.
    pub fn kind(&self) -> Option<Kind> {
        self.worst().and_then(Row::kind)
    }
}

/// Checks one account. `say` hears of each point as soon as it was looked at.
pub fn check(account: &Account, check: &Check<'_>, say: &dyn Fn(&Row)) -> Report {
    let opener = Opener { account, state_dir: check.state_dir, stop: check.stop, observer: check.observer };
    let mut checking = Checking { account, check, opener, say, secret: None, rows: vec![] };
    checking.run();
    Report { rows: checking.rows }
}

/// A check under way.
struct Checking<'c> {
    account: &'c Account,
    check: &'c Check<'c>,
    opener: Opener<'c>,
    say: &'c dyn Fn(&Row),
    /// Never said: a server that repeats it is not repeated.
    secret: Option<Password>,
    rows: Vec<Row>,
}

impl Checking<'_> {
    fn run(&mut self) {
        let Check { ledgers, stop, .. } = self.check;
        let wanted = Wanted::of(self.account.one_off, self.check.fill);
        let mut look = Look::new(ledgers.look(self.account, wanted, self.account.all, stop));
        let credentials = self.credentials();
        self.server(credentials, look.ledger());
        if self.is_stopped() {
            return;
        }
        self.targets(look.ledger());
        self.ledger(&look);
        self.permissions();
        self.clock(look.ledger());
    }

    /// What to log in with. `Ok(None)`: only a person could tell, and nobody is asked.
    fn credentials(&mut self) -> Option<Credentials> {
        let found = match self.check.login {
            true => self.opener.credentials().map(Some),
            false => self.opener.credentials_unasked(),
        };
        let credentials = self.tried(Point::Password, found)?;
        match &credentials {
            Some(credentials) => self.secret = Some(credentials.password.clone()),
            None => self.row(Row::doubtful(
                Point::Password,
                "only a person could tell it, and nobody is asked: login, UIDL and TOP are not tried",
                "`--login` asks",
            )),
        }
        credentials
    }

    /// The value, or nothing and a row about why there is none.
    fn tried<T>(&mut self, point: Point, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.row(Row::bad(point, &error));
                None
            }
        }
    }

    fn row(&mut self, row: Row) {
        let row = match &self.secret {
            Some(secret) => row.with(|text| secret.masked_in(&text)),
            None => row,
        };
        (self.say)(&row);
        self.rows.push(row);
    }

    fn is_stopped(&self) -> bool {
        self.rows.iter().any(|row| matches!(row.kind(), Some(Kind::Stopped(_))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_that_a_fetch_meets_first_decides_unless_it_may_pass() {
        let row = |point, kind| Row { finding: Finding::Bad(kind), ..Row::good(point, "no") };
        let kind = |rows: Vec<Row>| Report { rows }.kind();
        assert_eq!(kind(vec![Row::good(Point::Tls, "yes"), Row::doubtful(Point::Top, "no", "wait")]), None);
        let of_both = vec![row(Point::Login, Kind::LoginRefused), row(Point::Ledger, Kind::BadState)];
        assert_eq!(kind(of_both), Some(Kind::BadState));
        let of_both = vec![row(Point::Connect, Kind::Temporary), row(Point::Target, Kind::CannotCreate)];
        assert_eq!(kind(of_both), Some(Kind::CannotCreate));
    }
}
