//! Responses. The content type is exactly `application/json`, without a charset: the TypeScript
//! client compares it as a whole before it looks for an error in the body.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use crate::{Error, ErrorKind, proto};

/// A response with a body of JSON.
pub(crate) fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response that is an error as a whole.
pub(crate) fn error_response(error: &Error) -> Response {
    let status = error.kind.status();
    if status.is_server_error() {
        tracing::warn!(code = %error.code, "request failed: {}", error.message);
    }
    let body = serde_json::to_vec(&proto::Error::from(error.clone()));
    let mut response = json_response(status, body.expect("an error is JSON"));
    if error.kind == ErrorKind::TooLarge {
        // The rest of the request is not read, so the connection ends; a client that is not told
        // would send its next request on it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
