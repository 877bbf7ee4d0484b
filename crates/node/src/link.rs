//! One connection to a partner: frames in, frames out. Knows nothing of states; the driver does.
//!
//! What goes out keeps the order in which it was asked for. Messages overtake seed pages, never each other. Records
//! are read from the journal as fast as the partner takes them, never ahead of it. The bytes of seed pages never pass
//! through this thread, which has all sockets: see `lent`.

mod lent;
mod receive;
mod send;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use counterpart_core::{
    Lsn,
    frame::{Frame, FrameType},
    message::Envelope,
    session::LinkId,
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::{Duration, sleep},
};

use crate::shared::Shared;
pub(crate) use lent::{Ended, Inbound, Outbound};

/// How long what is queued gets to go out when a link is closed.
const LINGER: Duration = Duration::from_secs(1);

/// Seed frames that wait for the partner.
const SEED_FRAMES: usize = 4;

/// What a link is asked to do.
pub(crate) enum Outgoing {
    /// Send a message.
    Message(Box<Envelope>),
    /// Send every record after this position, and those to come.
    StreamFrom(Lsn),
    /// Send no more records.
    StopStreaming,
    /// Close, after what is queued.
    Close,
}

/// A piece of a seed on its way out.
pub(crate) enum SeedOut {
    /// A frame.
    Frame(FrameType, Bytes),
    /// Whoever asked has a frame to write by itself, and waits for its turn.
    Turn(oneshot::Sender<Outbound>),
    /// Everything before this has been given to the network.
    Flushed(oneshot::Sender<()>),
}

/// The way in for seed pages, once a receiver is there.
pub(crate) type SeedSink = Arc<Mutex<Option<mpsc::Sender<SeedIn>>>>;

/// What a seed's receiver takes, in the order in which the partner sent it.
pub(crate) enum SeedIn {
    /// A frame of pages that has begun to arrive.
    Frame(Inbound),
    /// There are no more: make everything durable. The copy is consistent at this position.
    Finish(Lsn),
}

/// The way in for frames of a copy: to whoever receives it, or, on the other side, to whoever sends it and awaits
/// answers.
pub(crate) type CopySink = Arc<Mutex<Option<mpsc::Sender<CopyIn>>>>;

/// What those take, in the order in which the partner sent it.
pub(crate) enum CopyIn {
    /// A frame of a copy.
    Frame(Frame),
    /// There are no more: the copy and its tail, up to here, are all there is.
    Finish(Lsn),
}

/// A connection, from the driver's side.
pub struct Link {
    queue: mpsc::UnboundedSender<Outgoing>,
    seeds: mpsc::Sender<SeedOut>,
    sink: SeedSink,
    copies: CopySink,
    tasks: [AbortHandle; 2],
    /// Where the other side is, for the log.
    pub peer: String,
}

impl Link {
    /// Takes over a connection. Everything that arrives goes to the driver.
    #[must_use]
    pub fn start(shared: &Arc<Shared>, id: LinkId, stream: TcpStream) -> Link {
        let peer = stream.peer_addr().map_or_else(|e| format!("unknown ({e})"), |a| a.to_string());
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the link may be slower than it could be");
        }
        let (reading, writing) = stream.into_split();
        let (queue, queued) = mpsc::unbounded_channel();
        let (seeds, seeds_queued) = mpsc::channel(SEED_FRAMES);
        let sink = SeedSink::default();
        let copies = CopySink::default();
        let sinks = (Arc::clone(&sink), Arc::clone(&copies));
        let inbound = receive::run(Arc::clone(shared), id, reading, sinks);
        let outbound = send::run(Arc::clone(shared), id, writing, queued, seeds_queued);
        let tasks =
            [shared.io.spawn(inbound).abort_handle(), shared.io.spawn(outbound).abort_handle()];
        Link { queue, seeds, sink, copies, tasks, peer }
    }

    pub(crate) fn ask(&self, what: Outgoing) {
        // A sender that has ended has told the driver so.
        let _ended = self.queue.send(what);
    }

    /// The way out for seed pages.
    pub(crate) fn seeds(&self) -> mpsc::Sender<SeedOut> {
        self.seeds.clone()
    }

    /// From here on arriving seed pages go to `sink`.
    pub(crate) fn deliver_seeds_to(&self, sink: mpsc::Sender<SeedIn>) {
        *self.sink.lock().expect("no holder of this lock panics") = Some(sink);
    }

    /// The partner has sent all pages; the receiver shall finish once it has taken them.
    pub(crate) fn finish_seed(&self, shared: &Shared, consistent_at: Lsn) {
        let sink = self.sink.lock().expect("no holder of this lock panics").take();
        shared.io.spawn(async move {
            if let Some(sink) = sink {
                // A receiver that has failed has told the driver so.
                let _failed = sink.send(SeedIn::Finish(consistent_at)).await;
            }
        });
    }

    /// From here on arriving frames of copies go to `sink`.
    pub(crate) fn deliver_copies_to(&self, sink: mpsc::Sender<CopyIn>) {
        *self.copies.lock().expect("no holder of this lock panics") = Some(sink);
    }

    /// The partner has sent all of the copy; the receiver shall finish once it has taken it.
    pub(crate) fn finish_copy(&self, shared: &Shared, end: Lsn) {
        let sink = self.copies.lock().expect("no holder of this lock panics").take();
        shared.io.spawn(async move {
            if let Some(sink) = sink {
                // A receiver that has failed has told the driver so.
                let _failed = sink.send(CopyIn::Finish(end)).await;
            }
        });
    }

    /// Sends what is queued, as far as that goes quickly, and ends. Nothing more is read.
    pub fn close(self, shared: &Shared) {
        self.ask(Outgoing::Close);
        self.tasks[0].abort();
        let sending = self.tasks[1].clone();
        shared.io.spawn(async move {
            sleep(LINGER).await;
            sending.abort();
        });
    }
}
