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
    ForeignKeys,
    PartnerTimeout,
    RequireMirror,
    StreamIdle,
    MaxRequestBytes,
    MaxResultBytes,
    StatementTimeout,
    RetentionBytes,
    CheckpointBytes,
    ReaderMaxAge,
    Log,
    LogLevel,
    ReadyFile,
}

/// What is known about a setting.
pub struct Row {
    /// Name of the flag and of the key in the file.
    pub name: &'static str,
    /// What the value is, for help texts. `None`: a switch, on or off.
    pub value: Option<&'static str>,
    /// The default; `None` where there is none, or where it follows from another setting.
    pub default: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
}

impl Key {
    /// All settings, in the order of help texts. A variant that is missing is reported by the compiler.
    pub const ALL: [Key; 19] = [
        Key::Data,
        Key::Listen,
        Key::PartnerListen,
        Key::Advertise,
        Key::PartnerAdvertise,
        Key::Insecure,
        Key::ForeignKeys,
        Key::PartnerTimeout,
        Key::RequireMirror,
        Key::StreamIdle,
        Key::MaxRequestBytes,
        Key::MaxResultBytes,
        Key::StatementTimeout,
        Key::RetentionBytes,
        Key::CheckpointBytes,
        Key::ReaderMaxAge,
        Key::Log,
        Key::LogLevel,
        Key::ReadyFile,
    ];

    /// This setting's row.
    pub fn row(self) -> Row {
        match self {
            Key::Data => {
                value("data", "DIR", None, "Directory of this server's databases and journal")
            }
            Key::Listen => value(
                "listen",
                "ADDR",
                Some("127.0.0.1:6480"),
                "Where clients and operators connect; port 0 lets the system choose",
            ),
            Key::PartnerListen => value(
                "partner-listen",
                "ADDR",
                Some("127.0.0.1:6481"),
                "Where partners connect; port 0 lets the system choose",
            ),
            Key::Advertise => value(
                "advertise",
                "URL",
                None,
                "How clients and operators reach this server [default: http:// and the listen address]",
            ),
            Key::PartnerAdvertise => value(
                "partner-advertise",
                "HOST:PORT",
                None,
                "How partners reach this server [default: the partner listen address]",
            ),
            Key::Insecure => switch(
                "insecure",
                "Allow addresses other than loopback, although nothing is encrypted and nobody has to log in",
            ),
            Key::ForeignKeys => value(
                "foreign-keys",
                "on|off",
                Some("off"),
                "Whether new streams enforce foreign keys; off is SQLite's own default",
            ),
            Key::PartnerTimeout => value(
                "partner-timeout",
                "TIME",
                Some("10s"),
                "A partner that is silent for this long counts as disconnected; at least 1s",
            ),
            Key::RequireMirror => switch(
                "require-mirror",
                "Refuse writes while no mirror is synchronized, instead of going on exposed",
            ),
            Key::StreamIdle => value(
                "stream-idle",
                "TIME",
                Some("5s"),
                "A stream or transaction that is idle for this long is rolled back",
            ),
            Key::MaxRequestBytes => {
                value("max-request-bytes", "SIZE", Some("16MiB"), "Largest request of a client")
            }
            Key::MaxResultBytes => {
                value("max-result-bytes", "SIZE", Some("64MiB"), "Largest result of a statement")
            }
            Key::StatementTimeout => value(
                "statement-timeout",
                "TIME",
                Some("60s"),
                "A statement that runs for this long is ended; 0 = never",
            ),
            Key::RetentionBytes => value(
                "retention-bytes",
                "SIZE",
                Some("1GiB"),
                "Journal kept for mirrors that are away",
            ),
            Key::CheckpointBytes => {
                value("checkpoint-bytes", "SIZE", Some("64MiB"), "Journal between two checkpoints")
            }
            Key::ReaderMaxAge => value(
                "reader-max-age",
                "TIME",
                Some("0"),
                "A reader that holds a snapshot for this long is cut off; 0 = never",
            ),
            Key::Log => value("log", "text|json", Some("text"), "Form of the log lines"),
            Key::LogLevel => value(
                "log-level",
                "LEVEL",
                Some("info"),
                "Least level of the log lines: error, warn, info, debug or trace",
            ),
            Key::ReadyFile => value(
                "ready-file",
                "PATH",
                None,
                "Write the addresses and the process id here once the server serves, as JSON",
            ),
        }
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

fn value(
    name: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Row {
    Row { name, value: Some(value), default, help }
}

fn switch(name: &'static str, help: &'static str) -> Row {
    Row { name, value: None, default: Some("off"), help }
}
