//! Clients that insert numbered rows and remember which of them were confirmed.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use serde_json::json;

use super::{
    client::{Client, Failure},
    server::Server,
    wait_for,
};

/// A row is named by its client and its number.
pub type Row = (u64, u64);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    confirmed: Mutex<BTreeSet<Row>>,
    count: AtomicU64,
    failures: Mutex<Vec<Failure>>,
}

/// Running clients. Each number is tried once: a row whose outcome is unknown is not tried again, so that no row may
/// be there twice.
pub struct Workload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Makes the table that the clients write to.
pub fn create_table(server: &Server) {
    server.client().run("create table if not exists work(client integer, n integer, filler text)");
}

impl Workload {
    /// Starts `clients` clients, numbered from `first`, which write to the servers in turn: each goes on with the
    /// next server after a failure, if there are several.
    pub fn start(first: u64, clients: u64, servers: &[&Server]) -> Workload {
        let shared = Arc::new(Shared::default());
        let urls: Vec<_> = servers.iter().map(|s| s.url()).collect();
        let threads = (first..first + clients).map(|id| {
            let (shared, urls) = (Arc::clone(&shared), urls.clone());
            std::thread::spawn(move || write_rows(&shared, id, &urls))
        });
        let threads = threads.collect();
        Workload { shared, threads }
    }

    /// How many rows are confirmed so far.
    pub fn confirmed(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Waits until `more` further rows are confirmed.
    pub fn wait_progress(&self, more: u64) {
        let goal = self.confirmed() + more;
        wait_for(&format!("{more} more rows to be confirmed"), || {
            (self.confirmed() >= goal).then_some(())
        });
    }

    /// Ends the clients; the confirmed rows, and what failed.
    pub fn stop(self) -> (BTreeSet<Row>, Vec<Failure>) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client thread does not panic");
        }
        let confirmed = std::mem::take(&mut *self.shared.confirmed.lock().unwrap());
        let failures = std::mem::take(&mut *self.shared.failures.lock().unwrap());
        (confirmed, failures)
    }
}

fn write_rows(shared: &Shared, id: u64, urls: &[String]) {
    let clients: Vec<_> = urls.iter().map(|url| Client::new(url)).collect();
    let mut turn = 0;
    for n in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let filler = "x".repeat(20 + usize::try_from(n % 100).unwrap());
        let sql = "insert into work(client, n, filler) values(?, ?, ?)";
        match clients[turn % clients.len()].execute(sql, &[json!(id), json!(n), json!(filler)]) {
            Ok(_) => {
                shared.confirmed.lock().unwrap().insert((id, n));
                shared.count.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => {
                let gone = failure.code == "TRANSPORT";
                shared.failures.lock().unwrap().push(failure);
                turn += 1;
                if gone {
                    // The server is down; do not spin on connection refused.
                    std::thread::park_timeout(std::time::Duration::from_millis(2));
                }
            }
        }
    }
}

/// All rows that a server has.
///
/// # Panics
/// If a row is there twice.
#[track_caller]
pub fn rows_on(server: &Server) -> BTreeSet<Row> {
    let rows = server.client().rows("select client, n from work");
    let count = rows.len();
    let set: BTreeSet<Row> =
        rows.into_iter().map(|row| (row[0].as_u64().unwrap(), row[1].as_u64().unwrap())).collect();
    assert_eq!(count, set.len(), "a row is there twice");
    set
}

/// Every confirmed row is on the server.
#[track_caller]
pub fn assert_has_all(server: &Server, confirmed: &BTreeSet<Row>) {
    let there = rows_on(server);
    let missing: Vec<_> = confirmed.difference(&there).take(10).collect();
    assert!(
        missing.is_empty(),
        "{} of {} confirmed rows are missing, among them {missing:?}",
        confirmed.difference(&there).count(),
        confirmed.len()
    );
}
