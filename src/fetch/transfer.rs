//! Messages from the line to their places: one thread reads and stages, another one commits batch after batch, so
//! that neither the network nor the disk waits for the other.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Failure, Run, caught, now};
use crate::account::Account;
use crate::deliver::{self, BatchLimit, Outcome, Place, Publisher, Refusal, Stage, Staged, Stager};
use crate::failure;
use crate::header::Identity;
use crate::ledger::{Key, Ledger, Recorded};
use crate::notice::Short;
use crate::pop3::{Body, CopyError, Incoming, Retrieval, Transaction, Wanted, Window};
use crate::progress::Bar;
use crate::report::Refused;
use crate::session::Line;
use crate::text::{octets, printable};

/// A batch is closed when it is this old, so that little is fetched again after a power cut on a slow line.
const AGE: Duration = Duration::from_secs(5);

/// How often a waiting session tells the server that it is alive; RFC 1939 §3 lets servers hang up after ten minutes.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// After so many equal refusals in a row an MDA that has taken nothing gets no more messages: each may take it seconds,
/// and a log line.
const REFUSALS: usize = 5;

/// One account's messages on their way home.
pub struct Transfer<'t, 'l> {
    pub run: &'t Run<'t>,
    pub account: &'t Account,
    pub bar: &'t Bar,
    pub transaction: &'t mut Transaction<Line<'l>>,
    pub stager: Box<dyn Stager>,
    pub wanted: Vec<Key>,
    /// Nothing will be deleted in this session, so QUIT may ride with the last RETR.
    pub deletes_nothing: bool,
}

/// What came of it.
#[derive(Default)]
pub struct Moved {
    pub delivered: usize,
    pub octets: u64,
    pub recorded: Vec<Recorded>,
    /// Messages that turned out to be known ones, although their sizes had changed.
    pub known: Vec<Key>,
    pub refused: Vec<Refused>,
    /// Behind this message the session got out of step.
    pub out_of_step: Option<Key>,
    /// The session ended while this message was awaited.
    pub broken: Option<Key>,
    /// Messages much shorter than announced.
    pub short: Vec<Short>,
    /// Messages that turned out larger than wanted, and what came of them.
    pub too_large: Vec<(Key, u64)>,
    pub failure: Option<Failure>,
    /// Nothing is on its way any more: the session can go on, whatever failed at home.
    pub is_in_order: bool,
}

impl Moved {
    fn failed(failure: Failure) -> Self {
        Moved { failure: Some(failure), ..Moved::default() }
    }
}

type Batch = Vec<(Key, Staged)>;

impl Transfer<'_, '_> {
    /// Runs until everything is home or something fails; what is complete by then is committed either way.
    pub fn run(mut self, publisher: Box<dyn Publisher>, ledger: &mut Ledger) -> Moved {
        let limit = deliver::batch_limit(&self.account.deliver);
        let (sender, receiver) = sync_channel(limit.ahead);
        // Announced sizes may be absurd.
        let messages = self.wanted.len();
        let total = self.wanted.iter().try_fold(0u64, |sum, key| sum.checked_add(key.octets?));
        self.bar.begin(self.wanted.len() as u64, total);
        let mut committer =
            Committer { run: self.run, account: self.account, limit, publisher, ledger, alike: Alike::default() };
        let (at_work, done) = channel();
        thread::scope(|scope| {
            let commit = move || {
                let _at_work: Sender<()> = at_work;
                let moved = committer.run(receiver);
                committer.finish(moved)
            };
            let committing = match thread::Builder::new().spawn_scoped(scope, || caught(commit)) {
                Ok(committing) => committing,
                Err(error) => return Moved::failed(Failure::NoThread(error)),
            };
            let batches = Batches { sender, limit, batch: vec![], octets: 0, began: Instant::now() };
            let mut arrivals = Arrivals { batches, held: None, moved: Moved::default() };
            let received = self.receive(&mut arrivals);
            // The last batch goes out whatever ended the session.
            arrivals.batches.close();
            let kept_alive = if arrivals.moved.is_in_order { self.keep_alive(&done) } else { Ok(()) };
            let is_in_order = arrivals.moved.is_in_order && kept_alive.is_ok();
            let received = received.and(kept_alive);
            let committed = committing.join().expect("panics are caught");
            let mut moved = committed.unwrap_or_else(Moved::failed);
            moved.refused.extend(arrivals.moved.refused);
            moved.out_of_step = arrivals.moved.out_of_step;
            moved.broken = arrivals.moved.broken;
            moved.short = arrivals.moved.short;
            moved.known = arrivals.moved.known;
            moved.too_large = arrivals.moved.too_large;
            moved.is_in_order = is_in_order;
            let spoken_of = moved.delivered + moved.refused.len() + moved.known.len() + moved.too_large.len();
            let left_over = messages.saturating_sub(spoken_of);
            match &mut moved.failure {
                Some(Failure::MdaTakesNone { .. }) if left_over == 0 => moved.failure = None,
                Some(Failure::MdaTakesNone { left, .. }) => *left = left_over,
                _ => {}
            }
            // A committer that failed is why the reader could not go on, not the other way round.
            moved.failure = moved.failure.or(received.err());
            moved
        })
    }

    /// Stages what arrives and hands it on in batches: each message as soon as the reply behind it is in step.
    ///
    /// Where the target takes no more, and something may be deleted, what is on its way is thrown away, so that the
    /// session can go on.
    fn receive(&mut self, arrivals: &mut Arrivals) -> Result<(), Failure> {
        let wanted: Vec<Wanted> =
            self.wanted.iter().map(|key| Wanted { number: key.number, octets: key.octets.unwrap_or(0) }).collect();
        let mut retrieval = self.transaction.retrieve(&wanted, Window::default());
        if self.deletes_nothing {
            retrieval = retrieval.then_quit();
        }
        let mut thrown_away = ThrownAway { octets: 0, may_begin: !self.deletes_nothing };
        for key in std::mem::take(&mut self.wanted) {
            let incoming = match retrieval.receive() {
                Ok(incoming) => incoming.expect("there is a reply for each message that is wanted"),
                Err(error) => {
                    let is_out_of_step = retrieval.is_out_of_step();
                    arrivals.end(is_out_of_step);
                    arrivals.moved.broken = Some(key).filter(|_| !is_out_of_step);
                    return Err(error.into());
                }
            };
            if !arrivals.confirm() {
                // The committer is gone, and says why.
                arrivals.moved.is_in_order = thrown_away.takes(incoming) && thrown_away.takes_all(retrieval);
                return Ok(());
            }
            match incoming {
                Incoming::Refused(refusal) => {
                    self.bar.message();
                    arrivals.moved.refused.push(Refused::by_server(&key, &refusal.text));
                }
                Incoming::Message(body) => {
                    let mut key = key;
                    match stage(&mut *self.stager, self.bar, self.account.max_size, &mut thrown_away, &mut key, body) {
                        Ok((staged, octets)) => arrivals.held = Some(Held { key, staged, octets }),
                        Err(failure) => {
                            match failure {
                                Failure::Endless { .. } => arrivals.moved.out_of_step = Some(key),
                                Failure::Session(_) => arrivals.moved.broken = Some(key),
                                _ if failure.is_full() => {
                                    arrivals.moved.is_in_order = thrown_away.takes_all(retrieval);
                                }
                                _ => {}
                            }
                            return Err(failure);
                        }
                    }
                }
            }
        }
        let Err(error) = retrieval.receive() else {
            arrivals.confirm();
            arrivals.moved.is_in_order = true;
            return Ok(());
        };
        let is_out_of_step = retrieval.is_out_of_step();
        let is_whole = arrivals.end(is_out_of_step);
        match Failure::from(error) {
            // Nothing depends on the server's farewell.
            Failure::Session(_) if self.deletes_nothing && is_whole && !is_out_of_step => Ok(()),
            failure => Err(failure),
        }
    }

    /// While the committer still works, the server hears from us now and then.
    fn keep_alive(&mut self, done: &Receiver<()>) -> Result<(), Failure> {
        while done.recv_timeout(KEEP_ALIVE) == Err(RecvTimeoutError::Timeout) {
            self.transaction.keep_alive()?;
        }
        Ok(())
    }
}

/// Copies one message into staging, notes its identity, and tells how many octets it had on the line. Of one larger than
/// wanted nothing is staged.
fn stage(
    stager: &mut dyn Stager,
    bar: &Bar,
    max_size: Option<u64>,
    thrown_away: &mut ThrownAway,
    key: &mut Key,
    body: Body<'_, Line<'_>>,
) -> Result<(Option<Staged>, u64), Failure> {
    let (stage, full) = match stager.stage(&key.unique_id) {
        Err(error) if error.is_disk_full() => (None, Some(error)),
        stage => (Some(stage?), None),
    };
    let mut sink = Sink { stage, bar, identity: Identity::default(), octets: 0, max_size, full, thrown_away };
    let copied = body.copy_to(&mut sink);
    let Sink { stage, identity, octets: came, full, .. } = sink;
    if let Some(error) = full {
        return Err(error.into());
    }
    let octets = copied.map_err(|error| match error {
        CopyError::Session(error) => Failure::from(error),
        CopyError::Sink(_) if stage.is_none() => Failure::Endless { number: key.number, octets: came },
        CopyError::Sink(error) => {
            Failure::from(deliver::Error::from_stage(error).expect("a stage fails with delivery's own error"))
        }
    })?;
    bar.message();
    key.head = Some(identity.fingerprint());
    Ok((stage.map(|stage| stage.finish()).transpose()?, octets))
}

/// What has come, on its way to the committer.
struct Arrivals {
    batches: Batches,
    held: Option<Held>,
    moved: Moved,
}

/// A message that has come, before the reply behind it proves that this was all of it.
struct Held {
    key: Key,
    /// `None` for one that is larger than wanted.
    staged: Option<Staged>,
    octets: u64,
}

impl Held {
    fn is_short(&self) -> bool {
        self.key.octets.is_none_or(|announced| is_short(announced, self.octets))
    }
}

/// Sizes in LIST are soft: servers count a line end as one octet or two, headers that they add or leave out, or
/// estimate (Exchange). Less than half of it is no such matter.
fn is_short(announced: u64, octets: u64) -> bool {
    announced / 2 > octets && announced - octets > 128
}

impl Arrivals {
    /// Hands on the message that was held; false when the committer is gone.
    fn confirm(&mut self) -> bool {
        let Some(Held { mut key, staged, octets }) = self.held.take() else { return true };
        if key.known_head.is_some() && key.known_head == key.head {
            if key.known_lanes.is_empty() {
                self.moved.known.push(key);
                return true;
            }
            (key.lanes, key.reused) = (key.known_lanes, false);
        }
        if let Some(announced) = key.octets.filter(|announced| is_short(*announced, octets)) {
            self.moved.short.push(Short { number: key.number, announced, octets });
        }
        let Some(staged) = staged else {
            self.moved.too_large.push((key, octets));
            return true;
        };
        self.batches.add(key, staged)
    }

    /// The session is over, and the reply behind the held message has not come. Where nothing came in its place, the
    /// announced size tells whether the message is whole; if not, it is left for the next run. True: nothing is left.
    fn end(&mut self, is_out_of_step: bool) -> bool {
        match self.held.take() {
            Some(held) if is_out_of_step => {
                self.moved.refused.push(Refused::out_of_step(&held.key));
                self.moved.out_of_step = Some(held.key);
                false
            }
            Some(held) if held.is_short() => false,
            held => {
                self.held = held;
                self.confirm()
            }
        }
    }
}

/// A stage that counts what it takes.
struct Sink<'s> {
    /// `None` once the message is larger than wanted: the rest is thrown away.
    stage: Option<Box<dyn Stage>>,
    bar: &'s Bar,
    identity: Identity,
    octets: u64,
    max_size: Option<u64>,
    /// The disk is full: the rest is thrown away.
    full: Option<deliver::Error>,
    thrown_away: &'s mut ThrownAway,
}

/// What is on its way and not wanted any more.
struct ThrownAway {
    octets: u64,
    /// Nothing is gained by it where nothing can be deleted.
    may_begin: bool,
}

impl ThrownAway {
    /// True when the message is out of the way.
    fn takes(&mut self, incoming: Incoming<'_, Line<'_>>) -> bool {
        match incoming {
            Incoming::Message(body) => body.copy_to(self).is_ok(),
            Incoming::Refused(_) => true,
        }
    }

    /// True when all that was asked for is out of the way.
    fn takes_all(&mut self, mut retrieval: Retrieval<'_, Line<'_>>) -> bool {
        retrieval.ask_no_more();
        let mut is_in_step = self.may_go_on();
        while is_in_step {
            is_in_step = match retrieval.receive() {
                Ok(Some(incoming)) => self.takes(incoming),
                Ok(None) => return true,
                Err(_) => false,
            }
        }
        false
    }

    fn may_go_on(&self) -> bool {
        self.may_begin && self.octets <= THROWN_AWAY
    }
}

impl Write for ThrownAway {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.octets += octets.len() as u64;
        if self.may_go_on() { Ok(octets.len()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// At most this much, or as much again as is wanted, is read and thrown away to come to the next message. A window of
/// RETR has as much.
const THROWN_AWAY: u64 = 16 << 20;

impl Sink<'_> {
    fn is_over(&self, slack: u64) -> bool {
        self.max_size.is_some_and(|limit| self.octets > limit.saturating_add(slack))
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = match &mut self.stage {
            Some(stage) => match Write::write(&mut **stage, octets).map_err(deliver::Error::from_stage) {
                Ok(written) => written,
                Err(Ok(error)) if error.is_disk_full() => {
                    (self.stage, self.full) = (None, Some(error));
                    0
                }
                Err(error) => return Err(error.map_or_else(|error| error, io::Error::other)),
            },
            None => octets.len(),
        };
        if self.full.is_some() {
            return self.thrown_away.write(octets);
        }
        self.identity.push(&octets[..written]);
        self.octets += written as u64;
        self.bar.octets(written as u64);
        if self.is_over(0) {
            self.stage = None;
        }
        if self.is_over(self.max_size.unwrap_or(0).max(THROWN_AWAY)) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gathers messages into batches and hands these on.
struct Batches {
    sender: SyncSender<Batch>,
    limit: BatchLimit,
    batch: Batch,
    octets: u64,
    began: Instant,
}

impl Batches {
    /// False when the committer is gone.
    fn add(&mut self, key: Key, staged: Staged) -> bool {
        if self.batch.is_empty() {
            self.began = Instant::now();
        }
        self.octets += staged.octets();
        self.batch.push((key, staged));
        if self.is_over(self.limit.growth) {
            return self.send();
        }
        if self.is_over(1) || self.began.elapsed() >= AGE { self.offer() } else { true }
    }

    fn is_over(&self, times: usize) -> bool {
        self.batch.len() >= self.limit.messages * times || self.octets >= self.limit.octets * times as u64
    }

    /// Hands the batch on if the committer takes it now; otherwise it goes on growing.
    fn offer(&mut self) -> bool {
        match self.sender.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => self.octets = 0,
            Err(TrySendError::Full(batch)) => self.batch = batch,
            Err(TrySendError::Disconnected(_)) => return false,
        }
        true
    }

    fn send(&mut self) -> bool {
        self.octets = 0;
        self.sender.send(std::mem::take(&mut self.batch)).is_ok()
    }

    /// What is complete is committed, whatever ended the session.
    fn close(mut self) {
        if !self.batch.is_empty() {
            self.send();
        }
    }
}

/// Counts equal refusals in a row.
#[derive(Default)]
struct Alike {
    last: Option<Refusal>,
    count: usize,
}

impl Alike {
    fn add(&mut self, refusal: &Refusal) {
        let is_like = self.last.as_ref().is_some_and(|last| last.is_like(refusal));
        self.count = if is_like { self.count + 1 } else { 1 };
        self.last = Some(refusal.clone());
    }
}

/// Takes each batch through sync, intend, publish and record.
struct Committer<'c> {
    run: &'c Run<'c>,
    account: &'c Account,
    limit: BatchLimit,
    publisher: Box<dyn Publisher>,
    ledger: &'c mut Ledger,
    alike: Alike,
}

impl Committer<'_> {
    fn run(&mut self, batches: Receiver<Batch>) -> Moved {
        let mut moved = Moved::default();
        for batch in batches {
            // An MDA may take its time with each message; on a stop, those that it has not seen stay on the server.
            if let (Some(stopped), 1) = (self.run.stop.requested(), self.limit.messages) {
                moved.failure = Some(stopped.into());
                break;
            }
            if let Err(failure) = self.commit(batch, &mut moved) {
                moved.failure = Some(failure);
                break;
            }
            if moved.delivered == 0 && self.alike.count >= REFUSALS {
                let kind = failure::worst(moved.refused.iter().map(Refused::kind)).expect("some were refused");
                moved.failure = Some(Failure::MdaTakesNone { left: 0, kind });
                break;
            }
        }
        moved
    }

    /// Makes the last records durable; from then on nobody needs what the publisher kept for recovery.
    fn finish(self, mut moved: Moved) -> Moved {
        if moved.failure.is_some() {
            return moved;
        }
        match self.ledger.sync() {
            Ok(()) => self.publisher.finish(),
            Err(error) => moved.failure = Some(error.into()),
        }
        moved
    }

    fn commit(&mut self, batch: Batch, moved: &mut Moved) -> Result<(), Failure> {
        let (keys, staged): (Vec<Key>, Vec<Staged>) = batch.into_iter().unzip();
        let synced = self.publisher.sync(staged)?;
        let labels: Vec<Key> = if self.run.verbose > 0 { keys.clone() } else { vec![] };
        let numbers: Vec<_> = keys.iter().map(|key| (key.number, key.unique_id.clone())).collect();
        let (intended, batch) = self.ledger.intend(0, keys.into_iter().zip(synced).collect(), now())?;
        let outcomes = self.publisher.publish(Box::new(intended))?;
        let recorded = self.ledger.record(batch, &outcomes)?;
        for (outcome, (number, id)) in outcomes.iter().zip(&numbers) {
            match outcome {
                Outcome::Delivered(receipt) => {
                    moved.delivered += 1;
                    moved.octets += receipt.octets();
                }
                Outcome::Refused(refusal) => {
                    moved.refused.push(Refused::by_target(*number, id, refusal));
                    self.alike.add(refusal);
                }
            }
        }
        labels.iter().zip(&outcomes).for_each(|(key, outcome)| self.say(key, outcome));
        moved.recorded.extend(recorded.into_iter().flatten());
        Ok(())
    }

    /// The line that `-v` shows for each message.
    fn say(&self, key: &Key, outcome: &Outcome) {
        let Outcome::Delivered(receipt) = outcome else { return };
        let place = match receipt.place() {
            Place::Maildir { maildir, name } => maildir.join("new").join(name).display().to_string(),
            Place::Mbox { path, offset, .. } => format!("{} at {offset}", path.display()),
            Place::Mda => self.account.deliver.to_string(),
        };
        let id = if key.unique_id.is_empty() { "-".into() } else { printable(&key.unique_id) };
        let (account, number, octets) = (&self.account.name, key.number, octets(receipt.octets()));
        self.run.progress.println(&format!("{account}: {number} {id} {octets} -> {}", printable(place.as_bytes())));
    }
}
