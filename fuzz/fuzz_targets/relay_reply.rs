#![no_main]

use libfuzzer_sys::fuzz_target;
use popfetch::relay::reply::{self, LINE, LINES};

// A reply ends at the same octet in every split, has nothing but its own lines, and no octets are read for ever.
fuzz_target!(|wire: &[u8]| {
    let whole = reply::read(wire);
    match &whole {
        Ok(Some((reply, length))) => {
            assert!((200..600).contains(&reply.code) && reply.lines.len() <= LINES);
            assert!(reply.lines.iter().all(|line| line.len() < LINE && !line.contains(&b'\n')));
            let (read, rest) = wire.split_at(*length);
            assert!(read.ends_with(b"\n") && read.iter().filter(|octet| **octet == b'\n').count() == reply.lines.len());
            assert_eq!(reply::read(&wire[..wire.len() - rest.len()]), whole);
            assert_eq!(reply::read(&read[..read.len() - 1]), Ok(None));
            let _ = (reply.said(), reply.enhanced());
        }
        Ok(None) => assert!(wire.len() < LINE * LINES),
        Err(_) => assert_eq!(reply::read(&[wire, b"250 ok\r\n"].concat()), whole),
    }
});
