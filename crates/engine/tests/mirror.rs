//! From a commit to the copy: capture and apply together.

mod common;

use common::*;
use counterpart_core::{DatabaseId, Lsn, UnixMicros, record::Kind};
use counterpart_engine::{Applier, Database, Options};

#[test]
fn what_is_committed_reaches_the_copy_page_by_page() {
    let mut principal = Principal::new();
    let copy = principal.copy("mirror.db");
    let mut applier = Applier::open(&copy).unwrap();
    principal
        .sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t(v) VALUES ('a'),('b')");
    principal.sql("BEGIN; INSERT INTO t(v) VALUES ('c'); COMMIT; UPDATE t SET v='z' WHERE id=1");
    assert_eq!(principal.records.len(), 4);
    let applied = applier.apply(&principal.records).unwrap();
    assert_eq!((applied.lsn.0, applied.transactions), (4, 4));
    let mirror = Database::open(&copy, DatabaseId(1), Options::default()).unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
    let mut reader = mirror.checkout().unwrap();
    assert_eq!(integer(&mut reader, "SELECT count(*) FROM t WHERE v IN ('z','b','c')"), 3);
}

#[test]
fn a_rolled_back_transaction_and_an_empty_update_give_no_record() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (1)");
    let before = principal.records.len();
    principal.sql(
        "BEGIN; INSERT INTO t VALUES (2); ROLLBACK; UPDATE t SET v=5 WHERE v=99; BEGIN; COMMIT",
    );
    assert_eq!(principal.records.len(), before);
    assert!(principal.records.iter().all(|record| record.header().kind == Kind::Transaction));
    assert_eq!(principal.records[0].header().committed_at, UnixMicros(7));
}

#[test]
fn writers_take_turns_on_different_connections_and_each_commit_is_captured_once() {
    let mut principal = Principal::new();
    let copy = principal.copy("mirror.db");
    let mut a = principal.database.checkout().unwrap();
    let mut b = principal.database.checkout().unwrap();
    principal.run(&mut a, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)").unwrap();
    for n in 0..20 {
        principal.run(&mut a, "INSERT INTO t(v) VALUES (randomblob(2000))").unwrap();
        principal.run(&mut b, "UPDATE t SET v = randomblob(3000) WHERE id % 3 = 0").unwrap();
        if n % 7 == 0 {
            assert!(principal.database.checkpoint().unwrap().complete);
        }
    }
    // The first updates found no row, so they committed nothing.
    assert_eq!(principal.records.len(), 1 + 20 + 18);
    Applier::open(&copy).unwrap().apply(&principal.records).unwrap();
    let mirror = Database::open(&copy, DatabaseId(1), Options::default()).unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
}

#[test]
fn a_write_on_an_outdated_snapshot_says_so() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (1)");
    let mut late = principal.database.checkout().unwrap();
    let mut other = principal.database.checkout().unwrap();
    query(&mut late, "BEGIN");
    assert_eq!(integer(&mut late, "SELECT count(*) FROM t"), 1);
    principal.run(&mut other, "INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(code(&mut late, "INSERT INTO t VALUES (3)"), "SQLITE_BUSY_SNAPSHOT");
    query(&mut late, "ROLLBACK");
    query(&mut late, "INSERT INTO t VALUES (3)");
}

/// What a mirror does with the creation of a database: an empty file first, then the record.
#[test]
fn a_created_database_is_applied_like_a_transaction() {
    use counterpart_core::{
        Epoch, Lsn, PageNo, PageSize, ServerId,
        record::{Stamp, TransactionDraft},
    };
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (1)");
    let mut reader = principal.database.page_reader().unwrap();
    let run = reader.read(PageNo(1), 1 << 20).unwrap();
    let mut draft = TransactionDraft::new(DatabaseId(1), PageSize::DEFAULT, UnixMicros(0));
    for (number, image) in run.iter(PageSize::DEFAULT) {
        assert!(draft.push_page(number, image).is_none());
    }
    let draft = draft.finish_create(&"shop".parse().unwrap(), run.size_in_pages, 0);
    let epoch = Epoch { term: 1, start: 1, server: ServerId(1) };
    let record = draft.seal(Stamp { lsn: Lsn(3), commit_lsn: Lsn(2), epoch });
    let copy = principal.copy("shop.db");
    Applier::open(&copy).unwrap().apply(std::slice::from_ref(&record)).unwrap();
    let mirror = Database::open(&copy, DatabaseId(1), Options::default()).unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
    assert_eq!(mirror.size_in_pages(), run.size_in_pages);
    let fresh = principal.directory.path().join("fresh.db");
    let mut redo = counterpart_engine::RedoFile::open(&fresh, PageSize::DEFAULT).unwrap();
    redo.push(&record).unwrap();
    redo.finish().unwrap();
    assert_same(&principal.pages(), &file_pages(&fresh, PageSize::DEFAULT));
}

/// An import may be UTF-16: SQLite attaches only copies of the connection's own encoding, and once refused all others.
#[test]
fn a_copy_with_utf_16_texts_is_applied_to() {
    for encoding in ["UTF-16le", "UTF-16be"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("principal.db");
        let sql =
            format!("PRAGMA encoding='{encoding}'; PRAGMA journal_mode=WAL; CREATE TABLE t(v)");
        rusqlite::Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
        let copy = directory.path().join("mirror.db");
        std::fs::copy(&path, &copy).unwrap();
        let database = Database::open(&path, DatabaseId(1), Options::default()).unwrap();
        let mut principal = Principal { directory, database, records: Vec::new(), mark: Lsn::ZERO };
        principal.sql("INSERT INTO t VALUES ('a')");
        let mut applier = Applier::open(&copy).unwrap();
        applier.apply(&principal.records).unwrap();
        principal.sql("CREATE TABLE u(v); INSERT INTO u VALUES ('b')");
        applier.apply(&principal.records[1..]).unwrap();
        let mirror = Database::open(&copy, DatabaseId(1), Options::default()).unwrap();
        assert_same(&principal.pages(), &pages(&mirror));
    }
}
