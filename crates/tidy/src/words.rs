//! One word for each thing, in code, messages and documentation.
//!
//! `words.txt` lists the second words that creep in and what to say instead. A word counts when it stands alone:
//! `sqlite_master` is SQLite's name for its schema and passes.

use crate::{Finding, tree::Text};

/// A word that is not ours, and the one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Lower case; may consist of several words.
    pub wrong: String,
    /// What to say instead.
    pub right: String,
}

/// A line of `words.txt` that is not `wrong = right`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} of the list of words is not `wrong = right`")]
pub struct ListError {
    line: usize,
}

/// Reads the list: `wrong = right` a line, `#` begins a comment.
///
/// # Errors
/// When a line has no `=` or nothing on one of its sides.
pub fn parse_list(text: &str) -> Result<Vec<Word>, ListError> {
    let mut words = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (wrong, right) = line.split_once('=').ok_or(ListError { line: index + 1 })?;
        let (wrong, right) = (wrong.trim().to_lowercase(), right.trim().to_owned());
        if wrong.is_empty() || right.is_empty() {
            return Err(ListError { line: index + 1 });
        }
        words.push(Word { wrong, right });
    }
    Ok(words)
}

/// Where the wrong words stand.
pub fn check(text: &Text, words: &[Word]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in text.content.lines().enumerate() {
        let line = line.to_lowercase();
        for Word { wrong, right } in words {
            if stands_alone(&line, wrong) {
                let message = format!("says `{wrong}`; here it is `{right}`");
                found.push(Finding::new(&text.path, message).at(index + 1));
            }
        }
    }
    found
}

/// Whether the word, or its plural, occurs with no letter, digit or underscore beside it.
fn stands_alone(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        let after = after.strip_prefix('s').unwrap_or(after);
        !line[..at].ends_with(part) && !after.starts_with(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(content: &str) -> Vec<Option<usize>> {
        let words = parse_list("# ours\nhot spare = mirror\nboss = principal\n").expect("a list");
        let text = Text { path: "sample.md".into(), content: content.into() };
        check(&text, &words).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_word_is_found_in_any_case_and_in_the_plural() {
        assert_eq!(lines("The Boss\nno\ntwo hot spares.\n"), [Some(1), Some(3)]);
    }

    #[test]
    fn a_word_inside_another_or_inside_an_identifier_passes() {
        assert!(lines("bossy, emboss, sqlite_boss, boss_2\n").is_empty());
    }

    #[test]
    fn a_line_that_says_nothing_instead_is_an_error() {
        assert_eq!(parse_list("a = b\nboss\n"), Err(ListError { line: 2 }));
        assert_eq!(parse_list("boss =\n"), Err(ListError { line: 1 }));
    }
}
