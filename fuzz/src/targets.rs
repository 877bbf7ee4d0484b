//! What is fuzzed: one function for each kind of bytes that come from a disk, a partner, a client or an operator.
//!
//! A target takes any bytes and must neither panic nor hang nor take memory without bound; where something can be
//! written again, it must come out the same. Checksums would keep invented bytes from everything behind them, so each
//! target tries its input as it is and once more with the checksums made right.
//!
//! This file is compiled twice: for libFuzzer, and into a test of the binary that runs the kept seeds.

use bytes::Bytes;
use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageNo, PageSize, ServerId, UnixMicros,
    copy::{
        Answer, Compared, CopyDecoder, Item, Order, PageSet, Want, differing_pages,
        differing_ranges, range_hashes,
    },
    frame::{FRAME_HEADER_LEN, Frame, FrameDecoder, FrameType, MAX_PAYLOAD_LEN, SeedPages},
    map::file::{BLOCK, decode_block, decode_header, encode_block, encode_header},
    message::Envelope,
    record::{
        HEADER_LEN, MAX_RECORD_LEN, PageEncoder, Record, Stamp, TransactionDraft, split_records,
    },
};
use counterpart_hrana::proto::{self, protobuf};
use xxhash_rust::xxh3::xxh3_64_with_seed;

#[path = "configuration.rs"]
mod configuration;
#[path = "segment.rs"]
mod segment;

/// A target.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("record", record),
    ("segment", segment::segment),
    ("frames", frames),
    ("message", message),
    ("copy", copy),
    ("map", map),
    ("hrana", hrana),
    ("protobuf", protobuf),
    ("configuration", configuration::configuration),
];

fn seed_of(eight: &[u8]) -> u64 {
    u64::from_le_bytes(eight.try_into().expect("eight bytes"))
}

/// Records one after the other, each with the checksum that its bytes ask for.
pub fn resealed_records(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = 0;
    while bytes.len() - at >= HEADER_LEN {
        let stated = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        // A length that cannot be becomes one that can: all that is left.
        let length = if (HEADER_LEN..=bytes.len() - at).contains(&stated) {
            stated
        } else {
            (bytes.len() - at).min(MAX_RECORD_LEN)
        };
        let record = &mut bytes[at..at + length];
        record[..4].copy_from_slice(&u32::try_from(length).expect("at most 4 MiB").to_le_bytes());
        let checksum = xxh3_64_with_seed(&record[16..], seed_of(&record[..8]));
        record[8..16].copy_from_slice(&checksum.to_le_bytes());
        at += length;
    }
    bytes
}

/// Frames one after the other, each with a possible length and the checksum that its bytes ask for.
fn resealed_frames(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = 0;
    while bytes.len() - at >= FRAME_HEADER_LEN {
        let stated = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        let most = (bytes.len() - at - FRAME_HEADER_LEN).min(MAX_PAYLOAD_LEN);
        let length = stated.min(most);
        bytes[at..at + 4]
            .copy_from_slice(&u32::try_from(length).expect("at most 8 MiB").to_le_bytes());
        bytes[at + 5..at + 8].fill(0);
        let (head, payload) = bytes[at..].split_at_mut(FRAME_HEADER_LEN);
        let checksum = xxh3_64_with_seed(&payload[..length], seed_of(&head[..8]));
        head[8..].copy_from_slice(&checksum.to_le_bytes());
        at += FRAME_HEADER_LEN + length;
    }
    bytes
}

fn record(data: &[u8]) {
    for bytes in [data.to_vec(), resealed_records(data)] {
        let bytes = Bytes::from(bytes);
        let mut rest = bytes.clone();
        let mut taken = 0;
        while let Ok(record) = Record::take(&mut rest) {
            assert_eq!(&record.bytes()[..], &bytes[taken..taken + record.bytes().len()]);
            taken += record.bytes().len();
            read_whole(&record);
        }
        assert_eq!(rest.len(), bytes.len() - taken, "what does not verify is left as it was");
        if let Ok(records) = split_records(bytes.clone()) {
            assert_eq!(records.iter().map(|r| r.bytes().len()).sum::<usize>(), bytes.len());
        }
    }
}

/// Looks at everything that a record that verified says.
fn read_whole(record: &Record) {
    let _name = record.created_name();
    let Some(page_size) = record.header().page_size else {
        assert_eq!(record.pages().count(), 0, "pages have a size");
        return;
    };
    let mut base = vec![0; page_size.bytes()];
    let mut image = vec![0; page_size.bytes()];
    for page in record.pages() {
        let decoded = page.decode(page_size, Some(&base), &mut image);
        if decoded.is_ok() {
            encode_again(page_size, &base, &image);
            base.copy_from_slice(&image);
        }
    }
}

/// Any page as a delta upon any other.
fn encode_again(page_size: PageSize, base: &[u8], image: &[u8]) {
    let mut draft = TransactionDraft::new(DatabaseId(1), page_size, UnixMicros(0));
    let full = draft.push_version(PageNo(2), Some(base), image, &mut PageEncoder::default());
    assert!(full.is_none(), "one page is no chunk");
    let epoch = Epoch { server: ServerId(1), term: 1, start: 1 };
    let stamp = Stamp { lsn: Lsn(1), epoch, commit_lsn: Lsn(0) };
    let record = draft.finish(2, 0).seal(stamp);
    let mut back = vec![0; page_size.bytes()];
    let page = record.pages().next().expect("one page");
    assert_eq!(page.decode(page_size, Some(base), &mut back), Ok(()));
    assert_eq!(back, image, "what was encoded comes back");
}

fn frames(data: &[u8]) {
    for bytes in [data.to_vec(), resealed_frames(data)] {
        let whole = all_frames(&bytes, bytes.len().max(1));
        let pieces = all_frames(&bytes, 7);
        assert_eq!(whole, pieces, "frames do not depend on how their bytes arrive");
        whole.iter().for_each(read_frame);
    }
}

fn all_frames(bytes: &[u8], piece: usize) -> Vec<Frame> {
    let mut decoder = FrameDecoder::within();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_refused) => return found,
            }
        }
    }
    found
}

fn read_frame(frame: &Frame) {
    match frame.kind {
        FrameType::Message => message(&frame.payload),
        FrameType::Records => record(&frame.payload),
        FrameType::SeedPages | FrameType::SeedPagesLz4 => {
            if let Ok(pages) = SeedPages::decode(frame) {
                let (kind, payload) = pages.encode(false);
                let again = SeedPages::decode(&Frame { kind, payload: payload.into() });
                assert_eq!(again, Ok(pages), "pages of a seed come out as they went in");
            }
        }
        _ => {
            if let Ok(Some(Item::Tail(records))) = Item::decode(frame, 0) {
                records.iter().for_each(read_whole);
            }
        }
    }
}

fn message(data: &[u8]) {
    if let Ok(envelope) = Envelope::decode(data) {
        let again = Envelope::decode(&envelope.encode());
        assert_eq!(again, Ok(envelope), "a message comes out as it went in");
    }
}

fn copy(data: &[u8]) {
    for frames in [data.to_vec(), resealed_frames(data)] {
        let mut decoder = CopyDecoder::new();
        decoder.buffer().extend_from_slice(&counterpart_core::copy::opening());
        decoder.buffer().extend_from_slice(&frames);
        let mut order = Order::new();
        while let Ok(Some(item)) = decoder.next_item() {
            compare(&item);
            if order.take(&item).is_err() {
                break;
            }
        }
        // Whether it is complete or not, it must be possible to say.
        let _complete = (order.finish(), order.reached(), decoder.is_between_frames());
    }
    let mut decoder = CopyDecoder::new();
    decoder.buffer().extend_from_slice(data);
    while let Ok(Some(_)) = decoder.next_item() {}
}

/// What a receiver does with an offer, and a sender with an answer, against a database of its own.
fn compare(item: &Item) {
    let own: Vec<u64> = (1..3000).collect();
    match item {
        Item::Offer(offer) => {
            if let Compared::Ranges(ranges) = differing_ranges(offer, &own) {
                let most = own.len().min(offer.size_in_pages as usize);
                let hashes = range_hashes(&own, offer.size_in_pages, &ranges);
                assert!(hashes.iter().map(|range| range.hashes.len()).sum::<usize>() <= most);
            }
        }
        Item::Answer(Answer { want: Want::Hashes { ranges, .. }, .. }) => {
            let mut chosen = PageSet::none(2999, PageSize::DEFAULT);
            differing_pages(&own, ranges, &mut chosen);
            assert_eq!(chosen.iter().count(), chosen.count() as usize);
        }
        _ => {}
    }
}

fn map(data: &[u8]) {
    let database = DatabaseId(1);
    for block in data.chunks(BLOCK) {
        let mut sealed = [0; BLOCK];
        sealed[..block.len()].copy_from_slice(block);
        let raw = (decode_header(database, block), decode_block(database, 1, block));
        assert!(raw.0.is_err() || block.len() == BLOCK, "a header is a whole block");
        let reseal = |bytes: &mut [u8; BLOCK], owner: u32, number: u32| {
            let seed = u64::from(owner) << 32 | u64::from(number);
            let checksum = xxh3_64_with_seed(&bytes[8..], seed);
            bytes[..8].copy_from_slice(&checksum.to_le_bytes());
        };
        let owner = u32::from_le_bytes(sealed[20..24].try_into().expect("four bytes"));
        reseal(&mut sealed, owner, 0);
        if let Ok(header) = decode_header(DatabaseId(owner), &sealed) {
            let again = decode_header(DatabaseId(owner), &encode_header(&header));
            assert_eq!(again, Ok(header), "a header comes out as it went in");
        }
        reseal(&mut sealed, database.0, 7);
        let entries = decode_block(database, 7, &sealed).expect("its checksum was made right");
        let again = decode_block(database, 7, &encode_block(database, 7, &entries));
        assert_eq!(again, Some(entries), "entries come out as they went in");
        assert_eq!(decode_block(database, 8, &sealed), None, "a block of another place is refused");
    }
    if let Some(four) = data.first_chunk() {
        let page = PageNo(u32::from_le_bytes(*four).max(1));
        let block = counterpart_core::map::file::block_of(page);
        assert!(counterpart_core::map::file::first_page_of(block) <= page);
    }
}

/// What a client sends, over HTTP or a WebSocket.
fn hrana(data: &[u8]) {
    again::<proto::PipelineRequest>(data);
    again::<proto::CursorRequest>(data);
    again::<proto::ClientMessage>(data);
    again::<proto::ServerMessage>(data);
    again::<proto::PipelineResponse>(data);
    again::<proto::CursorEntry>(data);
}

/// The same in protobuf.
fn protobuf(data: &[u8]) {
    again_in_protobuf::<proto::PipelineRequest>(data);
    again_in_protobuf::<proto::CursorRequest>(data);
    again_in_protobuf::<proto::ClientMessage>(data);
    again_in_protobuf::<proto::ServerMessage>(data);
    again_in_protobuf::<proto::PipelineResponse>(data);
    again_in_protobuf::<proto::CursorEntry>(data);
}

fn again_in_protobuf<T: protobuf::Protobuf>(data: &[u8]) {
    let Ok(read) = protobuf::decode::<T>(data) else { return };
    let written = protobuf::encode(read);
    let second: T = protobuf::decode(&written)
        .unwrap_or_else(|error| panic!("{error}: cannot read what was written: {written:?}"));
    assert_eq!(protobuf::encode(second), written);
}

/// What can be read can be written, and that reads the same; told by what it is written as, since a float may be one
/// that equals nothing.
fn again<T: serde::Serialize + serde::de::DeserializeOwned>(data: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_string(&read).expect("what was read can be written");
    let second: T = serde_json::from_str(&written)
        .unwrap_or_else(|error| panic!("{error}: cannot read what was written: {written}"));
    assert_eq!(serde_json::to_string(&second).expect("and written again"), written);
}
