//! Nothing in the repository names where it was made: no folder of a machine, no host that served a package.
//!
//! Such a mention works for one person and leads everybody else nowhere; in a lock file it breaks their build.

use crate::{Finding, tree::Text};

/// What must not be mentioned, in pieces so that this file passes its own check, and why.
const FOREIGN: &[(&[&str], &str)] = &[
    (&["/wo", "rk/"], "a folder of somebody's machine"),
    (&["../sha", "red"], "a folder of somebody's machine"),
    (&["/ho", "me/"], "a folder of somebody's machine"),
    (&["arti", "factory"], "a package registry's host"),
    (&["registry.", "npmjs.org"], "a package registry's host"),
    (&["registry.", "yarnpkg.com"], "a package registry's host"),
    (&["files.", "pythonhosted.org"], "a package registry's host"),
    (&["pypi.org/", "simple"], "a package registry's host"),
    (&["index.", "crates.io"], "a package registry's host"),
    (&["static.", "crates.io"], "a package registry's host"),
];

/// The lines that mention one.
pub fn check(text: &Text) -> Vec<Finding> {
    let mut found = Vec::new();
    for (pieces, what) in FOREIGN {
        let needle = pieces.concat();
        for (index, line) in text.content.lines().enumerate() {
            if line.contains(&needle) {
                let message = format!("mentions `{needle}`, {what}; say it without");
                found.push(Finding::new(&text.path, message).at(index + 1));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: String) -> Text {
        Text { path: "sample".into(), content }
    }

    #[test]
    fn every_foreign_place_is_found_on_its_line() {
        for (pieces, _) in FOREIGN {
            let found = check(&text(format!("one\nsee {}x\n", pieces.concat())));
            assert_eq!(found.len(), 1, "{pieces:?}");
            assert_eq!(found[0].line, Some(2), "{pieces:?}");
        }
    }

    #[test]
    fn addresses_of_documentation_and_of_the_loopback_pass() {
        let content = "https://docs.rs/libsql, http://127.0.0.1:6480, network/ and shared/ things";
        assert_eq!(check(&text(content.to_owned())), []);
    }
}
