//! Files that may hold secrets: opened once, judged by what was opened, read within a limit.
//!
//! Whether others can read a file is asked of the open file, not of its name, so that it cannot be exchanged in
//! between. Only the caller knows whether there is a secret inside, so the verdict comes with the octets.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a file holds, and who else could know.
#[derive(Debug)]
pub(super) struct Contents {
    pub octets: Vec<u8>,
    /// Why a secret must not be in this file.
    pub exposure: Option<Exposure>,
}

/// Why a file is no place for a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// The permissions let the group or others in.
    Mode(u32),
    /// It belongs to this user id, which is neither ours nor root's.
    Owner(u32),
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exposure::Mode(mode) => write!(f, "is open to others (mode {mode:04o})"),
            Exposure::Owner(owner) => write!(f, "belongs to someone else (user id {owner})"),
        }
    }
}

/// Room for most files, so that they are read at once.
const TYPICAL: usize = 4096;

/// Reads a file of at most `limit` octets. Fails for a directory, and for more than the limit.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Contents> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let exposure = if metadata.is_file() { exposure(metadata.mode(), metadata.uid()) } else { None };
    Ok(Contents { octets: read_within(file, limit)?, exposure })
}

/// Reads to the end, which must come within the limit.
pub(super) fn read_within(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::with_capacity(TYPICAL);
    reader.take(limit + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(octets)
}

fn exposure(mode: u32, owner: u32) -> Option<Exposure> {
    let ours = rustix::process::geteuid().as_raw();
    if owner != ours && owner != 0 {
        return Some(Exposure::Owner(owner));
    }
    // Whoever may write could put a command of his own there, so that is no better than reading.
    (mode & 0o066 != 0).then_some(Exposure::Mode(mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn permissions_of_group_and_others_are_an_exposure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, exposed) in
            [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o620, true), (0o602, true)]
        {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let expected = exposed.then_some(Exposure::Mode(mode));
            assert_eq!(read(file.path(), 10).unwrap().exposure, expected, "{mode:o}");
        }
    }

    #[test]
    fn a_file_of_someone_else_is_an_exposure_but_not_one_of_root() {
        let ours = rustix::process::geteuid().as_raw();
        assert_eq!(exposure(0o600, ours), None);
        assert_eq!(exposure(0o600, 0), None);
        assert_eq!(exposure(0o600, ours + 1), Some(Exposure::Owner(ours + 1)));
    }

    #[test]
    fn a_directory_and_an_endless_file_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), 10).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(Path::new("/dev/zero"), 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_within(&b"0123456789"[..], 10).unwrap(), b"0123456789");
    }
}
