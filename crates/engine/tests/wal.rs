//! The WAL's file: what reaches it and when.

mod common;

use common::*;
use counterpart_core::PageSize;
use counterpart_engine::Options;

/// Calls of this thread that wrote to a file.
fn writes() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = counts.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap();
    line.parse().unwrap()
}

/// Reads a database and its WAL as any SQLite would after a crash: a frame counts only if its checksum does.
fn recovered_sum(principal: Principal) -> i64 {
    let Principal { directory, database, .. } = principal;
    let path = database.path().to_owned();
    // With the file closed, nothing but its bytes is left.
    drop(database);
    let db = rusqlite::Connection::open(&path).unwrap();
    let intact: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(intact, "ok");
    let sum = db.query_row("SELECT sum(v) FROM t", [], |row| row.get(0)).unwrap();
    drop(directory);
    sum
}

#[test]
fn a_commit_of_one_page_is_one_write() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 0)");
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "UPDATE t SET v = v + 1");
    let before = writes();
    for _ in 0..100 {
        query(&mut c, "UPDATE t SET v = v + 1");
    }
    assert_eq!(writes() - before, 100);
    drop(c);
    assert_eq!(recovered_sum(principal), 101);
}

/// Pages that do not fit the cache go to the WAL early, some more than once: SQLite overwrites those and counts the
/// checksums of all that follow anew when it commits.
#[test]
fn frames_that_are_overwritten_within_a_transaction_can_be_recovered() {
    let options = Options { cache_kib: 8, ..Options::default() };
    let mut principal = Principal::with(PageSize::from_bytes(512).unwrap(), options);
    principal.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v INT, filler)");
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                INSERT INTO t SELECT i, 0, randomblob(90) FROM n";
    let again = "UPDATE t SET v = v + 1; ".repeat(3);
    principal.sql(&format!("BEGIN; {many}; {again} ROLLBACK"));
    principal.sql(&format!("BEGIN; {many}; {again} COMMIT; UPDATE t SET v = v + 1 WHERE id = 7"));
    assert_eq!(recovered_sum(principal), 6001);
}
