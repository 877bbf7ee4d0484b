//! Decoding, as the bytes come. Memory stays within one frame and what the caller pushed beyond it.

use bytes::{Buf, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    FRAME_HEADER_LEN, Frame, FrameError, FrameType, MAGIC, MAX_PAYLOAD_LEN, OPENING_LEN,
    WIRE_VERSION,
};

/// Whether the partner's opening is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// More bytes are needed.
    Incomplete,
    /// It is one of ours; frames follow.
    Complete,
}

/// Why the other side's first bytes are not the opening of a partner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// Something else than a partner speaks.
    #[error("the other side is not a partner: it begins with {0:02x?}")]
    NotAPartner([u8; 6]),
    /// A partner of another wire version.
    #[error(
        "the partner speaks wire version {theirs}, this server {WIRE_VERSION}: upgrade the older of the two"
    )]
    Version {
        /// The partner's version.
        theirs: u16,
    },
}

/// Takes bytes in any pieces, gives frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
    opened: bool,
}

/// Room that is kept behind the frame that is arriving, so that whoever reads finds some until it is whole.
pub const ROOM_BEHIND: usize = 8 << 10;

impl FrameDecoder {
    /// A decoder at the beginning of a connection.
    #[must_use]
    pub fn new() -> FrameDecoder {
        FrameDecoder::default()
    }

    /// A decoder of frames whose opening, of whatever kind, was taken already.
    #[must_use]
    pub fn within() -> FrameDecoder {
        FrameDecoder { buffer: BytesMut::new(), opened: true }
    }

    /// Where the next bytes from the connection go; append to it only.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Takes the partner's opening off the front. Call until it is [`Opening::Complete`].
    ///
    /// # Errors
    /// [`OpeningError`], as soon as the bytes at hand show it.
    pub fn open(&mut self) -> Result<Opening, OpeningError> {
        if self.opened {
            return Ok(Opening::Complete);
        }
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            let mut begins = [0; 6];
            begins[..known].copy_from_slice(&self.buffer[..known]);
            return Err(OpeningError::NotAPartner(begins));
        }
        if self.buffer.len() < OPENING_LEN {
            return Ok(Opening::Incomplete);
        }
        let theirs = u16::from_le_bytes([self.buffer[6], self.buffer[7]]);
        if theirs != WIRE_VERSION {
            return Err(OpeningError::Version { theirs });
        }
        self.buffer.advance(OPENING_LEN);
        self.opened = true;
        Ok(Opening::Complete)
    }

    /// The header of the frame that is arriving, `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; the connection must be closed then.
    ///
    /// # Panics
    /// If the opening was not taken first.
    pub fn head(&self) -> Result<Option<FrameHead>, FrameError> {
        assert!(self.opened, "frames come after the opening");
        self.buffer.first_chunk().map(FrameHead::decode).transpose()
    }

    /// Takes the frame that begins with this header off the front, as far as it has arrived: what there is of its payload. The
    /// rest must not come here.
    pub fn take_begun(&mut self, head: &FrameHead) -> BytesMut {
        self.buffer.advance(FRAME_HEADER_LEN);
        self.buffer.split_to(head.length.min(self.buffer.len()))
    }

    /// Takes the next whole frame off the front, `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; the connection must be closed then.
    ///
    /// # Panics
    /// If the opening was not taken first.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.head()? else { return Ok(None) };
        let whole = FRAME_HEADER_LEN + head.length;
        if self.buffer.len() < whole {
            let missing = whole - self.buffer.len();
            self.buffer.reserve(missing + ROOM_BEHIND);
            return Ok(None);
        }
        let payload = self.take_begun(&head).freeze();
        head.frame(payload).map(Some)
    }
}

/// A frame's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// What the frame carries.
    pub kind: FrameType,
    /// The length of its payload in bytes.
    pub length: usize,
    seed: u64,
    checksum: u64,
}

impl FrameHead {
    fn decode(bytes: &[u8; FRAME_HEADER_LEN]) -> Result<FrameHead, FrameError> {
        let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if length > MAX_PAYLOAD_LEN {
            return Err(FrameError::TooLong(length));
        }
        let kind = FrameType::from_byte(bytes[4]).ok_or(FrameError::Type(bytes[4]))?;
        if bytes[5..8] != [0; 3] {
            return Err(FrameError::Reserved);
        }
        let (first, second) = bytes.split_at(8);
        let seed = u64::from_le_bytes(first.try_into().expect("eight bytes"));
        let checksum = u64::from_le_bytes(second.try_into().expect("eight bytes"));
        Ok(FrameHead { kind, length, seed, checksum })
    }

    /// Whether the frame carries pages of a seed.
    #[must_use]
    pub fn is_seed_pages(&self) -> bool {
        matches!(self.kind, FrameType::SeedPages | FrameType::SeedPagesLz4)
    }

    /// The frame, now that its payload is there.
    ///
    /// # Errors
    /// [`FrameError::Checksum`].
    pub fn frame(&self, payload: Bytes) -> Result<Frame, FrameError> {
        let (stored, computed) = (self.checksum, xxh3_64_with_seed(&payload, self.seed));
        if stored != computed {
            return Err(FrameError::Checksum { stored, computed });
        }
        Ok(Frame { kind: self.kind, payload })
    }
}
