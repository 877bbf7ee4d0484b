//! How long something took, counted where it happens: relaxed atomics, nothing else.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper bounds of the buckets, in microseconds: from what an fsync of a good disk takes to what a partner's time-out allows.
pub(crate) const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The highest value since somebody took it.
#[derive(Debug, Default)]
pub(crate) struct Peak(AtomicU64);

impl Peak {
    /// Notes a value.
    pub(crate) fn note(&self, value: u64) {
        // Most values are no peak, and a load costs less than a write that others have to hear of.
        if value > self.0.load(Relaxed) {
            self.0.fetch_max(value, Relaxed);
        }
    }

    /// The highest value; what is highest next begins anew.
    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Relaxed)
    }

    /// The highest value so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Durations by bucket, their sum, and the longest. A reader may see a duration in the one and not yet in the other.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
    /// The longest, in microseconds.
    pub(crate) longest: Peak,
}

impl Histogram {
    /// So many events took this long each.
    pub(crate) fn note(&self, events: u64, took: Duration) {
        if events == 0 {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.counts[bucket].fetch_add(events, Relaxed);
        self.sum_micros.fetch_add(micros.saturating_mul(events), Relaxed);
        self.longest.note(micros);
    }

    /// For each bound how many took no longer, then how many there were; and the sum in microseconds.
    pub(crate) fn cumulative(&self) -> ([u64; BOUNDS.len() + 1], u64) {
        let mut total = 0;
        let counts = self.counts.each_ref().map(|count| {
            total += count.load(Relaxed);
            total
        });
        (counts, self.sum_micros.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            histogram.note(2, Duration::from_micros(micros));
        }
        let (counts, sum) = histogram.cumulative();
        assert_eq!((counts[0], counts[1], counts[14], counts[15], counts[16]), (4, 6, 6, 8, 10));
        assert_eq!(sum, 2 * 20_000_202);
        assert_eq!((histogram.longest.take(), histogram.longest.take()), (10_000_001, 0));
    }
}
