//! Which rows differ between a database and a file that once was the same.

mod common;

use std::{io::Write, ops::ControlFlow, path::PathBuf};

use common::Principal;
use counterpart_core::UnixMicros;
use counterpart_engine::{Change, Difference, RowDifference, Value};

/// The database as it is now, as a plain file.
fn saved(principal: &Principal) -> PathBuf {
    let path = principal.directory.path().join("saved.db");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut snapshot = principal.database.snapshot(UnixMicros(0)).unwrap();
    while let Some(bytes) = snapshot.next_bytes(1 << 20).unwrap() {
        file.write_all(&bytes).unwrap();
    }
    path
}

fn differences(principal: &Principal, file: &std::path::Path) -> Vec<Difference> {
    let mut found = Vec::new();
    let all = principal.database.differences(file, UnixMicros(0), &mut |difference| {
        found.push(difference);
        ControlFlow::Continue(())
    });
    assert!(all.unwrap(), "nobody broke it off");
    found
}

fn rows(found: &[Difference]) -> Vec<&RowDifference> {
    found
        .iter()
        .map(|difference| match difference {
            Difference::Row(row) => row,
            schema @ Difference::Schema { .. } => panic!("no schema differs, but {schema:?}"),
        })
        .collect()
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

#[test]
fn inserted_updated_and_deleted_rows_are_told_by_table_and_key() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE a(id INTEGER PRIMARY KEY, v); CREATE TABLE same(x); INSERT INTO same VALUES (1)");
    principal.sql("INSERT INTO a VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    principal.sql("INSERT INTO a VALUES (10, 'orphan'); UPDATE a SET v='zwei' WHERE id=2; DELETE FROM a WHERE id=3");
    let file = saved(&principal);
    principal.sql("DELETE FROM a WHERE id=10; UPDATE a SET v='two' WHERE id=2; INSERT INTO a VALUES (3, 'three')");
    let found = differences(&principal, &file);
    let found = rows(&found);
    let told: Vec<_> = found.iter().map(|row| (&*row.table, row.change, row.key.clone())).collect();
    assert_eq!(
        told,
        [
            ("a", Change::Deleted, vec![Value::Integer(3)]),
            ("a", Change::Updated, vec![Value::Integer(2)]),
            ("a", Change::Inserted, vec![Value::Integer(10)]),
        ]
    );
    assert_eq!(found[1].file.as_deref(), Some(&[Value::Integer(2), text("zwei")][..]));
    assert_eq!(found[1].database.as_deref(), Some(&[Value::Integer(2), text("two")][..]));
    assert_eq!(found[2].columns[..], ["id", "v"].map(String::from));
}

#[test]
fn keys_of_several_columns_of_text_and_without_rowid_are_compared() {
    let mut principal = Principal::new();
    principal.sql(
        "CREATE TABLE k(a TEXT, b INTEGER, v, PRIMARY KEY (b, a)) WITHOUT ROWID;
         CREATE TABLE t(name TEXT PRIMARY KEY COLLATE NOCASE, v); CREATE TABLE r(v)",
    );
    principal.sql("INSERT INTO k VALUES ('x', 1, 1); INSERT INTO t VALUES ('Anna', 1); INSERT INTO r VALUES (1)");
    let file = saved(&principal);
    principal.sql("UPDATE k SET v=1.0; UPDATE t SET name='anna'; INSERT INTO r VALUES (NULL)");
    let found = differences(&principal, &file);
    let found = rows(&found);
    let told: Vec<_> = found
        .iter()
        .map(|row| (&*row.table, row.change, row.key_columns.join(","), row.key.clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("k", Change::Updated, "b,a".to_owned(), vec![Value::Integer(1), text("x")]),
            ("r", Change::Deleted, "rowid".to_owned(), vec![Value::Integer(2)]),
            ("t", Change::Updated, "name".to_owned(), vec![text("Anna")]),
        ]
    );
}

#[test]
fn a_changed_schema_is_told_and_common_columns_are_compared() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE a(id INTEGER PRIMARY KEY, v); INSERT INTO a VALUES (1, 'one'); CREATE TABLE gone(x)");
    let file = saved(&principal);
    principal.sql("ALTER TABLE a ADD COLUMN w DEFAULT 7; UPDATE a SET v='eins'; DROP TABLE gone");
    let found = differences(&principal, &file);
    let names: Vec<_> = found
        .iter()
        .filter_map(|difference| match difference {
            Difference::Schema { name, file, database, .. } => {
                Some((name.as_str(), file.is_some(), database.is_some()))
            }
            Difference::Row(_) => None,
        })
        .collect();
    assert_eq!(names, [("a", true, true), ("gone", true, false)]);
    let Some(Difference::Row(row)) = found.last() else { panic!("a row is told: {found:?}") };
    assert_eq!((row.change, row.columns.len()), (Change::Updated, 2));
}

#[test]
fn comparing_ends_when_enough_was_told() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE a(id INTEGER PRIMARY KEY)");
    let file = saved(&principal);
    principal.sql("INSERT INTO a VALUES (1), (2), (3)");
    let mut told = 0;
    let all = principal.database.differences(&file, UnixMicros(0), &mut |_| {
        told += 1;
        ControlFlow::Break(())
    });
    assert_eq!((all.unwrap(), told), (false, 1));
}

#[test]
fn comparing_is_a_reader_that_can_be_interrupted() {
    let mut principal = Principal::new();
    principal.sql("CREATE TABLE a(id INTEGER PRIMARY KEY)");
    let file = saved(&principal);
    principal.sql("INSERT INTO a VALUES (1), (2), (3)");
    let database = &principal.database;
    let compared = database.differences(&file, UnixMicros(7), &mut |_| {
        let readers = database.readers();
        assert_eq!(readers.iter().map(|reader| reader.since).collect::<Vec<_>>(), [UnixMicros(7)]);
        readers[0].interrupt();
        ControlFlow::Continue(())
    });
    assert_eq!(compared.unwrap_err().code, "SQLITE_INTERRUPT");
    assert!(database.readers().is_empty(), "it is none any more");
}

#[test]
fn equal_databases_differ_in_nothing() {
    let mut principal = Principal::new();
    principal.sql(
        "CREATE VIRTUAL TABLE f USING fts5(t); INSERT INTO f VALUES ('hello world');
         CREATE TABLE g(a, b AS (a * 2)); INSERT INTO g(a) VALUES (1), (NULL), (x'00');
         CREATE VIEW v AS SELECT * FROM nowhere; CREATE TABLE \"odd \"\" name\"(\"a b\" PRIMARY KEY)",
    );
    let file = saved(&principal);
    assert_eq!(differences(&principal, &file), []);
}
