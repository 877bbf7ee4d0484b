//! Databases of a mirror that differ from the principal's, and replay that stands still: told to the operator and to the
//! principal, which then does not hand over to this mirror; and the copies of single databases that heal them.
//!
//! Only the database that differs stops. It must never be forgotten while it differs: a mirror that joins tells again.

use std::collections::BTreeMap;

use super::{
    Action, AlarmKind, Core, Level, LinkId, Millis, links::unexpected, mirror::Stage, start::Retry,
};
use crate::{
    ids::{DatabaseId, DatabaseName, Lsn, ServerId},
    message::{Code, DataState, Message, Refusal, Role},
};

/// A database here that differs from what the records say.
#[derive(Clone, Debug)]
pub(super) struct Differing {
    name: DatabaseName,
    lsn: Lsn,
    /// It was asked for on the present connection; or it came and is being put in place.
    asked: bool,
    /// The copy came, and shows this position; it is put in place once that is final and in the journal here.
    came: Option<Lsn>,
    retry: Retry,
}

/// Databases that differ, by their number.
pub(super) type Differs = BTreeMap<DatabaseId, Differing>;

/// Databases that were healed, when, and after how many attempts that did not last.
pub(super) type Healed = BTreeMap<DatabaseId, (Millis, u32)>;

impl Core {
    // The mirror's side.

    pub(super) fn database_differs(
        &mut self,
        database: DatabaseId,
        name: DatabaseName,
        lsn: Lsn,
        (expected, found): (u64, u64),
    ) {
        let text = format!(
            "database {name} differs at {lsn}: its checksum is {found:016x}, the record says {expected:016x}"
        );
        self.log(Level::Error, text.clone());
        self.alarm(AlarmKind::Differs, None, true, text);
        let retry = match self.differs.get(&database) {
            Some(differing) => differing.retry,
            None => self.retry_of_heal(database),
        };
        let differing = Differing { name, lsn, asked: false, came: None, retry };
        self.differs.insert(database, differing);
        if let Some(id) = self.followed() {
            self.tell_differs(id);
        }
    }

    /// The link to the principal that is followed, who hears at once what changes here; any other does with its Hello.
    fn followed(&self) -> Option<LinkId> {
        self.upstream.link.filter(|_| self.upstream.stage == Stage::Following)
    }

    /// At once, unless the last heal has not lasted: then a little later each time, so that a database that nothing mends does
    /// not take the partners' time for good.
    fn retry_of_heal(&mut self, database: DatabaseId) -> Retry {
        let (now, lasting) = (self.now.ticks, self.config.reconnect_most);
        self.healed.retain(|_, (at, _)| now.since(*at) < lasting);
        match self.healed.get(&database) {
            Some(&(_, attempts)) => self.retry_later(Retry { next: now, attempts }),
            None => Retry { next: now, attempts: 0 },
        }
    }

    /// Tells the principal which databases differ and whether replay stands still; all is well if nothing is said after
    /// a Hello.
    pub(super) fn tell_differs(&mut self, id: LinkId) {
        if !self.differs.is_empty() {
            let databases = self.differs.keys().copied().collect();
            self.send(id, Message::Differs(databases));
        }
        if let Some(why) = self.replay_stopped.clone() {
            self.send(id, Message::ReplayStopped(why));
        }
    }

    /// Puts in place what came and may be shown; asks for what is due, where it can be asked for.
    pub(super) fn settle_heals(&mut self) {
        let shown = self.commit.min(self.hardened);
        let ready: Vec<(DatabaseId, Lsn)> = self
            .differs
            .iter_mut()
            .filter(|(_, differing)| differing.came.is_some_and(|at| at <= shown))
            .filter_map(|(&database, differing)| Some((database, differing.came.take()?)))
            .collect();
        for (database, at) in ready {
            self.emit(Action::FinishHeal { database, at });
        }
        let whole = self.data() == DataState::Consistent;
        let (Stage::Following, Some(id), true) = (self.upstream.stage, self.upstream.link, whole)
        else {
            return;
        };
        let now = self.now.ticks;
        let due: Vec<DatabaseId> = self
            .differs
            .iter_mut()
            .filter(|(_, differing)| !differing.asked && differing.retry.next <= now)
            .map(|(&database, differing)| {
                differing.asked = true;
                database
            })
            .collect();
        for database in due {
            self.emit(Action::ReceiveHeal(id, database));
            self.send(id, Message::HealWanted { database });
        }
    }

    /// What was asked for on a connection that is gone does not come any more.
    pub(super) fn ask_for_heals_anew(&mut self) {
        for differing in self.differs.values_mut() {
            (differing.asked, differing.came) = (false, None);
        }
    }

    /// When the next database is to be asked for again.
    pub(super) fn next_heal(&self) -> Option<Millis> {
        let following = self.upstream.stage == Stage::Following;
        let waiting = self.differs.values().filter(|differing| !differing.asked);
        waiting.map(|differing| differing.retry.next).min().filter(|_| following)
    }

    pub(super) fn heal_done(&mut self, id: LinkId, database: DatabaseId, at: Lsn) {
        match self.differs.get_mut(&database) {
            Some(differing) if differing.asked => differing.came = Some(at),
            // Healed otherwise meanwhile: it was dropped, or a new copy of all came.
            None => {}
            Some(_) => self.refuse(id, unexpected(&Message::HealDone { database, at })),
        }
    }

    pub(super) fn healed(&mut self, database: DatabaseId) {
        let Some(differing) = self.differs.remove(&database) else { return };
        self.healed.insert(database, (self.now.ticks, differing.retry.attempts));
        let text = format!("database {} is healed", differing.name);
        self.log(Level::Info, text.clone());
        if self.differs.is_empty() {
            self.alarm(AlarmKind::Differs, None, false, text);
        }
        if let Some(id) = self.followed() {
            let databases = self.differs.keys().copied().collect();
            self.send(id, Message::Differs(databases));
        }
    }

    pub(super) fn heal_failed(&mut self, database: DatabaseId, why: &str) {
        let Some(retry) = self.differs.get(&database).map(|differing| differing.retry) else {
            return;
        };
        let retry = self.retry_later(retry);
        let Some(differing) = self.differs.get_mut(&database) else { return };
        (differing.asked, differing.retry) = (false, retry);
        let text = format!("database {} could not be healed: {why}; trying again", differing.name);
        self.log(Level::Warn, text);
    }

    pub(super) fn replay_failed(&mut self, why: &str) {
        let text = format!("nothing is applied here any more: {why}");
        self.log(Level::Error, text.clone());
        self.alarm(AlarmKind::ReplayStopped, None, true, text);
        self.replay_stopped = Some(why.to_owned());
        if let Some(id) = self.followed() {
            self.tell_differs(id);
        }
    }

    pub(super) fn replay_goes_on(&mut self) {
        if self.replay_stopped.take().is_none() {
            return;
        }
        let text = "what is hardened here is applied again";
        self.log(Level::Info, text);
        self.alarm(AlarmKind::ReplayStopped, None, false, text);
        if let Some(id) = self.followed() {
            self.send(id, Message::ReplayStopped(String::new()));
        }
    }

    /// Everything here is replaced by a copy, or by nothing.
    pub(super) fn forget_differs(&mut self) {
        self.differs.clear();
        self.healed.clear();
        self.replay_stopped = None;
    }

    /// For the status: which databases differ, and since when.
    pub(super) fn differing(&self) -> Vec<(DatabaseName, Lsn)> {
        self.differs.values().map(|differing| (differing.name.clone(), differing.lsn)).collect()
    }

    /// Why this copy is not to be trusted, if it is not.
    pub(super) fn distrust(&self) -> Option<Refusal> {
        if let Some(why) = &self.replay_stopped {
            return Some(stopped(why));
        }
        let names: Vec<String> =
            self.differs.values().map(|d| format!("{} (since {})", d.name, d.lsn)).collect();
        (!names.is_empty()).then(|| differing(&names.join(", ")))
    }

    // The principal's side.

    pub(super) fn mirror_differs(&mut self, server: ServerId, databases: Vec<DatabaseId>) {
        let differs = !databases.is_empty();
        let Some(peer) = self.peer_mut(server) else { return };
        let text = if differs {
            let numbers: Vec<String> = databases.iter().map(ToString::to_string).collect();
            let text = format!("databases of partner {server} differ: {}", numbers.join(", "));
            peer.last_error = Some(differing(&numbers.join(", ")));
            text
        } else {
            peer.last_error = None;
            format!("all databases of partner {server} are healed")
        };
        peer.differs = databases;
        self.alarm(AlarmKind::Differs, Some(server), differs, text);
        self.distrusted_target(server);
    }

    pub(super) fn mirror_stopped(&mut self, server: ServerId, why: String) {
        let Some(peer) = self.peer_mut(server) else { return };
        let stands = !why.is_empty();
        peer.last_error = stands.then(|| stopped(&why));
        let text = if stands {
            format!("partner {server} applies nothing any more: {why}")
        } else {
            format!("partner {server} applies again")
        };
        peer.stopped = stands.then_some(why);
        self.alarm(AlarmKind::ReplayStopped, Some(server), stands, text);
        self.distrusted_target(server);
    }

    /// A failover towards a mirror that cannot be trusted is given up while that is possible.
    fn distrusted_target(&mut self, server: ServerId) {
        let unsent = self
            .failover
            .as_ref()
            .is_some_and(|f| f.target == server && f.step != super::failover::Step::Sent);
        if let (true, Some(refusal)) = (unsent, self.distrust_of(server)) {
            self.abort_failover(refusal);
        }
    }

    /// Why this partner's copy is not to be trusted, if it is not.
    pub(super) fn distrust_of(&self, server: ServerId) -> Option<Refusal> {
        let peer = self.peer(server)?;
        if let Some(why) = &peer.stopped {
            return Some(stopped(why));
        }
        let numbers: Vec<String> = peer.differs.iter().map(ToString::to_string).collect();
        (!numbers.is_empty()).then(|| differing(&numbers.join(", ")))
    }

    pub(super) fn heal_wanted(&mut self, id: LinkId, database: DatabaseId) {
        self.emit(Action::SendHeal(id, database));
    }

    pub(super) fn heal_sent(&mut self, id: LinkId, database: DatabaseId, at: Lsn) {
        if self.d.role == Role::Principal && self.link_use(id).is_some() {
            self.send(id, Message::HealDone { database, at });
        }
    }

    pub(super) fn heal_not_sent(&mut self, id: LinkId, database: DatabaseId, why: String) {
        if self.d.role == Role::Principal && self.link_use(id).is_some() {
            self.send(id, Message::HealFailed { database, why });
        }
    }
}

fn differing(names: &str) -> Refusal {
    Refusal::new(
        Code::Differs,
        format!("Databases of the mirror differ from the principal's: {names}."),
        "They are healed by themselves while the two are connected; the evidence is kept in the data directory.",
    )
}

fn stopped(why: &str) -> Refusal {
    Refusal::new(
        Code::ReplayStopped,
        format!("The mirror applies nothing any more: {why}."),
        "Mend its disk or make room there; it goes on by itself where room was all it lacked. Otherwise restart it, or seed \
         it again with `counterpart mirror start --replace`.",
    )
}
