//! What clients were told, as the checker takes it: transactions over lists, with the moments of question and answer.
//!
//! It must know nothing of servers. A key is a list; a transaction appends elements to lists and reads whole lists.
//! Every element is appended by one transaction only, so that a list tells who wrote it, and in which order.

/// A list.
pub type Key = u32;

/// A value that is appended once, in the whole history.
pub type Element = u64;

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The element was put at the end of the list.
    Append(Key, Element),
    /// The list was read.
    Read(Key, Vec<Element>),
}

/// What the client was told of the whole transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is committed.
    Committed,
    /// It is certainly not, and never will be.
    Refused,
    /// Nothing that would tell: it may be committed, now or later.
    Unknown,
}

/// What its answers are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It takes its place between question and answer: the principal's.
    Strict,
    /// Its reads are one state that the principal passed through, not before the one of the same sitting's last: a
    /// mirror's.
    Prefix {
        /// Reads of one sitting never go back.
        sitting: u32,
    },
}

/// One transaction as its client saw it.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Who asked; for the reader of a failure.
    pub client: u32,
    /// What the answers are held to.
    pub promise: Promise,
    /// What was done, as far as it was answered.
    pub steps: Vec<Step>,
    /// What the client was told.
    pub told: Told,
    /// When it was asked for, on one clock for all clients.
    pub begin: u64,
    /// When the last answer was there.
    pub end: u64,
}

impl Transaction {
    /// The elements that it appends, in order.
    pub fn appends(&self) -> impl Iterator<Item = (Key, Element)> + '_ {
        self.steps.iter().filter_map(|step| match step {
            Step::Append(key, element) => Some((*key, *element)),
            Step::Read(..) => None,
        })
    }

    /// The lists that it read, in order.
    pub fn reads(&self) -> impl Iterator<Item = (Key, &[Element])> + '_ {
        self.steps.iter().filter_map(|step| match step {
            Step::Read(key, list) => Some((*key, list.as_slice())),
            Step::Append(..) => None,
        })
    }
}
