//! Entering and leaving the session, and what the engine says about its role.

use super::{Action, AlarmKind, Core, Durable, Ended, Level, Upstream};
use crate::{
    epoch::{Epoch, EpochHistory},
    ids::{ServerId, SessionId},
    message::{Code, Message, PartnerAddress, Refusal, Role},
};

impl Core {
    pub(super) fn became(&mut self, role: Role) {
        // An answer to an older request: a newer one is under way, perhaps for the same role in another epoch.
        if self.hold.holds_become() || role != self.d.role {
            return;
        }
        self.engine = Some(role);
        if role == Role::Mirror {
            // Nothing is queued for the journal any more.
            self.end = self.hardened;
            self.resume_switch();
        } else {
            self.promotion_done();
        }
    }

    pub(super) fn local_journal_failed(&mut self, error: String) {
        let text = format!("the journal failed: {error}; writes are refused until a restart");
        self.log(Level::Error, text.clone());
        self.alarm(AlarmKind::JournalFailed, None, true, text);
        self.journal_failed = Some(error);
        let refusal = self.journal_refusal();
        if self.failover.as_ref().is_some_and(|f| f.step != super::failover::Step::Sent) {
            self.abort_failover(refusal.clone());
        }
        if let Some(promotion) = self.promotion.take().filter(|promotion| !promotion.taken) {
            self.emit(Action::Reply(promotion.id, Err(refusal)));
        }
        if let (Role::Mirror, Some(link)) = (self.d.role, self.upstream.link) {
            self.drop_link(link, "the journal failed");
        }
    }

    pub(super) fn journal_refusal(&self) -> Refusal {
        let error = self.journal_failed.as_deref().unwrap_or_default();
        Refusal::new(
            Code::JournalFailed,
            format!("The journal failed: {error}."),
            "Look at the disk, then restart the server; it recovers everything that was confirmed.",
        )
    }

    /// Takes a mirror in; the first one makes this server a principal.
    pub(super) fn add_partner(&mut self, session: SessionId, partner: PartnerAddress) {
        let server = partner.server;
        self.d
            .ended
            .retain(|ended| ended.partner != Some(server) || ended.session != self.d.session);
        let first = self.d.role == Role::Standalone;
        if first {
            self.d.role = Role::Principal;
            self.d.session = session;
            self.d.ended.retain(|ended| ended.session != session);
            self.d.exposed_since = Some(self.now.unix);
        }
        let member = super::Member { address: partner, suspended: false, synchronized: false };
        match self.member_mut(server) {
            Some(known) => known.address = member.address,
            None => {
                let mut peer = super::Peer::new(&member, self.now.ticks);
                // It is told to join by the command's second half; asking it now would find a stranger.
                peer.retry.next = self.now.ticks.after(self.config.reconnect_most);
                self.peers.push(peer);
                self.d.partners.push(member);
            }
        }
        self.persist();
        if first {
            self.emit(Action::BecomePrincipal(self.d.epoch));
        }
        self.tell_members();
    }

    /// Tells every mirror who the members are.
    fn tell_members(&mut self) {
        for index in 0..self.peers.len() {
            let peer = &self.peers[index];
            if let Some(link) = peer.link {
                let members = self.members_for(peer.server);
                self.send(link, Message::Partners(members));
            }
        }
    }

    /// The members as a mirror keeps them: the principal first, not itself.
    pub(super) fn members_for(&self, mirror: ServerId) -> Vec<PartnerAddress> {
        let own = PartnerAddress {
            server: self.d.server,
            partner_address: self.config.partner_address.clone(),
            client_url: self.config.client_url.clone(),
        };
        let others = self.d.partners.iter().map(|member| member.address.clone());
        std::iter::once(own).chain(others.filter(|member| member.server != mirror)).collect()
    }

    /// On the principal: a partner is none any more. Without partners the server is standalone.
    pub(super) fn remove_partner(&mut self, server: ServerId) {
        if self.d.partners.iter().all(|member| member.address.server == server) {
            return self.become_standalone();
        }
        let link = self.peer(server).and_then(|peer| peer.link);
        if self.failover.as_ref().is_some_and(|failover| failover.target == server) {
            self.failover_target_lost("mirroring with it was ended");
        }
        // Commits stop waiting for it, as after a lost link; then it is forgotten.
        self.stop_waiting(server, true);
        if self.d.pending_handover.as_ref().is_some_and(|pending| pending.target == server) {
            self.d.pending_handover = None;
        }
        self.d.rolled_back = self.d.rolled_back.filter(|found| found.mirror != server);
        self.d.partners.retain(|member| member.address.server != server);
        self.peers.retain(|peer| peer.server != server);
        self.note_ended(Some(server));
        self.persist();
        if let Some(link) = link {
            self.send(link, Message::EndMirroring { session: self.d.session });
            self.close(link);
        }
        self.tell_members();
    }

    fn note_ended(&mut self, partner: Option<ServerId>) {
        let ended = Ended { session: self.d.session, partner };
        self.d.ended.push(ended);
        let surplus = self.d.ended.len().saturating_sub(Durable::ENDED_MOST);
        self.d.ended.drain(..surplus);
    }

    /// Leaves the session, keeping the data if it is whole.
    pub(super) fn become_standalone(&mut self) {
        let (session, was, old_epoch) = (self.d.session, self.d.role, self.d.epoch);
        if let Some(failover) = self.failover.take() {
            let what = "Mirroring was ended meanwhile.";
            let remedy = "Start mirroring again, then fail over.";
            let error = Refusal::new(Code::MirroringEnded, what, remedy);
            self.emit(Action::Reply(failover.id, Err(error)));
        }
        let whole = self.data() == crate::message::DataState::Consistent;
        // Data that never got in line with the principal stays, and with it where it comes from.
        self.d.history = self.told_history().clone();
        self.note_ended(None);
        self.d.role = Role::Standalone;
        self.d.session = SessionId(0);
        self.d.partners.clear();
        self.d.exposed_since = None;
        (self.d.pending_handover, self.d.rolled_back) = (None, None);
        self.leave_mirror();
        if was == Role::Mirror {
            // Its own events must not bear the principal's epoch.
            let base = old_epoch.max(std::mem::take(&mut self.d.left_behind));
            self.begin_own_epoch(base.taken_over(self.d.server, self.stride));
        }
        self.peers.clear();
        self.inquiry_until = None;
        self.persist();
        let joined = self.links.iter().filter(|link| link.is_joined()).map(|link| link.id);
        for link in joined.collect::<Vec<_>>() {
            // In the epoch that the partner knows.
            let message = Message::EndMirroring { session };
            let envelope = crate::message::Envelope { epoch: old_epoch, message };
            self.emit(Action::Send(link, envelope));
        }
        self.close_all();
        self.log(Level::Warn, "mirroring has ended; this server is standalone");
        self.emit(Action::BecomeStandalone { epoch: self.d.epoch, discard: !whole });
    }

    fn leave_mirror(&mut self) {
        self.saving = None;
        self.forget_differs();
        (self.d.seeding, self.d.empty, self.d.deposed) = (None, false, None);
        (self.d.was_synchronized, self.d.last_contact, self.d.before_join) = (false, None, None);
        self.upstream = Upstream::default();
        self.last_error = None;
    }

    fn begin_own_epoch(&mut self, epoch: Epoch) {
        self.commit = self.commit.min(self.end);
        self.d.begin_epoch(epoch, self.end);
        self.engine = None;
    }

    /// Joins a session as a mirror: with the data that is here, or as one that has nothing yet.
    pub(super) fn join_session(
        &mut self,
        session: SessionId,
        principal: PartnerAddress,
        keep: bool,
    ) {
        if self.d.role == Role::Standalone {
            let before = (self.d.epoch, std::mem::take(&mut self.d.history));
            self.d.before_join = Some(Box::new(before));
        }
        self.close_all();
        self.d.role = Role::Mirror;
        self.d.session = session;
        self.d.ended.retain(|ended| ended.session != session);
        // Another server's epochs count here from now on, whatever their numbers; but not for the journal as it is.
        self.d.left_behind = self.d.left_behind.max(self.d.epoch);
        (self.d.epoch, self.d.history) = (Epoch::default(), EpochHistory::default());
        (self.d.seeding, self.d.empty, self.d.deposed) = (None, !keep, None);
        self.saving = None;
        self.forget_differs();
        self.d.was_synchronized = false;
        self.set_members(&[principal]);
        self.upstream = Upstream::default();
        (self.commit, self.last_error, self.engine) = (crate::ids::Lsn::ZERO, None, None);
        self.settle_admission();
        self.persist();
        self.log(Level::Info, "initialising as mirror");
        self.emit(Action::BecomeMirror);
    }

    /// Undoes [`join_session`](Self::join_session) before anything was replaced.
    pub(super) fn cancel_join(&mut self) {
        let Some(before) = self.d.before_join.take() else { return };
        let (epoch, history) = *before;
        self.close_all();
        self.d.role = Role::Standalone;
        self.d.session = SessionId(0);
        self.d.partners.clear();
        self.d.history = history;
        self.leave_mirror();
        self.d.left_behind = Epoch::default();
        self.begin_own_epoch(epoch.restarted(self.d.server, self.stride));
        self.persist();
        self.emit(Action::BecomeStandalone { epoch: self.d.epoch, discard: false });
    }
}
