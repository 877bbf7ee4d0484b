//! Frames against damage, cuts and other programs' bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    epoch::Epoch,
    ids::{DatabaseId, Lsn, PageNo, PageSize},
    message::{Envelope, Message},
};

fn opened() -> FrameDecoder {
    let mut decoder = FrameDecoder::new();
    decoder.buffer().extend_from_slice(&opening());
    assert_eq!(decoder.open(), Ok(Opening::Complete));
    decoder
}

fn frame_bytes(kind: FrameType, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, &[payload]).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn another_wire_version_is_recognised_and_both_are_named() {
    let mut decoder = FrameDecoder::new();
    decoder.buffer().extend_from_slice(b"CTPLNK\x07\x00");
    let error = decoder.open().unwrap_err();
    assert_eq!(error, OpeningError::Version { theirs: 7 });
    assert!(error.to_string().contains("version 7, this server 1"), "{error}");
}

#[test]
fn another_protocol_is_recognised_at_its_first_bytes() {
    let mut decoder = FrameDecoder::new();
    decoder.buffer().extend_from_slice(b"GET");
    assert!(matches!(decoder.open(), Err(OpeningError::NotAPartner(_))));
}

#[test]
fn a_frame_that_is_too_long_is_refused_before_it_is_read() {
    let mut decoder = opened();
    let mut bytes = frame_bytes(FrameType::Records, b"x");
    bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    decoder.buffer().extend_from_slice(&bytes);
    assert_eq!(decoder.next_frame(), Err(FrameError::TooLong(u32::MAX as usize)));
}

#[test]
fn a_header_over_parts_is_that_of_their_concatenation() {
    assert_eq!(
        header(FrameType::Records, &[b"ab", b"", b"cde"]),
        header(FrameType::Records, &[b"abcde"])
    );
}

#[test]
fn a_frame_is_taken_over_in_its_middle_and_what_follows_stays() {
    let mut decoder = opened();
    assert_eq!(decoder.head(), Ok(None));
    let pages = frame_bytes(FrameType::SeedPages, b"pages");
    decoder.buffer().extend_from_slice(&pages[..FRAME_HEADER_LEN + 2]);
    let head = decoder.head().unwrap().unwrap();
    assert!(head.is_seed_pages());
    assert_eq!((&decoder.take_begun(&head)[..], head.length), (&b"pa"[..], 5));
    let frame = head.frame(Bytes::from_static(b"pages")).unwrap();
    assert_eq!((frame.kind, &frame.payload[..]), (FrameType::SeedPages, &b"pages"[..]));
    let damaged = head.frame(Bytes::from_static(b"paces"));
    assert!(matches!(damaged, Err(FrameError::Checksum { .. })));
    decoder.buffer().extend_from_slice(&pages);
    decoder.buffer().extend_from_slice(&frame_bytes(FrameType::Records, b"x"));
    let head = decoder.head().unwrap().unwrap();
    assert_eq!(&decoder.take_begun(&head)[..], b"pages");
    assert_eq!(decoder.next_frame().unwrap().unwrap().kind, FrameType::Records);
}

#[test]
fn a_message_travels_as_a_frame() {
    let epoch = Epoch::default();
    let envelope = Envelope { epoch, message: Message::Commit { lsn: Lsn(7) } };
    let mut decoder = opened();
    decoder.buffer().extend_from_slice(&message_frame(&envelope));
    let frame = decoder.next_frame().unwrap().unwrap();
    assert_eq!(frame.kind, FrameType::Message);
    assert_eq!(Envelope::decode(&frame.payload), Ok(envelope));
}

proptest! {
    #[test]
    fn frames_come_out_whole_however_they_were_cut(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..6),
        piece in 1usize..64,
    ) {
        let mut stream = opening().to_vec();
        for payload in &payloads {
            stream.extend(frame_bytes(FrameType::Records, payload));
        }
        let mut decoder = FrameDecoder::new();
        let mut seen = Vec::new();
        for bytes in stream.chunks(piece) {
            decoder.buffer().extend_from_slice(bytes);
            if decoder.open().unwrap() == Opening::Complete {
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame.payload.to_vec());
                }
            }
        }
        prop_assert_eq!(seen, payloads);
    }

    #[test]
    fn any_flipped_bit_is_noticed(
        payload in proptest::collection::vec(any::<u8>(), 1..200),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut bytes = frame_bytes(FrameType::Records, &payload);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut decoder = opened();
        decoder.buffer().extend_from_slice(&bytes);
        // A longer length waits for bytes that never come; everything else is an error.
        prop_assert!(!matches!(decoder.next_frame(), Ok(Some(_))));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut decoder = FrameDecoder::new();
        decoder.buffer().extend_from_slice(&bytes);
        let _ignored = decoder.open();
        let mut decoder = opened();
        decoder.buffer().extend_from_slice(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
        let _ignored = Envelope::decode(&bytes);
        for kind in [FrameType::SeedPages, FrameType::SeedPagesLz4, FrameType::Records] {
            let frame = Frame { kind, payload: Bytes::from(bytes.clone()) };
            let _ignored = SeedPages::decode(&frame);
        }
    }

    #[test]
    fn seed_pages_read_back_raw_and_compressed(
        count in 1u32..5, first in 1u32..1000, fill in any::<u8>(), noisy in any::<bool>(), compress in any::<bool>(),
    ) {
        let page_size = PageSize::from_bytes(512).unwrap();
        let mut bytes = vec![fill; 512 * count as usize];
        if noisy {
            let mut state = u32::from(fill) + 1;
            for byte in &mut bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
        }
        let pages = SeedPages {
            database: DatabaseId(3), first: PageNo(first), page_size, shown: Lsn(9), bytes: bytes.into(),
        };
        let (kind, payload) = pages.encode(compress);
        prop_assert_eq!(kind == FrameType::SeedPagesLz4, compress && !noisy);
        let frame = Frame { kind, payload: payload.into() };
        prop_assert_eq!(SeedPages::decode(&frame), Ok(pages));
    }
}
