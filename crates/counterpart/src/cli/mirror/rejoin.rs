//! `counterpart mirror rejoin`: a deposed principal that parks becomes a mirror.

use clap::Args;
use serde_json::json;

use super::super::{Connection, screen::Screen};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct RejoinArgs {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// Has it rejoin. Asks first: its data becomes the new principal's, and only the orphans keep what differs.
pub fn run(args: &RejoinArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let question = "Join the new principal? Events that only this server has are kept as orphans.";
    screen.confirm(question, args.yes)?;
    let answer = client.post("/api/v1/mirroring/rejoin", &json!({}))?;
    screen.line("rejoining; `counterpart status --watch` shows it, `counterpart orphans list` what was kept")?;
    screen.value(&answer)
}
