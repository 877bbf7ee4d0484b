//! Batons: how an HTTP client names its stream, without being able to name another's.
//!
//! ```text
//! byte  0       1        9           17          25          41
//!       +-------+--------+-----------+-----------+-----------+
//!       | 0xC1  |  life  | stream id | sequence  |    MAC    |   URL-safe base64, no padding
//!       +-------+--------+-----------+-----------+-----------+
//!  version       random,   big-endian  big-endian  first 16 bytes of HMAC-SHA256 over bytes 0–24,
//!                per process                       under a random key of the process
//! ```
//!
//! The *life* tells batons of this process from those of another one: a restart, or the other
//! server of a pair. Such a baton cannot be verified, but it is no sign of an attack either: its
//! stream has expired, and clients know what to do then. A baton of this life whose MAC is wrong
//! was forged. Calling a foreign baton expired gives nothing away and opens nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::{Error, codes};

const VERSION: u8 = 0xC1;
const PAYLOAD: usize = 25;
const MAC: usize = 16;

/// What a baton says: which stream, and which request on it comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Baton {
    pub(crate) stream_id: u64,
    pub(crate) sequence: u64,
}

/// Makes and verifies the batons of one process.
pub(crate) struct BatonKey {
    life: [u8; 8],
    mac: Hmac<Sha256>,
}

impl BatonKey {
    /// A key for this process.
    ///
    /// # Panics
    /// If the operating system has no randomness to give: without it no baton can be trusted.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 40];
        getrandom::fill(&mut bytes).expect("the operating system provides randomness");
        let (life, key) = bytes.split_at(8);
        Self {
            life: life.try_into().expect("split at 8"),
            mac: Hmac::new_from_slice(key).expect("HMAC takes keys of any length"),
        }
    }

    /// The text of a baton.
    pub(crate) fn write(&self, baton: Baton) -> String {
        let mut bytes = [0; PAYLOAD + MAC];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.life);
        bytes[9..17].copy_from_slice(&baton.stream_id.to_be_bytes());
        bytes[17..25].copy_from_slice(&baton.sequence.to_be_bytes());
        let mac = self.mac.clone().chain_update(&bytes[..PAYLOAD]).finalize().into_bytes();
        bytes[PAYLOAD..].copy_from_slice(&mac[..MAC]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads and verifies a baton.
    ///
    /// # Errors
    /// `STREAM_EXPIRED` for one of another life, `INVALID_BATON` for all else that is not ours.
    pub(crate) fn read(&self, text: &str) -> Result<Baton, Error> {
        let invalid = || {
            let message = "The baton was not made by this server, or was changed on the way. \
                           Send the baton of the last response as it is, or none.";
            Error::request(codes::INVALID_BATON, message)
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let bytes: [u8; PAYLOAD + MAC] = bytes.try_into().map_err(|_| invalid())?;
        if bytes[0] != VERSION {
            return Err(invalid());
        }
        if bytes[1..9] != self.life {
            return Err(Error::stream_gone(
                "it belonged to another server or to this one before its restart",
            ));
        }
        self.mac
            .clone()
            .chain_update(&bytes[..PAYLOAD])
            .verify_truncated_left(&bytes[PAYLOAD..])
            .map_err(|_| invalid())?;
        let number =
            |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Ok(Baton { stream_id: number(9), sequence: number(17) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_baton_is_read_as_it_was_written(stream_id: u64, sequence: u64) {
            let key = BatonKey::random();
            let baton = Baton { stream_id, sequence };
            prop_assert_eq!(key.read(&key.write(baton)), Ok(baton));
        }

        #[test]
        fn no_flipped_bit_goes_unnoticed(bit in 0..(PAYLOAD + MAC) * 8) {
            let key = BatonKey::random();
            let text = key.write(Baton { stream_id: 1, sequence: 2 });
            let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = key.read(&URL_SAFE_NO_PAD.encode(bytes)).unwrap_err();
            let in_life = (8..72).contains(&bit);
            let expected = if in_life { codes::STREAM_EXPIRED } else { codes::INVALID_BATON };
            prop_assert_eq!(error.code, expected);
        }

        #[test]
        fn garbage_is_refused(text: String) {
            let error = BatonKey::random().read(&text).unwrap_err();
            prop_assert_eq!(error.code, codes::INVALID_BATON);
        }
    }

    #[test]
    fn a_baton_of_another_life_has_expired() {
        let text = BatonKey::random().write(Baton { stream_id: 1, sequence: 1 });
        let error = BatonKey::random().read(&text).unwrap_err();
        assert_eq!(error.code, codes::STREAM_EXPIRED);
        assert!(error.is_stream_gone());
    }
}
