//! One database's page map, shared by everything that writes or reads its file.
//!
//! Two things are known here, and they must never be mixed up: what the database *file* holds, and what the
//! database *is*, which is the file with the WAL's pages over it. Reads of the file are judged by the first,
//! copies are compared by the second. It never decides who may write, and it never syncs.
//!
//! A [`DatabaseMap`] is found by its database's path: as long as somebody keeps one, every
//! [`Database`](crate::Database), [`Applier`](crate::Applier) and [`RedoFile`](crate::RedoFile) of that file keeps
//! it true, and every page that SQLite reads from the file is verified by it.

mod bulk;
mod pages;
mod state;

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use counterpart_core::{
    DatabaseId, Lsn, PageNo, PageSize,
    map::{
        Entry, PageMap,
        file::{
            BLOCK, BLOCK_ENTRIES, Header, decode_block, decode_header, encode_block, encode_header,
        },
    },
};

use crate::{shm::Shm, wal::Wal};
pub use bulk::BulkWriter;
pub(crate) use pages::Verdict;
pub use pages::{DamagedPage, RepairError, RepairOutcome, Repairer, ScrubStep};
pub use state::FoldError;
pub(crate) use state::{Changes, State};

/// What a map's file gave when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What the map's file was saved with: the database file held everything up to here. `Lsn::ZERO` without one.
    pub at: Lsn,
    /// Pages of which nothing is known; [`DatabaseMap::rebuild`] hashes them.
    pub unknown_pages: u32,
    /// Why pages are unknown, in words.
    pub why: Option<String>,
}

/// The page map of one database.
///
/// - `state` is locked across each write to the database file together with its hashing, so that a reader with the
///   lock sees a page and its hash that belong together.
/// - `raw` is a descriptor of the database file. SQLite's POSIX locks on the file end when any descriptor of it is
///   closed, so this one stays open until SQLite has closed its own: each of SQLite's files holds this map.
pub struct DatabaseMap {
    id: DatabaseId,
    page_size: PageSize,
    path: PathBuf,
    map_path: PathBuf,
    raw: File,
    state: Mutex<State>,
    /// The map's file. Locked by whoever saves, so that an older block never overwrites a newer one.
    saved: Mutex<Option<File>>,
    repairer: RwLock<Option<Arc<dyn Repairer>>>,
    /// How many times SQLite has the database file open.
    open_files: AtomicUsize,
    /// Bytes that checkpoints wrote since the system was last told to write them to the disk.
    on_its_way: AtomicU64,
    shm: Shm,
    wal: Arc<Wal>,
}

impl std::fmt::Debug for DatabaseMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseMap").field("id", &self.id).field("path", &self.path).finish()
    }
}

type Registry = Mutex<HashMap<PathBuf, Weak<DatabaseMap>>>;

fn registry() -> MutexGuard<'static, HashMap<PathBuf, Weak<DatabaseMap>>> {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for DatabaseMap {
    fn drop(&mut self) {
        let mut registry = registry();
        // A newer map of the same path may have taken its place.
        if registry.get(&self.path).is_some_and(|map| map.strong_count() == 0) {
            registry.remove(&self.path);
        }
    }
}

impl DatabaseMap {
    /// Opens the map of an existing database file. From now on, and as long as it lives, it is the map of that file
    /// for the whole process; open it before SQLite opens the file.
    ///
    /// `map_path` need not exist: then all pages are unknown until [`rebuild`](Self::rebuild).
    ///
    /// # Errors
    /// What the file system says about either file. A map's file that does not verify is no error.
    pub fn open(
        path: &Path,
        map_path: &Path,
        id: DatabaseId,
        page_size: PageSize,
    ) -> io::Result<(Arc<DatabaseMap>, Loaded)> {
        let raw = OpenOptions::new().read(true).write(true).open(path)?;
        let (file, at, why) = match std::fs::read(map_path) {
            Ok(bytes) => load(&bytes, id, page_size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err("there is no page map yet".to_owned())
            }
            Err(error) => return Err(error),
        }
        .or_else(|why| -> io::Result<_> {
            let mut file = PageMap::new(page_size);
            file.resize(whole_pages(raw.metadata()?.len(), page_size));
            Ok((file, Lsn::ZERO, Some(why)))
        })?;
        let unknown_pages = u32::try_from(file.unknown().count()).expect("pages have 32 bits");
        let loaded = Loaded { at, unknown_pages, why };
        let path = std::fs::canonicalize(path)?;
        let map = Arc::new(DatabaseMap {
            id,
            page_size,
            map_path: map_path.to_owned(),
            raw,
            // A map without a sound file is written as a whole.
            state: Mutex::new(State::new(file, at, loaded.why.is_some())),
            saved: Mutex::default(),
            repairer: RwLock::default(),
            open_files: AtomicUsize::new(0),
            on_its_way: AtomicU64::new(0),
            shm: Shm::default(),
            wal: Arc::new(Wal::of(&path)),
            path,
        });
        registry().insert(map.path.clone(), Arc::downgrade(&map));
        Ok((map, loaded))
    }

    /// What SQLite's connections to the database file share.
    pub(crate) fn shm(&self) -> &Shm {
        &self.shm
    }

    /// What the database's WAL holds.
    pub(crate) fn wal(&self) -> &Arc<Wal> {
        &self.wal
    }

    /// The page size of a database whose files nobody has open, by its map or else by its own first bytes; `None` if
    /// neither says.
    ///
    /// # Errors
    /// What the file system says.
    pub fn page_size_of(
        path: &Path,
        map_path: &Path,
        id: DatabaseId,
    ) -> io::Result<Option<PageSize>> {
        let mut block = vec![0; BLOCK];
        let read = |path: &Path, bytes: &mut [u8]| match File::open(path) {
            Ok(file) => match file.read_exact_at(bytes, 0) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                outcome => outcome.map(|()| true),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        if read(map_path, &mut block)?
            && let Ok(header) = decode_header(id, &block)
        {
            return Ok(Some(header.page_size));
        }
        let mut header = [0; 100];
        if !read(path, &mut header)? || header[..16] != *b"SQLite format 3\0" {
            return Ok(None);
        }
        // 1 stands for 65,536, which has no room there.
        let bytes = match u32::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65_536,
            bytes => bytes,
        };
        Ok(PageSize::from_bytes(bytes))
    }

    /// The map of the database file at `path`, if anybody has one open. Where the system can't tell whether that is still
    /// the same file, it is taken for the same: nobody may write to a mapped file beside its map.
    #[must_use]
    pub fn of(path: &Path) -> Option<Arc<DatabaseMap>> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let map = registry().get(&path)?.upgrade()?;
        map.is_of(&path).unwrap_or(true).then_some(map)
    }

    /// The same for a path that is canonical already, and for somebody who must know.
    ///
    /// # Errors
    /// What the file system says, if there is a map and it can't be told whether the file is the one that it is of.
    pub(crate) fn registered(path: &Path) -> io::Result<Option<Arc<DatabaseMap>>> {
        let Some(map) = registry().get(path).and_then(Weak::upgrade) else { return Ok(None) };
        Ok(map.is_of(path)?.then_some(map))
    }

    /// Whether this path leads to the very file that this is the map of. Somebody may still hold the map of a file that
    /// was deleted; another one may have its name now.
    fn is_of(&self, path: &Path) -> io::Result<bool> {
        let identity = |file: std::fs::Metadata| (file.dev(), file.ino());
        let there = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            found => found?,
        };
        Ok(identity(there) == identity(self.raw.metadata()?))
    }

    /// How many times SQLite has the database file open: once for each connection.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.open_files.load(Ordering::SeqCst)
    }

    pub(crate) fn file_opened(&self) {
        self.open_files.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn file_closed(&self) {
        self.open_files.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whose map it is.
    #[must_use]
    pub fn id(&self) -> DatabaseId {
        self.id
    }

    /// The size of the database's pages.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The map's own file.
    #[must_use]
    pub fn map_path(&self) -> &Path {
        &self.map_path
    }

    /// Hashes the pages of which nothing is known, as the file holds them now. `changed` is the position that they
    /// count as changed at. `progress` hears of pages done and pages to do.
    ///
    /// # Errors
    /// What the file system says; what was hashed stays known.
    pub fn rebuild(&self, changed: Lsn, progress: &mut dyn FnMut(u32, u32)) -> io::Result<()> {
        let unknown: Vec<PageNo> = self.lock().file.unknown().collect();
        let total = u32::try_from(unknown.len()).expect("pages have 32 bits");
        let mut image = vec![0; self.page_size.bytes()];
        let mut done = 0;
        for some in unknown.chunks(256) {
            let mut state = self.lock();
            for &page in some {
                // Somebody may have written it, or cut it off, since it was listed.
                if page.0 <= state.file.size() && !state.file.get(page).is_known() {
                    self.read_or_zeros(page, &mut image)?;
                    let hash = counterpart_core::map::page_hash(page, &image);
                    state.put(page, Entry { hash, changed });
                }
                done += 1;
            }
            drop(state);
            progress(done, total);
        }
        self.lock().recount();
        Ok(())
    }

    /// Whether the map of the file has changed since it was saved, or was never saved.
    #[must_use]
    pub fn is_unsaved(&self) -> bool {
        self.lock().is_unsaved() || !self.map_path.exists()
    }

    /// Writes what changed in the map of the file to its own file, and that the database file holds everything up
    /// to `at`. It is not synced: that is the caller's, and the directory's too when the file is new.
    ///
    /// # Errors
    /// What the file system says; the next call writes it again.
    pub fn save(&self, at: Lsn) -> io::Result<&Path> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let (header, blocks) = {
            let mut state = self.lock();
            let header = Header {
                database: self.id,
                page_size: self.page_size,
                size: state.file.size(),
                at,
                checksum: state.file.checksum(),
            };
            let dirty = state.take_dirty();
            let entries = state.file.entries();
            let blocks: Vec<(u32, Vec<Entry>)> = dirty
                .into_iter()
                .filter_map(|block| {
                    let from = (block as usize - 1) * BLOCK_ENTRIES;
                    let to = entries.len().min(from + BLOCK_ENTRIES);
                    Some((block, entries.get(from..to)?.to_vec()))
                })
                .collect();
            (header, blocks)
        };
        let outcome = self.write_blocks(&mut saved, &header, &blocks);
        if outcome.is_err() {
            self.lock().dirty_again(blocks.iter().map(|(block, _)| *block));
        }
        outcome.map(|()| &*self.map_path)
    }

    fn write_blocks(
        &self,
        saved: &mut Option<File>,
        header: &Header,
        blocks: &[(u32, Vec<Entry>)],
    ) -> io::Result<()> {
        let file = match saved {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                let options = options.write(true).create(true).truncate(false);
                saved.insert(options.open(&self.map_path)?)
            }
        };
        for (block, entries) in blocks {
            let bytes = encode_block(self.id, *block, entries);
            file.write_all_at(&bytes, u64::from(*block) * BLOCK as u64)?;
        }
        file.write_all_at(&encode_header(header), 0)?;
        let all = 1 + u64::from(header.size).div_ceil(BLOCK_ENTRIES as u64);
        file.set_len(all * BLOCK as u64)
    }

    /// The checksum of the database as it is, as records carry it, and its size in pages. The checksum is 0 while
    /// some page is unknown.
    #[must_use]
    pub fn checksum_at(&self) -> (u64, u32) {
        let state = self.lock();
        (state.live_checksum(), state.live_size())
    }

    /// The newest position that anything changed at, as far as is known, and the checksum of the database there.
    #[must_use]
    pub fn position(&self) -> (Lsn, u64) {
        let state = self.lock();
        (state.newest(), state.live_checksum())
    }

    /// The checksum of what the database file holds; 0 while some page of it is unknown.
    #[must_use]
    pub fn file_checksum(&self) -> u64 {
        let state = self.lock();
        if state.file.is_complete() { state.file.checksum() } else { 0 }
    }

    /// The hash of a page in the file, and as it is now; 0 where unknown.
    pub(crate) fn hashes_of(&self, page: PageNo) -> (u64, u64) {
        let state = self.lock();
        (state.file.get(page).hash, state.live_entry(page.0).hash)
    }

    /// The map of the database as it is now.
    #[must_use]
    pub fn live_snapshot(&self) -> PageMap {
        self.lock().live()
    }

    /// The map of what the database file holds now.
    #[must_use]
    pub fn file_snapshot(&self) -> PageMap {
        self.lock().file.clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole pages in a file of `length` bytes.
fn whole_pages(length: u64, page_size: PageSize) -> u32 {
    u32::try_from(length / page_size.bytes() as u64).unwrap_or(u32::MAX)
}

/// Reads a map's file: the map, what it was saved at, and why some pages are unknown.
///
/// # Errors
/// Why none of it can be used.
fn load(
    bytes: &[u8],
    id: DatabaseId,
    page_size: PageSize,
) -> Result<(PageMap, Lsn, Option<String>), String> {
    let first = bytes.get(..BLOCK).ok_or("its page map is cut short")?;
    let header = decode_header(id, first).map_err(|error| format!("its page map: {error}"))?;
    if header.page_size != page_size {
        return Err(format!("its page map is for pages of {} bytes", header.page_size.bytes()));
    }
    let blocks = u32::try_from((header.size as usize).div_ceil(BLOCK_ENTRIES)).expect("it shrank");
    let mut map = PageMap::new(page_size);
    map.resize(header.size);
    let mut damaged = Vec::new();
    for block in 1..=blocks {
        let from = block as usize * BLOCK;
        let decoded = bytes.get(from..from + BLOCK).and_then(|b| decode_block(id, block, b));
        let Some(entries) = decoded else {
            damaged.push(block);
            continue;
        };
        let first = counterpart_core::map::file::first_page_of(block).0;
        for (page, entry) in (first..=header.size).zip(entries) {
            map.set(PageNo(page), entry);
        }
    }
    let why =
        (!damaged.is_empty()).then(|| format!("blocks {damaged:?} of its page map are damaged"));
    Ok((map, header.at, why))
}
