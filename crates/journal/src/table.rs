//! The segments that are kept: what is in which file, as far as it was written and synced.

use std::path::{Path, PathBuf};

use counterpart_core::{Lsn, SessionId};

use crate::segment::{SEGMENT_HEADER_LEN, segment_name};

/// A reader starts at most this many bytes before the record that it wants.
const INDEX_STEP: u64 = 64 << 10;

/// One segment.
///
/// - `first..=last` are in it, whole and verified; it is empty when `last` is right before `first`.
/// - Nothing at or after `end` is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub session: SessionId,
    pub first: Lsn,
    pub last: Lsn,
    /// Bytes up to which it was written.
    pub end: u64,
    /// Bytes that the file takes on the disk.
    pub allocated: u64,
    /// Where some of the records begin, ascending.
    index: Vec<(Lsn, u64)>,
}

impl Segment {
    pub fn empty(dir: &Path, session: SessionId, first: Lsn, allocated: u64) -> Segment {
        let path = dir.join(segment_name(first));
        let last = Lsn(first.0 - 1);
        Segment {
            path,
            session,
            first,
            last,
            end: SEGMENT_HEADER_LEN,
            allocated,
            index: Vec::new(),
        }
    }

    /// Notes that the record `lsn` begins at `offset`.
    pub fn note(&mut self, lsn: Lsn, offset: u64) {
        if self.index.last().is_none_or(|&(_, noted)| offset >= noted + INDEX_STEP) {
            self.index.push((lsn, offset));
        }
        self.last = lsn;
    }

    /// Forgets the records after `last`, which end at `end`.
    pub fn cut(&mut self, last: Lsn, end: u64) {
        self.index.retain(|&(lsn, _)| lsn <= last);
        (self.last, self.end) = (last, end);
    }

    /// A place at or before the record `lsn` where a record or a frame begins.
    pub fn start_for(&self, lsn: Lsn) -> u64 {
        let after = self.index.partition_point(|&(noted, _)| noted <= lsn);
        if after == 0 { SEGMENT_HEADER_LEN } else { self.index[after - 1].1 }
    }

    pub fn is_empty(&self) -> bool {
        self.last < self.first
    }
}

/// All segments, oldest first. Never empty: an empty journal is one empty segment, which keeps the position.
#[derive(Debug)]
pub(crate) struct Table {
    pub segments: Vec<Segment>,
    /// Changes whenever something is taken away, so that a reader that stumbled knows to look again.
    pub generation: u64,
}

impl Table {
    /// The LSN of the oldest record kept, or of the next one if there is none.
    pub fn first(&self) -> Lsn {
        self.segments[0].first
    }

    /// The newest segment, which is written to.
    pub fn newest(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a journal has at least one segment")
    }

    pub fn allocated(&self) -> u64 {
        self.segments.iter().map(|s| s.allocated).sum()
    }

    /// Bytes written after `after`, to within a step of the index.
    pub fn bytes_after(&self, after: Lsn) -> u64 {
        let part = |segment: &Segment| {
            if segment.last <= after {
                return 0;
            }
            segment.end.saturating_sub(segment.start_for(after.next()))
        };
        self.segments.iter().map(part).sum()
    }

    /// The segment that holds the record `lsn`.
    pub fn holding(&self, lsn: Lsn) -> Option<&Segment> {
        let after = self.segments.partition_point(|s| s.first <= lsn);
        let segment = &self.segments[after.checked_sub(1)?];
        (lsn <= segment.last).then_some(segment)
    }
}
