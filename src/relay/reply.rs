//! Replies of SMTP and LMTP (RFC 5321 §4.2): one line or several, each with the same code of three digits.
//!
//! A function of octets: the caller reads, and asks again when more has come. What a server may send is bounded here.

/// Longest line accepted. RFC 5321 §4.5.3.1.5 allows 512 octets; lists of extensions are longer at some servers.
pub const LINE: usize = 4096;

/// Most lines accepted.
pub const LINES: usize = 128;

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its code: 200 to 599.
    pub code: u16,
    /// The text of each line, without code and line end.
    pub lines: Vec<Vec<u8>>,
}

/// Why octets are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// A line is longer than [`LINE`].
    LongLine,
    /// There are more than [`LINES`] lines.
    ManyLines,
    /// A line does not begin with a code.
    NoCode,
    /// The lines have different codes.
    OtherCode,
}

/// Reads the reply that octets begin with, and tells how many of them it has; `None` until it is whole.
///
/// # Errors
/// When no more octets would make a reply of it.
pub fn read(octets: &[u8]) -> Result<Option<(Reply, usize)>, Problem> {
    let mut reply = Reply { code: 0, lines: vec![] };
    let mut at = 0;
    loop {
        let rest = &octets[at..];
        let Some(end) = memchr::memchr(b'\n', &rest[..rest.len().min(LINE)]) else {
            return if rest.len() < LINE { Ok(None) } else { Err(Problem::LongLine) };
        };
        at += end + 1;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        let (code, is_last, text) = line_of(line).ok_or(Problem::NoCode)?;
        if !reply.lines.is_empty() && code != reply.code {
            return Err(Problem::OtherCode);
        }
        reply.code = code;
        reply.lines.push(text.to_vec());
        if is_last {
            return Ok(Some((reply, at)));
        }
        if reply.lines.len() == LINES {
            return Err(Problem::ManyLines);
        }
    }
}

/// The code, whether it is the last line, and the text.
fn line_of(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let [hundreds @ b'2'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] = line else { return None };
    let digit = |digit: &u8| u16::from(digit - b'0');
    let code = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    match rest {
        [] => Some((code, true, rest)),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}

impl Reply {
    /// The server does what was asked for.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// The same may be accepted later.
    pub fn is_temporary(&self) -> bool {
        self.code / 100 == 4
    }

    /// Code and text in one line, not yet fit to be shown.
    pub fn said(&self) -> Vec<u8> {
        let text = self.lines.join(&b"; "[..]);
        [self.code.to_string().as_bytes(), b" ", &text].concat()
    }

    /// Class, subject and detail of an enhanced status code (RFC 3463 §2), where the text begins with one.
    pub fn enhanced(&self) -> Option<[u16; 3]> {
        let word = self.lines.first()?.split(|octet| *octet == b' ').next()?;
        let mut numbers = std::str::from_utf8(word).ok()?.split('.').map(|number| number.parse().ok());
        let code = [numbers.next()??, numbers.next()??, numbers.next()??];
        (numbers.next().is_none() && code[0] == self.code / 100).then_some(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, lines: &[&str]) -> Reply {
        Reply { code, lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect() }
    }

    #[test]
    fn a_reply_has_one_line_or_several_and_ends_in_any_split_at_the_same_octet() {
        let wire = b"250-mx.example.org\r\n250-SIZE 100\r\n250 PIPELINING\r\n354 go\r\n";
        let first = reply(250, &["mx.example.org", "SIZE 100", "PIPELINING"]);
        let length = wire.len() - b"354 go\r\n".len();
        for cut in 0..wire.len() {
            let expected = (cut >= length).then(|| (first.clone(), length));
            assert_eq!(read(&wire[..cut]), Ok(expected), "{cut}");
        }
        assert_eq!(read(&wire[length..]), Ok(Some((reply(354, &["go"]), 8))));
        assert_eq!(read(b"250\n"), Ok(Some((reply(250, &[""]), 4))));
    }

    #[test]
    fn what_is_no_reply_is_refused_and_nothing_is_endless() {
        for wrong in [&b"+OK\r\n"[..], b"150 x\n", b"650 x\n", b"25 x\n", b"2500 x\n", b"\r\n", b"25\xff x\n"] {
            assert_eq!(read(wrong), Err(Problem::NoCode), "{wrong:?}");
        }
        assert_eq!(read(b"250-a\r\n251 b\r\n"), Err(Problem::OtherCode));
        assert_eq!(read(&[b'2'; LINE]), Err(Problem::LongLine));
        assert_eq!(read(&b"250-x\r\n".repeat(LINES)), Err(Problem::ManyLines));
        assert_eq!(read(&b"250-x\r\n".repeat(LINES - 1)), Ok(None));
    }

    #[test]
    fn an_enhanced_code_is_of_the_same_class() {
        assert_eq!(reply(250, &["2.1.5 ok"]).enhanced(), Some([2, 1, 5]));
        for none in [reply(250, &["5.1.5 no"]), reply(250, &["2.1 x"]), reply(250, &["ok"]), reply(250, &["2.1.5.1"])] {
            assert_eq!(none.enhanced(), None, "{none:?}");
        }
    }
}
