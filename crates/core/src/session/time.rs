//! Time as an argument, and the settings that are measured in it.

use serde::{Deserialize, Serialize};

use crate::{fingerprint::Fingerprint, ids::UnixMicros};

/// A span, or a point on the driver's monotonic clock, in milliseconds.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// This point later by `span`.
    #[must_use]
    pub fn after(self, span: Millis) -> Millis {
        Millis(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; 0 if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Millis) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// The present moment on both clocks: the monotonic one decides, the calendar one is only written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// The monotonic clock. Never goes backwards; its zero means nothing.
    pub ticks: Millis,
    /// The calendar. May jump; nothing is decided by it.
    pub unix: UnixMicros,
}

/// What the operator configured, and what the driver knows about this server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// A partner that is silent for this long is lost. At least 1 s; default 10 s.
    pub partner_timeout: Millis,
    /// How long a restarting principal waits for its partners' answers before it admits writes. Default 2 s.
    pub inquiry_time: Millis,
    /// How long a failover may take from the command to the partner's answer. Default 10 s.
    pub failover_time: Millis,
    /// The longest pause between attempts to reach a partner. Default 30 s.
    pub reconnect_most: Millis,
    /// Spreads the attempts of many servers; any number, drawn by the driver at start-up.
    pub jitter_seed: u64,
    /// Where partners reach this server (`host:port`).
    pub partner_address: String,
    /// Where clients reach this server (a URL).
    pub client_url: String,
    /// The TLS key that is shown there; `None` without TLS.
    pub client_key: Option<Fingerprint>,
    /// The program's version, for people.
    pub build: String,
    /// What a deposed principal does with events that only it has.
    pub rejoin: Rejoin,
}

/// What a server does that finds that it alone has some events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejoin {
    /// It saves them as orphans and follows the principal.
    #[default]
    Automatic,
    /// It parks, untouched, until the operator decides.
    Manual,
}

impl Config {
    /// The defaults with this server's addresses.
    #[must_use]
    pub fn new(partner_address: &str, client_url: &str) -> Config {
        Config {
            partner_timeout: Millis(10_000),
            inquiry_time: Millis(2_000),
            failover_time: Millis(10_000),
            reconnect_most: Millis(30_000),
            jitter_seed: 1,
            partner_address: partner_address.to_owned(),
            client_url: client_url.to_owned(),
            client_key: None,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            rejoin: Rejoin::Automatic,
        }
    }

    /// Heartbeats go out this often: a quarter of the partner timeout, at most 1 s.
    #[must_use]
    pub fn heartbeat(&self) -> Millis {
        Millis((self.partner_timeout.0 / 4).clamp(1, 1_000))
    }
}
