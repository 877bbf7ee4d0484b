//! `counterpart user …`: people with passwords, one file per verb.

mod create;
mod drop;
mod list;
mod password;

use clap::Subcommand;

use super::{Connection, screen::Screen};
use crate::exit::Failure;

/// The verbs.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Make a user, who logs in with a password
    Create(create::CreateArgs),
    /// List all users
    List(list::ListArgs),
    /// Give a user another password; its logins end at once
    Password(password::PasswordArgs),
    /// Drop a user; its logins end at once
    Drop(drop::DropArgs),
}

impl UserCommand {
    /// Which server, and how to answer.
    pub fn connection(&self) -> &Connection {
        match self {
            UserCommand::Create(args) => &args.connection,
            UserCommand::List(args) => &args.connection,
            UserCommand::Password(args) => &args.connection,
            UserCommand::Drop(args) => &args.connection,
        }
    }
}

/// Runs a verb.
pub fn run(command: UserCommand, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        UserCommand::Create(args) => create::run(&args, screen),
        UserCommand::List(args) => list::run(&args, screen),
        UserCommand::Password(args) => password::run(&args, screen),
        UserCommand::Drop(args) => drop::run(&args, screen),
    }
}
