//! Responses of IMAP (RFC 3501 §7, RFC 9051 §7), as far as a client needs them that appends messages and asks for them.
//!
//! Functions of octets: the caller reads, and asks again when more has come. What a server may send is bounded here, and
//! data that nobody asked for is skipped. Only the messages themselves have no bound: where one begins, [`read`] hands over
//! ([`Response::Literal`]), the caller takes its octets off the line, and [`read_rest`] reads what stands behind it.

use chrono::DateTime;

/// Longest line accepted. RFC 9051 §4 advises 8192 octets; a line of SEARCH is as long as what it found.
pub const LINE: usize = 256 * 1024;

/// Longest literal accepted that is no message.
pub const LITERAL: usize = 64 * 1024;

/// Longest response accepted: its lines and literals, without messages.
pub const RESPONSE: usize = 512 * 1024;

/// Longest text kept of what is only shown.
pub const TEXT: usize = 2000;

/// Most unique identifiers accepted in one set: a few octets may stand for billions.
pub const UIDS: usize = 64 * 1024;

/// A whole response, or its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// `+ …`: the server waits for more of a command.
    Continuation(Vec<u8>),
    /// `TAG OK …`: the end of the command that has this tag.
    Tagged {
        /// As the client gave it.
        tag: String,
        /// What became of the command: OK, NO or BAD.
        condition: Condition,
    },
    /// `* OK …`, `* BYE …`, the greeting.
    Condition(Condition),
    /// Words, in upper case.
    Capability(Vec<String>),
    /// A mailbox that there is.
    List {
        /// As sent, with their `\`.
        flags: Vec<String>,
        /// What stands between the parts of a name.
        delimiter: Option<u8>,
        /// As sent: in modified UTF-7, or in UTF-8.
        name: Vec<u8>,
    },
    /// What STATUS tells of a mailbox.
    Status(Mailbox),
    /// How many messages there are in the open mailbox.
    Exists(u32),
    /// The message with this sequence number is gone.
    Expunge(u32),
    /// The flags that there are, which nobody asked for.
    Flags,
    /// What FETCH tells of a message.
    Fetch(Fetch),
    /// So far what FETCH tells of a message: the next octets on the line belong to a literal that the caller takes off it.
    /// [`read_rest`] reads on behind them.
    Literal {
        /// What was told before.
        fetch: Fetch,
        /// What the literal is.
        part: Part,
        /// Its length.
        octets: u64,
    },
    /// What SEARCH found.
    Search(Vec<u32>),
    /// Anything else, cut off at [`TEXT`].
    Other(Vec<u8>),
}

/// What a literal is that the caller takes off the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The whole message.
    Body,
    /// Header fields with more than [`LITERAL`] octets, which are to be thrown away.
    LongHeader,
}

/// What a server says of a command, or by itself (RFC 3501 §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The first word.
    pub status: Status,
    /// What stands in brackets before the text.
    pub code: Option<Code>,
    /// Code and text as sent, cut off at [`TEXT`]; not yet fit to be shown.
    pub text: Vec<u8>,
}

/// The first word of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done, or something that is good to know.
    Ok,
    /// Not done.
    No,
    /// Not understood.
    Bad,
    /// The server ends the connection.
    Bye,
    /// A greeting: nobody needs to log in.
    Preauth,
}

/// A response code (RFC 3501 §7.1, RFC 4315, RFC 4469, RFC 5530, RFC 7889, RFC 9051 §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as they are sent")]
pub enum Code {
    AppendUid {
        uidvalidity: u32,
        /// Of the messages, in their order.
        uids: Vec<u32>,
    },
    UidValidity(u32),
    UidNext(u32),
    TryCreate,
    Capability(Vec<String>),
    OverQuota,
    Limit,
    InUse,
    Unavailable,
    ServerBug,
    NoPerm,
    ContactAdmin,
    TooBig,
    AlreadyExists,
    Nonexistent,
    ReadOnly,
    AuthenticationFailed,
    AuthorizationFailed,
    Expired,
    PrivacyRequired,
    /// Any other, and one of these with something behind it that makes no sense.
    Other(Vec<u8>),
}

/// What STATUS tells of a mailbox: what was asked for, and makes sense.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mailbox {
    /// As sent.
    pub name: Vec<u8>,
    /// How many messages it has.
    pub messages: Option<u32>,
    /// No message that comes later has a lower identifier.
    pub uidnext: Option<u32>,
    /// While it is the same, identifiers mean the same messages.
    pub uidvalidity: Option<u32>,
    /// The largest message that is taken; `None` also when there is no such limit.
    pub appendlimit: Option<u64>,
}

/// What FETCH tells of a message: what was asked for, and makes sense.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fetch {
    /// Its number in the open mailbox.
    pub seq: u32,
    /// Its unique identifier.
    pub uid: Option<u32>,
    /// RFC822.SIZE.
    pub size: Option<u64>,
    /// INTERNALDATE, in seconds since the epoch.
    pub internaldate: Option<i64>,
    /// `BODY[HEADER]` or `BODY[HEADER.FIELDS (…)]`.
    pub header: Option<Vec<u8>>,
    /// BODY[], where it is no literal: `""` or `NIL` of an empty message, mostly.
    pub body: Option<Vec<u8>>,
}

/// Why octets are no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// A line is longer than [`LINE`].
    LongLine,
    /// A literal that is no message is longer than [`LITERAL`].
    LongLiteral,
    /// The response is longer than [`RESPONSE`].
    LongResponse,
    /// A set has more than [`UIDS`] members.
    LargeSet,
    /// A line begins as no response does.
    NoResponse,
    /// What was asked for cannot be understood.
    Malformed,
}

/// Reads the response that octets begin with, and tells how many of them it has; `None` until it is whole.
///
/// # Errors
/// When no more octets would make a response of it.
pub fn read(octets: &[u8]) -> Result<Option<(Response, usize)>, Problem> {
    match frame(octets, true)? {
        None => Ok(None),
        Some(Frame::Whole { end, text }) => response(&octets[..text]).map(|response| Some((response, end))),
        Some(Frame::Literal { end, text, part, octets: length }) => {
            let line = octets[..text].strip_prefix(b"* ").ok_or(Problem::NoResponse)?;
            let mut parser = Parser { rest: line };
            let fetch = parser.numbered_fetch().ok_or(Problem::Malformed)?;
            let fetch = parser.items(fetch, true)?;
            Ok(Some((Response::Literal { fetch, part, octets: length }, end)))
        }
    }
}

/// Reads what stands behind the literal of [`Response::Literal`].
///
/// # Errors
/// When no more octets would make the rest of a response of it.
pub fn read_rest(octets: &[u8], fetch: &Fetch) -> Result<Option<(Response, usize)>, Problem> {
    match frame(octets, false)? {
        None => Ok(None),
        Some(Frame::Whole { end, text }) => {
            let fetch = Parser { rest: &octets[..text] }.items(fetch.clone(), false)?;
            Ok(Some((Response::Fetch(fetch), end)))
        }
        Some(Frame::Literal { end, text, part, octets: length }) => {
            let fetch = Parser { rest: &octets[..text] }.items(fetch.clone(), true)?;
            Ok(Some((Response::Literal { fetch, part, octets: length }, end)))
        }
    }
}

/// Where a response ends, before anything of it is understood.
enum Frame {
    Whole {
        end: usize,
        /// Its end without the line end.
        text: usize,
    },
    /// Behind `end` a literal begins that is the caller's.
    Literal {
        end: usize,
        /// The end of what stands before the literal's length.
        text: usize,
        part: Part,
        octets: u64,
    },
}

fn frame(octets: &[u8], is_start: bool) -> Result<Option<Frame>, Problem> {
    let mut start = 0;
    loop {
        let rest = &octets[start..];
        let Some(length) = memchr::memchr(b'\n', &rest[..rest.len().min(LINE)]) else {
            return if rest.len() < LINE { Ok(None) } else { Err(Problem::LongLine) };
        };
        let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
        let end = start + length + 1;
        let literal = if is_start && start == 0 && is_one_line(line) { None } else { announced(line) };
        let Some(literal) = literal else {
            return Ok(Some(Frame::Whole { end, text: start + line.len() }));
        };
        let part = match section(literal.before) {
            Some(b"") => Some(Part::Body),
            Some(section) if is_header(section) && literal.octets > LITERAL as u64 => Some(Part::LongHeader),
            _ => None,
        };
        if let Some(part) = part {
            let text = start + literal.before.len();
            return Ok(Some(Frame::Literal { end, text, part, octets: literal.octets }));
        }
        let length = usize::try_from(literal.octets).ok().filter(|octets| *octets <= LITERAL);
        start = end + length.ok_or(Problem::LongLiteral)?;
        if start > RESPONSE {
            return Err(Problem::LongResponse);
        }
        if start > octets.len() {
            return Ok(None);
        }
    }
}

/// True for what is for people: braces there are no literal.
fn is_one_line(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"* ") else { return true };
    status(word(rest).0).is_some()
}

/// The length of a literal that a line ends in: `{5}`, `{5+}`, `~{5}`.
struct Announced<'a> {
    before: &'a [u8],
    octets: u64,
}

fn announced(line: &[u8]) -> Option<Announced<'_>> {
    let inner = line.strip_suffix(b"}")?;
    let inner = inner.strip_suffix(b"+").unwrap_or(inner);
    let digits = inner.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    let (before, digits) = inner.split_at(inner.len() - digits);
    let before = before.strip_suffix(b"{")?;
    let octets = number(digits)?;
    Some(Announced { before: before.strip_suffix(b"~").unwrap_or(before).trim_ascii_end(), octets })
}

/// What stands between the brackets of the BODY[…] or BODY[…]<0> that octets end in.
fn section(octets: &[u8]) -> Option<&[u8]> {
    let name = match octets.strip_suffix(b">") {
        Some(origin) => &origin[..memchr::memrchr(b'<', origin)?],
        None => octets,
    };
    let name = name.strip_suffix(b"]")?;
    let (item, section) = name.split_at(memchr::memrchr(b'[', name)?);
    let item = item.get(item.len().checked_sub(4)?..)?;
    (item.eq_ignore_ascii_case(b"BODY")).then(|| &section[1..])
}

fn is_header(section: &[u8]) -> bool {
    section.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"HEADER"))
}

/// Reads a whole response, without its last line end.
fn response(octets: &[u8]) -> Result<Response, Problem> {
    if let Some(text) = octets.strip_prefix(b"+") {
        return Ok(Response::Continuation(cut(text.strip_prefix(b" ").unwrap_or(text))));
    }
    let (first, rest) = word(octets);
    if first != b"*" {
        let (status_word, text) = word(rest);
        let status = status(status_word).filter(|status| !matches!(status, Status::Bye | Status::Preauth));
        let (tag, status) = tag(first).zip(status).ok_or(Problem::NoResponse)?;
        return Ok(Response::Tagged { tag, condition: condition(status, text) });
    }
    let (name, text) = word(rest);
    if let Some(status) = status(name) {
        return Ok(Response::Condition(condition(status, text)));
    }
    let mut parser = Parser { rest: text };
    match name.to_ascii_uppercase().as_slice() {
        b"" => Err(Problem::NoResponse),
        b"CAPABILITY" => Ok(Response::Capability(words(text))),
        b"LIST" => parser.list().ok_or(Problem::Malformed),
        b"STATUS" => parser.status().map(Response::Status).ok_or(Problem::Malformed),
        b"SEARCH" => parser.search(),
        b"ESEARCH" => parser.esearch(),
        b"FLAGS" => Ok(Response::Flags),
        digits if digits[0].is_ascii_digit() => numbered(rest, digits, text),
        _ => Ok(Response::Other(cut(rest))),
    }
}

/// `12 EXISTS`, `12 EXPUNGE`, `12 FETCH (…)`.
fn numbered(octets: &[u8], digits: &[u8], text: &[u8]) -> Result<Response, Problem> {
    let number = number(digits).and_then(|number| u32::try_from(number).ok()).ok_or(Problem::Malformed)?;
    match word(text).0.to_ascii_uppercase().as_slice() {
        b"EXISTS" => Ok(Response::Exists(number)),
        b"EXPUNGE" => Ok(Response::Expunge(number)),
        b"FETCH" => {
            let mut parser = Parser { rest: octets };
            let fetch = parser.numbered_fetch().ok_or(Problem::Malformed)?;
            parser.items(fetch, false).map(Response::Fetch)
        }
        _ => Ok(Response::Other(cut(octets))),
    }
}

fn status(word: &[u8]) -> Option<Status> {
    let all = [
        ("OK", Status::Ok),
        ("NO", Status::No),
        ("BAD", Status::Bad),
        ("BYE", Status::Bye),
        ("PREAUTH", Status::Preauth),
    ];
    all.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, status)| status)
}

fn tag(word: &[u8]) -> Option<String> {
    let is_of_tag = |octet: &u8| octet.is_ascii_graphic() && !b"+*(){%\"\\".contains(octet);
    (!word.is_empty() && word.iter().all(is_of_tag)).then(|| String::from_utf8_lossy(word).into_owned())
}

fn condition(status: Status, text: &[u8]) -> Condition {
    let code = text.strip_prefix(b"[").and_then(|inner| Some(code(&inner[..memchr::memchr(b']', inner)?])));
    Condition { status, code, text: cut(text) }
}

fn code(inner: &[u8]) -> Code {
    let (name, rest) = word(inner);
    let code = match name.to_ascii_uppercase().as_slice() {
        b"APPENDUID" => append_uid(rest),
        b"UIDVALIDITY" => unique(rest).map(Code::UidValidity),
        b"UIDNEXT" => unique(rest).map(Code::UidNext),
        b"TRYCREATE" => Some(Code::TryCreate),
        b"CAPABILITY" => Some(Code::Capability(words(rest))),
        b"OVERQUOTA" => Some(Code::OverQuota),
        b"LIMIT" => Some(Code::Limit),
        b"INUSE" => Some(Code::InUse),
        b"UNAVAILABLE" => Some(Code::Unavailable),
        b"SERVERBUG" => Some(Code::ServerBug),
        b"NOPERM" => Some(Code::NoPerm),
        b"CONTACTADMIN" => Some(Code::ContactAdmin),
        b"TOOBIG" => Some(Code::TooBig),
        b"ALREADYEXISTS" => Some(Code::AlreadyExists),
        b"NONEXISTENT" => Some(Code::Nonexistent),
        b"READ-ONLY" => Some(Code::ReadOnly),
        b"AUTHENTICATIONFAILED" => Some(Code::AuthenticationFailed),
        b"AUTHORIZATIONFAILED" => Some(Code::AuthorizationFailed),
        b"EXPIRED" => Some(Code::Expired),
        b"PRIVACYREQUIRED" => Some(Code::PrivacyRequired),
        _ => None,
    };
    code.unwrap_or_else(|| Code::Other(cut(inner)))
}

/// `38505 3955:3957` (RFC 4315 §3).
fn append_uid(text: &[u8]) -> Option<Code> {
    let (uidvalidity, set) = word(text);
    let uids = uids(set.trim_ascii_end()).ok()?;
    Some(Code::AppendUid { uidvalidity: unique(uidvalidity)?, uids })
}

/// The members of `4,7:9`, in this order.
fn uids(set: &[u8]) -> Result<Vec<u32>, Problem> {
    let mut uids = vec![];
    for range in set.split(|octet| *octet == b',') {
        let mut ends = range.split(|octet| *octet == b':').map(unique);
        let first = ends.next().flatten().ok_or(Problem::Malformed)?;
        let last = ends.next().unwrap_or(Some(first)).ok_or(Problem::Malformed)?;
        if ends.next().is_some() {
            return Err(Problem::Malformed);
        }
        // RFC 3501 §9: `4:2` is the same as `2:4`.
        let (first, last) = (first.min(last), first.max(last));
        if uids.len() + (last - first) as usize >= UIDS {
            return Err(Problem::LargeSet);
        }
        uids.extend(first..=last);
    }
    Ok(uids)
}

/// A unique identifier or a validity: never 0.
fn unique(digits: &[u8]) -> Option<u32> {
    number(digits).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)
}

fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The octets before the first blank, and those behind it.
fn word(octets: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', octets) {
        Some(blank) => (&octets[..blank], &octets[blank + 1..]),
        None => (octets, b""),
    }
}

fn words(octets: &[u8]) -> Vec<String> {
    let words = octets.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect()
}

fn cut(text: &[u8]) -> Vec<u8> {
    text[..text.len().min(TEXT)].to_vec()
}

/// Reads data, of a response that is there as a whole.
struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn take_while(&mut self, is_taken: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|octet| !is_taken(*octet)).unwrap_or(self.rest.len());
        self.take(length).expect("a position is within")
    }

    fn skip_blanks(&mut self) {
        self.take_while(|octet| octet == b' ');
    }

    /// Takes this octet, where it is the next one.
    fn is_next(&mut self, octet: u8) -> bool {
        let is_next = self.rest.first() == Some(&octet);
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    /// What stands before a blank or a parenthesis.
    fn atom(&mut self) -> Option<&'a [u8]> {
        Some(self.take_while(|octet| !b" ()\"\r\n".contains(&octet))).filter(|atom| !atom.is_empty())
    }

    /// `"…"`, with its escapes undone.
    fn quoted(&mut self) -> Option<Vec<u8>> {
        if !self.is_next(b'"') {
            return None;
        }
        let mut text = vec![];
        loop {
            text.extend_from_slice(self.take_while(|octet| !b"\"\\\r\n".contains(&octet)));
            match self.take(1)? {
                b"\"" => return Some(text),
                b"\\" => text.extend_from_slice(self.take(1).filter(|octet| !b"\r\n".contains(&octet[0]))?),
                _ => return None,
            }
        }
    }

    /// `{5}`, a line end, and so many octets.
    fn literal(&mut self) -> Option<&'a [u8]> {
        self.is_next(b'~');
        if !self.is_next(b'{') {
            return None;
        }
        let length = number(self.take_while(|octet| octet.is_ascii_digit()))?;
        self.is_next(b'+');
        if !self.is_next(b'}') {
            return None;
        }
        self.is_next(b'\r');
        if self.is_next(b'\n') { self.take(usize::try_from(length).ok()?) } else { None }
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        match self.rest.first()? {
            b'"' => self.quoted(),
            _ => self.literal().map(<[u8]>::to_vec),
        }
    }

    /// A string or `NIL`.
    fn nstring(&mut self) -> Option<Option<Vec<u8>>> {
        if self.rest.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"NIL")) {
            return (self.atom()?.len() == 3).then_some(None);
        }
        self.string().map(Some)
    }

    /// A string, or what stands before a blank.
    fn astring(&mut self) -> Option<Vec<u8>> {
        match self.rest.first()? {
            b'"' | b'{' => self.string(),
            _ => Some(self.take_while(|octet| !b" \r\n".contains(&octet)).to_vec()).filter(|atom| !atom.is_empty()),
        }
    }

    /// Skips one value: an atom, a string, or a list of such, however deep.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match *self.rest.first()? {
                b'(' => {
                    self.take(1);
                    depth += 1;
                }
                b')' => {
                    self.take(1);
                    depth = depth.checked_sub(1)?;
                }
                b' ' if depth > 0 => self.skip_blanks(),
                b'"' => drop(self.quoted()?),
                b'{' => drop(self.literal()?),
                b'~' if self.rest.get(1) == Some(&b'{') => drop(self.literal()?),
                _ => drop(self.atom()?),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// `(\HasNoChildren) "/" "Archive"`; what stands behind it nobody asked for.
    fn list(&mut self) -> Option<Response> {
        self.skip_blanks();
        let before = self.rest;
        self.skip()?;
        let flags = before[..before.len() - self.rest.len()].strip_prefix(b"(")?.strip_suffix(b")")?;
        let flags = flags.split(|octet| *octet == b' ').filter(|flag| !flag.is_empty());
        let flags = flags.map(|flag| String::from_utf8_lossy(flag).into_owned()).collect();
        self.skip_blanks();
        let delimiter = match self.nstring()? {
            None => None,
            Some(delimiter) => Some(*delimiter.first().filter(|_| delimiter.len() == 1)?),
        };
        self.skip_blanks();
        Some(Response::List { flags, delimiter, name: self.astring()? })
    }

    /// `"Archive" (MESSAGES 1 UIDNEXT 2)`.
    fn status(&mut self) -> Option<Mailbox> {
        self.skip_blanks();
        let mut mailbox = Mailbox { name: self.astring()?, ..Mailbox::default() };
        self.skip_blanks();
        if !self.is_next(b'(') {
            return None;
        }
        loop {
            self.skip_blanks();
            if self.is_next(b')') {
                return self.is_at_end().then_some(mailbox);
            }
            let item = self.atom()?.to_ascii_uppercase();
            self.skip_blanks();
            let before = self.rest;
            self.skip()?;
            let value = &before[..before.len() - self.rest.len()];
            match item.as_slice() {
                b"MESSAGES" => mailbox.messages = number(value).and_then(|number| u32::try_from(number).ok()),
                b"UIDNEXT" => mailbox.uidnext = unique(value),
                b"UIDVALIDITY" => mailbox.uidvalidity = unique(value),
                b"APPENDLIMIT" => mailbox.appendlimit = number(value),
                _ => {}
            }
        }
    }

    /// `2 84 882`, perhaps with `(MODSEQ 917162500)` (RFC 7162 §3.1.5).
    fn search(&mut self) -> Result<Response, Problem> {
        let mut found = vec![];
        loop {
            self.skip_blanks();
            if self.rest.is_empty() || self.rest[0] == b'(' {
                return Ok(Response::Search(found));
            }
            found.push(self.atom().and_then(unique).ok_or(Problem::Malformed)?);
            if found.len() > UIDS {
                return Err(Problem::LargeSet);
            }
        }
    }

    /// `(TAG "a1") UID ALL 2,10:11` (RFC 4731), the answer to SEARCH of servers that know nothing older.
    fn esearch(&mut self) -> Result<Response, Problem> {
        let mut found = vec![];
        loop {
            self.skip_blanks();
            if self.rest.is_empty() {
                return Ok(Response::Search(found));
            }
            if self.rest[0] == b'(' {
                self.skip().ok_or(Problem::Malformed)?;
                continue;
            }
            let name = self.atom().ok_or(Problem::Malformed)?.to_ascii_uppercase();
            if name == b"UID" {
                continue;
            }
            self.skip_blanks();
            let before = self.rest;
            self.skip().ok_or(Problem::Malformed)?;
            if name == b"ALL" {
                found = uids(&before[..before.len() - self.rest.len()])?;
            }
        }
    }

    /// `12 FETCH (`.
    fn numbered_fetch(&mut self) -> Option<Fetch> {
        let seq = unique(self.atom()?)?;
        self.skip_blanks();
        let is_fetch = self.atom()?.eq_ignore_ascii_case(b"FETCH");
        self.skip_blanks();
        (is_fetch && self.is_next(b'(')).then(|| Fetch { seq, ..Fetch::default() })
    }

    /// Items to the closing parenthesis, or to the literal that is the caller's.
    fn items(&mut self, mut fetch: Fetch, has_literal: bool) -> Result<Fetch, Problem> {
        loop {
            self.skip_blanks();
            if self.is_next(b')') {
                let is_end = !has_literal && self.is_at_end();
                return if is_end { Ok(fetch) } else { Err(Problem::Malformed) };
            }
            let name = self.item_name().ok_or(Problem::Malformed)?;
            self.skip_blanks();
            if has_literal && self.rest.is_empty() {
                return Ok(fetch);
            }
            self.item(name, &mut fetch).ok_or(Problem::Malformed)?;
        }
    }

    /// `UID`, `BODY[HEADER.FIELDS (DATE)]`, `BODY[]<0>`.
    fn item_name(&mut self) -> Option<&'a [u8]> {
        let before = self.rest;
        self.take_while(|octet| !b" ()[\"\r\n".contains(&octet));
        if self.rest.first() == Some(&b'[') {
            self.take_while(|octet| !b"]\r\n".contains(&octet));
            self.is_next(b']').then_some(())?;
            self.take_while(|octet| !b" ()\"\r\n".contains(&octet));
        }
        Some(&before[..before.len() - self.rest.len()]).filter(|name| !name.is_empty())
    }

    fn item(&mut self, name: &[u8], fetch: &mut Fetch) -> Option<()> {
        match section(name) {
            Some(b"") => fetch.body = self.nstring()?,
            Some(section) if is_header(section) => fetch.header = self.nstring()?,
            Some(_) => self.skip()?,
            None => {
                let before = self.rest;
                self.skip()?;
                let value = &before[..before.len() - self.rest.len()];
                match name.to_ascii_uppercase().as_slice() {
                    b"UID" => fetch.uid = Some(unique(value)?),
                    b"RFC822.SIZE" => fetch.size = number(value),
                    b"INTERNALDATE" => {
                        fetch.internaldate = Parser { rest: value }.string().and_then(|text| date(&text))
                    }
                    _ => {}
                }
            }
        }
        Some(())
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest.is_empty()
    }
}

/// ` 7-Jul-1996 02:44:25 -0700`.
fn date(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    DateTime::parse_from_str(text, "%e-%b-%Y %H:%M:%S %z").ok().map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(octets: &str) -> Response {
        let (response, length) = read(octets.as_bytes()).unwrap().unwrap();
        assert_eq!(length, octets.len(), "{octets:?}");
        response
    }

    fn condition_of(octets: &str) -> Condition {
        match ok(octets) {
            Response::Condition(condition) | Response::Tagged { condition, .. } => condition,
            other => panic!("{other:?}"),
        }
    }

    fn code_of(inner: &str) -> Option<Code> {
        condition_of(&format!("a1 OK [{inner}] done\r\n")).code
    }

    const HEADER: &str = "BODY[HEADER.FIELDS (MESSAGE-ID \"FROM\")]";

    /// What a well-behaved server says, and how it is read.
    fn examples() -> Vec<(String, Response)> {
        let fetch = Fetch {
            seq: 12,
            uid: Some(7),
            size: Some(44827),
            internaldate: Some(837_596_665),
            header: Some(b"From: a\r\n\r\n".to_vec()),
            body: None,
        };
        let date = "INTERNALDATE \"17-Jul-1996 02:44:25 -0700\"";
        let mailbox = |name: &str| Mailbox {
            name: name.into(),
            messages: Some(231),
            uidnext: Some(44292),
            uidvalidity: Some(1),
            appendlimit: None,
        };
        let list = |name: &str| Response::List {
            flags: vec!["\\HasNoChildren".into(), "\\Sent".into()],
            delimiter: Some(b'/'),
            name: name.into(),
        };
        let text = |text: &str| Condition { status: Status::Ok, code: None, text: text.into() };
        vec![
            ("+ ready\r\n".into(), Response::Continuation(b"ready".to_vec())),
            ("+\r\n".into(), Response::Continuation(vec![])),
            ("a1 OK done {5}\r\n".into(), Response::Tagged { tag: "a1".into(), condition: text("done {5}") }),
            ("* OK\r\n".into(), Response::Condition(text(""))),
            ("* ok hi\n".into(), Response::Condition(text("hi"))),
            (
                "* CAPABILITY IMAP4rev1  auth=PLAIN\r\n".into(),
                Response::Capability(vec!["IMAP4REV1".into(), "AUTH=PLAIN".into()]),
            ),
            ("* LIST (\\HasNoChildren \\Sent) \"/\" a/b\r\n".into(), list("a/b")),
            ("* LIST (\\HasNoChildren \\Sent) \"/\" \"a \\\"b\\\\\"\r\n".into(), list("a \"b\\")),
            ("* LIST (\\HasNoChildren \\Sent) \"/\" {3}\r\na b (\"CHILDINFO\" (\"X\"))\r\n".into(), list("a b")),
            (
                "* LIST () nil INBOX\r\n".into(),
                Response::List { flags: vec![], delimiter: None, name: b"INBOX".to_vec() },
            ),
            (
                "* STATUS blurdybloop (MESSAGES 231 UIDNEXT 44292 UIDVALIDITY 1 APPENDLIMIT NIL X (1 (2)))\r\n".into(),
                Response::Status(mailbox("blurdybloop")),
            ),
            (
                "* STATUS \"a b\" ( MESSAGES 231 uidnext 44292 UIDVALIDITY 1 APPENDLIMIT 9 ) \r\n".into(),
                Response::Status(Mailbox { appendlimit: Some(9), ..mailbox("a b") }),
            ),
            ("* 0 EXISTS\r\n".into(), Response::Exists(0)),
            ("* 4 expunge\r\n".into(), Response::Expunge(4)),
            ("* FLAGS (\\Seen $X)\r\n".into(), Response::Flags),
            ("* 3 RECENT\r\n".into(), Response::Other(b"3 RECENT".to_vec())),
            ("* X {3}\r\na\nb y\r\n".into(), Response::Other(b"X {3}\r\na\nb y".to_vec())),
            ("* SEARCH\r\n".into(), Response::Search(vec![])),
            ("* SEARCH 2 84 882 (MODSEQ 917162500)\r\n".into(), Response::Search(vec![2, 84, 882])),
            ("* ESEARCH (TAG \"a1\") UID COUNT 3 ALL 2,10:11\r\n".into(), Response::Search(vec![2, 10, 11])),
            ("* ESEARCH (TAG \"a1\") UID\r\n".into(), Response::Search(vec![])),
            (
                format!("* 12 FETCH (UID 7 RFC822.SIZE 44827 {date} {HEADER} {{11}}\r\nFrom: a\r\n\r\n)\r\n"),
                Response::Fetch(fetch.clone()),
            ),
            (
                format!(
                    "* 12 fetch (FLAGS (\\Seen) {HEADER} {{11+}}\r\nFrom: a\r\n\r\n MODSEQ (6) {date} \
                     rfc822.size 44827 ENVELOPE (\"x\" {{3}}\r\n(\"\n NIL (({{0}}\r\n))) uid 7)\r\n"
                ),
                Response::Fetch(fetch.clone()),
            ),
            (
                "* 1 FETCH (UID 3 BODY[HEADER] NIL BODY[1.2]<0> \"x\" BODY[]<0> \"ab\" RFC822.SIZE -1)\r\n".into(),
                Response::Fetch(Fetch { seq: 1, uid: Some(3), body: Some(b"ab".to_vec()), ..Fetch::default() }),
            ),
            (
                format!("* 12 FETCH (UID 7 RFC822.SIZE 44827 {date} BODY[] {{6}}\r\n"),
                Response::Literal { fetch: Fetch { header: None, ..fetch }, part: Part::Body, octets: 6 },
            ),
            (
                format!("* 9 FETCH ({HEADER} {{10000000}}\r\n"),
                Response::Literal {
                    fetch: Fetch { seq: 9, ..Fetch::default() },
                    part: Part::LongHeader,
                    octets: 10_000_000,
                },
            ),
        ]
    }

    #[test]
    fn responses_are_read_in_any_split_to_the_same_values() {
        for (wire, expected) in examples() {
            assert_eq!(ok(&wire), expected, "{wire:?}");
            for cut in 0..wire.len() {
                assert_eq!(read(&wire.as_bytes()[..cut]), Ok(None), "{wire:?}, {cut}");
            }
            let followed = [wire.as_bytes(), b"* BYE\r\n{7}"].concat();
            assert_eq!(read(&followed), Ok(Some((expected, wire.len()))), "{wire:?}");
        }
    }

    #[test]
    fn codes_are_read_and_those_that_make_no_sense_are_others() {
        let append = |uidvalidity, uids: &[u32]| Some(Code::AppendUid { uidvalidity, uids: uids.to_vec() });
        assert_eq!(code_of("APPENDUID 38505 3955"), append(38505, &[3955]));
        assert_eq!(code_of("appenduid 1 7,3:5,9"), append(1, &[7, 3, 4, 5, 9]));
        assert_eq!(code_of("UIDNEXT 4294967295"), Some(Code::UidNext(u32::MAX)));
        assert_eq!(code_of("UIDVALIDITY 1"), Some(Code::UidValidity(1)));
        assert_eq!(code_of("TRYCREATE"), Some(Code::TryCreate));
        assert_eq!(code_of("Authenticationfailed"), Some(Code::AuthenticationFailed));
        assert_eq!(code_of("READ-ONLY"), Some(Code::ReadOnly));
        assert_eq!(code_of("CAPABILITY a B"), Some(Code::Capability(vec!["A".into(), "B".into()])));
        for odd in [
            "",
            "X",
            "APPENDUID",
            "APPENDUID 0 1",
            "APPENDUID 1 0",
            "APPENDUID 1 4294967296",
            "APPENDUID 1 1:4294967295",
            "APPENDUID 1 *",
            "APPENDUID 1 1:2:3",
            "APPENDUID 1 1,",
            "UIDNEXT 0",
            "UIDVALIDITY -1",
            "TRYCREATED",
        ] {
            assert_eq!(code_of(odd), Some(Code::Other(odd.into())));
        }
        let condition = condition_of("* NO [OVERQUOTA] full\r\n");
        assert_eq!((condition.status, condition.text), (Status::No, b"[OVERQUOTA] full".to_vec()));
        assert_eq!(condition.code, Some(Code::OverQuota));
        assert_eq!(condition_of("* BYE [x\r\n").code, None);
        assert_eq!(condition_of("a BAD x [TOOBIG]\r\n").code, None);
        let long = "x".repeat(TEXT + 1);
        assert_eq!(condition_of(&format!("* OK [{long}] {long}\r\n")).text.len(), TEXT);
    }

    #[test]
    fn a_message_is_the_callers_wherever_it_stands_among_the_items() {
        let Response::Literal { fetch, part: Part::Body, octets: 3 } = ok("* 1 FETCH (UID 3 BODY[]  {3}\r\n") else {
            panic!("a message comes next");
        };
        for cut in 0..").\r\n".len() - 1 {
            assert_eq!(read_rest(&b")\r\n"[..cut], &fetch), Ok(None));
        }
        assert_eq!(read_rest(b")\r\n* OK\r\n", &fetch), Ok(Some((Response::Fetch(fetch), 3))));
        let Response::Literal { fetch, .. } = ok("* 1 FETCH (BODY[] {0}\r\n") else { panic!("a message comes next") };
        let rest = format!(" FLAGS () {HEADER} {{2}}\r\n\r\n UID 8 RFC822.SIZE 4)\r\n");
        let whole = Fetch { seq: 1, uid: Some(8), size: Some(4), header: Some(b"\r\n".to_vec()), ..Fetch::default() };
        for cut in 0..rest.len() {
            assert_eq!(read_rest(&rest.as_bytes()[..cut], &fetch), Ok(None), "{cut}");
        }
        assert_eq!(read_rest(rest.as_bytes(), &fetch), Ok(Some((Response::Fetch(whole), rest.len()))));
        let again = read_rest(b" UID 9 BODY[] {99}\r\n", &fetch).unwrap().unwrap().0;
        assert!(matches!(again, Response::Literal { part: Part::Body, octets: 99, .. }));
        assert_eq!(read_rest(b"\r\n", &fetch), Err(Problem::Malformed));
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for none in
            ["\r\n", "*\r\n", "* \r\n", "220 hi there\r\n", "a1\r\n", "a1 BYE x\r\n", " OK x\r\n", "a\"b OK x\r\n"]
        {
            assert_eq!(read(none.as_bytes()), Err(Problem::NoResponse), "{none:?}");
        }
        for malformed in [
            "* LIST x\r\n",
            "* LIST (\\X) \"//\" x\r\n",
            "* LIST () NILS x\r\n",
            "* STATUS x\r\n",
            "* STATUS x (MESSAGES)\r\n",
            "* STATUS x (MESSAGES 1) 2\r\n",
            "* SEARCH 0\r\n",
            "* SEARCH 1 x\r\n",
            "* ESEARCH ALL 1:*\r\n",
            "* 0 FETCH (UID 1)\r\n",
            "* 1 FETCH UID 1\r\n",
            "* 1 FETCH (UID 0)\r\n",
            "* 1 FETCH (UID 1\r\n",
            "* 1 FETCH (UID 1)) \r\n",
            "* 1 FETCH (X (\"a)\r\n",
            "* 1 FETCH (X \"a {1}\r\nb\")\r\n",
            "* 1 FETCH (BODY[ \"x\")\r\n",
            "* 1 FETCH (BODY[] x)\r\n",
            "* 1 FETCH (BODY[] {x})\r\n",
            "* 1 FETCH (BODY[] {1} )\r\n",
            "* 4294967296 EXISTS\r\n",
            "* 1 FETCHES (BODY[] {3}\r\n",
        ] {
            assert_eq!(read(malformed.as_bytes()), Err(Problem::Malformed), "{malformed:?}");
        }
        assert_eq!(read(b"a1 OK x BODY[] {3}\r\n").map(|read| read.is_some()), Ok(true));
    }

    #[test]
    fn nothing_is_endless() {
        assert_eq!(read(&[b'*'; LINE]), Err(Problem::LongLine));
        assert_eq!(read(&[b'*'; LINE - 1]), Ok(None));
        assert_eq!(read(format!("* X {{{}}}\r\n", LITERAL + 1).as_bytes()), Err(Problem::LongLiteral));
        assert_eq!(read(b"* X {18446744073709551615}\r\n"), Err(Problem::LongLiteral));
        let many = "{60000}\r\n".to_owned() + &"x".repeat(60_000);
        assert_eq!(read(format!("* X {}", many.repeat(9)).as_bytes()), Err(Problem::LongResponse));
        assert_eq!(read(format!("* SEARCH{}\r\n", " 1".repeat(UIDS + 1)).as_bytes()), Err(Problem::LargeSet));
        assert_eq!(read(b"* ESEARCH UID ALL 1:4294967295\r\n"), Err(Problem::LargeSet));
        let deep = "(".repeat(100_000);
        assert_eq!(read(format!("* 1 FETCH (X {deep})\r\n").as_bytes()), Err(Problem::Malformed));
        let shut = ")".repeat(100_000);
        let fetch = Fetch { seq: 1, ..Fetch::default() };
        assert_eq!(ok(&format!("* 1 FETCH (X {deep}{shut})\r\n")), Response::Fetch(fetch));
    }

    #[test]
    fn a_date_is_a_moment_whatever_its_zone() {
        for (text, moment) in [
            ("17-Jul-1996 02:44:25 -0700", Some(837_596_665)),
            ("17-Jul-1996 09:44:25 +0000", Some(837_596_665)),
            (" 1-Jan-1970 00:00:01 +0000", Some(1)),
            ("01-Jan-1970 00:00:01 +0000", Some(1)),
            ("32-Jan-1970 00:00:01 +0000", None),
            ("1970-01-01T00:00:01Z", None),
            ("", None),
        ] {
            assert_eq!(date(text.as_bytes()), moment, "{text}");
        }
    }

    /// Octets of the examples, changed at random: the beginning of a response is read as the whole is, or is no answer yet.
    #[test]
    fn whatever_comes_is_read_the_same_in_any_split() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let examples: Vec<Vec<u8>> = examples().into_iter().map(|(wire, _)| wire.into_bytes()).collect();
        for _ in 0..20_000 {
            let mut wire = examples[random(examples.len())].clone();
            wire.extend_from_slice(&examples[random(examples.len())]);
            for _ in 0..=random(3) {
                let at = random(wire.len());
                match random(3) {
                    0 => drop(wire.remove(at)),
                    1 => wire.insert(at, b"{}()[]\"\\ \r\n*+3"[random(14)]),
                    _ => wire[at] = random(256) as u8,
                }
            }
            let whole = read(&wire);
            let cut = random(wire.len());
            let part = read(&wire[..cut]);
            let is_same = match &whole {
                Ok(Some((_, length))) if cut < *length => part == Ok(None),
                Ok(Some(_)) => part == whole,
                Ok(None) => part == Ok(None),
                Err(_) => part == Ok(None) || part == whole,
            };
            assert!(is_same, "{:?}, {cut}: {part:?}, {whole:?}", wire.escape_ascii().to_string());
        }
    }
}
