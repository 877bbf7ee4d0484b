//! Reads a request's body: bounded first, then parsed.

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;

use crate::encoding::Encoding;
use crate::proto::protobuf::Protobuf;
use crate::resolve::bad_request;
use crate::{Error, ErrorKind, codes};

/// The bytes of a body, of at most `limit`.
///
/// # Errors
/// `REQUEST_TOO_LARGE`, or `BAD_REQUEST` if the client stopped in the middle.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, Error> {
    // Announced: nothing of it need be awaited.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let mut body = body;
    match Limited::new(&mut body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(body, limit).await;
            Err(too_large(limit))
        }
        Err(error) => Err(bad_request(format!("The request body could not be read: {error}."))),
    }
}

fn too_large(limit: usize) -> Error {
    let message = format!(
        "The request body is longer than the limit of {limit} bytes. Split the request, or raise \
         the limit in the server's settings."
    );
    Error::new(ErrorKind::TooLarge, codes::REQUEST_TOO_LARGE, message)
}

/// Reads on, `most` bytes at most: a client that is still sending when the connection closes sees a
/// reset instead of the answer.
async fn discard(mut body: Body, most: usize) {
    let mut left = most;
    while let Some(Ok(frame)) = body.frame().await {
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
