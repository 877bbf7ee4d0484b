//! What is damaged here is asked of the partners, one after the other: a page by the hash that it must have, so that it
//! does not matter which position anybody is at; records by their positions, which name them for ever. Bounded on both
//! sides; nobody waits for ever.

use bytes::Bytes;

use super::{Action, Core, LinkId, Millis, links::Use};
use crate::{
    ids::{DatabaseId, Lsn, PageNo, ServerId},
    message::Message,
};

/// At most this much is asked for, and looked for, at a time.
const LACKING_MOST: usize = 64;

/// A page by what it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PageKey {
    pub(super) database: DatabaseId,
    pub(super) page: PageNo,
    pub(super) hash: u64,
}

/// What a server lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lacking {
    /// A page.
    Page(PageKey),
    /// Records of the journal, both ends included. The answer may end earlier.
    Records(Lsn, Lsn),
}

/// Something that is being asked for.
#[derive(Clone, Debug)]
pub(super) struct Repair {
    lacking: Lacking,
    asked: Vec<ServerId>,
    /// Where the answer is due, and until when.
    via: LinkId,
    until: Millis,
}

impl Core {
    /// Something here is damaged.
    pub(super) fn lack(&mut self, lacking: Lacking) {
        if self.repairs.iter().any(|repair| repair.lacking == lacking) {
            // One answer serves all that wait for it.
            return;
        }
        if self.repairs.len() >= LACKING_MOST {
            return self.take(lacking, None);
        }
        self.ask_for(lacking, Vec::new());
    }

    /// Asks the next partner that was not asked yet; there may be none.
    fn ask_for(&mut self, lacking: Lacking, mut asked: Vec<ServerId>) {
        let next = self.links.iter().find_map(|link| match link.used {
            Use::Upstream(server) | Use::Downstream(server) if !asked.contains(&server) => {
                Some((link.id, server))
            }
            _ => None,
        });
        let Some((via, server)) = next else { return self.take(lacking, None) };
        asked.push(server);
        let until = self.now.ticks.after(self.config.partner_timeout);
        self.repairs.push(Repair { lacking, asked, via, until });
        let message = match lacking {
            Lacking::Page(PageKey { database, page, hash }) => {
                Message::PageWanted { database, page, hash }
            }
            Lacking::Records(first, last) => Message::RecordsWanted { first, last },
        };
        self.send(via, message);
    }

    fn take(&mut self, lacking: Lacking, bytes: Option<Bytes>) {
        self.emit(match lacking {
            Lacking::Page(PageKey { database, page, hash }) => {
                Action::TakePage { database, page, hash, bytes }
            }
            Lacking::Records(first, last) => Action::TakeRecords { first, last, bytes },
        });
    }

    /// What a partner lacks, or sends because it was lacking here; gives back any other message.
    pub(super) fn take_repair(&mut self, id: LinkId, message: Message) -> Option<Message> {
        match message {
            Message::PageWanted { database, page, hash } => {
                self.wanted(id, Lacking::Page(PageKey { database, page, hash }));
            }
            Message::PageIs { database, page, hash, bytes } => {
                self.answered(id, Lacking::Page(PageKey { database, page, hash }), bytes);
            }
            Message::RecordsWanted { first, last } => {
                self.wanted(id, Lacking::Records(first, last));
            }
            Message::RecordsAre { first, last, bytes } => {
                self.answered(id, Lacking::Records(first, last), bytes);
            }
            other => return Some(other),
        }
        None
    }

    /// A partner's answer.
    fn answered(&mut self, id: LinkId, lacking: Lacking, bytes: Option<Vec<u8>>) {
        let found =
            self.repairs.iter().position(|repair| repair.lacking == lacking && repair.via == id);
        // An answer that comes too late is nobody's any more.
        let Some(index) = found else { return };
        let repair = self.repairs.swap_remove(index);
        match bytes {
            Some(bytes) => self.take(lacking, Some(Bytes::from(bytes))),
            None => self.ask_for(lacking, repair.asked),
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
            self.ask_for(repair.lacking, repair.asked);
        }
    }

    pub(super) fn next_repair(&self) -> Option<Millis> {
        self.repairs.iter().map(|repair| repair.until).min()
    }

    /// A partner lacks something.
    fn wanted(&mut self, id: LinkId, lacking: Lacking) {
        if self.providing.len() >= LACKING_MOST {
            return self.send_lacking(id, lacking, None);
        }
        self.providing.push((id, lacking));
        self.emit(match lacking {
            Lacking::Page(PageKey { database, page, hash }) => {
                Action::ProvidePage { link: id, database, page, hash }
            }
            Lacking::Records(first, last) => Action::ProvideRecords { link: id, first, last },
        });
    }

    /// What was looked for, if it is here.
    pub(super) fn provided(&mut self, id: LinkId, lacking: Lacking, bytes: Option<Bytes>) {
        if let Some(index) = self.providing.iter().position(|&wanted| wanted == (id, lacking)) {
            self.providing.swap_remove(index);
        }
        if self.link_use(id).is_some() {
            self.send_lacking(id, lacking, bytes.map(|bytes| bytes.to_vec()));
        }
    }

    fn send_lacking(&mut self, id: LinkId, lacking: Lacking, bytes: Option<Vec<u8>>) {
        let message = match lacking {
            Lacking::Page(PageKey { database, page, hash }) => {
                Message::PageIs { database, page, hash, bytes }
            }
            Lacking::Records(first, last) => Message::RecordsAre { first, last, bytes },
        };
        self.send(id, message);
    }
}
