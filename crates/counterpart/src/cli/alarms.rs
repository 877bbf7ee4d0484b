//! `counterpart alarms …`: what a server has to tell, one file per verb.

mod acknowledge;
mod list;
mod test;

use clap::Subcommand;

use super::{Connection, screen::Screen};
use crate::exit::Failure;

/// The verbs.
#[derive(Subcommand)]
pub enum AlarmsCommand {
    /// List the alarms that are active, and with --history those that are over
    List(list::ListArgs),
    /// Say that somebody knows of an alarm
    Acknowledge(acknowledge::AcknowledgeArgs),
    /// Have every channel tell something that is no alarm, and see whether it arrives
    Test(test::TestArgs),
}

impl AlarmsCommand {
    /// Which server, and how to answer.
    pub fn connection(&self) -> &Connection {
        match self {
            AlarmsCommand::List(args) => &args.connection,
            AlarmsCommand::Acknowledge(args) => &args.connection,
            AlarmsCommand::Test(args) => &args.connection,
        }
    }
}

/// Runs a verb.
pub fn run(command: AlarmsCommand, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        AlarmsCommand::List(args) => list::run(&args, screen),
        AlarmsCommand::Acknowledge(args) => acknowledge::run(&args, screen),
        AlarmsCommand::Test(args) => test::run(&args, screen),
    }
}

const ALL: &str = "/api/v1/alarms";
