//! Passwords: what somebody can remember, and what is kept of it.
//!
//! What is kept is an argon2id hash with a salt of its own, in the usual text form, which names its parameters: they can grow
//! later, and what was kept before stays good. Making one, and comparing with one, takes tens of milliseconds and 19 MiB on
//! purpose; it must not be done on a thread that serves others.

use std::fmt;

use argon2::{
    Algorithm, Argon2, Params, PasswordHash as Phc, PasswordHasher, PasswordVerifier, Version,
    password_hash::SaltString,
};

/// Memory in KiB, passes and lanes: what OWASP's Password Storage Cheat Sheet asks of argon2id at least.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Bytes of a password at least. Shorter ones are in every list of those that are tried first.
const SHORTEST: usize = 8;

/// And at most: enough for any sentence, and no work for whoever sends more.
const LONGEST: usize = 1024;

/// What nobody's password is compared with when there is no such user, so that this takes as long as if there were.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why something is no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It is too short.
    #[error("a password has at least {SHORTEST} bytes")]
    Short,
    /// It is too long.
    #[error("a password has at most {LONGEST} bytes")]
    Long,
}

/// A password that somebody chose. It is kept nowhere.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// A password, if it may be one.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn new(text: String) -> Result<Password, PasswordError> {
        match text.len() {
            0..SHORTEST => Err(PasswordError::Short),
            SHORTEST..=LONGEST => Ok(Password(text)),
            _ => Err(PasswordError::Long),
        }
    }

    /// What is kept of it, another one each time. Slow.
    ///
    /// # Panics
    /// If the system has no random numbers, without which no secret can be made.
    #[must_use]
    pub fn hash(&self) -> PasswordHash {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).expect("the system gives random numbers");
        let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
        let hash = hasher().hash_password(self.0.as_bytes(), &salt);
        PasswordHash(
            hash.expect("a password and a salt of these lengths can be hashed").to_string(),
        )
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, LANES, None).expect("the parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// What is kept of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// From what was kept.
    #[must_use]
    pub fn from_kept(text: &str) -> Option<PasswordHash> {
        Phc::new(text).is_ok().then(|| PasswordHash(text.to_owned()))
    }

    /// As it is kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether what somebody tries is the password of which this was kept. Slow, and as slow if there is nothing to compare with. The
/// comparison takes the same time whatever is tried.
#[must_use]
pub fn is_password(kept: Option<&PasswordHash>, tried: &str) -> bool {
    let text = kept.map_or(NOBODY, PasswordHash::as_str);
    let parsed = Phc::new(text).expect("what is kept was parsed before");
    // Nothing hashes to what nobody has, as far as anybody knows; and it would not help.
    let equal = hasher().verify_password(tried.as_bytes(), &parsed).is_ok();
    equal && kept.is_some() && tried.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_which_is_another_one_each_time() {
        let password = Password::new("correct horse".to_owned()).unwrap();
        let (one, other) = (password.hash(), password.hash());
        assert_ne!(one, other);
        assert!(is_password(Some(&one), "correct horse"));
        assert!(is_password(Some(&other), "correct horse"));
        for wrong in ["", "correct horsf", "correct horse "] {
            assert!(!is_password(Some(&one), wrong), "{wrong:?}");
        }
        assert_eq!(PasswordHash::from_kept(one.as_str()), Some(one.clone()));
        assert!(!one.as_str().contains("horse") && !format!("{password:?}").contains("horse"));
    }

    #[test]
    fn what_is_compared_with_for_nobody_takes_the_same_work() {
        let parameters = |text: &str| text.rsplitn(3, '$').last().map(str::to_owned);
        let real = Password::new("correct horse".to_owned()).unwrap().hash();
        assert_eq!(parameters(NOBODY), parameters(real.as_str()));
        assert_eq!(NOBODY.len(), real.as_str().len());
        assert!(PasswordHash::from_kept(NOBODY).is_some());
        assert!(!is_password(None, "correct horse"));
    }

    #[test]
    fn what_is_no_password_is_refused_by_its_cause() {
        let new = |length: usize| Password::new("x".repeat(length)).map(drop);
        assert_eq!(new(7), Err(PasswordError::Short));
        assert_eq!([new(8), new(1024)], [Ok(()), Ok(())]);
        assert_eq!(new(1025), Err(PasswordError::Long));
        for text in ["", "x", "$argon2id$v=19$m=19456,t=2,p=1$AAAA"] {
            // A salt without a hash parses, and fits no password.
            let kept = PasswordHash::from_kept(text);
            assert!(kept.is_none_or(|kept| !is_password(Some(&kept), "x")), "{text:?}");
        }
    }
}
