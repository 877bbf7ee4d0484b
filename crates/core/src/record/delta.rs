//! What changed in a page where it stands, as an LZ4 block whose dictionary is the page's previous version.
//!
//! ```text
//! an LZ4 block is a run of sequences:
//!     1  token: length of the literals (upper half), length of the match less 4 (lower half); 15: more follows
//!     n  the rest of the first length, 255 at a time
//!     m  literals
//!     2  distance of the match: here always one page, that is the same place in the dictionary
//!     n  the rest of the second length
//! the last one ends after its literals, at least 5; no match begins in the last 12 bytes
//! ```

/// Fewer equal bytes than this cost as much as literals as they do as a match.
const WORTH_IT: usize = 8;

/// As LZ4 wants it: the last match begins so far before the end, and ends so far before it.
const LAST_BEGIN: usize = 12;
const LAST_LITERALS: usize = 5;

/// The shortest match that LZ4 has.
const LEAST_MATCH: usize = 4;

/// Writes the block into `out`; its length. `None` if it does not fit, or a page is further away than a match reaches.
pub(super) fn in_place(previous: &[u8], image: &[u8], out: &mut [u8]) -> Option<usize> {
    let page = image.len();
    let distance = u16::try_from(page).ok()?.to_le_bytes();
    if previous.len() != page || page <= LAST_BEGIN {
        return None;
    }
    let mut out = Output { bytes: out, length: 0 };
    let mut written = 0;
    loop {
        // More than there is room for need not be looked at.
        let begin = next_equal(previous, image, written, out.room());
        if begin > page - LAST_BEGIN {
            out.sequence(&image[written..], None)?;
            return Some(out.length);
        }
        let end = next_difference(previous, image, begin).min(page - LAST_LITERALS);
        out.sequence(&image[written..begin], Some((distance, end - begin)))?;
        written = end;
    }
}

/// Where the pages are equal for long enough, from `at` on; the end of the page if nowhere within `most` bytes.
fn next_equal(previous: &[u8], image: &[u8], at: usize, most: usize) -> usize {
    let windows = previous[at..].windows(WORTH_IT).zip(image[at..].windows(WORTH_IT));
    windows.take(most + 1).position(|(a, b)| a == b).map_or(image.len(), |skip| at + skip)
}

/// The first byte that differs, from `at` on, or the end of the page.
fn next_difference(previous: &[u8], image: &[u8], at: usize) -> usize {
    const STEP: usize = 32;
    let steps = previous[at..].chunks_exact(STEP).zip(image[at..].chunks_exact(STEP));
    let at = at + STEP * steps.take_while(|(a, b)| a == b).count();
    let bytes = previous[at..].iter().zip(&image[at..]);
    at + bytes.take_while(|(a, b)| a == b).count()
}

/// A block that must not become longer than its room.
struct Output<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl Output<'_> {
    fn room(&self) -> usize {
        self.bytes.len() - self.length
    }

    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length + bytes.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }

    /// What of a length does not fit the token's half.
    fn rest(&mut self, length: usize) -> Option<()> {
        let Some(mut rest) = length.checked_sub(15) else { return Some(()) };
        while rest >= 255 {
            self.push(&[255])?;
            rest -= 255;
        }
        self.push(&[u8::try_from(rest).expect("below 255")])
    }

    fn sequence(&mut self, literals: &[u8], equal: Option<([u8; 2], usize)>) -> Option<()> {
        let matched = equal.map_or(0, |(_, length)| length - LEAST_MATCH);
        let half = |length: usize| u8::try_from(length.min(15)).expect("four bits");
        self.push(&[half(literals.len()) << 4 | half(matched)])?;
        self.rest(literals.len())?;
        self.push(literals)?;
        if let Some((distance, _)) = equal {
            self.push(&distance)?;
            self.rest(matched)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use lz4_flex::block;
    use proptest::prelude::*;

    use super::*;

    fn page(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 / 3) as u8).collect()
    }

    fn check(previous: &[u8], image: &[u8]) -> Option<usize> {
        let mut out = vec![0; previous.len()];
        let length = in_place(previous, image, &mut out)?;
        let mut back = vec![0; image.len()];
        let decoded = block::decompress_into_with_dict(&out[..length], &mut back, previous);
        assert_eq!((decoded.unwrap(), &back[..]), (image.len(), image));
        Some(length)
    }

    #[test]
    fn a_few_bytes_that_changed_where_they_stand_take_a_few_bytes() {
        for length in [512, 4096, 32_768] {
            let previous = page(length);
            assert!(check(&previous, &previous).unwrap() < 12 + length / 250, "nothing changed");
            for at in (0..length - 8).step_by(13) {
                let mut image = previous.clone();
                image[at..at + 8].iter_mut().for_each(|byte| *byte ^= 0x55);
                assert!(check(&previous, &image).unwrap() < 30 + length / 250, "{at} of {length}");
            }
        }
    }

    #[test]
    fn what_takes_too_much_room_or_lies_too_far_away_is_left_to_the_compressor() {
        let (previous, image) = (page(4096), vec![0x5a; 4096]);
        assert_eq!(in_place(&previous, &image, &mut [0; 256]), None);
        let previous = page(65_536);
        assert_eq!(in_place(&previous, &previous, &mut vec![0; 65_536]), None);
    }

    proptest! {
        #[test]
        fn any_changes_come_back(
            length in 13usize..5000,
            changes in proptest::collection::vec((0usize..5000, 1usize..200, any::<u8>()), 0..20),
        ) {
            let previous = page(length);
            let mut image = previous.clone();
            for (at, run, with) in changes {
                for byte in image.iter_mut().skip(at % length).take(run) {
                    *byte ^= with;
                }
            }
            check(&previous, &image);
        }
    }
}
