//! What the audit log tells about a request beyond its endpoint and its path: a handler that knows says so.
//!
//! Never a secret: whatever is said here is kept for long, and shown.

use std::{
    fmt::Display,
    sync::{Arc, OnceLock},
};

/// What a request is about, once somebody has said so.
#[derive(Clone, Debug, Default)]
pub struct Note(Arc<OnceLock<String>>);

impl Note {
    /// Says it; the first to do so is believed.
    pub fn about(&self, what: impl Display) {
        self.0.get_or_init(|| what.to_string());
    }

    /// The same for what may not be there.
    pub fn about_any(&self, what: Option<impl Display>) {
        if let Some(what) = what {
            self.about(what);
        }
    }

    /// What was said.
    pub fn said(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}
