//! One page within a record.

use lz4_flex::block;

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
    /// An LZ4 block whose dictionary is the page's previous version.
    Delta = 2,
}

impl PageEncoding {
    pub(super) fn from_byte(byte: u8) -> Option<PageEncoding> {
        Some(match byte {
            0 => PageEncoding::ImageRaw,
            1 => PageEncoding::ImageLz4,
            2 => PageEncoding::Delta,
            _ => return None,
        })
    }
}

/// Why a page could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The block does not decompress to one page.
    #[error("page {0} does not decode to {1} bytes")]
    Damaged(PageNo, usize),
    /// A delta came without the version it builds on.
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
        let written = match self.encoding {
            PageEncoding::ImageRaw if self.bytes.len() == page_size.bytes() => {
                out.copy_from_slice(self.bytes);
                return Ok(());
            }
            PageEncoding::ImageRaw => return Err(damaged()),
            PageEncoding::ImageLz4 => block::decompress_into(self.bytes, out).ok(),
            PageEncoding::Delta => {
                let base = base.ok_or(PageError::NoBase(self.number))?;
                block::decompress_into_with_dict(self.bytes, out, base).ok()
            }
        };
        if written == Some(page_size.bytes()) {
            Ok(())
        } else {
            Err(PageError::Damaged(self.number, page_size.bytes()))
        }
    }
}

/// Appends `image` to `out`, compressed where that makes it smaller.
pub(super) fn encode_image(out: &mut Vec<u8>, number: PageNo, image: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&number.0.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let body = out.len();
    out.resize(body + block::get_maximum_output_size(image.len()), 0);
    let (encoding, length) = match block::compress_into(image, &mut out[body..]) {
        Ok(length) if length < image.len() => (PageEncoding::ImageLz4, length),
        _ => {
            out[body..body + image.len()].copy_from_slice(image);
            (PageEncoding::ImageRaw, image.len())
        }
    };
    out.truncate(body + length);
    let length = u32::try_from(length).expect("a page has at most 65,536 bytes").to_le_bytes();
    out[start + 4] = encoding as u8;
    out[start + 5..start + 8].copy_from_slice(&length[..3]);
}
