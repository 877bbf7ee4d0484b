//! A seed's contents and progress. The progress is durable on the mirror and repeated when it rejoins.

use serde::{Deserialize, Serialize};

use crate::ids::{DatabaseId, DatabaseName, Lsn, PageNo, PageSize};

/// A database that a seed copies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeedDatabase {
    /// Its identity.
    pub id: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
    /// Its page size.
    pub page_size: PageSize,
    /// Its size in pages when the seed began; it may grow or shrink while it is copied.
    pub pages: u32,
}

/// What a seed consists of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SeedContents {
    /// The databases, in the order in which they are copied.
    pub databases: Vec<SeedDatabase>,
    /// The number that the next database gets: none names two databases in one journal, and those that were dropped
    /// before the mark are in it elsewhere.
    pub next_database: DatabaseId,
}

/// How far a seed is: the databases in `done` are copied, `database` up to before `next_page`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeedProgress {
    /// The mark that the seed builds on.
    pub mark: Lsn,
    /// Whether the mirror's journal begins after the mark already.
    pub journal_reset: bool,
    /// Databases that are copied whole, in the order in which they were.
    pub done: Vec<DatabaseId>,
    /// The database being copied, `None` between databases.
    pub database: Option<DatabaseId>,
    /// The first page of it that is not yet durable on the mirror.
    pub next_page: PageNo,
    /// No page copied so far shows an event above this position.
    pub copied_at: Lsn,
    /// Once all pages are there: the position up to which the journal must be redone before the copy is usable.
    pub consistent_at: Option<Lsn>,
    /// The copy was spooled whole, with its journal, beside what was here; from here on it takes that place.
    #[serde(default)]
    pub spooled: bool,
}

impl SeedProgress {
    /// A seed that has copied nothing yet.
    #[must_use]
    pub fn begun(mark: Lsn) -> SeedProgress {
        SeedProgress {
            mark,
            journal_reset: false,
            done: Vec::new(),
            database: None,
            next_page: PageNo(1),
            copied_at: Lsn::ZERO,
            consistent_at: None,
            spooled: false,
        }
    }

    /// A copy that is spooled whole: pages that show at least `mark` and at most `end`, and the journal between.
    #[must_use]
    pub fn spooled(mark: Lsn, end: Lsn) -> SeedProgress {
        SeedProgress {
            copied_at: end,
            consistent_at: Some(end),
            spooled: true,
            ..SeedProgress::begun(mark)
        }
    }
}
