//! The spool: a copy as it was received, beside the data that it is to replace, until it is whole.
//!
//! ```text
//! spool/copy     a copy's file (see `counterpart_core::copy`): for each attempt a head, then what came of it
//! ```
//!
//! Later attempts are appended. What the attempts before brought counts as held: it is compared by content like the pages
//! of the files, so nothing that arrived once is sent again, and it does not matter what it was part of. A frame that a
//! crash has torn ends the file; what is after it is cut.
//!
//! Never is anything in here trusted for more than its hash: whether a copy is whole is proven by its checksum.

mod compact;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use counterpart_core::{
    DatabaseName, Lsn, PageNo, PageSize,
    copy::{CopyDecoder, CopyError, End, Head, Item, Offer, SentPages},
    frame::{self, FrameType},
    map::page_hash,
};
use counterpart_journal::{disk::remove_dir_if_there, sync_dir, sync_file};

/// Bytes read at a time.
const STEP: usize = 1 << 20;

/// Why a spool can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// The spool's file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// What was written does not verify when it is read again.
    #[error("{path}: {cause}", path = path.display())]
    Damaged {
        /// The spool's file.
        path: PathBuf,
        /// What does not verify.
        cause: CopyError,
    },
}

/// What is spooled of one database.
#[derive(Debug, Clone)]
pub struct Spooled {
    page_size: PageSize,
    /// The hash of each page that was spooled, 0 where none was.
    hashes: Vec<u64>,
}

/// One database of the newest attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What was offered.
    pub offer: Offer,
    /// Whether all that was chosen has come.
    pub whole: bool,
}

/// The newest attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// How many attempts were made before it.
    pub earlier: u32,
    /// What it is a copy of.
    pub head: Head,
    /// Its databases as far as they came.
    pub parts: Vec<Part>,
    /// The position that its tail has reached.
    pub reached: Lsn,
    /// Its end, if that has come.
    pub end: Option<End>,
}

impl Attempt {
    fn begun(head: Head, earlier: u32) -> Attempt {
        Attempt { earlier, reached: head.mark, head, parts: Vec::new(), end: None }
    }

    /// Whether everything of it is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| end.end == self.reached) && self.parts.iter().all(|p| p.whole)
    }
}

/// A spool that is open for more.
///
/// - `pages` is what all frames of the file together bring, the later ones above the earlier;
/// - the file ends after a whole frame, at `length`.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: File,
    length: u64,
    pages: BTreeMap<DatabaseName, Spooled>,
    attempt: Option<Attempt>,
}

/// Where the spool of a data directory is.
#[must_use]
pub fn directory(data: &Path) -> PathBuf {
    data.join("spool")
}

/// The spool's file.
#[must_use]
pub fn file_path(data: &Path) -> PathBuf {
    directory(data).join("copy")
}

/// Whether there is something to compare with.
#[must_use]
pub fn exists(data: &Path) -> bool {
    std::fs::metadata(file_path(data)).is_ok_and(|file| file.len() > 0)
}

/// Deletes the spool.
///
/// # Errors
/// What the file system says.
pub fn discard(data: &Path) -> io::Result<()> {
    remove_dir_if_there(&directory(data))
}

impl Spool {
    /// Opens the spool of a data directory, or begins one. What a crash has torn is cut off.
    ///
    /// # Errors
    /// What the file system says. A file that is no spool at all is begun anew.
    pub fn open(data: &Path) -> Result<Spool, SpoolError> {
        let path = file_path(data);
        let opened = (|| {
            std::fs::create_dir_all(directory(data))?;
            sync_dir(data)?;
            File::options().create(true).truncate(false).read(true).write(true).open(&path)
        })();
        let failed = |cause| SpoolError::Io { path: path.clone(), cause };
        let mut file = opened.map_err(failed)?;
        let (mut pages, mut attempt) = (BTreeMap::new(), None);
        let length = match scan(&mut file, |item| note(&mut pages, &mut attempt, item)) {
            Ok((length, None)) => length,
            Ok((length, Some(torn))) => {
                tracing::info!(file = %path.display(), bytes = length, %torn, "the spool is kept up to what verifies");
                length
            }
            Err(cause) => return Err(failed(cause)),
        };
        file.set_len(length).map_err(failed)?;
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        let mut spool = Spool { path: path.clone(), file, length, pages, attempt };
        if length == 0 {
            let opening = counterpart_core::copy::opening();
            spool.file.write_all(&opening).map_err(failed)?;
            spool.length = opening.len() as u64;
        }
        Ok(spool)
    }

    /// Appends a frame that verified and carries `item`.
    ///
    /// # Errors
    /// What the file system says; the spool is not to be used any more then.
    pub fn append(
        &mut self,
        kind: FrameType,
        payload: &[u8],
        item: &Item,
    ) -> Result<(), SpoolError> {
        let header = frame::header(kind, &[payload]);
        let written = self.file.write_all(&header).and_then(|()| self.file.write_all(payload));
        written.map_err(|cause| SpoolError::Io { path: self.path.clone(), cause })?;
        self.length += (header.len() + payload.len()) as u64;
        note(&mut self.pages, &mut self.attempt, item);
        Ok(())
    }

    /// Appends an item that is not in a frame yet.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_item(&mut self, item: &Item) -> Result<(), SpoolError> {
        let (kind, payload) = item.encode();
        self.append(kind, &payload, item)
    }

    /// Makes durable what was appended.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(&self) -> Result<(), SpoolError> {
        let directory = self.path.parent().expect("the spool has a directory");
        sync_file(&self.path)
            .and_then(|()| sync_dir(directory))
            .map_err(|cause| SpoolError::Io { path: self.path.clone(), cause })
    }

    /// Deletes it, with its directory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn delete(&self) -> io::Result<()> {
        remove_dir_if_there(self.path.parent().expect("the spool has a directory"))
    }

    /// Bytes in the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The newest attempt.
    #[must_use]
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// What the database called `name` would hold if the spool were put over files with these hashes.
    #[must_use]
    pub fn over(&self, name: &DatabaseName, page_size: PageSize, mut files: Vec<u64>) -> Vec<u64> {
        let spooled = self.pages.get(name).filter(|spooled| spooled.page_size == page_size);
        let Some(spooled) = spooled else { return files };
        if files.len() < spooled.hashes.len() {
            files.resize(spooled.hashes.len(), 0);
        }
        for (held, hash) in files.iter_mut().zip(&spooled.hashes).filter(|(_, hash)| **hash != 0) {
            *held = *hash;
        }
        files
    }

    /// Whether anything of the database called `name` is spooled.
    #[must_use]
    pub fn has_pages_of(&self, name: &DatabaseName) -> bool {
        self.pages.get(name).is_some_and(|spooled| spooled.hashes.iter().any(|hash| *hash != 0))
    }

    /// Reads all frames again, from the beginning, for whoever adopts them.
    ///
    /// # Errors
    /// What does not verify, or what the file system says, or what `take` says.
    pub fn read_again<E: From<SpoolError>>(
        &mut self,
        mut take: impl FnMut(Item) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |cause| SpoolError::Io { path: self.path.clone(), cause };
        self.file.rewind().map_err(failed)?;
        let mut refused = None;
        let read = scan(&mut self.file, |item| {
            if refused.is_none() {
                refused = take(item.clone()).err();
            }
        });
        if let Some(refused) = refused {
            return Err(refused);
        }
        match read.map_err(failed)? {
            (length, None) if length == self.length => Ok(()),
            (_, torn) => {
                let cause =
                    torn.unwrap_or(CopyError::Payload { at: self.length, what: "the rest" });
                Err(SpoolError::Damaged { path: self.path.clone(), cause }.into())
            }
        }
    }
}

/// Goes through a file from where it stands; how many bytes verify, and what does not, if the file does not end there.
fn scan(file: &mut File, mut take: impl FnMut(&Item)) -> io::Result<(u64, Option<CopyError>)> {
    let mut decoder = CopyDecoder::new();
    let mut piece = vec![0; STEP];
    loop {
        match decoder.next_item() {
            Ok(Some(item)) => take(&item),
            Ok(None) => match file.read(&mut piece)? {
                0 if decoder.is_between_frames() || decoder.taken() == 0 => {
                    return Ok((decoder.taken(), None));
                }
                0 => {
                    let torn = CopyError::Payload { at: decoder.taken(), what: "a torn frame" };
                    return Ok((decoder.taken(), Some(torn)));
                }
                read => decoder.buffer().extend_from_slice(&piece[..read]),
            },
            Err(torn) => return Ok((decoder.taken(), Some(torn))),
        }
    }
}

fn note(pages: &mut BTreeMap<DatabaseName, Spooled>, attempt: &mut Option<Attempt>, item: &Item) {
    if let Item::Head(head) = item {
        let earlier = attempt.as_ref().map_or(0, |before| before.earlier + 1);
        *attempt = Some(Attempt::begun((**head).clone(), earlier));
        return;
    }
    // Whatever came before any head belongs to nothing.
    let Some(attempt) = attempt else { return };
    match item {
        Item::Offer(offer) => {
            let spooled = pages
                .entry(offer.name.clone())
                .or_insert_with(|| Spooled { page_size: offer.page_size, hashes: Vec::new() });
            if spooled.page_size != offer.page_size {
                *spooled = Spooled { page_size: offer.page_size, hashes: Vec::new() };
            }
            attempt.parts.push(Part { offer: offer.clone(), whole: false });
        }
        Item::Pages(sent) => {
            if let Some(part) = part_of(attempt, sent) {
                let spooled = pages.get_mut(&part.offer.name).expect("its offer was noted");
                note_pages(&mut spooled.hashes, sent, part.offer.size_in_pages);
            }
        }
        Item::Whole(whole) => {
            if let Some(part) = attempt.parts.last_mut()
                && part.offer.database == whole.database
            {
                part.whole = true;
            }
        }
        Item::Tail(records) => {
            for record in records {
                if record.lsn() == attempt.reached.next() {
                    attempt.reached = record.lsn();
                }
            }
        }
        Item::End(end) => attempt.end = Some(*end),
        Item::Head(_) | Item::Answer(_) | Item::Chosen(_) => {}
    }
}

/// The database that these pages belong to: always the one that was offered last.
fn part_of<'a>(attempt: &'a Attempt, sent: &SentPages) -> Option<&'a Part> {
    attempt.parts.last().filter(|part| {
        part.offer.database == sent.database && part.offer.page_size == sent.page_size
    })
}

/// A page behind the end of its own database is nobody's.
fn note_pages(hashes: &mut Vec<u64>, sent: &SentPages, size: u32) {
    for (PageNo(number), image) in sent.iter().filter(|(number, _)| number.0 <= size) {
        let index = number as usize - 1;
        if index >= hashes.len() {
            hashes.resize(index + 1, 0);
        }
        hashes[index] = page_hash(PageNo(number), image);
    }
}

#[cfg(test)]
mod tests {
    use counterpart_core::{
        DatabaseId, Epoch, EpochHistory, ServerId, SessionId, UnixMicros,
        copy::{Chosen, Whole},
    };

    use super::*;

    fn page(fill: u8) -> Vec<u8> {
        vec![fill; 512]
    }

    fn offer(size_in_pages: u32) -> Offer {
        Offer {
            database: DatabaseId(1),
            name: DatabaseName::main(),
            page_size: PageSize::from_bytes(512).unwrap(),
            size_in_pages,
            at: Lsn(5),
            checksum: 7,
            ranges: vec![7],
        }
    }

    fn head(mark: u64) -> Item {
        Item::Head(Box::new(Head {
            build: String::new(),
            server: ServerId(1),
            session: SessionId(1),
            epoch: Epoch::default(),
            history: EpochHistory::default(),
            made_at: UnixMicros(0),
            mark: Lsn(mark),
            catalog_lsn: Lsn(0),
            next_database: DatabaseId(2),
            databases: Vec::new(),
        }))
    }

    fn pages(first: u32, fills: &[u8]) -> Item {
        let numbers = (first..).map(PageNo).take(fills.len()).collect();
        let bytes: Vec<u8> = fills.iter().flat_map(|&fill| page(fill)).collect();
        let (database, page_size) = (DatabaseId(1), offer(1).page_size);
        Item::Pages(SentPages { database, page_size, numbers, bytes: bytes.into() })
    }

    pub(super) fn attempt(spool: &mut Spool, mark: u64, first: u32, fills: &[u8]) {
        let pages_sent = u32::try_from(fills.len()).unwrap();
        let database = DatabaseId(1);
        for item in [
            head(mark),
            Item::Offer(offer(4)),
            Item::Chosen(Chosen { database, pages: pages_sent }),
            pages(first, fills),
            Item::Whole(Whole { database, pages: pages_sent }),
        ] {
            spool.append_item(&item).unwrap();
        }
    }

    pub(super) fn held(spool: &Spool, files: Vec<u64>) -> Vec<u64> {
        spool.over(&DatabaseName::main(), offer(1).page_size, files)
    }

    #[test]
    fn what_earlier_attempts_brought_counts_as_held_and_later_pages_are_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        attempt(&mut spool, 1, 1, &[1, 2]);
        attempt(&mut spool, 9, 2, &[3, 4]);
        let hash = |number, fill| page_hash(PageNo(number), &page(fill));
        let expected = vec![hash(1, 1), hash(2, 3), hash(3, 4), 44];
        assert_eq!(held(&spool, vec![41, 42, 43, 44]), expected);
        drop(spool);
        let spool = Spool::open(dir.path()).unwrap();
        assert_eq!(held(&spool, vec![41, 42, 43, 44]), expected, "after a restart, too");
        let newest = spool.attempt().unwrap();
        assert_eq!((newest.head.mark, newest.earlier), (Lsn(9), 1));
        assert!(!newest.is_whole(), "its end has not come");
    }

    #[test]
    fn a_spool_torn_anywhere_is_kept_up_to_there_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        attempt(&mut spool, 1, 1, &[1, 2, 3, 4]);
        drop(spool);
        let whole = std::fs::read(file_path(dir.path())).unwrap();
        for length in (0..whole.len()).step_by(37) {
            std::fs::write(file_path(dir.path()), &whole[..length]).unwrap();
            let mut spool = Spool::open(dir.path()).unwrap();
            assert!(spool.length() <= (length as u64).max(8));
            attempt(&mut spool, 2, 1, &[9]);
            let first = held(&spool, Vec::new())[0];
            assert_eq!(first, page_hash(PageNo(1), &page(9)), "{length} bytes were left");
        }
    }

    #[test]
    fn a_flipped_bit_ends_what_is_believed_of_a_spool() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        attempt(&mut spool, 1, 1, &[1, 2, 3, 4]);
        let length = spool.length();
        drop(spool);
        let whole = std::fs::read(file_path(dir.path())).unwrap();
        for at in (0..whole.len()).step_by(11) {
            let mut bad = whole.clone();
            bad[at] ^= 16;
            std::fs::write(file_path(dir.path()), bad).unwrap();
            assert!(Spool::open(dir.path()).unwrap().length() < length, "byte {at}");
        }
    }
}
