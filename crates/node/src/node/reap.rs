//! Transactions and readers that hold on for too long are ended, so that others can go on and the WAL can shrink.

use std::{sync::Arc, time::Duration};

use tokio::task::spawn_blocking;

use crate::{
    databases::Hosted, refusal::Refusal, settings::Settings, shared::Shared, stream::Slot,
};

/// A reader that began later is not why a WAL has grown too large.
const PINS: Duration = Duration::from_secs(5);

/// Ends transactions that lie idle for too long, and readers that pin the WAL for too long.
pub(super) async fn reap(shared: Arc<Shared>) {
    let limit = u64::try_from(shared.settings.transaction_idle.as_millis()).unwrap_or(u64::MAX);
    let pause = Duration::from_millis((limit / 10).clamp(10, 250));
    loop {
        tokio::time::sleep(pause).await;
        interrupt_old_readers(&shared);
        for (slot, mut held) in shared.transactions.resting() {
            let open = held.in_transaction();
            let Some(why) = too_long(&shared, &slot).filter(|_| open) else { continue };
            if spawn_blocking(move || held.expire(why)).await.is_err() {
                tracing::error!(database = %slot.hosted.name, "rolling back an idle transaction panicked");
            }
        }
    }
}

/// Why a transaction must end now, if it must.
fn too_long(shared: &Shared, slot: &Slot) -> Option<Refusal> {
    let idle = shared.settings.transaction_idle;
    if u128::from(slot.idle_ms()) >= idle.as_millis() {
        let limit = idle.as_secs_f32();
        return Some(Refusal::stream_expired(&format!(
            "the transaction was idle for more than {limit} s and was rolled back"
        )));
    }
    let most = reader_most(&shared.settings, &slot.hosted)
        .filter(|most| u128::from(slot.open_ms()) >= most.as_millis())?;
    Some(Refusal::open_too_long(most))
}

/// The age at which a reader of this database is cut off now.
fn reader_most(settings: &Settings, hosted: &Hosted) -> Option<Duration> {
    let grown = settings.reader_max_wal.is_some_and(|most| hosted.engine.wal_bytes() >= most);
    settings.reader_max_age.into_iter().chain(grown.then_some(PINS)).min()
}

/// Interrupts statements whose snapshot is older than it may be.
fn interrupt_old_readers(shared: &Shared) {
    let now = crate::clock::unix_now();
    for hosted in shared.databases.all() {
        let Some(most) = reader_most(&shared.settings, &hosted) else { continue };
        for reader in hosted.engine.readers() {
            if u128::from(now.0.saturating_sub(reader.since.0)) >= most.as_micros() {
                tracing::warn!(database = %hosted.name, "a reader held its snapshot for too long and was interrupted");
                reader.cut_off(most);
            }
        }
    }
}
