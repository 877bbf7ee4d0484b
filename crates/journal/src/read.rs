//! Reading what was appended: from memory while it is new, from the segments when it is not.

use std::{collections::VecDeque, io};

use bytes::{Bytes, BytesMut};
use counterpart_core::{Lsn, record::Record};

use crate::{
    error::ReadError,
    journal::Journal,
    lock,
    scan::{Item, Scanner},
    table::Segment,
};

/// Bytes read from a segment at a time.
const STEP: usize = 256 << 10;

/// Whole records, one after the other, as they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The records' bytes; empty when there is nothing newer.
    pub bytes: Bytes,
    /// The first record; one above `last` when there is none.
    pub first: Lsn,
    /// The last record; the position asked for when there is none.
    pub last: Lsn,
    /// The commit LSN that the last record knows; 0 when there is none.
    pub commit: Lsn,
}

impl Journal {
    /// The records after `after`, hardened or not, up to `max_bytes` but at least one; empty when there is none.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when retention has removed them.
    pub fn read_after(&self, after: Lsn, max_bytes: usize) -> Result<Chunk, ReadError> {
        let records = self.read_records(after, max_bytes)?;
        let last = records.last().map_or(after, Record::lsn);
        let commit = records.last().map_or(Lsn::ZERO, |record| record.header().commit_lsn);
        let bytes = match records.as_slice() {
            [one] => one.bytes().clone(),
            many => {
                let mut bytes = BytesMut::with_capacity(many.iter().map(|r| r.bytes().len()).sum());
                for record in many {
                    bytes.extend_from_slice(record.bytes());
                }
                bytes.freeze()
            }
        };
        Ok(Chunk { bytes, first: after.next(), last, commit })
    }

    /// All records after `after`, one by one, up to the last there is when the iterator gets there. Memory stays
    /// bounded, whatever the journal's size. Ends after an error.
    #[must_use]
    pub fn records_after(&self, after: Lsn) -> Records {
        Records { journal: self.clone(), after, ready: VecDeque::new(), failed: false }
    }

    /// The records after `after`, up to `max_bytes` but at least one, none when there is none.
    ///
    /// # Errors
    /// As [`read_after`](Self::read_after).
    pub fn read_records(&self, after: Lsn, max_bytes: usize) -> Result<Vec<Record>, ReadError> {
        if let Some(records) = lock(&self.shared.recent).after(after, max_bytes) {
            return Ok(records);
        }
        loop {
            let (segment, generation) = {
                let table = lock(&self.shared.table);
                if after.next() < table.first() {
                    return Err(ReadError::Gone { first: table.first() });
                }
                let Some(segment) = table.holding(after.next()) else {
                    // A cut or a reset took it away between the two looks.
                    return Ok(Vec::new());
                };
                (segment.clone(), table.generation)
            };
            match self.read_segment(&segment, after, max_bytes) {
                // The files changed meanwhile: what was found may be neither here nor there.
                Err(_) if lock(&self.shared.table).generation != generation => {}
                result => return result,
            }
        }
    }

    /// Bytes of the records after `after`, hardened or not; what retention has removed does not count. Exact while they
    /// are all in memory, to within 64 KiB otherwise.
    #[must_use]
    pub fn bytes_after(&self, after: Lsn) -> u64 {
        let waiting = {
            let recent = lock(&self.shared.recent);
            if let Some(bytes) = recent.bytes_after(after) {
                return bytes;
            }
            recent.waiting as u64
        };
        lock(&self.shared.table).bytes_after(after) + waiting
    }

    fn read_segment(
        &self,
        segment: &Segment,
        after: Lsn,
        max_bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let failed = |source: io::Error| ReadError::Io { file: segment.path.clone(), source };
        let file = self.shared.disk.open(&segment.path).map_err(failed)?;
        let range = segment.start_for(after.next())..segment.end;
        let mut scanner = Scanner::new(&*file, segment.session, range, STEP);
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        loop {
            let offset = scanner.offset();
            if offset >= segment.end {
                return Ok(records);
            }
            let damaged = |reason: String| {
                Err(ReadError::Damaged { file: segment.path.clone(), offset, reason })
            };
            let expected = records.last().map_or(after, Record::lsn).next();
            match scanner.next().map_err(failed)? {
                Item::Record(record) if record.lsn() < expected && records.is_empty() => {}
                Item::Record(record) if record.lsn() == expected => {
                    bytes += record.bytes().len();
                    if bytes > max_bytes && !records.is_empty() {
                        return Ok(records);
                    }
                    records.push(record);
                }
                Item::Frame(_) => {}
                Item::Record(record) => {
                    return damaged(format!(
                        "record {} stands where {expected} belongs",
                        record.lsn()
                    ));
                }
                Item::End => return damaged(format!("record {expected} is not there")),
                Item::Bad(reason) => return damaged(reason),
            }
        }
    }
}

/// The iterator of [`Journal::records_after`].
pub struct Records {
    journal: Journal,
    after: Lsn,
    ready: VecDeque<Record>,
    failed: bool,
}

impl Iterator for Records {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        const AHEAD: usize = 4 << 20;
        if self.failed {
            return None;
        }
        if self.ready.is_empty() {
            match self.journal.read_records(self.after, AHEAD) {
                Ok(records) => self.ready = records.into(),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        let record = self.ready.pop_front()?;
        self.after = record.lsn();
        Some(Ok(record))
    }
}
