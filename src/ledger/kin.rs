//! Other ledgers of what is the same maildrop: under another name of its server, or that of a run by URL.
//!
//! A ledger bears the name under which its maildrop is fetched. When that changes, the new one knows nothing, though the
//! messages lie where they are to be delivered again. So a new ledger takes over what another one knows of the same
//! unique-ids and the same target, when it is proved to be the same messages. The other one is only read, and not locked.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::facts::State;
use super::identity::{Renamed, copies, lines_of};
use super::line::{Line, VERSION};
use super::load::{self, Loaded};
use super::{ACCOUNT, Error, Ledger};
use crate::account::Target;
use crate::maildrop::Fingerprint;
use crate::os;

/// Another ledger, as far as it is about one target.
#[derive(Debug)]
pub struct Kin {
    path: PathBuf,
    maildrop: String,
    loaded: Loaded,
    delivered: Vec<(u32, Option<Fingerprint>)>,
}

/// A known message, as it is compared with those of a listing.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// The number of its fact.
    pub fact: u32,
    /// Its unique-id.
    pub unique_id: &'k [u8],
    /// Its size; `u32::MAX` stands for unknown.
    pub octets: u32,
    /// Its fingerprint, where there is one.
    pub head: Option<Fingerprint>,
}

/// A header is hardly longer than this.
const HEADER: u64 = 4096;

impl Kin {
    /// Reads a ledger; `None` when it is none of the same user and port, or has delivered nothing to the target. What
    /// cannot be read counts as none.
    pub fn read(path: &Path, maildrop: &str, targets: &[Target]) -> Option<Self> {
        let theirs = header(path)?;
        if user_and_port(&theirs) != user_and_port(maildrop) {
            return None;
        }
        let file = BufReader::with_capacity(64 << 10, os::file::read(path).ok()?);
        let mut loaded = load::load(file, path, &theirs).ok()?;
        loaded.lanes.serve(targets);
        let known = (0..).zip(loaded.facts.iter()).filter(|(_, fact)| fact.state != State::Deleted);
        let known = known.filter(|(_, fact)| loaded.lanes.has_own(fact.lanes));
        let known: Vec<(u32, u32)> = known.map(|(number, fact)| (fact.line, number)).collect();
        let mut delivered = vec![];
        let collect = |fact, line: Line<'_>| delivered.push((fact, line.head.and_then(|head| head.parse().ok())));
        lines_of(|| Ok(os::file::read(path)?), known, collect).ok()?;
        (!delivered.is_empty()).then_some(Kin { path: path.into(), maildrop: theirs, loaded, delivered })
    }

    /// The maildrop as the ledger calls it.
    pub fn maildrop(&self) -> &str {
        &self.maildrop
    }

    /// True when an account of the configuration has fetched it.
    pub fn is_of_an_account(&self) -> bool {
        self.loaded.notes.of(ACCOUNT).is_some() || self.loaded.version < VERSION
    }

    /// What it has delivered to the target.
    pub fn delivered(&self) -> impl Iterator<Item = Known<'_>> {
        let facts = &self.loaded.facts;
        self.delivered.iter().map(|(fact, head)| Known {
            fact: *fact,
            unique_id: facts.id(*fact),
            octets: facts.get(*fact).octets,
            head: *head,
        })
    }
}

impl Ledger {
    /// Takes over, durably, what another ledger knows of these messages.
    pub fn adopt(&mut self, kin: &mut Kin, adopted: &[Renamed<'_>]) -> Result<(), Error> {
        let path = kin.path.clone();
        let copies = copies(|| Ok(os::file::read(&path)?), &mut kin.loaded, adopted)?;
        if copies.is_empty() { Ok(()) } else { self.append_whole(&copies) }
    }
}

/// The maildrop that a ledger's first line names.
fn header(path: &Path) -> Option<String> {
    let mut text = vec![];
    BufReader::new(os::file::read(path).ok()?.take(HEADER)).read_until(b'\n', &mut text).ok()?;
    let line: Line<'_> = serde_json::from_slice(&text).ok()?;
    Some(line.maildrop?.into_owned())
}

/// `USER` and `:PORT`, which another name of the server leaves as they are.
fn user_and_port(maildrop: &str) -> Option<(&str, &str)> {
    let (user, server) = maildrop.rsplit_once('@')?;
    // An IPv6 address has colons as well; what follows its last one may be taken for a port, which only tells it apart.
    Some((user, server.rsplit_once(':').map_or("", |(_, port)| port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_of_the_server_keeps_user_and_port() {
        assert_eq!(user_and_port("a@x@h.example"), Some(("a@x", "")));
        assert_eq!(user_and_port("a@h:99"), user_and_port("a@other:99"));
        assert_ne!(user_and_port("a@h:99"), user_and_port("a@h"));
        assert_eq!(user_and_port("a"), None);
    }

    #[test]
    fn what_is_no_ordinary_file_is_no_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a@h.jsonl");
        let target = [Target::maildir("/m")];
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        assert!(Kin::read(&path, "a@other", &target).is_none(), "a FIFO is not waited for");
        std::fs::remove_file(&path).unwrap();
        let lines = "{\"popfetch\":3,\"maildrop\":\"a@h\"}\n{\"delivered\":\"x\",\"at\":1,\"maildir\":\"/m\"}\n";
        std::fs::write(&path, lines).unwrap();
        assert_eq!(Kin::read(&path, "a@other", &target).unwrap().delivered().count(), 1);
        let link = folder.path().join("a@link.jsonl");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Kin::read(&link, "a@other", &target).is_none(), "a link is not followed");
    }
}
