//! What the tests share: a database that is not one, a server on a loopback socket, and clients.
#![allow(dead_code)] // Each test binary uses its own part.

pub mod fake;
pub mod http;
pub mod messages;
pub mod ws;

/// Lets the server's tasks run until `condition` holds. Bounded in steps, not in time, so that it
/// works while time is paused.
pub async fn until(condition: impl Fn() -> bool) {
    for _ in 0..10_000_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("what was waited for did not happen");
}
