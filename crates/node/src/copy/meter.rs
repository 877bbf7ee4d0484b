//! How far copies are: counted while they run, and remembered for a while, for the status and the log.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::clock;

/// Copies that are remembered after their end.
const REMEMBERED: usize = 8;

/// A line of progress is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What a copy is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// It goes to a mirror.
    Sending,
    /// It comes from the principal.
    Receiving,
    /// It goes into a file.
    Backup,
    /// Single databases go to a mirror on which they differ. It waits for more of them as long as the link is there.
    SendingHeals,
    /// A single database comes from the principal.
    ReceivingHeal,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Purpose::Sending | Purpose::Receiving => "catching up",
            Purpose::Backup => "backup",
            Purpose::SendingHeals | Purpose::ReceivingHeal => "heal",
        }
    }
}

/// One copy.
///
/// - `total` is what it would be to send everything; `skipped` of these pages are equal, `chosen` are sent;
/// - `bytes` are those on the wire.
#[derive(Debug)]
pub(crate) struct Meter {
    purpose: Purpose,
    began: Duration,
    total: AtomicU64,
    looked_at: AtomicU64,
    chosen: AtomicU64,
    done: AtomicU64,
    bytes: AtomicU64,
    ended: Mutex<Option<Duration>>,
    logged: Mutex<Duration>,
}

impl Meter {
    /// So many pages are there in all.
    pub(crate) fn announce(&self, pages: u64) {
        self.total.store(pages, Ordering::Relaxed);
    }

    /// Of a database with `size` pages, `pages` are sent.
    pub(crate) fn choose(&self, size: u64, pages: u64) {
        self.looked_at.fetch_add(size, Ordering::Relaxed);
        self.chosen.fetch_add(pages, Ordering::Relaxed);
    }

    /// So many pages have gone, or have come.
    pub(crate) fn done(&self, pages: u64) {
        self.done.fetch_add(pages, Ordering::Relaxed);
        let mut logged = self.logged.lock().expect("no holder of this lock panics");
        if clock::uptime().saturating_sub(*logged) >= LOG_EVERY {
            *logged = clock::uptime();
            let state = self.show();
            tracing::info!(pages = %state["pages"], of = %state["pages_total"], bytes = %state["bytes"], "a copy is under way");
        }
    }

    /// So many bytes have gone, or have come.
    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// It is over, whatever became of it.
    pub(crate) fn end(&self) {
        let mut ended = self.ended.lock().expect("no holder of this lock panics");
        if ended.is_none() {
            *ended = Some(clock::uptime());
            drop(ended);
            let state = self.show();
            tracing::info!(purpose = ?self.purpose, pages = %state["pages"], bytes = %state["bytes"], seconds = %state["seconds"], "a copy ended");
        }
    }

    /// Whether it runs.
    fn runs(&self) -> bool {
        self.ended.lock().expect("no holder of this lock panics").is_none()
    }

    /// As the status shows it: pages done of those to be sent so far, and what is left at this rate.
    fn show(&self) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (done, chosen) = (read(&self.done), read(&self.chosen));
        // What has not been compared yet may all have to be sent.
        let total = chosen + read(&self.total).saturating_sub(read(&self.looked_at));
        let until = self.ended.lock().expect("no holder of this lock panics");
        let running = until.is_none();
        let seconds = until.unwrap_or_else(clock::uptime).saturating_sub(self.began).as_secs_f64();
        let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
        let eta = (running && rate > 0.0).then(|| total.saturating_sub(done) as f64 / rate);
        json!({
            "purpose": self.purpose.word(),
            "sending": !matches!(self.purpose, Purpose::Receiving | Purpose::ReceivingHeal),
            "backup": self.purpose == Purpose::Backup,
            "running": running,
            "pages": done,
            "pages_chosen": chosen,
            "pages_total": total,
            "bytes": read(&self.bytes),
            "seconds": seconds,
            "pages_per_second": rate,
            "eta": eta,
        })
    }
}

/// The copies of this server.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<Vec<Arc<Meter>>>);

impl Meters {
    /// A copy begins.
    pub(crate) fn begin(&self, purpose: Purpose) -> Arc<Meter> {
        let meter = Arc::new(Meter {
            purpose,
            began: clock::uptime(),
            total: AtomicU64::default(),
            looked_at: AtomicU64::default(),
            chosen: AtomicU64::default(),
            done: AtomicU64::default(),
            bytes: AtomicU64::default(),
            ended: Mutex::default(),
            logged: Mutex::new(clock::uptime()),
        });
        let mut all = self.0.lock().expect("no holder of this lock panics");
        all.push(Arc::clone(&meter));
        while all.iter().filter(|meter| !meter.runs()).count() > REMEMBERED {
            let oldest = all.iter().position(|meter| !meter.runs()).expect("there are some");
            all.remove(oldest);
        }
        meter
    }

    /// How far the copies with this purpose are that run now, as one; `None` if there are none.
    ///
    /// `rate` is in bytes a second, on the wire, and `eta` in seconds.
    pub(crate) fn progress(&self, purpose: Purpose) -> Option<Value> {
        let all = self.0.lock().expect("no holder of this lock panics");
        let running: Vec<Value> = all
            .iter()
            .filter(|meter| meter.purpose == purpose && meter.runs())
            .map(|meter| meter.show())
            .collect();
        let sum = |name: &str| running.iter().filter_map(|one| one[name].as_u64()).sum::<u64>();
        let rate = |one: &Value| {
            let (bytes, seconds) = (one["bytes"].as_f64()?, one["seconds"].as_f64()?);
            (seconds > 0.0).then(|| bytes / seconds)
        };
        let eta = running.iter().filter_map(|one| one["eta"].as_f64()).reduce(f64::max);
        (!running.is_empty()).then(|| {
            json!({
                "pages": sum("pages"),
                "pages_total": sum("pages_total"),
                "bytes": sum("bytes"),
                "rate": running.iter().filter_map(rate).sum::<f64>(),
                "eta": eta,
            })
        })
    }

    /// All that are remembered, the oldest first.
    pub(crate) fn show(&self) -> Vec<Value> {
        let all = self.0.lock().expect("no holder of this lock panics");
        all.iter().map(|meter| meter.show()).collect()
    }
}
