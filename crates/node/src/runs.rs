//! Large transactions travel as runs of chunks. A checkpoint mark must not fall inside a run, because redo starts at
//! marks and needs every chunk of what it redoes.

use std::sync::{Condvar, Mutex};

/// How many runs are open, and whether a mark waits for them to end.
#[derive(Default)]
pub struct Runs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: usize,
    marking: bool,
}

/// A run that is open until this is dropped.
pub struct OpenRun<'a>(&'a Runs);

/// No run is open until this is dropped.
pub struct NoRuns<'a>(&'a Runs);

impl Runs {
    /// Begins a run, after any mark that is being written. Blocks shortly.
    pub fn begin(&self) -> OpenRun<'_> {
        let state = self.state.lock().expect("no holder of this lock panics");
        let mut state =
            self.changed.wait_while(state, |s| s.marking).expect("no holder of this lock panics");
        state.open += 1;
        OpenRun(self)
    }

    /// Waits until no run is open, and keeps new ones back. Blocks as long as the open runs take.
    pub fn none(&self) -> NoRuns<'_> {
        let state = self.state.lock().expect("no holder of this lock panics");
        // New runs are kept back only once none is open: a long one must not hold up all others before it ends.
        let mut state = self
            .changed
            .wait_while(state, |s| s.marking || s.open > 0)
            .expect("no holder of this lock panics");
        state.marking = true;
        drop(state);
        NoRuns(self)
    }
}

impl Drop for OpenRun<'_> {
    fn drop(&mut self) {
        self.0.state.lock().expect("no holder of this lock panics").open -= 1;
        self.0.changed.notify_all();
    }
}

impl Drop for NoRuns<'_> {
    fn drop(&mut self) {
        self.0.state.lock().expect("no holder of this lock panics").marking = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_waits_for_open_runs_and_new_runs_wait_for_the_mark() {
        let runs = Runs::default();
        let run = runs.begin();
        std::thread::scope(|scope| {
            let marker = scope.spawn(|| drop(runs.none()));
            drop(run);
            marker.join().expect("the mark is written once the run has ended");
        });
        let none = runs.none();
        std::thread::scope(|scope| {
            let late = scope.spawn(|| drop(runs.begin()));
            drop(none);
            late.join().expect("the run begins once the mark is written");
        });
    }
}
