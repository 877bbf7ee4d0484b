//! `counterpart orphans list`.

use clap::Args;
use serde_json::Value;

use super::super::{Connection, screen::Screen, table};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub connection: Connection,
}

/// Lists all sets.
pub fn run(args: &ListArgs, screen: &mut Screen) -> Result<(), Failure> {
    let list = args.connection.client()?.get(super::ALL)?;
    let sets = list["sets"].as_array().map_or(&[][..], Vec::as_slice);
    if sets.is_empty() {
        screen.line(
            "no orphans: nothing that this server ever confirmed is missing in its session",
        )?;
    } else {
        let rows: Vec<Vec<String>> = sets.iter().map(row).collect();
        screen.line(table::aligned(&["set", ">events", "databases", "compared"], &rows))?;
    }
    screen.value(&list)
}

fn row(set: &Value) -> Vec<String> {
    let databases = super::databases(set);
    let compared = databases.iter().filter(|database| database["differences"].is_object()).count();
    let compared = match databases.len() {
        all if all == compared => "yes".to_owned(),
        all => format!("{compared} of {all}"),
    };
    vec![super::id(set).to_owned(), super::events(set), super::database_names(set), compared]
}
