//! Evaluates the condition of a batch step. Pure, so that every database evaluates it alike.

use crate::proto::BatchCond;

/// What became of a batch step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its condition did not hold.
    Skipped,
    /// It was executed and succeeded.
    Ok,
    /// It was executed and failed.
    Error,
}

impl BatchCond {
    /// Whether the condition holds, given the outcomes of the steps so far. `is_autocommit` is the
    /// stream's state now. A step that has not run counts as skipped.
    pub fn holds(&self, outcomes: &[Outcome], is_autocommit: bool) -> bool {
        let outcome = |step: u32| outcomes.get(step as usize).copied().unwrap_or(Outcome::Skipped);
        match self {
            Self::Ok { step } => outcome(*step) == Outcome::Ok,
            Self::Error { step } => outcome(*step) == Outcome::Error,
            Self::Not { cond } => !cond.holds(outcomes, is_autocommit),
            Self::And { conds } => conds.iter().all(|cond| cond.holds(outcomes, is_autocommit)),
            Self::Or { conds } => conds.iter().any(|cond| cond.holds(outcomes, is_autocommit)),
            Self::IsAutocommit => is_autocommit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_step_is_neither_ok_nor_an_error() {
        let outcomes = [Outcome::Skipped, Outcome::Ok, Outcome::Error];
        let ok = |step| BatchCond::Ok { step }.holds(&outcomes, true);
        let error = |step| BatchCond::Error { step }.holds(&outcomes, true);
        assert_eq!([ok(0), ok(1), ok(2), ok(9)], [false, true, false, false]);
        assert_eq!([error(0), error(1), error(2), error(9)], [false, false, true, false]);
    }

    #[test]
    fn empty_conjunction_holds_and_empty_disjunction_does_not() {
        assert!(BatchCond::And { conds: vec![] }.holds(&[], false));
        assert!(!BatchCond::Or { conds: vec![] }.holds(&[], false));
    }

    #[test]
    fn conditions_nest() {
        let cond = BatchCond::And {
            conds: vec![
                BatchCond::Not { cond: Box::new(BatchCond::IsAutocommit) },
                BatchCond::Or {
                    conds: vec![BatchCond::Ok { step: 0 }, BatchCond::Error { step: 0 }],
                },
            ],
        };
        assert!(cond.holds(&[Outcome::Error], false));
        assert!(!cond.holds(&[Outcome::Error], true));
        assert!(!cond.holds(&[Outcome::Skipped], false));
    }
}
