use anyhow::Context as _;

use super::{configured, end, progress};
use crate::cli::{self, Cli};
use crate::failure::{self, Kind};
use crate::list::{self, Order, Request};
use crate::listings::Budget;
use crate::os;
use crate::report::{Results, Style, Summary};
use crate::session::Ledgers;
use crate::stop::Stop;

/// Lists accounts, one after the other.
pub fn list(cli: &Cli, wishes: &cli::List, results: &Results) -> anyhow::Result<Option<Kind>> {
    let options = &cli.options;
    let (accounts, state_dir) = match configured(cli, cli.wanted(), results) {
        Ok(configured) => configured,
        Err(kind) => return Ok(Some(kind)),
    };
    let progress = progress(options);
    let order = wishes.sort.map(|sort| match sort {
        cli::Sort::Age => Order::Age,
        cli::Sort::Size => Order::Size,
        cli::Sort::From => Order::From,
    });
    let run = list::Run {
        ledgers: Ledgers::new(&state_dir),
        progress: &progress,
        results,
        stop: Stop::on_signals().context("cannot listen to signals")?,
        request: Request { only_new: wishes.new, order, has_ids: wishes.ids, columns: os::terminal::columns() },
        fill: options.fill,
        now: options.now,
        shows_wire: options.verbose >= 2,
        listings: Budget::default(),
    };
    let style = Style { is_terminal: false, quiet: options.quiet, verbose: options.verbose > 0, dry_run: true };
    results.run("list", accounts.len(), false);
    let list = |account| {
        let summary = list::list(account, &run);
        summary.lines(style).iter().for_each(|line| progress.println(line));
        results.account(|| summary.json());
        summary
    };
    let summaries: Vec<Summary> = accounts.iter().map(list).collect();
    Ok(end(results, &summaries, failure::worst(summaries.iter().filter_map(Summary::kind))))
}
