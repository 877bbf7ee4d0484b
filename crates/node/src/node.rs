//! One server: put together at the start, taken apart at the end.

mod fresh;
mod notices;
mod open;
mod operate;
mod reap;

use std::{path::PathBuf, sync::Arc};

use counterpart_core::{
    DatabaseName,
    session::{Command, CommandError, Config, Core, Millis, Outcome},
};
use counterpart_journal as journal;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    admission::Door,
    audit::{self, Audit},
    boot,
    client_keys::ClientKeys,
    driver::{Driver, Input, Inputs, now},
    monitor, ops, quarantine, random,
    refusal::Refusal,
    rest, scrub,
    settings::Settings,
    shared::Shared,
    stream::ClientStream,
    system::sign_in::SignIn,
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
    /// A restore into the directory has not come to its end.
    #[error("{path} is the remainder of a restore that was interrupted", path = path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// There is data, and no control file that says whose.
    #[error("there is {path}, but no control file: it is not known what this data is", path = path.display())]
    Forgotten {
        /// A file of it.
        path: PathBuf,
    },
    /// The server's own token can't be read or made.
    #[error("this server's admin token can't be read or made: {0}")]
    Token(#[source] std::io::Error),
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
            StartError::Forgotten { .. } => true,
            StartError::Lock(_)
            | StartError::Directory { .. }
            | StartError::Unfinished { .. }
            | StartError::Token(_)
            | StartError::Panicked(_) => false,
        }
    }
}

/// A running server.
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sign_in: SignIn,
    /// Nothing where nobody is asked who they are.
    pub(crate) audit: Option<Arc<Audit>>,
    driver: std::sync::Mutex<Option<JoinHandle<()>>>,
    accepting: JoinHandle<()>,
    reaping: JoinHandle<()>,
    resting: JoinHandle<()>,
    scrubbing: JoinHandle<()>,
    mending: JoinHandle<()>,
    auditing: Option<JoinHandle<()>>,
    watching: JoinHandle<()>,
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
            move || {
                let opened = open::open(settings.clone(), inputs, io)?;
                let sign_in = SignIn::new(&settings);
                let sign_in = sign_in.map_err(StartError::Token)?;
                let audit = settings.require_token.then(|| Audit::open(&settings.data));
                Ok::<_, StartError>((opened, sign_in, audit))
            }
        });
        let ((shared, recovered, lock), sign_in, audit) = opened.await??;
        let mut actions = Vec::new();
        let core = Core::start(core_config(&settings), recovered, now(), &mut actions);
        let driver = tokio::spawn(Driver::new(core, Arc::clone(&shared)).run(actions, queue));
        shared.repairs.listen();
        let accepting = tokio::spawn(accept(partners, inputs));
        let reaping = tokio::spawn(reap::reap(Arc::clone(&shared)));
        let resting = tokio::spawn(rest::keep_resting(Arc::clone(&shared)));
        let scrubbing = tokio::spawn(scrub::keep_scrubbing(Arc::clone(&shared)));
        let mending = tokio::spawn(quarantine::keep_mending(Arc::clone(&shared)));
        let auditing = audit
            .as_ref()
            .map(|audit| tokio::spawn(audit::keep_writing(Arc::clone(&shared), Arc::clone(audit))));
        let watching = tokio::spawn(monitor::keep_watching(Arc::clone(&shared)));
        let started = crate::clock::uptime();
        let driver = std::sync::Mutex::new(Some(driver));
        // Whoever is told that the server serves finds its databases.
        let mut settled = shared.settled.subscribe();
        // The sender lives in `shared`, which this function holds.
        let _settled = settled.wait_for(|settled| *settled).await;
        Ok(Arc::new(Node {
            shared,
            sign_in,
            audit,
            driver,
            accepting,
            reaping,
            resting,
            scrubbing,
            mending,
            auditing,
            watching,
            started,
            _lock: lock,
        }))
    }

    /// Opens a stream for a client.
    ///
    /// # Errors
    /// `DATABASE_NOT_FOUND`, or why nothing can be read now.
    pub fn open_stream(&self, database: &DatabaseName) -> Result<ClientStream, Refusal> {
        let hosted = self.shared.databases.named(database)?;
        Ok(ClientStream::new(Arc::clone(&self.shared), hosted))
    }

    /// Which TLS keys its mirrors show their clients.
    #[must_use]
    pub fn client_keys(&self) -> ClientKeys {
        self.shared.client_keys.clone()
    }

    /// Ends the server in order: no new partners, what was decided is on the disk, the journal is hardened.
    pub async fn stop(&self) {
        self.accepting.abort();
        self.reaping.abort();
        self.resting.abort();
        self.scrubbing.abort();
        self.mending.abort();
        if let Some(auditing) = &self.auditing {
            auditing.abort();
        }
        self.watching.abort();
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
    config.client_key = settings.certificate.as_ref().map(|shown| shown.borrow().key);
    config
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
