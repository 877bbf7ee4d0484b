//! A spool that is interrupted again and again grows with each attempt: earlier tails, offers, and pages that were
//! replaced are of no use any more. So that it does not fill the disk, the pages that count are written anew, each once.
//!
//! What is held is the same before and after, and a crash leaves one or the other.

use std::{collections::BTreeMap, io};

use counterpart_core::{
    DatabaseName,
    copy::{Item, Offer, SentPages},
    map::page_hash,
};
use counterpart_journal::rename_durably;

use super::{Spool, SpoolError, Spooled, discard};

/// Bytes of no use that are not worth it.
const SLACK: u64 = 64 << 20;

impl Spool {
    /// The spool, without what is of no use if that is more than what is. Where that fails, it stays as it is.
    ///
    /// # Errors
    /// It can't be opened again.
    pub fn compacted(self) -> Result<Spool, SpoolError> {
        self.compacted_above(SLACK)
    }

    fn compacted_above(mut self, slack: u64) -> Result<Spool, SpoolError> {
        if self.length <= 2 * self.held_bytes() + slack {
            return Ok(self);
        }
        if let Err(error) = self.compact() {
            tracing::warn!(%error, "the spool keeps what is of no use in it");
        }
        let directory = self.path.parent().expect("the spool has a directory");
        Spool::open(directory.parent().expect("the spool's directory is in another"))
    }

    fn held_bytes(&self) -> u64 {
        let held = |spooled: &Spooled| spooled.hashes.iter().filter(|hash| **hash != 0).count();
        let bytes = |spooled: &Spooled| (held(spooled) * spooled.page_size.bytes()) as u64;
        self.pages.values().map(bytes).sum()
    }

    fn compact(&mut self) -> Result<(), SpoolError> {
        let Some(attempt) = self.attempt.clone() else { return Ok(()) };
        let path = self.path.clone();
        let failed = |cause: io::Error| SpoolError::Io { path: path.clone(), cause };
        let directory = path.parent().expect("the spool has a directory");
        // Within this directory it is beside the old one, and goes with it.
        discard(directory).map_err(failed)?;
        let mut fresh = Spool::open(directory)?;
        fresh.append_item(&Item::Head(Box::new(attempt.head)))?;
        let (mut left, mut offered) = (self.pages.clone(), None);
        self.read_again(|item| copy_item(&mut fresh, &mut left, &mut offered, item))?;
        fresh.sync()?;
        rename_durably(&fresh.path, &path).and_then(|()| discard(directory)).map_err(failed)
    }
}

/// Writes what of an item counts. `left` has the hashes of what was not written yet; `offered` the newest offer, and
/// whether it was written.
fn copy_item(
    fresh: &mut Spool,
    left: &mut BTreeMap<DatabaseName, Spooled>,
    offered: &mut Option<(Offer, bool)>,
    item: Item,
) -> Result<(), SpoolError> {
    match item {
        Item::Offer(offer) => *offered = Some((Offer { ranges: Vec::new(), ..offer }, false)),
        Item::Pages(sent) => {
            let Some((offer, written)) = offered else { return Ok(()) };
            if let Some(sent) = counting(left, offer, &sent) {
                if !std::mem::replace(written, true) {
                    fresh.append_item(&Item::Offer(offer.clone()))?;
                }
                fresh.append_item(&Item::Pages(sent))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Those of the pages that nothing replaced later, and that were not written yet.
fn counting(
    left: &mut BTreeMap<DatabaseName, Spooled>,
    offer: &Offer,
    sent: &SentPages,
) -> Option<SentPages> {
    let spooled = left.get_mut(&offer.name)?;
    if (offer.database, offer.page_size) != (sent.database, sent.page_size)
        || spooled.page_size != sent.page_size
    {
        return None;
    }
    let (mut numbers, mut bytes) = (Vec::new(), Vec::new());
    for (number, image) in sent.iter().filter(|(number, _)| number.0 <= offer.size_in_pages) {
        let hash = spooled.hashes.get_mut(number.0 as usize - 1);
        if let Some(hash) = hash.filter(|hash| **hash != 0 && **hash == page_hash(number, image)) {
            *hash = 0;
            numbers.push(number);
            bytes.extend_from_slice(image);
        }
    }
    let (database, page_size) = (sent.database, sent.page_size);
    (!numbers.is_empty()).then(|| SentPages { database, page_size, numbers, bytes: bytes.into() })
}

#[cfg(test)]
mod tests {
    use counterpart_core::Lsn;

    use super::{
        super::tests::{attempt, held},
        *,
    };

    #[test]
    fn what_is_replaced_again_and_again_does_not_pile_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path()).unwrap();
        attempt(&mut spool, 1, 1, &[1, 2, 3, 4]);
        for mark in 2..40 {
            attempt(&mut spool, mark, 2, &[u8::try_from(mark).unwrap(), 3]);
            // A page that is again what it was once.
            attempt(&mut spool, mark, 4, &[if mark % 2 == 0 { 9 } else { 4 }]);
        }
        let (before, length) = (held(&spool, Vec::new()), spool.length());
        let spool = spool.compacted_above(1 << 20).unwrap();
        assert_eq!(spool.length(), length, "it is not worth it");
        let mut spool = spool.compacted_above(0).unwrap();
        assert!(spool.length() < 4 * 512 * 2, "{} of {length} bytes", spool.length());
        assert_eq!(held(&spool, Vec::new()), before);
        assert_eq!(spool.attempt().unwrap().head.mark, Lsn(39));
        attempt(&mut spool, 50, 1, &[7]);
        let now = held(&spool, Vec::new());
        assert_eq!(now[1..], before[1..]);
        drop(spool);
        let spool = Spool::open(dir.path()).unwrap();
        assert_eq!(held(&spool, Vec::new()), now, "after a restart, too");
        assert_eq!(std::fs::read_dir(super::super::directory(dir.path())).unwrap().count(), 1);
    }
}
