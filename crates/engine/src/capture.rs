//! Capture: from the frames that a commit appended to the WAL to one journal record.
//!
//! ```text
//! WAL file (SQLite's, big-endian)
//!   byte  size
//!      0     4  magic 0x377f0682 or 0x377f0683
//!      4     4  format 3007000
//!      8     4  page size
//!     12     4  checkpoint sequence number
//!     16     8  salts, new at every restart of the WAL
//!     24     8  checksum of the above
//!     32     -  frames, each:
//!      0     4    page number
//!      4     4    size of the database in pages after the commit; 0 within a transaction
//!      8     8    the header's salts
//!     16     8    checksum
//!     24     n    the page
//! ```
//!
//! The frames of a commit are `[next, frames)`: `next` is where the previous capture ended (or 0 when the salts
//! say that the WAL was restarted), `frames` is what SQLite's WAL hook said. The file's length is never asked: a
//! cache spill writes frames of transactions that are not committed. The WAL of a database without a map may be opened with
//! `std::fs`: SQLite's locks are not on it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use counterpart_core::{
    Lsn, PageNo, PageSize, UnixMicros,
    map::page_hash,
    record::{Draft, TransactionDraft},
};
use rusqlite::ffi;

use crate::{
    connection::Connection,
    database::{Database, beside, wal_checkpoint},
    error::SqlError,
    map::Changes,
    pages,
    recent::{Lineage, RecentImages},
    wal::Wal,
};

const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Hashes of pages gathered before they are taken down.
const HASHES: usize = 4096;

/// Frames are read this many bytes at a time.
const WINDOW: usize = 4 << 20;

/// Each database keeps a buffer of this many bytes, for the three pages of a small commit.
const KEPT: usize = 16 << 10;

/// Where a WAL is read.
#[derive(Debug)]
enum Source {
    Wal(Arc<Wal>),
    File(File),
}

impl Source {
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Source::Wal(wal) => wal.read_exact(buffer, at),
            Source::File(file) => file.read_exact_at(buffer, at),
        }
    }
}

/// Where the next capture begins.
#[derive(Debug)]
pub(crate) struct CaptureState {
    wal: Option<Source>,
    /// Frames captured so far under `salts`.
    next: u32,
    salts: [u8; 8],
    buffer: Vec<u8>,
    /// What the next commit follows.
    lineage: Lineage,
}

impl CaptureState {
    /// Begins after so many frames of a WAL, and follows nothing that was captured.
    pub(crate) fn new(recent: &RecentImages, next: u32, salts: [u8; 8]) -> CaptureState {
        CaptureState { wal: None, next, salts, buffer: Vec::new(), lineage: recent.lineage() }
    }
}

/// What a capture gave to its sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The database's size after the commit.
    pub size_in_pages: u32,
    /// Pages that the commit changed.
    pub pages: u64,
    /// Bytes of all records.
    pub bytes: u64,
}

/// Why a commit could not be captured. It is visible and not in the journal: the server must not go on writing.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError<E> {
    /// The WAL cannot be read.
    #[error("the WAL cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The WAL is not what SQLite's hook said it is.
    #[error("the WAL does not hold the commit: {0}")]
    Wal(String),
    /// A page of the commit cannot be read through SQLite.
    #[error("a page of the commit cannot be read: {0}")]
    Sqlite(SqlError),
    /// The sink did not take a record.
    #[error("a record was not taken")]
    Sink(E),
}

/// The newest frame of each page of a commit, by page. A large load has hundreds of thousands of them.
struct Newest(Vec<(u32, u32)>);

impl Newest {
    /// Of pages and frames in any order.
    fn new(mut frames: Vec<(u32, u32)>) -> Newest {
        frames.sort_unstable();
        frames.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1;
            }
            same
        });
        Newest(frames)
    }

    fn of(&self, page: u32) -> Option<u32> {
        let place = self.0.binary_search_by_key(&page, |(page, _)| *page).ok()?;
        Some(self.0[place].1)
    }

    /// How many pages there are.
    fn count(&self) -> usize {
        self.0.len()
    }
}

/// Takes a page of a commit.
type TakePage<'a, E> = dyn FnMut(PageNo, &[u8]) -> Result<(), E> + 'a;

/// The frames of one commit.
struct Frames<'a> {
    wal: &'a Source,
    page_size: usize,
    salts: [u8; 8],
    /// First frame and the one after the last.
    range: std::ops::Range<u32>,
}

/// How many frames of `stride` bytes are read at a time.
fn per_window(stride: usize) -> u32 {
    u32::try_from(WINDOW / stride).expect("a window is small").max(1)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A frame's page number and commit size, after a check of its salts.
fn parse_frame(header: &[u8], salts: [u8; 8], frame: u32) -> Result<(u32, u32), String> {
    if header[8..16] != salts {
        return Err(format!("frame {frame} is not of this WAL (its salts differ)"));
    }
    match u32_at(header, 0) {
        0 => Err(format!("frame {frame} has no page number")),
        page => Ok((page, u32_at(header, 4))),
    }
}

impl Frames<'_> {
    fn stride(&self) -> usize {
        FRAME_HEADER + self.page_size
    }

    fn offset(&self, frame: u32) -> u64 {
        WAL_HEADER as u64 + u64::from(frame) * self.stride() as u64
    }

    fn per_window(&self) -> u32 {
        per_window(self.stride())
    }

    /// Reads frames `[from, to)` into `buffer`.
    fn read(&self, buffer: &mut Vec<u8>, from: u32, to: u32) -> io::Result<()> {
        buffer.resize((to - from) as usize * self.stride(), 0);
        self.wal.read_exact_at(buffer, self.offset(from))
    }

    fn fits_one_window(&self) -> bool {
        self.range.end - self.range.start <= self.per_window()
    }

    /// Reads the first frames, all if they fit one window; whether they are of this WAL. Those of a WAL that was
    /// restarted have other salts.
    fn begin(&self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let to = self.range.end.min(self.range.start.saturating_add(self.per_window()));
        match self.read(buffer, self.range.start, to) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            outcome => outcome.map(|()| buffer[8..16] == self.salts),
        }
    }

    /// The newest frame of each page, and the database's size after the commit, of what was [begun](Self::begin).
    fn index<E>(&self, buffer: &[u8]) -> Result<(Newest, u32), CaptureError<E>> {
        let mut newest = Vec::with_capacity(self.range.len());
        let mut size = 0;
        let mut header = [0; FRAME_HEADER];
        for frame in self.range.clone() {
            let (page, commit) = if self.fits_one_window() {
                let at = (frame - self.range.start) as usize * self.stride();
                parse_frame(&buffer[at..at + FRAME_HEADER], self.salts, frame)
            } else {
                self.wal.read_exact_at(&mut header, self.offset(frame))?;
                parse_frame(&header, self.salts, frame)
            }
            .map_err(CaptureError::Wal)?;
            newest.push((page, frame));
            size = commit;
        }
        if size == 0 {
            let last = self.range.end - 1;
            return Err(CaptureError::Wal(format!("frame {last} does not end a transaction")));
        }
        Ok((Newest::new(newest), size))
    }

    /// Gives the newest image of each page up to `size` to `take`, in the order of the frames.
    fn each_page<E>(
        &self,
        buffer: &mut Vec<u8>,
        newest: &Newest,
        size: u32,
        take: &mut TakePage<'_, E>,
    ) -> Result<(), CaptureError<E>> {
        let mut from = self.range.start;
        while from < self.range.end {
            let to = self.range.end.min(from.saturating_add(self.per_window()));
            if !self.fits_one_window() {
                self.read(buffer, from, to)?;
            }
            for (frame, bytes) in (from..to).zip(buffer.chunks_exact(self.stride())) {
                let page = u32_at(bytes, 0);
                // A spilled page may lie beyond the end of what the transaction then left.
                if page <= size && newest.of(page) == Some(frame) {
                    take(PageNo(page), &bytes[FRAME_HEADER..]).map_err(CaptureError::Sink)?;
                }
            }
            from = to;
        }
        Ok(())
    }
}

/// Checks the WAL's header and returns its salts.
fn read_salts(
    wal: &Source,
    page_size: PageSize,
) -> Result<[u8; 8], CaptureError<std::convert::Infallible>> {
    let mut header = [0; WAL_HEADER];
    wal.read_exact_at(&mut header, 0)?;
    let magic = u32_at(&header, 0);
    if magic & !1 != 0x377f_0682 || u32_at(&header, 4) != 3_007_000 {
        return Err(CaptureError::Wal(format!("its header begins with {magic:08x}")));
    }
    let found = u32_at(&header, 8);
    if found as usize != page_size.bytes() {
        return Err(CaptureError::Wal(format!("its pages have {found} bytes")));
    }
    Ok(header[16..24].try_into().expect("eight bytes"))
}

/// The same failure for another sink, from a step that has none.
fn without_sink<E>(error: CaptureError<std::convert::Infallible>) -> CaptureError<E> {
    match error {
        CaptureError::Io(error) => CaptureError::Io(error),
        CaptureError::Wal(what) => CaptureError::Wal(what),
        CaptureError::Sqlite(error) => CaptureError::Sqlite(error),
        CaptureError::Sink(never) => match never {},
    }
}

impl Connection {
    /// Whether a commit of this connection is in the WAL and not yet captured.
    #[must_use]
    pub fn has_uncaptured(&self) -> bool {
        self.hooks.frames.load(Relaxed) != 0
    }
}

impl Database {
    /// Whether the commit that `connection` has just made is so large that capturing it takes long. The first commit of
    /// a WAL that has begun anew may be larger than it seems, never smaller: what tells so is read at the capture only.
    #[must_use]
    pub fn is_large(&self, connection: &Connection) -> bool {
        let end = connection.hooks.frames.load(Relaxed);
        let frames = end.checked_sub(self.lock_capture().next).unwrap_or(end);
        frames > per_window(FRAME_HEADER + self.page_size().bytes())
    }

    /// Gives the commit that `connection` has just made to `sink`: full chunks as they fill, then the transaction
    /// itself. `None` if there was no commit, or one that changed no page. To be called after every statement
    /// that may have committed, before the write permit is released. The sink returns each record's LSN.
    ///
    /// # Errors
    /// [`CaptureError`]; the commit is then visible but not captured.
    ///
    /// # Panics
    /// If the connection is not one of this database.
    pub fn capture<E>(
        &self,
        connection: &Connection,
        now: UnixMicros,
        mark: Lsn,
        sink: &mut dyn FnMut(Draft) -> Result<Lsn, E>,
    ) -> Result<Option<Captured>, CaptureError<E>> {
        assert!(Arc::ptr_eq(&connection.shared, &self.shared), "a connection of this database");
        let end = connection.hooks.frames.swap(0, Relaxed);
        if end == 0 {
            return Ok(None);
        }
        let mut state = self.lock_capture();
        let CaptureState { wal, next, salts, buffer, lineage } = &mut *state;
        let wal = match wal {
            Some(wal) => wal,
            None => wal.insert(self.wal()?),
        };
        let page_size = self.page_size();
        let mut frames =
            Frames { wal, page_size: page_size.bytes(), salts: *salts, range: *next..end };
        if *next >= end || !frames.begin(buffer)? {
            frames.salts = read_salts(wal, page_size).map_err(without_sink)?;
            if frames.salts != *salts {
                frames.range.start = 0;
            }
            if frames.range.is_empty() || !frames.begin(buffer)? {
                let what = format!("{next} frames were captured, {end} are there");
                return Err(CaptureError::Wal(what));
            }
        }
        let recent = &self.shared.options.recent;
        // Whatever fails on the way: what was taken for journaled is not.
        let follows = std::mem::replace(lineage, recent.lineage());
        let captured = self.capture_frames(&frames, buffer, (now, follows, mark), sink)?;
        (*next, *salts, *lineage) = (end, frames.salts, follows);
        // A large transaction must not leave its buffer behind for good.
        buffer.shrink_to(KEPT);
        self.shared.size_in_pages.store(captured.size_in_pages, Relaxed);
        Ok(Some(captured))
    }

    fn capture_frames<E>(
        &self,
        frames: &Frames<'_>,
        buffer: &mut Vec<u8>,
        (now, lineage, mark): (UnixMicros, Lineage, Lsn),
        sink: &mut dyn FnMut(Draft) -> Result<Lsn, E>,
    ) -> Result<Captured, CaptureError<E>> {
        let (newest, size) = frames.index(buffer)?;
        let before = self.shared.size_in_pages.load(Relaxed);
        let missing = self.grown_without_frames(&newest, before, size);
        let mut draft = TransactionDraft::new(self.id(), self.page_size(), now);
        let image_bytes = newest.count() * self.page_size().bytes();
        let mut commit = self.shared.options.recent.commit(lineage, mark, before, image_bytes);
        let (mut pages, mut bytes) = (0u64, 0u64);
        let map = self.map();
        // Nobody else changes the database while the permit is held, so what is computed from here on holds to the end.
        let mut changes = map.map(|map| Changes::new(&map.lock()));
        let mut hashes = Vec::with_capacity(newest.count().min(HASHES));
        let mut note = |hashes: &mut Vec<(PageNo, u64)>| {
            if let (Some(map), Some(changes)) = (map, &mut changes) {
                changes.pages(&map.lock(), hashes, Lsn::ZERO);
                hashes.clear();
            }
        };
        let mut take = |number: PageNo, image: &[u8]| -> Result<(), E> {
            pages += 1;
            if map.is_some() {
                hashes.push((number, page_hash(number, image)));
            }
            if hashes.len() == HASHES {
                note(&mut hashes);
            }
            if let Some(chunk) = commit.push(&mut draft, number, image) {
                bytes += chunk.length() as u64;
                let _chunks_count_when_complete = sink(chunk)?;
            }
            Ok(())
        };
        frames.each_page(buffer, &newest, size, &mut take)?;
        for number in missing {
            let image = self.keeper().and_then(|keeper| pages::read_page(&keeper, number));
            let image = image.map_err(CaptureError::Sqlite)?;
            take(number, &image).map_err(CaptureError::Sink)?;
        }
        note(&mut hashes);
        if let (Some(map), Some(changes)) = (map, &mut changes) {
            changes.end(&map.lock(), size, Lsn::ZERO);
        }
        let last = draft.finish(size, changes.as_ref().map_or(0, Changes::checksum));
        bytes += last.length() as u64;
        let lsn = sink(last).map_err(CaptureError::Sink)?;
        if let (Some(map), Some(changes)) = (map, changes) {
            changes.publish(&mut map.lock(), lsn);
        }
        Ok(Captured { size_in_pages: size, pages, bytes })
    }

    /// Pages by which the database grew and which have no frame. SQLite writes every new page, so there should be
    /// none; if there are, their content is whatever the file holds, and a mirror's file may hold something else.
    fn grown_without_frames(&self, newest: &Newest, before: u32, size: u32) -> Vec<PageNo> {
        if size <= before {
            return Vec::new();
        }
        let lock_page = self.page_size().lock_page().0;
        (before + 1..=size)
            .filter(|page| *page != lock_page && newest.of(*page).is_none())
            .map(PageNo)
            .collect()
    }

    /// Lets the next capture begin after what is in the WAL now. Needed when the database was written by other
    /// means than captured connections, that is when a mirror becomes the principal.
    ///
    /// # Errors
    /// What SQLite or the file system says.
    pub fn rebase_capture(&self) -> Result<(), SqlError> {
        let mut state = self.lock_capture();
        if !self.is_awake() {
            // Then the WAL is empty, and the size known.
            return Ok(());
        }
        let keeper = self.keeper()?;
        let (frames, _) = wal_checkpoint(&keeper, ffi::SQLITE_CHECKPOINT_NOOP)?;
        let pages: u32 = keeper.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        let mut salts = [0; 8];
        if frames > 0 {
            let wal_error = |error: String| SqlError::new("SQLITE_IOERR_READ", error);
            let wal = self.wal().map_err(|e| wal_error(e.to_string()))?;
            salts = read_salts(&wal, self.page_size()).map_err(|e| wal_error(e.to_string()))?;
        }
        *state = CaptureState::new(&self.shared.options.recent, frames, salts);
        self.shared.size_in_pages.store(pages, Relaxed);
        Ok(())
    }

    fn wal(&self) -> io::Result<Source> {
        match self.map() {
            Some(map) => Ok(Source::Wal(Arc::clone(map.wal()))),
            None => File::open(beside(self.path(), "-wal")).map(Source::File),
        }
    }

    pub(crate) fn lock_capture(&self) -> MutexGuard<'_, CaptureState> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
