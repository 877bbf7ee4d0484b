//! Performing the core's actions, in their order. Whatever takes time is started here and answers as an event.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use counterpart_core::session::{
    Action, Admission, Alarm, DialId, Durable, Event, Level, LinkId, Ticket,
};
use tokio::{net::TcpStream, task::spawn_blocking, time::timeout};

use super::{Driver, Input, points::Change};
use crate::{admission::Door, link::Outgoing, refusal::Refusal, repair::Key, seed, shared::Shared};

impl Driver {
    /// Performs all actions; `actions` is empty afterwards.
    pub(super) fn perform(&mut self, actions: &mut Vec<Action>) {
        for action in actions.drain(..) {
            match action {
                Action::Persist(ticket, durable) => self.saver.save(ticket, durable),
                Action::Dial(dial, address) => self.dial(dial, address),
                Action::Send(link, envelope) => {
                    self.ask(link, Outgoing::Message(Box::new(envelope)))
                }
                Action::NoteClientKey(server, key) => {
                    self.shared.client_keys.note(server, key);
                }
                Action::CloseLink(link) => self.drop_link(link, "closed by this server"),
                Action::StreamFrom(link, after) => self.ask(link, Outgoing::StreamFrom(after)),
                Action::StopStreaming(link) => self.ask(link, Outgoing::StopStreaming),
                Action::PrepareSeed(..)
                | Action::SendSeed(..)
                | Action::ReceiveSeed(..)
                | Action::FinishSeed(..) => {
                    self.perform_seed(action);
                }
                Action::EstimateCatchUp { .. }
                | Action::PreparePages(_)
                | Action::SendPages { .. }
                | Action::ReceivePages { .. }
                | Action::FinishPages(..)
                | Action::AdoptPages { .. }
                | Action::SendHeal(..)
                | Action::ReceiveHeal(..)
                | Action::FinishHeal { .. } => self.perform_copy(action),
                Action::SaveOrphans { common, end } => self.save_orphans(common, end),
                Action::ProvidePage { link, database, page, hash } => {
                    self.provide_page(link, database, page, hash)
                }
                Action::TakePage { database, page, hash, bytes } => {
                    self.shared.repairs.answer(Key::Page(database, page, hash), bytes.as_ref());
                }
                Action::ProvideRecords { link, first, last } => {
                    self.provide_records(link, first, last)
                }
                Action::TakeRecords { first, last, bytes } => {
                    self.shared.repairs.answer(Key::Records(first, last), bytes.as_ref());
                }
                Action::Append(link) => self.append(link),
                Action::TruncateJournal(lsn) => self.truncate_journal(lsn),
                Action::ResetJournal(lsn) => self.reset_journal(lsn),
                Action::SetCommitLsn(lsn) => {
                    self.shared.journal.set_commit_lsn(lsn);
                    self.shared.confirmations.advance(lsn);
                }
                Action::ApplyUpTo(lsn) => self.apply_up_to(lsn),
                Action::BecomePrincipal(epoch) => self.become_acting(epoch, true, false),
                Action::BecomeStandalone { epoch, discard } => {
                    self.become_acting(epoch, false, discard)
                }
                Action::BecomeMirror => self.become_mirror(),
                Action::SetAdmission(admission) => self.set_admission(admission),
                Action::Drain => self.drain(),
                Action::Alarm(alarm) => self.alarm(&alarm),
                Action::Log(Level::Info, text) => tracing::info!("{text}"),
                Action::Log(Level::Warn, text) => tracing::warn!("{text}"),
                Action::Log(Level::Error, text) => tracing::error!("{text}"),
                Action::Reply(id, outcome) => {
                    if let Some(reply) = self.replies.remove(&id) {
                        // Whoever asked may have given up; what was done is done.
                        let _gone = reply.send(outcome);
                    }
                }
            }
        }
    }

    /// Logs and reports an alarm that is raised or cleared; one that is as it was is nobody's news.
    fn alarm(&mut self, alarm: &Alarm) {
        let (kind, subject) = (format!("{:?}", alarm.kind), (alarm.kind, alarm.partner));
        if alarm.raised && self.alarms.insert(subject) {
            tracing::warn!(alarm = kind, "{}", alarm.text);
        } else if !alarm.raised && self.alarms.remove(&subject) {
            tracing::info!(alarm = kind, "{}", alarm.text);
        } else {
            return;
        }
        self.shared.alarms.report_of_core(alarm);
    }

    fn ask(&self, link: LinkId, what: Outgoing) {
        if let Some(link) = self.links.get(&link) {
            link.ask(what);
        }
    }

    fn dial(&self, dial: DialId, address: String) {
        let (inputs, limit) = (self.shared.inputs.clone(), self.shared.settings.partner_timeout);
        self.shared.io.spawn(async move {
            let outcome = match timeout(limit, TcpStream::connect(&address)).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(format!("{address} can't be reached: {error}")),
                Err(_) => {
                    Err(format!("{address} does not answer within {} s", limit.as_secs_f32()))
                }
            };
            inputs.send(Input::Dialed(dial, outcome));
        });
    }

    /// Puts the records of the event at hand into the journal.
    fn append(&mut self, link: LinkId) {
        let records = self.arrived.take().expect("the core appends only while it handles records");
        if let Err(error) = self.shared.journal.append_records(records) {
            tracing::error!(%error, "records from the principal were not taken");
            match self.shared.journal.poisoned() {
                Some(poison) => self.shared.inputs.journal_failed(poison.to_string()),
                None => self.shared.inputs.link_down(link, error.to_string()),
            }
        }
    }

    fn truncate_journal(&self, lsn: counterpart_core::Lsn) {
        let shared = Arc::clone(&self.shared);
        spawn_blocking(move || match shared.journal.cut_after(lsn) {
            Ok(()) => shared.inputs.event(Event::Truncated(lsn)),
            Err(error) => shared.inputs.journal_failed(error.to_string()),
        });
    }

    fn reset_journal(&self, lsn: counterpart_core::Lsn) {
        let shared = Arc::clone(&self.shared);
        spawn_blocking(move || {
            let identity = crate::boot::journal_identity(shared.control.read().session.server);
            match shared.journal.reset(lsn, identity) {
                Ok(()) => shared.inputs.event(Event::JournalReset(lsn)),
                Err(error) => shared.inputs.journal_failed(error.to_string()),
            }
        });
    }

    fn perform_seed(&mut self, action: Action) {
        match action {
            Action::PrepareSeed(link, resumed) => seed::send::prepare(&self.shared, link, resumed),
            Action::SendSeed(link, progress) => {
                if let Some(seeds) = self.links.get(&link).map(crate::link::Link::seeds) {
                    seed::send::send(&self.shared, link, seeds, *progress);
                }
            }
            Action::ReceiveSeed(id, progress) => {
                self.seed_end = None;
                let replayer = self.replayer.take();
                let contents = self.announced.get(&id).cloned().unwrap_or_default();
                if let Some(link) = self.links.get(&id) {
                    link.deliver_seeds_to(seed::receive::start(
                        &self.shared,
                        id,
                        *progress,
                        contents,
                        replayer,
                    ));
                }
            }
            Action::FinishSeed(link, consistent_at) => {
                self.seed_end = Some(consistent_at);
                if let Some(link) = self.links.get(&link) {
                    link.finish_seed(&self.shared, consistent_at);
                }
            }
            other => unreachable!("{other:?} has nothing to do with seeds"),
        }
    }

    fn set_admission(&mut self, admission: Admission) {
        if admission == Admission::Open {
            self.end_drain();
        }
        if let Admission::Refuse { principal, .. } = &admission {
            self.shared
                .principal
                .lock()
                .expect("no holder of this lock panics")
                .clone_from(principal);
        }
        self.shared.admission.set(match admission {
            Admission::Open => Door::Open,
            Admission::Hold => Door::Hold,
            Admission::Refuse { refusal, principal } => {
                Door::Closed(client_refusal(&refusal, principal.as_deref()))
            }
        });
    }
}

/// A refusal as clients see it: it names the principal where one is known.
fn client_refusal(
    refusal: &counterpart_core::message::Refusal,
    principal: Option<&str>,
) -> Refusal {
    let remedy = refusal.remedy.trim_end_matches('.');
    let remedy = match principal {
        Some(url) if !remedy.contains(url) => format!("{remedy} (the principal is at {url})"),
        _ => remedy.to_owned(),
    };
    Refusal::new(refusal.code.as_str(), refusal.what.trim_end_matches('.'), remedy)
}

/// Writes the session's durable state, in order, on a thread of its own.
pub(super) struct Saver {
    queue: Option<mpsc::Sender<(Ticket, Box<Durable>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    pub(super) fn start(shared: &Arc<Shared>) -> Saver {
        let (queue, queued) = mpsc::channel::<(Ticket, Box<Durable>)>();
        let shared = Arc::clone(shared);
        let body = move || {
            while let Ok(mut newest) = queued.recv() {
                // A later state makes an earlier one superfluous, and its ticket answers both.
                while let Ok(later) = queued.try_recv() {
                    newest = later;
                }
                let (ticket, durable) = newest;
                let change = Change::between(&shared.control.read().session, &durable);
                change.is_due();
                match shared.control.update(|control| control.session = *durable) {
                    Ok(()) => {
                        change.is_durable();
                        shared.inputs.event(Event::Persisted(ticket));
                    }
                    Err(error) => {
                        shared.poison(&error.to_string());
                        return;
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(body);
        Saver { queue: Some(queue), thread: Some(thread.expect("the system gives a thread")) }
    }

    fn save(&self, ticket: Ticket, durable: Box<Durable>) {
        if self.queue.as_ref().is_some_and(|queue| queue.send((ticket, durable)).is_err()) {
            tracing::error!("the control file is not written any more");
        }
    }

    /// Waits until everything is written.
    pub(super) async fn finish(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let joined = spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("writing the control file ended in a panic");
            }
        }
    }
}
