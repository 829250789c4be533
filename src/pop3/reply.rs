//! The first line of a reply: `+OK …` or `-ERR …`, perhaps with a response code (RFC 1939 §3, RFC 2449 §8).

/// What a status line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status<'a> {
    /// `+OK`, with the text after it.
    Ok(&'a [u8]),
    /// `-ERR`, with the text after it, response code included.
    Err(&'a [u8]),
    /// `+ …`: a challenge of an AUTH exchange (RFC 5034 §4).
    Challenge(&'a [u8]),
}

/// Reads a status line (without its line end). `None`: it has no status indicator.
///
/// The indicator must be upper case (RFC 1939 §3); what follows it is for people, or a response code.
pub fn status(line: &[u8]) -> Option<Status<'_>> {
    if let Some(text) = line.strip_prefix(b"+OK") {
        return Some(Status::Ok(text.trim_ascii()));
    }
    if let Some(text) = line.strip_prefix(b"-ERR") {
        return Some(Status::Err(text.trim_ascii()));
    }
    if line == b"+" {
        return Some(Status::Challenge(b""));
    }
    line.strip_prefix(b"+ ").map(|text| Status::Challenge(text.trim_ascii()))
}

/// A response code in brackets at the beginning of an error's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseCode {
    /// `[IN-USE]`: another session holds the maildrop (RFC 2449 §8.1.2).
    InUse,
    /// `[LOGIN-DELAY]`: logged in again too soon (RFC 2449 §8.1.1).
    LoginDelay,
    /// `[SYS/TEMP]`: trouble that will pass (RFC 3206 §4).
    SysTemp,
    /// `[SYS/PERM]`: trouble that needs a person (RFC 3206 §4).
    SysPerm,
    /// `[AUTH]`: the credentials themselves are wrong (RFC 3206 §5).
    Auth,
}

impl ResponseCode {
    /// The code that `text` begins with, when it is one that says what to do next. Codes are case-insensitive and
    /// may have further levels: `[SYS/TEMP/QUOTA]` is still `SYS/TEMP` (RFC 2449 §8).
    pub fn of(text: &[u8]) -> Option<Self> {
        let inner = text.strip_prefix(b"[")?;
        let code = &inner[..memchr::memchr(b']', inner)?];
        let known = [
            ("IN-USE", ResponseCode::InUse),
            ("LOGIN-DELAY", ResponseCode::LoginDelay),
            ("SYS/TEMP", ResponseCode::SysTemp),
            ("SYS/PERM", ResponseCode::SysPerm),
            ("AUTH", ResponseCode::Auth),
        ];
        known.into_iter().find(|(name, _)| is_level(code, name.as_bytes())).map(|(_, code)| code)
    }

    /// True when trying again later may help without anyone doing anything.
    pub fn is_transient(self) -> bool {
        matches!(self, ResponseCode::InUse | ResponseCode::LoginDelay | ResponseCode::SysTemp)
    }
}

fn is_level(code: &[u8], name: &[u8]) -> bool {
    code.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        && matches!(code.get(name.len()), None | Some(b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_needs_its_indicator() {
        assert_eq!(status(b"+OK"), Some(Status::Ok(b"")));
        assert_eq!(status(b"+OK  2 messages "), Some(Status::Ok(b"2 messages")));
        assert_eq!(status(b"-ERR [AUTH] no"), Some(Status::Err(b"[AUTH] no")));
        assert_eq!(status(b"+ PDE5Ng=="), Some(Status::Challenge(b"PDE5Ng==")));
        assert_eq!(status(b"+"), Some(Status::Challenge(b"")));
        assert_eq!(status(b"+ok"), None);
        assert_eq!(status(b""), None);
        assert_eq!(status(b"OK +OK"), None);
    }

    #[test]
    fn response_codes_are_case_insensitive_and_have_levels() {
        assert_eq!(ResponseCode::of(b"[in-use] locked"), Some(ResponseCode::InUse));
        assert_eq!(ResponseCode::of(b"[SYS/TEMP/QUOTA] x"), Some(ResponseCode::SysTemp));
        assert_eq!(ResponseCode::of(b"[SYS/TEMPER] x"), None);
        assert_eq!(ResponseCode::of(b"no [AUTH]"), None);
        assert_eq!(ResponseCode::of(b"[AUTH"), None);
        assert!(ResponseCode::LoginDelay.is_transient() && !ResponseCode::Auth.is_transient());
    }
}
