//! A database that nobody uses rests: SQLite lets go of its files, and nothing that was known of it is lost.

mod common;

use common::*;
use counterpart_core::UnixMicros;
use counterpart_engine::{Applier, Database};

fn wal_length(database: &Database) -> u64 {
    let mut path = database.path().as_os_str().to_owned();
    path.push("-wal");
    std::fs::metadata(path).unwrap().len()
}

/// A database with some rows, all of them in its file, and nobody there but itself.
fn settled() -> Principal {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(30000))");
    assert!(principal.database.checkpoint().unwrap().complete);
    principal
}

#[test]
fn a_database_that_rests_has_no_file_open_and_wakes_for_whoever_asks() {
    let mut principal = settled();
    let (before, map) = (principal.pages(), principal.database.map().unwrap().clone());
    assert!(principal.database.rest().unwrap());
    assert_eq!((principal.database.is_awake(), map.open_files()), (false, 0));
    assert_eq!(wal_length(&principal.database), 0);
    assert!(principal.database.rest().unwrap(), "it goes on resting");
    assert_eq!(principal.pages(), before, "a reader of pages needs nobody awake");
    assert_eq!(map.open_files(), 0);
    principal.sql("SELECT count(*) FROM t");
    assert!(principal.database.is_awake());
    assert_map_is_true(&principal.database);
}

#[test]
fn what_is_committed_after_a_rest_is_captured_and_fits_the_copy() {
    let mut principal = settled();
    let path = principal.copy("copy.db");
    let _map = mapped(&path);
    let mut applier = Applier::open(&path).unwrap();
    for round in 0..5 {
        principal.sql("INSERT INTO t VALUES (randomblob(9000)); UPDATE t SET v = zeroblob(50) WHERE rowid = 1");
        if round == 2 {
            principal.sql("DELETE FROM t; VACUUM");
        }
        assert!(principal.database.checkpoint().unwrap().complete);
        assert!(principal.database.rest().unwrap());
        // What is known of the WAL from before must not be taken for the new one's.
        principal.database.rebase_capture().unwrap();
        assert!(!principal.database.is_awake(), "there is nothing to look at");
    }
    principal.sql("INSERT INTO t VALUES ('the last')");
    applier.apply(&principal.records).unwrap();
    drop(applier);
    let copy = Database::open(&path, principal.database.id(), Default::default()).unwrap();
    assert_eq!(pages(&copy), principal.pages());
    assert_map_is_true(&copy);
    assert_map_is_true(&principal.database);
}

#[test]
fn a_database_does_not_rest_under_anybody() {
    let mut principal = settled();
    let connection = principal.database.checkout().unwrap();
    assert!(!principal.database.rest().unwrap(), "somebody has a connection");
    principal.database.give_back(connection);
    let snapshot = principal.database.snapshot(UnixMicros(1)).unwrap();
    assert!(!principal.database.rest().unwrap(), "somebody reads");
    drop(snapshot);
    let applier = Applier::open(principal.database.path()).unwrap();
    assert!(!principal.database.rest().unwrap(), "somebody may apply");
    drop(applier);
    principal.sql("INSERT INTO t VALUES (2)");
    assert!(!principal.database.rest().unwrap(), "its WAL holds what its file does not");
    assert!(principal.database.is_awake() && principal.database.wal_bytes() > 0);
    assert!(principal.database.checkpoint().unwrap().complete);
    assert!(principal.database.rest().unwrap());
}

#[test]
fn a_database_that_was_shut_while_it_rested_does_not_wake() {
    let principal = settled();
    assert!(principal.database.rest().unwrap());
    principal.database.shut();
    assert!(principal.database.wake().is_err());
    assert!(principal.database.checkout().is_err());
    assert_eq!(principal.database.map().unwrap().open_files(), 0);
}
