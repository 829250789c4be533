//! The text of a configuration: from where it comes, and where in it a fault is.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Source;
use super::error::{Error, Fault, Problem};
use super::paths::{Environment, Paths};
use super::value::{self, Table, Value};
use crate::os::exposure::{self, Contents, Exposure};

/// A configuration is written by hand or by a small program: more is a mistake, such as the name of a disk.
const LIMIT: u64 = 16 << 20;

/// A configuration that has been read, but not understood.
#[derive(Debug)]
pub(super) struct Document {
    /// What it is called in errors.
    pub name: String,
    /// What relative paths in it are relative to.
    pub folder: PathBuf,
    path: PathBuf,
    text: Zeroizing<String>,
    exposure: Option<Exposure>,
}

impl Document {
    /// Reads the source; the default file need not be there.
    pub fn open(source: &Source, environment: &Environment) -> Result<Option<Self>, Error> {
        match source {
            Source::Stdin => Self::from_stdin().map(Some),
            Source::File(path) => Self::from_file(&absolute(path, environment)?, path.display().to_string()).map(Some),
            Source::Default => Self::from_default(&environment.config_file()),
        }
    }

    fn from_default(path: &Path) -> Result<Option<Self>, Error> {
        match Self::from_file(path, path.display().to_string()) {
            Err(Error::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    fn from_file(path: &Path, name: String) -> Result<Self, Error> {
        match exposure::read(path, LIMIT) {
            Ok(contents) => Self::new(name, path, contents),
            Err(source) => Err(Error::Unreadable { file: name, source }),
        }
    }

    fn from_stdin() -> Result<Self, Error> {
        let name = "stdin".to_owned();
        let path = env::current_dir().unwrap_or_default().join(&name);
        // What comes through a pipe was given to us alone, so there are no permissions to judge.
        match exposure::read_within(io::stdin().lock(), LIMIT) {
            Ok(octets) => Self::new(name, &path, Contents { octets, exposure: None }),
            Err(source) => Err(Error::Unreadable { file: name, source }),
        }
    }

    pub fn new(name: String, path: &Path, contents: Contents) -> Result<Self, Error> {
        let folder = path.parent().unwrap_or(path).to_owned();
        // Some editors begin a file with a byte order mark, which is no part of the text.
        let octets = contents.octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&contents.octets);
        let invalid_at = std::str::from_utf8(octets).err().map(|error| error.valid_up_to());
        let text = Zeroizing::new(String::from_utf8_lossy(octets).into_owned());
        let document = Document { name, folder, path: path.to_owned(), text, exposure: contents.exposure };
        match invalid_at {
            Some(at) => Err(document.error(Fault { at, problem: Problem::NotUtf8 })),
            None => Ok(document),
        }
    }

    /// The tree of its values. Fails, too, when others could have written it, since it names programs to run, and when
    /// it holds a password that others can read.
    pub fn table(&self) -> Result<Table, Error> {
        let exposed = |holds_password| {
            let exposure = self.exposure.clone().filter(|exposure| holds_password || exposure.lets_change());
            exposure.map(|exposure| Error::Exposed { path: self.path.clone(), exposure, holds_password })
        };
        if let Some(error) = exposed(false) {
            return Err(error);
        }
        let parse = if self.is_json() { value::from_json } else { value::from_toml };
        let table = parse(&self.text).map_err(|fault| self.error(fault))?;
        exposed(holds_password(&table)).map_or(Ok(table), Err)
    }

    /// By its name, or because no TOML begins with a brace.
    fn is_json(&self) -> bool {
        let is_named_so = self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        is_named_so || self.text.trim_start().starts_with('{')
    }

    /// Puts a fault at its line and column.
    pub fn error(&self, fault: Fault) -> Error {
        // JSON's places are octets, which can be in the middle of a character.
        let before = (0..=fault.at).rev().find_map(|at| self.text.get(..at)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Error::At {
            file: self.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: fault.problem,
        }
    }
}

fn absolute(path: &Path, environment: &Environment) -> Result<PathBuf, Error> {
    let here = env::current_dir().unwrap_or_default();
    let paths = Paths { environment, folder: &here };
    paths.resolve(path).map_err(|expected| Error::Flag { flag: "--config", expected })
}

/// A key that is a secret or has one in it, in any table.
fn holds_password(table: &Table) -> bool {
    table.iter().any(|entry| match &entry.value {
        Value::Table(table) => holds_password(table),
        // A proxy may have a login.
        Value::String(proxy) if entry.key == "proxy" => proxy.contains('@'),
        _ => ["password", "tls_client_identity_password", "client_secret"].contains(&entry.key.as_str()),
    })
}
