//! The engine's only clock: a monotonic one, for durations and deadlines of statements.
//!
//! It must never be used for a point in time that leaves the process: those are arguments.
#![allow(clippy::disallowed_methods)] // The one home of the monotonic clock in this crate.

use std::{sync::OnceLock, time::Instant};

/// Nanoseconds since the first call in this process; never goes back.
pub(crate) fn nanos() -> u64 {
    static BASE: OnceLock<Instant> = OnceLock::new();
    let elapsed = BASE.get_or_init(Instant::now).elapsed().as_nanos();
    u64::try_from(elapsed).expect("a process does not run for 584 years")
}
