//! The clock of what criterion can't time by itself.
#![allow(clippy::disallowed_methods, reason = "this is where time is read")]

use std::time::{Duration, Instant};

/// How long `work` takes.
pub fn time(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}
