//! What those may rely on who wait for their turn to write, or for what was written to be answered.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use counterpart_core::DatabaseName;
use counterpart_engine::{SqlError, Statement, StatementResult, Value};
use counterpart_node::{ClientStream, Node, Queue, Settings};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, yield_now},
    time::timeout,
};

/// Writes nothing, and ends with the statement's time.
const ENDLESS: &str = "insert into t with recursive n(i) as (select 1 union all select i+1 from n) select max(i) from n";

struct Server {
    node: Arc<Node>,
    _directory: tempfile::TempDir,
}

impl Server {
    async fn start(change: impl FnOnce(&mut Settings)) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(directory.path().join("data"));
        change(&mut settings);
        let partners = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Node::start(settings, partners).await.unwrap();
        let server = Server { node, _directory: directory };
        run(&mut server.stream(), "create table t(x)").await.unwrap();
        server
    }

    fn stream(&self) -> ClientStream {
        self.node.open_stream(&DatabaseName::main()).unwrap()
    }

    /// A statement that has its turn now, for as long as a statement may run.
    async fn long(&self) -> JoinHandle<Result<StatementResult, SqlError>> {
        let (answer, answered) = oneshot::channel();
        let answer: Answer = Box::new(|result| answer.send(result).unwrap());
        let (begun, is_begun) = oneshot::channel();
        let statement = Arc::new(Statement::new(ENDLESS));
        let queue = One { front: Some((statement, answer)), looks: 0, begun: Some(begun) };
        let mut stream = self.stream();
        let long = tokio::spawn(async move {
            stream.run(&Arc::new(Mutex::new(queue))).await.unwrap();
            answered.await.unwrap()
        });
        is_begun.await.unwrap();
        long
    }

    /// Has streams write, one such statement after the other, without an end.
    async fn writers(&self) -> Vec<JoinHandle<()>> {
        let writer = |mut stream: ClientStream| async move {
            loop {
                assert_eq!(run(&mut stream, ENDLESS).await.unwrap_err().code, "SQL_TIMEOUT");
            }
        };
        let writers = (0..4).map(|_| tokio::spawn(writer(self.stream()))).collect();
        settle().await;
        writers
    }
}

type Answer = Box<dyn FnOnce(Result<StatementResult, SqlError>) + Send>;

/// One statement.
struct One {
    front: Option<(Arc<Statement>, Answer)>,
    looks: usize,
    /// Told when it is looked at for the second time, which is when its turn begins.
    begun: Option<oneshot::Sender<()>>,
}

impl Queue for One {
    fn front(&mut self) -> Option<Arc<Statement>> {
        self.looks += 1;
        if let Some(begun) = self.begun.take_if(|_| self.looks == 2) {
            begun.send(()).unwrap();
        }
        self.front.as_ref().map(|(statement, _)| Arc::clone(statement))
    }

    fn pop(&mut self) -> impl FnOnce(Result<StatementResult, SqlError>) + Send + 'static + use<> {
        self.front.take().unwrap().1
    }
}

async fn run(stream: &mut ClientStream, sql: &str) -> Result<StatementResult, SqlError> {
    stream.execute(Arc::new(Statement::new(sql))).await
}

/// With one argument.
async fn run_with(
    stream: &mut ClientStream,
    sql: &str,
    argument: i64,
) -> Result<StatementResult, SqlError> {
    let mut statement = Statement::new(sql);
    statement.args.positional.push(Value::Integer(argument));
    stream.execute(Arc::new(statement)).await
}

/// Lets what was spawned before come as far as its first wait.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

fn short_statements(settings: &mut Settings) {
    settings.statement_timeout = Some(Duration::from_millis(50));
    settings.permit_wait = Duration::from_secs(20);
}

#[tokio::test]
async fn a_write_behind_a_long_one_is_told_that_it_is_busy_after_the_permit_wait() {
    let server = Server::start(|settings| {
        settings.statement_timeout = Some(Duration::from_secs(3));
        settings.permit_wait = Duration::from_millis(200);
    })
    .await;
    let long = server.long().await;
    let mut quick = server.stream();
    for _ in 0..2 {
        let outcome = run(&mut quick, "insert into t values (1)").await;
        assert!(
            !long.is_finished(),
            "the answer came only when the long one was over: {outcome:?}"
        );
        assert_eq!(outcome.unwrap_err().code, "SQLITE_BUSY");
    }
    assert_eq!(long.await.unwrap().unwrap_err().code, "SQL_TIMEOUT");
    assert!(run(&mut quick, "select * from t").await.unwrap().rows.is_empty());
    server.node.stop().await;
}

#[tokio::test]
async fn a_write_that_waits_when_the_server_stops_is_refused() {
    let server =
        Server::start(|settings| settings.statement_timeout = Some(Duration::from_secs(3))).await;
    let long = server.long().await;
    let mut stream = server.stream();
    let waiting = tokio::spawn(async move { run(&mut stream, "insert into t values (1)").await });
    settle().await;
    let stopping = Arc::clone(&server.node);
    let stopping = tokio::spawn(async move { stopping.stop().await });
    let outcome = waiting.await.unwrap();
    assert!(!long.is_finished(), "the answer came only when the long one was over: {outcome:?}");
    assert_eq!(outcome.unwrap_err().code, "SERVER_STOPPING");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_write_whose_client_has_gone_is_forgotten_at_once() {
    let server =
        Server::start(|settings| settings.statement_timeout = Some(Duration::from_secs(3))).await;
    let long = server.long().await;
    let mut gone = server.stream();
    let statement = Arc::new(Statement::new("insert into t values (1)"));
    {
        let mut waiting = Box::pin(gone.execute(Arc::clone(&statement)));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it waits for its turn"),
            () = settle() => {}
        }
    }
    assert_eq!(Arc::strong_count(&statement), 1, "the request is in memory still");
    let closed = timeout(Duration::from_secs(1), gone.close()).await;
    assert!(
        closed.is_ok() && !long.is_finished(),
        "ending the stream waits for somebody else's statement"
    );
    assert_eq!(long.await.unwrap().unwrap_err().code, "SQL_TIMEOUT");
    let rows = run(&mut server.stream(), "select * from t").await.unwrap().rows;
    assert!(rows.is_empty(), "it was executed all the same: {rows:?}");
}

#[tokio::test]
async fn a_transaction_gets_the_permit_although_others_go_on_writing() {
    let server = Server::start(short_statements).await;
    let writers = server.writers().await;
    let begun = run(&mut server.stream(), "begin immediate").await;
    writers.iter().for_each(|writer| assert!(!writer.is_finished()));
    assert_eq!(begun.map(drop), Ok(()));
}

#[tokio::test]
async fn a_transaction_that_writes_only_later_gets_the_permit_although_others_go_on_writing() {
    let server = Server::start(short_statements).await;
    let writers = server.writers().await;
    let mut stream = server.stream();
    for sql in ["begin", "insert into t values (1)", "commit"] {
        assert_eq!(run(&mut stream, sql).await.map(drop), Ok(()), "{sql}");
    }
    writers.iter().for_each(|writer| assert!(!writer.is_finished()));
}

#[tokio::test]
async fn nobody_waits_while_a_large_answer_is_written() {
    let server = Server::start(|_| {}).await;
    let (begun, is_begun) = oneshot::channel();
    let (enough, is_enough) = mpsc::channel();
    let (ended, how) = mpsc::channel();
    let answer: Answer = Box::new(move |result| {
        assert_eq!(result.unwrap().rows.len(), 1);
        begun.send(()).unwrap();
        ended.send(is_enough.recv_timeout(Duration::from_secs(5))).unwrap();
    });
    let sql = "insert into t values (zeroblob(100000)) returning x";
    let statement = Arc::new(Statement::new(sql));
    let queue = One { front: Some((statement, answer)), looks: 0, begun: None };
    let queue = Arc::new(Mutex::new(queue));
    let mut stream = server.stream();
    let answered = tokio::spawn(async move { stream.run(&queue).await });
    is_begun.await.unwrap();
    run(&mut server.stream(), "insert into t values (1)").await.unwrap();
    // Who has waited for it in vain does not listen any more.
    let _listens = enough.send(());
    assert_eq!(answered.await.unwrap(), Ok(()));
    assert_eq!(how.recv().unwrap(), Ok(()), "others waited for the answer");
}

/// Where the sockets are it had its time, and was taken back.
#[tokio::test]
async fn a_write_that_was_tried_in_vain_at_a_glance_shows_in_nothing() {
    let server = Server::start(|_| {}).await;
    let mut stream = server.stream();
    run(&mut stream, "create table seen(changes, rowid_before, n)").await.unwrap();
    let count = async |stream: &mut ClientStream, up_to: i64| {
        let sql = "insert into seen with recursive n(i) as (select 1 union all select i+1 from n where i < ?)
                     select changes(), last_insert_rowid(), max(i) from n";
        run_with(stream, sql, up_to).await.unwrap();
    };
    for _ in 0..20 {
        for _ in 0..10 {
            count(&mut stream, 1).await;
        }
        run(&mut stream, "delete from t").await.unwrap();
        run(&mut stream, "insert into t(rowid, x) values (1, 1), (2, 2), (77, 3)").await.unwrap();
        count(&mut stream, 100_000).await;
        let last = "select changes, rowid_before, n from seen order by rowid desc limit 1";
        let rows = run(&mut stream, last).await.unwrap().rows;
        assert_eq!(rows, [[3, 77, 100_000].map(Value::Integer)]);
    }
}

#[tokio::test]
async fn a_write_that_fails_after_some_of_it_is_told_so_and_the_rest_stays() {
    let server = Server::start(|_| {}).await;
    let mut stream = server.stream();
    run(&mut stream, "create table some(x unique on conflict fail)").await.unwrap();
    let insert = async |stream: &mut ClientStream, rows: i64| {
        let sql = "insert into some select x from (select coalesce(max(x), 0) + 1 as x from some)
                     join (select 1 union all select 2 where ? = 2)";
        run_with(stream, sql, rows).await
    };
    for round in 1..=20 {
        for _ in 0..10 {
            insert(&mut stream, 1).await.unwrap();
        }
        let failed = insert(&mut stream, 2).await.unwrap_err();
        assert_eq!(failed.code, "SQLITE_CONSTRAINT_UNIQUE");
        let rows = run(&mut stream, "select count(*), max(x) from some").await.unwrap().rows;
        assert_eq!(rows, [[11 * round, 11 * round].map(Value::Integer)]);
    }
}
