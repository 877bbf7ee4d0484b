//! The second stage: every setting checked, typed, and no text left to be misread later.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use counterpart_core::{alarms::Limits, session::Rejoin};

use super::{Key, Origin, invalid, layer::Layer, path, units};
use crate::exit::{Exit, Failure};

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Whether clients and operators are served with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsChoice {
    /// Where others than this machine can reach the server.
    Auto,
    /// Everywhere.
    On,
    /// Nowhere.
    Off,
}

/// Where a certificate and its key are, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// All settings of `serve`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The data directory.
    pub data: PathBuf,
    /// Where clients and operators connect. Port 0: the system chooses.
    pub listen: SocketAddr,
    /// Where partners connect. Port 0: the system chooses.
    pub partner_listen: SocketAddr,
    /// How clients and operators reach this server; `None`: `http://` or `https://` and the address that `listen` got.
    pub advertise: Option<String>,
    /// How partners reach this server, `host:port`; `None`: the address that `partner_listen` got.
    pub partner_advertise: Option<String>,
    /// Addresses other than loopback are allowed.
    pub insecure: bool,
    /// Nobody is let in without a token.
    pub require_token: bool,
    /// Whether clients and operators are served with TLS, if no certificate is given.
    pub tls: TlsChoice,
    /// The certificate that they are shown, and its key; `None`: one that this server makes.
    pub tls_files: Option<TlsFiles>,
    /// A file with the public keys of those whose JWTs are taken.
    pub jwt_key: Option<PathBuf>,
    /// New streams enforce foreign keys.
    pub foreign_keys: bool,
    /// A partner that is silent for this long counts as disconnected. At least 1 s.
    pub partner_timeout: Duration,
    /// Writes are refused while no mirror is synchronized.
    pub require_mirror: bool,
    /// A stream that is idle for this long is rolled back. At least 100 ms.
    pub stream_idle: Duration,
    /// Largest request of a client, in bytes. At least 1 KiB.
    pub max_request_bytes: u64,
    /// Largest result of a statement, in bytes. At least 1 KiB.
    pub max_result_bytes: u64,
    /// A statement that runs for this long is ended; `None`: never.
    pub statement_timeout: Option<Duration>,
    /// Journal kept for mirrors that are away, in bytes.
    pub retention_bytes: u64,
    /// Journal between two checkpoints, in bytes. At least 1 MiB.
    pub checkpoint_bytes: u64,
    /// Memory for previous versions of pages, in bytes.
    pub delta_cache_bytes: u64,
    /// Memory for pages of databases that are written to, in bytes.
    pub page_cache_bytes: u64,
    /// Memory for WALs, in bytes.
    pub wal_memory_bytes: u64,
    /// Databases that stay open while nobody uses them. At least 1.
    pub open_databases: u64,
    /// A reader that holds a snapshot for this long is cut off; `None`: never.
    pub reader_max_age: Option<Duration>,
    /// Readers that hold a snapshot are cut off when the WAL has so many bytes; 0: never.
    pub reader_max_wal: u64,
    /// What a deposed principal does with events that only it has.
    pub rejoin: Rejoin,
    /// Every page and record is read back from the disk this often; `None`: never by itself.
    pub scrub_every: Option<Duration>,
    /// Bytes that this reads in a second at most. At least 64 KiB.
    pub scrub_rate: u64,
    /// From where on a figure is an alarm.
    pub alarm_limits: Limits,
    /// A command line for the shell that is run for each alarm.
    pub alarm_command: Option<String>,
    /// Where each alarm is posted.
    pub alarm_webhook: Option<String>,
    /// With what that is signed.
    pub alarm_webhook_secret_file: Option<PathBuf>,
    /// Form of the log lines.
    pub log: LogFormat,
    /// Least level of the log lines.
    pub log_level: tracing::Level,
    /// Where to say that the server serves.
    pub ready_file: Option<PathBuf>,
}

impl Settings {
    /// Whether clients and operators are served with TLS.
    pub fn uses_tls(&self) -> bool {
        match self.tls {
            TlsChoice::Auto => self.tls_files.is_some() || !self.listen.ip().is_loopback(),
            TlsChoice::On => true,
            TlsChoice::Off => false,
        }
    }

    /// What anybody may do who reaches one of the addresses, where that is too much: the address, and what.
    pub fn exposed(&self) -> Vec<(SocketAddr, &'static str)> {
        let (clients, partners) = (self.listen, self.partner_listen);
        let mut exposed = Vec::new();
        if !clients.ip().is_loopback() && !self.uses_tls() {
            exposed.push((clients, "whatever clients and operators send, tokens too, can be read and changed on its way"));
        }
        if !clients.ip().is_loopback() && !self.require_token {
            exposed.push((
                clients,
                "whoever reaches this address may read, write and administer everything",
            ));
        }
        if !partners.ip().is_loopback() {
            exposed.push((partners, "whoever reaches this address can pass for a partner, and what partners send can be read and changed on its way"));
        }
        exposed
    }

    /// The beginning of URLs at which they are served.
    pub fn scheme(&self) -> &'static str {
        if self.uses_tls() { "https" } else { "http" }
    }
}

/// One setting's text and where it came from.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which setting.
    pub key: Key,
    /// Its text; `None`: not set, and it has no default.
    pub text: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// All settings with where they came from, not yet checked.
pub struct Resolved(Vec<Entry>);

impl Resolved {
    /// The first layer that says something about a setting decides.
    pub fn new(layers: &[Layer]) -> Resolved {
        let entry = |key: Key| {
            let said = layers.iter().find_map(|layer| layer.get(&key)).cloned();
            let (text, origin) = match said {
                Some((text, origin)) => (Some(text), origin),
                None => (key.row().default.map(str::to_owned), Origin::Default),
            };
            Entry { key, text, origin }
        };
        Resolved(Key::ALL.into_iter().map(entry).collect())
    }

    /// One per setting, with the defaults that follow from other settings written out.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        // What can't be used has no address to show either.
        let scheme = self.checked().map_or("http", |settings| settings.scheme());
        self.0.iter().map(move |entry| {
            let follows = match entry.key {
                Key::Advertise => self.known_port(Key::Listen).map(|at| format!("{scheme}://{at}")),
                Key::PartnerAdvertise => self.known_port(Key::PartnerListen).map(str::to_owned),
                _ => None,
            };
            Entry { text: entry.text.clone().or(follows), ..entry.clone() }
        })
    }

    /// The text of an address, unless its port is chosen only when the server starts.
    fn known_port(&self, key: Key) -> Option<&str> {
        self.text(key).filter(|address| !address.ends_with(":0"))
    }

    /// Everything checked.
    pub fn settings(&self) -> Result<Settings, Failure> {
        if self.text(Key::Data).is_none_or(str::is_empty) {
            return Err(Failure::new(
                Exit::Usage,
                "DATA_DIRECTORY_MISSING",
                "no data directory is given",
                "give --data DIR, set COUNTERPART_DATA, or write `data` into the configuration file",
            ));
        }
        self.checked()
    }

    /// [`settings`](Self::settings), but the data directory may be missing.
    pub fn checked(&self) -> Result<Settings, Failure> {
        let settings = Settings {
            data: path(self.text(Key::Data).unwrap_or_default()),
            listen: self.value(Key::Listen, address)?,
            partner_listen: self.value(Key::PartnerListen, address)?,
            advertise: self.optional(Key::Advertise, client_url)?,
            partner_advertise: self.optional(Key::PartnerAdvertise, host_and_port)?,
            insecure: self.value(Key::Insecure, on_or_off)?,
            require_token: self.value(Key::RequireToken, on_or_off)?,
            tls: self.value(Key::Tls, tls)?,
            tls_files: self.tls_files()?,
            jwt_key: self.text(Key::Jwt).map(path),
            foreign_keys: self.value(Key::ForeignKeys, on_or_off)?,
            partner_timeout: self
                .value(Key::PartnerTimeout, |t| time(t, Duration::from_secs(1)))?,
            require_mirror: self.value(Key::RequireMirror, on_or_off)?,
            stream_idle: self.value(Key::StreamIdle, |t| time(t, Duration::from_millis(100)))?,
            max_request_bytes: self.value(Key::MaxRequestBytes, |t| bytes(t, 1 << 10))?,
            max_result_bytes: self.value(Key::MaxResultBytes, |t| bytes(t, 1 << 10))?,
            statement_timeout: self.value(Key::StatementTimeout, limit)?,
            retention_bytes: self.value(Key::RetentionBytes, units::size)?,
            checkpoint_bytes: self.value(Key::CheckpointBytes, |t| bytes(t, 1 << 20))?,
            delta_cache_bytes: self.value(Key::DeltaCacheBytes, units::size)?,
            wal_memory_bytes: self.value(Key::WalMemoryBytes, units::size)?,
            page_cache_bytes: self.value(Key::PageCacheBytes, units::size)?,
            open_databases: self.value(Key::OpenDatabases, count)?,
            reader_max_age: self.value(Key::ReaderMaxAge, limit)?,
            reader_max_wal: self.value(Key::ReaderMaxWal, units::size)?,
            rejoin: self.value(Key::Rejoin, rejoin)?,
            scrub_every: self.value(Key::ScrubEvery, limit)?,
            scrub_rate: self.value(Key::ScrubRate, |t| bytes(t, 64 << 10))?,
            alarm_limits: Limits {
                send_queue: self.value(Key::AlarmSendQueue, events)?,
                redo_queue: self.value(Key::AlarmRedoQueue, events)?,
                oldest_unsent: self.value(Key::AlarmOldestUnsent, micros)?,
                commit_overhead: self.value(Key::AlarmCommitOverhead, micros)?,
                disk_free: self.value(Key::AlarmDiskFree, units::size)?.into(),
            },
            alarm_command: self.text(Key::AlarmCommand).map(str::to_owned),
            alarm_webhook: self.optional(Key::AlarmWebhook, webhook)?,
            alarm_webhook_secret_file: self.text(Key::AlarmWebhookSecretFile).map(path),
            log: self.value(Key::Log, log_format)?,
            log_level: self.value(Key::LogLevel, log_level)?,
            ready_file: self.text(Key::ReadyFile).map(path),
        };
        self.check_addresses(&settings)?;
        if settings.jwt_key.is_some() && !settings.require_token {
            return Err(invalid(
                format!(
                    "jwt-key (from {}) without require-token would keep nobody out",
                    self.entry(Key::Jwt).origin
                ),
                "add --require-token".to_owned(),
            ));
        }
        Ok(settings)
    }

    /// A certificate is of no use without its key, and with TLS off neither is.
    fn tls_files(&self) -> Result<Option<TlsFiles>, Failure> {
        let file = |key| self.text(key).map(path);
        match (file(Key::TlsCertFile), file(Key::TlsKeyFile)) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) if self.text(Key::Tls) == Some("off") => Err(invalid(
                format!(
                    "tls-cert (from {}) is given, and tls is off",
                    self.entry(Key::TlsCertFile).origin
                ),
                "leave out one of the two",
            )),
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
            (given, _) => {
                let (given, missing) = match given {
                    Some(_) => (Key::TlsCertFile, Key::TlsKeyFile),
                    None => (Key::TlsKeyFile, Key::TlsCertFile),
                };
                let (name, missing) = (given.row().name, missing.row().name);
                Err(invalid(
                    format!(
                        "{name} (from {}) is given without {missing}",
                        self.entry(given).origin
                    ),
                    format!("add --{missing} FILE, or leave out both"),
                ))
            }
        }
    }

    /// Others than this machine may reach the server where what is sent is encrypted and everybody has to log in, or where
    /// the operator says so; and an address that stands for all of a machine's addresses tells partners nothing.
    fn check_addresses(&self, settings: &Settings) -> Result<(), Failure> {
        let pairs = [
            (Key::Listen, settings.listen, Key::Advertise, settings.advertise.is_some()),
            (
                Key::PartnerListen,
                settings.partner_listen,
                Key::PartnerAdvertise,
                settings.partner_advertise.is_some(),
            ),
        ];
        for (listen, address, advertise, advertised) in pairs {
            let (listen, advertise) = (self.entry(listen), advertise.row().name);
            if !address.ip().is_loopback() && !settings.insecure {
                let unsafe_for = match listen.key {
                    Key::Listen => unsafe_for_clients(settings),
                    _ => Some((
                        "partners do not use TLS yet and do not prove who they are".to_owned(),
                        String::new(),
                    )),
                };
                if let Some((why, what_to_add)) = unsafe_for {
                    return Err(Failure::new(
                        Exit::Usage,
                        "INSECURE_ADDRESS",
                        format!(
                            "{} {address} (from {}) can be reached from other machines, and {why}",
                            listen.key.row().name,
                            listen.origin
                        ),
                        format!(
                            "{what_to_add}use a loopback address, or add --insecure if the network is trusted"
                        ),
                    ));
                }
            }
            if address.ip().is_unspecified() && !advertised {
                return Err(invalid(
                    format!(
                        "{address} (from {}) does not say how others reach this server",
                        listen.origin
                    ),
                    format!("add --{advertise} with this machine's name or address"),
                ));
            }
        }
        if let Some(url) = &settings.advertise
            && settings.uses_tls()
            && !url.starts_with("https://")
        {
            return Err(invalid(
                format!(
                    "advertise (from {}) is {url}, and clients are served with TLS",
                    self.entry(Key::Advertise).origin
                ),
                "say https:// there, or add --tls off",
            ));
        }
        Ok(())
    }

    fn entry(&self, key: Key) -> &Entry {
        self.0.iter().find(|entry| entry.key == key).expect("there is an entry for every key")
    }

    fn text(&self, key: Key) -> Option<&str> {
        self.entry(key).text.as_deref()
    }

    fn value<T>(&self, key: Key, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Failure> {
        let parsed = self.optional(key, parse)?;
        Ok(parsed.expect("a setting that is read like this has a default"))
    }

    fn optional<T>(
        &self,
        key: Key,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let entry = self.entry(key);
        entry.text.as_deref().map(parse).transpose().map_err(|why| {
            let row = key.row();
            invalid(format!("{} (from {}): {why}", row.name, entry.origin), example(row.value))
        })
    }
}

/// Why clients on other machines can't be served in safety, and what to add so that they can.
fn unsafe_for_clients(settings: &Settings) -> Option<(String, String)> {
    let missing = [
        (!settings.uses_tls(), "nothing is encrypted", "take away --tls off"),
        (!settings.require_token, "nobody has to log in", "add --require-token"),
    ];
    let (why, add): (Vec<_>, Vec<_>) =
        missing.iter().filter(|(is, ..)| *is).map(|(_, why, add)| (*why, *add)).unzip();
    let add = format!("{}; otherwise ", add.join(" and "));
    (!why.is_empty()).then(|| (why.join(" and "), add))
}

/// What to give instead of a value that makes no sense.
fn example(value: Option<&str>) -> String {
    match value {
        Some("TIME") => "give a whole number with ms, s, m, h or d, for example 10s".to_owned(),
        Some("SIZE") => {
            "give a number of bytes, or one with KiB, MiB or GiB, for example 64MiB".to_owned()
        }
        Some("ADDR") => "give IP:PORT, for example 127.0.0.1:6480".to_owned(),
        Some("HTTP-URL") => {
            "give http://HOST:PORT/PATH; what needs https is reached with alarm-command and curl"
                .to_owned()
        }
        Some("EVENTS") => "give a number of events, for example 100000".to_owned(),
        Some("URL") => "give http://HOST:PORT or https://HOST:PORT, without a path".to_owned(),
        Some("LEVEL") => "give error, warn, info, debug or trace".to_owned(),
        Some(other) => format!("give {}", other.replace('|', " or ")),
        None => "give on or off".to_owned(),
    }
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse()
        .map_err(|_| format!("{text:?} is not an address such as 127.0.0.1:6480 or [::1]:6480"))
}

fn client_url(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    let authority = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let good = authority.is_some_and(|a| {
        !a.is_empty()
            && !a.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '@'))
    });
    if good {
        Ok(url.to_owned())
    } else {
        Err(format!("{text:?} is not a URL such as http://db1:6480"))
    }
}

fn webhook(text: &str) -> Result<String, String> {
    if text.starts_with("https://") {
        return Err("requests can't be encrypted yet".to_owned());
    }
    let authority = text.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next());
    let good = authority.is_some_and(|authority| !authority.is_empty() && !authority.contains('@'))
        && text.chars().all(|c| c.is_ascii_graphic());
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a URL such as http://127.0.0.1:9000/alarms"))
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@'))
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not an address such as db1:6481"))
    }
}

fn time(text: &str, least: Duration) -> Result<Duration, String> {
    let time = units::duration(text)?;
    if time >= least { Ok(time) } else { Err(format!("{text} is less than {least:?}")) }
}

/// A duration of which 0 means never.
fn limit(text: &str) -> Result<Option<Duration>, String> {
    let time = units::duration(text)?;
    Ok((!time.is_zero()).then_some(time))
}

fn bytes(text: &str, least: u64) -> Result<u64, String> {
    let size = units::size(text)?;
    if size >= least { Ok(size) } else { Err(format!("{text} is less than {least} bytes")) }
}

fn count(text: &str) -> Result<u64, String> {
    let parsed = text.trim().parse().ok().filter(|count| *count > 0);
    parsed.ok_or_else(|| format!("{text:?} is not a number from 1 on"))
}

fn tls(text: &str) -> Result<TlsChoice, String> {
    match text {
        "auto" => Ok(TlsChoice::Auto),
        "on" => Ok(TlsChoice::On),
        "off" => Ok(TlsChoice::Off),
        _ => Err(format!("{text:?} is neither auto, on nor off")),
    }
}

/// A number of events of which 0 means never.
fn events(text: &str) -> Result<Option<u64>, String> {
    let parsed: Option<u64> = text.trim().parse().ok();
    let parsed = parsed.ok_or_else(|| format!("{text:?} is not a number of events"))?;
    Ok((parsed > 0).then_some(parsed))
}

/// A duration in microseconds, of which 0 means never.
fn micros(text: &str) -> Result<Option<u64>, String> {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Ok(limit(text)?.map(micros))
}

fn rejoin(text: &str) -> Result<Rejoin, String> {
    match text {
        "automatic" => Ok(Rejoin::Automatic),
        "manual" => Ok(Rejoin::Manual),
        _ => Err(format!("{text:?} is neither automatic nor manual")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither text nor json")),
    }
}

fn log_level(text: &str) -> Result<tracing::Level, String> {
    match text {
        "error" => Ok(tracing::Level::ERROR),
        "warn" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err(format!("{text:?} is not error, warn, info, debug or trace")),
    }
}
