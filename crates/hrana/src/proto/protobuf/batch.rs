//! Batches and their conditions.

use super::stmt::STMT;
use super::{Invalid, Shape, Stmt, all, field, try_all};
use crate::proto;

pub(super) static EMPTY: Shape = Shape(&[]);
static COND: Shape = Shape(&[(3, &COND), (4, &CONDS), (5, &CONDS), (6, &EMPTY)]);
static CONDS: Shape = Shape(&[(1, &COND)]);
static STEP: Shape = Shape(&[(1, &COND), (2, &STMT)]);
pub(super) static BATCH: Shape = Shape(&[(1, &STEP)]);

/// A message without fields, of which the schema has many.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Empty {}

/// `Batch` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub steps: Vec<BatchStep>,
}

/// `BatchStep` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchStep {
    /// The step is skipped if this does not hold.
    #[prost(message, optional, tag = "1")]
    pub condition: Option<BatchCond>,
    /// Must be there.
    #[prost(message, optional, tag = "2")]
    pub stmt: Option<Stmt>,
}

/// `BatchCond` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchCond {
    /// Must be there.
    #[prost(oneof = "Condition", tags = "1, 2, 3, 4, 5, 6")]
    pub cond: Option<Condition>,
}

/// One kind of condition.
#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(missing_docs)] // As in the schema.
pub enum Condition {
    #[prost(uint32, tag = "1")]
    StepOk(u32),
    #[prost(uint32, tag = "2")]
    StepError(u32),
    #[prost(message, boxed, tag = "3")]
    Not(Box<BatchCond>),
    #[prost(message, tag = "4")]
    And(CondList),
    #[prost(message, tag = "5")]
    Or(CondList),
    #[prost(message, tag = "6")]
    IsAutocommit(Empty),
}

/// `BatchCond.CondList` of the schema.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CondList {
    /// The conditions.
    #[prost(message, repeated, tag = "1")]
    pub conds: Vec<BatchCond>,
}

impl From<proto::BatchCond> for BatchCond {
    fn from(cond: proto::BatchCond) -> Self {
        let cond = match cond {
            proto::BatchCond::Ok { step } => Condition::StepOk(step),
            proto::BatchCond::Error { step } => Condition::StepError(step),
            proto::BatchCond::Not { cond } => Condition::Not(Box::new((*cond).into())),
            proto::BatchCond::And { conds } => Condition::And(CondList { conds: all(conds) }),
            proto::BatchCond::Or { conds } => Condition::Or(CondList { conds: all(conds) }),
            proto::BatchCond::IsAutocommit => Condition::IsAutocommit(Empty {}),
        };
        Self { cond: Some(cond) }
    }
}

impl TryFrom<BatchCond> for proto::BatchCond {
    type Error = Invalid;

    fn try_from(cond: BatchCond) -> Result<Self, Invalid> {
        Ok(match cond.cond.ok_or(Invalid::Unknown("condition"))? {
            Condition::StepOk(step) => Self::Ok { step },
            Condition::StepError(step) => Self::Error { step },
            Condition::Not(cond) => Self::Not { cond: Box::new((*cond).try_into()?) },
            Condition::And(CondList { conds }) => Self::And { conds: try_all(conds)? },
            Condition::Or(CondList { conds }) => Self::Or { conds: try_all(conds)? },
            Condition::IsAutocommit(Empty {}) => Self::IsAutocommit,
        })
    }
}

impl From<proto::BatchStep> for BatchStep {
    fn from(step: proto::BatchStep) -> Self {
        Self { condition: step.condition.map(Into::into), stmt: Some(step.stmt.into()) }
    }
}

impl TryFrom<BatchStep> for proto::BatchStep {
    type Error = Invalid;

    fn try_from(step: BatchStep) -> Result<Self, Invalid> {
        let condition = step.condition.map(TryInto::try_into).transpose()?;
        Ok(Self { condition, stmt: field(step.stmt, "stmt")?.try_into()? })
    }
}

impl From<proto::Batch> for Batch {
    fn from(batch: proto::Batch) -> Self {
        Self { steps: all(batch.steps) }
    }
}

impl TryFrom<Batch> for proto::Batch {
    type Error = Invalid;

    fn try_from(batch: Batch) -> Result<Self, Invalid> {
        Ok(Self { steps: try_all(batch.steps)? })
    }
}
