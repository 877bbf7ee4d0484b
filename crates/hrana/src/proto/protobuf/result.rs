//! What statements yield: results, errors, descriptions and the entries of cursors.

use std::collections::BTreeMap;

use super::stmt::VALUE;
use super::{Invalid, Protobuf, Shape, Value, all, field, try_all};
use crate::proto;

/// Of a batch's result in protobuf, a step that has neither a result nor an error is not there at all, so that a few bytes
/// could ask for a list of any length.
const MOST_STEPS: u32 = 1 << 16;

static LEAF: Shape = Shape(&[]);
static ROW: Shape = Shape(&[(1, &VALUE)]);
pub(super) static STMT_RESULT: Shape = Shape(&[(1, &LEAF), (2, &ROW)]);
pub(super) static BATCH_RESULT: Shape =
    Shape(&[(1, &Shape(&[(2, &STMT_RESULT)])), (2, &Shape(&[(2, &LEAF)]))]);
pub(super) static DESCRIBE_RESULT: Shape = Shape(&[(1, &LEAF), (2, &LEAF)]);
pub(super) static ENTRY: Shape =
    Shape(&[(1, &Shape(&[(2, &LEAF)])), (2, &LEAF), (3, &LEAF), (4, &ROW), (5, &LEAF)]);

/// `Error` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Error {
    /// For people.
    #[prost(string, tag = "1")]
    pub message: String,
    /// For machines.
    #[prost(string, optional, tag = "2")]
    pub code: Option<String>,
}

/// `StmtResult` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct StmtResult {
    #[prost(message, repeated, tag = "1")]
    pub cols: Vec<Col>,
    #[prost(message, repeated, tag = "2")]
    pub rows: Vec<Row>,
    #[prost(uint64, tag = "3")]
    pub affected_row_count: u64,
    #[prost(sint64, optional, tag = "4")]
    pub last_insert_rowid: Option<i64>,
}

/// `Col` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct Col {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub decltype: Option<String>,
}

/// `Row` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Row {
    /// One for each column.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// `BatchResult` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchResult {
    /// Of the steps that succeeded.
    #[prost(btree_map = "uint32, message", tag = "1")]
    pub step_results: BTreeMap<u32, StmtResult>,
    /// Of the steps that failed.
    #[prost(btree_map = "uint32, message", tag = "2")]
    pub step_errors: BTreeMap<u32, Error>,
}

/// `CursorEntry` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CursorEntry {
    /// Must be there.
    #[prost(oneof = "CursorEntryKind", tags = "1, 2, 3, 4, 5")]
    pub entry: Option<CursorEntryKind>,
}

/// One kind of entry.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum CursorEntryKind {
    #[prost(message, tag = "1")]
    StepBegin(StepBeginEntry),
    #[prost(message, tag = "2")]
    StepEnd(StepEndEntry),
    #[prost(message, tag = "3")]
    StepError(StepErrorEntry),
    #[prost(message, tag = "4")]
    Row(Row),
    #[prost(message, tag = "5")]
    Error(Error),
}

/// `StepBeginEntry` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct StepBeginEntry {
    #[prost(uint32, tag = "1")]
    pub step: u32,
    #[prost(message, repeated, tag = "2")]
    pub cols: Vec<Col>,
}

/// `StepEndEntry` of the schema.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct StepEndEntry {
    #[prost(uint64, tag = "1")]
    pub affected_row_count: u64,
    #[prost(sint64, optional, tag = "2")]
    pub last_insert_rowid: Option<i64>,
}

/// `StepErrorEntry` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct StepErrorEntry {
    #[prost(uint32, tag = "1")]
    pub step: u32,
    #[prost(message, optional, tag = "2")]
    pub error: Option<Error>,
}

/// `DescribeResult` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct DescribeResult {
    #[prost(message, repeated, tag = "1")]
    pub params: Vec<DescribeParam>,
    #[prost(message, repeated, tag = "2")]
    pub cols: Vec<DescribeCol>,
    #[prost(bool, tag = "3")]
    pub is_explain: bool,
    #[prost(bool, tag = "4")]
    pub is_readonly: bool,
}

/// `DescribeParam` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct DescribeParam {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
}

/// `DescribeCol` of the schema.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[allow(missing_docs)] // As in the schema.
pub struct DescribeCol {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, optional, tag = "2")]
    pub decltype: Option<String>,
}

/// Messages that have the same fields as their types.
macro_rules! same {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl From<proto::$name> for $name {
            fn from(from: proto::$name) -> Self {
                Self { $($field: from.$field),* }
            }
        }

        impl From<$name> for proto::$name {
            fn from(from: $name) -> Self {
                Self { $($field: from.$field),* }
            }
        }
    )*};
}

same! {
    Error { message, code }
    Col { name, decltype }
    DescribeParam { name }
    DescribeCol { name, decltype }
}

impl From<proto::StmtResult> for StmtResult {
    fn from(result: proto::StmtResult) -> Self {
        let proto::StmtResult { cols, rows, affected_row_count, last_insert_rowid } = result;
        let rows = rows.into_iter().map(|row| Row { values: all(row) }).collect();
        Self { cols: all(cols), rows, affected_row_count, last_insert_rowid }
    }
}

impl TryFrom<StmtResult> for proto::StmtResult {
    type Error = Invalid;

    fn try_from(result: StmtResult) -> Result<Self, Invalid> {
        let StmtResult { cols, rows, affected_row_count, last_insert_rowid } = result;
        let rows = rows.into_iter().map(|row| try_all(row.values)).collect::<Result<_, _>>()?;
        Ok(Self { cols: all(cols), rows, affected_row_count, last_insert_rowid })
    }
}

impl From<proto::BatchResult> for BatchResult {
    fn from(result: proto::BatchResult) -> Self {
        fn numbered<T, U: From<T>>(steps: Vec<Option<T>>) -> BTreeMap<u32, U> {
            let steps = (0..).zip(steps);
            steps.filter_map(|(step, what)| Some((step, what?.into()))).collect()
        }
        Self {
            step_results: numbered(result.step_results),
            step_errors: numbered(result.step_errors),
        }
    }
}

impl TryFrom<BatchResult> for proto::BatchResult {
    type Error = Invalid;

    /// The steps end with the last one that was executed: those skipped after it left no trace.
    fn try_from(result: BatchResult) -> Result<Self, Invalid> {
        let (mut results, mut errors) = (result.step_results, result.step_errors);
        let last = results.keys().next_back().max(errors.keys().next_back()).copied();
        let count = match last {
            None => 0,
            Some(last) if last < MOST_STEPS => last + 1,
            Some(last) => return Err(Invalid::Step(last)),
        };
        Ok(Self {
            step_results: (0..count)
                .map(|step| results.remove(&step).map(TryInto::try_into).transpose())
                .collect::<Result<_, _>>()?,
            step_errors: (0..count).map(|step| errors.remove(&step).map(Into::into)).collect(),
        })
    }
}

impl From<proto::CursorEntry> for CursorEntry {
    fn from(entry: proto::CursorEntry) -> Self {
        let entry = match entry {
            proto::CursorEntry::StepBegin { step, cols } => {
                CursorEntryKind::StepBegin(StepBeginEntry { step, cols: all(cols) })
            }
            proto::CursorEntry::Row { row } => CursorEntryKind::Row(Row { values: all(row) }),
            proto::CursorEntry::StepEnd { affected_row_count, last_insert_rowid } => {
                CursorEntryKind::StepEnd(StepEndEntry { affected_row_count, last_insert_rowid })
            }
            proto::CursorEntry::StepError { step, error } => {
                CursorEntryKind::StepError(StepErrorEntry { step, error: Some(error.into()) })
            }
            proto::CursorEntry::Error { error } => CursorEntryKind::Error(error.into()),
        };
        Self { entry: Some(entry) }
    }
}

impl TryFrom<CursorEntry> for proto::CursorEntry {
    type Error = Invalid;

    fn try_from(entry: CursorEntry) -> Result<Self, Invalid> {
        Ok(match entry.entry.ok_or(Invalid::Unknown("cursor entry"))? {
            CursorEntryKind::StepBegin(StepBeginEntry { step, cols }) => {
                Self::StepBegin { step, cols: all(cols) }
            }
            CursorEntryKind::Row(row) => Self::Row { row: try_all(row.values)? },
            CursorEntryKind::StepEnd(StepEndEntry { affected_row_count, last_insert_rowid }) => {
                Self::StepEnd { affected_row_count, last_insert_rowid }
            }
            CursorEntryKind::StepError(StepErrorEntry { step, error }) => {
                Self::StepError { step, error: field(error, "error")?.into() }
            }
            CursorEntryKind::Error(error) => Self::Error { error: error.into() },
        })
    }
}

impl From<proto::DescribeResult> for DescribeResult {
    fn from(result: proto::DescribeResult) -> Self {
        let proto::DescribeResult { params, cols, is_explain, is_readonly } = result;
        Self { params: all(params), cols: all(cols), is_explain, is_readonly }
    }
}

impl From<DescribeResult> for proto::DescribeResult {
    fn from(result: DescribeResult) -> Self {
        let DescribeResult { params, cols, is_explain, is_readonly } = result;
        Self { params: all(params), cols: all(cols), is_explain, is_readonly }
    }
}

impl Protobuf for proto::CursorEntry {
    type Message = CursorEntry;
    const SHAPE: &Shape = &ENTRY;
}
