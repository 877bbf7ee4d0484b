//! Records: what was encoded comes back, and nothing else passes.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::ids::{DatabaseName, PageNo, ServerId};

fn stamp(lsn: u64) -> Stamp {
    let epoch = Epoch { term: 3, start: 2, server: ServerId(0xabc) };
    Stamp { lsn: Lsn(lsn), commit_lsn: Lsn(lsn - 1), epoch }
}

fn decode(page: &PageView<'_>, size: PageSize) -> Vec<u8> {
    let mut out = vec![0; size.bytes()];
    page.decode(size, None, &mut out).unwrap();
    out
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn a_transaction_comes_back_as_it_went_in() {
    let size = PageSize::DEFAULT;
    let (plain, random) = (vec![7; size.bytes()], noise(1, size.bytes()));
    let mut draft = TransactionDraft::new(DatabaseId(5), size, UnixMicros(99));
    assert!(draft.push_page(PageNo(1), &plain).is_none());
    assert!(draft.push_page(PageNo(9), &random).is_none());
    let record = draft.finish(9, 0xfeed).seal(stamp(42));

    let mut bytes = record.bytes().clone();
    let back = Record::take(&mut bytes).unwrap();
    assert!(bytes.is_empty());
    assert_eq!(back, record);
    let header = back.header();
    assert_eq!((header.lsn, header.commit_lsn, header.kind), (Lsn(42), Lsn(41), Kind::Transaction));
    assert_eq!((header.database, header.size_in_pages, header.page_count), (DatabaseId(5), 9, 2));
    assert_eq!((header.database_checksum, header.committed_at), (0xfeed, UnixMicros(99)));
    let pages: Vec<_> = back.pages().collect();
    assert_eq!(
        (pages[0].encoding, pages[1].encoding),
        (PageEncoding::ImageLz4, PageEncoding::ImageRaw)
    );
    assert_eq!((decode(&pages[0], size), decode(&pages[1], size)), (plain, random));
}

#[test]
fn a_large_transaction_is_cut_into_chunks_that_add_up() {
    let size = PageSize::DEFAULT;
    let mut draft = TransactionDraft::new(DatabaseId(1), size, UnixMicros(0));
    let mut records = Vec::new();
    for number in 1..=1000u32 {
        records.extend(draft.push_page(PageNo(number), &noise(u64::from(number), size.bytes())));
    }
    records.push(draft.finish(1000, 0));
    let lengths: Vec<_> = records.iter().map(Draft::length).collect();
    assert!(lengths.iter().all(|&length| length <= MAX_RECORD_LEN));
    let sealed: Vec<_> = (1..).zip(records).map(|(lsn, draft)| draft.seal(stamp(lsn))).collect();
    assert!(sealed.len() > 3, "4 MB of noise make several chunks");
    let (last, chunks) = sealed.split_last().unwrap();
    assert!(chunks.iter().all(|chunk| chunk.header().kind == Kind::Chunk));
    assert_eq!(last.header().kind, Kind::Transaction);
    let numbers = sealed.iter().flat_map(|r| r.pages().map(|p| p.number.0).collect::<Vec<_>>());
    assert!(numbers.eq(1..=1000));
}

#[test]
fn a_created_database_carries_its_name_and_first_pages() {
    let size = PageSize::from_bytes(512).unwrap();
    let mut draft = TransactionDraft::new(DatabaseId(2), size, UnixMicros(0));
    draft.push_page(PageNo(1), &[1; 512]);
    let record = draft.finish_create(&"shop".parse().unwrap(), 1, 0).seal(stamp(1));
    let back = Record::take(&mut record.bytes().clone()).unwrap();
    assert_eq!(back.created_name().unwrap().as_str(), "shop");
    assert_eq!(back.pages().count(), 1);
    assert_eq!(Draft::mark(UnixMicros(0)).seal(stamp(2)).created_name(), None);
}

/// A server whose own database had been made after its last mark took its journal for damaged at the next start, and its mirror
/// did at once: no client may use that name, but a record has it.
#[test]
fn the_record_that_creates_the_servers_own_database_can_be_read() {
    let draft = TransactionDraft::new(DatabaseId(2), PageSize::DEFAULT, UnixMicros(0));
    let record = draft.finish_create(&DatabaseName::system(), 1, 0).seal(stamp(1));
    let back = Record::take(&mut record.bytes().clone()).unwrap();
    assert_eq!(back.created_name(), Some(DatabaseName::system()));
    let other = "_other".to_owned();
    assert!(DatabaseName::try_from(other).is_err());
}

#[test]
fn a_delta_decodes_against_its_base_only() {
    let size = PageSize::DEFAULT;
    let base = noise(3, size.bytes());
    let mut next = base.clone();
    next[100..110].fill(0);
    let mut draft = TransactionDraft::new(DatabaseId(1), size, UnixMicros(0));
    let mut encoder = PageEncoder::default();
    assert!(draft.push_version(PageNo(4), Some(&base), &next, &mut encoder).is_none());
    let record = draft.finish(4, 0).seal(stamp(1));
    let page = record.pages().next().unwrap();
    assert_eq!(page.encoding, PageEncoding::Delta);
    assert!(page.bytes.len() < 60, "{}", page.bytes.len());
    let mut out = vec![0; size.bytes()];
    page.decode(size, Some(&base), &mut out).unwrap();
    assert_eq!(out, next);
    assert_eq!(page.decode(size, None, &mut out), Err(PageError::NoBase(PageNo(4))));
    let first = PageView { number: PageNo(1), ..page };
    assert_eq!(first.decode(size, Some(&base), &mut out), Err(PageError::NoBase(PageNo(1))));
}

#[test]
#[should_panic(expected = "page 1 is always an image")]
fn page_one_is_never_a_delta() {
    let (size, page) = (PageSize::DEFAULT, vec![0; PageSize::DEFAULT.bytes()]);
    let mut draft = TransactionDraft::new(DatabaseId(1), size, UnixMicros(0));
    let _full = draft.push_version(PageNo(1), Some(&page), &page, &mut PageEncoder::default());
}

#[test]
fn what_moved_within_a_page_is_found_in_its_previous_version() {
    let size = PageSize::DEFAULT;
    let base = noise(3, size.bytes());
    let mut next = base.clone();
    next.copy_within(..3000, 1000);
    let mut draft = TransactionDraft::new(DatabaseId(1), size, UnixMicros(0));
    let _none = draft.push_version(PageNo(4), Some(&base), &next, &mut PageEncoder::default());
    assert!(draft.finish(4, 0).length() < HEADER_LEN + 150);
}

#[test]
fn any_flipped_bit_is_refused() {
    let mut draft =
        TransactionDraft::new(DatabaseId(2), PageSize::from_bytes(512).unwrap(), UnixMicros(0));
    draft.push_page(PageNo(1), &noise(5, 512));
    let record = draft.finish(1, 0).seal(stamp(1));
    for bit in 0..record.bytes().len() * 8 {
        let mut bytes = BytesMut::from(&record.bytes()[..]);
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::take(&mut bytes.freeze()).is_err(), "bit {bit}");
    }
}

#[test]
fn a_record_cut_short_asks_for_the_rest_and_takes_nothing() {
    let record = Draft::drop_database(DatabaseId(3), UnixMicros(0)).seal(stamp(1));
    for length in 0..record.bytes().len() {
        let mut bytes = record.bytes().slice(..length);
        assert!(matches!(Record::take(&mut bytes), Err(RecordError::Truncated { .. })));
        assert_eq!(bytes.len(), length);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = Bytes::from(bytes);
        let _outcome = Record::take(&mut bytes);
    }

    /// Bytes with a right checksum but arbitrary fields: what a newer version, or a bug, might write.
    #[test]
    fn arbitrary_fields_under_a_right_checksum_never_panic(
        head in proptest::array::uniform32(any::<u8>()),
        rest in proptest::collection::vec(any::<u8>(), 48..300),
    ) {
        let mut bytes: Vec<u8> = head.into_iter().chain(rest).collect();
        bytes[4] = bytes[4] % 5 + 1;
        (bytes[5], bytes[7]) = (0, 0);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[0..4].copy_from_slice(&length.to_le_bytes());
        let checksum = build::checksum(&bytes);
        bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
        if let Ok(record) = Record::take(&mut Bytes::from(bytes)) {
            let size = record.header().page_size.unwrap_or(PageSize::DEFAULT);
            for page in record.pages() {
                let _outcome = page.decode(size, None, &mut vec![0; size.bytes()]);
            }
            let _name = record.created_name();
        }
    }

    /// Whatever a delta is and whatever it meets: it gives one page or an error.
    #[test]
    fn an_arbitrary_delta_stays_within_its_page(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        base in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        for encoding in [PageEncoding::Delta, PageEncoding::DeltaLz4] {
            let page = PageView { number: PageNo(2), encoding, bytes: &bytes };
            let size = PageSize::from_log2(9).unwrap();
            let _outcome = page.decode(size, Some(&base), &mut [0; 512]);
        }
    }

    /// A page's history, with an encoder that is used again and again.
    #[test]
    fn deltas_of_any_change_and_size_come_back(
        log2 in 9u8..=16,
        changes in proptest::collection::vec((any::<u64>(), any::<usize>(), 0usize..70_000), 1..8),
    ) {
        let size = PageSize::from_log2(log2).unwrap();
        let (mut encoder, mut page) = (PageEncoder::default(), noise(7, size.bytes()));
        for (seed, at, length) in changes {
            let mut next = page.clone();
            let at = at % next.len();
            let end = next.len().min(at + length);
            next[at..end].copy_from_slice(&noise(seed, end - at));
            next.rotate_right(if seed % 3 == 0 { 40 } else { 0 });
            let mut draft = TransactionDraft::new(DatabaseId(1), size, UnixMicros(1));
            prop_assert!(draft.push_version(PageNo(2), Some(&page), &next, &mut encoder).is_none());
            let record = draft.finish(2, 0).seal(stamp(7));
            prop_assert!(record.bytes().len() <= HEADER_LEN + 8 + size.bytes());
            let mut out = vec![0; size.bytes()];
            record.pages().next().unwrap().decode(size, Some(&page), &mut out).unwrap();
            prop_assert_eq!(&out, &next);
            page = next;
        }
    }

    #[test]
    fn pages_of_any_content_and_size_come_back(
        log2 in 9u8..=16,
        pages in proptest::collection::vec((1u32..1000, any::<u64>(), 0usize..65_536), 1..6),
    ) {
        let size = PageSize::from_log2(log2).unwrap();
        let images: Vec<_> = pages.iter().map(|&(number, seed, zeros)| {
            let mut image = noise(seed, size.bytes());
            let zeros = zeros.min(image.len());
            image[..zeros].fill(0);
            (PageNo(number), image)
        }).collect();
        let mut draft = TransactionDraft::new(DatabaseId(1), size, UnixMicros(1));
        for (number, image) in &images {
            prop_assert!(draft.push_page(*number, image).is_none());
        }
        let record = draft.finish(1000, 0).seal(stamp(7));
        let back = split_records(record.bytes().clone()).unwrap();
        let decoded: Vec<_> = back[0].pages().map(|p| (p.number, decode(&p, size))).collect();
        prop_assert_eq!(decoded, images);
    }
}
