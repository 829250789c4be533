//! A folder as it is on a disk: the names below it and the octets of its files.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    Folder,
    File(Arc<Vec<u8>>),
}

/// Every path is relative to the folder, and stands behind that of its own folder.
pub type Tree = BTreeMap<PathBuf, Node>;

/// Reads a folder.
pub fn capture(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    capture_below(folder, Path::new(""), &mut tree);
    tree
}

fn capture_below(folder: &Path, relative: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(folder.join(relative)).expect("a folder of the test can be read") {
        let entry = entry.expect("an entry can be read");
        let path = relative.join(entry.file_name());
        if entry.file_type().expect("an entry has a type").is_dir() {
            tree.insert(path.clone(), Node::Folder);
            capture_below(folder, &path, tree);
        } else {
            tree.insert(path, Node::File(Arc::new(fs::read(entry.path()).expect("a file can be read"))));
        }
    }
}

/// Makes a folder's content this, and nothing else.
pub fn put(folder: &Path, tree: &Tree) {
    for entry in fs::read_dir(folder).expect("a folder of the test can be read") {
        let path = entry.expect("an entry can be read").path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.expect("what a test made can be removed");
    }
    for (path, node) in tree {
        let path = folder.join(path);
        match node {
            Node::Folder => DirBuilder::new().mode(0o700).create(path).expect("a folder can be made"),
            Node::File(octets) => {
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                file.and_then(|mut file| file.write_all(octets)).expect("a file can be made");
            }
        }
    }
}

/// What is different between two trees, for people.
pub fn differences(one: &Tree, other: &Tree) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let is_different = |path: &&&PathBuf| one.get(**path) != other.get(**path);
    let shown = |tree: &Tree, path: &PathBuf| tree.get(path).map_or("nothing".into(), shown);
    let line = |path: &PathBuf| format!("{}: {} | {}", path.display(), shown(one, path), shown(other, path));
    paths.iter().filter(is_different).map(|path| line(path)).collect()
}

fn shown(node: &Node) -> String {
    match node {
        Node::Folder => "a folder".into(),
        Node::File(octets) => format!("{} octets {:?}", octets.len(), brief(octets)),
    }
}

/// Octets for people, the middle of many left out.
pub fn brief(octets: &[u8]) -> String {
    let text = octets.escape_ascii().to_string();
    match text.len() {
        0..1500 => text,
        length => format!("{} … {}", &text[..500], &text[length - 900..]),
    }
}
