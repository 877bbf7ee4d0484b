//! Bounds what a message takes in memory, before it is read.
//!
//! An empty message takes two bytes on the wire, and a hundred when it is read. In JSON the least that can be said of
//! a value, a statement or a request takes sixteen bytes, so that the limit of a request's bytes is a limit of its memory
//! as well. Here messages are counted first, which touches each of them once and copies nothing.

use prost::bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::Invalid;

/// Bytes of a message for each message inside of it; as many as the shortest value takes in JSON.
const BYTES_EACH: usize = 16;
/// Messages that even a short message may have.
const ALWAYS: usize = 1024;

/// The fields of a message that are messages themselves, by number.
#[derive(Debug, Clone, Copy)]
pub struct Shape(pub(super) &'static [(u32, &'static Shape)]);

/// Refuses a message of more messages than its length gives reason for. Bytes that are not protobuf pass: whoever reads
/// them says better what is wrong.
pub(super) fn check(bytes: &[u8], shape: &Shape) -> Result<(), Invalid> {
    let most = ALWAYS.max(bytes.len() / BYTES_EACH);
    let mut left = most;
    match count(bytes, shape, &mut left) {
        Some(()) => Ok(()),
        None => Err(Invalid::TooMany(most)),
    }
}

/// Counts down; none when there is nothing left to count down from. How deep messages lie inside each other is bounded
/// as well: each takes one from `left`, and prost refuses more than a hundred.
fn count(mut bytes: &[u8], shape: &Shape, left: &mut usize) -> Option<()> {
    // What is wrong ends only the message that it is in: whoever reads has come to the ones before by then.
    // A list of its own instead of recursion: the depth is not checked yet.
    let mut waiting: Vec<(&[u8], &Shape)> = Vec::new();
    let mut shape = shape;
    loop {
        while bytes.has_remaining() {
            let Ok((tag, wire)) = decode_key(&mut bytes) else { break };
            let inner = shape.0.iter().find(|(number, _)| *number == tag);
            let (WireType::LengthDelimited, Some((_, inner))) = (wire, inner) else {
                if skip_field(wire, tag, &mut bytes, DecodeContext::default()).is_err() {
                    break;
                }
                continue;
            };
            let Ok(length) = decode_varint(&mut bytes) else { break };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some((message, rest)) = bytes.split_at_checked(length) else { break };
            *left = left.checked_sub(1)?;
            if !inner.0.is_empty() {
                waiting.push((message, inner));
            }
            bytes = rest;
        }
        let Some(next) = waiting.pop() else { return Some(()) };
        (bytes, shape) = next;
    }
}
