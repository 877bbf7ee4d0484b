//! What many requests took, all of it kept: percentiles of a few million values need no sketch.

use std::time::Duration;

use serde_json::{Value, json};

/// Times in microseconds, in any order.
#[derive(Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds those of another client.
    pub fn append(&mut self, mut other: Latencies) {
        self.0.append(&mut other.0);
    }

    /// The number of requests.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Percentiles in milliseconds: the least time that this share of the requests did not exceed.
    pub fn show(mut self) -> Value {
        self.0.sort_unstable();
        let at = |share: f64| {
            let nth = (self.0.len() as f64 * share).ceil() as usize;
            self.0.get(nth.saturating_sub(1)).map(|micros| f64::from(*micros) / 1000.0)
        };
        json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut all = Latencies::default();
        (1..=1000).rev().for_each(|n| all.push(Duration::from_micros(n * 1000)));
        assert_eq!(all.show(), json!({ "p50": 500.0, "p99": 990.0, "p999": 999.0, "max": 1000.0 }));
    }

    #[test]
    fn without_requests_there_are_no_percentiles() {
        assert!(Latencies::default().show()["p50"].is_null());
    }
}
