//! What the journal's tests share: records, configurations, listeners.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{path::Path, sync::Arc};

use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageNo, PageSize, ServerId, SessionId, UnixMicros,
    record::{Draft, Record, Stamp, TransactionDraft},
};
use counterpart_journal::{Config, Disk, Journal, OpenError, RealDisk, Recovery};

pub const SESSION: SessionId = SessionId(0x5e55);
pub const KIB: u64 = 1 << 10;

pub fn epoch(term: u32, start: u32) -> Epoch {
    Epoch { term, start, server: ServerId(1) }
}

/// Bytes that do not compress, different for every seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// A transaction of one small page (about 610 bytes) whose content tells `seed`.
pub fn small(seed: u64) -> Draft {
    pages(seed, 512, 1)
}

/// A transaction of `count` pages of `size` bytes.
pub fn pages(seed: u64, size: u32, count: u32) -> Draft {
    let size = PageSize::from_bytes(size).unwrap();
    let mut draft = TransactionDraft::new(DatabaseId(1), size, UnixMicros(seed));
    for number in 1..=count {
        let image = noise(seed + u64::from(number), size.bytes());
        assert!(draft.push_page(PageNo(number), &image).is_none(), "tests want one record");
    }
    draft.finish(count, seed)
}

/// The record that a principal would have sealed at `lsn`.
pub fn sealed(lsn: u64, epoch: Epoch) -> Record {
    small(lsn).seal(Stamp { lsn: Lsn(lsn), commit_lsn: Lsn(lsn - 1), epoch })
}

/// Small segments and queues, so that a few records reach every border.
pub fn tiny() -> Config {
    Config {
        segment_bytes: 16 * KIB,
        queue_bytes: 8 << 10,
        tail_bytes: 4 << 10,
        retention_bytes: 1 << 30,
        must_reach: Lsn::ZERO,
    }
}

pub fn open_on(
    disk: Arc<dyn Disk>,
    dir: &Path,
    config: Config,
) -> Result<(Journal, Recovery), OpenError> {
    Journal::open(disk, dir, config, SESSION, Box::new(|_| {}))
}

pub fn open_real(dir: &Path, config: Config) -> Result<(Journal, Recovery), OpenError> {
    open_on(Arc::new(RealDisk), dir, config)
}

/// Appends small transactions up to `last` and waits until they are hardened.
pub fn append_up_to(journal: &Journal, last: u64) {
    while journal.last() < Lsn(last) {
        journal.append(small(journal.last().0 + 1)).unwrap();
    }
    journal.wait_hardened(Lsn(last)).unwrap();
}

/// The LSNs that the journal gives back after `after`.
pub fn lsns_after(journal: &Journal, after: u64) -> Vec<u64> {
    journal.records_after(Lsn(after)).map(|r| r.unwrap().lsn().0).collect()
}
