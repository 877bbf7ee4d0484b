//! The principal's side of a copy: pages from snapshots at known positions, chosen by what the mirror answers, and the
//! journal from the mark on. Real frames of the core's codec, one database after the other.

use std::collections::VecDeque;

use bytes::Bytes;
use counterpart_core::{
    DatabaseId, Lsn, PageNo, UnixMicros,
    copy::{Answer, Chosen, End, Head, Offer, PageSet, SentPages, Want, Whole, differing_pages},
    frame::FrameType,
    map::PageMap,
    message::SeedDatabase,
    session::{Event, LinkId},
};

use super::{
    Around, Process,
    database::{Pages, page_size},
    link::framed,
    wait::Waiter,
};

/// Pages in one frame.
const STEP: usize = 4;

/// Bytes of records in one frame.
const TAIL: usize = 8 << 10;

/// A copy that is being sent.
pub struct Copying {
    mark: Lsn,
    /// What was captured and is not known to be final yet, or is waiting for its answer.
    next: Next,
    rest: VecDeque<DatabaseId>,
    databases: u32,
    pages: u64,
}

enum Next {
    Head(Box<Head>),
    Offer(Box<Snapshot>),
    Answer(Box<Snapshot>, PageSet),
    End(Lsn),
    Done,
}

struct Snapshot {
    offer: Offer,
    pages: Pages,
    map: PageMap,
}

impl Process {
    pub(super) fn estimate(&mut self, around: &mut Around, link: LinkId, after: Lsn, base: Lsn) {
        let newer: usize =
            self.databases.values().map(|model| model.map.newer_than(base).count()).sum();
        let mark = self.control.read().redo_after;
        let pages = newer as u64 * 1_100 + self.journal.bytes_after(mark);
        let journal_bytes = self.journal.bytes_after(after);
        self.event(around, Event::Estimated { link, journal_bytes, page_bytes: pages });
    }

    /// The newest mark that all files hold will do, unless there is none.
    pub(super) fn prepare_pages(&mut self, around: &mut Around, link: LinkId) {
        let mark = self.control.read().redo_after;
        if mark > Lsn::ZERO && self.journal.first().before() <= mark && self.acting {
            return self.pages_prepared(around, link, mark);
        }
        match self.write_mark(around) {
            Ok(mark) => self.when_final(around, mark, Waiter::PagesMark(link, mark)),
            Err(why) => self.seed_failed(around, link, &why),
        }
    }

    pub(super) fn pages_prepared(&mut self, around: &mut Around, link: LinkId, mark: Lsn) {
        self.seed_marks.insert(link, mark);
        self.event(around, Event::PagesPrepared { link, mark });
    }

    pub(super) fn begin_copying(&mut self, around: &mut Around, link: LinkId, mark: Lsn) {
        let describe = |model: &super::database::Model| SeedDatabase {
            id: model.id,
            name: model.name.clone(),
            page_size: page_size(),
            pages: model.pages.size(),
        };
        let (control, catalog_lsn) = (self.control.read().clone(), self.journal.last());
        let head = Head {
            build: "simulated".to_owned(),
            server: control.session.server,
            session: control.session.session,
            epoch: control.session.epoch,
            history: control.session.history.clone(),
            made_at: UnixMicros(around.agenda.now()),
            mark,
            catalog_lsn,
            next_database: control.next_database,
            databases: self.databases.values().map(describe).collect(),
        };
        let copying = Copying {
            mark,
            next: Next::Head(Box::new(head)),
            rest: self.databases.keys().copied().collect(),
            databases: 0,
            pages: 0,
        };
        if let Some(held) = self.links.get_mut(&link) {
            held.copying = Some(copying);
            self.when_final(around, catalog_lsn, Waiter::Copy(link));
        }
    }

    fn put_copy(&mut self, around: &mut Around, link: LinkId, kind: FrameType, payload: &[u8]) {
        if let Some(held) = self.links.get_mut(&link) {
            held.seeds.push_back(framed(kind, payload));
            self.wake(around, link);
        }
    }

    /// What was captured is final now: it goes out.
    pub(super) fn go_on_copying(&mut self, around: &mut Around, link: LinkId) {
        let taken = self.links.get_mut(&link).and_then(|held| held.copying.take());
        let Some(mut copying) = taken else { return };
        match std::mem::replace(&mut copying.next, Next::Done) {
            Next::Head(head) => {
                self.put_copy(around, link, FrameType::CopyHead, &head.encode());
                self.capture_next(around, link, copying);
            }
            Next::Offer(snapshot) => {
                self.put_copy(around, link, FrameType::CopyOffer, &snapshot.offer.encode());
                let none = PageSet::none(snapshot.offer.size_in_pages, page_size());
                copying.next = Next::Answer(snapshot, none);
                self.keep(link, copying);
            }
            Next::End(end) => self.end_copy(around, link, copying, end),
            other => {
                copying.next = other;
                self.keep(link, copying);
            }
        }
    }

    fn keep(&mut self, link: LinkId, copying: Copying) {
        if let Some(held) = self.links.get_mut(&link) {
            held.copying = Some(copying);
        }
    }

    fn capture_next(&mut self, around: &mut Around, link: LinkId, mut copying: Copying) {
        let wait;
        loop {
            let Some(id) = copying.rest.pop_front() else {
                wait = self.journal.last();
                copying.next = Next::End(wait);
                break;
            };
            // One that was dropped meanwhile is dropped by the journal that follows.
            let Some(model) = self.databases.get(&id) else { continue };
            wait = model.visible;
            let offer = Offer {
                database: id,
                name: model.name.clone(),
                page_size: page_size(),
                size_in_pages: model.pages.size(),
                at: model.visible.max(copying.mark),
                checksum: model.map.checksum(),
                ranges: model.map.range_checksums(),
            };
            let (pages, map) = (model.pages.clone(), model.map.clone());
            copying.next = Next::Offer(Box::new(Snapshot { offer, pages, map }));
            copying.databases += 1;
            break;
        }
        self.keep(link, copying);
        self.when_final(around, wait, Waiter::Copy(link));
    }

    pub(super) fn take_answer(&mut self, around: &mut Around, link: LinkId, answer: &Answer) {
        let taken = self.links.get_mut(&link).and_then(|held| held.copying.take());
        let Some(mut copying) = taken else { return };
        let Next::Answer(snapshot, mut chosen) = std::mem::replace(&mut copying.next, Next::Done)
        else {
            return self.link_broke(around, link, "an answer that nobody waits for");
        };
        let Snapshot { offer, pages, map } = *snapshot;
        match &answer.want {
            Want::Equal => {}
            Want::All => chosen.add_from(PageNo(1)),
            Want::Since(lsn) => map.newer_than(*lsn).for_each(|page| chosen.add(page)),
            Want::Hashes { size_in_pages, ranges } => {
                let hashes: Vec<u64> = map.entries().iter().map(|entry| entry.hash).collect();
                differing_pages(&hashes, ranges, &mut chosen);
                chosen.add_from(PageNo(size_in_pages + 1));
            }
        }
        let id = offer.database;
        let numbers: Vec<PageNo> = chosen.iter().collect();
        let count = u32::try_from(numbers.len()).expect("few pages");
        copying.pages += u64::from(count);
        let begun = Chosen { database: id, pages: count };
        self.put_copy(around, link, FrameType::CopyChosen, &begun.encode());
        for numbers in numbers.chunks(STEP) {
            let image = |&number: &PageNo| pages.get(number).expect("within the size").to_vec();
            let bytes: Vec<u8> = numbers.iter().flat_map(image).collect();
            let sent = SentPages {
                database: id,
                page_size: page_size(),
                numbers: numbers.to_vec(),
                bytes: Bytes::from(bytes),
            };
            self.put_copy(around, link, FrameType::CopyPages, &sent.encode());
        }
        let whole = Whole { database: id, pages: count };
        self.put_copy(around, link, FrameType::CopyWhole, &whole.encode());
        self.capture_next(around, link, copying);
    }

    fn end_copy(&mut self, around: &mut Around, link: LinkId, mut copying: Copying, end: Lsn) {
        let (mut sent, mut tail) = (0, Vec::new());
        for record in self.journal.records_after(copying.mark) {
            let Ok(record) = record else {
                return self.link_broke(around, link, "the journal of the copy can't be read");
            };
            if record.lsn() > end {
                break;
            }
            sent += 1;
            tail.extend_from_slice(record.bytes());
            if tail.len() >= TAIL {
                self.put_copy(around, link, FrameType::CopyTail, &std::mem::take(&mut tail));
            }
        }
        if !tail.is_empty() {
            self.put_copy(around, link, FrameType::CopyTail, &tail);
        }
        let (databases, pages) = (copying.databases, copying.pages);
        let last = End { end, databases, pages, records: sent };
        self.put_copy(around, link, FrameType::CopyEnd, &last.encode());
        copying.next = Next::Done;
        if let Some(held) = self.links.get_mut(&link) {
            held.copy_sent = Some(end);
        }
    }

    /// All of a copy has been given to the network: the core is told.
    pub(super) fn tell_copied(&mut self, around: &mut Around, link: LinkId) {
        let told = self.links.get_mut(&link).filter(|held| held.seeds.is_empty());
        if let Some(end) = told.and_then(|held| held.copy_sent.take()) {
            self.event(around, Event::PagesSent { link, end });
        }
    }
}
