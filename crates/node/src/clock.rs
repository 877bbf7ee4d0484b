//! The one place of this crate that reads a clock. Everything else takes time as an argument.
#![allow(clippy::disallowed_methods)]

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use counterpart_core::UnixMicros;

/// Wall-clock time, for people and for records. It may jump; nothing is decided by it.
#[must_use]
pub fn unix_now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Time since this process first asked. It never jumps; every time-out is decided by it.
#[must_use]
pub fn uptime() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The same in milliseconds.
#[must_use]
pub fn uptime_ms() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}

/// The runtime's own clock, for deadlines that its timers shall keep.
#[must_use]
pub fn runtime_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Lets time pass on a thread that may block, where there is nothing that could be waited for.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
