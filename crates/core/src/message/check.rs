//! What no server says. A partner is not believed beyond what its certificate proves: positions and epochs that would
//! run into the ends of their ranges, or a history out of order, end the connection before anything is decided by them.

use super::{About, DataState, Envelope, Message, Plan, SeedProgress};
use crate::{
    epoch::{Epoch, EpochHistory},
    ids::{DatabaseId, Lsn},
};

/// No journal gets beyond this position: a million events a second reach half of it after 146,000 years.
const LSN_MOST: Lsn = Lsn(u64::MAX / 4);

/// More databases than a server creates: one a second for 68 years.
const NUMBER_MOST: DatabaseId = DatabaseId(u32::MAX / 2);

/// More epochs than a session sees: one a minute for a year.
const EPOCHS_MOST: usize = 1 << 19;

impl Envelope {
    /// Why this can be no message of a server; `None` if it can be one.
    #[must_use]
    pub fn nonsense(&self) -> Option<&'static str> {
        if !possible_epoch(self.epoch) {
            return Some("an epoch beyond all terms");
        }
        match &self.message {
            Message::Hello(hello) => about(&hello.about),
            Message::Answer(answer) => about(answer),
            Message::Welcome(welcome) => history(&welcome.history).or_else(|| {
                let mut all = vec![welcome.truncate_to, welcome.hardened, welcome.commit];
                all.extend(match welcome.plan {
                    Plan::Journal { after } => Some(after),
                    Plan::Pages { since } => since,
                    Plan::Seed { .. } | Plan::Wait => None,
                });
                positions(&all)
            }),
            Message::Refused(refused) => positions(&[refused.common.unwrap_or_default()]),
            Message::Ack { hardened, applied } => positions(&[*hardened, *applied]),
            Message::Heartbeat { hardened, reached } => positions(&[*hardened, *reached]),
            Message::SeedAck(progress) => seed(progress),
            Message::Handover { last: lsn, epoch }
            | Message::TookOver { epoch, began_after: lsn, .. } => match possible_epoch(*epoch) {
                true => positions(&[*lsn]),
                false => Some("an epoch beyond all terms"),
            },
            Message::SeedBegin { contents, .. } if contents.next_database > NUMBER_MOST => {
                Some("a database number beyond all")
            }
            Message::Commit { lsn }
            | Message::SeedBegin { mark: lsn, .. }
            | Message::SeedDone { consistent_at: lsn }
            | Message::PagesBegin { mark: lsn }
            | Message::PagesDone { end: lsn }
            | Message::HealDone { at: lsn, .. } => positions(&[*lsn]),
            Message::RecordsWanted { first, last } | Message::RecordsAre { first, last, .. } => {
                positions(&[*first, *last])
            }
            Message::StateChanged { .. }
            | Message::JoinAgain
            | Message::SeedComplete
            | Message::EndMirroring { .. }
            | Message::Partners(_)
            | Message::PagesReady
            | Message::PageWanted { .. }
            | Message::PageIs { .. }
            | Message::HealWanted { .. }
            | Message::HealFailed { .. }
            | Message::Differs(_)
            | Message::ReplayStopped(_)
            | Message::ClientKey(_) => None,
        }
    }
}

fn possible_epoch(epoch: Epoch) -> bool {
    epoch.term <= Epoch::TERM_MOST
}

fn positions(all: &[Lsn]) -> Option<&'static str> {
    all.iter().any(|&lsn| lsn > LSN_MOST).then_some("a position that no journal reaches")
}

fn history(history: &EpochHistory) -> Option<&'static str> {
    let entries = history.entries();
    if entries.len() > EPOCHS_MOST || !history.is_ordered() {
        return Some("epochs out of order");
    }
    if entries.iter().any(|&(epoch, _)| !possible_epoch(epoch)) {
        return Some("an epoch beyond all terms");
    }
    positions(&[entries.last().map_or(Lsn::ZERO, |&(_, began)| began)])
}

fn seed(progress: &SeedProgress) -> Option<&'static str> {
    let whole = progress.consistent_at.unwrap_or_default();
    positions(&[progress.mark, progress.copied_at, whole])
}

fn about(about: &About) -> Option<&'static str> {
    if about.server.0 == 0 {
        return Some("a server without an identity");
    }
    if !possible_epoch(about.epoch) {
        return Some("an epoch beyond all terms");
    }
    let all = [about.end, about.hardened, about.applied, about.base];
    let data = match &about.data {
        DataState::Seeding(progress) => seed(progress),
        DataState::Empty | DataState::Consistent => None,
    };
    history(&about.history).or(positions(&all)).or(data)
}
