//! What belongs to a stream stays with the stream.

mod common;

use common::*;
use counterpart_engine::{Options, StreamScope};

const ALL: &str = "SELECT last_insert_rowid() * 10000 + changes() * 100 + total_changes()";

#[test]
fn two_streams_on_one_connection_see_their_own_numbers() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    c.begin_scope(StreamScope::default());
    query(&mut c, "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    query(&mut c, "INSERT INTO t(a) VALUES (1),(2),(3)");
    assert_eq!(integer(&mut c, ALL), 30_303);
    let first = c.end_scope();
    assert_eq!(first, StreamScope { last_insert_rowid: 3, changes: 3, total_changes: 3 });

    c.begin_scope(StreamScope::default());
    assert_eq!(integer(&mut c, ALL), 0);
    let result = query(&mut c, "UPDATE t SET a=9 WHERE id<3");
    assert_eq!((result.summary.affected_rows, result.summary.last_insert_rowid), (2, 0));
    assert_eq!(integer(&mut c, ALL), 202);
    let second = c.end_scope();

    c.begin_scope(first);
    assert_eq!(integer(&mut c, ALL), 30_303);
    query(&mut c, "DELETE FROM t WHERE id=77");
    assert_eq!(integer(&mut c, ALL), 30_003);
    query(&mut c, "SELECT 1");
    query(&mut c, "INSERT INTO t(a) VALUES (changes())");
    assert_eq!(integer(&mut c, ALL), 40_104);
    principal.database.give_back(c);

    let mut other = principal.database.checkout().unwrap();
    other.begin_scope(second);
    assert_eq!(integer(&mut other, ALL), 202);
    // The statement that asks sees the count of the stream's statement before it.
    query(&mut other, "INSERT INTO t(a) VALUES (changes())");
    assert_eq!(integer(&mut other, "SELECT a FROM t ORDER BY id DESC"), 2);
}

#[test]
fn a_write_that_failed_has_changed_nothing_for_its_own_stream() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "CREATE TABLE t(a UNIQUE)");
    query(&mut c, "INSERT INTO t VALUES (1)");
    query(&mut c, "DELETE FROM t WHERE a = 2");
    // The connection's own counter is 0 already, and stays so.
    c.begin_scope(StreamScope { last_insert_rowid: 0, changes: 50, total_changes: 100 });
    assert_eq!(code(&mut c, "INSERT INTO t VALUES (1)"), "SQLITE_CONSTRAINT_UNIQUE");
    assert_eq!(integer(&mut c, "SELECT changes()"), 0);
    c.begin_scope(StreamScope { last_insert_rowid: 0, changes: 50, total_changes: 100 });
    assert_eq!(code(&mut c, "INSERT INTO missing VALUES (1)"), "SQLITE_ERROR");
    assert_eq!(integer(&mut c, "SELECT changes()"), 50);
}

#[test]
fn a_trigger_sees_the_changes_of_its_own_statements() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    c.begin_scope(StreamScope::default());
    query(&mut c, "CREATE TABLE t(a)");
    query(&mut c, "CREATE TABLE log(n)");
    query(
        &mut c,
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN \
         INSERT INTO log VALUES (0),(0); INSERT INTO log SELECT changes(); END",
    );
    c.begin_scope(StreamScope { last_insert_rowid: 0, changes: 50, total_changes: 100 });
    let result = query(&mut c, "INSERT INTO t VALUES (1)");
    assert_eq!((result.summary.affected_rows, result.summary.rows_written), (1, 4));
    assert_eq!(integer(&mut c, "SELECT max(n) FROM log"), 2);
    assert_eq!(integer(&mut c, "SELECT total_changes()"), 104);
}

#[test]
fn a_connection_that_keeps_something_of_its_stream_is_marked_and_never_shared() {
    let principal = Principal::new();
    for sql in [
        "PRAGMA foreign_keys=ON",
        "PRAGMA case_sensitive_like=ON",
        "PRAGMA recursive_triggers=1",
        "PRAGMA query_only=1",
        "PRAGMA cache_size=10",
        "PRAGMA temp.user_version",
        "CREATE TEMP TABLE x(a)",
        "CREATE TEMP VIEW v AS SELECT 1",
    ] {
        let mut c = principal.database.checkout().unwrap();
        assert!(!c.is_marked());
        query(&mut c, sql);
        assert_eq!(c.is_marked(), sql != "PRAGMA temp.user_version", "{sql}");
        principal.database.give_back(c);
    }
    let mut c = principal.database.checkout().unwrap();
    assert_eq!(integer(&mut c, "PRAGMA foreign_keys"), 0);
    for sql in [
        "PRAGMA foreign_keys",
        "PRAGMA user_version=1",
        "PRAGMA table_info(t)",
        "CREATE TABLE t(a)",
    ] {
        query(&mut c, sql);
        assert!(!c.is_marked(), "{sql}");
    }
    // A pragma acts while it is compiled, even if it never runs.
    c.describe("PRAGMA foreign_keys=ON").unwrap();
    assert!(c.is_marked());
}

#[test]
fn temporary_tables_work_within_a_stream() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "CREATE TEMP TABLE x(id INTEGER PRIMARY KEY, a)");
    query(&mut c, "INSERT INTO x(a) VALUES (1),(2)");
    query(&mut c, "BEGIN");
    query(&mut c, "UPDATE x SET a=a+1");
    query(&mut c, "COMMIT");
    assert_eq!(integer(&mut c, "SELECT sum(a) FROM x"), 5);
    assert!(!c.has_uncaptured());
}

#[test]
fn an_open_transaction_does_not_survive_its_stream() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "CREATE TABLE t(a)");
    query(&mut c, "BEGIN");
    query(&mut c, "INSERT INTO t VALUES (1)");
    assert!(c.is_writing());
    principal.database.give_back(c);
    let mut c = principal.database.checkout().unwrap();
    assert!(!c.in_transaction());
    assert_eq!(integer(&mut c, "SELECT count(*) FROM t"), 0);
}

#[test]
fn foreign_keys_follow_the_servers_setting() {
    let options = Options { foreign_keys: true, ..Options::default() };
    let principal = Principal::with(counterpart_core::PageSize::DEFAULT, options);
    let mut c = principal.database.checkout().unwrap();
    assert_eq!(integer(&mut c, "PRAGMA foreign_keys"), 1);
}
