//! Messages into a server by SMTP or LMTP: one connection a run, one recipient, and for each message an answer.
//!
//! Whose failure it is: what would be the same for every message (a broken line, 421, the recipient, a temporary refusal
//! before the message was offered, three of them behind it in a row) ends the target for this run. A refusal of what was
//! offered is the message's own, and the others go on. Of what was sent and not answered nobody knows whether it arrived.

use std::time::{Duration, Instant};

use super::dialogue::{Dialogue, said};
use super::error::{Cause, Error};
use super::hello::{self, Offer};
use super::reply::Reply;
use super::shown;
use super::stage::{Stager, Waiting, is_writable, say_what_changes};
use super::wire::Dots;
use crate::account::{Sender, Server, Target};
use crate::deliver::{
    self, BatchLimit, Context, Destination, Ends, GROUP, Guarantee, Intents, Outcome, Place, Reason, Receipt, Refusal,
    Staged, Synced, Tried,
};
use crate::net::Wait;
use crate::text;

/// After so many temporary refusals of messages in a row the next run tries again.
const REFUSALS: u32 = 3;

/// A server may have ended a connection that was idle for longer than this.
const IDLE: Duration = Duration::from_secs(5);

/// How a protocol differs from the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protocol {
    /// Its name.
    pub(super) word: &'static str,
    /// The command that introduces us.
    pub(super) hello: &'static str,
}

/// A server that takes mail for one recipient.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) target: Target,
    pub(super) server: Server,
    pub(super) protocol: Protocol,
}

impl Submission {
    fn failed(&self, cause: Cause) -> deliver::Error {
        failed(&self.target, cause, 0)
    }

    fn connect(&self, context: &Context) -> Result<Connection, deliver::Error> {
        if !is_writable(&self.server.recipient) {
            return Err(self.failed(Cause::Unwritable("recipient")));
        }
        let (dialogue, offer) =
            hello::open(&self.server, self.protocol, context).map_err(|cause| self.failed(cause))?;
        if !self.server.recipient.is_ascii() && !offer.utf8 {
            return Err(self.failed(Cause::NotOffered("SMTPUTF8, which the recipient needs".to_owned())));
        }
        let used = Instant::now();
        Ok(Connection { dialogue, offer, used, has_taken_recipient: false, ahead: None })
    }
}

fn failed(target: &Target, cause: Cause, in_doubt: usize) -> deliver::Error {
    deliver::Error::Server(Box::new(Error { server: shown(target), cause, in_doubt, is_asked: false }))
}

impl Destination for Submission {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    /// What a batch has can come twice, after an interruption. Small messages share the files in which they wait.
    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { messages: self.server.in_flight, ..GROUP }
    }

    fn try_out(&self, context: &Context) -> Result<Tried, deliver::Error> {
        let Connection { mut dialogue, offer, .. } = self.connect(context)?;
        dialogue.command("QUIT");
        let _ = dialogue.reply(Wait::End);
        let offers =
            [("PIPELINING", offer.pipelining), ("CHUNKING", offer.takes_chunks()), ("8BITMIME", offer.eight_bit)];
        let offers: Vec<&str> = offers.iter().filter(|(_, has)| *has).map(|(word, _)| *word).collect();
        let size = offer.most.map(|most| format!("; messages of up to {}", text::octets(most))).unwrap_or_default();
        let offers = if offers.is_empty() { "no extensions".to_owned() } else { offers.join(", ") };
        let recipient = text::printable(self.server.recipient.as_bytes());
        Ok(Tried::Answers(format!("{offers}{size}; each message would go to `{recipient}`, at least once")))
    }

    fn open(&self, context: &Context) -> Result<Ends, deliver::Error> {
        let connection = self.connect(context)?;
        let stager = Stager::new(self.server.clone(), context);
        let publisher = Publisher {
            submission: Submission { target: self.target.clone(), server: self.server.clone(), ..*self },
            context: context.clone(),
            connection: Some(connection),
            next: None,
            in_a_row: 0,
            unanswered: 0,
            ended: None,
        };
        Ok((Box::new(stager), Box::new(publisher)))
    }
}

/// A session that is ready for messages.
#[derive(Debug)]
struct Connection {
    dialogue: Dialogue,
    offer: Offer,
    /// When it was last spoken over.
    used: Instant,
    /// The server has accepted the recipient, so that messages may follow without waiting for that.
    has_taken_recipient: bool,
    /// The MAIL command of an envelope that was sent, up to its DATA, before the message that it is for.
    ahead: Option<String>,
}

/// Sends messages.
#[derive(Debug)]
struct Publisher {
    submission: Submission,
    context: Context,
    connection: Option<Connection>,
    /// The MAIL command of the message that the next batch begins with.
    next: Option<String>,
    /// Temporary refusals since a message was taken.
    in_a_row: u32,
    /// Messages that were sent as a whole and not answered.
    unanswered: usize,
    ended: Option<Cause>,
}

/// A message, and the receipt for when it is taken.
type Message = (Box<Waiting>, Receipt);

impl deliver::Publisher for Publisher {
    /// Nothing is synced: there is no name by which anybody could look for the message after a crash. It is fetched again
    /// then, which is why a server may get it twice.
    fn sync(&mut self, batch: Vec<Staged>) -> Result<Vec<Synced>, deliver::Error> {
        let synced = |(waiting, octets): (Box<Waiting>, u64)| Synced::new(Place::Mda, octets, waiting);
        Ok(batch.into_iter().map(Staged::into_held).map(synced).collect())
    }

    fn foresee(&mut self, next: &Staged) {
        let Some(connection) = &self.connection else { return };
        let message: &Waiting = next.held();
        let offer = &connection.offer;
        let server = &self.submission.server;
        if offer.pipelining && !goes_by_bdat(server, offer, message) && unfit(offer, message).is_none() {
            self.next = Some(mail(server, offer, message));
        }
    }

    fn publish(&mut self, intended: Box<dyn Intents>) -> Result<Vec<Outcome>, deliver::Error> {
        let messages: Vec<Message> = intended.into_synced().into_iter().map(Synced::into_held).collect();
        say_what_changes(messages.iter().map(|(message, _)| &**message), &self.submission.target, &self.context);
        let mut answers: Vec<Answer> = Vec::with_capacity(messages.len());
        if let Err(cause) = self.send(&messages, &mut answers) {
            // What was on its way over this connection is not to be mixed up with anything.
            self.connection = None;
            self.ended = Some(cause);
        }
        answers.resize_with(messages.len(), || Answer::Left);
        let outcome = |((_, receipt), answer)| match answer {
            Answer::Taken => Outcome::Delivered(receipt),
            Answer::Refused(refusal) => Outcome::Refused(refusal),
            Answer::Left => Outcome::Left,
        };
        Ok(messages.into_iter().zip(answers).map(outcome).collect())
    }

    fn ended(&mut self) -> Option<deliver::Error> {
        self.ended.take().map(|cause| failed(&self.submission.target, cause, self.unanswered))
    }

    fn finish(mut self: Box<Self>) {
        // Behind DATA a QUIT would be the beginning of a message.
        if let Some(Connection { dialogue, ahead: None, .. }) = &mut self.connection {
            dialogue.command("QUIT");
            // Nothing depends on the server's farewell.
            let _ = dialogue.reply(Wait::End);
        }
    }
}

/// What became of a message.
#[derive(Debug)]
enum Answer {
    Taken,
    Refused(Refusal),
    Left,
}

impl Publisher {
    /// Sends the messages of a batch, and adds the answer to each as it comes.
    fn send(&mut self, messages: &[Message], answers: &mut Vec<Answer>) -> Result<(), Cause> {
        let next = self.next.take();
        self.wake(messages)?;
        let Publisher { submission, connection, in_a_row, unanswered, .. } = self;
        let connection = connection.as_mut().ok_or(Cause::Closed)?;
        let server = &submission.server;
        let by_bdat = messages.first().is_some_and(|(first, _)| goes_by_bdat(server, &connection.offer, first));
        let mut sending = Sending { server, connection, next, in_a_row, unanswered, answers };
        let sent = if by_bdat { sending.by_bdat(messages) } else { sending.by_data(messages) };
        sending.connection.used = Instant::now();
        sent
    }

    /// A connection that was idle for long may be dead: the server is asked, and dialled again. No message was offered.
    /// Where an envelope went ahead of its message nothing can be asked.
    fn wake(&mut self, messages: &[Message]) -> Result<(), Cause> {
        let is_alive = match &mut self.connection {
            Some(Connection { ahead: Some(ahead), offer, used, .. }) => {
                let server = &self.submission.server;
                let is_first = messages.first().is_some_and(|(first, _)| *ahead == mail(server, offer, first));
                is_first && used.elapsed() <= IDLE
            }
            Some(connection) if connection.used.elapsed() > IDLE => {
                connection.dialogue.command("NOOP");
                matches!(connection.dialogue.reply(Wait::Reply), Ok(reply) if reply.is_positive())
            }
            Some(_) => true,
            None => false,
        };
        if !is_alive {
            self.context.stop.check().map_err(crate::net::Error::Stopped)?;
            self.connection = None;
            let Submission { server, protocol, .. } = &self.submission;
            let (dialogue, offer) = hello::open(server, *protocol, &self.context)?;
            let used = Instant::now();
            self.connection = Some(Connection { dialogue, offer, used, has_taken_recipient: false, ahead: None });
        }
        Ok(())
    }
}

/// A batch on its way.
struct Sending<'s> {
    server: &'s Server,
    connection: &'s mut Connection,
    /// The MAIL command of the message that comes behind this batch, where it waits already.
    next: Option<String>,
    in_a_row: &'s mut u32,
    unanswered: &'s mut usize,
    answers: &'s mut Vec<Answer>,
}

impl Sending<'_> {
    /// DATA (RFC 5321 §4.1.1.4): the message waits for `354`. The next one's envelope rides behind its end (RFC 2920).
    fn by_data(&mut self, messages: &[Message]) -> Result<(), Cause> {
        for (position, (message, _)) in messages.iter().enumerate() {
            if let Some(refusal) = self.unfit(message) {
                self.answers.push(Answer::Refused(refusal));
                continue;
            }
            let is_taken = if self.connection.offer.pipelining {
                if self.connection.ahead.take().is_none() {
                    let mail = self.mail(message);
                    self.queue_envelope(&mail);
                }
                self.read_envelope(message)?
            } else {
                self.envelope_step_by_step(message)?
            };
            if !is_taken {
                continue;
            }
            let mut dots = Dots::default();
            let mut stuffed = Vec::new();
            let dialogue = &mut self.connection.dialogue;
            message.read(|piece| {
                stuffed.clear();
                dots.push(piece, &mut stuffed);
                dialogue.send(&stuffed)
            })?;
            dialogue.sent(message.octets());
            dialogue.command(".");
            *self.unanswered += 1;
            if self.connection.offer.pipelining {
                let next = match messages.get(position + 1) {
                    Some((next, _)) => self.unfit(next).is_none().then(|| self.mail(next)),
                    None => self.next.take(),
                };
                next.iter().for_each(|mail| self.queue_envelope(mail));
                self.connection.ahead = next;
            }
            let reply = self.connection.dialogue.reply(Wait::Taken)?;
            *self.unanswered -= 1;
            self.judge(reply)?;
        }
        self.end_of_batch()
    }

    /// BDAT (RFC 3030): nothing waits but the first message, for the recipient to be accepted. All that is unanswered is
    /// one batch.
    fn by_bdat(&mut self, messages: &[Message]) -> Result<(), Cause> {
        let first = self.answers.len();
        let mut messages = messages;
        while !self.connection.has_taken_recipient
            && let Some(((message, _), rest)) = messages.split_first()
        {
            messages = rest;
            match self.unfit(message) {
                Some(refusal) => self.answers.push(Answer::Refused(refusal)),
                None if self.read_mail_and_rcpt(message)? => {
                    self.queue_chunk(message)?;
                    let reply = self.connection.dialogue.reply(Wait::Taken)?;
                    *self.unanswered -= 1;
                    self.judge_chunk(reply)?;
                }
                None => {}
            }
        }
        let unfit: Vec<Option<Refusal>> = messages.iter().map(|(message, _)| self.unfit(message)).collect();
        for ((message, _), _) in messages.iter().zip(&unfit).filter(|(_, unfit)| unfit.is_none()) {
            let mail = self.mail(message);
            self.connection.dialogue.command(&mail);
            self.connection.dialogue.command(&self.rcpt());
            self.queue_chunk(message)?;
        }
        // The others are answered, too, also when the server takes nothing more.
        let mut failure = None;
        for ((message, _), unfit) in messages.iter().zip(unfit) {
            let answered = match unfit {
                Some(refusal) => {
                    self.answers.push(Answer::Refused(refusal));
                    Ok(())
                }
                None => self.read_answers(message),
            };
            match answered {
                Ok(()) => {}
                Err(cause @ (Cause::Refused { .. } | Cause::InARow { .. })) if !is_closing(&cause) => {
                    failure = failure.or(Some(cause));
                }
                Err(cause) => return Err(self.in_doubt(first, failure.unwrap_or(cause))),
            }
        }
        match self.end_of_batch() {
            Err(cause) => Err(self.in_doubt(first, cause)),
            Ok(()) => failure.map_or(Ok(()), Err),
        }
    }

    /// A server that answers more or less than it was asked has told nothing of messages that were sent without waiting.
    fn in_doubt(&mut self, first: usize, cause: Cause) -> Cause {
        if matches!(cause, Cause::Nonsense(_)) {
            for answer in self.answers[first..].iter_mut().filter(|answer| matches!(answer, Answer::Taken)) {
                *answer = Answer::Left;
                *self.unanswered += 1;
            }
        }
        cause
    }

    fn queue_chunk(&mut self, message: &Waiting) -> Result<(), Cause> {
        let Connection { dialogue, .. } = self.connection;
        dialogue.command(&format!("BDAT {} LAST", message.octets()));
        message.read(|piece| dialogue.send(piece))?;
        dialogue.sent(message.octets());
        *self.unanswered += 1;
        Ok(())
    }

    /// The three replies to a message that was sent at once. Without an envelope the server throws the chunk away.
    fn read_answers(&mut self, message: &Waiting) -> Result<(), Cause> {
        let mail = self.connection.dialogue.reply(Wait::Taken)?;
        let rcpt = self.connection.dialogue.reply(Wait::Taken)?;
        let last = self.connection.dialogue.reply(Wait::Taken)?;
        *self.unanswered -= 1;
        if mail.is_positive() && rcpt.is_positive() {
            return self.judge_chunk(last);
        }
        if last.is_positive() {
            return Err(Cause::Nonsense("it took a message without sender or recipient"));
        }
        let answered = self.answers.len();
        let refused =
            if mail.is_positive() { Err(self.refused("RCPT", &rcpt)) } else { self.refuse_mail(message, &mail) };
        if self.answers.len() == answered {
            self.answers.push(Answer::Left);
        }
        refused
    }

    fn judge_chunk(&mut self, reply: Reply) -> Result<(), Cause> {
        // The answer to an address is none to a message: the server has said one thing too many before it.
        if reply.is_positive() && matches!(reply.enhanced(), Some([2, 1, _])) {
            return Err(Cause::Nonsense("it answers a message as if it were an address"));
        }
        self.judge(reply)
    }

    /// Takes the answer to a message that was sent as a whole.
    fn judge(&mut self, reply: Reply) -> Result<(), Cause> {
        match reply.code {
            code if Cause::is_closing(code) => Err(self.refused("a message", &reply)),
            200..300 => {
                *self.in_a_row = 0;
                self.answers.push(Answer::Taken);
                Ok(())
            }
            400..600 => {
                let is_temporary = reply.is_temporary();
                *self.in_a_row = if is_temporary { *self.in_a_row + 1 } else { *self.in_a_row };
                self.answers.push(Answer::Refused(refusal(&reply)));
                match is_temporary && *self.in_a_row >= REFUSALS {
                    true => Err(Cause::InARow { said: said(&reply) }),
                    false => Ok(()),
                }
            }
            _ => Err(Cause::Nonsense("it asks for more behind the end of a message")),
        }
    }

    fn queue_envelope(&mut self, mail: &str) {
        let rcpt = self.rcpt();
        let dialogue = &mut self.connection.dialogue;
        dialogue.command(mail);
        dialogue.command(&rcpt);
        dialogue.command("DATA");
    }

    /// The replies to MAIL, RCPT and DATA. False when the message was refused.
    fn read_envelope(&mut self, message: &Waiting) -> Result<bool, Cause> {
        let mail = self.reply()?;
        let rcpt = self.reply()?;
        let data = self.reply()?;
        if data.code == 354 && !(mail.is_positive() && rcpt.is_positive()) {
            // Neither side could tell what belongs to which message from here on.
            return Err(if mail.is_positive() { self.refused("RCPT", &rcpt) } else { self.refused("MAIL", &mail) });
        }
        if !mail.is_positive() {
            return self.refuse_mail(message, &mail).map(|()| false);
        }
        if !rcpt.is_positive() {
            return Err(self.refused("RCPT", &rcpt));
        }
        self.may_send(&data)
    }

    fn envelope_step_by_step(&mut self, message: &Waiting) -> Result<bool, Cause> {
        if !self.read_mail_and_rcpt(message)? {
            return Ok(false);
        }
        self.connection.dialogue.command("DATA");
        let data = self.reply()?;
        self.may_send(&data)
    }

    /// MAIL and RCPT, each with its reply. False when the message was refused.
    fn read_mail_and_rcpt(&mut self, message: &Waiting) -> Result<bool, Cause> {
        let (mail, rcpt) = (self.mail(message), self.rcpt());
        self.connection.dialogue.command(&mail);
        let mail = self.reply()?;
        if !mail.is_positive() {
            return self.refuse_mail(message, &mail).map(|()| false);
        }
        self.connection.dialogue.command(&rcpt);
        let rcpt = self.reply()?;
        if !rcpt.is_positive() {
            return Err(self.refused("RCPT", &rcpt));
        }
        self.connection.has_taken_recipient = true;
        Ok(true)
    }

    /// A sender that is the message's own, and its size, are its fault; any other one would be refused again.
    fn refuse_mail(&mut self, message: &Waiting, mail: &Reply) -> Result<(), Cause> {
        let is_size =
            mail.code == 552 || mail.enhanced().is_some_and(|[_, subject, detail]| (subject, detail) == (3, 4));
        let is_own = self.server.sender == Sender::ReturnPath && !message.sender.is_empty();
        if mail.code / 100 != 5 || !(is_size || is_own) {
            return Err(self.refused("MAIL", mail));
        }
        self.answers.push(Answer::Refused(refusal(mail)));
        Ok(())
    }

    /// The reply to DATA.
    fn may_send(&mut self, data: &Reply) -> Result<bool, Cause> {
        match data.code {
            354 => Ok(true),
            500..600 => {
                self.answers.push(Answer::Refused(refusal(data)));
                // The envelope is still there.
                self.connection.dialogue.command("RSET");
                let reset = self.reply()?;
                if reset.is_positive() { Ok(false) } else { Err(self.refused("RSET", &reset)) }
            }
            400..500 => Err(self.refused("DATA", data)),
            _ => Err(Cause::Nonsense("it answers DATA with neither 354 nor a refusal")),
        }
    }

    fn end_of_batch(&self) -> Result<(), Cause> {
        match self.connection.ahead.is_some() || self.connection.dialogue.is_in_step() {
            true => Ok(()),
            false => Err(Cause::Nonsense("it answers more than it was asked")),
        }
    }

    fn reply(&mut self) -> Result<Reply, Cause> {
        self.connection.dialogue.reply(Wait::Reply)
    }

    fn refused(&self, what: &str, reply: &Reply) -> Cause {
        let what = match what {
            "RCPT" => format!("the recipient `{}`", text::printable(self.server.recipient.as_bytes())),
            what => what.to_owned(),
        };
        self.connection.dialogue.refused(&what, reply)
    }

    fn mail(&self, message: &Waiting) -> String {
        mail(self.server, &self.connection.offer, message)
    }

    fn rcpt(&self) -> String {
        format!("RCPT TO:<{}>", self.server.recipient)
    }

    fn unfit(&self, message: &Waiting) -> Option<Refusal> {
        unfit(&self.connection.offer, message)
    }
}

fn mail(server: &Server, offer: &Offer, message: &Waiting) -> String {
    // A sender that this server cannot be told is nobody: it could not answer it either.
    let sender = if message.sender.is_ascii() || offer.utf8 { message.sender.as_str() } else { "" };
    let mut mail = format!("MAIL FROM:<{sender}>");
    if offer.size {
        mail += &format!(" SIZE={}", message.octets());
    }
    if message.has_nul {
        mail += " BODY=BINARYMIME";
    } else if message.is_8bit && offer.eight_bit {
        mail += " BODY=8BITMIME";
    }
    if offer.utf8 && !(sender.is_ascii() && server.recipient.is_ascii()) {
        mail += " SMTPUTF8";
    }
    mail
}

/// BDAT gains where several messages are under way, and takes what DATA cannot. One at a time goes faster by DATA, whose
/// next envelope is there before its message.
fn goes_by_bdat(server: &Server, offer: &Offer, message: &Waiting) -> bool {
    offer.takes_chunks() && (server.in_flight > 1 || message.has_nul)
}

/// Why a message is not even offered.
fn unfit(offer: &Offer, message: &Waiting) -> Option<Refusal> {
    let words = match offer.most {
        Some(most) if message.octets() > most => {
            let (has, most) = (text::octets(message.octets()), text::octets(most));
            format!("it has {has} on the line, and the server takes up to {most}")
        }
        _ if message.has_nul && !(offer.takes_chunks() && offer.binary) => {
            "it has a NUL in it, which the server has no way to take".to_owned()
        }
        _ => return None,
    };
    Some(Refusal::new(Reason::Unfit, words.as_bytes()))
}

fn refusal(reply: &Reply) -> Refusal {
    Refusal::new(Reason::Replied(reply.code), &reply.lines.join(&b'\n'))
}

fn is_closing(cause: &Cause) -> bool {
    matches!(cause, Cause::Refused { code, .. } if Cause::is_closing(*code))
}
