//! `counterpart user create`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::{Connection, grant::GrantArgs, screen::Screen, secret};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct CreateArgs {
    /// Its name: 1 to 63 of a-z, 0-9, '_', '-' and '.'
    pub name: String,
    #[command(flatten)]
    pub grant: GrantArgs,
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
    let mut asked = args.grant.asked_for(&args.name);
    asked["password"] = json!(password);
    let done = client.post("/api/v1/users", &asked)?;
    screen.line(format!("the user {} can log in", args.name))?;
    screen.value(&done)
}
