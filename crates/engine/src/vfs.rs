//! The VFS "counterpart": SQLite's unix VFS, with each page of a mapped database file verified before SQLite sees it.
//!
//! Only the main file of a database that has a [`DatabaseMap`] is looked at, and its [WAL](wal) is held as
//! [`Wal`](crate::wal::Wal) says; every other file is the unix VFS's own. Such a file is an object of ours with the unix VFS's
//! object behind it:
//!
//! ```text
//! sqlite3_file as SQLite holds it
//!     ShimFile { methods, map, held }  24 bytes; of a WAL: WalFile { methods, frame }
//!     unixFile                         the unix VFS's szOsFile bytes
//! ```
//!
//! A page that is not what it should be is repaired, or the read fails with `SQLITE_IOERR_DATA`; it is never given to
//! SQLite. Memory mapping would go round all this, so it is not offered.

mod wal;

use std::{
    cell::RefCell,
    ffi::{CStr, OsStr, c_char, c_int, c_void},
    io,
    mem::size_of,
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr,
    rc::Rc,
    slice,
    sync::{Arc, OnceLock},
};

use counterpart_core::PageNo;
use rusqlite::ffi;

use crate::{
    map::{DatabaseMap, Verdict},
    shm::{Held, NoMemory, Shm},
};

/// The name that connections open files with.
pub(crate) const NAME: &CStr = c"counterpart";

/// What SQLite has as an open database. The unix VFS's object lies right behind it.
#[repr(C)]
struct ShimFile {
    base: ffi::sqlite3_file,
    /// From `Arc::into_raw`: SQLite's file keeps the map, so that the map's descriptor is closed after SQLite's.
    map: *const DatabaseMap,
    /// What its connection holds of the [shared memory](crate::shm).
    held: Held,
}

/// Who is told of a checkpoint.
struct Beside {
    begun: Option<Box<dyn FnOnce()>>,
    between: Rc<dyn Fn()>,
}

thread_local! {
    /// The checkpoint on this thread, if it runs beside writers.
    static BESIDE: RefCell<Option<Beside>> = const { RefCell::new(None) };
}

/// Runs a checkpoint. Once SQLite knows what it will copy, and before it does, `begun` is called; and `between` after each
/// step of so many bytes as are sent to the disk at a time.
pub(crate) fn when_copying<R>(
    begun: impl FnOnce() + 'static,
    between: impl Fn() + 'static,
    checkpoint: impl FnOnce() -> R,
) -> R {
    BESIDE.set(Some(Beside { begun: Some(Box::new(begun)), between: Rc::new(between) }));
    let outcome = checkpoint();
    // What it would still have told is forgotten.
    drop(BESIDE.take());
    outcome
}

/// Whether a checkpoint on this thread runs beside writers.
pub(crate) fn copies_beside_writers() -> bool {
    BESIDE.with_borrow(Option::is_some)
}

/// A checkpoint on this thread begins to copy.
fn begins_to_copy() {
    let begun = BESIDE.with_borrow_mut(|beside| beside.as_mut()?.begun.take());
    if let Some(begun) = begun {
        begun();
    }
}

/// A step of a checkpoint on this thread is done.
pub(crate) fn has_copied() {
    let between = BESIDE.with_borrow(|beside| Some(Rc::clone(&beside.as_ref()?.between)));
    if let Some(between) = between {
        between();
    }
}

/// Registers the VFS, once in a process.
pub(crate) fn register() {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        // SAFETY: the unix VFS is static. The copy is leaked, so it lives as long as SQLite may use it. Of the unix
        // VFS's own functions only `xOpen` looks at the object that it is called with, and gets its own below.
        let result = unsafe {
            let unix = ffi::sqlite3_vfs_find(c"unix".as_ptr());
            assert!(!unix.is_null(), "the bundled SQLite has a unix VFS");
            let shim = c_int::try_from(size_of::<ShimFile>()).expect("three words");
            let vfs = Box::leak(Box::new(*unix));
            vfs.zName = NAME.as_ptr();
            vfs.szOsFile += shim;
            vfs.pNext = ptr::null_mut();
            vfs.pAppData = unix.cast();
            vfs.xOpen = Some(open);
            ffi::sqlite3_vfs_register(vfs, 0)
        };
        assert_eq!(result, ffi::SQLITE_OK, "a VFS of a new name can be registered");
    });
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this with our VFS, whose `pAppData` is the unix VFS; `name` is null or a C string;
    // `file` has room for `szOsFile` bytes.
    unsafe {
        let unix = (*vfs).pAppData.cast::<ffi::sqlite3_vfs>();
        let open = (*unix).xOpen.expect("the unix VFS opens files");
        let map = match map_of(name, flags) {
            Ok(map) => map,
            Err(error) => {
                // Opened beside its map, it would have another WAL index than the connections that have the map.
                tracing::error!(%error, "it can't be told whether a database file is the one that its map is of");
                (*file).pMethods = ptr::null();
                return ffi::SQLITE_CANTOPEN;
            }
        };
        let is_wal = flags & ffi::SQLITE_OPEN_WAL != 0;
        if map.is_none() && !is_wal {
            return open(unix, name, file, flags, out_flags);
        }
        let inner = inner(file);
        (*file).pMethods = ptr::null();
        (*inner).pMethods = ptr::null();
        let result = open(unix, name, inner, flags, out_flags);
        if result == ffi::SQLITE_OK {
            match map {
                Some(map) if !is_wal => adopt(file, map),
                map => return wal::adopt(file, map.as_deref()),
            }
        } else if !(*inner).pMethods.is_null() {
            // SQLite closes what failed to open if it has methods, but it sees only ours, which has none.
            (*(*inner).pMethods).xClose.expect("a file can be closed")(inner);
        }
        result
    }
}

/// Makes an opened file of the unix VFS a database of ours.
///
/// # Safety
/// `file` has room for our objects, and [`inner`] of it was opened.
unsafe fn adopt(file: *mut ffi::sqlite3_file, map: Arc<DatabaseMap>) {
    map.file_opened();
    // SAFETY: as promised; it is ended by `close`.
    unsafe {
        let shim = file.cast::<ShimFile>();
        (*shim).map = Arc::into_raw(map);
        ptr::write(&raw mut (*shim).held, Held::default());
        (*file).pMethods = &METHODS;
    }
}

/// The map of the file that is being opened, if it is a database that has one, or the WAL of one.
///
/// # Errors
/// If that can't be told.
///
/// # Safety
/// `name` is null or a C string.
unsafe fn map_of(name: *const c_char, flags: c_int) -> io::Result<Option<Arc<DatabaseMap>>> {
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: as promised. SQLite gives the full path, with links resolved.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let database = match flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL) {
        ffi::SQLITE_OPEN_MAIN_DB => Some(name),
        ffi::SQLITE_OPEN_WAL => name.strip_suffix(b"-wal"),
        _ => None,
    };
    let Some(database) = database else { return Ok(None) };
    DatabaseMap::registered(Path::new(OsStr::from_bytes(database)))
}

/// The unix VFS's object behind ours.
///
/// # Safety
/// `file` was allocated with our `szOsFile`.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: as promised, so the result lies within the same allocation.
    unsafe { file.cast::<u8>().add(size_of::<ShimFile>()).cast() }
}

/// The unix VFS's object and its methods.
///
/// # Safety
/// `file` was opened by [`open`] as one of ours, and is not closed while the result is used.
unsafe fn behind<'a>(
    file: *mut ffi::sqlite3_file,
) -> (*mut ffi::sqlite3_file, &'a ffi::sqlite3_io_methods) {
    // SAFETY: `open` has set both, and they stay until `close`.
    unsafe {
        let inner = inner(file);
        (inner, &*(*inner).pMethods)
    }
}

/// The map, the unix VFS's object and its methods.
///
/// # Safety
/// As for [`behind`], and `file` is a database.
unsafe fn parts<'a>(
    file: *mut ffi::sqlite3_file,
) -> (&'a DatabaseMap, *mut ffi::sqlite3_file, &'a ffi::sqlite3_io_methods) {
    // SAFETY: `open` has set all three, and they stay until `close`.
    unsafe {
        let (inner, unix) = behind(file);
        (&*(*file.cast::<ShimFile>()).map, inner, unix)
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once. The map goes after the unix VFS's descriptor, and `pMethods` tells SQLite
    // that the file is closed.
    unsafe {
        let (map, inner, unix) = parts(file);
        // SQLite has done so if the file was used as a WAL database.
        map.shm().unmap(&mut (*file.cast::<ShimFile>()).held);
        let result = unix.xClose.expect("a file can be closed")(inner);
        (*file).pMethods = ptr::null();
        let map = Arc::from_raw((*file.cast::<ShimFile>()).map);
        map.file_closed();
        drop(map);
        result
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours and room for `amount` bytes, which the unix VFS fills as far as it
    // says; only what it has filled is looked at.
    unsafe {
        let (map, inner, unix) = parts(file);
        let read = unix.xRead.expect("a file can be read");
        let (Ok(length), Ok(at)) = (usize::try_from(amount), usize::try_from(offset)) else {
            return ffi::SQLITE_IOERR_READ;
        };
        let page_size = map.page_size().bytes();
        let Ok(number) = u32::try_from(at / page_size + 1) else {
            return ffi::SQLITE_IOERR_READ;
        };
        let within = at % page_size;
        if within + length > page_size {
            // SQLite reads no more than one page at a time from a database.
            return ffi::SQLITE_IOERR_READ;
        }
        if length == page_size {
            let result = read(inner, buffer, amount, offset);
            if !matches!(result, ffi::SQLITE_OK | ffi::SQLITE_IOERR_SHORT_READ) {
                // Nothing may have been written there, so there is nothing to make a slice of.
                ptr::write_bytes(buffer.cast::<u8>(), 0, length);
            }
            let image = slice::from_raw_parts_mut(buffer.cast::<u8>(), length);
            return judge(map, PageNo(number), image, result);
        }
        let mut image = vec![0u8; page_size];
        let start = offset - within as ffi::sqlite3_int64;
        let amount = c_int::try_from(page_size).expect("a page has 65,536 bytes at most");
        let result = read(inner, image.as_mut_ptr().cast(), amount, start);
        let result = judge(map, PageNo(number), &mut image, result);
        if result == ffi::SQLITE_OK {
            ptr::copy_nonoverlapping(image[within..].as_ptr(), buffer.cast::<u8>(), length);
            return result;
        }
        if result == ffi::SQLITE_IOERR_DATA {
            return result;
        }
        // A file that has no whole page there yet: what SQLite asked for may be there.
        unix.xRead.expect("a file can be read")(
            inner,
            buffer,
            c_int::try_from(length).unwrap_or(0),
            offset,
        )
    }
}

/// The result of a read whose own was `result`; `image` then holds what SQLite may see.
fn judge(map: &DatabaseMap, page: PageNo, image: &mut [u8], result: c_int) -> c_int {
    match map.verify(page, image, result == ffi::SQLITE_OK) {
        Verdict::Good => ffi::SQLITE_OK,
        Verdict::Unknown => result,
        Verdict::Damaged => ffi::SQLITE_IOERR_DATA,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours and `amount` bytes.
    unsafe {
        let (map, inner, unix) = parts(file);
        let (Ok(length), Ok(at)) = (usize::try_from(amount), u64::try_from(offset)) else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        let page_size = map.page_size().bytes();
        let whole = length == page_size && at.is_multiple_of(page_size as u64);
        let image = whole.then(|| slice::from_raw_parts(buffer.cast::<u8>(), length));
        map.write_through(at, length, image, || {
            unix.xWrite.expect("a file can be written")(inner, buffer, amount, offset)
        })
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    unsafe {
        let (map, inner, unix) = parts(file);
        let length = u64::try_from(size).unwrap_or(0);
        map.truncate_through(
            length,
            || unix.xTruncate.expect("a file can be truncated")(inner, size),
            |result| *result == ffi::SQLITE_OK,
        )
    }
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    size: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours and a place for the size.
    unsafe {
        let (map, inner, unix) = parts(file);
        let result = unix.xFileSize.expect("a file has a size")(inner, size);
        if result == ffi::SQLITE_OK {
            let length = map.length_at_least(u64::try_from(*size).unwrap_or(0));
            *size = ffi::sqlite3_int64::try_from(length).unwrap_or(*size);
        }
        result
    }
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    op: c_int,
    argument: *mut c_void,
) -> c_int {
    if op == ffi::SQLITE_FCNTL_MMAP_SIZE {
        return ffi::SQLITE_NOTFOUND;
    }
    if op == ffi::SQLITE_FCNTL_CKPT_START {
        begins_to_copy();
    }
    // SAFETY: SQLite gives an open file of ours; the argument is the unix VFS's to understand.
    unsafe {
        let (inner, unix) = behind(file);
        unix.xFileControl.expect("a unix file has controls")(inner, op, argument)
    }
}

// From here on the unix VFS does what it is asked.

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite gives an open file of ours; so do all that follow.
    unsafe {
        let (inner, unix) = behind(file);
        unix.xSync.expect("a file can be synced")(inner, flags)
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (inner, unix) = behind(file);
        unix.xLock.expect("a file can be locked")(inner, level)
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (inner, unix) = behind(file);
        unix.xUnlock.expect("a file can be unlocked")(inner, level)
    }
}

unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, result: *mut c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (inner, unix) = behind(file);
        unix.xCheckReservedLock.expect("a file's lock can be asked")(inner, result)
    }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (inner, unix) = behind(file);
        unix.xSectorSize.expect("a unix file has sectors")(inner)
    }
}

unsafe extern "C" fn characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (inner, unix) = behind(file);
        unix.xDeviceCharacteristics.expect("a unix file has a device")(inner)
    }
}

// The WAL's index and its locks are this process's own.

/// What a file's connections share, and what this one holds of it.
///
/// # Safety
/// As for [`parts`]; only the thread that uses the connection calls this.
unsafe fn shared<'a>(file: *mut ffi::sqlite3_file) -> (&'a Shm, &'a mut Held) {
    // SAFETY: as promised. SQLite uses a file from one thread at a time, and nothing else sees what it holds.
    unsafe {
        let (map, ..) = parts(file);
        (map.shm(), &mut (*file.cast::<ShimFile>()).held)
    }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    address: *mut *mut c_void,
) -> c_int {
    let (Ok(region), Ok(size)) = (usize::try_from(region), usize::try_from(size)) else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    // SAFETY: SQLite gives an open file of ours and a place for the address.
    unsafe {
        let (shm, held) = shared(file);
        match shm.region(held, region, size, extend != 0) {
            Ok(place) => *address = place.unwrap_or(ptr::null_mut()),
            Err(NoMemory) => return ffi::SQLITE_NOMEM,
        }
    }
    ffi::SQLITE_OK
}

/// The lock of whoever writes to the WAL.
const WRITE_LOCK: usize = 0;

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let (Ok(first), Ok(count)) = (usize::try_from(offset), usize::try_from(count)) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    if first + count > ffi::SQLITE_SHM_NLOCK as usize {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    // SAFETY: as above.
    let (map, (shm, held)) = unsafe { (parts(file).0, shared(file)) };
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        shm.release(held, first, count);
    } else if !shm.take(held, first, count, exclusive) {
        return ffi::SQLITE_BUSY;
    } else if exclusive && first == WRITE_LOCK {
        map.wal().begin_transaction();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as above.
    unsafe { shared(file) }.0.barrier();
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: as above.
    let (shm, held) = unsafe { shared(file) };
    shm.unmap(held);
    ffi::SQLITE_OK
}

/// Version 2: shared memory, which is ours, but no memory mapping.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    ..PASSED_ON
};

/// What the unix VFS does for every file of ours; no file is mapped.
const PASSED_ON: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: None,
    xRead: None,
    xWrite: None,
    xTruncate: None,
    xSync: None,
    xFileSize: None,
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

#[cfg(test)]
mod tests {
    use counterpart_core::{DatabaseId, PageSize};

    use super::*;

    /// Its connections would have two WAL indexes, and each overwrite what the others commit.
    #[test]
    fn a_file_that_may_be_the_mapped_one_is_not_opened_beside_its_map() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join("1.db");
        std::fs::write(&path, [0; 4096]).unwrap();
        let map_path = directory.path().join("1.map");
        let (map, _) =
            DatabaseMap::open(&path, &map_path, DatabaseId(1), PageSize::DEFAULT).unwrap();
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a C string.
        let found = || unsafe { map_of(name.as_ptr(), ffi::SQLITE_OPEN_MAIN_DB) };
        assert!(Arc::ptr_eq(&found().unwrap().unwrap(), &map));

        std::fs::remove_file(&path).unwrap();
        assert!(found().unwrap().is_none(), "there is no such file");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert!(found().is_err(), "the path leads round in a circle");
        assert!(DatabaseMap::of(&path).is_some());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, [0; 4096]).unwrap();
        assert!(found().unwrap().is_none(), "it is another file");
    }
}
