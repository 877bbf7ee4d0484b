//! `counterpart alarms test`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::super::{Connection, screen::Screen, view};
use crate::{
    clock,
    exit::{Exit, Failure},
};

/// What it takes.
#[derive(Args)]
pub struct TestArgs {
    #[command(flatten)]
    pub connection: Connection,
}

/// How long a channel gets. What it has to tell before may be much.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often the server is asked.
const ASK: Duration = Duration::from_millis(200);

/// Has every channel tell something, and waits until all have, or one can't.
pub fn run(args: &TestArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let test = client.post(&format!("{}/test", super::ALL), &json!({}))?;
    let number = view::number(&test, "/number").unwrap_or(0);
    let began = clock::uptime();
    loop {
        let list = client.get(super::ALL)?;
        let channels = list["channels"].as_array().map_or(&[][..], Vec::as_slice);
        let failed = channels.iter().find(|channel| channel["error"].is_string());
        if let Some(failed) = failed {
            return Err(not_told(failed, view::text(failed, "/error").unwrap_or("?")));
        }
        let waiting = channels.iter().find(|channel| view::number(channel, "/told") < Some(number));
        match waiting {
            None => {
                let names: Vec<&str> = channels.iter().map(name).collect();
                screen.line(format!("told by {}", names.join(" and ")))?;
                return screen.value(&test);
            }
            Some(slow) if clock::uptime().saturating_sub(began) > PATIENCE => {
                return Err(not_told(slow, "it has not been told yet"));
            }
            Some(_) => clock::pause(ASK),
        }
    }
}

fn name(channel: &Value) -> &str {
    view::text(channel, "/channel").unwrap_or("?")
}

fn not_told(channel: &Value, why: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        "NOT_TOLD",
        format!("the {} does not tell: {why}", name(channel)),
        "mend that, or the setting; the server goes on trying by itself",
    )
}
