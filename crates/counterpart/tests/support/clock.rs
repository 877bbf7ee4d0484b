//! The clock of the tests.
#![allow(clippy::disallowed_methods)]

use std::time::Instant;

/// The present moment.
pub fn now() -> Instant {
    Instant::now()
}
