//! The protocol's `Error` structure.

use serde::{Deserialize, Serialize};

/// A failure on the wire. The specification lets `code` be absent; this server always sends one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// For people.
    pub message: String,
    /// For machines.
    #[serde(default)]
    pub code: Option<String>,
}
