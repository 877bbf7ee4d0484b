//! One page within a record.

use lz4_flex::block;

use super::delta;
use crate::ids::{PageNo, PageSize};

/// Bytes before a page's content.
pub(super) const PAGE_HEADER_LEN: usize = 8;

/// How a page's bytes stand for the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PageEncoding {
    /// The page itself.
    ImageRaw = 0,
    /// The page as one LZ4 block.
    ImageLz4 = 1,
    /// What changed (drawn in `delta.rs`) since the page's previous version.
    Delta = 2,
    /// The same as an LZ4 block whose dictionary is that version.
    DeltaLz4 = 3,
}

impl PageEncoding {
    pub(super) fn from_byte(byte: u8) -> Option<PageEncoding> {
        Some(match byte {
            0 => PageEncoding::ImageRaw,
            1 => PageEncoding::ImageLz4,
            2 => PageEncoding::Delta,
            3 => PageEncoding::DeltaLz4,
            _ => return None,
        })
    }

    /// Whether it needs the page's previous version.
    #[must_use]
    pub fn is_delta(self) -> bool {
        matches!(self, PageEncoding::Delta | PageEncoding::DeltaLz4)
    }
}

/// Why a page could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The block does not decompress to one page.
    #[error("page {0} does not decode to {1} bytes")]
    Damaged(PageNo, usize),
    /// A delta came without the version it builds on, or of page 1, of which there are no deltas.
    #[error("page {0} is a delta and its previous version is not known")]
    NoBase(PageNo),
}

/// A page as it stands in a record.
#[derive(Clone, Copy, Debug)]
pub struct PageView<'a> {
    /// Which page.
    pub number: PageNo,
    /// How `bytes` stand for it.
    pub encoding: PageEncoding,
    /// Its encoded bytes.
    pub bytes: &'a [u8],
}

impl PageView<'_> {
    /// Writes the page's image to `out`, which is one page long. `base` is the page's previous version, needed
    /// for a delta only.
    ///
    /// # Errors
    /// [`PageError`] when the bytes do not make one page, or a delta has no base.
    ///
    /// # Panics
    /// If `out` is not `page_size` long.
    pub fn decode(
        &self,
        page_size: PageSize,
        base: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), PageError> {
        assert_eq!(out.len(), page_size.bytes(), "the caller gives room for one page");
        let damaged = || PageError::Damaged(self.number, out.len());
        // The counters of page 1 are each server's own.
        let base = base.filter(|_| self.number != PageNo(1));
        let base = || base.ok_or(PageError::NoBase(self.number));
        let written = match self.encoding {
            PageEncoding::ImageRaw if self.bytes.len() == page_size.bytes() => {
                out.copy_from_slice(self.bytes);
                return Ok(());
            }
            PageEncoding::ImageRaw => return Err(damaged()),
            PageEncoding::ImageLz4 => block::decompress_into(self.bytes, out).ok(),
            PageEncoding::Delta => delta::decode(base()?, self.bytes, out).map(|()| out.len()),
            PageEncoding::DeltaLz4 => {
                block::decompress_into_with_dict(self.bytes, out, base()?).ok()
            }
        };
        if written == Some(page_size.bytes()) {
            Ok(())
        } else {
            Err(PageError::Damaged(self.number, page_size.bytes()))
        }
    }
}
