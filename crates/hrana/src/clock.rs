//! The one place of this crate that reads a clock.
//!
//! The idle limit of streams is real time between two requests of a client, so nobody could pass it
//! in. It is tokio's clock, which tests pause and advance. Nothing here may decide anything.

use tokio::time::Instant;

/// The time now.
pub(crate) fn now() -> Instant {
    Instant::now()
}
