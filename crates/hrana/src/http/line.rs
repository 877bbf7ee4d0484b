//! Statements that follow each other in a pipeline, for the stream to execute in one go.
//!
//! Results are the pipeline's business: this takes out no statement whose result it would not want.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::{Arc, Mutex, MutexGuard};

use super::pipeline::Results;
use crate::proto::{Stmt, StreamRequest, StreamResponse};
use crate::registry::Held;
use crate::resolve::SqlStore;
use crate::{Answer, Error, Limits, Statement, Stream, Waiting};

/// See the module's head.
struct Line {
    statements: Mutex<VecDeque<Statement>>,
    results: Arc<Mutex<Results>>,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Statement>> {
        self.statements.lock().expect("no holder of this lock panics")
    }
}

impl Waiting for Line {
    fn next(&self) -> Option<(Statement, Answer)> {
        if !lock(&self.results).has_room() {
            return None;
        }
        let statement = self.lock().pop_front()?;
        let results = Arc::clone(&self.results);
        let answer = move |result: Result<_, _>| {
            lock(&results).push(result.map(|result| StreamResponse::Execute { result }));
        };
        Some((statement, Box::new(answer)))
    }
}

/// A lock that is held for a moment, while no statement runs.
pub(super) fn lock(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().expect("no holder of this lock panics")
}

/// Executes `first` and those of `requests` that execute a statement, too, up to the first other one.
pub(super) async fn run<T: Stream>(
    held: &mut Held<T>,
    first: Stmt,
    requests: &mut Peekable<impl Iterator<Item = StreamRequest>>,
    results: &Arc<Mutex<Results>>,
    limits: &Limits,
) {
    let (statements, refused) = gather(first, requests, &held.sqls);
    let line = Arc::new(Line { statements: Mutex::new(statements), results: Arc::clone(results) });
    held.stream.run(Arc::clone(&line) as Arc<dyn Waiting>).await;
    let left = line.lock().len();
    let mut results = lock(results);
    for _ in 0..left {
        let refusal = results.refusal(limits).expect("what may be executed is not left");
        results.push(Err(refusal));
    }
    if let Some(error) = refused {
        let error = results.refusal(limits).unwrap_or(error);
        results.push(Err(error));
    }
}

/// The statements, and why the one behind them is none.
fn gather(
    first: Stmt,
    requests: &mut Peekable<impl Iterator<Item = StreamRequest>>,
    sqls: &SqlStore,
) -> (VecDeque<Statement>, Option<Error>) {
    let mut statements = VecDeque::new();
    let mut next = Some(StreamRequest::Execute { stmt: first });
    while let Some(StreamRequest::Execute { stmt }) = next {
        match sqls.statement(stmt) {
            Ok(statement) => statements.push_back(statement),
            Err(error) => return (statements, Some(error)),
        }
        next = requests.next_if(|request| matches!(request, StreamRequest::Execute { .. }));
    }
    (statements, None)
}
