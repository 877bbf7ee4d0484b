//! `counterpart db …`: databases, one file per verb.

mod create;
mod drop;
mod export;
mod import;
mod info;
mod list;

use std::path::Path;

use clap::Subcommand;
use counterpart_core::DatabaseName;

use super::{Connection, screen::Screen};
use crate::exit::{Exit, Failure};

/// The verbs.
#[derive(Subcommand)]
pub enum DbCommand {
    /// Make an empty database
    Create(create::CreateArgs),
    /// List all databases
    List(list::ListArgs),
    /// Drop a database, with all its content
    Drop(drop::DropArgs),
    /// Make a database from a SQLite file
    Import(import::ImportArgs),
    /// Write a database to a plain SQLite file, from one consistent snapshot, while it is written to
    Export(export::ExportArgs),
    /// Describe a database
    Info(info::InfoArgs),
}

impl DbCommand {
    /// Which server, and how to answer.
    pub fn connection(&self) -> &Connection {
        match self {
            DbCommand::Create(args) => &args.connection,
            DbCommand::List(args) => &args.connection,
            DbCommand::Drop(args) => &args.connection,
            DbCommand::Import(args) => &args.connection,
            DbCommand::Export(args) => &args.connection,
            DbCommand::Info(args) => &args.connection,
        }
    }
}

/// Runs a verb.
pub fn run(command: DbCommand, screen: &mut Screen) -> Result<(), Failure> {
    match command {
        DbCommand::Create(args) => create::run(&args, screen),
        DbCommand::List(args) => list::run(&args, screen),
        DbCommand::Drop(args) => drop::run(&args, screen),
        DbCommand::Import(args) => import::run(&args, screen),
        DbCommand::Export(args) => export::run(&args, screen),
        DbCommand::Info(args) => info::run(&args, screen),
    }
}

/// The name that is given, or the one that the file's name makes.
fn name_for(given: Option<&DatabaseName>, file: &Path) -> Result<DatabaseName, Failure> {
    if let Some(name) = given {
        return Ok(name.clone());
    }
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.parse().map_err(|_| {
        Failure::new(
            Exit::Usage,
            "INVALID_DATABASE_NAME",
            format!("the file's name, {stem:?}, does not make a database name"),
            "give one with --name: 1 to 63 of a-z, 0-9, '_' and '-', starting with a letter or digit",
        )
    })
}

/// Where a database stands in the operator API.
fn path_of(name: &DatabaseName) -> String {
    format!("/api/v1/databases/{name}")
}
