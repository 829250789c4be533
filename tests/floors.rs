//! The arrows of the house: imports go down, and the rooms of floor 1 are strangers to one another.
//!
//! Reads every line of `src/` for `crate::room`, also inside `use crate::{…}`; comments do not count. What else is
//! named there is held to its place, too: crates, modules of std, and what only the ledger may promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of a room; `None` for a room that has none yet.
fn floor(room: &str) -> Option<u8> {
    match room {
        "account" | "authority" | "failing" | "failure" | "listings" | "maildrop" | "mask" | "notice" | "os"
        | "rules" | "stop" | "text" => Some(0),
        "config" | "net" | "secret" | "pop3" | "deliver" | "relay" | "ledger" | "plan" | "header" => Some(1),
        "session" => Some(2),
        "list" | "login" | "check" | "report" | "progress" => Some(3),
        _ if room.starts_with("fetch") => Some(3),
        "cli" | "command" | "lib" | "main" => Some(4),
        _ => None,
    }
}

/// What the ledger may know of a delivery: where a message goes and that it got there.
const DELIVERY_FACTS: [&str; 11] = [
    "Appended",
    "Keeps",
    "Place",
    "Receipt",
    "Synced",
    "Intents",
    "Outcome",
    "Recovered",
    "Refusal",
    "Staged",
    "Found",
];

/// The arrows that floor 1 allows itself: `ledger` to the facts of a delivery, `plan` to the ledger, `config` to the
/// words of a destination, `relay` to what a destination over the network is made of.
fn is_allowed_stranger(from: &str, import: &Import) -> bool {
    match (from, import.room.as_str()) {
        ("plan", "ledger") => true,
        ("relay", "deliver" | "net" | "secret") => true,
        ("relay", "header") => ["Arrival", "Marks"].contains(&item(import)),
        ("relay", "pop3") => ["Credentials", "Exchange", "Explanation", "Mechanism", "Problem"].contains(&item(import)),
        ("config", "relay") => import.items == ["parse"],
        ("config", "deliver") => import.items == ["parse"] || import.items == ["FORMS"],
        ("ledger", "deliver") => {
            !import.items.is_empty() && import.items.iter().all(|item| DELIVERY_FACTS.contains(&item.as_str()))
        }
        _ => false,
    }
}

fn item(import: &Import) -> &str {
    import.items.first().map_or("", String::as_str)
}

/// Crates that have one place, the system's calls that have one, and what only the ledger may promise.
const ONLY_IN: [(&str, &[&str]); 25] = [
    ("anyhow::", &["command/"]),
    ("clap::", &["cli.rs", "command/mod.rs"]),
    ("form_urlencoded::", &["secret/oauth/"]),
    ("getrandom::", &["os/random.rs"]),
    ("hashbrown::", &["ledger/"]),
    ("hmac::", &["pop3/sasl/"]),
    ("httparse::", &["relay/http/"]),
    ("indicatif::", &["progress.rs"]),
    ("mailparse::", &["header"]),
    ("md5::", &["pop3/sasl/"]),
    ("native_tls::", &["net/tls/"]),
    ("openssl::", &["net/tls/", "secret/oauth/assertion.rs"]),
    ("openssl_probe::", &["net/tls/"]),
    ("pbkdf2::", &["pop3/sasl/"]),
    ("regex::", &["rules.rs"]),
    ("sha1::", &["pop3/sasl/"]),
    ("signal_hook::", &["stop.rs"]),
    ("stringprep::", &["pop3/sasl/"]),
    ("toml::", &["config/"]),
    ("unicode_width::", &["text.rs"]),
    ("ureq::", &["secret/oauth/"]),
    ("rustix::event", &["os/poll.rs"]),
    (" Durable for ", &["ledger/"]),
    (" Intents for ", &["ledger/"]),
    (" OfTheLedger for ", &["ledger/"]),
];

/// Rooms that only compute: octets and values in, octets and values out.
const PURE: [&str; 8] = ["failing.rs", "header", "mask.rs", "maildrop.rs", "plan", "pop3/", "rules.rs", "text.rs"];

/// What would make a room do more than that: a disk, a line, a clock, a program.
fn is_outside(path: &[String]) -> bool {
    ["env", "fs", "net", "os", "process", "thread"].contains(&path[0].as_str())
        || path.iter().any(|name| name == "SystemTime" || name == "Instant")
}

/// One mention of another room.
#[derive(Debug, PartialEq)]
struct Import {
    line: usize,
    room: String,
    /// What is taken from it; empty when it is the room itself.
    items: Vec<String>,
}

/// Why an import is wrong, or nothing.
fn objection(from: &str, import: &Import) -> Option<String> {
    let to = import.room.as_str();
    let Some(here) = floor(from) else { return Some(format!("`{from}` has no floor: give it one in tests/floors.rs")) };
    if to == from || here == 4 {
        return None;
    }
    let Some(there) = floor(to) else { return Some(format!("`{to}` is no room, or has no floor in tests/floors.rs")) };
    if there > here {
        return Some(format!("`{from}` (floor {here}) looks up to `{to}` (floor {there})"));
    }
    if from == "os" && to != "text" {
        return Some(format!("`os` is beneath all, and looks up to `{to}`"));
    }
    if there == 1 && here == 1 && !is_allowed_stranger(from, import) {
        return Some(format!("`{from}` and `{to}` are strangers on floor 1 (it takes {:?})", import.items));
    }
    None
}

/// Every `crate::…` of a source file.
fn imports(source: &str) -> Vec<Import> {
    paths_below("crate::", &without_comments(source)).into_iter().map(|(line, path)| import(line, &path)).collect()
}

/// Every path that begins with this root in code, without it, and its line.
fn paths_below(root: &str, code: &str) -> Vec<(usize, Vec<String>)> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(root) {
        let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if !is_word {
            let line = code[..at].matches('\n').count() + 1;
            paths.extend(branches(&code[at + root.len()..]).into_iter().map(|path| (line, path)));
        }
    }
    paths
}

/// Comments and unit tests, which close a file, go; lines keep their numbers. (`//` without a blank before it is more
/// likely a URL.)
fn without_comments(source: &str) -> String {
    let code = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code = code.lines().map(|line| if line.starts_with("//") { "" } else { line.split(" //").next().unwrap() });
    code.collect::<Vec<_>>().join("\n")
}

fn import(line: usize, path: &[String]) -> Import {
    Import { line, room: path[0].clone(), items: path.get(1).cloned().into_iter().collect() }
}

/// The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn branches(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim_start();
    if let Some(inner) = tree.strip_prefix('{') {
        return split_group(inner).into_iter().flat_map(branches).collect();
    }
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(tree.len());
    let head = tree[..end].to_string();
    let Some(rest) = tree[end..].strip_prefix("::") else { return vec![vec![head]] };
    let tails = branches(rest);
    tails.into_iter().map(|tail| [vec![head.clone()], tail].concat()).collect()
}

/// The parts of a group up to its closing brace, split at the commas of its own level.
fn split_group(inner: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&inner[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// How many modules a file is below the root: that many `super::` are `crate::`.
fn depth(path: &Path) -> usize {
    let is_named_by_its_folder = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path.ends_with(name));
    path.components().count() - usize::from(is_named_by_its_folder)
}

/// Spells out the imports that climb to the root; those of inline modules, which are indented, climb less far.
fn without_climbing(source: &str, depth: usize) -> String {
    let climb = "super::".repeat(depth);
    let lines = source.lines().map(|line| match line.split_once("use ") {
        Some(("" | "pub " | "pub(crate) ", path)) if depth > 0 && path.starts_with(&climb) => {
            line.replacen(&climb, "crate::", 1)
        }
        _ => line.to_string(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The room that a file below `src/` belongs to.
fn room(path: &Path) -> String {
    let first = path.components().next().expect("a file has a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_string()
}

#[test]
fn imports_go_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut objections = Vec::new();
    for path in sources(&src) {
        let below = path.strip_prefix(&src).unwrap();
        let room = room(below);
        let source = without_climbing(&fs::read_to_string(&path).unwrap(), depth(below));
        for import in imports(&source) {
            let Some(why) = objection(&room, &import) else { continue };
            objections.push(format!("{}:{}: {why}", path.display(), import.line));
        }
        assert!(floor(&room).is_some(), "{}: `{room}` has no floor in tests/floors.rs", path.display());
    }
    assert!(objections.is_empty(), "imports must go down:\n{}", objections.join("\n"));
}

/// The traits that only the ledger implements, as the sealed trait behind them says to other crates.
const OF_THE_LEDGER: [&str; 3] = ["Durable", "Intents", "OfTheLedger"];

/// What is implemented for what: `impl TRAIT for`, wherever the trait comes from.
fn implements(code: &str, name: &str) -> bool {
    code.lines()
        .filter_map(|line| line.trim_start().strip_prefix("impl")?.split_once(" for "))
        .any(|(head, _)| head.rsplit([' ', ':', '>']).next() == Some(name))
}

#[test]
fn only_the_ledger_proves_that_a_message_is_durable() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let implementers = |name: &str| -> Vec<String> {
        let all = sources(&src)
            .into_iter()
            .filter(|path| implements(&without_comments(&fs::read_to_string(path).unwrap()), name));
        let mut rooms: Vec<_> = all.map(|path| room(path.strip_prefix(&src).unwrap())).collect();
        rooms.dedup();
        rooms
    };
    assert!(OF_THE_LEDGER.iter().all(|name| implementers(name) == ["ledger"]));
    assert!(implements("impl<T> crate::deliver::Intents for Vec<T> {", "Intents"));
    assert!(!implements("impl fmt::Debug for Intents {", "Intents"));
}

/// What a file may not name where it is, each with its line.
fn misplaced(below: &str, source: &str) -> Vec<String> {
    let code = without_comments(source);
    let is_below = |places: &[&str]| places.iter().any(|place| below.starts_with(place));
    let mut found = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        let named = ONLY_IN.iter().filter(|(name, places)| !is_below(places) && names(line, name));
        found.extend(named.map(|(name, places)| format!("{below}:{number}: `{}` is for {places:?}", name.trim())));
    }
    if is_below(&PURE) {
        let outside = paths_below("std::", &code).into_iter().filter(|(_, path)| is_outside(path));
        found.extend(outside.map(|(line, path)| format!("{below}:{line}: `std::{}` in a pure room", path.join("::"))));
        let system = paths_below("rustix::", &code).into_iter();
        found.extend(system.map(|(line, _)| format!("{below}:{line}: `rustix` in a pure room")));
    }
    found
}

/// True when a line has the name, and not only the end of a longer one.
fn names(line: &str, name: &str) -> bool {
    let is_part = |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    line.match_indices(name).any(|(at, _)| name.starts_with(' ') || !is_part(at))
}

#[test]
fn crates_and_promises_stay_where_they_belong() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut objections = Vec::new();
    for path in sources(&src) {
        let below = path.strip_prefix(&src).unwrap().to_str().unwrap();
        if !below.contains("/tests") {
            objections.extend(misplaced(below, &fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(objections.is_empty(), "out of place:\n{}", objections.join("\n"));
}

#[test]
fn what_is_out_of_place_is_found_with_its_line() {
    let found = |below: &str, source: &str| misplaced(below, source).len();
    assert_eq!(found("net/dial.rs", "use native_tls::TlsConnector;\nfn f(c: openssl::ssl::Ssl) {}"), 2);
    assert_eq!(found("net/tls/native.rs", "use native_tls::TlsConnector;"), 0);
    assert_eq!(found("fetch/mod.rs", "struct Own;\nimpl Durable for Own {}\nimpl<T> Intents for Vec<T> {}"), 2);
    assert_eq!(found("pop3/reply.rs", "use std::{fs::File, time::{Duration, Instant}};\nuse std::io::Read;"), 2);
    assert_eq!(found("plan/order.rs", "fn now() { std::time::SystemTime::now(); rustix::process::getpid(); }"), 2);
    assert_eq!(found("plan/order.rs", "// std::fs is for others\nuse std::ops::Range;"), 0);
}

/// The files of pop3, `sasl/` as one, and those that each imports.
fn arrows_of_pop3() -> BTreeMap<String, BTreeSet<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources(&src.join("pop3")) {
        let below = path.strip_prefix(&src).unwrap();
        let file = room(below.strip_prefix("pop3").unwrap());
        if file == "mod" {
            continue;
        }
        let code = without_comments(&fs::read_to_string(&path).unwrap());
        let climbing = paths_below(&"super::".repeat(depth(below) - 1), &code);
        let named = climbing.into_iter().chain(paths_below("crate::pop3::", &code)).map(|(_, path)| path[0].clone());
        let others = named.filter(|other| *other != file && *other != "super");
        arrows.entry(file.clone()).or_default().extend(others);
    }
    arrows
}

/// What is left when whatever imports nothing else is taken away again and again.
fn circle(mut arrows: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let left: BTreeSet<String> = arrows.keys().cloned().collect();
        arrows.retain(|_, others| others.iter().any(|other| left.contains(other)));
        if arrows.len() == left.len() {
            return left.into_iter().collect();
        }
    }
}

#[test]
fn the_files_of_pop3_import_one_another_in_no_circle() {
    let arrows = arrows_of_pop3();
    assert!(arrows["connection"].contains("error") && arrows["sasl"].contains("credentials"), "{arrows:?}");
    assert_eq!(circle(arrows), [""; 0]);
    let arrows = [("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["b"]), ("d", vec![])];
    let arrows = arrows.map(|(file, others)| (file.to_owned(), others.into_iter().map(str::to_owned).collect()));
    assert_eq!(circle(arrows.into()), ["a", "b", "c"]);
}

#[test]
fn an_import_that_goes_up_or_sideways_is_found_with_its_line() {
    let objections = |room: &str, source: &str| -> Vec<_> {
        let found = imports(source).into_iter().filter(|import| objection(room, import).is_some());
        found.map(|import| (import.line, import.room)).collect()
    };
    let at = |line: usize, room: &str| vec![(line, room.to_string())];
    assert_eq!(objections("pop3", "use crate::text;\nuse crate::net::Stream;"), at(2, "net"));
    assert_eq!(objections("pop3", "use crate::{text::printable, ledger::{self, Ledger}};").len(), 2);
    assert_eq!(objections("pop3", "fn f() {\n    crate::report::say();\n}"), at(2, "report"));
    assert_eq!(objections("os", "use crate::text;\nuse crate::stop::Stop;"), at(2, "stop"));
    assert_eq!(objections("account", "use crate::{\n    stop::Stop,\n    config,\n};"), at(1, "config"));
    assert_eq!(objections("ledger", "use crate::deliver::{Place, Receipt};"), []);
    assert_eq!(objections("ledger", "use crate::deliver::{Place, Stager};"), at(1, "deliver"));
    assert_eq!(objections("ledger", "use crate::deliver;"), at(1, "deliver"));
    assert_eq!(objections("plan", "use crate::ledger::Ledger; // not crate::net\n//! [`crate::fetch`]"), []);
    assert_eq!(objections("fetch", "use crate::{deliver, ledger, net, pop3, report};"), []);
    assert_eq!(objections("fetch", "use crate::cli::Cli;"), at(1, "cli"));
    assert_eq!(objections("cellar", "use crate::text;"), at(1, "text"));
    assert_eq!(objections("lib", "use crate::cli;"), []);
}

#[test]
fn an_import_cannot_hide_behind_super() {
    assert_eq!(depth(Path::new("plan.rs")), 1);
    assert_eq!(depth(Path::new("pop3/mod.rs")), 1);
    assert_eq!(depth(Path::new("pop3/reply.rs")), 2);
    let rooms = |source: &str, depth: usize| -> Vec<_> {
        imports(&without_climbing(source, depth)).into_iter().map(|import| import.room).collect()
    };
    assert_eq!(rooms("use super::net::Stream;", 1), ["net"]);
    assert_eq!(
        rooms("use super::super::net::Stream;\npub use super::super::{config, text};", 2),
        ["net", "config", "text"]
    );
    assert_eq!(rooms("use super::command::Verb;\nmod tests {\n    use super::super::*;\n}", 2), [""; 0]);
}
