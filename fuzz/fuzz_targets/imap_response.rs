#![no_main]

use imap_codec::decode::Decoder as _;
use imap_codec::imap_types::core::NString;
use imap_codec::imap_types::fetch::{MessageDataItem, Section};
use imap_codec::imap_types::mailbox::Mailbox as Name;
use imap_codec::imap_types::response as theirs;
use imap_codec::imap_types::status::StatusDataItem;
use imap_codec::{GreetingCodec, ResponseCodec};
use libfuzzer_sys::fuzz_target;
use popfetch::relay::imap::response::{
    Code, Condition, Fetch, Mailbox, Part, RESPONSE, Response, Status, TEXT, read, read_rest,
};

// The beginning of a response is read as the whole is, or is no answer yet; and what imap-codec takes is read to the same
// values, if it is something that we ask for.
fuzz_target!(|wire: &[u8]| {
    let whole = read(wire);
    match &whole {
        Ok(Some((_, length))) => {
            assert!(*length <= wire.len() && wire[..*length].ends_with(b"\n"));
            assert_eq!(read(&wire[..*length]), whole);
            assert_eq!(read(&wire[..*length - 1]), Ok(None));
        }
        Ok(None) => assert!(wire.len() < 2 * RESPONSE),
        Err(_) => {
            for cut in [wire.len() / 2, wire.len().saturating_sub(1)] {
                let part = read(&wire[..cut]);
                assert!(part == Ok(None) || part == whole);
            }
        }
    }
    if let Ok((rest, expected)) = ResponseCodec::default().decode(wire) {
        compare(wire, rest, &expected);
    }
    if let Ok((_, greeting)) = GreetingCodec::default().decode(wire) {
        let status = match greeting.kind {
            theirs::GreetingKind::Ok => Status::Ok,
            theirs::GreetingKind::PreAuth => Status::Preauth,
            theirs::GreetingKind::Bye => Status::Bye,
        };
        let Ok(Some((Response::Condition(ours), _))) = read(wire) else { panic!("{greeting:?}, {whole:?}") };
        compare_condition(&ours, status, greeting.code.as_ref(), greeting.text.as_ref());
    }
});

fn compare(wire: &[u8], rest: &[u8], expected: &theirs::Response<'_>) {
    let taken = &wire[..wire.len() - rest.len()];
    let Some((ours, length)) = read_with_message(wire) else {
        let is_excused = is_exception(taken, expected);
        assert!(is_excused, "{expected:?}, {:?}", read(wire));
        return;
    };
    if is_exception(taken, expected) {
        return;
    }
    assert_eq!(length, taken.len(), "{ours:?}, {expected:?}");
    match (&ours, expected) {
        (Response::Continuation(_), theirs::Response::CommandContinuationRequest(_)) => {}
        (Response::Tagged { tag, condition }, theirs::Response::Status(theirs)) => {
            assert_eq!(Some(tag.as_str()), theirs.tag().map(AsRef::as_ref));
            compare_status(condition, theirs);
        }
        (Response::Condition(condition), theirs::Response::Status(theirs)) => {
            assert!(theirs.tag().is_none());
            compare_status(condition, theirs);
        }
        (ours, theirs::Response::Data(data)) => {
            let is_odd = |text: &[u8]| matches!(text, [b'+' | b'-', _, _, b'6'..=b'9', _, b'"']);
            compare_data(ours, data, taken.windows(6).any(is_odd));
        }
        _ => panic!("{ours:?}, {expected:?}"),
    }
}

/// Where we read otherwise than imap-codec: a section with a field name that is quoted or a literal, which may hold a bracket
/// or a line end. We ask for names that are atoms.
fn is_exception(taken: &[u8], expected: &theirs::Response<'_>) -> bool {
    let is_fetch = matches!(expected, theirs::Response::Data(theirs::Data::Fetch { .. }));
    let is_odd = |section: &[u8]| {
        let end = section.iter().position(|octet| *octet == b']').unwrap_or(section.len());
        section[..end].iter().any(|octet| b"\"{[".contains(octet))
    };
    is_fetch && taken.split(|octet| *octet == b'[').skip(1).any(is_odd)
}

/// Takes messages off the line, as a caller would.
fn read_with_message(wire: &[u8]) -> Option<(Response, usize)> {
    let (mut response, mut length) = read(wire).ok()??;
    let (mut body, mut is_long) = (None, false);
    while let Response::Literal { fetch, part, octets } = response {
        let octets = usize::try_from(octets).ok()?;
        let literal = wire.get(length..length + octets)?;
        match part {
            Part::Body => body = Some(literal.to_vec()),
            Part::LongHeader => is_long = true,
        }
        length += octets;
        let (next, octets) = read_rest(&wire[length..], &fetch).ok()??;
        (response, length) = (next, length + octets);
    }
    if let Response::Fetch(fetch) = &mut response {
        assert!(!is_long, "inputs are short");
        fetch.body = body.or(fetch.body.take());
    }
    Some((response, length))
}

fn compare_status(ours: &Condition, theirs: &theirs::Status<'_>) {
    let status = match theirs {
        theirs::Status::Ok { .. } => Status::Ok,
        theirs::Status::No { .. } => Status::No,
        theirs::Status::Bad { .. } => Status::Bad,
        theirs::Status::Bye { .. } => Status::Bye,
    };
    compare_condition(ours, status, theirs.code(), theirs.text().as_ref());
}

fn compare_condition(ours: &Condition, status: Status, code: Option<&theirs::Code<'_>>, text: &str) {
    assert_eq!(ours.status, status);
    if ours.text.len() < TEXT {
        assert!(ours.text.ends_with(text.as_bytes()), "{ours:?}, {text:?}");
    }
    let Some(code) = code else {
        // `[` without an end is text to both.
        assert!(ours.code.is_none(), "{ours:?}, {text:?}");
        return;
    };
    let ours = ours.code.as_ref().expect("there is a code");
    match (code, ours) {
        (theirs::Code::TryCreate, Code::TryCreate)
        | (theirs::Code::ReadOnly, Code::ReadOnly)
        | (theirs::Code::OverQuota, Code::OverQuota)
        | (theirs::Code::TooBig, Code::TooBig) => {}
        (theirs::Code::UidNext(expected), Code::UidNext(ours)) => assert_eq!(expected.get(), *ours),
        (theirs::Code::UidValidity(expected), Code::UidValidity(ours)) => assert_eq!(expected.get(), *ours),
        (theirs::Code::Capability(expected), Code::Capability(ours)) => {
            compare_capability(ours, expected.as_ref());
        }
        (theirs::Code::Other(_), _) | (_, Code::Other(_)) => {}
        _ => panic!("{ours:?}, {code:?}"),
    }
    if let Code::Other(inner) = ours {
        let is_known = matches!(
            code,
            theirs::Code::TryCreate | theirs::Code::ReadOnly | theirs::Code::UidNext(_) | theirs::Code::UidValidity(_)
        );
        assert!(!is_known, "{:?}, {code:?}", inner.escape_ascii().to_string());
    }
}

fn compare_data(ours: &Response, data: &theirs::Data<'_>, has_odd_zone: bool) {
    match (ours, data) {
        (Response::Capability(ours), theirs::Data::Capability(expected)) => {
            compare_capability(ours, expected.as_ref());
        }
        (Response::List { flags, delimiter, name }, theirs::Data::List { items, delimiter: between, mailbox }) => {
            let expected: Vec<_> = items.iter().map(|flag| flag.to_string().to_ascii_lowercase()).collect();
            assert_eq!(expected, flags.iter().map(|flag| flag.to_ascii_lowercase()).collect::<Vec<_>>());
            assert_eq!(between.as_ref().map(|between| between.inner() as u32), delimiter.map(u32::from));
            compare_name(name, mailbox);
        }
        (Response::Status(ours), theirs::Data::Status { mailbox, items }) => {
            compare_name(&ours.name, mailbox);
            let mut expected = Mailbox { name: ours.name.clone(), appendlimit: ours.appendlimit, ..Mailbox::default() };
            for item in items.iter() {
                match item {
                    StatusDataItem::Messages(number) => expected.messages = Some(*number),
                    StatusDataItem::UidNext(number) => expected.uidnext = Some(number.get()),
                    StatusDataItem::UidValidity(number) => expected.uidvalidity = Some(number.get()),
                    _ => {}
                }
            }
            assert_eq!(ours, &expected);
        }
        (Response::Search(ours), theirs::Data::Search(expected)) => {
            assert_eq!(ours, &expected.iter().map(|uid| uid.get()).collect::<Vec<_>>());
        }
        (Response::Exists(ours), theirs::Data::Exists(expected)) => assert_eq!(ours, expected),
        (Response::Expunge(ours), theirs::Data::Expunge(expected)) => assert_eq!(*ours, expected.get()),
        (Response::Flags, theirs::Data::Flags(_)) => {}
        (Response::Fetch(ours), theirs::Data::Fetch { seq, items }) => {
            let mut expected = Fetch { seq: seq.get(), ..Fetch::default() };
            items.as_ref().iter().for_each(|item| add(&mut expected, item));
            // A zone with more than 59 minutes is none.
            expected.internaldate = expected.internaldate.filter(|_| ours.internaldate.is_some() || !has_odd_zone);
            assert_eq!(ours, &expected);
        }
        (
            Response::Other(_),
            theirs::Data::Lsub { .. }
            | theirs::Data::Recent(_)
            | theirs::Data::Enabled { .. }
            | theirs::Data::Quota { .. }
            | theirs::Data::QuotaRoot { .. },
        ) => {}
        _ => panic!("{ours:?}, {data:?}"),
    }
}

/// Words for quotas, which imap-codec shows anew, mean nothing to us.
fn compare_capability(ours: &[String], theirs: &[theirs::Capability<'_>]) {
    let ours = ours.iter().filter(|word| !word.starts_with("QUOTA"));
    let theirs = theirs.iter().map(|word| word.to_string().to_ascii_uppercase());
    assert!(ours.cloned().eq(theirs.filter(|word| !word.starts_with("QUOTA"))));
}

fn compare_name(ours: &[u8], theirs: &Name<'_>) {
    match theirs {
        Name::Inbox => assert!(ours.eq_ignore_ascii_case(b"INBOX")),
        Name::Other(name) => assert_eq!(ours, name.inner().as_ref() as &[u8]),
    }
}

fn add(fetch: &mut Fetch, item: &MessageDataItem<'_>) {
    let octets = |data: &NString<'_>| data.0.as_ref().map(|data| data.as_ref().to_vec());
    match item {
        MessageDataItem::Uid(uid) => fetch.uid = Some(uid.get()),
        MessageDataItem::Rfc822Size(size) => fetch.size = Some(u64::from(*size)),
        MessageDataItem::InternalDate(date) => fetch.internaldate = Some(date.as_ref().timestamp()),
        MessageDataItem::BodyExt { section: None, data, .. } => fetch.body = octets(data),
        MessageDataItem::BodyExt { section: Some(section), data, .. } => match section {
            Section::Header(None) | Section::HeaderFields(None, _) | Section::HeaderFieldsNot(None, _) => {
                fetch.header = octets(data);
            }
            _ => {}
        },
        _ => {}
    }
}
