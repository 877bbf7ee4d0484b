//! Positions and identities as types of their own, so that no function takes a bare integer whose
//! meaning the caller must guess.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The sequence number of a journal record: +1 per record, one sequence for the whole server.
///
/// `Lsn::ZERO` is the position before the first record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position before the first record.
    pub const ZERO: Lsn = Lsn(0);

    /// The position right after this one.
    ///
    /// # Panics
    /// At 2^64-1, which a server writing a million records a second reaches after 580,000 years.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0.checked_add(1).expect("an LSN cannot run out in the life of a server"))
    }

    /// The position right before this one; the beginning has none before it and stays.
    #[must_use]
    pub fn before(self) -> Lsn {
        Lsn(self.0.saturating_sub(1))
    }

    /// How many records lie between `earlier` (exclusive) and this position (inclusive); 0 if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({})", self.0)
    }
}

/// A database of this server. Given once by the principal at creation, never given again. 0 is "no database".
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct DatabaseId(pub u32);

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A page of a SQLite database, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageNo(pub u32);

impl fmt::Display for PageNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The size of a database's pages in bytes: a power of two from 512 to 65,536 (SQLite's own limits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PageSize(u8);

impl PageSize {
    /// SQLite's default, 4,096 bytes.
    pub const DEFAULT: PageSize = PageSize(12);

    /// From a size in bytes; `None` unless it is a power of two from 512 to 65,536.
    #[must_use]
    pub fn from_bytes(bytes: u32) -> Option<PageSize> {
        (bytes.is_power_of_two() && (512..=65_536).contains(&bytes))
            .then(|| PageSize(u8::try_from(bytes.trailing_zeros()).expect("at most 16")))
    }

    /// From its binary logarithm, 9 to 16.
    #[must_use]
    pub fn from_log2(log2: u8) -> Option<PageSize> {
        (9..=16).contains(&log2).then_some(PageSize(log2))
    }

    /// The size in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        1 << self.0
    }

    /// The binary logarithm of the size, 9 to 16.
    #[must_use]
    pub fn log2(self) -> u8 {
        self.0
    }

    /// The page that holds byte 2^30, which SQLite uses for locks and never stores.
    #[must_use]
    pub fn lock_page(self) -> PageNo {
        PageNo((1u32 << (30 - u32::from(self.0))) + 1)
    }
}

impl TryFrom<u32> for PageSize {
    type Error = String;
    fn try_from(bytes: u32) -> Result<Self, String> {
        PageSize::from_bytes(bytes).ok_or_else(|| format!("{bytes} is not a page size"))
    }
}

impl From<PageSize> for u32 {
    fn from(size: PageSize) -> u32 {
        1 << size.0
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:016x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                (text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()))
                    .then(|| u64::from_str_radix(text, 16).ok())
                    .flatten()
                    .map($name)
                    .ok_or_else(|| format!("{text:?} is not 16 hexadecimal digits"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { s.serialize_u64(self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
                } else {
                    u64::deserialize(d).map($name)
                }
            }
        }
    };
}

random_id! {
    /// One data directory's identity: random, made at its first start, never changed. 0 is "unknown".
    ServerId
}
random_id! {
    /// One mirroring relation's identity: random, made when mirroring starts. 0 is "none".
    SessionId
}

/// A point in time: microseconds since 1970-01-01T00:00:00Z. Always an argument, never read here.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMicros(pub u64);

/// A database's name: `[a-z0-9][a-z0-9_-]{0,62}`.
///
/// Besides, there is the name of the server's own database, which nobody can write: it comes from the disk and from partners
/// (`TryFrom<String>`), and never from people (`FromStr`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatabaseName(String);

/// Why a text is not a database's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a database name: use 1 to 63 of a-z, 0-9, '_' and '-', starting with a letter or digit"
)]
pub struct DatabaseNameError(pub String);

impl DatabaseName {
    /// The name of the database that exists from the first start.
    #[must_use]
    pub fn main() -> DatabaseName {
        DatabaseName("main".to_owned())
    }

    /// The name of the server's own database.
    #[must_use]
    pub fn system() -> DatabaseName {
        DatabaseName(SYSTEM.to_owned())
    }

    /// Whether it is the server's own database.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0 == SYSTEM
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const SYSTEM: &str = "_system";

impl TryFrom<String> for DatabaseName {
    type Error = DatabaseNameError;
    fn try_from(text: String) -> Result<Self, DatabaseNameError> {
        if text == SYSTEM {
            return Ok(DatabaseName(text));
        }
        text.parse()
    }
}

impl FromStr for DatabaseName {
    type Err = DatabaseNameError;
    fn from_str(text: &str) -> Result<Self, DatabaseNameError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let good = (1..=63).contains(&bytes.len())
            && plain(bytes[0])
            && bytes.iter().all(|&b| plain(b) || b == b'_' || b == b'-');
        if good {
            Ok(DatabaseName(text.to_owned()))
        } else {
            Err(DatabaseNameError(text.to_owned()))
        }
    }
}

impl From<DatabaseName> for String {
    fn from(name: DatabaseName) -> String {
        name.0
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_names_follow_the_rule_and_nothing_else_does() {
        let longest = "a".repeat(63);
        for good in ["main", "0", "a-b_c", longest.as_str()] {
            assert!(good.parse::<DatabaseName>().is_ok(), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "A", "-a", "_a", "a.b", "a/b", "..", "ä", "a b", "a\0", too_long.as_str()]
        {
            assert!(bad.parse::<DatabaseName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nobody_can_write_the_name_of_the_servers_own_database() {
        let system = DatabaseName::system();
        assert!(system.is_system() && !DatabaseName::main().is_system());
        assert_eq!(DatabaseName::try_from(String::from(system.clone())), Ok(system.clone()));
        assert!(system.as_str().parse::<DatabaseName>().is_err());
    }

    #[test]
    fn page_sizes_are_sqlites_and_the_lock_page_holds_byte_two_to_the_thirtieth() {
        assert_eq!(PageSize::from_bytes(4096), Some(PageSize::DEFAULT));
        for bad in [0, 1, 256, 1000, 131_072] {
            assert_eq!(PageSize::from_bytes(bad), None);
        }
        for log2 in 9..=16 {
            let size = PageSize::from_log2(log2).unwrap();
            let first_byte = u64::from(size.lock_page().0 - 1) * size.bytes() as u64;
            assert_eq!(first_byte, 1 << 30);
        }
    }

    #[test]
    fn identities_read_back_what_they_print() {
        let id = ServerId(0x00ab_cdef_0123_4567);
        assert_eq!(id.to_string().parse::<ServerId>(), Ok(id));
        assert!("xyz".parse::<ServerId>().is_err());
    }
}
