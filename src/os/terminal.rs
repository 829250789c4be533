//! The terminal that results are shown on.

use std::io::{self, IsTerminal as _};

/// How wide a terminal is that does not tell.
const COLUMNS: usize = 80;

/// The width of standard output, if it is a terminal.
pub fn columns() -> Option<usize> {
    let stdout = io::stdout();
    let told = rustix::termios::tcgetwinsize(&stdout).map(|size| usize::from(size.ws_col));
    stdout.is_terminal().then(|| told.ok().filter(|columns| *columns > 0).unwrap_or(COLUMNS))
}
