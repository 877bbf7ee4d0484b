//! `counterpart token …`: who may do what, one file per verb.

mod create;
mod list;
mod revoke;

use clap::Subcommand;

use super::{Connection, screen::Screen};
use crate::exit::Failure;

/// The verbs.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token, and show it this once
    Create(create::CreateArgs),
    /// List all tokens, without what would let anybody in
    List(list::ListArgs),
    /// Revoke a token at once
    Revoke(revoke::RevokeArgs),
}

impl TokenCommand {
    /// Which server, and how to answer.
    pub fn connection(&self) -> &Connection {
        match self {
            TokenCommand::Create(args) => &args.connection,
            TokenCommand::List(args) => &args.connection,
            TokenCommand::Revoke(args) => &args.connection,
        }
    }
}

/// Runs a verb.
pub fn run(command: TokenCommand, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(args) => create::run(&args, screen),
        TokenCommand::List(args) => list::run(&args, screen),
        TokenCommand::Revoke(args) => revoke::run(&args, screen),
    }
}
