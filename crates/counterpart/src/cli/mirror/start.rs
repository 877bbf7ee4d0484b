//! `counterpart mirror start`: checks everything, then enables; a failure names its step and leaves both servers as
//! they were.

mod follow;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    super::{client::Client, human, screen::Screen, transfer::Watched, view, voucher::CaCert},
    check::{self, Side},
    enable,
    steps::Steps,
    wait::{self, Patience},
};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct StartArgs {
    /// The server that is to be the principal; it may have other mirrors already
    #[arg(long, value_name = "URL")]
    pub principal: String,
    /// The server that is to be the mirror
    #[arg(long, value_name = "URL")]
    pub mirror: String,
    /// When a commit is confirmed: full = hardened on both servers, off = on the principal
    /// [default: full at first, then as it is]
    #[arg(long)]
    pub safety: Option<Safety>,
    /// Give up the data that the mirror has now
    #[arg(long)]
    pub replace: bool,
    /// Backups of the principal (`counterpart backup`), each with the segments of its journal that follow it, if any,
    /// or plain SQLite files NAME.db, to begin with: only what differs is sent then. The mirror must be empty
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from_backup: Vec<PathBuf>,
    /// Do not ask before data is given up
    #[arg(long, short)]
    pub yes: bool,
    /// End once the mirror has connected, without waiting until it is synchronized
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub trusted: CaCert,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// When a commit is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Safety {
    Full,
    Off,
}

impl Safety {
    fn word(self) -> &'static str {
        match self {
            Safety::Full => "full",
            Safety::Off => "off",
        }
    }
}

/// Starts mirroring.
pub fn run(args: &StartArgs, screen: &mut Screen) -> Result<(), Failure> {
    start(args, Patience::USUAL, screen)
}

/// [`run`], with the patience given.
pub fn start(args: &StartArgs, patience: Patience, screen: &mut Screen) -> Result<(), Failure> {
    let (principal, mirror) =
        (Client::new(&args.principal, &args.trusted)?, Client::new(&args.mirror, &args.trusted)?);
    let steps = &mut Steps::new(screen);
    let (principal, mirror) = check::both(steps, principal, mirror, args.replace)?;
    let given = follow::arrange(&args.from_backup)?;
    follow::check_names(&args.from_backup, &principal)?;
    confirm_replace(args, &mirror, steps.screen())?;
    if !given.is_empty() {
        steps.step("give the mirror its backups", |screen| {
            given.iter().try_for_each(|backup| give(&mirror, backup, screen))
        })?;
    }
    let session = check::session(&principal)?;
    let safety = args.safety.map(Safety::word);
    steps
        .step("join on the mirror", |_| enable::join(session, &principal, &mirror, args.replace))?;
    steps.step("enable on the principal", |_| {
        enable::enable(session, &principal, &mirror, safety)
    })?;
    steps.step("mirror connects", |_| {
        wait::connected(&principal, &mirror, patience).map_err(|failure| {
            if failure.code != "MIRROR_NOT_CONNECTED" {
                return failure;
            }
            enable::undone(failure, enable::disable(session, &principal, &mirror))
        })
    })?;
    if !args.no_wait {
        steps.step("mirror synchronized", |screen| {
            wait::synchronized(&principal, &mirror, patience, screen)
        })?;
    }
    report(args, &principal, &mirror, &session.to_string(), steps)
}

/// Only where there is something to lose: databases beyond an empty `main`.
fn confirm_replace(args: &StartArgs, mirror: &Side, screen: &mut Screen) -> Result<(), Failure> {
    if !args.replace || args.yes {
        return Ok(());
    }
    let list = mirror.client.get("/api/v1/databases")?;
    let databases = list["databases"].as_array().map_or(&[][..], Vec::as_slice);
    let names = databases.iter().filter_map(|database| {
        let size = human::bytes(view::number(database, "/size_bytes")?);
        Some(format!("{} ({size})", view::text(database, "/name")?))
    });
    let names: Vec<String> = names.collect();
    let question = format!(
        "Give up all data of {}: {}{}?",
        mirror.client.url(),
        if names.is_empty() { "no databases".to_owned() } else { names.join(", ") },
        only_here(&mirror.status).unwrap_or_default()
    );
    screen.confirm(&question, false)
}

/// What would be lost for good: nobody else has it, and it is not saved.
fn only_here(status: &Value) -> Option<String> {
    let parked = status.pointer("/mirroring/parked")?;
    let events = view::number(parked, "/end")?.checked_sub(view::number(parked, "/common")?)?;
    Some(format!(
        ", and {} that nobody else has (`counterpart mirror rejoin` would keep them as orphans)",
        human::events(events)
    ))
}

/// Sends a backup to the mirror-to-be.
fn give(mirror: &Side, backup: &follow::Given, screen: &Screen) -> Result<(), Failure> {
    let name = backup.file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Only these characters need no escaping in a path, and only they are in a database's name.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut content = Watched::new(backup.open()?, backup.length, screen);
    let path = format!("/api/v1/mirroring/backups/{name}");
    mirror.client.put(&path, backup.length, &mut content).map(|_done| ())
}

fn report(
    args: &StartArgs,
    principal: &Side,
    mirror: &Side,
    session: &str,
    steps: &mut Steps<'_>,
) -> Result<(), Failure> {
    let done = json!({
        "session": session,
        "principal": { "server": principal.server, "url": principal.client.url() },
        "mirror": { "server": mirror.server, "url": mirror.client.url() },
        "synchronized": !args.no_wait,
        "steps": steps.done(),
    });
    let screen = steps.screen();
    let (principal, mirror) = (principal.client.url(), mirror.client.url());
    screen.line(if args.no_wait {
        format!(
            "{mirror} has connected to {principal}; `counterpart status --watch` shows the seed"
        )
    } else {
        format!("{mirror} is an exact, live copy of {principal}")
    })?;
    screen.value(&done)
}

#[cfg(test)]
mod tests;
