//! Long lists for people: the first few lines of each cause, and how many more there are. JSON has them all.

use std::collections::HashMap;

/// Lines shown of each cause.
const SHOWN: usize = 3;

/// Causes shown: a server may find new words for each message.
const CAUSES: usize = 10;

/// Words by which causes are told apart, numbers left out.
const WORDS: usize = 10;

/// Lines from pairs of a cause and a line.
pub(super) fn abridged(refusals: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut causes: Vec<(Vec<String>, usize)> = vec![];
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut others = 0;
    for (cause, line) in refusals {
        let next = causes.len();
        let position = match positions.get(&beginning(&cause)) {
            Some(position) => *position,
            None if next == CAUSES => {
                others += 1;
                continue;
            }
            None => {
                positions.insert(beginning(&cause), next);
                causes.push((vec![], 0));
                next
            }
        };
        let (lines, more) = &mut causes[position];
        if lines.len() < SHOWN { lines.push(line) } else { *more += 1 }
    }
    let mut abridged = vec![];
    for (lines, more) in causes {
        abridged.extend(lines);
        abridged.extend((more > 0).then(|| format!("… and {more} more like these")));
    }
    abridged.extend((others > 0).then(|| format!("… and {others} more for other reasons")));
    abridged
}

fn beginning(cause: &str) -> String {
    let words = cause.split_whitespace().take(WORDS);
    words.map(|word| word.replace(|c: char| c.is_ascii_digit(), "")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(causes: &[&str]) -> Vec<String> {
        let numbered = causes.iter().enumerate();
        abridged(numbered.map(|(number, cause)| (cause.to_string(), format!("{number} {cause}"))))
    }

    #[test]
    fn three_of_each_cause_are_shown_and_the_rest_is_counted() {
        assert_eq!(lines(&[]), [""; 0]);
        assert_eq!(lines(&["a", "b", "a", "a"]), ["0 a", "2 a", "3 a", "1 b"]);
        let many = ["no 1", "no 2", "yes", "no 3", "no 4", "no 55"];
        assert_eq!(lines(&many), ["0 no 1", "1 no 2", "3 no 3", "… and 2 more like these", "2 yes"]);
    }

    #[test]
    fn new_words_for_each_message_do_not_make_it_endless() {
        let words: Vec<String> = (0..2000).map(|n: u32| char::from_u32(0x4e00 + n).unwrap().to_string()).collect();
        let shown = lines(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((shown.len(), shown[10].as_str()), (11, "… and 1990 more for other reasons"));
    }
}
