//! Changing what this server does: acting (principal or standalone) or following (mirror).
//!
//! A change runs as a task of its own, one after the other: the core may ask for the next before the last is done, as
//! when a starting principal learns that it was deposed.

use std::{collections::BTreeMap, sync::Arc};

use counterpart_core::{
    Epoch, Lsn,
    message::Role,
    session::{Action, Event},
};
use counterpart_journal::crash_point;
use tokio::{
    sync::Notify,
    task::{JoinError, JoinHandle, spawn_blocking},
    time::{Instant, timeout_at},
};

use super::{Driver, Input};
use crate::{
    boot, checkpoint, clock,
    databases::Hosted,
    ops, quarantine,
    refusal::Refusal,
    replay::{Replay, ReplayError, Replayer},
    shared::Shared,
};

/// Why a server could not change its role. Its control file stays as the core wrote it; a restart tries again.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoleError {
    #[error("the journal can't be applied: {0}")]
    Replay(#[from] ReplayError),
    #[error("the databases can't be recovered: {0}")]
    Boot(#[from] boot::BootError),
    #[error("a database can't be prepared: {0}")]
    Sqlite(#[from] counterpart_engine::SqlError),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the journal has no record after {0}, although it ends later")]
    Stuck(Lsn),
    #[error("a task panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// How a change of role ended.
pub enum Changed {
    /// The server acts.
    Acting(Role),
    /// It follows; its databases show this position, all of which may be final or not.
    Mirror {
        /// What the databases show.
        applied: Lsn,
        /// Whether some of it is not final, so that nobody may see it yet.
        unfinal: bool,
    },
    /// It follows on, and its databases were brought to this position.
    Reloaded(Lsn),
}

impl Driver {
    pub(super) fn apply_up_to(&mut self, lsn: Lsn) {
        self.shared.journal.set_commit_lsn(lsn);
        self.shared.confirmations.advance(lsn);
        self.apply_goal = lsn;
        if let Some(replayer) = &self.replayer {
            replayer.set_target(lsn);
        } else if !self.reloading && !self.adopting {
            self.finish_seed(lsn);
        }
    }

    /// Redoes the journal over a seed that is complete, once it is known up to where the copy becomes whole.
    fn finish_seed(&mut self, lsn: Lsn) {
        // Where the seed at hand becomes whole was said here; that of an earlier start is in the control file.
        let waits_for = self.seed_end.or_else(|| {
            self.shared.control.read().session.seeding.as_ref().and_then(|seed| seed.consistent_at)
        });
        if waits_for.is_some_and(|consistent_at| consistent_at > lsn) {
            return;
        }
        self.reloading = true;
        let shared = Arc::clone(&self.shared);
        self.change(async move {
            spawn_blocking(move || boot::reload(&shared, lsn)).await??;
            Ok(Changed::Reloaded(lsn))
        });
    }

    /// The databases are whole: from here on the journal is replayed as it comes.
    pub(super) fn whole(&mut self, lsn: Lsn, actions: &mut Vec<Action>) {
        (self.reloading, self.seed_end) = (false, None);
        self.spool_served = true;
        let replayer = self.replayer.insert(follow(&self.shared));
        replayer.set_target(self.apply_goal);
        self.step(Event::Applied(lsn), actions);
        self.compare_orphans();
    }

    /// Compares orphans that were saved and not compared yet, once this server has the new principal's state.
    pub(super) fn compare_orphans(&self) {
        let durable = self.core.durable();
        if !durable.empty && durable.seeding.is_none() && durable.deposed.is_none() {
            let shared = Arc::clone(&self.shared);
            spawn_blocking(move || crate::orphans::compare_all(&shared));
        }
    }

    /// Clients of a mirror that was the principal may read once all that it shows is final.
    pub(super) fn show_what_is_final(&mut self) {
        if let Some(shown) = self.unfinal.filter(|shown| self.core.shows_only_final(*shown)) {
            self.unfinal = None;
            // Nothing is left to apply, so nobody else says that it is final: a backup would wait for the next event.
            self.shared.journal.set_commit_lsn(shown);
            self.shared.confirmations.advance(shown);
            self.shared.databases.set_unavailable(None);
        }
    }

    /// Becomes principal or standalone in `epoch`.
    pub(super) fn become_acting(&mut self, epoch: Epoch, principal: bool, discard: bool) {
        // A copy that was not adopted never will be.
        self.shared.still.end();
        let (shared, replayer) = (Arc::clone(&self.shared), self.replayer.take());
        let role = if principal { Role::Principal } else { Role::Standalone };
        self.change(async move {
            act(&shared, replayer, epoch, discard).await?;
            Ok(Changed::Acting(role))
        });
    }

    /// Becomes a mirror.
    pub(super) fn become_mirror(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.change(async move { step_down(&shared).await });
    }

    /// Runs a change of role after the one before it, which it makes obsolete.
    fn change(
        &mut self,
        change: impl Future<Output = Result<Changed, RoleError>> + Send + 'static,
    ) {
        if let Some(stop) = self.checkpoints.take() {
            stop.notify_one();
        }
        self.changes += 1;
        let (number, before, shared) =
            (self.changes, self.changing.take(), Arc::clone(&self.shared));
        self.changing = Some(self.shared.io.spawn(async move {
            if let Some(before) = before
                && let Err(panicked) = before.await
            {
                fatal(&shared, &panicked.to_string());
            }
            match change.await {
                Ok(changed) => shared.inputs.send(Input::Changed(number, changed)),
                Err(error) => fatal(&shared, &error.to_string()),
            }
        }));
    }

    /// The newest change of role, while it runs.
    pub(super) fn changing_role(&self) -> Option<&JoinHandle<()>> {
        self.changing.as_ref().filter(|change| !change.is_finished())
    }

    /// A change of role is done; the core hears of it unless it has asked for another one since.
    pub(super) fn changed(&mut self, number: u64, changed: Changed, actions: &mut Vec<Action>) {
        if number != self.changes {
            return;
        }
        let role = match changed {
            Changed::Acting(role) => {
                let stop = Arc::new(Notify::new());
                self.checkpoints = Some(Arc::clone(&stop));
                self.shared
                    .io
                    .spawn(checkpoint::keep_checkpointing(Arc::clone(&self.shared), stop));
                role
            }
            Changed::Reloaded(lsn) => return self.whole(lsn, actions),
            Changed::Mirror { applied, unfinal } => {
                self.reloading = false;
                self.unfinal = unfinal.then_some(applied);
                // Without whole databases there is nothing to replay into; a seed comes first.
                let whole = self.shared.control.read().is_whole();
                self.replayer = whole.then(|| follow(&self.shared));
                self.step(Event::Applied(applied), actions);
                self.compare_orphans();
                Role::Mirror
            }
        };
        self.step(Event::Became(role), actions);
        self.shared.settled.send_replace(true);
    }

    /// Waits until no write is in flight.
    pub(super) fn drain(&mut self) {
        self.end_drain();
        let shared = Arc::clone(&self.shared);
        let draining = self.shared.io.spawn(async move {
            let deadline = clock::runtime_now() + shared.settings.drain_wait;
            still_writers(&shared, deadline).await;
            crash_point("failover.drained");
            shared.inputs.event(Event::Drained(shared.journal.last()));
        });
        self.draining = Some(draining.abort_handle());
    }

    /// Ends a drain whose answer nobody wants any more.
    pub(super) fn end_drain(&mut self) {
        if let Some(draining) = self.draining.take() {
            draining.abort();
        }
    }
}

/// Something that only a restart can mend.
fn fatal(shared: &Shared, why: &str) {
    tracing::error!(why, "this server can't go on");
    shared.poison(why);
    // It serves what it can, and says why it can't do more.
    shared.settled.send_replace(true);
}

pub(super) fn follow(shared: &Arc<Shared>) -> Replayer {
    let inputs = shared.inputs.clone();
    Replayer::start(shared, move |lsn| inputs.event(Event::Applied(lsn)))
}

async fn act(
    shared: &Arc<Shared>,
    replayer: Option<Replayer>,
    epoch: Epoch,
    discard: bool,
) -> Result<(), RoleError> {
    if shared.is_acting() && !discard {
        // Standalone becomes principal or the other way round: the epoch is the same, and clients write on.
        shared.journal.set_epoch(epoch);
        return Ok(());
    }
    let preparing = Arc::clone(shared);
    spawn_blocking(move || -> Result<(), RoleError> {
        let mut replay =
            replayer.map_or_else(|| Replay::new(Arc::clone(&preparing)), Replayer::stop);
        // A seed whose session has just ended may still be emptying and filling this very directory.
        let _turn = discard.then(|| preparing.seeding.lock().expect("no receiver panics with it"));
        if discard {
            boot::discard_data(&preparing)?;
        }
        crash_point("takeover.begun");
        let end = preparing.journal.last();
        while preparing.applied() < end {
            let before = preparing.applied();
            if replay.advance(end)? == before {
                return Err(RoleError::Stuck(before));
            }
        }
        crash_point("takeover.replayed");
        replay.drop_runs();
        drop(replay);
        // Whoever heals a database here must be done, or find that it is too late.
        let _applying = preparing.applying.lock().expect("replay does not panic with the lock");
        for ill in preparing.databases.quarantine.all().iter().filter(|ill| ill.refusal.is_none()) {
            // It lacks events that the journal has: a transaction on top of it would fit neither.
            quarantine::shut_out(&preparing, ill, "it was not healed when this server took over");
        }
        for hosted in preparing.databases.all() {
            hosted.engine.rebase_capture()?;
            hosted.visibility.reset(end);
            hosted.engine.set_read_only(false);
        }
        preparing.databases.quarantine.forget_healed();
        preparing.journal.set_epoch(epoch);
        preparing.confirmations.begin(preparing.confirmations.commit_lsn());
        preparing.begin_era();
        preparing.set_acting(true);
        Ok(())
    })
    .await??;
    shared.databases.set_unavailable(None);
    crash_point("takeover.acting");
    ops::create::ensure_main(shared).await.map_err(RoleError::Refused)
}

/// Ends all writing and confirming.
///
/// What the databases show beyond the commit LSN is not taken back here: either the new principal has it too, and it
/// becomes final, or this server parks and shows nothing. Until then nobody sees it.
async fn step_down(shared: &Arc<Shared>) -> Result<Changed, RoleError> {
    let was_acting = shared.set_acting(false);
    if was_acting {
        // First of all, for whoever waits for a confirmation may hold what is waited for below.
        shared.confirmations.end(&Refusal::not_confirmed(
            "this server stopped being the principal before the transaction was confirmed",
        ));
        shared.begin_era();
        still_writers(shared, clock::runtime_now()).await;
        checkpoint::still(shared).await;
    }
    // Not before: a commit that was under way has been journaled until here, and shows in its database.
    let end = shared.journal.last();
    if was_acting {
        // A run that its epoch left unfinished goes on elsewhere, unless something was written after it here.
        if end > shared.applied() {
            shared.note_runs(&BTreeMap::new());
        }
        shared.set_applied(end);
    }
    let flushing = shared.journal.clone();
    // A journal that failed has told the driver so; nothing more will be hardened.
    let _poisoned = spawn_blocking(move || flushing.wait_hardened(end)).await?;
    shared.inputs.hardened(shared.journal.hardened());
    let commit = shared.confirmations.commit_lsn();
    let (applied, whole) = (shared.applied(), shared.control.read().is_whole());
    // A journal that failed may lack what its databases show, whatever the positions say.
    let unfinal = whole && (applied > commit || shared.journal.poisoned().is_some());
    // Before the positions are forgotten by which readers know what is final.
    shared.databases.set_unavailable(if !whole {
        Some(boot::not_seeded())
    } else {
        unfinal.then(not_final)
    });
    for hosted in shared.databases.all() {
        hosted.engine.set_read_only(true);
        hosted.visibility.reset(Lsn::ZERO);
    }
    shared.confirmations.begin(commit);
    Ok(Changed::Mirror { applied, unfinal })
}

/// Reads are not possible because the newest events here may be taken back.
fn not_final() -> Refusal {
    Refusal::new(
        "NOT_FINAL",
        "this server was the principal, and it is not known yet whether its last events stay",
        "read and write at the new principal; `counterpart status` tells where it is, what differs and how to rejoin",
    )
}

/// Waits until nobody writes, and nobody can while the door is shut. Transactions that are open at the deadline are
/// rolled back.
async fn still_writers(shared: &Arc<Shared>, deadline: Instant) {
    // Whoever creates or drops may wait for a permit, so the permits come first; then again for what was created.
    still_permits(shared, deadline).await;
    let _changes = shared.databases.changes.lock().await;
    still_permits(shared, deadline).await;
    // A mark that was on its way has been written; none begins while the door is shut.
    let waiting = Arc::clone(shared);
    if spawn_blocking(move || drop(waiting.runs.none())).await.is_err() {
        tracing::error!("waiting for the last mark panicked");
    }
}

async fn still_permits(shared: &Arc<Shared>, deadline: Instant) {
    for hosted in shared.databases.all() {
        let turn = Arc::clone(&hosted.permit).acquire_owned();
        if timeout_at(deadline, turn).await.is_err() {
            evict(shared, &hosted).await;
        }
    }
}

/// Ends the transaction that holds the permit.
async fn evict(shared: &Arc<Shared>, hosted: &Hosted) {
    loop {
        for (slot, mut held) in shared.transactions.resting() {
            let why = Refusal::stream_expired(
                "the server is handing over to its partner and ended the transaction",
            );
            if slot.hosted.id == hosted.id && held.in_transaction() {
                // Rolling back may take a moment; only this database's writers wait for it.
                let ended = spawn_blocking(move || held.expire(why)).await;
                if ended.is_err() {
                    tracing::error!(database = %hosted.name, "rolling back a transaction panicked");
                }
            }
        }
        for reader in hosted.engine.readers() {
            reader.interrupt();
        }
        let again = clock::runtime_now() + std::time::Duration::from_millis(20);
        if timeout_at(again, Arc::clone(&hosted.permit).acquire_owned()).await.is_ok() {
            return;
        }
    }
}
