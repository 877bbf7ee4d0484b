//! One server: put together at the start, taken apart at the end, and what operators ask of it in between.

use std::{path::PathBuf, sync::Arc};

use counterpart_core::{
    DatabaseName, Lsn, ServerId,
    message::{PartnerAddress, Role, Safety},
    session::{Command, CommandError, Config, Core, Durable, Millis, Outcome, Recovered},
};
use counterpart_journal::{
    self as journal, ControlFile, Disk, Journal, Progress, RealDisk, lock_directory,
};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    admission::{Admission, Door},
    boot,
    control::{Control, ControlKeeper},
    copy,
    databases::Databases,
    driver::{Driver, Input, Inputs, now},
    operations::{
        DatabaseDetails, DatabaseSummary, Export, JoinRequest, Operations, PartnerRequest,
        PeerIdentity,
    },
    ops,
    orphans::{self, Form, OrphanSet},
    probe, random,
    refusal::Refusal,
    settings::Settings,
    shared::{Parts, Shared},
    status,
    stream::{ClientStream, Slot},
};

/// Why a server can't start. Nothing was changed, unless the sentence says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory is another server's, or can't be used.
    #[error(transparent)]
    Lock(#[from] journal::disk::LockError),
    /// The data directory can't be made.
    #[error("the data directory {path} can't be made: {cause}", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The control file can't be read or written.
    #[error(transparent)]
    Control(#[from] journal::ControlError),
    /// The journal does not verify.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// The databases can't be recovered.
    #[error(transparent)]
    Boot(#[from] boot::BootError),
    /// A task panicked.
    #[error("starting panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl StartError {
    /// Whether what is on the disk is not what was written there, so that starting again cannot help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            StartError::Control(error) => matches!(error, journal::ControlError::Damaged { .. }),
            StartError::Journal(error) => !matches!(error, journal::OpenError::Io { .. }),
            StartError::Boot(error) => error.is_damage(),
            StartError::Lock(_) | StartError::Directory { .. } | StartError::Panicked(_) => false,
        }
    }
}

/// A running server.
pub struct Node {
    shared: Arc<Shared>,
    driver: std::sync::Mutex<Option<JoinHandle<()>>>,
    accepting: JoinHandle<()>,
    reaping: JoinHandle<()>,
    started: std::time::Duration,
    _lock: journal::disk::DirectoryLock,
}

impl Node {
    /// Recovers what is in the data directory and takes up the role that the control file says. Partners connect to
    /// `partners`.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(settings: Settings, partners: TcpListener) -> Result<Arc<Node>, StartError> {
        let (inputs, queue) = Inputs::new();
        let opened = spawn_blocking({
            let (settings, inputs, io) =
                (settings.clone(), inputs.clone(), tokio::runtime::Handle::current());
            move || open(settings, inputs, io)
        });
        let (shared, recovered, lock) = opened.await??;
        let mut actions = Vec::new();
        let core = Core::start(core_config(&settings), recovered, now(), &mut actions);
        let driver = tokio::spawn(Driver::new(core, Arc::clone(&shared)).run(actions, queue));
        shared.repairs.listen();
        let accepting = tokio::spawn(accept(partners, inputs));
        let reaping = tokio::spawn(reap(Arc::clone(&shared)));
        let started = crate::clock::uptime();
        let driver = std::sync::Mutex::new(Some(driver));
        // Whoever is told that the server serves finds its databases.
        let mut settled = shared.settled.subscribe();
        // The sender lives in `shared`, which this function holds.
        let _settled = settled.wait_for(|settled| *settled).await;
        Ok(Arc::new(Node { shared, driver, accepting, reaping, started, _lock: lock }))
    }

    /// Opens a stream for a client.
    ///
    /// # Errors
    /// `DATABASE_NOT_FOUND`, or why nothing can be read now.
    pub fn open_stream(&self, database: &DatabaseName) -> Result<ClientStream, Refusal> {
        let hosted = self.shared.databases.named(database)?;
        Ok(ClientStream::new(Arc::clone(&self.shared), hosted))
    }

    /// Ends the server in order: no new partners, what was decided is on the disk, the journal is hardened.
    pub async fn stop(&self) {
        self.accepting.abort();
        self.reaping.abort();
        self.shared.admission.set(Door::Closed(Refusal::stopping()));
        let (done, ended) = oneshot::channel();
        self.shared.inputs.send(Input::Stop(done));
        // A driver that panicked has dropped the other end, and there is nothing left to wait for.
        let _ended = ended.await;
        let driver = self.driver.lock().expect("no holder of this lock panics").take();
        if let Some(driver) = driver
            && let Err(error) = driver.await
        {
            tracing::error!(%error, "the driver did not end in order");
        }
        self.shared.databases.close_all(Refusal::stopping());
        let (journal, shared) = (self.shared.journal.clone(), Arc::clone(&self.shared));
        let ended = spawn_blocking(move || {
            journal.flush_and_stop()?;
            // The next start shows all that this one did, without having to hear again what is final.
            let commit = shared.confirmations.commit_lsn().min(shared.journal.hardened());
            let noted = shared.control.update(|control| {
                control.commit_lsn = control.commit_lsn.max(commit);
            });
            if let Err(error) = noted {
                tracing::warn!(%error, "what is final was not noted; the next start finds out again");
            }
            Ok::<(), Arc<journal::PoisonError>>(())
        });
        match ended.await {
            Ok(Ok(())) => tracing::info!("stopped"),
            Ok(Err(error)) => tracing::error!(%error, "the journal could not be flushed"),
            Err(error) => tracing::error!(%error, "the journal did not end in order"),
        }
    }

    /// Changes at every change of role; streams of an earlier era have lost what they held.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.shared.era()
    }

    async fn command(&self, command: Command) -> Result<Outcome, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.shared.inputs.send(Input::Command(command, reply));
        answer.await.map_err(|_| Refusal::stopping())?.map_err(|error| refused(&error))
    }

    async fn look(&self) -> Result<crate::driver::View, Refusal> {
        let (reply, view) = oneshot::channel();
        self.shared.inputs.send(Input::Look(reply));
        view.await.map_err(|_| Refusal::stopping())
    }

    /// Runs what reads or writes files where it holds nobody up.
    async fn reading<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Arc<Shared>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shared = Arc::clone(&self.shared);
        let done = spawn_blocking(move || job(&shared)).await;
        done.unwrap_or_else(|panicked| Err(ops::create::failed("a task broke down", panicked)))
    }

    /// Whether a user would miss anything that is here.
    async fn holds_data(&self) -> Result<bool, Refusal> {
        let all = self.shared.databases.all();
        if all.iter().any(|hosted| hosted.name != DatabaseName::main()) {
            return Ok(true);
        }
        for hosted in all {
            if !ops::import::is_empty(&hosted).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn refused(error: &CommandError) -> Refusal {
    Refusal::new(error.code.as_str(), trimmed(&error.what), trimmed(&error.remedy))
}

fn trimmed(sentence: &str) -> &str {
    sentence.trim_end_matches('.')
}

fn core_config(settings: &Settings) -> Config {
    let mut config = Config::new(&settings.partner_address, &settings.client_url);
    config.partner_timeout =
        Millis(u64::try_from(settings.partner_timeout.as_millis()).unwrap_or(u64::MAX));
    config.jitter_seed = random::number();
    config.rejoin = settings.rejoin;
    config
}

fn open(
    settings: Settings,
    inputs: Inputs,
    io: tokio::runtime::Handle,
) -> Result<(Arc<Shared>, Recovered, journal::disk::DirectoryLock), StartError> {
    let data = settings.data.clone();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    disk.create_dir(&data).map_err(|cause| StartError::Directory { path: data.clone(), cause })?;
    let lock = lock_directory(&data)?;
    if let Err(error) = ops::import::discard_uploads(&data) {
        tracing::warn!(%error, "remains of uploads take space; delete the directory `staging`");
    }
    let file: ControlFile<Control> = ControlFile::new(Arc::clone(&disk), &data.join("control"));
    let control = match file.load()? {
        Some(control) => control,
        None => {
            let fresh = Control::new(Durable::new(ServerId(random::number())));
            file.save(&fresh)?;
            fresh
        }
    };
    let identity = boot::journal_identity(control.session.server);
    // While a seed has not begun or not ended, the journal may be another one than the control file speaks of.
    let reached = control.redo_after.max(control.commit_lsn);
    let must_reach = if control.is_whole() { reached } else { Lsn::ZERO };
    let (journal, recovery) = open_journal(&settings, &disk, identity, must_reach, &inputs)?;
    if let Some(cut) = &recovery.cut {
        tracing::warn!(file = %cut.file.display(), offset = cut.offset, bytes = cut.bytes, "a torn tail of the journal was cut; nothing of it was ever confirmed");
    }
    let last_known = journal.records_after(recovery.end.before()).last().and_then(Result::ok);
    let in_record = last_known.map_or(Lsn::ZERO, |record| record.header().commit_lsn);
    let durable = control.session.clone();
    let known = control.commit_lsn.max(in_record).max(control.redo_after).min(recovery.end);
    let commit = if decides_alone(&durable) { recovery.end } else { known };
    let shared = Shared::new(Parts {
        settings,
        journal,
        disk,
        control: ControlKeeper::new(file, control),
        databases: Databases::unavailable(starting()),
        admission: Admission::new(Door::Hold),
        inputs,
        io,
    });
    shared.confirmations.begin(commit);
    shared.hardened.send_replace(recovery.end);
    let applied = match &durable.seeding {
        Some(seed) => seed.mark,
        None => {
            boot::remove_strays(&shared)?;
            boot::reload(&shared, commit)?;
            if !durable.empty {
                copy::adopt::discard_served(&shared);
            }
            commit
        }
    };
    shared.set_applied(applied);
    let redo_from = shared.control.read().redo_after;
    let journal_after = recovery.first.before();
    let recovered = Recovered {
        durable: durable.clone(),
        journal_after,
        journal_end: recovery.end,
        commit,
        applied,
        base: redo_from,
        has_spool: copy::spool::exists(&shared.settings.data),
        stride: random::stride(),
    };
    Ok((shared, recovered, lock))
}

/// Whether everything that this server has hardened was final without anybody else's word: it acted, and commits
/// waited for no mirror. What it confirmed alone stays readable here even if it turns out to have been deposed.
fn decides_alone(durable: &Durable) -> bool {
    let waits = durable.safety == Safety::Full && durable.partners.iter().any(|p| p.synchronized);
    durable.role != Role::Mirror && durable.pending_handover.is_none() && !waits
}

fn open_journal(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    identity: counterpart_core::SessionId,
    must_reach: Lsn,
    inputs: &Inputs,
) -> Result<(Journal, journal::Recovery), StartError> {
    let config = journal::Config {
        retention_bytes: settings.retention_bytes,
        must_reach,
        ..journal::Config::default()
    };
    let inputs = inputs.clone();
    let listener = Box::new(move |progress: Progress| match progress {
        Progress::Hardened(lsn) => inputs.hardened(lsn),
        Progress::Poisoned(poison) => inputs.journal_failed(poison.to_string()),
    });
    let directory = settings.data.join("journal");
    disk.create_dir(&directory)
        .map_err(|cause| StartError::Directory { path: directory.clone(), cause })?;
    Ok(Journal::open(Arc::clone(disk), &directory, config, identity, listener)?)
}

fn starting() -> Refusal {
    Refusal::new("SERVER_STARTING", "the server is starting", "try again in a moment")
}

async fn accept(partners: TcpListener, inputs: Inputs) {
    loop {
        match partners.accept().await {
            Ok((stream, _)) => inputs.send(Input::Accepted(stream)),
            Err(error) => {
                tracing::warn!(%error, "a partner's connection was not accepted");
                // Out of descriptors, most likely: give others time to close theirs.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Ends transactions that lie idle for too long, and readers that pin the WAL for too long.
async fn reap(shared: Arc<Shared>) {
    let limit = u64::try_from(shared.settings.transaction_idle.as_millis()).unwrap_or(u64::MAX);
    let pause = std::time::Duration::from_millis((limit / 10).clamp(10, 250));
    loop {
        tokio::time::sleep(pause).await;
        interrupt_old_readers(&shared);
        for (slot, mut held) in shared.transactions.resting() {
            let Some(why) = too_long(&shared, &slot) else { continue };
            let why = Refusal::stream_expired(&why);
            if spawn_blocking(move || held.expire(why)).await.is_err() {
                tracing::error!(database = %slot.hosted.name, "rolling back an idle transaction panicked");
            }
        }
    }
}

/// Why a transaction must end now, if it must.
fn too_long(shared: &Shared, slot: &Slot) -> Option<String> {
    let idle = shared.settings.transaction_idle;
    if u128::from(slot.idle_ms()) >= idle.as_millis() {
        let limit = idle.as_secs_f32();
        return Some(format!(
            "the transaction was idle for more than {limit} s and was rolled back"
        ));
    }
    let most = shared
        .settings
        .reader_max_age
        .filter(|most| u128::from(slot.open_ms()) >= most.as_millis())?;
    let limit = most.as_secs_f32();
    Some(format!(
        "the transaction was open for more than {limit} s and was rolled back, so that the WAL can shrink"
    ))
}

/// Interrupts statements whose snapshot is older than it may be.
fn interrupt_old_readers(shared: &Shared) {
    let Some(most) = shared.settings.reader_max_age else { return };
    let now = crate::clock::unix_now();
    for hosted in shared.databases.all() {
        for reader in hosted.engine.readers() {
            if u128::from(now.0.saturating_sub(reader.since.0)) >= most.as_micros() {
                tracing::warn!(database = %hosted.name, "a reader held its snapshot for too long and was interrupted");
                reader.interrupter.interrupt();
            }
        }
    }
}

impl Operations for Node {
    async fn status(&self) -> serde_json::Value {
        match self.look().await {
            Ok(view) => {
                let (shared, started) = (Arc::clone(&self.shared), self.started);
                spawn_blocking(move || status::render(&shared, &view, started))
                    .await
                    .unwrap_or_else(|panicked| {
                        tracing::error!(%panicked, "the status could not be told");
                        serde_json::json!({ "failed": panicked.to_string() })
                    })
            }
            Err(refusal) => serde_json::json!({ "stopping": refusal.to_string() }),
        }
    }

    fn databases(&self) -> Vec<DatabaseSummary> {
        self.shared.databases.all().iter().map(|hosted| ops::look::summary(hosted)).collect()
    }

    async fn database(&self, name: DatabaseName) -> Result<DatabaseDetails, Refusal> {
        ops::look::details(&self.shared, &name).await
    }

    async fn create_database(&self, name: DatabaseName) -> Result<DatabaseSummary, Refusal> {
        let hosted = ops::create::create_database(&self.shared, &name).await?;
        Ok(ops::look::summary(&hosted))
    }

    async fn drop_database(&self, name: DatabaseName) -> Result<(), Refusal> {
        ops::create::drop_database(&self.shared, &name).await
    }

    fn staging_path(&self, name: &DatabaseName, bytes: u64) -> Result<PathBuf, Refusal> {
        ops::import::staging_path(&self.shared, name, bytes)
    }

    async fn import_database(
        &self,
        name: DatabaseName,
        staged: PathBuf,
    ) -> Result<DatabaseSummary, Refusal> {
        let hosted = ops::import::import(&self.shared, &name, staged).await?;
        Ok(ops::look::summary(&hosted))
    }

    async fn export_database(&self, name: DatabaseName) -> Result<Export, Refusal> {
        ops::export::export(&self.shared, &name).await
    }

    async fn probe(&self, partner_address: String) -> Result<PeerIdentity, Refusal> {
        probe::probe(&self.shared, &partner_address).await
    }

    async fn check_join(&self, replace: bool, bytes: u64) -> Result<(), Refusal> {
        ops::import::require_space(&self.shared, bytes)?;
        if !replace && self.holds_data().await? {
            return Err(not_empty());
        }
        Ok(())
    }

    async fn join(&self, request: JoinRequest) -> Result<(), Refusal> {
        let holds_data = self.holds_data().await?;
        let principal = PartnerAddress {
            server: request.principal,
            partner_address: request.principal_partner_address,
            client_url: request.principal_client_url,
        };
        let (session, replace) = (request.session, request.replace);
        self.command(Command::JoinSession {
            session,
            principal,
            replace,
            holds_data,
            history: None,
        })
        .await
        .map(drop)
    }

    async fn cancel_join(&self) -> Result<(), Refusal> {
        self.command(Command::CancelJoin).await.map(drop)
    }

    async fn add_partner(&self, request: PartnerRequest) -> Result<(), Refusal> {
        let safety = match request.safety.as_deref() {
            None => self.shared.control.read().session.safety,
            Some("full") => Safety::Full,
            Some("off") => Safety::Off,
            Some(other) => {
                return Err(Refusal::new(
                    "BAD_REQUEST",
                    format!("{other:?} is no safety"),
                    "use full or off",
                ));
            }
        };
        let partner = PartnerAddress {
            server: request.server,
            partner_address: request.partner_address,
            client_url: request.client_url,
        };
        let require_mirror = self.shared.settings.require_mirror;
        let command =
            Command::AddPartner { session: request.session, partner, safety, require_mirror };
        self.command(command).await.map(drop)
    }

    async fn failover(&self, to: Option<ServerId>) -> Result<serde_json::Value, Refusal> {
        self.command(Command::Failover(to)).await.map(|outcome| status::outcome(&outcome))
    }

    async fn assess_promotion(&self) -> Result<serde_json::Value, Refusal> {
        let status = self.look().await?.status;
        let permission = status.commands.iter().find(|permission| permission.command == "promote");
        match (status.promotion, permission.and_then(|permission| permission.reason.as_ref())) {
            (_, Some(reason)) => Err(refused(reason)),
            (assessment, None) => {
                Ok(serde_json::to_value(assessment).expect("plain values have a JSON form"))
            }
        }
    }

    async fn promote(&self) -> Result<serde_json::Value, Refusal> {
        if let Some(failure) = self.look().await?.apply_failure {
            return Err(Refusal::new(
                "APPLY_FAILED",
                format!("this mirror can't apply its journal, and could not serve: {failure}"),
                "restart it and promote it then, or promote another mirror",
            ));
        }
        self.command(Command::Promote { force: true })
            .await
            .map(|outcome| status::outcome(&outcome))
    }

    async fn suspend(&self, partner: Option<ServerId>) -> Result<(), Refusal> {
        self.command(Command::Suspend(partner)).await.map(drop)
    }

    async fn resume(&self, partner: Option<ServerId>) -> Result<(), Refusal> {
        self.command(Command::Resume(partner)).await.map(drop)
    }

    async fn stop_mirroring(&self, partner: Option<ServerId>) -> Result<(), Refusal> {
        self.command(Command::StopMirroring(partner)).await.map(drop)
    }

    async fn rejoin(&self) -> Result<(), Refusal> {
        self.command(Command::Rejoin).await.map(drop)
    }

    async fn orphans(&self) -> Result<Vec<OrphanSet>, Refusal> {
        self.reading(|shared| orphans::list(shared)).await
    }

    async fn orphan_set(&self, set: String) -> Result<OrphanSet, Refusal> {
        self.reading(move |shared| orphans::show(shared, &set)).await
    }

    async fn orphan_rows(
        &self,
        set: String,
        database: Option<DatabaseName>,
        limit: usize,
    ) -> Result<Vec<serde_json::Value>, Refusal> {
        self.reading(move |shared| orphans::rows(shared, &set, database.as_ref(), limit)).await
    }

    async fn export_orphans(
        &self,
        set: String,
        database: Option<DatabaseName>,
        form: Form,
    ) -> Result<Export, Refusal> {
        self.reading(move |shared| orphans::export(shared, &set, database.as_ref(), form)).await
    }

    async fn drop_orphans(&self, set: String) -> Result<(), Refusal> {
        self.reading(move |shared| orphans::drop_set(shared, &set)).await
    }
}

fn not_empty() -> Refusal {
    Refusal::new(
        "NOT_EMPTY",
        "this server holds data of its own",
        "back it up or move it away, then say --replace to give it up",
    )
}
