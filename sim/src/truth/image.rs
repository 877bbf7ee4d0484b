//! Disks replaced by older images of themselves: what dies with the newer disk, and is asked for no more.
//!
//! The servers cannot know better at first: a principal with an older disk serves on until a mirror tells it. So after
//! such an exchange two histories may go on side by side, as after a promotion; but what any other server holds must
//! stay, and nobody may overwrite it.

use counterpart_core::Epoch;

use super::{EventId, Office, Shadow, Truth};

/// What was known of a server's disk when its image was made.
#[derive(Clone, Debug)]
pub struct Memory {
    journal: Shadow,
    saved: Vec<EventId>,
    term: u32,
}

impl Truth {
    /// What is known of a server's disk.
    #[must_use]
    pub fn remember(&self, server: usize) -> Memory {
        let own = self.saved.iter().filter(|(by, _)| *by == server);
        Memory {
            journal: self.journals[server].clone(),
            saved: own.map(|&(_, event)| event).collect(),
            term: self.terms[server],
        }
    }

    /// Whether some server has saved an event as an orphan.
    pub(super) fn is_saved(&self, event: EventId) -> bool {
        (0..self.journals.len()).any(|server| self.saved.contains(&(server, event)))
    }

    /// A server's disk is an older one.
    pub fn put_back(&mut self, server: usize, memory: Memory) {
        self.unkept |= self.older & !(1 << server) != 0 || memory.term < self.terms[server];
        self.older |= 1 << server;
        let newer = self.history(self.journals[server].last());
        self.journals[server] = memory.journal;
        let older = self.history(self.journals[server].last());
        for (event, (newer, older)) in self.events.iter_mut().zip(newer.into_iter().zip(older)) {
            event.died |= newer && !older;
        }
        self.saved.retain(|(by, _)| *by != server);
        self.saved.extend(memory.saved.into_iter().map(|event| (server, event)));
        // Whatever it writes from now on is apart from what others wrote since.
        let newest = self.offices.iter().map(|office| office.epoch.term).max().unwrap_or(1);
        let epoch = Epoch { term: newest, start: u32::MAX, ..Epoch::default() };
        self.offices.push(Office { epoch, forced: true });
        self.forget_what_died(server);
    }

    fn forget_what_died(&mut self, server: usize) {
        let mut promises = std::mem::take(&mut self.promises);
        for promise in promises.iter_mut().filter(|p| p.holders & 1 << server != 0) {
            if !self.holds(server, promise.event) {
                promise.holders &= !(1 << server);
            }
        }
        let lives =
            |event| self.is_saved(event) || (0..self.journals.len()).any(|s| self.holds(s, event));
        promises.retain(|promise| promise.holders != 0 || lives(promise.event));
        // What a mirror received of it and did not apply proves nothing to a principal that lacks it: it may be cut. What
        // a mirror showed is a promise of its own.
        promises.retain(|promise| promise.by != server || self.holds(server, promise.event));
        // One that a promotion had lost, kept on this disk alone, is gone with it.
        promises.retain(|promise| !promise.lost || lives(promise.event));
        self.promises = promises;
        self.newest.clear();
    }
}
