use std::sync::Arc;

use std::io::{self, IsTerminal as _};
use std::time::SystemTime;

use anyhow::Context as _;

use super::{configured, end, misused, or_complain, progress};
use crate::cli::{self, Cli};
use crate::config;
use crate::failure::{self, Kind};
use crate::fetch::{self, Jobs, Mark, Run};
use crate::listings::Budget;
use crate::report::{self, Results, Style, Summary};
use crate::session::Ledgers;
use crate::stop::Stop;

/// How many accounts are fetched side by side unless `--jobs` says otherwise.
const JOBS: u16 = 32;

/// Fetches accounts side by side, or changes what their ledgers say.
pub fn fetch(cli: &Cli, results: &Results) -> anyhow::Result<Option<Kind>> {
    let options = &cli.options;
    let configured = configured(cli, cli.wanted(), results).and_then(|(accounts, state_dir)| {
        or_complain(config::check_distinct(&accounts), results).map(|()| (accounts, state_dir))
    });
    let (accounts, state_dir) = match configured {
        Ok(configured) => configured,
        Err(kind) => return Ok(Some(kind)),
    };
    let mark = cli.mark();
    if mark.as_ref().is_some_and(Mark::changes) && cli.wanted().is_empty() && accounts.len() > 1 {
        return Ok(misused(&cli::unnamed(), results));
    }
    let is_terminal = io::stderr().is_terminal();
    let progress = Arc::new(progress(options));
    let ledgers = Ledgers::new(&state_dir);
    let run = Run {
        state_dir,
        began: SystemTime::now(),
        progress: &progress,
        stop: Stop::on_signals().context("cannot listen to signals")?,
        dry_run: options.dry_run || mark == Some(Mark::Show),
        create: options.create,
        now: options.now,
        fill: options.fill,
        asks: mark.as_ref().is_some_and(Mark::asks) && !options.yes,
        mark,
        verbose: options.verbose,
        is_watched: is_terminal,
        tells_pace: is_terminal && !options.quiet,
        ledgers,
        listings: Budget::default(),
    };
    let jobs = Jobs { all: options.jobs.unwrap_or(JOBS), per_host: options.jobs_per_host };
    let style = Style { is_terminal, quiet: options.quiet, verbose: options.verbose > 0, dry_run: options.dry_run };
    results.run(if cli.is_about_state() { "state" } else { "fetch" }, accounts.len(), options.dry_run);
    let summaries = fetch::side_by_side(&accounts, &run, jobs, |summary| {
        summary.lines(style).iter().for_each(|line| progress.println(line));
        summary.foreseen.iter().for_each(|message| results.event("message", || message.json(summary.owner())));
        results.account(|| summary.json());
    });
    if options.dry_run {
        summaries.iter().flat_map(Summary::dry_lines).for_each(|line| results.line(&line));
    }
    report::table(&summaries).iter().for_each(|line| results.line(line));
    summaries.iter().filter_map(|summary| summary.mark_line(style)).for_each(|line| results.line(&line));
    let worst = failure::worst(summaries.iter().filter_map(Summary::kind));
    let has_none = options.fail_if_none && !cli.is_about_state() && summaries.iter().all(Summary::is_without_mail);
    Ok(end(results, &summaries, worst.or(has_none.then_some(Kind::NoMail))))
}
