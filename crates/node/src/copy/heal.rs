//! Healing one database of a mirror while all others go on: the principal sends what differs, and the database, which
//! is out of use, is put in place as it was at the position of that copy.
//!
//! On the way it lies in `heal/<number>/`, a spool like any other. Nothing of it is written into the database's file
//! before all of it is there and proven.

use std::{io, path::PathBuf, sync::Arc};

use counterpart_core::{
    DatabaseId, Lsn,
    copy::{CopyError, Item, Offer},
    frame::Frame,
    session::{Event, LinkId},
};
use counterpart_engine::{DatabaseMap, OpenError};
use counterpart_journal::{ControlError, ReadError, crash_point, sync_file};
use tokio::{sync::mpsc, task::JoinError};

use super::{
    adopt::{self, AdoptError},
    meter::Purpose,
    receive::{ReceiveError, Receiver, checksum_over, spool_at},
    send::{SendError, Sender},
    snapshot::hashes,
    spool::{Spool, SpoolError},
};
use crate::{
    boot::single::{self, CatchUpError},
    databases::file_path,
    link::{CopyIn, SeedOut},
    maps,
    quarantine::{self, Ill},
    quiet,
    shared::Shared,
};

/// Frames that may wait for the disk.
const WAITING: usize = 8;

fn home(shared: &Shared) -> PathBuf {
    shared.settings.data.join("heal")
}

fn directory(shared: &Shared, id: DatabaseId) -> PathBuf {
    home(shared).join(id.to_string())
}

/// Deletes the copies of databases that there are none of any more.
pub(crate) fn remove_strays(shared: &Shared) -> io::Result<()> {
    let listing = match std::fs::read_dir(home(shared)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listing => listing?,
    };
    let known: Vec<PathBuf> = {
        let control = shared.control.read();
        control.databases.iter().map(|entry| directory(shared, entry.id)).collect()
    };
    for item in listing {
        let path = item?.path();
        if !known.contains(&path) {
            tracing::info!(directory = %path.display(), "removing the copy of a database that was dropped");
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

// The principal's side.

/// Sends databases on a link, one after the other, as they are asked for: where to ask, and the way in for answers.
pub(crate) fn start_sending(
    shared: &Arc<Shared>,
    link: LinkId,
    out: mpsc::Sender<SeedOut>,
) -> (mpsc::UnboundedSender<DatabaseId>, mpsc::Sender<CopyIn>) {
    let (wanted, mut queue) = mpsc::unbounded_channel();
    let (sink, answers) = mpsc::channel(WAITING);
    let shared = Arc::clone(shared);
    let io = shared.io.clone();
    io.spawn(async move {
        let meter = shared.copies.begin(Purpose::SendingHeals);
        let mark = shared.control.read().redo_after;
        let answers = Some(answers);
        let mut sender = Sender { shared: &shared, out, answers, meter: &meter, mark };
        while let Some(database) = queue.recv().await {
            let event = match send(&mut sender, database).await {
                Ok(at) => Event::HealSent { link, database, at },
                Err(why) => Event::HealNotSent { link, database, why },
            };
            shared.inputs.event(event);
        }
        meter.end();
    });
    (wanted, sink)
}

async fn send(sender: &mut Sender<'_>, database: DatabaseId) -> Result<Lsn, String> {
    let gone = || "the principal has no such database, or can't read it".to_owned();
    let hosted = sender.shared.databases.numbered(database).ok_or_else(gone)?;
    let sent = sender.send_one(&hosted).await;
    sent.map_err(|error: SendError| error.to_string())?.ok_or_else(gone)
}

// The mirror's side.

/// Receives copies of single databases on a link; the way in for their frames.
pub(crate) fn start_receiving(
    shared: &Arc<Shared>,
    link: LinkId,
    out: mpsc::Sender<SeedOut>,
) -> mpsc::Sender<CopyIn> {
    let (sink, frames) = mpsc::channel(WAITING);
    let shared = Arc::clone(shared);
    let body = move || receive_all(&shared, link, &out, frames);
    let thread = std::thread::Builder::new().name("heal".to_owned()).spawn(body);
    drop(thread.expect("the system gives a thread"));
    sink
}

fn receive_all(
    shared: &Arc<Shared>,
    link: LinkId,
    out: &mpsc::Sender<SeedOut>,
    mut frames: mpsc::Receiver<CopyIn>,
) {
    let (mut head, mut current) = (None, None);
    while let Some(CopyIn::Frame(frame)) = frames.blocking_recv() {
        let item = match Item::decode(&frame, 0) {
            Ok(Some(item)) => item,
            // The next head begins anew.
            Ok(None) | Err(_) => {
                current = None;
                continue;
            }
        };
        let taken = match &item {
            Item::Head(_) => {
                (head, current) = (Some(frame), None);
                Ok(())
            }
            Item::Offer(offer) => {
                begin(shared, link, out, head.take(), offer).and_then(|receiver| {
                    let (id, receiver) = current.insert((offer.database, receiver));
                    receiver.take(frame).map_err(|error| (*id, error))
                })
            }
            _ => match &mut current {
                Some((id, receiver)) => receiver.take(frame).map_err(|error| (*id, error)),
                None => Ok(()),
            },
        };
        if let Err((database, error)) = taken {
            current = None;
            shared.inputs.event(Event::HealFailed { database, why: error.to_string() });
        }
    }
}

/// Makes ready for a database, whose damaged pages are found first: a page map says what a file should hold.
fn begin(
    shared: &Arc<Shared>,
    link: LinkId,
    out: &mpsc::Sender<SeedOut>,
    head: Option<Frame>,
    offer: &Offer,
) -> Result<Receiver, (DatabaseId, ReceiveError)> {
    let id = offer.database;
    let failed = |error: ReceiveError| (id, error);
    let head = head.ok_or_else(|| failed(ReceiveError::Sense("it has no head")))?;
    let mark = match Item::decode(&head, 0) {
        Ok(Some(Item::Head(head))) => head.mark,
        Ok(_) => return Err(failed(ReceiveError::Sense("it has no head"))),
        Err(error) => return Err(failed(CopyError::into(error))),
    };
    let map = DatabaseMap::of(&file_path(&shared.settings.data, id));
    let damaged = map.map_or(Ok(Vec::new()), |map| map.damaged_pages());
    let damaged = damaged.map_err(|error| failed(error.into()))?;
    let damaged = damaged.into_iter().map(|bad| bad.page).collect();
    crash_point("heal.begun");
    let spool = spool_at(&directory(shared, id)).map_err(|error| failed(error.into()))?;
    let (meter, current, undurable) = (shared.copies.begin(Purpose::ReceivingHeal), None, 0);
    let mut receiver = Receiver {
        shared: Arc::clone(shared),
        link,
        out: out.clone(),
        mark,
        since: None,
        damaged,
        spool,
        current,
        meter,
        undurable,
    };
    receiver.take(head).map_err(failed)?;
    Ok(receiver)
}

/// Why a database was not put in place. It stays out of use, and is asked for again.
#[derive(Debug, thiserror::Error)]
enum HealError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    #[error("the copy at {0} is not here, or is not what was offered")]
    NotWhole(Lsn),
    #[error("a large transaction on it is being applied")]
    WithinRun,
    #[error(transparent)]
    Journal(#[from] ReadError),
    #[error("the transactions since the copy was made can't be applied: {0}")]
    CatchUp(#[from] CatchUpError),
    #[error(transparent)]
    StillOpen(#[from] quiet::StillOpen),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("a task panicked: {0}")]
    Panicked(#[from] JoinError),
}

/// Puts the copy of a database in place; says `Healed` or `HealFailed`.
pub(crate) fn finish(shared: &Arc<Shared>, database: DatabaseId, at: Lsn) {
    let shared = Arc::clone(shared);
    let io = shared.io.clone();
    io.spawn(async move {
        let healing = Arc::clone(&shared);
        let healed = tokio::task::spawn_blocking(move || put_in_place(&healing, database, at));
        let event = match healed.await.map_err(HealError::from).and_then(|healed| healed) {
            Ok(()) => Event::Healed { database },
            Err(error) => Event::HealFailed { database, why: error.to_string() },
        };
        shared.inputs.event(event);
    });
}

fn put_in_place(shared: &Arc<Shared>, id: DatabaseId, at: Lsn) -> Result<(), HealError> {
    let Some(ill) = shared.databases.quarantine.get(id) else { return Ok(()) };
    // What the file holds is known by this, whoever lets go of it.
    let _map = DatabaseMap::of(&file_path(&shared.settings.data, id));
    let closing = {
        let _applying = shared.applying.lock().expect("replay does not panic with the lock");
        if shared.is_acting() {
            return Ok(());
        }
        quarantine::shut_out(shared, &ill, "a copy of the principal's is being put in its place")
    };
    // The databases that are well are replayed while somebody lets go of this one.
    if let Some(hosted) = closing {
        quiet::close(shared, &hosted)?;
    }
    // Nobody replays anything meanwhile, a drop of this database least of all; and nobody changes what this server does.
    let _applying = shared.applying.lock().expect("replay does not panic with the lock");
    // Dropped meanwhile, or all was replaced, or clients write here now.
    let ill = shared.databases.quarantine.get(id).filter(|_| !shared.is_acting());
    let Some(ill) = ill else { return Ok(()) };
    quiet::is_closed(shared, &ill.entry)?;
    // Its records up to here were passed over, whatever the copy has of them.
    let applied = shared.applied();
    if single::is_within_run(shared, id, kept_after(shared, at), applied)? {
        return Err(HealError::WithinRun);
    }
    let mut spool = Spool::open(&directory(shared, id))?;
    let part = spool.attempt().and_then(|attempt| attempt.parts.last()).cloned();
    let part = part.filter(|part| part.whole && part.offer.database == id && part.offer.at == at);
    let offer = part.ok_or(HealError::NotWhole(at))?.offer;
    write(shared, &mut spool, &offer, applied)?;
    open(shared, &ill, at.max(applied))?;
    crash_point("heal.opened");
    // It has served; should it stay, it is compared like any other.
    if let Err(error) = spool.delete() {
        tracing::warn!(%error, "the copy of a healed database takes space; delete the directory `heal`");
    }
    Ok(())
}

/// From where the journal is read for what a copy at `at` lacks. Redo stands still while a database is out of use, and
/// the principal made the copy after that: what is older than redo's beginning is in it, and may be gone here.
fn kept_after(shared: &Shared, at: Lsn) -> Lsn {
    at.max(shared.control.read().redo_after)
}

/// Writes the copy into the file, and then what was passed over since, up to `applied`.
fn write(shared: &Shared, spool: &mut Spool, offer: &Offer, applied: Lsn) -> Result<(), HealError> {
    let path = file_path(&shared.settings.data, offer.database);
    let known = DatabaseMap::of(&path).filter(|map| map.page_size() == offer.page_size);
    let map = match known {
        Some(map) => {
            counterpart_engine::Database::discard_wal(&path)?;
            map.forget_wal();
            map
        }
        None => adopt::open_file(shared, offer)?,
    };
    if checksum_over(spool, offer, hashes(&map.file_snapshot())) != offer.checksum {
        return Err(HealError::NotWhole(offer.at));
    }
    crash_point("heal.before_writing");
    map.resize_raw(offer.size_in_pages)?;
    spool.read_again(|item| match item {
        Item::Pages(sent) if sent.database == offer.database => {
            adopt::write_pages(offer, &map, &sent)?;
            crash_point("heal.page_written");
            Ok::<(), HealError>(())
        }
        _ => Ok(()),
    })?;
    let file = map.file_snapshot();
    if file.size() != offer.size_in_pages || file.checksum() != offer.checksum {
        return Err(HealError::NotWhole(offer.at));
    }
    sync_file(&path)?;
    maps::save(&map, offer.at)?;
    single::catch_up(
        shared,
        offer.database,
        &map,
        kept_after(shared, offer.at),
        applied.max(offer.at),
    )?;
    crash_point("heal.before_control");
    // The file shows events up to there, and they are final.
    shared.control.update(|control| {
        control.commit_lsn = control.commit_lsn.max(offer.at).max(applied);
        control.checksums.insert(offer.database, map.file_checksum());
    })?;
    Ok(())
}

/// Serves a database that shows `at`.
fn open(shared: &Arc<Shared>, ill: &Ill, at: Lsn) -> Result<(), HealError> {
    let hosted = shared.open_database(&ill.entry)?;
    hosted.engine.set_read_only(true);
    hosted.note_change(at);
    hosted.note_clean();
    shared.databases.insert(hosted);
    // What replay brings up to there is in it already.
    shared.databases.quarantine.healed(ill.entry.id, at);
    Ok(())
}
