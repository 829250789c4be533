//! Other real servers than Dovecot, as different from it and from one another as Debian has them.
//!
//! | server | is | maildrop | pipelines | locks it | STLS, TLS |
//! | --- | --- | --- | --- | --- | --- |
//! | popa3d | bare RFC 1939, no CAPA | mbox | no | no | no, no |
//! | Courier | | Maildir | yes | no | yes, yes |
//! | GNU mailutils | writes X-UIDL and Status into the messages | mbox | yes | yes | yes, yes |
//! | Twisted | an event loop in Python | a folder | no | no | no, yes |
//!
//! `tests/run` puts the programs beside the build. They want to be root, and the users of a system: each server gets a
//! small root folder with users of its own, and is started for each connection by the test, as inetd does it. Twisted
//! wants neither.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::faults::{self, Call};
use crate::interop::Mode;
use crate::sandbox::{Account, CANARY, Destination, PYTHON, Sandbox, left_out, mboxrd, python_has, wait_until};
use crate::server::Authority;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Popa3d,
    Courier,
    Mailutils,
    Twisted,
}

/// Owner of all mail: neither root nor anybody.
const NOBODY: u32 = 65534;

/// [`CANARY`] as `crypt(3)` has it in `/etc/shadow` (`openssl passwd -6 -salt popfetch`).
const CRYPT: &str =
    "$6$popfetch$iuElNCX6TE3V8wyh85mmJdSvLuHUAZIvrm2wpNX9rD4b4ox2Dst7/YtQ/f6PrvjR5wK61Un6HBntjwNDCDhRf1";

const COURIER_LOGIN: &str = "usr/lib/courier/courier/courierpop3login";
const COURIER_POP3D: &str = "usr/lib/courier/courier/courierpop3d";
const COURIER_AUTH: &str = "usr/lib/courier/courier-authlib/authdaemond";
const COURIER_TLS: &str = "usr/bin/couriertls";

impl Kind {
    /// The programs, by the package that each is from.
    fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::Popa3d => &[("popa3d", "usr/sbin/popa3d")],
            Kind::Courier => &[
                ("courier-pop", COURIER_LOGIN),
                ("courier-pop", COURIER_POP3D),
                ("courier-base", COURIER_TLS),
                ("courier-authlib", COURIER_AUTH),
                ("courier-authlib", "usr/lib/courier-authlib/libauthpam.so.0"),
            ],
            Kind::Mailutils => &[("mailutils-pop3d", "usr/sbin/pop3d")],
            Kind::Twisted => &[],
        }
    }

    fn has_maildirs(self) -> bool {
        matches!(self, Kind::Courier | Kind::Twisted)
    }

    fn modes(self) -> &'static [Mode] {
        match self {
            Kind::Popa3d => &[Mode::Clear],
            Kind::Courier | Kind::Mailutils => &[Mode::Clear, Mode::Starttls, Mode::Implicit],
            Kind::Twisted => &[Mode::Clear, Mode::Implicit],
        }
    }

    /// Why it cannot be started here, or nothing.
    fn objection(self) -> Option<String> {
        if self == Kind::Twisted {
            return python_has("twisted.mail.pop3").err();
        }
        if !rustix::process::geteuid().is_root() {
            return Some("only root may start it".into());
        }
        let missing = self.programs().iter().find(|(package, program)| !downloaded(package).join(program).is_file());
        missing.map(|(package, _)| format!("{package} is not there; tests/run downloads it"))
    }
}

/// Where `tests/run` has unpacked a package.
pub fn downloaded(package: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target folder").join("servers").join(package)
}

/// A server of our own. Dropping it ends it.
struct Server {
    kind: Kind,
    root: TempDir,
    authority: Authority,
    port: u16,
    tls_port: u16,
    processes: Vec<Process>,
    _inetds: Vec<Inetd>,
}

impl Server {
    /// Starts it with these messages in the maildrop of each user, or says why it cannot.
    fn start(kind: Kind, users: &[String], mails: &[Vec<u8>]) -> Option<Self> {
        if let Some(why) = kind.objection() {
            left_out(&format!("{kind:?}"), &why);
            return None;
        }
        let root = tempfile::Builder::new().prefix("popfetch-server-").tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let authority = Authority::new("popfetch servers");
        let identity = authority.good();
        write(root.path(), "etc/server.pem", identity.certificate_pem + &identity.key_pem, 0o600);
        let (port, tls_port, processes, inetds) = match kind {
            Kind::Twisted => {
                users.iter().for_each(|user| fs::create_dir_all(root.path().join("home").join(user)).unwrap());
                twisted(root.path())
            }
            _ => {
                furnish(kind, root.path(), users);
                daemons(kind, root.path())
            }
        };
        let server = Server { kind, root, authority, port, tls_port, processes, _inetds: inetds };
        users.iter().for_each(|user| server.fill(user, mails));
        Some(server)
    }

    fn spool(&self, user: &str) -> PathBuf {
        self.root.path().join("var/mail").join(user)
    }

    fn maildir(&self, user: &str) -> PathBuf {
        self.root.path().join("home").join(user).join("Maildir")
    }

    /// More messages for a user, stored with LF.
    fn fill(&self, user: &str, mails: &[Vec<u8>]) {
        if self.kind.has_maildirs() {
            return self.fill_maildir(user, mails);
        }
        let mut mbox = fs::read(self.spool(user)).unwrap_or_default();
        for mail in mails {
            mbox.extend(b"From sender@example.org Thu Jan  1 00:00:00 2026\n");
            mbox.extend(quoted(mail));
            mbox.push(b'\n');
        }
        write(self.root.path(), &format!("var/mail/{user}"), mbox, 0o600);
        chown(self.spool(user), Some(NOBODY), Some(NOBODY)).unwrap();
    }

    fn fill_maildir(&self, user: &str, mails: &[Vec<u8>]) {
        let maildir = self.maildir(user);
        let folders = ["tmp", "new", "cur"].map(|folder| maildir.join(folder));
        folders.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        let before = self.left(user);
        for (number, octets) in mails.iter().enumerate() {
            let name = format!("new/{}.M{number}P1.test", 1_700_000_000 + before + number);
            write(&maildir, &name, octets, 0o600);
            self.give(&maildir.join(name));
        }
        folders.iter().chain([&maildir]).for_each(|folder| self.give(folder));
    }

    /// Twisted's stays that of whoever runs the tests.
    fn give(&self, path: &Path) {
        if self.kind != Kind::Twisted {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// How many messages a maildrop has.
    fn left(&self, user: &str) -> usize {
        match self.kind.has_maildirs() {
            true => crate::sandbox::Maildir { path: self.maildir(user) }.files().len(),
            false => mboxrd(&fs::read(self.spool(user)).unwrap_or_default()).len(),
        }
    }

    fn account(&self, mode: Mode, user: &str) -> Account {
        let account = mode.account(if mode == Mode::Implicit { self.tls_port } else { self.port }, user);
        match self.kind {
            // Both have an APOP challenge in their greeting. mailutils has no secrets for it, and in Twisted it fails.
            Kind::Mailutils | Kind::Twisted => account.set("auth", "\"user\""),
            Kind::Popa3d | Kind::Courier => account,
        }
    }

    fn sandbox(&self, account: &Account) -> Sandbox {
        let sandbox = Sandbox::with(account.clone());
        sandbox.file("ca.pem", &self.authority.pem);
        sandbox
    }

    /// What a message must be at home.
    fn at_home(&self, mail: &[u8]) -> Vec<u8> {
        // popa3d hands out the mbox as it is.
        if self.kind == Kind::Popa3d { quoted(mail) } else { mail.to_vec() }
    }

    /// What the test compares of a message.
    fn essence(&self, octets: &[u8]) -> String {
        let octets = octets.escape_ascii().to_string();
        // mailutils keeps its books in header lines, and gives an empty body a second empty line.
        let is_kept =
            |line: &&str| !["X-UIDL:", "X-UID:", "X-IMAPbase:", "Status:"].iter().any(|name| line.starts_with(name));
        match self.kind {
            Kind::Mailutils => {
                let kept: String = octets.split_inclusive("\\n").filter(is_kept).collect();
                kept.trim_end_matches("\\n").to_owned()
            }
            _ => octets,
        }
    }

    /// Asserts that all these messages are at home, each once, and nothing else.
    #[track_caller]
    fn assert_delivered(&self, destination: Destination, sandbox: &Sandbox, mails: &[Vec<u8>], when: &str) {
        let mut expected: Vec<_> = mails.iter().map(|mail| self.essence(&self.at_home(mail))).collect();
        let mut delivered: Vec<_> = destination.messages(sandbox).iter().map(|mail| self.essence(mail)).collect();
        expected.sort();
        delivered.sort();
        assert_eq!(delivered.len(), expected.len(), "{:?}, {destination:?}, {when}: each message once", self.kind);
        for (delivered, expected) in delivered.iter().zip(&expected) {
            assert_eq!(delivered, expected, "{:?}, {destination:?}, {when}", self.kind);
        }
    }

    /// A session of somebody else's, logged in, that goes on.
    fn session(&self, user: &str) -> BufReader<TcpStream> {
        let mut session = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap());
        session.get_ref().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        heard(&mut session);
        for command in [format!("USER {user}"), format!("PASS {CANARY}"), "STAT".into()] {
            session.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
            assert!(heard(&mut session).starts_with("+OK"), "{:?}: {command}", self.kind);
        }
        session
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read(self.root.path().join("log")).unwrap_or_default();
            eprintln!("{:?} said: {}", self.kind, String::from_utf8_lossy(&log).replace('\0', ""));
        }
    }
}

fn heard(session: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    session.read_line(&mut line).unwrap();
    line
}

fn write(folder: &Path, name: &str, octets: impl AsRef<[u8]>, mode: u32) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, octets).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// As an mbox has it.
fn quoted(mail: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::new();
    for line in mail.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b"From ") {
            quoted.push(b'>');
        }
        quoted.extend(line);
    }
    quoted
}

// Starting them.

/// A root folder with the programs, their libraries, users and settings.
fn furnish(kind: Kind, root: &Path, users: &[String]) {
    let from = |(package, program): &(&str, &str)| downloaded(package).join(program);
    let pam = pam_unix();
    let programs: Vec<_> = kind.programs().iter().map(from).collect();
    for ((_, program), path) in kind.programs().iter().zip(&programs) {
        copy(path, &root.join(program));
    }
    copy(&pam, &root.join(pam.strip_prefix("/").unwrap()));
    let own = downloaded("courier-authlib").join("usr/lib");
    for library in libraries(programs.iter().chain([&pam]), &own) {
        // Its own libraries lie where they do in the package, all others where this system has them.
        let within = library.strip_prefix(downloaded("courier-authlib")).or_else(|_| library.strip_prefix("/"));
        copy(&library, &root.join(within.unwrap()));
    }
    let (mut passwd, mut shadow) = (String::new(), String::new());
    for (name, secret) in [("root", "*"), ("courier", "*"), ("popa3d", "*")]
        .into_iter()
        .chain(users.iter().map(|user| (user.as_str(), CRYPT)))
    {
        let uid = if name == "root" { 0 } else { NOBODY };
        passwd += &format!("{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n");
        shadow += &format!("{name}:{secret}:19000::::::\n");
    }
    write(root, "etc/passwd", passwd, 0o644);
    write(root, "etc/shadow", shadow, 0o600);
    write(root, "etc/group", format!("root:x:0:\nmail:x:8:\nnogroup:x:{NOBODY}:\n"), 0o644);
    let by_unix =
        ["auth", "account", "password", "session"].map(|what| format!("{what} required pam_unix.so\n")).concat();
    write(root, "etc/pam.d/other", by_unix, 0o644);
    for folder in ["var/lib/popa3d", "run/courier/authdaemon", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    write(root, "dev/null", "", 0o666);
    write(root, "var/mail/.keep", "", 0o600);
    fs::set_permissions(root.join("var/mail"), fs::Permissions::from_mode(0o1777)).unwrap();
    for (name, mode) in [("stls", "ondemand"), ("tls", "connection")] {
        let settings = format!(
            "mode inetd;\nlogging {{ syslog no; }};\n\
             auth {{ authentication \"generic:system\"; authorization \"system\"; }};\n\
             mailbox {{ mail-spool \"/var/mail\"; }};\n\
             tls-mode {mode};\n\
             tls {{ ssl-certificate-file /etc/server.pem; ssl-key-file /etc/server.pem; }};\n"
        );
        write(root, &format!("etc/mailutils-{name}"), settings, 0o644);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// The module by which PAM asks `/etc/shadow`.
fn pam_unix() -> PathBuf {
    let folders = fs::read_dir("/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut modules = folders.map(|folder| folder.join("security/pam_unix.so"));
    modules.find(|module| module.is_file()).expect("Debian has pam_unix.so")
}

/// What `ldd` finds for these programs.
fn libraries<'a>(programs: impl Iterator<Item = &'a PathBuf>, own: &Path) -> BTreeSet<PathBuf> {
    let mut command = Command::new("ldd");
    command.args(programs).env("LD_LIBRARY_PATH", own).env("LC_ALL", "C");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("not found"), "tests/run installs what the servers need: {text}");
    let words = text.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    words.map(PathBuf::from).collect()
}

/// Port, port for TLS, and what is to be ended.
type Started = (u16, u16, Vec<Process>, Vec<Inetd>);

fn daemons(kind: Kind, root: &Path) -> Started {
    let within = |arguments: &[&str]| {
        let mut command = Command::new("/usr/sbin/chroot");
        command.env_clear().arg(root).args(arguments);
        command
    };
    let (clear, tls, processes) = match kind {
        Kind::Popa3d => (within(&["/usr/sbin/popa3d"]), None, vec![]),
        Kind::Mailutils => {
            let pop3d = |name: &str| within(&["/usr/sbin/pop3d", &format!("--config-file=/etc/mailutils-{name}")]);
            (pop3d("stls"), Some(pop3d("tls")), vec![])
        }
        Kind::Courier => {
            let [login, pop3d, auth, tls] =
                [COURIER_LOGIN, COURIER_POP3D, COURIER_AUTH, COURIER_TLS].map(|path| format!("/{path}"));
            let mut authdaemond = within(&[&auth]);
            let rc = "authmodulelist=\"authpam\"\nauthmodulelistorig=\"authpam\"\ndaemons=2\nauthdaemonvar=/run/courier/authdaemon\n";
            write(root, "etc/courier/authdaemonrc", rc, 0o644);
            // Which couriertls reads when it is root no more.
            chown(root.join("etc/server.pem"), Some(NOBODY), None).unwrap();
            let authdaemond = Process::start(&mut authdaemond, root);
            wait_until(|| UnixStream::connect(root.join("run/courier/authdaemon/socket")).is_ok());
            let environment = |command: Command, stls: &str| {
                let mut command = command;
                command
                    .envs([("TCPREMOTEIP", "127.0.0.1"), ("TCPREMOTEPORT", "1"), ("TCPLOCALPORT", "110")])
                    .envs([("POP3AUTH", ""), ("POP3AUTH_TLS", ""), ("POP3_STARTTLS", stls), ("POP3_TLS_REQUIRED", "0")])
                    .envs([("COURIERTLS", &*tls), ("TLS_CERTFILE", "/etc/server.pem"), ("TLS_VERIFYPEER", "NONE")]);
                command
            };
            let clear = within(&[&login, &pop3d, "Maildir"]);
            let wrapped = within(&[&tls, "-server", "-tcpd", &login, &pop3d, "Maildir"]);
            (environment(clear, "YES"), Some(environment(wrapped, "NO")), vec![authdaemond])
        }
        Kind::Twisted => unreachable!("it is no daemon of inetd's"),
    };
    let inetds: Vec<_> = [Some(clear), tls].into_iter().flatten().map(|command| Inetd::start(command, root)).collect();
    (inetds[0].port, inetds.last().unwrap().port, processes, inetds)
}

fn twisted(root: &Path) -> Started {
    let mut command = Command::new(PYTHON);
    let pem = root.join("etc/server.pem");
    command.args(["-c", include_str!("twisted_pop3.py")]).arg(root.join("home")).arg(CANARY).arg(&pem).arg(&pem);
    let mut process = Process::start(command.stdout(Stdio::piped()), root);
    let mut line = String::new();
    BufReader::new(process.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let ports: Vec<u16> = line.split_whitespace().map(|port| port.parse().unwrap()).collect();
    let [port, tls_port] = ports[..] else { panic!("Twisted prints its ports: {line:?}") };
    (port, tls_port, vec![process], vec![])
}

/// A program and what it has started. Dropping it ends them.
struct Process {
    child: Child,
}

impl Process {
    /// What it says goes into the log.
    fn start(command: &mut Command, root: &Path) -> Self {
        let log = fs::File::options().create(true).append(true).open(root.join("log")).unwrap();
        let child = command.process_group(0).stderr(log).spawn().unwrap();
        Process { child }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Starts a program for each connection, with the connection as its standard input and output.
struct Inetd {
    port: u16,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Inetd {
    fn start(mut command: Command, root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_over = Arc::new(AtomicBool::new(false));
        let (root, over) = (root.to_owned(), Arc::clone(&is_over));
        let accepting = thread::spawn(move || {
            let mut processes: Vec<Process> = Vec::new();
            for socket in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                processes.retain_mut(|process| !process.has_ended());
                let socket = OwnedFd::from(socket.unwrap());
                command.stdin(socket.try_clone().unwrap()).stdout(socket);
                processes.push(Process::start(&mut command, &root));
                // The command keeps no copy of the connection, whose end is that of the program.
                command.stdin(Stdio::null()).stdout(Stdio::null());
            }
        });
        Inetd { port, is_over, accepting: Some(accepting) }
    }
}

impl Drop for Inetd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.accepting.take().expect("it is dropped once").join();
    }
}

// What every one of them is tried with.

/// A message as people send them.
fn mail(number: usize, body: &[u8]) -> Vec<u8> {
    let day = number % 28 + 1;
    let head = format!(
        "Date: {day} Jan 2026 10:00:00 +0000\nFrom: Petar <petar@example.org>\nMessage-ID: <{number}@example.org>\n\
         Subject: message {number}\n\n"
    );
    [head.as_bytes(), body].concat()
}

/// 8-bit, dots, lines that begin with From, a long line, and a message that is only a header.
fn mails() -> Vec<Vec<u8>> {
    let long = "x".repeat(10_000) + "\n";
    let bodies: [&[u8]; 7] =
        [b"one\n", b"", b"\xff\xfe caf\xe9 \x80\n", b".\n..\n...\n.dot\n", b"From here\n", long.as_bytes(), b"\n\n"];
    (1..).zip(bodies).map(|(number, body)| mail(number, body)).collect()
}

fn users(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// In every mode and to every destination: everything, and then nothing.
fn every_case(kind: Kind, keep: bool) {
    let cases: Vec<_> =
        kind.modes().iter().flat_map(|mode| Destination::ALL.map(|destination| (*mode, destination))).collect();
    let user = |(mode, destination): &(Mode, Destination)| format!("{destination:?}-{mode:?}").to_lowercase();
    let Some(server) = Server::start(kind, &cases.iter().map(user).collect::<Vec<_>>(), &mails()) else { return };
    for case in &cases {
        let (mode, destination) = *case;
        let account = server.account(mode, &user(case)).set("keep", keep);
        let sandbox = server.sandbox(&account);
        let deliver = destination.deliver(&sandbox);
        sandbox.config(&account.set("deliver", deliver).to_string());
        for run in 1..=2 {
            sandbox.popfetch(["-q"]).exits(0).silently();
            server.assert_delivered(destination, &sandbox, &mails(), &format!("{mode:?}, run {run}"));
        }
        assert_eq!(server.left(&user(case)), if keep { mails().len() } else { 0 }, "{kind:?}, {case:?}: left");
    }
}

fn new_mail(kind: Kind) {
    let Some(server) = Server::start(kind, &users(&["alice"]), &mails()) else { return };
    let sandbox = server.sandbox(&server.account(Mode::Clear, "alice"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    let late = mail(9, b"late\n");
    server.fill("alice", std::slice::from_ref(&late));
    let run = sandbox.popfetch(["--json"]).exits(0);
    assert!(run.stdout.contains("\"delivered\":1"), "{kind:?}: only what is new: {run:#?}");
    server.assert_delivered(Destination::Maildir, &sandbox, &[mails(), vec![late]].concat(), "new mail");
}

/// Kept at first, all of it is deleted by a later run, which fetches nothing.
fn deleted_later(kind: Kind) {
    let Some(server) = Server::start(kind, &users(&["alice"]), &mails()) else { return };
    let sandbox = server.sandbox(&server.account(Mode::Clear, "alice"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q", "--no-keep"]).exits(0).silently();
    server.assert_delivered(Destination::Maildir, &sandbox, &mails(), "nothing comes twice");
    assert_eq!(server.left("alice"), 0, "{kind:?}: all is deleted");
}

fn wrong_password(kind: Kind) {
    let Some(server) = Server::start(kind, &users(&["alice"]), &mails()) else { return };
    let account = server.account(Mode::Clear, "alice").set("password", "\"wrong\"");
    server.sandbox(&account).popfetch(["-q"]).exits(77).says(&["refused the login of `alice`"]);
    assert_eq!(server.left("alice"), mails().len());
}

/// Somebody else is logged in to the same maildrop.
fn second_session(kind: Kind) {
    let Some(server) = Server::start(kind, &users(&["alice"]), &mails()) else { return };
    let sandbox = server.sandbox(&server.account(Mode::Clear, "alice").set("keep", false));
    let session = server.session("alice");
    if kind == Kind::Mailutils {
        sandbox.popfetch(["-q"]).exits(75).says(&["in use", "[IN-USE]"]);
        assert_eq!(server.left("alice"), mails().len());
        drop(session);
        carry_on(&sandbox, "after the other session");
    } else {
        sandbox.popfetch(["-q"]).exits(0).silently();
        drop(session);
    }
    server.assert_delivered(Destination::Maildir, &sandbox, &mails(), "beside another session");
    assert_eq!(server.left("alice"), 0);
}

/// Runs until nothing is in the way any more: the session of a killed run may last a moment longer than the run.
#[track_caller]
fn carry_on(sandbox: &Sandbox, when: &str) {
    for _ in 0..100 {
        let run = sandbox.popfetch(["-q"]);
        match run.code() {
            0 => return,
            75 => thread::sleep(Duration::from_millis(100)),
            _ => panic!("{when}: {run:#?}"),
        }
    }
    panic!("{when}: it never got through");
}

/// At most so many moments of a run, from its beginning to its end.
const KILLS: usize = 10;

fn kills(kind: Kind) {
    if !faults::can_trace() {
        return;
    }
    let destinations = [(Destination::Maildir, false), (Destination::Mbox, true)];
    let names: Vec<_> = (0..=2 * KILLS).map(|number| format!("user{number}")).collect();
    let Some(server) = Server::start(kind, &names, &mails()) else { return };
    let sandbox_of = |user: &str, (destination, keep): (Destination, bool)| {
        let account = server.account(Mode::Clear, user).set("keep", keep);
        let sandbox = server.sandbox(&account);
        let deliver = destination.deliver(&sandbox);
        sandbox.config(&account.set("deliver", deliver).to_string());
        sandbox
    };
    let is_moment =
        |call: &&Call| ["sendto", "renameat2", "fdatasync", "write", "pwrite64"].contains(&call.name.as_str());
    let mut names = names.iter();
    let calls = faults::calls_of(&sandbox_of(names.next().unwrap(), destinations[0]));
    let moments: Vec<_> = calls.iter().filter(is_moment).collect();
    let step = moments.len().div_ceil(KILLS).max(1);
    for call in moments.iter().step_by(step) {
        for (destination, keep) in destinations {
            let (user, when) = (names.next().unwrap(), format!("killed before {call}"));
            let sandbox = sandbox_of(user, (destination, keep));
            let code = faults::kill_before(&sandbox, call).code();
            assert!(matches!(code, 0 | 75 | 137), "{kind:?}, {when}: {code}");
            carry_on(&sandbox, &when);
            carry_on(&sandbox, &when);
            server.assert_delivered(destination, &sandbox, &mails(), &when);
            assert_eq!(server.left(user), if keep { mails().len() } else { 0 }, "{kind:?}, {when}: left");
        }
    }
}

macro_rules! every_server {
    ($($name:ident: $kind:expr),+ $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            fn keeps_what_is_to_be_kept_and_it_comes_once() {
                every_case($kind, true);
            }

            #[test]
            fn deletes_what_has_come() {
                every_case($kind, false);
            }

            #[test]
            fn has_new_mail_which_alone_is_fetched() {
                new_mail($kind);
            }

            #[test]
            fn deletes_later_what_was_kept_at_first() {
                deleted_later($kind);
            }

            #[test]
            fn refuses_a_wrong_password() {
                wrong_password($kind);
            }

            #[test]
            fn has_a_second_session() {
                second_session($kind);
            }

            #[test]
            fn is_carried_on_with_after_kill_9() {
                kills($kind);
            }
        }
    )+};
}

/// popa3d hashes some header lines; where they are the same or missing, so is the unique-id.
#[test]
fn messages_of_one_unique_id_come_once_each_and_stay() {
    let alike = [1, 2, 3].map(|number| format!("Subject: {number}\n\n{number}\n").into_bytes());
    let Some(server) = Server::start(Kind::Popa3d, &users(&["alice"]), &alike) else { return };
    let sandbox = server.sandbox(&server.account(Mode::Clear, "alice"));
    sandbox.popfetch(["-q"]).exits(0).silently();
    sandbox.popfetch(["-q"]).exits(0).silently();
    let run = sandbox.popfetch(["-q", "--no-keep"]).exits(0);
    run.says(&["3 messages delivered but not deleted", "the same unique-id for several messages"]);
    server.assert_delivered(Destination::Maildir, &sandbox, &alike, "one unique-id");
    assert_eq!(server.left("alice"), 3);
}

/// Nothing better than APOP is offered in clear, and a password is not sent in clear unasked; under TLS it is.
#[test]
fn apop_that_a_server_offers_in_vain_is_refused_with_the_way_out() {
    for kind in [Kind::Mailutils, Kind::Twisted] {
        let Some(server) = Server::start(kind, &users(&["alice"]), &mails()) else { continue };
        let sandbox = server.sandbox(&server.account(Mode::Clear, "alice").without("auth"));
        sandbox.popfetch(["-q"]).exits(77).says(&["by APOP", "auth = \"user\""]);
        let sandbox = server.sandbox(&server.account(Mode::Implicit, "alice").without("auth"));
        sandbox.popfetch(["-q"]).exits(0).silently();
        server.assert_delivered(Destination::Maildir, &sandbox, &mails(), "under TLS");
    }
}

/// Twisted stuffs no dot that begins a chunk of 16,384 octets: a line that is only this dot ends the message early.
#[test]
fn a_message_that_twisted_ends_early_stays_and_keeps_no_other_back() {
    const CHUNK: usize = 1 << 14;
    let head = b"Subject: dot\n\n".to_vec();
    let padding = "x".repeat(CHUNK - head.len() - 1);
    let cut = [&head, padding.as_bytes(), b"\n.\nrest\n"].concat();
    assert_eq!(&cut[CHUNK..=CHUNK + 1], b".\n");
    let others = [mail(1, b"one\n"), mail(3, b"three\n")];
    let all = [others[0].clone(), cut, others[1].clone()];
    let Some(server) = Server::start(Kind::Twisted, &users(&["alice"]), &all) else { return };
    let sandbox = server.sandbox(&server.account(Mode::Clear, "alice").set("keep", false));
    for _ in 0..4 {
        sandbox.popfetch(["-q"]).exits(76).says(&["stays on the server"]);
    }
    server.assert_delivered(Destination::Maildir, &sandbox, &others, "the others come home");
    assert_eq!(server.left("alice"), 1, "the one that was cut stays");
}

/// It says `-ERR Temporary problem` then, without a response code.
#[test]
fn courier_that_cannot_look_up_passwords_is_asked_again_later() {
    let Some(mut server) = Server::start(Kind::Courier, &users(&["alice"]), &mails()) else { return };
    server.processes.clear();
    let sandbox = server.sandbox(&server.account(Mode::Clear, "alice"));
    sandbox.popfetch(["-q"]).exits(75).says(&["Temporary problem"]);
}

/// Mail is not fetched in clear from a server that has no STLS.
#[test]
fn popa3d_without_stls_gets_no_password() {
    let Some(server) = Server::start(Kind::Popa3d, &users(&["alice"]), &mails()) else { return };
    let sandbox = server.sandbox(&server.account(Mode::Starttls, "alice"));
    sandbox.popfetch(["-q"]).exits(69).says(&["STLS"]);
    assert_eq!(server.left("alice"), mails().len());
}

every_server!(popa3d: Kind::Popa3d, courier: Kind::Courier, mailutils: Kind::Mailutils, twisted: Kind::Twisted);
