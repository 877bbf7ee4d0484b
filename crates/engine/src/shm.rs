//! The memory that a database's connections share: the WAL's index and its locks, without a `-shm` file.
//!
//! Only this process opens the file, so no other needs to see either. SQLite's own shared memory asks the kernel for
//! each lock, six times for one small commit. It must never block: SQLite asks again by itself.

use std::{
    ffi::c_void,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::ffi;

use crate::memory::Region;

/// Locks that SQLite knows of.
const LOCKS: usize = ffi::SQLITE_SHM_NLOCK as usize;

/// What the connections of one database share.
#[derive(Debug, Default)]
pub(crate) struct Shm(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Each stays where it is until nobody has it mapped. Of the 32 KiB that SQLite asks for, a WAL of a few frames needs 8,
    /// and an empty one 4.
    regions: Vec<Region>,
    connections: usize,
    shared: [u32; LOCKS],
    exclusive: [bool; LOCKS],
}

/// One connection's locks, a bit for each, and whether it has anything mapped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    shared: u8,
    exclusive: u8,
    mapped: bool,
}

/// The system has no more memory for a region.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

/// The bits of the locks from `first` on, `count` of them.
fn bits(first: usize, count: usize) -> u8 {
    (first..first + count).fold(0, |bits, lock| bits | 1 << lock)
}

impl Shm {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where region number `region` of `size` bytes begins; `None` if it does not exist and is not to be made.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) fn region(
        &self,
        held: &mut Held,
        region: usize,
        size: usize,
        extend: bool,
    ) -> Result<Option<*mut c_void>, NoMemory> {
        let mut state = self.lock();
        if !std::mem::replace(&mut held.mapped, true) {
            state.connections += 1;
        }
        while extend && state.regions.len() <= region {
            state.regions.push(Region::new(size).ok_or(NoMemory)?);
        }
        Ok(state.regions.get(region).map(Region::address))
    }

    /// Frames in the WAL, as its index says.
    pub(crate) fn wal_frames(&self) -> u32 {
        /// Where SQLite's `WalIndexHdr` has them, in 32-bit words.
        const MX_FRAME: usize = 4;
        let state = self.lock();
        let Some(first) = state.regions.first() else { return 0 };
        // SAFETY: the region is larger, it stays while the lock is held, and its words are aligned. SQLite writes this one
        // as a whole, and reads it in the same way while another connection may be writing.
        unsafe { first.address().cast::<u32>().add(MX_FRAME).read_volatile() }
    }

    /// Takes locks for a connection: all of them, or none.
    pub(crate) fn take(
        &self,
        held: &mut Held,
        first: usize,
        count: usize,
        exclusive: bool,
    ) -> bool {
        let wanted = bits(first, count);
        let mut state = self.lock();
        if exclusive {
            let free = |lock: usize| {
                let own = u32::from(held.shared >> lock & 1);
                state.shared[lock] == own && !state.exclusive[lock]
            };
            if held.exclusive & wanted == wanted {
                return true;
            }
            if !(first..first + count).all(free) {
                return false;
            }
            (first..first + count).for_each(|lock| state.exclusive[lock] = true);
            held.exclusive |= wanted;
        } else {
            if held.shared & wanted == wanted {
                return true;
            }
            if (first..first + count).any(|lock| state.exclusive[lock]) {
                return false;
            }
            (first..first + count).for_each(|lock| state.shared[lock] += 1);
            held.shared |= wanted;
        }
        true
    }

    /// Gives a connection's locks back, of either kind.
    pub(crate) fn release(&self, held: &mut Held, first: usize, count: usize) {
        let mut state = self.lock();
        for lock in first..first + count {
            let bit = 1 << lock;
            if held.exclusive & bit != 0 {
                state.exclusive[lock] = false;
            }
            if held.shared & bit != 0 {
                state.shared[lock] -= 1;
            }
        }
        held.exclusive &= !bits(first, count);
        held.shared &= !bits(first, count);
    }

    /// A full barrier.
    pub(crate) fn barrier(&self) {
        drop(self.lock());
    }

    /// A connection needs nothing any more. The last one leaves nothing to the next.
    pub(crate) fn unmap(&self, held: &mut Held) {
        self.release(held, 0, LOCKS);
        if std::mem::take(&mut held.mapped) {
            let mut state = self.lock();
            state.connections -= 1;
            if state.connections == 0 {
                state.regions.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_locks_exclude_and_shared_ones_share() {
        let shm = Shm::default();
        let (mut one, mut two) = (Held::default(), Held::default());
        assert!(shm.take(&mut one, 3, 1, false) && shm.take(&mut two, 3, 1, false));
        assert!(!shm.take(&mut one, 3, 1, true), "another one reads");
        shm.release(&mut two, 3, 1);
        assert!(!shm.take(&mut two, 2, 3, true), "one of three is taken, so none is had");
        assert!(shm.take(&mut one, 2, 1, true));
        assert!(!shm.take(&mut two, 2, 1, false));
        shm.unmap(&mut one);
        assert!(shm.take(&mut two, 2, 3, true), "whoever goes leaves no lock");
    }

    #[test]
    fn regions_stay_while_one_connection_has_them_and_begin_anew_after_the_last() {
        let shm = Shm::default();
        let (mut one, mut two) = (Held::default(), Held::default());
        assert_eq!(shm.region(&mut one, 0, 32768, false), Ok(None));
        let place = shm.region(&mut one, 0, 32768, true).unwrap().unwrap().cast::<u64>();
        // SAFETY: the region is mapped and 32,768 bytes long.
        unsafe { *place = 7 };
        assert_eq!(shm.region(&mut two, 0, 32768, false), Ok(Some(place.cast())));
        assert!(shm.region(&mut two, 1, 32768, true).unwrap().is_some());
        assert_eq!(
            shm.region(&mut two, 0, 32768, true),
            Ok(Some(place.cast())),
            "it has not moved"
        );
        shm.unmap(&mut one);
        assert_eq!(shm.region(&mut two, 0, 32768, false), Ok(Some(place.cast())));
        shm.unmap(&mut two);
        let fresh = shm.region(&mut one, 0, 32768, true).unwrap().unwrap().cast::<u64>();
        // SAFETY: as above.
        assert_eq!(unsafe { *fresh }, 0);
    }
}
