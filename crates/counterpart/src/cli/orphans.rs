//! `counterpart orphans …`: what only a deposed principal had, one file per verb.

mod drop;
mod export;
mod list;
mod show;

use clap::Subcommand;
use serde_json::Value;

use super::{Connection, screen::Screen, view};
use crate::exit::Failure;

/// The verbs.
#[derive(Subcommand)]
pub enum OrphansCommand {
    /// List the sets of orphans that this server keeps
    List(list::ListArgs),
    /// Show a set: which databases, how many events, which rows differ
    Show(show::ShowArgs),
    /// Write a database of a set to a file: as SQLite, as SQL, or the rows that differ as JSON lines
    Export(export::ExportArgs),
    /// Delete a set for good
    Drop(drop::DropArgs),
}

impl OrphansCommand {
    /// Which server, and how to answer.
    pub fn connection(&self) -> &Connection {
        match self {
            OrphansCommand::List(args) => &args.connection,
            OrphansCommand::Show(args) => &args.connection,
            OrphansCommand::Export(args) => &args.connection,
            OrphansCommand::Drop(args) => &args.connection,
        }
    }
}

/// Runs the verb.
pub fn run(command: OrphansCommand, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        OrphansCommand::List(args) => list::run(&args, screen),
        OrphansCommand::Show(args) => show::run(&args, screen),
        OrphansCommand::Export(args) => export::run(&args, screen),
        OrphansCommand::Drop(args) => drop::run(&args, screen),
    }
}

const ALL: &str = "/api/v1/orphans";

/// Where a set stands in the operator API. What could not be a set's name is written so that it names none.
fn path_of(set: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    format!("{ALL}/{}", set.chars().map(plain).collect::<String>())
}

/// A set's name.
fn id(set: &Value) -> &str {
    view::text(set, "/id").unwrap_or("?")
}

/// The databases of a set.
fn databases(set: &Value) -> &[Value] {
    set["databases"].as_array().map_or(&[], Vec::as_slice)
}

/// The names of the databases that a set touched.
fn database_names(set: &Value) -> String {
    let names: Vec<&str> =
        databases(set).iter().filter_map(|database| view::text(database, "/name")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// How many events a set has.
fn events(set: &Value) -> u64 {
    let position = |pointer| view::number(set, pointer).unwrap_or(0);
    position("/end").saturating_sub(position("/common"))
}
