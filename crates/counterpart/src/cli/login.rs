//! `counterpart login` and `counterpart logout`: keep a token for a server, and forget it.

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
};

use clap::Args;
use serde_json::json;

use super::{Connection, client::Client, credentials, screen::Screen, view};
use crate::exit::{Exit, Failure};

/// What `login` takes.
#[derive(Args)]
pub struct LoginArgs {
    /// A file that holds the token, as the `admin.token` in a server's data directory; without it, the token is read from
    /// standard input
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub connection: Connection,
}

/// What `logout` takes.
#[derive(Args)]
pub struct LogoutArgs {
    #[command(flatten)]
    pub connection: Connection,
}

/// Asks the server who shows this token, and keeps the token.
pub fn login(args: &LoginArgs, screen: &mut Screen) -> Result<(), Failure> {
    let token = match &args.token_file {
        Some(file) => credentials::from_file(file)?,
        None => typed(screen)?,
    };
    let client = Client::showing(&args.connection.server, Some(&token))?;
    let identity = client.get("/api/v1/whoami")?;
    let file = credentials::keep(client.url(), &token)?;
    let part = |pointer| view::text(&identity, pointer).unwrap_or("?").to_owned();
    screen.line(format!(
        "logged in at {} as {} ({}); the token is kept in {}",
        client.url(),
        part("/name"),
        part("/role"),
        file.display()
    ))?;
    screen.value(&identity)
}

/// Forgets the token for the server. The server is not asked.
pub fn logout(args: &LogoutArgs, screen: &mut Screen) -> Result<(), Failure> {
    let url = Client::showing(&args.connection.server, None)?.url().to_owned();
    let had = credentials::forget(&url)?;
    screen.line(match had {
        true => {
            format!("the token for {url} is forgotten here; `counterpart token revoke` ends it")
        }
        false => format!("there was no token for {url}"),
    })?;
    screen.value(&json!({ "server": url, "forgotten": had }))
}

/// A line from standard input.
fn typed(screen: &mut Screen) -> Result<String, Failure> {
    let input = io::stdin();
    if input.is_terminal() {
        screen.line("the token:")?;
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    match (read, line.trim()) {
        (Ok(_), token) if !token.is_empty() => Ok(token.to_owned()),
        _ => Err(Failure::new(
            Exit::Usage,
            "TOKEN_MISSING",
            "no token came",
            "give it on standard input, or a file that holds it with --token-file",
        )),
    }
}
