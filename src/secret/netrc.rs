//! netrc: passwords by host and user, as ftp(1) began it.
//!
//! `machine HOST login USER password SECRET`, separated by any white space; `default` is a machine that is every
//! host; `macdef` lasts to the next empty line. Words may stand in double quotes with backslashes, as other programs
//! write them. What is unknown is passed over: the file belongs to other programs, too.

/// The password of the first entry that fits. An entry without a login fits every user.
pub(super) fn find(text: &str, host: &str, user: &str) -> Option<String> {
    entries(text).into_iter().find(|entry| entry.fits(host, user)).and_then(|entry| entry.password)
}

#[derive(Default)]
struct Entry {
    /// `None` in the entry `default`.
    host: Option<String>,
    login: Option<String>,
    password: Option<String>,
}

impl Entry {
    fn fits(&self, host: &str, user: &str) -> bool {
        self.password.is_some()
            && self.host.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(host))
            && self.login.as_ref().is_none_or(|login| login == user)
    }
}

fn entries(text: &str) -> Vec<Entry> {
    let mut words = Words { rest: text };
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(keyword) = words.next_keyword() {
        match (keyword.as_str(), entries.last_mut()) {
            ("machine", _) => entries.push(Entry { host: words.next(), ..Entry::default() }),
            ("default", _) => entries.push(Entry::default()),
            ("macdef", _) => words.skip_macro(),
            ("login", Some(entry)) => entry.login = words.next(),
            ("password", Some(entry)) => entry.password = words.next(),
            ("login" | "password" | "account", _) => drop(words.next()),
            _ => {}
        }
    }
    entries
}

struct Words<'t> {
    rest: &'t str,
}

impl Words<'_> {
    /// The next word that is not in a comment. Only here is `#` special: a password may begin with it.
    fn next_keyword(&mut self) -> Option<String> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return self.next();
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn skip_macro(&mut self) {
        self.rest = match (self.rest.find("\n\n"), self.rest.find("\n\r\n")) {
            (Some(end), None) | (None, Some(end)) => &self.rest[end..],
            (Some(end), Some(other)) => &self.rest[end.min(other)..],
            (None, None) => "",
        };
    }
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (word, rest) = unquoted(quoted);
            self.rest = rest;
            return Some(word);
        }
        let (word, rest) = self.rest.split_at(self.rest.find(char::is_whitespace).unwrap_or(self.rest.len()));
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }
}

/// The word up to the closing quote, and what follows it.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut word = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => word.extend(characters.next()),
            other => word.push(other),
        }
    }
    (word, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETRC: &str = "
        # machine pop.example.com login petar password commented
        machine ftp.example.com login petar password wrong account x
        machine pop.example.com
            login marta
            password hers
        macdef init
            machine pop.example.com login petar password macro

        machine POP.example.com login \"petar\" password \"with \\\"quotes\\\" and blanks\"
        machine any.example.com password #hash
        machine none.example.com login petar
        default login anonymous password guest
    ";

    #[test]
    fn host_and_user_find_the_password() {
        assert_eq!(find(NETRC, "pop.example.com", "marta").as_deref(), Some("hers"));
        assert_eq!(find(NETRC, "pop.example.com", "petar").as_deref(), Some("with \"quotes\" and blanks"));
        assert_eq!(find(NETRC, "pop.example.com", "nobody"), None);
    }

    #[test]
    fn an_entry_without_login_is_for_every_user() {
        assert_eq!(find(NETRC, "any.example.com", "petar").as_deref(), Some("#hash"));
    }

    #[test]
    fn default_is_every_host() {
        assert_eq!(find(NETRC, "other.example.com", "anonymous").as_deref(), Some("guest"));
        assert_eq!(find(NETRC, "none.example.com", "petar"), None);
    }

    #[test]
    fn a_macro_ends_at_an_empty_line_with_any_line_ends() {
        let netrc = "macdef x\r\nmachine h password macro\r\n\r\nmachine h password p\r\n";
        assert_eq!(find(netrc, "h", "petar").as_deref(), Some("p"));
    }

    #[test]
    fn what_is_broken_is_passed_over() {
        for broken in ["machine", "machine h password", "password p", "machine h password \"open", "\"", "macdef"] {
            let _ = find(broken, "h", "petar");
        }
        assert_eq!(find("password p machine h password q", "h", "petar").as_deref(), Some("q"));
        assert_eq!(find("machine h port 110 password q", "h", "petar").as_deref(), Some("q"));
    }
}
