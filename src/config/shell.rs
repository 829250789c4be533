//! What only a shell would understand, in commands and paths that no shell reads.
//!
//! `mda:cat | grep x` would run `cat` with arguments, and the mail would be gone. What is in quotes or behind a
//! backslash is meant as it stands, and so is everything in a table such as `{ mda = ["cat", "|"] }`.

use super::forms::Expected;
use super::placeholder;

/// What is wrong with the command of an MDA.
pub(super) fn objection_to_command(command: &str) -> Option<Expected> {
    let bare = unquoted(command);
    if let Some(sign) = operator(&bare).or_else(|| expansion(&bare)) {
        let quoted = shell_words::quote(command);
        return Some(Expected::with(format!(
            "`mda:sh -c {quoted}`, for no shell reads this command: `{sign}` would be an argument; put it in quotes if \
             that is meant"
        )));
    }
    let unknown = unknown_placeholder(&bare)?;
    Some(Expected::with(format!(
        "`%F` (the sender) or `%%` (a percent sign), not `{unknown}`; the variable `RECIPIENT` has the user of the \
         account: `mda:sh -c 'exec procmail -d \"$RECIPIENT\"'`; put it in quotes if it is meant as it stands"
    )))
}

/// What is wrong with the path of a Maildir or an mbox.
pub(super) fn objection_to_path(path: &str) -> Option<Expected> {
    let Some(sign) = expansion(path) else { return placeholder::objection(path) };
    Some(Expected::with(format!(
        "a path without `{sign}`, which only a shell would replace; write `~` for the home folder (if a folder has that \
         name: `{{ maildir = \"…\" }}` or `{{ mbox = \"…\" }}` in the configuration)"
    )))
}

/// The command, with `\0` for each character that is quoted, escaped or in a comment. Quotes are those of
/// `shell_words`, which splits the command.
fn unquoted(command: &str) -> String {
    let mut bare = String::with_capacity(command.len());
    let mut rest = command.chars();
    let (mut quote, mut is_start) = (None, true);
    while let Some(character) = rest.next() {
        let is_comment = quote.is_none() && character == '#' && is_start;
        let is_literal = match (quote, character) {
            (None, '\'' | '"') => {
                quote = Some(character);
                true
            }
            (Some(open), close) if open == close => {
                quote = None;
                true
            }
            (None | Some('"'), '\\') => {
                rest.next();
                true
            }
            _ if is_comment => {
                rest.by_ref().find(|character| *character == '\n');
                true
            }
            (quote, _) => quote.is_some(),
        };
        bare.push(if is_literal { '\0' } else { character });
        is_start = is_comment || (!is_literal && character.is_whitespace());
    }
    bare
}

/// A sign that connects commands, or a command and a file. A single `&` inside a word is most likely in a URL.
fn operator(bare: &str) -> Option<String> {
    let is_inside_word = |at: usize| {
        let is_part = |character: char| !character.is_whitespace() && !"&|<>;".contains(character);
        bare[..at].ends_with(is_part) && bare[at + 1..].starts_with(is_part)
    };
    let mut signs = bare.match_indices(['|', '<', '>', ';', '&']);
    signs.find(|(at, sign)| *sign != "&" || !is_inside_word(*at)).map(|(_, sign)| sign.to_owned())
}

/// A variable or a command in whose place a shell puts something else: `$HOME`, `${HOME}`, `$(…)`, a backquote.
fn expansion(text: &str) -> Option<String> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.match_indices(['$', '`']).find_map(|(at, sign)| {
        let after = &text[at + 1..];
        match after.chars().next() {
            _ if sign == "`" => Some(sign.to_owned()),
            Some('{') => Some(format!("${}", &after[..after.find('}').map_or(after.len(), |end| end + 1)])),
            Some('(') => Some("$(".to_owned()),
            Some(first) if is_name(first) && !first.is_ascii_digit() => {
                Some(format!("${}", &after[..after.find(|character| !is_name(character)).unwrap_or(after.len())]))
            }
            _ => None,
        }
    })
}

/// A `%` that other programs replace and popfetch does not: `%T`, `%(sender)`, `%[tag]`. Two hexadecimal digits are
/// part of a URL.
fn unknown_placeholder(bare: &str) -> Option<String> {
    let mut rest = bare;
    while let Some(at) = rest.find('%') {
        let after = &rest[at + 1..];
        let is_octet = after.len() >= 2 && after.bytes().take(2).all(|octet| octet.is_ascii_hexdigit());
        match after.chars().next() {
            Some('F') => {}
            Some('%') => {
                rest = &after[1..];
                continue;
            }
            Some(letter) if letter.is_ascii_alphabetic() && !is_octet => return Some(format!("%{letter}")),
            Some(open @ ('(' | '[' | '{')) => return Some(format!("%{open}")),
            _ => {}
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_understand_is_found() {
        for (command, sign) in [
            ("cat | grep x", "|"),
            ("cat|grep x", "|"),
            ("cat >> /tmp/x", ">"),
            ("cat >/tmp/x", ">"),
            ("cat 2>&1", ">"),
            ("cat <x", "<"),
            ("cat; true", ";"),
            ("cat;true", ";"),
            ("cat && true", "&"),
            ("cat&&true", "&"),
            ("cat &", "&"),
            ("cat& true", "&"),
            ("echo $HOME", "$HOME"),
            ("echo -d${USER}x", "${USER}"),
            ("echo ${USER", "${USER"),
            ("echo $_x.y", "$_x"),
            ("echo $(date)", "$("),
            ("echo `date`", "`"),
            ("echo 'a'$HOME", "$HOME"),
            ("echo \"it's\" | x", "|"),
            ("echo \\\\|x", "|"),
        ] {
            let objection = objection_to_command(command).unwrap_or_else(|| panic!("{command}")).to_string();
            assert!(objection.contains(&format!(": `{sign}` would be an argument")), "{command}: {objection}");
        }
        let objection = objection_to_command("echo 'it' | x").unwrap().to_string();
        assert!(objection.starts_with("expected `mda:sh -c 'echo '\\''it'\\'' | x'`, "), "{objection}");
    }

    #[test]
    fn a_placeholder_of_another_program_is_found() {
        for (command, placeholder) in [
            ("procmail -d %T", "%T"),
            ("procmail -d%u -f %F", "%u"),
            ("x %%%s", "%s"),
            ("x -f %(sender)", "%("),
            ("x %[account]", "%["),
            ("x 100%d", "%d"),
        ] {
            let objection = objection_to_command(command).unwrap_or_else(|| panic!("{command}")).to_string();
            assert!(objection.contains(&format!("not `{placeholder}`; ")), "{command}: {objection}");
        }
    }

    #[test]
    fn what_is_quoted_or_escaped_is_meant() {
        for command in [
            "sh -c 'cat | grep x > y; z && $HOME `date` %T'",
            "sh -c \"cat | grep \\\"$HOME\\\" > y\"",
            "cat \\| \\$HOME \\`x\\` \\; \\& \\%T",
            "cat '%T' \"%T\" %'T'",
            "dovecot-lda -f %F -d petar",
            "maildrop -f%F 100%% 100% %% %%T",
            "curl -T - https://h/in?user=a&key=b%20c%C3%A9%2f",
            "cat # a comment | with > signs",
            "cat a#b $ $1 cost$ a$",
            "",
        ] {
            assert_eq!(objection_to_command(command), None, "{command}");
        }
        // Quotes that do not end are another mistake.
        assert_eq!(objection_to_command("cat 'x | y"), None);
    }

    #[test]
    fn a_path_has_no_variables() {
        for (path, sign) in
            [("$HOME/Mail", "$HOME"), ("/var/mail/${USER}", "${USER}"), ("`pwd`/x", "`"), ("~/$(hostname)", "$(")]
        {
            let objection = objection_to_path(path).unwrap().to_string();
            assert!(objection.contains(&format!("without `{sign}`, ")), "{objection}");
        }
        for path in ["~/Mail", "/a b;c&d|e", "/cost$", "/$1", "/a%%20b", "'x'"] {
            assert_eq!(objection_to_path(path), None, "{path}");
        }
    }
}
