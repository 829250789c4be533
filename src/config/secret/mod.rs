//! The password, and the client's key, of an account whose turn has come.
//!
//! What the configuration says is final: a command that fails is not made up for by a prompt. Only where it says
//! nothing are the service manager's credentials, netrc and the terminal tried, in this order. No error repeats
//! what was read.

mod command;
mod netrc;
mod prompt;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::exposed;
use super::file;
use super::paths::Environment;
use crate::account::{Account, Identity, Password, Secret, SecretKind};
use crate::os::exposure::Exposure;
use crate::stop::Stop;
use crate::text::{self, reason};

/// No secret is longer. It bounds what a wrong file or command can make popfetch read.
const LIMIT: u64 = 64 << 10;

/// How long a command may take when nobody is there to answer it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no password.
#[derive(Debug)]
pub enum SecretError {
    /// The command cannot be run.
    Start {
        /// What it was to print.
        kind: SecretKind,
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The command failed.
    Failed {
        /// What it was to print.
        kind: SecretKind,
        /// The program.
        program: String,
        /// How it ended.
        ending: String,
    },
    /// The command took too long, and was ended.
    TimedOut {
        /// What it was to print.
        kind: SecretKind,
        /// The program.
        program: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The file cannot be read.
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no secret.
    Exposed {
        /// Its path.
        path: PathBuf,
        /// Who else could know.
        exposure: Exposure,
    },
    /// The file of the client's certificate and key cannot be read.
    UnreadableIdentity {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of the client's certificate and key is no secret.
    ExposedIdentity {
        /// Its path.
        path: PathBuf,
        /// Who else could know.
        exposure: Exposure,
    },
    /// What was read cannot be a password.
    Unusable {
        /// Where it was read.
        origin: String,
        /// Why it cannot be one.
        why: &'static str,
    },
    /// The terminal could not be used.
    Terminal(io::Error),
    /// There is none anywhere, and nobody to ask.
    Nowhere {
        /// The account's name.
        account: String,
    },
    /// A stop was requested meanwhile.
    Stopped,
}

impl SecretError {
    /// True when a later run may find a password: a command fails when its agent is locked, for one. Otherwise the
    /// configuration has to change.
    pub fn is_transient(&self) -> bool {
        match self {
            SecretError::Failed { .. } | SecretError::TimedOut { .. } => true,
            SecretError::Terminal(_) | SecretError::Stopped => true,
            SecretError::Start { source, .. }
            | SecretError::Unreadable { source, .. }
            | SecretError::UnreadableIdentity { source, .. } => {
                !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
                    && !matches!(source.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::FileTooLarge)
            }
            SecretError::ExposedIdentity { .. } => false,
            SecretError::Exposed { .. } | SecretError::Unusable { .. } | SecretError::Nowhere { .. } => false,
        }
    }

    /// What to do about it, where that is sure.
    pub fn hint(&self) -> Option<String> {
        match self {
            SecretError::Nowhere { account } => Some(format!(
                "give `password_command`, `password_file` or `password` in its configuration, a line in `~/.netrc`, \
                 or the credential `{account}` of the service; or run it on a terminal"
            )),
            SecretError::TimedOut { .. } => Some(
                "it may have asked for something that nobody could answer; `password_timeout` gives it more time"
                    .into(),
            ),
            _ => None,
        }
    }
}

impl std::error::Error for SecretError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SecretError::Start { source, .. }
            | SecretError::Unreadable { source, .. }
            | SecretError::UnreadableIdentity { source, .. } => Some(source),
            SecretError::Terminal(source) => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretError::Start { kind, program, source } => {
                write!(f, "cannot run the {kind} command `{}`: {}", shown(program), reason(source))
            }
            SecretError::Failed { kind, program, ending } => {
                write!(f, "the {kind} command `{}` {ending}", shown(program))
            }
            SecretError::TimedOut { kind, program, limit } => {
                write!(f, "the {kind} command `{}` did not end within {} s", shown(program), limit.as_secs_f64())
            }
            SecretError::Unreadable { path, source } => {
                write!(f, "cannot read the password from `{}`: {}", path.display(), reason(source))
            }
            SecretError::Exposed { path, exposure } => f.write_str(&exposed(path, "a password", exposure)),
            SecretError::UnreadableIdentity { path, source } => {
                write!(f, "cannot read the client identity `{}`: {}", path.display(), reason(source))
            }
            SecretError::ExposedIdentity { path, exposure } => f.write_str(&exposed(path, "a key", exposure)),
            SecretError::Unusable { origin, why } => write!(f, "the password from {origin} {why}"),
            SecretError::Terminal(source) => write!(f, "cannot ask for the password: {}", reason(source)),
            SecretError::Nowhere { .. } => f.write_str("no password, and no terminal to ask on"),
            SecretError::Stopped => f.write_str("stopped before there was a password"),
        }
    }
}

fn shown(program: &str) -> String {
    text::printable(program.as_bytes())
}

/// Gets the account's password. May run a program or ask on the terminal, and wait for either until `stop`.
pub fn password(account: &Account, stop: &Stop) -> Result<Password, SecretError> {
    password_within(account, &Environment::of_process(), stop)
}

fn password_within(account: &Account, environment: &Environment, stop: &Stop) -> Result<Password, SecretError> {
    match &account.secret {
        Secret::Literal(password) => Ok(password.clone()),
        Secret::Command(words) | Secret::TokenCommand(words) => {
            from_command(words, account.secret.kind(), command_timeout(account, io::stderr().is_terminal()), stop)
        }
        Secret::File(path) => from_file(path, environment),
        // Its tokens are the state's business, not the configuration's.
        Secret::OAuth2(_) => Err(SecretError::Nowhere { account: account.name.clone() }),
        Secret::Ambient => ambient(account, environment, stop),
    }
}

/// Reads the client's certificate and key, if the account has one. Nobody else may be able to.
pub fn client_identity(account: &Account) -> Result<Option<Identity>, SecretError> {
    let Some(configured) = &account.tls.client_identity else { return Ok(None) };
    let path = configured.path.clone();
    let contents = match file::read(&path, LIMIT) {
        Ok(contents) => contents,
        Err(source) => return Err(SecretError::UnreadableIdentity { path, source }),
    };
    // The service manager's credentials are known by their folder.
    match contents.exposure.filter(|_| !Environment::of_process().is_credential(&path)) {
        Some(exposure) => Err(SecretError::ExposedIdentity { path, exposure }),
        None => Ok(Some(Identity { path, octets: contents.octets, password: configured.password.clone() })),
    }
}

/// A command may ask for a passphrase, which takes a person as long as it takes; without a person it would wait for ever.
fn command_timeout(account: &Account, is_terminal: bool) -> Option<Duration> {
    account.password_timeout.or((!is_terminal).then_some(COMMAND_TIMEOUT))
}

fn from_command(
    words: &[String],
    kind: SecretKind,
    limit: Option<Duration>,
    stop: &Stop,
) -> Result<Password, SecretError> {
    let output = command::run(words, kind, limit, stop)?;
    match first_line(&output) {
        // Some programs do not tell by their exit status that they have found nothing.
        Err(EMPTY) => {
            Err(SecretError::Failed { kind, program: words[0].clone(), ending: "printed nothing".to_owned() })
        }
        line => line.map_err(|why| SecretError::Unusable { origin: format!("`{}`", shown(&words[0])), why }),
    }
}

fn from_file(path: &Path, environment: &Environment) -> Result<Password, SecretError> {
    let contents = file::read(path, LIMIT).map_err(|source| SecretError::Unreadable { path: path.into(), source })?;
    // The service manager shows credentials to the service alone, by means that the mode does not tell.
    if let Some(exposure) = contents.exposure.filter(|_| !environment.is_credential(path)) {
        return Err(SecretError::Exposed { path: path.into(), exposure });
    }
    first_line(&contents.octets).map_err(|why| SecretError::Unusable { origin: format!("`{}`", path.display()), why })
}

fn ambient(account: &Account, environment: &Environment, stop: &Stop) -> Result<Password, SecretError> {
    if let Some(path) = environment.credential(&account.name) {
        return from_file(&path, environment);
    }
    if let Some(password) = from_netrc(account, &environment.netrc())? {
        return Ok(password);
    }
    ask(account, stop)
}

fn from_netrc(account: &Account, path: &Path) -> Result<Option<Password>, SecretError> {
    let contents = match file::read(path, LIMIT) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SecretError::Unreadable { path: path.into(), source }),
    };
    let text = String::from_utf8_lossy(&contents.octets);
    let Some(found) = netrc::find(&text, &account.host, &account.user) else { return Ok(None) };
    match contents.exposure {
        Some(exposure) => Err(SecretError::Exposed { path: path.into(), exposure }),
        None => usable(&found)
            .map(Some)
            .map_err(|why| SecretError::Unusable { origin: format!("`{}`", path.display()), why }),
    }
}

fn ask(account: &Account, stop: &Stop) -> Result<Password, SecretError> {
    let Some(terminal) = prompt::terminal() else {
        return Err(SecretError::Nowhere { account: account.name.clone() });
    };
    let question = format!("popfetch: {}: password of `{}` at `{}`: ", account.name, account.user, account.host);
    let answer = prompt::ask(terminal, &text::printable(question.as_bytes()), stop).map_err(SecretError::Terminal)?;
    let line = answer.ok_or(SecretError::Stopped)?;
    first_line(&line).map_err(|why| SecretError::Unusable { origin: "the terminal".to_owned(), why })
}

const EMPTY: &str = "is empty";
const NOT_UTF8: &str = "is not UTF-8";
const BROKEN: &str = "has a carriage return or a NUL in it";

/// The octets before the first line feed, without the CR of a CRLF.
fn first_line(octets: &[u8]) -> Result<Password, &'static str> {
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    usable(std::str::from_utf8(line).map_err(|_| NOT_UTF8)?)
}

/// A password that can be sent: a line break or a NUL in it would begin a command of its own.
fn usable(text: &str) -> Result<Password, &'static str> {
    match text {
        "" => Err(EMPTY),
        text if text.contains(['\r', '\n', '\0']) => Err(BROKEN),
        text if text.contains(char::REPLACEMENT_CHARACTER) => Err(NOT_UTF8),
        text => Ok(Password::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::account::{Auth, Keep, Route, Target, Tls, TlsMode};

    fn account(secret: Secret) -> Account {
        Account {
            name: "work".to_owned(),
            host: "pop.example.com".to_owned(),
            port: 995,
            route: Route::default(),
            tls: Tls::new(TlsMode::Implicit),
            user: "petar".to_owned(),
            secret,
            auth: Auth::Auto,
            deliver: Target::mbox("/m"),
            keep: Keep::Forever,
            all: false,
            max_size: None,
            max_messages: None,
            pipelining: None,
            timeout: std::time::Duration::from_secs(1),
            mda_timeout: std::time::Duration::from_secs(1),
            owner: None,
            password_timeout: None,
            enabled: true,
            one_off: false,
        }
    }

    fn file(folder: &Path, name: &str, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Gets the password with nothing in the environment but a home folder.
    fn within(home: &Path, secret: Secret) -> Result<Password, SecretError> {
        let environment = Environment { home: home.into(), ..Environment::default() };
        password_within(&account(secret), &environment, &Stop::new().unwrap())
    }

    fn revealed(result: Result<Password, SecretError>) -> String {
        result.unwrap_or_else(|error| panic!("{error}")).reveal().to_owned()
    }

    #[test]
    fn the_first_line_is_the_password_without_its_end() {
        for text in ["secret", "secret\n", "secret\r\n", "secret\nnotes\r\n"] {
            assert_eq!(first_line(text.as_bytes()), Ok(Password::new("secret")), "{text:?}");
        }
        assert_eq!(first_line(b" with blanks \n"), Ok(Password::new(" with blanks ")));
    }

    #[test]
    fn what_cannot_be_sent_is_no_password() {
        assert_eq!(first_line(b""), Err(EMPTY));
        assert_eq!(first_line(b"\nsecret"), Err(EMPTY));
        assert_eq!(first_line(b"a\rQUIT"), Err(BROKEN));
        assert_eq!(first_line(b"a\0"), Err(BROKEN));
        assert_eq!(first_line(b"\xff"), Err(NOT_UTF8));
    }

    #[test]
    fn a_file_holds_it_in_its_first_line() {
        let home = tempfile::tempdir().unwrap();
        let path = file(home.path(), "secret", "canary\n", 0o600);
        assert_eq!(revealed(within(home.path(), Secret::File(path))), "canary");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = file(home.path(), "a secret", "canary\n", 0o640);
        let error = within(home.path(), Secret::File(path.clone())).unwrap_err();
        let expected =
            format!("`{0}` holds a password but is open to others (mode 0640); run `chmod 600 '{0}'`", path.display());
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_transient());
    }

    #[test]
    fn a_file_that_is_absent_empty_or_endless_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let empty = file(home.path(), "empty", "\n", 0o600);
        for (path, expected) in [
            (home.path().join("absent"), "no such file or directory"),
            (empty, "is empty"),
            ("/dev/zero".into(), "file too large"),
            (home.path().into(), "is a directory"),
        ] {
            let error = within(home.path(), Secret::File(path)).unwrap_err();
            assert!(error.to_string().ends_with(expected), "{error}");
            assert!(!error.is_transient(), "{error}");
        }
    }

    #[test]
    fn a_credential_of_the_service_comes_before_netrc_in_any_mode() {
        let home = tempfile::tempdir().unwrap();
        file(home.path(), "work", "credential\n", 0o444);
        file(home.path(), ".netrc", "machine pop.example.com login petar password netrc", 0o600);
        let environment =
            Environment { home: home.path().into(), credentials: Some(home.path().into()), ..Environment::default() };
        let found = password_within(&account(Secret::Ambient), &environment, &Stop::new().unwrap());
        assert_eq!(revealed(found), "credential");
    }

    #[test]
    fn netrc_is_looked_up_by_host_and_user() {
        let home = tempfile::tempdir().unwrap();
        let netrc = file(home.path(), ".netrc", "machine pop.example.com login petar password canary", 0o600);
        assert_eq!(revealed(within(home.path(), Secret::Ambient)), "canary");
        fs::set_permissions(&netrc, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(within(home.path(), Secret::Ambient), Err(SecretError::Exposed { .. })));
    }

    #[test]
    fn a_netrc_for_other_hosts_may_be_open() {
        let home = tempfile::tempdir().unwrap();
        let path = file(home.path(), ".netrc", "machine ftp.example.com password guest", 0o644);
        assert_eq!(from_netrc(&account(Secret::Ambient), &path).unwrap(), None);
        assert_eq!(from_netrc(&account(Secret::Ambient), &home.path().join("absent")).unwrap(), None);
    }

    #[test]
    fn a_command_may_take_a_minute_and_any_time_where_somebody_watches() {
        let mut account = account(Secret::Ambient);
        let timeouts = |account: &Account| [false, true].map(|is_terminal| command_timeout(account, is_terminal));
        assert_eq!(timeouts(&account), [Some(Duration::from_secs(60)), None]);
        account.password_timeout = Some(Duration::from_secs(5));
        assert_eq!(timeouts(&account), [account.password_timeout; 2]);
    }

    #[test]
    fn no_error_repeats_what_was_read() {
        let home = tempfile::tempdir().unwrap();
        let script = |text: &str| Secret::Command(["sh", "-c", text].map(String::from).to_vec());
        for secret in [
            Secret::File(file(home.path(), "a", "canary\rcanary", 0o600)),
            Secret::File(file(home.path(), "b", b"canary\xff", 0o600)),
            Secret::File(file(home.path(), "c", "canary", 0o644)),
            script("printf 'canary\\r!'"),
            script("echo canary; exit 3"),
            script("echo canary; kill -9 $$"),
        ] {
            let error = within(home.path(), secret).unwrap_err();
            assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("canary"), "{error:?}");
        }
    }
}
