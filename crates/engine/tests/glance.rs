//! Glances: reads that run where nothing may wait.

mod common;

use common::*;
use counterpart_engine::{Connection, Database, Statement, Value};

const COUNT: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT count(*) FROM n";

/// How long anything takes on a busy machine is nobody's promise.
const ATTEMPTS: usize = 1_000_000;

fn with(sql: &str, argument: impl Into<Value>) -> Statement {
    let mut statement = Statement::new(sql);
    statement.args.positional.push(argument.into());
    statement
}

/// Runs a statement until it was quick.
fn ready(database: &Database, statement: &Statement) -> Connection {
    for _ in 0..ATTEMPTS {
        if let Some(connection) = database.checkout_ready(&statement.sql) {
            return connection;
        }
        let mut connection = database.checkout().unwrap();
        connection.execute(statement, u64::MAX).unwrap();
        database.give_back(connection);
    }
    panic!("{} was never quick", statement.sql);
}

/// Glances until one succeeds.
fn glance(database: &Database, statement: &Statement) -> Value {
    for _ in 0..ATTEMPTS {
        let mut connection = ready(database, statement);
        let result = connection.glance(statement, u64::MAX);
        if let Some(result) = result {
            database.give_back(connection);
            return result.unwrap().rows[0][0].clone();
        }
        // It was slow too often for this connection: the next one knows nothing of it.
        drop(connection);
    }
    panic!("no glance at {} succeeds", statement.sql);
}

#[test]
fn what_reads_and_was_quick_is_glanced_at_and_gives_the_same() {
    let mut principal = Principal::new();
    principal.sql(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one'), (2, NULL)",
    );
    let database = &principal.database;
    let read =
        |id: i64| glance(database, &with("SELECT v FROM t WHERE id = ?", Value::Integer(id)));
    assert_eq!((read(1), read(2)), (Value::Text("one".into()), Value::Null));
    assert!(database.checkout_ready("SELECT 1").is_none(), "nothing is known of it");
    let mut connection = database.checkout().unwrap();
    let update = "UPDATE t SET v = v WHERE id = 7";
    for sql in [update, "PRAGMA user_version", "BEGIN", "COMMIT"] {
        query(&mut connection, sql);
    }
    database.give_back(connection);
    for sql in [update, "PRAGMA user_version", "BEGIN", "COMMIT"] {
        assert!(database.checkout_ready(sql).is_none(), "{sql} is no mere read");
    }
}

#[test]
fn what_takes_longer_or_gives_more_is_broken_off_and_can_be_run_as_ever() {
    let principal = Principal::new();
    let database = &principal.database;
    let long = (COUNT, Value::Integer(3_000_000));
    let large = ("SELECT printf('%.*c', ?, 'x') AS v", Value::Integer(300 << 10));
    let many = ("SELECT hex(zeroblob(?))", Value::Integer(40 << 10));
    for (sql, argument) in [long, large, many] {
        let mut connection = ready(database, &with(sql, Value::Integer(1)));
        assert!(connection.glance(&with(sql, argument.clone()), u64::MAX).is_none(), "{sql}");
        assert!(!connection.in_transaction() && !connection.has_uncaptured());
        let result = connection.execute(&with(sql, argument), u64::MAX).unwrap();
        assert_eq!(result.rows.len(), 1, "{sql}");
        database.give_back(connection);
    }
}

#[test]
fn a_result_that_is_too_large_for_the_server_is_too_large_for_a_glance() {
    let principal = Principal::new();
    let statement = with("SELECT hex(zeroblob(?))", Value::Integer(100));
    let mut connection = ready(&principal.database, &statement);
    assert!(connection.glance(&statement, 199).is_none());
    assert_eq!(connection.execute(&statement, 199).unwrap_err().code, "RESPONSE_TOO_LARGE");
}

/// Runs a statement that writes until it was quick. The connection is taken for it.
fn ready_to_write(principal: &mut Principal, statement: &Statement) -> Connection {
    for _ in 0..ATTEMPTS {
        let mut connection = principal.database.checkout_for(true).unwrap();
        connection.execute(statement, u64::MAX).unwrap();
        principal.capture(&connection);
        principal.database.give_back(connection);
        if principal.database.is_ready_to_write(&statement.sql) {
            return principal.database.checkout_for(true).unwrap();
        }
    }
    panic!("{} was never quick", statement.sql);
}

#[test]
fn a_write_at_a_glance_is_captured_as_ever_and_one_that_takes_longer_leaves_nothing() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v INTEGER)");
    assert!(!principal.database.is_ready_to_write("INSERT INTO t VALUES (1)"));
    let some = |many: i64| {
        let sql = format!("INSERT INTO t SELECT i FROM ({})", COUNT.replace("count(*)", "i"));
        with(&sql, Value::Integer(many))
    };
    let mut rows = None;
    for _ in 0..ATTEMPTS {
        let mut connection = ready_to_write(&mut principal, &some(1));
        let count = |connection: &mut Connection| value(connection, "SELECT count(*) FROM t");
        let before = count(&mut connection);
        let records = principal.records.len();
        assert!(connection.glance(&some(3_000_000), u64::MAX).is_none());
        assert!(!connection.in_transaction() && !connection.has_uncaptured());
        assert_eq!(count(&mut connection), before);
        principal.database.give_back(connection);

        let mut connection = ready_to_write(&mut principal, &some(1));
        rows = connection.glance(&some(1), u64::MAX);
        if rows.is_some() {
            assert!(connection.has_uncaptured());
            assert!(principal.capture(&connection).is_some());
            assert!(principal.records.len() > records);
            break;
        }
        // It was slow too often for this connection: the next one knows nothing of it.
        drop(connection);
    }
    assert!(rows.is_some(), "no glance succeeds");
}

#[test]
fn a_write_at_a_glance_that_fails_and_commits_has_failed_and_is_captured() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v INTEGER UNIQUE ON CONFLICT FAIL)");
    // The second row is in the way of itself.
    let sql = "INSERT INTO t SELECT v FROM (SELECT coalesce(max(v), 0) + 1 AS v FROM t) JOIN (SELECT 1 UNION ALL SELECT 2 WHERE ?)";
    let (one, two) = (with(sql, Value::Integer(0)), with(sql, Value::Integer(1)));
    let count = |connection: &mut Connection| integer(connection, "SELECT count(*) FROM t");
    for _ in 0..ATTEMPTS {
        let mut connection = ready_to_write(&mut principal, &one);
        let before = count(&mut connection);
        if let Some(outcome) = connection.glance(&two, u64::MAX) {
            assert_eq!(outcome.unwrap_err().code, "SQLITE_CONSTRAINT_UNIQUE");
            assert!(connection.has_uncaptured());
            assert!(principal.capture(&connection).is_some());
            assert_eq!(count(&mut connection), before + 1);
            return;
        }
        assert!(!connection.has_uncaptured(), "nobody knows of it");
        drop(connection);
    }
    panic!("no glance was enough");
}
