//! The audit log as a table of the server's own database.
//!
//! Entries are known by what they were called before they had a place here, so that writing one twice (after a crash, say)
//! writes it once.

use std::sync::Arc;

use counterpart_engine::Value;

use super::AuditEntry;
use crate::{
    refusal::Refusal,
    shared::Shared,
    system::{self, Kept, integer, run, unreadable},
};

/// Entries that are kept; the oldest go. Some 30 MB.
const MOST: u64 = 100_000;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY,
    entry TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    server TEXT NOT NULL,
    who TEXT NOT NULL,
    origin TEXT NOT NULL,
    what TEXT NOT NULL,
    about TEXT NOT NULL,
    result TEXT NOT NULL
) STRICT";

/// All entries of a batch in one transaction.
const INSERT: &str = "INSERT OR IGNORE INTO audit
    (entry, at, server, who, origin, what, about, result)
    SELECT value ->> 'entry', value ->> 'at', value ->> 'server', value ->> 'who', value ->> 'from',
        value ->> 'what', value ->> 'about', value ->> 'result'
    FROM json_each(?) ORDER BY key";

const FORGET: &str = "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?";

const SELECT: &str = "SELECT id, at, entry, server, who, origin, what, about, result FROM audit
    WHERE id < ? ORDER BY id DESC LIMIT ?";

/// Writes entries. Whether that was possible: a server without partners whose database is not there waits.
pub(super) async fn write(shared: &Arc<Shared>, entries: &[AuditEntry]) -> Result<bool, Refusal> {
    let mut stream = match system::open(shared)? {
        Some(stream) => stream,
        None if shared.is_alone() => return Ok(false),
        None => system::make(shared).await?,
    };
    let text = serde_json::to_string(entries).expect("texts and numbers are JSON");
    run(&mut stream, TABLE, Vec::new()).await?;
    run(&mut stream, INSERT, vec![Value::Text(text)]).await?;
    run(&mut stream, FORGET, vec![integer(MOST)]).await?;
    Ok(true)
}

/// The newest entries first, or those before a place; at most `limit`.
pub(super) async fn read(
    shared: &Arc<Shared>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<AuditEntry>, Refusal> {
    let Some(mut stream) = system::open_table(shared, "audit").await? else {
        return Ok(Vec::new());
    };
    let values = vec![integer(before.unwrap_or(u64::MAX)), integer(limit as u64)];
    run(&mut stream, SELECT, values).await?.iter().map(|row| entry(&Kept(row))).collect()
}

fn entry(kept: &Kept<'_>) -> Result<AuditEntry, Refusal> {
    let text = |column| kept.text(column).map(str::to_owned);
    Ok(AuditEntry {
        id: kept.number(0)?,
        at: kept.number(1)?.unwrap_or_default(),
        entry: text(2)?,
        server: serde_json::from_value(text(3)?.into()).map_err(|error| unreadable(&error))?,
        who: text(4)?,
        from: text(5)?,
        what: text(6)?,
        about: text(7)?,
        result: text(8)?,
    })
}
