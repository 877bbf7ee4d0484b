//! Copying most of what is in the WALs into the files beside applying: what is left for the checkpoint is over in a moment.
//!
//! As an acting principal does it, except that nothing has to be awaited: whatever is applied is final.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use counterpart_core::Lsn;

use crate::{
    checkpoint::{CheckpointError, copy_pass, is_worth_another, note_final},
    databases::Hosted,
    shared::Shared,
};

/// Whoever applies faster than SQLite copies must not keep a checkpoint for long.
const PASSES: u32 = 4;

/// Copying that is under way, or over and not yet asked about.
pub(super) struct Copying {
    thread: JoinHandle<()>,
    hurry: Arc<AtomicBool>,
}

impl Copying {
    /// Begins to copy the WALs of some databases, unless their files must stay as they are. Everything that is applied is at or
    /// below `applied_up_to`.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        databases: Vec<Arc<Hosted>>,
        applied_up_to: &Arc<AtomicU64>,
    ) -> Copying {
        let hurry = Arc::new(AtomicBool::new(false));
        let pass = Pass {
            shared: Arc::clone(shared),
            applied_up_to: Arc::clone(applied_up_to),
            hurry: Arc::clone(&hurry),
        };
        let body = move || {
            // Not begun: the files must stay as they are, and so the checkpoint that follows does nothing either.
            let _begun = pass.shared.still.unless(|| {
                for hosted in &databases {
                    if let Err(error) = pass.copy_most(hosted) {
                        // The checkpoint that follows meets it again, if it has not passed by then.
                        tracing::warn!(database = %hosted.name, %error, "copying the WAL beside applying");
                    }
                }
            });
        };
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(body);
        Copying { thread: thread.expect("the system gives a thread"), hurry }
    }

    pub(super) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end, which comes soon from here on.
    pub(super) fn end(self) {
        self.hurry.store(true, Relaxed);
        self.thread.join().expect("SQLite does not panic");
    }
}

#[derive(Clone)]
struct Pass {
    shared: Arc<Shared>,
    applied_up_to: Arc<AtomicU64>,
    hurry: Arc<AtomicBool>,
}

impl Pass {
    fn is_in_a_hurry(&self) -> bool {
        self.hurry.load(Relaxed) || self.shared.still.is_wanted()
    }

    fn copy_most(&self, hosted: &Arc<Hosted>) -> Result<(), CheckpointError> {
        // Somebody who copies it already leaves nothing to do.
        let Ok(_copying) = Arc::clone(&hosted.copying).try_acquire_owned() else { return Ok(()) };
        let mut before = 0;
        for _ in 0..PASSES {
            if self.is_in_a_hurry() {
                break;
            }
            let (begins, pauses) = (self.clone(), self.clone());
            let begun = move || {
                let newest = Lsn(begins.applied_up_to.load(Relaxed));
                Ok(note_final(&begins.shared, newest)?)
            };
            match copy_pass(hosted, begun, move || !pauses.is_in_a_hurry())? {
                Some(copied) if is_worth_another(before, copied) => before = copied,
                // Little is left, or a reader pins the rest.
                _ => break,
            }
        }
        Ok(())
    }
}
