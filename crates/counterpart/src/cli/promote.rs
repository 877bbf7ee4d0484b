//! `counterpart promote`: a disconnected mirror becomes the principal. Shows what may be lost before it asks.

use clap::Args;
use serde_json::json;

use super::{
    Connection,
    screen::{Screen, Tone},
    view,
};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct PromoteArgs {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

const PROMOTION: &str = "/api/v1/mirroring/promotion";

/// Asks the mirror what it would mean, then the operator, then the mirror to do it.
pub fn run(args: &PromoteArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let assessment = client.get(PROMOTION)?;
    if let Some(words) = view::text(&assessment, "/words") {
        let line = screen.toned(Tone::Warning, words);
        screen.line(line)?;
    }
    let question = format!("Make the mirror at {} the principal?", client.url());
    screen.confirm(&question, args.yes)?;
    let outcome = client.post(PROMOTION, &json!({}))?;
    screen.line("this server is now the principal")?;
    screen.value(&json!({ "assessment": assessment, "outcome": outcome }))
}
