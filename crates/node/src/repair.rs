//! What is damaged here and asked of the partners: pages by their hash, records by their positions. Counted for the status.
//!
//! SQLite waits in the middle of a read while a page is fetched, so nobody waits here for long, and not at all while
//! there is nobody to ask.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use bytes::Bytes;
use counterpart_core::{
    DatabaseId, Lsn, PageNo, UnixMicros,
    record::{Record, split_records},
    session::Event,
};
use counterpart_engine::{DamagedPage, RepairOutcome, Repairer};
use counterpart_journal::crash_point;
use serde::Serialize;

use crate::{clock, driver::Inputs};

/// A client's statement waits for a page at most this long.
const PATIENCE: Duration = Duration::from_secs(3);

/// A scrub waits for records a while longer.
const RECORDS_PATIENCE: Duration = Duration::from_secs(20);

/// Damaged pages that the status names; all are counted, and in the log.
const REMEMBERED: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    /// A page, by the hash that it must have.
    Page(DatabaseId, PageNo, u64),
    /// Records of the journal, both ends included. The answer may end earlier.
    Records(Lsn, Lsn),
}

/// What was damaged, since the server started.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Damage {
    /// Pages that were found damaged.
    pub found: u64,
    /// Of these: pages that are good again.
    pub repaired: u64,
    /// The newest ones, the oldest first.
    pub pages: Vec<Met>,
}

/// A damaged page that was met.
#[derive(Clone, Debug, Serialize)]
pub struct Met {
    /// When.
    pub at: UnixMicros,
    /// The database's number.
    pub database: DatabaseId,
    /// The page.
    pub page: PageNo,
    /// The hash that it should have, in hexadecimal digits.
    pub expected: String,
    /// The hash that it had; nothing if it could not be read.
    pub found: Option<String>,
    /// Whether it is good again.
    pub repaired: bool,
    /// Why not.
    pub why: Option<String>,
}

/// Asks partners for pages.
pub struct Repairs {
    inputs: Inputs,
    /// Whether the driver runs, so that somebody answers.
    listening: AtomicBool,
    waiting: Mutex<HashMap<Key, Vec<SyncSender<Option<Bytes>>>>>,
    damage: Mutex<Damage>,
}

impl std::fmt::Debug for Repairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repairs").finish_non_exhaustive()
    }
}

impl Repairs {
    /// Repairs by way of this driver, once it runs.
    #[must_use]
    pub fn new(inputs: Inputs) -> Repairs {
        Repairs {
            inputs,
            listening: AtomicBool::new(false),
            waiting: Mutex::default(),
            damage: Mutex::default(),
        }
    }

    /// The driver runs from now on.
    pub fn listen(&self) {
        self.listening.store(true, Ordering::SeqCst);
    }

    /// Asks the partners, one after the other, and waits for `patience` at most.
    fn ask(&self, key: Key, patience: Duration) -> Option<Bytes> {
        if !self.listening.load(Ordering::SeqCst) {
            return None;
        }
        let (answer, answered) = sync_channel(1);
        self.waiting().entry(key).or_default().push(answer);
        self.inputs.event(match key {
            Key::Page(database, page, hash) => Event::PageDamaged { database, page, hash },
            Key::Records(first, last) => Event::RecordsDamaged { first, last },
        });
        answered.recv_timeout(patience).ok().flatten()
    }

    /// These records, from the partners; `None` if they are not all to be had. Blocks.
    #[must_use]
    pub fn fetch_records(&self, first: Lsn, last: Lsn) -> Option<Vec<Record>> {
        let (mut records, mut next) = (Vec::new(), first);
        while next <= last {
            let bytes = self.ask(Key::Records(next, last), RECORDS_PATIENCE)?;
            let some = split_records(bytes).ok().filter(|some| !some.is_empty())?;
            for record in some {
                if record.lsn() != next || next > last {
                    return None;
                }
                next = next.next();
                records.push(record);
            }
        }
        Some(records)
    }

    /// The partners' answer.
    pub fn answer(&self, key: Key, bytes: Option<&Bytes>) {
        for waiting in self.waiting().remove(&key).unwrap_or_default() {
            // Whoever waited may have lost patience.
            let _gone = waiting.send(bytes.cloned());
        }
    }

    /// What was damaged.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.damage.lock().expect("no holder of this lock panics").clone()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Vec<SyncSender<Option<Bytes>>>>> {
        self.waiting.lock().expect("no holder of this lock panics")
    }
}

impl Repairer for Repairs {
    fn fetch(&self, database: DatabaseId, page: PageNo, hash: u64) -> Option<Bytes> {
        let page = self.ask(Key::Page(database, page, hash), PATIENCE)?;
        crash_point("repair.fetched");
        Some(page)
    }

    fn damaged(&self, page: DamagedPage, outcome: &RepairOutcome) {
        let why = match outcome {
            RepairOutcome::Repaired => None,
            RepairOutcome::NoSource => Some("no partner has it".to_owned()),
            RepairOutcome::Failed(why) => Some(why.clone()),
        };
        let DamagedPage { database, page, expected, found } = page;
        match &why {
            None => {
                crash_point("repair.written");
                tracing::warn!(%database, %page, "a damaged page was repaired from the partner");
            }
            Some(why) => {
                tracing::error!(%database, %page, why, "a page is damaged and can't be repaired now; nothing wrong is served");
            }
        }
        let mut damage = self.damage.lock().expect("no holder of this lock panics");
        damage.found += 1;
        damage.repaired += u64::from(why.is_none());
        if damage.pages.len() == REMEMBERED {
            damage.pages.remove(0);
        }
        damage.pages.push(Met {
            at: clock::unix_now(),
            database,
            page,
            expected: format!("{expected:016x}"),
            found: found.map(|hash| format!("{hash:016x}")),
            repaired: why.is_none(),
            why,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::driver::Input;

    #[test]
    fn nobody_is_asked_before_anybody_listens() {
        let (inputs, mut queue) = Inputs::new();
        assert_eq!(Repairs::new(inputs).fetch(DatabaseId(1), PageNo(2), 3), None);
        assert!(queue.try_recv().is_err());
    }

    /// It was asked again and again, for ever.
    #[test]
    fn a_partner_that_answers_with_no_records_is_not_asked_again() {
        let (inputs, mut queue) = Inputs::new();
        let repairs = Arc::new(Repairs::new(inputs));
        repairs.listen();
        let fetching = Arc::clone(&repairs);
        let fetched = std::thread::spawn(move || fetching.fetch_records(Lsn(1), Lsn(3)));
        assert!(queue.blocking_recv().is_some());
        repairs.answer(Key::Records(Lsn(1), Lsn(3)), Some(&Bytes::new()));
        assert_eq!(fetched.join().unwrap(), None);
        assert!(queue.try_recv().is_err());
    }

    #[test]
    fn all_that_wait_for_a_page_get_it() {
        let (inputs, mut queue) = Inputs::new();
        let repairs = Arc::new(Repairs::new(inputs));
        repairs.listen();
        let fetch = |repairs: &Arc<Repairs>| {
            let repairs = Arc::clone(repairs);
            std::thread::spawn(move || repairs.fetch(DatabaseId(1), PageNo(2), 3))
        };
        let both = [fetch(&repairs), fetch(&repairs)];
        for _ in 0..2 {
            let asked = queue.blocking_recv();
            assert!(matches!(asked, Some(Input::Event(Event::PageDamaged { hash: 3, .. }))));
        }
        let page = Bytes::from_static(b"page");
        repairs.answer(Key::Page(DatabaseId(1), PageNo(2), 4), None);
        repairs.answer(Key::Page(DatabaseId(1), PageNo(2), 3), Some(&page));
        for waiting in both {
            assert_eq!(waiting.join().unwrap(), Some(page.clone()));
        }
    }
}
