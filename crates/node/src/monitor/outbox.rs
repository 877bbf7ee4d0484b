//! What is still to be told to others, in order, by channel. Kept with the alarms in one file, so that an alarm and what is told of it
//! are written down together: a crash in between would tell nobody, or tell twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Notices that wait at most. A receiver that is away for longer misses the oldest ones, and is told how many.
pub(super) const MOST: usize = 1000;

/// How somebody is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A command is run.
    Command,
    /// A request is sent.
    Webhook,
}

impl Channel {
    /// The channel's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Channel::Command => "command",
            Channel::Webhook => "webhook",
        }
    }
}

/// Something that others are told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// Its number on this server; they ascend, and one that is told again has the same.
    pub number: u64,
    /// What is told, as the manual describes it.
    pub body: Value,
}

/// See the module's head.
///
/// - numbers ascend, and none is given twice;
/// - a notice stays until every channel that there is has told it, or there are too many.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Outbox {
    last: u64,
    waiting: VecDeque<Notice>,
    /// Up to which number each channel has told.
    told: BTreeMap<Channel, u64>,
    /// Alarms whose beginning others were told of, and must be told the end of.
    begun: BTreeSet<u64>,
    /// Notices that were dropped because there were too many.
    dropped: u64,
}

impl Outbox {
    /// These channels there are from now on. One that is new is told what comes, not what was.
    pub(super) fn set_channels(&mut self, channels: &[Channel]) {
        self.told.retain(|channel, _| channels.contains(channel));
        for channel in channels {
            self.told.entry(*channel).or_insert(self.last);
        }
        self.forget();
    }

    /// Puts a notice behind the others; says its number.
    pub(super) fn push(&mut self, mut body: Value) -> u64 {
        self.last += 1;
        // Who is told the same twice knows it by this.
        body["number"] = self.last.into();
        self.waiting.push_back(Notice { number: self.last, body });
        if self.waiting.len() > MOST {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.forget();
        self.last
    }

    /// Others are told of this alarm from now on.
    pub(super) fn begin(&mut self, alarm: u64) {
        self.begun.insert(alarm);
    }

    /// Whether others were told of this alarm.
    pub(super) fn has_begun(&self, alarm: u64) -> bool {
        self.begun.contains(&alarm)
    }

    /// This alarm is over; whether others were told of it.
    pub(super) fn end(&mut self, alarm: u64) -> bool {
        self.begun.remove(&alarm)
    }

    /// What this channel tells next.
    pub(super) fn next(&self, channel: Channel) -> Option<&Notice> {
        let told = *self.told.get(&channel)?;
        self.waiting.iter().find(|notice| notice.number > told)
    }

    /// This channel has told everything up to this number, or has given it up.
    pub(super) fn is_told(&mut self, channel: Channel, number: u64) {
        if let Some(told) = self.told.get_mut(&channel) {
            *told = number.max(*told);
        }
        self.forget();
    }

    /// Up to which number a channel has told, and how many wait.
    pub(super) fn progress(&self, channel: Channel) -> (u64, usize) {
        let told = self.told.get(&channel).copied().unwrap_or(self.last);
        (told, self.waiting.iter().filter(|notice| notice.number > told).count())
    }

    /// How many were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn forget(&mut self) {
        let all = self.told.values().copied().min().unwrap_or(self.last);
        while self.waiting.front().is_some_and(|notice| notice.number <= all) {
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BOTH: [Channel; 2] = [Channel::Command, Channel::Webhook];

    fn with(channels: &[Channel]) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.set_channels(channels);
        outbox
    }

    fn next(outbox: &Outbox, channel: Channel) -> Option<u64> {
        outbox.next(channel).map(|notice| notice.number)
    }

    #[test]
    fn each_channel_tells_everything_in_order_and_what_all_have_told_is_forgotten() {
        let mut outbox = with(&BOTH);
        assert_eq!((outbox.push(json!({})), outbox.push(json!({}))), (1, 2));
        outbox.is_told(Channel::Command, 1);
        assert_eq!(
            (next(&outbox, Channel::Command), next(&outbox, Channel::Webhook)),
            (Some(2), Some(1))
        );
        assert_eq!(outbox.waiting.len(), 2);
        outbox.is_told(Channel::Webhook, 1);
        assert_eq!((outbox.waiting.len(), outbox.progress(Channel::Webhook)), (1, (1, 1)));
    }

    #[test]
    fn without_a_channel_nothing_is_kept_and_a_new_one_is_not_told_what_was() {
        let mut outbox = with(&[]);
        outbox.push(json!({}));
        assert!(outbox.waiting.is_empty());
        outbox.set_channels(&BOTH);
        assert_eq!(next(&outbox, Channel::Webhook), None);
        outbox.push(json!({}));
        outbox.is_told(Channel::Webhook, 2);
        // The command is configured no more, and nobody waits for it.
        outbox.set_channels(&[Channel::Webhook]);
        assert!(outbox.waiting.is_empty());
    }

    #[test]
    fn too_many_cost_the_oldest_and_that_is_counted() {
        let mut outbox = with(&BOTH);
        for number in 0..MOST as u64 + 3 {
            outbox.push(json!({ "n": number }));
        }
        assert_eq!((outbox.waiting.len(), outbox.dropped()), (MOST, 3));
        assert_eq!(next(&outbox, Channel::Webhook), Some(4));
    }

    #[test]
    fn the_end_is_told_of_whatever_the_beginning_was_told_of_and_once() {
        let mut outbox = with(&BOTH);
        outbox.begin(7);
        assert_eq!((outbox.end(7), outbox.end(7), outbox.end(8)), (true, false, false));
    }
}
