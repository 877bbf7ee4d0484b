//! Clients' statements: arguments, results, classes, errors.

mod common;

use std::time::Duration;

use common::*;
use counterpart_engine::{
    Args, BeginMode, Class, Column, Connection, RowSink, Script, SqlError, Statement, Stop, Value,
    ValueRef,
};

fn connection() -> (Principal, Connection) {
    let principal = Principal::new();
    let connection = principal.database.checkout().unwrap();
    (principal, connection)
}

fn with_args(sql: &str, positional: Vec<Value>, named: Vec<(&str, Value)>) -> Statement {
    let named = named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Statement { sql: sql.into(), args: Args { positional, named }, want_rows: true }
}

#[test]
fn values_of_every_kind_go_in_and_come_out() {
    let (_principal, mut c) = connection();
    let values = vec![
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Real(f64::INFINITY),
        Value::Text("ü\n".to_owned()),
        Value::Text(String::new()),
        Value::Blob(vec![0, 255]),
        Value::Blob(Vec::new()),
    ];
    let result =
        c.execute(&Statement::with("SELECT ?,?,?,?,?,?,?", values.clone()), u64::MAX).unwrap();
    assert_eq!(result.rows, [values]);
    // SQLite has no NaN: it is NULL.
    let nan = c.execute(&Statement::with("SELECT ?", vec![Value::Real(f64::NAN)]), 100).unwrap();
    assert_eq!(nan.rows, [[Value::Null]]);
    assert_eq!(value(&mut c, "SELECT CAST(x'ff41' AS TEXT)"), Value::Text("\u{fffd}A".to_owned()));
}

#[test]
fn arguments_are_bound_by_position_and_by_name_with_or_without_prefix() {
    let (_principal, mut c) = connection();
    let (one, two) = (Value::Integer(1), Value::Integer(2));
    let mut rows = |statement: Statement| c.execute(&statement, 1000).map(|r| r.rows);
    let pair = vec![vec![one.clone(), two.clone()]];
    let both = |names: [&'static str; 2]| vec![(names[0], one.clone()), (names[1], two.clone())];
    assert_eq!(
        rows(with_args("SELECT ?, ?", vec![one.clone(), two.clone()], vec![])).unwrap(),
        pair
    );
    assert_eq!(
        rows(with_args("SELECT ?2, ?1", vec![two.clone(), one.clone()], vec![])).unwrap(),
        pair
    );
    assert_eq!(rows(with_args("SELECT :a, $b", vec![], both(["a", "b"]))).unwrap(), pair);
    assert_eq!(rows(with_args("SELECT @a, $b", vec![], both(["@a", "$b"]))).unwrap(), pair);
    assert_eq!(
        rows(with_args("SELECT :a, ?", vec![one.clone(), two.clone()], vec![])).unwrap(),
        pair
    );
    assert_eq!(
        rows(with_args("SELECT ?, :b", vec![one.clone()], vec![("b", two.clone())])).unwrap(),
        pair
    );
    for (sql, named) in [
        ("SELECT ?, ?", vec![]),
        ("SELECT ?, :b", vec![]),
        ("SELECT :a, :b", vec![("a", one.clone())]),
    ] {
        let positional = if named.is_empty() { vec![one.clone()] } else { vec![] };
        let missing = rows(with_args(sql, positional, named)).unwrap_err();
        assert_eq!(missing.code, "ARGS_INVALID", "{sql}: NULL is a value like another: {missing}");
    }
    rows(with_args("EXPLAIN QUERY PLAN SELECT ?", vec![], vec![])).unwrap();
    let unknown = rows(with_args("SELECT :a", vec![], vec![(":b", one.clone())])).unwrap_err();
    let wrong_prefix = rows(with_args("SELECT :a", vec![], vec![("@a", one.clone())])).unwrap_err();
    let too_many = rows(with_args("SELECT ?", vec![one.clone(), one], vec![])).unwrap_err();
    for error in [unknown, wrong_prefix, too_many] {
        assert_eq!(error.code, "ARGS_INVALID");
    }
}

#[test]
fn arguments_of_one_run_are_gone_in_the_next() {
    let (_principal, mut c) = connection();
    c.execute(&Statement::with("SELECT ?", vec![Value::Integer(1)]), 100).unwrap();
    let error = c.execute(&Statement::new("SELECT ?"), 100).unwrap_err();
    assert_eq!(error.code, "ARGS_INVALID", "{error}");
}

#[test]
fn a_result_tells_columns_counts_and_the_last_rowid() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
    let result = query(&mut c, "INSERT INTO t(name) VALUES ('a'),('b') RETURNING id, name AS n");
    let named = |name: &str, decltype: &str| Column {
        name: name.to_owned(),
        decltype: Some(decltype.to_owned()),
    };
    assert_eq!(result.columns, [named("id", "INTEGER"), named("n", "TEXT")]);
    assert_eq!(result.rows.len(), 2);
    let summary = result.summary;
    assert_eq!((summary.affected_rows, summary.rows_written, summary.last_insert_rowid), (2, 2, 2));
    let read = query(&mut c, "SELECT count(*) FROM t WHERE name > ''").summary;
    assert_eq!((read.affected_rows, read.last_insert_rowid), (0, 2));
    assert!(read.rows_read >= 1);
    let empty = query(&mut c, "SELECT id FROM t WHERE 0");
    assert_eq!((empty.columns.len(), empty.rows.len()), (1, 0));
    let none = Statement { want_rows: false, ..Statement::new("DELETE FROM t RETURNING id") };
    let deleted = c.execute(&none, 0).unwrap();
    assert_eq!((deleted.rows.len(), deleted.summary.affected_rows), (0, 2));
}

#[test]
fn a_cached_statement_sees_the_schema_as_it_is_now() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(a)");
    query(&mut c, "INSERT INTO t VALUES (1)");
    assert_eq!(query(&mut c, "SELECT * FROM t").columns.len(), 1);
    query(&mut c, "ALTER TABLE t ADD COLUMN b");
    let result = query(&mut c, "SELECT * FROM t");
    assert_eq!((result.columns.len(), result.rows[0].len()), (2, 2));
}

#[test]
fn exactly_one_statement_is_taken() {
    let (_principal, mut c) = connection();
    assert_eq!(integer(&mut c, "/* a */ SELECT 1; -- done\n ; "), 1);
    for nothing in ["", "  ;; -- x", "/* open"] {
        assert_eq!(code(&mut c, nothing), "SQL_NO_STATEMENT", "{nothing:?}");
    }
    assert_eq!(code(&mut c, "SELECT 1; SELECT 2"), "SQL_MANY_STATEMENTS");
    assert_eq!(code(&mut c, "SELECT 1\0; SELECT 2"), "SQLITE_ERROR");
}

#[test]
fn a_script_is_split_as_sqlite_reads_it() {
    let (mut principal, mut c) = connection();
    let script = "CREATE TABLE t(a); -- a ; in a comment
        CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; SELECT ';'; END;
        INSERT INTO t VALUES ('a;b') ;; ";
    let (script, mut at) = (Script::new(script).unwrap(), 0);
    let mut classes = Vec::new();
    while let Some((statement, next)) = c.next_statement(&script, at).unwrap() {
        classes.push(c.classify(statement).unwrap());
        c.execute(&Statement::new(statement), 100).unwrap();
        at = next;
    }
    assert_eq!(classes, [Class::Write; 3]);
    assert_eq!(value(&mut c, "SELECT a FROM t"), Value::Text("a;b".to_owned()));
    assert!(principal.run(&mut c, "SELECT 1; SELEC 2").is_err());
}

/// Story: SQLite copies a text that it is given by length, and so it copied the rest of a dump for each statement of
/// it. Loading 20 MB took minutes, with the write permit in hand.
#[test]
fn a_long_script_is_split_in_time_that_grows_with_its_length() {
    let (_principal, mut c) = connection();
    let text =
        "SELECT 1 -- a statement of a dump that is long enough to be one;\n;".repeat(300_000);
    let script = Script::new(&text).unwrap();
    let (mut at, mut statements) = (0, 0);
    while let Some((_, next)) = c.next_statement(&script, at).unwrap() {
        (at, statements) = (next, statements + 1);
    }
    assert_eq!(statements, 300_000);
}

#[test]
fn statements_are_classified_by_what_they_do() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(a UNIQUE)");
    query(&mut c, "CREATE TEMP TABLE x(a)");
    let classes = [
        ("SELECT * FROM t", Class::Read),
        ("EXPLAIN INSERT INTO t VALUES (1)", Class::Read),
        ("EXPLAIN QUERY PLAN DELETE FROM t", Class::Read),
        ("PRAGMA journal_mode", Class::Read),
        ("PRAGMA user_version", Class::Read),
        ("PRAGMA table_info(t)", Class::Read),
        ("PRAGMA foreign_keys=ON", Class::Read),
        ("PRAGMA user_version=3", Class::Write),
        ("PRAGMA incremental_vacuum", Class::Write),
        ("PRAGMA optimize", Class::Write),
        ("VACUUM", Class::Write),
        ("REINDEX", Class::Write),
        ("ANALYZE", Class::Write),
        ("CREATE INDEX i ON t(a)", Class::Write),
        ("WITH n AS (SELECT 1) INSERT INTO t SELECT * FROM n", Class::Write),
        ("WITH n AS (SELECT 1) SELECT * FROM n", Class::Read),
        ("INSERT INTO x VALUES (1)", Class::WriteTemp),
        ("DROP TABLE x", Class::WriteTemp),
        ("CREATE TEMP VIEW v AS SELECT * FROM t", Class::WriteTemp),
        ("BEGIN", Class::Begin(BeginMode::Deferred)),
        ("begin deferred transaction", Class::Begin(BeginMode::Deferred)),
        ("/* now */ BEGIN IMMEDIATE", Class::Begin(BeginMode::Immediate)),
        ("BEGIN EXCLUSIVE TRANSACTION", Class::Begin(BeginMode::Exclusive)),
        ("BEGIN TRANSACTION READONLY", Class::Begin(BeginMode::ReadOnly)),
        ("BEGIN READONLY", Class::Begin(BeginMode::ReadOnly)),
        ("begin /* ; */ readonly transaction;", Class::Begin(BeginMode::ReadOnly)),
        ("begin /* readonly */ READONLY", Class::Begin(BeginMode::ReadOnly)),
        ("COMMIT", Class::Commit),
        ("END TRANSACTION", Class::Commit),
        ("ROLLBACK", Class::Rollback),
        ("SAVEPOINT s", Class::Savepoint),
        ("RELEASE s", Class::Release),
        ("ROLLBACK TO s", Class::RollbackTo),
    ];
    for (sql, class) in classes {
        assert_eq!(c.classify(sql).unwrap(), class, "{sql}");
    }
}

#[test]
fn a_write_that_fell_back_from_a_temporary_table_is_classified_anew() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(a)");
    query(&mut c, "CREATE TEMP TABLE t(a)");
    assert_eq!(c.classify("INSERT INTO t VALUES (1)").unwrap(), Class::WriteTemp);
    query(&mut c, "INSERT INTO t VALUES (1)");
    query(&mut c, "DROP TABLE temp.t");
    assert_eq!(c.classify("INSERT INTO t VALUES (1)").unwrap(), Class::Write);
}

/// Story: `DROP TRIGGER IF EXISTS` of a trigger that is not there counts as reading for SQLite. It lay in the cache as
/// a read; once the trigger was there, the same text wrote without the permit.
#[test]
fn a_change_of_the_schema_is_a_write_also_while_there_is_nothing_to_change() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(a)");
    for sql in ["DROP TRIGGER IF EXISTS g", "REINDEX t", "DROP TABLE IF EXISTS x", "ANALYZE"] {
        assert_eq!(c.classify(sql).unwrap(), Class::Write, "{sql}");
        query(&mut c, sql);
    }
    query(&mut c, "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END");
    assert_eq!(c.classify("DROP TRIGGER IF EXISTS g").unwrap(), Class::Write);
    query(&mut c, "DROP TRIGGER IF EXISTS g");
    assert_eq!(integer(&mut c, "SELECT count(*) FROM sqlite_schema WHERE type='trigger'"), 0);
}

/// Story: the first use of an FTS4 table on a connection makes SQLite ask `PRAGMA page_size` within the statement. The
/// whole statement passed for a pragma that only asks, wrote without the permit, and the server stopped writing.
#[test]
fn the_first_write_of_a_virtual_table_on_a_connection_is_a_write() {
    let (principal, mut c) = connection();
    let modules = ["fts3(a)", "fts4(a)", "fts5(a)", "rtree(id, x0, x1)"];
    for (number, module) in modules.iter().enumerate() {
        query(&mut c, &format!("CREATE VIRTUAL TABLE v{number} USING {module}"));
    }
    for sql in ["INSERT INTO v0 VALUES ('x')", "DELETE FROM v1", "DROP TABLE v1", "DROP TABLE v2"] {
        let mut fresh = principal.database.checkout().unwrap();
        assert_eq!(fresh.classify(sql).unwrap(), Class::Write, "{sql}");
        query(&mut fresh, sql);
    }
    let mut fresh = principal.database.checkout().unwrap();
    assert_eq!(fresh.classify("SELECT * FROM v0").unwrap(), Class::Read);
    assert_eq!(fresh.classify("INSERT INTO v3 VALUES (1, 0, 1)").unwrap(), Class::Write);
}

/// Story: a REINDEX of a table without indexes compiles to nothing, which no change of the schema makes SQLite compile
/// again. From the cache it did nothing for ever.
#[test]
fn a_change_of_the_schema_is_compiled_for_the_schema_as_it_is() {
    let (mut principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(a); ");
    query(&mut c, "REINDEX t");
    query(&mut c, "CREATE INDEX i ON t(a)");
    query(&mut c, "INSERT INTO t VALUES (1)");
    principal.capture(&c).unwrap();
    query(&mut c, "REINDEX t");
    assert!(principal.capture(&c).is_some(), "it writes the index anew");
}

/// With a search of all names for each argument this would take minutes, with the permit in hand.
#[test]
fn thousands_of_arguments_by_name_each_find_their_parameter() {
    let (_principal, mut c) = connection();
    let names: Vec<String> = (0..30_000).map(|i| format!("name{i}")).collect();
    let sql = format!("SELECT sum(column1) FROM (VALUES (:{}))", names.join("),(:"));
    let named = (0..).zip(&names).map(|(i, name)| (name.clone(), Value::Integer(i))).collect();
    let args = Args { positional: vec![], named };
    let statement = Statement { sql: sql.into(), args, want_rows: true };
    let sum = 30_000 * 29_999 / 2;
    assert_eq!(c.execute(&statement, u64::MAX).unwrap().rows, [[Value::Integer(sum)]]);
}

#[test]
fn a_readonly_transaction_refuses_writes_and_ends_like_any_other() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(a)");
    for begin in ["BEGIN TRANSACTION READONLY", "BEGIN READONLY"] {
        query(&mut c, begin);
        assert_eq!(integer(&mut c, "SELECT count(*) FROM t"), 0);
        assert_eq!(code(&mut c, "INSERT INTO t VALUES (1)"), "SQLITE_READONLY");
        assert!(c.in_transaction());
        query(&mut c, "COMMIT");
    }
    query(&mut c, "INSERT INTO t VALUES (1)");
}

#[test]
fn errors_carry_sqlites_extended_names_and_the_place() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE p(id INTEGER PRIMARY KEY)");
    query(&mut c, "CREATE TABLE t(a UNIQUE NOT NULL, b CHECK (b > 0), c REFERENCES p)");
    query(&mut c, "INSERT INTO t VALUES (1, 1, NULL)");
    query(&mut c, "PRAGMA foreign_keys=ON");
    let codes = [
        ("INSERT INTO t VALUES (1, 1, NULL)", "SQLITE_CONSTRAINT_UNIQUE"),
        ("INSERT INTO t VALUES (NULL, 1, NULL)", "SQLITE_CONSTRAINT_NOTNULL"),
        ("INSERT INTO t VALUES (2, 0, NULL)", "SQLITE_CONSTRAINT_CHECK"),
        ("INSERT INTO t VALUES (2, 1, 9)", "SQLITE_CONSTRAINT_FOREIGNKEY"),
        ("INSERT INTO p VALUES ('x')", "SQLITE_MISMATCH"),
        ("SELECT * FROM nothing", "SQLITE_ERROR"),
        ("COMMIT", "SQLITE_ERROR"),
        ("SELECT zeroblob(2000000000)", "SQLITE_TOOBIG"),
    ];
    for (sql, expected) in codes {
        assert_eq!(code(&mut c, sql), expected, "{sql}");
    }
    let syntax = error(&mut c, "  /**/ SELECT 1 FRM t");
    assert_eq!(syntax.message, "near \"t\": syntax error");
    assert_eq!(syntax.offset, Some(20));
}

#[test]
fn a_two_gibibyte_value_is_refused_with_the_limit_named() {
    let (_principal, mut c) = connection();
    // One byte above SQLite's limit says as much as two gibibytes, for half the memory.
    let huge = vec![Value::Blob(vec![0; 1_000_000_001])];
    let error = c.execute(&Statement::with("SELECT length(?)", huge), 100).unwrap_err();
    assert_eq!(error.code, "SQLITE_TOOBIG");
    assert!(error.message.contains("1,000,000,000 bytes"), "{}", error.message);
}

#[test]
fn a_statement_is_described_without_being_run() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(a INT, b)");
    let insert = c.describe("INSERT INTO t VALUES (?, :b) RETURNING a").unwrap();
    assert_eq!(insert.params, [None, Some(":b".to_owned())]);
    assert_eq!((insert.is_explain, insert.is_readonly), (false, false));
    assert_eq!(insert.columns[0].decltype.as_deref(), Some("INT"));
    let explain = c.describe("EXPLAIN SELECT 1").unwrap();
    assert_eq!((explain.is_explain, explain.is_readonly), (true, true));
    assert_eq!(integer(&mut c, "SELECT count(*) FROM t"), 0);
}

#[test]
fn a_statement_that_runs_too_long_is_stopped_and_its_write_taken_back() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(a)");
    let forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    c.set_deadline(Some(Duration::from_millis(20)));
    assert_eq!(code(&mut c, &format!("{forever} SELECT count(*) FROM n")), "SQL_TIMEOUT");
    assert_eq!(code(&mut c, &format!("{forever} INSERT INTO t SELECT i FROM n")), "SQL_TIMEOUT");
    c.set_deadline(None);
    assert_eq!(integer(&mut c, "SELECT count(*) FROM t"), 0);
}

#[test]
fn a_statement_can_be_stopped_from_another_thread() {
    let (_principal, mut c) = connection();
    let stop = c.interrupter();
    let (sender, started) = std::sync::mpsc::channel();
    struct Rows(std::sync::mpsc::Sender<()>);
    impl RowSink for Rows {
        fn columns(&mut self, _: &[Column]) -> Result<(), Stop> {
            self.0.send(()).unwrap();
            Ok(())
        }
        fn row(&mut self, _: &[ValueRef<'_>]) -> Result<(), Stop> {
            Ok(())
        }
    }
    let other = std::thread::spawn(move || {
        started.recv().unwrap();
        stop.interrupt();
    });
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 2 FROM n) SELECT i FROM n";
    let error = c.run(&Statement::new(endless), &mut Rows(sender)).unwrap_err();
    assert_eq!(error.code, "SQLITE_INTERRUPT");
    other.join().unwrap();
}

#[test]
fn a_result_above_the_limit_fails_and_takes_its_write_back() {
    let (_principal, mut c) = connection();
    query(&mut c, "CREATE TABLE t(a)");
    let insert = Statement::new("INSERT INTO t VALUES (1),(2),(3) RETURNING a");
    assert_eq!(c.execute(&insert, 16).unwrap_err().code, "RESPONSE_TOO_LARGE");
    assert_eq!(integer(&mut c, "SELECT count(*) FROM t"), 0);
    query(&mut c, "BEGIN");
    query(&mut c, "INSERT INTO t VALUES (9)");
    assert_eq!(c.execute(&insert, 16).unwrap_err().code, "RESPONSE_TOO_LARGE");
    assert!(!c.in_transaction(), "the transaction is rolled back as a whole");
    assert_eq!(integer(&mut c, "SELECT count(*) FROM t"), 0);
    assert_eq!(c.execute(&insert, 24).unwrap().rows.len(), 3);
}

#[test]
fn values_without_bytes_count_because_each_takes_memory() {
    let (_principal, mut c) = connection();
    for value in ["''", "x''", "'x'", "NULL", "1"] {
        let select = Statement::new(format!("VALUES ({value}), ({value}), ({value})"));
        assert_eq!(c.execute(&select, 23).unwrap_err().code, "RESPONSE_TOO_LARGE", "{value}");
        assert_eq!(c.execute(&select, 24).unwrap().rows.len(), 3, "{value}");
    }
}

#[test]
fn a_sink_that_has_enough_ends_a_query_and_lets_a_write_finish() {
    let (_principal, mut c) = connection();
    #[derive(Default)]
    struct First(Vec<i64>);
    impl RowSink for First {
        fn columns(&mut self, _: &[Column]) -> Result<(), Stop> {
            Ok(())
        }
        fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), Stop> {
            let ValueRef::Integer(number) = values[0] else {
                return Err(Stop::Fail(SqlError::new("TEST", "not a number")));
            };
            self.0.push(number);
            Err(Stop::Enough)
        }
    }
    query(&mut c, "CREATE TABLE t(a)");
    let mut sink = First::default();
    c.run(&Statement::new("INSERT INTO t VALUES (1),(2) RETURNING a"), &mut sink).unwrap();
    c.run(&Statement::new("SELECT a FROM t"), &mut sink).unwrap();
    assert_eq!(sink.0, [1, 1]);
    assert_eq!(integer(&mut c, "SELECT count(*) FROM t"), 2);
    assert!(matches!(
        c.run(&Statement::new("SELECT 'x'"), &mut sink),
        Err(error) if error.code == "TEST"
    ));
}

#[test]
fn what_sqlite_can_do_works() {
    let (_principal, mut c) = connection();
    for sql in [
        "CREATE VIRTUAL TABLE f USING fts5(body)",
        "INSERT INTO f VALUES ('the quick fox')",
        "INSERT INTO f(f) VALUES ('optimize')",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)",
        "INSERT INTO r VALUES (1, 0, 2)",
        "CREATE TABLE t(a PRIMARY KEY, b) WITHOUT ROWID",
        "INSERT INTO t VALUES (1, 1) ON CONFLICT(a) DO UPDATE SET b=b+1 RETURNING b",
        "INSERT INTO t VALUES (1, 1) ON CONFLICT(a) DO UPDATE SET b=b+1 RETURNING b",
        "PRAGMA auto_vacuum=1",
        "VACUUM",
        "VACUUM main",
        "REINDEX",
        "ANALYZE",
        "PRAGMA optimize",
        "PRAGMA integrity_check",
        "PRAGMA journal_mode=wal",
    ] {
        query(&mut c, sql);
    }
    let truths = [
        "SELECT count(*) FROM f WHERE f MATCH 'quick'",
        "SELECT count(*) FROM r WHERE x0 < 1 AND x1 > 1",
        "SELECT json_extract('{\"a\":1}', '$.a')",
        "SELECT b = 2 FROM t",
        "SELECT round(sin(pi() / 2))= 1.0",
        "SELECT auto_vacuum FROM pragma_auto_vacuum",
        "SELECT count(*) > 0 FROM dbstat",
    ];
    for sql in truths {
        assert_eq!(integer(&mut c, sql), 1, "{sql}");
    }
}
