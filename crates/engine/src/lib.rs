//! Counterpart's SQLite engine.
//!
//! Clients' statements run on [`Connection`]s of a [`Database`]; what they commit is captured from the WAL as
//! journal records, and the same records are applied to a copy by an [`Applier`], or by a [`RedoFile`] when
//! nobody has the file open. Nothing here knows LSNs' meaning, partners or the journal, and nothing here makes a
//! commit durable: that is the journal's.

mod apply;
mod cache;
mod capture;
mod checkpoint;
mod class;
mod clock;
mod codes;
mod compile;
mod connection;
mod database;
mod differences;
pub mod error;
mod glance;
mod guard;
mod hooks;
mod import;
mod info;
mod lex;
mod map;
mod memory;
mod pages;
mod raw;
mod readers;
mod recent;
mod redo;
mod scope;
mod shm;
mod value;
mod vfs;
mod wal;
mod writeback;

pub use apply::{Applied, Applier, ApplyError};
pub use cache::PageCaches;
pub use capture::{CaptureError, Captured};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use class::{BeginMode, Class};
pub use compile::{Description, Script};
pub use connection::Connection;
pub use database::{Database, OpenError, Options};
pub use differences::{Change, Difference, DifferenceSink, RowDifference};
pub use error::SqlError;
pub use hooks::CommitGate;
pub use import::{ImportError, ImportInfo, import_check};
pub use info::{DatabaseInfo, TableInfo};
pub use map::{
    BulkWriter, DamagedPage, DatabaseMap, FoldError, Loaded, RepairError, RepairOutcome, Repairer,
    ScrubStep,
};
pub use pages::{PageReader, Pages, SnapshotReader};
pub use readers::{Interrupter, Reader};
pub use recent::RecentImages;
pub use redo::{RedoFile, Redone};
pub use scope::StreamScope;
pub use value::{
    Args, CollectingSink, Column, RowSink, Statement, StatementResult, Stop, Summary, Value,
    ValueRef,
};
pub use wal::WalMemory;
