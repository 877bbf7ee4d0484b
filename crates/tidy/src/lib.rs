//! Tests of the source tree itself: what Cargo and clippy cannot enforce, and reviewers forget.
//!
//! Each check is a function from something already read (a parsed file, cargo's metadata, a text) to a list of
//! [`Finding`]s, so that it is tested on small samples here and on the whole tree in `tests/tree.rs`.
//! `exceptions.txt` lists what is tolerated and why; an exception that nothing needs any more fails too, so the
//! list only ever gets shorter by itself.
//!
//! Must never import another crate of this workspace: it judges them all.

pub mod arrows;
pub mod exceptions;
pub mod heads;
pub mod homes;
pub mod licences;
pub mod links;
pub mod mentions;
pub mod purity;
pub mod reach;
pub mod sizes;
pub mod source;
pub mod tree;
pub mod words;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What an exception would name: a path from the root of the checkout, `path::function`, or a package.
    pub subject: String,
    /// The first line it concerns, from 1; `None` where no line is to blame.
    pub line: Option<usize>,
    /// What is wrong and what to do, in one or two sentences.
    pub message: String,
}

impl Finding {
    /// A finding that concerns its subject as a whole.
    pub fn new(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), line: None, message: message.into() }
    }

    /// The same finding at a line, counted from 1.
    pub fn at(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.subject, self.message),
            None => write!(f, "{}: {}", self.subject, self.message),
        }
    }
}
