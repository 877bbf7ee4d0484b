//! Starting: from what is on disk to a core that runs. A server acts only as its control file says, and an acting
//! principal takes the next start of its term before anything else.

use super::{
    Action, Config, Core, DialId, Durable, Hold, Level, Millis, Now, PairState, Peer, Recovered,
    Rejoin, Upstream,
};
use crate::message::Role;

impl Core {
    /// Starts from what was found on disk; the first actions are appended to `out`.
    ///
    /// # Panics
    /// If the durable state is one that this core never writes.
    #[must_use]
    pub fn start(config: Config, recovered: Recovered, now: Now, out: &mut Vec<Action>) -> Core {
        let Recovered {
            durable,
            journal_after,
            journal_end,
            commit,
            applied,
            base,
            has_spool,
            stride,
        } = recovered;
        check(&durable);
        assert!(journal_after <= journal_end, "a journal ends before it begins");
        let jitter = config.jitter_seed | 1;
        let mut core = Core {
            config,
            now,
            out: std::mem::take(out),
            hold: Hold::with_saved(durable.clone()),
            d: durable,
            journal_after,
            journal_failed: None,
            journal_busy: 0,
            hardened: journal_end,
            end: journal_end,
            commit,
            applied,
            apply_target: applied,
            base,
            has_spool,
            stride,
            engine: None,
            admission: None,
            links: Vec::new(),
            dials: Vec::new(),
            last_dial: DialId(0),
            next_heartbeat: now.ticks,
            jitter,
            peers: Vec::new(),
            upstream: Upstream::default(),
            failover: None,
            promotion: None,
            inquiry_until: None,
            estimates: Vec::new(),
            saving: None,
            differs: super::heal::Differs::default(),
            healed: super::heal::Healed::default(),
            replay_stopped: None,
            repairs: Vec::new(),
            providing: Vec::new(),
            last_error: None,
            postponed: Vec::new(),
            alarms: std::collections::BTreeSet::new(),
        };
        core.settle_admission();
        match core.d.role {
            Role::Mirror => core.start_as_mirror(),
            Role::Standalone | Role::Principal => core.start_acting(),
        }
        core.settle();
        std::mem::swap(&mut core.out, out);
        core
    }

    /// Takes the next start of the term, so that what this server writes from now on is told from what an
    /// earlier start may have sent and lost.
    fn start_acting(&mut self) {
        let epoch = self.d.epoch.restarted(self.d.server, self.stride);
        self.d.begin_epoch(epoch, self.end);
        self.persist();
        if self.d.role == Role::Standalone {
            self.emit(Action::BecomeStandalone { epoch, discard: false });
            return;
        }
        self.log(
            Level::Info,
            format!("starting as principal in epoch {epoch}; asking the partners"),
        );
        let until = self.now.ticks.after(self.config.inquiry_time);
        self.inquiry_until = Some(until);
        self.peers = self.d.partners.iter().map(|member| Peer::new(member, until)).collect();
        if let Some(pending) = &self.d.pending_handover {
            let target = pending.target;
            for peer in self.peers.iter_mut().filter(|peer| peer.server == target) {
                peer.state = PairState::PendingFailover;
                peer.grace = None;
            }
            self.raise_doubt(target);
        }
        if self.d.exposed_since.is_some() {
            self.raise_exposed(true);
        }
        if self.d.rolled_back.is_some() {
            self.raise_rolled_back();
        }
        self.emit(Action::BecomePrincipal(epoch));
    }

    fn start_as_mirror(&mut self) {
        // A seed that did not write down that the journal is emptied has no pages: it begins anew. Whether the journal
        // is as it was is not known, so nothing is redone from it.
        if self.d.seeding.as_ref().is_some_and(|p| !p.journal_reset && !p.spooled) {
            self.d.seeding = None;
            self.d.empty = true;
        }
        if let Some(progress) = self.d.seeding.as_ref().filter(|p| p.spooled && p.journal_reset) {
            // The end of a copy is final; nobody need say so again for the redo to be finished.
            self.commit = self.commit.max(progress.consistent_at.unwrap_or_default().min(self.end));
            self.apply_target = self.applied.before();
        }
        if let (Rejoin::Automatic, Some(deposed)) = (self.config.rejoin, &mut self.d.deposed) {
            // Parked by hand before, or because the orphans could not be saved: tried (again) at each start.
            deposed.parked = None;
        }
        // What the journal had not hardened when it failed, or the power did, was never confirmed and is gone.
        let end = self.end;
        if let Some(parked) = self.d.deposed.as_mut().and_then(|deposed| deposed.parked.as_mut()) {
            parked.end = parked.end.min(end);
        }
        if let Some(deposed) = &mut self.d.deposed
            && deposed.parked.is_some_and(|parked| parked.end <= parked.common)
        {
            deposed.parked = None;
        }
        self.log(Level::Info, "initialising as mirror");
        // A switch that a crash interrupted goes on once the engine has answered.
        self.emit(Action::BecomeMirror);
    }
}

/// Durable states that cannot be.
fn check(durable: &Durable) {
    assert!(durable.server.0 != 0, "the control file has no server identity");
    let alone = durable.session.0 == 0 && durable.partners.is_empty();
    assert_eq!(
        durable.role == Role::Standalone,
        alone,
        "the control file's role and session contradict each other"
    );
    assert!(
        durable.history.current().is_none_or(|epoch| epoch <= durable.epoch),
        "the control file's history is ahead of its epoch"
    );
    assert!(
        durable.role == Role::Principal || durable.pending_handover.is_none(),
        "only a principal hands over"
    );
}

/// When to try again, and how often it failed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retry {
    pub(super) next: Millis,
    pub(super) attempts: u32,
}

impl Core {
    /// The pause before the attempt after `attempts` failed ones: none, then 1 s doubling to the configured most,
    /// each shortened by up to a quarter so that many servers do not dial in step.
    pub(super) fn pause(&mut self, attempts: u32) -> Millis {
        let Some(doublings) = attempts.checked_sub(1) else {
            return Millis(0);
        };
        let full = (1_000u64 << doublings.min(20)).min(self.config.reconnect_most.0).max(1);
        // xorshift: any spread will do, as long as the same seed gives the same run.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        Millis(full - self.jitter % (full / 4 + 1))
    }
}
