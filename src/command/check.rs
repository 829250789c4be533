use anyhow::Context as _;

use super::{configured, end};
use crate::check::{self, Check, Onlooker};
use crate::cli::{Checked, Cli};
use crate::failure::Kind;
use crate::report::Results;
use crate::session::Ledgers;
use crate::stop::Stop;

/// Tries everything that a fetch of the accounts needs, or only says what they amount to.
pub fn check(cli: &Cli, wishes: &Checked, results: &Results) -> anyhow::Result<Option<Kind>> {
    let (accounts, state_dir) = match configured(cli, cli.wanted(), results) {
        Ok(configured) => configured,
        Err(kind) => return Ok(Some(kind)),
    };
    if wishes.offline {
        check::offline(&accounts, results);
        return Ok(end(results, &[], None));
    }
    let check = Check {
        state_dir: &state_dir,
        ledgers: &Ledgers::new(&state_dir),
        stop: &Stop::on_signals().context("cannot listen to signals")?,
        observer: &Onlooker { wants_wire: cli.options.verbose >= 2 },
        create: cli.options.create,
        fill: cli.options.fill,
        now: cli.options.now,
        login: wishes.login,
        twice: wishes.twice,
    };
    let worst = check::all(&accounts, &check, results);
    Ok(end(results, &[], worst))
}
