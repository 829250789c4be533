//! TOML and JSON as one tree of values that know where they stand.
//!
//! Every key and value carries its offset in the text, so that whoever reads the tree can point at what is wrong
//! to the column, in both languages. What the keys mean is `settings`' business.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::error::{Fault, Piece, Problem, Showing};
use crate::text;

/// What stands behind a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Boolean(bool),
    Integer(i64),
    String(String),
    Array(Vec<Item>),
    Table(Table),
    /// The text behind an option, of which only the key knows whether it is a number.
    Word(OsString),
    /// A text without the quotes that it needs.
    Bare(String),
    /// A value that the language does not allow; this has been reported.
    Broken,
    /// What no key takes, by its name: a float, null.
    Other(&'static str),
}

/// An element of an array, and where in the text it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub value: Value,
    pub at: Range<usize>,
}

/// Keys and values in the order of the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table(Vec<Entry>);

/// One key, its value, and where in the text both are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Range<usize>,
    pub value: Value,
    pub value_at: Range<usize>,
}

/// What a text says, as far as it can be read, and what is wrong with its syntax.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub table: Table,
    pub faults: Vec<Fault>,
    /// False when lines are lost: what seems to be missing may have been written.
    pub is_whole: bool,
}

impl Table {
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.iter().find(|entry| entry.key == key)
    }

    pub fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    /// The last entry that begins before this offset, in whatever table.
    fn last_before(&mut self, at: usize) -> Option<&mut Entry> {
        let start = self.last_start(at)?;
        self.starting_at(start)
    }

    fn last_start(&self, at: usize) -> Option<usize> {
        let starts = self.iter().flat_map(|entry| {
            let inner = if let Value::Table(table) = &entry.value { table.last_start(at) } else { None };
            [Some(entry.key_at.start).filter(|start| *start <= at), inner]
        });
        starts.flatten().max()
    }

    fn starting_at(&mut self, start: usize) -> Option<&mut Entry> {
        self.0.iter_mut().find_map(|entry| match entry {
            entry if entry.key_at.start == start => Some(entry),
            Entry { value: Value::Table(table), .. } => table.starting_at(start),
            _ => None,
        })
    }
}

impl Table {
    /// Where the last key of this name before this offset begins.
    fn last_before_named(&self, at: usize, name: &str) -> Option<usize> {
        let starts = self.iter().flat_map(|entry| {
            let inner = if let Value::Table(table) = &entry.value { table.last_before_named(at, name) } else { None };
            [Some(entry.key_at.start).filter(|start| *start < at && entry.key == name), inner]
        });
        starts.flatten().max()
    }
}

impl FromIterator<Entry> for Table {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Table(entries.into_iter().collect())
    }
}

impl From<Entry> for Table {
    fn from(entry: Entry) -> Self {
        Table(vec![entry])
    }
}

impl Entry {
    /// What an option says.
    pub fn of_option(key: &str, value: Value) -> Self {
        Entry { key: key.to_owned(), key_at: 0..0, value, value_at: 0..0 }
    }

    /// Something is wrong with the key. An excerpt shows its value, too, when that is public.
    pub fn at_key(&self, problem: Problem, is_public: bool) -> Fault {
        Fault { at: self.key_at.clone(), problem, piece: Some(self.piece(is_public)) }
    }

    /// Something is wrong with the value.
    pub fn at_value(&self, problem: Problem, is_public: bool) -> Fault {
        Fault { at: self.value_at.clone(), problem, piece: Some(self.piece(is_public)) }
    }

    /// True when this offset is in the value, or behind it on the line of the key; a table has lines of its own.
    fn holds(&self, text: &str, at: usize) -> bool {
        let is_on_line = !text[self.key_at.start..at].contains('\n');
        let is_inside = self.value_at.start <= at && at <= self.value_at.end;
        (is_on_line || is_inside) && !matches!(self.value, Value::Table(_))
    }

    fn piece(&self, is_public: bool) -> Piece {
        let value = match &self.value {
            Value::Table(_) | Value::Array(_) => Showing::Outline,
            value if is_public && !value.may_hold_login() => Showing::Text,
            _ => Showing::Asterisks,
        };
        Piece { key_at: self.key_at.clone(), value_at: self.value_at.clone(), value }
    }
}

impl Item {
    /// The element as the value of its array's key, which an excerpt does not show.
    pub fn entry(&self, key: &str) -> Entry {
        Entry {
            key: key.to_owned(),
            key_at: self.at.start..self.at.start,
            value: self.value.clone(),
            value_at: self.at.clone(),
        }
    }
}

impl Value {
    /// What it is, without saying more.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Boolean(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::String(_) | Value::Word(_) => "that string",
            Value::Bare(_) => "text without quotes",
            Value::Array(values) if values.is_empty() => "an empty array",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Broken => "that",
            Value::Other(kind) => kind,
        }
    }

    /// The value as it may be written, when that is short; never to be used for a secret.
    pub fn shown(&self) -> String {
        let short = |text: &str| text::printable_within(text.as_bytes(), 60);
        match self {
            value if value.may_hold_login() => self.kind().to_owned(),
            Value::Boolean(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::String(value) => format!("\"{}\"", short(value)),
            Value::Bare(value) => format!("`{}`", short(value)),
            _ => self.kind().to_owned(),
        }
    }

    /// The text, or the empty one, which every form refuses in its own words.
    pub fn text(&self) -> &str {
        match self {
            Value::String(text) | Value::Bare(text) => text,
            Value::Word(text) => text.to_str().unwrap_or_default(),
            _ => "",
        }
    }

    /// [`Value::text`] for paths, which need not be UTF-8 in an option.
    pub fn os_text(&self) -> &OsStr {
        match self {
            Value::Word(text) => text,
            value => value.text().as_ref(),
        }
    }

    /// True for a text that looks as if it had a password in it.
    pub fn may_hold_login(&self) -> bool {
        let text = self.text();
        let target = ["maildir:", "mbox:", "mda:"].iter().find_map(|kind| text.strip_prefix(kind));
        let rest = text.split_once("://").map(|(_, rest)| rest).or(target).unwrap_or(text);
        // The query of a web address may be a secret.
        let is_query = text.starts_with("http") && text.contains('?');
        is_query || rest.rfind('@').is_some_and(|end| rest[..end].contains(':'))
    }
}

/// Reads a TOML document.
///
/// A line that is none ends what the parser reads. So it is reported and taken out, and the rest is read again: once
/// for each such line, and not more often than anybody wants to read about.
pub(super) fn from_toml(text: &str) -> Parsed {
    let mut readable: Option<Zeroizing<String>> = None;
    let mut lost = Vec::new();
    loop {
        let (document, mut errors) = DeTable::parse_recoverable(readable.as_deref().map_or(text, String::as_str));
        errors.sort_by_key(|error| span(text, error).start);
        errors.truncate(LOOKED_AT);
        let mut table = toml_table(document.get_ref());
        let is_lost = |error: &&toml::de::Error| {
            let at = span(text, error).start;
            error.message() != DUPLICATE && !table.last_before(at).is_some_and(|owner| owner.holds(text, at))
        };
        match errors.iter().find(is_lost) {
            Some(_) if lost.is_empty() && foreign(text).is_some() => {
                let faults = foreign(text).into_iter().collect();
                return Parsed { table: Table::default(), faults, is_whole: false };
            }
            Some(error) if lost.len() < LOST => {
                let fault = lost_line(text, span(text, error), error.message());
                let rest = blank(readable.as_deref().map_or(text, String::as_str), fault.at.start, lost.len());
                readable = Some(rest);
                lost.push(fault);
            }
            _ => return Parsed::new(text, table, lost, errors),
        }
    }
}

/// The most lines that are taken out.
const LOST: usize = 20;

/// The most mistakes of syntax that are looked at, since their entries are searched for one by one.
const LOOKED_AT: usize = 200;

/// The parser's words for a key that stands twice.
const DUPLICATE: &str = "duplicate key";

fn lost_line(text: &str, at: Range<usize>, message: &str) -> Fault {
    let line = &text[line_start(text, at.start)..];
    let key = line.split(['=', '"', '\'', '\n']).next().unwrap_or_default();
    let message = if key.contains(':') { "write `=` in place of `:`" } else { message };
    Fault::lost(at, Problem::Syntax(format!("not TOML: {message}")))
}

/// A configuration of another program, by the first line that only it would have.
fn foreign(text: &str) -> Option<Fault> {
    let mut at = 0;
    text.split_inclusive('\n').find_map(|line| {
        let start = at + line.len() - line.trim_start().len();
        at += line.len();
        let words: Vec<_> = line.split_whitespace().take(3).collect();
        let program = match words[..] {
            [_, "=", ..] => return None,
            ["poll" | "skip", _, ..] | ["set", "daemon" | "postmaster" | "logfile" | "syslog" | "no", ..] => {
                "fetchmail"
            }
            ["account", name, "pop3" | "pop3s" | "disabled" | "user"] if name.starts_with(['"', '\'']) => "fdm",
            ["defaults"] | ["account", _] | ["account", _, ":"] => "mpop",
            ["[retriever]"] => "getmail",
            _ => return None,
        };
        Some(Fault::lost(start..start + words[0].len(), Problem::Foreign(program)))
    })
}

/// The text without the line. What follows a header stays below a header.
fn blank(text: &str, at: usize, number: usize) -> Zeroizing<String> {
    let start = line_start(text, at);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let is_header = text[start..end].starts_with('[') && end - start >= 3;
    let letter = (b'a' + number as u8) as char;
    let filler =
        if is_header { format!("[{letter:_<width$}]", width = end - start - 2) } else { " ".repeat(end - start) };
    Zeroizing::new([&text[..start], &filler, &text[end..]].concat())
}

fn span(text: &str, error: &toml::de::Error) -> Range<usize> {
    error.span().unwrap_or(text.len()..text.len())
}

/// The beginning of the line that this offset is in.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().rposition(|octet| *octet == b'\n').map_or(0, |newline| newline + 1)
}

/// The beginning of the last line before this offset that looks like `[a.table]`.
fn table_start(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    let before = &text[..end];
    if before.starts_with('[') && !before.contains("\n[") { 0 } else { before.rfind("\n[").map_or(0, |at| at + 1) }
}

fn is_line_over(text: &str, at: usize) -> bool {
    text[at..].lines().next().is_none_or(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with('#'))
}

/// The number of the line that this offset is in, from 1.
pub(super) fn line_number(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|octet| **octet == b'\n').count() + 1
}

impl Parsed {
    /// With what is wrong in the lines that could be read.
    fn new(text: &str, table: Table, lost: Vec<Fault>, errors: Vec<toml::de::Error>) -> Self {
        let mut parsed = Parsed { table, is_whole: lost.is_empty(), faults: lost };
        // What follows on a line, or in a table that stands twice, follows from the first mistake.
        let (mut line, mut table) = (None, None);
        for error in errors {
            let at = span(text, &error);
            let is_duplicate = error.message() == DUPLICATE;
            let of_line = Some(line_start(text, at.start));
            let of_table = Some(table_start(text, at.start));
            if line == of_line || (is_duplicate && table == of_table) {
                continue;
            }
            if is_duplicate && of_line == of_table {
                table = of_table;
            }
            line = of_line;
            if is_duplicate { parsed.report_duplicate(text, at) } else { parsed.report(text, at, error.message()) }
        }
        parsed
    }

    fn report(&mut self, text: &str, at: Range<usize>, message: &str) {
        let Some(owner) = self.table.last_before(at.start).filter(|owner| owner.holds(text, at.start)) else {
            return self.faults.push(lost_line(text, at, message));
        };
        let written = text.get(owner.value_at.clone()).unwrap_or_default();
        self.is_whole &= !written.contains('\n');
        if !written.is_empty() && !written.starts_with(['"', '\'', '[', '{']) {
            owner.value = Value::Bare(written.trim_matches(['“', '”', '„', '‘', '’', '«', '»']).to_owned());
            return;
        }
        let problem = match message {
            _ if is_line_over(text, at.start) && written.is_empty() => {
                format!("`{}` has no value", text::printable_within(owner.key.as_bytes(), 60))
            }
            message if message.starts_with("string values must be quoted") => "put this in quotes".to_owned(),
            message => format!("not TOML: {message}"),
        };
        self.faults.push(Fault { at, ..owner.at_key(Problem::Syntax(problem), false) });
        owner.value = Value::Broken;
    }

    fn report_duplicate(&mut self, text: &str, at: Range<usize>) {
        let key = text.get(at.clone()).unwrap_or_default().to_owned();
        let first = self.table.last_before_named(at.start, &key).map(|start| line_number(text, start));
        let piece = Piece { key_at: at.clone(), value_at: at.end..at.end, value: Showing::Nothing };
        self.faults.push(Fault { at, problem: Problem::DuplicateKey { key, first }, piece: Some(piece) });
    }
}

fn toml_table(table: &DeTable<'_>) -> Table {
    let mut entries: Vec<_> = table.iter().map(|(key, value)| toml_entry(key.get_ref(), key.span(), value)).collect();
    // The map is sorted by name, but the order of the accounts is the order of the run.
    entries.sort_by_key(|entry| entry.key_at.start);
    Table(entries)
}

fn toml_entry(key: &str, key_at: Range<usize>, value: &Spanned<DeValue<'_>>) -> Entry {
    Entry { key: key.to_owned(), key_at, value: toml_value(value.get_ref()), value_at: value.span() }
}

fn toml_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(value) => Value::String(value.to_string()),
        DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
            Ok(value) => Value::Integer(value),
            Err(_) => Value::Other("a number of that size"),
        },
        DeValue::Float(_) => Value::Other("a float"),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(date) => Value::Bare(date.to_string()),
        DeValue::Array(values) => Value::Array(
            values.iter().map(|value| Item { value: toml_value(value.get_ref()), at: value.span() }).collect(),
        ),
        DeValue::Table(table) => Value::Table(toml_table(table)),
    }
}

/// Reads a JSON document, which must be an object.
pub(super) fn from_json(text: &str) -> Parsed {
    let mut json = Json { text, faults: Vec::new() };
    match json.document() {
        Ok(table) => Parsed { table, faults: json.faults, is_whole: true },
        Err(fault) => Parsed { table: Table::default(), faults: vec![*fault], is_whole: false },
    }
}

/// A JSON text whose values are slices of it, which is how their places are known.
struct Json<'t> {
    text: &'t str,
    faults: Vec<Fault>,
}

impl<'t> Json<'t> {
    fn document(&mut self) -> Result<Table, Box<Fault>> {
        // The first pass finds a mistake of syntax and bounds the depth; the second one finds the places.
        serde_json::from_str::<serde_json::Value>(self.text).map_err(|error| self.fault(&error))?;
        let document = serde_json::from_str::<&RawValue>(self.text).map_err(|error| self.fault(&error))?;
        match self.value(document)? {
            Value::Table(table) => Ok(table),
            _ => Err(Box::new(Fault::lost(self.span(document), Problem::Syntax("not an object".to_owned())))),
        }
    }

    fn value(&mut self, raw: &'t RawValue) -> Result<Value, Box<Fault>> {
        match raw.get().as_bytes() {
            [b'{', ..] => self.table(raw).map(Value::Table),
            [b'[', ..] => self.array(raw).map(Value::Array),
            [b'"', ..] => self.read(raw).map(Value::String),
            [b't', ..] => Ok(Value::Boolean(true)),
            [b'f', ..] => Ok(Value::Boolean(false)),
            [b'n', ..] => Ok(Value::Other("null")),
            _ => Ok(raw.get().parse().map_or(Value::Other("a number of that kind"), Value::Integer)),
        }
    }

    fn array(&mut self, raw: &'t RawValue) -> Result<Vec<Item>, Box<Fault>> {
        let raw = self.read::<Vec<&RawValue>>(raw)?;
        raw.into_iter().map(|raw| Ok(Item { at: self.span(raw), value: self.value(raw)? })).collect()
    }

    fn table(&mut self, raw: &'t RawValue) -> Result<Table, Box<Fault>> {
        let mut table = Table::default();
        let mut starts = HashMap::new();
        for (key, value) in self.read::<Pairs<'t>>(raw)?.0 {
            let entry = Entry {
                key: self.read(key)?,
                key_at: self.span(key),
                value: self.value(value)?,
                value_at: self.span(value),
            };
            if let Some(first) = starts.insert(entry.key.clone(), entry.key_at.start) {
                let first = Some(line_number(self.text, first));
                self.faults.push(entry.at_key(Problem::DuplicateKey { key: entry.key.clone(), first }, false));
            } else {
                table.push(entry);
            }
        }
        Ok(table)
    }

    fn read<T: serde::Deserialize<'t>>(&self, raw: &'t RawValue) -> Result<T, Box<Fault>> {
        serde_json::from_str(raw.get()).map_err(|error| Box::new(Fault { at: self.span(raw), ..*self.fault(&error) }))
    }

    /// Where a slice of the text is in it.
    fn span(&self, raw: &RawValue) -> Range<usize> {
        let start = raw.get().as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + raw.get().len()
    }

    fn fault(&self, error: &serde_json::Error) -> Box<Fault> {
        let line_start: usize =
            self.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        // The column counts octets up to and with the last one read; at the end of a line it may be zero.
        let at = line_start + error.column().saturating_sub(1);
        let whole = error.to_string();
        let message = whole.split(" at line ").next().unwrap_or_default();
        Box::new(Fault::lost(at..at, Problem::Syntax(format!("not JSON: {message}"))))
    }
}

/// The members of an object as they are written: in order, and with repetitions.
struct Pairs<'t>(Vec<(&'t RawValue, &'t RawValue)>);

impl<'de> serde::Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as lines: the text that each key and value begins with.
    fn outline(text: &str, table: &Table) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in table.iter() {
            let start = |at: usize| text[at..].chars().take(3).collect::<String>();
            lines.push(format!("{} {}", start(entry.key_at.start), start(entry.value_at.start)));
            if let Value::Table(inner) = &entry.value {
                lines.extend(outline(text, inner));
            }
        }
        lines
    }

    #[test]
    fn toml_keys_and_values_know_their_places_and_their_order() {
        let text = "one = 1\n[z]\ntwo = \"x\"\n[a.b]\n'qu' = [true]\n";
        let table = from_toml(text).table;
        assert_eq!(outline(text, &table), ["one 1\n[", "z]\n [z]", "two \"x\"", "a.b a.b", "b]\n [a.", "'qu [tr"]);
    }

    #[test]
    fn json_keys_and_values_know_their_places_and_their_order() {
        let text = "{ \"one\": 1,\n \"é\\u0041\" : { \"two\":\"x\" }, \"a\": [true, null] }";
        let table = from_json(text).table;
        assert_eq!(outline(text, &table), ["\"on 1,\n", "\"é\\ { \"", "\"tw \"x\"", "\"a\" [tr"]);
        assert!(table.get("éA").is_some(), "an escaped key is unescaped");
    }

    #[test]
    fn both_languages_give_the_same_values() {
        let toml_text = "a = 1\nb = \"x\"\nc = [true, 0x10]\nd = 1.5";
        let json_text = r#"{"a": 1, "b": "x", "c": [true, 16], "d": 1.5}"#;
        let (toml, json) = (from_toml(toml_text).table, from_json(json_text).table);
        let values = |table: &Table| table.iter().map(|entry| entry.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&toml)[..2], values(&json)[..2]);
        let items = |table: &Table, text: &str| -> Vec<_> {
            match &values(table)[2] {
                Value::Array(items) => {
                    items.iter().map(|item| (item.value.clone(), text[item.at.clone()].len())).collect()
                }
                other => panic!("{other:?}"),
            }
        };
        let expected = vec![(Value::Boolean(true), 4), (Value::Integer(16), 4)];
        assert_eq!(items(&toml, toml_text), expected);
        assert_eq!(items(&json, json_text), [(Value::Boolean(true), 4), (Value::Integer(16), 2)]);
        assert_eq!((values(&toml)[3].kind(), values(&json)[3].kind()), ("a float", "a number of that kind"));
    }

    /// Places and words of what is wrong.
    fn told(parsed: &Parsed) -> Vec<(usize, String)> {
        parsed.faults.iter().map(|fault| (fault.at.start, fault.problem.to_string())).collect()
    }

    fn wrong<const N: usize>(faults: [(usize, &str); N]) -> Vec<(usize, String)> {
        faults.into_iter().map(|(at, words)| (at, words.to_owned())).collect()
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error_at_the_second() {
        let twice = "key `a` stands twice; first in line 1";
        assert_eq!(told(&from_toml("a = 1\na = 2\n")), wrong([(6, twice)]));
        assert_eq!(told(&from_json("{\"a\": 1, \"a\": 2}")), wrong([(9, twice)]));
        // The keys of a table that stands twice are no mistakes of their own.
        let toml = from_toml("[t]\nx = 1\ny = 2\n[t]\nx = 1\ny = 2\n[u]\nz = 1\nz = 2\n");
        let expected = [(17, "key `t` stands twice"), (42, "key `z` stands twice; first in line 8")];
        assert_eq!(told(&toml), wrong(expected));
    }

    #[test]
    fn mistakes_of_syntax_have_a_place_and_one_line() {
        let toml = from_toml("[accounts\nx = 1");
        assert_eq!(told(&toml), wrong([(9, "not TOML: unclosed table, expected `]`")]));
        let json = from_json("{\n \"a\": nil\n}");
        assert_eq!(told(&json), wrong([(9, "not JSON: expected ident")]));
        for text in ["[]", &"[".repeat(100_000), "{\"a\": \u{e9}", ""] {
            assert_eq!(from_json(text).faults.len(), 1, "a deep document is refused, not recursed into");
        }
    }

    #[test]
    fn every_line_that_is_no_toml_is_reported_once_and_the_others_are_read() {
        let parsed = from_toml("a = 1\nb 2\nc: 3\nd = \ne = = 5\nf = \"x\" y\ng = 7\n");
        let expected = [
            (8, "not TOML: key with no value, expected `=`"),
            (11, "not TOML: write `=` in place of `:`"),
            (19, "`d` has no value"),
            (24, "not TOML: extra `=`, expected nothing"),
            (36, "not TOML: unexpected key or value, expected newline, `#`"),
        ];
        assert_eq!(told(&parsed), wrong(expected));
        assert_eq!(parsed.table.get("g").unwrap().value, Value::Integer(7));
        assert!(!parsed.is_whole);
    }

    #[test]
    fn text_without_quotes_is_kept_as_such() {
        let parsed = from_toml(
            "a = 127.0.0.1\nb = petar # me\nc = maildir:~/x y\nd = none\ne = True\nf = 2026-13-01\ng = 0x\n\
             h = { i = x, j = 1 }\nk = “quoted”\n",
        );
        let bare = |text: &str| Value::Bare(text.to_owned());
        let value = |key: &str| parsed.table.get(key).unwrap().value.clone();
        for (key, text) in [
            ("a", "127.0.0.1"),
            ("b", "petar"),
            ("c", "maildir:~/x y"),
            ("d", "none"),
            ("e", "True"),
            ("f", "2026-13-01"),
            ("k", "quoted"),
        ] {
            assert_eq!(value(key), bare(text), "{key}");
        }
        let Value::Table(inner) = value("h") else { panic!("{:?}", value("h")) };
        assert_eq!(
            (inner.get("i").unwrap().value.clone(), inner.get("j").unwrap().value.clone()),
            (bare("x"), Value::Integer(1))
        );
        assert_eq!(parsed.faults, []);
        assert!(parsed.is_whole);
    }

    #[test]
    fn a_secret_in_broken_syntax_is_not_repeated() {
        for text in
            ["password = canary", "password = \"can\\qary\"", "password = 'canary", "password = \"canary\" canary"]
        {
            assert!(!format!("{:?}", told(&from_toml(text))).contains("canary"), "{text}");
        }
        for text in [
            "{\"password\": canary}",
            "{\"password\": \"canary\\q\"}",
            "{\"password\": \"canary",
            "{\"password\": \"can\u{1}ary\"}",
        ] {
            assert!(!format!("{:?}", told(&from_json(text))).contains("canary"), "{text}");
        }
    }
}
