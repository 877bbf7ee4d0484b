//! The messages of Hrana over WebSocket.

use super::batch::{BATCH, EMPTY};
use super::http::{BatchResp, DescribeResp, ExecuteResp, GetAutocommitResp};
use super::result::{BATCH_RESULT, DESCRIBE_RESULT, ENTRY, STMT_RESULT};
use super::stmt::STMT;
use super::{
    Batch, CursorEntry, Empty, Error, Invalid, Protobuf, Shape, Stmt, all, field, try_all,
};
use crate::proto;

/// The number of the field `entries` of `FetchCursorResp`, which is written piece by piece.
pub(crate) const ENTRIES: u32 = 1;

/// A `ServerMsg` with a `FetchCursorResp` of entries that are written already.
pub(crate) fn fetched(request_id: i32, entries: Vec<u8>, done: bool) -> Vec<u8> {
    use prost::encoding::{bool, bytes, int32};
    let mut fetched = entries;
    bool::encode(2, &done, &mut fetched);
    let mut response = Vec::with_capacity(fetched.len() + 32);
    int32::encode(1, &request_id, &mut response);
    bytes::encode(8, &fetched, &mut response);
    let mut message = Vec::with_capacity(response.len() + 16);
    bytes::encode(3, &response, &mut message);
    message
}

/// `ClientMsg` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClientMsg {
    /// Must be there.
    #[prost(oneof = "ClientMsgKind", tags = "1, 2")]
    pub msg: Option<ClientMsgKind>,
}

/// One kind of message of a client.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum ClientMsgKind {
    #[prost(message, tag = "1")]
    Hello(HelloMsg),
    #[prost(message, tag = "2")]
    Request(RequestMsg),
}

/// `HelloMsg` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct HelloMsg {
    #[prost(string, optional, tag = "1")]
    pub jwt: Option<String>,
}

/// `RequestMsg` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestMsg {
    /// Chosen by the client.
    #[prost(int32, tag = "1")]
    pub request_id: i32,
    /// Must be there.
    #[prost(oneof = "RequestKind", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    pub request: Option<RequestKind>,
}

/// One kind of request.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum RequestKind {
    #[prost(message, tag = "2")]
    OpenStream(IdReq),
    #[prost(message, tag = "3")]
    CloseStream(IdReq),
    #[prost(message, tag = "4")]
    Execute(ExecuteReq),
    #[prost(message, tag = "5")]
    Batch(BatchReq),
    #[prost(message, tag = "6")]
    OpenCursor(OpenCursorReq),
    #[prost(message, tag = "7")]
    CloseCursor(IdReq),
    #[prost(message, tag = "8")]
    FetchCursor(FetchCursorReq),
    #[prost(message, tag = "9")]
    Sequence(SqlReq),
    #[prost(message, tag = "10")]
    Describe(SqlReq),
    #[prost(message, tag = "11")]
    StoreSql(StoreSqlReq),
    #[prost(message, tag = "12")]
    CloseSql(IdReq),
    #[prost(message, tag = "13")]
    GetAutocommit(IdReq),
}

/// The requests of the schema that say only which stream, cursor or SQL text they mean.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct IdReq {
    #[prost(int32, tag = "1")]
    pub id: i32,
}

/// `ExecuteReq` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct ExecuteReq {
    #[prost(int32, tag = "1")]
    pub stream_id: i32,
    #[prost(message, optional, tag = "2")]
    pub stmt: Option<Stmt>,
}

/// `BatchReq` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct BatchReq {
    #[prost(int32, tag = "1")]
    pub stream_id: i32,
    #[prost(message, optional, tag = "2")]
    pub batch: Option<Batch>,
}

/// `OpenCursorReq` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct OpenCursorReq {
    #[prost(int32, tag = "1")]
    pub stream_id: i32,
    #[prost(int32, tag = "2")]
    pub cursor_id: i32,
    #[prost(message, optional, tag = "3")]
    pub batch: Option<Batch>,
}

/// `FetchCursorReq` of the schema.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct FetchCursorReq {
    #[prost(int32, tag = "1")]
    pub cursor_id: i32,
    #[prost(uint32, tag = "2")]
    pub max_count: u32,
}

/// `SequenceReq` and `DescribeReq` of the schema, which are the same.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct SqlReq {
    #[prost(int32, tag = "1")]
    pub stream_id: i32,
    #[prost(string, optional, tag = "2")]
    pub sql: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub sql_id: Option<i32>,
}

/// `StoreSqlReq` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct StoreSqlReq {
    #[prost(int32, tag = "1")]
    pub sql_id: i32,
    #[prost(string, tag = "2")]
    pub sql: String,
}

/// `ServerMsg` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerMsg {
    /// Must be there.
    #[prost(oneof = "ServerMsgKind", tags = "1, 2, 3, 4")]
    pub msg: Option<ServerMsgKind>,
}

/// One kind of message of a server.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum ServerMsgKind {
    #[prost(message, tag = "1")]
    HelloOk(Empty),
    #[prost(message, tag = "2")]
    HelloError(HelloErrorMsg),
    #[prost(message, tag = "3")]
    ResponseOk(ResponseOkMsg),
    #[prost(message, tag = "4")]
    ResponseError(ResponseErrorMsg),
}

/// `HelloErrorMsg` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct HelloErrorMsg {
    #[prost(message, optional, tag = "1")]
    pub error: Option<Error>,
}

/// `ResponseErrorMsg` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct ResponseErrorMsg {
    #[prost(int32, tag = "1")]
    pub request_id: i32,
    #[prost(message, optional, tag = "2")]
    pub error: Option<Error>,
}

/// `ResponseOkMsg` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseOkMsg {
    /// That of the request.
    #[prost(int32, tag = "1")]
    pub request_id: i32,
    /// Must be there.
    #[prost(oneof = "ResponseKind", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    pub response: Option<ResponseKind>,
}

/// One kind of response.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum ResponseKind {
    #[prost(message, tag = "2")]
    OpenStream(Empty),
    #[prost(message, tag = "3")]
    CloseStream(Empty),
    #[prost(message, tag = "4")]
    Execute(ExecuteResp),
    #[prost(message, tag = "5")]
    Batch(BatchResp),
    #[prost(message, tag = "6")]
    OpenCursor(Empty),
    #[prost(message, tag = "7")]
    CloseCursor(Empty),
    #[prost(message, tag = "8")]
    FetchCursor(FetchCursorResp),
    #[prost(message, tag = "9")]
    Sequence(Empty),
    #[prost(message, tag = "10")]
    Describe(DescribeResp),
    #[prost(message, tag = "11")]
    StoreSql(Empty),
    #[prost(message, tag = "12")]
    CloseSql(Empty),
    #[prost(message, tag = "13")]
    GetAutocommit(GetAutocommitResp),
}

/// `FetchCursorResp` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct FetchCursorResp {
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<CursorEntry>,
    #[prost(bool, tag = "2")]
    pub done: bool,
}

impl From<proto::Request> for RequestKind {
    fn from(request: proto::Request) -> Self {
        use proto::Request as From;
        match request {
            From::OpenStream { stream_id: id } => Self::OpenStream(IdReq { id }),
            From::CloseStream { stream_id: id } => Self::CloseStream(IdReq { id }),
            From::Execute { stream_id, stmt } => {
                Self::Execute(ExecuteReq { stream_id, stmt: Some(stmt.into()) })
            }
            From::Batch { stream_id, batch } => {
                Self::Batch(BatchReq { stream_id, batch: Some(batch.into()) })
            }
            From::OpenCursor { stream_id, cursor_id, batch } => {
                Self::OpenCursor(OpenCursorReq { stream_id, cursor_id, batch: Some(batch.into()) })
            }
            From::CloseCursor { cursor_id: id } => Self::CloseCursor(IdReq { id }),
            From::FetchCursor { cursor_id, max_count } => {
                Self::FetchCursor(FetchCursorReq { cursor_id, max_count })
            }
            From::Sequence { stream_id, sql, sql_id } => {
                Self::Sequence(SqlReq { stream_id, sql, sql_id })
            }
            From::Describe { stream_id, sql, sql_id } => {
                Self::Describe(SqlReq { stream_id, sql, sql_id })
            }
            From::StoreSql { sql_id, sql } => Self::StoreSql(StoreSqlReq { sql_id, sql }),
            From::CloseSql { sql_id: id } => Self::CloseSql(IdReq { id }),
            From::GetAutocommit { stream_id: id } => Self::GetAutocommit(IdReq { id }),
        }
    }
}

impl TryFrom<RequestKind> for proto::Request {
    type Error = Invalid;

    fn try_from(request: RequestKind) -> Result<Self, Invalid> {
        use RequestKind as Kind;
        Ok(match request {
            Kind::OpenStream(IdReq { id: stream_id }) => Self::OpenStream { stream_id },
            Kind::CloseStream(IdReq { id: stream_id }) => Self::CloseStream { stream_id },
            Kind::Execute(ExecuteReq { stream_id, stmt }) => {
                Self::Execute { stream_id, stmt: field(stmt, "stmt")?.try_into()? }
            }
            Kind::Batch(BatchReq { stream_id, batch }) => {
                Self::Batch { stream_id, batch: field(batch, "batch")?.try_into()? }
            }
            Kind::OpenCursor(OpenCursorReq { stream_id, cursor_id, batch }) => {
                let batch = field(batch, "batch")?.try_into()?;
                Self::OpenCursor { stream_id, cursor_id, batch }
            }
            Kind::CloseCursor(IdReq { id: cursor_id }) => Self::CloseCursor { cursor_id },
            Kind::FetchCursor(FetchCursorReq { cursor_id, max_count }) => {
                Self::FetchCursor { cursor_id, max_count }
            }
            Kind::Sequence(SqlReq { stream_id, sql, sql_id }) => {
                Self::Sequence { stream_id, sql, sql_id }
            }
            Kind::Describe(SqlReq { stream_id, sql, sql_id }) => {
                Self::Describe { stream_id, sql, sql_id }
            }
            Kind::StoreSql(StoreSqlReq { sql_id, sql }) => Self::StoreSql { sql_id, sql },
            Kind::CloseSql(IdReq { id: sql_id }) => Self::CloseSql { sql_id },
            Kind::GetAutocommit(IdReq { id: stream_id }) => Self::GetAutocommit { stream_id },
        })
    }
}

impl From<proto::Response> for ResponseKind {
    fn from(response: proto::Response) -> Self {
        use proto::Response as From;
        match response {
            From::OpenStream => Self::OpenStream(Empty {}),
            From::CloseStream => Self::CloseStream(Empty {}),
            From::Execute { result } => Self::Execute(ExecuteResp { result: Some(result.into()) }),
            From::Batch { result } => Self::Batch(BatchResp { result: Some(result.into()) }),
            From::OpenCursor => Self::OpenCursor(Empty {}),
            From::CloseCursor => Self::CloseCursor(Empty {}),
            From::FetchCursor { entries, done } => {
                Self::FetchCursor(FetchCursorResp { entries: all(entries), done })
            }
            From::Sequence => Self::Sequence(Empty {}),
            From::Describe { result } => {
                Self::Describe(DescribeResp { result: Some(result.into()) })
            }
            From::StoreSql => Self::StoreSql(Empty {}),
            From::CloseSql => Self::CloseSql(Empty {}),
            From::GetAutocommit { is_autocommit } => {
                Self::GetAutocommit(GetAutocommitResp { is_autocommit })
            }
        }
    }
}

impl TryFrom<ResponseKind> for proto::Response {
    type Error = Invalid;

    fn try_from(response: ResponseKind) -> Result<Self, Invalid> {
        use ResponseKind as Kind;
        Ok(match response {
            Kind::OpenStream(Empty {}) => Self::OpenStream,
            Kind::CloseStream(Empty {}) => Self::CloseStream,
            Kind::Execute(ExecuteResp { result }) => {
                Self::Execute { result: field(result, "result")?.try_into()? }
            }
            Kind::Batch(BatchResp { result }) => {
                Self::Batch { result: field(result, "result")?.try_into()? }
            }
            Kind::OpenCursor(Empty {}) => Self::OpenCursor,
            Kind::CloseCursor(Empty {}) => Self::CloseCursor,
            Kind::FetchCursor(FetchCursorResp { entries, done }) => {
                Self::FetchCursor { entries: try_all(entries)?, done }
            }
            Kind::Sequence(Empty {}) => Self::Sequence,
            Kind::Describe(DescribeResp { result }) => {
                Self::Describe { result: field(result, "result")?.into() }
            }
            Kind::StoreSql(Empty {}) => Self::StoreSql,
            Kind::CloseSql(Empty {}) => Self::CloseSql,
            Kind::GetAutocommit(GetAutocommitResp { is_autocommit }) => {
                Self::GetAutocommit { is_autocommit }
            }
        })
    }
}

impl From<proto::ClientMessage> for ClientMsg {
    fn from(message: proto::ClientMessage) -> Self {
        let msg = match message {
            proto::ClientMessage::Hello { jwt } => ClientMsgKind::Hello(HelloMsg { jwt }),
            proto::ClientMessage::Request { request_id, request } => {
                ClientMsgKind::Request(RequestMsg { request_id, request: Some(request.into()) })
            }
        };
        Self { msg: Some(msg) }
    }
}

impl TryFrom<ClientMsg> for proto::ClientMessage {
    type Error = Invalid;

    fn try_from(message: ClientMsg) -> Result<Self, Invalid> {
        Ok(match message.msg.ok_or(Invalid::Unknown("message"))? {
            ClientMsgKind::Hello(HelloMsg { jwt }) => Self::Hello { jwt },
            ClientMsgKind::Request(RequestMsg { request_id, request }) => {
                let request = request.ok_or(Invalid::Unknown("request"))?.try_into()?;
                Self::Request { request_id, request }
            }
        })
    }
}

impl From<proto::ServerMessage> for ServerMsg {
    fn from(message: proto::ServerMessage) -> Self {
        use proto::ServerMessage as From;
        let msg = match message {
            From::HelloOk => ServerMsgKind::HelloOk(Empty {}),
            From::HelloError { error } => {
                ServerMsgKind::HelloError(HelloErrorMsg { error: Some(error.into()) })
            }
            From::ResponseOk { request_id, response } => {
                let response = Some(response.into());
                ServerMsgKind::ResponseOk(ResponseOkMsg { request_id, response })
            }
            From::ResponseError { request_id, error } => {
                let error = Some(error.into());
                ServerMsgKind::ResponseError(ResponseErrorMsg { request_id, error })
            }
        };
        Self { msg: Some(msg) }
    }
}

impl TryFrom<ServerMsg> for proto::ServerMessage {
    type Error = Invalid;

    fn try_from(message: ServerMsg) -> Result<Self, Invalid> {
        Ok(match message.msg.ok_or(Invalid::Unknown("message"))? {
            ServerMsgKind::HelloOk(Empty {}) => Self::HelloOk,
            ServerMsgKind::HelloError(HelloErrorMsg { error }) => {
                Self::HelloError { error: field(error, "error")?.into() }
            }
            ServerMsgKind::ResponseOk(ResponseOkMsg { request_id, response }) => {
                let response = response.ok_or(Invalid::Unknown("response"))?.try_into()?;
                Self::ResponseOk { request_id, response }
            }
            ServerMsgKind::ResponseError(ResponseErrorMsg { request_id, error }) => {
                Self::ResponseError { request_id, error: field(error, "error")?.into() }
            }
        })
    }
}

impl Protobuf for proto::ClientMessage {
    type Message = ClientMsg;
    const SHAPE: &Shape = &Shape(&[(1, &EMPTY), (2, &REQUEST)]);
}

impl Protobuf for proto::ServerMessage {
    type Message = ServerMsg;
    const SHAPE: &Shape = &Shape(&[(1, &EMPTY), (2, &EMPTY), (3, &RESPONSE), (4, &EMPTY)]);
}

static REQUEST: Shape =
    Shape(&[(4, &Shape(&[(2, &STMT)])), (5, &Shape(&[(2, &BATCH)])), (6, &Shape(&[(3, &BATCH)]))]);
static RESPONSE: Shape = Shape(&[
    (4, &Shape(&[(1, &STMT_RESULT)])),
    (5, &Shape(&[(1, &BATCH_RESULT)])),
    (8, &Shape(&[(1, &ENTRY)])),
    (10, &Shape(&[(1, &DESCRIBE_RESULT)])),
]);
