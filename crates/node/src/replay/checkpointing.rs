//! A mirror's checkpoints. Everything that is applied is final, so nothing has to be awaited.

use std::{sync::Arc, time::Duration};

use counterpart_core::Lsn;

use super::{Copying, Replay, ReplayError};
use crate::{checkpoint, clock, databases::Hosted};

/// A checkpoint that met a reader or a full disk is tried again after this time, if not earlier.
const AGAIN: Duration = Duration::from_secs(10);

/// How often it is looked whether most of what is in the WALs is copied, while there is nothing else to do.
const LOOK: Duration = Duration::from_millis(10);

impl Replay {
    /// How long it is until a checkpoint is due although nothing more is replayed.
    pub(super) fn until_checkpoint(&self) -> Option<Duration> {
        let due = self.mark.map(|_| self.checkpoint_at.saturating_sub(clock::uptime()));
        if self.copying.is_some() { Some(LOOK) } else { due }
    }

    /// Waits until nothing is copied beside; a checkpoint that was due is due again.
    pub(crate) fn end_copying(&mut self) {
        if let Some(copying) = self.copying.take() {
            copying.end();
        }
    }

    /// Checkpoints if enough was replayed since the last one, or enough time went by; then redo starts later.
    ///
    /// # Errors
    /// What SQLite or the control file says.
    pub fn checkpoint(&mut self) -> Result<(), ReplayError> {
        let Some(mark) = self.mark else { return Ok(()) };
        if self.copying.as_ref().is_some_and(|copying| !copying.is_over()) {
            return Ok(());
        }
        let is_copied = self.copying.is_some();
        self.end_copying();
        let late = clock::uptime() >= self.checkpoint_at;
        let enough = checkpoint::is_enough(&self.shared.settings, self.since_checkpoint);
        if !late && !enough && !self.shared.databases.resting.is_crowded() {
            return Ok(());
        }
        if enough && !is_copied && !self.shared.still.is_wanted() {
            let mut databases = self.shared.databases.all();
            databases.retain(|hosted| self.may_checkpoint(hosted));
            let copying = Copying::begin(&self.shared, databases, &self.applied_up_to);
            self.copying = Some(copying);
            return Ok(());
        }
        self.checkpoint_at = clock::uptime() + AGAIN;
        let shared = Arc::clone(&self.shared);
        let outcome = shared.still.unless(|| self.checkpoint_to(mark, enough)).unwrap_or(Ok(()));
        shared.databases.resting.look();
        outcome
    }

    /// Whether a database has anything to copy, and may be copied. A file that a copy is compared with stays as it is.
    fn may_checkpoint(&self, hosted: &Hosted) -> bool {
        let is_ill = self.shared.databases.quarantine.get(hosted.id).is_some();
        hosted.is_dirty() && !is_ill && !self.runs.contains_key(&hosted.id)
    }

    fn checkpoint_to(&mut self, mark: Lsn, busy: bool) -> Result<(), ReplayError> {
        self.since_checkpoint = (0, 0);
        checkpoint::note_final(&self.shared, self.shared.applied())?;
        let (mut complete, applied) = (true, self.shared.applied());
        for hosted in self.shared.databases.all() {
            if !self.may_checkpoint(&hosted) {
                complete &= !hosted.is_dirty();
                continue;
            }
            match checkpoint::copy_wal(&hosted, applied, busy) {
                Ok(copied) => complete &= copied,
                Err(error) if error.is_full() => {
                    tracing::warn!(%error, "the disk is full: this checkpoint is left to the next one");
                    return Ok(());
                }
                Err(error) => {
                    return Err(ReplayError::File { database: hosted.id, what: error.to_string() });
                }
            }
        }
        // Redo must not begin after events that a damaged database lacks.
        if complete && self.shared.databases.quarantine.is_empty() {
            self.mark = None;
            self.checkpoint_at = clock::uptime() + checkpoint::AT_LEAST;
            checkpoint::advance_redo(&self.shared, mark)?;
        }
        Ok(())
    }
}
