//! What an interrupted run has left in a mailbox: the server is asked before anything is sent there again.
//!
//! The run is dead, as the lock of its ledger proves, but a server may still be storing a message that came as a whole. So
//! what is not found is looked for once more, [`PATIENCE`] after the first look. What a system keeps back for longer than
//! that, on a line that is slow or broken, nobody can know of.
//!
//! A message is known by its `X-Popfetch-Id`, where it was sent with one, else by Message-ID and INTERNALDATE. Among several,
//! and for one without a Message-ID or with another date, the digest decides. Where that finds nothing, because the server
//! builds messages anew, Message-ID, or else From, Date and Subject, and INTERNALDATE do, as long as they do not mean two
//! of which one is missing: then both are sent again, for rather twice than never. The size
//! orders what is looked at, and never excludes anything: servers tell wrong ones. Each message of the mailbox proves one
//! intent. What one message has shown that was read back ([`read_back`]) counts: a date that the server does not keep says
//! nothing, and where it keeps octets, other ones are another message.
//!
//! While the UIDVALIDITY is the same, every message from the remembered UID on is looked at, and nothing depends on SEARCH.
//! After a new one SEARCH finds, by date and Message-ID, what is then verified.
//!
//! At Google a message is in one place, and APPEND of one that is anywhere brings the old copy into the mailbox, under its
//! old UID if it was there. So one that is not found is searched for by its Message-ID in the mailbox, and only there: the
//! same message among those that were sent, or archived, would prove nothing for this mailbox. One that is not found is
//! appended again, which makes no second copy of the same octets.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta};
use sha2::{Digest as _, Sha256};

use super::publish::Appending;
use super::quoted;
use super::response::{Code, Fetch, Response, Status};
use super::session::{Session, is_missing};
use crate::deliver::{Appended, Context, Keeps};
use crate::header::Marks;
use crate::net::{self, Wait};
use crate::relay::error::Cause;
use crate::stop::Woken;

/// How long a server may take to store a message that it has got.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of each message.
const ITEMS: &str =
    "(UID RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID X-POPFETCH-ID FROM DATE SUBJECT)])";

/// So many messages are asked for in one command.
const AT_ONCE: usize = 200;

/// A message of the mailbox that may be one of those that are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    uid: u32,
    size: u64,
    date: Option<i64>,
    marks: Marks,
}

/// For each intent, whether its message is in the mailbox.
pub(super) fn found(appending: &Appending, intents: &[Appended], context: &Context) -> Result<Vec<bool>, Cause> {
    let began = Instant::now();
    let mut session = appending.connect(context)?;
    let mut found = vec![false; intents.len()];
    let keeps = context.network.keeps;
    look(&mut session, intents, &mut found, keeps)?;
    if found.contains(&false) {
        // Who waits for a server no longer than this waits no longer here.
        let patience = PATIENCE.min(context.network.timeout);
        while let Some(left) = patience.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            match context.stop.pause(left) {
                Ok(Woken::Stopped(stopped)) => return Err(net::Error::Stopped(stopped).into()),
                Ok(_) => {}
                Err(_) => std::thread::sleep(left),
            }
        }
        let ended = session.does("NOOP")?;
        session.check("NOOP", &ended)?;
        // All of them: one message proves one intent.
        found.fill(false);
        look(&mut session, intents, &mut found, keeps)?;
    }
    session.log_out();
    Ok(found)
}

fn look(session: &mut Session, intents: &[Appended], found: &mut [bool], keeps: Option<Keeps>) -> Result<(), Cause> {
    let Some(opened) = examine(session)? else { return Ok(()) };
    let is_same = |intent: &Appended| intent.validity == opened.validity && opened.validity != 0;
    let mut candidates = vec![];
    if let Some(next) = intents.iter().filter(|intent| is_same(intent)).map(|intent| intent.next.max(1)).min() {
        candidates = fetch(session, &format!("{next}:*"), intents)?;
        // The range always has the last message, even where its UID is lower (RFC 3501 §6.4.8).
        candidates.retain(|candidate| candidate.uid >= next);
    }
    for intent in intents.iter().filter(|intent| !is_same(intent)) {
        let uids = search(session, &terms(intent))?;
        candidates.extend(fetch_all(session, &uids, intents)?);
    }
    assign(intents, candidates, found, keeps, |uid, intent| has_octets(session, uid, intent))?;
    if session.offer.is_gmail() {
        look_anywhere(session, intents, found)?;
    }
    Ok(())
}

struct Opened {
    /// 0 where it is not told.
    validity: u32,
}

/// Opens the mailbox for reading; `None` where there is none.
fn examine(session: &mut Session) -> Result<Option<Opened>, Cause> {
    let tag = session.dialogue.command(&format!("EXAMINE {}", session.mailbox));
    let mut opened = Opened { validity: 0 };
    let ended = session.dialogue.end_of(&tag, Wait::Reply, |response| {
        if let Response::Condition(condition) = response
            && let Some(Code::UidValidity(validity)) = condition.code
        {
            opened.validity = validity;
        }
    })?;
    if ended.status == Status::Ok {
        return Ok(Some(opened));
    }
    // A refusal without a code may have any reason.
    if is_missing(&ended) && is_unlisted(session)? {
        return Ok(None);
    }
    session.check("EXAMINE", &ended)?;
    Ok(None)
}

fn is_unlisted(session: &mut Session) -> Result<bool, Cause> {
    let tag = session.dialogue.command(&format!("LIST \"\" {}", session.mailbox));
    let mut is_listed = false;
    let ended = session.dialogue.end_of(&tag, Wait::Reply, |response| {
        let is_no_name =
            |flag: &String| ["\\Nonexistent", "\\Noselect"].iter().any(|word| flag.eq_ignore_ascii_case(word));
        is_listed |= matches!(response, Response::List { flags, .. } if !flags.iter().any(is_no_name));
    })?;
    session.check("LIST", &ended)?;
    Ok(!is_listed)
}

/// Asks for messages, and keeps those that may be meant.
fn fetch(session: &mut Session, set: &str, intents: &[Appended]) -> Result<Vec<Candidate>, Cause> {
    let tag = session.dialogue.command(&format!("UID FETCH {set} {ITEMS}"));
    let mut candidates: Vec<Candidate> = vec![];
    let ended = session.dialogue.end_of(&tag, Wait::Body, |response| {
        let candidate = match response {
            Response::Fetch(fetch) => candidate(fetch),
            _ => None,
        };
        candidates.extend(candidate.filter(|candidate| intents.iter().any(|intent| may_be(candidate, intent))));
    })?;
    session.check("UID FETCH", &ended)?;
    // A server may tell of a message twice.
    let mut uids = BTreeSet::new();
    candidates.retain(|candidate| uids.insert(candidate.uid));
    Ok(candidates)
}

fn fetch_all(session: &mut Session, uids: &[u32], intents: &[Appended]) -> Result<Vec<Candidate>, Cause> {
    let mut candidates = vec![];
    for uids in uids.chunks(AT_ONCE) {
        let set: Vec<String> = uids.iter().map(u32::to_string).collect();
        let mut fetched = fetch(session, &set.join(","), intents)?;
        fetched.retain(|candidate| uids.contains(&candidate.uid));
        candidates.append(&mut fetched);
    }
    Ok(candidates)
}

fn candidate(fetch: Fetch) -> Option<Candidate> {
    let Fetch { uid, size, internaldate: date, header, .. } = fetch;
    Some(Candidate { uid: uid?, size: size.unwrap_or(0), date, marks: Marks::read(&header?) })
}

/// True for a message that is worth another look.
fn may_be(candidate: &Candidate, intent: &Appended) -> bool {
    let Marks { stamp, message_id, heading } = &candidate.marks;
    let has_stamp = intent.stamp.is_some() && *stamp == intent.stamp;
    let has_id = intent.message_id.is_some() && *message_id == intent.message_id;
    has_stamp || has_id || (intent.message_id.is_none() && *heading == intent.heading)
}

fn search(session: &mut Session, terms: &str) -> Result<Vec<u32>, Cause> {
    let tag = session.dialogue.command(&format!("UID SEARCH {terms}"));
    let mut uids = vec![];
    let ended = session.dialogue.end_of(&tag, Wait::Reply, |response| {
        if let Response::Search(found) = response {
            uids.extend(found);
        }
    })?;
    session.check("UID SEARCH", &ended)?;
    Ok(uids)
}

/// Date and Message-ID. SEARCH leaves time and zone out (RFC 3501 §6.4.4), so that a day may be off by one.
fn terms(intent: &Appended) -> String {
    let date = i64::try_from(intent.date).ok().and_then(|date| DateTime::from_timestamp(date, 0)).unwrap_or_default();
    let day = |days: i64| {
        let day = date.checked_add_signed(TimeDelta::days(days)).unwrap_or(date);
        day.format("%-d-%b-%Y").to_string()
    };
    let id = intent.message_id.as_ref().map_or_else(String::new, |id| format!(" HEADER MESSAGE-ID {}", quoted(id)));
    format!("SINCE {} BEFORE {}{id}", day(-1), day(2))
}

/// Looks for what is left, at Google, in the whole mailbox.
fn look_anywhere(session: &mut Session, intents: &[Appended], found: &mut [bool]) -> Result<(), Cause> {
    for (intent, is_found) in intents.iter().zip(found).filter(|(_, is_found)| !**is_found) {
        let Some(id) = &intent.message_id else { continue };
        let id = id.trim_start_matches('<').trim_end_matches('>');
        if id.contains([' ', '"', '\\']) {
            continue;
        }
        let uids = search(session, &format!("X-GM-RAW {}", quoted(&format!("rfc822msgid:{id}"))))?;
        *is_found = !fetch_all(session, &uids, std::slice::from_ref(intent))?.is_empty();
    }
    Ok(())
}

/// Gives each intent the message that proves it, by the best key first.
fn assign(
    intents: &[Appended],
    mut candidates: Vec<Candidate>,
    found: &mut [bool],
    keeps: Option<Keeps>,
    mut has_octets: impl FnMut(u32, &Appended) -> Result<bool, Cause>,
) -> Result<(), Cause> {
    let mut uids = BTreeSet::new();
    candidates.retain(|candidate| uids.insert(candidate.uid));
    let has_stamp =
        |candidate: &Candidate, intent: &Appended| intent.stamp.is_some() && candidate.marks.stamp == intent.stamp;
    // One that was sent with another id is another message.
    let is_other = |candidate: &Candidate, intent: &Appended| {
        let stamps = (candidate.marks.stamp.as_ref(), intent.stamp.as_ref());
        matches!(stamps, (Some(one), Some(other)) if one != other)
    };
    let has_id = |candidate: &Candidate, intent: &Appended| {
        let is_same = intent.message_id.is_some() && candidate.marks.message_id == intent.message_id;
        is_same && !is_other(candidate, intent)
    };
    let has_heading = |candidate: &Candidate, intent: &Appended| {
        intent.message_id.is_none() && candidate.marks.heading == intent.heading && !is_other(candidate, intent)
    };
    let keeps_date = keeps.is_none_or(|keeps| keeps.date);
    let has_date = |candidate: &Candidate, intent: &Appended| {
        !keeps_date || candidate.date.is_some_and(|date| u64::try_from(date) == Ok(intent.date))
    };

    for (intent, is_found) in intents.iter().zip(found.iter_mut()) {
        *is_found = take(&mut candidates, |candidate| has_stamp(candidate, intent));
    }
    // Where the keys leave no choice, nothing is fetched.
    for position in 0..intents.len() {
        let intent = &intents[position];
        let is_meant = |candidate: &&Candidate| has_id(candidate, intent) && has_date(candidate, intent);
        let is_rival = |(number, other): &(usize, &Appended)| {
            *number != position && other.message_id == intent.message_id && other.digest != intent.digest
        };
        let has_rival = intents.iter().enumerate().filter(|(number, _)| !found[*number]).any(|other| is_rival(&other));
        if !found[position] && !has_rival && candidates.iter().any(|candidate| is_meant(&candidate)) {
            found[position] = take_nearest(&mut candidates, intent, |candidate| is_meant(&candidate));
        }
    }
    for (intent, is_found) in intents.iter().zip(found.iter_mut()).filter(|(_, is_found)| !**is_found) {
        let mut nearest: Vec<Candidate> = candidates
            .iter()
            .filter(|candidate| has_id(candidate, intent) || has_heading(candidate, intent))
            .cloned()
            .collect();
        nearest.sort_by_key(|candidate| (candidate.size.abs_diff(intent.octets), candidate.uid));
        for candidate in nearest {
            if has_octets(candidate.uid, intent)? {
                *is_found = take(&mut candidates, |other| other.uid == candidate.uid);
                break;
            }
        }
    }
    if keeps.is_some_and(|keeps| keeps.octets) {
        return Ok(());
    }
    // The octets are other ones: the server has built the messages anew.
    let are_alike = |one: &Appended, other: &Appended| {
        one.message_id == other.message_id
            && (one.message_id.is_some() || one.heading == other.heading)
            && (!keeps_date || one.date == other.date)
    };
    for position in 0..intents.len() {
        let intent = &intents[position];
        let rivals: Vec<usize> =
            (0..intents.len()).filter(|other| !found[*other] && are_alike(&intents[*other], intent)).collect();
        let is_meant = |candidate: &Candidate| {
            (has_id(candidate, intent) || has_heading(candidate, intent)) && has_date(candidate, intent)
        };
        let are_equal = rivals.iter().all(|rival| intents[*rival].digest == intent.digest);
        // With fewer messages than could be meant, nobody knows which one is missing, and it is better to have one twice.
        if are_equal || candidates.iter().filter(|candidate| is_meant(candidate)).count() >= rivals.len() {
            for rival in rivals {
                found[rival] = take_nearest(&mut candidates, &intents[rival], is_meant);
            }
        }
    }
    Ok(())
}

/// Reads back a message that was just appended, to learn what the mailbox keeps of messages; the mailbox is closed again.
/// `None` where that cannot be told: the UID that the server has said may be wrong.
pub(super) fn read_back(
    session: &mut Session,
    appended: &Appended,
    validity: u32,
    uid: u32,
) -> Result<Option<Keeps>, Cause> {
    let Some(opened) = examine(session)? else { return Ok(None) };
    let mut keeps = None;
    if opened.validity == validity && uid >= appended.next {
        let found = fetch_all(session, &[uid], std::slice::from_ref(appended))?;
        if let Some(Candidate { size, date, .. }) = found.first() {
            let date = date.is_some_and(|date| u64::try_from(date) == Ok(appended.date));
            let octets = has_octets(session, uid, appended)?;
            keeps = Some(Keeps { octets, size: *size == appended.octets, date });
        }
    }
    // STATUS is for mailboxes that are not open (RFC 3501 §6.3.10). Opened by EXAMINE, nothing is removed by CLOSE.
    session.does(if session.offer.has_unselect() { "UNSELECT" } else { "CLOSE" })?;
    Ok(keeps)
}

fn take(candidates: &mut Vec<Candidate>, is_meant: impl Fn(&Candidate) -> bool) -> bool {
    let at = candidates.iter().position(is_meant);
    at.is_some_and(|at| {
        candidates.remove(at);
        true
    })
}

/// Of those that are meant, the one whose size is most like it.
fn take_nearest(candidates: &mut Vec<Candidate>, intent: &Appended, is_meant: impl Fn(&Candidate) -> bool) -> bool {
    let meant = candidates.iter().filter(|candidate| is_meant(candidate));
    let nearest = meant.min_by_key(|candidate| (candidate.size.abs_diff(intent.octets), candidate.uid));
    let uid = nearest.map(|candidate| candidate.uid);
    uid.is_some_and(|uid| take(candidates, |candidate| candidate.uid == uid))
}

/// True for a message that has the octets that were sent.
fn has_octets(session: &mut Session, uid: u32, intent: &Appended) -> Result<bool, Cause> {
    // No more than this: the sizes that servers tell may be wrong, and a message of any size is not read in vain.
    let most = intent.octets.saturating_add(1);
    let tag = session.dialogue.command(&format!("UID FETCH {uid} (UID BODY.PEEK[]<0.{most}>)"));
    let mut is_it = false;
    loop {
        let (mut digest, mut skip, mut total) = (Sha256::new(), intent.prefix, None);
        let response = session.dialogue.response_into(Wait::Body, &mut |piece, octets| {
            total = Some(octets);
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            skip -= skipped as u64;
            digest.update(&piece[skipped..]);
        })?;
        match response {
            Response::Tagged { tag: of, condition } if of == tag => {
                session.check("UID FETCH", &condition)?;
                return Ok(is_it);
            }
            Response::Fetch(fetch) if fetch.uid.is_none_or(|of| of == uid) => {
                is_it |= total == Some(intent.octets) && <[u8; 32]>::from(digest.finalize()) == intent.digest;
            }
            Response::Tagged { .. } | Response::Continuation(_) => {
                return Err(Cause::Nonsense("it answers another question than the one that is due"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(message_id: Option<&str>, octets: u64, content: u8) -> Appended {
        Appended {
            target: "imaps://u@h/INBOX".into(),
            validity: 1,
            next: 1,
            date: 1000,
            stamp: None,
            message_id: message_id.map(str::to_owned),
            heading: 7,
            octets,
            prefix: 0,
            digest: [content; 32],
        }
    }

    fn there(uid: u32, message_id: Option<&str>, size: u64, date: i64) -> Candidate {
        let marks = Marks { stamp: None, message_id: message_id.map(str::to_owned), heading: 7 };
        Candidate { uid, size, date: Some(date), marks }
    }

    /// Which intents are proved; `octets` are the contents of messages by UID, and 0 for those that were built anew.
    fn assigned(intents: &[Appended], candidates: &[Candidate], octets: &[(u32, u8)]) -> (Vec<bool>, usize) {
        assigned_where(None, intents, candidates, octets)
    }

    fn assigned_where(
        keeps: Option<Keeps>,
        intents: &[Appended],
        candidates: &[Candidate],
        octets: &[(u32, u8)],
    ) -> (Vec<bool>, usize) {
        let (mut found, mut fetched) = (vec![false; intents.len()], 0);
        let has_octets = |uid, intent: &Appended| {
            fetched += 1;
            Ok(octets.iter().any(|(of, content)| *of == uid && [*content; 32] == intent.digest))
        };
        assign(intents, candidates.to_vec(), &mut found, keeps, has_octets).unwrap();
        (found, fetched)
    }

    #[test]
    fn message_id_and_date_prove_without_a_look_at_the_octets() {
        let intents = [intent(Some("<1>"), 100, 1), intent(Some("<2>"), 100, 2), intent(Some("<3>"), 100, 3)];
        let mailbox =
            [there(5, Some("<2>"), 9, 1000), there(6, Some("<1>"), 100, 1000), there(7, Some("<9>"), 1, 1000)];
        assert_eq!(assigned(&intents, &mailbox, &[]), (vec![true, true, false], 0));
    }

    #[test]
    fn one_message_proves_one_intent() {
        let twice = [intent(Some("<1>"), 100, 1), intent(Some("<1>"), 100, 1)];
        assert_eq!(assigned(&twice, &[there(5, Some("<1>"), 100, 1000)], &[]).0, [true, false]);
        let both = [there(5, Some("<1>"), 100, 1000), there(6, Some("<1>"), 100, 1000)];
        assert_eq!(assigned(&twice, &both, &[]).0, [true, true]);
    }

    #[test]
    fn among_several_with_one_message_id_the_digest_decides() {
        let two = [intent(Some("<1>"), 100, 1), intent(Some("<1>"), 100, 2)];
        let one = [there(5, Some("<1>"), 100, 1000)];
        assert_eq!(assigned(&two, &one, &[(5, 2)]).0, [false, true]);
        assert_eq!(assigned(&two, &one, &[(5, 0)]).0, [false, false], "rather twice than never");
        let both = [there(5, Some("<1>"), 1, 1000), there(6, Some("<1>"), 2, 1000)];
        assert_eq!(assigned(&two, &both, &[(5, 0), (6, 0)]).0, [true, true]);
    }

    #[test]
    fn another_date_is_another_message_unless_the_octets_are_the_same() {
        let one = [intent(Some("<1>"), 100, 1)];
        assert_eq!(assigned(&one, &[there(5, Some("<1>"), 100, 999)], &[(5, 0)]).0, [false]);
        assert_eq!(assigned(&one, &[there(5, Some("<1>"), 1, 999)], &[(5, 1)]).0, [true]);
    }

    #[test]
    fn without_a_message_id_the_digest_proves_and_else_from_date_and_subject_where_they_mean_one() {
        let two = [intent(None, 100, 1), intent(None, 100, 2)];
        let one = [there(5, None, 100, 1000)];
        assert_eq!(assigned(&two, &one, &[(5, 2)]).0, [false, true]);
        assert_eq!(assigned(&two, &one, &[(5, 0)]).0, [false, false], "rather twice than never");
        assert_eq!(assigned(&two[..1], &one, &[(5, 0)]).0, [true]);
        assert_eq!(assigned(&two[..1], &[there(5, None, 100, 999)], &[(5, 0)]).0, [false]);
        let both = [there(5, None, 1, 1000), there(6, None, 2, 1000)];
        assert_eq!(assigned(&two, &both, &[(5, 0), (6, 0)]).0, [true, true]);
    }

    #[test]
    fn what_the_mailbox_keeps_decides_what_counts() {
        let keeps = |octets, date| Some(Keeps { octets, size: true, date });
        let (known, nameless) = ([intent(Some("<1>"), 100, 1)], [intent(None, 100, 1)]);
        let late = [there(5, Some("<1>"), 100, 5000)];
        assert_eq!(assigned_where(keeps(false, false), &known, &late, &[]).0, [true]);
        assert_eq!(assigned_where(keeps(false, true), &known, &late, &[]).0, [false]);
        let alike = [there(5, None, 100, 1000)];
        assert_eq!(assigned_where(keeps(false, true), &nameless, &alike, &[]).0, [true]);
        assert_eq!(assigned_where(keeps(true, true), &nameless, &alike, &[]).0, [false]);
    }

    #[test]
    fn the_id_that_was_sent_goes_before_all() {
        let stamped = |stamp: &str| Appended { stamp: Some(stamp.into()), ..intent(Some("<1>"), 100, 1) };
        let mut message = there(5, Some("<1>"), 1, 1);
        message.marks.stamp = Some("b".into());
        assert_eq!(assigned(&[stamped("a"), stamped("b")], &[message], &[(5, 1)]).0, [false, true]);
    }

    #[test]
    fn terms_of_a_search_allow_for_zones() {
        assert_eq!(terms(&intent(None, 1, 1)), "SINCE 31-Dec-1969 BEFORE 3-Jan-1970");
        let quote = intent(Some("<\"a\"@x>"), 1, 1);
        assert_eq!(terms(&quote), "SINCE 31-Dec-1969 BEFORE 3-Jan-1970 HEADER MESSAGE-ID \"<\\\"a\\\"@x>\"");
    }
}
