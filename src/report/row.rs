//! What became of each message. The summary of an account is made of these rows; it keeps those of messages that stay on
//! the server for it.

use crate::account::Target;
use crate::deliver;
use crate::failure::Kind;
use crate::maildrop::MessageNumber;
use crate::text::printable;

/// A message that stays on the server, and why.
#[derive(Debug)]
pub struct Row {
    /// Its number in this session.
    pub number: MessageNumber,
    /// Its unique-id, or nothing where the server has none.
    pub unique_id: Vec<u8>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a message, or of its copy for one target.
#[derive(Debug)]
pub enum Outcome {
    /// One target has it at least.
    Delivered {
        /// As stored.
        octets: u64,
    },
    /// It was retrieved, and turned out to be the known one.
    Known,
    /// The server has deleted it.
    Deleted,
    /// `max_size` leaves it on the server.
    TooLarge {
        /// Its size by LIST, or what came of it.
        octets: u64,
        /// It was not said before.
        is_news: bool,
    },
    /// Somebody refused it: the server, a target, or popfetch in doubt of the server.
    Refused(Box<Refused>),
    /// The server refused DELE, in these words.
    Undeleted(Vec<u8>),
}

/// Why a message was refused.
#[derive(Debug)]
pub struct Refused {
    /// The exit status that it deserves.
    pub kind: Kind,
    /// The target that refused it, where the account has several.
    pub lane: Option<String>,
    /// For people.
    pub reason: String,
    /// It was retrieved, and a target refused it.
    pub is_retrieved: bool,
}

impl Outcome {
    /// The server answered RETR with `-ERR`.
    pub fn refused_by_server(text: &[u8]) -> Self {
        let reason = format!("the server refused RETR: `{}`", printable(text));
        Outcome::refused(Kind::Temporary, reason)
    }

    /// A target did not take it; `lane` names it where there are others.
    pub fn refused_by_target(lane: Option<&Target>, refusal: &deliver::Refusal) -> Self {
        let lane = lane.map(|target| printable(target.to_string().as_bytes()));
        Outcome::Refused(Box::new(Refused {
            kind: refusal.kind(),
            lane,
            reason: refusal.to_string(),
            is_retrieved: true,
        }))
    }

    /// The session got out of step behind it.
    pub fn out_of_step() -> Self {
        let reason = "it is not delivered, because the server sent more behind its end: it may be cut short there";
        Outcome::refused(Kind::Protocol, reason.into())
    }

    /// The session got out of step behind it in an earlier run.
    pub fn distrusted() -> Self {
        let reason = "an earlier session broke off behind it; it is retrieved by a run that has nothing to delete";
        Outcome::refused(Kind::Protocol, reason.into())
    }

    /// The line broke at it in earlier sessions.
    pub fn cut() -> Self {
        let reason = "the line broke at it twice; it is retrieved by a run that has nothing to delete";
        Outcome::refused(Kind::Temporary, reason.into())
    }

    /// Neither a rule nor the filter has decided about it.
    pub fn undecided(reason: String) -> Self {
        Outcome::refused(Kind::Temporary, reason)
    }

    fn refused(kind: Kind, reason: String) -> Self {
        Outcome::Refused(Box::new(Refused { kind, lane: None, reason, is_retrieved: false }))
    }

    /// The exit status that it deserves.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Outcome::Refused(refused) => Some(refused.kind),
            Outcome::Undeleted(_) => Some(Kind::Temporary),
            Outcome::Delivered { .. } | Outcome::Known | Outcome::Deleted | Outcome::TooLarge { .. } => None,
        }
    }
}

impl Row {
    /// Why the message was refused, if it was.
    pub fn refused(&self) -> Option<&Refused> {
        match &self.outcome {
            Outcome::Refused(refused) => Some(refused),
            _ => None,
        }
    }

    /// The server's words, if it refused DELE.
    pub fn undeleted(&self) -> Option<&[u8]> {
        match &self.outcome {
            Outcome::Undeleted(text) => Some(text),
            _ => None,
        }
    }

    /// The size of what is too large, and whether that is news.
    pub fn too_large(&self) -> Option<(u64, bool)> {
        match self.outcome {
            Outcome::TooLarge { octets, is_news } => Some((octets, is_news)),
            _ => None,
        }
    }
}
