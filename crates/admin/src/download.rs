//! A database on its way out, as a response body of known length.
//!
//! If the export breaks off, the body ends with an error: the connection is cut before the announced length, so
//! that no client can take half a database for a whole one.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes, HttpBody};
use counterpart_node::{
    Refusal,
    operations::{Backup, Export},
};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// The body of an export.
pub fn body(export: Export) -> Body {
    Body::new(Pieces { left: export.length, pieces: export.pieces })
}

/// The body of a backup, whose length nobody knows; whether all of it came, the file itself tells.
pub fn backup(backup: Backup) -> Body {
    Body::new(Unmeasured(backup.pieces))
}

struct Unmeasured(mpsc::Receiver<Result<Bytes, Refusal>>);

impl HttpBody for Unmeasured {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(ready!(self.0.poll_recv(context)).map(|piece| match piece {
            Ok(piece) => Ok(Frame::data(piece)),
            Err(refusal) => {
                tracing::warn!(why = %refusal, "a backup broke off");
                Err(io::Error::other(refusal.to_string()))
            }
        }))
    }
}

struct Pieces {
    /// Bytes that are still to come.
    left: u64,
    pieces: mpsc::Receiver<Result<Bytes, Refusal>>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let broke_off = |why: &str| {
            tracing::warn!(why, "an export broke off");
            Poll::Ready(Some(Err(io::Error::other(format!("the export broke off: {why}")))))
        };
        match ready!(self.pieces.poll_recv(context)) {
            Some(Ok(piece)) => match self.left.checked_sub(piece.len() as u64) {
                Some(left) => {
                    self.left = left;
                    Poll::Ready(Some(Ok(Frame::data(piece))))
                }
                None => broke_off("there is more than was announced"),
            },
            Some(Err(refusal)) => broke_off(&refusal.to_string()),
            None if self.left > 0 => broke_off("the reader of the database went away"),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
