//! What the engine's tests share: a database in a temporary directory, its mirror's copy, and comparisons.
#![allow(dead_code)] // Each test file uses its part.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageNo, PageSize, ServerId, UnixMicros,
    map::page_hash,
    record::{Draft, Record, Stamp},
};
use counterpart_engine::{
    Connection, Database, DatabaseMap, Options, Script, SqlError, Statement, StatementResult,
    Value, WalMemory,
};

/// A principal's database and the records of all its commits.
pub struct Principal {
    pub directory: tempfile::TempDir,
    pub database: Database,
    pub records: Vec<Record>,
    /// The newest mark.
    pub mark: Lsn,
}

pub fn new_file(directory: &Path, name: &str, page_size: PageSize) -> PathBuf {
    let path = directory.join(name);
    Database::create_file(&path, page_size).unwrap();
    path
}

/// The page map of an existing file, complete.
pub fn mapped(path: &Path) -> Arc<DatabaseMap> {
    let (id, map_path) = (DatabaseId(1), path.with_extension("map"));
    let page_size = DatabaseMap::page_size_of(path, &map_path, id).unwrap().unwrap();
    let (map, _) = DatabaseMap::open(path, &map_path, id, page_size).unwrap();
    map.rebuild(Lsn::ZERO, &mut |_, _| {}).unwrap();
    map
}

/// Proves that a map says what the database's pages are, as readers see it, and what its file holds.
pub fn assert_map_is_true(database: &Database) {
    let map = database.map().expect("it has a map");
    let live = map.live_snapshot();
    let mut snapshot = database.snapshot(UnixMicros(1)).unwrap();
    let (size, page_size) = (snapshot.size_in_pages(), snapshot.page_size());
    let mut bytes = Vec::new();
    while let Some(run) = snapshot.next_bytes(1 << 20).unwrap() {
        bytes.extend_from_slice(&run);
    }
    assert_eq!(live.size(), size);
    for (page, image) in (1..).map(PageNo).zip(bytes.chunks_exact(page_size.bytes())) {
        assert_eq!(live.get(page).hash, page_hash(page, image), "page {page} of {size}");
    }
    assert_eq!(map.checksum_at(), (live.checksum(), size));
    let mut next = Some(PageNo(1));
    while let Some(from) = next {
        let step = map.scrub(from, 1 << 20).unwrap();
        assert_eq!(step.bad, [], "the file's map");
        next = step.next;
    }
}

/// What a database does with its WAL if there is no memory for it.
pub fn wal_in_file() -> Options {
    Options { wal_memory: Arc::new(WalMemory::new(0)), ..Options::default() }
}

impl Principal {
    pub fn new() -> Principal {
        Principal::with(PageSize::DEFAULT, Options::default())
    }

    pub fn with(page_size: PageSize, options: Options) -> Principal {
        let directory = tempfile::tempdir().unwrap();
        let path = new_file(directory.path(), "principal.db", page_size);
        let _map = mapped(&path);
        let database = Database::open(&path, DatabaseId(1), options).unwrap();
        Principal { directory, database, records: Vec::new(), mark: Lsn::ZERO }
    }

    /// A copy as it was when the database was created: a new file of the same page size.
    pub fn copy(&self, name: &str) -> PathBuf {
        new_file(self.directory.path(), name, self.database.page_size())
    }

    /// Runs a script statement by statement and captures after each, as the node does.
    pub fn run(&mut self, connection: &mut Connection, script: &str) -> Result<(), SqlError> {
        let (script, mut at) = (Script::new(script)?, 0);
        while let Some((statement, next)) = connection.next_statement(&script, at)? {
            let outcome = connection.execute(&Statement::new(statement), u64::MAX);
            self.capture(connection);
            outcome?;
            at = next;
        }
        Ok(())
    }

    /// Runs a script on a connection of its own, which must succeed.
    pub fn sql(&mut self, script: &str) {
        let mut connection = self.database.checkout().unwrap();
        self.run(&mut connection, script).unwrap();
        self.database.give_back(connection);
    }

    pub fn capture(&mut self, connection: &Connection) -> Option<u32> {
        let Principal { database, records, mark, .. } = self;
        let captured = database
            .capture(connection, UnixMicros(7), *mark, &mut |draft| {
                Ok::<_, std::convert::Infallible>(seal(records, draft))
            })
            .unwrap();
        captured.map(|captured| captured.size_in_pages)
    }

    /// What is captured from here on comes after a mark. (These records have none: they are all about pages.)
    pub fn write_mark(&mut self) {
        self.mark = Lsn(self.records.len() as u64);
    }

    pub fn pages(&self) -> Vec<Vec<u8>> {
        pages(&self.database)
    }
}

/// Makes a draft the next record.
fn seal(records: &mut Vec<Record>, draft: Draft) -> Lsn {
    let lsn = Lsn(records.len() as u64 + 1);
    let epoch = Epoch { term: 1, start: 1, server: ServerId(1) };
    records.push(draft.seal(Stamp { lsn, commit_lsn: Lsn(lsn.0 - 1), epoch }));
    lsn
}

/// All pages of a database as readers see it, page 1's counters as zeros.
pub fn pages(database: &Database) -> Vec<Vec<u8>> {
    let mut snapshot = database.snapshot(UnixMicros(1)).unwrap();
    let size = snapshot.page_size().bytes();
    let mut all = Vec::new();
    while let Some(bytes) = snapshot.next_bytes(1 << 20).unwrap() {
        all.extend(bytes.chunks_exact(size).map(<[u8]>::to_vec));
    }
    for at in (18..20).chain(24..28).chain(92..100) {
        all[0][at] = 0;
    }
    all
}

/// All pages of a file that no SQLite has open, page 1's counters as zeros.
pub fn file_pages(path: &Path, page_size: PageSize) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(bytes.len() % page_size.bytes(), 0);
    let mut all: Vec<_> = bytes.chunks_exact(page_size.bytes()).map(<[u8]>::to_vec).collect();
    for at in (18..20).chain(24..28).chain(92..100) {
        all[0][at] = 0;
    }
    all
}

pub fn assert_same(left: &[Vec<u8>], right: &[Vec<u8>]) {
    let different: Vec<_> =
        (1..).zip(left.iter().zip(right)).filter(|(_, (a, b))| a != b).map(|(n, _)| n).collect();
    assert_eq!((left.len(), Vec::<usize>::new()), (right.len(), different), "sizes, pages");
}

pub fn query(connection: &mut Connection, sql: &str) -> StatementResult {
    connection.execute(&Statement::new(sql), u64::MAX).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// The single value that a query gives.
pub fn value(connection: &mut Connection, sql: &str) -> Value {
    query(connection, sql).rows[0][0].clone()
}

pub fn integer(connection: &mut Connection, sql: &str) -> i64 {
    match value(connection, sql) {
        Value::Integer(number) => number,
        other => panic!("{sql}: {other:?}"),
    }
}

/// The code that a statement fails with.
pub fn code(connection: &mut Connection, sql: &str) -> String {
    error(connection, sql).code
}

pub fn error(connection: &mut Connection, sql: &str) -> SqlError {
    match connection.execute(&Statement::new(sql), u64::MAX) {
        Ok(result) => panic!("{sql} succeeded: {result:?}"),
        Err(error) => error,
    }
}
