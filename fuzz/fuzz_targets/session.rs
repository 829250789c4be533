#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use popfetch::account::Auth;
use popfetch::pop3::{Authorization, Error, Incoming, Limits, Wanted, Window};
use popfetch_fuzz::{Scripted, assert_printable, choice, committed, credentials};

fuzz_target!(|data: &[u8]| {
    let Some((first, wire)) = choice(data) else { return };
    let mut arrived = 0;
    let line = Scripted::either(wire, first / 8);
    let heard = line.heard.clone();
    if let Err(error) = run(line, first, &mut arrived) {
        assert_printable(&error.to_string());
    }
    let heard = heard.borrow();
    let deleted = heard.split(|octet| *octet == b'\n').filter(|line| line.starts_with(b"DELE ")).count();
    assert!(deleted <= arrived, "{deleted} deleted, {arrived} arrived");
});

/// From the greeting to QUIT, as a fetch would, deleting what arrived.
fn run(line: Scripted<'_>, first: u8, arrived: &mut usize) -> Result<(), Error> {
    let auth = [Auth::Auto, Auth::User, Auth::Plain, Auth::Apop][usize::from(first % 4)];
    let mut session = Authorization::greet(line, Limits::default())?;
    session.capa()?;
    let mut transaction = session.authenticate(&credentials(auth))?;
    let listing = transaction.survey(first & 4 == 0)?.listing;
    let wanted: Vec<_> =
        listing.iter().map(|message| Wanted { number: message.number, octets: message.octets.unwrap_or(0) }).collect();
    let mut arrived_ones = vec![];
    let mut retrieval = transaction.retrieve(&wanted, Window::default());
    while let Some(incoming) = retrieval.receive()? {
        let Incoming::Message(body) = incoming else { continue };
        let number = body.number();
        if body.copy_to(&mut io::sink()).is_err() {
            return Ok(());
        }
        *arrived += 1;
        arrived_ones.push(number);
    }
    drop(retrieval);
    transaction.update(&committed(&arrived_ones)).map(drop)
}
