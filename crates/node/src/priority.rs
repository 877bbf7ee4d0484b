//! Threads whose work nobody's commit waits for.

/// Others go before this thread from now on, by so much as the system counts it: 0 is nothing, 19 the most.
pub(crate) fn give_way(nice: i32) {
    // Of this thread, not of the process.
    if let Err(error) = rustix::process::nice(nice) {
        tracing::debug!(%error, "a thread is more urgent than it should be");
    }
}
