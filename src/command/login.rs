use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;

use super::{complain, complain_hint, configured, end, misused};
use crate::account::{Account, Secret};
use crate::check::Onlooker;
use crate::cli::{self, Cli};
use crate::failure::{self, Failure, Kind};
use crate::login;
use crate::report::Results;
use crate::session::Opener;
use crate::stop::Stop;
use crate::text;

/// Signs in to one account. What a person has to do goes to standard error.
pub fn login(cli: &Cli, results: &Results) -> anyhow::Result<Option<Kind>> {
    let (account, state_dir) = match chosen(cli, results) {
        Ok(chosen) => chosen,
        Err(kind) => return Ok(Some(kind)),
    };
    let stop = Stop::on_signals().context("cannot listen to signals")?;
    results.run("login", 1, false);
    let observer = Onlooker { wants_wire: cli.options.verbose >= 2 };
    let opener = Opener { account: &account, state_dir: &state_dir, stop: &stop, observer: &observer };
    let failure = login::login(&opener, speaker(&account)).err();
    Ok(told(&account, failure, results))
}

/// Signs out of one account.
pub fn logout(cli: &Cli, results: &Results) -> anyhow::Result<Option<Kind>> {
    let (account, state_dir) = match chosen(cli, results) {
        Ok(chosen) => chosen,
        Err(kind) => return Ok(Some(kind)),
    };
    let stop = Stop::on_signals().context("cannot listen to signals")?;
    results.run("logout", 1, false);
    let failure = login::logout(&account, &state_dir, &stop, speaker(&account)).err();
    Ok(told(&account, failure, results))
}

/// The account that is named, or else the only one that uses OAuth 2.0; why there is none has been said.
fn chosen(cli: &Cli, results: &Results) -> Result<(Account, PathBuf), Kind> {
    let (mut accounts, state_dir) = configured(cli, cli.wanted(), results)?;
    if cli.wanted().is_empty() {
        accounts.retain(|account| matches!(account.secret, Secret::OAuth2(_)));
    }
    match <[Account; 1]>::try_from(accounts) {
        Ok([account]) => Ok((account, state_dir)),
        Err(several) => {
            let names: Vec<&str> = several.iter().map(|account| account.name.as_str()).collect();
            Err(misused(&cli::not_one_to_sign_in(&names), results).unwrap_or(Kind::Usage))
        }
    }
}

fn speaker(account: &Account) -> impl Fn(&str) + Clone + Send + 'static {
    let shown = text::printable(account.name.as_bytes());
    move |line: &str| complain(&format!("popfetch: {shown}: {line}"))
}

/// Says what went wrong, and ends.
fn told(account: &Account, failure: Option<Box<dyn Failure>>, results: &Results) -> Option<Kind> {
    if let Some(failure) = &failure {
        speaker(account)(&failure.to_string());
        failure.details().iter().for_each(|line| complain(&format!("  {line}")));
        complain_hint(failure.hint());
    }
    let kind = failure.as_ref().map(|failure| failure.kind());
    results.account(|| {
        json!({
            "account": text::printable(account.name.as_bytes()),
            "status": failure::exit_status(kind),
            "error": failure.as_ref().map(ToString::to_string),
            "details": failure.as_ref().map_or(vec![], |failure| failure.details()),
            "hint": failure.as_ref().and_then(|failure| failure.hint()),
        })
    });
    end(results, &[], kind)
}
