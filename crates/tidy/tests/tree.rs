//! The checks, on this source tree as it is on the disk.
//!
//! Each test prints all that it found, so that one run tells everything there is to mend. What is tolerated is in
//! `exceptions.txt`, with its reason.

use std::sync::LazyLock;

use counterpart_tidy::{
    Finding, arrows,
    exceptions::Exceptions,
    heads, homes, licences, links, mentions, purity, reach, sizes,
    source::Source,
    tree::{self, Text},
    words,
};

/// The names by which `exceptions.txt` knows the checks.
const CHECKS: &[&str] = &[
    "arrows",
    "files",
    "functions",
    "heads",
    "homes",
    "licences",
    "links",
    "mentions",
    "purity",
    "reach",
    "words",
];

/// Texts that are ours to word. Licences and lock files are not; this crate has to name the words it looks for.
const WORDED: &[&str] =
    &["css", "html", "js", "md", "mjs", "py", "rs", "sh", "toml", "txt", "yml", "yaml"];
const NOT_WORDED: &[&str] = &["crates/tidy/", "tests/clients/requirements.txt"];

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(tree::sources);
static TEXTS: LazyLock<Vec<Text>> = LazyLock::new(tree::texts);

/// Fails with every problem of one check.
fn conclude(check: &str, findings: &[Finding]) {
    assert!(CHECKS.contains(&check), "`{check}` is not in the list of checks");
    let list = Exceptions::parse(include_str!("../exceptions.txt"), CHECKS)
        .unwrap_or_else(|error| panic!("{error}"));
    let problems = list.problems(check, findings);
    assert!(problems.is_empty(), "{} to mend:\n{}", problems.len(), problems.join("\n"));
}

fn of_sources<I: IntoIterator<Item = Finding>>(check: fn(&Source) -> I) -> Vec<Finding> {
    SOURCES.iter().flat_map(check).collect()
}

#[test]
fn every_rust_file_opens_with_a_head() {
    conclude("heads", &of_sources(heads::check));
}

#[test]
fn no_file_is_too_long() {
    conclude("files", &of_sources(sizes::check_file));
}

#[test]
fn no_function_is_too_long() {
    conclude("functions", &of_sources(sizes::check_functions));
}

#[test]
fn clocks_sleeping_and_durability_stay_at_home() {
    conclude("homes", &of_sources(homes::check));
}

#[test]
fn the_core_reaches_for_nothing_outside() {
    conclude("purity", &of_sources(purity::check));
}

#[test]
fn every_rust_file_is_compiled_into_something() {
    conclude("reach", &reach::check(&SOURCES, &tree::crate_roots(&tree::workspaces())));
}

#[test]
fn crates_import_only_what_the_design_allows() {
    let packages: Vec<_> = tree::workspaces().iter().flat_map(arrows::packages).collect();
    conclude("arrows", &arrows::check(&packages));
}

#[test]
fn every_package_has_a_permissive_licence() {
    conclude("licences", &licences::check(&tree::full_metadata()));
}

#[test]
fn there_is_one_word_for_each_thing() {
    let list = words::parse_list(include_str!("../words.txt")).unwrap_or_else(|e| panic!("{e}"));
    let worded = |text: &&Text| {
        let ending = text.path.rsplit_once('.').map_or("", |(_, ending)| ending);
        WORDED.contains(&ending) && !NOT_WORDED.iter().any(|skip| text.path.starts_with(skip))
    };
    let findings: Vec<Finding> =
        TEXTS.iter().filter(worded).flat_map(|text| words::check(text, &list)).collect();
    conclude("words", &findings);
}

#[test]
fn nothing_mentions_where_it_was_made() {
    conclude("mentions", &TEXTS.iter().flat_map(mentions::check).collect::<Vec<_>>());
}

#[test]
fn links_between_pages_lead_somewhere() {
    let pages: Vec<&Text> = TEXTS.iter().filter(|text| text.path.ends_with(".md")).collect();
    conclude("links", &links::check(&pages, &tree::paths_with_folders(&tree::files())));
}
