//! Claims of the manual: each one names the test that tries to make it false.
//!
//! Claims are the paragraphs and the list items of the sections below. Comments of the mdoc source carry the names,
//! right above the claim or inside it: `.\" test: state::a_planted_link_is_never_written_through` for a test below
//! `tests/`, `.\" test: lib text::tests::octets_are_shown_in_binary_units` for a unit test. A claim that no test can
//! try is a limit, and its comment says why: `.\" limit: a disk that lies is not to be had`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{NONE, page, path, section};

const SECTIONS: [&str; 2] = ["EXACTLY ONCE", "SECURITY CONSIDERATIONS"];

/// A paragraph or an item, with its comments.
#[derive(Debug, Default, PartialEq)]
struct Claim<'p> {
    text: Vec<&'p str>,
    comments: Vec<&'p str>,
}

impl<'p> Claim<'p> {
    /// What stands behind such a word in the comments.
    fn named(&self, word: &str) -> Vec<&'p str> {
        self.comments.iter().filter_map(|comment| comment.strip_prefix(word)).map(str::trim).collect()
    }
}

fn claims(section: &str) -> Vec<Claim<'_>> {
    let mut claims = vec![Claim::default()];
    let mut above = Vec::new();
    for line in section.lines() {
        if let Some(comment) = line.strip_prefix(".\\\" ") {
            above.push(comment);
            continue;
        }
        let begins = [".It", ".Pp", ".Bl", ".El", ".Ss"].iter().any(|request| line.starts_with(request));
        if begins {
            claims.push(Claim::default());
        }
        let claim = claims.last_mut().expect("there is one from the beginning");
        claim.comments.append(&mut above);
        if !begins || line.starts_with(".It ") {
            claim.text.push(line);
        }
    }
    claims.retain(|claim| *claim != Claim::default());
    claims
}

/// Folder and module path of a test: those of the library stand in `src`.
fn place(test: &str) -> (&'static str, &str) {
    test.strip_prefix("lib ").map_or(("tests", test), |unit| ("src", unit))
}

/// The file of a module; inline modules, such as `tests`, are in that of their parent.
fn file_of(folder: &Path, modules: &[&str]) -> Option<PathBuf> {
    let (last, parents) = modules.split_last()?;
    let within = parents.iter().fold(folder.to_owned(), |within, module| within.join(module));
    let files = [within.join(format!("{last}.rs")), within.join(last).join("mod.rs")];
    files.into_iter().find(|file| file.is_file()).or_else(|| file_of(folder, parents))
}

fn exists(test: &str) -> bool {
    let (folder, test) = place(test);
    let modules: Vec<_> = test.split("::").collect();
    let Some((name, modules)) = modules.split_last() else { return false };
    file_of(&path(folder), modules).is_some_and(|file| has_test(&fs::read_to_string(file).unwrap(), name))
}

/// True for a function with `#[test]`, and for a name that begins a line of what a macro makes tests of.
fn has_test(source: &str, name: &str) -> bool {
    let mut is_test = false;
    source.lines().map(str::trim_start).any(|line| {
        if line.starts_with("#[") {
            is_test |= line == "#[test]";
            return false;
        }
        let function = line.strip_prefix("fn ").filter(|_| std::mem::take(&mut is_test));
        let made = Some(line).filter(|_| source.contains("macro_rules!"));
        let follows = |line: &str| line.strip_prefix(name).and_then(|rest| rest.chars().next());
        function.and_then(follows) == Some('(') || made.and_then(follows) == Some(':')
    })
}

fn wrong_claims(page: &str) -> Vec<String> {
    let claims = SECTIONS.iter().flat_map(|name| claims(section(page, name)));
    claims.flat_map(|claim| wrong_claim(&claim)).collect()
}

fn wrong_claim(claim: &Claim<'_>) -> Vec<String> {
    let (tests, limits) = (claim.named("test:"), claim.named("limit:"));
    let text = claim.text.join(" ");
    if text.is_empty() {
        return vec![format!("these comments belong to no claim: {:?}", claim.comments)];
    }
    if tests.is_empty() && limits.iter().all(|why| why.is_empty()) {
        return vec![format!("no test is named for: {text}")];
    }
    tests.iter().filter(|test| !exists(test)).map(|test| format!("there is no test `{test}`, for: {text}")).collect()
}

#[test]
fn every_claim_names_a_test_that_exists() {
    assert_eq!(wrong_claims(&page()), NONE);
}

#[test]
fn a_claim_without_a_test_is_found() {
    let complaints = |claims: &str| {
        wrong_claims(&format!(".Sh EXACTLY ONCE\n{claims}.Sh SECURITY CONSIDERATIONS\n.\\\" limit: none\nSafe.\n"))
    };
    let good = ".\\\" test: crash::an_mbox_survives_a_kill_before_every_call\n.It\nA.\n.El\n.Pp\n\
                .\\\" test: lib text::tests::octets_are_shown_in_binary_units\nB,\n.Pa b .\n";
    assert_eq!(complaints(good), NONE);
    assert_eq!(complaints("One.\n.Pp\nTwo.\n"), ["no test is named for: One.", "no test is named for: Two."]);
    assert_eq!(complaints(".Bl\n.It\nOne.\n.It\n.\\\" limit:\nTwo.\n.El\n").len(), 2);
    assert_eq!(complaints(".\\\" test: docs::no_such\nOne.\n"), ["there is no test `docs::no_such`, for: One."]);
    assert_eq!(complaints(".\\\" test: lib text::tests::printable\nOne.\n").len(), 1);
    let (_, dangling) = good.split_once('\n').unwrap();
    assert_eq!(complaints(dangling), ["no test is named for: A."]);
    assert_eq!(complaints(".\\\" limit: x\n.El\n"), ["these comments belong to no claim: [\"limit: x\"]"]);
}

#[test]
fn tests_are_found_where_they_are() {
    for test in [
        "docs::claims::tests_are_found_where_they_are",
        "resume::a_maildir_survives_a_hang_up_after_every_line",
        "random::a_session_of_odd_replies_ends",
        "sandbox::tests::the_canary_is_noticed",
        "lib net::tests::encrypted::old_versions_are_refused",
        "lib net::tls::tests_of_both::both_libraries_trust_the_same",
        "lib failure::tests::the_first_failure_that_waiting_does_not_mend_decides",
    ] {
        assert!(exists(test), "{test}");
    }
    // A helper, a test of another module, a part of a name, a name in a comment, and none at all.
    for none in ["docs::claims::has_test", "crash::a_stop_ends_the_wait", "docs::every_option", "no::such", ""] {
        assert!(!exists(none), "{none}");
    }
}
