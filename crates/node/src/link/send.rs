//! The outbound half of a link.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use counterpart_core::{
    Lsn,
    frame::{self, FrameType},
    session::LinkId,
};
use counterpart_journal::ReadError;
use tokio::{
    io::AsyncWriteExt,
    net::tcp::OwnedWriteHalf,
    sync::{Notify, mpsc},
    task::spawn_blocking,
};

use super::{Outgoing, SeedOut};
use crate::shared::Shared;

/// Bytes of records in one frame, unless a single record is longer.
const RECORDS_PER_FRAME: usize = 512 << 10;

/// A partner that is at most this many records behind is served from memory.
const IN_MEMORY: u64 = 1_000;

/// Why nothing more is sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("sending failed: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Journal(#[from] ReadError),
}

struct Sender {
    shared: Arc<Shared>,
    socket: OwnedWriteHalf,
    /// The last position sent, while records are streamed.
    streamed: Option<Lsn>,
    wake: Arc<Notify>,
}

/// Sends until asked to close or the connection ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    id: LinkId,
    socket: OwnedWriteHalf,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    seeds: mpsc::Receiver<SeedOut>,
) {
    let wake = Arc::new(Notify::new());
    let mut sender =
        Sender { shared: Arc::clone(&shared), socket, streamed: None, wake: Arc::clone(&wake) };
    let outcome = sender.run(queue, seeds).await;
    shared.leave_senders(&wake);
    if let Err(error) = outcome {
        shared.inputs.link_down(id, error.to_string());
    }
}

impl Sender {
    async fn run(
        &mut self,
        mut queue: mpsc::UnboundedReceiver<Outgoing>,
        mut seeds: mpsc::Receiver<SeedOut>,
    ) -> Result<(), SendError> {
        self.socket.write_all(&frame::opening()).await?;
        loop {
            let more = self.streamed.is_some_and(|after| after < self.shared.journal.last());
            tokio::select! {
                biased;
                asked = queue.recv() => match asked {
                    Some(Outgoing::Close) | None => return Ok(self.socket.shutdown().await?),
                    Some(asked) => self.obey(asked).await?,
                },
                () = std::future::ready(()), if more => self.send_records().await?,
                piece = seeds.recv() => match piece {
                    Some(SeedOut::Frame(kind, payload)) => self.send(kind, &payload).await?,
                    Some(SeedOut::Parts(parts)) => self.write(&parts).await?,
                    // Whoever asked may have been ended meanwhile.
                    Some(SeedOut::Flushed(told)) => drop(told.send(())),
                    None => return Ok(()),
                },
                () = self.wake.notified(), if self.streamed.is_some() => {}
            }
        }
    }

    async fn obey(&mut self, asked: Outgoing) -> Result<(), SendError> {
        match asked {
            Outgoing::Message(envelope) => {
                self.socket.write_all(&frame::message_frame(&envelope)).await?
            }
            Outgoing::StreamFrom(after) => {
                if self.streamed.replace(after).is_none() {
                    self.shared.join_senders(&self.wake);
                }
            }
            Outgoing::StopStreaming => {
                self.streamed = None;
                self.shared.leave_senders(&self.wake);
            }
            Outgoing::Close => {}
        }
        Ok(())
    }

    async fn send_records(&mut self) -> Result<(), SendError> {
        let after = self.streamed.expect("asked only while streaming");
        let journal = self.shared.journal.clone();
        // What is not in memory comes from the disk, and must not hold up every other connection meanwhile.
        let chunk = if journal.last().since(after) <= IN_MEMORY {
            journal.read_after(after, RECORDS_PER_FRAME)?
        } else {
            let reading = spawn_blocking(move || journal.read_after(after, RECORDS_PER_FRAME));
            reading.await.expect("reading the journal does not panic")?
        };
        self.send(FrameType::Records, &chunk.bytes).await?;
        self.streamed = Some(chunk.last);
        Ok(())
    }

    async fn send(&mut self, kind: FrameType, payload: &[u8]) -> Result<(), SendError> {
        if payload.is_empty() {
            return Ok(());
        }
        let header = frame::header(kind, &[payload]);
        self.write(&[&header, payload]).await
    }

    /// All parts in one system call, as far as the socket takes them.
    async fn write<P: AsRef<[u8]>>(&mut self, parts: &[P]) -> Result<(), SendError> {
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part.as_ref())).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match self.socket.write_vectored(left).await? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                written => IoSlice::advance_slices(&mut left, written),
            }
        }
        Ok(())
    }
}
