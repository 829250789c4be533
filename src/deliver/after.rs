//! The command that a user wants run when mail has come: an index to be brought up to date, a bell to be rung.
//!
//! It runs once, when everything is recorded, with the rights that an MDA would have. Nothing depends on how it ends.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::slice;

use super::Context;
use super::mda::{Complaints, Ended, Refusal, become_user, give_to, kill, reason, wait};
use crate::os::child;
use crate::text;

/// Runs the command; `delivered` is the number of messages that came.
///
/// # Errors
/// How it failed, with its own words, in a form that may be shown.
pub fn run_after(words: &[String], delivered: usize, context: &Context) -> Result<(), String> {
    let program = text::printable(words[0].as_bytes());
    let failed = |source| format!("`{program}` cannot be run: {}", text::reason(&source));
    let mut complaints = Complaints::new().map_err(failed)?;
    let mut command = Command::new(&words[0]);
    if let Some(owner) = &context.owner {
        become_user(&mut command, owner);
        give_to(&complaints.writer, owner).map_err(failed)?;
    }
    command
        .args(&words[1..])
        .env("POPFETCH_ACCOUNT", &context.account)
        .env("POPFETCH_DELIVERED", delivered.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints.writer.try_clone().map_err(failed)?)
        .process_group(0);
    let mut child = child::spawn(&mut command).map_err(failed)?;
    let ended = wait(&mut child, slice::from_mut(&mut complaints), context.mda_timeout, &context.stop);
    let ended = ended.map_err(|error| {
        kill(&mut child);
        failed(error)
    })?;
    let reason = match ended {
        Ended::Alone(status) if status.success() => return Ok(()),
        Ended::Alone(status) => reason(status, &context.stop),
        Ended::Killed(reason) | Ended::Left(reason) => reason,
    };
    let refusal = Refusal::new(reason, &complaints.take());
    Err(refusal.to_string().replacen("the MDA", &format!("`{program}`"), 1))
}
