//! From a commit to the copy: capture and apply together.

mod common;

use common::*;
use counterpart_core::{DatabaseId, UnixMicros, record::Kind};
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
