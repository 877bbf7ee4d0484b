//! Saving: the records, and a copy of each database that they touched, durable before anybody is told.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{
    DatabaseId, Lsn, UnixMicros,
    record::{Kind, Record},
};
use counterpart_engine::{ApplyError, RedoFile, SqlError};
use counterpart_journal::{
    ReadError, crash_point, disk::remove_dir_if_there, rename_durably, sync_dir, sync_file,
};

use super::{OrphanDatabase, OrphanSet, store};
use crate::{clock, databases::Hosted, shared::Shared};

/// Bytes of a copy written at a time.
const PIECE: usize = 1 << 20;

/// Why orphans could not be saved. Nothing was changed; this server keeps what it has.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The file system.
    #[error("orphans can't be saved in {path}: {cause}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The journal can't be read.
    #[error("orphans can't be saved: {0}")]
    Journal(#[from] ReadError),
    /// A database can't be read.
    #[error("orphans can't be saved: database {0} can't be read: {1}")]
    Read(String, SqlError),
    /// A record does not fit the copy.
    #[error("orphans can't be saved: database {0}: {1}")]
    Apply(String, ApplyError),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SaveError {
    let path = path.to_owned();
    move |cause| SaveError::Io { path, cause }
}

/// What the orphaned records do to one database.
#[derive(Default)]
struct Touched {
    events: u64,
    /// The name, where the orphans created it.
    created: Option<counterpart_core::DatabaseName>,
}

/// Saves the events after `common` up to `end`, which is what the databases show once all of the journal is in them.
/// Nobody may apply records meanwhile. Saving the same set again gives the same set.
///
/// # Errors
/// [`SaveError`].
pub(crate) fn save(shared: &Arc<Shared>, common: Lsn, end: Lsn) -> Result<OrphanSet, SaveError> {
    let home = store::home(shared);
    let first = common.next();
    let mut set = OrphanSet {
        id: String::new(),
        saved_at: clock::unix_now(),
        epoch: shared.control.read().session.history.epoch_at(end).unwrap_or_default(),
        common,
        end,
        records_from: shared.journal.first().max(first),
        last_at: None,
        databases: Vec::new(),
    };
    set.id = format!("{}-{}-{}", set.epoch, first.0, end.0);
    let directory = home.join(&set.id);
    if let Ok(known) = store::read_set(&directory) {
        return Ok(known);
    }
    let partial = home.join(store::partial_name(&set.id));
    for left_over in [&partial, &directory] {
        remove_dir_if_there(left_over).map_err(io_error(left_over))?;
    }
    std::fs::create_dir_all(&partial).map_err(io_error(&partial))?;
    crash_point("orphans.begun");
    let touched = save_records(shared, &mut set, &partial)?;
    crash_point("orphans.records_saved");
    for (id, touched) in touched {
        let database = save_database(shared, &set, &partial, id, touched)?;
        set.databases.extend(database);
    }
    let about = partial.join(store::ABOUT);
    let bytes = serde_json::to_vec_pretty(&set).expect("plain values always encode");
    std::fs::write(&about, bytes).map_err(io_error(&about))?;
    sync_file(&about).map_err(io_error(&about))?;
    sync_dir(&partial).map_err(io_error(&partial))?;
    crash_point("orphans.before_rename");
    rename_durably(&partial, &directory).map_err(io_error(&directory))?;
    crash_point("orphans.renamed");
    sync_dir(&shared.settings.data).map_err(io_error(&home))?;
    tracing::warn!(
        set = set.id,
        events = end.since(common),
        "orphans were saved; see `counterpart orphans list`"
    );
    Ok(set)
}

/// Writes the records; what they touch.
fn save_records(
    shared: &Shared,
    set: &mut OrphanSet,
    directory: &Path,
) -> Result<BTreeMap<DatabaseId, Touched>, SaveError> {
    let path = directory.join(store::RECORDS);
    let mut file = BufWriter::new(File::create(&path).map_err(io_error(&path))?);
    let mut touched = BTreeMap::<DatabaseId, Touched>::new();
    for record in shared.journal.records_after(set.records_from.before()) {
        let record = record?;
        if record.lsn() > set.end {
            break;
        }
        file.write_all(record.bytes()).map_err(io_error(&path))?;
        note(&record, &mut touched, &mut set.last_at);
    }
    file.flush().map_err(io_error(&path))?;
    sync_file(&path).map_err(io_error(&path))?;
    // What the journal no longer has still shows in the databases.
    if set.records_from > set.common.next() {
        for hosted in shared.databases.all() {
            if changed_after(&hosted, set.common) {
                touched.entry(hosted.id).or_default();
            }
        }
    }
    Ok(touched)
}

/// Whether any page of the database changed after this position, as far as its page map tells.
fn changed_after(hosted: &Hosted, common: Lsn) -> bool {
    hosted.engine.map().is_none_or(|map| map.live_snapshot().newer_than(common).next().is_some())
}

fn note(
    record: &Record,
    touched: &mut BTreeMap<DatabaseId, Touched>,
    last_at: &mut Option<UnixMicros>,
) {
    let header = record.header();
    if matches!(header.kind, Kind::Mark | Kind::Chunk) {
        return;
    }
    *last_at = Some(header.committed_at);
    let database = touched.entry(header.database).or_default();
    database.events += 1;
    database.created = record.created_name().or(database.created.take());
}

/// Copies a database as it is with all orphans in it. `None` for one that was never complete.
fn save_database(
    shared: &Arc<Shared>,
    set: &OrphanSet,
    directory: &Path,
    id: DatabaseId,
    touched: Touched,
) -> Result<Option<OrphanDatabase>, SaveError> {
    let hosted = shared.databases.numbered(id);
    let name = hosted.as_ref().map(|hosted| hosted.name.clone()).or(touched.created);
    // A database that only the orphans dropped has no name any more but the one in the new principal's catalog.
    let Some(name) = name else { return Ok(None) };
    let path = directory.join(store::copy_name(id));
    let shown = shared.applied();
    if let Some(hosted) = &hosted {
        copy(hosted, &path)?;
    }
    let rest = redo_rest(shared, &path, id, shown.min(set.end), set.end);
    let exists = rest.map_err(|error| match error {
        RestError::Apply(cause) => SaveError::Apply(name.to_string(), cause),
        RestError::Journal(cause) => SaveError::Journal(cause),
        RestError::Io(cause) => io_error(&path)(cause),
    })?;
    let copied = hosted.is_some() || exists;
    if copied {
        sync_file(&path).map_err(io_error(&path))?;
    }
    let (events, differences, why_not) = (touched.events, None, None);
    Ok(Some(OrphanDatabase { id, name, events, copied, differences, why_not }))
}

fn copy(hosted: &Hosted, path: &Path) -> Result<(), SaveError> {
    let read = |error| SaveError::Read(hosted.name.to_string(), error);
    let mut snapshot = hosted.engine.snapshot(clock::unix_now()).map_err(read)?;
    let mut file = File::create(path).map_err(io_error(path))?;
    while let Some(bytes) = snapshot.next_bytes(PIECE).map_err(read)? {
        file.write_all(&bytes).map_err(io_error(path))?;
    }
    Ok(())
}

enum RestError {
    Apply(ApplyError),
    Journal(ReadError),
    Io(io::Error),
}

/// Puts the records of one database into its copy that its databases did not show yet. Whether there were any.
fn redo_rest(
    shared: &Shared,
    path: &Path,
    id: DatabaseId,
    shown: Lsn,
    end: Lsn,
) -> Result<bool, RestError> {
    let mut copy = None;
    // A large transaction may have begun before what is shown, and ended after it.
    let begun = shared.runs_begun().get(&id).copied();
    let from = begun.map_or(shown, |first| first.before().min(shown));
    for record in shared.journal.records_after(from) {
        let record = record.map_err(RestError::Journal)?;
        if record.lsn() > end {
            break;
        }
        let header = record.header();
        if record.lsn() <= shown && header.kind != Kind::Chunk {
            continue;
        }
        let Some(page_size) = header.page_size.filter(|_| header.database == id) else { continue };
        let copy = match &mut copy {
            Some(copy) => copy,
            None => copy.insert(RedoFile::open(path, page_size).map_err(RestError::Io)?),
        };
        copy.push(&record).map_err(RestError::Apply)?;
    }
    let Some(copy) = copy else { return Ok(false) };
    copy.finish().map_err(RestError::Apply)?;
    // A plain file, not one that waits for its WAL.
    let plain = File::options().write(true).open(path).map_err(RestError::Io)?;
    plain.write_all_at(&[1, 1], 18).map_err(RestError::Io)?;
    Ok(true)
}
