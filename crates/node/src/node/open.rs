//! From a data directory to what a server is made of: lock, control file, journal, databases.

use std::{path::Path, sync::Arc};

use counterpart_core::{
    Lsn, ServerId,
    message::{Role, Safety},
    session::{Durable, Recovered},
};
use counterpart_journal::{
    self as journal, ControlFile, Disk, Journal, Progress, RealDisk, lock_directory,
};

use super::{StartError, fresh};
use crate::{
    admission::{Admission, Door},
    boot::{self, given_up},
    control::{Control, ControlKeeper},
    copy,
    databases::Databases,
    driver::Inputs,
    ops, orphans, random,
    refusal::Refusal,
    settings::Settings,
    shared::{Parts, Shared},
};

/// Recovers what is in the data directory; blocks.
///
/// # Errors
/// [`StartError`].
pub(super) fn open(
    settings: Settings,
    inputs: Inputs,
    io: tokio::runtime::Handle,
) -> Result<(Arc<Shared>, Recovered, journal::disk::DirectoryLock), StartError> {
    let data = settings.data.clone();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    disk.create_dir(&data).map_err(|cause| StartError::Directory { path: data.clone(), cause })?;
    let lock = lock_directory(&data)?;
    if let Err(error) = ops::import::discard_uploads(&data) {
        tracing::warn!(%error, "remains of uploads take space; delete the directory `staging`");
    }
    if let Err(error) = orphans::discard_partial(&data) {
        tracing::warn!(%error, "remains of orphans take space; delete `orphans/*.partial`");
    }
    let (file, mut control) = load_control(&disk, &data)?;
    ops::restore::forget_finished(&disk, &data)
        .map_err(|cause| StartError::Directory { path: data.clone(), cause })?;
    let (journal, recovery) = open_journal(&settings, &disk, &file, &mut control, &inputs)?;
    if let Some(cut) = &recovery.cut {
        tracing::warn!(file = %cut.file.display(), offset = cut.offset, bytes = cut.bytes, "a torn tail of the journal was cut; nothing of it was ever confirmed");
    }
    let last_known = journal.records_after(recovery.end.before()).last().and_then(Result::ok);
    let in_record = last_known.map_or(Lsn::ZERO, |record| record.header().commit_lsn);
    let durable = control.session.clone();
    let known = control.commit_lsn.max(in_record).max(control.redo_after).min(recovery.end);
    let commit = if decides_alone(&durable) { recovery.end } else { known };
    let shared = Shared::new(Parts {
        settings,
        journal,
        disk,
        control: ControlKeeper::new(file, control),
        databases: Databases::unavailable(starting()),
        admission: Admission::new(Door::Hold),
        inputs,
        io,
    });
    shared.confirmations.begin(commit);
    shared.hardened.send_replace(recovery.end);
    let redoable = shared.control.read().may_be_redone();
    let applied = match &durable.seeding {
        Some(seed) => seed.mark,
        None if !redoable => commit,
        None => {
            boot::remove_strays(&shared)?;
            boot::reload(&shared, commit)?;
            if !durable.empty {
                copy::adopt::discard_served(&shared);
                given_up::discard(&data);
            }
            commit
        }
    };
    shared.set_applied(applied);
    let redo_from = shared.control.read().redo_after;
    let journal_after = recovery.first.before();
    let recovered = Recovered {
        durable: durable.clone(),
        journal_after,
        journal_end: recovery.end,
        commit,
        applied,
        base: redo_from,
        // What there is in either case is compared with what the principal has.
        has_spool: copy::spool::exists(&data) || given_up::exists(&data),
        stride: random::stride(),
    };
    Ok((shared, recovered, lock))
}

/// The control file and its content, which a server at its very first start makes.
fn load_control(
    disk: &Arc<dyn Disk>,
    data: &Path,
) -> Result<(ControlFile<Control>, Control), StartError> {
    let file = ControlFile::new(Arc::clone(disk), &data.join("control"));
    let control = match file.load()? {
        Some(control) => control,
        None => {
            fresh::refuse_data(data)?;
            let fresh = Control::new(Durable::new(ServerId(random::number())));
            file.save(&fresh)?;
            fresh
        }
    };
    Ok((file, control))
}

/// Whether everything that this server has hardened was final without anybody else's word: it acted, and commits
/// waited for no mirror. What it confirmed alone stays readable here even if it turns out to have been deposed.
fn decides_alone(durable: &Durable) -> bool {
    let waits = durable.safety == Safety::Full && durable.partners.iter().any(|p| p.synchronized);
    durable.role != Role::Mirror && durable.pending_handover.is_none() && !waits
}

/// The journal; a mirror that can do without one that is damaged begins a new one.
fn open_journal(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    file: &ControlFile<Control>,
    control: &mut Control,
    inputs: &Inputs,
) -> Result<(Journal, journal::Recovery), StartError> {
    let identity = boot::journal_identity(control.session.server);
    // While a seed has not begun or not ended, the journal may be another one than the control file speaks of.
    let reached = control.redo_after.max(control.commit_lsn);
    let must_reach = if control.is_whole() { reached } else { Lsn::ZERO };
    match open_journal_to(settings, disk, identity, must_reach, inputs) {
        Err(StartError::Journal(error)) if given_up::is_possible(settings, control, &error) => {
            tracing::error!(%error, "this mirror goes on without its journal, which lies in `given-up/` until a partner has sent what differs");
            given_up::put_aside(&settings.data, file, control)?;
            open_journal_to(settings, disk, identity, Lsn::ZERO, inputs)
        }
        opened => opened,
    }
}

fn open_journal_to(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    identity: counterpart_core::SessionId,
    must_reach: Lsn,
    inputs: &Inputs,
) -> Result<(Journal, journal::Recovery), StartError> {
    let config = journal::Config {
        retention_bytes: settings.retention_bytes,
        must_reach,
        ..journal::Config::default()
    };
    let inputs = inputs.clone();
    let listener = Box::new(move |progress: Progress| match progress {
        Progress::Hardened(lsn) => inputs.hardened(lsn),
        Progress::Poisoned(poison) => inputs.journal_failed(poison.to_string()),
    });
    let directory = settings.data.join("journal");
    disk.create_dir(&directory)
        .map_err(|cause| StartError::Directory { path: directory.clone(), cause })?;
    Ok(Journal::open(Arc::clone(disk), &directory, config, identity, listener)?)
}

fn starting() -> Refusal {
    Refusal::new("SERVER_STARTING", "the server is starting", "try again in a moment")
}
