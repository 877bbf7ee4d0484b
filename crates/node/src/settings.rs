//! What one server is told at start-up. Resolved elsewhere; nothing here is read from the environment.

use std::{path::PathBuf, time::Duration};

use counterpart_access::JwtKeys;
use counterpart_core::{alarms::Limits, session::Rejoin};
use tokio::sync::watch;

use crate::{client_keys::ShownCertificate, monitor::Channel};

/// Resolved settings of one server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data directory.
    pub data: PathBuf,
    /// Where clients and operators reach this server, as partners are told (a URL).
    pub client_url: String,
    /// Where partners reach this server (`host:port`).
    pub partner_address: String,
    /// A partner that is silent for this long is lost.
    pub partner_timeout: Duration,
    /// Refuse writes rather than confirm them without a synchronized mirror.
    pub require_mirror: bool,
    /// Whether foreign keys are enforced on a connection that did not say otherwise.
    pub foreign_keys: bool,
    /// Bytes of a result before it is refused.
    pub max_result_bytes: usize,
    /// A statement may run for this long; `None`: for ever.
    pub statement_timeout: Option<Duration>,
    /// A transaction may be idle for this long before it is rolled back.
    pub transaction_idle: Duration,
    /// A write waits for its turn at most this long.
    pub permit_wait: Duration,
    /// Open transactions get this long to end before a failover rolls them back.
    pub drain_wait: Duration,
    /// Journal bytes kept beyond what recovery needs.
    pub retention_bytes: u64,
    /// A checkpoint follows after this many bytes of journal.
    pub checkpoint_bytes: u64,
    /// Bytes of recent images that commits are compared with, of all databases.
    pub delta_cache_bytes: usize,
    /// Bytes of the larger page caches of those who write, of all databases.
    pub page_cache_bytes: usize,
    /// Bytes of WALs in memory, of all databases.
    pub wal_memory_bytes: u64,
    /// Databases that stay open without being used; those that were not used for longer rest.
    pub open_databases: usize,
    /// A reader that pins the WAL is cut off at this age; `None` never.
    pub reader_max_age: Option<Duration>,
    /// Readers that pin a WAL of so many bytes are cut off; `None` never.
    pub reader_max_wal: Option<u64>,
    /// What a deposed principal does with events that only it has.
    pub rejoin: Rejoin,
    /// Every page and record is read back from the disk this often; `None` never by itself.
    pub scrub_every: Option<Duration>,
    /// Bytes that this reads in a second at most.
    pub scrub_rate: u64,
    /// Nobody is let in without a token.
    pub require_token: bool,
    /// The certificate that clients are shown at `client_url`, as it is at the moment; `None`: no TLS there.
    pub certificate: Option<watch::Receiver<ShownCertificate>>,
    /// Whose signed tokens are taken then.
    pub jwt_keys: Option<JwtKeys>,
    /// From where on a figure is an alarm.
    pub alarm_limits: Limits,
    /// How others are told of alarms; whoever starts the server does the telling.
    pub alarm_channels: Vec<Channel>,
}

impl Settings {
    /// The defaults for a data directory, with loopback addresses.
    #[must_use]
    pub fn new(data: PathBuf) -> Settings {
        Settings {
            data,
            client_url: "http://127.0.0.1:6480".to_owned(),
            partner_address: "127.0.0.1:6481".to_owned(),
            partner_timeout: Duration::from_secs(10),
            require_mirror: false,
            foreign_keys: false,
            max_result_bytes: 64 << 20,
            statement_timeout: Some(Duration::from_secs(60)),
            transaction_idle: Duration::from_secs(5),
            permit_wait: Duration::from_secs(30),
            drain_wait: Duration::from_secs(2),
            retention_bytes: 1 << 30,
            checkpoint_bytes: 64 << 20,
            delta_cache_bytes: 64 << 20,
            page_cache_bytes: 256 << 20,
            wal_memory_bytes: 256 << 20,
            open_databases: 1_000,
            reader_max_age: None,
            reader_max_wal: Some(4 << 30),
            rejoin: Rejoin::Automatic,
            scrub_every: Some(Duration::from_secs(24 * 3600)),
            scrub_rate: 32 << 20,
            require_token: false,
            certificate: None,
            jwt_keys: None,
            alarm_limits: Limits::default(),
            alarm_channels: Vec::new(),
        }
    }
}
