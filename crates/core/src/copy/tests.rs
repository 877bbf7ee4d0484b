//! Copies against damage, cuts, missing and doubled parts, and what a comparison chooses.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    epoch::{Epoch, EpochHistory},
    frame::{self, FrameType},
    ids::{DatabaseId, DatabaseName, Lsn, PageNo, PageSize, ServerId, SessionId, UnixMicros},
    message::SeedDatabase,
    record::{Draft, Record, Stamp},
};

const SIZE: u32 = 512;

fn page_size() -> PageSize {
    PageSize::from_bytes(SIZE).unwrap()
}

fn offer(id: u32, hashes: &[u64]) -> Offer {
    let ranges = hashes.chunks(RANGE_PAGES as usize).map(|r| r.iter().fold(0, |a, b| a ^ b));
    Offer {
        database: DatabaseId(id),
        name: format!("db{id}").parse().unwrap(),
        page_size: page_size(),
        size_in_pages: u32::try_from(hashes.len()).unwrap(),
        at: Lsn(12),
        checksum: hashes.iter().fold(0, |a, b| a ^ b),
        ranges: ranges.collect(),
    }
}

fn sent(id: u32, first: u32, count: u32) -> SentPages {
    let numbers: Vec<_> = (first..first + count).map(PageNo).collect();
    let bytes: Vec<u8> =
        numbers.iter().flat_map(|n| vec![n.0.to_le_bytes()[0]; SIZE as usize]).collect();
    SentPages { database: DatabaseId(id), page_size: page_size(), numbers, bytes: bytes.into() }
}

fn marks(after: u64, end: u64) -> Vec<Record> {
    let stamp = |lsn| Stamp { lsn: Lsn(lsn), commit_lsn: Lsn(lsn - 1), epoch: Epoch::default() };
    (after + 1..=end).map(|lsn| Draft::mark(UnixMicros(1)).seal(stamp(lsn))).collect()
}

fn head(ids: &[u32]) -> Head {
    let database = |&id: &u32| SeedDatabase {
        id: DatabaseId(id),
        name: DatabaseName::try_from(format!("db{id}")).unwrap(),
        page_size: page_size(),
        pages: 5,
    };
    Head {
        build: "1.0".to_owned(),
        server: ServerId(1),
        session: SessionId(2),
        epoch: Epoch::default(),
        history: EpochHistory::default(),
        made_at: UnixMicros(7),
        mark: Lsn(10),
        catalog_lsn: Lsn(9),
        next_database: DatabaseId(9),
        databases: ids.iter().map(database).collect(),
    }
}

/// A whole copy of two databases of five and one pages.
fn whole_copy() -> Vec<Item> {
    let small = sent(2, 1, 1);
    vec![
        Item::Head(Box::new(head(&[1, 2]))),
        Item::Offer(offer(1, &[1; 5])),
        Item::Chosen(Chosen { database: DatabaseId(1), pages: 5 }),
        Item::Pages(sent(1, 1, 3)),
        Item::Pages(sent(1, 4, 2)),
        Item::Whole(Whole { database: DatabaseId(1), pages: 5 }),
        Item::Offer(offer(2, &[7])),
        Item::Chosen(Chosen { database: DatabaseId(2), pages: 1 }),
        Item::Pages(small),
        Item::Whole(Whole { database: DatabaseId(2), pages: 1 }),
        Item::Tail(marks(10, 12)),
        Item::Tail(marks(12, 13)),
        Item::End(End { end: Lsn(13), databases: 2, pages: 6, records: 3 }),
    ]
}

fn bytes_of(item: &Item) -> Vec<u8> {
    let (kind, payload) = item.encode();
    let mut bytes = frame::header(kind, &[&payload]).to_vec();
    bytes.extend_from_slice(&payload);
    bytes
}

fn file(items: &[Item]) -> Vec<u8> {
    let mut bytes = opening().to_vec();
    items.iter().for_each(|item| bytes.extend(bytes_of(item)));
    bytes
}

/// Everything that a file holds, if it holds a whole copy and nothing else.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<Item>, String> {
    let (mut decoder, mut order, mut items) = (CopyDecoder::new(), Order::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        decoder.buffer().extend_from_slice(piece);
        while let Some(item) = decoder.next_item().map_err(|e| e.to_string())? {
            order.take(&item).map_err(|e| e.to_string())?;
            items.push(item);
        }
    }
    if !decoder.is_between_frames() {
        return Err("cut off within a frame".to_owned());
    }
    order.finish().map_err(|e| e.to_string())?;
    Ok(items)
}

#[test]
fn a_whole_copy_reads_back_in_any_pieces() {
    let items = whole_copy();
    let bytes = file(&items);
    for piece in [1, 7, 100, bytes.len()] {
        assert_eq!(read(&bytes, piece).as_deref(), Ok(&items[..]));
    }
}

#[test]
fn a_copy_that_lacks_any_item_or_has_it_twice_is_refused() {
    let items = whole_copy();
    for at in 0..items.len() {
        let mut fewer = items.clone();
        fewer.remove(at);
        assert!(read(&file(&fewer), 4096).is_err(), "without item {at}");
        let mut more = items.clone();
        more.insert(at, items[at].clone());
        assert!(read(&file(&more), 4096).is_err(), "with item {at} twice");
    }
}

#[test]
fn a_copy_cut_off_anywhere_is_refused() {
    let bytes = file(&whole_copy());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length], 4096).is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn other_files_are_told_from_damaged_copies() {
    let mut decoder = CopyDecoder::new();
    decoder.buffer().extend_from_slice(b"SQLite format 3\0");
    assert!(matches!(decoder.next_item(), Err(CopyError::NotACopy(_))));
    let mut decoder = CopyDecoder::new();
    decoder.buffer().extend_from_slice(b"CTPCPY\x09\x00");
    assert_eq!(decoder.next_item(), Err(CopyError::Version { theirs: 9 }));
}

#[test]
fn pages_that_an_offer_does_not_have_are_refused() {
    let mut items = whole_copy();
    items[4] = Item::Pages(sent(1, 4, 3));
    assert!(read(&file(&items), 4096).unwrap_err().contains("too much"));
}

#[test]
fn a_tail_that_ends_before_what_the_pages_show_is_refused() {
    let mut items = whole_copy();
    items.truncate(10);
    items.push(Item::Tail(marks(10, 11)));
    items.push(Item::End(End { end: Lsn(11), databases: 2, pages: 6, records: 1 }));
    assert!(read(&file(&items), 4096).unwrap_err().contains("end before"));
}

#[test]
fn the_lock_page_is_never_chosen_and_its_absence_is_no_difference() {
    let lock = page_size().lock_page();
    let all = PageSet::all(lock.0 + 1, page_size());
    assert_eq!(all.count(), lock.0);
    assert!(!all.iter().any(|page| page == lock));
}

/// What a receiver with `mine` gets from a sender with `theirs`, as the protocol goes.
fn exchange(theirs: &[u64], mine: &[u64]) -> PageSet {
    let offer = offer(1, theirs);
    let mut chosen = PageSet::none(offer.size_in_pages, page_size());
    if let Compared::Ranges(ranges) = differing_ranges(&offer, mine) {
        let answer = range_hashes(mine, offer.size_in_pages, &ranges);
        differing_pages(theirs, &answer, &mut chosen);
        chosen.add_from(PageNo(u32::try_from(mine.len()).unwrap().saturating_add(1)));
    }
    chosen
}

#[test]
fn equal_databases_exchange_no_page_and_longer_ones_are_only_cut() {
    let hashes: Vec<u64> = (1..=3000).collect();
    assert_eq!(differing_ranges(&offer(1, &hashes), &hashes), Compared::Equal);
    let mut longer = hashes.clone();
    longer.extend(1..2000);
    assert_eq!(differing_ranges(&offer(1, &hashes), &longer), Compared::Equal);
}

#[test]
fn a_receiver_that_has_nothing_is_sent_everything() {
    let hashes: Vec<u64> = (1..=3000).collect();
    assert_eq!(exchange(&hashes, &[]), PageSet::all(3000, page_size()));
}

proptest! {
    #[test]
    fn exactly_the_pages_that_differ_are_chosen(
        length in 1usize..5000, mine in 0usize..5000,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0u64..3), 0..20),
    ) {
        let theirs: Vec<u64> = (0..length as u64).map(|i| i * 31 + 7).collect();
        let mut own: Vec<u64> = (0..mine as u64).map(|i| i * 31 + 7).collect();
        for (at, to) in changes {
            if mine > 0 {
                own[at.index(mine)] = to;
            }
        }
        let chosen: Vec<usize> = exchange(&theirs, &own).iter().map(|p| p.0 as usize - 1).collect();
        let differ: Vec<usize> = (0..length).filter(|&i| own.get(i) != Some(&theirs[i])).collect();
        prop_assert_eq!(chosen, differ);
    }

    #[test]
    fn any_flipped_bit_of_a_file_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = file(&whole_copy());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(read(&bytes, 4096).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 5u8..=12,
    ) {
        let kind = match kind {
            5 => FrameType::CopyOffer,
            6 => FrameType::CopyAnswer,
            7 => FrameType::CopyPages,
            8 => FrameType::CopyWhole,
            9 => FrameType::CopyTail,
            10 => FrameType::CopyEnd,
            11 => FrameType::CopyChosen,
            _ => FrameType::CopyHead,
        };
        // Frames that verify may still hold anything.
        let mut file = opening().to_vec();
        file.extend(frame::header(kind, &[&bytes]));
        file.extend_from_slice(&bytes);
        let _ignored = read(&file, 64);
        let mut file = opening().to_vec();
        file.extend_from_slice(&bytes);
        let _ignored = read(&file, 64);
        let _ignored = read(&bytes, 64);
    }

    #[test]
    fn items_in_any_order_never_panic(picks in proptest::collection::vec(0usize..13, 0..30)) {
        let items = whole_copy();
        let mut order = Order::new();
        for pick in picks {
            let _ignored = order.take(&items[pick]);
        }
        let _ignored = order.finish();
    }

    #[test]
    fn pages_read_back_raw_and_compressed(
        numbers in proptest::collection::btree_set(1u32..5000, 1..20), noisy in any::<bool>(),
    ) {
        let mut state = 1u32;
        let bytes: Vec<u8> = (0..numbers.len() * SIZE as usize).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if noisy { state.to_le_bytes()[3] } else { 0 }
        }).collect();
        let numbers = numbers.into_iter().map(PageNo).collect();
        let pages = SentPages {
            database: DatabaseId(4), page_size: page_size(), numbers, bytes: bytes.into(),
        };
        let payload = Bytes::from(pages.encode());
        prop_assert_eq!(SentPages::decode(&payload), Ok(pages));
    }
}
