//! Lanes: the targets to which the messages of a maildrop have gone.
//!
//! A lane is one target: a Maildir or an mbox by its normalised path, an MDA by its words, a server by its address and
//! the recipient or the mailbox. A line of the ledger names the place of a message, and so its lane; only an MDA, and a
//! server that cannot be asked, leave no place, and their lines bear the lane's name. The name is a hash, because the words
//! of an MDA may hold a secret.
//!
//! A path is normalised by its words alone: `//`, `.` and a slash at its end do not count. Links are not part of a name:
//! a link that is put somewhere else would make another lane of all that was delivered. Two names of one place are found
//! to be the same when the ledger is opened, by following links as far as they exist. Only a path with `..` is resolved
//! from the beginning, since its meaning depends on the links before it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::line::{Line, path_of, path_text};
use crate::account::Target;
use crate::text;

/// One target, as a ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    name: u64,
    place: Option<(Kind, PathBuf)>,
    /// A target of this run that is an MDA.
    is_mda: bool,
}

/// What can be asked for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Maildir,
    Mbox,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Maildir => "maildir",
            Kind::Mbox => "mbox",
        }
    }
}

impl Lane {
    /// The lane of a target.
    pub fn of(target: &Target) -> Self {
        let kind = [Kind::Maildir, Kind::Mbox].into_iter().find(|kind| kind.word() == target.kind());
        match (kind, target.path()) {
            (Some(kind), Some(path)) => Lane::of_place(kind, path),
            // A ledger of format 2 of a run by URL has this in its name.
            _ => Lane { is_mda: target.kind() == "mda", ..Lane::named(text::hash(target.identity().as_bytes())) },
        }
    }

    /// The lane of a place that a line names; `None` for an MDA, or no place at all.
    fn of_line(line: &Line<'_>) -> Option<Self> {
        if let Some(identity) = &line.imap {
            return Some(Lane::named(text::hash(identity.as_bytes())));
        }
        let named = |kind, text: &str| Lane::of_place(kind, &path_of(text));
        let maildir = line.maildir.as_ref().map(|text| named(Kind::Maildir, text));
        maildir.or_else(|| line.mbox.as_ref().map(|text| named(Kind::Mbox, text)))
    }

    fn of_place(kind: Kind, path: &Path) -> Self {
        let path = normalised(path);
        let name = text::hash(&[kind.word().as_bytes(), b":", path.as_os_str().as_bytes()].concat());
        Lane { name, place: Some((kind, path)), is_mda: false }
    }

    fn named(name: u64) -> Self {
        Lane { name, place: None, is_mda: false }
    }

    /// As a line of the ledger has it.
    pub fn name(&self) -> String {
        format!("{:016x}", self.name)
    }

    /// True for another name of the same place.
    fn is_at(&self, other: &Lane) -> bool {
        let (Some((kind, path)), Some((other_kind, other))) = (&self.place, &other.place) else { return false };
        kind == other_kind && resolved(path) == resolved(other)
    }
}

/// The line that says nothing but that messages go to this target.
pub(super) fn line(target: &Target) -> Line<'_> {
    let path = target.path().map(path_text);
    match target.kind() {
        "mbox" => Line { mbox: path, ..Line::default() },
        _ if path.is_none() => Line { imap: Some(target.identity().into()), ..Line::default() },
        _ => Line { maildir: path, ..Line::default() },
    }
}

/// A path without what means nothing.
fn normalised(path: &Path) -> PathBuf {
    match path.components().any(|component| component == Component::ParentDir) {
        true => resolved(path),
        false => path.components().collect(),
    }
}

/// More links in one path than this lead nowhere, as for the kernel.
const LINKS: usize = 40;

/// Follows every link of an absolute path, whether or not there is something at its end.
fn resolved(path: &Path) -> PathBuf {
    let words = |path: &Path| -> Vec<OsString> { path.iter().rev().map(OsString::from).collect() };
    let (mut rest, mut links, mut resolved) = (words(path), 0, PathBuf::new());
    while let Some(word) = rest.pop() {
        if word == "." || word == ".." {
            let _ = word == ".." && resolved.pop();
            continue;
        }
        // A word that is the root begins anew.
        let next = resolved.join(word);
        match fs::read_link(&next) {
            Ok(target) if links < LINKS => {
                links += 1;
                rest.extend(words(&target));
            }
            _ => resolved = next,
        }
    }
    resolved
}

/// Some of a run's lanes, by their position among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lanes(u32);

impl Lanes {
    /// No lane.
    pub const NONE: Lanes = Lanes(0);

    /// Every lane that a run may have.
    pub const ALL: Lanes = Lanes(u32::MAX);

    /// The most lanes that a run may have.
    pub const MOST: usize = Target::MOST;

    /// The first lanes of a run.
    ///
    /// # Panics
    /// When there are more than [`Lanes::MOST`].
    pub fn first(count: usize) -> Self {
        assert!(count <= Self::MOST, "a run has {count} lanes");
        Lanes((1u64 << count).wrapping_sub(1) as u32)
    }

    /// The lanes at these positions.
    pub fn of(positions: &[usize]) -> Self {
        positions.iter().fold(Self::NONE, |lanes, position| lanes.with(*position))
    }

    /// True when there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True when the lane at this position is one of them.
    pub fn has(self, lane: usize) -> bool {
        self.0 >> lane & 1 == 1
    }

    /// Those that are also among these.
    #[must_use]
    pub fn and(self, these: Lanes) -> Self {
        Lanes(self.0 & these.0)
    }

    /// The others.
    #[must_use]
    pub fn without(self, lane: usize) -> Self {
        Lanes(self.0 & !(1 << lane))
    }

    /// Those that are not among these.
    #[must_use]
    pub fn less(self, these: Lanes) -> Self {
        Lanes(self.0 & !these.0)
    }

    /// This one, too.
    #[must_use]
    pub(super) fn with(self, lane: usize) -> Self {
        Lanes(self.0 | 1 << lane)
    }
}

/// Which lanes have a message: the number of a set in the ledger's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LaneSet(u16);

impl LaneSet {
    /// No lane has it.
    pub const EMPTY: LaneSet = LaneSet(0);

    /// Its place in the table.
    pub(super) fn number(self) -> usize {
        self.0.into()
    }
}

/// A lane of the table.
pub(super) type Number = u16;

/// The lane of deliveries whose line names no place: somebody wrote it by hand.
pub(super) const ELSEWHERE: Number = 0;

/// The lane of an MDA in a ledger of an earlier format, which did not say which one it was. It counts as any of them.
pub(super) const SOME_MDA: Number = 1;

/// How lines name the first two lanes.
const NAMES: [&str; 2] = ["elsewhere", "mda"];

/// A lane of this run.
#[derive(Debug)]
struct Own {
    number: Number,
    /// The lanes of the file that are the same place.
    same: Vec<Number>,
}

/// The lanes that a ledger speaks of, and every set of them that some message has.
#[derive(Debug)]
pub(super) struct Table {
    lanes: Vec<Lane>,
    /// Each in ascending order.
    sets: Vec<Box<[Number]>>,
    /// For each lane, the set that has it alone.
    alone: Vec<LaneSet>,
    numbers: HashMap<Box<[Number]>, LaneSet>,
    /// The beginning of the last line's place, and its lane: the next line has the same.
    last: (Vec<u8>, Number),
    own: Vec<Own>,
    /// For each set, the lanes of this run that are not in it.
    lacking: Vec<Lanes>,
    /// Lanes that have a line of their own.
    noted: Vec<Number>,
}

impl Default for Table {
    fn default() -> Self {
        let last = (b"none".to_vec(), ELSEWHERE);
        let (lanes, sets, alone, numbers, own, lacking, noted) = Default::default();
        let mut table = Table { lanes, sets, alone, numbers, last, own, lacking, noted };
        table.set([].into());
        // No hash is as small as these.
        for number in [ELSEWHERE, SOME_MDA] {
            table.add(Lane::named(number.into())).expect("a table has room for its first lanes");
        }
        table
    }
}

impl Table {
    /// The lane of a line, from the text of its place on. `None` when there are too many lanes.
    pub fn of_text(&mut self, place: &[u8]) -> Option<Number> {
        if place.starts_with(&self.last.0) {
            return Some(self.last.1);
        }
        if place == b"}\n" || place.starts_with(b",\"head\"") {
            return Some(ELSEWHERE);
        }
        if place.strip_prefix(b",\"mda\":true").is_some_and(|behind| !behind.starts_with(b",\"lane\"")) {
            return Some(SOME_MDA);
        }
        let text = [b"{", place.strip_prefix(b",").unwrap_or(place)].concat();
        // A place that makes no sense is as good as none.
        let number = self.of_line(&serde_json::from_slice(&text).unwrap_or_default())?;
        // The name, and what follows it, is the message's own.
        let ends = [&b"\",\"name\":\""[..], b"\",\"offset\":", b"\",\"length\":", b"\",\"head\":", b"\"}\n"];
        let end = ends.iter().find_map(|end| Some(memchr::memmem::find(place, end)? + end.len()));
        if let Some(end) = end.filter(|end| !place[..*end].contains(&b'\\')) {
            self.last = (place[..end].to_vec(), number);
        }
        Some(number)
    }

    /// The lane of a line.
    pub fn of_line(&mut self, line: &Line<'_>) -> Option<Number> {
        match (Lane::of_line(line), &line.lane) {
            (Some(lane), _) => self.number_of(lane),
            (None, Some(name)) => self.by_name(name),
            (None, None) if line.mda => Some(SOME_MDA),
            (None, None) => Some(ELSEWHERE),
        }
    }

    /// A line that says nothing but that messages have gone to this place. `None` when it does not.
    pub fn note_line(&mut self, line: &Line<'_>) -> Option<()> {
        let number = Lane::of_line(line).and_then(|lane| self.number_of(lane))?;
        self.noted.push(number);
        Some(())
    }

    /// The same of a target.
    pub fn note(&mut self, target: &Target) {
        let number = self.number_of(Lane::of(target));
        self.noted.extend(number);
    }

    /// True when there is such a line.
    pub fn is_noted(&self, target: &Target) -> bool {
        let lane = Lane::of(target);
        self.noted.iter().any(|number| self.lanes[usize::from(*number)].name == lane.name)
    }

    /// The lane with this name.
    pub fn by_name(&mut self, name: &str) -> Option<Number> {
        match NAMES.iter().position(|known| *known == name) {
            Some(number) => Some(number as Number),
            None if name.len() == 16 => self.number_of(Lane::named(u64::from_str_radix(name, 16).ok()?)),
            None => None,
        }
    }

    fn number_of(&mut self, lane: Lane) -> Option<Number> {
        match self.lanes.iter().position(|known| known.name == lane.name) {
            Some(number) => {
                // A name that was read before its place was.
                let known = &mut self.lanes[number].place;
                *known = known.take().or(lane.place);
                Some(number as Number)
            }
            None => self.add(lane),
        }
    }

    fn add(&mut self, lane: Lane) -> Option<Number> {
        let number = Number::try_from(self.lanes.len()).ok()?;
        let alone = self.set([number].into())?;
        self.lanes.push(lane);
        self.alone.push(alone);
        Some(number)
    }

    /// The set with this lane alone.
    pub fn alone(&self, lane: Number) -> LaneSet {
        self.alone[usize::from(lane)]
    }

    /// The set with one more lane; `None` when there are too many sets.
    pub fn with(&mut self, set: LaneSet, lane: Number) -> Option<LaneSet> {
        if set == LaneSet::EMPTY {
            return Some(self.alone(lane));
        }
        let known = self.lanes_of(set);
        let Err(at) = known.binary_search(&lane) else { return Some(set) };
        let mut lanes = known.to_vec();
        lanes.insert(at, lane);
        self.set(lanes.into())
    }

    fn set(&mut self, lanes: Box<[Number]>) -> Option<LaneSet> {
        if let Some(set) = self.numbers.get(&lanes) {
            return Some(*set);
        }
        let set = LaneSet(u16::try_from(self.sets.len()).ok()?);
        self.lacking.push(self.lacking_in(&lanes));
        self.numbers.insert(lanes.clone(), set);
        self.sets.push(lanes);
        Some(set)
    }

    fn lanes_of(&self, set: LaneSet) -> &[Number] {
        &self.sets[usize::from(set.0)]
    }

    /// How lines name the lanes of a set.
    pub fn names(&self, set: LaneSet) -> impl Iterator<Item = (Number, String)> + '_ {
        let name = |number: Number| match NAMES.get(usize::from(number)) {
            Some(name) => (*name).to_owned(),
            None => self.lanes[usize::from(number)].name(),
        };
        self.lanes_of(set).iter().map(move |number| (*number, name(*number)))
    }

    /// Notes the lanes of this run.
    pub fn serve(&mut self, targets: &[Target]) {
        self.serve_lanes(targets.iter().map(Lane::of).collect());
    }

    /// The same lanes as those of another table: the file was written anew.
    pub fn serve_again(&mut self, other: &Table) {
        self.serve_lanes(other.own.iter().map(|own| other.lanes[usize::from(own.number)].clone()).collect());
    }

    fn serve_lanes(&mut self, lanes: Vec<Lane>) {
        assert!(lanes.len() <= Lanes::MOST, "a run has {} lanes", lanes.len());
        let in_file = self.lanes.len();
        let own = lanes.into_iter().map(|lane| {
            let is_same = |number: &usize| {
                let known = &self.lanes[*number];
                known.name == lane.name || known.is_at(&lane)
            };
            let mut same: Vec<Number> = (2..in_file).filter(is_same).map(|number| number as Number).collect();
            same.extend(lane.is_mda.then_some(SOME_MDA));
            (lane, same)
        });
        let own: Vec<(Lane, Vec<Number>)> = own.collect();
        self.own = vec![];
        for (lane, same) in own {
            // Beyond so many lanes a message counts as delivered elsewhere.
            let number = self.number_of(lane).unwrap_or(ELSEWHERE);
            self.own.push(Own { number, same });
        }
        self.lacking = self.sets.iter().map(|lanes| self.lacking_in(lanes)).collect();
    }

    /// The lane of this run before this one that is the same place, by another name.
    pub fn same_before(&self, lane: usize) -> Option<usize> {
        let place = |own: &Own| &self.lanes[usize::from(own.number)];
        self.own[..lane].iter().position(|own| place(own).is_at(place(&self.own[lane])))
    }

    /// For each set of lanes, whether one of them is this target.
    pub fn sets_with(&self, target: &Target) -> Vec<bool> {
        let lane = Lane::of(target);
        let is_it: Vec<bool> = self.lanes.iter().map(|known| known.name == lane.name || known.is_at(&lane)).collect();
        self.sets.iter().map(|lanes| lanes.iter().any(|number| is_it[usize::from(*number)])).collect()
    }

    fn lacking_in(&self, lanes: &[Number]) -> Lanes {
        let is_in = |own: &Own| lanes.iter().any(|lane| *lane == own.number || own.same.contains(lane));
        let lacking = self.own.iter().enumerate().filter(|(_, own)| !is_in(own));
        lacking.fold(Lanes::NONE, |lanes, (position, _)| lanes.with(position))
    }

    /// The lanes of this run.
    pub fn own(&self) -> Lanes {
        Lanes::first(self.own.len())
    }

    /// True when no line has spoken of a lane of this run.
    pub fn are_own_new(&self) -> bool {
        !self.own.is_empty() && self.own.iter().all(|own| own.same.iter().all(|lane| *lane == SOME_MDA))
    }

    /// The number of a lane of this run; without any, that of the unknown one.
    pub fn own_number(&self, position: usize) -> Number {
        self.own.get(position).map_or(ELSEWHERE, |own| own.number)
    }

    /// Its name, where the place does not tell it.
    pub fn own_name(&self, position: usize) -> Option<String> {
        let number = self.own.get(position)?.number;
        Some(self.lanes[usize::from(number)].name()).filter(|_| number > SOME_MDA)
    }

    /// The lanes of this run that are not in a set.
    pub fn lacking(&self, set: LaneSet) -> Lanes {
        self.lacking[usize::from(set.0)]
    }

    /// True when a lane of this run is in the set for certain.
    pub fn has_own(&self, set: LaneSet) -> bool {
        let is_own = |lane: &Number| self.own.iter().any(|own| *lane == own.number || own.same.contains(lane));
        self.lanes_of(set).iter().any(|lane| *lane != SOME_MDA && is_own(lane))
    }

    /// True when a line of the file has spoken of this target.
    pub fn has_history(&self, target: &Target) -> bool {
        let lane = Lane::of(target);
        let is_it = |known: &Lane| known.name == lane.name || known.is_at(&lane);
        let is_new =
            |number: usize| self.own.iter().any(|own| usize::from(own.number) == number && own.same.is_empty());
        (2..self.lanes.len()).any(|number| is_it(&self.lanes[number]) && !is_new(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Address, At, Server};
    use std::os::unix::fs::symlink;

    fn maildir(path: impl Into<PathBuf>) -> Target {
        Target::maildir(path)
    }

    #[test]
    fn spellings_of_one_path_are_one_lane() {
        for path in ["/m/x/", "/m//x", "/m/./x", "/m/x/.", "//m/x", "/m/y/../x", "/m/x/y/.."] {
            assert_eq!(Lane::of(&maildir(path)), Lane::of(&maildir("/m/x")), "{path}");
        }
        assert_ne!(Lane::of(&maildir("/m/x")), Lane::of(&maildir("/m/y")));
        assert_ne!(Lane::of(&maildir("/m/x")), Lane::of(&Target::mbox("/m/x")));
        assert_ne!(Lane::of(&Target::mda(["a b"])), Lane::of(&Target::mda(["a", "b"])));
    }

    #[test]
    fn two_dots_behind_a_link_mean_what_the_kernel_makes_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().canonicalize().unwrap().join(name);
        fs::create_dir_all(path("real/deep")).unwrap();
        symlink("real/deep", path("link")).unwrap();
        assert_eq!(Lane::of(&maildir(path("link/../m"))), Lane::of(&maildir(path("real/m"))));
        symlink("round", path("round")).unwrap();
        Lane::of(&maildir(path("round/../m")));
    }

    #[test]
    fn two_names_of_one_place_are_found_though_the_place_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().canonicalize().unwrap().join(name);
        symlink("disk", path("link")).unwrap();
        let mut table = Table::default();
        let line = |target: &str| format!(",\"maildir\":\"{}\",\"name\":\"1.x\"}}\n", path(target).display());
        let number = table.of_text(line("disk/Mail").as_bytes()).unwrap();
        table.serve(&[maildir(path("link/Mail")), maildir(path("other"))]);
        assert_eq!(table.lacking(table.alone(number)), Lanes::first(2).without(0));
        assert_eq!(table.lacking(LaneSet::EMPTY), Lanes::first(2));
        assert!(table.has_history(&maildir(path("link/Mail"))) && !table.has_history(&maildir(path("other"))));
    }

    /// `imaps://petar@h/Box`.
    fn mailbox() -> Target {
        let at = At::Host { host: "h".into(), port: 993 };
        let server = Server { user: Some("petar".into()), mailbox: "Box".into(), ..Server::at(at) };
        Target::new("imaps", Address::Server(Box::new(server)))
    }

    fn imap(behind: &str) -> String {
        format!(",\"imap\":\"imaps://petar@h/Box{behind}\n")
    }

    #[test]
    fn a_line_tells_its_lane() {
        let mut table = Table::default();
        let mda = Lane::of(&Target::mda(["sort"])).name();
        let lines = [
            (",\"maildir\":\"/m\",\"name\":\"1\"}\n".to_owned(), Lane::of(&maildir("/m")).name()),
            (",\"maildir\":\"/m\",\"name\":\"2\",\"head\":\"0\"}\n".into(), Lane::of(&maildir("/m")).name()),
            (",\"maildir\":\"/m/\\\"q\",\"name\":\"2\"}\n".into(), Lane::of(&maildir("/m/\"q")).name()),
            (",\"maildir\":\"/m2\",\"name\":\"3\"}\n".into(), Lane::of(&maildir("/m2")).name()),
            (",\"mbox\":\"/b\",\"offset\":1,\"length\":2}\n".into(), Lane::of(&Target::mbox("/b")).name()),
            (format!(",\"mda\":true,\"lane\":\"{mda}\"}}\n"), mda),
            (",\"mda\":true}\n".into(), "mda".into()),
            (imap("\",\"length\":1,\"validity\":2,\"head\":\"0\"}"), Lane::of(&mailbox()).name()),
            (imap("\",\"length\":3,\"validity\":2,\"digest\":\"0\"}"), Lane::of(&mailbox()).name()),
            (imap("\",\"head\":\"0\"}"), Lane::of(&mailbox()).name()),
            (imap("\"}"), Lane::of(&mailbox()).name()),
            (imap("2\",\"length\":3,\"validity\":2}"), Lane::named(text::hash(b"imaps://petar@h/Box2")).name()),
            (",\"mda\":true,\"head\":\"0\"}\n".into(), "mda".into()),
            ("}\n".into(), "elsewhere".into()),
        ];
        for _ in 0..2 {
            for (line, name) in &lines {
                let number = table.of_text(line.as_bytes()).unwrap();
                assert_eq!(table.names(table.alone(number)).collect::<Vec<_>>(), [(number, name.clone())], "{line}");
            }
        }
    }

    #[test]
    fn sets_are_counted_once_and_know_what_they_lack() {
        let mut table = Table::default();
        table.serve(&[maildir("/a"), maildir("/b"), Target::mda(["x"])]);
        let [a, b] = [0, 1].map(|position| table.own_number(position));
        let set = table.with(LaneSet::EMPTY, b).unwrap();
        let both = table.with(set, a).unwrap();
        assert_eq!(table.with(table.alone(a), b), Some(both));
        assert_eq!(table.with(both, a), Some(both));
        assert_eq!(table.lacking(both), Lanes::first(3).without(0).without(1));
        let some = table.with(both, SOME_MDA).unwrap();
        assert!(table.lacking(some).is_empty(), "an MDA of an earlier format may be any");
    }

    #[test]
    fn lanes_are_a_small_set() {
        assert_eq!((Lanes::first(0), Lanes::first(32).len()), (Lanes::NONE, 32));
        assert!(Lanes::first(2).has(1) && !Lanes::first(2).has(2) && Lanes::first(1).without(0).is_empty());
    }
}
