//! The TLS keys by which this user knows servers, by their URL, in a file beside the tokens.
//!
//! A key gets there by `counterpart login` alone, and only after somebody vouched for it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use counterpart_core::Fingerprint;
use counterpart_journal::write_private;

use super::credentials;
use crate::exit::{Exit, Failure};

/// The file.
const SERVERS: &str = "servers.json";

/// Fingerprints as texts, by the server's URL.
type Known = BTreeMap<String, String>;

/// The key by which the server at this URL is known, if it is.
pub fn key_of(url: &str) -> Result<Option<Fingerprint>, Failure> {
    let Some((file, mut known)) = load()? else { return Ok(None) };
    let key = known.remove(url).map(|text| text.parse());
    key.transpose().map_err(|error: counterpart_core::FingerprintError| invalid(&file, &error))
}

/// Knows the server at this URL by this key from now on.
pub fn remember(url: &str, key: Fingerprint) -> Result<PathBuf, Failure> {
    let Some((file, mut known)) = load()? else {
        return Err(Failure::new(
            Exit::LocalFile,
            "CREDENTIALS_HOMELESS",
            "there is nowhere to remember a server: neither HOME nor XDG_CONFIG_HOME is set",
            "set one of them, or give the server's certificate with --ca-cert",
        ));
    };
    known.insert(url.to_owned(), key.to_string());
    store(&file, &known)?;
    Ok(file)
}

/// Does not know the server at this URL any more; whether it was known.
pub fn forget(url: &str) -> Result<bool, Failure> {
    let Some((file, mut known)) = load()? else { return Ok(false) };
    let was = known.remove(url).is_some();
    if was {
        store(&file, &known)?;
    }
    Ok(was)
}

fn load() -> Result<Option<(PathBuf, Known)>, Failure> {
    let Some(file) = credentials::place(SERVERS) else { return Ok(None) };
    let known = match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| invalid(&file, &error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Known::new(),
        Err(error) => return Err(Failure::local_file("read", &file, &error)),
    };
    Ok(Some((file, known)))
}

fn store(file: &Path, known: &Known) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(known).expect("texts are JSON");
    let directory = file.parent().expect("it was joined to a directory");
    let written = fs::create_dir_all(directory).and_then(|()| write_private(file, &text));
    written.map_err(|error| Failure::local_file("write", file, &error))
}

fn invalid(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::LocalFile,
        "CREDENTIALS_INVALID",
        format!("{} does not hold fingerprints of servers: {error}", file.display()),
        "mend the file; if it is deleted, each server's key has to be compared again",
    )
}
