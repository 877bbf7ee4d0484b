//! `counterpart backup`: all databases of a server in one file, while it serves.

use clap::Args;
use counterpart_core::copy::{CopyDecoder, Item, Order};
use indicatif::ProgressBar;
use serde_json::json;

use super::{Connection, human, save::Target, screen::Screen, transfer::bar};
use crate::exit::{Exit, Failure};

/// What it takes.
#[derive(Args)]
pub struct BackupArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub connection: Connection,
}

/// What has come of a backup, verified as it comes.
struct Checked {
    decoder: CopyDecoder,
    order: Order,
    bar: ProgressBar,
    page_bytes: u64,
}

/// Writes the file. If it cannot be completed, nothing is left of it, and what was there before is untouched.
pub fn run(args: &BackupArgs, screen: &mut Screen) -> Result<(), Failure> {
    let file = &args.target.file;
    let mut checked = Checked {
        decoder: CopyDecoder::new(),
        order: Order::new(),
        bar: bar(0, screen),
        page_bytes: 0,
    };
    let client = args.connection.client()?;
    let fetched =
        args.target.fetch_checked(&client, "/api/v1/backup", &mut |piece| checked.take(piece));
    checked.bar.finish_and_clear();
    let length = fetched?;
    let head = checked.order.head().expect("a whole copy has a head");
    let (databases, end) = (head.databases.len(), checked.order.reached());
    let what = if databases == 1 { "database" } else { "databases" };
    screen.line(format!(
        "{} holds {databases} {what} as of LSN {end} ({} in {})",
        file.display(),
        human::bytes(checked.page_bytes),
        human::bytes(length)
    ))?;
    screen.value(&json!({
        "file": file,
        "bytes": length,
        "server": head.server,
        "lsn": end,
        "made_at": head.made_at,
        "databases": head.databases.iter().map(|d| &d.name).collect::<Vec<_>>(),
    }))
}

impl Checked {
    /// Takes what has come; an empty piece is the end.
    fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.decoder.buffer().extend_from_slice(piece);
        while let Some(item) = self.decoder.next_item().map_err(|e| broken(&e))? {
            self.order.take(&item).map_err(|e| broken(&e))?;
            match &item {
                Item::Head(head) => {
                    let bytes = |d: &counterpart_core::message::SeedDatabase| {
                        u64::from(d.pages) * d.page_size.bytes() as u64
                    };
                    self.bar.set_length(head.databases.iter().map(bytes).sum());
                }
                Item::Pages(pages) => {
                    self.page_bytes += pages.bytes.len() as u64;
                    self.bar.set_position(self.page_bytes);
                }
                _ => {}
            }
        }
        if piece.is_empty() {
            self.order.finish().map_err(|e| broken(&e))?;
        }
        Ok(())
    }
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Unreachable,
        "BACKUP_BROKEN_OFF",
        format!("the backup broke off: {error}"),
        "run the command again; the server's log says more",
    )
}
