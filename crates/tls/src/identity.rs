//! What a server shows: a key with its certificate, and the place from which connections take the current one.

use std::sync::{Arc, RwLock};

use counterpart_core::Fingerprint;
use rustls::{
    Error,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{certificate_fingerprint, key_fingerprint, provider};

/// A key and the certificate that belongs to it, checked.
///
/// - The certificate's public key is the key's.
#[derive(Clone, Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    key: Fingerprint,
}

impl Identity {
    /// Puts a chain, the server's own certificate first, and its key together.
    ///
    /// # Errors
    /// The key is of no kind that can be used, is not the certificate's, or the certificate is none.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Identity, Error> {
        let certified = CertifiedKey::from_der(chain, key, &provider())?;
        let key = key_fingerprint(certified.end_entity_cert()?)?;
        Ok(Identity { certified: Arc::new(certified), key })
    }

    /// The server's own certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.certified.cert.first().expect("it was made with a certificate")
    }

    /// The fingerprint of the key, which outlives a renewal.
    #[must_use]
    pub fn key_fingerprint(&self) -> Fingerprint {
        self.key
    }

    /// The fingerprint of the certificate, as browsers show it.
    #[must_use]
    pub fn certificate_fingerprint(&self) -> Fingerprint {
        certificate_fingerprint(self.certificate())
    }
}

/// The identity that a server shows from now on. A handshake takes the one that is there when it begins; connections
/// that exist are not touched by a change.
#[derive(Debug)]
pub struct Shown(RwLock<Identity>);

impl Shown {
    /// Begins with this one.
    #[must_use]
    pub fn new(identity: Identity) -> Shown {
        Shown(RwLock::new(identity))
    }

    /// What is shown now.
    #[must_use]
    pub fn current(&self) -> Identity {
        self.0.read().expect("no holder of this lock panics").clone()
    }

    /// Shows another one from now on.
    pub fn replace(&self, identity: Identity) {
        *self.0.write().expect("no holder of this lock panics") = identity;
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified)
    }
}
