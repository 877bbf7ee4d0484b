//! The readable list: which rows the orphans' copies and this server's databases do not share.
//!
//! Made once this server has the new principal's state. Rows that the new principal changed since are among them:
//! the list says what differs, not who did it.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use counterpart_core::DatabaseName;
use counterpart_engine::{Change, Difference, SqlError, Value};
use counterpart_journal::{atomic_write, sync_file};
use serde_json::{Map, json};

use super::{Differences, OrphanDatabase, OrphanSet, store};
use crate::{clock, shared::Shared};

/// Why a list could not be made. It is tried again when the databases have been replaced or healed, and at the next start.
#[derive(Debug, thiserror::Error)]
enum CompareError {
    #[error("the list of rows can't be written: {0}")]
    Io(#[from] io::Error),
    #[error("SQLite can't compare: {0}")]
    Sqlite(#[from] SqlError),
    #[error("database {0} is not open now")]
    NotOpen(DatabaseName),
}

/// Held by whoever compares: two would write the same files.
static COMPARING: Mutex<()> = Mutex::new(());

/// Compares what was not compared yet. Takes as long as reading the databases does.
pub(crate) fn compare_all(shared: &Arc<Shared>) {
    let _comparing = COMPARING.lock().unwrap_or_else(PoisonError::into_inner);
    let sets = match store::list(shared) {
        Ok(sets) => sets,
        Err(error) => return tracing::warn!(%error, "orphans are not compared"),
    };
    for mut set in sets {
        if set.databases.iter().all(|database| database.differences.is_some()) {
            continue;
        }
        compare_set(shared, &mut set);
    }
}

/// Compares each database of a set. One that cannot be compared is not in the way of the others.
fn compare_set(shared: &Shared, set: &mut OrphanSet) {
    let directory = store::home(shared).join(&set.id);
    for database in set.databases.iter_mut().filter(|d| d.differences.is_none()) {
        match compare_database(shared, database, &directory) {
            Ok(found) => (database.differences, database.why_not) = (Some(found), None),
            Err(error) => {
                database.why_not = Some(error.to_string());
                tracing::warn!(set = set.id, database = %database.name, %error, "orphans are not compared");
            }
        }
    }
    let bytes = serde_json::to_vec_pretty(set).expect("plain values always encode");
    match atomic_write(&directory.join(store::ABOUT), &bytes) {
        Ok(()) => {
            tracing::info!(set = set.id, "orphans were compared with the new principal's databases")
        }
        Err(error) => {
            tracing::warn!(set = set.id, %error, "what was compared can't be written down")
        }
    }
}

fn compare_database(
    shared: &Shared,
    database: &OrphanDatabase,
    directory: &Path,
) -> Result<Differences, CompareError> {
    let mut found = Differences { compared_at: shared.applied(), ..Differences::default() };
    let hosted = shared.databases.present(&database.name);
    let exists = || shared.control.read().databases.iter().any(|entry| entry.name == database.name);
    if hosted.is_none() && exists() {
        // Its files are being replaced, or healed: it must not pass for one that is gone.
        return Err(CompareError::NotOpen(database.name.clone()));
    }
    let Some(hosted) = hosted.filter(|_| database.copied) else { return Ok(found) };
    found.present = true;
    let path = directory.join(store::rows_name(database.id));
    let mut file = BufWriter::new(File::create(&path)?);
    let mut written = Ok(());
    let copy = directory.join(store::copy_name(database.id));
    hosted.engine.differences(&copy, clock::unix_now(), &mut |difference| {
        *match &difference {
            Difference::Schema { .. } => &mut found.schema,
            Difference::Row(row) => match row.change {
                Change::Inserted => &mut found.inserted,
                Change::Updated => &mut found.updated,
                Change::Deleted => &mut found.deleted,
            },
        } += 1;
        written = writeln!(file, "{}", described(&difference));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    file.flush()?;
    sync_file(&path)?;
    Ok(found)
}

/// A difference as a line tells it.
fn described(difference: &Difference) -> serde_json::Value {
    match difference {
        Difference::Schema { name, new_table, file, database } => {
            json!({ "change": "schema", "name": name, "new_table": new_table, "orphans": file, "here": database })
        }
        Difference::Row(row) => {
            let change = match row.change {
                Change::Inserted => "inserted",
                Change::Updated => "updated",
                Change::Deleted => "deleted",
            };
            json!({
                "change": change,
                "table": &*row.table,
                "shadow": row.shadow,
                "key": named(&row.key_columns, &row.key),
                "orphans": row.file.as_ref().map(|values| named(&row.columns, values)),
                "here": row.database.as_ref().map(|values| named(&row.columns, values)),
            })
        }
    }
}

fn named(names: &[String], values: &[Value]) -> Map<String, serde_json::Value> {
    names.iter().cloned().zip(values.iter().map(value)).collect()
}

/// A value such that the SQL made of it is the same value: what JSON has no word for is an object with one field.
fn value(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => json!(null),
        Value::Integer(number) => json!(number),
        // Written so that 1.0 stays a float; JSON has no infinity.
        Value::Real(number) if number.is_finite() => json!({ "real": number }),
        Value::Real(number) => json!({ "real": number.to_string() }),
        Value::Text(text) => json!(text),
        Value::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "blob": hex })
        }
    }
}
