//! Statements of one stream that wait behind each other: executed in one go, each answered by itself.
//!
//! The next one is executed while those before it are being confirmed. Whoever reads what is not final yet can't see it:
//! each answer waits for its own position, and they leave in their order. It must never execute a statement that its
//! queue has not given, nor leave one that it has executed unanswered.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use counterpart_core::Lsn;
use counterpart_engine::{CollectingSink, SqlError, Statement, StatementResult};

use tokio::{sync::oneshot, task::spawn_blocking};

use super::{
    View,
    job::{Desk, Flow, Job, seems_to_read},
};
use crate::{clock, databases::Hosted, refusal::Refusal, shared::Shared};

/// How long a run goes on before other streams have their turns. The statement that is under way then is finished.
const STINT: Duration = Duration::from_micros(500);

/// Answers of one run that may wait for being final.
const MOST: usize = 256;

/// Bytes of values in those answers. The one that reaches it is the last. One that has as many by itself is [`Large`].
const MOST_BYTES: u64 = 64 << 10;

/// Statements that wait for a stream, in their order.
pub trait Queue: Send + 'static {
    /// The statement whose turn it is, if there is one by now that may be executed. It stays there.
    fn front(&mut self) -> Option<Arc<Statement>>;
    /// Takes the front out: it was executed. What is returned takes its answer, and is called by whichever thread finds
    /// out that it may leave; it must be quick.
    fn pop(
        &mut self,
    ) -> impl FnOnce(Result<StatementResult, SqlError>) + Send + 'static + use<Self>;
}

/// What takes an answer.
type Answer = Box<dyn FnOnce(Result<StatementResult, SqlError>) + Send>;

/// An answer that takes long to write. Nobody else may wait meanwhile, for the permit or for being told, so it is left to
/// whoever waits for the run, which ends with it.
pub(super) struct Large {
    answer: Answer,
    outcome: Result<StatementResult, SqlError>,
    view: View,
    confirmed: oneshot::Receiver<Result<(), Refusal>>,
}

impl Large {
    /// Gives the answer once it is final.
    pub(super) async fn give(self, shared: &Shared, hosted: &Hosted) {
        let Large { answer, outcome, view, confirmed } = self;
        let gone =
            |_gone| Err(Refusal::not_confirmed("the thread that was to confirm it panicked"));
        let confirmed = confirmed.await.unwrap_or_else(gone);
        let outcome = view.judge(shared, hosted, confirmed).and(outcome);
        if let Err(panic) = spawn_blocking(move || answer(outcome)).await {
            tracing::error!(%panic, "an answer was not written");
        }
    }
}

/// What a stream does with its queue.
pub(super) struct Run<Q> {
    queue: Arc<Mutex<Q>>,
    limit: u64,
    /// Whether its statements seem to write: a read must not wait until others have written.
    writes: bool,
    executed: usize,
    bytes: u64,
    /// It had to wait for the permit, and those behind must not keep others waiting for it.
    last: bool,
    /// The last answer, if it is to be given after the run.
    pub(super) large: Option<Large>,
}

impl<Q: Queue> Run<Q> {
    /// A run that begins with what is in front.
    pub(super) fn new(queue: &Arc<Mutex<Q>>, front: &Statement, limit: u64) -> Run<Q> {
        let (queue, writes) = (Arc::clone(queue), !seems_to_read(&front.sql));
        Run { queue, limit, writes, executed: 0, bytes: 0, last: false, large: None }
    }

    /// The next statement, if this run may execute it.
    fn next(&self, desk: &Desk<'_>) -> Option<Arc<Statement>> {
        let spent = self.last || self.executed >= MOST || self.bytes >= MOST_BYTES;
        if self.executed > 0 && (spent || desk.stop.is_stopped()) {
            return None;
        }
        let front = lock(&self.queue).front()?;
        let fits = desk.connection.in_transaction() || seems_to_read(&front.sql) != self.writes;
        (fits || self.executed == 0).then_some(front)
    }

    /// Has the statement in front answered once that is final, or leaves that to do after the run.
    fn answer(&mut self, desk: &Desk<'_>, outcome: Result<StatementResult, SqlError>, bytes: u64) {
        self.executed += 1;
        self.bytes += bytes;
        let answer = lock(&self.queue).pop();
        let confirmations = &desk.shared.confirmations;
        let view = View { era: desk.era, may_have_committed: desk.committed.is_some() };
        let reached = desk.reached();
        if let Err(overtaken) = view.judge(desk.shared, desk.hosted, Ok(())) {
            // Its position may mean something else by now.
            return confirmations.then(Lsn::ZERO, move |_| answer(Err(overtaken)));
        }
        if bytes >= MOST_BYTES {
            let confirmed = confirmations.register(reached);
            self.large = Some(Large { answer: Box::new(answer), outcome, view, confirmed });
            return;
        }
        let (shared, hosted) = (Arc::clone(desk.shared), Arc::clone(desk.hosted));
        confirmations.then(reached, move |confirmed| {
            answer(view.judge(&shared, &hosted, confirmed).and(outcome));
        });
    }
}

/// The statement in front, if there is one.
pub(super) fn front<Q: Queue>(queue: &Mutex<Q>) -> Option<Arc<Statement>> {
    lock(queue).front()
}

/// Answers the statement in front.
pub(super) fn answer<Q: Queue>(queue: &Mutex<Q>, result: Result<StatementResult, SqlError>) {
    let answer = lock(queue).pop();
    answer(result);
}

fn lock<Q>(queue: &Mutex<Q>) -> MutexGuard<'_, Q> {
    queue.lock().expect("no holder of this lock panics")
}

impl<Q: Queue> Job for Run<Q> {
    fn expects_write(&self) -> bool {
        self.writes
    }

    fn step(&mut self, desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
        let until = clock::uptime() + STINT;
        while let Some(statement) = self.next(desk) {
            desk.committed = None;
            let mut sink = CollectingSink::new(self.limit);
            let outcome = desk.run(&statement, &mut sink);
            let bytes = sink.bytes();
            let outcome = match outcome {
                // Those before it are answered first, for the permit may be long in coming.
                Ok(None) if self.executed > 0 => return Ok(Flow::Done),
                Ok(None) => {
                    self.last = true;
                    return Ok(Flow::NeedsPermit);
                }
                Ok(Some(summary)) => {
                    Ok(StatementResult { columns: sink.columns, rows: sink.rows, summary })
                }
                Err(error) => Err(error),
            };
            self.answer(desk, outcome, bytes);
            if self.large.is_some() {
                return Ok(Flow::Done);
            }
            if clock::uptime() >= until && lock(&self.queue).front().is_some() {
                return Ok(Flow::Yields);
            }
        }
        Ok(Flow::Done)
    }
}
