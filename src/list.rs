//! `popfetch list`: the messages on the server, and what a fetch would do with each.
//!
//! Looks and changes nothing: the ledger is read without its lock, no target is asked but those of an interrupted run,
//! and no message is retrieved, only header sections (TOP). Rows are printed as they come, unless they have to be sorted
//! by what only their header sections tell.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::account::{Account, Start};
use crate::header::{Heading, LONGEST};
use crate::ledger::{self, Committed, Lanes, Ledger, Wanted};
use crate::listings::{Budget, Share};
use crate::maildrop::{Listed, Listing, MessageNumber};
use crate::notice::Notice;
use crate::os::clock::now;
use crate::plan::{Fate, NoStart, Outlook, Policy, Prospects, Reason, SoFar, View};
use crate::pop3::{Credentials, Head, Transaction};
use crate::progress::{Bar, Progress, Watch};
use crate::report::{Message, Results, Summary, Widths};
use crate::session::{self, AtHome, Error, Judge, Ledgers, Line, Manner, Opener, Surveyed, Terms, Wishes};
use crate::stop::Stop;
use crate::text::fitted;

/// What all accounts of a list share.
pub struct Run<'r> {
    /// The ledgers of all maildrops.
    pub ledgers: Ledgers,
    /// Bars and lines for people.
    pub progress: &'r Progress,
    /// Standard output.
    pub results: &'r Results,
    /// The wish to stop.
    pub stop: Stop,
    /// Which messages, and how they are shown.
    pub request: Request,
    /// A fetch would give every target what it lacks.
    pub fill: bool,
    /// Do not wait after failures in a row.
    pub now: bool,
    /// The wire is shown.
    pub shows_wire: bool,
    /// Memory for listings.
    pub listings: Budget,
}

/// Which messages, and how they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Only what a fetch would retrieve.
    pub only_new: bool,
    /// In another order than the server's.
    pub order: Option<Order>,
    /// With unique-ids.
    pub has_ids: bool,
    /// The width of the terminal, if it is one.
    pub columns: Option<usize>,
}

/// An order of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    Age,
    /// The largest first.
    Size,
    /// By sender.
    From,
}

/// Columns of a sender or a subject that are kept until all messages have come.
const KEPT: usize = 500;

/// Lists one account. Whatever goes wrong is in the summary.
pub fn list(account: &Account, run: &Run<'_>) -> Summary {
    let began = Instant::now();
    let mut summary = Summary::new(account);
    let ended = Lister { account, run, summary: &mut summary }.list();
    if let Err(error) = ended {
        summary.fail(Box::new(error));
    }
    summary.elapsed = began.elapsed();
    summary
}

struct Lister<'l> {
    account: &'l Account,
    run: &'l Run<'l>,
    summary: &'l mut Summary,
}

impl Lister<'_> {
    fn list(&mut self) -> Result<(), Error> {
        let bar = self.run.progress.account(&self.account.name);
        let watch = Watch { progress: self.run.progress, bar: &bar, shows_wire: self.run.shows_wire };
        let (account, Run { ledgers, stop, .. }) = (self.account, self.run);
        let opener = Opener { account, state_dir: ledgers.folder(), stop, observer: &watch };
        let credentials = opener.credentials()?;
        self.summary.secret = Some(credentials.password.clone());
        let mut ledger = self.look()?;
        if self.account.tls.is_unverified() {
            self.summary.notices.push(Notice::Unverified);
        }
        let mut manner = Manner::known(self.account, &ledger, now());
        loop {
            let share = self.run.listings.share();
            let ended = self.session(&opener, &bar, &credentials, &share, &mut ledger, manner);
            let next = ended
                .as_ref()
                .err()
                .and_then(|error| manner.next(self.account, error.is_unanswered_ahead(), Some(error)));
            let Some((next, notice)) = next else {
                return ended.map_err(|error| error.after_success(ledger.last_success(), now()));
            };
            self.summary.notices.push(match notice {
                Notice::NoTop(error) => Notice::Headless { error, may_be_of_others: false },
                notice => notice,
            });
            manner = next;
        }
    }

    /// Reads the ledger. An alarm is said, and what would then be fetched is listed.
    fn look(&mut self) -> Result<Ledger, Error> {
        let wanted = Wanted::of(self.account.one_off, self.run.fill);
        let look = |is_decided| self.run.ledgers.look(self.account, wanted, is_decided, &self.run.stop);
        let (ledger, notices) = match look(self.account.all) {
            Err(alarm @ ledger::Error::Alarm { .. }) => {
                let (ledger, _) = look(true)?;
                self.summary.fail(Box::new(alarm));
                (ledger, vec![])
            }
            looked => looked?,
        };
        self.summary.notices.extend(notices);
        if !self.run.now {
            self.summary.notices.extend(session::waits(self.account, &ledger));
        }
        Ok(ledger)
    }

    fn session(
        &mut self,
        opener: &Opener<'_>,
        bar: &Bar,
        credentials: &Credentials,
        share: &Arc<Share>,
        ledger: &mut Ledger,
        manner: Manner,
    ) -> Result<(), Error> {
        let mut transaction = opener.log_in(credentials, share, &mut self.summary.notices)?;
        if manner.in_lock_step {
            transaction.keep_in_step();
        }
        bar.phase("listing");
        let wishes = Wishes { needs_ids: !self.account.all, needs_sizes: !self.run.request.only_new };
        let survey = session::list(&mut transaction, ledger, wishes)?;
        let so_far = SoFar { octets_today: ledger.received(now()), ..SoFar::default() };
        let policy = Policy::of(self.account, Lanes::first(self.account.targets.len()), so_far);
        // Behind an alarm stands a person's decision, and no first run.
        let is_alarm = self.summary.failure.is_some();
        let start = if is_alarm { Start::All } else { session::start(self.account, self.run.fill) };
        let context = session::context(self.account, self.run.ledgers.folder(), "", &self.run.stop);
        let judge = Some(Judge { account: self.account, context: &context });
        let terms = Terms { policy, start, now: now(), without_top: manner.without_top, judge, after: None };
        let kin = |own: &Path| self.run.ledgers.kin(self.account, own);
        let mut notices = vec![];
        // A fetch ends where the server has no unique-ids. What it has is shown all the same.
        let nameless = (!survey.listing.has_unique_ids).then(|| survey.listing.clone());
        let surveyed = session::compare(survey, &mut transaction, ledger, terms, kin, &mut notices);
        self.summary.notices.append(&mut notices);
        // Rows come on the same terminal.
        bar.clear();
        let ended = match (surveyed, nameless) {
            (Ok(mut surveyed), _) => {
                let policy = self.find_room(&mut surveyed, policy, ledger)?;
                let known = surveyed.plan.known(surveyed.survey.listing.len());
                self.summary.notices.extend(session::doubtful_age(self.account, ledger));
                let is_withheld = known > 0 && ledger.is_at_new_targets() && ledger.note_new_targets(now())?;
                let Surveyed { survey, standings, rulings, plan, .. } = &surveyed;
                self.summary.known = known;
                self.summary.quarantined = plan.quarantined();
                self.summary.skipped = plan.left(Reason::Ruled);
                self.summary.notices.extend(is_withheld.then_some(Notice::NewTarget(known)));
                self.summary.foresee(plan, &policy, is_withheld);
                let view = View { listing: &survey.listing, standings, ledger, policy: &policy, rulings, now: now() };
                let prospects = Some(Prospects::new(view, plan, is_withheld));
                let rows = Rows { listing: &survey.listing, prospects };
                self.show(&mut transaction, &rows, survey.octets, share, manner)
            }
            (Err(error @ (Error::NoUniqueIds(_) | Error::NoStart(NoStart::WithoutIds))), Some(listing)) => {
                self.summary.fail(Box::new(error));
                let rows = Rows { listing: &listing, prospects: None };
                self.show(&mut transaction, &rows, None, share, manner)
            }
            (Err(error), _) => Err(error),
        };
        if ended? {
            // Nothing depends on the server's farewell.
            let _ = transaction.update(&[] as &[Committed]);
        }
        Ok(())
    }

    /// Leaves what a fetch would leave because of `min_free`, and returns what is wanted then.
    fn find_room(&mut self, surveyed: &mut Surveyed, mut policy: Policy, ledger: &Ledger) -> Result<Policy, Error> {
        let Run { ledgers, stop, .. } = self.run;
        let name = ledger::file_name(&self.account.maildrop());
        let context = session::context(self.account, ledgers.folder(), &name, stop);
        let room = loop {
            let AtHome { full, room } = AtHome::of(&surveyed.plan, self.account, policy.open, &context);
            let open = full.iter().fold(policy.open, |open, (number, _)| open.without(*number));
            policy = Policy { open, room: room.as_ref().map(|room| room.octets), ..policy };
            let is_settled = full.is_empty();
            if policy.room.is_some() || !is_settled {
                surveyed.decide(ledger, &policy, now())?;
            }
            full.into_iter().for_each(|(_, error)| self.summary.fail(Box::new(error)));
            // Without a target, other messages may have their turn, and want others.
            if is_settled {
                break room;
            }
        };
        let waiting = surveyed.plan.left(Reason::NoRoom);
        self.summary.notices.extend(room.and_then(|room| session::no_room(waiting, room)));
        Ok(policy)
    }

    /// Prints the head line and the rows. False when the session is over by then.
    fn show(
        &mut self,
        transaction: &mut Transaction<Line<'_>>,
        rows: &Rows<'_>,
        octets: Option<u64>,
        share: &Share,
        manner: Manner,
    ) -> Result<bool, Error> {
        let Request { only_new, order, has_ids, columns } = self.run.request;
        self.summary.listed = rows.listing.len();
        self.summary.listed_octets = rows.octets().or(octets);
        let wanted = |position: &u32| !only_new || rows.outlook(*position).fate.verdict() == "retrieve";
        let positions = 0..u32::try_from(rows.listing.len()).expect("a position is below 2^32");
        let mut positions: Vec<u32> = positions.filter(wanted).collect();
        let size = |position: &u32| rows.listing.get(*position as usize).octets;
        if order == Some(Order::Size) {
            positions.sort_by_key(|position| Reverse(size(position)));
        }
        let has_headings =
            !manner.without_top && !positions.is_empty() && self.has_top(transaction, rows, &positions)?;
        let owner = self.summary.owner();
        let mut widths = Widths::default();
        positions.iter().for_each(|position| widths.admit(&rows.message(*position, None), owner));
        let table = widths.table(columns, has_ids || !has_headings, has_headings);
        let print = |position: u32, heading: Option<&Heading>| {
            let message = rows.message(position, heading);
            self.run.results.message(|| message.json(owner), || table.line(&message, owner));
        };
        self.run.results.line(&self.summary.list_line());
        if !has_headings {
            let needs_headings = matches!(order, Some(Order::Age | Order::From)) && positions.len() > 1;
            positions.iter().for_each(|position| print(*position, None));
            self.summary.notices.extend(needs_headings.then_some(Notice::Unsorted));
            return Ok(true);
        }
        let mut kept: Vec<(u32, Heading)> = vec![];
        let is_kept = matches!(order, Some(Order::Age | Order::From));
        let (come, ended) = headings(transaction, rows, &positions, |position, heading| {
            if !is_kept {
                return print(position, heading.as_ref());
            }
            // What there is no memory for is shown without its heading.
            let heading = heading.map(shortened).filter(|heading| share.take(kept_octets(heading)));
            kept.push((position, heading.unwrap_or_default()));
        });
        match order {
            Some(Order::Age) => kept.sort_by_key(|(_, heading)| (heading.date.is_none(), heading.date)),
            Some(Order::From) => kept.sort_by_cached_key(|(_, heading)| {
                (heading.from.is_none(), heading.from.as_deref().map(str::to_lowercase))
            }),
            Some(Order::Size) | None => {}
        }
        kept.iter().for_each(|(position, heading)| print(*position, Some(heading)));
        positions[come..].iter().for_each(|position| print(*position, None));
        match ended {
            Err(error @ Error::Stopped(_)) => Err(error),
            Err(error) => {
                let may_be_of_others = come > 0 && (error.is_unanswered_ahead() || !error.is_of_the_line());
                self.summary.notices.push(Notice::Headless { error: error.to_string(), may_be_of_others });
                Ok(false)
            }
            Ok(()) => Ok(true),
        }
    }

    /// True when the server has TOP. One that announces nothing is asked for a header section.
    fn has_top(
        &self,
        transaction: &mut Transaction<Line<'_>>,
        rows: &Rows<'_>,
        positions: &[u32],
    ) -> Result<bool, Error> {
        let capabilities = transaction.capabilities();
        if capabilities.top || capabilities.are_announced {
            return Ok(capabilities.top);
        }
        Ok(transaction.heads(&[rows.number(positions[0])], |_, _| ())?)
    }
}

/// The messages of a maildrop.
struct Rows<'r> {
    listing: &'r Listing,
    /// What becomes of them, where that can be told.
    prospects: Option<Prospects<'r>>,
}

impl Rows<'_> {
    fn number(&self, position: u32) -> MessageNumber {
        self.listing.get(position as usize).number
    }

    fn outlook(&self, position: u32) -> Outlook {
        let nameless = || Outlook::of(Fate::Left(Reason::Nameless));
        self.prospects.as_ref().map_or_else(nameless, |prospects| prospects.outlook(position))
    }

    fn message<'m>(&'m self, position: u32, heading: Option<&'m Heading>) -> Message<'m> {
        let Listed { number, unique_id, octets } = self.listing.get(position as usize);
        let unique_id = unique_id.into();
        Message { number, unique_id, octets, outlook: self.outlook(position), heading }
    }

    /// All octets, where every size is known.
    fn octets(&self) -> Option<u64> {
        self.listing.iter().try_fold(0u64, |sum, message| sum.checked_add(message.octets?))
    }
}

/// Asks for the header sections of messages. `take` gets what they say, or nothing where the server refuses. Returns how
/// many have come when it ended.
fn headings(
    transaction: &mut Transaction<Line<'_>>,
    rows: &Rows<'_>,
    positions: &[u32],
    mut take: impl FnMut(u32, Option<Heading>),
) -> (usize, Result<(), Error>) {
    let numbers: Vec<MessageNumber> = positions.iter().map(|position| rows.number(*position)).collect();
    let (mut octets, mut come) = (vec![], 0);
    let ended = transaction.heads(&numbers, |nth, head| match head {
        Head::Octets(more) => {
            let room = LONGEST - octets.len();
            octets.extend_from_slice(&more[..more.len().min(room)]);
        }
        Head::End => {
            take(positions[nth], Some(Heading::read(&octets)));
            octets.clear();
            come = nth + 1;
        }
        Head::Refused => {
            take(positions[nth], None);
            come = nth + 1;
        }
    });
    (come, ended.map(drop).map_err(Error::from))
}

/// What is kept until all messages have come is not kept whole.
fn shortened(heading: Heading) -> Heading {
    let shorten = |text: Option<String>| text.map(|text| fitted(&text, KEPT));
    Heading { date: heading.date, from: shorten(heading.from), subject: shorten(heading.subject) }
}

/// What it costs to keep a heading.
fn kept_octets(Heading { from, subject, .. }: &Heading) -> usize {
    let texts = [from, subject].into_iter().flatten().map(String::len).sum::<usize>();
    texts + size_of::<(u32, Heading)>()
}
