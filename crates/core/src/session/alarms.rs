//! Alarms: raised once, cleared once, and never left standing when what they are about has passed.

use super::{Action, Alarm, AlarmKind, Core, PairState};
use crate::{ids::ServerId, message::Role};

impl Core {
    /// Raises or clears an alarm, if that is news.
    pub(super) fn alarm(
        &mut self,
        kind: AlarmKind,
        partner: Option<ServerId>,
        raised: bool,
        text: impl Into<String>,
    ) {
        let subject = (kind, partner);
        let news = if raised { self.alarms.insert(subject) } else { self.alarms.remove(&subject) };
        if news {
            self.emit(Action::Alarm(Alarm { kind, partner, raised, text: text.into() }));
        }
    }

    /// Clears what a change of the role, or the end of the session, has made untrue.
    pub(super) fn settle_alarms(&mut self) {
        let mut over: Vec<_> = self.alarms.iter().copied().collect();
        over.retain(|&(kind, partner)| !self.alarm_holds(kind, partner));
        for (kind, partner) in over {
            let text = match kind {
                AlarmKind::Exposed => "this server is not exposed any more",
                AlarmKind::PartnerLost => "this server does not wait for that partner any more",
                AlarmKind::Deposed => "this server is in line with the principal again",
                AlarmKind::InDoubt => "no handover is unanswered any more",
                AlarmKind::JournalFailed => "the journal works",
                AlarmKind::RolledBack => "this server is no principal with an older disk any more",
                AlarmKind::Differs => "no database is known to differ any more",
                AlarmKind::ReplayStopped => "nothing is known to stand still any more",
            };
            self.alarm(kind, partner, false, text);
        }
    }

    fn alarm_holds(&self, kind: AlarmKind, partner: Option<ServerId>) -> bool {
        match kind {
            AlarmKind::Exposed => self.d.role == Role::Principal && self.d.exposed_since.is_some(),
            AlarmKind::PartnerLost => partner
                .and_then(|server| self.peer(server))
                .is_some_and(|peer| peer.state == PairState::Disconnected),
            AlarmKind::Deposed => self.d.deposed.is_some(),
            AlarmKind::InDoubt => self.d.pending_handover.is_some(),
            AlarmKind::JournalFailed => self.journal_failed.is_some(),
            AlarmKind::RolledBack => self.d.rolled_back.is_some(),
            AlarmKind::Differs => match partner {
                None => !self.differs.is_empty(),
                Some(server) => self.peer(server).is_some_and(|peer| !peer.differs.is_empty()),
            },
            AlarmKind::ReplayStopped => match partner {
                None => self.replay_stopped.is_some(),
                Some(server) => self.peer(server).is_some_and(|peer| peer.stopped.is_some()),
            },
        }
    }
}
