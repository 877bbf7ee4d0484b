//! Turns what a client sent into what a database executes: SQL ids become their stored texts, and
//! what the negotiated version does not know is refused.
//!
//! A refusal never reaches the database, so nothing was executed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::proto::{Batch, BatchCond, NamedArg, Stmt, Value};
use crate::{Error, Limits, codes};

/// A version of the protocol. Each knows all that the one before knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Over WebSocket, and without streams over HTTP.
    V1,
    /// Adds stored SQL, `sequence` and `describe`.
    V2,
    /// Adds cursors, `get_autocommit` and the condition `is_autocommit`.
    V3,
}

impl Version {
    /// Refuses `what` before the version `since`.
    pub(crate) fn require(self, since: Version, what: &str) -> Result<(), Error> {
        if self >= since {
            return Ok(());
        }
        let message = format!(
            "{what} needs version {} of the protocol, and this client speaks version {}. Use a \
             client of the later version.",
            since as u8 + 1,
            self as u8 + 1
        );
        Err(Error::request(codes::UNSUPPORTED_VERSION, message))
    }
}

/// A statement ready to execute.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The SQL text.
    pub sql: Arc<str>,
    /// Values for the parameters, by position.
    pub args: Vec<Value>,
    /// Values for the parameters, by name; they win over `args`.
    pub named_args: Vec<NamedArg>,
    /// Whether the rows are wanted.
    pub want_rows: bool,
}

/// A batch ready to execute. Conditions refer only to earlier steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Program {
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// A step of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The step is skipped if this is present and does not hold.
    pub condition: Option<BatchCond>,
    /// What to execute.
    pub statement: Statement,
}

/// The SQL texts that a client stored, within the limits.
#[derive(Debug, Default)]
pub(crate) struct SqlStore {
    texts: HashMap<i32, Arc<str>>,
    bytes: usize,
}

impl SqlStore {
    pub(crate) fn contains(&self, sql_id: i32) -> bool {
        self.texts.contains_key(&sql_id)
    }

    /// Stores a text under an id that must be free.
    pub(crate) fn store(&mut self, sql_id: i32, sql: String, limits: &Limits) -> Result<(), Error> {
        if self.contains(sql_id) {
            let message = format!(
                "An SQL text is already stored under the id {sql_id}. Close it first, or use \
                 another id."
            );
            return Err(Error::request(codes::SQL_ID_IN_USE, message));
        }
        if self.texts.len() >= limits.stored_sqls {
            let message = format!(
                "{} SQL texts are stored, which is the limit. Close some of them first.",
                self.texts.len()
            );
            return Err(Error::request(codes::SQL_STORE_TOO_MANY, message));
        }
        if self.bytes + sql.len() > limits.stored_sql_bytes {
            let message = format!(
                "With this SQL text of {} bytes the stored ones would exceed the limit of {} \
                 bytes. Send it with the statement instead.",
                sql.len(),
                limits.stored_sql_bytes
            );
            return Err(Error::request(codes::SQL_STORE_TOO_LARGE, message));
        }
        self.bytes += sql.len();
        self.texts.insert(sql_id, sql.into());
        Ok(())
    }

    /// Forgets a text; an id that is not used is no error.
    pub(crate) fn close(&mut self, sql_id: i32) {
        if let Some(sql) = self.texts.remove(&sql_id) {
            self.bytes -= sql.len();
        }
    }

    /// The SQL text that a request gives directly or by id.
    pub(crate) fn sql(&self, sql: Option<String>, sql_id: Option<i32>) -> Result<Arc<str>, Error> {
        match (sql, sql_id) {
            (Some(sql), None) => Ok(sql.into()),
            (None, Some(sql_id)) => self.texts.get(&sql_id).cloned().ok_or_else(|| {
                let message = format!(
                    "No SQL text is stored under the id {sql_id}. Store it first with store_sql."
                );
                Error::request(codes::SQL_ID_UNKNOWN, message)
            }),
            (Some(_), Some(_)) => {
                Err(bad_request("A statement has both `sql` and `sql_id`. Give one of them."))
            }
            (None, None) => {
                Err(bad_request("A statement has neither `sql` nor `sql_id`. Give one of them."))
            }
        }
    }

    /// Resolves a statement.
    pub(crate) fn statement(&self, stmt: Stmt) -> Result<Statement, Error> {
        Ok(Statement {
            sql: self.sql(stmt.sql, stmt.sql_id)?,
            args: stmt.args,
            named_args: stmt.named_args,
            want_rows: stmt.want_rows.unwrap_or(true),
        })
    }

    /// Resolves a batch and checks its conditions.
    pub(crate) fn program(&self, batch: Batch, version: Version) -> Result<Program, Error> {
        let mut steps = Vec::with_capacity(batch.steps.len());
        for (index, step) in batch.steps.into_iter().enumerate() {
            if let Some(condition) = &step.condition {
                check_condition(condition, index, version)?;
            }
            let statement = self.statement(step.stmt)?;
            steps.push(Step { condition: step.condition, statement });
        }
        Ok(Program { steps })
    }
}

/// A step may depend only on steps before it. The depth is bounded by the readers of JSON and protobuf.
fn check_condition(cond: &BatchCond, index: usize, version: Version) -> Result<(), Error> {
    match cond {
        BatchCond::Ok { step } | BatchCond::Error { step } => {
            if (*step as usize) < index {
                return Ok(());
            }
            let message = format!(
                "The condition of batch step {index} refers to step {step}, which is not before \
                 it. Refer to earlier steps only."
            );
            Err(bad_request(message))
        }
        BatchCond::Not { cond } => check_condition(cond, index, version),
        BatchCond::And { conds } | BatchCond::Or { conds } => {
            conds.iter().try_for_each(|cond| check_condition(cond, index, version))
        }
        BatchCond::IsAutocommit => version.require(Version::V3, "The condition is_autocommit"),
    }
}

/// A request that does not make sense.
pub(crate) fn bad_request(message: impl Into<String>) -> Error {
    Error::request(codes::BAD_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::BatchStep;

    fn stmt(sql_id: i32) -> Stmt {
        Stmt { sql_id: Some(sql_id), ..Stmt::default() }
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
        result.expect_err("should be refused").code.into_owned()
    }

    #[test]
    fn stored_sql_is_found_until_it_is_closed() {
        let limits = Limits::default();
        let mut store = SqlStore::default();
        store.store(7, "SELECT 1".into(), &limits).unwrap();
        assert_eq!(code(store.store(7, "SELECT 2".into(), &limits)), codes::SQL_ID_IN_USE);
        assert_eq!(&*store.statement(stmt(7)).unwrap().sql, "SELECT 1");
        store.close(7);
        store.close(7);
        assert_eq!(code(store.statement(stmt(7))), codes::SQL_ID_UNKNOWN);
        assert_eq!(store.bytes, 0);
    }

    #[test]
    fn stored_sql_is_bounded_in_number_and_bytes() {
        let limits = Limits { stored_sqls: 2, stored_sql_bytes: 5, ..Limits::default() };
        let mut store = SqlStore::default();
        assert_eq!(code(store.store(1, "123456".into(), &limits)), codes::SQL_STORE_TOO_LARGE);
        store.store(1, "12345".into(), &limits).unwrap();
        store.store(2, String::new(), &limits).unwrap();
        assert_eq!(code(store.store(3, String::new(), &limits)), codes::SQL_STORE_TOO_MANY);
    }

    #[test]
    fn exactly_one_of_sql_and_sql_id_is_given() {
        let store = SqlStore::default();
        assert_eq!(code(store.sql(None, None)), codes::BAD_REQUEST);
        assert_eq!(code(store.sql(Some(String::new()), Some(1))), codes::BAD_REQUEST);
        assert_eq!(&*store.sql(Some(String::new()), None).unwrap(), "");
    }

    #[test]
    fn a_condition_refers_to_earlier_steps_only() {
        let store = SqlStore::default();
        let batch = |step| Batch {
            steps: vec![
                BatchStep {
                    condition: None,
                    stmt: Stmt { sql: Some("a".into()), ..Stmt::default() },
                },
                BatchStep {
                    condition: Some(BatchCond::Not { cond: Box::new(BatchCond::Ok { step }) }),
                    stmt: Stmt { sql: Some("b".into()), ..Stmt::default() },
                },
            ],
        };
        assert!(store.program(batch(0), Version::V2).is_ok());
        assert_eq!(code(store.program(batch(1), Version::V2)), codes::BAD_REQUEST);
    }

    #[test]
    fn is_autocommit_needs_version_3() {
        let cond = BatchCond::Or { conds: vec![BatchCond::IsAutocommit] };
        assert!(check_condition(&cond, 0, Version::V3).is_ok());
        let error = check_condition(&cond, 0, Version::V2).unwrap_err();
        assert_eq!(error.code, codes::UNSUPPORTED_VERSION);
        assert!(error.message.contains("version 3"), "{error}");
    }
}
