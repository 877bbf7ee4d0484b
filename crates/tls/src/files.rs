//! A certificate and its key in two PEM files that an operator keeps, and how to see that they were replaced.
//!
//! Messages name the files and never what is in them.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustls::{
    Error, InconsistentKeys,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use crate::Identity;

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and after it those between it and its authority's; PEM.
    pub certificate: PathBuf,
    /// Its key; PEM, in PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why two files are no certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file is not there.
    #[error("there is no file {}", .0.display())]
    NotFound(PathBuf),
    /// A file can't be read.
    #[error("{} can't be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file holds no PEM of what it should hold.
    #[error("{} holds no {what} in PEM", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key is not the certificate's.
    #[error("the key in {} is not that of the certificate in {}", .0.key.display(), .0.certificate.display())]
    Mismatch(Files),
    /// Both are PEM, and of no use all the same.
    #[error("{} and {} can't be used: {cause}", files.certificate.display(), files.key.display())]
    Unusable {
        /// The files.
        files: Files,
        /// What is wrong, without anything of the key.
        cause: Error,
    },
}

impl FileError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            FileError::NotFound(_) => "TLS_FILE_NOT_FOUND",
            FileError::Unreadable { .. } => "TLS_FILE_UNREADABLE",
            FileError::NotPem { .. } => "TLS_FILE_NOT_PEM",
            FileError::Mismatch(_) => "TLS_KEY_MISMATCH",
            FileError::Unusable { .. } => "TLS_FILE_UNUSABLE",
        }
    }
}

/// What shows that one of the files was replaced or rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp([Option<FileStamp>; 2]);

/// Which file it is, when it was written, and its size.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    file: (u64, u64),
    written: (i64, i64),
    size: u64,
}

impl Files {
    /// Reads and checks both.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load(&self) -> Result<Identity, FileError> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|_| FileError::NotPem { path: self.key.clone(), what: "private key" })?;
        Identity::new(chain, key).map_err(|cause| match cause {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                FileError::Mismatch(self.clone())
            }
            cause => FileError::Unusable { files: self.clone(), cause },
        })
    }

    /// Changes whenever one of the files does.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp([&self.certificate, &self.key].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some(FileStamp {
                file: (found.dev(), found.ino()),
                written: (found.mtime(), found.mtime_nsec()),
                size: found.size(),
            })
        }))
    }

    /// Whether others on this machine than its owner and its group may read the key.
    #[must_use]
    pub fn key_is_exposed(&self) -> bool {
        fs::metadata(&self.key).is_ok_and(|found| found.mode() & 0o004 != 0)
    }
}

/// The certificates in a PEM file: at least one.
///
/// # Errors
/// [`FileError`].
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let not_pem = || FileError::NotPem { path: path.to_owned(), what: "certificate" };
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(not_pem)
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => FileError::NotFound(path.to_owned()),
        _ => FileError::Unreadable { path: path.to_owned(), cause },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        _directory: tempfile::TempDir,
        files: Files,
    }

    /// Two files of a pair that rcgen made.
    fn case() -> Case {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let files = Files { certificate: path("cert.pem"), key: path("key.pem") };
        let (certificate, key) = pair();
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        Case { _directory: directory, files }
    }

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["db.example".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_pair_is_read_and_each_thing_that_may_be_wrong_has_its_code() {
        let Case { _directory, files } = case();
        files.load().unwrap();
        let (good_certificate, good_key) =
            (fs::read(&files.certificate).unwrap(), fs::read(&files.key).unwrap());
        let code = |files: &Files| {
            let error = files.load().unwrap_err();
            let text = error.to_string();
            let named = [&files.certificate, &files.key]
                .iter()
                .any(|path| text.contains(path.to_str().unwrap()));
            assert!(named && !text.contains("PRIVATE"), "{text}");
            error.code()
        };
        fs::write(&files.key, pair().1).unwrap();
        assert_eq!(code(&files), "TLS_KEY_MISMATCH");
        fs::write(&files.key, "secret").unwrap();
        assert_eq!(code(&files), "TLS_FILE_NOT_PEM");
        fs::write(&files.key, &good_certificate).unwrap();
        assert_eq!(code(&files), "TLS_FILE_NOT_PEM");
        fs::remove_file(&files.key).unwrap();
        assert_eq!(code(&files), "TLS_FILE_NOT_FOUND");
        fs::create_dir(&files.key).unwrap();
        assert_eq!(code(&files), "TLS_FILE_UNREADABLE");
        fs::remove_dir(&files.key).unwrap();
        fs::write(&files.key, &good_key).unwrap();
        fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert_eq!(code(&files), "TLS_FILE_NOT_PEM");
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(&files.certificate, empty).unwrap();
        assert_eq!(code(&files), "TLS_FILE_UNUSABLE");
    }

    #[test]
    fn a_replaced_or_rewritten_file_changes_the_stamp() {
        let Case { _directory, files } = case();
        let first = files.stamp();
        assert_eq!(files.stamp(), first);
        let other = files.key.with_extension("new");
        fs::write(&other, fs::read(&files.key).unwrap()).unwrap();
        fs::remove_file(&files.key).unwrap();
        let gone = files.stamp();
        assert_ne!(gone, first);
        fs::copy(&other, &files.key).unwrap();
        assert_ne!(files.stamp(), gone);
    }

    #[test]
    fn a_key_that_everybody_may_read_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let Case { _directory, files } = case();
        for (mode, exposed) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(files.key_is_exposed(), exposed, "{mode:o}");
        }
    }
}
