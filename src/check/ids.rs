//! What is said of unique-ids: whether each message has one of its own, and the same in a second session.

use std::collections::HashSet;
use std::sync::Arc;

use super::Checking;
use super::row::{Finding, Point, Row};
use crate::failure::{Failure as _, Kind};
use crate::ledger::Committed;
use crate::listings::Share;
use crate::maildrop::Listing;
use crate::pop3::{Capabilities, Credentials};
use crate::session::Error;
use crate::text::counted;

impl Checking<'_> {
    pub(super) fn listed(&mut self, listing: &Listing, capabilities: &Capabilities, news: Option<usize>) {
        let messages = counted(listing.len(), "message");
        let news = news.map_or_else(String::new, |news| format!("; a fetch would retrieve {news}"));
        let mut seen = HashSet::new();
        let ids = || listing.iter().map(|message| message.unique_id);
        let missing = ids().filter(|id| id.is_empty()).count();
        let repeated = ids().filter(|id| !id.is_empty() && !seen.insert(*id)).count();
        let with_another = format!("{repeated} of them with the id of another");
        self.row(match (listing.has_unique_ids, missing, repeated) {
            (true, 0, 0) => Row::good(Point::Uidl, format!("{messages}, each with an id of its own{news}")),
            (true, 0, _) => Row::doubtful(
                Point::Uidl,
                format!("{messages}, {with_another}{news}"),
                "such messages are fetched, and deleted only by the run that has fetched them",
            ),
            (true, ..) => Row::doubtful(
                Point::Uidl,
                match repeated {
                    0 => format!("{messages}, {missing} of them without an id{news}"),
                    _ => format!("{messages}, {with_another}, {missing} of them without an id{news}"),
                },
                "messages without an id that are to be kept, or were known by one, stay on the server; `--all` fetches \
                 them",
            ),
            _ if listing.is_empty() && (capabilities.uidl || !capabilities.are_announced) => {
                Row::good(Point::Uidl, "the maildrop is empty")
            }
            _ => Row::doubtful(
                Point::Uidl,
                format!("the server has none: {messages}{news}"),
                "without UIDL messages can only be fetched and deleted, and none can be kept",
            ),
        });
    }

    /// A second session, whose unique-ids have to be the same (RFC 1939 §7).
    pub(super) fn again(&mut self, credentials: &Credentials, share: &Arc<Share>, listing: &Listing) {
        let second = self.opener.log_in(credentials, share, &mut vec![]);
        let survey = second.and_then(|mut transaction| {
            let survey = transaction.survey(false).map_err(Error::from);
            let _ = transaction.update(&[] as &[Committed]);
            survey
        });
        let row = match survey {
            // LOGIN-DELAY, or the first session has not quite ended.
            Err(error) if error.is_transient() => Row::bad(Point::Uidl, &error).pardoned(),
            Err(error) => Row::bad(Point::Uidl, &error),
            Ok(survey) => compared(listing, &survey.listing),
        };
        self.row(row);
    }
}

/// What two listings of one maildrop say of its unique-ids.
fn compared(first: &Listing, second: &Listing) -> Row {
    let ids = |listing: &'_ Listing| -> HashSet<Vec<u8>> {
        listing.iter().map(|message| message.unique_id.to_vec()).filter(|id| !id.is_empty()).collect()
    };
    let (first, second) = (ids(first), ids(second));
    let gone = first.difference(&second).count();
    let changed = gone.min(second.difference(&first).count());
    match gone {
        0 => Row::good(Point::Uidl, "the same in a second session"),
        gone if changed * 2 >= first.len() => Row {
            finding: Finding::Bad(Kind::Protocol),
            ..Row::doubtful(
                Point::Uidl,
                format!("{gone} of {} ids are others in a second session", first.len()),
                "every run would fetch everything again: tell the owner of the server, or fetch with `keep = false`",
            )
        },
        gone => Row::doubtful(
            Point::Uidl,
            format!("{gone} of {} ids are missing in a second session", first.len()),
            "another program may have deleted the messages meanwhile; check again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildrop::MessageNumber;

    fn listing(ids: &[&str]) -> Listing {
        let mut listing = Listing::default();
        for (number, id) in (1..).zip(ids) {
            assert!(listing.push(MessageNumber(number), id.as_bytes()));
        }
        listing
    }

    #[test]
    fn ids_that_change_are_a_failure_and_messages_that_go_are_none() {
        let result = |second: &[&str]| compared(&listing(&["a", "b", "c", "d"]), &listing(second)).finding.name();
        assert_eq!(result(&["a", "b", "c", "d"]), "ok");
        assert_eq!(result(&["a", "b", "c", "d", "e"]), "ok");
        assert_eq!(result(&["a", "b"]), "warning");
        assert_eq!(result(&[]), "warning");
        assert_eq!(result(&["a", "b", "c", "x"]), "warning");
        assert_eq!(result(&["a", "b", "x", "y"]), "failed");
        assert_eq!(result(&["w", "x", "y", "z"]), "failed");
    }
}
