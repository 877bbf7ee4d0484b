//! Which rows differ between a database and a file that once was the same: what an operator reads who has to decide
//! about events that only one of two servers had.
//!
//! Both are read in one read transaction each and compared by SQLite itself, table by table: by primary key, or by
//! rowid where none is declared or where it has NULLs, which are no identity. A table may be compared that changed its
//! columns; then the common ones are. Of a table that only the file has, all rows are told.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use counterpart_core::UnixMicros;
use rusqlite::{Connection, Row};

use crate::{
    database::{Database, overlook_schema_errors},
    error::SqlError,
    readers::{Interrupter, ReaderSlot, Readers},
    value::Value,
};

/// How a row of the file differs from the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Only the file has it.
    Inserted,
    /// Both have it, with other values.
    Updated,
    /// Only the database has it.
    Deleted,
}

/// A row that differs.
#[derive(Clone, PartialEq, Debug)]
pub struct RowDifference {
    /// Its table.
    pub table: Arc<str>,
    /// Whether the table belongs to a virtual table, which alone may write to it.
    pub shadow: bool,
    /// How it differs.
    pub change: Change,
    /// The names of the columns that identify it; `rowid` where no primary key is declared.
    pub key_columns: Arc<[String]>,
    /// Their values.
    pub key: Vec<Value>,
    /// The names of all columns that both have.
    pub columns: Arc<[String]>,
    /// Their values in the file, if it has the row.
    pub file: Option<Vec<Value>>,
    /// Their values in the database, if it has the row.
    pub database: Option<Vec<Value>>,
}

/// Something that differs.
#[derive(Clone, PartialEq, Debug)]
pub enum Difference {
    /// A table, index, view or trigger is defined differently, or on one side only.
    Schema {
        /// Its name.
        name: String,
        /// Whether it is an ordinary table that only the file has: to make it takes nothing away.
        new_table: bool,
        /// Its definition in the file.
        file: Option<String>,
        /// Its definition in the database.
        database: Option<String>,
    },
    /// A row.
    Row(RowDifference),
}

/// Told of each difference; breaks off when it has enough.
pub type DifferenceSink<'a> = dyn FnMut(Difference) -> ControlFlow<()> + 'a;

/// A table that is compared.
struct Table {
    name: Arc<str>,
    shadow: bool,
    /// Whether the database has it, too.
    both: bool,
    key: Arc<[String]>,
    columns: Arc<[String]>,
}

/// A connection among the readers, until it is closed.
struct Listed<'a>(&'a Readers, Arc<ReaderSlot>);

impl<'a> Listed<'a> {
    fn new(readers: &'a Readers, db: &Connection, now: UnixMicros) -> Listed<'a> {
        let slot = readers.register(Interrupter::new(db));
        slot.begin(now);
        Listed(readers, slot)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.forget(&self.1);
    }
}

impl Database {
    /// Tells `sink` what differs between the SQLite file at `file` and this database: schema first, then rows. `true`
    /// if all was compared, `false` if `sink` had enough. Meanwhile it is one of the [`readers`](Self::readers), since
    /// `now`, and can be interrupted like any other.
    ///
    /// # Errors
    /// What SQLite says, of either.
    pub fn differences(
        &self,
        file: &Path,
        now: UnixMicros,
        sink: &mut DifferenceSink<'_>,
    ) -> Result<bool, SqlError> {
        let name = file
            .to_str()
            .ok_or_else(|| SqlError::new("SQLITE_CANTOPEN", "the path of a file must be UTF-8"))?;
        let db = self.shared.open_connection()?;
        let _listed = Listed::new(&self.shared.readers, &db, now);
        overlook_schema_errors(&db)?;
        db.execute("ATTACH ?1 AS file", [name])?;
        // Comparing must not run what a client put into either schema, beyond reading tables.
        db.execute_batch("PRAGMA query_only=ON; PRAGMA trusted_schema=OFF; BEGIN")?;
        let flow = compare(&db, sink)?;
        db.execute_batch("COMMIT")?;
        Ok(flow.is_continue())
    }
}

fn compare(db: &Connection, sink: &mut DifferenceSink<'_>) -> Result<ControlFlow<()>, SqlError> {
    if compare_schemas(db, sink)?.is_break() {
        return Ok(ControlFlow::Break(()));
    }
    for table in tables(db)? {
        if compare_rows(db, &table, sink)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn compare_schemas(
    db: &Connection,
    sink: &mut DifferenceSink<'_>,
) -> Result<ControlFlow<()>, SqlError> {
    let mut statement = db.prepare(
        "SELECT s.name, max(file), max(live), max(file) LIKE 'CREATE TABLE %' AND max(live) IS NULL
             AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND f.type IS 'table' FROM (
             SELECT type, name, coalesce(sql, '') AS file, NULL AS live FROM file.sqlite_schema
             UNION ALL
             SELECT type, name, NULL, coalesce(sql, '') FROM main.sqlite_schema
         ) AS s LEFT JOIN pragma_table_list AS f ON f.schema = 'file' AND f.name = s.name AND s.type = 'table'
         WHERE s.name IS NOT NULL GROUP BY s.type, s.name HAVING max(file) IS NOT max(live) ORDER BY s.name",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, file, database) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let difference = Difference::Schema { name, new_table: row.get(3)?, file, database };
        if sink(difference).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The tables of the file that can be compared, by name: those that the database has with the same key, or not at all. Of
/// a virtual table its shadow tables are compared.
fn tables(db: &Connection) -> Result<Vec<Table>, SqlError> {
    let found: Vec<(String, bool, bool, bool)> = db
        .prepare(
            "SELECT f.name, f.wr, f.type = 'shadow', l.name IS NOT NULL
             FROM pragma_table_list AS f LEFT JOIN pragma_table_list AS l ON l.schema = 'main' AND l.name = f.name
             WHERE f.schema = 'file' AND f.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND f.type IN ('table', 'shadow')
               AND (l.name IS NULL OR l.type IN ('table', 'shadow') AND f.wr = l.wr) ORDER BY f.name",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    let mut tables = Vec::new();
    for (name, without_rowid, shadow, both) in found {
        let (file, file_key) = columns(db, "file", &name)?;
        let (live, live_key) =
            if both { columns(db, "main", &name)? } else { (file.clone(), file_key.clone()) };
        let common: Vec<_> = file.into_iter().filter(|column| live.contains(column)).collect();
        let declared = file_key == live_key && !file_key.is_empty();
        let key = if declared && (without_rowid || !has_nulls(db, &name, both, &file_key)?) {
            file_key
        } else if without_rowid {
            continue;
        } else {
            // A column of the same name hides it; one of the three is hardly ever taken.
            let free = ["rowid", "_rowid_", "oid"]
                .into_iter()
                .find(|alias| !common.iter().any(|column| column.eq_ignore_ascii_case(alias)));
            let Some(free) = free else { continue };
            vec![free.to_owned()]
        };
        let (key, columns) = (key.into(), common.into());
        tables.push(Table { name: name.into(), shadow, both, key, columns });
    }
    Ok(tables)
}

/// Whether a row has no identity by its key: SQLite lets a declared key be NULL, and as often as one likes.
fn has_nulls(db: &Connection, table: &str, both: bool, key: &[String]) -> Result<bool, SqlError> {
    let null = key.iter().map(|column| format!("{} IS NULL", quoted(column)));
    let null = null.collect::<Vec<_>>().join(" OR ");
    for schema in if both { &["file", "main"][..] } else { &["file"] } {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {schema}.{} WHERE {null})", quoted(table));
        if db.query_row(&sql, [], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The names of a table's stored columns, and those of its declared primary key.
fn columns(
    db: &Connection,
    schema: &str,
    table: &str,
) -> Result<(Vec<String>, Vec<String>), SqlError> {
    let mut statement =
        db.prepare_cached("SELECT name, pk FROM pragma_table_xinfo(?1, ?2) WHERE hidden = 0")?;
    let found: Vec<(String, u32)> = statement
        .query_map([table, schema], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut key: Vec<_> = found.iter().filter(|(_, place)| *place > 0).collect();
    key.sort_by_key(|(_, place)| *place);
    let key = key.into_iter().map(|(name, _)| name.clone()).collect();
    Ok((found.into_iter().map(|(name, _)| name).collect(), key))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    /// The key's and the other columns of one side, as a list of results.
    fn results(&self, side: &str) -> String {
        let names = self.key.iter().chain(self.columns.iter());
        names.map(|name| format!("{side}.{}", quoted(name))).collect::<Vec<_>>().join(", ")
    }

    fn values(&self, side: &str) -> String {
        let names = self.columns.iter();
        names.map(|name| format!(", {side}.{}", quoted(name))).collect()
    }

    fn same_key(&self) -> String {
        let same = |name: &String| format!("l.{0} IS f.{0}", quoted(name));
        self.key.iter().map(same).collect::<Vec<_>>().join(" AND ")
    }

    fn order(&self, side: &str) -> String {
        self.key.iter().map(|k| format!("{side}.{}", quoted(k))).collect::<Vec<_>>().join(", ")
    }

    fn all_of_the_file(&self) -> String {
        let (table, results) = (quoted(&self.name), self.results("f"));
        format!("SELECT {results} FROM file.{table} AS f ORDER BY {}", self.order("f"))
    }

    fn only_in(&self, schema: &str, side: &str, other_schema: &str, other_side: &str) -> String {
        let (table, results, same) = (quoted(&self.name), self.results(side), self.same_key());
        format!(
            "SELECT {results} FROM {schema}.{table} AS {side} WHERE NOT EXISTS
             (SELECT 1 FROM {other_schema}.{table} AS {other_side} WHERE {same}) ORDER BY {}",
            self.order(side)
        )
    }

    fn in_both(&self) -> Option<String> {
        let differ = |name: &String| {
            let name = quoted(name);
            // 1 and 1.0 are equal to SQLite, 'a' and 'A' may be; neither are the same bytes.
            format!(
                "f.{name} COLLATE BINARY IS NOT l.{name} OR typeof(f.{name}) IS NOT typeof(l.{name})"
            )
        };
        if self.columns.is_empty() {
            return None;
        }
        let differ = self.columns.iter().map(differ).collect::<Vec<_>>().join(" OR ");
        let (table, results, values) = (quoted(&self.name), self.results("f"), self.values("l"));
        let (same, order) = (self.same_key(), self.order("f"));
        Some(format!(
            "SELECT {results}{values} FROM file.{table} AS f JOIN main.{table} AS l ON {same}
             WHERE {differ} ORDER BY {order}"
        ))
    }

    fn difference(&self, change: Change, row: &Row<'_>) -> rusqlite::Result<RowDifference> {
        let (keys, count) = (self.key.len(), self.columns.len());
        let read = |from: usize, count: usize| {
            (from..from + count).map(|index| value(row, index)).collect::<Result<Vec<_>, _>>()
        };
        let (key, first) = (read(0, keys)?, read(keys, count)?);
        let (file, database) = match change {
            Change::Inserted => (Some(first), None),
            Change::Deleted => (None, Some(first)),
            Change::Updated => (Some(first), Some(read(keys + count, count)?)),
        };
        Ok(RowDifference {
            table: Arc::clone(&self.name),
            shadow: self.shadow,
            change,
            key_columns: Arc::clone(&self.key),
            key,
            columns: Arc::clone(&self.columns),
            file,
            database,
        })
    }
}

fn value(row: &Row<'_>, index: usize) -> rusqlite::Result<Value> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}

fn compare_rows(
    db: &Connection,
    table: &Table,
    sink: &mut DifferenceSink<'_>,
) -> Result<ControlFlow<()>, SqlError> {
    // In the order in which statements would make one of the other: what a row takes must be free before.
    let steps = match table.both {
        true => [
            (Change::Deleted, Some(table.only_in("main", "l", "file", "f"))),
            (Change::Updated, table.in_both()),
            (Change::Inserted, Some(table.only_in("file", "f", "main", "l"))),
        ],
        false => [
            (Change::Deleted, None),
            (Change::Updated, None),
            (Change::Inserted, Some(table.all_of_the_file())),
        ],
    };
    for (change, sql) in steps {
        let Some(sql) = sql else { continue };
        let mut statement = db.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if sink(Difference::Row(table.difference(change, row)?)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
