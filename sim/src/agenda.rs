//! Simulated time: what happens when. Nothing else decides in which order things happen.

use std::collections::BTreeMap;

use crate::process::Job;

/// Microseconds since the world began.
pub type Micros = u64;

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub enum What {
    /// A server's process does something, if it is still the process of that life.
    Job(usize, u64, Job),
    /// The next piece on a connection reaches this end.
    Arrive(u64, usize),
    /// A connection attempt reaches the other machine.
    Reach(u64),
    /// A client does its next thing.
    Client(usize),
    /// Something goes wrong.
    Fault,
    /// A way between two machines is free again.
    Heal(usize, usize),
    /// A machine's disk is as fast and as large as before.
    DiskHeals(usize),
    /// A stopped or crashed server is started again.
    Start(usize),
    /// The operator does something.
    Operator,
}

/// Everything that is going to happen, in order; what is planned for the same moment happens in the order of planning.
#[derive(Default)]
pub struct Agenda {
    now: Micros,
    planned: u64,
    coming: BTreeMap<(Micros, u64), What>,
}

impl Agenda {
    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.now
    }

    /// Plans something for `span` from now.
    pub fn after(&mut self, span: Micros, what: What) {
        self.at(self.now + span, what);
    }

    /// Plans something for a moment, or for now if that has passed.
    pub fn at(&mut self, moment: Micros, what: What) {
        self.planned += 1;
        self.coming.insert((moment.max(self.now), self.planned), what);
    }

    /// The next thing that happens before `end`; time goes on to it, or to `end`.
    pub fn next_before(&mut self, end: Micros) -> Option<What> {
        let entry = self.coming.first_entry().filter(|entry| entry.key().0 < end);
        match entry {
            Some(entry) => {
                self.now = entry.key().0;
                Some(entry.remove())
            }
            None => {
                self.now = self.now.max(end);
                None
            }
        }
    }
}
