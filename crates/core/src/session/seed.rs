//! Seeding: a fuzzy copy. The principal writes a mark, sends the journal from the mark on and, beside it, all
//! pages as they are; the mirror redoes the journal over them. First changes after a mark are whole images, so
//! it does not matter when between mark and end a page was read.

use super::{Action, Core, LinkId, Lsn, links::Use, links::unexpected, mirror::Stage};
use crate::{
    ids::ServerId,
    message::{Message, Plan, Role, SeedContents, SeedProgress},
};

impl Core {
    // The principal's side.

    pub(super) fn seed_prepared(&mut self, id: LinkId, mark: Lsn, contents: SeedContents) {
        let Some(Use::Downstream(server)) = self.link_use(id) else { return };
        let Some(sending) = self.peer_mut(server).and_then(|peer| peer.seed.as_mut()) else {
            return;
        };
        sending.databases.clone_from(&contents.databases);
        sending.mark = Some(mark);
        self.send(id, Message::SeedBegin { mark, contents });
    }

    /// The mirror has made this much of the seed durable; the first time it says so, pages and journal start.
    pub(super) fn seed_acked(&mut self, id: LinkId, server: ServerId, progress: Box<SeedProgress>) {
        let Some(peer) = self.peer_mut(server) else { return };
        let Some(sending) = &mut peer.seed else { return };
        if sending.mark != Some(progress.mark) {
            return self.refuse(id, unexpected(&Message::SeedAck(progress)));
        }
        let after = sending.journal_after.unwrap_or(progress.mark);
        sending.progress = Some(progress.clone());
        if progress.consistent_at.is_some() {
            peer.seed = None;
            return;
        }
        if !std::mem::replace(&mut sending.sending, true) {
            peer.streaming = true;
            self.emit(Action::StreamFrom(id, after));
            self.emit(Action::SendSeed(id, progress));
        }
    }

    pub(super) fn seed_sent(&mut self, id: LinkId, consistent_at: Lsn) {
        if let Some(Use::Downstream(_)) = self.link_use(id) {
            self.send(id, Message::SeedDone { consistent_at });
        }
    }

    pub(super) fn seed_failed(&mut self, id: LinkId, error: &str) {
        self.drop_link(id, &format!("the copy could not go on: {error}"));
    }

    // The mirror's side.

    pub(super) fn seed_begun(&mut self, id: LinkId, mark: Lsn, message: Message) {
        if self.upstream.stage != Stage::AwaitingSeed {
            return self.refuse(id, unexpected(&message));
        }
        let welcome =
            self.upstream.welcome.take().expect("a mirror that awaits a seed was welcomed");
        self.adopt(&welcome);
        // A mark of the same number may be another principal's: only its word makes it the same seed.
        let goes_on = welcome.plan == Plan::Seed { resumed: true };
        let resumed =
            self.d.seeding.clone().filter(|p| goes_on && p.mark == mark && p.journal_reset);
        self.d.before_join = None;
        self.d.was_synchronized = false;
        if let Some(progress) = resumed {
            self.persist();
            return self.seed_ready(id, progress);
        }
        self.d.seeding = Some(Box::new(SeedProgress::begun(mark)));
        self.d.empty = true;
        // The data that an earlier principal's word was about goes.
        self.commit = self.upstream.commit;
        self.persist();
        self.upstream.stage = Stage::Resetting(mark);
        self.journal_busy += 1;
        self.emit(Action::ResetJournal(mark));
    }

    pub(super) fn journal_reset(&mut self, after: Lsn) {
        self.journal_busy = self.journal_busy.saturating_sub(1);
        self.journal_after = after;
        self.base = after;
        self.forget_differs();
        (self.end, self.hardened) = (after, after);
        (self.applied, self.apply_target) = (after, after);
        if self.upstream.stage != Stage::Resetting(after) {
            return;
        }
        let Some(progress) = &mut self.d.seeding else { return };
        progress.journal_reset = true;
        let progress = progress.clone();
        self.d.left_behind = crate::epoch::Epoch::default();
        self.persist();
        if let Some(id) = self.upstream.link {
            self.seed_ready(id, progress);
        }
    }

    fn seed_ready(&mut self, id: LinkId, progress: Box<SeedProgress>) {
        self.upstream.stage = Stage::Following;
        let (hardened, applied) = (self.hardened, self.applied);
        self.send(id, Message::Ack { hardened, applied });
        self.emit(Action::ReceiveSeed(id, progress.clone()));
        self.send(id, Message::SeedAck(progress));
    }

    pub(super) fn seed_progressed(&mut self, id: LinkId, progress: Box<SeedProgress>) {
        let current = self.d.seeding.as_ref().is_some_and(|p| p.mark == progress.mark);
        if self.upstream.link != Some(id) || self.upstream.stage != Stage::Following || !current {
            return;
        }
        self.upstream_is_of_use();
        self.d.seeding = Some(Box::new(SeedProgress {
            journal_reset: true,
            consistent_at: None,
            ..(*progress).clone()
        }));
        self.persist();
        self.send(id, Message::SeedAck(progress));
    }

    /// All pages were sent; where the copy becomes whole is kept until the driver has them on disk.
    pub(super) fn upstream_seed_done(&mut self, consistent_at: Lsn) {
        self.upstream.seed_end = Some(consistent_at);
    }

    pub(super) fn seed_finished(&mut self, id: LinkId) {
        if self.upstream.link != Some(id) {
            return;
        }
        let (Some(progress), Some(end)) = (&mut self.d.seeding, self.upstream.seed_end.take())
        else {
            return;
        };
        progress.consistent_at = Some(end);
        progress.database = None;
        let progress = progress.clone();
        self.persist();
        self.send(id, Message::SeedAck(progress));
        // Nothing need be redone if nothing was written since the mark.
        self.local_applied(self.applied);
    }

    pub(super) fn local_applied(&mut self, lsn: Lsn) {
        if self.is_switching() {
            // Of what the copy takes the place of: it says nothing about the copy.
            return;
        }
        let caught_up = lsn >= self.hardened && lsn > self.applied;
        // Only a change of the role takes anything back; it is applied anew then.
        let back = lsn < self.applied;
        self.apply_target = if back { lsn } else { self.apply_target.max(lsn) };
        self.applied = lsn;
        if caught_up {
            // Nothing is left to redo. Under load the next event's acknowledgement tells as much; at rest none comes.
            self.acknowledge();
        }
        let end = self.d.seeding.as_ref().and_then(|progress| progress.consistent_at);
        if self.d.role == Role::Mirror && end.is_some_and(|end| end <= lsn) {
            self.d.seeding = None;
            self.d.empty = false;
            self.persist();
            self.log(super::Level::Info, format!("the copy is consistent at {lsn}"));
            if let (Some(id), Stage::Following) = (self.upstream.link, self.upstream.stage) {
                self.send(id, Message::SeedComplete);
            }
        }
    }
}
