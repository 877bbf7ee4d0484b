//! Page maps in memory and as bytes: what is counted incrementally is what a count from nothing gives.

use proptest::prelude::*;

use super::{
    file::{
        BLOCK, BLOCK_ENTRIES, Header, HeaderError, block_of, decode_block, decode_header,
        encode_block, encode_header, first_page_of,
    },
    *,
};
use crate::ids::DatabaseId;

#[test]
fn a_page_is_hashed_with_its_number_and_page_one_without_its_counters() {
    let mut image = vec![7u8; 512];
    assert_ne!(page_hash(PageNo(2), &image), page_hash(PageNo(3), &image));
    let (one, two) = (page_hash(PageNo(1), &image), page_hash(PageNo(2), &image));
    for at in (18..20).chain(24..28).chain(92..100) {
        image[at] ^= 0xff;
        assert_eq!(page_hash(PageNo(1), &image), one, "byte {at}");
        assert_ne!(page_hash(PageNo(2), &image), two, "byte {at}");
        image[at] ^= 0xff;
    }
    for at in (0..18).chain(20..24).chain(28..92).chain(100..512) {
        image[at] ^= 1;
        assert_ne!(page_hash(PageNo(1), &image), one, "byte {at}");
        image[at] ^= 1;
    }
}

#[test]
fn the_lock_page_has_no_entry() {
    let size = PageSize::from_log2(16).unwrap();
    let mut map = PageMap::new(size);
    map.resize(size.lock_page().0 + 1);
    map.set(size.lock_page(), Entry { hash: 5, changed: Lsn(5) });
    assert_eq!((map.get(size.lock_page()), map.xor()), (Entry::UNKNOWN, 0));
    assert!(map.unknown().all(|page| page != size.lock_page()));
    assert_eq!(map.unknown().count(), size.lock_page().0 as usize);
}

#[test]
fn a_header_is_read_only_by_its_own_database_and_version() {
    let header = Header {
        database: DatabaseId(3),
        page_size: PageSize::DEFAULT,
        size: 77,
        at: Lsn(9),
        checksum: 4,
    };
    let bytes = encode_header(&header);
    assert_eq!(decode_header(DatabaseId(3), &bytes), Ok(header));
    assert_eq!(decode_header(DatabaseId(4), &bytes), Err(HeaderError::Foreign(DatabaseId(3))));
    assert_eq!(decode_header(DatabaseId(3), &bytes[..4_095]), Err(HeaderError::Damaged));
    assert_eq!(decode_header(DatabaseId(3), &[]), Err(HeaderError::Damaged));
    for at in 0..BLOCK {
        let mut damaged = bytes;
        damaged[at] ^= 0x10;
        assert!(decode_header(DatabaseId(3), &damaged).is_err(), "byte {at}");
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (any::<u64>(), any::<u64>())
        .prop_map(|(hash, changed)| Entry { hash, changed: Lsn(changed) });
    proptest::collection::vec(entry, 0..=BLOCK_ENTRIES)
}

proptest! {
    #[test]
    fn a_block_reads_back_what_was_written_and_nothing_else(
        entries in entries(),
        block in 1u32..=u32::MAX,
        database in any::<u32>(),
        at in 0..BLOCK,
        bit in 0u8..8,
    ) {
        let database = DatabaseId(database);
        let mut bytes = encode_block(database, block, &entries);
        let read = decode_block(database, block, &bytes).expect("it was just written");
        prop_assert_eq!(&read[..entries.len()], &entries[..]);
        prop_assert!(read[entries.len()..].iter().all(|entry| !entry.is_known()));
        prop_assert_eq!(decode_block(database, block ^ 1, &bytes), None);
        prop_assert_eq!(decode_block(DatabaseId(database.0 ^ 1), block, &bytes), None);
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(decode_block(database, block, &bytes), None);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9_000)) {
        prop_assert!(decode_header(DatabaseId(1), &bytes).is_err());
        prop_assert_eq!(decode_block(DatabaseId(1), 1, &bytes), None);
    }

    #[test]
    fn every_page_is_in_the_block_that_begins_at_or_before_it(page in 1u32..=u32::MAX) {
        let block = block_of(PageNo(page));
        let first = first_page_of(block);
        prop_assert!(first.0 <= page && page - first.0 < BLOCK_ENTRIES as u32);
    }

    #[test]
    fn the_checksum_kept_is_the_checksum_counted(
        ops in proptest::collection::vec((any::<bool>(), 1u32..3_000, any::<u64>(), 0u64..50), 1..60),
    ) {
        let mut map = PageMap::new(PageSize::DEFAULT);
        for (cut, page, hash, lsn) in ops {
            if cut {
                map.resize(page);
            } else {
                map.set(PageNo(page), Entry { hash, changed: Lsn(lsn) });
            }
            let counted = map.iter().fold(0, |xor, (_, entry)| xor ^ entry.hash);
            prop_assert_eq!(map.xor(), counted);
            prop_assert_eq!(map.is_complete(), map.unknown().count() == 0);
            prop_assert_eq!(map.range_checksums().iter().fold(0, |xor, sum| xor ^ sum), counted);
            prop_assert_eq!(map.range_checksums().len() as u32, map.size().div_ceil(RANGE_PAGES));
            prop_assert!(map.checksum() != 0);
            let newer = map.newer_than(Lsn(25)).count();
            prop_assert_eq!(newer, map.iter().filter(|(_, e)| e.changed.0 > 25).count());
        }
    }
}
