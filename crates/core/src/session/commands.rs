//! Operators' commands: the predicate decides, then the change is made, then the answer goes out behind it.

use super::{
    Action, Cause, Command, CommandError, CommandId, Core, Outcome, PairState, failover::Promotion,
    rules::switching,
};
use crate::{
    epoch::EpochHistory,
    ids::{ServerId, SessionId},
    message::{Code, Message, PartnerAddress, Refusal, Role, Safety},
};

/// What a command comes to: an answer now, or one that follows.
type Answer = Result<Option<Outcome>, CommandError>;

const DONE: Answer = Ok(Some(Outcome::Done));

impl Core {
    /// Whether a mirror may begin to write on its own: it can tell where its journal ends, for nothing is on its way into
    /// it and nothing is being cut; and nobody copies what its databases show with all of that in them.
    fn may_leave(&self) -> bool {
        let steady =
            self.engine == Some(Role::Mirror) && self.journal_busy == 0 && self.saving.is_none();
        self.d.role != Role::Mirror || steady || self.journal_failed.is_some()
    }

    /// Commands that waited, because what a server writes on its own begins where its journal ends, and must not get into
    /// what is saved as orphans.
    pub(super) fn settle_postponed(&mut self) {
        if self.may_leave() {
            for (id, command) in std::mem::take(&mut self.postponed) {
                self.command(id, command);
            }
        }
    }

    pub(super) fn command(&mut self, id: CommandId, command: Command) {
        let leaves = matches!(command, Command::CancelJoin | Command::StopMirroring(_));
        if leaves && !self.may_leave() {
            return self.postponed.push((id, command));
        }
        let answer = match command {
            Command::AddPartner { session, partner, safety, require_mirror } => {
                self.command_add_partner(session, partner, safety, require_mirror)
            }
            Command::JoinSession { session, principal, replace, holds_data, history } => {
                let kept = history.filter(|_| holds_data && !replace);
                self.command_join(session, principal, replace, holds_data, kept)
            }
            Command::CancelJoin => self.command_cancel_join(),
            Command::Failover(target) => self.command_failover(id, target),
            Command::Promote { force } => self.command_promote(id, force),
            Command::Suspend(partner) => self.command_suspend(partner),
            Command::Resume(partner) => self.command_resume(partner),
            Command::SetSafety { safety, require_mirror } => {
                self.command_set_safety(safety, require_mirror)
            }
            Command::Rejoin => self.rejoin().map(|()| Some(Outcome::Done)),
            Command::StopMirroring(partner) => self.command_stop(partner),
        };
        match answer {
            Ok(None) => {}
            Ok(Some(outcome)) => self.emit(Action::Reply(id, Ok(outcome))),
            Err(error) => self.emit(Action::Reply(id, Err(error))),
        }
    }

    fn command_add_partner(
        &mut self,
        session: SessionId,
        partner: PartnerAddress,
        safety: Safety,
        require_mirror: bool,
    ) -> Answer {
        assert!(session.0 != 0, "the driver draws a session that is not 0");
        if partner.server == self.d.server {
            return Err(itself());
        }
        if self.d.role == Role::Mirror {
            return Err(Refusal::new(
                Code::WrongRole,
                "This server is a mirror and cannot be a principal too.",
                "Name the present principal as principal.",
            ));
        }
        if self.failover.is_some() || self.d.pending_handover.is_some() {
            return Err(busy());
        }
        if self.d.role == Role::Standalone {
            (self.d.safety, self.d.require_mirror) = (safety, require_mirror);
        }
        self.add_partner(session, partner);
        Ok(Some(Outcome::Partner(self.d.session)))
    }

    fn command_join(
        &mut self,
        session: SessionId,
        principal: PartnerAddress,
        replace: bool,
        holds_data: bool,
        history: Option<EpochHistory>,
    ) -> Answer {
        if principal.server == self.d.server {
            return Err(itself());
        }
        match self.d.role {
            Role::Principal => {
                return Err(Refusal::new(
                    Code::WrongRole,
                    "This server is a principal and cannot be a mirror too.",
                    "Stop mirroring on it first, or name another server as mirror.",
                ));
            }
            Role::Mirror if !replace => {
                return Err(Refusal::new(
                    Code::WrongRole,
                    "This server is a mirror already.",
                    "Allow its data to be replaced if it shall be seeded anew.",
                ));
            }
            Role::Mirror if self.promotion.is_some() || self.upstream.takeover.is_some() => {
                return Err(busy());
            }
            Role::Mirror if self.is_switching() => return Err(switching()),
            _ if history.as_ref().is_some_and(|h| !h.shares_an_epoch(&self.d.history)) => {
                return Err(Refusal::new(
                    Code::NoCommonOrigin,
                    "This server's data and the principal's never had anything in common.",
                    "Allow its data to be replaced, or name an empty server as mirror.",
                ));
            }
            _ if holds_data && !replace && history.is_none() => {
                return Err(Refusal::new(
                    Code::NotEmpty,
                    "This server holds data that mirroring would replace.",
                    "Allow its data to be replaced, or name an empty server as mirror.",
                ));
            }
            Role::Standalone | Role::Mirror => {}
        }
        self.join_session(session, principal, history.is_some());
        DONE
    }

    fn command_cancel_join(&mut self) -> Answer {
        if self.d.role != Role::Mirror || self.d.before_join.is_none() {
            return Err(Refusal::new(
                Code::TooLate,
                "There is nothing to undo here, or the data is being replaced already.",
                "End mirroring instead.",
            ));
        }
        self.cancel_join();
        DONE
    }

    fn command_failover(&mut self, id: CommandId, target: Option<ServerId>) -> Answer {
        self.must_be_principal()?;
        let target = self.resolve_partner(target)?;
        self.may_fail_over(target)?;
        self.begin_failover(id, target);
        Ok(None)
    }

    fn command_promote(&mut self, id: CommandId, force: bool) -> Answer {
        self.may_promote(force)?;
        let assessment = self.assess();
        self.promotion = Some(Promotion { id, assessment, taken: false });
        if self.d.role == Role::Principal {
            self.promote_now();
            return Ok(None);
        }
        // A conversation that has not come to anything must not begin now.
        if let Some(link) = self.upstream.link {
            self.drop_link(link, "this mirror is being promoted");
        }
        Ok(None)
    }

    fn command_suspend(&mut self, partner: Option<ServerId>) -> Answer {
        self.must_be_principal()?;
        let server = self.resolve_partner(partner)?;
        self.may_suspend(server)?;
        self.turn(server, Cause::Suspend, "");
        if let Some(member) = self.member_mut(server) {
            member.suspended = true;
        }
        self.stop_waiting(server, false);
        self.persist();
        let Some(peer) = self.peer_mut(server) else { return DONE };
        let link = peer.link;
        peer.stop_sending();
        if let Some(link) = link {
            self.emit(Action::StopStreaming(link));
            self.send(link, Message::StateChanged { state: PairState::Suspended });
        }
        DONE
    }

    fn command_resume(&mut self, partner: Option<ServerId>) -> Answer {
        self.must_be_principal()?;
        let server = self.resolve_partner(partner)?;
        self.may_resume(server)?;
        if let Some(member) = self.member_mut(server) {
            member.suspended = false;
        }
        self.persist();
        let link = self.peer(server).and_then(|peer| peer.link);
        self.turn(server, if link.is_some() { Cause::ResumeLinked } else { Cause::Resume }, "");
        if let Some(link) = link {
            self.send(link, Message::JoinAgain);
        }
        DONE
    }

    fn command_set_safety(&mut self, safety: Safety, require_mirror: bool) -> Answer {
        self.must_be_principal()?;
        if self.failover.is_some() || self.d.pending_handover.is_some() {
            return Err(busy());
        }
        let changed = self.d.safety != safety;
        if changed {
            // What was confirmed under the old safety says nothing about the new one: synchronize again. The
            // marks go first, also those of mirrors that are away.
            for index in 0..self.peers.len() {
                self.stop_waiting(self.peers[index].server, true);
            }
        }
        (self.d.safety, self.d.require_mirror) = (safety, require_mirror);
        self.persist();
        if changed {
            self.rejoin_all();
        }
        DONE
    }

    fn rejoin_all(&mut self) {
        for index in 0..self.peers.len() {
            let (server, link, state) = {
                let peer = &self.peers[index];
                (peer.server, peer.link, peer.state)
            };
            let (Some(link), true) = (link, state != PairState::Suspended) else { continue };
            self.turn(server, Cause::Joined, "the safety changed");
            if let Some(peer) = self.peer_mut(server) {
                peer.stop_sending();
            }
            self.emit(Action::StopStreaming(link));
            self.send(link, Message::JoinAgain);
        }
    }

    fn command_stop(&mut self, partner: Option<ServerId>) -> Answer {
        self.may_stop()?;
        match (self.d.role, partner) {
            (Role::Principal, Some(server)) => {
                let server = self.resolve_partner(Some(server))?;
                self.remove_partner(server);
            }
            _ => self.become_standalone(),
        }
        DONE
    }
}

fn itself() -> Refusal {
    Refusal::new(
        Code::PartnerIsSelf,
        "A server cannot be its own partner.",
        "Name two different servers.",
    )
}

fn busy() -> Refusal {
    Refusal::new(Code::Busy, "A change of roles is under way.", "Wait for its outcome.")
}
