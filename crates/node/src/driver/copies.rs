//! Performing what the core asks about copies. Whatever takes time runs in [`crate::copy`] and answers as an event.

use counterpart_core::{
    DatabaseId, Lsn,
    session::{Action, Event, LinkId},
};
use counterpart_journal::crash_point;
use tokio::task::spawn_blocking;

use super::Driver;
use crate::{boot::given_up, copy, link::Link};

impl Driver {
    pub(super) fn perform_copy(&mut self, action: Action) {
        match action {
            Action::EstimateCatchUp { link, after, base } => {
                copy::estimate::start(&self.shared, link, after, base);
            }
            Action::PreparePages(link) => copy::send::prepare(&self.shared, link),
            // Since when pages are wanted, and of which, the receiver says for each database.
            Action::SendPages { link, mark, since: _ } => {
                if let Some(partner) = self.links.get(&link) {
                    let answers = copy::send::start(&self.shared, link, partner.seeds(), mark);
                    partner.deliver_copies_to(answers);
                }
            }
            Action::ReceivePages { link, mark, since } => {
                if let Some(partner) = self.links.get(&link) {
                    let out = partner.seeds();
                    let sink = copy::receive::start(&self.shared, link, out, mark, since);
                    partner.deliver_copies_to(sink);
                }
            }
            Action::FinishPages(link, end) => {
                if let Some(partner) = self.links.get(&link) {
                    Link::finish_copy(partner, &self.shared, end);
                }
            }
            Action::AdoptPages { mark, end } => {
                // What could not be shown is gone with this; what takes its place is final.
                (self.adopting, self.seed_end, self.unfinal) = (true, None, None);
                copy::adopt::start(&self.shared, mark, end, self.replayer.take());
            }
            Action::SendHeal(link, database) => self.send_heal(link, database),
            Action::ReceiveHeal(link, _) => {
                if let Some(partner) = self.links.get(&link)
                    && self.healing.insert(link)
                {
                    let out = partner.seeds();
                    partner.deliver_copies_to(copy::heal::start_receiving(&self.shared, link, out));
                }
            }
            Action::FinishHeal { database, at } => copy::heal::finish(&self.shared, database, at),
            other => unreachable!("{other:?} has nothing to do with copies"),
        }
    }

    fn send_heal(&mut self, link: LinkId, database: DatabaseId) {
        let Some(partner) = self.links.get(&link) else { return };
        let wanted = self.heals.entry(link).or_insert_with(|| {
            let (wanted, sink) = copy::heal::start_sending(&self.shared, link, partner.seeds());
            partner.deliver_copies_to(sink);
            wanted
        });
        if wanted.send(database).is_err() {
            let why = "the principal sends no more on this connection".to_owned();
            self.shared.inputs.event(Event::HealNotSent { link, database, why });
        }
    }

    /// What the driver itself makes of an event about copies, before the core hears of it.
    pub(super) fn note_copy(&mut self, event: &Event) {
        match event {
            Event::PagesPrepared { link, mark } => self.keep_journal_for(*link, *mark),
            Event::PagesAdopted { end, .. } => {
                self.adopting = false;
                self.shared.hardened.send_replace(*end);
            }
            Event::AdoptFailed(_) => self.adopting = false,
            Event::Persisted(_) if self.spool_served => self.drop_spool(),
            _ => {}
        }
    }

    /// A copy came that is not adopted, because its connection is gone: the next one is compared anew.
    pub(super) fn note_spooled(&self, link: LinkId) {
        if !self.adopting {
            self.shared.still.end_of(link);
        }
    }

    fn keep_journal_for(&mut self, link: LinkId, mark: Lsn) {
        self.seed_marks.insert(link, mark);
        self.retain();
    }

    /// Deletes the spool once the control file says that it is not needed any more.
    fn drop_spool(&mut self) {
        if self.shared.control.read().session.seeding.is_none() {
            crash_point("adopt.before_cleaning");
            self.spool_served = false;
            let shared = std::sync::Arc::clone(&self.shared);
            spawn_blocking(move || {
                copy::adopt::discard(&shared);
                given_up::discard(&shared.settings.data);
            });
        }
    }
}
