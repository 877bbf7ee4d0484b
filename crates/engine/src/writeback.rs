//! Has the system begin to write to the disk what a file's pages in memory hold, before it would by itself.

use std::{fs::File, io, ops::Range, os::fd::AsRawFd};

/// What to do about what is on its way already.
#[derive(Clone, Copy)]
pub(crate) enum Before {
    /// Nothing.
    Leave,
    /// Wait until it is there.
    Await,
}

/// Begins with the bytes of a range; to the end of the file if the range is empty. It makes nothing durable, so nothing depends on it.
///
/// # Errors
/// What the system says.
pub(crate) fn begin(file: &File, range: Range<u64>, before: Before) -> io::Result<()> {
    let wait = match before {
        Before::Leave => 0,
        Before::Await => libc::SYNC_FILE_RANGE_WAIT_BEFORE,
    };
    let offset = |at: u64| i64::try_from(at).expect("a file has fewer bytes");
    let length = offset(range.end.saturating_sub(range.start));
    let flags = wait | libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: the descriptor is open, and nothing of this process's memory is touched.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), offset(range.start), length, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
