//! The arithmetic of confirming: what is final, given who has hardened what. Pure, total, and nowhere else.
//!
//! | safety | synchronized mirrors | commit LSN |
//! |---|---|---|
//! | off  | any  | local hardened |
//! | full | none | local hardened (the principal is exposed, which was recorded durably before) |
//! | full | some | the least of local hardened and of what each of them has hardened |

use crate::{ids::Lsn, message::Safety};

/// A mirror that lags by at most this many records may be waited for while it hardens the rest. Chosen so that
/// the wait is a few milliseconds even for a slow disk.
pub const AWAIT_WITHIN: u64 = 1_024;

/// The commit LSN. `awaited` is what each mirror has hardened that a commit must wait for.
#[must_use]
pub fn commit_lsn(safety: Safety, local: Lsn, awaited: impl Iterator<Item = Lsn>) -> Lsn {
    match safety {
        Safety::Off => local,
        Safety::Full => awaited.fold(local, Lsn::min),
    }
}

/// Whether commits may begin to wait for a mirror that has hardened up to `mirror`.
#[must_use]
pub fn within_reach(local: Lsn, mirror: Lsn) -> bool {
    local.since(mirror) <= AWAIT_WITHIN
}

/// Whether commits may stop waiting for a synchronized mirror, given how many others there are.
#[must_use]
pub fn may_stop_waiting(require_mirror: bool, other_synchronized: usize) -> bool {
    !require_mirror || other_synchronized > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(safety: Safety, local: u64, mirrors: &[u64]) -> u64 {
        commit_lsn(safety, Lsn(local), mirrors.iter().map(|&lsn| Lsn(lsn))).0
    }

    #[test]
    fn safety_off_asks_only_the_principal() {
        assert_eq!(commit(Safety::Off, 9, &[]), 9);
        assert_eq!(commit(Safety::Off, 9, &[3, 4]), 9);
    }

    #[test]
    fn safety_full_asks_every_synchronized_mirror() {
        for (local, mirrors, expected) in
            [(9, &[][..], 9), (9, &[3], 3), (3, &[9], 3), (9, &[5, 7], 5), (4, &[5, 7], 4)]
        {
            assert_eq!(commit(Safety::Full, local, mirrors), expected, "{local} {mirrors:?}");
        }
    }

    #[test]
    fn the_last_synchronized_mirror_is_kept_when_one_is_required() {
        assert!(may_stop_waiting(false, 0));
        assert!(!may_stop_waiting(true, 0));
        assert!(may_stop_waiting(true, 1));
    }

    #[test]
    fn a_mirror_is_waited_for_only_when_it_is_near() {
        assert!(within_reach(Lsn(2_000), Lsn(976)));
        assert!(!within_reach(Lsn(2_001), Lsn(976)));
        assert!(within_reach(Lsn(5), Lsn(9)), "a mirror may be ahead of the local fsync");
    }
}
