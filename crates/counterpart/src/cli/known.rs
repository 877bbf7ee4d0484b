//! The TLS keys by which this user knows servers, by their URL, in a file beside the tokens.
//!
//! A key gets there by `counterpart login` alone, and only after somebody vouched for it.

use counterpart_core::{Fingerprint, FingerprintError};

use super::kept::Kept;
use crate::exit::Failure;

const SERVERS: Kept = Kept {
    file: "servers.json",
    what: "fingerprints of servers",
    mend: "mend the file; if it is deleted, each server's key has to be compared again",
    homeless: ["remember a server", "give the server's certificate with --ca-cert"],
};

/// The key by which the server at this URL is known, if it is.
pub fn key_of(url: &str) -> Result<Option<Fingerprint>, Failure> {
    let key = SERVERS.of(url)?.map(|text| text.parse());
    key.transpose().map_err(|error: FingerprintError| SERVERS.invalid(&error))
}

/// Knows the server at this URL by this key from now on.
pub fn remember(url: &str, key: Fingerprint) -> Result<(), Failure> {
    SERVERS.keep(url, key.to_string()).map(drop)
}

/// Does not know the server at this URL any more; whether it was known.
pub fn forget(url: &str) -> Result<bool, Failure> {
    SERVERS.forget(url)
}
