//! Telling others of alarms: a command that is run, a request that is sent.
//!
//! Each channel tells everything in order, one thing at a time, and tells nothing twice unless the server ends in the very moment in which
//! it was told. A receiver that is down is tried again, ever less often; what it misses meanwhile waits in the data directory.

mod command;
mod webhook;

use std::{sync::Arc, time::Duration};

use counterpart_node::{
    Node,
    notices::{Channel, Notice},
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

pub use webhook::Webhook;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause: a receiver that is back is told within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A command that has failed so often is given up: what it tells others may be what it can't do.
const COMMAND_TRIES: u32 = 3;

/// One way to tell.
pub enum Teller {
    /// A command line for the shell.
    Command(String),
    /// Where requests go.
    Webhook(Webhook),
}

impl Teller {
    fn channel(&self) -> Channel {
        match self {
            Teller::Command(_) => Channel::Command,
            Teller::Webhook(_) => Channel::Webhook,
        }
    }

    /// Tells, in bounded time. Blocks.
    fn tell(&self, notice: &Notice) -> Result<(), String> {
        match self {
            Teller::Command(line) => command::run(line, notice),
            Teller::Webhook(webhook) => webhook.send(notice),
        }
    }

    fn gives_up_after(&self, tries: u32) -> bool {
        matches!(self, Teller::Command(_)) && tries >= COMMAND_TRIES
    }
}

/// The channels of these tellers, as the node has to know them.
pub fn channels(tellers: &[Teller]) -> Vec<Channel> {
    tellers.iter().map(Teller::channel).collect()
}

/// Has each teller tell what there is, until its task is aborted.
pub fn start(node: &Arc<Node>, tellers: Vec<Teller>) -> Vec<JoinHandle<()>> {
    let each = |teller| tokio::spawn(keep_telling(Arc::clone(node), Arc::new(teller)));
    tellers.into_iter().map(each).collect()
}

async fn keep_telling(node: Arc<Node>, teller: Arc<Teller>) {
    let channel = teller.channel();
    let (mut tries, mut pause) = (0, FIRST_PAUSE);
    loop {
        let notice = node.next_notice(channel).await;
        let number = notice.number;
        let telling = Arc::clone(&teller);
        let told = spawn_blocking(move || telling.tell(&notice)).await;
        let why = match told {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(panicked) => Some(panicked.to_string()),
        };
        tries += 1;
        let Some(why) = why else {
            node.notice_told(channel, number, None).await;
            (tries, pause) = (0, FIRST_PAUSE);
            continue;
        };
        if tries == 1 {
            tracing::warn!(
                channel = channel.name(),
                number,
                why,
                "an alarm could not be told; it is tried again"
            );
        }
        if teller.gives_up_after(tries) {
            tracing::warn!(channel = channel.name(), number, why, "an alarm was not told");
            node.notice_told(channel, number, Some(why)).await;
            (tries, pause) = (0, FIRST_PAUSE);
            continue;
        }
        node.notice_failed(channel, why);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
