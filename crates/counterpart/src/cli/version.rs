//! `counterpart version`.

use clap::Args;
use serde_json::json;

use super::screen::Screen;
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct VersionArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the version of this program.
pub fn run(_: &VersionArgs, screen: &mut Screen) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    screen.line(format!("counterpart {version}"))?;
    screen.value(&json!({ "version": version }))
}
