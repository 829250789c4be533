//! Untrusted octets as text that is safe to print, and small wordings that every room shares.

use std::borrow::Cow;
use std::fmt::Write;
use std::io;

use chrono::{DateTime, SecondsFormat};

/// A time, in seconds since 1970, as RFC 3339 writes it.
pub fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The most characters of a server's own words that popfetch repeats.
pub const SHOWN: usize = 200;

/// Octets from a server as printable text: UTF-8 stays, everything that could drive a terminal (controls,
/// also C1, and what is invisible) and every stray octet is escaped, and what is longer than
/// [`SHOWN`] characters is cut with an ellipsis.
pub fn printable(octets: &[u8]) -> String {
    printable_within(octets, SHOWN)
}

/// [`printable`] with a limit of its own, in characters of output.
pub fn printable_within(octets: &[u8], limit: usize) -> String {
    let mut shown = String::new();
    let mut characters = 0;
    for chunk in octets.utf8_chunks() {
        for character in chunk.valid().chars() {
            characters += push(&mut shown, character);
            if characters > limit {
                return cut(shown, limit);
            }
        }
        for octet in chunk.invalid() {
            write!(shown, "\\x{octet:02x}").expect("writing to a String cannot fail");
            characters += 4;
            if characters > limit {
                return cut(shown, limit);
            }
        }
    }
    shown
}

fn push(shown: &mut String, character: char) -> usize {
    if is_unsafe(character) {
        let escaped = match character {
            '\u{0}'..='\u{ff}' => format!("\\x{:02x}", character as u32),
            other => format!("\\u{{{:x}}}", other as u32),
        };
        shown.push_str(&escaped);
        return escaped.len();
    }
    shown.push(character);
    1
}

/// Controls drive terminals; what is invisible, or turns the direction of writing, makes text lie about itself.
pub fn is_unsafe(character: char) -> bool {
    is_among(&INVISIBLE, character) || is_among(&STRANGE, character) || {
        // The last two of each plane are no characters.
        character.is_control() || u32::from(character) & 0xfffe == 0xfffe
    }
}

fn is_among(ranges: &[(char, char)], character: char) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// A line of text that is safe to print: as [`printable`], but what is only invisible, as between the parts of an emoji,
/// is left out.
pub fn defused(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if !is_among(&INVISIBLE, character) || turns(character) {
            push(&mut shown, character);
        }
    }
    shown
}

/// True for Bidi_Control, and for the separators of lines and paragraphs.
fn turns(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many columns of a terminal a line of safe text takes.
pub fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

fn width(character: char) -> usize {
    unicode_width::UnicodeWidthChar::width(character).unwrap_or(0)
}

/// As much of a line as goes into so many columns, with an ellipsis for the rest.
pub fn fitted(text: &str, limit: usize) -> String {
    /// Marks that are put upon a letter take no column: no more of them than this.
    const MARKS: usize = 4;
    let (mut kept, mut used, mut marks) = (String::new(), 0, 0);
    // Where an ellipsis would still go.
    let mut last = 0;
    for character in text.chars() {
        let wide = width(character);
        marks = if wide == 0 { marks + 1 } else { 0 };
        if marks > MARKS {
            continue;
        }
        if used + wide > limit {
            kept.truncate(last);
            if limit > 0 {
                kept.push('…');
            }
            return kept;
        }
        kept.push(character);
        used += wide;
        if used < limit {
            last = kept.len();
        }
    }
    kept
}

/// Every Default_Ignorable_Code_Point of Unicode (DerivedCoreProperties.txt), assigned or not, among them all of
/// Bidi_Control, and the separators of lines and paragraphs.
const INVISIBLE: [(char, char); 17] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// The other characters of the category Cf (Unicode's DerivedGeneralCategory.txt), which programs draw as they like; a
/// blank that is no space; and what is no character.
const STRANGE: [(char, char); 11] = [
    ('\u{600}', '\u{605}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
];

fn cut(shown: String, limit: usize) -> String {
    let mut shorter: String = shown.chars().take(limit.saturating_sub(1)).collect();
    shorter.push('…');
    shorter
}

/// A name of any characters as that of a file: those that could lead out of its folder are escaped, and a long one is
/// cut, so that an ending has room.
pub fn file_name(name: &str) -> String {
    /// File systems take 255 octets; ours gets endings.
    const LONGEST: usize = 180;
    let mut file = String::new();
    for (position, octet) in name.bytes().enumerate() {
        let is_plain = octet.is_ascii_alphanumeric() || b"@_-+=:".contains(&octet) || (octet == b'.' && position > 0);
        if is_plain { file.push(char::from(octet)) } else { file.push_str(&format!("%{octet:02X}")) }
    }
    if file.len() > LONGEST {
        file.truncate(LONGEST);
        file = format!("{file},{}", fingerprint(name));
    }
    file
}

/// FNV-1a, 64 bits: a short name for a long one, the same in every release. Not for anything that an enemy chooses.
pub fn fingerprint(text: &str) -> String {
    format!("{:016x}", hash(text.as_bytes()))
}

/// The number behind [`fingerprint`].
pub fn hash(octets: &[u8]) -> u64 {
    let step = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
    octets.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// `1 message`, `2 messages`.
pub fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// The system's words for an error, in the middle of a sentence of ours: no capital, no number.
pub fn reason(error: &io::Error) -> String {
    if is_disk_full(error) {
        return "no space left".to_owned();
    }
    let whole = error.to_string();
    let words = whole.split(" (os error").next().unwrap_or_default();
    let mut characters = words.chars();
    // An abbreviation (`RPC ...`) keeps its capitals.
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(characters).collect(),
        _ => words.to_owned(),
    }
}

/// True when the file system, or the user's share of it, is full.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// `HOST:PORT`.
pub fn host_port(host: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(host))
}

/// A host as it stands before a port: an IPv6 address in brackets (RFC 3986 §3.2.2).
pub fn bracketed(host: &str) -> Cow<'_, str> {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]").into() } else { host.into() }
}

/// Octets for people: `812 B`, `4.1 KiB`, `1.2 GiB`.
pub fn octets(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A length of time for people: `50 seconds`, `7 minutes`, `6 hours`, `3 days`.
pub fn length(seconds: u64) -> String {
    let (unit, noun) = match seconds {
        0..60 => (1, "second"),
        60..3600 => (60, "minute"),
        3600..172_800 => (3600, "hour"),
        _ => (86400, "day"),
    };
    counted(usize::try_from(seconds / unit).unwrap_or(usize::MAX), noun)
}

/// The known word nearest to what was typed, when it is near enough to be a slip.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (typed.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|word| (distance(typed, word), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Edits between two words: insertions, deletions, replacements and swapped neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_drive_a_terminal_is_escaped() {
        assert_eq!(printable(b"+OK \x1b[2J \xff bell\x07 \xc2\x9b"), "+OK \\x1b[2J \\xff bell\\x07 \\x9b");
        assert_eq!(printable("schön \u{202e}evil".as_bytes()), "schön \\u{202e}evil");
    }

    #[test]
    fn what_is_invisible_is_escaped() {
        let invisible = "\u{ad}\u{34f}\u{61c}\u{115f}\u{17b4}\u{180e}\u{200b}\u{200f}\u{2028}\u{202a}\u{2060}\u{2065}\u{2069}\
                         \u{206f}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fff0}\u{1bca0}\u{1d17a}\u{e0001}\u{e0041}\u{e01ef}\u{e0fff}";
        let strange = "\u{600}\u{605}\u{6dd}\u{70f}\u{890}\u{891}\u{8e2}\u{2800}\u{fdd0}\u{fdef}\u{fff9}\u{fffb}\u{fffe}\
                       \u{ffff}\u{110bd}\u{110cd}\u{13430}\u{1343f}\u{1fffe}\u{1ffff}\u{10ffff}";
        for character in strange.chars() {
            assert_eq!(defused(&format!("a{character}")), format!("a\\u{{{:x}}}", u32::from(character)));
        }
        for character in invisible.chars().chain(strange.chars()) {
            let shown = printable(format!("a{character}b").as_bytes());
            assert!(shown.is_ascii() && shown.len() > 3, "{character:?}: {shown}");
        }
        let visible = "Zürich, 東京, \u{1f600}, \u{e000}, \u{fffd}, žuto; עברית, العربية";
        assert_eq!(printable(visible.as_bytes()), visible);
    }

    #[test]
    fn a_long_reply_is_cut_with_an_ellipsis() {
        let shown = printable(&[b'x'; 5000]);
        assert_eq!(shown.chars().count(), SHOWN);
        assert!(shown.ends_with('…'));
        assert_eq!(printable_within(&[0xff; 50], 10).chars().count(), 10);
    }

    #[test]
    fn the_systems_words_become_part_of_a_sentence() {
        use rustix::io::Errno;
        assert_eq!(reason(&Errno::NOENT.into()), "no such file or directory");
        for full in [Errno::NOSPC, Errno::DQUOT] {
            assert_eq!(reason(&full.into()), "no space left");
        }
        assert_eq!(reason(&io::Error::other("RPC: went wrong")), "RPC: went wrong");
        assert_eq!(reason(&io::Error::other("")), "");
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets_before_its_port() {
        for (host, expected) in [("pop.example.org", "pop.example.org:995"), ("192.0.2.1", "192.0.2.1:995")] {
            assert_eq!(host_port(host, 995), expected);
        }
        for host in ["::1", "[::1]"] {
            assert_eq!(host_port(host, 995), "[::1]:995");
        }
        assert_eq!(bracketed("fe80::1%eth0"), "[fe80::1%eth0]");
    }

    #[test]
    fn octets_are_shown_in_binary_units() {
        assert_eq!(octets(812), "812 B");
        assert_eq!(octets(4200), "4.1 KiB");
        assert_eq!(octets(1 << 20), "1.0 MiB");
        assert_eq!(octets(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let known = ["password", "password_command", "port"];
        assert_eq!(nearest("pasword", known), Some("password"));
        assert_eq!(nearest("psasword", known), Some("password"));
        assert_eq!(nearest("zebra", known), None);
    }
}
