//! A real Dovecot on loopback: in clear, STARTTLS and implicit TLS; keep and delete; all three destinations.
//!
//! The server is configured here, in a folder of its own, and runs as root (CI) or as whoever runs the tests.
//! Without Dovecot the tests say so and pass, unless everything is required.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::slice;
use std::thread;
use std::time::Duration;

use crate::sandbox::{self, Account, CANARY, Destination, Sandbox, left_out};
use crate::server::Authority;
use crate::server::certificates::LOOPBACK;

/// How an account connects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    Clear,
    Starttls,
    Implicit,
}

impl Mode {
    /// An account that connects to this port in this mode; the authority is in `~/ca.pem`.
    pub fn account(self, port: u16, user: &str) -> Account {
        let account = Account::on(port).set("user", format!("{user:?}")).set("timeout", 20);
        let tls = match self {
            Mode::Clear => return account,
            Mode::Starttls => "\"starttls\"",
            Mode::Implicit => "\"implicit\"",
        };
        account.set("tls", tls).set("tls_ca_file", "\"~/ca.pem\"").set("server", format!("{:?}", LOOPBACK[0]))
    }
}

/// A Dovecot of our own. Dropping it ends it.
pub struct Dovecot {
    folder: tempfile::TempDir,
    process: Child,
    port: u16,
    tls_port: u16,
    authority: Authority,
    owner: Owner,
}

/// Who owns the mail: root may not (Dovecot refuses uid 0), so it is `nobody` then.
#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Dovecot {
    /// Starts it with a maildrop for each user, or says why it cannot.
    fn start(users: &[String], mails: &[Vec<u8>]) -> Option<Self> {
        Self::start_with(users, mails, "auth_mechanisms = plain\n")
    }

    /// The same with settings of the test's, in which `FOLDER` is the server's own.
    pub fn start_with(users: &[String], mails: &[Vec<u8>], settings: &str) -> Option<Self> {
        if let Err(why) = version() {
            left_out("interop", &why);
            return None;
        }
        let folder = tempfile::Builder::new().prefix("popfetch-dovecot-").tempdir().unwrap();
        // Dovecot's own users must be able to look into it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let owner = owner();
        let authority = Authority::new("popfetch interop");
        let (port, tls_port) = (free_port(), free_port());
        let identity = authority.good();
        write(folder.path(), "ca.pem", &authority.pem);
        write(folder.path(), "server.pem", &identity.certificate_pem);
        write(folder.path(), "server.key", &identity.key_pem);
        let passwords: String = users.iter().map(|user| format!("{user}:{{PLAIN}}{CANARY}::::::\n")).collect();
        write(folder.path(), "passwd", &passwords);
        users.iter().for_each(|user| fill(&folder.path().join("mail").join(user), mails, owner));
        let settings = settings.replace("FOLDER", &folder.path().display().to_string());
        let configuration = configuration(folder.path(), port, tls_port, owner) + &settings;
        write(folder.path(), "dovecot.conf", configuration);
        let process = Command::new(program("dovecot").expect("its version was asked for"))
            .args(["-F", "-c"])
            .arg(folder.path().join("dovecot.conf"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let dovecot = Dovecot { folder, process, port, tls_port, authority, owner };
        dovecot.wait_until_ready();
        Some(dovecot)
    }

    fn wait_until_ready(&self) {
        for _ in 0..200 {
            if greets(self.port) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let told = ["stderr", "log"].map(|name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default());
        panic!("dovecot did not start: {}", told.concat());
    }

    /// The messages that are left in a maildrop, sorted.
    fn messages(&self, user: &str) -> Vec<Vec<u8>> {
        sandbox::Maildir { path: self.maildir(user) }.messages()
    }

    fn maildir(&self, user: &str) -> PathBuf {
        self.folder.path().join("mail").join(user)
    }

    /// The account of a user, connecting in this mode.
    fn account(&self, mode: Mode, user: &str) -> Account {
        mode.account(if mode == Mode::Implicit { self.tls_port } else { self.port }, user)
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// `2.3…`, or why the tests cannot use what is there.
fn version() -> Result<(), String> {
    let Some(program) = program("dovecot") else { return Err("dovecot is not installed".into()) };
    let output = Command::new(program).arg("--version").output().map_err(|error| error.to_string())?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_string();
    match version.starts_with("2.3.") {
        true => Ok(()),
        // 2.4 renamed most settings.
        false => Err(format!("dovecot {version} is not of the 2.3 series, whose configuration the test writes")),
    }
}

/// A program of the PATH, or of `/usr/sbin`, which an ordinary user's PATH may lack.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

fn owner() -> Owner {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    match uid {
        0 => Owner { uid: 65534, gid: 65534 },
        _ => Owner { uid, gid },
    }
}

fn configuration(folder: &Path, port: u16, tls_port: u16, Owner { uid, gid }: Owner) -> String {
    let folder = folder.display();
    format!(
        "base_dir = {folder}/run\n\
         state_dir = {folder}/state\n\
         log_path = {folder}/log\n\
         protocols = pop3\n\
         listen = 127.0.0.1\n\
         ssl = yes\n\
         ssl_cert = <{folder}/server.pem\n\
         ssl_key = <{folder}/server.key\n\
         disable_plaintext_auth = no\n\
         mail_location = maildir:{folder}/mail/%u\n\
         first_valid_uid = 1\n\
         first_valid_gid = 1\n\
         mail_max_userip_connections = 100\n\
         passdb {{\n  driver = passwd-file\n  args = {folder}/passwd\n}}\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={folder}/mail/%u\n}}\n\
         service pop3-login {{\n  chroot =\n\
           inet_listener pop3 {{\n    port = {port}\n  }}\n\
           inet_listener pop3s {{\n    port = {tls_port}\n    ssl = yes\n  }}\n}}\n\
         service anvil {{\n  chroot =\n}}\n\
         {}",
        unprivileged()
    )
}

/// Dovecot changes to users of its own, which only root may do.
fn unprivileged() -> String {
    if rustix::process::geteuid().is_root() {
        return String::new();
    }
    let name = |option: &str| {
        let output = Command::new("id").arg(option).output().expect("`id` is everywhere");
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    };
    let (user, group) = (name("-un"), name("-gn"));
    format!("default_login_user = {user}\ndefault_internal_user = {user}\ndefault_internal_group = {group}\n")
}

fn fill(maildir: &Path, mails: &[Vec<u8>], owner: Owner) {
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir_all(maildir.join(folder)).unwrap();
    }
    for (number, octets) in mails.iter().enumerate() {
        write(&maildir.join("new"), &format!("{}.M{number}P1.test", 1_700_000_000 + number), octets);
    }
    let folders = ["tmp", "new", "cur"].map(|folder| maildir.join(folder));
    for path in folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path()) {
        chown(path, Some(owner.uid), Some(owner.gid)).unwrap();
    }
    for path in folders.iter().map(PathBuf::as_path).chain([maildir]) {
        chown(path, Some(owner.uid), Some(owner.gid)).unwrap();
    }
}

pub fn write(folder: &Path, name: &str, octets: impl AsRef<[u8]>) {
    fs::write(folder.join(name), octets).unwrap();
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn greets(port: u16) -> bool {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = socket.set_read_timeout(Some(Duration::from_secs(2)));
    let mut greeting = [0; 3];
    socket.read_exact(&mut greeting).is_ok() && &greeting == b"+OK"
}

/// Stored as Dovecot stores it, with LF: 8-bit, dots, From lines, long lines, and a message that is only a header.
fn mails() -> Vec<Vec<u8>> {
    let mut mails: Vec<Vec<u8>> = (1..=3).map(|n| sandbox::at_home(sandbox::message(n).as_bytes())).collect();
    mails.push(b"Subject: 8 bit\n\n\xff\xfe caf\xe9 \x80\n".to_vec());
    mails.push(b"Subject: dots\n\n.\n..\n...\nFrom here\n>From there\n>>From everywhere\n".to_vec());
    mails.push(format!("Subject: long\n\n{}\n", "x".repeat(100_000)).into_bytes());
    mails.push(b"Subject: no body\n\n".to_vec());
    mails.sort();
    mails
}

/// About 30 MB that do not repeat soon, with every octet but NUL, CR and LF.
fn big_mail() -> Vec<u8> {
    let mut mail = b"Subject: big\n\n".to_vec();
    let mut state = 7_u32;
    while mail.len() < 30_000_000 {
        for _ in 0..70 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let octet = (state >> 24) as u8;
            mail.push(if matches!(octet, 0 | b'\r' | b'\n') { b'.' } else { octet });
        }
        mail.push(b'\n');
    }
    mail
}

/// What one account of a test does; it has a user of its own.
#[derive(Debug, Clone, Copy)]
struct Case {
    mode: Mode,
    keep: bool,
    destination: Destination,
}

impl Case {
    fn user(self) -> String {
        format!("{:?}-{}", self.destination, if self.keep { "keep" } else { "delete" }).to_lowercase()
    }

    /// Fetches twice: everything, octet for octet, then nothing.
    #[track_caller]
    fn fetches_everything_once(self, dovecot: &Dovecot, mails: &[Vec<u8>]) {
        let sandbox = Sandbox::new();
        sandbox.file("ca.pem", &dovecot.authority.pem);
        let deliver = self.destination.deliver(&sandbox);
        let account = dovecot.account(self.mode, &self.user()).set("keep", self.keep).set("deliver", deliver);
        sandbox.config(&account.to_string());
        for _ in 0..2 {
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert!(self.destination.messages(&sandbox) == mails, "{self:?}: octets differ");
        }
        let left = if self.keep { mails.len() } else { 0 };
        assert_eq!(dovecot.messages(&self.user()).len(), left, "{self:?}: left on the server");
    }
}

fn run(cases: &[Case], mails: &[Vec<u8>]) {
    let users: Vec<_> = cases.iter().map(|case| case.user()).collect();
    let Some(dovecot) = Dovecot::start(&users, mails) else { return };
    cases.iter().for_each(|case| case.fetches_everything_once(&dovecot, mails));
}

fn every_case(mode: Mode) {
    let cases = Destination::ALL.map(|destination| [true, false].map(|keep| Case { mode, keep, destination }));
    run(cases.as_flattened(), &mails());
}

#[test]
fn a_real_server_in_clear() {
    every_case(Mode::Clear);
}

#[test]
fn a_real_server_with_starttls() {
    every_case(Mode::Starttls);
}

#[test]
fn a_real_server_with_implicit_tls() {
    every_case(Mode::Implicit);
}

#[test]
fn a_message_of_30_megabytes_from_a_real_server() {
    let modes = [Mode::Implicit, Mode::Clear, Mode::Starttls].into_iter();
    let cases: Vec<_> =
        modes.zip(Destination::ALL).map(|(mode, to)| Case { mode, keep: false, destination: to }).collect();
    run(&cases, &[big_mail()]);
}

#[test]
fn new_mail_on_a_real_server_is_all_that_is_fetched() {
    let users = ["alice".to_string()];
    let Some(dovecot) = Dovecot::start(&users, &mails()) else { return };
    let sandbox = Sandbox::with(dovecot.account(Mode::Clear, "alice"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let late = b"Subject: late\n\nlate\n".to_vec();
    fill(&dovecot.maildir("alice"), &[mails(), vec![late.clone()]].concat(), dovecot.owner);
    sandbox.popfetch(["-q"]).exits(0).silently();
    let mut expected = [mails(), vec![late]].concat();
    expected.sort();
    assert!(sandbox.maildir().messages() == expected, "octets differ");
}

#[test]
fn what_is_old_on_a_real_server_counts_as_known() {
    let dated = |subject: &str, date: &str| format!("Date: {date}\nSubject: {subject}\n\n{subject}\n").into_bytes();
    let new = dated("new", &chrono::Utc::now().to_rfc2822());
    let mails = [dated("old", "Mon, 5 Jan 2026 10:00:00 +0000"), new.clone()];
    let Some(dovecot) = Dovecot::start(&["now".to_string(), "month".to_string()], &mails) else { return };
    for (user, start, expected) in [("now", "\"now\"", &[][..]), ("month", "\"30d\"", &[new])] {
        let sandbox = Sandbox::with(dovecot.account(Mode::Clear, user).set("start", start).set("keep", false));
        for _ in 0..2 {
            sandbox.popfetch(["-q"]).exits(0).silently();
            assert!(sandbox.maildir().messages() == expected, "{user}");
        }
        assert_eq!(dovecot.messages(user).len(), 2 - expected.len(), "{user}");
    }
}

#[test]
fn a_real_server_is_listed_as_it_is_then_fetched() {
    let users = ["alice".to_string()];
    let Some(dovecot) = Dovecot::start(&users, &mails()) else { return };
    let sandbox = Sandbox::with(dovecot.account(Mode::Starttls, "alice"));
    sandbox.file("ca.pem", &dovecot.authority.pem);
    let new = sandbox.popfetch(["list"]).exits(0);
    assert!(new.stdout.contains("work: 7 messages, ") && new.stdout.contains("; 7 new, "), "{new:#?}");
    let subjects = ["message 1", "message 2", "message 3", "8 bit", "dots", "long", "no body"];
    assert!(subjects.iter().all(|subject| new.stdout.contains(&format!("  {subject}\n"))), "{new:#?}");
    sandbox.popfetch(["-q"]).exits(0).silently();
    let known = sandbox.popfetch(["list", "--sort", "size"]).exits(0);
    assert_eq!(known.stdout.matches("  known since ").count(), 7, "{known:#?}");
    assert!(known.stdout.lines().nth(1).unwrap().ends_with("  long"), "{known:#?}");
    let due = sandbox.popfetch(["list", "--no-keep", "--json"]).exits(0);
    assert_eq!(due.stdout.matches("\"verdict\":\"delete\"").count(), 7, "{due:#?}");
}

#[test]
fn rules_decide_about_the_mail_of_a_real_server() {
    let user = "rules".to_owned();
    let Some(dovecot) = Dovecot::start(slice::from_ref(&user), &mails()) else { return };
    let rules = "[{ subject = \"^no body$\", delete = true }, { size = \">10k\", skip = true },
                  { return-path = \"sender2@\", deliver = [\"maildir:~/two\", \"maildir:~/Mail\"] },
                  { subject = \"message\", deliver = \"maildir:~/two\", keep = false }]";
    let account = dovecot.account(Mode::Implicit, &user).set("rules", rules).set("allow_delete_unread", true);
    let sandbox = Sandbox::with(account);
    sandbox.file("ca.pem", &dovecot.authority.pem);
    let dry = sandbox.popfetch(["--dry-run", "--json"]).account();
    let run = sandbox.popfetch(["--json"]).exits(0).account();
    assert_eq!((&dry["would_deliver"], &dry["would_delete"]), (&run["delivered"], &run["deleted"]));
    let count = |folder: &str| sandbox::Maildir { path: sandbox.path(folder) }.messages().len();
    assert_eq!((count("two"), count("Mail"), dovecot.messages(&user).len()), (3, 3, 4));
    sandbox.popfetch(["-q"]).exits(0).silently();
    assert_eq!((count("two"), count("Mail"), dovecot.messages(&user).len()), (3, 3, 4));
}

// Every mechanism that Dovecot has for passwords and tokens

/// Says of one token that it is alive and whose, as an authorization server does (RFC 7662), until the test ends.
fn introspection(user: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let alive = format!("{{\"active\":true,\"username\":\"{user}\",\"scope\":\"pop\"}}");
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = String::new();
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            while reader.read_line(&mut request).is_ok_and(|octets| octets > 2) {}
            let body = if request.contains(CANARY) { alive.as_str() } else { "{\"active\":false}" };
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
            let _ = socket.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
        }
    });
    port
}

/// Tokens are looked up over HTTP, passwords in the file.
fn every_mechanism(folder: &Path, user: &str) -> String {
    let oauth2 = format!(
        "introspection_mode = get\nintrospection_url = http://127.0.0.1:{}/token?access_token=\n\
         username_attribute = username\nactive_attribute = active\nactive_value = true\nscope = pop\n",
        introspection(user)
    );
    write(folder, "oauth2.conf", oauth2);
    format!(
        "auth_mechanisms = plain login apop cram-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer\n\
         passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {}/oauth2.conf\n}}\n",
        folder.display()
    )
}

/// One run with each way to log in, in clear and under TLS; and what the trace of it must have.
const WAYS: [(&str, &str); 10] = [
    ("auto", "AUTH SCRAM-SHA-256 ****"),
    ("user", "PASS ****"),
    ("apop", "APOP alice ****"),
    ("plain", "AUTH PLAIN ****"),
    ("login", "AUTH LOGIN"),
    ("cram-md5", "AUTH CRAM-MD5"),
    ("scram-sha-1", "AUTH SCRAM-SHA-1 ****"),
    ("scram-sha-256", "AUTH SCRAM-SHA-256 ****"),
    ("xoauth2", "AUTH XOAUTH2"),
    ("oauthbearer", "AUTH OAUTHBEARER ****"),
];

#[test]
fn every_way_to_log_in_to_a_real_server() {
    let settings = tempfile::Builder::new().prefix("popfetch-dovecot-").tempdir().unwrap();
    fs::set_permissions(settings.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let every_mechanism = every_mechanism(settings.path(), "alice");
    let Some(dovecot) = Dovecot::start_with(&["alice".into()], &mails(), &every_mechanism) else { return };
    for mode in [Mode::Clear, Mode::Implicit] {
        for (auth, shown) in WAYS {
            let account = dovecot.account(mode, "alice").set("auth", format!("{auth:?}"));
            let sandbox = Sandbox::with(account.clone());
            sandbox.file("ca.pem", &dovecot.authority.pem);
            sandbox.popfetch(["-vv"]).exits(0).says(&[shown]);
            assert!(sandbox.maildir().messages() == mails(), "{mode:?}, {auth}: octets differ");
        }
    }
}

/// No pause after a wrong secret, and none that grows with each of them.
const UNHURT: &str =
    "auth_failure_delay = 0\nservice anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n";

#[test]
fn every_way_to_log_in_to_a_real_server_with_a_wrong_secret() {
    let settings = tempfile::Builder::new().prefix("popfetch-dovecot-").tempdir().unwrap();
    fs::set_permissions(settings.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let every_mechanism = every_mechanism(settings.path(), "alice") + UNHURT;
    let Some(dovecot) = Dovecot::start_with(&["alice".into()], &mails(), &every_mechanism) else { return };
    for (auth, _) in WAYS {
        let account =
            dovecot.account(Mode::Clear, "alice").set("auth", format!("{auth:?}")).set("password", "\"wrong\"");
        let run = Sandbox::with(account).popfetch(["-q"]).exits(77).says(&["refused the login of `alice`"]);
        if auth.contains("oauth") {
            run.says(&["the token has expired, was revoked"]);
        }
    }
}

// A client certificate in place of a password

/// Whoever shows a certificate of this authority is the one that it names, and needs no password.
fn external(folder: &Path, clients: &Authority) -> String {
    write(folder, "clients.pem", &clients.pem);
    format!(
        "auth_mechanisms = plain external\n\
         ssl_ca = <{}/clients.pem\n\
         ssl_require_crl = no\n\
         ssl_verify_client_cert = yes\n\
         auth_ssl_require_client_cert = yes\n\
         auth_ssl_username_from_cert = yes\n\
         passdb {{\n  driver = static\n  mechanisms = external\n  args = nopassword=y\n}}\n",
        folder.display()
    )
}

#[test]
fn a_client_certificate_is_all_that_external_needs_of_a_real_server() {
    let settings = tempfile::Builder::new().prefix("popfetch-dovecot-").tempdir().unwrap();
    fs::set_permissions(settings.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let external = external(settings.path(), &clients) + UNHURT;
    let users = ["petar", "alice"].map(str::to_owned);
    let Some(dovecot) = Dovecot::start_with(&users, &mails(), &external) else { return };
    let sandbox_of = |mode, user: &str, client: &Authority| {
        let account = dovecot.account(mode, user).without("password").set("auth", "\"external\"");
        let sandbox = Sandbox::with(account.set("tls_client_identity", "\"~/me\""));
        let identity = client.client();
        sandbox.file("ca.pem", &dovecot.authority.pem);
        sandbox.file("me", identity.key_pem + &identity.certificate_pem);
        sandbox
    };
    for mode in [Mode::Starttls, Mode::Implicit] {
        let sandbox = sandbox_of(mode, "petar", &clients);
        sandbox.popfetch(["-vv"]).exits(0).says(&["AUTH EXTERNAL"]);
        assert!(sandbox.maildir().messages() == mails(), "{mode:?}: octets differ");
        for (user, client) in [("alice", &clients), ("petar", &strangers)] {
            sandbox_of(mode, user, client).popfetch(["-q"]).exits(77).says(&["refused the login", "certificate"]);
        }
    }
}

/// LMTP over a socket, with the recipe of the manual.
const LMTP: &str = "auth_mechanisms = plain
protocols = pop3 lmtp
service lmtp {
  unix_listener FOLDER/lmtp {
    mode = 0666
  }
}
protocol lmtp {
  mail_plugins = sieve
}
plugin {
  sieve = file:FOLDER/recipe.sieve
}
";

const RECIPE: &str =
    "require [\"duplicate\"];\nif duplicate :header \"X-Popfetch-Id\" :seconds 604800 { discard; stop; }\n";

/// The recipe is that of the manual.
#[test]
fn the_recipe_is_in_the_manual() {
    assert!(include_str!("../man/popfetch.1").contains(RECIPE));
}

#[test]
fn a_real_dovecot_takes_each_message_by_lmtp_and_drops_what_comes_a_second_time() {
    if !["lmtp", "modules/lib90_sieve_plugin.so"].iter().all(|name| Path::new("/usr/lib/dovecot").join(name).exists()) {
        return left_out("LMTP into a real Dovecot", "dovecot-lmtpd or dovecot-sieve is not installed");
    }
    let users = ["alice", "bob", "carol"].map(str::to_owned);
    let Some(dovecot) = Dovecot::start_with(&users, &[], LMTP) else { return };
    write(dovecot.folder.path(), "recipe.sieve", RECIPE);
    fill(&dovecot.maildir("alice"), &mails(), dovecot.owner);
    for (recipient, in_flight) in [("bob", 1), ("carol", 64)] {
        let sandbox = Sandbox::new();
        let account = dovecot.account(Mode::Clear, "alice").set("deliver", "\"there\"");
        let socket = dovecot.folder.path().join("lmtp");
        let keys = format!("recipient = \"{recipient}\"\nin_flight = {in_flight}\nheaders = [\"id\"]");
        sandbox.config(&format!("[targets.there]\ndeliver = \"lmtp:{}\"\n{keys}\n{account}", socket.display()));
        sandbox.popfetch(["check"]).exits(0);
        let run = sandbox.popfetch(["-vv"]).exits(0);
        let verb = if in_flight == 1 { "C: DATA" } else { "C: BDAT " };
        assert!(run.stderr.contains(verb), "{run:#?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        // All of it once more, as after an interruption.
        sandbox.popfetch(["-q", "--all"]).exits(0).silently();
        let taken = dovecot.messages(recipient);
        assert_eq!(taken.len(), mails().len(), "{recipient}: each message once");
        for mail in mails() {
            assert!(taken.iter().any(|taken| taken.ends_with(&mail)), "{recipient}: a message differs");
        }
    }
}

/// Each connection has an Exim of its own, as under inetd; what it takes is in the folder `box`, a Maildir.
const EXIM: &str = "exim_path = PROGRAM
primary_hostname = mta.example.org
spool_directory = FOLDER/spool
log_file_path = FOLDER/%slog
keep_environment =
return_path_remove = false
tls_advertise_hosts =
chunking_advertise_hosts = *
deliver_drop_privilege = true
acl_smtp_rcpt = accept
begin routers
box:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  maildir_format
  directory = FOLDER/box
begin retry
";

#[test]
fn a_real_exim_takes_each_message_by_smtp() {
    let exim = program("exim4").filter(|_| rustix::process::geteuid().is_root());
    let (Some(exim), Some((uid, gid))) = (exim, user_ids("Debian-exim")) else {
        return left_out("SMTP to a real Exim", "Debian's exim4 is not installed, or this is not root");
    };
    let Some(dovecot) = Dovecot::start(&["alice".to_owned()], &mails()) else { return };
    let folder = tempfile::Builder::new().prefix("popfetch-exim-").tempdir().unwrap();
    let settings = EXIM.replace("FOLDER", &folder.path().display().to_string());
    write(folder.path(), "conf", settings.replace("PROGRAM", &exim.display().to_string()));
    let [spool, taken] = ["spool", "box"].map(|name| folder.path().join(name));
    for path in [&spool, &taken] {
        fs::create_dir(path).unwrap();
    }
    for path in [folder.path(), &spool, &taken] {
        chown(path, Some(uid), Some(gid)).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::scope(|scope| {
        // One connection to check, and one to fetch.
        scope.spawn(|| {
            for _ in 0..2 {
                let line = std::os::fd::OwnedFd::from(listener.accept().unwrap().0);
                let output = line.try_clone().unwrap();
                let mut exim = Command::new(&exim);
                let exim = exim.arg("-C").arg(folder.path().join("conf")).arg("-bs").stderr(Stdio::null());
                assert!(exim.stdin(line).stdout(output).status().unwrap().success());
            }
        });
        let sandbox = Sandbox::new();
        let account = dovecot.account(Mode::Clear, "alice").set("deliver", "\"there\"").set("keep", false);
        let keys = format!("deliver = \"smtp://127.0.0.1:{port}\"\nrecipient = \"carol@example.org\"");
        sandbox.config(&format!("[targets.there]\n{keys}\n{account}"));
        sandbox.popfetch(["check"]).exits(0);
        let run = sandbox.popfetch(["-vv"]).exits(0);
        assert!(run.stderr.contains("C: MAIL FROM:<> SIZE="), "{run:#?}");
    });
    let taken = sandbox::Maildir { path: taken };
    sandbox::wait_until(|| taken.path.join("new").exists() && taken.messages().len() == mails().len());
    for mail in mails() {
        let differs = format!("a message differs: {}", mail[..mail.len().min(200)].escape_ascii());
        assert!(taken.messages().iter().any(|taken| taken.ends_with(&mail)), "{differs}");
    }
    assert_eq!(dovecot.messages("alice").len(), 0);
}

/// Numbers of a user of this system and of the group of that name.
pub fn user_ids(name: &str) -> Option<(u32, u32)> {
    let id = |option| {
        let output = Command::new("id").args([option, name]).output().expect("`id` is everywhere");
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    Some((id("-u")?, id("-g")?))
}
