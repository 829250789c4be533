//! Rules: what becomes of a new message, by its header section, its size and its age.
//!
//! A function of values: `config` makes the rules, `header` reads the header section, and `plan` makes a verdict of what
//! is decided here. What cannot be told, as the age of a message without a date, is neither true nor false: no rule fits
//! by it, and behind such a rule none deletes.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use crate::account::Keep;

/// A rule of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// What becomes of a message that it fits.
    pub action: Action,
}

/// What a rule does with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It stays on the server, and is not looked at again.
    Skip,
    /// It is deleted unread.
    Delete,
    /// It is fetched.
    Take {
        /// To these targets of the account, by their positions; to its own where there are none.
        targets: Option<Vec<usize>>,
        /// What happens to it then, where that is not the account's `keep`.
        keep: Option<Keep>,
    },
}

/// What is asked of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// A header field of this name, in small letters, has a text like that.
    Field(String, Pattern),
    /// Its size in octets.
    Size(Bound),
    /// How many seconds ago it came.
    Age(Bound),
    /// One of these groups holds as a whole.
    Any(Vec<Vec<Condition>>),
    /// This group does not hold as a whole.
    Not(Vec<Condition>),
}

/// More or less than something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// More.
    Above(u64),
    /// Less.
    Below(u64),
}

impl Bound {
    fn admits(self, value: u64) -> bool {
        match self {
            Bound::Above(bound) => value > bound,
            Bound::Below(bound) => value < bound,
        }
    }
}

/// A regular expression, in which small and capital letters are the same.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// Octets that one compiled expression may take.
const LARGEST: usize = 1 << 20;

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Says in a few words what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text).case_insensitive(true).size_limit(LARGEST).build();
        built.map(Pattern).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it takes too much memory".to_owned(),
            error => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            }
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// What a header section says, as far as rules ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Names in small letters, and decoded texts.
    pub fields: Vec<(String, String)>,
    /// When the message came, or was written: seconds since 1970.
    pub date: Option<i64>,
}

/// A message, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Message<'m> {
    /// Its size, where the server tells.
    pub octets: Option<u64>,
    /// Its header section, where that was read.
    pub head: Option<&'m Head>,
    /// Seconds since 1970, where the clock can be trusted.
    pub clock: Option<u64>,
}

/// Which rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The first one that fits: its position.
    Fits(usize),
    /// None fits.
    NoneFits,
    /// Only the header section tells.
    NeedsHead,
}

/// Finds the first rule that fits.
pub fn judge(rules: &[Rule], message: &Message<'_>) -> Judgement {
    let mut is_all_told = true;
    for (position, rule) in rules.iter().enumerate() {
        match all_hold(&rule.conditions, message) {
            Some(true) if is_all_told || rule.action != Action::Delete => return Judgement::Fits(position),
            Some(_) => {}
            None if message.head.is_none() && ask_head(&rule.conditions) => return Judgement::NeedsHead,
            None => is_all_told = false,
        }
    }
    Judgement::NoneFits
}

/// True when it can be told of each rule whether it fits.
pub fn are_told(rules: &[Rule], message: &Message<'_>) -> bool {
    rules.iter().all(|rule| all_hold(&rule.conditions, message).is_some())
}

/// True when some rule asks for more than a size.
pub fn need_heads(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| ask_head(&rule.conditions))
}

/// The header fields that rules ask for, in small letters.
pub fn fields(rules: &[Rule]) -> BTreeSet<&str> {
    fn add<'r>(conditions: &'r [Condition], names: &mut BTreeSet<&'r str>) {
        for condition in conditions {
            match condition {
                Condition::Field(name, _) => drop(names.insert(name)),
                Condition::Any(groups) => groups.iter().for_each(|group| add(group, names)),
                Condition::Not(group) => add(group, names),
                Condition::Size(_) | Condition::Age(_) => {}
            }
        }
    }
    let mut names = BTreeSet::new();
    rules.iter().for_each(|rule| add(&rule.conditions, &mut names));
    names
}

fn ask_head(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| match condition {
        Condition::Field(..) | Condition::Age(_) => true,
        Condition::Size(_) => false,
        Condition::Any(groups) => groups.iter().any(|group| ask_head(group)),
        Condition::Not(group) => ask_head(group),
    })
}

/// `None` when it cannot be told.
fn all_hold(conditions: &[Condition], message: &Message<'_>) -> Option<bool> {
    let mut told = Some(true);
    for condition in conditions {
        match holds(condition, message) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => told = None,
        }
    }
    told
}

fn holds(condition: &Condition, message: &Message<'_>) -> Option<bool> {
    match condition {
        Condition::Field(name, pattern) => {
            let is_like = |(key, text): &(String, String)| key == name && pattern.0.is_match(text);
            Some(message.head?.fields.iter().any(is_like))
        }
        Condition::Size(bound) => Some(bound.admits(message.octets?)),
        Condition::Age(bound) => {
            let date = u64::try_from(message.head?.date?).ok()?;
            Some(bound.admits(message.clock?.saturating_sub(date)))
        }
        Condition::Any(groups) => {
            let told: Vec<Option<bool>> = groups.iter().map(|group| all_hold(group, message)).collect();
            if told.contains(&Some(true)) {
                Some(true)
            } else {
                told.into_iter().collect::<Option<Vec<_>>>().map(|_| false)
            }
        }
        Condition::Not(group) => all_hold(group, message).map(|holds| !holds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKE: Action = Action::Take { targets: None, keep: None };
    const DAY: u64 = 86400;
    const NOW: u64 = 1_795_000_000;

    fn field(name: &str, pattern: &str) -> Condition {
        Condition::Field(name.into(), Pattern::new(pattern).unwrap())
    }

    fn rule(conditions: impl Into<Vec<Condition>>, action: Action) -> Rule {
        Rule { conditions: conditions.into(), action }
    }

    fn head(fields: &[(&str, &str)], days_ago: Option<i64>) -> Head {
        let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Head { fields, date: days_ago.map(|days| NOW as i64 - days * DAY as i64) }
    }

    fn judged(rules: &[Rule], octets: Option<u64>, head: Option<&Head>) -> Judgement {
        judge(rules, &Message { octets, head, clock: Some(NOW) })
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_all_its_conditions_must_hold() {
        use Condition::{Any, Not, Size};
        use Judgement::{Fits, NoneFits};
        let rules = [
            rule([field("from", "^bob@"), field("subject", "lunch")], TAKE),
            rule([field("to", "list")], Action::Skip),
            rule([Any(vec![vec![Size(Bound::Above(100))], vec![field("x-spam", "^yes$")]])], Action::Delete),
            rule([Not(vec![field("from", "@work$"), Size(Bound::Below(10))])], TAKE),
        ];
        for (fields, octets, expected) in [
            (&[("from", "Bob@x"), ("subject", "No LUNCH today")][..], 5, Fits(0)),
            (&[("from", "bob@x"), ("subject", "dinner"), ("to", "a"), ("to", "the-list@x")], 5, Fits(1)),
            (&[("from", "a@x")], 101, Fits(2)),
            (&[("x-spam", "YES")], 100, Fits(2)),
            (&[("x-spam", "YES, no")], 100, Fits(3)),
            (&[("from", "a@work")], 10, Fits(3)),
            (&[("from", "a@work")], 9, NoneFits),
            (&[], 9, Fits(3)),
        ] {
            assert_eq!(judged(&rules, Some(octets), Some(&head(fields, None))), expected, "{fields:?} {octets}");
        }
        assert_eq!(judged(&[], None, None), NoneFits);
        assert_eq!(judged(&[rule([], TAKE)], None, None), Fits(0), "a rule without conditions fits everything");
    }

    #[test]
    fn a_header_section_is_asked_for_only_where_it_decides() {
        use Judgement::{Fits, NeedsHead, NoneFits};
        let (large, list) = (Condition::Size(Bound::Above(100)), field("list-id", "."));
        let by_size = [rule([large.clone()], Action::Skip)];
        assert_eq!([101, 100].map(|octets| judged(&by_size, Some(octets), None)), [Fits(0), NoneFits]);
        let both = [rule([large.clone(), list.clone()], Action::Skip), rule([list], TAKE)];
        assert_eq!(judged(&both[..1], Some(100), None), NoneFits, "the size tells that it does not fit");
        assert_eq!([101, 100].map(|octets| judged(&both, Some(octets), None)), [NeedsHead; 2]);
        assert!(need_heads(&both) && !need_heads(&by_size));
        assert_eq!(fields(&both).into_iter().collect::<Vec<_>>(), ["list-id"]);
    }

    #[test]
    fn what_cannot_be_told_fits_no_rule_and_nothing_behind_it_deletes() {
        use Judgement::{Fits, NoneFits};
        let old = Condition::Age(Bound::Above(30 * DAY));
        let (young, dated, undated) = (head(&[], Some(29)), head(&[], Some(31)), head(&[], None));
        let rules = [rule([old.clone()], TAKE), rule([], Action::Delete), rule([], Action::Skip)];
        assert_eq!(judged(&rules, None, Some(&dated)), Fits(0));
        assert_eq!(judged(&rules, None, Some(&young)), Fits(1));
        assert_eq!(judged(&rules, None, Some(&undated)), Fits(2));
        let not_old = [rule([Condition::Not(vec![old])], Action::Delete)];
        assert_eq!(judged(&not_old, None, Some(&undated)), NoneFits);
        assert_eq!(judged(&not_old, None, Some(&young)), Fits(0));
        let unclocked = Message { octets: None, head: Some(&young), clock: None };
        assert_eq!(judge(&not_old, &unclocked), NoneFits, "the clock is wrong");
        let small = [rule([Condition::Size(Bound::Below(9))], TAKE), rule([], Action::Delete)];
        assert_eq!(judged(&small, None, None), NoneFits, "the size is unknown");
        let future = [rule([Condition::Age(Bound::Below(DAY))], TAKE)];
        assert_eq!(judged(&future, None, Some(&head(&[], Some(-5)))), Fits(0));
    }

    #[test]
    fn a_wrong_expression_is_told_in_a_few_words() {
        assert_eq!(Pattern::new("a(b").unwrap_err(), "unclosed group");
        assert_eq!(Pattern::new("\\w{1000}{1000}").unwrap_err(), "it takes too much memory");
        assert!(Pattern::new("ž|\\bfoo\\b").is_ok());
    }
}
