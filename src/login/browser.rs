//! The browser, opened for a person who presses Enter; never by itself, and never where nobody sits at a terminal.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use crate::os::child;
use crate::stop::{Stop, Woken};

/// Opens an address with the user's browser.
const PROGRAM: &str = if cfg!(target_vendor = "apple") { "open" } else { "xdg-open" };

/// Offers to open the address. Who presses Enter meanwhile is waited for on a thread, which ends with the process.
pub(super) fn offer(address: String, stop: &Stop, say: impl Fn(&str) + Send + 'static) {
    // What the provider sent must be no option and no file.
    let is_of_web = ["https://", "http://"].iter().any(|scheme| address.starts_with(scheme));
    if !is_of_web || !is_watched() || !has_display() {
        return;
    }
    say("press Enter to open it in a browser");
    let stop = stop.clone();
    thread::spawn(move || {
        if is_entered(&stop).unwrap_or(false) {
            open(&address).unwrap_or_else(|why| say(&format!("cannot open a browser: `{PROGRAM}` {why}")));
        }
    });
}

fn is_watched() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Without a display there may be a browser for terminals, which would take this one.
fn has_display() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(target_vendor = "apple") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

fn is_entered(stop: &Stop) -> io::Result<bool> {
    let mut terminal = File::open("/dev/tty")?;
    let mut typed = [0; 256];
    loop {
        if !matches!(stop.readable(&terminal, None)?, Woken::Readable) || tcgetpgrp(&terminal)? != getpgrp() {
            // A process in the background that reads is stopped as a whole.
            return Ok(false);
        }
        match terminal.read(&mut typed)? {
            0 => return Ok(false),
            count if typed[..count].contains(&b'\n') => return Ok(true),
            _ => {}
        }
    }
}

fn open(address: &str) -> Result<(), String> {
    let mut command = Command::new(PROGRAM);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let status = child::spawn(&mut command).and_then(|mut child| child.wait());
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ended with {status}")),
        Err(error) => Err(format!("cannot be started: {}", crate::text::reason(&error))),
    }
}
