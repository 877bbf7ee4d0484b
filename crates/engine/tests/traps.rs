//! The ways in which capture and apply go wrong silently, one test each.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use common::*;
use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageNo, PageSize, ServerId, UnixMicros,
    record::{Draft, PageEncoding, Record, Stamp, TransactionDraft},
};
use counterpart_engine::{Applier, ApplyError, Database, Options, RedoFile, Value};

fn seal(lsn: u64, draft: Draft) -> Record {
    let epoch = Epoch { term: 1, start: 1, server: ServerId(1) };
    draft.seal(Stamp { lsn: Lsn(lsn), commit_lsn: Lsn(lsn - 1), epoch })
}

/// A record with these images that leaves `size` pages.
fn record(lsn: u64, images: &[(u32, &[u8])], size: u32) -> Record {
    let mut draft = TransactionDraft::new(DatabaseId(1), PageSize::DEFAULT, UnixMicros(0));
    for (number, image) in images {
        assert!(draft.push_page(PageNo(*number), image).is_none());
    }
    seal(lsn, draft.finish(size, 0))
}

/// A record with one delta, byte by byte.
fn delta_record(lsn: u64, page: u32, base: &[u8], image: &[u8], size: u32) -> Record {
    let block = lz4_flex::block::compress_with_dict(image, base);
    let mut bytes = vec![0u8; 80];
    bytes[0..4].copy_from_slice(&(80 + 8 + block.len() as u32).to_le_bytes());
    (bytes[4], bytes[6]) = (2, 12);
    bytes[16..24].copy_from_slice(&lsn.to_le_bytes());
    bytes[48..52].copy_from_slice(&1u32.to_le_bytes());
    bytes[52..56].copy_from_slice(&size.to_le_bytes());
    bytes[56..60].copy_from_slice(&1u32.to_le_bytes());
    bytes.extend(page.to_le_bytes());
    bytes.push(PageEncoding::DeltaLz4 as u8);
    bytes.extend(&(block.len() as u32).to_le_bytes()[..3]);
    bytes.extend(block);
    let seed = u64::from_le_bytes(bytes[0..8].try_into().unwrap());
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[16..], seed);
    bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
    Record::take(&mut bytes.into()).unwrap()
}

/// A principal whose table has grown to many pages, its copy, and an applier that has followed.
fn grown() -> (Principal, Applier, Database) {
    let mut principal = Principal::new();
    let copy = principal.copy("mirror.db");
    let mut applier = Applier::open(&copy).unwrap();
    principal.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    principal.sql("INSERT INTO t(v) SELECT randomblob(3000) FROM pragma_function_list LIMIT 40");
    applier.apply(&principal.records).unwrap();
    let mirror = Database::open(&copy, DatabaseId(1), Options::default()).unwrap();
    (principal, applier, mirror)
}

/// The principal's page 1, saying that the database has `size` pages: SQLite believes it, not the file's length.
fn page_one(principal: &Principal, size: u32) -> Vec<u8> {
    let mut snapshot = principal.database.snapshot(UnixMicros(0)).unwrap();
    let mut page = snapshot.next_bytes(1).unwrap().unwrap().to_vec();
    page[28..32].copy_from_slice(&size.to_be_bytes());
    page
}

#[test]
fn pages_that_do_not_exist_yet_are_written() {
    let (principal, _applier, mirror) = grown();
    assert!(principal.pages().len() > 40);
    assert_same(&principal.pages(), &pages(&mirror));
}

#[test]
fn a_shrinking_database_shrinks_on_the_copy_also_when_it_grows_again_in_the_same_batch() {
    let (mut principal, mut applier, mirror) = grown();
    let seen = principal.records.len();
    principal.sql("DELETE FROM t WHERE id > 5; VACUUM");
    let small = principal.pages().len();
    applier.apply(&principal.records[seen..]).unwrap();
    assert!(small < 20);
    assert_same(&principal.pages(), &pages(&mirror));

    let seen = principal.records.len();
    principal.sql("INSERT INTO t(v) SELECT randomblob(3000) FROM pragma_function_list LIMIT 30");
    principal.sql("DELETE FROM t; VACUUM; INSERT INTO t(v) VALUES (randomblob(9000))");
    applier.apply(&principal.records[seen..]).unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
    mirror.checkpoint().unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
}

#[test]
fn the_copy_stays_in_wal_mode_whatever_page_one_says() {
    let (principal, mut applier, mirror) = grown();
    let mut snapshot = principal.database.snapshot(UnixMicros(0)).unwrap();
    let mut first = snapshot.next_bytes(1).unwrap().unwrap().to_vec();
    assert_eq!(first[18..20], [1, 1], "an export is a plain file");
    let size = snapshot.size_in_pages();
    first[100] = 13;
    applier.apply(&[record(9, &[(1, &first)], size)]).unwrap();
    mirror.checkpoint().unwrap();
    let mut reader = mirror.checkout().unwrap();
    assert_eq!(value(&mut reader, "PRAGMA journal_mode"), Value::Text("wal".to_owned()));
    let path = mirror.path().to_owned();
    drop((reader, mirror, applier));
    assert_eq!(std::fs::read(path).unwrap()[18..20], [2, 2]);
}

#[test]
fn the_lock_page_is_never_written() {
    let (principal, mut applier, mirror) = grown();
    let size = u32::try_from(principal.pages().len()).unwrap();
    let lock_page = PageSize::DEFAULT.lock_page().0;
    applier.apply(&[record(9, &[(lock_page, &[1; 4096])], size)]).unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
    let path = principal.copy("redo.db");
    let mut redo = RedoFile::open(&path, PageSize::DEFAULT).unwrap();
    redo.push(&record(1, &[(lock_page, &[1; 4096])], 1)).unwrap();
    assert_eq!(redo.finish().unwrap().applied.pages, 0);
    assert_eq!(std::fs::metadata(path).unwrap().len(), 4096);
}

/// A server was killed in the middle of a large transaction. The copy of its database that was saved as orphans later had the
/// pages of that transaction in it, although it never came to be.
#[test]
fn what_one_epoch_left_unfinished_is_not_finished_by_a_transaction_of_the_next() {
    let principal = Principal::new();
    let path = principal.copy("redo.db");
    let mut redo = RedoFile::open(&path, PageSize::DEFAULT).unwrap();
    let page = |byte: u8| [byte; 4096];
    redo.push(&record(1, &[(2, &page(1)), (3, &page(2))], 3)).unwrap();
    let mut draft = TransactionDraft::new(DatabaseId(1), PageSize::DEFAULT, UnixMicros(0));
    assert!(draft.push_page(PageNo(3), &page(9)).is_none());
    redo.push(&seal(2, draft.cut_early().unwrap())).unwrap();
    let mut draft = TransactionDraft::new(DatabaseId(1), PageSize::DEFAULT, UnixMicros(0));
    assert!(draft.push_page(PageNo(2), &page(3)).is_none());
    let epoch = Epoch { term: 1, start: 2, server: ServerId(1) };
    let stamp = Stamp { lsn: Lsn(3), commit_lsn: Lsn::ZERO, epoch };
    redo.push(&draft.finish(3, 0).seal(stamp)).unwrap();
    redo.finish().unwrap();
    assert_eq!(std::fs::read(path).unwrap()[4096..], [page(3), page(2)].concat());
}

#[test]
fn closing_the_last_connection_does_not_checkpoint() {
    let mut principal = Principal::new();
    let path = principal.database.path().to_owned();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(50000))");
    let Principal { directory, database, .. } = principal;
    let copy = directory.path().join("mirror.db");
    Database::create_file(&copy, PageSize::DEFAULT).unwrap();
    drop(Applier::open(&copy).unwrap());
    drop(database);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4096);
    assert!(std::fs::metadata(directory.path().join("principal.db-wal")).unwrap().len() > 50_000);
    Database::discard_wal(&path).unwrap();
    Database::discard_wal(&path).unwrap();
    let database = Database::open(&path, DatabaseId(1), Options::default()).unwrap();
    assert_eq!(database.info(true).unwrap().tables, []);
}

#[test]
fn frames_of_a_spilled_transaction_that_was_rolled_back_are_not_captured() {
    // The length of its file tells what was spilled.
    let mut principal = Principal::with(PageSize::DEFAULT, wal_in_file());
    let mut c = principal.database.checkout().unwrap();
    principal
        .run(&mut c, "CREATE TABLE t(v); INSERT INTO t VALUES (1); PRAGMA cache_size=2")
        .unwrap();
    let seen = principal.records.len();
    let wal = principal.directory.path().join("principal.db-wal");
    let before = std::fs::metadata(&wal).unwrap().len();
    principal
        .run(&mut c, "BEGIN; INSERT INTO t VALUES (randomblob(200000)); INSERT INTO t VALUES (2)")
        .unwrap();
    assert!(std::fs::metadata(&wal).unwrap().len() > before + 100_000, "the cache spilled");
    assert_eq!(principal.capture(&c), None);
    principal.run(&mut c, "ROLLBACK; INSERT INTO t VALUES (3)").unwrap();
    assert_eq!(principal.records.len(), seen + 1);
    assert_eq!(principal.records[seen].header().page_count, 1);
}

#[test]
fn spilled_pages_beyond_the_end_that_the_transaction_leaves_are_not_captured() {
    let mut principal = Principal::new();
    let copy = principal.copy("mirror.db");
    let mut c = principal.database.checkout().unwrap();
    let setup = "PRAGMA auto_vacuum=1; VACUUM; CREATE TABLE t(v); PRAGMA cache_size=2";
    principal.run(&mut c, setup).unwrap();
    principal
        .run(&mut c, "BEGIN; INSERT INTO t VALUES (randomblob(300000)); DELETE FROM t; COMMIT")
        .unwrap();
    let last = principal.records.last().unwrap();
    let size = last.header().size_in_pages;
    assert!(size < 10);
    assert!(last.pages().all(|page| page.number.0 <= size));
    Applier::open(&copy).unwrap().apply(&principal.records).unwrap();
    let mirror = Database::open(&copy, DatabaseId(1), Options::default()).unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
}

#[test]
fn a_restarted_wal_is_captured_from_its_beginning() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (1)");
    for truncate in [false, true] {
        assert!(principal.database.checkpoint().unwrap().complete);
        if truncate {
            assert!(principal.database.truncate_wal().unwrap());
        }
        let seen = principal.records.len();
        principal.sql("INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)");
        let counts: Vec<_> =
            principal.records[seen..].iter().map(|r| r.header().page_count).collect();
        assert_eq!(counts, [1, 1]);
    }
}

/// The frames at the place where the last capture ended are of the new WAL, too: only their salts tell.
#[test]
fn a_commit_longer_than_the_wal_was_before_its_restart_is_captured_from_its_beginning() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (1)");
    assert!(principal.database.checkpoint().unwrap().complete);
    principal.sql("INSERT INTO t VALUES (randomblob(40000))");
    let last = principal.records.last().unwrap();
    assert!(last.header().page_count > 10, "{}", last.header().page_count);
}

#[test]
fn a_mirror_that_becomes_the_principal_captures_only_its_own_commits() {
    let (_principal, applier, mirror) = grown();
    drop(applier);
    mirror.rebase_capture().unwrap();
    let mut c = mirror.checkout().unwrap();
    query(&mut c, "UPDATE t SET v = 1 WHERE id = 1");
    let mut drafts = Vec::new();
    mirror
        .capture(&c, UnixMicros(0), Lsn::ZERO, &mut |draft| {
            drafts.push(draft);
            Ok::<_, ()>(Lsn(1))
        })
        .unwrap()
        .unwrap();
    let taken = seal(1, drafts.pop().unwrap());
    // The row's leaf and the pages that its content leaves, not the whole history of the WAL.
    assert!(taken.header().page_count < 5, "{}", taken.header().page_count);
}

/// Who waits for it must know before it is read, which takes long.
#[test]
fn a_large_commit_is_known_for_one_before_it_is_captured() {
    let mut principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    principal.run(&mut c, "CREATE TABLE t(v)").unwrap();
    for (bytes, is_large) in [(100_000, false), (5_000_000, true), (100_000, false)] {
        query(&mut c, &format!("INSERT INTO t VALUES (zeroblob({bytes}))"));
        assert_eq!(principal.database.is_large(&c), is_large, "{bytes} bytes");
        principal.capture(&c);
        assert!(!principal.database.is_large(&c), "there is none any more");
    }
    principal.database.checkpoint().unwrap();
    query(&mut c, "INSERT INTO t VALUES (zeroblob(4900000))");
    assert!(principal.database.is_large(&c), "the WAL has begun anew");
}

#[test]
fn a_failed_capture_says_so_and_keeps_the_sinks_reason() {
    let principal = Principal::new();
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "CREATE TABLE t(v)");
    let outcome = principal.database.capture(&c, UnixMicros(0), Lsn::ZERO, &mut |_| Err("no room"));
    assert!(matches!(outcome, Err(counterpart_engine::CaptureError::Sink("no room"))));
}

#[test]
fn a_delta_builds_on_the_batch_first_and_on_the_copy_second() {
    let (principal, mut applier, mirror) = grown();
    let size = u32::try_from(principal.pages().len()).unwrap();
    let on_copy = pages(&mirror)[size as usize - 1].clone();
    let mut next = on_copy.clone();
    next[4000..].fill(7);
    // The page is on the copy.
    applier.apply(&[delta_record(10, size, &on_copy, &next, size)]).unwrap();
    assert_eq!(pages(&mirror)[size as usize - 1], next);
    // A page that this very batch appends, and its next version.
    let mut newer = next.clone();
    newer[..50].fill(9);
    let batch = [
        record(11, &[(1, &page_one(&principal, size + 1)), (size + 1, &next)], size + 1),
        delta_record(12, size + 1, &next, &newer, size + 1),
        delta_record(13, size, &next, &newer, size + 1),
    ];
    applier.apply(&batch).unwrap();
    let now = pages(&mirror);
    assert_eq!((&now[size as usize - 1], &now[size as usize]), (&newer, &newer));

    let path = principal.copy("redo.db");
    let mut redo = RedoFile::open(&path, PageSize::DEFAULT).unwrap().with_map_limit(1);
    redo.push(&record(1, &[(2, &next)], 2)).unwrap();
    redo.push(&delta_record(2, 2, &next, &newer, 2)).unwrap();
    redo.finish().unwrap();
    assert_eq!(file_pages(&path, PageSize::DEFAULT)[1], newer);
}

#[test]
fn a_record_that_does_not_fit_changes_nothing() {
    let (principal, mut applier, mirror) = grown();
    let before = pages(&mirror);
    let size = u32::try_from(before.len()).unwrap();
    let base = vec![3; 4096];
    let no_base = delta_record(9, size + 5, &base, &[4; 4096], size + 5);
    let good = record(8, &[(2, &[5; 4096])], size);
    assert!(matches!(
        applier.apply(&[good.clone(), no_base.clone()]),
        Err(ApplyError::Page { lsn: Lsn(9), .. })
    ));
    let nothing_left = record(9, &[(2, &[5; 4096])], 0);
    assert!(matches!(applier.apply(&[nothing_left]), Err(ApplyError::Misfit { .. })));
    let beyond = record(9, &[(size, &[5; 4096])], size - 1);
    assert!(matches!(applier.apply(&[beyond]), Err(ApplyError::Misfit { .. })));
    let mut other_size =
        TransactionDraft::new(DatabaseId(1), PageSize::from_bytes(512).unwrap(), UnixMicros(0));
    other_size.push_page(PageNo(1), &[0; 512]);
    let other_size = seal(9, other_size.finish(1, 0));
    assert!(matches!(applier.apply(&[other_size]), Err(ApplyError::Misfit { .. })));
    assert_same(&before, &pages(&mirror));
    assert_eq!(applier.applied().lsn.0, principal.records.len() as u64);
    // The applier goes on with what fits.
    applier.apply(&[good]).unwrap();
    assert_eq!(pages(&mirror)[1], [5; 4096]);
}

#[test]
fn a_database_that_ends_with_a_page_without_image_has_its_size() {
    let (principal, mut applier, mirror) = grown();
    let size = u32::try_from(principal.pages().len()).unwrap();
    applier.apply(&[record(9, &[(1, &page_one(&principal, size + 3))], size + 3)]).unwrap();
    let now = pages(&mirror);
    assert_eq!((now.len(), &now[size as usize + 2][..]), (size as usize + 3, &[0; 4096][..]));
}

#[test]
fn an_unfinished_transaction_in_chunks_is_neither_visible_nor_redone() {
    let mut principal = Principal::new();
    let (copy, redone) = (principal.copy("mirror.db"), principal.copy("redo.db"));
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES ('first')");
    let whole = principal.records.len();
    let expected = principal.pages();
    principal.sql("INSERT INTO t VALUES (randomblob(5000000))");
    let chunks = &principal.records[whole..];
    assert!(chunks.len() > 3);
    for limit in [1, 32 << 20] {
        let mut applier = Applier::open(&copy).unwrap().with_map_limit(limit);
        let mut redo = RedoFile::open(&redone, PageSize::DEFAULT).unwrap().with_map_limit(limit);
        for record in &principal.records[..whole + 2] {
            applier.push(record).unwrap();
            redo.push(record).unwrap();
        }
        assert_eq!(applier.commit().unwrap().lsn.0, whole as u64);
        assert_eq!(redo.finish().unwrap().applied.lsn.0, whole as u64);
        assert_same(&expected, &file_pages(&redone, PageSize::DEFAULT));
        assert!(!principal.directory.path().join("redo.db-redo").exists());
        let mirror = Database::open(&copy, DatabaseId(1), Options::default()).unwrap();
        assert_same(&expected, &pages(&mirror));
        applier.abort();
        assert_same(&expected, &pages(&mirror));
    }
}

#[test]
fn redo_mends_a_torn_file() {
    let mut principal = Principal::new();
    let redone = principal.copy("redo.db");
    principal.sql("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(20000))");
    let mut bytes = vec![0xee; 4096 * 9 + 17];
    bytes[..100].fill(0);
    std::fs::write(&redone, bytes).unwrap();
    let mut redo = RedoFile::open(&redone, PageSize::DEFAULT).unwrap();
    for record in &principal.records {
        redo.push(record).unwrap();
    }
    redo.finish().unwrap();
    assert_same(&principal.pages(), &file_pages(&redone, PageSize::DEFAULT));
    let database = Database::open(&redone, DatabaseId(2), Options::default()).unwrap();
    assert_eq!(database.info(true).unwrap().tables[0].rows, Some(1));
}

#[test]
fn a_schema_that_a_client_damages_is_mirrored_like_anything_else() {
    let (mut principal, mut applier, mirror) = grown();
    let seen = principal.records.len();
    let mut open = principal.database.checkout().unwrap();
    principal
        .run(
            &mut open,
            "PRAGMA writable_schema=ON; CREATE TABLE u(a); INSERT INTO sqlite_schema VALUES \
             ('table', 'x', 'x', 99999, 'CREATE TABLE x(this is not; SQL'); PRAGMA schema_version=77;",
        )
        .unwrap();
    applier.apply(&principal.records[seen..]).unwrap();
    let seen = principal.records.len();
    // This connection overlooks the damage, too.
    principal.run(&mut open, "UPDATE t SET v = 5; PRAGMA user_version=9").unwrap();
    applier.apply(&principal.records[seen..]).unwrap();
    let mut other = principal.database.checkout().unwrap();
    assert_eq!(code(&mut other, "SELECT * FROM t"), "SQLITE_CORRUPT");
    query(&mut other, "PRAGMA writable_schema=ON");
    query(&mut other, "SELECT * FROM t");
    assert!(principal.database.checkpoint().unwrap().complete);
    assert_same(&principal.pages(), &pages(&mirror));
    let path = mirror.path().to_owned();
    drop((mirror, applier));
    drop(Database::open(&path, DatabaseId(1), Options::default()).unwrap());
    drop(Applier::open(&path).unwrap());
}

#[test]
fn a_statement_that_commits_and_fails_is_captured() {
    let (mut principal, mut applier, mirror) = grown();
    let seen = principal.records.len();
    let mut c = principal.database.checkout().unwrap();
    principal.run(&mut c, "CREATE TABLE u(a UNIQUE)").unwrap();
    let error = principal.run(&mut c, "INSERT OR FAIL INTO u VALUES (1), (2), (1)").unwrap_err();
    assert_eq!(error.code, "SQLITE_CONSTRAINT_UNIQUE");
    assert_eq!(principal.records.len(), seen + 2);
    applier.apply(&principal.records[seen..]).unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
}

/// Reading a delta's base compiles anew when the schema's version changed. If page 1 were written first, the schema
/// would be loaded from a mixture of old and new pages.
#[test]
fn a_transaction_in_chunks_may_change_the_schema_and_bring_deltas() {
    let (mut principal, applier, mirror) = grown();
    let mut applier = applier.with_map_limit(1);
    let tables = (0..200).map(|n| format!("CREATE TABLE u{n}(a, b, c, d, e, f, g, h);"));
    let seen = principal.records.len();
    principal.sql(&format!("BEGIN; {} COMMIT", tables.collect::<String>()));
    let before = pages(&mirror);
    let after = principal.pages();
    let size = u32::try_from(after.len()).unwrap();
    let images: Vec<_> = principal.records[seen..]
        .iter()
        .flat_map(Record::pages)
        .map(|page| {
            let mut image = vec![0; 4096];
            page.decode(PageSize::DEFAULT, None, &mut image).unwrap();
            (page.number, image)
        })
        .collect();
    assert!(images.iter().any(|(number, _)| *number == PageNo(1)), "the schema changed");
    // The transaction's images, again and again until they fill a chunk; table pages make it full sooner.
    let mut draft = TransactionDraft::new(DatabaseId(1), PageSize::DEFAULT, UnixMicros(0));
    let mut chunk = None;
    while chunk.is_none() {
        for (number, image) in &images {
            chunk = chunk.or(draft.push_page(*number, image));
        }
        for (number, image) in (5..).zip(&before[4..30]) {
            chunk = chunk.or(draft.push_page(PageNo(number), image));
        }
    }
    applier.push(&seal(100, chunk.expect("it was filled"))).unwrap();
    let mut next = before[20].clone();
    next[..9].fill(1);
    applier.push(&delta_record(101, 21, &before[20], &next, size)).unwrap();
    let now = pages(&mirror);
    assert_eq!((now.len(), &now[20]), (after.len(), &next));
}

#[test]
fn readers_of_the_copy_keep_their_snapshots() {
    let (mut principal, mut applier, mirror) = grown();
    let mut reader = mirror.checkout().unwrap();
    query(&mut reader, "BEGIN");
    let before = integer(&mut reader, "SELECT count(*) FROM t");
    let seen = principal.records.len();
    principal
        .sql("DELETE FROM t WHERE id > 3; VACUUM; CREATE TABLE u(a); ALTER TABLE t ADD COLUMN w");
    applier.apply(&principal.records[seen..]).unwrap();
    assert_eq!(integer(&mut reader, "SELECT count(*) FROM t"), before);
    assert_eq!(code(&mut reader, "SELECT * FROM u"), "SQLITE_ERROR");
    query(&mut reader, "COMMIT");
    assert_eq!(integer(&mut reader, "SELECT count(*) FROM t"), 3);
    assert_eq!(query(&mut reader, "SELECT * FROM t").columns.len(), 3);
    query(&mut reader, "SELECT * FROM u");
}

#[test]
fn a_reader_beside_the_applier_sees_whole_transactions_only() {
    let mut principal = Principal::new();
    let copy = principal.copy("mirror.db");
    principal
        .sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 500), (2, 500)");
    let moves: String = (1..200)
        .map(|n| {
            format!(
                "BEGIN; UPDATE t SET v = v - {n} WHERE id = 1; INSERT INTO t VALUES ({n} + 10, 0); \
                 UPDATE t SET v = v + {n} WHERE id = 2; DELETE FROM t WHERE id = {n} + 9 AND id > 10; COMMIT;"
            )
        })
        .collect();
    principal.sql(&moves);
    let mut applier = Applier::open(&copy).unwrap();
    applier.apply(&principal.records[..2]).unwrap();
    let mirror = Database::open(&copy, DatabaseId(1), Options::default()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut reader = mirror.checkout().unwrap();
    let ended = Arc::clone(&done);
    let watcher = std::thread::spawn(move || {
        let mut looks = 0;
        while !ended.load(Ordering::Acquire) || looks == 0 {
            let row = query(&mut reader, "SELECT sum(v), count(*) <= 3 FROM t").rows.remove(0);
            assert_eq!(row, [Value::Integer(1000), Value::Integer(1)]);
            looks += 1;
        }
        looks
    });
    for (index, batch) in principal.records[2..].chunks(3).enumerate() {
        applier.apply(batch).unwrap();
        if index % 20 == 0 {
            mirror.checkpoint().unwrap();
        }
    }
    done.store(true, Ordering::Release);
    assert!(watcher.join().unwrap() > 0);
    assert_same(&principal.pages(), &pages(&mirror));
}

/// Takes a minute and 3 GiB of disk: a database that has grown over the lock page.
#[test]
#[ignore = "writes more than a gibibyte"]
fn a_database_beyond_the_lock_page_is_mirrored() {
    let size = PageSize::from_bytes(65_536).unwrap();
    let mut principal = Principal::with(size, Options::default());
    let (copy, redone) = (principal.copy("mirror.db"), principal.copy("redo.db"));
    principal.sql("CREATE TABLE t(v)");
    principal.sql(&"INSERT INTO t VALUES (zeroblob(100000000));".repeat(11));
    principal.sql("INSERT INTO t VALUES ('the end')");
    assert!(principal.records.last().unwrap().header().size_in_pages > size.lock_page().0);
    let mut redo = RedoFile::open(&redone, size).unwrap();
    for record in &principal.records {
        redo.push(record).unwrap();
    }
    redo.finish().unwrap();
    Applier::open(&copy).unwrap().apply(&principal.records).unwrap();
    for path in [copy, redone] {
        let mirror = Database::open(&path, DatabaseId(1), Options::default()).unwrap();
        let mut theirs = mirror.page_reader().unwrap();
        let mut ours = principal.database.page_reader().unwrap();
        let mut from = PageNo(1);
        loop {
            let (left, right) =
                (ours.read(from, 64 << 20).unwrap(), theirs.read(from, 64 << 20).unwrap());
            assert_eq!(left.size_in_pages, right.size_in_pages);
            let skip = if from == PageNo(1) { 65_536 } else { 0 };
            assert!(left.bytes[skip..] == right.bytes[skip..], "pages from {from} on");
            if left.bytes.is_empty() {
                break;
            }
            from = PageNo(from.0 + u32::try_from(left.bytes.len() / 65_536).unwrap());
        }
    }
}
