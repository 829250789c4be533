#![no_main]

use libfuzzer_sys::fuzz_target;
use popfetch::relay::wire::{Dots, Lines};

// The first octet says how many of the next ones are sizes of pieces.
fuzz_target!(|data: &[u8]| {
    let Some((&count, rest)) = data.split_first() else { return };
    let (cuts, message) = rest.split_at(rest.len().min(usize::from(count % 32)));
    let expected = reference(message);
    let (mut lines, mut wire) = (Lines::default(), vec![]);
    pieces(message, cuts, |piece| lines.push(piece, &mut wire));
    lines.finish(&mut wire);
    assert_eq!(wire, expected);
    let (mut dots, mut stuffed) = (Dots::default(), vec![]);
    pieces(&wire, cuts, |piece| dots.push(piece, &mut stuffed));
    // A server that takes any line end for one sees no end of the message, and undoing the dots gives it back.
    let text = stuffed.strip_suffix(b"\r\n").unwrap_or(&stuffed);
    let mut undone = vec![];
    for line in text.split(|octet| *octet == b'\n').filter(|_| !stuffed.is_empty()) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line != b"." && !line.contains(&b'\r'));
        undone.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        undone.extend_from_slice(b"\r\n");
    }
    assert_eq!(undone, wire);
});

fn pieces(mut octets: &[u8], cuts: &[u8], mut take: impl FnMut(&[u8])) {
    for cut in cuts {
        let (piece, rest) = octets.split_at(octets.len().min(usize::from(*cut)));
        take(piece);
        octets = rest;
    }
    take(octets);
}

/// Octet by octet.
fn reference(message: &[u8]) -> Vec<u8> {
    let mut wire = vec![];
    for (at, octet) in message.iter().enumerate() {
        match octet {
            b'\n' if at > 0 && message[at - 1] == b'\r' => {}
            b'\r' | b'\n' => wire.extend_from_slice(b"\r\n"),
            octet => wire.push(*octet),
        }
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire
}
