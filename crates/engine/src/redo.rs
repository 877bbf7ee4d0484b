//! Redo: journal records become pages of a file that nobody has open.
//!
//! Used at start-up, after `-wal` and `-shm` were thrown away and before SQLite sees the file, and to finish a
//! seed. It must never write a page of a transaction that is not complete: nothing could take it back. It does
//! not sync; whoever calls it does, before anything is said to be recovered.
//!
//! ```text
//! the file beside it that holds a transaction in chunks until its last record is there, `<file>-redo`:
//!     pages, one after the other, each one page long; their numbers are kept in memory
//! ```

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use counterpart_core::{
    Epoch, Lsn, PageNo, PageSize,
    record::{Kind, Record},
};

use crate::{
    apply::{Applied, ApplyError, Images, MAP_LIMIT, decode_into},
    database::beside,
    map::DatabaseMap,
};

/// What a redo has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redone {
    /// The last transaction that the file holds now, and how many were redone.
    pub applied: Applied,
    /// The position and the checksum in the last redone record, to be compared with the map's; `None` if nothing
    /// was redone, or no checksum was computed then.
    pub recorded: Option<(Lsn, u64)>,
}

/// A database file that records are redone into.
///
/// - `map` holds whole transactions only, newest images, all newer than the file.
/// - Between two calls the file holds whole transactions only.
#[derive(Debug)]
pub struct RedoFile {
    file: File,
    path: PathBuf,
    page_size: PageSize,
    map: Images,
    map_limit: usize,
    /// The size that the last whole transaction left; `None` before the first.
    size: Option<u32>,
    chunks: Option<Chunks>,
    applied: Applied,
    recorded: Option<(Lsn, u64)>,
    database_map: Option<Arc<DatabaseMap>>,
}

/// A transaction in chunks that is not complete yet. It ends with its epoch: nobody finishes what another began.
#[derive(Debug)]
struct Chunks {
    epoch: Epoch,
    map: Images,
    spill: File,
    /// The numbers of the pages in `spill`, in order.
    spilled: Vec<u32>,
}

impl RedoFile {
    /// Opens the file, which is made if it does not exist. SQLite must not have it open. If its [`DatabaseMap`] is
    /// open, it is kept true.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path, page_size: PageSize) -> io::Result<RedoFile> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let path = path.to_owned();
        Ok(RedoFile {
            file,
            database_map: DatabaseMap::of(&path),
            path,
            page_size,
            map: Images::new(),
            map_limit: MAP_LIMIT,
            size: None,
            chunks: None,
            applied: Applied::default(),
            recorded: None,
        })
    }

    /// Gathers images of `bytes` before writing them, instead of 8 MiB.
    #[must_use]
    pub fn with_map_limit(mut self, bytes: usize) -> RedoFile {
        self.map_limit = bytes;
        self
    }

    /// Redoes a record: a chunk, a transaction or the creation of this database.
    ///
    /// # Errors
    /// [`ApplyError`]; the file then holds whole transactions, and this value is not to be used again.
    ///
    /// # Panics
    /// If the record carries no pages by its kind.
    pub fn push(&mut self, record: &Record) -> Result<(), ApplyError> {
        let (header, lsn) = (record.header(), record.lsn());
        if header.page_size.is_some_and(|size| size != self.page_size) {
            let what = format!("it has pages of another size than {}", self.page_size.bytes());
            return Err(ApplyError::Misfit { lsn, what });
        }
        if self.chunks.as_ref().is_some_and(|chunks| chunks.epoch != header.epoch) {
            self.forget_chunks()?;
        }
        match header.kind {
            Kind::Chunk => self.push_chunk(record),
            Kind::Transaction | Kind::CreateDatabase if header.size_in_pages == 0 => {
                let what = "it leaves a database without pages".to_owned();
                Err(ApplyError::Misfit { lsn, what })
            }
            Kind::Transaction | Kind::CreateDatabase => self.push_transaction(record),
            Kind::DropDatabase | Kind::Mark => panic!("a {:?} is not redone", header.kind),
        }
    }

    /// Writes what is gathered and gives the file its size. A transaction whose last record never came is
    /// forgotten. The file is complete now, but not yet durable.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(mut self) -> Result<Redone, ApplyError> {
        self.forget_chunks()?;
        self.flush()?;
        Ok(Redone { applied: self.applied, recorded: self.recorded })
    }

    fn forget_chunks(&mut self) -> io::Result<()> {
        if self.chunks.take().is_some() {
            std::fs::remove_file(self.spill_path())?;
        }
        Ok(())
    }

    fn spill_path(&self) -> PathBuf {
        beside(&self.path, "-redo")
    }

    /// Decodes a record's pages. Within a run of chunks they go to the run's own map.
    fn decode(&mut self, record: &Record) -> Result<(), ApplyError> {
        for page in record.pages() {
            if page.number == self.page_size.lock_page() {
                continue;
            }
            let mut previous = None;
            if page.encoding.is_delta() {
                // Within one transaction a page comes once, so its base is older than the whole run.
                previous = match self.map.get(&page.number.0) {
                    Some(image) if self.chunks.is_some() => Some(image.to_vec()),
                    Some(_) => None,
                    None => self.read_page(page.number)?,
                };
            }
            let map = self.chunks.as_mut().map_or(&mut self.map, |chunks| &mut chunks.map);
            decode_into(map, self.page_size, &page, previous.as_deref())
                .map_err(|cause| ApplyError::Page { lsn: record.lsn(), cause })?;
        }
        Ok(())
    }

    fn push_chunk(&mut self, record: &Record) -> Result<(), ApplyError> {
        if self.chunks.is_none() {
            let spill = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(self.spill_path())?;
            let epoch = record.header().epoch;
            self.chunks = Some(Chunks { epoch, map: Images::new(), spill, spilled: Vec::new() });
        }
        self.decode(record)?;
        let (page_size, limit) = (self.page_size.bytes(), self.map_limit);
        let chunks = self.chunks.as_mut().expect("begun above");
        if chunks.map.len() * page_size >= limit { Ok(chunks.spill(page_size)?) } else { Ok(()) }
    }

    fn push_transaction(&mut self, record: &Record) -> Result<(), ApplyError> {
        self.decode(record)?;
        let size = record.header().size_in_pages;
        if let Some(chunks) = self.chunks.take() {
            self.adopt(chunks, size)?;
        }
        // Looking at every gathered page is worth it only when the database shrank.
        if self.size.is_none_or(|before| before > size) {
            self.map.retain(|number, _| *number <= size);
        }
        self.size = Some(size);
        self.applied.lsn = record.lsn();
        let checksum = record.header().database_checksum;
        self.recorded = (checksum != 0).then_some((record.lsn(), checksum));
        self.applied.transactions += 1;
        if self.map.len() * self.page_size.bytes() >= self.map_limit {
            self.flush()?;
        }
        Ok(())
    }

    /// Takes over a run of chunks that is complete now and leaves `size` pages.
    fn adopt(&mut self, chunks: Chunks, size: u32) -> Result<(), ApplyError> {
        if !chunks.spilled.is_empty() {
            // What is older goes first.
            self.flush()?;
            let length = self.page_size.bytes();
            let mut image = vec![0; length];
            for (index, number) in (0u64..).zip(&chunks.spilled) {
                chunks.spill.read_exact_at(&mut image, index * length as u64)?;
                if *number <= size {
                    self.write_page(*number, &image)?;
                }
            }
        }
        self.map.extend(chunks.map.into_iter().filter(|(number, _)| *number <= size));
        std::fs::remove_file(self.spill_path())?;
        Ok(())
    }

    fn offset(&self, number: u32) -> u64 {
        u64::from(number - 1) * self.page_size.bytes() as u64
    }

    /// A page as the file has it; `None` beyond its end.
    fn read_page(&self, number: PageNo) -> io::Result<Option<Vec<u8>>> {
        let mut image = vec![0; self.page_size.bytes()];
        match self.file.read_exact_at(&mut image, self.offset(number.0)) {
            Ok(()) => Ok(Some(image)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_page(&mut self, number: u32, image: &[u8]) -> io::Result<()> {
        self.applied.pages += 1;
        match &self.database_map {
            // All that is gathered changed at or before the last transaction.
            Some(map) => map.write_raw(PageNo(number), image, self.applied.lsn),
            None => self.file.write_all_at(image, self.offset(number)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(size) = self.size else { return Ok(()) };
        let mut pages: Vec<_> = self.map.drain().collect();
        pages.sort_unstable_by_key(|(number, _)| *number);
        for (number, image) in &pages {
            self.write_page(*number, image)?;
        }
        match &self.database_map {
            Some(map) => map.resize_raw(size),
            None => self.file.set_len(u64::from(size) * self.page_size.bytes() as u64),
        }
    }
}

impl Chunks {
    fn spill(&mut self, page_size: usize) -> io::Result<()> {
        for (number, image) in self.map.drain() {
            let at = self.spilled.len() as u64 * page_size as u64;
            self.spill.write_all_at(&image, at)?;
            self.spilled.push(number);
        }
        Ok(())
    }
}
