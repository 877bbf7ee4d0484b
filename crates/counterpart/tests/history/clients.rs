//! Clients that append to lists and read them, each in its own manner, and write down what they were told.
//!
//! They must never know more than a client can: which server is the principal they find out by being refused. Only
//! whether a plain read may be held to the principal's promise is told to them, by whoever changes the roles.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    model::{Element, Key, Promise, Step, Told, Transaction},
    support::{
        chance::Chance,
        client::{Client, Failure, rows_of},
        clock::now,
        stream::Stream,
        wait_for,
    },
};

/// Lists in use at a time.
const ACTIVE: u32 = 8;
/// Appends until a list goes out of use: they are read as a whole, so they must stay short.
const APPENDS_PER_LIST: u32 = 60;
/// With these a request had no effect; after anything else that is a failure nobody knows.
const REFUSALS: &[&str] =
    &["READ_ONLY_MIRROR", "STREAM_EXPIRED", "SQLITE_BUSY", "SERVER_STARTING", "SEEDING"];
const APPEND: &str =
    "insert into lists values(?, ?) on conflict(k) do update set v = v || ',' || excluded.v";

/// Who is principal, as the operator who changes it knows.
pub struct Roles {
    /// Odd while it is being changed.
    generation: AtomicU64,
    principal: AtomicU32,
}

impl Roles {
    /// Roles change from here on ...
    pub fn changing(&self) {
        self.generation.fetch_or(1, Ordering::SeqCst);
    }

    /// ... to here.
    pub fn settled(&self, principal: u32) {
        self.principal.store(principal, Ordering::SeqCst);
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// What names the present roles, if `server` is the principal in them.
    fn held_by(&self, server: u32) -> Option<u64> {
        let generation = self.generation.load(Ordering::SeqCst);
        let principal = self.principal.load(Ordering::SeqCst);
        (generation.is_multiple_of(2) && principal == server).then_some(generation)
    }
}

struct Shared {
    stop: AtomicBool,
    history: Mutex<Vec<Transaction>>,
    started: Instant,
    elements: AtomicU64,
    sittings: AtomicU32,
    committed: AtomicU64,
    urls: Vec<String>,
    roles: Roles,
}

/// The running clients.
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts so many writers and readers of mirrors. The first server is the principal.
    pub fn start(urls: Vec<String>, writers: u32, readers: u32, chance: &mut Chance) -> Clients {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            history: Mutex::default(),
            started: now(),
            elements: AtomicU64::new(1),
            sittings: AtomicU32::new(1),
            committed: AtomicU64::new(0),
            urls,
            roles: Roles { generation: AtomicU64::new(0), principal: AtomicU32::new(0) },
        });
        let threads = (0..writers + readers).map(|id| {
            let (shared, chance) = (Arc::clone(&shared), chance.split());
            let mut one = One::new(shared, id, chance);
            std::thread::spawn(move || if id < writers { one.write() } else { one.read_mirror() })
        });
        let threads = threads.collect();
        Clients { shared, threads }
    }

    pub fn roles(&self) -> &Roles {
        &self.shared.roles
    }

    /// Waits until so many more transactions are confirmed.
    pub fn wait_progress(&self, more: u64) {
        let goal = self.shared.committed.load(Ordering::Relaxed) + more;
        wait_for(&format!("{more} more transactions"), || {
            (self.shared.committed.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    /// Ends them, reads all lists once more on each server, and hands out what they saw.
    pub fn stop(self) -> Vec<Transaction> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
        let mut last = One::new(Arc::clone(&self.shared), 1000, Chance::of(0));
        for server in [0, 1] {
            last.server = server;
            let committed = last.read_all();
            assert!(committed, "the last read succeeds");
        }
        std::mem::take(&mut *self.shared.history.lock().unwrap())
    }
}

/// One client.
struct One {
    shared: Arc<Shared>,
    id: u32,
    chance: Chance,
    clients: Vec<Client>,
    server: u32,
    sitting: u32,
}

/// Lists of even numbers are in one database, the others in a second one.
fn database(key: Key) -> &'static str {
    if key.is_multiple_of(2) { "main" } else { "second" }
}

impl One {
    fn new(shared: Arc<Shared>, id: u32, chance: Chance) -> One {
        let clients = shared.urls.iter().map(|url| Client::new(url)).collect();
        let mut this = One { shared, id, chance, clients, server: 0, sitting: 0 };
        this.sit_down();
        this
    }

    fn sit_down(&mut self) {
        self.sitting = self.shared.sittings.fetch_add(1, Ordering::Relaxed);
    }

    fn client(&self, key: Key) -> Client {
        self.clients[self.server as usize].database(database(key))
    }

    fn moment(&self) -> u64 {
        u64::try_from((now() - self.shared.started).as_micros()).expect("a short test")
    }

    /// Lists in use, all of one database.
    fn keys(&mut self, count: u64) -> Vec<Key> {
        let elements = u32::try_from(self.shared.elements.load(Ordering::Relaxed)).unwrap();
        let base = elements / APPENDS_PER_LIST;
        let side = u32::try_from(self.chance.below(2)).unwrap();
        let half = u64::from(ACTIVE / 2);
        let any = |_| (base + u32::try_from(self.chance.below(half)).unwrap()) * 2 + side;
        (0..count).map(any).collect()
    }

    fn element(&self) -> Element {
        self.shared.elements.fetch_add(1, Ordering::Relaxed)
    }

    fn running(&self) -> bool {
        !self.shared.stop.load(Ordering::Relaxed)
    }

    fn write(&mut self) {
        while self.running() {
            let succeeded = match self.chance.below(10) {
                0..=2 => self.append_alone(),
                3 => self.read_plainly(),
                4 => self.interact("begin"),
                5 => self.interact("begin transaction readonly"),
                _ => self.interact("begin immediate"),
            };
            self.pause_unless(succeeded);
        }
    }

    /// Goes on at the other server, and does not spin on refused connections.
    fn pause_unless(&mut self, succeeded: bool) {
        if !succeeded {
            self.server = 1 - self.server;
            std::thread::park_timeout(Duration::from_millis(3));
        }
    }

    fn note(&self, begin: u64, promise: Promise, steps: Vec<Step>, told: Told) -> bool {
        let committed = told == Told::Committed;
        self.shared.committed.fetch_add(u64::from(committed), Ordering::Relaxed);
        let end = self.moment();
        let transaction = Transaction { client: self.id, promise, steps, told, begin, end };
        self.shared.history.lock().unwrap().push(transaction);
        committed
    }

    /// One statement, which may also tell the list as it leaves it.
    fn append_alone(&mut self) -> bool {
        let (key, element) = (self.keys(1)[0], self.element());
        let returning = self.chance.below(2) == 0;
        let sql = if returning { format!("{APPEND} returning v") } else { APPEND.to_owned() };
        let begin = self.moment();
        let outcome = self.client(key).execute(&sql, &[json!(key), json!(element.to_string())]);
        let mut steps = vec![Step::Append(key, element)];
        let told = told_by(outcome.as_ref().err());
        if let (Ok(result), true) = (&outcome, returning) {
            steps.push(Step::Read(key, list_of(&rows_of(result))));
        }
        self.note(begin, Promise::Strict, steps, told)
    }

    /// Two lists in one statement without a transaction around it.
    fn read_plainly(&mut self) -> bool {
        let keys = self.keys(2);
        let roles = self.shared.roles.held_by(self.server);
        let begin = self.moment();
        let Some(steps) = read_some(&self.client(keys[0]), &keys) else { return false };
        let promise = self.promise_since(roles);
        self.note(begin, promise, steps, Told::Committed)
    }

    /// The principal's promise, if the server asked was the principal all the time.
    fn promise_since(&mut self, roles: Option<u64>) -> Promise {
        if roles.is_some() && roles == self.shared.roles.held_by(self.server) {
            return Promise::Strict;
        }
        // Nothing is known of where the next read of this client goes: each is a sitting of its own.
        self.sit_down();
        Promise::Prefix { sitting: self.sitting }
    }

    /// A transaction of several requests; one in eight is rolled back.
    fn interact(&mut self, how: &str) -> bool {
        let count = 1 + self.chance.below(4);
        let keys = self.keys(count);
        let roles = self.shared.roles.held_by(self.server);
        let mut stream = Stream::on(&self.client(keys[0]));
        let begin = self.moment();
        let (mut steps, mut wrote) = (Vec::new(), how == "begin immediate");
        let mut failed = stream.execute(how, &[]).is_err();
        for key in keys {
            if failed {
                break;
            }
            if how.ends_with("readonly") || self.chance.below(2) == 0 {
                let read = stream.execute("select v from lists where k = ?", &[json!(key)]);
                failed = read.is_err();
                steps.extend(read.ok().map(|result| Step::Read(key, list_of(&rows_of(&result)))));
            } else {
                let element = self.element();
                let arguments = [json!(key), json!(element.to_string())];
                steps.push(Step::Append(key, element));
                failed = stream.execute(APPEND, &arguments).is_err();
                wrote = true;
            }
        }
        let told = if failed || self.chance.below(8) == 0 {
            // Without a commit it is over, whether the server hears of it or not.
            let _over = stream.execute("rollback", &[]);
            Told::Refused
        } else {
            told_by(stream.execute("commit", &[]).as_ref().err())
        };
        let promise = if wrote { Promise::Strict } else { self.promise_since(roles) };
        self.note(begin, promise, steps, told);
        let _idle = stream.pipeline(&json!([{"type": "close"}]));
        !failed
    }

    /// Reads wherever a mirror may be, and stays with one server as long as that answers.
    fn read_mirror(&mut self) {
        self.server = 1;
        while self.running() {
            let keys = self.keys(4);
            let begin = self.moment();
            let steps = read_some(&self.client(keys[0]), &keys);
            let succeeded = steps.is_some();
            if let Some(steps) = steps {
                // Not counted as progress: it is the writers whose progress is waited for.
                self.note(begin, Promise::Prefix { sitting: self.sitting }, steps, Told::Committed);
                std::thread::park_timeout(Duration::from_millis(2));
            } else {
                self.sit_down();
            }
            self.pause_unless(succeeded);
        }
    }

    /// All lists there ever were, of both databases.
    fn read_all(&mut self) -> bool {
        let newest = self.keys(1)[0] + 2 * ACTIVE;
        let strict = self.shared.roles.held_by(self.server).is_some();
        (0..2).all(|side| {
            let keys: Vec<Key> = (0..newest).filter(|key| key % 2 == side).collect();
            let begin = self.moment();
            let steps = read_some(&self.client(side), &keys);
            let prefix = Promise::Prefix { sitting: self.sitting };
            let promise = if strict { Promise::Strict } else { prefix };
            steps.is_some_and(|steps| self.note(begin, promise, steps, Told::Committed))
        })
    }
}

fn told_by(failure: Option<&Failure>) -> Told {
    match failure {
        None => Told::Committed,
        Some(failure) if REFUSALS.contains(&failure.code.as_str()) => Told::Refused,
        Some(_) => Told::Unknown,
    }
}

/// Several lists in one statement; a list that is not there is empty.
fn read_some(client: &Client, keys: &[Key]) -> Option<Vec<Step>> {
    let names: Vec<String> = keys.iter().map(u32::to_string).collect();
    let sql = format!("select k, v from lists where k in ({})", names.join(","));
    let rows = rows_of(&client.execute(&sql, &[]).ok()?);
    let of = |key: Key| {
        let row = rows.iter().find(|row| row[0] == json!(key));
        let value: Vec<Vec<Value>> = row.into_iter().map(|row| vec![row[1].clone()]).collect();
        Step::Read(key, list_of(&value))
    };
    Some(keys.iter().map(|key| of(*key)).collect())
}

/// The list in the first column of the only row.
fn list_of(rows: &[Vec<Value>]) -> Vec<Element> {
    let text = rows.first().map(|row| row[0].as_str().expect("a list is a text").to_owned());
    let element = |part: &str| part.parse().expect("an element is a number");
    text.map(|text| text.split(',').map(element).collect()).unwrap_or_default()
}
