//! Examples in the documents: fenced blocks of Markdown and displays of mdoc(7), with the commands in them.
//!
//! What is in a display stands in the comment above it, as it stands behind the fence in Markdown.

use std::ffi::OsString;
use std::path::Path;

/// An example.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// `toml`, `sh`, …; empty where the document does not say.
    pub kind: String,
    pub text: String,
}

/// The fenced blocks of a Markdown document.
pub fn of_markdown(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.trim_start().strip_prefix("```") else { continue };
        let text = lines.by_ref().take_while(|line| line.trim() != "```").map(|line| format!("{line}\n")).collect();
        blocks.push(Block { kind: kind.to_owned(), text });
    }
    blocks
}

/// The displays of a manual page.
pub fn of_mdoc(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut above = "";
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with(".Bd") {
            let kind = above.strip_prefix(".\\\" ").unwrap_or_default().to_owned();
            let text = lines.by_ref().take_while(|line| *line != ".Ed").map(|line| unescaped(line) + "\n").collect();
            blocks.push(Block { kind, text });
        }
        above = line;
    }
    blocks
}

/// A line of a display as it is shown: the escapes are those of mandoc_char(7) that copying and pasting needs.
pub fn unescaped(line: &str) -> String {
    let escapes = [("\\(ti", "~"), ("\\(aq", "'"), ("\\(dq", "\""), ("\\-", "-"), ("\\&", ""), ("\\e", "\\")];
    escapes.iter().fold(line.to_owned(), |line, (escape, character)| line.replace(escape, character))
}

/// The command lines that call popfetch, as words, without what a shell does around them.
pub fn commands(block: &Block) -> Vec<Vec<OsString>> {
    let text = block.text.replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| command_of(&block.kind, line));
    lines.filter_map(|line| words(&line)).filter(|words| is_popfetch(words)).collect()
}

fn command_of(kind: &str, line: &str) -> Option<String> {
    match kind {
        "sh" => Some(line.trim_start().trim_start_matches("$ ").replace("cargo run --release -- ", "popfetch ")),
        "crontab" => Some(line.split_whitespace().skip(5).collect::<Vec<_>>().join(" ")),
        "ini" => line.strip_prefix("ExecStart=").map(str::to_owned),
        _ => None,
    }
}

/// `None` for what is no command in one line, such as the middle of a quoted text.
fn words(line: &str) -> Option<Vec<OsString>> {
    let is_shell = |word: &String| word == "|" || word == "&&" || word.starts_with(['<', '>', '#']);
    let words = shell_words::split(line).ok()?.into_iter();
    Some(words.take_while(|word| !is_shell(word)).map(OsString::from).collect())
}

fn is_popfetch(words: &[OsString]) -> bool {
    words.first().is_some_and(|program| Path::new(program).file_name().is_some_and(|name| name == "popfetch"))
}
