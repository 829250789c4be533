#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use popfetch::account::Auth;
use popfetch::pop3::{Authorization, Limits};
use popfetch_fuzz::{Scripted, assert_printable, choice, credentials};

const LOGIN: &[u8] = b"+OK ready\r\n+OK\r\n+OK\r\n+OK\r\nUIDL\r\nPIPELINING\r\n.\r\n+OK ";

fuzz_target!(|data: &[u8]| {
    let Some((first, replies)) = choice(data) else { return };
    let wire = [LOGIN, replies].concat();
    let session = Authorization::greet(Scripted::by_line(&wire, first / 2), Limits::default()).expect("it greets");
    let mut transaction = session.authenticate(&credentials(Auth::User)).expect("the login is good");
    let mut survey = match transaction.survey(first % 2 == 0) {
        Ok(survey) => survey,
        Err(error) => return assert_printable(&error.to_string()),
    };
    let mut seen = HashSet::new();
    for message in survey.listing.iter() {
        assert!(message.number.0 > 0 && seen.insert(message.number), "{:?}", survey.listing);
        assert!(!message.unique_id.contains(&b'\n'));
    }
    let unmeasured: Vec<_> = (0..survey.listing.len()).filter(|at| survey.listing.get(*at).octets.is_none()).collect();
    let _ = transaction.measure(&mut survey.listing, &unmeasured);
});
