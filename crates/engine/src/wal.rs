//! What a database's WAL holds: pieces of it in memory, the rest in the `-wal` file, each at its own place.
//!
//! Nothing of a WAL is of use to another process: the journal has all that is in it, and every start begins without. In a file,
//! each frame costs a call, and when it is half a minute old, the system writes all of it to the disk at once, while
//! commits wait for that disk. What finds no memory, or no room on the disk, and most of a large transaction, goes to the file. Once nobody has the
//! WAL open, the file has all of it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::fs::{FallocateFlags, fallocate};

use crate::{
    memory::Region,
    writeback::{self, Before},
};

/// Bytes of the header, which SQLite writes when it begins a WAL, and at no other time.
const HEADER: usize = 32;

/// Bytes of a piece. Of the last one only what was written to is taken from the system.
const PIECE: u64 = 64 << 10;

/// Address space for what is in memory, in bytes. What lies beyond it is in the file.
const MOST: u64 = 1 << 30;

/// A transaction may take so many bytes of memory. One that is larger is hardly followed by others like it.
const TRANSACTION: u64 = 2 << 20;

/// A file that is longer than so many bytes is written to the disk as it grows, in steps of so many.
const LONG: u64 = 64 << 20;
const STEP: u64 = 1 << 20;

/// Memory for WALs, in bytes; shared by all databases of a server.
#[derive(Debug)]
pub struct WalMemory(AtomicU64);

impl WalMemory {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> WalMemory {
        WalMemory(AtomicU64::new(bytes))
    }

    /// Takes some of it; whether there was as much.
    fn take(&self, bytes: u64) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_add(bytes, Relaxed);
    }
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Wal {
    path: PathBuf,
    state: RwLock<State>,
}

/// - There is a region if a piece is in memory. Each of these was taken of `memory`.
/// - What lies below `size` is in the region or in the file, as `in_memory` says of its piece.
#[derive(Debug, Default)]
struct State {
    memory: Option<Arc<WalMemory>>,
    region: Option<Region>,
    in_memory: Vec<bool>,
    size: u64,
    /// Where the transaction that is being written began.
    transaction: u64,
    /// Open as long as the WAL is.
    file: Option<File>,
    open: usize,
}

impl Wal {
    /// The WAL of a database; not open.
    pub(crate) fn of(database: &Path) -> Wal {
        Wal { path: crate::database::beside(database, "-wal"), state: RwLock::default() }
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on it may take memory.
    pub(crate) fn use_memory(&self, memory: &Arc<WalMemory>) {
        self.write_state().memory.get_or_insert_with(|| Arc::clone(memory));
    }

    /// A connection has opened the file, which is there.
    pub(crate) fn open(&self) -> io::Result<()> {
        let mut state = self.write_state();
        if state.open == 0 {
            let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
            state.size = file.metadata()?.len();
            state.file = Some(file);
        }
        state.open += 1;
        Ok(())
    }

    /// A connection closes the file. The last one leaves all of it there.
    pub(crate) fn close(&self) -> io::Result<()> {
        let mut state = self.write_state();
        state.open -= 1;
        if state.open > 0 {
            return Ok(());
        }
        let written = state.move_to_file();
        state.release();
        state.file = None;
        written
    }

    /// Another transaction begins to write.
    pub(crate) fn begin_transaction(&self) {
        let mut state = self.write_state();
        state.transaction = state.size;
    }

    /// Writes bytes where SQLite wants them.
    pub(crate) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_state().write(bytes, at)
    }

    /// Reads what is there; how much that was.
    pub(crate) fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_state().read(buffer, at)
    }

    /// Reads so many bytes, or fails with [`io::ErrorKind::UnexpectedEof`].
    pub(crate) fn read_exact(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let whole = self.read(buffer, at)? == buffer.len();
        if whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Cuts it; with nothing left, its memory is given back.
    pub(crate) fn truncate(&self, size: u64) -> io::Result<()> {
        let mut state = self.write_state();
        state.file().set_len(size)?;
        state.size = state.size.min(size);
        if size == 0 {
            state.release();
        }
        Ok(())
    }

    /// How many bytes it has.
    pub(crate) fn size(&self) -> u64 {
        self.read_state().size
    }
}

impl State {
    fn file(&self) -> &File {
        self.file.as_ref().expect("whoever uses a WAL has opened it")
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if at == 0 && bytes.len() == HEADER {
            // What was in it is of no use to anybody.
            (self.size, self.transaction) = (0, 0);
        }
        let end = at + bytes.len() as u64;
        for piece in (at - at % PIECE..end).step_by(offset(PIECE)) {
            if self.size <= piece && !self.is_in_memory(piece) {
                self.take_piece(piece);
            }
        }
        let (mut left, mut place) = (bytes, at);
        while !left.is_empty() {
            let in_memory = self.is_in_memory(place);
            let (part, rest) = left.split_at(self.as_far_as(in_memory, place, left.len()));
            match &mut self.region {
                Some(region) if in_memory => region.put(offset(place), part),
                _ => {
                    self.file().write_all_at(part, place)?;
                    send_to_disk(self.file(), place, place + part.len() as u64);
                }
            }
            (left, place) = (rest, place + part.len() as u64);
        }
        self.size = self.size.max(end);
        Ok(())
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let there = offset(self.size.saturating_sub(at).min(buffer.len() as u64));
        let (mut left, mut place) = (&mut buffer[..there], at);
        while !left.is_empty() {
            let in_memory = self.is_in_memory(place);
            let (part, rest) = left.split_at_mut(self.as_far_as(in_memory, place, left.len()));
            match &self.region {
                Some(region) if in_memory => region.get(offset(place), part),
                _ => self.file().read_exact_at(part, place)?,
            }
            (left, place) = (rest, place + part.len() as u64);
        }
        Ok(there)
    }

    fn is_in_memory(&self, at: u64) -> bool {
        self.in_memory.get(piece(at)) == Some(&true)
    }

    /// How many of `length` bytes from `at` on lie where the first one lies.
    fn as_far_as(&self, in_memory: bool, at: u64, length: usize) -> usize {
        let mut end = at - at % PIECE + PIECE;
        while end < at + length as u64 && self.is_in_memory(end) == in_memory {
            end += PIECE;
        }
        offset(end - at).min(length)
    }

    /// Puts the piece that begins at `at`, of which nothing was written yet, into memory, if there is some.
    fn take_piece(&mut self, at: u64) {
        let end = at + PIECE;
        let Some(memory) = &self.memory else { return };
        if end > MOST.min(self.transaction + TRANSACTION) {
            return;
        }
        if self.region.is_none() {
            self.region = Region::reserve(offset(MOST));
        }
        if self.region.is_some() && memory.take(PIECE) {
            let memory = Arc::clone(memory);
            if let Err(error) = self.reserve(at) {
                // The write that follows says so if it matters.
                tracing::debug!(%error, "no room in a file for what would be in memory");
                return memory.give_back(PIECE);
            }
            let place = piece(at);
            self.in_memory.resize(self.in_memory.len().max(place + 1), false);
            self.in_memory[place] = true;
        }
    }

    /// Takes room in the file for a piece: what was committed has room on the disk, whether a checkpoint wants it or a start,
    /// which takes away the WAL first.
    fn reserve(&self, at: u64) -> io::Result<()> {
        Ok(fallocate(self.file(), FallocateFlags::KEEP_SIZE, at, PIECE)?)
    }

    /// Gives the memory back. What is in it is lost.
    fn release(&mut self) {
        let taken = self.in_memory.iter().filter(|in_memory| **in_memory).count() as u64;
        if let Some(memory) = &self.memory {
            memory.give_back(taken * PIECE);
        }
        (self.region, self.in_memory) = (None, Vec::new());
    }

    /// Writes to the file what it does not have.
    fn move_to_file(&self) -> io::Result<()> {
        let mut buffer = vec![0; offset(PIECE)];
        for at in (0..self.size).step_by(offset(PIECE)).filter(|at| self.is_in_memory(*at)) {
            let length = self.read(&mut buffer, at)?;
            self.file().write_all_at(&buffer[..length], at)?;
        }
        Ok(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.release();
    }
}

/// Has the system begin to write a long WAL as it grows, rather than all at once when it is half a minute old.
fn send_to_disk(file: &File, at: u64, end: u64) {
    if at / STEP == end / STEP || end < LONG {
        return;
    }
    let begin = at - at % STEP;
    if let Err(error) = writeback::begin(file, begin..begin + STEP, Before::Leave) {
        tracing::debug!(%error, "writing a WAL early");
    }
}

/// The number of the piece that has the byte at `at`.
fn piece(at: u64) -> usize {
    offset(at / PIECE)
}

/// A position in memory.
fn offset(at: u64) -> usize {
    usize::try_from(at).expect("what is in memory can be addressed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wal(bytes: u64) -> (tempfile::TempDir, Arc<WalMemory>, Wal) {
        let directory = tempfile::tempdir().unwrap();
        let wal = Wal::of(&directory.path().join("1.db"));
        File::create(&wal.path).unwrap();
        let memory = Arc::new(WalMemory::new(bytes));
        wal.use_memory(&memory);
        wal.open().unwrap();
        (directory, memory, wal)
    }

    fn in_file(wal: &Wal) -> u64 {
        std::fs::metadata(&wal.path).unwrap().len()
    }

    /// All bytes from the beginning, of which no two pieces of a frame's length are equal.
    fn pattern(at: u64, length: usize, salt: u64) -> Vec<u8> {
        let word = |at: u64| (at / 8 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        (at..at + length as u64).map(|at| word(at)[offset(at % 8)]).collect()
    }

    /// Writes frames up to `end`, as SQLite does: the header first, if it begins anew.
    fn fill(wal: &Wal, from: u64, end: u64, salt: u64) {
        let mut at = from;
        while at < end {
            let length = if at == 0 { HEADER } else { 4120 };
            wal.write(&pattern(at, length, salt), at).unwrap();
            at += length as u64;
        }
    }

    fn assert_holds(wal: &Wal, salt: u64) {
        let mut found = vec![0; offset(wal.size())];
        wal.read_exact(&mut found, 0).unwrap();
        assert!(found == pattern(0, found.len(), salt));
    }

    #[test]
    fn it_is_in_memory_as_far_as_there_is_room_and_in_the_file_from_there_on() {
        let (_directory, memory, wal) = wal(4 * PIECE);
        fill(&wal, 0, 3 * PIECE, 1);
        assert_eq!(in_file(&wal), 0);
        assert_holds(&wal, 1);
        fill(&wal, wal.size(), 9 * PIECE, 1);
        assert_eq!(in_file(&wal), wal.size());
        assert_holds(&wal, 1);
        let mut beyond = [7; 100];
        assert_eq!(wal.read(&mut beyond, wal.size() - 10).unwrap(), 10);
        assert!(!memory.take(1));

        fill(&wal, 0, 2 * PIECE, 2);
        assert_holds(&wal, 2);
        assert_eq!(wal.read(&mut beyond, 5 * PIECE).unwrap(), 0, "what was before is not there");
        wal.truncate(0).unwrap();
        assert_eq!((wal.size(), in_file(&wal)), (0, 0));
        assert!(memory.take(4 * PIECE), "all of it is free again");
    }

    #[test]
    fn the_file_has_all_of_it_once_nobody_has_it_open() {
        let (_directory, memory, wal) = wal(4 * PIECE);
        for end in [PIECE, 6 * PIECE] {
            fill(&wal, 0, end, end);
            wal.open().unwrap();
            wal.close().unwrap();
            wal.close().unwrap();
            assert!(memory.take(4 * PIECE));
            memory.give_back(4 * PIECE);
            wal.open().unwrap();
            assert_holds(&wal, end);
            fill(&wal, wal.size(), wal.size() + PIECE, end);
            assert_holds(&wal, end);
        }
    }

    #[test]
    fn a_large_transaction_takes_little_memory_and_those_before_it_stay_where_they_are() {
        let (_directory, _memory, wal) = wal(1 << 30);
        fill(&wal, 0, TRANSACTION / 2, 1);
        wal.begin_transaction();
        let begun = wal.size();
        fill(&wal, begun, begun + TRANSACTION + PIECE, 1);
        assert!(in_file(&wal) > 0);
        let in_memory =
            || wal.read_state().in_memory.iter().filter(|in_memory| **in_memory).count() as u64;
        let before = in_memory();
        assert!(before * PIECE <= begun + TRANSACTION);
        wal.begin_transaction();
        fill(&wal, wal.size(), wal.size() + 2 * PIECE, 1);
        assert!(in_memory() > before, "a small one after it is in memory again");
        assert_holds(&wal, 1);
        // What was undone is written again.
        fill(&wal, 32 + 4120 * 10, 32 + 4120 * 3000, 1);
        assert_holds(&wal, 1);
    }

    #[test]
    fn what_is_written_anew_in_any_place_is_found_there() {
        let (_directory, _memory, wal) = wal(5 * PIECE);
        let mut model = vec![0; offset(10 * PIECE)];
        fill(&wal, 0, 10 * PIECE, 0);
        let size = offset(wal.size());
        model.resize(size, 0);
        wal.read_exact(&mut model, 0).unwrap();
        let mut seed = 1_u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (seed >> 33) % below
        };
        for round in 0..2000 {
            let at = 1 + next(10 * PIECE - 5000);
            let bytes = pattern(at, offset(1 + next(4200)), round);
            wal.write(&bytes, at).unwrap();
            model[offset(at)..][..bytes.len()].copy_from_slice(&bytes);
            let (from, length) = (next(9 * PIECE), offset(next(PIECE)));
            let mut found = vec![0; length];
            wal.read_exact(&mut found, from).unwrap();
            assert!(found == model[offset(from)..][..length]);
        }
    }
}
