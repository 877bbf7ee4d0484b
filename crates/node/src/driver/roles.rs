//! Changing what this server does: acting (principal or standalone) or following (mirror).
//!
//! A change runs as a task of its own, one after the other: the core may ask for the next before the last is done, as
//! when a starting principal learns that it was deposed.

use std::sync::Arc;

use counterpart_core::{
    Epoch, Lsn,
    message::Role,
    session::{Action, Event},
};
use tokio::{
    sync::Notify,
    task::{JoinError, spawn_blocking},
    time::{Instant, timeout_at},
};

use super::{Driver, Input};
use crate::{
    boot, checkpoint, clock,
    databases::Hosted,
    ops,
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
    #[error("a task panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// How a change of role ended.
pub enum Changed {
    /// The server acts.
    Acting(Role),
    /// It follows; its databases show this position.
    Mirror(Lsn),
}

impl Driver {
    pub(super) fn stop_replay(&mut self) {
        self.replayer = None;
    }

    pub(super) fn apply_up_to(&mut self, lsn: Lsn) {
        self.shared.journal.set_commit_lsn(lsn);
        self.shared.confirmations.advance(lsn);
        self.apply_goal = lsn;
        if let Some(replayer) = &self.replayer {
            replayer.set_target(lsn);
        } else if !self.reloading {
            self.finish_seed(lsn);
        }
    }

    /// Redoes the journal over a seed that is complete, once it is known up to where the copy becomes whole.
    fn finish_seed(&mut self, lsn: Lsn) {
        let waits_for =
            self.shared.control.read().session.seeding.as_ref().and_then(|seed| seed.consistent_at);
        if waits_for.is_some_and(|consistent_at| consistent_at > lsn) {
            return;
        }
        self.reloading = true;
        let shared = Arc::clone(&self.shared);
        spawn_blocking(move || match boot::reload(&shared, lsn) {
            Ok(()) => shared.inputs.send(Input::Reloaded(lsn)),
            Err(error) => fatal(&shared, &error.to_string()),
        });
    }

    /// The databases are whole: from here on the journal is replayed as it comes.
    pub(super) fn reloaded(&mut self, lsn: Lsn, actions: &mut Vec<Action>) {
        self.reloading = false;
        let replayer = self.replayer.insert(follow(&self.shared));
        replayer.set_target(self.apply_goal);
        self.step(Event::Applied(lsn), actions);
    }

    /// Becomes principal or standalone in `epoch`.
    pub(super) fn become_acting(&mut self, epoch: Epoch, principal: bool, discard: bool) {
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
        self.change(async move { Ok(Changed::Mirror(step_down(&shared).await?)) });
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
            Changed::Mirror(applied) => {
                // Without whole databases there is nothing to replay into; a seed comes first.
                let whole = self.shared.control.read().is_whole();
                self.replayer = whole.then(|| follow(&self.shared));
                self.step(Event::Applied(applied), actions);
                Role::Mirror
            }
        };
        self.step(Event::Became(role), actions);
        self.shared.settled.send_replace(true);
    }

    /// Waits until no write is in flight.
    pub(super) fn drain(&self) {
        let shared = Arc::clone(&self.shared);
        self.shared.io.spawn(async move {
            let deadline = clock::runtime_now() + shared.settings.drain_wait;
            still_writers(&shared, deadline).await;
            shared.inputs.event(Event::Drained(shared.journal.last()));
        });
    }
}

/// Something that only a restart can mend.
fn fatal(shared: &Shared, why: &str) {
    tracing::error!(why, "this server can't go on");
    shared.poison(why);
    // It serves what it can, and says why it can't do more.
    shared.settled.send_replace(true);
}

fn follow(shared: &Arc<Shared>) -> Replayer {
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
        if discard {
            boot::discard_data(&preparing)?;
        }
        let end = preparing.journal.last();
        while preparing.applied() < end {
            replay.advance(end)?;
        }
        replay.drop_runs();
        drop(replay);
        for hosted in preparing.databases.all() {
            hosted.engine.rebase_capture()?;
            hosted.visibility.reset(end);
            hosted.engine.set_read_only(false);
        }
        preparing.journal.set_epoch(epoch);
        Ok(())
    })
    .await??;
    shared.confirmations.begin(shared.confirmations.commit_lsn());
    shared.begin_era();
    shared.set_acting(true);
    shared.databases.set_unavailable(None);
    ops::create::ensure_main(shared).await.map_err(RoleError::Refused)
}

/// Ends all writing, and takes back what may not be seen any more. Returns the position that the databases show.
async fn step_down(shared: &Arc<Shared>) -> Result<Lsn, RoleError> {
    let was_acting = shared.set_acting(false);
    let end = shared.journal.last();
    if was_acting {
        still_writers(shared, clock::runtime_now()).await;
        shared.confirmations.end(&Refusal::new(
            "NOT_CONFIRMED",
            "this server stopped being the principal before the transaction was confirmed",
            "ask the new principal whether the transaction is there before running it again",
        ));
        shared.begin_era();
        shared.set_applied(end);
    }
    let flushing = shared.journal.clone();
    // A journal that failed has told the driver so; nothing more will be hardened.
    let _poisoned = spawn_blocking(move || flushing.wait_hardened(end)).await?;
    shared.inputs.hardened(shared.journal.hardened());
    let commit = shared.confirmations.commit_lsn();
    let switching = Arc::clone(shared);
    let applied = spawn_blocking(move || -> Result<Lsn, RoleError> {
        // A copy that is not whole shows nothing, and is redone from its mark once its seed has ended.
        if switching.control.read().is_whole() && switching.applied() > commit {
            boot::reload(&switching, commit)?;
        }
        for hosted in switching.databases.all() {
            hosted.engine.set_read_only(true);
            hosted.visibility.reset(Lsn::ZERO);
        }
        Ok(switching.applied())
    })
    .await??;
    shared.confirmations.begin(commit);
    let whole = shared.control.read().is_whole();
    shared.databases.set_unavailable((!whole).then(boot::not_seeded));
    Ok(applied)
}

/// Waits until nobody writes, and nobody can while the door is shut. Transactions that are open at the deadline are
/// rolled back.
async fn still_writers(shared: &Arc<Shared>, deadline: Instant) {
    let _changes = shared.databases.changes.lock().await;
    for hosted in shared.databases.all() {
        let turn = Arc::clone(&hosted.permit).acquire_owned();
        if timeout_at(deadline, turn).await.is_ok() {
            continue;
        }
        evict(shared, &hosted).await;
    }
    // A mark that was on its way has been written; none begins while the door is shut.
    let waiting = Arc::clone(shared);
    if spawn_blocking(move || drop(waiting.runs.none())).await.is_err() {
        tracing::error!("waiting for the last mark panicked");
    }
}

/// Ends the transaction that holds the permit.
async fn evict(shared: &Arc<Shared>, hosted: &Hosted) {
    loop {
        for (slot, mut held) in shared.transactions.resting() {
            let why = Refusal::stream_expired(
                "the server is handing over to its partner and ended the transaction",
            );
            if slot.hosted.id == hosted.id {
                // Rolling back may take a moment; only this database's writers wait for it.
                let ended = spawn_blocking(move || held.expire(why)).await;
                if ended.is_err() {
                    tracing::error!(database = %hosted.name, "rolling back a transaction panicked");
                }
            }
        }
        for reader in hosted.engine.readers() {
            reader.interrupter.interrupt();
        }
        let again = clock::runtime_now() + std::time::Duration::from_millis(20);
        if timeout_at(again, Arc::clone(&hosted.permit).acquire_owned()).await.is_ok() {
            return;
        }
    }
}
