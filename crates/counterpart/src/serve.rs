//! `counterpart serve`: one server, from its listeners to its end.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    serve::{Listener, ListenerExt},
};
use counterpart_access::JwtKeys;
use counterpart_hrana::{Hrana, Limits};
use counterpart_node::{Node, StartError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use crate::{
    addressed::Addressed,
    config::{LogFormat, Settings},
    exit::{Exit, Failure},
    tell::{self, Teller, Webhook},
    tls::{self, Tls, TlsListener},
    wiring::Clients,
};

/// Requests under way get this long to finish when the server is asked to end.
const FINISH: Duration = Duration::from_secs(5);

/// Runs a server until it is told to stop.
///
/// # Errors
/// Why it could not start.
pub fn run(settings: Settings) -> Result<(), Failure> {
    start_log(&settings);
    raise_file_limit();
    // One thread for all I/O: on few cores that is steadier than work-stealing, and SQLite runs on threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| start_failed(&format!("the runtime can't be made: {error}")))?;
    let outcome = runtime.block_on(async {
        let stop = asked_to_stop()?;
        let server = Server::start(settings).await?;
        server.run(stop).await;
        Ok(())
    });
    // Statements that still run were given their time; they are rolled back at the next start.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

/// Lets this process have as many files open as the system allows it. Each database takes half a dozen, and what most
/// systems begin with (1,024) would be used up by less than 200 of them; a checkpoint that can't open a file ends all
/// writing.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, open_files = limit.current, "the limit of open files can't be raised");
    }
}

/// Files that an open database takes at most: SQLite's own, those of connections that are idle, and what a mirror applies
/// with; as many databases again may wait for a checkpoint.
const FILES_PER_DATABASE: u64 = 20;

/// As many of these databases as this process may have open, by the limit of open files.
fn fitting(databases: u64) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = (limit / FILES_PER_DATABASE).max(1);
    if databases > most {
        tracing::info!(
            open_databases = most,
            open_files = limit,
            "fewer databases stay open than was set: the system limits open files"
        );
    }
    usize::try_from(databases.min(most)).unwrap_or(usize::MAX)
}

fn start_log(settings: &Settings) {
    // With the log's reader gone (a pipe that was closed, a full disk) lines are lost, and nothing else: the logger's own
    // complaint would go to the same place, and panic there.
    let builder = tracing_subscriber::fmt()
        .with_max_level(settings.log_level)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    // A second logger in one process (tests) is no harm: the first one stays.
    let _started = match settings.log {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colours).try_init()
        }
        LogFormat::Json => builder.json().try_init(),
    };
}

fn start_failed(what: &str) -> Failure {
    Failure::new(Exit::Server, "START_FAILED", what, "see the log for what came before")
}

/// Completes at SIGTERM or Ctrl-C.
fn asked_to_stop() -> Result<impl Future<Output = &'static str>, Failure> {
    let listen =
        |kind| signal(kind).map_err(|e| start_failed(&format!("signals can't be handled: {e}")));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// A server whose listeners are open.
pub struct Server {
    node: Arc<Node>,
    /// Tell others of alarms.
    telling: Vec<JoinHandle<()>>,
    hrana: Hrana<Clients>,
    app: Router,
    /// Dropped when connections shall end.
    ending: watch::Sender<()>,
    clients: TcpListener,
    tls: Option<Tls>,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where partners connect.
    pub partner_listen: SocketAddr,
    /// Where clients are told to connect.
    pub client_url: String,
}

impl Server {
    /// Opens the listeners and starts a node behind them.
    ///
    /// # Errors
    /// An address that can't be listened on, or why the node could not start.
    pub async fn start(settings: Settings) -> Result<Server, Failure> {
        let (clients, listen) = bind(settings.listen, "--listen").await?;
        let (partners, partner_listen) = bind(settings.partner_listen, "--partner-listen").await?;
        warn_of_exposure(&settings);
        let prepared = settings.clone();
        let tls = spawn_blocking(move || Tls::prepare(&prepared, listen)).await;
        let tls = tls.map_err(|error| start_failed(&format!("starting panicked: {error}")))??;
        let client_url = settings.advertise.clone();
        let client_url = client_url.unwrap_or_else(|| format!("{}://{listen}", settings.scheme()));
        let partner_address =
            settings.partner_advertise.clone().unwrap_or_else(|| partner_listen.to_string());
        let limits = Limits {
            request_bytes: usize::try_from(settings.max_request_bytes).unwrap_or(usize::MAX),
            response_bytes: usize::try_from(settings.max_result_bytes).unwrap_or(usize::MAX),
            stream_idle: settings.stream_idle,
            ..Limits::default()
        };
        let ready_file = settings.ready_file.clone();
        let certificate = tls.as_ref().map(Tls::told);
        let jwt_keys = settings.jwt_key.as_deref().map(jwt_keys).transpose()?;
        let tellers = tellers(&settings)?;
        let node_settings = counterpart_node::Settings {
            certificate: certificate.clone(),
            jwt_keys,
            alarm_channels: tell::channels(&tellers),
            ..node_settings(settings, &client_url, partner_address)
        };
        let node = Node::start(node_settings, partners).await.map_err(node_failed)?;
        let telling = tell::start(&node, tellers);
        let hrana = Hrana::new(Arc::new(Clients::new(Arc::clone(&node))), limits);
        let (ending, ended) = watch::channel(());
        let app = hrana
            .router_but_root()
            .merge(counterpart_admin::router(Arc::clone(&node)))
            .merge(counterpart_admin::console(Arc::clone(&node), ended, hrana.root()));
        let server = Server {
            node,
            telling,
            hrana,
            app,
            ending,
            clients,
            tls,
            listen,
            partner_listen,
            client_url,
        };
        if let Some(path) = ready_file {
            server.write_ready(&path)?;
        }
        if let Some(shown) = certificate {
            tls::log(&shown.borrow(), "clients and operators are served with TLS");
        }
        tracing::info!(url = %server.client_url, partners = %server.partner_listen, "serving");
        Ok(server)
    }

    /// Says where the server serves, for scripts that let the system choose the ports.
    fn write_ready(&self, path: &Path) -> Result<(), Failure> {
        let ready = json!({
            "listen": self.listen.to_string(),
            "partner_listen": self.partner_listen.to_string(),
            "client_url": self.client_url,
            "pid": std::process::id(),
        });
        counterpart_journal::atomic_write(path, ready.to_string().as_bytes())
            .map_err(|error| Failure::local_file("write", path, &error))
    }

    /// Serves until `stop` completes, then ends in order: no new connections, what runs finishes within bounds, the
    /// journal is flushed.
    pub async fn run(self, stop: impl Future<Output = &'static str>) {
        let Server { node, telling, hrana, app, ending, clients, tls, .. } = self;
        let ended = ending.subscribe();
        let (mut serving, keeping) = match tls {
            None => {
                let clients = clients.tap_io(|stream| {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a client's connection may be slower than it could be");
                    }
                });
                (serve(clients, app, ended), None)
            }
            Some(tls) => {
                let clients = TlsListener::new(clients, tls.shown());
                (serve(clients, app, ended), Some(tokio::spawn(tls.keep())))
            }
        };
        let why = stop.await;
        tracing::info!(signal = why, "stopping");
        drop(ending);
        // Connections of WebSocket clients are not among those that `serving` waits for.
        let finishing = async { tokio::join!(hrana.shut_down(), &mut serving).1 };
        match timeout(FINISH, finishing).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(%error, "serving clients ended with an error"),
            Ok(Err(error)) => tracing::error!(%error, "serving clients panicked"),
            Err(_) => {
                tracing::warn!(
                    "requests that ran for more than {} s were cut off",
                    FINISH.as_secs()
                );
                serving.abort();
            }
        }
        if let Some(keeping) = keeping {
            keeping.abort();
        }
        // What was not told yet is told after the next start.
        telling.iter().for_each(JoinHandle::abort);
        node.stop().await;
    }
}

/// Serves whoever connects, until `ended` says that it is enough.
fn serve<L>(
    clients: L,
    app: Router,
    mut ended: watch::Receiver<()>,
) -> JoinHandle<std::io::Result<()>>
where
    L: Listener<Addr = SocketAddr>,
{
    let serving = axum::serve(clients, Addressed(app)).with_graceful_shutdown(async move {
        // Nothing is ever sent: it completes when the sender is gone.
        drop(ended.changed().await);
    });
    tokio::spawn(serving.into_future())
}

/// Says loudly what the operator allowed with `insecure`.
fn warn_of_exposure(settings: &Settings) {
    let exposed = settings.exposed();
    for (address, what) in &exposed {
        tracing::warn!(%address, "--insecure: {what}");
    }
    if settings.insecure && exposed.is_empty() {
        tracing::info!(
            "--insecure is given and allows nothing that would not be allowed without it"
        );
    }
}

async fn bind(address: SocketAddr, flag: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = match TcpListener::bind(address).await {
        Ok(listener) => listener.local_addr().map(|actual| (listener, actual)),
        Err(error) => Err(error),
    };
    bound.map_err(|error| {
        Failure::new(
            Exit::Server,
            "ADDRESS_UNUSABLE",
            format!("cannot listen on {address}: {error}"),
            format!("end what uses the address, or give another one with {flag}"),
        )
    })
}

/// The keys in a file.
fn jwt_keys(file: &Path) -> Result<JwtKeys, Failure> {
    let text =
        std::fs::read_to_string(file).map_err(|error| Failure::local_file("read", file, &error))?;
    JwtKeys::parse(&text).map_err(|error| {
        Failure::new(
            Exit::Usage,
            "JWT_KEY_INVALID",
            format!("{} is no key for --jwt-key: {error}", file.display()),
            "give a file as `openssl pkey -in KEY -pubout` writes it",
        )
    })
}

/// Those who tell others of alarms, as the settings name them.
fn tellers(settings: &Settings) -> Result<Vec<Teller>, Failure> {
    let read = |path: &PathBuf| {
        let secret = std::fs::read(path).map_err(|e| Failure::local_file("read", path, &e))?;
        Ok::<_, Failure>(secret.trim_ascii_end().to_owned())
    };
    let secret = settings.alarm_webhook_secret_file.as_ref().map(read).transpose()?;
    let command = settings.alarm_command.clone().map(Teller::Command);
    let webhook =
        settings.alarm_webhook.clone().map(|url| Teller::Webhook(Webhook::new(url, secret)));
    Ok(command.into_iter().chain(webhook).collect())
}

fn node_failed(error: StartError) -> Failure {
    let (code, remedy) = match &error {
        StartError::Lock(_) => ("DATA_DIRECTORY_IN_USE", "give each server a directory of its own"),
        StartError::Unfinished { .. } => {
            ("RESTORE_UNFINISHED", "run `counterpart restore` with this directory again")
        }
        damaged if damaged.is_damage() => (
            "DATA_DAMAGED",
            "do not delete anything: seed this server anew from its partner, or restore a backup",
        ),
        _ => ("START_FAILED", "see the log for what came before"),
    };
    Failure::new(Exit::Server, code, error.to_string(), remedy)
}

fn node_settings(
    settings: Settings,
    client_url: &str,
    partner_address: String,
) -> counterpart_node::Settings {
    counterpart_node::Settings {
        client_url: client_url.to_owned(),
        partner_address,
        partner_timeout: settings.partner_timeout,
        require_mirror: settings.require_mirror,
        foreign_keys: settings.foreign_keys,
        max_result_bytes: usize::try_from(settings.max_result_bytes).unwrap_or(usize::MAX),
        statement_timeout: settings.statement_timeout,
        transaction_idle: settings.stream_idle,
        retention_bytes: settings.retention_bytes,
        checkpoint_bytes: settings.checkpoint_bytes,
        delta_cache_bytes: usize::try_from(settings.delta_cache_bytes).unwrap_or(usize::MAX),
        wal_memory_bytes: settings.wal_memory_bytes,
        page_cache_bytes: usize::try_from(settings.page_cache_bytes).unwrap_or(usize::MAX),
        open_databases: fitting(settings.open_databases),
        reader_max_age: settings.reader_max_age,
        reader_max_wal: Some(settings.reader_max_wal).filter(|most| *most > 0),
        rejoin: settings.rejoin,
        scrub_every: settings.scrub_every,
        scrub_rate: settings.scrub_rate,
        require_token: settings.require_token,
        alarm_limits: settings.alarm_limits,
        ..counterpart_node::Settings::new(settings.data)
    }
}
