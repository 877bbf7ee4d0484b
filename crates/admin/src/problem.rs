//! From a refusal to an HTTP answer. The one place where codes become HTTP statuses.

use axum::{
    Json,
    extract::rejection::PathRejection,
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use counterpart_node::Refusal;
use serde_json::json;

/// A refusal on its way to an operator.
#[derive(Debug)]
pub struct Problem(pub Refusal);

impl Problem {
    /// A refusal by this crate itself; `what` and `remedy` are sentences without the final full stop.
    pub fn new(code: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem(Refusal::new(code, what, remedy))
    }

    /// A path that names nothing that could be read; `remedy` says what belongs there.
    pub fn path(rejection: &PathRejection, remedy: &str) -> Problem {
        let what = format!("the path cannot be read: {}", rejection.body_text());
        Problem::new("INVALID_PATH", what, remedy)
    }
}

/// The code of the refusal that a response is, for whoever notes how a request ended.
#[derive(Clone, Debug)]
pub struct RefusalCode(pub String);

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem(refusal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem(refusal) = self;
        let status = status_of(refusal.code());
        let body = json!({ "error": {
            "code": refusal.code(),
            "what": refusal.what(),
            "remedy": refusal.remedy(),
        }});
        let mut response = (status, Json(body)).into_response();
        response.extensions_mut().insert(RefusalCode(refusal.code().to_owned()));
        if let Some(seconds) = refusal.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            // What HTTP asks of every such answer.
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// The HTTP status of a code.
///
/// Named codes come first, then families. What is left is a server in the wrong state for what
/// was asked, and that is 409: the same request may be right at another moment.
pub fn status_of(code: &str) -> StatusCode {
    match code {
        "INVALID_BODY"
        | "INVALID_QUERY"
        | "INVALID_PATH"
        | "INVALID_DATABASE_NAME"
        | "INVALID_ADDRESS"
        | "INVALID_SAFETY"
        | "IMPORT_BROKEN_OFF"
        | "PARTNER_NOT_NAMED" => StatusCode::BAD_REQUEST,
        "NOT_SIGNED_IN" | "LOGIN_REFUSED" => StatusCode::UNAUTHORIZED,
        "TOO_MANY_ATTEMPTS" => StatusCode::TOO_MANY_REQUESTS,
        "CROSS_ORIGIN" | "FORBIDDEN" => StatusCode::FORBIDDEN,
        "UNKNOWN_PARTNER" => StatusCode::NOT_FOUND,
        "METHOD_NOT_ALLOWED" => StatusCode::METHOD_NOT_ALLOWED,
        "SERVER_FAULT" | "STAGING_FAILED" | "STORAGE_FAILED" => StatusCode::INTERNAL_SERVER_ERROR,
        "PARTNER_UNREACHABLE" | "PARTNER_LOST" => StatusCode::BAD_GATEWAY,
        "SERVER_STOPPING" | "SERVER_STARTING" | "SEEDING" | "NOT_FINAL" | "NOT_READY"
        | "MIRROR_REQUIRED" | "JOURNAL_FAILED" => StatusCode::SERVICE_UNAVAILABLE,
        "TIMED_OUT" => StatusCode::GATEWAY_TIMEOUT,
        "DISK_FULL" => StatusCode::INSUFFICIENT_STORAGE,
        _ if code.starts_with("HEALTH_") => StatusCode::SERVICE_UNAVAILABLE,
        _ if code.ends_with("_NOT_FOUND") => StatusCode::NOT_FOUND,
        _ if code.ends_with("_TOO_LARGE") => StatusCode::PAYLOAD_TOO_LARGE,
        _ if code.ends_with("_INVALID") => StatusCode::BAD_REQUEST,
        _ if code.ends_with("_TIMEOUT") => StatusCode::GATEWAY_TIMEOUT,
        _ if code.ends_with("_POISONED") => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_of_codes_has_its_status_and_the_rest_is_a_conflict() {
        for (code, status) in [
            ("DATABASE_NOT_FOUND", 404),
            ("DATABASE_EXISTS", 409),
            ("ROLE_TAKEN", 409),
            ("WRONG_STATE", 409),
            ("NOT_PRINCIPAL", 409),
            ("UNKNOWN_PARTNER", 404),
            ("HEALTH_NOT_PRINCIPAL", 503),
            ("READ_ONLY_MIRROR", 409),
            ("IMPORT_INVALID", 400),
            ("REQUEST_TOO_LARGE", 413),
            ("DISK_FULL", 507),
            ("SERVER_STOPPING", 503),
            ("JOURNAL_POISONED", 503),
            ("PARTNER_UNREACHABLE", 502),
            ("TIMED_OUT", 504),
            ("LOGIN_REFUSED", 401),
            ("TOO_MANY_ATTEMPTS", 429),
            ("SERVER_FAULT", 500),
        ] {
            assert_eq!(status_of(code).as_u16(), status, "{code}");
        }
    }
}
