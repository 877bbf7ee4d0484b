//! What this crate needs of a database: the two traits that its user implements.
//!
//! Written with `impl Future` instead of `async fn` because the futures must be `Send`: they run
//! inside connection tasks, which a multi-threaded runtime may move.

use std::future::Future;
use std::sync::Arc;

use crate::large::{Bulk as _, beside};
use crate::proto::{BatchResult, DescribeResult, StmtResult};
use crate::{CursorSink, Error, Program, Statement, Target};

/// Opens streams on databases.
pub trait Server: Send + Sync + 'static {
    /// One connection to one database, as a client sees it.
    type Stream: Stream;

    /// Opens a stream on the database that `target` names, with its credentials. Should be cheap:
    /// most HTTP requests open a stream, use it once and close it.
    ///
    /// # Errors
    /// Whatever hinders it; over HTTP the error's kind becomes the status.
    fn open(&self, target: &Target) -> impl Future<Output = Result<Self::Stream, Error>> + Send;

    /// Judges a WebSocket client's `hello` before any stream is opened. An error is answered with
    /// `hello_error`, and the connection is closed. The default accepts everybody.
    ///
    /// # Errors
    /// A refusal of the credentials or of the database.
    fn hello(&self, target: &Target) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = target;
        async { Ok(()) }
    }
}

/// Where the answer to a statement goes. Called, it writes the answer.
pub type Answer = Box<dyn FnOnce(Result<StmtResult, Error>) + Send>;

/// Answers a statement; a large result is written on a thread of its own.
pub async fn give(answer: Answer, result: Result<StmtResult, Error>) {
    if result.is_large() {
        beside(move || answer(result)).await;
    } else {
        answer(result);
    }
}

/// Statements that wait for their stream, one behind the other.
pub trait Waiting: Send + Sync {
    /// Takes out the next one, if there is one by now that may be executed.
    fn next(&self) -> Option<(Statement, Answer)>;
}

/// One SQL connection, used by one request at a time.
///
/// - A stream that is dropped without [`close`](Stream::close) rolls back as well: a client that
///   hangs up drops the future that runs its request, and the stream with it.
/// - When one of these futures is dropped before it is ready, the stream is never used again.
/// - A stream that can no longer be used (its transaction was idle too long, the server's role
///   changed) answers everything with [`Error::stream_gone`].
pub trait Stream: Send + 'static {
    /// Executes one statement; rows only if `stmt.want_rows`.
    fn execute(
        &mut self,
        stmt: Statement,
    ) -> impl Future<Output = Result<StmtResult, Error>> + Send;

    /// Executes the statements of `waiting` one after the other, each as by [`execute`](Self::execute), until there is none.
    /// Whatever was taken out is answered as by [`give`], in this order; one may be executed while those before it are not answered
    /// yet. When the future is ready, all are.
    fn run(&mut self, waiting: Arc<dyn Waiting>) -> impl Future<Output = ()> + Send {
        async move {
            while let Some((statement, answer)) = waiting.next() {
                give(answer, self.execute(statement).await).await;
            }
        }
    }

    /// Executes the steps in order, each if its condition holds. A failing step is part of the
    /// result; an error means that the batch as a whole could not be run.
    fn batch(&mut self, batch: Program) -> impl Future<Output = Result<BatchResult, Error>> + Send;

    /// Like [`batch`](Stream::batch), but hands its entries to `out` as they arise. `out` must be
    /// dropped before the future is ready. When `out` reports that nobody listens any more, the
    /// stream stops early and answers `Ok`. An error becomes the cursor's last entry.
    fn cursor(
        &mut self,
        batch: Program,
        out: CursorSink,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Executes statements separated by semicolons, ignores their rows, and stops at the first
    /// that fails.
    fn sequence(&mut self, sql: Arc<str>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Says what a statement expects and yields, without executing it.
    fn describe(
        &mut self,
        sql: Arc<str>,
    ) -> impl Future<Output = Result<DescribeResult, Error>> + Send;

    /// Whether the stream is outside an explicit transaction.
    fn get_autocommit(&mut self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Ends the stream and rolls back an open transaction. When the future is ready, whatever the
    /// stream held (a write permit, say) is free for others.
    fn close(self) -> impl Future<Output = ()> + Send;
}
