//! Users of this system, as `/etc/passwd` and `/etc/group` list them.
//!
//! The standard library has no other way to look one up, and a crate for the rare user of a directory service would not
//! pay. Becoming another user is not done here.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

/// A user, with what a process of that user has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user's number.
    pub id: u32,
    /// The number of the primary group.
    pub group: u32,
    /// The numbers of all groups, with the primary one.
    pub groups: Vec<u32>,
    /// The home folder.
    pub home: PathBuf,
}

impl User {
    /// Looks up a login name, or the number of a user who has one.
    pub fn find(user: &str) -> Option<Self> {
        find_in(&USERS, user).cloned()
    }
}

/// The login name of a user's number.
pub(crate) fn name_of(id: u32) -> Option<&'static str> {
    USERS.iter().find(|user| user.id == id).map(|user| user.name.as_str())
}

/// Read once: thousands of accounts may have owners.
static USERS: LazyLock<Vec<User>> = LazyLock::new(|| users_in(&text_of("/etc/passwd"), &text_of("/etc/group")));

fn text_of(path: &str) -> String {
    fs::read(path).map(|octets| String::from_utf8_lossy(&octets).into_owned()).unwrap_or_default()
}

/// A name that is a number is a name first.
fn find_in<'u>(users: &'u [User], user: &str) -> Option<&'u User> {
    let with_name = users.iter().find(|other| other.name == user);
    with_name.or_else(|| user.parse().ok().and_then(|id: u32| users.iter().find(|other| other.id == id)))
}

/// passwd(5): name, password, user id, group id, comment, home folder, shell.
fn users_in(passwd: &str, group: &str) -> Vec<User> {
    let others = groups_in(group);
    let of_line = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, id, group, _, home, ..] = fields[..] else { return None };
        let (id, group) = (id.parse().ok()?, group.parse().ok()?);
        let others = others.get(name).into_iter().flatten().copied().filter(|other| *other != group);
        let groups = std::iter::once(group).chain(others).collect();
        let home = PathBuf::from(home);
        let is_sound = !name.is_empty() && home.is_absolute();
        is_sound.then(|| User { name: name.to_owned(), id, group, groups, home })
    };
    passwd.lines().filter_map(of_line).collect()
}

/// group(5): name, password, group id, users. By user.
fn groups_in(group: &str) -> HashMap<&str, Vec<u32>> {
    let mut groups: HashMap<&str, Vec<u32>> = HashMap::new();
    for line in group.lines() {
        let fields: Vec<_> = line.split(':').collect();
        if let [_, _, id, users] = fields[..]
            && let Ok(id) = id.parse()
        {
            users.split(',').for_each(|user| groups.entry(user).or_default().push(id));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nmarta:x:1000:100:Marta,,,:/srv/marta:/bin/sh\nold:x\n";
    const GROUP: &str = "users:x:100:marta\nmail:x:8:petar,marta\nmart:x:9:mart\nold\nodd:x:many:marta\n";

    #[test]
    fn users_are_found_in_passwd_by_name_and_number() {
        let users = users_in(PASSWD, GROUP);
        let marta = find_in(&users, "marta").unwrap();
        assert_eq!((marta.id, marta.group, marta.home.to_str()), (1000, 100, Some("/srv/marta")));
        assert_eq!(marta.groups, [100, 8]);
        assert_eq!(find_in(&users, "1000"), Some(marta));
        assert!(["old", "mart", "", "x", "-1"].iter().all(|user| find_in(&users, user).is_none()));
    }
}
