//! Scattered pages of one database in one frame. [`super`] draws the bytes.

use bytes::Bytes;

use crate::{
    frame::MAX_PAYLOAD_LEN,
    ids::{DatabaseId, PageNo, PageSize},
};

const HEAD_LEN: usize = 16;
const RAW: u8 = 0;
const LZ4: u8 = 1;

/// Pages of one database.
///
/// - there is at least one, and the numbers ascend strictly;
/// - neither page 0 nor the lock page is among them;
/// - `bytes` holds them in the order of `numbers`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentPages {
    /// The database.
    pub database: DatabaseId,
    /// The size of each page.
    pub page_size: PageSize,
    /// The pages' numbers.
    pub numbers: Vec<PageNo>,
    /// The pages' bytes.
    pub bytes: Bytes,
}

/// Why a payload is not a set of pages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pages of a copy do not verify: {0}")]
pub struct PagesError(pub &'static str);

impl SentPages {
    /// Each page with its number, in order.
    pub fn iter(&self) -> impl Iterator<Item = (PageNo, &[u8])> {
        self.numbers.iter().copied().zip(self.bytes.chunks_exact(self.page_size.bytes()))
    }

    /// The frame's payload; compressed if that makes it shorter.
    ///
    /// # Panics
    /// If the pages are none, out of order, too many for a frame, or fewer or more than their bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = self.numbers.len() * self.page_size.bytes();
        assert!(!self.numbers.is_empty(), "a set of pages has pages");
        assert_eq!(self.bytes.len(), length, "as many bytes as the pages have");
        assert!(in_order(&self.numbers, self.page_size), "the pages are given in order");
        let head = HEAD_LEN + 4 * self.numbers.len();
        assert!(head + length <= MAX_PAYLOAD_LEN, "the sender splits sets of pages");
        let mut out = Vec::with_capacity(head + length / 2);
        out.extend_from_slice(&self.database.0.to_le_bytes());
        let count = u32::try_from(self.numbers.len()).expect("at most 8 MiB of pages");
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[self.page_size.log2(), RAW, 0, 0, 0, 0, 0, 0]);
        for number in &self.numbers {
            out.extend_from_slice(&number.0.to_le_bytes());
        }
        let packed = lz4_flex::block::compress_prepend_size(&self.bytes);
        if packed.len() < self.bytes.len() {
            out[9] = LZ4;
            out.extend_from_slice(&packed);
        } else {
            out.extend_from_slice(&self.bytes);
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`PagesError`] for anything else; never panics, never allocates more than a frame may hold.
    pub fn decode(payload: &Bytes) -> Result<SentPages, PagesError> {
        let bad = |why| Err(PagesError(why));
        let Some(head) = payload.first_chunk::<HEAD_LEN>() else {
            return bad("they are too short");
        };
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
        let (database, count) = (DatabaseId(word(0)), word(4) as usize);
        let Some(page_size) = PageSize::from_log2(head[8]) else {
            return bad("the page size is none of SQLite's");
        };
        if head[10..] != [0; 6] || head[9] > LZ4 {
            return bad("the encoding is unknown");
        }
        let length = count.saturating_mul(page_size.bytes());
        if count == 0 || length > MAX_PAYLOAD_LEN || payload.len() < HEAD_LEN + 4 * count {
            return bad("the number of pages is impossible");
        }
        let numbers: Vec<PageNo> = payload[HEAD_LEN..HEAD_LEN + 4 * count]
            .chunks_exact(4)
            .map(|number| PageNo(u32::from_le_bytes(number.try_into().expect("four"))))
            .collect();
        if !in_order(&numbers, page_size) {
            return bad("the page numbers are impossible or out of order");
        }
        let rest = payload.slice(HEAD_LEN + 4 * count..);
        let bytes = if head[9] == RAW { rest } else { unpack(&rest, length)? };
        if bytes.len() != length {
            return bad("the length contradicts the number of pages");
        }
        Ok(SentPages { database, page_size, numbers, bytes })
    }
}

fn unpack(packed: &Bytes, length: usize) -> Result<Bytes, PagesError> {
    // The announced size is checked before anything is allocated for it.
    let announced = packed.first_chunk::<4>().map(|size| u32::from_le_bytes(*size) as usize);
    if announced != Some(length) {
        return Err(PagesError("the compressed length contradicts the number of pages"));
    }
    let bytes = lz4_flex::block::decompress(&packed[4..], length);
    bytes.map(Bytes::from).map_err(|_| PagesError("the compressed block is damaged"))
}

fn in_order(numbers: &[PageNo], page_size: PageSize) -> bool {
    numbers.first().is_some_and(|first| first.0 > 0)
        && numbers.windows(2).all(|pair| pair[0] < pair[1])
        && !numbers.contains(&page_size.lock_page())
}
