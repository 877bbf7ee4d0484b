//! A SQLite file becomes a database: checked first, journaled page by page, then hosted as it stands.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{
    DatabaseId, DatabaseName, Lsn, PageNo,
    map::{known, page_hash},
    record::{Draft, PageEncoder, TransactionDraft},
};
use counterpart_engine::{ImportInfo, import_check};
use counterpart_journal::{
    crash_point, disk::remove_dir_if_there, free_bytes, rename_durably, sync_file,
};

use super::create::{
    admitted_changes, drop_hosted, enter, exists, failed, in_background, make_main, reserve,
};
use crate::{
    admission::Door,
    clock,
    databases::{Hosted, file_path},
    refusal::Refusal,
    replay::remove_files,
    shared::Shared,
};

/// Room that must stay free on the file system besides what an import takes.
const SPARE: u64 = 64 << 20;

fn staging(data: &Path) -> PathBuf {
    data.join("staging")
}

/// Deletes what a server that was killed had received of uploads: whoever sent them was told nothing, and nobody
/// else knows of them. For a start, before any upload can begin.
///
/// # Errors
/// What the file system says.
pub(crate) fn discard_uploads(data: &Path) -> std::io::Result<()> {
    remove_dir_if_there(&staging(data))
}

/// A path for an upload of `bytes` that is to become `name`. What is checked here may change until all has come, and is
/// checked again then.
pub(crate) fn staging_path(
    shared: &Shared,
    name: &DatabaseName,
    bytes: u64,
) -> Result<PathBuf, Refusal> {
    if let Door::Closed(refusal) = shared.admission.now() {
        return Err(refusal);
    }
    // Whether `main` is empty is seen when the file is there.
    if *name != DatabaseName::main() && shared.databases.exists(name) {
        return Err(exists(name));
    }
    staged(shared, bytes)
}

/// A path for an upload of `bytes`, which will be written once more where it stays.
pub(crate) fn staged(shared: &Shared, bytes: u64) -> Result<PathBuf, Refusal> {
    let directory = staging(&shared.settings.data);
    std::fs::create_dir_all(&directory).map_err(|e| failed("there is no room for uploads", e))?;
    require_space(shared, bytes.saturating_mul(2))?;
    Ok(directory.join(format!("upload-{:016x}", crate::random::number())))
}

/// Refuses what the disk can't take.
pub(crate) fn require_space(shared: &Shared, bytes: u64) -> Result<(), Refusal> {
    let free =
        free_bytes(&shared.settings.data).map_err(|e| failed("the free space is not known", e))?;
    if free >= bytes.saturating_add(SPARE) {
        return Ok(());
    }
    Err(Refusal::new(
        "DISK_FULL",
        format!(
            "{bytes} bytes are needed in {} and {free} are free",
            shared.settings.data.display()
        ),
        "free some space, or use a larger disk",
    ))
}

/// Makes the staged file the database `name`. The staged file is gone afterwards, whatever the outcome.
pub(crate) async fn import(
    shared: &Arc<Shared>,
    name: &DatabaseName,
    staged: PathBuf,
) -> Result<Arc<Hosted>, Refusal> {
    let staged = Staged(staged);
    let path = staged.0.clone();
    let info = in_background("checking the file", move || {
        import_check(&path, |_, _| ()).map_err(|e| invalid(&e.to_string()))
    })
    .await?;
    let _changes = admitted_changes(shared).await?;
    if let Some(hosted) = shared.databases.present(name) {
        if *name != DatabaseName::main() || !is_empty(&hosted).await? {
            return Err(exists(name));
        }
        require_space(shared, 0)?;
        drop_hosted(shared, &hosted).await?;
    } else if shared.databases.exists(name) {
        return Err(exists(name));
    }
    let (taking, called) = (Arc::clone(shared), name.clone());
    let taken =
        in_background("importing", move || take_over(&taking, &called, &staged, &info)).await;
    if taken.is_err() && *name == DatabaseName::main() {
        // The old one made way; clients without a name must find one all the same.
        make_main(shared).await?;
    }
    let (hosted, lsn) = taken?;
    shared.confirmations.wait(lsn).await?;
    Ok(hosted)
}

fn invalid(what: &str) -> Refusal {
    let (what, remedy) = what.split_once("; ").unwrap_or((what, "give an intact SQLite file"));
    Refusal::new("IMPORT_INVALID", what, remedy)
}

/// Whether a database has no tables.
pub(crate) async fn is_empty(hosted: &Arc<Hosted>) -> Result<bool, Refusal> {
    let hosted = Arc::clone(hosted);
    in_background("looking at the database", move || {
        let info =
            hosted.engine.info(false).map_err(|e| failed("the database can't be read", e))?;
        Ok(info.tables.is_empty())
    })
    .await
}

/// An upload that is deleted unless it was moved away.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.0.clone().into_os_string();
            name.push(suffix);
            match std::fs::remove_file(PathBuf::from(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(file = %self.0.display(), %error, "an upload could not be deleted");
                }
                _ => {}
            }
        }
    }
}

fn take_over(
    shared: &Arc<Shared>,
    name: &DatabaseName,
    staged: &Staged,
    info: &ImportInfo,
) -> Result<(Arc<Hosted>, Lsn), Refusal> {
    let id = shared.control.read().next_database;
    let bytes = u64::from(info.size_in_pages) * info.page_size.bytes() as u64;
    reserve(shared, bytes)?;
    sync_file(&staged.0).map_err(|e| failed("the file can't be made durable", e))?;
    crash_point("import.staged");
    remove_files(shared, id).map_err(|e| failed("the database can't be made", e))?;
    // What fails from here on leaves chunks of this number behind, which no other database may complete.
    shared
        .control
        .update(|control| control.next_database = DatabaseId(id.0 + 1))
        .map_err(|e| failed("the control file can't be written", e))?;
    // Chunks before the last record are a run: no mark may fall among them.
    let mut run = shared.runs.begin();
    run.is_run();
    let last = journal_pages(shared, id, info, &staged.0, name)?;
    crash_point("import.journaled");
    let path = file_path(&shared.settings.data, id);
    rename_durably(&staged.0, &path)
        .map_err(|e| failed("the file can't be moved into place", e))?;
    crash_point("import.renamed");
    let entered = enter(shared, id, name, last);
    drop(run);
    entered
}

/// Journals all pages but those of the last record, which is returned.
fn journal_pages(
    shared: &Shared,
    id: counterpart_core::DatabaseId,
    info: &ImportInfo,
    path: &Path,
    name: &DatabaseName,
) -> Result<Draft, Refusal> {
    let unreadable = |e: std::io::Error| failed("the file can't be read", e);
    let mut file =
        std::io::BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
    let mut draft = TransactionDraft::new(id, info.page_size, clock::unix_now());
    let (mut image, mut checksum) = (vec![0; info.page_size.bytes()], 0);
    let mut encoder = PageEncoder::default();
    for number in 1..=info.size_in_pages {
        file.read_exact(&mut image).map_err(unreadable)?;
        if PageNo(number) == info.page_size.lock_page() {
            continue;
        }
        checksum ^= page_hash(PageNo(number), &image);
        if let Some(chunk) = draft.push_version(PageNo(number), None, &image, &mut encoder) {
            shared.append(chunk).map_err(|e| failed("the file can't be journaled", e))?;
        }
    }
    Ok(draft.finish_create(name, info.size_in_pages, known(checksum)))
}
