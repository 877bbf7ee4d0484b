//! Compression: of large results, for clients that ask for it, and of requests, when they come compressed.
//!
//! Small answers, which are most, are only asked for their length. What is compressed whole is compressed on a thread of
//! its own, and a cursor's entries where they are serialized: the thread of all sockets must not be busy for as long as that
//! takes.

use std::io::{self, Read as _, Write as _};

use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::large::beside;

/// Bodies of fewer bytes are sent as they are: they fit into few packets, and compressing costs more than it saves.
pub(super) const LEAST: usize = 4096;
/// Fast ones; both make rows of JSON several times smaller.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;
/// Memory that reading zstd may take, as a power of two.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A way to compress that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    /// The best of those that the client names as acceptable. One that is acceptable only as "anything else" is not
    /// taken: to send a body as it is, is always right.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let lists = headers.get_all(ACCEPT_ENCODING).iter();
        let names = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
        let accepted = names.filter_map(|item| {
            let (name, weight) = item.split_once(';').unwrap_or((item, ""));
            let is_refused = weight.split_once('=').is_some_and(|(name, weight)| {
                name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0)
            });
            Self::of_name(name.trim()).filter(|_| !is_refused)
        });
        accepted.max_by_key(|coding| *coding == Self::Zstd)
    }

    /// How a request's body is compressed.
    ///
    /// # Errors
    /// The name of a coding that is not served.
    pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
        let name = String::from_utf8_lossy(value.as_bytes());
        match Self::of_name(name.trim()) {
            None if name.trim().eq_ignore_ascii_case("identity") => Ok(None),
            None => Err(name.into_owned()),
            known => Ok(known),
        }
    }

    pub(super) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// The compressed body.
    pub(super) async fn compress(self, body: Vec<u8>) -> Vec<u8> {
        beside(move || {
            let mut compressor = Compressor::new(self);
            let mut compressed = compressor.push(&body);
            compressed.extend(compressor.finish());
            compressed
        })
        .await
    }

    /// The body that was compressed; none if it is longer than `limit`.
    ///
    /// # Errors
    /// If the bytes are not of this coding.
    pub(super) async fn decompress(self, body: Bytes, limit: usize) -> io::Result<Option<Bytes>> {
        beside(move || self.inflate(&body, limit)).await
    }

    fn inflate(self, body: &[u8], limit: usize) -> io::Result<Option<Bytes>> {
        let mut plain = Vec::new();
        let most = limit as u64 + 1;
        match self {
            Self::Gzip => {
                flate2::read::MultiGzDecoder::new(body).take(most).read_to_end(&mut plain)?
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                decoder.take(most).read_to_end(&mut plain)?
            }
        };
        Ok((plain.len() <= limit).then(|| plain.into()))
    }
}

/// Compresses a body piece by piece.
pub(super) enum Compressor {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    pub(super) fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL);
                Self::Zstd(encoder.expect("the level exists"))
            }
        }
    }

    /// What to send for `piece`, so that the receiver can read all of it at once.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let written = match self {
            Self::Gzip(encoder) => encoder.write_all(piece).and_then(|()| encoder.flush()),
            Self::Zstd(encoder) => encoder.write_all(piece).and_then(|()| encoder.flush()),
        };
        written.expect("a vector takes everything");
        std::mem::take(match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        })
    }

    /// What to send last.
    pub(super) fn finish(self) -> Vec<u8> {
        let rest = match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        };
        rest.expect("a vector takes everything")
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn accepted(lists: &[&'static str]) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(list));
        }
        Coding::accepted(&headers)
    }

    proptest! {
        #[test]
        fn no_header_and_no_body_makes_a_reader_panic(text: String, body in vec(any::<u8>(), 0..200)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(ACCEPT_ENCODING, value.clone());
                headers.insert(CONTENT_ENCODING, value);
            }
            let _judged = (Coding::accepted(&headers), Coding::of_request(&headers));
            for (coding, magic) in
                [(Coding::Gzip, &[0x1f, 0x8b, 8][..]), (Coding::Zstd, &[0x28, 0xb5, 0x2f, 0xfd])]
            {
                let plain = coding.inflate(&[magic, &body].concat(), 1000);
                prop_assert!(!plain.is_ok_and(|plain| plain.is_some_and(|plain| plain.len() > 1000)));
            }
        }
    }

    #[test]
    fn only_what_the_client_names_is_used() {
        for (lists, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["identity"], None),
            (&["*"], None),
            (&["br, deflate"], None),
            (&["gzip, deflate, br"], Some(Coding::Gzip)),
            (&["gzip;q=0, deflate"], None),
            (&["gzip;q=0.000"], None),
            (&["gzip; Q=0"], None),
            (&["GZIP;q=0.5"], Some(Coding::Gzip)),
            (&["zstd, gzip"], Some(Coding::Zstd)),
            (&["gzip, zstd"], Some(Coding::Zstd)),
            (&["gzip, zstd; q=0"], Some(Coding::Gzip)),
            (&["deflate", "x-gzip"], Some(Coding::Gzip)),
        ] {
            assert_eq!(accepted(lists), coding, "{lists:?}");
        }
    }

    #[tokio::test]
    async fn what_was_compressed_comes_back_and_is_bounded() {
        let body: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for coding in [Coding::Gzip, Coding::Zstd] {
            let compressed = Bytes::from(coding.compress(body.clone()).await);
            assert!(compressed.len() < body.len() / 2);
            let plain = coding.decompress(compressed.clone(), body.len()).await.unwrap();
            assert_eq!(plain.as_deref(), Some(&body[..]));
            let plain = coding.decompress(compressed.clone(), body.len() - 1).await.unwrap();
            assert_eq!(plain, None);
            assert!(coding.decompress(compressed.slice(..100), body.len()).await.is_err());
            assert!(coding.decompress(body.clone().into(), body.len()).await.is_err());
        }
    }

    #[tokio::test]
    async fn each_piece_can_be_read_when_it_arrives() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let mut compressor = Compressor::new(coding);
            let first = compressor.push(b"first");
            let mut plain = [0; 5];
            match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&*first).read_exact(&mut plain),
                Coding::Zstd => {
                    zstd::stream::read::Decoder::new(&*first).unwrap().read_exact(&mut plain)
                }
            }
            .unwrap();
            assert_eq!(&plain, b"first");
            let whole = [first, compressor.push(b" second"), compressor.finish()].concat();
            let plain = coding.decompress(whole.into(), 100).await.unwrap();
            assert_eq!(plain.as_deref(), Some(&b"first second"[..]));
        }
    }
}
