//! Statements and values.

use super::batch::EMPTY;
use super::{Empty, Invalid, Shape, all, field, try_all};
use crate::proto;

pub(super) static VALUE: Shape = Shape(&[(1, &EMPTY)]);
static NAMED_ARG: Shape = Shape(&[(2, &VALUE)]);
pub(super) static STMT: Shape = Shape(&[(3, &VALUE), (4, &NAMED_ARG)]);

/// `Stmt` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Stmt {
    /// The SQL text itself.
    #[prost(string, optional, tag = "1")]
    pub sql: Option<String>,
    /// The id of a stored text.
    #[prost(int32, optional, tag = "2")]
    pub sql_id: Option<i32>,
    /// By position.
    #[prost(message, repeated, tag = "3")]
    pub args: Vec<Value>,
    /// By name.
    #[prost(message, repeated, tag = "4")]
    pub named_args: Vec<NamedArg>,
    /// Absent means yes.
    #[prost(bool, optional, tag = "5")]
    pub want_rows: Option<bool>,
}

/// `NamedArg` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamedArg {
    /// With or without its sign.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Must be there.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

/// `Value` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// Must be there.
    #[prost(oneof = "ValueKind", tags = "1, 2, 3, 4, 5")]
    pub value: Option<ValueKind>,
}

/// One of SQLite's five storage classes.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum ValueKind {
    #[prost(message, tag = "1")]
    Null(Empty),
    #[prost(sint64, tag = "2")]
    Integer(i64),
    #[prost(double, tag = "3")]
    Float(f64),
    #[prost(string, tag = "4")]
    Text(String),
    #[prost(bytes, tag = "5")]
    Blob(Vec<u8>),
}

impl From<proto::Value> for Value {
    /// As in JSON, a NaN is NULL: SQLite has none.
    fn from(value: proto::Value) -> Self {
        let kind = match value {
            proto::Value::Null => ValueKind::Null(Empty {}),
            proto::Value::Float(value) if value.is_nan() => ValueKind::Null(Empty {}),
            proto::Value::Integer(value) => ValueKind::Integer(value),
            proto::Value::Float(value) => ValueKind::Float(value),
            proto::Value::Text(value) => ValueKind::Text(value),
            proto::Value::Blob(value) => ValueKind::Blob(value),
        };
        Self { value: Some(kind) }
    }
}

impl TryFrom<Value> for proto::Value {
    type Error = Invalid;

    fn try_from(value: Value) -> Result<Self, Invalid> {
        Ok(match value.value.ok_or(Invalid::Unknown("value"))? {
            ValueKind::Null(Empty {}) => Self::Null,
            ValueKind::Integer(value) => Self::Integer(value),
            ValueKind::Float(value) => Self::Float(value),
            ValueKind::Text(value) => Self::Text(value),
            ValueKind::Blob(value) => Self::Blob(value),
        })
    }
}

impl From<proto::NamedArg> for NamedArg {
    fn from(arg: proto::NamedArg) -> Self {
        Self { name: arg.name, value: Some(arg.value.into()) }
    }
}

impl TryFrom<NamedArg> for proto::NamedArg {
    type Error = Invalid;

    fn try_from(arg: NamedArg) -> Result<Self, Invalid> {
        Ok(Self { name: arg.name, value: field(arg.value, "value")?.try_into()? })
    }
}

impl From<proto::Stmt> for Stmt {
    fn from(stmt: proto::Stmt) -> Self {
        let proto::Stmt { sql, sql_id, args, named_args, want_rows } = stmt;
        Self { sql, sql_id, args: all(args), named_args: all(named_args), want_rows }
    }
}

impl TryFrom<Stmt> for proto::Stmt {
    type Error = Invalid;

    fn try_from(stmt: Stmt) -> Result<Self, Invalid> {
        let Stmt { sql, sql_id, args, named_args, want_rows } = stmt;
        let (args, named_args) = (try_all(args)?, try_all(named_args)?);
        Ok(Self { sql, sql_id, args, named_args, want_rows })
    }
}
