#![no_main]

use libfuzzer_sys::fuzz_target;
use popfetch::header::envelope_sender;

fuzz_target!(|data: &[u8]| {
    if let Some(sender) = envelope_sender(data) {
        assert!(!sender.is_empty());
        assert!(!sender.contains(|c: char| c.is_whitespace() || c.is_control()), "{sender:?}");
    }
});
