//! The mirror's side of a copy: what arrives is spooled beside what is here, and takes its place only when it is whole.
//! And orphans: what only this server has is kept as a file before anything of it is overwritten.

use std::collections::BTreeMap;

use counterpart_core::{
    DatabaseId, Lsn,
    copy::{
        Answer, Compared, CopyDecoder, Head, Item, Offer, SentPages, Want, differing_ranges,
        opening, range_hashes,
    },
    frame::{Frame, FrameType},
    record::Record,
    session::{Event, LinkId},
};
use counterpart_journal::{
    Disk,
    disk::{DiskFile, read_whole, remove_if_there},
};

use super::{
    Around, CatalogEntry, Process,
    boot::journal_identity,
    database::{Pages, directory},
    link::framed,
    redo::text,
};

/// A copy that is being received.
pub struct Spool {
    link: LinkId,
    mark: Lsn,
    since: Option<Lsn>,
    file: std::sync::Arc<dyn DiskFile>,
    length: u64,
    whole: bool,
    /// The end that the principal told, once it has.
    finish: Option<Lsn>,
}

fn spool_path() -> std::path::PathBuf {
    directory().join("spool")
}

/// A whole spool, read back.
struct Found {
    head: Head,
    offers: Vec<Offer>,
    pages: Vec<SentPages>,
    tail: Vec<Record>,
}

impl Process {
    pub(super) fn begin_spooling(
        &mut self,
        around: &mut Around,
        link: LinkId,
        mark: Lsn,
        since: Option<Lsn>,
    ) {
        let begun = || -> std::io::Result<Spool> {
            remove_if_there(&self.disk, &spool_path())?;
            let file = self.disk.create(&spool_path())?;
            file.write_at(0, &opening())?;
            let length = opening().len() as u64;
            Ok(Spool { link, mark, since, file, length, whole: false, finish: None })
        };
        match begun() {
            Ok(spool) => self.spool = Some(spool),
            Err(error) => self.seed_failed(around, link, &error.to_string()),
        }
    }

    /// Whether the files here must stay as they are because a copy was compared with them.
    pub(super) fn is_spooling(&self) -> bool {
        self.spool.is_some()
    }

    pub(super) fn stop_spooling(&mut self, link: LinkId) {
        if self.spool.as_ref().is_some_and(|spool| spool.link == link) {
            self.spool = None;
        }
    }

    /// A frame of a copy arrived.
    pub(super) fn take_copy(
        &mut self,
        around: &mut Around,
        link: LinkId,
        frame: &Frame,
    ) -> Result<(), String> {
        if frame.kind == FrameType::CopyAnswer {
            let answer = Answer::decode(&frame.payload).ok_or("an answer does not decode")?;
            self.take_answer(around, link, &answer);
            return Ok(());
        }
        self.event(around, Event::Heard(link));
        let spool = self.spool.as_mut().filter(|spool| spool.link == link);
        // It was given up meanwhile, as when the disk had no room.
        let Some(spool) = spool else { return Ok(()) };
        let bytes = framed(frame.kind, &frame.payload);
        if let Err(error) = spool.file.write_at(spool.length, &bytes) {
            self.spool = None;
            self.seed_failed(around, link, &error.to_string());
            return Ok(());
        }
        spool.length += bytes.len() as u64;
        let since = spool.since;
        match frame.kind {
            FrameType::CopyOffer => {
                let offer = Offer::decode(&frame.payload).ok_or("an offer does not decode")?;
                let want = self.wanted(&offer, since).map_err(text)?;
                let answer = Answer { database: offer.database, want, more: false };
                if let Some(held) = self.links.get_mut(&link) {
                    held.seeds.push_back(framed(FrameType::CopyAnswer, &answer.encode()));
                }
                self.wake(around, link);
            }
            FrameType::CopyEnd => {
                spool.whole = true;
                self.spooled(around);
            }
            _ => {}
        }
        Ok(())
    }

    /// What the files here lack of an offer.
    fn wanted(&self, offer: &Offer, since: Option<Lsn>) -> std::io::Result<Want> {
        let known = self.control.read().knows(offer.database);
        if !known {
            return Ok(Want::All);
        }
        if let Some(base) = since {
            return Ok(Want::Since(base));
        }
        let map = Pages::read(&self.disk, offer.database)?.map(Lsn::ZERO);
        let hashes: Vec<u64> = map.entries().iter().map(|entry| entry.hash).collect();
        Ok(match differing_ranges(offer, &hashes) {
            Compared::Equal => Want::Equal,
            Compared::Ranges(ranges) => Want::Hashes {
                size_in_pages: map.size(),
                ranges: range_hashes(&hashes, offer.size_in_pages, &ranges),
            },
        })
    }

    pub(super) fn finish_spooling(&mut self, around: &mut Around, link: LinkId, end: Lsn) {
        if let Some(spool) = self.spool.as_mut().filter(|spool| spool.link == link) {
            spool.finish = Some(end);
            self.spooled(around);
        }
    }

    /// Once all of it is there and the principal has said so, it is made durable.
    fn spooled(&mut self, around: &mut Around) {
        let Some(Spool { link, mark, whole: true, finish: Some(end), file, .. }) = &self.spool
        else {
            return;
        };
        let (link, mark, end) = (*link, *mark, *end);
        let synced = file.sync_data().and_then(|()| self.disk.sync_dir(directory()));
        match synced {
            Ok(()) => self.event(around, Event::PagesSpooled { link, mark, end }),
            Err(error) => self.seed_failed(around, link, &error.to_string()),
        }
    }

    /// The spool takes the place of what is here; done again from the start after a crash.
    pub(super) fn adopt(&mut self, around: &mut Around, mark: Lsn, end: Lsn) {
        self.spool = None;
        match self.try_to_adopt(around, mark, end) {
            Ok(()) => self.event(around, Event::PagesAdopted { mark, end }),
            Err(why) => {
                let healthy = self.journal.poisoned().is_none() && !self.disk.has_failed();
                around.truth.demand(!healthy, || format!("{} can't adopt: {why}", self.name()));
                // A restart tries again; the disk is what it is until then.
                self.poison(around, &why);
            }
        }
    }

    fn try_to_adopt(&mut self, around: &mut Around, mark: Lsn, end: Lsn) -> Result<(), String> {
        self.replay = None;
        self.databases.clear();
        self.dropped.clear();
        (self.available, self.reloading, self.seed_end) = (false, false, None);
        let found = self.read_spool()?;
        let last = found.tail.last().map_or(mark, Record::lsn);
        if (found.head.mark, last) != (mark, end) {
            return Err(format!("the spool is of {} to {last}", found.head.mark));
        }
        self.reset_for(around, &found, mark)?;
        let hardened = self.journal.wait_hardened(end);
        self.hear_of_progress(around);
        hardened.map_err(|error| error.to_string())?;
        let mut fresh: BTreeMap<DatabaseId, Vec<&SentPages>> = BTreeMap::new();
        found.pages.iter().for_each(|sent| fresh.entry(sent.database).or_default().push(sent));
        for offer in &found.offers {
            let sets = fresh.remove(&offer.database).unwrap_or_default();
            self.write_copy(offer, &sets)?;
        }
        let entry = |d: &counterpart_core::message::SeedDatabase| CatalogEntry {
            id: d.id,
            name: d.name.clone(),
        };
        let databases = found.head.databases.iter().map(entry).collect();
        self.update(|control| {
            control.databases = databases;
            control.catalog_lsn = found.head.catalog_lsn;
            control.next_database = found.head.next_database;
            control.redo_after = mark;
            control.commit_lsn = end;
        })?;
        self.remove_strays()?;
        self.runs_begun.clear();
        self.applied = mark;
        self.confirmations.begin(mark);
        Ok(())
    }

    fn reset_for(&mut self, around: &mut Around, found: &Found, mark: Lsn) -> Result<(), String> {
        let identity = journal_identity(self.control.read().session.server);
        around.truth.emptying(self.me, mark);
        let done = self.journal.reset(mark, identity);
        self.hear_of_progress(around);
        done.map_err(|error| error.to_string())?;
        let epoch = found.head.history.epoch_at(mark);
        let base = epoch.and_then(|epoch| around.truth.named(epoch, mark));
        around.truth.emptied(self.me, mark, base);
        self.journal.append_records(found.tail.clone()).map_err(|error| error.to_string())?;
        around.truth.took(self.me, &found.tail);
        Ok(())
    }

    /// Pages go over what the file has; then it must be what was offered.
    fn write_copy(&self, offer: &Offer, sets: &[&SentPages]) -> Result<(), String> {
        let id = offer.database;
        let mut pages = Pages::read(&self.disk, id).map_err(text)?;
        let mut changed = std::collections::BTreeSet::new();
        for sent in sets {
            for (number, image) in sent.iter() {
                pages.put(number, image);
                changed.insert(number);
            }
        }
        pages.resize(offer.size_in_pages);
        let found = pages.map(offer.at).checksum();
        if found != offer.checksum {
            return Err(format!("database {id} is {found:016x}, was {:016x}", offer.checksum));
        }
        pages.write(&self.disk, id, &changed).map_err(text)
    }

    fn read_spool(&self) -> Result<Found, String> {
        let bytes = read_whole(&self.disk, &spool_path()).map_err(text)?;
        let mut decoder = CopyDecoder::new();
        decoder.buffer().extend_from_slice(&bytes);
        let (mut head, mut end) = (None, None);
        let (mut offers, mut pages, mut tail) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(item) = decoder.next_item().map_err(|error| error.to_string())? {
            match item {
                Item::Head(found) => head = Some(*found),
                Item::Offer(offer) => offers.push(offer),
                Item::Pages(sent) => pages.push(sent),
                Item::Tail(records) => tail.extend(records),
                Item::End(last) => end = Some(last),
                Item::Answer(_) | Item::Chosen(_) | Item::Whole(_) => {}
            }
        }
        let sent: usize = pages.iter().map(|sent: &SentPages| sent.numbers.len()).sum();
        let told = end.map(|end| (end.databases as usize, end.pages, end.records));
        if told != Some((offers.len(), sent as u64, tail.len() as u64)) {
            return Err(format!("the spool's end says {told:?}"));
        }
        let head = head.ok_or("the spool has no head")?;
        Ok(Found { head, offers, pages, tail })
    }
}
