//! The SQL of a set of orphans, judged by SQLite: applied to the new principal's database it gives the orphans' rows,
//! whatever the tables are.

mod support;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, types::Value};
use serde_json::Value as Json;
use support::{
    pair::{Pair, wait_state},
    server::Server,
    wait_for,
};

/// Losing a partner is noticed in a second.
const QUICK: [&str; 2] = ["--partner-timeout", "1s"];

/// The principal confirms alone what `alone` says, its mirror is promoted and does what `instead` says, and the old one
/// joins again and compares. The new pair's mirror has the orphans.
fn fork(before: &[&str], alone: &[&str], instead: &[&str]) -> Pair {
    let mut pair = Pair::start_with(&QUICK, &[]);
    before.iter().for_each(|sql| pair.principal.client().script(sql));
    pair.assert_equal();
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    alone.iter().for_each(|sql| pair.principal.client().script(sql));
    pair.principal.kill();
    pair.mirror.launch();
    wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    instead.iter().for_each(|sql| pair.mirror.client().script(sql));
    let mut pair = pair.swapped();
    pair.mirror.launch();
    pair.wait_synchronized();
    pair
}

/// The only set of a server, once it was compared.
fn compared(server: &Server) -> Json {
    wait_for("the orphans to be compared", || {
        let list: Json =
            serde_json::from_str(&server.cli_ok(&["orphans", "list", "--json"])).unwrap();
        let set = list["sets"].get(0)?.clone();
        let all = set["databases"].as_array().unwrap();
        all.iter().all(|database| database["differences"].is_object()).then_some(set)
    })
}

/// What was exported of a set, and the new principal's database.
struct Exported {
    _directory: tempfile::TempDir,
    orphans: PathBuf,
    sql: String,
    copy: PathBuf,
}

fn exported(pair: &Pair) -> Exported {
    let set = compared(&pair.mirror);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (orphans, sql, copy) = (file("orphans.db"), file("orphans.sql"), file("copy.db"));
    let export = ["orphans", "export", set["id"].as_str().unwrap()];
    let to = |path: &Path| path.to_str().unwrap().to_owned();
    pair.mirror.cli_ok(&[&export[..], &[&to(&orphans)]].concat());
    pair.mirror.cli_ok(&[&export[..], &[&to(&sql), "--form", "sql"]].concat());
    std::fs::write(&copy, pair.principal.export("main")).unwrap();
    let sql = std::fs::read_to_string(sql).unwrap();
    Exported { _directory: directory, orphans, sql, copy }
}

/// All rows of a table, rowids included where there are any.
fn rows(db: &Connection, table: &str) -> Vec<Vec<Value>> {
    let read = |what: &str| {
        let mut statement = db.prepare(&format!("SELECT {what} FROM {table} ORDER BY 1, 2"))?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|i| row.get(i)).collect())?;
        rows.collect::<Result<Vec<Vec<Value>>, _>>()
    };
    read("rowid, *").or_else(|_no_rowid| read("*")).unwrap_or_else(|e| panic!("{table}: {e}"))
}

/// Applies the SQL to the copy as its head says, and compares these tables.
fn assert_makes_equal(exported: &Exported, tables: &[&str]) {
    let Exported { orphans, sql, copy, .. } = exported;
    let (copy, orphans) = (Connection::open(copy).unwrap(), Connection::open(orphans).unwrap());
    let off = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
    copy.set_db_config(off, false).unwrap();
    copy.execute_batch(sql).unwrap_or_else(|e| panic!("{e}\n{sql}"));
    for table in tables {
        assert_eq!(rows(&copy, table), rows(&orphans, table), "{table}\n{sql}");
    }
}

#[test]
fn the_sql_of_a_set_makes_the_new_principals_rows_what_the_orphans_are() {
    let before = "
        CREATE TABLE plain(id INTEGER PRIMARY KEY, v); INSERT INTO plain VALUES (1, 1), (2, 'two'), (3, NULL);
        CREATE TABLE nokey(v); INSERT INTO nokey VALUES ('a'), ('a'), ('b');
        CREATE TABLE pair(a TEXT, b, v, PRIMARY KEY (b, a)) WITHOUT ROWID; INSERT INTO pair VALUES ('x', x'00', 1);
        CREATE TABLE nulls(k TEXT PRIMARY KEY, v); INSERT INTO nulls VALUES (NULL, 1), (NULL, 2), ('k', 3);
        CREATE TABLE uniq(id INTEGER PRIMARY KEY, mail TEXT UNIQUE); INSERT INTO uniq VALUES (1, 'one@x');
        CREATE TABLE gen(id INTEGER PRIMARY KEY, a, b AS (a * 2), c AS (a + 1) STORED); INSERT INTO gen(a) VALUES (1);
        CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO auto(v) VALUES ('first');
        CREATE TABLE \"odd \"\" name\"(\"select\" PRIMARY KEY, \"a \"\" b\"); INSERT INTO \"odd \"\" name\" VALUES ('it''s', 1);
        CREATE TABLE real(id INTEGER PRIMARY KEY, v REAL);
        CREATE TABLE parent(id INTEGER PRIMARY KEY); INSERT INTO parent VALUES (1), (2);
        CREATE TABLE child(id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE CASCADE); INSERT INTO child VALUES (1, 1);
        CREATE TABLE audit(id INTEGER PRIMARY KEY, what)";
    let alone = "
        UPDATE plain SET v = 'zwei' WHERE id = 2; UPDATE plain SET v = 1.0 WHERE id = 1; DELETE FROM plain WHERE id = 3;
        INSERT INTO plain VALUES (-9223372036854775808, 9223372036854775807), (10, x'00ff'), (11, 'nul' || char(0) || 'in'),
          (12, 9e999), (13, -9e999), (14, ''), (15, x''), (16, 'a' || char(10) || 'b'), (17, 'it''s \"quoted\"');
        INSERT INTO nokey VALUES ('c'); DELETE FROM nokey WHERE rowid = 2;
        UPDATE pair SET v = 2.5; INSERT INTO pair VALUES ('', 0, NULL);
        UPDATE nulls SET v = 20 WHERE v = 2; DELETE FROM nulls WHERE v = 1; INSERT INTO nulls VALUES (NULL, 4);
        INSERT INTO uniq VALUES (7, 'seven@x');
        INSERT INTO gen(a) VALUES (5); UPDATE gen SET a = 7 WHERE id = 1;
        INSERT INTO auto(v) VALUES ('second'), ('third'); DELETE FROM auto WHERE v = 'third';
        UPDATE \"odd \"\" name\" SET \"a \"\" b\" = 2; INSERT INTO \"odd \"\" name\" VALUES ('\"', '''');
        INSERT INTO real VALUES (1, 31.245270191439438), (2, 5e-324), (3, 1.7976931348623157e308), (4, 1e300), (5, 0.1 + 0.2), (6, -7);
        WITH RECURSIVE i(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM i WHERE i < 400)
          INSERT INTO real SELECT i, random() * 1.0 / (abs(random()) + 1) FROM i;
        UPDATE child SET p = 2; DELETE FROM parent WHERE id = 1;
        CREATE TABLE created(id INTEGER PRIMARY KEY, v); INSERT INTO created VALUES (1, 'only here')";
    // Rows and names that are in the way of the orphans'.
    let instead = "
        INSERT INTO uniq VALUES (8, 'seven@x'); INSERT INTO auto(v) VALUES ('other'); INSERT INTO plain VALUES (99, 'new');
        INSERT INTO nokey VALUES ('z'), ('y'); INSERT INTO child VALUES (2, 1)";
    // Its trigger is made after the rest, so that what it writes is few and certain.
    let trigger = "CREATE TRIGGER told AFTER INSERT ON plain BEGIN INSERT INTO audit(what) VALUES (new.id); END";
    let pair = fork(&[before, trigger], &[alone], &[instead]);
    let exported = exported(&pair);
    assert!(exported.sql.contains("enable_trigger off"), "it says what to do: {}", exported.sql);
    assert_makes_equal(
        &exported,
        &[
            "plain",
            "nokey",
            "pair",
            "nulls",
            "uniq",
            "gen",
            "auto",
            "\"odd \"\" name\"",
            "real",
            "parent",
            "child",
            "audit",
            "created",
        ],
    );
}

#[test]
fn the_sql_of_a_utf_16_database_makes_its_rows_what_the_orphans_are() {
    let pair = fork(
        &["PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(id INTEGER PRIMARY KEY, v)"],
        &["INSERT INTO t VALUES (1, 'zero' || char(0) || 'in'), (2, 'ä€𝄞')"],
        &["INSERT INTO t VALUES (3, 'ü')"],
    );
    assert_eq!(pair.principal.client().value("PRAGMA encoding"), "UTF-16le");
    assert_makes_equal(&exported(&pair), &["t"]);
}

#[test]
fn the_tables_behind_a_virtual_table_are_never_written_by_the_sql() {
    let pair = fork(
        &["CREATE VIRTUAL TABLE f USING fts5(t); INSERT INTO f VALUES ('hello')"],
        &[
            "INSERT INTO f VALUES ('world'); CREATE VIRTUAL TABLE g USING fts5(t); INSERT INTO g VALUES ('new')",
        ],
        &["INSERT INTO f VALUES ('moon')"],
    );
    let exported = exported(&pair);
    let (sql, copy) = (&exported.sql, Connection::open(&exported.copy).unwrap());
    copy.execute_batch(sql).unwrap_or_else(|e| panic!("{e}\n{sql}"));
    copy.execute_batch("INSERT INTO f(f) VALUES ('integrity-check')").unwrap();
    let rows = rows(&copy, "f");
    assert_eq!(rows.len(), 2, "only the new principal's: {rows:?}\n{sql}");
    assert!(sql.contains("world"), "a person can read it: {sql}");
}
