//! `counterpart orphans show`: a set, and the rows that differ.

use clap::Args;
use serde_json::{Value, json};

use super::super::{Connection, client::Client, human, screen::Screen, table, view};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct ShowArgs {
    /// The set, as `orphans list` names it
    pub set: String,
    /// Show at most this many rows of each database
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub rows: usize,
    #[command(flatten)]
    pub connection: Connection,
}

/// Shows a set.
pub fn run(args: &ShowArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let path = super::path_of(&args.set);
    let set = client.get(&path)?;
    screen.line(format!(
        "{}: {} that only this server had, in {}",
        super::id(&set),
        human::events(super::events(&set)),
        super::database_names(&set)
    ))?;
    let mut shown = Vec::new();
    for database in super::databases(&set) {
        shown.push(show_database(&client, &path, database, args.rows, screen)?);
    }
    screen.value(&json!({ "set": set, "rows": shown }))
}

fn show_database(
    client: &Client,
    path: &str,
    database: &Value,
    limit: usize,
    screen: &mut Screen,
) -> Result<Value, Failure> {
    let name = view::text(database, "/name").unwrap_or("?");
    let differences = &database["differences"];
    let count = |what: &str| view::number(differences, what).unwrap_or(0);
    if let Some(why) = view::text(database, "/why_not") {
        screen.line(format!(
            "\n{name}: can't be compared ({why}); `counterpart orphans export` writes it as it was"
        ))?;
        return Ok(json!({ "database": name, "rows": null }));
    }
    if !differences.is_object() {
        screen.line(format!(
            "\n{name}: not compared yet; it is when this server has joined the new principal"
        ))?;
        return Ok(json!({ "database": name, "rows": null }));
    }
    if differences["present"] != true {
        screen.line(format!(
            "\n{name}: does not exist any more, so there is nothing to compare with"
        ))?;
        return Ok(json!({ "database": name, "rows": null }));
    }
    let (inserted, updated, deleted) = (count("/inserted"), count("/updated"), count("/deleted"));
    screen.line(format!(
        "\n{name}: {} rows only in the orphans, {} with other values, {} only on the new principal, {} definitions",
        human::count(inserted),
        human::count(updated),
        human::count(deleted),
        human::count(count("/schema")),
    ))?;
    let answer = client.get(&format!("{path}/rows?database={name}&limit={limit}"))?;
    let rows = answer["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let cells: Vec<Vec<String>> = rows.iter().map(row).collect();
    if !cells.is_empty() {
        screen.line(table::aligned(&["change", "table", "key", "orphans", "here"], &cells))?;
    }
    let all = inserted + updated + deleted + count("/schema");
    if all > rows.len() as u64 {
        screen.line(format!(
            "and {} more: `counterpart orphans export` writes them all",
            human::count(all - rows.len() as u64)
        ))?;
    }
    Ok(json!({ "database": name, "rows": rows }))
}

fn row(row: &Value) -> Vec<String> {
    let name = view::text(row, "/table").or_else(|| view::text(row, "/name")).unwrap_or("?");
    vec![
        view::text(row, "/change").unwrap_or("?").to_owned(),
        name.to_owned(),
        brief(&row["key"]),
        brief(&row["orphans"]),
        brief(&row["here"]),
    ]
}

/// A value as it fits a column.
fn brief(value: &Value) -> String {
    const MOST: usize = 60;
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    };
    let text = text.replace('\n', " ");
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}
