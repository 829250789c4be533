//! An account as the rest of the program sees it: values that the configuration has already checked.
//!
//! Nothing here reads a file, opens a connection or knows where a value came from.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::mask;
use crate::os::user::User;
use crate::rules::Rule;
use crate::text;

/// One maildrop to fetch from, and what to do with its messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The name in the configuration, or `USER@HOST` for a one-off URL.
    pub name: String,
    /// Host name or address literal (no brackets) of the POP3 server.
    pub host: String,
    /// TCP port: 995 for implicit TLS and 110 otherwise, unless written.
    pub port: u16,
    /// The way to the server.
    pub route: Route,
    /// How the connection is protected.
    pub tls: Tls,
    /// The mailbox name sent to the server.
    pub user: String,
    /// Where the password comes from; it is asked for only when the account is fetched.
    pub secret: Secret,
    /// How to log in.
    pub auth: Auth,
    /// Where messages go: each message to each of the account's own targets, unless a rule says otherwise. Those that
    /// only rules name come behind them.
    pub targets: Vec<Target>,
    /// How many of the targets are the account's own.
    pub own_targets: usize,
    /// What becomes of messages, in the order in which they are asked.
    pub rules: Vec<Rule>,
    /// The program, and its arguments, that is asked about a message that no rule fits.
    pub filter: Option<Vec<String>>,
    /// A rule or the filter may delete a message that no target has.
    pub allow_delete_unread: bool,
    /// Whose the messages are, where popfetch runs as another user: root.
    pub owner: Option<Arc<User>>,
    /// What happens on the server to a message that is safe at home.
    pub keep: Keep,
    /// So many of the newest messages stay on the server; older ones are deleted once they are safe at home.
    pub keep_newest: Option<u64>,
    /// While the maildrop has more octets than this, the oldest messages are deleted that are safe at home.
    pub delete_over: Option<u64>,
    /// Fetch messages that are already known, too.
    pub all: bool,
    /// What counts as known from the first run on.
    pub start: Start,
    /// The order of retrieval.
    pub order: Order,
    /// Messages announced as larger than this many octets stay on the server.
    pub max_size: Option<u64>,
    /// At most this many messages are fetched in one run.
    pub max_messages: Option<u64>,
    /// At most this many octets are fetched.
    pub max_octets: MaxOctets,
    /// Nothing is fetched to a disk on which fewer octets are free.
    pub min_free: Option<u64>,
    /// Commands are sent ahead of replies: never, wherever it is announced, or (`None`) as it turned out before.
    pub pipelining: Option<bool>,
    /// How often a line that breaks is dialled again in one run.
    pub retries: u32,
    /// The longest that popfetch waits for the server to make progress, for each named deadline.
    pub timeout: Duration,
    /// The longest that one run of the MDA may take.
    pub mda_timeout: Duration,
    /// The program, and its arguments, that is run when mail has come.
    pub after: Option<Vec<String>>,
    /// The longest that a command may take that prints the password or a token; where it is not set, a person at the
    /// terminal may take any time.
    pub password_timeout: Option<Duration>,
    /// How long a temporary failure that stays the same is not reported again, where nobody watches.
    pub notify_every: Duration,
    /// False: fetched only when named on the command line.
    pub enabled: bool,
    /// True for a URL on the command line: its ledger belongs to the account *and* the destination.
    pub one_off: bool,
}

impl Account {
    /// True when more than its size and its place decides what becomes of a new message.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty() || self.filter.is_some()
    }

    /// The maildrop's identity in the state: `USER@HOST`, and `:PORT` where the port is not a standard one.
    ///
    /// An IPv6 address has no brackets in it: ledgers bear that name, and under another one all mail would come again.
    pub fn maildrop(&self) -> String {
        self.at(&self.host)
    }

    /// The maildrop as people write it: as [`Account::maildrop`], but an IPv6 address stands in brackets.
    pub fn address(&self) -> String {
        self.at(&text::bracketed(&self.host))
    }

    fn at(&self, host: &str) -> String {
        match self.port {
            110 | 995 => format!("{}@{host}", self.user),
            port => format!("{}@{host}:{port}", self.user),
        }
    }
}

/// The way to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Over TCP.
    Tcp {
        /// The address of this machine to come from.
        source: Option<IpAddr>,
        /// Who makes the connection for us.
        proxy: Option<Proxy>,
    },
    /// The standard input and output of this command.
    Tunnel(Vec<String>),
    /// A socket of this machine.
    Socket(PathBuf),
}

impl Default for Route {
    fn default() -> Self {
        Route::Tcp { source: None, proxy: None }
    }
}

/// Somebody who connects to servers for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// How it is spoken to.
    pub kind: ProxyKind,
    /// Host name or address literal (no brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Who we are to it.
    pub login: Option<(String, Password)>,
}

/// As the configuration writes it, without the login.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Socks5 => "socks5",
            ProxyKind::Http => "http",
        };
        let Proxy { host, port, .. } = self;
        write!(f, "{scheme}://{}", text::host_port(host, *port))
    }
}

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS version 5 (RFC 1928), with or without user and password (RFC 1929).
    Socks5,
    /// CONNECT (RFC 9110 §9.3.6), with or without Basic authentication.
    Http,
}

/// Protection of the connection (RFC 2595, RFC 8314).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// When TLS begins.
    pub mode: TlsMode,
    /// PEM file with the only certificate authorities to trust; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// The certificates or keys that the server may show. They replace the system's authorities, the name and the
    /// dates; with a `ca_file` both must agree.
    pub pins: Vec<Pin>,
    /// The name to ask for and to find in the certificate, when it is not that of the server.
    pub name: Option<String>,
    /// False: any certificate will do, so that anybody on the way can read everything.
    pub verify: bool,
    /// What to show to a server that asks for a client certificate.
    pub client_identity: Option<ClientIdentity>,
    /// True for a URL of the command line: advice names options, and not keys.
    pub by_options: bool,
}

impl Tls {
    /// Verified by the system's authorities.
    pub const fn new(mode: TlsMode) -> Self {
        let (ca_file, name, client_identity) = (None, None, None);
        Tls { mode, ca_file, pins: Vec::new(), name, verify: true, client_identity, by_options: false }
    }

    /// True when nothing tells the server from an impostor.
    pub fn is_unverified(&self) -> bool {
        self.mode != TlsMode::None && !self.verify && self.pins.is_empty()
    }
}

/// The SHA-256 of a certificate in DER, or of its SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

/// As the configuration writes it.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Where the client's certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// A PEM file with the certificate, its chain and the key, or a PKCS #12 file.
    pub path: PathBuf,
    /// What the key is encrypted with.
    pub password: Option<Password>,
}

/// The client's certificate and key, as they were read.
#[derive(Clone)]
pub struct Identity {
    /// The file, for messages.
    pub path: PathBuf,
    /// PEM or PKCS #12.
    pub octets: Zeroizing<Vec<u8>>,
    /// What the key is encrypted with.
    pub password: Option<Password>,
}

impl Identity {
    /// The password, or the empty one.
    pub fn password(&self) -> &str {
        self.password.as_ref().map_or("", Password::reveal)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, ****)", self.path.display())
    }
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

/// True for an address or a name that never leaves this machine (RFC 6761 §6.3).
pub fn is_loopback(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Where the messages of an account go: a lane of its own in the ledger. What a kind of target is, `deliver` and `relay`
/// know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    kind: &'static str,
    address: Address,
}

/// What stands behind the kind of a target and its colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A file or a folder.
    Path(PathBuf),
    /// A command and its arguments.
    Command(Vec<String>),
    /// A server, and all that is known of it.
    Server(Box<Server>),
}

/// A server that messages are handed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The name of the target in the configuration, if it has one.
    pub name: Option<String>,
    /// Where it is.
    pub at: At,
    /// How the connection is protected.
    pub tls: Tls,
    /// Who logs in; nobody where it is absent.
    pub user: Option<String>,
    /// Where the password of that user comes from.
    pub secret: Secret,
    /// How to log in.
    pub auth: Auth,
    /// Who gets the messages.
    pub recipient: String,
    /// The sender of the envelope.
    pub sender: Sender,
    /// At most so many messages are sent without an answer.
    pub in_flight: usize,
    /// What is put before each message.
    pub headers: Headers,
    /// How a message is asked to be taken, by HTTP.
    pub post: Option<Box<Post>>,
    /// The mailbox of an IMAP server; empty for other servers.
    pub mailbox: String,
    /// A mailbox that is not there is made.
    pub create: bool,
}

/// What an HTTP request has besides the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Post {
    /// The path, which begins with a slash.
    pub path: String,
    /// What follows it and its `?`. It may be a secret.
    pub query: Option<Password>,
    /// How the message stands in the body.
    pub body: Body,
    /// Fields of the request's header.
    pub headers: Vec<(String, Secret)>,
    /// Fields of the form, beside that of the message.
    pub form: Vec<(String, Secret)>,
}

/// How a message stands in the body of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Body {
    /// It is the body.
    #[default]
    Raw,
    /// It is this field of a form.
    Form(String),
    /// In base64, it is this field of a form.
    FormBase64(String),
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// A socket of this machine.
    Socket(PathBuf),
    /// Over the network.
    Host {
        /// Host name or address literal (no brackets).
        host: String,
        /// TCP port.
        port: u16,
    },
}

/// The sender that an envelope names (RFC 5321 §4.1.1.2): refusals by later servers go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// The one of the message's Return-Path; nobody where it has none.
    ReturnPath,
    /// `<>`: nobody.
    Nobody,
    /// This one.
    Address(String),
}

/// Header fields that a target wants before each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers {
    /// `Received`: from where and when it came.
    pub received: bool,
    /// `Delivered-To`: the recipient.
    pub delivered_to: bool,
    /// `X-Popfetch-Id`: the same each time that this very message is sent.
    pub id: bool,
}

impl Server {
    /// One that is known by its address alone.
    pub fn at(at: At) -> Self {
        Server {
            name: None,
            at,
            tls: Tls::new(TlsMode::None),
            user: None,
            secret: Secret::Ambient,
            auth: Auth::Auto,
            recipient: String::new(),
            sender: Sender::Nobody,
            in_flight: 1,
            headers: Headers::default(),
            post: None,
            mailbox: String::new(),
            create: true,
        }
    }

    /// True when what is sent there never leaves this machine.
    pub fn is_local(&self) -> bool {
        match &self.at {
            At::Socket(_) => true,
            At::Host { host, .. } => is_loopback(host),
        }
    }
}

impl Target {
    /// The most that one account may have.
    pub const MOST: usize = 32;

    /// A target of this kind. Of a path, `//`, `.` and a slash at the end do not count: one target has one spelling.
    pub fn new(kind: &'static str, address: Address) -> Self {
        let address = match address {
            Address::Path(path) => Address::Path(path.components().collect()),
            address => address,
        };
        Target { kind, address }
    }

    /// A Maildir, created on demand.
    pub fn maildir(path: impl Into<PathBuf>) -> Self {
        Target::new("maildir", Address::Path(path.into()))
    }

    /// A file in mboxrd format.
    pub fn mbox(path: impl Into<PathBuf>) -> Self {
        Target::new("mbox", Address::Path(path.into()))
    }

    /// A command and its arguments; `%F` stands for the envelope sender.
    pub fn mda(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Target::new("mda", Address::Command(words.into_iter().map(Into::into).collect()))
    }

    /// The word that the configuration begins it with.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What follows that.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The file or the folder; `None` for what has no path.
    pub fn path(&self) -> Option<&Path> {
        match &self.address {
            Address::Path(path) => Some(path),
            Address::Command(_) | Address::Server(_) => None,
        }
    }

    /// The server; `None` for what is on this machine.
    pub fn server(&self) -> Option<&Server> {
        match &self.address {
            Address::Server(server) => Some(server),
            Address::Path(_) | Address::Command(_) => None,
        }
    }

    /// What makes it another target than others of its kind: of a server its address, but not how it is logged in to, and
    /// the recipient. The address of a mailbox names its user as well: other users have other mailboxes of that name.
    pub fn identity(&self) -> String {
        match self.server() {
            Some(server) if server.mailbox.is_empty() => format!("{self} {}", server.recipient),
            _ => self.to_string(),
        }
    }

    /// The port of a server of this kind that need not be written.
    pub fn usual_port(kind: &str) -> u16 {
        match kind {
            "lmtp" => 24,
            "smtps" => 465,
            "http" => 80,
            "https" => 443,
            "imap" => 143,
            "imaps" => 993,
            _ => 25,
        }
    }
}

/// A part of a URL: ASCII that is neither a letter nor a digit, nor among `plain`, is written with `%` (RFC 3986 §2.1).
fn escaped(text: &str, plain: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            c if !c.is_ascii() || c.is_ascii_alphanumeric() || plain.contains(c) => escaped.push(c),
            c => escaped += &format!("%{:02X}", u32::from(c)),
        }
    }
    escaped
}

/// As the configuration writes it: `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, `lmtp://HOST`, `imaps://USER@HOST/MAILBOX`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Path(path) => write!(f, "{}:{}", self.kind, path.display()),
            Address::Command(words) => write!(f, "{}:{}", self.kind, shell_words::join(words)),
            Address::Server(server) => match &server.at {
                At::Socket(path) => write!(f, "{}:{}", self.kind, path.display()),
                At::Host { host, port } => {
                    let user = server.user.as_ref().filter(|_| !server.mailbox.is_empty());
                    let user = user.map_or_else(String::new, |user| escaped(user, "@.-_+") + "@");
                    let host = match *port == Target::usual_port(self.kind) {
                        true => text::bracketed(host),
                        false => text::host_port(host, *port).into(),
                    };
                    write!(f, "{}://{user}{host}", self.kind)?;
                    match &server.post {
                        // A query may be a secret.
                        Some(post) => f.write_str(&post.path),
                        None if server.mailbox.is_empty() => Ok(()),
                        None => write!(f, "/{}", escaped(&server.mailbox, "/ &.-_+,()[]~'")),
                    }
                }
            },
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

/// Which messages the first run of an account wants; the others count as known, and never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// All.
    All,
    /// None of those that are there.
    Now,
    /// Those that are no older than this.
    Within(Duration),
    /// Those from this time on, in seconds since 1970.
    From(u64),
}

/// The order of retrieval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// In the order of the listing.
    Oldest,
    /// Against it.
    Newest,
    /// By size.
    Smallest,
}

/// Limits of what is fetched, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaxOctets {
    /// In one run.
    pub per_run: Option<u64>,
    /// In one day (UTC), in all runs.
    pub per_day: Option<u64>,
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
    /// The first line of what this command prints is an OAuth 2.0 access token.
    TokenCommand(Vec<String>),
    /// OAuth 2.0: a token of the state, refreshed when it has expired.
    OAuth2(Box<OAuth2>),
    /// Nothing is configured: `$CREDENTIALS_DIRECTORY`, `~/.netrc`, then a prompt.
    Ambient,
}

impl Secret {
    /// What it is that the server will be told.
    pub fn kind(&self) -> SecretKind {
        match self {
            Secret::TokenCommand(_) | Secret::OAuth2(_) => SecretKind::Token,
            Secret::Literal(_) | Secret::Command(_) | Secret::File(_) | Secret::Ambient => SecretKind::Password,
        }
    }
}

/// The two kinds of secret that a server asks for; which mechanisms fit depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// A password.
    Password,
    /// An OAuth 2.0 access token (RFC 6749 §1.4), which is sent by XOAUTH2 or OAUTHBEARER.
    Token,
}

impl SecretKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            SecretKind::Password => "password",
            SecretKind::Token => "token",
        }
    }
}

/// How to get OAuth 2.0 tokens for an account. Endpoints are https, or on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// Where tokens are asked for (RFC 6749 §3.2).
    pub token_endpoint: String,
    /// Where tokens are revoked (RFC 7009), if that is known.
    pub revocation_endpoint: Option<String>,
    /// Whose consent is needed, and how it is got.
    pub flow: Flow,
    /// As which client popfetch is registered there.
    pub client_id: String,
    /// What proves that it is this client.
    pub proof: ClientProof,
    /// What is asked for (RFC 6749 §3.3).
    pub scope: Option<String>,
}

/// What proves to a provider that it is this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientProof {
    /// Nothing: a program on users' machines keeps no secret (RFC 6749 §2.1).
    Nothing,
    /// A secret written in the configuration.
    Secret(Password),
    /// The secret is the first line of what this command prints.
    SecretCommand(Vec<String>),
    /// The secret is the first line of this file.
    SecretFile(PathBuf),
    /// A token signed with a key, `private_key_jwt` (RFC 7523).
    Key {
        /// The certificate, a PEM file.
        certificate: PathBuf,
        /// Its key, a PEM file.
        key: PathBuf,
    },
}

/// A way to the user's consent, or to do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// A code typed in on any device (RFC 8628).
    Device {
        /// Where the code comes from.
        device_endpoint: String,
    },
    /// A browser on this machine that is sent back to us (RFC 8252).
    Redirect {
        /// What the browser opens.
        authorization_endpoint: String,
    },
    /// A service, to which an administrator has given the mailboxes (RFC 6749 §4.4).
    ClientCredentials,
}

/// A password, or a token: it can be used, but not printed, and its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Wraps the secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Password(Zeroizing::new(secret.into()))
    }

    /// A text as it is shown, in which the secret, should somebody have repeated it, is masked. One of fewer than four
    /// octets is left alone: asterisks in the midst of common words would give it away.
    pub fn masked_in(&self, text: &str) -> String {
        let shown = text::printable_within(self.0.as_bytes(), usize::MAX);
        let masked = mask::anywhere(shown.as_bytes(), &mask::anywhere(self.0.as_bytes(), text.as_bytes()));
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// Octets of others as they are shown, in which the secret is masked before and after they are cut.
    pub fn masked_in_shown(&self, octets: &[u8]) -> String {
        self.masked_in(&text::printable(&self.masked_in_octets(octets)))
    }

    /// Octets in which the secret is masked, for what is cut before it is shown: of a secret cut in two,
    /// [`Password::masked_in`] knows neither half.
    pub fn masked_in_octets(&self, octets: &[u8]) -> Vec<u8> {
        mask::anywhere(self.0.as_bytes(), octets)
    }

    /// The same for an answer to what had the secret in it: there a short one is masked, too, where it is a word.
    pub fn masked_in_answer(&self, octets: &[u8]) -> Vec<u8> {
        mask::as_word(self.0.as_bytes(), octets)
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
