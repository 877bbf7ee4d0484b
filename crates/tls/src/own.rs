//! The certificate that a server makes for itself, where it was given none: one key for good, and a certificate that is
//! made anew from it before it ends, or when the server is reached by another name.
//!
//! Whoever remembers the key's fingerprint notices nothing of that. Nothing here makes a key where there is one already:
//! a key that can't be used is a failure, since a new one would turn everybody away who knows the old one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use counterpart_core::Fingerprint;
use counterpart_journal::{Disk, RealDisk, atomic_write, write_private};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{IpAddr, ServerName, UnixTime},
};
use time::OffsetDateTime;

use crate::{FileError, Files, Identity, later, provider};

/// The directory for both, in the data directory.
pub const DIRECTORY: &str = "tls";
/// The certificate in it, which may be handed out.
pub const CERTIFICATE_FILE: &str = "cert.pem";
/// The key in it, which may not.
pub const KEY_FILE: &str = "key.pem";

/// A certificate is made for so long: browsers refuse those for more than 398 days.
const DAYS: u64 = 397;
/// And made anew so long before it ends.
const RENEWED_BEFORE: u64 = 30;
/// It holds from a day before it was made: clocks differ.
const BACKDATED: u64 = 1;

/// Why a server has no certificate of its own.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// What is there can't be used.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The key is of another kind than those that are made here.
    #[error("{} is not a key that this server has made: {cause}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rcgen::Error,
    },
    /// A file can't be written.
    #[error("{} can't be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// No certificate can be made.
    #[error("a certificate can't be made: {0}")]
    Make(rcgen::Error),
}

/// The key and certificate that a server keeps in its data directory.
#[derive(Clone, Debug)]
pub struct Own {
    files: Files,
    names: Vec<ServerName<'static>>,
}

impl Own {
    /// In this data directory, for these names and addresses beside those of the machine itself. What is no name that
    /// a certificate can hold is left out.
    #[must_use]
    pub fn new<'a>(data: &Path, names: impl IntoIterator<Item = &'a str>) -> Own {
        let directory = data.join(DIRECTORY);
        let all = ["localhost", "127.0.0.1", "::1"].into_iter().chain(names);
        let mut own = Own {
            files: Files {
                certificate: directory.join(CERTIFICATE_FILE),
                key: directory.join(KEY_FILE),
            },
            names: Vec::new(),
        };
        for name in all.filter_map(|name| ServerName::try_from(name).ok()) {
            if !own.names.contains(&name) {
                own.names.push(name.to_owned());
            }
        }
        own
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// What is there, made or made anew if need be; and whether it was.
    ///
    /// # Errors
    /// [`OwnError`].
    pub fn keep(&self, now: UnixTime) -> Result<(Identity, bool), OwnError> {
        if self.files.key.exists() && self.files.certificate.exists() {
            let there = self.files.load();
            match there {
                Ok(identity) if self.holds(&identity, now) => return Ok((identity, false)),
                // A certificate is made again from its key, whatever became of it.
                Ok(_)
                | Err(
                    FileError::NotPem { .. } | FileError::Mismatch(_) | FileError::Unusable { .. },
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let key = self.key()?;
        let certificate = self.certificate(&key, now).map_err(OwnError::Make)?;
        let path = &self.files.certificate;
        atomic_write(path, certificate.as_bytes())
            .map_err(|cause| OwnError::Write { path: path.clone(), cause })?;
        Ok((self.files.load()?, true))
    }

    /// Whether a client that trusts exactly this certificate would accept it by each name, now and when the time to renew
    /// it has come.
    fn holds(&self, identity: &Identity, now: UnixTime) -> bool {
        let mut roots = RootCertStore::empty();
        if roots.add(identity.certificate().clone()).is_err() {
            return false;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build();
        let Ok(verifier) = verifier else { return false };
        let accepts = |name: &ServerName<'_>, at| {
            verifier.verify_server_cert(identity.certificate(), &[], name, &[], at).is_ok()
        };
        let moments = [now, later(now, RENEWED_BEFORE)];
        self.names.iter().all(|name| moments.iter().all(|&at| accepts(name, at)))
    }

    /// The key that is there, or a new one where there is none.
    fn key(&self) -> Result<KeyPair, OwnError> {
        let path = &self.files.key;
        match fs::read_to_string(path) {
            Ok(text) => KeyPair::from_pem(&text)
                .map_err(|cause| OwnError::Key { path: path.clone(), cause }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate().map_err(OwnError::Make)?;
                let directory = path.parent().expect("it was joined to a directory");
                RealDisk
                    .create_dir(directory)
                    .and_then(|()| write_private(path, key.serialize_pem().as_bytes()))
                    .map_err(|cause| OwnError::Write { path: path.clone(), cause })?;
                Ok(key)
            }
            Err(cause) => Err(FileError::Unreadable { path: path.clone(), cause }.into()),
        }
    }

    fn certificate(&self, key: &KeyPair, now: UnixTime) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::default();
        // Told apart by its key, so that those of several servers can be trusted side by side.
        let key_is = crate::sha256(&key.subject_public_key_info());
        let name = format!("Counterpart server {}", short(&key_is));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = self.names.iter().map(san).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let moment = |at: u64| {
            let seconds = i64::try_from(at).unwrap_or(i64::MAX);
            OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
        };
        params.not_before = moment(now.as_secs().saturating_sub(BACKDATED * 24 * 60 * 60));
        params.not_after = moment(later(now, DAYS - BACKDATED).as_secs());
        Ok(params.self_signed(key)?.pem())
    }
}

fn san(name: &ServerName<'_>) -> Result<SanType, rcgen::Error> {
    Ok(match name {
        ServerName::IpAddress(IpAddr::V4(address)) => {
            SanType::IpAddress(std::net::Ipv4Addr::from(*address.as_ref()).into())
        }
        ServerName::IpAddress(IpAddr::V6(address)) => {
            SanType::IpAddress(std::net::Ipv6Addr::from(*address.as_ref()).into())
        }
        other => SanType::DnsName(other.to_str().as_ref().try_into()?),
    })
}

/// The first digits of a fingerprint.
fn short(of: &Fingerprint) -> String {
    of.to_string()[..16].to_owned()
}

/// This machine's name.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn at(days: u64) -> UnixTime {
        later(UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW)), days)
    }

    #[test]
    fn the_first_start_makes_both_and_later_ones_keep_them_until_the_end_is_near() {
        let data = tempfile::tempdir().unwrap();
        let own = Own::new(data.path(), ["db1", "10.0.0.7", "fd00::7", "not a name", "db1"]);
        let (first, made) = own.keep(at(0)).unwrap();
        assert!(made);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&own.files().key), 0o600);
        let (same, made) = own.keep(at(365)).unwrap();
        assert!(!made);
        assert_eq!(same.certificate(), first.certificate());
        let (renewed, made) = own.keep(at(367)).unwrap();
        assert!(made);
        assert_eq!(renewed.key_fingerprint(), first.key_fingerprint());
        assert_ne!(renewed.certificate_fingerprint(), first.certificate_fingerprint());
        // The clock was a year ahead.
        assert!(own.keep(at(0)).unwrap().1);
    }

    #[test]
    fn another_name_makes_another_certificate_for_the_same_key() {
        let data = tempfile::tempdir().unwrap();
        let first = Own::new(data.path(), ["db1"]).keep(at(0)).unwrap().0;
        let (other, made) = Own::new(data.path(), ["db1", "10.0.0.8"]).keep(at(0)).unwrap();
        assert!(made);
        assert_eq!(other.key_fingerprint(), first.key_fingerprint());
        // A name less needs no other.
        assert!(!Own::new(data.path(), []).keep(at(0)).unwrap().1);
    }

    #[test]
    fn a_lost_or_spoilt_certificate_is_made_again_and_a_spoilt_key_is_not() {
        let data = tempfile::tempdir().unwrap();
        let own = Own::new(data.path(), []);
        let first = own.keep(at(0)).unwrap().0;
        for spoil in [None, Some("")] {
            fs::remove_file(&own.files().certificate).unwrap();
            if let Some(text) = spoil {
                fs::write(&own.files().certificate, text).unwrap();
            }
            let (again, made) = own.keep(at(1)).unwrap();
            assert!(made);
            assert_eq!(again.key_fingerprint(), first.key_fingerprint());
        }
        fs::write(&own.files().key, "spoilt").unwrap();
        assert!(matches!(own.keep(at(1)).unwrap_err(), OwnError::Key { .. }));
        assert_eq!(fs::read_to_string(&own.files().key).unwrap(), "spoilt");
    }
}
