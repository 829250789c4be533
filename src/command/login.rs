use anyhow::Context as _;
use serde_json::json;

use super::{complain, complain_hint, configured, end};
use crate::cli::Cli;
use crate::failure::{self, Failure as _, Kind};
use crate::login;
use crate::report::Results;
use crate::stop::Stop;
use crate::text;

/// Signs in to one account. What a person has to do goes to standard error.
pub fn login(cli: &Cli, name: &str, results: &Results) -> anyhow::Result<Option<Kind>> {
    let (accounts, state_dir) = match configured(cli, &[name.to_owned()], results) {
        Ok(configured) => configured,
        Err(kind) => return Ok(Some(kind)),
    };
    let [account] = &accounts[..] else { unreachable!("one name is one account") };
    let stop = Stop::on_signals().context("cannot listen to signals")?;
    results.run("login", 1, false);
    let shown = text::printable(account.name.as_bytes());
    let say = |line: &str| complain(&format!("popfetch: {shown}: {line}"));
    let failure = login::login(account, &state_dir, &stop, say).err();
    if let Some(failure) = &failure {
        say(&failure.to_string());
        complain_hint(failure.hint());
    }
    let kind = failure.as_ref().map(|failure| failure.kind());
    results.account(|| {
        json!({
            "account": shown,
            "status": failure::exit_status(kind),
            "error": failure.as_ref().map(ToString::to_string),
            "details": failure.as_ref().map_or(vec![], |failure| failure.details()),
            "hint": failure.as_ref().and_then(|failure| failure.hint()),
        })
    });
    Ok(end(results, &[], kind))
}
