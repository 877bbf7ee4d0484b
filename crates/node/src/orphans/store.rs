//! Where sets of orphans lie, and how they are listed, read and deleted.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use counterpart_core::{DatabaseId, DatabaseName};
use counterpart_journal::rename_durably;
use tokio::sync::mpsc;

use super::{Form, OrphanDatabase, OrphanSet, sql};
use crate::{operations::Export, ops::create::failed, refusal::Refusal, shared::Shared};

pub(super) const ABOUT: &str = "about.json";
pub(super) const RECORDS: &str = "records";

/// Bytes in a piece of an export.
const PIECE: usize = 256 << 10;

/// Pieces that wait for the reader.
const WAITING: usize = 4;

pub(super) fn home(shared: &Shared) -> PathBuf {
    shared.settings.data.join("orphans")
}

pub(super) fn copy_name(id: DatabaseId) -> String {
    format!("{}.db", id.0)
}

pub(super) fn rows_name(id: DatabaseId) -> String {
    format!("{}.rows.jsonl", id.0)
}

/// What a set is called while not all of it is there.
pub(super) fn partial_name(id: &str) -> String {
    format!("{id}.partial")
}

/// Deletes what is left of sets that were being saved or dropped when the server ended. For a start: what was to be
/// saved is saved anew before this server joins anybody.
///
/// # Errors
/// What the file system says.
pub(crate) fn discard_partial(data: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(data.join("orphans")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "partial") {
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// What a set's own file says.
pub(super) fn read_set(directory: &Path) -> io::Result<OrphanSet> {
    let bytes = std::fs::read(directory.join(ABOUT))?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// All sets, the oldest first. One that can't be read is named in the log, not left out in silence.
pub(crate) fn list(shared: &Shared) -> Result<Vec<OrphanSet>, Refusal> {
    let entries = match std::fs::read_dir(home(shared)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| failed("the orphans can't be listed", error))?,
    };
    let mut sets = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed("the orphans can't be listed", error))?.path();
        // An unfinished one is made again before this server joins anybody.
        if path.extension().is_some_and(|ending| ending == "partial") {
            continue;
        }
        match read_set(&path) {
            // It is what its directory is called: of a copy somebody made, the original must not be meant.
            Ok(set) => sets.extend(entry_name(&path).map(|id| OrphanSet { id, ..set })),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a set of orphans can't be read");
            }
        }
    }
    sets.sort_by(|a, b| (a.saved_at, &a.id).cmp(&(b.saved_at, &b.id)));
    Ok(sets)
}

fn entry_name(path: &Path) -> Option<String> {
    path.file_name()?.to_str().map(str::to_owned)
}

/// One set.
pub(crate) fn show(shared: &Shared, id: &str) -> Result<OrphanSet, Refusal> {
    list(shared)?.into_iter().find(|set| set.id == id).ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> Refusal {
    Refusal::new(
        "ORPHANS_NOT_FOUND",
        format!("there is no set of orphans called {id}"),
        "list them with `counterpart orphans list`",
    )
}

/// The database of a set that is meant; `None` means the only one, or the only one beside the server's own.
fn database<'a>(
    set: &'a OrphanSet,
    name: Option<&DatabaseName>,
) -> Result<&'a OrphanDatabase, Refusal> {
    let refuse = |what: String| {
        let names = set.databases.iter().map(|database| database.name.to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        Refusal::new("DATABASE_NOT_FOUND", what, format!("name one of those it touched: {names}"))
    };
    let of_users: Vec<_> = set.databases.iter().filter(|one| !one.name.is_system()).collect();
    match (name, of_users.as_slice(), set.databases.as_slice()) {
        (None, [only], _) => Ok(only),
        (None, [], [only]) => Ok(only),
        (None, ..) => Err(refuse(format!("the set {} touched several databases, or none", set.id))),
        (Some(name), _, all) => all
            .iter()
            .find(|database| database.name == *name)
            .ok_or_else(|| refuse(format!("the set {} did not touch a database {name}", set.id))),
    }
}

/// Rows that are told at most: they are all in memory at once.
const MOST_ROWS: usize = 10_000;

/// The first `limit` rows that differ, as they were written down; [`MOST_ROWS`] at most.
pub(crate) fn rows(
    shared: &Shared,
    id: &str,
    name: Option<&DatabaseName>,
    limit: usize,
) -> Result<Vec<serde_json::Value>, Refusal> {
    let set = show(shared, id)?;
    let database = database(&set, name)?;
    let file = open_rows(shared, &set, database)?;
    let unreadable =
        |error: &dyn std::fmt::Display| failed("the list of rows can't be read", error);
    BufReader::new(file)
        .lines()
        .take(limit.min(MOST_ROWS))
        .map(|line| {
            let line = line.map_err(|error| unreadable(&error))?;
            serde_json::from_str(&line).map_err(|error| unreadable(&error))
        })
        .collect()
}

fn open_rows(shared: &Shared, set: &OrphanSet, database: &OrphanDatabase) -> Result<File, Refusal> {
    match database.differences {
        None if database.why_not.is_some() => Err(Refusal::new(
            "NOT_COMPARED",
            format!(
                "{} can't be compared: {}",
                database.name,
                database.why_not.as_deref().unwrap_or_default()
            ),
            "export the SQLite file; a restart of this server tries again",
        )),
        None => Err(Refusal::new(
            "NOT_COMPARED",
            format!("{} has not been compared with the new principal's yet", database.name),
            "try again when this server has joined the new principal; the SQLite file can be exported now",
        )),
        Some(differences) if !differences.present => Err(Refusal::new(
            "NOT_COMPARED",
            format!(
                "{} does not exist any more, so there is nothing to compare with",
                database.name
            ),
            "export the SQLite file",
        )),
        Some(_) => File::open(home(shared).join(&set.id).join(rows_name(database.id)))
            .map_err(|error| failed("the list of rows can't be read", error)),
    }
}

/// A database of a set on its way out.
pub(crate) fn export(
    shared: &Arc<Shared>,
    id: &str,
    name: Option<&DatabaseName>,
    form: Form,
) -> Result<Export, Refusal> {
    let set = show(shared, id)?;
    let database = database(&set, name)?;
    let unreadable = |error: io::Error| failed("the orphans can't be read", error);
    let (mut source, length): (Box<dyn Read + Send>, u64) = match form {
        Form::Sqlite if !database.copied => {
            return Err(Refusal::new(
                "NOT_COPIED",
                format!("the orphans dropped {}, so they left no copy of it", database.name),
                "the records of the set tell what else they did",
            ));
        }
        Form::Sqlite => {
            let path = home(shared).join(&set.id).join(copy_name(database.id));
            let file = File::open(path).map_err(unreadable)?;
            let length = file.metadata().map_err(unreadable)?.len();
            (Box::new(file), length)
        }
        Form::Rows => {
            let file = open_rows(shared, &set, database)?;
            let length = file.metadata().map_err(unreadable)?.len();
            (Box::new(file), length)
        }
        Form::Sql => {
            let rows = BufReader::new(open_rows(shared, &set, database)?);
            let (file, length) = as_sql(rows, &home(shared).join(&set.id)).map_err(unreadable)?;
            (Box::new(file), length)
        }
    };
    let (sender, pieces) = mpsc::channel(WAITING);
    shared.io.spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let piece = match source.read(&mut piece) {
                Ok(0) => return,
                Ok(read) => {
                    piece.truncate(read);
                    Ok(Bytes::from(piece))
                }
                Err(error) => Err(failed("the orphans can't be read", error)),
            };
            let broken = piece.is_err();
            if sender.blocking_send(piece).is_err() || broken {
                return;
            }
        }
    });
    Ok(Export { length, pieces })
}

/// The rows as SQL, in a file without a name, because they may be more than fit into memory; and its length.
fn as_sql(rows: impl BufRead, directory: &Path) -> io::Result<(File, u64)> {
    let path = directory.join(format!("export-{:016x}", crate::random::number()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    let mut to = BufWriter::new(&mut file);
    sql::write_statements(rows, &mut to)?;
    to.flush()?;
    drop(to);
    let length = file.stream_position()?;
    file.rewind()?;
    Ok((file, length))
}

/// Deletes a set for good.
pub(crate) fn drop_set(shared: &Shared, id: &str) -> Result<(), Refusal> {
    let set = show(shared, id)?;
    let directory = home(shared).join(&set.id);
    let going = home(shared).join(partial_name(&set.id));
    // A set that is half deleted is none.
    rename_durably(&directory, &going)
        .and_then(|()| std::fs::remove_dir_all(&going))
        .map_err(|error| failed("the orphans can't be deleted", error))?;
    tracing::warn!(set = set.id, "orphans were deleted");
    Ok(())
}
