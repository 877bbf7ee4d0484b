//! `counterpart promote`: a disconnected mirror becomes the principal. Shows what may be lost before it asks.

use clap::Args;
use serde_json::json;

use super::{
    Connection,
    screen::{Screen, Tone},
    view,
};
use crate::exit::{Exit, Failure};

/// What it takes.
#[derive(Args)]
pub struct PromoteArgs {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Also if the server says why it should not be: you know that the other one, or what it has, is gone for good
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub connection: Connection,
}

const PROMOTION: &str = "/api/v1/mirroring/promotion";

/// Asks the mirror what it would mean, then the operator, then the mirror to do it.
pub fn run(args: &PromoteArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let assessment = match client.get(PROMOTION) {
        // What speaks against it is told, and the operator decides.
        Err(failure) if args.force && failure.exit == Exit::Refused => {
            json!({ "words": format!("{}: {}", failure.code, failure.what) })
        }
        other => other?,
    };
    if let Some(words) = view::text(&assessment, "/words") {
        let line = screen.toned(Tone::Warning, words);
        screen.line(line)?;
    }
    let question = format!("Make the server at {} the principal?", client.url());
    screen.confirm(&question, args.yes)?;
    let outcome = client.post(PROMOTION, &json!({ "force": args.force }))?;
    screen.line("this server is now the principal")?;
    screen.value(&json!({ "assessment": assessment, "outcome": outcome }))
}
