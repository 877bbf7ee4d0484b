//! Redo of one database whose file stands at an earlier position than everything else on this server: its records were
//! passed over while it was out of use, and it must not be used again before it has them.
//!
//! SQLite must not have the file open, and nobody may replay meanwhile.

use std::sync::Arc;

use counterpart_core::{
    DatabaseId, Epoch, Lsn,
    record::{Kind, Record},
};
use counterpart_engine::{ApplyError, DatabaseMap, RedoFile};
use counterpart_journal::{ControlError, ReadError, sync_file};

use crate::{databases::file_path, maps, shared::Shared};

/// Why a database was not brought to a position. Its file shows whole transactions, and is not to be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatchUpError {
    #[error(transparent)]
    Journal(#[from] ReadError),
    #[error("a record that was passed over does not fit: {0}")]
    Apply(#[from] ApplyError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("its checksum at {at} should be {expected:016x}, and is {found:016x}")]
    Differs { at: Lsn, expected: u64, found: u64 },
}

/// Whether a transaction of chunks follows whose first one is not.
#[derive(Default)]
struct Run {
    epoch: Option<Epoch>,
    open: bool,
}

impl Run {
    /// Takes in the next record of the journal; whether it says that an open run never ends.
    fn note(&mut self, record: &Record, id: DatabaseId) -> bool {
        let header = record.header();
        let other = self.epoch.replace(header.epoch).is_some_and(|before| before != header.epoch);
        let ended = (other || header.kind == Kind::Mark) && std::mem::take(&mut self.open);
        if header.database == id {
            self.open = header.kind == Kind::Chunk;
        }
        ended
    }
}

/// Whether, at `to`, a transaction in chunks of the database has begun after `after` and not ended.
///
/// # Errors
/// The journal can't be read.
pub(crate) fn is_within_run(
    shared: &Shared,
    id: DatabaseId,
    after: Lsn,
    to: Lsn,
) -> Result<bool, ReadError> {
    let mut run = Run::default();
    for record in shared.journal.records_after(after) {
        let record = record?;
        if record.lsn() > to {
            break;
        }
        run.note(&record, id);
    }
    Ok(run.open)
}

/// Redoes the records of a database after `after`, which its file shows exactly or which is a mark below what it shows,
/// up to `to`, which must be final. File and map are durable afterwards. A transaction that has not ended by then is
/// left out.
///
/// # Errors
/// [`CatchUpError`].
pub(crate) fn catch_up(
    shared: &Shared,
    id: DatabaseId,
    map: &Arc<DatabaseMap>,
    after: Lsn,
    to: Lsn,
) -> Result<(), CatchUpError> {
    let path = file_path(&shared.settings.data, id);
    let (mut run, mut file, mut recorded) = (Run::default(), None::<RedoFile>, None);
    for record in shared.journal.records_after(after) {
        let record = record?;
        if record.lsn() > to {
            break;
        }
        if run.note(&record, id)
            && let Some(file) = file.take()
        {
            recorded = file.finish()?.recorded.or(recorded);
        }
        let header = record.header();
        let has_pages =
            matches!(header.kind, Kind::Chunk | Kind::Transaction | Kind::CreateDatabase);
        if header.database == id && has_pages {
            let file = match &mut file {
                Some(file) => file,
                None => file.insert(RedoFile::open(&path, map.page_size())?),
            };
            file.push(&record)?;
        }
    }
    if let Some(file) = file {
        recorded = file.finish()?.recorded.or(recorded);
    }
    if map.file_checksum() == 0 {
        map.rebuild(to, &mut |_, _| ())?;
    }
    if let Some((at, expected)) = recorded {
        let found = map.file_checksum();
        if found != expected {
            return Err(CatchUpError::Differs { at, expected, found });
        }
    }
    sync_file(&path)?;
    Ok(maps::save(map, to)?)
}
