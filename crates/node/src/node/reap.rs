//! Transactions and readers that hold on for too long are ended, so that others can go on and the WAL can shrink.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::{refusal::Refusal, shared::Shared, stream::Slot};

/// Ends transactions that lie idle for too long, and readers that pin the WAL for too long.
pub(super) async fn reap(shared: Arc<Shared>) {
    let limit = u64::try_from(shared.settings.transaction_idle.as_millis()).unwrap_or(u64::MAX);
    let pause = std::time::Duration::from_millis((limit / 10).clamp(10, 250));
    loop {
        tokio::time::sleep(pause).await;
        interrupt_old_readers(&shared);
        for (slot, mut held) in shared.transactions.resting() {
            let open = held.in_transaction();
            let Some(why) = too_long(&shared, &slot).filter(|_| open) else { continue };
            let why = Refusal::stream_expired(&why);
            if spawn_blocking(move || held.expire(why)).await.is_err() {
                tracing::error!(database = %slot.hosted.name, "rolling back an idle transaction panicked");
            }
        }
    }
}

/// Why a transaction must end now, if it must.
fn too_long(shared: &Shared, slot: &Slot) -> Option<String> {
    let idle = shared.settings.transaction_idle;
    if u128::from(slot.idle_ms()) >= idle.as_millis() {
        let limit = idle.as_secs_f32();
        return Some(format!(
            "the transaction was idle for more than {limit} s and was rolled back"
        ));
    }
    let most = shared
        .settings
        .reader_max_age
        .filter(|most| u128::from(slot.open_ms()) >= most.as_millis())?;
    let limit = most.as_secs_f32();
    Some(format!(
        "the transaction was open for more than {limit} s and was rolled back, so that the WAL can shrink"
    ))
}

/// Interrupts statements whose snapshot is older than it may be.
fn interrupt_old_readers(shared: &Shared) {
    let Some(most) = shared.settings.reader_max_age else { return };
    let now = crate::clock::unix_now();
    for hosted in shared.databases.all() {
        for reader in hosted.engine.readers() {
            if u128::from(now.0.saturating_sub(reader.since.0)) >= most.as_micros() {
                tracing::warn!(database = %hosted.name, "a reader held its snapshot for too long and was interrupted");
                reader.interrupter.interrupt();
            }
        }
    }
}
