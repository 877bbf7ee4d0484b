//! A batch of statements, its conditions and its result.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Error, Stmt, StmtResult, field};

/// Statements to execute in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The steps; conditions refer to them by index.
    pub steps: Vec<BatchStep>,
}

/// A statement of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchStep {
    /// The step is skipped if this is present and does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<BatchCond>,
    /// What to execute.
    pub stmt: Stmt,
}

/// A condition on the steps before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BatchCond {
    /// The step was executed and succeeded.
    Ok {
        /// Its index.
        step: u32,
    },
    /// The step was executed and failed.
    Error {
        /// Its index.
        step: u32,
    },
    /// The condition does not hold.
    Not {
        /// The condition.
        cond: Box<BatchCond>,
    },
    /// All of them hold.
    And {
        /// The conditions.
        conds: Vec<BatchCond>,
    },
    /// One of them holds.
    Or {
        /// The conditions.
        conds: Vec<BatchCond>,
    },
    /// The stream is outside an explicit transaction. Since version 3.
    IsAutocommit,
}

impl<'de> Deserialize<'de> for BatchCond {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Ok,
            Error,
            Not,
            And,
            Or,
            IsAutocommit,
        }

        #[derive(Deserialize)]
        struct Flat {
            #[serde(rename = "type")]
            kind: Kind,
            step: Option<u32>,
            cond: Option<Box<BatchCond>>,
            conds: Option<Vec<BatchCond>>,
        }

        let flat = Flat::deserialize(deserializer)?;
        Ok(match flat.kind {
            Kind::Ok => Self::Ok { step: field(flat.step, "step")? },
            Kind::Error => Self::Error { step: field(flat.step, "step")? },
            Kind::Not => Self::Not { cond: field(flat.cond, "cond")? },
            Kind::And => Self::And { conds: field(flat.conds, "conds")? },
            Kind::Or => Self::Or { conds: field(flat.conds, "conds")? },
            Kind::IsAutocommit => Self::IsAutocommit,
        })
    }
}

/// The result of a batch: for each step a result, an error, or neither if it was skipped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchResult {
    /// By step: the result of one that succeeded.
    pub step_results: Vec<Option<StmtResult>>,
    /// By step: the error of one that failed.
    pub step_errors: Vec<Option<Error>>,
}
