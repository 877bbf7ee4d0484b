//! `counterpart login` and `counterpart logout`: keep a token for a server, and forget it.

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use serde_json::json;

use counterpart_core::{Fingerprint, FingerprintError};

use super::{
    Connection, client::Client, credentials, known, screen::Screen, secret, view, voucher::Voucher,
};
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
    /// The fingerprint of the server's TLS key, as its log and its status show it: know the server by this key from now on
    #[arg(long, value_name = "HEX")]
    pub fingerprint: Option<String>,
    /// Only make sure of the server's TLS key; keep no token
    #[arg(long, conflicts_with = "token_file")]
    pub no_token: bool,
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
    let voucher = vouch(args, screen)?;
    if args.no_token {
        let url = args.connection.server.trim_end_matches('/');
        screen.line(format!("commands know the server at {url} from now on"))?;
        return screen.value(&json!({ "server": url }));
    }
    let token = match (&args.user, &args.token_file) {
        (Some(user), _) => with_password(args, user, &voucher)?,
        (None, Some(file)) => credentials::from_file(file)?,
        (None, None) => typed(screen)?,
    };
    let client = Client::showing(&args.connection.server, Some(&token), voucher)?;
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

/// Makes sure who the server is before it is told a token; a key that nobody but the operator vouches for is remembered.
fn vouch(args: &LoginArgs, screen: &mut Screen) -> Result<Voucher, Failure> {
    let url = args.connection.server.trim_end_matches('/');
    let secure = url.starts_with("https://");
    if !secure && (args.no_token || args.fingerprint.is_some()) {
        return Err(Failure::new(
            Exit::Usage,
            "SERVER_URL_INVALID",
            format!("{url:?} is not the URL of a server that has a TLS key"),
            "give https://HOST:PORT",
        ));
    }
    if let Some(text) = &args.fingerprint {
        let key = text.parse().map_err(|error: FingerprintError| {
            let remedy =
                "copy it from the server's log, or from `counterpart status` on its machine";
            Failure::new(Exit::Usage, "FINGERPRINT_INVALID", error.to_string(), remedy)
        })?;
        return remembered(url, key);
    }
    let here = args.token_file.as_deref().and_then(Voucher::beside);
    let voucher = match (Voucher::of(url, &args.connection.trusted)?, here) {
        (Voucher::System, Some(here)) => here,
        (voucher, _) => voucher,
    };
    if !secure {
        return Ok(voucher);
    }
    let Some(untrusted) = Client::showing(url, None, voucher.clone())?.untrusted()? else {
        // Found beside the token, and not named in the environment of later commands.
        return match voucher {
            Voucher::Here(key) => match remembered(url, key) {
                // An authority vouches for the key that is shown, and the one beside the token is not in use.
                Err(other) if other.code == "CERTIFICATE_CHANGED" => Ok(voucher),
                outcome => outcome,
            },
            voucher => Ok(voucher),
        };
    };
    if !screen.can_ask() {
        return Err(voucher.refused(url, &untrusted));
    }
    let shown = untrusted.shown;
    let question = format!(
        "Nobody vouches for the server at {url}. Its TLS key has the fingerprint\n  {shown}\nCompare it with the one in the \
         server's log, or in `counterpart status` on its machine. Is it the same?"
    );
    screen.confirm(&question, false)?;
    remembered(url, shown)
}

/// Knows the server by this key, which it has to show now.
fn remembered(url: &str, key: Fingerprint) -> Result<Voucher, Failure> {
    let voucher = Voucher::Told(key);
    Client::showing(url, None, voucher.clone())?.reach()?;
    known::remember(url, key)?;
    Ok(voucher)
}

/// Forgets the token for the server, and the key by which it is known. The server is not asked.
pub fn logout(args: &LogoutArgs, screen: &mut Screen) -> Result<(), Failure> {
    let url = Client::showing(&args.connection.server, None, Voucher::System)?.url().to_owned();
    let had = credentials::forget(&url)?;
    let known = known::forget(&url)?;
    screen.line(match had {
        true => {
            format!("the token for {url} is forgotten here; `counterpart token revoke` ends it")
        }
        false => format!("there was no token for {url}"),
    })?;
    if known {
        screen.line("its TLS key is forgotten here, too")?;
    }
    screen.value(&json!({ "server": url, "forgotten": had }))
}

/// The token that the server gives a user for a password.
fn with_password(args: &LoginArgs, user: &str, voucher: &Voucher) -> Result<String, Failure> {
    let client = Client::showing(&args.connection.server, None, voucher.clone())?;
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
