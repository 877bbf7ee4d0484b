//! A damaged segment of the journal gets its records again: from memory where they are still there, or from a partner.

use std::sync::Arc;

use bytes::Bytes;
use counterpart_core::{
    Lsn,
    record::{Record, split_records},
};
use counterpart_journal::MendError;
use tokio::task::{JoinError, spawn_blocking};

use crate::shared::Shared;

/// Bytes of records in one answer to a partner. A single record may be longer, and a message has room for twice that.
const PIECE: usize = 2 << 20;

/// Why a segment stays damaged. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmended {
    #[error(transparent)]
    Journal(#[from] MendError),
    #[error("no partner that is connected has the records {0} to {1}")]
    NoSource(Lsn, Lsn),
    #[error("a partner's records are of another history")]
    OtherHistory,
    #[error("a task panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// Mends the segment that begins with `first`.
pub(crate) async fn mend(shared: &Arc<Shared>, first: Lsn) -> Result<(), Unmended> {
    let closing = Arc::clone(shared);
    let span = spawn_blocking(move || closing.journal.close_segment(first)).await??;
    let mending = Arc::clone(shared);
    spawn_blocking(move || {
        let records = mending.repairs.fetch_records(span.first, span.last);
        let records = records.ok_or(Unmended::NoSource(span.first, span.last))?;
        // What a partner brings must be what this journal's history says of these positions.
        if !records.iter().all(|record| is_ours(&mending, record)) {
            return Err(Unmended::OtherHistory);
        }
        Ok(mending.journal.mend_segment(first, &records)?)
    })
    .await?
}

/// Whether a record bears the epoch that this server's history names for its position.
fn is_ours(shared: &Shared, record: &Record) -> bool {
    let control = shared.control.read();
    control.session.history.epoch_at(record.lsn()) == Some(record.header().epoch)
}

/// Records for a partner that lacks them, as many as fit into a message; `None` if they are not here.
pub(crate) fn find_records(shared: &Shared, first: Lsn, last: Lsn) -> Option<Bytes> {
    let chunk = shared.journal.read_after(first.before(), PIECE).ok()?;
    if chunk.bytes.is_empty() {
        return None;
    }
    if chunk.last <= last {
        return Some(chunk.bytes);
    }
    let records = split_records(chunk.bytes).ok()?;
    let wanted = records.into_iter().take_while(|record| record.lsn() <= last);
    Some(wanted.flat_map(|record| record.bytes().to_vec()).collect::<Vec<u8>>().into())
}
