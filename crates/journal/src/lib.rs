//! Counterpart's journal: the server's one append-only log of everything that its users changed.
//!
//! A commit is durable when its record is hardened here, and nowhere else. One thread writes and fsyncs, all
//! records go through it in the order of their LSNs, and what it reports as hardened is there after any crash.
//! This crate never interprets what a record says; it must never lose one that it reported, never show one that
//! was cut, and never continue after a failed write. See `DESIGN.md` beside it.

use std::sync::{Mutex, MutexGuard};

pub mod control;
mod crash;
pub mod disk;
mod error;
mod files;
mod journal;
mod read;
mod recent;
mod recover;
mod reset;
mod scan;
pub mod segment;
mod segment_file;
mod shared;
mod space;
mod table;
mod threads;
mod verify;
mod writer;

pub use control::{ControlError, ControlFile};
pub use crash::{CRASH_AT, CRASH_POINTS, crash_point};
pub use disk::{
    Disk, DiskFile, RealDisk, append_private, atomic_write, free_bytes, lock_directory,
    rename_durably, sync_dir, sync_file, write_private,
};
pub use error::{
    AppendError, ChangeError, OpenError, PoisonError, ReadError, ReserveError, WaitError,
};
pub use journal::{Config, Journal, Progress};
pub use read::{Chunk, Records};
pub use recover::{Cut, Recovery};
pub use segment_file::{SegmentFileError, read_segment_file};
pub use verify::{MendError, Span};

/// Locks; a thread that panicked while it held the lock has left the value whole, as no holder leaves it half-changed
/// across a call that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
