//! The command that decides about messages for which the user has no rule.
//!
//! It gets the header section, and says one word. Whatever else it does decides nothing: no crash, no silence and no slip
//! of a script is taken for an answer.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

use super::Context;
use super::mda::{
    Complaints, Ended, Reason, Refusal, SAID_OCTETS, become_user, give_to, kill, reason, sender_of, wait,
};
use crate::os::child;
use crate::text;

/// What the filter wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The message is fetched.
    Fetch,
    /// It stays on the server, and is not asked for again.
    Skip,
    /// It is deleted unread.
    Delete,
}

/// The words for these.
const WORDS: [(&[u8], Answer); 3] = [(b"fetch", Answer::Fetch), (b"skip", Answer::Skip), (b"delete", Answer::Delete)];

/// Asks the filter about a message.
///
/// # Errors
/// Why there is no answer, with the program's own words, in a form that may be shown.
pub fn ask_filter(words: &[String], head: &[u8], unique_id: &[u8], context: &Context) -> Result<Answer, String> {
    let program = text::printable(words[0].as_bytes());
    let asked = ask(words, head, unique_id, context);
    let (ended, said, complaints) =
        asked.map_err(|source| format!("the filter `{program}` cannot be run: {}", text::reason(&source)))?;
    let why = match ended {
        // The rest was not read, and may say something else.
        Ended::Alone(status) if status.success() && said.len() >= SAID_OCTETS => {
            return Err(format!("the filter `{program}` has said too much; expected `fetch`, `skip` or `delete`"));
        }
        Ended::Alone(status) if status.success() => {
            let said = said.trim_ascii();
            let answer = WORDS.iter().find(|(word, _)| *word == said).map(|(_, answer)| *answer);
            return answer.ok_or_else(|| match said {
                [] => format!("the filter `{program}` has said nothing; expected `fetch`, `skip` or `delete`"),
                said => format!(
                    "the filter `{program}` has said `{}`; expected `fetch`, `skip` or `delete`",
                    text::printable_within(said, 60)
                ),
            });
        }
        Ended::Alone(status) => reason(status, &context.stop),
        Ended::Killed(reason) | Ended::Left(reason) => reason,
    };
    let refusal = Refusal::new(why, &complaints).to_string();
    Err(refusal.replacen("the MDA", &format!("the filter `{program}`"), 1))
}

/// How it ended, what it said, and what it complained of.
fn ask(words: &[String], head: &[u8], unique_id: &[u8], context: &Context) -> io::Result<(Ended, Vec<u8>, Vec<u8>)> {
    if let Some(stopped) = context.stop.requested() {
        return Ok((Ended::Killed(Reason::Stopped(stopped)), vec![], vec![]));
    }
    let mut outputs = [Complaints::new()?, Complaints::new()?];
    let (input, mut feed) = io::pipe()?;
    let mut command = Command::new(&words[0]);
    if let Some(owner) = &context.owner {
        become_user(&mut command, owner);
        give_to(&input, owner)?;
        outputs.iter().try_for_each(|output| give_to(&output.writer, owner))?;
    }
    // A variable cannot hold a NUL, and a unique-id may hold any octet.
    let unique_id = unique_id.iter().copied().filter(|octet| *octet != 0).collect();
    command
        .args(&words[1..])
        .env("SENDER", sender_of(head, context.envelope_sender))
        .env("RECIPIENT", &context.recipient)
        .env("POPFETCH_ACCOUNT", &context.account)
        .env("POPFETCH_UIDL", OsString::from_vec(unique_id))
        .stdin(Stdio::from(input))
        .stdout(outputs[0].writer.try_clone()?)
        .stderr(outputs[1].writer.try_clone()?)
        .process_group(0);
    let mut child = child::spawn(&mut command)?;
    // It holds its end of the pipe, too.
    drop(command);
    // A program that reads nothing, or leaves a child behind that does not, keeps nobody waiting but this thread.
    let head = head.to_vec();
    let fed = thread::Builder::new().spawn(move || drop(feed.write_all(&head)));
    let ended = fed.and_then(|_| wait(&mut child, &mut outputs, context.mda_timeout, &context.stop));
    let ended = ended.inspect_err(|_| {
        kill(&mut child);
    })?;
    let [mut said, mut complaints] = outputs;
    Ok((ended, said.take(), complaints.take()))
}
