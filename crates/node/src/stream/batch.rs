//! Batches: statements with conditions on the outcome of earlier ones.

use counterpart_engine::{Column, SqlError, Statement, StatementResult, Stop, Summary, ValueRef};

use crate::refusal::Refusal;

/// When a step is executed. Conditions refer to earlier steps by their place, counted from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The step was executed and succeeded.
    Ok(usize),
    /// The step was executed and failed.
    Error(usize),
    /// The condition does not hold.
    Not(Box<Condition>),
    /// All hold.
    And(Vec<Condition>),
    /// At least one holds.
    Or(Vec<Condition>),
    /// The stream is outside an explicit transaction.
    IsAutocommit,
}

/// One step of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The step is skipped if this is present and does not hold.
    pub condition: Option<Condition>,
    /// What to execute.
    pub statement: Statement,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Its condition did not hold.
    Skipped,
    /// It was executed and succeeded.
    Ok,
    /// It was executed and failed.
    Failed,
}

impl Condition {
    /// Whether it holds, given how the earlier steps ended and whether the stream is in autocommit mode.
    #[must_use]
    pub fn holds(&self, ended: &[Ended], autocommit: bool) -> bool {
        let is = |step: usize, how: Ended| ended.get(step) == Some(&how);
        match self {
            Condition::Ok(step) => is(*step, Ended::Ok),
            Condition::Error(step) => is(*step, Ended::Failed),
            Condition::Not(condition) => !condition.holds(ended, autocommit),
            Condition::And(all) => all.iter().all(|c| c.holds(ended, autocommit)),
            Condition::Or(any) => any.iter().any(|c| c.holds(ended, autocommit)),
            Condition::IsAutocommit => autocommit,
        }
    }
}

/// Takes the entries of a batch as they arise, on the thread that executes it.
///
/// An answer of `Err(Stop::Enough)` means that nobody listens any more.
pub trait BatchSink: Send {
    /// A step begins to give rows.
    ///
    /// # Errors
    /// [`Stop`], to end it.
    fn step_begin(&mut self, step: usize, columns: &[Column]) -> Result<(), Stop>;
    /// One row of the current step.
    ///
    /// # Errors
    /// [`Stop`], to end it.
    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), Stop>;
    /// The current step succeeded.
    fn step_end(&mut self, step: usize, summary: &Summary);
    /// The step failed.
    fn step_error(&mut self, step: usize, error: &SqlError);
    /// Why the sink can't be trusted with further entries, if it has lost any: the batch and its stream end then.
    fn broken(&self) -> Option<Refusal> {
        None
    }
}

/// What each step of a collected batch gave; `None` where it was skipped.
pub type BatchOutcome = Vec<Option<Result<StatementResult, SqlError>>>;

/// Collects a batch within a bound.
pub(super) struct Collect {
    pub(super) outcome: BatchOutcome,
    current: StatementResult,
    left: u64,
    limit: u64,
}

impl Collect {
    pub(super) fn new(steps: usize, limit: u64) -> Collect {
        let outcome = std::iter::repeat_with(|| None).take(steps).collect();
        Collect { outcome, current: StatementResult::default(), left: limit, limit }
    }
}

impl BatchSink for Collect {
    fn step_begin(&mut self, _step: usize, columns: &[Column]) -> Result<(), Stop> {
        self.current = StatementResult { columns: columns.to_vec(), ..StatementResult::default() };
        Ok(())
    }

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), Stop> {
        let size = values.iter().map(ValueRef::size).sum();
        let Some(left) = self.left.checked_sub(size) else {
            return Err(Stop::Fail(SqlError::response_too_large(self.limit)));
        };
        self.left = left;
        self.current.rows.push(values.iter().map(ValueRef::to_value).collect());
        Ok(())
    }

    fn step_end(&mut self, step: usize, summary: &Summary) {
        let mut result = std::mem::take(&mut self.current);
        result.summary = *summary;
        self.outcome[step] = Some(Ok(result));
    }

    fn step_error(&mut self, step: usize, error: &SqlError) {
        self.current = StatementResult::default();
        self.outcome[step] = Some(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_judge_how_earlier_steps_ended() {
        let ended = [Ended::Ok, Ended::Failed, Ended::Skipped];
        let holds = |c: &Condition| c.holds(&ended, true);
        assert!(holds(&Condition::Ok(0)) && !holds(&Condition::Ok(1)) && !holds(&Condition::Ok(2)));
        assert!(
            holds(&Condition::Error(1))
                && !holds(&Condition::Error(2))
                && !holds(&Condition::Error(9))
        );
        assert!(holds(&Condition::Not(Box::new(Condition::Ok(1)))));
        assert!(holds(&Condition::And(vec![Condition::Ok(0), Condition::IsAutocommit])));
        assert!(!holds(&Condition::And(vec![Condition::Ok(0), Condition::Ok(1)])));
        assert!(holds(&Condition::Or(vec![Condition::Ok(1), Condition::Error(1)])));
        assert!(holds(&Condition::And(vec![])) && !holds(&Condition::Or(vec![])));
        assert!(!Condition::IsAutocommit.holds(&ended, false));
    }
}
