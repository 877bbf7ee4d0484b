//! Clients' streams on the node's databases: the protocol's values become SQLite's, and back.
//!
//! This is the only place where the two meet: neither crate knows the other.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use counterpart_access::{Identity, Need};
use counterpart_core::DatabaseName;
use counterpart_engine as engine;
use counterpart_hrana::{
    Answer, ChosenBy, CursorSink, Error, ErrorKind, Program, Server, SinkClosed, Statement, Stream,
    Target, Waiting, beside, give, is_large,
    proto::{
        Batch, BatchCond, BatchResult, BatchStep, Col, CursorEntry, DescribeCol, DescribeParam,
        DescribeResult, Error as WireError, NamedArg, Stmt, StmtResult, StreamRequest,
        StreamResponse, Value,
    },
};
use counterpart_node::{
    BatchOutcome, BatchSink, ClientStream, Condition, Node, Queue, Refusal, Step,
};

use crate::forward::Forwarder;

/// The node as clients see it.
pub struct Clients {
    node: Arc<Node>,
    forwarder: Forwarder,
}

impl Clients {
    /// Clients of this node.
    pub fn new(node: Arc<Node>) -> Clients {
        let partners = node.client_keys();
        let forwarder = Forwarder::new(Box::new(move |key| partners.contains(key)));
        Clients { node, forwarder }
    }

    fn open(
        &self,
        name: &DatabaseName,
        identity: &Identity,
        pass: &Pass,
    ) -> Result<NodeStream, Refusal> {
        if !identity.grant.allows(Need::Read(name)) {
            return Err(Refusal::forbidden(identity, &format!("read in {name}")));
        }
        let mut stream = self.node.open_stream(name)?;
        if !identity.grant.allows(Need::Write(name)) {
            stream = stream.only_reads(Refusal::forbidden(identity, &format!("write in {name}")));
        }
        Ok(NodeStream { stream, forwarder: self.forwarder.clone(), pass: pass.clone() })
    }
}

impl Server for Clients {
    type Stream = NodeStream;

    async fn hello(&self, target: &Target) -> Result<(), Error> {
        Pass::of(&self.node, target).identity().await.map(drop)
    }

    async fn open(&self, target: &Target) -> Result<NodeStream, Error> {
        let pass = Pass::of(&self.node, target);
        let identity = pass.identity().await?;
        let open = |name: &DatabaseName| Clients::open(self, name, &identity, &pass);
        match parse_name(target).and_then(|name| open(&name)) {
            Ok(stream) => Ok(stream),
            // A host's first label that names no database is a host name, not a choice.
            Err(refusal)
                if refusal.code() == "DATABASE_NOT_FOUND" && target.chosen_by == ChosenBy::Host =>
            {
                open(&DatabaseName::main()).map_err(|refusal| refused(&refusal))
            }
            Err(refusal) => Err(refused(&refusal)),
        }
    }
}

/// What a client shows, looked at again with every request: a token that is revoked lets nobody go on.
#[derive(Clone)]
struct Pass {
    node: Arc<Node>,
    credentials: Option<Arc<str>>,
    from: Option<IpAddr>,
}

impl Pass {
    fn of(node: &Arc<Node>, target: &Target) -> Pass {
        let credentials = target.credentials.as_deref().map(Arc::from);
        Pass { node: Arc::clone(node), credentials, from: target.from }
    }

    async fn identity(&self) -> Result<Arc<Identity>, Error> {
        let refusal = match self.node.who(self.credentials.as_deref()).await {
            Ok(identity) => return Ok(identity),
            Err(refusal) => refusal,
        };
        if self.credentials.is_some() {
            self.node.note_refused(self.from, "a client", refusal.code()).await;
        }
        Err(refused(&refusal))
    }
}

fn parse_name(target: &Target) -> Result<DatabaseName, Refusal> {
    target.database.parse().map_err(|error: counterpart_core::DatabaseNameError| {
        Refusal::new(
            "DATABASE_NOT_FOUND",
            error.to_string(),
            "check the name in the URL or in x-namespace",
        )
    })
}

/// A refusal of the node in the protocol's words.
pub fn refused(refusal: &Refusal) -> Error {
    Error::new(kind_of(refusal.code()), refusal.code().to_owned(), refusal.to_string())
}

/// What a code means for the HTTP status of a request that fails as a whole.
fn kind_of(code: &str) -> ErrorKind {
    match code {
        "STREAM_EXPIRED" => ErrorKind::StreamGone,
        "DATABASE_NOT_FOUND" => ErrorKind::NotFound,
        "NOT_SIGNED_IN" => ErrorKind::Unauthorized,
        "FORBIDDEN" => ErrorKind::Forbidden,
        "RESPONSE_TOO_LARGE" => ErrorKind::TooLarge,
        "SERVER_STARTING" | "SERVER_STOPPING" | "SEEDING" | "NOT_FINAL" | "JOURNAL_FAILED"
        | "MIRROR_REQUIRED" => ErrorKind::Unavailable,
        _ => ErrorKind::Request,
    }
}

/// One client's stream.
pub struct NodeStream {
    stream: ClientStream,
    forwarder: Forwarder,
    pass: Pass,
}

impl NodeStream {
    /// After `error`: has the principal execute the request, if it has moved there.
    async fn elsewhere(
        &mut self,
        error: engine::SqlError,
        request: impl FnOnce() -> StreamRequest,
    ) -> Result<StreamResponse, Error> {
        match self.stream.moved_to() {
            Some(url) => {
                let database = self.stream.database().as_str();
                let credentials = self.pass.credentials.as_deref();
                self.forwarder.forward(&url, database, credentials, request()).await
            }
            None => Err(failed(error)),
        }
    }

    async fn execute_elsewhere(
        &mut self,
        error: engine::SqlError,
        statement: &engine::Statement,
    ) -> Result<StmtResult, Error> {
        let request = || StreamRequest::Execute { stmt: to_stmt(statement) };
        match self.elsewhere(error, request).await? {
            StreamResponse::Execute { result } => Ok(result),
            _ => Err(mismatched()),
        }
    }
}

/// Statements that wait, for the node.
struct Line {
    waiting: Arc<dyn Waiting>,
    front: Option<(Arc<engine::Statement>, Answer)>,
}

impl Line {
    /// The statement that was [in front](Queue::front), and where its answer goes.
    fn take(&mut self) -> (Arc<engine::Statement>, Answer) {
        self.front.take().expect("a statement that is taken was in front")
    }
}

impl Queue for Line {
    fn front(&mut self) -> Option<Arc<engine::Statement>> {
        if self.front.is_none() {
            let (statement, answer) = self.waiting.next()?;
            self.front = Some((Arc::new(to_engine(statement)), answer));
        }
        self.front.as_ref().map(|(statement, _)| Arc::clone(statement))
    }

    fn pop(
        &mut self,
    ) -> impl FnOnce(Result<engine::StatementResult, engine::SqlError>) + Send + 'static + use<>
    {
        let (_, answer) = self.take();
        move |result| answer(result.map(to_wire).map_err(failed))
    }
}

fn mismatched() -> Error {
    Error::new(
        ErrorKind::Internal,
        "FORWARDING_FAILED",
        "the principal answered another question than was asked",
    )
}

impl Stream for NodeStream {
    async fn execute(&mut self, statement: Statement) -> Result<StmtResult, Error> {
        self.pass.identity().await?;
        let statement = Arc::new(to_engine(statement));
        match self.stream.execute(Arc::clone(&statement)).await {
            Ok(result) if is_large(sizes(&result)) => Ok(beside(move || to_wire(result)).await),
            Ok(result) => Ok(to_wire(result)),
            Err(error) => self.execute_elsewhere(error, &statement).await,
        }
    }

    async fn run(&mut self, waiting: Arc<dyn Waiting>) {
        let line = Arc::new(Mutex::new(Line { waiting, front: None }));
        let lock = || line.lock().expect("no holder of this lock panics");
        while lock().front().is_some() {
            if let Err(refused) = self.pass.identity().await {
                let (_, answer) = lock().take();
                answer(Err(refused));
                continue;
            }
            if let Err(error) = self.stream.run(&line).await {
                let (statement, answer) = lock().take();
                give(answer, self.execute_elsewhere(error, &statement).await).await;
            }
        }
    }

    async fn batch(&mut self, batch: Program) -> Result<BatchResult, Error> {
        self.pass.identity().await?;
        let steps = to_steps(batch);
        let outcome = match self.stream.batch(Arc::clone(&steps)).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let request = || StreamRequest::Batch { batch: to_batch(&steps) };
                return match self.elsewhere(error, request).await? {
                    StreamResponse::Batch { result } => Ok(result),
                    _ => Err(mismatched()),
                };
            }
        };
        if is_large(outcome.iter().flatten().flatten().flat_map(sizes)) {
            return Ok(beside(move || batch_to_wire(outcome)).await);
        }
        Ok(batch_to_wire(outcome))
    }

    async fn cursor(&mut self, batch: Program, out: CursorSink) -> Result<(), Error> {
        self.pass.identity().await?;
        self.stream.cursor(to_steps(batch), EntrySink(out)).await.map_err(failed)
    }

    async fn sequence(&mut self, sql: Arc<str>) -> Result<(), Error> {
        self.pass.identity().await?;
        let Err(error) = self.stream.sequence(Arc::clone(&sql)).await else { return Ok(()) };
        let request =
            || StreamRequest::Sequence { sql: Some(sql.as_ref().to_owned()), sql_id: None };
        self.elsewhere(error, request).await.map(drop)
    }

    async fn describe(&mut self, sql: Arc<str>) -> Result<DescribeResult, Error> {
        self.pass.identity().await?;
        let description = self.stream.describe(sql).await.map_err(failed)?;
        Ok(DescribeResult {
            params: description.params.into_iter().map(|name| DescribeParam { name }).collect(),
            cols: description
                .columns
                .into_iter()
                .map(|column| DescribeCol { name: column.name, decltype: column.decltype })
                .collect(),
            is_explain: description.is_explain,
            is_readonly: description.is_readonly,
        })
    }

    async fn get_autocommit(&mut self) -> Result<bool, Error> {
        self.stream.autocommit().await.map_err(failed)
    }

    async fn close(self) {
        self.stream.close().await;
    }
}

fn failed(error: engine::SqlError) -> Error {
    Error::new(kind_of(&error.code), error.code, error.message)
}

fn to_stmt(statement: &engine::Statement) -> Stmt {
    let args = &statement.args;
    let value = |value: &engine::Value| value_out(value.clone());
    Stmt {
        sql: Some(statement.sql.as_ref().to_owned()),
        sql_id: None,
        args: args.positional.iter().map(value).collect(),
        named_args: args
            .named
            .iter()
            .map(|(name, given)| NamedArg { name: name.clone(), value: value(given) })
            .collect(),
        want_rows: Some(statement.want_rows),
    }
}

fn to_batch(steps: &[Step]) -> Batch {
    let step = |step: &Step| BatchStep {
        condition: step.condition.as_ref().map(condition_out),
        stmt: to_stmt(&step.statement),
    };
    Batch { steps: steps.iter().map(step).collect() }
}

fn to_engine(statement: Statement) -> engine::Statement {
    engine::Statement {
        sql: statement.sql,
        args: engine::Args {
            positional: statement.args.into_iter().map(value_in).collect(),
            named: statement
                .named_args
                .into_iter()
                .map(|arg| (arg.name, value_in(arg.value)))
                .collect(),
        },
        want_rows: statement.want_rows,
    }
}

fn value_in(value: Value) -> engine::Value {
    match value {
        Value::Null => engine::Value::Null,
        Value::Integer(number) => engine::Value::Integer(number),
        Value::Float(number) => engine::Value::Real(number),
        Value::Text(text) => engine::Value::Text(text),
        Value::Blob(bytes) => engine::Value::Blob(bytes),
    }
}

fn value_out(value: engine::Value) -> Value {
    match value {
        engine::Value::Null => Value::Null,
        engine::Value::Integer(number) => Value::Integer(number),
        engine::Value::Real(number) => Value::Float(number),
        engine::Value::Text(text) => Value::Text(text),
        engine::Value::Blob(bytes) => Value::Blob(bytes),
    }
}

fn column_out(column: engine::Column) -> Col {
    Col { name: Some(column.name), decltype: column.decltype }
}

fn to_wire(result: engine::StatementResult) -> StmtResult {
    StmtResult {
        cols: result.columns.into_iter().map(column_out).collect(),
        rows: result.rows.into_iter().map(|row| row.into_iter().map(value_out).collect()).collect(),
        affected_row_count: result.summary.affected_rows,
        last_insert_rowid: Some(result.summary.last_insert_rowid),
    }
}

/// Of the values in a result.
fn sizes(result: &engine::StatementResult) -> impl Iterator<Item = u64> {
    result.rows.iter().flatten().map(|value| value.view().size())
}

fn batch_to_wire(outcome: BatchOutcome) -> BatchResult {
    let mut result = BatchResult::default();
    for step in outcome {
        let (ok, error) = match step {
            None => (None, None),
            Some(Ok(done)) => (Some(to_wire(done)), None),
            Some(Err(error)) => (None, Some(WireError::from(failed(error)))),
        };
        result.step_results.push(ok);
        result.step_errors.push(error);
    }
    result
}

fn to_steps(program: Program) -> Arc<[Step]> {
    let steps = program.steps.into_iter();
    steps
        .map(|step| Step {
            condition: step.condition.map(condition_in),
            statement: to_engine(step.statement),
        })
        .collect()
}

fn condition_in(condition: BatchCond) -> Condition {
    // A step's number comes from a u32, which every address space of a server holds.
    let all = |conds: Vec<BatchCond>| conds.into_iter().map(condition_in).collect();
    match condition {
        BatchCond::Ok { step } => Condition::Ok(step as usize),
        BatchCond::Error { step } => Condition::Error(step as usize),
        BatchCond::Not { cond } => Condition::Not(Box::new(condition_in(*cond))),
        BatchCond::And { conds } => Condition::And(all(conds)),
        BatchCond::Or { conds } => Condition::Or(all(conds)),
        BatchCond::IsAutocommit => Condition::IsAutocommit,
    }
}

fn condition_out(condition: &Condition) -> BatchCond {
    let all = |conditions: &[Condition]| conditions.iter().map(condition_out).collect();
    match condition {
        Condition::Ok(step) => BatchCond::Ok { step: wire_step(*step) },
        Condition::Error(step) => BatchCond::Error { step: wire_step(*step) },
        Condition::Not(condition) => BatchCond::Not { cond: Box::new(condition_out(condition)) },
        Condition::And(conditions) => BatchCond::And { conds: all(conditions) },
        Condition::Or(conditions) => BatchCond::Or { conds: all(conditions) },
        Condition::IsAutocommit => BatchCond::IsAutocommit,
    }
}

/// Puts a batch's entries into a cursor as they arise.
struct EntrySink(CursorSink);

impl EntrySink {
    fn send(&mut self, entry: CursorEntry) -> Result<(), engine::Stop> {
        self.0.blocking_send(entry).map_err(|closed| match closed {
            SinkClosed::Gone => engine::Stop::Enough,
            SinkClosed::Unread => engine::Stop::Fail((&unread()).into()),
        })
    }

    /// Sends an entry whose failure needs no answer: nobody reads any more, and the batch ends at its next row.
    fn offer(&mut self, entry: CursorEntry) {
        if self.send(entry).is_err() {
            tracing::debug!("a cursor's client has gone");
        }
    }
}

/// Why a stream ends whose client holds it up.
fn unread() -> Refusal {
    Refusal::stream_expired("its cursor was not read for as long as a stream may be idle")
}

fn wire_step(step: usize) -> u32 {
    u32::try_from(step).expect("a batch has fewer than 2^32 steps")
}

impl BatchSink for EntrySink {
    fn step_begin(&mut self, step: usize, columns: &[engine::Column]) -> Result<(), engine::Stop> {
        let cols = columns.iter().cloned().map(column_out).collect();
        self.send(CursorEntry::StepBegin { step: wire_step(step), cols })
    }

    fn row(&mut self, values: &[engine::ValueRef<'_>]) -> Result<(), engine::Stop> {
        let row = values.iter().map(|value| value_out(value.to_value())).collect();
        self.send(CursorEntry::Row { row })
    }

    fn step_end(&mut self, _step: usize, summary: &engine::Summary) {
        self.offer(CursorEntry::StepEnd {
            affected_row_count: summary.affected_rows,
            last_insert_rowid: Some(summary.last_insert_rowid),
        });
    }

    fn step_error(&mut self, step: usize, error: &engine::SqlError) {
        let error = WireError::from(failed(error.clone()));
        self.offer(CursorEntry::StepError { step: wire_step(step), error });
    }

    fn broken(&self) -> Option<Refusal> {
        self.0.is_unread().then(unread)
    }
}
