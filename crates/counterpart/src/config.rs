//! Configuration of `serve`, in two stages: texts from flags, environment, file and defaults (each with where it
//! came from), then checked [`Settings`]. Nothing else of the server reads the environment or a configuration file.

mod key;
mod layer;
mod settings;
pub mod units;

use std::{ffi::OsString, path::PathBuf};

pub use key::Key;
pub use layer::{Flags, Origin};
#[allow(unused_imports, reason = "`serve` reads it")]
pub use settings::LogFormat;
pub use settings::{Resolved, Settings};

use crate::exit::{Exit, Failure};

/// Reads all sources; a flag outranks the environment, that the file, that the default.
pub fn load(flags: &Flags) -> Result<Resolved, Failure> {
    load_with(flags, std::env::vars_os())
}

/// [`load`] with the environment given.
fn load_with(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Resolved, Failure> {
    let environment = layer::Environment::read(environment)?;
    let file = flags.config.clone().or_else(|| environment.config.clone());
    let mut layers = vec![flags.layer(), environment.layer];
    if let Some(path) = file {
        layers.push(layer::from_file(&path)?);
    }
    Ok(Resolved::new(&layers))
}

/// Something in the configuration is wrong.
fn invalid(what: impl Into<String>, remedy: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, "CONFIG_INVALID", what, remedy)
}

/// The file cannot be read at all.
fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Usage,
        "CONFIG_UNREADABLE",
        format!("cannot read the configuration file {}: {error}", path.display()),
        "check the path given with --config or COUNTERPART_CONFIG",
    )
}

/// A path as it stands in a text.
fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}

#[cfg(test)]
mod tests;
