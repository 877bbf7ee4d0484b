//! `counterpart mirror …`: starting mirroring, going on with it, stopping it.

mod check;
mod enable;
mod rejoin;
mod start;
mod steps;
mod stop;
mod wait;

use clap::Subcommand;
pub use start::StartArgs;

use super::screen::Screen;
use crate::exit::Failure;

/// The verbs.
#[derive(Subcommand)]
pub enum MirrorCommand {
    /// Make one server the live copy of another. Run from any machine that reaches both
    Start(start::StartArgs),
    /// Have a deposed principal that parks keep its orphans and join the new principal
    Rejoin(rejoin::RejoinArgs),
    /// End mirroring; afterwards both servers are standalone, active and independent
    Stop(stop::StopArgs),
}

impl MirrorCommand {
    /// Whether JSON was asked for.
    pub fn wants_json(&self) -> bool {
        match self {
            MirrorCommand::Start(args) => args.json,
            MirrorCommand::Rejoin(args) => args.connection.json,
            MirrorCommand::Stop(args) => args.connection.json,
        }
    }
}

/// Runs a verb.
pub fn run(command: MirrorCommand, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        MirrorCommand::Start(args) => start::run(&args, screen),
        MirrorCommand::Rejoin(args) => rejoin::run(&args, screen),
        MirrorCommand::Stop(args) => stop::run(&args, screen),
    }
}
