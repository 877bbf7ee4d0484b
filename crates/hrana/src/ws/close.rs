//! How a connection ends.

use axum::extract::ws::{CloseFrame, close_code};

use crate::encoding::{Encoding, Unreadable};

/// Bytes of a close frame's reason: a control frame carries 125, two of which are the code.
const REASON_BYTES: usize = 123;

/// Why the server closes a connection: a code of RFC 6455 and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Close {
    /// The client broke the rules of the protocol.
    pub(super) fn violation(reason: impl Into<String>) -> Self {
        Self { code: close_code::POLICY, reason: reason.into() }
    }

    /// A message is not one of the protocol's.
    pub(super) fn malformed(error: &Unreadable) -> Self {
        Self {
            code: close_code::INVALID,
            reason: format!("The message is not a valid Hrana message: {error}."),
        }
    }

    /// A frame of another type than the negotiated encoding has.
    pub(super) fn wrong_frame(encoding: Encoding) -> Self {
        let reason = match encoding {
            Encoding::Json => "Messages are JSON in text frames, and this one is binary.",
            Encoding::Protobuf => "Messages are protobuf in binary frames, and this one is text.",
        };
        Self { code: close_code::UNSUPPORTED, reason: reason.into() }
    }

    /// The message exceeds the limit.
    pub(super) fn too_large(limit: usize) -> Self {
        let reason = format!("The message is longer than the limit of {limit} bytes.");
        Self { code: close_code::SIZE, reason }
    }

    /// A fault of the server.
    pub(super) fn internal() -> Self {
        let reason = "A stream failed in the server. Connect again.".into();
        Self { code: close_code::ERROR, reason }
    }

    /// The client gave no sign of life.
    pub(super) fn silent() -> Self {
        let reason = "The client did not answer pings.".into();
        Self { code: close_code::POLICY, reason }
    }

    /// The server stops.
    pub(super) fn going_away() -> Self {
        Self { code: close_code::AWAY, reason: "The server stops. Connect again later.".into() }
    }

    /// The frame, its reason cut to what fits.
    pub(super) fn into_frame(self) -> CloseFrame {
        let end = self.reason.floor_char_boundary(REASON_BYTES);
        CloseFrame { code: self.code, reason: self.reason[..end].into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = Close::violation("é".repeat(200)).into_frame();
        assert_eq!(frame.reason.len(), 122);
        assert_eq!(frame.code, 1008);
    }
}
