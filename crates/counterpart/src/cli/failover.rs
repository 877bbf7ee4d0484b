//! `counterpart failover`: the principal and a synchronized mirror swap roles.

use clap::Args;
use serde_json::json;

use super::{Connection, ask, screen::Screen, view};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct FailoverArgs {
    /// The mirror that is to be the principal: its identity, URL or partner address; needed where there are several
    #[arg(long, value_name = "MIRROR")]
    pub to: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

/// Asks the principal; returns once the mirror serves.
pub fn run(args: &FailoverArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let to = ask::partner_id(&client, args.to.as_deref())?;
    let outcome = client.post("/api/v1/mirroring/failover", &json!({ "to": to }))?;
    let words = view::text(&outcome, &["/words", "/what"]);
    screen.line(words.unwrap_or("the roles are swapped; nothing was lost"))?;
    if let Some(url) = view::text(&outcome, &["/failed_over/client_url", "/client_url"]) {
        screen.line(format!("the principal is now {url}"))?;
    }
    screen.value(&outcome)
}
