//! Simulated time: what happens when. Nothing else decides in which order things happen.

use std::{cmp::Ordering, collections::BinaryHeap};

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
    /// The dialling side gives up a connection of which it has not heard that it was made.
    GiveUp(u64),
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

/// Something planned; the heap has the earliest on top, and of those the one that was planned first.
struct Planned {
    moment: Micros,
    number: u64,
    what: What,
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> Ordering {
        (other.moment, other.number).cmp(&(self.moment, self.number))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

/// Everything that is going to happen, in order; what is planned for the same moment happens in the order of planning.
#[derive(Default)]
pub struct Agenda {
    now: Micros,
    planned: u64,
    coming: BinaryHeap<Planned>,
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
        let moment = moment.max(self.now);
        self.coming.push(Planned { moment, number: self.planned, what });
    }

    /// The next thing that happens before `end`; time goes on to it, or to `end`.
    pub fn next_before(&mut self, end: Micros) -> Option<What> {
        if self.coming.peek().is_some_and(|next| next.moment < end) {
            let next = self.coming.pop()?;
            self.now = next.moment;
            return Some(next.what);
        }
        self.now = self.now.max(end);
        None
    }
}
