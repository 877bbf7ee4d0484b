//! Reading the kept segments back from the disk, and replacing one that is damaged by the same records.
//!
//! Only what was hardened is looked at. The newest segment is never replaced, because the journal thread writes to
//! it: it is closed first, so that it is not the newest any more.

use counterpart_core::{Epoch, Lsn, record::Record};

use crate::{
    crash::crash_point,
    disk::{DiskFile, remove_if_there},
    error::{ChangeError, ReadError},
    journal::Journal,
    lock,
    recent::Change,
    scan::{Item, Scanner},
    segment::{FRAME_LEN, SEGMENT_HEADER_LEN, SegmentHeader, encode_frame, mend_name},
    table::Segment,
};

/// Bytes read at a time.
const STEP: usize = 1 << 20;

/// A kept segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its first record.
    pub first: Lsn,
    /// Its last record; one below `first` if it has none yet.
    pub last: Lsn,
    /// Bytes that are in use.
    pub bytes: u64,
}

/// Why a segment was not replaced. The journal is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// The records are not those of the segment.
    #[error("the records {first} to {last} were brought where those of a segment are needed")]
    OtherRecords {
        /// The first that was brought.
        first: Lsn,
        /// The last that was brought.
        last: Lsn,
    },
    /// Retention or a cut took the segment away meanwhile.
    #[error("the segment is not kept any more")]
    Gone,
    /// The journal could not close the segment.
    #[error(transparent)]
    Journal(#[from] ChangeError),
    /// The system could not write.
    #[error("the segment can't be written: {0}")]
    Io(#[from] std::io::Error),
}

impl Journal {
    /// The kept segments, the oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<Span> {
        let span = |s: &Segment| Span { first: s.first, last: s.last, bytes: s.end };
        lock(&self.shared.table).segments.iter().map(span).collect()
    }

    /// Reads the segment that begins with `first` back from the disk, header and every record; the bytes read, 0 if it
    /// is not kept any more.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if something in it does not verify.
    pub fn verify_segment(&self, first: Lsn) -> Result<u64, ReadError> {
        let (segment, generation) = {
            let table = lock(&self.shared.table);
            match table.segments.iter().find(|segment| segment.first == first) {
                Some(segment) => (segment.clone(), table.generation),
                None => return Ok(0),
            }
        };
        match self.read_back(&segment) {
            // The files changed meanwhile: what was found may be neither here nor there.
            Err(_) if lock(&self.shared.table).generation != generation => Ok(0),
            result => result,
        }
    }

    fn read_back(&self, segment: &Segment) -> Result<u64, ReadError> {
        let failed = |source| ReadError::Io { file: segment.path.clone(), source };
        let damaged =
            |offset, reason| ReadError::Damaged { file: segment.path.clone(), offset, reason };
        let file = self.shared.disk.open(&segment.path).map_err(failed)?;
        let mut header = vec![0; SEGMENT_HEADER_LEN as usize];
        let read = file.read_at(0, &mut header).map_err(failed)?;
        let header =
            SegmentHeader::decode(&header[..read]).map_err(|e| damaged(0, e.to_string()))?;
        if (header.first, header.session) != (segment.first, segment.session) {
            return Err(damaged(0, "its header is another segment's".to_owned()));
        }
        let range = SEGMENT_HEADER_LEN..segment.end;
        let mut scanner = Scanner::new(&*file, segment.session, range, STEP);
        let mut expected = segment.first;
        while scanner.offset() < segment.end {
            let offset = scanner.offset();
            match scanner.next().map_err(failed)? {
                Item::Record(record) if record.lsn() == expected => expected = expected.next(),
                Item::Frame(named) if named == expected => {}
                Item::Record(record) => {
                    let found = record.lsn();
                    return Err(damaged(
                        offset,
                        format!("record {found} stands where {expected} belongs"),
                    ));
                }
                Item::Frame(named) => {
                    return Err(damaged(
                        offset,
                        format!("record {named} is announced where {expected} belongs"),
                    ));
                }
                Item::End => {
                    return Err(damaged(offset, format!("record {expected} is not there")));
                }
                Item::Bad(reason) => return Err(damaged(offset, reason)),
            }
        }
        if expected != segment.last.next() {
            return Err(damaged(segment.end, format!("record {expected} is not there")));
        }
        Ok(segment.end)
    }

    /// Makes sure that the segment which begins with `first` is not written to any more; which records it has then.
    ///
    /// # Errors
    /// [`MendError::Gone`], or why the journal cannot go on in another segment.
    pub fn close_segment(&self, first: Lsn) -> Result<Span, MendError> {
        let is_newest = |spans: &[Span]| spans.last().is_some_and(|span| span.first == first);
        if is_newest(&self.segments()) {
            // Under load the journal thread would never come to it while records come in.
            let _appender = lock(&self.shared.appender);
            self.change(Change::Roll)?;
        }
        let spans = self.segments();
        // An empty segment cannot be closed: the next one would have its name.
        let span = spans.iter().find(|span| span.first == first).filter(|_| !is_newest(&spans));
        span.copied().ok_or(MendError::Gone)
    }

    /// Replaces the segment that begins with `first`, which is [closed](Self::close_segment), by these records, which
    /// must be the ones that it has; durably.
    ///
    /// # Errors
    /// [`MendError`].
    pub fn mend_segment(&self, first: Lsn, records: &[Record]) -> Result<(), MendError> {
        let find = || -> Option<Segment> {
            let table = lock(&self.shared.table);
            let (_newest, older) = table.segments.split_last()?;
            older.iter().find(|segment| segment.first == first).cloned()
        };
        let old = find().ok_or(MendError::Gone)?;
        check(&old, records)?;
        let disk = &*self.shared.disk;
        let part = self.shared.dir.join(mend_name(first));
        remove_if_there(disk, &part)?;
        let file = disk.create(&part)?;
        let mended = write(&*file, &old, records)?;
        let mut table = lock(&self.shared.table);
        // With the lock, so that retention does not remove the name before it is given.
        let Some(place) = table.segments.iter_mut().find(|segment| segment.first == first) else {
            drop(table);
            remove_if_there(disk, &part)?;
            return Err(MendError::Gone);
        };
        crash_point("journal.before_mend");
        disk.rename(&part, &old.path)?;
        crash_point("journal.after_mend");
        disk.sync_dir(&self.shared.dir)?;
        *place = mended;
        table.generation += 1;
        Ok(())
    }
}

/// Whether these are the segment's records. Each has verified; what is left is their places.
fn check(segment: &Segment, records: &[Record]) -> Result<(), MendError> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Err(MendError::OtherRecords { first: Lsn::ZERO, last: Lsn::ZERO });
    };
    let follows = records.windows(2).all(|pair| pair[1].lsn() == pair[0].lsn().next());
    if follows && first.lsn() == segment.first && last.lsn() == segment.last {
        return Ok(());
    }
    Err(MendError::OtherRecords { first: first.lsn(), last: last.lsn() })
}

/// Writes a whole segment and makes it durable; how it is from now on.
fn write(file: &dyn DiskFile, old: &Segment, records: &[Record]) -> std::io::Result<Segment> {
    let epoch: Epoch = records[0].header().epoch;
    let header = SegmentHeader { session: old.session, epoch, first: old.first };
    file.write_at(0, &header.encode())?;
    let frame = encode_frame(old.session, SEGMENT_HEADER_LEN, old.first);
    file.write_at(SEGMENT_HEADER_LEN, &frame)?;
    let mut mended = old.clone();
    mended.cut(old.first.before(), SEGMENT_HEADER_LEN);
    let mut offset = SEGMENT_HEADER_LEN + FRAME_LEN as u64;
    for record in records {
        file.write_at(offset, record.bytes())?;
        mended.note(record.lsn(), offset);
        offset += record.bytes().len() as u64;
    }
    mended.end = offset;
    mended.allocated = offset;
    file.sync_data()?;
    Ok(mended)
}
