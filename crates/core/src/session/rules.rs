//! What is allowed when: one predicate per command, asked by the command and by the status alike, and the
//! admission of clients' writes. Every no is a sentence with a remedy.

use super::{Action, Admission, Assessment, Core, Loss, PairState, mirror::Stage};
use crate::{
    ids::ServerId,
    message::{Code, DataState, Refusal, Role, Safety},
};

type Verdict = Result<(), Refusal>;

fn no(code: Code, what: impl Into<String>, remedy: &str) -> Verdict {
    Err(Refusal::new(code, what, remedy))
}

impl Core {
    pub(super) fn must_be_principal(&self) -> Verdict {
        if self.d.role == Role::Principal {
            return Ok(());
        }
        let is = if self.d.role == Role::Mirror { "a mirror" } else { "standalone" };
        no(
            Code::WrongRole,
            format!("This server is {is}, not the principal."),
            &self.to_the_principal("Run the command on the principal"),
        )
    }

    /// A remedy that leads to the principal, with its address where that is known.
    fn to_the_principal(&self, remedy: &str) -> String {
        match self.known_principal() {
            Some(principal) => format!("{remedy}, {}.", principal.client_url),
            None => format!("{remedy}."),
        }
    }

    /// The partner that a command means.
    ///
    /// # Errors
    /// If it is no partner, or none was named and there is not exactly one.
    pub(super) fn resolve_partner(&self, named: Option<ServerId>) -> Result<ServerId, Refusal> {
        match (named, self.d.partners.as_slice()) {
            (Some(server), members) if members.iter().any(|m| m.address.server == server) => {
                Ok(server)
            }
            (None, [only]) => Ok(only.address.server),
            (Some(server), _) => Err(Refusal::new(
                Code::UnknownPartner,
                format!("This server has no partner {server}."),
                "Look at the partners that `counterpart status` lists.",
            )),
            (None, []) => Err(Refusal::new(
                Code::UnknownPartner,
                "This server has no partner.",
                "Start mirroring first.",
            )),
            (None, _) => Err(Refusal::new(
                Code::PartnerNotNamed,
                "This server has several partners.",
                "Name the one that is meant.",
            )),
        }
    }

    /// Whether a failover to this partner may begin.
    ///
    /// # Errors
    /// The reason why not.
    pub fn may_fail_over(&self, target: ServerId) -> Verdict {
        self.must_be_principal()?;
        if self.failover.is_some() {
            return no(Code::Busy, "A failover is under way.", "Wait for its outcome.");
        }
        if self.d.pending_handover.is_some() {
            return Err(in_doubt());
        }
        if self.journal_failed.is_some() {
            return Err(self.journal_refusal());
        }
        if self.engine != Some(Role::Principal) || self.inquiry_until.is_some() {
            return no(
                Code::NotReady,
                "This server is still starting as principal.",
                "Try again in a moment.",
            );
        }
        if self.d.rolled_back.is_some() {
            return Err(self.rolled_back_refusal());
        }
        match self.peer(target).map(|peer| peer.state) {
            Some(PairState::Synchronized) => self.distrust_of(target).map_or(Ok(()), Err),
            Some(state) => no(
                Code::WrongState,
                format!("A failover needs a synchronized mirror; the pair is {state}."),
                match state {
                    PairState::Suspended => {
                        "Run `counterpart resume`, and wait until it is SYNCHRONIZED."
                    }
                    _ => {
                        "Wait until it is SYNCHRONIZED; if the principal is gone, promote the mirror."
                    }
                },
            ),
            None => no(
                Code::UnknownPartner,
                format!("This server has no partner {target}."),
                "Name a partner.",
            ),
        }
    }

    /// Whether this server may be promoted; with `force`, also where the operator must know better.
    ///
    /// # Errors
    /// The reason why not.
    pub fn may_promote(&self, force: bool) -> Verdict {
        if self.promotion.is_some() {
            return no(Code::Busy, "A promotion is under way.", "Wait for its outcome.");
        }
        if self.journal_failed.is_some() {
            return Err(self.journal_refusal());
        }
        match self.d.role {
            Role::Standalone => no(
                Code::WrongRole,
                "This server is standalone; it serves already.",
                "Nothing need be done.",
            ),
            Role::Principal if self.d.pending_handover.is_some() => {
                if self.failover.is_some() {
                    return no(Code::Busy, "A failover is under way.", "Wait for its outcome.");
                }
                if force { Ok(()) } else { Err(in_doubt()) }
            }
            Role::Principal if self.d.rolled_back.is_some() => {
                if force {
                    Ok(())
                } else {
                    Err(self.rolled_back_refusal())
                }
            }
            Role::Principal => no(
                Code::WrongRole,
                "This server is the principal already.",
                "Nothing need be done.",
            ),
            Role::Mirror => self.may_promote_mirror(force),
        }
    }

    fn may_promote_mirror(&self, force: bool) -> Verdict {
        if self.is_switching() {
            return Err(switching());
        }
        if self.joins_with_data() {
            return no(
                Code::NotConsistent,
                "This server has joined with data of its own that is not in line with the principal yet.",
                "Undo the joining, or end mirroring here, if it shall serve its own data.",
            );
        }
        if self.data() != DataState::Consistent {
            return no(
                Code::NotConsistent,
                "The copy on this mirror is not whole yet.",
                "Let the seed finish, or promote another mirror.",
            );
        }
        if !matches!(self.upstream.stage, Stage::Down | Stage::Greeting) {
            return no(
                Code::WrongState,
                "This mirror is connected to its principal.",
                "Use failover on the principal; promote only when the principal is gone.",
            );
        }
        if self.d.deposed.is_some() && !force {
            return no(
                Code::Deposed,
                "This server was deposed: another one became principal since.",
                "Promote the other server; or force it, knowing that the other's later events are left behind.",
            );
        }
        if let (Some(refusal), false) = (self.distrust(), force) {
            return Err(refusal);
        }
        Ok(())
    }

    /// Whether this pair may be suspended.
    ///
    /// # Errors
    /// The reason why not.
    pub fn may_suspend(&self, server: ServerId) -> Verdict {
        self.must_be_principal()?;
        let others =
            self.d.partners.iter().filter(|m| m.synchronized && m.address.server != server);
        let marked = self.member(server).is_some_and(|member| member.synchronized);
        if marked && !crate::quorum::may_stop_waiting(self.d.require_mirror, others.count()) {
            return no(
                Code::MirrorRequired,
                "Writes require a synchronized mirror and this is the last one.",
                "Allow writes without a mirror first, or synchronize another one.",
            );
        }
        match self.peer(server).map(|peer| peer.state) {
            Some(PairState::Suspended) => {
                no(Code::WrongState, "Mirroring is suspended already.", "Nothing need be done.")
            }
            Some(PairState::PendingFailover) => {
                no(Code::Busy, "A failover is under way.", "Wait for its outcome.")
            }
            Some(_) => Ok(()),
            None => no(
                Code::UnknownPartner,
                format!("This server has no partner {server}."),
                "Name a partner.",
            ),
        }
    }

    /// Whether this pair may be resumed.
    ///
    /// # Errors
    /// The reason why not.
    pub fn may_resume(&self, server: ServerId) -> Verdict {
        self.must_be_principal()?;
        match self.peer(server).map(|peer| peer.state) {
            Some(PairState::Suspended) => Ok(()),
            Some(state) => no(
                Code::WrongState,
                format!("Mirroring is not suspended; the pair is {state}."),
                "Nothing need be done.",
            ),
            None => no(
                Code::UnknownPartner,
                format!("This server has no partner {server}."),
                "Name a partner.",
            ),
        }
    }

    /// Whether mirroring may be ended.
    ///
    /// # Errors
    /// The reason why not.
    pub fn may_stop(&self) -> Verdict {
        if self.d.role == Role::Standalone {
            return no(
                Code::WrongRole,
                "This server is standalone; there is nothing to end.",
                "Nothing need be done.",
            );
        }
        let changing = self.failover.is_some() || self.promotion.is_some();
        if changing || self.upstream.takeover.is_some() {
            return no(
                Code::Busy,
                "A failover or promotion is under way.",
                "Wait for its outcome.",
            );
        }
        if self.d.pending_handover.is_some() {
            return Err(in_doubt());
        }
        Ok(())
    }

    /// What is known before a promotion.
    #[must_use]
    pub fn assess(&self) -> Assessment {
        let (was_synchronized, safety) = (self.d.was_synchronized, self.d.safety);
        let position = self.end;
        let last_contact = self.upstream.heard.or(self.d.last_contact);
        let missing = self.upstream.hardened.since(position);
        // Whoever ended itself cannot know how long the principal went on.
        let waited_for = was_synchronized && safety == Safety::Full;
        let stayed = self.upstream.heard.is_some();
        let loss = match (waited_for, missing) {
            _ if self.d.deposed.is_some() => Loss::Unknown,
            (true, _) if stayed => Loss::Nothing,
            (true, _) => Loss::Unknown,
            (false, 0) => Loss::Unknown,
            (false, events) => Loss::AtLeast(events),
        };
        let words = match loss {
            _ if self.d.deposed.is_some() => format!(
                "This server was deposed: it has what it served up to {position}, and lacks everything that the server \
                 which deposed it confirmed since."
            ),
            Loss::Nothing => format!(
                "0 lost if the principal ended with the connection: commits waited for this mirror, which has \
                 everything up to {position}. If the principal went on alone, what it confirmed since is not here."
            ),
            Loss::AtLeast(events) => format!(
                "At least {events} events after {position} may be lost, and whatever the principal confirmed since the \
                 last contact."
            ),
            Loss::Unknown if waited_for => format!(
                "0 lost if the principal confirmed nothing after this mirror ended, which has been started anew since \
                 it last heard from it. What the principal confirmed alone after {position} is not here."
            ),
            Loss::Unknown => format!(
                "What the principal confirmed after {position} may be lost; how much is not known, because commits \
                 did not wait for this mirror."
            ),
        };
        Assessment { was_synchronized, safety, position, last_contact, loss, words }
    }

    /// Makes the admission of writes what the present state says it must be; opens only what is on disk.
    pub(super) fn settle_admission(&mut self) {
        self.settle_inquiry();
        let wanted = match self.admission_now() {
            Admission::Open if !self.hold.is_settled() && !self.office_is_saved() => {
                Admission::Hold
            }
            other => other,
        };
        if self.admission.as_ref() != Some(&wanted) {
            self.admission = Some(wanted.clone());
            self.emit(Action::SetAdmission(wanted));
        }
    }

    fn admission_now(&self) -> Admission {
        let refuse = |refusal: Refusal| {
            let principal = self.known_principal().map(|address| address.client_url);
            Admission::Refuse { refusal, principal }
        };
        if self.d.role == Role::Mirror {
            return refuse(self.mirror_refusal());
        }
        if self.journal_failed.is_some() {
            return refuse(self.journal_refusal());
        }
        let doubt = self.hold.possible().chain([&self.d]).any(|d| d.pending_handover.is_some());
        if doubt && self.failover.is_none() {
            return refuse(in_doubt());
        }
        let ready = self.engine.is_some_and(|role| role != Role::Mirror);
        if self.d.rolled_back.is_some() {
            return refuse(self.rolled_back_refusal());
        }
        if !ready || self.failover.is_some() || self.inquiry_until.is_some() {
            return Admission::Hold;
        }
        let synchronized = self.peers.iter().any(|peer| peer.state == PairState::Synchronized);
        if self.d.role == Role::Principal && self.d.require_mirror && !synchronized {
            return refuse(Refusal::new(
                Code::MirrorRequired,
                "No mirror is synchronized and this server must not confirm writes alone.",
                "Bring the mirror back, or allow writes without a mirror.",
            ));
        }
        Admission::Open
    }

    fn mirror_refusal(&self) -> Refusal {
        // Clients act on the code: whether this server was the principal once makes no difference to them.
        Refusal::new(
            Code::ReadOnlyMirror,
            "This server is a mirror and takes no writes.",
            self.to_the_principal("Write to the principal"),
        )
    }

    /// The first invariant that does not hold; `None` if all do. Checked after every step in debug builds.
    #[must_use]
    pub fn broken_invariant(&self) -> Option<&'static str> {
        let d = &self.d;
        let alone = d.session.0 == 0 && d.partners.is_empty();
        if (d.role == Role::Standalone) != alone {
            return Some("a standalone server has no session and no partners, any other has both");
        }
        if d.role == Role::Mirror && d.partners.iter().any(|m| m.suspended || m.synchronized) {
            return Some("a mirror holds no synchronized or suspended members");
        }
        if self.peers.len() != if d.role == Role::Principal { d.partners.len() } else { 0 } {
            return Some("a principal has one pair per partner, any other none");
        }
        if d.history.current().is_some_and(|epoch| epoch > d.epoch) {
            return Some("the history is never ahead of the epoch");
        }
        if d.role != Role::Mirror && self.commit > self.end {
            return Some("an acting server knows of no final event that it does not have");
        }
        if self.admission == Some(Admission::Open)
            && (d.role == Role::Mirror
                || self.failover.is_some()
                || d.pending_handover.is_some()
                || d.rolled_back.is_some())
        {
            return Some("writes are admitted by an acting server outside of failovers only");
        }
        self.peers.iter().find_map(|peer| self.broken_pair(peer))
    }

    fn broken_pair(&self, peer: &super::Peer) -> Option<&'static str> {
        let Some(member) = self.member(peer.server) else {
            return Some("every pair has a member");
        };
        let towards = self.failover.as_ref().is_some_and(|f| f.target == peer.server)
            || self.d.pending_handover.as_ref().is_some_and(|p| p.target == peer.server);
        match peer.state {
            PairState::Synchronized
                if !member.synchronized || peer.link.is_none() || !peer.streaming =>
            {
                Some("a synchronized pair has a link, a stream and the mark")
            }
            _ if (peer.state == PairState::Suspended) != member.suspended => {
                Some("a pair is suspended exactly while its member is")
            }
            _ if (peer.state == PairState::PendingFailover) != towards => {
                Some("a pair is pending exactly while a failover runs towards it")
            }
            PairState::Disconnected if peer.link.is_some() => {
                Some("a disconnected pair has no link")
            }
            _ => None,
        }
    }
}

/// A spooled copy is taking the place of what was here.
pub(super) fn switching() -> Refusal {
    Refusal::new(
        Code::Busy,
        "A copy that is whole is taking the place of what was here; neither is usable until that is done.",
        "Wait a moment: it is done without the principal, and then this mirror can be promoted.",
    )
}

pub(super) fn in_doubt() -> Refusal {
    Refusal::new(
        Code::InDoubt,
        "A handover was sent and not answered; whether the partner took over is not known here.",
        "Let the two servers see each other again; or look at the partner, and if it is no principal, promote this one by force.",
    )
}
