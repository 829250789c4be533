//! The text of a configuration: from where it comes, and where in it a fault is.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Source;
use super::error::{Error, Fault, Mistake, Problem};
use super::excerpt;
use super::paths::{Environment, Paths};
use super::value::{self, Parsed, Table, Value};
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
    /// Reads all of them: what is named, or `$POPFETCH_CONFIG`, or the default file, which need not be there.
    pub fn all(sources: &[Source], environment: &Environment) -> Result<Vec<Self>, Error> {
        let of_environment = environment.config.clone().map(Source::named);
        let sources = if sources.is_empty() { of_environment.as_slice() } else { sources };
        if sources.is_empty() {
            let path = environment.config_file();
            return match Self::from_file(&path, path.display().to_string()) {
                Err(Error::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                result => result.map(|document| vec![document]),
            };
        }
        let mut documents = Vec::new();
        for source in sources {
            match source {
                Source::Stdin => documents.push(Self::from_stdin()?),
                Source::Path(path) => documents.extend(Self::from_path(&absolute(path, environment)?, path)?),
            }
        }
        Ok(documents)
    }

    /// Reads a file, or every file of a folder in the order of their names.
    fn from_path(path: &Path, written: &Path) -> Result<Vec<Self>, Error> {
        if !path.is_dir() {
            return Self::from_file(path, written.display().to_string()).map(|document| vec![document]);
        }
        let unreadable = |source| Error::Unreadable { file: written.display().to_string(), source };
        if let Some(exposure) = exposure::of_folder_of_files(path) {
            return Err(Error::Exposed { path: path.to_owned(), exposure, holds_password: false });
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            if is_configuration(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(Error::EmptyFolder { folder: written.display().to_string() });
        }
        names.sort();
        names.iter().map(|name| Self::from_file(&path.join(name), written.join(name).display().to_string())).collect()
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
            Some(at) => {
                let mistake = document.mistake(Fault::lost(at..at, Problem::NotUtf8));
                Err(Error::Mistakes { first: vec![mistake], more: 0 })
            }
            None => Ok(document),
        }
    }

    /// The tree of its values. Fails when others could have written it, since it names programs to run, and when it
    /// holds a password that others can read.
    pub fn parse(&self) -> Result<Parsed, Error> {
        let exposed = |holds_password| {
            let exposure = self.exposure.clone().filter(|exposure| holds_password || exposure.lets_change());
            exposure.map(|exposure| Error::Exposed { path: self.path.clone(), exposure, holds_password })
        };
        if let Some(error) = exposed(false) {
            return Err(error);
        }
        let parsed = if self.is_json() { value::from_json(&self.text) } else { value::from_toml(&self.text) };
        exposed(holds_password(&parsed.table)).map_or(Ok(parsed), Err)
    }

    /// By its name, or because no TOML begins with a brace.
    fn is_json(&self) -> bool {
        let is_named_so = self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        is_named_so || self.text.trim_start().starts_with('{')
    }

    /// The beginning of the line that this offset is in.
    pub fn line_start(&self, at: usize) -> usize {
        value::line_start(&self.text, at)
    }

    /// `FILE:LINE` of an offset.
    pub fn place(&self, at: usize) -> String {
        format!("{}:{}", self.name, value::line_number(&self.text, at))
    }

    /// Puts a fault at its line and column.
    pub fn mistake(&self, fault: Fault) -> Mistake {
        // JSON's places are octets, which can be in the middle of a character.
        let before = (0..=fault.at.start).rev().find_map(|at| self.text.get(..at)).unwrap_or_default();
        let line = value::line_number(&self.text, before.len());
        Mistake {
            file: self.name.clone(),
            line,
            column: before[value::line_start(&self.text, before.len())..].chars().count() + 1,
            excerpt: excerpt::of(&self.text, line, &fault),
            problem: fault.problem,
        }
    }
}

/// True for a name that ends in `.toml` or `.json`. A hidden file, and one that an editor saves what it is working on,
/// is none.
fn is_configuration(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    let is_read = |known: &str| extension.is_some_and(|extension| extension.eq_ignore_ascii_case(known));
    (is_read("toml") || is_read("json"))
        && !name.as_encoded_bytes().starts_with(b".")
        && !name.as_encoded_bytes().starts_with(b"#")
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
        value => super::all_keys().any(|key| key.name == entry.key && key.is_secret(value)),
    })
}
