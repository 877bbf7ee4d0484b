//! `counterpart token create`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::{Connection, grant::GrantArgs, screen::Screen, view};
use crate::{config::units, exit::Failure};

/// What it takes.
#[derive(Args)]
pub struct CreateArgs {
    /// Its name, for lists and logs: 1 to 63 of a-z, 0-9, '_', '-' and '.'
    pub name: String,
    #[command(flatten)]
    pub grant: GrantArgs,
    /// How long it is good, for example 30d; without it, until it is revoked
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub lifetime: Option<Duration>,
    #[command(flatten)]
    pub connection: Connection,
}

/// Makes a token.
pub fn run(args: &CreateArgs, screen: &mut Screen) -> Result<(), Failure> {
    let mut asked = args.grant.asked_for(&args.name);
    if let Some(lifetime) = args.lifetime {
        asked["lifetime_seconds"] = json!(lifetime.as_secs().max(1));
    }
    let made = args.connection.client()?.post("/api/v1/tokens", &asked)?;
    // Alone on its line, so that a script can take it; and it cannot be shown again.
    screen.line(view::text(&made, "/token").unwrap_or_default())?;
    screen.value(&made)
}
