//! The program that prints a password or a token.
//!
//! It keeps the terminal, for it may ask for a passphrase; only its standard output is ours. It ends with a stop, and
//! with its time-out, where it has one.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::{Error, LIMIT};
use crate::os::child;
use crate::stop::{Stop, Woken};

/// How often an open output is looked over for a program that has ended: one that leaves an agent behind does not
/// close it.
const LOOK: Duration = Duration::from_millis(100);

/// How soon after its output the program itself should end.
const END: Duration = Duration::from_millis(5);

/// Runs the command and gives what it printed; fails when it fails.
pub(super) fn run(
    words: &[String],
    kind: &'static str,
    limit: Option<Duration>,
    stop: &Stop,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |ending: String| Error::Failed { kind, program: words[0].clone(), ending };
    let mut running = Running::start(words, kind, limit)?;
    let output = running.output(stop)?.ok_or_else(|| failed("printed more than 64 KiB".to_owned()))?;
    let status = running.wait(stop)?;
    if status.success() {
        return Ok(output);
    }
    // The terminal's signal has reached the command as well.
    stop.check().map_err(Error::Stopped)?;
    Err(failed(ending(status)))
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

/// A program that is killed when nobody waits for it any more.
struct Running<'w> {
    child: Child,
    stdout: ChildStdout,
    program: &'w str,
    kind: &'static str,
    began: Instant,
    limit: Option<Duration>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        child::kill(&mut self.child);
    }
}

impl<'w> Running<'w> {
    fn start(words: &'w [String], kind: &'static str, limit: Option<Duration>) -> Result<Self, Error> {
        let (program, arguments) = words.split_first().expect("the configuration has no empty command");
        let spawned = child::spawn(Command::new(program).args(arguments).stdout(Stdio::piped()));
        let mut child = spawned.map_err(|source| Error::Start { kind, program: program.clone(), source })?;
        let stdout = child.stdout.take().expect("standard output is a pipe");
        Ok(Running { child, stdout, program, kind, began: Instant::now(), limit })
    }

    /// What it prints until it closes its output or ends; `None` when that is beyond the limit.
    fn output(&mut self, stop: &Stop) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let mut output = Zeroizing::new(Vec::with_capacity(LIMIT as usize));
        while output.len() as u64 <= LIMIT {
            let pause = self.left()?.map_or(LOOK, |left| left.min(LOOK));
            match self.told(stop.readable(&self.stdout, Some(pause)))? {
                Woken::Stopped(stopped) => return Err(Error::Stopped(stopped)),
                Woken::Readable => match self.read()? {
                    chunk if chunk.is_empty() => return Ok(Some(output)),
                    chunk => output.extend_from_slice(&chunk),
                },
                Woken::Late if self.has_ended()? => return Ok(Some(output)),
                Woken::Late => {}
            }
        }
        Ok(None)
    }

    /// How much longer it may take; `None` without a limit.
    fn left(&self) -> Result<Option<Duration>, Error> {
        let Some(limit) = self.limit else { return Ok(None) };
        match limit.checked_sub(self.began.elapsed()) {
            Some(left) => Ok(Some(left)),
            None => Err(Error::TimedOut { kind: self.kind, program: self.program.to_owned(), limit }),
        }
    }

    fn read(&mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut chunk = Zeroizing::new(vec![0; 4096]);
        let read = self.stdout.read(&mut chunk);
        chunk.truncate(self.told(read)?);
        Ok(chunk)
    }

    fn has_ended(&mut self) -> Result<bool, Error> {
        let status = self.child.try_wait();
        Ok(self.told(status)?.is_some())
    }

    fn wait(&mut self, stop: &Stop) -> Result<ExitStatus, Error> {
        loop {
            let status = self.child.try_wait();
            if let Some(status) = self.told(status)? {
                return Ok(status);
            }
            self.left()?;
            if let Woken::Stopped(stopped) = self.told(stop.pause(END))? {
                return Err(Error::Stopped(stopped));
            }
        }
    }

    fn told<T>(&self, result: std::io::Result<T>) -> Result<T, Error> {
        result.map_err(|source| Error::Start { kind: self.kind, program: self.program.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::failure::{Failure as _, Kind};

    fn sh(script: &str, stop: &Stop) -> Result<String, String> {
        sh_within(None, script, stop)
    }

    fn sh_within(limit: Option<Duration>, script: &str, stop: &Stop) -> Result<String, String> {
        let words = ["sh", "-c", script].map(String::from);
        match run(&words, "password", limit, stop) {
            Ok(output) => Ok(String::from_utf8(output.to_vec()).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn never() -> Stop {
        Stop::new().unwrap()
    }

    #[test]
    fn everything_that_is_printed_is_read() {
        assert_eq!(sh("echo secret; echo notes", &never()), Ok("secret\nnotes\n".to_owned()));
        assert_eq!(sh("printf a; sleep 0.05; printf b", &never()), Ok("ab".to_owned()));
    }

    #[test]
    fn a_failure_is_told_without_the_output() {
        assert_eq!(sh("echo x; exit 3", &never()), Err("the password command `sh` ended with exit status 3".into()));
        assert_eq!(sh("kill -9 $$", &never()), Err("the password command `sh` was killed by signal 9".into()));
        let endless = sh("while :; do echo 0123456789012345678901234567890123456789; done", &never());
        assert_eq!(endless, Err("the password command `sh` printed more than 64 KiB".into()));
    }

    #[test]
    fn a_program_that_is_not_there_is_the_configurations_fault() {
        let error = run(&["/no such program".to_owned()], "password", None, &never()).unwrap_err();
        let expected = "cannot run the password command `/no such program`: no such file or directory";
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.kind(), Kind::Configuration);
    }

    #[test]
    fn an_agent_that_is_left_behind_does_not_keep_us() {
        let before = Instant::now();
        assert_eq!(sh("sleep 5 & echo secret", &never()), Ok("secret\n".to_owned()));
        assert!(before.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn a_time_out_ends_the_wait() {
        for script in ["exec sleep 60", "exec sleep 60 >&-", "while :; do echo; sleep 0.01; done"] {
            let outcome = sh_within(Some(Duration::from_millis(200)), script, &never());
            assert_eq!(outcome, Err("the password command `sh` did not end within 0.2 s".into()), "{script}");
        }
        assert_eq!(sh_within(Some(Duration::from_secs(60)), "echo secret", &never()), Ok("secret\n".to_owned()));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        for script in ["exec sleep 30", "exec sleep 30 >&-"] {
            let stop = never();
            let before = Instant::now();
            let outcome = thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(50));
                    stop.request(15);
                });
                sh(script, &stop)
            });
            assert_eq!(outcome, Err("stopped by signal 15".into()), "{script}");
            assert!(before.elapsed() < Duration::from_secs(5), "{script}");
        }
    }
}
