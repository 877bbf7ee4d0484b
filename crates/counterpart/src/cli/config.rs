//! `counterpart config`: the settings that `serve` would use with the same flags, and where each comes from.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{screen::Screen, table};
use crate::{
    config::{self, Flags},
    exit::Failure,
};

/// What it takes: the flags of `serve`, and `--json`.
#[derive(Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub flags: Flags,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the settings; fails where `serve` would, except for a missing data directory.
pub fn run(args: &ConfigArgs, screen: &mut Screen) -> Result<(), Failure> {
    let resolved = config::load(&args.flags)?;
    resolved.checked()?;
    let mut rows = Vec::new();
    let mut values = Map::new();
    for entry in resolved.entries() {
        let (name, from) = (entry.key.row().name, entry.origin.to_string());
        let shown = entry.text.clone().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![name.to_owned(), shown, from.clone()]);
        values.insert(name.to_owned(), json!({ "value": entry.text, "from": from }));
    }
    screen.line(table::aligned(&["setting", "value", "from"], &rows))?;
    screen.value(&Value::Object(values))
}
