//! `counterpart user create`.

use std::path::PathBuf;

use clap::Args;
use counterpart_core::DatabaseName;
use serde_json::json;

use super::super::{Connection, screen::Screen, secret};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct CreateArgs {
    /// Its name: 1 to 63 of a-z, 0-9, '_', '-' and '.'
    pub name: String,
    /// What it allows: admin = everything; operator = mirroring, failover, backups; writer and reader = databases
    #[arg(long, value_name = "ROLE", value_parser = ["admin", "operator", "writer", "reader"])]
    pub role: String,
    /// Limit a writer or reader to this database; may be given several times
    #[arg(long, value_name = "NAME")]
    pub database: Vec<DatabaseName>,
    /// A file whose first line is the password; without it, the password is read from the terminal or standard input
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    #[command(flatten)]
    pub connection: Connection,
}

/// Makes a user.
pub fn run(args: &CreateArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let password = secret::new_password(args.password_file.as_deref())?;
    let mut asked = json!({ "name": args.name, "role": args.role, "password": password });
    if !args.database.is_empty() {
        asked["databases"] = json!(args.database);
    }
    let done = client.post("/api/v1/users", &asked)?;
    screen.line(format!("the user {} can log in", args.name))?;
    screen.value(&done)
}
