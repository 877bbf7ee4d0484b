//! What can go wrong, one type per operation. Every sentence names the file and, where there is one, the remedy.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{Epoch, Lsn, SessionId};

/// The first write or fsync that failed. Nothing is written after it, because nothing proves any more what is on
/// the disk; a restart finds out.
#[derive(Debug, thiserror::Error)]
#[error(
    "the journal takes no more writes: it could not {doing} {}: {source}. A database that shows nothing newer than what \
     was hardened can be read on; mend the disk and restart the server, which recovers everything that was hardened",
    file.display()
)]
pub struct PoisonError {
    /// What was being done, an infinitive.
    pub doing: &'static str,
    /// The file or directory.
    pub file: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl PoisonError {
    pub(crate) fn new(doing: &'static str, file: &Path) -> impl FnOnce(io::Error) -> PoisonError {
        move |source| PoisonError { doing, file: file.to_owned(), source }
    }
}

/// Why a record was not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// An earlier write or fsync failed.
    #[error("{0}")]
    Poisoned(Arc<PoisonError>),
    /// The journal was stopped.
    #[error("the journal is stopped; the server is shutting down")]
    Stopped,
    /// A sealed record does not continue the journal.
    #[error("the record has LSN {found} where {expected} follows")]
    Gap {
        /// The LSN after the last one.
        expected: Lsn,
        /// The record's.
        found: Lsn,
    },
    /// A sealed record is of an older epoch than the one before it.
    #[error("record {lsn} is of epoch {found}, older than {newest} of the record before it")]
    EpochBackwards {
        /// The record.
        lsn: Lsn,
        /// Its epoch.
        found: Epoch,
        /// The newest epoch in the journal.
        newest: Epoch,
    },
}

/// Why space could not be reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The disk is full. Nothing was written and nothing is lost.
    #[error(
        "the disk of the journal is full: {needed} bytes more are needed and {free} are free; make room, writes \
         are accepted again as soon as there is some"
    )]
    DiskFull {
        /// Bytes that the journal tried to allocate.
        needed: u64,
        /// Bytes free on the file system.
        free: u64,
    },
    /// Space could not be allocated for another reason.
    #[error("cannot allocate space for the journal in {}: {source}", dir.display())]
    Io {
        /// The journal's directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write or fsync failed.
    #[error("{0}")]
    Poisoned(Arc<PoisonError>),
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention has removed them.
    #[error("the journal begins with record {first}; older ones were removed")]
    Gone {
        /// The oldest record that is kept.
        first: Lsn,
    },
    /// What is on the disk is not what was written.
    #[error(
        "{} is damaged at byte {offset}: {reason}; restore this server from its partner or from a backup",
        file.display()
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What does not verify.
        reason: String,
    },
    /// The system could not read.
    #[error("cannot read {}: {source}", file.display())]
    Io {
        /// The segment.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why the journal was not cut, emptied or given another session.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The position is not one that the journal holds.
    #[error("the journal holds the records from {first} to {last}; it cannot be cut after {lsn}")]
    OutOfRange {
        /// The position asked for.
        lsn: Lsn,
        /// The oldest record that is kept.
        first: Lsn,
        /// The last record.
        last: Lsn,
    },
    /// A write or fsync failed, now or earlier.
    #[error("{0}")]
    Poisoned(Arc<PoisonError>),
    /// The journal was stopped.
    #[error("the journal is stopped; the server is shutting down")]
    Stopped,
}

/// Why waiting for a record to be hardened was in vain.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WaitError {
    /// A write or fsync failed.
    #[error("{0}")]
    Poisoned(Arc<PoisonError>),
    /// The journal was stopped before.
    #[error("the journal is stopped; the server is shutting down")]
    Stopped,
}

const RESTORE: &str = "do not delete it: restore this data directory from the partner (`counterpart mirror start \
                       --replace`) or from a backup";

/// Why a journal was not opened. No record was touched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system could not do something.
    #[error("cannot {doing} {}: {source}", file.display())]
    Io {
        /// What was being done, an infinitive.
        doing: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something that was hardened does not verify.
    #[error("the journal segment {} is damaged at byte {offset}: {reason}; {RESTORE}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What does not verify.
        reason: String,
    },
    /// Records between two segments are not there.
    #[error(
        "the journal segment {} is missing: records {from} to {to} are in no file; put it back, or restore this \
         data directory from the partner (`counterpart mirror start --replace`) or from a backup",
        file.display()
    )]
    Missing {
        /// The segment that should be there.
        file: PathBuf,
        /// The first record missing.
        from: Lsn,
        /// The last record missing.
        to: Lsn,
    },
    /// The journal ends before what is known to have been hardened.
    #[error(
        "the journal in {} ends at record {end}, though everything up to {must_reach} was hardened: segments were removed \
         or cut short; put them back, or restore this data directory from the partner (`counterpart mirror start \
         --replace`) or from a backup",
        dir.display()
    )]
    Short {
        /// The journal's directory.
        dir: PathBuf,
        /// The last record that is there.
        end: Lsn,
        /// Where it must end at least.
        must_reach: Lsn,
    },
    /// The journal belongs to another session.
    #[error(
        "the journal segment {} belongs to session {found}, this server to session {expected}; files of two servers \
         seem to be mixed: put the right journal back",
        file.display()
    )]
    Session {
        /// The segment.
        file: PathBuf,
        /// Its session.
        found: SessionId,
        /// The session asked for.
        expected: SessionId,
    },
    /// A segment was written by a version that this one does not know.
    #[error(
        "the journal segment {} has format {found}, this version of counterpart reads format {}; start the version \
         that wrote it, or a newer one",
        file.display(),
        crate::segment::SEGMENT_VERSION
    )]
    Version {
        /// The segment.
        file: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The mark of a half-done reset cannot be read.
    #[error("{0}")]
    Mark(#[from] crate::control::ControlError),
}

impl OpenError {
    pub(crate) fn io(doing: &'static str, file: &Path) -> impl FnOnce(io::Error) -> OpenError {
        move |source| OpenError::Io { doing, file: file.to_owned(), source }
    }
}
