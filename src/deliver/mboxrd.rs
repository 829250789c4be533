//! The mboxrd format, as a function of octets.
//!
//! A line of any number of `>` and then `From ` gets one more `>`, so that reading can undo it exactly
//! (mbox(5); RFC 4155 appendix A describes the family). Octets come in chunks that may be split anywhere.

use chrono::NaiveDateTime;
use memchr::memmem;

const FROM: &[u8] = b"From ";

/// The sender of messages that name none.
pub(super) const NOBODY: &str = "MAILER-DAEMON";

/// The line that begins a message. Its time is local and in the form of asctime(3), in English.
pub(super) fn from_line(sender: Option<&str>, at: NaiveDateTime) -> String {
    let is_dangerous = |c: char| c.is_control() || c.is_whitespace();
    let sender = sender.filter(|sender| !sender.is_empty() && !sender.contains(is_dangerous)).unwrap_or(NOBODY);
    format!("From {sender} {}\n", at.format("%a %b %e %H:%M:%S %Y"))
}

/// Quotes one message.
#[derive(Debug)]
pub(super) struct Quoter {
    /// At the beginning of a line, perhaps after some `>`: how much of `From ` came so far, which is held back.
    /// `None` further on in a line.
    begun: Option<usize>,
    ends_in_newline: bool,
}

impl Quoter {
    pub(super) fn new() -> Self {
        Quoter { begun: Some(0), ends_in_newline: true }
    }

    /// Appends the next octets of the message, quoted, to `out`.
    pub(super) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(last) = chunk.last() else { return };
        self.ends_in_newline = *last == b'\n';
        let rest = self.resume(chunk, out);
        if rest.is_empty() {
            return;
        }
        let mut copied = 0;
        for hit in memmem::find_iter(rest, FROM) {
            if begins_line(&rest[..hit]) {
                out.extend_from_slice(&rest[copied..hit]);
                out.push(b'>');
                copied = hit;
            }
        }
        self.begun = begun_line(rest);
        out.extend_from_slice(&rest[copied..rest.len() - self.begun.unwrap_or(0)]);
    }

    /// Takes up a line that the chunks before have begun, until it is clear what it is. Returns the rest, which
    /// does not begin a line.
    fn resume<'c>(&mut self, mut chunk: &'c [u8], out: &mut Vec<u8>) -> &'c [u8] {
        while let (Some(seen), [octet, rest @ ..]) = (self.begun, chunk) {
            if *octet == b'>' && seen == 0 {
                out.push(b'>');
            } else if *octet == FROM[seen] {
                self.begun = Some(seen + 1);
            } else {
                out.extend_from_slice(&FROM[..seen]);
                self.begun = None;
                break;
            }
            chunk = rest;
            if self.begun == Some(FROM.len()) {
                out.push(b'>');
                out.extend_from_slice(FROM);
                self.begun = None;
            }
        }
        chunk
    }

    /// Ends the message: its last line, if it lacks an end, and the blank line after it.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&FROM[..self.begun.unwrap_or(0)]);
        if !self.ends_in_newline {
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}

/// True when nothing but `>` stands between the last line end and here.
fn begins_line(before: &[u8]) -> bool {
    before.iter().rposition(|octet| *octet != b'>').is_some_and(|last| before[last] == b'\n')
}

/// How much of `From ` the last line has, if that, perhaps after some `>`, is all it has.
fn begun_line(octets: &[u8]) -> Option<usize> {
    let line = &octets[memchr::memrchr(b'\n', octets)? + 1..];
    let word = &line[line.iter().take_while(|octet| **octet == b'>').count()..];
    (word.len() < FROM.len() && FROM.starts_with(word)).then_some(word.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;
    use proptest::prelude::*;

    fn quoted<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Vec<u8> {
        let (mut quoter, mut out) = (Quoter::new(), Vec::new());
        chunks.into_iter().for_each(|chunk| quoter.push(chunk, &mut out));
        quoter.finish(&mut out);
        out
    }

    /// The same, line by line.
    fn quoted_naively(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in message.split_inclusive(|octet| *octet == b'\n') {
            let word: Vec<u8> = line.iter().copied().skip_while(|octet| *octet == b'>').collect();
            if word.starts_with(FROM) {
                out.push(b'>');
            }
            out.extend(line);
        }
        if out.last().is_some_and(|last| *last != b'\n') {
            out.push(b'\n');
        }
        out.push(b'\n');
        out
    }

    #[test]
    fn lines_that_look_like_a_beginning_are_quoted() {
        let quoted = quoted([&b"From a\n>From b\n>>>From c\nxFrom d\n> From e\nFromage\n From \nFROM f"[..]]);
        let expected = b">From a\n>>From b\n>>>>From c\nxFrom d\n> From e\nFromage\n From \nFROM f\n\n";
        assert_eq!(quoted, expected);
    }

    #[test]
    fn a_message_ends_with_one_line_end_and_a_blank_line() {
        assert_eq!(quoted([&b"x"[..]]), b"x\n\n");
        assert_eq!(quoted([&b"x\n"[..]]), b"x\n\n");
        assert_eq!(quoted([&b"x\n\n"[..]]), b"x\n\n\n");
        assert_eq!(quoted([&b"x\r\nFrom"[..]]), b"x\r\nFrom\n\n");
        assert_eq!(quoted([]), b"\n");
    }

    #[test]
    fn the_from_line_has_the_form_of_asctime() {
        let at = NaiveDate::from_ymd_opt(2026, 3, 7).unwrap().and_hms_opt(4, 5, 6).unwrap();
        assert_eq!(from_line(Some("a@x"), at), "From a@x Sat Mar  7 04:05:06 2026\n");
        for nobody in [None, Some(""), Some("a b"), Some("a\nFrom b")] {
            assert_eq!(from_line(nobody, at), "From MAILER-DAEMON Sat Mar  7 04:05:06 2026\n");
        }
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(b"From ".to_vec()),
            Just(b"From".to_vec()),
            Just(b">".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\nFrom ".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same(message in message()) {
            let expected = quoted_naively(&message);
            prop_assert_eq!(&quoted([&message[..]]), &expected);
            prop_assert_eq!(&quoted(message.chunks(1)), &expected);
            for cut in 0..message.len() {
                let (head, tail) = message.split_at(cut);
                prop_assert_eq!(&quoted([head, tail]), &expected);
                let (middle, tail) = tail.split_at(tail.len() / 2);
                prop_assert_eq!(&quoted([head, middle, tail]), &expected);
            }
        }
    }
}
