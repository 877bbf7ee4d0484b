//! The server's parts in this process, without clients: capture and journal, and applying what a journal holds.

use std::{path::Path, sync::Arc};

use clap::Args;
use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageSize, ServerId, SessionId, UnixMicros,
    record::{Draft, Kind, Record},
};
use counterpart_engine::{
    Applier, Connection, Database, DatabaseMap, Options, RecentImages, Statement, Value,
};
use counterpart_journal::{Config, Journal, RealDisk};
use serde_json::json;

use crate::{Failure, clock, dice::Dice, work::ROWS};

/// Bytes of changed pages between two checkpoints, as the server's default has it; they come before as many bytes of
/// journal.
const CHECKPOINT: u64 = 4 * (64 << 20);

/// Bytes of recent images, as the server's default has it.
const RECENT: usize = 64 << 20;

/// Journal bytes that a mirror applies in one SQLite transaction at most.
const STEP: usize = 4 << 20;

/// What both take.
#[derive(Args)]
pub struct InsideArgs {
    /// An empty directory
    #[arg(long)]
    directory: std::path::PathBuf,
    /// Commits
    #[arg(long, default_value_t = 200_000)]
    commits: u64,
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::Part(error.to_string())
}

fn create(path: &Path) -> Result<Database, Failure> {
    let (id, size) = (DatabaseId(1), PageSize::DEFAULT);
    Database::create_file(path, size).map_err(failed)?;
    let (map, _) =
        DatabaseMap::open(path, &path.with_extension("map"), id, size).map_err(failed)?;
    map.rebuild(Lsn(0), &mut |_, _| {}).map_err(failed)?;
    Database::open(path, id, Options::default()).map_err(failed)
}

fn journal(directory: &Path) -> Result<Journal, Failure> {
    let config = Config { retention_bytes: u64::MAX, ..Config::default() };
    let disk = Arc::new(RealDisk);
    let path = directory.join("journal");
    std::fs::create_dir_all(&path)?;
    let (journal, _) =
        Journal::open(disk, &path, config, SessionId(1), Box::new(|_| {})).map_err(failed)?;
    journal.set_epoch(Epoch { term: 1, start: 1, server: ServerId(1) });
    journal.make_ready();
    Ok(journal)
}

/// One writer before a journal.
struct Writer {
    database: Database,
    connection: Connection,
    journal: Journal,
    dice: Dice,
    mark: Lsn,
    since_checkpoint: u64,
}

impl Writer {
    fn new(directory: &Path) -> Result<Writer, Failure> {
        let database = create(&directory.join("1.db"))?;
        let connection = database.checkout().map_err(failed)?;
        let journal = journal(directory)?;
        let (dice, mark, since_checkpoint) = (Dice::new(1), Lsn::ZERO, 0);
        let mut writer = Writer { database, connection, journal, dice, mark, since_checkpoint };
        writer.commit("create table acc(id integer primary key, bal int, filler text)", vec![])?;
        writer.commit(
            "with recursive n(i) as (select 1 union all select i+1 from n where i<?)
             insert into acc select i, 0, hex(randomblob(42)) from n",
            vec![Value::Integer(ROWS.cast_signed())],
        )?;
        Ok(writer)
    }

    /// One commit into the journal; waits for no disk, but at checkpoints.
    fn commit(&mut self, sql: &str, args: Vec<Value>) -> Result<(), Failure> {
        self.connection.execute(&Statement::with(sql, args), 1 << 20).map_err(failed)?;
        let journal = &self.journal;
        let captured = self
            .database
            .capture(&self.connection, UnixMicros(1), self.mark, &mut |draft| journal.append(draft))
            .map_err(failed)?;
        let pages = captured.map_or(0, |captured| captured.pages);
        self.since_checkpoint += pages * self.database.page_size().bytes() as u64;
        if self.since_checkpoint >= CHECKPOINT {
            self.since_checkpoint = 0;
            self.mark = journal.append(Draft::mark(UnixMicros(1))).map_err(failed)?;
            journal.wait_hardened(journal.last()).map_err(failed)?;
            self.database.checkpoint().map_err(failed)?;
        }
        Ok(())
    }

    fn update(&mut self) -> Result<(), Failure> {
        let id = (self.dice.below(ROWS) + 1).cast_signed();
        let args = vec![Value::Integer(1), Value::Integer(id)];
        self.commit("update acc set bal=bal+? where id=?", args)
    }
}

/// Measures one writer that does not wait for the disk, until the disk has all.
///
/// # Errors
/// What a part says.
pub fn capture(args: &InsideArgs) -> Result<serde_json::Value, Failure> {
    let mut writer = Writer::new(&args.directory)?;
    let (bytes, begun) = (writer.journal.bytes_after(Lsn::ZERO), clock::now());
    (0..args.commits).try_for_each(|_| writer.update())?;
    writer.journal.wait_hardened(writer.journal.last()).map_err(failed)?;
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = writer.journal.bytes_after(Lsn::ZERO) - bytes;
    Ok(json!({
        "rate": args.commits as f64 / seconds,
        "failed": 0,
        "bytes_per_commit": bytes as f64 / args.commits as f64,
    }))
}

/// Measures applying what a journal holds, in steps of the size that a mirror takes.
///
/// # Errors
/// What a part says.
pub fn apply(args: &InsideArgs) -> Result<serde_json::Value, Failure> {
    let mut writer = Writer::new(&args.directory)?;
    let loaded = writer.journal.last();
    (0..args.commits).try_for_each(|_| writer.update())?;
    let journal = &writer.journal;
    journal.wait_hardened(journal.last()).map_err(failed)?;

    let path = args.directory.join("2.db");
    let mut mirror = Mirror {
        database: create(&path)?,
        applier: Applier::open(&path)
            .map_err(failed)?
            .with_recent(&Arc::new(RecentImages::new(RECENT))),
        after: Lsn::ZERO,
    };
    mirror.follow(journal, loaded)?;
    let (begun, cpu) = (clock::now(), clock::processor_seconds()?);
    mirror.follow(journal, journal.last())?;
    let rate = args.commits as f64 / begun.elapsed().as_secs_f64();
    let processor = (clock::processor_seconds()? - cpu) * 1e6 / args.commits as f64;
    Ok(json!({ "rate": rate, "failed": 0, "processor_us": processor }))
}

/// What applies.
struct Mirror {
    database: Database,
    applier: Applier,
    after: Lsn,
}

impl Mirror {
    /// Applies the journal up to there.
    fn follow(&mut self, journal: &Journal, until: Lsn) -> Result<(), Failure> {
        let mut bytes = 0;
        while self.after < until {
            let mut records = journal.read_records(self.after, STEP).map_err(failed)?;
            records.retain(|record| record.lsn() <= until);
            self.after = records.last().map_or(until, Record::lsn);
            for record in records.iter().filter(|record| record.header().kind != Kind::Mark) {
                self.applier.push(record).map_err(failed)?;
                bytes += record.header().page_bytes();
            }
            self.applier.commit().map_err(failed)?;
            if bytes >= CHECKPOINT {
                bytes = 0;
                self.database.checkpoint().map_err(failed)?;
            }
        }
        Ok(())
    }
}
