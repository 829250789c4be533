//! The lines of STAT, LIST and UIDL (RFC 1939 §5, §7), as functions of one line.
//!
//! Tolerant where servers are known to stray, strict where a guess could name the wrong message.

use crate::maildrop::MessageNumber;

/// The longest unique-id taken: RFC 1939 §7 allows 70 octets, and servers exist that send more.
const UNIQUE_ID_OCTETS: usize = 1000;

/// The largest size taken, 1 TiB: that of all messages which fit into memory adds up in 64 bits. A larger one is a
/// counter that wrapped around.
const LARGEST: u64 = 1 << 40;

/// `+OK nn mm …`: how many messages the maildrop has, and their octets, which may be no number (the text behind `+OK`).
pub fn stat(text: &[u8]) -> Option<(u64, Option<u64>)> {
    let mut words = words(text);
    Some((number(words.next()?)?, words.next().and_then(number)))
}

/// A line of LIST: message-number and octets. What follows is a server's own extension (RFC 1939 §5).
///
/// A size that is no number (`-5`: a counter that wrapped around), or absurd, is unknown: the message is there
/// nevertheless.
pub fn list(line: &[u8]) -> Option<(MessageNumber, Option<u64>)> {
    // Blanks before and between: Maillennium V05.00c++ and others put more than one.
    let mut words = words(line);
    let message = message_number(words.next()?)?;
    Some((message, words.next().and_then(number).filter(|octets| *octets <= LARGEST)))
}

/// A line of UIDL: message-number and unique-id.
///
/// The id is everything after the blanks, blanks inside included: RFC 1939 allows none, but servers that send
/// them mean them, and an id cut short could equal another. A missing or overlong id is empty: the message is there,
/// but has no name.
pub fn uidl(line: &[u8]) -> Option<(MessageNumber, &[u8])> {
    let line = line.trim_ascii_start();
    let blank = line.iter().position(|octet| matches!(octet, b' ' | b'\t')).unwrap_or(line.len());
    let id = line[blank..].trim_ascii();
    let id = if id.len() <= UNIQUE_ID_OCTETS { id } else { b"" };
    Some((message_number(&line[..blank])?, id))
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// Message-numbers begin at 1 (RFC 1939 §5).
fn message_number(word: &[u8]) -> Option<MessageNumber> {
    u32::try_from(number(word)?).ok().filter(|number| *number > 0).map(MessageNumber)
}

fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |value, octet| {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_a_number_of_messages() {
        for good in ["2 320", "2  320 octets"] {
            assert_eq!(stat(good.as_bytes()), Some((2, Some(320))), "{good:?}");
        }
        for sizeless in ["2 -5", "2 18446744073709551616", "2"] {
            assert_eq!(stat(sizeless.as_bytes()), Some((2, None)), "{sizeless:?}");
        }
        for bad in ["", "two", "-1 5", "18446744073709551616 1"] {
            assert_eq!(stat(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn list_lines_may_have_more_blanks_but_need_a_message_number() {
        assert_eq!(list(b"1 120"), Some((MessageNumber(1), Some(120))));
        assert_eq!(list(b" 1  120 extra"), Some((MessageNumber(1), Some(120))));
        for bad in ["0 1", "-1 1", "4294967296 1", "", "+1 1", "x 1"] {
            assert_eq!(list(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_size_that_is_no_number_is_unknown() {
        for line in ["1", "1 ", "1 x", "1 -5", "1 1.5", "1 18446744073709551616", "1 \x1b[2J"] {
            assert_eq!(list(line.as_bytes()), Some((MessageNumber(1), None)), "{line:?}");
        }
        for (octets, is_taken) in [(LARGEST, true), (LARGEST + 1, false), (1 << 63, false), (u64::MAX, false)] {
            let listed = (MessageNumber(1), Some(octets).filter(|_| is_taken));
            assert_eq!(list(format!("1 {octets}").as_bytes()), Some(listed));
        }
    }

    #[test]
    fn a_unique_id_is_the_whole_rest_of_the_line() {
        assert_eq!(uidl(b"1 whqtswO00WBw418f9t5JxYwZ"), Some((MessageNumber(1), &b"whqtswO00WBw418f9t5JxYwZ"[..])));
        assert_eq!(uidl(b"2   a b "), Some((MessageNumber(2), &b"a b"[..])));
        assert_eq!(uidl(b"3 \x01\xff/.."), Some((MessageNumber(3), &b"\x01\xff/.."[..])));
        assert_eq!(uidl(b"3 "), Some((MessageNumber(3), &b""[..])));
        assert_eq!(uidl(b"3"), Some((MessageNumber(3), &b""[..])));
        assert_eq!(
            uidl(&[b"3 ".as_slice(), &[b'x'; UNIQUE_ID_OCTETS + 1]].concat()),
            Some((MessageNumber(3), &b""[..]))
        );
        assert_eq!(uidl(b"x 3"), None);
    }
}
