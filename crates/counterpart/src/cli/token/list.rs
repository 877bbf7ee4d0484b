//! `counterpart token list`.

use clap::Args;
use serde_json::Value;

use super::super::{Connection, human, screen::Screen, table, view};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub connection: Connection,
}

/// Lists all tokens.
pub fn run(args: &ListArgs, screen: &mut Screen) -> Result<(), Failure> {
    let list = args.connection.client()?.get("/api/v1/tokens")?;
    let tokens = list["tokens"].as_array().map_or(&[][..], Vec::as_slice);
    if tokens.is_empty() {
        screen.line("no tokens: only the admin token of each server lets anybody in")?;
    } else {
        let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
        screen.line(table::aligned(&["name", "role", "databases", "good for"], &rows))?;
    }
    screen.value(&list)
}

fn row(token: &Value) -> Vec<String> {
    let text = |pointer| view::text(token, pointer).unwrap_or("?").to_owned();
    let names = token["databases"].as_array();
    let names = names.map(|names| names.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    let made = view::number(token, "/created").unwrap_or(0);
    let span = |end: u64| human::seconds(end.saturating_sub(made) as f64);
    vec![
        text("/name"),
        text("/role"),
        names.map_or("all".to_owned(), |names| names.join(", ")),
        view::number(token, "/expires").map_or("until it is revoked".to_owned(), span),
    ]
}
