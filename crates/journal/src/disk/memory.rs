//! A disk in memory that forgets and tears what was not synced, for tests and the simulator.
//!
//! It is harsher than a real one: when the power fails, every sector of every unsynced write and every unsynced
//! change of a directory survives or not independently of the others. What was synced survives, always. It must
//! never be kinder than the [`Disk`] contract, or tests prove nothing.

mod image;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Disk, DiskFile};

pub use image::Image;

/// What a disk writes as a whole or not at all, in bytes.
pub const SECTOR: usize = 512;

/// A disk; clones are the same disk.
#[derive(Clone)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// - `current` is what a running system sees; `durable` with any part of `pending` is what a crash leaves.
#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Edit>,
}

enum Edit {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

type Names = BTreeMap<String, u64>;

#[derive(Default)]
struct Directory {
    durable: Names,
    current: Names,
    pending: Vec<Rename>,
}

/// A change of a directory: `gone` disappears and all of `made` appears, at once.
struct Rename {
    gone: Option<String>,
    made: Vec<(String, u64)>,
}

struct State {
    directories: BTreeMap<PathBuf, Directory>,
    inodes: HashMap<u64, Inode>,
    made: u64,
    capacity: u64,
    /// Counts restarts; a handle from before one is dead.
    life: u64,
    off: bool,
    operations: u64,
    power_fails_at: Option<u64>,
    failing_write: Option<u64>,
    failing_sync: Option<u64>,
    syncs: u64,
    /// Something failed in this life that a whole disk does not fail.
    failed: bool,
}

struct MemoryFile {
    disk: MemoryDisk,
    inode: u64,
    life: u64,
}

fn failure(what: &str) -> io::Error {
    io::Error::other(format!("simulated: {what}"))
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits into memory")
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Edit {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Edit::Write { offset, bytes } => put(content, *offset, bytes),
            Edit::Length(length) => content.resize(*length, 0),
        }
    }

    /// Applies what a crash leaves of it.
    fn tear(&self, content: &mut Vec<u8>, coin: &mut impl FnMut() -> bool) {
        match self {
            Edit::Write { offset, bytes } => {
                let mut at = 0;
                while at < bytes.len() {
                    // Sectors are the disk's, not the write's.
                    let end = ((offset + at) / SECTOR + 1) * SECTOR - offset;
                    let end = end.min(bytes.len());
                    if coin() {
                        put(content, offset + at, &bytes[at..end]);
                    }
                    at = end;
                }
            }
            whole @ Edit::Length(_) => {
                if coin() {
                    whole.apply(content);
                }
            }
        }
    }
}

impl Rename {
    fn apply(&self, names: &mut Names) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        for (name, inode) in &self.made {
            names.insert(name.clone(), *inode);
        }
    }
}

impl State {
    fn alive(&self, life: u64) -> io::Result<()> {
        if self.off || life != self.life { Err(failure("the power is off")) } else { Ok(()) }
    }

    /// Counts an operation that changes something. The one at which the power fails is begun and not finished.
    fn operate(&mut self) {
        self.operations += 1;
        if self.power_fails_at.is_some_and(|at| self.operations >= at) {
            self.off = true;
        }
    }

    fn used(&self) -> u64 {
        let linked = self.directories.values().flat_map(|d| d.current.values());
        linked.map(|inode| self.inodes[inode].current.len() as u64).sum()
    }

    fn edit(&mut self, inode: u64, edit: Edit) -> io::Result<()> {
        let length = match &edit {
            Edit::Write { offset, bytes } => offset + bytes.len(),
            Edit::Length(length) => *length,
        };
        let grown = length.saturating_sub(self.inodes[&inode].current.len()) as u64;
        if grown > 0 && self.used() + grown > self.capacity {
            self.failed = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.operate();
        let file = self.inodes.get_mut(&inode).expect("an open file exists");
        edit.apply(&mut file.current);
        file.pending.push(edit);
        self.alive(self.life)
    }

    fn directory(&mut self, path: &Path) -> io::Result<(&mut Directory, String)> {
        let name = path.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = self.directories.get_mut(parent).ok_or(io::ErrorKind::NotFound)?;
        Ok((directory, name.to_owned()))
    }

    fn rename(&mut self, path: &Path, change: Rename) -> io::Result<()> {
        self.operate();
        let (directory, _) = self.directory(path)?;
        change.apply(&mut directory.current);
        directory.pending.push(change);
        self.alive(self.life)
    }

    fn restart(&mut self, coin: &mut impl FnMut() -> bool) {
        // In the order of the inodes, so that a seed means the same every time.
        let mut numbers: Vec<u64> = self.inodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let inode = self.inodes.get_mut(&number).expect("just listed");
            for edit in std::mem::take(&mut inode.pending) {
                edit.tear(&mut inode.durable, coin);
            }
            inode.current.clone_from(&inode.durable);
        }
        for directory in self.directories.values_mut() {
            for change in std::mem::take(&mut directory.pending) {
                if coin() {
                    change.apply(&mut directory.durable);
                }
            }
            directory.current.clone_from(&directory.durable);
        }
        self.life += 1;
        self.off = false;
        self.power_fails_at = None;
        (self.failing_write, self.failing_sync, self.failed) = (None, None, false);
        self.forget_unnamed();
    }

    /// Files without a name are gone, now that nobody holds them open.
    fn forget_unnamed(&mut self) {
        let names = self.directories.values().flat_map(|directory| directory.current.values());
        let named: std::collections::BTreeSet<u64> = names.copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
    }
}

impl MemoryDisk {
    /// An empty disk that can hold `capacity` bytes of files.
    #[must_use]
    pub fn new(capacity: u64) -> MemoryDisk {
        MemoryDisk(Arc::new(Mutex::new(State {
            directories: BTreeMap::new(),
            inodes: HashMap::new(),
            made: 0,
            capacity,
            life: 0,
            off: false,
            operations: 0,
            power_fails_at: None,
            failing_write: None,
            failing_sync: None,
            syncs: 0,
            failed: false,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Operations so far that changed something: what [`power_fails_after`](Self::power_fails_after) counts.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The power fails at the `operations`-th change from now: that one and all later calls return an error.
    pub fn power_fails_after(&self, operations: u64) {
        let mut state = self.state();
        state.power_fails_at = Some(state.operations + operations.max(1));
    }

    /// Whether the power has failed and nothing works until [`restart`](Self::restart).
    #[must_use]
    pub fn power_is_off(&self) -> bool {
        self.state().off
    }

    /// Cuts the power, if it is not off, and starts again. `seed` decides what of the unsynced changes survived.
    pub fn restart(&self, seed: u64) {
        let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        // Some crashes keep nearly everything, some nearly nothing: both find errors that coin tosses do not.
        let keep = 1 + (bits >> 33) % 15;
        self.state().restart(&mut || {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            (bits >> 20) % 16 < keep
        });
    }

    /// The process is killed instead: what it wrote is all there to be read, and as unsynced as it was.
    pub fn kill(&self) {
        let mut state = self.state();
        state.life += 1;
        state.off = false;
        state.power_fails_at = None;
        (state.failing_write, state.failing_sync, state.failed) = (None, None, false);
    }

    /// The `nth` sync from now fails (1 is the next); later ones succeed, as they do on a real disk.
    pub fn fail_sync(&self, nth: u64) {
        let mut state = self.state();
        state.failing_sync = Some(state.syncs + nth);
    }

    /// The `nth` changing operation from now fails if it is a write (1 is the next).
    pub fn fail_write(&self, nth: u64) {
        let mut state = self.state();
        state.failing_write = Some(state.operations + nth);
    }

    /// Nothing that was going to fail does, and the power stays on.
    pub fn mend(&self) {
        let mut state = self.state();
        state.power_fails_at = None;
        (state.failing_write, state.failing_sync) = (None, None);
    }

    /// Changes how many bytes of files there is room for.
    pub fn set_capacity(&self, capacity: u64) {
        self.state().capacity = capacity;
    }

    /// Whether anything failed since the last start that a whole disk with room does not fail.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let state = self.state();
        state.failed || state.off
    }

    /// How often anything was synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }
}

impl State {
    /// Counts a sync; an error if it is one that fails, after which what it should have synced stays unsynced.
    fn sync(&mut self, life: u64) -> io::Result<()> {
        self.alive(life)?;
        self.operate();
        self.alive(life)?;
        self.syncs += 1;
        if self.failing_sync == Some(self.syncs) {
            self.failed = true;
            return Err(failure("this sync fails"));
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let life = state.life;
        state.alive(life)?;
        let (directory, name) = state.directory(path)?;
        if directory.current.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.made += 1;
        let inode = state.made;
        state.inodes.insert(inode, Inode::default());
        state.rename(path, Rename { gone: None, made: vec![(name, inode)] })?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), inode, life }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let life = state.life;
        state.alive(life)?;
        let (directory, name) = state.directory(path)?;
        let inode = *directory.current.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), inode, life }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "the simulated disk renames within a directory");
        let mut state = self.state();
        state.alive(state.life)?;
        let (_, made) = state.directory(to)?;
        let (directory, gone) = state.directory(from)?;
        let inode = *directory.current.get(&gone).ok_or(io::ErrorKind::NotFound)?;
        state.rename(from, Rename { gone: Some(gone), made: vec![(made, inode)] })
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        assert_eq!(one.parent(), other.parent(), "the simulated disk renames within a directory");
        let mut state = self.state();
        state.alive(state.life)?;
        let (_, name) = state.directory(one)?;
        let (directory, other_name) = state.directory(other)?;
        let inode = |name| directory.current.get(name).copied().ok_or(io::ErrorKind::NotFound);
        let (first, second) = (inode(&name)?, inode(&other_name)?);
        state.rename(one, Rename { gone: None, made: vec![(name, second), (other_name, first)] })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive(state.life)?;
        let (directory, name) = state.directory(path)?;
        if !directory.current.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename(path, Rename { gone: Some(name), made: Vec::new() })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let life = state.life;
        state.sync(life)?;
        let directory = state.directories.get_mut(dir).ok_or(io::ErrorKind::NotFound)?;
        directory.pending.clear();
        directory.durable.clone_from(&directory.current);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive(state.life)?;
        let directory = state.directories.get(dir).ok_or(io::ErrorKind::NotFound)?;
        Ok(directory.current.keys().cloned().collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive(state.life)?;
        state.directories.entry(dir.to_owned()).or_default();
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.state();
        state.alive(state.life)?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.life)?;
        if state.failing_write == Some(state.operations + 1) {
            state.operate();
            state.failed = true;
            return Err(failure("this write fails"));
        }
        state.edit(self.inode, Edit::Write { offset: place(offset), bytes: bytes.to_vec() })
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        state.alive(self.life)?;
        let content = &state.inodes[&self.inode].current;
        let rest = content.get(place(offset)..).unwrap_or_default();
        let length = rest.len().min(bytes.len());
        bytes[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.sync(self.life)?;
        let inode = state.inodes.get_mut(&self.inode).expect("an open file exists");
        for edit in std::mem::take(&mut inode.pending) {
            edit.apply(&mut inode.durable);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.alive(self.life)?;
        Ok(state.inodes[&self.inode].current.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive(self.life)?;
        state.edit(self.inode, Edit::Length(place(length)))
    }

    fn preallocate(&self, length: u64, _: &dyn Fn()) -> io::Result<()> {
        if self.length()? >= length {
            return Ok(());
        }
        self.set_length(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_be_torn_at_sectors() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..50 {
            let disk = MemoryDisk::new(1 << 20);
            let (dir, path) = (Path::new("/d"), Path::new("/d/f"));
            disk.create_dir(dir).unwrap();
            let file = disk.create(path).unwrap();
            file.write_at(0, &[1; 2 * SECTOR]).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(dir).unwrap();
            file.write_at(SECTOR as u64 / 2, &[2; SECTOR]).unwrap();
            disk.restart(seed);
            assert!(file.length().is_err(), "a handle from before the crash is dead");
            let content = super::super::read_whole(&disk, path).unwrap();
            assert_eq!(content.len(), 2 * SECTOR);
            assert!(content[..SECTOR / 2].iter().all(|&b| b == 1));
            let (one, two) = (content[SECTOR / 2], content[SECTOR]);
            assert!(content[SECTOR / 2..SECTOR].iter().all(|&b| b == one));
            assert!(content[SECTOR..SECTOR * 3 / 2].iter().all(|&b| b == two));
            kept += u32::from(one == 2) + u32::from(two == 2);
            lost += u32::from(one == 1) + u32::from(two == 1);
        }
        assert!(kept > 10 && lost > 10, "kept {kept}, lost {lost}");
    }

    #[test]
    fn a_file_whose_directory_was_not_synced_may_be_gone() {
        let found = (0..50).filter(|&seed| {
            let disk = MemoryDisk::new(1 << 20);
            disk.create_dir(Path::new("/d")).unwrap();
            disk.create(Path::new("/d/f")).unwrap().sync_data().unwrap();
            disk.restart(seed);
            disk.open(Path::new("/d/f")).is_ok()
        });
        let found = found.count();
        assert!((5..45).contains(&found), "{found}");
    }
}
