//! `counterpart alarms list`.

use clap::Args;
use serde_json::Value;

use super::super::{Connection, human, screen::Screen, table, view};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct ListArgs {
    /// Also those that are over, the newest first
    #[arg(long)]
    pub history: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// Lists alarms.
pub fn run(args: &ListArgs, screen: &mut Screen) -> Result<(), Failure> {
    let list = args.connection.client()?.get(super::ALL)?;
    let part = |name: &str| list[name].as_array().map_or(&[][..], Vec::as_slice);
    let history = if args.history { part("history") } else { &[] };
    let rows: Vec<Vec<String>> = part("active").iter().chain(history).map(row).collect();
    if rows.is_empty() {
        screen.line("no alarms")?;
    } else {
        let heading = ["id", "severity", "state", "cause", ">raised", "what"];
        screen.line(table::aligned(&heading, &rows))?;
    }
    screen.value(&list)
}

fn row(alarm: &Value) -> Vec<String> {
    let text = |pointer| view::text(alarm, pointer).unwrap_or("?").to_owned();
    let age = view::number(alarm, "/raised_millis").unwrap_or(0);
    let known_by = view::text(alarm, "/acknowledged/by");
    let state = match known_by {
        Some(who) if text("/state") == "acknowledged" => format!("acknowledged by {who}"),
        _ => text("/state"),
    };
    vec![
        view::number(alarm, "/id").map_or("?".to_owned(), |id| id.to_string()),
        text("/severity"),
        state,
        text("/cause"),
        format!("{} ago", human::seconds(age as f64 / 1000.0)),
        text("/text"),
    ]
}
