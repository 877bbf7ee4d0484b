//! Who vouches for a server that is reached with TLS, and what is said when nobody does.
//!
//! The first of these decides: the file of `--ca-cert`; what `counterpart login` remembered of the server; on the server's
//! own machine, the certificate beside the token file of `COUNTERPART_TOKEN_FILE`; the system's authorities.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::Args;
use counterpart_core::Fingerprint;
use counterpart_tls::{CERTIFICATE_FILE, DIRECTORY, Files, KEY_FILE, Trust, TrustError, Untrusted};

use super::known;
use crate::exit::{Exit, Failure};

/// Whose certificates count, if somebody says so.
#[derive(Args, Clone, Debug, Default)]
pub struct CaCert {
    /// Trust servers for which the certificates in this PEM file vouch, and no others
    #[arg(long, value_name = "FILE", env = "COUNTERPART_CA_CERT", hide_env_values = true)]
    pub ca_cert: Option<PathBuf>,
}

/// Who vouches for one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// The operator, who names the key.
    Told(Fingerprint),
    /// The authorities in this file.
    File(PathBuf),
    /// An earlier `login`.
    Remembered(Fingerprint),
    /// This machine: it has the key of the server whose data directory was named. Others may be asked as well.
    Here(Fingerprint),
    /// The system's authorities.
    System,
}

impl Voucher {
    /// Who vouches for the server at this URL.
    pub fn of(url: &str, given: &CaCert) -> Result<Voucher, Failure> {
        if !url.starts_with("https://") {
            return Ok(Voucher::System);
        }
        if let Some(file) = given.ca_cert.as_ref().filter(|file| !file.as_os_str().is_empty()) {
            return Ok(Voucher::File(file.clone()));
        }
        if let Some(key) = known::key_of(url)? {
            return Ok(Voucher::Remembered(key));
        }
        let token = env::var_os("COUNTERPART_TOKEN_FILE").map(PathBuf::from);
        Ok(token.and_then(|file| Voucher::beside(&file)).unwrap_or(Voucher::System))
    }

    /// The server in whose data directory this token file is, if it is in one.
    pub fn beside(token: &Path) -> Option<Voucher> {
        let directory = token.parent()?.join(DIRECTORY);
        // Whoever can read the key as well is on the server's machine, and is its user.
        let files =
            Files { certificate: directory.join(CERTIFICATE_FILE), key: directory.join(KEY_FILE) };
        let identity = files.load().ok()?;
        Some(Voucher::Here(identity.key_fingerprint()))
    }

    /// Whether a server that this does not cover may still be the right one, if the operator says so.
    pub fn leaves_it_open(&self) -> bool {
        matches!(self, Voucher::Here(_) | Voucher::System)
    }

    /// What a connection verifies with.
    pub fn trust(&self) -> Result<Trust, Failure> {
        match self {
            Voucher::Told(key) | Voucher::Remembered(key) => Ok(Trust::key(*key)),
            Voucher::Here(key) => {
                let key = *key;
                Ok(Trust::keys_or_system(Box::new(move |shown| *shown == key)))
            }
            Voucher::File(file) => Trust::file(file).map_err(|error| {
                let code = match &error {
                    TrustError::File(error) => error.code(),
                    TrustError::Unusable { .. } => "TLS_FILE_UNUSABLE",
                };
                let remedy =
                    "give a file with certificates in PEM (--ca-cert or COUNTERPART_CA_CERT)";
                Failure::new(Exit::LocalFile, code, error.to_string(), remedy)
            }),
            Voucher::System => Ok(Trust::system()),
        }
    }

    /// Nobody vouches for the server at `url`.
    pub fn refused(&self, url: &str, untrusted: &Untrusted) -> Failure {
        let Untrusted { shown, why } = untrusted;
        let changed = |known: &Fingerprint, known_how: &str, remedy: String| {
            let what = format!(
                "the server at {url} has another TLS key than {known_how}: it shows {shown}, and {known} is expected; \
                 somebody may have put himself between you and the server"
            );
            Failure::new(Exit::NotAServer, "CERTIFICATE_CHANGED", what, remedy)
        };
        let compared = format!(
            "compare {shown} with the fingerprint in the server's log or in `counterpart status` on its machine; if they are the same, run \
             `counterpart login --server {url} --fingerprint {shown}`"
        );
        match self {
            Voucher::Remembered(key) => changed(
                key,
                "the one that was remembered",
                format!("do not go on before you know why; {compared}"),
            ),
            Voucher::Told(key) => changed(
                key,
                "the one that was given",
                "check the fingerprint, and whether this is the right server".to_owned(),
            ),
            Voucher::File(file) => Failure::new(
                Exit::NotAServer,
                "CERTIFICATE_UNTRUSTED",
                format!("{} does not vouch for the server at {url}: {why}", file.display()),
                "give the file of the authority that signed the server's certificate, and use a name that is in it",
            ),
            Voucher::Here(_) | Voucher::System => Failure::new(
                Exit::NotAServer,
                "CERTIFICATE_UNTRUSTED",
                format!(
                    "nobody vouches for the server at {url}: {why}; its key has the fingerprint {shown}"
                ),
                format!("{compared}; or name its authority with --ca-cert FILE"),
            ),
        }
    }
}
