//! The two threads of a journal: started together, ended with the last handle, and never missed in silence.

use std::{
    io,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use crate::{error::PoisonError, lock, shared::Shared, writer::Writer};

/// Ends the threads with the last handle.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// A journal without threads: what its thread would do is done when it is pumped.
    #[cfg(feature = "simulated")]
    pumped: Option<Mutex<Option<Writer>>>,
}

impl Threads {
    pub fn start(shared: Arc<Shared>, writer: Writer) -> io::Result<Threads> {
        let space = Arc::clone(&shared);
        let space = thread::Builder::new()
            .name("journal-space".to_owned())
            .spawn(move || space.space.keep_ahead())?;
        let guard = Guard(Arc::clone(&shared));
        let writer = thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let _guard = guard;
            writer.run();
        });
        // Without the journal thread, the guard has ended the other one.
        Ok(Threads {
            shared,
            threads: Mutex::new(vec![writer?, space]),
            #[cfg(feature = "simulated")]
            pumped: None,
        })
    }

    fn ask_to_stop(&self) {
        let mut recent = lock(&self.shared.recent);
        recent.stopping = true;
        self.shared.wake_writer(recent);
        // Appenders that wait for room must not be waited for.
        self.shared.progress.notify_all();
    }

    /// Hardens what was appended and waits until the threads have ended.
    pub fn stop(&self) {
        self.ask_to_stop();
        #[cfg(feature = "simulated")]
        self.pump_all();
        for handle in lock(&self.threads).drain(..) {
            // The listener may hold the last handle; a thread cannot wait for itself.
            if handle.thread().id() != thread::current().id()
                && let Err(panic) = handle.join()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        #[cfg(feature = "simulated")]
        if self.pumped.is_some() {
            // Whoever pumps stops it too, or wants what a killed process leaves.
            return;
        }
        // A second panic while one is under way would end the process before the journal is written.
        if thread::panicking() {
            self.ask_to_stop();
        } else {
            self.stop();
        }
    }
}

/// Poisons the journal if its thread panics (in the listener, say): nobody would ever be woken otherwise.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if lock(&self.0.recent).stopped {
            return;
        }
        self.0.end(Some(Arc::new(PoisonError {
            doing: "go on writing to",
            file: self.0.dir.clone(),
            source: io::Error::other("its thread ended in a panic"),
        })));
    }
}

#[cfg(feature = "simulated")]
impl Threads {
    /// No threads: the caller [pumps](Self::pump).
    pub fn none(shared: Arc<Shared>, writer: Writer) -> Threads {
        let pumped = Some(Mutex::new(Some(writer)));
        Threads { shared, threads: Mutex::default(), pumped }
    }

    /// Whether there are none.
    pub fn are_pumped(&self) -> bool {
        self.pumped.is_some()
    }

    /// Does one thing that waits; whether there was one.
    pub fn pump(&self) -> bool {
        let Some(pumped) = &self.pumped else { return false };
        let mut writer = lock(pumped);
        let Some(awake) = writer.take() else { return false };
        let (done, left) = awake.pump();
        *writer = left;
        drop(writer);
        self.shared.space.keep_if_wanted(&|| {});
        done
    }

    /// Does all that waits.
    pub fn pump_all(&self) {
        while self.pump() {}
    }
}
