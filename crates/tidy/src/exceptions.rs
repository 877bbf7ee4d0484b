//! What the checks tolerate, each with its reason: a list that can only get shorter by itself.
//!
//! ```text
//! check | subject | reason
//! ```
//!
//! An exception covers every finding of that check with that subject. One that covers nothing is a problem of its
//! own, so that what has been mended cannot come back under an old excuse.

use crate::Finding;

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    check: String,
    subject: String,
    line: usize,
}

/// The whole list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions {
    list: Vec<Exception>,
}

/// A line that is not `check | subject | reason`, or that names no check there is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ListError {
    /// Not three parts, or an empty one; an exception without a reason is none.
    #[error("line {line} of the exceptions is not `check | subject | reason`")]
    Form {
        /// Counted from 1.
        line: usize,
    },
    /// No check has this name, so the exception would never be missed.
    #[error("line {line} of the exceptions names `{check}`, and no check is called so")]
    Check {
        /// Counted from 1.
        line: usize,
        /// The unknown name.
        check: String,
    },
}

impl Exceptions {
    /// Reads the list; `checks` are the names there are. `#` begins a comment.
    ///
    /// # Errors
    /// At the first line that cannot be meant.
    pub fn parse(text: &str, checks: &[&str]) -> Result<Self, ListError> {
        let mut list = Vec::new();
        for (index, content) in text.lines().enumerate() {
            let line = index + 1;
            if content.trim().is_empty() || content.trim_start().starts_with('#') {
                continue;
            }
            let parts: Vec<&str> = content.splitn(3, '|').map(str::trim).collect();
            let [check, subject, reason] = parts[..] else { return Err(ListError::Form { line }) };
            if subject.is_empty() || reason.is_empty() {
                return Err(ListError::Form { line });
            }
            if !checks.contains(&check) {
                return Err(ListError::Check { line, check: check.to_owned() });
            }
            list.push(Exception { check: check.to_owned(), subject: subject.to_owned(), line });
        }
        Ok(Self { list })
    }

    /// The problems of one check: findings that nothing excuses, and exceptions that excuse nothing.
    pub fn problems(&self, check: &str, findings: &[Finding]) -> Vec<String> {
        let mine: Vec<&Exception> = self.list.iter().filter(|e| e.check == check).collect();
        let excused = |finding: &&Finding| mine.iter().any(|e| e.subject == finding.subject);
        let mut problems: Vec<String> =
            findings.iter().filter(|finding| !excused(finding)).map(Finding::to_string).collect();
        for exception in mine {
            if !findings.iter().any(|finding| finding.subject == exception.subject) {
                let Exception { subject, line, .. } = exception;
                problems.push(format!(
                    "{subject}: needs no exception from `{check}` any more; delete line {line} of the list"
                ));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKS: &[&str] = &["heads", "sizes"];

    #[test]
    fn an_exception_excuses_its_subject_in_its_check_alone() {
        let list =
            Exceptions::parse("# why\n\nheads | a.rs | generated\n", CHECKS).expect("a list");
        let findings = [Finding::new("a.rs", "no head"), Finding::new("b.rs", "no head")];
        assert_eq!(list.problems("heads", &findings), ["b.rs: no head"]);
        assert_eq!(list.problems("sizes", &findings[..1]), ["a.rs: no head"]);
    }

    #[test]
    fn an_exception_that_nothing_needs_is_a_problem() {
        let list = Exceptions::parse("heads | a.rs | generated", CHECKS).expect("a list");
        let problems = list.problems("heads", &[]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("delete line 1"), "{problems:?}");
        assert!(list.problems("sizes", &[]).is_empty());
    }

    #[test]
    fn an_exception_without_a_reason_or_of_an_unknown_check_is_refused() {
        assert_eq!(Exceptions::parse("heads | a.rs |", CHECKS), Err(ListError::Form { line: 1 }));
        assert_eq!(Exceptions::parse("\nheads", CHECKS), Err(ListError::Form { line: 2 }));
        let unknown = ListError::Check { line: 1, check: "haeds".into() };
        assert_eq!(Exceptions::parse("haeds | a.rs | x", CHECKS), Err(unknown));
    }
}
