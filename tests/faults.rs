//! Faults at an exact system call, put there by strace(1): a kill before it, or an error instead of it.
//!
//! A run without faults is recorded first, so that a sweep knows every call that changes something, makes a change
//! durable or speaks to the server. Calls are counted by thread, as strace does it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::process::{Command, Stdio};

use crate::sandbox::{Account, Destination, Run, Sandbox, USER, all_at_home, message, names, server};
use crate::server::{Mail, Maildrop};

/// The calls that are worth a fault; `?` is for those that not every machine has.
const CALLS: &str = "?mkdir,mkdirat,?open,openat,write,pwrite64,?writev,ftruncate,?rename,?renameat,renameat2,?link,\
                     linkat,?unlink,unlinkat,fsync,fdatasync,syncfs,flock,sendto,?fork,?vfork,clone,?clone3";

/// One call of a run: the n-th of its name in a thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub name: String,
    pub nth: usize,
}

impl Call {
    pub fn new(name: &str, nth: usize) -> Self {
        Call { name: name.into(), nth }
    }

    /// True for what goes to a file, not to the server or another process.
    pub fn is_of_the_disk(&self) -> bool {
        !["sendto", "flock", "fork", "vfork", "clone", "clone3"].contains(&self.name.as_str())
    }

    pub fn is_sync(&self) -> bool {
        self.name.contains("sync")
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.nth)
    }
}

/// True when strace is here and may trace.
pub fn can_trace() -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=1", "true"]);
    let is_able = command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_able {
        crate::sandbox::left_out("faults at system calls", "there is no strace that may trace");
    }
    is_able
}

fn strace(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    sandbox.run(strace_command(sandbox, arguments))
}

fn strace_command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = Command::new("strace");
    sandbox.adopt(&mut command);
    // `-b execve`: what an MDA does is its own affair.
    command.args(["-f", "-qq", "-b", "execve"]).args(arguments).args([env!("CARGO_BIN_EXE_popfetch"), "-q"]);
    command
}

/// Runs popfetch and kills it before this call.
pub fn kill_before(sandbox: &Sandbox, call: &Call) -> Run {
    inject(sandbox, call, "signal=KILL")
}

/// Runs popfetch with these arguments and kills it before this call.
pub fn kill_command_before(sandbox: &Sandbox, arguments: &[&str], call: &Call) -> Run {
    inject_into(sandbox, arguments, call, "signal=KILL")
}

/// Runs popfetch with these arguments and lets this call fail.
pub fn fail_command_at(sandbox: &Sandbox, arguments: &[&str], call: &Call, error: &str) -> Run {
    inject_into(sandbox, arguments, call, &format!("error={error}"))
}

fn inject_into(sandbox: &Sandbox, arguments: &[&str], call: &Call, what: &str) -> Run {
    let Call { name, nth } = call;
    let (trace, rule) = (format!("trace={name}"), format!("inject={name}:{what}:when={nth}"));
    let mut command = strace_command(sandbox, &["-o", "/dev/null", "-e", &trace, "-e", &rule]);
    command.args(arguments);
    sandbox.run(command)
}

/// Runs popfetch and lets this call, and with `and_later` all later ones, fail.
pub fn fail_at(sandbox: &Sandbox, call: &Call, error: &str, and_later: bool) -> Run {
    let Call { name, nth } = call;
    let later = if and_later { "+" } else { "" };
    inject_as(sandbox, name, &format!("inject={name}:error={error}:when={nth}{later}"))
}

/// Runs popfetch and lets this call do nothing and return 0, as a write may that finds no room.
pub fn return_zero_at(sandbox: &Sandbox, call: &Call) -> Run {
    inject(sandbox, call, "retval=0")
}

/// Runs popfetch while each of its threads can start so many others, and no more.
pub fn with_few_threads(sandbox: &Sandbox, few: usize) -> Run {
    let calls = "?clone,?clone3";
    inject_as(sandbox, calls, &format!("inject={calls}:error=EAGAIN:when={}+", few + 1))
}

/// Runs popfetch, stops it (SIGSTOP) right behind this call, does something beside it, and lets it go on. A run that
/// does not come to the call is not disturbed.
pub fn disturb_behind(sandbox: &Sandbox, call: &Call, disturb: impl FnOnce()) -> Run {
    let Call { name, nth } = call;
    let log = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let log_name = log.path().display().to_string();
    let rule = format!("inject={name}:signal=STOP:when={nth}");
    let mut command = strace_command(sandbox, &["-o", &log_name, "-e", &format!("trace={name}"), "-e", &rule]);
    let mut running = sandbox.start(&mut command);
    let (mut disturb, mut looks) = (Some(disturb), 0);
    running.watch(|strace| {
        for pid in children(strace) {
            if disturb.is_some() && is_stopped(pid, log.path()) {
                disturb.take().into_iter().for_each(|disturb| disturb());
            }
            // Other threads stop behind their own call of this number. What goes on already is none the worse for it.
            looks += 1;
            if disturb.is_none() && looks % 20 == 0 {
                let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process has a number");
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
            }
        }
    });
    running.finish()
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// True when strace has seen every thread stop because of SIGSTOP; it stops them itself at each call, for moments or, on a
/// busy machine, for longer.
fn is_stopped(pid: u32, log: &std::path::Path) -> bool {
    let threads = names(std::path::Path::new(&format!("/proc/{pid}/task"))).len();
    let log = fs::read_to_string(log).unwrap_or_default();
    threads > 0 && log.matches("stopped by SIGSTOP").count() >= threads
}

fn inject(sandbox: &Sandbox, call: &Call, what: &str) -> Run {
    inject_as(sandbox, &call.name, &format!("inject={}:{what}:when={}", call.name, call.nth))
}

fn inject_as(sandbox: &Sandbox, name: &str, rule: &str) -> Run {
    strace(sandbox, &["-o", "/dev/null", "-e", &format!("trace={name}"), "-e", rule])
}

/// Runs popfetch to its end and tells which of its calls matter.
pub fn calls_of(sandbox: &Sandbox) -> Vec<Call> {
    let log = sandbox.path("strace.log");
    let log_name = log.display().to_string();
    strace(sandbox, &["-o", &log_name, "-e", &format!("trace={CALLS}")]).exits(0).silently();
    let calls = calls_in(&fs::read_to_string(&log).expect("strace writes its log"));
    fs::remove_file(log).expect("the log can be removed");
    calls
}

fn calls_in(log: &str) -> Vec<Call> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut calls = BTreeSet::new();
    for line in log.lines() {
        let Some((thread, event)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = event.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_') {
            continue;
        }
        let nth = counts.entry((thread, name)).and_modify(|count| *count += 1).or_insert(1);
        if !name.starts_with("open") || arguments.contains("O_CREAT") || arguments.contains("O_TMPFILE") {
            calls.insert(Call::new(name, *nth));
        }
    }
    calls.into_iter().collect()
}

/// A small session that a fault disturbs.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub destination: Destination,
    pub keep: bool,
}

impl Scenario {
    /// Two small messages, and between them one that takes several writes.
    pub fn mails() -> Vec<Mail> {
        let big = format!("Subject: big\r\n\r\n{}", "From 0123456789 0123456789 0123456789\r\n".repeat(4000));
        vec![Mail::new("m1", message(1)), Mail::new("big", big), Mail::new("m3", message(3))]
    }

    pub fn server(self) -> Maildrop {
        server(Self::mails()).start()
    }

    pub fn sandbox(self, port: u16) -> Sandbox {
        let sandbox = Sandbox::new();
        let deliver = self.destination.deliver(&sandbox);
        sandbox.config(&Account::on(port).set("keep", self.keep).set("deliver", deliver).to_string());
        sandbox
    }

    /// The calls of a run from an empty home to its end.
    pub fn calls(self) -> Vec<Call> {
        let server = self.server();
        calls_of(&self.sandbox(server.port))
    }

    /// Every message is at home as often as promised, whatever is left on the server was to be left, and nothing of
    /// ours lies around.
    #[track_caller]
    pub fn assert_done(self, sandbox: &Sandbox, server: &Maildrop, when: &str) {
        let delivered = self.destination.messages(sandbox);
        let expected = all_at_home(&Self::mails());
        let left = server.unique_ids(USER).len();
        assert_eq!(left, if self.keep { expected.len() } else { 0 }, "{self:?}, {when}: left on the server");
        if self.destination == Destination::Mda {
            let distinct: BTreeSet<_> = delivered.iter().collect();
            assert!(distinct.into_iter().eq(&expected), "{self:?}, {when}: each message at least once, whole");
        } else {
            assert_eq!(delivered.len(), expected.len(), "{self:?}, {when}: each message once");
            assert!(delivered == expected, "{self:?}, {when}: octets differ");
        }
        self.assert_no_litter(sandbox, when);
    }

    #[track_caller]
    pub fn assert_no_litter(self, sandbox: &Sandbox, when: &str) {
        let mut home = vec![".config", ".local"];
        home.extend(match self.destination {
            Destination::Maildir => vec!["Mail"],
            Destination::Mbox => vec!["mbox"],
            Destination::Mda => vec!["mda", "mda.sh"],
        });
        assert_eq!(names(&sandbox.path("")), home, "{self:?}, {when}: litter at home");
        assert_eq!(sandbox.maildir().litter(), [""; 0], "{self:?}, {when}: litter in tmp");
        let state = names(&sandbox.state());
        assert_eq!(state.len(), 2, "{self:?}, {when}: litter in the state: {state:?}");
    }

    /// Nothing is lost: each message is on the server or whole at home.
    #[track_caller]
    pub fn assert_nothing_lost(self, sandbox: &Sandbox, server: &Maildrop, when: &str) {
        let listed = server.unique_ids(USER);
        let home = match self.destination {
            // Its end may be cut off just now.
            Destination::Mbox => vec![fs::read(sandbox.path("mbox")).unwrap_or_default()],
            _ => self.destination.messages(sandbox),
        };
        for mail in Self::mails().iter().filter(|mail| !listed.contains(&mail.unique_id)) {
            let subject: Vec<u8> = mail.octets.split(|octet| *octet == b'\r').nth(1).unwrap_or_default().to_vec();
            let is_there = home.iter().any(|octets| octets.windows(subject.len()).any(|window| window == subject));
            assert!(is_there, "{self:?}, {when}: `{}` is neither on the server nor at home", mail.unique_id);
        }
    }
}

#[test]
fn calls_are_counted_by_thread_and_only_the_creating_opens_matter() {
    let log = "7  openat(AT_FDCWD, \"/lib\", O_RDONLY) = 3\n7  openat(AT_FDCWD, \"x\", O_WRONLY|O_CREAT) = 3\n\
               8  openat(AT_FDCWD, \"y\", O_WRONLY|O_CREAT <unfinished ...>\n7  fsync(3) = 0\n\
               8  <... openat resumed>) = 4\n8  fsync(4) = 0\n7  +++ exited with 0 +++\n";
    assert_eq!(calls_in(log), [Call::new("fsync", 1), Call::new("openat", 1), Call::new("openat", 2)]);
}
