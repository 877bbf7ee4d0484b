//! `counterpart status`: how a server and its mirroring are, for people or as JSON, once or every second.

use std::time::Duration;

use clap::Args;

use super::{Connection, client::Client, screen::Screen};
use crate::{
    clock,
    exit::{Exit, Failure},
};

mod render;

pub use counterpart_admin::words::progress as progress_line;

/// What it takes.
#[derive(Args)]
pub struct StatusArgs {
    /// Show it again every second, until Ctrl-C
    #[arg(long, short)]
    pub watch: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Shows the status.
pub fn run(args: &StatusArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    if args.watch {
        return watch(&client, screen);
    }
    let status = client.status()?;
    let text = render::status(&status, client.url(), screen);
    screen.line(text)?;
    screen.value(&status)
}

/// Goes on when the server goes away, because that is when one watches.
fn watch(client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    loop {
        let status = client.status();
        if screen.repaints && !screen.json {
            screen.clear()?;
        }
        match status {
            Ok(status) if screen.json => screen.value_line(&status)?,
            Ok(status) => {
                let text = render::status(&status, client.url(), screen);
                screen.line(text)?;
            }
            Err(failure) if failure.exit == Exit::Unreachable => screen.failure(&failure),
            Err(failure) => return Err(failure),
        }
        clock::pause(EVERY);
    }
}
