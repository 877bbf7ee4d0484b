//! The fingerprint by which a server's TLS key is known: SHA-256 of its public key, in 64 hexadecimal digits.
//!
//! Of the key and not of the certificate, so that it stays the same when a certificate is renewed. Computed elsewhere;
//! here is only how it is written and read.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// SHA-256 of something, most often of a public key's `SubjectPublicKeyInfo` in DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint: 64 hexadecimal digits, with or without colons between pairs")]
pub struct FingerprintError(String);

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads digits in either case, alone or in pairs with colons between them, as browsers and `openssl` show them;
    /// `sha256:` may stand before them.
    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        let refused = || FingerprintError(text.to_owned());
        let trimmed = text.trim().to_ascii_lowercase();
        let digits = trimmed.strip_prefix("sha256:").unwrap_or(&trimmed).as_bytes();
        // Colons between all pairs or between none.
        let step = match digits.len() {
            64 => 2,
            95 => 3,
            _ => return Err(refused()),
        };
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let at = index * step;
            let pair = (hex(digits[at]), hex(digits[at + 1]));
            let (Some(high), Some(low)) = pair else { return Err(refused()) };
            if step == 3 && index < 31 && digits[at + 2] != b':' {
                return Err(refused());
            }
            *byte = high << 4 | low;
        }
        Ok(Fingerprint(bytes))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_written(bytes: [u8; 32]) {
            let fingerprint = Fingerprint(bytes);
            let plain = fingerprint.to_string();
            prop_assert_eq!(plain.len(), 64);
            let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            for text in [
                plain.clone(),
                plain.to_uppercase(),
                format!(" sha256:{plain}\n"),
                pairs.join(":"),
                format!("SHA256:{}", pairs.join(":")),
            ] {
                prop_assert_eq!(text.parse(), Ok(fingerprint), "{}", text);
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            if let Ok(fingerprint) = text.parse::<Fingerprint>() {
                let digits = text.to_lowercase().trim().trim_start_matches("sha256:").replace(':', "");
                prop_assert_eq!(digits, fingerprint.to_string());
            }
        }

        #[test]
        fn a_text_with_one_wrong_character_is_refused(bytes: [u8; 32], at in 0usize..95, colons: bool) {
            let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut text = pairs.join(if colons { ":" } else { "" });
            let at = at % text.len();
            text.replace_range(at..=at, "g");
            prop_assert!(text.parse::<Fingerprint>().is_err());
            text.replace_range(at..=at, "");
            prop_assert!(text.parse::<Fingerprint>().is_err());
        }
    }
}
