//! A question on the terminal whose answer is not shown.
//!
//! Not left to a crate: a stop must end the question, and leave a terminal behind that shows what is typed.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{Error, LIMIT};
use crate::stop::{Stop, Stopped, Woken};

/// Accounts run side by side, but one question is asked at a time.
static ASKING: Mutex<()> = Mutex::new(());

/// The terminal, when somebody is there to see a question: messages of a run with a log file go elsewhere.
pub(super) fn terminal() -> Option<File> {
    if !io::stderr().is_terminal() {
        return None;
    }
    File::options().read(true).write(true).open("/dev/tty").ok()
}

/// Keeps everything else off the terminal while it calls the second, which asks the first, a question.
pub type Aside<'a> = &'a dyn Fn(&str, &mut dyn FnMut());

/// The line that is typed.
pub(super) fn ask(terminal: &File, question: &str, stop: &Stop, aside: Aside<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let _turn = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    // Whoever waited for a turn is not asked after a stop.
    stop.check().map_err(Error::Stopped)?;
    let mut answer = None;
    aside(question, &mut || answer = Some(ask_on(terminal, question, stop)));
    let answer = answer.expect("the question was asked");
    answer.map_err(Error::Terminal)?.map_err(Error::Stopped)
}

fn ask_on(mut terminal: &File, question: &str, stop: &Stop) -> io::Result<Result<Zeroizing<Vec<u8>>, Stopped>> {
    let silence = Silence::begin(terminal)?;
    terminal.write_all(question.as_bytes())?;
    let answer = read_line(terminal, stop);
    drop(silence);
    // The line feed that was typed has not been shown.
    terminal.write_all(b"\n")?;
    answer
}

fn read_line(mut terminal: &File, stop: &Stop) -> io::Result<Result<Zeroizing<Vec<u8>>, Stopped>> {
    let mut line = Zeroizing::new(Vec::with_capacity(4096));
    let mut chunk = Zeroizing::new([0; 4096]);
    while !line.contains(&b'\n') && (line.len() as u64) < LIMIT {
        match stop.readable(terminal, None)? {
            Woken::Stopped(stopped) => return Ok(Err(stopped)),
            Woken::Late => continue,
            Woken::Readable => {}
        }
        match terminal.read(&mut chunk[..])? {
            0 => break,
            count => line.extend(&chunk[..count]),
        }
    }
    Ok(Ok(line))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Silence<'t> {
    fn begin(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Silence { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::thread;
    use std::time::Duration;

    use rustix::fs::{self, Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// A terminal, and the keyboard and screen that it is seen by.
    fn pseudo_terminal() -> (File, File) {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let terminal = fs::open(OsStr::from_bytes(name.as_bytes()), flags, Mode::empty()).unwrap();
        (File::from(screen), File::from(terminal))
    }

    fn shows_what_is_typed(terminal: &File) -> bool {
        tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    fn screen_until(mut screen: &File, end: &str) -> String {
        let mut shown = String::new();
        let mut chunk = [0; 100];
        while !shown.ends_with(end) {
            let count = screen.read(&mut chunk).unwrap();
            shown.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
        }
        shown
    }

    #[test]
    fn what_is_typed_is_the_answer_and_is_not_shown() {
        let (mut screen, terminal) = pseudo_terminal();
        let stop = Stop::new().unwrap();
        let asked = terminal.try_clone().unwrap();
        thread::scope(|scope| {
            let answer = scope.spawn(|| ask(&asked, "password: ", &stop, &|_, ask| ask()));
            let question = screen_until(&screen, ": ");
            screen.write_all(b"canary\n").unwrap();
            assert_eq!(*answer.join().unwrap().unwrap(), b"canary\n".to_vec());
            assert_eq!(question + &screen_until(&screen, "\n"), "password: \r\n");
        });
        assert!(shows_what_is_typed(&terminal));
    }

    #[test]
    fn a_stop_ends_the_question_and_the_terminal_shows_again() {
        let (screen, terminal) = pseudo_terminal();
        let stop = Stop::new().unwrap();
        let asked = terminal.try_clone().unwrap();
        thread::scope(|scope| {
            let answer = scope.spawn(|| ask(&asked, "password: ", &stop, &|_, ask| ask()));
            screen_until(&screen, ": ");
            assert!(!shows_what_is_typed(&terminal));
            thread::sleep(Duration::from_millis(20));
            stop.request(2);
            assert!(matches!(answer.join().unwrap(), Err(Error::Stopped(Stopped { signal: 2 }))));
        });
        assert!(shows_what_is_typed(&terminal));
    }
}
