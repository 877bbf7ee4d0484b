//! Clients over HTTP, each with a connection and a thread of its own.
//!
//! A closed loop asks again as soon as it is answered. An open one (`--rate`) has a timetable: a request's time counts
//! from when it was due, so that a server which stands still for a while is charged for all who came meanwhile.

use std::{
    collections::BTreeMap,
    io::{Read as _, stdin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    Failure, clock,
    dice::Dice,
    http::Connection,
    latencies::Latencies,
    work::{ROWS, Work},
};

/// Length of a slice of the timeline.
const SLICE: Duration = Duration::from_millis(50);

/// What it takes.
#[derive(Args, Clone)]
pub struct LoadArgs {
    /// The server, http://HOST:PORT
    #[arg(long)]
    url: String,
    #[arg(long, value_enum)]
    work: Work,
    #[arg(long, default_value_t = 32)]
    clients: u64,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Go on until the input ends, however long that takes
    #[arg(long)]
    until_told: bool,
    /// Requests per second, of all clients together; a closed loop without
    #[arg(long)]
    rate: Option<f64>,
    /// Spread over databases d1, d2, … instead of main
    #[arg(long)]
    databases: Option<u64>,
    /// Rows of the table
    #[arg(long, default_value_t = ROWS)]
    rows: u64,
    /// Bytes of a blob
    #[arg(long, default_value_t = 65536)]
    bytes: usize,
    /// Tell how much was done in each 50 ms
    #[arg(long)]
    timeline: bool,
    /// Numbers of another run
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Default)]
struct Seen {
    latencies: Latencies,
    failed: u64,
    failure: Option<String>,
    slices: BTreeMap<u64, u64>,
}

/// Measures, and tells rates in the work's own unit.
///
/// # Errors
/// A connection that can't be made. Requests that fail are counted, with the first one's reason.
pub fn run(args: &LoadArgs) -> Result<Value, Failure> {
    let ticket = Arc::new(AtomicU64::new(0));
    let connections: Vec<Connection> =
        (0..args.clients).map(|_| Connection::open(&args.url)).collect::<Result<_, _>>()?;
    let (begun, begun_unix) = (clock::now(), clock::unix_seconds());
    let told = Arc::new(AtomicBool::new(false));
    if args.until_told {
        let told = Arc::clone(&told);
        thread::spawn(move || {
            // An input that can't be read has ended as well.
            let _ended = stdin().lock().read_to_end(&mut Vec::new());
            told.store(true, Relaxed);
        });
    }
    let clients: Vec<_> = (0u64..)
        .zip(connections)
        .map(|(n, connection)| {
            let (args, ticket, told) = (args.clone(), Arc::clone(&ticket), Arc::clone(&told));
            thread::spawn(move || Client { args, n, begun, ticket, told, connection }.run())
        })
        .collect();
    let mut all = Seen::default();
    for client in clients {
        let seen = client.join().map_err(|_| Failure::Client("panicked".to_owned()))?;
        all.latencies.append(seen.latencies);
        all.failed += seen.failed;
        all.failure = all.failure.or(seen.failure);
        for (slice, count) in seen.slices {
            *all.slices.entry(slice).or_default() += count;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let count = all.latencies.count();
    let done = count as u64 * args.work.amount();
    let slices = args.timeline.then(|| {
        let last = all.slices.keys().next_back().copied().unwrap_or(0);
        let amount = |slice| all.slices.get(&slice).copied().unwrap_or(0) * args.work.amount();
        (0..=last).map(amount).collect::<Vec<u64>>()
    });
    Ok(json!({
        "rate": done as f64 / seconds,
        "count": count,
        "failed": all.failed,
        "failure": all.failure,
        "ms": all.latencies.show(),
        "begun": begun_unix,
        "slice_seconds": SLICE.as_secs_f64(),
        "slices": slices,
    }))
}

/// One client.
struct Client {
    args: LoadArgs,
    n: u64,
    begun: Instant,
    /// The next place in the timetable that nobody has taken.
    ticket: Arc<AtomicU64>,
    /// Whether the input has ended.
    told: Arc<AtomicBool>,
    connection: Connection,
}

impl Client {
    fn run(mut self) -> Seen {
        let (mut seen, mut answer) = (Seen::default(), Vec::new());
        let mut dice = Dice::new(self.args.seed * 1000 + self.n);
        let end = self.begun + Duration::from_secs_f64(self.args.seconds);
        loop {
            let due = self.due();
            let is_over = if self.args.until_told { self.told.load(Relaxed) } else { due >= end };
            if is_over {
                return seen;
            }
            let body = self.args.work.body(&mut dice, self.args.rows, self.args.bytes);
            let path = self.path(&mut dice);
            clock::wait_until(due);
            // Making a large body takes time that is no request's.
            let from = if self.args.rate.is_some() { due } else { clock::now() };
            match self.connection.post(&path, body.as_bytes(), &mut answer) {
                Ok(200) if self.args.work.is_done(&answer) => {
                    seen.latencies.push(from.elapsed());
                    let slice = self.begun.elapsed().as_millis() / SLICE.as_millis();
                    *seen.slices.entry(slice as u64).or_default() += 1;
                }
                Ok(status) => {
                    let text: String = String::from_utf8_lossy(&answer).chars().take(300).collect();
                    seen.failed += 1;
                    seen.failure.get_or_insert(format!("status {status}: {text}"));
                }
                Err(error) => {
                    seen.failed += 1;
                    seen.failure.get_or_insert(error.to_string());
                    match Connection::open(&self.args.url) {
                        Ok(connection) => self.connection = connection,
                        Err(_) => return seen,
                    }
                }
            }
        }
    }

    /// When the next request is due.
    fn due(&self) -> Instant {
        match self.args.rate {
            None => clock::now(),
            Some(rate) => {
                let nth = self.ticket.fetch_add(1, Relaxed) as f64;
                self.begun + Duration::from_secs_f64(nth / rate)
            }
        }
    }

    fn path(&self, dice: &mut Dice) -> String {
        let path = self.args.work.path();
        match self.args.databases {
            None => path.to_owned(),
            Some(count) => format!("/db/d{}{path}", dice.below(count) + 1),
        }
    }
}
