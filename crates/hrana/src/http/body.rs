//! Reads a request's body: bounded first, then parsed.

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use tokio::time::timeout;

use super::compress::Coding;
use crate::encoding::Encoding;
use crate::proto::protobuf::Protobuf;
use crate::resolve::bad_request;
use crate::{Error, ErrorKind, Limits, codes};

/// The bytes of a body, as they were before `coding` made fewer of them.
///
/// # Errors
/// `REQUEST_TOO_LARGE`, `REQUEST_TIMEOUT`, or `BAD_REQUEST` if the client stopped in the middle.
pub(super) async fn read(
    body: Body,
    coding: Option<Coding>,
    limits: &Limits,
) -> Result<Bytes, Error> {
    let limit = limits.request_bytes;
    let bytes = receive(body, limits).await?;
    let Some(coding) = coding else { return Ok(bytes) };
    let plain = coding.decompress(bytes, limit).await.map_err(|error| {
        bad_request(format!("The request body is not valid {}: {error}.", coding.name()))
    })?;
    plain.ok_or_else(|| too_large(limit))
}

async fn receive(mut body: Body, limits: &Limits) -> Result<Bytes, Error> {
    let limit = limits.request_bytes;
    // Announced: nothing of it need be awaited.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let mut limited = Limited::new(&mut body, limit);
    // Most bodies arrive in one piece, which is not copied.
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while !limited.is_end_stream() {
        let next = timeout(limits.request_idle, limited.frame());
        match next.await.map_err(|_elapsed| stalled(limits))? {
            None => break,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if first.is_empty() => first = data,
                Ok(data) => {
                    if whole.is_empty() {
                        whole.extend_from_slice(&first);
                    }
                    whole.extend_from_slice(&data);
                }
                Err(_trailers) => {}
            },
            Some(Err(error)) if error.is::<LengthLimitError>() => {
                discard(body, limits).await;
                return Err(too_large(limit));
            }
            Some(Err(error)) => {
                return Err(bad_request(format!("The request body could not be read: {error}.")));
            }
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn too_large(limit: usize) -> Error {
    let message = format!(
        "The request body is longer than the limit of {limit} bytes. Split the request, or raise \
         the limit in the server's settings."
    );
    Error::new(ErrorKind::TooLarge, codes::REQUEST_TOO_LARGE, message)
}

fn stalled(limits: &Limits) -> Error {
    let message = format!(
        "The request body is not complete, and nothing more of it came for {} s. Send it again.",
        limits.request_idle.as_secs()
    );
    Error::new(ErrorKind::Timeout, codes::REQUEST_TIMEOUT, message)
}

/// Reads on, as many bytes as the limit at most: a client that is still sending when the connection closes sees a reset
/// instead of the answer.
async fn discard(mut body: Body, limits: &Limits) {
    let mut left = limits.request_bytes;
    while let Ok(Some(Ok(frame))) = timeout(limits.request_idle, body.frame()).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// The message in a body. `what` names the expected body in the error.
///
/// # Errors
/// `BAD_REQUEST` that says what is wrong and where.
pub(super) fn parse<'a, T: Protobuf + Deserialize<'a>>(
    body: &'a [u8],
    encoding: Encoding,
    what: &str,
) -> Result<T, Error> {
    encoding.read(body).map_err(|error| not_valid(what, &error))
}

/// The same for what travels as JSON only.
pub(super) fn parse_json<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| not_valid(what, &error))
}

fn not_valid(what: &str, error: &dyn std::fmt::Display) -> Error {
    bad_request(format!("The request body is not a valid {what}: {error}."))
}
