//! The principal's side of each pair: letting mirrors in, counting what they hardened, losing them.

use super::{
    Action, AlarmKind, CatchUp, Cause, Core, LinkId, Member, Millis, PairState, choose,
    links::{Purpose, Use, stale, unexpected},
    pages::PagesSending,
    start::Retry,
};
use crate::{
    ids::{DatabaseId, Lsn, ServerId, UnixMicros},
    message::{
        About, Code, Envelope, Message, PROTOCOL_MAX, Plan, Refusal, Role, Safety, SeedDatabase,
        SeedProgress, Welcome,
    },
    quorum,
};

/// Commits wait this long for a mirror that is about to be synchronized, before they go on without it.
const AWAIT_MOST: Millis = Millis(1_000);

/// A mirror as the principal sees it now. What must survive is in its `Member`.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) server: ServerId,
    pub(super) state: PairState,
    pub(super) link: Option<LinkId>,
    /// Hardened there, as acknowledged on this link.
    pub(super) hardened: Lsn,
    pub(super) applied: Lsn,
    pub(super) heard: Option<UnixMicros>,
    /// Its data is whole; a seeding mirror can hold every record and still be useless.
    pub(super) consistent: bool,
    pub(super) streaming: bool,
    /// Records follow from here as soon as the mirror says that it is ready.
    pub(super) stream_from: Option<Lsn>,
    pub(super) seed: Option<SeedSending>,
    /// A copy of pages that it has not switched to yet.
    pub(super) pages: Option<PagesSending>,
    /// What it says of its own copy: databases that differ, and why it applies nothing any more.
    pub(super) differs: Vec<DatabaseId>,
    pub(super) stopped: Option<String>,
    /// Commits wait until it has hardened this, or until the moment passes.
    pub(super) awaited: Option<(Lsn, Millis)>,
    pub(super) await_again: Millis,
    pub(super) retry: Retry,
    /// It told what it knows since this principal started.
    pub(super) answered: bool,
    /// After a restart or takeover: until then commits wait for it although it is not connected.
    pub(super) grace: Option<Millis>,
    pub(super) last_error: Option<Refusal>,
}

/// A seed on its way to a mirror.
#[derive(Clone, Debug)]
pub(super) struct SeedSending {
    /// As it was offered.
    pub(super) mark: Option<Lsn>,
    /// A resumed seed's journal goes on after this; a fresh one's begins after its mark.
    pub(super) journal_after: Option<Lsn>,
    pub(super) databases: Vec<SeedDatabase>,
    pub(super) progress: Option<Box<SeedProgress>>,
    pub(super) sending: bool,
}

impl Peer {
    /// A partner that is not connected; commits that must wait for it do so until `grace`.
    pub(super) fn new(member: &Member, grace: Millis) -> Peer {
        Peer {
            server: member.address.server,
            state: if member.suspended { PairState::Suspended } else { PairState::Disconnected },
            link: None,
            hardened: Lsn::ZERO,
            applied: Lsn::ZERO,
            heard: None,
            consistent: false,
            streaming: false,
            stream_from: None,
            seed: None,
            pages: None,
            differs: Vec::new(),
            stopped: None,
            awaited: None,
            await_again: Millis(0),
            retry: Retry::default(),
            answered: false,
            grace: member.synchronized.then_some(grace),
            last_error: None,
        }
    }

    pub(super) fn may_be_awaited(&self) -> bool {
        self.state == PairState::Synchronizing && self.streaming && self.consistent
    }

    fn unlink(&mut self) {
        self.link = None;
        self.awaited = None;
        self.stop_sending();
    }

    /// Neither records nor copies go there any more.
    pub(super) fn stop_sending(&mut self) {
        (self.streaming, self.stream_from) = (false, None);
        (self.seed, self.pages) = (None, None);
    }
}

impl Core {
    pub(super) fn member(&self, server: ServerId) -> Option<&Member> {
        self.d.partners.iter().find(|member| member.address.server == server)
    }

    pub(super) fn member_mut(&mut self, server: ServerId) -> Option<&mut Member> {
        self.d.partners.iter_mut().find(|member| member.address.server == server)
    }

    pub(super) fn peer_mut(&mut self, server: ServerId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.server == server)
    }

    pub(super) fn peer(&self, server: ServerId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.server == server)
    }

    /// Changes a pair's state and says so.
    ///
    /// # Panics
    /// If the transition is not in [`PairState::next`]'s table: an error in this module.
    pub(super) fn turn(&mut self, server: ServerId, cause: Cause, why: &str) {
        let peer = self.peer_mut(server).expect("only a partner's pair has a state");
        let from = peer.state;
        let (state, sentence) = from
            .next(cause)
            .unwrap_or_else(|| panic!("a pair that is {from} cannot change by {cause:?}"));
        peer.state = state;
        self.log_state(server, state, sentence, why);
        let lost = state == PairState::Disconnected;
        if lost || from == PairState::Disconnected {
            let text = format!("partner {server} is {}", if lost { "lost" } else { "back" });
            self.alarm(AlarmKind::PartnerLost, Some(server), lost, text);
        }
    }

    /// A mirror asks to follow. `costs` is known once the driver has estimated what each of two ways takes.
    pub(super) fn join(&mut self, id: LinkId, about: &About, costs: Option<(u64, u64)>) {
        if self.d.role != Role::Principal {
            let what = "This server is not the principal.";
            let remedy = "Join the server that it names, or the one that was promoted.";
            return self.refuse(id, Refusal::new(Code::NotPrincipal, what, remedy));
        }
        if self.member(about.server).is_none() {
            let what = "The sender is not a partner of this server.";
            let remedy = "Start mirroring between the two servers.";
            return self.refuse(id, Refusal::new(Code::Stranger, what, remedy));
        }
        if about.role != Role::Mirror {
            let what = "Only a mirror can join a principal.";
            let remedy = "Two principals settle who was deposed by asking each other.";
            return self.refuse(id, Refusal::new(Code::WrongRole, what, remedy));
        }
        if self.would_end_doubt(about) && self.asks_again(id) {
            return;
        }
        self.resolve_doubt(about);
        if self.peer(about.server).is_some_and(|peer| peer.state == PairState::PendingFailover) {
            let what = "A mirror cannot join while it is to take over.";
            let remedy = "It joins again once the failover's outcome is known.";
            return self.refuse(id, Refusal::new(Code::Unexpected, what, remedy));
        }
        let suspended = self.member(about.server).is_some_and(|member| member.suspended);
        match choose(self.offer(), about) {
            CatchUp::Diverged { common } => self.refuse_diverged(id, about, common),
            CatchUp::NoCommonOrigin => self.refuse_to_replace(id, about),
            CatchUp::RolledBack { .. } => self.refuse_to_overwrite(id, about),
            // What it has more may have been confirmed, although it does not show it yet.
            CatchUp::Journal { after: kept }
            | CatchUp::Either { after: kept, .. }
            | CatchUp::Pages { common: kept, .. }
                if self.d.rolled_back.is_some() && kept < about.end && !about.orphans_saved =>
            {
                self.refuse_to_overwrite(id, about);
            }
            CatchUp::Either { after, base } => match costs {
                None if !suspended => self.estimate(id, about, after, base),
                None => self.welcome(id, about, CatchUp::Journal { after }),
                Some(costs) => {
                    let way = self.cheaper(after, base, costs);
                    self.welcome(id, about, way);
                }
            },
            way => self.welcome(id, about, way),
        }
    }

    fn welcome(&mut self, id: LinkId, about: &About, way: CatchUp) {
        let server = about.server;
        self.ask_no_more(server);
        self.set_use(id, Use::Downstream(server));
        let suspended = self.member(server).is_some_and(|member| member.suspended);
        let (truncate_to, plan, seed) = match way {
            _ if suspended => (about.end, Plan::Wait, None),
            CatchUp::Journal { after } => (after, Plan::Journal { after }, None),
            CatchUp::Seed { truncate_to, resume } => {
                (truncate_to, Plan::Seed { resumed: resume.is_some() }, Some(resume))
            }
            CatchUp::Pages { common, since } => (common, Plan::Pages { since }, None),
            other => unreachable!("{other:?} was refused, or chosen between"),
        };
        let pages = match plan {
            Plan::Pages { since } => Some(PagesSending::new(since)),
            _ => None,
        };
        if seed.is_some() || pages.is_some() {
            // What it had is gone or of no use: waiting for it would stop commits for as long as the copy takes.
            self.stop_waiting(server, true);
        }
        let heard = Some(self.now.unix);
        let peer = self.peer_mut(server).expect("a member has a peer");
        peer.unlink();
        peer.link = Some(id);
        (peer.hardened, peer.applied, peer.heard) = (Lsn::ZERO, about.applied, heard);
        let whole = about.data == crate::message::DataState::Consistent;
        peer.consistent = whole && seed.is_none() && pages.is_none();
        peer.pages = pages;
        (peer.differs, peer.stopped) = (Vec::new(), None);
        peer.stream_from = matches!(plan, Plan::Journal { .. }).then_some(truncate_to);
        peer.seed = seed.as_ref().map(|resume| SeedSending {
            mark: None,
            journal_after: resume.as_ref().map(|_| truncate_to),
            databases: Vec::new(),
            progress: None,
            sending: false,
        });
        (peer.answered, peer.grace, peer.last_error) = (true, None, None);
        if !suspended {
            self.turn(server, Cause::Joined, "");
        }
        let message = self.welcome_message(id, server, truncate_to, plan);
        self.send(id, message);
        if let Some(resume) = seed {
            self.emit(Action::PrepareSeed(id, resume));
        } else if pages.is_some() {
            self.emit(Action::PreparePages(id));
        }
    }

    fn welcome_message(
        &self,
        id: LinkId,
        server: ServerId,
        truncate_to: Lsn,
        plan: Plan,
    ) -> Message {
        let link = self.links.iter().find(|link| link.id == id);
        Message::Welcome(Box::new(Welcome {
            protocol: link.map_or(PROTOCOL_MAX, |link| link.protocol),
            server: self.d.server,
            session: self.d.session,
            history: self.d.history.clone(),
            safety: self.d.safety,
            partners: self.members_for(server),
            truncate_to,
            plan,
            hardened: self.hardened,
            commit: self.commit,
            still_synchronized: self.member(server).is_some_and(|member| member.synchronized),
        }))
    }

    /// A message from a mirror that follows.
    pub(super) fn mirror_says(&mut self, id: LinkId, server: ServerId, envelope: Envelope) {
        if let Message::Hello(hello) = envelope.message {
            return self.hello(id, *hello);
        }
        if let Message::TookOver { epoch, client_url, .. } = &envelope.message {
            return self.took_over(id, server, *epoch, client_url);
        }
        if envelope.epoch < self.d.epoch {
            return self.refuse(id, stale(&envelope.message));
        }
        if envelope.epoch > self.d.epoch {
            self.deposed(envelope.epoch, server, None);
            // Not deposed, but rolled back: what such a mirror says is not for this principal.
            return self.drop_link(id, "it knows a later epoch of this server");
        }
        let (heard, own_session) = (Some(self.now.unix), self.d.session);
        let Some(peer) = self.peer_mut(server) else { return };
        peer.heard = heard;
        let Some(message) = self.take_repair(id, envelope.message) else { return };
        let Some(peer) = self.peer_mut(server) else { return };
        match message {
            Message::Ack { hardened, applied } => {
                peer.hardened = peer.hardened.max(hardened);
                peer.applied = applied;
                if let Some(after) = peer.stream_from.take() {
                    peer.streaming = true;
                    peer.pages = None;
                    self.emit(Action::StreamFrom(id, after));
                }
            }
            Message::Heartbeat { hardened, reached } => {
                // Before the first Ack the mirror may still be cutting its journal.
                if peer.streaming {
                    peer.hardened = peer.hardened.max(hardened);
                }
                peer.applied = reached;
            }
            Message::SeedAck(progress) => self.seed_acked(id, server, progress),
            Message::SeedComplete => peer.consistent = true,
            Message::PagesReady => self.pages_ready(id, server),
            Message::HealWanted { database } => self.heal_wanted(id, database),
            Message::Differs(databases) => self.mirror_differs(server, databases),
            Message::ReplayStopped(why) => self.mirror_stopped(server, why),
            Message::ClientKey(key) => self.emit(Action::NoteClientKey(server, key)),
            Message::EndMirroring { session } if session == own_session => {
                self.log(super::Level::Warn, format!("partner {server} ended mirroring"));
                self.remove_partner(server);
            }
            Message::Refused(refused) => {
                peer.last_error = Some(refused.refusal.clone());
                self.drop_link(id, &refused.refusal.what);
            }
            other => self.refuse(id, unexpected(&other)),
        }
    }

    /// The link to a mirror is gone.
    pub(super) fn mirror_lost(&mut self, server: ServerId, why: &str) {
        let target = self.failover.as_ref().is_some_and(|failover| failover.target == server);
        if target {
            self.failover_target_lost(why);
        }
        self.peer_gone(server, why);
    }

    pub(super) fn peer_gone(&mut self, server: ServerId, why: &str) {
        let next = self.now.ticks.after(self.config.heartbeat());
        let Some(peer) = self.peer_mut(server) else { return };
        peer.unlink();
        // The mirror dials by itself; ask only if it does not come.
        peer.retry = Retry { next, attempts: 0 };
        match peer.state {
            PairState::Synchronizing | PairState::Synchronized => {
                self.turn(server, Cause::Lost, why);
                self.stop_waiting(server, false);
            }
            PairState::Disconnected => self.stop_waiting(server, false),
            PairState::Suspended | PairState::PendingFailover => {}
        }
    }

    /// Has commits go on without this mirror, once that is on disk. Not done (unless `even_required`) when a
    /// synchronized mirror is required and this is the last one: then commits stop instead.
    pub(super) fn stop_waiting(&mut self, server: ServerId, even_required: bool) {
        let others = self
            .d
            .partners
            .iter()
            .filter(|member| member.synchronized && member.address.server != server)
            .count();
        let allowed = even_required || quorum::may_stop_waiting(self.d.require_mirror, others);
        let now = self.now.unix;
        let Some(peer) = self.peer_mut(server) else { return };
        (peer.awaited, peer.grace) = (None, None);
        let Some(member) = self.member_mut(server) else { return };
        if !member.synchronized || !allowed {
            return;
        }
        member.synchronized = false;
        if others == 0 && self.d.exposed_since.is_none() {
            self.d.exposed_since = Some(now);
            self.raise_exposed(true);
        }
        self.persist();
    }

    pub(super) fn raise_exposed(&mut self, raised: bool) {
        let text = if raised {
            "commits are confirmed without a synchronized mirror"
        } else {
            "a mirror is synchronized again"
        };
        self.alarm(AlarmKind::Exposed, None, raised, text);
    }

    /// Pairs that became synchronized, or may soon be.
    pub(super) fn settle_pairs(&mut self) {
        let (now, local) = (self.now.ticks, self.hardened);
        for index in 0..self.peers.len() {
            let peer = &mut self.peers[index];
            if !peer.may_be_awaited() {
                continue;
            }
            if peer.awaited.is_none()
                && now >= peer.await_again
                && quorum::within_reach(local, peer.hardened)
            {
                // From here on commits wait for it, so nothing above `local` is confirmed without it.
                peer.awaited = Some((local, now.after(AWAIT_MOST)));
            }
            if peer.awaited.is_some_and(|(target, _)| peer.hardened >= target) {
                let server = peer.server;
                self.synchronized(server);
            }
        }
    }

    fn synchronized(&mut self, server: ServerId) {
        let member = self.member_mut(server).expect("a peer has a member");
        let changed = !std::mem::replace(&mut member.synchronized, true);
        let exposed = self.d.exposed_since.take().is_some();
        if changed || exposed {
            self.persist();
        }
        if exposed {
            self.raise_exposed(false);
        }
        self.turn(server, Cause::CaughtUp, "");
        let peer = self.peer_mut(server).expect("found above");
        peer.awaited = None;
        if let Some(link) = peer.link {
            self.send(link, Message::StateChanged { state: PairState::Synchronized });
        }
    }

    /// Advances the commit LSN as far as everything that may be on disk allows.
    pub(super) fn settle_commit(&mut self) {
        // What a principal with an older disk writes is not final: the mirror has something else in its place.
        if !self.office_is_saved() || self.d.rolled_back.is_some() {
            return;
        }
        let awaited = self.peers.iter().filter(|peer| peer.awaited.is_some()).map(|p| p.hardened);
        // Who is marked in the wanted state must be waited for from now on, who is marked in the saved one
        // still: the union, so that neither direction of the change has a gap.
        let marked = self
            .hold
            .possible()
            .chain([&self.d])
            .filter(|durable| durable.role == Role::Principal)
            .flat_map(|durable| &durable.partners)
            .filter(|member| member.synchronized)
            .map(|member| self.peer(member.address.server).map_or(Lsn::ZERO, |peer| peer.hardened));
        // The same goes for the safety: it is full as long as the disk may still say so.
        let full = self.hold.possible().chain([&self.d]).any(|d| d.safety == Safety::Full);
        let safety = if full { Safety::Full } else { Safety::Off };
        let commit = quorum::commit_lsn(safety, self.hardened, awaited.chain(marked));
        if commit <= self.commit {
            return;
        }
        self.commit = commit;
        self.emit(Action::SetCommitLsn(commit));
        for index in 0..self.peers.len() {
            let peer = &self.peers[index];
            if let (Some(link), true) = (peer.link, peer.streaming) {
                self.send(link, Message::Commit { lsn: commit });
            }
        }
    }

    // Asking partners that do not come by themselves.

    pub(super) fn inquiry_is_wanted(&self, peer: &Peer) -> bool {
        let asking = self.is_dialling(Purpose::Inquire(peer.server))
            || self.links.iter().any(|link| link.used == Use::Inquiring(peer.server));
        self.d.role == Role::Principal && peer.link.is_none() && !asking
    }

    pub(super) fn inquiry_failed(&mut self, server: ServerId, error: &str) {
        let Some(retry) = self.peer(server).map(|peer| peer.retry) else { return };
        let retry = self.retry_later(retry);
        let refusal = Refusal::new(
            Code::PartnerLost,
            format!("The partner cannot be reached: {error}."),
            "Start it, or look at the network between the two servers.",
        );
        if let Some(peer) = self.peer_mut(server) {
            peer.retry = retry;
            peer.last_error.get_or_insert(refusal);
        }
    }

    pub(super) fn inquired(&mut self, id: LinkId, server: ServerId, envelope: Envelope) {
        match envelope.message {
            Message::Answer(about) if about.server != server => {
                self.inquiry_failed(server, "another server answers at its address");
            }
            Message::Answer(about) if about.session == self.d.session => {
                if about.epoch > self.d.epoch {
                    self.deposed(about.epoch, server, Some(&about));
                } else if self.rolled_back_to(&about).is_some() {
                    self.note_rolled_back(server, about.epoch, Some(&about));
                }
                if self.d.role != Role::Principal {
                    return;
                }
                self.resolve_doubt(&about);
                self.inquiry_answered(server);
            }
            Message::Answer(_) => {
                self.inquiry_failed(server, "it does not belong to this session any more");
            }
            Message::Refused(refused) if refused.refusal.code == Code::MirroringEnded => {
                if refused.session == self.d.session {
                    let text = format!("partner {server} ended mirroring while it was away");
                    self.log(super::Level::Warn, text);
                    self.remove_partner(server);
                }
            }
            Message::Refused(refused) => {
                self.inquiry_failed(server, &refused.refusal.what);
                if let Some(peer) = self.peer_mut(server) {
                    peer.last_error = Some(refused.refusal);
                }
            }
            other => self.inquiry_failed(server, &format!("it answers with {}", other.name())),
        }
        if self.link_use(id).is_some() {
            self.close(id);
        }
    }

    fn inquiry_answered(&mut self, server: ServerId) {
        let next = self.now.ticks.after(self.config.reconnect_most);
        let until = self.now.ticks.after(self.config.partner_timeout);
        let heard = Some(self.now.unix);
        if let Some(peer) = self.peer_mut(server) {
            let first = !std::mem::replace(&mut peer.answered, true);
            // It lives and will join; commits that wait for it wait a while longer, once.
            if first && peer.grace.is_some() {
                peer.grace = Some(until);
            }
            (peer.retry, peer.heard) = (Retry { next, attempts: 0 }, heard);
        }
    }

    pub(super) fn peers_tick(&mut self) {
        let now = self.now.ticks;
        for index in 0..self.peers.len() {
            let peer = &mut self.peers[index];
            if peer.awaited.is_some_and(|(_, until)| now >= until) {
                // Too slow: commits go on without it, and it is tried again a little later.
                peer.awaited = None;
                peer.await_again = now.after(AWAIT_MOST);
            }
            if peer.grace.is_some_and(|until| now >= until) {
                let server = peer.server;
                self.stop_waiting(server, false);
            }
        }
    }

    /// Ends the inquiry at start-up once everybody answered or time is up.
    pub(super) fn settle_inquiry(&mut self) {
        let Some(until) = self.inquiry_until else { return };
        if self.peers.iter().all(|peer| peer.answered) || self.now.ticks >= until {
            self.inquiry_until = None;
        }
    }
}
