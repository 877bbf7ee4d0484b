//! The clock of these measurements; nothing that is measured reads one.
#![allow(clippy::disallowed_methods)]

use std::time::Instant;

/// The present moment.
pub fn now() -> Instant {
    Instant::now()
}
