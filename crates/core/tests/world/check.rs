//! The checkers: what clients were told against what disks hold.

use std::collections::{BTreeMap, BTreeSet};

use counterpart_core::{
    Epoch, Lsn, ServerId,
    message::{Role, Safety},
    session::Durable,
};

use super::{Disk, Rec, World};

/// Everything that was ever written and confirmed, as seen from outside.
#[derive(Default)]
pub struct Truth {
    names: BTreeMap<(Epoch, Lsn), u64>,
    /// Confirmed and not known to be lost with the operator's word.
    pub confirmed: Vec<Rec>,
    pub confirmations: u64,
    /// Whatever a client was ever told is safe, less what went with a disk that was replaced.
    pub told: Vec<Rec>,
    /// `(server, event)`: the server had it on a disk that was replaced by an older one.
    replaced: BTreeSet<(usize, u64)>,
    /// Servers whose disk tells what was once the case.
    restored: BTreeSet<usize>,
    /// Who took office in which term, and whether by a promotion.
    pub offices: Vec<(u32, ServerId, bool)>,
}

impl Truth {
    /// (epoch, LSN) names one event forever.
    pub fn wrote(&mut self, rec: Rec) {
        let known = self.names.insert((rec.epoch, rec.lsn), rec.id);
        assert!(
            known.is_none_or(|id| id == rec.id),
            "{:?} was written twice",
            (rec.epoch, rec.lsn)
        );
    }
}

impl World {
    /// A client was told that its write is safe. Judged by the disks alone.
    pub(super) fn check_confirm(&mut self, index: usize, rec: Rec) {
        let node = &self.nodes[index];
        let on_disk = &node.disk.durable;
        assert!(node.disk.hardened >= rec.lsn, "{}: confirmed before it was hardened", node.name);
        assert_ne!(on_disk.role, Role::Mirror, "{}: a mirror confirms nothing", node.name);
        assert_eq!(on_disk.epoch, rec.epoch, "{}: confirms only in its written epoch", node.name);
        assert!(on_disk.pending_handover.is_none(), "{}: confirms nothing in doubt", node.name);
        if on_disk.safety == Safety::Full {
            for member in on_disk.partners.iter().filter(|member| member.synchronized) {
                let mirror = self.by_server(member.address.server).expect("a server of this world");
                // It had the event when it said so.
                let replaced = self.truth.replaced.contains(&(mirror, rec.id));
                assert!(
                    replaced || self.holds(mirror, rec),
                    "{} confirmed {:?} while its disk says that {} is synchronized, which lacks it",
                    self.nodes[index].name,
                    (rec.epoch, rec.lsn),
                    self.nodes[mirror].name
                );
            }
        }
        self.truth.confirmations += 1;
        self.truth.told.push(rec);
        // Where an operator promoted one server while another was in office, or took office unseen, the two
        // are principals apart: the operator was told, and one of them will park. After planned failovers
        // alone there is never a second one.
        let (term, server) = (rec.epoch.term, rec.epoch.server);
        let own_forced = self.truth.offices.contains(&(term, server, true));
        let apart = self.truth.offices.iter().any(|&(other_term, other, forced)| {
            other_term >= term && (other_term, other) != (term, server) && (forced || own_forced)
        });
        let higher = self.nodes.iter().find(|node| {
            node.disk.durable.role == Role::Principal && node.disk.durable.epoch > rec.epoch
        });
        assert!(apart || higher.is_none(), "two principals confirm after a planned failover");
        if !apart {
            self.truth.confirmed.push(rec);
        }
        let line = format!("client: {} is confirmed", rec.lsn);
        self.note(index, &line);
    }

    /// Whether a server has this very event, hardened, in its journal or its databases.
    pub fn holds(&self, index: usize, rec: Rec) -> bool {
        let disk = &self.nodes[index].disk;
        let journal = disk.journal.get(rec.lsn).filter(|_| rec.lsn <= disk.hardened);
        journal.or(disk.content.get(rec.lsn)).is_some_and(|found| found.id == rec.id)
    }

    /// A promoted server takes office. What a principal holds whose disk says that commits waited for this
    /// server must be here; what else is missing is lost with the operator's word.
    pub(super) fn check_promotion(&mut self, index: usize) {
        let server = self.nodes[index].server;
        let own = self.nodes[index].disk.durable.epoch;
        let confirmed = std::mem::take(&mut self.truth.confirmed);
        let (kept, lost): (Vec<Rec>, Vec<Rec>) =
            confirmed.into_iter().partition(|&rec| self.holds(index, rec));
        for (other, node) in self.nodes.iter().enumerate() {
            let durable = &node.disk.durable;
            let waited = !self.truth.restored.contains(&other)
                && durable.role == Role::Principal
                && durable.safety == Safety::Full
                && durable.epoch >= own
                && durable.partners.iter().any(|m| m.address.server == server && m.synchronized);
            let had = |rec: &&Rec| self.truth.replaced.contains(&(index, rec.id));
            for rec in lost.iter().filter(|rec| waited && !had(rec)) {
                assert!(
                    !self.holds(other, *rec),
                    "promoting {} loses {:?} although {}'s disk says that commits waited for it",
                    self.nodes[index].name,
                    (rec.epoch, rec.lsn),
                    node.name
                );
            }
        }
        self.truth.confirmed = kept;
    }

    /// A disk was replaced by an older one. What that takes along, nobody can bring back; it is for whoever shows it
    /// elsewhere to see that it is not overwritten.
    pub(super) fn check_restore(&mut self, index: usize, old: &Disk) {
        let server = self.nodes[index].server;
        let durable = &self.nodes[index].disk.durable;
        // What it confirms in an office that it only remembers is as if it had been promoted again.
        self.truth.offices.push((durable.epoch.term, server, true));
        let had = |rec: &Rec| {
            let found = old.journal.get(rec.lsn).or(old.content.get(rec.lsn));
            found.is_some_and(|found| found.id == rec.id)
        };
        let lost: Vec<u64> = self
            .truth
            .told
            .iter()
            .filter(|rec| had(rec) && !self.holds(index, **rec))
            .map(|rec| rec.id)
            .collect();
        self.truth.restored.insert(index);
        let took_along = old.journal.recs.iter().chain(&old.content.recs);
        let took_along: Vec<_> =
            took_along.filter(|rec| !self.holds(index, **rec)).map(|rec| (index, rec.id)).collect();
        self.truth.replaced.extend(took_along);
        let shown = |rec: &Rec| {
            self.nodes.iter().any(|node| {
                let shown = node.disk.content.get(rec.lsn).is_some_and(|found| found.id == rec.id);
                shown || node.disk.orphans.iter().any(|orphan| orphan.id == rec.id)
            })
        };
        let gone: BTreeSet<u64> = self
            .truth
            .told
            .iter()
            .filter(|rec| lost.contains(&rec.id) && !shown(rec))
            .map(|rec| rec.id)
            .collect();
        self.truth.told.retain(|rec| !gone.contains(&rec.id));
        if old.durable.role != Role::Mirror || durable.role != Role::Mirror {
            self.truth.confirmed.retain(|rec| !lost.contains(&rec.id));
        }
    }

    /// A server takes office by a planned failover: it has whatever was confirmed, except what was confirmed behind the
    /// back of the one that handed over to it, after a promotion that neither of them has heard of.
    pub(super) fn check_office(&mut self, index: usize, durable: &Durable) {
        let entries = durable.history.entries();
        let knows =
            |term: u32, server| entries.iter().any(|(e, _)| (e.term, e.server) == (term, server));
        let confirmed = std::mem::take(&mut self.truth.confirmed);
        let (kept, missing): (Vec<Rec>, Vec<Rec>) =
            confirmed.into_iter().partition(|&rec| self.holds(index, rec));
        for rec in &missing {
            let unheard_of = self.truth.offices.iter().any(|&(term, server, forced)| {
                forced && term <= rec.epoch.term && !knows(term, server)
            });
            assert!(
                unheard_of && !entries.iter().any(|&(epoch, _)| epoch == rec.epoch),
                "{} takes over without {:?}, which was confirmed",
                self.nodes[index].name,
                (rec.epoch, rec.lsn)
            );
        }
        self.truth.confirmed = kept;
    }

    /// Every confirmed event is on the principal of the highest epoch.
    pub fn check_nothing_lost(&self) -> usize {
        let newest = (0..self.nodes.len())
            .filter(|&index| self.nodes[index].disk.durable.role != Role::Mirror)
            .max_by_key(|&index| self.nodes[index].disk.durable.epoch)
            .expect("someone serves");
        for rec in &self.truth.confirmed {
            assert!(
                self.holds(newest, *rec),
                "{:?} was confirmed and {} does not have it",
                (rec.epoch, rec.lsn),
                self.nodes[newest].name
            );
        }
        newest
    }

    /// What was confirmed is on the principal; or among somebody's orphans; or on a server that parks with it.
    pub fn check_nothing_dropped_silently(&self, principal: usize) {
        for rec in &self.truth.told {
            let kept =
                |node: &super::Node| node.disk.orphans.iter().any(|orphan| orphan.id == rec.id);
            let parks = |index: usize| {
                let deposed = self.nodes[index].disk.durable.deposed.as_ref();
                deposed.is_some_and(|deposed| deposed.parked.is_some()) && self.holds(index, *rec)
            };
            assert!(
                self.holds(principal, *rec)
                    || self.nodes.iter().any(kept)
                    || (0..self.nodes.len()).any(parks),
                "{:?} was confirmed, and is neither on {} nor anywhere among the orphans",
                (rec.epoch, rec.lsn),
                self.nodes[principal].name
            );
        }
    }

    /// What a mirror shows is a prefix of what its principal has.
    pub fn check_prefix(&self, mirror: usize, principal: usize) {
        let (shown, truth) = (&self.nodes[mirror].disk.content, &self.nodes[principal].disk);
        for rec in &shown.recs {
            let other = truth.content.get(rec.lsn).or(truth.journal.get(rec.lsn));
            assert!(
                other.is_none_or(|other| other.id == rec.id) && rec.lsn <= truth.journal.end(),
                "{} shows {:?}, which {} never had",
                self.nodes[mirror].name,
                (rec.epoch, rec.lsn),
                self.nodes[principal].name
            );
        }
    }
}
