//! Reading a segment item by item, with bounded memory, trusting nothing.

use std::{io, ops::Range};

use bytes::Bytes;
use counterpart_core::{
    Lsn, SessionId,
    record::{Record, RecordError},
};

use crate::{
    disk::DiskFile,
    segment::{FRAME_LEN, decode_frame, looks_like_frame},
};

/// What stands at a place of a segment.
#[derive(Debug)]
pub(crate) enum Item {
    /// A record that verifies.
    Record(Record),
    /// A frame that verifies; it names the next record.
    Frame(Lsn),
    /// Zeros, or the end of the range: nothing was written here.
    End,
    /// Something that does not verify.
    Bad(String),
}

/// Goes through a range of a segment.
pub(crate) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    session: SessionId,
    /// Where `buffer` begins in the file, and where the range ends.
    range: Range<u64>,
    buffer: Bytes,
    step: usize,
}

impl<'a> Scanner<'a> {
    /// Reads `range`, at least `step` bytes at a time.
    pub fn new(
        file: &'a dyn DiskFile,
        session: SessionId,
        range: Range<u64>,
        step: usize,
    ) -> Scanner<'a> {
        Scanner { file, session, range, buffer: Bytes::new(), step }
    }

    /// Where the next item begins.
    pub fn offset(&self) -> u64 {
        self.range.start
    }

    /// The item at [`offset`](Self::offset); moves behind it if it is a record or a frame.
    pub fn next(&mut self) -> io::Result<Item> {
        if !self.fill(4)? || self.buffer[..4] == [0; 4] {
            return Ok(Item::End);
        }
        if looks_like_frame(&self.buffer) {
            let whole = self.fill(FRAME_LEN)?;
            let frame = decode_frame(self.session, self.range.start, &self.buffer);
            return Ok(match frame.filter(|_| whole) {
                Some(first) => {
                    self.advance(FRAME_LEN);
                    Item::Frame(first)
                }
                None => Item::Bad("the frame of a write does not verify".to_owned()),
            });
        }
        let length = match Record::peek_length(&self.buffer) {
            Ok(length) => length,
            Err(error) => return Ok(Item::Bad(error.to_string())),
        };
        if !self.fill(length)? {
            let error = RecordError::Truncated { needed: length, available: self.buffer.len() };
            return Ok(Item::Bad(error.to_string()));
        }
        match Record::take(&mut self.buffer) {
            Ok(record) => {
                self.range.start += length as u64;
                Ok(Item::Record(record))
            }
            Err(error) => Ok(Item::Bad(error.to_string())),
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.buffer = self.buffer.slice(bytes..);
        self.range.start += bytes as u64;
    }

    /// Makes the buffer hold at least `needed` bytes; false if the range ends before.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        if self.buffer.len() >= needed {
            return Ok(true);
        }
        let left = self.range.end.saturating_sub(self.range.start);
        let wanted = needed.max(self.step) as u64;
        let size = usize::try_from(wanted.min(left)).expect("no larger than a record or a step");
        let mut bytes = Vec::with_capacity(size.max(self.buffer.len()));
        bytes.extend_from_slice(&self.buffer);
        let have = bytes.len();
        bytes.resize(size.max(have), 0);
        let read = self.file.read_at(self.range.start + have as u64, &mut bytes[have..])?;
        bytes.truncate(have + read);
        self.buffer = Bytes::from(bytes);
        Ok(self.buffer.len() >= needed)
    }
}

/// What lies behind the last good record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Remains {
    /// Zeros only.
    Nothing,
    /// This many bytes up to the last one that is not zero, none of which proves that anything was hardened.
    Torn(u64),
    /// A frame at this place proves that all records below this LSN were hardened.
    Proof(u64, Lsn),
}

/// Looks through `range` for a frame that names an LSN above `expected`.
pub(crate) fn remains(
    file: &dyn DiskFile,
    session: SessionId,
    range: Range<u64>,
    expected: Lsn,
) -> io::Result<Remains> {
    const STEP: usize = 1 << 20;
    static ZEROS: [u8; STEP] = [0; STEP];
    let mut buffer = vec![0; STEP];
    let mut at = range.start;
    let mut end = range.start;
    while at < range.end {
        let size = usize::try_from(range.end - at).unwrap_or(STEP).min(STEP);
        let read = file.read_at(at, &mut buffer[..size])?;
        let bytes = &buffer[..read];
        if bytes != &ZEROS[..read] {
            for place in 0..read.saturating_sub(FRAME_LEN - 1) {
                if looks_like_frame(&bytes[place..])
                    && let Some(first) = decode_frame(session, at + place as u64, &bytes[place..])
                    && first > expected
                {
                    return Ok(Remains::Proof(at + place as u64, first));
                }
            }
            let last = bytes.iter().rposition(|&b| b != 0).expect("it is not all zeros");
            end = at + last as u64 + 1;
        }
        if read < size || at + read as u64 >= range.end {
            break;
        }
        // Overlap, so that a frame on the border is seen whole.
        at += (read - (FRAME_LEN - 1)) as u64;
    }
    Ok(if end == range.start { Remains::Nothing } else { Remains::Torn(end - range.start) })
}
