//! Chance from a seed: the same seed, the same choices. Every test that uses it prints its seed.

/// A generator (splitmix64).
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn of(seed: u64) -> Chance {
        Chance(seed)
    }

    /// From `COUNTERPART_TEST_SEED`, or from the clock; printed, so that a failure can be run again.
    pub fn printed(test: &str) -> Chance {
        let given = std::env::var("COUNTERPART_TEST_SEED").ok();
        let seed = given.map_or_else(fresh, |text| text.parse().expect("a seed is a number"));
        eprintln!("{test}: COUNTERPART_TEST_SEED={seed}");
        Chance(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[usize::try_from(self.below(among.len() as u64)).expect("an index")]
    }

    /// A generator of its own for somebody else.
    pub fn split(&mut self) -> Chance {
        Chance(self.next())
    }
}

fn fresh() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) >> 16
}
