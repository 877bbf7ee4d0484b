//! `counterpart db create`.

use clap::Args;
use counterpart_core::DatabaseName;
use serde_json::json;

use super::super::{Connection, screen::Screen};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct CreateArgs {
    /// Its name: 1 to 63 of a-z, 0-9, '_' and '-', starting with a letter or digit
    pub name: DatabaseName,
    #[command(flatten)]
    pub connection: Connection,
}

/// Makes an empty database.
pub fn run(args: &CreateArgs, screen: &mut Screen) -> Result<(), Failure> {
    let made =
        args.connection.client()?.post("/api/v1/databases", &json!({ "name": args.name }))?;
    screen.line(format!("database {} is there", args.name))?;
    screen.value(&made)
}
