//! How segments come into being, and how a journal is emptied: at once, whatever crash interrupts it.

use std::{io, path::Path, sync::Arc};

use counterpart_core::{Epoch, Lsn, SessionId};
use serde::{Deserialize, Serialize};

use crate::{
    control::ControlFile,
    crash::crash_point,
    disk::{Disk, DiskFile, is_full, remove_if_there},
    error::OpenError,
    segment::{SegmentHeader, first_from_name, spare_name},
    space::Spare,
    table::Segment,
};

/// The file that announces a reset, so that one that a crash interrupts is completed.
pub(crate) const RESET_MARK: &str = "journal-reset";

#[derive(Serialize, Deserialize)]
pub(crate) struct ResetMark {
    after: Lsn,
    session: SessionId,
}

/// Where a journal is, and how large its segments are.
pub(crate) struct Place<'a> {
    pub disk: &'a Arc<dyn Disk>,
    pub dir: &'a Path,
    pub segment_bytes: u64,
}

impl Place<'_> {
    fn mark(&self) -> ControlFile<ResetMark> {
        ControlFile::passing(Arc::clone(self.disk), &self.dir.join(RESET_MARK))
    }

    /// Completes a reset that a crash interrupted.
    pub fn resume_reset(&self) -> Result<(), OpenError> {
        if let Some(mark) = self.mark().load()? {
            self.finish_reset(&mark, Epoch::default())?;
        }
        Ok(())
    }

    /// Makes an empty journal whose next record is `first`.
    pub fn create_first(
        &self,
        first: Lsn,
        session: SessionId,
        epoch: Epoch,
    ) -> Result<Segment, OpenError> {
        let path = self.dir.join(spare_name(0));
        let make = || {
            remove_if_there(&**self.disk, &path)?;
            let file = self.disk.create(&path)?;
            file.preallocate(self.segment_bytes, &|| {})?;
            let spare = Spare { path: path.clone(), file, capacity: self.segment_bytes };
            install(&**self.disk, self.dir, &spare, SegmentHeader { session, epoch, first })
        };
        make().map_err(OpenError::io("create the first journal segment in", self.dir))
    }

    /// Empties the journal; it goes on after `after`. Once the mark is durable, a crash cannot leave it half-done.
    pub fn reset(
        &self,
        after: Lsn,
        session: SessionId,
        epoch: Epoch,
    ) -> Result<Segment, OpenError> {
        self.disk.create_dir(self.dir).map_err(OpenError::io("create the directory", self.dir))?;
        let mark = ResetMark { after, session };
        self.mark().save(&mark)?;
        crash_point("journal.reset_announced");
        self.finish_reset(&mark, epoch)
    }

    fn finish_reset(&self, mark: &ResetMark, epoch: Epoch) -> Result<Segment, OpenError> {
        let names = self.disk.list(self.dir).map_err(OpenError::io("list", self.dir))?;
        for name in names.iter().filter(|name| first_from_name(name).is_some()) {
            let path = self.dir.join(name);
            self.disk.remove(&path).map_err(OpenError::io("remove", &path))?;
        }
        crash_point("journal.reset_removed");
        // Making the new segment syncs the directory, so the old ones are gone for good before the mark is.
        let segment = self.create_first(mark.after.next(), mark.session, epoch)?;
        let path = self.dir.join(RESET_MARK);
        self.disk.remove(&path).map_err(OpenError::io("remove", &path))?;
        self.disk.sync_dir(self.dir).map_err(OpenError::io("sync", self.dir))?;
        Ok(segment)
    }
}

/// Turns a spare into the newest segment, durably: the name appears only when the header is there.
pub(crate) fn install(
    disk: &dyn Disk,
    dir: &Path,
    spare: &Spare,
    header: SegmentHeader,
) -> io::Result<Segment> {
    spare.file.write_at(0, &header.encode())?;
    spare.file.sync_data()?;
    let segment = Segment::empty(dir, header.session, header.first, spare.capacity);
    disk.rename(&spare.path, &segment.path)?;
    disk.sync_dir(dir)?;
    Ok(segment)
}

/// Cuts a file so that nothing after `offset` can ever come back.
pub(crate) fn truncate(file: &dyn DiskFile, offset: u64) -> io::Result<()> {
    file.set_length(offset)?;
    file.sync_data()
}

/// Makes a file `length` bytes long if the disk has room for it; how long it is then.
pub(crate) fn grow(file: &dyn DiskFile, length: u64) -> io::Result<u64> {
    match file.preallocate(length, &|| {}) {
        // The segment then counts as full, and reserving space tells the user.
        Err(error) if is_full(&error) => file.length(),
        other => other.map(|()| length),
    }
}
