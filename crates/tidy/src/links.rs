//! Links between our own pages lead somewhere, and each page of the manual is in its table of contents.
//!
//! Only links inside the repository are judged: what the network holds is not a property of the source tree.

use std::collections::BTreeSet;

use crate::{Finding, tree::Text};

/// The manual's pages and its table of contents.
const MANUAL: &str = "docs/src/";
const CONTENTS: &str = "docs/src/SUMMARY.md";

/// Links that lead nowhere, and manual pages that no link of the table of contents leads to.
/// `paths` holds every file and folder of the repository.
pub fn check(pages: &[&Text], paths: &BTreeSet<String>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut contents = BTreeSet::new();
    for page in pages {
        for (line, target) in links(&page.content) {
            let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let Some(target) = resolve(folder, &target) else {
                let message = format!("links to `{target}`, outside the repository");
                found.push(Finding::new(&page.path, message).at(line));
                continue;
            };
            if !target.is_empty() && !paths.contains(&target) {
                let message = format!("links to `{target}`, which does not exist");
                found.push(Finding::new(&page.path, message).at(line));
            }
            if page.path == CONTENTS {
                contents.insert(target);
            }
        }
    }
    for page in pages.iter().filter(|page| page.path.starts_with(MANUAL) && page.path != CONTENTS) {
        if !contents.contains(&page.path) {
            let message = format!("no entry of {CONTENTS} leads to it");
            found.push(Finding::new(&page.path, message));
        }
    }
    found
}

/// Targets of `[…](target)` outside code blocks, without anchors; addresses with a scheme are left out.
fn links(content: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in content.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code || line.starts_with("    ") {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let Some((target, _)) = line[at + 2..].split_once(')') else { continue };
            let target = target.split('#').next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push((index + 1, target.to_owned()));
            }
        }
    }
    found
}

/// The target as a path from the root, empty for a link within the page; `None` when it leaves the repository.
fn resolve(folder: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(String::new());
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(pages: &[(&str, &str)]) -> Vec<String> {
        let text = |(path, content): &(&str, &str)| Text {
            path: (*path).to_owned(),
            content: (*content).to_owned(),
        };
        let texts: Vec<Text> = pages.iter().map(text).collect();
        let paths = texts.iter().map(|text| text.path.clone()).collect();
        check(&texts.iter().collect::<Vec<_>>(), &paths).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_link_to_a_missing_page_is_found_and_anchors_are_ignored() {
        let pages = [
            (
                "README.md",
                "[a](docs/src/a.md#part) [here](#top) [web](https://example.org/x)\n[b](b.md)",
            ),
            ("docs/src/SUMMARY.md", "- [A](a.md)"),
            ("docs/src/a.md", "[back](../../README.md) [out](../../../x.md)"),
        ];
        assert_eq!(
            messages(&pages),
            [
                "README.md:2: links to `b.md`, which does not exist",
                "docs/src/a.md:1: links to `../../../x.md`, outside the repository",
            ]
        );
    }

    #[test]
    fn a_page_outside_the_table_of_contents_is_found() {
        let pages = [("docs/src/SUMMARY.md", "# Summary"), ("docs/src/a.md", "")];
        assert_eq!(
            messages(&pages),
            ["docs/src/a.md: no entry of docs/src/SUMMARY.md leads to it"]
        );
    }

    #[test]
    fn code_is_not_read_for_links() {
        let page = "```\n[x](nowhere.md)\n```\n\n    [x](nowhere.md)\n";
        assert!(messages(&[("README.md", page)]).is_empty());
    }
}
