//! Where files are: the user's folders, `~`, and what a relative path is relative to.
//!
//! The environment is read once, into a value that tests can make up.

use std::env;
use std::path::{Component, Path, PathBuf};

use super::forms::Expected;
use super::placeholder;
use crate::account::{Address, At, Server, Target};
use crate::os::credentials::Credentials;
use crate::os::user::User;

/// What the process's environment says about places.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// The home folder; `/` for a user who has none.
    pub home: PathBuf,
    /// The configuration, where no option names one.
    pub config: Option<PathBuf>,
    pub config_home: Option<PathBuf>,
    pub state_home: Option<PathBuf>,
    pub credentials: Credentials,
}

impl Environment {
    pub fn of_process() -> Self {
        // Relative paths in these variables are to be ignored (XDG Base Directory Specification).
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Environment {
            home: env::home_dir().filter(|home| home.is_absolute()).unwrap_or_else(|| "/".into()),
            config: env::var_os("POPFETCH_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from),
            config_home: absolute("XDG_CONFIG_HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            credentials: Credentials::of_process(),
        }
    }

    pub fn config_file(&self) -> PathBuf {
        let folder = self.config_home.clone().unwrap_or_else(|| self.home.join(".config"));
        folder.join("popfetch").join("config.toml")
    }

    pub fn state_dir(&self) -> PathBuf {
        let folder = self.state_home.clone().unwrap_or_else(|| self.home.join(".local").join("state"));
        folder.join("popfetch")
    }
}

/// Makes written paths absolute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paths<'e> {
    pub environment: &'e Environment,
    /// What relative paths are relative to.
    pub folder: &'e Path,
}

const PATH: Expected = Expected::new("a path");
const USER: Expected = Expected::new("a path whose `~user` stands in `/etc/passwd`");

impl Paths<'_> {
    /// Expands `~` and `~user`, and puts a relative path into the folder.
    pub fn resolve(&self, written: &Path) -> Result<PathBuf, Expected> {
        // A path that is not UTF-8 can come from a flag; it is taken as it stands.
        let Some(text) = written.to_str() else { return Ok(self.folder.join(written)) };
        let (folder, rest) = self.parts(text)?;
        Ok(if rest.is_empty() { folder } else { folder.join(rest) })
    }

    /// The folder that a written path begins in, and what follows.
    fn parts<'w>(&self, written: &'w str) -> Result<(PathBuf, &'w str), Expected> {
        if written.is_empty() || written.contains('\0') {
            return Err(PATH);
        }
        let Some(after_tilde) = written.strip_prefix('~') else { return Ok((self.folder.to_owned(), written)) };
        let (user, rest) = after_tilde.split_once('/').unwrap_or((after_tilde, ""));
        let home = if user.is_empty() { self.environment.home.clone() } else { User::find(user).ok_or(USER)?.home };
        Ok((home, rest.trim_start_matches('/')))
    }

    /// [`Paths::resolve`] for the place of a target, whose placeholders stay: only what is written has some.
    pub fn resolve_target(&self, target: Target) -> Result<Target, Expected> {
        let address = match target.address() {
            Address::Path(path) => {
                let (folder, rest) = self.parts(path.to_str().ok_or(PATH)?)?;
                Address::Path(placeholder::escaped(&folder).join(rest))
            }
            Address::Command(words) => Address::Command(self.resolve_program(words.clone())?),
            Address::Server(server) => {
                Address::Server(Box::new(Server { at: self.resolve_at(&server.at)?, ..(**server).clone() }))
            }
        };
        Ok(Target::new(target.kind(), address))
    }

    fn resolve_at(&self, at: &At) -> Result<At, Expected> {
        Ok(match at {
            At::Socket(path) => {
                let path = self.resolve(path)?;
                At::Socket(without_parents(&path).unwrap_or(path))
            }
            At::Host { .. } => at.clone(),
        })
    }

    /// [`Paths::resolve`] for the first word of a command when it is a path; a bare name is left to `$PATH`.
    pub fn resolve_program(&self, mut words: Vec<String>) -> Result<Vec<String>, Expected> {
        if words[0].starts_with('~') || words[0].contains('/') {
            let program = self.resolve(Path::new(&words[0]))?;
            words[0] = program.into_os_string().into_string().map_err(|_| PATH)?;
        }
        Ok(words)
    }
}

/// True for two targets that are one, as far as words can tell. Of two servers with one identity the ledger could not tell
/// which of them has a message.
pub(super) fn is_same(one: &Target, other: &Target) -> bool {
    let plain = |target: &Target| without_parents(target.path()?);
    let is_one_server = one.server().is_some() && one.identity() == other.identity();
    let is_one_path = || plain(one).is_some_and(|path| Some(path) == plain(other));
    one.kind() == other.kind() && (one == other || is_one_server || is_one_path())
}

/// `None` where a link comes before `..`: only the system knows the folder above it. A run compares such places, too.
fn without_parents(path: &Path) -> Option<PathBuf> {
    path.components().try_fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::ParentDir if plain.is_symlink() => return None,
            Component::ParentDir => drop(plain.pop()),
            component => plain.push(component),
        }
        Some(plain)
    })
}

/// True when a target is written as `~` or `~/…`.
pub(super) fn is_at_home(target: &Target) -> bool {
    match target.address() {
        Address::Path(path) => path.starts_with("~"),
        Address::Command(words) => Path::new(&words[0]).starts_with("~"),
        Address::Server(server) => matches!(&server.at, At::Socket(path) if path.starts_with("~")),
    }
}

/// Such a target in the home folder of this user.
pub(super) fn at_home_of(user: &User, target: Target) -> Target {
    let environment = Environment { home: user.home.clone(), ..Environment::default() };
    let paths = Paths { environment: &environment, folder: Path::new("/") };
    // Only a user's name behind `~` could be unknown.
    paths.resolve_target(target.clone()).unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(written: &str) -> Result<PathBuf, Expected> {
        let environment = Environment { home: "/home/petar".into(), ..Environment::default() };
        Paths { environment: &environment, folder: Path::new("/etc/popfetch") }.resolve(Path::new(written))
    }

    #[test]
    fn relative_paths_go_into_the_folder_and_absolute_ones_stay() {
        assert_eq!(resolved("in"), Ok("/etc/popfetch/in".into()));
        assert_eq!(resolved("/var/mail/petar"), Ok("/var/mail/petar".into()));
        assert_eq!(resolved(""), Err(PATH));
        assert_eq!(resolved("a\0b"), Err(PATH));
    }

    #[test]
    fn a_tilde_is_a_home_folder() {
        assert_eq!(resolved("~"), Ok("/home/petar".into()));
        assert_eq!(resolved("~/Mail"), Ok("/home/petar/Mail".into()));
        assert_eq!(resolved("~//Mail"), Ok("/home/petar/Mail".into()));
        assert_eq!(resolved("~no such user/Mail"), Err(USER));
        assert_eq!(resolved("a/~"), Ok("/etc/popfetch/a/~".into()));
    }

    #[test]
    fn a_target_at_home_can_be_at_another_ones() {
        let marta = User { name: "marta".into(), id: 1, group: 1, groups: vec![1], home: "/srv/marta".into() };
        let written = Target::maildir("~/Mail");
        assert!(is_at_home(&written) && is_at_home(&Target::mbox("~")));
        assert!(!is_at_home(&Target::mbox("~petar/mbox")) && !is_at_home(&Target::mda(["lda"])));
        assert_eq!(at_home_of(&marta, written), Target::maildir("/srv/marta/Mail"));
        let lda = Target::mda(["~/bin/lda", "~/x"]);
        assert_eq!(at_home_of(&marta, lda), Target::mda(["/srv/marta/bin/lda", "~/x"]));
    }

    #[test]
    fn only_a_program_that_is_a_path_is_resolved() {
        let environment = Environment { home: "/home/petar".into(), ..Environment::default() };
        let paths = Paths { environment: &environment, folder: Path::new("/etc/popfetch") };
        let resolved = |word: &str| paths.resolve_program(vec![word.to_owned(), "~/x".to_owned()]).unwrap();
        assert_eq!(resolved("procmail"), ["procmail", "~/x"]);
        assert_eq!(resolved("./lda"), ["/etc/popfetch/./lda", "~/x"]);
        assert_eq!(resolved("~/bin/lda"), ["/home/petar/bin/lda", "~/x"]);
    }
}
