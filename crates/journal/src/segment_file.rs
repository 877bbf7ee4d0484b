//! Reading a segment that belongs to no journal of this process: a copy of one, to follow a backup.
//!
//! It may be the newest one of its server, whose end was never written; whatever does not verify is damage, because a
//! copy has no torn tail that would be harmless to cut.

use std::path::{Path, PathBuf};

use counterpart_core::record::Record;

use crate::{
    disk::{Disk, RealDisk},
    scan::{Item, Scanner},
    segment::{SEGMENT_HEADER_LEN, SegmentHeader},
};

/// Bytes read at a time.
const STEP: usize = 1 << 20;

/// Why a file is not a segment, or not a good one.
#[derive(Debug, thiserror::Error)]
pub enum SegmentFileError {
    /// The system could not read it.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not verify.
    #[error("{} is damaged at byte {offset}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

/// The records of a segment, in order and without a gap. They take as much memory as the segment: 16 MiB, as a rule.
///
/// # Errors
/// [`SegmentFileError`].
pub fn read_segment_file(path: &Path) -> Result<Vec<Record>, SegmentFileError> {
    let failed = |source| SegmentFileError::Io { path: path.to_owned(), source };
    let damaged =
        |offset, reason| SegmentFileError::Damaged { path: path.to_owned(), offset, reason };
    let file = RealDisk.open(path).map_err(failed)?;
    let length = file.length().map_err(failed)?;
    let mut header = vec![0; SEGMENT_HEADER_LEN as usize];
    let read = file.read_at(0, &mut header).map_err(failed)?;
    let header = SegmentHeader::decode(&header[..read]).map_err(|e| damaged(0, e.to_string()))?;
    let range = SEGMENT_HEADER_LEN..length;
    let mut scanner = Scanner::new(&*file, header.session, range, STEP);
    let (mut records, mut expected) = (Vec::new(), header.first);
    loop {
        let offset = scanner.offset();
        match scanner.next().map_err(failed)? {
            Item::End => return Ok(records),
            Item::Frame(named) if named == expected => {}
            Item::Record(record) if record.lsn() == expected => {
                expected = expected.next();
                records.push(record);
            }
            Item::Record(_) | Item::Frame(_) => {
                let reason = format!("another record stands where {expected} belongs");
                return Err(damaged(offset, reason));
            }
            Item::Bad(reason) => return Err(damaged(offset, reason)),
        }
    }
}
