#![no_main]

use libfuzzer_sys::fuzz_target;
use popfetch::relay::http::answer::{self, BODY, BODY_ON_THE_WIRE, End, FIELDS, HEAD};

// A head ends at the same octet in every split and is what httparse reads there; a body takes no octet of what follows it,
// and neither is read for ever.
fuzz_target!(|wire: &[u8]| {
    let whole = answer::head(wire);
    match &whole {
        Ok(Some((head, length))) => {
            assert!((100..600).contains(&head.status) && head.fields.len() <= FIELDS && *length <= HEAD);
            assert_eq!(answer::head(&wire[..*length]), whole);
            assert_eq!(answer::head(&wire[..*length - 1]), Ok(None));
            let (mut fields, wanted) = ([httparse::EMPTY_HEADER; FIELDS], Ok(httparse::Status::Complete(*length)));
            let mut oracle = httparse::Response::new(&mut fields);
            assert_eq!((oracle.parse(wire), oracle.code), (wanted, Some(head.status)));
            let _ = head.keeps_connection();
            body(&wire[*length..], head.end());
        }
        Ok(None) => assert!(wire.len() < HEAD),
        Err(_) => assert_eq!(answer::head(&[wire, b"HTTP/1.1 200 OK\r\n\r\n"].concat()), whole),
    }
    [End::Chunked, End::Connection, End::After(7)].into_iter().for_each(|end| body(wire, end));
});

fn body(wire: &[u8], end: End) {
    let whole = answer::body(wire, end);
    match &whole {
        Ok(Some((body, length))) => {
            assert!(body.len() <= BODY && *length <= wire.len() && *length <= BODY_ON_THE_WIRE);
            assert_eq!(answer::body(&wire[..*length], end), whole);
            if let Some(cut) = length.checked_sub(1) {
                assert_eq!(answer::body(&wire[..cut], end), Ok(None));
            }
        }
        Ok(None) => assert!(wire.len() < BODY_ON_THE_WIRE),
        Err(_) => assert_eq!(answer::body(&[wire, b"0\r\n\r\n"].concat(), end), whole),
    }
}
