//! `counterpart failover`: the principal and a synchronized mirror swap roles.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Connection, ask, client::Client, screen::Screen, view};
use crate::{clock, exit::Failure};

/// How long one waits for the old principal to join as mirror. The failover itself is over before.
const JOIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// What it takes.
#[derive(Args)]
pub struct FailoverArgs {
    /// The mirror that is to be the principal: its identity, URL or partner address; needed where there are several
    #[arg(long, value_name = "MIRROR")]
    pub to: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

/// Asks the principal; returns once the mirror serves and the pair is synchronized again, so that the next failover
/// may follow at once.
pub fn run(args: &FailoverArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let to = ask::partner_id(&client, args.to.as_deref())?;
    let outcome = client.post("/api/v1/mirroring/failover", &json!({ "to": to }))?;
    screen.line("the roles are swapped; nothing was lost")?;
    if let Some(url) = view::text(&outcome, "/failed_over/client_url") {
        screen.line(format!("the principal is now {url}"))?;
    }
    if !joined(&client) {
        screen.line("the old principal has not joined as mirror yet; see `counterpart status`")?;
    }
    screen.value(&outcome)
}

/// Waits until the old principal is a synchronized mirror. That it takes long is no failure of the failover.
fn joined(old: &Client) -> bool {
    let since = clock::uptime();
    while clock::uptime() - since < JOIN {
        if old.status().is_ok_and(|status| {
            let synchronized = |partner| view::text(partner, "/state") == Some("SYNCHRONIZED");
            view::role(&status) == "mirror" && view::partners(&status).iter().all(synchronized)
        }) {
            return true;
        }
        clock::pause(POLL);
    }
    false
}
