//! `counterpart db info`.

use clap::Args;
use counterpart_core::DatabaseName;

use super::super::{Connection, human, screen::Screen, view};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct InfoArgs {
    /// The database
    pub name: DatabaseName,
    #[command(flatten)]
    pub connection: Connection,
}

/// Describes a database.
pub fn run(args: &InfoArgs, screen: &mut Screen) -> Result<(), Failure> {
    let details = args.connection.client()?.get(&super::path_of(&args.name))?;
    let number = |name: &str| view::number(&details, name).unwrap_or(0);
    let tables: Vec<&str> =
        details["tables"].as_array().into_iter().flatten().filter_map(|t| t.as_str()).collect();
    screen.line(format!("database    {}", args.name))?;
    screen.line(format!("size        {}", human::bytes(number("/size_bytes"))))?;
    let (pages, free) = (human::count(number("/pages")), human::count(number("/free_pages")));
    screen.line(format!("pages       {pages} of {} B, {free} free", number("/page_size")))?;
    screen.line(format!("WAL         {}", human::bytes(number("/wal_bytes"))))?;
    screen.line(format!("last LSN    {}", number("/last_lsn")))?;
    let shown = if tables.is_empty() { "none".to_owned() } else { tables.join(", ") };
    screen.line(format!("tables      {shown}"))?;
    screen.value(&details)
}
