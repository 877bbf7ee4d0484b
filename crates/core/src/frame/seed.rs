//! The payload of seed pages, raw or compressed.

use bytes::Bytes;

use super::{Frame, FrameType, MAX_PAYLOAD_LEN};
use crate::ids::{DatabaseId, Lsn, PageNo, PageSize};

/// Bytes of a payload before its pages.
pub const SEED_HEAD_LEN: usize = 24;

/// Places of a run that are looked at before it is compressed, and bytes of each.
const SAMPLES: usize = 4;
const SAMPLE_LEN: usize = 4 << 10;

/// A run of consecutive pages of one database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeedPages {
    /// The database.
    pub database: DatabaseId,
    /// The first page's number; at least 1.
    pub first: PageNo,
    /// The size of each page.
    pub page_size: PageSize,
    /// None of the pages shows an event above this position.
    pub shown: Lsn,
    /// The pages' bytes, a whole number of pages.
    pub bytes: Bytes,
}

/// Why a payload is not a run of pages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed pages from the partner do not verify: {0}")]
pub struct SeedPagesError(pub &'static str);

impl SeedPages {
    /// How many pages there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.bytes.len() / self.page_size.bytes()).expect("at most 8 MiB of pages")
    }

    /// The frame's type and payload; compressed if that makes it shorter.
    ///
    /// # Panics
    /// As [`parts`](Self::parts).
    #[must_use]
    pub fn encode(&self, compress: bool) -> (FrameType, Vec<u8>) {
        let (kind, parts) = self.parts(compress);
        (kind, parts.concat())
    }

    /// The same in parts that make up the payload: pages that are not compressed need not be copied into it.
    ///
    /// # Panics
    /// If the bytes are no whole number of pages, none at all, or too many for a frame.
    #[must_use]
    pub fn parts(&self, compress: bool) -> (FrameType, [Bytes; 2]) {
        let size = self.page_size.bytes();
        assert!(
            !self.bytes.is_empty() && self.bytes.len().is_multiple_of(size),
            "whole pages only, and at least one"
        );
        assert!(self.bytes.len() + SEED_HEAD_LEN <= MAX_PAYLOAD_LEN, "the sender splits runs");
        let mut head = Vec::with_capacity(SEED_HEAD_LEN);
        head.extend_from_slice(&self.database.0.to_le_bytes());
        head.extend_from_slice(&self.first.0.to_le_bytes());
        head.extend_from_slice(&self.count().to_le_bytes());
        head.extend_from_slice(&[self.page_size.log2(), 0, 0, 0]);
        head.extend_from_slice(&self.shown.0.to_le_bytes());
        let head = Bytes::from(head);
        if compress && self.seems_to_shrink() {
            let packed = lz4_flex::block::compress_prepend_size(&self.bytes);
            if packed.len() < self.bytes.len() {
                return (FrameType::SeedPagesLz4, [head, packed.into()]);
            }
        }
        (FrameType::SeedPages, [head, self.bytes.clone()])
    }

    /// Whether a few of the pages shrink. Compressing what does not costs as much as reading it from the disk's cache.
    fn seems_to_shrink(&self) -> bool {
        let sample = self.bytes.len().div_ceil(SAMPLES);
        let pieces = self.bytes.chunks(sample).map(|piece| &piece[..piece.len().min(SAMPLE_LEN)]);
        pieces.into_iter().any(|piece| {
            let packed = lz4_flex::block::compress(piece);
            packed.len() < piece.len() - piece.len() / 16
        })
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`SeedPagesError`] for anything else; never panics, never allocates more than a frame may hold.
    pub fn decode(frame: &Frame) -> Result<SeedPages, SeedPagesError> {
        let payload = &frame.payload;
        let bad = |why| Err(SeedPagesError(why));
        if payload.len() < SEED_HEAD_LEN {
            return bad("they are too short");
        }
        let word = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().expect("four"));
        let (database, first, count) = (word(0), word(4), word(8) as usize);
        let Some(page_size) = PageSize::from_log2(payload[12]) else {
            return bad("the page size is none of SQLite's");
        };
        if payload[13..16] != [0; 3] {
            return bad("reserved bytes are not 0");
        }
        let shown = Lsn(u64::from_le_bytes(payload[16..24].try_into().expect("eight")));
        let length = count.saturating_mul(page_size.bytes());
        if count == 0 || length > MAX_PAYLOAD_LEN || first == 0 {
            return bad("the number of pages is impossible");
        }
        if first.checked_add(word(8) - 1).is_none() {
            return bad("the page numbers do not fit");
        }
        let rest = payload.slice(SEED_HEAD_LEN..);
        let bytes = match frame.kind {
            FrameType::SeedPages => rest,
            FrameType::SeedPagesLz4 => {
                // The announced size is checked before anything is allocated for it.
                if rest.first_chunk::<4>().map(|size| u32::from_le_bytes(*size) as usize)
                    != Some(length)
                {
                    return bad("the compressed length contradicts the number of pages");
                }
                match lz4_flex::block::decompress(&rest[4..], length) {
                    Ok(bytes) => Bytes::from(bytes),
                    Err(_) => return bad("the compressed block is damaged"),
                }
            }
            _ => return bad("the frame has another type"),
        };
        if bytes.len() != length {
            return bad("the length contradicts the number of pages");
        }
        let (database, first) = (DatabaseId(database), PageNo(first));
        Ok(SeedPages { database, first, page_size, shown, bytes })
    }
}
