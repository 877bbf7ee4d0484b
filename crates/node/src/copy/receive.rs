//! The mirror's side of a copy: it says what it lacks, spools what comes, and proves that it is what was offered. The
//! databases themselves are not touched.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use counterpart_core::{
    Lsn, PageNo,
    copy::{
        Answer, Chosen, Compared, CopyError, End, Item, Offer, RANGES_PER_ANSWER, Want, Whole,
        differing_ranges, range_hashes,
    },
    frame::{Frame, FrameType},
    map::known,
    session::{Event, LinkId},
};
use counterpart_journal::{crash_point, free_bytes};
use tokio::sync::mpsc;

use super::{
    held,
    meter::{Meter, Purpose},
    spool::{Spool, SpoolError},
};
use crate::{
    link::{CopyIn, SeedOut},
    shared::Shared,
};

/// Frames that may wait for the disk.
const WAITING: usize = 8;

/// Bytes after which what was spooled is made durable, so that a crash does not make it come again.
const DURABLE_EVERY: u64 = 64 << 20;

/// Room that must stay free besides what a copy takes.
const SPARE: u64 = 64 << 20;

/// Why a copy can't be received. What was spooled before is kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the copy from the principal does not verify: {0}")]
    Copy(#[from] CopyError),
    #[error("the copy from the principal makes no sense: {0}")]
    Sense(&'static str),
    #[error("the copy of database {name} has checksum {found:016x}, and {wanted:016x} was offered")]
    Differs { name: String, wanted: u64, found: u64 },
    #[error(
        "the copy needs {needed} bytes in {place} and {free} are free: free some space, or use a larger disk"
    )]
    Full { needed: u64, free: u64, place: String },
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection ended")]
    LinkEnded,
}

/// A database that is being received.
pub(super) struct Current {
    offer: Offer,
    /// What this server's file held when it was offered.
    files: Vec<u64>,
}

pub(super) struct Receiver {
    pub(super) shared: Arc<Shared>,
    pub(super) link: LinkId,
    pub(super) out: mpsc::Sender<SeedOut>,
    pub(super) mark: Lsn,
    pub(super) since: Option<Lsn>,
    /// Pages of the file that do not hold what they should, and are asked for.
    pub(super) damaged: Vec<PageNo>,
    pub(super) spool: Spool,
    pub(super) current: Option<Current>,
    pub(super) meter: Arc<Meter>,
    pub(super) undurable: u64,
}

/// Starts a thread that spools what arrives; the way to it. It says `PagesSpooled` at the end, or `SeedFailed`.
pub(crate) fn start(
    shared: &Arc<Shared>,
    link: LinkId,
    out: mpsc::Sender<SeedOut>,
    mark: Lsn,
    since: Option<Lsn>,
) -> mpsc::Sender<CopyIn> {
    let (sink, frames) = mpsc::channel(WAITING);
    let (shared, meter) = (Arc::clone(shared), shared.copies.begin(Purpose::Receiving));
    let body = move || {
        // The receiver of a link that has just ended may still be writing its last frames.
        let turn = Arc::clone(&shared);
        let _turn = turn.seeding.lock().expect("a receiver does not panic with the lock");
        // Until the copy has taken their place, or never will.
        shared.still.begin(link);
        let received =
            spool_at(&shared.settings.data).map_err(ReceiveError::from).and_then(|spool| {
                let (shared, meter) = (Arc::clone(&shared), Arc::clone(&meter));
                let (damaged, current, undurable) = (Vec::new(), None, 0);
                let receiver = Receiver {
                    shared,
                    link,
                    out,
                    mark,
                    since,
                    damaged,
                    spool,
                    current,
                    meter,
                    undurable,
                };
                receiver.run(frames)
            });
        meter.end();
        match received {
            Ok(Some(end)) => shared.inputs.event(Event::PagesSpooled { link, mark, end }),
            Ok(None) => shared.still.end_of(link),
            Err(error) => {
                shared.still.end_of(link);
                shared.inputs.event(Event::SeedFailed(link, error.to_string()));
            }
        }
    };
    let thread = std::thread::Builder::new().name("copy".to_owned()).spawn(body);
    drop(thread.expect("the system gives a thread"));
    sink
}

/// The spool in a directory, with what earlier attempts left there.
pub(super) fn spool_at(directory: &Path) -> Result<Spool, SpoolError> {
    Spool::open(directory)?.compacted()
}

impl Receiver {
    /// Spools until all is there (its end), or the link ends.
    fn run(mut self, mut frames: mpsc::Receiver<CopyIn>) -> Result<Option<Lsn>, ReceiveError> {
        while let Some(arrived) = frames.blocking_recv() {
            match arrived {
                CopyIn::Frame(frame) => self.take(frame)?,
                CopyIn::Finish(end) => return self.finish(end).map(Some),
            }
        }
        // What came is kept, and the next link goes on from there.
        self.spool.sync()?;
        Ok(None)
    }

    /// Takes a frame that has come.
    pub(super) fn take(&mut self, frame: Frame) -> Result<(), ReceiveError> {
        let item = Item::decode(&frame, self.spool.length())?;
        let item = item.ok_or(ReceiveError::Sense("a frame of another kind is within it"))?;
        self.meter.sent(frame.payload.len());
        let answers = match &item {
            Item::Head(head) if head.mark == self.mark => {
                self.meter.announce(head.databases.iter().map(|d| u64::from(d.pages)).sum());
                Vec::new()
            }
            Item::Offer(offer) => self.compare(offer)?,
            Item::Chosen(chosen) => self.make_sure_of_room(*chosen)?,
            Item::Pages(sent) => {
                let Some(current) = &self.current else {
                    return Err(ReceiveError::Sense("pages of a database that was not offered"));
                };
                let beyond = sent.numbers.iter().any(|n| n.0 > current.offer.size_in_pages);
                if sent.database != current.offer.database
                    || sent.page_size != current.offer.page_size
                    || beyond
                {
                    return Err(ReceiveError::Sense("pages that the offer does not have"));
                }
                self.meter.done(sent.numbers.len() as u64);
                Vec::new()
            }
            Item::Tail(records) => {
                let mut after = self.spool.attempt().map_or(Lsn::ZERO, |attempt| attempt.reached);
                for record in records {
                    if record.lsn() != after.next() {
                        return Err(ReceiveError::Sense(
                            "its journal records do not follow each other",
                        ));
                    }
                    after = record.lsn();
                }
                Vec::new()
            }
            Item::End(_) | Item::Whole(_) => Vec::new(),
            Item::Head(_) => return Err(ReceiveError::Sense("it builds on another mark")),
            Item::Answer(_) => return Err(ReceiveError::Sense("it asks, instead of answering")),
        };
        self.spool.append(frame.kind, &frame.payload, &item)?;
        crash_point("copy.spooled");
        self.undurable += frame.payload.len() as u64;
        if let Item::Whole(whole) = item {
            self.prove(whole)?;
        }
        if self.undurable >= DURABLE_EVERY {
            self.spool.sync()?;
            self.undurable = 0;
        }
        for answer in answers {
            let frame = SeedOut::Frame(FrameType::CopyAnswer, Bytes::from(answer.encode()));
            self.out.blocking_send(frame).map_err(|_| ReceiveError::LinkEnded)?;
        }
        Ok(())
    }

    /// What this server lacks of an offer.
    fn compare(&mut self, offer: &Offer) -> Result<Vec<Answer>, ReceiveError> {
        if self.current.is_some() {
            return Err(ReceiveError::Sense("a database is offered within another"));
        }
        if offer.size_in_pages == 0 || offer.at < self.mark {
            return Err(ReceiveError::Sense("a database has an impossible size or position"));
        }
        let mut files = held::file_hashes(&self.shared, offer.database, offer.page_size);
        for page in &self.damaged {
            if let Some(hash) = files.get_mut(page.0 as usize - 1) {
                *hash = 0;
            }
        }
        let answers = self.answers(offer, &files);
        self.current = Some(Current { offer: offer.clone(), files });
        Ok(answers)
    }

    fn answers(&self, offer: &Offer, files: &[u64]) -> Vec<Answer> {
        let one = |want| vec![Answer { database: offer.database, want, more: false }];
        let spooled = self.spool.has_pages_of(&offer.name);
        // By position only where nothing else was put over the files, and where the outcome can be proven.
        if let Some(since) = self.since
            && !spooled
            && !self.shared.still.is_distrusted()
            && is_known(offer, files)
        {
            return one(Want::Since(since));
        }
        let held = self.spool.over(&offer.name, offer.page_size, files.to_vec());
        if held.is_empty() || offer.ranges.is_empty() {
            return one(Want::All);
        }
        let ranges = match differing_ranges(offer, &held) {
            Compared::Equal => return one(Want::Equal),
            Compared::Ranges(ranges) => ranges,
        };
        let size_in_pages = u32::try_from(held.len()).unwrap_or(u32::MAX).min(offer.size_in_pages);
        let pieces = ranges.chunks(RANGES_PER_ANSWER);
        // What lies behind this server's end is wanted even if no range differs.
        let count = pieces.len().max(1);
        let mut pieces = pieces;
        (1..=count)
            .map(|number| {
                let some = pieces.next().unwrap_or_default();
                let ranges = range_hashes(&held, offer.size_in_pages, some);
                Answer {
                    database: offer.database,
                    want: Want::Hashes { size_in_pages, ranges },
                    more: number < count,
                }
            })
            .collect()
    }

    fn make_sure_of_room(&self, chosen: Chosen) -> Result<Vec<Answer>, ReceiveError> {
        let Some(current) = &self.current else {
            return Err(ReceiveError::Sense("pages of a database that was not offered"));
        };
        self.meter.choose(u64::from(current.offer.size_in_pages), u64::from(chosen.pages));
        // Once in the spool, and once more where the database grows by them.
        let bytes = current.offer.page_size.bytes() as u64;
        let grows =
            u64::from(current.offer.size_in_pages).saturating_sub(current.files.len() as u64);
        let needed = (u64::from(chosen.pages) + grows) * bytes + SPARE;
        let data = &self.shared.settings.data;
        let free = free_bytes(data)?;
        if free < needed {
            return Err(ReceiveError::Full { needed, free, place: data.display().to_string() });
        }
        Ok(Vec::new())
    }

    /// Whether files and spool together are what was offered.
    fn prove(&mut self, whole: Whole) -> Result<(), ReceiveError> {
        let Some(Current { offer, files }) = self.current.take() else {
            return Err(ReceiveError::Sense("a database ends that was not offered"));
        };
        if whole.database != offer.database {
            return Err(ReceiveError::Sense("another database ends than was offered"));
        }
        let found = checksum_over(&self.spool, &offer, files);
        if found == offer.checksum {
            return Ok(());
        }
        // What came is of no use by position, or not at all: next time everything is compared, without it.
        self.shared.still.distrust();
        self.spool.delete()?;
        Err(ReceiveError::Differs { name: offer.name.to_string(), wanted: offer.checksum, found })
    }

    fn finish(mut self, end: Lsn) -> Result<Lsn, ReceiveError> {
        let attempt = self.spool.attempt();
        let whole = attempt.is_some_and(|attempt| {
            attempt.head.mark == self.mark
                && attempt.is_whole()
                && attempt.end.is_some_and(|End { end: said, .. }| said == end)
        });
        if !whole || self.current.take().is_some() {
            return Err(ReceiveError::Sense("it ends before everything has come"));
        }
        self.spool.sync()?;
        crash_point("copy.spool_durable");
        held::make_durable(&self.shared)?;
        crash_point("copy.whole");
        tracing::info!(link = self.link.0, %end, "the copy is whole in the spool");
        Ok(end)
    }
}

/// Whether every page of the file is known, so that it can be told whether those that come make it what was offered.
fn is_known(offer: &Offer, files: &[u64]) -> bool {
    let lock = offer.page_size.lock_page().0 as usize - 1;
    !files.is_empty() && files.iter().enumerate().all(|(index, hash)| *hash != 0 || index == lock)
}

/// The checksum of a database that has these hashes in its file and the spool's pages over them; 0 if a page is
/// missing.
pub(crate) fn checksum_over(spool: &Spool, offer: &Offer, files: Vec<u64>) -> u64 {
    let mut held = spool.over(&offer.name, offer.page_size, files);
    held.resize(offer.size_in_pages as usize, 0);
    let lock = offer.page_size.lock_page().0 as usize - 1;
    let missing = held.iter().enumerate().any(|(index, hash)| *hash == 0 && index != lock);
    if missing { 0 } else { known(held.iter().fold(0, |all, hash| all ^ hash)) }
}
