//! The protocol's messages, as Rust types that serialize to and from its JSON.
//!
//! Both directions are there, so that a client or a forwarder can use the same types. They hold to
//! two rules of the specification: fields that are not known are ignored on the way in, and nothing
//! that the specification does not name is written on the way out.
//!
//! The tagged unions (`"type": …`) are read through a flat private struct of all their fields
//! instead of serde's internally tagged enums: those buffer every value in an untyped tree first,
//! which costs a second pass and cannot carry a float such as `1e999`. In consequence the types
//! read from a string or a slice (`serde_json::from_str`, `from_slice`), not from a reader.

mod batch;
mod cursor;
mod describe;
mod error;
mod http;
pub mod protobuf;
mod stmt;
mod text_int;
mod value;
mod ws;

pub use batch::{Batch, BatchCond, BatchResult, BatchStep};
pub use cursor::CursorEntry;
pub use describe::{DescribeCol, DescribeParam, DescribeResult};
pub use error::Error;
pub use http::{
    BatchRequest, CursorRequest, CursorResponse, ExecuteRequest, PipelineRequest, PipelineResponse,
    SingleResponse, StreamRequest, StreamResponse, StreamResult,
};
pub use stmt::{Col, NamedArg, Row, Stmt, StmtResult};
pub use value::Value;
pub use ws::{ClientMessage, Request, Response, ServerMessage};

/// The field of a tagged union, or serde's own words for a field that is missing.
fn field<T, E: serde::de::Error>(value: Option<T>, name: &'static str) -> Result<T, E> {
    value.ok_or_else(|| E::missing_field(name))
}
