//! What a transcript shows: one line per action, in the project's words, without what repeats all the time
//! (heartbeats, acknowledgements that tell nothing new).

use std::fmt::Write as _;

use counterpart_core::{
    Lsn,
    message::{Message, Plan, Role},
    session::{Action, Admission, Durable},
};

use super::World;

impl World {
    pub fn note(&mut self, index: usize, line: &str) {
        if self.trace {
            eprintln!("{:>7}  {}  {line}", self.now.0, self.nodes[index].name);
        }
        if !self.quiet {
            writeln!(self.log, "  {}  {line}", self.nodes[index].name).unwrap();
        }
    }

    fn peer_name(&self, link: counterpart_core::session::LinkId) -> &str {
        let end = usize::from(link.0.is_multiple_of(2));
        self.conns.get(&(link.0 / 2)).map_or("?", |conn| &self.nodes[conn.ends[end]].name)
    }

    pub(super) fn show(&mut self, index: usize, action: &Action) {
        if self.quiet && !self.trace {
            return;
        }
        let line = match action {
            Action::Persist(_, durable) => format!("persist {}", self.durable(durable)),
            Action::Send(_, envelope) if matches!(envelope.message, Message::Heartbeat { .. }) => {
                return;
            }
            Action::Send(link, envelope) => {
                format!("to {}: {}", self.peer_name(*link), self.message(&envelope.message))
            }
            Action::Dial(_, address) => format!("dial {address}"),
            Action::CloseLink(link) => format!("close the link to {}", self.peer_name(*link)),
            Action::StreamFrom(link, after) => {
                format!("stream to {} after {after}", self.peer_name(*link))
            }
            Action::StopStreaming(link) => format!("stop streaming to {}", self.peer_name(*link)),
            Action::PrepareSeed(_, resume) if resume.is_some() => "prepare to resume a seed".into(),
            Action::PrepareSeed(..) => "prepare a seed".into(),
            Action::SendSeed(link, _) => format!("send pages to {}", self.peer_name(*link)),
            Action::ReceiveSeed(..) => "receive pages".into(),
            Action::FinishSeed(_, at) => format!("finish the seed, consistent at {at}"),
            Action::Append(_) => {
                let recs = &self.nodes[index].incoming;
                format!("append {}..{}", recs[0].lsn, recs[recs.len() - 1].lsn)
            }
            Action::TruncateJournal(to) => format!("truncate the journal to {to}"),
            Action::ResetJournal(after) => format!("reset the journal to begin after {after}"),
            Action::SetCommitLsn(lsn) => format!("commit LSN {lsn}"),
            Action::ApplyUpTo(lsn) => format!("apply up to {lsn}"),
            Action::BecomePrincipal(epoch) => format!("become principal in {epoch}"),
            Action::BecomeStandalone { epoch, discard } => {
                format!("become standalone in {epoch}{}", if *discard { ", empty" } else { "" })
            }
            Action::BecomeMirror => "become mirror".into(),
            Action::SetAdmission(admission) => format!("writes: {}", words(admission)),
            Action::Drain => "drain".into(),
            Action::Alarm(alarm) => {
                format!(
                    "alarm {}: {}",
                    if alarm.raised { "raised" } else { "cleared" },
                    self.named(&alarm.text)
                )
            }
            Action::NoteClientKey(server, _) => {
                format!("keep the key of {} in mind", self.named(&server.to_string()))
            }
            Action::Log(level, text) => format!("log {level:?}: {}", self.named(text)),
            Action::Reply(_, Ok(outcome)) => {
                format!("reply ok: {}", self.named(&format!("{outcome:?}")))
            }
            Action::Reply(_, Err(error)) => {
                format!("reply error: {}", self.named(&error.to_string()))
            }
            copying => self.copying(copying),
        };
        self.note(index, &line);
    }

    /// What has to do with copies, orphans, repairs and heals.
    fn copying(&self, action: &Action) -> String {
        match action {
            Action::EstimateCatchUp { after, base, .. } => {
                format!("estimate the journal after {after} and the pages newer than {base}")
            }
            Action::PreparePages(_) => "prepare a copy".into(),
            Action::SendPages { link, mark, since } => {
                format!("send {} to {}, mark {mark}", which_pages(*since), self.peer_name(*link))
            }
            Action::ReceivePages { mark, since, .. } => {
                format!("spool {}, mark {mark}", which_pages(*since))
            }
            Action::FinishPages(_, end) => format!("finish the spool, journal up to {end}"),
            Action::AdoptPages { mark, end } => format!("adopt the spool: journal {mark}..{end}"),
            Action::SaveOrphans { common, end } => format!("save orphans {common}..{end}"),
            Action::ProvidePage { link, database, page, .. } => {
                format!("provide page {page} of {database} for {}", self.peer_name(*link))
            }
            Action::ProvideRecords { link, first, last } => {
                format!("provide records {first}..{last} for {}", self.peer_name(*link))
            }
            Action::TakeRecords { first, last, bytes } => {
                let what = if bytes.is_some() { "take" } else { "do without" };
                format!("{what} records {first}..{last}")
            }
            Action::TakePage { database, page, bytes, .. } => {
                let what = if bytes.is_some() { "take" } else { "do without" };
                format!("{what} page {page} of {database}")
            }
            Action::SendHeal(link, database) => {
                format!("send database {database} to {}", self.peer_name(*link))
            }
            Action::ReceiveHeal(_, database) => format!("be ready for database {database}"),
            Action::FinishHeal { database, at } => {
                format!("put database {database} in place at {at}")
            }
            other => unreachable!("{other:?} is shown elsewhere"),
        }
    }

    /// Server identities by their names.
    fn named(&self, text: &str) -> String {
        self.nodes
            .iter()
            .fold(text.to_owned(), |text, node| text.replace(&node.server.to_string(), &node.name))
    }

    fn durable(&self, durable: &Durable) -> String {
        let mut line = format!("{} {}", durable.role, durable.epoch);
        for member in &durable.partners {
            let name = self.by_server(member.address.server).map_or("?", |i| &self.nodes[i].name);
            let marks = [(member.synchronized, " synchronized"), (member.suspended, " suspended")];
            let marks: String = marks.iter().filter(|mark| mark.0).map(|mark| mark.1).collect();
            write!(line, " [{name}{marks}]").unwrap();
        }
        if durable.role == Role::Mirror && durable.was_synchronized {
            line.push_str(" was-synchronized");
        }
        if durable.exposed_since.is_some() {
            line.push_str(" exposed");
        }
        if let Some(pending) = &durable.pending_handover {
            write!(line, " handover(last {}, {})", pending.last, pending.epoch).unwrap();
        }
        if let Some(deposed) = &durable.deposed {
            write!(line, " deposed(by {})", deposed.by).unwrap();
        }
        if let Some(parked) = durable.deposed.as_ref().and_then(|deposed| deposed.parked) {
            write!(line, " parked({}..{})", parked.common, parked.end).unwrap();
        }
        if let Some(seed) = &durable.seeding {
            let whole = seed.consistent_at.map_or(String::new(), |at| format!(", whole at {at}"));
            write!(line, " seeding(mark {}, page {}{whole})", seed.mark, seed.next_page).unwrap();
        }
        line
    }

    fn message(&self, message: &Message) -> String {
        match message {
            Message::Hello(hello) => {
                let about = &hello.about;
                let data = match &about.data {
                    counterpart_core::message::DataState::Empty => "empty",
                    counterpart_core::message::DataState::Consistent => "consistent",
                    counterpart_core::message::DataState::Seeding(_) => "seeding",
                };
                format!(
                    "Hello {:?} {} {} end {} applied {} {data}{}",
                    hello.intent,
                    about.role,
                    about.epoch,
                    about.end,
                    about.applied,
                    if about.deposed { " deposed" } else { "" }
                )
            }
            Message::Welcome(welcome) => {
                let plan = match &welcome.plan {
                    Plan::Journal { after } => format!("journal after {after}"),
                    Plan::Seed { resumed: true } => "resume the seed".into(),
                    Plan::Seed { resumed: false } => "seed".into(),
                    Plan::Wait => "wait".into(),
                    Plan::Pages { since } => which_pages(*since),
                };
                format!("Welcome {plan}, keep up to {}", welcome.truncate_to)
            }
            Message::Refused(refused) => format!("Refused {}", refused.refusal.code),
            Message::Answer(about) => {
                format!("Answer {} {} end {}", about.role, about.epoch, about.end)
            }
            Message::SeedAck(progress) => format!("SeedAck page {}", progress.next_page),
            Message::SeedBegin { mark, .. } => format!("SeedBegin mark {mark}"),
            Message::Partners(members) => format!("Partners {}", members.len()),
            Message::TookOver { epoch, began_after, .. } => {
                format!("TookOver {epoch} after {began_after}")
            }
            Message::Handover { last, epoch } => format!("Handover last {last}, {epoch}"),
            Message::StateChanged { state } => format!("StateChanged {state}"),
            Message::EndMirroring { .. } => "EndMirroring".into(),
            Message::Ack { hardened, applied } => {
                format!("Ack hardened {hardened}, applied {applied}")
            }
            Message::Commit { lsn } => format!("Commit {lsn}"),
            Message::PagesBegin { mark } => format!("PagesBegin mark {mark}"),
            Message::PagesDone { end } => format!("PagesDone end {end}"),
            Message::PageWanted { database, page, .. } => format!("PageWanted {database}/{page}"),
            Message::PageIs { database, page, bytes, .. } => {
                format!(
                    "PageIs {database}/{page}{}",
                    if bytes.is_some() { "" } else { ": not here" }
                )
            }
            Message::HealWanted { database } => format!("HealWanted {database}"),
            Message::HealDone { database, at } => format!("HealDone {database} at {at}"),
            Message::HealFailed { database, why } => format!("HealFailed {database}: {why}"),
            Message::Differs(databases) => format!("Differs {}", databases.len()),
            Message::ReplayStopped(why) => format!("ReplayStopped {why}"),
            other => other.name().to_owned(),
        }
    }

    /// Every server in a line or two.
    pub fn show_all(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let line = match &node.core {
                None => "down".to_owned(),
                Some(core) => {
                    let status = core.status();
                    let writes = node.admission.as_ref().map_or("none".into(), words);
                    format!(
                        "= {} | epoch {} end {} commit {} shows {} | writes: {writes}",
                        status.words,
                        status.epoch,
                        node.disk.journal.end(),
                        status.commit,
                        node.disk.content.end()
                    )
                }
            };
            self.note(index, &line);
        }
    }

    /// What an operator sees of one server.
    pub fn show_status(&mut self, index: usize) {
        let Some(core) = &self.nodes[index].core else { return };
        let status = core.status();
        let mut lines = vec![status.words.clone(), status.failover_now.clone()];
        if let Some(assessment) = &status.promotion {
            lines.push(format!("promotion: {}", assessment.words));
        }
        if let Some(error) = &status.last_error {
            lines.push(format!("last error: {error}"));
        }
        for permission in &status.commands {
            lines.push(match &permission.reason {
                None => format!("{}: allowed", permission.command),
                Some(reason) => format!("{}: no. {}", permission.command, reason.what),
            });
        }
        for line in lines {
            let line = self.named(&format!("| {line}"));
            self.note(index, &line);
        }
    }
}

fn which_pages(since: Option<Lsn>) -> String {
    since.map_or("the pages that differ".into(), |lsn| format!("the pages newer than {lsn}"))
}

fn words(admission: &Admission) -> String {
    match admission {
        Admission::Open => "open".into(),
        Admission::Hold => "held".into(),
        Admission::Refuse { refusal, principal } => {
            let to = principal.as_ref().map_or(String::new(), |url| format!(", go to {url}"));
            format!("refused {}{to}", refusal.code)
        }
    }
}
