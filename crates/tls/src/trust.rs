//! Whom somebody who connects takes for the server that was meant: one who shows a known key, or a certificate that an
//! authority vouches for. There is no third way.

use std::{
    fmt,
    path::Path,
    sync::{Arc, OnceLock},
};

use counterpart_core::Fingerprint;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{FileError, files, key_fingerprint, provider};

/// Says whether a key is known.
pub type KnownKeys = Box<dyn Fn(&Fingerprint) -> bool + Send + Sync>;

/// Who vouches for a server. Verifies what the server shows, also that it has the key.
pub struct Trust {
    /// Servers with such a key are who they should be, whatever their certificates say of names and times.
    keys: KnownKeys,
    authorities: Authorities,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Whose signature counts.
enum Authorities {
    Nobody,
    These(Arc<WebPkiServerVerifier>),
    /// Read when first asked for: there are many, and most connections don't need them.
    System(OnceLock<Option<Arc<WebPkiServerVerifier>>>),
}

/// Certificates can't be taken for those of authorities.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in it.
    #[error("{path} holds a certificate that can't be used: {cause}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong.
        cause: Error,
    },
}

/// Nobody vouches for the server that answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody vouches for its certificate, whose key has the fingerprint {shown}: {why}")]
pub struct Untrusted {
    /// The fingerprint of the key that it showed.
    pub shown: Fingerprint,
    /// Why, in words.
    pub why: String,
}

impl Untrusted {
    /// What a handshake failed with, if it was this.
    #[must_use]
    pub fn in_error(error: &Error) -> Option<&Untrusted> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                other.downcast_ref()
            }
            _ => None,
        }
    }
}

impl Trust {
    /// Only the server that has this key.
    #[must_use]
    pub fn key(key: Fingerprint) -> Trust {
        Trust::new(Box::new(move |shown| *shown == key), Authorities::Nobody)
    }

    /// Servers for which the authorities of this PEM file vouch.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn file(path: &Path) -> Result<Trust, TrustError> {
        let mut roots = RootCertStore::empty();
        let unusable = |cause| TrustError::Unusable { path: path.display().to_string(), cause };
        for certificate in files::certificates(path)? {
            roots.add(certificate).map_err(unusable)?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
            .build()
            .expect("there is one root at least");
        Ok(Trust::new(Box::new(|_| false), Authorities::These(verifier)))
    }

    /// Servers for which the system's authorities vouch.
    #[must_use]
    pub fn system() -> Trust {
        Trust::keys_or_system(Box::new(|_| false))
    }

    /// Servers whose key is known, and those for which the system's authorities vouch.
    #[must_use]
    pub fn keys_or_system(keys: KnownKeys) -> Trust {
        Trust::new(keys, Authorities::System(OnceLock::new()))
    }

    fn new(keys: KnownKeys, authorities: Authorities) -> Trust {
        let algorithms = provider().signature_verification_algorithms;
        Trust { keys, authorities, algorithms }
    }

    fn vouched(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), String> {
        let verifier = match &self.authorities {
            Authorities::Nobody => return Err("it is not the key that is known".to_owned()),
            Authorities::These(verifier) => verifier,
            Authorities::System(system) => system
                .get_or_init(system_verifier)
                .as_ref()
                .ok_or("this system knows no authorities")?,
        };
        match verifier.verify_server_cert(certificate, others, name, &[], now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(why)) => Err(in_words(&why)),
            Err(other) => Err(other.to_string()),
        }
    }
}

/// What is most often wrong, as people say it.
fn in_words(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "it is signed by no authority that is trusted here".to_owned()
        }
        other => other.to_string(),
    }
}

fn system_verifier() -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // Without a single root there is nobody who could vouch.
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().ok()
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.authorities {
            Authorities::Nobody => "Trust(key)",
            Authorities::These(_) => "Trust(file)",
            Authorities::System(_) => "Trust(system)",
        })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = key_fingerprint(end_entity)?;
        if !(self.keys)(&shown) {
            self.vouched(end_entity, intermediates, server_name, now).map_err(|why| {
                let untrusted = OtherError(Arc::new(Untrusted { shown, why }));
                Error::InvalidCertificate(CertificateError::Other(untrusted))
            })?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConnection, ServerConnection};

    use super::*;
    use crate::{Own, Shown, client_config, server_config};

    /// A handshake in memory, by this name.
    fn shakes_hands(trust: Trust, shown: &Arc<Shown>, name: &str) -> Result<(), Error> {
        let name = ServerName::try_from(name).unwrap().to_owned();
        let mut client = ClientConnection::new(client_config(trust), name).unwrap();
        let mut server = ServerConnection::new(server_config(shown)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    fn own(data: &Path) -> (Own, Arc<Shown>) {
        let own = Own::new(data, ["db1"]);
        // The real clock is used by the verifier; the certificate has to hold now.
        let (identity, _) = own.keep(UnixTime::now()).unwrap();
        (own, Arc::new(Shown::new(identity)))
    }

    #[test]
    fn a_known_key_is_enough_and_an_unknown_one_is_refused_and_told() {
        let data = tempfile::tempdir().unwrap();
        let (_, shown) = own(data.path());
        let key = shown.current().key_fingerprint();
        shakes_hands(Trust::key(key), &shown, "whatever.example").unwrap();
        let other = Trust::key(Fingerprint([7; 32]));
        let error = shakes_hands(other, &shown, "localhost").unwrap_err();
        assert_eq!(Untrusted::in_error(&error).unwrap().shown, key);
    }

    #[test]
    fn the_system_does_not_vouch_for_what_a_server_made_itself() {
        let data = tempfile::tempdir().unwrap();
        let (_, shown) = own(data.path());
        let error = shakes_hands(Trust::system(), &shown, "localhost").unwrap_err();
        assert!(Untrusted::in_error(&error).is_some(), "{error}");
        let key = shown.current().key_fingerprint();
        let known = Trust::keys_or_system(Box::new(move |shown| *shown == key));
        shakes_hands(known, &shown, "whatever.example").unwrap();
    }

    #[test]
    fn a_certificate_as_its_own_authority_holds_for_its_names_only() {
        let data = tempfile::tempdir().unwrap();
        let (own, shown) = own(data.path());
        for name in ["localhost", "127.0.0.1", "::1", "db1"] {
            shakes_hands(Trust::file(&own.files().certificate).unwrap(), &shown, name).unwrap();
        }
        let trust = Trust::file(&own.files().certificate).unwrap();
        let error = shakes_hands(trust, &shown, "db2").unwrap_err();
        assert!(Untrusted::in_error(&error).is_some(), "{error}");
        assert!(Trust::file(&own.files().key).is_err());
    }

    #[test]
    fn a_known_certificate_without_its_key_is_of_no_use() {
        let (data, thief) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((_, shown), (_, other)) = (own(data.path()), own(thief.path()));
        // The stolen certificate with another key is refused before it can be shown.
        let key = std::fs::read(thief.path().join("tls/key.pem")).unwrap();
        let key = <rustls::pki_types::PrivateKeyDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&key).unwrap();
        let stolen = crate::Identity::new(vec![shown.current().certificate().clone()], key);
        assert!(stolen.is_err());
        let known = Trust::key(shown.current().key_fingerprint());
        assert!(shakes_hands(known, &other, "localhost").is_err());
    }

    #[test]
    fn a_replaced_identity_is_shown_from_then_on() {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ((_, shown), (_, second)) = (own(data.path()), own(other.path()));
        let (old, new) = (shown.current().key_fingerprint(), second.current().key_fingerprint());
        shakes_hands(Trust::key(old), &shown, "localhost").unwrap();
        shown.replace(second.current());
        shakes_hands(Trust::key(new), &shown, "localhost").unwrap();
        assert!(shakes_hands(Trust::key(old), &shown, "localhost").is_err());
    }
}
