//! TOML and JSON as one tree of values that know where they stand.
//!
//! Every key and value carries its offset in the text, so that whoever reads the tree can point at what is wrong
//! to the column, in both languages. What the keys mean is `settings`' business.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Fault, Problem};
use crate::text;

/// What stands behind a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Boolean(bool),
    Integer(i64),
    String(String),
    Array(Vec<Value>),
    Table(Table),
    /// What no key takes, by its name: a float, a date, null.
    Other(&'static str),
}

/// Keys and values in the order of the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table(Vec<Entry>);

/// One key, its value, and the offsets of both.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: usize,
    pub value: Value,
    pub value_at: usize,
}

impl Table {
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.iter().find(|entry| entry.key == key)
    }
}

impl Value {
    /// What it is, without saying more.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Boolean(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::String(_) => "that string",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }

    /// The value as it may be written, when that is short; never to be used for a secret.
    pub fn shown(&self) -> String {
        match self {
            Value::Boolean(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::String(value) => format!("\"{}\"", text::printable_within(value.as_bytes(), 60)),
            _ => self.kind().to_owned(),
        }
    }
}

/// Reads a TOML document.
pub(super) fn from_toml(text: &str) -> Result<Table, Fault> {
    let document = DeTable::parse(text).map_err(|error| toml_fault(text, &error))?;
    Ok(toml_table(document.get_ref()))
}

fn toml_fault(text: &str, error: &toml::de::Error) -> Fault {
    let span = error.span().unwrap_or(text.len()..text.len());
    let at = span.start;
    match text.get(span) {
        Some(key) if error.message() == "duplicate key" => Fault { at, problem: Problem::DuplicateKey(key.to_owned()) },
        _ => Fault { at, problem: Problem::Syntax(format!("not TOML: {}", error.message())) },
    }
}

fn toml_table(table: &DeTable<'_>) -> Table {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| toml_entry(key.get_ref(), key.span().start, value)).collect();
    // The map is sorted by name, but the order of the accounts is the order of the run.
    entries.sort_by_key(|entry| entry.key_at);
    Table(entries)
}

fn toml_entry(key: &str, key_at: usize, value: &Spanned<DeValue<'_>>) -> Entry {
    Entry { key: key.to_owned(), key_at, value: toml_value(value.get_ref()), value_at: value.span().start }
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
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(values) => Value::Array(values.iter().map(|value| toml_value(value.get_ref())).collect()),
        DeValue::Table(table) => Value::Table(toml_table(table)),
    }
}

/// Reads a JSON document, which must be an object.
pub(super) fn from_json(text: &str) -> Result<Table, Fault> {
    let json = Json { text };
    // The first pass finds every mistake of syntax and bounds the depth; the second one finds the places.
    serde_json::from_str::<serde_json::Value>(text).map_err(|error| json.fault(&error))?;
    let document = serde_json::from_str::<&RawValue>(text).map_err(|error| json.fault(&error))?;
    match json.value(document)? {
        Value::Table(table) => Ok(table),
        _ => Err(Fault { at: json.offset(document), problem: Problem::Syntax("not an object".to_owned()) }),
    }
}

/// A JSON text whose values are slices of it, which is how their places are known.
#[derive(Clone, Copy)]
struct Json<'t> {
    text: &'t str,
}

impl<'t> Json<'t> {
    fn value(self, raw: &'t RawValue) -> Result<Value, Fault> {
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

    fn array(self, raw: &'t RawValue) -> Result<Vec<Value>, Fault> {
        self.read::<Vec<&RawValue>>(raw)?.into_iter().map(|raw| self.value(raw)).collect()
    }

    fn table(self, raw: &'t RawValue) -> Result<Table, Fault> {
        let mut table = Table::default();
        for (key, value) in self.read::<Pairs<'t>>(raw)?.0 {
            let entry = Entry {
                key: self.read(key)?,
                key_at: self.offset(key),
                value: self.value(value)?,
                value_at: self.offset(value),
            };
            if table.get(&entry.key).is_some() {
                return Err(Fault { at: entry.key_at, problem: Problem::DuplicateKey(entry.key) });
            }
            table.0.push(entry);
        }
        Ok(table)
    }

    fn read<T: serde::Deserialize<'t>>(self, raw: &'t RawValue) -> Result<T, Fault> {
        serde_json::from_str(raw.get()).map_err(|error| Fault { at: self.offset(raw), ..self.fault(&error) })
    }

    /// Where a slice of the text begins in it.
    fn offset(self, raw: &RawValue) -> usize {
        raw.get().as_ptr() as usize - self.text.as_ptr() as usize
    }

    fn fault(self, error: &serde_json::Error) -> Fault {
        let line_start: usize =
            self.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        // The column counts octets up to and with the last one read; at the end of a line it may be zero.
        let at = line_start + error.column().saturating_sub(1);
        let whole = error.to_string();
        let message = whole.split(" at line ").next().unwrap_or_default();
        Fault { at, problem: Problem::Syntax(format!("not JSON: {message}")) }
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
            lines.push(format!("{} {}", start(entry.key_at), start(entry.value_at)));
            if let Value::Table(inner) = &entry.value {
                lines.extend(outline(text, inner));
            }
        }
        lines
    }

    #[test]
    fn toml_keys_and_values_know_their_places_and_their_order() {
        let text = "one = 1\n[z]\ntwo = \"x\"\n[a.b]\n'qu' = [true]\n";
        let table = from_toml(text).unwrap();
        assert_eq!(outline(text, &table), ["one 1\n[", "z]\n [z]", "two \"x\"", "a.b a.b", "b]\n [a.", "'qu [tr"]);
    }

    #[test]
    fn json_keys_and_values_know_their_places_and_their_order() {
        let text = "{ \"one\": 1,\n \"é\\u0041\" : { \"two\":\"x\" }, \"a\": [true, null] }";
        let table = from_json(text).unwrap();
        assert_eq!(outline(text, &table), ["\"on 1,\n", "\"é\\ { \"", "\"tw \"x\"", "\"a\" [tr"]);
        assert!(table.get("éA").is_some(), "an escaped key is unescaped");
    }

    #[test]
    fn both_languages_give_the_same_values() {
        let toml = from_toml("a = 1\nb = \"x\"\nc = [true, 0x10]\nd = 1.5").unwrap();
        let json = from_json(r#"{"a": 1, "b": "x", "c": [true, 16], "d": 1.5}"#).unwrap();
        let values = |table: &Table| table.iter().map(|entry| entry.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&toml)[..3], values(&json)[..3]);
        assert_eq!((values(&toml)[3].kind(), values(&json)[3].kind()), ("a float", "a number of that kind"));
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error_at_the_second() {
        let duplicate = |at| Fault { at, problem: Problem::DuplicateKey("a".to_owned()) };
        assert_eq!(from_toml("a = 1\na = 2\n"), Err(duplicate(6)));
        let Err(fault) = from_json("{\"a\": 1, \"a\": 2}") else { panic!("accepted") };
        assert_eq!(fault, duplicate(9));
    }

    #[test]
    fn mistakes_of_syntax_have_a_place_and_one_line() {
        let toml = from_toml("[accounts\nx = 1").unwrap_err();
        assert_eq!((toml.at, toml.problem.to_string()), (9, "not TOML: unclosed table, expected `]`".to_owned()));
        let json = from_json("{\n \"a\": nil\n}").unwrap_err();
        assert_eq!((json.at, json.problem.to_string()), (9, "not JSON: expected ident".to_owned()));
        assert!(from_json("[]").is_err());
        assert!(from_json(&"[".repeat(100_000)).is_err(), "a deep document is refused, not recursed into");
        assert!(from_json("{\"a\": \u{e9}").is_err());
        assert!(from_json("").is_err());
    }

    #[test]
    fn a_secret_in_broken_syntax_is_not_repeated() {
        for text in
            ["password = canary", "password = \"can\\qary\"", "password = 'canary", "password = \"canary\" canary"]
        {
            let problem = from_toml(text).unwrap_err().problem;
            assert!(!problem.to_string().contains("canary"), "{problem}");
        }
        for text in [
            "{\"password\": canary}",
            "{\"password\": \"canary\\q\"}",
            "{\"password\": \"canary",
            "{\"password\": \"can\u{1}ary\"}",
        ] {
            let problem = from_json(text).unwrap_err().problem;
            assert!(!problem.to_string().contains("canary"), "{problem}");
        }
    }
}
