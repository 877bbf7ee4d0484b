//! The tokens that `counterpart login` keeps, by server, in a file that only its owner can read.
//!
//! Which token a command shows, first match wins: `COUNTERPART_TOKEN`; what is kept for the server; the file that
//! `COUNTERPART_TOKEN_FILE` names, as a server's own `admin.token`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::kept::Kept;
use crate::exit::Failure;

const TOKENS: Kept = Kept {
    file: "tokens.json",
    what: "tokens",
    mend: "delete the file and log in again",
    homeless: ["keep a token", "give the token in COUNTERPART_TOKEN"],
};

/// The token for the server at this URL, if there is one.
pub fn token_for(url: &str) -> Result<Option<String>, Failure> {
    if let Some(token) = env::var("COUNTERPART_TOKEN").ok().filter(|token| !token.is_empty()) {
        return Ok(Some(token));
    }
    if let Some(token) = TOKENS.of(url)? {
        return Ok(Some(token));
    }
    match env::var_os("COUNTERPART_TOKEN_FILE") {
        Some(file) => from_file(&PathBuf::from(file)).map(Some),
        None => Ok(None),
    }
}

/// The token in a file, which holds nothing else.
pub fn from_file(file: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(file).map_err(|e| Failure::local_file("read", file, &e))?;
    Ok(text.trim().to_owned())
}

/// Keeps a token for a server.
pub fn keep(url: &str, token: &str) -> Result<PathBuf, Failure> {
    TOKENS.keep(url, token.to_owned())
}

/// Forgets the token for a server; whether there was one.
pub fn forget(url: &str) -> Result<bool, Failure> {
    TOKENS.forget(url)
}
