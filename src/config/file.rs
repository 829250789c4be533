//! Files that may hold secrets: opened once, judged by what was opened, read within a limit.
//!
//! Only the caller knows whether there is a secret inside, so the verdict comes with the octets.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::os::exposure::{self, Exposure};

/// What a file holds, and who else could know.
#[derive(Debug)]
pub(super) struct Contents {
    pub octets: Zeroizing<Vec<u8>>,
    /// Why it is not only its user's.
    pub exposure: Option<Exposure>,
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
    Ok(Contents { octets: read_within(file, limit)?, exposure: exposure::of(path, &metadata) })
}

/// Reads to the end, which must come within the limit.
pub(super) fn read_within(reader: impl Read, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(TYPICAL));
    reader.take(limit + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_and_an_endless_file_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), 10).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(Path::new("/dev/zero"), 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(*read_within(&b"0123456789"[..], 10).unwrap(), b"0123456789");
    }
}
