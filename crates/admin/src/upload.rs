//! An upload on its way to disk: piece by piece, never whole in memory, and off the thread that does I/O for
//! everybody. A file that did not arrive completely is deleted by the thread that wrote it.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use axum::body::{Body, Bytes};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{body::next_piece, problem::Problem};

/// Pieces that may wait for the disk. hyper's pieces are at most some 400 KiB, so this bounds memory to a few MiB.
const WAITING_PIECES: usize = 8;

enum Piece {
    Data(Bytes),
    /// All of the body has arrived. Without it the file is incomplete.
    End,
}

/// A file that has been received, or is being written to its end.
pub struct Upload(JoinHandle<io::Result<PathBuf>>);

impl Upload {
    /// Waits until the file is complete on disk.
    pub async fn finished(self) -> Result<PathBuf, Problem> {
        match self.0.await {
            Ok(Ok(path)) => Ok(path),
            Ok(Err(error)) => Err(not_written(&error)),
            Err(gone) => Err(not_written(&io::Error::other(gone))),
        }
    }
}

/// Receives all of `body` into the file `path`.
pub async fn receive(mut body: Body, path: PathBuf) -> Result<Upload, Problem> {
    let (sender, receiver) = mpsc::channel(WAITING_PIECES);
    let upload = Upload(tokio::task::spawn_blocking(move || write(path, receiver)));
    while let Some(piece) = next_piece(&mut body).await {
        let piece = piece.map_err(|error| {
            Problem::new(
                "IMPORT_BROKEN_OFF",
                format!("the upload broke off: {error}"),
                "send the file again",
            )
        })?;
        if sender.send(Piece::Data(piece)).await.is_err() {
            // The writer has stopped and knows why.
            return Ok(upload);
        }
    }
    // If the writer is gone, `finished` tells its error.
    let _writer_gone = sender.send(Piece::End).await;
    Ok(upload)
}

fn write(path: PathBuf, mut pieces: mpsc::Receiver<Piece>) -> io::Result<PathBuf> {
    let written = write_all(&path, &mut pieces);
    if written.is_err() {
        // Nothing more can be done about a file that can't be deleted either; the next start clears the place.
        let _left_behind = std::fs::remove_file(&path);
    }
    written.map(|()| path)
}

/// Not synced: the file is checked and journalled before anything relies on it, and only the journal is durable.
fn write_all(path: &PathBuf, pieces: &mut mpsc::Receiver<Piece>) -> io::Result<()> {
    let mut file = File::create(path)?;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Data(data)) => file.write_all(&data)?,
            Some(Piece::End) => return Ok(()),
            None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it broke off")),
        }
    }
}

fn not_written(error: &io::Error) -> Problem {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return Problem::new(
            "DISK_FULL",
            "the disk became full while the file was received",
            "free space on the server's data directory, then send the file again",
        );
    }
    tracing::error!(%error, "an uploaded file could not be written");
    Problem::new(
        "STAGING_FAILED",
        format!("the file could not be written on the server: {error}"),
        "check the server's data directory, then send the file again",
    )
}
