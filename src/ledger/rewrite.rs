//! Writing a ledger anew, without what is over: one line for each message that is still of interest.

use std::io::{self, BufRead, Write};

use super::facts::{Fact, State};
use super::failing;
use super::lane::{LaneSet, SOME_MDA, Table};
use super::line::{Line, id_octets, is_foreign, unknown_keys};
use crate::maildrop::Fingerprint;

/// A message that stays in the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// What is known of it; its line says the rest.
    pub fact: Fact,
    /// Since when it is gone.
    pub gone_since: Option<u64>,
    /// A line before this one speaks of it.
    pub again: bool,
    /// It speaks of another message.
    pub begins: bool,
    /// Its fingerprint, where the line has none.
    pub head: Option<Fingerprint>,
}

/// Copies the lines that are needed as plain facts: where a message went is kept, intents and batches are not. `kept` is
/// in the order of its lines, `lanes` are those of the old ledger, and `mda` names the MDA where a line does not.
/// Returns the number of octets.
pub fn rewrite(
    old: impl BufRead,
    new: &mut impl Write,
    kept: &[Kept],
    lanes: &mut Table,
    mda: Option<&str>,
    is_noted: impl Fn(&[u8]) -> bool,
) -> io::Result<u64> {
    let (mut text, mut octets) = (vec![], 0);
    let mut kept = kept.iter().peekable();
    for (number, old_line) in (1..).zip(old.split(b'\n')) {
        let old_line = old_line?;
        let Some(kept) = kept.next_if(|kept| kept.fact.line == number) else {
            if is_other(&old_line, &is_noted) {
                text.extend_from_slice(&old_line);
                text.push(b'\n');
            }
            continue;
        };
        let Ok(mut line) = serde_json::from_slice::<Line<'_>>(&old_line) else { continue };
        let id = line.delivered.take().or(line.intend.take()).or(line.another.take()).or(line.settled.take());
        let Some(id) = id else { continue };
        write(&mut text, kept, &id, line, &unknown_keys(&old_line), lanes, mda);
        if text.len() > 64 << 10 {
            new.write_all(&text)?;
            octets += text.len() as u64;
            text.clear();
        }
    }
    new.write_all(&text)?;
    Ok(octets + text.len() as u64)
}

/// Appends what is known of a message under this id; `line` is what spoke of it so far.
pub fn write<'l>(
    text: &mut Vec<u8>,
    kept: &Kept,
    id: &'l str,
    mut line: Line<'l>,
    unknown: &str,
    lanes: &mut Table,
    mda: Option<&'l str>,
) {
    let Kept { fact, gone_since, again, begins, head } = *kept;
    if line.mda && line.lane.is_none() {
        line.lane = mda.map(Into::into);
    }
    let own = lanes.of_line(&line);
    (line.delivered, line.intend, line.another, line.settled) = Default::default();
    (line.batch, line.reused, line.again, line.at) = (None, false, again, Some(u64::from(fact.at)));
    line.nth = Some(fact.nth).filter(|nth| *nth > 1);
    // A size may have been learned later; one beyond 4 GiB is only known by its line.
    if fact.octets != u32::MAX {
        line.octets = Some(u64::from(fact.octets));
    }
    line.head = line.head.or_else(|| head.map(|head| head.to_string().into()));
    if begins {
        let (nth, octets, at) = (line.nth, line.octets, line.at);
        Line { another: Some(id.into()), nth, octets, at, head: line.head.clone(), ..Line::default() }.write(text);
    }
    line.forget_way();
    line = line.decided(fact.decided);
    if fact.lanes == LaneSet::EMPTY {
        // No line of it names a place.
        (line.owed, line.again) = (false, false);
        let place = if fact.is_settled { &mut line.settled } else { &mut line.another };
        *place = Some(id.into());
    } else {
        line.owed = !fact.is_settled;
        line.delivered = Some(id.into());
        // The unknown MDA is known now.
        let is_own = |number| Some(number) == own || (mda.is_some() && number == SOME_MDA);
        let others = lanes.names(fact.lanes).filter(|(number, _)| !is_own(*number));
        let others: Vec<_> = others.map(|(_, name)| name.into()).collect();
        line.also = Some(others).filter(|others| !others.is_empty());
    }
    line.write(text);
    text.truncate(text.len() - "}\n".len());
    text.extend_from_slice(unknown.as_bytes());
    text.extend_from_slice(b"}\n");
    let ended = Line { at: gone_since.or(line.at), nth: line.nth, ..Line::default() };
    match fact.state {
        State::Delivered => {}
        State::Deleted => Line { deleted: Some(id.into()), ..ended }.write(text),
        State::Gone => Line { gone: Some(id.into()), ..ended }.write(text),
    }
}

/// True for a line of others, and for a note that is still needed.
fn is_other(line: &[u8], is_noted: impl Fn(&[u8]) -> bool) -> bool {
    if is_foreign(line) {
        return true;
    }
    if [&b"{\"maildir\":"[..], b"{\"mbox\":", b"{\"imap\":"].iter().any(|start| line.starts_with(start)) {
        // A damaged one would be told again by every run.
        return serde_json::from_slice::<Line<'_>>(line).is_ok();
    }
    if !line.starts_with(b"{\"note\":") || failing::is_line(line) {
        return false;
    }
    let note = serde_json::from_slice::<Line<'_>>(line).ok();
    note.is_some_and(|note| note.id.as_deref().and_then(id_octets).is_some_and(|id| is_noted(&id)))
}
