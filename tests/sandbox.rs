//! A home of its own for each test: accounts, destinations, the ledger, and runs of the real binary.
//!
//! Nothing of the caller's environment gets in, and no run may outlive its limit. Every run is searched for the
//! password, in what it printed and in what it left behind.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Builder, Mail, Maildrop};

/// The user of most tests.
pub const USER: &str = "alice";

/// The password of every test. It must never be seen outside the server and the configuration.
pub const CANARY: &str = "kanarinac-7f3a9c";

/// No run of a test takes longer, or it hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// A private home directory, gone at the end of the test.
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        let folder =
            tempfile::Builder::new().prefix("popfetch-test-").tempdir().expect("a temporary folder can be made");
        Sandbox { folder }
    }

    /// A sandbox in memory, where there is such a folder: for tests of very many runs, whose syncs would wait for a disk.
    pub fn in_memory() -> Self {
        let folder = tempfile::Builder::new().prefix("popfetch-test-").tempdir_in("/dev/shm");
        folder.map_or_else(|_| Sandbox::new(), |folder| Sandbox { folder })
    }

    /// A sandbox that fetches from this server as [`USER`] with the changes of [`Account`].
    pub fn with(account: Account) -> Self {
        let sandbox = Sandbox::new();
        sandbox.config(&account.to_string());
        sandbox
    }

    /// A path below the home directory.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a private file below the home directory, and the folders above it.
    pub fn file(&self, relative: &str, octets: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folders can be made");
        fs::write(&path, octets).expect("a file can be written");
        self.mode(relative, 0o600);
        path
    }

    pub fn mode(&self, relative: &str, mode: u32) {
        fs::set_permissions(self.path(relative), Permissions::from_mode(mode)).expect("a mode can be set");
    }

    /// Writes the configuration.
    pub fn config(&self, toml: &str) -> PathBuf {
        self.file(".config/popfetch/config.toml", toml)
    }

    /// The destination `maildir:~/Mail`.
    pub fn maildir(&self) -> Maildir {
        Maildir { path: self.path("Mail") }
    }

    /// The messages of the destination `mbox:~/mbox`.
    pub fn mbox(&self) -> Vec<MboxMessage> {
        mboxrd(&fs::read(self.path("mbox")).unwrap_or_default())
    }

    /// An MDA that keeps each message in a file of `~/mda`; its `deliver = …`.
    pub fn mda(&self) -> String {
        fs::create_dir_all(self.path("mda")).expect("folders can be made");
        let kept = self.path("mda");
        let script = format!("f=$(mktemp {0}/tmp.XXXXXX) && cat >$f && mv $f $f.done", kept.display());
        self.mda_script(&script)
    }

    /// An MDA that runs this shell script; its `deliver = …`.
    pub fn mda_script(&self, script: &str) -> String {
        let path = self.file("mda.sh", script);
        format!("{{ mda = [\"/bin/sh\", \"{}\", \"%F\"] }}", path.display())
    }

    /// What the MDA of [`Sandbox::mda`] was given, sorted.
    pub fn mda_messages(&self) -> Vec<Vec<u8>> {
        let files = names(&self.path("mda")).into_iter().filter(|name| name.ends_with(".done"));
        let mut messages: Vec<_> = files.map(|name| read(&self.path("mda").join(name))).collect();
        messages.sort();
        messages
    }

    /// The folder of ledgers.
    pub fn state(&self) -> PathBuf {
        self.path(".local/state/popfetch")
    }

    /// The ledger of an account on 127.0.0.1.
    pub fn ledger(&self, user: &str, port: u16) -> PathBuf {
        self.state().join(format!("{user}@127.0.0.1:{port}.jsonl"))
    }

    /// The binary with these arguments and an environment of its own.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_popfetch"));
        self.adopt(&mut command);
        command.args(arguments);
        command
    }

    /// The same with the default action of each signal: whoever runs the tests may have some of them ignored (nohup, a
    /// shell's `&`), and that is inherited.
    pub fn listening<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new("env");
        self.adopt(&mut command);
        command.args(["--default-signal=HUP,INT,TERM", env!("CARGO_BIN_EXE_popfetch")]).args(arguments);
        command
    }

    /// Gives any command the sandbox's environment.
    pub fn adopt(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("USER", "nobody-in-particular")
            .env("TMPDIR", self.folder.path())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }

    /// Runs popfetch to its end.
    pub fn popfetch<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.run(self.command(arguments))
    }

    /// Runs `sh -c SCRIPT`, in which `popfetch` is the binary: for limits and masks that a run inherits.
    pub fn shell(&self, script: &str) -> Run {
        let mut command = Command::new("/bin/sh");
        self.adopt(&mut command);
        command.args(["-c", &script.replace("popfetch", env!("CARGO_BIN_EXE_popfetch"))]);
        self.run(command)
    }

    /// Runs popfetch with something to read on standard input.
    pub fn popfetch_reading<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, input: &str) -> Run {
        let mut command = self.command(arguments);
        let mut running = self.start(command.stdin(Stdio::piped()));
        let mut stdin = running.child.stdin.take().expect("standard input is a pipe");
        // One that does not want to read is no failure of the test's.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        running.finish()
    }

    /// Runs a prepared command to its end.
    pub fn run(&self, mut command: Command) -> Run {
        self.start(&mut command).finish()
    }

    /// Starts a prepared command, for tests that disturb it.
    pub fn start(&self, command: &mut Command) -> Running<'_> {
        let mut child = command.spawn().expect("the binary can be started");
        let stdout = collect(child.stdout.take().expect("standard output is a pipe"));
        let stderr = collect(child.stderr.take().expect("standard error is a pipe"));
        Running { sandbox: self, child, stdout, stderr, started: Instant::now() }
    }

    /// Panics when the password is in these octets, as it is or within anything in base64.
    fn assert_no_canary(&self, place: &str, octets: &[u8]) {
        let encoded = (0..3).map(canary_in_base64);
        for secret in encoded.chain([CANARY.to_owned()]).collect::<Vec<_>>().iter().map(String::as_str) {
            let found = octets.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(
                !found,
                "the password is in {place}:\n{}",
                String::from_utf8_lossy(octets).replace(secret, "<HERE>")
            );
        }
    }

    fn assert_no_canary_below(&self, folder: &Path) {
        for name in names(folder) {
            let path = folder.join(name);
            if path.is_dir() {
                self.assert_no_canary_below(&path);
            } else {
                self.assert_no_canary(&path.display().to_string(), &fs::read(&path).unwrap_or_default());
            }
        }
    }
}

/// A run that goes on. Dropping it kills it.
pub struct Running<'a> {
    sandbox: &'a Sandbox,
    pub child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    started: Instant,
}

impl Running<'_> {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; a run that has ended by then is none the worse.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Watches the run for as long as it lasts.
    pub fn watch(&mut self, mut look: impl FnMut(u32)) {
        let pid = self.pid();
        while self.child.try_wait().expect("a child can be waited for").is_none() {
            // What is watched may be much work for a busy machine, but should not hang the tests.
            assert!(self.started.elapsed() < 20 * LIMIT, "popfetch did not end within {:?}", 20 * LIMIT);
            look(pid);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the end and looks for the password everywhere.
    pub fn finish(mut self) -> Run {
        let status = self.wait();
        // A background process of an MDA may hold the pipes open for longer than the run.
        let stdout = self.stdout.recv_timeout(LIMIT).expect("standard output ends with the run");
        let stderr = self.stderr.recv_timeout(LIMIT).expect("standard error ends with the run");
        self.sandbox.assert_no_canary("stdout", &stdout);
        self.sandbox.assert_no_canary("stderr", &stderr);
        self.sandbox.assert_no_canary_below(&self.sandbox.state());
        let run = Run {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            elapsed: self.started.elapsed(),
        };
        assert!(!run.stderr.contains("panicked at"), "the run panicked: {run:#?}");
        run
    }

    fn wait(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            if self.started.elapsed() > LIMIT {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let stderr = self.stderr.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        panic!("popfetch did not end within {LIMIT:?}; it said: {}", String::from_utf8_lossy(&stderr));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut octets = Vec::new();
        let _ = pipe.read_to_end(&mut octets);
        let _ = sender.send(octets);
    });
    receiver
}

/// A run that has ended.
#[derive(Debug)]
pub struct Run {
    status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
}

impl Run {
    /// The exit status as a shell shows it: 128 + n after signal n.
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).expect("a run ends one way")
    }

    /// Asserts the exit status.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "exit status of {self:#?}");
        self
    }

    /// Asserts that standard error has all of these words.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in the stderr of {self:#?}");
        }
        self
    }

    /// The events of `--json`.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let event = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}: {self:#?}"));
        self.stdout.lines().map(event).collect()
    }

    /// What `--json` says of the only account.
    #[track_caller]
    pub fn account(&self) -> Value {
        let mut accounts = self.events().into_iter().filter(|event| event["event"] == "account");
        let account = accounts.next().unwrap_or_else(|| panic!("no account: {self:#?}"));
        assert!(accounts.next().is_none(), "several accounts: {self:#?}");
        account
    }

    /// Asserts that nothing was printed, as under cron when all is well.
    #[track_caller]
    pub fn silently(self) -> Self {
        assert_eq!((self.stdout.as_str(), self.stderr.as_str()), ("", ""), "under cron all is well in silence");
        self
    }
}

/// What base64 makes of the password behind so many octets (of a multiple of three more), less what depends on its
/// neighbours.
fn canary_in_base64(before: usize) -> String {
    let encoded = BASE64.encode(format!("{}{CANARY}", "x".repeat(before)));
    let first = (before * 8).div_ceil(6);
    let last = (before + CANARY.len()) * 8 / 6;
    encoded[first..last].to_owned()
}

/// One of the three kinds of place that mail can go to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Destination {
    Maildir,
    Mbox,
    Mda,
}

impl Destination {
    pub const ALL: [Destination; 3] = [Destination::Maildir, Destination::Mbox, Destination::Mda];

    /// The value of `deliver` for it.
    pub fn deliver(self, sandbox: &Sandbox) -> String {
        match self {
            Destination::Maildir => "\"maildir:~/Mail\"".into(),
            Destination::Mbox => "\"mbox:~/mbox\"".into(),
            Destination::Mda => sandbox.mda(),
        }
    }

    /// What has arrived there, sorted.
    pub fn messages(self, sandbox: &Sandbox) -> Vec<Vec<u8>> {
        let mut messages: Vec<_> = match self {
            Destination::Maildir => sandbox.maildir().messages(),
            Destination::Mbox => sandbox.mbox().into_iter().map(|message| message.octets).collect(),
            Destination::Mda => sandbox.mda_messages(),
        };
        messages.sort();
        messages
    }
}

/// An account of the configuration; what a test does not set is what most tests want.
#[derive(Debug, Clone)]
pub struct Account {
    name: String,
    keys: Vec<(String, String)>,
}

impl Account {
    /// [`USER`] in clear on a port of 127.0.0.1, delivering to `~/Mail`, with the deadline of a patient test.
    pub fn on(port: u16) -> Self {
        let account = Account { name: "work".into(), keys: Vec::new() };
        account
            .set("server", "\"127.0.0.1\"")
            .set("port", port)
            .set("tls", "\"none\"")
            .set("user", format!("{USER:?}"))
            .set("password", format!("{CANARY:?}"))
            .set("deliver", "\"maildir:~/Mail\"")
            .set("timeout", 10)
            // Most tests want to see what one session does.
            .set("retries", 0)
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Sets a key to a TOML value.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self = self.without(key);
        self.keys.push((key.into(), value.to_string()));
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "[accounts.{}]", self.name)?;
        self.keys.iter().try_for_each(|(key, value)| writeln!(f, "{key} = {value}"))
    }
}

/// A server whose only user is [`USER`] with the [`CANARY`].
pub fn server(mails: impl IntoIterator<Item = Mail>) -> Builder {
    Maildrop::builder().user(USER, CANARY, mails)
}

/// So many ordinary messages, `m1`, `m2`, …, no two alike.
pub fn mails(count: usize) -> Vec<Mail> {
    (1..=count).map(|number| Mail::new(format!("m{number}"), message(number))).collect()
}

/// An ordinary message, with one line each that needs stuffing and quoting.
pub fn message(number: usize) -> String {
    format!(
        "Return-Path: <sender{number}@example.org>\r\nSubject: message {number}\r\n\r\n.dot\r\nFrom {number}\r\nžuto\r\n"
    )
}

/// What a message of the server must be at home: LF instead of CRLF.
pub fn at_home(octets: &[u8]) -> Vec<u8> {
    let mut home = Vec::with_capacity(octets.len());
    for (at, octet) in octets.iter().enumerate() {
        if !(*octet == b'\r' && octets.get(at + 1) == Some(&b'\n')) {
            home.push(*octet);
        }
    }
    home
}

/// [`at_home`] for all of them, sorted.
pub fn all_at_home(mails: &[Mail]) -> Vec<Vec<u8>> {
    let mut home: Vec<_> = mails.iter().map(|mail| at_home(&mail.octets)).collect();
    home.sort();
    home
}

/// A Maildir as a mail reader sees it.
pub struct Maildir {
    pub path: PathBuf,
}

impl Maildir {
    /// The messages of `new` and `cur`, sorted.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let mut messages: Vec<_> = self.files().iter().map(|path| read(path)).collect();
        messages.sort();
        messages
    }

    /// The files of `new` and `cur`.
    pub fn files(&self) -> Vec<PathBuf> {
        let folders = ["new", "cur"].map(|folder| self.path.join(folder));
        folders.iter().flat_map(|folder| names(folder).into_iter().map(move |name| folder.join(name))).collect()
    }

    /// What was left in `tmp`.
    pub fn litter(&self) -> Vec<String> {
        names(&self.path.join("tmp"))
    }
}

/// A message of an mbox, unquoted.
#[derive(Debug, Clone, PartialEq)]
pub struct MboxMessage {
    /// The From_ line, without its LF.
    pub from_line: String,
    pub octets: Vec<u8>,
}

/// Reads an mbox in mboxrd format; panics when it is not one.
pub fn mboxrd(octets: &[u8]) -> Vec<MboxMessage> {
    let mut messages: Vec<MboxMessage> = Vec::new();
    let mut after_blank = true;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        assert!(line.ends_with(b"\n"), "the mbox ends within a line");
        if line.starts_with(b"From ") {
            assert!(after_blank, "no blank line before {:?}", line.escape_ascii().to_string());
            let from_line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            messages.push(MboxMessage { from_line, octets: Vec::new() });
        } else {
            let message = messages.last_mut().expect("an mbox begins with a From_ line");
            message.octets.extend_from_slice(unquoted(line));
        }
        after_blank = line == b"\n";
    }
    assert!(after_blank, "the mbox does not end with a blank line");
    for message in &mut messages {
        message.octets.pop();
    }
    messages
}

/// Only `>+From ` was quoted: one `>` goes (mboxrd).
fn unquoted(line: &[u8]) -> &[u8] {
    let quotes = line.iter().take_while(|octet| **octet == b'>').count();
    if quotes > 0 && line[quotes..].starts_with(b"From ") { &line[1..] } else { line }
}

/// Copies a program that is to be run. Were it us who write the copy, a test that starts a process meanwhile would hold it
/// open, and it could not be run (ETXTBSY).
pub fn copy_program(program: &Path, copy: &Path) {
    let copied = Command::new("cp").arg(program).arg(copy).status().expect("cp(1) can be started");
    assert!(copied.success(), "`{}` can be copied", program.display());
}

/// The names in a folder, sorted; none when it is not there.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The octets of a file that must be there.
pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A number from `/proc/PID/status`, in its own unit; `None` elsewhere than on Linux, and for a process that has ended.
pub fn status(pid: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

/// Waits until something is so, within reason.
#[track_caller]
pub fn wait_until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LIMIT, "it never became so");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The Python of Debian's packages. Another one, earlier in the PATH, has none of their modules.
pub const PYTHON: &str = "/usr/bin/python3";

/// Whether [`PYTHON`] has a module, or why the tests cannot use it.
pub fn python_has(module: &str) -> Result<(), String> {
    let mut command = Command::new(PYTHON);
    command.args(["-c", &format!("import {module}")]).stdin(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("{PYTHON} has no {module}; tests/run installs it")),
        Err(error) => Err(format!("{PYTHON}: {error}")),
    }
}

/// Tells whoever runs the tests what was not tested; `POPFETCH_REQUIRE_ALL=1` makes it a failure.
///
/// Written past the test harness, which shows nothing of what a passing test prints.
#[track_caller]
pub fn left_out(what: &str, why: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let required = std::env::var_os("POPFETCH_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "{what} is required, but {why}");
    let line = format!("left out: {what} ({why})\n");
    if SAID.lock().expect("nobody panics while saying it").insert(line.clone()) {
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mbox_reader_undoes_the_quoting() {
        let mbox = b"From a@b Thu Jan  1 00:00:00 1970\nSubject: x\n\n>From me\n>>From you\n> From us\n\nFrom c d\n\n";
        let messages = mboxrd(mbox);
        assert_eq!(messages[0].from_line, "From a@b Thu Jan  1 00:00:00 1970");
        assert_eq!(messages[0].octets, b"Subject: x\n\nFrom me\n>From you\n> From us\n");
        assert_eq!(messages[1].octets, b"");
    }

    #[test]
    #[should_panic(expected = "no blank line before")]
    fn an_unquoted_from_line_is_noticed() {
        mboxrd(b"From a b\nx\nFrom c d\n\n");
    }

    #[test]
    fn only_crlf_changes_on_the_way_home() {
        assert_eq!(at_home(b"a\r\nb\nc\rd\r\r\n"), b"a\nb\nc\rd\r\n");
    }

    #[test]
    #[should_panic(expected = "the password is in stdout")]
    fn the_canary_is_noticed() {
        Sandbox::new().assert_no_canary("stdout", format!("PASS {CANARY}\r\n").as_bytes());
    }

    #[test]
    fn a_run_is_collected_and_has_an_environment_of_its_own() {
        let sandbox = Sandbox::new();
        let mut command = Command::new("/bin/sh");
        sandbox.adopt(&mut command);
        command.args(["-c", "echo $HOME; env | grep -c -e XDG -e CREDENTIALS -e NETRC >&2; kill -15 $$"]);
        let run = sandbox.run(command).exits(143).says(&["0\n"]);
        assert_eq!(run.stdout.trim(), sandbox.path("").display().to_string().trim_end_matches('/'));
    }
}
