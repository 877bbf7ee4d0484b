//! JSON or protobuf: how messages travel, agreed on by the path or by the WebSocket handshake.
//!
//! Everything that is written piece by piece, so that no result is in memory twice, is put together here: a response's
//! list of results, the items of a stream, and lists that are made of such items.
//!
//! ```text
//! JSON      item\n item\n …           a list [item,item,…]
//! protobuf  length item length item …  a list key length item key length item …
//! ```

use prost::encoding::{WireType, decode_varint, encode_key};
use serde::{Deserialize, Serialize};

use crate::proto::protobuf::{self, Protobuf};

/// How messages are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Protobuf,
}

/// Bytes that are not the expected message.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) enum Unreadable {
    Json(#[from] serde_json::Error),
    Protobuf(#[from] protobuf::Invalid),
}

impl Encoding {
    /// The content type of a body.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// Reads a message.
    pub(crate) fn read<'a, T: Protobuf + Deserialize<'a>>(
        self,
        bytes: &'a [u8],
    ) -> Result<T, Unreadable> {
        Ok(match self {
            Self::Json => serde_json::from_slice(bytes)?,
            Self::Protobuf => protobuf::decode(bytes)?,
        })
    }

    /// Appends an item of a stream.
    pub(crate) fn append_item<T: Protobuf + Serialize>(self, stream: &mut Vec<u8>, item: T) {
        match self {
            Self::Json => {
                append_json(stream, &item);
                stream.push(b'\n');
            }
            Self::Protobuf => protobuf::append_delimited(stream, item),
        }
    }

    /// Appends an element to a list, the field `number` of its message.
    pub(crate) fn append_element<T: Protobuf + Serialize>(
        self,
        list: &mut Vec<u8>,
        number: u32,
        is_first: bool,
        element: T,
    ) {
        self.begin_element(list, number, is_first);
        match self {
            Self::Json => append_json(list, &element),
            Self::Protobuf => protobuf::append_delimited(list, element),
        }
    }

    /// Appends the first item of `stream` to such a list; how many bytes of the stream that was. The stream must consist
    /// of whole items.
    pub(crate) fn move_item(
        self,
        stream: &[u8],
        list: &mut Vec<u8>,
        number: u32,
        is_first: bool,
    ) -> usize {
        let (item, length) = match self {
            Self::Json => {
                let end = stream.iter().position(|byte| *byte == b'\n').expect("a line ends");
                (&stream[..end], end + 1)
            }
            Self::Protobuf => {
                let mut rest = stream;
                let length = decode_varint(&mut rest).expect("an item begins with its length");
                let length = usize::try_from(length).expect("an item is in memory");
                let length = stream.len() - rest.len() + length;
                (&stream[..length], length)
            }
        };
        self.begin_element(list, number, is_first);
        list.extend_from_slice(item);
        length
    }

    fn begin_element(self, list: &mut Vec<u8>, number: u32, is_first: bool) {
        match self {
            Self::Json if is_first => {}
            Self::Json => list.push(b','),
            Self::Protobuf => encode_key(number, WireType::LengthDelimited, list),
        }
    }
}

fn append_json<T: Serialize>(bytes: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(bytes, value).expect("the protocol's types are JSON");
}
