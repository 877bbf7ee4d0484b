//! The server's own database: what it must know after a takeover as before it.
//!
//! It is mirrored, proven and backed up like every other, and nobody but the server opens it: no client can write its name. It is
//! made when there is something to keep.

mod hashing;
pub(crate) mod sign_in;
mod tokens;
mod users;

pub use tokens::{NewToken, TokenSummary};
pub use users::{Attempt, LoggedIn, NewUser, UserSummary};

use std::sync::{Arc, Weak};

use counterpart_access::Fingerprint;
use counterpart_core::{DatabaseName, Lsn};
use counterpart_engine::{Args, SqlError, Statement, Value};

use crate::{
    databases::Hosted, node::Node, ops, refusal::Refusal, shared::Shared, stream::ClientStream,
};

/// How the server's own database stood at a moment. Whoever takes one *before* reading from it can tell later whether
/// what was read is still all there is.
#[derive(Debug)]
pub struct SystemView {
    /// Nothing if it was not there. Two databases of this name are never at the same address while this is held.
    of: Option<Weak<Hosted>>,
    /// A reader from then on sees every change up to here.
    at: Lsn,
}

impl Node {
    fn system(&self) -> Option<Arc<Hosted>> {
        self.shared.databases.present(&DatabaseName::system())
    }

    /// How the server's own database stands now.
    #[must_use]
    pub fn view_system(&self) -> SystemView {
        // In this order: what was applied before is in the database that is found afterwards.
        let at = self.shared.applied();
        SystemView { of: self.system().map(|hosted| Arc::downgrade(&hosted)), at }
    }

    /// Whether nothing in the server's own database has changed since.
    #[must_use]
    pub fn is_current(&self, view: &SystemView) -> bool {
        match (&view.of, self.system()) {
            (None, None) => true,
            // A change is noted before a mirror's readers can see it, and before a principal answers whoever made it.
            (Some(seen), Some(now)) => {
                Weak::as_ptr(seen) == Arc::as_ptr(&now) && now.last_change() <= view.at
            }
            _ => false,
        }
    }
}

/// Opens a stream on the server's own database; nothing if there is none.
///
/// # Errors
/// Why nothing can be read now.
pub(crate) fn open(shared: &Arc<Shared>) -> Result<Option<ClientStream>, Refusal> {
    match shared.databases.named(&DatabaseName::system()) {
        Ok(hosted) => Ok(Some(ClientStream::new(Arc::clone(shared), hosted))),
        Err(refusal) if refusal.code() == "DATABASE_NOT_FOUND" => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Opens a stream on a table of the server's own database; nothing if it was never made.
///
/// # Errors
/// Why nothing can be read now.
pub(crate) async fn open_table(
    shared: &Arc<Shared>,
    table: &str,
) -> Result<Option<ClientStream>, Refusal> {
    let Some(mut stream) = open(shared)? else { return Ok(None) };
    let there = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?";
    let there = !run(&mut stream, there, vec![Value::Text(table.to_owned())]).await?.is_empty();
    Ok(there.then_some(stream))
}

/// Opens a stream on the server's own database, which is made if there is none.
///
/// # Errors
/// What every write can meet: `READ_ONLY_MIRROR`, `DISK_FULL`, …
pub(crate) async fn make(shared: &Arc<Shared>) -> Result<ClientStream, Refusal> {
    // A mirror says where the principal is, and a failover is waited out.
    shared.admission.pass().await?;
    if let Some(stream) = open(shared)? {
        return Ok(stream);
    }
    match ops::create::create_database(shared, &DatabaseName::system()).await {
        Ok(_) => {}
        // Somebody else made it meanwhile.
        Err(refusal) if refusal.code() == "DATABASE_EXISTS" => {}
        Err(refusal) => return Err(refusal),
    }
    let hosted = shared.databases.named(&DatabaseName::system())?;
    Ok(ClientStream::new(Arc::clone(shared), hosted))
}

/// Executes a statement: its rows.
pub(crate) async fn run(
    stream: &mut ClientStream,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<Vec<Value>>, Refusal> {
    execute(stream, sql, values).await.map_err(said)
}

/// The same, with what SQLite says.
pub(crate) async fn execute(
    stream: &mut ClientStream,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<Vec<Value>>, SqlError> {
    let args = Args { positional: values, named: Vec::new() };
    let statement = Statement { sql: sql.into(), args, want_rows: true };
    Ok(stream.execute(Arc::new(statement)).await?.rows)
}

/// What SQLite said, as a refusal.
pub(crate) fn said(error: SqlError) -> Refusal {
    Refusal::new(
        error.code,
        format!("the server's own database: {}", error.message),
        "try again; if it goes on, look into the server's log",
    )
}

/// A number as SQLite keeps it.
pub(crate) fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// What was read is nothing that this version writes.
pub(crate) fn unreadable(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        "STORAGE_FAILED",
        format!("what is kept in the server's own database cannot be read: {why}"),
        "was it written by a later version? Start that one, or take it back there",
    )
}

/// A row as it was kept.
pub(crate) struct Kept<'a>(pub &'a [Value]);

impl Kept<'_> {
    pub(crate) fn text(&self, column: usize) -> Result<&str, Refusal> {
        match &self.0[column] {
            Value::Text(text) => Ok(text),
            other => Err(unreadable(&format!("{other:?} is no text"))),
        }
    }

    /// A number, or nothing.
    pub(crate) fn number(&self, column: usize) -> Result<Option<u64>, Refusal> {
        match &self.0[column] {
            Value::Null => Ok(None),
            Value::Integer(number) => Ok(Some(u64::try_from(*number).unwrap_or(0))),
            other => Err(unreadable(&format!("{other:?} is no number"))),
        }
    }

    /// Names of databases; all without.
    pub(crate) fn databases(&self, column: usize) -> Result<Option<Vec<String>>, Refusal> {
        if self.0[column] == Value::Null {
            return Ok(None);
        }
        Ok(Some(self.text(column)?.split(' ').map(str::to_owned).collect()))
    }

    pub(crate) fn fingerprint(&self, column: usize) -> Result<Fingerprint, Refusal> {
        let Value::Blob(bytes) = &self.0[column] else {
            return Err(unreadable(&"a fingerprint that is no blob"));
        };
        Fingerprint::from_bytes(bytes).ok_or_else(|| unreadable(&"a fingerprint of another length"))
    }
}
