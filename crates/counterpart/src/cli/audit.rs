//! `counterpart audit`: who did what to a server, or was not let in.

use clap::Args;
use serde_json::Value;

use super::{Connection, human, screen::Screen, table, view};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct AuditArgs {
    /// So many entries at most, the newest first
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub limit: u64,
    /// Those before this entry: the smallest id of the page before
    #[arg(long, value_name = "ID")]
    pub before: Option<u64>,
    #[command(flatten)]
    pub connection: Connection,
}

/// Shows the newest entries of the audit log.
pub fn run(args: &AuditArgs, screen: &mut Screen) -> Result<(), Failure> {
    let before = args.before.map_or(String::new(), |before| format!("&before={before}"));
    let path = format!("/api/v1/audit?limit={}{before}", args.limit);
    let log = args.connection.client()?.get(&path)?;
    let entries = log["entries"].as_array().map_or(&[][..], Vec::as_slice);
    if entries.is_empty() {
        screen.line("the audit log has no entries; it is kept where --require-token is on")?;
    } else {
        let heading = ["id", "when (UTC)", "who", "from", "what", "about", "result"];
        let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
        screen.line(table::aligned(&heading, &rows))?;
    }
    screen.value(&log)
}

fn row(entry: &Value) -> Vec<String> {
    let text = |pointer| view::text(entry, pointer).unwrap_or("?").to_owned();
    vec![
        view::number(entry, "/id").map_or("-".to_owned(), |id| id.to_string()),
        human::moment(view::number(entry, "/at").unwrap_or(0) / 1_000_000),
        text("/who"),
        text("/from"),
        text("/what"),
        text("/about"),
        text("/result"),
    ]
}
