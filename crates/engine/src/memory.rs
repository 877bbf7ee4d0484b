//! Memory from the system, of which only pages that were used count.

use std::{ffi::c_void, ptr};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Some memory; zeros at first.
#[derive(Debug)]
pub(crate) struct Region {
    address: *mut c_void,
    size: usize,
}

// SAFETY: the memory belongs to the process. What is done through its address is agreed upon by whoever asks for that; the rest
// borrows as one does.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// So many bytes; `None` if the system has no more.
    pub(crate) fn new(size: usize) -> Option<Region> {
        Region::map(size, MapFlags::PRIVATE)
    }

    /// So many addresses, hardly all of which will be used; `None` if the system does not give them.
    pub(crate) fn reserve(size: usize) -> Option<Region> {
        Region::map(size, MapFlags::PRIVATE | MapFlags::NORESERVE)
    }

    fn map(size: usize, flags: MapFlags) -> Option<Region> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the system chooses a place where nothing is.
        let made = unsafe { mmap_anonymous(ptr::null_mut(), size, access, flags) };
        made.ok().map(|address| Region { address, size })
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> *mut c_void {
        self.address
    }

    /// Copies bytes into it.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.check(at, bytes.len());
        // SAFETY: they fit, nobody else has it now, and what is copied lies elsewhere.
        unsafe {
            let place = self.address.cast::<u8>().add(at);
            ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
        }
    }

    /// Copies bytes out of it.
    pub(crate) fn get(&self, at: usize, buffer: &mut [u8]) {
        self.check(at, buffer.len());
        // SAFETY: they are there, nobody changes them meanwhile, and the buffer lies elsewhere.
        unsafe {
            let place = self.address.cast::<u8>().add(at);
            ptr::copy_nonoverlapping(place, buffer.as_mut_ptr(), buffer.len());
        }
    }

    fn check(&self, at: usize, length: usize) {
        let fits = at.checked_add(length).is_some_and(|end| end <= self.size);
        assert!(fits, "{length} bytes at {at} are not within {}", self.size);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nobody uses it any more.
        let unmapped = unsafe { munmap(self.address, self.size) };
        debug_assert!(unmapped.is_ok(), "what was mapped can be given back");
    }
}
