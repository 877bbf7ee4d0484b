//! What happened, as one number that is compared and, if asked for, as lines that are read.

use xxhash_rust::xxh3::Xxh3;

use crate::agenda::Micros;

/// A trace that is under way.
#[derive(Default)]
pub struct Trace {
    digest: Xxh3,
    loud: bool,
    /// Lines are kept instead of printed, for a test that compares them.
    kept: Option<Vec<String>>,
}

impl Trace {
    /// A trace; `loud` prints every line.
    #[must_use]
    pub fn new(loud: bool) -> Trace {
        Trace { digest: Xxh3::new(), loud, kept: None }
    }

    /// Takes something into the number.
    pub fn note(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// Takes numbers into the number.
    pub fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.digest.update(&number.to_le_bytes());
        }
    }

    /// A line for whoever reads; costs nothing if nobody does.
    pub fn line(&mut self, now: Micros, line: impl FnOnce() -> String) {
        if self.loud {
            let text = format!("{:>12.6}  {}", now as f64 / 1e6, line());
            match &mut self.kept {
                Some(kept) => kept.push(text),
                None => println!("{text}"),
            }
        }
    }

    /// The number so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.digest()
    }
}
