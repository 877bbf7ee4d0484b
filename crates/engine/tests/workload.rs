//! Random work on a principal, mirrored in both ways: whatever SQLite does, the copies are equal.

mod common;

use std::sync::Arc;

use common::*;
use counterpart_core::{DatabaseId, PageSize, record::Record};
use counterpart_engine::{
    Applier, Connection, Database, DatabaseMap, Options, RecentImages, RedoFile,
};
use proptest::prelude::*;

/// One step of the workload. Numbers choose tables, rows and sizes.
#[derive(Clone, Debug)]
enum Op {
    Create(u8),
    Drop(u8),
    Insert { table: u8, rows: u16, size: u16 },
    Update { table: u8, modulus: u8, size: u16 },
    Delete { table: u8, modulus: u8 },
    EmptyUpdate(u8),
    Index(u8),
    Text(u8),
    Vacuum,
    AutoVacuum(u8),
    IncrementalVacuum(u16),
    Begin,
    Commit,
    Rollback,
    Savepoint,
    RollbackTo,
    Release,
    TinyCache,
    Checkpoint,
    TruncateWal,
    Apply,
    Mark,
}

fn op() -> impl Strategy<Value = Op> {
    let table = 0u8..3;
    prop_oneof![
        3 => table.clone().prop_map(Op::Create),
        1 => table.clone().prop_map(Op::Drop),
        8 => (table.clone(), 1u16..300, 0u16..3000)
            .prop_map(|(table, rows, size)| Op::Insert { table, rows, size }),
        4 => (table.clone(), 1u8..7, 0u16..2000)
            .prop_map(|(table, modulus, size)| Op::Update { table, modulus, size }),
        3 => (table.clone(), 1u8..4).prop_map(|(table, modulus)| Op::Delete { table, modulus }),
        1 => table.clone().prop_map(Op::EmptyUpdate),
        1 => table.clone().prop_map(Op::Index),
        1 => table.prop_map(Op::Text),
        2 => Just(Op::Vacuum),
        2 => (0u8..3).prop_map(Op::AutoVacuum),
        2 => (0u16..50).prop_map(Op::IncrementalVacuum),
        4 => Just(Op::Begin),
        4 => Just(Op::Commit),
        2 => Just(Op::Rollback),
        2 => Just(Op::Savepoint),
        2 => Just(Op::RollbackTo),
        2 => Just(Op::Release),
        2 => Just(Op::TinyCache),
        4 => Just(Op::Checkpoint),
        1 => Just(Op::TruncateWal),
        3 => Just(Op::Apply),
        2 => Just(Op::Mark),
    ]
}

fn sql(op: &Op) -> Option<String> {
    let numbers = |rows: u16| {
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})")
    };
    Some(match op {
        Op::Create(t) => format!("CREATE TABLE IF NOT EXISTS t{t}(id INTEGER PRIMARY KEY, a, b)"),
        Op::Drop(t) => format!("DROP TABLE IF EXISTS t{t}"),
        Op::Insert { table, rows, size } => format!(
            "{} INSERT INTO t{table}(a, b) SELECT i, randomblob({size}) FROM n",
            numbers(*rows)
        ),
        Op::Update { table, modulus, size } => {
            format!("UPDATE t{table} SET b = randomblob({size}) WHERE id % {modulus} = 0")
        }
        Op::Delete { table, modulus } => format!("DELETE FROM t{table} WHERE id % {modulus} = 0"),
        Op::EmptyUpdate(t) => format!("UPDATE t{t} SET a = a WHERE id = 1"),
        Op::Index(t) => format!("CREATE INDEX IF NOT EXISTS i{t} ON t{t}(a)"),
        Op::Text(t) => format!("CREATE VIRTUAL TABLE IF NOT EXISTS f{t} USING fts5(a)"),
        Op::Vacuum => "VACUUM".to_owned(),
        Op::AutoVacuum(mode) => format!("PRAGMA auto_vacuum={mode}"),
        Op::IncrementalVacuum(pages) => format!("PRAGMA incremental_vacuum({pages})"),
        Op::Begin => "BEGIN".to_owned(),
        Op::Commit => "COMMIT".to_owned(),
        Op::Rollback => "ROLLBACK".to_owned(),
        Op::Savepoint => "SAVEPOINT s".to_owned(),
        Op::RollbackTo => "ROLLBACK TO s".to_owned(),
        Op::Release => "RELEASE s".to_owned(),
        Op::TinyCache => "PRAGMA cache_size=5".to_owned(),
        Op::Checkpoint | Op::TruncateWal | Op::Apply | Op::Mark => return None,
    })
}

/// Everything that follows the principal.
struct Mirrors {
    applier: Applier,
    redo: RedoFile,
    applied: usize,
    applied_map: Arc<DatabaseMap>,
    redone_map: Arc<DatabaseMap>,
    /// The database as it was at the newest mark.
    marked: Vec<Vec<u8>>,
}

impl Mirrors {
    /// Redoes from the newest mark into a file in which every page that changed since is torn.
    fn redo_from_mark(&self, principal: &Principal) {
        let page_size = principal.database.page_size();
        let since = &principal.records[usize::try_from(principal.mark.0).unwrap()..];
        let mut pages = self.marked.clone();
        for page in since.iter().flat_map(Record::pages) {
            if let Some(page) = pages.get_mut(page.number.0 as usize - 1) {
                page.fill(0xee);
            }
        }
        let path = principal.directory.path().join("torn.db");
        std::fs::write(&path, pages.concat()).unwrap();
        let mut redo = RedoFile::open(&path, page_size).unwrap();
        since.iter().for_each(|record| redo.push(record).unwrap());
        redo.finish().unwrap();
        assert_same(&principal.pages(), &file_pages(&path, page_size));
    }

    fn follow(&mut self, principal: &Principal) {
        for record in &principal.records[self.applied..] {
            self.applier.push(record).unwrap();
            self.redo.push(record).unwrap();
        }
        self.applied = principal.records.len();
        self.applier.commit().unwrap();
        if let Some(last) = principal.records.last() {
            let checksum = last.header().database_checksum;
            assert_ne!(checksum, 0, "it was computed");
            assert_eq!(self.applied_map.checksum_at(), (checksum, last.header().size_in_pages));
        }
    }
}

fn run_op(op: &Op, principal: &mut Principal, c: &mut Connection, mirrors: &mut Mirrors) {
    match op {
        Op::Checkpoint => {
            principal.database.checkpoint().unwrap();
        }
        Op::TruncateWal if !c.in_transaction() => {
            principal.database.checkpoint().unwrap();
            principal.database.truncate_wal().unwrap();
        }
        Op::TruncateWal => {}
        Op::Apply => mirrors.follow(principal),
        Op::Mark => {
            mirrors.redo_from_mark(principal);
            principal.write_mark();
            mirrors.marked = principal.pages();
        }
        _ => {
            // Many steps fail where they stand (no such table, no transaction): so do users' statements.
            let script = sql(op).expect("the others are SQL");
            let _failed_as_it_should = principal.run(c, &script).is_err();
        }
    }
    assert_map_is_true(&principal.database);
}

fn check(ops: &[Op], page_size: PageSize, map_limit: usize) {
    check_with(ops, page_size, map_limit, 64 << 20);
}

fn check_with(ops: &[Op], page_size: PageSize, map_limit: usize, recent_bytes: usize) {
    let recent = Arc::new(RecentImages::new(recent_bytes));
    let mut principal = Principal::with(page_size, Options { recent, ..Options::default() });
    let (applied, redone) = (principal.copy("applied.db"), principal.copy("redone.db"));
    let (applied_map, redone_map) = (mapped(&applied), mapped(&redone));
    let mut mirrors = Mirrors {
        // As large as the principal's, but never the same one.
        applier: Applier::open(&applied)
            .unwrap()
            .with_map_limit(map_limit)
            .with_recent(&Arc::new(RecentImages::new(recent_bytes))),
        redo: RedoFile::open(&redone, page_size).unwrap().with_map_limit(map_limit),
        applied: 0,
        applied_map,
        redone_map,
        marked: principal.pages(),
    };
    let mut c = principal.database.checkout().unwrap();
    for table in 0..3 {
        run_op(&Op::Create(table), &mut principal, &mut c, &mut mirrors);
    }
    for op in ops {
        run_op(op, &mut principal, &mut c, &mut mirrors);
    }
    c.rollback().unwrap();
    mirrors.follow(&principal);
    mirrors.redo_from_mark(&principal);
    let Mirrors { redo, applier, redone_map, applied_map, .. } = mirrors;
    let redone = (redone, redo.finish().unwrap().recorded.expect("there were records"));
    let last = principal.records.last().expect("tables were made");
    assert_eq!(redone.1, (last.lsn(), redone_map.checksum_at().0));
    assert!(redone_map.file_snapshot().iter().all(|(_, entry)| entry.changed <= last.lsn()));
    let redone = redone.0;
    assert_same(&principal.pages(), &file_pages(&redone, page_size));
    let mirror = Database::open(&applied, DatabaseId(1), Options::default()).unwrap();
    assert_same(&principal.pages(), &pages(&mirror));
    drop(applier);
    assert_map_is_true(&mirror);
    assert!(mirror.checkpoint().unwrap().complete);
    assert_map_is_true(&mirror);
    assert_eq!(applied_map.live_snapshot(), applied_map.file_snapshot());
    applied_map.save(last.lsn()).unwrap();
    let mut reader = mirror.checkout().unwrap();
    assert_eq!(
        value(&mut reader, "PRAGMA integrity_check"),
        counterpart_engine::Value::Text("ok".to_owned())
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_work_is_mirrored_page_by_page(
        ops in proptest::collection::vec(op(), 1..60),
        log2 in 9u8..=13,
        small_map in any::<bool>(),
        recent in prop_oneof![Just(0usize), 1000usize..200_000, Just(64 << 20)],
    ) {
        let limit = if small_map { 20_000 } else { 32 << 20 };
        check_with(&ops, PageSize::from_log2(log2).unwrap(), limit, recent);
    }
}

/// Found by the test above: the principal's commit vacuumed nothing, because the mode had just become
/// incremental; the copy, whose mode was still full, moved pages by itself.
#[test]
fn a_copy_does_not_vacuum_by_itself_when_the_mode_changes() {
    let insert = Op::Insert { table: 0, rows: 40, size: 1012 };
    let ops = [
        Op::AutoVacuum(1),
        Op::Vacuum,
        insert,
        Op::Begin,
        Op::Delete { table: 0, modulus: 1 },
        Op::AutoVacuum(2),
        Op::Commit,
    ];
    check(&ops, PageSize::DEFAULT, 1 << 20);
    check(&ops, PageSize::DEFAULT, 1);
}

#[test]
fn a_transaction_that_spills_and_comes_in_chunks_is_mirrored() {
    let big = Op::Insert { table: 0, rows: 299, size: 2999 };
    let mut ops = vec![Op::Create(0), Op::TinyCache, Op::Begin];
    ops.extend(std::iter::repeat_n(big.clone(), 12));
    ops.extend([Op::Update { table: 0, modulus: 2, size: 1999 }, Op::Commit, Op::Apply]);
    ops.extend([
        Op::Checkpoint,
        Op::Begin,
        big.clone(),
        big,
        Op::Rollback,
        Op::Delete { table: 0, modulus: 1 },
    ]);
    ops.extend([Op::Vacuum]);
    for limit in [1, 1 << 20, 32 << 20] {
        check(&ops, PageSize::DEFAULT, limit);
    }
}
