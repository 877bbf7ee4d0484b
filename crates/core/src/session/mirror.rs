//! The mirror's side: finding the principal, being let in, following.
//!
//! ```text
//!  Down ──dial──▶ Greeting ──Welcome──▶ Truncating ──▶ Following        journal
//!   ▲               │  ▲                    │      ──▶ AwaitingSeed ──▶ Resetting ──▶ Following   seed
//!   └──── lost ─────┘  └─ JoinAgain         └──────▶ Waiting            suspended
//!                                 Greeting ──Welcome──▶ AwaitingPages ──▶ Spooling ──▶ Switching ──▶ Following   pages
//! ```
//!
//! Order on a new epoch: refuse lower ones from now on (durable), then cut the journal to the common position,
//! then adopt the principal's history (durable), then take records. A crash between any two of these is harmless.

use super::{
    Action, Core, Level, LinkId, Member, Millis, PairState, Parked,
    links::{Purpose, Use, stale, unexpected},
    start::Retry,
};
use crate::{
    epoch::Epoch,
    ids::{Lsn, ServerId, UnixMicros},
    message::{
        Code, DataState, Envelope, Intent, Message, PROTOCOL_CLIENT_KEY, PartnerAddress, Plan,
        Refusal, Refused, Role, Welcome,
    },
};

/// A line about catching up is logged each time this many events went by. They come in batches of up to half a MiB,
/// which holds 6,553 of the smallest: so there is a line at least every 12,000 events.
const LOG_EVERY: u64 = 5_000;

/// Where this mirror stands with its principal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Stage {
    /// No connection.
    #[default]
    Down,
    /// Asked to be let in.
    Greeting,
    /// Let in; the journal is being cut to the common position.
    Truncating,
    /// Let in, suspended: nothing comes until the principal says so.
    Waiting,
    /// Let in; a seed is about to begin.
    AwaitingSeed,
    /// Let in; a copy is about to begin.
    AwaitingPages,
    /// A copy that builds on this mark is spooled beside what is here.
    Spooling(Lsn),
    /// The spool is taking the place of what was here.
    Switching,
    /// The data is being dropped for the seed that builds on this mark.
    Resetting(Lsn),
    /// Records come, and pages if a seed is under way.
    Following,
}

/// The principal as the mirror sees it now.
#[derive(Clone, Debug, Default)]
pub(super) struct Upstream {
    pub(super) stage: Stage,
    pub(super) link: Option<LinkId>,
    pub(super) retry: Retry,
    /// Connections were made and lost again without having been of use, the last two at least.
    pub(super) futile: bool,
    /// Who is said to be the principal; tried first.
    pub(super) hint: Option<PartnerAddress>,
    /// Which member to try next if there is no hint.
    pub(super) turn: usize,
    pub(super) welcome: Option<Box<Welcome>>,
    pub(super) hardened: Lsn,
    pub(super) commit: Lsn,
    pub(super) told: Option<PairState>,
    pub(super) takeover: Option<(Lsn, Epoch)>,
    pub(super) heard: Option<UnixMicros>,
    pub(super) catching_up: Option<CatchingUp>,
    /// Where the copy becomes whole, once all its pages are on disk.
    pub(super) seed_end: Option<Lsn>,
    /// Where the journal of a copy ends, once the principal has sent all of it.
    pub(super) pages_end: Option<Lsn>,
    /// The last Hello said that a seed is not finished.
    pub(super) said_seeding: bool,
}

/// For the log: from where to where, since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchingUp {
    pub(super) from: Lsn,
    pub(super) goal: Lsn,
    pub(super) since: Millis,
    pub(super) logged: Lsn,
}

impl Core {
    pub(super) fn dial_is_wanted(&self) -> bool {
        self.d.role == Role::Mirror
            && self.engine == Some(Role::Mirror)
            && self.upstream.stage == Stage::Down
            && !self.is_dialling(Purpose::Join)
            && self.journal_failed.is_none()
            && self.journal_busy == 0
            && self.promotion.is_none()
            && self.parked().is_none()
            && self.saving.is_none()
            && !self.is_switching()
    }

    pub(super) fn parked(&self) -> Option<Parked> {
        self.d.deposed.as_ref().and_then(|deposed| deposed.parked)
    }

    pub(super) fn dial_principal(&mut self) {
        let address = match self.upstream.hint.take() {
            Some(hint) => hint.partner_address,
            None => {
                let turn = self.upstream.turn % self.d.partners.len().max(1);
                let Some(member) = self.d.partners.get(turn) else { return };
                member.address.partner_address.clone()
            }
        };
        self.dial(Purpose::Join, address);
    }

    pub(super) fn greet(&mut self, id: LinkId) {
        self.log(Level::Info, "checking against the principal");
        self.upstream.stage = Stage::Greeting;
        self.upstream.link = Some(id);
        self.upstream.said_seeding = self.d.seeding.is_some();
        (self.upstream.welcome, self.upstream.pages_end) = (None, None);
        self.ask_for_heals_anew();
        self.say_hello(id, Intent::Join);
    }

    /// An attempt to join came to nothing: the next member, a little later.
    pub(super) fn join_failed(&mut self, why: &str) {
        let refusal = Refusal::new(
            Code::PartnerLost,
            format!("The principal cannot be reached: {why}."),
            "Start it, look at the network, or promote this mirror.",
        );
        self.last_error.get_or_insert(refusal);
        self.upstream.turn += 1;
        self.upstream.retry = self.retry_later(self.upstream.retry);
    }

    /// The link to the principal, joined or not, is gone.
    pub(super) fn upstream_lost(&mut self, why: &str) {
        let joined = !matches!(self.upstream.stage, Stage::Down | Stage::Greeting);
        let Upstream { retry, futile, hint, turn, heard, hardened, .. } =
            std::mem::take(&mut self.upstream);
        self.ask_for_heals_anew();
        // A takeover that is not yet on disk is forgotten: the next conversation begins without it.
        self.upstream =
            Upstream { retry, futile, hint, turn, heard, hardened, ..Upstream::default() };
        if !joined {
            return self.join_failed(why);
        }
        self.log(Level::Warn, format!("the connection to the principal was lost: {why}"));
        self.last_error = Some(Refusal::new(
            Code::PartnerLost,
            format!("The connection to the principal was lost: {why}."),
            "It is opened again by itself; if the principal is gone for good, promote this mirror.",
        ));
        self.d.last_contact = heard;
        self.persist();
        // At once the first time; a link that is lost again before it was of use is retried with a pause.
        let attempts = self.upstream.retry.attempts;
        self.upstream.futile = attempts > 0;
        self.upstream.retry =
            Retry { next: self.now.ticks.after(self.pause(attempts)), attempts: attempts + 1 };
    }

    /// The principal showed itself: dial it now, unless it is no lack of a principal that ends the connections.
    pub(super) fn principal_seen(&mut self, address: PartnerAddress) {
        if self.d.role == Role::Mirror && self.upstream.stage == Stage::Down {
            self.upstream.hint = Some(address);
            if !self.upstream.futile {
                self.upstream.retry = Retry { next: self.now.ticks, attempts: 0 };
            }
        }
    }

    /// The connection brought this mirror forward: should it be lost, the next one is made at once.
    pub(super) fn upstream_is_of_use(&mut self) {
        self.upstream.retry.attempts = 0;
        self.upstream.futile = false;
    }

    /// The answer to a Hello that asked to be let in.
    pub(super) fn joining(&mut self, id: LinkId, envelope: Envelope) {
        let Envelope { epoch, message } = envelope;
        match message {
            Message::Welcome(_) | Message::JoinAgain if epoch < self.d.epoch => {
                self.refuse(id, stale(&message));
            }
            Message::JoinAgain => self.greet(id),
            Message::Welcome(welcome) => self.welcomed(id, epoch, welcome),
            Message::Refused(refused) => self.refused(id, epoch, *refused),
            other => self.refuse(id, unexpected(&other)),
        }
    }

    fn welcomed(&mut self, id: LinkId, epoch: Epoch, welcome: Box<Welcome>) {
        let honest = welcome.session == self.d.session
            && welcome.history.current() == Some(epoch)
            && epoch.server == welcome.server;
        // A seed replaces everything: not what is whole, and not what only this server has.
        let replaces = matches!(welcome.plan, Plan::Seed { resumed: false })
            && self.data() == DataState::Consistent;
        if !honest || replaces || welcome.truncate_to > self.end {
            return self.refuse(id, unexpected(&Message::Welcome(welcome)));
        }
        self.last_error = None;
        let waits = welcome.plan == Plan::Wait;
        let whole = !matches!(welcome.plan, Plan::Seed { resumed: false });
        let pages = matches!(welcome.plan, Plan::Pages { .. });
        let saved = pages && self.orphans_cover(welcome.truncate_to);
        if whole && !waits && !saved && self.must_not_cut(welcome.truncate_to) {
            return self.diverged(id, epoch, welcome.truncate_to);
        }
        self.set_use(id, Use::Upstream(welcome.server));
        self.d.epoch = epoch;
        self.d.was_synchronized &= welcome.still_synchronized;
        self.d.safety = welcome.safety;
        self.set_members(&welcome.partners);
        self.d.last_contact = Some(self.now.unix);
        self.upstream.heard = Some(self.now.unix);
        self.upstream.hardened = welcome.hardened;
        let truncate_to = welcome.truncate_to;
        self.upstream.told = Some(PairState::Synchronizing);
        // Before anything else, so that a principal that hands over knows whom it passes clients' requests on to.
        if let Some(key) = self.config.client_key
            && welcome.protocol >= PROTOCOL_CLIENT_KEY
        {
            self.send(id, Message::ClientKey(key));
        }
        self.upstream.welcome = Some(welcome);
        self.persist();
        if waits {
            self.upstream.stage = Stage::Waiting;
            self.upstream.told = Some(PairState::Suspended);
        } else if pages {
            // The journal stays as it is until the copy takes its place.
            self.upstream.stage = Stage::AwaitingPages;
            let compared = self.catches_up_by_comparing();
            let which = if compared { "that differ" } else { "that are newer" };
            self.log(Level::Info, format!("catching up: the pages {which} follow"));
        } else if truncate_to < self.end && whole {
            self.upstream.stage = Stage::Truncating;
            self.log(
                Level::Info,
                format!("dropping the events after {truncate_to}, which never became final"),
            );
            self.journal_busy += 1;
            self.emit(Action::TruncateJournal(truncate_to));
        } else {
            self.prepared(id);
        }
    }

    /// What a deposed principal served, and what anyone applied, is not cut without the operator's word.
    fn must_not_cut(&self, to: Lsn) -> bool {
        let usable = !self.d.empty && self.d.seeding.is_none();
        let own = self.d.deposed.is_some() || self.joins_with_data();
        (own && to < self.end) || (usable && to < self.shown())
    }

    /// What the databases show, or will as soon as the engine gets there: it is not called back.
    pub(super) fn shown(&self) -> Lsn {
        self.applied.max(self.apply_target)
    }

    pub(super) fn truncated(&mut self, end: Lsn) {
        self.journal_busy = self.journal_busy.saturating_sub(1);
        (self.end, self.hardened) = (end, end);
        self.apply_target = self.apply_target.min(end);
        if let (Stage::Truncating, Some(id)) = (self.upstream.stage, self.upstream.link) {
            let expected = self.upstream.welcome.as_ref().map(|welcome| welcome.truncate_to);
            assert_eq!(expected, Some(end), "the journal was cut elsewhere than asked for");
            self.prepared(id);
        }
    }

    /// The journal is a prefix of the principal's: adopt its history and go on as planned.
    fn prepared(&mut self, id: LinkId) {
        let welcome = self.upstream.welcome.take().expect("a mirror prepares for a welcome");
        if let Plan::Seed { resumed } = welcome.plan {
            self.upstream.stage = Stage::AwaitingSeed;
            let how = if resumed { "the seed goes on" } else { "a seed begins" };
            self.log(Level::Info, format!("catching up: {how}"));
            self.upstream.welcome = Some(welcome);
            return;
        }
        self.log_catching_up(welcome.hardened);
        self.adopt(&welcome);
        self.persist();
        self.upstream.stage = Stage::Following;
        let (hardened, applied) = (self.hardened, self.applied);
        self.send(id, Message::Ack { hardened, applied });
        if self.upstream.said_seeding && self.d.seeding.is_none() {
            self.send(id, Message::SeedComplete);
        }
        self.tell_differs(id);
    }

    /// From here on the journal's records are read as the principal's history says.
    pub(super) fn adopt(&mut self, welcome: &Welcome) {
        self.d.history = welcome.history.clone();
        (self.d.deposed, self.d.before_join) = (None, None);
        // What an earlier principal confirmed above the common position, this one may never have had.
        self.commit = self.commit.min(self.end).max(welcome.commit);
        self.upstream.commit = welcome.commit;
    }

    fn log_catching_up(&mut self, goal: Lsn) {
        let from = self.end;
        let events = goal.since(from);
        self.log(Level::Info, format!("catching up: {events} events after {from}"));
        let since = self.now.ticks;
        self.upstream.catching_up = Some(CatchingUp { from, goal, since, logged: from });
    }

    fn log_progress(&mut self) {
        let Some(progress) = &mut self.upstream.catching_up else { return };
        if self.end.since(progress.logged) < LOG_EVERY {
            return;
        }
        progress.logged = self.end;
        let done = self.end.since(progress.from);
        let left = progress.goal.since(self.end);
        let elapsed = self.now.ticks.since(progress.since).0.max(1);
        let rate = (done.saturating_mul(1_000) / elapsed).max(1);
        let percent = done.saturating_mul(100) / (done + left).max(1);
        let text = format!(
            "catching up: {percent} %, {left} events left, {rate} events/s, about {} s to go",
            left / rate
        );
        self.log(Level::Info, text);
    }

    /// A message from the principal that this mirror follows.
    pub(super) fn principal_says(&mut self, id: LinkId, server: ServerId, envelope: Envelope) {
        let Envelope { epoch, message } = envelope;
        if epoch < self.d.epoch {
            return self.refuse(id, stale(&message));
        }
        if epoch > self.d.epoch {
            return self.drop_link(id, "the principal began a new epoch");
        }
        self.upstream.heard = Some(self.now.unix);
        let Some(message) = self.take_repair(id, message) else { return };
        let following = self.upstream.stage == Stage::Following;
        match message {
            Message::Commit { lsn } if following => self.commit = self.commit.max(lsn),
            Message::Heartbeat { hardened, reached } => {
                self.upstream.hardened = self.upstream.hardened.max(hardened);
                if following {
                    self.commit = self.commit.max(reached);
                }
            }
            Message::StateChanged { state } => self.told(state),
            // Neither can begin before it is known where the journal ends; both are said again on a new connection.
            Message::JoinAgain | Message::EndMirroring { .. } if self.journal_busy > 0 => {
                self.drop_link(id, "the journal is being cut; joining again by a new connection");
            }
            Message::JoinAgain => {
                self.upstream.takeover = None;
                self.set_use(id, Use::Joining);
                self.greet(id);
            }
            Message::SeedBegin { mark, .. } => self.seed_begun(id, mark, message),
            Message::PagesBegin { mark } => self.pages_begun(id, mark),
            Message::PagesDone { end } => self.pages_done(id, end),
            Message::HealDone { database, at } => self.heal_done(id, database, at),
            Message::HealFailed { database, why } => self.heal_failed(database, &why),
            Message::SeedDone { consistent_at } if following && self.d.seeding.is_some() => {
                self.commit = self.commit.max(consistent_at);
                self.emit(Action::FinishSeed(id, consistent_at));
                self.upstream_seed_done(consistent_at);
            }
            Message::Handover { last, epoch } => self.handed_over(id, server, last, epoch),
            Message::Partners(members) => {
                self.set_members(&members);
                self.persist();
            }
            Message::EndMirroring { session } if session == self.d.session => {
                self.log(Level::Warn, "the principal ended mirroring");
                self.become_standalone();
            }
            Message::Refused(refused) => self.refused(id, epoch, *refused),
            other => self.refuse(id, unexpected(&other)),
        }
    }

    /// The principal says what state the pair is in.
    fn told(&mut self, state: PairState) {
        let before = self.upstream.told.replace(state);
        let synchronized = match state {
            PairState::Synchronized => true,
            PairState::PendingFailover => self.d.was_synchronized,
            PairState::Synchronizing | PairState::Suspended | PairState::Disconnected => false,
        };
        if state == PairState::Synchronized {
            self.upstream.retry = Retry::default();
            self.upstream.catching_up = None;
            if before == Some(PairState::Synchronizing) {
                self.log(Level::Info, "up and running");
            }
        }
        if synchronized != self.d.was_synchronized {
            self.d.was_synchronized = synchronized;
            self.d.last_contact = self.upstream.heard;
            self.persist();
        }
    }

    fn refused(&mut self, id: LinkId, epoch: Epoch, refused: Refused) {
        let Refused { refusal, session, common, principal } = refused;
        match refusal.code {
            // Only who is at least as new may end what this server belongs to.
            Code::MirroringEnded if epoch >= self.d.epoch && session == self.d.session => {
                self.log(Level::Warn, "mirroring was ended while this server was away");
                return self.become_standalone();
            }
            Code::Diverged if epoch >= self.d.epoch && session == self.d.session => {
                return self.diverged(id, epoch, common.unwrap_or(Lsn::ZERO));
            }
            _ => {}
        }
        self.last_error = Some(refusal.clone());
        let fresh = self.upstream.hint.is_none();
        self.drop_link(id, &refusal.what);
        let other = principal.filter(|hint| hint.server != self.d.server);
        if let (Code::NotPrincipal, Some(hint), true) = (refusal.code, other, fresh) {
            // Followed once per pause, so that two servers that name each other are not asked in a circle.
            self.upstream.hint = Some(hint);
            if self.upstream.retry.attempts <= 2 {
                self.upstream.retry.next = self.now.ticks;
            }
        }
    }

    pub(super) fn set_members(&mut self, members: &[PartnerAddress]) {
        let own = self.d.server;
        if members.iter().all(|address| address.server == own) {
            return;
        }
        self.d.partners = members
            .iter()
            .filter(|address| address.server != own)
            .map(|address| Member {
                address: address.clone(),
                suspended: false,
                synchronized: false,
            })
            .collect();
        self.upstream.turn = 0;
    }

    /// Records on a link: only in order, only of an epoch that the adopted history names for their place.
    pub(super) fn records(
        &mut self,
        id: LinkId,
        epoch: Epoch,
        (first, last): (Lsn, Lsn),
        commit: Lsn,
    ) {
        assert!(first <= last, "records come in runs of at least one");
        self.heard(id);
        let current = self.upstream.link == Some(id) && self.d.role == Role::Mirror;
        if self.link_use(id).is_none() {
            return;
        }
        if !current || self.upstream.stage != Stage::Following {
            return self.drop_link(id, "records came that this server did not ask for");
        }
        let announced = self.d.history.epoch_at(first) == Some(epoch)
            && self.d.history.epoch_at(last) == Some(epoch);
        if !announced {
            return self.drop_link(id, "records came of an epoch that was not announced for them");
        }
        if last <= self.end {
            return;
        }
        if first != self.end.next() {
            return self.drop_link(id, "records came out of order");
        }
        self.end = last;
        self.commit = self.commit.max(commit.min(last));
        self.upstream.hardened = self.upstream.hardened.max(last);
        self.emit(Action::Append(id));
        self.log_progress();
    }

    pub(super) fn local_hardened(&mut self, lsn: Lsn) {
        self.hardened = self.hardened.max(lsn);
        self.end = self.end.max(self.hardened);
        self.acknowledge();
    }

    /// Tells the principal how far this mirror is.
    pub(super) fn acknowledge(&mut self) {
        let following = self.d.role == Role::Mirror && self.upstream.stage == Stage::Following;
        if let (true, Some(id)) = (following, self.upstream.link) {
            // The journal that arrives beside a seed is of no use without its pages.
            if self.d.seeding.is_none() {
                self.upstream_is_of_use();
            }
            let (hardened, applied) = (self.hardened, self.applied);
            self.send(id, Message::Ack { hardened, applied });
        }
    }

    /// Applies what is hardened here and final.
    pub(super) fn settle_apply(&mut self) {
        let stage = self.upstream.stage;
        let whole = match &self.d.seeding {
            Some(progress) => progress.consistent_at.is_some(),
            None => !self.d.empty,
        };
        let steady = stage == Stage::Following || stage == Stage::Down;
        let target = self.commit.min(self.hardened);
        if whole
            && steady
            && !self.is_switching()
            && self.engine == Some(Role::Mirror)
            && target > self.apply_target
        {
            self.apply_target = target;
            self.emit(Action::ApplyUpTo(target));
        }
    }
}
