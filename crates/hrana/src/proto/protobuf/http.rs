//! The bodies of Hrana over HTTP.

use super::batch::{BATCH, EMPTY};
use super::result::{BATCH_RESULT, DESCRIBE_RESULT, STMT_RESULT};
use super::stmt::STMT;
use super::{
    Batch, BatchResult, DescribeResult, Empty, Error, Invalid, Protobuf, Shape, Stmt, StmtResult,
    all, field, try_all,
};
use crate::proto;

static REQUEST: Shape = Shape(&[
    (1, &EMPTY),
    (2, &Shape(&[(1, &STMT)])),
    (3, &Shape(&[(1, &BATCH)])),
    (4, &EMPTY),
    (5, &EMPTY),
    (6, &EMPTY),
    (7, &EMPTY),
    (8, &EMPTY),
]);
static RESPONSE: Shape = Shape(&[
    (1, &EMPTY),
    (2, &Shape(&[(1, &STMT_RESULT)])),
    (3, &Shape(&[(1, &BATCH_RESULT)])),
    (4, &EMPTY),
    (5, &Shape(&[(1, &DESCRIBE_RESULT)])),
    (6, &EMPTY),
    (7, &EMPTY),
    (8, &EMPTY),
]);
static RESULT: Shape = Shape(&[(1, &RESPONSE), (2, &EMPTY)]);

/// The number of the field `results` of `PipelineRespBody`, which is written piece by piece.
pub(crate) const RESULTS: u32 = 3;

/// `PipelineReqBody` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct PipelineReqBody {
    #[prost(string, optional, tag = "1")]
    pub baton: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub requests: Vec<StreamRequest>,
}

/// `PipelineRespBody` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct PipelineRespBody {
    #[prost(string, optional, tag = "1")]
    pub baton: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub base_url: Option<String>,
    #[prost(message, repeated, tag = "3")]
    pub results: Vec<StreamResult>,
}

/// `StreamResult` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamResult {
    /// Must be there.
    #[prost(oneof = "StreamResultKind", tags = "1, 2")]
    pub result: Option<StreamResultKind>,
}

/// What became of a request.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum StreamResultKind {
    #[prost(message, tag = "1")]
    Ok(StreamResponse),
    #[prost(message, tag = "2")]
    Error(Error),
}

/// `CursorReqBody` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct CursorReqBody {
    #[prost(string, optional, tag = "1")]
    pub baton: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub batch: Option<Batch>,
}

/// `CursorRespBody` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct CursorRespBody {
    #[prost(string, optional, tag = "1")]
    pub baton: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub base_url: Option<String>,
}

/// `StreamRequest` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamRequest {
    /// Must be there.
    #[prost(oneof = "StreamRequestKind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub request: Option<StreamRequestKind>,
}

/// One kind of request.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum StreamRequestKind {
    #[prost(message, tag = "1")]
    Close(Empty),
    #[prost(message, tag = "2")]
    Execute(ExecuteStreamReq),
    #[prost(message, tag = "3")]
    Batch(BatchStreamReq),
    #[prost(message, tag = "4")]
    Sequence(SqlStreamReq),
    #[prost(message, tag = "5")]
    Describe(SqlStreamReq),
    #[prost(message, tag = "6")]
    StoreSql(StoreSqlStreamReq),
    #[prost(message, tag = "7")]
    CloseSql(CloseSqlStreamReq),
    #[prost(message, tag = "8")]
    GetAutocommit(Empty),
}

/// `ExecuteStreamReq` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct ExecuteStreamReq {
    #[prost(message, optional, tag = "1")]
    pub stmt: Option<Stmt>,
}

/// `BatchStreamReq` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct BatchStreamReq {
    #[prost(message, optional, tag = "1")]
    pub batch: Option<Batch>,
}

/// `SequenceStreamReq` and `DescribeStreamReq` of the schema, which are the same.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct SqlStreamReq {
    #[prost(string, optional, tag = "1")]
    pub sql: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub sql_id: Option<i32>,
}

/// `StoreSqlStreamReq` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct StoreSqlStreamReq {
    #[prost(int32, tag = "1")]
    pub sql_id: i32,
    #[prost(string, tag = "2")]
    pub sql: String,
}

/// `CloseSqlStreamReq` of the schema.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct CloseSqlStreamReq {
    #[prost(int32, tag = "1")]
    pub sql_id: i32,
}

/// `StreamResponse` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamResponse {
    /// Must be there.
    #[prost(oneof = "StreamResponseKind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub response: Option<StreamResponseKind>,
}

/// One kind of response.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum StreamResponseKind {
    #[prost(message, tag = "1")]
    Close(Empty),
    #[prost(message, tag = "2")]
    Execute(ExecuteResp),
    #[prost(message, tag = "3")]
    Batch(BatchResp),
    #[prost(message, tag = "4")]
    Sequence(Empty),
    #[prost(message, tag = "5")]
    Describe(DescribeResp),
    #[prost(message, tag = "6")]
    StoreSql(Empty),
    #[prost(message, tag = "7")]
    CloseSql(Empty),
    #[prost(message, tag = "8")]
    GetAutocommit(GetAutocommitResp),
}

/// `ExecuteStreamResp` of the schema, and `ExecuteResp`.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct ExecuteResp {
    #[prost(message, optional, tag = "1")]
    pub result: Option<StmtResult>,
}

/// `BatchStreamResp` of the schema, and `BatchResp`.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct BatchResp {
    #[prost(message, optional, tag = "1")]
    pub result: Option<BatchResult>,
}

/// `DescribeStreamResp` of the schema, and `DescribeResp`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct DescribeResp {
    #[prost(message, optional, tag = "1")]
    pub result: Option<DescribeResult>,
}

/// `GetAutocommitStreamResp` of the schema, and `GetAutocommitResp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct GetAutocommitResp {
    #[prost(bool, tag = "1")]
    pub is_autocommit: bool,
}

impl From<proto::StreamRequest> for StreamRequest {
    fn from(request: proto::StreamRequest) -> Self {
        use proto::StreamRequest as From;
        let request = match request {
            From::Close => StreamRequestKind::Close(Empty {}),
            From::Execute { stmt } => {
                StreamRequestKind::Execute(ExecuteStreamReq { stmt: Some(stmt.into()) })
            }
            From::Batch { batch } => {
                StreamRequestKind::Batch(BatchStreamReq { batch: Some(batch.into()) })
            }
            From::Sequence { sql, sql_id } => {
                StreamRequestKind::Sequence(SqlStreamReq { sql, sql_id })
            }
            From::Describe { sql, sql_id } => {
                StreamRequestKind::Describe(SqlStreamReq { sql, sql_id })
            }
            From::StoreSql { sql_id, sql } => {
                StreamRequestKind::StoreSql(StoreSqlStreamReq { sql_id, sql })
            }
            From::CloseSql { sql_id } => StreamRequestKind::CloseSql(CloseSqlStreamReq { sql_id }),
            From::GetAutocommit => StreamRequestKind::GetAutocommit(Empty {}),
        };
        Self { request: Some(request) }
    }
}

impl TryFrom<StreamRequest> for proto::StreamRequest {
    type Error = Invalid;

    fn try_from(request: StreamRequest) -> Result<Self, Invalid> {
        use StreamRequestKind as Kind;
        Ok(match request.request.ok_or(Invalid::Unknown("request"))? {
            Kind::Close(Empty {}) => Self::Close,
            Kind::Execute(ExecuteStreamReq { stmt }) => {
                Self::Execute { stmt: field(stmt, "stmt")?.try_into()? }
            }
            Kind::Batch(BatchStreamReq { batch }) => {
                Self::Batch { batch: field(batch, "batch")?.try_into()? }
            }
            Kind::Sequence(SqlStreamReq { sql, sql_id }) => Self::Sequence { sql, sql_id },
            Kind::Describe(SqlStreamReq { sql, sql_id }) => Self::Describe { sql, sql_id },
            Kind::StoreSql(StoreSqlStreamReq { sql_id, sql }) => Self::StoreSql { sql_id, sql },
            Kind::CloseSql(CloseSqlStreamReq { sql_id }) => Self::CloseSql { sql_id },
            Kind::GetAutocommit(Empty {}) => Self::GetAutocommit,
        })
    }
}

impl From<proto::StreamResponse> for StreamResponse {
    fn from(response: proto::StreamResponse) -> Self {
        use StreamResponseKind as Kind;
        use proto::StreamResponse as From;
        let response = match response {
            From::Close => Kind::Close(Empty {}),
            From::Execute { result } => Kind::Execute(ExecuteResp { result: Some(result.into()) }),
            From::Batch { result } => Kind::Batch(BatchResp { result: Some(result.into()) }),
            From::Sequence => Kind::Sequence(Empty {}),
            From::Describe { result } => {
                Kind::Describe(DescribeResp { result: Some(result.into()) })
            }
            From::StoreSql => Kind::StoreSql(Empty {}),
            From::CloseSql => Kind::CloseSql(Empty {}),
            From::GetAutocommit { is_autocommit } => {
                Kind::GetAutocommit(GetAutocommitResp { is_autocommit })
            }
        };
        Self { response: Some(response) }
    }
}

impl TryFrom<StreamResponse> for proto::StreamResponse {
    type Error = Invalid;

    fn try_from(response: StreamResponse) -> Result<Self, Invalid> {
        use StreamResponseKind as Kind;
        Ok(match response.response.ok_or(Invalid::Unknown("response"))? {
            Kind::Close(Empty {}) => Self::Close,
            Kind::Execute(ExecuteResp { result }) => {
                Self::Execute { result: field(result, "result")?.try_into()? }
            }
            Kind::Batch(BatchResp { result }) => {
                Self::Batch { result: field(result, "result")?.try_into()? }
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

impl From<proto::StreamResult> for StreamResult {
    fn from(result: proto::StreamResult) -> Self {
        let result = match result {
            proto::StreamResult::Ok { response } => StreamResultKind::Ok(response.into()),
            proto::StreamResult::Error { error } => StreamResultKind::Error(error.into()),
        };
        Self { result: Some(result) }
    }
}

impl TryFrom<StreamResult> for proto::StreamResult {
    type Error = Invalid;

    fn try_from(result: StreamResult) -> Result<Self, Invalid> {
        Ok(match result.result.ok_or(Invalid::Unknown("result"))? {
            StreamResultKind::Ok(response) => Self::Ok { response: response.try_into()? },
            StreamResultKind::Error(error) => Self::Error { error: error.into() },
        })
    }
}

impl From<proto::PipelineRequest> for PipelineReqBody {
    fn from(body: proto::PipelineRequest) -> Self {
        Self { baton: body.baton, requests: all(body.requests) }
    }
}

impl TryFrom<PipelineReqBody> for proto::PipelineRequest {
    type Error = Invalid;

    fn try_from(body: PipelineReqBody) -> Result<Self, Invalid> {
        Ok(Self { baton: body.baton, requests: try_all(body.requests)? })
    }
}

impl From<proto::PipelineResponse> for PipelineRespBody {
    fn from(body: proto::PipelineResponse) -> Self {
        let proto::PipelineResponse { baton, base_url, results } = body;
        Self { baton, base_url, results: all(results) }
    }
}

impl TryFrom<PipelineRespBody> for proto::PipelineResponse {
    type Error = Invalid;

    fn try_from(body: PipelineRespBody) -> Result<Self, Invalid> {
        let PipelineRespBody { baton, base_url, results } = body;
        Ok(Self { baton, base_url, results: try_all(results)? })
    }
}

impl From<proto::CursorRequest> for CursorReqBody {
    fn from(body: proto::CursorRequest) -> Self {
        Self { baton: body.baton, batch: Some(body.batch.into()) }
    }
}

impl TryFrom<CursorReqBody> for proto::CursorRequest {
    type Error = Invalid;

    fn try_from(body: CursorReqBody) -> Result<Self, Invalid> {
        Ok(Self { baton: body.baton, batch: field(body.batch, "batch")?.try_into()? })
    }
}

impl From<proto::CursorResponse> for CursorRespBody {
    fn from(body: proto::CursorResponse) -> Self {
        Self { baton: body.baton, base_url: body.base_url }
    }
}

impl TryFrom<CursorRespBody> for proto::CursorResponse {
    type Error = Invalid;

    fn try_from(body: CursorRespBody) -> Result<Self, Invalid> {
        Ok(Self { baton: body.baton, base_url: body.base_url })
    }
}

/// Bodies, which are messages by themselves.
macro_rules! bodies {
    ($($name:ident is $message:ident of $shape:expr;)*) => {$(
        impl Protobuf for proto::$name {
            type Message = $message;
            const SHAPE: &Shape = $shape;
        }
    )*};
}

bodies! {
    PipelineRequest is PipelineReqBody of &Shape(&[(2, &REQUEST)]);
    PipelineResponse is PipelineRespBody of &Shape(&[(3, &RESULT)]);
    CursorRequest is CursorReqBody of &Shape(&[(2, &BATCH)]);
    CursorResponse is CursorRespBody of &EMPTY;
    StreamResult is StreamResult of &RESULT;
}
