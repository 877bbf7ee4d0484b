//! Performing the core's actions, in their order. Whatever takes time is planned and answers as an input.

use counterpart_core::{
    Lsn,
    message::{Code, Role},
    session::{Action, Admission, Alarm, DialId, Durable, Event, LinkId, Ticket},
};

use super::{Around, Change, Door, Input, Job, Process, boot::journal_identity};
use crate::agenda::What;

impl Process {
    pub(super) fn perform(&mut self, around: &mut Around, actions: Vec<Action>) {
        for action in actions {
            if !matches!(action, Action::Send(..) | Action::SetCommitLsn(_) | Action::ApplyUpTo(_))
            {
                around.trace.line(around.agenda.now(), || {
                    let text = format!("{action:?}");
                    let short: String = text.chars().take(300).collect();
                    format!("{} {short}", self.name())
                });
            }
            self.perform_one(around, action);
        }
    }

    fn perform_one(&mut self, around: &mut Around, action: Action) {
        match action {
            Action::Persist(ticket, durable) => self.persist(around, ticket, durable),
            Action::Dial(dial, address) => self.dial(around, dial, &address),
            Action::Send(link, envelope) => self.send_message(around, link, envelope),
            Action::CloseLink(link) => self.drop_link(around, link),
            Action::StreamFrom(link, after) => self.stream_from(around, link, after),
            Action::StopStreaming(link) => self.stop_streaming(around, link),
            Action::PrepareSeed(link, resume) => {
                let span = around.dice.around(500);
                self.begin_preparing(around, link, resume, span);
            }
            Action::SendSeed(link, progress) => self.begin_seeding(around, link, *progress),
            Action::ReceiveSeed(link, progress) => self.begin_receiving(around, link, *progress),
            Action::FinishSeed(link, consistent_at) => {
                self.seed_end = Some(consistent_at);
                self.finish_receiving(around, link, consistent_at);
            }
            Action::Append(link) => self.append(around, link),
            Action::TruncateJournal(lsn) => {
                let span = self.sync_span(around);
                self.soon(around, span, Job::Truncate(lsn));
            }
            Action::ResetJournal(lsn) => {
                let span = self.sync_span(around);
                self.soon(around, span, Job::Reset(lsn));
            }
            Action::SetCommitLsn(lsn) => self.set_commit(around, lsn),
            Action::ApplyUpTo(lsn) => self.apply_up_to(around, lsn),
            Action::BecomePrincipal(epoch) => self.act(around, epoch, Role::Principal, false),
            Action::BecomeStandalone { epoch, discard } => {
                self.act(around, epoch, Role::Standalone, discard);
            }
            Action::BecomeMirror => self.change(around, Change::StepDown(None)),
            Action::SetAdmission(admission) => self.set_admission(&admission),
            Action::Drain => self.drain(around),
            Action::Alarm(alarm) => self.alarm(around, &alarm),
            Action::Log(..) => {}
            Action::Reply(id, outcome) => {
                if self.promoting == Some(id) {
                    self.promoting = None;
                    around.truth.promoting[self.me] &= outcome.is_ok();
                }
                around.trace.line(around.agenda.now(), || {
                    format!("{} answers command {}: {outcome:?}", self.name(), id.0)
                });
            }
            other => self.perform_pages(around, other),
        }
    }

    /// Catching up by pages, orphans, and what is not modelled.
    fn perform_pages(&mut self, around: &mut Around, action: Action) {
        let event = match action {
            Action::EstimateCatchUp { link, after, base } => {
                return self.soon(around, 500, Job::Estimate(link, after, base));
            }
            Action::PreparePages(link) => return self.prepare_pages(around, link),
            Action::SendPages { link, mark, .. } => return self.begin_copying(around, link, mark),
            Action::ReceivePages { link, mark, since } => {
                return self.begin_spooling(around, link, mark, since);
            }
            Action::FinishPages(link, end) => return self.finish_spooling(around, link, end),
            Action::AdoptPages { mark, end } => {
                self.unfinal = None;
                let span = self.sync_span(around);
                return self.soon(around, span, Job::Adopt(mark, end));
            }
            Action::SaveOrphans { common, end } => {
                let span = self.sync_span(around);
                return self.soon(around, span, Job::SaveOrphans(common, end));
            }
            Action::ProvidePage { link, database, page, hash } => {
                Event::PageProvided { link, database, page, hash, bytes: None }
            }
            Action::ProvideRecords { link, first, last } => {
                Event::RecordsProvided { link, first, last, bytes: None }
            }
            Action::SendHeal(link, database) => {
                Event::HealNotSent { link, database, why: "not modelled".to_owned() }
            }
            _ => return,
        };
        self.event(around, event);
    }

    fn persist(&mut self, around: &mut Around, ticket: Ticket, durable: Box<Durable>) {
        self.saver.queue.push_back((ticket, durable));
        if !std::mem::replace(&mut self.saver.busy, true) {
            let span = self.sync_span(around);
            self.soon(around, span, Job::Save);
        }
    }

    /// The thread of the control file writes the newest of all that waits.
    pub(super) fn save(&mut self, around: &mut Around) {
        self.saver.busy = false;
        let Some((ticket, durable)) = self.saver.queue.drain(..).next_back() else { return };
        match self.control.update(|control| control.session = (*durable).clone()) {
            Ok(()) => {
                if durable.role == Role::Principal {
                    around.truth.holds_office(self.me, durable.epoch);
                }
                self.event(around, Event::Persisted(ticket));
            }
            Err(error) => self.poison(around, &error.to_string()),
        }
    }

    fn dial(&mut self, around: &mut Around, dial: DialId, address: &str) {
        let to = (0..around.clocks.len()).find(|&to| address == super::boot::address(to));
        let Some(to) = to else {
            return self.input(around, Input::Dialed(dial, Err("unknown address".into())));
        };
        let from = (self.me, self.life);
        let conn = around.net.dial(from, to, dial, &mut around.dice);
        let span = around.dice.around(around.net.way * 2);
        around.agenda.after(span, What::Reach(conn));
    }

    fn append(&mut self, around: &mut Around, link: LinkId) {
        let records = self.arrived.take().expect("the core appends only while it handles records");
        match self.journal.append_records(records.clone()) {
            Ok(_) => {
                around.truth.took(self.me, &records);
                self.plan_pump(around);
                self.wake_senders(around);
            }
            Err(error) => match self.journal.poisoned() {
                Some(poison) => self.event(around, Event::JournalFailed(poison.to_string())),
                None => {
                    around.truth.wrong(|| format!("{}: {error}", self.name()));
                    self.event(around, Event::LinkDown(link, error.to_string()));
                }
            },
        }
    }

    pub(super) fn truncate_journal(&mut self, around: &mut Around, lsn: Lsn) {
        around.truth.cutting(self.me, lsn);
        let done = self.journal.cut_after(lsn);
        self.hear_of_progress(around);
        match done {
            Ok(()) => {
                around.truth.cut(self.me, lsn);
                self.event(around, Event::Truncated(lsn));
            }
            Err(error) => self.event(around, Event::JournalFailed(error.to_string())),
        }
    }

    pub(super) fn reset_journal(&mut self, around: &mut Around, lsn: Lsn) {
        let identity = journal_identity(self.control.read().session.server);
        around.truth.emptying(self.me, lsn);
        let done = self.journal.reset(lsn, identity);
        self.hear_of_progress(around);
        match done {
            Ok(()) => {
                let epoch = self.core.durable().history.epoch_at(lsn);
                let mark = epoch.and_then(|epoch| around.truth.named(epoch, lsn));
                around.truth.emptied(self.me, lsn, mark);
                self.event(around, Event::JournalReset(lsn));
            }
            Err(error) => self.event(around, Event::JournalFailed(error.to_string())),
        }
    }

    fn set_commit(&mut self, around: &mut Around, lsn: Lsn) {
        let facts = self.facts(&around.truth);
        around.truth.committed(self.me, lsn, &facts);
        self.journal.set_commit_lsn(lsn);
        self.advance(around, lsn);
    }

    fn set_admission(&mut self, admission: &Admission) {
        if *admission == Admission::Open {
            self.drains += 1;
        }
        self.door = match admission {
            Admission::Open => Door::Open,
            Admission::Hold => Door::Hold,
            Admission::Refuse { refusal, .. } => Door::Closed(refusal.code == Code::MirrorRequired),
        };
    }

    fn alarm(&mut self, around: &mut Around, alarm: &Alarm) {
        let subject = (alarm.kind, alarm.partner);
        let news =
            if alarm.raised { self.alarms.insert(subject) } else { self.alarms.remove(&subject) };
        around.truth.demand(news, || {
            format!("{}: the alarm {subject:?} is told although it did not change", self.name())
        });
    }
}
