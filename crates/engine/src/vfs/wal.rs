//! The `-wal` file, which is a [`Wal`] if the database has a map.
//!
//! SQLite writes a frame in two parts, header and page, and here both go with one write.
//! A commit of one row is one frame, and applying is little else than frames. The header waits only from one part to the
//! other, which SQLite writes one after the other in one function; so whoever reads the file finds all that SQLite
//! believes to have written. A header that SQLite writes alone, when it counts checksums anew, follows upon reading
//! that very frame, and goes straight through.

use std::{
    ffi::{c_int, c_void},
    io, ptr, slice,
    sync::Arc,
};

use rusqlite::ffi;

use crate::{map::DatabaseMap, wal::Wal};

use super::{PASSED_ON, behind};

/// Bytes of a frame before its page.
const FRAME_HEADER: usize = 24;

/// The smallest page there is.
const LEAST_PAGE: usize = 512;

/// What SQLite has as an open WAL. The unix VFS's object lies where it lies behind any file of ours.
#[repr(C)]
pub(super) struct WalFile {
    base: ffi::sqlite3_file,
    /// From `Box::into_raw`.
    frame: *mut Frame,
}

const _: () = assert!(size_of::<WalFile>() <= size_of::<super::ShimFile>(), "that is its room");

/// The frame that is being written.
///
/// - `bytes` is empty, or a header that belongs `at` and whose page has not come yet.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    at: ffi::sqlite3_int64,
    /// Where the last call read a whole frame, -1 if it did something else.
    read_at: ffi::sqlite3_int64,
    wal: Option<Arc<Wal>>,
}

/// Makes an opened file of the unix VFS a WAL of ours. What is returned is SQLite's result of opening it.
///
/// # Safety
/// `file` has room for our objects, and [`inner`] of it was opened.
pub(super) unsafe fn adopt(file: *mut ffi::sqlite3_file, map: Option<&DatabaseMap>) -> c_int {
    let wal = map.map(|map| Arc::clone(map.wal()));
    if let Some(error) = wal.as_ref().and_then(|wal| wal.open().err()) {
        tracing::error!(%error, "a WAL can't be opened");
        // SAFETY: as promised. SQLite does not close what has no methods.
        unsafe {
            let (inner, unix) = behind(file);
            unix.xClose.expect("a file can be closed")(inner);
        }
        return ffi::SQLITE_CANTOPEN;
    }
    let frame = Frame { bytes: Vec::new(), at: 0, read_at: -1, wal };
    // SAFETY: as promised; it is ended by `close`.
    unsafe {
        (*file.cast::<WalFile>()).frame = Box::into_raw(Box::new(frame));
        (*file).pMethods = &METHODS;
    }
    ffi::SQLITE_OK
}

/// The frame that is being written to a file.
///
/// # Safety
/// `file` is open and was made by [`adopt`]; only the thread that uses its connection calls this.
unsafe fn frame<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Frame {
    // SAFETY: as promised. SQLite uses a file from one thread at a time.
    unsafe { &mut *(*file.cast::<WalFile>()).frame }
}

/// Writes a header whose page did not follow.
///
/// # Safety
/// As for [`frame`].
unsafe fn settle(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as promised.
    unsafe {
        let frame = frame(file);
        frame.read_at = -1;
        if frame.bytes.is_empty() {
            return ffi::SQLITE_OK;
        }
        let result = write_behind(file, frame.wal.as_deref(), &frame.bytes, frame.at);
        frame.bytes.clear();
        result
    }
}

/// # Safety
/// As for [`frame`].
unsafe fn write_behind(
    file: *mut ffi::sqlite3_file,
    wal: Option<&Wal>,
    bytes: &[u8],
    at: ffi::sqlite3_int64,
) -> c_int {
    if let Some(wal) = wal {
        let Ok(at) = u64::try_from(at) else { return ffi::SQLITE_IOERR_WRITE };
        return match wal.write(bytes, at) {
            Ok(()) => ffi::SQLITE_OK,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => ffi::SQLITE_FULL,
            Err(error) => failed(&error, ffi::SQLITE_IOERR_WRITE),
        };
    }
    let length =
        c_int::try_from(bytes.len()).expect("a frame is no longer than its page and header");
    // SAFETY: as promised.
    unsafe {
        let (inner, unix) = behind(file);
        unix.xWrite.expect("a file can be written")(inner, bytes.as_ptr().cast(), length, at)
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let Ok(length) = usize::try_from(amount) else { return ffi::SQLITE_IOERR_WRITE };
    // SAFETY: SQLite gives an open file of ours and `amount` bytes.
    unsafe {
        let bytes = slice::from_raw_parts(buffer.cast::<u8>(), length);
        let frame = frame(file);
        let follows = frame.at + FRAME_HEADER as ffi::sqlite3_int64 == offset;
        if !frame.bytes.is_empty() && follows && length >= LEAST_PAGE {
            frame.bytes.extend_from_slice(bytes);
            let result = write_behind(file, frame.wal.as_deref(), &frame.bytes, frame.at);
            frame.bytes.clear();
            return result;
        }
        let is_new = length == FRAME_HEADER && frame.read_at != offset;
        match settle(file) {
            ffi::SQLITE_OK => {}
            failed => return failed,
        }
        if is_new {
            frame.bytes.extend_from_slice(bytes);
            frame.at = offset;
            return ffi::SQLITE_OK;
        }
        write_behind(file, frame.wal.as_deref(), bytes, offset)
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours and room for `amount` bytes.
    unsafe {
        match settle(file) {
            ffi::SQLITE_OK => {}
            failed => return failed,
        }
        if usize::try_from(amount).is_ok_and(|length| length >= FRAME_HEADER + LEAST_PAGE) {
            frame(file).read_at = offset;
        }
        if let Some(wal) = &frame(file).wal {
            return read_wal(wal, buffer, amount, offset);
        }
        let (inner, unix) = behind(file);
        unix.xRead.expect("a file can be read")(inner, buffer, amount, offset)
    }
}

/// Reads as SQLite wants it: what is not there is zero.
///
/// # Safety
/// `buffer` has room for `amount` bytes.
unsafe fn read_wal(
    wal: &Wal,
    buffer: *mut c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let (Ok(length), Ok(at)) = (usize::try_from(amount), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: as promised; nothing may have been written there before.
    let buffer = unsafe {
        ptr::write_bytes(buffer.cast::<u8>(), 0, length);
        slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    match wal.read(buffer, at) {
        Ok(read) if read == length => ffi::SQLITE_OK,
        Ok(_) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(error) => failed(&error, ffi::SQLITE_IOERR_READ),
    }
}

/// Logs what the system says; SQLite has only `code` for it.
fn failed(error: &io::Error, code: c_int) -> c_int {
    tracing::error!(%error, "a WAL can't be used");
    code
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once. A header without a page belongs to nothing.
    unsafe {
        let frame = Box::from_raw((*file.cast::<WalFile>()).frame);
        if let Some(Err(error)) = frame.wal.map(|wal| wal.close()) {
            // It is as if the system had ended: the journal has what is missing, and every start begins without a WAL.
            tracing::error!(%error, "what was in memory of a WAL is not in its file");
        }
        let (inner, unix) = behind(file);
        let result = unix.xClose.expect("a file can be closed")(inner);
        (*file).pMethods = ptr::null();
        result
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file of ours; so do all that follow.
    unsafe {
        match settle(file) {
            ffi::SQLITE_OK => {}
            failed => return failed,
        }
        if let Some(wal) = &frame(file).wal {
            let cut = wal.truncate(u64::try_from(size).unwrap_or(0));
            return cut.map_or_else(
                |error| failed(&error, ffi::SQLITE_IOERR_TRUNCATE),
                |()| ffi::SQLITE_OK,
            );
        }
        let (inner, unix) = behind(file);
        unix.xTruncate.expect("a file can be truncated")(inner, size)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        match settle(file) {
            ffi::SQLITE_OK => super::sync(file, flags),
            failed => failed,
        }
    }
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    size: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        match settle(file) {
            ffi::SQLITE_OK => {}
            failed => return failed,
        }
        if let Some(wal) = &frame(file).wal {
            *size = ffi::sqlite3_int64::try_from(wal.size()).unwrap_or(ffi::sqlite3_int64::MAX);
            return ffi::SQLITE_OK;
        }
        let (inner, unix) = behind(file);
        unix.xFileSize.expect("a file has a size")(inner, size)
    }
}

/// Version 1: a WAL is neither shared nor mapped.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    ..PASSED_ON
};
