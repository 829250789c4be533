//! Rules, and the filter, are asked about messages that no run has settled.
//!
//! Header sections are asked for in one pass, and only of messages about which nothing else decides. None is kept.

use super::Error;
use super::line::Line;
use crate::account::Account;
use crate::deliver::{self, Answer, ask_filter};
use crate::header::{self, Identity, LONGEST};
use crate::maildrop::{Listed, Listing, MessageNumber};
use crate::plan::{By, Decision, Ruling, Rulings, rule};
use crate::pop3::{Head, Transaction};
use crate::rules::{self, Message};

/// Whose rules these are, and with what rights the filter runs.
#[derive(Clone, Copy)]
pub struct Judge<'j> {
    /// The account.
    pub account: &'j Account,
    /// What the filter has to know.
    pub context: &'j deliver::Context,
}

impl Judge<'_> {
    /// What becomes of a message that no rule fits; `is_told` when that is certain.
    fn ask_filter(
        self,
        head: &[u8],
        message: &Listed<'_>,
        is_told: bool,
    ) -> Result<(Option<By>, Option<Decision>), String> {
        let Some(words) = &self.account.filter else { return Ok((None, None)) };
        let decision = match ask_filter(words, head, message.unique_id, self.context)? {
            Answer::Fetch => None,
            Answer::Skip => Some(Decision::Skip),
            // It may be one that a rule would keep.
            Answer::Delete if self.account.allow_delete_unread && !is_told => None,
            Answer::Delete if self.account.allow_delete_unread => Some(Decision::Discard),
            Answer::Delete => {
                return Err("the filter has said `delete`, and the account has no `allow_delete_unread = true`".into());
            }
        };
        Ok((Some(By::Filter), decision))
    }
}

/// Decides about the messages at these positions. `clock` is now, where that can be trusted.
pub(super) fn rulings(
    judge: Judge<'_>,
    transaction: &mut Transaction<Line<'_>>,
    listing: &Listing,
    positions: &[usize],
    clock: Option<u64>,
    without_top: bool,
) -> Result<Rulings, Error> {
    let account = judge.account;
    let mut rulings = Rulings::default();
    let mut headless = vec![];
    for position in positions {
        let message = Message { octets: listing.get(*position).octets, head: None, clock };
        match rule(account, &message) {
            Ok(Some((by, decision))) => rulings.insert(*position, Ruling { by: Some(by), decision, head: None }),
            Ok(None) if account.filter.is_none() => {}
            Ok(None) | Err(_) => headless.push(*position),
        }
    }
    if headless.is_empty() {
        return Ok(rulings);
    }
    if without_top {
        return Err(Error::NoHeads(headless.len()));
    }
    let names = rules::fields(&account.rules);
    let numbers: Vec<MessageNumber> = headless.iter().map(|position| listing.get(*position).number).collect();
    let (mut octets, mut identity) = (vec![], Identity::default());
    let has_top = transaction.heads(&numbers, |nth, head| match head {
        Head::Octets(more) => {
            identity.push(more);
            let room = LONGEST - octets.len();
            octets.extend_from_slice(&more[..more.len().min(room)]);
        }
        Head::End => {
            let listed = listing.get(headless[nth]);
            let read = header::head(&octets, &names);
            let message = Message { octets: listed.octets, head: Some(&read), clock };
            let head = Some(std::mem::take(&mut identity).fingerprint());
            let by_rule = rule(account, &message).ok().flatten().map(|(by, decision)| (Some(by), Some(decision)));
            let is_told = || rules::are_told(&account.rules, &message);
            match by_rule.map_or_else(|| judge.ask_filter(&octets, &listed, is_told()), Ok) {
                Ok((by, decision)) => {
                    let decision = decision.unwrap_or_else(|| Decision::own(account));
                    rulings.insert(headless[nth], Ruling { by, decision, head });
                }
                Err(why) => rulings.leave(headless[nth], why),
            }
            octets.clear();
        }
        Head::Refused => {
            let why = "the server refused TOP, without which no rule can decide".to_owned();
            rulings.leave(headless[nth], why);
        }
    });
    match has_top.map_err(Error::top)? {
        true => Ok(rulings),
        false => Err(Error::NoHeads(headless.len())),
    }
}
