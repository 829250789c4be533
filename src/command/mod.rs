//! The commands, each from arguments to exit status: what is wanted is read, carried out by the rooms below, and shown.

mod check;
mod fetch;
mod list;
mod login;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

pub use check::check;
pub use fetch::fetch;
pub use list::list;
pub use login::{login, logout};

use crate::account::Account;
use crate::cli::{self, Cli};
use crate::config;
use crate::failure::{self, Kind};
use crate::progress::Progress;
use crate::report::{self, Results, Summary};
use crate::text;

/// Says what is wrong with the arguments, or shows the help that they ask for.
pub fn refuse(error: &clap::Error, arguments: &[OsString]) -> u8 {
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
pub fn end(results: &Results, summaries: &[Summary], worst: Option<Kind>) -> Option<Kind> {
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

/// A line for people.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
