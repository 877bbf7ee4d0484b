//! How fast the engine's parts are: `cargo run --release -p counterpart-engine --example figures`.
#![allow(clippy::print_stdout)] // It measures, and prints what it measured.

mod clock;

use std::{convert::Infallible, path::Path, time::Instant};

use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageNo, PageSize, ServerId, UnixMicros,
    record::{Record, Stamp},
};
use counterpart_engine::{
    Applier, Connection, Database, DatabaseMap, Options, RedoFile, Statement, Value,
};

const ROWS: i64 = 100_000;
const COMMITS: u64 = 100_000;

/// A new database with a page map.
fn open(path: &Path) -> Database {
    Database::create_file(path, PageSize::DEFAULT).unwrap();
    let (map_path, size) = (path.with_extension("map"), PageSize::DEFAULT);
    let (map, _) = DatabaseMap::open(path, &map_path, DatabaseId(1), size).unwrap();
    map.rebuild(Lsn(0), &mut |_, _| {}).unwrap();
    Database::open(path, DatabaseId(1), Options::default()).unwrap()
}

/// A new database without one.
fn open_unmapped(path: &Path) -> Database {
    Database::create_file(path, PageSize::DEFAULT).unwrap();
    Database::open(path, DatabaseId(1), Options::default()).unwrap()
}

fn run(c: &mut Connection, sql: &str) {
    c.execute(&Statement::new(sql), u64::MAX).unwrap();
}

fn capture(database: &Database, c: &Connection, records: &mut Vec<Record>) {
    database
        .capture(c, UnixMicros(1), Lsn::ZERO, &mut |draft| {
            let lsn = Lsn(records.len() as u64 + 1);
            let epoch = Epoch { term: 1, start: 1, server: ServerId(1) };
            records.push(draft.seal(Stamp { lsn, commit_lsn: Lsn(lsn.0 - 1), epoch }));
            Ok::<_, Infallible>(lsn)
        })
        .unwrap();
}

fn report(what: &str, amount: f64, unit: &str, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    println!("{what:<44} {:>12.0} {unit}/s ({seconds:.2} s)", amount / seconds);
}

/// Processor time that this thread has had: on a machine with other work, wall time says little.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap() / 1e9
}

fn updates(c: &mut Connection, count: u64, mut after: impl FnMut(&Connection, u64)) {
    let mut id = 1i64;
    for n in 0..count {
        id = (id * 48_271) % 2_147_483_647;
        let args = vec![Value::Integer(1), Value::Integer(id % ROWS + 1)];
        c.execute(&Statement::with("update acc set bal=bal+? where id=?", args), 1000).unwrap();
        after(c, n);
    }
}

/// The table of the figures, 100,000 rows of about 84 bytes.
fn load(c: &mut Connection, mut after: impl FnMut(&Connection)) {
    run(c, "create table acc(id integer primary key, bal int, filler text)");
    after(c);
    run(
        c,
        "with recursive n(i) as (select 1 union all select i+1 from n where i<100000)
         insert into acc select i, 0, printf('%084d', i) from n",
    );
    after(c);
}

/// Single-row commits with capture; returns the records and how many of them are the load.
fn measure_capture(database: &Database) -> (Vec<Record>, usize) {
    let mut records = Vec::new();
    let mut c = database.checkout().unwrap();
    load(&mut c, |c| capture(database, c, &mut records));
    let loaded = records.len();
    let start = clock::now();
    updates(&mut c, COMMITS, |c, n| {
        capture(database, c, &mut records);
        if n % 5_000 == 0 {
            database.checkpoint().unwrap();
        }
    });
    report("update + capture + encode + seal", COMMITS as f64, "commits", start);
    let bytes: usize = records[loaded..].iter().map(|record| record.bytes().len()).sum();
    println!("{:<44} {:>12} B", "record of a one-row update", bytes as u64 / COMMITS);
    (records, loaded)
}

fn measure_plain(database: &Database) {
    let mut c = database.checkout().unwrap();
    load(&mut c, |_| {});
    let start = clock::now();
    updates(&mut c, COMMITS, |_, n| {
        if n % 5_000 == 0 {
            database.checkpoint().unwrap();
        }
    });
    report("the same without capture", COMMITS as f64, "commits", start);
}

fn measure_apply(directory: &Path, records: &[Record], loaded: usize) {
    for batch in [1, 16, 256, 4096] {
        let path = directory.join(format!("mirror{batch}.db"));
        let mirror = open(&path);
        let mut applier = Applier::open(&path).unwrap();
        applier.apply(&records[..loaded]).unwrap();
        let start = clock::now();
        for (n, records) in records[loaded..].chunks(batch).enumerate() {
            applier.apply(records).unwrap();
            if n % (5_000 / batch).max(1) == 0 {
                mirror.checkpoint().unwrap();
            }
        }
        let what = format!("apply, {batch} transactions at a time");
        report(&what, COMMITS as f64, "transactions", start);
    }
    let mut redo = RedoFile::open(&directory.join("redo.db"), PageSize::DEFAULT).unwrap();
    let start = clock::now();
    records.iter().for_each(|record| redo.push(record).unwrap());
    redo.finish().unwrap();
    report("redo", records.len() as f64, "transactions", start);
}

fn measure_bulk(database: &Database) {
    let mut c = database.checkout().unwrap();
    run(&mut c, "create table big(v)");
    run(
        &mut c,
        "with recursive n(i) as (select 1 union all select i+1 from n where i<128)
         insert into big select randomblob(4000000) from n",
    );
    let start = clock::now();
    let captured =
        database.capture(&c, UnixMicros(1), Lsn::ZERO, &mut |_| Ok::<_, Infallible>(Lsn(1)));
    let bytes = captured.unwrap().expect("the load was committed").bytes;
    report("capture of a 512 MB transaction", bytes as f64 / 1e6, "MB", start);
    database.checkpoint().unwrap();

    let start = clock::now();
    let mut reader = database.page_reader().unwrap();
    let (mut from, mut total) = (PageNo(1), 0usize);
    loop {
        let pages = reader.read(from, 1 << 20).unwrap();
        if pages.bytes.is_empty() {
            break;
        }
        total += pages.bytes.len();
        from = PageNo(from.0 + u32::try_from(pages.bytes.len() / 4096).unwrap());
    }
    report("seed reader", total as f64 / 1e6, "MB", start);
}

/// What the map costs a commit: both kinds by turns in small slices, each slice with a checkpoint.
fn measure_map(mapped: &Database, unmapped: &Database) {
    let mut records = Vec::new();
    for database in [mapped, unmapped] {
        load(&mut database.checkout().unwrap(), |c| capture(database, c, &mut records));
    }
    let mut seconds = [0.0; 2];
    let slice = 2_500;
    for round in 0..160 {
        let (database, seconds) = match round % 4 {
            0 | 3 => (mapped, &mut seconds[0]),
            _ => (unmapped, &mut seconds[1]),
        };
        let mut c = database.checkout().unwrap();
        records.clear();
        let cpu = cpu_seconds();
        updates(&mut c, slice, |c, _| capture(database, c, &mut records));
        database.checkpoint().unwrap();
        *seconds += cpu_seconds() - cpu;
        database.give_back(c);
    }
    let commits = 80.0 * slice as f64;
    for (seconds, what) in seconds.iter().zip(["with", "without"]) {
        let what = format!("processor time of a commit {what} a map");
        println!("{what:<44} {:>12.2} µs", seconds * 1e6 / commits);
    }
    println!("{:<44} {:>12.3}", "ratio", seconds[0] / seconds[1]);
}

/// Pages that SQLite's cache does not have, from the system's.
fn measure_cold_reads(database: &Database, what: &str) {
    let mut c = database.checkout().unwrap();
    run(&mut c, "pragma cache_size=20");
    let (mut pages, start, cpu) = (0u64, clock::now(), cpu_seconds());
    for _ in 0..10 {
        let count = Statement::new("select count(filler) from acc");
        c.execute(&count, 1000).unwrap();
        pages += u64::from(database.size_in_pages());
    }
    report(&format!("scan with a cold cache{what}"), pages as f64, "pages", start);
    let micros = (cpu_seconds() - cpu) * 1e6 / pages as f64;
    println!("{:<44} {micros:>12.2} µs", format!("processor time of one page{what}"));
}

fn measure_scrub(database: &Database) {
    let map = database.map().expect("it has a map");
    let (mut next, mut bytes, start) = (Some(PageNo(1)), 0, clock::now());
    while let Some(from) = next {
        let step = map.scrub(from, 1 << 20).unwrap();
        assert_eq!(step.bad, []);
        (next, bytes) = (step.next, bytes + step.bytes);
    }
    report("scrub", bytes as f64 / 1e6, "MB", start);
}

fn measure_reads(database: &Database) {
    let mut c = database.checkout().unwrap();
    let start = clock::now();
    let mut id = 1i64;
    for _ in 0..300_000 {
        id = (id * 48_271) % 2_147_483_647;
        let args = vec![Value::Integer(id % ROWS + 1)];
        c.execute(&Statement::with("select bal, filler from acc where id=?", args), 1000).unwrap();
    }
    report("point read", 300_000.0, "reads", start);
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let database = open(&directory.join("principal.db"));
    let unmapped = open_unmapped(&directory.join("unmapped.db"));
    let (records, loaded) = measure_capture(&database);
    let mapped = open(&directory.join("mapped.db"));
    measure_map(&mapped, &unmapped);
    for database in [&mapped, &unmapped] {
        database.checkpoint().unwrap();
        database.truncate_wal().unwrap();
    }
    for _ in 0..2 {
        measure_cold_reads(&mapped, "");
        measure_cold_reads(&unmapped, ", no map");
    }
    measure_plain(&open(&directory.join("plain.db")));
    measure_apply(directory, &records, loaded);
    measure_bulk(&database);
    measure_scrub(&database);
    measure_reads(&database);
}
