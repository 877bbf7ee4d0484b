//! `counterpart db export`: a plain SQLite file from a consistent snapshot.

use clap::Args;
use counterpart_core::DatabaseName;
use serde_json::json;

use super::super::{Connection, human, save::Target, screen::Screen};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub target: Target,
    /// Name of the database; without it, the file's name without its extension
    #[arg(long)]
    pub name: Option<DatabaseName>,
    #[command(flatten)]
    pub connection: Connection,
}

/// Writes the file. If it cannot be completed, nothing is left of it, and what was there before is untouched.
pub fn run(args: &ExportArgs, screen: &mut Screen) -> Result<(), Failure> {
    let file = &args.target.file;
    let name = super::name_for(args.name.as_ref(), file)?;
    let path = format!("{}/content", super::path_of(&name));
    let length = args.target.fetch(&args.connection.client()?, &path, screen)?;
    screen.line(format!("{} holds database {name} ({})", file.display(), human::bytes(length)))?;
    screen.value(&json!({ "name": name, "file": file, "bytes": length }))
}
