//! Files and flags become [`Account`]s.
//!
//! One tree of values with their places is read from TOML and from JSON (`value`), one set of keys gives it its
//! meaning (`settings`), and the first thing that is wrong is told with its line and column. Everything is checked
//! here, before anybody connects, but for passwords, of which only the places are known.
//! Knows nothing of networks, and writes nothing.

mod document;
mod error;
pub mod forms;
mod oauth2;
mod paths;
mod proxy;
mod settings;
mod url;
mod value;

use std::collections::HashMap;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use crate::account::{Account, Auth, Keep, Target, TlsMode};
use crate::os::exposure;
use crate::text;
use document::Document;
use error::Fault;
pub use error::{Error, Place, Problem};
use forms::Expected;
use paths::{Environment, Paths};
use settings::Settings;
pub use url::Error as UrlError;
use url::Url;
use value::{Entry, Table, Value};

/// Where the configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In this file.
    File(PathBuf),
    /// On standard input.
    Stdin,
    /// In `$XDG_CONFIG_HOME/popfetch/config.toml`, which may be absent when only URLs are wanted.
    Default,
}

/// What flags say about every account of the run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `--deliver`
    pub deliver: Option<Target>,
    /// `--keep`, `--no-keep`
    pub keep: Option<Keep>,
    /// `--all`
    pub all: bool,
    /// `--max-messages`
    pub max_messages: Option<u64>,
    /// `--max-size`
    pub max_size: Option<u64>,
    /// `--tls`
    pub tls: Option<TlsMode>,
    /// `--ca-file`
    pub ca_file: Option<PathBuf>,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// `--auth`
    pub auth: Option<Auth>,
}

/// The accounts to fetch, in the order of `wanted`, or every enabled one in the order of the file.
///
/// `wanted` are names and URLs; what is named twice is there once. The whole configuration is checked, whatever is
/// wanted. Passwords are not asked for yet.
pub fn accounts(source: &Source, overrides: &Overrides, wanted: &[String]) -> Result<Vec<Account>, Error> {
    let environment = Environment::of_process();
    let overrides = overrides.resolved(&environment)?;
    Configuration::read(source, &environment, &overrides)?.pick(&overrides, wanted)
}

/// The folder of the ledgers: the flag's, or `$XDG_STATE_HOME/popfetch`, or `~/.local/state/popfetch`. Others who can
/// exchange what is in it would decide what counts as delivered.
pub fn state_dir(flag: Option<PathBuf>) -> Result<PathBuf, Error> {
    let environment = Environment::of_process();
    let here = env::current_dir().unwrap_or_default();
    let paths = Paths { environment: &environment, folder: &here };
    let of_flag = flag.map(|flag| paths.resolve(&flag).unwrap_or_else(|_| here.join(flag)));
    let folder = of_flag.unwrap_or_else(|| environment.state_dir());
    match exposure::of_state(&folder) {
        Some(exposure) => Err(Error::State { folder, exposure }),
        None => Ok(folder),
    }
}

impl Overrides {
    /// With paths that are absolute: those of flags are relative to the current folder.
    fn resolved(&self, environment: &Environment) -> Result<Self, Error> {
        let here = env::current_dir().unwrap_or_default();
        let paths = Paths { environment, folder: &here };
        let wrong = |flag| move |expected| Error::Flag { flag, expected };
        Ok(Overrides {
            deliver: self
                .deliver
                .clone()
                .map(|target| paths.resolve_target(target))
                .transpose()
                .map_err(wrong("--deliver"))?,
            ca_file: self.ca_file.as_deref().map(|path| paths.resolve(path)).transpose().map_err(wrong("--ca-file"))?,
            ..self.clone()
        })
    }
}

const ACCOUNTS: Expected = Expected("tables such as `[accounts.work]`");
const TABLE: Expected = Expected("a table");

/// What a configuration says, under the flags.
#[derive(Debug)]
struct Configuration {
    /// What it is called in errors.
    file: String,
    is_absent: bool,
    defaults: Settings,
    accounts: Vec<Account>,
}

impl Configuration {
    fn read(source: &Source, environment: &Environment, overrides: &Overrides) -> Result<Self, Error> {
        match Document::open(source, environment)? {
            Some(document) => Self::understand(&document, environment, overrides),
            None => Ok(Self::absent(environment.config_file().display().to_string())),
        }
    }

    fn absent(file: String) -> Self {
        Configuration { file, is_absent: true, defaults: Settings::default(), accounts: Vec::new() }
    }

    fn understand(document: &Document, environment: &Environment, overrides: &Overrides) -> Result<Self, Error> {
        let paths = Paths { environment, folder: &document.folder };
        let mut configuration = Self { is_absent: false, ..Self::absent(document.name.clone()) };
        let table = document.table()?;
        configuration.fill(&table, paths, overrides).map_err(|fault| document.error(fault))?;
        Ok(configuration)
    }

    fn fill(&mut self, table: &Table, paths: Paths<'_>, overrides: &Overrides) -> Result<(), Fault> {
        if let Some(entry) = table.iter().find(|entry| !["defaults", "accounts"].contains(&entry.key.as_str())) {
            return Err(not_at_top(entry));
        }
        if let Some(entry) = table.get("defaults") {
            self.defaults.read(table_of(entry, TABLE)?, &Place::Defaults, paths)?;
        }
        let Some(entry) = table.get("accounts") else { return Ok(()) };
        let mut maildrops = HashMap::new();
        for entry in table_of(entry, ACCOUNTS)?.iter() {
            let account = self.account(entry, paths, overrides)?;
            // A maildrop has one ledger. Two accounts would take turns with it, and each would miss what the other fetched.
            let lowercase = Account { host: account.host.to_ascii_lowercase(), ..account.clone() };
            if let Some(other) = maildrops.insert(lowercase.maildrop(), account.name.clone()) {
                let (name, maildrop) = (account.name.clone(), account.address());
                return Err(Fault { at: entry.key_at, problem: Problem::SameMaildrop { name, other, maildrop } });
            }
            self.accounts.push(account);
        }
        Ok(())
    }

    fn account(&self, entry: &Entry, paths: Paths<'_>, overrides: &Overrides) -> Result<Account, Fault> {
        let name = entry.key.clone();
        // A name is also that of a file among the service manager's credentials, and it is not a URL.
        if name.is_empty() || name.contains(['/', '\0']) || name.contains(char::is_control) {
            return Err(Fault { at: entry.key_at, problem: Problem::AccountName(name) });
        }
        let place = Place::Account(name.clone());
        let mut settings = self.defaults.clone();
        settings.read(table_of(entry, TABLE)?, &place, paths)?;
        settings
            .account(name, false, overrides)
            .map_err(|missing| Fault { at: entry.key_at, problem: Problem::Missing { place, keys: missing.keys() } })
    }

    fn pick(self, overrides: &Overrides, wanted: &[String]) -> Result<Vec<Account>, Error> {
        if wanted.is_empty() {
            return self.enabled();
        }
        let mut picked: Vec<Account> = Vec::new();
        for typed in wanted {
            let account = if url::is_url(typed) { self.one_off(overrides, typed)? } else { self.named(typed)? };
            if !picked.iter().any(|other| other.name == account.name && other.one_off == account.one_off) {
                picked.push(account);
            }
        }
        Ok(picked)
    }

    fn enabled(self) -> Result<Vec<Account>, Error> {
        if self.accounts.is_empty() {
            return Err(Error::NoAccounts { file: self.file });
        }
        let enabled: Vec<_> = self.accounts.into_iter().filter(|account| account.enabled).collect();
        if enabled.is_empty() { Err(Error::AllDisabled { file: self.file }) } else { Ok(enabled) }
    }

    fn named(&self, name: &str) -> Result<Account, Error> {
        if self.is_absent {
            return Err(Error::Unreadable { file: self.file.clone(), source: Errno::NOENT.into() });
        }
        let found = self.accounts.iter().find(|account| account.name == name).cloned();
        found.ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<_> = self.accounts.iter().map(|account| account.name.clone()).collect();
        Error::UnknownAccount {
            name: url::redacted(name),
            file: self.file.clone(),
            near: text::nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
            known,
        }
    }

    fn one_off(&self, overrides: &Overrides, typed: &str) -> Result<Account, Error> {
        let shown = || url::redacted(typed);
        let url = Url::parse(typed).map_err(|problem| Error::Url { shown: shown(), problem })?;
        let mut settings = self.defaults.clone();
        settings.set_url(url);
        let account =
            settings.account(String::new(), true, overrides).map_err(|_| Error::NoTarget { shown: shown() })?;
        Ok(Account { name: account.address(), enabled: true, ..account })
    }
}

fn table_of(entry: &Entry, expected: Expected) -> Result<&Table, Fault> {
    match &entry.value {
        Value::Table(table) => Ok(table),
        _ => Err(entry.fault(expected)),
    }
}

fn not_at_top(entry: &Entry) -> Fault {
    let key = entry.key.clone();
    let problem = match settings::is_key(&key) {
        true => Problem::NotAtTop(key),
        false => Problem::UnknownKey { key, place: Place::Top, known: vec!["defaults", "accounts"] },
    };
    Fault { at: entry.key_at, problem }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::account::{Password, Proxy, ProxyKind, Route, Secret, Tls};

    /// A home folder with a configuration in it.
    struct Home {
        folder: tempfile::TempDir,
        environment: Environment,
    }

    impl Home {
        fn empty() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let environment = Environment { home: folder.path().into(), ..Environment::default() };
            Home { folder, environment }
        }

        fn with(text: impl AsRef<[u8]>) -> Self {
            let home = Home::empty();
            home.write("config.toml", text);
            home
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
            let path = self.path(".config/popfetch").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn accounts(&self, source: &Source, overrides: &Overrides, wanted: &[&str]) -> Result<Vec<Account>, Error> {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            let overrides = overrides.resolved(&self.environment)?;
            Configuration::read(source, &self.environment, &overrides)?.pick(&overrides, &wanted)
        }

        fn wanted(&self, wanted: &[&str]) -> Result<Vec<Account>, Error> {
            self.accounts(&Source::Default, &Overrides::default(), wanted)
        }

        fn account(&self, wanted: &str) -> Account {
            let mut accounts = self.wanted(&[wanted]).unwrap_or_else(|error| panic!("{error}"));
            accounts.remove(0)
        }

        /// The error, with the home folder as `~`.
        fn refused(&self, result: Result<Vec<Account>, Error>) -> String {
            let message = result.expect_err("is accepted").to_string();
            assert!(!message.contains('\n'), "more than a line: {message}");
            message.replace(&self.folder.path().display().to_string(), "~")
        }
    }

    /// The error that a configuration is refused with, without the path before the line.
    fn refused(text: &str) -> String {
        let home = Home::with(text);
        let message = home.refused(home.wanted(&[]));
        message.strip_prefix("~/.config/popfetch/config.toml:").unwrap_or(&message).to_owned()
    }

    const WORK: &str = "[accounts.work]\nserver = \"pop.example.com\"\nuser = \"petar\"\ndeliver = \"maildir:in\"\n";

    fn work(line: &str) -> String {
        format!("{WORK}{line}\n")
    }

    fn urls_to(target: &str) -> Overrides {
        Overrides { deliver: Some(forms::target(target).unwrap()), ..Overrides::default() }
    }

    #[test]
    fn an_account_needs_a_server_a_user_and_a_target() {
        let home = Home::with(WORK);
        let expected = Account {
            name: "work".to_owned(),
            host: "pop.example.com".to_owned(),
            port: 995,
            route: Route::default(),
            tls: Tls::new(TlsMode::Implicit),
            user: "petar".to_owned(),
            secret: Secret::Ambient,
            auth: Auth::Auto,
            deliver: Target::maildir(home.path(".config/popfetch/in")),
            keep: Keep::Forever,
            all: false,
            max_size: None,
            max_messages: None,
            pipelining: None,
            timeout: Duration::from_secs(60),
            mda_timeout: Duration::from_secs(300),
            owner: None,
            password_timeout: None,
            enabled: true,
            one_off: false,
        };
        assert_eq!(home.wanted(&[]).unwrap(), [expected]);
    }

    #[test]
    fn every_key_has_its_place_in_the_account() {
        let home = Home::with(work(
            "port = 1110\ntls = \"none\"\nauth = \"apop\"\nkeep = \"14d\"\nall = true\nmax_size = \"20M\"\n\
             max_messages = 100\npipelining = false\ntimeout = 30\nmda_timeout = \"2m\"\npassword_timeout = 3\ntls_ca_file = \"~/ca.pem\"\nenabled = false\n\
             password_command = [\"pass\", \"show\", \"mail\"]",
        ));
        let account = home.account("work");
        assert_eq!((account.port, account.tls.mode, account.auth), (1110, TlsMode::None, Auth::Apop));
        assert_eq!(account.tls.ca_file, Some(home.path("ca.pem")));
        assert_eq!((account.keep, account.all), (Keep::For(Duration::from_secs(14 * 86400)), true));
        assert_eq!((account.max_size, account.max_messages), (Some(20 << 20), Some(100)));
        assert_eq!(account.pipelining, Some(false));
        assert_eq!((account.timeout.as_secs(), account.mda_timeout.as_secs()), (30, 120));
        assert_eq!(account.password_timeout, Some(Duration::from_secs(3)));
        assert_eq!(account.secret, Secret::Command(["pass", "show", "mail"].map(String::from).to_vec()));
        assert!(!account.enabled);
    }

    #[test]
    fn json_says_the_same_as_toml() {
        let toml = "[defaults]\nkeep = false\n[accounts.z]\nurl = \"pop3://a@h\"\ndeliver = { mda = [\"lda\", \"-d\"] }\n\
                    [accounts.a]\nurl = \"pop3s://b@h:99\"\ndeliver = \"mbox:/m\"\npassword = \"p\"\nmax_size = 5\n";
        let json = r#"{ "defaults": { "keep": false }, "accounts": {
            "z": { "url": "pop3://a@h", "deliver": { "mda": ["lda", "-d"] } },
            "a": { "url": "pop3s://b@h:99", "deliver": "mbox:/m", "password": "p", "max_size": 5 } } }"#;
        let home = Home::with(toml);
        let by_name = Source::File(home.write("accounts.json", json));
        let by_brace = Source::File(home.write("accounts", json));
        let accounts = home.wanted(&[]).unwrap();
        assert_eq!(accounts.iter().map(|account| account.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(home.accounts(&by_name, &Overrides::default(), &[]).unwrap(), accounts);
        assert_eq!(home.accounts(&by_brace, &Overrides::default(), &[]).unwrap(), accounts);
    }

    #[test]
    fn accounts_are_read_over_the_defaults_and_flags_go_over_both() {
        let home =
            Home::with(format!("[defaults]\ntimeout = 5\nkeep = false\nauth = \"plain\"\n{}", work("keep = true")));
        let account = home.account("work");
        assert_eq!((account.timeout.as_secs(), account.keep, account.auth), (5, Keep::Forever, Auth::Plain));
        let flags = Overrides { keep: Some(Keep::Never), timeout: Some(Duration::from_secs(7)), ..urls_to("mbox:/m") };
        let account = home.accounts(&Source::Default, &flags, &[]).unwrap().remove(0);
        assert_eq!((account.timeout.as_secs(), account.keep), (7, Keep::Never));
        assert_eq!(account.deliver, Target::mbox("/m"));
    }

    #[test]
    fn the_order_of_keys_and_tables_does_not_matter() {
        let home = Home::with(format!("{WORK}[defaults]\nkeep = false\n"));
        assert_eq!(home.account("work").keep, Keep::Never);
    }

    #[test]
    fn the_port_follows_the_mode_unless_it_is_written() {
        for (lines, mode, port) in [
            ("", TlsMode::Implicit, 995),
            ("tls = \"starttls\"", TlsMode::Starttls, 110),
            ("tls = \"none\"", TlsMode::None, 110),
            ("port = 110", TlsMode::Starttls, 110),
            ("port = 110\ntls = \"implicit\"", TlsMode::Implicit, 110),
            ("port = 2995", TlsMode::Implicit, 2995),
        ] {
            let account = Home::with(work(lines)).account("work");
            assert_eq!((account.tls.mode, account.port), (mode, port), "{lines}");
        }
    }

    #[test]
    fn a_flag_for_tls_moves_the_port_unless_it_is_written() {
        let home = Home::with(work(""));
        let flags = Overrides { tls: Some(TlsMode::None), ..urls_to("mbox:/m") };
        let wanted = ["work", "pop3s://a@h", "pop3s://a@h:995", "pop3s://b@h:1995"];
        let accounts = home.accounts(&Source::Default, &flags, &wanted).unwrap();
        let ports: Vec<_> = accounts.iter().map(|account| (account.tls.mode, account.port)).collect();
        // The second URL is the same maildrop as the first.
        assert_eq!(ports, [(TlsMode::None, 110), (TlsMode::None, 110), (TlsMode::None, 1995)]);
    }

    #[test]
    fn targets_are_strings_or_tables() {
        for (written, expected) in [
            ("\"mbox:~/m\"", "mbox:~/m"),
            ("{ maildir = \"/a:b\" }", "maildir:/a:b"),
            ("{ mbox = \"x\" }", "mbox:~/.config/popfetch/x"),
            ("\"mda:~/bin/lda -d 'a b'\"", "mda:~/bin/lda -d 'a b'"),
            ("{ mda = [\"lda\", \"~\", \"%F\"] }", "mda:lda '~' '%F'"),
        ] {
            let home = Home::with(format!("[accounts.a]\nurl = \"pop3s://p@h\"\ndeliver = {written}\n"));
            let home_folder = home.folder.path().display().to_string();
            assert_eq!(home.account("a").deliver.to_string().replace(&home_folder, "~"), expected, "{written}");
        }
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_its_neighbour() {
        assert_eq!(
            refused(&work("pasword = \"x\"")),
            "5:1: unknown key `pasword` in account `work`; did you mean `password`?"
        );
        assert_eq!(
            refused("[defaults]\n  timout = 3\n"),
            "2:3: unknown key `timout` in `[defaults]`; did you mean `timeout`?"
        );
        assert_eq!(refused("[account.work]\n"), "1:2: unknown key `account` at the top; did you mean `accounts`?");
        assert_eq!(refused("zebra = 1\n"), "1:1: unknown key `zebra` at the top; expected `defaults`, `accounts`");
        let elsewhere = refused("[accounts.a]\nurl = \"pop3s://p@h\"\ndeliver = { mailbox = \"x\" }\n");
        assert_eq!(elsewhere, "3:13: unknown key `mailbox` in `deliver`; expected `maildir`, `mbox`, `mda`");
    }

    #[test]
    fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
        assert_eq!(refused("[defaults]\nuser = \"x\"\n"), "2:1: `user` belongs to an account, not to `[defaults]`");
        assert_eq!(
            refused("keep = true\n"),
            "1:1: `keep` belongs to `[defaults]` or `[accounts.NAME]`, not to the top"
        );
    }

    #[test]
    fn a_wrong_value_is_told_with_its_place_and_what_is_accepted() {
        const DAYS: &str =
            "`true`, `false`, or a duration such as \"14d\" or \"1d12h\" (units s, m, h, d, w), not zero";
        for (line, expected) in [
            ("keep = \"14\"", format!("8: `keep` cannot be \"14\"; expected {DAYS}")),
            ("keep = 14", format!("8: `keep` cannot be 14; expected {DAYS}")),
            ("keep = \"0d\"", format!("8: `keep` cannot be \"0d\"; expected {DAYS}")),
            ("port = 65536", "8: `port` cannot be 65536; expected an integer from 1 to 65535".into()),
            ("port = \"110\"", "8: `port` cannot be \"110\"; expected an integer from 1 to 65535".into()),
            ("tls = true", "7: `tls` cannot be true; expected `implicit`, `starttls` or `none`".into()),
            ("auth =   \"pop\"", format!("10: `auth` cannot be \"pop\"; {}", forms::auth("pop").unwrap_err())),
            ("all = \"yes\"", "7: `all` cannot be \"yes\"; expected `true` or `false`".into()),
            ("max_messages = 0", "16: `max_messages` cannot be 0; expected an integer from 1".into()),
            ("max_messages = 1.5", "16: `max_messages` cannot be a float; expected an integer from 1".into()),
            ("timeout = []", "11: `timeout` cannot be an array; expected seconds such as `60`, or a duration such as `90s` or `5m`, from 1s to 1d".into()),
            ("max_size = -1", "12: `max_size` cannot be -1; expected octets such as `500000`, or `20M` (k, M, G: powers of 1024), not zero".into()),
            ("tls_ca_file = \"~no such user/x\"", "15: `tls_ca_file` cannot be \"~no such user/x\"; expected a path whose `~user` stands in `/etc/passwd`".into()),
        ] {
            assert_eq!(refused(&work(line)), format!("5:{expected}"));
        }
    }

    #[test]
    fn servers_users_and_targets_are_checked() {
        for (line, expected) in [
            (
                "server = \"pop.example.com:995\"",
                "2:10: `server` cannot be \"pop.example.com:995\"; expected a host name in ASCII or an address, without port, blanks and slashes",
            ),
            (
                "user = \"petar\\r\\nDELE 1\"",
                "2:8: `user` cannot be \"petar\\x0d\\x0aDELE 1\"; expected a user name of 1 to 255 octets, without control characters",
            ),
            ("url = \"pop3s://petar@host/inbox\"", "2:7: nothing may follow the host and the port in a URL"),
            ("url = 3", "2:7: `url` cannot be an integer; expected a string such as \"pop3s://USER@HOST\""),
            (
                "deliver = \"~/Mail\"",
                "2:11: `deliver` cannot be \"~/Mail\"; expected `maildir:PATH`, `mbox:PATH` or `mda:COMMAND`",
            ),
            (
                "deliver = { mda = [] }",
                "2:19: `mda` cannot be an array; expected an array of strings: the program and its arguments",
            ),
            (
                "deliver = { mbox = \"a\", maildir = \"b\" }",
                "2:11: `deliver` cannot be a table; expected a table with one of `maildir`, `mbox` and `mda`",
            ),
        ] {
            assert_eq!(refused(&format!("[accounts.a]\n{line}\n")), expected);
        }
    }

    #[test]
    fn what_is_missing_is_told_at_the_account() {
        assert_eq!(
            refused("\n[accounts.work]\nuser = \"x\"\n"),
            "2:11: `server` (or `url`) is missing in account `work`"
        );
        assert_eq!(refused("[accounts.work]\nserver = \"x\"\n"), "1:11: `user` is missing in account `work`");
        assert_eq!(refused("[accounts.work]\nurl = \"pop3s://p@h\"\n"), "1:11: `deliver` is missing in account `work`");
        assert_eq!(
            refused("accounts = 3\n"),
            "1:12: `accounts` cannot be 3; expected tables such as `[accounts.work]`"
        );
        assert_eq!(refused("[accounts]\nwork = \"x\"\n"), "2:8: `work` cannot be \"x\"; expected a table");
        assert_eq!(
            refused("[accounts.'a/b']\n"),
            "1:11: `a/b` cannot be the name of an account; expected a word without `/`"
        );
    }

    #[test]
    fn two_ways_to_say_the_same_exclude_each_other() {
        let twice = refused(&work("password = \"x\"\npassword_file = \"y\""));
        assert_eq!(twice, "6:1: `password` and `password_file` exclude each other in account `work`");
        assert_eq!(
            refused(&work("url = \"pop3s://p@h\"")),
            "5:1: `server` and `url` exclude each other in account `work`"
        );
        let later = refused("[accounts.a]\nurl = \"pop3s://p@h\"\ntls = \"none\"\n");
        assert_eq!(later, "3:1: `url` and `tls` exclude each other in account `a`");
    }

    #[test]
    fn a_route_has_its_keys() {
        let route = |line: &str| Home::with(work(line)).account("work").route;
        let words = ["ssh", "relay", "-W", "%h:%p"].map(String::from).to_vec();
        assert_eq!(route("tunnel = [\"ssh\", \"relay\", \"-W\", \"%h:%p\"]"), Route::Tunnel(words));
        assert_eq!(route("socket = \"/run/pop3\""), Route::Socket("/run/pop3".into()));
        let login = Some(("petar".to_owned(), Password::new("secret")));
        let proxy = Proxy { kind: ProxyKind::Socks5, host: "h".to_owned(), port: 1080, login };
        let source = Some([192, 0, 2, 1].into());
        let both = route("proxy = \"socks5://petar:secret@h:1080\"\nsource_address = \"192.0.2.1\"");
        assert_eq!(both, Route::Tcp { source, proxy: Some(proxy) });
    }

    #[test]
    fn an_account_has_one_route_and_leaves_that_of_the_defaults() {
        for (line, keys) in [
            ("tunnel = [\"a\"]\nsocket = \"/s\"", "`tunnel` and `socket`"),
            ("proxy = \"http://h:1\"\ntunnel = [\"a\"]", "`proxy` and `tunnel`"),
            ("socket = \"/s\"\nsource_address = \"::1\"", "`socket` and `source_address`"),
        ] {
            assert_eq!(refused(&work(line)), format!("6:1: {keys} exclude each other in account `work`"));
        }
        let defaults = "[defaults]\nproxy = \"http://h:1\"\n";
        let home = Home::with(format!("{defaults}{}", work("socket = \"/s\"")));
        assert_eq!(home.account("work").route, Route::Socket("/s".into()));
        assert_eq!(
            refused(&work("source_address = \"here\"")),
            "5:18: `source_address` cannot be \"here\"; expected an address of this machine such as \"192.0.2.1\" or \"2001:db8::1\""
        );
    }

    #[test]
    fn the_url_of_an_account_is_stronger_than_a_default() {
        let home =
            Home::with("[defaults]\ntls = \"none\"\ndeliver = \"mbox:/m\"\n[accounts.a]\nurl = \"pop3s://p@h\"\n");
        assert_eq!(home.account("a").tls.mode, TlsMode::Implicit);
        assert_eq!(home.account("pop3://p@other").tls.mode, TlsMode::Starttls);
    }

    #[test]
    fn mistakes_of_syntax_and_repetitions_are_told_in_one_line() {
        assert_eq!(refused("[accounts.work\n"), "1:15: not TOML: unclosed table, expected `]`");
        assert_eq!(refused(&work("user = \"x\"")), "5:1: key `user` stands twice");
        assert_eq!(refused("{\n \"accounts\": {,} }"), "2:15: not JSON: key must be a string");
        assert_eq!(
            refused("{\"accounts\": {\"é\": {\"user\": 1}}}"),
            "1:29: `user` cannot be 1; expected a user name of 1 to 255 octets, without control characters"
        );
        assert_eq!(
            refused("{\"accounts\": {\"a\": {\n  \"usr\": 1}}}"),
            "2:3: unknown key `usr` in account `a`; did you mean `user`?"
        );
    }

    #[test]
    fn a_column_counts_characters_and_a_mark_at_the_beginning_none() {
        assert_eq!(
            refused("accounts.'ä'.user = 1"),
            "1:21: `user` cannot be 1; expected a user name of 1 to 255 octets, without control characters"
        );
        assert_eq!(
            refused("\u{feff}zebra = 1"),
            "1:1: unknown key `zebra` at the top; expected `defaults`, `accounts`"
        );
    }

    #[test]
    fn every_prefix_of_a_configuration_has_an_answer_without_the_secret() {
        let toml = "[accounts.é]\nurl = \"pop3s://p@h\"\npassword = \"canary\\u00e9\"\nkeep = false # é\n";
        let json = "{\"accounts\": {\"é\": {\"password\": \"canary\\u00e9\", \"port\": 1, \"keep\": [null, 1.5e3]}}} ";
        for text in [toml, json] {
            for cut in 0..text.len() {
                let home = Home::with(&text.as_bytes()[..cut]);
                let message = home.refused(home.wanted(&[]));
                assert!(!message.contains("canary"), "{message}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let home = Home::with(b"# ok\n# \xff\n");
        assert_eq!(home.refused(home.wanted(&[])), "~/.config/popfetch/config.toml:2:3: not UTF-8");
        let folder = Source::File(home.path(""));
        assert_eq!(
            home.refused(home.accounts(&folder, &Overrides::default(), &[])),
            "cannot read `~/`: is a directory"
        );
        let absent = Source::File(home.path("absent.toml"));
        let message = home.refused(home.accounts(&absent, &Overrides::default(), &["pop3s://p@h"]));
        assert_eq!(message, "cannot read `~/absent.toml`: no such file or directory");
    }

    #[test]
    fn a_password_that_others_can_read_is_refused() {
        let home = Home::with(work("password = \"canary\""));
        let path = home.path(".config/popfetch/config.toml");
        assert_eq!(home.account("work").secret, Secret::Literal(Password::new("canary")));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let message = home.refused(home.wanted(&[]));
        assert_eq!(
            message,
            "`~/.config/popfetch/config.toml` holds a password but is open to others (mode 0644); \
             run `chmod 600 ~/.config/popfetch/config.toml`"
        );
        fs::write(&path, work("password_command = [\"pass\"]")).unwrap();
        assert!(home.wanted(&[]).is_ok(), "a command is no secret");
    }

    #[test]
    fn no_error_repeats_a_secret() {
        for line in [
            "password = \"canary\\n\"",
            "password = [\"canary\"]",
            "password = \"canary",
            "password = canary",
            "password = \"canary\"\npassword = \"canary\"",
            "password = \"canary\"\npassword_file = \"canary\"",
            "password_command = \"canary\"",
            "password_command = [3, \"canary\"]",
            "password_file = \"~canary/x\"",
            "url = \"pop3s://petar:canary@host\"",
            "url = \"pop3s://petar:canary\"",
            "url = [\"pop3s://petar:canary@host\"]",
            "url = \"pop3s://petar@host:canary\"",
            "proxy = \"http://petar:canary@host\"",
            "proxy = [\"http://petar:canary@host:1\"]",
            "tls_client_identity_password = \"canary\\n\"",
        ] {
            let message = refused(&work(line));
            assert!(!message.contains("canary"), "{message}");
        }
        let home = Home::with(work("password = \"canary\""));
        assert!(!format!("{:?}", home.account("work")).contains("canary"));
        for wanted in ["pop3s://petar:canary@host", "petar:canary@host", "pop3s://host:canary", "http://p:canary@h"] {
            let error = home.wanted(&[wanted]).unwrap_err();
            assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn a_url_needs_no_file_but_a_target() {
        let home = Home::empty();
        let account =
            home.accounts(&Source::Default, &urls_to("maildir:~/in"), &["pop3://petar%40x@h"]).unwrap().remove(0);
        assert_eq!((account.name.as_str(), account.user.as_str()), ("petar@x@h", "petar@x"));
        assert_eq!(account.deliver, Target::maildir(home.path("in")));
        assert!(account.one_off);
        assert_eq!(home.refused(home.wanted(&["pop3s://p@h"])), "`pop3s://p@h`: nothing says where its messages go");
        let message = home.refused(home.wanted(&["pop3s://p:x@h"]));
        assert_eq!(message, "`pop3s://p:****@h`: a password does not belong in a URL, where others can see it");
    }

    #[test]
    fn the_defaults_are_for_urls_too() {
        let home = Home::with("[defaults]\ndeliver = \"mbox:/m\"\nenabled = false\nmax_messages = 3\n");
        let account = home.account("pop3s://p@h");
        assert_eq!((account.deliver, account.max_messages, account.enabled), (Target::mbox("/m"), Some(3), true));
    }

    #[test]
    fn what_is_wanted_runs_once_in_its_order_and_even_if_disabled() {
        let home = Home::with(
            "[defaults]\ndeliver = \"mbox:/m\"\n[accounts.b]\nurl = \"pop3s://b@h\"\n[accounts.a]\n\
             url = \"pop3s://a@h\"\nenabled = false\n",
        );
        let names = |wanted: &[&str]| -> Vec<String> {
            home.wanted(wanted).unwrap().into_iter().map(|account| account.name).collect()
        };
        assert_eq!(names(&[]), ["b"]);
        assert_eq!(names(&["a", "b", "a"]), ["a", "b"]);
        assert_eq!(names(&["pop3s://x@h", "b", "pop3://x@h", "pop3s://x@h:1"]), ["x@h", "b", "x@h:1"]);
    }

    #[test]
    fn an_account_that_is_not_there_is_told_with_those_that_are() {
        let home = Home::with(WORK);
        assert_eq!(
            home.refused(home.wanted(&["wrok"])),
            "no account `wrok` in `~/.config/popfetch/config.toml`; did you mean `work`?"
        );
        assert_eq!(
            home.refused(home.wanted(&["zebra"])),
            "no account `zebra` in `~/.config/popfetch/config.toml`; there are `work`"
        );
        let home = Home::empty();
        assert_eq!(
            home.refused(home.wanted(&["work"])),
            "cannot read `~/.config/popfetch/config.toml`: no such file or directory"
        );
    }

    #[test]
    fn nothing_to_fetch_is_told_with_the_first_steps() {
        let home = Home::empty();
        let error = home.wanted(&[]).unwrap_err();
        let hint = error.hint().unwrap();
        assert!(hint.contains(".config/popfetch/config.toml") && hint.contains("--deliver"), "{hint}");
        assert_eq!(
            home.refused(Err(error)),
            "there is no account in `~/.config/popfetch/config.toml`, and none on the command line"
        );
        let disabled = refused(&work("enabled = false"));
        assert_eq!(disabled, "every account in `~/.config/popfetch/config.toml` has `enabled = false`");
    }

    #[test]
    fn a_relative_password_file_is_a_credential_if_there_is_one() {
        let mut home = Home::with(work("password_file = \"mail\""));
        assert_eq!(home.account("work").secret, Secret::File(home.path(".config/popfetch/mail")));
        home.environment.credentials.0 = Some(home.path("credentials"));
        assert_eq!(home.account("work").secret, Secret::File(home.path(".config/popfetch/mail")));
        fs::create_dir(home.path("credentials")).unwrap();
        fs::write(home.path("credentials/mail"), "x").unwrap();
        assert_eq!(home.account("work").secret, Secret::File(home.path("credentials/mail")));
    }

    #[test]
    fn paths_in_flags_are_relative_to_the_current_folder() {
        let here = env::current_dir().unwrap();
        let home = Home::empty();
        let account = home.accounts(&Source::Default, &urls_to("maildir:in"), &["pop3s://p@h"]).unwrap().remove(0);
        assert_eq!(account.deliver, Target::maildir(here.join("in")));
        assert_eq!(state_dir(Some(Path::new("state").into())).unwrap(), here.join("state"));
        assert!(state_dir(None).unwrap().is_absolute());
    }

    #[test]
    fn folders_follow_the_xdg_variables() {
        let mut environment = Environment { home: "/h".into(), ..Environment::default() };
        assert_eq!(environment.config_file(), Path::new("/h/.config/popfetch/config.toml"));
        assert_eq!(environment.state_dir(), Path::new("/h/.local/state/popfetch"));
        environment.config_home = Some("/c".into());
        environment.state_home = Some("/s".into());
        assert_eq!(environment.config_file(), Path::new("/c/popfetch/config.toml"));
        assert_eq!(environment.state_dir(), Path::new("/s/popfetch"));
    }
}
