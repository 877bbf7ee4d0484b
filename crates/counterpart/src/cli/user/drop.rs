//! `counterpart user drop`.

use clap::Args;

use super::super::{Connection, screen::Screen};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct DropArgs {
    /// The user
    pub name: String,
    #[command(flatten)]
    pub connection: Connection,
}

/// Drops a user.
pub fn run(args: &DropArgs, screen: &mut Screen) -> Result<(), Failure> {
    let done = args.connection.client()?.delete(&format!("/api/v1/users/{}", args.name))?;
    screen.line(format!("the user {} is gone; all its logins have ended", args.name))?;
    screen.value(&done)
}
