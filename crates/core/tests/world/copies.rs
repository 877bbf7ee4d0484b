//! The driver's part in copies, orphans, repairs and heals. A copy is the events that a snapshot shows and the journal
//! after its mark; that is enough to see whether a mirror ends with what its principal has.

use counterpart_core::{
    DatabaseId, DatabaseName, Lsn,
    message::Role,
    session::{Action, Event, LinkId},
};

use super::{Copied, Frame, Job, Rec, Run, Spool, Thread, World};

impl World {
    pub(super) fn perform_copying(&mut self, index: usize, action: Action) {
        let node = &mut self.nodes[index];
        let mut job = |thread, job| node.jobs.entry(thread).or_default().push_back(job);
        match action {
            Action::EstimateCatchUp { link, after, base } => {
                job(Thread::Seed, Job::Estimate(link, after, base));
            }
            Action::PreparePages(link) => job(Thread::Seed, Job::PreparePages(link)),
            Action::SendPages { link, mark, since } => {
                job(Thread::Seed, Job::SendPages(link, mark, since));
            }
            Action::ReceivePages { .. } => node.copied = None,
            Action::FinishPages(link, end) => job(Thread::Engine, Job::FinishPages(link, end)),
            Action::AdoptPages { mark, end } => job(Thread::Journal, Job::AdoptPages(mark, end)),
            Action::SaveOrphans { common, end } => job(Thread::Seed, Job::SaveOrphans(common, end)),
            Action::ProvidePage { link, database, page, hash } => {
                job(Thread::Seed, Job::ProvidePage(link, database, page, hash));
            }
            // Records are what this world has for a journal; none of them is ever damaged.
            Action::ProvideRecords { link, first, last } => {
                self.event(index, Event::RecordsProvided { link, first, last, bytes: None });
            }
            Action::TakeRecords { .. } => {}
            Action::TakePage { hash, bytes, .. } => node.taken.push((hash, bytes.is_some())),
            Action::SendHeal(link, database) => job(Thread::Seed, Job::SendHeal(link, database)),
            Action::ReceiveHeal(..) => {}
            Action::FinishHeal { database, at } => {
                job(Thread::Engine, Job::FinishHeal(database, at));
            }
            other => unreachable!("{other:?} is performed elsewhere"),
        }
    }

    pub(super) fn do_copying(&mut self, index: usize, job: Job) {
        match job {
            Job::Checkpoint => {
                let node = &mut self.nodes[index];
                let shown = node.disk.content.end().min(node.commit);
                node.disk.checkpoint(shown);
                let base = node.disk.base;
                self.event(index, Event::Checkpointed(base));
            }
            Job::Estimate(link, ..) => {
                let (journal_bytes, page_bytes) = self.nodes[index].costs;
                self.event(index, Event::Estimated { link, journal_bytes, page_bytes });
            }
            Job::PreparePages(link) => self.do_prepare_pages(index, link),
            Job::SendPages(link, mark, since) => self.do_send_pages(index, link, mark, since),
            Job::FinishPages(link, end) => self.do_finish_pages(index, link, end),
            Job::AdoptPages(mark, end) => self.do_adopt_pages(index, mark, end),
            Job::SaveOrphans(..) if std::mem::take(&mut self.nodes[index].orphans_fail) => {
                self.event(index, Event::OrphansFailed("No space left on device".into()));
            }
            Job::SaveOrphans(common, end) => {
                let disk = &mut self.nodes[index].disk;
                assert_eq!(disk.journal.end(), end, "nothing is written while orphans are saved");
                // What the journal of a mirror that was seeded lacks, the copies of its databases have.
                let shown = disk.content.recs.iter().filter(|rec| rec.lsn > common);
                let saved: Vec<Rec> = shown
                    .chain(disk.journal.recs.iter().filter(|rec| rec.lsn > common))
                    .copied()
                    .collect();
                disk.orphans.extend(saved);
                self.event(index, Event::OrphansSaved { common, end });
            }
            Job::ProvidePage(link, database, page, hash) => {
                let bytes = self.nodes[index].pages.get(&hash).cloned().map(Into::into);
                self.event(index, Event::PageProvided { link, database, page, hash, bytes });
            }
            Job::SendHeal(link, database) => {
                let at = self.nodes[index].commit;
                self.event(index, Event::HealSent { link, database, at });
            }
            Job::FinishHeal(database, _) if self.nodes[index].heal_fails > 0 => {
                self.nodes[index].heal_fails -= 1;
                let why = "it still differs".to_owned();
                self.event(index, Event::HealFailed { database, why });
            }
            Job::FinishHeal(database, at) => {
                let disk = &self.nodes[index].disk;
                assert!(at <= disk.hardened, "a copy shows nothing that the journal lacks");
                self.nodes[index].differing.remove(&database);
                self.event(index, Event::Healed { database });
            }
            other => unreachable!("{other:?} is done elsewhere"),
        }
    }

    fn do_prepare_pages(&mut self, index: usize, link: LinkId) {
        let mark = self.write_mark(index);
        self.event(index, Event::PagesPrepared { link, mark });
    }

    fn do_send_pages(&mut self, index: usize, link: LinkId, mark: Lsn, since: Option<Lsn>) {
        let node = &mut self.nodes[index];
        let end = node.commit;
        let mut pages = node.disk.content.clone();
        pages.truncate(end);
        let mut journal = node.disk.journal.clone();
        journal.truncate(end);
        let spool = Spool { mark, pages, tail: journal.after(mark).to_vec(), whole: false };
        self.put(link, Frame::Pages(Box::new(Copied { spool, since })));
        self.event(index, Event::PagesSent { link, end });
    }

    /// Pages that are newer than a position are of use only on top of files that hold just what is common up to there.
    pub(super) fn receive_pages(&mut self, to: usize, link: LinkId, copied: Copied) {
        let node = &mut self.nodes[to];
        if let Some(since) = copied.since {
            assert!(since <= node.disk.base, "the files hold what the copy leaves out");
            for rec in copied.spool.pages.recs.iter().filter(|rec| rec.lsn <= since) {
                let here = node.disk.content.get(rec.lsn);
                assert!(
                    here.is_none_or(|here| here.id == rec.id),
                    "{}: the copy leaves out what differs at {}",
                    node.name,
                    rec.lsn
                );
            }
        }
        node.copied = Some((link, copied));
    }

    fn do_finish_pages(&mut self, index: usize, link: LinkId, end: Lsn) {
        let node = &mut self.nodes[index];
        // The connection may have been lost, and another copy begun, since this was asked.
        let Some((_, copied)) = node.copied.take().filter(|(from, _)| *from == link) else {
            return;
        };
        let mark = copied.spool.mark;
        assert_eq!(copied.spool.tail.last().map_or(mark, |rec| rec.lsn), end, "all of the journal");
        node.disk.spool = Some(Spool { whole: true, ..copied.spool });
        self.event(index, Event::PagesSpooled { link, mark, end });
    }

    fn do_adopt_pages(&mut self, index: usize, mark: Lsn, end: Lsn) {
        let node = &mut self.nodes[index];
        let disk = &mut node.disk;
        assert!(disk.durable.seeding.as_ref().is_some_and(|p| p.spooled), "it is on disk first");
        // A second time, after a crash, it is the journal that is there already.
        if let Some(spool) = disk.spool.clone().filter(|spool| spool.mark == mark && spool.whole) {
            disk.journal = Run { base: mark, recs: spool.tail };
            disk.content = spool.pages;
            (disk.hardened, disk.base) = (end, mark);
        }
        assert_eq!((disk.journal.base, disk.journal.end()), (mark, end), "the spool is in place");
        node.commit = mark;
        node.differing.clear();
        self.copies += 1;
        self.event(index, Event::PagesAdopted { mark, end });
    }

    /// The database of a mirror is found to differ at what it shows.
    pub fn differ(&mut self, index: usize, database: DatabaseId) {
        let node = &mut self.nodes[index];
        let whole = node.disk.durable.role == Role::Mirror && node.disk.durable.seeding.is_none();
        if node.core.is_none() || !whole || node.disk.durable.empty {
            return;
        }
        let lsn = node.disk.content.end();
        node.differing.insert(database);
        let name = DatabaseName::main();
        let event = Event::DatabaseDiffers { database, name, lsn, expected: 0xabcd, found: 0xdcba };
        self.event(index, event);
    }

    /// A checkpoint, which the engine gets to.
    pub fn checkpoint(&mut self, index: usize) {
        if self.nodes[index].core.is_some() {
            self.nodes[index].jobs.entry(Thread::Engine).or_default().push_back(Job::Checkpoint);
        }
    }

    /// Retention drops what the files hold and no connected mirror needs.
    pub fn prune(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(core) = &node.core else { return };
        let positions = core.positions();
        let streams = node.streams.values().copied().min();
        let wanted = positions.hardened.into_iter().chain(streams).chain([node.disk.base]).min();
        let journal = &mut node.disk.journal;
        let after = wanted.unwrap_or_default();
        if positions.copying || node.disk.durable.seeding.is_some() || after <= journal.base {
            return;
        }
        journal.recs = journal.after(after).to_vec();
        journal.base = after;
        self.event(index, Event::Pruned(after));
    }

    /// A mark in the journal of an acting server.
    pub(super) fn write_mark(&mut self, index: usize) -> Lsn {
        let id = self.next_id;
        self.next_id += 1;
        let node = &mut self.nodes[index];
        let epoch = node.write_epoch.expect("waited for");
        let lsn = node.disk.journal.end().next();
        let rec = Rec { epoch, lsn, id, commit: node.commit };
        node.disk.journal.push(rec);
        node.disk.content.push(rec);
        self.truth.wrote(rec);
        lsn
    }
}
