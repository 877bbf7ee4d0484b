//! A statement and its result.

use serde::{Deserialize, Serialize};

use super::{Value, text_int};

/// A statement with its arguments. Exactly one of `sql` and `sql_id` must be given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stmt {
    /// The SQL text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// The id of a text stored with `store_sql`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_id: Option<i32>,
    /// Values for the parameters, by position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Value>,
    /// Values for the parameters, by name; they win over `args`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named_args: Vec<NamedArg>,
    /// Whether rows are wanted; absent means yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub want_rows: Option<bool>,
}

/// A value for a parameter with a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedArg {
    /// The name with its sign (`:a`, `@a`, `$a`), or without.
    pub name: String,
    /// The value.
    pub value: Value,
}

impl NamedArg {
    /// The names under which SQLite may know the parameter, in the order to try them: the name
    /// itself if it has a sign, else the name with each sign.
    pub fn parameter_names(&self) -> impl Iterator<Item = String> + '_ {
        let has_sign = self.name.starts_with([':', '@', '$', '?']);
        let signs: &[&str] = if has_sign { &[""] } else { &[":", "@", "$"] };
        signs.iter().map(|sign| format!("{sign}{}", self.name))
    }
}

/// One row of a result.
pub type Row = Vec<Value>;

/// The result of a statement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StmtResult {
    /// The columns, also if there are no rows.
    pub cols: Vec<Col>,
    /// The rows; none if they were not wanted.
    pub rows: Vec<Row>,
    /// Rows inserted, updated or deleted.
    pub affected_row_count: u64,
    /// The stream's last inserted rowid; a decimal string on the wire.
    #[serde(with = "text_int", default)]
    pub last_insert_rowid: Option<i64>,
}

/// A column of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Col {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// The declared type, if it is a column of a table.
    #[serde(default)]
    pub decltype: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_with_only_sql_wants_rows_by_default() {
        let stmt: Stmt = serde_json::from_str(r#"{"sql":"SELECT 1"}"#).unwrap();
        assert_eq!(stmt, Stmt { sql: Some("SELECT 1".into()), ..Stmt::default() });
    }

    #[test]
    fn fields_of_other_servers_are_ignored() {
        let json =
            r#"{"sql":"x","sql_id":null,"replication_index":null,"args":[],"named_args":[]}"#;
        assert!(serde_json::from_str::<Stmt>(json).is_ok());
        let json = r#"{"cols":[],"rows":[],"affected_row_count":1,"last_insert_rowid":"7",
            "replication_index":"3","rows_read":1,"rows_written":1,"query_duration_ms":0.1}"#;
        let result: StmtResult = serde_json::from_str(json).unwrap();
        assert_eq!(result.last_insert_rowid, Some(7));
    }

    #[test]
    fn a_result_has_exactly_the_fields_of_the_specification() {
        let result = StmtResult { last_insert_rowid: Some(i64::MAX), ..StmtResult::default() };
        assert_eq!(
            serde_json::to_string(&result).unwrap(),
            r#"{"cols":[],"rows":[],"affected_row_count":0,"last_insert_rowid":"9223372036854775807"}"#
        );
        let col = Col { name: Some("a".into()), decltype: None };
        assert_eq!(serde_json::to_string(&col).unwrap(), r#"{"name":"a","decltype":null}"#);
    }

    #[test]
    fn a_bare_name_is_tried_with_each_sign() {
        let names = |name: &str| {
            let arg = NamedArg { name: name.into(), value: Value::Null };
            arg.parameter_names().collect::<Vec<_>>()
        };
        assert_eq!(names("a"), [":a", "@a", "$a"]);
        assert_eq!(names("@a"), ["@a"]);
        assert_eq!(names("?3"), ["?3"]);
    }
}
