//! A POP3 conversation written down word by word, and a [`Dialogue`] that plays the server's part in memory.
//!
//! ```text
//! S: +OK ready            the server sends this line and CRLF
//! C: STLS                 the client must send exactly this line and CRLF (`C: *`: any one line)
//! !raw "+OK\x00\r\n"      these octets, nothing added
//! !drip 5                 from here on, one octet at a time, 5 ms apart
//! !tls                    the TLS handshake happens here
//! !stall                  silence, with the connection open      !close    end of file
//! ```
//! Blank lines and indentation mean nothing. What a script does not say must not happen: a test fails with the
//! whole conversation up to the surprise.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::time::Duration;

/// A conversation as the test wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    pub steps: Vec<Step>,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Send(Vec<u8>),
    /// The client's line with its CRLF; `None` accepts any line.
    Expect(Option<Vec<u8>>),
    Drip(Duration),
    Tls,
    Stall,
    Close,
}

impl Script {
    /// Reads the notation of the module's documentation.
    pub fn parse(text: &str) -> Script {
        let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty());
        Script { steps: lines.map(step).collect() }
    }
}

fn step(line: &str) -> Step {
    if let Some(words) = line.strip_prefix("S:") {
        return Step::Send(with_crlf(words));
    }
    if let Some(words) = line.strip_prefix("C:") {
        return Step::Expect((words != " *").then(|| with_crlf(words)));
    }
    let (directive, argument) = line.split_once(' ').unwrap_or((line, ""));
    match directive {
        "!raw" => Step::Send(unescaped(argument)),
        "!drip" => Step::Drip(Duration::from_millis(argument.parse().unwrap_or(1))),
        "!tls" => Step::Tls,
        "!stall" => Step::Stall,
        "!close" => Step::Close,
        _ => panic!("a script has no line like {line:?}"),
    }
}

fn with_crlf(words: &str) -> Vec<u8> {
    [words.strip_prefix(' ').unwrap_or(words).as_bytes(), b"\r\n"].concat()
}

/// The octets of `"…"` with `\r \n \0 \\ \" \xHH`.
fn unescaped(quoted: &str) -> Vec<u8> {
    let inner = quoted.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let mut rest = inner.unwrap_or_else(|| panic!("!raw wants \"…\", not {quoted}")).bytes();
    let mut octets = Vec::new();
    while let Some(octet) = rest.next() {
        octets.push(if octet == b'\\' { escape(&mut rest) } else { octet });
    }
    octets
}

fn escape(rest: &mut impl Iterator<Item = u8>) -> u8 {
    match rest.next() {
        Some(b'r') => b'\r',
        Some(b'n') => b'\n',
        Some(b'0') => 0,
        Some(b'x') => {
            let digits: String = rest.take(2).map(char::from).collect();
            u8::from_str_radix(&digits, 16).expect("\\x wants two hex digits")
        }
        Some(literal @ (b'\\' | b'"')) => literal,
        other => panic!("no escape like \\{:?} in !raw", other.map(char::from)),
    }
}

/// What was said so far, for the message of a failing test.
#[derive(Debug, Default)]
pub struct Transcript(String);

impl Transcript {
    pub fn server(&mut self, octets: &[u8]) {
        self.note("S", octets);
    }

    pub fn client(&mut self, octets: &[u8]) {
        self.note("C", octets);
    }

    fn note(&mut self, who: &str, octets: &[u8]) {
        writeln!(self.0, "    {who}: {}", octets.escape_ascii()).expect("writing to a String cannot fail");
    }

    /// A surprise, shown below what led to it.
    pub fn surprise(&self, expected: &[u8], got: &[u8]) -> String {
        format!(
            "the client left the script:\n{}  - C: {}\n  + C: {}\n",
            self.0,
            expected.escape_ascii(),
            got.escape_ascii()
        )
    }

    /// A conversation that came to a stop.
    pub fn stuck(&self, why: &str) -> String {
        format!("{why}:\n{}", self.0)
    }
}

/// The server's part of a [`Script`], in memory: `Read` is what the server says, `Write` is what it hears.
///
/// Panics with the conversation when the client says something else, or waits for a reply that will never come.
#[derive(Debug)]
pub struct Dialogue {
    steps: VecDeque<Step>,
    heard: Vec<u8>,
    to_say: VecDeque<u8>,
    transcript: Transcript,
    one_octet_per_read: bool,
    lock_step: bool,
}

impl Dialogue {
    /// Plays the script; `!tls` is passed over, since there is no wire to protect.
    pub fn new(script: Script) -> Self {
        Dialogue {
            steps: script.steps.into(),
            heard: Vec::new(),
            to_say: VecDeque::new(),
            transcript: Transcript::default(),
            one_octet_per_read: false,
            lock_step: false,
        }
    }

    /// Every read returns one octet, the worst that a network may do.
    pub fn one_octet_per_read(mut self) -> Self {
        self.one_octet_per_read = true;
        self
    }

    /// A command sent before the reply to the one before is a failure.
    pub fn lock_step(mut self) -> Self {
        self.lock_step = true;
        self
    }

    /// Panics unless the whole script was played and the client read all of it.
    pub fn assert_finished(&self) {
        let left = self.steps.iter().find(|step| !matches!(step, Step::Close | Step::Stall | Step::Drip(_)));
        assert!(left.is_none(), "{}", self.transcript.stuck(&format!("the client stopped before {left:?}")));
        assert!(self.to_say.is_empty(), "{}", self.transcript.stuck("the client did not read all of the replies"));
    }

    /// Plays on until the client has to say or read something.
    fn play(&mut self) {
        while let Some(step) = self.steps.front() {
            match step {
                Step::Send(octets) => {
                    self.transcript.server(octets);
                    self.to_say.extend(octets);
                }
                Step::Expect(expected) => {
                    let expected = expected.clone();
                    let Some(end) = self.heard.windows(2).position(|pair| pair == b"\r\n") else { return };
                    self.hear(expected.as_deref(), end + 2);
                }
                Step::Drip(_) => self.one_octet_per_read = true,
                Step::Tls => {}
                Step::Stall | Step::Close => return,
            }
            self.steps.pop_front();
        }
    }

    fn hear(&mut self, expected: Option<&[u8]>, end: usize) {
        let line: Vec<u8> = self.heard.drain(..end).collect();
        if expected.is_some_and(|expected| expected != line) {
            panic!("{}", self.transcript.surprise(expected.unwrap_or_default(), &line));
        }
        self.transcript.client(&line);
        let early = self.lock_step && !self.heard.is_empty();
        assert!(!early, "{}", self.transcript.stuck("the client did not wait for the reply"));
    }
}

impl Read for Dialogue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.play();
        if !self.to_say.is_empty() {
            let most = if self.one_octet_per_read { buffer.len().min(1) } else { buffer.len() };
            return self.to_say.read(&mut buffer[..most]);
        }
        match self.steps.front() {
            None | Some(Step::Close) => Ok(0),
            Some(Step::Stall) => Err(io::ErrorKind::TimedOut.into()),
            Some(step) => panic!("{}", self.transcript.stuck(&format!("the client waits for a reply before {step:?}"))),
        }
    }
}

impl Write for Dialogue {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.heard.extend_from_slice(octets);
        self.play();
        let deaf = self.steps.is_empty() && !self.heard.is_empty();
        assert!(!deaf, "{}", self.transcript.surprise(b"(nothing more)", &self.heard));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialogue() -> Dialogue {
        Dialogue::new(Script::parse(
            "
            S: +OK ready
            C: STAT
            S: +OK 0 0
            !raw \"\\x00\\\"\\\\\\r\\n\"
            !close
        ",
        ))
    }

    #[test]
    fn a_dialogue_says_its_lines_and_hears_ours() {
        let mut dialogue = dialogue();
        let mut greeting = [0; 11];
        dialogue.read_exact(&mut greeting).unwrap();
        dialogue.write_all(b"STAT\r\n").unwrap();
        let mut rest = Vec::new();
        dialogue.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"+OK 0 0\r\n\0\"\\\r\n");
        dialogue.assert_finished();
    }

    #[test]
    fn a_dialogue_can_answer_one_octet_at_a_time() {
        assert_eq!(dialogue().one_octet_per_read().read(&mut [0; 100]).unwrap(), 1);
    }

    #[test]
    fn a_stall_is_a_time_out() {
        let mut dialogue = Dialogue::new(Script::parse("!stall"));
        assert_eq!(dialogue.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    #[should_panic(expected = "- C: STAT\\r\\n\n  + C: LIST\\r\\n")]
    fn a_line_that_is_not_in_the_script_fails_with_a_diff() {
        dialogue().write_all(b"LIST\r\n").unwrap();
    }

    #[test]
    #[should_panic(expected = "the client waits for a reply")]
    fn waiting_for_a_reply_to_nothing_fails() {
        dialogue().read_to_end(&mut Vec::new()).unwrap();
    }

    #[test]
    #[should_panic(expected = "did not wait for the reply")]
    fn a_second_command_in_lock_step_fails() {
        let script = Script::parse("C: NOOP\nS: +OK\nC: NOOP\nS: +OK");
        Dialogue::new(script).lock_step().write_all(b"NOOP\r\nNOOP\r\n").unwrap();
    }

    #[test]
    #[should_panic(expected = "stopped before")]
    fn a_script_that_was_not_played_to_its_end_fails() {
        dialogue().assert_finished();
    }
}
