#![no_main]

use std::fs;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use popfetch::deliver::{self, Context, Place, Recovered};
use popfetch::header;
use popfetch::stop::Stop;

// One octet of choices, two offsets, two lengths, where the spool ends; then the spool and the tail of the mbox.
fuzz_target!(|data: &[u8]| {
    let [choices, offset, spool_offset, first, second, split, rest @ ..] = data else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (mbox, spool) = (folder.path().join("mbox"), folder.path().join("t4g.spool"));
    let (spooled, tail) = rest.split_at(rest.len().min(usize::from(*split)));
    // Half of the time the mbox ends in a piece of the spool, as after a crash.
    let tail = if choices % 2 == 0 { &spooled[..spooled.len().min(tail.len())] } else { tail };
    let before = [b"From a\n\nx\n\n", tail].concat();
    fs::write(&spool, spooled).expect("a file can be written");
    fs::write(&mbox, &before).expect("a file can be written");
    let offset = if choices & 2 == 0 { 11 } else { u64::from(*offset) };
    let place = |offset, length, spool_offset| Place::Mbox {
        path: mbox.clone(),
        offset,
        length,
        spool: spool.clone(),
        spool_offset,
    };
    let (first, second) = (u64::from(*first), u64::from(*second));
    let spool_offset = if choices & 4 == 0 { 0 } else { u64::from(*spool_offset) };
    let places = [place(offset, first, spool_offset), place(offset + first, second, spool_offset + first)];
    let recovered = deliver::recover(&places, &[], &context(folder.path()));
    let after = fs::read(&mbox).expect("the mbox is still there");
    assert!(after.starts_with(&before), "an mbox only grows");
    let Ok(recovered) = recovered else { return };
    for (place, recovered) in places.iter().zip(&recovered) {
        let (Place::Mbox { offset, length, spool_offset, .. }, Recovered::Delivered(_)) = (place, recovered) else {
            continue;
        };
        let range = |from: u64| from as usize..(from + length) as usize;
        assert_eq!(after.get(range(*offset)), spooled.get(range(*spool_offset)), "delivered means: it is there");
    }
});

fn context(folder: &std::path::Path) -> Context {
    Context {
        owner: None,
        account: "work".into(),
        recipient: "alice".into(),
        spool_dir: folder.into(),
        tag: "t4g".into(),
        envelope_sender: header::envelope_sender,
        mda_timeout: Duration::from_secs(1),
        stop: Stop::new().expect("a pipe can be made"),
        network: deliver::Network::default(),
    }
}
