//! Every mode of SQLite that clients can reach, mirrored in both ways: also statements that fail, commit half of what
//! they did, are stopped, or are taken back.

mod common;

use std::time::Duration;

use common::*;
use counterpart_core::{DatabaseId, PageSize};
use counterpart_engine::{
    Applier, Connection, Database, Options, RedoFile, Script, Statement, Value,
};

/// Scripts, one after the other on one database. What fails in them is meant to.
const SCRIPTS: &[&str] = &[
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b)",
    "CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID",
    "CREATE TABLE g(a INT, b INT AS (a * 2) STORED, c AS (a + 1)); CREATE INDEX gi ON g(c)",
    "CREATE TABLE s(x ANY) STRICT; CREATE TABLE q(id INTEGER PRIMARY KEY AUTOINCREMENT, a)",
    "CREATE TRIGGER ai AFTER INSERT ON q BEGIN \
       INSERT INTO w VALUES (new.id, new.a); SELECT RAISE(FAIL, 'no') WHERE new.a = 3; END",
    "CREATE VIRTUAL TABLE f USING fts5(a, content='')",
    "CREATE VIRTUAL TABLE f4 USING fts4(a)",
    "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)",
    "INSERT INTO t(a, b) VALUES (1, 'x'), (2, randomblob(5000)) RETURNING id",
    "INSERT OR FAIL INTO t(a) VALUES (3), (4), (1), (5)",
    "INSERT OR IGNORE INTO t(a) VALUES (1), (6)",
    "INSERT OR REPLACE INTO t(a) VALUES (1), (7)",
    "INSERT INTO q(a) VALUES (1), (2), (3), (4)",
    "BEGIN; INSERT INTO t(a) VALUES (8); INSERT OR ROLLBACK INTO t(a) VALUES (1)",
    "BEGIN; INSERT INTO t(a) VALUES (9); INSERT OR FAIL INTO t(a) VALUES (10), (1)",
    "COMMIT",
    "SAVEPOINT a; INSERT INTO t(a) VALUES (11); SAVEPOINT b; DELETE FROM t; ROLLBACK TO b; RELEASE a",
    "SAVEPOINT a; INSERT INTO f4 VALUES ('one two'); SAVEPOINT b; INSERT INTO f VALUES ('three'); RELEASE b",
    "RELEASE a",
    "BEGIN IMMEDIATE; COMMIT",
    "BEGIN EXCLUSIVE; UPDATE t SET b = b; END",
    "PRAGMA cache_size=5; PRAGMA cache_spill=ON; PRAGMA secure_delete=ON; PRAGMA temp_store=2",
    "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) \
       INSERT INTO t(a, b) SELECT i, randomblob(700) FROM n",
    "BEGIN; DELETE FROM t WHERE id % 2; INSERT INTO t(b) SELECT randomblob(900) FROM t; ROLLBACK",
    "BEGIN; UPDATE t SET b = randomblob(900); SAVEPOINT a; DELETE FROM t; ROLLBACK TO a; COMMIT",
    "INSERT INTO w SELECT id, b FROM t; INSERT INTO g(a) SELECT id FROM t",
    "INSERT INTO f SELECT hex(b) FROM t LIMIT 50; INSERT INTO f4 SELECT hex(b) FROM t LIMIT 50",
    "INSERT INTO f4(f4) VALUES ('optimize'); INSERT INTO f(f, rank) VALUES ('merge', 500)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
       INSERT INTO r SELECT i, i, i + 1 FROM n",
    "PRAGMA application_id=77; PRAGMA user_version=5; PRAGMA user_version(6)",
    "PRAGMA page_size=1024; VACUUM; PRAGMA page_size=32768; VACUUM",
    "PRAGMA auto_vacuum=FULL; VACUUM; DELETE FROM t WHERE id % 3; DELETE FROM w WHERE length(v) % 2",
    "BEGIN; DELETE FROM w; INSERT INTO w SELECT id, b FROM t; DELETE FROM g; COMMIT",
    "PRAGMA auto_vacuum=INCREMENTAL; DELETE FROM w; PRAGMA incremental_vacuum(3)",
    "PRAGMA incremental_vacuum",
    "ALTER TABLE t RENAME TO t2; ALTER TABLE t2 ADD COLUMN n DEFAULT 5; ALTER TABLE t2 DROP COLUMN n",
    "ALTER TABLE t2 RENAME COLUMN b TO bb; ALTER TABLE t2 RENAME TO t; CREATE INDEX ti ON t(bb)",
    "REINDEX; REINDEX ti; ANALYZE; PRAGMA analysis_limit=5; PRAGMA optimize(0x10012)",
    "BEGIN; DROP TABLE g; CREATE TABLE g(a); ROLLBACK; DROP INDEX ti; DROP TRIGGER ai",
    "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, 'bb', 'bb ') WHERE name = 't'",
    "PRAGMA writable_schema=RESET; PRAGMA schema_version=500",
    "CREATE TEMP TABLE x AS SELECT * FROM t; DELETE FROM x; BEGIN; DROP TABLE x; COMMIT",
    "CREATE TEMP TRIGGER tt AFTER INSERT ON s BEGIN INSERT INTO q(a) VALUES (new.x); END",
    "INSERT INTO s VALUES (5), ('x'), (x'00')",
    "CREATE TABLE c AS SELECT * FROM dbstat; UPDATE c SET path = NULL WHERE pageno % 2",
    "DROP TABLE r; DROP TABLE f; DROP TABLE f4; DROP TABLE w; PRAGMA auto_vacuum=NONE; VACUUM",
    "INSERT INTO t(a, bb) VALUES (-1, zeroblob(3000000)); DELETE FROM t WHERE a = -1",
];

/// A principal and what follows it.
struct Trio {
    principal: Principal,
    applier: Applier,
    redo: RedoFile,
    mirror: Database,
    redone: std::path::PathBuf,
    applied: usize,
}

impl Trio {
    fn new(page_size: PageSize, map_limit: usize) -> Trio {
        let principal = Principal::with(page_size, Options::default());
        let (applied, redone) = (principal.copy("applied.db"), principal.copy("redone.db"));
        let applier = Applier::open(&applied).unwrap().with_map_limit(map_limit);
        let redo = RedoFile::open(&redone, page_size).unwrap().with_map_limit(map_limit);
        let mirror = Database::open(&applied, DatabaseId(1), Options::default()).unwrap();
        Trio { principal, applier, redo, mirror, redone, applied: 0 }
    }

    /// Runs a script statement by statement, those after a failure included.
    fn run(&mut self, c: &mut Connection, script: &str) {
        let (script, mut at) = (Script::new(script).unwrap(), 0);
        while let Some((statement, next)) = c.next_statement(&script, at).unwrap() {
            let needs_permit = c.classify(statement).unwrap().needs_permit() || c.is_writing();
            if let Err(error) = c.execute(&Statement::new(statement), u64::MAX) {
                let meant =
                    ["SQLITE_CONSTRAINT", "SQL_TIMEOUT"].iter().any(|m| error.code.starts_with(m))
                        || statement.starts_with("COMMIT");
                assert!(meant, "{statement}: {error}");
            }
            assert!(needs_permit || !c.has_uncaptured(), "{statement} wrote as a read");
            self.principal.capture(c);
            at = next;
        }
    }

    fn assert_equal(&mut self, after: &str) {
        for record in &self.principal.records[self.applied..] {
            self.applier.push(record).unwrap_or_else(|error| panic!("{after}: {error}"));
            self.redo.push(record).unwrap_or_else(|error| panic!("{after}: {error}"));
        }
        self.applied = self.principal.records.len();
        self.applier.commit().unwrap();
        let (here, there) = (self.principal.pages(), pages(&self.mirror));
        assert!(here == there, "{after}: {} pages against {}", here.len(), there.len());
    }

    fn finish(self) {
        let page_size = self.principal.database.page_size();
        self.redo.finish().unwrap();
        assert_same(&self.principal.pages(), &file_pages(&self.redone, page_size));
        let mut reader = self.mirror.checkout().unwrap();
        let sound = value(&mut reader, "PRAGMA integrity_check");
        assert_eq!(sound, Value::Text("ok".to_owned()));
    }
}

#[test]
fn whatever_clients_do_is_mirrored_after_every_script() {
    for (log2, map_limit, fresh) in
        [(9, 32 << 20, false), (12, 1, true), (16, 1 << 20, false), (10, 1 << 14, true)]
    {
        let mut trio = Trio::new(PageSize::from_log2(log2).unwrap(), map_limit);
        let mut c = trio.principal.database.checkout().unwrap();
        for (number, script) in SCRIPTS.iter().enumerate() {
            // A connection that has seen nothing yet compiles everything for the first time.
            if fresh && !c.in_transaction() {
                c = trio.principal.database.checkout().unwrap();
            }
            trio.run(&mut c, script);
            trio.assert_equal(script);
            if number % 5 == 4 && !c.in_transaction() {
                trio.principal.database.checkpoint().unwrap();
            }
        }
        drop(c);
        trio.finish();
    }
}

/// Deadlines stop statements at moments that differ from run to run: within an INSERT OR FAIL that has committed
/// nothing yet, a VACUUM, a rollback of what was spilled.
#[test]
fn what_is_stopped_is_taken_back_or_mirrored() {
    let mut trio = Trio::new(PageSize::DEFAULT, 32 << 20);
    let mut c = trio.principal.database.checkout().unwrap();
    trio.run(
        &mut c,
        "PRAGMA cache_size=5; CREATE TABLE t(a UNIQUE, b); PRAGMA auto_vacuum=1; VACUUM",
    );
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) ";
    for round in 0..60 {
        let insert = format!("{fill} INSERT INTO t SELECT i + {round}000, randomblob(600) FROM n");
        c.set_deadline(Some(Duration::from_micros(150 * (round % 20))));
        let script = match round % 5 {
            0 => insert,
            1 => format!("BEGIN; {insert}; DELETE FROM t WHERE a % 2; COMMIT"),
            2 => "UPDATE OR FAIL t SET a = a + 1".to_owned(),
            3 => "VACUUM".to_owned(),
            _ => "DELETE FROM t WHERE a % 3".to_owned(),
        };
        trio.run(&mut c, &script);
        c.set_deadline(None);
        c.rollback().unwrap();
        trio.assert_equal(&script);
    }
    trio.run(&mut c, &format!("{fill} INSERT INTO t SELECT -i, randomblob(600) FROM n"));
    trio.assert_equal("the last insert");
    drop(c);
    trio.finish();
}
