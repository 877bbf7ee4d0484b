//! A model of a database: pages in a file of the simulated disk, and what a `-wal` would hold beside it, in memory.
//!
//! It keeps SQLite's bargain with the node: what was committed and not checkpointed is gone with the process; a
//! checkpoint copies pages into the file and syncs it; a crash in the middle leaves any mixture of old and new sectors.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use counterpart_core::{
    DatabaseId, DatabaseName, Lsn, PageNo, PageSize,
    map::{Entry, PageMap, page_hash},
    record::{PageError, Record},
};
use counterpart_journal::{Disk, disk::memory::MemoryDisk};

/// Bytes of a page: two sectors, so that a page can be torn.
pub const PAGE: usize = 1_024;

/// The same as the core's type.
#[must_use]
pub fn page_size() -> PageSize {
    PageSize::from_bytes(1_024).expect("a power of two")
}

/// The data directory of every simulated machine.
#[must_use]
pub fn directory() -> &'static Path {
    Path::new("/data")
}

/// The file of a database.
#[must_use]
pub fn file_path(id: DatabaseId) -> PathBuf {
    directory().join(format!("{}.db", id.0))
}

/// Pages as they are in memory, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    images: Vec<Vec<u8>>,
}

impl Pages {
    /// Reads a file, as far as it goes.
    ///
    /// # Errors
    /// What the disk says; no file is a file without pages.
    pub fn read(disk: &MemoryDisk, id: DatabaseId) -> io::Result<Pages> {
        let bytes = match counterpart_journal::disk::read_whole(disk, &file_path(id)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        // A file that ends within a page ends before it.
        Ok(Pages { images: bytes.chunks_exact(PAGE).map(<[u8]>::to_vec).collect() })
    }

    /// How many there are.
    #[must_use]
    pub fn size(&self) -> u32 {
        u32::try_from(self.images.len()).expect("few pages")
    }

    /// A page, if there is one of this number.
    #[must_use]
    pub fn get(&self, number: PageNo) -> Option<&[u8]> {
        self.images.get(number.0 as usize - 1).map(Vec::as_slice)
    }

    /// Gives the database this size; new pages are zeros.
    pub fn resize(&mut self, size: u32) {
        self.images.resize(size as usize, vec![0; PAGE]);
    }

    /// Puts a page there, with pages of zeros before it if need be.
    pub fn put(&mut self, number: PageNo, image: &[u8]) {
        if self.size() < number.0 {
            self.resize(number.0);
        }
        self.images[number.0 as usize - 1].copy_from_slice(image);
    }

    /// Decodes a record's pages over these; the numbers of what it changed.
    ///
    /// # Errors
    /// A page that does not decode.
    pub fn decode(&mut self, record: &Record) -> Result<Vec<PageNo>, PageError> {
        let mut changed = Vec::new();
        let mut image = vec![0; PAGE];
        for page in record.pages() {
            page.decode(page_size(), self.get(page.number), &mut image)?;
            self.put(page.number, &image);
            changed.push(page.number);
        }
        Ok(changed)
    }

    /// The map of all of it; no page was changed after `changed`.
    #[must_use]
    pub fn map(&self, changed: Lsn) -> PageMap {
        let mut map = PageMap::new(page_size());
        map.resize(self.size());
        for (image, number) in self.images.iter().zip(1u32..) {
            let number = PageNo(number);
            map.set(number, Entry { hash: page_hash(number, image), changed });
        }
        map
    }

    /// Writes these pages, gives the file its size and syncs it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(
        &self,
        disk: &MemoryDisk,
        id: DatabaseId,
        numbers: &BTreeSet<PageNo>,
    ) -> io::Result<()> {
        let path = file_path(id);
        let file = match disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&path)?,
            other => other?,
        };
        for &number in numbers.iter().filter(|number| number.0 <= self.size()) {
            let image = self.get(number).expect("within the size");
            file.write_at(u64::from(number.0 - 1) * PAGE as u64, image)?;
        }
        let length = u64::from(self.size()) * PAGE as u64;
        if file.length()? != length {
            file.set_length(length)?;
        }
        file.sync_data()
    }
}

/// An open database.
pub struct Model {
    /// Its number.
    pub id: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
    /// What a reader sees.
    pub pages: Pages,
    /// The hash of each page that a reader sees, and when it last changed.
    pub map: PageMap,
    /// Pages that the file does not have as they are.
    pub dirty: BTreeSet<PageNo>,
    /// Whether the file differs in anything, its size included.
    pub is_dirty: bool,
    /// The newest position that a snapshot could contain.
    pub visible: Lsn,
    /// The client operation that may write.
    pub permit: Option<u64>,
    /// Pages that this server has journaled since its newest mark, and that the database has had ever since.
    pub recent: BTreeSet<PageNo>,
}

impl Model {
    /// Opens a database whose file has been redone.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(
        disk: &MemoryDisk,
        id: DatabaseId,
        name: DatabaseName,
        at: Lsn,
    ) -> io::Result<Model> {
        let pages = Pages::read(disk, id)?;
        Ok(Model::with(id, name, pages, at))
    }

    /// A database with these pages, which its file has, none of them newer than `at`.
    #[must_use]
    pub fn with(id: DatabaseId, name: DatabaseName, pages: Pages, at: Lsn) -> Model {
        let map = pages.map(at);
        Model {
            id,
            name,
            pages,
            map,
            dirty: BTreeSet::new(),
            is_dirty: false,
            visible: Lsn::ZERO,
            permit: None,
            recent: BTreeSet::new(),
        }
    }

    /// What a delta of a page may build on.
    #[must_use]
    pub fn base(&self, number: PageNo) -> Option<&[u8]> {
        let known = number != PageNo(1) && self.recent.contains(&number);
        self.pages.get(number).filter(|_| known)
    }

    /// Notes what the event at `lsn` has changed and gives the database its size.
    pub fn changed(&mut self, numbers: impl IntoIterator<Item = PageNo>, size: u32, lsn: Lsn) {
        let before = self.pages.size().min(self.map.size());
        self.pages.resize(size);
        self.map.resize(size);
        // Pages between the old end and the new one may have no image: they are zeros.
        let numbers: BTreeSet<PageNo> =
            numbers.into_iter().chain((before + 1..=size).map(PageNo)).collect();
        for &number in numbers.iter().filter(|number| number.0 <= size) {
            let image = self.pages.get(number).expect("within the size");
            self.map.set(number, Entry { hash: page_hash(number, image), changed: lsn });
        }
        self.dirty.extend(numbers);
        self.is_dirty = true;
    }

    /// One number for what a reader sees, its name included.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let salt = u64::from(self.id.0) << 40 | u64::from(self.map.size());
        (self.map.xor() ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Copies into the file what it lacks.
    ///
    /// # Errors
    /// What the disk says.
    pub fn checkpoint(&mut self, disk: &MemoryDisk) -> io::Result<()> {
        if self.is_dirty {
            self.pages.write(disk, self.id, &self.dirty)?;
            self.dirty.clear();
            self.is_dirty = false;
        }
        Ok(())
    }
}
