//! What goes into a statement and what comes out of it, free of SQLite's types.

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::error::SqlError;

/// A value of SQLite's five kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// The value without its own memory.
    #[must_use]
    pub fn view(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(Cow::Borrowed(text)),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }
    }
}

/// A value that lies in a row which is being read.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// NULL.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// Text; what is not UTF-8 in it is replaced by U+FFFD.
    Text(Cow<'a, str>),
    /// Bytes.
    Blob(&'a [u8]),
}

impl ValueRef<'_> {
    /// The bytes that the value takes in a result, counted as 8 at least: also one without bytes takes memory.
    #[must_use]
    pub fn size(&self) -> u64 {
        let length = match self {
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
            ValueRef::Text(text) => text.len().max(8),
            ValueRef::Blob(bytes) => bytes.len().max(8),
        };
        length as u64
    }

    /// A copy that outlives the row.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Integer(*number),
            ValueRef::Real(number) => Value::Real(*number),
            ValueRef::Text(text) => Value::Text(text.as_ref().to_owned()),
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        }
    }
}

/// The arguments of a statement. Positional ones are bound first, then named ones.
///
/// A parameter without an argument is NULL; an argument without a parameter is refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    /// Bound to the parameters 1, 2, … (`?`, `?NNN`, and named ones by their index).
    pub positional: Vec<Value>,
    /// Bound by name, given with or without the prefix `:`, `@` or `$`.
    pub named: Vec<(String, Value)>,
}

/// One SQL statement to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Exactly one statement; whitespace, comments and semicolons around it are fine.
    pub sql: Arc<str>,
    /// Its arguments.
    pub args: Args,
    /// Whether rows are wanted; without, the statement runs to its end and its rows are dropped.
    pub want_rows: bool,
}

impl Statement {
    /// A statement without arguments whose rows are wanted.
    #[must_use]
    pub fn new(sql: impl Into<Arc<str>>) -> Statement {
        Statement { sql: sql.into(), args: Args::default(), want_rows: true }
    }

    /// A statement with positional arguments whose rows are wanted.
    #[must_use]
    pub fn with(sql: impl Into<Arc<str>>, positional: Vec<Value>) -> Statement {
        let args = Args { positional, named: Vec::new() };
        Statement { sql: sql.into(), args, want_rows: true }
    }
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name or alias.
    pub name: String,
    /// The type it was declared with, if it comes from a table.
    pub decltype: Option<String>,
}

/// What a statement did, apart from its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// Rows inserted, updated or deleted by the statement itself; 0 for anything but INSERT, UPDATE, DELETE.
    pub affected_rows: u64,
    /// The stream's last rowid, whatever the statement was.
    pub last_insert_rowid: i64,
    /// About how many rows were looked at: those of full scans, at least those returned.
    pub rows_read: u64,
    /// Rows changed, those by triggers and foreign-key actions included.
    pub rows_written: u64,
    /// Time from the first step to the last.
    pub duration: Duration,
}

/// A statement's result with all its rows.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StatementResult {
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// The rows, in order; empty if they were not wanted.
    pub rows: Vec<Vec<Value>>,
    /// What the statement did.
    pub summary: Summary,
}

/// Why a sink takes no more rows.
#[derive(Debug)]
pub enum Stop {
    /// It has enough; the statement is ended as if this had been its last row.
    Enough,
    /// The statement fails with this error; if it was writing, its transaction is rolled back.
    Fail(SqlError),
}

/// Takes a result as it is produced.
pub trait RowSink {
    /// Called once, before the first row, also when there are no rows.
    ///
    /// # Errors
    /// [`Stop`], to end the statement.
    fn columns(&mut self, columns: &[Column]) -> Result<(), Stop>;

    /// Called for each row; `values` live until the call returns.
    ///
    /// # Errors
    /// [`Stop`], to end the statement.
    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), Stop>;
}

/// Collects a result of bounded size.
#[derive(Debug)]
pub struct CollectingSink {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows so far.
    pub rows: Vec<Vec<Value>>,
    left: u64,
    limit: u64,
}

impl CollectingSink {
    /// A sink that takes values of `limit` bytes at most, counted as in [`ValueRef::size`].
    #[must_use]
    pub fn new(limit: u64) -> CollectingSink {
        CollectingSink { columns: Vec::new(), rows: Vec::new(), left: limit, limit }
    }

    /// Bytes of the values so far, counted so.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.limit - self.left
    }
}

impl RowSink for CollectingSink {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Stop> {
        self.columns = columns.to_vec();
        Ok(())
    }

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), Stop> {
        let size: u64 = values.iter().map(ValueRef::size).sum();
        let Some(left) = self.left.checked_sub(size) else {
            return Err(Stop::Fail(SqlError::response_too_large(self.limit)));
        };
        self.left = left;
        self.rows.push(values.iter().map(ValueRef::to_value).collect());
        Ok(())
    }
}
