//! The laws, as demands on what happens.

use counterpart_core::{Epoch, Lsn};

use super::{EventId, Facts, Office, Promise, Truth};

impl Truth {
    /// Whether a server's disk has this very event. `history` is everything up to its journal's end.
    pub(super) fn holds(&self, server: usize, event: EventId) -> bool {
        let shadow = &self.journals[server];
        let lsn = self.events[event].lsn;
        if lsn > shadow.hardened {
            return false;
        }
        match shadow.at(lsn) {
            Some(held) => held == event,
            // Below what it keeps: by what that was written after.
            None => self.history(shadow.base_event)[event],
        }
    }

    /// An acting server says that everything up to `lsn` is final. Its disk says `facts`.
    pub fn committed(&mut self, server: usize, lsn: Lsn, facts: &Facts) {
        let name = Truth::name(server);
        let (hardened, event) = {
            let shadow = &self.journals[server];
            (shadow.hardened, shadow.at(lsn))
        };
        self.demand(lsn <= hardened, || {
            format!("{name} calls {lsn} final and hardened {hardened}")
        });
        let Some(event) = event else { return };
        if facts.acts {
            let older = self.older;
            for &mirror in facts.awaited.iter().filter(|&&mirror| older & 1 << mirror == 0) {
                let held = self.holds(mirror, event);
                let what = self.called(event);
                self.demand(held, || {
                    format!(
                        "{name} calls {what} final while its disk calls {} synchronized, which lacks it",
                        Truth::name(mirror)
                    )
                });
            }
        }
        let mut at = Some(event);
        while let Some(event) = at.filter(|&event| !self.events[event].committed) {
            self.events[event].committed = true;
            at = self.events[event].parent;
        }
    }

    /// A client was told that its event stays (or saw it, which is the same).
    pub fn told(&mut self, server: usize, lsn: Lsn, facts: &Facts, write: bool) {
        let name = Truth::name(server);
        let Some(event) = self.journals[server].at(lsn) else { return };
        let (epoch, what) = (self.events[event].epoch, self.called(event));
        if write {
            self.tally.confirmed += 1;
            self.demand(facts.acts, || format!("{name} confirms {what} as a mirror"));
            // One that was promoted where it served goes on with what it had not confirmed yet.
            let own =
                facts.epoch == epoch || (facts.epoch > epoch && facts.epoch.server == epoch.server);
            self.demand(own, || {
                format!("{name} confirms {what}, and its disk says epoch {}", facts.epoch)
            });
            self.demand(!facts.in_doubt, || {
                format!("{name} confirms {what} although it has handed over")
            });
        } else {
            self.tally.reads += 1;
        }
        let committed = self.events[event].committed;
        self.demand(committed, || format!("{name} tells of {what} before it is final"));
        let higher = self.offices.iter().any(|office| office.epoch > epoch);
        self.demand(!write || !higher || self.is_apart(epoch), || {
            format!("{name} confirms {what} although another server has taken over since")
        });
        let awaited = facts
            .awaited
            .iter()
            .filter(|&&mirror| self.older & 1 << mirror == 0 || self.holds(mirror, event));
        let holders = awaited.fold(1 << server, |bits, &mirror| bits | 1 << mirror);
        self.promise(server, event, holders);
    }

    /// Whether an operator's promotion may have made two principals of which this epoch's is one.
    fn is_apart(&self, epoch: Epoch) -> bool {
        self.offices.iter().any(|office| office.forced && office.epoch.term >= epoch.term)
    }

    fn promise(&mut self, by: usize, event: EventId, holders: u8) {
        // What was promised of a later event of the same history promises the earlier ones too.
        if self.newest.insert((by, holders), event) != Some(event) {
            self.promises.push(Promise { event, by, holders, lost: false });
        }
    }

    /// An operator had a server's own data replaced: what it told is gone with that word.
    pub fn replaced(&mut self, server: usize) {
        self.promises.retain(|promise| promise.by != server);
        self.newest.retain(|(by, _), _| *by != server);
    }

    /// A server has saved these events as orphans: the records from one on, and databases that are `state`. What was
    /// removed before is kept only if those show it.
    pub fn orphaned(&mut self, server: usize, common: Lsn, end: Lsn, from: Lsn, state: u64) {
        let name = Truth::name(server);
        let Some(last) = self.journals[server].at(end) else { return };
        let shown = self.events[last].state;
        self.demand(shown == state, || {
            format!("{name} saved databases that are not what they were at {end}")
        });
        // The copies have the whole history in them, where the journal here begins later too.
        let least = if shown == state { common.next() } else { from };
        let mut at = Some(last);
        while let Some(event) = at.filter(|&event| self.events[event].lsn >= least) {
            self.saved.insert((server, event));
            at = self.events[event].parent;
        }
    }

    /// A mirror shows everything up to `lsn`; its databases are `state`. `whole`: nothing above it may be in them.
    pub fn shows(&mut self, server: usize, lsn: Lsn, state: u64, as_mirror: bool) {
        let name = Truth::name(server);
        let Some(event) = self.journals[server].at(lsn) else { return };
        let (expected, committed) = (self.events[event].state, self.events[event].committed);
        let what = self.called(event);
        self.demand(expected == state, || {
            format!("{name} shows databases at {what} that are not what they were there")
        });
        if as_mirror {
            self.tally.shown += 1;
            self.demand(committed, || format!("{name} shows {what} before it is final"));
            self.promise(server, event, 1 << server);
        }
    }

    /// A server's disk says that it is principal in this epoch, which may be news.
    pub fn holds_office(&mut self, server: usize, epoch: Epoch) {
        if epoch.term > self.terms[server] {
            self.terms[server] = epoch.term;
            let forced = std::mem::take(&mut self.promoting[server]);
            self.took_office(server, epoch, forced);
        }
    }

    fn took_office(&mut self, server: usize, epoch: Epoch, forced: bool) {
        let name = Truth::name(server);
        let end = self.journals[server].last();
        if forced {
            self.tally.promotions += 1;
        } else {
            self.tally.failovers += 1;
        }
        self.offices.push(Office { epoch, forced });
        let history = self.history(end);
        for index in 0..self.promises.len() {
            let promise = self.promises[index];
            if promise.lost || history[promise.event] {
                continue;
            }
            let apart = self.was_apart(promise.event, &history);
            let what = self.called(promise.event);
            let by = Truth::name(promise.by);
            if forced {
                let held = promise.holders & (1 << server) != 0;
                self.demand(!held || apart, || {
                    format!("promoting {name} loses {what} of {by}, which waited for {name}")
                });
                self.tally.lost += 1;
            }
            self.demand(forced || apart, || {
                format!("the failover to {name} in {epoch} loses {what}, told by {by}")
            });
            self.promises[index].lost = true;
        }
    }

    /// Whether this event was written after another server had been promoted, or in the office of a promoted one while
    /// another went on: there were two principals, which an operator was told.
    fn was_apart(&self, event: EventId, history: &[bool]) -> bool {
        let mut at = Some(event);
        while let Some(event) = at.filter(|&event| !history[event]) {
            at = self.events[event].parent;
        }
        let common = at.map_or(Epoch::default(), |event| self.events[event].epoch);
        // The newest office is the one being taken.
        let before = &self.offices[..self.offices.len() - 1];
        before.iter().any(|office| office.forced && office.epoch > common)
    }

    /// All is quiet and `principal` serves: what was told is there, or kept where it was told.
    pub fn conclude(&mut self, principal: usize) {
        let history = self.history(self.journals[principal].last());
        for index in 0..self.promises.len() {
            let promise = self.promises[index];
            if history[promise.event] {
                continue;
            }
            let what = self.called(promise.event);
            let (name, by) = (Truth::name(principal), Truth::name(promise.by));
            let apart = promise.lost || self.was_apart_at_all(promise.event, &history);
            self.demand(apart, || format!("{what}, told by {by}, is not on {name}"));
            // Its server would have kept it, on the disk that was replaced.
            let died = promise.lost && self.events[promise.event].died;
            let kept = self.unkept
                || died
                || self.is_saved(promise.event)
                || (0..self.journals.len()).any(|server| self.holds(server, promise.event));
            self.demand(kept, || {
                format!("{what}, told by {by} and lost by a promotion, is kept nowhere")
            });
        }
    }

    fn was_apart_at_all(&self, event: EventId, history: &[bool]) -> bool {
        let mut at = Some(event);
        while let Some(event) = at.filter(|&event| !history[event]) {
            at = self.events[event].parent;
        }
        let common = at.map_or(Epoch::default(), |event| self.events[event].epoch);
        self.offices.iter().any(|office| office.forced && office.epoch > common)
    }
}
