//! What changed in a page, as instructions that make it from its previous version.
//!
//! ```text
//! an instruction begins with a number: 7 bits in each byte, the lowest first; the highest bit says that more follow
//!     its lowest 2 bits: what to do; the others: a length n, at least 1
//!         0  n bytes as they stand in the previous version
//!         1  the n bytes that follow
//!         2  n bytes of the previous version that stood further on, or before: one more byte says how far, signed
//! after the last one, all is as in the previous version
//! ```
//!
//! Bytes that moved a little are what deleting or inserting a row makes of the numbers that lead to the rows behind it.

/// Fewer equal bytes than this cost as much when they are said again.
const WORTH_IT: usize = 4;

/// The same for bytes that moved.
const WORTH_MOVING: usize = 8;

/// How far numbers move when up to eight rows came or went.
const DISTANCES: [i8; 16] = [2, -2, 4, -4, 6, -6, 8, -8, 10, -10, 12, -12, 14, -14, 16, -16];

const SAME: usize = 0;
const NEW: usize = 1;
const MOVED: usize = 2;

/// Writes the instructions into `out`; their length. `None` if they do not fit.
pub(super) fn encode(previous: &[u8], image: &[u8], out: &mut [u8]) -> Option<usize> {
    if previous.len() != image.len() {
        return None;
    }
    let mut out = Output { bytes: out, length: 0 };
    let mut written = 0;
    loop {
        let begin = next_difference(previous, image, written);
        if begin == image.len() {
            return Some(out.length);
        }
        if begin > written {
            out.instruction(SAME, begin - written)?;
        }
        // More than there is room for need not be looked at.
        let most = image.len().min(begin + out.room() + 1);
        let end = (begin..most).find(|&at| next(previous, image, at).is_some()).unwrap_or(most);
        if end > begin {
            out.instruction(NEW, end - begin)?;
            out.push(&image[begin..end])?;
        }
        written = end;
        if let Some(Some((distance, length))) =
            (end < most).then(|| next(previous, image, end)).flatten()
        {
            out.instruction(MOVED, length)?;
            out.push(&distance.to_le_bytes())?;
            written += length;
        }
    }
}

/// Makes the page in `out`, which is as long as `previous`. `None` if the instructions do not make one.
pub(super) fn decode(previous: &[u8], bytes: &[u8], out: &mut [u8]) -> Option<()> {
    if previous.len() != out.len() {
        return None;
    }
    out.copy_from_slice(previous);
    let (mut bytes, mut at) = (bytes, 0_usize);
    while !bytes.is_empty() {
        let number = take_number(&mut bytes)?;
        let length = number >> 2;
        let place = out.get_mut(at..at.checked_add(length)?)?;
        match number & 3 {
            SAME => {}
            NEW => place.copy_from_slice(bytes.split_off(..length)?),
            MOVED => {
                let distance = i8::from_le_bytes([*bytes.split_off_first()?]);
                let from = at.checked_add_signed(isize::from(distance))?;
                place.copy_from_slice(previous.get(from..from + length)?);
            }
            _ => return None,
        }
        at += length;
    }
    Some(())
}

fn take_number(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    // Three bytes say more than the longest page.
    for shift in [0, 7, 14] {
        let byte = *bytes.split_off_first()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What is worth an instruction of its own from `at` on: bytes as they were (`None` inside), or how far some have moved, and how
/// many.
fn next(previous: &[u8], image: &[u8], at: usize) -> Option<Option<(i8, usize)>> {
    let here = &image[at..];
    let worth = WORTH_IT.min(here.len());
    if here[..worth] == previous[at..at + worth] {
        return Some(None);
    }
    let begin = here.get(..WORTH_MOVING)?;
    DISTANCES.into_iter().find_map(|distance| {
        let from = at.checked_add_signed(isize::from(distance))?;
        let there = previous.get(from..)?;
        if there.get(..WORTH_MOVING)? != begin {
            return None;
        }
        let length = here.iter().zip(there).take_while(|(a, b)| a == b).count();
        Some(Some((distance, length)))
    })
}

/// The first byte that differs, from `at` on, or the end of the page.
fn next_difference(previous: &[u8], image: &[u8], at: usize) -> usize {
    const STEP: usize = 32;
    let steps = previous[at..].chunks_exact(STEP).zip(image[at..].chunks_exact(STEP));
    let at = at + STEP * steps.take_while(|(a, b)| a == b).count();
    let bytes = previous[at..].iter().zip(&image[at..]);
    at + bytes.take_while(|(a, b)| a == b).count()
}

/// Instructions that must not become longer than their room.
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

    fn instruction(&mut self, what: usize, length: usize) -> Option<()> {
        let mut number = length << 2 | what;
        while number > 0x7f {
            self.push(&[(number & 0x7f) as u8 | 0x80])?;
            number >>= 7;
        }
        self.push(&[number as u8])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 / 3) as u8).collect()
    }

    fn check(previous: &[u8], image: &[u8]) -> Option<usize> {
        let mut out = vec![0; previous.len()];
        let length = encode(previous, image, &mut out)?;
        let mut back = vec![0xee; image.len()];
        assert_eq!(decode(previous, &out[..length], &mut back), Some(()));
        assert_eq!(back, image);
        Some(length)
    }

    #[test]
    fn a_few_bytes_that_changed_where_they_stand_take_little_more() {
        for length in [512, 4096, 65_536] {
            let previous = page(length);
            assert_eq!(check(&previous, &previous), Some(0), "nothing changed");
            for at in (0..length - 8).step_by(13) {
                let mut image = previous.clone();
                image[at..at + 8].iter_mut().for_each(|byte| *byte ^= 0x55);
                assert!(check(&previous, &image).unwrap() <= 12, "{at} of {length}");
            }
        }
    }

    #[test]
    fn numbers_that_moved_up_or_down_take_few_bytes() {
        let previous: Vec<u8> =
            (0..1024u32).flat_map(|n| ((n * 40_503) as u16).to_be_bytes()).collect();
        for rows in 1..=8 {
            let mut image = previous.clone();
            image.copy_within(100 + 2 * rows..300, 100);
            assert!(check(&previous, &image).unwrap() < 30, "{rows} went");
            let mut image = previous.clone();
            image.copy_within(100..300, 100 + 2 * rows);
            assert!(check(&previous, &image).unwrap() < 30, "{rows} came");
        }
    }

    #[test]
    fn what_takes_too_much_room_is_left_to_the_compressor() {
        let (previous, image) = (page(4096), vec![0x5a; 4096]);
        assert_eq!(encode(&previous, &image, &mut [0; 256]), None);
        assert_eq!(encode(&previous[1..], &image, &mut [0; 256]), None, "pages of one size");
    }

    proptest! {
        #[test]
        fn any_changes_come_back(
            length in 13usize..5000,
            changes in proptest::collection::vec((0usize..5000, 1usize..200, any::<u8>()), 0..20),
            moves in proptest::collection::vec((0usize..5000, 1usize..200, -40isize..40), 0..4),
        ) {
            let previous = page(length);
            let mut image = previous.clone();
            for (at, run, distance) in moves {
                let at = at % length;
                let run = run.min(length - at);
                let to = at.saturating_add_signed(distance).min(length - run);
                image.copy_within(at..at + run, to);
            }
            for (at, run, with) in changes {
                for byte in image.iter_mut().skip(at % length).take(run) {
                    *byte ^= with;
                }
            }
            check(&previous, &image);
        }

        #[test]
        fn arbitrary_instructions_stay_within_the_page(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let previous = page(512);
            let mut out = vec![0; 512];
            // Either it makes a page or it does not; nothing else is touched, and nothing panics.
            let made = decode(&previous, &bytes, &mut out);
            prop_assert!(made.is_none() || out.len() == 512);
        }
    }
}
