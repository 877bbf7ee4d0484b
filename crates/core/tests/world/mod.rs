//! A world for the session core: servers with disks, a network that loses and delays, clients that write. The
//! cores in it are the real ones; everything around them is as small as it can be while still being honest:
//! what was not persisted is gone after a crash, what was not hardened too, and a cut network keeps what it
//! holds until it heals or the link is given up.
//!
//! Checkers judge from outside, by what disks and clients hold, never by what a core believes.

#![allow(dead_code, reason = "each test uses its part of the world")]

mod check;
mod copies;
mod disk;
mod perform;
mod show;

pub use disk::{Disk, Rec, Run, Spool};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use counterpart_core::{
    DatabaseId, Epoch, EpochHistory, Fingerprint, Lsn, PageNo, ServerId, SessionId, UnixMicros,
    message::{Envelope, PROTOCOL_MAX, PartnerAddress, Role, Safety, SeedProgress},
    session::{
        Admission, AlarmKind, Command, CommandId, Config, Core, DialId, Durable, Event, LinkId,
        Millis, Now, Rejoin, Ticket,
    },
};

/// A copy of one database, as the world knows it: which one, and whether the mirror had it already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copied {
    pub spool: Spool,
    pub since: Option<Lsn>,
}

/// Something on a wire.
#[derive(Clone, Debug)]
pub enum Frame {
    Message(Envelope),
    Records(Vec<Rec>),
    /// The first half of a seed's pages, or all of them.
    Seed(Option<Run>, Lsn),
    /// A copy with its journal.
    Pages(Box<Copied>),
    Close,
}

/// A connection: two ends, two directions.
#[derive(Clone, Debug)]
pub struct Conn {
    pub ends: [usize; 2],
    pub open: [bool; 2],
    /// `queue[i]` is on its way to `ends[i]`.
    pub queue: [VecDeque<Frame>; 2],
}

/// Work that a server's threads have not done yet.
#[derive(Clone, Debug)]
pub enum Job {
    Persist(Ticket, Box<Durable>),
    Truncate(Lsn),
    Reset(Lsn),
    Become(Role, Epoch, bool),
    Apply(Lsn),
    Drain,
    Dial(DialId, String),
    PrepareSeed(LinkId, Option<Box<SeedProgress>>),
    SendSeed(LinkId, Box<SeedProgress>),
    FinishSeed(LinkId),
    Checkpoint,
    Estimate(LinkId, Lsn, Lsn),
    PreparePages(LinkId),
    SendPages(LinkId, Lsn, Option<Lsn>),
    FinishPages(LinkId, Lsn),
    AdoptPages(Lsn, Lsn),
    SaveOrphans(Lsn, Lsn),
    ProvidePage(LinkId, DatabaseId, PageNo, u64),
    SendHeal(LinkId, DatabaseId),
    FinishHeal(DatabaseId, Lsn),
}

/// Which thread does a job; jobs of one thread stay in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Thread {
    Persist,
    Journal,
    Engine,
    Seed,
    Net,
}

pub struct Node {
    pub name: String,
    pub server: ServerId,
    pub disk: Disk,
    pub core: Option<Core>,
    pub admission: Option<Admission>,
    pub write_epoch: Option<Epoch>,
    pub commit: Lsn,
    pub unconfirmed: Vec<Rec>,
    pub jobs: BTreeMap<Thread, VecDeque<Job>>,
    pub held: BTreeSet<Thread>,
    pub hold_harden: bool,
    pub hold_streams: bool,
    pub streams: BTreeMap<LinkId, Lsn>,
    pub incoming: Vec<Rec>,
    pub progress: Option<SeedProgress>,
    pub replies: Vec<String>,
    pub seed_number: u64,
    /// The operator promoted it and it has not taken office yet.
    pub promoting: bool,
    /// Drained: nothing is appended until writes are admitted again.
    pub drained: bool,
    /// What a deposed principal does.
    pub rejoin: Rejoin,
    /// The stride of the next start.
    pub stride: u16,
    /// The disk as it once was.
    pub image: Option<Disk>,
    /// The next orphans cannot be saved.
    pub orphans_fail: bool,
    /// So many copies of single databases do not mend them.
    pub heal_fails: u32,
    /// A copy as it was received on a link.
    pub copied: Option<(LinkId, Copied)>,
    /// Databases that differ, and that a copy has come for.
    pub differing: BTreeSet<DatabaseId>,
    /// Bytes of the two ways, as an estimate says.
    pub costs: (u64, u64),
    /// The page images that this server has, by hash, for repairs.
    pub pages: BTreeMap<u64, Vec<u8>>,
    pub taken: Vec<(u64, bool)>,
    /// Raised and not cleared.
    pub alarms: BTreeSet<(AlarmKind, Option<ServerId>)>,
    /// The TLS key that it shows clients.
    pub client_key: Option<Fingerprint>,
    /// The keys that its mirrors told.
    pub keys: BTreeMap<ServerId, Fingerprint>,
    /// The newest protocol version that its program knows.
    pub speaks: u16,
    /// What was received last, for replaying.
    pub received: Vec<(LinkId, Frame)>,
}

pub struct World {
    pub now: Millis,
    pub nodes: Vec<Node>,
    pub conns: BTreeMap<u64, Conn>,
    /// `(from, to)`: nothing passes.
    pub cut: BTreeSet<(usize, usize)>,
    /// Connections on which nothing moves for now, whatever others do.
    pub stuck: BTreeSet<u64>,
    pub log: String,
    pub quiet: bool,
    /// Everything goes to standard error as it happens, for a failing seed.
    pub trace: bool,
    pub next_conn: u64,
    pub next_id: u64,
    pub next_command: u64,
    pub timeout: Millis,
    pub truth: check::Truth,
    /// Copies that mirrors switched to.
    pub copies: u64,
    /// Disks that were replaced by older ones.
    pub restores: u64,
    /// Disks may be replaced by older ones in this run.
    pub images: bool,
}

/// A link's id on one end of a connection: the connection's number and the end.
fn link_id(conn: u64, end: usize) -> LinkId {
    LinkId(conn * 2 + end as u64)
}

impl World {
    pub fn new(quiet: bool) -> World {
        World {
            now: Millis(1_000),
            nodes: Vec::new(),
            conns: BTreeMap::new(),
            cut: BTreeSet::new(),
            stuck: BTreeSet::new(),
            log: String::new(),
            quiet,
            trace: std::env::var_os("SEED").is_some(),
            next_conn: 1,
            next_id: 1,
            next_command: 1,
            timeout: Millis(10_000),
            truth: check::Truth::default(),
            copies: 0,
            restores: 0,
            images: false,
        }
    }

    pub fn add_server(&mut self, name: &str) {
        let server = ServerId(self.nodes.len() as u64 + 10);
        let disk = Disk {
            durable: Durable::new(server),
            journal: Run::default(),
            hardened: Lsn::ZERO,
            content: Run::default(),
            seed: None,
            base: Lsn::ZERO,
            spool: None,
            orphans: Vec::new(),
        };
        self.nodes.push(Node {
            name: name.to_owned(),
            server,
            disk,
            core: None,
            admission: None,
            write_epoch: None,
            commit: Lsn::ZERO,
            unconfirmed: Vec::new(),
            jobs: BTreeMap::new(),
            held: BTreeSet::new(),
            hold_harden: false,
            hold_streams: false,
            streams: BTreeMap::new(),
            incoming: Vec::new(),
            progress: None,
            replies: Vec::new(),
            seed_number: self.nodes.len() as u64 * 77 + 1,
            promoting: false,
            drained: false,
            rejoin: Rejoin::Automatic,
            stride: 0,
            image: None,
            orphans_fail: false,
            heal_fails: 0,
            copied: None,
            differing: BTreeSet::new(),
            costs: (0, 0),
            pages: BTreeMap::new(),
            taken: Vec::new(),
            alarms: BTreeSet::new(),
            client_key: None,
            keys: BTreeMap::new(),
            speaks: PROTOCOL_MAX,
            received: Vec::new(),
        });
    }

    pub fn index(&self, name: &str) -> usize {
        self.nodes
            .iter()
            .position(|node| node.name == name)
            .unwrap_or_else(|| panic!("no server {name:?} in this scenario"))
    }

    pub fn by_server(&self, server: ServerId) -> Option<usize> {
        self.nodes.iter().position(|node| node.server == server)
    }

    pub fn address(&self, index: usize) -> PartnerAddress {
        let name = &self.nodes[index].name;
        PartnerAddress {
            server: self.nodes[index].server,
            partner_address: format!("{name}:1"),
            client_url: format!("http://{name}"),
        }
    }

    pub fn clock(&self) -> Now {
        Now { ticks: self.now, unix: UnixMicros(self.now.0 * 1_000) }
    }

    /// Starts a server from its disk.
    pub fn start(&mut self, index: usize) {
        let clock = self.clock();
        let node = &mut self.nodes[index];
        assert!(node.core.is_none(), "{} runs already", node.name);
        let mut config = Config::new(&format!("{}:1", node.name), &format!("http://{}", node.name));
        config.jitter_seed = node.seed_number;
        config.partner_timeout = self.timeout;
        config.build = "test".to_owned();
        config.rejoin = node.rejoin;
        config.client_key = node.client_key;
        let recovered = node.recover();
        let mut out = Vec::new();
        node.core = Some(Core::start(config, recovered, clock, &mut out));
        self.note(index, "start");
        self.perform(index, out);
    }

    /// Closes connections from the end that `which` names.
    fn close_conns(&mut self, which: impl Fn(&Conn) -> Option<usize>) {
        for conn in self.conns.values_mut() {
            if let Some(end) = which(conn)
                && conn.open[end]
            {
                conn.open[end] = false;
                conn.queue[1 - end].push_back(Frame::Close);
            }
        }
    }

    /// Both ends of every connection between two servers see it end.
    pub fn drop_links(&mut self, a: usize, b: usize) {
        let ids: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.ends == [a, b] || conn.ends == [b, a])
            .map(|(&id, _)| id)
            .collect();
        for id in ids {
            let conn = self.conns.remove(&id).unwrap();
            for end in 0..2 {
                if conn.open[end] {
                    let link = link_id(id, end);
                    self.nodes[conn.ends[end]].streams.remove(&link);
                    self.event(conn.ends[end], Event::LinkDown(link, "connection reset".into()));
                }
            }
        }
    }

    pub fn event(&mut self, index: usize, event: Event) {
        let clock = self.clock();
        let mut out = Vec::new();
        let Some(core) = &mut self.nodes[index].core else { return };
        core.step(clock, event, &mut out);
        if let Some(broken) = core.broken_invariant() {
            panic!("{}: {broken}", self.nodes[index].name);
        }
        self.perform(index, out);
    }

    pub fn command(&mut self, index: usize, command: Command) {
        let id = CommandId(self.next_command);
        self.next_command += 1;
        self.event(index, Event::Command(id, command));
    }

    /// Starts mirroring as the CLI does: first half, second half.
    pub fn add_partner(&mut self, p: usize, m: usize, safety: Safety, require_mirror: bool) {
        let partner = self.address(m);
        let session = SessionId(0x5e55);
        self.command(p, Command::AddPartner { session, partner, safety, require_mirror });
    }

    pub fn join(&mut self, m: usize, p: usize, replace: bool, holds_data: bool) {
        self.join_knowing(m, p, replace, holds_data, None);
    }

    /// Joins with data, knowing the principal's epochs.
    pub fn join_with_data(&mut self, m: usize, p: usize) {
        let history = self.nodes[p].disk.durable.history.clone();
        self.join_knowing(m, p, false, true, Some(history));
    }

    fn join_knowing(
        &mut self,
        m: usize,
        p: usize,
        replace: bool,
        holds_data: bool,
        history: Option<EpochHistory>,
    ) {
        let principal = self.address(p);
        let session = SessionId(0x5e55);
        let join = Command::JoinSession { session, principal, replace, holds_data, history };
        self.command(m, join);
    }

    /// A client writes, if it is let. Returns whether it was.
    pub fn write(&mut self, index: usize) -> bool {
        let id = self.next_id;
        let node = &mut self.nodes[index];
        let Some(epoch) = node.write_epoch else { return false };
        if node.core.is_none() || node.admission != Some(Admission::Open) {
            return false;
        }
        let rec = Rec { epoch, lsn: node.disk.journal.end().next(), id, commit: node.commit };
        self.next_id += 1;
        node.disk.journal.push(rec);
        node.disk.content.push(rec);
        node.unconfirmed.push(rec);
        self.truth.wrote(rec);
        true
    }

    /// Moves a frame if the way is free. Returns whether anything happened.
    pub fn deliver(&mut self, id: u64, end: usize) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        let (to, from) = (conn.ends[end], conn.ends[1 - end]);
        if self.cut.contains(&(from, to)) || self.stuck.contains(&id) {
            return false;
        }
        let Some(frame) = conn.queue[end].pop_front() else { return false };
        if !conn.open[end] {
            if conn.queue.iter().all(VecDeque::is_empty) && conn.open == [false; 2] {
                self.conns.remove(&id);
            }
            return true;
        }
        let link = link_id(id, end);
        if matches!(frame, Frame::Close) {
            conn.open[end] = false;
            self.nodes[to].streams.remove(&link);
            self.event(to, Event::LinkDown(link, "the partner closed the connection".into()));
        } else {
            self.receive(to, link, frame);
        }
        true
    }

    pub fn receive(&mut self, to: usize, link: LinkId, frame: Frame) {
        if !self.quiet {
            self.nodes[to].received.push((link, frame.clone()));
        }
        match frame {
            Frame::Message(envelope) => self.event(to, Event::Received(link, envelope)),
            Frame::Records(recs) => {
                let (first, last) = (recs[0], *recs.last().unwrap());
                let commit = last.commit;
                self.nodes[to].incoming = recs;
                let (epoch, first, last) = (first.epoch, first.lsn, last.lsn);
                self.event(to, Event::Records { link, epoch, first, last, commit });
                self.nodes[to].incoming.clear();
            }
            Frame::Seed(pages, shown) => self.receive_seed(to, link, pages, shown),
            Frame::Pages(copied) => self.receive_pages(to, link, *copied),
            Frame::Close => unreachable!("handled where it is delivered"),
        }
    }

    /// Sends what a stream has not sent yet: one run of one epoch.
    pub fn pump(&mut self, index: usize, link: LinkId) -> bool {
        let node = &mut self.nodes[index];
        let Some(sent) = node.streams.get_mut(&link) else { return false };
        let rest = node.disk.journal.after(*sent);
        let Some(first) = rest.first() else { return false };
        assert_eq!(first.lsn, sent.next(), "the journal has what a stream needs");
        let run: Vec<Rec> =
            rest.iter().take_while(|rec| rec.epoch == first.epoch).copied().collect();
        *sent = run.last().unwrap().lsn;
        self.put(link, Frame::Records(run))
    }

    /// Puts a frame on the wire from the end that `link` names.
    pub fn put(&mut self, link: LinkId, frame: Frame) -> bool {
        let (id, end) = (link.0 / 2, usize::from(link.0 % 2 == 1));
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        if !conn.open[end] {
            return false;
        }
        conn.queue[1 - end].push_back(frame);
        true
    }

    /// The local disk catches up with the journal's end.
    pub fn harden(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        let end = node.disk.journal.end();
        if node.core.is_none() || node.disk.hardened == end {
            return false;
        }
        node.disk.hardened = end;
        self.event(index, Event::Hardened(end));
        true
    }

    /// Runs everything that can run without time passing.
    pub fn run(&mut self) {
        for _ in 0..20_000 {
            if !self.run_once() {
                return;
            }
        }
        panic!("this world never comes to rest:\n{}", self.log);
    }

    fn run_once(&mut self) -> bool {
        for index in 0..self.nodes.len() {
            for thread in
                [Thread::Persist, Thread::Engine, Thread::Journal, Thread::Seed, Thread::Net]
            {
                if !self.nodes[index].held.contains(&thread) && self.work(index, thread) {
                    return true;
                }
            }
            if !self.nodes[index].hold_harden && self.harden(index) {
                return true;
            }
            let links: Vec<LinkId> = self.nodes[index].streams.keys().copied().collect();
            if !self.nodes[index].hold_streams
                && links.into_iter().any(|link| self.pump(index, link))
            {
                return true;
            }
        }
        let ids: Vec<u64> = self.conns.keys().copied().collect();
        ids.into_iter().any(|id| (0..2).any(|end| self.deliver(id, end)))
    }

    /// Lets time pass, from deadline to deadline.
    pub fn advance(&mut self, span: u64) {
        let until = self.now.after(Millis(span));
        loop {
            self.run();
            let deadlines =
                self.nodes.iter().filter_map(|node| node.core.as_ref()?.next_deadline());
            let next = deadlines.min().unwrap_or(until).max(Millis(self.now.0 + 1));
            if next > until {
                break;
            }
            self.now = next;
            self.tick();
        }
        self.now = until;
        self.tick();
        self.run();
    }

    pub fn tick(&mut self) {
        for index in 0..self.nodes.len() {
            self.event(index, Event::Tick);
        }
    }
}
