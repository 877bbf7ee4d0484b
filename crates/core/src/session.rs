//! The session core: one server's part in mirroring as a pure state machine.
//!
//! [`Core::step`] takes what happened and gives back what to do. It never reads a clock, touches a disk or a
//! socket, or draws a random number, so every run can be replayed from its events. The laws it keeps are written
//! down in this crate's `DESIGN.md`.

mod action;
mod alarms;
mod catch_up;
mod command;
mod commands;
mod durable;
mod event;
mod failover;
mod heal;
mod hold;
mod links;
mod mirror;
mod orphans;
mod pages;
mod pair;
mod principal;
mod repair;
mod report;
mod roles;
mod rules;
mod seed;
mod start;
mod time;

pub use action::{Action, Admission, Alarm, AlarmKind, Level};
pub use catch_up::{CatchUp, FEW_EVENTS, Offer, choose};
pub use command::{Assessment, Command, CommandError, CommandId, Loss, Outcome};
pub use durable::{
    Deposed, Durable, Ended, Member, OwnStarts, Parked, PendingHandover, RolledBack,
};
pub use event::{DialId, Event, LinkId, Recovered, Ticket};
pub use pair::{Cause, PairState};
pub use report::Reached;
pub use time::{Config, Millis, Now, Rejoin};

use std::collections::BTreeSet;

use crate::{
    ids::{Lsn, ServerId},
    message::{About, DataState, Refusal, Role},
};
use failover::{Failover, Promotion};
use hold::Hold;
use links::{Link, Purpose};
use mirror::Upstream;
use principal::Peer;
use repair::{Lacking, PageKey, Repair};

/// One server's part in mirroring. See the module's head.
///
/// Invariants (checked by [`Core::broken_invariant`] after every step in debug builds):
/// - a standalone server has no session and no partners;
/// - a mirror never admits writes, never sets the commit LSN, and holds no synchronized or suspended members;
/// - a pair is `SYNCHRONIZED` only with a link, a stream, and the member marked synchronized;
/// - a pair is `SUSPENDED` exactly while its member is;
/// - a pair is `PENDING_FAILOVER` exactly while a failover runs towards it or a handover to it is unanswered;
/// - writes are admitted only while the saved epoch is the wanted one and no failover or doubt is pending.
#[derive(Clone, Debug)]
pub struct Core {
    config: Config,
    now: Now,
    out: Vec<Action>,
    /// What shall be durable; `hold` knows what is.
    d: Durable,
    hold: Hold,

    journal_after: Lsn,
    journal_failed: Option<String>,
    /// Cuts and resets that the journal has not answered yet; no conversation begins meanwhile.
    journal_busy: u32,
    hardened: Lsn,
    /// Mirror: the end of the journal, hardened or not. Principal: follows `hardened`.
    end: Lsn,
    commit: Lsn,
    applied: Lsn,
    apply_target: Lsn,
    /// The database files hold everything up to here; redo starts there.
    base: Lsn,
    has_spool: bool,
    /// Drawn at random at this start.
    stride: u16,

    /// The role that the engine last reported, `None` while it changes.
    engine: Option<Role>,
    admission: Option<Admission>,

    links: Vec<Link>,
    dials: Vec<(DialId, Purpose)>,
    last_dial: DialId,
    next_heartbeat: Millis,
    jitter: u64,

    peers: Vec<Peer>,
    upstream: Upstream,
    failover: Option<Failover>,
    promotion: Option<Promotion>,
    inquiry_until: Option<Millis>,
    /// Mirrors that wait for the cheaper of two ways.
    estimates: Vec<(LinkId, Box<About>)>,
    /// What the driver is saving as orphans.
    saving: Option<Parked>,
    /// Databases here that differ from what the records say.
    differs: heal::Differs,
    healed: heal::Healed,
    /// Why nothing is applied here any more.
    replay_stopped: Option<String>,
    /// Pages that partners are asked for, and pages that they asked for.
    repairs: Vec<Repair>,
    providing: Vec<(LinkId, Lacking)>,
    last_error: Option<Refusal>,
    /// They come in once a mirror knows where its journal ends.
    postponed: Vec<(CommandId, Command)>,
    /// Raised and not cleared.
    alarms: BTreeSet<(AlarmKind, Option<ServerId>)>,
}

/// What connected mirrors still need of the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Positions {
    /// The least that a connected mirror has hardened; 0 until it has said so. `None` without any.
    pub hardened: Option<Lsn>,
    /// A seed or a copy is on its way to one of them.
    pub copying: bool,
}

impl Core {
    /// Handles one event; the actions are appended to `out`.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        self.now = Now { ticks: now.ticks.max(self.now.ticks), unix: now.unix };
        std::mem::swap(&mut self.out, out);
        self.dispatch(event);
        self.settle();
        std::mem::swap(&mut self.out, out);
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::Persisted(ticket) => self.persisted(ticket),
            Event::Became(role) => self.became(role),
            Event::Hardened(lsn) => self.local_hardened(lsn),
            Event::Applied(lsn) => self.local_applied(lsn),
            Event::Truncated(end) => self.truncated(end),
            Event::JournalReset(after) => self.journal_reset(after),
            Event::Pruned(after) => self.journal_after = self.journal_after.max(after),
            Event::JournalFailed(error) => self.local_journal_failed(error),
            Event::Connected(dial, link) => self.connected(dial, link),
            Event::DialFailed(dial, error) => self.dial_failed(dial, &error),
            Event::Accepted(link) => self.accepted(link),
            Event::LinkDown(link, error) => self.link_down(link, &error),
            Event::Heard(link) => self.heard(link),
            Event::Received(link, envelope) => self.received(link, envelope),
            Event::Records { link, epoch, first, last, commit } => {
                self.records(link, epoch, (first, last), commit);
            }
            Event::SeedPrepared { link, mark, contents } => {
                self.seed_prepared(link, mark, contents);
            }
            Event::SeedSent { link, consistent_at } => self.seed_sent(link, consistent_at),
            Event::SeedProgressed(link, progress) => self.seed_progressed(link, progress),
            Event::SeedFinished(link) => self.seed_finished(link),
            Event::SeedFailed(link, error) => self.seed_failed(link, &error),
            Event::Drained(last) => self.drained(last),
            Event::Command(id, command) => self.command(id, command),
            Event::Checkpointed(mark) => self.base = self.base.max(mark),
            copying => self.dispatch_copying(copying),
        }
    }

    /// What has to do with copies of pages, of whole databases, and with what only this server has.
    fn dispatch_copying(&mut self, event: Event) {
        match event {
            Event::Estimated { link, journal_bytes, page_bytes } => {
                self.estimated(link, journal_bytes, page_bytes);
            }
            Event::PagesPrepared { link, mark } => self.pages_prepared(link, mark),
            Event::PagesSent { link, end } => self.pages_sent(link, end),
            Event::PagesSpooled { link, mark, end } => self.pages_spooled(link, mark, end),
            Event::SpoolFound => self.has_spool = true,
            Event::PagesAdopted { mark, end } => self.pages_adopted(mark, end),
            Event::AdoptFailed(why) => self.adopt_failed(&why),
            Event::OrphansSaved { common, end } => self.orphans_saved(common, end),
            Event::OrphansFailed(why) => self.orphans_failed(&why),
            Event::PageDamaged { database, page, hash } => {
                self.lack(Lacking::Page(PageKey { database, page, hash }));
            }
            Event::PageProvided { link, database, page, hash, bytes } => {
                self.provided(link, Lacking::Page(PageKey { database, page, hash }), bytes);
            }
            Event::RecordsDamaged { first, last } => self.lack(Lacking::Records(first, last)),
            Event::RecordsProvided { link, first, last, bytes } => {
                self.provided(link, Lacking::Records(first, last), bytes);
            }
            Event::DatabaseDiffers { database, name, lsn, expected, found } => {
                self.database_differs(database, name, lsn, (expected, found));
            }
            Event::HealSent { link, database, at } => self.heal_sent(link, database, at),
            Event::HealNotSent { link, database, why } => self.heal_not_sent(link, database, why),
            Event::Healed { database } => self.healed(database),
            Event::HealFailed { database, why } => self.heal_failed(database, &why),
            Event::ReplayFailed(why) => self.replay_failed(&why),
            Event::ReplayGoesOn => self.replay_goes_on(),
            other => unreachable!("{other:?} is dispatched before"),
        }
    }

    /// Brings everything that follows from the present state alone in line with it.
    fn settle(&mut self) {
        self.settle_postponed();
        match self.d.role {
            Role::Standalone => self.settle_commit(),
            Role::Principal => {
                self.settle_pairs();
                self.settle_commit();
                self.settle_failover();
            }
            Role::Mirror => {
                self.settle_apply();
                self.settle_takeover();
                self.settle_promotion();
                self.settle_heals();
            }
        }
        self.settle_repairs();
        self.settle_dials();
        self.settle_admission();
        self.settle_alarms();
        debug_assert_eq!(self.broken_invariant(), None, "{self:#?}");
    }

    /// When [`Event::Tick`] is due at the latest; `None` if nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let links = self.links.iter().map(|link| link.heard.after(self.config.partner_timeout));
        let peers = self.peers.iter().flat_map(|peer| {
            let dial = self.inquiry_is_wanted(peer).then_some(peer.retry.next);
            let awaiting = peer.awaited.map(|(_, until)| until);
            let again =
                (peer.awaited.is_none() && peer.may_be_awaited()).then_some(peer.await_again);
            [dial, awaiting, again.filter(|&at| at > self.now.ticks), peer.grace]
        });
        let heartbeat = self.links.iter().any(Link::is_joined).then_some(self.next_heartbeat);
        let dial = self.dial_is_wanted().then_some(self.upstream.retry.next);
        let failover = self.failover.as_ref().map(|failover| failover.deadline);
        links
            .chain(peers.flatten())
            .chain([heartbeat, dial, failover, self.inquiry_until].into_iter().flatten())
            .chain(self.next_heal())
            .chain(self.next_repair())
            .min()
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The durable state as wanted; what is written down may lag by the tickets not yet answered.
    #[must_use]
    pub fn durable(&self) -> &Durable {
        &self.d
    }

    /// The commit LSN known here.
    #[must_use]
    pub fn commit_lsn(&self) -> Lsn {
        self.commit
    }

    /// Hardened here up to.
    #[must_use]
    pub fn hardened(&self) -> Lsn {
        self.hardened
    }

    /// The state of the pair with this partner, on the principal.
    #[must_use]
    pub fn pair_state(&self, server: ServerId) -> Option<PairState> {
        self.peers.iter().find(|peer| peer.server == server).map(|peer| peer.state)
    }

    /// What the journal's retention must know, without the rest of the status.
    #[must_use]
    pub fn positions(&self) -> Positions {
        let connected = self.peers.iter().filter(|peer| peer.link.is_some());
        Positions {
            hardened: connected.map(|peer| peer.hardened).min(),
            copying: self.peers.iter().any(|peer| peer.seed.is_some() || peer.pages.is_some()),
        }
    }

    /// What the data is.
    fn data(&self) -> DataState {
        match &self.d.seeding {
            Some(progress) if progress.journal_reset || progress.spooled => {
                DataState::Seeding(progress.clone())
            }
            _ if self.d.empty => DataState::Empty,
            _ => DataState::Consistent,
        }
    }
}
