//! How often passwords may be guessed.
//!
//! Two bounds, because there are two ways to guess: many passwords from one place, and one user's password from many places. Whoever
//! is let in has used nothing up. A user whose name is under attack from elsewhere may have to wait as well; tokens are not
//! concerned, nor is the server's own.

use std::time::Duration;

use crate::{Limiter, Source};

/// From one place: ten at once, then one every six seconds.
const BY_SOURCE: (u32, Duration) = (10, Duration::from_secs(6));

/// For one name: ten at once, then one every thirty seconds, which is less than three thousand a day.
const BY_NAME: (u32, Duration) = (10, Duration::from_secs(30));

/// Places, and names, that are remembered at a time: together less than 2 MB.
const MOST: usize = 10_000;

/// Bytes of a name that are told apart: no user's name is longer.
const NAME: usize = 64;

/// The guesses that were made lately.
#[derive(Debug)]
pub struct Guesses {
    by_source: Limiter<Source>,
    by_name: Limiter<Box<[u8]>>,
}

impl Default for Guesses {
    fn default() -> Guesses {
        Guesses {
            by_source: Limiter::new(BY_SOURCE.0, BY_SOURCE.1, MOST),
            by_name: Limiter::new(BY_NAME.0, BY_NAME.1, MOST),
        }
    }
}

impl Guesses {
    /// Takes a guess, before it is known whether it is right: many at once are counted like many in a row.
    ///
    /// # Errors
    /// How long to wait; nothing was taken then.
    pub fn take(&mut self, source: Source, name: &str, now: Duration) -> Result<(), Duration> {
        let name = key(name);
        let waits = [self.by_source.wait(&source, now), self.by_name.wait(&name, now)];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(wait);
        }
        let taken = self.by_source.take(source, now).and_then(|()| self.by_name.take(name, now));
        debug_assert!(taken.is_ok(), "nobody had to wait");
        taken
    }

    /// It was right.
    pub fn was_right(&mut self, source: Source, name: &str) {
        self.by_source.give_back(&source);
        self.by_name.give_back(&key(name));
    }
}

fn key(name: &str) -> Box<[u8]> {
    name.as_bytes()[..name.len().min(NAME)].into()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(Some(IpAddr::V4(Ipv4Addr::from(number))))
    }

    #[test]
    fn many_guesses_from_one_place_are_bounded_whatever_the_names() {
        let mut guesses = Guesses::default();
        let mut take = |name: u32, seconds| {
            guesses.take(source(1), &name.to_string(), Duration::from_secs(seconds)).is_ok()
        };
        assert_eq!((0..100).filter(|name| take(*name, 0)).count(), 10);
        assert_eq!((100..200).filter(|name| take(*name, 60)).count(), 10);
    }

    #[test]
    fn one_name_is_guessed_from_many_places_no_more_often() {
        let mut guesses = Guesses::default();
        let mut take = |place, seconds| {
            guesses.take(source(place), "anna", Duration::from_secs(seconds)).is_ok()
        };
        assert_eq!((0..100).filter(|place| take(*place, 0)).count(), 10);
        assert_eq!((100..200).filter(|place| take(*place, 60)).count(), 2);
        assert!(guesses.take(source(999), "berta", Duration::from_secs(60)).is_ok());
    }

    #[test]
    fn whoever_is_right_waits_for_nothing() {
        let mut guesses = Guesses::default();
        for _ in 0..1000 {
            guesses.take(source(1), "anna", Duration::ZERO).unwrap();
            guesses.was_right(source(1), "anna");
        }
    }

    proptest! {
        #[test]
        fn any_name_from_anywhere_is_counted_and_memory_is_bounded(
            tries in proptest::collection::vec((any::<u32>(), ".{0,80}"), 1..200),
        ) {
            let mut guesses = Guesses::default();
            for (place, name) in tries {
                let _counted = guesses.take(source(place), &name, Duration::ZERO);
            }
            prop_assert!(guesses.by_source.len() <= MOST && guesses.by_name.len() <= MOST);
        }
    }
}
