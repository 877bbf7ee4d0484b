//! The one place of this crate that reads a clock or waits for time to pass.
//!
//! Only to show rates and to look again after a while; nothing about data is decided by it.
#![allow(clippy::disallowed_methods)]

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use counterpart_tls::rustls::pki_types::UnixTime;

/// Time since this process first asked. It never jumps.
pub fn uptime() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The time of day, by which certificates are made and renewed.
pub fn unix() -> UnixTime {
    UnixTime::now()
}

/// Lets time pass before a remote server is asked again: it offers nothing that could be waited for.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
