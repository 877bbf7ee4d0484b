//! `counterpart orphans list`.

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

/// Lists all sets.
pub fn run(args: &ListArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let list = client.get(super::ALL)?;
    let sets = list["sets"].as_array().map_or(&[][..], Vec::as_slice);
    let unsaved = unsaved(&client.status()?);
    if !sets.is_empty() {
        let rows: Vec<Vec<String>> = sets.iter().map(row).collect();
        screen.line(table::aligned(&["set", ">events", "databases", "compared"], &rows))?;
    } else if unsaved.is_none() {
        screen.line(
            "no orphans: nothing that this server ever confirmed is missing in its session",
        )?;
    }
    unsaved.map_or(Ok(()), |words| screen.line(words))?;
    screen.value(&list)
}

/// What will be a set, and is none yet.
fn unsaved(status: &Value) -> Option<String> {
    let mirroring = &status["mirroring"];
    let of = |name: &str| Some(&mirroring[name]).filter(|range| range["end"].is_u64());
    let told = |range: &Value, then: &str| {
        let common = view::number(range, "/common").unwrap_or(0);
        format!(
            "only this server has {} after LSN {common}; {then}",
            human::events(super::events(range))
        )
    };
    of("parked")
        .map(|range| told(range, "they are not saved yet, `counterpart mirror rejoin` does that"))
        .or_else(|| Some(told(of("saving_orphans")?, "they are being saved")))
}

fn row(set: &Value) -> Vec<String> {
    let databases = super::databases(set);
    let compared = databases.iter().filter(|database| database["differences"].is_object()).count();
    let compared = match databases.len() {
        all if all == compared => "yes".to_owned(),
        all => format!("{compared} of {all}"),
    };
    vec![
        super::id(set).to_owned(),
        human::count(super::events(set)),
        super::database_names(set),
        compared,
    ]
}
