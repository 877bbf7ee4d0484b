//! The one place of this crate that reads a clock or waits for time to pass.
//!
//! Only to show rates and to look again after a while; nothing about data is decided by it.
#![allow(clippy::disallowed_methods)]

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Time since this process first asked. It never jumps.
pub fn uptime() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Microseconds since 1970, to show how long ago something was. It may jump.
pub fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Lets time pass before a remote server is asked again: it offers nothing that could be waited for.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
