//! The tokens that `counterpart login` keeps, by server, in a file that only its owner can read.
//!
//! Which token a command shows, first match wins: `COUNTERPART_TOKEN`; what is kept for the server; the file that
//! `COUNTERPART_TOKEN_FILE` names, as a server's own `admin.token`.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use counterpart_journal::write_private;

use crate::exit::{Exit, Failure};

/// The file.
const TOKENS: &str = "tokens.json";

/// The tokens, by the server's URL.
type Kept = BTreeMap<String, String>;

/// The token for the server at this URL, if there is one.
pub fn token_for(url: &str) -> Result<Option<String>, Failure> {
    if let Some(token) = env::var("COUNTERPART_TOKEN").ok().filter(|token| !token.is_empty()) {
        return Ok(Some(token));
    }
    if let Some(token) = load()?.remove(url) {
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
    let mut kept = load()?;
    kept.insert(url.to_owned(), token.to_owned());
    store(&kept)
}

/// Forgets the token for a server; whether there was one.
pub fn forget(url: &str) -> Result<bool, Failure> {
    let mut kept = load()?;
    let had = kept.remove(url).is_some();
    if had {
        store(&kept)?;
    }
    Ok(had)
}

/// Where this user's file of this name is kept; nowhere for somebody without a home.
pub(super) fn place(name: &str) -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let settings = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(settings.join("counterpart").join(name))
}

fn load() -> Result<Kept, Failure> {
    let Some(file) = place(TOKENS) else { return Ok(Kept::new()) };
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::new()),
        Err(error) => return Err(Failure::local_file("read", &file, &error)),
    };
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(
            Exit::LocalFile,
            "CREDENTIALS_INVALID",
            format!("{} does not hold tokens: {error}", file.display()),
            "delete the file and log in again",
        )
    })
}

fn store(kept: &Kept) -> Result<PathBuf, Failure> {
    let Some(file) = place(TOKENS) else {
        return Err(Failure::new(
            Exit::LocalFile,
            "CREDENTIALS_HOMELESS",
            "there is nowhere to keep a token: neither HOME nor XDG_CONFIG_HOME is set",
            "set one of them, or give the token in COUNTERPART_TOKEN",
        ));
    };
    let text = serde_json::to_vec_pretty(kept).expect("texts are JSON");
    let directory = file.parent().expect("it was joined to a directory");
    let written = fs::create_dir_all(directory).and_then(|()| write_private(&file, &text));
    written.map_err(|error| Failure::local_file("write", &file, &error))?;
    Ok(file)
}
