//! No dead file: each Rust file is a crate's root or is declared by a `mod` in a file that is reached.
//!
//! The compiler never looks at a file that nothing declares, so nobody would notice that it no longer compiles.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Finding, source::Source};

/// The files that no root reaches. `roots` and the sources' paths are relative to the same folder.
pub fn check(sources: &[Source], roots: &BTreeSet<String>) -> Vec<Finding> {
    let by_path: BTreeMap<&str, &Source> =
        sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut waiting: Vec<String> = roots.iter().cloned().collect();
    while let Some(path) = waiting.pop() {
        let Some(source) = by_path.get(path.as_str()) else { continue };
        if reached.insert(path.clone()) {
            let is_root = roots.contains(&path);
            waiting.extend(declared(source, is_root));
        }
    }
    let dead = sources.iter().filter(|source| !reached.contains(&source.path));
    let message = "no `mod` declares it, so it is never compiled; declare it or delete it";
    dead.map(|source| Finding::new(&source.path, message)).collect()
}

/// Every path at which a module declared in this file may be, and what it includes.
fn declared(source: &Source, is_root: bool) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = file.trim_end_matches(".rs");
    // The root of a crate and `mod.rs` declare their neighbours, other files the folder of their own name.
    let own_folder =
        if is_root || stem == "mod" { folder.to_owned() } else { format!("{folder}/{stem}") };
    let mut paths = Vec::new();
    for module in &source.modules {
        let around = module.inside.iter().map(|name| format!("/{name}")).collect::<String>();
        match &module.path {
            Some(path) if module.inside.is_empty() => paths.push(format!("{folder}/{path}")),
            Some(path) => paths.push(format!("{own_folder}{around}/{path}")),
            None => {
                paths.push(format!("{own_folder}{around}/{}.rs", module.name));
                paths.push(format!("{own_folder}{around}/{}/mod.rs", module.name));
            }
        }
    }
    for window in source.tokens.windows(4) {
        if window[0].text == "include" && window[1].text == "!" {
            paths.push(format!("{folder}/{}", window[3].text.trim_matches('"')));
        }
    }
    paths.iter().map(|path| plain(path)).collect()
}

/// The path without `.` and `..`.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(files: &[(&str, &str)], root: &str) -> Vec<String> {
        let parse = |(path, text): &(&str, &str)| Source::parse(*path, *text).expect("Rust");
        let sources: Vec<Source> = files.iter().map(parse).collect();
        let roots = BTreeSet::from([root.to_owned()]);
        check(&sources, &roots).into_iter().map(|finding| finding.subject).collect()
    }

    #[test]
    fn modules_are_followed_through_both_layouts() {
        let files = [
            ("a/src/lib.rs", "mod b; mod c; mod d { mod e; }"),
            ("a/src/b.rs", "mod f;"),
            ("a/src/b/f.rs", ""),
            ("a/src/c/mod.rs", "mod g;"),
            ("a/src/c/g.rs", ""),
            ("a/src/d/e.rs", ""),
        ];
        assert!(dead(&files, "a/src/lib.rs").is_empty());
    }

    #[test]
    fn a_file_nobody_declares_is_dead_with_all_below_it() {
        let files = [("a/src/lib.rs", ""), ("a/src/b.rs", "mod c;"), ("a/src/b/c.rs", "")];
        assert_eq!(dead(&files, "a/src/lib.rs"), ["a/src/b.rs", "a/src/b/c.rs"]);
    }

    #[test]
    fn a_root_in_another_folder_declares_its_neighbours() {
        let files = [("a/tests/failover.rs", "mod common;"), ("a/tests/common/mod.rs", "")];
        assert!(dead(&files, "a/tests/failover.rs").is_empty());
    }

    #[test]
    fn paths_and_inclusions_are_followed() {
        let files = [
            ("a/src/lib.rs", "#[path = \"../common/b.rs\"] mod b; include!(\"c.rs\");"),
            ("a/common/b.rs", ""),
            ("a/src/c.rs", ""),
        ];
        assert!(dead(&files, "a/src/lib.rs").is_empty());
    }
}
