//! `counterpart orphans export`: a database of a set as a file.

use clap::{Args, ValueEnum};
use counterpart_core::{DatabaseName, DatabaseNameError};
use serde_json::json;

use super::super::{Connection, human, save::Target, screen::Screen};
use crate::exit::Failure;

/// What is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Form {
    /// The database with the orphans in it, as a plain SQLite file
    Sqlite,
    /// Statements that make another database's rows what the orphans' are
    Sql,
    /// The rows that differ, one JSON object per line
    Rows,
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Form::Sqlite => "sqlite",
            Form::Sql => "sql",
            Form::Rows => "rows",
        }
    }
}

/// What it takes.
#[derive(Args)]
pub struct ExportArgs {
    /// The set, as `orphans list` names it
    pub set: String,
    #[command(flatten)]
    pub target: Target,
    /// Which of its databases, if it touched several
    #[arg(long, value_name = "NAME", value_parser = touched)]
    pub database: Option<DatabaseName>,
    /// What to write
    #[arg(long, value_enum, default_value_t = Form::Sqlite)]
    pub form: Form,
    #[command(flatten)]
    pub connection: Connection,
}

/// A database that orphans can have touched: the server's own is one.
fn touched(name: &str) -> Result<DatabaseName, DatabaseNameError> {
    name.to_owned().try_into()
}

/// Writes the file.
pub fn run(args: &ExportArgs, screen: &mut Screen) -> Result<(), Failure> {
    let database = args.database.as_ref().map(|name| format!("&database={name}"));
    let path = format!(
        "{}/content?form={}{}",
        super::path_of(&args.set),
        args.form.word(),
        database.unwrap_or_default()
    );
    let length = args.target.fetch(&args.connection.client()?, &path, screen)?;
    let file = &args.target.file;
    screen.line(format!("{} holds orphans ({})", file.display(), human::bytes(length)))?;
    screen.value(&json!({ "set": args.set, "file": file, "bytes": length }))
}
