//! Encoding a page: as what changed since its previous version where that is known, else as an image.
//!
//! Not everything is tried. Most commits change few bytes, which comparing finds in a fraction of the time that a
//! compressor takes, and says in fewer; only where it finds too much, LZ4 looks for what was moved.

use std::fmt;

use lz4_flex::block::{self, CompressTable};

use super::{delta, page::PAGE_HEADER_LEN, page::PageEncoding};
use crate::ids::PageNo;

/// What encoding needs room for: kept from page to page, it spares allocations. It holds nothing of the pages.
#[derive(Default)]
pub struct PageEncoder {
    table: CompressTable,
    out: Vec<u8>,
}

impl fmt::Debug for PageEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageEncoder").finish_non_exhaustive()
    }
}

impl PageEncoder {
    /// Appends a page to `record`: as a delta if `previous` is given, else as an image.
    pub(super) fn append(
        &mut self,
        record: &mut Vec<u8>,
        number: PageNo,
        previous: Option<&[u8]>,
        image: &[u8],
    ) {
        let (encoding, bytes) = match previous {
            Some(previous) => self.delta(previous, image),
            None => (PageEncoding::ImageLz4, self.compressed(image)),
        };
        let (encoding, bytes) = match bytes {
            Some(bytes) if bytes.len() < image.len() => (encoding, bytes),
            _ => (PageEncoding::ImageRaw, image),
        };
        let length = u32::try_from(bytes.len()).expect("a page has at most 65,536 bytes");
        record.reserve(PAGE_HEADER_LEN + bytes.len());
        record.extend_from_slice(&number.0.to_le_bytes());
        record.push(encoding as u8);
        record.extend_from_slice(&length.to_le_bytes()[..3]);
        record.extend_from_slice(bytes);
    }

    fn room(&mut self, page: usize) {
        let room = block::get_maximum_output_size(page);
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
    }

    fn compressed(&mut self, image: &[u8]) -> Option<&[u8]> {
        self.room(image.len());
        let written = block::compress_into_with_table(image, &mut self.out, &mut self.table);
        written.ok().map(|length| &self.out[..length])
    }

    fn delta(&mut self, previous: &[u8], image: &[u8]) -> (PageEncoding, Option<&[u8]>) {
        self.room(image.len());
        // A row of usual length fits. Beyond that it is likely that rows have moved: LZ4 finds where they were.
        let most = (image.len() / 16).max(64);
        if let Some(length) = delta::encode(previous, image, &mut self.out[..most]) {
            return (PageEncoding::Delta, Some(&self.out[..length]));
        }
        let written = block::compress_into_with_dict(image, &mut self.out, previous);
        (PageEncoding::DeltaLz4, written.ok().map(|length| &self.out[..length]))
    }
}
