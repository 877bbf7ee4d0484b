//! Damaged pages: found when they are read, repaired from elsewhere, and never served.

mod common;

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use common::*;
use counterpart_core::{DatabaseId, Lsn, PageNo, PageSize, map::page_hash};
use counterpart_engine::{
    CheckpointError, DamagedPage, Database, DatabaseMap, OpenError, Options, RepairError,
    RepairOutcome, Repairer, Statement, Value,
};

/// A partner: all pages as they were.
#[derive(Debug, Default)]
struct Partner {
    pages: Vec<Vec<u8>>,
    silent: bool,
    told: Mutex<Vec<(DamagedPage, RepairOutcome)>>,
}

impl Repairer for Partner {
    fn fetch(&self, _database: DatabaseId, page: PageNo, _hash: u64) -> Option<Bytes> {
        let image = self.pages.get(page.0 as usize - 1)?;
        (!self.silent).then(|| Bytes::from(image.clone()))
    }

    fn damaged(&self, page: DamagedPage, outcome: &RepairOutcome) {
        self.told.lock().unwrap().push((page, outcome.clone()));
    }
}

impl Partner {
    fn outcomes(&self) -> Vec<(u32, RepairOutcome)> {
        self.told.lock().unwrap().iter().map(|(d, outcome)| (d.page.0, outcome.clone())).collect()
    }
}

/// The bytes of a served file. Opening it drops SQLite's locks in this process, which only tests may do: here nobody
/// else has the file.
fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at as u64).unwrap();
}

/// A database whose pages are all in its file, and what a partner has of it.
fn checkpointed(page_size: PageSize) -> (Principal, Arc<DatabaseMap>, Partner) {
    // What is in memory can't be damaged from here.
    let mut principal = Principal::with(page_size, wal_in_file());
    principal.sql(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE INDEX i ON t(v);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
         INSERT INTO t(v) SELECT hex(randomblob(40)) FROM n; INSERT INTO t(v) VALUES (hex(randomblob(99000)))",
    );
    assert!(principal.database.checkpoint().unwrap().complete);
    assert!(principal.database.truncate_wal().unwrap());
    principal.database.close_idle();
    let map = Arc::clone(principal.database.map().unwrap());
    let pages = bytes_of(principal.database.path());
    let pages = pages.chunks_exact(page_size.bytes()).map(<[u8]>::to_vec).collect();
    (principal, map, Partner { pages, ..Partner::default() })
}

/// Reads everything on a connection that has nothing in its cache.
fn read_all(principal: &Principal) -> Result<String, String> {
    let mut c = principal.database.checkout().map_err(|error| error.code)?;
    let sql = "SELECT count(*) || ' ' || sum(length(v)) || ' ' || max(id) FROM t NOT INDEXED";
    let mut statement = |sql: &str| c.execute(&Statement::new(sql), u64::MAX);
    statement("SELECT count(v) FROM t INDEXED BY i").map_err(|error| error.code)?;
    match &statement(sql).map_err(|error| error.code)?.rows[0][0] {
        Value::Text(text) => Ok(text.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_repaired_while_reading_or_refused() {
    for log2 in [9, 12, 16] {
        let page_size = PageSize::from_log2(log2).unwrap();
        let (principal, map, partner) = checkpointed(page_size);
        let path = principal.database.path().to_owned();
        let good = bytes_of(&path);
        let answer = read_all(&principal).unwrap();
        let partner = Arc::new(partner);
        // A place in each region of a page: header, middle, end; of page 1 also SQLite's own header.
        let size = page_size.bytes();
        let mut refused = 0;
        let inside = [0, 5, 17, 50, 101, size / 2, size - 1];
        for page in 0..good.len() / size {
            let at = page * size + inside[page % inside.len()];
            map.set_repairer(None);
            principal.database.close_idle();
            overwrite(&path, at, &[good[at] ^ 0x40]);
            // Some pages are not read by these queries; what is read is refused.
            match read_all(&principal) {
                Ok(read) => assert_eq!(read, answer, "byte {at}"),
                Err(code) => {
                    assert_eq!(code, "DATA_DAMAGED", "byte {at}");
                    refused += 1;
                }
            }
            let scrubbed = map.scrub(PageNo(1), usize::MAX).unwrap();
            assert_eq!(scrubbed.next, None);
            let bad: Vec<_> = scrubbed.bad.iter().map(|bad| bad.page.0 as usize).collect();
            assert_eq!(bad, [page + 1], "byte {at}");
            map.set_repairer(Some(partner.clone()));
            principal.database.close_idle();
            assert_eq!(read_all(&principal).unwrap(), answer, "byte {at}");
            for bad in map.scrub(PageNo(1), usize::MAX).unwrap().bad {
                assert_eq!(map.heal(bad), RepairOutcome::Repaired);
            }
            assert_eq!(bytes_of(&path), good, "byte {at}");
        }
        assert!(refused * 2 > good.len() / size, "{refused} of {} were read", good.len() / size);
        let told = partner.outcomes();
        assert!(told.len() >= good.len() / size);
        assert!(told.iter().all(|(_, outcome)| *outcome == RepairOutcome::Repaired));
    }
}

/// A glance runs where a partner's answer would arrive: waiting for it there would be for ever.
#[test]
fn a_glance_asks_no_partner_and_shows_nothing_damaged() {
    let (principal, map, partner) = checkpointed(PageSize::DEFAULT);
    let (path, partner) = (principal.database.path().to_owned(), Arc::new(partner));
    let good = bytes_of(&path);
    let of = |id: i64| {
        let mut statement = Statement::new("SELECT v FROM t WHERE id = ?");
        statement.args.positional.push(Value::Integer(id));
        statement
    };
    let mut c = principal.database.checkout().unwrap();
    let Value::Text(last) = c.execute(&of(200), u64::MAX).unwrap().rows[0][0].clone() else {
        panic!("it is a text");
    };
    drop(c);
    let mut ready = (0..1_000_000).filter_map(|_| {
        let mut c = principal.database.checkout().unwrap();
        c.execute(&of(1), u64::MAX).unwrap();
        principal.database.give_back(c);
        principal.database.checkout_ready(&of(1).sql)
    });
    let mut c = ready.next().expect("it is quick now and then");
    // In the table and in the index.
    let places = good.windows(last.len()).enumerate().filter(|(_, text)| *text == last.as_bytes());
    places.for_each(|(at, _)| overwrite(&path, at, &[good[at] ^ 0x40]));
    map.set_repairer(Some(partner.clone()));
    assert_eq!(c.glance(&of(200), u64::MAX), None);
    assert_eq!(partner.outcomes(), []);
    assert_eq!(c.execute(&of(200), u64::MAX).unwrap().rows[0][0], Value::Text(last));
    assert_eq!(partner.outcomes().len(), 1);
}

#[test]
fn page_one_may_be_damaged_in_its_first_byte_and_the_database_opens() {
    let (principal, map, partner) = checkpointed(PageSize::DEFAULT);
    let answer = read_all(&principal).unwrap();
    let Principal { directory, database, records, mark } = principal;
    let path = database.path().to_owned();
    drop(database);
    overwrite(&path, 0, &[0; 4096]);
    let open = || Database::open(&path, DatabaseId(1), Options::default());
    let refused = open().unwrap_err();
    assert!(refused.is_damage(), "{refused}");
    map.set_repairer(Some(Arc::new(partner)));
    let principal = Principal { directory, database: open().unwrap(), records, mark };
    assert_eq!(read_all(&principal).unwrap(), answer);
}

#[test]
fn a_file_that_was_cut_short_is_no_shorter_database() {
    let (principal, map, partner) = checkpointed(PageSize::DEFAULT);
    let (path, good) = (principal.database.path(), bytes_of(principal.database.path()));
    let answer = read_all(&principal).unwrap();
    principal.database.close_idle();
    OpenOptions::new().write(true).open(path).unwrap().set_len(3 * 4096 + 700).unwrap();
    assert_eq!(read_all(&principal).unwrap_err(), "DATA_DAMAGED");
    let partner = Arc::new(partner);
    map.set_repairer(Some(partner.clone()));
    principal.database.close_idle();
    assert_eq!(read_all(&principal).unwrap(), answer);
    for bad in map.scrub(PageNo(1), usize::MAX).unwrap().bad {
        map.heal(bad);
    }
    assert_eq!(bytes_of(path), good);
}

#[test]
fn a_partner_that_has_nothing_or_something_else_repairs_nothing() {
    let (principal, map, mut partner) = checkpointed(PageSize::DEFAULT);
    let path = principal.database.path().to_owned();
    overwrite(&path, 4096 + 40, b"damaged");
    let damaged = bytes_of(&path);
    partner.silent = true;
    let silent = Arc::new(partner);
    map.set_repairer(Some(silent.clone()));
    principal.database.close_idle();
    assert_eq!(read_all(&principal).unwrap_err(), "DATA_DAMAGED");
    assert_eq!(silent.outcomes()[0], (2, RepairOutcome::NoSource));
    let wrong = Partner { pages: vec![vec![7; 4096]; 99], ..Partner::default() };
    let wrong = Arc::new(wrong);
    map.set_repairer(Some(wrong.clone()));
    principal.database.close_idle();
    assert_eq!(read_all(&principal).unwrap_err(), "DATA_DAMAGED");
    assert!(matches!(&wrong.outcomes()[0], (2, RepairOutcome::Failed(_))), "{wrong:?}");
    let refused = map.repair(PageNo(2), &[0; 100]).unwrap_err();
    assert!(matches!(refused, RepairError::Wrong { page: PageNo(2), .. }));
    assert_eq!(bytes_of(&path), damaged, "nothing was written");
}

#[test]
fn a_page_is_given_only_in_the_version_that_was_asked_for() {
    let (principal, map, partner) = checkpointed(PageSize::DEFAULT);
    let hash = page_hash(PageNo(2), &partner.pages[1]);
    let found = map.page_with_hash(PageNo(2), hash).unwrap().unwrap();
    assert_eq!(found[..], partner.pages[1][..]);
    assert_eq!(map.page_with_hash(PageNo(2), hash ^ 1).unwrap(), None);
    assert_eq!(map.page_with_hash(PageNo(9_999), hash).unwrap(), None);
    let mut principal = principal;
    let before = principal.records.last().unwrap().lsn();
    principal.sql("UPDATE t SET v = 'x' WHERE id % 3 = 0");
    let page = map.live_snapshot().newer_than(before).next().expect("pages were changed");
    let older = page_hash(page, &partner.pages[page.0 as usize - 1]);
    let newer = map.live_snapshot().get(page).hash;
    assert_ne!(newer, older, "its new version is in the WAL, its old one in the file");
    let find = |hash| principal.database.find_page(page, hash).unwrap();
    assert_eq!(page_hash(page, &find(newer).unwrap()), newer);
    assert_eq!(find(older).unwrap()[..], partner.pages[page.0 as usize - 1][..]);
    assert_eq!((find(newer ^ older), find(0)), (None, None));
    overwrite(principal.database.path(), 4096, b"x");
    assert_eq!(map.page_with_hash(PageNo(2), hash).unwrap(), None, "a damaged page is not given");
}

#[test]
fn what_is_damaged_in_the_wal_is_told_by_the_checkpoint_and_repaired_by_its_hash() {
    let (mut principal, map, mut partner) = checkpointed(PageSize::DEFAULT);
    principal.sql("CREATE TABLE u(v); INSERT INTO u VALUES (hex(randomblob(1500)))");
    partner.pages = {
        let mut reader = principal.database.page_reader().unwrap();
        let all = reader.read(PageNo(1), usize::MAX).unwrap();
        all.bytes.chunks_exact(4096).map(<[u8]>::to_vec).collect()
    };
    let wal = PathBuf::from(format!("{}-wal", principal.database.path().display()));
    let length = bytes_of(&wal).len();
    overwrite(&wal, length - 900, b"damaged");
    let error = principal.database.checkpoint().unwrap_err();
    let CheckpointError::Differs(differs) = &error else { panic!("{error}") };
    assert_eq!(differs.pages.len(), 1, "{error}");
    let page = differs.pages[0];
    let scrubbed = map.scrub(page, 1).unwrap();
    assert_eq!(scrubbed.bad.len(), 1, "the file holds the wrong version, and is known to");
    map.set_repairer(Some(Arc::new(partner)));
    assert_eq!(map.heal(scrubbed.bad[0]), RepairOutcome::Repaired);
    assert_map_is_true(&principal.database);
    assert!(principal.database.checkpoint().unwrap().complete);
}

/// No server opens a database twice. Who does asks how long the WAL is while its header is being written, and is told
/// that it is locked: the server's own connection waits for nobody.
fn opened_beside_writers(path: &Path) -> Database {
    loop {
        match Database::open(path, DatabaseId(1), Options::default()) {
            Err(OpenError::Sqlite { cause, .. }) if cause.code == "SQLITE_BUSY" => continue,
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn readers_beside_a_writer_and_checkpoints_never_meet_damage() {
    let mut principal = Principal::new();
    let map = Arc::clone(principal.database.map().unwrap());
    let partner = Arc::new(Partner::default());
    map.set_repairer(Some(partner.clone()));
    principal.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    for _ in 0..40 {
        principal.sql("INSERT INTO t(v) VALUES (randomblob(3000))");
    }
    let done = AtomicBool::new(false);
    let readers = Options::default().idle_connections;
    std::thread::scope(|scope| {
        let (done, path) = (&done, principal.database.path().to_owned());
        for _ in 0..readers.min(2) {
            let path = path.clone();
            scope.spawn(move || {
                while !done.load(Relaxed) {
                    // Each opens anew: the first read of page 1 is made without any lock.
                    let other = opened_beside_writers(&path);
                    let mut c = other.checkout().unwrap();
                    query(&mut c, "PRAGMA cache_size=5");
                    for _ in 0..20 {
                        assert!(integer(&mut c, "SELECT sum(length(v) > 0) FROM t") > 0);
                    }
                }
            });
        }
        let mut c = principal.database.checkout().unwrap();
        for n in 0..400 {
            let id = n % 40 + 1;
            let update = format!("UPDATE t SET v = randomblob(2900) WHERE id = {id}");
            principal.run(&mut c, &update).unwrap();
            if n % 50 == 7 {
                principal.run(&mut c, "CREATE TABLE x(v)").unwrap();
                principal.run(&mut c, "DROP TABLE x").unwrap();
            }
            if n % 3 == 0 {
                principal.database.checkpoint().unwrap();
            }
        }
        done.store(true, Relaxed);
    });
    assert_eq!(partner.outcomes(), []);
    assert_map_is_true(&principal.database);
}

#[test]
fn a_run_of_pages_is_the_same_from_the_file_and_through_sqlite_and_damage_is_met_in_both() {
    let (mut principal, _map, _) = checkpointed(PageSize::DEFAULT);
    let runs = |principal: &Principal| -> Result<Vec<Vec<u8>>, String> {
        let (mut reader, mut all) = (principal.database.page_reader().unwrap(), Vec::new());
        loop {
            let from = PageNo(all.len() as u32 + 1);
            let run = reader.read(from, 7 * 4096).map_err(|error| error.code)?;
            if run.bytes.is_empty() {
                return Ok(all);
            }
            all.extend(run.iter(PageSize::DEFAULT).map(|(_, image)| image.to_vec()));
        }
    };
    let same = |principal: &Principal, state: &str| {
        let mut found = runs(principal).unwrap();
        for at in (18..20).chain(24..28).chain(92..100) {
            found[0][at] = 0;
        }
        assert!(found == principal.pages(), "{state}");
    };
    same(&principal, "all in the file");
    principal.sql("INSERT INTO t VALUES (99999, randomblob(3000))");
    same(&principal, "some in the WAL");
    principal.sql("DELETE FROM t; INSERT INTO t VALUES (1, randomblob(50000)); VACUUM");
    same(&principal, "a smaller one, all in the WAL");
    assert!(principal.database.checkpoint().unwrap().complete);
    same(&principal, "a smaller one");
    overwrite(principal.database.path(), 5 * 4096, b"what nobody wrote");
    assert_eq!(runs(&principal).unwrap_err(), "DATA_DAMAGED");
}

#[test]
fn an_unmapped_database_is_served_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = new_file(directory.path(), "plain.db", PageSize::DEFAULT);
    let database = Database::open(&path, DatabaseId(1), Options::default()).unwrap();
    assert!(database.map().is_none());
    let mut principal = Principal { directory, database, records: Vec::new(), mark: Lsn::ZERO };
    principal.sql("CREATE TABLE t(v)");
    assert_eq!(principal.records[0].header().database_checksum, 0, "nobody computed it");
    assert_eq!(principal.records[0].lsn(), Lsn(1));
}
