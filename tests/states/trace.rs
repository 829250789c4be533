//! A run of the real binary as strace(1) saw it: every call that changes the disk, makes a change durable or sends
//! something to the server, each with the moments at which it began and ended.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, str};

use crate::faults::Call as Fault;
use crate::sandbox::Sandbox;

/// `?` is for calls that not every machine has.
const CALLS: &str = "?open,openat,?creat,write,pwrite64,writev,?pwritev,?rename,?renameat,renameat2,?link,linkat,\
                     ?unlink,unlinkat,?rmdir,?mkdir,mkdirat,?symlink,symlinkat,?truncate,ftruncate,fallocate,fsync,\
                     fdatasync,syncfs,?sync,copy_file_range,sendfile,?splice,sendto";

/// One call that succeeded. Moments are lines of the log, which strace writes in the order of the events.
#[derive(Debug)]
pub struct Call {
    pub begin: usize,
    pub end: usize,
    pub thread: u32,
    pub name: String,
    arguments: Vec<String>,
    result: String,
}

impl Call {
    fn argument(&self, position: usize) -> &str {
        self.arguments.get(position).map_or("", String::as_str)
    }

    pub fn number(&self, position: usize) -> u64 {
        self.argument(position).parse().unwrap_or_else(|_| panic!("no number at {position} of {self:?}"))
    }

    /// What the call returned, as a number.
    pub fn returned(&self) -> u64 {
        self.result.split(['<', ' ']).next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    pub fn has_flag(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument.split('|').any(|one| one == flag))
    }

    /// The path behind a descriptor that is an argument.
    pub fn descriptor(&self, position: usize) -> PathBuf {
        path_of(self.argument(position))
    }

    /// The path behind the descriptor that the call returned.
    pub fn opened(&self) -> PathBuf {
        path_of(&self.result)
    }

    /// A path that is an argument; `at` is the position of the folder that it is relative to.
    pub fn path(&self, at: Option<usize>, position: usize) -> PathBuf {
        let path = PathBuf::from(text(unescaped(self.argument(position).trim_matches('"'))));
        at.map_or(path.clone(), |at| self.descriptor(at).join(path))
    }

    /// The octets of a write, as many as were written.
    pub fn octets(&self) -> Vec<u8> {
        let mut octets: Vec<u8> = self.argument(1).split('"').skip(1).step_by(2).flat_map(unescaped).collect();
        assert!(octets.len() as u64 >= self.returned(), "strace left out octets of {self:?}");
        octets.truncate(self.returned() as usize);
        octets
    }
}

/// `3</a/path>`, with every octet of the path as `\x2f`; a file that has no name any more has `(deleted)` behind it.
fn path_of(descriptor: &str) -> PathBuf {
    let path = descriptor.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path);
    PathBuf::from(text(unescaped(path)))
}

fn text(octets: Vec<u8>) -> String {
    String::from_utf8(octets).expect("paths of the tests are UTF-8")
}

fn unescaped(escaped: &str) -> Vec<u8> {
    let octet = |hex: &str| u8::from_str_radix(hex.get(..2)?, 16).ok();
    escaped.split("\\x").skip(1).map(|hex| octet(hex).unwrap_or_else(|| panic!("{hex:?} is no octet"))).collect()
}

/// Runs popfetch to its end, or kills it before a call, and tells what it did.
pub fn record(sandbox: &Sandbox, words: &[&str], killed_before: Option<&Fault>) -> Vec<Call> {
    let log = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let mut command = std::process::Command::new("strace");
    sandbox.adopt(&mut command);
    command.args(["-f", "-qq", "-y", "-xx", "-s", "1000000", "-e", &format!("trace={CALLS}"), "-o"]).arg(log.path());
    if let Some(Fault { name, nth }) = killed_before {
        command.args(["-e", &format!("inject={name}:signal=KILL:when={nth}")]);
    }
    let run = sandbox.run({
        command.args([env!("CARGO_BIN_EXE_popfetch"), "-q"]).args(words);
        command
    });
    // What is told of damage that is left behind gives 65.
    let is_well = run.code() == 0 || (run.code() == 65 && !words.is_empty());
    assert!(is_well || (killed_before.is_some() && run.code() == 137), "{run:#?}");
    calls(&fs::read_to_string(log.path()).expect("strace writes its log"))
}

fn calls(log: &str) -> Vec<Call> {
    let mut unfinished: HashMap<u32, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (moment, line) in log.lines().enumerate() {
        let Some((thread, event)) = line.split_once(' ') else { continue };
        let thread = thread.parse().expect("a line begins with the thread's number");
        let event = event.trim_start();
        if let Some(beginning) = event.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (moment, beginning.to_owned()));
            continue;
        }
        let (begin, whole) = match event.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, rest)) => {
                let (begin, beginning) = unfinished.remove(&thread).expect("what is resumed was begun");
                (begin, beginning + rest)
            }
            None => (moment, event.to_owned()),
        };
        calls.extend(call(begin, moment, thread, &whole));
    }
    calls
}

/// One whole line; `None` for a call that failed, was not ended, or is none (a signal, the end of a thread).
fn call(begin: usize, end: usize, thread: u32, whole: &str) -> Option<Call> {
    let (name, rest) = whole.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    if !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_') || result.starts_with(['-', '?']) {
        return None;
    }
    let arguments = arguments.trim_end().strip_suffix(')')?;
    let arguments = arguments.split(", ").collect::<Vec<_>>();
    Some(Call { begin, end, thread, name: name.into(), arguments: joined(&arguments), result: result.into() })
}

/// A list of buffers is one argument.
fn joined(parts: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    let mut depth = 0;
    for part in parts {
        match arguments.last_mut().filter(|_| depth > 0) {
            Some(last) => *last += &format!(", {part}"),
            None => arguments.push((*part).to_owned()),
        }
        depth += part.matches(['[', '{']).count();
        depth -= part.matches([']', '}']).count();
    }
    arguments
}

/// The part of a path below a folder.
pub fn below(folder: &Path, path: &Path) -> Option<PathBuf> {
    path.strip_prefix(folder).ok().map(Path::to_owned)
}

#[test]
fn a_log_becomes_calls_with_their_octets_and_moments() {
    let log = "7  openat(AT_FDCWD<\\x2f\\x61>, \"\\x62\", O_WRONLY|O_CREAT, 0600) = 3<\\x2f\\x61\\x2f\\x62>\n\
               7  writev(3<\\x2f\\x61\\x2f\\x62>, [{iov_base=\"\\x78\", iov_len=1}, {iov_base=\"\\x79\\x7a\", iov_len=2}], 2 <unfinished ...>\n\
               8  fsync(4<\\x2f\\x61>) = -1 EIO (Input/output error)\n\
               7  <... writev resumed>) = 2\n\
               7  +++ exited with 0 +++\n";
    let calls = calls(log);
    let [open, write] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((open.path(Some(0), 1), open.opened()), ("/a/b".into(), "/a/b".into()));
    assert!(open.has_flag("O_CREAT") && !open.has_flag("O_TRUNC"));
    assert_eq!((write.begin, write.end, write.octets()), (1, 3, b"xy".to_vec()));
}
