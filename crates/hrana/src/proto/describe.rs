//! What a statement expects and yields.

use serde::{Deserialize, Serialize};

/// The result of describing a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeResult {
    /// The parameters; the first is SQLite's parameter 1.
    pub params: Vec<DescribeParam>,
    /// The columns of its rows.
    pub cols: Vec<DescribeCol>,
    /// Whether it is an `EXPLAIN`.
    pub is_explain: bool,
    /// Whether it leaves the database unchanged.
    pub is_readonly: bool,
}

/// A parameter of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeParam {
    /// The name with its sign; none for `?` and for a number that the statement skips.
    #[serde(default)]
    pub name: Option<String>,
}

/// A column of a statement's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeCol {
    /// Its name.
    pub name: String,
    /// The declared type, if it is a column of a table.
    #[serde(default)]
    pub decltype: Option<String>,
}
