//! One Counterpart server: it drives the session core, performs its actions, and hosts databases for clients.
//!
//! Nothing here decides about roles, epochs or what is final; `counterpart-core` does. Nothing here writes journal
//! bytes or SQLite pages; `counterpart-journal` and `counterpart-engine` do.

mod admission;
pub mod audit;
mod boot;
mod checkpoint;
pub mod checksums;
mod client_keys;
mod clock;
mod confirm;
mod control;
mod copy;
mod databases;
mod driver;
mod gate;
mod link;
mod maps;
mod mend;
mod monitor;
mod node;
pub mod operations;
mod ops;
pub mod orphans;
mod priority;
mod probe;
mod quarantine;
mod quiet;
mod random;
mod refusal;
mod repair;
mod replay;
mod rest;
mod runs;
pub mod scrub;
mod seed;
mod settings;
mod shared;
mod status;
mod storage;
mod stream;
pub mod system;
mod visibility;
mod workers;

/// What others are told of alarms, and how.
pub mod notices {
    pub use crate::monitor::{Channel, Notice};
}

pub use client_keys::{ClientKeys, ShownCertificate};
pub use node::{Node, StartError};
pub use operations::Operations;
pub use ops::restore::{BackupInfo, RestoreError, Restored, restore, verify_backup};
pub use refusal::Refusal;
pub use settings::Settings;
pub use stream::{BatchOutcome, BatchSink, ClientStream, Condition, Queue, Step};
