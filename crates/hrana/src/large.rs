//! Answers that take long to turn into bytes: that is done on a thread of its own, for that of all sockets has others to
//! serve meanwhile.
//!
//! Small ones, which are most, are only asked how large they are. How large is told by the values in an answer, because
//! its bytes are what is yet to be made.

use crate::proto::{BatchResult, DescribeResult, Response, StmtResult, StreamResponse};

/// Bytes of values from which on an answer is large. Fewer are written in less time than others would notice.
const LARGE: u64 = 64 << 10;

/// Whether this many bytes are.
pub(crate) fn many(bytes: usize) -> bool {
    bytes as u64 >= LARGE
}

/// Whether values of these sizes are large together. No more of them are looked at than it takes to know.
pub fn is_large(sizes: impl IntoIterator<Item = u64>) -> bool {
    let mut sum = 0;
    sizes.into_iter().any(|size| {
        sum += size;
        sum >= LARGE
    })
}

/// Does what takes long where nobody else waits for the thread.
///
/// # Panics
/// If `work` does.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("what takes long does not panic")
}

/// What may take long to write.
pub(crate) trait Bulk {
    /// Whether it does.
    fn is_large(&self) -> bool;
}

fn text(text: Option<&String>) -> u64 {
    text.map_or(0, String::len) as u64
}

fn sizes(result: &StmtResult) -> impl Iterator<Item = u64> {
    let cols = result.cols.iter();
    let cols = cols.map(|col| text(col.name.as_ref()) + text(col.decltype.as_ref()));
    cols.chain(result.rows.iter().flatten().map(|value| value.size()))
}

impl Bulk for StmtResult {
    fn is_large(&self) -> bool {
        is_large(sizes(self))
    }
}

impl Bulk for BatchResult {
    fn is_large(&self) -> bool {
        is_large(self.step_results.iter().flatten().flat_map(sizes))
    }
}

impl Bulk for DescribeResult {
    fn is_large(&self) -> bool {
        let params = self.params.iter().map(|param| text(param.name.as_ref()));
        let cols = self.cols.iter();
        let cols = cols.map(|col| text(Some(&col.name)) + text(col.decltype.as_ref()));
        is_large(params.chain(cols))
    }
}

impl Bulk for StreamResponse {
    fn is_large(&self) -> bool {
        match self {
            Self::Execute { result } => result.is_large(),
            Self::Batch { result } => result.is_large(),
            Self::Describe { result } => result.is_large(),
            Self::Close
            | Self::Sequence
            | Self::StoreSql
            | Self::CloseSql
            | Self::GetAutocommit { .. } => false,
        }
    }
}

impl Bulk for Response {
    fn is_large(&self) -> bool {
        match self {
            Self::Execute { result } => result.is_large(),
            Self::Batch { result } => result.is_large(),
            Self::Describe { result } => result.is_large(),
            // Its entries are written already where it comes from.
            Self::FetchCursor { .. } => false,
            Self::OpenStream
            | Self::CloseStream
            | Self::OpenCursor
            | Self::CloseCursor
            | Self::Sequence
            | Self::StoreSql
            | Self::CloseSql
            | Self::GetAutocommit { .. } => false,
        }
    }
}

/// An error is never large.
impl<T: Bulk> Bulk for Result<T, crate::Error> {
    fn is_large(&self) -> bool {
        self.as_ref().is_ok_and(T::is_large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Col, Value};

    fn result(rows: usize, value: &Value) -> StmtResult {
        StmtResult { rows: vec![vec![value.clone()]; rows], ..StmtResult::default() }
    }

    #[test]
    fn many_small_values_are_as_large_as_a_few_large_ones() {
        for (rows, value, expected) in [
            (0, Value::Null, false),
            (1, Value::Text("x".repeat(60_000)), false),
            (1, Value::Text("x".repeat(66_000)), true),
            (2, Value::Blob(vec![0; 33_000]), true),
            (8_191, Value::Integer(1), false),
            (8_192, Value::Integer(1), true),
            (8_192, Value::Text(String::new()), true),
            (8_192, Value::Null, true),
        ] {
            let result = result(rows, &value);
            assert_eq!(result.is_large(), expected, "{rows} rows of {value:?}");
            let batch = BatchResult { step_results: vec![None, Some(result)], step_errors: vec![] };
            assert_eq!(Response::Batch { result: batch }.is_large(), expected);
        }
    }

    #[test]
    fn the_steps_of_a_batch_and_the_names_of_columns_count() {
        let step = result(4_096, &Value::Float(0.5));
        assert!(!step.is_large());
        let batch = BatchResult {
            step_results: vec![Some(step.clone()), Some(step)],
            ..BatchResult::default()
        };
        assert!(StreamResponse::Batch { result: batch }.is_large());
        let col = Col { name: Some("x".repeat(70_000)), decltype: None };
        assert!(StmtResult { cols: vec![col], ..StmtResult::default() }.is_large());
    }
}
