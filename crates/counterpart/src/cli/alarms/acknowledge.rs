//! `counterpart alarms acknowledge`.

use clap::Args;
use serde_json::json;

use super::super::{Connection, screen::Screen, view};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct AcknowledgeArgs {
    /// Its id, as `counterpart alarms list` shows it
    pub id: u64,
    #[command(flatten)]
    pub connection: Connection,
}

/// Acknowledges an alarm.
pub fn run(args: &AcknowledgeArgs, screen: &mut Screen) -> Result<(), Failure> {
    let path = format!("{}/{}/acknowledge", super::ALL, args.id);
    let alarm = args.connection.client()?.post(&path, &json!({}))?;
    let cause = view::text(&alarm, "/cause").unwrap_or("?");
    let then = match view::text(&alarm, "/state") {
        Some("cleared") => "with that it is over",
        _ => "it is active until it is over",
    };
    screen.line(format!("alarm {} ({cause}) is acknowledged; {then}", args.id))?;
    screen.value(&alarm)
}
