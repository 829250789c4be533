//! What an answer means for a message and for its target (RFC 9110 §15), and its words for people.

use chrono::DateTime;

use super::answer;
use super::exchange::{Answer, Sight};
use crate::deliver::{Reason, Refusal};
use crate::os::clock::now;
use crate::relay::error::Cause;
use crate::text::printable_within;

/// How much of a server's words is shown.
const SHOWN: usize = 200;

/// What became of a message.
pub(super) enum Verdict {
    Taken,
    Refused(Refusal),
}

/// Whose an answer is: a status that is about the message is its own; one that is not, ends the target.
pub(super) fn verdict(answer: &Answer, sight: &Sight) -> Result<Verdict, Cause> {
    match answer.head.status {
        200..300 => Ok(Verdict::Taken),
        // Malformed, in conflict with another request (RFC 9110 §15.5.10), too large, not understood.
        status @ (400 | 409 | 413 | 422) => {
            Ok(Verdict::Refused(Refusal::new(Reason::Answered(status), &words(answer, sight))))
        }
        _ => Err(refused(answer, sight)),
    }
}

/// The refusal of everything that would follow.
pub(super) fn refused(answer: &Answer, sight: &Sight) -> Cause {
    let head = &answer.head;
    let location = head.field("location").filter(|_| head.status / 100 == 3);
    let location = location.map(|location| {
        let without_query = location.split(|octet| *octet == b'?').next().unwrap_or_default();
        printable_within(&sight.masked(without_query), SHOWN)
    });
    let retry_after = head.field("retry-after").and_then(|value| seconds(value, now()));
    Cause::Answered { status: head.status, said: said(answer, sight), location, retry_after }
}

/// Status and words, in one line.
pub(super) fn said(answer: &Answer, sight: &Sight) -> String {
    let words = [answer.head.status.to_string().as_bytes(), b" ", &words(answer, sight)].concat();
    printable_within(words.trim_ascii(), SHOWN)
}

fn words(answer: &Answer, sight: &Sight) -> Vec<u8> {
    let reason = sight.masked(answer.head.reason.as_bytes());
    match answer.words.trim_ascii() {
        [] => reason,
        words => [&reason, &b"\n"[..], words].concat().trim_ascii().to_vec(),
    }
}

/// Retry-After (RFC 9110 §10.2.3): seconds, or a date.
fn seconds(value: &[u8], now: u64) -> Option<u64> {
    answer::number(value).or_else(|| {
        let date = DateTime::parse_from_rfc2822(std::str::from_utf8(value).ok()?).ok()?;
        Some(u64::try_from(date.timestamp()).unwrap_or(0).saturating_sub(now))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        for (value, expected) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds(value.as_bytes(), 784_111_740), expected, "{value}");
        }
    }
}
