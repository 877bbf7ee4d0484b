//! A server whose "SQL" are single words that do what a test needs, and that notes what happens.
//!
//! ```text
//! ECHO     one row: the positional arguments, then the named ones (as columns)
//! ROWS n   n rows
//! WIDE n   n rows of 1 MiB
//! FAIL     fails with SQLITE_ERROR
//! LARGE    fails, as its result is too large
//! GONE     answers that the stream is gone
//! BEGIN, COMMIT   leave and enter autocommit
//! GATE     waits until the test opens the gate
//! HANG     never ends
//! PANIC    panics
//! ```

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use counterpart_hrana::proto::{
    BatchResult, Col, CursorEntry, DescribeCol, DescribeParam, DescribeResult, StmtResult, Value,
};
use counterpart_hrana::{
    CursorSink, Error, ErrorKind, Outcome, Program, Server, Statement, Stream, Target,
};
use tokio::sync::Semaphore;

#[derive(Default)]
pub struct Fake {
    pub log: Mutex<Vec<String>>,
    /// Streams that exist.
    pub open: AtomicUsize,
    /// Rows that cursors have produced.
    pub produced: AtomicUsize,
    pub refuse_hello: AtomicBool,
    pub targets: Mutex<Vec<Target>>,
    pub gate: Gate,
}

pub struct Gate(pub Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Fake {
    pub fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    pub fn noted(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn open_streams(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Lets one `GATE` pass.
    pub fn open_gate(&self) {
        self.gate.0.add_permits(1);
    }
}

pub struct FakeServer(pub Arc<Fake>);

impl Server for FakeServer {
    type Stream = FakeStream;

    async fn open(&self, target: &Target) -> Result<FakeStream, Error> {
        self.0.targets.lock().unwrap().push(target.clone());
        if target.database == "missing" {
            let message = "There is no database named missing.";
            return Err(Error::new(ErrorKind::NotFound, "DATABASE_NOT_FOUND", message));
        }
        self.0.note("open");
        self.0.open.fetch_add(1, Ordering::SeqCst);
        Ok(FakeStream { fake: Arc::clone(&self.0), in_transaction: false, closed: false })
    }

    async fn hello(&self, target: &Target) -> Result<(), Error> {
        if self.0.refuse_hello.load(Ordering::SeqCst) {
            let message = format!("{:?} is not welcome.", target.credentials);
            return Err(Error::new(ErrorKind::Unauthorized, "UNAUTHORIZED", message));
        }
        Ok(())
    }
}

pub struct FakeStream {
    fake: Arc<Fake>,
    in_transaction: bool,
    closed: bool,
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.fake.open.fetch_sub(1, Ordering::SeqCst);
        if !self.closed {
            self.fake.note("dropped");
        }
    }
}

impl FakeStream {
    async fn run(&mut self, statement: &Statement) -> Result<StmtResult, Error> {
        let sql = &*statement.sql;
        self.fake.note(sql);
        let mut result = StmtResult::default();
        match sql.split_once(' ').unwrap_or((sql, "")) {
            ("ECHO", _) => {
                let names = (0..statement.args.len()).map(|index| format!("{index}"));
                let names = names.chain(statement.named_args.iter().map(|arg| arg.name.clone()));
                result.cols = names.map(|name| Col { name: Some(name), decltype: None }).collect();
                let named = statement.named_args.iter().map(|arg| &arg.value);
                result.rows = vec![statement.args.iter().chain(named).cloned().collect()];
            }
            ("ROWS", count) => {
                let count: i64 = count.parse().expect("ROWS has a number");
                result.cols = vec![Col { name: Some("n".into()), decltype: Some("INT".into()) }];
                result.rows = (0..count).map(|n| vec![Value::Integer(n)]).collect();
                result.last_insert_rowid = Some(count);
            }
            ("WIDE", count) => {
                let count: usize = count.parse().expect("WIDE has a number");
                result.rows = vec![vec![Value::Text("x".repeat(1 << 20))]; count];
            }
            ("FAIL", _) => return Err(Error::request("SQLITE_ERROR", "It fails, as asked.")),
            ("LARGE", _) => {
                let message = "The result is too large, as asked.";
                return Err(Error::new(ErrorKind::TooLarge, "RESPONSE_TOO_LARGE", message));
            }
            ("GONE", _) => return Err(Error::stream_gone("the test says so")),
            ("BEGIN", _) => self.in_transaction = true,
            ("COMMIT", _) => self.in_transaction = false,
            ("GATE", _) => self.fake.gate.0.acquire().await.expect("a gate is not closed").forget(),
            ("HANG", _) => std::future::pending().await,
            ("PANIC", _) => panic!("as asked"),
            _ => return Err(Error::request("SQLITE_ERROR", format!("no such word: {sql}"))),
        }
        if !statement.want_rows {
            result.rows.clear();
        }
        Ok(result)
    }
}

impl Stream for FakeStream {
    async fn execute(&mut self, stmt: Statement) -> Result<StmtResult, Error> {
        self.run(&stmt).await
    }

    async fn batch(&mut self, batch: Program) -> Result<BatchResult, Error> {
        let mut result = BatchResult::default();
        let mut outcomes = Vec::new();
        for step in batch.steps {
            let skip =
                step.condition.is_some_and(|cond| !cond.holds(&outcomes, !self.in_transaction));
            let (outcome, value, error) = if skip {
                (Outcome::Skipped, None, None)
            } else {
                match self.run(&step.statement).await {
                    Ok(value) => (Outcome::Ok, Some(value), None),
                    Err(error) if error.is_stream_gone() => return Err(error),
                    Err(error) => (Outcome::Error, None, Some(error.into())),
                }
            };
            outcomes.push(outcome);
            result.step_results.push(value);
            result.step_errors.push(error);
        }
        Ok(result)
    }

    async fn cursor(&mut self, batch: Program, mut out: CursorSink) -> Result<(), Error> {
        for (step, index) in batch.steps.into_iter().zip(0..) {
            let result = match self.run(&step.statement).await {
                Ok(result) => result,
                Err(error) if error.is_stream_gone() => return Err(error),
                Err(error) => {
                    let entry = CursorEntry::StepError { step: index, error: error.into() };
                    if out.send(entry).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
            };
            let begin = CursorEntry::StepBegin { step: index, cols: result.cols };
            let rows = result.rows.into_iter().map(|row| CursorEntry::Row { row });
            let end = CursorEntry::StepEnd {
                affected_row_count: result.affected_row_count,
                last_insert_rowid: result.last_insert_rowid,
            };
            for entry in std::iter::once(begin).chain(rows).chain([end]) {
                if out.send(entry).await.is_err() {
                    self.fake.note("nobody reads");
                    return Ok(());
                }
                self.fake.produced.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    async fn sequence(&mut self, sql: Arc<str>) -> Result<(), Error> {
        for sql in sql.split(';').map(str::trim).filter(|sql| !sql.is_empty()) {
            let statement =
                Statement { sql: sql.into(), args: vec![], named_args: vec![], want_rows: false };
            self.run(&statement).await?;
        }
        Ok(())
    }

    async fn describe(&mut self, sql: Arc<str>) -> Result<DescribeResult, Error> {
        if &*sql == "FAIL" {
            return Err(Error::request("SQLITE_ERROR", "It fails, as asked."));
        }
        Ok(DescribeResult {
            params: vec![DescribeParam { name: Some(":a".into()) }, DescribeParam { name: None }],
            cols: vec![DescribeCol { name: sql.to_string(), decltype: Some("TEXT".into()) }],
            is_explain: false,
            is_readonly: true,
        })
    }

    async fn get_autocommit(&mut self) -> Result<bool, Error> {
        Ok(!self.in_transaction)
    }

    async fn close(mut self) {
        self.closed = true;
        self.fake.note(if self.in_transaction { "close and roll back" } else { "close" });
    }
}
