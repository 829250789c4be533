//! One line of a ledger: JSON, one fact a line, readable with `cat` and `jq`.
//!
//! ```text
//! {"popfetch":3,"maildrop":"petar@pop.example.com"}
//! {"intend":"ID","batch":3,"octets":4100,"at":1795423680,"maildir":"/home/petar/Mail","name":"1795423680.M1P2…","head":"…"}
//! {"published":3}                          every intent of batch 3 was delivered …
//! {"published":4,"but":[2],"of":5}         … except the third one of the five of batch 4
//! {"delivered":"ID","octets":4100,"at":…}  the same fact in one line: after compaction
//! {"intend":"ID","owed":true,…}             the same, by a run by URL or to one of several lanes: it settles nothing
//! {"intend":"ID",…,"mda":true,"lane":"…"}  an MDA leaves no place; its lane is a hash of its words
//! {"intend":"ID",…,"imap":"imaps://petar@imap.example.org/INBOX","length":4100,"validity":1,"next":43,"date":…,
//!  "message_id":"<…>","heading":…,"digest":"…"}  a mailbox: UIDVALIDITY, the least UID, INTERNALDATE, what identifies it
//! {"delivered":"ID",…,"also":["…"]}        after compaction: other lanes that have it
//! {"settled":"ID"}                         the account of the configuration wants nothing more of it
//! {"settled":"ID","over":true}             it wants more of it, for targets that were added since
//! {"settled":"ID","octets":4100,"at":…}    it counts as fetched, and was never delivered
//! {"settled":"ID","keep":1209600}          a rule keeps it for so many seconds, or for ever (`true`), or not at all
//! {"settled":"ID",…,"discarded":true}      a rule deletes it unread
//! {"another":"ID","octets":4125,"at":…}    another message has this id now; no lane has it
//! {"deleted":"ID","at":…}                  the server confirmed it
//! {"gone":"ID","at":…}                     no longer listed, and not because of us
//! {"listed":"ID"}                          listed again after that
//! {"listed":"ID","octets":4125}            listed with another size
//! {"listed":"ID","at":…}                   listed when the clock was right again: its time counts from here
//! {"maildir":"/home/petar/Mail"}            messages go there; kept though all of them are over
//! {"note":"WORD","id":"ID","at":…}         something to remember about a message, or, with an empty id, the maildrop
//! {"note":"WORD","id":"ID","over":true}    it is not so any more
//! {"note":"failing","id":"","at":…,"since":…,"times":3,"said":…,"why":"network"}  failures in a row: the last, the first,
//!                                          how many, when that was last reported; with "not_before" the next try waits;
//!                                          with the name of a lane as id, those of a target
//! {"note":"refusals","id":"ID","at":…,"times":3,"lane":"NAME"}  in so many runs the lane refused the message, and took
//!                                          another one
//! {"note":"received","id":"2026-11-25","octets":…,"at":…}  so many octets came on that day (UTC), all in all
//! {"x-…":…}                                of others: skipped, and kept
//! ```
//!
//! Unknown keys are skipped, and kept by compaction, so that later releases can add facts without losing them to an
//! earlier one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::facts::Decided;
use crate::account::Keep;
use crate::deliver::{Appended, Place};

/// The format that this program writes, and the newest that it reads.
pub const VERSION: u32 = 3;

/// True for a line that other programs, or later releases, may add to a ledger.
pub fn is_foreign(line: &[u8]) -> bool {
    line.starts_with(b"{\"x-") || line.starts_with(b"x-")
}

/// Every key that a line may have; which ones are there says what the line is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub popfetch: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub maildrop: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub intend: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub another: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub note: Option<Cow<'a, str>>,
    /// The message that a note is about.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// True when an earlier note is not so any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub but: Option<Vec<u32>>,
    /// How many intents the batch has; there with `but`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// Which of several messages with this id, counted from 1; absent for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
    /// True when an earlier line speaks of the same message, so that readers need not look for one otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// True when this is another message under a used unique-id: what was known of the old one is over. Format 2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// True when this delivery settles nothing: the account has more lanes, or a run by URL has made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owed: bool,
    /// The size that LIST announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub octets: Option<u64>,
    /// Seconds since 1970-01-01 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Failures in a row: when the first one happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// How many there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// When they were last reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<u64>,
    /// When it is to be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// What kind of failure the last one was.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub why: Option<Cow<'a, str>>,
    /// What a rule says in the place of the account's `keep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Kept>,
    /// True when a rule has it deleted unread.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discarded: bool,
    /// After compaction: the other lanes that have the message.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub also: Option<Vec<Cow<'a, str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maildir: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
    /// The mailbox of an IMAP server: the target's identity. The place begins with it.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub imap: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbox: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_offset: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mda: bool,
    /// Which MDA it was: the name of its lane.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Cow<'a, str>>,
    /// Its UIDVALIDITY.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity: Option<u32>,
    /// The message has no smaller UID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
    /// The INTERNALDATE that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<u64>,
    /// The `X-Popfetch-Id` that was sent.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Cow<'a, str>>,
    /// A hash of From, Date and Subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading: Option<u64>,
    /// Octets of fields that were put in front of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<u64>,
    /// The SHA-256 of what was sent behind them, in hexadecimal.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Cow<'a, str>>,
    /// The [`crate::maildrop::Fingerprint`] of the message. Last, because most readers have no use for it.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub head: Option<Cow<'a, str>>,
}

/// [`Keep`] as a line has it: `true`, `false`, or seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Kept {
    Ever(bool),
    For(u64),
}

impl From<Keep> for Kept {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::Forever => Kept::Ever(true),
            Keep::Never => Kept::Ever(false),
            Keep::For(time) => Kept::For(time.as_secs()),
        }
    }
}

impl From<Kept> for Keep {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Ever(true) => Keep::Forever,
            Kept::Ever(false) => Keep::Never,
            Kept::For(seconds) => Keep::For(Duration::from_secs(seconds)),
        }
    }
}

/// The keys of a line, which the manual describes.
pub const KEYS: [&str; 49] = [
    "popfetch",
    "maildrop",
    "intend",
    "delivered",
    "deleted",
    "gone",
    "listed",
    "another",
    "settled",
    "note",
    "id",
    "over",
    "published",
    "but",
    "of",
    "batch",
    "nth",
    "again",
    "reused",
    "owed",
    "octets",
    "at",
    "since",
    "times",
    "said",
    "not_before",
    "why",
    "keep",
    "discarded",
    "also",
    "maildir",
    "name",
    "mbox",
    "offset",
    "length",
    "spool",
    "spool_offset",
    "mda",
    "lane",
    "imap",
    "validity",
    "next",
    "date",
    "stamp",
    "message_id",
    "heading",
    "prefix",
    "digest",
    "head",
];

/// Keys that only a later release knows, and their values, as text to go in front of a closing brace.
pub fn unknown_keys(line: &[u8]) -> String {
    let Ok(all) = serde_json::from_slice::<BTreeMap<Cow<'_, str>, &RawValue>>(line) else { return String::new() };
    let unknown = all.iter().filter(|(key, _)| !KEYS.contains(&&***key));
    unknown.map(|(key, value)| format!(",{}:{}", serde_json::json!(key), value.get())).collect()
}

impl<'a> Line<'a> {
    /// Notes what a rule has decided.
    pub fn decided(mut self, decided: Option<Decided>) -> Self {
        self.keep = match decided {
            Some(Decided::Keep(keep)) => Some(keep.into()),
            _ => None,
        };
        self.discarded = decided == Some(Decided::Discard);
        self
    }

    /// What a rule has decided, as far as the line says it.
    pub fn decision(&self) -> Option<Decided> {
        let keep = self.keep.map(|kept| Decided::Keep(kept.into()));
        if self.discarded { Some(Decided::Discard) } else { keep }
    }

    /// The first line of a ledger.
    pub fn header(maildrop: &'a str) -> Self {
        Line { popfetch: Some(VERSION), maildrop: Some(maildrop.into()), ..Line::default() }
    }

    /// Notes where the message goes.
    pub fn to(mut self, place: &'a Place) -> Self {
        match place {
            Place::Maildir { maildir, name } => {
                self.maildir = Some(path_text(maildir));
                self.name = Some(name.into());
            }
            Place::Mbox { path, offset, length, spool, spool_offset } => {
                self.mbox = Some(path_text(path));
                self.offset = Some(*offset);
                self.length = Some(*length);
                self.spool = Some(path_text(spool));
                self.spool_offset = Some(*spool_offset);
            }
            Place::Imap(appended) => {
                let Appended { target, validity, next, date, stamp, message_id, heading, octets, prefix, digest } =
                    &**appended;
                self.imap = Some(target.into());
                (self.validity, self.next, self.date) = (Some(*validity), Some(*next), Some(*date));
                (self.stamp, self.message_id) = (stamp.as_ref().map(Into::into), message_id.as_ref().map(Into::into));
                (self.heading, self.length) = (Some(*heading), Some(*octets));
                self.prefix = Some(*prefix).filter(|prefix| *prefix > 0);
                self.digest = Some(hexadecimal(digest).into());
            }
            Place::Mda => self.mda = true,
        }
        self
    }

    /// Where the message goes, when the line says so completely.
    pub fn place(&self) -> Option<Place> {
        if let (Some(maildir), Some(name)) = (&self.maildir, &self.name) {
            return Some(Place::Maildir { maildir: path_of(maildir), name: name.clone().into_owned() });
        }
        if let (Some(mbox), Some(offset), Some(length)) = (&self.mbox, self.offset, self.length) {
            let (spool, spool_offset) = (self.spool.as_ref()?, self.spool_offset?);
            return Some(Place::Mbox { path: path_of(mbox), offset, length, spool: path_of(spool), spool_offset });
        }
        if let Some(target) = &self.imap {
            return Some(Place::Imap(Box::new(Appended {
                target: target.clone().into_owned(),
                validity: self.validity?,
                next: self.next?,
                date: self.date?,
                stamp: self.stamp.clone().map(Cow::into_owned),
                message_id: self.message_id.clone().map(Cow::into_owned),
                heading: self.heading?,
                octets: self.length?,
                prefix: self.prefix.unwrap_or(0),
                digest: digest_of(self.digest.as_deref()?)?,
            })));
        }
        self.mda.then_some(Place::Mda)
    }

    /// Forgets what is of interest only until the message is recorded.
    pub fn forget_way(&mut self) {
        (self.spool, self.spool_offset) = (None, None);
        if self.imap.is_some() {
            (self.validity, self.next, self.date, self.length) = Default::default();
            (self.stamp, self.message_id, self.heading, self.prefix, self.digest) = Default::default();
        }
    }

    /// Appends the line with its LF.
    pub fn write(&self, text: &mut Vec<u8>) {
        serde_json::to_writer(&mut *text, self).expect("a line of plain values is always JSON");
        text.push(b'\n');
    }
}

fn hexadecimal(digest: &[u8; 32]) -> String {
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() || !text.is_ascii() {
        return None;
    }
    for (at, octet) in digest.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(digest)
}

/// A unique-id as text: any octets, each the character of the same number. ASCII is itself.
pub fn id_text(id: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(id) {
        Ok(text) if text.is_ascii() => text.into(),
        _ => id.iter().map(|octet| char::from(*octet)).collect::<String>().into(),
    }
}

/// Back from text to octets; `None` for a character that no octet stands for.
pub fn id_octets<'t>(text: &'t str) -> Option<Cow<'t, [u8]>> {
    if text.is_ascii() {
        return Some(text.as_bytes().into());
    }
    text.chars().map(|character| u8::try_from(character).ok()).collect::<Option<Vec<u8>>>().map(Cow::Owned)
}

/// A path as text. One that is not UTF-8 is marked by a NUL, which no path contains, and written like an id.
pub fn path_text(path: &Path) -> Cow<'_, str> {
    match path.to_str() {
        Some(text) => text.into(),
        None => format!("\0{}", id_text(path.as_os_str().as_encoded_bytes())).into(),
    }
}

/// Back from text to a path.
pub fn path_of(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    match text.strip_prefix('\0').and_then(id_octets) {
        Some(octets) => std::ffi::OsString::from_vec(octets.into_owned()).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    fn round(place: Place) {
        let mut text = vec![];
        Line { intend: Some("x".into()), ..Line::default() }.to(&place).write(&mut text);
        let line: Line<'_> = serde_json::from_slice(text.trim_ascii_end()).unwrap();
        assert_eq!(line.place(), Some(place));
    }

    #[test]
    fn places_survive_the_journey_through_json() {
        round(Place::Mda);
        round(imap(None, None));
        round(imap(Some("a0".repeat(32)), Some("<\"ž\"@x>".to_owned())));
        round(Place::Maildir { maildir: "/home/Größe \"x\"\n".into(), name: "1.M2".into() });
        let odd: PathBuf = std::ffi::OsString::from_vec(b"/tmp/\xff\x80".to_vec()).into();
        round(Place::Mbox { path: odd, offset: 1, length: 2, spool: "/s".into(), spool_offset: u64::MAX });
    }

    fn imap(stamp: Option<String>, message_id: Option<String>) -> Place {
        let digest = std::array::from_fn(|at| at as u8 * 8);
        let target = "imaps://petar@imap.example.org/Größe".to_owned();
        let (validity, next, date, heading, octets) = (1, u32::MAX, 1_795_423_680, u64::MAX, 4100);
        let prefix = if stamp.is_some() { 80 } else { 0 };
        Place::Imap(Box::new(Appended {
            target,
            validity,
            next,
            date,
            stamp,
            message_id,
            heading,
            octets,
            prefix,
            digest,
        }))
    }

    #[test]
    fn a_mailbox_without_all_that_finds_a_message_is_no_place_and_still_a_lane() {
        let place = imap(None, None);
        let line = Line::default().to(&place);
        for damaged in [
            Line { next: None, ..Line::default().to(&place) },
            Line { digest: Some("0g".repeat(32).into()), ..Line::default().to(&place) },
            Line { digest: Some("é".repeat(32).into()), ..Line::default().to(&place) },
        ] {
            assert_eq!(damaged.place(), None);
        }
        let mut text = vec![];
        let mut recorded = line;
        recorded.forget_way();
        recorded.write(&mut text);
        assert_eq!(String::from_utf8(text).unwrap(), "{\"imap\":\"imaps://petar@imap.example.org/Größe\"}\n");
    }

    #[test]
    fn any_octets_can_be_an_id() {
        let all: Vec<u8> = (0..=255).collect();
        let json = serde_json::to_string(&id_text(&all)).unwrap();
        let back: String = serde_json::from_str(&json).unwrap();
        assert_eq!(id_octets(&back).unwrap(), all);
        assert_eq!(id_octets("\u{100}"), None);
        assert_eq!(id_text(b"UID0001"), "UID0001");
    }
}
