//! What POSIX promises of the calls of a run: which changes there were, and which of them a power cut can take back.
//!
//! A change of a file's octets or length lasts once an fsync or fdatasync of that file, or a syncfs, that began after
//! the change had ended, has ended. A change of names lasts once the same happened to the folder in which a name
//! appeared or disappeared; an fsync of the file does nothing for its name. `sync_file_range` and `posix_fadvise`
//! promise nothing. Until then each change may be on the disk or not, whatever came before or after it, with two
//! limits: changes of one name last in their order, and a rename is on the disk as a whole or not at all (there is no
//! moment in which the file has both names, or none: every journaling or copying file system sees to that; its target's
//! folder is the one whose fsync counts).
//!
//! Calls of several threads are ordered as strace saw them end. A change that has begun before a power cut may be on the
//! disk; a sync counts for the changes that had ended when it began, and from the moment at which it has ended.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::trace::{Call, below};
use super::tree::{Node, Tree};

/// A file or a folder, whatever its name.
pub type Inode = usize;

/// A name in a folder.
pub type Entry = (Inode, String);

/// The folder that everything is in.
const ROOT: Inode = 0;

#[derive(Debug, Clone)]
pub enum What {
    Write {
        inode: Inode,
        offset: usize,
        octets: Arc<Vec<u8>>,
    },
    Truncate {
        inode: Inode,
        length: usize,
    },
    /// Names appear (or mean something else) and disappear, all at once. The folder is the one whose fsync counts.
    Names {
        set: Vec<(Entry, Option<Inode>)>,
        folder: Inode,
    },
}

#[derive(Debug, Clone)]
pub struct Change {
    pub begin: usize,
    pub end: usize,
    /// From this moment on it is there after a power cut.
    pub lasts: Option<usize>,
    is_of_others: bool,
    /// Earlier changes of the same names.
    pub after: Vec<usize>,
    pub what: What,
    /// For people.
    pub told: String,
}

impl Change {
    pub fn file(&self) -> Option<Inode> {
        match self.what {
            What::Write { inode, .. } | What::Truncate { inode, .. } => Some(inode),
            What::Names { .. } => None,
        }
    }
}

#[derive(Debug)]
pub struct Sync {
    begin: usize,
    end: usize,
    /// `None` for all of the file system.
    inode: Option<Inode>,
    path: PathBuf,
}

/// A run, or several after one another, over one folder.
#[derive(Debug)]
pub struct Model {
    folder: PathBuf,
    /// What was there before, by inode: octets of files.
    base: Vec<Arc<Vec<u8>>>,
    base_names: BTreeMap<Entry, Inode>,
    is_folder: Vec<bool>,
    pub changes: Vec<Change>,
    pub syncs: Vec<Sync>,
    /// When `QUIT` was on its way to the server.
    pub quits: Vec<usize>,
    /// When the last run had ended.
    pub moment: usize,
    /// Below these, every change lasts as soon as it is made: the files of other programs, which see to it themselves.
    synchronous: Vec<PathBuf>,
    names: BTreeMap<Entry, Inode>,
    lengths: HashMap<Inode, usize>,
    positions: HashMap<Inode, usize>,
    appends: HashMap<Inode, bool>,
    /// The files that were opened without a name, by thread.
    nameless: HashMap<u32, Inode>,
    last_of_name: HashMap<Entry, usize>,
}

impl Model {
    pub fn new(folder: &Path, tree: &Tree, synchronous: &[&str]) -> Self {
        let mut model = Model {
            folder: folder.to_owned(),
            base: vec![Arc::default()],
            base_names: BTreeMap::new(),
            is_folder: vec![true],
            changes: vec![],
            syncs: vec![],
            quits: vec![],
            moment: 0,
            synchronous: synchronous.iter().map(PathBuf::from).collect(),
            names: BTreeMap::new(),
            lengths: HashMap::new(),
            positions: HashMap::new(),
            appends: HashMap::new(),
            nameless: HashMap::new(),
            last_of_name: HashMap::new(),
        };
        for (path, node) in tree {
            let octets = if let Node::File(octets) = node { octets.clone() } else { Arc::default() };
            let inode = model.inode(*node == Node::Folder);
            model.lengths.insert(inode, octets.len());
            model.base[inode] = octets;
            let entry = model.entry(path).expect("a folder stands in front of what is in it");
            model.names.insert(entry, inode);
        }
        model.base_names = model.names.clone();
        model
    }

    fn inode(&mut self, is_folder: bool) -> Inode {
        self.base.push(Arc::default());
        self.is_folder.push(is_folder);
        self.base.len() - 1
    }

    fn lookup(&self, path: &Path) -> Option<Inode> {
        path.iter()
            .try_fold(ROOT, |folder, name| self.names.get(&(folder, name.to_string_lossy().into_owned())).copied())
    }

    fn entry(&self, path: &Path) -> Option<Entry> {
        let folder = self.lookup(path.parent()?)?;
        Some((folder, path.file_name()?.to_string_lossy().into_owned()))
    }

    /// The file behind a descriptor; `None` when it is elsewhere, or has no name any more.
    fn behind(&self, call: &Call, position: usize) -> Option<Inode> {
        let path = call.descriptor(position);
        let relative = below(&self.folder, &path)?;
        self.lookup(&relative).or_else(|| self.nameless.get(&call.thread).copied().filter(|_| is_nameless(&path)))
    }

    /// Takes one more run in, which began when the one before it had ended.
    pub fn add(&mut self, mut calls: Vec<Call>) {
        calls.sort_by_key(|call| call.end);
        let start = self.moment;
        for call in &calls {
            self.take(call, start);
            self.moment = self.moment.max(start + call.end + 1);
        }
        self.settle();
    }

    fn take(&mut self, call: &Call, start: usize) {
        let (begin, end) = (start + call.begin, start + call.end);
        match call.name.as_str() {
            "open" | "openat" | "creat" => self.open(call, begin, end),
            "write" | "sendto" if is_socket(call) => {
                if call.octets().ends_with(b"QUIT\r\n") {
                    self.quits.push(begin);
                }
            }
            "write" | "writev" | "pwrite64" => self.write(call, begin, end),
            "ftruncate" => {
                if let Some(inode) = self.behind(call, 0) {
                    let length = call.number(1) as usize;
                    self.lengths.insert(inode, length);
                    let path = self.relative(&call.descriptor(0)).unwrap_or_default();
                    self.change(begin, end, &path, &format!("cut to {length}"), What::Truncate { inode, length });
                }
            }
            "rename" => self.rename(call, (call.path(None, 0), call.path(None, 1)), begin, end),
            "renameat" | "renameat2" => {
                self.rename(call, (call.path(Some(0), 1), call.path(Some(2), 3)), begin, end);
            }
            "link" => self.link(call, &call.path(None, 0), &call.path(None, 1), begin, end),
            "linkat" => self.link(call, &call.path(Some(0), 1), &call.path(Some(2), 3), begin, end),
            "unlink" | "rmdir" => self.remove(&call.path(None, 0), begin, end),
            "unlinkat" => self.remove(&call.path(Some(0), 1), begin, end),
            "mkdir" => self.mkdir(&call.path(None, 0), begin, end),
            "mkdirat" => self.mkdir(&call.path(Some(0), 1), begin, end),
            "fsync" | "fdatasync" => {
                if let Some(inode) = self.behind(call, 0) {
                    let path = self.relative(&call.descriptor(0)).unwrap_or_default();
                    self.syncs.push(Sync { begin, end, inode: Some(inode), path });
                }
            }
            "syncfs" if self.relative(&call.descriptor(0)).is_some() => {
                self.syncs.push(Sync { begin, end, inode: None, path: PathBuf::new() });
            }
            "sendto" | "sync" | "syncfs" => {}
            name => assert!(!self.concerns(call), "the model does not know `{name}`: {call:?}"),
        }
    }

    /// True when an argument is, or may be, below our folder.
    fn concerns(&self, call: &Call) -> bool {
        (0..4).any(|position| below(&self.folder, &call.descriptor(position)).is_some())
    }

    fn relative(&self, path: &Path) -> Option<PathBuf> {
        below(&self.folder, path)
    }

    fn open(&mut self, call: &Call, begin: usize, end: usize) {
        let path = if call.name == "openat" { call.path(Some(0), 1) } else { call.path(None, 0) };
        let Some(path) = self.relative(&path) else { return };
        if call.has_flag("O_TMPFILE") {
            let inode = self.inode(false);
            self.nameless.insert(call.thread, inode);
            self.positions.insert(inode, 0);
            return;
        }
        if self.lookup(&path).is_none() {
            self.create(&path, false, begin, end);
        }
        let inode = self.lookup(&path).expect("what was opened is there");
        if call.has_flag("O_TRUNC") && self.lengths.get(&inode).is_some_and(|length| *length > 0) {
            self.lengths.insert(inode, 0);
            self.change(begin, end, &path, "empty", What::Truncate { inode, length: 0 });
        }
        self.positions.insert(inode, 0);
        if !call.has_flag("O_RDONLY") {
            self.appends.insert(inode, call.has_flag("O_APPEND"));
        }
    }

    fn write(&mut self, call: &Call, begin: usize, end: usize) {
        let Some(inode) = self.behind(call, 0) else { return };
        let octets = call.octets();
        let length = *self.lengths.get(&inode).unwrap_or(&0);
        let is_append = self.appends.get(&inode).copied().unwrap_or(false);
        let offset = match call.name.as_str() {
            "pwrite64" => call.number(3) as usize,
            _ if is_append => length,
            _ => self.positions.get(&inode).copied().unwrap_or(0),
        };
        if call.name != "pwrite64" {
            self.positions.insert(inode, offset + octets.len());
        }
        self.lengths.insert(inode, length.max(offset + octets.len()));
        let path = self.relative(&call.descriptor(0)).unwrap_or_default();
        let told = format!("write {} octets at {offset} of", octets.len());
        self.change(begin, end, &path, &told, What::Write { inode, offset, octets: Arc::new(octets) });
    }

    fn mkdir(&mut self, path: &Path, begin: usize, end: usize) {
        if let Some(path) = self.relative(path) {
            self.create(&path, true, begin, end);
        }
    }

    fn create(&mut self, path: &Path, is_folder: bool, begin: usize, end: usize) {
        let inode = self.inode(is_folder);
        let entry = self.entry(path).expect("what is created has a folder");
        let what = What::Names { folder: entry.0, set: vec![(entry, Some(inode))] };
        self.change(begin, end, path, "create", what);
    }

    fn remove(&mut self, path: &Path, begin: usize, end: usize) {
        let Some(relative) = self.relative(path) else { return };
        let entry = self.entry(&relative).expect("what is removed had a folder");
        let what = What::Names { folder: entry.0, set: vec![(entry, None)] };
        self.change(begin, end, &relative, "remove", what);
    }

    fn rename(&mut self, call: &Call, (from, to): (PathBuf, PathBuf), begin: usize, end: usize) {
        let (Some(from), Some(to)) = (self.relative(&from), self.relative(&to)) else { return };
        let inode = self.lookup(&from).unwrap_or_else(|| panic!("nobody knows what was renamed: {call:?}"));
        let (source, target) = (self.entry(&from).expect("it was there"), self.entry(&to).expect("it is there"));
        let what = What::Names { folder: target.0, set: vec![(source, None), (target, Some(inode))] };
        self.change(begin, end, &to, &format!("rename {} to", from.display()), what);
    }

    fn link(&mut self, call: &Call, from: &Path, to: &Path, begin: usize, end: usize) {
        let Some(to) = self.relative(to) else { return };
        let inode = match self.relative(from) {
            Some(from) => self.lookup(&from),
            // `/proc/self/fd/N`
            None => self.nameless.get(&call.thread).copied(),
        };
        let inode = inode.unwrap_or_else(|| panic!("nobody knows what was linked: {call:?}"));
        let entry = self.entry(&to).expect("it is there");
        let what = What::Names { folder: entry.0, set: vec![(entry, Some(inode))] };
        self.change(begin, end, &to, "link", what);
    }

    fn change(&mut self, begin: usize, end: usize, path: &Path, told: &str, what: What) {
        let mut after = vec![];
        if let What::Names { set, .. } = &what {
            for (entry, inode) in set {
                after.extend(self.last_of_name.insert(entry.clone(), self.changes.len()));
                match inode {
                    Some(inode) => self.names.insert(entry.clone(), *inode),
                    None => self.names.remove(entry),
                };
            }
        }
        let told = format!("{told} {}", path.display());
        self.changes.push(Change { begin, end, lasts: None, is_of_others: self.is_of_others(path), after, what, told });
    }

    fn is_of_others(&self, path: &Path) -> bool {
        self.synchronous.iter().any(|folder| path.starts_with(folder))
    }

    /// Finds out from which moment on each change lasts.
    fn settle(&mut self) {
        for change in &mut self.changes {
            let inode = match change.what {
                What::Names { folder, .. } => folder,
                What::Write { inode, .. } | What::Truncate { inode, .. } => inode,
            };
            let concerns = |sync: &&Sync| sync.begin > change.end && sync.inode.is_none_or(|synced| synced == inode);
            let synced = self.syncs.iter().filter(concerns).map(|sync| sync.end).min();
            change.lasts = if change.is_of_others { Some(change.end) } else { synced };
        }
    }

    /// As if these syncs had never been called: what a broken protocol would be.
    pub fn without_syncs_of(&mut self, is_left_out: impl Fn(&Path) -> bool) {
        let before = self.syncs.len();
        self.syncs.retain(|sync| !is_left_out(&sync.path));
        assert!(self.syncs.len() < before, "there is no such sync");
        self.settle();
    }

    /// The moments between which something begins or ends; a power cut in between any two of the others is one of these.
    pub fn moments(&self) -> Vec<usize> {
        let changes = self.changes.iter().flat_map(|change| [change.begin + 1, change.end + 1]);
        let syncs = self.syncs.iter().map(|sync| sync.end + 1);
        let quits = self.quits.iter().map(|quit| quit + 1);
        let mut moments: Vec<_> = changes.chain(syncs).chain(quits).collect();
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// What is there when of every file and name the changes are that `octets_of` and `is_there` say.
    pub fn tree(&self, is_there: impl Fn(usize) -> bool, apply: impl Fn(usize, &What, &mut Vec<u8>)) -> Tree {
        let mut names = self.base_names.clone();
        let mut files: HashMap<Inode, Vec<u8>> = HashMap::new();
        for (number, change) in self.changes.iter().enumerate() {
            match &change.what {
                What::Names { set, .. } => {
                    for (entry, inode) in set.iter().filter(|_| is_there(number)) {
                        match inode {
                            Some(inode) => names.insert(entry.clone(), *inode),
                            None => names.remove(entry),
                        };
                    }
                }
                what @ (What::Write { inode, .. } | What::Truncate { inode, .. }) => {
                    apply(number, what, files.entry(*inode).or_insert_with(|| self.base[*inode].to_vec()));
                }
            }
        }
        let mut tree = Tree::new();
        self.grow(&names, &files, ROOT, Path::new(""), &mut tree);
        tree
    }

    fn grow(
        &self,
        names: &BTreeMap<Entry, Inode>,
        files: &HashMap<Inode, Vec<u8>>,
        folder: Inode,
        path: &Path,
        tree: &mut Tree,
    ) {
        for ((_, name), inode) in names.range((folder, String::new())..(folder + 1, String::new())) {
            let path = path.join(name);
            if self.is_folder[*inode] {
                tree.insert(path.clone(), Node::Folder);
                self.grow(names, files, *inode, &path, tree);
            } else {
                let octets =
                    files.get(inode).map_or_else(|| self.base[*inode].clone(), |octets| Arc::new(octets.clone()));
                tree.insert(path, Node::File(octets));
            }
        }
    }

    /// What was there before the first run.
    pub fn before(&self) -> Tree {
        let mut tree = Tree::new();
        self.grow(&self.base_names, &HashMap::new(), ROOT, Path::new(""), &mut tree);
        tree
    }

    /// What is there without a power cut.
    pub fn whole(&self) -> Tree {
        self.tree(|_| true, |_, what, octets| whole(what, octets))
    }
}

/// Does the whole change to the octets of a file.
pub fn whole(what: &What, octets: &mut Vec<u8>) {
    match what {
        What::Write { offset, octets: written, .. } => put(octets, *offset, written),
        What::Truncate { length, .. } => octets.resize(*length, 0),
        What::Names { .. } => {}
    }
}

/// Octets to their place in a file; a gap before them is zeros.
pub fn put(octets: &mut Vec<u8>, offset: usize, written: &[u8]) {
    if octets.len() < offset + written.len() {
        octets.resize(offset + written.len(), 0);
    }
    octets[offset..offset + written.len()].copy_from_slice(written);
}

fn is_socket(call: &Call) -> bool {
    call.descriptor(0).to_string_lossy().starts_with("socket:")
}

fn is_nameless(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('#'))
}
