//! Threads for work that blocks and should begin at once.
//!
//! Each waits for a task of its own. Where threads share a queue, whoever wakes one still has the queue's lock that the
//! woken one wants: it sleeps again, and is woken a second time. It must never have a task wait for another one.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use tokio::runtime::Handle;

/// A thread without a task ends after this long.
const LINGER: Duration = Duration::from_secs(10);

/// More tasks at a time than this go to the runtime's threads.
const MOST: usize = 64;

type Task = Box<dyn FnOnce() + Send>;

/// See the module's head.
#[derive(Default)]
pub struct Workers {
    /// The way to each thread that has no task; the last one that had one is the first to get the next.
    idle: Mutex<Vec<(usize, SyncSender<Task>)>>,
    started: AtomicUsize,
    running: AtomicUsize,
}

impl Workers {
    fn idle(&self) -> MutexGuard<'_, Vec<(usize, SyncSender<Task>)>> {
        self.idle.lock().expect("no holder of this lock panics")
    }

    /// Has a task done now. It must not panic.
    pub fn run(self: &Arc<Self>, io: &Handle, task: impl FnOnce() + Send + 'static) {
        let task: Task = Box::new(task);
        let idle = self.idle().pop();
        let way = idle.map(|(_, way)| way).or_else(|| self.start(io));
        let Some(way) = way else { return drop(io.spawn_blocking(task)) };
        way.send(task).expect("a thread that is not idle waits for its task");
    }

    /// The way to a new thread, if there may be one more.
    fn start(self: &Arc<Self>, io: &Handle) -> Option<SyncSender<Task>> {
        if self.running.fetch_add(1, Ordering::Relaxed) < MOST {
            let (way, tasks) = sync_channel(1);
            let number = self.started.fetch_add(1, Ordering::Relaxed);
            let (workers, own, io) = (Arc::clone(self), way.clone(), io.clone());
            let body = move || {
                // Tasks may wait for what belongs to the runtime.
                let _entered = io.enter();
                workers.work(number, &own, &tasks);
            };
            match std::thread::Builder::new().name("writer".to_owned()).spawn(body) {
                Ok(_detached) => return Some(way),
                Err(error) => tracing::warn!(%error, "no further thread can be started"),
            }
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// A thread's life.
    fn work(&self, number: usize, own: &SyncSender<Task>, tasks: &Receiver<Task>) {
        let mut next = tasks.recv().ok();
        while let Some(task) = next {
            task();
            self.idle().push((number, own.clone()));
            next = match tasks.recv_timeout(LINGER) {
                Ok(task) => Some(task),
                Err(RecvTimeoutError::Disconnected) => None,
                Err(RecvTimeoutError::Timeout) if self.retire(number) => None,
                // Somebody has taken the way just now.
                Err(RecvTimeoutError::Timeout) => tasks.recv().ok(),
            };
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a thread out of those that are idle; whether it was there.
    fn retire(&self, number: usize) -> bool {
        let mut idle = self.idle();
        let place = idle.iter().position(|(other, _)| *other == number);
        place.map(|place| idle.remove(place)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_task_runs_beside_the_others_and_threads_are_used_again() {
        let workers = Arc::new(Workers::default());
        let io = Handle::current();
        let all = Arc::new(std::sync::Barrier::new(MOST + 5));
        for _ in 0..MOST + 4 {
            let all = Arc::clone(&all);
            workers.run(&io, move || {
                Handle::current();
                all.wait();
            });
        }
        all.wait();
        let (done, is_done) = std::sync::mpsc::channel();
        for _ in 0..1000 {
            let done = done.clone();
            workers.run(&io, move || done.send(()).expect("the test listens"));
            is_done.recv().expect("each task runs");
        }
        assert!(workers.started.load(Ordering::Relaxed) <= MOST);
    }
}
