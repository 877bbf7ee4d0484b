//! What is to be told to others, for whoever does the telling: the node itself sends nothing anywhere.

use super::Node;
use crate::monitor::{Channel, Notice};

impl Node {
    /// What this channel has to tell next; waits until there is something.
    pub async fn next_notice(&self, channel: Channel) -> Notice {
        let mut pushed = self.shared.alarms.pushed.subscribe();
        loop {
            match self.reading(move |shared| Ok(shared.alarms.next(channel))).await {
                Ok(Some(notice)) => return notice,
                Ok(None) => {}
                Err(refusal) => tracing::error!(%refusal, "what is to be told can't be found out"),
            }
            // The sender lives in `shared`, which this node holds.
            let _pushed = pushed.changed().await;
        }
    }

    /// The channel has told this notice, or has given it up for the reason.
    pub async fn notice_told(&self, channel: Channel, number: u64, given_up: Option<String>) {
        let noting = self.reading(move |shared| {
            shared.alarms.channel_told(channel, number, given_up);
            Ok(())
        });
        if let Err(refusal) = noting.await {
            tracing::error!(%refusal, "what was told could not be noted");
        }
    }

    /// The channel could not tell, and will try again.
    pub fn notice_failed(&self, channel: Channel, why: String) {
        self.shared.alarms.note_error(channel, Some(why));
    }
}
