//! `popfetch login` and `popfetch logout`: what a person is told while they sign in and out.

mod browser;

use std::fmt;

use crate::account::{Account, Flow, OAuth2, Secret, Target};
use crate::deliver::{self, Context, Network};
use crate::failure::{Failure, Kind};
use crate::ledger::Committed;
use crate::listings::Budget;
use crate::relay;
use crate::secret::oauth::{self, Prompt, SignedOut};
use crate::secret::{self, Login};
use crate::session::{self, Opener};
use crate::text::{counted, host_port, printable, printable_within};

/// The longest address that is shown: those of providers have a few hundred characters, and half an address is none.
const ADDRESS: usize = 4096;

/// What somebody signs in to.
#[derive(Debug, Clone)]
pub enum Party {
    /// An account.
    Account(Box<Account>),
    /// A target, of this account among others.
    Target(Target, Box<Account>),
}

impl Party {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        match self {
            Party::Account(account) => &account.name,
            Party::Target(target, _) => target.server().and_then(|server| server.name.as_deref()).unwrap_or_default(),
        }
    }

    /// The account.
    pub fn account(&self) -> &Account {
        let (Party::Account(account) | Party::Target(_, account)) = self;
        account
    }

    /// Where what it logs in with comes from.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Party::Account(account) => Some(&account.secret),
            Party::Target(target, _) => target.server().map(|server| &server.secret),
        }
    }

    fn login<'l>(&'l self, network: &'l Network) -> Result<Login<'l>, Box<dyn Failure>> {
        match self {
            Party::Account(account) => Ok(Login::from(&**account)),
            Party::Target(target, _) => relay::login(target, network).ok_or_else(|| boxed(secret::Error::NoOAuth2)),
        }
    }
}

/// Signs in, and tries what it got for it with one login at the mail server. `context` is that of the account. `say` hears
/// line after line.
pub fn login(
    party: &Party,
    opener: &Opener<'_>,
    context: &Context,
    say: impl Fn(&str) + Clone + Send + 'static,
) -> Result<(), Box<dyn Failure>> {
    let Opener { account, state_dir, stop, .. } = *opener;
    let ask = |prompt: Prompt| {
        let address = prompt.address().to_owned();
        lines(prompt).iter().for_each(|line| say(line));
        browser::offer(address, stop, say.clone());
    };
    secret::sign_in(&party.login(&context.network)?, state_dir, stop, ask).map_err(boxed)?;
    let (server, tried) = match party {
        Party::Account(_) => {
            let tried = try_out(opener, &say).map_err(boxed);
            (host_port(&account.host, account.port), tried)
        }
        Party::Target(target, _) => {
            (target.to_string(), deliver::try_out(target, context).map(|_| None).map_err(boxed))
        }
    };
    match tried {
        Ok(messages) => {
            let held = messages.map_or_else(String::new, |messages| format!(" ({})", counted(messages, "message")));
            let name = shell_words::quote(&account.name);
            let server = printable(server.as_bytes());
            say(&format!("signed in, and `{server}` takes it{held}; `popfetch {name}` works now without asking"));
            Ok(())
        }
        Err(error) => {
            say("signed in, and the tokens are kept, but a login at the mail server failed:");
            Err(error)
        }
    }
}

/// Logs in and out; how many messages the server says it has.
fn try_out(opener: &Opener<'_>, say: &impl Fn(&str)) -> Result<Option<usize>, session::Error> {
    let credentials = opener.credentials()?;
    let mut notices = vec![];
    let logged_in = opener.log_in(&credentials, &Budget::default().share(), &mut notices);
    notices.iter().for_each(|notice| say(&notice.to_string()));
    let mut transaction = logged_in?;
    let messages = transaction.survey(false).ok().and_then(|survey| survey.messages);
    // Nothing depends on the server's farewell.
    let _ = transaction.update(&[] as &[Committed]);
    Ok(messages.and_then(|messages| usize::try_from(messages).ok()))
}

fn boxed(error: impl Failure + 'static) -> Box<dyn Failure> {
    Box::new(error)
}

/// Signs out. `say` hears what became of the tokens.
pub fn logout(party: &Party, context: &Context, say: impl Fn(&str)) -> Result<(), Box<dyn Failure>> {
    let login = party.login(&context.network)?;
    let signed_out = secret::sign_out(&login, &context.spool_dir, &context.stop).map_err(boxed)?;
    let Secret::OAuth2(oauth2) = login.secret else { unreachable!("it would have failed") };
    let is_service = oauth2.flow == Flow::ClientCredentials;
    match signed_out {
        SignedOut::NothingStored => say("nobody is signed in: there is no token to remove"),
        SignedOut::Revoked => say("signed out: the tokens are removed, and the provider takes them no longer"),
        SignedOut::NoEndpoint if is_service => {
            say("the token is removed; it ends by itself, and what proves the client still gets another");
        }
        SignedOut::NoEndpoint => say(&format!(
            "signed out here: the tokens are removed, but the provider still takes them: {}",
            withdraw(oauth2)
        )),
        SignedOut::NotRevoked(error) => return Err(boxed(NotRevoked { error, advice: withdraw(oauth2) })),
    }
    Ok(())
}

/// How the user takes back the consent where popfetch cannot.
fn withdraw(oauth2: &OAuth2) -> &'static str {
    let is_of = |host: &str| oauth2.token_endpoint.starts_with(&format!("https://{host}/"));
    if is_of("oauth2.googleapis.com") {
        "withdraw the consent at https://myaccount.google.com/connections"
    } else if is_of("login.microsoftonline.com") {
        "Microsoft revokes no single tokens; withdraw the consent at https://myapps.microsoft.com/, or for a personal \
         account at https://account.live.com/consent/Manage"
    } else {
        "withdraw the consent in the settings of the provider"
    }
}

/// The tokens are gone here, and still good there.
#[derive(Debug)]
struct NotRevoked {
    error: oauth::Error,
    advice: &'static str,
}

impl fmt::Display for NotRevoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signed out here: the tokens are removed, but could not be revoked: {}", self.error)
    }
}

impl Failure for NotRevoked {
    fn kind(&self) -> Kind {
        self.error.kind()
    }

    fn hint(&self) -> Option<String> {
        Some(self.advice.to_owned())
    }
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
    use crate::account::ClientProof;

    #[test]
    fn each_provider_has_a_place_where_the_consent_is_withdrawn() {
        let told = |token_endpoint: &str| {
            withdraw(&OAuth2 {
                token_endpoint: token_endpoint.into(),
                revocation_endpoint: None,
                flow: Flow::ClientCredentials,
                client_id: "c".into(),
                proof: ClientProof::Nothing,
                scope: None,
            })
        };
        assert!(
            told("https://login.microsoftonline.com/common/oauth2/v2.0/token")
                .contains("https://myapps.microsoft.com/")
        );
        assert!(told("https://oauth2.googleapis.com/token").contains("https://myaccount.google.com/"));
        assert!(told("https://oauth2.googleapis.com.example/token").contains("settings of the provider"));
    }

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
