//! Encoding: drafts grow page by page and are sealed once.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{CHUNK_TARGET, HEADER_LEN, Kind, PageEncoder, Record};
use crate::{
    epoch::Epoch,
    ids::{DatabaseId, DatabaseName, Lsn, PageNo, PageSize, UnixMicros},
};

/// The place in the sequence that the journal gives to a draft.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The record's LSN.
    pub lsn: Lsn,
    /// The newest commit LSN known now.
    pub commit_lsn: Lsn,
    /// The principal's epoch.
    pub epoch: Epoch,
}

/// A record that lacks only its place in the sequence.
#[derive(Debug)]
pub struct Draft(Vec<u8>);

impl Draft {
    fn new(
        kind: Kind,
        database: DatabaseId,
        page_size: Option<PageSize>,
        now: UnixMicros,
    ) -> Draft {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4] = kind as u8;
        bytes[6] = page_size.map_or(0, PageSize::log2);
        bytes[48..52].copy_from_slice(&database.0.to_le_bytes());
        bytes[72..80].copy_from_slice(&now.0.to_le_bytes());
        Draft(bytes)
    }

    /// The record of a dropped database.
    #[must_use]
    pub fn drop_database(database: DatabaseId, now: UnixMicros) -> Draft {
        Draft::new(Kind::DropDatabase, database, None, now)
    }

    /// A checkpoint mark.
    #[must_use]
    pub fn mark(now: UnixMicros) -> Draft {
        Draft::new(Kind::Mark, DatabaseId(0), None, now)
    }

    /// The bytes that the record will have.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// Whether this is a mark.
    #[must_use]
    pub fn is_mark(&self) -> bool {
        self.0[4] == Kind::Mark as u8
    }

    /// Whether a later record of the same database completes what this one begins.
    #[must_use]
    pub fn is_chunk(&self) -> bool {
        self.0[4] == Kind::Chunk as u8
    }

    /// Gives the draft its place in the sequence. From here on its bytes never change.
    ///
    /// # Panics
    /// If the record is longer than its length field can say, which [`CHUNK_TARGET`] prevents.
    #[must_use]
    pub fn seal(self, stamp: Stamp) -> Record {
        let mut bytes = self.0;
        let length = u32::try_from(bytes.len()).expect("a record is at most a few MiB");
        bytes[0..4].copy_from_slice(&length.to_le_bytes());
        bytes[16..24].copy_from_slice(&stamp.lsn.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&stamp.commit_lsn.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&stamp.epoch.server.0.to_le_bytes());
        bytes[40..44].copy_from_slice(&stamp.epoch.term.to_le_bytes());
        bytes[44..48].copy_from_slice(&stamp.epoch.start.to_le_bytes());
        let checksum = checksum(&bytes);
        bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
        Record::sealed(Bytes::from(bytes))
    }
}

/// The checksum field's value for a record with these bytes.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    let seed = u64::from_le_bytes(bytes[0..8].try_into().expect("eight bytes"));
    xxh3_64_with_seed(&bytes[16..], seed)
}

/// A transaction (or a new database's content) while its pages are added, cut into chunks as it grows.
///
/// Call [`push_page`](Self::push_page) for each page; a draft that it returns is a full chunk, to be appended to
/// the journal at once, so that memory stays bounded whatever the transaction's size. Then finish.
#[derive(Debug)]
pub struct TransactionDraft {
    draft: Draft,
    pages: u32,
    database: DatabaseId,
    page_size: PageSize,
    now: UnixMicros,
}

impl TransactionDraft {
    /// Begins a transaction of `database`, committed at `now`.
    #[must_use]
    pub fn new(database: DatabaseId, page_size: PageSize, now: UnixMicros) -> TransactionDraft {
        let draft = Draft::new(Kind::Transaction, database, Some(page_size), now);
        TransactionDraft { draft, pages: 0, database, page_size, now }
    }

    /// Adds a page's image; returns a full chunk when this page began a new one. Whoever adds many keeps an encoder, and
    /// calls [`push_version`](Self::push_version).
    ///
    /// # Panics
    /// If `image` is not one page long.
    pub fn push_page(&mut self, number: PageNo, image: &[u8]) -> Option<Draft> {
        self.push_version(number, None, image, &mut PageEncoder::default())
    }

    /// Adds what a page has become, as a delta if its `previous` version is given: what every reader of this record
    /// has, because a record after the newest mark brought it. The rest is as for [`push_page`](Self::push_page).
    ///
    /// # Panics
    /// If `image` is not one page long, or page 1 comes with a previous version: that is not the same on two servers.
    pub fn push_version(
        &mut self,
        number: PageNo,
        previous: Option<&[u8]>,
        image: &[u8],
        encoder: &mut PageEncoder,
    ) -> Option<Draft> {
        assert_eq!(
            image.len(),
            self.page_size.bytes(),
            "page {number} is not of the database's page size"
        );
        assert!(number != PageNo(1) || previous.is_none(), "page 1 is always an image");
        let full = (self.draft.0.len() >= CHUNK_TARGET).then(|| self.cut());
        encoder.append(&mut self.draft.0, number, previous, image);
        self.pages += 1;
        full
    }

    /// Closes what has gathered as a chunk although there is room for more; nothing, if nothing has.
    pub fn cut_early(&mut self) -> Option<Draft> {
        (self.pages > 0).then(|| self.cut())
    }

    /// Closes what has gathered as a chunk and begins the next record.
    fn cut(&mut self) -> Draft {
        let fresh = Draft::new(Kind::Transaction, self.database, Some(self.page_size), self.now);
        let mut chunk = std::mem::replace(&mut self.draft, fresh);
        chunk.0[4] = Kind::Chunk as u8;
        chunk.0[56..60].copy_from_slice(&self.pages.to_le_bytes());
        self.pages = 0;
        chunk
    }

    /// Ends the transaction, which leaves the database `size_in_pages` long.
    #[must_use]
    pub fn finish(mut self, size_in_pages: u32, database_checksum: u64) -> Draft {
        let bytes = &mut self.draft.0;
        bytes[52..56].copy_from_slice(&size_in_pages.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.pages.to_le_bytes());
        bytes[64..72].copy_from_slice(&database_checksum.to_le_bytes());
        self.draft
    }

    /// Ends the content of a new database called `name`.
    ///
    /// # Panics
    /// Never: the record has room for a name whatever its pages.
    #[must_use]
    pub fn finish_create(
        self,
        name: &DatabaseName,
        size_in_pages: u32,
        database_checksum: u64,
    ) -> Draft {
        let mut draft = self.finish(size_in_pages, database_checksum);
        let name = name.as_str().as_bytes();
        draft.0[4] = Kind::CreateDatabase as u8;
        draft.0[60..64]
            .copy_from_slice(&u32::try_from(name.len()).expect("63 at most").to_le_bytes());
        draft.0.splice(HEADER_LEN..HEADER_LEN, name.iter().copied());
        draft
    }
}
