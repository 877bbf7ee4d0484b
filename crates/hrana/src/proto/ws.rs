//! The messages of Hrana over WebSocket.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{Batch, BatchResult, CursorEntry, DescribeResult, Error, Stmt, StmtResult, field};

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// The first message; again later to renew the credentials.
    Hello {
        /// The client's credentials.
        jwt: Option<String>,
    },
    /// A request.
    Request {
        /// Chosen by the client; the response carries it.
        request_id: i32,
        /// The request itself.
        request: Request,
    },
}

impl<'de> Deserialize<'de> for ClientMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Hello,
            Request,
        }

        #[derive(Deserialize)]
        struct Flat {
            #[serde(rename = "type")]
            kind: Kind,
            jwt: Option<String>,
            request_id: Option<i32>,
            request: Option<Request>,
        }

        let flat = Flat::deserialize(deserializer)?;
        Ok(match flat.kind {
            Kind::Hello => Self::Hello { jwt: flat.jwt },
            Kind::Request => Self::Request {
                request_id: field(flat.request_id, "request_id")?,
                request: field(flat.request, "request")?,
            },
        })
    }
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The client may go on.
    HelloOk,
    /// The client is refused; the connection closes.
    HelloError {
        /// Why.
        error: Error,
    },
    /// A request succeeded.
    ResponseOk {
        /// Which.
        request_id: i32,
        /// Its response.
        response: Response,
    },
    /// A request failed.
    ResponseError {
        /// Which.
        request_id: i32,
        /// Why.
        error: Error,
    },
}

impl<'de> Deserialize<'de> for ServerMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            HelloOk,
            HelloError,
            ResponseOk,
            ResponseError,
        }

        #[derive(Deserialize)]
        struct Flat {
            #[serde(rename = "type")]
            kind: Kind,
            request_id: Option<i32>,
            response: Option<Response>,
            error: Option<Error>,
        }

        let Flat { kind, request_id, response, error } = Flat::deserialize(deserializer)?;
        Ok(match kind {
            Kind::HelloOk => Self::HelloOk,
            Kind::HelloError => Self::HelloError { error: field(error, "error")? },
            Kind::ResponseOk => Self::ResponseOk {
                request_id: field(request_id, "request_id")?,
                response: field(response, "response")?,
            },
            Kind::ResponseError => Self::ResponseError {
                request_id: field(request_id, "request_id")?,
                error: field(error, "error")?,
            },
        })
    }
}

/// A request of a WebSocket client. Ids are chosen by the client.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // The fields are those of the specification, named like their types.
pub enum Request {
    /// Open a stream.
    OpenStream { stream_id: i32 },
    /// Close a stream, and its cursor.
    CloseStream { stream_id: i32 },
    /// Execute a statement.
    Execute { stream_id: i32, stmt: Stmt },
    /// Execute a batch.
    Batch { stream_id: i32, batch: Batch },
    /// Execute a batch whose results are fetched piece by piece. Since version 3.
    OpenCursor { stream_id: i32, cursor_id: i32, batch: Batch },
    /// Close a cursor. Since version 3.
    CloseCursor { cursor_id: i32 },
    /// Fetch the next entries, at most `max_count`. Since version 3.
    FetchCursor { cursor_id: i32, max_count: u32 },
    /// Execute statements separated by semicolons. Since version 2.
    Sequence { stream_id: i32, sql: Option<String>, sql_id: Option<i32> },
    /// Describe a statement. Since version 2.
    Describe { stream_id: i32, sql: Option<String>, sql_id: Option<i32> },
    /// Store an SQL text for the connection's life. Since version 2.
    StoreSql { sql_id: i32, sql: String },
    /// Forget a stored SQL text. Since version 2.
    CloseSql { sql_id: i32 },
    /// Ask whether a stream is outside an explicit transaction. Since version 3.
    GetAutocommit { stream_id: i32 },
}

/// The types of requests and of their responses.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RequestKind {
    OpenStream,
    CloseStream,
    Execute,
    Batch,
    OpenCursor,
    CloseCursor,
    FetchCursor,
    Sequence,
    Describe,
    StoreSql,
    CloseSql,
    GetAutocommit,
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Flat {
            #[serde(rename = "type")]
            kind: RequestKind,
            stream_id: Option<i32>,
            cursor_id: Option<i32>,
            sql_id: Option<i32>,
            max_count: Option<u32>,
            sql: Option<String>,
            stmt: Option<Stmt>,
            batch: Option<Batch>,
        }

        let flat = Flat::deserialize(deserializer)?;
        let Flat { sql, sql_id, .. } = flat;
        let stream_id = || field(flat.stream_id, "stream_id");
        let cursor_id = || field(flat.cursor_id, "cursor_id");
        Ok(match flat.kind {
            RequestKind::OpenStream => Self::OpenStream { stream_id: stream_id()? },
            RequestKind::CloseStream => Self::CloseStream { stream_id: stream_id()? },
            RequestKind::Execute => {
                Self::Execute { stream_id: stream_id()?, stmt: field(flat.stmt, "stmt")? }
            }
            RequestKind::Batch => {
                Self::Batch { stream_id: stream_id()?, batch: field(flat.batch, "batch")? }
            }
            RequestKind::OpenCursor => Self::OpenCursor {
                stream_id: stream_id()?,
                cursor_id: cursor_id()?,
                batch: field(flat.batch, "batch")?,
            },
            RequestKind::CloseCursor => Self::CloseCursor { cursor_id: cursor_id()? },
            RequestKind::FetchCursor => Self::FetchCursor {
                cursor_id: cursor_id()?,
                max_count: field(flat.max_count, "max_count")?,
            },
            RequestKind::Sequence => Self::Sequence { stream_id: stream_id()?, sql, sql_id },
            RequestKind::Describe => Self::Describe { stream_id: stream_id()?, sql, sql_id },
            RequestKind::StoreSql => {
                Self::StoreSql { sql_id: field(sql_id, "sql_id")?, sql: field(sql, "sql")? }
            }
            RequestKind::CloseSql => Self::CloseSql { sql_id: field(sql_id, "sql_id")? },
            RequestKind::GetAutocommit => Self::GetAutocommit { stream_id: stream_id()? },
        })
    }
}

/// The response to a request that succeeded, of the same type.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // As for the requests.
pub enum Response {
    OpenStream,
    CloseStream,
    Execute { result: StmtResult },
    Batch { result: BatchResult },
    OpenCursor,
    CloseCursor,
    FetchCursor { entries: Vec<CursorEntry>, done: bool },
    Sequence,
    Describe { result: DescribeResult },
    StoreSql,
    CloseSql,
    GetAutocommit { is_autocommit: bool },
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Flat<'a> {
            #[serde(rename = "type")]
            kind: RequestKind,
            #[serde(borrow, default)]
            result: Option<&'a RawValue>,
            entries: Option<Vec<CursorEntry>>,
            done: Option<bool>,
            is_autocommit: Option<bool>,
        }

        fn result<'a, T: Deserialize<'a>, E: serde::de::Error>(
            raw: Option<&'a RawValue>,
        ) -> Result<T, E> {
            serde_json::from_str(field(raw, "result")?.get()).map_err(E::custom)
        }

        let flat = Flat::deserialize(deserializer)?;
        Ok(match flat.kind {
            RequestKind::OpenStream => Self::OpenStream,
            RequestKind::CloseStream => Self::CloseStream,
            RequestKind::Execute => Self::Execute { result: result(flat.result)? },
            RequestKind::Batch => Self::Batch { result: result(flat.result)? },
            RequestKind::OpenCursor => Self::OpenCursor,
            RequestKind::CloseCursor => Self::CloseCursor,
            RequestKind::FetchCursor => Self::FetchCursor {
                entries: field(flat.entries, "entries")?,
                done: field(flat.done, "done")?,
            },
            RequestKind::Sequence => Self::Sequence,
            RequestKind::Describe => Self::Describe { result: result(flat.result)? },
            RequestKind::StoreSql => Self::StoreSql,
            RequestKind::CloseSql => Self::CloseSql,
            RequestKind::GetAutocommit => {
                Self::GetAutocommit { is_autocommit: field(flat.is_autocommit, "is_autocommit")? }
            }
        })
    }
}
