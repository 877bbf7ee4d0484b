//! The page map of a database: kept, saved, loaded, rebuilt, and compared before anything is visible.

mod common;

use std::{path::Path, sync::Arc};

use common::*;
use counterpart_core::{
    DatabaseId, Lsn, PageNo, PageSize,
    map::page_hash,
    record::{Record, Stamp, TransactionDraft},
};
use counterpart_engine::{
    Applier, ApplyError, BulkWriter, Database, DatabaseMap, Loaded, Options, RedoFile,
};

const ID: DatabaseId = DatabaseId(1);

fn reopen(path: &Path) -> (Arc<DatabaseMap>, Loaded) {
    DatabaseMap::open(path, &path.with_extension("map"), ID, PageSize::DEFAULT).unwrap()
}

/// A database of some 600 pages with everything in its file, its map saved at LSN 5, and nobody there any more.
fn saved() -> (tempfile::TempDir, std::path::PathBuf) {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(2400000))");
    assert!(principal.database.checkpoint().unwrap().complete);
    let map = Arc::clone(principal.database.map().unwrap());
    map.save(Lsn(5)).unwrap();
    let path = principal.database.path().to_owned();
    let Principal { directory, .. } = principal;
    (directory, path)
}

#[test]
fn a_saved_map_is_loaded_as_it_was() {
    let (_directory, path) = saved();
    let (map, loaded) = reopen(&path);
    assert_eq!(loaded, Loaded { at: Lsn(5), unknown_pages: 0, why: None });
    let first = map.file_snapshot();
    assert_eq!(map.checksum_at(), (first.checksum(), first.size()));
    drop(map);
    let (fresh, _) =
        DatabaseMap::open(&path, &path.with_extension("none"), ID, PageSize::DEFAULT).unwrap();
    assert_eq!(fresh.checksum_at().0, 0, "while pages are unknown there is no checksum");
    let mut last = (0, 0);
    fresh.rebuild(Lsn(9), &mut |done, of| last = (done, of)).unwrap();
    assert_eq!(last, (first.size(), first.size()));
    assert_eq!(fresh.checksum_at(), (first.checksum(), first.size()));
    assert!(fresh.file_snapshot().iter().all(|(_, entry)| entry.changed == Lsn(9)));
}

#[test]
fn each_damaged_block_of_the_map_is_rebuilt_from_the_pages() {
    let (_directory, path) = saved();
    let (map, _) = reopen(&path);
    let (whole, map_path) = (map.file_snapshot(), path.with_extension("map"));
    drop(map);
    let bytes = std::fs::read(&map_path).unwrap();
    assert_eq!(bytes.len(), 4 * 4096, "a header and three blocks of entries");
    for (block, pages) in [(0, whole.size()), (1, 255), (2, 255), (3, whole.size() - 510)] {
        let mut damaged = bytes.clone();
        // As a power cut leaves it: the first half is new, the second is not.
        damaged[block * 4096 + 512..(block + 1) * 4096].fill(0x77);
        std::fs::write(&map_path, &damaged).unwrap();
        let (map, loaded) = reopen(&path);
        assert_eq!(loaded.unknown_pages, pages, "block {block}");
        assert!(loaded.why.is_some());
        map.rebuild(Lsn(7), &mut |_, _| {}).unwrap();
        assert_eq!(map.file_snapshot().xor(), whole.xor());
        map.save(Lsn(8)).unwrap();
        drop(map);
        assert_eq!(reopen(&path).1, Loaded { at: Lsn(8), unknown_pages: 0, why: None });
    }
    for length in [0, 100, 4096, 4097, 8192, 3 * 4096 + 4000] {
        std::fs::write(&map_path, &bytes[..length]).unwrap();
        let (map, loaded) = reopen(&path);
        assert!(loaded.unknown_pages > 0, "{length}");
        map.rebuild(Lsn(7), &mut |_, _| {}).unwrap();
        assert_eq!(map.file_snapshot().xor(), whole.xor(), "{length}");
    }
    std::fs::write(&map_path, &bytes).unwrap();
    let (_, foreign) =
        DatabaseMap::open(&path, &map_path, DatabaseId(2), PageSize::DEFAULT).unwrap();
    assert!(foreign.why.unwrap().contains("database 1"));
}

#[test]
fn only_what_changed_is_saved_again() {
    let (_directory, path) = saved();
    let (map, _) = reopen(&path);
    let map_path = path.with_extension("map");
    // Damage shows which blocks are written.
    let mut bytes = std::fs::read(&map_path).unwrap();
    bytes[2 * 4096..].fill(0);
    std::fs::write(&map_path, &bytes).unwrap();
    map.write_raw(PageNo(2), &[9; 4096], Lsn(11)).unwrap();
    map.save(Lsn(11)).unwrap();
    let after = std::fs::read(&map_path).unwrap();
    assert_ne!(after[..8192], bytes[..8192]);
    assert_eq!(after[8192..], bytes[8192..]);
    assert_eq!(map.file_snapshot().newer_than(Lsn(10)).collect::<Vec<_>>(), [PageNo(2)]);
}

#[test]
fn the_page_size_is_known_from_the_map_or_else_from_the_file() {
    let (directory, path) = saved();
    let size = |path: &Path| DatabaseMap::page_size_of(path, &path.with_extension("map"), ID);
    assert_eq!(size(&path).unwrap(), Some(PageSize::DEFAULT));
    std::fs::write(&path, b"nothing").unwrap();
    assert_eq!(size(&path).unwrap(), Some(PageSize::DEFAULT));
    assert_eq!(size(&directory.path().join("missing.db")).unwrap(), None);
    for log2 in 9..=16 {
        let page_size = PageSize::from_log2(log2).unwrap();
        let path = new_file(directory.path(), &format!("{log2}.db"), page_size);
        assert_eq!(size(&path).unwrap(), Some(page_size));
    }
}

#[test]
fn a_seed_written_raw_is_known_page_by_page() {
    let (directory, path) = saved();
    let bytes = std::fs::read(&path).unwrap();
    let seeded = directory.path().join("seeded.db");
    std::fs::write(&seeded, b"").unwrap();
    let (map, _) =
        DatabaseMap::open(&seeded, &seeded.with_extension("map"), ID, PageSize::DEFAULT).unwrap();
    for (run, first) in bytes.chunks(64 * 4096).zip((1..).step_by(64)) {
        map.write_raw(PageNo(first), run, Lsn(3)).unwrap();
    }
    assert_eq!(std::fs::read(&seeded).unwrap(), bytes);
    assert_eq!(map.checksum_at(), reopen(&path).0.checksum_at());
    map.resize_raw(2).unwrap();
    assert_eq!((map.checksum_at().1, std::fs::metadata(&seeded).unwrap().len()), (2, 8192));
}

#[test]
fn a_file_written_past_the_cache_is_as_one_written_through_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (log2, name) in [(9, "small"), (12, "usual"), (16, "large")] {
        let page_size = PageSize::from_log2(log2).unwrap();
        let new = |name: String| {
            std::fs::write(path(&name), b"").unwrap();
            let map_path = path(&name).with_extension("map");
            DatabaseMap::open(&path(&name), &map_path, ID, page_size).unwrap().0
        };
        let (through, past) = (new(format!("{name}.db")), new(format!("{name}-past.db")));
        let mut writer = BulkWriter::new(Arc::clone(&past)).unwrap();
        // As they arrive: at any address, and with a first page that says that the file is a plain one.
        let bytes: Vec<u8> = (0..=40 * page_size.bytes()).map(|at| (at * 7 / 13) as u8).collect();
        let mut first = 1;
        for run in bytes[1..].chunks(16 * page_size.bytes()) {
            through.write_raw(PageNo(first), run, Lsn(3)).unwrap();
            writer.write(PageNo(first), run, Lsn(3)).unwrap();
            first += u32::try_from(run.len() / page_size.bytes()).unwrap();
        }
        let read = |name: String| std::fs::read(path(&name)).unwrap();
        let written = read(format!("{name}-past.db"));
        assert_eq!(written, read(format!("{name}.db")));
        assert_eq!((written.len(), &written[18..20]), (40 * page_size.bytes(), &[2, 2][..]));
        assert_eq!(past.checksum_at(), through.checksum_at());
    }
}

/// A record like `record`, with another checksum.
fn with_checksum(record: &Record, checksum: u64) -> Record {
    let header = record.header();
    let size = header.page_size.unwrap();
    let mut draft = TransactionDraft::new(ID, size, header.committed_at);
    let mut image = vec![0; size.bytes()];
    for page in record.pages() {
        page.decode(size, None, &mut image).unwrap();
        assert!(draft.push_page(page.number, &image).is_none());
    }
    let stamp = Stamp { lsn: record.lsn(), commit_lsn: header.commit_lsn, epoch: header.epoch };
    draft.finish(header.size_in_pages, checksum).seal(stamp)
}

#[test]
fn a_copy_that_would_differ_shows_nothing_of_the_batch_and_says_where() {
    let mut principal = Principal::new();
    let copy = principal.copy("mirror.db");
    let map = mapped(&copy);
    let mut applier = Applier::open(&copy).unwrap();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (1)");
    // Images after marks: they can be read without what came before.
    principal.write_mark();
    principal.sql("INSERT INTO t VALUES (2)");
    principal.write_mark();
    principal.sql("INSERT INTO t VALUES (randomblob(90000)); DELETE FROM t WHERE v = 1");
    applier.apply(&principal.records[..2]).unwrap();
    let mirror = Database::open(&copy, ID, Options::default()).unwrap();
    let (before, checksum) = (pages(&mirror), map.checksum_at());
    applier.push(&principal.records[2]).unwrap();
    let expected = principal.records[3].header().database_checksum ^ 1;
    let error = applier.push(&with_checksum(&principal.records[3], expected)).unwrap_err();
    let found = principal.records[3].header().database_checksum;
    let ApplyError::Differs { lsn, expected: told, found: here } = error else { panic!("{error}") };
    assert_eq!((lsn, told, here), (Lsn(4), expected, found));
    applier.commit().unwrap();
    assert_same(&before, &pages(&mirror));
    assert_eq!(map.checksum_at(), checksum);
    assert_map_is_true(&mirror);
    // The same transactions, unharmed, go on from there; one without a checksum is not compared.
    applier.push(&with_checksum(&principal.records[2], 0)).unwrap();
    applier.apply(&principal.records[3..]).unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
    assert_map_is_true(&mirror);
}

#[test]
fn an_aborted_run_of_chunks_leaves_the_map_as_it_was() {
    let mut principal = Principal::new();
    let copy = principal.copy("mirror.db");
    let map = mapped(&copy);
    let mut applier = Applier::open(&copy).unwrap().with_map_limit(100_000);
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(5000000))");
    let chunks = principal.records.len() - 1;
    assert!(chunks > 3, "the second transaction comes in chunks");
    applier.apply(&principal.records[..1]).unwrap();
    let before = map.checksum_at();
    principal.records[1..chunks].iter().for_each(|record| applier.push(record).unwrap());
    applier.abort();
    assert_eq!(map.checksum_at(), before);
    let mirror = Database::open(&copy, ID, Options::default()).unwrap();
    assert_map_is_true(&mirror);
    applier.apply(&principal.records[1..]).unwrap();
    let last = principal.records.last().unwrap().header();
    assert_eq!(map.checksum_at(), (last.database_checksum, last.size_in_pages));
    assert_map_is_true(&mirror);
    let changed = map.live_snapshot().get(PageNo(20)).changed;
    assert_eq!(changed, last.lsn, "a transaction in chunks counts when its last record does");
}

#[test]
fn each_page_knows_when_it_changed_last() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE a(v); CREATE TABLE b(v)");
    principal.sql("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); INSERT INTO a VALUES (2)");
    let map = Arc::clone(principal.database.map().unwrap());
    let since =
        |lsn| map.live_snapshot().newer_than(Lsn(lsn)).map(|page| page.0).collect::<Vec<_>>();
    assert_eq!((since(2), since(3), since(4), since(5)), (vec![2, 3], vec![2, 3], vec![2], vec![]));
    assert!(principal.database.checkpoint().unwrap().complete);
    assert_eq!(map.file_snapshot(), map.live_snapshot());
    assert_eq!(since(4), [2]);
}

#[test]
fn an_incomplete_checkpoint_leaves_the_file_and_the_database_each_with_its_own_map() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(20000))");
    let mut reader = principal.database.checkout().unwrap();
    query(&mut reader, "BEGIN");
    assert_eq!(integer(&mut reader, "SELECT count(*) FROM t"), 1);
    principal.sql("UPDATE t SET v = randomblob(30000); DELETE FROM t; VACUUM");
    assert!(!principal.database.checkpoint().unwrap().complete);
    let map = Arc::clone(principal.database.map().unwrap());
    assert_ne!(map.file_snapshot(), map.live_snapshot());
    assert_map_is_true(&principal.database);
    query(&mut reader, "COMMIT");
    assert!(principal.database.checkpoint().unwrap().complete);
    assert_eq!(map.file_snapshot(), map.live_snapshot());
    assert_map_is_true(&principal.database);
}

/// What a start after a crash does: the map as saved, the file anywhere at or after it, and the journal from there.
#[test]
fn redo_makes_the_map_of_a_crashed_server_true() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(900000))");
    assert!(principal.database.checkpoint().unwrap().complete);
    let map = Arc::clone(principal.database.map().unwrap());
    map.save(Lsn(2)).unwrap();
    let mark = principal.records.len();
    principal.write_mark();
    principal.sql("UPDATE t SET v = randomblob(700000); DELETE FROM t; VACUUM");
    principal.sql("INSERT INTO t VALUES (randomblob(50000))");
    // The file went on, its map was not saved again.
    assert!(principal.database.checkpoint().unwrap().complete);
    let live = map.checksum_at();
    let Principal { directory: _directory, database, records, .. } = principal;
    let path = database.path().to_owned();
    drop((database, map));
    Database::discard_wal(&path).unwrap();
    let (map, loaded) = reopen(&path);
    assert_eq!((loaded.at, loaded.unknown_pages), (Lsn(2), 0));
    let mut redo = RedoFile::open(&path, PageSize::DEFAULT).unwrap();
    records[mark..].iter().for_each(|record| redo.push(record).unwrap());
    let redone = redo.finish().unwrap();
    assert_eq!(redone.recorded, Some((records.last().unwrap().lsn(), live.0)));
    assert_eq!(map.checksum_at(), live);
    assert_map_is_true(&Database::open(&path, ID, Options::default()).unwrap());
    let page = PageNo(2);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(map.file_snapshot().get(page).hash, page_hash(page, &bytes[4096..8192]));
}

#[test]
fn an_import_in_another_encoding_with_auto_vacuum_is_mapped_and_mirrored() {
    for encoding in ["UTF-16le", "UTF-16be"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("principal.db");
        let sql = format!(
            "PRAGMA page_size=1024; PRAGMA auto_vacuum=1; PRAGMA encoding='{encoding}'; CREATE TABLE t(v)"
        );
        rusqlite::Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
        // Not in WAL mode yet: opening brings it there, beneath the map.
        let _map = mapped(&path);
        let database = Database::open(&path, ID, Options::default()).unwrap();
        assert_map_is_true(&database);
        assert!(database.checkpoint().unwrap().complete);
        let copy = directory.path().join("mirror.db");
        std::fs::copy(&path, &copy).unwrap();
        let copy_map = mapped(&copy);
        let mut principal = Principal { directory, database, records: Vec::new(), mark: Lsn::ZERO };
        let mut applier = Applier::open(&copy).unwrap();
        for script in ["INSERT INTO t VALUES (hex(randomblob(9000)))", "DELETE FROM t", "VACUUM"] {
            principal.sql(script);
            assert_map_is_true(&principal.database);
        }
        applier.apply(&principal.records).unwrap();
        assert_eq!(copy_map.checksum_at(), principal.database.map().unwrap().checksum_at());
        assert_map_is_true(&Database::open(&copy, ID, Options::default()).unwrap());
    }
}

/// A mirror that is seeded anew deletes the file while a stream may still have it: what came was written into the
/// deleted one, because its map was found under the name.
#[test]
fn the_map_of_a_deleted_file_is_not_taken_for_that_of_its_successor() {
    let (_directory, path) = saved();
    let (old, _) = reopen(&path);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, vec![0; 4096]).unwrap();
    assert!(DatabaseMap::of(&path).is_none());
    let (new, _) = reopen(&path);
    new.write_raw(PageNo(1), &vec![7; 4096], Lsn(1)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[0], 7);
    drop(old);
    assert!(Arc::ptr_eq(&DatabaseMap::of(&path).unwrap(), &new));
}

#[test]
fn a_database_that_is_shut_lets_go_of_its_file_once_nobody_uses_a_connection() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v)");
    let map = Arc::clone(principal.database.map().unwrap());
    let used = principal.database.checkout().unwrap();
    principal.database.shut();
    assert_eq!(map.open_files(), 1, "the one in use");
    assert_eq!(principal.database.checkout().unwrap_err().code, "SQLITE_MISUSE");
    assert!(principal.database.snapshot(counterpart_core::UnixMicros(0)).is_err());
    assert!(principal.database.checkpoint().is_err());
    principal.database.give_back(used);
    assert_eq!(map.open_files(), 0);
}
