//! The TRANSACTION state (RFC 1939 §5): STAT, LIST, UIDL, RETR, DELE, and QUIT into UPDATE.

use std::sync::Arc;

use super::capabilities::Capabilities;
use super::command::{Awaited, Command, Verb};
use super::connection::{Connection, Refused, Transport};
use super::error::Error;
use super::listing;
use super::window::Window;
use crate::listings::{BUDGET, Share};
use crate::maildrop::{Durable, Listed, Listing, MessageNumber};
use crate::text;

/// A session that is logged in. Dropped without [`Transaction::update`], it deletes nothing.
pub struct Transaction<T> {
    pub(super) connection: Connection<T>,
    capabilities: Capabilities,
    pub(super) quit_is_sent: bool,
    pub(super) quit_is_answered: bool,
}

/// What the maildrop holds, and what the server says of it in sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// How many messages there are, by STAT; `None` when its reply made no sense.
    pub messages: Option<u64>,
    /// Their octets, by STAT.
    pub octets: Option<u64>,
    /// Every message.
    pub listing: Listing,
}

/// A message that the server would not retrieve or delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which one.
    pub number: MessageNumber,
    /// The server's words.
    pub text: Vec<u8>,
}

/// How a session ended that ended well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// What was asked to be deleted and refused; all else is deleted.
    pub refused: Vec<Refusal>,
}

impl<T: Transport> Transaction<T> {
    pub(super) fn begin(mut connection: Connection<T>, before: Option<Capabilities>) -> Result<Self, Error> {
        // Gmail and others announce UIDL and PIPELINING only behind the login (RFC 2449 §5 allows it).
        let capabilities = match before {
            Some(known) if known.uidl && known.pipelining => known,
            _ => Capabilities::ask(&mut connection)?,
        };
        let mut transaction = Transaction { connection, capabilities, quit_is_sent: false, quit_is_answered: false };
        if !transaction.capabilities.pipelining {
            transaction.keep_in_step();
        }
        Ok(transaction)
    }

    /// From here on each command waits for the reply before it, whatever the server announces.
    pub fn keep_in_step(&mut self) {
        self.capabilities.pipelining = false;
        self.connection.io().lock_step();
    }

    /// What the server announced last.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// From now on a refusal of UIDL is no failure, even where the server has announced it.
    pub fn do_without_unique_ids(&mut self) {
        self.capabilities.uidl = false;
    }

    /// STAT, UIDL and LIST, in one flight where the server takes it. Without `octets`, LIST is asked only when there
    /// is no UIDL: on a large maildrop it costs the server as much as UIDL, and few sizes are of interest. Then most
    /// messages may be known, and memory is taken only for their listing; see [`Transaction::reserve`].
    pub fn survey(&mut self, octets: bool) -> Result<Survey, Error> {
        let commands = [Command::Stat, Command::Uidl, Command::List(None)];
        let commands = &commands[..if octets { 3 } else { 2 }];
        let is_announced = self.capabilities.uidl;
        let mut flight = Flight::new(self, commands);
        let stat = flight.next()?.reply(Command::Stat.verb())?.ok().and_then(listing::stat);
        let (messages, total) = stat.map_or((None, None), |(messages, octets)| (Some(messages), octets));
        let is_empty = messages == Some(0);
        let cost = if octets { MESSAGE } else { LISTED };
        let mut listing = uidl(flight.next()?, is_announced && !is_empty, cost)?;
        if octets {
            list(flight.next()?, &mut listing)?;
            if are_exchanged(&listing, total) {
                return Err(Error::Exchanged);
            }
        } else if !listing.has_unique_ids {
            self.list_all(&mut listing)?;
        }
        Ok(Survey { messages, octets: total, listing })
    }

    /// Finds the sizes of some positions of a listing: by LIST of each when they are few, else by LIST of all. A message
    /// that the server refuses to measure stays unmeasured.
    pub fn measure(&mut self, listing: &mut Listing, positions: &[usize]) -> Result<(), Error> {
        // In lock-step each one costs a round trip.
        let few = if self.capabilities.pipelining { listing.len() / 8 } else { 1 };
        if positions.len() <= few { self.list_each(listing, positions) } else { self.list_all(listing) }
    }

    /// Takes memory for messages that were only listed so far, and that more is to be done with.
    pub fn reserve(&self, listing: &Listing, positions: impl ExactSizeIterator<Item = usize>) -> Result<(), Error> {
        let mut guard = Guard::new(&self.connection, Command::Uidl.verb(), MESSAGE.less(LISTED));
        for position in positions {
            let Listed { number, unique_id, .. } = listing.get(position);
            guard.admit(number, unique_id.len())?;
        }
        Ok(())
    }

    fn list_all(&mut self, listing: &mut Listing) -> Result<(), Error> {
        self.connection.queue(Command::List(None));
        self.connection.flush(Awaited::Reply(Command::List(None).verb()))?;
        list(&mut self.connection, listing)
    }

    fn list_each(&mut self, listing: &mut Listing, positions: &[usize]) -> Result<(), Error> {
        // Their commands together must fit any socket buffer.
        for chunk in positions.chunks(Window::default().messages) {
            let commands: Vec<_> =
                chunk.iter().map(|position| Command::List(Some(listing.get(*position).number))).collect();
            let mut flight = Flight::new(self, &commands);
            for (position, command) in chunk.iter().zip(&commands) {
                let sized = flight.next()?.reply(command.verb())?.ok().and_then(listing::list);
                if let Some((number, Some(octets))) = sized
                    && number == listing.get(*position).number
                {
                    listing.set_octets(*position, octets);
                }
            }
        }
        Ok(())
    }

    /// Tells the server that we are still there, by NOOP (RFC 1939 §5), unless the session is over but for its end.
    pub fn keep_alive(&mut self) -> Result<(), Error> {
        if self.quit_is_sent {
            return Ok(());
        }
        let verb = Command::Noop.verb();
        self.connection.command(Command::Noop)?.map_err(|refused| refused.fatal(verb))?;
        Ok(())
    }

    /// DELE for everything that is durable at home, then QUIT: the UPDATE state. Only when this returns `Ok` are the
    /// messages deleted; after an error the server alone knows.
    pub fn update(mut self, durable: &[impl Durable]) -> Result<Update, Error> {
        let window = if self.capabilities.pipelining { Window::default().messages } else { 1 };
        let mut refused = vec![];
        let mut sent = 0;
        for (answered, number) in durable.iter().map(Durable::number).enumerate() {
            if sent - answered <= window / 2 {
                sent = self.queue_deletions(durable, sent, answered + window);
            }
            let verb = Command::Dele(number).verb();
            self.connection.flush(Awaited::Reply(verb))?;
            if let Err(Refused { text, .. }) = self.connection.reply(verb)? {
                refused.push(Refusal { number, text });
            }
        }
        self.quit()?;
        Ok(Update { refused })
    }

    /// Queues DELE from a position on, up to another one, and returns how far it came. QUIT rides with the last of them,
    /// but in lock-step.
    fn queue_deletions(&mut self, durable: &[impl Durable], from: usize, to: usize) -> usize {
        let to = to.min(durable.len());
        durable[from..to].iter().for_each(|message| self.connection.queue(Command::Dele(message.number())));
        if to == durable.len() && self.capabilities.pipelining && !self.quit_is_sent {
            self.queue_quit();
        }
        to
    }

    pub(super) fn queue_quit(&mut self) {
        self.connection.queue(Command::Quit);
        self.quit_is_sent = true;
    }

    fn quit(mut self) -> Result<(), Error> {
        if self.quit_is_answered {
            return Ok(());
        }
        let verb = Command::Quit.verb();
        if !self.quit_is_sent {
            self.queue_quit();
        }
        self.connection.flush(Awaited::Reply(verb))?;
        self.connection.reply(verb)?.map_err(|refused| refused.fatal(verb))?;
        Ok(())
    }
}

/// Commands whose replies are read in order: all sent at once with PIPELINING, each before its reply without.
pub(super) struct Flight<'s, T> {
    connection: &'s mut Connection<T>,
    unsent: Vec<Command<'static>>,
    /// The command whose reply comes next.
    awaited: Verb,
}

impl<'s, T: Transport> Flight<'s, T> {
    pub(super) fn new(transaction: &'s mut Transaction<T>, commands: &[Command<'static>]) -> Self {
        let awaited = commands[0].verb();
        let mut unsent = commands.to_vec();
        if transaction.capabilities.pipelining {
            unsent.drain(..).for_each(|command| transaction.connection.queue(command));
        }
        unsent.reverse();
        Flight { connection: &mut transaction.connection, unsent, awaited }
    }

    /// The connection, with the next command's reply on its way.
    pub(super) fn next(&mut self) -> Result<&mut Connection<T>, Error> {
        if let Some(command) = self.unsent.pop() {
            self.connection.queue(command);
            self.awaited = command.verb();
        }
        self.connection.flush(Awaited::Reply(self.awaited))?;
        Ok(self.connection)
    }
}

/// Reads the reply to UIDL. A refusal is a server without it (RFC 1939 §7: UIDL is optional), unless it should have
/// known: without ids, everything that is known would be fetched again.
fn uidl<T: Transport>(connection: &mut Connection<T>, is_due: bool, cost: Cost) -> Result<Listing, Error> {
    let verb = Command::Uidl.verb();
    let mut listing = Listing::default();
    if let Err(refused) = connection.reply(verb)?.map(drop) {
        let will_pass = refused.code.is_some_and(|code| code.is_transient());
        return if is_due || will_pass { Err(refused.fatal(verb)) } else { Ok(listing) };
    }
    listing.has_unique_ids = true;
    let mut guard = Guard::new(connection, verb, cost);
    let listed = connection.lines(verb, |line| {
        let (number, id) =
            listing::uidl(line).ok_or_else(|| guard.malformed(line, "a message-number and a unique-id"))?;
        guard.admit(number, id.len())?;
        if !listing.push(number, id) {
            return Err(guard.too_much());
        }
        Ok(())
    });
    listed.map_err(|error| connection.in_words(error))?;
    guard.finish(&listing)?;
    Ok(listing)
}

/// Reads the reply to LIST into the listing: sizes for what is there, new entries for what UIDL did not name.
fn list<T: Transport>(connection: &mut Connection<T>, listing: &mut Listing) -> Result<(), Error> {
    let verb = Command::List(None).verb();
    connection.reply(verb)?.map_err(|refused| refused.fatal(verb))?;
    let mut guard = Guard::new(connection, verb, MESSAGE);
    let mut sizes: Vec<(MessageNumber, Option<u64>)> = vec![];
    let mut next = 0;
    let listed = connection.lines(verb, |line| {
        let (number, octets) =
            listing::list(line).ok_or_else(|| guard.malformed(line, "a message-number and a size"))?;
        // Both listings are in the same order, as a rule; what is not waits for the slow way.
        if next < listing.len() && listing.get(next).number == number {
            guard.pass(number);
            set_size(listing, next, octets);
            next += 1;
        } else {
            guard.admit(number, 0)?;
            sizes.push((number, octets));
        }
        Ok(())
    });
    listed.map_err(|error| connection.in_words(error))?;
    set_out_of_order(listing, sizes);
    guard.finish(listing)
}

/// True when the replies to UIDL and LIST have changed places: under these unique-ids everything would come once more.
/// Then all ids are numbers, of which STAT knows the sum, or no size is any. Both are chance for a single message.
fn are_exchanged(listing: &Listing, total: Option<u64>) -> bool {
    let id_as_size = |message: Listed<'_>| std::str::from_utf8(message.unique_id).ok()?.parse::<u64>().ok();
    let sum_of = |size: &dyn Fn(Listed<'_>) -> Option<u64>| {
        listing.iter().try_fold(0u64, |sum, message| sum.checked_add(size(message)?))
    };
    // Most servers have an id at the beginning that is no number.
    let Some(sum) = sum_of(&id_as_size).filter(|_| listing.len() > 1) else { return false };
    let fits_stat = total == Some(sum) && total != sum_of(&|message| message.octets);
    fits_stat || listing.iter().all(|message| message.octets.is_none())
}

/// A size that the server did not give stays unknown.
fn set_size(listing: &mut Listing, position: usize, octets: Option<u64>) {
    if let Some(octets) = octets {
        listing.set_octets(position, octets);
    }
}

fn set_out_of_order(listing: &mut Listing, sizes: Vec<(MessageNumber, Option<u64>)>) {
    if sizes.is_empty() {
        return;
    }
    let positions: std::collections::HashMap<MessageNumber, usize> =
        listing.iter().enumerate().map(|(position, message)| (message.number, position)).collect();
    let (mut known, unknown): (Vec<_>, Vec<_>) =
        sizes.into_iter().partition(|(number, _)| positions.contains_key(number));
    known.sort_unstable_by_key(|(number, _)| positions[number]);
    known.into_iter().for_each(|(number, octets)| set_size(listing, positions[&number], octets));
    for (number, octets) in unknown {
        // An empty id always fits.
        if listing.push(number, b"") {
            set_size(listing, listing.len() - 1, octets);
        }
    }
}

/// What a message may cost in memory, in octets. Measured.
#[derive(Debug, Clone, Copy)]
struct Cost {
    message: usize,
    /// How often its unique-id is kept.
    ids: usize,
}

/// Its records in the listing, in the plan, and on its way; its id in the listing and in the plan.
const MESSAGE: Cost = Cost { message: 160, ids: 2 };

/// Its record in the listing, and the comparison with the ledger, where the server may have made it unlike all that is
/// known.
const LISTED: Cost = Cost { message: 96, ids: 1 };

impl Cost {
    fn less(self, paid: Cost) -> Cost {
        Cost { message: self.message - paid.message, ids: self.ids - paid.ids }
    }
}

/// Memory is asked for in pieces of this size.
const PIECE: usize = 256 << 10;

/// Watches over a listing: its size, and that no message-number comes twice, which would make DELE a gamble.
struct Guard {
    verb: Verb,
    cost: Cost,
    messages: usize,
    octets: usize,
    /// Memory that has not been asked for yet.
    owed: usize,
    listings: Arc<Share>,
    last: u32,
    is_ascending: bool,
}

impl Guard {
    fn new<T>(connection: &Connection<T>, verb: Verb, cost: Cost) -> Self {
        let listings = connection.limits.listings.clone();
        Guard { verb, cost, messages: 0, octets: 0, owed: 0, listings, last: 0, is_ascending: true }
    }

    /// A message that costs memory.
    fn admit(&mut self, number: MessageNumber, id_octets: usize) -> Result<(), Error> {
        self.octets += id_octets;
        self.owed += self.cost.message + self.cost.ids * id_octets;
        if self.owed >= PIECE {
            if !self.listings.take(self.owed) {
                return Err(self.too_much());
            }
            self.owed = 0;
        }
        self.pass(number);
        Ok(())
    }

    /// A message that the listing has.
    fn pass(&mut self, number: MessageNumber) {
        self.messages += 1;
        self.is_ascending &= number.0 > self.last;
        self.last = number.0;
    }

    /// Message-numbers ascend as a rule, and then none is repeated; otherwise they are counted.
    fn finish(self, listing: &Listing) -> Result<(), Error> {
        if self.is_ascending {
            return Ok(());
        }
        let mut numbers: Vec<u32> = listing.iter().map(|message| message.number.0).collect();
        numbers.sort_unstable();
        match numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                Err(self.malformed(format!("message {} twice", pair[0]).as_bytes(), "a listing of different messages"))
            }
            None => Ok(()),
        }
    }

    fn malformed(&self, line: &[u8], expected: &'static str) -> Error {
        Error::Malformed { awaited: Awaited::Lines(self.verb), line: line.to_vec(), expected }
    }

    fn too_much(&self) -> Error {
        let (messages, ids, budget) = (self.messages, text::octets(self.octets as u64), text::octets(BUDGET as u64));
        let what = format!(
            "more than {messages} messages with {ids} of unique-ids, which is all that {budget} of memory hold"
        );
        Error::TooMuch { awaited: Awaited::Lines(self.verb), what }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Write};

    use super::*;
    use crate::listings::Budget;
    use crate::pop3::Limits;

    /// What a server says, whatever it hears.
    struct Said(Cursor<Vec<u8>>);

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Said {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Transport for Said {}

    /// Lists so many messages, whose ids have 20 octets, within a budget.
    fn listed(messages: usize, octets: bool, budget: usize) -> (Transaction<Said>, Result<Survey, Error>) {
        let mut wire = format!("+OK {messages} 1\r\n+OK\r\n");
        (1..=messages).for_each(|number| wire += &format!("{number} {number:020}\r\n"));
        wire += ".\r\n+OK\r\n.\r\n";
        let limits = Limits { listings: Budget::new(budget).share(), ..Limits::default() };
        let connection = Connection::new(Said(Cursor::new(wire.into_bytes())), limits);
        let capabilities = Capabilities { uidl: true, pipelining: true, ..Capabilities::default() };
        let mut transaction = Transaction { connection, capabilities, quit_is_sent: false, quit_is_answered: false };
        let survey = transaction.survey(octets);
        (transaction, survey)
    }

    #[test]
    fn memory_for_known_messages_is_that_of_their_listing_and_for_others_all_that_they_need() {
        const MESSAGES: usize = 20_000;
        const OF_KNOWN: usize = MESSAGES * (96 + 20) + PIECE;
        assert!(listed(MESSAGES, true, OF_KNOWN).1.is_err(), "each may be new where little is known");
        let (transaction, survey) = listed(MESSAGES, false, OF_KNOWN);
        let listing = survey.unwrap().listing;
        transaction.reserve(&listing, 0..0).unwrap();
        let error = transaction.reserve(&listing, 0..MESSAGES).unwrap_err();
        assert!(matches!(error, Error::TooMuch { .. }) && transaction.connection.limits.listings.is_exhausted());
        let (transaction, survey) = listed(MESSAGES, false, MESSAGES * (160 + 2 * 20) + 2 * PIECE);
        transaction.reserve(&survey.unwrap().listing, 0..MESSAGES).unwrap();
    }
}
