//! `counterpart mirror stop`: mirroring ends, from either server.

use clap::Args;

use super::super::{Connection, ask, screen::Screen};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct StopArgs {
    /// The mirror that is meant, where there are several: its identity, URL or partner address
    #[arg(long, value_name = "MIRROR")]
    pub partner: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// Ends mirroring. Asks first: from then on both servers take writes of their own.
pub fn run(args: &StopArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let partner = ask::partner_id(&client, args.partner.as_deref())?;
    let question = "End mirroring? Both servers are active and independent afterwards, and differ from then on.";
    screen.confirm(question, args.yes)?;
    let query = partner.map(|id| format!("?partner={id}")).unwrap_or_default();
    let answer = client.delete(&format!("/api/v1/mirroring{query}"))?;
    screen.line("mirroring has ended; both servers are standalone")?;
    screen.value(&answer)
}
