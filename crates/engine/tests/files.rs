//! Checkpoints, seeds, exports and imports.

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use counterpart_core::{DatabaseId, PageNo, PageSize, UnixMicros};
use counterpart_engine::{Database, ImportError, OpenError, Options, import_check};

#[test]
fn a_checkpoint_brings_everything_into_the_file_unless_a_reader_pins_the_wal() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (1)");
    let mut reader = principal.database.checkout().unwrap();
    reader.set_now(UnixMicros(55));
    query(&mut reader, "BEGIN");
    assert_eq!(integer(&mut reader, "SELECT count(*) FROM t"), 1);
    reader.set_now(UnixMicros(99));
    assert_eq!(integer(&mut reader, "SELECT count(*) FROM t"), 1);
    principal.sql("INSERT INTO t VALUES (2)");
    let pinned = principal.database.checkpoint().unwrap();
    assert!(!pinned.complete && pinned.copied_frames < pinned.wal_frames, "{pinned:?}");
    assert!(!principal.database.truncate_wal().unwrap());
    let readers = principal.database.readers();
    assert_eq!((readers.len(), readers[0].since), (1, UnixMicros(55)));
    query(&mut reader, "COMMIT");
    assert_eq!(principal.database.readers().len(), 0);
    assert!(principal.database.checkpoint().unwrap().complete);
    assert!(principal.database.truncate_wal().unwrap());
    let wal = principal.directory.path().join("principal.db-wal");
    assert_eq!(std::fs::metadata(wal).unwrap().len(), 0);
    // What was checkpointed is in the file alone.
    let expected = principal.pages();
    let path = principal.database.path().to_owned();
    let Principal { directory: _directory, database, .. } = principal;
    drop((reader, database));
    Database::discard_wal(&path).unwrap();
    assert_same(&expected, &file_pages(&path, PageSize::DEFAULT));
}

#[test]
fn a_snapshot_pins_the_wal_and_says_so_until_it_is_dropped() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (1)");
    let mut snapshot = principal.database.snapshot(UnixMicros(5)).unwrap();
    principal.sql("INSERT INTO t VALUES (randomblob(100000))");
    assert_eq!(principal.database.readers()[0].since, UnixMicros(5));
    let mut file = Vec::new();
    while let Some(bytes) = snapshot.next_bytes(5000).unwrap() {
        file.extend_from_slice(&bytes);
    }
    assert_eq!(file.len(), snapshot.size_in_pages() as usize * 4096);
    drop(snapshot);
    assert_eq!(principal.database.readers().len(), 0);
    let path = principal.directory.path().join("export.db");
    std::fs::write(&path, file).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let text = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("PRAGMA journal_mode"), "delete");
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    assert_eq!(text("SELECT count(*) || '' FROM t"), "1");
}

#[test]
fn pages_are_read_in_runs_and_end_with_the_database() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(40000))");
    let mut reader = principal.database.page_reader().unwrap();
    let first = reader.read(PageNo(1), 3 * 4096 + 1).unwrap();
    assert_eq!((first.bytes.len(), first.first), (3 * 4096, PageNo(1)));
    let numbers: Vec<_> = first.iter(PageSize::DEFAULT).map(|(number, _)| number.0).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let size = first.size_in_pages;
    assert_eq!(reader.read(PageNo(4), 1).unwrap().bytes.len(), 4096, "at least one page");
    let last = reader.read(PageNo(size), 1 << 20).unwrap();
    assert_eq!(last.bytes.len(), 4096);
    assert_eq!(last.bytes[..], principal.pages()[size as usize - 1][..]);
    assert!(reader.read(PageNo(size + 1), 1 << 20).unwrap().bytes.is_empty());
    // Between two runs nothing is pinned.
    principal.sql("DELETE FROM t; VACUUM");
    assert!(principal.database.checkpoint().unwrap().complete);
    assert!(reader.read(PageNo(1), 1 << 20).unwrap().size_in_pages < size);
}

#[test]
fn pages_that_somebody_keeps_stay_as_they_were_read() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(40000))");
    assert!(principal.database.checkpoint().unwrap().complete);
    let mut reader = principal.database.page_reader().unwrap();
    let kept = reader.read(PageNo(2), 4 * 4096).unwrap();
    for first in [5, 3, 6] {
        let read = reader.read(PageNo(first), 4 * 4096).unwrap().bytes;
        let at = first as usize - 1;
        assert!(read[..] == principal.pages()[at..at + 4].concat(), "pages from {first} on");
    }
    assert!(kept.bytes[..] == principal.pages()[1..5].concat());
}

#[test]
fn a_database_is_described() {
    let mut principal = Principal::new();
    principal
        .sql("CREATE TABLE \"a \"\"b\"(v PRIMARY KEY); INSERT INTO \"a \"\"b\" VALUES (1),(2)");
    principal
        .sql("CREATE TABLE gone(v); INSERT INTO gone VALUES (randomblob(20000)); DROP TABLE gone");
    let info = principal.database.info(true).unwrap();
    assert_eq!(info.tables.len(), 1);
    assert_eq!((info.tables[0].name.as_str(), info.tables[0].rows), ("a \"b", Some(2)));
    assert!(info.free_pages >= 5 && info.size_in_pages > info.free_pages);
    assert_eq!(principal.database.info(false).unwrap().tables[0].rows, None);
}

#[test]
fn a_database_keeps_its_page_size_and_is_not_made_twice() {
    let directory = tempfile::tempdir().unwrap();
    for log2 in 9..=16 {
        let size = PageSize::from_log2(log2).unwrap();
        let path = new_file(directory.path(), &format!("{log2}.db"), size);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), size.bytes() as u64, "page 1 exists");
        assert!(!directory.path().join(format!("{log2}.db-wal")).exists());
        let database = Database::open(&path, DatabaseId(1), Options::default()).unwrap();
        assert_eq!(database.page_size(), size);
        assert!(matches!(Database::create_file(&path, size), Err(OpenError::Sqlite { .. })));
    }
    let missing = directory.path().join("missing.db");
    let error = Database::open(&missing, DatabaseId(1), Options::default()).unwrap_err();
    assert!(error.to_string().contains("missing.db"), "{error}");
    assert!(!missing.exists());
}

/// A plain SQLite file with a table of 200 rows.
fn plain_file(directory: &std::path::Path, setup: &str) -> std::path::PathBuf {
    let path = directory.join("plain.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(setup).unwrap();
    db.execute_batch(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE INDEX i ON t(v);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO t(v) SELECT 'row ' || i FROM n",
    )
    .unwrap();
    path
}

#[test]
fn any_sqlite_file_is_imported() {
    for setup in [
        "",
        "PRAGMA page_size=512",
        "PRAGMA page_size=65536; PRAGMA auto_vacuum=1",
        "PRAGMA journal_mode=WAL",
        "PRAGMA encoding='UTF-16le'; PRAGMA journal_mode=TRUNCATE",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = plain_file(directory.path(), setup);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reports = Arc::clone(&seen);
        let info = import_check(&path, move |done, all| reports.lock().unwrap().push((done, all)))
            .unwrap();
        assert_eq!(info.tables, ["t"]);
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(!seen.is_empty() && seen.iter().all(|(done, all)| done <= all), "{seen:?}");
        let names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["plain.db"], "one file, no WAL beside it");
        assert_eq!(std::fs::read(&path).unwrap()[18..20], [2, 2]);
        let database = Database::open(&path, DatabaseId(1), Options::default()).unwrap();
        assert_eq!(database.info(true).unwrap().tables[0].rows, Some(20_000));
        assert_eq!(database.page_size(), info.page_size);
    }
}

#[test]
fn what_is_no_sound_database_is_refused_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = plain_file(directory.path(), "");
    let good = std::fs::read(&path).unwrap();
    let import = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        import_check(&path, |_, _| {}).unwrap_err()
    };
    assert!(matches!(import(b""), ImportError::Empty));
    assert!(matches!(import(b"PK\x03\x04"), ImportError::NotSqlite));
    assert!(matches!(import(&vec![0x5a; 8192]), ImportError::NotSqlite));
    let cut = import(&good[..good.len() / 2]);
    assert!(matches!(cut, ImportError::CutShort { .. }), "{cut}");
    for (from, byte) in [(4096, 0xff), (2 * 4096, 0), (5 * 4096 + 9, 0xa5)] {
        let mut damaged = good.clone();
        damaged[from..from + 2000].fill(byte);
        let error = import(&damaged);
        assert!(matches!(error, ImportError::Damaged(_)), "{error}");
    }
    let mut schema = good.clone();
    schema[100..4096].fill(0x33);
    let error = import(&schema);
    assert!(matches!(error, ImportError::Damaged(_)), "{error}");
    let missing = directory.path().join("missing.db");
    assert!(matches!(import_check(&missing, |_, _| {}), Err(ImportError::Io(_))));
}
