//! Responses. The content type of JSON is exactly `application/json`, without a charset: the TypeScript
//! client compares it as a whole before it looks for an error in the body. For the same reason an error is JSON
//! whatever the encoding of the request: that client looks for it nowhere else, and the specification has clients go by
//! the content type.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::compress::{self, Coding};
use crate::encoding::Encoding;
use crate::{Error, codes, proto};

/// A response of results, compressed if they are many and the client accepts it.
pub(super) async fn results(
    encoding: Encoding,
    body: Vec<u8>,
    accepted: Option<Coding>,
) -> Response {
    let Some(coding) = accepted.filter(|_| body.len() >= compress::LEAST) else {
        return response(StatusCode::OK, encoding, body);
    };
    let mut response = response(StatusCode::OK, encoding, coding.compress(body).await);
    response.headers_mut().insert(CONTENT_ENCODING, coding.header());
    response
}

/// A response with a body in the given encoding.
pub(crate) fn response(status: StatusCode, encoding: Encoding, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(encoding.content_type());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A response that is an error as a whole.
pub(crate) fn error_response(error: &Error) -> Response {
    let status = error.kind.status();
    if status.is_server_error() {
        tracing::warn!(code = %error.code, "request failed: {}", error.message);
    }
    let body = serde_json::to_vec(&proto::Error::from(error.clone()));
    let mut response = self::response(status, Encoding::Json, body.expect("an error is JSON"));
    if [codes::REQUEST_TOO_LARGE, codes::REQUEST_TIMEOUT].contains(&&*error.code) {
        // The rest of the request is not read, so the connection ends; a client that is not told
        // would send its next request on it.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
