//! The one place of this crate that draws random numbers.

/// A random number that is not 0.
///
/// # Panics
/// If the system has no random numbers, without which no identity can be made.
#[must_use]
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system gives random numbers");
    u64::from_le_bytes(bytes).max(1)
}

/// How much further than its predecessor the epoch of this start begins: any number, drawn anew at each start.
///
/// # Panics
/// As [`number`].
#[must_use]
pub fn stride() -> u16 {
    let bytes = number().to_le_bytes();
    u16::from_le_bytes([bytes[0], bytes[1]])
}
