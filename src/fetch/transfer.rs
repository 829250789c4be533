//! Messages from the line to their targets: one thread reads and stages, and another one for each lane commits batch
//! after batch, so that neither the network nor a disk waits for the other. The reader waits for a slow lane.
//!
//! A lane that fails ends alone; the others go on.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::in_step::{Came, MOST, Places};
use super::pace::Pace;
use super::{Failure, Run, caught};
use crate::account::{Account, Password, Target};
use crate::deliver::{self, BatchLimit, Disks, Outcome, Place, Publisher, Refusal, Stage, Staged, Stager};
use crate::failure;
use crate::header::Identity;
use crate::ledger::{Key, Lanes, Ledger, Recorded};
use crate::maildrop::MessageNumber;
use crate::notice::Short;
use crate::os::clock::now;
use crate::pop3::{self, Body, CopyError, Incoming, Retrieval, Size, Transaction, Wanted, Window};
use crate::progress::Bar;
use crate::report;
use crate::session::Line;
use crate::text::{octets, printable};

/// A batch is closed when it is this old, so that little is fetched again after a power cut on a slow line.
const AGE: Duration = Duration::from_secs(5);

/// How often a waiting session tells the server that it is alive; RFC 1939 §3 lets servers hang up after ten minutes.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// After so many equal refusals in a row an MDA or a server that has taken nothing gets no more messages: each may take it
/// seconds, and a log line.
const REFUSALS: usize = 5;

/// An open target.
pub struct Lane<'t> {
    /// Its position among the targets of the account.
    pub number: usize,
    pub target: &'t Target,
    pub stager: Box<dyn Stager>,
    pub publisher: Box<dyn Publisher>,
    /// Where `min_free` octets are to stay free.
    pub disks: Option<Disks>,
    /// How large its batches become.
    pub limit: BatchLimit,
}

/// One account's messages on their way to its targets.
pub struct Transfer<'t, 'l> {
    pub run: &'t Run<'t>,
    pub account: &'t Account,
    /// What nobody may see, whatever the server calls its messages.
    pub secret: Option<Password>,
    pub bar: &'t Bar,
    pub transaction: &'t mut Transaction<Line<'l>>,
    pub wanted: Vec<Key>,
    /// Nothing will be deleted in this session, so QUIT may ride with the last RETR.
    pub deletes_nothing: bool,
    /// A person waits for this first run.
    pub tells_pace: bool,
}

/// What came of it.
#[derive(Default)]
pub struct Moved {
    /// Octets that came, also of messages that did not come to their end.
    pub received: u64,
    /// Those of them that the ledger has not counted.
    pub uncounted: u64,
    /// What became of messages; nothing of those that have not come.
    pub rows: Vec<(MessageNumber, report::Outcome)>,
    pub recorded: Vec<Recorded>,
    /// Messages that turned out to be known ones, although their sizes had changed.
    pub known: Vec<Key>,
    /// Behind this message the session got out of step.
    pub out_of_step: Option<Key>,
    /// The session ended while this message was awaited.
    pub broken: Option<Key>,
    /// Messages that were handed on, and may have come in the place of another one.
    pub doubtful: Vec<MessageNumber>,
    /// Those of them whose sizes fit no place, while those of others do.
    pub misfits: Vec<MessageNumber>,
    /// Messages much shorter than announced.
    pub short: Vec<Short>,
    /// What each lane has taken and refused.
    pub takings: Vec<Taking>,
    /// Lanes that ended before the others.
    pub ended: Vec<(usize, Failure)>,
    /// Why the session cannot go on.
    pub failure: Option<Failure>,
    /// Nothing is on its way any more: the session can go on, whatever failed at home.
    pub is_in_order: bool,
}

/// What a lane has made of its messages.
pub struct Taking {
    /// Its position.
    pub lane: usize,
    /// It took one.
    pub took: bool,
    pub refused: Vec<MessageNumber>,
}

type Batch = Vec<(Key, Staged)>;

/// A message as it is staged in each lane.
type StagedInLanes = Vec<(usize, Staged)>;

impl<'t> Transfer<'t, '_> {
    /// Runs until every lane has everything, or none can go on; what is complete by then is committed either way.
    pub fn run(mut self, lanes: Vec<Lane<'t>>, ledger: &mut Ledger) -> Moved {
        self.bar.begin(self.wanted.len() as u64, self.octets());
        let wanted: Vec<Lanes> = self.wanted.iter().map(Key::bound_for).collect();
        let (run, account, secret) = (self.run, self.account, self.secret.take());
        let secret = &secret;
        let shared =
            Shared { ledger: Mutex::new(ledger), is_over: AtomicBool::new(false), uncounted: AtomicU64::new(0) };
        let (at_work, done) = channel();
        thread::scope(|scope| {
            let mut arrivals = Arrivals::default();
            let mut committing = vec![];
            for Lane { number, target, stager, publisher, disks, limit } in lanes {
                let (sender, receiver) = sync_channel(limit.ahead);
                let (shared, alike) = (&shared, Alike::default());
                let committer = Committer { run, account, secret, shared, number, target, publisher, alike };
                let at_work: Sender<()> = at_work.clone();
                let commit = move || {
                    let _at_work = at_work;
                    let done = caught(|| committer.run(receiver)).unwrap_or_else(Done::failed);
                    // Without a sound ledger no lane can go on.
                    let is_over = done.failure.as_ref().is_some_and(|failure| !failure.is_of_a_lane());
                    shared.is_over.fetch_or(is_over, Ordering::Relaxed);
                    done
                };
                match thread::Builder::new().spawn_scoped(scope, commit) {
                    Ok(thread) => {
                        committing.push((number, thread));
                        arrivals.lanes.push(Staging { number, stager, disks, batches: Batches::new(sender, limit) });
                    }
                    Err(error) => arrivals.moved.ended.push((number, Failure::NoThread(error))),
                }
            }
            drop(at_work);
            let received = self.receive(&mut arrivals, &shared.is_over, &shared.uncounted);
            // The last batches go out whatever ended the session.
            let mut moved = arrivals.close();
            let kept_alive = if moved.is_in_order { self.keep_alive(&done) } else { Ok(()) };
            moved.is_in_order &= kept_alive.is_ok();
            let done =
                committing.into_iter().map(|(number, thread)| (number, thread.join().expect("panics are caught")));
            moved.add(done.collect(), &wanted);
            moved.uncounted = shared.uncounted.load(Ordering::Relaxed);
            moved.failure = moved.failure.take().or(received.and(kept_alive).err());
            moved
        })
    }

    /// Stages what arrives and hands it on in batches.
    ///
    /// Where no lane goes on, and something may be deleted, what is on its way is thrown away, so that the session can go
    /// on.
    fn receive(&mut self, arrivals: &mut Arrivals, is_over: &AtomicBool, uncounted: &AtomicU64) -> Result<(), Failure> {
        let wanted: Vec<Wanted> =
            self.wanted.iter().map(|key| Wanted { number: key.number, octets: key.octets.unwrap_or(0) }).collect();
        let pace = self.tells_pace.then(|| self.pace()).flatten();
        let retrieval = self.transaction.retrieve(&wanted, Window::default());
        let deletes_nothing = self.deletes_nothing;
        let reader = Reader {
            retrieval: if deletes_nothing { retrieval.then_quit() } else { retrieval },
            places: Places::new(&wanted),
            arrivals,
            is_over,
            measures: (self.bar, self.account.max_size, uncounted),
            deletes_nothing,
            thrown_away: ThrownAway { octets: 0, may_begin: !deletes_nothing },
            pace,
        };
        reader.run(std::mem::take(&mut self.wanted))
    }

    /// How long it takes, where that is worth a line.
    fn pace(&self) -> Option<Pace<'t>> {
        let Account { name, one_off, .. } = self.account;
        Pace::begin(self.run.progress, printable(name.as_bytes()), *one_off, self.wanted.len(), self.octets())
    }

    /// Octets in all. Announced sizes may be absurd.
    fn octets(&self) -> Option<u64> {
        self.wanted.iter().try_fold(0u64, |sum, key| sum.checked_add(key.octets?))
    }

    /// While a committer still works, the server hears from us now and then.
    fn keep_alive(&mut self, done: &Receiver<()>) -> Result<(), Failure> {
        while done.recv_timeout(KEEP_ALIVE) == Err(RecvTimeoutError::Timeout) {
            self.transaction.keep_alive()?;
        }
        Ok(())
    }
}

impl Moved {
    /// Adds what became of each lane; `wanted` are the lanes of every message that was wanted.
    fn add(&mut self, mut lanes: Vec<(usize, Done)>, wanted: &[Lanes]) {
        let spoken_of = self.rows.len();
        for (number, done) in &mut lanes {
            let of_lane = wanted.iter().filter(|lanes| lanes.has(*number)).count();
            let left_over = of_lane.saturating_sub(spoken_of + done.delivered.len() + done.refused.len());
            match &mut done.failure {
                Some(Failure::TakesNone { .. }) if left_over == 0 => done.failure = None,
                Some(Failure::TakesNone { left, .. }) => *left = left_over,
                _ => {}
            }
        }
        let is_alone = lanes.len() == 1;
        let mut of_several = HashMap::new();
        let delivered = |(number, octets)| (number, report::Outcome::Delivered { octets });
        for (number, done) in lanes {
            let took = !done.delivered.is_empty();
            match is_alone {
                true => self.rows.extend(done.delivered.into_iter().map(delivered)),
                false => of_several.extend(done.delivered),
            }
            self.recorded.extend(done.recorded);
            let refused = done.refused.iter().map(|(number, _)| *number).collect();
            self.takings.push(Taking { lane: number, took, refused });
            self.rows.extend(done.refused);
            match done.failure {
                Some(failure) if failure.is_of_a_lane() => self.ended.push((number, failure)),
                failure => self.failure = self.failure.take().or(failure),
            }
        }
        self.rows.extend(of_several.into_iter().map(delivered));
    }
}

/// Reads the replies to RETR.
struct Reader<'r, 'l> {
    retrieval: Retrieval<'r, Line<'l>>,
    places: Places<'r>,
    arrivals: &'r mut Arrivals,
    /// No lane can go on.
    is_over: &'r AtomicBool,
    measures: (&'r Bar, Option<u64>, &'r AtomicU64),
    deletes_nothing: bool,
    thrown_away: ThrownAway,
    pace: Option<Pace<'r>>,
}

impl Reader<'_, '_> {
    /// Reads all replies. Each message is handed on as soon as the reply behind it is in step, and its size, where that
    /// tells, says that it came in its own place. However it ends, what was handed on without such a proof is named.
    fn run(mut self, keys: Vec<Key>) -> Result<(), Failure> {
        let ended = self.read(keys);
        let is_out_of_step = self.retrieval.is_out_of_step() || matches!(ended, Err(Failure::OutOfOrder { .. }));
        // What was thrown away has had its reply as well.
        if !self.arrivals.moved.is_in_order && (is_out_of_step || self.is_early()) {
            let handed_on = self.arrivals.handed_on;
            let misfits: Vec<_> = self.places.misfits(handed_on).iter().map(|wanted| wanted.number).collect();
            let unproved = self.places.unproved(handed_on).iter().map(|wanted| wanted.number);
            self.arrivals.moved.doubtful = unproved.chain(misfits.iter().copied()).collect();
            self.arrivals.moved.misfits = misfits;
        }
        ended
    }

    /// True when messages are missing behind one that was sent ahead: as many commands may have been lost before it. A
    /// message that comes in the last place can be no other.
    fn is_early(&self) -> bool {
        self.retrieval.sends_ahead() && !self.places.are_full()
    }

    /// True when the message before may have been cut short: octets came where a status line was due. A refusal that nobody
    /// asked for may be a farewell, unless the size of the message speaks against that.
    fn is_out_of_step(&self, error: &pop3::Error) -> bool {
        let fits = self.arrivals.held.back().is_none_or(|held| held.came.fits);
        self.retrieval.is_out_of_step() || (matches!(error, pop3::Error::Unasked { .. }) && !fits)
    }

    fn read(&mut self, keys: Vec<Key>) -> Result<(), Failure> {
        let mut keys = keys.into_iter();
        let mut lanes = self.arrivals.lanes.len();
        loop {
            if lanes > self.arrivals.lanes.len() {
                lanes = self.arrivals.lanes.len();
                // What only an ended lane lacks waits for the next run.
                if !keys.as_slice().iter().any(|key| self.arrivals.wants(key)) {
                    self.retrieval.ask_no_more();
                }
            }
            if self.arrivals.lanes.is_empty() || self.is_over.load(Ordering::Relaxed) {
                // A committer says why.
                let is_cut_off = self.arrivals.is_cut_off;
                self.arrivals.moved.is_in_order = !is_cut_off && self.thrown_away.takes_all(&mut self.retrieval);
                return Ok(());
            }
            if self.retrieval.is_answered() {
                return self.read_end();
            }
            let mut key = keys.next().expect("there is a reply for each message that is wanted");
            let incoming = match self.retrieval.receive() {
                Ok(incoming) => incoming.expect("there is a reply for each message that is wanted"),
                Err(error) => {
                    let is_out_of_step = self.is_out_of_step(&error);
                    self.arrivals.end(is_out_of_step, self.is_early());
                    self.arrivals.moved.broken = Some(key).filter(|_| !is_out_of_step);
                    return Err(error.into());
                }
            };
            // The reply behind the message before has come.
            self.arrivals.confirm(&mut self.places)?;
            let body = match incoming {
                Incoming::Message(body) => body,
                Incoming::Refused(refusal) => {
                    self.measures.0.message();
                    self.places.refused();
                    self.arrivals.moved.rows.push((key.number, report::Outcome::refused_by_server(&refusal.text)));
                    continue;
                }
            };
            match self.arrivals.stage(self.measures, &mut self.thrown_away, &mut key, body) {
                Ok((staged, size)) => {
                    if self.pace.as_mut().is_some_and(|pace| pace.came(size.octets)) {
                        self.pace = None;
                    }
                    let came = self.places.came(size, self.retrieval.asked());
                    self.arrivals.held.push_back(Held { key, staged, came });
                }
                Err(failure) => {
                    match failure {
                        Failure::Endless { .. } => self.arrivals.moved.out_of_step = Some(key),
                        Failure::OutOfOrder { .. } => {
                            self.arrivals.moved.rows.push((key.number, report::Outcome::out_of_step()));
                            self.arrivals.moved.out_of_step = Some(key);
                        }
                        Failure::Session(_) => self.arrivals.moved.broken = Some(key),
                        _ => {}
                    }
                    return Err(failure);
                }
            }
        }
    }

    /// Reads the reply behind the last message, and more where sizes leave doubt whether it is the last one.
    fn read_end(&mut self) -> Result<(), Failure> {
        let is_proved = self.places.is_proved();
        let received = self.retrieval.receive().map(drop);
        let proved = received.and_then(|()| if is_proved { Ok(()) } else { self.retrieval.prove() });
        let Err(error) = proved else {
            self.arrivals.hand_on();
            self.arrivals.moved.is_in_order = true;
            return Ok(());
        };
        let is_out_of_step = self.is_out_of_step(&error);
        let is_whole = self.arrivals.end(is_out_of_step, self.is_early());
        match Failure::from(error) {
            // Nothing depends on the server's farewell.
            Failure::Session(_) if self.deletes_nothing && is_whole && !is_out_of_step => Ok(()),
            failure => Err(failure),
        }
    }
}

/// What has come, on its way to the committers.
#[derive(Default)]
struct Arrivals {
    /// Those that go on.
    lanes: Vec<Staging>,
    held: VecDeque<Held>,
    /// Messages that are held no more.
    handed_on: usize,
    /// A message was not read to its end, because no lane goes on.
    is_cut_off: bool,
    moved: Moved,
}

/// The reader's end of a lane.
struct Staging {
    number: usize,
    stager: Box<dyn Stager>,
    disks: Option<Disks>,
    batches: Batches,
}

impl Staging {
    /// Begins a message. Before each batch the disks are looked at: others write to them as well.
    fn stage(&mut self, key: &Key) -> Result<Box<dyn Stage>, deliver::Error> {
        if self.batches.batch.is_empty()
            && let Some(disks) = &self.disks
        {
            disks.room()?;
        }
        self.stager.stage(&key.unique_id, key.nth)
    }
}

/// A message that has come, before the reply behind it proves that this was all of it, and its size, or that of a later
/// one, that it is the message that was asked for.
struct Held {
    key: Key,
    /// With the lane of each. `None` for a message that is larger than wanted.
    staged: Option<StagedInLanes>,
    came: Came,
}

impl Held {
    fn is_short(&self) -> bool {
        self.key.octets.is_none_or(|announced| is_short(announced, self.came.size.octets))
    }
}

/// Sizes in LIST are soft: servers count a line end as one octet or two, headers that they add or leave out, or
/// estimate (Exchange). Less than half of it is no such matter.
fn is_short(announced: u64, octets: u64) -> bool {
    announced / 2 > octets && announced - octets > 128
}

impl Arrivals {
    /// True when a lane that goes on lacks the message.
    fn wants(&self, key: &Key) -> bool {
        self.lanes.iter().any(|lane| key.bound_for().has(lane.number))
    }

    /// Copies one message into staging, notes its identity, and tells how large it was on the line. Of one larger than
    /// wanted nothing is staged. A lane that cannot stage it ends; without any lane the rest of it is not read.
    fn stage(
        &mut self,
        (bar, max_size, uncounted): (&Bar, Option<u64>, &AtomicU64),
        thrown_away: &mut ThrownAway,
        key: &mut Key,
        body: Body<'_, Line<'_>>,
    ) -> Result<(Option<StagedInLanes>, Size), Failure> {
        let mut stages = Vec::with_capacity(self.lanes.len());
        let mut failed = vec![];
        for lane in self.lanes.iter_mut().filter(|lane| key.bound_for().has(lane.number)) {
            match lane.stage(key) {
                Ok(stage) => stages.push((lane.number, stage)),
                Err(error) => failed.push((lane.number, error)),
            }
        }
        let others = self.lanes.len() - stages.len() - failed.len();
        let (is_over, identity) = (false, Identity::default());
        let beginning = Vec::with_capacity(BEGINNING);
        let mut sink =
            Sink { stages, failed, others, is_over, bar, beginning, identity, octets: 0, max_size, thrown_away };
        let copied = body.copy_to(&mut sink);
        let has_lanes = sink.has_lanes();
        let is_reply = sink.begins_as_a_reply();
        let Sink { stages, failed, is_over, identity, octets: came, .. } = sink;
        let received = copied.as_ref().map_or(came, |size| size.octets);
        self.moved.received += received;
        uncounted.fetch_add(received, Ordering::Relaxed);
        failed.into_iter().for_each(|(lane, error)| self.end_lane(lane, error));
        let size = match copied {
            Ok(size) => size,
            Err(CopyError::Session(error)) => return Err(error.into()),
            Err(CopyError::Sink(_)) if has_lanes => return Err(Failure::Endless { number: key.number, octets: came }),
            Err(CopyError::Sink(_)) => {
                self.is_cut_off = true;
                return Ok((Some(vec![]), Size { octets: came, at_home: came }));
            }
        };
        if is_reply {
            return Err(Failure::OutOfOrder { number: key.number, is_early: false });
        }
        bar.message();
        key.head = Some(identity.fingerprint());
        if is_over {
            return Ok((None, size));
        }
        let mut staged = Vec::with_capacity(stages.len());
        for (lane, stage) in stages {
            match stage.finish() {
                Ok(message) => staged.push((lane, message)),
                Err(error) => self.end_lane(lane, error),
            }
        }
        Ok((Some(staged), size))
    }

    /// A lane takes no more messages. What it has is committed.
    fn end_lane(&mut self, number: usize, error: deliver::Error) {
        self.moved.ended.push((number, error.into()));
        let Some(at) = self.lanes.iter().position(|lane| lane.number == number) else { return };
        self.lanes.swap_remove(at).batches.close();
    }

    /// Takes notice of the reply behind the newest message, and hands on what is held, unless sizes speak against it.
    fn confirm(&mut self, places: &mut Places<'_>) -> Result<(), Failure> {
        let Some(newest) = self.held.back() else { return Ok(()) };
        let came = newest.came;
        let is_in_place = match self.held.len() {
            1 => came.fits || !places.tells(&came),
            _ => {
                let do_all = || self.held.iter().all(|held| places.is_in_place(&held.came));
                came.fits && (places.is_alone(came.position) || do_all())
            }
        };
        if !is_in_place {
            if let [.., before, last] = self.held.make_contiguous()
                && let Some(distance) = places.shift(&before.came, &last.came)
            {
                return Err(self.out_of_order(distance));
            }
            if self.held.len() < MOST {
                return Ok(());
            }
            places.give_up();
        }
        self.hand_on();
        Ok(())
    }

    /// Hands on all that is held. A lane whose committer is gone ends.
    fn hand_on(&mut self) {
        while let Some(held) = self.held.pop_front() {
            self.handed_on = held.came.position + 1;
            self.hand_on_one(held);
        }
    }

    fn hand_on_one(&mut self, Held { mut key, staged, came }: Held) {
        let octets = came.size.octets;
        if key.known_head.is_some() && key.known_head.as_deref() == key.head.as_ref() {
            if key.known_lanes.is_empty() {
                self.moved.rows.push((key.number, report::Outcome::Known));
                self.moved.known.push(key);
                return;
            }
            (key.lanes, key.reused) = (key.known_lanes, false);
        }
        if let Some(announced) = key.octets.filter(|announced| is_short(*announced, octets)) {
            self.moved.short.push(Short { number: key.number, announced, octets });
        }
        let Some(mut staged) = staged else {
            self.moved.rows.push((key.number, report::Outcome::TooLarge { octets, is_news: false }));
            return;
        };
        staged.retain(|(lane, _)| key.lanes.has(*lane));
        let last = staged.pop();
        staged.into_iter().for_each(|(lane, staged)| self.add(lane, key.clone(), staged));
        if let Some((lane, staged)) = last {
            self.add(lane, key, staged);
        }
    }

    fn add(&mut self, lane: usize, key: Key, staged: Staged) {
        let Some(at) = self.lanes.iter().position(|known| known.number == lane) else { return };
        if !self.lanes[at].batches.add(key, staged) {
            self.lanes.swap_remove(at);
        }
    }

    /// Messages come in the places of others. Those that are held stay on the server.
    fn out_of_order(&mut self, distance: i128) -> Failure {
        let first = self.held.drain(..).next().expect("two messages have told");
        let (number, is_early) = (first.key.number, distance > 0);
        if !is_early {
            self.moved.rows.push((first.key.number, report::Outcome::out_of_step()));
            self.moved.out_of_step = Some(first.key);
        }
        Failure::OutOfOrder { number, is_early }
    }

    /// The session is over, and the reply behind the newest message has not come. Where nothing came in its place, the
    /// announced size tells whether the message is whole; if not, it is left for the next run. True: nothing is left.
    fn end(&mut self, is_out_of_step: bool, is_early: bool) -> bool {
        let Some(newest) = self.held.back() else { return !self.lanes.is_empty() };
        if is_out_of_step {
            // All are left, and the first that looks wrong is retrieved last from now on.
            let first = self.held.drain(..).next().expect("there is one");
            self.moved.rows.push((first.key.number, report::Outcome::out_of_step()));
            self.moved.out_of_step = Some(first.key);
            return false;
        }
        if newest.is_short() || (is_early && !newest.came.fits) {
            self.held.clear();
            return false;
        }
        self.hand_on();
        !self.lanes.is_empty()
    }

    /// What is complete is committed, whatever ended the session.
    fn close(self) -> Moved {
        self.lanes.into_iter().for_each(|lane| lane.batches.close());
        self.moved
    }
}

/// The stages of one message. Counts what they take.
struct Sink<'s> {
    /// None once the message is larger than wanted, or no lane wants it: the rest is thrown away.
    stages: Vec<(usize, Box<dyn Stage>)>,
    failed: Vec<(usize, deliver::Error)>,
    /// Lanes that go on, and do not want this message.
    others: usize,
    /// The message is larger than wanted.
    is_over: bool,
    bar: &'s Bar,
    /// The first octets of the message.
    beginning: Vec<u8>,
    identity: Identity,
    octets: u64,
    max_size: Option<u64>,
    thrown_away: &'s mut ThrownAway,
}

/// What is on its way and not wanted any more.
struct ThrownAway {
    octets: u64,
    /// Nothing is gained by it where nothing can be deleted.
    may_begin: bool,
}

impl ThrownAway {
    /// True when all that was asked for is out of the way.
    fn takes_all(&mut self, retrieval: &mut Retrieval<'_, Line<'_>>) -> bool {
        retrieval.ask_no_more();
        while self.may_go_on() {
            let is_in_step = match retrieval.receive() {
                Ok(Some(Incoming::Message(body))) => body.copy_to(self).is_ok(),
                Ok(Some(Incoming::Refused(_))) => true,
                Ok(None) => return true,
                Err(_) => false,
            };
            if !is_in_step {
                return false;
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

/// As long as the status indicator of a reply that a message follows (RFC 1939 §3).
const BEGINNING: usize = 3;

impl Sink<'_> {
    /// True when some lane goes on behind this message.
    fn has_lanes(&self) -> bool {
        self.is_over || self.others > 0 || !self.stages.is_empty()
    }

    /// True for what no header begins with (RFC 5322 §2.2): one reply too many came before this one, and its status line
    /// would become a part of the message.
    fn begins_as_a_reply(&self) -> bool {
        self.beginning == b"+OK"
    }

    fn is_beyond(&self, slack: u64) -> bool {
        self.max_size.is_some_and(|limit| self.octets > limit.saturating_add(slack))
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let failed = &mut self.failed;
        self.stages.retain_mut(|(lane, stage)| {
            let written = stage.write(octets);
            written.map_err(|error| failed.push((*lane, error))).is_ok()
        });
        if !self.has_lanes() {
            let is_full = self.failed.iter().all(|(_, error)| error.is_disk_full());
            return if is_full { self.thrown_away.write(octets) } else { Err(io::Error::other("no lane goes on")) };
        }
        let wanted = BEGINNING.saturating_sub(self.beginning.len()).min(octets.len());
        self.beginning.extend_from_slice(&octets[..wanted]);
        self.identity.push(octets);
        self.octets += octets.len() as u64;
        self.bar.octets(octets.len() as u64);
        if self.is_beyond(0) {
            self.is_over = true;
            self.stages.clear();
        }
        if self.is_beyond(self.max_size.unwrap_or(0).max(THROWN_AWAY)) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(octets.len())
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
    fn new(sender: SyncSender<Batch>, limit: BatchLimit) -> Self {
        Batches { sender, limit, batch: vec![], octets: 0, began: Instant::now() }
    }

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

/// What the committers of all lanes share.
struct Shared<'c> {
    ledger: Mutex<&'c mut Ledger>,
    /// No lane can go on.
    is_over: AtomicBool,
    /// Octets that came, and that the ledger has not counted so far.
    uncounted: AtomicU64,
}

impl<'c> Shared<'c> {
    fn ledger(&self) -> MutexGuard<'_, &'c mut Ledger> {
        self.ledger.lock().expect("a panic ends every lane")
    }
}

/// Takes each batch of a lane through sync, intend, publish and record.
struct Committer<'c, 's, 't> {
    run: &'t Run<'t>,
    account: &'t Account,
    secret: &'s Option<Password>,
    shared: &'s Shared<'c>,
    number: usize,
    target: &'t Target,
    publisher: Box<dyn Publisher>,
    alike: Alike,
}

/// What became of a lane.
#[derive(Default)]
struct Done {
    /// With the octets of each.
    delivered: Vec<(MessageNumber, u64)>,
    recorded: Vec<Recorded>,
    refused: Vec<(MessageNumber, report::Outcome)>,
    failure: Option<Failure>,
}

impl Done {
    fn failed(failure: Failure) -> Self {
        Done { failure: Some(failure), ..Done::default() }
    }
}

impl Committer<'_, '_, '_> {
    fn run(mut self, batches: Receiver<Batch>) -> Done {
        let mut done = Done::default();
        let mut waiting = None;
        while let Some(batch) = waiting.take().or_else(|| batches.recv().ok()) {
            // An MDA or a server may take its time with each message; on a stop, those that it has not seen stay on the
            // server.
            if let (Some(stopped), None) = (self.run.stop.requested(), self.target.path()) {
                done.failure = Some(stopped.into());
                return done;
            }
            if self.target.server().is_some() {
                waiting = batches.try_recv().ok();
                let next = waiting.as_ref().and_then(|batch: &Batch| batch.first());
                next.iter().for_each(|(_, next)| self.publisher.foresee(next));
            }
            if let Err(failure) = self.commit(batch, &mut done) {
                done.failure = Some(failure);
                return done;
            }
            if done.delivered.is_empty() && self.alike.count >= REFUSALS {
                let kind = failure::worst(done.refused.iter().filter_map(|(_, refused)| refused.kind()))
                    .expect("some were refused");
                let is_mda = self.target.server().is_none();
                done.failure = Some(Failure::TakesNone { left: 0, kind, is_mda });
                return done;
            }
        }
        // With the last records durable, nobody needs what the publisher kept for recovery.
        match self.shared.ledger().sync() {
            Ok(()) => self.publisher.finish(),
            Err(error) => done.failure = Some(error.into()),
        }
        done
    }

    fn commit(&mut self, batch: Batch, done: &mut Done) -> Result<(), Failure> {
        let (keys, staged): (Vec<Key>, Vec<Staged>) = batch.into_iter().unzip();
        let synced = self.publisher.sync(staged)?;
        let labels: Vec<Key> = if self.run.verbose > 0 { keys.clone() } else { vec![] };
        let numbers: Vec<_> = keys.iter().map(|key| key.number).collect();
        let messages = keys.into_iter().zip(synced).collect();
        let (intended, batch) = {
            let mut ledger = self.shared.ledger();
            if self.account.max_octets.per_day.is_some() {
                // What the ledger says of these messages makes the count durable, too.
                ledger.receive(self.shared.uncounted.swap(0, Ordering::Relaxed), now())?;
            }
            ledger.intend(self.number, messages, now())?
        };
        let outcomes = self.publisher.publish(Box::new(intended))?;
        let recorded = self.shared.ledger().record(batch, &outcomes)?;
        if let Some(keeps) = self.publisher.learned() {
            self.shared.ledger().note_keeps(self.number, keeps, now())?;
        }
        for (outcome, number) in outcomes.iter().zip(numbers) {
            match outcome {
                Outcome::Delivered(receipt) => done.delivered.push((number, receipt.octets())),
                Outcome::Refused(refusal) => {
                    done.refused.push((number, report::Outcome::refused_by_target(self.lane(), refusal)));
                    self.alike.add(refusal);
                }
                Outcome::Left => {}
            }
        }
        labels.iter().zip(&outcomes).for_each(|(key, outcome)| self.say(key, outcome));
        done.recorded.extend(recorded.into_iter().flatten());
        self.publisher.ended().map_or(Ok(()), |error| Err(error.into()))
    }

    /// The target, where the account has several.
    fn lane(&self) -> Option<&Target> {
        Some(self.target).filter(|_| self.account.targets.len() > 1)
    }

    /// The line that `-v` shows for each message.
    fn say(&self, key: &Key, outcome: &Outcome) {
        let Outcome::Delivered(receipt) = outcome else { return };
        let place = match receipt.place() {
            Place::Maildir { maildir, name } => maildir.join("new").join(name).display().to_string(),
            Place::Mbox { path, offset, .. } => format!("{} at {offset}", path.display()),
            Place::Imap(_) | Place::Mda => self.target.to_string(),
        };
        let id = match self.secret {
            _ if key.unique_id.is_empty() => "-".into(),
            Some(secret) => secret.masked_in_shown(&key.unique_id),
            None => printable(&key.unique_id),
        };
        let (account, number, octets) = (&self.account.name, key.number, octets(receipt.octets()));
        self.run.progress.println(&format!("{account}: {number} {id} {octets} -> {}", printable(place.as_bytes())));
    }
}
