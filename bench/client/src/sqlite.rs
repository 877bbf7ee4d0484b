//! Plain SQLite in this process: what the same statements cost without a server, a journal or a mirror.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::{
    Failure, clock,
    dice::Dice,
    latencies::Latencies,
    work::{ROWS, Work},
};

/// Rows of a scan.
const RANGE: u64 = 10_000;

/// Whether a commit is durable when it returns.
#[derive(Clone, Copy, ValueEnum)]
pub enum Synchronous {
    Full,
    Off,
}

/// What it takes.
#[derive(Args)]
pub struct SqliteArgs {
    /// The database; it is made and filled if it is not there
    #[arg(long)]
    path: PathBuf,
    #[arg(long, value_enum, default_value = "full")]
    synchronous: Synchronous,
    #[arg(long, value_enum, default_value = "update")]
    work: Work,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 65536)]
    bytes: usize,
}

fn open(args: &SqliteArgs) -> Result<Connection, Failure> {
    let db = Connection::open(&args.path)?;
    let synchronous = match args.synchronous {
        Synchronous::Full => "full",
        Synchronous::Off => "off",
    };
    db.execute_batch("pragma journal_mode=wal; pragma synchronous=off")?;
    db.execute_batch(
        "create table if not exists acc(id integer primary key, bal int, filler text);
         create table if not exists blobs(id integer primary key, content blob)",
    )?;
    let rows: i64 = db.query_row("select count(*) from acc", [], |row| row.get(0))?;
    if rows == 0 {
        db.execute(
            "with recursive n(i) as (select 1 union all select i+1 from n where i<?)
             insert into acc select i, 0, hex(randomblob(42)) from n",
            [ROWS.cast_signed()],
        )?;
    }
    db.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
    db.execute_batch(&format!("pragma synchronous={synchronous}"))?;
    Ok(db)
}

/// Measures one connection that asks as fast as it is answered.
///
/// # Errors
/// What SQLite says.
pub fn run(args: &SqliteArgs) -> Result<Value, Failure> {
    let db = open(args)?;
    let (mut dice, mut latencies) = (Dice::new(1), Latencies::default());
    let mut amount = 0u64;
    let blob: Vec<u8> = (0..args.bytes).map(|_| dice.below(256) as u8).collect();
    let begun = clock::now();
    let end = begun + Duration::from_secs_f64(args.seconds);
    loop {
        let from = clock::now();
        if from >= end {
            break;
        }
        amount += once(&db, args.work, &mut dice, &blob)?;
        latencies.push(from.elapsed());
    }
    let rate = amount as f64 / begun.elapsed().as_secs_f64();
    let count = latencies.count();
    Ok(json!({ "rate": rate, "count": count, "failed": 0, "ms": latencies.show() }))
}

/// The key of one of the first rows.
fn any_row(dice: &mut Dice, rows: u64) -> i64 {
    (dice.below(rows) + 1).cast_signed()
}

/// One request's work; how much that was.
fn once(db: &Connection, work: Work, dice: &mut Dice, blob: &[u8]) -> Result<u64, Failure> {
    let id = any_row(dice, ROWS);
    let update = |id: i64| -> Result<(), Failure> {
        db.prepare_cached("update acc set bal=bal+? where id=?")?.execute(params![1, id])?;
        Ok(())
    };
    match work {
        Work::Update => update(id)?,
        Work::Read => {
            let mut read = db.prepare_cached("select bal, filler from acc where id=?")?;
            let text: String = read.query_row([id], |row| row.get(1))?;
            std::hint::black_box(text);
        }
        Work::Batch => {
            db.prepare_cached("begin immediate")?.execute([])?;
            for _ in 0..work.amount() {
                update(any_row(dice, ROWS))?;
            }
            db.prepare_cached("commit")?.execute([])?;
        }
        Work::BatchAutocommit => {
            for _ in 0..work.amount() {
                update(any_row(dice, ROWS))?;
            }
        }
        Work::Blob => {
            let mut insert = db.prepare_cached("insert or replace into blobs values(?, ?)")?;
            insert.execute(params![id % 64, blob])?;
        }
        Work::Scan => {
            let sql = "select id, bal, filler from acc where id>=? limit ?";
            let mut scan = db.prepare_cached(sql)?;
            let mut rows = scan.query([any_row(dice, ROWS - RANGE), RANGE.cast_signed()])?;
            while let Some(row) = rows.next()? {
                std::hint::black_box(row.get_ref(2)?);
            }
        }
    }
    Ok(work.amount())
}
