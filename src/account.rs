//! An account as the rest of the program sees it: values that the configuration has already checked.
//!
//! Nothing here reads a file, opens a connection or knows where a value came from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// One maildrop to fetch from, and what to do with its messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The name in the configuration, or `USER@HOST` for a one-off URL.
    pub name: String,
    /// Host name or address literal (no brackets) of the POP3 server.
    pub host: String,
    /// TCP port: 995 for implicit TLS and 110 otherwise, unless written.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// The mailbox name sent to the server.
    pub user: String,
    /// Where the password comes from; it is asked for only when the account is fetched.
    pub secret: Secret,
    /// How to log in.
    pub auth: Auth,
    /// Where messages go.
    pub deliver: Target,
    /// What happens on the server to a message that is safe at home.
    pub keep: Keep,
    /// Fetch messages that are already known, too.
    pub all: bool,
    /// Messages announced as larger than this many octets stay on the server.
    pub max_size: Option<u64>,
    /// At most this many messages are fetched in one run.
    pub max_messages: Option<u64>,
    /// The longest that popfetch waits for the server to make progress, for each named deadline.
    pub timeout: Duration,
    /// The longest that one run of the MDA may take.
    pub mda_timeout: Duration,
    /// False: fetched only when named on the command line.
    pub enabled: bool,
    /// True for a URL on the command line: its ledger belongs to the account *and* the destination.
    pub one_off: bool,
}

impl Account {
    /// `USER@HOST`, and `:PORT` where the port is not a standard one: the maildrop's identity in the state.
    pub fn maildrop(&self) -> String {
        match self.port {
            110 | 995 => format!("{}@{}", self.user, self.host),
            port => format!("{}@{}:{port}", self.user, self.host),
        }
    }
}

/// Protection of the connection (RFC 2595, RFC 8314).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// When TLS begins.
    pub mode: TlsMode,
    /// PEM file with the only certificate authorities to trust; the system's when absent.
    pub ca_file: Option<PathBuf>,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// From the first octet (RFC 8314 §3.2), port 995.
    Implicit,
    /// By STLS before the login (RFC 2595 §4), port 110; demanded, never optional.
    Starttls,
    /// Never: everything goes in clear, the password too.
    None,
}

/// How to log in. All but the first, [`Auth::User`] and [`Auth::Apop`] are mechanisms of AUTH (RFC 5034).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// The strongest way that both sides know.
    Auto,
    /// USER and PASS (RFC 1939 §7).
    User,
    /// PLAIN (RFC 4616).
    Plain,
    /// APOP (RFC 1939 §7).
    Apop,
    /// LOGIN, which no RFC defines.
    Login,
    /// CRAM-MD5 (RFC 2195).
    CramMd5,
    /// SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// SCRAM-SHA-1-PLUS: bound to the server's certificate (RFC 5929 §4).
    ScramSha1Plus,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-256-PLUS: bound to the server's certificate (RFC 5929 §4).
    ScramSha256Plus,
    /// EXTERNAL (RFC 4422 appendix A): TLS has said who it is, with a client certificate.
    External,
    /// XOAUTH2, Google's and Microsoft's form of bearer tokens.
    XOAuth2,
    /// OAUTHBEARER (RFC 7628).
    OAuthBearer,
}

impl Auth {
    /// False when nothing secret is sent, so that nobody need be asked for it.
    pub fn needs_secret(self) -> bool {
        self != Auth::External
    }
}

/// Where the messages of an account go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A Maildir, created on demand.
    Maildir(PathBuf),
    /// A file in mboxrd format.
    Mbox(PathBuf),
    /// A command and its arguments; `%F` stands for the envelope sender.
    Mda(Vec<String>),
}

/// As the configuration writes it: `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Maildir(path) => write!(f, "maildir:{}", path.display()),
            Target::Mbox(path) => write!(f, "mbox:{}", path.display()),
            Target::Mda(words) => write!(f, "mda:{}", shell_words::join(words)),
        }
    }
}

/// What happens on the server to a message that is safe at home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It stays for ever.
    Forever,
    /// It is deleted in the same session.
    Never,
    /// It is deleted by the first run that long after it was first seen.
    For(Duration),
}

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// Written in the configuration.
    Literal(Password),
    /// The first line of what this command prints.
    Command(Vec<String>),
    /// The first line of this file.
    File(PathBuf),
    /// Nothing is configured: `$CREDENTIALS_DIRECTORY`, `~/.netrc`, then a prompt.
    Ambient,
}

impl Secret {
    /// What it is that comes from there.
    pub fn kind(&self) -> SecretKind {
        match self {
            Secret::Literal(_) | Secret::Command(_) | Secret::File(_) | Secret::Ambient => SecretKind::Password,
        }
    }
}

/// What a secret proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// That somebody knows the account's password.
    Password,
    /// That the account's owner has allowed it: an OAuth 2.0 access token (RFC 6750).
    Token,
}

/// A password, or a token: it can be used, but not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps the secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Password(secret.into())
    }

    /// A text in which the secret, should somebody have repeated it, is masked. One of fewer than four characters is
    /// left alone: asterisks in the midst of common words would give it away.
    pub fn masked_in(&self, text: &str) -> String {
        let shown = crate::text::printable_within(self.0.as_bytes(), usize::MAX);
        match shown.chars().count() {
            0..4 => text.to_owned(),
            _ => text.replace(&shown, "****"),
        }
    }

    /// Octets in which the secret is masked, for what is cut before it is shown: of a secret cut in two,
    /// [`Password::masked_in`] knows neither half.
    pub fn masked_in_octets(&self, octets: &[u8]) -> Vec<u8> {
        let secret = self.0.as_bytes();
        let mut masked = Vec::with_capacity(octets.len());
        let mut rest = octets;
        while secret.len() >= 4
            && let Some(at) = memchr::memmem::find(rest, secret)
        {
            masked.extend_from_slice(&rest[..at]);
            masked.extend_from_slice(b"****");
            rest = &rest[at + secret.len()..];
        }
        masked.extend_from_slice(rest);
        masked
    }

    /// The secret itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(****)")
    }
}
