//! Everything of TLS that servers and those who connect to them share: the provider of cryptography, keys and
//! certificates, how they are kept and replaced, fingerprints, and who trusts whom.
//!
//! It never opens a socket, reads a clock or decides what is served. Whoever connects always verifies: there is no way
//! here to go without.

mod files;
mod identity;
mod own;
mod trust;

use std::sync::Arc;

use counterpart_core::Fingerprint;
use rustls::{
    ClientConfig, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};
use sha2::{Digest, Sha256};

pub use files::{FileError, Files, Stamp};
pub use identity::{Identity, Shown};
pub use own::{CERTIFICATE_FILE, DIRECTORY, KEY_FILE, Own, OwnError, host_name};
pub use rustls;
pub use trust::{KnownKeys, Trust, TrustError, Untrusted};

/// The protocol inside TLS: HTTP/1.1, whose upgrade WebSockets need.
const ALPN: &[u8] = b"http/1.1";

/// The one provider of cryptography. Always named, never a process-wide default that somebody else may have set.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How to serve with whatever `shown` holds at the moment: TLS 1.3 and 1.2.
#[must_use]
pub fn server_config(shown: &Arc<Shown>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(shown) as _);
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// How to connect to a server that `trust` has to vouch for.
#[must_use]
pub fn client_config(trust: Trust) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// The fingerprint of a certificate's public key.
///
/// # Errors
/// The bytes are not a certificate.
pub fn key_fingerprint(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
    let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(sha256(key.as_ref()))
}

/// The fingerprint of a whole certificate, as browsers show it.
#[must_use]
pub fn certificate_fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    sha256(certificate.as_ref())
}

fn sha256(bytes: &[u8]) -> Fingerprint {
    Fingerprint(Sha256::digest(bytes).into())
}

/// A moment some days later.
fn later(now: UnixTime, days: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_secs() + days * 24 * 60 * 60))
}
