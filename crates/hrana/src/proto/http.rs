//! The bodies of Hrana over HTTP.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{Batch, BatchResult, DescribeResult, Error, Stmt, StmtResult, field};

/// Body of `POST v2/pipeline` and `POST v3/pipeline`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineRequest {
    /// The stream to go on with; none opens a new one.
    #[serde(default)]
    pub baton: Option<String>,
    /// What to do, in order, each whatever became of the one before.
    pub requests: Vec<StreamRequest>,
}

/// Body of the response to a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineResponse {
    /// Names the stream in the next request; none if the stream is closed.
    #[serde(default)]
    pub baton: Option<String>,
    /// Where to send the next request; none means here.
    #[serde(default)]
    pub base_url: Option<String>,
    /// One for each request.
    pub results: Vec<StreamResult>,
}

/// Body of `POST v3/cursor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CursorRequest {
    /// The stream to go on with; none opens a new one.
    #[serde(default)]
    pub baton: Option<String>,
    /// What to execute.
    pub batch: Batch,
}

/// First line of the response to a cursor request; the others are cursor entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CursorResponse {
    /// Names the stream in the next request; none if the stream is closed.
    #[serde(default)]
    pub baton: Option<String>,
    /// Where to send the next request; none means here.
    #[serde(default)]
    pub base_url: Option<String>,
}

/// Body of `POST v1/execute`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecuteRequest {
    /// What to execute, on a stream of its own.
    pub stmt: Stmt,
}

/// Body of `POST v1/batch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchRequest {
    /// What to execute, on a stream of its own.
    pub batch: Batch,
}

/// Body of the response to either, with a [`StmtResult`] or a [`BatchResult`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SingleResponse<T> {
    /// The result; what fails is answered as an error instead.
    pub result: T,
}

/// A request on an HTTP stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamRequest {
    /// Close the stream.
    Close,
    /// Execute a statement.
    Execute {
        /// The statement.
        stmt: Stmt,
    },
    /// Execute a batch.
    Batch {
        /// The batch.
        batch: Batch,
    },
    /// Execute statements separated by semicolons.
    Sequence {
        /// The SQL text itself,
        #[serde(skip_serializing_if = "Option::is_none")]
        sql: Option<String>,
        /// or the id of a stored one.
        #[serde(skip_serializing_if = "Option::is_none")]
        sql_id: Option<i32>,
    },
    /// Describe a statement.
    Describe {
        /// The SQL text itself,
        #[serde(skip_serializing_if = "Option::is_none")]
        sql: Option<String>,
        /// or the id of a stored one.
        #[serde(skip_serializing_if = "Option::is_none")]
        sql_id: Option<i32>,
    },
    /// Store an SQL text for the stream's life.
    StoreSql {
        /// Its id, chosen by the client.
        sql_id: i32,
        /// The text.
        sql: String,
    },
    /// Forget a stored SQL text.
    CloseSql {
        /// Its id.
        sql_id: i32,
    },
    /// Ask whether the stream is outside an explicit transaction. Since version 3.
    GetAutocommit,
}

impl<'de> Deserialize<'de> for StreamRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Close,
            Execute,
            Batch,
            Sequence,
            Describe,
            StoreSql,
            CloseSql,
            GetAutocommit,
        }

        #[derive(Deserialize)]
        struct Flat {
            #[serde(rename = "type")]
            kind: Kind,
            stmt: Option<Stmt>,
            batch: Option<Batch>,
            sql: Option<String>,
            sql_id: Option<i32>,
        }

        let Flat { kind, stmt, batch, sql, sql_id } = Flat::deserialize(deserializer)?;
        Ok(match kind {
            Kind::Close => Self::Close,
            Kind::Execute => Self::Execute { stmt: field(stmt, "stmt")? },
            Kind::Batch => Self::Batch { batch: field(batch, "batch")? },
            Kind::Sequence => Self::Sequence { sql, sql_id },
            Kind::Describe => Self::Describe { sql, sql_id },
            Kind::StoreSql => {
                Self::StoreSql { sql_id: field(sql_id, "sql_id")?, sql: field(sql, "sql")? }
            }
            Kind::CloseSql => Self::CloseSql { sql_id: field(sql_id, "sql_id")? },
            Kind::GetAutocommit => Self::GetAutocommit,
        })
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamResult {
    /// It succeeded.
    Ok {
        /// Its response, of the same type as the request.
        response: StreamResponse,
    },
    /// It failed.
    Error {
        /// Why.
        error: Error,
    },
}

impl<'de> Deserialize<'de> for StreamResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Ok,
            Error,
        }

        #[derive(Deserialize)]
        struct Flat {
            #[serde(rename = "type")]
            kind: Kind,
            response: Option<StreamResponse>,
            error: Option<Error>,
        }

        let flat = Flat::deserialize(deserializer)?;
        Ok(match flat.kind {
            Kind::Ok => Self::Ok { response: field(flat.response, "response")? },
            Kind::Error => Self::Error { error: field(flat.error, "error")? },
        })
    }
}

/// The response to a request that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamResponse {
    /// The stream is closed.
    Close,
    /// The statement was executed.
    Execute {
        /// Its result.
        result: StmtResult,
    },
    /// The batch was executed; its steps may have failed.
    Batch {
        /// Its result.
        result: BatchResult,
    },
    /// The statements were executed.
    Sequence,
    /// The statement was described.
    Describe {
        /// Its description.
        result: DescribeResult,
    },
    /// The SQL text is stored.
    StoreSql,
    /// The SQL text is forgotten.
    CloseSql,
    /// The stream's state.
    GetAutocommit {
        /// Whether it is outside an explicit transaction.
        is_autocommit: bool,
    },
}

impl<'de> Deserialize<'de> for StreamResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Close,
            Execute,
            Batch,
            Sequence,
            Describe,
            StoreSql,
            CloseSql,
            GetAutocommit,
        }

        #[derive(Deserialize)]
        struct Flat<'a> {
            #[serde(rename = "type")]
            kind: Kind,
            #[serde(borrow, default)]
            result: Option<&'a RawValue>,
            is_autocommit: Option<bool>,
        }

        fn result<'a, T: Deserialize<'a>, E: serde::de::Error>(
            raw: Option<&'a RawValue>,
        ) -> Result<T, E> {
            serde_json::from_str(field(raw, "result")?.get()).map_err(E::custom)
        }

        let flat = Flat::deserialize(deserializer)?;
        Ok(match flat.kind {
            Kind::Close => Self::Close,
            Kind::Execute => Self::Execute { result: result(flat.result)? },
            Kind::Batch => Self::Batch { result: result(flat.result)? },
            Kind::Sequence => Self::Sequence,
            Kind::Describe => Self::Describe { result: result(flat.result)? },
            Kind::StoreSql => Self::StoreSql,
            Kind::CloseSql => Self::CloseSql,
            Kind::GetAutocommit => Self::GetAutocommit {
                is_autocommit: flat
                    .is_autocommit
                    .ok_or_else(|| D::Error::missing_field("is_autocommit"))?,
            },
        })
    }
}
