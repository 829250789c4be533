#![no_main]

use libfuzzer_sys::fuzz_target;
use popfetch::account::Auth;
use popfetch::pop3::{Authorization, Error, Limits};
use popfetch_fuzz::{Scripted, assert_printable, choice, credentials};

fuzz_target!(|data: &[u8]| {
    let Some((first, wire)) = choice(data) else { return };
    if let Err(error) = log_in(wire, first) {
        assert_printable(&error.to_string());
    }
});

fn log_in(wire: &[u8], first: u8) -> Result<(), Error> {
    let auth = [Auth::Auto, Auth::User, Auth::Plain, Auth::Apop][usize::from(first % 4)];
    let session = Authorization::greet(Scripted::either(wire, first / 4), Limits::default())?;
    session.authenticate(&credentials(auth)).map(drop)
}
