//! Catching up by pages: the mirror keeps its old state, readable and promotable, until a whole copy with its journal is
//! durable beside it. Then, in one step that a crash cannot undo, the copy takes the place of the old state.
//!
//! ```text
//!  principal:  [estimate] ─▶ PreparePages ─PagesBegin─▶        ◀─PagesReady─ SendPages ─PagesDone─▶  ... Ack: stream
//!  mirror:     AwaitingPages ─PagesBegin─▶ Spooling ─PagesDone─▶ FinishPages ─▶ PagesSpooled
//!                     │                        │                      [persist: spooled] ─▶ Switching ─▶ Following
//!                     └── lost: as it was, the spool is kept ──┘          └─ lost, crash: goes on by itself
//! ```
//!
//! It must never touch what the mirror has before the spool is whole, nor give up the switch once it is.

use super::{
    Action, CatchUp, Core, Level, LinkId,
    links::{Use, unexpected},
    mirror::Stage,
};
use crate::{
    epoch::Epoch,
    ids::{Lsn, ServerId},
    message::{About, Message, Plan, SeedProgress},
};

/// A copy on its way to a mirror.
#[derive(Clone, Copy, Debug)]
pub(super) struct PagesSending {
    pub(super) since: Option<Lsn>,
    mark: Option<Lsn>,
    sending: bool,
}

impl PagesSending {
    pub(super) fn new(since: Option<Lsn>) -> PagesSending {
        PagesSending { since, mark: None, sending: false }
    }
}

impl Core {
    // The principal's side.

    /// Two ways lead to a level mirror: the driver is asked what each costs. One answer is due per link.
    pub(super) fn estimate(&mut self, id: LinkId, about: &About, after: Lsn, base: Lsn) {
        self.estimates.retain(|(link, _)| *link != id);
        self.estimates.push((id, Box::new(about.clone())));
        self.emit(Action::EstimateCatchUp { link: id, after, base });
    }

    pub(super) fn estimated(&mut self, id: LinkId, journal_bytes: u64, page_bytes: u64) {
        let Some(index) = self.estimates.iter().position(|(link, _)| *link == id) else { return };
        let (_, about) = self.estimates.swap_remove(index);
        if self.link_use(id).is_none() {
            return;
        }
        // The mirror waits for its Welcome; what changed meanwhile is on this side.
        self.join(id, &about, Some((journal_bytes, page_bytes)));
    }

    /// The cheaper of two ways; the journal if they cost the same, because it leaves the mirror's files alone.
    pub(super) fn cheaper(&mut self, after: Lsn, base: Lsn, costs: (u64, u64)) -> CatchUp {
        let (journal, pages) = costs;
        let text = format!("catching up costs {journal} bytes by journal, {pages} by pages");
        self.log(Level::Info, text);
        if pages < journal {
            CatchUp::Pages { common: after, since: Some(base) }
        } else {
            CatchUp::Journal { after }
        }
    }

    pub(super) fn pages_prepared(&mut self, id: LinkId, mark: Lsn) {
        let Some(Use::Downstream(server)) = self.link_use(id) else { return };
        let Some(sending) = self.peer_mut(server).and_then(|peer| peer.pages.as_mut()) else {
            return;
        };
        sending.mark = Some(mark);
        self.send(id, Message::PagesBegin { mark });
    }

    /// The mirror is ready to spool.
    pub(super) fn pages_ready(&mut self, id: LinkId, server: ServerId) {
        let sending = self.peer_mut(server).and_then(|peer| peer.pages.as_mut());
        let Some(&mut PagesSending { since, mark: Some(mark), sending: ref mut begun @ false }) =
            sending
        else {
            return self.refuse(id, unexpected(&Message::PagesReady));
        };
        *begun = true;
        self.emit(Action::SendPages { link: id, mark, since });
    }

    pub(super) fn pages_sent(&mut self, id: LinkId, end: Lsn) {
        let Some(Use::Downstream(server)) = self.link_use(id) else { return };
        let Some(peer) = self.peer_mut(server).filter(|peer| peer.pages.is_some()) else { return };
        // The mirror's first Ack says that it has switched; the stream begins where the copy's journal ends.
        peer.stream_from = Some(end);
        self.send(id, Message::PagesDone { end });
    }

    // The mirror's side.

    pub(super) fn catches_up_by_comparing(&self) -> bool {
        let plan = self.upstream.welcome.as_ref().map(|welcome| &welcome.plan);
        plan == Some(&Plan::Pages { since: None })
    }

    pub(super) fn pages_begun(&mut self, id: LinkId, mark: Lsn) {
        let plan = self.upstream.welcome.as_ref().map(|welcome| &welcome.plan);
        let (Stage::AwaitingPages, Some(&Plan::Pages { since })) = (self.upstream.stage, plan)
        else {
            return self.refuse(id, unexpected(&Message::PagesBegin { mark }));
        };
        self.upstream.stage = Stage::Spooling(mark);
        self.emit(Action::ReceivePages { link: id, mark, since });
        self.send(id, Message::PagesReady);
    }

    pub(super) fn pages_done(&mut self, id: LinkId, end: Lsn) {
        match self.upstream.stage {
            Stage::Spooling(mark) if end >= mark && self.upstream.pages_end.is_none() => {
                self.upstream.pages_end = Some(end);
                self.emit(Action::FinishPages(id, end));
            }
            _ => self.refuse(id, unexpected(&Message::PagesDone { end })),
        }
    }

    /// The point of no return: once this is on disk, the spool is what this mirror has.
    pub(super) fn pages_spooled(&mut self, id: LinkId, mark: Lsn, end: Lsn) {
        let awaited = self.upstream.link == Some(id)
            && self.upstream.stage == Stage::Spooling(mark)
            && self.upstream.pages_end == Some(end);
        if !awaited {
            // The connection was lost meanwhile; the next copy is compared with the spool.
            return;
        }
        let welcome =
            self.upstream.welcome.take().expect("a mirror that spools pages was welcomed");
        self.adopt(&welcome);
        // What an earlier principal's word was about goes; the end of the copy is final.
        self.commit = end.max(welcome.commit);
        self.d.seeding = Some(Box::new(SeedProgress::spooled(mark, end)));
        self.d.was_synchronized = false;
        self.has_spool = false;
        self.persist();
        self.upstream.stage = Stage::Switching;
        self.log(Level::Info, format!("the copy is here, with its journal up to {end}: switching"));
        self.journal_busy += 1;
        self.emit(Action::AdoptPages { mark, end });
    }

    /// Goes on with a switch that a crash interrupted, once the engine is a mirror's: what it says of the position that it
    /// shows is about what was there before, and would be taken for the copy's.
    pub(super) fn resume_switch(&mut self) {
        let due = self.is_switching() && self.journal_busy == 0;
        let Some(progress) = self.d.seeding.as_deref().filter(|_| due) else { return };
        let (mark, end) = (progress.mark, progress.consistent_at.unwrap_or(progress.mark));
        self.commit = end;
        self.journal_busy += 1;
        self.log(Level::Info, "going on with the switch to the copy that was spooled");
        self.emit(Action::AdoptPages { mark, end });
    }

    /// Whether a spooled copy is taking the place of what was here. Its journal is not in place yet.
    pub(super) fn is_switching(&self) -> bool {
        self.d.seeding.as_ref().is_some_and(|progress| progress.spooled && !progress.journal_reset)
    }

    /// Whether databases that show everything up to `shown` show nothing that may be taken back. What still stands where
    /// a copy is taking its place may be: the commit LSN is about the copy by then.
    #[must_use]
    pub fn shows_only_final(&self, shown: Lsn) -> bool {
        !self.is_switching() && shown <= self.commit
    }

    pub(super) fn pages_adopted(&mut self, mark: Lsn, end: Lsn) {
        if !self.is_switching() {
            return;
        }
        self.journal_busy = self.journal_busy.saturating_sub(1);
        self.journal_after = mark;
        (self.end, self.hardened) = (end, end);
        (self.applied, self.base) = (mark, mark);
        // One below, so that the engine is told to redo even where nothing follows the mark.
        self.apply_target = mark.before();
        if let Some(progress) = &mut self.d.seeding {
            progress.journal_reset = true;
        }
        self.d.left_behind = Epoch::default();
        self.forget_differs();
        self.persist();
        self.log(Level::Info, format!("the copy is in place; redoing from {mark} to {end}"));
        if let (Stage::Switching, Some(id)) = (self.upstream.stage, self.upstream.link) {
            self.upstream.stage = Stage::Following;
            self.upstream_is_of_use();
            let (hardened, applied) = (self.hardened, self.applied);
            self.send(id, Message::Ack { hardened, applied });
        }
    }

    /// The spool is damaged: nothing whole is left here.
    pub(super) fn adopt_failed(&mut self, why: &str) {
        if !self.is_switching() {
            return;
        }
        self.journal_busy = self.journal_busy.saturating_sub(1);
        (self.d.seeding, self.d.empty) = (None, true);
        self.persist();
        let text = format!("the spooled copy cannot take its place: {why}; a seed must come");
        self.log(Level::Error, text.clone());
        if let Some(id) = self.upstream.link {
            self.drop_link(id, &text);
        }
    }
}
