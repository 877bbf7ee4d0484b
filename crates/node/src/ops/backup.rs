//! A backup: all databases with the journal that makes them show one position, as one file, while writes go on.
//!
//! It is the copy for a receiver that has nothing, after a head that says what it is a copy of.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use counterpart_core::{
    Lsn,
    copy::opening,
    frame::{self, FrameType},
};
use tokio::{
    sync::mpsc,
    time::{Duration, timeout},
};

use super::create::failed;
use crate::{
    copy::{
        meter::Purpose,
        send::{Sender, choose_mark},
    },
    link::SeedOut,
    monitor,
    operations::Backup,
    refusal::Refusal,
    shared::Shared,
};

/// Frames that wait for the reader.
const WAITING: usize = 4;

/// A download that takes nothing for this long is ended: it pins the WAL and the journal.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Positions from which somebody besides the partners still needs the journal.
#[derive(Debug, Default)]
pub(crate) struct Holds(std::sync::Mutex<BTreeMap<u64, Lsn>>);

impl Holds {
    /// The lowest of them.
    pub(crate) fn least(&self) -> Option<Lsn> {
        self.0.lock().expect("no holder of this lock panics").values().min().copied()
    }
}

/// Keeps the journal after a position for as long as it lives.
struct Hold(Arc<Shared>, u64);

impl Hold {
    fn new(shared: &Arc<Shared>) -> Hold {
        let number = crate::random::number();
        let after = shared.control.read().redo_after;
        let mut all = shared.holds.0.lock().expect("no holder of this lock panics");
        all.insert(number, after);
        Hold(Arc::clone(shared), number)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = self.0.holds.0.lock().expect("no holder of this lock panics");
        all.remove(&self.1);
    }
}

/// Begins a backup.
pub(crate) async fn backup(shared: &Arc<Shared>) -> Result<Backup, Refusal> {
    shared.databases.available()?;
    let hold = Hold::new(shared);
    let mark = choose_mark(shared).await?;
    let (out, frames) = mpsc::channel(WAITING);
    let (sender, pieces) = mpsc::channel(WAITING);
    let shared = Arc::clone(shared);
    let io = shared.io.clone();
    let ending = sender.clone();
    let packing = io.spawn(pack(frames, sender));
    io.spawn(async move {
        let _hold = hold;
        let meter = shared.copies.begin(Purpose::Backup);
        let mut copy = Sender { shared: &shared, out, answers: None, meter: &meter, mark };
        let sent = copy.send_all().await;
        drop(copy);
        meter.end();
        let packed = packing.await.is_ok();
        monitor::backup_ended(&shared, sent.as_ref().err().map(ToString::to_string).as_deref());
        if packed && let Err(error) = sent {
            // A reader that has gone knows it.
            let _gone = ending.send(Err(failed("the backup broke off", error))).await;
        }
    });
    Ok(Backup { pieces })
}

/// Turns frames into the bytes of a file.
async fn pack(mut frames: mpsc::Receiver<SeedOut>, pieces: mpsc::Sender<Result<Bytes, Refusal>>) {
    let mut next = Some(Bytes::copy_from_slice(&opening()));
    loop {
        if let Some(piece) = next.take() {
            match timeout(STANDSTILL, pieces.send(Ok(piece))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
        match frames.recv().await {
            Some(SeedOut::Frame(kind, payload)) => next = Some(whole_frame(kind, &payload)),
            Some(SeedOut::Turn(_)) => unreachable!("a file has no socket that could be lent"),
            // The reader has taken all that was before it, but for what waits.
            Some(SeedOut::Flushed(told)) => drop(told.send(())),
            None => return,
        }
    }
}

fn whole_frame(kind: FrameType, payload: &[u8]) -> Bytes {
    let header = frame::header(kind, &[payload]);
    let mut whole = Vec::with_capacity(header.len() + payload.len());
    whole.extend_from_slice(&header);
    whole.extend_from_slice(payload);
    whole.into()
}
