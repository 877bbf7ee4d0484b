//! The driver's part: performing a core's actions, now or as a job that a thread gets to later.

use std::collections::VecDeque;

use counterpart_core::{
    DatabaseId, DatabaseName, Lsn, PageNo, PageSize,
    message::{Message, PROTOCOL_CLIENT_KEY, Role, SeedContents, SeedDatabase, SeedProgress},
    session::{Action, Admission, Event, LinkId},
};

use super::{Conn, Disk, Frame, Job, Rec, Run, Thread, World, link_id};

impl World {
    pub(super) fn perform(&mut self, index: usize, actions: Vec<Action>) {
        for action in actions {
            self.show(index, &action);
            self.perform_one(index, action);
        }
    }

    fn perform_one(&mut self, index: usize, action: Action) {
        let node = &mut self.nodes[index];
        let mut job = |thread, job| node.jobs.entry(thread).or_default().push_back(job);
        match action {
            Action::Persist(ticket, durable) => job(Thread::Persist, Job::Persist(ticket, durable)),
            Action::Dial(dial, address) => job(Thread::Net, Job::Dial(dial, address)),
            Action::PrepareSeed(link, resume) => job(Thread::Seed, Job::PrepareSeed(link, resume)),
            Action::SendSeed(link, from) => job(Thread::Seed, Job::SendSeed(link, from)),
            Action::FinishSeed(link, _) => job(Thread::Engine, Job::FinishSeed(link)),
            Action::TruncateJournal(to) => job(Thread::Journal, Job::Truncate(to)),
            Action::ResetJournal(after) => job(Thread::Journal, Job::Reset(after)),
            Action::ApplyUpTo(to) => job(Thread::Engine, Job::Apply(to)),
            Action::Drain => job(Thread::Engine, Job::Drain),
            Action::BecomePrincipal(epoch) => {
                job(Thread::Engine, Job::Become(Role::Principal, epoch, false));
            }
            Action::BecomeStandalone { epoch, discard } => {
                job(Thread::Engine, Job::Become(Role::Standalone, epoch, discard));
            }
            Action::BecomeMirror => {
                job(Thread::Engine, Job::Become(Role::Mirror, Default::default(), false));
            }
            Action::Send(link, mut envelope) => {
                match &mut envelope.message {
                    Message::Hello(hello) => hello.protocol_max = node.speaks,
                    Message::Welcome(welcome) => {
                        welcome.protocol = welcome.protocol.min(node.speaks);
                    }
                    _ => {}
                }
                self.is_understood(link, &envelope.message);
                self.put(link, Frame::Message(envelope));
            }
            Action::CloseLink(link) => self.close_link(index, link),
            Action::StreamFrom(link, after) => {
                let base = node.disk.journal.base;
                assert!(after >= base, "a stream from {after} needs what was pruned up to {base}");
                node.streams.insert(link, after);
            }
            Action::StopStreaming(link) => {
                node.streams.remove(&link);
            }
            Action::ReceiveSeed(_, progress) => node.progress = Some(*progress),
            Action::Append(_) => {
                for rec in std::mem::take(&mut node.incoming) {
                    node.disk.journal.push(rec);
                }
            }
            Action::SetCommitLsn(lsn) => self.committed(index, lsn),
            Action::SetAdmission(admission) => {
                node.drained &= admission == Admission::Hold;
                node.admission = Some(admission);
            }
            Action::Reply(_, answer) => node.replies.push(format!("{answer:?}")),
            Action::Alarm(alarm) => {
                let subject = (alarm.kind, alarm.partner);
                let alarms = &mut node.alarms;
                let news =
                    if alarm.raised { alarms.insert(subject) } else { alarms.remove(&subject) };
                assert!(news, "{}: an alarm is told when it changes", node.name);
            }
            Action::Log(..) => {}
            Action::NoteClientKey(server, key) => {
                node.keys.insert(server, key);
            }
            other => self.perform_copying(index, other),
        }
    }

    /// A message of a later version is never said to whom does not know it.
    fn is_understood(&self, link: LinkId, message: &Message) {
        let Some(conn) = self.conns.get(&(link.0 / 2)) else { return };
        let to = &self.nodes[conn.ends[1 - usize::try_from(link.0 % 2).expect("0 or 1")]];
        let since = if let Message::ClientKey(_) = message { PROTOCOL_CLIENT_KEY } else { 0 };
        assert!(to.speaks >= since, "{} does not know {}", to.name, message.name());
    }

    fn committed(&mut self, index: usize, lsn: Lsn) {
        let node = &mut self.nodes[index];
        assert!(lsn >= node.commit, "{}: the commit LSN never goes back", node.name);
        assert!(lsn <= node.disk.hardened, "{}: only what is hardened is final", node.name);
        node.commit = lsn;
        let (confirmed, rest) = std::mem::take(&mut node.unconfirmed)
            .into_iter()
            .partition::<Vec<Rec>, _>(|rec| rec.lsn <= lsn);
        node.unconfirmed = rest;
        for rec in confirmed {
            self.check_confirm(index, rec);
        }
    }

    fn close_link(&mut self, index: usize, link: LinkId) {
        self.nodes[index].streams.remove(&link);
        let (id, end) = (link.0 / 2, usize::from(link.0 % 2 == 1));
        if let Some(conn) = self.conns.get_mut(&id)
            && conn.open[end]
        {
            conn.open[end] = false;
            conn.queue[1 - end].push_back(Frame::Close);
        }
    }

    /// Does a thread's next job. Returns whether there was one that could be done.
    pub fn work(&mut self, index: usize, thread: Thread) -> bool {
        let waiting = self.nodes[index].jobs.get(&thread).map_or(0, VecDeque::len);
        for _ in 0..waiting {
            let queue = self.nodes[index].jobs.get_mut(&thread).expect("counted above");
            let Some(job) = queue.pop_front() else { return false };
            if self.is_ready(index, &job) {
                self.do_job(index, job);
                return true;
            }
            self.nodes[index].jobs.entry(thread).or_default().push_back(job);
        }
        false
    }

    /// Seeds wait for the engine's role, for the end of a drain, and for the commit LSN; nothing else waits.
    fn is_ready(&self, index: usize, job: &Job) -> bool {
        let node = &self.nodes[index];
        match job {
            Job::PrepareSeed(..) | Job::PreparePages(_) => {
                node.write_epoch.is_some() && !node.drained
            }
            Job::SendSeed(_, from) => node.commit >= from.mark,
            Job::SendPages(_, mark, _) => node.commit >= *mark,
            _ => true,
        }
    }

    fn do_job(&mut self, index: usize, job: Job) {
        match job {
            Job::Persist(ticket, durable) => {
                let before = self.nodes[index].disk.durable.epoch.term;
                let office = durable.role == Role::Principal && durable.epoch.term > before;
                if office {
                    let forced = std::mem::take(&mut self.nodes[index].promoting);
                    if forced {
                        self.check_promotion(index);
                    } else {
                        self.check_office(index, &durable);
                    }
                    let server = self.nodes[index].server;
                    self.truth.offices.push((durable.epoch.term, server, forced));
                }
                self.nodes[index].disk.durable = *durable;
                self.event(index, Event::Persisted(ticket));
            }
            Job::Truncate(to) => {
                let disk = &mut self.nodes[index].disk;
                let applied = disk.content.end();
                assert!(
                    disk.durable.seeding.is_some() || applied <= to,
                    "what is applied is never cut"
                );
                disk.journal.truncate(to);
                disk.hardened = disk.journal.end();
                let end = disk.hardened;
                self.event(index, Event::Truncated(end));
            }
            Job::Reset(after) => {
                let disk = &mut self.nodes[index].disk;
                disk.journal = Run { base: after, recs: Vec::new() };
                disk.content = disk.journal.clone();
                (disk.hardened, disk.seed, disk.base) = (after, None, after);
                self.nodes[index].commit = Lsn::ZERO;
                self.nodes[index].differing.clear();
                self.event(index, Event::JournalReset(after));
            }
            Job::Become(role, epoch, discard) => self.do_become(index, role, epoch, discard),
            Job::Apply(to) => {
                self.nodes[index].disk.apply(to);
                self.event(index, Event::Applied(to));
            }
            Job::Drain => {
                let node = &mut self.nodes[index];
                node.drained = node.admission == Some(Admission::Hold);
                let end = node.disk.journal.end();
                self.event(index, Event::Drained(end));
            }
            Job::Dial(dial, address) => self.do_dial(index, dial, &address),
            Job::PrepareSeed(link, resume) => self.do_prepare_seed(index, link, resume),
            Job::SendSeed(link, from) => self.do_send_seed(index, link, &from),
            Job::FinishSeed(link) => {
                let disk = &mut self.nodes[index].disk;
                if let Some(pages) = disk.seed.take() {
                    disk.content = pages;
                }
                self.event(index, Event::SeedFinished(link));
            }
            other => self.do_copying(index, other),
        }
    }

    fn do_become(
        &mut self,
        index: usize,
        role: Role,
        epoch: counterpart_core::Epoch,
        discard: bool,
    ) {
        let node = &mut self.nodes[index];
        let core = node.core.as_ref().expect("a running server");
        let joining = core.durable().empty;
        if !joining {
            node.commit = node.commit.max(core.commit_lsn());
        }
        if role == Role::Mirror {
            (node.write_epoch, node.admission) = (None, node.admission.take());
            node.unconfirmed.clear();
            let disk = &mut node.disk;
            disk.hardened = disk.journal.end();
            let end = disk.hardened;
            if disk.durable.seeding.is_none() && !joining && disk.content.end() > node.commit {
                disk.content.truncate(node.commit.max(disk.content.base));
            }
            let applied = disk.content.end();
            self.event(index, Event::Hardened(end));
            if self.nodes[index].disk.durable.seeding.is_none() {
                self.event(index, Event::Applied(applied));
            }
            self.say_became(index, role);
            return;
        }
        let disk = &mut node.disk;
        if discard {
            // The journal stays; none of it is redone.
            disk.content = Run { base: disk.journal.end(), recs: Vec::new() };
            disk.hardened = disk.journal.end();
            disk.base = disk.hardened;
        } else {
            for rec in disk.journal.after(disk.content.end()).to_vec() {
                disk.content.push(rec);
            }
        }
        let newest = disk.journal.recs.last().map(|rec| rec.epoch);
        assert!(newest <= Some(epoch), "{}: an epoch below {newest:?} in the journal", node.name);
        node.write_epoch = Some(epoch);
        node.differing.clear();
        self.say_became(index, role);
    }

    /// Only the newest change of the role is answered.
    fn say_became(&mut self, index: usize, role: Role) {
        let queue = self.nodes[index].jobs.get(&Thread::Engine);
        let overtaken =
            queue.is_some_and(|queue| queue.iter().any(|job| matches!(job, Job::Become(..))));
        if !overtaken {
            self.event(index, Event::Became(role));
        }
    }

    fn do_dial(&mut self, index: usize, dial: counterpart_core::session::DialId, address: &str) {
        let to = self.nodes.iter().position(|node| format!("{}:1", node.name) == address);
        let way =
            |to: &usize| !self.cut.contains(&(index, *to)) && !self.cut.contains(&(*to, index));
        let Some(to) = to.filter(way).filter(|&to| self.nodes[to].core.is_some()) else {
            return self.event(index, Event::DialFailed(dial, "connection refused".into()));
        };
        let id = self.next_conn;
        self.next_conn += 1;
        let queue = [VecDeque::new(), VecDeque::new()];
        self.conns.insert(id, Conn { ends: [index, to], open: [true; 2], queue });
        self.event(to, Event::Accepted(link_id(id, 1)));
        self.event(index, Event::Connected(dial, link_id(id, 0)));
    }

    // Seeds: one database whose pages come in two halves.

    fn do_prepare_seed(&mut self, index: usize, link: LinkId, resume: Option<Box<SeedProgress>>) {
        let mark = if let Some(progress) = resume { progress.mark } else { self.write_mark(index) };
        let name = DatabaseName::main();
        let database =
            SeedDatabase { id: DatabaseId(1), name, page_size: PageSize::DEFAULT, pages: 10 };
        let contents = SeedContents { databases: vec![database], next_database: DatabaseId(2) };
        self.event(index, Event::SeedPrepared { link, mark, contents });
    }

    fn do_send_seed(&mut self, index: usize, link: LinkId, from: &SeedProgress) {
        let node = &mut self.nodes[index];
        let consistent_at = node.commit;
        let mut pages = node.disk.content.clone();
        pages.truncate(consistent_at);
        if from.done.is_empty() {
            if from.database.is_none() {
                self.put(link, Frame::Seed(None, consistent_at));
            }
            self.put(link, Frame::Seed(Some(pages), consistent_at));
        }
        self.event(index, Event::SeedSent { link, consistent_at });
    }

    pub(super) fn receive_seed(&mut self, to: usize, link: LinkId, pages: Option<Run>, shown: Lsn) {
        let node = &mut self.nodes[to];
        let Some(progress) = &mut node.progress else { return };
        progress.copied_at = progress.copied_at.max(shown);
        if pages.is_some() {
            (progress.database, progress.done) = (None, vec![DatabaseId(1)]);
            node.disk.seed = pages;
        } else {
            (progress.database, progress.next_page) = (Some(DatabaseId(1)), PageNo(6));
        }
        let progress = Box::new(progress.clone());
        self.event(to, Event::SeedProgressed(link, progress));
    }
}

impl Disk {
    /// What the files hold of what is shown, at most.
    pub(super) fn checkpoint(&mut self, to: Lsn) {
        let may = self.durable.seeding.is_none() && to >= self.base && to <= self.content.end();
        if may {
            self.base = to;
        }
    }

    /// Redoes the journal into the databases; what they show already must be the same.
    pub(super) fn apply(&mut self, to: Lsn) {
        for rec in self.journal.recs.clone() {
            if rec.lsn > to {
                break;
            }
            match self.content.get(rec.lsn) {
                Some(shown) => assert_eq!(shown.id, rec.id, "redo meets what the pages show"),
                None if rec.lsn > self.content.end() => self.content.push(rec),
                None => {}
            }
        }
    }
}
