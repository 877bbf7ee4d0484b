//! `counterpart db drop`. Asks first: on the mirror it is gone as well.

use clap::Args;
use counterpart_core::DatabaseName;

use super::super::{Connection, human, screen::Screen, view};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct DropArgs {
    /// The database
    pub name: DatabaseName,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// Drops a database.
pub fn run(args: &DropArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let path = super::path_of(&args.name);
    if !args.yes {
        let details = client.get(&path)?;
        let size = human::bytes(view::number(&details, "/size_bytes").unwrap_or(0));
        let question = format!("Drop database {} ({size}), on all mirrors too?", args.name);
        screen.confirm(&question, false)?;
    }
    let answer = client.delete(&path)?;
    screen.line(format!("database {} is gone", args.name))?;
    screen.value(&answer)
}
