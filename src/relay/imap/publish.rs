//! Messages into a mailbox by APPEND: one connection a run, a batch under way at once where the server allows it.
//!
//! Whose failure it is: BYE, a broken line, and what would be the same for every message (no right to append, a full
//! mailbox, a mailbox that is gone) end the target for this run, and so do three refusals in a row that will pass. Any other
//! refusal is the message's own. What was sent and not answered is in doubt: its intent stays without outcome, and the next
//! run asks ([`super::recover`]). So in doubt is all of a batch as soon as the server says something that makes no sense.
//!
//! Where the server has LITERAL+ (RFC 7888), the whole batch is on its way before the first answer is awaited. With LITERAL-
//! this is so for messages of up to 4096 octets. Each other one waits until the server is ready for it, and the next
//! command rides behind its end: one round trip a message. MULTIAPPEND (RFC 3502) saves none of these: each literal of it
//! is waited for as well, and all would be refused because of one. It is not used, though Dovecot stores 400 messages of 4 KB
//! four to ten times as fast by it.
//!
//! Messages go into their mailbox at once, and not into a folder of popfetch's own to be moved from there: that folder would
//! be seen by people and programs, MOVE (RFC 6851) is not everywhere and takes one more round trip, and where a mailbox is a
//! label, as at Google, nothing moves. What would be gained: a message that a person has moved before the next run would
//! still be known to have come.

use std::time::{Duration, Instant};

use chrono::DateTime;

use super::dialogue::unasked;
use super::recover;
use super::response::{Code, Condition, Response, Status};
use super::session::{Bound, Session, is_missing, is_temporary};
use crate::account::{Server, Target};
use crate::deliver::{
    self, Appended, BatchLimit, Context, Destination, Ends, GROUP, Guarantee, Intents, Keeps, Outcome, Place, Reason,
    Receipt, Recovered, Refusal, Staged, Synced, Tried,
};
use crate::net::{self, Wait};
use crate::relay::error::{Cause, Error};
use crate::relay::shown;
use crate::relay::stage::{Stager, Waiting};
use crate::text;

/// After so many temporary refusals of messages in a row the next run tries again.
const REFUSALS: u32 = 3;

/// A server may have ended a connection that was idle for longer than this.
const IDLE: Duration = Duration::from_secs(5);

/// The longest literal that LITERAL- sends without a wait (RFC 7888 §5).
const LITERAL_MINUS: u64 = 4096;

/// The longest literal (RFC 3501 §9: a number has 32 bits).
const LITERAL: u64 = u32::MAX as u64;

/// A mailbox of a server.
#[derive(Debug, Clone)]
pub(super) struct Appending {
    pub(super) target: Target,
    pub(super) server: Server,
}

impl Appending {
    pub(super) fn failed(&self, cause: Cause, in_doubt: usize) -> deliver::Error {
        let server = shown(&self.target);
        deliver::Error::Server(Box::new(Error { server, cause, in_doubt, is_asked: true }))
    }

    pub(super) fn connect(&self, context: &Context) -> Result<Session, Cause> {
        Session::open(&self.server, self.target.kind(), context)
    }
}

impl Destination for Appending {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn batch_limit(&self) -> BatchLimit {
        GROUP
    }

    fn try_out(&self, context: &Context) -> Result<Tried, deliver::Error> {
        let tried = || {
            let mut session = self.connect(context)?;
            let (ended, bound) = session.status()?;
            let is_there = ended.status == Status::Ok;
            if !self.server.create || !is_missing(&ended) {
                session.check("STATUS", &ended)?;
            }
            session.log_out();
            Ok((session, bound, is_there))
        };
        let (session, bound, is_there) = tried().map_err(|cause| self.failed(cause, 0))?;
        let offers = ["LITERAL+", "LITERAL-", "UIDPLUS", "BINARY"].into_iter().filter(|word| session.offer.has(word));
        let offers: Vec<&str> = offers.collect();
        let offers = if offers.is_empty() { "no extensions".to_owned() } else { offers.join(", ") };
        let most = session.offer.most().or(bound.most);
        let size = most.map(|most| format!("; messages of up to {}", text::octets(most))).unwrap_or_default();
        let made = if is_there { "" } else { "; the mailbox is not there, and would be created" };
        let kept = context.network.keeps.map(|keeps| format!("; {}", kept(keeps))).unwrap_or_default();
        Ok(Tried::Answers(format!("{offers}{size}{made}{kept}; each message would come there exactly once")))
    }

    fn mend(&self, places: &[Place], context: &Context) -> Result<Vec<Recovered>, deliver::Error> {
        let appended = |place: &Place| match place {
            Place::Imap(appended) => (**appended).clone(),
            _ => unreachable!("a mailbox is asked for its own places"),
        };
        let intents: Vec<Appended> = places.iter().map(appended).collect();
        let found = recover::found(self, &intents, context).map_err(|cause| self.failed(cause, places.len()))?;
        let recovered = |(place, is_there): (&Place, bool)| match (place, is_there) {
            (Place::Imap(appended), true) => Recovered::Delivered(Receipt::new(place.clone(), appended.octets)),
            _ => Recovered::Absent,
        };
        Ok(places.iter().zip(found).map(recovered).collect())
    }

    fn open(&self, context: &Context) -> Result<Ends, deliver::Error> {
        let open = || {
            let mut session = self.connect(context)?;
            let bound = session.ready(self.server.create)?;
            Ok((session, bound))
        };
        let (session, bound) = open().map_err(|cause| self.failed(cause, 0))?;
        let connection = Some(Connection { session, used: Instant::now() });
        let publisher = Publisher {
            appending: self.clone(),
            context: context.clone(),
            connection,
            bound,
            in_a_row: 0,
            ended: None,
            was_read_back: context.network.keeps.is_some(),
            learned: None,
        };
        Ok((Box::new(Stager::new(self.server.clone(), context)), Box::new(publisher)))
    }
}

/// A session that is ready for messages.
#[derive(Debug)]
struct Connection {
    session: Session,
    /// When it was last spoken over.
    used: Instant,
}

/// Sends messages.
#[derive(Debug)]
struct Publisher {
    appending: Appending,
    context: Context,
    connection: Option<Connection>,
    /// What STATUS said last. Nothing else renews it: what APPENDUID says may be wrong.
    bound: Bound,
    /// Temporary refusals since a message was taken.
    in_a_row: u32,
    ended: Option<Cause>,
    /// It is known what the mailbox keeps, or cannot be told.
    was_read_back: bool,
    learned: Option<Keeps>,
}

/// A message, and the receipt for when it is taken.
type Message = (Box<Waiting>, Receipt);

impl deliver::Publisher for Publisher {
    /// Fixes by what each message will be known. Nothing is synced: of a message that did not come to the server nothing is
    /// needed but the intent, and it is fetched again.
    fn sync(&mut self, batch: Vec<Staged>) -> Result<Vec<Synced>, deliver::Error> {
        self.wake().map_err(|cause| self.appending.failed(cause, 0))?;
        let target = self.appending.target.identity();
        let Bound { validity, next, .. } = self.bound;
        let place = |waiting: &Waiting| {
            let known_by = waiting.known_by.as_ref().expect("it was staged for a mailbox");
            let marks = known_by.marks.clone();
            Place::Imap(Box::new(Appended {
                target: target.clone(),
                validity,
                next,
                date: known_by.date,
                stamp: marks.stamp,
                message_id: marks.message_id,
                heading: marks.heading,
                octets: waiting.octets(),
                prefix: waiting.prefix(),
                digest: known_by.digest,
            }))
        };
        let synced = |(waiting, octets): (Box<Waiting>, u64)| Synced::new(place(&waiting), octets, waiting);
        Ok(batch.into_iter().map(Staged::into_held).map(synced).collect())
    }

    fn publish(&mut self, intended: Box<dyn Intents>) -> Result<Vec<Outcome>, deliver::Error> {
        let messages: Vec<Message> = intended.into_synced().into_iter().map(Synced::into_held).collect();
        self.say_what_changes(&messages);
        let Publisher { connection, bound, in_a_row, .. } = self;
        let connection = connection.as_mut().expect("it was woken before the intents were written");
        let answers = messages.iter().map(|_| None).collect();
        let most = connection.session.offer.most().or(bound.most);
        let session = &mut connection.session;
        let (in_flight, failure, is_sent, first) = Default::default();
        let mut sending = Sending { session, most, in_flight, answers, in_a_row, failure, is_sent, first };
        let sent = sending.send(&messages);
        let Sending { answers, failure, is_sent, first, .. } = sending;
        match sent {
            Ok(renewed) => {
                connection.used = Instant::now();
                self.ended = failure;
                match renewed {
                    Some(renewed) => {
                        *bound = renewed;
                        self.read_back(&messages, first);
                    }
                    // With an old bound, a message of this batch could prove one like it of the next. That one dials again.
                    None => self.connection = None,
                }
            }
            // Nothing of it is certain any more, but that no message was offered.
            Err(cause) if is_sent => {
                self.connection = None;
                return Err(self.appending.failed(failure.unwrap_or(cause), messages.len()));
            }
            Err(cause) => {
                self.connection = None;
                self.ended = Some(cause);
            }
        }
        let outcome = |((_, receipt), answer)| match answer {
            Some(Answer::Taken) => Outcome::Delivered(receipt),
            Some(Answer::Refused(refusal)) => Outcome::Refused(refusal),
            None => Outcome::Left,
        };
        Ok(messages.into_iter().zip(answers).map(outcome).collect())
    }

    fn ended(&mut self) -> Option<deliver::Error> {
        self.ended.take().map(|cause| self.appending.failed(cause, 0))
    }

    fn learned(&mut self) -> Option<Keeps> {
        self.learned.take()
    }

    fn finish(mut self: Box<Self>) {
        if let Some(connection) = &mut self.connection {
            connection.session.log_out();
        }
    }
}

/// What became of a message that was answered.
#[derive(Debug)]
enum Answer {
    Taken,
    Refused(Refusal),
}

impl Publisher {
    /// The line that `-v` shows of messages whose line ends were not those of mail.
    fn say_what_changes(&self, messages: &[Message]) {
        let bare: u64 = messages.iter().map(|(message, _)| message.bare).sum();
        if let (Some(talk), true) = (&self.context.network.talk, bare > 0) {
            let account = text::printable(self.context.account.as_bytes());
            let server = shown(&self.appending.target);
            let many = text::counted(usize::try_from(bare).unwrap_or(usize::MAX), "bare CR");
            talk(&format!("{account}: {many} became CRLF on the way to `{server}`"));
        }
    }

    /// Reads the first message of a lane back, once, where the server says which one it is. Nothing depends on how that
    /// ends: all of the batch is answered.
    fn read_back(&mut self, messages: &[Message], first: Option<(usize, u32, u32)>) {
        let (Some((position, validity, uid)), Some(connection)) = (first, &mut self.connection) else { return };
        if std::mem::replace(&mut self.was_read_back, true) {
            return;
        }
        let Place::Imap(appended) = messages[position].1.place() else { return };
        match recover::read_back(&mut connection.session, appended, validity, uid) {
            Ok(keeps) => self.learned = keeps,
            // The next batch dials again.
            Err(_) => self.connection = None,
        }
    }

    /// A connection that was idle for long may be dead: the server is asked, and dialled again. No message was offered.
    fn wake(&mut self) -> Result<(), Cause> {
        let is_alive = match &mut self.connection {
            Some(Connection { session, used }) if used.elapsed() > IDLE => {
                matches!(session.does("NOOP"), Ok(ended) if ended.status == Status::Ok)
            }
            Some(_) => true,
            None => false,
        };
        if !is_alive {
            self.context.stop.check().map_err(net::Error::Stopped)?;
            self.connection = None;
            let mut session = self.appending.connect(&self.context)?;
            self.bound = session.ready(self.appending.server.create)?;
            self.connection = Some(Connection { session, used: Instant::now() });
        }
        Ok(())
    }
}

/// A batch on its way.
struct Sending<'s> {
    session: &'s mut Session,
    /// The largest message that is taken.
    most: Option<u64>,
    /// The tags of messages without an answer, and their positions.
    in_flight: Vec<(String, usize)>,
    answers: Vec<Option<Answer>>,
    in_a_row: &'s mut u32,
    /// Why the target takes nothing more, though it answers.
    failure: Option<Cause>,
    /// Something of a message was sent.
    is_sent: bool,
    /// Position, UIDVALIDITY and UID of the first message that was taken, as the server says.
    first: Option<(usize, u32, u32)>,
}

impl Sending<'_> {
    /// Sends a batch and reads its answers. What STATUS says behind them renews the bound of the next one.
    fn send(&mut self, messages: &[Message]) -> Result<Option<Bound>, Cause> {
        for (position, (message, _)) in messages.iter().enumerate() {
            if self.failure.is_some() {
                break;
            }
            if let Some(refusal) = self.unfit(message) {
                self.answers[position] = Some(Answer::Refused(refusal));
            } else if self.offer(message, position)? {
                let Session { dialogue, .. } = &mut *self.session;
                message.read(|piece| dialogue.send(piece))?;
                dialogue.send(b"\r\n")?;
                dialogue.sent(message.octets());
            }
        }
        let status = self.session.queue_status();
        let mut renewed = Bound::default();
        loop {
            match self.session.dialogue.response(if self.in_flight.is_empty() { Wait::Reply } else { Wait::Taken })? {
                Response::Tagged { tag, condition } if tag == status => {
                    return match self.in_flight.is_empty() {
                        true => Ok(Some(renewed).filter(|renewed| condition.status == Status::Ok && renewed.next > 0)),
                        false => Err(Cause::Nonsense("it answers what comes later before a message")),
                    };
                }
                Response::Tagged { tag, condition } => self.answer(&tag, &condition)?,
                Response::Continuation(_) => return Err(unasked()),
                response => renewed.note(&response),
            }
        }
    }

    /// Begins a message. False when the server does not take it.
    fn offer(&mut self, message: &Waiting, position: usize) -> Result<bool, Cause> {
        let offer = &self.session.offer;
        let at_once = offer.has_literal_plus() || (offer.has_literal_minus() && message.octets() <= LITERAL_MINUS);
        let known_by = message.known_by.as_ref().expect("it was staged for a mailbox");
        let (tilde, plus) = (if message.has_nul { "~" } else { "" }, if at_once { "+" } else { "" });
        let (mailbox, date, octets) = (&self.session.mailbox, date(known_by.date), message.octets());
        let command = format!("APPEND {mailbox} \"{date}\" {tilde}{{{octets}{plus}}}");
        let tag = self.session.dialogue.command(&command);
        self.in_flight.push((tag.clone(), position));
        self.is_sent = true;
        if at_once {
            return Ok(true);
        }
        // Answers to the messages before this one come first, and may be the end of the target. This one is announced.
        loop {
            match self.session.dialogue.response(Wait::Taken)? {
                Response::Continuation(_) => return Ok(true),
                Response::Tagged { tag: of, condition } => {
                    let is_this = of == tag;
                    if is_this && condition.status == Status::Ok {
                        return Err(Cause::Nonsense("it takes a message that was not sent"));
                    }
                    self.answer(&of, &condition)?;
                    if is_this {
                        return Ok(false);
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes the answer to a message.
    fn answer(&mut self, tag: &str, condition: &Condition) -> Result<(), Cause> {
        let at = self.in_flight.iter().position(|(open, _)| open == tag);
        let (_, position) =
            self.in_flight.remove(at.ok_or(Cause::Nonsense("it ends a command that it was not given"))?);
        if condition.status == Status::Ok {
            *self.in_a_row = 0;
            self.answers[position] = Some(Answer::Taken);
            if let Some(Code::AppendUid { uidvalidity, uids }) = &condition.code
                && let ([uid], true) = (&uids[..], self.session.offer.has_uidplus())
            {
                self.first.get_or_insert((position, *uidvalidity, *uid));
            }
            return Ok(());
        }
        let dialogue = &self.session.dialogue;
        if is_of_the_target(condition) {
            let is_temporary = is_temporary(condition) || is_gone(condition);
            let refused = dialogue.refused("a message", condition, is_temporary);
            self.failure.get_or_insert(refused);
            return Ok(());
        }
        let is_temporary = is_temporary(condition);
        let said = dialogue.said(condition);
        self.answers[position] =
            Some(Answer::Refused(Refusal::new(Reason::Declined { is_temporary }, said.as_bytes())));
        *self.in_a_row += u32::from(is_temporary);
        if is_temporary && *self.in_a_row >= REFUSALS {
            self.failure.get_or_insert(Cause::InARow { said });
        }
        Ok(())
    }

    /// Why a message is not even offered.
    fn unfit(&self, message: &Waiting) -> Option<Refusal> {
        let has = message.octets();
        let words = match self.most {
            Some(most) if has > most => {
                let (has, most) = (text::octets(has), text::octets(most));
                format!("it has {has} on the line, and the server takes up to {most}")
            }
            _ if has > LITERAL => format!("it has {} on the line, more than IMAP has numbers for", text::octets(has)),
            _ if message.has_nul && !self.session.offer.has("BINARY") => {
                "it has a NUL in it, which the server has no way to take".to_owned()
            }
            _ => return None,
        };
        Some(Refusal::new(Reason::Unfit, words.as_bytes()))
    }
}

/// True for a refusal that any other message would meet as well (RFC 5530).
fn is_of_the_target(condition: &Condition) -> bool {
    let is_of_all = |code: &Code| {
        matches!(
            code,
            Code::OverQuota
                | Code::Limit
                | Code::NoPerm
                | Code::ReadOnly
                | Code::AuthenticationFailed
                | Code::AuthorizationFailed
                | Code::Expired
                | Code::PrivacyRequired
        )
    };
    condition.code.as_ref().is_some_and(is_of_all) || is_gone(condition)
}

/// The mailbox was there a moment ago; the next run makes it anew.
fn is_gone(condition: &Condition) -> bool {
    matches!(condition.code, Some(Code::TryCreate | Code::Nonexistent))
}

/// What `check` says of a mailbox.
fn kept(keeps: Keeps) -> String {
    let all = [(keeps.octets, "octets"), (keeps.size, "size"), (keeps.date, "date")];
    let words = |is_kept| all.iter().filter(|(kept, _)| *kept == is_kept).map(|(_, word)| *word).collect::<Vec<_>>();
    match (&words(true)[..], &words(false)[..]) {
        (kept, []) => format!("it keeps {} of a message", kept.join(", ")),
        ([], changed) => format!("it changes {} of a message", changed.join(", ")),
        (kept, changed) => format!("it keeps {}, and changes {} of a message", kept.join(", "), changed.join(", ")),
    }
}

/// As APPEND takes it (RFC 3501 §9, `date-time`).
fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.unwrap_or_default().format("%e-%b-%Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_has_two_characters_for_its_day() {
        assert_eq!(date(1_795_423_680), "23-Nov-2026 08:48:00 +0000");
        assert_eq!(date(0), " 1-Jan-1970 00:00:00 +0000");
    }
}
