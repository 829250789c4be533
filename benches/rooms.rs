//! What single rooms do in a second: `cargo bench --bench rooms [NAME]`
//!
//! The codec beside `memcpy` and a loop over octets; listings, ledgers and plans of a million messages.

use std::fs;
use std::hint::black_box;
use std::io::{self, Cursor, Read, Write};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use popfetch::account::{Auth, Keep, Order, Password, SecretKind};
use popfetch::ledger::{Lanes, Ledger, Standings};
use popfetch::maildrop::{Listing, MessageNumber};
use popfetch::plan::{Identities, Plan, Policy, Rulings, View};
use popfetch::pop3::unstuff::Unstuffer;
use popfetch::pop3::{Authorization, Credentials, Limits, Transaction, Transport};
use tempfile::TempDir;

const MILLION: usize = 1_000_000;

fn main() {
    divan::main();
}

/// A gigabyte as it comes from the line, in the pieces that a session reads.
mod codec {
    use super::*;

    const PIECE: usize = 256 << 10;

    /// Lines as Base64 has them; now and then one begins with a dot.
    fn wire() -> Vec<u8> {
        let line = [&[b'x'; 76][..], b"\r\n"].concat();
        let mut lines = line.repeat(98);
        lines.extend_from_slice(b"..a line that begins with a dot\r\n\r\n");
        let mut wire = lines.repeat((1 << 30) / lines.len());
        wire.extend_from_slice(b".\r\n");
        wire
    }

    fn bench(bencher: Bencher<'_, '_>, mut decode: impl FnMut(&[u8], &mut Vec<u8>)) {
        let wire = wire();
        let mut plain = Vec::with_capacity(PIECE + 2);
        bencher.counter(BytesCount::of_slice(&wire)).bench_local(|| {
            for piece in wire.chunks(PIECE) {
                plain.clear();
                decode(piece, &mut plain);
                black_box(&plain);
            }
        });
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn memcpy(bencher: Bencher<'_, '_>) {
        bench(bencher, |piece, plain| plain.extend_from_slice(piece));
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn unstuffer(bencher: Bencher<'_, '_>) {
        let mut unstuffer = Unstuffer::default();
        bench(bencher, move |piece, plain| {
            unstuffer.feed(piece, plain);
            if unstuffer.is_ended() {
                unstuffer = Unstuffer::default();
            }
        });
    }

    /// The same meaning, an octet at a time.
    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn octet_loop(bencher: Bencher<'_, '_>) {
        let (mut is_line_start, mut is_behind_cr) = (true, false);
        bench(bencher, move |piece, plain| {
            for octet in piece {
                match *octet {
                    b'.' if is_line_start => {}
                    b'\r' => {}
                    b'\n' if is_behind_cr => plain.push(b'\n'),
                    octet => plain.push(octet),
                }
                is_line_start = *octet == b'\n' && is_behind_cr;
                is_behind_cr = *octet == b'\r';
            }
        });
    }
}

/// UIDL and LIST of a million messages, from octets to a listing.
mod listing {
    use super::*;

    /// A server that has said everything beforehand.
    struct Said(Cursor<Vec<u8>>);

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Said {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Transport for Said {}

    fn said() -> Vec<u8> {
        let mut said = String::from("+OK\r\n+OK\r\nUIDL\r\nPIPELINING\r\nSASL PLAIN\r\n.\r\n+OK\r\n");
        said += &format!("+OK {MILLION} 4000000000\r\n+OK\r\n");
        (0..MILLION).for_each(|position| said += &format!("{} {}\r\n", position + 1, unique_id(position)));
        said += ".\r\n+OK\r\n";
        (0..MILLION).for_each(|position| said += &format!("{} 4000\r\n", position + 1));
        (said + ".\r\n").into_bytes()
    }

    fn logged_in(said: Vec<u8>) -> Transaction<Said> {
        let (user, password) = ("user".into(), Password::new("password"));
        let mut session = Authorization::greet(Said(Cursor::new(said)), Limits::default()).expect("it greets");
        session.capa().expect("it has capabilities");
        session
            .authenticate(&Credentials { user, password, kind: SecretKind::Password, auth: Auth::Auto })
            .expect("it knows the user")
    }

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn survey(bencher: Bencher<'_, '_>) {
        let said = said();
        bencher.counter(ItemsCount::new(2 * MILLION)).with_inputs(|| logged_in(said.clone())).bench_local_values(
            |mut transaction| {
                let survey = transaction.survey(true).expect("the listings are sound");
                assert_eq!(survey.listing.len(), MILLION);
                survey
            },
        );
    }
}

/// A ledger of a million messages.
mod ledger {
    use super::*;

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn load(bencher: Bencher<'_, '_>) {
        let folder = folder(&delivered());
        bencher.counter(ItemsCount::new(MILLION)).bench_local(|| open(&folder));
    }

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn load_compacted(bencher: Bencher<'_, '_>) {
        let lines = (0..MILLION).map(|position| line("delivered", position, ""));
        let folder = folder(&(HEADER.to_owned() + &lines.collect::<String>()));
        bencher.counter(ItemsCount::new(MILLION)).bench_local(|| open(&folder));
    }

    /// Three of four messages were deleted.
    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn compaction(bencher: Bencher<'_, '_>) {
        let kept = MILLION / 4 * 3..MILLION;
        let deleted =
            (0..kept.start).map(|position| format!("{{\"deleted\":\"{}\",\"at\":1795000000}}\n", unique_id(position)));
        let (text, listing) = (delivered() + &deleted.collect::<String>(), listing_of(kept));
        bencher
            .counter(ItemsCount::new(MILLION))
            .with_inputs(|| {
                let folder = folder(&text);
                let mut ledger = open(&folder);
                let standings = ledger.locate(&listing);
                (folder, ledger, standings)
            })
            .bench_local_values(|(folder, mut ledger, standings)| {
                ledger.settle(&listing, &standings, 1_795_423_680).expect("it can be rewritten");
                assert_eq!(ledger.facts().len(), listing.len());
                (folder, ledger)
            });
    }
}

/// A listing of a million messages compared with the ledger, and what is made of it.
mod decision {
    use super::*;

    const POLICY: Policy = Policy {
        keep: Keep::Forever,
        keep_newest: None,
        delete_over: None,
        all: false,
        order: Order::Oldest,
        max_size: None,
        max_messages: None,
        max_octets: [None, None],
        own: Lanes::ALL,
        has_rules: false,
        may_discard: false,
        room: None,
        open: Lanes::ALL,
    };

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn locate(bencher: Bencher<'_, '_>) {
        let (_folder, mut ledger) = known();
        let listing = listing_of(0..MILLION);
        bencher.counter(ItemsCount::new(MILLION)).bench_local(|| ledger.locate(&listing));
    }

    /// No message stands where it is looked for.
    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn locate_backwards(bencher: Bencher<'_, '_>) {
        let (_folder, mut ledger) = known();
        let listing = listing_of((0..MILLION).rev());
        bencher.counter(ItemsCount::new(MILLION)).bench_local(|| ledger.locate(&listing));
    }

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn plan_of_known(bencher: Bencher<'_, '_>) {
        let (_folder, mut ledger) = known();
        let listing = listing_of(0..MILLION);
        let standings = ledger.locate(&listing);
        bencher.counter(ItemsCount::new(MILLION)).bench_local(|| planned(&listing, &standings, &ledger));
    }

    #[divan::bench(sample_count = 10, sample_size = 1)]
    fn plan_of_new(bencher: Bencher<'_, '_>) {
        let folder = folder(HEADER);
        let mut ledger = open(&folder);
        let listing = listing_of(0..MILLION);
        let standings = ledger.locate(&listing);
        bencher.counter(ItemsCount::new(MILLION)).bench_local(|| planned(&listing, &standings, &ledger));
    }

    fn planned(listing: &Listing, standings: &Standings, ledger: &Ledger) -> Plan {
        let view =
            View { listing, standings, ledger, policy: &POLICY, rulings: &Rulings::default(), now: 1_795_423_680 };
        assert_eq!(view.heads_needed(), []);
        view.plan(&Identities::new(), &[]).expect("there are unique-ids")
    }

    fn known() -> (TempDir, Ledger) {
        let folder = folder(&delivered());
        let ledger = open(&folder);
        (folder, ledger)
    }
}

const MAILDROP: &str = "user@pop.example.com";
const HEADER: &str = "{\"popfetch\":3,\"maildrop\":\"user@pop.example.com\"}\n";

fn unique_id(position: usize) -> String {
    format!("{position:08x}5f3c2a10")
}

fn listing_of(positions: impl Iterator<Item = usize>) -> Listing {
    let mut listing = Listing::default();
    listing.has_unique_ids = true;
    for (at, position) in positions.enumerate() {
        assert!(listing.push(MessageNumber(at as u32 + 1), unique_id(position).as_bytes()));
        listing.set_octets(at, 4000);
    }
    listing
}

/// A ledger's text after a run that fetched everything.
fn delivered() -> String {
    /// As large as the batches of a Maildir.
    const BATCH: usize = 256;
    let mut text = HEADER.to_owned();
    for position in 0..MILLION {
        let batch = position / BATCH + 1;
        text += &line("intend", position, &format!("\"batch\":{batch},"));
        if (position + 1) % BATCH == 0 || position + 1 == MILLION {
            text += &format!("{{\"published\":{batch}}}\n");
        }
    }
    text
}

fn line(kind: &str, position: usize, batch: &str) -> String {
    let id = unique_id(position);
    let place = format!("\"maildir\":\"/home/user/Mail/inbox\",\"name\":\"1795423680.M1P2Q{position}.host,S=4000\"");
    format!("{{\"{kind}\":\"{id}\",{batch}\"octets\":4000,\"at\":1795000000,{place}}}\n")
}

fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    fs::write(folder.path().join("ledger.jsonl"), text).expect("a ledger can be written");
    folder
}

fn open(folder: &TempDir) -> Ledger {
    let (ledger, notices) = Ledger::open(folder.path(), "ledger", MAILDROP).expect("the ledger is sound");
    assert_eq!(notices.damaged, [0; 0]);
    ledger
}
