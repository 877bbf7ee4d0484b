//! The channel between a database that produces a cursor's entries and the client that reads them.
//!
//! ```text
//! entry\n entry\n … entry\n                   one chunk: whole entries, each a line of JSON,
//! length entry length entry … length entry   or a protobuf message after its length
//! ```
//!
//! Entries are serialized where they arise and travel in chunks, so that the cost of waking the
//! reader is paid per chunk and not per row, and so that the memory held is bounded in bytes: a few
//! chunks, each of at most [`CHUNK_BYTES`] plus one entry. When the client reads slowly, the
//! producer waits.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::timeout;

use crate::encoding::Encoding;
use crate::proto::{self, CursorEntry};

/// A chunk is sent when it has at least this many bytes.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks that may wait for the reader.
const CHUNKS: usize = 3;

/// Whole items, as the encoding separates them.
pub(crate) type Chunk = Vec<u8>;

/// Why a sink takes no more entries; the producer should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SinkClosed {
    /// The client has closed the cursor or is gone; nobody wants what is still to come.
    #[error("the client no longer reads the cursor")]
    Gone,
    /// The client has read nothing for as long as a stream may lie idle. Entries are lost, so the
    /// cursor must end with an error.
    #[error("the client did not read the cursor for too long")]
    Unread,
}

/// Where a [`Stream`](crate::Stream) puts the entries of a cursor. Whatever was accepted reaches the
/// client, unless it stops reading; dropping the sink ends the cursor.
#[derive(Debug)]
pub struct CursorSink {
    encoding: Encoding,
    chunk: Chunk,
    sender: mpsc::Sender<Chunk>,
    /// Room for the last chunk, so that dropping the sink never loses entries.
    last: Option<OwnedPermit<Chunk>>,
    /// How long a thread waits for the client to read on.
    patience: Duration,
    /// It waited in vain.
    unread: bool,
}

impl CursorSink {
    /// A sink and what comes out of it. A thread that produces waits at most for `patience` each
    /// time the client has to read first.
    pub(crate) fn new(encoding: Encoding, patience: Duration) -> (Self, mpsc::Receiver<Chunk>) {
        let (sender, receiver) = mpsc::channel(CHUNKS + 1);
        let last = sender.clone().try_reserve_owned().ok();
        assert!(last.is_some(), "a new channel has room");
        (Self { encoding, chunk: Vec::new(), sender, last, patience, unread: false }, receiver)
    }

    /// For what this crate itself has to add when the producer is done.
    pub(crate) fn sender(&self) -> mpsc::Sender<Chunk> {
        self.sender.clone()
    }

    /// Hands over an entry; waits while too much is unread.
    ///
    /// # Errors
    /// If the client no longer reads.
    pub async fn send(&mut self, entry: CursorEntry) -> Result<(), SinkClosed> {
        if self.push(entry)? { self.flush().await } else { Ok(()) }
    }

    /// As [`send`](Self::send), for a producer on a thread of its own. Must not be called inside an
    /// asynchronous task, but on a thread of the runtime.
    ///
    /// # Errors
    /// If the client no longer reads, or did not for too long: a thread, and whatever the stream
    /// holds, cannot wait for ever.
    pub fn blocking_send(&mut self, entry: CursorEntry) -> Result<(), SinkClosed> {
        if self.push(entry)? {
            let chunk = std::mem::take(&mut self.chunk);
            return match self.sender.try_send(chunk) {
                Ok(()) => Ok(()),
                Err(TrySendError::Closed(_)) => Err(SinkClosed::Gone),
                Err(TrySendError::Full(chunk)) => self.wait_for_reader(chunk),
            };
        }
        Ok(())
    }

    fn wait_for_reader(&mut self, chunk: Chunk) -> Result<(), SinkClosed> {
        // The timer belongs to the runtime, so it is made inside of it.
        let sent = Handle::current()
            .block_on(async { timeout(self.patience, self.sender.send(chunk)).await });
        match sent {
            Ok(sent) => sent.map_err(|_| SinkClosed::Gone),
            Err(_elapsed) => {
                self.unread = true;
                Err(SinkClosed::Unread)
            }
        }
    }

    /// Whether entries are lost because the client did not read for too long.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.unread
    }

    /// Sends what waits for its chunk to fill, for a producer that knows the next entry is far off.
    ///
    /// # Errors
    /// If the client no longer reads.
    pub async fn flush(&mut self) -> Result<(), SinkClosed> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.sender.send(chunk).await.map_err(|_| SinkClosed::Gone)
    }

    /// Appends an entry; true if the chunk is due.
    fn push(&mut self, entry: CursorEntry) -> Result<bool, SinkClosed> {
        if self.unread {
            return Err(SinkClosed::Unread);
        }
        if self.sender.is_closed() {
            return Err(SinkClosed::Gone);
        }
        self.encoding.append_item(&mut self.chunk, entry);
        Ok(self.chunk.len() >= CHUNK_BYTES)
    }
}

impl Drop for CursorSink {
    fn drop(&mut self) {
        if self.unread {
            return; // A gap came before it.
        }
        if let (false, Some(permit)) = (self.chunk.is_empty(), self.last.take()) {
            permit.send(std::mem::take(&mut self.chunk));
        }
    }
}

/// The entry that tells that a batch failed as a whole, as a chunk of its own.
pub(crate) fn error_chunk(encoding: Encoding, error: crate::Error) -> Chunk {
    let mut chunk = Chunk::new();
    encoding.append_item(&mut chunk, CursorEntry::Error { error: proto::Error::from(error) });
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Value;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn sink(patience: Duration) -> (CursorSink, mpsc::Receiver<Chunk>) {
        CursorSink::new(Encoding::Json, patience)
    }

    fn row(bytes: usize) -> CursorEntry {
        CursorEntry::Row { row: vec![Value::Text("x".repeat(bytes))] }
    }

    fn lines(chunk: &[u8]) -> usize {
        chunk.iter().filter(|byte| **byte == b'\n').count()
    }

    #[tokio::test]
    async fn small_entries_share_a_chunk_and_the_last_one_is_not_lost() {
        let (mut sink, mut chunks) = sink(PATIENCE);
        for _ in 0..1000 {
            sink.send(row(1)).await.unwrap();
            while let Ok(chunk) = chunks.try_recv() {
                assert!(chunk.len() >= CHUNK_BYTES, "a chunk was sent half full");
            }
        }
        sink.send(row(1)).await.unwrap();
        drop(sink);
        assert!(lines(&chunks.recv().await.expect("the last chunk")) > 0);
        assert_eq!(chunks.recv().await, None);
    }

    #[tokio::test]
    async fn a_full_channel_still_takes_the_last_chunk_on_drop() {
        let (mut sink, mut chunks) = sink(PATIENCE);
        for _ in 0..CHUNKS {
            sink.send(row(CHUNK_BYTES)).await.unwrap();
        }
        sink.send(row(1)).await.unwrap();
        drop(sink);
        let mut count = 0;
        while let Some(chunk) = chunks.recv().await {
            count += lines(&chunk);
        }
        assert_eq!(count, CHUNKS + 1);
    }

    #[tokio::test]
    async fn the_producer_waits_while_too_much_is_unread() {
        let (mut sink, mut chunks) = sink(PATIENCE);
        for _ in 0..CHUNKS {
            sink.send(row(CHUNK_BYTES)).await.unwrap();
        }
        let mut blocked = Box::pin(sink.send(row(CHUNK_BYTES)));
        let waits = tokio::select! {
            biased;
            _ = &mut blocked => false,
            () = tokio::task::yield_now() => true,
        };
        assert!(waits, "nothing was read, and yet there was room");
        assert!(chunks.recv().await.is_some());
        assert_eq!(blocked.await, Ok(()));
    }

    #[tokio::test]
    async fn the_producer_learns_that_nobody_reads() {
        let (mut sink, chunks) = sink(PATIENCE);
        sink.send(row(1)).await.unwrap();
        drop(chunks);
        assert_eq!(sink.send(row(1)).await, Err(SinkClosed::Gone));
    }

    #[tokio::test]
    async fn a_thread_waits_only_so_long_for_the_reader_and_nothing_follows_the_gap() {
        let (mut sink, mut chunks) = sink(Duration::from_millis(1));
        let produce = move || {
            for _ in 0..CHUNKS {
                sink.blocking_send(row(CHUNK_BYTES)).unwrap();
            }
            let refused = sink.blocking_send(row(CHUNK_BYTES));
            assert_eq!((refused, sink.is_unread()), (Err(SinkClosed::Unread), true));
            assert_eq!(sink.blocking_send(row(1)), Err(SinkClosed::Unread));
        };
        tokio::task::spawn_blocking(produce).await.unwrap();
        let mut count = 0;
        while let Some(chunk) = chunks.recv().await {
            count += lines(&chunk);
        }
        assert_eq!(count, CHUNKS);
    }
}
