//! Scrub: every page of every database file and every record of the journal is read back from the disk now and then,
//! so that damage is found while a partner still has what was there.
//!
//! In small steps and at a bounded rate, unless somebody waits for it. What is damaged is repaired at once where it
//! can be; the rest is told, never overwritten.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use counterpart_core::{PageNo, UnixMicros};
use counterpart_engine::RepairOutcome;
use counterpart_journal::{ReadError, Span};
use serde::Serialize;
use tokio::{
    sync::Notify,
    task::{JoinError, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{clock, databases::Hosted, shared::Shared};

/// Bytes read in one step.
const STEP: usize = 1 << 20;

/// Sentences about what went wrong that are kept of a pass; all are in the log.
const REMEMBERED: usize = 32;

/// One time through everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pass {
    /// When it began.
    pub began: UnixMicros,
    /// When it ended.
    pub ended: Option<UnixMicros>,
    /// Bytes read back so far.
    pub bytes: u64,
    /// Bytes to read back, as it was when it began.
    pub total: u64,
    /// Pages that did not hold what they should.
    pub damaged_pages: u64,
    /// Of these: pages that are good again.
    pub repaired_pages: u64,
    /// Segments of the journal that did not verify.
    pub damaged_segments: u64,
    /// Of these: segments that are good again.
    pub repaired_segments: u64,
    /// What is wrong and could not be put right, in sentences.
    pub failures: Vec<String>,
}

impl Pass {
    fn fail(&mut self, what: String) {
        tracing::error!("{what}");
        if self.failures.len() < REMEMBERED {
            self.failures.push(what);
        }
    }
}

/// What the status tells.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// The pass under way.
    pub running: Option<Pass>,
    /// The newest one that ended.
    pub last: Option<Pass>,
}

#[derive(Default)]
struct State {
    progress: Progress,
    /// Somebody waits: at full speed.
    urgent: bool,
}

/// The scrub of one server.
#[derive(Default)]
pub struct Scrub {
    state: Mutex<State>,
    wake: Notify,
}

impl Scrub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Begins a pass now, at full speed, or goes on at full speed with the one under way.
    pub fn hurry(&self) -> Progress {
        let mut state = self.lock();
        state.urgent = true;
        if state.progress.running.is_none() {
            let began = clock::unix_now();
            state.progress.running = Some(Pass { began, ..Pass::default() });
        }
        let progress = state.progress.clone();
        drop(state);
        self.wake.notify_one();
        progress
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.lock().progress.clone()
    }

    fn note(&self, pass: &Pass) {
        self.lock().progress.running = Some(pass.clone());
    }

    /// Waits as long as the rate asks for, unless somebody is in a hurry.
    async fn pace(&self, shared: &Shared, bytes: u64) {
        if self.lock().urgent {
            // Other tasks want to run, too.
            return tokio::task::yield_now().await;
        }
        let seconds = bytes as f64 / shared.settings.scrub_rate as f64;
        let woken = timeout(Duration::from_secs_f64(seconds), self.wake.notified()).await;
        drop(woken);
    }
}

/// Scrubs whenever it is time, or somebody asks, until the server ends.
pub async fn keep_scrubbing(shared: Arc<Shared>) {
    let scrub = Arc::clone(&shared.scrub);
    loop {
        let waiting = async {
            match shared.settings.scrub_every {
                Some(every) => sleep(every).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waiting => {}
            () = scrub.wake.notified() => {}
        }
        match pass(&shared).await {
            Ok(pass) => end(&scrub, pass),
            Err(panicked) => {
                tracing::error!(%panicked, "a scrub broke down");
                let mut state = scrub.lock();
                state.progress.running = None;
                state.urgent = false;
            }
        }
    }
}

fn end(scrub: &Scrub, mut pass: Pass) {
    pass.ended = Some(clock::unix_now());
    tracing::info!(
        bytes = pass.bytes,
        damaged_pages = pass.damaged_pages,
        repaired_pages = pass.repaired_pages,
        damaged_segments = pass.damaged_segments,
        repaired_segments = pass.repaired_segments,
        "a scrub has ended"
    );
    let mut state = scrub.lock();
    state.progress.running = None;
    state.progress.last = Some(pass);
    state.urgent = false;
}

async fn pass(shared: &Arc<Shared>) -> Result<Pass, JoinError> {
    let (databases, segments) = (shared.databases.all(), shared.journal.segments());
    let size = |hosted: &Arc<Hosted>| {
        u64::from(hosted.engine.size_in_pages()) * hosted.engine.page_size().bytes() as u64
    };
    let mut pass = Pass {
        began: clock::unix_now(),
        total: databases.iter().map(size).sum::<u64>()
            + segments.iter().map(|span| span.bytes).sum::<u64>(),
        ..Pass::default()
    };
    shared.scrub.note(&pass);
    for hosted in databases {
        scrub_database(shared, &hosted, &mut pass).await?;
    }
    for span in segments {
        scrub_segment(shared, span, &mut pass).await?;
    }
    Ok(pass)
}

async fn scrub_database(
    shared: &Arc<Shared>,
    hosted: &Arc<Hosted>,
    pass: &mut Pass,
) -> Result<(), JoinError> {
    let Some(map) = hosted.engine.map().map(Arc::clone) else { return Ok(()) };
    let mut next = Some(PageNo(1));
    while let Some(from) = next.filter(|_| !hosted.is_retired()) {
        let scrubbed = Arc::clone(&map);
        let step = spawn_blocking(move || {
            let step = scrubbed.scrub(from, STEP)?;
            // Each is told and counted where it is repaired.
            let healed = step
                .bad
                .iter()
                .filter(|page| scrubbed.heal(**page) == RepairOutcome::Repaired)
                .count();
            Ok::<_, std::io::Error>((step, healed))
        });
        let (step, healed) = match step.await? {
            Ok(step) => step,
            Err(error) => {
                pass.fail(format!("database {} can't be read back: {error}", hosted.name));
                return Ok(());
            }
        };
        pass.bytes += step.bytes;
        pass.damaged_pages += step.bad.len() as u64;
        pass.repaired_pages += healed as u64;
        if step.bad.len() > healed {
            let (bad, name) = (step.bad.len() - healed, &hosted.name);
            pass.fail(format!(
                "{bad} pages of database {name} from page {from} on are damaged, and no partner has them"
            ));
        }
        next = step.next;
        shared.scrub.note(pass);
        shared.scrub.pace(shared, step.bytes).await;
    }
    Ok(())
}

async fn scrub_segment(shared: &Arc<Shared>, span: Span, pass: &mut Pass) -> Result<(), JoinError> {
    let reading = Arc::clone(shared);
    let read = spawn_blocking(move || reading.journal.verify_segment(span.first)).await?;
    match read {
        Ok(bytes) => pass.bytes += bytes,
        Err(error @ ReadError::Damaged { .. }) => {
            pass.bytes += span.bytes;
            pass.damaged_segments += 1;
            match crate::mend::mend(shared, span.first).await {
                Ok(()) => {
                    tracing::warn!(%error, "a damaged segment of the journal was mended");
                    pass.repaired_segments += 1;
                }
                Err(why) => pass.fail(format!("{error} ({why})")),
            }
        }
        Err(error) => pass.fail(error.to_string()),
    }
    shared.scrub.note(pass);
    shared.scrub.pace(shared, span.bytes).await;
    Ok(())
}
