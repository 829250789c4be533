//! The messages that a Maildir holds already, read with the rights of its owner.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::owner::{self, Owner};

/// The folders of a Maildir that have whole messages.
const FOLDERS: [&str; 2] = ["new", "cur"];

/// The messages of a Maildir.
pub fn messages(maildir: &Path, owner: &Owner) -> io::Result<Vec<PathBuf>> {
    let _acting = owner::act_as(owner).map_err(io::Error::other)?;
    let mut paths = vec![];
    for folder in FOLDERS {
        for entry in fs::read_dir(maildir.join(folder))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                paths.push(entry.path());
            }
        }
    }
    Ok(paths)
}

/// Opens a message to read it. Somebody may have put a link or a FIFO in its place: the one is refused, and nobody waits
/// for the other.
pub fn open_message(path: &Path, owner: &Owner) -> io::Result<File> {
    let _acting = owner::act_as(owner).map_err(io::Error::other)?;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not an ordinary file")) }
}

/// Makes messages of a Maildir durable, with their names: another program may have put them there just now.
pub fn make_durable<'p>(maildir: &Path, messages: impl IntoIterator<Item = &'p Path>, owner: &Owner) -> io::Result<()> {
    for message in messages {
        open_message(message, owner)?.sync_all()?;
    }
    let _acting = owner::act_as(owner).map_err(io::Error::other)?;
    FOLDERS.iter().try_for_each(|folder| File::open(maildir.join(folder))?.sync_all())
}
