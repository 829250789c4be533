//! The part of a line that a mistake is in, with carets below it.
//!
//! Nothing of the text is shown that could be a secret: a key, and its value if the key's declaration allows it. What
//! stands elsewhere on the line, such as other keys or a comment, is left out.

use std::fmt;
use std::ops::Range;

use super::error::{Fault, Piece, Showing};
use super::value::line_start;
use crate::text;

/// The most characters that are shown of a line.
const LONGEST: usize = 100;

/// What is shown in place of a secret.
const ASTERISKS: &str = "****";

/// What is shown in place of what is only long.
const OUTLINE: &str = "…";

/// The headers of tables that are shown although they cannot be read.
const HEADERS: [&str; 3] = ["[accounts", "[defaults", "[[accounts"];

/// A part of a line, safe for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is shown of it.
    pub text: String,
    /// The first character that carets point at, from 0, and how many there are.
    pub carets: (usize, usize),
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Excerpt { line, text, carets: (blanks, carets) } = self;
        writeln!(f, "{line:>5} | {text}")?;
        write!(f, "{:>5} | {:blanks$}{:^<carets$}", "", "", "")
    }
}

/// What can be shown of a mistake.
pub(super) fn of(text: &str, line: usize, fault: &Fault) -> Option<Excerpt> {
    let mut shown = Shown { text, at: &fault.at, line: String::new(), carets: None };
    match &fault.piece {
        _ if is_header(text, &fault.at) => {
            let header = header(text, fault);
            let end = header.end;
            shown.push(header);
            // A header that does not end is pointed at where its end is missing.
            shown.carets = shown.carets.or((fault.at.start == end).then(|| (shown.width(), shown.width())));
        }
        None => return None,
        Some(Piece { key_at, value_at, value }) => {
            let is_on_line = value_at.start >= key_at.end && !text.get(key_at.end..value_at.start)?.contains('\n');
            shown.push(key_at.clone());
            if is_on_line && *value != Showing::Nothing {
                shown.push(key_at.end..value_at.start);
                match value {
                    Showing::Text => shown.push(value_at.start..line_end(text, value_at.start).min(value_at.end)),
                    Showing::Outline => shown.push_instead(value_at.clone(), OUTLINE),
                    Showing::Asterisks | Showing::Nothing => shown.push_instead(value_at.clone(), ASTERISKS),
                }
            }
        }
    }
    let (start, end) = shown.carets?;
    let is_short = shown.line.chars().count() <= LONGEST && !shown.line.is_empty();
    is_short.then(|| Excerpt { line, carets: (start, (end - start).max(1)), text: shown.line })
}

/// A line that grows, and where the carets will be.
struct Shown<'t> {
    text: &'t str,
    at: &'t Range<usize>,
    line: String,
    carets: Option<(usize, usize)>,
}

impl Shown<'_> {
    fn push(&mut self, range: Range<usize>) {
        let written = self.text.get(range.clone()).unwrap_or_default();
        let start = self.width();
        self.line += &safe(written);
        let within =
            |at: usize| start + safe(self.text.get(range.start..at.min(range.end)).unwrap_or_default()).chars().count();
        if range.contains(&self.at.start) || (range.is_empty() && range.start == self.at.start) {
            self.carets = Some((within(self.at.start), within(self.at.end)));
        }
    }

    fn push_instead(&mut self, range: Range<usize>, shown: &str) {
        let start = self.width();
        self.line += shown;
        if range.start <= self.at.start && self.at.start <= range.end {
            self.carets = Some((start, self.width()));
        }
    }

    fn width(&self) -> usize {
        self.line.chars().count()
    }
}

fn safe(text: &str) -> String {
    text::printable_within(text.replace('\t', " ").as_bytes(), usize::MAX)
}

fn line_end(text: &str, at: usize) -> usize {
    text[at..].find(['\n', '\r']).map_or(text.len(), |length| at + length)
}

/// True on a line such as `[accounts.work]`, up to its end.
fn is_header(text: &str, at: &Range<usize>) -> bool {
    let start = line_start(text, at.start);
    let before = text.get(start..at.start).unwrap_or_default();
    let line = text[start..line_end(text, start)].trim_start();
    HEADERS.iter().any(|header| line.starts_with(header)) && !before.contains(['#', '=', '{', '"', '\''])
}

/// The header, up to its end or to what is no name; a key in it is known to be one.
fn header(text: &str, fault: &Fault) -> Range<usize> {
    let line = line_start(text, fault.at.start);
    let end = line_end(text, line);
    let start = end - text[line..end].trim_start().len();
    let is_part = |character: char| character.is_alphanumeric() || "[_-.".contains(character);
    let length = text[start..end].find(|character| !is_part(character)).unwrap_or(end - start);
    let closed = start + length + usize::from(text[start + length..end].starts_with(']'));
    let known = fault.piece.as_ref().map_or(start, |_| fault.at.end.min(end));
    start..closed.max(known)
}
