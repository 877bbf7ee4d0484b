//! The protocol's messages in protobuf, as version 3 offers beside JSON.
//!
//! Each message of the schema in the specification's appendix is a struct here, with the schema's names and numbers; it
//! exists only between the bytes and the types of [`proto`](super), into which it is converted at once. So there is one
//! way to execute a request, whatever its encoding.
//!
//! Protobuf has no required fields: what the protocol cannot do without is checked by the conversions. What the schema
//! does not name is skipped, as the specification demands.

mod batch;
mod bound;
mod http;
mod result;
mod stmt;
mod ws;

pub use batch::{Batch, BatchCond, BatchStep, CondList, Condition, Empty};
pub use http::{
    CursorReqBody, CursorRespBody, PipelineReqBody, PipelineRespBody, StreamRequest,
    StreamRequestKind, StreamResponse, StreamResponseKind, StreamResult, StreamResultKind,
};
pub use result::{
    BatchResult, Col, CursorEntry, CursorEntryKind, DescribeCol, DescribeParam, DescribeResult,
    Error, Row, StmtResult,
};
pub use stmt::{NamedArg, Stmt, Value, ValueKind};
pub use ws::{
    ClientMsg, ClientMsgKind, RequestKind, RequestMsg, ResponseKind, ResponseOkMsg, ServerMsg,
    ServerMsgKind,
};

use prost::Message as _;

pub(crate) use bound::Shape;
pub(crate) use http::RESULTS;
pub(crate) use ws::{ENTRIES, fetched};

/// A type of the protocol that travels as a protobuf message.
pub trait Protobuf: TryFrom<Self::Message, Error = Invalid> {
    /// The message that it travels as.
    type Message: prost::Message + Default + From<Self>;
    /// Which fields of the message are messages themselves.
    #[doc(hidden)]
    const SHAPE: &'static Shape;
}

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// They are not protobuf, or fields have other types than in the schema.
    #[error("{0}")]
    Encoding(#[from] prost::DecodeError),
    /// A field that cannot be left out.
    #[error("missing field `{0}`")]
    Missing(&'static str),
    /// None of the variants that are known.
    #[error("a {0} of no known type")]
    Unknown(&'static str),
    /// A step of a batch's result of an impossible number.
    #[error("a result for step {0}, of which there cannot be so many")]
    Step(u32),
    /// More messages inside each other and beside each other than fit into the memory for a request.
    #[error("more than {0} values, statements and requests in one message")]
    TooMany(usize),
}

/// Writes a message.
pub fn encode<T: Protobuf>(value: T) -> Vec<u8> {
    T::Message::from(value).encode_to_vec()
}

/// Appends a message after its length.
pub(crate) fn append_delimited<T: Protobuf>(bytes: &mut Vec<u8>, value: T) {
    let message = T::Message::from(value);
    message.encode_length_delimited(bytes).expect("a vector grows as needed");
}

/// Reads a message.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode<T: Protobuf>(bytes: &[u8]) -> Result<T, Invalid> {
    bound::check(bytes, T::SHAPE)?;
    T::Message::decode(bytes)?.try_into()
}

/// The field of a message that must be there.
fn field<T>(value: Option<T>, name: &'static str) -> Result<T, Invalid> {
    value.ok_or(Invalid::Missing(name))
}

/// Converts a list whose elements cannot fail.
fn all<T, U: From<T>>(list: Vec<T>) -> Vec<U> {
    list.into_iter().map(U::from).collect()
}

/// Converts a list whose elements can fail.
fn try_all<T, U: TryFrom<T, Error = Invalid>>(list: Vec<T>) -> Result<Vec<U>, Invalid> {
    list.into_iter().map(U::try_from).collect()
}
