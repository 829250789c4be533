//! Proof that messages may be deleted, for tests of a session alone. The targets of `fuzz/` use it as well.

use std::fs;
use std::sync::{LazyLock, Mutex};

use popfetch::ledger::{Committed, Identity, Ledger, SameMessage, Top};
use popfetch::maildrop::{Listed, MessageNumber};

/// A ledger that knows a message, and the proof that the server lists it.
static LEDGER: LazyLock<Mutex<(Ledger, SameMessage)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let lines = "{\"popfetch\":3,\"maildrop\":\"u@h\"}\n{\"delivered\":\"x\",\"octets\":1,\"at\":1795423680}\n";
    fs::write(folder.path().join("l.jsonl"), lines).expect("a file can be written");
    let (ledger, _) = Ledger::open(folder.path(), "l", "u@h").expect("it is a ledger");
    let listed = Listed { number: MessageNumber(1), unique_id: b"x", octets: Some(1) };
    let Identity::Same(same) = ledger.identify(0, None, &listed, Top::Missing) else { panic!("the size is the same") };
    Mutex::new((ledger, same))
});

/// Proof that these messages may be deleted. Only a ledger makes one, so that there has to be a ledger.
pub fn committed(numbers: &[MessageNumber]) -> Vec<Committed> {
    let mut known = LEDGER.lock().expect("nobody panics while holding it");
    let (ledger, same) = &mut *known;
    let recorded = numbers.iter().map(|number| ledger.recorded(*same, *number)).collect();
    ledger.commit(recorded).expect("the disk is well")
}
