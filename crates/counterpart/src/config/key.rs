//! The table of settings: names, defaults and help, once. Flags, environment variables, file keys and the output of
//! `counterpart config` are all made from it.

/// One setting of `serve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Data,
    Listen,
    PartnerListen,
    Advertise,
    PartnerAdvertise,
    Insecure,
    RequireToken,
    Tls,
    TlsCertFile,
    TlsKeyFile,
    Jwt,
    ForeignKeys,
    PartnerTimeout,
    RequireMirror,
    StreamIdle,
    MaxRequestBytes,
    MaxResultBytes,
    StatementTimeout,
    RetentionBytes,
    CheckpointBytes,
    DeltaCacheBytes,
    PageCacheBytes,
    WalMemoryBytes,
    OpenDatabases,
    ReaderMaxAge,
    ReaderMaxWal,
    Rejoin,
    ScrubEvery,
    ScrubRate,
    AlarmSendQueue,
    AlarmRedoQueue,
    AlarmOldestUnsent,
    AlarmCommitOverhead,
    AlarmDiskFree,
    AlarmCommand,
    AlarmWebhook,
    AlarmWebhookSecretFile,
    Log,
    LogLevel,
    ReadyFile,
}

/// What is known about a setting.
pub struct Row {
    /// Which one.
    key: Key,
    /// Name of the flag and of the key in the file.
    pub name: &'static str,
    /// What the value is, for help texts. `None`: a switch, on or off.
    pub value: Option<&'static str>,
    /// The default; `None` where there is none, or where it follows from another setting.
    pub default: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
}

/// The table, in the order of help texts.
const TABLE: [Row; 40] = [
    value(Key::Data, "data", "DIR", None, "Directory of this server's databases and journal"),
    value(
        Key::Listen,
        "listen",
        "ADDR",
        Some("127.0.0.1:6480"),
        "Where clients and operators connect; port 0 lets the system choose",
    ),
    value(
        Key::PartnerListen,
        "partner-listen",
        "ADDR",
        Some("127.0.0.1:6481"),
        "Where partners connect; port 0 lets the system choose",
    ),
    value(
        Key::Advertise,
        "advertise",
        "URL",
        None,
        "How clients and operators reach this server [default: http:// or, with TLS, https:// and the listen address]",
    ),
    value(
        Key::PartnerAdvertise,
        "partner-advertise",
        "HOST:PORT",
        None,
        "How partners reach this server [default: the partner listen address]",
    ),
    switch(
        Key::Insecure,
        "insecure",
        "Allow addresses other than loopback although not everything is encrypted, or not everybody has to log in",
    ),
    switch(
        Key::RequireToken,
        "require-token",
        "Answer nobody without a token, but for /health; the first admin's is in the file admin.token of the data directory",
    ),
    value(
        Key::Tls,
        "tls",
        "auto|on|off",
        Some("auto"),
        "Whether clients and operators are served with TLS; auto = unless the listen address is a loopback address",
    ),
    value(
        Key::TlsCertFile,
        "tls-cert",
        "FILE",
        None,
        "Certificate to show them, PEM; without one, this server makes its own, which is kept in the data directory",
    ),
    value(Key::TlsKeyFile, "tls-key", "FILE", None, "Key of that certificate, PEM"),
    value(
        Key::Jwt,
        "jwt-key",
        "FILE",
        None,
        "Take JWTs that the owner of this Ed25519 key has signed: PEM, or base64; with --require-token",
    ),
    value(
        Key::ForeignKeys,
        "foreign-keys",
        "on|off",
        Some("off"),
        "Whether new streams enforce foreign keys; off is SQLite's own default",
    ),
    value(
        Key::PartnerTimeout,
        "partner-timeout",
        "TIME",
        Some("10s"),
        "A partner that is silent for this long counts as disconnected; at least 1s",
    ),
    switch(
        Key::RequireMirror,
        "require-mirror",
        "Refuse writes while no mirror is synchronized, instead of going on exposed",
    ),
    value(
        Key::StreamIdle,
        "stream-idle",
        "TIME",
        Some("5s"),
        "A stream or transaction that is idle for this long is rolled back",
    ),
    value(
        Key::MaxRequestBytes,
        "max-request-bytes",
        "SIZE",
        Some("16MiB"),
        "Largest request of a client",
    ),
    value(
        Key::MaxResultBytes,
        "max-result-bytes",
        "SIZE",
        Some("64MiB"),
        "Largest result of a statement",
    ),
    value(
        Key::StatementTimeout,
        "statement-timeout",
        "TIME",
        Some("60s"),
        "A statement that runs for this long is ended; 0 = never",
    ),
    value(
        Key::RetentionBytes,
        "retention-bytes",
        "SIZE",
        Some("1GiB"),
        "Journal kept for mirrors that are away",
    ),
    value(
        Key::CheckpointBytes,
        "checkpoint-bytes",
        "SIZE",
        Some("64MiB"),
        "Journal between two checkpoints",
    ),
    value(
        Key::DeltaCacheBytes,
        "delta-cache-bytes",
        "SIZE",
        Some("64MiB"),
        "Memory for earlier versions of pages, so that only what changed is journaled and sent; 0 = whole pages",
    ),
    value(
        Key::PageCacheBytes,
        "page-cache-bytes",
        "SIZE",
        Some("256MiB"),
        "Memory for pages of databases that are written to; 0 = little for each",
    ),
    value(
        Key::WalMemoryBytes,
        "wal-memory-bytes",
        "SIZE",
        Some("256MiB"),
        "Memory for WALs between two checkpoints; 0 = they are in files",
    ),
    value(
        Key::OpenDatabases,
        "open-databases",
        "COUNT",
        Some("1000"),
        "Databases kept open for whoever comes next; others are opened when somebody asks for them",
    ),
    value(
        Key::ReaderMaxAge,
        "reader-max-age",
        "TIME",
        Some("0"),
        "A reader that holds a snapshot for this long is cut off; 0 = never",
    ),
    value(
        Key::ReaderMaxWal,
        "reader-max-wal",
        "SIZE",
        Some("4GiB"),
        "Readers that hold a snapshot are cut off when the WAL has grown to this; 0 = never",
    ),
    value(
        Key::Rejoin,
        "rejoin",
        "automatic|manual",
        Some("automatic"),
        "What a deposed principal does with events that only it has: keep them as orphans and rejoin, or wait for you",
    ),
    value(
        Key::ScrubEvery,
        "scrub-every",
        "TIME",
        Some("1d"),
        "How often every page and record is read back from the disk and verified; 0 = never by itself",
    ),
    value(
        Key::ScrubRate,
        "scrub-rate",
        "SIZE",
        Some("32MiB"),
        "How much of that is read in a second at most",
    ),
    value(
        Key::AlarmSendQueue,
        "alarm-send-queue",
        "EVENTS",
        Some("100000"),
        "An alarm is raised when so many events wait to be sent, and at each multiple; 0 = never",
    ),
    value(
        Key::AlarmRedoQueue,
        "alarm-redo-queue",
        "EVENTS",
        Some("100000"),
        "The same for events that wait on a mirror to be applied",
    ),
    value(
        Key::AlarmOldestUnsent,
        "alarm-oldest-unsent",
        "TIME",
        Some("30s"),
        "The same for the time that an event waits to be hardened at the mirror",
    ),
    value(
        Key::AlarmCommitOverhead,
        "alarm-commit-overhead",
        "TIME",
        Some("1s"),
        "The same for the time that confirming by the mirror adds to a commit",
    ),
    value(
        Key::AlarmDiskFree,
        "alarm-disk-free",
        "SIZE",
        Some("1GiB"),
        "An alarm is raised when less than this is free on the disk, and at a half, a third, ...; 0 = never",
    ),
    value(
        Key::AlarmCommand,
        "alarm-command",
        "COMMAND",
        None,
        "A command line for the shell that is run for each alarm, with the alarm as JSON on standard input",
    ),
    value(
        Key::AlarmWebhook,
        "alarm-webhook",
        "HTTP-URL",
        None,
        "Where each alarm is posted as JSON; tried again until the receiver takes it",
    ),
    value(
        Key::AlarmWebhookSecretFile,
        "alarm-webhook-secret-file",
        "PATH",
        None,
        "A file with the secret with which these requests are signed",
    ),
    value(Key::Log, "log", "text|json", Some("text"), "Form of the log lines"),
    value(
        Key::LogLevel,
        "log-level",
        "LEVEL",
        Some("info"),
        "Least level of the log lines: error, warn, info, debug or trace",
    ),
    value(
        Key::ReadyFile,
        "ready-file",
        "PATH",
        None,
        "Write the addresses and the process id here once the server serves, as JSON",
    ),
];

impl Key {
    /// All settings, in the order of help texts.
    pub const ALL: [Key; TABLE.len()] = {
        let mut all = [Key::Data; TABLE.len()];
        let mut index = 0;
        while index < TABLE.len() {
            all[index] = TABLE[index].key;
            index += 1;
        }
        all
    };

    /// This setting's row.
    pub fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.key == self).expect("every setting has a row; a test looks")
    }

    /// The setting with this name in a file.
    pub fn named(name: &str) -> Option<Key> {
        Key::ALL.into_iter().find(|key| key.row().name == name)
    }

    /// Its environment variable.
    pub fn variable(self) -> String {
        format!("COUNTERPART_{}", self.row().name.to_uppercase().replace('-', "_"))
    }
}

const fn value(
    key: Key,
    name: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Row {
    Row { key, name, value: Some(value), default, help }
}

const fn switch(key: Key, name: &'static str, help: &'static str) -> Row {
    Row { key, name, value: None, default: Some("off"), help }
}
