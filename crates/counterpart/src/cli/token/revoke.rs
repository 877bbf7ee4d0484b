//! `counterpart token revoke`.

use clap::Args;

use super::super::{Connection, screen::Screen};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct RevokeArgs {
    /// Its name, as `counterpart token list` shows it
    pub name: String,
    #[command(flatten)]
    pub connection: Connection,
}

/// Revokes a token.
pub fn run(args: &RevokeArgs, screen: &mut Screen) -> Result<(), Failure> {
    let done = args.connection.client()?.delete(&format!("/api/v1/tokens/{}", args.name))?;
    screen.line(format!("the token {} lets nobody in any more", args.name))?;
    screen.value(&done)
}
