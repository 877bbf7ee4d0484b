//! The sender's side: a principal's copy for a mirror, or any server's copy for a backup. Writers go on meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use counterpart_core::{
    DatabaseId, Lsn, PageNo,
    copy::{Answer, Chosen, End, Head, Item, PageSet, SentPages, Want, Whole, pages_per_frame},
    frame::FrameType,
    message::SeedDatabase,
    session::{Event, LinkId},
};
use counterpart_journal::{ReadError, crash_point};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinError, spawn_blocking},
};

use super::{
    meter::{Meter, Purpose},
    snapshot::{Snapshot, SnapshotError},
};
use crate::{
    checkpoint::write_mark,
    clock,
    databases::Hosted,
    link::{CopyIn, SeedOut},
    refusal::Refusal,
    shared::Shared,
};

/// Bytes of records in one frame, unless a single record is longer.
const RECORDS_PER_FRAME: usize = 1 << 20;

/// Answers that wait to be looked at.
const WAITING: usize = 4;

/// Why a copy broke off. What arrived of it is kept and not sent again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("{0}")]
    NotFinal(Refusal),
    #[error("the journal can't be read: {0}")]
    Journal(#[from] ReadError),
    #[error("database {0} is being replaced by a copy from the principal")]
    Replaced(String),
    #[error("the receiver went away")]
    Ended,
    #[error("the mirror's answer about a database makes no sense")]
    Answer,
    #[error("a task panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// Chooses the mark of a copy; answers `PagesPrepared` or `SeedFailed`.
pub(crate) fn prepare(shared: &Arc<Shared>, link: LinkId) {
    let shared = Arc::clone(shared);
    let io = shared.io.clone();
    io.spawn(async move {
        let answer = match choose_mark(&shared).await {
            Ok(mark) => Event::PagesPrepared { link, mark },
            Err(refusal) => Event::SeedFailed(link, refusal.to_string()),
        };
        shared.inputs.event(answer);
    });
}

/// A new mark makes the tail as short as it can be. Where none may be written now, the one of the last checkpoint does.
pub(crate) async fn choose_mark(shared: &Arc<Shared>) -> Result<Lsn, Refusal> {
    // What is out of use would be missing, and whoever takes the copy would drop its own.
    shared.databases.quarantine.none()?;
    let mark = if shared.is_acting() { write_mark(shared).await.ok() } else { None };
    let mark = mark.unwrap_or_else(|| shared.control.read().redo_after);
    shared.confirmations.wait(mark).await?;
    crash_point("copy.marked");
    Ok(mark)
}

/// Sends a copy on a link, to a receiver that answers; the way in for its answers. Says `PagesSent` or `SeedFailed`.
pub(crate) fn start(
    shared: &Arc<Shared>,
    link: LinkId,
    out: mpsc::Sender<SeedOut>,
    mark: Lsn,
) -> mpsc::Sender<CopyIn> {
    let (sink, answers) = mpsc::channel(WAITING);
    let (shared, meter) = (Arc::clone(shared), shared.copies.begin(Purpose::Sending));
    let io = shared.io.clone();
    io.spawn(async move {
        let mut sender =
            Sender { shared: &shared, out, answers: Some(answers), meter: &meter, mark };
        let sent = sender.send_all().await;
        meter.end();
        shared.inputs.event(match sent {
            Ok(end) => Event::PagesSent { link, end },
            // The link has told the driver already; a second word does no harm.
            Err(error) => Event::SeedFailed(link, error.to_string()),
        });
    });
    sink
}

/// One copy on its way out.
pub(crate) struct Sender<'a> {
    /// The server.
    pub shared: &'a Arc<Shared>,
    /// Where it goes.
    pub out: mpsc::Sender<SeedOut>,
    /// What the receiver says; `None`: it can't speak, and wants everything.
    pub answers: Option<mpsc::Receiver<CopyIn>>,
    /// Counts.
    pub meter: &'a Meter,
    /// The tail follows this mark.
    pub mark: Lsn,
}

impl Sender<'_> {
    /// Sends everything; the end of the tail, once the network has it all.
    pub(crate) async fn send_all(&mut self) -> Result<Lsn, SendError> {
        let shared = self.shared;
        let (head, databases) = {
            // The list and what the journal says of it belong together: nobody creates or drops in between.
            let _changes = shared.databases.changes.lock().await;
            (self.head().await?, shared.databases.all())
        };
        self.meter.announce(head.databases.iter().map(|d| u64::from(d.pages)).sum());
        self.frame(FrameType::CopyHead, head.encode()).await?;
        let (mut sent, mut pages) = (0, 0);
        for hosted in databases {
            if let Some(snapshot) = Snapshot::take(shared, &hosted, self.mark).await? {
                pages += self.send_while_open(&hosted, snapshot).await?;
                sent += 1;
            }
        }
        let end = if shared.is_acting() { shared.journal.last() } else { shared.applied() };
        let end = end.max(self.mark);
        shared.confirmations.wait(end).await.map_err(SendError::NotFinal)?;
        let records = self.send_tail(end).await?;
        crash_point("copy.tail_sent");
        let end_of_copy = End { end, databases: sent, pages, records };
        self.frame(FrameType::CopyEnd, end_of_copy.encode()).await?;
        self.flush().await?;
        Ok(end)
    }

    /// Sends one database, with a head before it; what the copy shows, once the network has it all. Nothing if the
    /// database has been dropped.
    pub(crate) async fn send_one(
        &mut self,
        hosted: &Arc<Hosted>,
    ) -> Result<Option<Lsn>, SendError> {
        let head = self.head().await?;
        self.frame(FrameType::CopyHead, head.encode()).await?;
        let Some(snapshot) = Snapshot::take(self.shared, hosted, self.mark).await? else {
            return Ok(None);
        };
        let at = snapshot.offer.at;
        self.send_while_open(hosted, snapshot).await?;
        self.flush().await?;
        Ok(Some(at))
    }

    async fn flush(&self) -> Result<(), SendError> {
        let (told, flushed) = oneshot::channel();
        self.out.send(SeedOut::Flushed(told)).await.map_err(|_| SendError::Ended)?;
        flushed.await.map_err(|_| SendError::Ended)
    }

    async fn head(&self) -> Result<Head, SendError> {
        let (shared, mark) = (Arc::clone(self.shared), self.mark);
        let reading = spawn_blocking(move || {
            // A mirror takes a creation or a drop into list and catalog with this lock.
            let _applying = shared.applying.lock().expect("replay does not panic with the lock");
            let databases = shared.databases.all();
            let databases = databases.iter().map(|hosted| listed(hosted)).collect();
            let control = shared.control.read();
            Head {
                build: env!("CARGO_PKG_VERSION").to_owned(),
                server: control.session.server,
                session: control.session.session,
                epoch: control.session.epoch,
                history: control.session.history.clone(),
                made_at: clock::unix_now(),
                mark,
                catalog_lsn: control.catalog_lsn,
                next_database: control.next_database,
                databases,
            }
        });
        Ok(reading.await?)
    }

    async fn frame(&self, kind: FrameType, payload: Vec<u8>) -> Result<(), SendError> {
        self.meter.sent(payload.len());
        let sent = self.out.send(SeedOut::Frame(kind, Bytes::from(payload))).await;
        sent.map_err(|_| SendError::Ended)
    }

    /// Sends a database unless its files are replaced meanwhile: a receiver that is slow must not hold that up.
    async fn send_while_open(
        &mut self,
        hosted: &Hosted,
        snapshot: Snapshot,
    ) -> Result<u64, SendError> {
        tokio::select! {
            sent = self.send_database(snapshot) => sent,
            () = hosted.recalled() => Err(SendError::Replaced(hosted.name.to_string())),
        }
    }

    /// Offers a database and sends what is wanted of it; how many pages that were.
    async fn send_database(&mut self, snapshot: Snapshot) -> Result<u64, SendError> {
        let (id, at) = (snapshot.offer.database, snapshot.offer.at);
        // Nothing may leave that can still be taken back.
        self.shared.confirmations.wait(at).await.map_err(SendError::NotFinal)?;
        self.frame(FrameType::CopyOffer, snapshot.offer.encode()).await?;
        let (mut snapshot, chosen) = self.chosen(snapshot).await?;
        let pages = chosen.count();
        self.meter.choose(u64::from(snapshot.offer.size_in_pages), u64::from(pages));
        self.frame(FrameType::CopyChosen, Chosen { database: id, pages }.encode()).await?;
        let per_frame = pages_per_frame(snapshot.offer.page_size);
        let mut numbers = chosen.iter();
        loop {
            let some: Vec<PageNo> = numbers.by_ref().take(per_frame).collect();
            if some.is_empty() {
                break;
            }
            let count = some.len();
            let reading = spawn_blocking(move || {
                let bytes = snapshot.read(&some)?;
                let page_size = snapshot.offer.page_size;
                let sent = SentPages { database: id, page_size, numbers: some, bytes };
                Ok::<_, SnapshotError>((snapshot, sent.encode()))
            });
            let (returned, payload) = reading.await??;
            snapshot = returned;
            self.frame(FrameType::CopyPages, payload).await?;
            crash_point("copy.frame_sent");
            self.meter.done(count as u64);
        }
        self.frame(FrameType::CopyWhole, Whole { database: id, pages }.encode()).await?;
        Ok(u64::from(pages))
    }

    /// Asks the receiver what it wants, and finds out which pages that are.
    async fn chosen(&mut self, mut snapshot: Snapshot) -> Result<(Snapshot, PageSet), SendError> {
        let mut chosen = snapshot.no_pages();
        loop {
            let answer = self.answer(snapshot.offer.database).await?;
            let more = answer.more;
            let choosing = spawn_blocking(move || {
                snapshot.choose(answer.want, &mut chosen);
                (snapshot, chosen)
            });
            (snapshot, chosen) = choosing.await?;
            if !more {
                return Ok((snapshot, chosen));
            }
        }
    }

    async fn answer(&mut self, database: DatabaseId) -> Result<Answer, SendError> {
        let Some(answers) = &mut self.answers else {
            return Ok(Answer { database, want: Want::All, more: false });
        };
        let Some(CopyIn::Frame(frame)) = answers.recv().await else {
            return Err(SendError::Ended);
        };
        match Item::decode(&frame, 0) {
            Ok(Some(Item::Answer(answer))) if answer.database == database => Ok(answer),
            _ => Err(SendError::Answer),
        }
    }

    /// Sends the records after the mark up to `end`; how many there are.
    async fn send_tail(&self, end: Lsn) -> Result<u64, SendError> {
        let (mut after, mut records) = (self.mark, 0);
        while after < end {
            let journal = self.shared.journal.clone();
            let reading = spawn_blocking(move || {
                let read = journal.read_records(after, RECORDS_PER_FRAME)?;
                let read: Vec<_> = read.into_iter().take_while(|r| r.lsn() <= end).collect();
                let payload: Vec<u8> =
                    read.iter().flat_map(|record| record.bytes().iter().copied()).collect();
                let last = read.last().map_or(end, |record| record.lsn());
                Ok::<_, ReadError>((last, read.len() as u64, payload))
            });
            let (last, count, payload) = reading.await??;
            self.frame(FrameType::CopyTail, payload).await?;
            (after, records) = (last, records + count);
        }
        Ok(records)
    }
}

fn listed(hosted: &Hosted) -> SeedDatabase {
    let map = counterpart_engine::DatabaseMap::of(hosted.engine.path());
    SeedDatabase {
        id: hosted.id,
        name: hosted.name.clone(),
        page_size: hosted.engine.page_size(),
        pages: map.map_or(0, |map| map.checksum_at().1),
    }
}
