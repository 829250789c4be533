use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::{complain, complain_hint, configured, end, misused, or_complain};
use crate::account::{Account, Secret};
use crate::check::Onlooker;
use crate::cli::{self, Cli};
use crate::config;
use crate::deliver;
use crate::failure::{self, Failure, Kind};
use crate::ledger;
use crate::login::{self, Party};
use crate::report::Results;
use crate::session::{self, Opener};
use crate::stop::Stop;
use crate::text;

/// Signs in to one account or target. What a person has to do goes to standard error.
pub fn login(cli: &Cli, results: &Results) -> anyhow::Result<Option<Kind>> {
    let (party, state_dir) = match chosen(cli, results) {
        Ok(chosen) => chosen,
        Err(kind) => return Ok(Some(kind)),
    };
    let stop = Stop::on_signals().context("cannot listen to signals")?;
    results.run("login", 1, false);
    let observer = Onlooker { wants_wire: cli.options.verbose >= 2 };
    let opener = Opener { account: party.account(), state_dir: &state_dir, stop: &stop, observer: &observer };
    let mut context = context(&party, &state_dir, &stop);
    context.network.wire = observer.of_targets();
    let failure = login::login(&party, &opener, &context, speaker(&party)).err();
    Ok(told(&party, failure, results))
}

/// Signs out of one account or target.
pub fn logout(cli: &Cli, results: &Results) -> anyhow::Result<Option<Kind>> {
    let (party, state_dir) = match chosen(cli, results) {
        Ok(chosen) => chosen,
        Err(kind) => return Ok(Some(kind)),
    };
    let stop = Stop::on_signals().context("cannot listen to signals")?;
    results.run("logout", 1, false);
    let failure = login::logout(&party, &context(&party, &state_dir, &stop), speaker(&party)).err();
    Ok(told(&party, failure, results))
}

fn context(party: &Party, state_dir: &Path, stop: &Stop) -> deliver::Context {
    let name = ledger::file_name(&party.account().maildrop());
    session::context(party.account(), state_dir, &name, stop)
}

/// The account or the target that is named, or else the only one that uses OAuth 2.0; why there is none has been said.
fn chosen(cli: &Cli, results: &Results) -> Result<(Party, PathBuf), Kind> {
    let wanted = cli.wanted();
    if let Some(party) = target_of(cli, wanted) {
        return Ok((party, or_complain(config::state_dir(cli.options.state_dir.clone()), results)?));
    }
    let (accounts, state_dir) = configured(cli, wanted, results)?;
    let parties = match wanted {
        [] => with_oauth2(accounts),
        _ => accounts.into_iter().map(|account| Party::Account(Box::new(account))).collect(),
    };
    match <[Party; 1]>::try_from(parties) {
        Ok([party]) => Ok((party, state_dir)),
        Err(several) => {
            let names: Vec<&str> = several.iter().map(Party::name).collect();
            Err(misused(&cli::not_one_to_sign_in(&names), results).unwrap_or(Kind::Usage))
        }
    }
}

/// The target of this name, where no account has it.
fn target_of(cli: &Cli, wanted: &[String]) -> Option<Party> {
    let ([name], options) = (wanted, &cli.options) else { return None };
    let of = |wanted: &[String]| config::accounts(&options.sources(), &options.flags, wanted);
    if options.sources().contains(&config::Source::Stdin) || of(wanted).is_ok() {
        return None;
    }
    targets(&of(&[]).ok()?).into_iter().find(|party| party.name() == name)
}

fn with_oauth2(accounts: Vec<Account>) -> Vec<Party> {
    let targets = targets(&accounts);
    let accounts = accounts.into_iter().map(|account| Party::Account(Box::new(account)));
    accounts.chain(targets).filter(|party| matches!(party.secret(), Some(Secret::OAuth2(_)))).collect()
}

/// The servers that accounts deliver to and that have a name, each once.
fn targets(accounts: &[Account]) -> Vec<Party> {
    let mut parties: Vec<Party> = vec![];
    for account in accounts {
        for target in &account.targets {
            let party = Party::Target(target.clone(), Box::new(account.clone()));
            if !party.name().is_empty() && parties.iter().all(|other| other.name() != party.name()) {
                parties.push(party);
            }
        }
    }
    parties
}

fn speaker(party: &Party) -> impl Fn(&str) + Clone + Send + 'static {
    let shown = text::printable(party.name().as_bytes());
    move |line: &str| complain(&format!("popfetch: {shown}: {line}"))
}

/// Says what went wrong, and ends.
fn told(party: &Party, failure: Option<Box<dyn Failure>>, results: &Results) -> Option<Kind> {
    if let Some(failure) = &failure {
        speaker(party)(&failure.to_string());
        failure.details().iter().for_each(|line| complain(&format!("  {line}")));
        complain_hint(failure.hint());
    }
    let kind = failure.as_ref().map(|failure| failure.kind());
    results.account(|| {
        json!({
            "account": text::printable(party.name().as_bytes()),
            "status": failure::exit_status(kind),
            "error": failure.as_ref().map(ToString::to_string),
            "details": failure.as_ref().map_or(vec![], |failure| failure.details()),
            "hint": failure.as_ref().and_then(|failure| failure.hint()),
        })
    });
    end(results, &[], kind)
}
