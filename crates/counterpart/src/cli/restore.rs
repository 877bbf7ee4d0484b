//! `counterpart restore`: a backup becomes the data directory of a new server. Asks no server.

use std::path::PathBuf;

use clap::Args;
use counterpart_node::{RestoreError, restore};
use serde_json::json;

use super::{
    human,
    screen::Screen,
    transfer::{bar, length_of},
};
use crate::exit::{Exit, Failure};

/// What it takes.
#[derive(Args)]
pub struct RestoreArgs {
    /// The backup, as `counterpart backup` wrote it
    pub file: PathBuf,
    /// The data directory to make; it must be empty or not be there
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Restores; the whole backup is verified before anything is written.
pub fn run(args: &RestoreArgs, screen: &mut Screen) -> Result<(), Failure> {
    let length = length_of(&args.file)?;
    // Once to verify it, once to write it.
    let bar = bar(2 * length, screen);
    let restored = restore(&args.file, &args.data, &mut |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    let restored = restored.map_err(|error| failed(&error))?;
    let backup = &restored.backup;
    screen.line(format!(
        "{} holds the data of server {} as of LSN {} ({}); start it with `counterpart serve --data {0}`",
        args.data.display(),
        backup.head.server,
        backup.end,
        human::bytes(backup.bytes)
    ))?;
    screen.value(&json!({
        "data": args.data,
        "server": restored.server,
        "from": backup.head.server,
        "lsn": backup.end,
        "bytes": backup.bytes,
        "databases": backup.head.databases.iter().map(|d| &d.name).collect::<Vec<_>>(),
    }))
}

/// Why a backup was not restored, as an operator sees it.
pub fn failed(error: &RestoreError) -> Failure {
    let (code, remedy) = match error {
        RestoreError::Damaged { .. }
        | RestoreError::NotWhole { .. }
        | RestoreError::Differs { .. } => {
            ("BACKUP_DAMAGED", "use another backup; nothing was changed")
        }
        RestoreError::NotEmpty { .. } => {
            ("NOT_EMPTY", "name a directory that is empty or not there")
        }
        RestoreError::Full { .. } => ("DISK_FULL", "free some space, or use a larger disk"),
        RestoreError::Lock(_) => {
            ("DATA_DIRECTORY_IN_USE", "give each server a directory of its own")
        }
        RestoreError::Io { .. } | RestoreError::Control(_) | RestoreError::Journal(_) => {
            return Failure::new(
                Exit::LocalFile,
                "LOCAL_FILE",
                error.to_string(),
                "look after the path and the file system, and run the command again; it begins anew",
            );
        }
    };
    Failure::new(Exit::Refused, code, error.to_string(), remedy)
}
