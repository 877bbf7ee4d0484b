//! `counterpart db list`.

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

/// Lists all databases.
pub fn run(args: &ListArgs, screen: &mut Screen) -> Result<(), Failure> {
    let list = args.connection.client()?.get("/api/v1/databases")?;
    let databases = list["databases"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = databases.iter().map(row).collect();
    screen.line(table::aligned(&["name", ">size", ">last LSN"], &rows))?;
    screen.value(&list)
}

fn row(database: &Value) -> Vec<String> {
    vec![
        view::text(database, "/name").unwrap_or("?").to_owned(),
        human::bytes(view::number(database, "/size_bytes").unwrap_or(0)),
        view::number(database, "/last_lsn").unwrap_or(0).to_string(),
    ]
}
