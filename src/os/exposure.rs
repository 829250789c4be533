//! Who else can read a file, or change what it says: permissions, owners, and the folders above it. Files that may hold
//! secrets are opened once, judged by what was opened, and read within a limit.
//!
//! The permissions asked are those of the open file, so that it cannot be exchanged in between. The folders are those
//! in which its path is looked up, links included: who can write to one of them can put another file in its place. It
//! is what `StrictModes` of sshd_config(5) asks, and links besides. For a file of the user's the folders count up to the
//! home folder, for what root writes up to the root.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use zeroize::Zeroizing;

/// Permissions by which the group or others can write.
const WRITE: u32 = 0o022;

/// Permission by which others than the group can write.
const OTHERS_WRITE: u32 = 0o002;

/// In a folder with this bit nobody can exchange the files of others.
const STICKY: u32 = 0o1000;

/// As many links as the kernel follows itself (path_resolution(7)).
const LINKS: usize = 40;

/// Why a file is not only its user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposure {
    /// The permissions let the group or others in.
    Mode(u32),
    /// It belongs to this user id, which is neither ours nor root's.
    Owner(u32),
    /// The group or others can write to a folder above it.
    FolderMode(PathBuf, u32),
    /// A folder above it, or a link that leads to it, belongs to this user id, which is neither ours nor root's.
    FolderOwner(PathBuf, u32),
}

impl Exposure {
    /// True when others decide what the file says; false when they can only read it.
    pub fn lets_change(&self) -> bool {
        !matches!(self, Exposure::Mode(mode) if mode & WRITE == 0)
    }

    /// One line about a file that should be a secret and is not.
    pub fn of_secret(&self, path: &Path, secret: &str) -> String {
        format!("`{}` holds {secret} but {self}; {}", path.display(), self.advice(path, true))
    }

    /// What to do about it.
    pub fn advice(&self, path: &Path, is_secret: bool) -> String {
        let quoted = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
        match self {
            Exposure::Mode(_) if is_secret => format!("run `chmod 600 {}`", quoted(path)),
            Exposure::Mode(_) => format!("run `chmod go-w {}`", quoted(path)),
            Exposure::FolderMode(folder, _) => format!("run `chmod go-w {}`", quoted(folder)),
            Exposure::Owner(_) | Exposure::FolderOwner(..) => "it must be yours or root's".to_owned(),
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exposure::Mode(mode) if mode & WRITE == 0 => write!(f, "is open to others (mode {mode:04o})"),
            Exposure::Mode(mode) => write!(f, "can be changed by others (mode {mode:04o})"),
            Exposure::Owner(owner) => write!(f, "belongs to someone else (user id {owner})"),
            Exposure::FolderMode(folder, mode) => {
                write!(f, "can be exchanged by others, who can write to `{}` (mode {mode:04o})", folder.display())
            }
            Exposure::FolderOwner(path, owner) => {
                write!(f, "is found by way of `{}`, which belongs to someone else (user id {owner})", path.display())
            }
        }
    }
}

/// Why the file that was opened by this path is not only its user's, if so. That others can change it comes first.
pub fn of(path: &Path, file: &Metadata) -> Option<Exposure> {
    // A device, such as a terminal, has the permissions that it needs.
    let has_owner = file.is_file() || file.file_type().is_fifo();
    let of_file = if has_owner { of_permissions(file.mode(), file.uid()) } else { None };
    match of_file {
        Some(exposure) if exposure.lets_change() => Some(exposure),
        _ => of_folders(path, &env::home_dir().unwrap_or_default()).or(of_file),
    }
}

/// What a file holds, and who else could know.
#[derive(Debug)]
pub(crate) struct Contents {
    pub octets: Zeroizing<Vec<u8>>,
    /// Why it is not only its user's.
    pub exposure: Option<Exposure>,
}

/// Room for most files, so that they are read at once.
const TYPICAL: usize = 4096;

/// Reads a file of at most `limit` octets. Fails for a directory, and for more than the limit.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Contents> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Contents { octets: read_within(file, limit)?, exposure: of(path, &metadata) })
}

/// Reads to the end, which must come within the limit.
pub(crate) fn read_within(reader: impl Read, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(TYPICAL));
    reader.take(limit + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(octets)
}

fn of_permissions(mode: u32, owner: u32) -> Option<Exposure> {
    if is_foreign(owner) {
        return Some(Exposure::Owner(owner));
    }
    (mode & 0o066 != 0).then_some(Exposure::Mode(mode & 0o7777))
}

fn is_foreign(owner: u32) -> bool {
    owner != 0 && owner != rustix::process::geteuid().as_raw()
}

fn of_folders(path: &Path, home: &Path) -> Option<Exposure> {
    let lookups = lookups(path);
    let is_straight = lookups.iter().all(|lookup| !lookup.is_link()) && path.starts_with(home);
    let real_home = if is_straight { home.to_owned() } else { fs::canonicalize(home).unwrap_or_default() };
    // On the way to the home folder nothing is looked at.
    let lookups =
        lookups.iter().filter(|lookup| !home.starts_with(&lookup.name) && !real_home.starts_with(&lookup.name));
    lookups.into_iter().find_map(|lookup| {
        let of_link = || of_owner(&lookup.name, lookup.metadata.as_ref().filter(|metadata| metadata.is_symlink())?);
        of_folder(lookup.name.parent()?, lookup.folder.as_ref()?, |_| false).or_else(of_link)
    })
}

/// Why others than root decide what is at a path, if so: they own something on the way to it, the file included, or can
/// write to a folder in which it is looked up. With `in_spool` the group of the file's own folder may, as in `/var/mail`:
/// whoever opens a file there looks at it first.
pub fn of_path_of_root(path: &Path, in_spool: bool) -> Option<Exposure> {
    let lookups = lookups(path);
    let (last, _) = lookups.split_last()?;
    lookups.iter().find_map(|Lookup { name, metadata, folder }| {
        let is_trusted = |group| group == 0 || (in_spool && *name == last.name);
        let of_name = || of_owner(name, metadata.as_ref()?);
        name.parent()
            .zip(folder.as_ref())
            .and_then(|(path, folder)| of_folder(path, folder, is_trusted))
            .or_else(of_name)
    })
}

/// Why others can exchange files in the folder of the state, or for root the folder itself, if so. A user's groups are
/// the user's own business.
pub fn of_state(folder: &Path) -> Option<Exposure> {
    match rustix::process::geteuid().is_root() {
        true => of_path_of_root(&folder.join("ledger"), false),
        false => of_folder(folder, &fs::metadata(folder).ok()?, |_| true),
    }
}

/// Why others can put files into a folder of which every file is read, if so. That a sticky folder keeps its files from
/// others is no help.
pub fn of_folder_of_files(folder: &Path) -> Option<Exposure> {
    let metadata = fs::metadata(folder).ok()?;
    let mode = metadata.mode() & 0o7777;
    let is_open = mode & WRITE != 0 && !is_read_only(folder);
    let of_owner = is_foreign(metadata.uid()).then(|| Exposure::Owner(metadata.uid()));
    of_owner.or_else(|| is_open.then_some(Exposure::Mode(mode)))
}

fn of_folder(folder: &Path, metadata: &Metadata, is_trusted: impl Fn(u32) -> bool) -> Option<Exposure> {
    let (mode, group) = (metadata.mode(), metadata.gid());
    let writers = if is_trusted(group) { OTHERS_WRITE } else { WRITE };
    let is_open = mode & writers != 0 && mode & STICKY == 0;
    of_owner(folder, metadata)
        .or_else(|| (is_open && !is_read_only(folder)).then(|| Exposure::FolderMode(folder.to_owned(), mode & 0o7777)))
}

fn of_owner(path: &Path, metadata: &Metadata) -> Option<Exposure> {
    is_foreign(metadata.uid()).then(|| Exposure::FolderOwner(path.to_owned(), metadata.uid()))
}

/// A name that is looked up in a folder, and what is known of both; `None` for what is not there, which is nobody's.
struct Lookup {
    name: PathBuf,
    metadata: Option<Metadata>,
    folder: Option<Metadata>,
}

impl Lookup {
    fn is_link(&self) -> bool {
        self.metadata.as_ref().is_some_and(Metadata::is_symlink)
    }
}

/// Every lookup on the way to what a path means, with the path to its name: links are followed one by one.
fn lookups(path: &Path) -> Vec<Lookup> {
    let Ok(path) = std::path::absolute(path) else { return vec![] };
    let root = || (PathBuf::from("/"), fs::metadata("/").ok());
    let (mut lookups, mut links) = (vec![], 0);
    let (mut folder, mut of_folder) = root();
    let mut left = components_of(&path);
    while let Some(component) = left.pop() {
        if component == ".." {
            folder.pop();
            of_folder = fs::metadata(&folder).ok();
            continue;
        }
        let name = folder.join(component);
        let metadata = fs::symlink_metadata(&name).ok();
        let lookup = Lookup { name: name.clone(), metadata, folder: of_folder.clone() };
        let target = if lookup.is_link() && links < LINKS { fs::read_link(&name).ok() } else { None };
        match target {
            Some(target) => {
                links += 1;
                if target.is_absolute() {
                    (folder, of_folder) = root();
                }
                left.extend(components_of(&target));
            }
            None => (folder, of_folder) = (name, lookup.metadata.clone()),
        }
        lookups.push(lookup);
    }
    lookups
}

/// Names and `..`, the last one first.
fn components_of(path: &Path) -> Vec<OsString> {
    let components =
        path.components().filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir));
    components.rev().map(|component| component.as_os_str().to_owned()).collect()
}

/// Containers get their configuration as a mount that nobody can write to, whatever its modes say.
fn is_read_only(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn judged(path: &Path) -> Option<Exposure> {
        of(path, &fs::metadata(path).unwrap())
    }

    #[test]
    fn permissions_of_group_and_others_are_an_exposure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, lets_change) in [
            (0o600, None),
            (0o400, None),
            (0o640, Some(false)),
            (0o604, Some(false)),
            (0o620, Some(true)),
            (0o602, Some(true)),
            (0o666, Some(true)),
        ] {
            set_mode(file.path(), mode);
            assert_eq!(judged(file.path()).map(|exposure| exposure.lets_change()), lets_change, "{mode:o}");
        }
    }

    #[test]
    fn a_file_of_someone_else_is_an_exposure_but_not_one_of_root() {
        let ours = rustix::process::geteuid().as_raw();
        assert_eq!(of_permissions(0o600, ours), None);
        assert_eq!(of_permissions(0o600, 0), None);
        assert_eq!(of_permissions(0o600, ours + 1), Some(Exposure::Owner(ours + 1)));
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_an_exposure_up_to_the_home_folder() {
        let outside = tempfile::tempdir().unwrap();
        let home = outside.path().join("home");
        let folder = home.join("a/b");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(of_folders(&file, &home), None);
        for open in [&folder, &home.join("a"), &home] {
            for mode in [0o777, 0o775, 0o757] {
                set_mode(open, mode);
                assert_eq!(of_folders(&file, &home), Some(Exposure::FolderMode(open.clone(), mode)));
            }
            set_mode(open, 0o1777);
            assert_eq!(of_folders(&file, &home), None, "sticky");
            set_mode(open, 0o755);
        }
        set_mode(outside.path(), 0o777);
        assert_eq!(of_folders(&file, &home), None, "above the home folder");
        assert_eq!(of_folders(&file, Path::new("/elsewhere")).map(|exposure| exposure.lets_change()), Some(true));
    }

    #[test]
    fn both_ends_of_a_link_and_the_links_between_them_are_looked_at() {
        let outside = tempfile::tempdir().unwrap();
        let [home, way, store] = ["home", "way", "store"].map(|name| outside.path().join(name));
        [&home, &way, &store].iter().for_each(|folder| fs::create_dir(folder).unwrap());
        fs::write(store.join("file"), "").unwrap();
        symlink("../way/./link", home.join("link")).unwrap();
        symlink(store.join("file"), way.join("link")).unwrap();
        assert_eq!(of_folders(&home.join("link"), &home), None);
        for open in [&home, &way, &store] {
            set_mode(open, 0o777);
            assert_eq!(of_folders(&home.join("link"), &home), Some(Exposure::FolderMode(open.clone(), 0o777)));
            set_mode(open, 0o755);
        }
    }

    #[test]
    fn links_without_end_are_followed_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        symlink("two/..", folder.path().join("one")).unwrap();
        symlink("one/..", folder.path().join("two")).unwrap();
        assert!(lookups(&folder.path().join("one/file")).len() > LINKS);
        assert!(lookups(Path::new("/")).is_empty());
    }

    #[test]
    fn a_directory_and_an_endless_file_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), 10).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(Path::new("/dev/zero"), 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(*read_within(&b"0123456789"[..], 10).unwrap(), b"0123456789");
    }
}
