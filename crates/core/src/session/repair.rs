//! Damaged pages: one that does not have the hash it must have is asked of the partners, one after the other. By its hash
//! alone, so it does not matter which position anybody is at. Bounded on both sides; nobody waits for ever.

use bytes::Bytes;

use super::{Action, Core, LinkId, Millis, links::Use};
use crate::{
    ids::{DatabaseId, PageNo, ServerId},
    message::Message,
};

/// At most this many pages are asked for, and looked for, at a time.
const PAGES_MOST: usize = 64;

/// A page by what it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PageKey {
    pub(super) database: DatabaseId,
    pub(super) page: PageNo,
    pub(super) hash: u64,
}

/// A page that is being asked for.
#[derive(Clone, Debug)]
pub(super) struct Repair {
    key: PageKey,
    asked: Vec<ServerId>,
    /// Where the answer is due, and until when.
    via: LinkId,
    until: Millis,
}

impl Core {
    pub(super) fn page_damaged(&mut self, key: PageKey) {
        if self.repairs.iter().any(|repair| repair.key == key) {
            // One answer serves all that wait for it.
            return;
        }
        if self.repairs.len() >= PAGES_MOST {
            return self.take_page(key, None);
        }
        self.ask_for_page(key, Vec::new());
    }

    /// Asks the next partner that was not asked yet; there may be none.
    fn ask_for_page(&mut self, key: PageKey, mut asked: Vec<ServerId>) {
        let next = self.links.iter().find_map(|link| match link.used {
            Use::Upstream(server) | Use::Downstream(server) if !asked.contains(&server) => {
                Some((link.id, server))
            }
            _ => None,
        });
        let Some((via, server)) = next else { return self.take_page(key, None) };
        asked.push(server);
        let until = self.now.ticks.after(self.config.partner_timeout);
        self.repairs.push(Repair { key, asked, via, until });
        let PageKey { database, page, hash } = key;
        self.send(via, Message::PageWanted { database, page, hash });
    }

    fn take_page(&mut self, key: PageKey, bytes: Option<Bytes>) {
        let PageKey { database, page, hash } = key;
        self.emit(Action::TakePage { database, page, hash, bytes });
    }

    pub(super) fn page_is(&mut self, id: LinkId, key: PageKey, bytes: Option<Vec<u8>>) {
        let found = self.repairs.iter().position(|repair| repair.key == key && repair.via == id);
        // An answer that comes too late is nobody's any more.
        let Some(index) = found else { return };
        let repair = self.repairs.swap_remove(index);
        match bytes {
            Some(bytes) => self.take_page(key, Some(Bytes::from(bytes))),
            None => self.ask_for_page(key, repair.asked),
        }
    }

    /// Turns to the next partner where an answer is overdue, or cannot come any more.
    pub(super) fn settle_repairs(&mut self) {
        let now = self.now.ticks;
        let gone = |core: &Core, repair: &Repair| {
            repair.until <= now
                || !matches!(core.link_use(repair.via), Some(Use::Upstream(_) | Use::Downstream(_)))
        };
        while let Some(index) = self.repairs.iter().position(|repair| gone(self, repair)) {
            let repair = self.repairs.swap_remove(index);
            self.ask_for_page(repair.key, repair.asked);
        }
    }

    pub(super) fn next_repair(&self) -> Option<Millis> {
        self.repairs.iter().map(|repair| repair.until).min()
    }

    pub(super) fn page_wanted(&mut self, id: LinkId, key: PageKey) {
        let PageKey { database, page, hash } = key;
        if self.providing.len() >= PAGES_MOST {
            return self.send(id, Message::PageIs { database, page, hash, bytes: None });
        }
        self.providing.push((id, key));
        self.emit(Action::ProvidePage { link: id, database, page, hash });
    }

    pub(super) fn page_provided(&mut self, id: LinkId, key: PageKey, bytes: Option<Bytes>) {
        if let Some(index) = self.providing.iter().position(|&wanted| wanted == (id, key)) {
            self.providing.swap_remove(index);
        }
        if self.link_use(id).is_some() {
            let PageKey { database, page, hash } = key;
            let bytes = bytes.map(|bytes| bytes.to_vec());
            self.send(id, Message::PageIs { database, page, hash, bytes });
        }
    }
}
