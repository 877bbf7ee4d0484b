//! Divergence: events that only this server has. They are saved as orphans before anything of them is overwritten, by
//! itself or at the operator's word; and a principal that finds that it lacks what it once confirmed stops.
//!
//! ```text
//!  Refused DIVERGED ──automatic──▶ saving ──OrphansSaved──▶ [persist: saved] ──▶ Hello "orphans saved" ──▶ pages, compared
//!        │                          ▲  └──OrphansFailed──┐
//!        └──manual──▶ parked ──Rejoin┘ ◀─────────────────┘
//! ```

use super::{
    Action, AlarmKind, Core, Deposed, Level, LinkId, Offer, Parked, Rejoin, RolledBack, Upstream,
    catch_up, links::Use,
};
use crate::{
    epoch::{Epoch, EpochHistory},
    ids::{Lsn, ServerId},
    message::{About, Code, Refusal, Role},
};

impl Core {
    /// The principal lacks events that were served or applied here.
    pub(super) fn diverged(&mut self, id: LinkId, epoch: Epoch, common: Lsn) {
        let range = Parked { common, end: self.end };
        let (at, own) = (self.now.unix, self.told_history().current().unwrap_or_default());
        self.d.epoch = self.d.epoch.max(epoch);
        let fresh = Deposed { own, by: epoch, at, parked: None, saved: None };
        let deposed = self.d.deposed.get_or_insert(fresh);
        let saved = deposed.saved;
        // Saved already, and still refused: saving it once more would not change the answer.
        let refused = saved.is_some_and(|s| s.common <= range.common && s.end >= range.end);
        // Told to rejoin: another principal, with less in common, does not have the operator say so again.
        let told = saved.is_some_and(|saved| saved.end >= range.end);
        self.d.was_synchronized = false;
        self.d.last_contact = Some(at);
        self.close(id);
        self.upstream = Upstream::default();
        if (told || self.config.rejoin == Rejoin::Automatic) && !refused {
            self.save_orphans(range);
        } else {
            self.park(range);
        }
    }

    fn save_orphans(&mut self, range: Parked) {
        if let Some(deposed) = &mut self.d.deposed {
            deposed.parked = None;
        }
        self.saving = Some(range);
        self.persist();
        let Parked { common, end } = range;
        let events = end.since(common);
        let text = format!(
            "this server has {events} events after {common} that the principal does not have; saving them as orphans"
        );
        self.log(Level::Warn, text);
        self.emit(Action::SaveOrphans { common, end });
    }

    /// Untouched, until the operator decides.
    fn park(&mut self, range: Parked) {
        if let Some(deposed) = &mut self.d.deposed {
            deposed.parked = Some(range);
        }
        self.persist();
        let refusal = parked_refusal(range);
        self.log(Level::Error, refusal.to_string());
        self.last_error = Some(refusal);
    }

    pub(super) fn orphans_saved(&mut self, common: Lsn, end: Lsn) {
        let range = Parked { common, end };
        if self.saving != Some(range) {
            return;
        }
        self.saving = None;
        if let Some(deposed) = &mut self.d.deposed {
            deposed.saved = Some(range);
        }
        self.last_error = None;
        self.persist();
        let events = end.since(common);
        self.log(Level::Info, format!("{events} orphans are saved; joining the principal"));
        self.upstream.retry = super::start::Retry { next: self.now.ticks, attempts: 0 };
    }

    pub(super) fn orphans_failed(&mut self, why: &str) {
        let Some(range) = self.saving.take() else { return };
        self.log(Level::Error, format!("the orphans could not be saved: {why}"));
        self.park(range);
    }

    /// Whether everything above `common` that is here is saved.
    pub(super) fn orphans_cover(&self, common: Lsn) -> bool {
        let saved = self.d.deposed.as_ref().and_then(|deposed| deposed.saved);
        saved.is_some_and(|saved| saved.common <= common && saved.end >= self.end)
    }

    /// Whether this server may be told to rejoin: it parks.
    ///
    /// # Errors
    /// The reason why not.
    pub fn may_rejoin(&self) -> Result<(), Refusal> {
        let what = "This server does not park.";
        self.parked()
            .map(|_| ())
            .ok_or_else(|| Refusal::new(Code::WrongState, what, "Nothing need be done."))
    }

    /// The operator has a parked server save its orphans and rejoin.
    pub(super) fn rejoin(&mut self) -> Result<(), Refusal> {
        self.may_rejoin()?;
        if let Some(range) = self.parked() {
            self.last_error = None;
            self.save_orphans(range);
        }
        Ok(())
    }

    /// Whether this mirror joined with data of its own that is not in line with the principal yet.
    pub(super) fn joins_with_data(&self) -> bool {
        self.d.role == Role::Mirror && self.d.before_join.is_some() && !self.d.empty
    }

    /// The epochs of the journal here, whether they count in the session yet or not.
    pub(super) fn told_history(&self) -> &EpochHistory {
        match &self.d.before_join {
            Some(before) if self.joins_with_data() => &before.1,
            _ => &self.d.history,
        }
    }

    // A principal that must not take a mirror in.

    pub(super) fn refuse_to_replace(&mut self, id: LinkId, about: &About) {
        let what = "The sender's data and this principal's never had anything in common.";
        let remedy = "If its data may go: `counterpart mirror start --replace`.";
        let refusal = Refusal::new(Code::NoCommonOrigin, what, remedy);
        self.refuse_for_long(id, about, refusal, None);
    }

    /// The mirror has more of what this principal confirmed than this principal itself.
    pub(super) fn refuse_to_overwrite(&mut self, id: LinkId, about: &About) {
        self.note_rolled_back(about.server, about.epoch, Some(about));
        let refusal = self.rolled_back_refusal();
        self.refuse_for_long(id, about, refusal, None);
    }

    /// Refuses a mirror that will not come back by itself; commits that still wait for it would wait for ever.
    fn refuse_for_long(&mut self, id: LinkId, about: &About, why: Refusal, common: Option<Lsn>) {
        if let Some(peer) = self.peer_mut(about.server) {
            peer.last_error = Some(why.clone());
            peer.answered = true;
        }
        self.set_use(id, Use::Fresh);
        self.peer_gone(about.server, &why.what);
        let next = self.now.ticks.after(self.config.reconnect_most);
        if let Some(peer) = self.peer_mut(about.server) {
            // Asking it would only have it come again; it comes by itself, ever more seldom.
            peer.retry.next = next;
        }
        self.refuse_with(id, why, common);
        self.close(id);
    }

    pub(super) fn refuse_diverged(&mut self, id: LinkId, about: &About, common: Lsn) {
        let events = about.end.since(common);
        let refusal = Refusal::new(
            Code::Diverged,
            format!(
                "The mirror holds {events} events after {common} that this principal does not have."
            ),
            "It saves them as orphans and joins again; or it parks, until it is told to rejoin.",
        );
        self.refuse_for_long(id, about, refusal, Some(common));
    }

    // A principal with an older disk.

    pub(super) fn offer(&self) -> Offer<'_> {
        Offer {
            server: self.d.server,
            history: &self.d.history,
            own_starts: &self.d.own_starts,
            hardened: self.hardened,
            journal_after: self.journal_after,
        }
    }

    /// Up to where a mirror that describes itself so has the same events, if it has applied more of this principal's
    /// own than this principal has.
    pub(super) fn rolled_back_to(&self, about: &About) -> Option<Lsn> {
        let common = catch_up::common(self.offer(), about, about.end);
        let whole =
            about.role == Role::Mirror && about.data == crate::message::DataState::Consistent;
        (whole && catch_up::is_rolled_back(self.offer(), about, common)).then_some(common)
    }

    /// Writes end; nothing more is confirmed. The mirror, which has more, is left as it is.
    pub(super) fn note_rolled_back(
        &mut self,
        mirror: ServerId,
        epoch: Epoch,
        about: Option<&About>,
    ) {
        if self.d.rolled_back.is_some() {
            return;
        }
        let common =
            about.map_or(self.hardened, |about| catch_up::common(self.offer(), about, about.end));
        let end = about.map_or(common, |about| about.end);
        let found = RolledBack { mirror, epoch, common, end, at: self.now.unix };
        self.d.rolled_back = Some(found);
        if self.failover.as_ref().is_some_and(|f| f.step != super::failover::Step::Sent) {
            let refusal = self.rolled_back_refusal();
            self.abort_failover(refusal);
        }
        self.settle_admission();
        self.persist();
        self.raise_rolled_back();
    }

    pub(super) fn raise_rolled_back(&mut self) {
        let text = self.rolled_back_refusal().to_string();
        self.log(Level::Error, text.clone());
        self.alarm(AlarmKind::RolledBack, None, true, text);
    }

    pub(super) fn rolled_back_refusal(&self) -> Refusal {
        let (mirror, events) = self
            .d
            .rolled_back
            .map_or((ServerId(0), 0), |found| (found.mirror, found.end.since(found.common)));
        // Its disk was replaced too, or it has saved what it had more: there is nothing to promote it for.
        let follows = self.peer(mirror).is_some_and(|peer| peer.link.is_some());
        let (tells, remedy) = match events {
            _ if follows => (
                "told so, and follows again: it shows nothing now that is not here".to_owned(),
                "To serve on with what is here, promote this server by force.",
            ),
            0 => ("knows a later epoch of it".to_owned(), PROMOTE_THE_MIRROR),
            _ => (
                format!("has {events} events that it confirmed and does not have any more"),
                PROMOTE_THE_MIRROR,
            ),
        };
        Refusal::new(
            Code::RolledBack,
            format!("This principal's disk is an older image of itself: partner {mirror} {tells}."),
            remedy,
        )
    }
}

const PROMOTE_THE_MIRROR: &str = "Promote the mirror: this server then saves what only it has and follows. To serve on \
    with what is here instead, promote this one by force.";

fn parked_refusal(range: Parked) -> Refusal {
    let Parked { common, end } = range;
    Refusal::new(
        Code::Diverged,
        format!(
            "This server holds {} events after {common} that the principal does not have; it parks with its data \
             untouched.",
            end.since(common)
        ),
        "Run `counterpart mirror rejoin`: that saves them as orphans first. Or export what matters, then run `counterpart mirror start \
         --replace` to seed it anew.",
    )
}
