//! `counterpart user password`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::{Connection, screen::Screen, secret};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct PasswordArgs {
    /// The user
    pub name: String,
    /// A file whose first line is the password; without it, the password is read from the terminal or standard input
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    #[command(flatten)]
    pub connection: Connection,
}

/// Gives a user another password.
pub fn run(args: &PasswordArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let password = secret::new_password(args.password_file.as_deref())?;
    let path = format!("/api/v1/users/{}/password", args.name);
    let done = client.post(&path, &json!({ "password": password }))?;
    screen
        .line(format!("the user {} has another password; all its logins have ended", args.name))?;
    screen.value(&done)
}
