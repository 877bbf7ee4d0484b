//! The thread on which a mirror replays, and how the driver steers it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

use counterpart_core::{Lsn, session::Event};

use super::{Replay, ReplayError};
use crate::{priority, shared::Shared};

/// How often it is looked whether a full disk has room again.
const AGAIN: Duration = Duration::from_secs(1);

/// How much others go before it. Nobody's commit waits for what is applied, and every one of them waits for what is hardened
/// and acknowledged.
const NICE: i32 = 10;

/// A running replay. Dropping it ends the thread after the batch at hand.
pub struct Replayer {
    steering: Arc<Steering>,
    thread: Option<JoinHandle<Replay>>,
}

#[derive(Default)]
struct Steering {
    goal: Mutex<Goal>,
    changed: Condvar,
}

#[derive(Default)]
struct Goal {
    target: Lsn,
    stop: bool,
    failed: Option<String>,
}

impl Replayer {
    /// Begins to replay, up to the [target](Self::set_target) once one is set. `on_applied` is told each position.
    ///
    /// # Panics
    /// If the system has no thread left.
    #[must_use]
    pub fn start(shared: &Arc<Shared>, on_applied: impl Fn(Lsn) + Send + 'static) -> Replayer {
        let steering = Arc::new(Steering::default());
        let (watch, replay) = (Arc::clone(&steering), Replay::new(Arc::clone(shared)));
        let body = move || {
            priority::give_way(NICE);
            run(&watch, replay, &on_applied)
        };
        let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(body);
        Replayer { steering, thread: Some(thread.expect("the system gives a thread")) }
    }

    /// Replays up to here; a lower target than before is ignored.
    pub fn set_target(&self, target: Lsn) {
        let mut goal = self.steering.lock();
        goal.target = goal.target.max(target);
        drop(goal);
        self.steering.changed.notify_one();
    }

    /// Why it stands still, if it does.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.steering.lock().failed.clone()
    }

    /// Ends the thread and gives back what it worked with. Blocks for the batch at hand.
    ///
    /// # Panics
    /// If the thread panicked.
    #[must_use]
    pub fn stop(mut self) -> Replay {
        self.ask_to_stop();
        self.thread
            .take()
            .expect("stopped only once")
            .join()
            .expect("the replay thread does not panic")
    }

    fn ask_to_stop(&self) {
        self.steering.lock().stop = true;
        self.steering.changed.notify_one();
    }
}

impl Drop for Replayer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.ask_to_stop();
        }
    }
}

impl Steering {
    fn lock(&self) -> MutexGuard<'_, Goal> {
        self.goal.lock().expect("no holder of this lock panics")
    }

    /// Waits while `condition` holds, for so long at most.
    fn wait_while<'a>(
        &self,
        goal: MutexGuard<'a, Goal>,
        most: Option<Duration>,
        condition: impl FnMut(&mut Goal) -> bool,
    ) -> MutexGuard<'a, Goal> {
        let panics = "no holder of this lock panics";
        match most {
            Some(most) => self.changed.wait_timeout_while(goal, most, condition).expect(panics).0,
            None => self.changed.wait_while(goal, condition).expect(panics),
        }
    }

    /// Says why nothing is applied, and waits: until it is told to stop, or so long that it may have passed.
    fn stand_still(&self, shared: &Shared, error: &ReplayError, passes: Option<Duration>) {
        let mut goal = self.lock();
        if goal.failed.is_none() || passes.is_none() {
            let goes_on = passes.map_or("", |_| "; it goes on by itself once the disk has room");
            let why = format!("{error}{goes_on}");
            shared.inputs.event(Event::ReplayFailed(why.clone()));
            goal.failed = Some(why);
        }
        let running = |goal: &mut Goal| !goal.stop;
        drop(self.wait_while(goal, passes, running));
    }

    /// Whatever kept it from applying has passed.
    fn go_on(&self, shared: &Shared) {
        self.lock().failed = None;
        shared.inputs.event(Event::ReplayGoesOn);
    }
}

fn run(steering: &Steering, mut replay: Replay, on_applied: &dyn Fn(Lsn)) -> Replay {
    // Perhaps the replay before this one did.
    let mut stood_still = true;
    loop {
        let goal = steering.lock();
        let idle = |goal: &mut Goal| !goal.stop && goal.target <= replay.shared.applied();
        let goal = steering.wait_while(goal, replay.until_checkpoint(), idle);
        if goal.stop {
            drop(goal);
            replay.end_copying();
            return replay;
        }
        let target = goal.target;
        drop(goal);
        let before = replay.shared.applied();
        if let Err(error) = step(&mut replay, target, on_applied) {
            let passes = error.is_full(&replay.shared.settings.data);
            steering.stand_still(&replay.shared, &error, passes.then_some(AGAIN));
            stood_still = true;
            continue;
        }
        if replay.shared.applied() > before && std::mem::take(&mut stood_still) {
            steering.go_on(&replay.shared);
        }
        if replay.shared.applied() == before {
            // The journal ends below the target (it was cut): wait for a new one instead of turning in circles.
            let mut goal = steering.lock();
            if goal.target == target {
                goal.target = before;
            }
        }
    }
}

fn step(replay: &mut Replay, target: Lsn, on_applied: &dyn Fn(Lsn)) -> Result<(), ReplayError> {
    let before = replay.shared.applied();
    if target > before {
        let reached = replay.advance(target)?;
        if reached > before {
            on_applied(reached);
        }
    }
    replay.checkpoint().inspect_err(|error| {
        // After a failed sync nothing is known about a file: this server must not take office without a restart.
        replay.shared.poison(&error.to_string());
    })
}
