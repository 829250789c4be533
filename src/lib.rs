//! popfetch brings mail home from POP3 servers (RFC 1939).
//!
//! The rooms, from the top floor down; imports only go down, and rooms of one floor are strangers to one
//! another (`tests/floors.rs` holds them to it):
//!
//! * [`cli`]: what the user may type. `command`: each command, from arguments to exit status. `lib.rs`: their table.
//! * [`fetch`], [`list`], [`check`], [`login`], [`report`], [`mod@progress`]: one account from connect to QUIT; what is
//!   on the server; whether a fetch would work; signing in and out; what is said about it.
//! * [`session`]: an account opened and surveyed, for whatever command.
//! * [`config`], [`secret`], [`net`], [`pop3`], [`deliver`], [`ledger`], [`plan`], [`header`]: one skill each;
//!   [`relay`]: destinations that are servers, made of some of them.
//! * [`account`], [`failing`], [`failure`], [`maildrop`], [`notice`], [`rules`], [`stop`], [`text`]: plain values that
//!   everyone may know; `mask`: secrets in words of others; [`listings`]: the memory of this program.
//! * [`os`]: the operating system.

pub mod account;
mod authority;
pub mod failing;
pub mod failure;
pub mod listings;
pub mod maildrop;
mod mask;
pub mod notice;
pub mod os;
pub mod rules;
pub mod stop;
pub mod text;

pub mod config;
pub mod deliver;
pub mod header;
pub mod ledger;
pub mod net;
pub mod plan;
pub mod pop3;
pub mod relay;
pub mod secret;

pub mod session;

pub mod check;
pub mod fetch;
pub mod list;
pub mod login;
pub mod progress;
pub mod report;

pub mod cli;
mod command;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use cli::Command;
use failure::Kind;
use os::limits;
use report::Results;

/// Runs the program on the process's own arguments and returns its exit status.
pub fn run() -> ExitCode {
    limits::no_core();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match cli::parse(arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => return command::refuse(&error, &arguments).into(),
    };
    let may_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    let asks = cli.mark().is_some_and(|mark| mark.asks()) && !cli.options.yes;
    if asks && !cli.options.dry_run && !may_ask {
        return command::refuse(&cli::unasked(), &arguments).into();
    }
    let results = Results::new(cli.options.json);
    let status = match cli.subcommand() {
        None | Some(Command::Fetch(_) | Command::State { .. }) => command::fetch(&cli, &results),
        Some(Command::List(request)) => command::list(&cli, request, &results),
        Some(Command::Login { .. }) => command::login(&cli, &results),
        Some(Command::Logout { .. }) => command::logout(&cli, &results),
        Some(Command::Check(wishes)) => command::check(&cli, wishes, &results),
    };
    let worst = status.unwrap_or_else(|error| {
        command::complain(&format!("popfetch: {error:#}"));
        results.error(Kind::Io, &format!("{error:#}"), None, None);
        command::end(&results, &[], Some(Kind::Io))
    });
    failure::exit_status(worst).into()
}
