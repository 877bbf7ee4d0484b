//! Import: any SQLite file, checked before it is believed.
//!
//! The file is a copy that belongs to the server. Nothing else may have it open, and nothing is served from it
//! before the check has passed.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use counterpart_core::PageSize;
use rusqlite::{OpenFlags, ffi};

use crate::error::SqlError;

/// Instructions of SQLite's virtual machine between two reports.
const INSTRUCTIONS_PER_REPORT: i32 = 100_000;

/// What an imported file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportInfo {
    /// The size of its pages.
    pub page_size: PageSize,
    /// Its size in pages.
    pub size_in_pages: u32,
    /// The names of its tables, those of SQLite itself left out.
    pub tables: Vec<String>,
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The file has no bytes.
    #[error("the file is empty; a SQLite database has at least one page")]
    Empty,
    /// It does not begin as a SQLite database does.
    #[error(
        "the file is not a SQLite database, or it is encrypted; give an unencrypted SQLite file"
    )]
    NotSqlite,
    /// It is shorter than it says, or longer.
    #[error(
        "the file has {actual} bytes where its header says {expected}; copy it again, completely"
    )]
    CutShort {
        /// Bytes by the header.
        expected: u64,
        /// Bytes that are there.
        actual: u64,
    },
    /// SQLite's integrity check found damage.
    #[error("the file is damaged: {0}; recover it with the sqlite3 program's .recover first")]
    Damaged(String),
    /// SQLite cannot open it or check it.
    #[error("SQLite cannot check the file: {0}")]
    Sqlite(SqlError),
}

impl From<rusqlite::Error> for ImportError {
    fn from(error: rusqlite::Error) -> ImportError {
        let error = SqlError::from(error);
        match error.code.as_str() {
            "SQLITE_NOTADB" => ImportError::NotSqlite,
            code if code.starts_with("SQLITE_CORRUPT") => ImportError::Damaged(error.message),
            _ => ImportError::Sqlite(error),
        }
    }
}

/// Checks the file's integrity and brings it into WAL mode, as one file without a `-wal`. `progress` is told, now
/// and then, about how many of how many pages were read.
///
/// # Errors
/// [`ImportError`], each with what to do; the file may have been changed then and is worth nothing.
pub fn import_check(
    path: &Path,
    mut progress: impl FnMut(u32, u32) + Send + 'static,
) -> Result<ImportInfo, ImportError> {
    check_header(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = rusqlite::Connection::open_with_flags(path, flags)?;
    // Not durable here: whoever takes the file over syncs it.
    db.execute_batch("PRAGMA synchronous=OFF; PRAGMA cache_size=-32000")?;
    let size_in_pages: u32 = db.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let page_size: u32 = db.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    // SAFETY: the handle is used only by the handler, which SQLite calls while `db` is open.
    let handle = unsafe { db.handle() } as usize;
    db.progress_handler(
        INSTRUCTIONS_PER_REPORT,
        Some(move || {
            progress(pages_read(handle as *mut ffi::sqlite3).min(size_in_pages), size_in_pages);
            false
        }),
    )?;
    check_integrity(&db)?;
    let tables = user_tables(&db)?;
    // Away from WAL and back: what a WAL beside the file held is in it then, and its format is WAL.
    db.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(()))?;
    let mode: String = db.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let cause = format!("its journal mode stays {mode:?}");
        return Err(ImportError::Sqlite(SqlError::new("SQLITE_ERROR", cause)));
    }
    // Closing the only connection removes the WAL.
    db.close().map_err(|(_, error)| error)?;
    let page_size = PageSize::from_bytes(page_size).expect("SQLite has no other page sizes");
    Ok(ImportInfo { page_size, size_in_pages, tables })
}

/// The names of the tables that users made.
pub(crate) fn user_tables(db: &rusqlite::Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         ORDER BY name",
    )?;
    statement.query_map([], |row| row.get(0))?.collect()
}

fn check_header(path: &Path) -> Result<(), ImportError> {
    let mut file = File::open(path)?;
    let actual = file.metadata()?.len();
    if actual == 0 {
        return Err(ImportError::Empty);
    }
    let mut header = [0; 100];
    if actual < 512 {
        return Err(ImportError::NotSqlite);
    }
    file.read_exact(&mut header)?;
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u32::from(size),
    };
    if &header[..16] != b"SQLite format 3\0" || PageSize::from_bytes(page_size).is_none() {
        return Err(ImportError::NotSqlite);
    }
    let u32_at = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    // The size in the header counts only if the version of SQLite that wrote it kept it; a file in WAL mode may
    // be shorter than the database that its WAL completes.
    let expected = u64::from(u32_at(28)) * u64::from(page_size);
    let kept = u32_at(24) == u32_at(92) && expected != 0 && header[18] == 1;
    if kept && actual < expected {
        return Err(ImportError::CutShort { expected, actual });
    }
    Ok(())
}

fn check_integrity(db: &rusqlite::Connection) -> Result<(), ImportError> {
    let mut statement = db.prepare("PRAGMA integrity_check(3)")?;
    let found: Vec<String> =
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if found == ["ok"] { Ok(()) } else { Err(ImportError::Damaged(found.join("; "))) }
}

/// Pages that the connection has read from its file.
fn pages_read(db: *mut ffi::sqlite3) -> u32 {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: SQLite calls the handler on the thread that uses the connection; the out pointers are ours.
    unsafe {
        let counter = ffi::SQLITE_DBSTATUS_CACHE_MISS;
        ffi::sqlite3_db_status(db, counter, &mut current, &mut highest, 0);
    }
    u32::try_from(current).unwrap_or(0)
}
