//! What a refused login means with the provider that refused it, and what to do then.
//!
//! One table: whose servers, a word of the refusal, the way out. A word is looked for in any case of letters and
//! matters as little as it can: providers reword their texts, so the last line of each provider takes any.

use crate::pop3::{Mechanism, Method};
use crate::text::length;

/// A refusal by a provider, and what helps against it.
struct Refusal {
    /// Host name suffixes; an empty string matches every host.
    hosts: &'static [&'static str],
    /// Part of the server's words in lower case; the empty one is part of all.
    words: &'static str,
    hint: &'static str,
}

const GOOGLE: &[&str] = &["gmail.com", "googlemail.com", "google.com"];
const MICROSOFT: &[&str] = &["office365.com", "outlook.com", "hotmail.com", "live.com"];
const YAHOO: &[&str] = &["yahoo.com", "yahoo.co.jp", "aol.com"];
const GMX: &[&str] = &["gmx.com", "gmx.net", "gmx.de", "gmx.at", "gmx.ch"];
const WEB_DE: &[&str] = &["web.de"];
const YANDEX: &[&str] = &["yandex.com", "yandex.ru"];
const MAIL_RU: &[&str] = &["mail.ru"];
const ANYBODY: &[&str] = &[""];

const APP_PASSWORD_GOOGLE: &str = "Google wants an app password here, made at https://myaccount.google.com/apppasswords \
     (2-step verification has to be on), or OAuth 2.0: write `oauth2 = { provider = \"google\", client_id = \"…\", \
     client_secret = \"…\" }` in place of the password, and run `popfetch login ACCOUNT`";
const TOKEN_MICROSOFT: &str = "Microsoft takes no passwords for POP3, only OAuth 2.0: write `oauth2 = { provider = \
     \"microsoft\", client_id = \"…\" }` in place of the password, and run `popfetch login ACCOUNT`; POP has to be \
     switched on for the mailbox, too";

/// A service's token was refused. Microsoft does not say why; the first reason is the one that people find last.
/// "Authenticate an IMAP, POP or SMTP connection using OAuth", learn.microsoft.com.
pub const SERVICE: &str = "the service may not open this mailbox. With Microsoft: 1. its service principal must be registered \
     in Exchange (`New-ServicePrincipal`) by the object ID that stands under `Enterprise applications`; the one under `App \
     registrations` is another. 2. POP3 must be switched on for the mailbox (`Set-CASMailbox -PopEnabled $true`). 3. the \
     service principal needs the mailbox (`Add-MailboxPermission -AccessRights FullAccess`), and the client the permission \
     `POP.AccessAsApp` with an administrator's consent. The next run gets a new token";

const REFUSALS: [Refusal; 15] = [
    Refusal {
        hosts: GOOGLE,
        words: "not enabled for pop",
        hint: "switch POP on in the settings of Gmail, under `Forwarding and POP/IMAP`; in an organisation its \
               administrator may have to allow it",
    },
    Refusal { hosts: GOOGLE, words: "application-specific password", hint: APP_PASSWORD_GOOGLE },
    Refusal {
        hosts: GOOGLE,
        words: "web login required",
        hint: "Google wants to see the owner first: log in to the account with a browser, confirm that it was you, and \
               try again; an app password or `oauth2` avoids it",
    },
    Refusal { hosts: GOOGLE, words: "username and password not accepted", hint: APP_PASSWORD_GOOGLE },
    Refusal {
        hosts: MICROSOFT,
        words: "authentication failure: unknown user name or bad password",
        hint: TOKEN_MICROSOFT,
    },
    Refusal { hosts: MICROSOFT, words: "logon failure: unknown user name or bad password", hint: TOKEN_MICROSOFT },
    Refusal { hosts: MICROSOFT, words: "basicauthblocked", hint: TOKEN_MICROSOFT },
    Refusal { hosts: MICROSOFT, words: "basic authentication is disabled", hint: TOKEN_MICROSOFT },
    Refusal {
        hosts: YAHOO,
        words: "",
        hint: "Yahoo and AOL take app passwords only, made under `Account security` of the account, and the whole mail \
               address as `user`",
    },
    Refusal {
        hosts: GMX,
        words: "",
        hint: "check `user` (the whole mail address) and the password; GMX wants POP3 switched on in its web settings \
               (`POP3 & IMAP`), and with two-factor login an application-specific password",
    },
    Refusal {
        hosts: WEB_DE,
        words: "",
        hint: "check `user` and the password; WEB.DE wants POP3 switched on in its web settings (`POP3 & IMAP`), and \
               with two-factor login an application-specific password",
    },
    Refusal {
        hosts: YANDEX,
        words: "",
        hint: "Yandex wants POP3 switched on in its web settings (`Email clients`), and an app password for mail",
    },
    Refusal {
        hosts: MAIL_RU,
        words: "",
        hint: "Mail.ru takes passwords for external applications only, made under `Security` of the account",
    },
    Refusal {
        hosts: ANYBODY,
        words: "app password",
        hint: "the provider wants an app password, made in its web settings, instead of the account's own",
    },
    Refusal {
        hosts: ANYBODY,
        words: "not enabled",
        hint: "the provider wants POP3 switched on in its web settings before it is used",
    },
];

/// What to do about a login that `host` refused with these words.
pub fn hint(host: &str, method: Method, words: &str) -> String {
    let words = words.to_ascii_lowercase();
    let known = REFUSALS
        .iter()
        .find(|refusal| refusal.is_of(host) && words.contains(refusal.words) && refusal.is_about(method));
    known.map_or_else(|| usual_hint(method), |refusal| refusal.hint.to_owned())
}

/// The same, where a login worked so many seconds ago.
pub fn hint_after_success(ago: u64, hint: &str) -> String {
    format!(
        "this login worked {} ago, so unless the password was changed since, the provider may refuse it because of too \
         many logins: fetch less often, and wait an hour before you change anything; if it is still refused then: {hint}",
        length(ago)
    )
}

impl Refusal {
    /// False for what to have instead of a password when a token was refused. Microsoft answers a bad token with
    /// "bad password", too ("Authenticate an IMAP, POP or SMTP connection using OAuth", learn.microsoft.com).
    fn is_about(&self, method: Method) -> bool {
        !(method.is_for_tokens() && [APP_PASSWORD_GOOGLE, TOKEN_MICROSOFT].contains(&self.hint))
    }

    fn is_of(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.iter().any(|end| {
            host.strip_suffix(end).is_some_and(|rest| end.is_empty() || rest.is_empty() || rest.ends_with('.'))
        })
    }
}

fn usual_hint(method: Method) -> String {
    let hint = match method {
        Method::Sasl(Mechanism::External) => "the server has to know the client certificate, and to allow it `user`",
        _ if method.is_for_tokens() => "get a fresh token for `user` and for POP3: access tokens last about an hour",
        _ if method.reveals_secret() => {
            "check `user` and the password; some providers want an app password, or POP3 switched on first"
        }
        _ => {
            return format!(
                "check `user` and the password; when both are right, the server may not store the password in the form \
                 that {} needs: write `auth = \"user\"` or `auth = \"plain\"`, which send the password itself, so use \
                 them under TLS",
                method.name()
            );
        }
    };
    hint.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Method = Method::Sasl(Mechanism::Plain);

    #[test]
    fn a_provider_is_known_by_the_end_of_its_name_and_its_words() {
        for (host, words, told) in [
            ("pop.gmail.com", "[AUTH] Application-specific password required: https://…", "app password"),
            ("POP.GMAIL.COM.", "[AUTH] Web login required: https://…", "browser"),
            ("pop.gmail.com", "[AUTH] Username and password not accepted.", "provider = \"google\""),
            ("pop.gmail.com", "[SYS/PERM] Your account is not enabled for POP access.", "Forwarding and POP/IMAP"),
            ("outlook.office365.com", "Logon failure: unknown user name or bad password.", "popfetch login"),
            (
                "pop-mail.outlook.com",
                "Authentication failure: unknown user name or bad password.",
                "provider = \"microsoft\"",
            ),
            ("pop.mail.yahoo.com", "[AUTH] Incorrect username or password", "app passwords only"),
            ("pop.gmx.net", "[AUTH] invalid", "POP3 switched on"),
            ("pop3.web.de", "[AUTH] invalid", "POP3 switched on"),
            ("pop.example.org", "Please use an App Password", "app password"),
            ("pop.example.org", "POP3 is not enabled for this user", "switched on"),
        ] {
            assert!(hint(host, PLAIN, words).contains(told), "{host}: {words}: {}", hint(host, PLAIN, words));
        }
    }

    #[test]
    fn who_has_shown_a_token_is_not_told_to_get_one_instead_of_a_password() {
        const TOKEN: Method = Method::Sasl(Mechanism::XOAuth2);
        for (host, words) in [
            ("pop.gmail.com", "[AUTH] Username and password not accepted."),
            ("outlook.office365.com", "Authentication failure: unknown user name or bad password."),
        ] {
            assert_eq!(hint(host, TOKEN, words), usual_hint(TOKEN), "{host}");
        }
        let words = "[SYS/PERM] Your account is not enabled for POP access.";
        assert!(hint("pop.gmail.com", TOKEN, words).contains("Forwarding and POP/IMAP"));
    }

    #[test]
    fn a_service_is_told_of_the_wrong_object_id_first_and_of_pop3_next() {
        let [id, pop3] = ["`Enterprise applications`", "POP3 must be switched on"].map(|words| SERVICE.find(words));
        assert!(id.is_some() && id < pop3, "{SERVICE}");
    }

    #[test]
    fn a_name_that_only_looks_like_a_providers_is_nobodys() {
        assert_eq!(hint("pop.notgmail.com", PLAIN, "[AUTH] Web login required"), usual_hint(PLAIN));
        assert_eq!(hint("gmail.com.example.org", PLAIN, "[AUTH] Web login required"), usual_hint(PLAIN));
    }

    #[test]
    fn without_a_provider_the_way_to_log_in_decides() {
        for (mechanism, told) in [
            (Mechanism::External, "certificate"),
            (Mechanism::XOAuth2, "token"),
            (Mechanism::ScramSha256, "that SCRAM-SHA-256 needs: write `auth = \"user\"`"),
        ] {
            assert!(hint("pop.example.org", Method::Sasl(mechanism), "no").contains(told), "{mechanism:?}");
        }
    }
}
