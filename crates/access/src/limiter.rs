//! How often something may be tried: so many times at once, then once in a while.
//!
//! Time is an argument. What is remembered is bounded whatever comes: one moment for each key, and no more keys than were agreed.
//!
//! ```text
//!            now                 full again
//!  ───────────┼───────────────────────┼──────▶ time
//!             └─ one `every` for each ─┘
//!                try not regained yet; a try is taken while that is at most `burst` × `every` afterwards
//! ```

use std::{collections::HashMap, hash::Hash, time::Duration};

/// Tries by key.
///
/// - There are never more than `most` keys.
/// - A key that is not remembered has all its tries.
#[derive(Debug)]
pub struct Limiter<K> {
    burst: u32,
    every: Duration,
    most: usize,
    /// When a key has all its tries again.
    full_at: HashMap<K, Duration>,
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    /// One with `burst` tries at once, of which one is regained `every` so often; for at most so many keys at a time.
    #[must_use]
    pub fn new(burst: u32, every: Duration, most: usize) -> Limiter<K> {
        Limiter { burst, every, most: most.max(1), full_at: HashMap::new() }
    }

    /// How long this key has to wait for its next try; nothing if it need not.
    #[must_use]
    pub fn wait(&self, key: &K, now: Duration) -> Option<Duration> {
        let after = self.full_at.get(key).map_or(now, |full_at| now.max(*full_at)) + self.every;
        let earliest = after.saturating_sub(self.every * self.burst);
        earliest.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// Takes a try.
    ///
    /// # Errors
    /// How long to wait; nothing was taken then.
    pub fn take(&mut self, key: K, now: Duration) -> Result<(), Duration> {
        if let Some(wait) = self.wait(&key, now) {
            return Err(wait);
        }
        if !self.full_at.contains_key(&key) {
            self.make_room(now);
        }
        let full_at = self.full_at.entry(key).or_insert(now);
        *full_at = now.max(*full_at) + self.every;
        Ok(())
    }

    /// Gives a try back that was taken.
    pub fn give_back(&mut self, key: &K) {
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at = full_at.saturating_sub(self.every);
        }
    }

    /// Keys that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full_at.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full_at.is_empty()
    }

    /// Forgets what has all its tries; if that is nothing, the key that has tried least: who tries much stays known, however
    /// many others come.
    fn make_room(&mut self, now: Duration) {
        if self.full_at.len() < self.most {
            return;
        }
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() < self.most {
            return;
        }
        let least = self.full_at.iter().min_by_key(|(_, full_at)| **full_at);
        if let Some(key) = least.map(|(key, _)| key.clone()) {
            self.full_at.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVERY: Duration = Duration::from_secs(6);

    #[test]
    fn tries_are_used_up_and_come_back_one_by_one() {
        let mut limiter = Limiter::new(3, EVERY, 10);
        let mut take = |seconds| limiter.take("a", Duration::from_secs(seconds));
        assert_eq!([take(100), take(100), take(100)], [Ok(()); 3]);
        assert_eq!(take(101), Err(Duration::from_secs(5)));
        assert_eq!([take(106), take(107)], [Ok(()), Err(Duration::from_secs(5))]);
        assert_eq!(limiter.take("b", Duration::from_secs(107)), Ok(()));
    }

    #[test]
    fn a_try_that_is_given_back_can_be_taken_again() {
        let mut limiter = Limiter::new(1, EVERY, 10);
        let now = Duration::from_secs(9);
        for _ in 0..5 {
            assert_eq!(limiter.take("a", now), Ok(()));
            limiter.give_back(&"a");
        }
        limiter.give_back(&"nobody");
        assert_eq!(limiter.take("a", now), Ok(()));
        assert_eq!(limiter.take("a", now), Err(EVERY));
    }

    #[test]
    fn who_tries_most_is_not_forgotten_for_those_who_come_later() {
        let mut limiter = Limiter::new(3, EVERY, 4);
        let now = Duration::from_secs(9);
        for _ in 0..3 {
            assert_eq!(limiter.take(0, now), Ok(()));
        }
        for other in 1..1000 {
            assert_eq!(limiter.take(other, now), Ok(()));
        }
        assert!(limiter.take(0, now).is_err());
        assert_eq!(limiter.len(), 4);
    }

    proptest! {
        /// Whatever is tried when: no key gets more than its burst and one for each interval, what it is told to wait is
        /// neither too long nor too short, and no more keys are remembered than were agreed.
        #[test]
        fn nobody_gets_more_than_was_agreed_and_nobody_waits_for_nothing(
            burst in 1u32..5,
            tries in proptest::collection::vec((0u8..6, 0u64..8_000), 1..200),
        ) {
            // Room for all keys, so that none is forgotten.
            let mut limiter = Limiter::new(burst, EVERY, 8);
            let mut now = Duration::from_secs(1);
            let mut taken: HashMap<u8, Vec<Duration>> = HashMap::new();
            for (key, pause) in tries {
                now += Duration::from_millis(pause);
                match limiter.take(key, now) {
                    Ok(()) => taken.entry(key).or_default().push(now),
                    Err(wait) => {
                        prop_assert!(wait > Duration::ZERO && wait <= EVERY);
                        let almost = now + wait - Duration::from_millis(1);
                        prop_assert!(limiter.wait(&key, almost).is_some());
                        prop_assert_eq!(limiter.wait(&key, now + wait), None);
                    }
                }
            }
            for moments in taken.values() {
                for (i, from) in moments.iter().enumerate() {
                    for (j, to) in moments.iter().enumerate().skip(i) {
                        let regained = (*to - *from).as_millis() / EVERY.as_millis();
                        prop_assert!((j - i + 1) as u128 <= u128::from(burst) + regained);
                    }
                }
            }
        }

        #[test]
        fn no_more_keys_are_remembered_than_were_agreed(
            most in 1usize..6,
            tries in proptest::collection::vec((any::<u8>(), 0u64..9_000), 1..300),
        ) {
            let mut limiter = Limiter::new(2, EVERY, most);
            let mut now = Duration::ZERO;
            for (key, pause) in tries {
                now += Duration::from_millis(pause);
                let _taken = limiter.take(key, now);
                prop_assert!(limiter.len() <= most);
            }
        }
    }
}
