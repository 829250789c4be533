//! `popfetch login`: what a person is told while they sign in.

use std::path::Path;

use crate::account::Account;
use crate::secret::oauth::Prompt;
use crate::secret::{self, Login};
use crate::stop::Stop;
use crate::text::{printable, printable_within};

/// The longest address that is shown: those of providers have a few hundred characters, and half an address is none.
const ADDRESS: usize = 4096;

/// Signs in to an account. `say` hears line after line.
pub fn login(account: &Account, folder: &Path, stop: &Stop, mut say: impl FnMut(&str)) -> Result<(), secret::Error> {
    let shown = |prompt| lines(prompt).iter().for_each(|line| say(line));
    secret::sign_in(&Login::from(account), folder, stop, shown)?;
    say(&format!("signed in; `popfetch {}` works now without asking", shell_words::quote(&account.name)));
    Ok(())
}

fn lines(prompt: Prompt) -> Vec<String> {
    let address = |text: &str| printable_within(text.as_bytes(), ADDRESS);
    match prompt {
        Prompt::Device { verification_uri, user_code, verification_uri_complete, expires_in } => {
            let mut lines = vec![
                format!("open {}", address(&verification_uri)),
                format!("and type in the code {}", printable(user_code.as_bytes())),
            ];
            lines.extend(verification_uri_complete.map(|uri| format!("or open {}", address(&uri))));
            lines.push(format!("waiting for it, {} min at most", expires_in.as_secs().div_ceil(60)));
            lines
        }
        Prompt::Redirect { url, port, expires_in } => vec![
            "open this address in a browser on this machine:".to_owned(),
            address(&url),
            format!("(from another machine: `ssh -L {port}:127.0.0.1:{port} HOST` first)"),
            format!("waiting for it, {} min at most", expires_in.as_secs().div_ceil(60)),
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_server_wants_shown_cannot_drive_the_terminal() {
        let prompt = Prompt::Device {
            verification_uri: "https://a.example/\u{1b}[2J".into(),
            user_code: "AB\u{7}CD".into(),
            verification_uri_complete: Some("https://a.example/?c\r\n".into()),
            expires_in: Duration::from_secs(61),
        };
        let expected = [
            "open https://a.example/\\x1b[2J",
            "and type in the code AB\\x07CD",
            "or open https://a.example/?c\\x0d\\x0a",
            "waiting for it, 2 min at most",
        ];
        assert_eq!(lines(prompt), expected);
    }
}
