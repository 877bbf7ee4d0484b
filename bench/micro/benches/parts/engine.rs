//! One commit in SQLite with its capture, and applying it on the other side.

use std::{convert::Infallible, path::Path, time::Duration};

use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageSize, ServerId, UnixMicros,
    record::{Record, Stamp},
};
use counterpart_engine::{Applier, Connection, Database, DatabaseMap, Options, Statement, Value};
use criterion::{Criterion, Throughput};

use crate::clock;

const ROWS: i64 = 100_000;
/// Commits between two checkpoints.
const CHECKPOINT: u64 = 5_000;
/// Commits that are captured to be applied.
const COMMITS: u64 = 50_000;

fn create(path: &Path) -> Database {
    let (id, size) = (DatabaseId(1), PageSize::DEFAULT);
    Database::create_file(path, size).unwrap();
    let (map, _) = DatabaseMap::open(path, &path.with_extension("map"), id, size).unwrap();
    map.rebuild(Lsn(0), &mut |_, _| {}).unwrap();
    Database::open(path, id, Options::default()).unwrap()
}

/// A database with the figures' table, and its records.
struct Principal {
    database: Database,
    connection: Connection,
    lsn: u64,
    mark: Lsn,
    records: Vec<Record>,
}

impl Principal {
    fn new(path: &Path) -> Principal {
        let database = create(path);
        let connection = database.checkout().unwrap();
        let mut principal =
            Principal { database, connection, lsn: 0, mark: Lsn::ZERO, records: Vec::new() };
        principal.run("create table acc(id integer primary key, bal int, filler text)", vec![]);
        principal.capture();
        let fill = "with recursive n(i) as (select 1 union all select i+1 from n where i<100000)
                    insert into acc select i, 0, hex(randomblob(42)) from n";
        principal.run(fill, vec![]);
        principal.capture();
        principal
    }

    fn run(&mut self, sql: &str, args: Vec<Value>) {
        self.connection.execute(&Statement::with(sql, args), 1 << 20).unwrap();
    }

    fn update(&mut self) {
        let id = (self.lsn.cast_signed() * 48_271) % ROWS + 1;
        self.run(
            "update acc set bal=bal+? where id=?",
            vec![Value::Integer(1), Value::Integer(id)],
        );
    }

    fn capture(&mut self) {
        let (lsn, records) = (&mut self.lsn, &mut self.records);
        self.database
            .capture(&self.connection, UnixMicros(1), self.mark, &mut |draft| {
                *lsn += 1;
                let epoch = Epoch { term: 1, start: 1, server: ServerId(1) };
                records.push(draft.seal(Stamp {
                    lsn: Lsn(*lsn),
                    commit_lsn: Lsn(*lsn - 1),
                    epoch,
                }));
                Ok::<_, Infallible>(Lsn(*lsn))
            })
            .unwrap();
    }

    /// A checkpoint, if one is due.
    fn checkpoint(&mut self) {
        if self.lsn.is_multiple_of(CHECKPOINT) {
            self.mark = Lsn(self.lsn);
            self.database.checkpoint().unwrap();
        }
    }
}

/// A mirror's database that gets what a principal captured, over and over.
struct Mirror<'a> {
    directory: &'a Path,
    database: Option<Database>,
    applier: Option<Applier>,
    next: usize,
    /// Ways from the beginning to the end of the records.
    passes: u32,
}

impl Mirror<'_> {
    /// Begins anew after the records that filled the table.
    fn begin(&mut self, loaded: &[Record]) {
        self.passes += 1;
        let path = self.directory.join(format!("mirror{}.db", self.passes));
        self.database = Some(create(&path));
        let mut applier = Applier::open(&path).unwrap();
        applier.apply(loaded).unwrap();
        self.applier = Some(applier);
        self.next = loaded.len();
    }

    fn apply(&mut self, records: &[Record], loaded: usize, batch: usize) -> Duration {
        if self.applier.is_none() || self.next + batch > records.len() {
            self.begin(&records[..loaded]);
        }
        let (applier, from) = (self.applier.as_mut().unwrap(), self.next);
        self.next += batch;
        let spent = clock::time(|| {
            applier.apply(&records[from..from + batch]).unwrap();
        });
        if self.next as u64 / CHECKPOINT != from as u64 / CHECKPOINT {
            self.database.as_ref().unwrap().checkpoint().unwrap();
        }
        spent
    }
}

/// Measures them.
pub fn all(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut principal = Principal::new(&directory.join("principal.db"));
    let loaded = principal.records.len();
    for _ in 0..COMMITS {
        principal.update();
        principal.capture();
        principal.checkpoint();
    }
    let records = std::mem::take(&mut principal.records);

    let mut group = criterion.benchmark_group("commit of one row");
    group.bench_function("update and capture", |b| {
        b.iter(|| {
            principal.update();
            principal.capture();
            principal.checkpoint();
            principal.records.clear();
        });
    });
    group.bench_function("capture alone", |b| {
        b.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    principal.update();
                    let spent = clock::time(|| principal.capture());
                    principal.checkpoint();
                    principal.records.clear();
                    spent
                })
                .sum()
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("apply, transactions at a time");
    for batch in [1u32, 16, 256, 4096] {
        let mut mirror =
            Mirror { directory, database: None, applier: None, next: 0, passes: batch * 1000 };
        group.throughput(Throughput::Elements(batch.into()));
        group.bench_function(batch.to_string(), |b| {
            b.iter_custom(|times| {
                (0..times).map(|_| mirror.apply(&records, loaded, batch as usize)).sum()
            });
        });
    }
    group.finish();
}
