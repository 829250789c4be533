//! What a login needs: a password, a token, or the client's certificate and key.
//!
//! Who asks says for which [`Login`] and gets one answer, wherever it comes from. What the configuration says is final: a
//! command that fails is not made up for by a prompt. Only where it says nothing are the service manager's credentials,
//! netrc and the terminal tried, in this order. Tokens of OAuth 2.0 are the state's (`oauth`).

mod command;
mod error;
mod netrc;
pub mod oauth;
mod prompt;

use std::env;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::Error;
pub use prompt::Aside;

use crate::account::{Account, ClientIdentity, ClientProof, Identity, Password, Secret};
use crate::os::credentials::Credentials;
use crate::os::exposure;
use crate::stop::Stop;
use crate::text;
use error::shown;

/// No secret is longer. It bounds what a wrong file or command can make popfetch read.
const LIMIT: u64 = 64 << 10;

/// How long a command may take when nobody is there to answer it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// The login that a secret is for.
#[derive(Debug, Clone)]
pub struct Login<'l> {
    /// The name in the configuration: of a credential of the service manager, in questions and in hints.
    pub name: &'l str,
    /// The user at the server.
    pub user: &'l str,
    /// The server.
    pub host: &'l str,
    /// What names the file of tokens in the state.
    pub store: String,
    /// Where the secret is, as far as the configuration says it.
    pub secret: &'l Secret,
    /// The longest that a command may take that prints the secret.
    pub command_timeout: Option<Duration>,
    /// The longest that popfetch waits for an endpoint of OAuth 2.0.
    pub timeout: Duration,
}

impl<'l> From<&'l Account> for Login<'l> {
    fn from(account: &'l Account) -> Self {
        Login {
            name: &account.name,
            user: &account.user,
            host: &account.host,
            store: account.maildrop(),
            secret: &account.secret,
            command_timeout: account.password_timeout,
            timeout: account.timeout,
        }
    }
}

/// Gets the secret for a login. May run a program, ask on the terminal or refresh a token, and wait for each until
/// `stop`. `folder` is that of the state.
pub fn find(login: &Login<'_>, folder: &Path, stop: &Stop, aside: Aside<'_>) -> Result<Password, Error> {
    match login.secret {
        Secret::OAuth2(oauth2) => {
            oauth::access_token(login, oauth2, folder, stop).map_err(|error| refused(login, error))
        }
        _ => find_password(login, &Environment::of_process(), stop, aside),
    }
}

/// The same without asking a person; `None` where only a person could tell. A program that the configuration names may
/// ask all the same.
pub fn find_unasked(login: &Login<'_>, folder: &Path, stop: &Stop) -> Result<Option<Password>, Error> {
    match login.secret {
        Secret::Ambient => unasked(login, &Environment::of_process()),
        _ => find(login, folder, stop, &|_, ask| ask()).map(Some),
    }
}

/// Gets a secret that is no login's: what is written, the first line of a file, or what a command prints.
pub fn value(secret: &Secret, kind: &'static str, timeout: Option<Duration>, stop: &Stop) -> Result<Password, Error> {
    match secret {
        Secret::Command(words) => {
            from_command(words, kind, timeout.or_else(|| no_person(io::stderr().is_terminal())), stop)
        }
        Secret::File(path) => from_file(path, kind, &Environment::of_process()),
        Secret::Literal(text) => Ok(text.clone()),
        Secret::TokenCommand(_) | Secret::OAuth2(_) | Secret::Ambient => unreachable!("it is no login"),
    }
}

/// Drops an access token of the state that the server has refused, so that the next run gets another one; a token may be
/// revoked before it expires. True when it was one.
pub fn forget(login: &Login<'_>, secret: &Password, folder: &Path, stop: &Stop) -> bool {
    matches!(login.secret, Secret::OAuth2(_)) && oauth::forget(login, folder, stop, secret).is_ok()
}

/// Asks the user for consent to OAuth 2.0, and stores what the provider gives for it. `say` hears what the user has to do.
pub fn sign_in(login: &Login<'_>, folder: &Path, stop: &Stop, say: impl FnOnce(oauth::Prompt)) -> Result<(), Error> {
    let Secret::OAuth2(oauth2) = login.secret else { return Err(Error::NoOAuth2) };
    oauth::login(login, oauth2, folder, stop, say).map_err(|error| refused(login, error))
}

/// Removes the tokens of the state and revokes them with the provider.
pub fn sign_out(login: &Login<'_>, folder: &Path, stop: &Stop) -> Result<oauth::SignedOut, Error> {
    let Secret::OAuth2(oauth2) = login.secret else { return Err(Error::NoOAuth2) };
    oauth::logout(login, oauth2, folder, stop).map_err(|error| refused(login, error))
}

fn refused(login: &Login<'_>, error: oauth::Error) -> Error {
    match error {
        oauth::Error::Stopped(stopped) => Error::Stopped(stopped),
        error => Error::Token { name: login.name.to_owned(), error },
    }
}

/// Finds a client's own secret, where it has one.
fn client_secret(login: &Login<'_>, proof: &ClientProof, stop: &Stop) -> Result<Option<Password>, Error> {
    const KIND: &str = "client secret";
    match proof {
        ClientProof::Nothing | ClientProof::Key { .. } => Ok(None),
        ClientProof::Secret(secret) => Ok(Some(secret.clone())),
        ClientProof::SecretCommand(words) => {
            let limit = command_timeout(login, io::stderr().is_terminal());
            from_command(words, KIND, limit, stop).map(Some)
        }
        ClientProof::SecretFile(path) => from_file(path, KIND, &Environment::of_process()).map(Some),
    }
}

/// Reads a client's certificate and key. Nobody else may be able to.
pub fn client_identity(configured: &ClientIdentity) -> Result<Identity, Error> {
    let path = configured.path.clone();
    let contents = match exposure::read(&path, LIMIT) {
        Ok(contents) => contents,
        Err(source) => return Err(Error::UnreadableIdentity { path, source }),
    };
    // The service manager's credentials are known by their folder.
    match contents.exposure.filter(|_| !Credentials::of_process().has(&path)) {
        Some(exposure) => Err(Error::ExposedIdentity { path, exposure }),
        None => Ok(Identity { path, octets: contents.octets, password: configured.password.clone() }),
    }
}

/// Where secrets are that the configuration does not mention.
#[derive(Debug, Clone, Default)]
struct Environment {
    netrc: PathBuf,
    credentials: Credentials,
}

impl Environment {
    fn of_process() -> Self {
        let netrc = env::var_os("NETRC").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || env::home_dir().filter(|home| home.is_absolute()).unwrap_or_else(|| "/".into());
        Environment { netrc: netrc.unwrap_or_else(|| home().join(".netrc")), credentials: Credentials::of_process() }
    }
}

fn find_password(
    login: &Login<'_>,
    environment: &Environment,
    stop: &Stop,
    aside: Aside<'_>,
) -> Result<Password, Error> {
    match login.secret {
        Secret::Literal(password) => Ok(password.clone()),
        Secret::Command(words) | Secret::TokenCommand(words) => {
            let limit = command_timeout(login, io::stderr().is_terminal());
            from_command(words, login.secret.kind().word(), limit, stop)
        }
        Secret::File(path) => from_file(path, PASSWORD, environment),
        Secret::OAuth2(_) => unreachable!("the state has its tokens"),
        Secret::Ambient => ambient(login, environment, stop, aside),
    }
}

/// A command may ask for a passphrase, which takes a person as long as it takes; without a person it would wait for ever.
fn command_timeout(login: &Login<'_>, is_terminal: bool) -> Option<Duration> {
    login.command_timeout.or_else(|| no_person(is_terminal))
}

fn no_person(is_terminal: bool) -> Option<Duration> {
    (!is_terminal).then_some(COMMAND_TIMEOUT)
}

fn from_command(words: &[String], kind: &'static str, limit: Option<Duration>, stop: &Stop) -> Result<Password, Error> {
    let output = command::run(words, kind, limit, stop)?;
    match first_line(&output) {
        // Some programs do not tell by their exit status that they have found nothing.
        Err(EMPTY) => Err(Error::Failed { kind, program: words[0].clone(), ending: "printed nothing".to_owned() }),
        line => line.map_err(|why| Error::Unusable { kind, origin: format!("`{}`", shown(&words[0])), why }),
    }
}

fn from_file(path: &Path, kind: &'static str, environment: &Environment) -> Result<Password, Error> {
    let contents =
        exposure::read(path, LIMIT).map_err(|source| Error::Unreadable { kind, path: path.into(), source })?;
    // The service manager shows credentials to the service alone, by means that the mode does not tell.
    if let Some(exposure) = contents.exposure.filter(|_| !environment.credentials.has(path)) {
        return Err(Error::Exposed { kind, path: path.into(), exposure });
    }
    first_line(&contents.octets).map_err(|why| Error::Unusable { kind, origin: format!("`{}`", path.display()), why })
}

fn ambient(login: &Login<'_>, environment: &Environment, stop: &Stop, aside: Aside<'_>) -> Result<Password, Error> {
    unasked(login, environment)?.map_or_else(|| ask(login, stop, aside), Ok)
}

fn unasked(login: &Login<'_>, environment: &Environment) -> Result<Option<Password>, Error> {
    match environment.credentials.find(login.name) {
        Some(path) => from_file(&path, PASSWORD, environment).map(Some),
        None => from_netrc(login, &environment.netrc),
    }
}

fn from_netrc(login: &Login<'_>, path: &Path) -> Result<Option<Password>, Error> {
    let contents = match exposure::read(path, LIMIT) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Unreadable { kind: PASSWORD, path: path.into(), source }),
    };
    let text = String::from_utf8_lossy(&contents.octets);
    let Some(found) = netrc::find(&text, login.host, login.user) else { return Ok(None) };
    match contents.exposure {
        Some(exposure) => Err(Error::Exposed { kind: PASSWORD, path: path.into(), exposure }),
        None => {
            let unusable = |why| Error::Unusable { kind: PASSWORD, origin: format!("`{}`", path.display()), why };
            usable(&found).map(Some).map_err(unusable)
        }
    }
}

fn ask(login: &Login<'_>, stop: &Stop, aside: Aside<'_>) -> Result<Password, Error> {
    let Some(terminal) = prompt::terminal() else {
        return Err(Error::Nowhere { name: login.name.to_owned() });
    };
    let question = format!("popfetch: {}: password of `{}` at `{}`: ", login.name, login.user, login.host);
    let line = prompt::ask(&terminal, &text::printable(question.as_bytes()), stop, aside)?;
    first_line(&line).map_err(|why| Error::Unusable { kind: PASSWORD, origin: "the terminal".to_owned(), why })
}

/// What is looked for where the configuration names no token.
const PASSWORD: &str = "password";

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
    use crate::failure::{Failure as _, Kind};

    fn login(secret: &Secret) -> Login<'_> {
        Login {
            name: "work",
            user: "petar",
            host: "pop.example.com",
            store: "petar@pop.example.com".to_owned(),
            secret,
            command_timeout: None,
            timeout: Duration::from_secs(1),
        }
    }

    fn home(home: &Path) -> Environment {
        Environment { netrc: home.join(".netrc"), credentials: Credentials(None) }
    }

    fn file(folder: &Path, name: &str, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Gets the password with nothing in the environment but a home folder.
    fn within(folder: &Path, secret: Secret) -> Result<Password, Error> {
        find_password(&login(&secret), &home(folder), &Stop::new().unwrap(), &|_, ask| ask())
    }

    fn revealed(result: Result<Password, Error>) -> String {
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
        assert_eq!(error.kind(), Kind::Configuration);
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
            assert_eq!(error.kind(), Kind::Configuration, "{error}");
        }
    }

    #[test]
    fn a_credential_of_the_service_comes_before_netrc_in_any_mode() {
        let home = tempfile::tempdir().unwrap();
        file(home.path(), "work", "credential\n", 0o444);
        file(home.path(), ".netrc", "machine pop.example.com login petar password netrc", 0o600);
        let environment =
            Environment { netrc: home.path().join(".netrc"), credentials: Credentials(Some(home.path().into())) };
        let found = find_password(&login(&Secret::Ambient), &environment, &Stop::new().unwrap(), &|_, ask| ask());
        assert_eq!(revealed(found), "credential");
    }

    #[test]
    fn netrc_is_looked_up_by_host_and_user() {
        let home = tempfile::tempdir().unwrap();
        let netrc = file(home.path(), ".netrc", "machine pop.example.com login petar password canary", 0o600);
        assert_eq!(revealed(within(home.path(), Secret::Ambient)), "canary");
        fs::set_permissions(&netrc, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(within(home.path(), Secret::Ambient), Err(Error::Exposed { .. })));
    }

    #[test]
    fn a_netrc_for_other_hosts_may_be_open() {
        let home = tempfile::tempdir().unwrap();
        let path = file(home.path(), ".netrc", "machine ftp.example.com password guest", 0o644);
        assert_eq!(from_netrc(&login(&Secret::Ambient), &path).unwrap(), None);
        assert_eq!(from_netrc(&login(&Secret::Ambient), &home.path().join("absent")).unwrap(), None);
    }

    #[test]
    fn a_command_may_take_a_minute_and_any_time_where_somebody_watches() {
        let mut login = login(&Secret::Ambient);
        let timeouts = |login: &Login<'_>| [false, true].map(|is_terminal| command_timeout(login, is_terminal));
        assert_eq!(timeouts(&login), [Some(Duration::from_secs(60)), None]);
        login.command_timeout = Some(Duration::from_secs(5));
        assert_eq!(timeouts(&login), [login.command_timeout; 2]);
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
