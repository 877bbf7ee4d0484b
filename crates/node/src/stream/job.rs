//! What runs on a worker thread: one statement after the other, until the job is done or needs the write permit.
//!
//! A job never waits for the permit on its thread: enough waiting writers would take all threads, and the one that
//! could release the permit would find none. It returns, the permit is awaited elsewhere, and the job goes on.

use std::{sync::Arc, time::Duration};

use counterpart_core::Lsn;
use counterpart_engine::{
    CollectingSink, Connection, RowSink, Script, SqlError, Statement, StatementResult, Summary,
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    View,
    batch::{BatchSink, Ended, Step},
    stop::Stop,
};
use crate::{clock, databases::Hosted, refusal::Refusal, shared::Shared};

/// Whether statements that write may run now.
#[derive(Clone, Debug)]
pub(super) enum Permit {
    /// The stream holds the write permit.
    Held,
    /// It does not, but may ask for it.
    NotHeld,
    /// It can't have it, for this reason.
    Refused(Refusal),
}

/// How far a job has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// It is done.
    Done,
    /// The next statement writes; step again when the permit is there, or refused.
    NeedsPermit,
    /// It has had its time; others may have theirs before it goes on.
    Yields,
    /// A glance is not enough for it, and nothing has happened.
    NeedsTime,
}

/// A request's work on a connection.
pub(super) trait Job: Send + 'static {
    /// Whether the first statement is likely to write, so that the permit is better awaited beforehand.
    fn expects_write(&self) -> bool;
    /// Works on.
    ///
    /// # Errors
    /// What ends the whole request.
    fn step(&mut self, desk: &mut Desk<'_>) -> Result<Flow, SqlError>;
    /// Whether a glance is likely to be enough for it.
    fn is_ready(&self, _hosted: &Hosted) -> bool {
        false
    }
    /// Does it all, if a glance is enough for that; [`Flow::NeedsTime`] if not.
    ///
    /// # Errors
    /// What ends the whole request.
    fn glance(&mut self, _desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
        Ok(Flow::NeedsTime)
    }
}

/// What a job works with.
pub(super) struct Desk<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) permit: Permit,
    pub(super) hosted: &'a Arc<Hosted>,
    pub(super) shared: &'a Arc<Shared>,
    /// The server's era when the request began.
    pub(super) era: u64,
    /// The newest commit of this job.
    pub(super) committed: Option<Lsn>,
    /// Tells when nobody waits for the job any more.
    pub(super) stop: &'a Stop,
    /// Why the stream ends with this job, if it does.
    pub(super) expired: &'a mut Option<Refusal>,
}

impl Desk<'_> {
    /// Runs one statement; `None` if it needs the permit first.
    pub(super) fn run(
        &mut self,
        statement: &Statement,
        sink: &mut dyn RowSink,
    ) -> Result<Option<Summary>, SqlError> {
        let outcome = self.try_run(statement, sink);
        self.judged(outcome)
    }

    /// The outcome of a statement that commits by itself, if a glance is enough for it. Without one, nothing has happened.
    fn glance(
        &mut self,
        statement: &Statement,
        limit: u64,
    ) -> Result<Option<Result<StatementResult, SqlError>>, SqlError> {
        if self.stop.is_stopped() || self.connection.in_transaction() {
            return Ok(None);
        }
        self.connection.set_now(clock::unix_now());
        let outcome = self.connection.glance(statement, limit);
        self.capture()?;
        if outcome.is_none() && self.committed.is_some() {
            let why = format!("a statement that failed has committed: {}", statement.sql);
            return Err((&self.shared.poison(&why)).into());
        }
        Ok(outcome)
    }

    /// What SQLite's own words for a failure do not say.
    fn judged<T>(&mut self, outcome: Result<T, SqlError>) -> Result<T, SqlError> {
        let Err(error) = &outcome else { return outcome };
        let cut_off = self.connection.cut_off().filter(|_| error.is_interrupt());
        let why = match cut_off {
            Some(most) if self.connection.in_transaction() => Refusal::open_too_long(most),
            Some(most) => return Err(read_too_long(&error.code, most)),
            // An empty database may still be given another text encoding. A stream that has temporary tables by then can
            // use its connection for nothing any more.
            None if error.is_other_encoding() => Refusal::stream_expired(
                "the database has been given another text encoding than this stream's temporary tables have",
            ),
            None => return outcome,
        };
        let error = SqlError::from(&why);
        *self.expired = Some(why);
        Err(error)
    }

    fn try_run(
        &mut self,
        statement: &Statement,
        sink: &mut dyn RowSink,
    ) -> Result<Option<Summary>, SqlError> {
        if self.stop.is_stopped() {
            let sentence = "The client hung up before this statement was begun.";
            return Err(SqlError::new("SQLITE_INTERRUPT", sentence));
        }
        if let Some(why) = &self.expired {
            return Err(why.into());
        }
        self.begin_statement();
        let class = self.connection.classify(&statement.sql)?;
        if class.needs_permit() {
            match &self.permit {
                Permit::Held => {}
                Permit::NotHeld => return Ok(None),
                Permit::Refused(refusal) => return Err(refusal.into()),
            }
        }
        let was_open = self.connection.in_transaction();
        let outcome = self.connection.run(statement, sink);
        if let Err(error) = &outcome {
            let (shared, writes) = (self.shared, matches!(self.permit, Permit::Held));
            shared.storage.failed(&shared.settings.data, &self.hosted.name, error, writes);
        }
        if let Err(error) = &outcome
            && was_open
            && !self.connection.in_transaction()
            && !class.may_end_transaction()
        {
            self.note_lost_transaction(error);
        }
        if matches!(self.permit, Permit::Held) {
            self.capture()?;
        } else if self.connection.has_uncaptured() {
            // It counted as a read, and yet it committed: mirrors would lack it, so nothing may follow.
            let why = format!("a statement that reads has written: {}", statement.sql);
            return Err((&self.shared.poison(&why)).into());
        }
        outcome.map(Some)
    }

    /// Also before a statement is compiled: that takes time, too, and the deadline of the one before may be over.
    fn begin_statement(&mut self) {
        self.connection.set_now(clock::unix_now());
        self.connection.set_deadline(self.shared.settings.statement_timeout);
    }

    /// SQLite rolls a whole transaction back when a statement of it that writes is stopped, or finds the disk full. What
    /// the client sends next would commit on its own, half of what was to be one. Where the SQL itself asks for a
    /// rollback (`ON CONFLICT ROLLBACK`), the client knows.
    fn note_lost_transaction(&mut self, error: &SqlError) {
        if !error.code.starts_with("SQLITE_CONSTRAINT") {
            *self.expired = Some(Refusal::stream_expired(&format!(
                "its transaction was rolled back when a statement failed with {}",
                error.code
            )));
        }
    }

    /// Journals what the last statement committed, if it did.
    fn capture(&mut self) -> Result<(), SqlError> {
        if self.connection.in_transaction() {
            // What was announced, if anything, did not come: nobody may wait for it.
            self.hosted.visibility.end_capture(None);
            return Ok(());
        }
        match self.shared.capture(self.hosted, self.connection) {
            Ok(lsn) => {
                self.committed = lsn.or(self.committed);
                Ok(())
            }
            Err(refusal) => Err((&refusal).into()),
        }
    }

    /// The newest position that what was executed so far could reveal.
    pub(super) fn reached(&self) -> Lsn {
        let visibility = &self.hosted.visibility;
        match self.permit {
            // Nobody else's commit is on its way.
            Permit::Held => visibility.last(),
            Permit::NotHeld | Permit::Refused(_) => visibility.newest_blocking(&self.shared.io),
        }
    }

    /// Waits until what the connection's snapshot shows is final, before the first of it leaves the server.
    fn wait_readable(&self) -> Result<(), SqlError> {
        wait_readable(self.shared, self.hosted, self.era)
    }

    /// As the connection's.
    fn next_statement<'a>(
        &mut self,
        script: &'a Script,
        at: usize,
    ) -> Result<Option<(&'a str, usize)>, SqlError> {
        self.begin_statement();
        let outcome = self.connection.next_statement(script, at);
        self.judged(outcome)
    }

    pub(super) fn describe(
        &mut self,
        sql: &str,
    ) -> Result<counterpart_engine::Description, SqlError> {
        self.begin_statement();
        let outcome = self.connection.describe(sql);
        self.judged(outcome)
    }
}

/// A statement on its own kept the WAL from beginning anew for longer than `most`.
fn read_too_long(code: &str, most: Duration) -> SqlError {
    let limit = most.as_secs_f32();
    let sentence = format!(
        "The statement ran for more than {limit} s and was stopped, so that the WAL can shrink."
    );
    SqlError::new(code, sentence)
}

/// Waits until what a snapshot of this moment shows is final.
fn wait_readable(shared: &Shared, hosted: &Hosted, era: u64) -> Result<(), SqlError> {
    let newest = hosted.visibility.newest_blocking(&shared.io);
    // After a change of role the position says nothing.
    let view = View { era, may_have_committed: false };
    view.judge(shared, hosted, Ok(()))?;
    view.judge(shared, hosted, shared.confirmations.wait_blocking(newest))
}

/// Whether a statement's first word is one of those that only read. A guess: what decides is SQLite's own view.
pub(super) fn seems_to_read(sql: &str) -> bool {
    let sql = sql.trim_start();
    let word: String = sql.chars().take_while(char::is_ascii_alphabetic).take(8).collect();
    if word.eq_ignore_ascii_case("create") {
        // What is temporary belongs to this stream: no other server could make it for it.
        let what = sql[word.len()..].trim_start().get(..4).unwrap_or_default();
        return what.eq_ignore_ascii_case("temp");
    }
    if word.eq_ignore_ascii_case("begin") {
        let how = sql[word.len()..].split_ascii_whitespace().next().unwrap_or_default();
        return !["immediate", "exclusive"].iter().any(|takes| how.eq_ignore_ascii_case(takes));
    }
    [
        "select",
        "values",
        "pragma",
        "explain",
        "with",
        "rollback",
        "savepoint",
        "release",
        "commit",
        "end",
        "",
    ]
    .iter()
    .any(|reads| word.eq_ignore_ascii_case(reads))
}

/// One statement.
pub(super) struct Execute {
    pub(super) statement: Arc<Statement>,
    pub(super) limit: u64,
    pub(super) result: Option<Result<StatementResult, SqlError>>,
}

impl Job for Execute {
    fn expects_write(&self) -> bool {
        !seems_to_read(&self.statement.sql)
    }

    fn step(&mut self, desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
        let mut sink = CollectingSink::new(self.limit);
        self.result = Some(match desk.run(&self.statement, &mut sink) {
            Ok(None) => return Ok(Flow::NeedsPermit),
            Ok(Some(summary)) => {
                Ok(StatementResult { columns: sink.columns, rows: sink.rows, summary })
            }
            Err(error) => Err(error),
        });
        Ok(Flow::Done)
    }

    fn is_ready(&self, hosted: &Hosted) -> bool {
        hosted.engine.is_ready_to_write(&self.statement.sql)
    }

    fn glance(&mut self, desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
        self.result = desk.glance(&self.statement, self.limit)?;
        Ok(if self.result.is_some() { Flow::Done } else { Flow::NeedsTime })
    }
}

/// A script of statements whose rows nobody wants.
pub(super) struct Sequence {
    pub(super) script: Script,
    pub(super) at: usize,
}

struct NoRows;

impl RowSink for NoRows {
    fn columns(
        &mut self,
        _columns: &[counterpart_engine::Column],
    ) -> Result<(), counterpart_engine::Stop> {
        Ok(())
    }

    fn row(
        &mut self,
        _values: &[counterpart_engine::ValueRef<'_>],
    ) -> Result<(), counterpart_engine::Stop> {
        Ok(())
    }
}

impl Job for Sequence {
    fn expects_write(&self) -> bool {
        !seems_to_read(self.script.as_str())
    }

    fn step(&mut self, desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
        while let Some((text, next)) = desk.next_statement(&self.script, self.at)? {
            let statement = Statement { want_rows: false, ..Statement::new(text) };
            if desk.run(&statement, &mut NoRows)?.is_none() {
                return Ok(Flow::NeedsPermit);
            }
            self.at = next;
        }
        Ok(Flow::Done)
    }
}

/// A batch, whose entries go to a sink.
pub(super) struct Batch<S> {
    pub(super) steps: Arc<[Step]>,
    pub(super) ended: Vec<Ended>,
    pub(super) sink: S,
    /// A cursor's. Rows leave the server while the batch still runs, so it waits before the first of each step. The turn
    /// is the job's own: its thread may wait on, after the client has hung up.
    pub(super) turn: Option<OwnedSemaphorePermit>,
}

struct StepSink<'a> {
    step: usize,
    sink: &'a mut dyn BatchSink,
    gate: Option<&'a dyn Fn() -> Result<(), SqlError>>,
}

impl RowSink for StepSink<'_> {
    fn columns(
        &mut self,
        columns: &[counterpart_engine::Column],
    ) -> Result<(), counterpart_engine::Stop> {
        self.sink.step_begin(self.step, columns)
    }

    fn row(
        &mut self,
        values: &[counterpart_engine::ValueRef<'_>],
    ) -> Result<(), counterpart_engine::Stop> {
        if let Some(wait) = self.gate.take() {
            wait().map_err(counterpart_engine::Stop::Fail)?;
        }
        self.sink.row(values)
    }
}

impl<S: BatchSink> Batch<S> {
    /// Ends the job and its stream when the sink has lost entries: what follows must not look complete.
    fn check_sink(&self, desk: &mut Desk<'_>) -> Result<(), SqlError> {
        let Some(refusal) = self.sink.broken() else { return Ok(()) };
        let error = SqlError::from(&refusal);
        *desk.expired = Some(refusal);
        Err(error)
    }
}

impl<S: BatchSink + 'static> Job for Batch<S> {
    fn expects_write(&self) -> bool {
        self.steps.first().is_some_and(|step| !seems_to_read(&step.statement.sql))
    }

    fn step(&mut self, desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
        while let Some(step) = self.steps.get(self.ended.len()) {
            self.check_sink(desk)?;
            let holds = |c: &super::batch::Condition| {
                c.holds(&self.ended, !desk.connection.in_transaction())
            };
            if !step.condition.as_ref().is_none_or(holds) {
                self.ended.push(Ended::Skipped);
                continue;
            }
            let index = self.ended.len();
            match run_step(desk, index, &step.statement, &mut self.sink, self.turn.is_some()) {
                Ok(None) => return Ok(Flow::NeedsPermit),
                Ok(Some(summary)) => {
                    self.sink.step_end(index, &summary);
                    self.ended.push(Ended::Ok);
                }
                Err(error) => {
                    if self.turn.is_some() {
                        // An error reveals, too: a unique constraint tells of the row that it collided with.
                        desk.wait_readable()?;
                    }
                    self.sink.step_error(index, &error);
                    self.ended.push(Ended::Failed);
                }
            }
        }
        self.check_sink(desk)?;
        Ok(Flow::Done)
    }
}

fn run_step(
    desk: &mut Desk<'_>,
    step: usize,
    statement: &Statement,
    sink: &mut dyn BatchSink,
    streams: bool,
) -> Result<Option<Summary>, SqlError> {
    if !streams {
        return desk.run(statement, &mut StepSink { step, sink, gate: None });
    }
    desk.begin_statement();
    let class = desk.connection.classify(&statement.sql);
    if desk.judged(class)?.needs_permit() {
        return run_write_streamed(desk, step, statement, sink);
    }
    let (hosted, shared, era) = (Arc::clone(desk.hosted), Arc::clone(desk.shared), desk.era);
    let wait = move || wait_readable(&shared, &hosted, era);
    let summary = desk.run(statement, &mut StepSink { step, sink, gate: Some(&wait) })?;
    desk.wait_readable()?;
    Ok(summary)
}

/// A statement that writes and returns rows: they are kept until its commit is confirmed.
fn run_write_streamed(
    desk: &mut Desk<'_>,
    step: usize,
    statement: &Statement,
    sink: &mut dyn BatchSink,
) -> Result<Option<Summary>, SqlError> {
    let mut rows = CollectingSink::new(desk.shared.settings.max_result_bytes as u64);
    let Some(summary) = desk.run(statement, &mut rows)? else { return Ok(None) };
    if let Some(lsn) = desk.committed {
        desk.shared.confirmations.wait_blocking(lsn).map_err(|refusal| SqlError::from(&refusal))?;
    }
    let mut forward = || {
        sink.step_begin(step, &rows.columns)?;
        rows.rows.iter().try_for_each(|row| {
            let values: Vec<_> = row.iter().map(counterpart_engine::Value::view).collect();
            sink.row(&values)
        })
    };
    match forward() {
        Err(counterpart_engine::Stop::Fail(error)) => Err(error),
        Ok(()) | Err(counterpart_engine::Stop::Enough) => Ok(Some(summary)),
    }
}

/// What a statement expects and yields.
pub(super) struct Describe {
    pub(super) sql: Arc<str>,
    pub(super) result: Option<Result<counterpart_engine::Description, SqlError>>,
}

impl Job for Describe {
    fn expects_write(&self) -> bool {
        false
    }

    fn step(&mut self, desk: &mut Desk<'_>) -> Result<Flow, SqlError> {
        self.result = Some(desk.describe(&self.sql));
        Ok(Flow::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_asks_for_the_write_permit_beforehand_if_it_says_that_it_writes() {
        for sql in ["begin", "BEGIN deferred", "begin transaction readonly", "begin;"] {
            assert!(seems_to_read(sql), "{sql}");
        }
        for sql in ["begin immediate", " BEGIN\nEXCLUSIVE transaction"] {
            assert!(!seems_to_read(sql), "{sql}");
        }
    }

    #[test]
    fn what_a_stream_makes_for_itself_does_not_ask_for_the_write_permit() {
        for sql in ["create temp table t(a)", " CREATE\n TEMPORARY VIEW v AS SELECT 1"] {
            assert!(seems_to_read(sql), "{sql}");
        }
        for sql in ["create table temp(a)", "create", "create é", "create view v as select 1"] {
            assert!(!seems_to_read(sql), "{sql}");
        }
    }
}
