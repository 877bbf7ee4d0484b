//! Changing who is principal: planned (failover), forced (promotion), and found out (deposition).
//!
//! ```text
//!  principal:  Draining ─Drained─▶ Hardening ─all have `last`─▶ [persist] Sent ──TookOver──▶ mirror
//!                  └──────── lost, late: abort ───┘               │ lost, late
//!                                                                 ▼
//!                                                             in doubt ── target is mirror, old epoch ──▶ principal
//!                                                                 └────── any higher epoch ─────────────▶ mirror
//! ```

use super::{
    Action, AlarmKind, Assessment, Cause, CommandId, Core, Deposed, Level, LinkId, Millis, Outcome,
    PairState, Peer, PendingHandover, Upstream, links::unexpected, mirror::Stage,
};
use crate::{
    epoch::Epoch,
    ids::{Lsn, ServerId},
    message::{About, Code, DataState, Message, Refusal, Role},
};

/// A failover under way, on the principal.
#[derive(Clone, Debug)]
pub(super) struct Failover {
    pub(super) id: CommandId,
    pub(super) target: ServerId,
    pub(super) step: Step,
    pub(super) deadline: Millis,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Draining,
    Hardening(Lsn),
    Sent,
}

/// A promotion under way.
#[derive(Clone, Debug)]
pub(super) struct Promotion {
    pub(super) id: CommandId,
    pub(super) assessment: Assessment,
    /// The epoch was taken; the engine is changing its role.
    pub(super) taken: bool,
}

impl Core {
    // Planned: the principal's side.

    pub(super) fn begin_failover(&mut self, id: CommandId, target: ServerId) {
        let deadline = self.now.ticks.after(self.config.failover_time);
        self.failover = Some(Failover { id, target, step: Step::Draining, deadline });
        self.turn(target, Cause::Failover, "");
        self.tell(target, PairState::PendingFailover);
        // Writes must wait before the drain begins.
        self.settle_admission();
        self.emit(Action::Drain);
    }

    fn tell(&mut self, server: ServerId, state: PairState) {
        if let Some(link) = self.peer(server).and_then(|peer| peer.link) {
            self.send(link, Message::StateChanged { state });
        }
    }

    pub(super) fn drained(&mut self, last: Lsn) {
        if let Some(failover) = &mut self.failover
            && failover.step == Step::Draining
        {
            failover.step = Step::Hardening(last);
        }
    }

    /// Hands over once everybody who must have it has the last event.
    pub(super) fn settle_failover(&mut self) {
        let Some(Failover { target, step: Step::Hardening(last), .. }) = self.failover else {
            return;
        };
        let Some((link, there)) = self.peer(target).and_then(|p| Some((p.link?, p.hardened)))
        else {
            return;
        };
        if self.hardened < last || there < last || self.commit < last {
            return;
        }
        if self.hardened > last {
            let what =
                format!("The journal grew beyond {last}, where the drain said that it ends.");
            let remedy = "This server stays the principal; try again.";
            return self.abort_failover(Refusal::new(Code::Unexpected, what, remedy));
        }
        let epoch = self.d.epoch.taken_over(target, self.stride);
        self.d.pending_handover = Some(PendingHandover { target, last, epoch });
        // On disk first: a principal that forgot that it handed over would go on confirming.
        self.persist();
        self.send(link, Message::Handover { last, epoch });
        if let Some(failover) = &mut self.failover {
            failover.step = Step::Sent;
        }
    }

    pub(super) fn failover_tick(&mut self) {
        let Some(failover) = &self.failover else { return };
        if self.now.ticks < failover.deadline {
            return;
        }
        if failover.step == Step::Sent {
            let link = self.peer(failover.target).and_then(|peer| peer.link);
            match link {
                Some(link) => self.drop_link(link, "the mirror did not take over in time"),
                None => self.failover = None,
            }
        } else {
            let what = "The failover took longer than allowed and was given up.";
            let remedy = "Look for long transactions and for the send queue, then try again.";
            self.abort_failover(Refusal::new(Code::TimedOut, what, remedy));
        }
    }

    /// Gives up a failover whose handover was not sent.
    pub(super) fn abort_failover(&mut self, why: Refusal) {
        let Some(failover) = self.failover.take() else { return };
        assert!(failover.step != Step::Sent, "a handover that was sent cannot be taken back");
        self.turn(failover.target, Cause::FailoverAborted, &why.what);
        self.tell(failover.target, PairState::Synchronized);
        self.emit(Action::Reply(failover.id, Err(why)));
    }

    /// The link to the failover's target is gone.
    pub(super) fn failover_target_lost(&mut self, why: &str) {
        if self.failover.as_ref().is_some_and(|failover| failover.step != Step::Sent) {
            let what = format!("The mirror was lost before it could take over: {why}.");
            let remedy =
                "This server stays the principal; try again once the pair is synchronized.";
            return self.abort_failover(Refusal::new(Code::PartnerLost, what, remedy));
        }
        let Some(failover) = self.failover.take() else { return };
        self.raise_doubt(failover.target);
        let error = Refusal::new(
            Code::InDoubt,
            format!("The handover was sent and the mirror was lost before it answered: {why}."),
            "Wait until the two see each other again, or look at the mirror and promote one of the two.",
        );
        self.emit(Action::Reply(failover.id, Err(error)));
    }

    pub(super) fn raise_doubt(&mut self, target: ServerId) {
        let text =
            format!("whether partner {target} took over is not known; nothing is confirmed here");
        self.log(Level::Error, text.clone());
        self.alarm(AlarmKind::InDoubt, Some(target), true, text);
    }

    fn clear_doubt(&mut self, target: ServerId) {
        let text = "the handover's outcome is known";
        self.alarm(AlarmKind::InDoubt, Some(target), false, text);
    }

    /// Whether a partner that describes itself so did not take over: it is the target of an unanswered handover and
    /// still a mirror in an earlier epoch.
    pub(super) fn would_end_doubt(&self, about: &About) -> bool {
        let refuted = self.d.pending_handover.as_ref().is_some_and(|pending| {
            pending.target == about.server
                && about.role == Role::Mirror
                && about.epoch < pending.epoch
        });
        refuted && self.failover.is_none()
    }

    /// A partner describes itself, having been asked since the handover's link was given up: if it did not take over,
    /// it never will, because it gave up that link too. What it said before proves nothing: it may have been on its
    /// way while the handover overtook it on another link.
    pub(super) fn resolve_doubt(&mut self, about: &About) {
        if !self.would_end_doubt(about) {
            return;
        }
        self.d.pending_handover = None;
        self.persist();
        self.turn(about.server, Cause::HandoverRefuted, "");
        self.clear_doubt(about.server);
        self.stop_waiting(about.server, false);
    }

    pub(super) fn took_over(&mut self, id: LinkId, server: ServerId, epoch: Epoch, url: &str) {
        let expected = self
            .d
            .pending_handover
            .as_ref()
            .is_some_and(|pending| pending.target == server && pending.epoch == epoch);
        if !expected {
            let message =
                Message::TookOver { epoch, began_after: Lsn::ZERO, client_url: String::new() };
            return self.refuse(id, unexpected(&message));
        }
        if let Some(member) = self.member_mut(server) {
            member.address.client_url = url.to_owned();
        }
        let address = self.member(server).map(|member| member.address.clone());
        self.step_down(epoch, address);
    }

    // Planned: the mirror's side.

    pub(super) fn handed_over(&mut self, id: LinkId, from: ServerId, last: Lsn, epoch: Epoch) {
        let possible = self.upstream.stage == Stage::Following
            && self.d.epoch.hands_over_to(epoch, self.d.server)
            && self.data() == DataState::Consistent
            && self.end == last
            && self.hardened == last
            && self.journal_failed.is_none();
        if let Some(refusal) = self.distrust() {
            return self.refuse(id, refusal);
        }
        if !possible {
            return self.refuse(id, unexpected(&Message::Handover { last, epoch }));
        }
        self.log(Level::Info, format!("taking over from {from} after {last}"));
        self.commit = self.commit.max(last);
        self.upstream.takeover = Some((last, epoch));
    }

    /// Takes over once everything is applied.
    pub(super) fn settle_takeover(&mut self) {
        let Some((last, epoch)) = self.upstream.takeover else { return };
        let Some(link) = self.upstream.link else { return };
        if self.applied < last {
            return;
        }
        let Some(super::links::Use::Upstream(from)) = self.link_use(link) else { return };
        self.take_office(epoch, Some(from));
        let (began_after, client_url) = (last, self.config.client_url.clone());
        self.send(link, Message::TookOver { epoch, began_after, client_url });
        self.set_use(link, super::links::Use::Fresh);
        self.emit(Action::BecomePrincipal(epoch));
    }

    /// Becomes the principal, in the wanted state. Whom commits wait for from the first one on is `kept`: after a
    /// planned swap the old principal, so that nothing is ever confirmed by one server alone.
    fn take_office(&mut self, epoch: Epoch, kept: Option<ServerId>) {
        assert!(epoch > self.d.epoch, "an office is taken in a higher epoch");
        let last = self.hardened;
        // A mirror may know that more was final than it ever received; the positions above are written anew.
        self.commit = self.commit.min(last);
        self.d.begin_epoch(epoch, last);
        self.d.role = Role::Principal;
        (self.d.deposed, self.d.pending_handover, self.d.before_join) = (None, None, None);
        (self.d.rolled_back, self.saving) = (None, None);
        self.forget_differs();
        self.d.was_synchronized = false;
        for member in &mut self.d.partners {
            member.suspended = false;
            member.synchronized = Some(member.address.server) == kept;
        }
        let waits = self.d.partners.iter().any(|member| member.synchronized);
        self.d.exposed_since = (!waits).then_some(self.now.unix);
        self.persist();
        let grace = self.now.ticks.after(self.config.partner_timeout);
        self.peers = self.d.partners.iter().map(|member| Peer::new(member, grace)).collect();
        for peer in self.peers.iter_mut().filter(|peer| Some(peer.server) == kept) {
            // It learns from TookOver; ask only if it does not come.
            peer.retry.next = self.now.ticks.after(self.config.heartbeat());
        }
        self.upstream = Upstream::default();
        (self.failover, self.inquiry_until, self.engine) = (None, None, None);
        self.last_error = None;
        if !waits {
            self.raise_exposed(true);
        }
        self.log(Level::Info, format!("taking office as principal in epoch {epoch} after {last}"));
    }

    // Forced.

    /// Promotes, once everything received is hardened. Orphans that are being saved are so first: what the new principal
    /// writes would get into the copies of the databases.
    pub(super) fn settle_promotion(&mut self) {
        let Some(promotion) = &self.promotion else { return };
        if self.saving.is_some() {
            return;
        }
        if promotion.taken || self.journal_busy > 0 || self.hardened < self.end {
            return;
        }
        if self.engine != Some(Role::Mirror) {
            return;
        }
        self.promote_now();
    }

    pub(super) fn promote_now(&mut self) {
        // Above what a handover may have given away, too.
        let base = self.d.pending_handover.as_ref().map_or(self.d.epoch, |pending| pending.epoch);
        let seen = self.d.rolled_back.map_or(base, |found| found.epoch.max(base));
        let epoch = seen.max(self.d.epoch).taken_over(self.d.server, self.stride);
        self.close_all();
        if let Some(deposed) = &self.d.deposed {
            self.log(
                Level::Warn,
                format!("serving again although deposed by epoch {}", deposed.by),
            );
        }
        self.take_office(epoch, None);
        self.emit(Action::BecomePrincipal(epoch));
        if let Some(promotion) = &mut self.promotion {
            promotion.taken = true;
        }
    }

    pub(super) fn promotion_done(&mut self) {
        if let Some(Promotion { id, assessment, taken: true }) = self.promotion.take() {
            let outcome = Outcome::Promoted { epoch: self.d.epoch, assessment };
            self.emit(Action::Reply(id, Ok(outcome)));
        }
    }

    // Found out.

    /// A member of the session knows a higher epoch.
    pub(super) fn learn_higher(&mut self, by: Epoch, about: &About) {
        match self.d.role {
            Role::Principal => self.deposed(by, about.server, Some(about)),
            Role::Mirror if about.role == Role::Principal => self.principal_seen(about.address()),
            Role::Mirror | Role::Standalone => {}
        }
    }

    /// This principal is none any more. Admission and confirming end in this very step. An epoch of its own that it does
    /// not know is another matter: it has forgotten what it was.
    pub(super) fn deposed(&mut self, by: Epoch, from: ServerId, about: Option<&About>) {
        if by.server == self.d.server {
            return self.note_rolled_back(from, by, about);
        }
        let successor = about.filter(|about| about.role == Role::Principal).map(About::address);
        self.step_down(by, successor);
    }

    fn step_down(&mut self, by: Epoch, successor: Option<crate::message::PartnerAddress>) {
        let own = self.d.epoch;
        let planned = self.d.pending_handover.take().filter(|pending| pending.epoch == by);
        self.d.role = Role::Mirror;
        self.engine = None;
        if let Some(address) = &successor {
            self.d.partners.retain(|member| member.address.server != address.server);
            let member =
                super::Member { address: address.clone(), suspended: false, synchronized: false };
            self.d.partners.insert(0, member);
        }
        for member in &mut self.d.partners {
            (member.suspended, member.synchronized) = (false, false);
        }
        self.d.deposed = Some(Deposed { own, by, at: self.now.unix, parked: None, saved: None });
        self.d.epoch = by;
        (self.d.exposed_since, self.d.rolled_back) = (None, None);
        self.d.was_synchronized = false;
        self.estimates.clear();
        self.peers.clear();
        self.inquiry_until = None;
        self.settle_admission();
        self.persist();
        self.say_stepped_down(by, planned.as_ref());
        self.end_failover(by, planned.as_ref(), successor.as_ref());
        // The cut of what clients were never told is the comparison's business, once this server joins.
        self.upstream = Upstream { hint: successor, ..Upstream::default() };
        self.close_all();
        self.emit(Action::BecomeMirror);
    }

    fn say_stepped_down(&mut self, by: Epoch, planned: Option<&PendingHandover>) {
        if let Some(pending) = planned {
            self.log(Level::Info, format!("partner {} took over in epoch {by}", pending.target));
            return self.clear_doubt(pending.target);
        }
        let text =
            format!("another server is principal in epoch {by}; this one confirms nothing more");
        // The alarm says it. It is no error yet: most of the time this server joins the other one by itself.
        self.alarm(AlarmKind::Deposed, None, true, text);
    }

    fn end_failover(
        &mut self,
        by: Epoch,
        planned: Option<&PendingHandover>,
        successor: Option<&crate::message::PartnerAddress>,
    ) {
        if let Some(promotion) = self.promotion.take() {
            let what = format!("Another server became principal in epoch {by} meanwhile.");
            let error = Refusal::new(Code::Deposed, what, "Look at the status of both servers.");
            self.emit(Action::Reply(promotion.id, Err(error)));
        }
        let Some(failover) = self.failover.take() else { return };
        let answer = if planned.is_some() {
            let client_url = successor.map(|to| to.client_url.clone()).unwrap_or_default();
            Ok(Outcome::FailedOver { to: failover.target, client_url, epoch: by })
        } else {
            let what = format!("Another server became principal in epoch {by} meanwhile.");
            Err(Refusal::new(Code::Deposed, what, "Look at the status of both servers."))
        };
        self.emit(Action::Reply(failover.id, answer));
    }
}
