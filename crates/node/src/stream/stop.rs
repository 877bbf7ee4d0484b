//! Stopping what a client no longer waits for.
//!
//! A request runs on a worker thread, which does not notice that the client has hung up; it would keep the write
//! permit until the statement ends by itself. So whoever waits for the request holds a [`Watch`]: when that is
//! dropped, the running statement is interrupted and the ones after it are not begun. It must never interrupt a
//! connection that serves another stream meanwhile, hence the lock around both.

use std::sync::{Mutex, MutexGuard};

use counterpart_engine::Interrupter;

/// Whether a stream's request is to stop, and how.
#[derive(Default)]
pub struct Stop(Mutex<State>);

#[derive(Default)]
struct State {
    stopped: bool,
    /// Stops the connection on which the request runs at this moment.
    running: Option<Interrupter>,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// A request begins, for which somebody waits while the watch lives. The caller has the slot, so that no earlier
    /// request is still running.
    pub fn watch(&self) -> Watch<'_> {
        self.lock().stopped = false;
        Watch(self)
    }

    /// The request uses a connection, until the value returned is dropped.
    pub fn enter(&self, interrupter: Interrupter) -> Running<'_> {
        self.lock().running = Some(interrupter);
        Running(self)
    }

    /// Whether nobody waits for the request any more.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }
}

/// Somebody waits for a request.
pub struct Watch<'a>(&'a Stop);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.stopped = true;
        if let Some(running) = &state.running {
            running.interrupt();
        }
    }
}

/// A request is using a connection.
pub struct Running<'a>(&'a Stop);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running = None;
    }
}
