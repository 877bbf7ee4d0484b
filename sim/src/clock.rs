//! The clocks of simulated machines, and the one real clock, which only measures how fast the simulator is.

#![allow(clippy::disallowed_methods, reason = "the simulator's speed is told in real seconds")]

use std::time::Instant;

use counterpart_core::{
    UnixMicros,
    session::{Millis, Now},
};

use crate::agenda::Micros;

/// A machine's clocks: the monotonic one runs a little too fast or too slow, the calendar drifts and jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Parts per million by which it runs fast (or slow).
    pub drift: i64,
    /// What the monotonic clock shows when the world begins, milliseconds.
    pub zero: u64,
    /// Microseconds by which the calendar is wrong.
    pub calendar: i64,
}

/// The calendar when a world begins, microseconds since 1970.
const BEGINNING: u64 = 1_800_000_000_000_000;

impl Clock {
    fn shown(self, now: Micros) -> u64 {
        let drift = i128::from(now) * i128::from(self.drift) / 1_000_000;
        u64::try_from(i128::from(now) + drift).unwrap_or(0)
    }

    /// What the machine's clocks show.
    #[must_use]
    pub fn read(self, now: Micros) -> Now {
        let shown = self.shown(now);
        let unix = BEGINNING.saturating_add(shown).saturating_add_signed(self.calendar);
        Now { ticks: Millis(self.zero + shown / 1_000), unix: UnixMicros(unix) }
    }

    /// The moment at which the monotonic clock shows `ticks`, at most a millisecond late.
    #[must_use]
    pub fn when(self, ticks: Millis) -> Micros {
        let shown = i128::from(ticks.0.saturating_sub(self.zero)) * 1_000;
        let real = shown * 1_000_000 / (1_000_000 + i128::from(self.drift));
        u64::try_from(real).unwrap_or(0) + 1_000
    }
}

/// Real time since something began.
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Seconds since then.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
