//! The WAL's file: what reaches it and when, and checkpoints beside writers.

mod common;

use std::sync::{Arc, Mutex, mpsc};

use common::*;
use counterpart_core::PageSize;
use counterpart_engine::{Database, Options};

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
    let mut principal = Principal::with(PageSize::DEFAULT, wal_in_file());
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

#[test]
fn a_checkpoint_copies_what_was_committed_when_it_began_while_others_write_on() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v INT); INSERT INTO t VALUES (1)");
    let database = Arc::new(principal.database);
    let (began, writing) = mpsc::channel();
    let (wrote, written) = mpsc::channel();
    let copying = Arc::clone(&database);
    let checkpoint = std::thread::spawn(move || {
        copying.copy_beside_writers(
            move || {
                began.send(()).unwrap();
                written.recv().unwrap();
                true
            },
            || {},
        )
    });
    writing.recv().unwrap();
    let mut c = database.checkout().unwrap();
    query(&mut c, "INSERT INTO t VALUES (2)");
    database
        .capture(&c, counterpart_core::UnixMicros(7), principal.mark, &mut |_| {
            Ok::<_, std::convert::Infallible>(counterpart_core::Lsn(9))
        })
        .unwrap();
    wrote.send(()).unwrap();
    let copied = checkpoint.join().unwrap().unwrap();
    assert!(copied.complete, "{copied:?}");
    assert_map_is_true(&database);
    // What was written meanwhile is in the WAL alone.
    let rest = database.copy_rest().unwrap();
    assert_eq!((rest.complete, rest.wal_frames), (true, copied.wal_frames + 1));
    assert_map_is_true(&database);
    assert_eq!(integer(&mut c, "SELECT sum(v) FROM t"), 3);
    let path = database.path().to_owned();
    drop(c);
    let expected = pages(&database);
    drop(Arc::into_inner(database).expect("nobody else has it"));
    Database::discard_wal(&path).unwrap();
    assert_same(&expected, &file_pages(&path, PageSize::DEFAULT));
}

#[test]
fn a_checkpoint_that_is_not_to_go_on_writes_nothing_and_the_next_one_does() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v INT); INSERT INTO t VALUES (1)");
    let before = std::fs::read(principal.database.path()).unwrap();
    let refused = principal.database.copy_beside_writers(|| false, || {}).unwrap_err();
    assert_eq!(refused.code, "SQLITE_INTERRUPT");
    assert_eq!(std::fs::read(principal.database.path()).unwrap(), before);
    let asked = Arc::new(Mutex::new(0));
    let asking = Arc::clone(&asked);
    let go = move || {
        *asking.lock().unwrap() += 1;
        true
    };
    assert!(principal.database.copy_beside_writers(go.clone(), || {}).unwrap().complete);
    // There is nothing left to ask for.
    assert!(principal.database.copy_beside_writers(go, || {}).unwrap().complete);
    assert_eq!(*asked.lock().unwrap(), 1);
}
