//! Links: who is on the other end, and who may say what. A message on a link that is not in this table is
//! ignored, so what an old connection still carries can do no harm.

use super::{Action, Core, DialId, Level, LinkId, Millis, PairState, start::Retry};
use crate::{
    ids::{Lsn, ServerId},
    message::{
        About, Code, Envelope, Hello, Intent, Message, PROTOCOL_MAX, PROTOCOL_MIN, PartnerAddress,
        Refusal, Refused, Role,
    },
};

/// What a link is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// A partner connected and has not said who it is; or it only asked.
    Fresh,
    /// This principal dialled to ask; the answer is due.
    Inquiring(ServerId),
    /// This mirror dialled and waits to be let in.
    Joining,
    /// This mirror follows the principal.
    Upstream(ServerId),
    /// A mirror follows this principal.
    Downstream(ServerId),
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) used: Use,
    pub(super) heard: Millis,
    /// Its partner was asked to say Hello again: what it says next it says now, not before the doubt began.
    pub(super) asked_again: bool,
    /// The newest protocol version that both sides speak, once its partner has said Hello.
    pub(super) protocol: u16,
}

impl Link {
    pub(super) fn is_joined(&self) -> bool {
        matches!(self.used, Use::Upstream(_) | Use::Downstream(_))
    }
}

/// Why a partner is dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// To ask this partner what it knows.
    Inquire(ServerId),
    /// To join the principal.
    Join,
}

impl Core {
    pub(super) fn link_use(&self, id: LinkId) -> Option<Use> {
        self.links.iter().find(|link| link.id == id).map(|link| link.used)
    }

    pub(super) fn set_use(&mut self, id: LinkId, used: Use) {
        for link in self.links.iter_mut().filter(|link| link.id == id) {
            link.used = used;
        }
    }

    fn add_link(&mut self, id: LinkId, used: Use) {
        assert!(self.link_use(id).is_none(), "the driver numbered two connections {id:?}");
        self.links.push(Link {
            id,
            used,
            heard: self.now.ticks,
            asked_again: false,
            protocol: PROTOCOL_MAX,
        });
    }

    /// Forgets a link at once and has it closed after what was said on it.
    pub(super) fn close(&mut self, id: LinkId) {
        self.links.retain(|link| link.id != id);
        self.estimates.retain(|&(link, _)| link != id);
        self.emit(Action::CloseLink(id));
    }

    pub(super) fn dial(&mut self, purpose: Purpose, address: String) {
        self.last_dial.0 += 1;
        self.dials.push((self.last_dial, purpose));
        self.emit(Action::Dial(self.last_dial, address));
    }

    pub(super) fn accepted(&mut self, id: LinkId) {
        self.add_link(id, Use::Fresh);
    }

    fn take_dial(&mut self, dial: DialId) -> Option<Purpose> {
        let index = self.dials.iter().position(|&(id, _)| id == dial)?;
        Some(self.dials.swap_remove(index).1)
    }

    pub(super) fn connected(&mut self, dial: DialId, id: LinkId) {
        match self.take_dial(dial) {
            Some(Purpose::Inquire(server)) if self.d.role == Role::Principal => {
                self.add_link(id, Use::Inquiring(server));
                self.say_hello(id, Intent::Inquire);
            }
            Some(Purpose::Join) if self.d.role == Role::Mirror && self.promotion.is_none() => {
                self.add_link(id, Use::Joining);
                self.greet(id);
            }
            // The role changed while the connection was made.
            _ => self.emit(Action::CloseLink(id)),
        }
    }

    pub(super) fn dial_failed(&mut self, dial: DialId, error: &str) {
        match self.take_dial(dial) {
            Some(Purpose::Inquire(server)) => self.inquiry_failed(server, error),
            Some(Purpose::Join) if self.d.role == Role::Mirror => self.join_failed(error),
            _ => {}
        }
    }

    pub(super) fn heard(&mut self, id: LinkId) {
        let now = self.now.ticks;
        for link in self.links.iter_mut().filter(|link| link.id == id) {
            link.heard = now;
        }
    }

    pub(super) fn link_down(&mut self, id: LinkId, why: &str) {
        let Some(used) = self.link_use(id) else { return };
        self.links.retain(|link| link.id != id);
        self.estimates.retain(|&(link, _)| link != id);
        match used {
            Use::Fresh => {}
            Use::Inquiring(server) => self.inquiry_failed(server, why),
            Use::Joining | Use::Upstream(_) => self.upstream_lost(why),
            Use::Downstream(server) => self.mirror_lost(server, why),
        }
    }

    /// Closes a link and handles that as if it had gone down by itself.
    pub(super) fn drop_link(&mut self, id: LinkId, why: &str) {
        if self.link_use(id).is_some() {
            self.emit(Action::CloseLink(id));
            self.link_down(id, why);
        }
    }

    /// Says no and closes.
    pub(super) fn refuse(&mut self, id: LinkId, refusal: Refusal) {
        let why = refusal.what.clone();
        self.refuse_with(id, refusal, None);
        self.drop_link(id, &why);
    }

    pub(super) fn refuse_with(&mut self, id: LinkId, refusal: Refusal, common: Option<Lsn>) {
        let principal = self.known_principal();
        let session = self.d.session;
        self.send(id, Message::Refused(Box::new(Refused { refusal, session, common, principal })));
    }

    /// The principal's address if this server is a mirror and believes to know it.
    pub(super) fn known_principal(&self) -> Option<PartnerAddress> {
        (self.d.role == Role::Mirror)
            .then(|| {
                self.upstream.hint.clone().or(self.d.partners.first().map(|m| m.address.clone()))
            })
            .flatten()
    }

    pub(super) fn received(&mut self, id: LinkId, envelope: Envelope) {
        self.heard(id);
        if let (Some(nonsense), Some(_)) = (envelope.nonsense(), self.link_use(id)) {
            let what = format!("The message {} holds {nonsense}.", envelope.message.name());
            let remedy = "Look at who answers at the partner's address.";
            return self.refuse(id, Refusal::new(Code::Nonsense, what, remedy));
        }
        match self.link_use(id) {
            None => {}
            Some(Use::Fresh) => match envelope.message {
                Message::Hello(hello) => self.hello(id, *hello),
                Message::Refused(_) | Message::Answer(_) => self.close(id),
                other => self.refuse(id, unexpected(&other)),
            },
            Some(Use::Inquiring(server)) => self.inquired(id, server, envelope),
            Some(Use::Joining) => self.joining(id, envelope),
            Some(Use::Upstream(server)) => self.principal_says(id, server, envelope),
            Some(Use::Downstream(server)) => self.mirror_says(id, server, envelope),
        }
    }

    /// The opening of every conversation, and its repetition when a mirror joins again on its link.
    pub(super) fn hello(&mut self, id: LinkId, hello: Hello) {
        let Hello { protocol_min, protocol_max, intent, about } = hello;
        if protocol_min > PROTOCOL_MAX || protocol_max < PROTOCOL_MIN {
            let what = format!(
                "The partner speaks protocol versions {protocol_min} to {protocol_max}, this server \
                 {PROTOCOL_MIN} to {PROTOCOL_MAX}."
            );
            let remedy = "Upgrade the older of the two servers.";
            return self.refuse(id, Refusal::new(Code::Incompatible, what, remedy));
        }
        for link in self.links.iter_mut().filter(|link| link.id == id) {
            link.protocol = protocol_max.min(PROTOCOL_MAX);
        }
        if about.server == self.d.server {
            let what = "A server cannot be its own partner.";
            let remedy = "Name the other server's address.";
            return self.refuse(id, Refusal::new(Code::PartnerIsSelf, what, remedy));
        }
        if intent == Intent::Probe {
            return self.answer(id);
        }
        if self.has_ended(&about) {
            return self.say_ended(id, &about);
        }
        if self.d.role == Role::Standalone || about.session != self.d.session {
            // Most often another server was put in the place of the one that is looked for; to give up what the asker
            // has is the last thing that it should be told to do.
            let what = "The server that was asked is not in the asker's session.";
            let remedy = "See that the right server runs at that address. If it is gone for good, promote the mirror.";
            return self.refuse(id, Refusal::new(Code::WrongSession, what, remedy));
        }
        // From here on the newest connection of a partner is the only one: what an older one still carries, a
        // handover above all, must not be acted upon after this conversation.
        self.supersede(about.server, id);
        if about.epoch > self.d.epoch {
            self.learn_higher(about.epoch, &about);
            // Deposed: all links were closed.
            if self.link_use(id).is_none() {
                return;
            }
        }
        match intent {
            Intent::Join => self.join(id, &about, None),
            Intent::Inquire | Intent::Probe => {
                self.answer(id);
                if about.role == Role::Principal && about.epoch >= self.d.epoch {
                    self.principal_seen(about.address());
                }
            }
        }
    }

    fn answer(&mut self, id: LinkId) {
        let about = self.about();
        self.send(id, Message::Answer(Box::new(about)));
    }

    fn has_ended(&self, about: &About) -> bool {
        about.session.0 != 0
            && self.d.ended.iter().any(|ended| {
                ended.session == about.session
                    && ended.partner.is_none_or(|partner| partner == about.server)
            })
    }

    fn say_ended(&mut self, id: LinkId, about: &About) {
        let refusal = Refusal::new(
            Code::MirroringEnded,
            "Mirroring between the two servers was ended.",
            "Start it again if that is wanted.",
        );
        let refused = Refused { refusal, session: about.session, common: None, principal: None };
        self.send(id, Message::Refused(Box::new(refused)));
        self.drop_link(id, "mirroring between the two servers was ended");
    }

    fn supersede(&mut self, server: ServerId, newest: LinkId) {
        let older = |core: &Core, link: &Link| {
            let waits =
                core.estimates.iter().any(|(l, about)| *l == link.id && about.server == server);
            let joined = link.used == Use::Upstream(server) || link.used == Use::Downstream(server);
            link.id != newest && (joined || waits)
        };
        while let Some(id) = self.links.iter().find(|link| older(self, link)).map(|link| link.id) {
            self.estimates.retain(|&(link, _)| link != id);
            self.drop_link(id, "the partner opened a newer connection");
        }
    }

    pub(super) fn say_hello(&mut self, id: LinkId, intent: Intent) {
        let about = self.about();
        let hello = Hello { protocol_min: PROTOCOL_MIN, protocol_max: PROTOCOL_MAX, intent, about };
        self.send(id, Message::Hello(Box::new(hello)));
    }

    /// This server as it describes itself.
    #[must_use]
    pub fn about(&self) -> About {
        About {
            server: self.d.server,
            session: self.d.session,
            role: self.d.role,
            epoch: self.d.epoch,
            history: self.told_history().clone(),
            end: self.end,
            hardened: self.hardened,
            applied: self.shown(),
            base: self.base,
            data: self.data(),
            deposed: self.d.deposed.is_some() || self.joins_with_data(),
            orphans_saved: self.d.deposed.as_ref().is_some_and(|d| d.saved.is_some()),
            has_spool: self.has_spool,
            partner_address: self.config.partner_address.clone(),
            client_url: self.config.client_url.clone(),
            build: self.config.build.clone(),
        }
    }

    pub(super) fn tick(&mut self) {
        let silent = |link: &&Link, now: Millis, most: Millis| now.since(link.heard) >= most;
        let most = self.config.partner_timeout;
        while let Some(id) =
            self.links.iter().find(|link| silent(link, self.now.ticks, most)).map(|link| link.id)
        {
            self.drop_link(id, "the partner was silent for longer than the partner timeout");
        }
        if self.now.ticks >= self.next_heartbeat {
            self.next_heartbeat = self.now.ticks.after(self.config.heartbeat());
            self.send_heartbeats();
        }
        self.peers_tick();
        self.failover_tick();
    }

    fn send_heartbeats(&mut self) {
        let reached = if self.d.role == Role::Mirror { self.applied } else { self.commit };
        let message = Message::Heartbeat { hardened: self.hardened, reached };
        for index in 0..self.links.len() {
            if self.links[index].is_joined() {
                self.send(self.links[index].id, message.clone());
            }
        }
    }

    /// Dials that are due.
    pub(super) fn settle_dials(&mut self) {
        for index in 0..self.peers.len() {
            let peer = &self.peers[index];
            if self.inquiry_is_wanted(peer) && self.now.ticks >= peer.retry.next {
                let server = peer.server;
                if let Some(address) =
                    self.member(server).map(|m| m.address.partner_address.clone())
                {
                    self.dial(Purpose::Inquire(server), address);
                }
            }
        }
        if self.dial_is_wanted() && self.now.ticks >= self.upstream.retry.next {
            self.dial_principal();
        }
    }

    /// Forgets what was asked of a partner that came by itself: a late answer would tell what was, not what is.
    pub(super) fn ask_no_more(&mut self, server: ServerId) {
        self.dials.retain(|&(_, purpose)| purpose != Purpose::Inquire(server));
        let asking = |link: &&Link| link.used == Use::Inquiring(server);
        while let Some(id) = self.links.iter().find(asking).map(|link| link.id) {
            self.close(id);
        }
    }

    /// Whether the sender of a Hello in a matter of doubt has been asked on this link to say it again; it is now.
    pub(super) fn asks_again(&mut self, id: LinkId) -> bool {
        let link = self.links.iter_mut().find(|link| link.id == id);
        let before = link.is_none_or(|link| std::mem::replace(&mut link.asked_again, true));
        if !before {
            self.send(id, Message::JoinAgain);
        }
        !before
    }

    pub(super) fn is_dialling(&self, purpose: Purpose) -> bool {
        self.dials.iter().any(|&(_, p)| p == purpose)
    }

    /// The next attempt after a failed one.
    pub(super) fn retry_later(&mut self, retry: Retry) -> Retry {
        let attempts = retry.attempts + 1;
        Retry { next: self.now.ticks.after(self.pause(attempts)), attempts }
    }

    /// Closes every link and forgets every dial: the role changes.
    pub(super) fn close_all(&mut self) {
        self.dials.clear();
        while let Some(id) = self.links.first().map(|link| link.id) {
            self.close(id);
        }
    }

    pub(super) fn log_state(
        &mut self,
        server: ServerId,
        state: PairState,
        sentence: &str,
        why: &str,
    ) {
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        let level = match state {
            PairState::Disconnected | PairState::Suspended => Level::Warn,
            _ => Level::Info,
        };
        self.log(level, format!("partner {server}: {state}: {sentence}{why}"));
    }
}

pub(super) fn unexpected(message: &Message) -> Refusal {
    Refusal::new(
        Code::Unexpected,
        format!("A message {} is not possible at this point.", message.name()),
        "The connection is opened anew; if this repeats, compare the servers' versions.",
    )
}

pub(super) fn stale(message: &Message) -> Refusal {
    Refusal::new(
        Code::StaleEpoch,
        format!("The message {} carries an epoch that has passed.", message.name()),
        "The sender must find the present principal.",
    )
}
