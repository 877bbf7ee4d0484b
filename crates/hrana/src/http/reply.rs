//! Responses. The content type is exactly `application/json`, without a charset: the TypeScript
//! client compares it as a whole before it looks for an error in the body.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use crate::{Error, proto};

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
    json_response(status, body.expect("an error is JSON"))
}
