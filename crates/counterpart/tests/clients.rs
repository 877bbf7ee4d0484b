//! Real libSQL clients, unchanged, against a principal and its mirror, through failover and promotion.
//!
//! The checks of the Node and Python clients live in `tests/clients` at the root of the repository; this file starts
//! the servers for them. The Rust client is checked here. Nothing here may work around a client: if a client needs
//! something, the server has to do it.

mod support;

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use hyper014::client::HttpConnector;
use libsql::{Builder, Connection, TransactionBehavior, params};
use serde_json::{Value, json};
use support::{
    pair::{Pair, wait_applied, wait_role, wait_state},
    server::Server,
};

/// The folder of the installed clients, which are installed first if they are missing or outdated.
fn client_folder() -> PathBuf {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
            let output = Command::new(folder.join("install.sh")).output().unwrap();
            assert!(
                output.status.success(),
                "the clients can't be installed:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
            folder
        })
        .clone()
}

/// Runs one of the scripts of checks against a pair. Each check prints a line of JSON; all of them must be fine.
fn run_checks(script: &str, expected_clients: &[&str]) {
    let pair = Pair::start();
    let output = Command::new(client_folder().join(script))
        .args([pair.principal.url(), pair.mirror.url()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let checks: Vec<Value> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] != true).collect();
    assert!(
        failed.is_empty() && output.status.success(),
        "{} of {} checks failed: {failed:#?}\n{}",
        failed.len(),
        checks.len(),
        String::from_utf8_lossy(&output.stderr)
    );
    for client in expected_clients {
        let of_client = |check: &&Value| check["client"] == *client;
        assert!(checks.iter().filter(of_client).count() >= 5, "{client} was checked: {text}");
        let refused = |check: &Value| check["check"].as_str().unwrap().contains("to the mirror");
        assert!(
            checks.iter().filter(of_client).any(refused),
            "{client} tried to write to the mirror: {text}"
        );
    }
    pair.assert_equal();
}

#[test]
fn node_clients_work_on_the_principal_and_read_the_mirror() {
    run_checks(
        "run-node.sh",
        &[
            "@libsql/client http",
            "@libsql/client ws",
            "@libsql/hrana-client http",
            "@libsql/hrana-client ws",
            "drizzle-orm",
        ],
    );
}

#[test]
fn python_clients_work_on_the_principal_and_read_the_mirror() {
    run_checks(
        "run-python.sh",
        &[
            "libsql-client (Python) ws",
            "libsql-client (Python) http",
            "libsql (Python)",
            "libsql_experimental (Python)",
            "sqlalchemy-libsql",
        ],
    );
}

// ---- the Rust client --------------------------------------------------------------------------

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn connect(server: &Server) -> Connection {
    let database = Builder::new_remote(server.url(), String::new())
        .connector(HttpConnector::new())
        .build()
        .await
        .unwrap();
    database.connect().unwrap()
}

/// The first column of each row.
async fn column(connection: &Connection, sql: &str) -> Vec<libsql::Value> {
    let mut rows = connection.query(sql, ()).await.unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        found.push(row.get_value(0).unwrap());
    }
    found
}

fn texts(words: &[&str]) -> Vec<libsql::Value> {
    words.iter().map(|&word| word.into()).collect()
}

#[test]
fn the_rust_client_works_on_the_principal_and_reads_the_mirror() {
    let pair = Pair::start();
    runtime().block_on(async {
        let c = connect(&pair.principal).await;
        c.execute(
            "create table rust(id integer primary key, word text unique, big integer, bytes blob, ratio real)",
            (),
        )
        .await
        .unwrap();
        rust_statements(&c).await;
        rust_transactions(&c).await;
        wait_applied(&pair.principal, &pair.mirror);
        rust_on_the_mirror(&connect(&pair.mirror).await, &pair.principal.url()).await;
    });
    let client = pair.principal.client();
    assert_eq!(client.value("select count(*) from rust where word = 'mallory'"), json!(0));
    pair.assert_equal();
}

async fn rust_statements(c: &Connection) {
    let big = 9_007_199_254_740_993_i64;
    let bytes: Vec<u8> = (0..=255).collect();
    let insert = "insert into rust values(?1, ?2, ?3, ?4, ?5)";
    let changed =
        c.execute(insert, params![7, "žluťoučký 🐎", big, bytes.clone(), 0.1]).await.unwrap();
    assert_eq!((changed, c.last_insert_rowid(), c.changes()), (1, 7, 1));
    let mut rows = c
        .query("select word, big, bytes, ratio, null from rust where id = :id", [(":id", 7)])
        .await
        .unwrap();
    let row = rows.next().await.unwrap().expect("one row");
    assert_eq!(row.get::<String>(0).unwrap(), "žluťoučký 🐎");
    assert_eq!(row.get::<i64>(1).unwrap(), big);
    assert_eq!(row.get::<Vec<u8>>(2).unwrap(), bytes);
    assert_eq!(row.get::<f64>(3).unwrap().to_bits(), 0.1_f64.to_bits());
    assert_eq!(row.get_value(4).unwrap(), libsql::Value::Null);
    assert!(rows.next().await.unwrap().is_none());

    c.execute_batch("insert into rust(word) values('one'); insert into rust(word) values('two')")
        .await
        .unwrap();
    assert_eq!(column(c, "select word from rust where id > 7").await, texts(&["one", "two"]));
    let error = c.execute("insert into rust(word) values('one')", ()).await.unwrap_err();
    assert!(error.to_string().contains("SQLITE_CONSTRAINT_UNIQUE"), "{error}");
    let error = c.execute("selekt 1", ()).await.unwrap_err();
    assert!(error.to_string().contains("syntax error"), "{error}");
    let statement = c.prepare("select id, word from rust").await.unwrap();
    let names: Vec<_> = statement.columns().iter().map(|c| c.name().to_owned()).collect();
    assert_eq!(names, ["id", "word"]);
}

async fn rust_transactions(c: &Connection) {
    let insert = "insert into rust(word) values(?1)";
    for behavior in [|| TransactionBehavior::Deferred, || TransactionBehavior::Immediate] {
        let tx = c.transaction_with_behavior(behavior()).await.unwrap();
        tx.execute(insert, ["gone"]).await.unwrap();
        assert_eq!(
            column(&tx, "select word from rust where word = 'gone'").await,
            texts(&["gone"])
        );
        tx.rollback().await.unwrap();
        assert_eq!(column(c, "select word from rust where word = 'gone'").await, []);

        let tx = c.transaction_with_behavior(behavior()).await.unwrap();
        tx.execute("delete from rust where word = 'kept'", ()).await.unwrap();
        tx.execute(insert, ["kept"]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(column(c, "select word from rust where word = 'kept'").await, texts(&["kept"]));
    }
    let tx = c.transaction_with_behavior(TransactionBehavior::ReadOnly).await.unwrap();
    assert_eq!(column(&tx, "select word from rust where word = 'kept'").await, texts(&["kept"]));
    tx.commit().await.unwrap();
}

async fn rust_on_the_mirror(m: &Connection, principal: &str) {
    let all = texts(&["žluťoučký 🐎", "one", "two", "kept"]);
    assert_eq!(column(m, "select word from rust order by id").await, all);
    let tx = m.transaction_with_behavior(TransactionBehavior::ReadOnly).await.unwrap();
    assert_eq!(column(&tx, "select word from rust order by id").await, all);
    tx.commit().await.unwrap();
    for sql in
        ["insert into rust(word) values('mallory')", "create table on_mirror(x)", "drop table rust"]
    {
        let error = m.execute(sql, ()).await.unwrap_err().to_string();
        assert!(error.contains("READ_ONLY_MIRROR") && error.contains(principal), "{sql}: {error}");
    }
    let begun = m.transaction_with_behavior(TransactionBehavior::Immediate).await;
    let error = begun.err().expect("an immediate transaction writes").to_string();
    assert!(error.contains("READ_ONLY_MIRROR"), "{error}");
}

// ---- changes of role under open transactions ----------------------------------------------------

/// `failover.mjs`: opens a write transaction over http and one over WebSocket, each on a database of its own, and
/// goes on when it is told to.
struct NodeTransactions {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl NodeTransactions {
    fn open(server: &Server) -> NodeTransactions {
        let mut child = Command::new("node")
            .arg(client_folder().join("node/failover.mjs"))
            .arg(server.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut node = NodeTransactions { child, stdin, lines };
        assert_eq!(node.line(), json!({"open": ["http", "ws"]}));
        node
    }

    fn line(&mut self) -> Value {
        let line = self.lines.next().expect("the client says something").unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// Goes on with the open transactions, then runs new ones on `server`; what each transport reports.
    fn go_on(mut self, server: &Server) -> Value {
        writeln!(self.stdin, "{}", server.url()).unwrap();
        let outcome = self.line();
        assert!(self.child.wait().unwrap().success(), "{outcome}");
        outcome
    }
}

fn create_databases(server: &Server) {
    for name in ["http", "ws", "rust"] {
        server.cli_ok(&["db", "create", name]);
        server.client().database(name).run("create table t(word text)");
    }
}

async fn connect_rust(server: &Server) -> Connection {
    let url = format!("{}/db/rust", server.url());
    let database = Builder::new_remote(url, String::new())
        .connector(HttpConnector::new())
        .build()
        .await
        .unwrap();
    database.connect().unwrap()
}

/// Clients with open transactions on the principal while `change` gives its role to the other server: each learns
/// that its transaction is gone, in the way that its library reports it, and its next one succeeds.
fn open_transactions_end_and_the_next_succeed(change: impl FnOnce(Pair) -> Pair, expired: bool) {
    let pair = Pair::start_with(&["--stream-idle", "60s"], &[]);
    create_databases(&pair.principal);
    wait_applied(&pair.principal, &pair.mirror);
    let node = NodeTransactions::open(&pair.principal);
    let runtime = runtime();
    let c = runtime.block_on(connect_rust(&pair.principal));
    let tx = runtime.block_on(async {
        let tx = c.transaction_with_behavior(TransactionBehavior::Immediate).await.unwrap();
        tx.execute("insert into t values('lost')", ()).await.unwrap();
        tx
    });

    let pair = change(pair);

    let error = runtime.block_on(async {
        let error = tx.execute("insert into t values('late')", ()).await.unwrap_err();
        drop(tx);
        let c = connect_rust(&pair.principal).await;
        let tx = c.transaction_with_behavior(TransactionBehavior::Immediate).await.unwrap();
        tx.execute("insert into t values('next')", ()).await.unwrap();
        tx.commit().await.unwrap();
        error.to_string()
    });
    let outcome = node.go_on(&pair.principal);
    if expired {
        assert!(error.contains("STREAM_EXPIRED"), "{error}");
        assert_eq!(outcome["http"], "STREAM_EXPIRED");
        assert_eq!(outcome["ws"], "STREAM_EXPIRED");
    } else {
        // The server is gone, so there is nobody who could say anything.
        assert!(!error.is_empty());
        assert!(outcome["http"].is_string() && outcome["ws"].is_string(), "{outcome}");
    }
    for name in ["http", "ws", "rust"] {
        let rows = pair.principal.client().database(name).rows("select word from t");
        assert_eq!(rows, [[json!("next")]], "{name}");
    }
}

#[test]
fn open_transactions_expire_at_a_failover_and_the_next_ones_succeed_on_the_new_principal() {
    let change = |pair: Pair| {
        pair.principal.cli_ok(&["failover"]);
        let pair = pair.swapped();
        wait_role(&pair.principal, "principal");
        wait_role(&pair.mirror, "mirror");
        pair
    };
    open_transactions_end_and_the_next_succeed(change, true);
}

#[test]
fn clients_of_a_killed_principal_go_on_with_the_promoted_mirror() {
    let change = |mut pair: Pair| {
        pair.principal.kill();
        wait_state(&pair.mirror, "DISCONNECTED");
        pair.mirror.cli_ok(&["promote", "--yes"]);
        let pair = pair.swapped();
        wait_role(&pair.principal, "principal");
        pair
    };
    open_transactions_end_and_the_next_succeed(change, false);
}
