//! Seeds: a fuzzy copy from a mark, page by page, beside the journal from the mark on.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use counterpart_core::{
    DatabaseId, Lsn, PageNo,
    frame::SeedPages,
    message::{SeedContents, SeedDatabase, SeedProgress},
    session::{Event, LinkId},
};
use counterpart_journal::Disk;

use super::{
    Around, CatalogEntry, Input, Job, Process,
    database::{PAGE, directory, file_path, page_size},
    link::framed,
    wait::Waiter,
};
use crate::agenda::Micros;

/// Pages in one frame.
const STEP: u32 = 4;

/// Frames that wait for the network.
const AHEAD: usize = 2;

/// Pages after which what arrived is made durable.
const DURABLE_EVERY: u32 = 6;

/// A seed that is being sent.
pub struct Sending {
    rest: VecDeque<DatabaseId>,
    next: PageNo,
    shown: Lsn,
    /// What was read and is not known to be final yet; `None` in it: everything is read.
    read: Option<Option<SeedPages>>,
    is_final: bool,
    done: bool,
}

/// A seed that is being received.
pub struct Receiver {
    link: LinkId,
    progress: SeedProgress,
    announced: BTreeMap<DatabaseId, SeedDatabase>,
    next_database: DatabaseId,
    queue: VecDeque<In>,
    begun: bool,
    awake: bool,
    undurable: u32,
    /// The database being written.
    open: Option<DatabaseId>,
}

enum In {
    Pages(SeedPages),
    Finish(Lsn),
}

impl Process {
    // The principal's side.

    pub(super) fn begin_preparing(
        &mut self,
        around: &mut Around,
        link: LinkId,
        resume: Option<Box<SeedProgress>>,
        span: Micros,
    ) {
        match resume {
            Some(progress) => {
                self.soon(around, span, Job::PrepareSeed(link, Some(progress.mark)));
            }
            None => self.soon(around, span, Job::PrepareSeed(link, None)),
        }
    }

    pub(super) fn prepare_seed(&mut self, around: &mut Around, link: LinkId, mark: Option<Lsn>) {
        if self.is_listing() {
            return self.soon(around, 5_000, Job::PrepareSeed(link, mark));
        }
        let Some(mark) = mark else {
            return match self.write_mark(around) {
                Ok(mark) => self.when_final(around, mark, Waiter::Mark(link, mark)),
                Err(why) => self.seed_failed(around, link, &why),
            };
        };
        let describe = |model: &super::database::Model| SeedDatabase {
            id: model.id,
            name: model.name.clone(),
            page_size: page_size(),
            pages: model.pages.size(),
        };
        let databases = self.databases.values().map(describe).collect();
        let next_database = self.control.read().next_database;
        let contents = SeedContents { databases, next_database };
        self.event(around, Event::SeedPrepared { link, mark, contents });
    }

    pub(super) fn seed_failed(&mut self, around: &mut Around, link: LinkId, why: &str) {
        self.event(around, Event::SeedFailed(link, why.to_owned()));
    }

    pub(super) fn begin_seeding(&mut self, around: &mut Around, link: LinkId, p: SeedProgress) {
        let rest: VecDeque<_> =
            self.databases.keys().copied().filter(|id| !p.done.contains(id)).collect();
        let resumed = p.database.is_some() && p.database == rest.front().copied();
        let next = if resumed { p.next_page } else { PageNo(1) };
        let shown = p.copied_at.max(p.mark);
        if let Some(held) = self.links.get_mut(&link) {
            held.sending =
                Some(Sending { rest, next, shown, read: None, is_final: false, done: false });
            self.soon(around, 100, Job::SendSeed(link));
        }
    }

    pub(super) fn go_on_seeding(&mut self, around: &mut Around, link: LinkId) {
        let Some(held) = self.links.get_mut(&link) else { return };
        let full = held.seeds.len() >= AHEAD;
        let Some(mut sending) = held.sending.take() else { return };
        let waits = sending.read.is_some() && !sending.is_final;
        if sending.done || full || waits {
            held.sending = Some(sending);
            return;
        }
        match sending.read.take() {
            // What was read is final now.
            Some(Some(pages)) => {
                sending.shown = sending.shown.max(pages.shown);
                sending.next = PageNo(pages.first.0 + pages.count());
                let (kind, payload) = pages.encode(true);
                held.seeds.push_back(framed(kind, &payload));
                held.sending = Some(sending);
                self.wake(around, link);
                self.soon(around, 50, Job::SendSeed(link));
            }
            // The last word overtakes pages that still wait here; those on the wire are before it.
            Some(None) if !held.seeds.is_empty() => {
                sending.read = Some(None);
                held.sending = Some(sending);
                self.soon(around, 1_000, Job::SendSeed(link));
            }
            Some(None) => {
                sending.done = true;
                let consistent_at = sending.shown;
                held.sending = Some(sending);
                self.event(around, Event::SeedSent { link, consistent_at });
            }
            None => self.read_for_seed(around, link, sending),
        }
    }

    /// What was read for a seed is final now.
    pub(super) fn seed_is_final(&mut self, around: &mut Around, link: LinkId) {
        if let Some(sending) = self.links.get_mut(&link).and_then(|held| held.sending.as_mut()) {
            sending.is_final = true;
            self.go_on_seeding(around, link);
        }
    }

    fn read_for_seed(&mut self, around: &mut Around, link: LinkId, mut sending: Sending) {
        let wait;
        loop {
            let Some(&id) = sending.rest.front() else {
                // A database that was dropped meanwhile was listed and not sent: whole only after its drop.
                wait = self.journal.last();
                sending.shown = sending.shown.max(wait);
                sending.read = Some(None);
                break;
            };
            let found = self.databases.get(&id).filter(|m| m.pages.size() >= sending.next.0);
            let Some(model) = found else {
                sending.rest.pop_front();
                sending.next = PageNo(1);
                continue;
            };
            let last = (sending.next.0 + STEP - 1).min(model.pages.size());
            let image = |number| model.pages.get(PageNo(number)).expect("within the size");
            let bytes: Vec<u8> =
                (sending.next.0..=last).flat_map(|number| image(number).to_vec()).collect();
            wait = model.visible;
            sending.read = Some(Some(SeedPages {
                database: id,
                first: sending.next,
                page_size: page_size(),
                shown: wait,
                bytes: Bytes::from(bytes),
            }));
            break;
        }
        sending.is_final = false;
        if let Some(held) = self.links.get_mut(&link) {
            held.sending = Some(sending);
        }
        self.when_final(around, wait, Waiter::Seed(link));
    }

    // The mirror's side.

    pub(super) fn begin_receiving(&mut self, around: &mut Around, link: LinkId, p: SeedProgress) {
        self.seed_end = None;
        self.replay = None;
        let SeedContents { databases, next_database } =
            self.announced.get(&link).cloned().unwrap_or_default();
        self.receiver = Some(Receiver {
            link,
            progress: p,
            next_database,
            announced: databases.into_iter().map(|database| (database.id, database)).collect(),
            queue: VecDeque::new(),
            begun: false,
            awake: false,
            undurable: 0,
            open: None,
        });
        self.wake_receiver(around);
    }

    fn wake_receiver(&mut self, around: &mut Around) {
        let span = self.sync_span(around);
        if let Some(receiver) = &mut self.receiver
            && !std::mem::replace(&mut receiver.awake, true)
        {
            self.soon(around, span, Job::ReceiveSeed);
        }
    }

    pub(super) fn take_pages(&mut self, around: &mut Around, link: LinkId, pages: SeedPages) {
        self.event(around, Event::Heard(link));
        match &mut self.receiver {
            Some(receiver) if receiver.link == link => receiver.queue.push_back(In::Pages(pages)),
            _ => return self.link_broke(around, link, "seed pages that nobody asked for"),
        }
        self.wake_receiver(around);
    }

    pub(super) fn finish_receiving(&mut self, around: &mut Around, link: LinkId, end: Lsn) {
        if let Some(receiver) = self.receiver.as_mut().filter(|receiver| receiver.link == link) {
            receiver.queue.push_back(In::Finish(end));
            self.wake_receiver(around);
        }
    }

    pub(super) fn go_on_receiving(&mut self, around: &mut Around) {
        let Some(mut receiver) = self.receiver.take() else { return };
        receiver.awake = false;
        let link = receiver.link;
        match self.receive_some(around, &mut receiver) {
            Ok(true) => {}
            Ok(false) => self.receiver = Some(receiver),
            Err(why) => self.event(around, Event::SeedFailed(link, why)),
        }
    }

    /// Writes what waits; whether that was all there will be.
    fn receive_some(&mut self, around: &mut Around, r: &mut Receiver) -> Result<bool, String> {
        if !std::mem::replace(&mut r.begun, true) {
            self.make_room(around, r)?;
        }
        while let Some(arrived) = r.queue.pop_front() {
            match arrived {
                In::Pages(pages) => self.write_pages(around, r, &pages)?,
                In::Finish(consistent_at) => {
                    self.leave_database(around, r)?;
                    self.disk.sync_dir(directory()).map_err(super::redo::text)?;
                    if consistent_at <= r.progress.mark {
                        self.reload(around, r.progress.mark)?;
                        self.input(around, Input::Whole(r.progress.mark));
                    }
                    self.event(around, Event::SeedFinished(r.link));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn make_room(&mut self, around: &mut Around, r: &Receiver) -> Result<(), String> {
        self.databases.clear();
        self.dropped.clear();
        self.available = false;
        let p = &r.progress;
        if !p.done.is_empty() || p.database.is_some() {
            return Ok(());
        }
        self.discard_data(around)?;
        let mark = p.mark;
        let entry = |d: &SeedDatabase| CatalogEntry { id: d.id, name: d.name.clone() };
        let entries: Vec<_> = r.announced.values().map(entry).collect();
        let highest = entries.last().map_or(1, |entry| entry.id.0 + 1);
        let next = r.next_database.0.max(highest);
        self.update(|control| {
            control.databases = entries;
            control.catalog_lsn = mark;
            control.next_database = DatabaseId(next);
            control.redo_after = mark;
            control.commit_lsn = mark;
        })?;
        self.applied = mark;
        self.confirmations.begin(mark);
        Ok(())
    }

    fn write_pages(
        &mut self,
        around: &mut Around,
        r: &mut Receiver,
        pages: &SeedPages,
    ) -> Result<(), String> {
        let id = pages.database;
        if !r.announced.contains_key(&id) {
            return Ok(());
        }
        let path = file_path(id);
        if r.open != Some(id) {
            self.leave_database(around, r)?;
            (r.open, r.progress.database) = (Some(id), Some(id));
        }
        if self.disk.open(&path).is_err() {
            self.disk.create(&path).map_err(super::redo::text)?;
        }
        let file = self.disk.open(&path).map_err(super::redo::text)?;
        let offset = u64::from(pages.first.0 - 1) * PAGE as u64;
        file.write_at(offset, &pages.bytes).map_err(super::redo::text)?;
        r.progress.next_page = PageNo(pages.first.0 + pages.count());
        r.progress.copied_at = r.progress.copied_at.max(pages.shown);
        r.undurable += pages.count();
        if r.undurable >= DURABLE_EVERY {
            file.sync_data().map_err(super::redo::text)?;
            r.undurable = 0;
            self.tell(around, r);
        }
        Ok(())
    }

    fn leave_database(&mut self, around: &mut Around, r: &mut Receiver) -> Result<(), String> {
        let Some(id) = r.open.take() else { return Ok(()) };
        r.progress.database = None;
        let file = self.disk.open(&file_path(id)).map_err(super::redo::text)?;
        file.sync_data().map_err(super::redo::text)?;
        r.progress.done.push(id);
        r.progress.next_page = PageNo(1);
        r.undurable = 0;
        self.tell(around, r);
        Ok(())
    }

    fn tell(&mut self, around: &mut Around, r: &Receiver) {
        let progress = SeedProgress { journal_reset: true, ..r.progress.clone() };
        self.event(around, Event::SeedProgressed(r.link, Box::new(progress)));
    }
}
