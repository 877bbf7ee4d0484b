//! What survives: records, journals, disks; what a crash leaves of them, and images that machines are restored from.

use counterpart_core::{
    Epoch, Lsn,
    message::Role,
    session::{Durable, Recovered},
};

use super::{Node, World};

/// A journal record: who wrote it, where, and what (a number that is never used twice).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rec {
    pub epoch: Epoch,
    pub lsn: Lsn,
    pub id: u64,
    /// The commit LSN known when it was written.
    pub commit: Lsn,
}

/// Records after a position: a journal, or what the databases show.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Run {
    pub base: Lsn,
    pub recs: Vec<Rec>,
}

impl Run {
    pub fn end(&self) -> Lsn {
        Lsn(self.base.0 + self.recs.len() as u64)
    }

    pub fn get(&self, lsn: Lsn) -> Option<Rec> {
        let index = lsn.0.checked_sub(self.base.0 + 1)?;
        self.recs.get(usize::try_from(index).ok()?).copied()
    }

    pub fn truncate(&mut self, end: Lsn) {
        self.recs.truncate(usize::try_from(end.since(self.base)).unwrap());
    }

    pub fn push(&mut self, rec: Rec) {
        assert_eq!(rec.lsn, self.end().next(), "records come without gaps");
        self.recs.push(rec);
    }

    pub fn after(&self, lsn: Lsn) -> &[Rec] {
        let from = usize::try_from(lsn.since(self.base)).unwrap().min(self.recs.len());
        &self.recs[from..]
    }
}

/// What survives a crash.
#[derive(Clone, Debug)]
pub struct Disk {
    pub durable: Durable,
    pub journal: Run,
    pub hardened: Lsn,
    pub content: Run,
    pub seed: Option<Run>,
    /// The database files hold everything up to here: redo starts there.
    pub base: Lsn,
    pub spool: Option<Spool>,
    /// Kept for ever, as files are that no server reads again.
    pub orphans: Vec<Rec>,
}

/// A copy beside what a mirror has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spool {
    pub mark: Lsn,
    pub pages: Run,
    pub tail: Vec<Rec>,
    /// Made durable as a whole; a crash leaves the pages of one that is not.
    pub whole: bool,
}

impl World {
    /// Ends a server's process: what is not on its disk is gone.
    pub fn crash(&mut self, index: usize) {
        self.note(index, "crash");
        let node = &mut self.nodes[index];
        node.disk = node.crashed_disk();
        node.core = None;
        (node.promoting, node.drained) = (false, false);
        node.jobs.clear();
        node.alarms.clear();
        node.copied = None;
        node.differing.clear();
        node.streams.clear();
        node.unconfirmed.clear();
        (node.admission, node.write_epoch, node.progress) = (None, None, None);
        self.close_conns(|conn| conn.ends.iter().position(|&end| end == index));
    }

    /// Keeps a disk as it is now, as a machine's image does.
    pub fn take_image(&mut self, index: usize) {
        let disk = self.nodes[index].crashed_disk();
        self.nodes[index].image = Some(disk);
    }

    /// Replaces the disk of a server that is down by its image. Returns whether there was one.
    pub fn restore_image(&mut self, index: usize) -> bool {
        assert!(self.nodes[index].core.is_none(), "an image is restored while the server is down");
        let Some(image) = self.nodes[index].image.clone() else { return false };
        self.note(index, "its disk is an older one now");
        let old = std::mem::replace(&mut self.nodes[index].disk, image);
        // Orphans are files that were taken elsewhere; what else the disk had is gone.
        self.nodes[index].disk.orphans.extend(old.orphans.iter().copied());
        self.restores += 1;
        // Drawn at random in earnest: further than any number of starts since the image was taken.
        self.nodes[index].stride = u16::try_from(self.restores * 200).unwrap();
        self.check_restore(index, &old);
        true
    }
}

impl Node {
    /// What a crash leaves, now.
    fn crashed_disk(&self) -> Disk {
        let mut disk = self.disk.clone();
        if self.write_epoch.is_some() {
            // Only what is final reaches the database files of an acting server.
            let shown = self.commit.max(disk.content.base).max(disk.journal.base);
            disk.content.truncate(shown);
        }
        disk.journal.truncate(disk.hardened);
        let end = disk.journal.end();
        if disk.content.end() > end && disk.durable.seeding.is_none() {
            disk.content.truncate(end);
        }
        disk
    }

    pub(super) fn recover(&mut self) -> Recovered {
        let disk = &mut self.disk;
        let end = disk.journal.end();
        let told = disk.journal.recs.iter().map(|rec| rec.commit).max().unwrap_or(Lsn::ZERO);
        let mirror = disk.durable.role == Role::Mirror;
        if !mirror {
            for rec in disk.journal.after(disk.content.end()).to_vec() {
                disk.content.push(rec);
            }
        }
        let applied = if disk.durable.seeding.is_some() {
            disk.journal.base
        } else {
            disk.content.end().min(end)
        };
        // A journal begins only after what the database files hold.
        let told = told.max(disk.journal.base).max(disk.base);
        let commit = if mirror { told.max(applied) } else { told }.min(end);
        self.commit = commit;
        Recovered {
            durable: disk.durable.clone(),
            journal_after: disk.journal.base,
            journal_end: end,
            commit,
            applied,
            base: disk.base,
            has_spool: disk.spool.is_some(),
            stride: self.stride,
        }
    }
}
