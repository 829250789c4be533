//! What the user may type: clap definitions, from which help, completions and the manual's test come.
//!
//! Turns arguments into values and does nothing with them. There is no option for a password: everyone on the
//! machine can see the arguments of a program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::{self, FETCH, Flag, Flags, Key, Source, Takes};
use crate::fetch::{Forgotten, Mark};
use crate::net;

/// Brings mail home from POP3 servers: to a Maildir, an mbox or a local MDA, exactly once
///
/// Without a name, every enabled account of the configuration is fetched. A URL needs no configuration:
/// `pop3s://USER@HOST[:PORT]` has TLS from the beginning, `pop3://USER@HOST[:PORT]` demands STARTTLS.
/// Messages stay on the server unless --no-keep or `keep` says otherwise.
#[derive(Debug, Parser)]
#[command(name = "popfetch", version, long_version = LONG_VERSION.as_str())]
#[command(max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Use --help for examples and the exit status.", after_long_help = AFTER_LONG_HELP)]
pub struct Cli {
    #[command(flatten)]
    wanted: Wanted,

    #[command(subcommand)]
    command: Option<Command>,

    /// Everything that is not a name.
    #[command(flatten)]
    pub options: Options,
}

/// The same without a command.
#[derive(Debug, Parser)]
struct Plain {
    #[command(flatten)]
    wanted: Wanted,

    #[command(flatten)]
    options: Options,
}

/// Whoever follows the security advisories wants to know which TLS library this is.
static LONG_VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} ({})", env!("CARGO_PKG_VERSION"), net::tls_library()));

const AFTER_LONG_HELP: &str = "\
Examples:
  popfetch                      fetch every enabled account of the configuration
  popfetch -v work              fetch one, with a line per message
  popfetch list work            show what is on the server, and what a fetch would do with it
  popfetch --dry-run            show what would be fetched and deleted
  popfetch check work           try server, login, target and ledger; fetch nothing
  popfetch fetch fetch          fetch the account that is called `fetch`
  popfetch state known work     let what is on the server count as fetched, and fetch what comes later
  popfetch login work           sign in with OAuth 2.0, as the provider of `work` wants it
  popfetch logout work          remove and revoke its tokens
  popfetch pop3s://petar@pop.example.com --deliver maildir:~/Mail/inbox
                                fetch without a configuration

Files:
  ~/.config/popfetch/config.toml   accounts ($XDG_CONFIG_HOME counts)
  ~/.local/state/popfetch/         what has been fetched ($XDG_STATE_HOME counts)
  ~/.netrc                         passwords by host and user ($NETRC counts)

Exit status:
  0    done, also when there was no mail
  1    no new mail, with --fail-if-none
  64   wrong usage
  65   the state holds data that makes no sense
  68   the server's name is unknown
  69   TLS or the service is not available
  73   the target cannot be created
  74   reading or writing failed
  75   temporary failure; try again later
  76   the server does not keep to the protocol
  77   the login was refused
  78   the configuration is wrong
  130  stopped by SIGINT (129 by SIGHUP, 143 by SIGTERM)
  Of several accounts every one is fetched; the first failure that is not temporary decides, else 75.";

/// Which accounts.
#[derive(Debug, Args)]
pub struct Wanted {
    /// Names of accounts, or URLs such as `pop3s://petar@pop.example.com`
    #[arg(value_name = "ACCOUNT|URL")]
    accounts: Vec<String>,
}

/// What popfetch can be told to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch mail; this is what happens without a command, too
    Fetch(Wanted),
    /// Try everything that a fetch needs, and say what works and what is to be mended; fetch and write nothing
    Check(Checked),
    /// Show the messages on the server, and what a fetch would do with each; fetch and delete nothing
    List(List),
    /// Sign in to an account with OAuth 2.0, once; fetching then refreshes its tokens by itself
    Login {
        /// Name of an account that has `oauth2` in the configuration; not needed where it is the only one
        account: Option<String>,
    },
    /// Remove the tokens of an account, and revoke them where the provider lets one
    Logout {
        /// Name of an account that has `oauth2` in the configuration; not needed where it is the only one
        account: Option<String>,
    },
    /// Look at what is known of the messages on the server, and mend it
    #[command(subcommand_required = true)]
    State {
        /// What is to be done with it.
        #[command(subcommand)]
        command: State,
    },
}

/// What to check, and how.
#[derive(Debug, Args)]
pub struct Checked {
    #[command(flatten)]
    wanted: Wanted,

    /// Ask for a password where only a person can tell it
    #[arg(long, conflicts_with = "offline", help_heading = CHECK)]
    pub login: bool,

    /// Look whether the unique-ids are the same in a second session
    #[arg(long, conflicts_with = "offline", help_heading = CHECK)]
    pub twice: bool,

    /// Only read the configuration, and say what each account amounts to
    #[arg(long, help_heading = CHECK)]
    pub offline: bool,
}

const CHECK: &str = "What to check";

/// Which messages are listed, and how.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    wanted: Wanted,

    /// List only what a fetch would retrieve
    #[arg(long, help_heading = LIST)]
    pub new: bool,

    /// Sort the list, the oldest or the largest first; without this it is in the server's order
    #[arg(long, value_name = "KEY", help_heading = LIST)]
    pub sort: Option<Sort>,

    /// Show unique-ids, too
    #[arg(long, help_heading = LIST)]
    pub ids: bool,
}

/// By what a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The oldest first, by the date in the message
    Age,
    /// The largest first
    Size,
    /// By sender
    From,
}

/// What may be done with a ledger.
#[derive(Debug, Subcommand)]
pub enum State {
    /// Show what is known of each account, without its server
    Show {
        /// Names of accounts
        #[arg(value_name = "ACCOUNT")]
        accounts: Vec<String>,
    },
    /// Let what is on the server now count as fetched: no run delivers it
    Known {
        /// Names of accounts
        #[arg(value_name = "ACCOUNT")]
        accounts: Vec<String>,
        /// Only the message with this unique-id; may be given several times
        #[arg(long = "id", value_name = "ID")]
        ids: Vec<OsString>,
    },
    /// Forget messages: what is still on the server comes again. Wants --id, --before or --all
    Forget {
        /// Names of accounts
        #[arg(value_name = "ACCOUNT")]
        accounts: Vec<String>,
        /// The message with this unique-id; may be given several times
        #[arg(long = "id", value_name = "ID", conflicts_with = "all")]
        ids: Vec<OsString>,
        /// What was first seen before this day
        #[arg(long, value_name = "DATE", value_parser = config::day, conflicts_with_all = ["ids", "all"])]
        before: Option<u64>,
    },
    /// Give targets once more what they have refused again and again, and what is therefore quarantined
    Retry {
        /// Names of accounts
        #[arg(value_name = "ACCOUNT")]
        accounts: Vec<String>,
        /// Only the message with this unique-id; may be given several times
        #[arg(long = "id", value_name = "ID")]
        ids: Vec<OsString>,
    },
    /// Let messages that are in a Maildir already count as delivered there, for a ledger that is lost
    Rebuild {
        /// Names of accounts
        #[arg(value_name = "ACCOUNT")]
        accounts: Vec<String>,
        /// The Maildir
        #[arg(long, value_name = "maildir:PATH", value_parser = config::maildir)]
        from: PathBuf,
    },
}

/// What to do with all of them.
#[derive(Debug, Args)]
pub struct Options {
    /// What accounts say, too.
    #[command(flatten)]
    pub flags: Flags,

    /// Create a Maildir, or the folder of an mbox, that mail was delivered to before and that is gone
    #[arg(long, global = true, help_heading = FETCH)]
    pub create: bool,

    /// Deliver known messages to those targets of their account that do not have them
    #[arg(long, conflicts_with = "all", global = true, help_heading = FETCH)]
    pub fill: bool,

    /// Do not wait after failures in a row
    #[arg(long, global = true, help_heading = FETCH)]
    pub now: bool,

    /// Do not ask before `state known` and `state forget`
    #[arg(long, global = true, help_heading = FETCH)]
    pub yes: bool,

    /// Show what would be fetched and deleted, and do neither
    #[arg(long, global = true, help_heading = FETCH)]
    pub dry_run: bool,

    /// End with 1 when no new mail came
    #[arg(long, global = true, help_heading = FETCH)]
    pub fail_if_none: bool,

    /// Fetch this many accounts at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), global = true)]
    #[arg(help_heading = FETCH)]
    pub jobs: Option<u16>,

    /// Of these, fetch this many at a time from one server
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), global = true)]
    #[arg(help_heading = FETCH)]
    pub jobs_per_host: Option<u16>,

    /// Read this configuration, TOML or JSON, or every one in a folder; `-` is standard input
    #[arg(long, value_name = "FILE|DIR", global = true, help_heading = FILES)]
    config: Vec<PathBuf>,

    /// Keep the record of what has been fetched in this folder
    #[arg(long, value_name = "DIR", global = true, help_heading = FILES)]
    pub state_dir: Option<PathBuf>,

    /// Report on standard output as JSON Lines, as things happen
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub json: bool,

    /// Show progress bars
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true, help_heading = OUTPUT)]
    pub progress: Progress,

    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose", global = true, help_heading = OUTPUT)]
    pub quiet: bool,

    /// Say a line per message; twice: the dialogue with the server, without passwords
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = OUTPUT)]
    pub verbose: u8,
}

const LIST: &str = "What to list";
const FILES: &str = "Files";
const OUTPUT: &str = "Output";

/// When to show progress bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// When standard error is a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The options that are keys of accounts, too: their table says all about them.
impl Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let options = config::account_keys().filter_map(|key| Some((key, key.flag?)));
        options.fold(command, |command, (key, flag)| command.arg(option(key, flag)).args(negation(flag)))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags::default();
        for (key, flag) in config::account_keys().filter_map(|key| Some((key, key.flag?))) {
            let is_negated = flag.negation.is_some_and(|(name, _)| matches.get_flag(name));
            match flag.takes {
                _ if is_negated => flags.boolean(key.name, false),
                Takes::Nothing if matches.get_flag(flag.name) => flags.boolean(key.name, true),
                Takes::Nothing => {}
                Takes::Value(_) | Takes::Perhaps(_) if !matches.contains_id(flag.name) => {}
                Takes::Value(_) | Takes::Perhaps(_) => match matches.get_one::<OsString>(flag.name) {
                    Some(text) => flags.word(key.name, text),
                    None => flags.boolean(key.name, true),
                },
            }
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn option(key: &'static Key, flag: Flag) -> Arg {
    let option = Arg::new(flag.name).long(flag.name).help(flag.help).help_heading(flag.heading).global(true);
    match flag.takes {
        Takes::Nothing => option.action(ArgAction::SetTrue),
        Takes::Value(name) => option.value_name(name).value_parser(value_parser(key)),
        Takes::Perhaps(name) => {
            option.value_name(name).value_parser(value_parser(key)).num_args(0..=1).require_equals(true)
        }
    }
}

fn negation(flag: Flag) -> Option<Arg> {
    let (name, help) = flag.negation?;
    let option = Arg::new(name).long(name).help(help).help_heading(flag.heading).global(true);
    Some(option.action(ArgAction::SetTrue).conflicts_with(flag.name))
}

fn value_parser(key: &'static Key) -> ValueParser {
    let check = |text: OsString| Flags::check(key.name, text).map_err(|problem| problem.expected());
    match key.words {
        [] => OsStringValueParser::new().try_map(check).into(),
        words => PossibleValuesParser::new(words).try_map(move |text| check(text.into())).into(),
    }
}

/// Understands the arguments, of which the first is the program's name.
///
/// An error may also be a wish for help or for the version: print it, and end with [`exit_status`].
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let cli = understood(&Vec::from_iter(arguments))?;
    // For clap `fetch` is an account in `work fetch`, but a command in `work --all fetch`. The user may decide.
    match (&cli.wanted.accounts[..], &cli.command) {
        ([account, ..], Some(command)) => Err(misplaced(account, command)),
        _ if cli.is_about_state() && cli.wanted().iter().any(|name| name.contains("://")) => {
            let message = "`state` is for accounts of the configuration: a URL settles nothing";
            Err(command().error(ErrorKind::InvalidValue, message))
        }
        (_, Some(Command::State { command: State::Forget { ids, before: None, .. } }))
            if ids.is_empty() && !cli.options.flags.has("all") =>
        {
            let message = "`state forget` wants to know what: `--id ID`, `--before DATE` or `--all`";
            Err(command().error(ErrorKind::MissingRequiredArgument, message))
        }
        _ if cli.options.sources().iter().filter(|source| **source == Source::Stdin).count() > 1 => {
            Err(command()
                .error(ErrorKind::ArgumentConflict, "standard input can be read once: one `--config -` is enough"))
        }
        _ => Ok(cli),
    }
}

/// Parses. Without a command nothing is built that commands take: that would be a large part of a quiet run.
fn understood(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let is_command = |argument: &OsString| argument.to_str().is_some_and(Command::has_subcommand);
    if !arguments.iter().skip(1).any(is_command) {
        let mut definition = Plain::command();
        let matches = definition.try_get_matches_from_mut(arguments);
        // Its hundreds of parts cost more to free than to use.
        std::mem::forget(definition);
        if let Ok(Plain { wanted, options }) = matches.and_then(|matches| Plain::from_arg_matches(&matches)) {
            return Ok(Cli { wanted, command: None, options });
        }
    }
    // What is wrong is told with the commands in mind.
    Cli::try_parse_from(arguments)
}

fn misplaced(account: &str, misplaced: &Command) -> clap::Error {
    let account = crate::text::printable(account.as_bytes());
    let name = match misplaced {
        Command::Fetch(_) => "fetch",
        Command::Check(_) => "check",
        Command::List(_) => "list",
        Command::Login { .. } => "login",
        Command::Logout { .. } => "logout",
        Command::State { .. } => "state",
    };
    let message = format!("`{name}` comes before the accounts; `popfetch fetch {account} {name}` fetches both");
    command().error(ErrorKind::ArgumentConflict, message)
}

/// What is wrong with a command that asks where nobody can be asked.
pub fn unasked() -> clap::Error {
    let message = "this asks on a terminal, and there is none; `--yes` says so beforehand";
    command().error(ErrorKind::MissingRequiredArgument, message)
}

/// What is wrong with a command that changes what is known, without the name of an account.
pub fn unnamed() -> clap::Error {
    let message = "there are several accounts; name those that are meant";
    command().error(ErrorKind::MissingRequiredArgument, message)
}

/// What is wrong with signing in or out without a name, where not just one account does.
pub fn not_one_to_sign_in(names: &[&str]) -> clap::Error {
    let message = match names {
        [] => "no account has `oauth2`, so there is nothing to sign in to".to_owned(),
        names => {
            let names: Vec<_> = names.iter().map(|name| crate::text::printable(name.as_bytes())).collect();
            format!("several accounts have `oauth2`; name one of them: {}", names.join(", "))
        }
    };
    command().error(ErrorKind::MissingRequiredArgument, message)
}

/// The definitions, for completions and tests.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The exit status for what [`parse`] did not accept: 64 (EX_USAGE), or 0 when help or the version was asked for.
pub fn exit_status(error: &clap::Error) -> u8 {
    if error.use_stderr() { 64 } else { 0 }
}

impl Cli {
    /// The names and URLs of the accounts that are meant; none means every enabled one.
    pub fn wanted(&self) -> &[String] {
        match &self.command {
            Some(Command::Fetch(wanted) | Command::List(List { wanted, .. })) => &wanted.accounts,
            Some(Command::Check(checked)) => &checked.wanted.accounts,
            Some(Command::Login { account } | Command::Logout { account }) => account.as_slice(),
            Some(Command::State { command }) => match command {
                State::Show { accounts }
                | State::Known { accounts, .. }
                | State::Forget { accounts, .. }
                | State::Retry { accounts, .. }
                | State::Rebuild { accounts, .. } => accounts,
            },
            None => &self.wanted.accounts,
        }
    }

    /// True for what concerns the ledgers alone.
    pub fn is_about_state(&self) -> bool {
        matches!(self.command, Some(Command::State { .. }))
    }

    /// What the user says of messages, instead of fetching them.
    pub fn mark(&self) -> Option<Mark> {
        let octets = |ids: &[OsString]| ids.iter().map(|id| id.as_encoded_bytes().to_vec()).collect::<Vec<_>>();
        let Some(Command::State { command }) = &self.command else { return None };
        match command {
            State::Show { .. } => Some(Mark::Show),
            State::Known { ids, .. } => Some(Mark::Known(octets(ids))),
            State::Forget { before: Some(time), .. } => Some(Mark::Forget(Forgotten::Before(*time))),
            State::Forget { ids, .. } if ids.is_empty() => Some(Mark::Forget(Forgotten::All)),
            State::Forget { ids, .. } => Some(Mark::Forget(Forgotten::Ids(octets(ids)))),
            State::Retry { ids, .. } => Some(Mark::Retry(octets(ids))),
            State::Rebuild { from, .. } => Some(Mark::AtHome(from.clone())),
        }
    }

    /// What is to be done; to fetch, where nothing is said.
    pub fn subcommand(&self) -> Option<&Command> {
        self.command.as_ref()
    }
}

impl Options {
    /// Where the configuration is.
    pub fn sources(&self) -> Vec<Source> {
        self.config.iter().cloned().map(Source::named).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(shell_words::split(line).unwrap().into_iter().map(OsString::from))
    }

    fn cli(line: &str) -> Cli {
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// What options say: words, or `true` and `false`.
    fn flags<const N: usize>(said: [(&str, &str); N]) -> Flags {
        let mut flags = Flags::default();
        for (key, text) in said {
            match text.parse() {
                Ok(value) => flags.boolean(key, value),
                Err(_) => flags.word(key, text),
            }
        }
        flags
    }

    /// The first line of the error, and its exit status.
    fn refused(line: &str) -> (String, u8) {
        let error = parsed(line).err().unwrap_or_else(|| panic!("{line} is accepted"));
        (error.to_string().lines().next().unwrap_or_default().to_owned(), exit_status(&error))
    }

    #[test]
    fn the_definitions_hold_together() {
        command().debug_assert();
    }

    #[test]
    fn accounts_stand_alone_or_behind_the_command() {
        assert_eq!(cli("popfetch").wanted(), [""; 0]);
        assert_eq!(cli("popfetch work pop3s://p@h").wanted(), ["work", "pop3s://p@h"]);
        assert_eq!(cli("popfetch fetch work fetch").wanted(), ["work", "fetch"]);
        assert_eq!(cli("popfetch --all fetch work").wanted(), ["work"]);
        assert_eq!(cli("popfetch -- fetch").wanted(), ["fetch"]);
    }

    #[test]
    fn a_command_behind_an_account_is_refused() {
        let (message, status) = refused("popfetch work --all fetch");
        assert_eq!(message, "error: `fetch` comes before the accounts; `popfetch fetch work fetch` fetches both");
        assert_eq!(status, 64);
        assert_eq!(cli("popfetch work fetch").wanted(), ["work", "fetch"]);
    }

    #[test]
    fn login_wants_one_account() {
        assert!(
            matches!(cli("popfetch login work").subcommand(), Some(Command::Login { account: Some(name) }) if name == "work")
        );
        assert!(matches!(cli("popfetch fetch login").subcommand(), Some(Command::Fetch(_))));
        for line in ["popfetch login", "popfetch logout"] {
            assert_eq!(cli(line).wanted(), [""; 0]);
        }
        assert_eq!(cli("popfetch logout work").wanted(), ["work"]);
        assert_eq!(refused("popfetch login work home").1, 64);
        let (message, _) = refused("popfetch work --all login home");
        assert_eq!(message, "error: `login` comes before the accounts; `popfetch fetch work login` fetches both");
    }

    #[test]
    fn a_check_has_options_of_its_own() {
        let checked = |line| match cli(line).subcommand() {
            Some(Command::Check(Checked { login, twice, offline, .. })) => [*login, *twice, *offline],
            _ => panic!("{line}"),
        };
        assert_eq!(checked("popfetch check"), [false; 3]);
        assert_eq!(checked("popfetch --tls none check --twice work --login"), [true, true, false]);
        assert_eq!(cli("popfetch check work pop3s://p@h --offline").wanted(), ["work", "pop3s://p@h"]);
        assert!(matches!(cli("popfetch fetch check").subcommand(), Some(Command::Fetch(_))));
        for line in ["popfetch check --offline --login", "popfetch check --offline --twice", "popfetch --twice"] {
            assert_eq!(refused(line).1, 64, "{line}");
        }
        let (message, _) = refused("popfetch work --all check");
        assert_eq!(message, "error: `check` comes before the accounts; `popfetch fetch work check` fetches both");
    }

    #[test]
    fn a_list_has_options_of_its_own() {
        let cli = cli("popfetch --fill list --new --sort=size work list --ids");
        assert_eq!((cli.wanted(), cli.options.fill), (&["work".to_owned(), "list".into()][..], true));
        let Some(Command::List(list)) = cli.subcommand() else { panic!("{cli:?}") };
        assert_eq!((list.new, list.sort, list.ids), (true, Some(Sort::Size), true));
        assert_eq!(self::cli("popfetch fetch list").wanted(), ["list"]);
        for line in ["popfetch --new", "popfetch fetch --ids", "popfetch list --sort date"] {
            assert_eq!(refused(line).1, 64, "{line}");
        }
        let (message, _) = refused("popfetch work --all list");
        assert_eq!(message, "error: `list` comes before the accounts; `popfetch fetch work list` fetches both");
    }

    #[test]
    fn options_may_stand_before_and_after_the_command() {
        for line in [
            "popfetch --max-size 20M fetch work",
            "popfetch fetch work --max-size 20M",
            "popfetch fetch --max-size=20M",
        ] {
            assert_eq!(cli(line).options.flags, flags([("max_size", "20M")]), "{line}");
        }
    }

    #[test]
    fn keep_takes_a_duration_only_behind_an_equals_sign() {
        assert_eq!(cli("popfetch").options.flags, flags([]));
        assert_eq!(cli("popfetch --keep work").options.flags, flags([("keep", "true")]));
        assert_eq!(cli("popfetch --keep=2w work").options.flags, flags([("keep", "2w")]));
        assert_eq!(cli("popfetch --no-keep").options.flags, flags([("keep", "false")]));
        assert_eq!(cli("popfetch --keep work").wanted(), ["work"]);
        assert_eq!(refused("popfetch --keep --no-keep").1, 64);
        assert_eq!(refused("popfetch --keep=14").1, 64);
    }

    #[test]
    fn options_are_keys_of_accounts() {
        let line =
            "popfetch --deliver mbox:in --all --max-messages 3 --tls none --ca-file ca.pem --timeout 90s --auth apop";
        let expected = [
            ("deliver", "mbox:in"),
            ("all", "true"),
            ("max_messages", "3"),
            ("tls", "none"),
            ("tls_ca_file", "ca.pem"),
            ("auth", "apop"),
            ("timeout", "90s"),
        ];
        assert_eq!(cli(line).options.flags, flags(expected));
    }

    #[test]
    fn a_path_need_not_be_utf_8() {
        let odd = OsString::from_vec(b"ca-\xff.pem".to_vec());
        let cli = parse(["popfetch".into(), "--ca-file".into(), odd.clone()]).unwrap();
        let mut expected = Flags::default();
        expected.word("tls_ca_file", odd);
        assert_eq!(cli.options.flags, expected);
        let odd = OsString::from_vec(b"mbox:\xff".to_vec());
        assert_eq!(exit_status(&parse(["popfetch".into(), "--deliver".into(), odd]).unwrap_err()), 64);
    }

    #[test]
    fn configurations_may_be_several_and_a_dash_is_standard_input() {
        let sources = |line| cli(line).options.sources();
        assert_eq!(sources("popfetch"), []);
        assert_eq!(sources("popfetch --config -"), [Source::Stdin]);
        assert_eq!(
            sources("popfetch --config ./- --config=- --config d"),
            [Source::Path("./-".into()), Source::Stdin, Source::Path("d".into())]
        );
        assert_eq!(refused("popfetch --config - --config -").1, 64);
    }

    #[test]
    fn how_much_is_said() {
        assert_eq!(cli("popfetch -vv").options.verbose, 2);
        assert_eq!(cli("popfetch --progress never").options.progress, Progress::Never);
        assert_eq!(refused("popfetch -q -v").1, 64);
    }

    #[test]
    fn usage_errors_say_what_is_accepted() {
        let (message, status) = refused("popfetch --max-size 20MB");
        assert_eq!(status, 64);
        assert!(
            message.ends_with("expected octets such as `500000`, or `20M` (k, M, G: powers of 1024), not zero"),
            "{message}"
        );
        for line in ["popfetch --jobs 0", "popfetch --max-messages 0", "popfetch --tls ssl", "popfetch --timeout 0"] {
            assert_eq!(refused(line).1, 64, "{line}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in ["popfetch --help", "popfetch -h", "popfetch -V", "popfetch fetch --help"] {
            assert_eq!(refused(line).1, 0, "{line}");
        }
    }

    #[test]
    fn a_password_is_no_option() {
        let names: Vec<_> = command().get_arguments().map(|argument| argument.get_id().to_string()).collect();
        assert!(!names.iter().any(|name| name.contains("pass")), "{names:?}");
    }

    #[test]
    fn every_option_has_one_line_of_help() {
        for argument in command().get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty() && !help.contains('\n') && !help.ends_with('.'), "{}: {help}", argument.get_id());
        }
    }
}
