//! The one error that crosses the border between this crate and a database, and its codes.
//!
//! A code is a promise to clients: it never changes its meaning. The message is for people; it is
//! one sentence of what happened and, where there is one, a sentence of what to do.

use std::borrow::Cow;

use axum::http::StatusCode;

use crate::proto;

/// The codes that this crate itself answers with. A database adds its own, for example
/// `SQLITE_CONSTRAINT_UNIQUE`.
pub mod codes {
    /// The stream of a baton is gone: it was idle too long, was closed, or belonged to a server
    /// that has since restarted or given up its role. Clients start a new stream.
    pub const STREAM_EXPIRED: &str = "STREAM_EXPIRED";
    /// The baton was not made by any server of this kind, or was tampered with.
    pub const INVALID_BATON: &str = "INVALID_BATON";
    /// The baton was used before; each is good for one request.
    pub const BATON_REUSED: &str = "BATON_REUSED";
    /// The previous request on the stream did not finish in time.
    pub const STREAM_BUSY: &str = "STREAM_BUSY";
    /// A request came after the `close` of its stream.
    pub const STREAM_CLOSED: &str = "STREAM_CLOSED";
    /// The stream could not be opened, so nothing can be executed on it.
    pub const STREAM_NOT_OPEN: &str = "STREAM_NOT_OPEN";
    /// There are as many open streams as the limits allow.
    pub const TOO_MANY_STREAMS: &str = "TOO_MANY_STREAMS";
    /// The body or message is not what the protocol asks for.
    pub const BAD_REQUEST: &str = "BAD_REQUEST";
    /// The body or message is longer than the limit.
    pub const REQUEST_TOO_LARGE: &str = "REQUEST_TOO_LARGE";
    /// The body of a request stopped coming.
    pub const REQUEST_TIMEOUT: &str = "REQUEST_TIMEOUT";
    /// The body is compressed in a way that is not served.
    pub const UNSUPPORTED_ENCODING: &str = "UNSUPPORTED_ENCODING";
    /// The results of the earlier requests of a pipeline fill the limit; this one was not executed.
    pub const RESPONSE_TOO_LARGE: &str = "RESPONSE_TOO_LARGE";
    /// The request or condition belongs to a later version of the protocol than was negotiated.
    pub const UNSUPPORTED_VERSION: &str = "UNSUPPORTED_VERSION";
    /// None of the WebSocket subprotocols that the client offers is served.
    pub const UNSUPPORTED_SUBPROTOCOL: &str = "UNSUPPORTED_SUBPROTOCOL";
    /// The address serves WebSocket connections only.
    pub const UPGRADE_REQUIRED: &str = "UPGRADE_REQUIRED";
    /// A web page of another site sent the request.
    pub const CROSS_ORIGIN: &str = "CROSS_ORIGIN";
    /// No SQL text is stored under this id.
    pub const SQL_ID_UNKNOWN: &str = "SQL_ID_UNKNOWN";
    /// An SQL text is already stored under this id.
    pub const SQL_ID_IN_USE: &str = "SQL_ID_IN_USE";
    /// As many SQL texts are stored as the limits allow.
    pub const SQL_STORE_TOO_MANY: &str = "SQL_STORE_TOO_MANY";
    /// The stored SQL texts would be longer in total than the limits allow.
    pub const SQL_STORE_TOO_LARGE: &str = "SQL_STORE_TOO_LARGE";
    /// The stream has an open cursor, which must be closed first.
    pub const CURSOR_OPEN: &str = "CURSOR_OPEN";
    /// The cursor could not be opened, so nothing can be fetched from it.
    pub const CURSOR_NOT_OPEN: &str = "CURSOR_NOT_OPEN";
}

/// What an [`Error`] means for an HTTP status, where there is one to choose: a request inside a
/// pipeline fails inside a response of status 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The client's request or its SQL is at fault: 400.
    Request,
    /// The stream no longer exists: 400, and the stream is forgotten.
    StreamGone,
    /// Credentials are missing or wrong: 401.
    Unauthorized,
    /// The credentials do not allow it: 403.
    Forbidden,
    /// There is no such database: 404.
    NotFound,
    /// The request did not arrive in time: 408.
    Timeout,
    /// The request is larger than allowed: 413.
    TooLarge,
    /// The body is compressed in a way that is not served: 415.
    UnsupportedEncoding,
    /// The address wants a WebSocket handshake: 426.
    UpgradeRequired,
    /// The server is at fault: 500.
    Internal,
    /// Not now, for example for lack of a role or of resources: 503.
    Unavailable,
}

impl ErrorKind {
    /// The HTTP status of a response that is this error.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Request | Self::StreamGone => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A failure, as a database reports it and as a client gets to see it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Error {
    /// Stable and machine-readable, in capitals, for example `SQLITE_BUSY`.
    pub code: Cow<'static, str>,
    /// For people: what happened, and what to do.
    pub message: String,
    /// Decides the HTTP status, and whether the stream lives on.
    pub kind: ErrorKind,
}

impl Error {
    /// An error of the given kind.
    pub fn new(
        kind: ErrorKind,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), message: message.into(), kind }
    }

    /// An error of the client's making, the usual kind.
    pub fn request(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Request, code, message)
    }

    /// What a [`Stream`](crate::Stream) answers once it is gone, with the reason as a clause that
    /// completes "The stream has expired because …".
    pub fn stream_gone(because: &str) -> Self {
        Self::new(
            ErrorKind::StreamGone,
            codes::STREAM_EXPIRED,
            format!(
                "The stream has expired because {because}; an open transaction was rolled back. \
                 Start a new stream and repeat the transaction."
            ),
        )
    }

    /// Whether the stream that answered this can never be used again.
    pub fn is_stream_gone(&self) -> bool {
        self.kind == ErrorKind::StreamGone
    }
}

impl From<Error> for proto::Error {
    fn from(error: Error) -> Self {
        Self { message: error.message, code: Some(error.code.into_owned()) }
    }
}

impl From<proto::Error> for Error {
    /// For a forwarder that passes on what another server answered.
    fn from(error: proto::Error) -> Self {
        let kind = match error.code.as_deref() {
            Some(codes::STREAM_EXPIRED) => ErrorKind::StreamGone,
            _ => ErrorKind::Request,
        };
        let code = error.code.map_or(Cow::Borrowed("UNKNOWN"), Cow::Owned);
        Self { code, message: error.message, kind }
    }
}
