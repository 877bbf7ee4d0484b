//! What the end-to-end tests share: real servers as child processes, a plain Hrana client, a proxy that can be cut.
//!
//! Nothing here sleeps to synchronise: every wait is for a state, with a deadline that fails the test by name.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod at_rest;
pub mod chance;
pub mod client;
pub mod clock;
pub mod fault;
pub mod fs;
pub mod pair;
pub mod people;
pub mod proxy;
pub mod raw;
pub mod secure;
pub mod server;
pub mod socket;
pub mod stream;
pub mod workload;

use std::time::Duration;

use clock::now;

/// Whether this is a long run, as `./test soak` makes it.
pub fn is_soak() -> bool {
    std::env::var_os("COUNTERPART_TEST_SOAK").is_some()
}

/// How long a state may take to come about before a test fails. Generous: two cores run many tests at once.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `probe` gives something, and returns it.
///
/// # Panics
/// When the deadline passes first, with what was awaited.
pub fn wait_for<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    wait_for_within(DEADLINE, what, probe)
}

/// [`wait_for`] with its own deadline.
pub fn wait_for_within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(now() < deadline, "gave up after {limit:?} waiting for: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
