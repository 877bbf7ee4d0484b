//! What the driver notes after each step: how far everybody is, and how long it took.
//!
//! It belongs to the driver, which alone sees each position change; it reads the clock only if one has changed.

use std::{sync::Arc, time::Duration};

use counterpart_core::{
    Lsn, ServerId,
    message::Role,
    session::{Core, PairState, Reached},
};

use super::{
    figures::{Figures, OfMirror},
    trail::Trail,
};
use crate::clock;

/// Mirrors that a principal has at most, as far as figures are concerned; memory for more is made when they come.
const MIRRORS: usize = 4;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Gauges {
    seen: Option<Reached>,
    /// Hardened here: not yet final on an acting server, not yet applied on a mirror.
    here: Trail,
    mirrors: Vec<Mirror>,
}

#[derive(Debug)]
struct Mirror {
    server: ServerId,
    synchronized: bool,
    hardened: Lsn,
    trail: Trail,
    figures: Arc<OfMirror>,
}

impl Gauges {
    /// Nothing has been seen.
    pub(crate) fn new() -> Gauges {
        Gauges { seen: None, here: Trail::new(Lsn::ZERO), mirrors: Vec::with_capacity(MIRRORS) }
    }

    /// Notes what the last step has changed. Says if the role is another one: which it was, and which it is.
    pub(crate) fn note(&mut self, core: &Core, figures: &Figures) -> Option<(Role, Role)> {
        let reached = core.reached();
        let before = self.seen.replace(reached);
        let mut now = None;
        match before {
            // Positions of another role, or before a cut, say nothing about these.
            Some(before) if before.role == reached.role && before.hardened <= reached.hardened => {
                if before != reached {
                    self.note_here(&reached, *now.get_or_insert_with(clock::uptime), figures);
                }
            }
            _ => {
                self.here.restart(reached.hardened);
                self.mirrors.clear();
            }
        }
        if reached.role == Role::Principal {
            let grown = before.is_none_or(|before| before.hardened != reached.hardened);
            self.note_mirrors(core, reached.hardened, grown, &mut now, figures);
        }
        let before = before.map(|before| before.role).filter(|role| *role != reached.role);
        before.map(|before| (before, reached.role))
    }

    fn note_here(&mut self, reached: &Reached, now: Duration, figures: &Figures) {
        // Nothing is final, or applied, before it is hardened here.
        let _ahead = self.here.reach(reached.hardened, now);
        if reached.role == Role::Mirror {
            figures.redo_queue.note(reached.hardened.since(reached.applied));
            self.here
                .pass(reached.applied, now, |events, took| figures.applying.note(events, took));
        } else {
            self.here.pass(reached.commit, now, |events, took| figures.overhead.note(events, took));
        }
    }

    fn note_mirrors(
        &mut self,
        core: &Core,
        hardened: Lsn,
        grown: bool,
        now: &mut Option<Duration>,
        figures: &Figures,
    ) {
        for (server, state, said) in core.pairs() {
            let known = self.mirrors.iter().position(|mirror| mirror.server == server);
            let index = match (known, said) {
                (Some(index), _) => index,
                (None, Some(there)) => {
                    let (trail, figures) = (Trail::new(hardened), figures.of(server));
                    let synchronized = false;
                    self.mirrors.push(Mirror {
                        server,
                        synchronized,
                        hardened: there,
                        trail,
                        figures,
                    });
                    self.mirrors.len() - 1
                }
                (None, None) => continue,
            };
            let mirror = &mut self.mirrors[index];
            let synchronized =
                matches!(state, PairState::Synchronized | PairState::PendingFailover);
            if std::mem::replace(&mut mirror.synchronized, synchronized) && !synchronized {
                mirror.figures.note_left();
            }
            // On a new link a mirror says anew how far it is; until then it is where it was.
            let there = said.unwrap_or(mirror.hardened);
            if !grown && there == mirror.hardened {
                continue;
            }
            let now = *now.get_or_insert_with(clock::uptime);
            mirror.hardened = there;
            let ahead = mirror.trail.reach(hardened, now);
            mirror.figures.send_queue.note(hardened.since(mirror.hardened));
            let sending = &mirror.figures.sending;
            // Both disks work at the same time, and the mirror's may be the faster one.
            sending.note(ahead, Duration::ZERO);
            mirror.trail.pass(mirror.hardened, now, |events, took| sending.note(events, took));
            mirror.figures.note_oldest(mirror.trail.oldest());
        }
    }
}
