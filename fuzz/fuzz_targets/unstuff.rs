#![no_main]

use libfuzzer_sys::fuzz_target;
use popfetch::pop3::unstuff::Unstuffer;

fuzz_target!(|data: &[u8]| {
    let Some((&count, rest)) = data.split_first() else { return };
    let (cuts, wire) = rest.split_at(rest.len().min(usize::from(count % 32)));
    let expected = reference(wire);
    let (plain, used, is_ended) = decode(wire, cuts);
    match expected {
        Some(expected) => assert_eq!((plain, used, is_ended), (expected.0, expected.1, true)),
        None => assert_eq!((used, is_ended), (wire.len(), false)),
    }
});

fn decode(mut wire: &[u8], cuts: &[u8]) -> (Vec<u8>, usize, bool) {
    let (mut unstuffer, mut plain, mut used) = (Unstuffer::default(), vec![], 0);
    for cut in cuts {
        let (piece, rest) = wire.split_at(wire.len().min(usize::from(*cut)));
        used += unstuffer.feed(piece, &mut plain);
        wire = rest;
    }
    used += unstuffer.feed(wire, &mut plain);
    (plain, used, unstuffer.is_ended())
}

/// RFC 1939 §3, line by line. `None`: the reply has no end.
fn reference(wire: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut plain, mut start) = (vec![], 0);
    loop {
        let end = start + wire[start..].windows(2).position(|pair| pair == b"\r\n")?;
        let line = &wire[start..end];
        start = end + 2;
        if line == b"." {
            return Some((plain, start));
        }
        plain.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        plain.push(b'\n');
    }
}
