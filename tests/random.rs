//! Random octets in place of every input: nothing panics, nothing hangs, and what is said of it can be printed.
//!
//! The same properties as in `fuzz/`, which looks harder and longer.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;

use popfetch::account::{Auth, Password, SecretKind};
use popfetch::config::{self, Flags, Source};
use popfetch::ledger::Ledger;
use popfetch::pop3::{Authorization, Credentials, Error, Incoming, Limits, Transport, Wanted, Window};
use popfetch::relay::imap::response::{self, Response};
use popfetch::relay::reply;
use popfetch::relay::wire::{Dots, Lines};
use proptest::prelude::*;

use crate::proof::committed;

/// A server that has said everything already.
struct Said<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl Read for Said<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.piece.min(buffer.len());
        self.rest.take(piece as u64).read(buffer).inspect(|octets| self.rest = &self.rest[*octets..])
    }
}

impl Write for Said<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Said<'_> {}

/// A whole session as a fetch would have it; how many messages arrived.
fn session(wire: &[u8], piece: usize, octets: bool) -> Result<usize, Error> {
    let credentials = Credentials {
        user: "alice".into(),
        password: Password::new("secret"),
        kind: SecretKind::Password,
        auth: Auth::Auto,
    };
    let mut session = Authorization::greet(Said { rest: wire, piece }, Limits::default())?;
    session.capa()?;
    let mut transaction = session.authenticate(&credentials)?;
    let listing = transaction.survey(octets)?.listing;
    let wanted: Vec<_> =
        listing.iter().map(|message| Wanted { number: message.number, octets: message.octets.unwrap_or(0) }).collect();
    let mut safe = vec![];
    let mut retrieval = transaction.retrieve(&wanted, Window::default());
    while let Some(incoming) = retrieval.receive()? {
        let Incoming::Message(body) = incoming else { continue };
        let number = body.number();
        body.copy_to(&mut io::sink()).map_err(|_| ()).map(|_| safe.push(number)).unwrap_or_default();
    }
    drop(retrieval);
    transaction.update(&committed(&safe)).map(|_| safe.len())
}

/// Replies as a server might send them, with something wrong here and there.
fn replies() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "+OK",
        "+OK 2 320",
        "-ERR",
        "-ERR [IN-USE] x",
        "+ ",
        ".",
        "..",
        "",
        "1 5",
        "2 18446744073709551615",
        "1 a",
        "2 a",
        "3 b c",
        "0 x",
        "99999999999 1",
        "PIPELINING",
        "UIDL",
        "SASL PLAIN",
        "STLS",
        "Subject: x",
        "\0\u{1b}",
    ]);
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"]);
    prop::collection::vec((line, end), 0..40).prop_map(|lines| {
        lines.into_iter().flat_map(|(line, end)| [line.as_bytes(), end.as_bytes()].concat()).collect()
    })
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_of_odd_replies_ends(wire in replies(), piece in 1..50usize, octets: bool) {
        if let Err(error) = session(&wire, piece, octets) {
            prop_assert!(is_printable(&error.to_string()), "{error}");
        }
    }

    #[test]
    fn a_reply_of_a_server_that_takes_mail_ends_at_the_same_octet_in_every_split(
        wire in prop::collection::vec(
            prop_oneof![Just("250-a\r\n"), Just("250 b\r\n"), Just("354\n"), Just("550"), Just("\r"), Just("x")],
            0..20,
        ),
    ) {
        let wire = wire.concat().into_bytes();
        let whole = reply::read(&wire);
        for cut in 0..wire.len() {
            match reply::read(&wire[..cut]) {
                Ok(None) => {}
                early => prop_assert_eq!(&early, &whole),
            }
        }
    }

    #[test]
    fn a_response_of_an_imap_server_ends_at_the_same_octet_in_every_split(
        wire in prop::collection::vec(
            prop::sample::select(vec![
                "* ", "1 FETCH (", "UID 7", " ", ")", "BODY[] ", "BODY[HEADER] ", "{3}\r\n", "{3+}\r\nabc", "\"a\\\"", "\"",
                "NIL", "OK ", "[APPENDUID 1 2:4]", "a1 ", "LIST (\\X) \"/\" ", "STATUS x (UIDNEXT 4)", "SEARCH 1 2", "+ ", "\r\n",
            ]),
            0..16,
        ),
    ) {
        let wire = wire.concat().into_bytes();
        let whole = response::read(&wire);
        for cut in 0..wire.len() {
            match response::read(&wire[..cut]) {
                Ok(None) => {}
                early => prop_assert_eq!(&early, &whole),
            }
        }
        if let Ok(Some((Response::Literal { fetch, .. }, length))) = whole {
            let rest = &wire[length..];
            let whole = response::read_rest(rest, &fetch);
            for cut in 0..rest.len() {
                match response::read_rest(&rest[..cut], &fetch) {
                    Ok(None) => {}
                    early => prop_assert_eq!(&early, &whole),
                }
            }
        }
    }

    #[test]
    fn no_message_ends_early_on_the_wire_and_undoing_the_dots_gives_it_back(
        pieces in prop::collection::vec("[\r\n.a]{0,6}", 0..12),
    ) {
        let (mut lines, mut wire) = (Lines::default(), vec![]);
        pieces.iter().for_each(|piece| lines.push(piece.as_bytes(), &mut wire));
        lines.finish(&mut wire);
        let plain = pieces.concat().replace("\r\n", "\n").replace('\r', "\n");
        let ended = if plain.is_empty() || plain.ends_with('\n') { plain } else { plain + "\n" };
        prop_assert_eq!(String::from_utf8(wire.clone()).unwrap(), ended.replace('\n', "\r\n"));
        let (mut dots, mut stuffed) = (Dots::default(), vec![]);
        wire.chunks(3).for_each(|piece| dots.push(piece, &mut stuffed));
        let stuffed = String::from_utf8(stuffed).unwrap();
        prop_assert!(stuffed.split("\r\n").all(|line| line != "."));
        let undone: Vec<&str> = stuffed.split("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line)).collect();
        prop_assert_eq!(undone.join("\r\n"), ended.replace('\n', "\r\n"));
    }

    #[test]
    fn a_session_behind_a_good_login_ends(wire in replies(), octets: bool) {
        let wire = [b"+OK\r\n+OK\r\nUIDL\r\nPIPELINING\r\n.\r\n+OK\r\n+OK\r\n".as_slice(), &wire].concat();
        if let Err(error) = session(&wire, usize::MAX, octets) {
            prop_assert!(is_printable(&error.to_string()), "{error}");
        }
    }

    #[test]
    fn a_session_of_any_octets_ends(wire in prop::collection::vec(any::<u8>(), 0..300), piece in 1..50usize) {
        let wire = [b"+OK ".as_slice(), &wire].concat();
        if let Err(error) = session(&wire, piece, true) {
            prop_assert!(is_printable(&error.to_string()), "{error}");
        }
    }

    #[test]
    fn a_listing_names_each_message_once(
        lines in prop::collection::vec((0..9u64, "[ -~]{0,8}"), 0..12),
        sizes in prop::collection::vec((0..9u64, any::<u64>()), 0..12),
    ) {
        let ids: String = lines.iter().map(|(number, id)| format!("{number} {id}\r\n")).collect();
        let sizes: String = sizes.iter().map(|(number, size)| format!("{number} {size}\r\n")).collect();
        let wire = format!("+OK\r\n-ERR\r\n+OK\r\n+OK\r\n-ERR\r\n+OK 1 1\r\n+OK\r\n{ids}.\r\n+OK\r\n{sizes}.\r\n");
        let credentials = Credentials { user: "a".into(), password: Password::new("b"), kind: SecretKind::Password, auth: Auth::User };
        // One octet at a time: nothing of a later reply is there before its command.
        let mut session = Authorization::greet(Said { rest: wire.as_bytes(), piece: 1 }, Limits::default()).unwrap();
        session.capa().unwrap();
        let mut transaction = session.authenticate(&credentials).unwrap();
        if let Ok(survey) = transaction.survey(true) {
            let mut numbers: Vec<_> = survey.listing.iter().map(|message| message.number.0).collect();
            numbers.sort_unstable();
            prop_assert!(!numbers.contains(&0) && numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ledger_of_any_lines_is_read_and_mended(
        lines in prop::collection::vec(prop_oneof![
            any::<Vec<u8>>(),
            r#"\{"(delivered|deleted|gone|intend)":"[a-c]"(,"at":[0-9]{1,20})?(,"batch":[0-9])?(,"nth":[0-9])?(,"mda":true)?\}"#
                .prop_map(String::into_bytes),
            r#"\{"published":[0-9](,"but":\[[0-9]\])?\}"#.prop_map(String::into_bytes),
        ], 0..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let text = [b"{\"popfetch\":3,\"maildrop\":\"a@b\"}\n".as_slice(), &lines.join(&b'\n')].concat();
        fs::write(folder.path().join("x.jsonl"), text).unwrap();
        let (ledger, _) = Ledger::open(folder.path(), "x", "a@b").unwrap();
        let (facts, batches) = (ledger.facts().len(), ledger.pending().len());
        drop(ledger);
        let (again, _) = Ledger::open(folder.path(), "x", "a@b").unwrap();
        prop_assert_eq!((again.facts().len(), again.pending().len()), (facts, batches));
    }

    #[test]
    fn a_configuration_of_any_text_is_read_or_refused(
        text in prop_oneof![
            any::<String>(),
            "(\\[(accounts|defaults)\\.?[a-z.\"]{0,4}\\]\n)?((url|server|user|keep|deliver|port|tls) = [\"'a-z0-9:{}@/%.-]{0,12}\n){0,4}",
        ],
        is_json: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if is_json { "c.json" } else { "c.toml" });
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if let Err(error) = config::accounts(&[Source::Path(path)], &Flags::default(), &[]) {
            prop_assert!(is_printable(&error.to_string()), "{error}");
            let reports = error.reports();
            prop_assert!(reports.iter().flat_map(|report| report.lines()).all(is_printable), "{reports:?}");
        }
    }
}
