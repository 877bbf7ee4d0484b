//! The configuration file: any text is either settings or a failure that says what to do.
//!
//! The configuration is part of the binary, which is no library; its files are compiled in here as they are, below the
//! few names that they expect above them.
#![allow(dead_code, unused_imports, reason = "the binary uses all of it, the target only this")]

use std::path::{Path, PathBuf};

#[path = "../../crates/counterpart/src/config/key.rs"]
mod key;
#[path = "../../crates/counterpart/src/config/layer.rs"]
mod layer;
#[path = "../../crates/counterpart/src/config/settings.rs"]
mod settings;
#[path = "../../crates/counterpart/src/config/units.rs"]
pub mod units;

use key::Key;
use layer::{Flags, Origin};
use settings::Resolved;

use crate::exit::{Exit, Failure};

fn invalid(what: impl Into<String>, remedy: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, "CONFIG_INVALID", what, remedy)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    invalid(format!("cannot read {}: {error}", path.display()), "check the path")
}

fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}

/// Each failure says what is wrong and what to do.
pub fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let told = |failure: Failure| assert!(!failure.what.is_empty() && !failure.remedy.is_empty());
    let layer = match layer::from_toml(&text, Path::new("file.toml")) {
        Ok(layer) => layer,
        Err(failure) => return told(failure),
    };
    let resolved = Resolved::new(&[layer]);
    assert_eq!(resolved.entries().count(), Key::ALL.len(), "every setting is shown");
    for checked in [resolved.settings(), resolved.checked()] {
        if let Err(failure) = checked {
            told(failure);
        }
    }
}
