//! Tokens: what a client shows, and what is kept of it.
//!
//! ```text
//! token        "cpt_" and 43 characters: 32 random bytes in base64url without padding
//! fingerprint  SHA-256 of the token's text
//! ```
//!
//! A token is as long as a key, so its plain hash gives nothing away to whoever steals it: there is nothing shorter to guess than
//! the token itself. For the same reason it is enough to look fingerprints up in a map: the time that takes tells about the
//! fingerprint, and whoever can choose that has the token.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

const PREFIX: &str = "cpt_";

/// Characters of a token.
const LENGTH: usize = PREFIX.len() + 43;

/// A new token. It is shown to somebody once, and kept nowhere.
pub struct Token(String);

impl Token {
    /// A token that nobody has seen.
    ///
    /// # Panics
    /// If the system has no random numbers, without which no secret can be made.
    #[must_use]
    pub fn generate() -> Token {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the system gives random numbers");
        Token(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text, for the one who is to have it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a text is as long as a token, and begins like one: not an empty file, nor half of one.
    #[must_use]
    pub fn is_whole(text: &str) -> bool {
        text.starts_with(PREFIX) && text.len() == LENGTH
    }

    /// What is kept of it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What is kept of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of whatever somebody showed.
    #[must_use]
    pub fn of(shown: &str) -> Fingerprint {
        Fingerprint(Sha256::digest(shown.as_bytes()).into())
    }

    /// As it is kept.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From what was kept; nothing if that is not 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Fingerprint> {
        bytes.try_into().ok().map(Fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_are_known_by_their_fingerprints() {
        let (one, other) = (Token::generate(), Token::generate());
        assert_ne!(one.reveal(), other.reveal());
        assert!(Token::is_whole(one.reveal()));
        for less in ["", "cpt_", &one.reveal()[..46], &one.reveal()[1..]] {
            assert!(!Token::is_whole(less), "{less:?}");
        }
        assert_eq!(one.fingerprint(), Fingerprint::of(one.reveal()));
        assert_ne!(one.fingerprint(), other.fingerprint());
        let kept = Fingerprint::from_bytes(one.fingerprint().as_bytes());
        assert_eq!(kept, Some(one.fingerprint()));
        assert_eq!(Fingerprint::from_bytes(&[0; 31]), None);
    }

    #[test]
    fn a_token_is_not_printed_by_accident() {
        let token = Token::generate();
        assert!(!format!("{token:?}").contains(&token.reveal()[4..]));
    }
}
