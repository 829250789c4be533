//! Who holds a kernel lock, where the kernel has a list (proc_locks(5)).
//!
//! Written into the locked file, the number would be one more write to the disk in each run that finds nothing.

use std::fs::File;

/// The process that holds the flock(2) on a file.
#[cfg(target_os = "linux")]
pub(crate) fn of(file: &File) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = file.metadata().ok()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    let id = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    named(&std::fs::read_to_string("/proc/locks").ok()?, &id)
}

/// There is no list.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of(_file: &File) -> Option<u32> {
    None
}

/// The process in the line of the flock(2) on the file `major:minor:inode`.
#[cfg(any(target_os = "linux", test))]
fn named(locks: &str, id: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", process, file, ..] if file == id => process.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_in_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fd:01:7 0 EOF\n\
                     2: FLOCK  ADVISORY  READ 12 fd:01:7 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 fd:01:7 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 14 fd:01:77 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 15 fd:01:7 0 EOF\n";
        assert_eq!(named(locks, "fd:01:7"), Some(15));
        assert_eq!(named(locks, "fd:01:8"), None);
        assert_eq!(named("strange\n", "fd:01:7"), None);
    }
}
