//! A copy out of a file: bytes in any pieces, items out, each verified by itself. What must follow what is in
//! [`Order`](super::Order).

use bytes::{Buf, BytesMut};

use super::{Answer, COPY_VERSION, Chosen, End, Head, Offer, PagesError, SentPages, Whole};
use crate::{
    frame::{Frame, FrameDecoder, FrameError, FrameType},
    record::{Record, RecordError, split_records},
};

const MAGIC: [u8; 6] = *b"CTPCPY";
const OPENING_LEN: usize = 8;

/// The first bytes of a copy's file.
#[must_use]
pub fn opening() -> [u8; OPENING_LEN] {
    let mut bytes = [0; OPENING_LEN];
    bytes[..6].copy_from_slice(&MAGIC);
    bytes[6..].copy_from_slice(&COPY_VERSION.to_le_bytes());
    bytes
}

/// Why bytes are not a copy. Nothing after it can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The file is something else.
    #[error("this is no copy made by Counterpart: it begins with {0:02x?}")]
    NotACopy(Vec<u8>),
    /// A copy of another version.
    #[error(
        "the copy has version {theirs}, this program reads {COPY_VERSION}: use the program that made it, or a newer one"
    )]
    Version {
        /// The copy's version.
        theirs: u16,
    },
    /// A frame does not verify.
    #[error("the copy is damaged at byte {at}: {cause}")]
    Frame {
        /// Where the frame begins, in bytes.
        at: u64,
        /// What is wrong.
        cause: FrameError,
    },
    /// A payload is not what its frame says.
    #[error("the copy is damaged at byte {at}: {what} can't be read")]
    Payload {
        /// Where the frame begins, in bytes.
        at: u64,
        /// What it should be.
        what: &'static str,
    },
    /// Pages do not verify.
    #[error("the copy is damaged at byte {at}: {cause}")]
    Pages {
        /// Where the frame begins, in bytes.
        at: u64,
        /// What is wrong.
        cause: PagesError,
    },
    /// A record does not verify.
    #[error("the copy is damaged at byte {at}: {cause}")]
    Record {
        /// Where the frame begins, in bytes.
        at: u64,
        /// What is wrong.
        cause: RecordError,
    },
}

/// One frame of a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// What the copy is a copy of.
    Head(Box<Head>),
    /// A database as it is at one position.
    Offer(Offer),
    /// What the receiver wants of an offer.
    Answer(Answer),
    /// How many pages of it follow.
    Chosen(Chosen),
    /// Pages.
    Pages(SentPages),
    /// All chosen pages of a database were sent.
    Whole(Whole),
    /// Records of the tail.
    Tail(Vec<Record>),
    /// The copy is complete.
    End(End),
}

impl Item {
    /// The frame that carries it: its type and payload.
    #[must_use]
    pub fn encode(&self) -> (FrameType, Vec<u8>) {
        match self {
            Item::Head(head) => (FrameType::CopyHead, head.encode()),
            Item::Offer(offer) => (FrameType::CopyOffer, offer.encode()),
            Item::Answer(answer) => (FrameType::CopyAnswer, answer.encode()),
            Item::Chosen(chosen) => (FrameType::CopyChosen, chosen.encode()),
            Item::Pages(pages) => (FrameType::CopyPages, pages.encode()),
            Item::Whole(whole) => (FrameType::CopyWhole, whole.encode()),
            Item::Tail(records) => {
                let bytes = records.iter().flat_map(|record| record.bytes().iter().copied());
                (FrameType::CopyTail, bytes.collect())
            }
            Item::End(end) => (FrameType::CopyEnd, end.encode()),
        }
    }

    /// What a frame of a copy carries; `None` for a frame of another kind.
    ///
    /// # Errors
    /// What does not verify. `at` is where the frame begins, for the error.
    pub fn decode(frame: &Frame, at: u64) -> Result<Option<Item>, CopyError> {
        let bytes = &frame.payload;
        let bad = |what| CopyError::Payload { at, what };
        Ok(Some(match frame.kind {
            FrameType::CopyHead => {
                Item::Head(Box::new(Head::decode(bytes).ok_or(bad("its head"))?))
            }
            FrameType::CopyOffer => Item::Offer(Offer::decode(bytes).ok_or(bad("an offer"))?),
            FrameType::CopyAnswer => Item::Answer(Answer::decode(bytes).ok_or(bad("an answer"))?),
            FrameType::CopyChosen => {
                Item::Chosen(Chosen::decode(bytes).ok_or(bad("the number of pages"))?)
            }
            FrameType::CopyPages => Item::Pages(
                SentPages::decode(bytes).map_err(|cause| CopyError::Pages { at, cause })?,
            ),
            FrameType::CopyWhole => {
                Item::Whole(Whole::decode(bytes).ok_or(bad("the end of a database"))?)
            }
            FrameType::CopyTail => Item::Tail(
                split_records(bytes.clone()).map_err(|cause| CopyError::Record { at, cause })?,
            ),
            FrameType::CopyEnd => Item::End(End::decode(bytes).ok_or(bad("its end"))?),
            FrameType::Message
            | FrameType::Records
            | FrameType::SeedPages
            | FrameType::SeedPagesLz4 => return Ok(None),
        }))
    }
}

/// Takes a file's bytes in any pieces, gives items. Memory stays within one frame and what was pushed beyond it.
#[derive(Debug)]
pub struct CopyDecoder {
    frames: FrameDecoder,
    opened: bool,
    taken: u64,
}

impl Default for CopyDecoder {
    fn default() -> CopyDecoder {
        CopyDecoder::new()
    }
}

impl CopyDecoder {
    /// A decoder at the beginning of a file.
    #[must_use]
    pub fn new() -> CopyDecoder {
        CopyDecoder { frames: FrameDecoder::within(), opened: false, taken: 0 }
    }

    /// Where the next bytes of the file go; append to it only.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.frames.buffer()
    }

    /// Bytes of the file that were read and verified.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether bytes are left over that are not a whole frame (or opening): at the end of a file, it was cut off.
    #[must_use]
    pub fn is_between_frames(&mut self) -> bool {
        self.opened && self.frames.buffer().is_empty()
    }

    /// The next item, `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`CopyError`]; nothing more can be read then.
    pub fn next_item(&mut self) -> Result<Option<Item>, CopyError> {
        if !self.opened && !self.open()? {
            return Ok(None);
        }
        let at = self.taken;
        let before = self.frames.buffer().len();
        let frame = self.frames.next_frame().map_err(|cause| CopyError::Frame { at, cause })?;
        let Some(frame) = frame else { return Ok(None) };
        self.taken += (before - self.frames.buffer().len()) as u64;
        match Item::decode(&frame, at)? {
            Some(item) => Ok(Some(item)),
            None => Err(CopyError::Payload { at, what: "a frame of another kind" }),
        }
    }

    fn open(&mut self) -> Result<bool, CopyError> {
        let buffer = self.frames.buffer();
        let known = buffer.len().min(MAGIC.len());
        if buffer[..known] != MAGIC[..known] {
            return Err(CopyError::NotACopy(buffer[..known].to_vec()));
        }
        if buffer.len() < OPENING_LEN {
            return Ok(false);
        }
        let theirs = u16::from_le_bytes([buffer[6], buffer[7]]);
        if theirs != COPY_VERSION {
            return Err(CopyError::Version { theirs });
        }
        buffer.advance(OPENING_LEN);
        self.taken = OPENING_LEN as u64;
        self.opened = true;
        Ok(true)
    }
}
