//! The entries that a cursor yields: the same as a batch's result, piece by piece.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Col, Error, Row, field, text_int};

/// One entry. A step is `StepBegin`, any number of `Row`s, and `StepEnd` or `StepError`; or only
/// `StepError`, if it failed before it yielded anything. A skipped step has no entries.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CursorEntry {
    /// A step begins.
    StepBegin {
        /// Its index in the batch.
        step: u32,
        /// The columns of its rows.
        cols: Vec<Col>,
    },
    /// A row of the current step.
    Row {
        /// Its values.
        row: Row,
    },
    /// The current step succeeded.
    StepEnd {
        /// Rows inserted, updated or deleted.
        affected_row_count: u64,
        /// The stream's last inserted rowid; a decimal string on the wire.
        #[serde(with = "text_int")]
        last_insert_rowid: Option<i64>,
    },
    /// A step failed.
    StepError {
        /// Its index in the batch.
        step: u32,
        /// Why.
        error: Error,
    },
    /// The batch as a whole failed. Always the last entry.
    Error {
        /// Why.
        error: Error,
    },
}

impl<'de> Deserialize<'de> for CursorEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            StepBegin,
            Row,
            StepEnd,
            StepError,
            Error,
        }

        #[derive(Deserialize)]
        struct Flat {
            #[serde(rename = "type")]
            kind: Kind,
            step: Option<u32>,
            cols: Option<Vec<Col>>,
            row: Option<Row>,
            affected_row_count: Option<u64>,
            #[serde(default, with = "text_int")]
            last_insert_rowid: Option<i64>,
            error: Option<Error>,
        }

        let flat = Flat::deserialize(deserializer)?;
        Ok(match flat.kind {
            Kind::StepBegin => {
                Self::StepBegin { step: field(flat.step, "step")?, cols: field(flat.cols, "cols")? }
            }
            Kind::Row => Self::Row { row: field(flat.row, "row")? },
            Kind::StepEnd => Self::StepEnd {
                affected_row_count: field(flat.affected_row_count, "affected_row_count")?,
                last_insert_rowid: flat.last_insert_rowid,
            },
            Kind::StepError => Self::StepError {
                step: field(flat.step, "step")?,
                error: field(flat.error, "error")?,
            },
            Kind::Error => Self::Error { error: field(flat.error, "error")? },
        })
    }
}
