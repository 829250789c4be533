//! What the maildrop holds, compared with what the ledger knows, and what follows from it.
//!
//! The ledger is a belief about another machine. What it says of a message is checked against what the server says now,
//! before the message is deleted for it; and where most of what is known does not fit, nothing is done at all.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::Error;
use super::judge::{self, Judge};
use super::line::Line;
use crate::account::{Account, Keep, Start};
use crate::header::{self, Arrival, Identity as Reader};
use crate::ledger::{
    Begun, DOUBTFUL, Identity, Kin, Known, Ledger, Renamed, Standing, Standings, State, Top, comparable,
};
use crate::maildrop::{Fingerprint, Listing, MessageNumber};
use crate::notice::Notice;
use crate::plan::{self, Batch, Border, Identities, NoStart, Plan, Policy, Rulings, View};
use crate::pop3::{Expire, Head, Survey, Transaction};

/// From this many known messages on, sizes are asked for one by one: LIST of everything costs the server as much as
/// UIDL, and of a large maildrop only a few messages are new.
const LARGE: usize = 1000;

/// A note about a maildrop whose STAT is not the sum of its sizes: from then on the sum is not looked at.
const NO_SUM: &str = "stat-is-no-sum";

/// What fewer known messages than this have in common may be chance.
const FEW: usize = 3;

/// What a survey depends on, besides the maildrop and the ledger.
#[derive(Clone, Copy)]
pub struct Terms<'t> {
    /// What the account wants.
    pub policy: Policy,
    /// What counts as known from the first run on.
    pub start: Start,
    /// Seconds since 1970.
    pub now: u64,
    /// The server has TOP, and does not answer it.
    pub without_top: bool,
    /// Rules, and the filter, are asked.
    pub judge: Option<Judge<'t>>,
    /// What the session before this one has brought, where this one looks for more.
    pub after: Option<Batch>,
}

/// A survey under way: what the server said so far, and how it stands to the ledger.
struct Surveyor<'s, 'l> {
    transaction: &'s mut Transaction<Line<'l>>,
    ledger: &'s mut Ledger,
    terms: Terms<'s>,
    survey: Survey,
    standings: Standings,
    rulings: Rulings,
}

/// A maildrop compared with the ledger.
pub struct Surveyed {
    /// What the server says.
    pub survey: Survey,
    /// How it stands to the ledger.
    pub standings: Standings,
    /// How known messages stand to it.
    identities: Identities,
    /// Positions of messages that count as known because of `start`, in ascending order.
    pub before_start: Vec<usize>,
    /// Others are listed when known messages have been retrieved once more.
    pub is_blocked: bool,
    /// What rules have decided.
    pub rulings: Rulings,
    /// What follows from it.
    pub plan: Plan,
}

impl Surveyed {
    /// Decides anew, with another policy.
    pub fn decide(&mut self, ledger: &Ledger, policy: &Policy, now: u64) -> Result<(), Error> {
        let Surveyed { survey, standings, identities, rulings, before_start, .. } = self;
        let view = View { listing: &survey.listing, standings, ledger, policy, rulings, now };
        self.plan = view.plan(identities, before_start)?;
        Ok(())
    }
}

/// What a listing is for.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// What is fetched whatever is known of it needs no unique-ids.
    pub needs_ids: bool,
    /// Every size is of interest, also in a large maildrop.
    pub needs_sizes: bool,
}

/// Which messages a first run of the account wants. Who asks for everything gets it, and a URL is no account.
pub fn start(account: &Account, fills: bool) -> Start {
    if account.one_off || account.all || fills { Start::All } else { account.start }
}

/// Lists the maildrop.
pub fn list(transaction: &mut Transaction<Line<'_>>, ledger: &Ledger, wishes: Wishes) -> Result<Survey, Error> {
    if !wishes.needs_ids {
        transaction.do_without_unique_ids();
    }
    Ok(transaction.survey(wishes.needs_sizes || ledger.facts().len() < LARGE)?)
}

/// Asks for the header sections of messages, by their positions in the listing.
pub fn tops(
    transaction: &mut Transaction<Line<'_>>,
    listing: &Listing,
    positions: &[usize],
) -> Result<Vec<Top>, Error> {
    let numbers: Vec<MessageNumber> = positions.iter().map(|position| listing.get(*position).number).collect();
    let mut readers: Vec<Option<Reader>> = positions.iter().map(|_| Some(Reader::default())).collect();
    let heads = transaction.heads(&numbers, |position, head| match head {
        Head::Octets(octets) => readers[position].iter_mut().for_each(|reader| reader.push(octets)),
        Head::Refused => readers[position] = None,
        Head::End => {}
    });
    let has_top = heads.map_err(Error::top)?;
    let top = |reader: Option<Reader>| match reader {
        Some(reader) => Top::Head(reader.fingerprint()),
        None if has_top => Top::Refused,
        None => Top::Missing,
    };
    Ok(readers.into_iter().map(top).collect())
}

/// Compares the listed maildrop with the ledger, asks the server what has to be proved, and decides. `kin` finds other
/// ledgers that may know the messages, where this one knows none.
pub fn compare(
    survey: Survey,
    transaction: &mut Transaction<Line<'_>>,
    ledger: &mut Ledger,
    terms: Terms<'_>,
    kin: impl FnOnce(&Path) -> Vec<Kin>,
    notices: &mut Vec<Notice>,
) -> Result<Surveyed, Error> {
    let standings = ledger.locate(&survey.listing);
    let rulings = Rulings::default();
    let mut surveyor = Surveyor { transaction, ledger, terms, survey, standings, rulings };
    surveyor.measure()?;
    let mut begun = surveyor.ledger.begun();
    if surveyor.ledger.facts().is_empty() && !terms.policy.all {
        for mut kin in kin(surveyor.ledger.path()) {
            let (adopted, untold) = surveyor.adopt(&mut kin)?;
            if adopted + untold > 0 {
                // The account has begun under the other name, and what is not known has come since.
                begun = if kin.is_of_an_account() { Begun::Wholly } else { begun };
            }
            if adopted > 0 {
                notices.push(Notice::Adopted { messages: adopted, maildrop: kin.maildrop().to_owned() });
            }
        }
    }
    let renamed = if terms.policy.all { 0 } else { surveyor.recognize()? };
    if renamed > 0 {
        notices.push(Notice::Renamed(renamed));
    }
    surveyor.learn()?;
    let mut identities = surveyor.identify()?;
    let is_blocked = surveyor.compare_what_is_in_the_way(&mut identities)?;
    let before_start = surveyor.before_start(begun)?;
    surveyor.rule(&identities, &before_start)?;
    let plan = surveyor.view().plan(&identities, &before_start)?;
    let Surveyor { survey, standings, rulings, .. } = surveyor;
    Ok(Surveyed { survey, standings, identities, rulings, before_start, is_blocked, plan })
}

impl Surveyor<'_, '_> {
    /// Takes over what another ledger knows of the listed messages, and returns of how many: those with the same
    /// unique-id or, where none has one, with the same size, when TOP proves it; and of how many with the same unique-id
    /// of which TOP tells nothing.
    fn adopt(&mut self, kin: &mut Kin) -> Result<(usize, usize), Error> {
        let listing = &self.survey.listing;
        let new: Vec<usize> = (0..listing.len()).filter(|position| self.is_new(*position)).collect();
        let ids: HashSet<&[u8]> = new.iter().map(|position| listing.get(*position).unique_id).collect();
        let known: Vec<Known<'_>> = kin.delivered().collect();
        let sizes = known.iter().map(|known| known.octets).collect();
        let listed = new.iter().map(|position| comparable(listing.get(*position).octets)).collect();
        let alike = in_common(sizes, listed);
        let by_id: HashMap<&[u8], &Known<'_>> = known.iter().map(|known| (known.unique_id, known)).collect();
        let mut untold: Vec<(usize, u32)> = vec![];
        let pairs: Vec<(usize, u32)> = if by_id.keys().any(|id| ids.contains(id)) {
            let with_id: Vec<usize> =
                new.into_iter().filter(|position| by_id.contains_key(listing.get(*position).unique_id)).collect();
            let tops = self.tops(&with_id)?;
            let known = |position: usize| by_id[self.survey.listing.get(position).unique_id];
            let is_untold = |(position, top): (&usize, &Top)| {
                let known = known(*position);
                (!matches!(top, Top::Head(_)) && known.head.is_some()).then_some((*position, known.fact))
            };
            untold = with_id.iter().zip(&tops).filter_map(is_untold).collect();
            let is_same = |(position, head, _): &(usize, Fingerprint, u32)| {
                (known(*position).head == Some(*head)).then_some((*position, known(*position).fact))
            };
            self.heads(&with_id, &tops).iter().filter_map(is_same).collect()
        } else if alike >= FEW && alike * 2 >= known.len() {
            let tops = self.tops(&new)?;
            pair(&self.heads(&new, &tops), &known)
        } else {
            vec![]
        };
        let listing = &self.survey.listing;
        // Their texts tell, once they are retrieved. Until then none of them counts as known.
        self.ledger.doubt(untold.iter().map(|(position, _)| listing.get(*position).unique_id), self.terms.now)?;
        let renamed: Vec<Renamed<'_>> = pairs
            .iter()
            .chain(&untold)
            .map(|(position, fact)| {
                let listed = listing.get(*position);
                Renamed { fact: *fact, unique_id: listed.unique_id, nth: 1, octets: listed.octets }
            })
            .collect();
        self.ledger.adopt(kin, &renamed)?;
        self.standings = self.ledger.locate(&self.survey.listing);
        Ok((pairs.len(), untold.len()))
    }

    /// True for a message of which nothing is known, and whose unique-id is its own.
    fn is_new(&self, position: usize) -> bool {
        let has_id = !self.survey.listing.get(position).unique_id.is_empty();
        has_id && self.standings.get(position) == Standing::New { nth: 1 } && !self.standings.is_repeated(position)
    }

    /// What TOP has said of messages: position, fingerprint, and the size as it is compared.
    fn heads(&self, positions: &[usize], tops: &[Top]) -> Vec<(usize, Fingerprint, u32)> {
        let heads = positions.iter().zip(tops).filter_map(|(position, top)| match top {
            Top::Head(head) => Some((*position, *head, comparable(self.survey.listing.get(*position).octets))),
            Top::Refused | Top::Missing => None,
        });
        heads.collect()
    }

    /// Finds the messages that are from before `start`.
    fn before_start(&mut self, begun: Begun) -> Result<Vec<usize>, Error> {
        let clock = Some(self.terms.now).filter(|now| self.ledger.trusts_clock(*now));
        let Some(border) = Border::of(self.terms.start, begun, clock)? else { return Ok(vec![]) };
        if !self.survey.listing.is_empty() && !self.survey.listing.has_unique_ids {
            return Err(NoStart::WithoutIds.into());
        }
        let mut positions = self.view().startable(border);
        if border == Border::Listing || positions.is_empty() {
            return Ok(positions);
        }
        let has_top = !self.terms.without_top && self.keep_behind(border, &mut positions)?;
        match begun {
            Begun::Never if !has_top => Err(NoStart::WithoutTop.into()),
            _ if !has_top => Ok(vec![]),
            _ => Ok(positions),
        }
    }

    /// Keeps of these positions those of messages that are behind the border, as far as their header sections tell. False
    /// when the server has no TOP.
    fn keep_behind(&mut self, border: Border, positions: &mut Vec<usize>) -> Result<bool, Error> {
        let listing = &self.survey.listing;
        let numbers: Vec<MessageNumber> = positions.iter().map(|position| listing.get(*position).number).collect();
        let (mut octets, mut behind) = (vec![], vec![]);
        let has_top = self.transaction.heads(&numbers, |nth, head| match head {
            Head::Octets(more) => {
                let room = header::LONGEST - octets.len();
                octets.extend_from_slice(&more[..more.len().min(room)]);
            }
            Head::End => {
                let Arrival { received, written } = Arrival::read(&octets);
                behind.extend(border.is_behind(received, written).then_some(positions[nth]));
                octets.clear();
            }
            Head::Refused => {}
        });
        let has_top = has_top.map_err(Error::top)?;
        *positions = behind;
        Ok(has_top)
    }

    fn view(&self) -> View<'_> {
        let Surveyor { ledger, terms, survey, standings, rulings, .. } = self;
        View { listing: &survey.listing, standings, ledger, policy: &terms.policy, rulings, now: terms.now }
    }

    /// Learns whether the server hands its messages out in batches.
    fn learn(&mut self) -> Result<(), Error> {
        let (listed, now) = (self.survey.listing.len(), self.terms.now);
        let keeps_nothing = self.transaction.capabilities().expire == Some(Expire::Days(0));
        if keeps_nothing && plan::is_like_a_batch(self.ledger, listed, now) && !self.ledger.has_note(plan::BATCHES, b"")
        {
            self.ledger.note_for_now(plan::BATCHES, now)?;
        }
        let Some(before) = self.terms.after else { return Ok(()) };
        let new = (0..listed).filter(|position| matches!(self.standings.get(*position), Standing::New { .. })).count();
        if let Some((so, not_so)) = before.lesson(listed, new) {
            self.ledger.note_over(not_so, [&b""[..]])?;
            self.ledger.note_for_now(so, now)?;
        }
        Ok(())
    }

    /// Has known messages retrieved once more that keep others from being listed, and returns whether there are any. Where
    /// nothing is recorded of one, TOP tells what its text is to be compared with.
    fn compare_what_is_in_the_way(&mut self, identities: &mut Identities) -> Result<bool, Error> {
        let known = self.view().in_the_way();
        if known.is_empty() {
            return Ok(false);
        }
        let recorded = self.ledger.heads(known.iter().map(|(_, fact)| *fact))?;
        let unrecorded: Vec<usize> =
            known.iter().filter(|(_, fact)| !recorded.contains_key(fact)).map(|(p, _)| *p).collect();
        let tops = if unrecorded.is_empty() { vec![] } else { self.tops(&unrecorded)? };
        let listed: HashMap<usize, Fingerprint> =
            self.heads(&unrecorded, &tops).into_iter().map(|(position, head, _)| (position, head)).collect();
        for (position, fact) in known {
            let head = recorded.get(&fact).or_else(|| listed.get(&position));
            if let Some(head) = head.filter(|_| !identities.contains_key(&position)) {
                identities.insert(position, Identity::Compare(*head));
            }
        }
        Ok(true)
    }

    /// Asks for the sizes that a decision needs, and for all of them when STAT shows that a known message has changed.
    fn measure(&mut self) -> Result<(), Error> {
        let needed = self.view().sizes_needed();
        let is_measured = self.ledger.facts().len() < LARGE;
        if !is_measured {
            self.transaction.reserve(&self.survey.listing, needed.iter().copied())?;
        }
        self.ask_sizes(&needed)?;
        if is_measured || self.view().adds_up(self.survey.octets) || self.ledger.has_note(NO_SUM, b"") {
            return Ok(());
        }
        let listing = &self.survey.listing;
        let unknown: Vec<usize> =
            (0..listing.len()).filter(|position| listing.get(*position).octets.is_none()).collect();
        self.ask_sizes(&unknown)?;
        if !self.view().adds_up(self.survey.octets) {
            self.ledger.note(NO_SUM, b"", self.terms.now)?;
        }
        Ok(())
    }

    fn ask_sizes(&mut self, positions: &[usize]) -> Result<(), Error> {
        if !positions.is_empty() {
            self.transaction.measure(&mut self.survey.listing, positions)?;
            self.standings = self.ledger.locate(&self.survey.listing);
        }
        Ok(())
    }

    /// Asks for the header sections of messages.
    fn tops(&mut self, positions: &[usize]) -> Result<Vec<Top>, Error> {
        if self.terms.without_top {
            return Ok(vec![Top::Refused; positions.len()]);
        }
        tops(self.transaction, &self.survey.listing, positions)
    }

    /// Finds out whether messages are the known ones, where that decides anything, and notes their sizes where they are.
    fn identify(&mut self) -> Result<Identities, Error> {
        if self.terms.policy.all {
            return self.identify_by_text();
        }
        let needed = self.view().heads_needed();
        if needed.is_empty() {
            return Ok(Identities::new());
        }
        // Known messages of other sizes were only listed so far.
        if self.terms.policy.keep == Keep::Forever && self.ledger.facts().len() >= LARGE {
            self.transaction.reserve(&self.survey.listing, needed.iter().map(|(position, _)| *position))?;
        }
        let recorded = self.ledger.heads(needed.iter().map(|(_, fact)| *fact))?;
        let (asked, unasked): (Vec<_>, Vec<_>) = needed.into_iter().partition(|(_, fact)| recorded.contains_key(fact));
        let positions: Vec<usize> = asked.iter().map(|(position, _)| *position).collect();
        let tops = self.tops(&positions)?;
        // Without a recorded fingerprint TOP tells nothing.
        let all = asked.into_iter().zip(tops).chain(unasked.into_iter().map(|unasked| (unasked, Top::Missing)));
        let (mut identities, mut sizes, mut resized) = (Identities::new(), vec![], 0);
        for ((position, fact), top) in all {
            let listed = self.survey.listing.get(position);
            let identity = self.ledger.identify(fact, recorded.get(&fact).copied(), &listed, top);
            if let (Identity::Same(same), Some(octets)) = (identity, listed.octets) {
                sizes.push((same, octets));
            }
            let is_known = self.ledger.facts().get(fact).state == State::Delivered;
            resized += usize::from(identity == Identity::Another && is_known && !recorded.contains_key(&fact));
            identities.insert(position, identity);
        }
        self.check_resized(resized)?;
        self.ledger.resized(sizes)?;
        self.settle_doubts(&identities)?;
        Ok(identities)
    }

    /// Asks the rules about messages that no run has settled.
    fn rule(&mut self, identities: &Identities, before_start: &[usize]) -> Result<(), Error> {
        let Some(judge) = self.terms.judge else { return Ok(()) };
        let unruled = self.view().unruled(identities, before_start);
        if unruled.is_empty() {
            return Ok(());
        }
        let clock = self.ledger.trusts_clock(self.terms.now).then_some(self.terms.now);
        let (listing, without_top) = (&self.survey.listing, self.terms.without_top);
        self.rulings = judge::rulings(judge, self.transaction, listing, &unruled, clock, without_top)?;
        Ok(())
    }

    /// Where everything is retrieved, the text tells whether it is the known message, or another one under its unique-id.
    fn identify_by_text(&self) -> Result<Identities, Error> {
        let listing = &self.survey.listing;
        let known = (0..listing.len()).filter(|position| !self.standings.is_repeated(*position));
        let known = known.filter_map(|position| match self.standings.get(position) {
            Standing::Known(fact) => Some((position, fact)),
            Standing::New { .. } => None,
        });
        let known: Vec<(usize, u32)> = known.collect();
        let recorded = self.ledger.heads(known.iter().map(|(_, fact)| *fact))?;
        let identity = |(position, fact): (usize, u32)| {
            let without_head = || self.ledger.identify(fact, None, &listing.get(position), Top::Missing);
            (position, recorded.get(&fact).map_or_else(without_head, |head| Identity::Compare(*head)))
        };
        Ok(known.into_iter().map(identity).collect())
    }

    /// What is proved is in doubt no more. What is not is named, where all known messages were in doubt.
    fn settle_doubts(&mut self, identities: &Identities) -> Result<(), Error> {
        let Surveyor { ledger, survey, terms, .. } = self;
        if ledger.noted(DOUBTFUL).is_none() {
            return Ok(());
        }
        let is_same = |identity: &Identity| matches!(identity, Identity::Same(_));
        let ids = |wanted: bool| {
            let positions = identities.iter().filter(move |(_, identity)| is_same(identity) == wanted);
            positions.map(|(position, _)| survey.listing.get(*position).unique_id)
        };
        ledger.note_over(DOUBTFUL, ids(true))?;
        if ledger.has_note(DOUBTFUL, b"") {
            ledger.note_over(DOUBTFUL, [&b""[..]])?;
            ledger.doubt(ids(false), terms.now)?;
        }
        Ok(())
    }

    /// Many known messages of other sizes, and no fingerprint of any: a server that counts anew is more likely than one
    /// that used all these unique-ids again.
    fn check_resized(&self, resized: usize) -> Result<(), Error> {
        let known = (0..self.survey.listing.len()).filter(|position| match self.standings.get(*position) {
            Standing::Known(fact) => self.ledger.facts().get(fact).state == State::Delivered,
            Standing::New { .. } => false,
        });
        if resized >= FEW && resized * 2 >= known.count() { Err(Error::Resized(resized)) } else { Ok(()) }
    }

    /// Recognizes a maildrop whose messages all have other unique-ids than before, and returns how many of them are
    /// known under these now.
    ///
    /// It is suspected when none of the known ids is listed, and at least half of the known sizes are. A batch of other
    /// messages, as Gmail hands them out, and a maildrop that was emptied, are no suspicion.
    fn recognize(&mut self) -> Result<usize, Error> {
        let Some(known) = self.unlisted()? else { return Ok(0) };
        let listing = &self.survey.listing;
        let new: Vec<usize> = (0..listing.len()).filter(|p| !listing.get(*p).unique_id.is_empty()).collect();
        let listed = new.iter().map(|position| comparable(listing.get(*position).octets)).collect();
        let is_suspicious = |alike: usize| alike >= FEW && alike * 2 >= known.len();
        if !is_suspicious(in_common(self.sizes(&known), listed)) {
            return Ok(0);
        }
        let recorded = self.ledger.heads(known.iter().copied())?;
        let tops = self.tops(&new)?;
        let facts: Vec<Known<'_>> = known
            .iter()
            .map(|fact| {
                let (facts, head) = (self.ledger.facts(), recorded.get(fact).copied());
                Known { fact: *fact, unique_id: facts.id(*fact), octets: facts.get(*fact).octets, head }
            })
            .collect();
        let pairs = pair(&self.heads(&new, &tops), &facts);
        // Where TOP could not tell, the suspicion stands.
        let is_told = tops.iter().all(|top| matches!(top, Top::Head(_)));
        let untold: Vec<u32> = known.iter().copied().filter(|fact| !is_told || !recorded.contains_key(fact)).collect();
        let paired: HashSet<usize> = pairs.iter().map(|(position, _)| *position).collect();
        let listing = &self.survey.listing;
        let unpaired = new.iter().filter(|position| !paired.contains(position));
        let listed = unpaired.map(|position| comparable(listing.get(*position).octets)).collect();
        if is_suspicious(in_common(self.sizes(&untold), listed)) {
            return Err(Error::Renumbered(known.len()));
        }
        self.rename(&pairs)?;
        Ok(pairs.len())
    }

    fn sizes(&self, facts: &[u32]) -> Vec<u32> {
        facts.iter().map(|fact| self.ledger.facts().get(*fact).octets).collect()
    }

    /// The known messages, when there are some and not one of them is listed.
    fn unlisted(&self) -> Result<Option<Vec<u32>>, Error> {
        let is_known = |position| matches!(self.standings.get(position), Standing::Known(_));
        if self.survey.listing.is_empty() || (0..self.survey.listing.len()).any(is_known) {
            return Ok(None);
        }
        let facts = || (0..).zip(self.ledger.facts().iter());
        let of = |wanted: &[State]| -> Vec<u32> {
            facts().filter(|(_, fact)| wanted.contains(&fact.state)).map(|(number, _)| number).collect()
        };
        let delivered = of(&[State::Delivered]);
        let known = if delivered.len() >= FEW { delivered } else { of(&[State::Delivered, State::Gone]) };
        Ok((known.len() >= FEW).then_some(known))
    }

    fn rename(&mut self, pairs: &[(usize, u32)]) -> Result<(), Error> {
        let mut nths: HashMap<&[u8], u32> = HashMap::new();
        let listing = &self.survey.listing;
        let renamed: Vec<Renamed<'_>> = pairs
            .iter()
            .map(|(position, fact)| {
                let listed = listing.get(*position);
                let nth = nths.entry(listed.unique_id).or_default();
                *nth += 1;
                Renamed { fact: *fact, unique_id: listed.unique_id, nth: *nth, octets: listed.octets }
            })
            .collect();
        if !renamed.is_empty() {
            self.ledger.renamed(&renamed, self.terms.now)?;
            self.standings = self.ledger.locate(&self.survey.listing);
        }
        Ok(())
    }
}

/// How many sizes two lists share, one to one.
fn in_common(mut known: Vec<u32>, mut listed: Vec<u32>) -> usize {
    known.retain(|octets| *octets != u32::MAX);
    known.sort_unstable();
    listed.sort_unstable();
    let mut listed = listed.into_iter().peekable();
    let is_listed = |octets: &&u32| {
        while listed.next_if(|other| other < octets).is_some() {}
        listed.next_if_eq(*octets).is_some()
    };
    known.iter().filter(is_listed).count()
}

/// Pairs listed messages with known ones of the same fingerprint and size, each of them once, in order. A copy by a
/// mailing list has the fingerprint of the original, but hardly its size.
fn pair(listed: &[(usize, Fingerprint, u32)], known: &[Known<'_>]) -> Vec<(usize, u32)> {
    let mut facts: HashMap<(Fingerprint, u32), Vec<u32>> = HashMap::new();
    for known in known.iter().rev() {
        known.head.into_iter().for_each(|head| facts.entry((head, known.octets)).or_default().push(known.fact));
    }
    let pairs = listed
        .iter()
        .filter_map(|(position, head, octets)| Some((*position, facts.get_mut(&(*head, *octets))?.pop()?)));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Fingerprint = Fingerprint(1);

    fn known(fact: u32, octets: u32) -> Known<'static> {
        Known { fact, unique_id: b"x", octets, head: Some(ONE) }
    }

    #[test]
    fn sizes_in_common_are_counted_one_to_one() {
        assert_eq!(in_common(vec![5, 5, 7, u32::MAX], vec![5, 7, 7, 9, u32::MAX]), 2);
        assert_eq!(in_common(vec![], vec![1]), 0);
    }

    #[test]
    fn of_messages_that_look_alike_the_size_decides() {
        assert_eq!(pair(&[(0, ONE, 9), (1, ONE, 5)], &[known(7, 5)]), [(1, 7)], "the copy of a mailing list");
        assert_eq!(pair(&[(0, ONE, 9)], &[known(7, 5)]), [], "it may be the copy alone");
        assert_eq!(pair(&[(0, ONE, 5), (1, ONE, 5)], &[known(7, 5), known(8, 5)]), [(0, 7), (1, 8)]);
        assert_eq!(pair(&[(0, Fingerprint(2), 5)], &[known(7, 5)]), []);
    }
}
