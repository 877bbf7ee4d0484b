//! Every Rust file opens with a `//!` head that says why it exists and what it must never do.
//!
//! Whether the head says it well stays with the reviewer; here only an absent or empty one is found.

use crate::{Finding, source::Source};

/// A head of fewer characters says nothing.
const SHORTEST: usize = 20;

/// Whether the file opens with a head that says something.
pub fn check(source: &Source) -> Option<Finding> {
    let head: String = source
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ");
    if head.trim().len() >= SHORTEST {
        return None;
    }
    let message = if head.is_empty() {
        "does not open with a `//!` head; say why the file exists and what it must never do"
    } else {
        "its `//!` head says next to nothing; say why the file exists and what it must never do"
    };
    Some(Finding::new(&source.path, message).at(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> bool {
        check(&Source::parse("sample.rs", text).expect("the sample is Rust")).is_some()
    }

    #[test]
    fn a_file_that_opens_with_a_sentence_passes() {
        assert!(!found("//! Keeps the samples apart.\n\nfn f() {}\n"));
        assert!(!found("//!\n//! Keeps the samples apart.\nfn f() {}\n"));
    }

    #[test]
    fn an_absent_late_or_empty_head_is_found() {
        assert!(found("fn f() {}\n"));
        assert!(found("// A licence.\n//! Keeps the samples apart.\n"));
        assert!(found("//! (later)\nfn f() {}\n"));
    }
}
