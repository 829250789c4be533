//! Room on the disks that a target needs: the account's `min_free`.
//!
//! Asks the file systems and decides nothing but whether they have less than that. What others write meanwhile is seen
//! when they are asked again.

use std::path::{Path, PathBuf};

use super::{Context, Error, destination, owner};
use crate::account::Target;
use crate::os::folder;

/// The disks that a target needs, and what has to stay free on them.
#[derive(Debug)]
pub struct Disks {
    folders: Vec<PathBuf>,
    least: u64,
    owner: owner::Owner,
}

/// What may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Octets until no more than `min_free` is free.
    pub octets: u64,
    /// Of the disk with the least of it: the folder that was asked.
    pub folder: PathBuf,
    /// What is free there.
    pub free: u64,
    /// What has to stay free: `min_free`.
    pub least: u64,
}

impl Disks {
    /// Those of a target.
    pub fn of(target: &Target, least: u64, context: &Context) -> Result<Self, Error> {
        let folders = destination::folders(target, context)?;
        Ok(Disks { folders, least, owner: context.owner.clone() })
    }

    /// How much room there is.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when less is free than has to stay free.
    pub fn room(&self) -> Result<Room, Error> {
        let mut least: Option<Room> = None;
        for folder in &self.folders {
            let room = self.room_in(folder)?;
            if least.as_ref().is_none_or(|least| room.octets < least.octets) {
                least = Some(room);
            }
        }
        Ok(least.expect("what is delivered is written somewhere"))
    }

    fn room_in(&self, folder: &Path) -> Result<Room, Error> {
        // The spool is root's, and a file server may keep root out of the owner's folders.
        let free = folder::free(folder).or_else(|failure| {
            let _acting = owner::act_as(&self.owner)?;
            folder::free(folder).map_err(|_| Error::from(failure))
        })?;
        let least = self.least;
        let octets = free.checked_sub(least);
        let octets = octets.ok_or_else(|| Error::NoRoom { path: folder.to_owned(), free, least })?;
        Ok(Room { octets, folder: folder.to_owned(), free, least })
    }
}
