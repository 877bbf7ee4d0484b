//! Commits on their way into the journal, and marks among them.
//!
//! Redo starts at marks. So no mark falls into a large transaction's run of chunks, every one of which redo needs; and no
//! commit that was encoded before a mark gets its LSN after it, because it may build on what the file no longer holds.

use std::sync::{Condvar, Mutex, MutexGuard};

use counterpart_core::Lsn;

/// Which commits are under way, and whether a mark waits for them to end.
#[derive(Default)]
pub struct Runs {
    state: Mutex<State>,
    changed: Condvar,
}

/// - While `marking`, no commit begins, and the mark is written once none is under way.
#[derive(Default)]
struct State {
    /// Commits that have journaled nothing yet or end with what they journal: they are over in a moment.
    commits: usize,
    /// Commits in chunks: they may take long.
    runs: usize,
    /// How many wait for there to be none, or are writing a mark.
    markers: usize,
    marking: bool,
    /// The newest mark that was written here.
    mark: Lsn,
}

/// A commit that is under way until this is dropped.
pub struct OpenCommit<'a> {
    runs: &'a Runs,
    mark: Lsn,
    is_run: bool,
}

/// Nothing is under way until this is dropped.
pub struct NoRuns<'a>(&'a Runs);

impl Runs {
    /// Begins a commit, after any mark that is being written. Blocks shortly.
    pub fn begin(&self) -> OpenCommit<'_> {
        let mut state = self.wait_while(self.lock(), |state| state.marking);
        state.commits += 1;
        OpenCommit { runs: self, mark: state.mark, is_run: false }
    }

    /// Waits until nothing is under way, and keeps commits back. Blocks as long as the open runs take.
    pub fn none(&self) -> NoRuns<'_> {
        let mut state = self.lock();
        state.markers += 1;
        loop {
            // Commits are kept back only once no run is open: a long one must not hold up all others before it ends.
            state = self.wait_while(state, |state| state.marking || state.runs > 0);
            state.marking = true;
            state = self.wait_while(state, |state| state.commits > 0 && state.runs == 0);
            if state.runs == 0 {
                return NoRuns(self);
            }
            // One of the commits turned out to be a run.
            state.marking = false;
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        condition: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_while(state, |state| condition(state));
        waited.expect("no holder of this lock panics")
    }

    /// Says that something has ended, to whoever waits for it: waking nobody costs a call of the system, too.
    fn tell(&self, state: &State) {
        if state.markers > 0 {
            self.changed.notify_all();
        }
    }
}

impl OpenCommit<'_> {
    /// The newest mark: all that this commit journals comes after it, and before the next one.
    pub fn mark(&self) -> Lsn {
        self.mark
    }

    /// It is one of those that take long.
    pub fn is_run(&mut self) {
        if !std::mem::replace(&mut self.is_run, true) {
            let mut state = self.runs.lock();
            state.commits -= 1;
            state.runs += 1;
            self.runs.tell(&state);
        }
    }
}

impl NoRuns<'_> {
    /// A mark was written.
    pub fn marked(&self, mark: Lsn) {
        self.0.lock().mark = mark;
    }
}

impl Drop for OpenCommit<'_> {
    fn drop(&mut self) {
        let mut state = self.runs.lock();
        if self.is_run {
            state.runs -= 1;
        } else {
            state.commits -= 1;
        }
        self.runs.tell(&state);
    }
}

impl Drop for NoRuns<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        (state.marking, state.markers) = (false, state.markers - 1);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_mark_waits_for_what_is_under_way_and_what_follows_waits_for_the_mark() {
        let runs = Runs::default();
        for is_run in [false, true] {
            let mut commit = runs.begin();
            if is_run {
                commit.is_run();
            }
            std::thread::scope(|scope| {
                let (marked, is_marked) = mpsc::channel();
                let runs = &runs;
                scope.spawn(move || {
                    drop(runs.none());
                    marked.send(())
                });
                while runs.lock().markers == 0 {
                    std::thread::yield_now();
                }
                assert!(is_marked.try_recv().is_err());
                drop(commit);
                is_marked.recv().expect("the mark is written once the commit has ended");
            });
        }
        let none = runs.none();
        std::thread::scope(|scope| {
            let late = scope.spawn(|| runs.begin().mark());
            none.marked(Lsn(7));
            drop(none);
            assert_eq!(late.join().expect("it begins once the mark is written"), Lsn(7));
        });
    }

    /// The mark waits for the run, and must neither be waited for by it nor keep others from committing.
    #[test]
    fn a_commit_that_turns_out_to_be_a_run_goes_on_before_a_mark_that_waits_for_it() {
        let runs = Runs::default();
        let mut commit = runs.begin();
        std::thread::scope(|scope| {
            let marker = scope.spawn(|| drop(runs.none()));
            while !runs.lock().marking {
                std::thread::yield_now();
            }
            commit.is_run();
            drop(runs.begin());
            assert!(!marker.is_finished());
            drop(commit);
            marker.join().expect("the mark is written once the run has ended");
        });
    }

    /// What a commit was encoded by is the newest mark below everything that it journals.
    #[test]
    fn no_mark_falls_between_what_a_commit_was_encoded_by_and_its_lsn() {
        let (runs, journal) = (Runs::default(), Mutex::new(Vec::new()));
        let append = |entry: Option<Lsn>| {
            let mut journal = journal.lock().expect("nobody panics with it");
            journal.push(entry);
            Lsn(journal.len() as u64)
        };
        std::thread::scope(|scope| {
            for writer in 0..3 {
                let (runs, append) = (&runs, &append);
                scope.spawn(move || {
                    for turn in 0..300 {
                        let mut commit = runs.begin();
                        if (turn + writer) % 50 == 0 {
                            commit.is_run();
                            append(Some(commit.mark()));
                        }
                        std::thread::yield_now();
                        append(Some(commit.mark()));
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..200 {
                    let none = runs.none();
                    none.marked(append(None));
                    drop(none);
                    std::thread::yield_now();
                }
            });
        });
        let mut mark = Lsn::ZERO;
        for (lsn, entry) in (1..).map(Lsn).zip(journal.into_inner().expect("nobody panicked")) {
            match entry {
                None => mark = lsn,
                Some(encoded_by) => assert_eq!(encoded_by, mark, "{lsn}"),
            }
        }
        assert_ne!(mark, Lsn::ZERO);
    }
}
