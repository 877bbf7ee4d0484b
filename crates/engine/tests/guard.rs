//! What is refused, and that it is refused with a sentence.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::*;
use counterpart_core::PageSize;
use counterpart_engine::{Class, CommitGate, Connection, Options, SqlError, Statement, Value};

/// Remembers what it was asked, and refuses with its sentence if it has one.
#[derive(Debug, Default)]
struct Gate(Mutex<(Vec<u64>, Option<String>)>);
impl CommitGate for Gate {
    fn before_commit(&self, estimate_bytes: u64) -> Result<(), String> {
        let mut state = self.0.lock().unwrap();
        state.0.push(estimate_bytes);
        state.1.clone().map_or(Ok(()), Err)
    }
}

/// Takes a while.
#[derive(Debug)]
struct Slow(Duration);

impl CommitGate for Slow {
    fn before_commit(&self, _estimate_bytes: u64) -> Result<(), String> {
        std::thread::park_timeout(self.0);
        Ok(())
    }
}

/// SQLite asks whether a statement is to be stopped after so many instructions, be it the last of one that has committed.
#[test]
fn what_has_committed_in_time_or_not_is_not_reported_as_stopped() {
    let deadline = Duration::from_millis(2);
    let options = Options { gate: Some(Arc::new(Slow(2 * deadline))), ..Options::default() };
    let mut principal = Principal::with(PageSize::DEFAULT, options);
    let columns: Vec<_> = (0..60).map(|number| format!("c{number}")).collect();
    principal.sql(&format!("CREATE TABLE t({})", columns.join(", ")));
    // Many instructions in a row, of which one is likely to be the one after which it is asked.
    let insert = Statement::new(format!("INSERT INTO t VALUES ({})", ["random()"; 60].join(", ")));
    let mut c = principal.database.checkout().unwrap();
    for _ in 0..300 {
        c.set_deadline(Some(deadline));
        match c.execute(&insert, u64::MAX) {
            Ok(_) => assert!(principal.capture(&c).is_some()),
            // The machine is busy.
            Err(error) => assert!(!c.has_uncaptured(), "it has committed: {error}"),
        }
    }
}

fn refusal(c: &mut Connection, sql: &str) -> SqlError {
    let error = error(c, sql);
    assert_eq!(error.code, "SQL_REFUSED", "{sql}: {error}");
    assert!(error.message.ends_with('.') && !error.message.contains("authorized"), "{error}");
    error
}

#[test]
fn what_would_break_mirroring_is_refused_with_a_sentence() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "CREATE TABLE t(a)");
    for sql in [
        "ATTACH 'other.db' AS other",
        "ATTACH ':memory:' AS other",
        "ATTACH '' AS other",
        "DETACH main",
        "VACUUM INTO 'copy.db'",
        "/* x */ vacuum main into 'copy.db'",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT fts3_tokenizer('simple', x'4141414141414141')",
        "SELECT * FROM sqlite_dbpage",
        "UPDATE sqlite_dbpage SET data = zeroblob(4096) WHERE pgno = 1",
        "INSERT INTO sqlite_dbpage(pgno, data) VALUES (2, NULL)",
        "CREATE VIRTUAL TABLE p USING sqlite_dbpage",
        "SELECT * FROM pragma_optimize",
        "SELECT count(*) FROM pragma_optimize(0x10012)",
        "WITH o AS (SELECT 1 FROM PRAGMA_OPTIMIZE) SELECT * FROM o",
        "CREATE TABLE c AS SELECT * FROM pragma_optimize",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA main.journal_mode = off",
        "PRAGMA synchronous=FULL",
        "PRAGMA wal_autocheckpoint=1",
        "PRAGMA wal_checkpoint",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA locking_mode=EXCLUSIVE",
        "PRAGMA mmap_size=1000000",
        "PRAGMA temp_store_directory='/tmp'",
        "PRAGMA soft_heap_limit=1",
        "PRAGMA hard_heap_limit=1",
        "EXPLAIN ATTACH 'x' AS y",
    ] {
        refusal(&mut c, sql);
    }
    assert!(!principal.directory.path().join("copy.db").exists());
    // A trigger's body is compiled where it fires.
    query(&mut c, "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT load_extension('x'); END");
    refusal(&mut c, "INSERT INTO t VALUES (1)");
    for sql in ["PRAGMA journal_mode", "PRAGMA synchronous", "PRAGMA mmap_size", "SELECT 1"] {
        query(&mut c, sql);
    }
}

#[test]
fn saying_what_is_so_anyway_is_neither_a_write_nor_a_mark() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    for sql in ["PRAGMA journal_mode=WAL", "PRAGMA locking_mode=NORMAL"] {
        assert_eq!(c.classify(sql).unwrap(), Class::Read, "{sql}");
        query(&mut c, sql);
    }
    assert!(!c.is_marked());
}

/// Story: SQLite offers `PRAGMA optimize` as a table, and reading it runs ANALYZE. The statement counts as a read, so
/// its commit was visible on the principal and never reached the journal.
#[test]
fn a_view_cannot_hide_a_pragma_that_writes() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "CREATE VIEW o AS SELECT * FROM pragma_optimize(0x10012)");
    refusal(&mut c, "SELECT * FROM o");
}

#[test]
fn a_table_over_raw_pages_that_a_file_brings_is_dead() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "PRAGMA writable_schema=ON");
    query(
        &mut c,
        "INSERT INTO sqlite_schema VALUES ('table', 'p', 'p', 0, \
         'CREATE VIRTUAL TABLE p USING sqlite_dbpage')",
    );
    let mut fresh = principal.database.checkout().unwrap();
    refusal(&mut fresh, "SELECT * FROM p");
}

#[test]
fn the_gate_sees_every_commit_of_the_main_database_and_can_refuse_it() {
    let gate = Arc::new(Gate::default());
    let options = Options { gate: Some(gate.clone()), ..Options::default() };
    let mut principal = Principal::with(PageSize::DEFAULT, options);
    let mut c = principal.database.checkout().unwrap();
    let asked = || std::mem::take(&mut gate.0.lock().unwrap().0);
    principal.run(&mut c, "CREATE TABLE t(a)").unwrap();
    principal.run(&mut c, "BEGIN; INSERT INTO t VALUES (1); COMMIT").unwrap();
    assert_eq!(asked().len(), 2);
    let temp = "SELECT 1; CREATE TEMP TABLE x(a); INSERT INTO x VALUES (1); BEGIN; COMMIT";
    principal.run(&mut c, temp).unwrap();
    assert_eq!(asked(), [], "nothing of the main database is committed");
    let blob = "INSERT INTO t VALUES (zeroblob(1000000))";
    principal.run(&mut c, blob).unwrap();
    assert!(asked()[0] >= 1_000_000);
    // VACUUM commits past SQLite's commit hook.
    principal.run(&mut c, "VACUUM").unwrap();
    assert!(asked()[0] >= 1_000_000);

    gate.0.lock().unwrap().1 = Some("The disk is full.".to_owned());
    for sql in ["INSERT INTO t VALUES (2)", "VACUUM", "PRAGMA user_version=5"] {
        let error = principal.run(&mut c, sql).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("SQLITE_FULL", "The disk is full.")
        );
    }
    principal.run(&mut c, "BEGIN; DELETE FROM t").unwrap();
    assert_eq!(code(&mut c, "COMMIT"), "SQLITE_FULL");
    assert!(!c.in_transaction() && !c.has_uncaptured());
    assert_eq!(integer(&mut c, "SELECT count(*) FROM t"), 2);
    gate.0.lock().unwrap().1 = None;
    principal.run(&mut c, "INSERT INTO t VALUES (2)").unwrap();
}

#[test]
fn a_read_only_database_refuses_to_write_and_still_has_temporary_tables() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "CREATE TABLE t(a)");
    principal.database.set_read_only(true);
    for sql in ["INSERT INTO t VALUES (1)", "BEGIN IMMEDIATE", "VACUUM", "PRAGMA user_version=1"] {
        assert_eq!(code(&mut c, sql), "SQLITE_READONLY", "{sql}");
    }
    query(&mut c, "CREATE TEMP TABLE x AS SELECT 5 AS a");
    assert_eq!(integer(&mut c, "SELECT a FROM x"), 5);
    principal.database.set_read_only(false);
    query(&mut c, "BEGIN");
    query(&mut c, "INSERT INTO t VALUES (1)");
    principal.database.set_read_only(true);
    assert_eq!(c.classify("COMMIT").unwrap(), Class::Commit);
    let late = c.execute(&Statement::new("COMMIT"), 0).unwrap_err();
    assert!(late.message.contains("read-only"), "{late}");
    assert_eq!(late.code, "SQLITE_READONLY");
    assert_eq!(integer(&mut c, "SELECT count(*) FROM t"), 0);
}

/// Story: FTS3's `fts3_tokenizer` takes and gives raw addresses, and SQLite lets it where they come as arguments. A
/// client could read the server's memory layout with it, and have the server call any address.
#[test]
fn no_argument_hands_the_server_an_address_to_call() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    let name = Value::Text("simple".to_owned());
    let ask = Statement::with("SELECT fts3_tokenizer(?1)", vec![name.clone()]);
    let set = "SELECT fts3_tokenizer(?1, ?2)";
    let set = Statement::with(set, vec![name, Value::Blob(vec![0x41; 8])]);
    for statement in [ask, set] {
        assert_eq!(c.execute(&statement, 1000).unwrap_err().code, "SQL_REFUSED");
    }
    query(&mut c, "CREATE VIRTUAL TABLE f USING fts3(a, tokenize=simple)");
    query(&mut c, "INSERT INTO f VALUES ('still there')");
}

/// Story: `SELECT optimize(f)` merges the index of an FTS3 table while it is read. It counted as a read, so what it
/// committed had no permit and no record, and the server had to stop writing altogether.
#[test]
fn a_select_that_would_merge_a_text_index_is_refused() {
    let mut principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    principal.run(&mut c, "CREATE VIRTUAL TABLE f USING fts4(a)").unwrap();
    principal.run(&mut c, "INSERT INTO f VALUES ('x'); INSERT INTO f VALUES ('y')").unwrap();
    let error = refusal(&mut c, "SELECT optimize(f) FROM f LIMIT 1");
    assert!(error.message.contains("INSERT INTO"), "it names the way that works: {error}");
    query(&mut c, "CREATE VIEW v AS SELECT optimize(f) FROM f");
    refusal(&mut c, "SELECT * FROM v");
    principal.capture(&c);
    assert!(principal.run(&mut c, "INSERT INTO f(f) VALUES ('optimize')").is_ok());
}

/// VACUUM fails before it commits anything, so nobody may be told that a commit is coming: it would be waited for.
#[test]
fn a_vacuum_within_a_transaction_fails_without_announcing_a_commit() {
    let gate = Arc::new(Gate::default());
    let options = Options { gate: Some(gate.clone()), ..Options::default() };
    let principal = Principal::with(PageSize::DEFAULT, options);
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "BEGIN");
    assert_eq!(code(&mut c, "VACUUM"), "SQLITE_ERROR");
    assert!(gate.0.lock().unwrap().0.is_empty());
}
