//! The journal thread's hands: the segment it writes to, and every change of the files. Nobody else changes one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{Epoch, Lsn, SessionId, record::Record};

use crate::{
    crash::crash_point,
    disk::{DiskFile, remove_if_there},
    error::PoisonError,
    lock,
    reset::{Place, grow, install, truncate},
    scan::{Item, Scanner},
    segment::{FRAME_LEN, SEGMENT_HEADER_LEN, SegmentHeader, encode_frame},
    shared::Shared,
    table::Segment,
};

/// The newest segment, open.
///
/// - Everything before `end` is synced whenever no call is under way.
/// - The first error is final: the caller must not use the value after it.
pub(crate) struct Files {
    shared: Arc<Shared>,
    session: SessionId,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    end: u64,
    capacity: u64,
    buffer: Vec<u8>,
}

impl Files {
    /// Opens the newest segment of the table.
    pub fn open(shared: Arc<Shared>) -> Result<Files, PoisonError> {
        let newest = lock(&shared.table).newest().clone();
        let file = shared
            .disk
            .open(&newest.path)
            .map_err(PoisonError::new("open the journal segment", &newest.path))?;
        Ok(Files {
            shared,
            session: newest.session,
            file,
            path: newest.path,
            end: newest.end,
            capacity: newest.allocated,
            buffer: Vec::new(),
        })
    }

    /// Bytes that the current segment has left for records.
    pub fn left(&self) -> u64 {
        self.capacity.saturating_sub(self.end + FRAME_LEN as u64)
    }

    /// How many of `records` fit into the current segment.
    pub fn fit(&self, records: &[Record]) -> usize {
        let mut left = self.left();
        records
            .iter()
            .take_while(|record| {
                let length = record.bytes().len() as u64;
                let fits = length <= left;
                left = left.saturating_sub(length);
                fits
            })
            .count()
    }

    /// Writes records that fit, with one write, and makes them durable with one fdatasync.
    pub fn write(&mut self, records: &[Record]) -> Result<(), PoisonError> {
        let Some(first) = records.first() else { return Ok(()) };
        self.buffer.clear();
        self.buffer.extend_from_slice(&encode_frame(self.session, self.end, first.lsn()));
        for record in records {
            self.buffer.extend_from_slice(record.bytes());
        }
        self.write_buffer()?;
        let mut table = lock(&self.shared.table);
        let newest = table.newest();
        let mut offset = self.end + FRAME_LEN as u64;
        for record in records {
            newest.note(record.lsn(), offset);
            offset += record.bytes().len() as u64;
        }
        newest.end = offset;
        self.end = offset;
        Ok(())
    }

    /// Ends the journal in order: the frame proves that everything before it was hardened.
    pub fn close(&mut self, next: Lsn) -> Result<(), PoisonError> {
        if self.end + FRAME_LEN as u64 > self.capacity {
            return Ok(());
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(&encode_frame(self.session, self.end, next));
        self.write_buffer()?;
        self.end += FRAME_LEN as u64;
        lock(&self.shared.table).newest().end = self.end;
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), PoisonError> {
        let failed = PoisonError::new("write to", &self.path);
        self.file.write_at(self.end, &self.buffer).map_err(failed)?;
        self.file.sync_data().map_err(PoisonError::new("sync", &self.path))
    }

    /// Goes on in a new segment, whose first record will be `first` and which has room for `record_bytes`.
    pub fn switch(
        &mut self,
        first: Lsn,
        epoch: Epoch,
        record_bytes: u64,
    ) -> Result<(), PoisonError> {
        let shared = Arc::clone(&self.shared);
        let least = SEGMENT_HEADER_LEN + FRAME_LEN as u64 + record_bytes;
        let spare = shared
            .space
            .take(least)
            .map_err(PoisonError::new("allocate a journal segment in", &shared.dir))?;
        let header = SegmentHeader { session: self.session, epoch, first };
        let segment = install(&*shared.disk, &shared.dir, &spare, header)
            .map_err(PoisonError::new("create a journal segment in", &shared.dir))?;
        crash_point("journal.segment_begun");
        self.file = spare.file;
        self.enter(&segment);
        let mut table = lock(&shared.table);
        if table.newest().is_empty() {
            // It had the same name and was replaced.
            table.segments.pop();
            table.generation += 1;
        }
        table.segments.push(segment);
        drop(table);
        self.retain()
    }

    fn enter(&mut self, segment: &Segment) {
        self.path.clone_from(&segment.path);
        (self.end, self.capacity) = (segment.end, segment.allocated);
        self.session = segment.session;
    }

    /// Goes on in a segment of another session.
    pub fn set_session(
        &mut self,
        session: SessionId,
        next: Lsn,
        epoch: Epoch,
    ) -> Result<(), PoisonError> {
        if self.session == session {
            return Ok(());
        }
        self.session = session;
        self.switch(next, epoch, 0)
    }

    /// Takes everything above `lsn` away, newest first, so that a crash leaves a journal without a gap.
    pub fn cut_after(&mut self, lsn: Lsn) -> Result<(), PoisonError> {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut table = lock(&shared.table);
            table.generation += 1;
            if table.newest().first <= lsn.next() {
                break;
            }
            let gone = table.segments.pop().expect("a journal has at least one segment");
            drop(table);
            self.remove(&gone.path)?;
        }
        let mut segment = lock(&shared.table).newest().clone();
        let failed = |doing| PoisonError::new(doing, &segment.path);
        self.file = shared.disk.open(&segment.path).map_err(failed("open"))?;
        let end = self.place_of(&segment, lsn.next())?;
        // Whoever reads from here on must not find what is being cut.
        segment.cut(lsn, end);
        *lock(&shared.table).newest() = segment.clone();
        truncate(&*self.file, end).map_err(PoisonError::new("cut", &segment.path))?;
        segment.allocated = grow(&*self.file, segment.allocated)
            .map_err(PoisonError::new("allocate", &segment.path))?;
        self.file.sync_data().map_err(PoisonError::new("sync", &segment.path))?;
        let mut table = lock(&shared.table);
        *table.newest() = segment.clone();
        table.generation += 1;
        drop(table);
        self.enter(&segment);
        Ok(())
    }

    /// Where the record `lsn` begins, or where the segment ends.
    fn place_of(&self, segment: &Segment, lsn: Lsn) -> Result<u64, PoisonError> {
        let range = segment.start_for(lsn)..segment.end;
        let mut scanner = Scanner::new(&*self.file, segment.session, range, 1 << 20);
        loop {
            let offset = scanner.offset();
            if offset >= segment.end {
                return Ok(offset);
            }
            match scanner.next().map_err(PoisonError::new("read", &segment.path))? {
                Item::Record(record) if record.lsn() >= lsn => return Ok(offset),
                Item::Record(_) | Item::Frame(_) => {}
                Item::End => return Err(self.unreadable(offset, "zeros stand there")),
                Item::Bad(reason) => return Err(self.unreadable(offset, &reason)),
            }
        }
    }

    fn unreadable(&self, offset: u64, reason: &str) -> PoisonError {
        let text = format!("it is damaged at byte {offset}: {reason}");
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, text);
        PoisonError { doing: "find the place to cut in", file: self.path.clone(), source }
    }

    /// Empties the journal; it goes on after `after`.
    pub fn reset(
        &mut self,
        after: Lsn,
        session: SessionId,
        epoch: Epoch,
    ) -> Result<(), PoisonError> {
        let shared = Arc::clone(&self.shared);
        let place = Place {
            disk: &shared.disk,
            dir: &shared.dir,
            segment_bytes: shared.config.segment_bytes,
        };
        let failed = PoisonError::new("empty the journal in", &shared.dir);
        let segment =
            place.reset(after, session, epoch).map_err(|e| failed(std::io::Error::other(e)))?;
        self.file =
            shared.disk.open(&segment.path).map_err(PoisonError::new("open", &segment.path))?;
        self.enter(&segment);
        let mut table = lock(&shared.table);
        table.segments = vec![segment];
        table.generation += 1;
        Ok(())
    }

    /// Removes the oldest segments while the journal is larger than it should be and nobody needs them.
    pub fn retain(&mut self) -> Result<(), PoisonError> {
        let retention = lock(&self.shared.recent).retention;
        loop {
            let mut table = lock(&self.shared.table);
            let unneeded = table.segments.len() > 1 && table.segments[1].first <= retention.needed;
            if !unneeded || table.allocated() <= self.shared.config.retention_bytes {
                return Ok(());
            }
            let gone = table.segments.remove(0);
            table.generation += 1;
            self.shared.publish_first(&table);
            drop(table);
            if gone.last >= retention.wanted && retention.wanted > Lsn::ZERO {
                tracing::warn!(
                    first = %gone.first,
                    last = %gone.last,
                    "the journal is at its size limit: removing records that a mirror had not received a moment ago"
                );
            }
            self.remove(&gone.path)?;
            self.shared.space.make_ready();
        }
    }

    /// Removes a segment; durable at once, so that a crash cannot bring it back while its neighbour is gone.
    fn remove(&self, path: &Path) -> Result<(), PoisonError> {
        remove_if_there(&*self.shared.disk, path).map_err(PoisonError::new("remove", path))?;
        let dir = &self.shared.dir;
        self.shared.disk.sync_dir(dir).map_err(PoisonError::new("sync", dir))
    }
}
