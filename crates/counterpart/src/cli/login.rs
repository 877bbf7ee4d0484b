//! `counterpart login` and `counterpart logout`: keep a token for a server, and forget it.

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use serde_json::json;

use super::{Connection, client::Client, credentials, screen::Screen, secret, view};
use crate::{
    config::units,
    exit::{Exit, Failure},
};

/// What `login` takes.
#[derive(Args)]
pub struct LoginArgs {
    /// A file that holds the token, as the `admin.token` in a server's data directory; without it, the token is read from
    /// standard input
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Log in as this user; the password is read from the terminal or standard input
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    pub user: Option<String>,
    /// A file whose first line is that user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// How long a user's login is to be good, for example 2d; at most 7d [default: 12h]
    #[arg(long, value_name = "TIME", requires = "user", value_parser = units::duration)]
    pub lifetime: Option<Duration>,
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
    let token = match (&args.user, &args.token_file) {
        (Some(user), _) => with_password(args, user)?,
        (None, Some(file)) => credentials::from_file(file)?,
        (None, None) => typed(screen)?,
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

/// The token that the server gives a user for a password.
fn with_password(args: &LoginArgs, user: &str) -> Result<String, Failure> {
    let client = Client::showing(&args.connection.server, None)?;
    let password =
        secret::password(args.password_file.as_deref(), &format!("password of {user}: "))?;
    let mut asked = json!({ "name": user, "password": password });
    if let Some(lifetime) = args.lifetime {
        asked["lifetime_seconds"] = json!(lifetime.as_secs());
    }
    let logged_in = client.post("/api/v1/login", &asked)?;
    view::text(&logged_in, "/token").map(str::to_owned).ok_or_else(|| {
        Failure::new(
            Exit::NotAServer,
            "NOT_A_SERVER",
            format!("{} let {user} in and gave no token", client.url()),
            "is it a server of another version?",
        )
    })
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
