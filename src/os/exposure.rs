//! Who else can read a file, or change what it says: permissions, owners, and the folders above it.
//!
//! The permissions asked are those of the open file, so that it cannot be exchanged in between. The folders are those
//! of its path and of the file that links lead to, up to the home folder: who can write to one of them can put
//! another file in its place. It is what `StrictModes` of sshd_config(5) asks, and links besides.

use std::env;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

/// Permissions by which the group or others can write.
const WRITE: u32 = 0o022;

/// In a folder with this bit nobody can exchange the files of others.
const STICKY: u32 = 0o1000;

/// Why a file is not only its user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposure {
    /// The permissions let the group or others in.
    Mode(u32),
    /// It belongs to this user id, which is neither ours nor root's.
    Owner(u32),
    /// The group or others can write to a folder above it.
    FolderMode(PathBuf, u32),
    /// A folder above it belongs to this user id, which is neither ours nor root's.
    FolderOwner(PathBuf, u32),
}

impl Exposure {
    /// True when others decide what the file says; false when they can only read it.
    pub fn lets_change(&self) -> bool {
        !matches!(self, Exposure::Mode(mode) if mode & WRITE == 0)
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
            Exposure::FolderOwner(folder, owner) => {
                write!(f, "is below `{}`, which belongs to someone else (user id {owner})", folder.display())
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
    let real_home = fs::canonicalize(home).unwrap_or_default();
    // What has no name, such as the pipe of a process substitution, has no folder either.
    [std::path::absolute(path), fs::canonicalize(path)].into_iter().flatten().find_map(|path| {
        let mut is_below_home = true;
        let folders = path.ancestors().skip(1).take_while(|folder| {
            let is_wanted = is_below_home;
            is_below_home = *folder != home && *folder != real_home;
            is_wanted
        });
        folders.collect::<Vec<_>>().into_iter().find_map(of_folder)
    })
}

fn of_folder(folder: &Path) -> Option<Exposure> {
    let metadata = fs::metadata(folder).ok()?;
    if is_foreign(metadata.uid()) {
        return Some(Exposure::FolderOwner(folder.to_owned(), metadata.uid()));
    }
    let is_open = metadata.mode() & WRITE != 0 && metadata.mode() & STICKY == 0;
    (is_open && !is_read_only(folder)).then(|| Exposure::FolderMode(folder.to_owned(), metadata.mode() & 0o7777))
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
    fn both_ends_of_a_link_are_looked_at() {
        let outside = tempfile::tempdir().unwrap();
        let [home, store] = ["home", "store"].map(|name| outside.path().join(name));
        [&home, &store].iter().for_each(|folder| fs::create_dir(folder).unwrap());
        fs::write(store.join("file"), "").unwrap();
        symlink(store.join("file"), home.join("link")).unwrap();
        assert_eq!(of_folders(&home.join("link"), &home), None);
        for open in [&home, &store] {
            set_mode(open, 0o777);
            assert_eq!(of_folders(&home.join("link"), &home), Some(Exposure::FolderMode(open.clone(), 0o777)));
            set_mode(open, 0o755);
        }
    }
}
