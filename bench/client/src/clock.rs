//! The clock of these measurements, and their pauses.
#![allow(clippy::disallowed_methods, reason = "this is where time is read")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The present moment.
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, so that a measurement can be laid beside what another process saw.
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Processor time that this thread has had, in seconds: on a machine with other work, the clock says little.
///
/// # Errors
/// What the system says; one that is not Linux keeps no such count.
pub fn processor_seconds() -> std::io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.map(|nanos| nanos / 1e9).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// Waits until `moment`; at once if it has passed.
pub fn wait_until(moment: Instant) {
    let left = moment.saturating_duration_since(now());
    if left > Duration::ZERO {
        std::thread::sleep(left);
    }
}

/// Waits for `time`.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
