//! The checker: knows what clients were told and what disks hold, and nothing of what a server believes.
//!
//! - every event that was ever written, by epoch and LSN, with the one before it and what all databases are after it;
//! - for each server which events its journal holds, as its disk would show;
//! - what somebody was told or shown, which must never be taken back.

mod image;
mod journal;
mod judge;

use std::collections::{BTreeMap, HashMap};

use counterpart_core::{Epoch, Lsn, ServerId};

pub use image::Memory;
pub use journal::Shadow;

/// An event's number among all that were ever written.
pub type EventId = usize;

/// An event, as it was written.
#[derive(Clone, Debug)]
pub struct Event {
    /// The epoch it was written in.
    pub epoch: Epoch,
    /// Its position.
    pub lsn: Lsn,
    /// The event before it, in the journal of its writer.
    pub parent: Option<EventId>,
    /// A checksum of its bytes.
    pub bytes: u64,
    /// What all databases are after it, as one number.
    pub state: u64,
    /// Whether a server said that it is final.
    pub committed: bool,
    /// Whether a server's disk had it that was replaced by an older one.
    pub died: bool,
}

/// A server that took office.
#[derive(Clone, Copy, Debug)]
pub struct Office {
    /// In which epoch.
    pub epoch: Epoch,
    /// Whether an operator promoted it.
    pub forced: bool,
}

/// Something that somebody was told.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The event that must stay.
    pub event: EventId,
    /// Who told it.
    pub by: usize,
    /// The servers that must hold it, as bits: whoever told it, and whom its disk called synchronized.
    pub holders: u8,
    /// A promotion that was allowed to has lost it.
    pub lost: bool,
}

/// What a server's disk says, as far as the checker asks.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// It is no mirror.
    pub acts: bool,
    /// The epoch written down.
    pub epoch: Epoch,
    /// Whether it is known to have handed over.
    pub in_doubt: bool,
    /// Under safety full, whom it calls synchronized.
    pub awaited: Vec<usize>,
}

/// Counts for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Events written.
    pub events: u64,
    /// Writes confirmed.
    pub confirmed: u64,
    /// Reads answered.
    pub reads: u64,
    /// Positions that mirrors showed.
    pub shown: u64,
    /// Offices taken by failover.
    pub failovers: u64,
    /// Offices taken by promotion.
    pub promotions: u64,
    /// Confirmed events that a promotion lost, as it had said that it might.
    pub lost: u64,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn with(self, other: Tally) -> Tally {
        Tally {
            events: self.events + other.events,
            confirmed: self.confirmed + other.confirmed,
            reads: self.reads + other.reads,
            shown: self.shown + other.shown,
            failovers: self.failovers + other.failovers,
            promotions: self.promotions + other.promotions,
            lost: self.lost + other.lost,
        }
    }
}

/// Everything that the checker knows.
pub struct Truth {
    /// The servers' identities.
    pub ids: Vec<ServerId>,
    /// Every event.
    pub events: Vec<Event>,
    names: HashMap<(Epoch, Lsn), EventId>,
    /// Each server's journal.
    pub journals: Vec<Shadow>,
    /// What must stay.
    pub promises: Vec<Promise>,
    newest: BTreeMap<(usize, u8), EventId>,
    /// Events that were saved as orphans.
    saved: std::collections::HashSet<(usize, EventId)>,
    /// Servers that got an older disk: what was counted on may be gone.
    older: u8,
    /// Two of them, or one that has forgotten an office: what a promotion loses may be kept nowhere.
    unkept: bool,
    /// Each server's newest term in office, as its disk says.
    pub terms: Vec<u32>,
    /// Whether each server's operator wants it promoted, while nothing has come of that.
    pub promoting: Vec<bool>,
    /// Offices, in the order in which they were taken.
    pub offices: Vec<Office>,
    /// The first thing that is wrong.
    pub violation: Option<String>,
    /// Counts.
    pub tally: Tally,
}

impl Truth {
    /// Nothing has happened.
    #[must_use]
    pub fn new(ids: Vec<ServerId>) -> Truth {
        let (terms, promoting) = (vec![1; ids.len()], vec![false; ids.len()]);
        let journals = ids.iter().map(|_| Shadow::default()).collect();
        Truth {
            ids,
            events: Vec::new(),
            names: HashMap::new(),
            journals,
            promises: Vec::new(),
            newest: BTreeMap::new(),
            saved: std::collections::HashSet::new(),
            older: 0,
            unkept: false,
            terms,
            promoting,
            offices: Vec::new(),
            violation: None,
            tally: Tally::default(),
        }
    }

    /// Notes that something is wrong; the first time counts.
    pub fn wrong(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    /// Demands something.
    pub fn demand(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong(what);
        }
    }

    /// A server's number.
    #[must_use]
    pub fn index(&self, id: ServerId) -> Option<usize> {
        self.ids.iter().position(|&known| known == id)
    }

    /// A server's name.
    #[must_use]
    pub fn name(server: usize) -> &'static str {
        ["a", "b", "c", "d"][server]
    }

    /// An event's name.
    #[must_use]
    pub fn called(&self, event: EventId) -> String {
        let event = &self.events[event];
        format!("event {} of {}", event.lsn, event.epoch)
    }

    /// The event of this name.
    #[must_use]
    pub fn named(&self, epoch: Epoch, lsn: Lsn) -> Option<EventId> {
        self.names.get(&(epoch, lsn)).copied()
    }

    /// Every event up to this one, as marks.
    #[must_use]
    pub fn history(&self, end: Option<EventId>) -> Vec<bool> {
        let mut marks = vec![false; self.events.len()];
        let mut at = end;
        while let Some(event) = at {
            marks[event] = true;
            at = self.events[event].parent;
        }
        marks
    }
}
