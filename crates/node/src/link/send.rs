//! The outbound half of a link.
//!
//! Each write to a socket wakes a thread on the other side. So all that is there leaves with one write, and a message that
//! only says how far somebody is waits a moment for something to leave with.

use std::{
    future::pending,
    io::{self, IoSlice},
    mem::discriminant,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use counterpart_core::{
    Lsn,
    frame::{self, FrameType},
    message::{Envelope, Message},
    session::LinkId,
};
use counterpart_journal::ReadError;
use tokio::{
    io::AsyncWriteExt,
    net::tcp::OwnedWriteHalf,
    sync::{Notify, mpsc, oneshot},
    task::spawn_blocking,
    time::{Duration, Sleep, sleep},
};

use super::{Outbound, Outgoing, SeedOut};
use crate::shared::Shared;

/// Bytes of records in one frame, unless a single record is longer.
const RECORDS_PER_FRAME: usize = 512 << 10;

/// A partner that is at most this many records behind is served from memory.
const IN_MEMORY: u64 = 1_000;

/// How long a position waits for something to leave with. Nobody's commit waits for it, only what the mirror shows.
const MOMENT: Duration = Duration::from_millis(1);

/// Bytes of messages that are gathered before they are written.
const GATHERED: usize = 64 << 10;

/// Why nothing more is sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("sending failed: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Journal(#[from] ReadError),
    #[error("the seed broke off in the middle of a frame")]
    BrokeOff,
}

struct Sender {
    shared: Arc<Shared>,
    /// `None` while it is lent to a seed, and after an error.
    socket: Option<OwnedWriteHalf>,
    /// The last position sent, while records are streamed.
    streamed: Option<Lsn>,
    /// Frames of messages that leave with the next write.
    gathered: Vec<u8>,
    /// What waits for something to leave with, and what ends the wait.
    position: Option<(Position, Pin<Box<Sleep>>)>,
    /// The hardened position that was told last.
    acknowledged: Lsn,
    wake: Arc<Notify>,
}

/// A message that only says how far its sender is: a later one says all that it says.
struct Position(Box<Envelope>);

impl Position {
    /// Whether records whose newest one knows that all up to `commit` is final say as much.
    fn is_said_by(&self, commit: Lsn) -> bool {
        matches!(self.0.message, Message::Commit { lsn } if lsn <= commit)
    }

    /// Whether a later message says all that it says.
    fn is_of_the_kind_of(&self, later: &Message) -> bool {
        discriminant(&self.0.message) == discriminant(later)
    }
}

/// Ready when what waits has waited for long enough.
async fn moment_over(position: &mut Option<(Position, Pin<Box<Sleep>>)>) {
    match position {
        Some((_, moment)) => moment.await,
        None => pending().await,
    }
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
    let mut sender = Sender {
        shared: Arc::clone(&shared),
        socket: Some(socket),
        streamed: None,
        gathered: frame::opening().to_vec(),
        position: None,
        acknowledged: Lsn::ZERO,
        wake: Arc::clone(&wake),
    };
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
        loop {
            while let (true, Ok(asked)) = (self.gathered.len() < GATHERED, queue.try_recv()) {
                if !self.obey(asked) {
                    return self.close().await;
                }
            }
            if self.streamed.is_some_and(|after| after < self.shared.journal.last()) {
                self.send_records().await?;
                continue;
            }
            if !self.gathered.is_empty() {
                self.send_gathered().await?;
                continue;
            }
            tokio::select! {
                biased;
                asked = queue.recv() => {
                    if !asked.is_some_and(|asked| self.obey(asked)) {
                        return self.close().await;
                    }
                }
                () = moment_over(&mut self.position) => self.gather_position(),
                piece = seeds.recv() => match piece {
                    Some(SeedOut::Frame(kind, payload)) => {
                        let header = frame::header(kind, &[&payload]);
                        self.write(&[&header, &payload[..]]).await?;
                    }
                    Some(SeedOut::Turn(turn)) => self.lend(turn).await?,
                    // Whoever asked may have been ended meanwhile.
                    Some(SeedOut::Flushed(told)) => drop(told.send(())),
                    None => return Ok(()),
                },
                () = self.wake.notified(), if self.streamed.is_some() => {}
            }
        }
    }

    /// Does what was asked, as far as it does not take a write; `false` to close.
    fn obey(&mut self, asked: Outgoing) -> bool {
        match asked {
            Outgoing::Message(envelope) => self.take(envelope),
            Outgoing::StreamFrom(after) => {
                if self.streamed.replace(after).is_none() {
                    self.shared.join_senders(&self.wake);
                }
            }
            Outgoing::StopStreaming => {
                self.streamed = None;
                self.shared.leave_senders(&self.wake);
            }
            Outgoing::Close => return false,
        }
        true
    }

    fn take(&mut self, envelope: Box<Envelope>) {
        let may_wait = match envelope.message {
            Message::Commit { .. } => true,
            Message::Ack { hardened, .. } => hardened <= self.acknowledged,
            _ => false,
        };
        let same = |(before, _): &mut (Position, _)| before.is_of_the_kind_of(&envelope.message);
        let before = self.position.take_if(same);
        self.gather_position();
        if may_wait {
            let moment = before.map_or_else(|| Box::pin(sleep(MOMENT)), |(_, moment)| moment);
            self.position = Some((Position(envelope), moment));
            return;
        }
        if let Message::Ack { hardened, .. } = envelope.message {
            self.acknowledged = hardened;
        }
        self.gathered.extend(frame::message_frame(&envelope));
    }

    fn gather_position(&mut self) {
        if let Some((Position(envelope), _)) = self.position.take() {
            self.gathered.extend(frame::message_frame(&envelope));
        }
    }

    async fn send_gathered(&mut self) -> Result<(), SendError> {
        let gathered = std::mem::take(&mut self.gathered);
        self.write(&[gathered]).await
    }

    async fn close(&mut self) -> Result<(), SendError> {
        self.gather_position();
        self.send_gathered().await?;
        Ok(self.socket().shutdown().await?)
    }

    fn socket(&mut self) -> &mut OwnedWriteHalf {
        self.socket.as_mut().expect("whoever lends it waits until it is back")
    }

    /// Whoever asked writes one frame.
    async fn lend(&mut self, turn: oneshot::Sender<Outbound>) -> Result<(), SendError> {
        let (back, is_back) = oneshot::channel();
        let socket = self.socket.take().expect("whoever lends it waits until it is back");
        if let Err(unwanted) = turn.send(Outbound { socket, back }) {
            // Whoever asked has been ended meanwhile.
            self.socket = Some(unwanted.socket);
            return Ok(());
        }
        self.socket = Some(is_back.await.map_err(|_| SendError::BrokeOff)??);
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
        self.streamed = Some(chunk.last);
        if self.position.as_ref().is_some_and(|(position, _)| position.is_said_by(chunk.commit)) {
            self.position = None;
        }
        self.gather_position();
        let gathered = std::mem::take(&mut self.gathered);
        if chunk.bytes.is_empty() {
            return self.write(&[gathered]).await;
        }
        let header = frame::header(FrameType::Records, &[&chunk.bytes]);
        self.write(&[&gathered[..], &header, &chunk.bytes]).await
    }

    async fn write<P: AsRef<[u8]>>(&mut self, parts: &[P]) -> Result<(), SendError> {
        write_all(self.socket(), parts).await?;
        let bytes: usize = parts.iter().map(|part| part.as_ref().len()).sum();
        self.shared.figures.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// All parts in one system call, as far as the socket takes them.
pub(super) async fn write_all<P: AsRef<[u8]>>(
    socket: &mut OwnedWriteHalf,
    parts: &[P],
) -> io::Result<()> {
    // A write of nothing looks like one that failed.
    let parts = parts.iter().map(AsRef::as_ref).filter(|part: &&[u8]| !part.is_empty());
    let mut slices: Vec<_> = parts.map(IoSlice::new).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match socket.write_vectored(left).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    Ok(())
}
