//! The documents and the program say the same, both ways.
//!
//! Options, values, exit status, keys and defaults are compared with the code, and every example is given to the
//! parser that will get it. Each comparison returns complaints, and has a test that it can complain. Completions are
//! generated: `POPFETCH_UPDATE=1 cargo test docs` writes them anew.

mod blocks;
mod claims;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap_complete::Shell;
use popfetch::account::Account;
use popfetch::cli;
use popfetch::config::{self, Error, Flags, Key, Secrecy, Source};
use popfetch::failure::{Kind, exit_status};
use popfetch::ledger::{self, Ledger};

use crate::sandbox::left_out;
use blocks::Block;

/// What is in an example must be said, or nothing can hold it to anything.
const KINDS: [&str; 8] = ["toml", "json", "jsonl", "sh", "crontab", "ini", "text", "console"];

const NONE: [&str; 0] = [];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn readme() -> String {
    read("README.md")
}

fn page() -> String {
    read("man/popfetch.1")
}

fn config_page() -> String {
    read("man/popfetch.toml.5")
}

/// The whole command line: help, version and global options are only there when clap has built it.
fn command() -> clap::Command {
    let mut command = cli::command();
    command.build();
    command
}

// mdoc(7), as far as it is needed

fn section<'p>(page: &'p str, name: &str) -> &'p str {
    let (_, after) = page.split_once(&format!(".Sh {name}\n")).unwrap_or_else(|| panic!("no section {name}"));
    after.split("\n.Sh ").next().unwrap_or_default()
}

fn subsection<'p>(page: &'p str, name: &str) -> &'p str {
    let (_, after) = page.split_once(&format!(".Ss {name}\n")).unwrap_or_else(|| panic!("no subsection {name}"));
    after.split("\n.Ss ").next().and_then(|text| text.split("\n.Sh ").next()).unwrap_or_default()
}

/// Heads and bodies of list items.
fn items(text: &str) -> Vec<(&str, &str)> {
    let items = text.split("\n.It ").skip(1);
    items.map(|item| item.split_once('\n').unwrap_or((item, ""))).collect()
}

/// The arguments that stand directly behind a macro, anywhere in the lines that are macros.
fn behind<'p>(name: &str, text: &'p str) -> Vec<&'p str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix('.'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .flat_map(|words| words.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1]).collect::<Vec<_>>())
        .collect()
}

fn flags(text: &str) -> BTreeSet<String> {
    behind("Fl", text).into_iter().map(|flag| format!("-{flag}")).collect()
}

// Options and their values

fn spellings(argument: &clap::Arg) -> Vec<String> {
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    short.into_iter().chain(long).collect()
}

fn visible_options(command: &clap::Command) -> Vec<&clap::Arg> {
    command.get_arguments().filter(|argument| !argument.is_hide_set() && !argument.is_positional()).collect()
}

/// The options of commands alone, which are told where their command is.
fn options_of_commands(command: &clap::Command) -> BTreeSet<String> {
    let below = |command: &clap::Command| {
        let own = visible_options(command).into_iter().filter(|option| !option.is_global_set()).flat_map(spellings);
        own.chain(options_of_commands(command)).collect::<Vec<_>>()
    };
    command.get_subcommands().flat_map(below).collect()
}

fn wrong_options(page: &str, elsewhere: &str) -> Vec<String> {
    let command = command();
    let everywhere: BTreeSet<String> = visible_options(&command).into_iter().flat_map(spellings).collect();
    let of_commands = options_of_commands(&command);
    let untold = of_commands.difference(&flags(section(page, "DESCRIPTION"))).cloned().collect();
    let exist = &everywhere | &of_commands;
    let wanted = &everywhere | &untold;
    let heads: String = items(section(page, "OPTIONS")).iter().map(|(head, _)| format!(".{head}\n")).collect();
    let described = flags(&heads);
    let named = flags(&(page.to_owned() + elsewhere));
    let missing = wanted.difference(&described).map(|option| format!("`{option}` is not described"));
    missing.chain(named.difference(&exist).map(|option| format!("there is no `{option}`"))).collect()
}

fn wrong_values(page: &str) -> Vec<String> {
    let command = command();
    let mut complaints = Vec::new();
    let of_commands = command.get_subcommands().flat_map(visible_options);
    let options = visible_options(&command).into_iter().chain(of_commands.filter(|option| !option.is_global_set()));
    for option in options.filter(|option| option.get_action().takes_values()) {
        let name = spellings(option).pop().unwrap_or_default();
        let values = option.get_possible_values();
        let exist: BTreeSet<&str> = values.iter().filter(|value| !value.is_hide_set()).map(|v| v.get_name()).collect();
        let items = items(section(page, "OPTIONS"));
        let body = items.iter().find(|(head, _)| flags(&format!(".{head}")).contains(&name)).map_or("", |item| item.1);
        let described: BTreeSet<&str> = behind("Cm", body).into_iter().collect();
        complaints.extend(exist.difference(&described).map(|value| format!("`{name} {value}` is not described")));
        complaints.extend(described.difference(&exist).map(|value| format!("there is no `{name} {value}`")));
    }
    complaints
}

fn wrong_commands(page: &str) -> Vec<String> {
    let command = command();
    let commands: Vec<_> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let nested = |command: &clap::Command| {
        let (name, below) = (command.get_name(), command.get_subcommands());
        below.map(|below| format!("{name} {}", below.get_name())).collect::<Vec<_>>()
    };
    let untold = commands.iter().copied().flat_map(nested).filter(|words| !page.contains(&format!("\n.Cm {words}\n")));
    let untold: Vec<String> = untold.map(|words| format!("`{words}` is not described")).collect();
    let exist: BTreeSet<&str> = commands.into_iter().map(clap::Command::get_name).collect();
    let described: BTreeSet<&str> = behind("Cm", section(page, "SYNOPSIS")).into_iter().collect();
    let different =
        exist.symmetric_difference(&described).map(|name| format!("`{name}` is only in one of code and page"));
    different.chain(untold).collect()
}

#[test]
fn every_option_is_described_and_every_described_one_exists() {
    assert_eq!(wrong_options(&page(), &config_page()), NONE);
    assert_eq!(wrong_values(&page()), NONE);
    assert_eq!(wrong_commands(&page()), NONE);
}

#[test]
fn wrong_options_values_and_commands_are_found() {
    let options = page().replace(".It Fl -jobs ", ".It Fl -job ");
    assert_eq!(
        wrong_options(&options, ".Fl x\n"),
        ["`--jobs` is not described", "there is no `--job`", "there is no `-x`"]
    );
    let values = page().replace(".Cm starttls\n", ".Cm stls\n");
    assert_eq!(wrong_values(&values), ["`--tls starttls` is not described", "there is no `--tls stls`"]);
    let commands = page().replace(".Op Cm fetch\n", ".Op Cm lists\n");
    assert_eq!(wrong_commands(&commands).len(), 2);
}

// Exit status

type Table = Vec<(String, String)>;

fn table_in_help() -> Table {
    let help = command().render_long_help().to_string();
    let (_, after) = help.split_once("Exit status:\n").expect("the help has the table");
    after.lines().filter_map(|line| row(line.trim().split_once(' ')?)).collect()
}

fn table_in_page(page: &str) -> Table {
    let items = items(section(page, "EXIT STATUS"));
    items.iter().filter_map(|(head, body)| row((head, body.lines().next()?))).collect()
}

fn table_in_readme(readme: &str) -> Table {
    let rows = readme.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')?.split_once('|'));
    rows.filter_map(row).collect()
}

fn row((code, meaning): (&str, &str)) -> Option<(String, String)> {
    let code = code.trim();
    code.parse::<u8>().is_ok().then(|| (code.to_owned(), meaning.trim().to_owned()))
}

/// The code of every kind of failure; a new one does not compile before it is added here.
fn statuses() -> Vec<u8> {
    use Kind::*;
    let all = [Usage, BadState, UnknownHost, Unavailable, CannotCreate, Io, Temporary, Protocol, LoginRefused];
    let also = [1, 2, 15].map(|signal| Stopped(popfetch::stop::Stopped { signal }));
    let all = all.into_iter().chain([Configuration, NoMail]).chain(also);
    let code = |kind: Kind| match kind {
        Usage | BadState | UnknownHost | Unavailable | CannotCreate | Io => kind.code(),
        Temporary | Protocol | LoginRefused | Configuration | Stopped(_) | NoMail => kind.code(),
    };
    [exit_status(None)].into_iter().chain(all.map(code)).collect()
}

fn wrong_statuses(table: &Table) -> Vec<String> {
    let codes: Vec<String> = statuses().iter().map(u8::to_string).collect();
    let is_said = |code: &&String| table.iter().any(|(row, text)| row == *code || text.contains(code.as_str()));
    let unsaid = codes.iter().filter(|code| !is_said(code)).map(|code| format!("{code} is not described"));
    let unknown = table.iter().filter(|(row, _)| !codes.contains(row)).map(|(row, _)| format!("there is no {row}"));
    unsaid.chain(unknown).collect()
}

#[test]
fn help_page_and_readme_have_the_same_exit_statuses_and_so_has_the_code() {
    let help = table_in_help();
    assert_eq!(wrong_statuses(&help), NONE);
    assert_eq!(table_in_page(&page()), help);
    assert_eq!(table_in_readme(&readme()), help);
}

#[test]
fn a_wrong_table_of_exit_statuses_is_found() {
    let mut table = table_in_help();
    table[2].0 = "63".to_owned();
    assert_eq!(wrong_statuses(&table), ["64 is not described", "there is no 63"]);
    let page = page().replace(".It 69\n", ".It 70\n");
    assert_ne!(table_in_page(&page), table_in_help());
    let readme = readme().replace("| wrong usage |", "| usage |");
    assert_ne!(table_in_readme(&readme), table_in_help());
}

// Configuration

/// A configuration in a folder of its own, as its owner would have it.
fn accounts(name: &str, text: &str) -> Result<Vec<Account>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    config::accounts(&[Source::Path(file)], &Flags::default(), &[])
}

fn names<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Vec<&'k str> {
    keys.into_iter().map(|key| key.name).collect()
}

fn wrong_keys(page: &str) -> Vec<String> {
    let (identity, policy): (Vec<_>, Vec<_>) = config::account_keys().partition(|key| key.is_of_account);
    let in_deliver = names(config::target_keys());
    let mut complaints = wrong_keys_in(subsection(page, "Tables"), &config::TABLES);
    complaints.extend(wrong_keys_in(subsection(page, "Maildrop"), &names(identity)));
    complaints.extend(wrong_keys_in(subsection(page, "Policy"), &names(policy)));
    complaints.extend(wrong_keys_in(subsection(page, "OAuth 2.0"), &names(config::oauth2_keys())));
    complaints.extend(wrong_keys_in(subsection(page, "Rules"), &names(config::rule_keys())));
    complaints.extend(wrong_keys_in(subsection(page, "Targets"), &names(config::named_target_keys())));
    let deliver = items(subsection(page, "Policy")).into_iter().find(|(head, _)| head.starts_with("Ic deliver "));
    assert!(deliver.is_some(), "there is no item for `deliver`");
    let of_deliver = subsection(page, "Policy").split("\n.It Ic ").find(|item| item.starts_with("deliver "));
    let named: Vec<_> =
        behind("Ic", of_deliver.unwrap_or_default()).into_iter().map(|key| key.trim_end_matches(',')).collect();
    complaints.extend(difference(&named, &in_deliver));
    complaints
}

fn wrong_keys_in(text: &str, exist: &[&str]) -> Vec<String> {
    let described: Vec<_> = items(text).into_iter().filter_map(|(head, _)| key_of(head)).collect();
    difference(&described, exist)
}

fn key_of(head: &str) -> Option<&str> {
    head.strip_prefix("Ic ")?.split(' ').next()
}

fn difference(described: &[&str], exist: &[&str]) -> Vec<String> {
    let missing = exist.iter().filter(|key| !described.contains(key)).map(|key| format!("`{key}` is not described"));
    let unknown = described.iter().filter(|key| !exist.contains(key)).map(|key| format!("there is no key `{key}`"));
    missing.chain(unknown).collect()
}

/// The page says of every secret that others must not be able to read its file.
fn unprotected_secrets(page: &str) -> Vec<String> {
    let keys = config::account_keys().chain(config::oauth2_keys());
    let secrets = keys.filter(|key| matches!(key.secrecy, Secrecy::Secret | Secrecy::Login)).map(|key| key.name);
    let (introduction, _) = page.split_once("\n.Ss ").unwrap_or((page, ""));
    let named = behind("Ic", introduction);
    let missing = secrets.filter(|key| !named.contains(key));
    missing.map(|key| format!("nothing says who may read a file with `{key}`")).collect()
}

/// The page has the default of each key, and an account to which it is written is the same account.
fn wrong_defaults(page: &str) -> Vec<String> {
    let bare = "[accounts.a]\nserver = \"h\"\nuser = \"u\"\ndeliver = \"mbox:/m\"\n";
    let expected = accounts("config.toml", bare).expect("it has all that an account needs");
    // A rule has keys of the same names, and so has a target.
    let page = page.replace(subsection(page, "Rules"), "").replace(subsection(page, "Targets"), "");
    let described: Vec<_> =
        items(&page).into_iter().filter_map(|(head, _)| Some((key_of(head)?, default_of(head)))).collect();
    let mut complaints = Vec::new();
    for key in config::account_keys() {
        let default = key.default.map(|default| default.to_string());
        if described.iter().any(|(name, described)| *name == key.name && *described != default) {
            complaints.push(format!("the default of `{}` is {default:?}", key.name));
        }
        let Some(default) = default else { continue };
        let line = format!("{} = {default}", key.name);
        if accounts("config.toml", &format!("{bare}{line}\n")).ok().as_ref() != Some(&expected) {
            complaints.push(format!("`{line}` changes an account"));
        }
    }
    complaints
}

fn default_of(head: &str) -> Option<String> {
    head.split_once("; default Li ").map(|(_, default)| blocks::unescaped(default))
}

#[test]
fn every_key_is_described_where_it_belongs_and_every_described_one_exists() {
    assert_eq!(wrong_keys(&config_page()), NONE);
    assert_eq!(wrong_defaults(&config_page()), NONE);
    assert_eq!(unprotected_secrets(&config_page()), NONE);
}

#[test]
fn wrong_keys_and_defaults_are_found() {
    let page = config_page().replace(".It Ic max_size ", ".It Ic maxsize ");
    assert_eq!(wrong_keys(&page), ["`max_size` is not described", "there is no key `maxsize`"]);
    let page = config_page().replace("default Li 60\n", "default Li 61\n");
    assert_eq!(wrong_defaults(&page), ["the default of `timeout` is Some(\"60\")"]);
    let page = config_page().replace(".Ic client_secret\nor\n", "");
    assert_eq!(unprotected_secrets(&page), ["nothing says who may read a file with `client_secret`"]);
    let page = config_page().replace(".Ic mbox Pq string", ".Ic mailbox Pq string");
    assert_eq!(wrong_keys(&page), ["`mbox` is not described", "there is no key `mailbox`"]);
    let page = config_page().replace(".It Ic flow ", ".It Ic flows ");
    assert_eq!(wrong_keys(&page), ["`flow` is not described", "there is no key `flows`"]);
}

// Examples

fn all_blocks() -> Vec<Block> {
    let in_pages = [page(), config_page()].into_iter().flat_map(|page| blocks::of_mdoc(&page));
    blocks::of_markdown(&readme()).into_iter().chain(in_pages).collect()
}

/// Gives an example to the parser that will get it.
fn wrong_example(block: &Block) -> Vec<String> {
    match block.kind.as_str() {
        kind if !KINDS.contains(&kind) => vec![format!("nothing says what this is:\n{}", block.text)],
        "toml" => wrong_configuration("config.toml", &block.text),
        "json" => wrong_configuration("config.json", &block.text),
        "jsonl" => wrong_ledger(&block.text),
        _ => wrong_command_lines(block),
    }
}

fn wrong_configuration(name: &str, text: &str) -> Vec<String> {
    match accounts(name, text) {
        Ok(_) | Err(Error::AllDisabled { .. }) => vec![],
        Err(error) => vec![format!("{error}, in:\n{text}")],
    }
}

fn wrong_ledger(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("example.jsonl"), text).unwrap();
    match Ledger::open(folder.path(), "example", "petar@pop.example.com") {
        Ok((_, notices)) => notices.damaged.iter().map(|line| format!("line {line} is no ledger's:\n{text}")).collect(),
        Err(error) => vec![format!("{error}, in:\n{text}")],
    }
}

#[test]
fn every_key_of_a_ledgers_line_is_described_in_the_manual() {
    let page = section(include_str!("../man/popfetch.1"), "THE LEDGER");
    let words = |macros: &str| -> BTreeSet<&str> {
        let lines = page.lines().filter_map(|line| line.strip_prefix(macros));
        lines.flat_map(str::split_whitespace).filter(|word| word.len() > 1).collect()
    };
    let (items, keys) = (words(".It Ic "), BTreeSet::from(ledger::KEYS));
    let missing: Vec<_> = keys.iter().filter(|key| !items.contains(**key) && !words(".Ic ").contains(**key)).collect();
    assert_eq!((missing, items.difference(&keys).collect::<Vec<_>>()), (vec![], vec![]));
}

#[test]
fn a_quotation_ends_before_the_next_macro_of_its_line() {
    let pages = [include_str!("../man/popfetch.1"), include_str!("../man/popfetch.toml.5")];
    let is_open =
        |line: &&str| line.split_once("Ql ").is_some_and(|(_, rest)| rest.contains(" Ql ") || rest.contains(" No "));
    let open: Vec<_> =
        pages.iter().flat_map(|page| page.lines()).filter(|line| line.starts_with('.')).filter(is_open).collect();
    assert!(open.is_empty(), "{open:?}");
}

fn wrong_command_lines(block: &Block) -> Vec<String> {
    let complaint = |words: Vec<_>| cli::parse(words.clone()).err().map(|error| format!("{words:?}: {error}"));
    blocks::commands(block).into_iter().filter_map(complaint).collect()
}

#[test]
fn every_example_is_accepted_by_the_parser_that_gets_it() {
    let complaints: Vec<_> = all_blocks().iter().flat_map(wrong_example).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let commands: usize = all_blocks().iter().map(|block| blocks::commands(block).len()).sum();
    assert!(commands > 10, "the documents show how to call popfetch, and only {commands} calls are found");
}

#[test]
fn wrong_examples_are_found() {
    for (kind, text) in [
        ("", "anything"),
        ("toml", "[accounts.a]\nserver = 1\n"),
        ("json", "{ \"accounts\": { \"a\": {} } }"),
        ("jsonl", "{\"popfetch\":3}\n{\"publish\":1}\n"),
        ("sh", "$ popfetch --no-such-option | jq .\n"),
        ("sh", "popfetch work \\\n  --tls ssl\n"),
        ("crontab", "*/5 * * * * popfetch --quite\n"),
        ("ini", "[Service]\nExecStart=%h/bin/popfetch --all --none\n"),
    ] {
        let block = Block { kind: kind.to_owned(), text: text.to_owned() };
        assert_eq!(wrong_example(&block).len(), 1, "{block:?}");
    }
}

#[test]
fn blocks_are_found_in_markdown_and_mdoc() {
    let block = |kind: &str, text: &str| Block { kind: kind.to_owned(), text: text.to_owned() };
    let markdown = "a\n```toml\nx = 1\n```\nb\n```\ny\n```\n";
    assert_eq!(blocks::of_markdown(markdown), [block("toml", "x = 1\n"), block("", "y\n")]);
    let mdoc = ".\\\" sh\n.Bd -literal\npopfetch \\-q \\(ti\n.Ed\n.Pp\n.Bd -literal\nx\n.Ed\n";
    assert_eq!(blocks::of_mdoc(mdoc), [block("sh", "popfetch -q ~\n"), block("", "x\n")]);
}

// Completions, and the rest

fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "popfetch", &mut script);
    script
}

fn wrong_completions(shell: Shell, file: &Path) -> Option<String> {
    let is_current = fs::read(file).is_ok_and(|script| script == completions(shell));
    let name = file.display();
    (!is_current).then(|| format!("`{name}` is not what the options are; run `POPFETCH_UPDATE=1 cargo test docs`"))
}

#[test]
fn completions_are_those_of_the_options() {
    for (shell, name) in [(Shell::Bash, "popfetch.bash"), (Shell::Zsh, "_popfetch"), (Shell::Fish, "popfetch.fish")] {
        let file = path("completions").join(name);
        if std::env::var_os("POPFETCH_UPDATE").is_some_and(|value| value == "1") {
            fs::write(&file, completions(shell)).unwrap();
        }
        assert_eq!(wrong_completions(shell, &file), None);
    }
}

#[test]
fn completions_of_other_options_are_found() {
    assert!(wrong_completions(Shell::Bash, &path("completions/popfetch.fish")).is_some());
    assert!(wrong_completions(Shell::Bash, Path::new("/nonexistent")).is_some());
}

fn has_unreleased(changelog: &str) -> bool {
    changelog.lines().any(|line| line == "## [Unreleased]")
}

#[test]
fn the_changelog_has_a_place_for_what_comes_next() {
    assert!(has_unreleased(&read("CHANGELOG.md")));
    assert!(!has_unreleased("# Changelog\n\n## [0.1.0]\n"));
}

/// Files that a document points at and that are not there.
fn dead_links(document: &str) -> Vec<&str> {
    let targets = document.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#') && !path(target).exists()).collect()
}

#[test]
fn the_readme_points_at_files_that_exist() {
    assert_eq!(dead_links(&readme()), NONE);
    assert_eq!(dead_links("[a](b.md) [c](README.md) [d](https://example.org/)"), ["b.md"]);
}

/// What mandoc has to say about a page, but for other programs' pages that are not installed here.
fn lint(file: &Path) -> Option<Vec<String>> {
    let output = Command::new("mandoc").args(["-T", "lint", "-W", "style"]).arg(file).output().ok()?;
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(lines.lines().filter(|line| !line.contains("referenced manual not found")).map(str::to_owned).collect())
}

#[test]
fn mandoc_has_no_complaint() {
    for name in ["man/popfetch.1", "man/popfetch.toml.5"] {
        match lint(&path(name)) {
            Some(complaints) => assert_eq!(complaints, NONE),
            None => left_out("the lint of the manual pages", "mandoc is not installed"),
        }
    }
}

#[test]
fn mandoc_complains_of_a_broken_page() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config_page().replace(".El\n", "")).unwrap();
    assert_ne!(lint(file.path()), Some(vec![]));
}
