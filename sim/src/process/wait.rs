//! Who waits for which position to become final, as the node's confirmations do it.

use std::collections::BTreeMap;

use counterpart_core::{Lsn, session::LinkId};

use super::{Around, Job, Process};

/// Somebody who waits.
#[derive(Clone, Copy, Debug)]
pub enum Waiter {
    /// A client's write.
    Write(Lsn),
    /// A client's read.
    Read(Lsn),
    /// The checkpoint of this number.
    Checkpoint(u64),
    /// The sender of a seed.
    Seed(LinkId),
    /// The sender of a copy.
    Copy(LinkId),
    /// A copy's mark.
    PagesMark(LinkId, Lsn),
    /// A seed's mark.
    Mark(LinkId, Lsn),
    /// A drop of a database.
    Drop(counterpart_core::DatabaseId, Lsn),
}

/// What is final, and who waits.
#[derive(Default)]
pub struct Confirmations {
    commit: Lsn,
    waiting: BTreeMap<(Lsn, u64), Waiter>,
    arrivals: u64,
    ended: bool,
}

impl Confirmations {
    /// Everything up to here is final.
    pub fn commit_lsn(&self) -> Lsn {
        self.commit
    }

    /// Another era begins.
    pub fn begin(&mut self, lsn: Lsn) {
        self.ended = false;
        self.commit = lsn;
    }
}

impl Process {
    /// Has `waiter` go on once `lsn` is final: at once, later, or as a failure.
    pub(super) fn when_final(&mut self, around: &mut Around, lsn: Lsn, waiter: Waiter) {
        let waits = &mut self.confirmations;
        if lsn <= waits.commit {
            return self.woken(around, waiter, true);
        }
        if waits.ended {
            return self.woken(around, waiter, false);
        }
        waits.arrivals += 1;
        waits.waiting.insert((lsn, waits.arrivals), waiter);
    }

    /// Everything up to `lsn` is final.
    pub(super) fn advance(&mut self, around: &mut Around, lsn: Lsn) {
        if lsn <= self.confirmations.commit {
            return;
        }
        self.confirmations.commit = lsn;
        let later = self.confirmations.waiting.split_off(&(lsn.next(), 0));
        let due = std::mem::replace(&mut self.confirmations.waiting, later);
        for waiter in due.into_values() {
            self.woken(around, waiter, true);
        }
    }

    /// Nobody is confirmed any more.
    pub(super) fn end_confirmations(&mut self, around: &mut Around) {
        self.confirmations.ended = true;
        for waiter in std::mem::take(&mut self.confirmations.waiting).into_values() {
            self.woken(around, waiter, false);
        }
    }

    fn woken(&mut self, around: &mut Around, waiter: Waiter, is_final: bool) {
        match waiter {
            // An answer that does not come leaves the client in the dark, which promises nothing.
            Waiter::Write(_) | Waiter::Read(_) if !is_final => {}
            Waiter::Write(lsn) | Waiter::Read(lsn) => {
                let facts = self.facts(&around.truth);
                around.trace.line(around.agenda.now(), || {
                    format!("{} tells a client of {lsn}", self.name())
                });
                let write = matches!(waiter, Waiter::Write(_));
                around.truth.told(self.me, lsn, &facts, write);
            }
            Waiter::Checkpoint(number) if is_final => {
                let span = around.dice.around(50);
                self.soon(around, span, Job::Checkpoint(number));
            }
            Waiter::Checkpoint(number) => self.give_up_checkpoint(around, number),
            Waiter::Seed(link) if is_final => self.soon(around, 1, Job::SeedIsFinal(link)),
            Waiter::Mark(link, mark) if is_final => {
                self.soon(around, 1, Job::PrepareSeed(link, Some(mark)));
            }
            Waiter::Copy(link) if is_final => self.soon(around, 1, Job::Copy(link)),
            Waiter::PagesMark(link, mark) if is_final => self.pages_prepared(around, link, mark),
            Waiter::Seed(link)
            | Waiter::Mark(link, _)
            | Waiter::Copy(link)
            | Waiter::PagesMark(link, _) => {
                self.seed_failed(around, link, "what was read did not become final");
            }
            Waiter::Drop(id, lsn) if is_final => self.forget_dropped(around, id, lsn),
            Waiter::Drop(..) => self.dropping = None,
        }
    }
}
