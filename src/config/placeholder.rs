//! `%n`, `%u` and `%l` in the path of a target: names of the account that is fetched.
//!
//! Each stands for a part of one name in the path, and so leads into no other folder than the one it stands in.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::forms::Expected;

/// What is wrong with the placeholders of a path.
pub(super) fn objection(path: &str) -> Option<Expected> {
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        let letter = after.chars().next();
        if !matches!(letter, Some('n' | 'u' | 'l' | '%')) {
            let unknown = letter.map_or_else(|| "a `%` at its end".to_owned(), |letter| format!("`%{letter}`"));
            return Some(Expected::with(format!(
                "a path with `%n` (the name of the account), `%u` (its user), `%l` (its user up to the `@`) or `%%` (a \
                 percent sign), not {unknown}; write `%%` for each `%` that is part of the path"
            )));
        }
        rest = &after[1..];
    }
    None
}

/// A path in which no `%` is a placeholder.
pub(super) fn escaped(path: &Path) -> PathBuf {
    let octets = path.as_os_str().as_bytes().iter().flat_map(|octet| [*octet].repeat(1 + usize::from(*octet == b'%')));
    OsString::from_vec(octets.collect()).into()
}

/// A name of the account that cannot stand in a path.
#[derive(Debug, PartialEq)]
pub(super) struct Unfit {
    /// As it is written: `%u`.
    pub placeholder: String,
    pub value: String,
}

/// The path for an account of this name and this user.
pub(super) fn expanded(path: &Path, account: &str, user: &str) -> Result<PathBuf, Unfit> {
    let mut octets = path.as_os_str().as_bytes().iter().copied();
    let mut expanded = Vec::new();
    while let Some(octet) = octets.next() {
        let letter = if octet == b'%' { octets.next() } else { None };
        let value = match letter {
            Some(b'n') => account,
            Some(b'u') => user,
            Some(b'l') => user.rsplit_once('@').map_or(user, |(local, _)| local),
            _ => {
                expanded.push(octet);
                continue;
            }
        };
        if matches!(value, "" | "." | "..") || value.contains(['/', '\0']) {
            let placeholder = format!("%{}", char::from(letter.unwrap_or_default()));
            return Err(Unfit { placeholder, value: value.to_owned() });
        }
        expanded.extend_from_slice(value.as_bytes());
    }
    Ok(OsString::from_vec(expanded).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(written: &str) -> Result<String, Unfit> {
        assert_eq!(objection(written), None);
        let expanded = expanded(Path::new(written), "work", "petar@example.com@pop");
        expanded.map(|path| path.into_os_string().into_string().unwrap())
    }

    #[test]
    fn a_path_has_names_of_the_account() {
        assert_eq!(path("/m/%n/%u").unwrap(), "/m/work/petar@example.com@pop");
        assert_eq!(path("/m/x%l.y").unwrap(), "/m/xpetar@example.com.y");
        assert_eq!(path("/m/%%n%%%n").unwrap(), "/m/%n%work");
    }

    #[test]
    fn a_percent_sign_is_written_twice() {
        for (written, unknown) in
            [("/a%20b", "`%2`"), ("/%é", "`%é`"), ("/100%", "a `%` at its end"), ("/%%%", "a `%` at its end")]
        {
            let objection = objection(written).unwrap().to_string();
            assert!(objection.contains(&format!("not {unknown}; write `%%`")), "{objection}");
        }
        let odd = OsString::from_vec(b"/\xff%n%%".to_vec());
        assert_eq!(expanded(&escaped(Path::new(&odd)), "x", "y").unwrap(), Path::new(&odd));
    }

    #[test]
    fn a_name_leads_into_no_other_folder() {
        for value in ["", ".", "..", "../x", "a/b", "a\0", "/etc"] {
            for written in ["/m/%u", "/m/.%u", "/m/%n/x"] {
                let unfit = expanded(Path::new(written), value, value).unwrap_err();
                assert_eq!(unfit.value, value, "{written}");
            }
        }
        let unfit = Unfit { placeholder: "%l".to_owned(), value: String::new() };
        assert_eq!(expanded(Path::new("/m/%l"), "work", "@example.com"), Err(unfit));
        assert_eq!(expanded(Path::new("/m/%l"), "work", "..").unwrap_err().value, "..");
    }
}
