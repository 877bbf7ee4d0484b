//! The demonstration's workload: numbered rows, one after the other, to whichever server takes them. It counts only
//! what a server has confirmed, and must never count anything else.
//!
//! A row whose fate is unknown is sent again under its number, and the number is the table's key. So the rows up to
//! the last confirmed one are exactly those numbers, each once; if one of them is missing, a confirmed row was lost.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::hrana::{Client, Unanswered};
use crate::clock;

/// The database that is written to.
pub const DATABASE: &str = "demo";
/// Between two rows.
const EVERY: Duration = Duration::from_millis(50);
/// How long one looks for a row on the mirror.
const VISIBLE: Duration = Duration::from_millis(500);

/// What has come of it so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Rows that were sent.
    pub written: u64,
    /// Rows that a server confirmed: the numbers 1 to this.
    pub confirmed: u64,
    /// The last confirmed row that was seen on the mirror.
    pub visible: u64,
    /// From the confirmation until it was seen there, the last time.
    pub lag: Option<Duration>,
    /// The longest that a row had to wait for its confirmation, from its first sending.
    pub slowest: Duration,
    /// Why the last row was not confirmed at once, if it was not.
    pub trouble: Option<String>,
}

/// The running workload.
pub struct Workload {
    progress: Arc<Mutex<Progress>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Makes the table, on the principal.
///
/// # Errors
/// The server's refusal, in words.
pub fn prepare(principal: &str) -> Result<(), String> {
    let sql = "CREATE TABLE IF NOT EXISTS work (n INTEGER PRIMARY KEY, at TEXT NOT NULL)";
    Client::new(principal, DATABASE).run(sql, &[]).map(|_none| ()).map_err(|why| why.words())
}

impl Workload {
    /// Starts to write. The first of the servers is tried first.
    pub fn start(urls: [String; 2]) -> Workload {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (stop, stopped) = channel();
        let shared = Arc::clone(&progress);
        let thread = std::thread::spawn(move || {
            let clients = urls.map(|url| Client::new(&url, DATABASE));
            Writer { clients, turn: 0, progress: shared }.run(&stopped);
        });
        Workload { progress, stop: Some(stop), thread: Some(thread) }
    }

    /// What has come of it so far.
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes no more rows; returns when the last request has ended.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the workload does not panic");
        }
    }
}

struct Writer {
    clients: [Client; 2],
    /// Which of them is the principal, as far as known.
    turn: usize,
    progress: Arc<Mutex<Progress>>,
}

impl Writer {
    fn run(mut self, stopped: &Receiver<()>) {
        for n in 1.. {
            let since = clock::uptime();
            self.note(|progress| progress.written = n);
            while let Err(why) = self.insert(n) {
                // A mirror refuses and a dead server does not answer: in both cases the other one may be principal.
                self.turn = 1 - self.turn;
                self.note(|progress| progress.trouble = Some(why.words()));
                if is_stopped(stopped) {
                    return;
                }
            }
            let waited = clock::uptime() - since;
            self.note(|progress| {
                progress.confirmed = n;
                progress.slowest = progress.slowest.max(waited);
                progress.trouble = None;
            });
            self.look_at_mirror(n);
            if is_stopped(stopped) {
                return;
            }
        }
    }

    fn insert(&self, n: u64) -> Result<(), Unanswered> {
        let sql = "INSERT OR IGNORE INTO work (n, at) VALUES (?, datetime('now'))";
        self.clients[self.turn].run(sql, &[n]).map(|_none| ())
    }

    /// Waits until the row that was just confirmed can be read from the other server.
    fn look_at_mirror(&self, n: u64) {
        let since = clock::uptime();
        loop {
            let seen = self.clients[1 - self.turn].run("SELECT max(n) FROM work", &[]);
            // There is no mirror that serves now: that is the status's to tell.
            let Ok(Some(seen)) = seen else { return self.note(|progress| progress.lag = None) };
            let lag = clock::uptime() - since;
            self.note(|progress| progress.visible = seen.min(n));
            if seen >= n || lag > VISIBLE {
                return self.note(|progress| progress.lag = Some(lag));
            }
            clock::pause(Duration::from_millis(1));
        }
    }

    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Waits for the next row's time. True when there shall be none.
fn is_stopped(stopped: &Receiver<()>) -> bool {
    stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Disconnected)
}
