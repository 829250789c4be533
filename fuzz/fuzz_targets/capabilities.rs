#![no_main]

use libfuzzer_sys::fuzz_target;
use popfetch::pop3::{Authorization, Limits};
use popfetch_fuzz::{Scripted, assert_printable, choice};

fuzz_target!(|data: &[u8]| {
    let Some((piece, lines)) = choice(data) else { return };
    let wire = [b"+OK ready\r\n+OK\r\n", lines].concat();
    let mut session = Authorization::greet(Scripted::either(&wire, piece), Limits::default()).expect("it greets");
    match session.capa() {
        Ok(capabilities) => {
            let is_sound = |name: &String| name.len() <= 20 && !name.contains(|c: char| c.is_ascii_lowercase());
            assert!(capabilities.sasl.iter().all(is_sound), "{capabilities:?}");
        }
        Err(error) => assert_printable(&error.to_string()),
    }
});
