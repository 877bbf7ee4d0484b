//! The monitor: figures that are noted where things happen, not when somebody looks, so that peaks between two looks count.
//!
//! Whoever commits notes with relaxed atomics and nothing else: no lock, no allocation, no further look at the clock. What costs more
//! (asking the file system, reading a record) is done by who asks for the figures.

mod exposition;
mod figures;
mod gauge;
mod histogram;
mod metrics;
mod peaks;
mod trail;
mod watch;

pub(crate) use figures::Figures;
pub(crate) use gauge::Gauges;
pub(crate) use metrics::render;
pub(crate) use watch::keep_watching;
