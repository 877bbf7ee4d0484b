//! How much is written down about credentials that were refused: enough to see it, never enough to fill anything.

use std::time::Duration;

use crate::{Limiter, Source};

/// One source is noted this often.
const EACH: Duration = Duration::from_secs(60);

/// All of them together so many times an hour.
const AN_HOUR: u32 = 60;

/// Sources that are remembered.
const SOURCES: usize = 4096;

/// Decides which refusals are noted: for each source one a minute, in all sixty an hour. Those that are not are counted.
#[derive(Debug)]
pub struct Damper {
    each: Limiter<Source>,
    all: Limiter<()>,
    left_out: u64,
}

impl Default for Damper {
    fn default() -> Damper {
        let hour = Duration::from_secs(3600);
        Damper {
            each: Limiter::new(1, EACH, SOURCES),
            all: Limiter::new(AN_HOUR, hour / AN_HOUR, 1),
            left_out: 0,
        }
    }
}

impl Damper {
    /// Somebody at `source` was refused. If that is to be noted: how many before it were not.
    pub fn refused(&mut self, source: Source, now: Duration) -> Option<u64> {
        let noted = self.all.wait(&(), now).is_none()
            && self.each.take(source, now).is_ok()
            && self.all.take((), now).is_ok();
        if noted {
            return Some(std::mem::take(&mut self.left_out));
        }
        self.left_out += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(Some(IpAddr::V4(Ipv4Addr::from(number))))
    }

    #[test]
    fn a_source_is_noted_once_a_minute_with_how_often_it_was_not() {
        let mut damper = Damper::default();
        let mut refused = |seconds| damper.refused(source(1), Duration::from_secs(seconds));
        assert_eq!([refused(0), refused(1), refused(59)], [Some(0), None, None]);
        assert_eq!([refused(60), refused(120)], [Some(2), Some(0)]);
    }

    #[test]
    fn however_many_try_from_wherever_little_is_noted() {
        let mut damper = Damper::default();
        let noted = |range: std::ops::Range<u32>, damper: &mut Damper| {
            range
                .filter(|n| {
                    let now = Duration::from_millis(u64::from(*n) * 36);
                    damper.refused(source(*n), now).is_some()
                })
                .count()
        };
        // An hour of a hundred thousand tries, each from elsewhere: what there is at once, and what is regained.
        let first = noted(0..100_000, &mut damper);
        assert!((60..=120).contains(&first), "{first}");
        let second = noted(100_000..200_000, &mut damper);
        assert!((55..=61).contains(&second), "{second}");
    }
}
