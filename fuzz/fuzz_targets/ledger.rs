#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use popfetch::ledger::Ledger;

const HEADER: &[u8] = b"{\"popfetch\":3,\"maildrop\":\"a@b\"}\n";

fuzz_target!(|data: &[u8]| {
    let Some((first, lines)) = data.split_first() else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    // Mostly behind a good first line; otherwise hardly an input gets any further.
    let header = if first % 8 == 0 { b"" } else { HEADER };
    fs::write(folder.path().join("x.jsonl"), [header, lines].concat()).expect("a file can be written");
    let Ok((ledger, notices)) = Ledger::open(folder.path(), "x", "a@b") else { return };
    let (facts, batches) = (ledger.facts().len(), ledger.pending().len());
    drop(ledger);
    let (again, complaints) = Ledger::open(folder.path(), "x", "a@b").expect("what was repaired can be read");
    assert_eq!((again.facts().len(), again.pending().len()), (facts, batches));
    assert!(batches > 0 || complaints.damaged.is_empty(), "{:?}, then {:?}", notices.damaged, complaints.damaged);
});
