//! popfetch brings mail home from POP3 servers (RFC 1939).
//!
//! The rooms, from the top floor down; imports only go down, and rooms of one floor are strangers to one
//! another (`tests/floors.rs` holds them to it):
//!
//! * [`cli`]: what the user may type. `lib.rs` itself: one run, from arguments to exit status.
//! * [`fetch`], [`list`], [`check`], [`login`], [`report`], [`mod@progress`]: one account from connect to QUIT; what is
//!   on the server; whether a fetch would work; signing in; what is said about it.
//! * [`session`]: an account opened and surveyed, for whatever command.
//! * [`config`], [`secret`], [`net`], [`pop3`], [`deliver`], [`ledger`], [`plan`], [`header`]: one skill each.
//! * [`account`], [`failure`], [`maildrop`], [`notice`], [`stop`], [`text`]: plain values that everyone may know;
//!   `mask`: secrets in words of others; [`listings`]: the memory of this program.
//! * [`os`]: the operating system.

pub mod account;
pub mod failure;
pub mod listings;
pub mod maildrop;
mod mask;
pub mod notice;
pub mod os;
pub mod stop;
pub mod text;

pub mod config;
pub mod deliver;
pub mod header;
pub mod ledger;
pub mod net;
pub mod plan;
pub mod pop3;
pub mod secret;

pub mod session;

pub mod check;
pub mod fetch;
pub mod list;
pub mod login;
pub mod progress;
pub mod report;

pub mod cli;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;

use serde_json::json;

use account::Account;
use check::{Check, Onlooker};
use cli::{Checked, Cli, Command};
use failure::{Failure as _, Kind};
use fetch::{Mark, Run};
use list::{Order, Request};
use listings::Budget;
use os::limits;
use progress::Progress;
use report::{Results, Style, Summary};
use session::Ledgers;
use stop::Stop;

/// How many accounts are fetched side by side unless `--jobs` says otherwise.
const JOBS: u16 = 32;

/// Runs the program on the process's own arguments and returns its exit status.
pub fn run() -> ExitCode {
    limits::no_core();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match cli::parse(arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments).into(),
    };
    let may_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    let asks = cli.mark().is_some_and(|mark| mark.asks()) && !cli.options.yes;
    if asks && !cli.options.dry_run && !may_ask {
        return refuse(&cli::unasked(), &arguments).into();
    }
    let results = Results::new(cli.options.json);
    let status = match cli.subcommand() {
        None | Some(Command::Fetch(_) | Command::State { .. }) => fetch_accounts(&cli, &results),
        Some(Command::List(request)) => list_accounts(&cli, request, &results),
        Some(Command::Login { account }) => log_in(&cli, account, &results),
        Some(Command::Check(wishes)) => check_accounts(&cli, wishes, &results),
    };
    let worst = status.unwrap_or_else(|error| {
        complain(&format!("popfetch: {error:#}"));
        results.error(Kind::Io, &format!("{error:#}"), None, None);
        end(&results, &[], Some(Kind::Io))
    });
    failure::exit_status(worst).into()
}

/// Says what is wrong with the arguments, or shows the help that they ask for.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let is_usage = error.use_stderr();
    let before_names = arguments.iter().take_while(|argument| *argument != "--");
    let results = Results::new(is_usage && before_names.skip(1).any(|argument| argument == "--json"));
    if is_usage {
        return failure::exit_status(misused(error, &results));
    }
    match error.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("popfetch: cannot write to standard output: {}", text::reason(&error)));
            Kind::Io.code()
        }
        _ => 0,
    }
}

/// Says how the program is to be used instead.
fn misused(error: &clap::Error, results: &Results) -> Option<Kind> {
    let words = error.render().to_string();
    complain(&format!("popfetch: {}", words.trim_start_matches("error: ").trim_end()));
    results.error(Kind::Usage, &report::usage(&error.to_string()), None, None);
    end(results, &[], Some(Kind::Usage))
}

/// The last event of a run.
fn end(results: &Results, summaries: &[Summary], worst: Option<Kind>) -> Option<Kind> {
    results.end(summaries, worst, |words| complain(&format!("popfetch: {words}")))
}

/// The accounts that are wanted, and the folder of the state; what is wrong with them has been said.
fn configured(cli: &Cli, wanted: &[String], results: &Results) -> Result<(Vec<Account>, PathBuf), Kind> {
    let options = &cli.options;
    let accounts = or_complain(config::accounts(&options.sources(), &options.flags, wanted), results)?;
    Ok((accounts, or_complain(config::state_dir(options.state_dir.clone()), results)?))
}

fn or_complain<T>(result: Result<T, config::Error>, results: &Results) -> Result<T, Kind> {
    let error = match result {
        Ok(good) => return Ok(good),
        Err(error) => error,
    };
    let kind = error.kind();
    let (reports, hint) = (error.reports(), error.hint());
    reports.iter().for_each(|report| complain(&format!("popfetch: {report}")));
    complain_hint(hint.clone());
    for (number, report) in reports.iter().enumerate() {
        let place = error.mistakes().get(number).map(|mistake| (&*mistake.file, mistake.line, mistake.column));
        // Excerpts are for people.
        let words = report.lines().next().unwrap_or_default();
        results.error(kind, words, hint.as_deref(), place);
    }
    end(results, &[], Some(kind));
    Err(kind)
}

/// Signs in to one account. What a person has to do goes to standard error.
fn log_in(cli: &Cli, name: &str, results: &Results) -> anyhow::Result<Option<Kind>> {
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

/// Tries everything that a fetch of the accounts needs, or only says what they amount to.
fn check_accounts(cli: &Cli, wishes: &Checked, results: &Results) -> anyhow::Result<Option<Kind>> {
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
        login: wishes.login,
        twice: wishes.twice,
    };
    let worst = check::all(&accounts, &check, results);
    Ok(end(results, &[], worst))
}

fn fetch_accounts(cli: &Cli, results: &Results) -> anyhow::Result<Option<Kind>> {
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
    let progress = progress(options);
    let ledgers = Ledgers::new(&state_dir);
    let run = Run {
        state_dir,
        began: SystemTime::now(),
        progress: &progress,
        stop: Stop::on_signals().context("cannot listen to signals")?,
        dry_run: options.dry_run || mark == Some(Mark::Show),
        create: options.create,
        fill: options.fill,
        asks: mark.as_ref().is_some_and(Mark::asks) && !options.yes,
        mark,
        verbose: options.verbose,
        ledgers,
        listings: Budget::default(),
    };
    let style = Style { is_terminal, quiet: options.quiet, verbose: options.verbose > 0, dry_run: options.dry_run };
    results.run(if cli.is_about_state() { "state" } else { "fetch" }, accounts.len(), options.dry_run);
    let summaries = fetch::side_by_side(&accounts, &run, options.jobs.unwrap_or(JOBS), |summary| {
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

/// Lists accounts, one after the other.
fn list_accounts(cli: &Cli, list: &cli::List, results: &Results) -> anyhow::Result<Option<Kind>> {
    let options = &cli.options;
    let (accounts, state_dir) = match configured(cli, cli.wanted(), results) {
        Ok(configured) => configured,
        Err(kind) => return Ok(Some(kind)),
    };
    let progress = progress(options);
    let order = list.sort.map(|sort| match sort {
        cli::Sort::Age => Order::Age,
        cli::Sort::Size => Order::Size,
        cli::Sort::From => Order::From,
    });
    let run = list::Run {
        ledgers: Ledgers::new(&state_dir),
        progress: &progress,
        results,
        stop: Stop::on_signals().context("cannot listen to signals")?,
        request: Request { only_new: list.new, order, has_ids: list.ids, columns: os::terminal::columns() },
        fill: options.fill,
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

/// Bars, where they are wanted.
fn progress(options: &cli::Options) -> Progress {
    Progress::new(match options.progress {
        cli::Progress::Always => true,
        cli::Progress::Never => false,
        cli::Progress::Auto => io::stderr().is_terminal() && !options.quiet,
    })
}

fn complain_hint(hint: Option<String>) {
    if let Some(hint) = hint {
        complain(&format!("  hint: {hint}"));
    }
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
