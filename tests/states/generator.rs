//! From a model to the states that a power cut can leave.
//!
//! At every moment each change is there for certain, there perhaps, or not begun. Of those that are there perhaps every
//! choice is a state: names there or not, octets there, not there, torn, or only their length. Where the choices are too
//! many, the simple ones are taken (everything, nothing, one thing missing, one thing there, the first so many) and
//! others at random. Many moments and choices give the same folder; each of those counts once.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::model::{Inode, Model, What, put, whole};
use super::tree::Tree;
use crate::crash::Random;

/// More choices than this at one moment are not taken all.
const CHOICES: usize = 600;

/// Where fewer states are wanted than this, or a model has more changes, only some moments are looked at, with few choices
/// each.
const FEW: usize = 50;
const LARGE: usize = 150;
const FEW_CHOICES: usize = 24;

/// More names in doubt than this are not combined in all ways.
const NAMES: usize = 6;

/// Of more changes than this not every one is lost, or torn, alone.
const ALONE: usize = 16;

/// What is there of a change that may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Whole,
    /// Only so many octets from the beginning.
    Beginning(usize),
    /// Only the octets from here on; what is before them has its length and not its octets.
    End(usize),
    /// Only the length: zeros, where the file was shorter before.
    Length,
}

/// Changes that may be there, and what is there of them.
type Parts = BTreeMap<usize, Part>;

#[derive(Debug, Clone)]
pub struct State {
    moment: usize,
    /// Those that are there although they need not be; of names always whole.
    parts: Parts,
    /// How many times the server has done what QUIT asks for.
    pub has_quit: usize,
}

impl State {
    pub fn tree(&self, model: &Model) -> Tree {
        let certain = certain(model, self.moment);
        model.tree(
            |number| certain[number] || self.parts.contains_key(&number),
            |number, what, octets| match self.parts.get(&number) {
                _ if certain[number] => whole(what, octets),
                Some(part) => apply(what, *part, octets),
                None => {}
            },
        )
    }

    /// For people.
    pub fn story(&self, model: &Model) -> String {
        let mut story =
            format!("power cut at moment {}, {} times QUIT was done; in doubt:\n", self.moment, self.has_quit);
        for number in in_doubt(model, self.moment) {
            let part = self.parts.get(&number).map_or("lost".into(), |part| format!("{part:?}"));
            story += &format!("    {}: {part}\n", model.changes[number].told);
        }
        story
    }
}

fn apply(what: &What, part: Part, octets: &mut Vec<u8>) {
    let What::Write { offset, octets: written, .. } = what else { return whole(what, octets) };
    let end = offset + written.len();
    match part {
        Part::Whole => put(octets, *offset, written),
        Part::Beginning(count) => put(octets, *offset, &written[..count]),
        Part::End(from) => put(octets, offset + from, &written[from..]),
        Part::Length if octets.len() < end => octets.resize(end, 0),
        Part::Length => {}
    }
}

/// The changes that are there at a moment: those that last, and those of the same names before them.
fn certain(model: &Model, moment: usize) -> Vec<bool> {
    let lasts = |lasts: Option<usize>| lasts.is_some_and(|lasts| lasts < moment);
    let mut certain: Vec<bool> = model.changes.iter().map(|change| lasts(change.lasts)).collect();
    for number in (0..certain.len()).rev() {
        if certain[number] {
            model.changes[number].after.iter().for_each(|earlier| certain[*earlier] = true);
        }
    }
    certain
}

/// The changes that may be there, or not, at a moment.
fn in_doubt(model: &Model, moment: usize) -> Vec<usize> {
    let certain = certain(model, moment);
    (0..certain.len()).filter(|number| !certain[*number] && model.changes[*number].begin < moment).collect()
}

/// Different states, and how many there were before equal ones were put together.
pub struct States {
    pub states: Vec<State>,
    pub generated: usize,
}

/// The states of all moments from `from` on, or enough to take so many of them.
pub fn states(model: &Model, from: usize, wanted: usize, random: &mut Random) -> States {
    let is_sample = wanted < FEW || model.changes.len() > LARGE;
    let limit = if is_sample { FEW_CHOICES } else { CHOICES };
    let mut found = States { states: vec![], generated: 0 };
    let mut seen = HashSet::new();
    let mut moments: Vec<usize> = model.moments().into_iter().filter(|moment| *moment >= from).collect();
    if is_sample {
        shuffle(&mut moments, random);
        moments.truncate(wanted.saturating_mul(2));
    }
    for moment in moments {
        let sent = model.quits.iter().filter(|quit| **quit < moment).count();
        let choices = choices(model, moment, limit, random);
        for parts in choices {
            // The last QUIT may still be under way, as long as the run has noted nothing that came of it.
            for has_quit in sent.saturating_sub(1)..=sent {
                if has_quit < sent && !may_be_under_way(model, moment, sent) {
                    continue;
                }
                found.generated += 1;
                let state = State { moment, parts: parts.clone(), has_quit };
                let mut hasher = DefaultHasher::new();
                (state.tree(model), has_quit).hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    found.states.push(state);
                }
            }
        }
    }
    found
}

/// True until the run has changed anything after it had sent the last QUIT.
fn may_be_under_way(model: &Model, moment: usize, sent: usize) -> bool {
    let quit = model.quits[sent - 1];
    !model.changes.iter().any(|change| change.begin > quit && change.begin < moment)
}

fn choices(model: &Model, moment: usize, limit: usize, random: &mut Random) -> Vec<Parts> {
    let in_doubt = in_doubt(model, moment);
    let (names, data): (Vec<usize>, Vec<usize>) =
        in_doubt.into_iter().partition(|number| model.changes[*number].file().is_none());
    let mut files: BTreeMap<Inode, Vec<usize>> = BTreeMap::new();
    for number in data {
        files.entry(model.changes[number].file().expect("names are elsewhere")).or_default().push(number);
    }
    let mut dimensions = vec![of_names(model, &names, random)];
    dimensions.extend(files.values().map(|changes| of_file(model, changes, random)));
    product(&dimensions, limit, random)
}

/// One choice of each dimension: all combinations, or the simple ones and some at random. The first choice of a dimension
/// is that everything is there, the second that nothing is.
fn product(dimensions: &[Vec<Parts>], limit: usize, random: &mut Random) -> Vec<Parts> {
    let union = |positions: &[usize]| -> Parts {
        dimensions.iter().zip(positions).flat_map(|(choices, position)| choices[*position].clone()).collect()
    };
    let count = dimensions.iter().try_fold(1usize, |count, choices| count.checked_mul(choices.len()));
    let mut all = vec![];
    if count.is_some_and(|count| count <= limit) {
        let mut positions = vec![0; dimensions.len()];
        loop {
            all.push(union(&positions));
            let Some(next) = (0..dimensions.len()).find(|i| positions[*i] + 1 < dimensions[*i].len()) else {
                return all;
            };
            positions[next] += 1;
            positions[..next].fill(0);
        }
    }
    for (dimension, choices) in dimensions.iter().enumerate() {
        for choice in 0..choices.len() {
            for others in 0..2 {
                let others = dimensions.iter().map(|choices| others.min(choices.len() - 1));
                let mut positions: Vec<usize> = others.collect();
                positions[dimension] = choice;
                all.push(union(&positions));
            }
        }
    }
    shuffle(&mut all, random);
    // At least half of them are not simple.
    all.truncate(limit / 2);
    while all.len() < limit {
        let positions: Vec<usize> = dimensions.iter().map(|choices| random.below(choices.len())).collect();
        all.push(union(&positions));
    }
    all
}

pub fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for last in (1..all.len()).rev() {
        all.swap(last, random.below(last + 1));
    }
}

/// Names there or not: whatever is there, earlier changes of the same names are.
fn of_names(model: &Model, names: &[usize], random: &mut Random) -> Vec<Parts> {
    let closed = |wanted: &dyn Fn(usize) -> bool| -> Parts {
        let (mut there, mut needed) = (Parts::new(), HashSet::<usize>::new());
        for (position, number) in names.iter().enumerate().rev() {
            if wanted(position) || needed.contains(number) {
                there.insert(*number, Part::Whole);
                needed.extend(&model.changes[*number].after);
            }
        }
        there
    };
    let count = names.len();
    let mut choices = vec![closed(&|_| true), closed(&|_| false)];
    if count <= NAMES {
        choices.extend((1..(1usize << count)).map(|bits| closed(&|position| bits >> position & 1 == 1)));
    } else {
        for chosen in some_of(count, random) {
            choices.push(closed(&|position| position < chosen));
            choices.push(closed(&|position| position == chosen));
            // Without it, and without what needs it.
            choices.push(without(model, &choices[0], names[chosen]));
        }
        for _ in 0..ALONE {
            let bits: Vec<bool> = (0..count).map(|_| random.below(2) == 0).collect();
            choices.push(closed(&|position| bits[position]));
        }
    }
    distinct(choices)
}

fn without(model: &Model, all: &Parts, lost: usize) -> Parts {
    let mut gone = HashSet::from([lost]);
    for number in all.keys() {
        if model.changes[*number].after.iter().any(|earlier| gone.contains(earlier)) {
            gone.insert(*number);
        }
    }
    all.iter().filter(|(number, _)| !gone.contains(number)).map(|(number, part)| (*number, *part)).collect()
}

/// What may be there of a file: changes there or not, in any combination, and one of them torn.
fn of_file(model: &Model, changes: &[usize], random: &mut Random) -> Vec<Parts> {
    let count = changes.len();
    let those = |is_there: &dyn Fn(usize) -> bool| -> Parts {
        (0..count).filter(|position| is_there(*position)).map(|position| (changes[position], Part::Whole)).collect()
    };
    let mut choices = vec![those(&|_| true), those(&|_| false)];
    let some = some_of(count, random);
    if count <= 4 {
        choices.extend((1..(1usize << count)).map(|bits| those(&|position| bits >> position & 1 == 1)));
    } else {
        for chosen in &some {
            choices.push(those(&|position| position < *chosen));
            choices.push(those(&|position| position != *chosen));
            choices.push(those(&|position| position == *chosen));
        }
    }
    for chosen in some {
        let What::Write { octets, .. } = &model.changes[changes[chosen]].what else { continue };
        let first_so_many = those(&|position| position < chosen);
        let all_others = those(&|position| position != chosen);
        for part in parts(octets) {
            for others in [&first_so_many, &all_others] {
                let mut choice = others.clone();
                choice.insert(changes[chosen], part);
                choices.push(choice);
            }
        }
    }
    distinct(choices)
}

/// Some ways in which a write can be torn: at its ends, in the middle, at lines and sectors.
fn parts(octets: &[u8]) -> Vec<Part> {
    let length = octets.len();
    let lines = octets.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(at, _)| at + 1);
    let mut tears: Vec<usize> = [1, length / 2, length.saturating_sub(1)].into_iter().chain(lines.take(4)).collect();
    tears.extend((1..=length / 512).take(2).map(|sectors| sectors * 512));
    tears.extend((1..=length / 4096).rev().take(2).map(|pages| pages * 4096));
    tears.retain(|at| (1..length).contains(at));
    tears.sort_unstable();
    tears.dedup();
    let ends = tears.iter().map(|at| Part::End(*at));
    tears.iter().map(|at| Part::Beginning(*at)).chain(ends).chain([Part::Length]).collect()
}

fn distinct(choices: Vec<Parts>) -> Vec<Parts> {
    let mut seen = HashSet::new();
    choices.into_iter().filter(|choice| seen.insert(choice.clone())).collect()
}

fn some_of(count: usize, random: &mut Random) -> Vec<usize> {
    let mut some: Vec<usize> = (0..count).collect();
    if count > ALONE {
        shuffle(&mut some, random);
        some.truncate(ALONE);
    }
    some
}
