//! The monitor: figures that are noted where things happen, not when somebody looks, so that peaks between two looks count.
//!
//! Whoever commits notes with relaxed atomics and nothing else: no lock, no allocation, no further look at the clock. What costs more
//! (asking the file system, reading a record) is done by who asks for the figures.

mod alone;
mod book;
mod exposition;
mod figures;
mod gauge;
mod histogram;
mod metrics;
mod outbox;
mod peaks;
mod seen;
mod trail;
mod watch;

use counterpart_core::alarms::{Cause, How};

pub(crate) use book::Book;
pub(crate) use figures::Figures;
pub(crate) use gauge::Gauges;
pub(crate) use metrics::render;
pub use outbox::{Channel, Notice};
pub(crate) use watch::{keep_watching, test};

/// A backup has come to its end, or has not: the next one that does is the end of that alarm.
pub(crate) fn backup_ended(shared: &crate::shared::Shared, failed: Option<&str>) {
    let (how, text) = match failed {
        Some(why) => (How::Happened, format!("a backup was not finished: {why}")),
        None => (How::Holds(false), "a backup was finished".to_owned()),
    };
    shared.alarms.report(seen::about(Cause::BackupFailed, None, how, text));
}
