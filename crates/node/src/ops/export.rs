//! A consistent snapshot of a database as a plain SQLite file, while writes go on.

use std::sync::Arc;

use counterpart_core::DatabaseName;
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{Duration, timeout},
};

use super::create::failed;
use crate::{clock, operations::Export, refusal::Refusal, shared::Shared};

/// Bytes in a piece.
const PIECE: usize = 1 << 20;

/// Pieces that wait for the reader.
const WAITING: usize = 4;

/// A download that takes nothing for this long is ended.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Begins an export.
pub(crate) async fn export(shared: &Arc<Shared>, name: &DatabaseName) -> Result<Export, Refusal> {
    let hosted = shared.databases.named(name)?;
    let opening = Arc::clone(&hosted);
    let opened = spawn_blocking(move || opening.engine.snapshot(clock::unix_now())).await;
    let mut snapshot = opened
        .map_err(|e| failed("the snapshot can't be taken", e))?
        .map_err(|e| failed("the snapshot can't be taken", e))?;
    // A file that leaves the server shows only what stays.
    let newest = hosted.visibility.newest().await;
    shared.confirmations.wait(newest).await?;
    let length = u64::from(snapshot.size_in_pages()) * snapshot.page_size().bytes() as u64;
    let (sender, pieces) = mpsc::channel(WAITING);
    let io = shared.io.clone();
    spawn_blocking(move || {
        loop {
            let piece = match snapshot.next_bytes(PIECE) {
                Ok(None) => return,
                Ok(Some(bytes)) => Ok(bytes),
                Err(error) => Err(failed("the snapshot can't be read", error)),
            };
            let broken = piece.is_err();
            // A reader that has gone, or stands still, must not pin the WAL.
            let taken = io.block_on(async {
                tokio::select! {
                    taken = timeout(STANDSTILL, sender.send(piece)) => matches!(taken, Ok(Ok(()))),
                    () = hosted.recalled() => false,
                }
            });
            if !taken || broken {
                return;
            }
        }
    });
    Ok(Export { length, pieces })
}
