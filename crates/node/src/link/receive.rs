//! The inbound half of a link.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::BufMut;
use counterpart_core::{
    Lsn,
    frame::{
        FRAME_HEADER_LEN, Frame, FrameDecoder, FrameError, FrameHead, FrameType, Opening,
        OpeningError, ROOM_BEHIND, SeedPagesError,
    },
    message::{Envelope, MessageError},
    record::{Record, RecordError, split_records},
    session::LinkId,
};
use tokio::{
    io::AsyncReadExt,
    net::tcp::OwnedReadHalf,
    sync::{mpsc, oneshot},
    time::{Duration, timeout},
};

use super::{CopyIn, CopySink, Inbound, SeedIn, SeedSink};
use crate::shared::Shared;

/// Records that arrived and are not hardened: above this many bytes the link reads no further.
const UNHARDENED_BYTES: usize = 8 << 20;

/// Bytes of a new buffer.
const ROOM: usize = 64 << 10;

/// How often a link that waits for its own disk says that its partner is there. Well below the least partner timeout.
const STILL_THERE: Duration = Duration::from_millis(250);

/// Why nothing more is read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the partner closed the connection")]
    Closed,
    #[error("{0}")]
    Opening(#[from] OpeningError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Message(#[from] MessageError),
    #[error("a record from the partner does not verify: {0}")]
    Record(#[from] RecordError),
    #[error("{0}")]
    Seed(#[from] SeedPagesError),
    #[error("the partner sends seed pages that nobody asked for")]
    UnaskedSeed,
    #[error("the partner sends a copy that nobody asked for")]
    UnaskedCopy,
}

struct Receiver {
    shared: Arc<Shared>,
    id: LinkId,
    /// `None` while it is lent to a seed, and after an error.
    socket: Option<OwnedReadHalf>,
    decoder: FrameDecoder,
    sink: SeedSink,
    copies: CopySink,
    /// Records given to the driver: their last LSN and bytes, oldest first.
    unhardened: VecDeque<(Lsn, usize)>,
}

/// Reads until the connection ends; then tells the driver why.
pub(super) async fn run(
    shared: Arc<Shared>,
    id: LinkId,
    socket: OwnedReadHalf,
    (sink, copies): (SeedSink, CopySink),
) {
    let inputs = shared.inputs.clone();
    let (decoder, unhardened, socket) = (FrameDecoder::new(), VecDeque::new(), Some(socket));
    let mut receiver = Receiver { shared, id, socket, decoder, sink, copies, unhardened };
    let Err(error) = receiver.run().await;
    inputs.link_down(id, error.to_string());
}

impl Receiver {
    async fn run(&mut self) -> Result<std::convert::Infallible, ReceiveError> {
        while self.decoder.open()? == Opening::Incomplete {
            self.read(usize::MAX).await?;
        }
        let mut most = usize::MAX;
        loop {
            while let Some(head) = self.decoder.head()? {
                // Whoever takes pages reads most of them: after pages there are likely to be more, of which only the
                // header comes here.
                most = if head.is_seed_pages() { FRAME_HEADER_LEN } else { usize::MAX };
                if head.is_seed_pages() {
                    self.take_pages(head).await?;
                } else if let Some(frame) = self.decoder.next_frame()? {
                    self.take(frame).await?;
                } else {
                    break;
                }
            }
            self.read(most).await?;
        }
    }

    /// Reads what is there, as far as there is room for it, and `most` bytes at most.
    async fn read(&mut self, most: usize) -> Result<(), ReceiveError> {
        let buffer = self.decoder.buffer();
        // Records stay where they arrived: a new buffer for each would keep as much memory for it.
        if buffer.capacity() - buffer.len() < ROOM_BEHIND {
            buffer.reserve(ROOM);
        }
        let socket = self.socket.as_mut().expect("whoever lends it waits until it is back");
        match socket.read_buf(&mut buffer.limit(most)).await? {
            0 => Err(ReceiveError::Closed),
            bytes => {
                self.shared.figures.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), ReceiveError> {
        match frame.kind {
            FrameType::Message => {
                self.shared.inputs.received(self.id, Envelope::decode(&frame.payload)?);
                Ok(())
            }
            FrameType::Records => self.take_records(split_records(frame.payload)?).await,
            FrameType::SeedPages | FrameType::SeedPagesLz4 => {
                unreachable!("frames of pages are not read here")
            }
            FrameType::CopyOffer
            | FrameType::CopyAnswer
            | FrameType::CopyPages
            | FrameType::CopyWhole
            | FrameType::CopyTail
            | FrameType::CopyEnd
            | FrameType::CopyHead
            | FrameType::CopyChosen => self.take_copy(frame).await,
        }
    }

    async fn take_records(&mut self, mut records: Vec<Record>) -> Result<(), ReceiveError> {
        while !records.is_empty() {
            let epoch = records[0].header().epoch;
            let same = records.iter().take_while(|record| record.header().epoch == epoch).count();
            let later = records.split_off(same);
            let run = std::mem::replace(&mut records, later);
            let bytes = run.iter().map(|record| record.bytes().len()).sum();
            let last = run.last().expect("at least the first has its own epoch").lsn();
            self.shared.inputs.records(self.id, run);
            self.wait_hardened(last, bytes).await;
        }
        Ok(())
    }

    /// Waits while too much of what arrived is not hardened: a slow disk here slows the partner, not the memory.
    async fn wait_hardened(&mut self, last: Lsn, bytes: usize) {
        self.unhardened.push_back((last, bytes));
        while self.unhardened.iter().map(|(_, bytes)| bytes).sum::<usize>() > UNHARDENED_BYTES {
            let (oldest, _) = self.unhardened.pop_front().expect("the sum is not 0");
            let mut hardened = self.shared.hardened.subscribe();
            // The sender lives in `shared`, which this task holds.
            let _reached = hardened.wait_for(|lsn| *lsn >= oldest).await;
        }
        let hardened = *self.shared.hardened.borrow();
        while self.unhardened.front().is_some_and(|(lsn, _)| *lsn <= hardened) {
            self.unhardened.pop_front();
        }
    }

    /// Has whoever takes the pages read a frame of them.
    async fn take_pages(&mut self, head: FrameHead) -> Result<(), ReceiveError> {
        self.shared.inputs.heard(self.id);
        let sink = self.sink.lock().expect("no holder of this lock panics").clone();
        let sink = sink.ok_or(ReceiveError::UnaskedSeed)?;
        let begun = self.decoder.take_begun(&head);
        let (back, mut is_back) = oneshot::channel();
        let socket = self.socket.take().expect("whoever lends it waits until it is back");
        let reading = Arc::new(AtomicBool::new(false));
        let inbound = Inbound { head, begun, socket, reading: Arc::clone(&reading), back };
        if sink.send(SeedIn::Frame(inbound)).await.is_err() {
            return Err(ReceiveError::UnaskedSeed);
        }
        let returned = loop {
            match timeout(STILL_THERE, &mut is_back).await {
                Ok(returned) => break returned,
                // While the disk here is busy nothing is read, and that must not look like a partner's silence.
                Err(_) if !reading.load(Ordering::Relaxed) => self.shared.inputs.heard(self.id),
                Err(_silent) => {}
            }
        };
        self.socket = Some(returned.unwrap_or(Err(ReceiveError::UnaskedSeed))?);
        Ok(())
    }

    async fn take_copy(&mut self, frame: Frame) -> Result<(), ReceiveError> {
        self.shared.inputs.heard(self.id);
        let sink = self.copies.lock().expect("no holder of this lock panics").clone();
        let sink = sink.ok_or(ReceiveError::UnaskedCopy)?;
        match self.room(&sink).await {
            Some(room) => room.send(CopyIn::Frame(frame)),
            None => return Err(ReceiveError::UnaskedCopy),
        }
        Ok(())
    }

    /// Waits for room. While the disk here is busy nothing is read, and that must not look like a partner's silence.
    async fn room<'a, T>(&self, sink: &'a mpsc::Sender<T>) -> Option<mpsc::Permit<'a, T>> {
        loop {
            match timeout(STILL_THERE, sink.reserve()).await {
                Ok(room) => return room.ok(),
                Err(_busy) => self.shared.inputs.heard(self.id),
            }
        }
    }
}
