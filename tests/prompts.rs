//! Questions on the terminal: one at a time, about one account, and nothing drawn over them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::sandbox::{Account, CANARY, Sandbox, USER, all_at_home, left_out, mails, server, wait_until};
use crate::server::{Fault, Misdeed, Moment};

/// Nothing takes longer to come on the screen.
const LIMIT: Duration = Duration::from_secs(30);

/// A run on a terminal of its own, its screen and its keyboard.
pub struct OnTerminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// Ends with the last process on the terminal, when all of it has been read.
    reader: Option<JoinHandle<()>>,
}

impl OnTerminal {
    /// `None`, and said so, where no program can give a run a terminal.
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Option<Self> {
        OnTerminal::of_width(100, sandbox, arguments)
    }

    /// The same on a terminal of so many columns.
    pub fn of_width(columns: u16, sandbox: &Sandbox, arguments: &[&str]) -> Option<Self> {
        OnTerminal::within(columns, &[], sandbox, arguments)
    }

    /// The same with variables of the environment.
    pub fn within(columns: u16, variables: &[(&str, String)], sandbox: &Sandbox, arguments: &[&str]) -> Option<Self> {
        if !Command::new("setsid").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
        {
            left_out("questions on the terminal", "there is no setsid(1)");
            return None;
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&master, vec![]).unwrap();
        let slave =
            rustix::fs::openat(CWD, name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut command = Command::new("setsid");
        sandbox.adopt(&mut command);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.env("TERM", "xterm").args(["--ctty", "env", "--default-signal=INT", env!("CARGO_BIN_EXE_popfetch")]);
        let stdio = |slave: &OwnedFd| Stdio::from(slave.try_clone().unwrap());
        let child =
            command.args(arguments).stdin(stdio(&slave)).stdout(stdio(&slave)).stderr(stdio(&slave)).spawn().unwrap();
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(vec![]));
        let (mut shown, seen) = (keyboard.try_clone().unwrap(), screen.clone());
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            // The end of the last process on a terminal is an error.
            while let Ok(count @ 1..) = shown.read(&mut chunk) {
                seen.lock().unwrap().extend(&chunk[..count]);
            }
        });
        Some(OnTerminal { child, keyboard, screen, reader: Some(reader) })
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    #[track_caller]
    pub fn wait_for(&self, what: impl Fn(&str) -> bool) {
        let began = Instant::now();
        while !what(&self.shown()) {
            assert!(began.elapsed() < LIMIT, "it never came on the screen: {:?}", self.shown());
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn type_in(&mut self, line: &str) {
        self.keyboard.write_all(line.as_bytes()).unwrap();
    }

    /// Waits for the end.
    #[track_caller]
    pub fn exits(mut self, code: i32) -> String {
        let child = Mutex::new(&mut self.child);
        wait_until(|| child.lock().unwrap().try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        self.reader.take().expect("a run ends once").join().unwrap();
        let shown = self.shown();
        assert_eq!(status.code().or(status.signal().map(|signal| 128 + signal)), Some(code), "{shown:?}");
        assert!(!shown.contains(CANARY), "the password is on the screen");
        shown
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How often the account is asked about.
fn questions(shown: &str, account: &str) -> usize {
    shown.matches(&format!("popfetch: {account}: password of `{USER}` at `127.0.0.1`: ")).count()
}

#[test]
fn questions_come_one_by_one_and_no_bar_is_drawn_over_them() {
    let servers: Vec<_> = (0..3).map(|_| server(mails(2)).start()).collect();
    let sandbox = Sandbox::new();
    let account = |name: &str, nth: usize| {
        let deliver = format!("\"maildir:~/{name}\"");
        Account::on(servers[nth].port).named(name).set("deliver", deliver)
    };
    let asked = |name, nth| account(name, nth).without("password").to_string();
    sandbox.config(&format!("{}{}{}", account("known", 0), asked("one", 1), asked("two", 2)));
    let Some(mut terminal) = OnTerminal::start(&sandbox, &["--progress", "always"]) else { return };
    // One account comes home while another is asked for; its line stands above the question, which is repeated.
    terminal.wait_for(|shown| shown.contains("known: 2 messages") && shown.ends_with("`127.0.0.1`: "));
    let shown = terminal.shown();
    let (one, two) = (questions(&shown, "one"), questions(&shown, "two"));
    assert!((one, two) == (2, 0) || (one, two) == (0, 2) || one + two == 1, "{shown:?}");
    let since = &shown[shown.find("popfetch: ").unwrap()..];
    assert!(!since.contains("\x1b[") && !since.contains("known  "), "a bar was drawn: {shown:?}");
    let (first, second) = if one > 0 { ("one", "two") } else { ("two", "one") };
    terminal.type_in(&format!("{CANARY}\n"));
    terminal.wait_for(|shown| questions(shown, second) > 0 && shown.contains(&format!("{first}: 2 messages")));
    terminal.type_in(&format!("{CANARY}\n"));
    let shown = terminal.exits(0);
    assert!(shown.contains(&format!("{second}: 2 messages")), "{shown:?}");
    for name in ["known", "one", "two"] {
        let maildir = crate::sandbox::Maildir { path: sandbox.path(name) };
        assert!(maildir.messages() == all_at_home(&mails(2)), "{name}");
    }
}

#[test]
fn bars_come_back_when_a_question_is_answered() {
    let stall = Fault { moment: Moment::BeforeCommand(3), misdeed: Misdeed::Stall };
    let (slow, other) = (server(mails(1)).faults([stall]).start(), server(mails(1)).start());
    let sandbox = Sandbox::new();
    let asked = Account::on(other.port).named("asked").without("password").set("deliver", "\"maildir:~/asked\"");
    sandbox.config(&format!("{}{asked}", Account::on(slow.port).named("slow").set("timeout", 600)));
    let Some(mut terminal) = OnTerminal::start(&sandbox, &["--progress", "always"]) else { return };
    terminal.wait_for(|shown| questions(shown, "asked") > 0);
    wait_until(|| slow.count("AUTH") > 0);
    terminal.type_in(&format!("{CANARY}\n"));
    let answered = |shown: &str| shown.rsplit("`127.0.0.1`: ").next().unwrap().to_owned();
    terminal.wait_for(|shown| answered(shown).contains("asked: 1 message ") && answered(shown).contains("slow   "));
    // A stop ends all of it.
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    terminal.exits(130);
}

#[test]
fn a_check_asks_for_a_password_only_with_login() {
    let server = server(mails(2)).start();
    let sandbox = Sandbox::with(Account::on(server.port).without("password"));
    let Some(run) = OnTerminal::start(&sandbox, &["check"]) else { return };
    let shown = run.exits(0);
    assert!(shown.contains("nobody is asked") && questions(&shown, "work") == 0, "{shown:?}");
    assert_eq!(server.count("AUTH"), 0);
    let Some(mut run) = OnTerminal::start(&sandbox, &["check", "--login"]) else { return };
    run.wait_for(|shown| questions(shown, "work") > 0);
    run.type_in(&format!("{CANARY}\n"));
    let shown = run.exits(0);
    assert!(shown.contains("as `alice`") && shown.contains("a fetch would retrieve 2"), "{shown:?}");
    assert!(!shown.contains(CANARY) && !sandbox.state().exists(), "{shown:?}");
}

#[test]
fn what_counts_as_fetched_is_a_persons_decision() {
    for (typed, code, marked, says) in [
        ("y\n", 0, true, "3 on the server; 3 count as fetched that did not before"),
        ("n\n", 0, false, "nothing was changed"),
        ("\x04", 0, false, "nothing was changed"),
        ("\x03", 130, false, "stopped by signal 2"),
    ] {
        let server = server(mails(3)).start();
        let sandbox = Sandbox::with(Account::on(server.port));
        let Some(mut run) = OnTerminal::start(&sandbox, &["--progress=never", "state", "known"]) else { return };
        run.wait_for(|shown| shown.contains("go on? [y/N] "));
        run.type_in(typed);
        run.wait_for(|shown| shown.contains(says));
        let shown = run.exits(code);
        assert!(!shown.contains("no new mail"), "{typed:?}: {shown:?}");
        sandbox.popfetch(["-q"]).exits(0).silently();
        assert_eq!(server.count("RETR"), if marked { 0 } else { 3 }, "{typed:?}");
    }
}

#[test]
fn a_person_hears_how_long_a_large_first_run_takes() {
    // Its messages come no faster than one in a millisecond, so that it lasts longer than it takes to know.
    let server = server(mails(5001)).pace(Duration::from_millis(1)).start();
    let sandbox = Sandbox::in_memory();
    sandbox.config(&Account::on(server.port).set("deliver", "\"mbox:~/mbox\"").to_string());
    let Some(terminal) = OnTerminal::start(&sandbox, &[]) else { return };
    let shown = terminal.exits(0);
    let said = "work: this first run brings 5001 messages (";
    assert_eq!(shown.matches(said).count(), 1, "{shown:?}");
    assert!(shown.contains("at its pace so far takes"), "{shown:?}");
}
