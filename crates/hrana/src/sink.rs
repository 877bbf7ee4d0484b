//! The channel between a database that produces a cursor's entries and the client that reads them.
//!
//! ```text
//! entry\n entry\n … entry\n                   one chunk: whole entries, each a line of JSON,
//! length entry length entry … length entry   or a protobuf message after its length
//! ```
//!
//! Entries are serialized, and compressed, where they arise and travel in chunks, so that the cost of waking the
//! reader is paid per chunk and not per row, and so that the memory held is bounded in bytes: a few
//! chunks, each of at most [`CHUNK_BYTES`] plus one entry. When the client reads slowly, the
//! producer waits. The end of a step does not wait for its chunk to fill if another step
//! follows, which may take its time.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::timeout;

use crate::encoding::Encoding;
use crate::http::Packing;
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
    /// The client has read nothing for as long as a stream may lie idle. Entries will be missing, so
    /// the cursor must end with an error.
    #[error("the client did not read the cursor for too long")]
    Unread,
}

/// The way of chunks to their reader: the channel, and behind it one place for what found no room there. The reader looks
/// there when the channel is empty, so what is there needs nobody to wake it, and neither the ends of quick steps
/// nor the end of a cursor make the producer wait.
#[derive(Clone)]
struct Pipe {
    sender: mpsc::Sender<Chunk>,
    behind: Arc<Mutex<Chunk>>,
    packing: Option<Arc<Packing>>,
}

fn lock(behind: &Mutex<Chunk>) -> MutexGuard<'_, Chunk> {
    behind.lock().expect("no holder of this lock panics")
}

impl Pipe {
    /// Takes a chunk, and sends it if there is room; false if the next one must wait.
    fn offer(&self, chunk: Chunk) -> bool {
        let packed = match &self.packing {
            None => Some(chunk),
            // Before the lock is held, for which the reader would wait.
            Some(packing) => packing.push(chunk),
        };
        packed.is_none_or(|packed| self.put(packed))
    }

    fn put(&self, chunk: Chunk) -> bool {
        // Put together without the lock, for which the thread of all sockets may wait.
        let mut whole = std::mem::take(&mut *lock(&self.behind));
        if whole.is_empty() {
            whole = chunk;
        } else {
            whole.extend(chunk);
        }
        let mut behind = lock(&self.behind);
        *behind = whole;
        // The reader looks into both under this lock: it finds the channel full, or what is behind it.
        match self.sender.try_reserve() {
            Ok(room) => {
                room.send(std::mem::take(&mut behind));
                true
            }
            Err(_full) => behind.len() < CHUNK_BYTES,
        }
    }

    /// Ready when the next chunk may be offered.
    async fn drain(&self) -> Result<(), SinkClosed> {
        let room = self.sender.reserve().await.map_err(|_| SinkClosed::Gone)?;
        let mut behind = lock(&self.behind);
        if !behind.is_empty() {
            room.send(std::mem::take(&mut behind));
        }
        Ok(())
    }
}

/// The reading end.
pub(crate) struct Chunks {
    receiver: mpsc::Receiver<Chunk>,
    behind: Arc<Mutex<Chunk>>,
}

impl Chunks {
    /// The next chunk; none when the cursor has ended.
    pub(crate) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Chunk>> {
        let mut behind = lock(&self.behind);
        match self.receiver.poll_recv(context) {
            Poll::Pending | Poll::Ready(None) if !behind.is_empty() => {
                Poll::Ready(Some(std::mem::take(&mut behind)))
            }
            polled => polled,
        }
    }

    pub(crate) async fn recv(&mut self) -> Option<Chunk> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The same without waiting.
    pub(crate) fn try_recv(&mut self) -> Result<Chunk, TryRecvError> {
        let mut behind = lock(&self.behind);
        match self.receiver.try_recv() {
            Err(_) if !behind.is_empty() => Ok(std::mem::take(&mut behind)),
            received => received,
        }
    }
}

#[cfg(test)]
impl From<mpsc::Receiver<Chunk>> for Chunks {
    fn from(receiver: mpsc::Receiver<Chunk>) -> Self {
        Self { receiver, behind: Arc::default() }
    }
}

/// Where a [`Stream`](crate::Stream) puts the entries of a cursor. Whatever was accepted reaches the
/// client, unless it stops reading; dropping the sink ends the cursor.
pub struct CursorSink {
    encoding: Encoding,
    chunk: Chunk,
    pipe: Pipe,
    /// How long a thread waits for the client to read on.
    patience: Duration,
    /// It waited in vain.
    unread: bool,
    /// The batch's steps, and how many have begun.
    steps: usize,
    begun: usize,
}

impl std::fmt::Debug for CursorSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CursorSink").finish_non_exhaustive()
    }
}

impl CursorSink {
    /// A sink for a batch of so many steps, and what comes out of it. A thread that produces waits at
    /// most for `patience` each time the client has to read first.
    pub(crate) fn new(encoding: Encoding, steps: usize, patience: Duration) -> (Self, Chunks) {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let behind = Arc::default();
        let chunks = Chunks { receiver, behind: Arc::clone(&behind) };
        let pipe = Pipe { sender, behind, packing: None };
        let sink =
            Self { encoding, chunk: Vec::new(), pipe, patience, unread: false, steps, begun: 0 };
        (sink, chunks)
    }

    /// What is sent goes through `packing` from now on.
    pub(crate) fn pack(&mut self, packing: Arc<Packing>) {
        self.pipe.packing = Some(packing);
    }

    /// For what this crate itself has to add when the producer is done.
    pub(crate) fn sender(&self) -> Rest {
        Rest(self.pipe.clone())
    }

    /// Hands over an entry; waits while too much is unread.
    ///
    /// # Errors
    /// If the client no longer reads.
    pub async fn send(&mut self, entry: CursorEntry) -> Result<(), SinkClosed> {
        if self.push(entry)? { Ok(()) } else { self.pipe.drain().await }
    }

    /// As [`send`](Self::send), for a producer on a thread of its own. Must not be called inside an
    /// asynchronous task, but on a thread of the runtime.
    ///
    /// # Errors
    /// If the client no longer reads, or did not for too long: a thread, and whatever the stream
    /// holds, cannot wait for ever.
    pub fn blocking_send(&mut self, entry: CursorEntry) -> Result<(), SinkClosed> {
        if self.push(entry)? {
            return Ok(());
        }
        // The timer belongs to the runtime, so it is made inside of it.
        let drained =
            Handle::current().block_on(async { timeout(self.patience, self.pipe.drain()).await });
        drained.unwrap_or_else(|_elapsed| {
            self.unread = true;
            Err(SinkClosed::Unread)
        })
    }

    /// Whether the cursor must end with an error because the client did not read for too long.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.unread
    }

    /// Appends an entry, and sends the chunk if it is due; false if the next one must wait.
    fn push(&mut self, entry: CursorEntry) -> Result<bool, SinkClosed> {
        if self.unread {
            return Err(SinkClosed::Unread);
        }
        if self.pipe.sender.is_closed() {
            return Err(SinkClosed::Gone);
        }
        if let CursorEntry::StepBegin { step, .. } | CursorEntry::StepError { step, .. } = &entry {
            self.begun = *step as usize + 1;
        }
        let ends = matches!(entry, CursorEntry::StepEnd { .. } | CursorEntry::StepError { .. });
        self.encoding.append_item(&mut self.chunk, entry);
        // The last step's end is sent with the cursor's, which is near.
        let is_due = self.chunk.len() >= CHUNK_BYTES || ends && self.begun < self.steps;
        Ok(!is_due || self.pipe.offer(std::mem::take(&mut self.chunk)))
    }
}

impl Drop for CursorSink {
    fn drop(&mut self) {
        if !self.chunk.is_empty() {
            self.pipe.offer(std::mem::take(&mut self.chunk));
        }
    }
}

/// The sending end when the producer is done.
pub(crate) struct Rest(Pipe);

impl Rest {
    /// Sends a chunk behind what the producer has sent.
    pub(crate) fn send(&self, chunk: Chunk) {
        self.0.offer(chunk);
    }

    /// Sends what ends the body, if it is compressed or was kept until now. For a reader that has gone, the producer may
    /// still be busy.
    pub(crate) fn finish(&self) {
        if self.0.sender.is_closed() {
            return;
        }
        if let Some(last) = self.0.packing.as_ref().and_then(|packing| packing.end()) {
            self.0.put(last);
        }
    }

    /// Ready when nobody reads any more.
    pub(crate) async fn closed(&self) {
        self.0.sender.closed().await;
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
    use std::io::Read as _;

    use super::*;
    use crate::http::Coding;
    use crate::proto::Value;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn sink(patience: Duration) -> (CursorSink, Chunks) {
        CursorSink::new(Encoding::Json, 2, patience)
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

    fn step_end() -> CursorEntry {
        CursorEntry::StepEnd { affected_row_count: 0, last_insert_rowid: None }
    }

    #[tokio::test]
    async fn the_end_of_a_step_does_not_wait_for_the_next_step() {
        let (mut sink, mut chunks) = sink(PATIENCE);
        for step in 0..2 {
            sink.send(CursorEntry::StepBegin { step, cols: vec![] }).await.unwrap();
            sink.send(row(1)).await.unwrap();
            assert!(chunks.try_recv().is_err(), "rows wait for their chunk to fill");
            sink.send(step_end()).await.unwrap();
            // The cursor's end, which takes the last step's along, wakes the reader anyway.
            assert_eq!(chunks.try_recv().is_ok_and(|chunk| lines(&chunk) == 3), step == 0);
        }
        drop(sink);
        assert_eq!(chunks.recv().await.map(|chunk| lines(&chunk)), Some(3));
    }

    #[tokio::test]
    async fn the_ends_of_quick_steps_never_wait_for_the_reader() {
        let (mut sink, mut chunks) = CursorSink::new(Encoding::Json, 100, PATIENCE);
        for step in 0..100 {
            sink.send(CursorEntry::StepBegin { step, cols: vec![] }).await.unwrap();
            sink.send(step_end()).await.unwrap();
        }
        drop(sink);
        let mut counts = vec![];
        while let Some(chunk) = chunks.recv().await {
            counts.push(lines(&chunk));
        }
        assert_eq!(counts, [2, 2, 2, 194], "what found no room comes together");
    }

    #[tokio::test]
    async fn entries_arrive_in_order_and_none_twice_while_both_ends_are_busy() {
        const STEPS: u32 = 20_000;
        let (mut sink, mut chunks) = CursorSink::new(Encoding::Json, STEPS as usize, PATIENCE);
        let producer = tokio::task::spawn_blocking(move || {
            for step in 0..STEPS {
                sink.blocking_send(CursorEntry::StepBegin { step, cols: vec![] }).unwrap();
                if step % 100 == 0 {
                    sink.blocking_send(row(CHUNK_BYTES)).unwrap();
                }
                sink.blocking_send(step_end()).unwrap();
            }
        });
        let mut all = vec![];
        while let Some(chunk) = chunks.recv().await {
            all.extend(chunk);
        }
        producer.await.unwrap();
        let mut ended = 0..STEPS;
        for line in all.split(|byte| *byte == b'\n') {
            if line.starts_with(br#"{"type":"step_begin""#) {
                let begun: CursorEntry = serde_json::from_slice(line).unwrap();
                let step = ended.next().expect("each step begins once");
                assert_eq!(begun, CursorEntry::StepBegin { step, cols: vec![] });
            }
        }
        assert_eq!((ended.next(), lines(&all)), (None, (STEPS * 2 + STEPS / 100) as usize));
    }

    #[tokio::test]
    async fn chunks_are_compressed_before_they_are_sent() {
        let (mut sink, mut chunks) = sink(PATIENCE);
        let packing = Arc::new(Packing::new(Coding::Gzip, Vec::new()));
        sink.pack(Arc::clone(&packing));
        let rest = sink.sender();
        sink.send(row(1000 * CHUNK_BYTES)).await.unwrap();
        sink.send(row(1)).await.unwrap();
        drop(sink);
        rest.send(error_chunk(Encoding::Json, crate::Error::request("A", "b")));
        rest.finish();
        drop(rest);
        let mut packed = vec![];
        while let Some(chunk) = chunks.recv().await {
            assert!(chunk.len() < CHUNK_BYTES * 10, "{} bytes", chunk.len());
            packed.extend(chunk);
        }
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&*packed).read_to_string(&mut plain).unwrap();
        assert_eq!(lines(plain.as_bytes()), 3);
    }

    #[tokio::test]
    async fn the_producer_learns_that_nobody_reads() {
        let (mut sink, chunks) = sink(PATIENCE);
        sink.send(row(1)).await.unwrap();
        drop(chunks);
        assert_eq!(sink.send(row(1)).await, Err(SinkClosed::Gone));
    }

    #[tokio::test]
    async fn a_thread_waits_only_so_long_for_the_reader_and_nothing_more_is_taken() {
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
        assert_eq!(count, CHUNKS + 1);
    }
}
