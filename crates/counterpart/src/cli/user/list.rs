//! `counterpart user list`.

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

/// Lists all users.
pub fn run(args: &ListArgs, screen: &mut Screen) -> Result<(), Failure> {
    let list = args.connection.client()?.get("/api/v1/users")?;
    let users = list["users"].as_array().map_or(&[][..], Vec::as_slice);
    if users.is_empty() {
        screen.line("no users")?;
    } else {
        let rows: Vec<Vec<String>> = users.iter().map(row).collect();
        screen.line(table::aligned(&["name", "role", "databases", "made (UTC)"], &rows))?;
    }
    screen.value(&list)
}

fn row(user: &Value) -> Vec<String> {
    let text = |pointer| view::text(user, pointer).unwrap_or("?").to_owned();
    let names = user["databases"].as_array();
    let names = names.map(|names| names.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    vec![
        text("/name"),
        text("/role"),
        names.map_or("all".to_owned(), |names| names.join(", ")),
        human::moment(view::number(user, "/created").unwrap_or(0)),
    ]
}
