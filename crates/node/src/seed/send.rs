//! The principal's side of a seed.

use std::{io, sync::Arc};

use counterpart_core::{
    Lsn, PageNo,
    frame::{self, SeedPages},
    message::{SeedContents, SeedDatabase, SeedProgress},
    session::{Event, LinkId},
};
use counterpart_engine::SqlError;
use counterpart_journal::crash_point;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinError, spawn_blocking},
};

use super::NICE;
use crate::{
    checkpoint::{MarkError, write_mark},
    databases::Hosted,
    link::{Ended, SeedOut},
    priority,
    refusal::Refusal,
    shared::Shared,
};

/// Bytes of pages in one frame: they are read, verified and sent while the processor has them in its cache.
const STEP: usize = 1 << 20;

/// Why a seed broke off. It goes on when the mirror joins again.
#[derive(Debug, thiserror::Error)]
enum SeedError {
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error("database {0} can't be read: {1}")]
    Read(String, SqlError),
    #[error("{0}")]
    NotFinal(Refusal),
    #[error("{0}")]
    Lacks(Refusal),
    #[error(transparent)]
    LinkEnded(#[from] Ended),
    #[error("the list of databases could not be made: {0}")]
    Listing(#[from] JoinError),
    #[error("the system gives no thread: {0}")]
    NoThread(io::Error),
    #[error("the thread that sends it panicked")]
    Panicked,
}

/// Chooses the mark of a seed and lists what it copies; answers `SeedPrepared` or `SeedFailed`.
pub(crate) fn prepare(shared: &Arc<Shared>, link: LinkId, resumed: Option<Box<SeedProgress>>) {
    let shared = Arc::clone(shared);
    let io = shared.io.clone();
    io.spawn(async move {
        match mark_and_list(&shared, resumed).await {
            Ok((mark, contents)) => {
                shared.inputs.event(Event::SeedPrepared { link, mark, contents })
            }
            Err(error) => shared.inputs.event(Event::SeedFailed(link, error.to_string())),
        }
    });
}

async fn mark_and_list(
    shared: &Arc<Shared>,
    resumed: Option<Box<SeedProgress>>,
) -> Result<(Lsn, SeedContents), SeedError> {
    // The list is the catalog exactly at the mark: nobody creates or drops in between.
    let _changes = shared.databases.changes.lock().await;
    // What is out of use would be missing.
    shared.databases.quarantine.none().map_err(SeedError::Lacks)?;
    let mark = match resumed {
        Some(progress) => progress.mark,
        None => {
            let mark = write_mark(shared).await?;
            crash_point("seed.marked");
            shared.confirmations.wait(mark).await.map_err(SeedError::NotFinal)?;
            mark
        }
    };
    let databases = shared.databases.all();
    let listing = spawn_blocking(move || databases.iter().map(|hosted| describe(hosted)).collect());
    let databases: Result<Vec<_>, _> = listing.await?;
    let next_database = shared.control.read().next_database;
    Ok((mark, SeedContents { databases: databases?, next_database }))
}

fn describe(hosted: &Hosted) -> Result<SeedDatabase, SeedError> {
    let failed = |error| SeedError::Read(hosted.name.to_string(), error);
    let first = hosted
        .engine
        .page_reader()
        .and_then(|mut reader| reader.read(PageNo(1), 1))
        .map_err(failed)?;
    Ok(SeedDatabase {
        id: hosted.id,
        name: hosted.name.clone(),
        page_size: hosted.engine.page_size(),
        pages: first.size_in_pages,
    })
}

/// Sends what `progress` lacks; answers `SeedSent` or `SeedFailed`.
pub(crate) fn send(
    shared: &Arc<Shared>,
    link: LinkId,
    seeds: mpsc::Sender<SeedOut>,
    progress: SeedProgress,
) {
    let (told, outcome) = oneshot::channel();
    let sending = Arc::clone(shared);
    let body = move || {
        priority::give_way(NICE);
        let sent = sending.io.block_on(send_all(&sending, &seeds, &progress));
        // Whoever waits for it ends with the server only.
        let _ended = told.send(sent);
    };
    let thread = std::thread::Builder::new().name("seed".to_owned()).spawn(body);
    let shared = Arc::clone(shared);
    let io = shared.io.clone();
    io.spawn(async move {
        let sent = match thread {
            Ok(_detached) => outcome.await.unwrap_or(Err(SeedError::Panicked)),
            Err(error) => Err(SeedError::NoThread(error)),
        };
        match sent {
            Ok(consistent_at) => shared.inputs.event(Event::SeedSent { link, consistent_at }),
            // The link has told the driver already; a second word does no harm.
            Err(error) => shared.inputs.event(Event::SeedFailed(link, error.to_string())),
        }
    });
}

async fn send_all(
    shared: &Arc<Shared>,
    seeds: &mpsc::Sender<SeedOut>,
    progress: &SeedProgress,
) -> Result<Lsn, SeedError> {
    let mut shown = progress.copied_at.max(progress.mark);
    for hosted in shared.databases.all() {
        if progress.done.contains(&hosted.id) {
            continue;
        }
        let from =
            if progress.database == Some(hosted.id) { progress.next_page } else { PageNo(1) };
        shown = shown.max(send_database(shared, seeds, &hosted, from).await?);
    }
    // A database that was dropped meanwhile was listed and not sent: the copy is whole only after its drop.
    let end = shared.journal.last();
    shared.confirmations.wait(end).await.map_err(SeedError::NotFinal)?;
    shown = shown.max(end);
    let (told, flushed) = oneshot::channel();
    seeds.send(SeedOut::Flushed(told)).await.map_err(|_| Ended)?;
    flushed.await.map_err(|_| Ended)?;
    crash_point("seed.all_sent");
    Ok(shown)
}

/// Sends one database's pages from `from` on; the newest position that any of them shows.
async fn send_database(
    shared: &Arc<Shared>,
    seeds: &mpsc::Sender<SeedOut>,
    hosted: &Arc<Hosted>,
    from: PageNo,
) -> Result<Lsn, SeedError> {
    let failed = |error| SeedError::Read(hosted.name.to_string(), error);
    let mut reader = hosted.engine.page_reader().map_err(failed)?;
    let (mut next, mut shown) = (from, Lsn::ZERO);
    loop {
        let pages = reader.read(next, STEP).map_err(failed)?;
        let newest = hosted.visibility.newest().await;
        shared.confirmations.wait(newest).await.map_err(SeedError::NotFinal)?;
        shown = shown.max(newest);
        if pages.bytes.is_empty() || hosted.is_retired() {
            return Ok(shown);
        }
        let pages = SeedPages {
            database: hosted.id,
            first: pages.first,
            page_size: hosted.engine.page_size(),
            shown: newest,
            bytes: pages.bytes,
        };
        next = PageNo(next.0 + pages.count());
        send_frame(seeds, &pages).await?;
        crash_point("seed.frame_sent");
    }
}

async fn send_frame(seeds: &mpsc::Sender<SeedOut>, pages: &SeedPages) -> Result<(), SeedError> {
    let (kind, [head, body]) = pages.parts(true);
    let header = frame::header(kind, &[&head, &body]);
    let (turn, my_turn) = oneshot::channel();
    seeds.send(SeedOut::Turn(turn)).await.map_err(|_| Ended)?;
    let link = my_turn.await.map_err(|_| Ended)?;
    Ok(link.write(&[&header, &head, &body]).await?)
}
