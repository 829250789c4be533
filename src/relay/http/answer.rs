//! Answers of HTTP/1.1 (RFC 9112): the head, and where the body ends.
//!
//! Functions of octets: the caller reads, and asks again when more has come. `httparse` knows the grammar of heads and
//! chunks; how much a server may send, and what counts where it contradicts itself, is decided here.

use httparse::{EMPTY_HEADER, Status};

/// Longest head accepted.
pub const HEAD: usize = 32 << 10;

/// Most fields accepted in a head, and in a trailer.
pub const FIELDS: usize = 128;

/// Longest body that is read to its end; a connection with more of it is not used again.
pub const BODY: usize = 64 << 10;

/// The same with chunk sizes and trailer.
pub const BODY_ON_THE_WIRE: usize = 2 * BODY;

/// Status line and fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// 100 to 599.
    pub status: u16,
    /// The words behind it; empty where there are none.
    pub reason: String,
    /// Names and values, in order.
    pub fields: Vec<(String, Vec<u8>)>,
    is_1_1: bool,
}

/// Why octets are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// They are not HTTP.
    NoHttp,
    /// The head is longer than [`HEAD`], or has more than [`FIELDS`] fields.
    LongHead,
    /// The status is none (RFC 9110 §15).
    Status,
    /// The body is longer than [`BODY`].
    LongBody,
    /// The body is not in chunks, as the head says.
    NoChunk,
}

/// Where a body ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After so many octets.
    After(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection, also where the head contradicts itself: nothing behind it is believed.
    Connection,
}

/// Reads the head that octets begin with, and tells how many of them it has; `None` until it is whole.
///
/// # Errors
/// When no more octets would make a head of it.
pub fn head(octets: &[u8]) -> Result<Option<(Head, usize)>, Problem> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(&octets[..octets.len().min(HEAD)]) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if octets.len() < HEAD => return Ok(None),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(Problem::LongHead),
        Err(_) => return Err(Problem::NoHttp),
    };
    let status = response.code.filter(|status| (100..600).contains(status)).ok_or(Problem::Status)?;
    let fields = response.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
    let reason = response.reason.unwrap_or_default().to_owned();
    Ok(Some((Head { status, reason, fields, is_1_1: response.version == Some(1) }, length)))
}

/// Reads the body that octets begin with, and tells how many of them it has; `None` until it is whole.
///
/// # Errors
/// When it is too long, or no more octets would make a body of it.
pub fn body(octets: &[u8], end: End) -> Result<Option<(Vec<u8>, usize)>, Problem> {
    match end {
        End::After(length) => match usize::try_from(length) {
            Ok(length) if length <= BODY => Ok(octets.get(..length).map(|body| (body.to_vec(), length))),
            _ => Err(Problem::LongBody),
        },
        End::Connection if octets.len() <= BODY => Ok(None),
        End::Connection => Err(Problem::LongBody),
        End::Chunked => match chunked(&octets[..octets.len().min(BODY_ON_THE_WIRE)])? {
            None if octets.len() >= BODY_ON_THE_WIRE => Err(Problem::LongBody),
            body => Ok(body),
        },
    }
}

fn chunked(octets: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Problem> {
    let (mut body, mut at) = (vec![], 0);
    loop {
        let (length, size) = match httparse::parse_chunk_size(&octets[at..]) {
            Ok(Status::Complete(read)) => read,
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(Problem::NoChunk),
        };
        at += length;
        if size == 0 {
            break;
        }
        let Some(size) = usize::try_from(size).ok().filter(|size| body.len() + size <= BODY) else {
            return Err(Problem::LongBody);
        };
        let Some(chunk) = octets.get(at..at + size + 2) else { return Ok(None) };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else { return Err(Problem::NoChunk) };
        body.extend_from_slice(chunk);
        at += size + 2;
    }
    match httparse::parse_headers(&octets[at..], &mut [EMPTY_HEADER; FIELDS]) {
        Ok(Status::Complete((length, _))) => Ok(Some((body, at + length))),
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(Problem::NoChunk),
    }
}

impl Head {
    /// The value of the first field of this name.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }

    fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.fields.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }

    /// Another answer to the same request follows (RFC 9110 §15.2).
    pub fn is_interim(&self) -> bool {
        self.status / 100 == 1
    }

    /// Where the body ends.
    pub fn end(&self) -> End {
        if self.is_interim() || [204, 304].contains(&self.status) {
            return End::After(0);
        }
        let codings: Vec<&[u8]> = self.values("transfer-encoding").collect();
        let mut lengths = self.values("content-length");
        match (&codings[..], lengths.next()) {
            ([coding], None) if coding.eq_ignore_ascii_case(b"chunked") => End::Chunked,
            ([], Some(first)) if lengths.all(|length| length == first) => {
                number(first).map_or(End::Connection, End::After)
            }
            _ => End::Connection,
        }
    }

    /// The connection can be used for another request, once the body was read (RFC 9112 §9.3).
    pub fn keeps_connection(&self) -> bool {
        let says = |wanted: &str| {
            let words = self.values("connection").flat_map(|value| value.split(|octet| *octet == b','));
            words.map(<[u8]>::trim_ascii).any(|word| word.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        self.end() != End::Connection && !says("close") && (self.is_1_1 || says("keep-alive"))
    }
}

/// Digits alone.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(wire: &str) -> Head {
        head(wire.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn a_head_ends_at_the_same_octet_in_every_split() {
        let wire = b"HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: 2\r\nX-A:  b \r\n\r\nno";
        let length = wire.len() - 2;
        for cut in 0..length {
            assert_eq!(head(&wire[..cut]), Ok(None), "{cut}");
        }
        let (head, read) = head(wire).unwrap().unwrap();
        assert_eq!((head.status, &*head.reason, read), (422, "Unprocessable Entity", length));
        assert_eq!((head.field("x-a"), head.field("x-b")), (Some(&b"b"[..]), None));
        assert_eq!(body(&wire[length..], head.end()), Ok(Some((b"no".to_vec(), 2))));
    }

    #[test]
    fn what_is_no_head_is_refused_and_nothing_is_endless() {
        for wrong in ["+OK\r\n", "220 mx ESMTP\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 20\r\n\r\n", "<html>"] {
            assert_eq!(head(wrong.as_bytes()), Err(Problem::NoHttp), "{wrong}");
        }
        assert_eq!(head(b"HTTP/1.1 600 x\r\n\r\n"), Err(Problem::Status));
        assert_eq!(head(b"HTTP/1.1 099 x\r\n\r\n"), Err(Problem::Status));
        let endless = |line: &str| head([b"HTTP/1.1 200 OK\r\n", line.repeat(HEAD).as_bytes()].concat().as_slice());
        assert_eq!(endless("x"), Err(Problem::LongHead));
        assert_eq!(endless("A: b\r\n"), Err(Problem::LongHead));
    }

    #[test]
    fn where_a_body_ends_is_told_once_or_not_at_all() {
        let end = |fields: &str| whole(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).end();
        for (fields, expected) in [
            ("Content-Length: 7\r\n", End::After(7)),
            ("content-length: 7\r\nContent-Length: 7\r\n", End::After(7)),
            ("Content-Length: 7\r\nContent-Length: 8\r\n", End::Connection),
            ("Content-Length: +7\r\n", End::Connection),
            ("Content-Length: 99999999999999999999\r\n", End::Connection),
            ("Transfer-Encoding: Chunked\r\n", End::Chunked),
            ("Transfer-Encoding: gzip, chunked\r\n", End::Connection),
            ("Transfer-Encoding: chunked\r\nContent-Length: 7\r\n", End::Connection),
            ("", End::Connection),
        ] {
            assert_eq!(end(fields), expected, "{fields}");
        }
        assert_eq!(whole("HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n").end(), End::After(0));
        assert_eq!(whole("HTTP/1.1 100 Continue\r\n\r\n").end(), End::After(0));
    }

    #[test]
    fn chunks_end_at_the_same_octet_in_every_split() {
        let wire = b"4;x=y\r\nWiki\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nHTTP/1.1";
        let length = wire.len() - b"HTTP/1.1".len();
        for cut in 0..length {
            assert_eq!(body(&wire[..cut], End::Chunked), Ok(None), "{cut}");
        }
        assert_eq!(body(wire, End::Chunked), Ok(Some((b"Wiki0123456789".to_vec(), length))));
        for (wrong, problem) in [("4\r\nWikixx", Problem::NoChunk), ("x\r\n", Problem::NoChunk)] {
            assert_eq!(body(wrong.as_bytes(), End::Chunked), Err(problem), "{wrong}");
        }
        assert_eq!(body(b"FFFFFFFF\r\n", End::Chunked), Err(Problem::LongBody));
        let crumbs = "1\r\nx\r\n".repeat(BODY);
        assert_eq!(body(crumbs.as_bytes(), End::Chunked), Err(Problem::LongBody));
        assert_eq!(body(&[b'x'; BODY + 1], End::Connection), Err(Problem::LongBody));
        assert_eq!(body(b"", End::After(BODY as u64 + 1)), Err(Problem::LongBody));
    }

    #[test]
    fn a_connection_is_kept_unless_one_side_says_otherwise() {
        for (wire, is_kept) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
        ] {
            assert_eq!(whole(wire).keeps_connection(), is_kept, "{wire}");
        }
    }
}
