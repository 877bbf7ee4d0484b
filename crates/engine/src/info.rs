//! What a database consists of, for those who look at it from outside.

use counterpart_core::PageSize;

use crate::{database::Database, error::SqlError, import::user_tables};

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// Its number of rows, if they were to be counted and the table can be read.
    pub rows: Option<u64>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseInfo {
    /// The size of its pages.
    pub page_size: PageSize,
    /// Its size in pages.
    pub size_in_pages: u32,
    /// Pages of these that hold nothing.
    pub free_pages: u32,
    /// The tables, those of SQLite itself left out, by name.
    pub tables: Vec<TableInfo>,
}

impl Database {
    /// Describes the database as it is at one moment. Counting rows reads every table from end to end.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn info(&self, count_rows: bool) -> Result<DatabaseInfo, SqlError> {
        let db = self.shared.open_connection()?;
        // Counting rows runs what a client put into the schema, such as a view that a text index reads from.
        db.execute_batch("PRAGMA query_only=ON; BEGIN")?;
        let tables = user_tables(&db)?
            .into_iter()
            .map(|name| {
                let quoted = name.replace('"', "\"\"");
                let count = format!("SELECT count(*) FROM \"{quoted}\"");
                // A virtual table of a module that this server does not have cannot be read; that is no
                // reason to say nothing about the others.
                let rows =
                    count_rows.then(|| db.query_row(&count, [], |row| row.get(0)).ok()).flatten();
                TableInfo { name, rows: rows.and_then(|rows: i64| u64::try_from(rows).ok()) }
            })
            .collect();
        let number = |pragma: &str| db.query_row(pragma, [], |row| row.get(0));
        Ok(DatabaseInfo {
            page_size: self.page_size(),
            size_in_pages: number("PRAGMA page_count")?,
            free_pages: number("PRAGMA freelist_count")?,
            tables,
        })
    }
}
