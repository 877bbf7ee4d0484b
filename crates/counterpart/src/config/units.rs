//! Durations and sizes as people write them: `250ms`, `5s`, `2m`, `64MiB`, `1GiB`.

use std::time::Duration;

const TIMES: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Powers of 1024 first, so that a size is written in them.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a duration: a whole number with `ms`, `s`, `m`, `h` or `d`; `0` needs no unit. At most some 584 million years.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    if unit.is_empty() && number == 0 {
        return Ok(Duration::ZERO);
    }
    let scale = TIMES.iter().find(|(name, _)| *name == unit);
    scale
        .and_then(|(_, scale)| number.checked_mul(*scale))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a duration such as 250ms, 5s, 2m or 1h"))
}

/// Reads a size in bytes: a whole number, alone or with `KiB`, `MiB`, `GiB`, `TiB` (or `KB` … for powers of 1000).
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let unit = if unit.is_empty() { "B" } else { unit };
    let scale = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    scale
        .and_then(|(_, scale)| number.checked_mul(*scale))
        .ok_or_else(|| format!("{text:?} is not a size such as 65536, 512KiB, 64MiB or 1GiB"))
}

/// The number and what follows it, which may stand apart.
fn split(text: &str) -> Result<(u64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let number = digits.parse().map_err(|_| format!("{text:?} does not start with a number"))?;
    Ok((number, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_write_durations_and_sizes_like_this() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("5s", 5_000),
            ("2 m", 120_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("64MiB", 64 << 20), ("1 gib", 1 << 30), ("2kb", 2_000)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in
            ["", "5", "s", "-5s", "5 seconds", "1.5s", "99999999999999999999s", "300000000000000d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1 XB", "99999999999TiB", "１０"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*") {
            for refusal in [duration(&text).err(), size(&text).err()].into_iter().flatten() {
                prop_assert!(refusal.starts_with('"'), "it quotes what was given: {}", refusal);
            }
        }

        #[test]
        fn a_number_with_a_unit_is_that_many(number in 0u64..1 << 20, unit in 0usize..5) {
            let (name, scale) = TIMES[unit];
            prop_assert_eq!(duration(&format!("{number}{name}")), Ok(Duration::from_millis(number * scale)));
            let (name, scale) = SIZES[unit];
            prop_assert_eq!(size(&format!("{number} {name}")), Ok(number * scale));
        }
    }
}
