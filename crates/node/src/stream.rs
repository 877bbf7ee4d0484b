//! A client's stream on one database: statements in, confirmed results out.
//!
//! Every answer leaves through [`ClientStream::answer`], which waits until everything that the answer could reveal is
//! final. An error reveals too: a unique constraint tells of the row that it collided with.

mod batch;
mod held;
mod job;
mod lane;
mod run;
mod seat;
mod stop;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

pub use batch::{BatchOutcome, BatchSink, Condition, Step};
use counterpart_core::{DatabaseName, Lsn};
use counterpart_engine::{Description, Script, SqlError, Statement, StatementResult};
use held::HeldGuard;
pub use held::OpenTransactions;
pub(crate) use held::Slot;
use job::{Batch, Describe, Desk, Execute, Flow, Job, Permit, Sequence};
pub use lane::Lane;
pub use run::Queue;
use run::Run;
use seat::{Seat, Sitting, Waiting};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    admission::Door,
    databases::{self, Hosted},
    refusal::Refusal,
    shared::Shared,
};

impl From<&Refusal> for SqlError {
    fn from(refusal: &Refusal) -> SqlError {
        SqlError::new(refusal.code(), refusal.to_string())
    }
}

/// One client's stream. Dropping it rolls back.
pub struct ClientStream {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    /// The last request waited out a failover and was refused with nothing of it executed.
    moved: AtomicBool,
    /// Why this stream may not write, if it may not.
    only_reads: Option<Refusal>,
}

impl ClientStream {
    pub(crate) fn new(shared: Arc<Shared>, hosted: Arc<Hosted>) -> ClientStream {
        shared.figures.stream_opened();
        let slot = Slot::new(hosted, shared.era());
        ClientStream { shared, slot, moved: AtomicBool::new(false), only_reads: None }
    }

    /// The stream may only read: whatever writes is refused, and told why.
    #[must_use]
    pub fn only_reads(mut self, why: Refusal) -> ClientStream {
        self.only_reads = Some(why);
        self
    }

    /// The database that the stream works on.
    #[must_use]
    pub fn database(&self) -> &DatabaseName {
        &self.slot.hosted.name
    }

    /// Where the request that was just refused can be executed instead: the new principal's URL, if the request waited
    /// out a failover, nothing of it was executed here, and the stream has no transaction or settings of its own.
    pub fn moved_to(&mut self) -> Option<String> {
        self.moved.swap(false, Ordering::Relaxed).then(|| self.shared.principal_url()).flatten()
    }

    /// Executes one statement.
    ///
    /// # Errors
    /// SQLite's or ours, by code.
    pub async fn execute(
        &mut self,
        statement: Arc<Statement>,
    ) -> Result<StatementResult, SqlError> {
        if let Some(result) = self.glance(&statement).await {
            return result;
        }
        let limit = self.limit();
        let job = self.answer(Execute { statement, limit, result: None }).await?;
        job.result.expect("a job that is done has its result")
    }

    /// Executes the statements of a queue one after the other, as many as should be executed in one go. Each is answered
    /// by itself, once what its answer reveals is final; all of them are when this is ready.
    ///
    /// # Errors
    /// Why the statement in front was not executed. It is still there, and so are those behind it.
    pub async fn run<Q: Queue>(&mut self, queue: &Arc<Mutex<Q>>) -> Result<(), SqlError> {
        let Some(front) = run::front(queue) else { return Ok(()) };
        if let Some(result) = self.glance(&front).await {
            run::answer(queue, result);
            return Ok(());
        }
        let run = Run::new(queue, &front, self.limit());
        let done = self.carry_out(run).await?;
        if let Confirmed::Once(position) = done.confirmed {
            // How that ended they are told themselves.
            let _told = self.shared.confirmations.wait_in_order(position).await;
        }
        if let Some(large) = done.job.large {
            large.give(&self.shared, &self.slot.hosted).await;
        }
        done.outcome.map(drop)
    }

    /// Executes the steps of a batch, each if its condition holds.
    ///
    /// # Errors
    /// What hinders the batch as a whole; a failing step is part of the outcome.
    pub async fn batch(&mut self, steps: Arc<[Step]>) -> Result<BatchOutcome, SqlError> {
        let sink = batch::Collect::new(steps.len(), self.limit());
        let job = self.answer(Batch { steps, ended: Vec::new(), sink, turn: None }).await?;
        Ok(job.sink.outcome)
    }

    /// Executes a batch whose entries go to `sink` as they arise.
    ///
    /// # Errors
    /// What hinders the batch as a whole.
    pub async fn cursor(
        &mut self,
        steps: Arc<[Step]>,
        sink: impl BatchSink + 'static,
    ) -> Result<(), SqlError> {
        // Each may hold a thread for as long as its client reads, and threads are needed to end what they wait for.
        let turn = Arc::clone(&self.shared.cursors).acquire_owned().await;
        let turn = Some(turn.expect("the semaphore is never closed"));
        self.answer(Batch { steps, ended: Vec::new(), sink, turn }).await?;
        Ok(())
    }

    /// Executes the statements of a script; their rows are dropped.
    ///
    /// # Errors
    /// That of the first statement that fails.
    pub async fn sequence(&mut self, sql: Arc<str>) -> Result<(), SqlError> {
        let script = Script::new(&sql)?;
        self.answer(Sequence { script, at: 0 }).await?;
        Ok(())
    }

    /// Says what a statement expects and yields.
    ///
    /// # Errors
    /// Why it does not compile.
    pub async fn describe(&mut self, sql: Arc<str>) -> Result<Description, SqlError> {
        let job = self.answer(Describe { sql, result: None }).await?;
        job.result.expect("a job that is done has its result")
    }

    /// Whether the stream is outside an explicit transaction.
    ///
    /// # Errors
    /// When the stream can't be used any more.
    pub async fn autocommit(&mut self) -> Result<bool, SqlError> {
        let held = self.usable().await.map_err(|refusal| SqlError::from(&refusal))?;
        Ok(!held.in_transaction())
    }

    /// Ends the stream and rolls back what is open.
    pub async fn close(self) {
        let mut held = self.slot.lock().await;
        if held.connection.is_none() {
            // Nothing to roll back: most requests open a stream, use it once and close it.
            return held.release();
        }
        let rollback = move || held.release();
        // Only a panic in SQLite's rollback could fail this, and then the connection is gone as well.
        let _ended = spawn_blocking(rollback).await;
    }

    /// The answer to a statement that only reads and takes less time than to have it done by another thread. Without one,
    /// nothing has happened.
    async fn glance(&self, statement: &Statement) -> Option<Result<StatementResult, SqlError>> {
        if !job::seems_to_read(&statement.sql) {
            return None;
        }
        let view = View { era: self.shared.era(), may_have_committed: false };
        let mut held = match self.usable().await {
            Ok(held) => held,
            Err(refusal) => return Some(Err((&refusal).into())),
        };
        let hosted = &self.slot.hosted;
        let result = held.glance(&self.shared, hosted, statement)?;
        drop(held);
        let newest = hosted.visibility.newest().await;
        if let Err(overtaken) = view.judge(&self.shared, hosted, Ok(())) {
            return Some(Err(overtaken));
        }
        let confirmed = self.shared.confirmations.wait(newest).await;
        Some(confirmed.map(|()| result).map_err(|refusal| SqlError::from(&refusal)))
    }

    fn limit(&self) -> u64 {
        self.shared.settings.max_result_bytes as u64
    }

    /// The slot, unless the stream has expired.
    async fn usable(&self) -> Result<HeldGuard, Refusal> {
        let mut held = self.slot.lock().await;
        let era = self.shared.era();
        if held.expired.is_none() {
            if self.slot.hosted.is_retired() {
                held.expire(databases::gone());
            } else if held.era != era && held.connection.is_some() {
                held.expire(Refusal::stream_expired("the server has changed its role"));
            }
        }
        held.era = era;
        if let Some(why) = &held.expired {
            return Err(why.clone());
        }
        // A stream that holds nothing lives through changes of role, and may have been opened before this one.
        self.shared.databases.available()?;
        Ok(held)
    }

    /// Does a job and waits until what it reveals is final.
    async fn answer<J: Job>(&self, job: J) -> Result<J, SqlError> {
        let era = self.shared.era();
        let Done { job, outcome, confirmed } = self.carry_out(job).await?;
        // A script that failed may have committed before it did.
        let view = View { era, may_have_committed: !matches!(outcome, Ok(None)) };
        view.judge(&self.shared, &self.slot.hosted, Ok(()))?;
        confirmed.known(&self.shared).await.map_err(|refusal| SqlError::from(&refusal))?;
        outcome.map(|_committed| job)
    }

    /// Does a job.
    async fn carry_out<J: Job>(&self, job: J) -> Result<Done<J>, SqlError> {
        let held = self.usable().await.map_err(|refusal| SqlError::from(&refusal))?;
        // When this future is dropped, the client has hung up: what runs is stopped.
        let _watch = self.slot.stop.watch();
        let door =
            self.only_reads.clone().map_or_else(|| self.shared.admission.now(), Door::Closed);
        let alone = held.connection.is_none() && !matches!(door, Door::Closed(_));
        if alone && job.expects_write() {
            self.perform_in_lane(job, held).await
        } else {
            self.perform(job, held, door).await
        }
    }

    /// Does a job that needs the write permit when its turn comes, and waits until what it reveals is final: both
    /// wake this task together, once.
    async fn perform_in_lane<J: Job>(&self, job: J, held: HeldGuard) -> Result<Done<J>, SqlError> {
        let (tell, told) = oneshot::channel();
        let (shared, slot) = (Arc::clone(&self.shared), Arc::clone(&self.slot));
        let seat = Seat::new(Waiting { shared, slot, job, held, tell, reached: Lsn::ZERO });
        let sitting = Sitting(Arc::clone(&seat));
        lane::enter(&self.shared, &self.slot.hosted, seat);
        let told = told.await;
        drop(sitting);
        match told {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(refusal)) => {
                self.moved.store(refusal.code() == "READ_ONLY_MIRROR", Ordering::Relaxed);
                Err((&refusal).into())
            }
            // Its turn ended in a panic. The door may be open still, or closed for another reason.
            Err(_gone) => {
                let why = "the thread that executed the request panicked";
                Err((&Refusal::not_confirmed(why)).into())
            }
        }
    }

    /// Does a job, with the write permit once it needs it.
    async fn perform<J: Job>(
        &self,
        mut job: J,
        mut held: HeldGuard,
        door: Door,
    ) -> Result<Done<J>, SqlError> {
        let mut permit = match (&held.permit, door) {
            (Some(_), _) => Permit::Held,
            (None, Door::Closed(refusal)) => Permit::Refused(refusal),
            (None, _) if job.expects_write() => self.acquire(&mut held).await,
            (None, _) => Permit::NotHeld,
        };
        loop {
            let (shared, slot) = (Arc::clone(&self.shared), Arc::clone(&self.slot));
            let worker =
                move || Worked { spare: None, ..work(&shared, &slot, job, held, permit, J::step) };
            let Ok(worked) = spawn_blocking(worker).await else {
                return Err((&lane::panicked(&self.shared, &self.slot.hosted)).into());
            };
            match worked.outcome {
                Ok((Flow::NeedsPermit, _)) => {
                    (job, held) = (worked.job, worked.held);
                    permit = self.acquire(&mut held).await;
                }
                outcome => {
                    drop(worked.held);
                    let outcome = outcome.map(|(_done, committed)| committed);
                    let newest = self.slot.hosted.visibility.newest().await;
                    let committed = outcome.as_ref().ok().copied().flatten();
                    let position = committed.map_or(newest, |lsn| lsn.max(newest));
                    let confirmed = Confirmed::Once(position);
                    return Ok(Done { job: worked.job, outcome, confirmed });
                }
            }
        }
    }

    async fn acquire(&self, held: &mut HeldGuard) -> Permit {
        let (shared, hosted) = (&self.shared, &self.slot.hosted);
        match timeout(shared.settings.permit_wait, get_permit(shared, hosted)).await {
            Ok(Ok(permit)) => {
                held.permit = Some(permit);
                Permit::Held
            }
            Ok(Err(refusal)) => Permit::Refused(refusal),
            Err(_elapsed) => Permit::Refused(busy(shared, hosted)),
        }
    }
}

/// A job that was done.
struct Done<J> {
    job: J,
    /// Its newest commit, or why it failed.
    outcome: Result<Option<Lsn>, SqlError>,
    confirmed: Confirmed,
}

/// Whether what a job reveals is final.
enum Confirmed {
    /// It is, or this server will not confirm it any more.
    Known(Result<(), Refusal>),
    /// Once this position is.
    Once(Lsn),
}

impl Confirmed {
    async fn known(self, shared: &Shared) -> Result<(), Refusal> {
        match self {
            Confirmed::Known(confirmed) => confirmed,
            Confirmed::Once(position) => shared.confirmations.wait(position).await,
        }
    }
}

/// What an answer is judged by when it could leave.
#[derive(Clone, Copy)]
struct View {
    /// The server's era before the request saw anything.
    era: u64,
    may_have_committed: bool,
}

impl View {
    /// Whether the answer may leave, given whether its position was confirmed.
    fn judge(
        self,
        shared: &Shared,
        hosted: &Hosted,
        confirmed: Result<(), Refusal>,
    ) -> Result<(), SqlError> {
        let changed = shared.era() != self.era;
        if !shared.databases.is_available() || (changed && hosted.is_retired()) {
            // What the request saw belongs to another era, or to the end of one, and is not known to stay.
            return Err((&overtaken(self.may_have_committed)).into());
        }
        confirmed.map_err(|refusal| SqlError::from(&refusal))
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.shared.figures.stream_closed();
        // A request may still be running on a worker: it holds the lock, and the slot goes with it.
        if let Some(mut held) = self.slot.try_lock() {
            held.release();
        }
    }
}

/// Waits for a database's write permit, in the order of asking.
async fn get_permit(shared: &Shared, hosted: &Hosted) -> Result<OwnedSemaphorePermit, Refusal> {
    loop {
        shared.admission.pass().await?;
        let Ok(permit) = Arc::clone(&hosted.permit).acquire_owned().await else {
            return Err(databases::gone());
        };
        if shared.admission.is_open() {
            return Ok(permit);
        }
    }
}

/// What is told to those who have waited for a write permit for as long as they may.
fn busy(shared: &Shared, hosted: &Hosted) -> Refusal {
    Refusal::new(
        "SQLITE_BUSY",
        format!(
            "the write permit of database {} was not free within {} s",
            hosted.name,
            shared.settings.permit_wait.as_secs()
        ),
        "try again, and keep transactions short",
    )
}

/// What a request is told that the server's role changed under. Whoever has committed must not be told to run it again:
/// the new principal may have it, and it would be executed twice.
fn overtaken(may_have_committed: bool) -> Refusal {
    let why = "the server changed its role while the request was under way";
    if !may_have_committed {
        return Refusal::stream_expired(why);
    }
    Refusal::not_confirmed(format!("{why}, before its transaction was confirmed"))
}

/// What comes back from a job's time on a worker thread.
struct Worked<J> {
    job: J,
    held: HeldGuard,
    outcome: Result<(Flow, Option<Lsn>), SqlError>,
    /// The write permit, if the stream need not keep it.
    spare: Option<OwnedSemaphorePermit>,
}

/// A job's time, on a worker thread or at a glance.
fn work<J: Job>(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    mut job: J,
    mut held: HeldGuard,
    permit: Permit,
    how: fn(&mut J, &mut Desk<'_>) -> Result<Flow, SqlError>,
) -> Worked<J> {
    let was_open = held.in_transaction();
    let mut expired = None;
    let era = held.era;
    let outcome = (|| {
        let rested = slot.hosted.note_use();
        let connection = held.connection(&slot.hosted)?;
        if rested {
            shared.databases.resting.look();
        }
        let _running = slot.stop.enter(connection.interrupter());
        let mut desk = Desk {
            connection,
            permit,
            hosted: &slot.hosted,
            shared,
            era,
            committed: None,
            stop: &slot.stop,
            expired: &mut expired,
        };
        let flow = how(&mut job, &mut desk)?;
        Ok((flow, desk.committed))
    })();
    if matches!(outcome, Ok((Flow::NeedsPermit, _))) {
        return Worked { job, held, outcome, spare: None };
    }
    if was_open && !held.in_transaction() && slot.stop.is_stopped() {
        // A client that goes on with the stream must not believe that its transaction is still open.
        expired = expired.or(Some(Refusal::stream_expired(
            "its client hung up during a statement, and its transaction ended with that",
        )));
    }
    let spare = held.spare_permit();
    held.settle(&slot.hosted);
    if let Some(why) = expired {
        held.expire(why);
    }
    slot.touch();
    slot.note_transaction(held.in_transaction());
    if held.connection.is_some() {
        shared.transactions.note(slot);
    }
    Worked { job, held, outcome, spare }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use tokio::net::TcpListener;

    use super::*;
    use crate::{Node, Settings};

    /// A job that panics while the server is about to stop.
    struct Panics;

    impl Job for Panics {
        fn expects_write(&self) -> bool {
            true
        }

        fn step(&mut self, desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
            desk.shared.admission.set(Door::Closed(Refusal::stopping()));
            panic!("as the test wants it");
        }
    }

    /// A job for which a glance is enough, or is not, or panics.
    struct Glances {
        enough: Option<bool>,
        /// The threads that did it.
        threads: Vec<ThreadId>,
    }

    impl Job for Glances {
        fn expects_write(&self) -> bool {
            true
        }

        fn step(&mut self, _desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
            self.threads.push(std::thread::current().id());
            Ok(Flow::Done)
        }

        fn is_ready(&self, _hosted: &Hosted) -> bool {
            true
        }

        fn glance(&mut self, desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
            let Some(enough) = self.enough else { panic!("as the test wants it") };
            assert!(matches!(desk.permit, Permit::Held));
            self.threads.push(std::thread::current().id());
            Ok(if enough { Flow::Done } else { Flow::NeedsTime })
        }
    }

    async fn node(directory: &tempfile::TempDir) -> Arc<Node> {
        let partners = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Node::start(Settings::new(directory.path().join("data")), partners).await.unwrap()
    }

    #[tokio::test]
    async fn what_nobody_waits_behind_is_done_where_it_came_if_a_glance_is_enough_and_elsewhere_if_not()
     {
        let directory = tempfile::tempdir().unwrap();
        let node = node(&directory).await;
        let stream = node.open_stream(&DatabaseName::main()).unwrap();
        let here = std::thread::current().id();
        let run = async |enough| {
            let job = Glances { enough: Some(enough), threads: Vec::new() };
            stream.carry_out(job).await.unwrap().job.threads
        };
        // Whoever has served the lane elsewhere may still be there when the next one comes.
        let alone = async || {
            for _ in 0..10_000 {
                if run(true).await == [here] {
                    return;
                }
            }
            panic!("the lane is served elsewhere for ever");
        };
        for _ in 0..3 {
            alone().await;
            assert_eq!(run(true).await, [here]);
            let threads = run(false).await;
            assert!(threads[..] != [here, here] && threads[0] == here && threads.len() == 2);
        }
        alone().await;
        let job = Glances { enough: None, threads: Vec::new() };
        assert_eq!(stream.carry_out(job).await.err().unwrap().code, "NOT_CONFIRMED");
    }

    #[tokio::test]
    async fn a_request_that_panicked_is_never_told_that_nothing_was_executed() {
        let directory = tempfile::tempdir().unwrap();
        let node = node(&directory).await;
        let stream = node.open_stream(&DatabaseName::main()).unwrap();
        let outcome = stream.carry_out(Panics).await;
        assert_eq!(outcome.err().unwrap().code, "NOT_CONFIRMED");
    }

    #[test]
    fn only_a_request_that_committed_nothing_is_told_to_run_again_after_a_change_of_roles() {
        assert_eq!(overtaken(false).code(), "STREAM_EXPIRED");
        let committed = overtaken(true);
        assert_eq!(committed.code(), "NOT_CONFIRMED");
        assert!(committed.remedy().contains("before running it again"), "{committed}");
    }
}
