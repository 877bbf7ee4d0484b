//! The control file: the few facts of a server that must survive it, replaced as a whole or not at all.
//!
//! ```text
//!  counterpart-control 1 <xxh3-64 of the body, 16 hexadecimal digits>\n
//!  <body: JSON, readable for people>\n
//! ```
//!
//! The checksum covers everything after the first line. What does not verify is refused, never guessed at: a
//! server that misreads who is principal loses data.
//!
//! The body is filled up with spaces, and the file that is replaced is kept for the next time: a server on a full
//! disk must still be able to start and to say what it is.

use std::{
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::xxh3_64;

use crate::disk::{Disk, read_whole, replace, replace_in_turn};

const WORD: &str = "counterpart-control";
const VERSION: u32 = 1;

/// The length of the file is a multiple of this, in bytes.
const STEP: usize = 16 << 10;

/// A control file whose body is a `T`.
pub struct ControlFile<T> {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// The file that was replaced waits for the next save. Not once a save has failed: which of the two a power failure
    /// would leave under the name is not known then, and neither may be written into.
    in_turn: AtomicBool,
    content: PhantomData<fn(T) -> T>,
}

/// Why a control file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The system could not do something.
    #[error("cannot {doing} {}: {source}", file.display())]
    Io {
        /// What was being done, an infinitive.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's bytes are not what was written.
    #[error(
        "the control file {} is damaged ({reason}); do not delete or edit it: restore it from a backup of this data \
         directory, or set this server up again from its partner (`counterpart mirror start --replace`)",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What does not verify.
        reason: String,
    },
    /// The file was written by a version that this one does not know.
    #[error(
        "the control file {} has format {found}, this version of counterpart reads format {VERSION}; start the \
         version that wrote it, or a newer one",
        file.display()
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
    },
}

impl<T: Serialize + DeserializeOwned> ControlFile<T> {
    /// The control file at `path`, whether it exists or not.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, path: &Path) -> ControlFile<T> {
        ControlFile {
            disk,
            path: path.to_owned(),
            in_turn: AtomicBool::new(true),
            content: PhantomData,
        }
    }

    /// One that is removed after it has served: nothing waits for a next time.
    #[must_use]
    pub(crate) fn passing(disk: Arc<dyn Disk>, path: &Path) -> ControlFile<T> {
        ControlFile { in_turn: AtomicBool::new(false), ..ControlFile::new(disk, path) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says; `None` if there is no such file.
    ///
    /// # Errors
    /// Anything that does not verify.
    pub fn load(&self) -> Result<Option<T>, ControlError> {
        let bytes = match read_whole(&*self.disk, &self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(ControlError::Io { doing: "read", file: self.path.clone(), source });
            }
        };
        let content = self.parse(&bytes)?;
        // A process that was killed in the middle of saving may have left a file that a power failure would still
        // take back; nobody must act on it before it is durable.
        let dir = self.path.parent().unwrap_or(Path::new("."));
        self.disk.sync_dir(dir).map_err(|source| ControlError::Io {
            doing: "sync the directory of",
            file: self.path.clone(),
            source,
        })?;
        Ok(Some(content))
    }

    /// Replaces what it says. When this returns, it is durable; after a crash, the file says the old or the new.
    ///
    /// # Errors
    /// What the system says; the file then has the old content or the new.
    ///
    /// # Panics
    /// If `content` has no JSON form, which is an error of its type.
    pub fn save(&self, content: &T) -> Result<(), ControlError> {
        let mut body = serde_json::to_vec_pretty(content)
            .expect("the content of a control file has a JSON form");
        body.push(b'\n');
        // The checksum has the same number of digits, whatever it is.
        let head = format!("{WORD} {VERSION} {:016x}\n", 0).len();
        body.resize((head + body.len()).next_multiple_of(STEP) - head, b' ');
        let mut bytes = format!("{WORD} {VERSION} {:016x}\n", xxh3_64(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        let put = if self.in_turn.load(Ordering::Acquire) { replace_in_turn } else { replace };
        put(&*self.disk, &self.path, &bytes).map_err(|source| {
            self.in_turn.store(false, Ordering::Release);
            ControlError::Io { doing: "write", file: self.path.clone(), source }
        })
    }

    fn damaged(&self, reason: impl Into<String>) -> ControlError {
        ControlError::Damaged { file: self.path.clone(), reason: reason.into() }
    }

    fn parse(&self, bytes: &[u8]) -> Result<T, ControlError> {
        let end = bytes
            .iter()
            .position(|&b| b == b'\n')
            .ok_or_else(|| self.damaged("it has no first line"))?;
        let line = std::str::from_utf8(&bytes[..end])
            .map_err(|_| self.damaged("its first line is no text"))?;
        let body = &bytes[end + 1..];
        let mut words = line.split(' ');
        if words.next() != Some(WORD) {
            return Err(self.damaged(format!("it does not begin with {WORD:?}")));
        }
        let version: u32 = words
            .next()
            .and_then(|w| w.parse().ok())
            .ok_or_else(|| self.damaged("its version is no number"))?;
        if version != VERSION {
            return Err(ControlError::Version { file: self.path.clone(), found: version });
        }
        // Compared as text, so that a flipped bit in the checksum's own digits (a for A) counts too.
        if words.next() != Some(&format!("{:016x}", xxh3_64(body))) || words.next().is_some() {
            return Err(self.damaged("its checksum does not match"));
        }
        serde_json::from_slice(body).map_err(|error| self.damaged(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::RealDisk;

    fn file(dir: &Path) -> ControlFile<Vec<(String, u64)>> {
        ControlFile::new(Arc::new(RealDisk), &dir.join("control"))
    }

    #[test]
    fn what_was_saved_is_loaded_and_a_missing_file_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let control = file(dir.path());
        assert_eq!(control.load().unwrap(), None);
        for round in 0..3 {
            let content = vec![("ä\n".to_owned(), round)];
            control.save(&content).unwrap();
            assert_eq!(control.load().unwrap(), Some(content));
        }
    }

    #[test]
    fn a_newer_format_is_named_and_not_called_damage() {
        let dir = tempfile::tempdir().unwrap();
        let control = file(dir.path());
        std::fs::write(control.path(), "counterpart-control 2 00\n{}").unwrap();
        assert!(matches!(control.load(), Err(ControlError::Version { found: 2, .. })));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused_with_the_files_name() {
        let dir = tempfile::tempdir().unwrap();
        let control = file(dir.path());
        control.save(&vec![("a".to_owned(), 7)]).unwrap();
        let good = std::fs::read(control.path()).unwrap();
        assert_eq!(good.len() % STEP, 0);
        // All of what says something, and some of what fills up.
        for bit in (0..400 * 8).chain((400 * 8..good.len() * 8).step_by(1_009)) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = control.parse(&bad).unwrap_err().to_string();
            assert!(error.contains("control"), "{error}");
        }
        for length in (0..400).chain((400..good.len()).step_by(509)) {
            assert!(control.parse(&good[..length]).is_err(), "cut to {length} bytes");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let control = file(Path::new("/nowhere"));
            prop_assert!(control.parse(&bytes).is_err());
        }
    }
}
